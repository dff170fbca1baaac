"""Judge what a prior draws: against held-out scenes, and against what it was trained on.

Run as ``python tests/benchmarks/generation.py --data DIR --out DIR [--prior P] [--drawn FILE] [--number N]``,
where the first holds shards of the splits ``train`` and ``test`` and ``--drawn`` names scenes written by
``synergy sample`` (drawn here when omitted). It prints

- the light that denoising held-out scenes keeps at each noise level,
- a table of statistics of drawn and held-out scenes: medians, Cohen's d and its error, Cliff's delta and the
  p-value of Kolmogorov and Smirnov's test (see `synergy.metrics.scenes` and `two_sample`), and beside it the
  d between two halves of the held-out scenes, which is what chance does,
- PQMass on the numbers of whole scenes and on those of their galaxies, and
- how near drawn and held-out galaxies lie to the training galaxies (see `synergy.metrics.memorisation`),

and writes ``shuffled.png``, drawn among held-out scenes without labels, with the answers in ``key.txt``, and
``nearest.png``, the drawn galaxies that lie nearest to training ones beside these.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from synergy import load_prior
from synergy.drawn_scenes import DrawnScenes
from synergy.generation import DrawSettings, draw_scenes
from synergy.io.shards import SceneShards
from synergy.metrics.denoising import light_kept
from synergy.metrics.memorisation import galaxy_vector, nearest
from synergy.metrics.morphology import NAMES
from synergy.metrics.pqmass import pqmass
from synergy.metrics.scenes import EMPTY, scene_statistics
from synergy.metrics.two_sample import compare
from synergy.plot_scenes import plot_scenes
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.objective import Amplitudes, normalise

LEVELS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 40.0)
COLOUR = ("lsst.g", "euclid.H")
BATCH = 64


def report(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def held_out(shards: SceneShards, prior: DiffusionPrior, number: int, size: int, seed: int) -> np.ndarray:
    """Return crops of different scenes in the prior's units, as training shows them."""
    rng, crops = np.random.default_rng(seed), []
    for index in rng.permutation(len(shards))[:number]:
        whole = shards.scene(int(index))
        top, left = (int(rng.integers(0, n - size + 1)) for n in whole.shape[1:])
        crops.append(whole[:, top : top + size, left : left + size])
    key, unit = jax.random.key(seed), prior.band_scale
    return np.asarray(normalise(key, jnp.asarray(np.stack(crops)), unit, shards.pixel_scale, Amplitudes()))


def training_galaxies(shards: SceneShards, unit: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    """Yield the vectors of the training galaxies, a batch at a time."""
    number = min(limit, len(shards))
    for first in range(0, number, BATCH):
        indices = range(first, min(first + BATCH, number))
        vectors = (galaxy_vector(shards.scene(i) / unit, shards.pixel_scale) for i in indices)
        # Scenes without a galaxy keep their place, so that numbers are those of the shards.
        empty = np.zeros((3, 21, 21), np.float32)
        yield np.stack([empty if v is None else v for v in vectors])


def table(drawn: dict, held: dict, rng: np.random.Generator) -> None:
    """Print the two-sample table."""
    head = f"{'statistic':28} {'n drawn':>7} {'n held':>7} {'drawn':>8} {'held':>8} {'d':>7} {'+-':>5}"
    report(f"{head} {'cliff':>6} {'KS p':>8} {'d halves':>8}")
    for name, values in drawn.items():
        order = rng.permutation(len(held[name]))
        try:
            found = compare(values, held[name], rng)
            halves = compare(held[name][order[::2]], held[name][order[1::2]], rng, 2)
        except ValueError as error:
            report(f"{name:28} {error}")
            continue
        report(
            f"{name:28} {found.numbers[0]:7} {found.numbers[1]:7} {found.medians[0]:8.3f} "
            f"{found.medians[1]:8.3f} {found.cohen:7.2f} {found.cohen_error:5.2f} {found.cliff:6.2f} "
            f"{found.ks_pvalue:8.2g} {halves.cohen:8.2f}"
        )


def masses(drawn: dict, held: dict, rng: np.random.Generator) -> None:
    """Print PQMass on the numbers of whole scenes and of their brightest galaxies, where all are finite."""
    for title, names in (("scenes", [n for n in drawn if n not in NAMES]), ("galaxies", NAMES)):
        points = [np.stack([values[n] for n in names], axis=1) for values in (drawn, held)]
        points = [p[np.isfinite(p).all(axis=1)] for p in points]
        found = f"PQMass of {title}, {len(names)} numbers of {len(points[0])} drawn and {len(points[1])} held"
        try:
            result = pqmass(*points, rng, cells=min(32, sum(map(len, points)) // 8))
        except ValueError as error:
            report(f"{found}: {error}")
            continue
        chance = f"chance 1 +- {result.spread:.2f}"
        report(f"{found}: chi2/dof {result.chi2_per_dof:.2f} ({chance}), p {result.pvalue:.3g}")


def shuffle(drawn: np.ndarray, held: np.ndarray, prior: DiffusionPrior, out: Path, seed: int) -> None:
    """Draw the sheet of drawn among held-out scenes that hold something, and write its key."""
    rng = np.random.default_rng([seed, 5])
    parts = [p[p.mean(axis=(1, 2, 3)) > 1e-3] for p in (drawn, held)]
    count = min(24, *(len(p) for p in parts))
    scenes = np.concatenate([p[rng.choice(len(p), count, replace=False)] for p in parts])
    order = rng.permutation(2 * count)
    titles = [str(i) for i in range(1, 2 * count + 1)]
    plot_scenes(scenes[order], prior.bands, prior.pixel_scale, out / "shuffled.png", titles=titles)
    answers = [f"{i} {'drawn' if k < count else 'held out'}" for i, k in enumerate(order, start=1)]
    (out / "key.txt").write_text("\n".join(answers) + "\n")


def memorisation(
    sets: dict[str, np.ndarray], train: SceneShards, prior: DiffusionPrior, limit: int, out: Path
) -> None:
    """Print the distances to the nearest training galaxies and show the nearest pairs."""
    unit = np.asarray(prior.band_scale)[:, None, None]
    vectors, origin = {}, {}
    for name, scenes in sets.items():
        found = [galaxy_vector(s, prior.pixel_scale) for s in scenes if s.mean() > 1e-3]
        kept = [s for s in scenes if s.mean() > 1e-3]
        origin[name] = [s for s, v in zip(kept, found, strict=True) if v is not None]
        vectors[name] = np.stack([v for v in found if v is not None])
    both = np.concatenate(list(vectors.values()))
    distance, index = nearest(both, training_galaxies(train, unit, limit))
    first = len(vectors["drawn"])
    drawn, held = distance[:first], distance[first:]
    found = compare(drawn, held, np.random.default_rng(0))
    report(f"\nnearest of {min(limit, len(train))} training galaxies: quantiles 0, 1, 10, 50, 100 %")
    for name, values in (("drawn", drawn), ("held out", held)):
        numbers = " ".join(f"{q:6.3f}" for q in np.percentile(values, [0, 1, 10, 50, 100]))
        report(f"  {name:9} {numbers}   ({len(values)})")
    closest = np.mean(drawn < np.percentile(held, 1))
    report(f"  d {found.cohen:.2f} +- {found.cohen_error:.2f}, KS p {found.ks_pvalue:.2g};")
    report(f"  drawn galaxies below 1 % of the held-out ones' distances: {closest:.1%} (copies lie there)")
    pairs = []
    for i in np.argsort(drawn)[:12]:
        side = origin["drawn"][i].shape[-1]
        pairs += [origin["drawn"][i], (train.scene(int(index[i])) / unit)[:, :side, :side]]
    titles = [t for i in np.sort(drawn)[:12] for t in (f"drawn {i:.2f}", "training")]
    plot_scenes(np.stack(pairs), prior.bands, prior.pixel_scale, out / "nearest.png", titles=titles)


def main() -> None:
    """Judge one prior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drawn", type=Path)
    parser.add_argument("--number", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=250)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--training", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    prior = load_prior(arguments.prior)
    test = SceneShards.open(arguments.data, "test")
    if arguments.drawn is None:
        settings = DrawSettings(arguments.size, arguments.seed, arguments.steps)
        drawn = np.concatenate(list(draw_scenes(prior, arguments.number, settings)))
    else:
        drawn = DrawnScenes.read(arguments.drawn).normalised
    held = held_out(test, prior, arguments.held_out, drawn.shape[-1], arguments.seed)

    kept = light_kept(prior, held[:64], LEVELS, jax.random.key(1))
    report("light kept by denoising held-out scenes (1 everywhere for a posterior mean)")
    report("  sigma " + " ".join(f"{s:7.3g}" for s in LEVELS))
    report("  kept  " + " ".join(f"{k:7.3f}" for k in kept[:, 0]))
    report("  +-    " + " ".join(f"{e:7.3f}" for e in kept[:, 1]) + "\n")

    statistics = [scene_statistics(s, prior.bands, prior.pixel_scale, COLOUR) for s in (drawn, held)]
    empty = [np.mean(10 ** s["scale"] < EMPTY) for s in statistics]
    whole = [np.mean(np.isfinite(s["size"])) for s in statistics]
    report(f"mean pixel: drawn {drawn.mean():.4f}, held out {held.mean():.4f}")
    report(f"empty (scale < {EMPTY}): drawn {empty[0]:.1%}, held out {empty[1]:.1%}")
    report(f"brightest source wholly inside: drawn {whole[0]:.1%}, held out {whole[1]:.1%}\n")
    rng = np.random.default_rng(arguments.seed)
    table(*statistics, rng)
    report()
    masses(*statistics, rng)
    train = SceneShards.open(arguments.data, "train")
    memorisation({"drawn": drawn, "held out": held}, train, prior, arguments.training, arguments.out)
    shuffle(drawn, held, prior, arguments.out, arguments.seed)
    report(f"\nfigures and key: {arguments.out}")


if __name__ == "__main__":
    main()
