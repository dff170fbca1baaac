"""Stellar populations: what galaxies' spectra are non-negative mixtures of.

A population has the spectrum of one template behind one amount of dust (`synergy.templates`). A galaxy is an
old population behind little dust and a young one behind any amount, in any proportion (`draw_mixtures`).
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.templates import TYPES, template_fluxes

DUST = (-0.1, 0.0, 0.1, 0.2, 0.35, 0.5, 0.75)
"""E(B-V) of the templates; these have dust of their own, of which a negative excess takes a part away."""
REFERENCE = "sdss.r"
"""Shares of populations are shares of the light in this band at rest."""

Populations = tuple[tuple[str, float], ...]

POPULATIONS: Populations = tuple((name, excess) for name in TYPES for excess in DUST)


def population_fluxes(
    populations: Populations,
    bands: tuple[str, ...],
    redshift: float,
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "population band"]:
    """Return the fluxes of populations in observed bands, for a flux of 1 in `REFERENCE` at rest.

    Parameters
    ----------
    populations
        Template and E(B-V) of each.
    bands
        Bands.
    redshift
        Redshift; rounded to 0.01, so that tables can be kept.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Raises
    ------
    InputError
        If there is no such template, or a band has no usable curve.
    """
    return _table(populations, tuple(bands), round(float(redshift), 2), tuple(sorted((curves or {}).items())))


@functools.lru_cache(maxsize=1024)
def _table(
    populations: Populations, bands: tuple[str, ...], redshift: float, curves: tuple[tuple[str, Path], ...]
) -> Float[np.ndarray, "population band"]:
    if unknown := sorted({name for name, _ in populations} - set(TYPES)):
        raise InputError(
            "populations", ", ".join(unknown), f"some of {', '.join(TYPES)}", "Check the spelling."
        )
    dust = tuple(sorted({excess for _, excess in populations}))
    rows = [TYPES.index(name) * len(dust) + dust.index(excess) for name, excess in populations]
    return (template_fluxes(bands, redshift, dust, dict(curves)) / _at_rest(dust))[rows]


@functools.lru_cache(maxsize=64)
def _at_rest(dust: tuple[float, ...]) -> Float[np.ndarray, "population 1"]:
    return template_fluxes((REFERENCE,), 0.0, dust)


def draw_mixtures(number: int, rng: np.random.Generator) -> Float[np.ndarray, "number population"]:
    """Draw mixtures of populations, as broad as galaxies are: shares of the light in `REFERENCE` at rest.

    A third is quiescent, the rest forms stars beside any old population. Dust is exponentially distributed.
    """
    old = np.where(rng.random(number) < 0.35, rng.beta(10.0, 0.5, number), rng.beta(0.7, 1.5, number))
    young = rng.dirichlet([0.6, 0.7, 1.2], number)
    shares = np.concatenate([old[:, None], (1.0 - old)[:, None] * young], axis=1)
    excess = np.stack(
        [rng.exponential(0.15, number) - 0.05, *[rng.exponential(0.2, number) - 0.1] * 3], axis=1
    )
    return np.reshape(shares[..., None] * _between_dust(excess), (number, -1))


def _between_dust(excess: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... dust"]:
    """Return the mixture of the two neighbours in `DUST` that stands for an E(B-V)."""
    position = np.interp(excess, DUST, np.arange(len(DUST)))
    return np.clip(1.0 - np.abs(position[..., None] - np.arange(len(DUST))), 0.0, None)
