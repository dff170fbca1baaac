"""The directory of a training run: beginning it, taking it up again, and what is written there.

``config.json``, ``state.safetensors`` (weights, averages, optimiser, step; beside them what was measured on
the scenes and the time spent), ``log.csv`` (a row per checkpoint), ``validation.csv`` (a row per
validation, average and noise level), their plots, and ``prior/`` (what `synergy.load_prior` reads).
Each file is replaced as a whole, and the state last: what is in it has been logged.
"""

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synergy.errors import InputError
from synergy.io.atomic import write_bytes
from synergy.io.checkpoint import load_checkpoint, save_checkpoint
from synergy.io.shards import SceneShards
from synergy.io.training_log import append_rows, truncate
from synergy.priors.diffusion import DiffusionPrior, load_prior, read_card
from synergy.priors.network import Params
from synergy.priors.statistics import SceneStatistics, measure_scenes, scale_quantiles
from synergy.priors.unet import make_unet
from synergy.priors.variance import VarianceCorrection
from synergy.training.plots import draw_run
from synergy.training.settings import CHANGEABLE, TrainConfig
from synergy.training.step import TrainState
from synergy.training.validation import Curve, best_curve, mean_ratio

CONFIG, STATE, LOG, VALIDATION = "config.json", "state.safetensors", "log.csv", "validation.csv"


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run knows of itself besides its state.

    Parameters
    ----------
    seconds, core_seconds
        Time spent so far, by the clock and by all cores of this machine.
    average
        Index of the average that the prior is made of: the best one at the last validation.
    validation
        For the card: that average's errors, and the step they were measured at.
    correction
        That average's correction of variances (`synergy.priors.variance`), as plain numbers.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0
    average: int = -1
    validation: dict[str, int | float] = dataclasses.field(default_factory=dict)
    correction: dict[str, Any] | None = None

    def spend(self, seconds: float, core_seconds: float) -> "Progress":
        """Add time."""
        return dataclasses.replace(
            self, seconds=self.seconds + seconds, core_seconds=self.core_seconds + core_seconds
        )

    def judge(self, step: int, curves: tuple[Curve, ...]) -> "Progress":
        """Choose the best average."""
        best = best_curve(curves)
        levels, correction = curves[best].levels, curves[best].correction
        validation = {"step": step, "mean_ratio": mean_ratio(curves[best])}
        validation |= {f"error_{level.sigma:g}": level.error for level in levels}
        validation |= {f"ratio_{level.sigma:g}": level.ratio for level in levels}
        validation |= {
            f"surprise_{level.sigma:g}": level.surprise for level in levels if np.isfinite(level.surprise)
        }
        return dataclasses.replace(
            self,
            average=best,
            validation=validation,
            correction=None if correction is None else correction.to_lists(),
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's directory, and what stays the same from its first step to its last.

    Parameters
    ----------
    out
        The directory.
    config
        Settings.
    shards
        Training scenes.
    statistics
        What was measured on them before the first step, or is that of the prior the run began from.
    ancestors
        Entries of the priors that the run began from, the oldest first, as in their cards.
    """

    out: Path
    config: TrainConfig
    shards: SceneShards
    statistics: SceneStatistics
    ancestors: tuple[dict[str, Any], ...]

    def save(
        self, state: TrainState, progress: Progress, row: dict[str, int | float], curves: dict[float, Curve]
    ) -> None:
        """Write prior, logs, plots and state.

        Parameters
        ----------
        state, progress
            State and progress after the last step.
        row
            What to log, ``step`` first.
        curves
            Results of a validation by the average's exponent, if there was one.

        Raises
        ------
        FloatingPointError
            If weights have diverged; the state before is kept.
        InputError
            If the disk is full; the state before is kept.
        """
        step = int(state.step)
        # The prior first: it refuses weights that have diverged, before they replace a good state.
        try:
            self.prior(state, progress).save(self.out / "prior", self._card(step, progress))
        except FloatingPointError as error:
            raise FloatingPointError(f"after step {step}: {error}") from error
        times = {"seconds": round(progress.seconds, 2), "core_seconds": round(progress.core_seconds, 2)}
        append_rows(self.out / LOG, [row | times])
        if curves:
            levels = [
                {"step": step, "average": gamma} | dataclasses.asdict(level)
                for gamma, curve in curves.items()
                for level in curve.levels
            ]
            append_rows(self.out / VALIDATION, levels)
            draw_run(self.out)
        self.save_state(state, progress)

    def prior(self, state: TrainState, progress: Progress) -> DiffusionPrior:
        """Return the prior that the state's best average makes."""
        return DiffusionPrior(
            params=jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), state.averages[progress.average]),
            band_scale=jnp.asarray(self.statistics.band_scale),
            covariance=self.statistics.covariance,
            network=self.config.network(len(self.shards.bands), self.statistics.data_std),
            schedule=self.config.schedule,
            bands=self.shards.bands,
            pixel_scale=self.shards.pixel_scale,
            scale_floor=self.config.amplitudes.floor,
            id=f"{self.config.name}:step-{int(state.step)}",
            correction=None
            if progress.correction is None
            else VarianceCorrection.from_lists(progress.correction),
        )

    def save_state(self, state: TrainState, progress: Progress) -> None:
        """Write the state."""
        metadata = {
            "scenes": _scenes(self.shards),
            "statistics": self.statistics.to_lists(),
            "ancestors": list(self.ancestors),
            "progress": dataclasses.asdict(progress),
        }
        save_checkpoint(self.out / STATE, state, metadata)

    def _card(self, step: int, progress: Progress) -> dict[str, Any]:
        crops, made_by = step * self.config.batch, dict(self.shards.made_by)
        if "config" in made_by:
            made_by["config"] = json.loads(made_by["config"])
        training = {
            "config": json.loads(self.config.model_dump_json()),
            "data": made_by | {"split": "train", "shards": len(self.shards.files)},
            "scenes": len(self.shards),
            "steps": step,
            "average_exponent": self.config.average_exponents[progress.average],
            "hours": round(progress.seconds / 3600, 4),
            "core_hours": round(progress.core_seconds / 3600, 4),
            "crops_per_second": round(crops / max(progress.seconds, 1e-9), 2),
            "crops_per_core_second": round(crops / max(progress.core_seconds, 1e-9), 2),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, jax {jax.__version__}",
            "ancestors": list(self.ancestors),
        }
        return {
            "name": self.config.name,
            "training": training,
            "validation": progress.validation,
            "scale_quantiles": list(self.statistics.scale_quantiles),
        }


def begin(
    config: TrainConfig, shards: SceneShards, out: Path, start: str | Path | None
) -> tuple[Run, TrainState, Progress]:
    """Begin a run, from random weights or from those of the prior `start`.

    Raises
    ------
    InputError
        If there is a run already, or `start` is a prior of other bands, pixels, size or settings.
    """
    if (out / STATE).exists():
        raise InputError(
            out,
            "a training run",
            "an empty or new directory",
            "Continue it with --resume, or choose another --out.",
        )
    if start is None:
        params, ancestors = _random_weights(config, shards), ()
        statistics = measure_scenes(shards, config.crop, config.amplitudes, config.seed)
    else:
        prior = load_prior(start)
        _check_start(prior, config, shards)
        # Layers that the prior has not begin at random: a variance head, on which the mean does not depend,
        # and blocks, which begin as zero.
        params = _random_weights(config, shards)
        params |= {layer: weights for layer, weights in prior.params.items() if layer in params}
        ancestors = _lineage(start, prior)
        colour = np.asarray(prior.band_scale)
        scales = scale_quantiles(shards, config.crop, colour, prior.scale_floor, config.seed)
        statistics = SceneStatistics(colour, prior.network.data_std, prior.covariance, scales)
    out.mkdir(parents=True, exist_ok=True)
    for name in (LOG, VALIDATION):
        (out / name).unlink(missing_ok=True)
    run, state, progress = (
        Run(out, config, shards, statistics, ancestors),
        TrainState.begin(params, config),
        Progress(),
    )
    _save_config(out, config)
    run.save_state(state, progress)
    return run, state, progress


def take_up(config: TrainConfig, shards: SceneShards, out: Path) -> tuple[Run, TrainState, Progress]:
    """Take up the run in `out` where its state was last saved.

    Raises
    ------
    InputError
        If there is none, it was made with other settings or of other scenes, or its state is damaged.
    """
    path = out / CONFIG
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            path, f"no readable settings ({error})", "a training run", "Start it without --resume."
        ) from error
    settings = json.loads(config.model_dump_json())
    changed = sorted(k for k in settings | before if k not in CHANGEABLE and settings.get(k) != before.get(k))
    if changed:
        raise InputError(
            path,
            f"other values of {changed}",
            "the settings the run was started with",
            "Use the same configuration, or start a new run.",
        )
    like = TrainState.begin(_random_weights(config, shards), config)
    state, metadata = load_checkpoint(out / STATE, like, lambda found: _check_scenes(out, found, shards))
    _save_config(out, config)
    for name in (LOG, VALIDATION):
        truncate(out / name, int(state.step))
    statistics = SceneStatistics.from_lists(metadata["statistics"])
    run = Run(out, config, shards, statistics, tuple(metadata["ancestors"]))
    return run, state, Progress(**metadata["progress"])


def _random_weights(config: TrainConfig, shards: SceneShards) -> Params:
    init, _ = make_unet(config.network(len(shards.bands), 1.0))
    return jax.jit(init)(jax.random.key(config.seed))


def _save_config(out: Path, config: TrainConfig) -> None:
    write_bytes(out / CONFIG, json.dumps(json.loads(config.model_dump_json()), indent=2).encode())


def _scenes(shards: SceneShards) -> dict[str, Any]:
    return {"bands": list(shards.bands), "pixel_scale": shards.pixel_scale}


def _check_scenes(out: Path, metadata: dict[str, Any], shards: SceneShards) -> None:
    if metadata["scenes"] != _scenes(shards):
        raise InputError(
            out,
            f"a run on scenes of {metadata['scenes']}",
            f"{_scenes(shards)}, as in --data",
            "Continue it with the scenes it was begun with.",
        )


def _lineage(name: str | Path, prior: DiffusionPrior) -> tuple[dict[str, Any], ...]:
    """Return what the card of a prior says of its training, and of those before it."""
    training = dict(read_card(name)["training"])
    return (*training.pop("ancestors", ()), {"id": prior.id} | training)


def _check_start(start: DiffusionPrior, config: TrainConfig, shards: SceneShards) -> None:
    """Refuse to begin from a prior that the run could not go on with."""
    here = config.network(len(shards.bands), start.network.data_std)
    # What may change between a prior and the run that begins from it: the weights they share mean the same.
    free = {name: getattr(here, name) for name in ("precision", "variance", "blocks")}
    for what, found, expected in (
        ("bands", start.bands, shards.bands),
        ("pixel scale", start.pixel_scale, shards.pixel_scale),
        ("scale floor", start.scale_floor, config.amplitudes.floor),
        ("network", dataclasses.replace(start.network, **free), here),
    ):
        if found != expected:
            raise InputError(
                f"prior {start.id}",
                f"{what} {found}",
                f"{expected}, as in the scenes and settings of this run",
                "Begin from another prior or from random weights.",
            )
