"""IllustrisTNG galaxies: broadband SKIRT images in the layout of Rodriguez-Gomez et al. (2019), as FITS.

One file per galaxy and view: the first HDU is a cube ``(band, y, x)`` with the names of the bands in
``FILTER0..n`` (``'sloan/sdss_g'``), the size of a pixel in ``CDELT1`` and its unit, parsec, in ``CTYPE1``,
and the redshift in ``USE_Z``. What the pixels mean is told by ``BUNIT`` and nothing else, never by the file's
name:

- ``'maggies/pixel'`` is absolute: a maggie is the flux of an object of AB magnitude 0.
- ``'counts/s/pixel'`` is only relative, because the header does not hold the zero points and these differ
  from band to band; the caller has to give them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from data_prep.readers.galaxy import Galaxy
from synergy.errors import InputError
from synergy.io.images import open_fits
from synergy.units import nanojanskys_per_unit

_KPC = {"pc": 1e-3, "kpc": 1.0}


def read_tng(
    path: Path, simulation: str, zeropoints: Mapping[str, float] | None = None, lineage: str | None = None
) -> Galaxy:
    """Read one galaxy.

    Parameters
    ----------
    path
        FITS file.
    simulation
        Name of the simulation, such as ``"TNG50-1"``; files do not say it, and names of galaxies are unique
        only within one.
    zeropoints
        Band -> AB magnitude of 1 count/s, for images in counts, such as ``{"sdss.g": 22.5, ...}``.
    lineage
        Name that all snapshots and views of this galaxy share, from the simulation's merger tree. Without
        it, the galaxy is taken to have this one image.

    Returns
    -------
    Galaxy
        Light in nJy per pixel.

    Raises
    ------
    InputError
        If the file is damaged or of another layout, its unit is unknown, or a zero point is lacking.
    """
    with open_fits(path) as file:
        header, data = file[0].header.copy(), file[0].data
        light = None if data is None else np.asarray(data, np.float64)
    if light is None or light.ndim != 3:
        found = "no data" if light is None else f"{light.ndim} axes"
        raise InputError(
            path, f"{found} in the first HDU", "a cube (band, y, x)", "Use the broadband image of one galaxy."
        )
    if not np.isfinite(light).all():
        raise InputError(
            path,
            f"{np.sum(~np.isfinite(light))} non-finite pixels",
            "finite fluxes",
            "Copy the file again, or leave this galaxy out.",
        )
    bands = _bands(path, header, len(light))
    redshift = _number(path, header, "USE_Z")
    name = f"tng/{simulation}/z{redshift:.4f}/{path.name.removesuffix('.gz').removesuffix('.fits')}"
    return Galaxy(
        bands=bands,
        light=light * _nanojanskys(path, header, bands, zeropoints)[:, None, None],
        kpc_per_pixel=_kpc_per_pixel(path, header),
        redshift=redshift,
        id=name,
        lineage=name if lineage is None else lineage,
        absolute=True,
    )


def _number(path: Path, header: fits.Header, key: str) -> float:
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(
            path,
            f"{key} = {value!r}" if key in header else f"no {key} in the header",
            "a number",
            "Use the file as the TNG data release delivers it.",
        )
    return float(value)


def _bands(path: Path, header: fits.Header, count: int) -> tuple[str, ...]:
    names = [str(header.get(f"FILTER{i}", "nothing")) for i in range(count)]
    matches = [re.fullmatch(r"(?:\w+/)?sdss[_.]([ugriz])", name.strip(), re.IGNORECASE) for name in names]
    bands = tuple(f"sdss.{match[1].lower()}" for match in matches if match)
    if len(bands) < count or len(set(bands)) < count:
        raise InputError(
            path,
            f"FILTER0 to FILTER{count - 1}: {', '.join(names)}",
            f"{count} different SDSS bands, such as 'sloan/sdss_g'",
            "Use the SDSS product of the simulation.",
        )
    return bands


def _kpc_per_pixel(path: Path, header: fits.Header) -> float:
    width, height = (_number(path, header, f"CDELT{axis}") for axis in (1, 2))
    units = [str(header.get(f"CTYPE{axis}", "nothing")).strip().lower() for axis in (1, 2)]
    if any(unit not in _KPC for unit in units):
        raise InputError(
            path,
            f"CTYPE1, CTYPE2 = {', '.join(units)}",
            "the unit of CDELT, 'pc' or 'kpc'",
            "Use the file as the TNG data release delivers it.",
        )
    width, height = (abs(size) * _KPC[unit] for size, unit in zip((width, height), units, strict=True))
    if not (width > 0 and np.isclose(width, height, rtol=1e-6)):
        raise InputError(
            path, f"pixels of {width:g} x {height:g} kpc", "square pixels", "Resample the image first."
        )
    return width


def _nanojanskys(
    path: Path, header: fits.Header, bands: tuple[str, ...], zeropoints: Mapping[str, float] | None
) -> Float[np.ndarray, " band"]:
    """Return the flux in nJy of one unit of each band's image."""
    unit = str(header.get("BUNIT", "nothing")).strip()
    if unit == "maggies/pixel":
        return np.full(len(bands), nanojanskys_per_unit(0.0))
    if unit != "counts/s/pixel":
        raise InputError(
            path,
            f"BUNIT = {unit}",
            "'counts/s/pixel' or 'maggies/pixel'",
            "Convert the image to maggies/pixel and write that in BUNIT.",
        )
    missing = [band for band in bands if band not in (zeropoints or {})]
    if missing:
        raise InputError(
            path,
            f"an image in counts/s/pixel without zero points of {', '.join(missing)}",
            "the AB magnitude of 1 count/s in each band",
            f"Pass zeropoints={{{', '.join(f'{band!r}: ...' for band in bands)}}}.",
        )
    return np.array([nanojanskys_per_unit(float(zeropoints[band])) for band in bands])
