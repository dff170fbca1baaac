"""How well priors and samplers reconstruct a fixed set of mocks: error and coverage, by band.

    synergy mock configs/mock/euclid_wide_lsst_y10.yaml --data DATA --out MOCKS
    python tests/benchmarks/prior_on_mocks.py MOCKS --out DIR [--priors default PATH ...] [--pairs 16]
        [--samplers sde_2m:32:0 ancestral_drawn:16:4]

reconstructs the first pairs of the test split with each prior and sampler (integrator, steps, corrector
sweeps), on the truth's grid and a margin around it, and prints per band the median over pairs of the
posterior mean's NMSE (and the ratio to that of the first named, pair by pair), and how often the truth lies
in the pixels' 68 and 95 % intervals. Results are kept pair by pair, so a cut run goes on.
"""

import argparse
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from synergy import SamplerSettings, load_prior, reconstruct
from synergy.calibration.campaign import enlarged
from synergy.io.atomic import write_bytes
from synergy.io.pairs import Pair, PairShards
from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse
from synergy.priors.diffusion import DiffusionPrior

MARGIN = 16
"""Scene pixels around the truth, from where light reaches the images."""


def settings(sampler: str) -> SamplerSettings:
    """Return the settings that ``integrator:steps:sweeps`` stands for."""
    integrator, steps, sweeps = sampler.split(":")
    return SamplerSettings(steps=int(steps), integrator=integrator, corrector_sweeps=int(sweeps))


def measure(pair: Pair, prior: DiffusionPrior, sampler: str, draws: int) -> dict[str, list[float]]:
    """Reconstruct one pair and compare with its truth."""
    frame = enlarged(pair.frame, MARGIN)
    posterior = reconstruct(list(pair.observations), prior, 0, draws, settings(sampler), frame)
    inner = posterior.draws[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    inside = coverage(inner, pair.truth)
    chi2 = float(posterior.chi2.sum() / posterior.n_pixels.sum() / draws)
    return {
        "nmse": nmse(inner.mean(axis=0), pair.truth).tolist(),
        "in68": inside[0].tolist(),
        "in95": inside[1].tolist(),
        "chi2": [chi2],
    }


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mocks", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--priors", nargs="+", default=["default"])
    parser.add_argument("--samplers", nargs="+", default=["sde_2m:32:0"])
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--draws", type=int, default=8)
    arguments = parser.parse_args()
    console = Console(width=150)
    arguments.out.mkdir(parents=True, exist_ok=True)
    pairs = PairShards.open(arguments.mocks, "test")
    found: dict[str, list[dict[str, list[float]]]] = {}
    bands = pairs[0].bands
    for name, sampler in itertools.product(arguments.priors, arguments.samplers):
        prior = load_prior(name)
        method = f"{prior.id} {sampler}"
        for index in range(arguments.pairs):
            pair = pairs[index]
            tag = hashlib.sha256(f"{method} {pair.id} {arguments.draws}".encode()).hexdigest()[:16]
            path = arguments.out / f"{tag}.json"
            if not path.exists():
                write_bytes(path, json.dumps(measure(pair, prior, sampler, arguments.draws)).encode())
            found.setdefault(method, []).append(json.loads(path.read_text()))
            console.print(f"{method} {index + 1}/{arguments.pairs}", end="\r")
    first = np.array([row["nmse"] for row in next(iter(found.values()))])
    for name, rows in found.items():
        errors = np.array([row["nmse"] for row in rows])
        chi2 = np.median([row["chi2"] for row in rows])
        table = Table(title=f"{name}: {len(rows)} pairs, chi2/pixel {chi2:.3f}")
        for column in ("band", "NMSE (median)", "of the first", "in 68 %", "in 95 %"):
            table.add_column(column)
        inside = {key: np.mean([row[key] for row in rows], axis=0) for key in ("in68", "in95")}
        for b, band in enumerate(bands):
            table.add_row(
                band,
                f"{np.median(errors[:, b]):.4f}",
                f"{np.median(errors[:, b] / first[:, b]):.2f}",
                f"{inside['in68'][b]:.3f}",
                f"{inside['in95'][b]:.3f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
