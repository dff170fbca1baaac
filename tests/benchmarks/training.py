"""Speed and memory of training, beside the bare forward and backward pass of the network.

Run as ``python tests/benchmarks/training.py CONFIG [--data DIR] [--steps N]``, with a configuration such as
``configs/train/laptop.yaml``; without data, scenes of random discs are made, in ten bands at 128 x 128
pixels, deflated as shards are.

*Bare* is the gradient of the mean square of the network's outputs, on one batch that is already there, with
weights and gradients left where they are. *Trainer* is the time between steps of a real run: reading, turning
and normalising crops, noise, loss, clipping, Adam and averages; checkpoints and validations come on top and
are timed by themselves. The two take turns, and medians over all steps are compared, by the clock and by the
time of all cores; on a machine that does other work only the latter means something.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from synergy.allocator import keep_freed_memory
from synergy.config import load
from synergy.io.shards import SceneShards
from synergy.priors.network import Params
from synergy.priors.unet import make_unet_with_variance
from synergy.survey import SCENE_BANDS
from synergy.train import TrainConfig, train

TURNS = 2


def make_scenes(folder: Path) -> None:
    """Write discs, a chunk per scene."""
    rng = np.random.default_rng(0)
    y, x = np.indices((128, 128))
    for split, count in (("train", 64), ("validation", 16)):
        with h5py.File(folder / f"pairs-{split}-00000.h5", "w") as file:
            shape = (len(SCENE_BANDS), 128, 128)
            data = file.create_dataset(
                "truth/flux", (count, *shape), "f4", chunks=(1, *shape), shuffle=True, compression=1
            )
            for row in range(count):
                centre, length = rng.uniform(20, 108, 2), rng.uniform(2, 12)
                disc = np.exp(-np.hypot(y - centre[0], x - centre[1]) / length)
                data[row] = disc * rng.uniform(1, 100, (shape[0], 1, 1))
            file.attrs["bands"], file.attrs["pixel_scale"] = json.dumps(SCENE_BANDS), 0.05


def now() -> np.ndarray:
    """Return the clock and the time of all cores, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def bare(config: TrainConfig, data: Path) -> Callable[[], object]:
    """Return the bare forward and backward pass on one batch."""
    shards = SceneShards.open(data, "train")
    init, apply = make_unet_with_variance(config.network(len(shards.bands), 1.0))
    params = init(jax.random.key(0))
    noisy = jnp.asarray(shards.crops(np.random.default_rng(0), config.batch, config.crop))
    sigma = jnp.ones(config.batch)

    # Arguments all: of what is known when it compiles, the compiler makes constants.
    @jax.jit
    @jax.grad
    def gradient(params: Params, noisy: jax.Array, sigma: jax.Array) -> jax.Array:
        return sum(jnp.mean(output**2) for output in jax.tree.leaves(apply(params, noisy, sigma)))

    return lambda: jax.block_until_ready(gradient(params, noisy, sigma))


def main() -> None:
    """Measure and print."""
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=12, help="steps of each turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.data is None:
            make_scenes(folder)
        measure(arguments, arguments.data or folder, folder / "run")


def measure(arguments: argparse.Namespace, data: Path, out: Path) -> None:
    """Let the two take turns."""
    never = {"checkpoint_every": 10**9, "validate_every": 10**9}
    config = load(arguments.config, TrainConfig).model_copy(update=never)
    forward_backward = bare(config, data)
    forward_backward()
    bare_times, step_times, extra = [], [], []
    for turn in range(TURNS):
        for _ in range(arguments.steps):
            before = now()
            forward_backward()
            bare_times.append(now() - before)
        moments = []
        config = config.model_copy(update={"steps": (turn + 1) * (arguments.steps + 3)})
        train(
            config,
            data,
            out,
            resume=turn > 0,
            progress=lambda done, total, label, moments=moments: moments.append((label, now())),
        )
        extra.append(now() - moments[-1][1])
        # Compiling comes before the first step; the last one ends before the checkpoint.
        steps = [moment for label, moment in moments if label.startswith("loss")]
        step_times.extend(np.diff(steps[1:], axis=0))
    bare_time, step_time = np.median(bare_times, axis=0), np.median(step_times, axis=0)
    both, both_cores = np.median(extra, axis=0)
    ratio, rate = bare_time / step_time, config.batch / step_time
    lines = [
        f"{config.name}: batch {config.batch} of {config.crop} pixels "
        f"on {jax.device_count()} x {jax.devices()[0].device_kind}",
        f"bare forward + backward   {bare_time[0]:8.3f} s   {bare_time[1]:8.3f} core s",
        f"step of the trainer       {step_time[0]:8.3f} s   {step_time[1]:8.3f} core s",
        f"ratio of their rates      {ratio[0]:8.3f}     {ratio[1]:8.3f}",
        f"crops per second          {rate[0]:8.2f}     {rate[1]:8.2f} per core second, "
        f"{rate[0] / jax.device_count():.2f} per device second",
        f"validation + checkpoint   {both:8.3f} s   {both_cores:8.3f} core s",
        f"peak memory               {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:8.2f} GB",
    ]
    for device in jax.devices():
        if stats := device.memory_stats():
            lines.append(f"peak memory of {device}   {stats['peak_bytes_in_use'] / 1e9:8.2f} GB")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
