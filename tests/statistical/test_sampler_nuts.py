"""Samplers against NUTS, where the prior is skewed and has heavy tails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samplers import SAMPLERS
from skewed import FALL, RISE, Skewed, SkewedDenoiser, draw_prior, judge

from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct

DRAWS, SWEEPS = 200, 72


@pytest.fixture(scope="module")
def problem() -> Skewed:
    return Skewed.pose()


def is_exact(found: dict[str, float]) -> bool:
    """Whether a judgement of so many draws is within some four of its own standard errors."""
    return (
        abs(found["mean"]) < 4.0
        and abs(found["variance"] - 1.0) < 0.06
        and all(abs(found[side] - 0.05) < 0.006 for side in ("below", "above"))
    )


@pytest.mark.parametrize("sigma", [0.03, 0.5, 3.0, 20.0])
def test_denoiser_is_the_mean_of_what_explains_a_noisy_pixel(sigma):
    """Against numerical integration in float64."""
    noisy = np.array([-4.0, -0.7, 0.0, 0.2, 1.5, 30.0]) * max(sigma, 0.3)
    x = np.sinh(np.linspace(-15.0, 15.0, 400_001)) * 1e-3
    weight = np.gradient(x) * np.exp(np.where(x > 0, -x / FALL, x / RISE))
    seen = -0.5 * ((noisy[:, None] - x) / sigma) ** 2
    density = weight * np.exp(seen - seen.max(axis=1, keepdims=True))
    expected = (density @ x) / density.sum(axis=1)
    denoiser = SkewedDenoiser(jnp.float32(FALL), jnp.float32(RISE))
    found = denoiser(jnp.asarray(noisy, jnp.float32).reshape(1, 1, 1, -1), jnp.float32(sigma))
    np.testing.assert_allclose(np.ravel(found), expected, rtol=2e-3, atol=2e-3 * sigma)


def test_posterior_is_skewed(problem):
    pixels = draw_prior(1, 2000).ravel()
    assert np.mean(((pixels - pixels.mean()) / pixels.std()) ** 3) > 1.5
    drawn = problem.nuts.reshape(-1, problem.nuts.shape[-1])
    assert np.mean(((drawn - drawn.mean(axis=0)) / drawn.std(axis=0)) ** 3) > 1.0


def test_other_draws_of_nuts_pass(problem):
    thin = problem.nuts[:, ::10].reshape(-1, problem.nuts.shape[-1])
    for seed in range(4):
        chosen = np.random.default_rng(seed).choice(len(thin), DRAWS, replace=False)
        assert is_exact(judge(problem, thin[chosen]))


def test_sweeps_take_the_default_sampler_to_the_posterior(problem):
    """Moment matching alone is off in the mean and wide; sweeps of the exact corrector are not."""
    drawn = SAMPLERS["default"](problem, jax.random.key(1), DRAWS)
    found = judge(problem, drawn)
    assert not is_exact(found)
    assert 1.0 < found["variance"] < 1.25
    splitting = Splitting.build(problem.likelihood)
    swept = correct(
        problem.denoiser, splitting, jax.random.key(10), jnp.asarray(drawn), SWEEPS, InnerDraw(16)
    )
    found = judge(problem, np.asarray(swept))
    assert is_exact(found), found
