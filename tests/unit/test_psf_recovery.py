"""What recovery does with centres, odd sizes, misfits and bad input; its accuracy is in tests/reference."""

import galsim
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.io.stamps import centroid
from synergy.psf import PSF
from synergy.psf_recovery import OVERSAMPLING, recover
from synergy.psf_recovery.residual import Misfit, Points, fit_misfit, interpolate
from synergy.psf_recovery.telescopes import telescope

VIS = telescope("euclid.vis")
LSST = telescope("lsst.r")


def lsst_stamp(size, shift=(0.0, 0.0), extra=0.0):
    """Return Kolmogorov seeing of 0.8 arcsec, with a lump off its centre that no seeing makes."""
    profile = galsim.Convolve(galsim.Kolmogorov(fwhm=0.8), galsim.Gaussian(sigma=0.1), galsim.Pixel(0.2))
    profile = profile + extra * galsim.Gaussian(sigma=0.25).shift(0.35, 0.2)
    moved = profile.shift(shift[1], shift[0])
    return moved.drawImage(nx=size[1], ny=size[0], scale=0.2, method="no_pixel", dtype=float).array


def off_centre(found):
    """Return the centroid (y, x) in pixels of the stamp."""
    return centroid(found.psf.image, sigma=2.0 * OVERSAMPLING) / OVERSAMPLING


@pytest.mark.parametrize("size", [(25, 25), (24, 27)])
def test_the_source_stays_or_is_moved(size):
    shift = np.array([0.06, -0.04])
    stamp = 17.0 * lsst_stamp(size, shift)
    kept = recover(stamp, 0.2, LSST)
    np.testing.assert_allclose(kept.center[0] * 0.2, shift, atol=1e-3)
    np.testing.assert_allclose(off_centre(kept) * 0.2, shift, atol=2e-3)
    np.testing.assert_allclose(off_centre(recover(stamp, 0.2, LSST, center="source")), 0.0, atol=0.01)
    position = (np.array(size) - 1) / 2 + np.array([0.5, 0.0])
    placed = recover(stamp, 0.2, LSST, center=(float(position[0]), float(position[1])))
    np.testing.assert_allclose(off_centre(placed), shift / 0.2 - [0.5, 0.0], atol=0.01)
    for found in (kept, placed):
        assert found.psf.image.sum() == pytest.approx(1.0, abs=1e-12)
        assert found.psf.pixel_scale == pytest.approx(0.2 / OVERSAMPLING)
        assert 0.9 < found.inside < 0.995


def test_measured_core_is_kept_where_the_model_fails():
    """A lump of 3 % is in the result, and the stated error owns up to a model that does not fit."""
    stamp = lsst_stamp((31, 31), extra=0.03)
    found = recover(stamp / stamp.sum(), 0.2, LSST)
    assert found.largest_residual > 3e-3
    middle = (len(found.psf.image) - 1) // 2
    rows = slice(middle - 10 * OVERSAMPLING, middle + 10 * OVERSAMPLING + 1, OVERSAMPLING)
    picked = found.psf.image[rows, rows] * OVERSAMPLING**2
    expected = stamp[5:-5, 5:-5] / stamp.sum() * found.inside
    assert np.abs(picked - expected).max() < 0.2 * found.largest_residual * expected.max()
    clean = recover(lsst_stamp((31, 31)), 0.2, LSST)
    assert found.error > 1.5 * clean.error


def test_noise_is_not_copied():
    """White noise gets no misfit; a smooth bump of ten times the noise does."""
    rng = np.random.default_rng(0)
    axis = np.arange(-7.0, 8.0)
    position = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    brightness = np.exp(-np.sum(position**2, axis=1) / 18)
    points = Points(position, brightness, np.zeros((225, 0)))
    noise, bump = rng.normal(0, 1e-3, 225), 1e-2 * np.exp(-np.sum((position - 1) ** 2, axis=1) / 4)
    quiet = fit_misfit(noise, points, np.zeros(0), 1.5, None)
    loud = fit_misfit(noise + bump, points, np.zeros(0), 1.5, None)
    assert quiet.noise == pytest.approx(1e-3, rel=0.15)
    assert np.abs(interpolate(noise, points, quiet, points)).max() < 5e-4
    assert loud.noise == pytest.approx(1e-3, rel=0.25)
    assert np.abs(interpolate(noise + bump, points, loud, points) - bump).max() < 2.5e-3
    assert Misfit(0.0, 1e-3, 1.5).covariance(points, points).max() == 0


@pytest.mark.parametrize(
    ("stamps", "options", "found"),
    [
        (np.full((9, 9), np.nan), {}, "not finite"),
        (np.ones((3, 9)), {}, r"shape \(3, 9\)"),
        (-np.ones((9, 9)), {}, "sum is"),
        ([], {}, "0 stamps"),
        ([np.ones((9, 9))], {"offsets": np.zeros((2, 2))}, "1 stamps, 2 offsets"),
    ],
)
def test_unusable_stamps(stamps, options, found):
    with pytest.raises(InputError, match=found):
        recover(stamps, 0.1, VIS, source="file.fits[2]", **options)


def test_even_stamp_centred_on_a_pixel_is_refused():
    stamp = lsst_stamp((25, 25))[:24, :24]
    with pytest.raises(InputError, match="evenly sized"):
        recover(stamp, 0.2, LSST)


@pytest.mark.parametrize("fwhm", [1.6, 1.8, 2.2, 3.0])
def test_undersampling_error_bounds_that_of_a_gaussian(fwhm):
    sharp = galsim.Gaussian(fwhm=fwhm)
    fine = (np.arange(81) - 40) / 16
    truth = sharp.drawImage(nx=81, ny=81, scale=1 / 16, method="sb", dtype=float).array
    errors = []
    for shift in (0.0, 0.25, 0.5):
        stamp = sharp.shift(shift, shift).drawImage(nx=21, ny=21, scale=1.0, method="sb", dtype=float).array
        moved = np.sinc(fine[:, None] + shift - (np.arange(21) - 10))
        errors.append(np.abs(moved @ stamp @ moved.T - truth).max() / truth.max())
    psf = PSF.from_stamp(sharp.drawImage(nx=21, ny=21, scale=1.0, method="sb", dtype=float).array, 1.0)
    assert 0.3 * psf.undersampling_error < max(errors) < 1.3 * psf.undersampling_error


def test_a_tapered_rim_is_left_out():
    axis = (np.arange(31) - 15) * 0.2
    distance = np.hypot(axis[:, None], axis)
    stamp = lsst_stamp((31, 31)) * np.clip((2.6 - distance) / 0.8, 0, 1)
    found = recover(stamp, 0.2, LSST, reach=1.7)
    whole = recover(lsst_stamp((31, 31)), 0.2, LSST)
    assert np.abs(found.psf.image - whole.psf.image).max() < 1e-3 * whole.psf.image.max()
    with pytest.raises(InputError, match="pixels within"):
        recover(stamp, 0.2, LSST, reach=0.3)
