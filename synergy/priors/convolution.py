"""Convolution with small square kernels, in float32 or as matrix products of bfloat16 numbers.

In float32 it is the library's. That loses to matrix products where a machine multiplies bfloat16 matrices in
hardware, as recent processors do (AMX): with c channels in and d out, a k x k kernel is

- for c >= d, one product with all k^2 taps side by side, c x k^2 d, and a sum of k^2 shifted results;
- for c < d, k products, one for each row of the kernel, of k shifted inputs side by side, kc x d;
- for the gradient in the weights, the k^2 products of the input and the shifted gradient, c x d.

Factors are rounded to bfloat16's 8 bits, products are summed in float32. The gradient is that of the function
without rounding, itself rounded in the same way.

Processors without such hardware imitate it, in twice the time of float32 and more. Weights that were
trained in bfloat16 serve in float32 as well: `precision_here`.
"""

from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, BFloat16, Float, Float32

Precision = Literal["float32", "bfloat16"]
_CPU_INFO = Path("/proc/cpuinfo")


def precision_here(trained: Precision) -> Precision:
    """Return what to multiply in on this machine: as in training, unless that is slow here.

    Parameters
    ----------
    trained
        Numbers that were multiplied in training.

    Returns
    -------
    precision
        ``"float32"`` on processors that do not say that they multiply bfloat16 (``amx_bf16``, ``avx512_bf16``
        among Linux's flags; other systems do not say), otherwise `trained`.
    """
    if jax.default_backend() != "cpu":
        return trained
    try:
        flags = set(_CPU_INFO.read_text().split())
    except OSError:
        flags = set()
    return trained if flags & {"amx_bf16", "avx512_bf16"} else "float32"


def convolve(
    image: Float32[Array, "n y x c"], kernel: Float32[Array, "k k c d"], precision: Precision
) -> Float32[Array, "n y x d"]:
    """Convolve images with a kernel of odd size, taking what is beyond the edge as zero.

    Parameters
    ----------
    image
        Images.
    kernel
        Weights; as in neural networks, the kernel is not turned around.
    precision
        In which numbers to multiply. The second derivative and forward-mode derivatives exist for
        ``"float32"`` only.
    """
    if precision == "float32":
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    return _convolve_rounded(image, kernel)


def in_two_parts(image: Float32[Array, "n y x c"]) -> Float32[Array, "n y x 2*c"]:
    """Return numbers that bfloat16 holds exactly and their small remainders, side by side.

    Convolved with the same kernel twice over, they keep 16 bits of the image.
    """
    # Not by conversions: where excess precision is allowed, compilers may take them out.
    coarse = jax.lax.reduce_precision(image, exponent_bits=8, mantissa_bits=7)
    return jnp.concatenate([coarse, image - coarse], axis=-1)


@jax.custom_vjp
def _convolve_rounded(image: Array, kernel: Array) -> Array:
    return _product(image.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))


def _forward(image: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    rounded = image.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _product(*rounded), rounded


def _backward(rounded: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    image, kernel = rounded
    gradient = gradient.astype(jnp.bfloat16)
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return _product(gradient, turned), _weight_gradient(image, gradient, kernel.shape[0])


_convolve_rounded.defvjp(_forward, _backward)


def _dot(a: BFloat16[Array, "m k"], b: BFloat16[Array, "k n"]) -> Float32[Array, "m n"]:
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


def _product(
    image: BFloat16[Array, "n y x c"], kernel: BFloat16[Array, "k k c d"]
) -> Float[Array, "n y x d"]:
    n, y, x, c = image.shape
    size, d = kernel.shape[0], kernel.shape[3]
    padded = _padded(image, size)
    if c < d:
        rows = jnp.concatenate([padded[:, :, j : j + x] for j in range(size)], axis=-1)
        return sum(
            _dot(rows[:, i : i + y].reshape(-1, size * c), kernel[i].reshape(size * c, d))
            for i in range(size)
        ).reshape(n, y, x, d)
    taps = jnp.moveaxis(kernel, 2, 0).reshape(c, size * size * d)
    results = _dot(padded.reshape(-1, c), taps).reshape(*padded.shape[:3], size, size, d)
    return sum(results[:, i : i + y, j : j + x, i, j] for i in range(size) for j in range(size))


def _weight_gradient(
    image: BFloat16[Array, "n y x c"], gradient: BFloat16[Array, "n y x d"], size: int
) -> Float32[Array, "k k c d"]:
    _, y, x, c = image.shape
    d = gradient.shape[-1]
    flat, padded = jnp.moveaxis(image, 3, 0).reshape(c, -1), _padded(gradient, size)
    products = [
        _dot(flat, padded[:, i : i + y, j : j + x].reshape(-1, d))
        for i in reversed(range(size))
        for j in reversed(range(size))
    ]
    return jnp.stack(products).reshape(size, size, c, d)


def _padded(image: Array, size: int) -> Array:
    beyond = (size // 2, size // 2)
    return jnp.pad(image, ((0, 0), beyond, beyond, (0, 0)))
