"""The manifest of a data set of pairs: ``manifest.ecsv``, one row per pair, and ``SHA256SUMS`` of its shards.

Both are made from the shards, by reading each once, and can be made again at any time. The table tells where
a pair is (`split`, `shard`, `row`) and what it shows: `n_sources` and, of the first source (the main galaxy
where there is one), its name (`galaxy`), `redshift` and AB magnitude in each band of the truth. An empty sky
has no name (masked) and nan. ``sha256sum -c SHA256SUMS`` checks the shards. Rows are written as they are
read; only the names of the pairs are kept, to see that none occurs twice.
"""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from astropy.table import Table

from synergy.errors import InputError
from synergy.io.atomic import replacing
from synergy.io.pairs import reading
from synergy.units import magnitude_from_flux

MANIFEST, CHECKSUMS = "manifest.ecsv", "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class ShardSummary:
    """What a manifest says of one shard.

    Parameters
    ----------
    file
        Its name.
    sha256
        Its checksum.
    config_hash, bands
        Its settings, and the bands of its truths.
    rows
        Its rows of the manifest.
    """

    file: str
    sha256: str
    config_hash: str
    bands: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def summarise(path: Path) -> ShardSummary:
    """Read what a manifest says of a shard.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    with reading(path) as file:
        split, settings = file.attrs["split"], str(file.attrs.get("config_hash", ""))
        bands = tuple(json.loads(file.attrs["bands"]))
        columns = (file["object_id"].asstr()[:], file["seed"][:], file["sources"].asstr()[:])
        rows = []
        for number, (name, seed, text) in enumerate(zip(*columns, strict=True)):
            sources = json.loads(text)
            main = sources[0] if sources else {"name": "", "redshift": float("nan"), "fluxes": {}}
            magnitudes = [magnitude_from_flux(float(main["fluxes"].get(band, 0.0))) for band in bands]
            shown = [round(float(value), 4) for value in (main["redshift"], *magnitudes)]
            rows.append((name, split, path.name, number, int(seed), len(sources), main["name"], *shown))
    with path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    return ShardSummary(path.name, digest, settings, bands, tuple(rows))


def write_manifest(
    folder: Path,
    execute: Callable[[Callable[[Path], ShardSummary], Iterable[Path]], Iterator[ShardSummary]] = map,
) -> Path:
    """Write the manifest and the checksums of the shards in a folder.

    Parameters
    ----------
    folder
        Directory of shards.
    execute
        As `map`, maybe elsewhere and in another order.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    InputError
        If there is no shard, one is damaged, they are of several settings, or a pair occurs twice.
    """
    paths = sorted(folder.glob("pairs-*.h5"))
    if not paths:
        raise InputError(folder, "no shards of pairs", "some", "Make pairs first: synergy mock --help.")
    target, sums = folder / MANIFEST, folder / CHECKSUMS
    first: ShardSummary | None = None
    seen: dict[str, str] = {}
    with (
        replacing(target) as table,
        replacing(sums) as checksums,
        table.open("w", newline="", encoding="utf-8") as rows,
        checksums.open("w", encoding="utf-8") as lines,
    ):
        for summary in _in_order(execute(summarise, paths), paths):
            if first is None:
                first = summary
                rows.write(_header(summary))
            _check(folder, summary, first, seen)
            write = csv.writer(rows, delimiter=" ", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            write.writerows(summary.rows)
            lines.write(f"{summary.sha256}  {summary.file}\n")
    return target


def _in_order(summaries: Iterator[ShardSummary], paths: list[Path]) -> Iterator[ShardSummary]:
    """Return summaries in the order of their paths, however they come."""
    waiting: dict[str, ShardSummary] = {}
    for path in paths:
        while path.name not in waiting:
            summary = next(summaries)
            waiting[summary.file] = summary
        yield waiting.pop(path.name)


def _check(folder: Path, summary: ShardSummary, first: ShardSummary, seen: dict[str, str]) -> None:
    """Complain of a shard of other settings, and of a pair that was there before."""
    if (summary.config_hash, summary.bands) != (first.config_hash, first.bands):
        raise InputError(
            folder / summary.file,
            f"settings {summary.config_hash}",
            f"{first.config_hash} as in {first.file}",
            "Keep pairs of different settings in different directories.",
        )
    for name, *_ in summary.rows:
        if name in seen:
            raise InputError(
                folder / summary.file,
                f"the pair {name} again",
                f"it in {seen[name]} only",
                "Delete one shard.",
            )
        seen[name] = summary.file


def _header(summary: ShardSummary) -> str:
    """Return the ECSV header, with the names of the columns."""
    columns = {"object_id": str, "split": str, "shard": str, "row": int, "seed": int, "n_sources": int}
    columns |= {"galaxy": str, "redshift": float} | {f"magnitude_{band}": float for band in summary.bands}
    text = io.StringIO()
    table = Table(names=list(columns), dtype=list(columns.values()))
    table.meta = {"config_hash": summary.config_hash}
    table.write(text, format="ascii.ecsv")
    return text.getvalue()
