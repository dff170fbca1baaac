"""A stationary covariance of multiband scenes, diagonal in Fourier space.

Scenes are modelled, to second order, as a homogeneous random field whose bands are coupled by a fixed
orthonormal basis ``W`` (band, mode) and whose modes have isotropic power spectra ``p_m(|k|)``:

    Sigma = F^T W diag(p_m(|k|)) W^T F.

Everything that is a function of Sigma is then a function of the spectra: the covariance of a scene known up
to white noise, ``V = (Sigma^-1 + sigma^-2)^-1``, has spectra ``p sigma^2/(p + sigma^2)``. Spectra are
tabulated against physical frequency (cycles per pixel of a fixed pixel scale), so one covariance serves
every image size.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.basis import to_modes
from synergy.windows import hann

FLOOR = 1e-6
"""Smallest tabulated power; keeps the inverse covariance within the range of float32."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpectralCovariance:
    """Stationary band-coupled covariance.

    Parameters
    ----------
    basis
        Orthonormal band-to-mode basis ``W``, ``(band, mode)``.
    log_frequency
        Ascending ln of the tabulated frequencies in cycles per pixel, ``(bin,)``.
    log_power
        ln of the variance per Fourier mode of the unitary transform, ``(mode, bin)``.
    """

    basis: Float[Array, "band mode"]
    log_frequency: Float[Array, " bin"]
    log_power: Float[Array, "mode bin"]

    @classmethod
    def fit(cls, scenes: Float[np.ndarray, "n band y x"], bins: int = 24) -> "SpectralCovariance":
        """Estimate basis and spectra from scenes, without subtracting a mean.

        The basis diagonalises the bands' second moments. Scenes are apodised so that light cut by the edge
        does not leak into high frequencies, and the spectra are corrected for the apodisation's mean
        square.

        Parameters
        ----------
        scenes
            Scenes, in the units in which the covariance is to hold.
        bins
            Number of logarithmic frequency bins.
        """
        _, _, height, width = scenes.shape
        window = hann(height, width)
        moments = np.einsum("nbyx,ncyx->bc", scenes, scenes, optimize=True)
        _, basis = np.linalg.eigh(moments / scenes[:, 0].size)
        basis = basis[:, ::-1]
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij"))
        edges = np.geomspace(0.5 / max(height, width), np.sqrt(0.5), bins + 1)
        index = np.clip(np.digitize(radius, edges) - 1, 0, bins - 1)
        power = np.zeros((basis.shape[1], bins))
        for scene in scenes:
            modes = np.tensordot(basis, scene, [[0], [0]])
            spectrum = np.abs(np.fft.rfft2(modes * window, norm="ortho")) ** 2
            power += np.stack([np.bincount(index.ravel(), s.ravel(), bins) for s in spectrum])
        count = np.bincount(index.ravel(), minlength=bins)
        filled = count > 0
        centres = np.log(np.sqrt(edges[:-1] * edges[1:]))[filled]
        mean = power[:, filled] / count[filled] / len(scenes)
        return cls(
            basis=jnp.asarray(basis, jnp.float32),
            log_frequency=jnp.asarray(centres, jnp.float32),
            log_power=jnp.asarray(np.log(np.maximum(mean, FLOOR)), jnp.float32),
        )

    def widened(self, factor: float | Float[np.ndarray, " mode"]) -> "SpectralCovariance":
        """Return the covariance times a factor, or one for each mode."""
        shift = jnp.asarray(np.log(factor), self.log_power.dtype)
        return dataclasses.replace(self, log_power=self.log_power + shift[..., None])

    def spectra(self, height: int, width: int) -> Float[Array, "mode ky kx"]:
        """Return the power of each mode on the ``rfft2`` grid of an image ``(height, width)``."""
        fy, fx = np.fft.fftfreq(height), np.fft.rfftfreq(width)
        radius = np.maximum(np.hypot(fy[:, None], fx[None, :]), 0.5 / max(height, width))
        query = jnp.asarray(np.log(radius), self.log_frequency.dtype)
        return jnp.exp(jax.vmap(lambda p: jnp.interp(query, self.log_frequency, p))(self.log_power))

    def apply(
        self, scene: Float[Array, "*batch band y x"], function: Callable[[Array], Array] = lambda p: p
    ) -> Float[Array, "*batch band y x"]:
        """Multiply scenes by a function of the covariance, ``f(Sigma) x``, with periodic boundaries.

        Parameters
        ----------
        scene
            Scenes of any batch shape.
        function
            Function of the spectra, for example ``lambda p: p * s2 / (p + s2)``; the default is Sigma itself.
        """
        height, width = scene.shape[-2:]
        gain = function(self.spectra(height, width))
        modes = to_modes(scene, self.basis)
        spectrum = jnp.fft.rfft2(modes)
        modes = jnp.fft.irfft2(gain.astype(spectrum.dtype) * spectrum, s=(height, width)).astype(scene.dtype)
        return to_modes(modes, self.basis.T)

    def denoising_error(self, height: int, width: int, sigma: float) -> float:
        """Return the mean squared error of the best linear denoiser, in units of sigma squared.

        No linear denoiser of fields of this covariance does better, and for Gaussian fields no denoiser at
        all: the mean over modes of ``p/(p + sigma^2)``.

        Parameters
        ----------
        height, width
            Size of the image.
        sigma
            Noise level.
        """
        power = np.asarray(self.spectra(height, width), np.float64)
        shares = conjugates(width) * power / (power + sigma**2)
        return float(np.sum(shares) / (len(power) * height * width))

    def draw(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw zero-mean Gaussian fields of shape ``(..., band, y, x)``."""
        return self.apply(jax.random.normal(key, shape, self.log_power.dtype), jnp.sqrt)


def conjugates(width: int) -> Float[np.ndarray, " kx"]:
    """Return how many columns of the whole transform each column of ``rfft2`` stands for, itself included."""
    column = np.arange(width // 2 + 1)
    return np.where((column == 0) | (2 * column == width), 1.0, 2.0)
