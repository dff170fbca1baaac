"""PQMass: whether two sets of points in many dimensions come from one distribution.

Some points of the pool serve as references, every other point falls to the nearest of them, and the counts of
both sets in these cells are compared by Pearson's chi-squared (Lemos et al. 2024, arXiv 2402.04355). It
needs no density, no training and no choice of directions. Different references give correlated answers, so
the mean over several is judged by permuting which point belongs to which set, which is exact for any
number of points.

The authors' package `pqm` makes the same test; from version 0.6 on it needs PyTorch, and all versions draw
from NumPy's global generator. The tests compare the two.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree


@dataclasses.dataclass(frozen=True)
class PQMass:
    """Outcome of the test.

    Parameters
    ----------
    chi2_per_dof
        Chi-squared per degree of freedom, the mean over all tessellations; 1 for equal distributions.
    pvalue
        Share of permutations with at least as much.
    spread
        Standard deviation of the permutations' means: what chance does to `chi2_per_dof`.
    """

    chi2_per_dof: float
    pvalue: float
    spread: float


def pqmass(
    first: Float[np.ndarray, "m feature"],
    second: Float[np.ndarray, "n feature"],
    rng: np.random.Generator,
    cells: int = 32,
    tessellations: int = 20,
    permutations: int = 400,
) -> PQMass:
    """Test two sets of points.

    Parameters
    ----------
    first, second
        The sets; features are brought to unit variance over both.
    rng
        Chooses references and permutations.
    cells
        Number of cells.
    tessellations
        Number of choices of references.
    permutations
        Number of permutations.

    Raises
    ------
    ValueError
        If a set is empty, there are fewer than four points per cell, or values that are not finite.
    """
    if not min(len(first), len(second)):
        raise ValueError(f"sets of {len(first)} and {len(second)} points cannot be compared")
    pool = np.concatenate([first, second])
    if len(pool) < 4 * cells or cells < 2:
        raise ValueError(f"{len(pool)} points are too few for {cells} cells")
    if not np.isfinite(pool).all():
        raise ValueError("points with values that are not finite have no place in a cell")
    std = pool.std(axis=0)
    pool = (pool - pool.mean(axis=0)) / np.where(std > 0, std, 1.0)
    member = np.zeros((permutations + 1, len(pool)), bool)
    member[0, : len(first)] = True
    for row in member[1:]:
        row[rng.permutation(len(pool))[: len(first)]] = True
    total = np.zeros(permutations + 1)
    for _ in range(tessellations):
        reference = rng.choice(len(pool), cells, replace=False)
        others = np.delete(np.arange(len(pool)), reference)
        _, cell = KDTree(pool[reference]).query(pool[others])
        total += _chi2_per_dof(member[:, others], np.eye(cells)[cell])
    mean = total / tessellations
    pvalue = (1 + np.sum(mean[1:] >= mean[0])) / (1 + permutations)
    return PQMass(float(mean[0]), float(pvalue), float(mean[1:].std()))


def _chi2_per_dof(
    member: Bool[np.ndarray, "row point"], cell: Float[np.ndarray, "point cell"]
) -> Float[np.ndarray, " row"]:
    """Return Pearson's chi-squared per degree of freedom of the 2 x cell table of each row."""
    inside, both = member @ cell, cell.sum(axis=0)
    inside, both = inside[:, both > 0], both[both > 0]
    share = member.mean(axis=1, keepdims=True)
    # Of two rows of a table with given sums, the second repeats the first's deviations.
    chi2 = np.sum((inside - share * both) ** 2 / (share * (1 - share) * both), axis=1)
    return chi2 / (len(both) - 1)
