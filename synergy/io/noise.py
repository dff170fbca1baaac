"""The inverse variance of an image, from its noise map or blank sky, fit for a diagonal likelihood."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.io.correlated import FEWEST_BLOCKS, BlankSky, measure_blank_sky


@dataclasses.dataclass(frozen=True)
class CalibratedNoise:
    """Inverse variance ready for a diagonal likelihood, and how it came about.

    Parameters
    ----------
    ivar
        Inverse variance; zero = no information.
    record
        ``correlation_factor`` (variance of block averages over that of independent pixels),
        ``variance_inflation`` (by how much the stated variance was multiplied) and ``expected_chi2`` (per
        pixel, of pure noise); None where not measured or not applicable.
    notes
        The same for humans.
    """

    ivar: Float[np.ndarray, "y x"]
    record: dict[str, Any]
    notes: list[str]


def independent(ivar: Float[np.ndarray, "y x"]) -> CalibratedNoise:
    """Take a noise map at its word: independent pixels of the stated variance.

    Parameters
    ----------
    ivar
        Stated inverse variance.
    """
    record = {"correlation_factor": 1.0, "variance_inflation": 1.0, "expected_chi2": 1.0}
    return CalibratedNoise(ivar, record, ["noise taken as independent between pixels, as the manifest says"])


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
        unknown = {"correlation_factor": None, "variance_inflation": None, "expected_chi2": None}
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
) -> CalibratedNoise:
    """Estimate uniform noise from the blank sky, right for averages over the size of the PSF.

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
    variance = max(sky.pixel_variance, sky.block_variance)
    poisson = 0.0 if gain is None else np.maximum(image, 0.0) / gain
    ivar = np.where(bad, 0.0, 1.0 / (variance + poisson))
    sources = "without the sources' Poisson noise (no gain given)" if gain is None else "with Poisson noise"
    note = (
        f"noise estimated from blank sky, {sources}; {_describe(sky)}; "
        f"pure noise has chi2 per pixel {sky.pixel_variance / variance:.2f}"
    )
    return CalibratedNoise(ivar, _record(sky, variance, None), [note])


def _describe(sky: BlankSky) -> str:
    return (
        f"averages over {sky.block} x {sky.block} pixels have {sky.factor:.1f} times the variance that "
        "independent pixels would give"
    )


def _record(sky: BlankSky, variance: float, inflation: float | None) -> dict[str, Any]:
    return {
        "correlation_factor": sky.factor,
        "variance_inflation": inflation,
        "expected_chi2": sky.pixel_variance / variance,
    }
