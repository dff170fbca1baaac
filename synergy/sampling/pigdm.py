"""Pseudoinverse-guided diffusion (Song et al. 2023, ICLR).

What is unknown of the clean scene counts as white, ``x | x_t ~ N(D, r^2)`` with ``r^2 = sigma^2 s^2/(sigma^2
+ s^2)``, s the rms of the scene's pixels, and the score of the data is carried back through the network:

    D_y = D + sigma^2 (dD/dx_t)^T A^T (N + r^2 A A^T)^-1 (y - A D).

Scenes are anything but white: their covariance falls by four decades between large and small scales. A
method to compare with.
"""

import dataclasses

import jax
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.denoiser import Denoiser
from synergy.sampling.counts import Counts
from synergy.sampling.data_space import back, solve


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PiGDM:
    """Posterior denoiser of pseudoinverse guidance.

    Parameters
    ----------
    denoiser
        Prior denoiser, a pytree.
    likelihood
        Likelihood in the denoiser's units.
    rms
        Root mean square s of the prior's pixels.
    iterations
        Conjugate-gradient steps.
    """

    denoiser: Denoiser
    likelihood: GaussianLikelihood
    rms: Float[Array, ""]
    iterations: int = dataclasses.field(default=8, metadata={"static": True})

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, 1, 2 + 2 * self.iterations)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the posterior mean of the clean scenes."""
        mean, pullback = jax.vjp(lambda x: self.denoiser(x, sigma), noisy)
        variance = sigma**2 * self.rms**2 / (sigma**2 + self.rms**2)
        residual = jax.vmap(self.likelihood.whitened)(mean)
        solution = solve(self.likelihood, lambda x: variance * x, residual, self.iterations)
        return mean + sigma**2 * pullback(back(self.likelihood, solution))[0]
