"""Train a diffusion prior: resumable, and the same result whether or not it was interrupted.

A run is a directory: ``config.json``, ``state.safetensors`` (weights, averaged weights, optimiser, step),
``log.csv`` and ``prior/`` (what `synergy.load_prior` reads, from the averaged weights). Every random number
of step ``t`` is a function of the seed and ``t`` alone, so the state after step ``t`` does not depend on
where a run was cut.

The learning rate falls as one over the square root of the step after a warm-up, and the weights are
averaged with the power-law profile of Karras et al. (2024, EDM2, sec. 3), whose width is a fixed fraction
of the training so far. Both are "any-time": a run can be prolonged, or stopped, without having been planned
so. A run may also begin from the weights of another prior, whose normalisation it then keeps.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from pydantic import BaseModel, ConfigDict, Field

from synergy.errors import InputError
from synergy.io.atomic import write_bytes
from synergy.io.checkpoint import load_checkpoint, save_checkpoint
from synergy.io.shards import SceneShards
from synergy.io.training_log import append_row, truncate
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.network import Params, UNetConfig
from synergy.priors.objective import Amplitudes, denoising_error, denoising_loss, normalise
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.statistics import SceneStatistics, measure_scenes
from synergy.priors.unet import make_unet

STATE, LOG = "state.safetensors", "log.csv"
VALIDATION_SIGMAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class TrainConfig(BaseModel):
    """Settings of a training run; YAML keys of the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: int = Field(2, ge=1)
    patch: int = Field(2, ge=1)
    embedding: int = Field(64, ge=8)
    block: Literal["dense", "separable"] = "dense"
    companded: bool = True
    attention: bool = False
    rank: int = Field(0, ge=0, description="spectral components of the heads; 0 for maps of each band")
    unit_weights: bool = False
    variance: bool = Field(True, description="whether to learn the variance of the mean's error, too")
    crop: int = Field(96, ge=8, description="side of the training crops, pixels")
    batch: int = Field(8, ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    warmup: int = Field(300, ge=1)
    decay_from: int = Field(
        2000, ge=1, description="step after which the learning rate falls as 1/sqrt(step)"
    )
    average_exponent: float = Field(6.94, gt=0, description="gamma of the power-law weight average")
    train_shards: int | None = Field(None, ge=1, description="how many train shards to use; default all")
    validate_every: int = Field(500, ge=1)
    checkpoint_every: int = Field(250, ge=1)
    validation_scenes: int = Field(48, ge=1)
    seed: int = 0
    schedule: NoiseSchedule = NoiseSchedule()
    amplitudes: Amplitudes = Amplitudes()

    def network(self, bands: int, data_std: float) -> UNetConfig:
        """Return the network's settings for scenes of `bands` bands and standard deviation `data_std`."""
        shared = {f.name for f in dataclasses.fields(UNetConfig)} & set(type(self).model_fields)
        return UNetConfig(bands=bands, data_std=data_std, **{name: getattr(self, name) for name in shared})

    def optimiser(self) -> optax.GradientTransformation:
        """Return Adam with a clipped gradient, warm-up and inverse-square-root decay."""

        def rate(step: Array) -> Array:
            t = step.astype(jnp.float32) + 1.0
            return (
                self.learning_rate
                * jnp.minimum(1.0, t / self.warmup)
                / jnp.sqrt(jnp.maximum(1.0, t / self.decay_from))
            )

        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.9, b2=0.99))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step reads and writes."""

    params: Params
    average: Params
    optimiser: optax.OptState
    step: Array


def make_step(
    config: TrainConfig, statistics: SceneStatistics, pixel_scale: float
) -> Callable[[TrainState, Float[Array, "n band y x"]], tuple[TrainState, Array]]:
    """Return the compiled training step ``(state, scenes in nJy/pixel) -> (state, loss)``."""
    network = config.network(len(statistics.band_scale), statistics.data_std)
    optimiser = config.optimiser()

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, scenes: Array) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        key_scale, key_loss = jax.random.split(key)
        clean = normalise(
            key_scale, scenes, jnp.asarray(statistics.band_scale), pixel_scale, config.amplitudes
        )
        loss, gradient = jax.value_and_grad(denoising_loss)(
            state.params, key_loss, clean, network, config.schedule, statistics.covariance.basis
        )
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, moments = optimiser.update(gradient, state.optimiser)
        params = optax.apply_updates(state.params, updates)
        keep = (1.0 - 1.0 / (state.step + 1).astype(jnp.float32)) ** (config.average_exponent + 1.0)
        average = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state.average, params)
        return TrainState(params, average, moments, state.step + 1), loss

    return step


def validation_curve(
    params: Params, config: TrainConfig, statistics: SceneStatistics, shards: SceneShards
) -> dict[str, float]:
    """Return the denoising error over sigma squared at fixed noise levels, on fixed held-out scenes."""
    network = config.network(len(statistics.band_scale), statistics.data_std)
    crops = shards.crops(np.random.default_rng([config.seed, 2]), config.validation_scenes, config.crop)
    still = dataclasses.replace(config.amplitudes, jitter=1.0, faint_fraction=0.0)
    key = jax.random.key(config.seed)
    clean = normalise(key, jnp.asarray(crops), jnp.asarray(statistics.band_scale), shards.pixel_scale, still)
    error = jax.jit(functools.partial(denoising_error, network=network))
    batches = np.array_split(np.arange(len(crops)), max(1, len(crops) // config.batch))
    out = {}
    for sigma in VALIDATION_SIGMAS:
        errors = [
            error(params, jax.random.fold_in(key, i), clean[b], jnp.float32(sigma))
            for i, b in enumerate(batches)
        ]
        out[f"error_{sigma:g}"] = float(np.average(np.asarray(errors), weights=[len(b) for b in batches]))
    return out


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    resume: bool = False,
    start: DiffusionPrior | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> DiffusionPrior:
    """Train a prior, or go on with a run that was cut.

    Parameters
    ----------
    config
        Settings.
    data
        Directory of scene shards (see `synergy.io.shards`).
    out
        Run directory.
    resume
        Continue the run in `out`; it must have been started with the same settings, but for `steps`
        and `train_shards`.
    start
        Begin a new run from this prior's weights, band scales and covariance; random weights when omitted.
    progress
        Called as ``progress(step, steps, label)`` after every step.

    Returns
    -------
    DiffusionPrior
        The trained prior, as written to ``out/prior``.

    Raises
    ------
    InputError
        If the run exists and `resume` is false, was made with other settings, the data cannot be used, or
        `start` is a prior of other bands, pixels or size, or comes with `resume`.
    FloatingPointError
        If the loss stops being finite; the last good state is kept.
    """
    train_shards = SceneShards.open(data, "train", config.train_shards)
    held_out = SceneShards.open(data, "validation")
    if config.crop > train_shards.side:
        raise InputError(
            "crop",
            f"{config.crop} pixels",
            f"at most the scenes' side of {train_shards.side}",
            "Use a smaller crop or make larger scenes.",
        )
    network = config.network(len(train_shards.bands), 1.0)
    if config.crop % network.multiple:
        raise InputError(
            "crop",
            f"{config.crop} pixels",
            f"a multiple of {network.multiple} for this network",
            "Change crop, patch or the number of widths.",
        )
    state, statistics, spent, origin = _start(config, train_shards, out, resume, start)
    step = make_step(config, statistics, train_shards.pixel_scale)
    clock, cores = time.perf_counter(), time.process_time()
    first, losses = int(state.step), []
    for index in range(first, config.steps):
        scenes = train_shards.crops(np.random.default_rng([config.seed, 3, index]), config.batch, config.crop)
        new, loss = step(state, jnp.asarray(scenes))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{out}: the loss became {float(loss)} at step {index}; the state of the last "
                "checkpoint is kept. Lower the learning rate or look at the scenes."
            )
        state, done = new, index + 1
        losses.append(float(loss))
        if progress is not None:
            progress(done, config.steps, f"loss {float(loss):.3f}")
        last = done == config.steps
        if last or done % config.checkpoint_every == 0:
            total = {
                "seconds": spent["seconds"] + time.perf_counter() - clock,
                "core_seconds": spent["core_seconds"] + time.process_time() - cores,
            }
            row = {"step": done, "loss": float(np.mean(losses))} | total
            losses = []
            if last or done % config.validate_every == 0:
                row |= validation_curve(state.average, config, statistics, held_out)
            # The prior first: it refuses weights that have diverged, before they replace a good state.
            _as_prior(config, state, statistics, train_shards).save(
                out / "prior", _card(config, train_shards, row, total, origin)
            )
            append_row(out / LOG, row)
            _save(out, state, statistics, total, origin)
    return _as_prior(config, state, statistics, train_shards)


def _start(
    config: TrainConfig, shards: SceneShards, out: Path, resume: bool, start: DiffusionPrior | None
) -> tuple[TrainState, SceneStatistics, dict[str, float], str | None]:
    """Begin a run or restore it: state, scene statistics, time spent, and the prior it began from."""
    if start is not None:
        _check_start(start, config, shards, resume)
    init, _ = make_unet(config.network(len(shards.bands), 1.0))
    params = init(jax.random.key(config.seed)) if start is None else jax.tree.map(jnp.copy, start.params)
    fresh = TrainState(params, jax.tree.map(jnp.copy, params), config.optimiser().init(params), jnp.int32(0))
    settings = json.loads(config.model_dump_json())
    path = out / "config.json"
    if not resume:
        if (out / STATE).exists():
            raise InputError(
                out,
                "a training run",
                "an empty or new directory",
                "Continue it with --resume, or choose another --out.",
            )
        out.mkdir(parents=True, exist_ok=True)
        if start is None:
            statistics = measure_scenes(shards, config.crop, config.amplitudes, config.seed)
        else:
            statistics = SceneStatistics(
                np.asarray(start.band_scale), start.network.data_std, start.covariance
            )
        origin = None if start is None else start.id
        write_bytes(path, json.dumps(settings, indent=2).encode())
        (out / LOG).unlink(missing_ok=True)
        spent = {"seconds": 0.0, "core_seconds": 0.0}
        _save(out, fresh, statistics, spent, origin)
        return fresh, statistics, spent, origin
    if not path.is_file():
        raise InputError(out, "no config.json", "a training run", "Start it without --resume.")
    before = json.loads(path.read_text())
    changed = sorted(
        k
        for k in settings | before
        if k not in ("steps", "train_shards") and settings.get(k) != before.get(k)
    )
    if changed:
        raise InputError(
            path,
            f"other values of {changed}",
            "the settings the run was started with",
            "Use the same configuration, or start a new run.",
        )
    state, metadata = load_checkpoint(out / STATE, fresh)
    truncate(out / LOG, int(state.step))
    statistics = SceneStatistics.from_lists(metadata["statistics"])
    return state, statistics, metadata["spent"], metadata["origin"]


def _check_start(start: DiffusionPrior, config: TrainConfig, shards: SceneShards, resume: bool) -> None:
    """Refuse to begin from a prior that the run could not go on with."""
    if resume:
        raise InputError(
            "start", "a prior to begin from and --resume", "one of them", "A resumed run has its own weights."
        )
    here = config.network(len(shards.bands), start.network.data_std)
    for what, found, expected in (
        ("bands", start.bands, shards.bands),
        ("pixel scale", start.pixel_scale, shards.pixel_scale),
        ("scale floor", start.scale_floor, config.amplitudes.floor),
        ("network", start.network, here),
        ("schedule", start.schedule, config.schedule),
    ):
        if found != expected:
            raise InputError(
                f"prior {start.id}",
                f"{what} {found}",
                f"{expected}, as in the scenes and settings of this run",
                "Begin from another prior or from random weights.",
            )


def _save(
    out: Path, state: TrainState, statistics: SceneStatistics, spent: dict[str, float], origin: str | None
) -> None:
    metadata = {"statistics": statistics.to_lists(), "spent": spent, "origin": origin}
    save_checkpoint(out / STATE, state, metadata)


def _as_prior(
    config: TrainConfig, state: TrainState, statistics: SceneStatistics, shards: SceneShards
) -> DiffusionPrior:
    return DiffusionPrior(
        params=state.average,
        band_scale=jnp.asarray(statistics.band_scale),
        covariance=statistics.covariance,
        network=config.network(len(shards.bands), statistics.data_std),
        schedule=config.schedule,
        bands=shards.bands,
        pixel_scale=shards.pixel_scale,
        scale_floor=config.amplitudes.floor,
        id=f"{config.name}:step-{int(state.step)}",
    )


def _card(
    config: TrainConfig,
    shards: SceneShards,
    row: dict[str, Any],
    spent: dict[str, float],
    origin: str | None,
) -> dict[str, Any]:
    return {
        "name": config.name,
        "training": {
            "config": json.loads(config.model_dump_json()),
            "began_from": origin,
            "scenes": len(shards),
            "steps": row["step"],
            "hours": round(spent["seconds"] / 3600, 3),
            "core_hours": round(spent["core_seconds"] / 3600, 3),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores",
        },
        "validation": {k: v for k, v in row.items() if k.startswith("error_")},
    }
