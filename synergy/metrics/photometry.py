"""How well an estimated scene keeps the light: total and aperture fluxes."""

import numpy as np
from jaxtyping import Float

_SUBPIXELS = 16


def total_flux_error(
    estimate: Float[np.ndarray, "*band y x"], truth: Float[np.ndarray, "*band y x"]
) -> Float[np.ndarray, "*band"]:
    """Return the relative error of the flux summed over the scene, ``estimate / truth - 1``.

    Parameters
    ----------
    estimate, truth
        Scenes in one unit.
    """
    return _sum(estimate) / _sum(truth) - 1


def aperture_weights(
    shape: tuple[int, int], center: tuple[float, float], radius: float
) -> Float[np.ndarray, "y x"]:
    """Return the share of each pixel that lies inside a circle, by 16 x 16 subpixels.

    Parameters
    ----------
    shape
        Number of pixels ``(ny, nx)``.
    center
        Pixel coordinates ``(y, x)`` of the circle's centre.
    radius
        Radius in pixels.
    """
    n = _SUBPIXELS
    y, x = (
        (np.arange(size * n) + 0.5) / n - 0.5 - middle for size, middle in zip(shape, center, strict=True)
    )
    inside = np.hypot(y[:, None], x[None, :]) <= radius
    return inside.reshape(shape[0], n, shape[1], n).mean(axis=(1, 3))


def aperture_flux(
    scene: Float[np.ndarray, "*band y x"], center: tuple[float, float], radius: float
) -> Float[np.ndarray, "*band"]:
    """Return the flux inside a circle.

    Parameters
    ----------
    scene
        Flux per pixel.
    center
        Pixel coordinates ``(y, x)`` of the circle's centre.
    radius
        Radius in pixels.
    """
    ny, nx = scene.shape[-2:]
    return _sum(scene * aperture_weights((ny, nx), center, radius))


def aperture_flux_error(
    estimate: Float[np.ndarray, "*band y x"],
    truth: Float[np.ndarray, "*band y x"],
    center: tuple[float, float],
    radius: float,
) -> Float[np.ndarray, "*band"]:
    """Return the relative error of the flux inside a circle, ``estimate / truth - 1``.

    Parameters
    ----------
    estimate, truth
        Scenes in one unit.
    center
        Pixel coordinates ``(y, x)`` of the circle's centre.
    radius
        Radius in pixels.
    """
    return aperture_flux(estimate, center, radius) / aperture_flux(truth, center, radius) - 1


def _sum(scene: Float[np.ndarray, "*band y x"]) -> Float[np.ndarray, "*band"]:
    return np.sum(scene, axis=(-2, -1), dtype=np.float64)
