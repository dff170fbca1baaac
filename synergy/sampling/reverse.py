"""Reverse diffusion by DPM-Solver++(2M)-SDE: a sampler that knows a denoiser and nothing of data.

With ``lambda = -ln sigma`` and the denoiser ``D`` taken linear in lambda over a step of length ``h`` (a
second-order multistep rule), the reverse stochastic equation of the variance-exploding diffusion is
integrated exactly:

    x' = (sigma'/sigma) e^-h x + (1 - e^-2h) [D + (D - D_before) h / (2 h_before)] + sigma' sqrt(1 - e^-2h)
    noise

(Lu et al. 2022, arXiv 2211.01095, sec. 5 and app.; Karras et al. 2022 for the grid). First-order ancestral
steps shrink the variance of what they sample, by a quarter at 32 steps; this rule errs by a few per cent,
upwards.

The last step, to sigma = 0, returns the denoised mean. A step is a pure function that is compiled once per
shape; the loop over steps is Python's, so that progress can be shown and a run interrupted.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReverseState:
    """State between two steps: noisy scenes, and the denoised scenes of the step before."""

    noisy: Float[Array, "draw band y x"]
    denoised: Float[Array, "draw band y x"]


def reverse_step(
    denoiser: Denoiser,
    state: ReverseState,
    key: Array,
    sigmas: Float[Array, " 3"],
) -> ReverseState:
    """Take one step of DPM-Solver++(2M)-SDE.

    Parameters
    ----------
    denoiser
        Prior or posterior denoiser.
    state
        State at the noise level `sigmas[1]`.
    key
        Random key of this step.
    sigmas
        The noise levels before this one (equal to it at the first step), now, and after the step.
    """
    before, now, after = sigmas
    denoised = denoiser(state.noisy, now)
    h = jnp.log(now / after)
    h_before = jnp.log(before / now)
    second_order = (h_before > 0) & (after > 0)
    ratio = jnp.where(second_order, h / jnp.where(second_order, h_before, 1.0), 0.0)
    extrapolated = denoised + 0.5 * ratio * (denoised - state.denoised)
    # At the last step h is infinite: the exponentials vanish and the step returns the denoised mean.
    decay, blend = jnp.exp(-h), -jnp.expm1(-2.0 * h)
    noise = jax.random.normal(key, state.noisy.shape, state.noisy.dtype)
    noisy = (after / now) * decay * state.noisy + blend * extrapolated + after * jnp.sqrt(blend) * noise
    return ReverseState(noisy, denoised)


_compiled_step = jax.jit(reverse_step)


def sample(
    denoiser: Denoiser,
    key: Array,
    shape: Sequence[int],
    sigmas: Float[np.ndarray, " level"],
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "draw band y x"]:
    """Draw scenes by integrating from pure noise to sigma = 0.

    Parameters
    ----------
    denoiser
        A pytree that is also a function (see `synergy.priors.denoiser`), so that nothing is compiled anew
        when only its arrays change.
    key
        Random key; draws are independent.
    shape
        ``(draw, band, y, x)``.
    sigmas
        Decreasing noise levels, the last one 0 (see `synergy.priors.schedule.NoiseSchedule.grid`).
    progress
        Called as ``progress(step, steps)`` after every step.
    """
    key_start, key_steps = jax.random.split(key)
    noisy = jnp.float32(sigmas[0]) * jax.random.normal(key_start, tuple(shape), jnp.float32)
    state = ReverseState(noisy, jnp.zeros_like(noisy))
    levels = np.concatenate([sigmas[:1], sigmas]).astype(np.float32)
    steps = len(sigmas) - 1
    for i in range(steps):
        state = _compiled_step(
            denoiser, state, jax.random.fold_in(key_steps, i), jnp.asarray(levels[i : i + 3])
        )
        if progress is not None:
            jax.block_until_ready(state.noisy)
            progress(i + 1, steps)
    return state.noisy
