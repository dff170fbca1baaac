"""HST three-band stamps: the source of true galaxy colours.

Each galaxy has one gzipped FITS per band, ``<band>_<name>.fits.gz``, background-subtracted and zero outside
its segment, with ``MAG0`` (zero point), ``MAG`` (its magnitude) and ``RADIUS`` (half-light radius in pixels).
The zero points, 26.66, 26.78 and 28.04, are those of the *ST* system (constant f_lambda), as a comparison
with the instrument handbooks and the galaxies' colours shows; they are turned into AB with the filters' pivot
wavelengths, ``m_AB = m_ST - 5 log10(pivot / Angstrom) + 18.692``. Integrated colours are read here, images in
`data_prep.readers.hst_images`. Stamps whose bands do not lie on top of each other, or whose measured
magnitude contradicts the header, are left out.
"""

import dataclasses
from pathlib import Path

import numpy as np
from astropy.io import fits

from synergy.errors import InputError
from synergy.io.images import open_fits

BANDS = ("hst.F606W", "hst.F814W", "hst.F125W")
PIVOTS = {"hst.F606W": 5921.0, "hst.F814W": 8047.0, "hst.F125W": 12486.0}


@dataclasses.dataclass(frozen=True)
class Colours:
    """Integrated AB magnitudes of one galaxy in `BANDS`."""

    name: str
    magnitudes: tuple[float, float, float]


def ab_magnitude(st_magnitude: float, band: str) -> float:
    """Convert a magnitude, or a zero point, from the ST to the AB system."""
    return float(st_magnitude - 5.0 * np.log10(PIVOTS[band]) + 18.692)


def stated_number(header: fits.Header, key: str, path: Path) -> float:
    """Return a number of the header, NaN where IRAF wrote INDEF."""
    if key not in header:
        raise InputError(
            path, f"no {key} in the header", "an HST stamp with MAG0 and MAG", "Restore the file."
        )
    try:
        return float(header[key])
    except (fits.VerifyError, ValueError):
        return np.nan


def _measure(path: Path) -> tuple[float, tuple[float, float]]:
    """Return magnitude and flux centroid of one stamp; no number where it contradicts its header."""
    with open_fits(path) as file:
        header, image = file[0].header, np.asarray(file[0].data, np.float64)
    if image.ndim != 2:
        raise InputError(path, f"{image.ndim} axes", "an image (y, x) in the first HDU", "Restore the file.")
    zeropoint, stated, flux = (
        stated_number(header, "MAG0", path),
        stated_number(header, "MAG", path),
        float(image.sum()),
    )
    if not flux > 0:
        return np.inf, (np.nan, np.nan)
    magnitude = float(zeropoint - 2.5 * np.log10(flux))
    if not abs(magnitude - stated) <= 0.1:
        return np.inf, (np.nan, np.nan)
    y, x = np.indices(image.shape)
    positive = np.maximum(image, 0.0)
    return magnitude, (
        float((y * positive).sum() / positive.sum()),
        float((x * positive).sum() / positive.sum()),
    )


def read_colours(folder: Path, largest_shift: float = 6.0) -> list[Colours]:
    """Read the integrated colours of all usable galaxies.

    Parameters
    ----------
    folder
        Directory of stamps.
    largest_shift
        Largest accepted distance between the bands' centroids, in pixels of 0.06 arcsec.

    Raises
    ------
    InputError
        If a file is damaged or lacks its zero point, or no galaxy is left.
    """
    out = []
    for path in sorted(folder.glob("f814w_*.fits.gz")):
        name = path.name.removeprefix("f814w_").removesuffix(".fits.gz")
        paths = [folder / f"{band.split('.')[1].lower()}_{name}.fits.gz" for band in BANDS]
        if not all(p.is_file() for p in paths):
            continue
        st_magnitudes, centres = zip(*(_measure(p) for p in paths), strict=True)
        magnitudes = [ab_magnitude(m, b) for m, b in zip(st_magnitudes, BANDS, strict=True)]
        shift = np.ptp(np.array(centres), axis=0).max()
        if np.all(np.isfinite(magnitudes)) and shift < largest_shift:
            out.append(Colours(name, tuple(magnitudes)))
    if not out:
        raise InputError(
            folder,
            "no galaxy with three usable bands",
            "stamps f606w_*, f814w_*, f125w_*.fits.gz",
            "Point to the folder of HST stamps.",
        )
    return out
