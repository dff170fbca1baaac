"""Shards of pairs: what goes in comes out, to the last bit that is kept, whatever else is in the shard."""

import dataclasses
import json
import sys
import tracemalloc

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from quick_pairs import BANDS, make_pair, make_wrongly

from data_prep.mock_config import MockSettings
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.export import export_fits
from synergy.io.pairs import PairShards, read_pair
from synergy.io.read import read_observations
from synergy.io.shards import SceneShards
from synergy.io.write_pairs import write_pairs
from synergy.likelihood import GaussianLikelihood
from synergy.varying_psf import PSFTerm, VaryingPSF

SETTINGS = MockSettings(
    name="quick",
    seed=5,
    pairs={"train": 6},
    scene={"side": 32, "bands": BANDS},
    sources=[{"kind": "procedural"}],
    surveys=[{"bands": BANDS}],
)
PAIRS = [make_pair(SETTINGS, None, "train", number) for number in range(6)]
ATTRIBUTES = {"config_hash": "abc", "config": "{}"}


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs-train-00000.h5"
    write_pairs(path, iter(PAIRS), ATTRIBUTES)
    return path


def rounded(array):
    return array.astype(np.float32).astype(np.float64)


def assert_same(found, pair):
    """Compare pairs: pixels to float32, all else exactly."""
    for name in ("id", "seed", "split", "bands", "sources"):
        assert getattr(found, name) == getattr(pair, name)
    assert found.truth.dtype == np.float32
    np.testing.assert_array_equal(found.truth, pair.truth.astype(np.float32))
    for here, there in zip((found, *found.observations), (pair, *pair.observations), strict=True):
        assert here.frame.shape == there.frame.shape
        np.testing.assert_allclose(here.frame.positions(), there.frame.positions(), rtol=0, atol=1e-12)
        assert str(here.frame.header()) == str(there.frame.header())
    for here, there in zip(found.observations, pair.observations, strict=True):
        for name in ("name", "band", "response", "response_error"):
            assert getattr(here, name) == getattr(there, name)
        assert here.meta == json.loads(json.dumps(there.meta, default=float))
        np.testing.assert_array_equal(here.image, rounded(there.image))
        np.testing.assert_array_equal(here.ivar, rounded(there.ivar))
        np.testing.assert_array_equal(here.mask, there.mask)
        np.testing.assert_array_equal(here.psf.image, rounded(there.psf.image))
        assert here.psf.pixel_scale == there.psf.pixel_scale
        assert (here.correlation is None) == (there.correlation is None)
        if there.correlation is not None:
            np.testing.assert_array_equal(here.correlation, there.correlation)
            np.testing.assert_array_equal(here.independent, rounded(there.independent))


def test_pairs_come_back(shard):
    parities = [np.linalg.det(o.frame.jacobian) > 0 for o in PAIRS[0].observations]
    assert len(set(parities)) == 2  # both are tried
    assert any(o.mask.any() for o in PAIRS[0].observations)
    shards = PairShards.open(shard.parent, "train")
    assert len(shards) == len(PAIRS)
    for found, pair in zip(shards, PAIRS, strict=True):
        assert_same(found, pair)


def test_rows_do_not_depend_on_their_shard(tmp_path):
    for number, part in enumerate((PAIRS[:1], PAIRS[1:4], PAIRS[4:])):
        write_pairs(tmp_path / f"pairs-train-{number:05d}.h5", part, ATTRIBUTES)
    shards = PairShards.open(tmp_path, "train")
    for index, pair in enumerate(PAIRS):
        assert_same(shards[index], pair)
        assert_same(shards[index - len(PAIRS)], pair)
    with pytest.raises(IndexError):
        shards[len(PAIRS)]


def test_pixels_are_the_same_bytes_in_every_shard(shard, tmp_path):
    write_pairs(tmp_path / "one.h5", PAIRS[3:4], ATTRIBUTES)
    with h5py.File(shard) as many, h5py.File(tmp_path / "one.h5") as one:
        names = [f"images/{group}/{key}" for group in many["images"] for key in ("flux", "ivar", "mask")]
        assert len(names) == 9
        for name in ["truth/flux", *names]:
            rest = (0,) * (many[name].ndim - 1)
            assert many[name].id.read_direct_chunk((3, *rest)) == one[name].id.read_direct_chunk((0, *rest))


def test_files_are_the_same_bytes_even_where_objects_live_longer(shard, tmp_path):
    write_pairs(tmp_path / "again.h5", PAIRS, dict(reversed(ATTRIBUTES.items())))
    assert (tmp_path / "again.h5").read_bytes() == shard.read_bytes()
    frames = []
    sys.setprofile(lambda frame, event, argument: frames.append(frame))  # as profilers of clusters do
    try:
        write_pairs(tmp_path / "again.h5", PAIRS, ATTRIBUTES)
    finally:
        sys.setprofile(None)
    assert (tmp_path / "again.h5").read_bytes() == shard.read_bytes()


def test_layout_is_as_documented(shard):
    with h5py.File(shard) as file:
        assert list(file["object_id"].asstr()[:]) == [pair.id for pair in PAIRS]
        assert set(file["images"]) == {"lsst.g+i", "euclid.vis", "euclid.J+H"}
        lsst, euclid = file["images/lsst.g+i"], file["images/euclid.J+H"]
        assert list(lsst["name"].asstr()[:]) == ["lsst.g", "lsst.i-visit1", "lsst.i-visit2"]
        assert (lsst["flux"].shape, lsst["flux"].dtype) == ((6, 3, 12, 11), np.float32)
        assert (lsst["mask"].dtype, lsst["crpix"].dtype) == (bool, np.float64)
        assert euclid["correlation"].shape == (6, 2, 5, 5)
        assert "correlation" not in lsst
        frame = PAIRS[2].observations[5].frame
        np.testing.assert_array_equal(euclid["cd"][2, 1], frame.wcs.pixel_scale_matrix)
        np.testing.assert_allclose(euclid["scale"][:], 0.1, rtol=1e-9)
        np.testing.assert_allclose(euclid["psf_fwhm"][:], 0.3, rtol=0.02)
        stamps = sum(len(table["stamp"]) for table in file["psf"].values())
        different = {(o.psf.pixel_scale, o.psf.image.tobytes()) for p in PAIRS for o in p.observations}
        assert stamps == len(different) < 6 * len(PAIRS)
        for position, pair in zip(zip(file["ra"][:], file["dec"][:], strict=True), PAIRS, strict=True):
            center = pair.frame.center.icrs
            np.testing.assert_allclose(position, (center.ra.deg, center.dec.deg), rtol=0, atol=1e-10)


def test_memory_is_that_of_one_pair(tmp_path):
    big = SETTINGS.model_copy(update={"scene": SETTINGS.scene.model_copy(update={"side": 100})})
    one = len(BANDS) * 100 * 100 * 8
    peaks = []
    for count in (2, 7):
        tracemalloc.start()
        write_pairs(tmp_path / "p.h5", (make_pair(big, None, "train", i) for i in range(count)), {})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + one / 2


def test_what_shards_do_not_hold_is_refused_and_leaves_nothing(tmp_path):
    path = tmp_path / "pairs-train-00000.h5"
    first, *others = PAIRS[0].observations
    icrs = PAIRS[0].frame.wcs.deepcopy()
    icrs.wcs.radesys = "FK5"
    bad = np.array(PAIRS[0].truth)
    bad[0, 0, 0] = np.nan
    varying = dataclasses.replace(first, psf=VaryingPSF((PSFTerm(first.psf),)))
    cases = {
        "no pair": [],
        "12, 11": [make_wrongly(SETTINGS, None, "train", number) for number in range(5)],
        "test; truth": [PAIRS[0], dataclasses.replace(PAIRS[1], split="test")],
        "varies": [dataclasses.replace(PAIRS[0], observations=(varying, *others))],
        "FK5": [dataclasses.replace(PAIRS[0], frame=Frame(PAIRS[0].frame.shape, icrs))],
        "finite": [dataclasses.replace(PAIRS[0], truth=bad)],
    }
    for complaint, pairs in cases.items():
        with pytest.raises(InputError, match=complaint):
            write_pairs(path, pairs, ATTRIBUTES)
    assert not list(tmp_path.iterdir())


def test_missing_damaged_and_foreign_shards_are_named(shard, tmp_path):
    with pytest.raises(InputError, match=r"no files pairs-test-\*"):
        PairShards.open(shard.parent, "test")
    with pytest.raises(InputError, match="no row 6"):
        read_pair(shard, 6)
    path = tmp_path / "pairs-train-00000.h5"
    with pytest.raises(InputError, match="no such file"):
        read_pair(path, 0)
    path.write_bytes(shard.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"damaged.*--resume") as caught:
        PairShards.open(tmp_path, "train")
    assert caught.value.source == str(path)
    with h5py.File(path, "w") as file:
        file["scene"] = 1.0
    with pytest.raises(InputError, match="foreign"):
        read_pair(path, 0)


def test_truths_are_training_scenes(shard):
    shards = SceneShards.open(shard.parent, "train")
    assert (len(shards), shards.bands, shards.pixel_scale, shards.side) == (6, BANDS, 0.05, 32)
    crops = shards.crops(np.random.default_rng(0), 4, 32)
    totals = np.array([pair.truth.sum() for pair in PAIRS])
    for crop in crops:
        assert np.min(np.abs(totals / crop.sum() - 1)) < 1e-5


def test_an_exported_pair_is_read_like_any_other_images(shard, tmp_path):
    pair = read_pair(shard, 4)
    export_fits(pair, tmp_path / "pair.fits")
    with fits.open(tmp_path / "pair.fits") as hdus:
        assert (hdus[0].header["OBJECT"], hdus[0].header["SPLIT"]) == (pair.id, "train")
        np.testing.assert_array_equal(hdus["TRUTH"].data, pair.truth)
        assert list(hdus["BANDS"].data["name"]) == list(BANDS)
        sources = Table(hdus["SOURCES"].data)
        assert sources["fluxes_lsst.i"][0] == pair.sources[0]["fluxes"]["lsst.i"]
        np.testing.assert_array_equal(
            hdus["EUCLID.J_CORR"].data, np.float32(pair.observations[4].correlation)
        )
    observations = read_observations(tmp_path / "pair.yaml")
    for found, before in zip(observations, pair.observations, strict=True):
        assert (found.name, found.band) == (before.name, before.band)
        assert (found.response, found.response_error) == (before.response, before.response_error)
        np.testing.assert_array_equal(found.mask, before.mask)
        np.testing.assert_allclose(found.image, before.image, rtol=1e-12)
        np.testing.assert_allclose(found.psf.image, before.psf.image, rtol=1e-5)
        middle = (np.array(before.frame.shape) - 1) / 2
        np.testing.assert_allclose(found.frame.to_pixels(before.frame.center), middle, atol=1e-4)
        np.testing.assert_allclose(found.ivar, before.ivar, rtol=1e-12)

    def chi2(images):
        likelihood = GaussianLikelihood.build(images, pair.frame, pair.bands)
        return np.asarray(likelihood.chi2(jnp.asarray(pair.truth)))

    np.testing.assert_allclose(chi2(observations), chi2(pair.observations), rtol=1e-5)
    plain = [dataclasses.replace(o, independent=None) for o in pair.observations]
    assert np.all(np.abs(chi2(plain)[-2:] / chi2(pair.observations)[-2:] - 1) > 1e-3)
