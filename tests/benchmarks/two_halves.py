"""Compare two priors that were trained on disjoint halves of the galaxies, level by level.

    synergy mock configs/mock/scenes_first_half.yaml --data DATA --out FIRST   (and the second)
    synergy train configs/train/half.yaml --data FIRST --out RUN               (and the second)

Run as ``python tests/benchmarks/two_halves.py PRIOR PRIOR --data DIR [--number N] [--size S]``. Both denoise
the same noisy held-out scenes (the split ``test`` of the folder); what is printed is explained in
`synergy.metrics.denoising`. Priors that have learned scenes and not their training set agree: the cosines
are near 1 and the disagreement is small beside 1.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from synergy import InputError, load_prior
from synergy.io.shards import SceneShards
from synergy.metrics.denoising import agreement
from synergy.priors.objective import Amplitudes, normalise

LEVELS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def main() -> None:
    """Compare and print one row per noise level."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("priors", nargs=2)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--number", type=int, default=32)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    first, second = (load_prior(name) for name in arguments.priors)
    if first.bands != second.bands or first.pixel_scale != second.pixel_scale:
        raise InputError(
            arguments.priors[1],
            f"{', '.join(second.bands)} at {second.pixel_scale} arcsec",
            f"{', '.join(first.bands)} at {first.pixel_scale} arcsec as in {arguments.priors[0]}",
            "Compare priors of the same scenes.",
        )
    shards = SceneShards.open(arguments.data, "test")
    crops = shards.crops(np.random.default_rng(0), arguments.number, arguments.size)
    key = jax.random.key(0)
    # Halves differ a little in the bands' scales; both see scenes in the first one's units.
    clean = normalise(key, jnp.asarray(crops), first.band_scale, shards.pixel_scale, Amplitudes())
    print(f"{first.id} and {second.id}, {arguments.number} held-out scenes")  # noqa: T201
    print("  sigma    cosine    of corrections  disagreement")  # noqa: T201
    for row in agreement((first, second), np.asarray(clean), LEVELS, key):
        line = f"{row.sigma:7.3g}   {row.cosine:.5f}   {row.cosine_of_corrections:.5f}         "
        print(f"{line}{row.disagreement:.4f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
