"""Sampling problems whose posterior is known exactly, and how far draws are from it.

Two instruments of different resolution, uneven noise and masked pixels observe a small scene in two bands.
The prior is a mixture of Gaussians, of one component or several, so the posterior is a mixture, too. Prior,
data and operators are turned into dense float64 matrices; what a sampler draws is compared with those.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.mixture import MixtureDenoiser
from synergy.psf import PSF
from synergy.sampling.circulant import CirculantPosterior, circulant_normal
from synergy.sampling.proximal import Proximal

BANDS = ("a", "b")


@dataclasses.dataclass(frozen=True)
class Oracle:
    """A problem, and its exact posterior: a mixture of Gaussians.

    Parameters
    ----------
    denoiser
        Exact denoiser of the prior.
    likelihood
        Likelihood of the scene.
    covariance
        Stationary covariance with the second moments of the prior.
    circulant
        Circulant posterior of covariance and likelihood.
    masses
        Probability of each component given the data.
    means, covariances
        Its posterior means ``(component, pixel)`` and covariances ``(component, pixel, pixel)``.
    log_evidence
        Natural logarithm of the density of the data under the prior.
    """

    denoiser: MixtureDenoiser
    likelihood: GaussianLikelihood
    covariance: SpectralCovariance
    circulant: CirculantPosterior
    masses: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_evidence: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a scene."""
        return self.likelihood.scene_shape

    @functools.cached_property
    def proximal(self) -> Proximal:
        """Scenes between data and a noisy scene."""
        flat = CirculantPosterior.diagonalise(circulant_normal(self.likelihood), None, self.shape[1:])
        return Proximal(self.likelihood, flat, 20)

    @functools.cached_property
    def roots(self) -> np.ndarray:
        """Cholesky factors of the components' covariances."""
        return np.linalg.cholesky(self.covariances)

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """Posterior mean."""
        return self.masses @ self.means

    @functools.cached_property
    def covariance_matrix(self) -> np.ndarray:
        """Posterior covariance."""
        offsets = self.means - self.mean
        return np.einsum("k,kij->ij", self.masses, self.covariances) + np.einsum(
            "k,ki,kj->ij", self.masses, offsets, offsets
        )

    @functools.cached_property
    def reference(self) -> tuple[float, float]:
        """Log-density that nine in ten exact draws exceed, and mean chi2 of exact draws."""
        exact = self.draw(0, 20000)
        return float(np.quantile(logsumexp(self.log_densities(exact), axis=0), 0.1)), self.chi2(exact)

    def chi2(self, draws: np.ndarray) -> float:
        """Return the mean chi2 of draws."""
        return float(np.mean(np.asarray(_chi2(self.likelihood, jnp.asarray(draws, jnp.float32)))))

    def draw(self, seed: int, count: int) -> np.ndarray:
        """Return exact draws ``(draw, band, y, x)``."""
        rng = np.random.default_rng(seed)
        component = rng.choice(len(self.masses), count, p=self.masses)
        noise = rng.standard_normal((count, self.means.shape[1]))
        drawn = np.stack([noise @ root.T for root in self.roots])
        flat = self.means[component] + drawn[component, np.arange(count)]
        return flat.reshape(count, *self.shape)

    def null(self, count: int, sets: int = 40) -> dict[str, tuple[float, float]]:
        """Return mean and standard deviation of each number of `judge` over sets of exact draws."""
        found = [judge(self, self.draw(100 + i, count)) for i in range(sets)]
        return {k: (np.mean([f[k] for f in found]), np.std([f[k] for f in found])) for k in found[0]}

    def log_densities(self, draws: np.ndarray) -> np.ndarray:
        """Return ln of mass times density of each component, ``(component, draw)``."""
        flat = draws.reshape(len(draws), -1).astype(np.float64)
        rows = []
        for mass, mean, root in zip(self.masses, self.means, self.roots, strict=True):
            square = np.sum(solve_triangular(root, (flat - mean).T, lower=True) ** 2, axis=0)
            log_det = 2.0 * np.log(np.diag(root)).sum()
            with np.errstate(divide="ignore"):  # a component without mass
                rows.append(np.log(mass) - 0.5 * (square + log_det))
        return np.stack(rows)


def gaussian(side: int = 16) -> Oracle:
    """Return the problem with a Gaussian prior."""
    means = np.zeros((1, len(BANDS), side, side))
    return _pose(means, np.zeros(1), [_covariance()])


def mixture(side: int = 8) -> Oracle:
    """Return a problem with two kinds of scenes, far apart in a pattern that the data hardly show."""
    y, x = np.indices((side, side))
    stripes = np.cos(0.5 * np.pi * x + 0.2 * y)
    blob = np.exp(-0.5 * ((y - side / 2) ** 2 + (x - side / 2) ** 2) / (side / 5) ** 2)
    means = np.stack([[0.6 * blob, 0.3 * stripes], [0.2 * blob + 0.1 * stripes, -0.3 * stripes]])
    return _pose(means, np.log([0.4, 0.6]), [_covariance(), _covariance(0.7)])


def catalogue(side: int = 8, number: int = 24) -> Oracle:
    """Return a problem whose prior is a finite sample: each of some galaxies, give or take a little."""
    rng = np.random.default_rng(3)
    y, x = np.indices((side, side))
    galaxies = []
    for _ in range(number):
        row, column = side / 2 + rng.uniform(-1.5, 1.5, 2)
        size, stretch, turn = rng.uniform(0.1, 0.3) * side, rng.uniform(1.0, 2.5), rng.uniform(0, np.pi)
        along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
        across = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
        profile = np.exp(-np.hypot(along, stretch * across) / size)
        galaxies.append(
            profile * rng.uniform(0.7, 2.0) * np.array([1.0, rng.uniform(0.3, 1.5)])[:, None, None]
        )
    return _pose(np.stack(galaxies), np.log(rng.dirichlet(np.full(number, 3.0))), [_covariance(0.05)])


def judge(oracle: Oracle, draws: np.ndarray) -> dict[str, float]:
    """Compare draws with the exact posterior.

    Returns
    -------
    dict
        ``mean``: chi-squared of the draws' mean, in standard deviations of what exact draws have.
        ``variance``: ratio of the variances along the posterior's axes, mean over the axes.
        ``coverage``: share of draws inside the exact region of 90 % highest density.
        ``fit``: chi2 per datum over that of exact draws.
        ``modes``: largest error of a component's mass.
    """
    draws = np.asarray(draws, np.float64)
    flat = draws.reshape(len(draws), -1)
    root = np.linalg.cholesky(oracle.covariance_matrix)
    axes = np.linalg.solve(root, (flat - oracle.mean).T).T
    chi2 = len(axes) * np.sum(axes.mean(axis=0) ** 2)
    densities = oracle.log_densities(draws)
    threshold, chi2_exact = oracle.reference
    masses = np.exp(densities - logsumexp(densities, axis=0)).mean(axis=1)
    return {
        "mean": float((chi2 - flat.shape[1]) / np.sqrt(2.0 * flat.shape[1])),
        "variance": float(np.mean(axes.var(axis=0, ddof=1))),
        "coverage": float(np.mean(logsumexp(densities, axis=0) >= threshold)),
        "fit": oracle.chi2(draws) / chi2_exact,
        "modes": float(np.max(np.abs(masses - oracle.masses))),
    }


def observe(truth: jax.Array) -> GaussianLikelihood:
    """Observe a scene ``(band, y, x)`` with both instruments."""
    side = truth.shape[-1]
    frame = Frame.tangent(SkyCoord(150.0, 2.0, unit="deg"), (side, side), 0.05)
    observations = [
        _observation("sharp", "a", (side // 2, 0.1, 0.18), 1),
        _observation("blurred b", "b", (side // 4, 0.2, 0.6), 2),
        _observation("blurred a", "a", (side // 4 - 1, 0.2, 0.6), 3),
    ]
    likelihood = GaussianLikelihood.build(observations, frame, BANDS)
    images = tuple(
        image + noise_of.draw(jax.random.key(i))
        for i, (image, noise_of) in enumerate(zip(likelihood.forward(truth), likelihood.noises, strict=True))
    )
    return dataclasses.replace(likelihood, images=images)


def dense(likelihood: GaussianLikelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return operator, noise variance and data of all known pixels: dense, in float64."""
    shape = likelihood.scene_shape
    size = int(np.prod(shape))
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, *shape)
    columns = [np.asarray(i, np.float64).reshape(size, -1) for i in jax.vmap(likelihood.forward)(unit)]
    ivar = np.concatenate([np.asarray(n.ivar, np.float64).ravel() for n in likelihood.noises])
    data = np.concatenate([np.asarray(image, np.float64).ravel() for image in likelihood.images])
    known = ivar > 0
    return np.concatenate(columns, axis=1).T[known], 1.0 / ivar[known], data[known]


@jax.jit
def _chi2(likelihood: GaussianLikelihood, scenes: jax.Array) -> jax.Array:
    return jax.lax.map(lambda scene: jnp.sum(likelihood.chi2(scene)), scenes, batch_size=500)


def _covariance(amplitude: float = 1.0) -> SpectralCovariance:
    frequency = np.geomspace(0.01, 0.7, 12)
    power = [amplitude**2 * a / (1 + (frequency / k) ** 2) ** 1.5 for a, k in ((40.0, 0.05), (4.0, 0.08))]
    basis = np.array([[0.8, -0.6], [0.6, 0.8]])
    return SpectralCovariance(
        *(jnp.asarray(a, jnp.float32) for a in (basis, np.log(frequency), np.log(power)))
    )


def _observation(name: str, band: str, geometry: tuple[int, float, float], seed: int) -> Observation:
    side, pixel_scale, fwhm = geometry
    frame = Frame.tangent(SkyCoord(150.0, 2.0, unit="deg"), (side, side), pixel_scale)
    rng = np.random.default_rng(seed)
    ivar = rng.uniform(0.3, 1.5, (side, side))
    mask = rng.random((side, side)) < 0.05
    return Observation(name, band, np.zeros((side, side)), ivar, mask, PSF.gaussian(fwhm, 0.05, 41), frame)


def _pose(
    means: np.ndarray,
    log_weights: np.ndarray,
    covariances: list[SpectralCovariance],
) -> Oracle:
    """Draw a truth and data from the first component, and work out the posterior."""
    truth = jnp.asarray(means[0], jnp.float32) + covariances[0].draw(jax.random.key(9), means.shape[1:])
    likelihood = observe(truth)
    size = truth.size
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, *truth.shape)
    matrix, variance, data = dense(likelihood)
    log_masses, posterior_means, posteriors, second = [], [], [], np.zeros((size, size))
    shared = covariances * len(means) if len(covariances) == 1 else covariances
    for log_weight, mean, covariance in zip(log_weights, means, shared, strict=True):
        prior = np.asarray(covariance.apply(unit), np.float64).reshape(size, size)
        prior = 0.5 * (prior + prior.T)
        posterior = np.linalg.inv(np.linalg.inv(prior) + matrix.T @ (matrix / variance[:, None]))
        posterior = 0.5 * (posterior + posterior.T)
        residual = data - matrix @ mean.ravel()
        posteriors.append(posterior)
        posterior_means.append(mean.ravel() + posterior @ (matrix.T @ (residual / variance)))
        marginal = matrix @ prior @ matrix.T + np.diag(variance)
        _, log_det = np.linalg.slogdet(marginal)
        square = residual @ np.linalg.solve(marginal, residual)
        log_masses.append(log_weight - 0.5 * (square + log_det))
        second += np.exp(log_weight) * (prior + np.outer(mean, mean))
    masses = np.exp(np.array(log_masses) - logsumexp(log_masses))
    whole = covariances[0] if len(means) == 1 else _stationary(second, truth.shape)
    return Oracle(
        MixtureDenoiser(
            jnp.asarray(means, jnp.float32), jnp.asarray(log_weights, jnp.float32), tuple(covariances)
        ),
        likelihood,
        whole,
        CirculantPosterior.diagonalise(circulant_normal(likelihood), whole, truth.shape[1:]),
        masses,
        np.stack(posterior_means),
        np.stack(posteriors),
        float(logsumexp(log_masses) - 0.5 * len(data) * np.log(2.0 * np.pi)),
    )


def _stationary(second: np.ndarray, shape: tuple[int, ...]) -> SpectralCovariance:
    """Return the stationary covariance of scenes with these second moments."""
    values, vectors = np.linalg.eigh(second)
    rng = np.random.default_rng(5)
    scenes = rng.standard_normal((512, len(values))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return SpectralCovariance.fit(scenes.reshape(-1, *shape), bins=8)
