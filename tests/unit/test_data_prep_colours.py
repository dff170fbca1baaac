"""Colours: what real galaxies show is reproduced, and no light is lost or made on the way."""

import numpy as np
import pytest

from data_prep.colours import (
    DUST,
    REDSHIFTS,
    ColourLibrary,
    fit_spectrum,
    nearest_redshift,
    populations,
    stellar_spectrum,
    type_spectra,
)
from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import Colours
from synergy.survey import SCENE_BANDS
from synergy.templates import TYPES, template_fluxes

BANDS = (*SCENE_BANDS, "hst.F814W")
REDSHIFT = float(REDSHIFTS[9])


def mixture_colours(weights, name="mixture"):
    """Return the magnitudes of a mixture of templates, and its flux in `BANDS` for an F814W flux of 1."""
    hst = weights @ template_fluxes(HST_BANDS, REDSHIFT, DUST)
    spectrum = weights @ template_fluxes(BANDS, REDSHIFT, DUST)
    return Colours(name, tuple(float(m) for m in 22.0 - 2.5 * np.log10(hst))), spectrum / hst[1]


def galaxy(side=48):
    """Return an image in g, r, i: a red bulge in a blue, lopsided disc."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    bulge, disc = np.exp(-0.5 * (x**2 + y**2) / 4.0), np.exp(-np.hypot(x - 2.0, 1.5 * y) / 6.0)
    return np.multiply.outer([0.5, 1.0, 1.5], bulge) + np.multiply.outer([1.2, 1.0, 0.8], disc), bulge, disc


def test_populations_add_up_to_the_light():
    light, _, _ = galaxy()
    maps = populations(light)
    assert maps.shape == (len(TYPES), *light.shape[1:])
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum(axis=0), light.mean(axis=0) / light.mean(axis=0).sum(), rtol=1e-12)
    assert maps.sum() == pytest.approx(1.0)


def test_bulges_are_old_and_discs_are_young():
    light, bulge, disc = galaxy()
    old = populations(light)[:2].sum(axis=0) / populations(light).sum(axis=0)
    assert old[bulge > 0.5].min() > 0.7
    assert old[(disc > 0.05) & (bulge < 1e-4)].max() < 0.4


def test_an_image_of_one_colour_is_one_mixture_everywhere():
    plane = galaxy()[1]
    maps = populations(np.stack([0.7 * plane, plane, 1.2 * plane]), smoothing=1.0)
    bright = plane > 0.2  # below, a floor takes over where 8 bits show nothing
    share = maps[:, bright] / maps[:, bright].sum(axis=0)
    np.testing.assert_allclose(share, share[:, :1] * np.ones(bright.sum()), atol=0.06)


def test_the_fit_reproduces_colours_that_templates_can_make():
    rng = np.random.default_rng(3)
    for _ in range(5):
        colours, _ = mixture_colours(rng.dirichlet(np.ones(len(TYPES) * len(DUST))))
        spectrum, misfit = fit_spectrum(colours, HST_BANDS, REDSHIFT, ridge=1e-4)
        magnitudes = np.array(colours.magnitudes)
        np.testing.assert_allclose(-2.5 * np.log10(spectrum), magnitudes - magnitudes[1], atol=2e-3)
        assert misfit < 1e-3


def test_the_fit_predicts_bands_that_were_not_fitted():
    rng = np.random.default_rng(4)
    between = np.array([band in ("lsst.r", "lsst.i", "lsst.z", "euclid.vis", "euclid.Y") for band in BANDS])
    for _ in range(5):
        colours, truth = mixture_colours(rng.dirichlet(np.ones(len(TYPES) * len(DUST))))
        spectrum, misfit = fit_spectrum(colours, BANDS, REDSHIFT)
        error = np.abs(-2.5 * np.log10(spectrum / truth))
        assert error[between].max() < 0.1  # between the fitted bands
        assert error.max() < 0.5
        assert misfit < 0.05


def test_impossible_colours_have_a_large_misfit_and_are_never_drawn():
    natural = [mixture_colours(np.eye(len(TYPES) * len(DUST))[i], f"natural{i}")[0] for i in (0, 2, 5)]
    absurd = [Colours(f"absurd{i}", (20.0, 25.0 + i, 20.0)) for i in range(3)]
    library = ColourLibrary((*absurd, *natural))
    assert min(fit_spectrum(c, BANDS, REDSHIFT)[1] for c in absurd) > 0.5
    allowed = [fit_spectrum(c, BANDS, REDSHIFT)[0] for c in natural]
    rng = np.random.default_rng(5)
    drawn = [library.draw(BANDS, REDSHIFT, rng) for _ in range(60)]
    counts = [sum(np.array_equal(d, a) for d in drawn) for a in allowed]
    assert sum(counts) == 60
    assert min(counts) > 5  # each in turn
    np.testing.assert_allclose([spectrum[-1] for spectrum in drawn], 1.0)  # F814W


@pytest.mark.parametrize("contrast", [0.0, 0.4, 1.0])
def test_types_add_up_to_the_integrated_spectrum(contrast):
    rng = np.random.default_rng(6)
    types = rng.dirichlet(np.ones(len(TYPES)))
    _, integrated = mixture_colours(rng.dirichlet(np.ones(len(TYPES) * len(DUST))))
    spectra = type_spectra(integrated, types, BANDS, REDSHIFT, contrast)
    np.testing.assert_allclose(types @ spectra, integrated, rtol=1e-6)
    np.testing.assert_allclose(spectra[:, -1], 1.0, rtol=1e-6)  # light in F814W stays where it is


def test_contrast_spans_from_no_colour_variation_to_that_of_the_templates():
    types = np.array([0.4, 0.3, 0.2, 0.1])
    templates = template_fluxes(BANDS, REDSHIFT)
    templates = templates / templates[:, -1:]
    spectra = type_spectra(types @ templates, types, BANDS, REDSHIFT, 1.0)
    np.testing.assert_allclose(spectra, templates, rtol=1e-10)
    flat = type_spectra(types @ templates, types, BANDS, REDSHIFT, 0.0)
    np.testing.assert_allclose(flat, np.tile(types @ templates, (len(TYPES), 1)), rtol=1e-10)


def test_an_image_in_f814w_is_the_map_of_its_light():
    light, _, _ = galaxy()
    maps = populations(light)
    _, integrated = mixture_colours(np.full(len(TYPES) * len(DUST), 1.0))
    spectra = type_spectra(integrated, maps.sum(axis=(1, 2)), BANDS, REDSHIFT, 0.8)
    cube = np.tensordot(spectra.T, maps, axes=1)
    np.testing.assert_allclose(cube[-1], maps.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(cube.sum(axis=(1, 2)), integrated, rtol=1e-6)
    colour = np.log(cube[BANDS.index("lsst.g")] / cube[-1])
    middle = light.shape[-1] // 2
    assert colour[middle, middle] < colour[middle, middle + 14] - 0.2  # the bulge is redder


def test_redshifts_are_rounded_to_the_table():
    assert nearest_redshift(0.0) == 0.02
    assert nearest_redshift(9.0) == 2.0
    for redshift in (0.31, 0.77, 1.6):
        step = np.diff(REDSHIFTS).max()
        assert nearest_redshift(redshift) in REDSHIFTS
        assert nearest_redshift(redshift) == pytest.approx(redshift, abs=step / 2)


def test_stars_lie_between_the_templates():
    rng = np.random.default_rng(7)
    templates = template_fluxes(BANDS, float(REDSHIFTS[0]))
    templates = templates / templates[:, -1:]
    for _ in range(20):
        star = stellar_spectrum(BANDS, rng)
        assert star[-1] == pytest.approx(1.0)
        assert np.all(star >= templates.min(axis=0) - 1e-12)
        assert np.all(star <= templates.max(axis=0) + 1e-12)
