"""Colours: what galaxies show is reproduced, and no light is lost or made on the way."""

import dataclasses

import numpy as np
import pytest

from data_prep.colour_library import ColourLibrary
from data_prep.colours import light_maps, population_tilts, populations, share_out, spectra
from data_prep.readers.galaxy import Galaxy
from data_prep.readers.hst import Colours
from data_prep.readers.tng import read_tng
from data_prep.stellar_populations import POPULATIONS, population_fluxes
from synergy.errors import InputError
from synergy.survey import SCENE_BANDS
from synergy.templates import TYPES

BANDS = (*SCENE_BANDS, "hst.F814W")
REDSHIFT = 0.45
KINDS = tuple((name, 0.0) for name in TYPES)
LIBRARY = ColourLibrary((Colours("gal", (23.9, 23.0, 22.2)), Colours("other", (23.3, 23.0, 22.8))))


def picture(side=48):
    """Return an image in g, r, i: a red bulge in a blue, lopsided disc."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    bulge, disc = np.exp(-0.5 * (x**2 + y**2) / 4.0), np.exp(-np.hypot(x - 2.0, 1.5 * y) / 6.0)
    return np.multiply.outer([0.5, 1.0, 1.5], bulge) + np.multiply.outer([1.2, 1.0, 0.8], disc), bulge, disc


def relative_galaxy(light):
    return Galaxy(("sdss.g", "sdss.r", "sdss.i"), light, 0.2, np.nan, "a/1", "a", absolute=False)


def mixture(rng):
    """Return the spectrum of a mixture of templates in `BANDS`, for an F814W flux of 1."""
    flux = rng.dirichlet(np.ones(len(POPULATIONS))) @ population_fluxes(POPULATIONS, BANDS, REDSHIFT)
    return flux / flux[-1]


def test_populations_add_up_to_the_light():
    light, _, _ = picture()
    maps = populations(light)
    assert maps.shape == (len(TYPES), *light.shape[1:])
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum(axis=0), light.mean(axis=0) / light.mean(axis=0).sum(), rtol=1e-12)
    assert maps.sum() == pytest.approx(1.0)


def test_bulges_are_old_and_discs_are_young():
    light, bulge, disc = picture()
    old = populations(light)[:2].sum(axis=0) / populations(light).sum(axis=0)
    assert old[bulge > 0.5].min() > 0.7
    assert old[(disc > 0.05) & (bulge < 1e-4)].max() < 0.4


def test_an_image_of_one_colour_is_one_mixture_everywhere():
    plane = picture()[1]
    maps = populations(np.stack([0.7 * plane, plane, 1.2 * plane]), smoothing=1.0)
    bright = plane > 0.2  # below, a floor takes over where 8 bits show nothing
    share = maps[:, bright] / maps[:, bright].sum(axis=0)
    np.testing.assert_allclose(share, share[:, :1] * np.ones(bright.sum()), atol=0.06)


def test_light_maps_of_a_relative_image_are_its_populations():
    light, _, _ = picture()
    maps = light_maps(relative_galaxy(light))
    assert not maps.own_colours
    assert maps.populations == KINDS
    assert (maps.id, maps.lineage, maps.kpc_per_pixel) == ("a/1", "a", 0.2)
    np.testing.assert_allclose(maps.maps.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(maps.shares[:, None, None] * maps.maps, populations(light), atol=1e-9)


def test_populations_without_light_are_left_out():
    light = np.zeros((3, 32, 32))
    light[:, 16, 16] = 1.0  # one colour: half way between the second and the third type
    maps = light_maps(relative_galaxy(light))
    assert [name for name, _ in maps.populations] == ["Sbc", "Scd"]
    assert maps.shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("contrast", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("reddening", [-0.2, 0.0, 0.1])
def test_populations_add_up_to_the_integrated_spectrum(contrast, reddening):
    rng = np.random.default_rng(6)
    shares, integrated = rng.dirichlet(np.ones(len(TYPES))), mixture(rng)
    fluxes = share_out(integrated, shares, population_tilts(KINDS, BANDS, REDSHIFT, contrast, reddening))
    np.testing.assert_allclose(fluxes.sum(axis=0), integrated, rtol=1e-12)
    np.testing.assert_allclose(fluxes[:, -1], shares, rtol=1e-12)  # light in F814W stays where it is


def test_contrast_spans_from_no_colour_variation_to_that_of_the_templates():
    templates = population_fluxes(KINDS, BANDS, REDSHIFT)
    tilts = population_tilts(KINDS, BANDS, REDSHIFT, 1.0, 0.0)
    np.testing.assert_allclose(tilts, templates / templates[:, -1:], rtol=1e-10)
    np.testing.assert_allclose(population_tilts(KINDS, BANDS, REDSHIFT, 0.0, 0.0), 1.0)


def test_a_gradient_of_dust_reddens_from_the_bluest_population_on():
    tilts = population_tilts(KINDS, ("lsst.g", "euclid.H"), REDSHIFT, 0.0, 0.1)
    colour = tilts[:, 0] / tilts[:, 1]
    assert np.all(np.diff(colour) > 0)  # E first
    dust = tuple((name, excess) for name, excess in zip(TYPES, (0.3, 0.2, 0.1, 0.0), strict=True))
    dusty, bare = (population_fluxes(p, ("lsst.g", "euclid.H"), REDSHIFT) for p in (dust, KINDS))
    expected = (dusty[:, 0] / dusty[:, 1]) / (bare[:, 0] / bare[:, 1])
    np.testing.assert_allclose(np.log(colour), np.log(expected), rtol=0.05, atol=1e-9)


def test_spectra_of_a_relative_image_are_drawn_from_the_library():
    light = light_maps(relative_galaxy(picture()[0]))
    for seed in range(5):
        fluxes = spectra(light, BANDS, REDSHIFT, np.random.default_rng(seed), LIBRARY)
        drawn = LIBRARY.draw(BANDS, REDSHIFT, np.random.default_rng(seed))
        np.testing.assert_allclose(fluxes.sum(axis=0), drawn, rtol=1e-6)
        np.testing.assert_allclose(fluxes[:, -1], light.shares, rtol=1e-6)


def calibrated(side=51, redshift=0.06):
    """Return a galaxy of an old bulge and a young disc in SDSS bands, off centre, with negative noise."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    radius = np.hypot(x - 2.0, 1.3 * (y + 3.0))
    maps = np.stack([np.exp(-radius / 2.0), 0.3 * np.exp(-radius / 6.0)]) * (radius < 18)
    bands = tuple(f"sdss.{band}" for band in "griz")
    light = np.tensordot(population_fluxes((("E", 0.0), ("Scd", 0.2)), bands, redshift).T, maps, axes=1)
    light[:, 0, 0] = -1e-3
    return Galaxy(bands, 40.0 * light, 0.3, redshift, "tng/1", "tng/1", absolute=True)


def test_a_calibrated_galaxy_keeps_its_bands_at_its_own_redshift():
    galaxy = calibrated()
    light = light_maps(galaxy)
    assert light.own_colours
    fluxes = spectra(light, galaxy.bands, galaxy.redshift, np.random.default_rng(0), None)
    total = np.maximum(galaxy.light, 0.0).sum(axis=(1, 2))
    closure = -2.5 * np.log10(fluxes.sum(axis=0) / total)
    np.testing.assert_allclose(closure, closure.mean(), atol=0.01)


def test_light_maps_can_be_placed():
    light = light_maps(calibrated())
    assert 1 <= len(light.maps) == len(light.shares) == len(light.populations) <= 6
    np.testing.assert_allclose(light.maps.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    assert light.maps.min() >= 0
    assert light.shares.min() > 0
    assert light.shares.sum() == pytest.approx(1.0)
    side = light.maps.shape[1]
    assert max(light.maps[:, 0].max(), light.maps[:, -1].max(), light.maps[:, :, [0, -1]].max()) == 0
    whole = np.tensordot(light.shares, light.maps, axes=1)
    assert np.unravel_index(np.argmax(whole), whole.shape) == (side // 2, side // 2)
    assert 3.0 < light.radius < 9.0


def test_own_colours_are_those_of_the_populations_at_any_redshift():
    light = light_maps(calibrated())
    for redshift in (0.3, 1.1):
        fluxes = spectra(light, BANDS, redshift, np.random.default_rng(0), None)
        assert fluxes[:, -1].sum() == pytest.approx(1.0)
        table = population_fluxes(light.populations, BANDS, redshift)
        np.testing.assert_allclose(fluxes[:, 3] / fluxes[:, 5], table[:, 3] / table[:, 5], rtol=1e-10)
    again = spectra(light, BANDS, 1.1, np.random.default_rng(7), LIBRARY)
    np.testing.assert_array_equal(fluxes, again)  # nothing is drawn


def test_what_cannot_be_split_is_refused():
    galaxy = calibrated()
    with pytest.raises(InputError, match="without a redshift"):
        light_maps(dataclasses.replace(galaxy, redshift=np.nan))
    light_maps(dataclasses.replace(galaxy, redshift=np.nan), redshift=0.06)
    with pytest.raises(InputError, match="one band"):
        light_maps(dataclasses.replace(galaxy, bands=("sdss.g",), light=galaxy.light[:1]))
    dark = galaxy.light * np.array([1.0, 1.0, -1.0, 1.0])[:, None, None]
    with pytest.raises(InputError, match=r"no light in sdss\.i"):
        light_maps(dataclasses.replace(galaxy, light=dark[:, 1:, 1:]))
    two = dataclasses.replace(relative_galaxy(picture()[0][:2]), bands=("sdss.g", "sdss.r"))
    with pytest.raises(InputError, match=r"relative image in sdss\.g, sdss\.r"):
        light_maps(two)
    with pytest.raises(InputError, match="no colours"):
        spectra(light_maps(relative_galaxy(picture()[0])), BANDS, 0.3, np.random.default_rng(0), None)


@pytest.mark.shared_data
def test_tng_galaxies_keep_their_bands(shared_data):
    # Zero points of photon counts through the filters, less what puts the galaxies among the templates.
    zeropoints = {"sdss.g": 22.33, "sdss.r": 22.5, "sdss.i": 22.02, "sdss.z": 20.03}
    for name in ("broadband_117363", "broadband_99185"):
        galaxy = read_tng(shared_data / "tng50_skirt_sdss" / f"{name}.fits", "TNG50-1", zeropoints)
        light = light_maps(galaxy)
        fluxes = spectra(light, galaxy.bands, galaxy.redshift, np.random.default_rng(0), None)
        closure = -2.5 * np.log10(fluxes.sum(axis=0) / galaxy.light.sum(axis=(1, 2)))
        np.testing.assert_allclose(closure, closure.mean(), atol=0.05)
