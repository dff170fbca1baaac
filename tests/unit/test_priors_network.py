"""The network's options, the basis of its variances and what trains them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import without_zeros

from synergy.priors.basis import analyse, haar, synthesise
from synergy.priors.network import UNetConfig
from synergy.priors.objective import denoising_loss, variance_loss
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.unet import make_unet, make_unet_with_variance

TINY = UNetConfig(bands=3, widths=(8, 12), blocks=1, embedding=16)
ONE = dataclasses.replace(TINY, widths=(8,))
VARIANTS = (
    {"block": "separable"},
    {"companded": False},
    {"attention": True},
    {"rank": 2},
    {"unit_weights": True},
    {"patch": 4},
    {"precision": "bfloat16"},
    {"variance": True},
)
MODES = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], jnp.float32)


def _scenes(count=2, side=32):
    return jnp.asarray(np.random.default_rng(2).gamma(0.3, 1.0, (count, 3, side, side)), jnp.float32)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: next(iter(o)))
def test_every_option_changes_the_function_and_can_be_trained(options):
    config = dataclasses.replace(ONE, **options)
    init, apply = make_unet(config)
    params = without_zeros(init(jax.random.key(0)))
    noisy, sigma = _scenes(side=16), jnp.array([0.1, 2.0])
    mean = apply(params, noisy, sigma)
    assert mean.shape == noisy.shape
    plain_init, plain = make_unet(ONE)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(plain_init, jax.random.key(0)))
    same = {module: params[module] for module in shapes if module in params}
    if options != {"variance": True} and jax.tree.map(jnp.shape, same) == shapes:
        assert float(jnp.abs(plain(same, noisy, sigma) - mean).max()) > 1e-3

    def loss(p):
        return denoising_loss(p, jax.random.key(3), noisy, config, NoiseSchedule(), MODES, 0.25)

    gradient = jax.jit(jax.grad(loss))(params)
    dead = [
        f"{m}/{n}" for m, group in gradient.items() for n, g in group.items() if not bool(jnp.any(g != 0))
    ]
    assert dead == []


def test_bfloat16_changes_little_of_what_is_taken_off():
    init, apply = make_unet(TINY)
    _, rounded = make_unet(dataclasses.replace(TINY, precision="bfloat16"))
    params = without_zeros(init(jax.random.key(0)))
    noise = jax.random.normal(jax.random.key(5), (2, 3, 32, 32))
    for sigma in (0.003, 0.1, 3.0):
        noisy = _scenes() + sigma * noise
        mean = apply(params, noisy, jnp.full(2, sigma))
        change = rounded(params, noisy, jnp.full(2, sigma)) - mean
        assert 0 < float(jnp.std(change)) < 0.01 * float(jnp.std(mean - noisy))


def test_unit_weights_do_not_depend_on_their_size():
    config = dataclasses.replace(TINY, unit_weights=True)
    init, apply = make_unet(config)
    params = without_zeros(init(jax.random.key(0)))
    larger = params | {"encode_0_0_in": params["encode_0_0_in"] | {"w": 7.0 * params["encode_0_0_in"]["w"]}}
    noisy, sigma = _scenes(), jnp.array([0.1, 2.0])
    np.testing.assert_allclose(apply(larger, noisy, sigma), apply(params, noisy, sigma), atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_haar_is_orthonormal_and_begins_with_the_mean(size):
    matrix = haar(size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(matrix[0], np.full(size, size**-0.5))


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_basis_is_orthonormal(patch):
    scene, other = jax.random.normal(jax.random.key(0), (2, 5, 3, 16, 24))
    coefficients = analyse(scene, MODES, patch)
    np.testing.assert_allclose(synthesise(coefficients, MODES, patch), scene, atol=1e-5)
    product = float(jnp.vdot(coefficients, other))
    assert product == pytest.approx(float(jnp.vdot(scene, synthesise(other, MODES, patch))), abs=1e-2)


def test_basis_coefficients_of_a_block_are_its_mean_and_differences():
    scene = jnp.asarray([[[1.0, 2.0], [3.0, 5.0]]])
    found = analyse(scene, jnp.eye(1), 2)[0]
    np.testing.assert_allclose(found, [[5.5, -1.5], [-2.5, 0.5]], atol=1e-6)


def test_untrained_variance_is_that_of_white_scenes():
    config = dataclasses.replace(TINY, variance=True, data_std=0.7)
    init, apply = make_unet_with_variance(config)
    _, log_variance = apply(init(jax.random.key(0)), _scenes(), jnp.array([0.02, 3.0]))
    sigma = np.array([0.02, 3.0])
    expected = np.log(0.49 * sigma**2 / (0.49 + sigma**2))
    np.testing.assert_allclose(
        log_variance, np.broadcast_to(expected[:, None, None, None], (2, 3, 32, 32)), rtol=1e-5
    )


def test_variance_head_leaves_the_mean_as_it_is():
    """Weights of the mean see the same gradient with and without a variance head."""
    both = dataclasses.replace(TINY, variance=True)
    params = without_zeros(make_unet(both)[0](jax.random.key(0)))
    alone = {m: v for m, v in params.items() if not m.startswith("variance")}
    scenes, key = _scenes(), jax.random.key(3)
    slope = jax.jit(jax.grad(denoising_loss), static_argnums=(3, 4, 6))
    with_head = slope(params, key, scenes, both, NoiseSchedule(), MODES, 0.25)
    without = slope(alone, key, scenes, TINY, NoiseSchedule(), MODES, 0.25)
    for module, group in without.items():
        for name, gradient in group.items():
            np.testing.assert_allclose(with_head[module][name], gradient, rtol=1e-4, atol=1e-5)


def test_variance_loss_is_least_at_the_variance():
    error = 0.3 * jax.random.normal(jax.random.key(0), (4, 3, 64, 64))
    at = [
        float(variance_loss(error, jnp.full_like(error, v))) for v in np.log(0.09) + np.array([-0.2, 0, 0.2])
    ]
    assert at[1] < min(at[0], at[2])
    slope = jax.grad(lambda v: variance_loss(error, jnp.full_like(error, v)))(jnp.float32(np.log(0.09)))
    assert abs(float(slope)) < 0.06


def test_what_a_scene_lacks_to_a_multiple_is_its_reflection():
    init, apply = make_unet(TINY)
    params, sigma = without_zeros(init(jax.random.key(0))), jnp.array([0.3, 1.0])
    noisy = _scenes(side=24)
    cut = noisy[:, :, :21, :22]
    mirrored = jnp.concatenate([cut, cut[:, :, :, ::-1][:, :, :, :2]], axis=3)
    mirrored = jnp.concatenate([mirrored, mirrored[:, :, ::-1][:, :, :3]], axis=2)
    np.testing.assert_allclose(
        apply(params, cut, sigma), apply(params, mirrored, sigma)[:, :, :21, :22], atol=1e-5
    )
