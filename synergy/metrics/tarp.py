"""TARP: whether posteriors in many dimensions are calibrated as a whole.

*Tests of accuracy with random points* (Lemos et al. 2023, arXiv 2302.03026): for each simulation take a
reference point and count the draws that lie closer to it than the truth does. Of exact posteriors this is the
rank of one more scalar summary, the distance to the reference, and uniform: the share of simulations with a
rank below k of n draws, the *expected coverage*, is ``k / (n + 1)`` on average. Ranks give the levels
exactly, where shares ``rank / n`` would be off at few draws.

The null distribution of the largest deviation follows from uniform ranks in the numbers at hand, whatever the
posterior, the metric, the references and the dimension. It is simulated, for what looks like a large
deviation is common: 0.085 of 256 simulations is exceeded once in twenty.

References may depend on the data, never on the truth or the draws that are ranked. The choice decides what is
seen:

- Drawn at random without regard to the data (the default), they see wrong widths and shapes, but not a
  sampler that ignores the data and draws from the prior, and in few dimensions hardly a bias, since it leads
  towards as many references as away from them.
- An estimate made from the data exposes the prior. Displaced from it in one direction, always the same,
  references see a bias along it as clearly as a rank of the summary would.
- A draw set aside as the reference is close by at any S/N: the most sensitive to widths.

Features of different units have to be standardised, by something that treats truth and draws alike. The range
of the truths, by which the authors' package scales and places its references with ``norm=True``, does not:
features in which some truth is extreme are shrunk, and references lie around the truths, so truths seem
closer to them than draws. In each feature this is a small effect, but its sum over d features grows as d,
chance only as the root of d, and in thousands of dimensions perfect posteriors fail. Here mean and standard
deviation of truths and draws together are used: any of them could be the truth, and the null distribution
stays exact.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from synergy.metrics.sbc import check_draws, counts_below, ranks, uniform_counts_below


@dataclasses.dataclass(frozen=True, eq=False)
class TARP:
    """Outcome of the test.

    Parameters
    ----------
    levels
        Credible levels ``k / (n + 1)`` for k = 1 ... n draws.
    expected_coverage
        Share of truths within them; below the level at large levels where posteriors are too narrow.
    deviation
        Largest difference of the two.
    band
        Deviation that exact posteriors stay within with the probability asked for.
    pvalue
        Probability of such a deviation or a larger one, were the posteriors exact.
    """

    levels: Float[np.ndarray, " k"]
    expected_coverage: Float[np.ndarray, " k"]
    deviation: float
    band: float
    pvalue: float


def tarp(
    draws: Float[np.ndarray, "simulation draw feature"],
    truth: Float[np.ndarray, "simulation feature"],
    rng: np.random.Generator,
    references: Float[np.ndarray, "simulation feature"] | None = None,
    probability: float = 0.95,
    repeats: int = 2000,
) -> TARP:
    """Test the joint calibration of all features.

    Parameters
    ----------
    draws
        Features of posterior draws: pixels, or any numbers computed from a scene.
    truth
        The same features of the true scenes.
    rng
        Chooses references and draws uniform ranks to compare with.
    references
        A point per simulation, in the units of the features. Left out, they are drawn from normal
        distributions with the mean and standard deviation of each feature over everything.
    probability
        That of the band.
    repeats
        Number of sets of uniform ranks; the p-value cannot be less than its inverse.

    Raises
    ------
    ValueError
        If shapes do not match, there are no draws or simulations, or values that are not finite.
    """
    check_draws(draws, truth)
    if references is not None and (references.shape != truth.shape or not np.isfinite(references).all()):
        raise ValueError(
            f"references must be finite and shaped as the truths {truth.shape}, got {references.shape}"
        )
    simulations, n = draws.shape[:2]
    mean, std = _mean_and_std(draws, truth)
    if references is None:
        references = mean + std * rng.standard_normal(truth.shape)
    distances = np.empty((simulations, n + 1, 1))
    for row, draw, true, reference in zip(distances, draws, truth, references, strict=True):
        points = np.concatenate([true[None], draw])
        row[:, 0] = np.linalg.norm((points - reference) / std, axis=1)
    found = counts_below(ranks(distances[:, 1:], distances[:, 0], rng), n).T
    deviation = _largest_deviation(found, simulations)[0]
    null = _largest_deviation(uniform_counts_below(simulations, n, rng, repeats), simulations)
    return TARP(
        levels=np.arange(1, n + 1) / (n + 1),
        expected_coverage=found[0] / simulations,
        deviation=float(deviation),
        band=float(np.quantile(null, probability, method="inverted_cdf")),
        pvalue=float((1 + np.sum(null >= deviation)) / (1 + repeats)),
    )


def _mean_and_std(
    draws: Float[np.ndarray, "simulation draw feature"], truth: Float[np.ndarray, "simulation feature"]
) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Return moments over draws and truths, and 1 for the deviation of a feature without any."""
    number = len(truth) * (draws.shape[1] + 1)
    mean = (draws.sum(axis=(0, 1), dtype=np.float64) + truth.sum(axis=0, dtype=np.float64)) / number
    # One simulation at a time: draws may fill the memory.
    squares = sum(np.sum((draw - mean) ** 2, axis=0) for draw in draws) + np.sum((truth - mean) ** 2, axis=0)
    return mean, np.where(squares > 0, np.sqrt(squares / number), 1.0)


def _largest_deviation(below: Int[np.ndarray, "set k"], simulations: int) -> Float[np.ndarray, " set"]:
    """Return the largest difference of cumulative shares from uniform ones, equal ones to the last bit."""
    n = below.shape[1]
    whole = np.abs(below * (n + 1) - simulations * np.arange(1, n + 1)).max(axis=1)
    return whole / (simulations * (n + 1))
