"""Log-densities by the probability flow against the closed forms of Gaussian priors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy.stats import multivariate_normal

from synergy.priors.covariance import SpectralCovariance
from synergy.priors.gaussian import GaussianDenoiser
from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.probability_flow import flow_log_density

SCHEDULE = NoiseSchedule(sigma_min=0.02, sigma_max=40.0)
TOLERANCE = 2e-4
"""Largest error of a log-density per dimension, in nats."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseDenoiser:
    """Denoiser of a Gaussian prior with any covariance: ``m + C (C + sigma^2)^-1 (x - m)``."""

    mean: Array
    vectors: Array
    variances: Array

    def __call__(self, noisy, sigma):
        """Return the mean of the clean scenes."""
        flat = noisy.reshape(len(noisy), -1) - self.mean
        gain = self.variances / (self.variances + sigma**2)
        return (self.mean + ((flat @ self.vectors) * gain) @ self.vectors.T).reshape(noisy.shape)


def stationary() -> GaussianDenoiser:
    frequency = np.geomspace(0.01, 0.7, 12)
    power = np.stack([4.0 / (1 + (frequency / 0.05) ** 2), 0.3 / (1 + (frequency / 0.1) ** 2)])
    basis = np.array([[0.8, -0.6], [0.6, 0.8]])
    return GaussianDenoiser(
        SpectralCovariance(*(jnp.asarray(a, jnp.float32) for a in (basis, np.log(frequency), np.log(power))))
    )


def dense(size: int) -> tuple[DenseDenoiser, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(size, size)) * np.geomspace(3.0, 0.01, size)
    covariance, mean = root @ root.T, rng.normal(size=size)
    variances, vectors = np.linalg.eigh(covariance)
    arrays = (jnp.asarray(a, jnp.float32) for a in (mean, vectors, np.maximum(variances, 0.0)))
    return DenseDenoiser(*arrays), mean, covariance


def dense_matrix(denoiser: GaussianDenoiser, shape: tuple[int, int, int], function=lambda p: p) -> np.ndarray:
    size = int(np.prod(shape))
    columns = denoiser.covariance.apply(jnp.eye(size, dtype=jnp.float32).reshape(size, *shape), function)
    return np.asarray(columns, np.float64).reshape(size, size)


@pytest.mark.parametrize("shape", [(2, 6, 8), (2, 5, 7)])
def test_stationary_log_density_equals_the_dense_one(shape):
    denoiser, sigma = stationary(), 0.3
    covariance = dense_matrix(denoiser, shape) + sigma**2 * np.eye(int(np.prod(shape)))
    scenes = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    expected = multivariate_normal(cov=covariance).logpdf(scenes.reshape(3, -1))
    found = denoiser.log_density(jnp.asarray(scenes), jnp.float32(sigma))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_exact_trace_gives_the_density_of_a_stationary_prior():
    denoiser, shape = stationary(), (2, 6, 8)
    size = int(np.prod(shape))
    covariance = dense_matrix(denoiser, shape) + SCHEDULE.sigma_min**2 * np.eye(size)
    rng = np.random.default_rng(1)
    scenes = rng.multivariate_normal(np.zeros(size), covariance, 4)
    scenes[3] *= 3.0  # one that the prior does not expect
    expected = multivariate_normal(cov=covariance).logpdf(scenes)
    found = flow_log_density(
        denoiser,
        jnp.asarray(scenes.reshape(4, *shape), jnp.float32),
        SCHEDULE.grid(48)[-2::-1],
        denoiser.log_density,
    )
    assert np.abs(found.log_density - expected).max() < TOLERANCE * size
    assert np.all(found.standard_error == 0)
    assert np.ptp(expected) > 1000 * TOLERANCE * size  # what is told apart is larger than the tolerance


def test_exact_trace_gives_the_density_of_a_full_covariance_with_a_mean():
    shape = (2, 4, 5)
    size = int(np.prod(shape))
    denoiser, mean, covariance = dense(size)
    low = covariance + SCHEDULE.sigma_min**2 * np.eye(size)
    high = covariance + SCHEDULE.sigma_max**2 * np.eye(size)
    scenes = np.random.default_rng(2).multivariate_normal(mean, low, 3)
    found = flow_log_density(
        denoiser,
        jnp.asarray(scenes.reshape(3, *shape), jnp.float32),
        SCHEDULE.grid(64)[-2::-1],
        lambda x, _: jnp.asarray(
            multivariate_normal(mean, high).logpdf(np.asarray(x, np.float64).reshape(3, -1)), jnp.float32
        ),
    )
    expected = multivariate_normal(mean, low).logpdf(scenes)
    assert np.abs(found.log_density - expected).max() < TOLERANCE * size


def test_random_probes_scatter_about_the_exact_density_by_their_standard_error():
    denoiser, shape, count, probes = stationary(), (2, 8, 8), 40, 8
    scenes = denoiser.covariance.draw(jax.random.key(0), (count, *shape))
    scenes += SCHEDULE.sigma_min * jax.random.normal(jax.random.key(1), scenes.shape)
    expected = np.asarray(denoiser.log_density(scenes, jnp.float32(SCHEDULE.sigma_min)))
    found = flow_log_density(
        denoiser, scenes, SCHEDULE.grid(24)[-2::-1], denoiser.log_density, jax.random.key(2), probes
    )
    pull = (found.log_density - expected) / found.standard_error
    # Student's t of 7 degrees of freedom has a standard deviation of 1.18.
    assert abs(pull.mean()) < 4 * 1.18 / np.sqrt(count)
    assert 0.7 < pull.std() < 1.9
    # A probe's variance is twice the sum of squared off-diagonal elements (Hutchinson 1990) of the integral.
    low, high = SCHEDULE.sigma_min**2, SCHEDULE.sigma_max**2
    integral = dense_matrix(denoiser, shape, lambda p: 0.5 * jnp.log((p + high) / (p + low)))
    variance = 2.0 * np.sum((integral - np.diag(np.diag(integral))) ** 2) / probes
    assert np.mean(found.standard_error**2) == pytest.approx(variance, rel=0.3)


def test_path_ends_as_white_noise_of_the_largest_level():
    """Each mode of a Gaussian grows by sqrt((p + sigma_max^2) / (p + sigma_min^2))."""
    denoiser, shape = stationary(), (1, 2, 8, 8)
    low, high = SCHEDULE.sigma_min, SCHEDULE.sigma_max
    scenes = denoiser.covariance.draw(jax.random.key(4), shape)
    found = flow_log_density(
        denoiser, scenes, SCHEDULE.grid(48)[-2::-1], denoiser.log_density, jax.random.key(0), probes=2
    )
    expected = denoiser.covariance.apply(scenes, lambda p: jnp.sqrt((p + high**2) / (p + low**2)))
    np.testing.assert_allclose(found.end, expected, atol=2e-3 * high)


def test_levels_must_ascend_and_probes_have_a_scatter():
    denoiser, scenes = stationary(), jnp.zeros((1, 2, 8, 8), jnp.float32)
    with pytest.raises(ValueError, match="ascend"):
        flow_log_density(denoiser, scenes, np.array([1.0, 0.1]), denoiser.log_density)
    with pytest.raises(ValueError, match="two probes"):
        flow_log_density(
            denoiser, scenes, np.array([0.1, 1.0]), denoiser.log_density, jax.random.key(0), probes=1
        )
