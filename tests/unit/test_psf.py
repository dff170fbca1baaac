"""PSFs against closed forms, the FFT and GalSim."""

import galsim
import numpy as np
import pytest
from astropy.io import fits

from synergy.errors import InputError
from synergy.psf import PSF, model_psf_transfer


def test_transfer_of_a_gaussian_is_a_gaussian():
    rng = np.random.default_rng(1)
    frequencies = rng.uniform(-3, 3, (50, 2))
    for size in (64, 65):  # no phase on either parity
        psf = PSF.gaussian(0.4, 0.05, size)
        sigma = 0.4 / np.sqrt(8 * np.log(2))
        expected = np.exp(-2 * (np.pi * sigma) ** 2 * np.sum(frequencies**2, axis=-1))
        np.testing.assert_allclose(psf.transfer(frequencies), expected, atol=1e-9)


def test_transfer_is_the_fft_at_its_frequencies():
    rng = np.random.default_rng(2)
    stamp = rng.uniform(0, 1, (7, 10))
    psf = PSF(stamp / stamp.sum(), 0.3)
    along_y, along_x = np.fft.fftfreq(7, 0.3), np.fft.fftfreq(10, 0.3)
    grid = np.stack(np.meshgrid(along_y, along_x, indexing="ij"), axis=-1)
    centre = np.exp(2j * np.pi * 0.3 * (grid @ [3.0, 4.5]))
    np.testing.assert_allclose(psf.transfer(grid), np.fft.fft2(psf.image) * centre, atol=1e-14)
    np.testing.assert_allclose(psf.transfer_grid(along_y, along_x), psf.transfer(grid), atol=1e-14)


def test_nothing_beyond_the_nyquist_limit():
    psf = PSF.gaussian(0.1, 0.1, 21)
    frequencies = np.array([[4.9, 0.0], [5.1, 0.0], [0.0, -5.1], [4.9, -4.9]])
    np.testing.assert_array_equal(psf.transfer(frequencies) != 0, [True, False, False, True])
    assert psf.transfer_grid(np.array([5.1]), np.array([0.0])) == 0


def test_transfer_of_the_vis_optics_agrees_with_galsim():
    optics = galsim.OpticalPSF(lam=750.0, diam=1.2, obscuration=0.3)
    effective = galsim.Convolve(optics, galsim.Pixel(0.1))
    stamp = effective.drawImage(nx=401, ny=401, scale=0.025, method="no_pixel", dtype=np.float64).array
    frequencies = np.random.default_rng(3).uniform(-6, 6, (40, 2))
    expected = [effective.kValue(2 * np.pi * f[1], 2 * np.pi * f[0]) for f in frequencies]
    np.testing.assert_allclose(PSF(stamp, 0.025).transfer(frequencies), expected, atol=3e-4)


@pytest.mark.parametrize("fwhm", [0.2, 0.5, 0.83])
def test_fwhm(fwhm):
    assert PSF.gaussian(fwhm, 0.1, 41).fwhm == pytest.approx(fwhm, rel=0.01)
    profile = galsim.Moffat(beta=2.5, fwhm=fwhm)
    stamp = profile.drawImage(nx=64, ny=64, scale=0.1, method="no_pixel", dtype=np.float64).array
    if fwhm > 0.4:  # below, a Moffat is undersampled by this stamp
        assert PSF.from_stamp(stamp, 0.1).fwhm == pytest.approx(fwhm, rel=0.03)


def test_fwhm_of_an_off_centre_elongated_stamp():
    profile = galsim.Gaussian(fwhm=0.6).shear(g1=0.3).shift(0.13, -0.22)  # keeps the area
    stamp = profile.drawImage(nx=41, ny=45, scale=0.1, method="no_pixel", dtype=np.float64).array
    assert PSF.from_stamp(stamp, 0.1).fwhm == pytest.approx(0.6, rel=0.01)


def test_model_psf_has_its_half_maximum_at_one_pixel():
    frequency = np.fft.fftfreq(64)
    grid = np.stack(np.meshgrid(frequency, frequency, indexing="ij"), axis=-1)
    image = np.fft.ifft2(model_psf_transfer(grid / 0.05, 0.05)).real
    assert image[1, 0] / image[0, 0] == pytest.approx(0.5, rel=0.05)  # the grid cuts its spectrum at 3 %


def test_stamps_are_normalised_whatever_their_bytes():
    stamp = (7.0 * PSF.gaussian(0.5, 0.1, 21).image).astype(">f4")
    psf = PSF.from_stamp(stamp, 0.1)
    assert psf.image.dtype == np.float64
    assert psf.image.dtype.isnative
    assert psf.image.sum() == pytest.approx(1, abs=1e-12)


GOOD = PSF.gaussian(0.5, 0.1, 21).image


@pytest.mark.parametrize(
    ("stamp", "pixel_scale", "found"),
    [
        (np.where(GOOD.max() == GOOD, np.nan, GOOD), 0.1, "not finite"),
        (0 * GOOD, 0.1, "sum is 0"),
        (-GOOD, 0.1, "sum is -1"),
        (GOOD[None], 0.1, "shape"),
        (GOOD[:0], 0.1, "shape"),
        (GOOD, 0.0, "pixel scale"),
        (GOOD, float("nan"), "pixel scale"),
    ],
)
def test_unusable_stamps(stamp, pixel_scale, found):
    with pytest.raises(InputError, match=found) as error:
        PSF.from_stamp(stamp, pixel_scale, source="file.fits[2]")
    assert error.value.source == "file.fits[2]"


def test_stamp_larger_than_its_image():
    PSF.from_stamp(GOOD, 0.1, image_shape=(21, 30))
    with pytest.raises(InputError, match="no larger"):
        PSF.from_stamp(GOOD, 0.1, image_shape=(20, 30))


def test_even_stamp_centred_on_a_pixel():
    stamp = PSF.gaussian(0.5, 0.1, 21).image[:20, :20]  # its centre is pixel (10, 10) = n / 2
    with pytest.raises(InputError, match="evenly sized"):
        PSF.from_stamp(stamp, 0.1)
    psf = PSF.from_stamp(stamp, 0.1, center=(10.0, 10.0))
    assert psf.image.shape == (21, 21)
    frequencies = np.array([[1.0, 0.3], [-0.4, 2.0]])
    np.testing.assert_allclose(psf.transfer(frequencies).imag, 0, atol=1e-5)
    with pytest.raises(InputError, match="centre"):
        PSF.from_stamp(stamp, 0.1, center=(10.2, 10.0))


@pytest.mark.shared_data
def test_real_euclid_stamps(shared_data):
    for path in sorted(shared_data.glob("euclid_q1/*.fits")):
        with fits.open(path) as hdus:
            stamps = [hdu for hdu in hdus[1:] if hdu.name.endswith("_PSF")]
            for hdu in stamps:
                psf = PSF.from_stamp(hdu.data, 0.1, source=hdu.name)
                assert psf.image.sum() == pytest.approx(1, abs=1e-12)
                low, high = (0.12, 0.25) if hdu.name.startswith("VIS") else (0.3, 1.6)
                assert low < psf.fwhm < high
                if "FWHM" in hdu.header and not hdu.name.startswith("VIS"):
                    assert psf.fwhm == pytest.approx(hdu.header["FWHM"], rel=0.3)  # theirs is from moments
