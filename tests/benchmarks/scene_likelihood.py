"""The prior's log-density of scenes it knows, of scenes it has not seen, and of what are no scenes.

Run as ``python tests/benchmarks/scene_likelihood.py --data DIR [--prior P] [--other NAME=DIR ...]``. By the
probability flow (`synergy.sampling.probability_flow`) it prints, for crops of the same size, the log-density
per number of a scene in nats: median, scatter between scenes, the probes' standard error, and how often a
scene is less likely than every training scene. The sets are training scenes, held-out ones (split ``test``),
and these with noise of 3 and 10 % of their scale, with the pixels within their brightest tenth shuffled, and
with their bands in reverse order; ``--other`` adds the held-out scenes of other folders. All have white
noise of ``--sigma`` on them, whose density is what is measured, and a flux scale of 1.

Held-out scenes as likely as training ones speak against memorisation; noisy and shuffled ones have to be far
less likely.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from synergy import load_prior
from synergy.io.shards import SceneShards
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.gaussian import GaussianDenoiser
from synergy.priors.objective import Amplitudes, normalise
from synergy.sampling.probability_flow import flow_log_density

FIXED = Amplitudes(jitter=1.0, faint_fraction=0.0)


def crops(shards: SceneShards, prior: DiffusionPrior, number: int, size: int) -> np.ndarray:
    """Return crops that hold something, with a flux scale of 1."""
    found = shards.crops(np.random.default_rng(0), 4 * number, size)
    scenes = normalise(jax.random.key(0), jnp.asarray(found), prior.band_scale, shards.pixel_scale, FIXED)
    scenes = np.asarray(scenes)
    return scenes[scenes.mean(axis=(1, 2, 3)) > 3e-3][:number]


def shuffled(scenes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the brightest tenth of each scene's pixels, all bands together."""
    out = scenes.copy()
    for scene in out:
        flat = scene.reshape(len(scene), -1)
        bright = np.argsort(flat.mean(axis=0))[-flat.shape[1] // 10 :]
        flat[:, bright] = flat[:, rng.permutation(bright)]
    return out


def main() -> None:
    """Measure and print one row per set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--other", nargs="*", default=[], metavar="NAME=DIR")
    parser.add_argument("--number", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--probes", type=int, default=2)
    parser.add_argument("--sigma", type=float, default=0.01)
    arguments = parser.parse_args()
    prior, rng = load_prior(arguments.prior), np.random.default_rng(1)

    def read(folder: Path, split: str) -> np.ndarray:
        return crops(SceneShards.open(folder, split), prior, arguments.number, arguments.size)

    held = read(arguments.data, "test")
    sets = {
        "training": read(arguments.data, "train"),
        "held out": held,
        "noise 3 %": held + 0.03 * rng.normal(size=held.shape).astype(np.float32),
        "noise 10 %": held + 0.1 * rng.normal(size=held.shape).astype(np.float32),
        "shuffled": shuffled(held, rng),
        "bands reversed": np.ascontiguousarray(held[:, ::-1]),
    }
    for text in arguments.other:
        name, folder = text.split("=", 1)
        sets[name] = read(Path(folder), "test")
    sigmas = prior.schedule.grid(arguments.steps, sigma_min=arguments.sigma)[-2::-1]
    end = GaussianDenoiser(prior.covariance).log_density
    print(f"{prior.id}: ln p per number at sigma {arguments.sigma}, {arguments.size} pixels")  # noqa: T201
    print("set                median  scatter   probes   below all training")  # noqa: T201
    lowest = None
    for name, scenes in sets.items():
        noisy = scenes + np.float32(arguments.sigma) * rng.normal(size=scenes.shape).astype(np.float32)
        values, errors = [], []
        for first in range(0, len(noisy), 4):
            key = jax.random.key(first)
            part = jnp.asarray(noisy[first : first + 4])
            found = flow_log_density(prior, part, sigmas, end, key, arguments.probes)
            values.append(found.log_density / part[0].size)
            errors.append(found.standard_error / part[0].size)
        value = np.concatenate(values)
        lowest = value.min() if lowest is None else lowest
        print(  # noqa: T201
            f"{name:16} {np.median(value):8.4f} {value.std():8.4f} {np.mean(np.concatenate(errors)):8.4f}"
            f"   {np.mean(value < lowest):6.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
