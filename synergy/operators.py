"""The linear map from a scene to an image, and its adjoint.

A scene plane is ``x[p] = h^2 (sky * G)(p)`` at scene pixel centres, with G the model PSF; an image pixel is
``y[q] = H^2 (sky * P)(q)``, with P the effective PSF. Both are samples of band-limited functions, so with the
scene zero-padded to a period L

    Y(k) = X(k) T(k),    T(k) = |det M| P(k) / G(k),    y[q] = 1/L^2 sum_k Y(k) exp(2 pi i k . p(q) / L),

where ``X`` is the discrete Fourier transform of the padded plane, ``p(q) = M q + t`` is where image pixel q
lies on the scene grid (from the two WCSs), and ``|det M|`` is the area of an image pixel in scene pixels. The
padding is at least the radius of the PSF, so that nothing wraps around onto the scene (undersampled stamps:
see `synergy.ringing`). Frequencies beyond the PSF's `band_limit` are dropped; L is odd where the Nyquist
frequency, shared between its two signs, would be among those that are left. `synergy.pixel_sampling`
evaluates what remains at the pixel centres.

Light that meets different PSFs (by its band: a chromatic PSF; by its place: one that varies over the field)
is a sum of terms t, each with a row of band weights, a map of weights over the scene and a PSF:

    Y(k) = sum_t T_t(k) F[g_t(p) sum_b r_tb x_b(p)](k).

A map multiplies the scene rather than the sky, that is it is taken as constant within the model PSF.

Everything that depends on the WCS and the PSF is computed once in float64 by `Operator.build`; what is left
for JAX is linear in the scene, so the adjoint is `jax.linear_transpose`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Complex, Float
from scipy.ndimage import map_coordinates

from synergy import ringing
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.pixel_sampling import (
    PRECISE,
    Folded,
    NonUniform,
    Separable,
    fast_size,
    folded,
    frequencies,
    leaf,
    non_uniform,
    separable,
)
from synergy.psf import MODEL_FWHM, NEGLIGIBLE, PSF, model_psf_transfer

ALIGNED = 1e-5
"""Largest departure from a diagonal or integer map, in scene pixels over the image, that is ignored."""

FOLDING_PAYS = 100_000
"""Products in a DFT matrix product from which folding is the faster way (measured on two CPU cores)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """The map from a scene ``(band, y, x)`` in nJy/pixel to one image ``(y, x)`` in nJy/pixel.

    Parameters
    ----------
    response
        Weight of each scene band in each term.
    transfer
        Transfer function of each term on the kept frequencies: ``ky = 0 .. K, -K .. -1`` and ``kx >= 0``.
    maps
        Weight of each scene pixel in each term; None where it is one.
    sampler
        Evaluation at the image's pixel centres.
    period
        Size of the padded scene.
    scene_shape
        Shape ``(y, x)`` of the scene.
    """

    response: Float[Array, "term band"]
    transfer: Complex[Array, "term ky kx"]
    maps: Float[Array, "term y x"] | None
    sampler: Separable | Folded | NonUniform
    period: tuple[int, int] = dataclasses.field(metadata={"static": True})
    scene_shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        frame_scene: Frame,
        frame_image: Frame,
        psf: PSF | Sequence[PSF],
        response: Float[np.ndarray, "*term band"],
        dtype: DTypeLike = jnp.float32,
        maps: Float[np.ndarray, "term v u"] | None = None,
        positions: Float[np.ndarray, "v u 2"] | None = None,
    ) -> "Operator":
        """Work out the operator of one image.

        Parameters
        ----------
        frame_scene, frame_image
            Pixel grids. An image may reach beyond the scene, where its sky is taken as empty.
        psf
            Effective PSF in the axes of the image's pixels, or one per term.
        response
            Weight of each scene band, in each term if there are several.
        dtype
            float32, or float64 where `jax_enable_x64` is on.
        maps
            Weight of each term over the image's pixels; beyond the image its nearest pixel counts.
        positions
            Where the image's pixels lie on the scene grid, (y, x): an explicit map in place of the two WCSs,
            for images that no affine map describes. A pixel's area follows from the map.

        Raises
        ------
        InputError
            If image and scene do not overlap, or no affine map ties them and there are no `positions`.
        """
        real = np.dtype(dtype)
        if jax.dtypes.canonicalize_dtype(real) != real:
            raise InputError(
                "Operator.build", f"dtype {real} with 64-bit JAX off", "float32", "Set jax_enable_x64."
            )
        psfs = (psf,) if isinstance(psf, PSF) else tuple(psf)
        rows = np.atleast_2d(np.asarray(response, np.float64))
        shape = frame_image.shape
        if positions is None:
            matrix, offset = frame_image.affine_to(frame_scene)
        else:
            matrix, offset = _local_affine(positions)
        mapped = _positions(matrix, offset, shape) if positions is None else positions
        if not np.any(_inside(mapped, frame_scene.shape, 0.0)):
            raise InputError(
                "Operator.build",
                "an image whose pixels all lie outside the scene",
                "an image that overlaps the scene",
                "Check the WCS of the image, or choose a scene frame that covers it.",
            )
        skew = max(abs(matrix[0, 1]) * shape[1], abs(matrix[1, 0]) * shape[0])
        aligned = positions is None and skew < ALIGNED
        steps = _integer_steps(matrix, shape) if aligned else None
        if aligned:
            matrix = np.diag(np.diag(matrix) if steps is None else steps)
        scale = frame_image.pixel_scale
        # The stamps' half-widths along the scene's axes; dividing by the model PSF widens them a little.
        halves = np.max([np.array(p.image.shape) * p.pixel_scale / 2 for p in psfs], axis=0) / scale
        least = np.array(frame_scene.shape) - 1 + np.abs(matrix) @ halves + 2 * MODEL_FWHM
        limits = np.max([_limits(matrix, p, scale) for p in psfs], axis=0)
        rings = any(p.rings for p in psfs)
        fold = None
        if steps is not None and not rings:
            fold = _fold(matrix, offset, psfs, scale, least, limits, shape)
        if fold is not None:
            sampler, period, transfer = fold
        else:
            if rings:
                least = np.maximum(least, [ringing.least_period(n) for n in frame_scene.shape])
            period = (_period(least[0], limits[0]), _period(least[1], limits[1]))
            transfer = np.stack(
                [
                    _transfer(matrix, p, scale, period, limits, frame_scene.shape if rings else None)
                    for p in psfs
                ]
            )
            kept = (transfer.shape[1], transfer.shape[2])
            if aligned:
                sampler, factor = separable(matrix, offset, period, shape, kept, real)
            else:
                area = None if positions is None else _pixel_area(positions) / abs(np.linalg.det(matrix))
                sampler, factor = non_uniform(mapped, area, period, kept, real)
            transfer = factor * transfer
        return cls(
            leaf(rows, real),
            leaf(transfer, real),
            None if maps is None else leaf(_on_scene(maps, matrix, offset, frame_scene.shape), real),
            sampler,
            period,
            frame_scene.shape,
        )

    def __call__(self, scene: Float[Array, "band y x"]) -> Float[Array, "v u"]:
        """Return the noise-free image of a scene, nJy/pixel."""
        return self.image(jnp.einsum("tb,byx->tyx", self.response, scene, precision=PRECISE))

    def image(self, planes: Float[Array, "term y x"]) -> Float[Array, "v u"]:
        """Return the image of planes: for each term the scene's bands, already weighted and summed."""
        planes = planes if self.maps is None else planes * self.maps
        _, ky, kx = self.transfer.shape
        positive = (ky + 1) // 2
        spectrum = jnp.fft.rfft(planes, n=self.period[1], axis=-1)[..., :kx]
        spectrum = jnp.fft.fft(spectrum, n=self.period[0], axis=-2)
        spectrum = jnp.concatenate(
            [spectrum[:, :positive], spectrum[:, self.period[0] - ky + positive :]], axis=-2
        )
        return self.sampler(jnp.sum(spectrum * self.transfer, axis=0))

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


def inside(
    frame_scene: Frame,
    frame_image: Frame,
    margin: float = 0.0,
    positions: Float[np.ndarray, "y x 2"] | None = None,
) -> Bool[np.ndarray, "y x"]:
    """Return which pixels of an image have their centre inside the scene.

    Parameters
    ----------
    frame_scene, frame_image
        Pixel grids.
    margin
        Arcsec by which they must lie inside the scene's edge.
    positions
        Where the image's pixels lie on the scene grid; from the two WCSs when None.
    """
    if positions is None:
        positions = _positions(*frame_image.affine_to(frame_scene), frame_image.shape)
    return _inside(positions, frame_scene.shape, margin / frame_scene.pixel_scale)


def _positions(
    matrix: Float[np.ndarray, "2 2"], offset: Float[np.ndarray, " 2"], shape: tuple[int, int]
) -> Float[np.ndarray, "y x 2"]:
    """Return where the pixels of an image lie on the scene grid."""
    return np.moveaxis(np.indices(shape), 0, -1) @ matrix.T + offset


def _inside(
    positions: Float[np.ndarray, "y x 2"], scene_shape: tuple[int, int], margin: float
) -> Bool[np.ndarray, "y x"]:
    low, high = margin - 0.5 - 1e-6, np.array(scene_shape) - margin - 0.5 + 1e-6
    return np.all((positions >= low) & (positions <= high), axis=-1)


def _local_affine(
    positions: Float[np.ndarray, "y x 2"],
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
    """Return the affine map nearest to a map of positions: it orients and scales the PSF."""
    pixels = np.moveaxis(np.indices(positions.shape[:2]), 0, -1).reshape(-1, 2)
    centre = pixels.mean(axis=0)
    design = np.column_stack([pixels - centre, np.ones(len(pixels))])
    solution, *_ = np.linalg.lstsq(design, positions.reshape(-1, 2), rcond=None)
    return solution[:2].T, solution[2] - solution[:2].T @ centre


def _pixel_area(positions: Float[np.ndarray, "y x 2"]) -> Float[np.ndarray, "y x"]:
    """Return the area of each pixel in scene pixels."""
    along_y, along_x = np.gradient(positions, axis=(0, 1))
    return np.abs(along_y[..., 0] * along_x[..., 1] - along_y[..., 1] * along_x[..., 0])


def _integer_steps(
    matrix: Float[np.ndarray, "2 2"], shape: tuple[int, int]
) -> Float[np.ndarray, " 2"] | None:
    """Return the pixel steps of an aligned image along the scene's axes if they are whole scene pixels."""
    steps = np.round(np.diag(matrix))
    off = np.abs(np.diag(matrix) - steps) * np.array(shape)
    return steps if np.all(np.abs(steps) >= 1) and np.all(off < ALIGNED) else None


def _on_scene(
    maps: Float[np.ndarray, "term v u"],
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    scene_shape: tuple[int, int],
) -> Float[np.ndarray, "term y x"]:
    """Interpolate maps over an image's pixels onto the scene; beyond the image its nearest pixel counts."""
    pixels = _positions(np.eye(2), np.zeros(2), scene_shape) - offset
    coordinates = np.moveaxis(pixels @ np.linalg.inv(matrix).T, -1, 0)
    return np.stack([map_coordinates(m, coordinates, order=3, mode="nearest") for m in maps])


def _fold(
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    psfs: tuple[PSF, ...],
    image_scale: float,
    least: Float[np.ndarray, " 2"],
    limits: Float[np.ndarray, " 2"],
    shape: tuple[int, int],
) -> tuple[Folded, tuple[int, int], Complex[np.ndarray, "term ky kx"]] | None:
    """Return sampler, period and transfer of an image of integer steps; None where folding does not do."""
    steps = np.abs(np.diag(matrix))
    period = tuple(int(s) * fast_size(max(n / s, m)) for n, s, m in zip(least, steps, shape, strict=True))
    kept = _kept(limits, period)
    if shape[0] * kept[0] * kept[1] < FOLDING_PAYS:
        return None
    sampler, factor = folded(matrix, offset, period, shape, kept)
    transfer = np.stack([_transfer(matrix, p, image_scale, period, limits) for p in psfs])
    along = np.meshgrid(*(k / n for k, n in zip(frequencies(kept), period, strict=True)), indexing="ij")
    star = np.abs(transfer).sum(axis=0) * model_psf_transfer(np.stack(along, axis=-1), 1.0)
    # The Nyquist limit of an even period, shared between its two signs, is left out: it must not matter.
    last_y = star[[kept[0] // 2, -(kept[0] // 2)]].sum() if kept[0] == period[0] - 1 else 0.0
    last_x = star[:, -1].sum() if 2 * kept[1] == period[1] else 0.0
    if last_y + last_x > NEGLIGIBLE * star.sum():
        return None
    return sampler, period, factor * transfer


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


def _kept(limits: Float[np.ndarray, " 2"], period: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of the half-plane of frequencies within the limits."""
    ky, kx = (min(math.ceil(f * n), (n - 1) // 2) for f, n in zip(limits, period, strict=True))
    return 2 * ky + 1, kx + 1


def _transfer(
    matrix: Float[np.ndarray, "2 2"],
    psf: PSF,
    image_scale: float,
    period: tuple[int, int],
    limits: Float[np.ndarray, " 2"],
    ringing_over: tuple[int, int] | None = None,
) -> Complex[np.ndarray, "ky kx"]:
    """Return |det M| P / G within the limits; where kernels ring, unwrapped over a scene of a given shape."""

    def evaluate(period: tuple[int, int], kept: tuple[int, int]) -> Complex[np.ndarray, "ky kx"]:
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

    kept = _kept(limits, period)
    return (
        evaluate(period, kept)
        if ringing_over is None
        else ringing.unwrapped(evaluate, kept, period, ringing_over)
    )
