"""Moment matching with stated variances.

Where they say all: a prior that is independent in the basis. Where they do not: rare sources.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from synergy.likelihood import GaussianLikelihood
from synergy.priors.basis import analyse, synthesise
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.integrators import INTEGRATORS
from synergy.sampling.learned_variance import LearnedVariance
from synergy.sampling.reverse import sample
from synergy.sampling.split_gibbs import largest_eigenvalue

PATCH, SIDE, DRAWS = 4, 8, 300


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IndependentDenoiser:
    """Exact denoiser of ``x ~ N(0, B diag(variance) B^T)``."""

    modes: jax.Array
    variance: jax.Array

    def __call__(self, noisy, sigma):
        """Return the mean."""
        return self.with_variance(noisy, sigma)[0]

    def with_variance(self, noisy, sigma):
        """Return the mean, and the variances of its error."""
        share = self.variance / (self.variance + sigma**2)
        mean = synthesise(share * analyse(noisy, self.modes, PATCH), self.modes, PATCH)
        return mean, jnp.broadcast_to(share * sigma**2, noisy.shape)


@pytest.fixture(scope="module")
def likelihood() -> GaussianLikelihood:
    return oracles.gaussian(SIDE).likelihood


@pytest.fixture(scope="module")
def denoiser() -> IndependentDenoiser:
    """Bright in the middle, faint around it, and fainter in fine detail than in blocks."""
    y, x = np.indices((SIDE, SIDE))
    where = np.exp(-np.hypot(y - 3.5, x - 3.5))
    coarse = np.where((y % PATCH == 0) & (x % PATCH == 0), 4.0, 1.0)
    variance = where * coarse * np.array([4.0, 1.0])[:, None, None]
    modes = np.array([[0.8, -0.6], [0.6, 0.8]])
    return IndependentDenoiser(jnp.asarray(modes, jnp.float32), jnp.asarray(variance, jnp.float32))


def _closed_form(
    denoiser: IndependentDenoiser, likelihood: GaussianLikelihood, noisy: np.ndarray, precision: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the clean scene given data and, of that precision, a noisy scene."""
    size = 2 * SIDE**2
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, 2, SIDE, SIDE)
    basis = np.asarray(synthesise(unit, denoiser.modes, PATCH), np.float64).reshape(size, size)
    prior = basis.T @ np.diag(1.0 / np.asarray(denoiser.variance, np.float64).ravel()) @ basis
    normal = np.asarray(jax.vmap(likelihood.normal)(unit), np.float64).reshape(size, size)
    covariance = np.linalg.inv(prior + normal + precision * np.eye(size))
    right = np.asarray(likelihood.data_adjoint(), np.float64).ravel() + precision * noisy.ravel()
    return covariance @ right, covariance


def _variances(draws: jax.Array, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the draws' variance along axes where it should be one, having checked their mean."""
    flat = np.asarray(draws, np.float64).reshape(len(draws), -1)
    axes = np.linalg.solve(np.linalg.cholesky(covariance), (flat - mean).T)
    assert abs(len(flat) * np.sum(axes.mean(axis=1) ** 2) - len(axes)) < 4 * np.sqrt(2 * len(axes))
    return axes.var(axis=1)


def _check(
    posterior: LearnedVariance, noisy: jax.Array, sigma: float, mean: np.ndarray, covariance: np.ndarray
) -> None:
    """Check mean and draws of a posterior denoiser against those of the Gaussian that it should assume."""
    count = 1000
    found = np.asarray(posterior(noisy, jnp.float32(sigma))).ravel()
    assert np.max(np.abs(found - mean) / np.sqrt(np.diag(covariance))) < 5e-3
    draws = posterior.draw(jnp.repeat(noisy, count, axis=0), jnp.float32(sigma), jax.random.key(1))
    assert np.abs(_variances(draws, mean, covariance) - 1.0).max() < 5 * np.sqrt(2 / count)


def test_mean_and_draws_are_the_closed_form(denoiser, likelihood):
    sigma = 0.7
    noisy = jax.random.normal(jax.random.key(0), (1, 2, SIDE, SIDE))
    posterior = LearnedVariance(denoiser, likelihood, denoiser.modes, PATCH, 30)
    mean, covariance = _closed_form(denoiser, likelihood, np.asarray(noisy, np.float64), sigma**-2)
    _check(posterior, noisy, sigma, mean, covariance)


@pytest.mark.parametrize(
    ("integrator", "steps", "low", "high"), [("ancestral_drawn", 8, 0.97, 1.03), ("sde_2m", 32, 0.98, 1.12)]
)
def test_posterior_draws(denoiser, likelihood, integrator, steps, low, high):
    posterior = LearnedVariance(denoiser, likelihood, denoiser.modes, PATCH, 20)
    shape, sigmas = (DRAWS, 2, SIDE, SIDE), NoiseSchedule(1e-2, 40.0).grid(steps)
    draws = sample(posterior, jax.random.key(2), shape, sigmas, step=INTEGRATORS[integrator])
    mean, covariance = _closed_form(denoiser, likelihood, np.zeros(shape[1:]), 0.0)
    assert low < np.mean(_variances(draws, mean, covariance)) < high


def test_hedged_mean_and_draws_are_the_closed_form(denoiser, likelihood):
    sigma = 0.7
    hedge = SpectralCovariance(
        jnp.eye(2), jnp.log(jnp.array([0.1, 0.5])), jnp.log(jnp.array([[4.0, 0.5], [1.0, 0.2]]))
    )
    posterior = LearnedVariance(denoiser, likelihood, denoiser.modes, PATCH, 40, hedge)
    noisy = jax.random.normal(jax.random.key(0), (1, 2, SIDE, SIDE))
    size = 2 * SIDE**2
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, 2, SIDE, SIDE)
    mean, variance = denoiser.with_variance(noisy, jnp.float32(sigma))
    basis = np.asarray(synthesise(unit, denoiser.modes, PATCH), np.float64).reshape(size, size)
    spectral = hedge.apply(unit, lambda p: sigma**2 * p / (p + sigma**2))
    open_ = basis.T @ np.diag(np.asarray(variance, np.float64).ravel()) @ basis
    open_ += np.asarray(spectral, np.float64).reshape(size, size)
    normal = np.asarray(jax.vmap(likelihood.normal)(unit), np.float64).reshape(size, size)
    covariance = np.linalg.inv(np.linalg.inv(open_) + normal)
    score = np.asarray(likelihood.score(mean[0]), np.float64).ravel()
    expected = np.asarray(mean, np.float64).ravel() + covariance @ score
    _check(posterior, noisy, sigma, expected, covariance)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RareSource:
    """Exact denoiser, and exact variances, of faint noise around nothing or one of some sources."""

    modes: jax.Array
    means: jax.Array
    log_weights: jax.Array
    width: float = dataclasses.field(metadata={"static": True})

    def __call__(self, noisy, sigma):
        """Return the mean."""
        return self.with_variance(noisy, sigma)[0]

    def with_variance(self, noisy, sigma):
        """Return the mean, and the variances of its error."""
        total = self.width**2 + sigma**2
        offset = noisy[None] - self.means[:, None]
        logarithm = self.log_weights[:, None] - 0.5 * jnp.sum(offset**2, axis=(2, 3, 4)) / total
        shares = jax.nn.softmax(logarithm, axis=0)
        clean = self.means[:, None] + self.width**2 / total * offset
        mean = jnp.einsum("kn,knbyx->nbyx", shares, clean)
        spread = jax.vmap(lambda c: analyse(c - mean, self.modes, PATCH) ** 2)(clean)
        within = self.width**2 * sigma**2 / total
        return mean, within + jnp.einsum("kn,knbyx->nbyx", shares, spread)


def test_rare_source_that_data_show_is_found_only_with_a_hedge():
    side, weight, significance = 16, 1e-3, 12.0
    likelihood = oracles.gaussian(side).likelihood
    y, x = np.indices((side, side))
    blobs = np.stack(
        [np.exp(-((y - i) ** 2 + (x - j) ** 2) / 4.5) for i in (3, 6, 9, 12) for j in (3, 6, 9, 12)]
    )
    sources = jnp.asarray(np.stack([blobs, 1.5 * blobs], axis=1), jnp.float32)
    power = float(jnp.sum(sources[5] * likelihood.normal(sources[5])))
    sources *= significance / np.sqrt(power)
    prior = RareSource(
        jnp.array([[0.8, -0.6], [0.6, 0.8]]),
        jnp.concatenate([jnp.zeros_like(sources[:1]), sources]),
        jnp.log(jnp.array([1.0 - 16 * weight] + [weight] * 16)),
        0.1 / float(np.sqrt(largest_eigenvalue(likelihood))),
    )
    # What is expected of data that show the source; beside them, an empty sky is e^-72 times as probable.
    data = dataclasses.replace(likelihood, images=likelihood.forward(sources[5]))
    stationary = SpectralCovariance.fit(np.asarray(sources, np.float64)).widened(16 * weight)
    sigmas = NoiseSchedule(0.05 * prior.width, 40.0 * float(jnp.max(sources))).grid(32)

    def recovered(hedge: SpectralCovariance | None) -> float:
        posterior = LearnedVariance(prior, data, prior.modes, PATCH, 20, hedge)
        mean = jnp.mean(sample(posterior, jax.random.key(1), (64, 2, side, side), sigmas), axis=0)
        return float(jnp.sum(mean * sources[5]) / jnp.sum(sources[5] ** 2))

    assert recovered(None) < 0.2
    assert recovered(stationary.widened(100.0)) > 0.7
