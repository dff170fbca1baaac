"""The denoising network: a small U-Net in Haiku that runs on any image size.

Preconditioning follows EDM (Karras et al. 2022, sec. 5): the network ``F`` sees inputs of unit size, and

    D(x_t, sigma) = c_skip x_t + c_out (F_0 + F_1 * c_in x_t)

with coefficients that are adapted to the pixel (`synergy.priors.preconditioning`). The second output ``F_1``
is a gate: a correction in proportion to the pixel itself.

Galaxies span four decades of surface brightness, so the *input features* are companded: besides the scaled
value each band enters as ``asinh(x_t / a)`` at noise-relative and fixed scales ``a``. The diffused variable
itself stays linear in flux, which keeps the likelihood Gaussian.

No operation takes a statistic over the extent of the image (normalisation is per pixel, over channels; Liu
et al. 2022 use the same), so one set of weights serves every height and width; what is missing to a
multiple of `UNetConfig.multiple` is reflected at the edge for the while. The first step trades resolution
for channels (space to depth), which on a CPU is the largest single saving: scenes enter and leave as patches
of p x p pixels of all bands, in this order of channels.

This is the only file that imports Haiku.
"""

import functools
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.convolution import convolve, in_two_parts
from synergy.priors.network import Params, UNetConfig
from synergy.priors.preconditioning import precondition

_CUT_DEVIATION = 0.87962566
"""Standard deviation of normal numbers that are cut at -2 and 2."""


def _deviation(scale: float = 1.0) -> hk.initializers.Initializer:
    """Return an initialiser with the standard deviation of a layer's weights (LeCun et al. 1998)."""

    def fill(shape: Sequence[int], dtype: jnp.dtype) -> Array:
        return jnp.full(shape, np.sqrt(scale / np.prod(shape[:-1])), dtype)

    return fill


def _drawn(key: Array, deviations: Params) -> Params:
    """Draw normal weights, cut at two deviations, all at once: to compile a draw of each takes XLA long."""
    leaves, tree = jax.tree_util.tree_flatten(deviations)
    ends = np.cumsum([leaf.size for leaf in leaves])
    noise = jax.random.truncated_normal(key, -2.0, 2.0, (int(ends[-1]),), jnp.float32) / _CUT_DEVIATION
    parts = jnp.split(noise, ends[:-1])
    return tree.unflatten([leaf * part.reshape(leaf.shape) for leaf, part in zip(leaves, parts, strict=True)])


class _Convolution(hk.Module):
    """A convolution with zero padding and an offset per output channel."""

    def __init__(
        self,
        width: int,
        name: str,
        config: UNetConfig,
        kernel: int = 3,
        zero: bool = False,
        exact: bool = False,
    ) -> None:
        """Make a layer whose weights begin as zeros, or which sees its input to 16 bits."""
        super().__init__(name)
        self.width, self.config, self.kernel, self.zero, self.exact = width, config, kernel, zero, exact

    def __call__(self, h: Float[Array, "n y x c"]) -> Float[Array, "n y x d"]:
        init = hk.initializers.Constant(0.0) if self.zero else _deviation()
        shape = (self.kernel, self.kernel, h.shape[-1], self.width)
        weights = hk.get_parameter("w", shape, h.dtype, init)
        offset = hk.get_parameter("b", (self.width,), h.dtype, hk.initializers.Constant(0.0))
        if self.config.unit_weights and not self.zero:
            weights = weights * jax.lax.rsqrt(jnp.sum(weights**2, axis=(0, 1, 2)) + 1e-8)
        if self.exact and self.config.precision == "bfloat16":
            h, weights = in_two_parts(h), jnp.concatenate([weights, weights], axis=2)
        return convolve(h, weights, self.config.precision) + offset


def _depthwise(h: Float[Array, "n y x c"], name: str) -> Float[Array, "n y x c"]:
    """Convolve each channel with its own 3x3 kernel, as a sum of shifts: faster than XLA's on a CPU."""
    _, y, x, c = h.shape
    weights = hk.get_parameter(name, (3, 3, c), h.dtype, hk.initializers.Constant(1.0 / 3.0))
    padded = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + y, j : j + x] * weights[i, j] for i in range(3) for j in range(3))


def _normalise(h: Float[Array, "n y x c"]) -> Float[Array, "n y x c"]:
    """Scale each pixel's channel vector to unit root mean square."""
    return h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-4)


def _modulated(h: Float[Array, "n y x c"], level: Float[Array, "n e"], name: str) -> Array:
    """Normalise, scale and shift by the noise level (FiLM; Perez et al. 2018)."""
    film = hk.Linear(2 * h.shape[-1], w_init=_deviation(0.1), name=name)(level)
    gain, offset = jnp.split(film[:, None, None, :], 2, axis=-1)
    return jax.nn.silu(_normalise(h) * (1.0 + gain) + offset)


def _block(
    h: Float[Array, "n y x c"], level: Float[Array, "n e"], width: int, name: str, config: UNetConfig
) -> Array:
    """Apply one pre-activation residual block, modulated by the noise level."""
    skip = h if h.shape[-1] == width else _Convolution(width, f"{name}_skip", config, kernel=1)(h)
    if config.block == "dense":
        h = _Convolution(width, f"{name}_in", config)(jax.nn.silu(_normalise(h)))
        h = _modulated(h, level, f"{name}_film")
        return skip + _Convolution(width, f"{name}_out", config, zero=True)(h)
    h = _depthwise(_normalise(skip), f"{name}_depthwise")
    h = _Convolution(4 * width, f"{name}_in", config, kernel=1)(_normalise(h))
    h = _modulated(h, level, f"{name}_film")
    return skip + _Convolution(width, f"{name}_out", config, kernel=1, zero=True)(h)


def _attend(h: Float[Array, "n y x c"], config: UNetConfig, heads: int = 4) -> Float[Array, "n y x c"]:
    """Add self-attention among all positions, with queries and keys of unit size."""
    n, y, x, c = h.shape
    parts = _Convolution(3 * c, "attention_in", config, kernel=1)(_normalise(h))
    query, key, value = jnp.moveaxis(parts.reshape(n, y * x, 3, heads, c // heads), 2, 0)
    mixed = jax.nn.dot_product_attention(_normalise(query), _normalise(key), value)
    mixed = mixed.reshape(n, y, x, c)
    return h + _Convolution(c, "attention_out", config, kernel=1, zero=True)(mixed)


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
    h = jax.nn.silu(hk.Linear(width, w_init=_deviation(), name="level_0")(h))
    return jax.nn.silu(hk.Linear(width, w_init=_deviation(), name="level_1")(h))


def _compand(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return asinh, to an absolute precision that is enough for a feature, several times faster."""
    size = jnp.abs(x)
    return np.float32(0.3) * jnp.sign(x) * jnp.log(size + jnp.sqrt(size * size + 1.0))


def _network(
    x: Float[Array, "n y x c"], sigma: Float[Array, " n"], config: UNetConfig
) -> tuple[Array, Array]:
    """Return the denoised mean of a batch of noisy scenes and ln variance of its error, all in patches."""
    sig = sigma[:, None, None, None]
    pixel = precondition(x, sig, config.data_std)
    faint = jnp.sqrt(sig**2 + np.float32(1e-3 * config.data_std**2))
    scaled = x * pixel.scale_in
    features = [pixel.seen, _compand(x / sig), _compand(x / faint)] if config.companded else [pixel.seen]

    level = _embed(sigma, config.embedding)
    h = _Convolution(config.widths[0], "stem", config, exact=True)(jnp.concatenate(features, axis=-1))
    skips = []
    for depth, width in enumerate(config.widths):
        if depth > 0:
            h = _Convolution(width, f"down_{depth}", config, kernel=1)(_space_to_depth(h, 2))
        for i in range(config.blocks):
            h = _block(h, level, width, f"encode_{depth}_{i}", config)
        skips.append(h)
    if config.attention:
        h = _attend(h, config)
    for depth in reversed(range(len(config.widths))):
        width = config.widths[depth]
        if depth < len(config.widths) - 1:
            h = _depth_to_space(_Convolution(4 * width, f"up_{depth}", config, kernel=1)(h), 2)
            h = (h + skips[depth]) * np.float32(np.sqrt(0.5))
        for i in range(config.blocks):
            h = _block(h, level, width, f"decode_{depth}_{i}", config)
    maps = config.rank or config.bands
    heads = _Convolution(2 * maps * config.patch**2, "heads", config, zero=True)(h)
    additive, gate = jnp.split(heads, 2, axis=-1)
    if config.rank:
        additive, gate = _mixed(additive, "additive_bands", config), _mixed(gate, "gate_bands", config)
    mean = pixel.skip * x + pixel.out * (additive + gate * scaled)
    if not config.variance:
        return mean, jnp.zeros_like(mean)
    # The variance head learns from the features, but does not shape them: the mean is as good as without.
    seen = _modulated(jax.lax.stop_gradient(h), jax.lax.stop_gradient(level), "variance_film")
    excess = _Convolution(x.shape[-1], "variance", config, kernel=1, zero=True)(seen)
    reference = jnp.log(sig * np.float32(config.data_std)) - 0.5 * jnp.log(
        sig**2 + np.float32(config.data_std) ** 2
    )
    return mean, 2.0 * reference + excess


def _mixed(maps: Float[Array, "n y x maps"], name: str, config: UNetConfig) -> Float[Array, "n y x channel"]:
    """Mix spectral components into bands."""
    weights = hk.get_parameter(name, (config.rank, config.bands), maps.dtype, _deviation())
    return (maps.reshape(*maps.shape[:3], -1, config.rank) @ weights).reshape(*maps.shape[:3], -1)


def _patches(scene: Float[Array, "n b y x"], patch: int) -> Float[Array, "n row column channel"]:
    return _space_to_depth(jnp.moveaxis(scene, 1, -1), patch)


def _scenes(patches: Float[Array, "n row column channel"], patch: int) -> Float[Array, "n b y x"]:
    return jnp.moveaxis(_depth_to_space(patches, patch), -1, 1)


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


@functools.lru_cache
def make_unet_with_variance(
    config: UNetConfig,
) -> tuple[
    Callable[[Array], Params],
    Callable[
        [Params, Float[Array, "n band y x"], Float[Array, " n"]],
        tuple[Float[Array, "n band y x"], Float[Array, "n coefficient y x"]],
    ],
]:
    """Build the network with both of its outputs, compiled as a whole wherever it is called from.

    Returns
    -------
    init
        As for `make_unet`.
    apply
        ``apply(params, noisy, sigma) -> (mean, log_variance)``: also ln variance of the mean's error, of
        its coefficients in the basis of `synergy.priors.basis`.
    """
    transformed = hk.without_apply_rng(hk.transform(lambda x, sigma: _network(x, sigma, config)))

    @jax.jit
    def init(key: Array) -> Params:
        side, channels = config.multiple // config.patch, config.bands * config.patch**2
        patches = jnp.zeros((1, side, side, channels), jnp.float32)
        return _drawn(key, transformed.init(None, patches, jnp.ones((1,), jnp.float32)))

    @jax.jit
    def apply(params: Params, noisy: Array, sigma: Array) -> tuple[Array, Array]:
        y, x = noisy.shape[-2:]
        beyond = [(0, 0), (0, 0), (0, -y % config.multiple), (0, -x % config.multiple)]
        # Reflected, sky and noise go on as they are.
        padded = jnp.pad(noisy, beyond, mode="symmetric")
        outputs = transformed.apply(params, _patches(padded, config.patch), sigma)
        return tuple(_scenes(output, config.patch)[:, :, :y, :x] for output in outputs)

    return init, apply
