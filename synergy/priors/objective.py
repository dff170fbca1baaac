"""What a training step minimises.

Denoising score matching with EDM's weighting (Karras et al. 2022): the expectation over clean scenes ``u``,
noise levels and noise of ``w |D(u + sigma n, sigma) - u|^2``. Its minimiser is ``E[u | u_t]`` for *any*
positive weight that depends on ``u_t`` and sigma only. We use that freedom to measure each pixel's error in
units of what the network has to learn there (`synergy.priors.preconditioning`), and to damp pixels that
are bright but not beyond doubt: without it a handful of nuclei, hundreds of times brighter than the rms,
would own the gradient.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.basis import analyse
from synergy.priors.network import Params, UNetConfig
from synergy.priors.preconditioning import precondition
from synergy.priors.scale import scene_scale
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.unet import make_unet_with_variance
from synergy.priors.variance import mean_ratios

TOLERATED = 30.0
"""Ratio of a squared error to its stated variance beyond which the variance head's loss is damped."""


@dataclasses.dataclass(frozen=True)
class Amplitudes:
    """How training scenes are scaled before they are shown to the network.

    Parameters
    ----------
    floor
        Smallest flux scale in nJy/pixel; scenes below it stay faint instead of being blown up.
    jitter
        The scale is multiplied by a log-uniform factor between 1/jitter and jitter, because at use it is
        estimated.
    faint_fraction
        Fraction of scenes that are made fainter by a further log-uniform factor of up to 100, as scenes are
        whose scale is set by the noise.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # in configuration files

    floor: float = 0.05
    jitter: float = 2.0
    faint_fraction: float = 0.1


def normalise(
    key: Array,
    scenes: Float[Array, "n band y x"],
    band_scale: Float[Array, " band"],
    pixel_scale: float,
    amplitudes: Amplitudes,
) -> Float[Array, "n band y x"]:
    """Bring scenes in nJy/pixel to normalised units with a jittered scale."""
    key_jitter, key_faint, key_depth = jax.random.split(key, 3)
    count = scenes.shape[0]
    scale = jnp.maximum(scene_scale(scenes, band_scale, pixel_scale), amplitudes.floor)
    log_jitter = np.log(amplitudes.jitter) * jax.random.uniform(key_jitter, (count,), minval=-1.0, maxval=1.0)
    is_faint = jax.random.uniform(key_faint, (count,)) < amplitudes.faint_fraction
    log_depth = jax.random.uniform(key_depth, (count,), maxval=np.log(100.0))
    scale = scale * jnp.exp(log_jitter + jnp.where(is_faint, log_depth, 0.0))
    return scenes / (scale[:, None] * band_scale)[:, :, None, None]


def pixel_weight(
    noisy: Float[Array, "n band y x"], sigma: Float[Array, " n"], network: UNetConfig, damping: float
) -> Float[Array, "n band y x"]:
    """Return the loss weight of each pixel: EDM's ``1/c_out^2``, damped where brightness is in doubt."""
    pixel = precondition(noisy, sigma[:, None, None, None], network.data_std)
    return 1.0 / pixel.out**2 / (1.0 + damping * noisy**2 / pixel.certain)


def denoising_loss(
    params: Params,
    key: Array,
    clean: Float[Array, "n band y x"],
    network: UNetConfig,
    schedule: NoiseSchedule,
    modes: Float[Array, "band mode"],
    damping: float,
) -> Float[Array, ""]:
    """Return the weighted denoising error of one batch of normalised scenes, and the variance head's loss.

    Parameters
    ----------
    params
        Weights.
    key
        Random key.
    clean
        Scenes in normalised units.
    network, schedule
        Settings.
    modes
        Basis of the bands in which variances are stated (see `synergy.priors.basis`).
    damping
        How much less pixels weigh that are bright but not beyond doubt; 0 for EDM's weights.
    """
    key_sigma, key_noise = jax.random.split(key)
    sigma = schedule.draw(key_sigma, clean.shape[0])
    noisy = clean + sigma[:, None, None, None] * jax.random.normal(key_noise, clean.shape)
    _, apply = make_unet_with_variance(network)
    mean, log_variance = apply(params, noisy, sigma)
    loss = jnp.mean(pixel_weight(noisy, sigma, network, damping) * (mean - clean) ** 2)
    if not network.variance:
        return loss
    error = analyse(jax.lax.stop_gradient(mean) - clean, modes, network.patch)
    return loss + variance_loss(error, log_variance)


def variance_loss(
    error: Float[Array, "n mode y x"], log_variance: Float[Array, "n mode y x"]
) -> Float[Array, ""]:
    """Return how badly Gaussian variances describe errors, per coefficient.

    The negative log-likelihood ``(e^2/v + ln v)/2`` is least where ``v = E[e^2]``; a single large error in a
    region of small ones would own the gradient, so its ratio is damped as ``ln(1 + r/c)`` far beyond c, which
    leaves the minimum where it is to first order in 1/c.
    """
    ratio = error**2 * jnp.exp(-log_variance)
    return 0.5 * jnp.mean(TOLERATED * jnp.log1p(ratio / TOLERATED) + log_variance)


def denoising_error(
    params: Params,
    key: Array,
    clean: Float[Array, "n band y x"],
    sigma: Float[Array, ""],
    network: UNetConfig,
    modes: Float[Array, "band mode"],
) -> tuple[Float[Array, ""], Float[Array, "mode patch patch"] | None]:
    """Return the mean squared error at one noise level, and how it compares with the stated variance.

    The first is in units of sigma squared (1 = nothing removed). The second are the mean ratios of squared
    errors to their stated variances (`synergy.priors.variance`); None if the network states none.
    """
    noise = jax.random.normal(key, clean.shape)
    _, apply = make_unet_with_variance(network)
    mean, log_variance = apply(params, clean + sigma * noise, jnp.full(clean.shape[0], sigma))
    error = jnp.mean((mean - clean) ** 2) / sigma**2
    if not network.variance:
        return error, None
    return error, mean_ratios(analyse(mean - clean, modes, network.patch), log_variance, network.patch)
