"""Sequential Monte Carlo and the most probable scene on problems whose posterior is known."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.circulant import wiener_mean
from synergy.sampling.integrators import ancestral_drawn
from synergy.sampling.map import most_probable
from synergy.sampling.proximal import Proximal
from synergy.sampling.reverse import sample
from synergy.sampling.smc import ladder, systematic
from synergy.sampling.split_gibbs import InnerDraw, Splitting

PARTICLES = 512


@pytest.fixture(scope="module", params=["gaussian", "mixture"])
def oracle(request) -> oracles.Oracle:
    return {"gaussian": lambda: oracles.gaussian(8), "mixture": oracles.mixture}[request.param]()


@pytest.mark.parametrize("rho", [0.01, 0.5, 5.0])
def test_misfit_and_draws_between_are_those_of_dense_matrices(oracle, rho):
    matrix, variance, data = oracles.dense(oracle.likelihood)
    scenes = jnp.asarray(oracle.draw(1, 3), jnp.float32)
    flat = np.asarray(scenes, np.float64).reshape(3, -1)
    residual = data - flat @ matrix.T
    marginal = np.diag(variance) + rho**2 * matrix @ matrix.T
    expected = np.einsum("ni,in->n", residual, np.linalg.solve(marginal, residual.T))
    found = np.asarray(jax.jit(Proximal.misfit)(oracle.proximal, scenes, jnp.float32(rho)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)

    count = 4000
    precision = matrix.T @ (matrix / variance[:, None]) + np.eye(flat.shape[1]) / rho**2
    mean = flat[0] + np.linalg.solve(precision, matrix.T @ (residual[0] / variance))
    drawn = jax.jit(Proximal.draw)(
        oracle.proximal, jnp.repeat(scenes[:1], count, axis=0), jnp.float32(rho), jax.random.key(2)
    )
    axes = (np.asarray(drawn, np.float64).reshape(count, -1) - mean) @ np.linalg.cholesky(precision)
    assert np.max(np.abs(axes.mean(axis=0))) < 5 / np.sqrt(count)
    assert np.max(np.abs(axes.var(axis=0) - 1.0)) < 5 * np.sqrt(2 / count)


def test_the_ladder_finds_modes_and_evidence(oracle):
    """With exact inner draws what is left is chance: of so many particles, tenths in the evidence."""
    _check_ladder(oracle)


def test_the_ladder_finds_the_members_of_a_finite_sample():
    _check_ladder(oracles.catalogue())


def _check_ladder(oracle: oracles.Oracle) -> None:
    exactly = InnerDraw(1, ancestral_drawn)
    start = sample(
        oracle.denoiser, jax.random.key(1), (PARTICLES, *oracle.shape), NoiseSchedule(1e-2, 40.0).grid(3),
        step=ancestral_drawn,
    )  # fmt: skip
    found = ladder(
        oracle.denoiser,
        oracle.proximal,
        Splitting.build(oracle.likelihood),
        jax.random.key(2),
        start,
        exactly,
        8,
    )
    assert found.log_evidence == pytest.approx(oracle.log_evidence, abs=0.4)
    assert found.levels[-1] == 0.0
    assert np.all(np.diff(found.levels) < 0)
    assert len(set(found.ancestors.tolist())) > PARTICLES / 5
    judgement = oracles.judge(oracle, np.asarray(found.scenes))
    # Particles share ancestors: errors are those of a fourth as many independent draws, or fewer.
    assert abs(judgement["mean"]) < 8
    assert judgement["variance"] == pytest.approx(1.0, abs=0.06)
    assert judgement["coverage"] == pytest.approx(0.9, abs=0.06)
    assert judgement["fit"] == pytest.approx(1.0, abs=0.03)
    assert judgement["modes"] < 0.09
    if len(oracle.means) > 1:
        assert oracles.judge(oracle, np.asarray(start))["modes"] > 0.2


def test_resampling_takes_each_particle_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights = rng.dirichlet(np.full(30, 0.3))
        counts = np.bincount(systematic(weights, rng.random()), minlength=30)
        assert counts.sum() == 30
        assert np.all(np.abs(counts - 30 * weights) < 1.0 + 1e-9)


def test_the_most_probable_scene_is_the_mode(oracle):
    images = tuple(image[None] for image in oracle.likelihood.images)
    wiener = wiener_mean(oracle.likelihood, oracle.covariance, oracle.circulant, images, 40)
    sigmas = np.geomspace(5.0, 0.1, 24)
    found = most_probable(oracle.denoiser, oracle.proximal, jnp.zeros_like(wiener), sigmas, repeats=4)
    peak = oracle.log_densities(oracle.means.reshape(-1, *oracle.shape)).max()
    assert oracle.log_densities(np.asarray(found)).max() > peak - 0.1
    if len(oracle.means) == 1:
        assert float(jnp.sum((found - wiener) ** 2) / jnp.sum(wiener**2)) < 2e-3
