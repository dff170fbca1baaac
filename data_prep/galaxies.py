"""The galaxies that a set of mocks is made of: those of all its sources, by split, as light maps.

Listing them is cheap, images are read when they are wanted, and the light maps of the latest few hundred are
kept. So that most are at hand when they are wanted, neighbours are drawn from a fixed part of the galaxies,
`NEIGHBOURS` of each source: they differ by place, size, orientation and colour all the same. A galaxy's place
in any list plays no part: which one a mock shows is decided by names (`data_prep.choice`), so that adding
galaxies changes only the mocks that fall on the new ones.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.choice import choose, name_hash
from data_prep.colours import light_maps
from data_prep.mock_config import MockSettings, SourceSettings
from data_prep.photometric_redshifts import likely_redshift
from data_prep.planes import softened
from data_prep.procedural import procedural_galaxy
from data_prep.readers import GalaxyEntry, list_galaxies
from data_prep.sky import LightMaps
from data_prep.splits import SPLITS, half_of, split_of
from synergy.errors import InputError

KEPT = 384
"""Light maps kept in memory, about 0.6 MB each."""

NEIGHBOURS = 128
"""Galaxies of each source and split that neighbours are drawn from."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A galaxy that may be chosen.

    Parameters
    ----------
    id, lineage
        As those of its light maps.
    light
        Function without arguments that returns them.
    """

    id: str
    lineage: str
    light: Callable[[], LightMaps]


@dataclasses.dataclass(frozen=True, eq=False)
class Galaxies:
    """All candidates.

    Parameters
    ----------
    sources
        Of each source the weight and, by split, the candidates.
    """

    sources: tuple[tuple[float, dict[str, tuple[Candidate, ...]]], ...]

    @classmethod
    def of(cls, settings: MockSettings, data: Path | None) -> "Galaxies":
        """List the galaxies of a configuration.

        Parameters
        ----------
        settings
            The configuration.
        data
            Folder of the real data; None if there is none.

        Raises
        ------
        InputError
            If a source names a folder that is not there or holds nothing usable, or a split that is wanted is
            left without a galaxy.
        """
        sources = []
        for source in settings.sources:
            found = _candidates(source, settings, data)
            by_split = {name: tuple(c for c in found if split_of(c.lineage) == name) for name in SPLITS}
            if settings.half is not None:
                train = tuple(c for c in by_split["train"] if half_of(c.lineage) == settings.half)
                by_split["train"] = train
            sources.append((source.weight, by_split))
        for split, wanted in settings.pairs.items():
            if wanted and not any(by_split[split] for _, by_split in sources):
                raise InputError(
                    settings.name, f"no galaxy of the {split} split", f"some, for {wanted} pairs",
                    "Add sources, or ask for no pairs of that split.",
                )  # fmt: skip
        return cls(tuple(sources))

    def draw(self, split: str, rng: np.random.Generator) -> Candidate:
        """Draw a galaxy of a split: first its source, by weight, then one of the source's galaxies."""
        return choose(self._source(split, rng)[split], rng)

    def draw_neighbour(self, split: str, rng: np.random.Generator) -> Candidate:
        """Draw a galaxy of a split from those that are kept for neighbours."""
        return choose(_few(self._source(split, rng)[split]), rng)

    def _source(self, split: str, rng: np.random.Generator) -> dict[str, tuple[Candidate, ...]]:
        sources = [(weight, by_split) for weight, by_split in self.sources if by_split[split]]
        weights = np.array([weight for weight, _ in sources])
        return sources[int(rng.choice(len(sources), p=weights / weights.sum()))][1]


@functools.lru_cache(maxsize=64)
def _few(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return the candidates whose names have the smallest hashes, at most `NEIGHBOURS`."""
    return tuple(sorted(candidates, key=lambda c: name_hash(c.id))[:NEIGHBOURS])


def _candidates(source: SourceSettings, settings: MockSettings, data: Path | None) -> tuple[Candidate, ...]:
    if source.kind == "procedural":
        names = [f"procedural/{settings.seed}/{number}" for number in range(source.number)]
        return tuple(
            Candidate(name, name, functools.partial(_painted, number, settings.seed))
            for number, name in enumerate(names)
        )
    if source.folder is None or data is None:
        raise InputError(
            settings.name,
            f"a source of kind '{source.kind}' without {'a folder' if source.folder is None else '--data'}",
            "the folder of its images, within the folder of the real data",
            "Name both, or use procedural galaxies.",
        )
    entries = list_galaxies(
        source.kind, data / source.folder, simulation=source.simulation, zeropoints=source.zeropoints
    )
    return tuple(
        Candidate(entry.id, entry.lineage, functools.partial(_read, entry, source.redshift))
        for entry in entries
    )


@functools.lru_cache(maxsize=KEPT)
def _painted(number: int, seed: int) -> LightMaps:
    return procedural_galaxy(number, seed)


@functools.lru_cache(maxsize=KEPT)
def _read(entry: GalaxyEntry, redshift: float | None) -> LightMaps:
    galaxy = entry.read()
    if galaxy.absolute and redshift is None and not np.isfinite(galaxy.redshift):
        redshift = likely_redshift(galaxy.bands, galaxy.light.sum(axis=(1, 2)))
    return softened(light_maps(galaxy, redshift))
