"""Baselines against closed forms."""

import dataclasses

import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from synergy.baselines.upsample import upsample
from synergy.baselines.wiener import galaxy_covariance, wiener
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF

CENTER = SkyCoord(30.0 * u.deg, -5.0 * u.deg)
BANDS = ("lsst.r", "euclid.vis", "euclid.Y")


def observation(band, image, pixel_scale, rms, fwhm):
    frame = Frame.tangent(CENTER, image.shape, pixel_scale)
    psf = PSF.gaussian(fwhm, 0.05, 2 * round(1.5 * fwhm / 0.05) + 1)
    return Observation(
        band, band, image, np.full(image.shape, rms**-2.0), np.zeros(image.shape, bool), psf, frame
    )


def star(shape, pixel_scale, fwhm, flux=1000.0, at=(0.1, -0.2)):
    """Return samples of a Gaussian times the pixel area, at (y, x) arcsec from the frame's centre."""
    y, x = (np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2) * pixel_scale
    variance = (fwhm / 2.354820) ** 2
    square = (y - at[0]) ** 2 + (x - at[1]) ** 2
    return flux * pixel_scale**2 / (2 * np.pi * variance) * np.exp(-square / (2 * variance))


def test_upsampled_star_is_the_star_on_the_finer_grid():
    made = observation("lsst.r", star((32, 31), 0.2, 0.8), 0.2, 1.0, 0.8)
    scene = Frame.tangent(CENTER, (96, 100), 0.05)
    plane = upsample([made], scene, ("lsst.r",))[0]
    expected = star((96, 100), 0.05, 0.8)
    np.testing.assert_allclose(plane, expected, atol=0.01 * expected.max())
    assert plane.sum() == pytest.approx(1000, rel=2e-3)


def test_upsample_fills_masked_pixels_and_weights_images_by_depth():
    image = star((32, 32), 0.2, 0.8)
    good = observation("lsst.r", image, 0.2, 1.0, 0.8)
    mask = np.zeros(image.shape, bool)
    mask[15, 15] = True
    holed = dataclasses.replace(good, mask=mask)
    scene = Frame.tangent(CENTER, (96, 96), 0.05)
    plane = upsample([holed], scene, ("lsst.r",))[0]
    assert plane.sum() == pytest.approx(1000, rel=0.03)
    shallow = dataclasses.replace(good, name="b", image=2 * image, ivar=good.ivar / 3)
    both = upsample([good, shallow], scene, ("lsst.r",))[0]
    np.testing.assert_allclose(both, 1.25 * upsample([good], scene, ("lsst.r",))[0], rtol=1e-6)


def test_upsample_needs_an_image_of_each_band():
    made = observation("lsst.r", star((32, 32), 0.2, 0.8), 0.2, 1.0, 0.8)
    with pytest.raises(InputError, match=r"euclid\.vis"):
        upsample([made], Frame.tangent(CENTER, (96, 96), 0.05), BANDS)


@pytest.fixture(scope="module")
def small():
    """Return three noisy images of a draw from the Wiener prior itself, 16 x 16 pixels and three bands."""
    frame = Frame.tangent(CENTER, (16, 16), 0.05)
    covariance = galaxy_covariance(BANDS, 0.05, 3.0)
    scene = 5.0 * covariance.draw(jax.random.key(3), (3, 16, 16))
    blank = [
        observation("lsst.r", np.zeros((4, 4)), 0.2, 0.05, 0.5),
        observation("euclid.vis", np.zeros((8, 8)), 0.1, 0.02, 0.16),
        observation("euclid.Y", np.zeros((3, 3)), 0.27, 0.1, 0.4),
    ]
    clean = GaussianLikelihood.build(blank, frame, BANDS).forward(scene)
    rng = np.random.default_rng(0)
    made = [
        dataclasses.replace(
            o, image=np.asarray(c, np.float64) + rng.standard_normal(c.shape) / np.sqrt(o.ivar)
        )
        for o, c in zip(blank, clean, strict=True)
    ]
    return frame, covariance, made


def dense(frame, covariance, made):
    """Return whitened data, whitened forward matrix and prior covariance as float64 matrices."""
    likelihood = GaussianLikelihood.build(made, frame, BANDS)
    units = jnp.eye(3 * 256, dtype=jnp.float32).reshape(-1, 3, 16, 16)
    columns = jax.vmap(likelihood.forward)(units)
    roots = np.concatenate([np.sqrt(o.ivar).ravel() for o in made])
    forward = np.concatenate([np.asarray(c, np.float64).reshape(768, -1) for c in columns], axis=1).T
    prior = np.asarray(covariance.apply(units), np.float64).reshape(768, 768)
    data = roots * np.concatenate([o.image.ravel() for o in made])
    return data, roots[:, None] * forward, (prior + prior.T) / 2


def test_wiener_is_the_closed_form(small):
    frame, covariance, made = small
    solution = wiener(made, frame, BANDS, covariance)
    data, forward, prior = dense(frame, covariance, made)
    prior = solution.variance_factor * prior
    exact = prior @ forward.T @ np.linalg.solve(np.eye(len(data)) + forward @ prior @ forward.T, data)
    difference = solution.scene.ravel() - exact
    assert np.linalg.norm(difference) < 1e-3 * np.linalg.norm(exact)
    assert solution.residual < 1e-4


def test_variance_factor_maximises_the_dense_evidence(small):
    frame, covariance, made = small
    data, forward, prior = dense(frame, covariance, made)
    values, vectors = np.linalg.eigh(forward @ prior @ forward.T)
    amplitudes = (vectors.T @ data) ** 2
    factors = np.geomspace(1, 1000, 400)
    scaled = 1 + factors[:, None] * np.maximum(values, 0)
    evidence = -0.5 * np.sum(amplitudes / scaled + np.log(scaled), axis=1)
    solution = wiener(made, frame, BANDS, covariance)
    at_solution = np.interp(solution.variance_factor, factors, evidence)
    # The determinant is estimated from one random vector: allow what that costs, a unit of log-likelihood.
    assert at_solution > evidence.max() - 1
    # The scene was drawn with a variance factor of 25.
    assert 25 / 4 < solution.variance_factor < 25 * 4


def test_default_prior_chooses_a_slope_and_explains_the_data(small):
    frame, _, made = small
    solution = wiener(made, frame, BANDS)
    assert solution.slope in (2.5, 3.0, 3.5)
    likelihood = GaussianLikelihood.build(made, frame, BANDS)
    chi2 = np.asarray(likelihood.chi2(jnp.asarray(solution.scene, jnp.float32)))
    assert np.all(chi2 < 2 * np.asarray(likelihood.n_pixels))


def test_galaxy_covariance_couples_bands_as_templates_do():
    covariance = galaxy_covariance(BANDS, 0.05)
    basis = np.asarray(covariance.basis, np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-6)
    power = np.exp(np.asarray(covariance.log_power, np.float64)[:, 0])
    moments = basis @ np.diag(power) @ basis.T
    correlation = moments / np.sqrt(np.outer(np.diag(moments), np.diag(moments)))
    assert correlation[0, 1] > 0.95  # r and VIS overlap
    assert 0.5 < correlation[0, 2] < correlation[0, 1]
    assert moments[2, 2] > moments[0, 0]  # galaxies are red
