"""Estimate a scene's flux scale (see `synergy.priors.scale`) from its observations.

The scale decides in which units the scene meets the prior; within a factor of two it does not matter,
because training scenes were jittered by as much. Each image is smoothed to the scale's resolution, ignoring
masked pixels; the image with the most significant peak proposes a value. A joint Wiener solution with that
value then refines it: it undoes the blur and combines all images. Its prior covariance is widened: that of
the prior is right for the average pixel, and would shrink a faint source to a fraction. What noise alone
would give at three sigma is a floor, so that empty or negative sky leads to a faint scene, not to magnified
noise.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from synergy.likelihood import GaussianLikelihood
from synergy.noise_spectrum import correlation_factor
from synergy.observation import Observation, response_row
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.scale import scene_scale, smooth
from synergy.sampling.circulant import CirculantPosterior, wiener_mean

WIDENED = 100.0
"""By how much the prior covariance is widened. Galaxies of S/N 8 to 20 in VIS, with all ten bands at survey
depth, then keep more than nine tenths of their scale (``tests/benchmarks/faint_sources.py``)."""


@dataclasses.dataclass(frozen=True)
class Smoothed:
    """An image smoothed to the scale's resolution.

    Parameters
    ----------
    flux, error
        Smoothed image and its noise, nJy/pixel.
    usable
        Pixels of which at least half the neighbourhood is known.
    """

    flux: Float[np.ndarray, "y x"]
    error: Float[np.ndarray, "y x"]
    usable: Bool[np.ndarray, "y x"]

    @classmethod
    def of(cls, observation: Observation) -> "Smoothed":
        """Smooth an image, ignoring masked pixels."""
        pixel_scale = observation.frame.pixel_scale
        ivar = np.where(observation.mask, 0.0, observation.ivar)
        image = np.where(ivar > 0, observation.image, 0.0)
        kernel_square = 1.0 / (4.0 * np.pi * (0.3 / pixel_scale) ** 2)
        coverage = np.maximum(np.asarray(smooth(jnp.asarray(ivar > 0, jnp.float32), pixel_scale)), 1e-3)
        flux = np.asarray(smooth(jnp.asarray(image, jnp.float32), pixel_scale)) / coverage
        variance = np.divide(1.0, ivar, out=np.zeros_like(ivar), where=ivar > 0)
        rms = np.sqrt(
            np.asarray(smooth(jnp.asarray(variance, jnp.float32), pixel_scale)) * kernel_square / coverage
        )
        rms = rms * np.sqrt(correlation_factor(observation.correlation, 0.3 / pixel_scale))
        return cls(flux, rms, coverage > 0.5)


def peak_and_noise(observation: Observation, prior: DiffusionPrior) -> tuple[float, float]:
    """Return an image's brightest smoothed pixel and its noise, as flux scales in nJy/scene pixel."""
    smoothed = Smoothed.of(observation)
    if not smoothed.usable.any():
        return 0.0, np.inf
    row = np.asarray(response_row(observation, prior.bands)) * np.asarray(prior.band_scale)
    unit = (prior.pixel_scale / observation.frame.pixel_scale) ** 2 / row.sum()
    return (
        float(smoothed.flux[smoothed.usable].max() * unit),
        float(np.median(smoothed.error[smoothed.usable]) * unit),
    )


def estimate_scale(
    observations: list[Observation],
    likelihood: GaussianLikelihood,
    normal: Float[np.ndarray, "ky kx band band"],
    prior: DiffusionPrior,
) -> float:
    """Estimate the flux scale in nJy/pixel.

    Parameters
    ----------
    observations
        The data.
    likelihood
        Their likelihood for scenes in units of the prior's band scales.
    normal
        Its circulant normal operator.
    prior
        The prior whose units are wanted.
    """
    peaks, noises = np.transpose([peak_and_noise(o, prior) for o in observations])
    floor = max(3.0 * float(noises.min()), prior.scale_floor)
    scale = max(float(peaks[np.argmax(peaks / noises)]), floor)
    images = tuple(image[None] for image in likelihood.images)
    unit = jnp.ones_like(prior.band_scale)
    covariance = prior.covariance.widened(WIDENED)
    for _ in range(2):
        scaled = likelihood.rescaled(jnp.float32(scale) * unit)
        circulant = CirculantPosterior.diagonalise(scale**2 * normal, covariance, likelihood.scene_shape[1:])
        mean = wiener_mean(scaled, covariance, circulant, images)[0]
        scale = max(scale * float(scene_scale(mean, unit, prior.pixel_scale)), floor)
    return scale
