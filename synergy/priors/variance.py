"""The variance that a denoiser states of its own error, made right on average by held-out scenes.

A network learns ln variance of the coefficients of its error (`synergy.priors.basis`). That is calibrated
afterwards: at each noise level, mode and place in a block, stated variances are multiplied by the mean ratio
of held-out squared errors to them, interpolated in ln sigma. What the network says about *where* errors are
large is kept.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VarianceCorrection:
    """Factors of stated variances.

    Parameters
    ----------
    log_sigma
        Ascending ln of the noise levels.
    log_factor
        ln of the factors, by level, mode and place in a block of the basis.
    """

    log_sigma: Float[Array, " level"]
    log_factor: Float[Array, "level mode patch patch"]

    @classmethod
    def measured(
        cls, sigmas: Float[np.ndarray, " level"], ratios: Float[np.ndarray, "level mode patch patch"]
    ) -> "VarianceCorrection":
        """Return the correction that makes mean ratios of squared errors to stated variances one.

        Parameters
        ----------
        sigmas
            Ascending noise levels.
        ratios
            The mean ratios found there.
        """
        return cls(
            jnp.asarray(np.log(sigmas), jnp.float32),
            jnp.asarray(np.log(np.maximum(ratios, 1e-12)), jnp.float32),
        )

    def apply(
        self, log_variance: Float[Array, "n mode y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "n mode y x"]:
        """Return the variances, corrected.

        Parameters
        ----------
        log_variance
            ln variance as the network states it; sides are multiples of the blocks'.
        sigma
            Noise level; beyond the levels, their ends count.
        """
        query = jnp.log(sigma)
        flat = self.log_factor.reshape(len(self.log_sigma), -1)
        factor = jax.vmap(lambda column: jnp.interp(query, self.log_sigma, column), in_axes=1)(flat)
        mode, patch = self.log_factor.shape[1:3]
        y, x = (side // patch for side in log_variance.shape[-2:])
        return jnp.exp(log_variance + jnp.tile(factor.reshape(mode, patch, patch), (1, y, x)))

    def to_lists(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {f.name: getattr(self, f.name).tolist() for f in dataclasses.fields(self)}

    @classmethod
    def from_lists(cls, lists: dict[str, Any]) -> "VarianceCorrection":
        """Undo `to_lists`."""
        return cls(**{name: jnp.asarray(values, jnp.float32) for name, values in lists.items()})


def mean_ratios(
    error: Float[Array, "n mode y x"], log_variance: Float[Array, "n mode y x"], patch: int
) -> Float[Array, "mode patch patch"]:
    """Return the mean ratio of squared errors to stated variances, by mode and place in a block.

    Parameters
    ----------
    error
        Coefficients of errors.
    log_variance
        ln of their stated variances.
    patch
        Side of the blocks.
    """
    n, mode, y, x = error.shape
    ratio = error**2 * jnp.exp(-log_variance)
    return ratio.reshape(n, mode, y // patch, patch, x // patch, patch).mean(axis=(0, 2, 4))
