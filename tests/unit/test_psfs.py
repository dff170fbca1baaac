"""Effective PSFs of the mocks against optics in closed form, GalSim and the measured pupil."""

import galsim
import numpy as np
import pytest
from astropy.io import fits

from data_prep.euclid_optics import diffraction_at, euclid_pupil
from data_prep.psfs import effective_psf, physical_psf
from data_prep.seeing import TELESCOPE, Seeing, draw_seeing
from synergy.errors import InputError
from synergy.survey import SCENE_BANDS, get_band


@pytest.mark.shared_data
def test_pupil_is_that_of_the_telescope(shared_data):
    measured = fits.getdata(shared_data / "euclid_optics" / "euclid_pupil_plane.fits.gz") > 0.5
    ours = euclid_pupil(2048, 1.2)
    assert np.mean(measured != ours) < 0.002
    assert ours.mean() == pytest.approx(measured.mean(), abs=0.001)
    assert np.sum(ours & measured) > 0.997 * np.sum(ours | measured)
    # The open share of the mirror's disc, what obscuration and struts leave.
    disc = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, 2048)] * 2)) < 1
    assert ours.sum() / disc.sum() == pytest.approx(measured.sum() / disc.sum(), abs=0.001)


@pytest.mark.shared_data
def test_diffraction_is_that_of_the_measured_pupil(shared_data):
    measured = fits.getdata(shared_data / "euclid_optics" / "euclid_pupil_plane.fits.gz") > 0.5
    images = []
    for pupil in (measured, euclid_pupil(2048, 1.2)):
        coarse = np.pad(pupil.reshape(512, 4, 512, 4).mean(axis=(1, 3)), 256)
        optics = diffraction_at(700.0, galsim.Image(coarse, scale=1.2 / 512))
        seen = galsim.Convolve(optics, galsim.Pixel(0.025))
        images.append(seen.drawImage(nx=81, ny=81, scale=0.025, method="no_pixel", dtype=float).array)
    assert np.max(np.abs(images[0] - images[1])) < 2e-3 * images[0].max()


@pytest.mark.parametrize("band", ["euclid.vis", "euclid.H"])
def test_transfer_is_pupil_autocorrelation_times_jitter_times_pixel(band):
    low, high, jitter, pixel = {"euclid.vis": (540, 910, 0.092, 0.1), "euclid.H": (1522, 2021, 0.321, 0.3)}[
        band
    ]
    extent, size = 2.7, 1350
    pupil = euclid_pupil(size, extent).astype(float)
    overlap = np.fft.irfft2(np.abs(np.fft.rfft2(pupil, (2 * size, 2 * size))) ** 2)
    wavelengths = low + (high - low) * (np.arange(5) + 0.5) / 5
    profile = physical_psf(band)
    for fx, fy in [(0.5, 0.2), (1.0, 0.0), (0.0, 1.5), (1.2, -1.1), (-2.0, 0.5)]:
        # An angular frequency f (cycles per arcsec) is a shift of the pupil by lambda f.
        shifts = wavelengths * 1e-9 * 206264.806 / (extent / size)
        optics = np.mean([overlap[round(s * fy), round(s * fx)] for s in shifts]) / overlap[0, 0]
        gaussian = np.exp(-2 * (np.pi * jitter / 2.354820) ** 2 * (fx**2 + fy**2))
        expected = optics * gaussian * np.sinc(fx * pixel) * np.sinc(fy * pixel)
        assert profile.kValue(2 * np.pi * fx, 2 * np.pi * fy).real == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize("band", SCENE_BANDS)
def test_effective_fwhm(band):
    fwhm, survey = effective_psf(band).psf.fwhm, get_band(band)
    if band == "euclid.vis":
        assert 0.160 < fwhm < 0.170
    elif band.startswith("euclid"):
        assert fwhm == pytest.approx(survey.psf_fwhm, rel=0.01)
    else:  # seeing and pixel add up in quadrature or a little less, because Kolmogorov's core is flat
        assert survey.psf_fwhm < fwhm < np.hypot(survey.psf_fwhm, survey.pixel_scale)


@pytest.mark.parametrize("band", ["lsst.u", "euclid.vis", "euclid.Y", "euclid.H", "hsc.i"])
def test_stamp_and_profile_are_one_psf(band):
    made = effective_psf(band)
    assert made.psf.image.sum() == pytest.approx(1, abs=1e-12)
    assert made.profile.flux == pytest.approx(1, abs=1e-6)
    frequencies = np.random.default_rng(1).uniform(-3, 3, (30, 2))
    ours = made.psf.transfer(frequencies)
    galsims = [made.profile.kValue(2 * np.pi * fx, 2 * np.pi * fy) for fy, fx in frequencies]
    np.testing.assert_allclose(ours, galsims, atol=1e-4)


@pytest.mark.parametrize("band", ["lsst.r", "euclid.vis"])
def test_core_is_the_physical_profile(band):
    made, physical = (
        effective_psf(band),
        physical_psf(band),
    )
    scale = made.psf.pixel_scale
    direct = physical.drawImage(nx=41, ny=41, scale=scale, method="no_pixel", dtype=float).array
    middle = slice(len(made.psf.image) // 2 - 20, len(made.psf.image) // 2 + 21)
    core = made.psf.image[middle, middle] * (1 - made.truncated)
    np.testing.assert_allclose(core, direct, atol=1e-6 * direct.max())


def test_truncated_light_falls_with_radius():
    lost = [effective_psf("lsst.i", Seeing(0.79), radius=r).truncated for r in (2.0, 3.0, 10.0)]
    assert lost[0] > lost[1] > lost[2]
    assert lost[1] < 0.015
    assert lost[2] < 0.003
    assert effective_psf("euclid.H").truncated < 0.05


def test_vis_transmits_nothing_beyond_the_optical_cutoff():
    beyond = 1.2 / (577e-9 * 206264.806) * 1.01  # the bluest wavelength's limit is the highest
    assert abs(effective_psf("euclid.vis").psf.transfer(np.array([[0.0, beyond]]))[0]) < 2e-5


def test_shear_sets_the_ellipticity_of_the_ground_psf():
    def g1(made):
        image = galsim.Image(made.psf.image.copy(), scale=made.psf.pixel_scale)
        return galsim.hsm.FindAdaptiveMom(image).observed_shape.g1

    fwhm = get_band("lsst.r").psf_fwhm
    round_, sheared = (effective_psf("lsst.r", Seeing(fwhm, shear=(g, 0.0))) for g in (0.0, 0.05))
    assert g1(round_) == pytest.approx(0, abs=1e-4)
    assert g1(sheared) == pytest.approx(0.05, rel=0.1)


def test_seeing_is_for_the_ground():
    assert effective_psf("lsst.r", Seeing(0.6)).psf.fwhm < effective_psf("lsst.r").psf.fwhm
    with pytest.raises(InputError, match="seeing"):
        effective_psf("euclid.vis", Seeing(0.7))
    with pytest.raises(InputError, match="hst"):
        effective_psf("hst.F814W")


@pytest.mark.parametrize("band", ["lsst.u", "lsst.y", "hsc.i", "megacam.r", "decam.g"])
def test_seeing_is_that_of_atmosphere_and_telescope_together(band):
    survey = get_band(band)
    seeing = Seeing(survey.psf_fwhm, TELESCOPE[survey.instrument], (0.0, 0.0))
    assert seeing.profile.calculateFWHM() == pytest.approx(survey.psf_fwhm, rel=0.01)
    # Less of it is Kolmogorov, so less light lies in the wings.
    assert seeing.profile.calculateHLR() < galsim.Kolmogorov(fwhm=survey.psf_fwhm).half_light_radius


def test_all_bands_share_one_night():
    bands = [f"lsst.{band}" for band in "ugrizy"]
    rng = np.random.default_rng(0)
    nights = [draw_seeing(bands, 0.15, rng) for _ in range(400)]
    atmospheres = np.array([[night[band].fwhm ** 1.87 - 0.4**1.87 for band in bands] for night in nights])
    usual = np.array([get_band(band).psf_fwhm ** 1.87 - 0.4**1.87 for band in bands])
    ratios = (atmospheres / usual) ** (1 / 1.87)
    np.testing.assert_allclose(ratios, ratios[:, :1] * np.ones(6), rtol=1e-9)
    logs, shears = np.log(ratios[:, 0]), np.array([night["lsst.u"].shear for night in nights])
    assert abs(logs.mean()) < 4 * 0.15 / 20
    assert logs.std() == pytest.approx(0.15, rel=4 / np.sqrt(800))
    assert shears.std() == pytest.approx(0.012, rel=4 / np.sqrt(1600))
    fixed = draw_seeing(bands, 0.0, rng)
    assert fixed["lsst.g"].fwhm == pytest.approx(get_band("lsst.g").psf_fwhm)


@pytest.mark.parametrize(
    ("band", "seeing"), [("lsst.u", Seeing(0.9)), ("lsst.r", None), ("euclid.vis", None), ("euclid.H", None)]
)
def test_nothing_lies_beyond_the_limit(band, seeing):
    made = effective_psf(band, seeing)
    image, scale = made.psf.image, made.psf.pixel_scale
    spectrum = np.fft.rfft2(image)
    radius = np.hypot.outer(np.fft.fftfreq(len(image)), np.fft.rfftfreq(len(image))) / scale
    dropped = np.fft.irfft2(np.where(radius > made.limit, spectrum, 0), image.shape)
    kept = np.fft.irfft2(np.where(radius > 0.8 * made.limit, spectrum, 0), image.shape)
    assert np.abs(dropped).max() < 1.5e-4 * image.max() < np.abs(kept).max()
