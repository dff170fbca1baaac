"""Noise of an image: what turns a residual into a probability.

``n ~ N(0, N)``. The likelihood needs ``N^-1 v``, a whitening ``W`` with ``W^T W = N^-1``, and ``log |N|``;
mocks need draws. A pixel with zero inverse variance carries no information: it has no weight, whitens to zero
and counts in neither the determinant nor the number of pixels.

`Diagonal` is noise that is independent between pixels; `synergy.stationary.Stationary` is correlated.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@runtime_checkable
class Noise(Protocol):
    """What the likelihood and the samplers ask of a noise model."""

    @property
    def known(self) -> Bool[Array, "y x"]:
        """Which pixels carry information."""

    @property
    def n_pixels(self) -> Int[Array, ""]:
        """Number of pixels that carry information."""

    @property
    def log_det(self) -> Float[Array, ""]:
        """Logarithm of the determinant of N over the pixels that carry information."""

    def apply_inverse(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1 v``."""

    def whiten(self, residual: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W r`` with ``W^T W = N^-1``."""

    def whiten_transpose(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W^T v``."""

    def draw(self, key: Array) -> Float[Array, "y x"]:
        """Draw noise in nJy/pixel."""

    def even(self) -> "Noise":
        """Return noise like this one's without masks or uneven maps, for preconditioners."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Diagonal:
    """Independent noise in every pixel.

    Parameters
    ----------
    ivar
        Inverse variance, nJy^-2; zero where a pixel carries no information.
    """

    ivar: Float[Array, "y x"]

    def apply_inverse(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1 v``."""
        return self.ivar * v

    def whiten(self, residual: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return the residual in units of the noise; zero where there is no information."""
        return jnp.sqrt(self.ivar) * residual

    def whiten_transpose(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W^T v``; here W is symmetric."""
        return self.whiten(v)

    @property
    def known(self) -> Bool[Array, "y x"]:
        """Which pixels carry information."""
        return self.ivar > 0

    @property
    def log_det(self) -> Float[Array, ""]:
        """Logarithm of the determinant of N over the pixels that carry information."""
        known = self.known
        return -jnp.sum(jnp.where(known, jnp.log(jnp.where(known, self.ivar, 1)), 0))

    @property
    def n_pixels(self) -> Int[Array, ""]:
        """Number of pixels that carry information."""
        return jnp.sum(self.known)

    def draw(self, key: Array) -> Float[Array, "y x"]:
        """Draw noise in nJy/pixel; zero where a pixel carries no information.

        Parameters
        ----------
        key
            JAX random key.
        """
        known = self.known
        sigma = jnp.where(known, 1 / jnp.sqrt(jnp.where(known, self.ivar, 1)), 0)
        return sigma * jax.random.normal(key, self.ivar.shape, self.ivar.dtype)

    def even(self) -> "Diagonal":
        """Return noise with the mean inverse variance of the pixels that carry information."""
        mean = jnp.sum(self.ivar) / jnp.maximum(self.n_pixels, 1).astype(self.ivar.dtype)
        return Diagonal(jnp.full_like(self.ivar, mean))
