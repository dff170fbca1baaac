"""What a reconstruction shows that its data did not say.

*False structures*: regions where the estimate exceeds the truth by more than its errors allow (Bhadra et al.
2021, IEEE TMI 40, 3249, call such structure hallucinated). The difference is smoothed to a scale and held
against the posterior's own spread of the same smoothed quantity; connected pixels beyond a threshold are one
region. Some occur by chance, and how many depends on the scene's correlations, so the expected rate is
counted and not computed: each draw in turn plays the truth of the posterior that the others make. The truth
itself meets the same posteriors of one draw less. If the draws are right, truth and draws are exchangeable,
and both rates have one expectation, for any number of draws and any posterior, Gaussian or not.

*Variance ratio*: posterior over prior variance in rings of spatial frequency; one where the prior alone
speaks. One minus it is an effective transfer function (`synergy.sampling.transfer`), of draws in place of a
Gaussian theory. *Support agreement*: the same by pixel, ``1 - var_post / var_prior``, beside the map that
the Gaussian theory predicts (`synergy.sampling.support`). Draws that vary less than the data oblige them to
are sure of structure that is only the prior's.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats
from scipy.ndimage import gaussian_filter, label

from synergy.metrics.power_spectrum import radial_power
from synergy.priors.covariance import SpectralCovariance
from synergy.psf import FWHM_PER_SIGMA
from synergy.sampling.support import SMOOTHING
from synergy.windows import hann

_RINGS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class FalseStructures:
    """How many structures an estimate shows that the truth has not.

    Parameters
    ----------
    scales
        FWHM of the smoothing, arcsec.
    rate
        Regions per arcsec^2 against the truth.
    expected
        The same against held-out draws: what a calibrated posterior has in the mean.
    spread
        Standard deviation over the held-out draws: what chance does to the rate of one scene.
    """

    scales: tuple[float, ...]
    rate: Float[np.ndarray, "scale band"]
    expected: Float[np.ndarray, "scale band"]
    spread: Float[np.ndarray, "scale band"]


@dataclasses.dataclass(frozen=True, eq=False)
class VarianceRatio:
    """Posterior over prior variance by spatial frequency.

    Parameters
    ----------
    frequency
        Middle of each ring, cycles per arcsec.
    ratio
        Mean posterior over mean prior power in the ring.
    error
        Its standard error, from the scatter between draws.
    """

    frequency: Float[np.ndarray, " ring"]
    ratio: Float[np.ndarray, "band ring"]
    error: Float[np.ndarray, "band ring"]


@dataclasses.dataclass(frozen=True, eq=False)
class SupportAgreement:
    """How the support that draws imply agrees with the one predicted.

    Parameters
    ----------
    implied
        ``1 - var_post / var_prior``, smoothed and held within 0 and 1.
    correlation
        Pearson's correlation of the two maps; NaN where one is constant.
    difference
        Mean of implied minus predicted; positive where the draws vary too little.
    """

    implied: Float[np.ndarray, "band y x"]
    correlation: Float[np.ndarray, " band"]
    difference: Float[np.ndarray, " band"]


def false_structures(
    draws: Float[np.ndarray, "draw band y x"],
    truth: Float[np.ndarray, "band y x"],
    pixel_scale: float,
    scales: Sequence[float] = (0.1, 0.2, 0.4),
    threshold: float = 3.0,
    single: bool = False,
) -> FalseStructures:
    """Count false structures of the posterior mean, or of single draws.

    Parameters
    ----------
    draws
        Posterior draws.
    truth
        The true scene in their unit.
    pixel_scale
        Arcsec.
    scales
        FWHM of the smoothing, arcsec.
    threshold
        In standard deviations. It is that of a normal distribution: at few draws, whose spread is uncertain,
        Student's t takes its place at the same tail probability.
    single
        Judge each draw instead of the mean.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or fewer than three draws (four for single ones) are given.
    """
    n, needed = len(draws), 4 if single else 3
    if n < needed:
        raise ValueError(f"false structures need at least {needed} draws, got {n}")
    if draws.shape[1:] != truth.shape:
        raise ValueError(f"draws of {draws.shape[1:]} cannot be compared with a truth of {truth.shape}")
    if not (np.isfinite(draws).all() and np.isfinite(truth).all()):
        raise ValueError("draws or truth hold values that are not finite")
    if not min(pixel_scale, *scales) > 0:
        raise ValueError(f"pixel scale and smoothing must be positive arcsec, got {pixel_scale}, {scales}")
    area = truth.shape[1] * truth.shape[2] * pixel_scale**2
    rates = np.empty((2, n, len(scales), len(truth)))
    for s, scale in enumerate(scales):
        width = scale / FWHM_PER_SIGMA / pixel_scale
        errors = gaussian_filter(np.asarray(draws - truth, np.float64), (0.0, 0.0, width, width))
        whole = n, errors.mean(axis=0), n * errors.var(axis=0)
        for i in range(n):
            held, rest = errors[i], _without(whole, errors[i])
            estimate, own = rest[1], 1.0 / rest[0]  # variance of the estimate in units of the posterior's
            if single:
                estimate, held, own = errors[i], errors[i - 1], 1.0
                rest = _without(rest, held)
            freedom = rest[0] - 1
            quantile = stats.t.isf(stats.norm.sf(threshold), freedom)
            limit = quantile * np.sqrt(np.maximum(rest[2], 0.0) / freedom * (1.0 + own))
            # Errors are relative to the truth, which is therefore zero among them. Nothing is divided by the
            # spread: where it is zero, any excess counts.
            rates[0, i, s] = _count_regions(estimate > limit) / area
            rates[1, i, s] = _count_regions(estimate - held > limit) / area
    rate, expected = rates.mean(axis=1)
    return FalseStructures(tuple(scales), rate, expected, rates[1].std(axis=0, ddof=1))


def variance_ratio(
    draws: Float[np.ndarray, "draw band y x"],
    prior: Float[np.ndarray, "prior_draw band height width"] | Callable[[int, int], np.ndarray],
    pixel_scale: float,
    edges: Float[np.ndarray, " edge"] | None = None,
) -> VarianceRatio:
    """Return posterior over prior variance in rings of spatial frequency.

    Parameters
    ----------
    draws
        Posterior draws.
    prior
        Prior draws in the same unit, of any size, or a function of a scene's height and width that returns
        the prior's power per mode of the unitary `numpy.fft.fft2`, ``(band, y, x)`` (as `band_power` does for
        a `SpectralCovariance`).
    pixel_scale
        Arcsec.
    edges
        Ascending edges of the rings, cycles per arcsec; from twice the lowest to the Nyquist frequency when
        omitted.

    Raises
    ------
    ValueError
        If there are fewer than two draws, a ring holds no mode, the bands differ, or the prior has no power
        in a ring.
    """
    height, width = draws.shape[-2:]
    if edges is None:
        # What is constant leaks through the window into the modes next to zero: begin just below two.
        edges = np.geomspace(1.9 / min(height, width), 0.5, _RINGS + 1) / pixel_scale
    rings = edges * pixel_scale
    left, left_error = _variance_power(draws, rings)
    if callable(prior):
        before = _expected_power(prior(height, width), rings)
        before_error = np.zeros_like(before)
    else:
        before, before_error = _variance_power(prior, rings)
    if before.shape != left.shape:
        raise ValueError(f"the posterior has {len(left)} bands, the prior {len(before)}")
    if not (before > 0).all():
        raise ValueError("the prior has no power in some ring: there is no variance to compare with")
    ratio = left / before
    error = np.hypot(left_error, ratio * before_error) / before
    return VarianceRatio((edges[:-1] + edges[1:]) / 2, ratio, error)


def band_power(covariance: SpectralCovariance, height: int, width: int) -> Float[np.ndarray, "band y x"]:
    """Return the power of each band per mode of the unitary `numpy.fft.fft2`, in the covariance's units.

    Its mean over the modes is the band's variance per pixel. ``partial(band_power, covariance)`` is a prior
    for `variance_ratio`.

    Parameters
    ----------
    covariance
        Prior covariance; its variances carry the square of the scenes' unit.
    height, width
        Size of the scene.
    """
    half = np.asarray(covariance.spectra(height, width), np.float64)
    column = np.arange(width)
    spectra = half[..., np.minimum(column, width - column)]  # isotropic: kx and -kx are alike
    return np.einsum("bm,myx->byx", np.asarray(covariance.basis, np.float64) ** 2, spectra)


def support_agreement(
    draws: Float[np.ndarray, "draw band y x"],
    prior_variance: Float[np.ndarray, " band"],
    support: Float[np.ndarray, "band y x"],
    smoothing: float = SMOOTHING,
) -> SupportAgreement:
    """Compare the support that draws imply with a predicted map.

    Parameters
    ----------
    draws
        Posterior draws.
    prior_variance
        Variance per pixel of each band under the prior, in the squared unit of the draws.
    support
        Predicted map, such as `Posterior.support`.
    smoothing
        Sigma in pixels of the smoothing of the draws' variance; the default is that of
        `synergy.sampling.support.support_map`.

    Raises
    ------
    ValueError
        If there are fewer than two draws, shapes differ, or a prior variance is not positive.
    """
    if len(draws) < 2:
        raise ValueError(f"a variance needs at least two draws, got {len(draws)}")
    if draws.shape[1:] != support.shape or len(prior_variance) != len(support):
        raise ValueError(
            f"draws of {draws.shape[1:]}, {len(prior_variance)} prior variances and a map of {support.shape}"
        )
    if not (prior_variance > 0).all():
        raise ValueError(f"prior variances must be positive, got {prior_variance.tolist()}")
    variance = draws.var(axis=0, ddof=1, dtype=np.float64)
    left = gaussian_filter(variance, (0.0, smoothing, smoothing)) / prior_variance[:, None, None]
    implied = np.clip(1.0 - left, 0.0, 1.0)
    difference = implied.mean(axis=(1, 2)) - support.mean(axis=(1, 2), dtype=np.float64)
    return SupportAgreement(implied, _correlation(implied, support), difference)


def _without(moments: tuple[int, np.ndarray, np.ndarray], value: np.ndarray) -> tuple:
    """Take one value out of a number of values, their mean and their sum of squared deviations."""
    n, mean, squares = moments
    deviation = value - mean
    return n - 1, mean - deviation / (n - 1), squares - deviation**2 * n / (n - 1)


def _count_regions(above: Bool[np.ndarray, "band y x"]) -> Float[np.ndarray, " band"]:
    """Return the number of connected regions of each band, pixels at a corner included."""
    return np.array([label(plane, np.ones((3, 3)))[1] for plane in above], np.float64)


def _variance_power(
    draws: Float[np.ndarray, "draw band y x"], rings: Float[np.ndarray, " edge"]
) -> tuple[Float[np.ndarray, "band ring"], Float[np.ndarray, "band ring"]]:
    """Return the power of what differs between draws, and its standard error."""
    n = len(draws)
    if n < 2:
        raise ValueError(f"a variance needs at least two draws, got {n}")
    power = radial_power(draws - draws.mean(axis=0), rings) * n / (n - 1)
    return power.mean(axis=0), power.std(axis=0, ddof=1) / np.sqrt(n)


def _expected_power(
    power: Float[np.ndarray, "band y x"], rings: Float[np.ndarray, " edge"]
) -> Float[np.ndarray, "band ring"]:
    """Return what `radial_power` finds in the mean of fields of a given power.

    Its window smears the spectrum, a steep one not a little: by the window's own power, which sums to one.
    """
    height, width = power.shape[-2:]
    window = np.abs(np.fft.fft2(hann(height, width))) ** 2 / (height * width) ** 2
    smeared = np.fft.ifft2(np.fft.fft2(power) * np.fft.fft2(window)).real
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    ring = np.digitize(radius, rings) - 1
    return np.stack([smeared[:, ring == i].mean(axis=1) for i in range(len(rings) - 1)], axis=1)


def _correlation(
    first: Float[np.ndarray, "band y x"], second: Float[np.ndarray, "band y x"]
) -> Float[np.ndarray, " band"]:
    varies = (np.ptp(first, axis=(1, 2)) > 0) & (np.ptp(second, axis=(1, 2)) > 0)
    a, b = (np.asarray(m, np.float64) - m.mean(axis=(1, 2), keepdims=True) for m in (first, second))
    norm = np.sqrt(np.sum(a**2, axis=(1, 2)) * np.sum(b**2, axis=(1, 2)))
    return np.divide(np.sum(a * b, axis=(1, 2)), norm, out=np.full(len(a), np.nan), where=varies)
