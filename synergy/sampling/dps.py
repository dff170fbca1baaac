"""Diffusion posterior sampling (Chung et al. 2023, ICLR).

The data's score at ``x_t`` is taken at the denoised mean as if that were the scene itself, and its strength
is set by hand, relative to the size of the residual:

    D_y = D - zeta d/dx_t |W (y - A D(x_t))|,    W^T W = N^-1.

What the mean leaves open is ignored, so draws are no sample of the posterior: a method to compare with. Chung
et al. subtract the gradient from the scene after an ancestral step; between levels of constant ratio that is
this denoiser with another ``zeta``.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.denoiser import Denoiser
from synergy.sampling.counts import Counts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DPS:
    """Posterior denoiser of diffusion posterior sampling.

    Parameters
    ----------
    denoiser
        Prior denoiser, a pytree.
    likelihood
        Likelihood in the denoiser's units.
    zeta
        Strength of the data, in units of the scene.
    """

    denoiser: Denoiser
    likelihood: GaussianLikelihood
    zeta: Float[Array, ""]

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, 1, 2)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the guided mean of the clean scenes."""

        def misfit(scenes: Array) -> tuple[Array, Array]:
            mean = self.denoiser(scenes, sigma)
            chi2 = jnp.sum(jax.vmap(self.likelihood.chi2)(mean), axis=1)
            return jnp.sum(jnp.sqrt(chi2)), mean

        gradient, mean = jax.grad(misfit, has_aux=True)(noisy)
        return mean - self.zeta * gradient
