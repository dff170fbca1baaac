"""Diagonal noise against dense linear algebra and the statistics of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.noise import Diagonal

IVAR = np.array([[4.0, 0.25, 0.0], [1.0, 0.0, 9.0]], np.float32)
NOISE = Diagonal(jnp.asarray(IVAR))


def test_against_dense_matrices():
    known = IVAR.ravel() > 0
    covariance = np.diag(1 / IVAR.ravel()[known])
    residual = np.random.default_rng(0).normal(size=IVAR.shape).astype(np.float32)
    r = residual.ravel()[known]
    assert float(NOISE.log_det) == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-6)
    assert int(NOISE.n_pixels) == 4
    white = np.asarray(NOISE.whiten(jnp.asarray(residual)))
    assert np.sum(white**2) == pytest.approx(r @ np.linalg.solve(covariance, r), rel=1e-5)
    solved = np.asarray(NOISE.apply_inverse(jnp.asarray(residual)))
    np.testing.assert_allclose(solved.ravel()[known], np.linalg.solve(covariance, r), rtol=1e-6)
    np.testing.assert_array_equal(white.ravel()[~known], 0)
    np.testing.assert_array_equal(solved.ravel()[~known], 0)


def test_draws_have_the_variance_they_should():
    n = 4000
    draws = np.asarray(jax.vmap(NOISE.draw)(jax.random.split(jax.random.key(0), n)))
    known = IVAR > 0
    np.testing.assert_array_equal(draws[:, ~known], 0)
    chi2 = IVAR[known] * draws[:, known] ** 2
    deviation = (chi2.mean(axis=0) - 1) / np.sqrt(2 / n)
    assert np.abs(deviation).max() < 4
    assert np.abs(np.sqrt(IVAR[known]) * draws[:, known].mean(axis=0)).max() < 4 / np.sqrt(n)


def test_gradient_is_finite_at_masked_pixels():
    gradient = jax.grad(lambda ivar: Diagonal(ivar).log_det)(jnp.asarray(IVAR))
    np.testing.assert_allclose(gradient, np.where(IVAR > 0, -1 / np.where(IVAR > 0, IVAR, 1), 0), rtol=1e-6)
