"""Whether two samples of a number come from one distribution, and if not, how far apart they are.

A p-value says whether a difference is real, and shrinks with every further scene; an effect size says whether
it matters. *Cohen's d* (Cohen 1988): the difference of the means over the pooled standard deviation. *Cliff's
delta* (Cliff 1993): ``P(a > b) - P(a < b)``, which knows no outliers; 0.15 is a small, 0.33 a medium effect.
Kolmogorov and Smirnov's test compares whole distributions. The error of d is that of its bootstrap.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two samples of one number differ.

    Parameters
    ----------
    numbers
        How many finite values each sample had.
    medians
        Their medians.
    cohen, cohen_error
        Cohen's d of the first sample beyond the second, and its standard error.
    cliff
        Cliff's delta.
    ks_pvalue
        Probability of a larger distance between the two distribution functions, were they one.
    """

    numbers: tuple[int, int]
    medians: tuple[float, float]
    cohen: float
    cohen_error: float
    cliff: float
    ks_pvalue: float


def compare(
    first: Float[np.ndarray, " m"],
    second: Float[np.ndarray, " n"],
    rng: np.random.Generator,
    resamples: int = 400,
) -> Difference:
    """Compare two samples; values that are not finite are left out and show in the numbers.

    Parameters
    ----------
    first, second
        The samples.
    rng
        Draws the bootstrap.
    resamples
        Number of bootstrap samples.

    Raises
    ------
    ValueError
        If a sample has fewer than three finite values.
    """
    a, b = first[np.isfinite(first)], second[np.isfinite(second)]
    if min(len(a), len(b)) < 3:
        raise ValueError(f"samples of {len(a)} and {len(b)} finite values are too few to compare")
    again = np.array([cohen_d(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(resamples)])
    u = stats.mannwhitneyu(a, b).statistic
    return Difference(
        numbers=(len(a), len(b)),
        medians=(float(np.median(a)), float(np.median(b))),
        cohen=cohen_d(a, b),
        cohen_error=float(np.std(again[np.isfinite(again)])),
        cliff=float(2.0 * u / (len(a) * len(b)) - 1.0),
        ks_pvalue=float(stats.ks_2samp(a, b).pvalue),
    )


def cohen_d(first: Float[np.ndarray, " m"], second: Float[np.ndarray, " n"]) -> float:
    """Return the difference of the means in units of the pooled standard deviation (0 where both vanish).

    Parameters
    ----------
    first, second
        Samples of finite values.
    """
    m, n = len(first), len(second)
    pooled = ((m - 1) * first.var(ddof=1) + (n - 1) * second.var(ddof=1)) / (m + n - 2)
    difference = float(first.mean() - second.mean())
    if pooled > 0:
        return difference / float(np.sqrt(pooled))
    return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
