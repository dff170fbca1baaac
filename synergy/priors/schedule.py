"""Noise levels: which sigmas a sampler visits and which a training step draws.

The diffusion is variance exploding, ``x_t = x + sigma * noise`` (Song et al. 2021), so a schedule is a
decreasing list of sigmas. The sampler's grid is the power law of Karras et al. (2022, eq. 5). Training
draws ``ln sigma`` from a normal distribution, where most of the learning happens, mixed with a log-uniform
one, so that the very small sigmas that bright, high signal-to-noise scenes need are never untrained. The
largest sigma has to hide a whole scene, not a pixel: a scene of rms 0.3 in 10 bands of 128 x 128 pixels has a
norm of 120, and noise of a third of that would still tell it from an empty one.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class NoiseSchedule:
    """Range and training distribution of the diffusion noise, in units of the normalised scene.

    Parameters
    ----------
    sigma_min, sigma_max
        Range of sigma that is trained and sampled.
    log_mean, log_std
        Mean and standard deviation of ln sigma in the log-normal part (Karras et al. 2022, table 1).
    uniform_fraction
        Fraction of training draws that are log-uniform over the whole range.
    rho
        Exponent of the sampler's grid; 7 spends most steps at small sigma.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # in configuration files

    sigma_min: float = 1e-3
    sigma_max: float = 100.0
    log_mean: float = -0.8
    log_std: float = 2.0
    uniform_fraction: float = 0.2
    rho: float = 7.0

    def grid(
        self, steps: int, sigma_min: float | None = None, sigma_max: float | None = None
    ) -> Float[np.ndarray, " level"]:
        """Return ``steps + 1`` decreasing sigmas (Karras et al. 2022, eq. 5), the last one exactly 0.

        Parameters
        ----------
        steps
            Number of sampler steps, that is of denoiser evaluations.
        sigma_min, sigma_max
            Ends of the grid where they differ from the trained range.

        Raises
        ------
        ValueError
            If there are fewer than two steps.
        """
        if steps < 2:
            raise ValueError(f"a sampler needs at least 2 steps, got {steps}")
        low, high = sigma_min or self.sigma_min, sigma_max or self.sigma_max
        ramp = np.linspace(0.0, 1.0, steps)
        root = high ** (1 / self.rho) + ramp * (low ** (1 / self.rho) - high ** (1 / self.rho))
        return np.append(root**self.rho, 0.0)

    def draw(self, key: Array, count: int) -> Float[Array, " count"]:
        """Draw training sigmas, stratified over the batch so that each step sees the whole distribution."""
        key_order, key_offset, key_kind, key_uniform = jax.random.split(key, 4)
        low, high = np.log(self.sigma_min), np.log(self.sigma_max)
        strata = (jnp.arange(count, dtype=jnp.float32) + jax.random.uniform(key_offset, (count,))) / count
        quantile = jnp.clip(jax.random.permutation(key_order, strata), 1e-6, 1 - 1e-6)
        normal = self.log_mean + self.log_std * jax.scipy.special.ndtri(quantile)
        uniform = jax.random.uniform(key_uniform, (count,), minval=low, maxval=high)
        is_uniform = jax.random.uniform(key_kind, (count,)) < self.uniform_fraction
        return jnp.exp(jnp.clip(jnp.where(is_uniform, uniform, normal), low, high))
