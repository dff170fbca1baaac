"""The flux scale of a scene: the one number that is divided out before a scene meets the prior.

Galaxies span six magnitudes and more, a network does not. A scene ``x`` (nJy/pixel) is handed to the prior as

    u_b = x_b / (a c_b),

with a fixed factor ``c_b`` per band (the prior's `band_scale`, the mean colour of galaxies) and one scale
``a`` per scene. Both are linear, so the likelihood stays Gaussian. The scale is the *peak surface
brightness at ground-based resolution*: the largest pixel of the band-averaged scene after smoothing with a
Gaussian of 0.3 arcsec. It is intensive (it does not depend on how much sky a scene holds) and any
instrument in use can measure it.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SMOOTHING_ARCSEC = 0.3


def smooth(plane: Float[Array, "*batch y x"], pixel_scale: float) -> Float[Array, "*batch y x"]:
    """Smooth images with the Gaussian of the flux scale, taking the sky beyond the edge as empty.

    Parameters
    ----------
    plane
        Images.
    pixel_scale
        Their pixel scale in arcsec.
    """
    sigma = SMOOTHING_ARCSEC / pixel_scale

    def matrix(size: int) -> Array:
        offset = np.subtract.outer(np.arange(size), np.arange(size))
        kernel = np.exp(-0.5 * (offset / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        return jnp.asarray(kernel, plane.dtype)

    height, width = plane.shape[-2:]
    return matrix(height) @ plane @ matrix(width)


def scene_scale(
    scene: Float[Array, "*batch band y x"], band_scale: Float[Array, " band"], pixel_scale: float
) -> Float[Array, "*batch"]:
    """Return the flux scale of noise-free scenes.

    Parameters
    ----------
    scene
        Scenes in nJy/pixel.
    band_scale
        The prior's factor per band.
    pixel_scale
        Scene pixel scale in arcsec.
    """
    average = jnp.mean(scene / band_scale[:, None, None], axis=-3)
    return jnp.max(smooth(average, pixel_scale), axis=(-2, -1))
