"""Galaxy spectra through filter curves: what a galaxy seen in one band should give in another.

The spectra are the four types of Coleman, Wu & Weedman (1980), E, Sbc, Scd and Im, as extended and shipped
by GalSim, reddened by the starburst law of Calzetti et al. (2000). Mixtures of them with different amounts of
dust span the optical and near-infrared colours of galaxies well enough for response rows and mock colours,
not for photometric redshifts. Filter curves come from `speclite`; three HST filters that it lacks are
trapezoids after the instrument handbooks (ACS, WFC3), good to a few hundredths of a magnitude for spectra as
smooth as these.

Fluxes are AB band averages for photon-counting detectors,
``<f_nu> = int f_nu T dln(lambda) / int T dln(lambda)``.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError

TYPES = ("E", "Sbc", "Scd", "Im")

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


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """A galaxy's rest-frame spectrum.

    Parameters
    ----------
    name
        Type.
    wavelength
        Rest-frame wavelength, Angstrom, ascending.
    flux
        Flux per unit frequency, normalised to mean 1 over 4000 to 8000 Angstrom.
    """

    name: str
    wavelength: Float[np.ndarray, " n"]
    flux: Float[np.ndarray, " n"]


def known_bands() -> tuple[str, ...]:
    """Return the names of all bands with a filter curve."""
    return tuple(sorted(_SPECLITE | _TRAPEZOIDS))


@functools.cache
def filter_curve(band: str) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return wavelength (Angstrom) and transmission of a band.

    Raises
    ------
    InputError
        If there is no curve of that name.
    """
    if band in _TRAPEZOIDS:
        wavelength = np.linspace(_TRAPEZOIDS[band][0], _TRAPEZOIDS[band][3], 200)
        return wavelength, np.interp(wavelength, _TRAPEZOIDS[band], (0.0, 1.0, 1.0, 0.0))
    if band not in _SPECLITE:
        raise InputError(band, "a band without a filter curve", f"one of {', '.join(known_bands())}",
                         "Rename the band, or give its response over the scene's bands by hand.")  # fmt: skip
    from speclite.filters import load_filter

    curve = load_filter(_SPECLITE[band])
    wavelength, transmission = (np.asarray(a, np.float64) for a in (curve.wavelength, curve.response))
    # Where a curve is one long straight line (red leaks), spectra need a finer grid than the filter does.
    wide = np.flatnonzero(np.diff(wavelength) > _FINEST)
    between = [np.arange(wavelength[i], wavelength[i + 1], _FINEST)[1:] for i in wide]
    fine = np.sort(np.concatenate([wavelength, *between]))
    return fine, np.interp(fine, wavelength, transmission)


@functools.cache
def galaxy_templates() -> tuple[Spectrum, ...]:
    """Return the four galaxy spectra, from red to blue."""
    import galsim

    spectra = []
    for name in TYPES:
        table = np.loadtxt(Path(galsim.meta_data.share_dir) / "SEDs" / f"CWW_{name}_ext.sed")
        wavelength, flux = table[:, 0], table[:, 1] * table[:, 0] ** 2
        optical = (wavelength > 4000.0) & (wavelength < 8000.0)
        mean = np.trapezoid(flux[optical], wavelength[optical]) / np.ptp(wavelength[optical])
        spectra.append(Spectrum(name, wavelength, flux / mean))
    return tuple(spectra)


def calzetti(wavelength: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return k(lambda) = A(lambda)/E(B-V) of Calzetti et al. (2000, eq. 4).

    It is held constant outside 0.12 to 2.2 micron, where the law is not defined.

    Parameters
    ----------
    wavelength
        Rest-frame wavelength, Angstrom.
    """
    micron = np.clip(wavelength / 1e4, 0.12, 2.2)
    blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / micron) + 4.05
    return np.where(micron < 0.63, blue, np.maximum(red, 0.0))


def template_fluxes(
    bands: Sequence[str], redshift: float, ebv: Sequence[float] = (0.0,)
) -> Float[np.ndarray, "template band"]:
    """Return the flux of every template, reddened by every amount of dust, in observed bands.

    Parameters
    ----------
    bands
        Names of bands, such as ``"lsst.r"``.
    redshift
        Redshift of the galaxies.
    ebv
        Colour excesses E(B-V); templates come in the order (type, dust), dust varying fastest.

    Returns
    -------
    array
        Average f_nu in each band, for spectra of unit mean flux over 4000 to 8000 Angstrom at rest before
        dust.
    """
    out = []
    for spectrum in galaxy_templates():
        for excess in ebv:
            dimmed = spectrum.flux * 10 ** (-0.4 * excess * calzetti(spectrum.wavelength))
            row = []
            for band in bands:
                wavelength, transmission = filter_curve(band)
                flux = np.interp(wavelength, spectrum.wavelength * (1.0 + redshift), dimmed)
                weight = transmission / wavelength
                row.append(np.trapezoid(flux * weight, wavelength) / np.trapezoid(weight, wavelength))
            out.append(row)
    return np.array(out)
