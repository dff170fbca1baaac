"""Exact denoiser of a mixture of Gaussians: an oracle with several modes.

For ``x ~ sum_k w_k N(m_k, C_k)`` a noisy scene is ``x_t ~ sum_k w_k N(m_k, C_k + sigma^2)``, and its
denoised mean is the mean of the components' Wiener filters, weighted by how well each explains ``x_t``. With
linear Gaussian data the posterior is again a mixture, in closed form. Take the images of a catalogue as means
and a small ``C``: that is a finite-sample prior, all of whose densities are known.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.priors.covariance import SpectralCovariance
from synergy.priors.gaussian import GaussianDenoiser


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MixtureDenoiser:
    """Denoiser of a mixture of stationary Gaussians around given scenes.

    Parameters
    ----------
    means
        Mean of each component.
    log_weights
        ln of their probabilities.
    covariances
        Covariance of each component; one for all where there is a single one.
    """

    means: Float[Array, "component band y x"]
    log_weights: Float[Array, " component"]
    covariances: tuple[SpectralCovariance, ...]

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the mean of the clean scenes."""
        shares = jax.nn.softmax(self._log_densities(noisy, sigma) + self.log_weights[:, None], axis=0)
        parts = self._each(lambda component, mean: mean + component(noisy - mean, sigma))
        return jnp.einsum("kn,knbyx->nbyx", shares, parts)

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw the clean scenes behind noisy ones, exactly: a component, then a scene of it."""
        key_component, key_scene = jax.random.split(key)
        logarithm = self._log_densities(noisy, sigma) + self.log_weights[:, None]
        component = jax.random.categorical(key_component, logarithm, axis=0)
        parts = self._each(lambda part, mean: mean + part.draw(noisy - mean, sigma, key_scene))
        return parts[component, jnp.arange(len(noisy))]

    def log_density(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, " draw"]:
        """Return the natural logarithm of the density of noisy scenes.

        Parameters
        ----------
        noisy
            Scenes with white noise on them.
        sigma
            Its standard deviation.
        """
        norm = jax.scipy.special.logsumexp(self.log_weights)
        return jax.scipy.special.logsumexp(
            self._log_densities(noisy, sigma) + self.log_weights[:, None] - norm, axis=0
        )

    def _log_densities(self, noisy: Array, sigma: Array) -> Float[Array, "component draw"]:
        return self._each(lambda component, mean: component.log_density(noisy - mean, sigma))

    def _each(self, function: Callable[[GaussianDenoiser, Array], Array]) -> Float[Array, "component ..."]:
        """Return what a function says of each component's denoiser, about zero, and mean."""
        if len(self.covariances) == 1:
            shared = GaussianDenoiser(self.covariances[0])
            return jax.vmap(lambda mean: function(shared, mean))(self.means)
        parts = zip(self.covariances, self.means, strict=True)
        return jnp.stack([function(GaussianDenoiser(covariance), mean) for covariance, mean in parts])
