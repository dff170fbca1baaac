"""Small pairs, made in a moment: a module of its own, so that worker processes can import it."""

import dataclasses
import time
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from data_prep.mock_config import MockSettings
from data_prep.splits import SPLITS
from synergy.frame import Frame
from synergy.io.pairs import Pair
from synergy.observation import Observation
from synergy.psf import PSF

BANDS = ("lsst.g", "lsst.i", "euclid.vis", "euclid.J", "euclid.H")


def turned(frame: Frame, degrees: float, flipped: bool, shift: tuple[float, float]) -> Frame:
    """Return a frame turned about its centre, flipped or not, and shifted by (x, y) pixels."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs = frame.wcs.deepcopy()
    wcs.wcs.pc = wcs.wcs.pc @ turn @ np.diag([-1.0 if flipped else 1.0, 1.0])
    wcs.wcs.crpix = wcs.wcs.crpix + np.array(shift)
    wcs.wcs.set()
    return Frame(frame.shape, wcs)


def observe(
    name: str, shape: tuple[int, int], scale: float, rng: np.random.Generator, mer: bool
) -> Observation:
    """Return an image of noise with a bad pixel; with `mer`, of correlated noise."""
    center = SkyCoord(150.1, 2.2, unit="deg")
    frame = turned(
        Frame.tangent(center, shape, scale), rng.uniform(0, 360), mer, tuple(rng.uniform(-1, 1, 2))
    )
    ivar = rng.uniform(0.5, 2.0, shape)
    mask = np.zeros(shape, bool)
    mask[tuple(rng.integers(0, 8, 2))] = True
    near = np.exp(-np.hypot(*(np.indices((5, 5)) - 2)))
    return Observation(
        name=name,
        band=name.partition("-")[0],
        image=rng.normal(size=shape) / np.sqrt(ivar),
        ivar=ivar,
        mask=mask,
        psf=PSF.gaussian(0.3 if mer else rng.choice([0.6, 0.7, 0.8]), scale / 2, 15),
        frame=frame,
        response={"lsst.i": 0.4, "euclid.vis": 0.6} if name == "euclid.vis" else None,
        response_error=0.01,
        correlation=near if mer else None,
        independent=0.1 / ivar if mer else None,
        meta={"origin": "mock", "seeing": np.float32(0.7), "notes": ["größer"]},
    )


def make_pair(settings: MockSettings, data: Path | None, split: str, number: int) -> Pair:
    """Make a pair: a function of the settings, the split and the number alone."""
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), number])
    side = settings.scene.side
    return Pair(
        id=f"quick/{split}/{number}",
        seed=settings.seed,
        split=split,
        bands=BANDS,
        truth=rng.gamma(0.5, size=(len(BANDS), side, side)),
        frame=Frame.tangent(SkyCoord(150.1, 2.2, unit="deg"), (side, side), settings.scene.pixel_scale),
        observations=(
            observe("lsst.g", (12, 11), 0.2, rng, mer=False),
            observe("euclid.vis", (24, 24), 0.1, rng, mer=False),
            observe("lsst.i-visit1", (12, 11), 0.2, rng, mer=False),
            observe("lsst.i-visit2", (12, 11), 0.2, rng, mer=False),
            observe("euclid.J", (24, 24), 0.1, rng, mer=True),
            observe("euclid.H", (24, 24), 0.1, rng, mer=True),
        ),
        sources=tuple(
            {
                "name": f"galaxy {i}",
                "redshift": float(rng.uniform(0, 2)),
                "y": float(rng.normal()),
                "x": float(rng.normal()),
                "fluxes": {band: float(rng.gamma(2.0, 100.0)) for band in BANDS},
            }
            for i in range(number % 3)
        ),
    )


def make_slowly(settings: MockSettings, data: Path | None, split: str, number: int) -> Pair:
    """Make a pair that takes a while, so that there is time to interrupt."""
    time.sleep(0.2)
    return make_pair(settings, data, split, number)


def make_wrongly(settings: MockSettings, data: Path | None, split: str, number: int) -> Pair:
    """Make pairs of which the fourth one has an image less."""
    pair = make_pair(settings, data, split, number)
    return pair if number != 3 else dataclasses.replace(pair, observations=pair.observations[1:])


VALUES = {
    "name": "quick",
    "pairs": {"train": 7, "test": 3},
    "shard": 2,
    "scene": {"side": 32, "bands": list(BANDS)},
    "sources": [{"kind": "procedural"}],
    "surveys": [{"bands": list(BANDS)}],
}
FILES = [f"pairs-train-0000{n}.h5" for n in range(4)] + [f"pairs-test-0000{n}.h5" for n in range(2)]


def settings(**changes):
    return MockSettings(**(VALUES | changes))


def contents(folder):
    """Return the bytes of everything in a folder, hidden files too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
