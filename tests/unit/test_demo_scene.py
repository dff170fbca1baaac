"""The demonstration's sky: magnitudes, closure of fluxes, and agreement of renderer, operators and noise."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.demo import make_demo
from data_prep.demo_scene import make_scene, spectrum, spiral_maps
from data_prep.psfs import effective_psf
from data_prep.render import render_image, render_truth
from synergy.likelihood import GaussianLikelihood
from synergy.survey import SCENE_BANDS
from synergy.units import magnitude_from_flux


@pytest.fixture(scope="module")
def demo():
    return make_demo(seed=0)


@pytest.fixture(scope="module")
def sources():
    return make_scene(np.random.default_rng(0))


def test_magnitudes(sources):
    bright = [s.fluxes["lsst.i"] for s in sources]
    assert 20.5 < magnitude_from_flux(sum(bright[:-3])) < 21.5
    assert magnitude_from_flux(bright[-3]) == pytest.approx(22.5, abs=1e-6)
    assert magnitude_from_flux(bright[-2] + bright[-1]) == pytest.approx(24.5, abs=0.1)


def test_colours_are_those_of_galaxies():
    elliptical, irregular = spectrum("E", 0.45, 22.0), spectrum("Im", 0.45, 22.0)
    red, blue = (
        magnitude_from_flux(s["lsst.g"]) - magnitude_from_flux(s["lsst.i"]) for s in (elliptical, irregular)
    )
    assert 2.0 < red < 3.0  # an early type at z = 0.45
    assert 0.3 < blue < 1.2
    dusty = spectrum("Im", 0.45, 22.0, veil=0.3)
    loss = magnitude_from_flux(dusty["lsst.u"]) - magnitude_from_flux(irregular["lsst.u"])
    # Calzetti: k = 7.74 at 2540 Angstrom (u at z = 0.45)
    assert loss == pytest.approx(0.3 * 7.74, rel=0.03)


def test_maps_are_light(sources):
    maps = spiral_maps(np.random.default_rng(5))
    for name in ("old", "young", "knots"):
        assert maps[name].min() >= 0
        assert maps[name].sum() == pytest.approx(1)
        assert maps[name][[0, -1]].sum() + maps[name][:, [0, -1]].sum() < 1e-4
    assert np.any(spiral_maps(np.random.default_rng(6))["young"] != maps["young"])


def test_the_frame_holds_all_light(demo, sources):
    truth, _, _ = demo
    for plane, band in zip(truth, SCENE_BANDS, strict=True):
        assert plane.sum() == pytest.approx(sum(s.fluxes[band] for s in sources), rel=1e-3)
        rim = np.concatenate([plane[[0, -1]].ravel(), plane[:, [0, -1]].ravel()])
        assert np.abs(rim).max() < 1e-5 * plane.max()
        assert plane.min() > -1e-4 * plane.max()


def test_operators_agree_with_galsim_in_all_ten_bands(demo, sources):
    truth, frame, observations = demo
    assert [o.band for o in observations] == list(SCENE_BANDS)
    predicted = GaussianLikelihood.build(observations, frame, SCENE_BANDS).forward(
        jnp.asarray(truth, jnp.float32)
    )
    for observation, ours in zip(observations, predicted, strict=True):
        galsims = render_image(sources, frame, observation.frame, effective_psf(observation.band))
        assert np.max(np.abs(np.asarray(ours) - galsims)) < 1e-4 * galsims.max(), observation.name


def test_truth_explains_the_data_to_the_noise(demo):
    truth, frame, observations = demo
    likelihood = GaussianLikelihood.build(observations, frame, SCENE_BANDS)
    chi2 = np.asarray(likelihood.chi2(jnp.asarray(truth, jnp.float32)))
    pixels = np.asarray(likelihood.n_pixels)
    assert np.all(np.abs(chi2 - pixels) < 4 * np.sqrt(2 * pixels))


def test_images_are_native(demo):
    _, _, observations = demo
    shapes = {o.band: o.image.shape for o in observations}
    assert shapes["euclid.vis"] == (64, 64)
    assert shapes["euclid.H"] == (22, 22)
    assert shapes["lsst.u"] == (32, 32)
    assert {round(o.frame.pixel_scale, 6) for o in observations} == {0.1, 0.2, 0.3}


def test_seeds_make_different_scenes_of_one_kind(sources, demo):
    other = make_scene(np.random.default_rng(1))
    frame = demo[1]
    first, second = (render_truth(s, frame, ("lsst.i",))[0] for s in (sources, other))
    assert np.sum((first - second) ** 2) > 0.01 * np.sum(first**2)
    assert first.sum() == pytest.approx(second.sum(), rel=0.1)
