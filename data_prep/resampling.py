r"""Interpolation of images from native pixels onto a finer grid, as a sparse matrix, and the noise it leaves.

A fine pixel is the weighted mean of the native pixels around it, the weights adding up to one: linear
interpolation, or a windowed sinc. White noise of the native pixels with variance :math:`V` has the covariance
:math:`R V R^T` afterwards. It depends on the sub-pixel phase, so from pixel to pixel; what noise
models with a map of the variance and one autocorrelation need is its diagonal, and the mean of
:math:`C_{p,p+d} / (s_p s_{p+d})` over the image: both are worked out here exactly.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float

KERNELS = {"bilinear": 1, "lanczos3": 3}
"""Interpolation kernels and their half-width in native pixels."""


def interpolation_matrix(
    rows: Float[np.ndarray, "y x"],
    columns: Float[np.ndarray, "y x"],
    native_shape: tuple[int, int],
    kernel: str = "bilinear",
) -> scipy.sparse.csr_array:
    """Return the matrix that takes a native image to a fine one, both raveled.

    Parameters
    ----------
    rows, columns
        Position of each fine pixel among the native ones, at least the half-width of the kernel from the
        edge.
    native_shape
        Shape of the native image.
    kernel
        One of `KERNELS`.
    """
    half = KERNELS[kernel]
    row, column = np.floor(rows.ravel()).astype(int), np.floor(columns.ravel()).astype(int)
    steps = np.arange(1 - half, half + 1)
    along_y = kernel_weights(rows.ravel() - row, kernel).T
    along_x = kernel_weights(columns.ravel() - column, kernel).T
    places = (row[:, None] + steps)[:, :, None] * native_shape[1] + (column[:, None] + steps)[:, None, :]
    weights = along_y[:, :, None] * along_x[:, None, :]
    taps = len(steps) ** 2
    starts = np.arange(0, taps * rows.size + 1, taps)
    return scipy.sparse.csr_array(
        (weights.ravel(), places.ravel(), starts), shape=(rows.size, native_shape[0] * native_shape[1])
    )


def kernel_weights(fraction: Float[np.ndarray, " n"], kernel: str) -> Float[np.ndarray, "tap n"]:
    """Return the weights of the native pixels around a position.

    Parameters
    ----------
    fraction
        Position beyond the native pixel before it, 0 to 1.
    kernel
        One of `KERNELS`.
    """
    half = KERNELS[kernel]
    distance = np.stack([fraction - j for j in range(1 - half, half + 1)])
    if kernel == "bilinear":
        return 1 - np.abs(distance)
    taps = np.sinc(distance) * np.sinc(distance / half)
    return taps / taps.sum(axis=0)


def mean_correlation(
    matrices: list[scipy.sparse.csr_array], shape: tuple[int, int]
) -> Float[np.ndarray, "dy dx"]:
    """Return the autocorrelation, averaged over the image, of the mean of several interpolated noise images.

    Parameters
    ----------
    matrices
        One per exposure, all of one noise level.
    shape
        Shape of the fine image.

    Returns
    -------
    Zero separation, where it is one, in the middle.
    """
    covariance = sum(matrix @ matrix.T for matrix in matrices).tocoo()
    rms = np.sqrt(covariance.diagonal())
    (y0, x0), (y1, x1) = (np.divmod(index, shape[1]) for index in (covariance.row, covariance.col))
    reach = int(max(np.abs(y1 - y0).max(), np.abs(x1 - x0).max()))
    side = 2 * reach + 1
    lag = (y1 - y0 + reach) * side + (x1 - x0 + reach)
    sums = np.bincount(lag, covariance.data / (rms[covariance.row] * rms[covariance.col]), minlength=side**2)
    pairs = np.outer(*(np.maximum(n - np.abs(np.arange(-reach, reach + 1)), 1) for n in shape))
    correlation = sums.reshape(side, side) / pairs
    return (correlation + correlation[::-1, ::-1]) / 2
