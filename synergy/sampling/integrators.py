"""Steps of the reverse diffusion: how a noisy scene is taken from one noise level to the next.

Every step knows a denoiser ``D`` and nothing of data. With ``h = ln(sigma/sigma')`` and VE noise:

`sde_2m`
    DPM-Solver++(2M)-SDE (Lu et al. 2022, arXiv 2211.01095, sec. 5): the reverse stochastic equation,
    integrated exactly for a denoiser that is linear in ``ln sigma`` over the step. The default: it errs by a
    few per cent of the variance, upwards,

        x' = e^-2h x + (1 - e^-2h) [D + (D - D_before) h / (2 h_before)] + sigma' sqrt(1 - e^-2h) noise.
`ode_2m`
    DPM-Solver++(2M), the same rule for the probability-flow equation: no noise is added, so whatever a
    posterior denoiser gets wrong at large sigma is kept.
`heun`
    Heun's rule for the same equation (Karras et al. 2022, alg. 1); two evaluations of the denoiser.
`ancestral`
    First-order ancestral steps (Ho et al. 2020; Song et al. 2021), which replace the unknown scene by its
    mean. That loses variance, a quarter of it at 32 steps.
`ancestral_tweedie`
    The same with what the mean leaves open put back: ``x | x_t`` is taken as Gaussian with Tweedie's
    covariance ``V = sigma^2 dD/dx_t``, of which ``(1 - sigma'^2/sigma^2)^2`` enters the step
    (`synergy.sampling.tweedie`).
`ancestral_drawn`
    The same with a draw from the Gaussian that the posterior denoiser itself assumes, where it offers one
    (`synergy.sampling.moment_matching.PriorCovariance.draw`): no derivative of the network, and exact in any
    number of steps where the prior is Gaussian.

The last step, to sigma = 0, returns the denoised mean; that of `ancestral_drawn` a draw.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser, DrawingDenoiser
from synergy.sampling.tweedie import conditional_draw


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReverseState:
    """State between two steps: noisy scenes, and the denoised scenes of the step before."""

    noisy: Float[Array, "draw band y x"]
    denoised: Float[Array, "draw band y x"]


Step = Callable[[Denoiser, ReverseState, Array, Float[Array, " 3"]], ReverseState]
"""``step(denoiser, state, key, sigmas)``: the state at ``sigmas[1]`` is taken to ``sigmas[2]``; ``sigmas[0]``
is the level before (equal to ``sigmas[1]`` at the first step)."""


def sde_2m(denoiser: Denoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]) -> ReverseState:
    """Take one step of DPM-Solver++(2M)-SDE."""
    _, now, after = sigmas
    denoised = denoiser(state.noisy, now)
    decay = after / now
    blend = 1.0 - decay**2
    noise = jax.random.normal(key, state.noisy.shape, state.noisy.dtype)
    noisy = (
        decay**2 * state.noisy
        + blend * _extrapolated(denoised, state.denoised, sigmas)
        + after * jnp.sqrt(blend) * noise
    )
    return ReverseState(noisy, denoised)


def ode_2m(denoiser: Denoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]) -> ReverseState:
    """Take one step of DPM-Solver++(2M)."""
    _, now, after = sigmas
    denoised = denoiser(state.noisy, now)
    decay = after / now
    noisy = decay * state.noisy + (1.0 - decay) * _extrapolated(denoised, state.denoised, sigmas)
    return ReverseState(noisy, denoised)


def heun(denoiser: Denoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]) -> ReverseState:
    """Take one step of Heun's rule."""
    _, now, after = sigmas
    denoised = denoiser(state.noisy, now)
    slope = (state.noisy - denoised) / now
    euler = state.noisy + (after - now) * slope

    def corrected() -> Array:
        return state.noisy + 0.5 * (after - now) * (slope + (euler - denoiser(euler, after)) / after)

    return ReverseState(jax.lax.cond(after > 0, corrected, lambda: euler), denoised)


def ancestral(
    denoiser: Denoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]
) -> ReverseState:
    """Take one ancestral step."""
    _, now, after = sigmas
    denoised = denoiser(state.noisy, now)
    return ReverseState(_ancestral(state.noisy, denoised, key, now, after), denoised)


def ancestral_tweedie(
    denoiser: Denoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]
) -> ReverseState:
    """Take one ancestral step that keeps the variance of what the mean leaves open."""
    _, now, after = sigmas
    key_unknown, key_noise = jax.random.split(key)
    denoised, unknown = conditional_draw(denoiser, state.noisy, now, key_unknown)
    # Nothing is added at the very end, where every sampler here returns a mean.
    drawn = denoised + jnp.where(after > 0, 1.0, 0.0) * unknown
    return ReverseState(_ancestral(state.noisy, drawn, key_noise, now, after), denoised)


def ancestral_drawn(
    denoiser: DrawingDenoiser, state: ReverseState, key: Array, sigmas: Float[Array, " 3"]
) -> ReverseState:
    """Take one ancestral step from a draw of the clean scene."""
    _, now, after = sigmas
    key_scene, key_noise = jax.random.split(key)
    drawn = denoiser.draw(state.noisy, now, key_scene)
    return ReverseState(_ancestral(state.noisy, drawn, key_noise, now, after), drawn)


INTEGRATORS: dict[str, Step] = {
    "sde_2m": sde_2m,
    "ode_2m": ode_2m,
    "heun": heun,
    "ancestral": ancestral,
    "ancestral_tweedie": ancestral_tweedie,
    "ancestral_drawn": ancestral_drawn,
}
"""The steps by name."""


def _extrapolated(denoised: Array, before: Array, sigmas: Float[Array, " 3"]) -> Array:
    """Return the denoised scenes, moved half a step on along ``ln sigma``."""
    last, now, after = sigmas
    h, h_before = jnp.log(now / after), jnp.log(last / now)
    second_order = (h_before > 0) & (after > 0)
    ratio = jnp.where(second_order, h / jnp.where(second_order, h_before, 1.0), 0.0)
    return denoised + 0.5 * ratio * (denoised - before)


def _ancestral(noisy: Array, clean: Array, key: Array, now: Array, after: Array) -> Array:
    """Return what ``x_t`` at a smaller sigma is, given one at a larger sigma and the clean scene."""
    share = (after / now) ** 2
    noise = jax.random.normal(key, noisy.shape, noisy.dtype)
    return clean + share * (noisy - clean) + after * jnp.sqrt(1.0 - share) * noise
