"""Light maps on their own grid: how large a galaxy is, and smoothing away what its pixels do not resolve."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from data_prep.sky import LightMaps


def half_light_radius(
    light: Float[np.ndarray, "y x"], matrix: Float[np.ndarray, "2 2"] | None = None
) -> float:
    """Return the radius, about the image's centre, that holds half of the light.

    Parameters
    ----------
    light
        An image.
    matrix
        Linear map of its pixels ``(y, x)`` to where the aperture is round; none when omitted.
    """
    y, x = np.indices(light.shape)
    offset = np.stack([y - (light.shape[0] - 1) / 2, x - (light.shape[1] - 1) / 2])
    if matrix is not None:
        offset = np.tensordot(matrix, offset, axes=1)
    radius = np.hypot(*offset).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(light.ravel()[order])
    return float(radius[order][np.searchsorted(growth, 0.5 * growth[-1])])


def softened(light: LightMaps, sigma: float = 0.7) -> LightMaps:
    """Smooth away what pixels do not resolve: photon noise, steps of 8-bit images, cusps.

    To be done once per galaxy, when it is read or made: the Gaussian is fixed on the source grid, and
    `data_prep.placement` never lets a source pixel exceed 1.3 scene pixels, so that sources are finer than
    the model PSF. With a source pixel of half a scene pixel, which is typical, the default widens the model
    PSF by 8 %; what it blurs most, galaxies at the limit, have no structure of their own at that scale.

    Parameters
    ----------
    light
        Light maps, dark at the edges.
    sigma
        Width of the Gaussian in source pixels.
    """
    maps = np.stack([gaussian_filter(plane, sigma, mode="constant", truncate=5.0) for plane in light.maps])
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    radius = half_light_radius(np.tensordot(light.shares, maps, axes=1))
    return dataclasses.replace(light, maps=maps, radius=radius)
