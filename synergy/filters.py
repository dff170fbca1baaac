"""Filter curves: transmission against wavelength of every band that has a name, and of bands of one's own.

Curves come from `speclite`: LSST (2023), Euclid, HSC, DECam, MegaCam and SDSS. Three HST filters that it
lacks are trapezoids after the instrument handbooks (ACS, WFC3), good to a few hundredths of a magnitude for
spectra as smooth as those of galaxies. Any other band takes a file of two columns, wavelength and
transmission, that is given by path where it is used, ``{"jwst.F150W": Path("f150w.ecsv")}``: an ECSV table
whose first column has a unit of length, or plain text whose first comment line names one, such as
``# Angstrom``. The scale of the transmission does not matter.
"""

import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError

Curve = tuple[Float[np.ndarray, " wave"], Float[np.ndarray, " wave"]]

_FINEST = 20.0  # Angstrom, about the step of the spectra

_SPECLITE = (
    {f"lsst.{b}": f"lsst2023-{b}" for b in "ugrizy"}
    | {f"hsc.{b}": f"hsc2017-{b}" for b in "grizy"}
    | {f"sdss.{b}": f"sdss2010-{b}" for b in "ugriz"}
    | {f"decam.{b}": f"decam2014-{b}" for b in "ugriz"}
    | {"decam.Y": "decam2014-Y"}
    | {f"megacam.{b}": f"cfht_megacam-{b}" for b in "ugriz"}
    | {"euclid.vis": "Euclid-VIS", "euclid.Y": "Euclid-Y", "euclid.J": "Euclid-J", "euclid.H": "Euclid-H"}
)

# Foot, shoulder, shoulder and foot in Angstrom.
_TRAPEZOIDS = {
    "hst.F606W": (4630.0, 4950.0, 7000.0, 7230.0),
    "hst.F814W": (6870.0, 7120.0, 9000.0, 9700.0),
    "hst.F125W": (10840.0, 11050.0, 13900.0, 14130.0),
}

_UNITS = {"angstrom": 1.0, "nm": 10.0, "nanometer": 10.0, "um": 1e4, "micron": 1e4, "micrometer": 1e4}


def known_bands() -> tuple[str, ...]:
    """Return the names of all bands with a filter curve."""
    return tuple(sorted(_SPECLITE | _TRAPEZOIDS))


def band_average(
    spectrum: Callable[[Float[np.ndarray, " wave"]], Float[np.ndarray, " wave"]], curve: Curve
) -> float:
    """Return the AB average of a spectrum over a band, for photon-counting detectors.

    Parameters
    ----------
    spectrum
        f_nu as a function of wavelength in Angstrom.
    curve
        The filter curve.

    Returns
    -------
    float
        ``int f_nu T dln(lambda) / int T dln(lambda)``.
    """
    return float(spectrum(curve[0]) @ _shares(curve))


def band_weights(curve: Curve, grids: Sequence[Float[np.ndarray, " _n"]]) -> list[Float[np.ndarray, " _n"]]:
    """Return the weights of a spectrum's samples in its `band_average`, for several sets of samples.

    Between samples the spectrum is interpolated linearly; beyond them it is the last one.

    Parameters
    ----------
    curve
        The filter curve.
    grids
        Wavelengths of the samples, Angstrom, ascending.
    """
    share = _shares(curve)
    # Curves are finer than spectra: the moments between two samples are differences of running sums.
    total, moment = (np.append(0, np.cumsum(part)) for part in (share, share * curve[0]))
    out = []
    for grid in grids:
        place = np.searchsorted(curve[0], grid)
        between = np.diff(total[place])
        upper = (np.diff(moment[place]) - grid[:-1] * between) / np.diff(grid)
        weights = np.append(between - upper, total[-1] - total[place[-1]])
        weights[1:] += upper
        weights[0] += total[place[0]]
        out.append(weights)
    return out


def _shares(curve: Curve) -> Float[np.ndarray, " wave"]:
    """Return the weights of a curve's wavelengths in an average, by the trapezoidal rule."""
    wavelength, transmission = curve
    steps = np.diff(wavelength)
    share = (np.append(steps, 0) + np.append(0, steps)) * transmission / wavelength
    return share / share.sum()


def filter_curve(band: str, curves: Mapping[str, Path] | None = None) -> Curve:
    """Return wavelength (Angstrom) and transmission of a band.

    Parameters
    ----------
    band
        Name of the band.
    curves
        Band -> file of its curve; these go before the known ones.

    Raises
    ------
    InputError
        If there is no curve of that name, or its file is missing, has no unit, or does not hold wavelengths
        that rise and transmissions that are not negative.
    """
    if curves and band in curves:
        return read_curve(curves[band])
    return _known_curve(band)


@functools.cache
def _known_curve(band: str) -> Curve:
    if band in _TRAPEZOIDS:
        wavelength = np.linspace(_TRAPEZOIDS[band][0], _TRAPEZOIDS[band][3], 200)
        return wavelength, np.interp(wavelength, _TRAPEZOIDS[band], (0.0, 1.0, 1.0, 0.0))
    if band not in _SPECLITE:
        raise InputError(
            band,
            "a band without a filter curve",
            f"one of {', '.join(known_bands())}",
            "Rename the band, or give the file of its curve where a function takes `curves`.",
        )
    from speclite.filters import load_filter

    curve = load_filter(_SPECLITE[band])
    return _refine(*(np.asarray(a, np.float64) for a in (curve.wavelength, curve.response)))


def _refine(wavelength: Float[np.ndarray, " n"], transmission: Float[np.ndarray, " n"]) -> Curve:
    """Sample a curve more finely where it is one long straight line: spectra need a finer grid."""
    wide = np.flatnonzero(np.diff(wavelength) > _FINEST)
    between = [np.arange(wavelength[i], wavelength[i + 1], _FINEST)[1:] for i in wide]
    fine = np.sort(np.concatenate([wavelength, *between]))
    return fine, np.interp(fine, wavelength, transmission)


def read_curve(path: Path) -> Curve:
    """Read a filter curve from a file of two columns (see the module).

    Returns
    -------
    wavelength, transmission
        Wavelength in Angstrom.

    Raises
    ------
    InputError
        If the file is missing, has no unit, or does not hold wavelengths that rise and transmissions that
        are not negative.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "a filter curve", "Check the path.")
    try:
        text = path.read_text()
        wavelength, transmission = _read_ecsv(path) if "%ECSV" in text[:20] else _read_text(path, text)
    except InputError:
        raise
    except Exception as error:  # whatever a parser raises for what is no table
        raise InputError(
            path,
            " ".join(str(error).split()),
            "two columns of numbers, wavelength and transmission",
            "Write the curve as ECSV or plain text.",
        ) from error
    problem = _problem(wavelength, transmission)
    if problem:
        raise InputError(
            path,
            problem,
            "rising wavelengths above 0 and transmissions that are not negative",
            "Sort and clean the curve.",
        )
    return _refine(wavelength, transmission)


def _problem(wavelength: Float[np.ndarray, " n"], transmission: Float[np.ndarray, " n"]) -> str | None:
    if len(wavelength) < 2:
        return f"{len(wavelength)} rows"
    if not np.all(np.isfinite(wavelength) & np.isfinite(transmission)):
        return "values that are not finite"
    if wavelength[0] <= 0 or np.any(np.diff(wavelength) <= 0):
        return "wavelengths that do not rise from row to row"
    if np.any(transmission < 0):
        return f"{np.count_nonzero(transmission < 0)} negative transmissions"
    return None if np.any(transmission > 0) else "no transmission at all"


def _read_ecsv(path: Path) -> Curve:
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about units that astropy does not know: they are refused below
        table = Table.read(path, format="ascii.ecsv")
    first, second = table.columns[:2]
    name = str(table[first].unit or "").lower()
    wavelength, transmission = (np.asarray(table[c], np.float64) for c in (first, second))
    return wavelength * _angstrom(path, name, f"the unit {name!r}" if name else "no unit"), transmission


def _read_text(path: Path, text: str) -> Curve:
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    words = re.findall(r"[a-z]+", comments[0].lower()) if comments else []
    units = [word for word in words if word in _UNITS]
    scale = _angstrom(path, units[0] if units else "", "no unit in a first comment line")
    columns = np.loadtxt(path, dtype=np.float64, ndmin=2)
    if columns.shape[1] != 2:
        raise ValueError(f"{columns.shape[1]} columns")
    return columns[:, 0] * scale, columns[:, 1].copy()


def _angstrom(path: Path, unit: str, found: str) -> float:
    if unit not in _UNITS:
        raise InputError(
            path,
            f"{found} of wavelength",
            f"one of {', '.join(_UNITS)}",
            "State it: the unit of the first column (ECSV), or a first line such as '# Angstrom' (text).",
        )
    return _UNITS[unit]
