"""Noise with an unknown common factor, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synergy.calibration import Calibrated, significant_light
from synergy.noise import Diagonal, Noise

SHAPE = (9, 8)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    ivar = rng.uniform(0.5, 2.0, SHAPE)
    ivar[2, 3] = 0.0
    light = 30.0 * np.exp(-((np.indices(SHAPE) - 4.0) ** 2).sum(axis=0) / 6.0)
    with jax.enable_x64(True):
        noise = Calibrated.build(Diagonal(jnp.asarray(ivar)), jnp.asarray(light), 0.05)
        known = np.flatnonzero(ivar.ravel() > 0)
        direction = 0.05 * light.ravel()[known]
        dense = np.diag(1 / ivar.ravel()[known]) + np.outer(direction, direction)
        yield noise, known, dense, rng


def test_inverse_root_and_determinant_equal_those_of_dense_matrices(case):
    noise, known, dense, rng = case
    assert isinstance(noise, Noise)
    assert int(noise.n_pixels) == len(known)
    vectors = rng.normal(size=(3, *SHAPE))
    flat = vectors.reshape(3, -1)[:, known]
    found = np.asarray(noise.apply_inverse(jnp.asarray(vectors)))
    np.testing.assert_allclose(found.reshape(3, -1)[:, known], flat @ np.linalg.inv(dense), atol=1e-10)
    assert np.all(found[:, 2, 3] == 0)
    white = np.asarray(noise.whiten(jnp.asarray(vectors)))
    expected = np.einsum("na,ab,nb->n", flat, np.linalg.inv(dense), flat)
    np.testing.assert_allclose(np.sum(white**2, axis=(1, 2)), expected, rtol=1e-10)
    np.testing.assert_allclose(noise.whiten_transpose(noise.whiten(jnp.asarray(vectors))), found, atol=1e-10)
    assert float(noise.log_det) == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-12)


def test_draws_have_the_covariance(case):
    noise, known, dense, _ = case
    draws = jax.vmap(noise.draw)(jax.random.split(jax.random.key(0), 20000))
    flat = np.asarray(draws).reshape(20000, -1)[:, known]
    direction = np.linalg.eigh(dense)[1][:, -1]
    assert np.var(flat @ direction) == pytest.approx(
        np.linalg.eigvalsh(dense)[-1], rel=5 * np.sqrt(2 / 20000)
    )
    assert np.var(flat[:, 0]) == pytest.approx(dense[0, 0], rel=5 * np.sqrt(2 / 20000))


def test_a_common_factor_is_forgiven_and_a_local_error_is_not(case):
    noise, _, _, _ = case
    wrong_scale = noise.direction  # one standard deviation of the calibration
    local = jnp.zeros(SHAPE, wrong_scale.dtype).at[4, 4].set(jnp.sqrt(jnp.sum(wrong_scale**2)))

    def chi2(model, residual):
        return float(jnp.sum(model.whiten(residual) ** 2))

    assert chi2(noise, wrong_scale) < 1.0 < 0.05 * chi2(noise.noise, wrong_scale)
    assert chi2(noise, local) > 0.5 * chi2(noise.noise, local)


def test_nothing_significant_changes_nothing():
    ivar = jnp.ones(SHAPE, jnp.float32)
    noise = Calibrated.build(Diagonal(ivar), jnp.zeros(SHAPE, jnp.float32), 0.1)
    residual = jax.random.normal(jax.random.key(0), SHAPE)
    np.testing.assert_array_equal(noise.whiten(residual), residual)
    assert float(noise.log_det) == 0.0


def test_significant_light_is_the_galaxy_and_not_the_noise():
    rng = np.random.default_rng(1)
    galaxy = 50.0 * np.exp(-((np.indices((64, 64)) - 31.0) ** 2).sum(axis=0) / 18.0)
    ivar = np.full((64, 64), 1.0)
    ivar[:, 5] = 0.0
    light = significant_light(galaxy + rng.normal(size=(64, 64)), ivar, 1.5)
    assert light[31, 31] == pytest.approx(gaussian_filter(galaxy, 1.5)[31, 31], rel=0.05)
    assert np.all(light[:, 5] == 0)
    far = galaxy < 1e-3
    assert np.mean(light[far] > 0) < 1e-3
    assert not significant_light(rng.normal(size=(64, 64)), ivar, 1.5)[far].any()
