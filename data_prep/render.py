"""Images of GalSim profiles, one by one, and how the frames of a scene and its images lie to each other.

Sources live in the scene's own axes: arcsec along +x and +y of its pixel grid, from its centre. An image
may have any rotation, parity, pixel scale and sub-pixel offset; the map between the two grids is taken from
their WCS by astropy, and the pixel values are ``(sky * effective PSF)`` sampled at pixel centres times the
pixel area, in nJy/pixel.

Nothing here uses `synergy.operators`: the likelihood and the mocks are two independent codes.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import galsim
import numpy as np
from jaxtyping import Float

from data_prep.psfs import EffectivePSF
from synergy.frame import Frame

_GSPARAMS = galsim.GSParams(
    folding_threshold=5e-4,
    maxk_threshold=1e-4,
    kvalue_accuracy=1e-6,
    stepk_minimum_hlr=10,
    maximum_fft_size=16384,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One component of the sky.

    Parameters
    ----------
    profile
        Surface brightness of unit flux, in arcsec from the scene's centre along +x and +y of its pixel grid.
    fluxes
        Band -> flux in nJy.
    """

    profile: galsim.GSObject
    fluxes: Mapping[str, float]


def image_frame(
    scene: Frame,
    shape: tuple[int, int],
    pixel_scale: float,
    dither: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    flipped: bool = False,
) -> Frame:
    """Return the frame of an image of a scene.

    Parameters
    ----------
    scene
        Frame of the scene.
    shape
        Number of pixels ``(ny, nx)``.
    pixel_scale
        Arcsec per pixel.
    dither
        Offset ``(y, x)``, in pixels, of the scene's centre from the image's.
    rotation
        Position angle of the image's +y axis in degrees, from north through east.
    flipped
        Whether east lies to the right of north.
    """
    wcs = Frame.tangent(scene.center, shape, pixel_scale, rotation).wcs
    if flipped:
        wcs.wcs.pc = wcs.wcs.get_pc() * np.array([-1.0, 1.0])
    wcs.wcs.crpix = wcs.wcs.crpix + np.array([dither[1], dither[0]])
    return Frame(shape, wcs)


def render_truth(
    sources: Sequence[Source], frame: Frame, bands: Sequence[str]
) -> Float[np.ndarray, "band y x"]:
    """Draw the scene: the sky seen through the model PSF, a round Gaussian of FWHM 2 scene pixels.

    Parameters
    ----------
    sources
        The sky.
    frame
        Frame of the scene.
    bands
        Bands of the scene.

    Returns
    -------
    Fluxes in nJy/pixel.
    """
    scale = frame.pixel_scale
    model = galsim.Gaussian(fwhm=2 * scale)
    return np.stack(
        [_draw(galsim.Convolve(_sky(sources, b), model, gsparams=_GSPARAMS), frame, scale) for b in bands]
    )


def render_image(
    sources: Sequence[Source], scene: Frame, frame: Frame, psf: EffectivePSF, band: str | None = None
) -> Float[np.ndarray, "y x"]:
    """Draw a noise-free image.

    Parameters
    ----------
    sources
        The sky.
    scene
        Frame of the scene, whose axes the sources use.
    frame
        Frame of the image.
    psf
        Effective PSF, in the image's axes.
    band
        Band whose fluxes to draw; that of the PSF when omitted.

    Returns
    -------
    Fluxes in nJy/pixel.
    """
    scale = frame.pixel_scale
    matrix, offset = tangent_map(scene, frame)
    sky = _sky(sources, band or psf.band)
    turned = sky.transform(*matrix.ravel()) / abs(np.linalg.det(matrix))
    return _draw(galsim.Convolve(turned, psf.profile, gsparams=_GSPARAMS), frame, scale, offset)


def _sky(sources: Sequence[Source], band: str) -> galsim.GSObject:
    parts = [source.profile.withFlux(source.fluxes[band]) for source in sources if source.fluxes[band] > 0]
    return galsim.Sum(parts)


def _draw(
    profile: galsim.GSObject, frame: Frame, scale: float, offset: tuple[float, float] = (0.0, 0.0)
) -> Float[np.ndarray, "y x"]:
    """Sample a profile that lies `offset` (x, y) pixels from the image's centre at pixel centres."""
    ny, nx = frame.shape
    image = profile.drawImage(nx=nx, ny=ny, scale=scale, offset=offset, method="no_pixel", dtype=float)
    return np.array(image.array)


def tangent_map(scene: Frame, frame: Frame) -> tuple[Float[np.ndarray, "2 2"], tuple[float, float]]:
    """Return how a scene's axes lie in an image.

    Parameters
    ----------
    scene, frame
        The two frames.

    Returns
    -------
    matrix
        Map of arcsec (x, y) in the scene to arcsec (x, y) in the image.
    offset
        Position (x, y) of the scene's centre from the image's, in image pixels.
    """
    step = 8.0  # pixels: far above the round-off of degrees, far below the curvature of the sky
    middle = (np.array(scene.shape) - 1) / 2
    around = middle + step * np.array([(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)])
    if all(f.wcs.wcs.radesys == "ICRS" and not f.wcs.has_distortion for f in (scene, frame)):
        # Frames of one system need none of astropy's transformations, which take milliseconds.
        there = frame.wcs.wcs_world2pix(scene.wcs.wcs_pix2world(around[:, ::-1], 0), 0)
    else:
        there = frame.to_pixels(scene.to_sky(around))[:, ::-1]
    jacobian = np.stack([there[0] - there[1], there[2] - there[3]], axis=-1) / (2 * step)
    centre = (np.array(frame.shape[::-1]) - 1) / 2
    x, y = there[4] - centre
    return jacobian * pixel_scale(frame) / pixel_scale(scene), (float(x), float(y))


def pixel_scale(frame: Frame) -> float:
    """Return the pixel scale of a frame in arcsec to 1e-9, whatever its rotation.

    Without `Frame.pixel_scale`'s way through the sky, which takes milliseconds.
    """
    return round(3600 * float(np.sqrt(abs(np.linalg.det(frame.wcs.pixel_scale_matrix)))), 9)
