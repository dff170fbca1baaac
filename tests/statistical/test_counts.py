"""What draws are said to cost, against calls that are counted."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from synergy.likelihood import GaussianLikelihood
from synergy.priors.mixture import MixtureDenoiser
from synergy.sampling.convolved import ConvolvedLikelihood
from synergy.sampling.counts import Counts, of_reverse, of_sweeps
from synergy.sampling.dps import DPS
from synergy.sampling.integrators import INTEGRATORS
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.sampling.pigdm import PiGDM
from synergy.sampling.reverse import integrate
from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct

ITERATIONS, STEPS = 3, 2
SIGMAS = np.array([1.0, 0.3, 0.0])


@pytest.fixture(scope="module")
def oracle() -> oracles.Oracle:
    return oracles.gaussian(8)


@pytest.fixture
def calls(monkeypatch) -> collections.Counter:
    """Count calls while nothing is compiled, and loops are Python's."""
    found = collections.Counter()

    def counted(owner, name, **worth):
        original = getattr(owner, name)

        def call(*arguments):
            found.update(worth)
            return original(*arguments)

        monkeypatch.setattr(owner, name, call)

    counted(MixtureDenoiser, "__call__", evaluations=1)
    # The methods of a likelihood that apply operators; those not named here are made of these.
    counted(GaussianLikelihood, "score", applications=1)  # and the one of `forward`, within
    counted(GaussianLikelihood, "normal", applications=1)
    counted(GaussianLikelihood, "forward", applications=1)
    return found


def _denoisers(oracle):
    return {
        "prior": PriorCovariance(
            oracle.denoiser, oracle.likelihood, oracle.covariance, oracle.circulant, ITERATIONS
        ),
        "tweedie": TweedieCovariance(oracle.denoiser, oracle.likelihood, ITERATIONS),
        "pigdm": PiGDM(oracle.denoiser, oracle.likelihood, jnp.float32(1.0), ITERATIONS),
        "dps": DPS(oracle.denoiser, oracle.likelihood, jnp.float32(0.1)),
        "convolved": ConvolvedLikelihood(oracle.denoiser, oracle.likelihood, ITERATIONS),
    }


@pytest.mark.parametrize("integrator", ["sde_2m", "heun", "ancestral", "ode_2m"])
def test_evaluations_are_those_that_are_made(oracle, calls, integrator):
    denoiser = _denoisers(oracle)["convolved"]
    noisy = jnp.asarray(oracle.draw(0, 2), jnp.float32)
    with jax.disable_jit():
        integrate(denoiser, jax.random.key(0), noisy, SIGMAS, step=INTEGRATORS[integrator])
    assert calls["evaluations"] == of_reverse(denoiser, integrator, STEPS).evaluations


def test_applications_of_the_default_are_those_that_are_made(oracle, monkeypatch):
    """Counted where they are compiled, since linear solves are traced more often than they run."""
    found = collections.Counter()
    for name in ("score", "normal"):
        original = getattr(GaussianLikelihood, name)

        def call(*arguments, original=original):
            jax.debug.callback(lambda: found.update(applications=2))
            return original(*arguments)

        monkeypatch.setattr(GaussianLikelihood, name, call)
    denoiser, noisy = _denoisers(oracle)["prior"], jnp.asarray(oracle.draw(0, 1), jnp.float32)
    jax.clear_caches()
    integrate(denoiser, jax.random.key(0), noisy, SIGMAS)
    jax.effects_barrier()
    assert Counts(STEPS, 0, found["applications"]) == of_reverse(denoiser, "sde_2m", STEPS)


def test_sweeps_cost_what_is_said(oracle, calls):
    splitting = Splitting.build(oracle.likelihood)
    calls.clear()
    with jax.disable_jit():
        scenes = jnp.asarray(oracle.draw(0, 2), jnp.float32)
        correct(oracle.denoiser, splitting, jax.random.key(0), scenes, 2, InnerDraw(3))
    assert Counts(**calls) == of_sweeps(2, 3)


def test_costs_add_up(oracle):
    made = _denoisers(oracle)
    assert of_reverse(made["prior"], "sde_2m", 32) == Counts(32, 0, 32 * 8)
    assert of_reverse(made["tweedie"], "sde_2m", 32) == Counts(32, 32 * 4, 32 * 8)
    assert of_reverse(made["pigdm"], "ancestral", 10) == Counts(10, 10, 80)
    assert of_reverse(made["dps"], "ancestral", 10) == Counts(10, 10, 20)
    assert of_reverse(made["prior"], "ancestral_drawn", 10) == Counts(10, 0, 90)
    assert of_reverse(made["convolved"], "ancestral_tweedie", 1) == Counts(1, 6, 8 + 6 * 8)
    assert Counts(1, 2, 3) + 2 * Counts(1, 1, 1) == Counts(3, 4, 5)
