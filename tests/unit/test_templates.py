"""Template colours against speclite, published colours of galaxies and published values of the dust law."""

import numpy as np
import pytest
from speclite.filters import load_filter

from synergy.errors import InputError
from synergy.filters import _SPECLITE, _TRAPEZOIDS, filter_curve, known_bands
from synergy.templates import TYPES, calzetti, galaxy_templates, template_fluxes

REDSHIFTS = (0.02, 0.35, 1.0, 2.0)
AB_FLUX = 3631e-23 * 2.99792458e18  # f_nu of magnitude 0 in erg/s/cm2/Hz, times c in Angstrom/s


def dense_spectra(redshift, ebv=(0.0,)):
    """Return a fine observed wavelength grid and f_nu of every template on it."""
    wavelength = np.arange(2500.0, 22000.0, 1.0)
    fluxes = [
        np.interp(
            wavelength / (1.0 + redshift), s.wavelength, s.flux * 10 ** (-0.4 * e * calzetti(s.wavelength))
        )
        for s in galaxy_templates()
        for e in ebv
    ]
    return wavelength, np.array(fluxes)


@pytest.mark.parametrize("redshift", REDSHIFTS)
def test_fluxes_agree_with_speclite(redshift):
    # speclite integrates over the union of both grids, we over the filter's, refined where it is sparse.
    bands = sorted(_SPECLITE)
    wavelength, fluxes = dense_spectra(redshift, ebv=(0.0, 0.3))
    ours = template_fluxes(bands, redshift, ebv=(0.0, 0.3))
    for i, band in enumerate(bands):
        theirs = load_filter(_SPECLITE[band]).get_ab_maggies(fluxes * AB_FLUX / wavelength**2, wavelength)
        difference = -2.5 * np.log10(ours[:, i] / theirs)
        np.testing.assert_allclose(difference, 0.0, atol=1e-3, err_msg=band)


@pytest.mark.parametrize("redshift", REDSHIFTS)
def test_fluxes_in_trapezoids_agree_with_a_dense_integration(redshift):
    wavelength, fluxes = dense_spectra(redshift)
    ours = template_fluxes(tuple(_TRAPEZOIDS), redshift)
    for i, corners in enumerate(_TRAPEZOIDS.values()):
        rise = (wavelength - corners[0]) / (corners[1] - corners[0])
        fall = (corners[3] - wavelength) / (corners[3] - corners[2])
        photons = np.clip(np.minimum(rise, fall), 0.0, 1.0) / wavelength
        expected = fluxes @ photons / photons.sum()
        np.testing.assert_allclose(-2.5 * np.log10(ours[:, i] / expected), 0.0, atol=1e-3)


def test_trapezoids_have_the_pivot_wavelengths_of_the_handbooks():
    for band, pivot in {"hst.F606W": 5921.0, "hst.F814W": 8047.0, "hst.F125W": 12486.0}.items():
        wavelength, transmission = filter_curve(band)
        square = np.trapezoid(transmission * wavelength, wavelength) / np.trapezoid(
            transmission / wavelength, wavelength
        )
        assert np.sqrt(square) == pytest.approx(pivot, rel=0.015)


def test_colours_at_redshift_zero_are_those_of_fukugita_1995():
    magnitudes = -2.5 * np.log10(template_fluxes(("sdss.g", "sdss.r", "sdss.i"), 0.0))
    g_r = dict(zip(TYPES, magnitudes[:, 0] - magnitudes[:, 1], strict=True))
    r_i = dict(zip(TYPES, magnitudes[:, 1] - magnitudes[:, 2], strict=True))
    assert g_r["E"] == pytest.approx(0.77, abs=0.06)  # their table 3
    assert g_r["Im"] == pytest.approx(0.25, abs=0.1)
    assert r_i["E"] == pytest.approx(0.39, abs=0.06)
    assert np.all(np.diff([g_r[name] for name in TYPES]) < 0)  # from red to blue


def test_spectra_have_unit_mean_in_the_optical():
    for spectrum in galaxy_templates():
        wavelength = np.linspace(4000.0, 8000.0, 20001)
        assert np.interp(wavelength, spectrum.wavelength, spectrum.flux).mean() == pytest.approx(
            1.0, rel=0.01
        )


def test_dust_law_has_its_published_values():
    for angstrom, k in {5500.0: 4.05, 1600.0: 9.97, 4861.0: 4.60, 6563.0: 3.33}.items():
        assert calzetti(np.array([angstrom]))[0] == pytest.approx(k, abs=0.015)
    blue, visual = calzetti(np.array([4400.0, 5500.0]))
    assert blue - visual == pytest.approx(1.0, abs=0.02)  # E(B-V), by definition
    below, above = calzetti(np.array([6299.9, 6300.1]))
    assert below == pytest.approx(above, abs=0.05)


def test_dust_law_is_constant_where_it_is_not_defined():
    low, edge = calzetti(np.array([500.0, 1200.0]))
    assert low == edge
    high, edge = calzetti(np.array([50000.0, 22000.0]))
    assert high == edge > 0


def test_dust_varies_fastest_and_dims_by_the_law():
    # Over a band as narrow as this one, the law is all but constant.
    fluxes = template_fluxes(("hsc.z",), 0.0, ebv=(0.0, 0.2)).reshape(len(TYPES), 2)
    extinction = -2.5 * np.log10(fluxes[:, 1] / fluxes[:, 0])
    np.testing.assert_allclose(extinction, 0.2 * calzetti(np.array([8912.0]))[0], rtol=0.01)
    np.testing.assert_array_equal(fluxes[:, 0], template_fluxes(("hsc.z",), 0.0)[:, 0])


def test_every_known_band_has_a_curve():
    for band in known_bands():
        wavelength, transmission = filter_curve(band)
        assert np.all(np.diff(wavelength) > 0)
        assert transmission.min() >= 0
        assert 0 < transmission.max() <= 1


def test_unknown_band_is_refused_with_the_known_ones():
    with pytest.raises(InputError) as caught:
        template_fluxes(("lsst.r", "lsst.w"), 0.1)
    assert caught.value.source == "lsst.w"
    assert "euclid.vis" in caught.value.expected
