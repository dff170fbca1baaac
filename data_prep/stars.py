"""Colours of stars: black bodies behind what their atmospheres absorb, roughly.

A star's spectrum is a black body of its effective temperature, dimmed below 4000 Angstrom by the Balmer
continuum and by metal lines, below 5200 Angstrom by metal lines in cool stars, and in M dwarfs by the bands
of titanium oxide in the optical and of water in the near infrared. Below 3150 K hydrides, vanadium oxide and
alkali metals take ever more of the light short of z. Depths are set so that SDSS colours along the main
sequence, g - r to i - z, come out within 0.25 mag of the stellar locus (Covey et al. 2007; r - i and i - z
from M6 on: means of Pecaut & Mamajek 2013, as updated in 2024). Temperatures are roughly those of faint stars
at high latitude: most are M dwarfs, redder than any galaxy at low redshift.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from synergy.filters import band_average, filter_curve

_HC_K = 1.4388e8  # Angstrom Kelvin
# Edges in Angstrom and depth in mag at 3000 K.
_TIO = (
    (4200, 5150, 1.9),
    (5440, 5850, 1.5),
    (5850, 6500, 1.5),
    (6650, 7050, 1.4),
    (7050, 7400, 0.9),
    (7590, 7900, 0.5),
    (8430, 8700, 0.2),
)
_WATER = ((9250, 9700, 0.1), (11100, 11600, 0.15), (13300, 15200, 0.4), (17600, 20500, 0.35))


def draw_temperature(rng: np.random.Generator) -> float:
    """Draw an effective temperature in Kelvin: 55 % M0 to M9 dwarfs, then K to F stars, few hotter ones."""
    kind = rng.random()
    if kind < 0.55:
        return float(rng.uniform(2400.0, 3900.0))
    return float(rng.uniform(3900.0, 6800.0) if kind < 0.95 else rng.uniform(6800.0, 10000.0))


def star_flux(wavelength: Float[np.ndarray, " n"], temperature: float) -> Float[np.ndarray, " n"]:
    """Return f_nu of a star, in arbitrary units.

    Parameters
    ----------
    wavelength
        Angstrom.
    temperature
        Effective temperature, Kelvin.
    """
    cool = np.clip((4200.0 - temperature) / 1200.0, 0.0, 1.25)  # 1 at 3000 K
    coolest = np.clip((3150.0 - temperature) / 450.0, 0.0, 1.0)  # 1 at 2700 K
    metals = np.clip((7200.0 - temperature) / 2200.0, 0.0, 1.0)  # 1 at 5000 K
    balmer = np.exp(-0.5 * ((temperature - 9500.0) / 2500.0) ** 2)
    absorbed = np.zeros_like(wavelength)
    for low, high, depth in (*_TIO, *_WATER):
        absorbed += cool * depth * ((wavelength > low) & (wavelength < high))
    absorbed += (0.6 * metals * (1.0 - 0.6 * cool) + 1.0 * balmer) * (wavelength < 3900.0)
    absorbed += metals * 0.35 * np.clip((5200.0 - wavelength) / 1000.0, 0.0, 1.0)
    absorbed += coolest * 0.58 * np.clip((9500.0 - wavelength) / 1000.0, 0.0, 3.3)
    return wavelength**-3.0 / np.expm1(_HC_K / (wavelength * temperature)) * 10 ** (-0.4 * absorbed)


def stellar_spectrum(
    bands: tuple[str, ...], rng: np.random.Generator, curves: Mapping[str, Path] | None = None
) -> Float[np.ndarray, " band"]:
    """Draw the colours of a star.

    Parameters
    ----------
    bands
        Wanted bands.
    rng
        Random numbers.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Returns
    -------
    array
        Flux in each band for an F814W flux of 1.

    Raises
    ------
    InputError
        If a band has no usable curve.
    """
    temperature = draw_temperature(rng)
    flux = [
        band_average(lambda wavelength: star_flux(wavelength, temperature), filter_curve(band, curves))
        for band in (*bands, "hst.F814W")
    ]
    return np.array(flux[:-1]) / flux[-1]
