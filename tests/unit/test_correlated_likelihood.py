"""Correlated noise through the likelihood and all that solves with it, against dense float64 matrices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.stats import multivariate_normal

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.operators import inside
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.gaussian import GaussianDenoiser
from synergy.psf import PSF
from synergy.response import respond
from synergy.sampling.circulant import CirculantPosterior, circulant_normal, wiener_mean
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.stationary import torus_power

SIDE = 16
CENTER = SkyCoord(150.0, 2.0, unit="deg")
FRAME = Frame.tangent(CENTER, (SIDE, SIDE), 0.05)
LAGS = np.arange(-3, 4)
CORRELATION = np.exp(-(LAGS[:, None] ** 2) / 4 - LAGS**2 / 6)


def observe(name, side, pixel_scale, fwhm, seed, correlated=True):
    rng = np.random.default_rng(seed)
    shape = (side, side)
    rms, extra = rng.uniform(0.7, 1.4, shape), np.where(rng.uniform(size=shape) < 0.3, 2.0, 0.0)
    return Observation(
        name,
        "lsst.r",
        rng.normal(size=shape),
        1 / (rms**2 + extra),
        rng.uniform(size=shape) < 0.08,
        PSF.gaussian(fwhm, 0.05, 41),
        Frame.tangent(CENTER, shape, pixel_scale),
        correlation=CORRELATION if correlated else None,
        independent=extra if correlated else None,
    )


# The second image reaches beyond the scene: pixels without weight among correlated ones.
OBSERVATIONS = (
    observe("sharp", 8, 0.1, 0.18, 1),
    observe("wide", 6, 0.2, 0.5, 2),
    observe("white", 4, 0.2, 0.6, 3, correlated=False),
)
KNOWN = [~o.mask & inside(FRAME, o.frame) for o in OBSERVATIONS]


def dense_noise(observation, known):
    if observation.correlation is None:
        return np.diag(1 / observation.ivar[known])
    power, period = torus_power(observation.correlation, known.shape)
    torus, pixels = np.fft.irfft2(power, period), np.argwhere(known)
    lag = (pixels[:, None] - pixels[None]) % np.array(period)
    rms = np.sqrt(1 / observation.ivar[known] - observation.independent[known])
    return np.outer(rms, rms) * torus[lag[..., 0], lag[..., 1]] + np.diag(observation.independent[known])


@pytest.fixture(scope="module")
def problem():
    frequency = np.geomspace(0.01, 0.7, 12)
    leaves = (np.eye(1), np.log(frequency), np.log(40.0 / (1 + (frequency / 0.05) ** 2) ** 1.5)[None])
    covariance = SpectralCovariance(*(jnp.asarray(leaf, jnp.float32) for leaf in leaves))
    likelihood = GaussianLikelihood.build(OBSERVATIONS, FRAME, ("lsst.r",))
    unit = jnp.eye(SIDE**2, dtype=jnp.float32).reshape(-1, 1, SIDE, SIDE)
    images = jax.jit(jax.vmap(likelihood.forward))(unit)
    A = [np.asarray(i, np.float64)[:, known].T for i, known in zip(images, KNOWN, strict=True)]
    weights = [np.linalg.inv(dense_noise(o, known)) for o, known in zip(OBSERVATIONS, KNOWN, strict=True)]
    y = [o.image[known] for o, known in zip(OBSERVATIONS, KNOWN, strict=True)]
    normal = sum(a.T @ w @ a for a, w in zip(A, weights, strict=True))
    data = sum(a.T @ w @ v for a, w, v in zip(A, weights, y, strict=True))
    prior = np.asarray(covariance.apply(unit), np.float64).reshape(SIDE**2, -1)
    circulant = CirculantPosterior.diagonalise(circulant_normal(likelihood), covariance, (SIDE, SIDE))
    return likelihood, covariance, circulant, A, normal, data, np.linalg.inv((prior + prior.T) / 2)


def test_log_density_score_and_normal_operator(problem):
    likelihood, _, _, A, normal, data, _ = problem
    scene = jnp.asarray(np.random.default_rng(5).normal(size=(1, SIDE, SIDE)).astype(np.float32))
    x = np.ravel(scene).astype(np.float64)
    run = jax.jit(
        lambda lk, s: (lk.log_prob(s), lk.score(s), lk.normal(s), lk.data_adjoint(), lk.whitened(s))
    )
    log_prob, score, applied, adjoint, whitened = run(likelihood, scene)
    expected = sum(
        multivariate_normal.logpdf(o.image[known], a @ x, dense_noise(o, known))
        for o, known, a in zip(OBSERVATIONS, KNOWN, A, strict=True)
    )
    assert float(log_prob) == pytest.approx(expected, rel=1e-3)
    for made, exact in ((score, data - normal @ x), (applied, normal @ x), (adjoint, data)):
        np.testing.assert_allclose(np.ravel(made), exact, atol=2e-3 * np.abs(exact).max())
    for white, known in zip(whitened, KNOWN, strict=True):
        np.testing.assert_array_equal(np.asarray(white)[~known], 0)
    np.testing.assert_array_equal(likelihood.n_pixels, [known.sum() for known in KNOWN])


def test_posterior_means(problem):
    likelihood, covariance, circulant, _, normal, data, precision = problem
    images = tuple(image[None] for image in likelihood.images)
    posterior = np.linalg.inv(precision + normal)
    sd = np.sqrt(np.diag(posterior))
    made = wiener_mean(likelihood, covariance, circulant, images, 30)
    assert np.max(np.abs(np.ravel(made) - posterior @ data) / sd) < 0.02
    sigma = 2.0
    noisy = 3 * np.random.default_rng(6).normal(size=(2, 1, SIDE, SIDE)).astype(np.float32)
    posterior = np.linalg.inv(precision + normal + np.eye(SIDE**2) / sigma**2)
    exact = (data + noisy.reshape(2, -1) / sigma**2) @ posterior
    sd = np.sqrt(np.diag(posterior))
    prior = GaussianDenoiser(covariance)
    for denoiser in (
        PriorCovariance(prior, likelihood, covariance, circulant, 20),
        TweedieCovariance(prior, likelihood, 20),
    ):
        made = jax.jit(lambda d, x: d(x, jnp.float32(sigma)))(denoiser, jnp.asarray(noisy))
        assert np.max(np.abs(np.reshape(made, (2, -1)) - exact) / sd) < 0.02


def test_errors_of_the_model_are_independent_noise():
    given = dataclasses.replace(OBSERVATIONS[0], response_error=0.1)
    made = respond([given], ("lsst.r",))[0]
    good = ~given.mask
    added = 0.01 * given.image[good] ** 2
    np.testing.assert_allclose(1 / made.ivar[good], 1 / given.ivar[good] + added)
    np.testing.assert_allclose(made.independent[good], given.independent[good] + added)
    white = respond([dataclasses.replace(OBSERVATIONS[2], response_error=0.1)], ("lsst.r",))[0]
    assert white.independent is None


def test_depth_counts_averages_not_pixels():
    correlated, white = (
        OBSERVATIONS[1],
        dataclasses.replace(OBSERVATIONS[1], correlation=None, independent=None),
    )
    assert white.depth > 2 * correlated.depth
    assert white.snr >= correlated.snr


def test_refusals():
    good = OBSERVATIONS[0]
    for changes in (
        {"independent": 2 / np.where(good.mask, 1, good.ivar)},
        {"independent": -np.ones((8, 8))},
        {"independent": np.zeros((3, 3))},
        {"correlation": None},
    ):
        with pytest.raises(InputError, match="independent variances"):
            dataclasses.replace(good, **changes)
    with pytest.raises(InputError, match="zero separation") as error:
        dataclasses.replace(good, correlation=2 * CORRELATION)
    assert error.value.source == "sharp"
