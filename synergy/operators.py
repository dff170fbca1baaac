"""The linear map from a scene to an image, and its adjoint.

A scene plane is ``x[p] = h^2 (sky * G)(p)`` at scene pixel centres, with G the model PSF; an image pixel is
``y[q] = H^2 (sky * P)(q)``, with P the effective PSF. Both are samples of band-limited functions, so with the
scene zero-padded to a period L

    Y(k) = X(k) T(k),    T(k) = |det M| P(k) / G(k),    y[q] = 1/L^2 sum_k Y(k) exp(2 pi i k . p(q) / L),

where ``X`` is the discrete Fourier transform of the padded plane, ``p(q) = M q + t`` is where image pixel q
lies on the scene grid (from the two WCSs), and ``|det M|`` is the area of an image pixel in scene pixels. The
padding is at least the radius of the PSF, so that nothing wraps around onto the scene; L is odd, so that
there is no Nyquist frequency to share between its two signs. Frequencies beyond the PSF's `band_limit` are
dropped.

What remains is to evaluate a trigonometric polynomial at the image's pixel centres:

- where M is diagonal, for any scale ratio, shift and flip, by two small inverse DFT matrices: exact;
- elsewhere (rotation, shear, swapped axes) by a non-uniform FFT: an FFT onto a grid twice as fine as the
  polynomial needs, and an interpolation over 8 x 8 of its pixels with the "exponential of semicircle" kernel,
  whose own transform is divided out of T. Relative error below 1e-6.

Everything that depends on the WCS and the PSF is computed once in float64 by `Operator.build`; what is left
for JAX is linear in the scene, so the adjoint is `jax.linear_transpose`.

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
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Complex, Float, Inexact, Int

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.psf import MODEL_FWHM, PSF, model_psf_transfer

ALIGNED = 1e-5
"""Largest departure from a diagonal map, in scene pixels over the image, that still counts as aligned."""

_WIDTH = 8  # fine pixels under the non-uniform FFT's kernel
_BETA = 2.30 * _WIDTH  # its shape, optimal for a twofold finer grid (Barnett et al. 2019)
_PRECISE = jax.lax.Precision.HIGHEST  # accelerators round float32 products to 10 bits by default


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
        half = jnp.matmul(self.rows, spectrum, precision=_PRECISE)
        # Only the real part of the last product is needed: one real product of twice the length.
        left = jnp.concatenate([half.real, -half.imag], axis=-1)
        right = jnp.concatenate([self.columns.real, self.columns.imag], axis=-2)
        return jnp.matmul(left, right, precision=_PRECISE)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NonUniform:
    """Evaluation of a spectrum at arbitrary positions by a non-uniform FFT of type 2.

    Parameters
    ----------
    corners
        ``(pixel, 2)`` first fine pixel (y, x) under the kernel.
    row_weights, column_weights
        ``(pixel, width)`` kernel values.
    fine
        Shape of the fine grid.
    shape
        Shape of the image.
    """

    corners: Int[Array, "pixel 2"]
    row_weights: Float[Array, "pixel width"]
    column_weights: Float[Array, "pixel width"]
    fine: tuple[int, int] = dataclasses.field(metadata={"static": True})
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    def __call__(self, spectrum: Complex[Array, "ky kx"]) -> Float[Array, "y x"]:
        """Return the values at the image's pixel centres."""
        positive = (spectrum.shape[0] + 1) // 2
        gap = jnp.zeros((self.fine[0] - spectrum.shape[0], spectrum.shape[1]), spectrum.dtype)
        padded = jnp.concatenate([spectrum[:positive], gap, spectrum[positive:]])
        values = jnp.fft.irfft(jnp.fft.ifft(padded, axis=0), n=self.fine[1], axis=1)
        values = jnp.pad(values, (0, _WIDTH), mode="wrap")

        # Whole windows: XLA gathers and scatters them several times faster than single pixels.
        def window(corner: Int[Array, " 2"]) -> Float[Array, "width width"]:
            return jax.lax.dynamic_slice(values, (corner[0], corner[1]), (_WIDTH, _WIDTH))

        weights = (self.row_weights, self.column_weights)
        pixels = jnp.einsum("pab,pa,pb->p", jax.vmap(window)(self.corners), *weights, precision=_PRECISE)
        return pixels.reshape(self.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """The map from a scene ``(band, y, x)`` in nJy/pixel to one image ``(y, x)`` in nJy/pixel.

    Parameters
    ----------
    response
        Weight of each scene band.
    transfer
        ``(ky, kx)`` transfer function on the kept frequencies: ``ky = 0 .. K, -K .. -1`` and ``kx >= 0``.
    sampler
        Evaluation at the image's pixel centres.
    period
        Size of the padded scene.
    scene_shape
        Shape ``(y, x)`` of the scene.
    """

    response: Float[Array, " band"]
    transfer: Complex[Array, "ky kx"]
    sampler: Separable | NonUniform
    period: tuple[int, int] = dataclasses.field(metadata={"static": True})
    scene_shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        frame_scene: Frame,
        frame_image: Frame,
        psf: PSF,
        response: Float[np.ndarray, " band"],
        dtype: DTypeLike = jnp.float32,
    ) -> "Operator":
        """Work out the operator of one image.

        Parameters
        ----------
        frame_scene, frame_image
            Pixel grids. An image may reach beyond the scene, where its sky is taken as empty.
        psf
            Effective PSF in the axes of the image's pixels.
        response
            Weight of each scene band.
        dtype
            float32, or float64 where `jax_enable_x64` is on.

        Raises
        ------
        InputError
            If image and scene do not overlap, or no affine map ties them.
        """
        real = np.dtype(dtype)
        if jax.dtypes.canonicalize_dtype(real) != real:
            raise InputError(
                "Operator.build", f"dtype {real} with 64-bit JAX off", "float32", "Set jax_enable_x64."
            )
        matrix, offset = frame_image.affine_to(frame_scene)
        if not np.any(_inside(matrix, offset, frame_scene.shape, frame_image.shape, 0.0)):
            raise InputError(
                "Operator.build",
                "an image whose pixels all lie outside the scene",
                "an image that overlaps the scene",
                "Check the WCS of the image, or choose a scene frame that covers it.",
            )
        ny, nx = frame_image.shape
        aligned = max(abs(matrix[0, 1]) * nx, abs(matrix[1, 0]) * ny) < ALIGNED
        if aligned:
            matrix = np.diag(np.diag(matrix))
        scale = frame_image.pixel_scale
        # The stamp's half-widths along the scene's axes; dividing by the model PSF widens it a little.
        widths = np.abs(matrix) @ (np.array(psf.image.shape) / 2) * psf.pixel_scale / scale + 2 * MODEL_FWHM
        least = np.array(frame_scene.shape) - 1 + widths
        period = (_fast_size(least[0], parity=1), _fast_size(least[1], parity=1))
        kept = _kept(matrix, psf, period, scale)
        make = _separable if aligned else _non_uniform
        sampler, factor = make(matrix, offset, period, frame_image.shape, kept)
        transfer = _transfer(matrix, psf, period, scale, kept)
        return cls(
            _leaf(np.asarray(response, np.float64), real),
            _leaf(transfer * factor, real),
            sampler(real),
            period,
            frame_scene.shape,
        )

    def __call__(self, scene: Float[Array, "band y x"]) -> Float[Array, "v u"]:
        """Return the noise-free image of a scene, nJy/pixel."""
        return self.image(jnp.einsum("b,byx->yx", self.response, scene, precision=_PRECISE))

    def image(self, plane: Float[Array, "y x"]) -> Float[Array, "v u"]:
        """Return the image of a plane: the scene's bands, already weighted and summed."""
        ky, kx = self.transfer.shape
        positive = (ky + 1) // 2
        spectrum = jnp.fft.rfft(plane, n=self.period[1], axis=1)[:, :kx]
        spectrum = jnp.fft.fft(spectrum, n=self.period[0], axis=0)
        spectrum = jnp.concatenate([spectrum[:positive], spectrum[self.period[0] - ky + positive :]])
        return self.sampler(spectrum * self.transfer)

    def rescaled(self, scale: Float[Array, " band"]) -> "Operator":
        """Return the operator that acts on ``scene / scale``.

        Parameters
        ----------
        scale
            Flux per unit of each band of the new variable.
        """
        return dataclasses.replace(self, response=self.response * scale)


def adjoint(
    operator: Operator, scene_shape: tuple[int, int, int]
) -> Callable[[Float[Array, "v u"]], Float[Array, "band y x"]]:
    """Return the exact transpose of an operator, a function from an image to a scene.

    Parameters
    ----------
    operator
        The operator.
    scene_shape
        Shape ``(band, y, x)`` of the scene.
    """
    like = jax.ShapeDtypeStruct(scene_shape, operator.response.dtype)
    transpose = jax.linear_transpose(operator, like)
    return lambda image: transpose(image)[0]


def inside(frame_scene: Frame, frame_image: Frame, margin: float = 0.0) -> Bool[np.ndarray, "y x"]:
    """Return which pixels of an image have their centre inside the scene.

    Parameters
    ----------
    frame_scene, frame_image
        Pixel grids.
    margin
        Arcsec by which they must lie inside the scene's edge.
    """
    matrix, offset = frame_image.affine_to(frame_scene)
    return _inside(matrix, offset, frame_scene.shape, frame_image.shape, margin / frame_scene.pixel_scale)


def _positions(
    matrix: Float[np.ndarray, "2 2"], offset: Float[np.ndarray, " 2"], shape: tuple[int, int]
) -> Float[np.ndarray, "y x 2"]:
    """Return where the pixels of an image lie on the scene grid."""
    return np.moveaxis(np.indices(shape), 0, -1) @ matrix.T + offset


def _inside(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    scene_shape: tuple[int, int],
    image_shape: tuple[int, int],
    margin: float,
) -> Bool[np.ndarray, "y x"]:
    positions = _positions(matrix, offset, image_shape)
    low, high = margin - 0.5 - 1e-6, np.array(scene_shape) - margin - 0.5 + 1e-6
    return np.all((positions >= low) & (positions <= high), axis=-1)


def _fast_size(least: float | int, parity: int) -> int:
    """Return the smallest integer >= `least` of a parity (1 odd, 0 even) without prime factors above 7."""
    size = math.ceil(least)
    size += (size - parity) % 2
    while _without_small_factors(size) > 1:
        size += 2
    return size


def _without_small_factors(number: int) -> int:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number


def _kept(
    matrix: Float[np.ndarray, "2 2"], psf: PSF, period: tuple[int, int], image_scale: float
) -> tuple[int, int]:
    """Return the shape of the half-plane of frequencies that are worth keeping."""
    to_scene = np.linalg.inv(matrix).T * image_scale  # cycles/arcsec along the image -> cycles/scene pixel
    reach = np.linalg.norm(to_scene, axis=1)
    disc = psf.band_limit(0.5 / float(reach.min())) * reach
    stamp = np.abs(to_scene).sum(axis=1) * 0.5 / psf.pixel_scale  # the square within its Nyquist limits
    ky, kx = (min(math.ceil(f * n), n // 2) for f, n in zip(np.minimum(disc, stamp), period, strict=True))
    return 2 * ky + 1, kx + 1


def _transfer(
    matrix: Float[np.ndarray, "2 2"],
    psf: PSF,
    period: tuple[int, int],
    image_scale: float,
    kept: tuple[int, int],
) -> Complex[np.ndarray, "ky kx"]:
    """Return |det M| P / G on the kept frequencies."""
    along_y, along_x = (k / n for k, n in zip(_frequencies(kept), period, strict=True))
    grid = np.stack(np.meshgrid(along_y, along_x, indexing="ij"), axis=-1)
    if matrix[0, 1] == matrix[1, 0] == 0:
        scaled = (f * m / image_scale for f, m in zip((along_y, along_x), np.diag(matrix), strict=True))
        observed = psf.transfer_grid(*scaled)
    else:
        # The phase k . (M q) is that of the frequency M^T k in the image's pixel axes.
        observed = psf.transfer(grid @ matrix / image_scale)
    return abs(np.linalg.det(matrix)) * observed / model_psf_transfer(grid, 1.0)


def _frequencies(shape: tuple[int, int]) -> tuple[Int[np.ndarray, " ky"], Int[np.ndarray, " kx"]]:
    """Return the integer frequencies of the kept half-plane: 0 .. K, -K .. -1 along y and 0 .. K along x."""
    along_y = np.fft.fftfreq(shape[0], 1 / shape[0]).round().astype(int)
    return along_y, np.arange(shape[1])


def _leaf(array: Inexact[np.ndarray, "..."], real: np.dtype) -> Array:
    """Return a JAX array in the operator's precision."""
    return jnp.asarray(array.astype(np.result_type(real, np.complex64) if np.iscomplexobj(array) else real))


def _separable(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    period: tuple[int, int],
    shape: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Callable[[np.dtype], Separable], Float[np.ndarray, "#ky #kx"]]:
    """Return the sampler of an axis-aligned image in a precision of choice, and a factor for the transfer."""
    phases = []
    for axis, frequency in enumerate(_frequencies(kept)):
        position = matrix[axis, axis] * np.arange(shape[axis]) + offset[axis]
        phases.append(np.exp(2j * np.pi * np.outer(position, frequency) / period[axis]) / period[axis])
    rows, columns = phases
    # Frequencies -kx are the complex conjugates of those kept: twice the real part, but for kx = 0.
    columns[:, 1:] *= 2
    return lambda real: Separable(_leaf(rows, real), _leaf(columns.T, real)), np.ones((1, 1))


def _non_uniform(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    period: tuple[int, int],
    shape: tuple[int, int],
    kept: tuple[int, int],
) -> tuple[Callable[[np.dtype], NonUniform], Float[np.ndarray, "#ky #kx"]]:
    """Return the sampler of any other image in a precision of choice, and a factor for the transfer."""
    fine = tuple(_fast_size(max(2 * n, 2 * _WIDTH), parity=0) for n in (kept[0], 2 * kept[1] - 1))
    positions = _positions(matrix, offset, shape).reshape(-1, 2)
    corners, weights, factors = [], [], []
    for axis, frequency in enumerate(_frequencies(kept)):
        fine_position = np.mod(positions[:, axis], period[axis]) * fine[axis] / period[axis]
        corner = np.ceil(fine_position - _WIDTH / 2)
        nodes = corner[:, None] + np.arange(_WIDTH)
        weights.append(_kernel(nodes - fine_position[:, None]))
        corners.append(np.mod(corner, fine[axis]).astype(np.int32))
        # The inverse FFT divides by the size of the fine grid, the definition by the period.
        factors.append(fine[axis] / period[axis] / _kernel_transform(frequency / fine[axis]))

    def sampler(real: np.dtype) -> NonUniform:
        start = jnp.asarray(np.stack(corners, axis=-1))
        return NonUniform(start, _leaf(weights[0], real), _leaf(weights[1], real), fine, shape)

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
