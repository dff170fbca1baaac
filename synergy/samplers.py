"""Evaluation of a trigonometric polynomial at an image's pixel centres, the last step of an operator.

``y[q] = 1/L^2 sum_k Y(k) exp(2 pi i k . (M q + t) / L)`` with M the linear part of the map from image to
scene pixels and t its offset:

- where M is diagonal, for any scale ratio, shift and flip, by two small inverse DFT matrices: exact;
- elsewhere (rotation, shear, swapped axes) by a non-uniform FFT: an FFT onto a grid twice as fine as the
  polynomial needs, and an interpolation over 8 x 8 of its pixels with the "exponential of semicircle" kernel,
  whose own transform is divided out of Y. Relative error below 1e-6.

The interpolation works on tiles of pixels: one window of the fine grid holds what all pixels of a tile need,
so that a tile costs one gather (one scatter in the adjoint) and a small matrix product.

References
----------
Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479 (the kernel and its error).
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact, Int

PRECISE = jax.lax.Precision.HIGHEST
"""Accelerators round float32 products to 10 bits by default."""

_WIDTH = 8  # fine pixels under the non-uniform FFT's kernel
_BETA = 2.30 * _WIDTH  # its shape, optimal for a twofold finer grid (Barnett et al. 2019)
_TILE = 4  # most image pixels along the side of a tile
_SPAN = 9  # fine pixels that a tile's pixel centres may span


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Separable:
    """Evaluation of a spectrum on an axis-aligned lattice by inverse DFT matrices.

    Parameters
    ----------
    rows
        ``(ny, ky)`` inverse DFT along y.
    columns
        ``(kx, nx)`` inverse DFT along x over the half-plane ``kx >= 0``, with its doubling.
    """

    rows: Complex[Array, "y ky"]
    columns: Complex[Array, "kx x"]

    def __call__(self, spectrum: Complex[Array, "ky kx"]) -> Float[Array, "y x"]:
        """Return the values at the image's pixel centres."""
        half = jnp.matmul(self.rows, spectrum, precision=PRECISE)
        # Only the real part of the last product is needed: one real product of twice the length.
        left = jnp.concatenate([half.real, -half.imag], axis=-1)
        right = jnp.concatenate([self.columns.real, self.columns.imag], axis=-2)
        return jnp.matmul(left, right, precision=PRECISE)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NonUniform:
    """Evaluation of a spectrum at arbitrary positions by a non-uniform FFT of type 2.

    Parameters
    ----------
    corners
        ``(tile, 2)`` first fine pixel (y, x) of each tile's window.
    row_weights, column_weights
        ``(tile, pixel, width)`` kernel values of the pixels of each tile.
    fine
        Shape of the fine grid.
    shape
        Shape of the image.
    """

    corners: Int[Array, "tile 2"]
    row_weights: Float[Array, "tile pixel height"]
    column_weights: Float[Array, "tile pixel width"]
    fine: tuple[int, int] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    def __call__(self, spectrum: Complex[Array, "ky kx"]) -> Float[Array, "y x"]:
        """Return the values at the image's pixel centres."""
        positive = (spectrum.shape[0] + 1) // 2
        gap = jnp.zeros((self.fine[0] - spectrum.shape[0], spectrum.shape[1]), spectrum.dtype)
        padded = jnp.concatenate([spectrum[:positive], gap, spectrum[positive:]])
        values = jnp.fft.irfft(jnp.fft.ifft(padded, axis=0), n=self.fine[1], axis=1)
        window_shape = (self.row_weights.shape[-1], self.column_weights.shape[-1])
        values = jnp.pad(values, [(0, n) for n in window_shape], mode="wrap")

        # Whole windows: XLA gathers and scatters them several times faster than single pixels.
        def window(corner: Int[Array, " 2"]) -> Float[Array, "height width"]:
            return jax.lax.dynamic_slice(values, (corner[0], corner[1]), window_shape)

        weights = (self.row_weights, self.column_weights)
        pixels = jnp.einsum("tab,tpa,tpb->tp", jax.vmap(window)(self.corners), *weights, precision=PRECISE)
        side = math.isqrt(pixels.shape[1])
        ny, nx = (-(-n // side) for n in self.shape)
        image = pixels.reshape(ny, nx, side, side).swapaxes(1, 2).reshape(ny * side, nx * side)
        return image[: self.shape[0], : self.shape[1]]


def separable(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    period: tuple[int, int],
    shape: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Callable[[np.dtype], Separable], Float[np.ndarray, "#ky #kx"]]:
    """Return the sampler of an axis-aligned image in a precision of choice, and a factor for the transfer.

    Parameters
    ----------
    matrix, offset
        The affine map from image to scene pixels.
    period
        Size of the padded scene.
    shape
        Shape of the image.
    kept
        Shape of the half-plane of frequencies.
    """
    phases = []
    for axis, frequency in enumerate(frequencies(kept)):
        position = matrix[axis, axis] * np.arange(shape[axis]) + offset[axis]
        phases.append(np.exp(2j * np.pi * np.outer(position, frequency) / period[axis]) / period[axis])
    rows, columns = phases
    # Frequencies -kx are the complex conjugates of those kept: twice the real part, but for kx = 0.
    columns[:, 1:] *= 2
    return lambda real: Separable(leaf(rows, real), leaf(columns.T, real)), np.ones((1, 1))


def non_uniform(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    period: tuple[int, int],
    shape: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Callable[[np.dtype], NonUniform], Float[np.ndarray, "#ky #kx"]]:
    """Return the sampler of any other image in a precision of choice, and a factor for the transfer.

    Parameters
    ----------
    matrix, offset, period, shape, kept
        As in `separable`.
    """
    fine = tuple(fast_size(max(2 * n, 4 * _WIDTH), parity=0) for n in (kept[0], 2 * kept[1] - 1))
    per_pixel = np.abs(matrix).sum(axis=1) * np.array(fine) / np.array(period)
    side = min(_TILE, 1 + int(_SPAN / per_pixel.max()))
    tiles = [-(-n // side) for n in shape]
    covered = (tiles[0] * side, tiles[1] * side)
    positions = lattice(matrix, offset, covered).reshape(tiles[0], side, tiles[1], side, 2)
    positions = positions.swapaxes(1, 2).reshape(tiles[0] * tiles[1], side**2, 2)
    corners, weights, factors = [], [], []
    for axis, frequency in enumerate(frequencies(kept)):
        fine_position = positions[..., axis] * fine[axis] / period[axis]
        corner = np.ceil(fine_position.min(axis=1) - _WIDTH / 2)
        width = 1 + int(np.max(np.floor(fine_position.max(axis=1) + _WIDTH / 2) - corner))
        nodes = corner[:, None, None] + np.arange(width)
        weights.append(_kernel(nodes - fine_position[..., None]))
        corners.append(np.mod(corner, fine[axis]).astype(np.int32))
        # The inverse FFT divides by the size of the fine grid, the definition by the period.
        factors.append(fine[axis] / period[axis] / _kernel_transform(frequency / fine[axis]))

    def sampler(real: np.dtype) -> NonUniform:
        start = jnp.asarray(np.stack(corners, axis=-1))
        return NonUniform(start, leaf(weights[0], real), leaf(weights[1], real), fine, shape)

    return sampler, np.outer(*factors)


def _kernel(distance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the exponential-of-semicircle kernel at distances in fine pixels."""
    inner = np.clip(1 - (2 * distance / _WIDTH) ** 2, 0, None)
    return np.exp(_BETA * (np.sqrt(inner) - 1)) * (np.abs(distance) <= _WIDTH / 2)


def _kernel_transform(frequency: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the kernel's Fourier transform, cycles per fine pixel, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    values = _WIDTH / 2 * weights * _kernel(_WIDTH / 2 * nodes)
    return np.cos(np.pi * _WIDTH * np.outer(frequency, nodes)) @ values


def lattice(
    matrix: Float[np.ndarray, "2 2"], offset: Float[np.ndarray, " 2"], shape: tuple[int, int]
) -> Float[np.ndarray, "y x 2"]:
    """Return where the pixels of an image lie on the scene grid.

    Parameters
    ----------
    matrix, offset
        The affine map from image to scene pixels.
    shape
        Shape of the image.
    """
    return np.moveaxis(np.indices(shape), 0, -1) @ matrix.T + offset


def frequencies(shape: tuple[int, int]) -> tuple[Int[np.ndarray, " ky"], Int[np.ndarray, " kx"]]:
    """Return the integer frequencies of the kept half-plane: 0 .. K, -K .. -1 along y and 0 .. K along x.

    Parameters
    ----------
    shape
        Shape of the half-plane.
    """
    along_y = np.fft.fftfreq(shape[0], 1 / shape[0]).round().astype(int)
    return along_y, np.arange(shape[1])


def fast_size(least: float | int, parity: int | None = None) -> int:
    """Return the smallest integer without prime factors above 7, for fast FFTs.

    Parameters
    ----------
    least
        The integer is at least as large.
    parity
        1 for an odd one, 0 for an even one, None for any.
    """
    size, step = math.ceil(least), 1 if parity is None else 2
    if parity is not None:
        size += (size - parity) % 2
    while _without_small_factors(size) > 1:
        size += step
    return size


def _without_small_factors(number: int) -> int:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number


def leaf(array: Inexact[np.ndarray, "..."], real: np.dtype) -> Array:
    """Return a JAX array in the operator's precision.

    Parameters
    ----------
    array
        Real or complex.
    real
        Type of real numbers: float32 or float64.
    """
    return jnp.asarray(array.astype(np.result_type(real, np.complex64) if np.iscomplexobj(array) else real))
