"""IllustrisTNG galaxies: broadband SKIRT images in the layout of Rodriguez-Gomez et al. (2019), as FITS.

One file per galaxy and view: the first HDU is a cube ``(band, y, x)`` with the names of the bands in
``FILTER0..n`` (``'sloan/sdss_g'``), the size of a pixel in ``CDELT1`` and its unit, parsec, in ``CTYPE1``,
and the redshift in ``USE_Z``. What the pixels mean is told by ``BUNIT`` and nothing else, never by the file's
name:

- ``'maggies/pixel'`` is absolute: a maggie is the flux of an object of AB magnitude 0.
- ``'counts/s/pixel'`` is only relative, because the header does not hold the zero points and these differ
  from band to band; the caller has to give them. For the SDSS product the author states the counts of an
  object of magnitude 0, 2.40238e10 (g), 2.3826e10 (r), 1.59001e10 (i) and 2.66542e9 (z) per second
  (V. Rodriguez-Gomez, 31 July 2020, tng-project.org/data/forum/topic/304); 2.5 log10 of them are the zero
  points.

Fluxes are those that reach an observer at the redshift. A header names neither simulation nor snapshot, so
the caller names the former and the redshift stands for the latter.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from data_prep.readers.galaxy import Galaxy, GalaxyEntry
from data_prep.readers.headers import band_of, kpc_per_pixel, number, unit
from synergy.errors import InputError
from synergy.io.images import open_fits
from synergy.units import nanojanskys_per_unit

UNITS = ("counts/s/pixel", "maggies/pixel")


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
    name = _name(path, header, simulation)
    return Galaxy(
        bands=bands,
        light=light * _nanojanskys(path, header, bands, zeropoints)[:, None, None],
        kpc_per_pixel=kpc_per_pixel(path, header),
        redshift=number(path, header, "USE_Z"),
        id=name,
        lineage=name if lineage is None else lineage,
        absolute=True,
    )


def tng_entry(
    path: Path, header: fits.Header, simulation: str, zeropoints: Mapping[str, float] | None,
    lineage: str | None,
) -> GalaxyEntry:  # fmt: skip
    """Return the entry of a file from its header alone; the parameters are those of `read_tng`.

    Raises
    ------
    InputError
        If the header is of another layout, its unit is unknown, or a zero point is lacking.
    """
    _nanojanskys(path, header, _bands(path, header, int(header.get("NAXIS3", 1))), zeropoints)
    name = _name(path, header, simulation)
    read = functools.partial(read_tng, path, simulation, zeropoints, lineage)
    return GalaxyEntry(name, name if lineage is None else lineage, read)


def _name(path: Path, header: fits.Header, simulation: str) -> str:
    redshift = number(path, header, "USE_Z")
    return f"tng/{simulation}/z{redshift:.4f}/{path.name.removesuffix('.gz').removesuffix('.fits')}"


def _bands(path: Path, header: fits.Header, count: int) -> tuple[str, ...]:
    names = [str(header.get(f"FILTER{i}", "nothing")) for i in range(count)]
    bands = tuple(band for name in names if (band := band_of(name)))
    if len(bands) < count or len(set(bands)) < count:
        raise InputError(
            path,
            f"FILTER0 to FILTER{count - 1}: {', '.join(names)}",
            f"{count} different known bands, such as 'sloan/sdss_g'",
            "Use the SDSS product of the simulation.",
        )
    return bands


def _nanojanskys(
    path: Path, header: fits.Header, bands: tuple[str, ...], zeropoints: Mapping[str, float] | None
) -> Float[np.ndarray, " band"]:
    """Return the flux in nJy of one unit of each band's image."""
    if unit(header) == "maggies/pixel":
        return np.full(len(bands), nanojanskys_per_unit(0.0))
    if unit(header) != "counts/s/pixel":
        raise InputError(
            path,
            f"BUNIT = {unit(header) or 'nothing'}",
            " or ".join(map(repr, UNITS)),
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
