"""Compare networks and training settings at equal compute.

    python tests/benchmarks/network_study.py --data SCENES --out DIR [--seconds 300] [--only NAME ...]

trains each variant from random weights for the same number of processor seconds of this process, whatever
else the machine does. A variant that is done is kept, so the study can be cut and run again; the table is
printed from all that are there.

Printed is the held-out denoising error at each noise level relative to the matched Gaussian optimum, the
error of the best linear denoiser of a field with the scenes' own spectra (`synergy.training.validation`): 1
is a Wiener filter, less is what morphology and colours are worth.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from synergy.io.atomic import write_bytes
from synergy.io.shards import SceneShards
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.statistics import SceneStatistics, measure_scenes
from synergy.priors.unet import make_unet
from synergy.training.settings import TrainConfig
from synergy.training.step import Devices, TrainState, make_step
from synergy.training.validation import SIGMAS, make_validation, mean_ratio

BASE = {
    "precision": "auto",
    "optimiser": "muon",
    "variance": False,
    "crop": 64,
    "batch": 4,
    "learning_rate": 1e-3,
    "warmup": 100,
    "decay_from": 500,
    "validation_scenes": 48,
}
"""Settings of all variants: small crops, so that minutes hold hundreds of steps."""

VARIANTS = {
    "base (64,96,128)x2": {},
    "half depth x1": {"blocks": 1},
    "small (48,64,96)x1": {"widths": (48, 64, 96), "blocks": 1},
    "narrow top (32,96,192)x2": {"widths": (32, 96, 192)},
    "no space to depth": {"patch": 1, "widths": (32, 64, 128)},
    "patch 4 (64,128)x1": {"patch": 4, "widths": (64, 128), "blocks": 1},
    "patch 4 (96,128,192)x2": {"patch": 4, "widths": (96, 128, 192)},
    "patch 4 (128,192)x2": {"patch": 4, "widths": (128, 192)},
    "separable": {"block": "separable"},
    "attention": {"attention": True},
    "not companded": {"companded": False},
    "5 spectral components": {"rank": 5},
    "unit weights": {"unit_weights": True},
    "variance head": {"variance": True},
    "Adam": {"optimiser": "adam"},
    "Adam, rate 5e-4": {"optimiser": "adam", "learning_rate": 5e-4},
    "rate 5e-4": {"learning_rate": 5e-4},
    "rate 2e-3": {"learning_rate": 2e-3},
    "more low noise": {"schedule": NoiseSchedule(log_mean=-2.0, log_std=2.0)},
    "half log-uniform": {"schedule": NoiseSchedule(uniform_fraction=0.5)},
    "weights not damped": {"damping": 0.0},
    "crop 128, batch 1": {"crop": 128, "batch": 1},
    "batch 8": {"batch": 8},
}
"""Settings that differ from the base's."""


def run(name: str, data: Path, statistics: SceneStatistics, seconds: float, path: Path) -> None:
    """Train one variant and write what it has reached."""
    config = TrainConfig(name=name, steps=10**9, **(BASE | VARIANTS[name]))
    train, held_out = SceneShards.open(data, "train"), SceneShards.open(data, "validation")
    params = make_unet(config.network(len(train.bands), statistics.data_std))[0](jax.random.key(config.seed))
    devices = Devices.of(config.batch)
    state = jax.device_put(TrainState.begin(params, config), devices.whole)
    step = make_step(config, statistics, train.pixel_scale, devices)
    validate = make_validation(config, statistics, held_out, devices)
    spent, index = 0.0, 0
    while spent < seconds:
        scenes = train.crops(np.random.default_rng([config.seed, 3, index]), config.batch, config.crop)
        clock = time.process_time()
        state, outcome = step(state, jax.device_put(scenes, devices.split))
        outcome.loss.block_until_ready()
        spent += time.process_time() - clock if index else 0.0  # the first one compiles
        index += 1
    curves = [validate(average) for average in state.averages]
    result = {
        "parameters": sum(v.size for g in params.values() for v in g.values()),
        "steps": index,
        "seconds": spent,
        "ratios": {f"{level.sigma:g}": level.ratio for level in curves[0].levels},
        "means": [mean_ratio(curve) for curve in curves],
    }
    write_bytes(path, json.dumps(result, indent=1).encode())


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of training scenes")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--seconds", type=float, default=300.0, help="processor seconds per variant")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    base = TrainConfig(name="base", steps=1, **BASE)
    statistics = measure_scenes(
        SceneShards.open(arguments.data, "train"), base.crop, base.amplitudes, base.seed
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = {
        name: arguments.out / (name.translate(str.maketrans(" (),.", "_____")) + ".json") for name in VARIANTS
    }
    for name in arguments.only:
        if not paths[name].exists():
            run(name, arguments.data, statistics, arguments.seconds, paths[name])
    table = Table(title=f"error / Gaussian optimum after {arguments.seconds:g} processor seconds")
    columns = ("variant", "weights", "steps", *(f"{s:g}" for s in SIGMAS), "mean", "wider average")
    for column in columns:
        table.add_column(column)
    for name, path in paths.items():
        if path.exists():
            found = json.loads(path.read_text())
            size = f"{found['parameters'] / 1e6:.2f} M"
            table.add_row(
                name,
                size,
                str(found["steps"]),
                *(f"{r:.3f}" for r in (*found["ratios"].values(), *found["means"])),
            )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
