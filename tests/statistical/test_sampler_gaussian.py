"""The sampler against the closed-form posterior of an exact Gaussian prior.

Two instruments of different resolution, uneven noise and masked pixels observe a 16 x 16 scene in two
bands (`oracles.gaussian`). Every check passes on exact draws of the same number (null gate) and fails
on draws whose errors are 30 % too large (power gate).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Oracle, gaussian

from synergy.priors.gaussian import GaussianDenoiser
from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.circulant import wiener_mean
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.sampling.reverse import sample
from synergy.sampling.support import support_map

SIDE, DRAWS = 16, 400


@pytest.fixture(scope="module")
def problem() -> Oracle:
    return gaussian(SIDE)


def _in_standard_errors(problem: Oracle, draws: np.ndarray) -> dict[str, float]:
    """Compare draws with the exact posterior; every entry is of order one if, and only if, they are exact."""
    flat = draws.reshape(len(draws), -1).astype(np.float64)
    sd = np.sqrt(np.diag(problem.covariance_matrix))
    mean = (flat.mean(axis=0) - problem.mean) / (sd / np.sqrt(len(flat)))
    spread = (flat.std(axis=0, ddof=1) / sd - 1.0) * np.sqrt(2.0 * (len(flat) - 1))
    # Pixels are correlated; in the posterior's own axes the errors of the mean are independent.
    axes = np.linalg.solve(np.linalg.cholesky(problem.covariance_matrix), flat.mean(axis=0) - problem.mean)
    chi2 = len(flat) * np.sum(axes**2)
    return {
        "pixels with a mean beyond 3": np.mean(np.abs(mean) > 3.0),
        "pixels with a spread beyond 3": np.mean(np.abs(spread) > 3.0),
        "chi2 of the mean": (chi2 - len(axes)) / np.sqrt(2.0 * len(axes)),
    }


def _is_exact(problem: Oracle, draws: np.ndarray) -> bool:
    errors = _in_standard_errors(problem, draws)
    return (
        errors["pixels with a mean beyond 3"] <= 0.02
        and errors["pixels with a spread beyond 3"] <= 0.02
        and abs(errors["chi2 of the mean"]) <= 3.0
    )


def _exact_draws(problem: Oracle, seed: int) -> np.ndarray:
    return problem.draw(seed, DRAWS).reshape(DRAWS, -1)


def test_gates(problem):
    passed = [_is_exact(problem, _exact_draws(problem, seed)) for seed in range(40)]
    assert sum(passed) >= 38  # null gate: three-sigma checks
    inflated = [problem.mean + 1.3 * (_exact_draws(problem, seed) - problem.mean) for seed in range(5)]
    shifted = [
        _exact_draws(problem, seed) + 0.3 * np.sqrt(np.diag(problem.covariance_matrix)) for seed in range(5)
    ]
    assert not any(_is_exact(problem, draws) for draws in inflated + shifted)  # power gate


@pytest.mark.parametrize("kind", ["prior", "tweedie"])
def test_draws_follow_the_closed_form_posterior(problem, kind):
    prior = GaussianDenoiser(problem.covariance)
    if kind == "prior":
        denoiser = PriorCovariance(prior, problem.likelihood, problem.covariance, problem.circulant, 10)
    else:
        denoiser = TweedieCovariance(prior, problem.likelihood, 12)
    sigmas = NoiseSchedule(1e-2, 40.0).grid(64)
    draws = np.asarray(sample(denoiser, jax.random.key(1), (DRAWS, 2, SIDE, SIDE), sigmas))
    errors = _in_standard_errors(problem, draws)
    assert _is_exact(problem, draws), errors


def test_default_steps_keep_the_posterior_variance(problem):
    """At 32 steps the integrator may err by a few per cent, on the wide side."""
    denoiser = PriorCovariance(
        GaussianDenoiser(problem.covariance), problem.likelihood, problem.covariance, problem.circulant, 10
    )
    sigmas = NoiseSchedule(1e-2, 40.0).grid(32)
    draws = np.asarray(sample(denoiser, jax.random.key(2), (DRAWS, 2, SIDE, SIDE), sigmas)).reshape(DRAWS, -1)
    ratio = np.trace(np.cov(draws.T)) / np.trace(problem.covariance_matrix)
    assert 0.98 < ratio < 1.12


def test_wiener_mean_is_the_closed_form(problem):
    images = tuple(image[None] for image in problem.likelihood.images)
    sd = np.sqrt(np.diag(problem.covariance_matrix))
    error = [
        np.max(
            np.abs(
                np.asarray(
                    wiener_mean(problem.likelihood, problem.covariance, problem.circulant, images, n)
                ).ravel()
                - problem.mean
            )
            / sd
        )
        for n in (4, 20)
    ]
    assert error[1] < 2e-3
    assert error[1] < 0.1 * error[0]


def test_support_is_the_removed_fraction_of_the_variance(problem):
    support = support_map(
        problem.likelihood,
        problem.covariance,
        problem.circulant,
        jax.random.key(3),
        (2, SIDE, SIDE),
        probes=128,
    )
    size = len(problem.mean)
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, *problem.shape)
    prior = np.asarray(problem.covariance.apply(unit)).reshape(size, size)
    exact = 1.0 - np.diag(problem.covariance_matrix) / np.diag(prior)
    assert support.mean(axis=(1, 2)) == pytest.approx(exact.reshape(2, -1).mean(axis=1), abs=0.03)
