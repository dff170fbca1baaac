"""The parts of a training run, each by itself."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.io.checkpoint import load_checkpoint, save_checkpoint
from synergy.priors.covariance import SpectralCovariance
from synergy.training.interrupts import holding_interrupts
from synergy.training.settings import TrainConfig
from synergy.training.step import _average
from synergy.training.stream import prefetched
from synergy.training.validation import Curve, Level, best_curve, mean_ratio


@pytest.mark.parametrize("shape", [(6, 4), (5, 7)])
def test_the_best_linear_error_is_that_of_dense_matrices(shape):
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    covariance = SpectralCovariance(
        jnp.asarray(basis, jnp.float32),
        jnp.log(jnp.array([0.05, 0.2, 0.7])),
        jnp.log(jnp.array([[30.0, 2.0, 0.1], [3.0, 0.5, 0.02]])),
    )
    size = 2 * shape[0] * shape[1]
    unit = jnp.eye(size).reshape(size, 2, *shape)
    dense = np.asarray(covariance.apply(unit), np.float64).reshape(size, size)
    for sigma in (0.1, 1.0, 4.0):
        # The error covariance of the best linear estimate is S - S (S + sigma^2)^-1 S.
        error = dense - dense @ np.linalg.solve(dense + sigma**2 * np.eye(size), dense)
        expected = np.trace(error) / size / sigma**2
        assert covariance.denoising_error(*shape, sigma) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gamma", [16.97, 6.94])
def test_averages_weigh_steps_by_a_power(gamma):
    steps = 30
    values = np.random.default_rng(1).normal(size=steps).astype(np.float32)
    average = {"a": {"w": jnp.float32(100.0)}}  # what was there before the first step counts for nothing
    for step, value in enumerate(values):
        average = _average(average, {"a": {"w": jnp.float32(value)}}, jnp.int32(step), gamma)
    share = np.diff((np.arange(steps + 1) / steps) ** (gamma + 1.0))
    assert float(average["a"]["w"]) == pytest.approx(np.sum(share * values), abs=1e-5)


def test_the_curve_with_the_smallest_ratios_is_the_best():
    curves = tuple(
        Curve(tuple(Level(sigma, 0.1, ratio) for sigma, ratio in zip((0.1, 1.0), ratios, strict=True)))
        for ratios in ((0.9, 0.4), (0.5, 0.5), (0.3, 1.0))
    )
    assert mean_ratio(curves[0]) == pytest.approx(0.6)
    assert best_curve(curves) == 1


def test_batches_come_in_order_whichever_is_made_first():
    rng = np.random.default_rng(0)
    delays = rng.uniform(0.0, 0.005, 40)

    def make(number):
        time.sleep(delays[number])
        return number

    with prefetched(make, 5, 40) as batches:
        assert list(batches) == list(range(5, 40))


def test_a_batch_that_fails_does_so_in_its_turn_and_leaves_no_thread():
    made = []

    def make(number):
        made.append(number)
        if number == 3:
            raise InputError("shard", "bad", "good", "Mend it.")
        return number

    seen = []
    with pytest.raises(InputError, match="shard"), prefetched(make, 0, 10**6) as batches:
        seen.extend(batches)  # never gets to the end
    with prefetched(make, 0, 10**6) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
    assert max(made) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scenes")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_request_to_stop_waits_and_the_second_does_not(number):
    def mine(*_):
        raise RuntimeError("second")

    before = signal.signal(number, mine)
    try:
        with holding_interrupts() as asked:
            assert not asked()
            os.kill(os.getpid(), number)
            assert asked()
            with pytest.raises(RuntimeError, match="second"):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


def test_checkpoint_refuses_damage_and_other_structures(tmp_path):
    tree = {"a": jnp.arange(3, dtype=jnp.float32), "b": (jnp.int32(7),)}
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, tree, {"note": 1})
    restored, metadata = load_checkpoint(path, jax.tree.map(jnp.zeros_like, tree))
    np.testing.assert_array_equal(restored["a"], tree["a"])
    assert (int(restored["b"][0]), metadata) == (7, {"note": 1})
    with pytest.raises(InputError, match=r"float32\[4\]"):
        load_checkpoint(path, tree | {"a": jnp.zeros(4, jnp.float32)})
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="a training state"):
        load_checkpoint(path, tree)


def test_muon_turns_gradients_into_orthogonal_steps():
    """Of a kernel in the middle of the network; ends and offsets take Adam's steps."""
    rate = 1e-3
    config = TrainConfig(name="muon", steps=1, optimiser="muon", learning_rate=rate, warmup=1)
    rng = np.random.default_rng(0)
    shapes = {"encode_0_0_in": (3, 3, 8, 16), "stem": (3, 3, 4, 8), "heads": (3, 3, 8, 4)}
    gradient = {name: {"w": jnp.asarray(rng.normal(size=s), jnp.float32)} for name, s in shapes.items()}
    optimiser = config.make_optimiser()
    with jax.numpy_dtype_promotion("standard"):
        steps, _ = jax.jit(optimiser.update)(gradient, optimiser.init(gradient), gradient)
    size = np.linalg.svd(np.asarray(steps["encode_0_0_in"]["w"]).reshape(-1, 16), compute_uv=False)
    np.testing.assert_allclose(size / (0.2 * rate * np.sqrt(72)), 1.0, atol=0.35)  # Newton-Schulz is rough
    before = np.linalg.svd(gradient["encode_0_0_in"]["w"].reshape(-1, 16), compute_uv=False)
    assert before.max() / before.min() > 2.0
    for name in ("stem", "heads"):
        step, sign = np.asarray(steps[name]["w"]), np.sign(gradient[name]["w"])
        np.testing.assert_allclose(step, -np.abs(step).mean() * sign, rtol=1e-2)
