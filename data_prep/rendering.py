r"""Skies seen through PSFs, noise-free: a small product in Fourier space for each source.

An image holds samples at pixel centres of the sky convolved with the effective PSF, times the pixel area. For
one source at `c`, whose maps :math:`m` with transforms :math:`M_m` (`data_prep.spectra`) are placed by the
matrix `A` and have the fluxes :math:`f_{mb}` in band `b`, that is

.. math:: I_b(x) = s^2 \sum_k \Delta k^2\, e^{2\pi i\, k\cdot(x - c)}\, P_b(k) \sum_m f_{mb} M_m(A^T k),

with `s` the pixel scale and :math:`P_b` the transform of the PSF, drawn by GalSim. What it costs is set by
the source: the frequencies end where the PSF ends (undersampled images need no folding: the sum is
evaluated at their pixels, whatever those are), and their spacing is one over the smallest period that holds
the pixels that the source can reach. The maps are interpolated once for all bands; the sum is two products
with matrices of phases, which puts pixels anywhere. Nothing here uses `synergy.operators`: the likelihood
and the mocks are two independent codes.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import galsim
import numpy as np
from jaxtyping import Complex64, Complex128, Float, Float32, Int

from data_prep.psfs import EffectivePSF
from data_prep.render import pixel_scale, tangent_map
from data_prep.sky import Sky, SkySource
from data_prep.spectra import map_spectra
from synergy.frame import Frame
from synergy.psf import MODEL_FWHM

_MODEL_LIMIT = 0.9
"""Cycles per scene pixel at which the model PSF ends: beyond lies 1e-5 of a star's peak."""

_MODEL_RADIUS = 5.0
"""Scene pixels at which the model PSF ends: 1e-7 of its peak."""

_STEPS_PER_OCTAVE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class _Grid:
    """Half a plane of frequencies, spaced by one over a period, within a circle."""

    period: float
    steps: int
    inside: Int[np.ndarray, " k"]
    frequencies: Float[np.ndarray, "2 k"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Reach:
    """How far a PSF goes: arcsec, and cycles per arcsec; and the same for any image of the scene."""

    radius: float
    limit: float
    limit_of_all: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Placed:
    """A source before a PSF: its transforms, the pixels that it reaches, and the phases that put it there."""

    source: SkySource
    grid: _Grid
    maps: Complex64[np.ndarray, "map k"]
    window: tuple[slice, slice]
    phases: tuple[Complex64[np.ndarray, "y ky"], Float32[np.ndarray, "kx2 x"]]


def render_truth(sky: Sky, frame: Frame) -> Float[np.ndarray, "band y x"]:
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
    reach = _Reach(_MODEL_RADIUS * scale, _MODEL_LIMIT / scale, _MODEL_LIMIT / scale)
    model = galsim.Gaussian(fwhm=MODEL_FWHM * scale)
    truth = np.zeros((len(sky.bands), *frame.shape))
    for placed in _placed(sky, np.eye(2), np.zeros(2), frame, reach):
        # All bands share the PSF, and there are fewer maps than bands.
        spectra = placed.maps * _transfer(model, placed.grid)
        truth[:, *placed.window] += np.tensordot(placed.source.fluxes.T, _sampled(placed, spectra, scale), 1)
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
    limit = max(psf.limit for psf in psfs)
    finest = max(limit, _MODEL_LIMIT / pixel_scale(scene_frame))
    reach = _Reach(max(psf.radius for psf in psfs), limit, finest)
    columns = [sky.bands.index(psf.band) for psf in psfs]
    images = np.zeros((len(psfs), *image_frame.shape))
    for placed in _placed(sky, turn[::-1, ::-1], np.array(offset[::-1]), image_frame, reach):
        spectra = placed.source.fluxes[:, columns].T.astype(np.float32) @ placed.maps
        for spectrum, psf in zip(spectra, psfs, strict=True):
            spectrum *= _psf_transfer(psf, placed.grid)
        images[:, *placed.window] += _sampled(placed, spectra, pixel_scale(image_frame))
    return {psf.band: image for psf, image in zip(psfs, images, strict=True)}


def _placed(
    sky: Sky,
    turn: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
    frame: Frame,
    reach: _Reach,
) -> Iterator[_Placed]:
    """Yield the sources that reach an image.

    Parameters
    ----------
    sky
        The sky.
    turn
        Map of arcsec (y, x) in the scene to arcsec (y, x) in the image.
    offset
        Pixel offset (y, x) of the scene's centre from the image's.
    frame
        Frame of the image.
    reach
        Of the PSF.
    """
    scale = pixel_scale(frame)
    for source in sky.sources:
        centre = turn @ np.array(source.centre)
        extent, matrix = np.zeros(2), turn @ source.matrix
        if source.light is not None:
            spectra = map_spectra(source.light, reach.limit_of_all * float(np.linalg.norm(matrix, 2)))
            extent = spectra.extent(matrix)
        pixels = (np.array(frame.shape) - 1) / 2 + offset + centre / scale
        ends = extent + reach.radius
        first = np.maximum(np.ceil(pixels - ends / scale), 0).astype(int)
        last = np.minimum(np.floor(pixels + ends / scale), np.array(frame.shape) - 1).astype(int)
        if np.any(last < first):
            continue
        farthest = np.maximum(np.abs(first - pixels), np.abs(last - pixels)) * scale
        grid = _grid(_rounded_up(float((farthest + ends).max())), reach.limit)
        if source.light is None:
            maps = np.ones((1, len(grid.inside)), np.complex64)
        else:
            maps = spectra.at(matrix.T @ grid.frequencies).T
            pixels = pixels + matrix @ np.array(spectra.origin) / scale
        window = (slice(first[0], last[0] + 1), slice(first[1], last[1] + 1))
        y, x = ((np.arange(a, b + 1) - p) * scale for a, b, p in zip(first, last, pixels, strict=True))
        yield _Placed(source, grid, maps, window, _phases(grid, y, x))


def _rounded_up(period: float) -> float:
    """Return one of a few periods, so that transforms of PSFs on their frequencies can be kept."""
    return float(2 ** (np.ceil(_STEPS_PER_OCTAVE * np.log2(period)) / _STEPS_PER_OCTAVE))


@functools.lru_cache(maxsize=64)
def _grid(period: float, limit: float) -> _Grid:
    steps = int(limit * period)
    along_y, along_x = np.arange(-steps, steps + 1), np.arange(steps + 1)
    inside = np.flatnonzero(np.hypot.outer(along_y, along_x) <= limit * period)
    rows, columns = np.divmod(inside, steps + 1)
    return _Grid(period, steps, inside, np.stack([along_y[rows], along_x[columns]]) / period)


def _phases(
    grid: _Grid, y: Float[np.ndarray, " y"], x: Float[np.ndarray, " x"]
) -> tuple[Complex64[np.ndarray, "y ky"], Float32[np.ndarray, "kx2 x"]]:
    """Return the matrices of the inverse transform: complex rows, and columns on (real, imaginary)."""
    along_y = np.conj(_powers(y / grid.period, grid.steps)).T
    along_y = np.concatenate([along_y[:, :0:-1], along_y.conj()], axis=1)
    along_x = _powers(x / grid.period, grid.steps)
    along_x[1:] *= 2  # for the other half of the plane
    pairs = np.stack([along_x.real, -along_x.imag], axis=1).reshape(-1, len(x))
    return along_y.astype(np.complex64), pairs.astype(np.float32)


def _powers(turns: Float[np.ndarray, " n"], steps: int) -> Complex128[np.ndarray, "k n"]:
    """Return exp(2 pi i k turns) for k up to `steps`, by multiplication."""
    factors = np.tile(np.exp(2j * np.pi * turns), (steps + 1, 1))
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _sampled(
    placed: _Placed, spectra: Complex64[np.ndarray, "n k"], scale: float
) -> Float32[np.ndarray, "n y x"]:
    """Return the inverse transforms at the pixels of the window, times the pixel area."""
    grid, (along_y, along_x) = placed.grid, placed.phases
    plane = np.zeros((len(spectra), (2 * grid.steps + 1) * (grid.steps + 1)), np.complex64)
    plane[:, grid.inside] = spectra
    rows = along_y @ plane.reshape(len(spectra), 2 * grid.steps + 1, grid.steps + 1)
    return rows.view(np.float32) @ along_x * np.float32((scale / grid.period) ** 2)


@functools.lru_cache(maxsize=192)
def _psf_transfer(psf: EffectivePSF, grid: _Grid) -> Complex64[np.ndarray, " k"]:
    return _transfer(psf.profile, grid)


def _transfer(profile: galsim.GSObject, grid: _Grid) -> Complex64[np.ndarray, " k"]:
    """Return the transform of a profile, as GalSim draws it."""
    bounds = galsim.BoundsI(0, grid.steps, -grid.steps, grid.steps)
    image = galsim.ImageCD(bounds, scale=2 * np.pi / grid.period)
    profile._drawKImage(image)  # drawKImage insists on whole planes
    return image.array.ravel()[grid.inside].astype(np.complex64)
