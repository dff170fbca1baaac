"""Train a diffusion prior: resumable, and the same result whether or not it was interrupted.

A run is a directory (`synergy.training.run`). Every random number of step ``t`` is a function of the seed
and ``t`` alone, so the state after step ``t`` does not depend on where a run was cut, on the order in which
threads prepared its batches, or, up to rounding, on the number of devices.

The learning rate falls as one over the square root of the step after a warm-up, and the weights are
averaged with power-law profiles, whose width is a fixed fraction of the training so far
(`synergy.training.step`). Both are "any-time": a run can be prolonged, or stopped, without having been
planned so. A run may also begin from the weights of another prior, whose normalisation it then keeps.
"""

import collections
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from synergy.errors import InputError
from synergy.io.shards import SceneShards
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.network import Params
from synergy.training.interrupts import holding_interrupts
from synergy.training.run import Progress, Run, begin, take_up
from synergy.training.settings import TrainConfig
from synergy.training.step import Devices, Outcome, TrainState, make_step
from synergy.training.stream import prefetched
from synergy.training.validation import Curve, make_validation

Report = Callable[[int, int, str], None]
"""Called as ``report(step, steps, label)`` after every step."""


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    resume: bool = False,
    start: str | Path | None = None,
    progress: Report | None = None,
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
        Continue the run in `out`; it must have been started with the same settings, but for those in
        `synergy.training.settings.CHANGEABLE`.
    start
        Begin a new run from the weights, band scales and covariance of this prior (see
        `synergy.load_prior`); random weights when omitted.
    progress
        Called as ``progress(step, steps, label)`` after every step.

    Returns
    -------
    DiffusionPrior
        The trained prior, as written to ``out/prior``.

    Raises
    ------
    InputError
        If the run exists and `resume` is false, was made with other settings or is damaged; if the data
        cannot be used, or not with these settings or this many devices; if `start` is a prior of other
        bands, pixels or size, or comes with `resume`; or if the disk is full.
    FloatingPointError
        If the loss stops being finite.
    KeyboardInterrupt
        If the process was asked to stop (Ctrl-C or SIGTERM); the state was saved, so that the run can be
        resumed.

    Whatever is raised, the last good state is kept.
    """
    if resume and start is not None:
        raise InputError(
            "start", "a prior to begin from and --resume", "one of them", "A resumed run has its own weights."
        )
    shards = SceneShards.open(data, "train", config.train_shards, config.memory_gb)
    held_out = SceneShards.open(data, "validation")
    _check(config, shards, held_out)
    devices = Devices.of(config.batch)
    run, state, spent = take_up(config, shards, out) if resume else begin(config, shards, out, start)
    step = make_step(config, run.statistics, shards.pixel_scale, devices)
    validate = make_validation(config, run.statistics, held_out, devices)
    state = jax.device_put(state, devices.whole)

    def batch(index: int) -> jax.Array:
        rng = np.random.default_rng([config.seed, 3, index])
        return jax.device_put(shards.crops(rng, config.batch, config.crop), devices.split)

    first = int(state.step)
    meter = _Meter(run, spent, first, progress)
    with holding_interrupts() as interrupted, prefetched(batch, first, config.steps) as batches:
        for done, scenes in enumerate(batches, first + 1):
            state, outcome = step(state, scenes)
            meter.take(done, outcome)
            last, stop = done == config.steps, interrupted()
            if last or stop or done % config.checkpoint_every == 0:
                # Who asks a run to stop does not wait for a validation.
                judged = last or (done % config.validate_every == 0 and not stop)
                meter.checkpoint(state, validate if judged else None)
            if stop and not last:
                raise KeyboardInterrupt(f"after step {done} of {config.steps}")
    return run.prior(state, meter.spent)


class _Meter:
    """What is said and written of a run while it goes on.

    Parameters
    ----------
    run
        The run.
    spent
        What was spent before.
    first
        Number of steps that were taken before.
    report
        Where to say it.
    """

    def __init__(self, run: Run, spent: Progress, first: int, report: Report | None) -> None:
        self.spent = spent
        self._run, self._report, self._saved = run, report, first
        self._clocks = time.perf_counter(), time.process_time()
        self._times = collections.deque([time.perf_counter()], maxlen=20)
        self._waiting: tuple[int, Outcome] | None = None
        self._read: list[tuple[float, float]] = []
        self._say(first, "compiling")

    def take(self, done: int, outcome: Outcome) -> None:
        """Take note of a step; its loss is read once the next step has been handed to the devices."""
        waiting, self._waiting = self._waiting, (done, outcome)
        self._note(waiting)

    def checkpoint(self, state: TrainState, validate: Callable[[Params], Curve] | None) -> None:
        """Write everything, after a validation if there is to be one."""
        waiting, self._waiting = self._waiting, None
        self._note(waiting)
        step, exponents = int(state.step), self._run.config.average_exponents
        if validate is not None:
            self._say(step, "validating")
        curves = () if validate is None else tuple(validate(average) for average in state.averages)
        if curves:
            self.spent = self.spent.judge(step, curves)
        before, self._clocks = self._clocks, (time.perf_counter(), time.process_time())
        self.spent = self.spent.spend(*(now - then for now, then in zip(self._clocks, before, strict=True)))
        loss, gradient = np.mean(self._read, axis=0)
        row = {"step": step, "loss": float(loss), "gradient": float(gradient)}
        self._run.save(state, self.spent, row, dict(zip(exponents, curves, strict=False)))
        self._saved, self._read = step, []

    def _note(self, waiting: tuple[int, Outcome] | None) -> None:
        if waiting is None:
            return
        done, outcome = waiting
        loss, gradient = float(outcome.loss), float(outcome.gradient)
        if not np.isfinite([loss, gradient]).all():
            raise FloatingPointError(
                f"{self._run.out}: at step {done} the loss became {loss} with a gradient of norm {gradient}; "
                f"the state after step {self._saved} is kept. Lower the learning rate or look at the scenes."
            )
        self._read.append((loss, gradient))
        self._times.append(time.perf_counter())
        rate = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)
        ratio = self.spent.validation.get("mean_ratio")
        recent = np.mean([loss for loss, _ in self._read[-50:]])
        held_out = "" if ratio is None else f", held out {ratio:.3f}"
        self._say(done, f"loss {recent:.3f}, {rate:.2g} steps/s{held_out}")

    def _say(self, done: int, label: str) -> None:
        if self._report is not None:
            self._report(done, self._run.config.steps, label)


def _check(config: TrainConfig, shards: SceneShards, held_out: SceneShards) -> None:
    """Refuse settings and scenes that do not go together."""
    if (held_out.bands, held_out.pixel_scale) != (shards.bands, shards.pixel_scale):
        raise InputError(
            held_out.files[0].file.filename,
            f"bands {held_out.bands} at {held_out.pixel_scale} arcsec",
            f"{shards.bands} at {shards.pixel_scale} arcsec, as in the train split",
            "Make all splits with one configuration.",
        )
    if config.bands is not None and config.bands != shards.bands:
        raise InputError(
            "bands",
            f"scenes of {shards.bands} in {shards.files[0].file.filename}",
            f"{config.bands}, as in the settings",
            "Name the directory of other scenes, or leave bands out of the settings.",
        )
    side = min(shards.side, held_out.side)
    if config.crop > side:
        raise InputError(
            "crop",
            f"{config.crop} pixels",
            f"at most the scenes' side of {side}",
            "Use a smaller crop or make larger scenes.",
        )
    multiple = config.network(len(shards.bands), 1.0).multiple
    if config.crop % multiple:
        raise InputError(
            "crop",
            f"{config.crop} pixels",
            f"a multiple of {multiple} for this network",
            "Change crop, patch or the number of widths.",
        )
