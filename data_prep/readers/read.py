"""Any galaxy's files to a `Galaxy`: what a file is, is told by its content, never by its name.

- PNG: `eagle`, with the index beside it.
- FITS with ``BUNIT = 'counts/s/pixel'`` or ``'maggies/pixel'``: `tng`.
- FITS with ``BUNIT = 'AB mag/arcsec2'``: `skirt`, all files of one galaxy together.
- FITS without ``BUNIT``, but with ``MAG0``: `hst_images`, three files of one galaxy.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from astropy.io import fits

from data_prep.readers import skirt, tng
from data_prep.readers.eagle import read_eagle, read_index
from data_prep.readers.galaxy import Galaxy
from data_prep.readers.headers import first_image, unit
from data_prep.readers.hst_images import read_hst
from synergy.errors import InputError

UNITS = (*tng.UNITS, skirt.UNIT)
_PNG = b"\x89PNG\r\n\x1a\n"


def read_galaxy(
    paths: Path | Sequence[Path], *, simulation: str | None = None,
    zeropoints: Mapping[str, float] | None = None, lineage: str | None = None,
) -> Galaxy:  # fmt: skip
    """Read one galaxy from one or several files.

    Parameters
    ----------
    paths
        The file, or the files of its bands.
    simulation
        Name of the simulation, where files do not say it.
    zeropoints
        Band -> AB magnitude of 1 count/s, for images in counts.
    lineage
        Name that all snapshots and views of this galaxy share; by the rule of its reader when omitted.

    Raises
    ------
    InputError
        If a file is missing, damaged or of no known kind, the files are not one galaxy, or the name of the
        simulation or a zero point is needed and lacking.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    if not files:
        raise InputError("read_galaxy", "no file", "the files of one galaxy", "Name them.")
    kinds = {_kind(path) for path in files}
    kind = kinds.pop()
    if kinds or (kind in ("eagle", "tng") and len(files) > 1):
        raise InputError(
            ", ".join(map(str, files)),
            "files that do not go together",
            "one file, or one per band",
            "Read galaxies one by one.",
        )
    match kind:
        case "eagle":
            return _read_png(files[0], lineage)
        case "tng":
            return tng.read_tng(files[0], named(files[0], simulation), zeropoints, lineage)
        case "skirt":
            return skirt.read_skirt(files, simulation, lineage)
        case _:
            return read_hst(files, lineage)


def fits_kind(path: Path, header: fits.Header) -> str:
    """Return which reader a FITS file is for: ``"tng"``, ``"skirt"`` or ``"hst"``.

    Raises
    ------
    InputError
        If its header says nothing known.
    """
    found = unit(header)
    if found in tng.UNITS:
        return "tng"
    if found == skirt.UNIT:
        return "skirt"
    if not found and "MAG0" in header:
        return "hst"
    raise InputError(
        path,
        f"BUNIT = {found or 'nothing'}",
        f"one of {', '.join(map(repr, UNITS))}",
        "Convert the image, or write its unit into BUNIT.",
    )


def named(path: Path, simulation: str | None) -> str:
    """Return the name of the simulation, or refuse a file that does not tell it."""
    if simulation is None:
        raise InputError(
            path,
            "no name of the simulation",
            "one such as 'TNG50-1', because galaxies are numbered within it",
            "Pass simulation=..., or set `simulation` in the configuration.",
        )
    return simulation


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(len(_PNG))
    except OSError as error:
        raise InputError(path, error.strerror or "no file", "a readable file", "Check the path.") from error
    return "eagle" if start == _PNG else fits_kind(path, first_image(path))


def _read_png(path: Path, lineage: str | None) -> Galaxy:
    row = next((row for row in read_index(path.parent) if row["file"] == path.name), None)
    if row is None:
        raise InputError(
            path, "no row in index.csv", "an image of the index", "Add the row, or drop the image."
        )
    galaxy = read_eagle(path.parent, row)
    return galaxy if lineage is None else dataclasses.replace(galaxy, lineage=lineage)
