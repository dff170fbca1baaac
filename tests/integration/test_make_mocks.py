"""Pairs as the configurations make them: pure, photometrically closed, and explained by the likelihood."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from photutils.aperture import CircularAperture, aperture_photometry

from data_prep.gallery import plot_pairs, turned
from data_prep.make_mocks import make_pair, pair_sky
from data_prep.mock_config import MockSettings
from data_prep.run_mocks import run
from data_prep.splits import split_of
from synergy.config import load
from synergy.errors import InputError
from synergy.io.export import export_fits
from synergy.io.pairs import PairShards
from synergy.io.shards import SceneShards
from synergy.likelihood import GaussianLikelihood

CONFIGS = Path(__file__).parents[2] / "configs" / "mock"


def settings(**changes):
    """Return the settings of debug.yaml with some of its keys replaced."""
    return MockSettings.model_validate(load(CONFIGS / "debug.yaml", MockSettings).model_dump() | changes)


def same(one, other):
    return (
        one.id == other.id
        and one.sources == other.sources
        and np.array_equal(one.truth, other.truth)
        and all(
            np.array_equal(a.image, b.image) and np.array_equal(a.ivar, b.ivar)
            for a, b in zip(one.observations, other.observations, strict=True)
        )
    )


def test_pairs_are_pure_functions():
    debug = settings()
    forward = [make_pair(debug, None, "train", number) for number in range(3)]
    backward = [make_pair(debug, None, "train", number) for number in (2, 1, 0)][::-1]
    assert all(map(same, forward, backward))
    assert not np.array_equal(forward[0].truth, forward[1].truth)
    assert len({pair.id for pair in forward}) == 3


def test_another_survey_leaves_sky_and_images_as_they_were():
    debug = settings()
    pair = make_pair(debug, None, "test", 0)
    fewer = make_pair(settings(surveys=debug.model_dump()["surveys"][:2]), None, "test", 0)
    assert np.array_equal(pair.truth, fewer.truth)
    for a, b in zip(pair.observations[:4], fewer.observations, strict=True):
        assert np.array_equal(a.image, b.image)


def test_the_truth_explains_the_images():
    """GalSim made them, our operators predict them; with correlated noise, rotation, parity and seeing."""
    alone = {"bright": 21.0, "faint": 22.0, "empty": 0, "neighbours": 0, "star": 1, "offset": -0.5}
    wide = settings(scene={"side": 192}, placement=alone)
    # Light of a star outside the scene falls into the images, but no truth explains it.
    stars = (pair_sky(wide, None, "train", number)[1].sources[-1].centre for number in range(20))
    inside = [number for number, centre in enumerate(stars) if np.all(np.abs(centre) < 0.4 * 192 * 0.05)]
    chi2, count = np.zeros(10), np.zeros(10)
    for number in inside[:2]:
        pair = make_pair(wide, None, "train", number)
        likelihood = GaussianLikelihood.build(list(pair.observations), pair.frame, pair.bands)
        chi2 += np.asarray(likelihood.chi2(jnp.asarray(pair.truth, jnp.float32)))
        count += [float(noise.n_pixels) for noise in likelihood.noises]
    np.testing.assert_allclose(chi2 / count, 1.0, atol=5 * np.sqrt(2 / count.min()))


def test_magnitudes_in_are_magnitudes_measured():
    alone = {"bright": 17.0, "faint": 17.5, "empty": 0, "companion": 0, "star": 0, "neighbours": 0}
    wide = settings(scene={"side": 320}, placement=alone | {"offset": -0.5})
    found = []
    for number in range(4):
        pair = make_pair(wide, None, "train", number)
        (source,) = pair.sources
        for image in pair.observations:
            middle = (np.array(image.image.shape) - 1) / 2
            place = image.frame.to_pixels(pair.frame.to_sky(np.array([[source["y"], source["x"]]])))[0]
            assert np.all(np.abs(place - middle) < 2.0 / image.frame.pixel_scale)
            aperture = CircularAperture(place[::-1], 7.5 / image.frame.pixel_scale)
            flux = float(aperture_photometry(image.image, aperture)["aperture_sum"][0])
            error = np.sqrt(float(aperture_photometry(1 / image.ivar, aperture)["aperture_sum"][0]))
            off = -2.5 * np.log10(flux / source["fluxes"][image.band])
            found.append((off, 1.0857 * error / flux, image.band))
    assert len(found) == 40
    for off, error, band in found:
        assert abs(off) < 0.01 + 4 * error, (band, off, error)


def test_the_gallery_turns_images_to_the_truth(tmp_path):
    pairs = [make_pair(settings(), None, "train", number) for number in range(2)]
    for pair in pairs:
        grid = np.indices(pair.frame.shape)
        for image in pair.observations:
            marked = np.zeros(image.image.shape)
            place = np.array(marked.shape) // 2 + (2, -3)
            marked[tuple(place)] = 1.0
            shown = turned(dataclasses.replace(image, image=marked), pair.frame)
            (expected,) = pair.frame.to_pixels(image.frame.to_sky(place[None].astype(float)))
            found = [np.sum(axis * shown) / np.sum(shown) for axis in grid]
            np.testing.assert_allclose(found, expected, atol=0.5)
            area = (image.frame.pixel_scale / pair.frame.pixel_scale) ** 2
            assert np.sum(shown) == pytest.approx(area, rel=0.3)
    plot_pairs(pairs, tmp_path / "pairs.png")
    assert np.std(plt.imread(tmp_path / "pairs.png")) > 0.05


def test_empty_skies_have_no_main_galaxy():
    empty = settings(placement={"empty": 1.0, "neighbours": 0, "star": 0})
    pair = make_pair(empty, None, "train", 0)
    assert pair.id == "empty#train-0"
    assert pair.sources == ()
    assert np.all(pair.truth == 0)
    assert np.all(np.isfinite([o.image.std() for o in pair.observations]))


def test_truths_without_images_are_those_of_pairs():
    pair, alone = (make_pair(settings(**changes), None, "test", 1) for changes in ({}, {"surveys": []}))
    assert alone.observations == ()
    assert (alone.id, alone.sources) == (pair.id, pair.sources)
    assert np.array_equal(alone.truth, pair.truth)
    assert alone.truth.min() >= 0


def test_scenes_to_learn_from_need_no_data(tmp_path):
    """The configuration for a quick look, as training reads it; every scene holds its own galaxies."""
    config = load(CONFIGS / "scenes_debug.yaml", MockSettings)
    assert run(config, None, tmp_path, make_pair) == tmp_path / "manifest.ecsv"
    for split, number in config.pairs.items():
        pairs, shards = list(PairShards.open(tmp_path, split)), SceneShards.open(tmp_path, split)
        assert len(pairs) == len(shards) == number
        names = [source["name"] for pair in pairs for source in pair.sources]
        assert {split_of(name) for name in names if name != "star"} == {split}
        assert len({pair.truth.tobytes() for pair in pairs}) == number
        totals = np.array([pair.truth.sum() for pair in pairs])
        for crop in shards.crops(np.random.default_rng(0), 4, config.scene.side):
            assert np.min(np.abs(totals / crop.sum() - 1)) < 1e-5
    plot_pairs(pairs[:2], tmp_path / "scenes.png")
    export_fits(pairs[0], tmp_path / "scene.fits")
    assert not (tmp_path / "scene.yaml").exists()


def test_sources_with_images_need_their_folder():
    lost = settings(sources=[{"kind": "eagle", "folder": "eagle_skirt_rgb"}])
    with pytest.raises(InputError, match="without --data"):
        make_pair(lost, None, "train", 0)
    with pytest.raises(InputError, match="no such folder"):
        make_pair(lost, Path("/nowhere"), "train", 0)


@pytest.mark.parametrize("name", ["euclid_wide_lsst_y10", "euclid_wide_hsc_udeep", "hst_hsc", "scenes"])
@pytest.mark.shared_data
def test_every_configuration_makes_pairs(name, shared_data):
    config = load(CONFIGS / f"{name}.yaml", MockSettings)
    pair = make_pair(config, shared_data, "validation", 0)
    assert [o.band for o in pair.observations] == [b for s in config.surveys for b in s.bands]
    assert pair.truth.shape == (len(config.scene.bands), config.scene.side, config.scene.side)
    assert dataclasses.is_dataclass(pair)
