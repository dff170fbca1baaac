"""Drawn colours against the galaxies and mixtures that they are drawn from."""

import numpy as np
import pytest

from data_prep.colour_library import ColourLibrary
from data_prep.photometric_redshifts import REDSHIFTS, likely_redshift, log_redshifts
from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import Colours, read_colours
from data_prep.stellar_populations import DUST, POPULATIONS, draw_mixtures, population_fluxes
from synergy.errors import InputError
from synergy.survey import SCENE_BANDS
from synergy.templates import TYPES, template_fluxes

BANDS = (*SCENE_BANDS, *HST_BANDS)


def mixture_colours(mixture, redshift, magnitude=22.0, name="mixture"):
    flux = mixture @ population_fluxes(POPULATIONS, HST_BANDS, redshift)
    return Colours(name, tuple(float(m) for m in magnitude - 2.5 * np.log10(flux / flux[1])))


def drawn_colours(library, redshift, count=150, magnitude=None, seed=5):
    rng = np.random.default_rng(seed)
    fluxes = np.array([library.draw(BANDS, redshift, rng, magnitude) for _ in range(count)])
    assert np.all(fluxes > 0)
    return dict(zip(BANDS, -2.5 * np.log10(fluxes.T), strict=True))


def test_population_fluxes_are_the_templates_normalised_at_rest():
    fluxes = population_fluxes((("Im", 0.2), ("E", 0.0)), ("lsst.r", "sdss.r"), 0.0)
    np.testing.assert_allclose(fluxes[:, 1], 1.0)
    bare = template_fluxes(("lsst.r", "sdss.r"), 0.0, (0.0, 0.2))
    np.testing.assert_allclose(fluxes[0, 0], bare[7, 0] / bare[7, 1])
    np.testing.assert_allclose(fluxes[1, 0], bare[0, 0] / bare[0, 1])


def test_redshifts_are_rounded_to_a_hundredth():
    near, exact = (population_fluxes(POPULATIONS, ("lsst.g",), z) for z in (0.4049, 0.40))
    np.testing.assert_array_equal(near, exact)
    assert np.any(population_fluxes(POPULATIONS, ("lsst.g",), 0.41) != exact)


def test_unknown_templates_are_refused():
    with pytest.raises(InputError, match="Sab"):
        population_fluxes((("Sab", 0.0),), ("lsst.g",), 0.3)


def test_mixtures_are_shares_of_all_ages_and_dust():
    mixtures = draw_mixtures(4000, np.random.default_rng(1))
    assert mixtures.min() >= 0
    np.testing.assert_allclose(mixtures.sum(axis=1), 1.0)
    by_type = mixtures.reshape(-1, len(TYPES), len(DUST)).sum(axis=2)
    assert np.mean(by_type[:, 0] > 0.95) > 0.1  # quiescent galaxies
    assert np.mean(by_type[:, 0] < 0.05) > 0.1  # without an old population
    excess = np.einsum("ntd,d->nt", mixtures.reshape(-1, len(TYPES), len(DUST)), DUST)[:, 1:].sum(axis=1)
    young = excess / np.maximum(1.0 - by_type[:, 0], 1e-9)
    assert np.median(young) == pytest.approx(0.2 * np.log(2.0) - 0.1, abs=0.05)


def test_the_redshift_of_an_old_galaxy_shows_in_its_break():
    old = np.eye(len(POPULATIONS))[POPULATIONS.index(("E", 0.0))]
    bands = (*(f"lsst.{b}" for b in "ugrizy"), "euclid.J")
    for redshift in (0.25, 0.6, 1.1):
        fluxes = 2000.0 * old @ population_fluxes(POPULATIONS, bands, redshift)
        assert likely_redshift(bands, fluxes) == pytest.approx(redshift, abs=0.1)


def test_redshifts_without_information_follow_the_magnitude():
    magnitudes = np.array([[21.0], [25.0]])
    log = log_redshifts(("lsst.i",), magnitudes, magnitudes[:, 0])
    np.testing.assert_allclose(np.exp(log).sum(axis=1), 1.0)
    # One band has no colour: z^2 exp(-z/z0) peaks at 2 z0.
    for row, magnitude in zip(log, magnitudes[:, 0], strict=True):
        assert REDSHIFTS[np.argmax(row)] == pytest.approx(2.0 * (0.0417 * magnitude - 0.744), abs=0.03)


def test_drawn_galaxies_have_the_colours_of_the_real_ones_that_may_lie_there():
    rng = np.random.default_rng(2)
    mixtures = draw_mixtures(2, rng)
    mixtures[0] = np.eye(len(POPULATIONS))[POPULATIONS.index(("E", 0.0))]
    mixtures[1] = np.eye(len(POPULATIONS))[POPULATIONS.index(("Im", 0.0))]
    red, blue = (mixture_colours(m, 0.6) for m in mixtures)
    seen = {}
    for name, witness in (("red", red), ("blue", blue)):
        drawn = drawn_colours(ColourLibrary((witness,)), 0.6)
        for a, b in ((0, 1), (1, 2)):
            colour = drawn[HST_BANDS[a]] - drawn[HST_BANDS[b]]
            expected = witness.magnitudes[a] - witness.magnitudes[b]
            # Three quarters have a witness: they lie within a few times its scatter.
            assert np.mean(np.abs(colour - expected) < 0.12) > 0.6
        seen[name] = drawn
    assert np.median(seen["red"]["lsst.g"] - seen["red"]["lsst.i"]) > 1.0 + np.median(
        seen["blue"]["lsst.g"] - seen["blue"]["lsst.i"]
    )


def test_galaxies_are_drawn_where_their_colours_are_natural():
    # As red as this is only an old galaxy at high redshift; a blue one may be anywhere.
    old = np.eye(len(POPULATIONS))[POPULATIONS.index(("E", 0.0))]
    young = np.eye(len(POPULATIONS))[POPULATIONS.index(("Im", 0.0))]
    library = ColourLibrary((mixture_colours(old, 0.9), mixture_colours(young, 0.3)))
    wanted = library.colours[0].magnitudes[0] - library.colours[0].magnitudes[1]

    def share(redshift):
        drawn = drawn_colours(library, redshift)
        return np.mean(np.abs(drawn["hst.F606W"] - drawn["hst.F814W"] - wanted) < 0.25)

    assert share(0.9) > share(0.2) + 0.2


def test_bright_galaxies_take_after_bright_ones():
    old = np.eye(len(POPULATIONS))[POPULATIONS.index(("E", 0.0))]
    young = np.eye(len(POPULATIONS))[POPULATIONS.index(("Im", 0.0))]
    library = ColourLibrary((mixture_colours(old, 0.5, 20.0), mixture_colours(young, 0.5, 24.5)))
    bright, faint = (drawn_colours(library, 0.5, magnitude=m) for m in (20.0, 24.5))
    assert np.median(bright["lsst.g"] - bright["lsst.i"]) > 0.7 + np.median(faint["lsst.g"] - faint["lsst.i"])


def test_the_brightest_galaxies_take_after_several_bright_ones():
    """Not after the one that happens to be the brightest of all."""
    old = np.eye(len(POPULATIONS))[POPULATIONS.index(("E", 0.0))]
    young = np.eye(len(POPULATIONS))[POPULATIONS.index(("Im", 0.0))]
    usual = [mixture_colours(old, 0.5, magnitude) for magnitude in np.linspace(20.0, 21.0, 10)]
    library = ColourLibrary((mixture_colours(young, 0.5, 17.0), *usual))
    brightest, bright = (drawn_colours(library, 0.5, magnitude=m) for m in (15.0, 20.5))
    colours = [np.median(drawn["lsst.g"] - drawn["lsst.i"]) for drawn in (brightest, bright)]
    assert colours[0] == pytest.approx(colours[1], abs=0.15)


def test_fluxes_are_for_unit_flux_in_f814w():
    library = ColourLibrary((Colours("gal", (23.9, 23.0, 22.2)),))
    for seed in range(5):
        drawn = library.draw(BANDS, 0.4, np.random.default_rng(seed))
        assert drawn[BANDS.index("hst.F814W")] == pytest.approx(1.0)


def test_neighbouring_bands_are_distorted_alike():
    library = ColourLibrary((mixture_colours(draw_mixtures(1, np.random.default_rng(8))[0], 0.5),))
    rng = np.random.default_rng(9)
    fluxes = np.array([library.draw(("lsst.i", "hsc.i", "lsst.g"), 0.5, rng) for _ in range(60)])
    magnitudes = -2.5 * np.log10(fluxes)
    assert np.std(magnitudes[:, 0] - magnitudes[:, 1]) < 0.1 * np.std(magnitudes[:, 0] - magnitudes[:, 2])


@pytest.mark.shared_data
def test_real_galaxies_lie_well_inside_the_drawn_colours(shared_data):
    library = ColourLibrary(tuple(read_colours(shared_data / "hst_f606w_f814w_f125w")))
    # Apertures on two red galaxies of the Euclid Q1 cutouts, near the redshifts of their 4000 A breaks.
    for redshift, colours in (
        (0.85, {("lsst.g", "lsst.r"): 1.8, ("lsst.r", "lsst.i"): 1.17, ("euclid.vis", "euclid.J"): 2.26}),
        (0.5, {("lsst.g", "lsst.r"): 1.7, ("euclid.vis", "euclid.J"): 1.65, ("euclid.J", "euclid.H"): 0.37}),
    ):
        drawn = drawn_colours(library, redshift, count=200, magnitude=21.0)
        for (a, b), real in colours.items():
            assert 0.03 < np.mean(drawn[a] - drawn[b] > real) < 0.97, (redshift, a, b)
