r"""An error that all pixels of an image share: its flux scale, or the response row of its band.

An image whose calibration is known to a relative error e is ``y = (1 + e z) A x + n`` with ``z ~ N(0, 1)``.
To first order ``A x`` beside z may be replaced by the light m that the image itself shows beyond doubt, and z
integrates out: the noise gains one direction,

.. math:: N' = N + b b^T, \qquad b = e\,m .

Inverse, square root and determinant follow from those of N by the Sherman-Morrison formula: with ``w = W b``,

.. math:: N'^{-1} = N^{-1} - \frac{(N^{-1} b)(N^{-1} b)^T}{1 + w^T w}, \quad
          W' = \left(I - \gamma\, w w^T\right) W, \quad
          \gamma = \frac{1 - (1 + w^T w)^{-1/2}}{w^T w} .

Treating such an error as independent between pixels instead lets a bright, well-resolved galaxy average it
away, and the colours of the images then contradict each other by many sigmas.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.ndimage import gaussian_filter

from synergy.noise import Noise

SIGNIFICANT = 5.0
"""Standard deviations of the smoothed image beyond which its light counts."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Calibrated:
    """Noise with an unknown common factor of the image's light.

    Parameters
    ----------
    noise
        Noise N of the pixels.
    direction
        The direction b, nJy/pixel; zero where a pixel carries no information.
    solved
        ``N^-1 b``.
    whitened
        ``w = W b``.
    """

    noise: Noise
    direction: Float[Array, "y x"]
    solved: Float[Array, "y x"]
    whitened: Float[Array, "y x"]

    @classmethod
    def build(cls, noise: Noise, light: Float[Array, "y x"], error: float) -> "Calibrated":
        """Work out the noise of an image.

        Parameters
        ----------
        noise
            Noise of the pixels.
        light
            The light m that the image shows, nJy/pixel (see `significant_light`).
        error
            Relative error e.
        """
        direction = jnp.where(noise.known, error * light, 0)
        return cls(noise, direction, noise.apply_inverse(direction), noise.whiten(direction))

    @property
    def known(self) -> Bool[Array, "y x"]:
        """Which pixels carry information."""
        return self.noise.known

    @property
    def n_pixels(self) -> Int[Array, ""]:
        """Number of pixels that carry information."""
        return self.noise.n_pixels

    @property
    def log_det(self) -> Float[Array, ""]:
        """Logarithm of the determinant of N' over the pixels that carry information."""
        return self.noise.log_det + jnp.log1p(self._square)

    def apply_inverse(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N'^-1 v``."""
        share = jnp.sum(self.solved * v, axis=(-2, -1), keepdims=True) / (1 + self._square)
        return self.noise.apply_inverse(v) - share * self.solved

    def whiten(self, residual: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W' r``."""
        return self._shrunk(self.noise.whiten(residual))

    def whiten_transpose(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W'^T v``."""
        return self.noise.whiten_transpose(self._shrunk(v))

    def draw(self, key: Array) -> Float[Array, "y x"]:
        """Draw noise in nJy/pixel, the error of the calibration included."""
        key_noise, key_factor = jax.random.split(key)
        factor = jax.random.normal(key_factor, (), self.direction.dtype)
        return self.noise.draw(key_noise) + factor * self.direction

    def even(self) -> Noise:
        """Return noise without masks or uneven maps; one direction more or less does not matter there."""
        return self.noise.even()

    @property
    def _square(self) -> Float[Array, ""]:
        return jnp.sum(self.whitened**2)

    def _shrunk(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        square = self._square
        some = square > 0
        gamma = jnp.where(some, (1 - jax.lax.rsqrt(1 + square)) / jnp.where(some, square, 1), 0)
        return v - gamma * jnp.sum(self.whitened * v, axis=(-2, -1), keepdims=True) * self.whitened


def significant_light(
    image: Float[np.ndarray, "y x"],
    ivar: Float[np.ndarray, "y x"],
    sigma: float,
    correlation_factor: float = 1.0,
) -> Float[np.ndarray, "y x"]:
    """Return the light that an image shows beyond doubt: smoothed to its PSF, zero where it may be noise.

    Parameters
    ----------
    image
        Fluxes.
    ivar
        Inverse variance; zero = no information.
    sigma
        Standard deviation of the PSF in pixels.
    correlation_factor
        Variance of averages over the PSF, relative to independent noise.
    """
    known = ivar > 0
    share = np.maximum(gaussian_filter(known.astype(float), sigma), 1e-3)
    smooth = gaussian_filter(np.where(known, image, 0.0), sigma) / share
    variance = np.where(known, 1.0 / np.where(known, ivar, 1.0), 0.0)
    # A Gaussian average over sigma counts 4 pi sigma^2 pixels, and at least one.
    averaged = gaussian_filter(variance, sigma) / share * correlation_factor / max(4 * np.pi * sigma**2, 1.0)
    return np.where(known & (smooth > SIGNIFICANT * np.sqrt(averaged)), smooth, 0.0)
