"""Posterior denoisers by moment matching (Rozet et al. 2024, arXiv 2405.13712).

Given a noisy scene, approximate what is still unknown about the clean one as Gaussian, ``x | x_t ~ N(D,
V)``. For linear Gaussian data the mean given both is then a regularised least-squares fit around the
prior's denoised scene:

    D_y = D + V A^T (N + A V A^T)^-1 (y - A D),

exact where the prior is Gaussian. Two covariances are offered.

`PriorCovariance`
    ``V = (Sigma^-1 + sigma^-2)^-1`` with the fixed, stationary covariance of the prior. No derivative of
    the network is needed, the system is symmetric whatever the network does, and in scene space it reads
    ``(V^-1 + A^T N^-1 A) delta = A^T N^-1 (y - A D)``, which a circulant preconditioner solves in a few
    steps.
`TweedieCovariance`
    ``V = sigma^2 dD/dx_t``, the exact conditional covariance of an exact denoiser, by vector-Jacobian
    products and conjugate gradients in (whitened) data space. A trained network's Jacobian is not quite
    symmetric, and every step costs a backward pass.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.denoiser import Denoiser
from synergy.sampling.circulant import CirculantPosterior, conjugate_gradient
from synergy.sampling.counts import Counts
from synergy.sampling.data_space import back, solve, white


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PriorCovariance:
    """Posterior denoiser with the prior's stationary covariance.

    Parameters
    ----------
    denoiser
        Prior denoiser, a pytree.
    likelihood
        Likelihood in the denoiser's units.
    covariance
        Prior covariance in the same units.
    circulant
        Circulant posterior fitted to both.
    iterations
        Conjugate-gradient steps.
    """

    denoiser: Denoiser
    likelihood: GaussianLikelihood
    covariance: SpectralCovariance
    circulant: CirculantPosterior
    iterations: int = dataclasses.field(default=4, metadata={"static": True})

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, 0, 2 + 2 * self.iterations)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the posterior mean of the clean scenes."""
        mean = self.denoiser(noisy, sigma)
        return mean + self._solve(jax.vmap(self.likelihood.score)(mean), sigma)

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw clean scenes from the Gaussian whose mean the call returns, at the cost of the mean.

        With ``H = V^-1 + A^T N^-1 A`` the right-hand side is given noise of covariance H, so that the
        solution has noise of covariance ``H^-1`` (perturb and optimise; Papandreou & Yuille 2010).
        """
        key_scene, key_data = jax.random.split(key)
        mean = self.denoiser(noisy, sigma)
        noise = jax.random.normal(key_scene, noisy.shape, noisy.dtype)
        of_prior = self.covariance.apply(noise, lambda p: jnp.sqrt(1.0 / p + 1.0 / sigma**2))
        of_data = back(self.likelihood, white(self.likelihood, key_data, len(noisy)))
        right = jax.vmap(self.likelihood.score)(mean) + of_prior + of_data
        return mean + self._solve(right, sigma)

    def _solve(self, right: Array, sigma: Array) -> Array:
        precision = 1.0 / sigma**2

        def matrix(x: Array) -> Array:
            normal = jax.vmap(self.likelihood.normal)(x)
            return self.covariance.apply(x, lambda p: 1.0 / p + precision) + normal

        return conjugate_gradient(
            matrix, lambda x: self.circulant.solve(x, precision), right, self.iterations
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TweedieCovariance:
    """Posterior denoiser with the covariance from the denoiser's own Jacobian.

    Parameters
    ----------
    denoiser, likelihood
        As for `PriorCovariance`.
    iterations
        Conjugate-gradient steps, each one vector-Jacobian product.
    """

    denoiser: Denoiser
    likelihood: GaussianLikelihood
    iterations: int = dataclasses.field(default=3, metadata={"static": True})

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        return Counts(1, self.iterations + 1, 2 + 2 * self.iterations)

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the posterior mean of the clean scenes."""
        mean, pullback = jax.vjp(lambda x: self.denoiser(x, sigma), noisy)

        def covariance(x: Array) -> Array:
            return sigma**2 * pullback(x)[0]

        residual = jax.vmap(self.likelihood.whitened)(mean)
        solution = solve(self.likelihood, covariance, residual, self.iterations)
        return mean + covariance(back(self.likelihood, solution))
