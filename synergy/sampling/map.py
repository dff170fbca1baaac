"""The most probable scene, by half-quadratic splitting with an annealed denoiser.

Two steps take turns at each of a falling sequence of noise levels (Geman & Yang 1995; Zhang et al. 2021,
DPIR): the denoiser, which for a Gaussian prior is the proximal map of ``-ln p``, and the proximal map of the
misfit (`synergy.sampling.proximal`). At level sigma they lead towards the scene of highest posterior density
given data of noise ``N + sigma^2 A A^T``; as sigma falls, towards that of the data. For other priors the
denoiser is a mean, not a mode: the result is a sharp point estimate at the cost of some tens of evaluations,
and says nothing of what else is possible.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser
from synergy.sampling.proximal import Proximal


def most_probable(
    denoiser: Denoiser,
    proximal: Proximal,
    start: Float[Array, "draw band y x"],
    sigmas: Float[np.ndarray, " level"],
    repeats: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "draw band y x"]:
    """Return the most probable scenes.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    proximal
        The data.
    start
        Scenes to begin from, such as Wiener's solution.
    sigmas
        Falling noise levels; a last one of 0 is left out.
    repeats
        How often the two steps take turns at each level.
    progress
        Called as ``progress(level, levels)`` after each level.
    """
    sigmas = sigmas[sigmas > 0]
    scenes = start
    for level, sigma in enumerate(sigmas, 1):
        for _ in range(repeats):
            scenes = _turn(denoiser, proximal, scenes, jnp.float32(sigma))
        if progress is not None:
            jax.block_until_ready(scenes)
            progress(level, len(sigmas))
    return scenes


@jax.jit
def _turn(denoiser: Denoiser, proximal: Proximal, scenes: Array, sigma: Array) -> Array:
    return proximal.mean(denoiser(scenes, sigma), sigma)
