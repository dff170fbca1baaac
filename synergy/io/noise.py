"""The noise of an image, from its noise map or blank sky, fit for the likelihood.

Where adjacent pixels are measurably correlated and there is enough blank sky, the noise is *stationary*, with
the autocorrelation and the variance of single pixels measured there; a noise map then only says how the
noise varies over the image. Otherwise the noise is diagonal, with a variance that is right for averages over
the size of the PSF (see `synergy.io.correlated`).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.io.correlated import FEWEST_BLOCKS, BlankSky, measure_blank_sky
from synergy.noise_spectrum import NoiseCorrelation, correlation_of_sky

CORRELATED = 0.05
"""Correlation of adjacent pixels from which noise counts as correlated."""

FEWEST_PIXELS = 20.0
"""Blank pixels over the square of the noise's reach below which its power spectrum is too uncertain: chi2 per
pixel of noise elsewhere would be 3 % too high."""

_REACH = (4, 14)  # least and largest reach of the correlation in pixels


@dataclasses.dataclass(frozen=True)
class CalibratedNoise:
    """Noise ready for the likelihood, and how it came about.

    Parameters
    ----------
    ivar
        Inverse variance; zero = no information.
    record
        ``noise_model`` (``"stationary"`` or ``"diagonal"``),
        ``correlation_factor`` (variance of block averages over that of independent pixels),
        ``variance_inflation`` (by how much the stated variance was multiplied) and ``expected_chi2`` (per
        pixel, of pure noise); None where not measured or not applicable.
    notes
        The same for humans.
    correlation
        Autocorrelation of stationary noise; None for diagonal noise.
    """

    ivar: Float[np.ndarray, "y x"]
    record: dict[str, Any]
    notes: list[str]
    correlation: Float[np.ndarray, "dy dx"] | None = None


def independent(ivar: Float[np.ndarray, "y x"]) -> CalibratedNoise:
    """Take a noise map at its word: independent pixels of the stated variance.

    Parameters
    ----------
    ivar
        Stated inverse variance.
    """
    record = {
        "noise_model": "diagonal",
        "correlation_factor": 1.0,
        "variance_inflation": 1.0,
        "expected_chi2": 1.0,
    }
    return CalibratedNoise(ivar, record, ["noise taken as independent between pixels, as the manifest says"])


def given(ivar: Float[np.ndarray, "y x"], correlation: Float[np.ndarray, "dy dx"]) -> CalibratedNoise:
    """Take a noise map and an autocorrelation at their word.

    Parameters
    ----------
    ivar
        Stated inverse variance.
    correlation
        Autocorrelation of the noise.
    """
    record = {
        "noise_model": "stationary",
        "correlation_factor": None,
        "variance_inflation": 1.0,
        "expected_chi2": 1.0,
    }
    return CalibratedNoise(ivar, record, ["noise correlated as the manifest says"], correlation)


def measured(
    image: Float[np.ndarray, "y x"], bad: Bool[np.ndarray, "y x"], ivar: Float[np.ndarray, "y x"], block: int
) -> CalibratedNoise:
    """Measure on blank sky how noise is correlated and how large it is beside its noise map.

    Parameters
    ----------
    image, ivar
        Image and its stated inverse variance.
    bad
        True = not to be used.
    block
        FWHM of the PSF in pixels, rounded.

    Returns
    -------
    CalibratedNoise
        Stationary noise; diagonal noise by `allow_for_correlation` where it is not measurably correlated or
        there is too little blank sky.
    """
    whitened = image * np.sqrt(ivar)
    sky = measure_blank_sky(whitened, bad | (ivar == 0), block)
    found = _correlation(whitened, sky)
    if sky is None or found is None:
        return allow_for_correlation(image, bad, ivar, block)
    note = (
        f"{_describe_stationary(sky)}; {found.variance:.2f} times the stated variance, which only tells "
        "how it varies over the image"
    )
    return CalibratedNoise(ivar / found.variance, _stationary_record(sky, found), [note], found.correlation)


def allow_for_correlation(
    image: Float[np.ndarray, "y x"], bad: Bool[np.ndarray, "y x"], ivar: Float[np.ndarray, "y x"], block: int
) -> CalibratedNoise:
    """Inflate a stated variance, if need be, until it is right for averages over the size of the PSF.

    Parameters
    ----------
    image, ivar
        Image and its stated inverse variance.
    bad
        True = not to be used.
    block
        FWHM of the PSF in pixels, rounded.
    """
    sky = measure_blank_sky(image * np.sqrt(ivar), bad | (ivar == 0), block)
    if sky is None or not sky.enough:
        unknown = {
            "noise_model": "diagonal",
            "correlation_factor": None,
            "variance_inflation": None,
            "expected_chi2": None,
        }
        note = "too little blank sky to measure how the noise is correlated; noise map taken as it is"
        return CalibratedNoise(ivar, unknown, [note])
    inflation = max(1.0, sky.block_variance)
    if inflation > 1.0:
        outcome = f"variance inflated by {inflation:.2f} for correlated noise"
    else:
        outcome = f"the noise map allows for it (measured over stated variance {sky.block_variance:.2f})"
    note = f"{_describe(sky)}; {outcome}; pure noise has chi2 per pixel {sky.pixel_variance / inflation:.2f}"
    return CalibratedNoise(ivar / inflation, _record(sky, inflation, inflation), [note])


def noise_from_sky(
    image: Float[np.ndarray, "y x"],
    bad: Bool[np.ndarray, "y x"],
    block: int,
    gain: float | None,
    source: object,
    stationary: bool = True,
) -> CalibratedNoise:
    """Estimate uniform noise from the blank sky: stationary, or right for averages over the size of the PSF.

    Parameters
    ----------
    image
        Image.
    bad
        True = not to be used.
    block
        FWHM of the PSF in pixels, rounded.
    gain
        Electrons per unit of the image, to add the Poisson noise of the sources; None to leave that out.
    source
        Where the image comes from, for the complaint.
    stationary
        Whether noise that is measurably correlated is to be stationary; diagonal all the same if not.

    Raises
    ------
    InputError
        If there is too little blank sky.
    """
    sky = measure_blank_sky(image, bad, block)
    if sky is None or not sky.enough:
        area = 0 if sky is None else int(sky.blocks)
        raise InputError(
            source,
            f"blank sky of {area} PSF-sized blocks",
            f"at least {FEWEST_BLOCKS}, to estimate the noise",
            "Give a variance, rms or ivar map instead of 'noise: estimate', or a larger image.",
        )
    sources = "without the sources' Poisson noise (no gain given)" if gain is None else "with Poisson noise"
    poisson = 0.0 if gain is None else np.maximum(image, 0.0) / gain
    found = _correlation(image, sky) if stationary else None
    if found is not None:
        # Poisson noise is smoothed like the rest: the gain gives its power at zero frequency.
        smoothed = poisson / max(float(found.correlation.sum()), 1.0)
        note = f"noise estimated from blank sky, {sources}; {_describe_stationary(sky)}"
        record = _stationary_record(sky, found) | {"variance_inflation": None}
        ivar = np.where(bad, 0.0, 1.0 / (found.variance + smoothed))
        return CalibratedNoise(ivar, record, [note], found.correlation)
    variance = max(sky.pixel_variance, sky.block_variance)
    ivar = np.where(bad, 0.0, 1.0 / (variance + poisson))
    note = (
        f"noise estimated from blank sky, {sources}; {_describe(sky)}; "
        f"pure noise has chi2 per pixel {sky.pixel_variance / variance:.2f}"
    )
    return CalibratedNoise(ivar, _record(sky, variance, None), [note])


def _correlation(image: Float[np.ndarray, "y x"], sky: BlankSky | None) -> NoiseCorrelation | None:
    """Measure the correlation where there is some and enough blank sky for it."""
    if sky is None or not sky.enough or sky.neighbour < CORRELATED:
        return None
    reach = int(np.clip(2 * sky.block, *_REACH))
    if sky.kept.sum() < FEWEST_PIXELS * reach**2 or min(sky.kept.shape) < 2 * reach:
        return None
    return correlation_of_sky(image, sky.kept, reach)


def _describe_stationary(sky: BlankSky) -> str:
    return (
        f"correlated noise, measured on {sky.kept.sum()} blank pixels: adjacent pixels correlate by "
        f"{sky.neighbour:.2f}"
    )


def _stationary_record(sky: BlankSky, found: NoiseCorrelation) -> dict[str, Any]:
    return {
        "noise_model": "stationary",
        "correlation_factor": sky.factor,
        "variance_inflation": found.variance,
        "expected_chi2": found.chi2,
    }


def _describe(sky: BlankSky) -> str:
    return (
        f"averages over {sky.block} x {sky.block} pixels have {sky.factor:.1f} times the variance that "
        "independent pixels would give"
    )


def _record(sky: BlankSky, variance: float, inflation: float | None) -> dict[str, Any]:
    return {
        "noise_model": "diagonal",
        "correlation_factor": sky.factor,
        "variance_inflation": inflation,
        "expected_chi2": sky.pixel_variance / variance,
    }
