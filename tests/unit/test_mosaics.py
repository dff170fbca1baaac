"""Images of whole surveys: native and resampled, against the likelihood's own noise model and PSFs."""

from types import SimpleNamespace

import astropy.units as u
import galsim
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from data_prep import survey_psfs
from data_prep.cameras import observe_sky
from data_prep.mock_config import StampSettings, SurveySettings
from data_prep.mosaics import exposure_frames, observe_mosaic
from data_prep.psfs import effective_psf
from data_prep.render import image_frame, tangent_map
from data_prep.resampling import interpolation_matrix, mean_correlation
from data_prep.sky import Sky, SkySource
from data_prep.survey_psfs import draw_psfs
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.psf_recovery import telescope
from synergy.stationary import Stationary
from synergy.survey import get_band

SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (160, 144), 0.05)
BANDS = ("euclid.vis", "euclid.Y", "euclid.H", "lsst.r", "hsc.z")


def star_sky(flux, centre=(0.0, 0.0)):
    return Sky(BANDS, (SkySource(None, np.full((1, len(BANDS)), flux), centre, np.eye(2), 0.0),))


def images(sky, seed, **settings):
    survey, rng = SurveySettings(**settings), np.random.default_rng(seed)
    return observe_sky(sky, SCENE, survey, draw_psfs(survey, None, rng), rng)


def test_interpolation_is_exact_for_what_is_linear():
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(3, 6, (2, 5, 4))
    y, x = np.indices((11, 12))
    for kernel in ("bilinear", "lanczos3"):
        matrix = interpolation_matrix(rows, columns, (11, 12), kernel)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
        values = (matrix @ (2.0 * y - 3.0 * x + 1).ravel()).reshape(5, 4)
        # A windowed sinc is nearly so.
        exact = 1e-12 if kernel == "bilinear" else 0.1
        np.testing.assert_allclose(values, 2 * rows - 3 * columns + 1, atol=exact)


def test_mean_correlation_is_that_of_a_triangle_with_itself():
    """Averaged over phases, the correlation along an axis is a cubic B-spline over its maximum."""
    rng, native, shape = np.random.default_rng(1), 3.0, (90, 84)
    y, x = np.indices(shape)
    matrices = [
        interpolation_matrix(y / native + 2 + a, x / native + 2 + b, (36, 36))
        for a, b in rng.uniform(size=(60, 2))
    ]
    found = mean_correlation(matrices, shape)
    lag = np.abs(np.arange(found.shape[0]) - found.shape[0] // 2) / native
    spline = np.where(lag < 1, 2 / 3 - lag**2 + lag**3 / 2, np.clip(2 - lag, 0, None) ** 3 / 6) * 1.5
    np.testing.assert_allclose(found, np.outer(spline, spline), atol=0.01)


@pytest.mark.parametrize(
    ("band", "rotation"), [("euclid.vis", 33.0), ("euclid.Y", 71.0), ("euclid.H", 0.0), ("lsst.r", 160.0)]
)
def test_noise_of_a_mosaic_whitens_in_the_likelihoods_model(band, rotation):
    """Realisations of one set of dithers: chi2 per pixel, spectrum in rings, distribution of pixels."""
    rng, mosaic = np.random.default_rng(4), image_frame(SCENE, (70, 64), 0.1)
    scale, psf = get_band(band).pixel_scale, effective_psf(band, None, 2.0)
    frames = exposure_frames(SCENE, mosaic, scale, rng.uniform(-0.5, 0.5, (4, 2)), rotation, False)
    combined = {band: get_band(band).n_exposures}
    made = [observe_mosaic(Sky(BANDS, ()), SCENE, mosaic, frames, [psf], combined, rng)[0] for _ in range(12)]
    noise = Stationary.build(made[0].ivar, made[0].correlation, made[0].independent)
    stack = np.array([each.image for each in made])
    white = np.asarray(noise.whiten(jnp.asarray(stack, jnp.float32)), np.float64)
    assert np.mean(white**2) == pytest.approx(1, abs=4 * np.sqrt(2 / white.size) + 0.005)
    power = np.mean(np.abs(np.fft.fft2(white)) ** 2, axis=0) / white[0].size
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in mosaic.shape), indexing="ij"))
    ring = np.minimum((10 * radius).astype(int), 5).ravel()
    modes = np.bincount(ring)
    rings = np.bincount(ring, power.ravel()) / modes
    # The noise is not quite stationary: dithers that fall on few phases leave a ripple.
    assert np.all(np.abs(rings - 1) < 4 * np.sqrt(2 / (len(made) * modes)) + 0.08)
    pulls = stack * np.sqrt(made[0].ivar)
    assert np.mean(pulls**2) == pytest.approx(1, abs=0.06)
    assert np.mean(np.abs(pulls) < 1) == pytest.approx(0.683, abs=0.02)


@pytest.mark.parametrize("band", ["euclid.vis", "euclid.H", "lsst.r"])
def test_stars_of_mosaics_have_the_stated_psf_on_average(band):
    """Mean over many phases against GalSim's drawing of the stated PSF; single ones scatter as stated."""
    flux, centre = 1e7, (0.42, -0.61)
    residuals, stated = [], []
    for seed in range(12):
        (made,) = images(
            star_sky(flux, centre), seed, bands=(band,), rotation=25.0, layout="mer", dithered=False
        )
        _, offset = tangent_map(SCENE, made.frame)
        stamp = galsim.Image(made.psf.image.copy(), scale=made.psf.pixel_scale)
        profile = flux * galsim.InterpolatedImage(stamp, x_interpolant="lanczos15", flux=1.0)
        ny, nx = made.frame.shape
        expected = profile.shift(centre[1], centre[0]).drawImage(
            nx=nx, ny=ny, scale=0.1, offset=offset, method="no_pixel", dtype=float
        )
        residuals.append(made.image - expected.array)
        stated.append(made.independent)
        assert made.image.sum() == pytest.approx(flux, rel=0.02)
    peak = expected.array.max()
    residuals = np.array(residuals)
    assert np.max(np.abs(residuals.mean(axis=0))) < 0.03 * peak
    core = expected.array > 0.3 * peak
    ratio = np.sqrt(np.mean(residuals[:, core] ** 2) / np.mean(np.array(stated)[:, core]))
    assert 0.5 < ratio < 2


def test_photons_of_sources_add_to_the_variance():
    """A star in a coadd of 1, and of all exposures; the variance in electrons is that of sky plus source."""
    for number in (1, None):
        (made,) = images(star_sky(5e4), 3, bands=("lsst.r",), exposures=number)
        band = get_band("lsst.r")
        share = (number or band.n_exposures) / band.n_exposures
        clean = images(star_sky(5e4), 3, bands=("lsst.r",), exposures=number)[0].image
        np.testing.assert_array_equal(clean, made.image)
        excess = 1 / made.ivar - band.sky_variance() / share
        electrons = excess * share / band.nJy_per_electron**2
        assert electrons.sum() * band.nJy_per_electron == pytest.approx(5e4, rel=1e-3)


def test_variance_of_a_mosaic_is_its_scatter():
    """Where a star's own photons dominate, between realisations of one set of dithers."""
    psf, mosaic = effective_psf("lsst.r", None, 2.0), image_frame(SCENE, (30, 28), 0.1)
    frames = exposure_frames(SCENE, mosaic, 0.2, np.array([[0.1, -0.3], [0.4, 0.2]]), 30.0, False)
    sky = star_sky(3e5)
    made = [
        observe_mosaic(sky, SCENE, mosaic, frames, [psf], {"lsst.r": 184}, np.random.default_rng(seed))[0]
        for seed in range(60)
    ]
    expected = 1 / made[0].ivar - made[0].independent
    scatter = np.var([each.image for each in made], axis=0, ddof=1)
    core = expected > 2 * np.median(expected)
    assert core.sum() > 40
    # About one independent value per native pixel.
    assert np.mean(scatter[core] / expected[core]) == pytest.approx(
        1, abs=5 * np.sqrt(2 / 60 / (core.sum() / 4))
    )


def test_bands_of_one_camera_share_a_frame_and_orders_hold():
    made = images(
        Sky(BANDS, ()), 0, bands=("euclid.H", "euclid.vis", "euclid.Y"), rotation="random", flipped=True
    )
    assert [each.band for each in made] == ["euclid.H", "euclid.vis", "euclid.Y"]
    assert made[0].frame is made[2].frame
    assert made[1].frame.pixel_scale == pytest.approx(0.1, rel=1e-4)
    assert all(np.linalg.det(each.frame.jacobian) > 0 for each in made)
    again = images(
        Sky(BANDS, ()), 0, bands=("euclid.H", "euclid.vis", "euclid.Y"), rotation="random", flipped=True
    )
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def stamp_settings(path, stamp, band, pixel_scale=None):
    fits.writeto(path / "stamp.fits", stamp)
    return SurveySettings(bands=(band,), psf={band: {"file": "stamp.fits", "pixel_scale": pixel_scale}})


def test_measured_stamps(tmp_path):
    fine = effective_psf("hsc.z")
    settings = stamp_settings(tmp_path, fine.psf.image, "hsc.z", 0.05)
    (psf,) = draw_psfs(settings, tmp_path, np.random.default_rng(0))
    difference = psf.psf.image - fine.psf.image
    assert np.max(np.abs(difference)) < 2e-3 * fine.psf.image.max()  # tapered twice
    assert psf.psf.pixel_scale == 0.05


def test_undersampled_stamps_are_recovered_or_refused(tmp_path, monkeypatch):
    fine = effective_psf("euclid.vis")
    coarse = fine.psf.image[::4, ::4]
    settings = stamp_settings(tmp_path, coarse, "euclid.vis")
    asked = []

    def recover(stamp, pixel_scale, telescope, **options):
        asked.append((stamp, pixel_scale, telescope, options))
        return SimpleNamespace(psf=fine.psf)

    monkeypatch.setattr(survey_psfs, "recover", recover)
    (psf,) = draw_psfs(settings, tmp_path, np.random.default_rng(0))
    ((stamp, pixel_scale, model, _),) = asked
    np.testing.assert_allclose(stamp, coarse / coarse.sum())
    assert pixel_scale == 0.1
    assert model == telescope("euclid.vis")
    assert psf.psf.pixel_scale == 0.025
    finer = settings.model_copy(
        update={"psf": {"euclid.vis": StampSettings(file="stamp.fits", pixel_scale=0.08)}}
    )
    with pytest.raises(InputError, match="undersampled"):
        draw_psfs(finer, tmp_path, np.random.default_rng(0))
    with pytest.raises(InputError, match="no such file"):
        draw_psfs(settings, tmp_path / "nowhere", np.random.default_rng(0))
