"""Galaxy spectra through filter curves: what a galaxy seen in one band should give in another.

The spectra are the four types of Coleman, Wu & Weedman (1980), E, Sbc, Scd and Im, as extended and shipped
by GalSim, reddened by the starburst law of Calzetti et al. (2000). Mixtures of them with different amounts of
dust span the optical and near-infrared colours of galaxies well enough for response rows and mock colours,
not for photometric redshifts. They have no absorption by intergalactic hydrogen. Filter curves are those of
`synergy.filters`.

Fluxes are AB band averages for photon-counting detectors,
``<f_nu> = int f_nu T dln(lambda) / int T dln(lambda)``.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.filters import band_weights, filter_curve

TYPES = ("E", "Sbc", "Scd", "Im")


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
    bands: Sequence[str],
    redshift: float,
    ebv: Sequence[float] = (0.0,),
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "template band"]:
    """Return the flux of every template, reddened by every amount of dust, in observed bands.

    Parameters
    ----------
    bands
        Names of bands, such as ``"lsst.r"``.
    redshift
        Redshift of the galaxies.
    ebv
        Colour excesses E(B-V), negative ones to take away dust that a template has; templates come in the
        order (type, dust), dust varying fastest.
    curves
        Band -> file of its filter curve, for bands that have none (see `synergy.filters`).

    Returns
    -------
    array
        Average f_nu in each band, for spectra of unit mean flux over 4000 to 8000 Angstrom at rest before
        dust.

    Raises
    ------
    InputError
        If a band has no usable curve, or the templates do not reach as far.
    """
    spectra = galaxy_templates()
    first, last = spectra[0].wavelength[[0, -1]] * (1.0 + redshift)
    filters = [filter_curve(band, curves) for band in bands]
    for band, (wavelength, transmission) in zip(bands, filters, strict=True):
        seen = wavelength[transmission > 0.01 * transmission.max()]
        if seen[0] < first or seen[-1] > last:
            raise InputError(
                band,
                f"light from {seen[0]:.0f} to {seen[-1]:.0f} Angstrom at redshift {redshift:g}",
                f"a band within the spectra, {first:.0f} to {last:.0f} Angstrom",
                "Leave the band out, or raise the redshift.",
            )
    shifted = [spectrum.wavelength * (1.0 + redshift) for spectrum in spectra]
    by_band = [band_weights(curve, shifted) for curve in filters]
    out = []
    for spectrum, weights in zip(spectra, zip(*by_band, strict=True), strict=True):
        dust = 10 ** (-0.4 * np.multiply.outer(ebv, calzetti(spectrum.wavelength)))
        out.append(np.einsum("dn,bn->db", spectrum.flux * dust, np.stack(weights)))
    return np.concatenate(out)
