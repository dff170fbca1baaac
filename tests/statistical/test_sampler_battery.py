"""What samplers may claim, on problems whose posterior is known: a Gaussian prior and a bimodal one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from samplers import SAMPLERS

from synergy.errors import InputError
from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.integrators import INTEGRATORS
from synergy.sampling.moment_matching import PriorCovariance
from synergy.sampling.reverse import sample
from synergy.sampling.split_gibbs import (
    DEFLATION,
    InnerDraw,
    Splitting,
    _noisy_copies,
    correct,
    largest_eigenvalue,
)
from synergy.sampling.tweedie import conditional_draw

DRAWS = 300


Gate = Callable[[np.ndarray], bool]


@pytest.fixture(scope="module", params=["gaussian", "mixture"])
def oracle(request) -> oracles.Oracle:
    return {"gaussian": lambda: oracles.gaussian(8), "mixture": oracles.mixture}[request.param]()


@pytest.fixture(scope="module")
def is_exact(oracle) -> Gate:
    return _gate(oracle)


def _gate(oracle: oracles.Oracle) -> Gate:
    """Whether every judgement of so many draws lies within four of its own standard errors."""
    null = oracle.null(DRAWS)

    def gate(draws: np.ndarray) -> bool:
        found = oracles.judge(oracle, draws)
        return all(abs(found[key] - mean) <= 4.0 * error + 1e-9 for key, (mean, error) in null.items())

    return gate


def _normal_matrix(oracle: oracles.Oracle) -> np.ndarray:
    size = int(np.prod(oracle.shape))
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, *oracle.shape)
    return np.asarray(jax.vmap(oracle.likelihood.normal)(unit), np.float64).reshape(size, size)


def test_gates(oracle, is_exact):
    """Other exact draws pass; errors 7 % too large or small, 15 % in variance, do not."""
    exact = [oracle.draw(seed, DRAWS) for seed in range(20)]
    assert sum(is_exact(draws) for draws in exact) >= 19
    mean = oracle.mean.reshape(oracle.shape)
    assert not any(is_exact(mean + 1.07 * (draws - mean)) for draws in exact)
    assert not any(is_exact(mean + 0.93 * (draws - mean)) for draws in exact)


def test_mixture_denoiser_is_the_posterior_mean_of_its_samples():
    """Against plain Monte Carlo: the mean of prior draws, weighted by how well they explain a noisy scene."""
    small = oracles.mixture().denoiser
    rng, sigma = np.random.default_rng(0), 3.0
    parts = [
        np.asarray(small.means[k])
        + np.asarray(small.covariances[k].draw(jax.random.key(k), (20000, *small.means.shape[1:])))
        for k in range(2)
    ]
    which = rng.random(20000) < np.exp(float(small.log_weights[0]))
    clean = np.where(which[:, None, None, None], *parts)
    noisy = clean[:1] + sigma * rng.standard_normal(clean[:1].shape)
    log_weight = -0.5 * np.sum((noisy - clean) ** 2, axis=(1, 2, 3)) / sigma**2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    expected = np.einsum("n,nbyx->byx", weight, clean)
    error = np.sqrt(np.einsum("n,nbyx->byx", weight**2, (clean - expected) ** 2))
    found = np.asarray(small(jnp.asarray(noisy, jnp.float32), jnp.float32(sigma)))[0]
    assert np.mean(np.abs(found - expected) < 3 * error) > 0.95
    assert 1.0 / np.sum(weight**2) > 200  # enough samples for that to mean something


def test_reference_is_exact():
    """Draws of the default sampler become exact by sweeps; those of DPS were not."""
    oracle = oracles.gaussian(8)
    is_exact = _gate(oracle)
    draws = SAMPLERS["default"](oracle, jax.random.key(1), DRAWS)
    splitting = Splitting.build(oracle.likelihood)
    sweeps = 40
    corrected = np.asarray(
        correct(
            oracle.denoiser,
            splitting,
            jax.random.key(3),
            jnp.asarray(draws),
            sweeps,
            InnerDraw(16),
        )
    )
    assert is_exact(corrected), oracles.judge(oracle, corrected)
    assert not is_exact(SAMPLERS["DPS"](oracle, jax.random.key(1), DRAWS))


def test_sweeps_leave_exact_draws_exact(oracle, is_exact):
    draws = jnp.asarray(oracle.draw(11, DRAWS), jnp.float32)
    splitting = Splitting.build(oracle.likelihood)
    swept = correct(oracle.denoiser, splitting, jax.random.key(4), draws, 20, InnerDraw(16))
    assert is_exact(np.asarray(swept)), oracles.judge(oracle, np.asarray(swept))


def test_default_errs_on_the_wide_side(oracle):
    found = oracles.judge(oracle, SAMPLERS["default"](oracle, jax.random.key(5), DRAWS))
    assert 0.98 < found["variance"] < 1.2
    assert 0.95 < found["fit"] < 1.05


def test_largest_eigenvalue_is_bounded_from_above(oracle):
    exact = np.linalg.eigvalsh(_normal_matrix(oracle))[-1]
    for seed in range(5):
        found = largest_eigenvalue(oracle.likelihood, seed)
        assert exact * (1 - 1e-5) < found < 1.1 * exact


def test_noisy_copies_have_the_stated_moments(oracle):
    splitting = Splitting.build(oracle.likelihood)
    rho, normal = float(splitting.rho), _normal_matrix(oracle)
    count = 10000
    scene = oracle.draw(3, 1).astype(np.float32)
    copies = _noisy_copies(splitting, jax.random.key(1), jnp.asarray(np.repeat(scene, count, axis=0)))
    copies = np.asarray(copies, np.float64).reshape(count, -1)
    mean = scene[0] + rho**2 * np.asarray(oracle.likelihood.score(jnp.asarray(scene[0])))
    covariance = rho**2 * (np.eye(len(normal)) - rho**2 * normal)
    values, vectors = np.linalg.eigh(covariance)
    assert values[0] == pytest.approx(rho**2 * (1 - DEFLATION), rel=0.05)
    axes = (copies - mean.ravel()) @ vectors / np.sqrt(values)
    assert abs(np.sum(axes.mean(axis=0) ** 2) * count - len(values)) < 4 * np.sqrt(2 * len(values))
    assert np.max(np.abs(axes.var(axis=0) - 1.0)) < 5 * np.sqrt(2 / count)


def test_data_too_sharp_for_the_prior_are_refused():
    likelihood = oracles.gaussian(8).likelihood
    with pytest.raises(InputError, match="corrector_sweeps"):
        Splitting.build(likelihood, sigma_min=1.0)


def test_conditional_draws_have_the_covariance_of_the_denoiser():
    """For a Gaussian prior and data, the errors of the denoised mean are Gaussian in closed form."""
    oracle = oracles.gaussian(8)
    denoiser = PriorCovariance(oracle.denoiser, oracle.likelihood, oracle.covariance, oracle.circulant, 20)
    sigma, count = 0.5, 2000
    noisy = jnp.repeat(jax.random.normal(jax.random.key(0), (1, *oracle.shape)), count, axis=0)
    mean, unknown = jax.jit(conditional_draw, static_argnames="steps")(
        denoiser, noisy, jnp.float32(sigma), jax.random.key(1), steps=12
    )
    exact = np.linalg.inv(np.linalg.inv(oracle.covariance_matrix) + np.eye(len(oracle.mean)) / sigma**2)
    expected = exact @ (
        np.linalg.solve(oracle.covariance_matrix, oracle.mean) + np.asarray(noisy[0]).ravel() / sigma**2
    )
    np.testing.assert_allclose(np.asarray(mean[0]).ravel(), expected, atol=2e-3)
    axes = np.linalg.solve(np.linalg.cholesky(exact), np.asarray(unknown).reshape(count, -1).T)
    assert np.mean(axes.var(axis=1)) == pytest.approx(1.0, abs=0.01)
    assert np.abs(axes.var(axis=1) - 1.0).max() < 0.15


def test_drawn_scenes_make_gaussian_posteriors_exact_in_few_steps():
    oracle = oracles.gaussian(8)
    null = oracle.null(DRAWS)
    denoiser = PriorCovariance(oracle.denoiser, oracle.likelihood, oracle.covariance, oracle.circulant, 20)
    shape, sigmas = (DRAWS, *oracle.shape), NoiseSchedule(1e-2, 40.0).grid(6)
    found = {
        name: oracles.judge(
            oracle, np.asarray(sample(denoiser, jax.random.key(7), shape, sigmas, step=INTEGRATORS[name]))
        )
        for name in ("ancestral_drawn", "sde_2m")
    }
    for key, (mean, error) in null.items():
        assert abs(found["ancestral_drawn"][key] - mean) <= 4.0 * error + 1e-9, key
    assert abs(found["sde_2m"]["variance"] - 1.0) > 0.2  # what so few steps cost otherwise


@pytest.mark.parametrize("name", [name for name in INTEGRATORS if name != "ancestral_drawn"])
def test_integrators_agree_in_the_limit_of_many_steps(name):
    """All of them draw a Gaussian prior of known variance if the steps are small."""
    oracle = oracles.gaussian(8)
    draws = np.asarray(
        sample(
            oracle.denoiser,
            jax.random.key(2),
            (DRAWS, *oracle.shape),
            NoiseSchedule(1e-2, 40.0).grid(200),
            step=INTEGRATORS[name],
        )
    )
    spectra = np.asarray(oracle.covariance.spectra(*oracle.shape[1:]))
    modes = np.einsum("bm,nbyx->nmyx", np.asarray(oracle.covariance.basis), draws)
    power = np.mean(np.abs(np.fft.rfft2(modes, norm="ortho")) ** 2, axis=0)
    # 36 independent numbers per draw and mode, near enough.
    ratio = np.mean(power / spectra, axis=(1, 2))
    lost = 0.05 if name == "ancestral" else 0.0  # its error falls as one over the number of steps
    assert ratio == pytest.approx(1.0 - lost, abs=0.035)
