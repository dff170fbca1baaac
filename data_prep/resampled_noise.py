r"""Noise as resampled mosaics have it: NISP and ground images on Euclid's 0.1 arcsec grid.

White noise on native pixels is interpolated onto finer ones, for several dithers with random sub-pixel phases
and a rotation, and averaged. Interpolation with weights that sum to one leaves noise that is smooth over
about two native pixels, with a variance that depends on the phase and is, on average over phases,

.. math:: \frac{1}{n_\mathrm{dithers}} \Big\langle \sum_j k(j - \phi)^2 \Big\rangle_\phi^2 .

Real mosaics also hold a little white noise: a power of 0.012 of the mean in Euclid Q1's NISP images
(``tests/benchmarks/correlated_noise.py``), the `pedestal`.
"""

import numpy as np
from jaxtyping import Float

KERNELS = {"bilinear": 1, "lanczos3": 3}
"""Interpolation kernels and their half-width in native pixels."""

PEDESTAL = 0.0125


def resampled_noise(
    shape: tuple[int, int],
    native: float,
    rng: np.random.Generator,
    kernel: str = "bilinear",
    dithers: int = 4,
    rotation: float = 20.0,
    pedestal: float = PEDESTAL,
) -> Float[np.ndarray, "y x"]:
    """Make noise of unit mean variance.

    Parameters
    ----------
    shape
        ``(y, x)`` in fine pixels.
    native
        Size of a native pixel in fine pixels: 3 for NISP.
    rng
        Random numbers.
    kernel
        One of `KERNELS`.
    dithers
        Exposures averaged.
    rotation
        Angle between the two grids in degrees; the dithers differ from it by half a degree or so.
    pedestal
        Share of the variance that is white.
    """
    side = int(np.hypot(*shape) / native) + 4 * KERNELS[kernel] + 4
    y, x = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
    total = np.zeros(shape)
    for _ in range(dithers):
        turn = np.deg2rad(rotation + rng.normal(0, 0.5))
        phase = rng.uniform(-0.5, 0.5, 2)
        rows = (np.cos(turn) * y - np.sin(turn) * x) / native + side / 2 + phase[0]
        columns = (np.sin(turn) * y + np.cos(turn) * x) / native + side / 2 + phase[1]
        total += _interpolated(rng.standard_normal((side, side)), rows, columns, kernel)
    phases = np.linspace(0, 1, 1000, endpoint=False)
    variance = np.mean(np.sum(_weights(phases, kernel) ** 2, axis=0)) ** 2 / dithers
    white = rng.standard_normal(shape)
    return np.sqrt((1 - pedestal) / variance) * total / dithers + np.sqrt(pedestal) * white


def _interpolated(
    image: Float[np.ndarray, "v u"],
    rows: Float[np.ndarray, "y x"],
    columns: Float[np.ndarray, "y x"],
    kernel: str,
) -> Float[np.ndarray, "y x"]:
    first = 1 - KERNELS[kernel]
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    total = np.zeros(rows.shape)
    for j, along_y in enumerate(_weights(rows - row, kernel)):
        for i, along_x in enumerate(_weights(columns - column, kernel)):
            total += along_y * along_x * image[row + j + first, column + i + first]
    return total


def _weights(fraction: Float[np.ndarray, "*shape"], kernel: str) -> Float[np.ndarray, "tap *shape"]:
    """Return the weights of the native pixels around a position, the fraction of a pixel beyond the floor."""
    half = KERNELS[kernel]
    distance = np.stack([fraction - j for j in range(1 - half, half + 1)])
    if kernel == "bilinear":
        return 1 - np.abs(distance)
    taps = np.sinc(distance) * np.sinc(distance / half)
    return taps / taps.sum(axis=0)
