"""Moment matching with the variance that the network itself states.

What a noisy scene leaves open is not the same everywhere: much where there is light, next to nothing on empty
sky. A prior with a variance head (`synergy.priors.variance`) says so, ``x | x_t ~ N(D, V)`` with ``V = B
diag(v) B^T`` in the orthonormal basis of `synergy.priors.basis` (Peng et al. 2024, arXiv 2402.02149), and

    D_y = D + V A^T (N + A V A^T)^-1 (y - A D)

needs no derivative of the network: each step of the linear solve is one product with ``A`` and its transpose.

A variance is a poor summary of "nothing, or a galaxy". Where one source in a thousand could be, v is a
thousandth of its square, and data that show one at ten sigmas move D by a tenth of it; the next step finds
no source in the noisy scene, and states as small a variance again. So V is hedged,

    V = B diag(v) B^T + (Sigma_h^-1 + sigma^-2)^-1,

with a stationary covariance Sigma_h that is wider than that of the prior (`synergy.SamplerSettings`).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood, Images
from synergy.priors.basis import analyse, synthesise
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.denoiser import VarianceDenoiser
from synergy.sampling.counts import Counts
from synergy.sampling.data_space import back, solve, white


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LearnedVariance:
    """Posterior denoiser with the covariance that the prior states.

    Parameters
    ----------
    denoiser
        Prior that states variances, a pytree.
    likelihood
        Likelihood in the prior's units.
    modes
        Orthonormal basis of the bands in which it states them.
    patch
        Side of the blocks in which it does, pixels.
    iterations
        Conjugate-gradient steps.
    hedge
        Covariance Sigma_h; none if what the prior states is to be taken at its word.
    """

    denoiser: VarianceDenoiser
    likelihood: GaussianLikelihood
    modes: Float[Array, "band mode"]
    patch: int = dataclasses.field(metadata={"static": True})
    iterations: int = dataclasses.field(default=8, metadata={"static": True})
    hedge: SpectralCovariance | None = None

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, 0, 2 + 2 * self.iterations)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the posterior mean of the clean scenes."""
        mean, variance = self.denoiser.with_variance(noisy, sigma)
        residual = jax.vmap(self.likelihood.whitened)(mean)
        return mean + self._correction(variance, sigma, residual)

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw clean scenes from the Gaussian whose mean the call returns, at the cost of the mean.

        A draw of ``N(D, V)`` is corrected as if it had been observed with noise of its own (Matheron's
        rule; Hoffman & Ribak 1991).
        """
        key_scene, key_hedge, key_data = jax.random.split(key, 3)
        mean, variance = self.denoiser.with_variance(noisy, sigma)
        noise = jax.random.normal(key_scene, noisy.shape, noisy.dtype)
        drawn = mean + self._synthesise(jnp.sqrt(variance) * noise)
        if self.hedge is not None:
            noise = jax.random.normal(key_hedge, noisy.shape, noisy.dtype)
            drawn += self.hedge.apply(noise, lambda p: sigma * jnp.sqrt(p / (p + sigma**2)))
        residual = jax.vmap(self.likelihood.whitened)(drawn)
        observed = jax.tree_util.tree_map(jnp.add, residual, white(self.likelihood, key_data, len(noisy)))
        return drawn + self._correction(variance, sigma, observed)

    def _correction(self, variance: Array, sigma: Array, residual: Images) -> Array:
        def covariance(x: Array) -> Array:
            stated = self._synthesise(variance * analyse(x, self.modes, self.patch))
            if self.hedge is None:
                return stated
            return stated + self.hedge.apply(x, lambda p: sigma**2 * p / (p + sigma**2))

        return covariance(
            back(self.likelihood, solve(self.likelihood, covariance, residual, self.iterations))
        )

    def _synthesise(self, coefficients: Array) -> Array:
        return synthesise(coefficients, self.modes, self.patch)
