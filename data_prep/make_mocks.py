"""One pair: a galaxy and what lies around it, as a true scene and as every survey of a configuration sees it.

A pair is a pure function of (galaxy, configuration, seed): its random numbers are seeded by the seed, the
galaxy's name and the view, which is the number of the pair within its split. One stream of them serves the
sky, and each survey has its own, so that a survey that is added to a configuration leaves sky and other
images as they were. Without any survey, what is left is the truth alone, a scene to learn from.
"""

import functools
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from data_prep.cameras import observe_sky
from data_prep.choice import name_hash
from data_prep.colour_library import ColourLibrary
from data_prep.colours import spectra
from data_prep.galaxies import Galaxies
from data_prep.mock_config import MockSettings, SceneSettings
from data_prep.placement import SkyModel, draw_sky
from data_prep.population import Population
from data_prep.readers.hst import read_colours
from data_prep.rendering import render_truth
from data_prep.sky import Sky, SkySource
from data_prep.splits import SPLITS
from data_prep.stars import stellar_spectrum
from data_prep.survey_psfs import draw_psfs
from synergy.frame import Frame
from synergy.io.pairs import Pair

FIELD = SkyCoord(269.73 * u.deg, 66.02 * u.deg)
"""Where mocks lie on the sky: the Euclid Deep Field North."""


def make_pair(settings: MockSettings, data: Path | None, split: str, number: int) -> Pair:
    """Make one pair.

    Parameters
    ----------
    settings
        The configuration.
    data
        Folder of the real data; None if the configuration needs none.
    split
        Name of the split.
    number
        Number of the pair within its split.

    Returns
    -------
    Pair
        Truth, observations and sources.

    Raises
    ------
    InputError
        If data are missing or unusable.
    """
    scene = settings.scene
    name, sky, rng = pair_sky(settings, data, split, number)
    frame = _scene_frame(scene)
    truth = render_truth(sky, frame)
    observations = []
    for survey, own in zip(settings.surveys, rng.spawn(len(settings.surveys)), strict=True):
        psfs = draw_psfs(survey, data, own)
        observations += observe_sky(sky, frame, survey, psfs, own)
    return Pair(
        id=f"{name}#{split}-{number}",
        seed=settings.seed,
        split=split,
        bands=scene.bands,
        truth=truth,
        frame=frame,
        observations=tuple(observations),
        sources=tuple(_row(source, sky, frame) for source in sky.sources),
    )


def pair_sky(
    settings: MockSettings, data: Path | None, split: str, number: int
) -> tuple[str, Sky, np.random.Generator]:
    """Draw the sky of a pair.

    Parameters
    ----------
    settings, data, split, number
        As for `make_pair`.

    Returns
    -------
    name
        Name of the galaxy that the pair is about, or ``"empty"``.
    sky
        Its sky.
    rng
        Random numbers for the images.
    """
    choice = np.random.default_rng([settings.seed, SPLITS.index(split), number])
    candidate = _galaxies(settings, data).draw(split, choice)
    rng = np.random.default_rng([settings.seed, name_hash(candidate.id), SPLITS.index(split), number])
    empty = rng.random() < settings.placement.empty
    sky = draw_sky(None if empty else candidate.light(), _model(settings, data, split), rng)
    return "empty" if empty else candidate.id, sky, rng


@functools.lru_cache(maxsize=4)
def _scene_frame(scene: SceneSettings) -> Frame:
    return Frame.tangent(FIELD, (scene.side, scene.side), scene.pixel_scale)


@functools.lru_cache(maxsize=4)
def _galaxies(settings: MockSettings, data: Path | None) -> Galaxies:
    return Galaxies.of(settings, data)


@functools.lru_cache(maxsize=4)
def _library(settings: MockSettings, data: Path | None) -> ColourLibrary | None:
    if settings.colours is None or data is None:
        return None
    return ColourLibrary(tuple(read_colours(data / settings.colours)))


@functools.lru_cache(maxsize=8)
def _model(settings: MockSettings, data: Path | None, split: str) -> SkyModel:
    bands, library, galaxies = settings.scene.bands, _library(settings, data), _galaxies(settings, data)
    catalogue = settings.catalogue
    return SkyModel(
        scene=settings.scene,
        settings=settings.placement,
        population=Population.shipped()
        if catalogue is None or data is None
        else Population.read(data / catalogue),
        neighbours=lambda rng: galaxies.draw_neighbour(split, rng).light(),
        spectra=lambda light, redshift, magnitude, rng: spectra(
            light, bands, redshift, rng, library, magnitude
        ),
        stars=lambda rng: stellar_spectrum(bands, rng),
    )


def _row(source: SkySource, sky: Sky, frame: Frame) -> dict[str, Any]:
    """Describe a source: name, redshift, place (scene pixels), half-light radius (arcsec), fluxes (nJy)."""
    y, x = ((n - 1) / 2 + c / frame.pixel_scale for n, c in zip(frame.shape, source.centre, strict=True))
    totals = source.fluxes.sum(axis=0)
    return {
        "name": source.name,
        "redshift": float(source.redshift),
        "y": float(y),
        "x": float(x),
        "radius": float(source.radius),
        "fluxes": {band: float(flux) for band, flux in zip(sky.bands, totals, strict=True)},
    }
