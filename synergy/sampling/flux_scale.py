"""Sampling the flux scale of a scene along with the scene.

A scene ``x = a u`` is a flux scale times one in the prior's units. Before sampling, the scale is estimated
from the data (`synergy.sampling.amplitude`) and a = 1 stands for that estimate; here ``ln a`` has a normal
prior around 0, and (a, u) are sampled in turns:

* ``u | a, y`` by a sweep of split Gibbs with deflated noise (`synergy.sampling.split_gibbs`), in which the
  denoiser is that of scenes scaled by a (`synergy.priors.scaled`);
* ``a | u, y``, whose likelihood is Gaussian in one dimension, for it is linear in a,

      ln p(y | a u) = -(a - m)^2 / (2 s^2) + const.,    s^-2 = u^T M u,    m = s^2 u^T A^T N^-1 y,

  times the prior; its cumulative distribution is tabulated where it is not negligible, and inverted.

Both leave the joint posterior invariant, and the range of brightness never leaves the linear model.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.denoiser import Denoiser
from synergy.priors.scaled import ScaledDenoiser
from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct

POINTS = 2048
"""Points of the table of a conditional distribution."""

_REACH = 7.0  # standard deviations


def correct_with_scale(
    denoiser: Denoiser,
    splitting: Splitting,
    key: Array,
    scenes: Float[Array, "draw band y x"],
    sweeps: int,
    inner: InnerDraw,
    width: float,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[Array, "draw band y x"], Float[Array, " draw"]]:
    """Take scenes and their flux scales through sweeps that leave the joint posterior invariant.

    Parameters
    ----------
    denoiser, splitting, key, scenes, sweeps, inner
        As for `synergy.sampling.split_gibbs.correct`.
    width
        Standard deviation of ``ln a`` under its prior.
    progress
        Called as ``progress(step, steps)`` after every sweep, counting denoiser evaluations.

    Returns
    -------
    scenes
        The scenes, scale included.
    scale
        Their scales, in units of the estimate.
    """
    scale = jnp.ones(len(scenes), scenes.dtype)
    for sweep in range(sweeps):
        key_scene, key_scale = jax.random.split(jax.random.fold_in(key, sweep))
        scaled = ScaledDenoiser(denoiser, scale)
        moved = correct(scaled, splitting, key_scene, scenes, 1, inner)
        unit = moved / scale[:, None, None, None]
        scale = draw_scale(splitting.likelihood, key_scale, unit, jnp.float32(width))
        scenes = scale[:, None, None, None] * unit
        if progress is not None:
            progress((sweep + 1) * inner.steps, sweeps * inner.steps)
    return scenes, scale


@jax.jit
def draw_scale(
    likelihood: GaussianLikelihood,
    key: Array,
    unit: Float[Array, "draw band y x"],
    width: Float[Array, ""],
) -> Float[Array, " draw"]:
    """Draw ``a | u, y`` for each scene.

    Parameters
    ----------
    likelihood
        Likelihood of ``a u``.
    key
        Random key.
    unit
        Scenes u.
    width
        Standard deviation of ``ln a`` under its prior.
    """
    data = likelihood.data_adjoint()
    precision = jax.vmap(lambda u: jnp.sum(u * likelihood.normal(u)))(unit)
    pull = jax.vmap(lambda u: jnp.sum(u * data))(unit)
    # Where the data say nothing, the prior's range is tabulated.
    error = jax.lax.rsqrt(jnp.maximum(precision, 1e-20))
    best = pull * error**2
    low = jnp.maximum(jnp.exp(-_REACH * width), best - _REACH * error)
    high = jnp.minimum(jnp.exp(_REACH * width), best + _REACH * error)
    # If they contradict each other, the end of the prior's range that is nearer to the data.
    apart = low >= high
    end = jnp.clip(best, jnp.exp(-_REACH * width), jnp.exp(_REACH * width))
    low, high = jnp.where(apart, 0.9 * end, low), jnp.where(apart, 1.1 * end, high)
    a = low[:, None] + (high - low)[:, None] * jnp.linspace(0.0, 1.0, POINTS, dtype=unit.dtype)
    logarithm = (
        -0.5 * ((a - best[:, None]) / error[:, None]) ** 2 - 0.5 * (jnp.log(a) / width) ** 2 - jnp.log(a)
    )
    density = jnp.exp(logarithm - jnp.max(logarithm, axis=1, keepdims=True))
    cumulative = jnp.cumsum(0.5 * (density[:, 1:] + density[:, :-1]), axis=1)
    cumulative = jnp.pad(cumulative / cumulative[:, -1:], ((0, 0), (1, 0)))
    chance = jax.random.uniform(key, (len(unit),), unit.dtype)
    return jax.vmap(jnp.interp)(chance, cumulative, a)
