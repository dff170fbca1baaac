"""Exact denoisers of Gaussian priors: oracles for samplers, and honest priors in their own right.

For ``x ~ N(m, C)`` and ``x_t = x + sigma * noise`` the denoiser is the Wiener filter ``D(x_t, sigma) = m +
C (C + sigma^2)^-1 (x_t - m)``, and with linear Gaussian data the posterior of ``x`` is Gaussian with
covariance ``(C^-1 + A^T N^-1 A)^-1``: everything a sampler claims can be checked in closed form.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.basis import to_modes
from synergy.priors.covariance import SpectralCovariance, conjugates


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianDenoiser:
    """Denoiser of a zero-mean stationary Gaussian prior.

    Parameters
    ----------
    covariance
        The prior's covariance.
    """

    covariance: SpectralCovariance

    def __call__(
        self, noisy: Float[Array, "*draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "*draw band y x"]:
        """Return the mean of the clean scenes."""
        return self.covariance.apply(noisy, lambda p: p / (p + sigma**2))

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw the clean scenes behind noisy ones, exactly."""
        white = jax.random.normal(key, noisy.shape, noisy.dtype)
        return self(noisy, sigma) + self.covariance.apply(
            white, lambda p: jnp.sqrt(p * sigma**2 / (p + sigma**2))
        )

    def log_density(
        self, noisy: Float[Array, "*draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "*draw"]:
        """Return the natural logarithm of the density of noisy scenes, ``N(0, Sigma + sigma^2)``.

        Parameters
        ----------
        noisy
            Scenes with white noise on them.
        sigma
            Its standard deviation.
        """
        height, width = noisy.shape[-2:]
        variance = self.covariance.spectra(height, width) + sigma**2
        modes = to_modes(noisy, self.covariance.basis)
        power = jnp.abs(jnp.fft.rfft2(modes, norm="ortho")) ** 2
        count = jnp.asarray(conjugates(width), noisy.dtype)
        logarithm = np.float32(np.log(2.0 * np.pi)) + jnp.log(variance)
        return -0.5 * jnp.sum(count * (power / variance + logarithm), axis=(-3, -2, -1))
