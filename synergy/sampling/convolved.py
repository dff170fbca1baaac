"""The convolved likelihood (Remy et al. 2023; Adam et al. 2022).

The noisy scene itself is compared with the data, with the noise of both:

    p(y | x_t) ~ N(y; A x_t, N + sigma^2 A A^T),    D_y = D + sigma^2 A^T (N + sigma^2 A A^T)^-1 (y - A x_t).

No derivative of the network is needed. It would be exact if the prior were flat; in one pass it is not, but
its levels end at the posterior, and Langevin steps at each of them, if many, sample it (`anneal`).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.denoiser import Denoiser
from synergy.sampling.counts import Counts
from synergy.sampling.data_space import back, solve


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConvolvedLikelihood:
    """Posterior denoiser of the convolved likelihood.

    Parameters
    ----------
    denoiser
        Prior denoiser, a pytree.
    likelihood
        Likelihood in the denoiser's units.
    iterations
        Conjugate-gradient steps.
    """

    denoiser: Denoiser
    likelihood: GaussianLikelihood
    iterations: int = dataclasses.field(default=8, metadata={"static": True})

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, 0, 2 + 2 * self.iterations)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the guided mean of the clean scenes."""
        residual = jax.vmap(self.likelihood.whitened)(noisy)
        solution = solve(self.likelihood, lambda x: sigma**2 * x, residual, self.iterations)
        return self.denoiser(noisy, sigma) + sigma**2 * back(self.likelihood, solution)


def anneal(
    denoiser: ConvolvedLikelihood,
    key: Array,
    shape: tuple[int, ...],
    sigmas: Float[np.ndarray, " level"],
    langevin_steps: int = 20,
    rate: float = 0.2,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "draw band y x"]:
    """Draw scenes by annealed Langevin dynamics (Song & Ermon 2019; Remy et al. 2023).

    Parameters
    ----------
    denoiser
        Posterior denoiser.
    key
        Random key.
    shape
        ``(draw, band, y, x)``.
    sigmas
        Decreasing noise levels, the last one 0, which is left out: the scenes keep the noise of the level
        before, less its denoising.
    langevin_steps
        Steps per level, each one evaluation of the denoiser.
    rate
        Step size in units of sigma squared.
    progress
        Called as ``progress(level, levels)`` after every level.
    """
    key_start, key_steps = jax.random.split(key)
    scenes = jnp.float32(sigmas[0]) * jax.random.normal(key_start, shape, jnp.float32)
    for level, sigma in enumerate(sigmas[:-1]):
        scenes = _langevin(
            denoiser,
            jax.random.fold_in(key_steps, level),
            scenes,
            jnp.float32(sigma),
            jnp.float32(rate),
            langevin_steps,
        )
        if progress is not None:
            jax.block_until_ready(scenes)
            progress(level + 1, len(sigmas) - 1)
    return denoiser(scenes, jnp.float32(sigmas[-2]))


def _langevin_steps(
    denoiser: ConvolvedLikelihood, key: Array, scenes: Array, sigma: Array, rate: Array, count: int
) -> Array:
    def step(i: int | Array, scenes: Array) -> Array:
        noise = jax.random.normal(jax.random.fold_in(key, i), scenes.shape, scenes.dtype)
        return scenes + rate * (denoiser(scenes, sigma) - scenes) + jnp.sqrt(2.0 * rate) * sigma * noise

    return jax.lax.fori_loop(0, count, step, scenes)


_langevin = jax.jit(_langevin_steps, static_argnums=5)
