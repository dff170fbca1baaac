"""The sampler against the closed-form posterior of an exact Gaussian prior.

Two instruments of different resolution, uneven noise and masked pixels observe a 16 x 16 scene in two
bands. Prior, data and operators are turned into dense float64 matrices, so posterior mean and covariance
are known exactly. Every check passes on exact draws of the same number (null gate) and fails on draws whose
errors are 30 % too large (power gate).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.gaussian import GaussianDenoiser
from synergy.priors.schedule import NoiseSchedule
from synergy.psf import PSF
from synergy.sampling.circulant import CirculantPosterior, circulant_normal, wiener_mean
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.sampling.reverse import sample
from synergy.sampling.support import support_map

SIDE, DRAWS = 16, 400


@dataclasses.dataclass(frozen=True)
class Problem:
    """A linear Gaussian problem and its exact answer."""

    covariance: SpectralCovariance
    likelihood: GaussianLikelihood
    circulant: CirculantPosterior
    prior_matrix: np.ndarray
    mean: np.ndarray
    posterior_matrix: np.ndarray


def _observation(name: str, band: str, side: int, pixel_scale: float, fwhm: float, seed: int) -> Observation:
    frame = Frame.tangent(SkyCoord(150.0, 2.0, unit="deg"), (side, side), pixel_scale)
    rng = np.random.default_rng(seed)
    ivar = rng.uniform(0.3, 1.5, (side, side))
    return Observation(
        name,
        band,
        np.zeros((side, side)),
        ivar,
        rng.random((side, side)) < 0.05,
        PSF.gaussian(fwhm, 0.05, 41),
        frame,
    )


@pytest.fixture(scope="module")
def problem() -> Problem:
    frequency = np.geomspace(0.01, 0.7, 12)
    power = [a / (1 + (frequency / k) ** 2) ** 1.5 for a, k in ((40.0, 0.05), (4.0, 0.08))]
    basis = np.array([[0.8, -0.6], [0.6, 0.8]])
    covariance = SpectralCovariance(
        *(jnp.asarray(a, jnp.float32) for a in (basis, np.log(frequency), np.log(power)))
    )
    frame = Frame.tangent(SkyCoord(150.0, 2.0, unit="deg"), (SIDE, SIDE), 0.05)
    observations = [
        _observation("sharp", "a", 8, 0.1, 0.18, 1),
        _observation("blurred b", "b", 4, 0.2, 0.6, 2),
        _observation("blurred a", "a", 3, 0.2, 0.6, 3),
    ]
    likelihood = GaussianLikelihood.build(observations, frame, ("a", "b"))
    truth = covariance.draw(jax.random.key(9), (2, SIDE, SIDE))
    images = tuple(
        image + noise.draw(jax.random.key(i))
        for i, (image, noise) in enumerate(zip(likelihood.forward(truth), likelihood.noises, strict=True))
    )
    likelihood = dataclasses.replace(likelihood, images=images)
    size = truth.size
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, 2, SIDE, SIDE)
    prior = np.asarray(covariance.apply(unit), np.float64).reshape(size, size)
    prior = 0.5 * (prior + prior.T)
    columns = [
        np.asarray(image, np.float64).reshape(size, -1) for image in jax.vmap(likelihood.forward)(unit)
    ]
    matrix = np.concatenate(columns, axis=1).T
    ivar = np.concatenate([np.asarray(noise.ivar, np.float64).ravel() for noise in likelihood.noises])
    data = np.concatenate([np.asarray(image, np.float64).ravel() for image in images])
    posterior = np.linalg.inv(np.linalg.inv(prior) + matrix.T @ (ivar[:, None] * matrix))
    circulant = CirculantPosterior.diagonalise(circulant_normal(likelihood), covariance, (SIDE, SIDE))
    return Problem(
        covariance, likelihood, circulant, prior, posterior @ (matrix.T @ (ivar * data)), posterior
    )


def _in_standard_errors(problem: Problem, draws: np.ndarray) -> dict[str, float]:
    """Compare draws with the exact posterior; every entry is of order one if, and only if, they are exact."""
    flat = draws.reshape(len(draws), -1).astype(np.float64)
    sd = np.sqrt(np.diag(problem.posterior_matrix))
    mean = (flat.mean(axis=0) - problem.mean) / (sd / np.sqrt(len(flat)))
    spread = (flat.std(axis=0, ddof=1) / sd - 1.0) * np.sqrt(2.0 * (len(flat) - 1))
    # Pixels are correlated; in the posterior's own axes the errors of the mean are independent.
    axes = np.linalg.solve(np.linalg.cholesky(problem.posterior_matrix), flat.mean(axis=0) - problem.mean)
    chi2 = len(flat) * np.sum(axes**2)
    return {
        "pixels with a mean beyond 3": np.mean(np.abs(mean) > 3.0),
        "pixels with a spread beyond 3": np.mean(np.abs(spread) > 3.0),
        "chi2 of the mean": (chi2 - len(axes)) / np.sqrt(2.0 * len(axes)),
    }


def _is_exact(problem: Problem, draws: np.ndarray) -> bool:
    errors = _in_standard_errors(problem, draws)
    return (
        errors["pixels with a mean beyond 3"] <= 0.02
        and errors["pixels with a spread beyond 3"] <= 0.02
        and abs(errors["chi2 of the mean"]) <= 3.0
    )


def _exact_draws(problem: Problem, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((DRAWS, len(problem.mean)))
    return problem.mean + noise @ np.linalg.cholesky(problem.posterior_matrix).T


def test_gates(problem):
    passed = [_is_exact(problem, _exact_draws(problem, seed)) for seed in range(40)]
    assert sum(passed) >= 38  # null gate: three-sigma checks
    inflated = [problem.mean + 1.3 * (_exact_draws(problem, seed) - problem.mean) for seed in range(5)]
    shifted = [
        _exact_draws(problem, seed) + 0.3 * np.sqrt(np.diag(problem.posterior_matrix)) for seed in range(5)
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
    ratio = np.trace(np.cov(draws.T)) / np.trace(problem.posterior_matrix)
    assert 0.98 < ratio < 1.12


def test_wiener_mean_is_the_closed_form(problem):
    images = tuple(image[None] for image in problem.likelihood.images)
    sd = np.sqrt(np.diag(problem.posterior_matrix))
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
    exact = 1.0 - np.diag(problem.posterior_matrix) / np.diag(problem.prior_matrix)
    assert support.mean(axis=(1, 2)) == pytest.approx(exact.reshape(2, -1).mean(axis=1), abs=0.03)
