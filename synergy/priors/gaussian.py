"""Exact denoisers of Gaussian priors: oracles for samplers, and honest priors in their own right.

For ``x ~ N(m, C)`` and ``x_t = x + sigma * noise`` the denoiser is the Wiener filter ``D(x_t, sigma) = m +
C (C + sigma^2)^-1 (x_t - m)``, and with linear Gaussian data the posterior of ``x`` is Gaussian with
covariance ``(C^-1 + A^T N^-1 A)^-1``: everything a sampler claims can be checked in closed form.
"""

import dataclasses

import jax
from jaxtyping import Array, Float

from synergy.priors.covariance import SpectralCovariance


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
