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

from data_prep.resampling import KERNELS, interpolation_matrix, kernel_weights

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
        One of `data_prep.resampling.KERNELS`.
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
        matrix = interpolation_matrix(rows, columns, (side, side), kernel)
        total += (matrix @ rng.standard_normal(side * side)).reshape(shape)
    phases = np.linspace(0, 1, 1000, endpoint=False)
    variance = np.mean(np.sum(kernel_weights(phases, kernel) ** 2, axis=0)) ** 2 / dithers
    white = rng.standard_normal(shape)
    return np.sqrt((1 - pedestal) / variance) * total / dithers + np.sqrt(pedestal) * white
