"""Per-pixel mixtures against synthetic galaxies of known populations, and dense least squares."""

import numpy as np
import pytest
from scipy.optimize import nnls

from data_prep.mixtures import (
    GROUPS,
    LARGEST_NUMBER,
    fit_mixtures,
    group_by_colour,
    keep_few,
    local_colours,
    split_light,
    typical_mixtures,
)
from data_prep.stellar_populations import POPULATIONS, population_fluxes

GRIZ = tuple(f"sdss.{b}" for b in "griz")
REDSHIFT = 0.05
OLD, YOUNG = ("E", 0.1), ("Scd", 0.1)


def two_populations(side=61, seed=0, photons=None):
    """Return maps of an old bulge and a knotty young disc, and their fluxes in griz."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)) - (side - 1) / 2
    radius = np.hypot(x, 1.4 * y)
    bulge, disc = np.exp(-radius / 2.5), 0.3 * np.exp(-radius / 8.0) * rng.uniform(0.5, 2.0, (side, side))
    window = np.clip(1.5 - np.hypot(x, y) / (0.35 * side), 0.0, 1.0)
    maps = np.stack([bulge, disc]) * window
    light = np.tensordot(population_fluxes((OLD, YOUNG), GRIZ, REDSHIFT).T, maps, axes=1)
    if photons is not None:
        light = rng.poisson(light * photons) / photons
    return maps, light


def magnitudes(populations, maps, bands, redshift=REDSHIFT):
    return -2.5 * np.log10(
        np.tensordot(population_fluxes(populations, bands, redshift).T, maps, axes=1).sum(axis=(1, 2))
    )


def test_least_squares_without_a_pull_recovers_mixtures_exactly():
    rng = np.random.default_rng(1)
    fluxes = rng.uniform(0.2, 2.0, (4, 6))
    mixtures = rng.dirichlet(np.full(4, 0.5), 200)
    mixtures[mixtures < 0.05] = 0.0
    found = fit_mixtures(fluxes, mixtures @ fluxes, np.full_like(mixtures, 0.25), 1e-6)
    np.testing.assert_allclose(found, mixtures, atol=2e-3)


@pytest.mark.parametrize("pull", [0.1, 0.5, 3.0])
def test_least_squares_agrees_with_dense_nnls(pull):
    rng = np.random.default_rng(2)
    fluxes, colours = rng.uniform(0.2, 2.0, (5, 4)), rng.uniform(0.1, 2.0, (30, 4))
    start = rng.dirichlet(np.ones(5), 30)
    found = fit_mixtures(fluxes, colours, start, pull)
    scale = fluxes.mean(axis=1)
    for row, colour, first in zip(found, colours, start, strict=True):
        matrix = np.concatenate([(fluxes / scale[:, None]).T, pull * np.eye(5)])
        expected, _ = nnls(matrix, np.concatenate([colour, pull * first * scale]))
        np.testing.assert_allclose(row * scale, expected, atol=2e-3)


def test_the_pull_decides_what_bands_do_not():
    fluxes = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 0.5]])
    found = fit_mixtures(fluxes, np.array([[1.0, 1.0]]), np.array([[0.2, 0.8, 0.0]]), 0.01)
    np.testing.assert_allclose(found, [[0.2, 0.8, 0.0]], atol=1e-4)


def test_typical_mixtures_have_the_colours_and_the_flux():
    fluxes = population_fluxes(POPULATIONS, GRIZ, REDSHIFT)
    rng = np.random.default_rng(3)
    truth = 7.0 * rng.dirichlet(np.full(len(POPULATIONS), 0.3), 20)
    found = typical_mixtures(fluxes, truth @ fluxes)
    assert found.min() >= 0
    np.testing.assert_allclose(-2.5 * np.log10(found @ fluxes / (truth @ fluxes)), 0.0, atol=0.06)


def test_few_populations_give_the_spectra_of_many():
    rng = np.random.default_rng(4)
    mixtures = rng.dirichlet(np.full(len(POPULATIONS), 0.5), 10)
    kept, few = keep_few(mixtures, np.ones(10))
    assert len(kept) <= LARGEST_NUMBER
    for bands, redshift in ((GRIZ, 0.05), (("lsst.u", "lsst.r", "euclid.vis", "euclid.H"), 0.6)):
        table = population_fluxes(POPULATIONS, bands, redshift)
        np.testing.assert_allclose(few @ table[kept], mixtures @ table, rtol=0.05)


def test_two_populations_are_kept_as_two():
    mixtures = np.zeros((3, len(POPULATIONS)))
    chosen = sorted(POPULATIONS.index(p) for p in (OLD, YOUNG))
    mixtures[:, chosen] = [[1.0, 0.0], [0.4, 0.6], [0.0, 1.0]]
    kept, few = keep_few(mixtures, np.ones(3))
    assert sorted(kept) == chosen
    np.testing.assert_allclose(few[:, np.argsort(kept)], mixtures[:, chosen], atol=1e-6)


def test_groups_are_of_one_colour_and_share_the_light():
    rng = np.random.default_rng(5)
    colours, weights = rng.normal(0.0, [1.0, 0.1], (4000, 2)), rng.uniform(0.5, 1.5, 4000)
    group = group_by_colour(colours, weights)
    assert set(group) == set(range(GROUPS))
    shares = np.bincount(group, weights) / weights.sum()
    np.testing.assert_allclose(shares, 1 / GROUPS, rtol=0.1)
    within = np.average([np.var(colours[group == g, 0]) for g in range(GROUPS)])
    assert within < 0.05


def test_the_light_stays_sharp_and_the_bands_are_reproduced():
    _, light = two_populations()
    populations, maps = split_light(light, GRIZ, REDSHIFT)
    assert maps.min() >= 0
    model = np.tensordot(population_fluxes(populations, GRIZ, REDSHIFT).T, maps, axes=1)
    np.testing.assert_allclose(model.sum(axis=(1, 2)) / light.sum(axis=(1, 2)), 1.0, atol=0.01)
    totals = light.sum(axis=(1, 2))[:, None, None]
    np.testing.assert_allclose((model / totals).mean(axis=0), (light / totals).mean(axis=0), rtol=1e-6)
    bright = light[1] > 0.02 * light[1].max()
    assert np.std(np.log(model[:, bright] / light[:, bright])) < 0.02


def test_a_held_out_band_is_predicted():
    _, light = two_populations()
    for held in range(4):
        others = [i for i in range(4) if i != held]
        populations, maps = split_light(light[others], tuple(GRIZ[i] for i in others), REDSHIFT)
        predicted = population_fluxes(populations, (GRIZ[held],), REDSHIFT)[:, 0] @ maps.sum(axis=(1, 2))
        inside = 0 < held < 3  # between the other bands, not beyond
        assert abs(2.5 * np.log10(predicted / light[held].sum())) < (0.03 if inside else 0.1)


def test_other_bands_and_redshifts_follow_from_the_populations():
    maps, light = two_populations()
    populations, found = split_light(light, GRIZ, REDSHIFT)
    # At redshift 0.8 LSST g shows the ultraviolet at rest, which g, r, i and z do not fix.
    for redshift, tolerance in ((0.05, 0.05), (0.8, 0.25)):
        bands = ("lsst.g", "lsst.i", "euclid.vis", "euclid.Y")
        true = magnitudes((OLD, YOUNG), maps, bands, redshift)
        guess = magnitudes(populations, found, bands, redshift)
        np.testing.assert_allclose(np.diff(guess), np.diff(true), atol=tolerance)


def test_noise_of_single_pixels_does_not_become_colour():
    _, light = two_populations()
    _, noisy = two_populations(photons=30.0)  # few photons in the faintest pixels
    colours = [local_colours(a / a.sum(axis=(1, 2), keepdims=True)) for a in (light, noisy)]
    faint = (light[1] > 1e-3 * light[1].max()) & (light[1] < 0.1 * light[1].max())
    raw = noisy / noisy.sum(axis=(1, 2), keepdims=True)
    ratio = [
        np.std(c[0][faint] - colours[0][0][faint]) for c in (colours[1], raw / (raw.mean(axis=0) + 1e-12))
    ]
    assert ratio[0] < 0.25 * ratio[1]
    np.testing.assert_allclose(colours[1].mean(axis=0), 1.0, atol=1e-9)
