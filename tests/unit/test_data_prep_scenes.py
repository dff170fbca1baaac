"""Scenes: pure functions of settings and index, of the drawn brightness, from galaxies of their split."""

import csv
import gzip
import io
import json
import sys

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from pydantic import ValidationError

from data_prep import make_scenes as module
from data_prep.colour_library import ColourLibrary
from data_prep.make_scenes import Ingredients, SceneConfig, make_scene, make_scenes, make_shard
from data_prep.population import Population
from data_prep.readers.eagle import read_index
from data_prep.readers.hst import Colours
from data_prep.splits import split_of
from synergy.errors import InputError
from synergy.io.shards import SceneShards

BANDS = ("lsst.g", "hst.F814W", "euclid.H")
SIDE = 64
QUIET = {"empty": 0.0, "neighbours": 0.0, "companion": 0.0, "star": 0.0}


def config(**changes):
    basic = {
        "name": "tiny",
        "bands": BANDS,
        "side": SIDE,
        "shard": 2,
        "shards": {"train": 2, "validation": 1},
    }
    return SceneConfig(**(basic | changes))


def nanojanskys(magnitude):
    return 10 ** (0.4 * (31.4 - magnitude))


def write_eagle(folder, count=40):
    """Write small galaxies, red in the middle, in consecutive snapshots of half as many lineages."""
    folder.mkdir()
    y, x = np.indices((48, 48)) - 23.5
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "sim", "GalaxyID", "ProjGalaxyID", "z"])
        for i in range(count):
            writer.writerow([f"{i}.png", "Tiny", 100 + i, 100 + i - i % 2, 0.1])
            bright = 250.0 * np.exp(-np.hypot(y, (1.0 + i / count) * x) / 6.0)
            red = 1.0 + 0.2 * np.exp(-(x**2 + y**2) / 50.0)
            rgb = np.stack([bright * red, bright, bright * (2.0 - red)], axis=-1)
            Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")


def write_hst(folder):
    """Write point-like stamps with the colours of ordinary galaxies."""
    folder.mkdir()
    for i, magnitudes in enumerate(((24.2, 23.0, 22.1), (23.6, 23.0, 22.6), (24.7, 23.2, 22.0))):
        for band, magnitude in zip(("f606w", "f814w", "f125w"), magnitudes, strict=True):
            image = np.zeros((9, 9), np.float32)
            image[4, 4] = 10 ** (-0.4 * (magnitude - 27.0))
            file = io.BytesIO()
            header = fits.Header({"MAG0": 27.0, "MAG": magnitude})
            fits.PrimaryHDU(image, header).writeto(file)
            (folder / f"{band}_g{i}.fits.gz").write_bytes(gzip.compress(file.getvalue()))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write a tiny folder of the layout of the real data."""
    folder = tmp_path_factory.mktemp("data")
    write_eagle(folder / "eagle_skirt_rgb")
    write_hst(folder / "hst_f606w_f814w_f125w")
    (folder / "catalogues").mkdir()
    magnitude = np.linspace(20.0, 23.5, 50)
    columns = {
        "mag_auto": magnitude,
        "flux_radius": 60.0 - 2.4 * magnitude,
        "zphot": 0.2 * (magnitude - 19.0),
    }
    table = [fits.Column(n, "D", array=v) for n, v in columns.items()]
    table.append(fits.Column("sersicfit", "8D", array=np.tile([1.0, 40.0, 1.5, 0.6, 0, 0, 0, 0], (50, 1))))
    table = fits.BinTableHDU.from_columns(table)
    table.writeto(folder / "catalogues" / "cosmos_23.5_500_sersic_fits.fits")
    return folder


@pytest.fixture(scope="module")
def ingredients(data):
    return Ingredients.read(data)


def read(paths):
    """Return scenes and names of their galaxies by (split, index)."""
    scenes = {}
    for path in paths:
        with h5py.File(path) as file:
            for scene, names, index in zip(file["scene"], file["galaxies"], file["index"], strict=True):
                scenes[file.attrs["split"], int(index)] = scene, json.loads(names)
    return scenes


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes")
    return make_scenes(config(), data, out)


def test_a_scene_does_not_depend_on_the_layout_of_shards(made, data, ingredients, tmp_path):
    reference = read(made)
    assert sorted(reference) == [("train", i) for i in range(4)] + [("validation", i) for i in range(2)]
    other = read(make_scenes(config(shard=4, shards={"train": 1}), data, tmp_path / "new" / "folder"))
    last = read([make_shard("train", 1, data, tmp_path, config())])  # any shard, by itself
    for key, (scene, names) in (other | last).items():
        np.testing.assert_array_equal(scene, reference[key][0])
        assert names == reference[key][1]
    again, names = make_scene("validation", 1, ingredients, config())
    np.testing.assert_array_equal(again, reference["validation", 1][0])
    assert names == reference["validation", 1][1]


def test_scenes_differ_by_index_split_and_seed(made, ingredients):
    scenes = [scene for scene, _ in read(made).values()]
    scenes.append(make_scene("train", 0, ingredients, config(seed=1))[0])
    for i, one in enumerate(scenes):
        assert np.isfinite(one).all()
        assert one.min() >= 0
        assert not any(np.array_equal(one, other) for other in scenes[:i])
    analytic = config(empty=0.0, smooth=1.0)  # of no split by its galaxies
    train, validation = (make_scene(split, 0, ingredients, analytic)[0] for split in ("train", "validation"))
    assert not np.array_equal(train, validation)


def test_shards_are_what_training_reads(made):
    shards = SceneShards.open(made[0].parent, "train")
    assert (len(shards), shards.bands, shards.pixel_scale, shards.side) == (4, BANDS, 0.05, SIDE)
    crops = shards.crops(np.random.default_rng(0), 6, SIDE)
    totals = [scene.sum() for (split, _), (scene, _) in read(made).items() if split == "train"]
    for crop in crops:
        assert np.min(np.abs(np.array(totals) / crop.sum() - 1.0)) < 1e-5


def test_another_process_makes_the_same_scenes(made, data, tmp_path):
    (path,) = make_scenes(config(shards={"train": 1}), data, tmp_path, workers=2)
    assert path.name == made[0].name
    with h5py.File(path) as one, h5py.File(made[0]) as other:
        np.testing.assert_array_equal(one["scene"], other["scene"])
        assert dict(one.attrs) == dict(other.attrs)


def test_complete_shards_are_kept_and_missing_ones_made(data, tmp_path):
    first = make_scenes(config(shards={"train": 1}), data, tmp_path)
    written = first[0].read_bytes(), first[0].stat().st_mtime_ns, first[0].stat().st_ino
    both = make_scenes(config(shards={"train": 2}), data, tmp_path)
    assert [path.name for path in both] == ["scenes-train-00000.h5", "scenes-train-00001.h5"]
    assert (both[0].read_bytes(), both[0].stat().st_mtime_ns, both[0].stat().st_ino) == written
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in both]


def test_shards_of_other_settings_are_refused(data, tmp_path):
    (path,) = make_scenes(config(shards={"train": 1}), data, tmp_path)
    before = path.read_bytes()
    for changes in ({"seed": 1}, {"bright": 20.0}, {"bands": BANDS[:2]}):
        with pytest.raises(InputError, match="another directory") as caught:
            make_scenes(config(shards={"train": 1}, **changes), data, tmp_path)
        assert caught.value.source == str(path)
    assert path.read_bytes() == before


def test_damaged_shards_are_refused(data, tmp_path):
    path = tmp_path / "scenes-train-00000.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\nand no more")
    with pytest.raises(InputError, match="Delete the file"):
        make_shard("train", 0, data, tmp_path, config())


def test_nothing_is_left_where_making_fails(data, tmp_path):
    with pytest.raises(InputError, match=r"lsst\.w"):
        make_scenes(config(bands=("lsst.w",)), data, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="EAGLE folder"):
        make_scenes(config(), tmp_path, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a directory"):
        make_scenes(config(), data, tmp_path / "file")


def test_a_split_without_galaxies_is_refused(data, tmp_path, monkeypatch):
    whole = Ingredients.read(data)
    rows = whole.rows | {"validation": []}
    poor = Ingredients(whole.folder, rows, whole.colours, whole.population)
    monkeypatch.setattr(module, "_ingredients", lambda folder: poor)
    make_shard("train", 0, data, tmp_path, config())
    make_shard("validation", 0, data, tmp_path, config(smooth=1.0))
    with pytest.raises(InputError, match="no galaxy of the validation split"):
        make_shard("validation", 1, data, tmp_path, config())


def test_galaxies_are_those_of_the_split(ingredients):
    busy = config(empty=0.0, neighbours=6.0, smooth=0.0, side=32)
    for split in ("train", "validation", "test"):
        names = [name for i in range(4) for name in make_scene(split, i, ingredients, busy)[1]]
        names = [name for name in names if name != "star"]
        assert len(names) > 10
        assert {split_of(name.rpartition("/")[0]) for name in names} == {split}  # sans the snapshot


@pytest.mark.parametrize(("smooth", "tolerance"), [(0.0, 2e-3), (1.0, 1e-2)], ids=["simulated", "analytic"])
def test_the_flux_in_f814w_is_that_of_the_drawn_magnitude(ingredients, smooth, tolerance):
    # Wings of bulges reach eight half-light radii, which the limit at the border lets pass by a little.
    settings = config(bright=24.0, faint=24.0, smooth=smooth, side=128, **QUIET)
    complete = 0
    for index in range(25):
        scene, names = make_scene("train", index, ingredients, settings)
        assert len(names) == 1
        border = np.concatenate([scene[1, :2], scene[1, -2:], scene[1, :, :2].T, scene[1, :, -2:].T])
        if border.max() < 1e-5 * scene[1].max():
            assert scene[1].sum() == pytest.approx(nanojanskys(24.0), rel=tolerance)
            complete += 1
    assert complete >= 5


def test_magnitudes_of_main_galaxies_fill_their_range(ingredients):
    settings = config(bright=20.0, faint=24.0, smooth=0.0, side=192, bands=("hst.F814W",), **QUIET)
    magnitudes = []
    for index in range(60):
        scene, _ = make_scene("train", index, ingredients, settings)
        if scene[0, [0, -1]].max() < 1e-4 * scene.max() and scene[0, :, [0, -1]].max() < 1e-4 * scene.max():
            magnitudes.append(31.4 - 2.5 * np.log10(scene.sum()))
    assert len(magnitudes) > 20
    assert min(magnitudes) > 19.99
    assert max(magnitudes) < 24.02
    assert np.mean(magnitudes) == pytest.approx(22.0, abs=4 * 4.0 / np.sqrt(12 * len(magnitudes)))


def test_stars_are_the_model_psf(ingredients):
    settings = config(**(QUIET | {"empty": 1.0, "star": 1.0}), bright=20.0, faint=20.0)
    for index in range(20):
        scene, names = make_scene("train", index, ingredients, settings)
        assert names == ["star"]
        y, x = np.unravel_index(scene[1].argmax(), scene[1].shape)
        if min(y, x) < 8 or max(y, x) > SIDE - 9:
            continue
        assert scene[1].sum() == pytest.approx(nanojanskys(20.0), rel=1e-4)
        dy, dx = np.indices(scene[1].shape) - np.array([y, x])[:, None, None]
        for axis in (dy, dx):
            centre = (scene[1] * axis).sum() / scene[1].sum()
            width = np.sqrt((scene[1] * (axis - centre) ** 2).sum() / scene[1].sum())
            assert 2.3548 * width == pytest.approx(2.0, rel=1e-3)  # FWHM in pixels
        return
    pytest.fail("no star in the middle")


def test_what_may_be_empty_and_what_is_always_there(ingredients):
    dark = config(**(QUIET | {"empty": 1.0}))
    assert all(make_scene("train", i, ingredients, dark)[0].max() == 0.0 for i in range(3))
    pairs = config(**(QUIET | {"companion": 1.0}))
    assert all(len(make_scene("train", i, ingredients, pairs)[1]) == 2 for i in range(3))


def test_the_number_of_neighbours_is_as_asked(ingredients):
    settings = config(**(QUIET | {"empty": 1.0, "neighbours": 2.0}), smooth=0.0, side=16)
    counts = [len(make_scene("train", i, ingredients, settings)[1]) for i in range(80)]
    assert np.mean(counts) == pytest.approx(2.0, abs=4 * np.sqrt(2.0 / 80))


def test_impossible_settings_are_refused():
    for changes in ({"shards": {"training": 1}}, {"seed": -1}, {"side": 0}, {"star": 2.0}, {"zoom": 3}):
        with pytest.raises(ValidationError):
            config(**changes)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["make_scenes", *map(str, arguments)])
    module.main()


def test_the_command_line_makes_scenes(monkeypatch, data, tmp_path):
    settings = tmp_path / "tiny.yaml"
    settings.write_text("{name: tiny, side: 32, shard: 1, shards: {test: 1}, bands: [lsst.r, hst.F814W]}")
    run(monkeypatch, settings, "--data", data, "--out", tmp_path / "out")
    assert len(SceneShards.open(tmp_path / "out", "test")) == 1


def test_the_command_line_says_what_is_wrong(monkeypatch, capsys, data, tmp_path):
    settings = tmp_path / "tiny.yaml"
    settings.write_text("{name: tiny, side: 32, shards: {test: 1}, band: [lsst.r]}")
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, settings, "--data", data, "--out", tmp_path / "out")
    assert caught.value.code == 2
    assert "unknown key 'band'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.shared_data
def test_scenes_of_real_galaxies(shared_data):
    """Real EAGLE galaxies and catalogue; colours of one real galaxy, as reading all stamps takes long."""
    folder = shared_data / "eagle_skirt_rgb"
    rows = {"train": [], "validation": [], "test": []}
    for row in read_index(folder)[::25]:
        rows[split_of(module.lineage(row))].append(row)
    real = Ingredients(
        folder=folder,
        rows=rows,
        colours=ColourLibrary((Colours("gal", (23.9, 23.0, 22.2)),)),
        population=Population.read(shared_data / "catalogues" / "cosmos_23.5_500_sersic_fits.fits"),
    )
    settings = config(bright=23.0, faint=23.0, smooth=0.0, side=160, **QUIET)
    complete, colours = 0, []
    for index in range(12):
        scene, names = make_scene("train", index, real, settings)
        assert names[0].startswith("eagle/Re")
        border = np.concatenate([scene[1, 0], scene[1, -1], scene[1, :, 0], scene[1, :, -1]])
        if border.max() < 1e-4 * scene[1].max():
            complete += 1
            assert scene[1].sum() == pytest.approx(nanojanskys(23.0), rel=5e-3)
            flux = scene.sum(axis=(1, 2))
            colours.append(-2.5 * np.log10(flux[1] / flux[2]))
            ratio = scene[0][scene[1] > 0.2 * scene[1].max()] / scene[1][scene[1] > 0.2 * scene[1].max()]
            assert ratio.std() / ratio.mean() > 0.01  # colour varies over the galaxy
    assert complete >= 3
    # Most have the colour of the one real galaxy, redshifted or not: F814W to H is near F814W to J.
    assert np.median(colours) == pytest.approx(1.1, abs=0.4)
    assert 0 < min(colours) < max(colours) < 3
