"""S in ``A = S P R``: evaluate a scene's spectrum at the pixel centres of an image.

A scene zero-padded to a period L is a trigonometric polynomial,

    y[q] = 1/L^2 sum_k Y(k) exp(2 pi i k . p(q) / L),

with ``p(q)`` where pixel q of the image lies on the scene grid. Only frequencies within the PSF's band limit
are kept: ``ky = 0 .. K, -K .. -1`` and the half-plane ``kx >= 0``. There are three ways to evaluate it:

`Folded`
    Pixel steps along the scene's axes are integers: frequencies that differ by a multiple of the image's
    own band alias onto each other, so the spectrum is folded and a small inverse FFT gives the image. Exact.
`Separable`
    Any other axis-aligned grid, whatever its scale, shift and flips; small images too, where it is the faster
    one: two inverse DFT matrices. Exact.
`NonUniform`
    Everything else (rotation, shear, swapped axes, a map of positions): a non-uniform FFT, an FFT onto a grid
    twice as fine as the polynomial needs, and an interpolation over 8 x 8 of its pixels with the "exponential
    of semicircle" kernel, whose own transform is divided out. Relative error below 1e-6. It works on tiles of
    pixels: one window of the fine grid holds what all pixels of a tile need, so that a tile costs one gather
    (one scatter in the adjoint) and a small matrix product.

Each comes with a factor for the transfer function: what can be multiplied into it once.

References
----------
Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479 (the kernel and its error).
"""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact, Int

PRECISE = jax.lax.Precision.HIGHEST  # accelerators round float32 products to 10 bits by default

_WIDTH = 8  # fine pixels under the non-uniform FFT's kernel
_BETA = 2.30 * _WIDTH  # its shape, optimal for a twofold finer grid (Barnett et al. 2019)
_TILE = 4  # most image pixels along the side of a tile
_SPAN = 9  # fine pixels that a tile's pixel centres may span


class Sampler(Protocol):
    """A linear map from a spectrum on the kept frequencies to an image."""

    def __call__(self, spectrum: Complex[Array, "ky kx"]) -> Float[Array, "y x"]:
        """Return the values at the image's pixel centres."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Separable:
    """Evaluation on an axis-aligned lattice by inverse DFT matrices.

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
class Folded:
    """Evaluation on a lattice of integer steps by folding the spectrum.

    Parameters
    ----------
    size
        Pixels of the image in one period, along y and x.
    shape
        Shape of the image, no larger than `size`.
    flips
        Whether the image runs against the scene along y and x.
    """

    size: tuple[int, int] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    flips: tuple[bool, bool] = dataclasses.field(metadata={"static": True})

    def __call__(self, spectrum: Complex[Array, "ky kx"]) -> Float[Array, "y x"]:
        """Return the values at the image's pixel centres."""
        (ny, nx), (ky, kx) = self.size, spectrum.shape
        if ky <= ny:
            folded = _with_gap(spectrum, ny)
        else:
            folds = -(-ky // ny)
            folded = _with_gap(spectrum, folds * ny).reshape(folds, ny, kx).sum(axis=0)
        if 2 * kx - 1 <= nx:
            values = jnp.fft.irfft(jnp.fft.ifft(folded, axis=0), n=nx, axis=1)
        else:
            # The real part of the half-plane with its doubling is the whole plane's sum.
            doubled = jnp.concatenate([folded[:, :1], 2 * folded[:, 1:]], axis=1)
            folds = -(-kx // nx)
            doubled = jnp.pad(doubled, ((0, 0), (0, folds * nx - kx))).reshape(ny, folds, nx).sum(axis=1)
            values = jnp.fft.ifft2(doubled).real
        values = values[: self.shape[0], : self.shape[1]]
        return jnp.flip(values, axis=tuple(axis for axis in (0, 1) if self.flips[axis]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NonUniform:
    """Evaluation at arbitrary positions by a non-uniform FFT of type 2.

    Parameters
    ----------
    corners
        ``(tile, 2)`` first fine pixel (y, x) of each tile's window.
    row_weights, column_weights
        ``(tile, pixel, width)`` kernel values of the pixels of each tile; the rows' also hold a pixel's
        relative area.
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
        padded = _with_gap(spectrum, self.fine[0])
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
    real: np.dtype,
) -> tuple[Separable, Float[np.ndarray, "#ky #kx"]]:
    """Return the sampler of an axis-aligned image, and its factor for the transfer.

    Parameters
    ----------
    matrix, offset
        Map ``p = matrix @ q + offset`` from image pixels (y, x) to scene pixels; the matrix is diagonal.
    period
        Size of the padded scene.
    shape
        Shape of the image.
    kept
        Shape of the kept half-plane of frequencies.
    real
        float32 or float64.
    """
    phases = []
    for axis, frequency in enumerate(frequencies(kept)):
        position = matrix[axis, axis] * np.arange(shape[axis]) + offset[axis]
        phases.append(np.exp(2j * np.pi * np.outer(position, frequency) / period[axis]) / period[axis])
    rows, columns = phases
    # Frequencies -kx are the complex conjugates of those kept: twice the real part, but for kx = 0.
    columns[:, 1:] *= 2
    return Separable(leaf(rows, real), leaf(columns.T, real)), np.ones((1, 1))


def folded(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    period: tuple[int, int],
    shape: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Folded, Complex[np.ndarray, "ky kx"]]:
    """Return the sampler of an image of integer steps, and its factor for the transfer: the shift's phase.

    Parameters
    ----------
    matrix, offset, period, shape, kept
        As for `separable`; the diagonal is integer and divides the period.
    """
    steps = np.diag(matrix)
    size = tuple(round(n / abs(step)) for n, step in zip(period, steps, strict=True))
    # A flipped axis is evaluated from its other end and turned round.
    start = offset + np.where(steps < 0, steps * (np.array(shape) - 1), 0.0)
    phases = [
        np.exp(2j * np.pi * frequency * begin / n)
        for frequency, begin, n in zip(frequencies(kept), start, period, strict=True)
    ]
    # The inverse FFT divides by the size of the small grid, the definition by the period.
    scale = np.prod(size) / np.prod(period)
    return Folded(size, shape, (bool(steps[0] < 0), bool(steps[1] < 0))), scale * np.outer(*phases)


def non_uniform(
    positions: Float[np.ndarray, "y x 2"],
    area: Float[np.ndarray, "y x"] | None,
    period: tuple[int, int],
    kept: tuple[int, int],
    real: np.dtype,
) -> tuple[NonUniform, Float[np.ndarray, "ky kx"]]:
    """Return the sampler of any image, and its factor for the transfer.

    Parameters
    ----------
    positions
        Where each pixel lies on the scene grid, (y, x).
    area
        Area of each pixel relative to the one in the transfer; None for one.
    period, kept, real
        As for `separable`.
    """
    shape = (positions.shape[0], positions.shape[1])
    fine = tuple(fast_size(max(2 * n, 4 * _WIDTH), parity=0) for n in (kept[0], 2 * kept[1] - 1))
    steps = [np.abs(np.diff(positions, axis=axis)).max(axis=(0, 1), initial=0.0) for axis in (0, 1)]
    per_pixel = np.add(*steps) * np.array(fine) / np.array(period)
    side = min(_TILE, 1 + int(_SPAN / max(per_pixel.max(), 1e-9)))
    tiled = _tiles(positions, side)
    corners, weights, factors = [], [], []
    for axis, frequency in enumerate(frequencies(kept)):
        fine_position = tiled[..., axis] * fine[axis] / period[axis]
        corner = np.ceil(fine_position.min(axis=1) - _WIDTH / 2)
        width = 1 + int(np.max(np.floor(fine_position.max(axis=1) + _WIDTH / 2) - corner))
        nodes = corner[:, None, None] + np.arange(width)
        weights.append(_kernel(nodes - fine_position[..., None]))
        corners.append(np.mod(corner, fine[axis]).astype(np.int32))
        # The inverse FFT divides by the size of the fine grid, the definition by the period.
        factors.append(fine[axis] / period[axis] / _kernel_transform(frequency / fine[axis]))
    if area is not None:
        weights[0] = weights[0] * _tiles(area[..., None], side)
    start = jnp.asarray(np.stack(corners, axis=-1))
    sampler = NonUniform(start, leaf(weights[0], real), leaf(weights[1], real), fine, shape)
    return sampler, np.outer(*factors)


def _tiles(image: Float[np.ndarray, "y x c"], side: int) -> Float[np.ndarray, "tile pixel c"]:
    """Cut an image into square tiles, its last row and column repeated to fill them."""
    ny, nx = (-(-n // side) for n in image.shape[:2])
    filled = np.pad(
        image, [(0, ny * side - image.shape[0]), (0, nx * side - image.shape[1]), (0, 0)], mode="edge"
    )
    return filled.reshape(ny, side, nx, side, -1).swapaxes(1, 2).reshape(ny * nx, side**2, -1)


def frequencies(kept: tuple[int, int]) -> tuple[Int[np.ndarray, " ky"], Int[np.ndarray, " kx"]]:
    """Return the integer frequencies of the kept half-plane: 0 .. K, -K .. -1 along y and 0 .. K along x."""
    along_y = np.fft.fftfreq(kept[0], 1 / kept[0]).round().astype(int)
    return along_y, np.arange(kept[1])


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
    size += 0 if parity is None else (size - parity) % 2
    while _without_small_factors(size) > 1:
        size += step
    return size


def _without_small_factors(number: int) -> int:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number


def leaf(array: Inexact[np.ndarray, "..."], real: np.dtype) -> Array:
    """Return a JAX array in a precision."""
    return jnp.asarray(array.astype(np.result_type(real, np.complex64) if np.iscomplexobj(array) else real))


def _with_gap(spectrum: Complex[Array, "ky kx"], size: int) -> Complex[Array, "size kx"]:
    """Return the spectrum with zeros between its positive and negative ky."""
    positive = (spectrum.shape[0] + 1) // 2
    gap = jnp.zeros((size - spectrum.shape[0], spectrum.shape[1]), spectrum.dtype)
    return jnp.concatenate([spectrum[:positive], gap, spectrum[positive:]])


def _kernel(distance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the exponential-of-semicircle kernel at distances in fine pixels."""
    inner = np.clip(1 - (2 * distance / _WIDTH) ** 2, 0, None)
    return np.exp(_BETA * (np.sqrt(inner) - 1)) * (np.abs(distance) <= _WIDTH / 2)


def _kernel_transform(frequency: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the kernel's Fourier transform, cycles per fine pixel, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    values = _WIDTH / 2 * weights * _kernel(_WIDTH / 2 * nodes)
    return np.cos(np.pi * _WIDTH * np.outer(frequency, nodes)) @ values
