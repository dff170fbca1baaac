"""Surface brightness maps made with SKIRT, in ``AB mag/arcsec2``: TNG's HSC products and idealised mergers.

One two-dimensional HDU per band, all in one file (the idealised HSC images of IllustrisTNG, Bottrell et al.
2024, with ``CDELT`` in kpc) or each in its own (RealSim, Bottrell et al. 2019, ``CDELT`` in pc). ``FILTER``
names the band, 99 or infinity marks a pixel without light, ``REDSHIFT`` is the redshift.

Which HDUs belong to one galaxy is told by the headers: those that agree in all of `IDENTITY`, the names of
simulation, run, snapshot, galaxy and camera, as far as they are there. Cameras see one galaxy, and the
snapshots of an idealised merger (``SUBTAG``, ``ISNAP``) show one merger, so both have one lineage. In a
cosmological simulation the number of a galaxy (``SUBHALO``) is valid in its snapshot only; who it was before
is known to the merger tree, and the caller has to say.

Both pipelines shift the spectrum to the redshift and dim it by ``(1 + z)^-5`` per unit wavelength before
they apply filters, so magnitudes are those of the observer's frame, and a pixel's flux is its surface
brightness times its solid angle at that redshift (Planck 2015 cosmology, the one of Bottrell et al. 2024;
another one changes the fluxes by a few per cent, the same in all bands and pixels). Without a redshift, or
with 0, nothing is dimmed and the flux is the one seen from 10 pc, so that its magnitude is absolute.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.cosmology import Planck15
from astropy.io import fits

from data_prep.readers.galaxy import Galaxy, GalaxyEntry
from data_prep.readers.headers import band_of, kpc_per_pixel, number, unit
from synergy.errors import InputError
from synergy.io.images import open_fits
from synergy.units import flux_from_magnitude

UNIT = "AB mag/arcsec2"
IDENTITY = ("SIMTAG", "SUBTAG", "SNAPNUM", "ISNAP", "SUBHALO", "CAMERA")
_EMPTY = 99.0
_NEARBY = 1e-6  # simulations write their last snapshot as redshift 2e-16
_ARCSEC = np.pi / 180.0 / 3600.0
_ORDER = "ugrivzyJH"


def read_skirt(paths: Sequence[Path], simulation: str | None = None, lineage: str | None = None) -> Galaxy:
    """Read one galaxy from one or several files.

    Parameters
    ----------
    paths
        FITS files that hold its bands.
    simulation
        Name of the simulation, for headers without ``SIMTAG``.
    lineage
        Name that all snapshots and views of this galaxy share, where the header cannot tell it.

    Returns
    -------
    Galaxy
        Light in nJy per pixel, bands from blue to red.

    Raises
    ------
    InputError
        If a file is damaged or of another layout, its unit is another one, or HDUs do not agree in size,
        pixel, redshift and `IDENTITY`.
    """
    planes, common, first = {}, None, ""
    for path in paths:
        with open_fits(path) as hdus:
            for index, hdu in enumerate(hdus):
                if not (hdu.is_image and hdu.shape):
                    continue
                source, header = f"{path}[{index}]", hdu.header
                band = _band(source, header)
                _check_unit(source, header)
                if band in planes:
                    raise InputError(
                        source,
                        f"another image in {band}",
                        "one image per band",
                        "Give the files of one galaxy.",
                    )
                found = {
                    "size": hdu.shape,
                    "kpc per pixel": kpc_per_pixel(source, header),
                    "redshift": _redshift(source, header),
                    "name": identity(source, header, simulation),
                }
                common, first = common or found, first or source
                _check_agreement(source, found, first, common)
                planes[band] = _flux(source, np.asarray(hdu.data, np.float64))
    if common is None:
        raise InputError(
            ", ".join(map(str, paths)), "no image", "maps of surface brightness", "Check the files."
        )
    bands = sorted(planes, key=lambda band: (_ORDER.index(band[band.index(".") + 1]), band))
    scale, redshift = common["kpc per pixel"], common["redshift"]
    name = common["name"]
    return Galaxy(
        bands=tuple(bands),
        light=np.stack([planes[band] for band in bands]) * _solid_angle(scale, redshift),
        kpc_per_pixel=scale,
        redshift=redshift,
        id=name[0],
        lineage=name[1] if lineage is None else lineage,
        absolute=True,
    )


def identity(source: object, header: fits.Header, simulation: str | None = None) -> tuple[str, str]:
    """Return id and lineage of the galaxy that a header belongs to.

    Raises
    ------
    InputError
        If it does not name the simulation and the caller does not, either.
    """
    cards = {key: str(header[key]).strip() for key in IDENTITY if key in header}
    if simulation is not None:
        cards = {"SIMTAG": simulation} | cards
    if "SIMTAG" not in cards:
        raise InputError(
            source,
            "no SIMTAG in the header",
            f"the name of the simulation, and others of {', '.join(IDENTITY)}",
            "Write them into the header, or give the simulation's name.",
        )
    shared = {key: value for key, value in cards.items() if key not in ("CAMERA", "ISNAP")}
    return "/".join(["skirt", *cards.values()]), "/".join(["skirt", *shared.values()])


def skirt_entry(paths: Sequence[Path], name: tuple[str, str], simulation: str | None,
                lineage: str | None) -> GalaxyEntry:  # fmt: skip
    """Return the entry of a galaxy whose `identity` is known; the parameters are those of `read_skirt`."""
    read = functools.partial(read_skirt, tuple(paths), simulation, lineage)
    return GalaxyEntry(name[0], name[1] if lineage is None else lineage, read)


def _band(source: str, header: fits.Header) -> str:
    name = str(header.get("FILTER", header.get("EXTNAME", "nothing")))
    band = band_of(name)
    if band is None:
        raise InputError(
            source, f"FILTER = {name}", "a known band, such as 'Subaru_HSC.g'", "Write its name into FILTER."
        )
    return band


def _check_unit(source: str, header: fits.Header) -> None:
    if unit(header) != UNIT:
        raise InputError(
            source,
            f"BUNIT = {unit(header) or 'nothing'}",
            f"{UNIT!r}",
            "Use the idealised images, which have neither PSF nor noise.",
        )


def _check_agreement(source: str, found: dict, first: str, common: dict) -> None:
    for what, value in found.items():
        if value != common[what] and not (what == "redshift" and np.isnan([value, common[what]]).all()):
            raise InputError(
                source, f"{what} {value}", f"{common[what]}, as in {first}", "Give the files of one galaxy."
            )


def _redshift(source: str, header: fits.Header) -> float:
    redshift = number(source, header, "REDSHIFT") if "REDSHIFT" in header else np.nan
    if redshift < 0:
        raise InputError(source, f"REDSHIFT = {redshift}", "a redshift of 0 or more", "Correct the header.")
    return redshift


def _flux(source: str, magnitude: np.ndarray) -> np.ndarray:
    """Return nJy per square arcsec."""
    if magnitude.ndim != 2:
        raise InputError(source, f"{magnitude.ndim} axes", "an image (y, x)", "Use one HDU per band.")
    if bad := int(np.sum(np.isnan(magnitude) | np.isneginf(magnitude))):
        raise InputError(
            source, f"{bad} pixels of no or infinite brightness", "magnitudes, or 99 or inf for no light",
            "Copy the file again, or leave this galaxy out.",
        )  # fmt: skip
    return np.where(magnitude < _EMPTY, flux_from_magnitude(magnitude), 0.0)


def _solid_angle(kpc: float, redshift: float) -> float:
    """Return the solid angle of a pixel in square arcsec, at its redshift or at 10 pc."""
    distance = Planck15.angular_diameter_distance(redshift).to_value("kpc") if redshift > _NEARBY else 0.01
    return float((kpc / distance / _ARCSEC) ** 2)
