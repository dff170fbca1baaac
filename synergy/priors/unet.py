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
et al. 2022 use the same), so one set of weights serves every height and width; what is missing to a
multiple of `UNetConfig.multiple` is reflected at the edge for the while. The first step trades resolution
for channels (space to depth), which on a CPU is the largest single saving.

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


def _convolve(
    h: Float[Array, "n y x c"], width: int, name: str, kernel: int = 3, zero: bool = False, unit: bool = False
) -> Float[Array, "n y x d"]:
    """Convolve with zero padding; with unit weights, each output channel's kernel has unit norm."""
    init = hk.initializers.Constant(0.0) if zero else hk.initializers.VarianceScaling(1.0)
    convolution = hk.Conv2D(width, kernel, w_init=init, name=name)
    if not unit:
        return convolution(h)
    with hk.custom_getter(_of_unit_norm):
        return convolution(h)


def _of_unit_norm(next_getter: Callable[[Array], Array], value: Array, context: hk.GetterContext) -> Array:
    value = next_getter(value)
    if context.name != "w":
        return value
    return value * jax.lax.rsqrt(jnp.sum(value**2, axis=(0, 1, 2)) + 1e-8)


def _depthwise(h: Float[Array, "n y x c"], name: str) -> Float[Array, "n y x c"]:
    """Convolve each channel with its own 3x3 kernel, as a sum of shifts: faster than XLA's on a CPU."""
    _, y, x, c = h.shape
    weights = hk.get_parameter(name, (3, 3, c), h.dtype, hk.initializers.RandomNormal(1.0 / 3.0))
    padded = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + y, j : j + x] * weights[i, j] for i in range(3) for j in range(3))


def _normalise(h: Float[Array, "n y x c"]) -> Float[Array, "n y x c"]:
    """Scale each pixel's channel vector to unit root mean square."""
    return h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-4)


def _modulated(h: Float[Array, "n y x c"], level: Float[Array, "n e"], name: str) -> Array:
    """Normalise, scale and shift by the noise level (FiLM; Perez et al. 2018)."""
    film = hk.Linear(2 * h.shape[-1], w_init=hk.initializers.VarianceScaling(0.1), name=name)(level)
    gain, offset = jnp.split(film[:, None, None, :], 2, axis=-1)
    return jax.nn.silu(_normalise(h) * (1.0 + gain) + offset)


def _block(
    h: Float[Array, "n y x c"], level: Float[Array, "n e"], width: int, name: str, config: UNetConfig
) -> Array:
    """Apply one pre-activation residual block, modulated by the noise level."""
    unit = config.unit_weights
    skip = h if h.shape[-1] == width else _convolve(h, width, f"{name}_skip", kernel=1, unit=unit)
    if config.block == "dense":
        h = _convolve(jax.nn.silu(_normalise(h)), width, f"{name}_in", unit=unit)
        return skip + _convolve(_modulated(h, level, f"{name}_film"), width, f"{name}_out", zero=True)
    h = _depthwise(_normalise(skip), f"{name}_depthwise")
    h = _convolve(_normalise(h), 4 * width, f"{name}_in", kernel=1, unit=unit)
    return skip + _convolve(_modulated(h, level, f"{name}_film"), width, f"{name}_out", kernel=1, zero=True)


def _attend(h: Float[Array, "n y x c"], heads: int = 4) -> Float[Array, "n y x c"]:
    """Add self-attention among all positions, with queries and keys of unit size."""
    n, y, x, c = h.shape
    parts = _convolve(_normalise(h), 3 * c, "attention_in", kernel=1)
    query, key, value = jnp.moveaxis(parts.reshape(n, y * x, 3, heads, c // heads), 2, 0)
    mixed = jax.nn.dot_product_attention(_normalise(query), _normalise(key), value)
    return h + _convolve(mixed.reshape(n, y, x, c), c, "attention_out", kernel=1, zero=True)


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


def _network(
    x: Float[Array, "n y x b"], sigma: Float[Array, " n"], config: UNetConfig
) -> tuple[Array, Array]:
    """Return the denoised mean of a batch of noisy scenes and ln variance of its error, bands last."""
    sig = sigma[:, None, None, None]
    std = effective_std(x, sig, config.data_std, config.extreme)
    total = jnp.sqrt(sig**2 + std**2)
    faint = jnp.sqrt(sig**2 + np.float32(1e-3 * config.data_std**2))
    scaled = x / total
    features = [scaled]
    if config.companded:
        features += [0.3 * jnp.arcsinh(x / sig), 0.3 * jnp.arcsinh(x / faint)]

    level = _embed(sigma, config.embedding)
    unit, patch = config.unit_weights, config.patch
    h = _convolve(
        _space_to_depth(jnp.concatenate(features, axis=-1), patch), config.widths[0], "stem", unit=unit
    )
    skips = []
    for depth, width in enumerate(config.widths):
        if depth > 0:
            h = _convolve(_space_to_depth(h, 2), width, f"down_{depth}", kernel=1, unit=unit)
        for i in range(config.blocks):
            h = _block(h, level, width, f"encode_{depth}_{i}", config)
        skips.append(h)
    if config.attention:
        h = _attend(h)
    for depth in reversed(range(len(config.widths))):
        width = config.widths[depth]
        if depth < len(config.widths) - 1:
            h = _depth_to_space(_convolve(h, 4 * width, f"up_{depth}", kernel=1, unit=unit), 2)
            h = (h + skips[depth]) * np.float32(np.sqrt(0.5))
        for i in range(config.blocks):
            h = _block(h, level, width, f"decode_{depth}_{i}", config)
    maps = config.rank or config.bands
    heads = _depth_to_space(_convolve(h, 2 * maps * patch**2, "heads", zero=True), patch)
    additive, gate = jnp.split(heads, 2, axis=-1)
    if config.rank:
        shape, start = (config.rank, config.bands), hk.initializers.VarianceScaling(1.0)
        additive = additive @ hk.get_parameter("additive_bands", shape, h.dtype, start)
        gate = gate @ hk.get_parameter("gate_bands", shape, h.dtype, start)
    mean = (std / total) ** 2 * x + sig * std / total * (additive + gate * scaled)
    if not config.variance:
        return mean, jnp.zeros_like(mean)
    # The variance head learns from the features, but does not shape them: the mean is as good as without.
    seen = _modulated(jax.lax.stop_gradient(h), jax.lax.stop_gradient(level), "variance_film")
    excess = _convolve(seen, config.bands * patch**2, "variance", kernel=1, zero=True)
    reference = jnp.log(sig * np.float32(config.data_std)) - 0.5 * jnp.log(
        sig**2 + np.float32(config.data_std) ** 2
    )
    return mean, 2.0 * reference + _depth_to_space(excess, patch)


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
    init, both = make_unet_with_variance(config)
    return init, lambda params, noisy, sigma: both(params, noisy, sigma)[0]


def make_unet_with_variance(
    config: UNetConfig,
) -> tuple[
    Callable[[Array], Params],
    Callable[
        [Params, Float[Array, "n band y x"], Float[Array, " n"]],
        tuple[Float[Array, "n band y x"], Float[Array, "n coefficient y x"]],
    ],
]:
    """Build the network with both of its outputs.

    Returns
    -------
    init
        As for `make_unet`.
    apply
        ``apply(params, noisy, sigma) -> (mean, log_variance)``: also ln variance of the mean's error, of
        its coefficients in the basis of `synergy.priors.basis`.
    """
    transformed = hk.without_apply_rng(hk.transform(lambda x, sigma: _network(x, sigma, config)))

    def init(key: Array) -> Params:
        side = config.multiple
        return transformed.init(
            key, jnp.zeros((1, side, side, config.bands), jnp.float32), jnp.ones((1,), jnp.float32)
        )

    def apply(params: Params, noisy: Array, sigma: Array) -> tuple[Array, Array]:
        y, x = noisy.shape[-2:]
        beyond = [(0, 0), (0, -y % config.multiple), (0, -x % config.multiple), (0, 0)]
        # Reflected, sky and noise go on as they are.
        padded = jnp.pad(jnp.transpose(noisy, (0, 2, 3, 1)), beyond, mode="symmetric")
        outputs = transformed.apply(params, padded, sigma)
        return tuple(jnp.transpose(output[:, :y, :x], (0, 3, 1, 2)) for output in outputs)

    return init, apply
