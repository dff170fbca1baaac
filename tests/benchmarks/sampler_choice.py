"""Which covariance, how many steps, how many iterations: accuracy and cost on the demonstration scenes.

Run as ``python tests/benchmarks/sampler_choice.py [--prior P] [--draws N] [--seeds K] [SETTING ...]`` with
settings ``covariance,steps,iterations`` such as ``prior,32,4``. For each it prints, averaged over the scenes
and bands: the posterior mean's NMSE, the share of truth pixels within the 68 and 95 % intervals, chi-squared
per pixel of the draws, draws that had to be made again, and the time per draw (compilation excluded) beside
that of the bare network.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.demo import make_demo
from synergy import SamplerSettings, load_prior, reconstruct
from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse

DEFAULT = [*(f"prior,{n}" for n in ("16,4", "32,2", "32,4", "32,8", "64,4")), "tweedie,16,3", "tweedie,32,3"]


def network_seconds(prior, shape: tuple[int, ...]) -> float:
    """Return the time of one evaluation of the bare network on a batch."""
    run = jax.jit(lambda p, x, s: p(x, s))
    noisy, sigma = jnp.ones(shape, jnp.float32), jnp.float32(1.0)
    run(prior, noisy, sigma).block_until_ready()
    start = time.perf_counter()
    run(prior, noisy, sigma).block_until_ready()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one row per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", default=DEFAULT)
    parser.add_argument("--prior", default="default")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    prior = load_prior(arguments.prior)
    demos = [make_demo(seed) for seed in range(arguments.seeds)]
    bare = network_seconds(prior, (arguments.draws, *demos[0][0].shape)) / arguments.draws
    print(f"{prior.id}: bare network {bare:.3f} s per evaluation and draw")  # noqa: T201
    print("setting          NMSE    in 68   in 95   chi2    redone  s/draw  / bare")  # noqa: T201
    for text in arguments.settings:
        covariance, steps, iterations = text.split(",")
        settings = SamplerSettings(
            steps=int(steps), covariance=covariance, iterations=int(iterations), batch=arguments.draws
        )
        rows, seconds = [], []
        for seed, (truth, frame, observations) in enumerate(demos):
            stamps: list[float] = []
            posterior = reconstruct(
                observations, prior, seed, arguments.draws, settings, frame,
                progress=lambda *_, stamps=stamps: stamps.append(time.perf_counter()),
            )  # fmt: skip
            inside = coverage(posterior.draws, truth)
            chi2 = posterior.chi2.sum() / posterior.n_pixels.sum() / arguments.draws
            error = np.mean(nmse(posterior.mean, truth))
            rows.append([error, *np.mean(inside, axis=1), chi2, posterior.meta["redone"]])
            # The first step compiles.
            seconds.append((stamps[-1] - stamps[0]) / (len(stamps) - 1) * int(steps) / arguments.draws)
        error, in68, in95, chi2, redone = np.mean(rows, axis=0)
        cost = min(seconds)
        row = f"{text:16} {error:.4f}  {in68:.3f}   {in95:.3f}   {chi2:.3f}   {redone:4.1f}   {cost:6.2f}"
        print(f"{row}  {cost / bare / int(steps):6.2f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
