"""Transfer functions of undersampled PSF stamps: kernels that ring further than any padding reaches.

A stamp is the band-limited function through its samples. Where it still has power at its own Nyquist limit,
the edge of its spectrum is a cliff, and the convolution kernel rings at that frequency with an amplitude that
falls only as the inverse distance. Sampling such a spectrum at the frequencies of a padded scene lets the
ringing wrap around: some 1e-3 of the peak.

So the spectrum is sampled much more finely first, which puts the wrapped copies far away. The kernel that
results is right at every lag that a scene and the image inside it can have; a window that is one over these
lags and falls smoothly to zero beyond them makes it finite, and its discrete Fourier transform is the
transfer function of the padded scene. The period has to hold those lags on either side and the window's
slopes.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Complex, Float

FINE = 1200
"""Period, in scene pixels, on which a ringing kernel is worked out."""

SLOPE = (16, 0.25)
"""Least width of the window's slope, in scene pixels and as a part of the scene's size."""

Sizes = tuple[int, int]


def least_period(scene_size: int) -> int:
    """Return the least period that holds all lags within a scene, and the window's slopes.

    Parameters
    ----------
    scene_size
        Scene pixels along an axis.
    """
    return 2 * (scene_size + max(SLOPE[0], math.ceil(SLOPE[1] * scene_size))) + 1


def _kept_with_slopes(kept: Sizes, period: Sizes, scene_shape: Sizes) -> Sizes:
    """Return the half-plane of frequencies that holds the spectrum and what the window adds around it."""
    limits = ((kept[0] - 1) // 2, kept[1] - 1)
    ky, kx = (
        min(limit + math.ceil(4 * n / (n - 2 * size)), (n - 1) // 2)
        for limit, n, size in zip(limits, period, scene_shape, strict=True)
    )
    return 2 * ky + 1, kx + 1


def unwrapped(
    evaluate: Callable[[Sizes, Sizes], Complex[np.ndarray, "ky kx"]],
    kept: Sizes,
    period: Sizes,
    scene_shape: Sizes,
) -> Complex[np.ndarray, "ly lx"]:
    """Return the transfer function of a ringing kernel, on a half-plane larger than `kept`.

    Parameters
    ----------
    evaluate
        Returns the transfer function at the frequencies of a period, for a half-plane of the given shape.
    kept
        Shape of the half-plane beyond which the transfer function vanishes.
    period
        Size of the padded scene; at least `least_period`.
    scene_shape
        Size of the scene.
    """
    factor = max(1, FINE // max(period))
    fine = (period[0] * factor, period[1] * factor)
    limits = ((kept[0] - 1) // 2 * factor, (kept[1] - 1) * factor)
    spectrum = evaluate(fine, (2 * limits[0] + 1, limits[1] + 1))
    plane = np.zeros((fine[0], fine[1] // 2 + 1), np.complex128)
    plane[: limits[0] + 1, : limits[1] + 1] = spectrum[: limits[0] + 1]
    plane[fine[0] - limits[0] :, : limits[1] + 1] = spectrum[limits[0] + 1 :]
    kernel = np.fft.irfft2(plane, fine)
    lags = [np.fft.fftfreq(n, 1 / n).round().astype(int) for n in period]
    windows = [_window(lag, size) for lag, size in zip(lags, scene_shape, strict=True)]
    result = np.fft.rfft2(kernel[np.ix_(*lags)] * np.outer(*windows))
    ky, kx = _kept_with_slopes(kept, period, scene_shape)
    positive = (ky + 1) // 2
    return np.concatenate([result[:positive, :kx], result[period[0] - ky + positive :, :kx]])


def _window(lags: np.ndarray, flat: int) -> Float[np.ndarray, " n"]:
    """Return one up to a lag of `flat`, and a smooth fall to zero at the largest lag."""
    most = int(lags.max()) + 1
    return np.cos(0.5 * np.pi * np.clip((np.abs(lags) - flat) / (most - flat), 0, 1)) ** 2
