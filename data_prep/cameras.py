"""One survey's images of one sky: orientation and dithers are drawn, then the images made.

A coadd on the camera's own pixels (`data_prep.exposures`) is that of one long exposure with one sub-pixel
offset; `data_prep.mosaics` resamples dithered exposures onto a finer grid.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.exposures import observe
from data_prep.mock_config import SurveySettings
from data_prep.mosaics import MOST_DITHERS, PIXEL_SCALE, exposure_frames, observe_mosaic
from data_prep.psfs import EffectivePSF
from data_prep.render import image_frame
from data_prep.rendering import render_images
from data_prep.sky import Sky
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.survey import get_band


def observe_sky(
    sky: Sky,
    scene: Frame,
    settings: SurveySettings,
    psfs: Sequence[EffectivePSF],
    rng: np.random.Generator,
) -> list[Observation]:
    """Make one survey's images of a sky.

    Parameters
    ----------
    sky
        The sky.
    scene
        Frame of the scene, whose axes the sky uses.
    settings
        The survey.
    psfs
        Effective PSF of each of its bands (`data_prep.survey_psfs.draw_psfs`), in the axes of the camera's
        pixels.
    rng
        Random numbers.

    Returns
    -------
    One observation per band, in the order of the settings; bands of one camera share a frame.
    """
    turn = rng.uniform(0, 360)
    rotation = turn if settings.rotation == "random" else float(settings.rotation)
    made = {}
    for camera in dict.fromkeys(get_band(psf.band).instrument for psf in psfs):
        own = [psf for psf in psfs if get_band(psf.band).instrument == camera]
        make = _mosaics if settings.layout == "mer" else _coadds
        for observation in make(sky, scene, settings, own, rotation, rng):
            made[observation.band] = observation
    return [made[psf.band] for psf in psfs]


def _coadds(
    sky: Sky,
    scene: Frame,
    settings: SurveySettings,
    psfs: list[EffectivePSF],
    rotation: float,
    rng: np.random.Generator,
) -> list[Observation]:
    scale = get_band(psfs[0].band).pixel_scale
    dither = settings.dithered * rng.uniform(-0.5, 0.5, 2)
    frame = image_frame(scene, _shape(scene, scale), scale, _pair(dither), rotation, settings.flipped)
    clean = render_images(sky, scene, frame, psfs)
    return [observe(clean[psf.band], frame, psf, rng, settings.exposures_of(psf.band)) for psf in psfs]


def _mosaics(
    sky: Sky,
    scene: Frame,
    settings: SurveySettings,
    psfs: list[EffectivePSF],
    rotation: float,
    rng: np.random.Generator,
) -> list[Observation]:
    bands = [get_band(psf.band) for psf in psfs]
    combined = {band.name: settings.exposures_of(band.name) or band.n_exposures for band in bands}
    offset = settings.dithered * rng.uniform(-0.5, 0.5, 2)
    mosaic = image_frame(scene, _shape(scene, PIXEL_SCALE), PIXEL_SCALE, _pair(offset))
    number = min(MOST_DITHERS, *combined.values())
    dithers = rng.uniform(-0.5, 0.5, (number, 2))
    exposures = exposure_frames(scene, mosaic, bands[0].pixel_scale, dithers, rotation, settings.flipped)
    return observe_mosaic(sky, scene, mosaic, exposures, psfs, combined, rng)


def _shape(scene: Frame, pixel_scale: float) -> tuple[int, int]:
    """Return the number of pixels that cover a scene, or nearly so."""
    ny, nx = (round(n * scene.pixel_scale / pixel_scale + 0.2) for n in scene.shape)
    return ny, nx


def _pair(offset: np.ndarray) -> tuple[float, float]:
    return float(offset[0]), float(offset[1])
