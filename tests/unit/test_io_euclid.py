"""Euclid MER cutouts: synthetic files with known content, and the three real ones."""

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from synergy.errors import InputError
from synergy.io.assemble import frame_of
from synergy.io.euclid import band_of, mer_images
from synergy.io.read import detect_layout, read_observations
from synergy.io.stamps import centred, centroid, low_passed
from synergy.psf import PSF

SIZE = 80


def mer_file(path, bands=("VIS", "NIR_H"), offset=0.0, rms=0.5, zeropoint=30.0):
    """Write a cutout with one Gaussian source of 1000 units per band; return the noise-free image."""
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 60.0,
            "CRVAL2": -50.0,
            "CRPIX1": SIZE / 2 + 0.5,
            "CRPIX2": SIZE / 2 + 0.5,
            "CD1_1": -0.1 / 3600,
            "CD2_2": 0.1 / 3600,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
            "CDELT1": 1.0,
            "CDELT2": 1.0,
            "MAGZERO": zeropoint,
        }
    )
    rng = np.random.default_rng(0)
    source = (
        galsim.Gaussian(fwhm=0.6, flux=1000.0).drawImage(nx=SIZE, ny=SIZE, scale=0.1, method="no_pixel").array
    )
    psf = galsim.Gaussian(fwhm=0.5, flux=0.97).shift(offset * 0.1, 0.0)
    wide = psf.drawImage(nx=33, ny=33, scale=0.1, method="no_pixel").array
    optics = galsim.Airy(lam=725, diam=1.2, obscuration=0.33) * 0.97
    sharp = galsim.Convolve(optics, galsim.Gaussian(sigma=0.045)).drawImage(nx=21, ny=21, scale=0.1).array
    hdus = [fits.PrimaryHDU()]
    for band in bands:
        image = source + rng.normal(0, rms, source.shape)
        noise = np.full(source.shape, rms)
        image[3, 4], noise[5, 6], noise[7, 8] = np.nan, 1e16, 0.0
        stamp = sharp if band == "VIS" else wide
        hdus += [
            fits.ImageHDU(image.astype(">f4"), header, name=f"{band}_BGSUB"),
            fits.ImageHDU(stamp.astype(">f4"), name=f"{band}_PSF"),
            fits.ImageHDU(noise.astype(">f4"), name=f"{band}_RMS"),
        ]
    fits.HDUList(hdus).writeto(path)
    return source


def test_reads_flux_noise_mask_and_psf(tmp_path):
    source = mer_file(tmp_path / "cutout.fits")
    vis, h = read_observations(tmp_path / "cutout.fits")
    assert (vis.name, vis.band, h.band) == ("euclid.vis", "euclid.vis", "euclid.H")
    unit = 10 ** (0.4 * 1.4)
    good = ~h.mask
    residual = (h.image - unit * source)[good]
    assert abs(residual.mean()) < 4 * 0.5 * unit / SIZE
    assert h.image.dtype == np.dtype("=f8")
    assert {tuple(p) for p in np.argwhere(h.mask)} == {(3, 4), (5, 6), (7, 8)}
    assert (h.ivar[h.mask] == 0).all()
    variance = 1 / h.ivar[good] / h.meta["variance_inflation"] / (0.5 * unit) ** 2
    np.testing.assert_array_less(1 - 1e-5, variance)  # interpolation adds to it where the image is curved
    assert np.mean(variance > 1 + 1e-5) < 0.15
    assert variance.max() > 1.01
    assert h.meta["variance_inflation"] == pytest.approx(1.0, abs=0.2)
    assert h.psf.image.sum() == pytest.approx(1.0)
    assert any("sums to 0.97" in note for note in h.meta["notes"])
    assert h.frame.pixel_scale == pytest.approx(0.1, rel=1e-5)


def test_nisp_stamps_are_centred_and_others_not(tmp_path):
    mer_file(tmp_path / "cutout.fits", ("NIR_Y", "HSC_Z"), offset=0.3)
    nisp, ground = read_observations(tmp_path / "cutout.fits")
    np.testing.assert_allclose(centroid(nisp.psf.image), 0.0, atol=2e-3)
    np.testing.assert_allclose(centroid(ground.psf.image), [0.0, 0.3], atol=2e-3)
    assert any("moved to the centre" in note for note in nisp.meta["notes"])
    assert any("left there" in note for note in ground.meta["notes"])


@pytest.mark.parametrize("profile", [galsim.Gaussian(fwhm=4.5), galsim.Moffat(beta=3.0, fwhm=5.0)])
def test_centroid_and_centring_agree_with_galsim(profile):
    def draw(dx, dy):
        return profile.shift(dx, dy).drawImage(nx=41, ny=41, scale=1.0, method="no_pixel", dtype=float).array

    np.testing.assert_allclose(centroid(draw(0.31, -0.27)), [-0.27, 0.31], atol=2e-3)
    np.testing.assert_allclose(centred(draw(0.31, -0.27)), draw(0, 0), atol=2e-3 * draw(0, 0).max())


def test_low_pass_keeps_what_pixels_can_hold_and_drops_the_rest():
    """A stamp of a slow and a fast wave under one window; 0.333 cycles per pixel is NISP's native limit."""
    y, x = np.indices((81, 81)) - 40.0
    window = np.exp(-(x**2 + y**2) / (2 * 12.0**2))
    slow, fast = window * np.cos(2 * np.pi * 0.2 * x), window * np.cos(2 * np.pi * 0.45 * y)
    np.testing.assert_allclose(low_passed(slow + fast, 0.333), slow, atol=2e-3)
    wide = low_passed(PSF.gaussian(0.5, 0.1, 41).image, 0.333)
    np.testing.assert_allclose(wide, PSF.gaussian(0.5, 0.1, 41).image, atol=1e-3 * wide.max())


def test_cutout_is_the_same_sky(tmp_path):
    mer_file(tmp_path / "cutout.fits", ("HSC_Z", "NIR_H"))
    whole = read_observations(tmp_path / "cutout.fits")[0]
    center = whole.frame.center.directional_offset_by(30 * u.deg, 1.0 * u.arcsec)
    part = read_observations(tmp_path / "cutout.fits", center=center, size=3.0)[0]
    assert part.image.shape == (30, 30)
    y, x = np.round(whole.frame.to_pixels(part.frame.to_sky(np.array([0.0, 0.0])))).astype(int)
    np.testing.assert_array_equal(part.image, whole.image[y : y + 30, x : x + 30])
    assert part.frame.center.separation(center).arcsec < 0.1
    assert part.meta["expected_chi2"] == whole.meta["expected_chi2"]
    with pytest.raises(InputError, match="beyond the image"):
        read_observations(tmp_path / "cutout.fits", center=SkyCoord("61d", "-50d"), size=3.0)


def test_size_alone_cuts_out_the_middle(tmp_path):
    mer_file(tmp_path / "cutout.fits", ("NIR_Y", "NIR_H"))
    part = read_observations(tmp_path / "cutout.fits", size=2.0)[1]
    assert part.frame.center.separation(SkyCoord("60d", "-50d")).arcsec < 0.1


def test_band_names():
    assert band_of("MEGACAM_U", "f") == "megacam.u"
    assert band_of("DES_G", "f") == "decam.g"
    assert band_of("HSC_Z", "f") == "hsc.z"
    with pytest.raises(InputError, match="WISE_W1"):
        band_of("WISE_W1", "f")


def test_two_files_get_unique_names(tmp_path):
    for name in ("a.fits", "b.fits"):
        mer_file(tmp_path / name, ("NIR_H",))
    names = [o.name for o in read_observations([tmp_path / "a.fits", tmp_path / "b.fits"])]
    assert names == ["euclid.H-1", "euclid.H-2"]


REAL = {
    "EUCLJ174517.55+655612.5.fits": (100, ["megacam.u", "hsc.g", "megacam.r", "euclid.vis", "hsc.z"]),
    "102018665_NEG570040238507752998.fits": (100, ["decam.g", "decam.r", "euclid.vis", "decam.i", "decam.z"]),
    "vis_nisp_only_300.fits": (300, ["euclid.vis"]),
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_real_cutouts(shared_data, name):
    path = shared_data / "euclid_q1" / name
    assert detect_layout(path) == "euclid-mer"
    size, bands = REAL[name]
    observations = read_observations(path)
    assert [o.band for o in observations] == [*bands, "euclid.Y", "euclid.J", "euclid.H"]
    for observation, spec in zip(observations, mer_images(path), strict=True):
        assert observation.image.shape == (size, size)
        assert frame_of(spec).pixel_scale == pytest.approx(0.1, rel=1e-4)
        # The RMS maps state what independent pixels would need; single pixels scatter less.
        assert observation.meta["noise_model"] == "stationary"
        assert 0.04 < observation.meta["variance_inflation"] < 0.5
        low, high = (0.99, 1.01) if "euclid" in observation.band else (0.6, 1.0)
        assert low < observation.meta["expected_chi2"] <= high
        if observation.band == "euclid.vis":
            assert any("PSF recovered" in note for note in observation.meta["notes"])
            assert 0.15 < observation.psf.fwhm < 0.19
            assert 0.001 < observation.response_error < 0.03
        # Resampled from 0.3 arcsec: at least nine pixels share their noise.
        low, high = (7, 20) if observation.band[-1] in "YJH" else (1.3, 20)
        assert low < observation.meta["correlation_factor"] < high
        flux, error = observation.image.sum(), np.sqrt((1 / observation.ivar[~observation.mask]).sum())
        assert flux > 2 * error or observation.band in ("megacam.u", "decam.g")
