"""Stationary noise on a torus: no masks, no maps, no edges, so that everything has a closed form.

The discrete Fourier transform diagonalises the covariance. `Stationary.even` gives it as the circulant
stand-in for noise with masks and maps, for preconditioners.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Periodic:
    """Stationary noise on a torus, every pixel known: all in closed form.

    Parameters
    ----------
    power
        Power spectrum at the frequencies of ``rfft2``, nJy^2; its mean over all frequencies is the variance.
    shape
        Shape of the image.
    """

    power: Float[Array, "ky kx"]
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})

    def apply_inverse(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1 v``."""
        return filtered(v, 1 / self.power, self.shape)

    def whiten(self, residual: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1/2 r``, the symmetric root."""
        return filtered(residual, jax.lax.rsqrt(self.power), self.shape)

    def whiten_transpose(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1/2 v``."""
        return self.whiten(v)

    @property
    def known(self) -> Bool[Array, "y x"]:
        """Which pixels carry information: all."""
        return jnp.ones(self.shape, bool)

    @property
    def log_det(self) -> Float[Array, ""]:
        """Logarithm of the determinant of N."""
        twice = np.full(self.power.shape[1], 2.0)
        twice[0] = 1.0
        if self.shape[1] % 2 == 0:
            twice[-1] = 1.0
        return jnp.sum(jnp.log(self.power) * jnp.asarray(twice.astype(self.power.dtype)))

    @property
    def n_pixels(self) -> Int[Array, ""]:
        """Number of pixels."""
        return jnp.sum(self.known)

    def draw(self, key: Array) -> Float[Array, "y x"]:
        """Draw noise in nJy/pixel.

        Parameters
        ----------
        key
            JAX random key.
        """
        white = jax.random.normal(key, self.shape, self.power.dtype)
        return filtered(white, jnp.sqrt(self.power), self.shape)

    def even(self) -> "Periodic":
        """Return itself."""
        return self


def filtered(
    field: Float[Array, "*batch y x"], gain: Float[Array, "ky kx"], period: tuple[int, int]
) -> Float[Array, "*batch py px"]:
    """Multiply the spectrum of a field, padded with zeros to a torus.

    Parameters
    ----------
    field
        The field.
    gain
        Factor at each frequency of ``rfft2``.
    period
        Shape of the torus.
    """
    spectrum = jnp.fft.rfft2(field, period)
    return jnp.fft.irfft2(spectrum * gain.astype(spectrum.dtype), period)
