"""Rough stars against the published colours of the stellar locus."""

import numpy as np
import pytest

from data_prep.stars import draw_temperature, star_flux, stellar_spectrum
from synergy.filters import filter_curve

SDSS = tuple(f"sdss.{band}" for band in "ugriz")


def magnitudes(temperature, bands=SDSS):
    out = []
    for band in bands:
        wavelength, transmission = filter_curve(band)
        weight = transmission / wavelength
        flux = np.trapezoid(star_flux(wavelength, float(temperature)) * weight, wavelength)
        out.append(-2.5 * np.log10(flux / np.trapezoid(weight, wavelength)))
    return np.array(out)


# Effective temperature and g-r, r-i, i-z of A0, G2, K5, M0, M3 and M5 dwarfs (Covey et al. 2007).
@pytest.mark.parametrize(
    ("temperature", "colours"),
    [
        (9700, (-0.2, -0.15, -0.1)),
        (5800, (0.44, 0.11, 0.03)),
        (4400, (1.15, 0.45, 0.24)),
        (3850, (1.4, 0.65, 0.37)),
        (3400, (1.45, 1.2, 0.65)),
        (3050, (1.5, 1.65, 0.93)),
    ],
)
def test_colours_follow_the_stellar_locus(temperature, colours):
    np.testing.assert_allclose(-np.diff(magnitudes(temperature))[1:], colours, atol=0.25)


# Effective temperature and r-i, i-z of M6, M7, M8 and M9 dwarfs (Pecaut & Mamajek 2013, version of 2024).
@pytest.mark.parametrize(
    ("temperature", "colours"),
    [(2810, (2.11, 1.45)), (2680, (2.62, 1.77)), (2570, (2.77, 1.93)), (2400, (2.43, 1.99))],
)
def test_colours_of_late_m_dwarfs(temperature, colours):
    np.testing.assert_allclose(-np.diff(magnitudes(temperature))[2:], colours, atol=0.25)


def test_hot_stars_are_black_bodies_in_the_red():
    wavelength = np.linspace(6000.0, 20000.0, 50)
    expected = wavelength**-3.0 / np.expm1(1.4388e8 / wavelength / 8000.0)
    ratio = star_flux(wavelength, 8000.0) / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


def test_most_stars_are_m_dwarfs_redder_than_galaxies_at_low_redshift():
    rng = np.random.default_rng(3)
    temperatures = np.array([draw_temperature(rng) for _ in range(2000)])
    assert 0.5 < np.mean(temperatures < 3900) < 0.6
    assert temperatures.min() < 2450
    fluxes = np.array([stellar_spectrum(("lsst.r", "lsst.i", "hst.F814W"), rng) for _ in range(200)])
    np.testing.assert_allclose(fluxes[:, 2], 1.0)
    assert np.mean(-2.5 * np.log10(fluxes[:, 0] / fluxes[:, 1]) > 0.6) > 0.4  # an elliptical has 0.4
