"""The training step: one batch's gradient, over all devices, into the weights and their averages.

Every device holds the whole state and a share of the batch; the compiler adds up the gradients. Random
numbers are those of the whole batch, whatever the number of devices, so that a run on four devices is the
run on one, up to the order in which float32 numbers are added.

The weights are averaged with power-law profiles (Karras et al. 2024, EDM2, sec. 3.1): after step t,

    average <- beta average + (1 - beta) weights,    beta = (1 - 1/t)^(gamma + 1),

which weights step tau by tau^gamma: the width of what is averaged is a fixed fraction of the training so
far, 0.05 for gamma = 16.97 and 0.10 for 6.94. Which is the best differs from run to run, so several are kept.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from synergy.errors import InputError
from synergy.priors.network import Params
from synergy.priors.objective import denoising_loss, normalise
from synergy.priors.statistics import SceneStatistics
from synergy.training.settings import TrainConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step reads and writes.

    Parameters
    ----------
    params
        Weights.
    averages
        Averages of the weights, one for each of `TrainConfig.average_exponents`.
    optimiser
        Moments of the gradient.
    step
        Number of steps that were taken.
    """

    params: Params
    averages: tuple[Params, ...]
    optimiser: optax.OptState
    step: Array

    @classmethod
    def begin(cls, params: Params, config: TrainConfig) -> "TrainState":
        """Return the state before the first step."""
        averages = tuple(jax.tree.map(jnp.copy, params) for _ in config.average_exponents)
        return cls(
            jax.tree.map(jnp.copy, params), averages, config.make_optimiser().init(params), jnp.int32(0)
        )


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where arrays lie.

    Parameters
    ----------
    split
        Of batches: in equal shares over all devices.
    whole
        Of everything else: a copy on each.
    """

    split: NamedSharding
    whole: NamedSharding

    @classmethod
    def of(cls, batch: int) -> "Devices":
        """Use all devices that JAX sees.

        Raises
        ------
        InputError
            If the batch has no equal shares.
        """
        count = jax.device_count()
        if batch % count:
            raise InputError(
                "batch",
                f"{batch} crops on {count} devices",
                f"a multiple of {count}",
                "Change batch, or let JAX see fewer devices (CUDA_VISIBLE_DEVICES).",
            )
        mesh = jax.make_mesh((count,), ("scene",), axis_types=(AxisType.Auto,))
        return cls(NamedSharding(mesh, PartitionSpec("scene")), NamedSharding(mesh, PartitionSpec()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a step tells: the loss, and the norm of its gradient before clipping."""

    loss: Float[Array, ""]
    gradient: Float[Array, ""]


Step = Callable[[TrainState, Float[Array, "n band y x"]], tuple[TrainState, Outcome]]


def make_step(config: TrainConfig, statistics: SceneStatistics, pixel_scale: float, devices: Devices) -> Step:
    """Return the compiled training step ``(state, scenes in nJy/pixel) -> (state, outcome)``.

    The state that goes in is used up.
    """
    network = config.network(len(statistics.band_scale), statistics.data_std)
    optimiser = config.make_optimiser()

    @functools.partial(
        jax.jit,
        donate_argnums=0,
        in_shardings=(devices.whole, devices.split),
        out_shardings=(devices.whole, devices.whole),
    )
    def step(state: TrainState, scenes: Array) -> tuple[TrainState, Outcome]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        key_scale, key_loss = jax.random.split(key)
        clean = normalise(
            key_scale, scenes, jnp.asarray(statistics.band_scale), pixel_scale, config.amplitudes
        )
        loss, gradient = jax.value_and_grad(denoising_loss)(
            state.params,
            key_loss,
            clean,
            network,
            config.schedule,
            statistics.covariance.basis,
            config.damping,
        )
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, moments = optimiser.update(gradient, state.optimiser, state.params)
        outcome = Outcome(loss, jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient))))
        params = optax.apply_updates(state.params, updates)
        averages = tuple(
            _average(average, params, state.step, gamma)
            for average, gamma in zip(state.averages, config.average_exponents, strict=True)
        )
        return TrainState(params, averages, moments, state.step + 1), outcome

    return step


def _average(average: Params, params: Params, step: Array, gamma: float) -> Params:
    keep = (1.0 - 1.0 / (step + 1).astype(jnp.float32)) ** (gamma + 1.0)
    return jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, average, params)
