"""Compare networks and training settings at equal compute.

    python tests/benchmarks/network_study.py --data SCENES --out DIR [--seconds 900] [--only NAME ...]

trains each variant from random weights for the same number of processor seconds of this process, whatever
else the machine does, with validation at a quarter, a half and the end. A variant that is done is kept, so
the study can be cut and run again; the table is printed from all that are there.

Printed is the held-out denoising error at each noise level relative to the matched Gaussian optimum, the
error of the best linear stationary denoiser,  sum P sigma^2/(P + sigma^2),  with the scenes' own spectra P:
1 is a Wiener filter, less is what morphology and colours are worth.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from synergy.io.atomic import write_bytes
from synergy.io.shards import SceneShards
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.statistics import SceneStatistics, measure_scenes
from synergy.priors.unet import make_unet
from synergy.train import VALIDATION_SIGMAS, TrainConfig, TrainState, make_step, validation_curve

VARIANTS = {
    "base (64,96,128)x2": {},
    "half depth x1": {"blocks": 1},
    "small (48,64,96)x1": {"widths": (48, 64, 96), "blocks": 1},
    "no space to depth": {"patch": 1, "widths": (32, 64, 128)},
    "patch 4 (96,128,192)x2": {"patch": 4, "widths": (96, 128, 192)},
    "patch 4 (128,192)x2": {"patch": 4, "widths": (128, 192)},
    "narrow top (32,96,192)x2": {"widths": (32, 96, 192)},
    "separable": {"block": "separable"},
    "attention": {"attention": True},
    "not companded": {"companded": False},
    "5 spectral components": {"rank": 5},
    "unit weights": {"unit_weights": True},
    "rate 1e-3": {"learning_rate": 1e-3},
    "more low noise": {"schedule": NoiseSchedule(log_mean=-2.0, log_std=2.0)},
    "half log-uniform": {"schedule": NoiseSchedule(uniform_fraction=0.5)},
    "crop 64, batch 18": {"crop": 64, "batch": 18},
}
"""Settings that differ from the base's."""


def gaussian_optimum(statistics: SceneStatistics, sigma: float, side: int) -> float:
    """Return the error over sigma squared of the best stationary linear denoiser."""
    power = np.asarray(statistics.covariance.spectra(side, side), np.float64)
    weight = np.full(power.shape[-1], 2.0)  # of the half plane of a real transform
    weight[0] = weight[-1] = 1.0
    return float(np.average((power / (power + sigma**2)).mean(axis=(0, 1)), weights=weight))


def run(name: str, data: Path, statistics: SceneStatistics, seconds: float, path: Path) -> None:
    """Train one variant and write its curve."""
    config = TrainConfig(name=name, steps=10**9, warmup=100, decay_from=500, variance=False, **VARIANTS[name])
    train, held_out = SceneShards.open(data, "train"), SceneShards.open(data, "validation")
    params = make_unet(config.network(len(train.bands), statistics.data_std))[0](jax.random.key(config.seed))
    state = TrainState(params, jax.tree.map(jnp.copy, params), config.optimiser().init(params), jnp.int32(0))
    step = make_step(config, statistics, train.pixel_scale)
    result: dict = {"parameters": sum(v.size for g in params.values() for v in g.values()), "curve": []}
    spent, index = 0.0, 0
    for mark in (0.25, 0.5, 1.0):
        while spent < mark * seconds:
            scenes = train.crops(np.random.default_rng([config.seed, 3, index]), config.batch, config.crop)
            clock = time.process_time()
            state, loss = step(state, jnp.asarray(scenes))
            loss.block_until_ready()
            spent += time.process_time() - clock if index else 0.0  # the first one compiles
            index += 1
        errors = validation_curve(state.average, config, statistics, held_out)
        result["curve"].append({"steps": index, "seconds": spent} | errors)
        console.print(name, result["curve"][-1])
    write_bytes(path, json.dumps(result, indent=1).encode())


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of training scenes")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--seconds", type=float, default=900.0, help="processor seconds per variant")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    base = TrainConfig(name="base", steps=1)
    statistics = measure_scenes(
        SceneShards.open(arguments.data, "train"), base.crop, base.amplitudes, base.seed
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = {
        name: arguments.out / (name.translate(str.maketrans(" (),", "____")) + ".json") for name in VARIANTS
    }
    for name in arguments.only:
        if not paths[name].exists():
            run(name, arguments.data, statistics, arguments.seconds, paths[name])
    table = Table(title=f"error / Gaussian optimum after {arguments.seconds:g} processor seconds")
    for column in ("variant", "parameters", "steps", *(f"{s:g}" for s in VALIDATION_SIGMAS)):
        table.add_column(column)
    for name, path in paths.items():
        if path.exists():
            found = json.loads(path.read_text())
            last = found["curve"][-1]
            ratios = [
                last[f"error_{s:g}"] / gaussian_optimum(statistics, s, base.crop) for s in VALIDATION_SIGMAS
            ]
            table.add_row(
                name, f"{found['parameters'] / 1e6:.2f} M", str(last["steps"]), *(f"{r:.3f}" for r in ratios)
            )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
