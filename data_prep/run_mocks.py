"""Run a mock production: all shards of a configuration, on any number of workers and machines.

One job makes one shard, written whole by whoever made it. A pair is a function of the settings and of its
number in its split, so jobs need not know of each other: they run in any order and anywhere, and where a run
was interrupted, another one makes what is missing, to the same bytes. When all shards are there, the data
set gets its manifest.
"""

import dataclasses
import functools
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from data_prep.executors import running
from data_prep.mock_config import MockSettings
from data_prep.splits import SPLITS
from synergy.config import config_hash
from synergy.errors import InputError
from synergy.io.atomic import clear
from synergy.io.pair_manifest import CHECKSUMS, MANIFEST, write_manifest
from synergy.io.pairs import Pair, reading
from synergy.io.write_pairs import write_pairs

MakePair = Callable[[MockSettings, Path | None, str, int], Pair]
"""Makes the pair of a number within a split, a function of its arguments alone."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard.

    Parameters
    ----------
    split
        Its split.
    number
        Its number in the split.
    pairs
        Numbers of its pairs in the split.
    """

    split: str
    number: int
    pairs: range

    @property
    def file(self) -> str:
        """Name of the shard."""
        return f"pairs-{self.split}-{self.number:05d}.h5"


def jobs_of(settings: MockSettings) -> list[Job]:
    """Return the jobs that make a data set."""
    jobs = []
    for split in SPLITS:
        pairs, size = range(settings.pairs.get(split, 0)), settings.shard
        jobs += [Job(split, n, pairs[first : first + size]) for n, first in enumerate(pairs[::size])]
    return jobs


def make_shard(job: Job, settings: MockSettings, data: Path | None, out: Path, make_pair: MakePair) -> Job:
    """Make one shard, unless it is there.

    Parameters
    ----------
    job
        Which one.
    settings
        The configuration.
    data
        Folder of simulations.
    out
        Directory of the shards.
    make_pair
        Makes one pair.

    Raises
    ------
    InputError
        If there is a damaged one or one of other settings, the disk is full, or making a pair fails so.
    """
    path = out / job.file
    if path.exists() and _rows(path, job, settings) == len(job.pairs):
        return job
    clear(path)
    pairs = (make_pair(settings, data, job.split, number) for number in job.pairs)
    write_pairs(path, pairs, _attributes(settings))
    return job


def run(
    settings: MockSettings,
    data: Path | None,
    out: Path,
    make_pair: MakePair,
    workers: int | str = 1,
    shard: tuple[int, int] | None = None,
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path | None:
    """Make a data set, or a part of it.

    Parameters
    ----------
    settings
        The configuration.
    data
        Folder of simulations; None for settings that need none.
    out
        Directory of the shards and the manifest, made if need be.
    make_pair
        Makes one pair; worker processes have to be able to import it.
    workers
        Number of processes, or the address of a Dask scheduler whose workers see the same files.
    shard
        ``(i, n)``: make every n-th shard only, from the i-th on, so that n runs make them all; i from 1.
    resume
        Keep shards that are there, and make the missing ones.
    progress
        Called as ``progress(done, total, label)``, in pairs.

    Returns
    -------
    Path | None
        The manifest, if all shards of the data set are there.

    Raises
    ------
    InputError
        If settings need data and there are none, `out` cannot be used or holds shards that this run would
        make (without `resume`), one of other settings, or a damaged one, or a job fails so.
    KeyboardInterrupt
        When interrupted or terminated; whole shards are left.
    """
    first, step = shard or (1, 1)
    if not 1 <= first <= step:
        raise InputError("shard", f"{first}/{step}", "i/N with i from 1 to N", "Correct it.")
    if data is None and (names := _names_of_data(settings)):
        raise InputError(
            "data", f"none, but settings that name {', '.join(names)}", "a folder", "Pass --data."
        )
    out = _directory(out)
    everything = jobs_of(settings)
    mine = everything[first - 1 :: step]
    there = [job for job in mine if (out / job.file).exists()]
    if there and not resume:
        raise InputError(
            out, f"{len(there)} shards of mocks, such as {there[0].file}", "none of those to make",
            "Pass --resume to keep them and go on, or choose another directory.",
        )  # fmt: skip
    _refuse_strangers(out, everything)
    if shard is None:  # else another run may be writing these
        clear(out / MANIFEST)
        clear(out / CHECKSUMS)
    make = functools.partial(
        make_shard,
        settings=settings,
        data=None if data is None else data.absolute(),
        out=out,
        make_pair=make_pair,
    )
    done, total = 0, sum(len(job.pairs) for job in mine)
    with running(workers) as execute:
        for job in execute(make, mine):
            done += len(job.pairs)
            if progress is not None:
                progress(done, total, "making pairs")
        if not all((out / job.file).exists() for job in everything):
            return None
        return write_manifest(out, execute)


def _names_of_data(settings: MockSettings) -> list[str]:
    """Return what the settings name in the folder of data."""
    names = [source.folder for source in settings.sources] + [settings.catalogue, settings.colours]
    names += [f"a PSF of {band}" for survey in settings.surveys for band in survey.psf]
    return [name for name in names if name is not None]


def _directory(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(out, error.strerror or str(error), "a directory", "Choose another one.") from error
    return out.absolute()


def _refuse_strangers(out: Path, jobs: list[Job]) -> None:
    """Complain of shards that these settings do not make."""
    strangers = {path.name for path in out.glob("pairs-*.h5")} - {job.file for job in jobs}
    if strangers:
        raise InputError(
            out / min(strangers),
            "a shard that these settings do not make",
            f"their {len(jobs)} shards only",
            "Choose another directory for --out.",
        )


def _attributes(settings: MockSettings) -> dict[str, str]:
    """Return what identifies a shard: all settings but the number of pairs, which may grow."""
    same = settings.model_copy(update={"pairs": {}})
    return {
        "name": settings.name,
        "config": same.model_dump_json(exclude={"pairs"}),
        "config_hash": config_hash(same),
        "version": version("synergy"),
    }


def _rows(path: Path, job: Job, settings: MockSettings) -> int:
    """Return the number of pairs in a shard that is there; fewer than a job's when `pairs` has grown."""
    expected = _attributes(settings)
    with reading(path) as file:
        found = {key: file.attrs[key] for key in ("config_hash", "config")}
        rows = len(file["object_id"])
    if found["config_hash"] != expected["config_hash"] or rows > len(job.pairs):
        raise InputError(
            path,
            f"{rows} pairs of the settings {found['config_hash']} ({found['config']})",
            f"{len(job.pairs)} of {expected['config_hash']} ({expected['config']})",
            "Choose another directory for --out.",
        )
    return rows
