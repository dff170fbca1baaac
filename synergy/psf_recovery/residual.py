"""What a PSF model leaves unexplained in its stamps, as a Gaussian process: how much, where, and how sure.

A stamp is ``y = f(theta) + r + n``: the model, a smooth misfit `r` that follows the light, and white noise
`n`. The misfit has the covariance

    k(x, x') = a^2 h(x) h(x') exp(-|x - x'|^2 / 2 l^2),     h = (model / peak)^(1/2),

and `a` and the noise level, where nobody states it, are those of largest marginal likelihood: a stamp that
the model explains down to its noise gets ``a`` near 0, and nothing of its noise is copied into the PSF. The
parameters are refitted together with the misfit, to first order around the best fit and under their prior, so
that the result is the conditional mean of the PSF at any position and its standard deviation there: both what
the stamp does not tell about the parameters and what lies between its samples count (Rasmussen & Williams
2006, sections 2.7 and 5.4). The same formulae serve one stamp, several dithered ones, and positions beyond
the stamp, where the mean tends to the model.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """A linearised model at some positions.

    Parameters
    ----------
    position
        (y, x) in arcsec relative to the PSF's origin.
    brightness
        Model over its peak; sets the size of the misfit.
    jacobian
        Derivatives of the model with respect to the parameters.
    """

    position: Float[np.ndarray, "n 2"]
    brightness: Float[np.ndarray, " n"]
    jacobian: Float[np.ndarray, "n q"]


@dataclasses.dataclass(frozen=True)
class Misfit:
    """Sizes of misfit and noise in units of the peak, and the misfit's correlation length in arcsec."""

    amplitude: float
    noise: float
    length: float

    def covariance(self, a: Points, b: Points) -> Float[np.ndarray, "na nb"]:
        """Return the covariance of the misfit between two sets of positions."""
        square = np.subtract.outer(a.position[:, 0], b.position[:, 0]) ** 2
        square += np.subtract.outer(a.position[:, 1], b.position[:, 1]) ** 2
        heights = [np.sqrt(np.maximum(points.brightness, 0)) for points in (a, b)]
        return self.amplitude**2 * np.outer(*heights) * np.exp(-0.5 * square / self.length**2)


def fit_misfit(
    residual: Float[np.ndarray, " n"],
    data: Points,
    prior: Float[np.ndarray, " q"],
    length: float,
    noise: float | None,
) -> Misfit:
    """Return the misfit and noise of largest marginal likelihood.

    Parameters
    ----------
    residual
        Stamps less the best fit, in units of the peak.
    data
        Its positions.
    prior
        Standard deviation of each parameter.
    length
        Correlation length in arcsec.
    noise
        Standard deviation of the noise in units of the peak; None to find it as well.
    """
    unit = Misfit(1.0, 0.0, length).covariance(data, data)
    parameters = (data.jacobian * prior**2) @ data.jacobian.T
    identity = np.eye(len(residual))

    def negative_evidence(logs: Float[np.ndarray, " k"]) -> float:
        amplitude, sigma = np.exp(logs[0]), np.exp(logs[1]) if noise is None else noise
        factor = scipy.linalg.cholesky(
            amplitude**2 * unit + (sigma**2 + _JITTER**2) * identity + parameters, lower=True
        )
        white = scipy.linalg.solve_triangular(factor, residual, lower=True)
        # A weak preference for small ones keeps the search from wandering where the stamp says nothing.
        return float(0.5 * white @ white + np.log(np.diag(factor)).sum() + 0.02 * np.sum((logs + 7) ** 2))

    scatter = max(float(np.std(residual)), 1e-5)
    start = np.log([max(scatter, 1e-4)] + ([scatter] if noise is None else []))
    best = scipy.optimize.minimize(
        negative_evidence, start, method="Nelder-Mead", options={"xatol": 0.1, "fatol": 0.1, "maxfev": 50}
    )
    return Misfit(float(np.exp(best.x[0])), float(np.exp(best.x[1]) if noise is None else noise), length)


_JITTER = 1e-5  # floor of the noise relative to the peak: the accuracy of the model's own arithmetic


def condition(
    residual: Float[np.ndarray, " n"],
    data: Points,
    prior: Float[np.ndarray, " q"],
    departure: Float[np.ndarray, " q"],
    misfit: Misfit,
) -> Float[np.ndarray, " q"]:
    """Return how the parameters change once the misfit may take its part of the residual.

    Parameters
    ----------
    residual, data
        Stamps less the best fit, in units of the peak, and its positions.
    prior
        Standard deviation of each parameter.
    departure
        Best fit less the prior's mean, for each parameter.
    misfit
        As `fit_misfit` finds it.
    """
    weighted = data.jacobian * prior**2
    factor = _factor(weighted @ data.jacobian.T, data, misfit)
    # The prior's mean is not the best fit: seen from the latter, the parameters are expected at -departure.
    return weighted.T @ scipy.linalg.cho_solve(factor, residual + data.jacobian @ departure) - departure


def deviation(
    data: Points, prior: Float[np.ndarray, " q"], misfit: Misfit, where: Points
) -> Float[np.ndarray, " m"]:
    """Return the standard deviation of model and misfit at some positions, given the stamps.

    Parameters
    ----------
    data
        Positions of the stamps' pixels.
    prior
        Standard deviation of each parameter.
    misfit
        As `fit_misfit` finds it.
    where
        Positions of the result.
    """
    weighted = data.jacobian * prior**2
    factor, _ = _factor(weighted @ data.jacobian.T, data, misfit)
    cross = where.jacobian @ weighted.T + misfit.covariance(where, data)
    explained = np.sum(scipy.linalg.solve_triangular(factor, cross.T, lower=True) ** 2, axis=0)
    before = np.sum((where.jacobian * prior) ** 2, axis=1)
    before += misfit.amplitude**2 * np.maximum(where.brightness, 0)
    return np.sqrt(np.maximum(before - explained, 0))


def interpolate(
    residual: Float[np.ndarray, " n"], data: Points, misfit: Misfit, where: Points
) -> Float[np.ndarray, " m"]:
    """Return the mean of the misfit at some positions, given that the parameters are right.

    Parameters
    ----------
    residual, data
        Stamps less the model, in units of the peak, and its positions.
    misfit
        As `fit_misfit` finds it.
    where
        Positions of the result.
    """
    factor = _factor(np.zeros((len(residual), len(residual))), data, misfit)
    return misfit.covariance(where, data) @ scipy.linalg.cho_solve(factor, residual)


def cost(
    residual: Float[np.ndarray, " n"], data: Points, pull: Float[np.ndarray, " q"], misfit: Misfit
) -> float:
    """Return half of chi2 of what misfit and noise have to explain, and of the pull on the prior.

    Parameters
    ----------
    residual, data
        Stamps less the model, in units of the peak, and its positions.
    pull
        Parameters less the prior's mean, over its standard deviation.
    misfit
        As `fit_misfit` finds it.
    """
    factor = _factor(np.zeros((len(residual), len(residual))), data, misfit)
    return float(0.5 * residual @ scipy.linalg.cho_solve(factor, residual) + 0.5 * pull @ pull)


def _factor(
    parameters: Float[np.ndarray, "n n"], data: Points, misfit: Misfit
) -> tuple[Float[np.ndarray, "n n"], bool]:
    total = parameters + misfit.covariance(data, data)
    total[np.diag_indices_from(total)] += misfit.noise**2 + _JITTER**2
    return scipy.linalg.cho_factor(total, lower=True)
