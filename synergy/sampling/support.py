"""How much of each pixel's information came from the data.

Under the prior's stationary Gaussian covariance the fraction of a pixel's prior variance that the data
remove is known exactly; it depends on PSFs, noise and masks but not on the images' values. We estimate it
by simulation: draw scenes from the Gaussian prior, observe them, take the Wiener mean, and compare the
variance of what is left with the prior's:

    support = 1 - <(x - x_mean)^2> / <x^2>.

One is full support by data, zero means that the prior alone speaks. The estimate is smoothed over a few
pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.ndimage import gaussian_filter

from synergy.likelihood import GaussianLikelihood
from synergy.priors.covariance import SpectralCovariance
from synergy.sampling.circulant import CirculantPosterior, wiener_mean

SMOOTHING = 3.0
"""Sigma of the smoothing of variances, pixels."""


def support_map(
    likelihood: GaussianLikelihood,
    covariance: SpectralCovariance,
    circulant: CirculantPosterior,
    key: Array,
    shape: tuple[int, int, int],
    probes: int = 8,
) -> Float[np.ndarray, "band y x"]:
    """Estimate the fraction of prior variance that the data remove.

    Parameters
    ----------
    likelihood, covariance, circulant
        Likelihood, prior covariance and circulant posterior in the same units.
    key
        Random key of the simulations.
    shape
        ``(band, y, x)`` of the scene.
    probes
        Number of simulated scenes.
    """
    key_scene, key_noise = jax.random.split(key)
    scenes = covariance.draw(key_scene, (probes, *shape))
    predicted = jax.vmap(likelihood.forward)(scenes)
    keys = jax.random.split(key_noise, len(predicted))
    images = tuple(
        image + jax.vmap(noise.draw)(jax.random.split(k, probes))
        for image, noise, k in zip(predicted, likelihood.noises, keys, strict=True)
    )
    left = scenes - wiener_mean(likelihood, covariance, circulant, images)
    smoothing = (0.0, SMOOTHING, SMOOTHING)
    after = gaussian_filter(np.asarray(jnp.mean(left**2, axis=0)), smoothing)
    before = np.asarray(jnp.mean(scenes**2, axis=(0, 2, 3)))[:, None, None]
    return np.clip(1.0 - after / before, 0.0, 1.0).astype(np.float32)
