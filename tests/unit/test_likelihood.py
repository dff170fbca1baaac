"""The joint likelihood against scipy, dense matrices and automatic differentiation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from scipy.stats import multivariate_normal

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.operators import inside
from synergy.psf import PSF

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
BANDS = ("lsst.r", "lsst.i", "euclid.vis")
SCENE = Frame.tangent(CENTER, (16, 16), 0.05)
SHAPE = (3, 16, 16)


def observe(name, band, size, pixel_scale, rotation=0.0, center=CENTER, **changes):
    rng = np.random.default_rng(len(name))
    mask = np.zeros((size, size), bool)
    mask[1, 2] = True
    values = {
        "image": rng.normal(3, 1, (size, size)),
        "ivar": rng.uniform(0.5, 2, (size, size)),
        "mask": mask,
        "psf": PSF.gaussian(3 * pixel_scale, pixel_scale / 2, 15),
        "frame": Frame.tangent(center, (size, size), pixel_scale, rotation),
    }
    return Observation(name, band, **{**values, **changes})


OBSERVATIONS = (
    observe("r", "lsst.r", 4, 0.2),
    observe("i-rotated", "lsst.i", 4, 0.2, 30.0),
    observe("vis", "euclid.vis", 8, 0.1, response={"lsst.r": 0.4, "lsst.i": 0.5, "euclid.vis": 0.1}),
)
KNOWN = [(observation.ivar > 0) & inside(SCENE, observation.frame) for observation in OBSERVATIONS]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@functools.cache
def build_exact():
    return GaussianLikelihood.build(OBSERVATIONS, SCENE, BANDS, jnp.float64)


@pytest.fixture
def likelihood(x64):
    return build_exact()


def draw_scene(seed=0, batch=(), dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(1, 1, (*batch, *SHAPE)).astype(dtype))


def dense(likelihood):
    """Rows: the pixels of all images; columns: the scene."""
    basis = jnp.eye(np.prod(SHAPE), dtype=jnp.float64).reshape(-1, *SHAPE)
    images = jax.jit(jax.vmap(GaussianLikelihood.forward, (None, 0)))(likelihood, basis)
    return np.concatenate([np.asarray(image).reshape(len(basis), -1).T for image in images])


def flat(images):
    return np.concatenate([np.ravel(image) for image in images])


def test_against_dense_matrices(likelihood):
    A = dense(likelihood)
    ivar = flat([noise.ivar for noise in likelihood.noises])
    y = flat(likelihood.images)
    scene = draw_scene()
    x = np.ravel(scene)
    every = jax.jit(
        lambda lk, x: (
            lk.forward(x),
            lk.residuals(x),
            lk.adjoint(lk.images),
            lk.data_adjoint(),
        )
    )
    forward, residuals, adjoint, data_adjoint = every(likelihood, scene)
    np.testing.assert_allclose(flat(forward), A @ x, rtol=1e-10)
    np.testing.assert_allclose(flat(residuals), y - A @ x, atol=1e-10)
    np.testing.assert_allclose(np.ravel(adjoint), A.T @ y, atol=1e-10)
    np.testing.assert_allclose(np.ravel(data_adjoint), A.T @ (ivar * y), atol=1e-10)
    score, normal = jax.jit(lambda lk, x: (lk.score(x), lk.normal(x)))(likelihood, scene)
    np.testing.assert_allclose(np.ravel(score), A.T @ (ivar * (y - A @ x)), atol=1e-10)
    np.testing.assert_allclose(np.ravel(normal), A.T @ (ivar * (A @ x)), atol=1e-10)


def test_log_prob_is_that_of_scipy(likelihood):
    scene = draw_scene(1)
    expected = 0.0
    images, log_prob = jax.jit(lambda lk, x: (lk.forward(x), lk.log_prob(x)))(likelihood, scene)
    for observation, known, mean in zip(OBSERVATIONS, KNOWN, images, strict=True):
        covariance = np.diag(1 / observation.ivar[known])
        expected += multivariate_normal.logpdf(observation.image[known], np.asarray(mean)[known], covariance)
    assert float(log_prob) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(likelihood.n_pixels, [known.sum() for known in KNOWN])


def test_score_is_the_gradient_of_log_prob(likelihood):
    scene = draw_scene(2)
    both = jax.jit(lambda lk, x: (lk.score(x), jax.grad(lk.log_prob)(x)))
    score, gradient = both(likelihood, scene)
    np.testing.assert_allclose(score, gradient, atol=1e-10 * np.abs(gradient).max())


def test_chi2_is_the_sum_of_squared_whitened_residuals(likelihood):
    scene = draw_scene(3)
    expected = [np.sum(np.asarray(white) ** 2) for white in likelihood.whitened(scene)]
    np.testing.assert_allclose(likelihood.chi2(scene), expected, rtol=1e-12)
    for white, known in zip(likelihood.whitened(scene), KNOWN, strict=True):
        np.testing.assert_array_equal(np.asarray(white)[~known], 0)


def test_chi2_of_the_truth_counts_pixels(likelihood):
    """Noise drawn by the noise model: chi2 is that many squared normal deviates, within 4 standard errors."""
    truth = draw_scene(4)
    clean = likelihood.forward(truth)

    def chi2(key):
        keys = jax.random.split(key, len(clean))
        noisy = tuple(
            image + noise.draw(k) for image, noise, k in zip(clean, likelihood.noises, keys, strict=True)
        )
        return GaussianLikelihood(likelihood.operators, noisy, likelihood.noises).chi2(truth)

    n = 500
    values = np.asarray(jax.jit(jax.vmap(chi2))(jax.random.split(jax.random.key(0), n)))
    dof = np.array([known.sum() for known in KNOWN])
    assert np.all(np.abs(values.mean(axis=0) - dof) < 4 * np.sqrt(2 * dof / n))


def test_rescaled(likelihood):
    scale = jnp.array([2.0, 0.5, 10.0])
    rescaled, scene = likelihood.rescaled(scale), draw_scene(5)
    both = jax.jit(lambda lk, x: (lk.log_prob(x), lk.score(x)))
    log_prob, score = both(rescaled, scene / scale[:, None, None])
    expected, gradient = both(likelihood, scene)
    assert float(log_prob) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(score, scale[:, None, None] * gradient, rtol=1e-9, atol=1e-9)


def test_float32_and_batches():
    likelihood = GaussianLikelihood.build(OBSERVATIONS, SCENE, BANDS)
    scenes = draw_scene(6, (5,), np.float32)
    batched = jax.jit(jax.vmap(likelihood.score))(scenes)
    assert batched.dtype == jnp.float32
    with jax.enable_x64(True):
        expected = jax.lax.map(build_exact().score, scenes.astype(jnp.float64))  # one by one
    np.testing.assert_allclose(batched, expected, atol=1e-5 * np.abs(expected).max())


def test_nothing_is_compiled_again_when_only_data_change():
    traces = []

    @jax.jit
    def score(likelihood, scene):
        traces.append(1)
        return likelihood.score(scene)

    scene = draw_scene(7, dtype=np.float32)
    for seed in range(3):
        changed = [
            Observation(
                o.name, o.band, o.image + seed, o.ivar * (1 + seed), o.mask, o.psf, o.frame, o.response
            )
            for o in OBSERVATIONS
        ]
        score(GaussianLikelihood.build(changed, SCENE, BANDS), scene)
    assert len(traces) == 1


def test_pixels_outside_the_scene_have_no_weight():
    wide = observe("wide", "lsst.r", 10, 0.2)  # 2 arcsec of sky, the scene has 0.8
    likelihood = GaussianLikelihood.build([wide], SCENE, BANDS)
    weighted = np.asarray(likelihood.noises[0].ivar) > 0
    expected = np.zeros((10, 10), bool)
    expected[3:7, 3:7] = True  # centres at +-0.1 and +-0.3 arcsec
    np.testing.assert_array_equal(weighted, expected & (wide.ivar > 0))


def test_refusals():
    elsewhere = observe("elsewhere", "lsst.r", 8, 0.1, center=SkyCoord(151 * u.deg, 2 * u.deg))
    beside = observe("beside", "lsst.r", 8, 0.1, center=CENTER.directional_offset_by(0 * u.deg, 1 * u.arcsec))
    mask = np.ones((10, 10), bool)
    mask[0, 0] = False
    corner = observe("corner", "lsst.r", 10, 0.2, mask=mask)
    unknown = observe("unknown", "hsc.g", 8, 0.1)
    for observation, found in (
        (elsewhere, "different parts of the sky"),
        (beside, "outside the scene"),
        (corner, "no pixel with information inside"),
        (unknown, r"hsc\.g"),
    ):
        with pytest.raises(InputError, match=found) as error:
            GaussianLikelihood.build([OBSERVATIONS[0], observation], SCENE, BANDS)
        assert error.value.source == observation.name
    with pytest.raises(InputError, match="unique names"):
        GaussianLikelihood.build([OBSERVATIONS[0]] * 2, SCENE, BANDS)
    with pytest.raises(InputError, match="no observation"):
        GaussianLikelihood.build([], SCENE, BANDS)
    with pytest.raises(InputError, match="float64"):
        GaussianLikelihood.build(OBSERVATIONS, SCENE, BANDS, jnp.float64)
