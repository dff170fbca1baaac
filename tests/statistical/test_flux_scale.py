"""The flux scale beside the scene, against a posterior that is known by quadrature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy.stats import kstest

from synergy.priors.scaled import ScaledDenoiser
from synergy.sampling.flux_scale import correct_with_scale, draw_scale
from synergy.sampling.integrators import ancestral_drawn
from synergy.sampling.split_gibbs import InnerDraw, Splitting

DRAWS, WIDTH = 400, 0.7


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Posterior of the scale on a grid, and of the mean pixel given each scale."""

    scale: np.ndarray
    mass: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@pytest.fixture(scope="module")
def problem() -> tuple[oracles.Oracle, Quadrature]:
    """Return a problem whose scene is twice as bright as the prior's, and its posterior."""
    oracle = oracles.gaussian(8)
    brighter = tuple(2.0 * image for image in oracle.likelihood.images)
    oracle = dataclasses.replace(oracle, likelihood=dataclasses.replace(oracle.likelihood, images=brighter))
    size = oracle.means.shape[1]
    unit = jnp.eye(size, dtype=jnp.float32).reshape(size, *oracle.shape)
    matrix, variance_of_noise, data = oracles.dense(oracle.likelihood)
    noise = np.diag(variance_of_noise)
    prior = np.asarray(oracle.covariance.apply(unit), np.float64).reshape(size, size)
    scale = np.exp(np.linspace(-3.0, 3.0, 400))
    functional = np.full(size, 1.0 / size)
    rows = []
    for a in scale:
        across = a**2 * prior @ matrix.T
        marginal = matrix @ across + noise
        _, log_det = np.linalg.slogdet(marginal)
        solved = np.linalg.solve(marginal, np.column_stack([data, across.T @ functional]))
        variance = a**2 * functional @ prior @ functional - functional @ across @ solved[:, 1]
        rows.append((-0.5 * (data @ solved[:, 0] + log_det), functional @ across @ solved[:, 0], variance))
    logarithm, mean, variance = np.array(rows).T
    logarithm = logarithm - 0.5 * (np.log(scale) / WIDTH) ** 2
    mass = np.exp(logarithm - logarithm.max())
    return oracle, Quadrature(scale, mass / mass.sum(), mean, np.sqrt(variance))


def test_scale_and_scene_have_the_joint_posterior(problem):
    oracle, exact = problem
    drawing = InnerDraw(1, ancestral_drawn)
    start = jnp.asarray(oracle.draw(0, DRAWS), jnp.float32)
    scenes, scale = correct_with_scale(
        oracle.denoiser, Splitting.build(oracle.likelihood), jax.random.key(1), start, 150, drawing, WIDTH
    )  # fmt: skip
    mean = exact.mass @ np.log(exact.scale)
    deviation = np.sqrt(exact.mass @ (np.log(exact.scale) - mean) ** 2)
    assert abs(mean) > 5 * deviation / np.sqrt(DRAWS)  # the estimate, a = 1, is not the answer
    found = np.log(np.asarray(scale))
    assert found.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(DRAWS))
    assert found.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * DRAWS))
    pixel_mean = exact.mass @ exact.mean
    pixel_deviation = np.sqrt(exact.mass @ (exact.deviation**2 + (exact.mean - pixel_mean) ** 2))
    pixel = np.asarray(scenes).mean(axis=(1, 2, 3))
    assert pixel.mean() == pytest.approx(pixel_mean, abs=4 * pixel_deviation / np.sqrt(DRAWS))
    assert pixel.std() == pytest.approx(pixel_deviation, rel=4 / np.sqrt(2 * DRAWS))


@pytest.mark.parametrize("brightness", [1e-4, 1.0, 300.0])
def test_scales_follow_their_conditional(problem, brightness):
    """From no signal, where the prior is drawn, to errors of a tenth of a per cent."""
    oracle, _ = problem
    unit = jnp.abs(jnp.asarray(oracle.draw(3, 1)[0], jnp.float32)) * brightness
    images = tuple(
        1.3 * image + noise.draw(jax.random.key(i))
        for i, (image, noise) in enumerate(
            zip(oracle.likelihood.forward(unit), oracle.likelihood.noises, strict=True)
        )
    )
    likelihood = dataclasses.replace(oracle.likelihood, images=images)
    count = 2000
    found = np.asarray(
        draw_scale(likelihood, jax.random.key(4), jnp.repeat(unit[None], count, axis=0), jnp.float32(WIDTH))
    )
    precision = float(jnp.sum(unit * likelihood.normal(unit)))
    best = float(jnp.sum(unit * likelihood.data_adjoint())) / precision
    reach = min(6.0 * WIDTH, 9.0 / np.sqrt(precision) / max(best, 0.1))
    middle = 0.0 if reach == 6.0 * WIDTH else np.log(best)
    log_a = middle + np.linspace(-reach, reach, 40001)
    logarithm = -0.5 * precision * (np.exp(log_a) - best) ** 2 - 0.5 * (log_a / WIDTH) ** 2
    cumulative = np.cumsum(np.exp(logarithm - logarithm.max()))
    cumulative /= cumulative[-1]
    assert kstest(np.log(found), lambda v: np.interp(v, log_a, cumulative)).pvalue > 1e-3


def test_scaled_denoisers_change_units_only(problem):
    oracle, _ = problem
    noisy = jnp.asarray(oracle.draw(5, 3), jnp.float32)
    scale = jnp.array([0.5, 1.0, 4.0], jnp.float32)
    found = ScaledDenoiser(oracle.denoiser, scale)(noisy, jnp.float32(0.4))
    for i, a in enumerate(scale):
        expected = a * oracle.denoiser(noisy[i : i + 1] / a, 0.4 / a)[0]
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)
