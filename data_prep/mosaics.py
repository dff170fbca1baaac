r"""Images as Euclid's MER pipeline delivers them: dithers interpolated onto 0.1 arcsec and averaged.

Each exposure is rendered on its own native pixels, with its own sub-pixel offset and its share of the noise,
interpolated linearly (in Q1 mosaics adjacent pixels correlate as linear interpolation has it, see
`synergy.io.resampled`), and averaged with the others. The observation says what that leaves:

- *Noise.* The exact variance of every pixel, and the autocorrelation averaged over the image
  (`data_prep.resampling`). Real mosaics also hold a little white noise, `PEDESTAL` of the variance.
- *PSF.* Averaged over sub-pixel phases, linear interpolation is a convolution with a triangle, two native
  pixels wide, along both axes of the native pixels: part of the effective PSF.
- *Phases.* What the four phases at hand do differently from the average is no noise, but unknown to whoever
  reads the image; as for real mosaics, its variance (`synergy.io.resampled`) is part of the total, and
  `independent`.
"""

from collections.abc import Mapping, Sequence

import galsim
import numpy as np
import scipy.sparse
from jaxtyping import Float

from data_prep.exposures import pixel_variance
from data_prep.psfs import EffectivePSF
from data_prep.render import image_frame, pixel_scale, tangent_map
from data_prep.rendering import render_images
from data_prep.resampled_noise import PEDESTAL
from data_prep.resampling import KERNELS, interpolation_matrix, mean_correlation
from data_prep.sky import Sky
from synergy.frame import Frame
from synergy.io.resampled import interpolation_variance
from synergy.observation import Observation
from synergy.psf import PSF
from synergy.survey import get_band

PIXEL_SCALE = 0.1
"""Arcsec per pixel of a mosaic."""

MOST_DITHERS = 4
"""Surveys of many exposures are taken for this many, each of many exposures at one offset."""

_STAMP_SCALE = 0.05


def observe_mosaic(
    sky: Sky,
    scene: Frame,
    mosaic: Frame,
    exposures: Sequence[Frame],
    psfs: Sequence[EffectivePSF],
    combined: Mapping[str, int],
    rng: np.random.Generator,
) -> list[Observation]:
    """Make the mosaics of one camera's bands.

    Parameters
    ----------
    sky
        The sky.
    scene
        Frame of the scene, whose axes the sky uses.
    mosaic
        Frame of the mosaics.
    exposures
        Frames of the dithered exposures (`exposure_frames`).
    psfs
        Effective PSF of each band, in the exposures' axes.
    combined
        Band -> number of exposures combined, shared out among the dithers.
    rng
        Random numbers.
    """
    matrices = [_interpolation(mosaic, frame) for frame in exposures]
    correlation = (1 - PEDESTAL) * mean_correlation(matrices, mosaic.shape)
    correlation[correlation.shape[0] // 2, correlation.shape[1] // 2] += PEDESTAL
    clean = [render_images(sky, scene, frame, psfs) for frame in exposures]
    return [
        _combined(
            [images[psf.band] for images in clean],
            matrices,
            mosaic,
            correlation,
            seen,
            combined[psf.band],
            rng,
        )
        for psf, seen in ((psf, _interpolated_psf(psf, exposures[0], mosaic)) for psf in psfs)
    ]


def exposure_frames(
    scene: Frame,
    mosaic: Frame,
    pixel_scale: float,
    dithers: Float[np.ndarray, "dither 2"],
    rotation: float,
    flipped: bool,
) -> list[Frame]:
    """Return the frames of dithered exposures that cover a mosaic.

    Parameters
    ----------
    scene
        Frame of the scene.
    mosaic
        Frame of the mosaic.
    pixel_scale
        Arcsec per native pixel.
    dithers
        Offset (y, x) of each exposure in native pixels.
    rotation, flipped
        Orientation, as in `image_frame`.
    """
    turn, _ = tangent_map(mosaic, image_frame(scene, (9, 9), pixel_scale, rotation=rotation, flipped=flipped))
    half = np.abs(turn[::-1, ::-1]) @ (np.array(mosaic.shape) / 2) * PIXEL_SCALE / pixel_scale
    ny, nx = (2 * int(np.ceil(h)) + 2 * KERNELS["bilinear"] + 4 for h in half)
    return [
        image_frame(scene, (ny, nx), pixel_scale, (float(y), float(x)), rotation, flipped) for y, x in dithers
    ]


def _combined(
    clean: list[Float[np.ndarray, "v u"]],
    matrices: list[scipy.sparse.csr_array],
    mosaic: Frame,
    correlation: Float[np.ndarray, "dy dx"],
    psf: EffectivePSF,
    number: int,
    rng: np.random.Generator,
) -> Observation:
    """Add noise to exposures and average them on the mosaic's pixels."""
    survey, dithers = get_band(psf.band), len(clean)
    each = number / dithers
    signal, noise, variance = np.zeros((3, mosaic.shape[0] * mosaic.shape[1]))
    for image, matrix in zip(clean, matrices, strict=True):
        native = pixel_variance(image, psf.band, each).ravel()
        signal += matrix @ image.ravel() / dithers
        noise += matrix @ (np.sqrt(native) * rng.standard_normal(native.shape)) / dithers
        variance += matrix.power(2) @ native / dithers**2
    # From the surface brightness of native pixels to the flux in the mosaic's.
    area = (PIXEL_SCALE / survey.pixel_scale) ** 2
    signal, noise, variance = (part.reshape(mosaic.shape) for part in (signal, noise, variance))
    noise = np.sqrt(1 - PEDESTAL) * noise + np.sqrt(PEDESTAL * variance) * rng.standard_normal(mosaic.shape)
    signal, noise, variance = area * signal, area * noise, area**2 * variance
    no_holes = np.zeros(mosaic.shape, bool)
    phases = interpolation_variance(signal, no_holes, survey.pixel_scale / PIXEL_SCALE, dithers)
    return Observation(
        name=psf.band,
        band=psf.band,
        image=signal + noise,
        ivar=1 / (variance + phases),
        mask=no_holes,
        psf=psf.psf,
        frame=mosaic,
        correlation=correlation,
        independent=phases,
        meta={"origin": "mock", "native_pixel_scale": survey.pixel_scale, "dithers": dithers},
    )


def _interpolation(mosaic: Frame, exposure: Frame) -> scipy.sparse.csr_array:
    turn, offset = tangent_map(mosaic, exposure)
    y, x = np.indices(mosaic.shape) - (np.array(mosaic.shape)[:, None, None] - 1) / 2
    scale = PIXEL_SCALE / pixel_scale(exposure)
    columns, rows = (
        scale * (a * x + b * y) + o + (n - 1) / 2
        for (a, b), o, n in zip(turn, offset, exposure.shape[::-1], strict=True)
    )
    return interpolation_matrix(rows, columns, exposure.shape)


def _interpolated_psf(psf: EffectivePSF, exposure: Frame, mosaic: Frame) -> EffectivePSF:
    """Return a PSF with the mean response of the interpolation, in the axes of the mosaic."""
    pixel = galsim.Pixel(pixel_scale(exposure))
    turn, _ = tangent_map(exposure, mosaic)
    turned = galsim.Convolve(psf.profile, pixel, pixel).transform(*turn.ravel()) / abs(np.linalg.det(turn))
    reach = psf.radius + np.sqrt(2) * pixel_scale(exposure)
    size = 2 * int(np.ceil(reach / _STAMP_SCALE)) + 1
    stamp = turned.drawImage(nx=size, ny=size, scale=_STAMP_SCALE, method="no_pixel", dtype=float).array
    return EffectivePSF(psf.band, PSF.from_stamp(stamp, _STAMP_SCALE, source=psf.band), psf.truncated)
