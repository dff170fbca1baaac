"""Response rows against GalSim's own photometry of spectra that the fit has not seen."""

import galsim
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.filters import filter_curve
from synergy.frame import Frame
from synergy.observation import Observation, response_row
from synergy.psf import PSF
from synergy.response import FAINT, fit_response, respond
from synergy.survey import SCENE_BANDS

NEAR = {
    "megacam.u": 0.02,
    "megacam.r": 0.03,
    "hsc.g": 0.01,
    "hsc.i": 0.02,
    "hsc.z": 0.045,
    "hsc.y": 0.01,
    "decam.g": 0.01,
    "decam.r": 0.04,
    "decam.i": 0.04,
    "decam.z": 0.035,
    "hst.F606W": 0.02,
    "hst.F814W": 0.01,
    "hst.F125W": 0.035,
}


@pytest.fixture(scope="module")
def flux():
    """Return a function (band, spectrum, redshift) -> AB flux by GalSim."""

    def bandpass(band):
        wavelength, transmission = filter_curve(band)
        open_ = transmission > 0
        table = galsim.LookupTable(wavelength[open_], transmission[open_], interpolant="linear")
        return galsim.Bandpass(table, wave_type="Ang").withZeropoint("AB")

    bands = {band: bandpass(band) for band in (*SCENE_BANDS, *NEAR)}
    spectra = {
        s: galsim.SED(f"CWW_{s}_ext.sed", wave_type="Ang", flux_type="flambda") for s in ("E", "Sbc", "Im")
    }
    return lambda band, spectrum, z: (
        10 ** (-0.4 * spectra[spectrum].atRedshift(z).calculateMagnitude(bands[band]))
    )


@pytest.mark.parametrize("band", NEAR)
def test_rows_predict_fluxes_to_their_stated_error(band, flux):
    fit = fit_response(band, SCENE_BANDS)
    assert fit.error < NEAR[band]
    assert all(weight > 0 for weight in fit.row.values())
    assert sum(fit.row.values()) == pytest.approx(1.0, abs=0.08)
    for spectrum in ("E", "Sbc", "Im"):
        errors = []
        for z in (0.03, 0.22, 0.37, 0.64, 0.82):
            predicted = sum(weight * flux(b, spectrum, z) for b, weight in fit.row.items())
            exact = flux(band, spectrum, z)
            typical = np.mean([flux(b, spectrum, z) for b in SCENE_BANDS])
            errors.append((predicted - exact) / max(exact, FAINT * typical))
        assert np.sqrt(np.mean(np.square(errors))) < 3 * fit.error


def test_a_band_of_the_scene_is_itself():
    fit = fit_response("lsst.i", SCENE_BANDS)
    assert fit.row == {"lsst.i": 1.0}
    assert fit.error == 0.0


@pytest.mark.parametrize(("band", "scene"), [("euclid.H", ("lsst.g", "lsst.r")), ("spitzer.I1", SCENE_BANDS)])
def test_bands_out_of_reach_are_refused(band, scene):
    with pytest.raises(InputError, match=band):
        fit_response(band, scene)


def observation(band, error=0.0):
    rng = np.random.default_rng(0)
    image = rng.normal(100.0, 1.0, (20, 20))
    mask = np.zeros(image.shape, bool)
    mask[0] = True
    from astropy.coordinates import SkyCoord

    return Observation(
        band,
        band,
        image,
        np.ones(image.shape),
        mask,
        PSF.gaussian(0.7, 0.2, 9),
        Frame.tangent(SkyCoord("10d", "0d"), (20, 20), 0.2),
        response_error=error,
    )


def test_respond_adds_the_model_error_once():
    given = observation("hst.F814W", error=0.03)
    (once,) = respond([given], SCENE_BANDS)
    fit = fit_response("hst.F814W", SCENE_BANDS)
    error = np.hypot(0.03, fit.error)
    good = ~given.mask
    np.testing.assert_allclose(1 / once.ivar[good], 1 + (error * given.image[good]) ** 2)
    assert (once.ivar[~good] == 0).all()
    assert once.meta["response_error"] == pytest.approx(error)
    row = response_row(once, SCENE_BANDS)
    assert row[SCENE_BANDS.index("lsst.i")] == fit.row["lsst.i"]
    (twice,) = respond([once], SCENE_BANDS)
    np.testing.assert_array_equal(twice.ivar, once.ivar)


def test_respond_leaves_scene_bands_alone():
    given = observation("lsst.i")
    assert respond([given], SCENE_BANDS)[0] is given
    (with_error,) = respond([observation("lsst.i", 0.1)], SCENE_BANDS)
    assert with_error.response is None
    assert with_error.ivar[5, 5] == pytest.approx(1 / (1 + (0.1 * with_error.image[5, 5]) ** 2))
