"""Every sampler on every problem whose posterior is known exactly.

Run as ``python tests/benchmarks/sampler_battery.py [--draws N] [--samplers NAME ...]``. The columns are those
of `oracles.judge`; rows *exact* are exact draws, the floor of what so many draws can show. Priors are exact,
so what is seen is the sampler's own error.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import oracles
from samplers import SAMPLERS

COLUMNS = ("mean", "variance", "coverage", "fit", "modes")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    arguments = parser.parse_args()
    console = Console(width=110)
    for make in (oracles.gaussian, oracles.mixture, oracles.catalogue):
        oracle = make()
        largest = np.sort(oracle.masses)[::-1][:6].round(3)
        table = Table("sampler", *COLUMNS, "seconds", title=f"{make.__name__}, largest masses {largest}")
        for seed in range(2):
            judgement = oracles.judge(oracle, oracle.draw(seed + 1, arguments.draws))
            table.add_row("exact", *(f"{judgement[column]:.3f}" for column in COLUMNS), "")
        for name in arguments.samplers:
            started = time.perf_counter()
            draws = SAMPLERS[name](oracle, jax.random.key(1), arguments.draws)
            seconds = f"{time.perf_counter() - started:.1f}"
            if np.isfinite(draws).all():
                judgement = oracles.judge(oracle, draws)
                table.add_row(name, *(f"{judgement[column]:.3f}" for column in COLUMNS), seconds)
            else:
                table.add_row(name, *["not finite"] * len(COLUMNS), seconds)
        console.print(table)


if __name__ == "__main__":
    main()
