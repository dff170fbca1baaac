"""CRPS: how far a posterior's draws are from the truth, sharpness and calibration in one number.

The *continuous ranked probability score* of a distribution F for a true value y, ``integral (F(t) - [y <=
t])^2 dt = E|x - y| - E|x - x'| / 2`` with x, x' from F, has the unit of y, is least in expectation if F is
the true posterior, and becomes the absolute error if F is a point (Gneiting & Raftery 2007). The distribution
function of n draws, put in F's place, scores worse than F by ``E|x - x'| / 2n``; averaging ``|x - x'|`` over
pairs of *different* draws makes the score *fair*: unbiased at any n (Ferro 2014).

Two errors belong to its mean over simulations. That of a mean, from the scatter of the scores, says how far
the number itself may move. The other answers to the binomial error of a coverage, which the nominal level
gives: the CRPS integrates Brier scores of the events "y <= t", and under an exact posterior the truth is any
of the n + 1 values, itself and the draws, with equal probability. Each of these events is then a Bernoulli
trial with a known probability, and mean and variance of the score (covariances of thresholds included) follow
from giving each of the n + 1 values the part of the truth, without assuming a shape. Truths of exact
posteriors score `expected` within `expected_error`; significantly more tells of a bias or of too narrow a
posterior, less of too wide a one. The score has the unit of the summary, so bright sources dominate the mean
of fluxes: magnitudes or relative fluxes weigh simulations alike.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from synergy.metrics.sbc import check_draws


@dataclasses.dataclass(frozen=True, eq=False)
class CRPS:
    """Scores and their means, in the units of the summaries.

    Parameters
    ----------
    scores
        Score of each simulation.
    mean, error
        Mean over simulations and its standard error; NaN error for a single simulation.
    expected, expected_error
        What exact posteriors with these draws would have for a mean, and its standard deviation.
    """

    scores: Float[np.ndarray, "simulation summary"]
    mean: Float[np.ndarray, " summary"]
    error: Float[np.ndarray, " summary"]
    expected: Float[np.ndarray, " summary"]
    expected_error: Float[np.ndarray, " summary"]

    @property
    def excess(self) -> Float[np.ndarray, " summary"]:
        """Mean beyond the expected one, in standard deviations of that.

        For exact posteriors its mean is 0 and its variance 1; it is normal once no few simulations dominate.
        """
        zero = np.zeros_like(self.mean)
        return np.divide(
            self.mean - self.expected, self.expected_error, out=zero, where=self.expected_error > 0
        )


def crps(
    draws: Float[np.ndarray, "simulation draw summary"],
    truth: Float[np.ndarray, "simulation summary"],
    fair: bool = True,
) -> CRPS:
    """Score posterior draws.

    Parameters
    ----------
    draws
        Scalar summaries of posterior draws, at least two.
    truth
        The same summaries of the true scenes.
    fair
        Score the posterior that the draws come from, not the draws as they are.

    Raises
    ------
    ValueError
        If shapes do not match, there are fewer than two draws, or values that are not finite.
    """
    check_draws(draws, truth, least=2)
    simulations, n = draws.shape[:2]
    # Relative to the truth, sums of large values lose no digits.
    offset = np.asarray(draws, np.float64) - truth[:, None]
    total = np.abs(offset).sum(axis=1, keepdims=True)
    totals = _total_distances(np.concatenate([np.zeros_like(total), offset], axis=1))
    sum_of_all, pairs = totals.sum(axis=1, keepdims=True), n * (n - 1 if fair else n)

    def score(
        total: Float[np.ndarray, "simulation any summary"],
    ) -> Float[np.ndarray, "simulation any summary"]:
        # Pairs among all n + 1 values, less those with the one that plays the truth.
        return total / n - (sum_of_all - 2 * total) / (2 * pairs)

    scores, exchanged = score(total)[:, 0], score(totals)
    scatter = scores.std(axis=0, ddof=1) if simulations > 1 else np.full_like(scores[0], np.nan)
    return CRPS(
        scores=scores,
        mean=scores.mean(axis=0),
        error=scatter / np.sqrt(simulations),
        expected=exchanged.mean(axis=(0, 1)),
        expected_error=np.sqrt(exchanged.var(axis=1).sum(axis=0)) / simulations,
    )


def _total_distances(
    values: Float[np.ndarray, "simulation value summary"],
) -> Float[np.ndarray, "simulation value summary"]:
    """Return the sum of distances of each value to all others, in the order of the sorted values."""
    ordered = np.sort(values, axis=1)
    below = ordered.cumsum(axis=1)
    n = ordered.shape[1]
    # Of the i-th (from 0): i x_i less the sum below it, and the sum above it less (n - 1 - i) x_i.
    return (2 * np.arange(1, n + 1)[:, None] - n) * ordered + below[:, -1:] - 2 * below
