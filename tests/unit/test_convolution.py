"""Convolutions against sums in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.priors import convolution
from synergy.priors.convolution import convolve, in_two_parts, precision_here

SHAPES = ((1, 5, 7), (3, 6, 4), (3, 4, 6), (3, 5, 5), (5, 3, 8))


def _rounded(x):
    return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)


def _sum(image, kernel):
    """Convolve by the definition, in float64."""
    size, height, width = len(kernel), *image.shape[1:3]
    r = size // 2
    padded = np.pad(image, ((0, 0), (r, r), (r, r), (0, 0)))
    taps = ((i, j) for i in range(size) for j in range(size))
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)


def _drawn(size, c, d, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (2, 6, 9, c), (size, size, c, d), (2, 6, 9, d)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_the_sum(shape):
    image, kernel, _ = _drawn(*shape)
    found = convolve(jnp.asarray(image), jnp.asarray(kernel), "float32")
    np.testing.assert_allclose(found, _sum(image.astype(float), kernel.astype(float)), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_rounds_the_factors_and_nothing_else(shape):
    image, kernel, _ = _drawn(*shape)
    found = jax.jit(convolve, static_argnums=2)(jnp.asarray(image), jnp.asarray(kernel), "bfloat16")
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, _sum(_rounded(image), _rounded(kernel)), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_gradient_is_that_of_rounded_factors(shape):
    image, kernel, cotangent = (jnp.asarray(v) for v in _drawn(*shape))
    _, pull = jax.vjp(lambda a, b: convolve(a, b, "bfloat16"), image, kernel)
    near = [jnp.asarray(_rounded(v), jnp.float32) for v in (image, kernel, cotangent)]
    _, expected = jax.vjp(lambda a, b: convolve(a, b, "float32"), *near[:2])
    for a, b in zip(pull(cotangent), expected(near[2]), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5)


def test_two_parts_keep_sixteen_bits():
    image = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, 4, 3)) + 100.0, jnp.float32)
    parts = jax.jit(in_two_parts)(image)
    np.testing.assert_array_equal(parts[..., :3] + parts[..., 3:], image)
    np.testing.assert_array_equal(parts[..., :3], _rounded(image))
    np.testing.assert_allclose(_rounded(parts).reshape(1, 4, 4, 2, 3).sum(axis=3), image, rtol=2.0**-16)


@pytest.mark.parametrize(
    ("flags", "trained", "used"),
    [
        ("fpu avx512f avx512_bf16", "bfloat16", "bfloat16"),
        ("fpu avx512f amx_bf16 amx_tile", "bfloat16", "bfloat16"),
        ("fpu avx512f amx_bf16 amx_tile", "float32", "float32"),
        ("fpu avx2", "bfloat16", "float32"),
        (None, "bfloat16", "float32"),
    ],
)
def test_bfloat16_is_used_where_processors_multiply_it(flags, trained, used, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(convolution, "_CPU_INFO", path)
    assert precision_here(trained) == (used if jax.default_backend() == "cpu" else trained)
