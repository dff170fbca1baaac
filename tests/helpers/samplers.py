"""Every sampler by name, as a function of an oracle: adding a method is adding a row."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from oracles import Oracle

from synergy.priors.denoiser import Denoiser
from synergy.priors.schedule import NoiseSchedule
from synergy.sampling.circulant import CirculantPosterior, circulant_normal
from synergy.sampling.convolved import ConvolvedLikelihood, anneal
from synergy.sampling.dps import DPS
from synergy.sampling.integrators import INTEGRATORS, ancestral_drawn
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.sampling.pigdm import PiGDM
from synergy.sampling.reverse import sample
from synergy.sampling.smc import ladder
from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct

SCHEDULE = NoiseSchedule(1e-2, 40.0)

Sampler = Callable[[Oracle, jax.Array, int], np.ndarray]
"""``sampler(oracle, key, count) -> draws``."""


def _prior_covariance(oracle: Oracle) -> Denoiser:
    return PriorCovariance(oracle.denoiser, oracle.likelihood, oracle.covariance, oracle.circulant, 10)


def _widened(oracle: Oracle) -> Denoiser:
    """Return the denoiser with a covariance that hedges against rare sources."""
    wider = oracle.covariance.widened(100.0)
    normal = circulant_normal(oracle.likelihood)
    circulant = CirculantPosterior.diagonalise(normal, wider, oracle.shape[1:])
    return PriorCovariance(oracle.denoiser, oracle.likelihood, wider, circulant, 10)


def _tweedie(oracle: Oracle) -> Denoiser:
    return TweedieCovariance(oracle.denoiser, oracle.likelihood, 12)


def _pigdm(oracle: Oracle) -> Denoiser:
    second = np.mean(np.asarray(oracle.covariance.spectra(*oracle.shape[1:])))
    return PiGDM(oracle.denoiser, oracle.likelihood, jnp.float32(np.sqrt(second)), 12)


def _dps(oracle: Oracle) -> Denoiser:
    return DPS(oracle.denoiser, oracle.likelihood, jnp.float32(0.3))


def _convolved(oracle: Oracle) -> Denoiser:
    return ConvolvedLikelihood(oracle.denoiser, oracle.likelihood, 20)


def _reverse(make: Callable[[Oracle], Denoiser], steps: int, integrator: str = "sde_2m") -> Sampler:
    def draw(oracle: Oracle, key: jax.Array, count: int) -> np.ndarray:
        shape = (count, *oracle.shape)
        step = INTEGRATORS[integrator]
        return np.asarray(sample(make(oracle), key, shape, SCHEDULE.grid(steps), step=step))

    return draw


def _corrected(sampler: Sampler, sweeps: int, inner: InnerDraw) -> Sampler:
    def draw(oracle: Oracle, key: jax.Array, count: int) -> np.ndarray:
        keys = jax.random.split(key)
        scenes = jnp.asarray(sampler(oracle, keys[0], count))
        splitting = Splitting.build(oracle.likelihood)
        return np.asarray(correct(oracle.denoiser, splitting, keys[1], scenes, sweeps, inner))

    return draw


def _sequential(inner: InnerDraw) -> Sampler:
    """Return SMC from exact draws of the prior."""

    def draw(oracle: Oracle, key: jax.Array, count: int) -> np.ndarray:
        keys = jax.random.split(key)
        shape = (count, *oracle.shape)
        prior = sample(oracle.denoiser, keys[0], shape, SCHEDULE.grid(3), step=ancestral_drawn)
        splitting = Splitting.build(oracle.likelihood)
        return np.asarray(ladder(oracle.denoiser, oracle.proximal, splitting, keys[1], prior, inner).scenes)

    return draw


def _annealed(levels: int, langevin_steps: int) -> Sampler:
    def draw(oracle: Oracle, key: jax.Array, count: int) -> np.ndarray:
        shape = (count, *oracle.shape)
        return np.asarray(anneal(_convolved(oracle), key, shape, SCHEDULE.grid(levels), langevin_steps))

    return draw


SAMPLERS: dict[str, Sampler] = {
    "default": _reverse(_prior_covariance, 32),
    "reference": _corrected(_reverse(_prior_covariance, 32), 32, InnerDraw(8)),
    "reference, exact inner draws": _corrected(
        _reverse(_prior_covariance, 32), 32, InnerDraw(1, ancestral_drawn)
    ),
    "SMC": _sequential(InnerDraw(8)),
    "SMC, exact inner draws": _sequential(InnerDraw(1, ancestral_drawn)),
    "hedged": _reverse(_widened, 32),
    "16 steps": _reverse(_prior_covariance, 16),
    "Tweedie": _reverse(_tweedie, 32),
    "ODE": _reverse(_prior_covariance, 32, "ode_2m"),
    "Heun": _reverse(_prior_covariance, 16, "heun"),
    "ancestral": _reverse(_prior_covariance, 32, "ancestral"),
    "ancestral, Tweedie": _reverse(_prior_covariance, 32, "ancestral_tweedie"),
    "ancestral, drawn": _reverse(_prior_covariance, 16, "ancestral_drawn"),
    "PiGDM": _reverse(_pigdm, 32),
    "PiGDM, ancestral": _reverse(_pigdm, 128, "ancestral"),
    "DPS": _reverse(_dps, 256, "ancestral"),
    "convolved": _reverse(_convolved, 64),
    "annealed Langevin": _annealed(32, 20),
}
"""The samplers."""
