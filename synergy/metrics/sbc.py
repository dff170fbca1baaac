"""Simulation-based calibration: the ranks of truths among posterior draws, and whether they are uniform.

If draws come from the posterior of the data that a truth made, truth and draws are exchangeable: any scalar
summary of the truth (a flux, a size) takes each rank among those of n draws with probability 1 / (n + 1)
(Cook, Gelman & Rubin 2006; Talts et al. 2018, arXiv 1804.06788). This holds at any number of draws and for
any shape of posterior. Equal values are ordered at random, else the atoms of a posterior would look like
errors (Modrák et al. 2023, arXiv 2211.02383).

Ranks are tested twice. Pearson's chi-squared of their histogram sees any departure. The distribution function
gathers neighbouring ranks and so sees the small but smooth ones that a bias or a wrong width make, and says
where they are: its simultaneous band (Säilynoja, Bürkner & Vehtari 2022, arXiv 2103.10522) holds the whole
function with the probability asked for. It consists of binomial intervals of one pointwise probability, which
is found from simulated uniform ranks. Simulations are taken to be independent of each other, and draws of one
simulation too: thin a Markov chain before.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

_MOST_BINS = 20  # errors of posteriors are smooth: more bins only cost power


@dataclasses.dataclass(frozen=True, eq=False)
class Uniformity:
    """How uniform ranks are, by summary.

    Parameters
    ----------
    chi2_pvalue
        Probability of a larger chi-squared of the histogram, were the ranks uniform.
    ecdf_pvalue
        Probability that the distribution function strays farther.
    levels
        Where the distribution function is taken, ``k / (draws + 1)`` for k = 1 ... draws.
    ecdf
        Share of ranks below k; `levels` is expected.
    band
        Lower and upper limit that hold all of `ecdf` with the probability asked for.
    """

    chi2_pvalue: Float[np.ndarray, " summary"]
    ecdf_pvalue: Float[np.ndarray, " summary"]
    levels: Float[np.ndarray, " k"]
    ecdf: Float[np.ndarray, "k summary"]
    band: Float[np.ndarray, "2 k"]


def ranks(
    draws: Float[np.ndarray, "simulation draw summary"],
    truth: Float[np.ndarray, "simulation summary"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "simulation summary"]:
    """Return how many draws lie below the truth, 0 to the number of draws.

    Parameters
    ----------
    draws
        Scalar summaries of posterior draws.
    truth
        The same summaries of the true scenes.
    rng
        Orders equal values.

    Raises
    ------
    ValueError
        If shapes do not match, there are no draws, or values that are not finite.
    """
    check_draws(draws, truth)
    below, equal = below_and_equal(draws, truth)
    return below + rng.integers(0, equal, endpoint=True)


def uniformity(
    ranks: Int[np.ndarray, "simulation summary"],
    draws: int,
    rng: np.random.Generator,
    probability: float = 0.95,
    repeats: int = 1000,
) -> Uniformity:
    """Test whether ranks are uniform.

    Parameters
    ----------
    ranks
        Ranks among draws, see `ranks`.
    draws
        Number of draws.
    rng
        Draws uniform ranks to compare with.
    probability
        That of the band to hold the distribution function of uniform ranks.
    repeats
        Number of sets of uniform ranks; the p-value of the distribution function cannot be less than its
        inverse.

    Raises
    ------
    ValueError
        If ranks are not of 0 ... draws, or simulations are too few for a histogram of two bins with at least
        five ranks expected in each.
    """
    n = len(ranks)
    levels = np.arange(1, draws + 1) / (draws + 1)
    below = counts_below(ranks, draws)
    null = _tail_probability(uniform_counts_below(n, draws, rng, repeats).T, n, levels)
    found = _tail_probability(below, n, levels)
    tail = np.quantile(null, 1 - probability, method="inverted_cdf") / 2
    band = stats.binom.ppf([[tail], [1 - tail]], n, levels) / n
    strayed = np.sum(null[:, None] <= found, axis=0)
    return Uniformity(_chi2_pvalue(below, n), (1 + strayed) / (1 + repeats), levels, below / n, band)


def below_and_equal(
    draws: Float[np.ndarray, "simulation draw summary"], truth: Float[np.ndarray, "simulation summary"]
) -> tuple[Int[np.ndarray, "simulation summary"], Int[np.ndarray, "simulation summary"]]:
    """Return how many draws lie below the truth, and how many equal it.

    Parameters
    ----------
    draws
        Scalar summaries of posterior draws.
    truth
        The same summaries of the true scenes.
    """
    return np.sum(draws < truth[:, None], axis=1), np.sum(draws == truth[:, None], axis=1)


def counts_below(ranks: Int[np.ndarray, "simulation summary"], draws: int) -> Int[np.ndarray, "k summary"]:
    """Return how many ranks are below k = 1 ... draws.

    Parameters
    ----------
    ranks
        Ranks among draws.
    draws
        Number of draws.

    Raises
    ------
    ValueError
        If ranks are not of 0 ... draws.
    """
    if np.any((ranks < 0) | (ranks > draws)):
        raise ValueError(f"ranks among {draws} draws are 0 to {draws}, got {ranks.min()} to {ranks.max()}")
    counts = [np.bincount(column, minlength=draws + 1) for column in ranks.T]
    return np.stack(counts, axis=1).cumsum(axis=0)[:-1]


def uniform_counts_below(
    simulations: int, draws: int, rng: np.random.Generator, repeats: int
) -> Int[np.ndarray, "repeat k"]:
    """Return `counts_below` of sets of uniform ranks.

    Parameters
    ----------
    simulations, draws
        Their numbers.
    rng
        Draws the ranks.
    repeats
        Number of sets.
    """
    equal = np.full(draws + 1, 1 / (draws + 1))
    return rng.multinomial(simulations, equal, repeats).cumsum(axis=1)[:, :-1]


def check_draws(draws: np.ndarray, truth: np.ndarray, least: int = 1) -> None:
    """Refuse draws and truths that do not belong together.

    Parameters
    ----------
    draws
        ``(simulation, draw, summary)``.
    truth
        ``(simulation, summary)``.
    least
        Smallest number of draws.

    Raises
    ------
    ValueError
        If shapes do not match, there are too few draws, no simulations, or values that are not finite.
    """
    if draws.ndim != 3 or truth.ndim != 2 or (draws.shape[0], draws.shape[2]) != truth.shape:
        raise ValueError(
            f"draws must be (simulation, draw, summary) and truths (simulation, summary), "
            f"got {draws.shape} and {truth.shape}"
        )
    if not len(truth) or draws.shape[1] < least:
        raise ValueError(
            f"{draws.shape[1]} draws of {len(truth)} simulations are too few: at least {least} of one needed"
        )
    if not (np.isfinite(draws).all() and np.isfinite(truth).all()):
        raise ValueError("draws and truths must be finite: leave out simulations where a summary is not")


def _tail_probability(
    below: Int[np.ndarray, "k set"], simulations: int, levels: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " set"]:
    """Return the smallest two-sided binomial probability of each set of cumulative counts."""
    lower = special.bdtr(below, simulations, levels[:, None])
    upper = special.bdtrc(below - 1, simulations, levels[:, None])
    return 2 * np.minimum(lower, upper).min(axis=0)


def _chi2_pvalue(below: Int[np.ndarray, "k summary"], simulations: int) -> Float[np.ndarray, " summary"]:
    ranks = len(below) + 1
    # Chi-squared's distribution needs five expected in each bin, hence this many neighbouring ranks.
    narrowest = max(-(-5 * ranks // max(simulations, 1)), -(-ranks // _MOST_BINS))
    bins = ranks // narrowest
    if bins < 2:
        raise ValueError(f"{simulations} simulations are too few for a histogram of {ranks} ranks")
    edges = np.arange(bins + 1) * ranks // bins
    cumulative = np.pad(below, ((1, 1), (0, 0)))
    cumulative[-1] = simulations
    counts, expected = np.diff(cumulative[edges], axis=0), simulations * np.diff(edges)[:, None] / ranks
    return stats.chi2.sf(np.sum((counts - expected) ** 2 / expected, axis=0), bins - 1)
