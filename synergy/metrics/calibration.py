"""Whether an uncertainty is one: how often the truth lies where the posterior says.

Of scenes, `coverage` asks it of every pixel, where one scene has enough of them for a number. Of scalar
summaries (fluxes, sizes), `interval_coverage` asks it over many simulations, by the ranks of truths among
draws (`synergy.metrics.sbc`), which know no shape of the posterior.

Errors of opposite sign may cancel in the mean over all simulations, so `by_bins` looks within bins of a
covariate. The covariate must be known from the data or the draws, as measured S/N, size or blendedness are.
Within bins of the truth's *own* flux or size even exact posteriors miss their levels, for they draw what is
bright towards the faint majority.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from synergy.metrics.sbc import below_and_equal, check_draws


@dataclasses.dataclass(frozen=True, eq=False)
class Coverage:
    """How often credible intervals hold the truth.

    Parameters
    ----------
    levels
        Credible levels.
    fraction
        Fraction of truths inside; NaN without simulations.
    lower, upper
        Wilson's interval (1927) of the fraction: it holds a level from which the fraction is off by no more
        than `z` binomial standard deviations.
    simulations
        Number of simulations.
    """

    levels: Float[np.ndarray, " level"]
    fraction: Float[np.ndarray, "level summary"]
    lower: Float[np.ndarray, "level summary"]
    upper: Float[np.ndarray, "level summary"]
    simulations: int


def coverage(
    draws: Float[np.ndarray, "draw band y x"],
    truth: Float[np.ndarray, "band y x"],
    levels: Sequence[float] = (0.68, 0.95),
) -> Float[np.ndarray, "level band"]:
    """Return the fraction of true pixels inside the central credible intervals of each pixel.

    A handful of draws cannot resolve a 95 % quantile. The intervals are therefore those of the next draw of
    a normal distribution of unknown mean and variance, ``mean +- t std sqrt(1 + 1/n)`` with Student's t for
    n - 1 degrees of freedom: exact for a Gaussian posterior at any number of draws, where the truth is one
    more draw.

    Parameters
    ----------
    draws
        At least two posterior draws.
    truth
        The true scene.
    levels
        Credible levels, 0 to 1.

    Raises
    ------
    ValueError
        If there are fewer than two draws.
    """
    n = len(draws)
    if n < 2:
        raise ValueError(f"coverage needs at least two draws, got {n}")
    mean = draws.mean(axis=0, dtype=np.float64)
    width = draws.std(axis=0, ddof=1, dtype=np.float64) * np.sqrt(1 + 1 / n)
    half = stats.t.ppf(0.5 + np.asarray(levels) / 2, n - 1)
    inside = np.abs(truth - mean) <= half[:, None, None, None] * width
    return inside.mean(axis=(-2, -1))


def interval_coverage(
    draws: Float[np.ndarray, "simulation draw summary"],
    truth: Float[np.ndarray, "simulation summary"],
    levels: Sequence[float] = (0.5, 0.68, 0.95),
    z: float = 1.0,
) -> Coverage:
    """Return the fraction of truths inside the central credible intervals of each summary.

    With n draws, the interval between the j-th lowest and the j-th highest holds the truth with probability
    ``1 - 2 j / (n + 1)``. Any other level lies between two such intervals and is a mixture of both, in the
    shares that make its coverage exact; a truth between the ends of the two counts by the share of the wider.
    Levels beyond ``(n - 1) / (n + 1)`` would need more draws: truths beyond all draws then count in part, and
    little can be learned.

    Parameters
    ----------
    draws
        Scalar summaries of posterior draws.
    truth
        The same summaries of the true scenes.
    levels
        Credible levels, between 0 and 1.
    z
        Half-width of the errors in standard deviations.

    Raises
    ------
    ValueError
        If shapes do not match, there are no draws, values that are not finite, or levels out of range.
    """
    check_draws(draws, truth)
    return _mean_coverage(_inside(draws, truth, levels), levels, z)


def by_bins(
    values: Float[np.ndarray, " simulation"],
    edges: Sequence[float],
    draws: Float[np.ndarray, "simulation draw summary"],
    truth: Float[np.ndarray, "simulation summary"],
    levels: Sequence[float] = (0.5, 0.68, 0.95),
    z: float = 1.0,
) -> tuple[Coverage, ...]:
    """Return `interval_coverage` within bins of a covariate that is known from the data.

    Parameters
    ----------
    values
        The covariate.
    edges
        Increasing edges of the bins, lower ones included; values in none (NaN too) are left out.
    draws, truth, levels, z
        As for `interval_coverage`.

    Raises
    ------
    ValueError
        As `interval_coverage`, and if edges do not increase or values are not one per simulation.
    """
    check_draws(draws, truth)
    if values.shape != (len(truth),):
        raise ValueError(f"covariates of shape {values.shape} do not fit {len(truth)} simulations")
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"edges of bins must increase, got {tuple(edges)}")
    inside, pairs = _inside(draws, truth, levels), itertools.pairwise(edges)
    return tuple(_mean_coverage(inside[:, (values >= a) & (values < b)], levels, z) for a, b in pairs)


def _inside(
    draws: Float[np.ndarray, "simulation draw summary"],
    truth: Float[np.ndarray, "simulation summary"],
    levels: Sequence[float],
) -> Float[np.ndarray, "level simulation summary"]:
    """Return the probability of each truth to be inside.

    A rank r stands for probabilities r / (n + 1) to (r + 1) / (n + 1), uniformly; tied ranks for all theirs.
    """
    level = np.asarray(levels, np.float64)[:, None, None]
    if not np.all((level > 0) & (level < 1)):
        raise ValueError(f"credible levels are between 0 and 1, got {tuple(levels)}")
    below, equal = below_and_equal(draws, truth)
    ranks = draws.shape[1] + 1
    low, high = below / ranks, (below + equal + 1) / ranks
    common = np.minimum(high, (1 + level) / 2) - np.maximum(low, (1 - level) / 2)
    return np.maximum(common, 0) / (high - low)


def _mean_coverage(
    inside: Float[np.ndarray, "level simulation summary"], levels: Sequence[float], z: float
) -> Coverage:
    total, n = inside.sum(axis=1), inside.shape[1]
    fraction = total / n if n else np.full_like(total, np.nan)
    middle = (total + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(total * (1 - total / max(n, 1)) + z**2 / 4) / (n + z**2)
    return Coverage(np.asarray(levels, np.float64), fraction, middle - half, middle + half, n)
