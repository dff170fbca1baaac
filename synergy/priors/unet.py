"""The denoising network: a small U-Net in Haiku that runs on any image size.

Preconditioning follows EDM (Karras et al. 2022, sec. 5): the network ``F`` sees inputs of unit size, and

    D(x_t, sigma) = c_skip x_t + c_out (F_0 + F_1 * c_in x_t)

with ``c_skip = s^2/(sigma^2 + s^2)``, ``c_out = sigma s/sqrt(sigma^2 + s^2)`` and input scaling ``c_in =
1/sqrt(sigma^2 + s^2)``, where s is adapted to the pixel (`synergy.priors.preconditioning`). The second
output ``F_1`` is a gate: a correction in proportion to the pixel itself.

Galaxies span four decades of surface brightness, so the *input features* are companded: besides the scaled
value each band enters as ``asinh(x_t / a)`` at noise-relative and fixed scales ``a``. The diffused variable
itself stays linear in flux, which keeps the likelihood Gaussian.

No operation takes a statistic over the extent of the image (normalisation is per pixel, over channels; Liu
et al. 2022 use the same), so one set of weights serves every height and width that is a multiple of
`UNetConfig.multiple`. The first step trades resolution for channels (space to depth), which on a CPU is the
largest single saving.

This is the only file that imports Haiku.
"""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.network import Params, UNetConfig
from synergy.priors.preconditioning import effective_std


def _conv(width: int, name: str, kernel: int = 3, zero: bool = False) -> hk.Conv2D:
    init = hk.initializers.Constant(0.0) if zero else hk.initializers.VarianceScaling(1.0)
    return hk.Conv2D(width, kernel, with_bias=True, w_init=init, name=name)


def _normalise(h: Float[Array, "n y x c"]) -> Float[Array, "n y x c"]:
    """Scale each pixel's channel vector to unit root mean square."""
    return h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-4)


def _block(h: Float[Array, "n y x c"], level: Float[Array, "n e"], width: int, name: str) -> Array:
    """Apply one pre-activation residual block, modulated by the noise level (FiLM)."""
    skip = h if h.shape[-1] == width else _conv(width, f"{name}_skip", kernel=1)(h)
    h = _conv(width, f"{name}_in")(jax.nn.silu(_normalise(h)))
    film = hk.Linear(2 * width, w_init=hk.initializers.VarianceScaling(0.1), name=f"{name}_film")(level)
    gain, offset = jnp.split(film[:, None, None, :], 2, axis=-1)
    h = jax.nn.silu(_normalise(h) * (1.0 + gain) + offset)
    return skip + _conv(width, f"{name}_out", zero=True)(h)


def _space_to_depth(h: Array, patch: int) -> Array:
    n, y, x, c = h.shape
    h = h.reshape(n, y // patch, patch, x // patch, patch, c)
    return h.transpose(0, 1, 3, 2, 4, 5).reshape(n, y // patch, x // patch, patch * patch * c)


def _depth_to_space(h: Array, patch: int) -> Array:
    n, y, x, c = h.shape
    h = h.reshape(n, y, x, patch, patch, c // patch**2)
    return h.transpose(0, 1, 3, 2, 4, 5).reshape(n, y * patch, x * patch, c // patch**2)


def _embed(sigma: Float[Array, " n"], width: int) -> Float[Array, "n e"]:
    """Embed ln sigma: sines and cosines of geometrically spaced frequencies, then two dense layers."""
    frequency = jnp.exp(jnp.linspace(np.log(0.1), np.log(3.0), width // 2, dtype=jnp.float32))
    phase = jnp.log(sigma)[:, None] * frequency
    h = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
    h = jax.nn.silu(hk.Linear(width, name="level_0")(h))
    return jax.nn.silu(hk.Linear(width, name="level_1")(h))


def _network(x: Float[Array, "n y x b"], sigma: Float[Array, " n"], config: UNetConfig) -> Array:
    """Return the denoised mean of a batch of noisy scenes, bands last."""
    sig = sigma[:, None, None, None]
    std = effective_std(x, sig, config.data_std)
    total = jnp.sqrt(sig**2 + std**2)
    faint = jnp.sqrt(sig**2 + np.float32(1e-3 * config.data_std**2))
    scaled = x / total
    features = [scaled, 0.3 * jnp.arcsinh(x / sig), 0.3 * jnp.arcsinh(x / faint)]

    level = _embed(sigma, config.embedding)
    h = _conv(config.widths[0], "stem")(_space_to_depth(jnp.concatenate(features, axis=-1), config.patch))
    skips = []
    for depth, width in enumerate(config.widths):
        if depth > 0:
            h = _conv(width, f"down_{depth}", kernel=1)(_space_to_depth(h, 2))
        for i in range(config.blocks):
            h = _block(h, level, width, f"encode_{depth}_{i}")
        skips.append(h)
    for depth in reversed(range(len(config.widths))):
        width = config.widths[depth]
        if depth < len(config.widths) - 1:
            h = _depth_to_space(_conv(4 * width, f"up_{depth}", kernel=1)(h), 2)
            h = (h + skips[depth]) * np.float32(np.sqrt(0.5))
        for i in range(config.blocks):
            h = _block(h, level, width, f"decode_{depth}_{i}")
    heads = _depth_to_space(_conv(2 * config.bands * config.patch**2, "heads", zero=True)(h), config.patch)
    additive, gate = jnp.split(heads, 2, axis=-1)
    return (std / total) ** 2 * x + sig * std / total * (additive + gate * scaled)


def make_unet(
    config: UNetConfig,
) -> tuple[
    Callable[[Array], Params],
    Callable[[Params, Float[Array, "n band y x"], Float[Array, " n"]], Float[Array, "n band y x"]],
]:
    """Build the network.

    Returns
    -------
    init
        ``init(key) -> params``, nested dictionaries of float32 arrays.
    apply
        ``apply(params, noisy, sigma) -> mean``: noisy scenes ``(n, band, y, x)`` and their noise levels
        ``(n,)`` in normalised units to the estimated mean of the clean scenes.
    """
    transformed = hk.without_apply_rng(hk.transform(lambda x, sigma: _network(x, sigma, config)))

    def init(key: Array) -> Params:
        side = config.multiple
        return transformed.init(
            key, jnp.zeros((1, side, side, config.bands), jnp.float32), jnp.ones((1,), jnp.float32)
        )

    def apply(params: Params, noisy: Array, sigma: Array) -> Array:
        mean = transformed.apply(params, jnp.transpose(noisy, (0, 2, 3, 1)), sigma)
        return jnp.transpose(mean, (0, 3, 1, 2))

    return init, apply
