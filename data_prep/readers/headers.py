"""What the headers of simulated images say: units, bands, sizes of pixels, numbers."""

import re
from pathlib import Path

import numpy as np
from astropy.io import fits

from synergy.errors import InputError
from synergy.io.images import open_fits

_KPC = {"pc": 1e-3, "kpc": 1.0}

# Names of filters, in lower case with every separator an underscore: those of the SVO Filter Profile
# Service, and the shorter ones that SKIRT pipelines write.
_BANDS = (
    {f"{prefix}sdss_{b}": f"sdss.{b}" for b in "ugriz" for prefix in ("", "sloan_")}
    | {f"{b}_sdss_res": f"sdss.{b}" for b in "ugriz"}
    | {f"subaru_hsc_{b}": f"hsc.{b}" for b in "grizy"}
    | {f"cfht_megacam_{b}": f"megacam.{b}" for b in "ugriz"}
    | {f"ctio_decam_{b}": f"decam.{b}" for b in "ugriz"}
    | {f"lsst_lsst_{b}": f"lsst.{b}" for b in "ugrizy"}
    | {"euclid_vis_vis": "euclid.vis"}
    | {f"euclid_nisp_{b.lower()}": f"euclid.{b}" for b in "YJH"}
)


def first_image(path: Path) -> fits.Header:
    """Return the header of the first HDU with an image, without reading the image.

    Raises
    ------
    InputError
        If the file is missing, damaged or without an image.
    """
    with open_fits(path) as hdus:
        for hdu in hdus:
            if hdu.is_image and hdu.shape:
                return hdu.header.copy()
    raise InputError(path, "no image", "a FITS image of a galaxy", "Use another file.")


def unit(header: fits.Header) -> str:
    """Return ``BUNIT`` without blanks around it, or nothing."""
    return str(header.get("BUNIT", "")).strip()


def band_of(name: str) -> str | None:
    """Return our name of a filter, such as ``"sdss.g"`` for ``"sloan/sdss_g"``; None if it is not known."""
    return _BANDS.get(re.sub(r"[./]", "_", name.strip().lower()))


def number(source: object, header: fits.Header, key: str) -> float:
    """Return a number of the header.

    Raises
    ------
    InputError
        If it is missing or not a finite number.
    """
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(
            source,
            f"{key} = {value!r}" if key in header else f"no {key} in the header",
            "a number",
            "Use the file as the simulation's data release delivers it.",
        )
    return float(value)


def kpc_per_pixel(source: object, header: fits.Header) -> float:
    """Return the size of a pixel: ``CDELT`` in the unit named by ``CTYPE``.

    Raises
    ------
    InputError
        If it is missing, in another unit, zero, or not that of a square.
    """
    width, height = (number(source, header, f"CDELT{axis}") for axis in (1, 2))
    units = [str(header.get(f"CTYPE{axis}", "nothing")).strip().lower() for axis in (1, 2)]
    if any(unit not in _KPC for unit in units):
        raise InputError(
            source,
            f"CTYPE1, CTYPE2 = {', '.join(units)}",
            "the unit of CDELT, 'pc' or 'kpc'",
            "Use the file as the simulation's data release delivers it.",
        )
    width, height = (abs(size) * _KPC[unit] for size, unit in zip((width, height), units, strict=True))
    if not (width > 0 and np.isclose(width, height, rtol=1e-6)):
        raise InputError(
            source, f"pixels of {width:g} x {height:g} kpc", "square pixels", "Resample the image first."
        )
    return width
