"""Redshifts at which a galaxy of known magnitudes may lie.

The probability of a redshift is the evidence of the galaxy's colours among the mixtures that galaxies are
made of (`data_prep.stellar_populations`), times the redshift distribution of galaxies of its magnitude (LSST
Science Book, eq. 3.8). With three bands it is broad.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from data_prep.stellar_populations import POPULATIONS, draw_mixtures, population_fluxes
from synergy.units import magnitude_from_flux

REDSHIFTS = np.arange(0.05, 2.51, 0.05)
KERNEL = 0.1
"""How closely a mixture has to have a galaxy's colours, mag."""


def log_match(
    real: Float[np.ndarray, "galaxy band"], drawn: Float[np.ndarray, "n band"]
) -> Float[np.ndarray, "galaxy n"]:
    """Return ln of how well mixtures have the colours of galaxies, from the magnitudes of both."""
    real, drawn = (a - a.mean(axis=1, keepdims=True) for a in (real, drawn))
    squares = np.sum(real**2, axis=1)[:, None] + np.sum(drawn**2, axis=1) - 2.0 * real @ drawn.T
    return -0.5 * squares / KERNEL**2


def mixture_magnitudes(
    mixtures: Float[np.ndarray, "n population"],
    bands: tuple[str, ...],
    redshift: float,
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "n band"]:
    """Return the magnitudes of mixtures of `POPULATIONS`, up to a constant."""
    return -2.5 * np.log10(mixtures @ population_fluxes(POPULATIONS, bands, redshift, curves))


@functools.cache
def _mixtures() -> Float[np.ndarray, "n population"]:
    return draw_mixtures(2000, np.random.default_rng(0))


def log_redshifts(
    bands: tuple[str, ...],
    magnitudes: Float[np.ndarray, "galaxy band"],
    brightness: Float[np.ndarray, " galaxy"],
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "galaxy z"]:
    """Return ln of the probability of each of `REDSHIFTS`.

    Parameters
    ----------
    bands
        Bands.
    magnitudes
        AB magnitudes of each galaxy in them.
    brightness
        F814W magnitudes, or those of a band nearby.
    curves
        Files of filter curves for bands that have none.
    """
    scale = 0.0417 * np.clip(brightness, 20.0, 26.0)[:, None] - 0.744
    log = 2.0 * np.log(REDSHIFTS) - REDSHIFTS / scale
    for i, redshift in enumerate(REDSHIFTS):
        drawn = mixture_magnitudes(_mixtures(), bands, float(redshift), curves)
        log[:, i] += logsumexp(log_match(magnitudes, drawn), axis=1)
    return log - logsumexp(log, axis=1, keepdims=True)


def likely_redshift(
    bands: tuple[str, ...], fluxes: Float[np.ndarray, " band"], curves: Mapping[str, Path] | None = None
) -> float:
    """Return the most probable redshift of a galaxy.

    Parameters
    ----------
    bands
        Bands.
    fluxes
        Its fluxes in nJy, above 0; the brightest stands for F814W.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Raises
    ------
    InputError
        If a band has no usable curve.
    """
    magnitudes = np.asarray(magnitude_from_flux(fluxes), np.float64)[None]
    return float(REDSHIFTS[np.argmax(log_redshifts(bands, magnitudes, magnitudes.min(axis=1), curves)[0])])
