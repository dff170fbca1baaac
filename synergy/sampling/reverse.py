"""Reverse diffusion: from noise to scenes, with a denoiser and nothing of data.

How a step is taken is a choice (`synergy.sampling.integrators`). A step is a pure function that is compiled
once per shape; the loop over steps is Python's, so that progress can be shown and a run interrupted.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser
from synergy.sampling.integrators import ReverseState, Step, sde_2m

_compiled = jax.jit(lambda step, *state: step(*state), static_argnums=0)


def sample(
    denoiser: Denoiser,
    key: Array,
    shape: Sequence[int],
    sigmas: Float[np.ndarray, " level"],
    progress: Callable[[int, int], None] | None = None,
    step: Step = sde_2m,
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
    step
        How to step (see `synergy.sampling.integrators`).
    """
    key_start, key_steps = jax.random.split(key)
    noisy = jnp.float32(sigmas[0]) * jax.random.normal(key_start, tuple(shape), jnp.float32)
    return integrate(denoiser, key_steps, noisy, sigmas, progress, step)


def integrate(
    denoiser: Denoiser,
    key: Array,
    noisy: Float[Array, "draw band y x"],
    sigmas: Float[np.ndarray, " level"],
    progress: Callable[[int, int], None] | None = None,
    step: Step = sde_2m,
) -> Float[Array, "draw band y x"]:
    """Draw the clean scenes behind noisy ones of level ``sigmas[0]``.

    Parameters
    ----------
    denoiser, key, sigmas, progress, step
        As for `sample`.
    noisy
        Noisy scenes.
    """
    state = ReverseState(noisy, jnp.zeros_like(noisy))
    levels = np.concatenate([sigmas[:1], sigmas]).astype(np.float32)
    steps = len(sigmas) - 1
    for i in range(steps):
        state = _compiled(step, denoiser, state, jax.random.fold_in(key, i), jnp.asarray(levels[i : i + 3]))
        if progress is not None:
            jax.block_until_ready(state.noisy)
            progress(i + 1, steps)
    return state.noisy
