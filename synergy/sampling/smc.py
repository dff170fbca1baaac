"""Sequential Monte Carlo over a ladder of noisier data sets: many modes, their masses, and the evidence.

The targets ``p(x) N(y; A x, N + rho^2 A A^T)`` lead from the prior (rho -> infinity) to the posterior
(rho = 0). Each is known up to its constant without the prior's density:

* *weights* between two of them are ratios of Gaussian likelihoods (`synergy.sampling.proximal`);
* *moves* that leave one invariant are sweeps of plain split Gibbs: a draw of ``z | x, y``, then of the scene
  behind z, by the reverse diffusion of the prior from rho.

The next rho is as small as a conditional effective sample size allows (Zhou et al. 2016); particles are
resampled, systematically, when the effective sample size falls below half their number (Del Moral et al.
2006). At the end the sweeps are those with deflated noise (`synergy.sampling.split_gibbs`), which leave the
posterior itself invariant. The mean weights multiply to the evidence ``p(y)`` of the data under the prior;
what rho does to the constants of the Gaussians cancels.

Masses of modes and the evidence have errors of one over the square root of the number of particles, times a
factor that grows with the length of the ladder: particles descend from fewer and fewer ancestors.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from synergy.priors.denoiser import Denoiser
from synergy.sampling.proximal import Proximal
from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct

CONDITIONAL = 0.9
"""Share of the particles that a step of the ladder keeps effective."""

RESAMPLE = 0.5
"""Resample below this share of effective particles."""


@dataclasses.dataclass(frozen=True, eq=False)
class Particles:
    """What the ladder led to.

    Parameters
    ----------
    scenes
        Particles of equal weight, not independent of each other, ``(particle, band, y, x)``.
    log_evidence
        Natural logarithm of the density of the data under the prior.
    levels
        The ladder, from the first rho to 0.
    effective
        Share of effective particles at each level, before it was decided whether to resample.
    ancestors
        For each particle, which prior draw it descends from.
    """

    scenes: Float[Array, "particle band y x"]
    log_evidence: float
    levels: tuple[float, ...]
    effective: tuple[float, ...]
    ancestors: Int[np.ndarray, " particle"]


def ladder(
    denoiser: Denoiser,
    proximal: Proximal,
    splitting: Splitting,
    key: Array,
    scenes: Float[Array, "particle band y x"],
    inner: InnerDraw | None = None,
    final_sweeps: int = 8,
    progress: Callable[[int, float, float], None] | None = None,
) -> Particles:
    """Take draws of the prior down the ladder.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    proximal
        Likelihood, with what solves for scenes between scenes and data.
    splitting
        Deflated splitting of the same likelihood.
    key
        Random key.
    scenes
        Draws of the prior (see `synergy.sampling.reverse.sample`).
    inner
        How the scene behind a copy is drawn. What it gets wrong stays: a variance too large by a few per cent
        moves the evidence by tenths.
    final_sweeps
        Sweeps at the foot of the ladder.
    progress
        Called as ``progress(level, rho, effective)`` after each level, `effective` a share of the particles.
    """
    inner = inner or InnerDraw()
    key_levels, key_final = jax.random.split(key)
    count = len(scenes)
    ancestors = np.arange(count)
    logs = np.full(count, -math.log(count))
    log_evidence, levels, effective = 0.0, [], []
    # From far beyond the size of any scene: noise of that level hides the data from all of them alike.
    rho, misfit = 10.0 * float(jnp.max(jnp.abs(scenes))), np.zeros(count)
    while rho > 0.0:
        key_level = jax.random.fold_in(key_levels, len(levels))
        key_draw, key_sweep, key_resample = jax.random.split(key_level, 3)
        rho, misfit_next = _next_level(proximal, scenes, logs, misfit, rho, float(splitting.rho))
        logs = logs - 0.5 * (misfit_next - misfit)
        total = float(np.logaddexp.reduce(logs))
        log_evidence, logs = log_evidence + total, logs - total
        share = 1.0 / (np.sum(np.exp(2.0 * logs)) * count)
        levels.append(rho)
        effective.append(float(share))
        if share < RESAMPLE or rho == 0.0:
            chosen = systematic(np.exp(logs), float(jax.random.uniform(key_resample)))
            scenes, ancestors = scenes[chosen], ancestors[chosen]
            logs = np.full(count, -math.log(count))
        if rho > 0.0:
            copies = _draw(proximal, scenes, jnp.float32(rho), key_draw)
            scenes = inner(denoiser, splitting, rho, copies, key_sweep)
            misfit = _misfit(proximal, scenes, rho)
        if progress is not None:
            progress(len(levels), rho, float(share))
    scenes = correct(denoiser, splitting, key_final, scenes, final_sweeps, inner)
    constant = sum(
        float(noise.log_det) + int(noise.n_pixels) * math.log(2.0 * math.pi)
        for noise in proximal.likelihood.noises
    )
    return Particles(scenes, log_evidence - 0.5 * constant, tuple(levels), tuple(effective), ancestors)


def systematic(weights: Float[np.ndarray, " particle"], offset: float) -> Int[np.ndarray, " particle"]:
    """Return indices, each as often as its weight says, to within one.

    Parameters
    ----------
    weights
        Weights that add up to one.
    offset
        Uniform random number between 0 and 1.
    """
    count = len(weights)
    edges = np.cumsum(weights)
    return np.minimum(np.searchsorted(edges / edges[-1], (np.arange(count) + offset) / count), count - 1)


def _next_level(
    proximal: Proximal,
    scenes: Array,
    logs: Float[np.ndarray, " particle"],
    misfit: Float[np.ndarray, " particle"],
    rho: float,
    smallest: float,
) -> tuple[float, Float[np.ndarray, " particle"]]:
    """Return the next rho, by bisection of its logarithm, and the misfits there.

    Below the noise level of the deflated splitting a rung is as good as the foot, so that the ladder ends at
    half of it, at the latest.
    """
    weights = np.exp(logs)

    def kept(candidate: Float[np.ndarray, " particle"]) -> float:
        ratio = np.exp(-0.5 * (candidate - misfit - (candidate - misfit).min()))
        return float(np.sum(weights * ratio) ** 2 / np.sum(weights * ratio**2))

    foot = _misfit(proximal, scenes, 0.0)
    if rho <= 0.5 * smallest or kept(foot) >= CONDITIONAL:
        return 0.0, foot
    low, high = math.log(0.25 * smallest), math.log(rho)
    for _ in range(8):
        middle = 0.5 * (low + high)
        if kept(_misfit(proximal, scenes, math.exp(middle))) >= CONDITIONAL:
            high = middle
        else:
            low = middle
    rho = math.exp(0.5 * (low + high))  # never where it was
    return rho, _misfit(proximal, scenes, rho)


def _misfit(proximal: Proximal, scenes: Array, rho: float) -> Float[np.ndarray, " particle"]:
    found = _chi2(proximal, scenes) if rho == 0.0 else _between(proximal, scenes, jnp.float32(rho))
    return np.asarray(found, np.float64)


@jax.jit
def _chi2(proximal: Proximal, scenes: Array) -> Array:
    return jnp.sum(jax.vmap(proximal.likelihood.chi2)(scenes), axis=1)


@jax.jit
def _between(proximal: Proximal, scenes: Array, rho: Array) -> Array:
    return proximal.misfit(scenes, rho)


@jax.jit
def _draw(proximal: Proximal, scenes: Array, rho: Array, key: Array) -> Array:
    return proximal.draw(scenes, rho, key)
