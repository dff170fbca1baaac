r"""Skies seen through PSFs, noise-free: all sources through a compact kernel, one convolution per image.

An image holds samples at pixel centres of the sky convolved with the effective PSF, times the pixel area. The
wings of a PSF are wide and sources are many, so sources are drawn (`data_prep.drawing`) through a kernel `G`
instead that is a few times as narrow as the PSF's finest detail, on pixels fine enough to hold all that the
PSF lets through, in the image's axes, as far as its wings reach. With :math:`S_b` the transform of that
drawing, over the period of its pixels,

.. math:: I_b(x) = s^2 \sum_k \Delta k^2\, e^{2\pi i\, k\cdot x}\, \frac{P_b(k)}{G(k)}\, S_b(k)

for the camera's pixels of size `s`, wherever they are: undersampled images need no folding. :math:`P_b` is
the transform of the PSF's stamp, and the sum ends where the PSF ends. The truth *is* such a drawing, through
the model PSF. Nothing here uses `synergy.operators`: the likelihood and the mocks are two independent codes.

The kernel's transform is that of non-uniform Fourier transforms (Barnett, Magland & af Klinteberg 2019, SIAM
J. Sci. Comput. 41, C479), with the roles of the two spaces exchanged: zero beyond a frequency, and small
beyond a distance.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float, Float32

from data_prep.drawing import Kernel, Pixels, draw_sources, inverse_transform
from data_prep.psfs import EffectivePSF
from data_prep.render import pixel_scale, tangent_map
from data_prep.sky import Sky
from synergy.frame import Frame
from synergy.psf import FWHM_PER_SIGMA, MODEL_FWHM

_MODEL_LIMIT = 0.9
"""Cycles per scene pixel at which the model PSF ends: beyond lies 1e-5 of a star's peak."""

_MODEL_RADIUS = 5.0
"""Scene pixels at which the model PSF ends: 1e-7 of its peak."""

_MARGIN = 1.15
"""Frequency at which the kernel ends, over that at which the PSF ends."""

_STEEPNESS = 12.0
_KERNEL_RADIUS = 2.1
"""Radius times limiting frequency of the kernel: beyond lies 6e-5 of its peak, and less of any image's."""


def render_truth(sky: Sky, frame: Frame) -> Float32[np.ndarray, "band y x"]:
    """Draw the scene: the sky seen through the model PSF, a round Gaussian of FWHM 2 scene pixels.

    Parameters
    ----------
    sky
        The sky.
    frame
        Frame of the scene.

    Returns
    -------
    Fluxes in nJy/pixel, in the sky's bands; never negative.
    """
    scale = pixel_scale(frame)
    sigma = MODEL_FWHM / FWHM_PER_SIGMA * scale
    limit = _MODEL_LIMIT / scale
    model = Kernel(_MODEL_RADIUS * scale, limit, lambda k: np.exp(-2 * np.square(np.pi * sigma * k)))
    truth = draw_sources(sky, sky.bands, Pixels(frame.shape, scale, np.eye(2), np.zeros(2)), model, limit)
    # Maps and model PSF are positive; what interpolation leaves below zero is 1e-5 of a source's peak.
    return np.maximum(truth, 0.0)


def render_images(
    sky: Sky, scene_frame: Frame, image_frame: Frame, psfs: Sequence[EffectivePSF]
) -> dict[str, Float[np.ndarray, "y x"]]:
    """Draw the noise-free images of one camera, whose bands share a frame.

    Parameters
    ----------
    sky
        The sky.
    scene_frame
        Frame of the scene, whose axes the sky uses.
    image_frame
        Frame of the images: of any rotation, parity, scale and offset.
    psfs
        Effective PSF of each band, in the images' axes.

    Returns
    -------
    Band -> fluxes in nJy/pixel.
    """
    turn, offset = tangent_map(scene_frame, image_frame)
    scale = pixel_scale(image_frame)
    radius, limit = (max(getattr(psf, name) for psf in psfs) for name in ("radius", "limit"))
    plane = _plane(image_frame.shape, scale, radius, limit)
    pixels = Pixels(plane.shape, plane.scale, turn[::-1, ::-1], scale * np.array(offset[::-1]))
    finest = max(plane.kernel.limit, _MODEL_LIMIT / pixel_scale(scene_frame))
    bands = [psf.band for psf in psfs]
    half = plane.transformed(draw_sources(sky, bands, pixels, plane.kernel, finest))
    for coefficients, psf in zip(half, psfs, strict=True):
        coefficients *= _response(psf, plane)
    y, x = (
        ((np.arange(n) - (n - 1) / 2) * scale + (m - 1) / 2 * plane.scale) / (m * plane.scale)
        for n, m in zip(image_frame.shape, plane.shape, strict=True)
    )
    images = inverse_transform(half, y, x) * (scale / plane.scale) ** 2 / np.prod(plane.shape)
    return dict(zip(bands, images, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class _Plane:
    """Pixels around an image that hold all the light that reaches it, and the frequencies that matter.

    Parameters
    ----------
    shape
        Number of pixels (y, x).
    scale
        Arcsec per pixel.
    kernel
        What sources are drawn through.
    frequencies
        Those up to the PSF's limit along y, on both sides of zero, and along x, from zero on.
    correction
        One over the kernel's transform; zero beyond the PSF's limit.
    """

    shape: tuple[int, int]
    scale: float
    kernel: Kernel
    frequencies: tuple[Float[np.ndarray, " ky"], Float[np.ndarray, " kx"]]
    correction: Float32[np.ndarray, "ky kx"]

    def transformed(self, drawn: Float32[np.ndarray, "n y x"]) -> Complex64[np.ndarray, "n ky kx"]:
        """Return Fourier coefficients of drawings on these pixels."""
        height, width = self.correction.shape
        half = scipy.fft.fft(scipy.fft.rfft(drawn)[:, :, :width], axis=1)
        return half[:, np.arange(height) - height // 2]


@functools.lru_cache(maxsize=16)
def _plane(shape: tuple[int, int], pixel_scale: float, radius: float, limit: float) -> _Plane:
    end = _MARGIN * limit
    kernel = Kernel(
        _KERNEL_RADIUS / end,
        end,
        lambda k: np.exp(_STEEPNESS * (np.sqrt(np.maximum(1 - np.square(k / end), 0)) - 1)),
    )
    scale = 0.5 / end
    ny, nx = (
        scipy.fft.next_fast_len(int(np.ceil(((n - 1) * pixel_scale + 2 * radius) / scale)) + 1, real=True)
        for n in shape
    )
    along_y = np.arange(-int(limit * ny * scale), int(limit * ny * scale) + 1) / (ny * scale)
    along_x = np.arange(int(limit * nx * scale) + 1) / (nx * scale)
    frequency = np.hypot.outer(along_y, along_x)
    correction = np.where(frequency <= limit, 1 / kernel.transform(np.minimum(frequency, limit)), 0)
    return _Plane((ny, nx), scale, kernel, (along_y, along_x), correction.astype(np.float32))


@functools.lru_cache(maxsize=64)
def _response(psf: EffectivePSF, plane: _Plane) -> Complex64[np.ndarray, "ky kx"]:
    """Return the transform of a PSF over that of the kernel.

    A stamp stands for the band-limited function through its samples: nothing lies beyond its Nyquist limit.
    """
    stamp, scale = psf.psf.image, psf.psf.pixel_scale
    along_y, along_x = (
        np.exp(-2j * np.pi * np.outer(k, (np.arange(n) - (n - 1) / 2) * scale))
        * (np.abs(k) <= 0.5 / scale)[:, None]
        for n, k in zip(stamp.shape, plane.frequencies, strict=True)
    )
    return (along_y @ stamp @ along_x.T * plane.correction).astype(np.complex64)
