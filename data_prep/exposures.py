"""The noise of a survey, and images on the camera's own pixels.

Independent Gaussian noise with the *expected* variance: sky photons, read noise and the source's own photons
computed from the noise-free image. A real pipeline estimates the variance from noisy counts; a mock's
variance map is exact, so that a calibrated method must give chi2 per pixel of one.
"""

import numpy as np
from jaxtyping import Float

from data_prep.psfs import EffectivePSF
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.survey import get_band


def observe(
    clean: Float[np.ndarray, "y x"],
    frame: Frame,
    psf: EffectivePSF,
    rng: np.random.Generator,
    exposures: int | None = None,
) -> Observation:
    """Add the noise of a survey to a noise-free image.

    Parameters
    ----------
    clean
        Noise-free image in nJy/pixel.
    frame
        Its frame.
    psf
        Its effective PSF, which also names the band.
    rng
        Random numbers.
    exposures
        Number of exposures combined; all that the survey takes when omitted.
    """
    variance = pixel_variance(clean, psf.band, exposures)
    return Observation(
        name=psf.band,
        band=psf.band,
        image=clean + np.sqrt(variance) * rng.standard_normal(clean.shape),
        ivar=1 / variance,
        mask=np.zeros(clean.shape, bool),
        psf=psf.psf,
        frame=frame,
        meta={"origin": "mock", "native_pixel_scale": get_band(psf.band).pixel_scale},
    )


def pixel_variance(
    clean: Float[np.ndarray, "y x"], band: str, exposures: float | int | None = None
) -> Float[np.ndarray, "y x"]:
    """Return the expected variance in nJy^2: sky, read noise and the source's photons.

    Parameters
    ----------
    clean
        Noise-free image in nJy/pixel.
    band
        Name of the band.
    exposures
        Number of exposures combined; all that the survey takes when omitted.
    """
    survey = get_band(band)
    share = (survey.n_exposures if exposures is None else exposures) / survey.n_exposures
    return (survey.sky_variance() + np.maximum(clean, 0) * survey.nJy_per_electron) / share
