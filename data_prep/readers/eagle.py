"""EAGLE galaxies: SKIRT images of the public data base (McAlpine et al. 2016; Trayford et al. 2017), as PNG.

The PNGs show SDSS i, r, g as red, green, blue. Their stretch is normalised to each image's peak, so absolute
flux and true colours are lost; only relative brightness and relative colour are read. The stretch keeps the
ratios of the channels (as Lupton et al. 2004 do): brightness is inverted as ``I ~ sinh(b m / m_max)`` with m
the mean of the channels, and ratios are taken as they are. Inverting each channel by itself would make bright
star-forming knots red. With b = 6 half-light radii are 0.8 of the simulation's (three-dimensional) half-mass
radii, as projection has it.

Frames cut extended galaxies off in a square, which would show once a galaxy is rotated; light is faded to
zero between 0.3 and 1 of the frame's half-width, slowly enough that no edge is left.
"""

import csv
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from data_prep.readers.galaxy import Galaxy, GalaxyEntry
from synergy.errors import InputError
from synergy.windows import fade

COLUMNS = ("file", "sim", "GalaxyID", "ProjGalaxyID", "z")
STRETCH = 6.0
KPC_PER_PIXEL = 60.0 / 256.0


def read_index(folder: Path) -> list[dict[str, str]]:
    """Read ``index.csv``: one row per image with its simulation, galaxy and redshift.

    Raises
    ------
    InputError
        If the index is missing or unreadable, or lacks a column or value.
    """
    path = folder / "index.csv"
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except OSError as error:
        raise InputError(
            path, error.strerror or "no index", "index.csv beside the images", "Point to the EAGLE folder."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, str(error), "a text file of comma-separated values", "Restore it.") from error
    missing = sorted(set(COLUMNS) - set(columns))
    if missing:
        raise InputError(
            path, f"no column {missing}", f"the columns {', '.join(COLUMNS)}", "Restore the file."
        )
    for number, row in enumerate(rows, start=1):
        if any(row[column] is None for column in COLUMNS):
            raise InputError(
                path, f"row {number} cut short", f"{len(columns)} values in each row", "Restore the file."
            )
    return rows


def lineage(row: dict[str, str]) -> str:
    """Return the name that all snapshots of one galaxy share: its own where the index names no other."""
    return f"eagle/{row['sim']}/{row['ProjGalaxyID'] or row['GalaxyID']}"


def _name(row: dict[str, str]) -> str:
    return f"eagle/{row['sim']}/{row['GalaxyID']}"


def read_eagle(folder: Path, row: dict[str, str]) -> Galaxy:
    """Read the image of one row of the index.

    Raises
    ------
    InputError
        If the image is missing, damaged, black or not RGB, or the redshift is no number.
    """
    path = folder / row["file"]
    try:
        redshift = max(float(row["z"]), 0.0) if row["z"] else np.nan
    except ValueError as error:
        raise InputError(
            folder / "index.csv",
            f"z = {row['z']!r} for {row['file']}",
            "a redshift or nothing",
            "Correct the row.",
        ) from error
    try:
        with Image.open(path) as image:
            image.load()
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise InputError(path, str(error), "a complete PNG", "Copy the file again.") from error
    if mode != "RGB":
        raise InputError(
            path, f"mode {mode}", "an RGB image of SDSS i, r, g", "Use the images of the EAGLE folder."
        )
    values = pixels.astype(np.float64)
    mean = values.mean(axis=-1)
    if not mean.max() > 0:
        raise InputError(path, "a black image", "a galaxy", "Leave this row out of the index.")
    brightness = np.sinh(STRETCH * mean / mean.max()) / np.sinh(STRETCH)
    ratios = np.moveaxis(values / np.maximum(mean, 1e-9)[..., None], -1, 0)[::-1]
    light = ratios * (brightness * frame_taper(mean.shape))
    return Galaxy(
        bands=("sdss.g", "sdss.r", "sdss.i"),
        light=light,
        kpc_per_pixel=KPC_PER_PIXEL,
        redshift=redshift,
        id=_name(row),
        lineage=lineage(row),
        absolute=False,
        face_on=True,
    )


def list_eagle(folder: Path) -> tuple[GalaxyEntry, ...]:
    """List the galaxies of the index, in its order; no image is opened.

    Raises
    ------
    InputError
        As `read_index`.
    """
    return tuple(
        GalaxyEntry(_name(row), lineage(row), functools.partial(read_eagle, folder, row))
        for row in read_index(folder)
    )


def frame_taper(shape: tuple[int, int], start: float = 0.3) -> Float[np.ndarray, "y x"]:
    """Return a round window: 1 inside `start` of the half-width, falling as a cosine to 0 at all of it."""
    half = min(shape) / 2.0
    y, x = (np.arange(n) - (n - 1) / 2.0 for n in shape)
    radius = np.hypot(y[:, None], x[None, :]) / half
    return fade(radius, start, 1.0)
