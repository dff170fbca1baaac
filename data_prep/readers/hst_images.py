"""Images of real galaxies in three HST bands, from the stamps of `data_prep.readers.hst`.

The header names band and galaxy in the history of IRAF, ``IMCMB002 = 'sect23_f814w_gal52.fits'``; file
names are not looked at. Outside a galaxy's segment light and noise are 0 already; pixels inside are kept as
they are, negative ones too, because clipping would make the totals too bright. HST's PSF (0.1 arcsec in
F814W) stays in, so a galaxy must be made a few times smaller before it can pass for free of PSF. The pixel is
0.06 arcsec; neither its size in kpc nor the redshift is known.

All bands have one pixel grid, but some do not lie on top of each other, which would colour a galaxy's edges.
How far a band is shifted against F814W is where its cross-correlation with it peaks, after smoothing that
makes the PSFs alike; centroids would take a galaxy's own colour gradient for a shift.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from data_prep.readers.galaxy import Galaxy, GalaxyEntry
from data_prep.readers.headers import first_image
from data_prep.readers.hst import BANDS, ab_magnitude, stated_number
from synergy.errors import InputError
from synergy.io.images import open_fits
from synergy.units import nanojanskys_per_unit

LARGEST_SHIFT = 1.0
_SMOOTHING = 1.5
_MARGIN = 8


class UnusableStampError(InputError):
    """Stamps that are whole, but not fit to be taken for a galaxy in three bands."""


def read_hst(
    paths: Sequence[Path], lineage: str | None = None, largest_shift: float = LARGEST_SHIFT
) -> Galaxy:
    """Read the images of one galaxy, cut to the square around its centroid that holds all its light.

    Parameters
    ----------
    paths
        Its stamps in the three bands, in any order.
    lineage
        Name to split by; its own when omitted.
    largest_shift
        Largest accepted shift of a band, pixels.

    Returns
    -------
    Galaxy
        Light in nJy per pixel.

    Raises
    ------
    InputError
        If a file is damaged or of another layout, or the files are not one galaxy in three bands.
    UnusableStampError
        If bands are shifted, a stamp has no light, or its magnitude is not the one that the header states.
    """
    stamps = dict(_read(path) for path in paths)
    names = {name for _, name in stamps}
    if len(names) != 1 or {band for band, _ in stamps} != set(BANDS) or len(paths) != len(BANDS):
        raise InputError(
            ", ".join(str(path) for path in paths),
            "stamps of " + ", ".join(sorted(f"{name} in {band}" for band, name in stamps)),
            f"one galaxy in {', '.join(BANDS)}",
            "Give the three stamps of one galaxy.",
        )
    (name,) = names
    light = _cut(np.stack([stamps[band, name] for band in BANDS]))
    for band, image in zip(BANDS, light, strict=True):
        shift = displacement(image, light[1])
        if not np.hypot(*shift) <= largest_shift:
            raise UnusableStampError(
                name,
                f"{band} shifted by {shift[0]:.1f}, {shift[1]:.1f} pixels (y, x) against {BANDS[1]}",
                f"bands that lie on top of each other to {largest_shift:g} pixels",
                "Leave this galaxy out.",
            )
    return Galaxy(
        bands=BANDS,
        light=light,
        kpc_per_pixel=np.nan,
        redshift=np.nan,
        id=f"hst/{name}",
        lineage=f"hst/{name}" if lineage is None else lineage,
        absolute=True,
    )


def list_hst(folder: Path) -> tuple[tuple[GalaxyEntry, ...], dict[str, str]]:
    """List the usable galaxies of a folder, sorted by name.

    Headers do not tell whether bands are shifted, so every stamp is read once.

    Returns
    -------
    entries
        The galaxies.
    left_out
        Name of each other galaxy -> what is wrong with it.

    Raises
    ------
    InputError
        If a file is damaged or of another layout, or nothing is usable.
    """
    galaxies: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.fits.gz"), *folder.glob("*.fits")]):
        galaxies.setdefault(_identity(path, first_image(path))[1], []).append(path)
    entries, left_out = [], {}
    for name, paths in sorted(galaxies.items()):
        if len(paths) < len(BANDS):
            left_out[name] = f"{len(paths)} of {len(BANDS)} bands"
            continue
        try:
            galaxy = read_hst(paths)
        except UnusableStampError as error:
            left_out[name] = error.found
        else:
            entries.append(GalaxyEntry(galaxy.id, galaxy.lineage, functools.partial(read_hst, tuple(paths))))
    if not entries:
        raise InputError(
            folder,
            "no galaxy with three usable bands",
            f"FITS stamps in {', '.join(BANDS)}",
            "Point to the folder of HST stamps.",
        )
    return tuple(entries), left_out


def displacement(image: Float[np.ndarray, "y x"], reference: Float[np.ndarray, "y x"]) -> tuple[float, float]:
    """Return how far an image is shifted against another one, pixels ``(y, x)``.

    Parameters
    ----------
    image, reference
        Images of one shape, dark at the edges.
    """
    a, b = (np.fft.rfft2(gaussian_filter(plane, _SMOOTHING)) for plane in (image, reference))
    correlation = np.fft.irfft2(a * np.conj(b), image.shape)
    y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
    return _peak(correlation[:, x], int(y)), _peak(correlation[y], int(x))


def _peak(line: Float[np.ndarray, " n"], at: int) -> float:
    """Return the place of the maximum of a periodic line, from the parabola through it and its neighbours."""
    low, top, high = line[at - 1], line[at], line[(at + 1) % len(line)]
    curvature = low - 2.0 * top + high
    fraction = 0.5 * (low - high) / curvature if curvature < 0 else 0.0
    return float((at + len(line) // 2) % len(line) - len(line) // 2 + fraction)


def _identity(path: Path, header: fits.Header) -> tuple[str, str]:
    """Return band and name of the galaxy."""
    for card in header["IMCMB*"].values():
        match = re.fullmatch(r"(?:.*_)?(f606w|f814w|f125w)_(\w+)\.fits", str(card).strip())
        if match:
            return f"hst.{match[1].upper()}", match[2]
    raise InputError(
        path,
        "no band in the header",
        "a card such as IMCMB002 = 'sect23_f814w_gal52.fits'",
        "Use the HST stamps as they were delivered.",
    )


def _read(path: Path) -> tuple[tuple[str, str], Float[np.ndarray, "y x"]]:
    """Return band and name, and the image in nJy per pixel."""
    with open_fits(path) as file:
        header, data = file[0].header.copy(), file[0].data
        image = None if data is None else np.asarray(data, np.float64)
    if image is None or image.ndim != 2 or not np.isfinite(image).all():
        raise InputError(
            path, "no image (y, x) of finite numbers", "an HST stamp in the first HDU", "Restore the file."
        )
    band, name = _identity(path, header)
    zeropoint, stated = stated_number(header, "MAG0", path), stated_number(header, "MAG", path)
    flux = float(image.sum())
    measured = zeropoint - 2.5 * np.log10(flux) if flux > 0 else np.nan
    if not abs(measured - stated) <= 0.1:
        raise UnusableStampError(
            path,
            f"magnitude {measured:.2f} in pixels and {stated:.2f} in the header",
            "equal ones",
            "Leave this galaxy out.",
        )
    return (band, name), image * nanojanskys_per_unit(ab_magnitude(zeropoint, band))


def _cut(light: Float[np.ndarray, "band y x"]) -> Float[np.ndarray, "band side side"]:
    """Return the square centred on the centroid of F814W that holds all light and a dark margin."""
    lit = (light != 0).any(axis=0)
    positive = np.maximum(light[1], 0.0)
    centre, reach = [], 0
    for axis in (0, 1):
        profile = positive.sum(axis=1 - axis)
        centre.append(round(float(np.arange(len(profile)) @ profile / profile.sum())))
        where = np.flatnonzero(lit.any(axis=1 - axis))
        reach = max(reach, int(where[-1]) - centre[-1], centre[-1] - int(where[0]))
    half = reach + _MARGIN
    padded = np.pad(light, ((0, 0), (half, half), (half, half)))
    return padded[:, centre[0] : centre[0] + 2 * half + 1, centre[1] : centre[1] + 2 * half + 1]
