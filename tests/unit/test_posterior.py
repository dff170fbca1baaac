"""Posterior summaries against closed forms, and the file against what was written."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.posterior import Posterior

CENTER = SkyCoord("150.1d", "2.2d")


def make_posterior(draws=5, shape=(24, 32), bands=("lsst.g", "lsst.i", "euclid.vis")):
    rng = np.random.default_rng(0)
    images = ("euclid.vis", "lsst.i-visit 2")
    frames = {
        "euclid.vis": Frame.tangent(CENTER, (12, 16), 0.1, 20.0),
        "lsst.i-visit 2": Frame.tangent(CENTER, (6, 8), 0.2),
    }
    return Posterior(
        draws=rng.normal(2.0, 1.0, (draws, len(bands), *shape)).astype(np.float32),
        frame=Frame.tangent(CENTER, shape, 0.05, 20.0),
        bands=bands,
        images=images,
        chi2=rng.uniform(100, 200, (draws, 2)),
        n_pixels=np.array([190, 48]),
        residuals={n: rng.normal(size=f.shape).astype(np.float32) for n, f in frames.items()},
        residual_frames=frames,
        support=rng.uniform(size=(len(bands), *shape)).astype(np.float32),
        observed=np.array([False, True, True]),
        band_scale=np.array([0.5, 1.0, 0.9]),
        meta={
            "version": "0.1",
            "commit": "abc",
            "config_hash": "0123",
            "seed": 3,
            "prior": "default:12",
            "scale": 1.5,
            "inputs": ["a.fits[1]", "b.fits[2]"],
            "notes": {"euclid.vis": ["PSF µ " + "long " * 60]},
        },
    )


@pytest.mark.parametrize("draws", [1, 5])
def test_round_trip_is_exact(tmp_path, draws):
    posterior = make_posterior(draws)
    posterior.write(tmp_path / "posterior.fits")
    again = Posterior.read(tmp_path / "posterior.fits")
    for name in ("draws", "support", "observed", "band_scale", "chi2", "n_pixels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(posterior, name), err_msg=name)
    assert (again.bands, again.images, again.meta) == (posterior.bands, posterior.images, posterior.meta)
    pixels = np.array([[0.0, 0.0], [5.0, 7.0]])
    for name in posterior.images:
        np.testing.assert_array_equal(again.residuals[name], posterior.residuals[name])
        before, after = (
            posterior.residual_frames[name].to_sky(pixels),
            again.residual_frames[name].to_sky(pixels),
        )
        assert before.separation(after).arcsec.max() < 1e-6
    assert posterior.frame.to_sky(pixels).separation(again.frame.to_sky(pixels)).arcsec.max() < 1e-6


def test_file_is_laid_out_as_documented(tmp_path):
    posterior = make_posterior()
    posterior.write(tmp_path / "posterior.fits")
    with fits.open(tmp_path / "posterior.fits") as hdus:
        names = [
            "PRIMARY",
            "MEAN",
            "STD",
            "DRAWS",
            "BANDS",
            "SUPPORT",
            "RES_EUCLID.VIS",
            "RES_LSST.I-VISIT 2",
            "DIAG",
        ]
        assert [hdu.name for hdu in hdus] == names
        primary = hdus[0].header
        assert (primary["VERSION"], primary["SEED"], primary["PRIOR"]) == ("0.1", 3, "default:12")
        assert (primary["COMMIT"], primary["CONFHASH"], primary["INPUT2"]) == ("abc", "0123", "b.fits[2]")
        for name in ("MEAN", "STD", "DRAWS"):
            assert hdus[name].header["BUNIT"] == "nJy"
        np.testing.assert_allclose(hdus["MEAN"].data, posterior.draws.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(hdus["STD"].data, posterior.draws.std(axis=0, ddof=1), rtol=1e-5)
        for hdu in hdus:
            if isinstance(hdu, fits.ImageHDU):
                sky = WCS(hdu.header).celestial.pixel_to_world(*((np.array(hdu.shape[:-3:-1]) - 1) / 2))
                assert sky.separation(CENTER).arcsec < 1e-3
        assert list(hdus["BANDS"].data["name"]) == list(posterior.bands)
        assert list(hdus["BANDS"].data["prior_only"]) == [True, False, False]
        assert (hdus["BANDS"].data["zeropoint"] == 31.4).all()
        np.testing.assert_array_equal(hdus["DIAG"].data["chi2"], posterior.chi2.T)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "posterior.fits"
    path.write_text("before")
    broken = make_posterior()
    broken.meta["settings"] = object()
    with pytest.raises(TypeError):
        broken.write(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["missing", "text", "other", "cut"])
def test_reading_something_else_is_explained(tmp_path, content):
    path = tmp_path / "file.fits"
    if content == "text":
        path.write_text("no FITS")
    elif content == "other":
        fits.writeto(path, np.zeros((4, 4)))
    elif content == "cut":
        make_posterior().write(path)
        path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(InputError, match=r"file\.fits"):
        Posterior.read(path)


def test_summaries():
    posterior = make_posterior(draws=9)
    assert posterior.quantile((0.1, 0.5)).shape == (2, *posterior.mean.shape)
    np.testing.assert_array_equal(posterior.quantile(0.5), np.sort(posterior.draws, axis=0)[4])
    np.testing.assert_allclose(posterior.flux(), posterior.draws.sum(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(posterior.chi2_per_pixel, np.median(posterior.chi2, axis=0) / [190, 48])


def test_covered_is_the_sky_of_the_images():
    posterior = make_posterior(shape=(60, 60))
    # One image, 1.2 by 1.6 arcsec, has the scene's orientation; the other is rotated, but for corners within.
    covered = posterior.covered
    y, x = (np.arange(60) - 29.5)[:, None] * 0.05, (np.arange(60) - 29.5)[None] * 0.05
    assert covered[(np.abs(y) < 0.6) & (np.abs(x) < 0.8)].all()
    assert not covered[np.hypot(y, x) > 1.01].any()
    assert 1.2 * 1.6 <= covered.sum() * 0.05**2 < 1.25 * 1.2 * 1.6


def test_aperture_holds_its_circle():
    posterior = make_posterior(shape=(200, 160))
    region = posterior.aperture(2.0)
    assert region.sum() * 0.05**2 == pytest.approx(np.pi * 4, rel=0.01)
    moved = posterior.aperture(0.5, CENTER.directional_offset_by(20 * u.deg, 2 * u.arcsec))
    y, x = np.argwhere(moved).mean(axis=0)
    # 2 arcsec along the frame's y axis, which is rotated by 20 degrees.
    assert (y - 99.5, x - 79.5) == pytest.approx((40.0, 0.0), abs=0.3)
    assert posterior.flux(region)[0, 0] == pytest.approx(posterior.draws[0, 0][region].sum(), rel=1e-5)
    with pytest.raises(InputError, match="aperture"):
        posterior.aperture(0.5, SkyCoord("151d", "2d"))
