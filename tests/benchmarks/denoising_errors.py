r"""Denoising errors of priors on scenes of several kinds.

    python tests/benchmarks/denoising_errors.py --prior default [DIR ...] \
        --scenes SCENES:train SCENES:validation SCENES_TNG:test SCENES_HST:test [--number 96] [--crop 96]

For each set of scenes and each prior: the mean squared error of the denoised scene in units of sigma squared,
and its ratio to the error of the best linear denoiser of a Gaussian field with these scenes' own
spectra and colours (`synergy.training.validation`). A prior that has learned its training scenes by heart has
smaller errors on them than on others; what a kind of galaxy costs that it has never seen, the last sets tell:

    synergy mock configs/mock/scenes_tng.yaml --data DATA --out SCENES_TNG
    synergy mock configs/mock/scenes_hst.yaml --data DATA --out SCENES_HST
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from synergy import load_prior
from synergy.io.shards import SceneShards
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.statistics import SceneStatistics
from synergy.training.settings import TrainConfig
from synergy.training.step import Devices
from synergy.training.validation import SIGMAS, Curve, make_validation, mean_ratio


def curve(prior: DiffusionPrior, shards: SceneShards, number: int, crop: int) -> Curve:
    """Return a prior's errors on the scenes of `shards`."""
    network = dataclasses.asdict(prior.network)
    del network["bands"], network["data_std"]
    config = TrainConfig(name="errors", steps=1, crop=crop, validation_scenes=number, **network)
    scales = np.asarray(prior.band_scale)
    statistics = SceneStatistics(scales, prior.network.data_std, prior.covariance, ())
    return make_validation(config, statistics, shards, Devices.of(config.batch))(prior.params)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prior", nargs="+", default=["default"])
    parser.add_argument("--scenes", nargs="+", required=True, metavar="DIR:SPLIT")
    parser.add_argument("--number", type=int, default=96, help="crops of each set")
    parser.add_argument("--crop", type=int, default=96, help="pixels")
    arguments = parser.parse_args()
    table = Table(
        title=f"error / sigma^2, and its ratio to the best linear denoiser's, {arguments.number} crops"
    )
    for column in ("scenes", "prior", "", *(f"{sigma:g}" for sigma in SIGMAS), "mean"):
        table.add_column(column, no_wrap=True)
    for place in arguments.scenes:
        folder, _, split = place.rpartition(":")
        shards = SceneShards.open(Path(folder), split)
        for name in arguments.prior:
            prior = load_prior(name)
            if shards.bands != prior.bands:
                parser.error(f"{folder} has bands {shards.bands}, {name} has {prior.bands}")
            found = curve(prior, shards, arguments.number, arguments.crop)
            named = f"{Path(folder).name}:{split}", prior.id
            table.add_row(*named, "error", *(f"{level.error:.2e}" for level in found.levels))
            ratios = [f"{level.ratio:.3f}" for level in found.levels]
            table.add_row("", "", "ratio", *ratios, f"{mean_ratio(found):.3f}", end_section=True)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
