"""The optical and the seeing model against closed forms and GalSim."""

import galsim
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.psf_recovery.model import Grid, evaluate, prior_of
from synergy.psf_recovery.optics import ZERNIKES, Optics, Pupil, zernike
from synergy.psf_recovery.seeing import ARCSEC, Seeing
from synergy.psf_recovery.telescopes import EUCLID_PUPIL, telescope

NONE = np.zeros(2 + len(ZERNIKES))


def image(model, parameters, half_width=1.8):
    """Return the PSF per square arcsec before blur and pixel, on the grid of the model."""
    size, step = model.grid(half_width)
    transfer, _ = model.transfer(parameters, size, step, jacobian=False)
    return np.fft.fftshift(np.fft.irfft2(transfer, (size, size))) / step**2, step


def drawn(profile, size, step):
    return profile.drawImage(nx=size, ny=size, scale=step, method="sb", dtype=float).array


@pytest.mark.parametrize("noll", ZERNIKES)
def test_zernikes_are_those_of_galsim(noll):
    y, x = np.random.default_rng(0).uniform(-0.7, 0.7, (2, 9))
    np.testing.assert_allclose(
        zernike(noll, y, x), galsim.zernike.Zernike([0] * noll + [1])(x, y), atol=1e-12
    )


@pytest.mark.parametrize(("size", "tolerance"), [(48, 2e-4), (128, 3e-5)])
def test_annulus_is_the_closed_form(size, tolerance):
    """Airy's pattern of an obscured aperture with its normalisation: no light is folded back."""
    model = Optics(Pupil(1.2, 0.33), (749.9, 750.1), 0.04, wavelengths=1, pupil_size=size)
    found, step = image(model, NONE)
    expected = drawn(galsim.Airy(lam=750, diam=1.2, obscuration=0.33), len(found), step)
    np.testing.assert_allclose(found, expected, atol=tolerance * expected.max())


@pytest.mark.shared_data
def test_aberrated_pupil_agrees_with_galsim(shared_data):
    """Orientation, signs and geometry, with the real pupil image; GalSim's own grid leaves 1e-3."""
    real = galsim.fits.read(str(shared_data / "euclid_optics" / "euclid_pupil_plane.fits.gz"))
    # GalSim takes any pixel that is not zero for open.
    binned = (real.array.reshape(512, 4, 512, 4).mean(axis=(1, 3)) > 0.5).astype(float)
    assert EUCLID_PUPIL.amplitude(512).sum() == pytest.approx(binned.sum(), rel=2e-3)
    assert np.mean(np.abs(EUCLID_PUPIL.amplitude(512) - binned)) < 0.006
    nm = np.random.default_rng(3).normal(0, 10, len(ZERNIKES))
    params = galsim.GSParams(folding_threshold=5e-3, maximum_fft_size=8192)
    optics = galsim.OpticalPSF(
        lam=750,
        diam=1.2,
        aberrations=[0, 0, 0, 0, *(nm / 750)],
        pupil_plane_im=galsim.Image(binned, scale=1.2 / 512),
        oversampling=2,
        gsparams=params,
    )
    model = Optics(EUCLID_PUPIL, (749.9, 750.1), 0.04, wavelengths=1, pupil_size=96)
    size, step = 61, 0.05
    grid = Grid.of_stamp((size, size), step, np.zeros(2))
    found = evaluate(model, np.r_[0.0, 0.0, nm, 0.04, 0.0, 0.04], 0.1, [grid], jacobian=False)[0][0]
    effective = galsim.Convolve([optics, galsim.Gaussian(sigma=0.04), galsim.Pixel(0.1)], gsparams=params)
    expected = drawn(effective, size, step)
    np.testing.assert_allclose(found, expected, atol=2.5e-3 * expected.max())


def test_transfer_ends_at_the_cut_off():
    model = Optics(EUCLID_PUPIL, (749.9, 750.1), 0.04, wavelengths=1, pupil_size=96)
    size, step = model.grid(4.0)
    transfer = np.abs(model.transfer(NONE, size, step, jacobian=False)[0][0])
    frequency = np.fft.rfftfreq(size, step)
    assert transfer[0] == pytest.approx(0.99, abs=0.01)  # what lies beyond 4 arcsec
    assert transfer[frequency < 7.0].min() > 1e-3
    assert transfer[frequency > 7.9].max() < 2e-3  # 1.2 m / 750 nm = 7.76 cycles per arcsec; the window rings


def test_spectrum_and_roll_change_the_psf_as_they_should():
    model = Optics(EUCLID_PUPIL, (540.0, 910.0), 0.04)
    straight, _ = image(model, NONE)
    red, _ = image(model, np.r_[0.0, 0.5, NONE[2:]])
    turned, _ = image(model, np.r_[3.0, 0.0, NONE[2:]])  # by 90 degrees, from x towards y
    assert red.max() < straight.max()
    # Rows run upwards: from x towards y is what rot90 calls backwards.
    np.testing.assert_allclose(turned, np.rot90(straight, -1), atol=2e-4 * straight.max())
    assert np.abs(turned - straight).max() > 2e-3 * straight.max()


@pytest.mark.parametrize("shear", [(0.0, 0.0), (0.05, -0.02)])
def test_seeing_is_that_of_galsim(shear):
    model = Seeing(0.7, 622.0)
    found, step = image(model, np.array([0.1, -0.2, *shear]), 8.0)
    fried = 0.976 * 622e-9 / (0.7 * np.exp(0.1) * ARCSEC)
    profile = galsim.VonKarman(lam=622, r0=fried, L0=25 * np.exp(-0.2)).shear(g1=shear[0], g2=shear[1])
    expected = drawn(profile, len(found), step)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("band", ["euclid.vis", "euclid.H", "lsst.r"])
def test_derivatives(band):
    model = telescope(band)
    mean, sigma = prior_of(model)
    rng = np.random.default_rng(2)
    place, at = mean + 0.5 * sigma * rng.normal(size=len(mean)), np.array([0.03, -0.05])

    def values(parameters, source):
        return evaluate(model, parameters, 0.1, [Grid.of_stamp((9, 8), 0.2, source)])

    (_,), (slopes,) = values(place, at)
    for index in range(
        1 if band.startswith("euclid") else 0, len(mean)
    ):  # the roll has steps of a quarter degree
        step = 1e-4 * sigma[index] * np.eye(len(mean))[index]
        numeric = (values(place + step, at)[0][0] - values(place - step, at)[0][0]) / (2e-4 * sigma[index])
        np.testing.assert_allclose(slopes[index], numeric, atol=1e-4 * np.abs(numeric).max())
    for axis in range(2):
        step = 1e-5 * np.eye(2)[axis]
        numeric = (values(place, at + step)[0][0] - values(place, at - step)[0][0]) / 2e-5
        np.testing.assert_allclose(slopes[len(mean) + axis], numeric, atol=1e-4 * np.abs(numeric).max())


def test_unknown_telescope():
    assert isinstance(telescope("hsc.i"), Seeing)
    for band in ("hst.F814W", "euclid.K"):
        with pytest.raises(InputError, match="no model"):
            telescope(band)
