"""The galaxies of a folder, for the mock maker to choose from: in a fixed order, images unread.

Listings read headers (FITS) or the index (EAGLE); only HST stamps have to be looked at, because nothing else
tells that their bands are shifted. Files of another kind in a folder are an error.

Lineages that headers cannot tell, such as the snapshots of one TNG galaxy along its merger tree, may be given
in a file ``lineages.csv`` in the folder, with the columns ``file`` and ``lineage``; it need not name every
file.
"""

import collections
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from data_prep.readers import skirt, tng
from data_prep.readers.eagle import list_eagle
from data_prep.readers.galaxy import GalaxyEntry
from data_prep.readers.headers import first_image
from data_prep.readers.hst_images import list_hst
from data_prep.readers.read import fits_kind, named
from synergy.errors import InputError


def list_galaxies(
    kind: Literal["eagle", "tng", "skirt", "hst"], folder: Path, *, simulation: str | None = None,
    zeropoints: Mapping[str, float] | None = None,
) -> tuple[GalaxyEntry, ...]:  # fmt: skip
    """List the galaxies of a folder.

    Parameters
    ----------
    kind
        ``"eagle"``: PNGs with an index. ``"tng"``: SDSS or idealised HSC images of IllustrisTNG. ``"skirt"``:
        maps in AB mag/arcsec2, of any simulation. ``"hst"``: three-band stamps.
    folder
        The folder; those within it are not looked at.
    simulation
        Name of the simulation, where files do not say it.
    zeropoints
        Band -> AB magnitude of 1 count/s, for images in counts.

    Raises
    ------
    InputError
        If there is no galaxy, a file is damaged or of another kind, two galaxies have one name, or the
        simulation's name or a zero point is needed and lacking.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", f"a folder of galaxies ({kind})", "Check the path.")
    if kind == "eagle":
        entries = list_eagle(folder)
    elif kind == "hst":
        entries, _ = list_hst(folder)
    else:
        entries = _list_simulated(kind, folder, simulation, zeropoints)
    if not entries:
        raise InputError(folder, "no galaxy", f"galaxies of the kind '{kind}'", "Point to another folder.")
    counts = collections.Counter(entry.id for entry in entries)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise InputError(folder, f"{name} {count} times", "one entry per galaxy", "Remove the others.")
    return entries


def _list_simulated(
    kind: str, folder: Path, simulation: str | None, zeropoints: Mapping[str, float] | None
) -> tuple[GalaxyEntry, ...]:
    lineages = _read_lineages(folder)
    entries, several = [], {}
    for path in sorted(path for path in folder.iterdir() if path.name.endswith((".fits", ".fits.gz"))):
        header = first_image(path)
        found = fits_kind(path, header)
        if found == "skirt":
            several.setdefault(skirt.identity(path, header, simulation), []).append(path)
        elif found == kind:
            lineage = lineages.get(path.name)
            entries.append(tng.tng_entry(path, header, named(path, simulation), zeropoints, lineage))
        else:
            raise InputError(
                path, f"an image of the kind '{found}'", f"'{kind}'", "Keep each kind in its own folder."
            )
    for name, paths in sorted(several.items()):
        lineage = next((lineages[path.name] for path in paths if path.name in lineages), None)
        entries.append(skirt.skirt_entry(paths, name, simulation, lineage))
    return tuple(entries)


def _read_lineages(folder: Path) -> dict[str, str]:
    path = folder / "lineages.csv"
    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            return {row["file"]: row["lineage"] for row in csv.DictReader(file, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(
            path, f"{type(error).__name__} {error}", "the columns file and lineage", "Restore the file."
        ) from error
