"""Hand-off of summaries to ArviZ (Kumar et al. 2019, JOSS 4, 1143), for its tables, plots and diagnostics.

Posterior draws are independent, so they are one chain. Install with ``pip install 'synergy[arviz]'``.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.metrics.summaries import SummaryTable

if TYPE_CHECKING:
    from xarray import DataTree


def to_arviz(draws: SummaryTable, truth: SummaryTable | None = None) -> "DataTree":
    """Return summaries of draws, and of the truth where it is known, as ArviZ takes them.

    Parameters
    ----------
    draws
        Of the draws of one posterior, values of shape ``(draw, summary)``.
    truth
        Of the true scene, values of shape ``(summary,)``.

    Returns
    -------
    DataTree
        Group ``posterior``: variable ``value``, dimensions ``(chain, draw, summary)``, the names of the
        summaries as coordinate. Group ``constant_data``: variable ``truth``, dimension ``summary``.

    Raises
    ------
    InputError
        If shapes or names do not fit, or ArviZ is not installed.
    """
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise InputError(
            "to_arviz", "no library 'arviz_base'", "ArviZ's containers", "pip install 'synergy[arviz]'"
        ) from error
    if draws.values.ndim != 2 or (truth is not None and _misfit(draws, truth)):
        raise InputError(
            "to_arviz",
            f"summaries of shape {draws.values.shape}"
            + ("" if truth is None else f" and a truth of shape {truth.values.shape}, or of other names"),
            "(draw, summary), and for the truth (summary,) of the same names",
            "Summarise the draws of one posterior, and its truth with the same arguments.",
        )
    groups: dict[str, dict[str, Float[np.ndarray, "..."]]] = {"posterior": {"value": draws.values[None]}}
    if truth is not None:
        groups["constant_data"] = {"truth": truth.values}
    return from_dict(
        groups, coords={"summary": list(draws.names)}, dims={"value": ["summary"], "truth": ["summary"]}
    )


def _misfit(draws: SummaryTable, truth: SummaryTable) -> bool:
    return truth.names != draws.names or truth.values.shape != (len(draws.names),)
