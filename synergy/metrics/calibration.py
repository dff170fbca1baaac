"""Whether an uncertainty is one: how often the truth lies where the posterior says."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats


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
