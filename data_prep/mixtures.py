"""A calibrated image as a few populations: per-pixel non-negative mixtures of galaxy spectra.

A few bands do not fix a mixture of many templates, least of all its light in other bands. So a mixture is
the mean of those that galaxies are made of (`data_prep.stellar_populations`) and that have the colours (to
`ACCURACY`), corrected by non-negative least squares with a pull towards that mean. Pixels are grouped by
colour for it, and as few templates are kept as give all groups' spectra from the ultraviolet to the near
infrared (`LARGEST_NUMBER` at most); each pixel is then fitted with these.

Colours are noisier than light: Monte Carlo radiative transfer draws the bands independently. The colour of a
pixel is that of its neighbourhood, the smaller the brighter it is: a cascade of Gaussians, each blended with
the next wider one as far as the light within it leaves noise of more than `QUIET`. Light itself is not
smoothed.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from data_prep.stellar_populations import POPULATIONS, Populations, draw_mixtures, population_fluxes

ACCURACY = 0.05
"""Closeness of colours, mag."""
PULL = 0.5
"""Weight of a change of a share beside a relative error in a band."""
QUIET = 0.03
"""Relative noise of colours that is left in."""
LARGEST_NUMBER = 6
GROUPS = 32
_WIDTHS = (16.0, 8.0, 4.0, 2.0, 1.0, 0.0)  # pixels
_ENOUGH = 0.005  # relative error of spectra at which no more templates are added
_REST = tuple(f"lsst.{b}" for b in "ugriz") + tuple(f"euclid.{b}" for b in "YJH")
_ULTRAVIOLET = 0.6  # redshift that brings 2300 Angstrom to LSST's u


def split_light(
    light: Float[np.ndarray, "band y x"],
    bands: tuple[str, ...],
    redshift: float,
    curves: Mapping[str, Path] | None = None,
) -> tuple[Populations, Float[np.ndarray, "map y x"]]:
    """Split a calibrated image into populations.

    Parameters
    ----------
    light
        Flux per pixel in each band, not negative, in one unit.
    bands
        The bands.
    redshift
        Redshift at which they were taken.
    curves
        Files of filter curves for bands that have none.

    Returns
    -------
    populations
        Template and E(B-V) of each map.
    maps
        Light of each per pixel in `data_prep.stellar_populations.REFERENCE` at rest.

    Raises
    ------
    InputError
        If a band has no usable curve.
    """
    totals = light.sum(axis=(1, 2))
    fluxes = population_fluxes(POPULATIONS, bands, redshift, curves) / totals
    brightness = np.mean(light / totals[:, None, None], axis=0)
    lit = brightness > 0
    colours = local_colours(light / totals[:, None, None])[:, lit].T
    group = group_by_colour(np.log(np.maximum(colours, 1e-3)), brightness[lit])
    weights = np.bincount(group, brightness[lit])
    means = np.stack([np.bincount(group, brightness[lit] * c) / weights for c in colours.T], axis=1)
    typical = fit_mixtures(fluxes, means, typical_mixtures(fluxes, means), PULL)
    kept, grouped = keep_few(typical, weights)
    mixtures = fit_mixtures(fluxes[kept], colours, grouped[group], PULL)
    # What the fit leaves over in one band and lacks in another must not change the light.
    mixtures *= (colours.mean(axis=1) / (mixtures @ fluxes[kept]).mean(axis=1))[:, None]
    maps = np.zeros((len(kept), *lit.shape))
    maps[:, lit] = mixtures.T * brightness[lit]
    return tuple(POPULATIONS[i] for i in kept), maps


def local_colours(light: Float[np.ndarray, "band y x"]) -> Float[np.ndarray, "band y x"]:
    """Return the light of each band relative to the mean over bands, smoothed where it is noise.

    Parameters
    ----------
    light
        Light of each band, normalised to a sum of 1.
    """
    needed = _shot(light) / QUIET**2
    colours = np.ones_like(light)
    for width in _WIDTHS:
        smooth = np.stack([gaussian_filter(plane, width) for plane in light]) if width else light
        mean = smooth.mean(axis=0)
        gathered = mean * max(1.0, 4.0 * np.pi * width**2)
        # Dark pixels far outside give no colour of their own.
        trust = gathered / np.maximum(gathered + needed, 1e-300)
        colours += trust * (smooth / np.maximum(mean, 1e-300) - colours)
    return colours


def _shot(light: Float[np.ndarray, "band y x"]) -> float:
    """Return the light of one photon packet: variance over mean of what differs between bands."""
    mean = light.mean(axis=0)
    rough = np.stack([plane - gaussian_filter(plane, 1.0) for plane in light - mean])
    bright = mean > np.quantile(mean[mean > 0], 0.5)
    variance = np.mean(rough**2, axis=0) * len(light) / (len(light) - 1)
    return float(np.median(variance[bright] / mean[bright]))


def group_by_colour(
    colours: Float[np.ndarray, "n band"], weights: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Return a group for each pixel: halves of halves along the band that varies most, until `GROUPS`."""
    group = np.zeros(len(colours), np.int64)
    count = 1
    while count < GROUPS:
        for number in range(count):
            members = np.flatnonzero(group == number)
            if len(members) < 2:
                continue
            mean = np.average(colours[members], axis=0, weights=weights[members])
            spread = np.average((colours[members] - mean) ** 2, axis=0, weights=weights[members])
            order = members[np.argsort(colours[members, np.argmax(spread)], kind="stable")]
            half = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights[order].sum())
            group[order[min(half + 1, len(order) - 1) :]] = count + number
        count *= 2
    return np.unique(group, return_inverse=True)[1]


@functools.cache
def _library() -> Float[np.ndarray, "n population"]:
    return draw_mixtures(4000, np.random.default_rng(0))


def typical_mixtures(
    fluxes: Float[np.ndarray, "population band"], colours: Float[np.ndarray, "n band"]
) -> Float[np.ndarray, "n population"]:
    """Return the mean of the mixtures that have given colours.

    Parameters
    ----------
    fluxes
        Flux of each of `POPULATIONS` in each band.
    colours
        Fluxes to explain, all above 0.
    """
    logs, wanted = (np.log(np.maximum(a, 1e-3 * a.max())) for a in (_library() @ fluxes, colours))
    out = []
    for row in wanted:
        offset = row - logs
        level = offset.mean(axis=1)
        misfit = np.sum((offset - level[:, None]) ** 2, axis=1) / (0.921 * ACCURACY) ** 2
        weight = np.exp(-0.5 * (misfit - misfit.min()))
        out.append((weight * np.exp(level)) @ _library() / weight.sum())
    return np.array(out)


def fit_mixtures(
    fluxes: Float[np.ndarray, "population band"],
    colours: Float[np.ndarray, "n band"],
    start: Float[np.ndarray, "n population"],
    pull: float,
) -> Float[np.ndarray, "n population"]:
    """Fit non-negative mixtures to many spectra at once.

    Minimises ``|mixture @ fluxes - colours|^2 + pull^2 |mixture - start|^2``, with the mixture in units of
    the populations' mean flux, over mixtures that are not negative, by coordinate descent.

    Parameters
    ----------
    fluxes
        Flux of each population in each band.
    colours
        Fluxes to explain.
    start
        Mixtures to stay near.
    pull
        Strength of that.
    """
    scale = fluxes.mean(axis=1)
    design = fluxes / scale[:, None]
    gram = design @ design.T + pull**2 * np.eye(len(design))
    goal = colours @ design.T + pull**2 * start * scale
    mixtures = start * scale
    for _ in range(2000):
        before = mixtures.copy()
        for i in range(len(design)):
            rest = goal[:, i] - mixtures @ gram[i] + gram[i, i] * mixtures[:, i]
            mixtures[:, i] = np.maximum(rest / gram[i, i], 0.0)
        if np.max(np.abs(mixtures - before)) < 1e-6:
            break
    return mixtures / scale


def keep_few(
    mixtures: Float[np.ndarray, "group population"], weights: Float[np.ndarray, " group"]
) -> tuple[list[int], Float[np.ndarray, "group kept"]]:
    """Choose the populations that give the spectra of all mixtures best, adding one after the other.

    Parameters
    ----------
    mixtures
        Mixtures of `POPULATIONS`.
    weights
        Their light.

    Returns
    -------
    kept
        Which populations.
    mixtures
        The mixtures, made of these.
    """
    wide = np.concatenate(
        [
            population_fluxes(POPULATIONS, _REST, 0.0),
            population_fluxes(POPULATIONS, ("lsst.u",), _ULTRAVIOLET),
        ],
        axis=1,
    )
    wanted = mixtures @ wide

    def fit(chosen: list[int]) -> tuple[float, Float[np.ndarray, "group kept"]]:
        mixtures, squares = [], []
        for row in wanted:
            design = (wide[chosen] / row).T
            scale = design.mean(axis=0)  # scipy's solver needs columns of order one
            shares, error = nnls(design / scale, np.ones(len(row)))
            mixtures.append(shares / scale)
            squares.append(error**2 / len(row))
        return float(np.sqrt(np.average(squares, weights=weights))), np.array(mixtures)

    kept: list[int] = []
    error, best = np.inf, np.zeros((len(mixtures), 0))
    while len(kept) < LARGEST_NUMBER and error > _ENOUGH:
        trials = [(*fit([*kept, i]), i) for i in range(len(POPULATIONS)) if i not in kept]
        error, best, added = min(trials, key=lambda trial: trial[0])
        kept.append(added)
    # A template of the first steps may not be needed any more.
    used = weights @ best > 1e-3 * (weights @ best).sum()
    kept = [i for i, needed in zip(kept, used, strict=True) if needed]
    return kept, fit(kept)[1]
