"""Make an image fit to be turned and placed: its galaxy in the middle of the array, its edges dark.

The galaxy's centre is the brightest point of its image smoothed by a Gaussian of `SMOOTHING` of the
half-light radius, on whole pixels; the array becomes an odd square about it. A frame that cuts light off
would show its square edge once it is turned, so such a frame is faded to zero towards its edge.
"""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from data_prep.planes import half_light_radius
from synergy.windows import fade

SMOOTHING = 0.2
DARK = 1e-6
"""Light per pixel at the edge, relative to the brightest pixel, that does not show."""
FADE = 0.7
"""Radius, in half-widths of the frame, at which fading begins."""


def framed(light: Float[np.ndarray, "band y x"]) -> Float[np.ndarray, "band v u"]:
    """Return the light about the galaxy's centre, with dark edges.

    Parameters
    ----------
    light
        Light per pixel in each band, not negative.
    """
    total = light.mean(axis=0)
    edge = np.concatenate([total[0], total[-1], total[:, 0], total[:, -1]])
    if edge.max() > DARK * total.max():
        light = light * _fade(total.shape)
        total = light.mean(axis=0)
    smooth = gaussian_filter(total, max(1.0, SMOOTHING * half_light_radius(total)), mode="constant")
    centre = np.unravel_index(np.argmax(smooth), total.shape)
    lit = np.argwhere(total > 0)
    half = int(np.max(np.abs(lit - centre))) + 1
    padded = np.pad(light, [(0, 0), (half, half), (half, half)])
    return padded[:, centre[0] : centre[0] + 2 * half + 1, centre[1] : centre[1] + 2 * half + 1]


def _fade(shape: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    y, x = ((np.arange(n) - (n - 1) / 2.0) / (n / 2.0) for n in shape)
    radius = np.hypot(y[:, None], x[None, :])
    return fade(radius, FADE, 1.0)
