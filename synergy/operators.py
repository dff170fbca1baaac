"""The linear map from a scene to an image, and its adjoint.

A scene plane is ``x[p] = h^2 (sky * G)(p)`` at scene pixel centres, with G the model PSF; an image pixel is
``y[q] = H^2 (sky * P)(q)``, with P the effective PSF. Both are samples of band-limited functions, so with the
scene zero-padded to a period L

    Y(k) = X(k) T(k),    T(k) = |det M| P(k) / G(k),    y[q] = 1/L^2 sum_k Y(k) exp(2 pi i k . p(q) / L),

where ``X`` is the discrete Fourier transform of the padded plane, ``p(q) = M q + t`` is where image pixel q
lies on the scene grid (from the two WCSs), and ``|det M|`` is the area of an image pixel in scene pixels. The
padding is at least the radius of the PSF, so that nothing wraps around onto the scene (undersampled stamps:
see `ringing`). Frequencies beyond the PSF's `band_limit` are dropped; L is odd where the Nyquist frequency,
shared between its two signs, would be among those that are left.

What remains is to evaluate a trigonometric polynomial at the image's pixel centres: see `samplers`.

Everything that depends on the WCS and the PSF is computed once in float64 by `Operator.build`; what is left
for JAX is linear in the scene, so the adjoint is `jax.linear_transpose`.

"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Complex, Float

from synergy import ringing
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.psf import MODEL_FWHM, PSF, model_psf_transfer
from synergy.samplers import (
    PRECISE,
    NonUniform,
    Separable,
    fast_size,
    frequencies,
    lattice,
    leaf,
    non_uniform,
    separable,
)

ALIGNED = 1e-5
"""Largest departure from a diagonal map, in scene pixels over the image, that still counts as aligned."""


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
        least, size = np.array(frame_scene.shape) - 1 + widths, frame_scene.shape
        if psf.rings:
            least = np.maximum(least, [ringing.least_period(n) for n in size])
        limits = _limits(matrix, psf, scale)
        period = (_period(least[0], limits[0]), _period(least[1], limits[1]))
        ky, kx = (min(math.ceil(f * n), (n - 1) // 2) for f, n in zip(limits, period, strict=True))
        kept = (2 * ky + 1, kx + 1)
        evaluate = functools.partial(_transfer, matrix, psf, scale)
        transfer = (
            evaluate(period, kept) if not psf.rings else ringing.unwrapped(evaluate, kept, period, size)
        )
        make = separable if aligned else non_uniform
        sampler, factor = make(
            matrix, offset, period, frame_image.shape, (transfer.shape[0], transfer.shape[1])
        )
        return cls(
            leaf(np.asarray(response, np.float64), real),
            leaf(transfer * factor, real),
            sampler(real),
            period,
            frame_scene.shape,
        )

    def __call__(self, scene: Float[Array, "band y x"]) -> Float[Array, "v u"]:
        """Return the noise-free image of a scene, nJy/pixel."""
        return self.image(jnp.einsum("b,byx->yx", self.response, scene, precision=PRECISE))

    def image(self, plane: Float[Array, "y x"]) -> Float[Array, "v u"]:
        """Return the image of a plane: the scene's bands, already weighted and summed."""
        (ky, kx), positive = self.transfer.shape, (self.transfer.shape[0] + 1) // 2
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


def _inside(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    scene_shape: tuple[int, int],
    image_shape: tuple[int, int],
    margin: float,
) -> Bool[np.ndarray, "y x"]:
    positions = lattice(matrix, offset, image_shape)
    low, high = margin - 0.5 - 1e-6, np.array(scene_shape) - margin - 0.5 + 1e-6
    return np.all((positions >= low) & (positions <= high), axis=-1)


def _limits(matrix: Float[np.ndarray, "2 2"], psf: PSF, image_scale: float) -> Float[np.ndarray, " 2"]:
    """Return the largest frequencies (ky, kx) that are worth keeping, in cycles per scene pixel."""
    to_scene = np.linalg.inv(matrix).T * image_scale  # cycles/arcsec along the image -> cycles/scene pixel
    reach = np.linalg.norm(to_scene, axis=1)
    disc = psf.band_limit(0.5 / float(reach.min())) * reach
    stamp = np.abs(to_scene).sum(axis=1) * 0.5 / psf.pixel_scale  # the square within its Nyquist limits
    return np.minimum(disc, stamp)


def _period(least: float, limit: float) -> int:
    """Return a fast size for the FFT; odd where an even one would drop a frequency worth keeping."""
    size = fast_size(least)
    return size if math.ceil(limit * size) < size / 2 else fast_size(least, parity=1)


def _transfer(
    matrix: Float[np.ndarray, "2 2"],
    psf: PSF,
    image_scale: float,
    period: tuple[int, int],
    kept: tuple[int, int],
) -> Complex[np.ndarray, "ky kx"]:
    """Return |det M| P / G on the kept frequencies."""
    along_y, along_x = (k / n for k, n in zip(frequencies(kept), period, strict=True))
    grid = np.stack(np.meshgrid(along_y, along_x, indexing="ij"), axis=-1)
    spacing = np.abs(matrix.T) @ (1 / np.array(period)) / image_scale
    cell = (float(spacing[0]), float(spacing[1]))
    if matrix[0, 1] == matrix[1, 0] == 0:
        scaled = (f * m / image_scale for f, m in zip((along_y, along_x), np.diag(matrix), strict=True))
        observed = psf.transfer_grid(*scaled, cell)
    else:
        # The phase k . (M q) is that of the frequency M^T k in the image's pixel axes.
        observed = psf.transfer(grid @ matrix / image_scale, cell)
    return abs(np.linalg.det(matrix)) * observed / model_psf_transfer(grid, 1.0)
