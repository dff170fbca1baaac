"""Light maps on the grid of a scene, seen through the model PSF, by numpy alone.

A galaxy's light maps are stretched, sheared, turned, flipped and shifted by one affine map of source pixels
``(y, x)`` to scene pixels ``(y, x)``, and convolved with the model PSF on the way: the source grid is
smoothed with the elliptical Gaussian that the affine map turns into the round model PSF, then interpolated.
Smoothing comes first, so that shrinking does not alias.

The centre of the source grid, ``(n - 1) / 2``, falls on the centre of the source, and flips are in the
matrix, as a negative determinant: the convention of `data_prep.rendering`, too.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, map_coordinates

from data_prep.sky import LightMaps

MODEL_SIGMA = 2.0 / np.sqrt(8.0 * np.log(2.0))  # scene pixels: a FWHM of two


def place(
    maps: Float[np.ndarray, "map y x"],
    matrix: Float[np.ndarray, "2 2"],
    centre: tuple[float, float],
    shape: tuple[int, int],
) -> Float[np.ndarray, "map v u"]:
    """Put light maps onto the scene grid, seen through the model PSF.

    Parameters
    ----------
    maps
        Light per source pixel; the edges must be dark.
    matrix
        Linear map of source pixels ``(y, x)`` to scene pixels ``(y, x)``.
    centre
        Where the centre of the maps falls, scene pixels ``(y, x)``.
    shape
        Shape of the scene.

    Returns
    -------
    array
        Light per scene pixel. The total is kept, but for what falls off the scene.
    """
    inverse = np.linalg.inv(matrix)
    covariance = MODEL_SIGMA**2 * inverse @ inverse.T
    reach = int(np.ceil(4.0 * np.sqrt(np.linalg.eigvalsh(covariance)[-1])))  # room for the PSF's wings
    height, width = (next_fast_len(n + 2 * reach, real=True) for n in maps.shape[-2:])
    # The centre must stay between the same pixels, so what is added is even.
    height, width = (p + (p - n) % 2 for n, p in zip(maps.shape[-2:], (height, width), strict=True))
    margins = [((p - n) // 2,) * 2 for n, p in zip(maps.shape[-2:], (height, width), strict=True)]
    maps = np.pad(maps, [(0, 0), *margins])
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    quadratic = covariance[0, 0] * ky**2 + 2.0 * covariance[0, 1] * ky * kx + covariance[1, 1] * kx**2
    gain = np.exp(-2.0 * np.pi**2 * quadratic)
    smooth = irfft2(rfft2(maps) * gain, s=(height, width))

    corners = (
        np.array([[y, x] for y in (-height / 2, height / 2) for x in (-width / 2, width / 2)]) @ matrix.T
    )
    low = np.maximum(np.floor(corners.min(axis=0) + centre).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0) + centre).astype(int) + 1, shape)
    out = np.zeros((len(maps), *shape))
    if np.any(high <= low):
        return out
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
    offset = np.stack([y - centre[0], x - centre[1]])
    source = (
        np.tensordot(inverse, offset, axes=1) + np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    )
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    for plane, target in zip(smooth, out, strict=True):
        target[window] = map_coordinates(plane, source, order=3, mode="constant") * abs(
            np.linalg.det(inverse)
        )
    return np.maximum(out, 0.0)


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
