"""EAGLE images: the stretch is inverted, channels keep their ratios, and damaged input is refused."""

import csv

import numpy as np
import pytest
from PIL import Image

from data_prep.planes import half_light_radius
from data_prep.readers.eagle import (
    KPC_PER_PIXEL,
    STRETCH,
    frame_taper,
    lineage,
    list_eagle,
    read_eagle,
    read_index,
)
from data_prep.splits import SPLITS, split_of
from synergy.errors import InputError

ROW = {"file": "a.png", "sim": "Box", "GalaxyID": "12", "ProjGalaxyID": "11", "z": "0.25"}


def write_index(folder, rows):
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_image(path, intensity, colour):
    """Stretch a linear image as the data base does and write it; `colour` is that of red, green and blue."""
    ratios = np.broadcast_to(
        np.asarray(colour) / np.mean(colour, axis=-1, keepdims=True), (*intensity.shape, 3)
    )
    stretched = np.arcsinh(intensity / intensity.max() * np.sinh(STRETCH)) / STRETCH
    Image.fromarray(np.round(255.0 / ratios.max() * ratios * stretched[..., None]).astype(np.uint8)).save(
        path
    )


def gaussian(side=96, sigma=7.0):
    y, x = np.indices((side, side)) - (side - 1) / 2
    return np.exp(-0.5 * (x**2 + (1.3 * y) ** 2) / sigma**2)


def test_the_stretch_is_inverted(tmp_path):
    truth = gaussian()
    write_image(tmp_path / "a.png", truth, (1.2, 1.0, 0.7))  # SDSS i, r, g
    galaxy = read_eagle(tmp_path, ROW)
    expected = np.array([0.7, 1.0, 1.2])[:, None, None] / (2.9 / 3) * truth * frame_taper(truth.shape)
    # Half a step of 8 bits is STRETCH / 2 / 213 of the peak there, 1.24 times that in the reddest channel,
    # and less elsewhere.
    np.testing.assert_allclose(galaxy.light, expected, atol=0.02)
    np.testing.assert_allclose(galaxy.light.sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=0.01)
    assert galaxy.bands == ("sdss.g", "sdss.r", "sdss.i")


def test_a_red_bulge_stays_red_at_every_brightness(tmp_path):
    """Inverting every channel by itself would fail here: it exaggerates colours where light is bright."""
    truth = gaussian(sigma=15.0)
    write_image(tmp_path / "a.png", truth, (1.3, 1.0, 0.7))
    light = read_eagle(tmp_path, ROW).light
    for level in (0.9, 0.3, 0.05):
        ring = np.abs(truth / level - 1.0) < 0.1
        assert np.median(light[0][ring] / light[2][ring]) == pytest.approx(0.7 / 1.3, rel=0.03)


def test_metadata(tmp_path):
    write_image(tmp_path / "a.png", gaussian(), (1.0, 1.0, 1.0))
    galaxy = read_eagle(tmp_path, ROW)
    assert (galaxy.id, galaxy.lineage, galaxy.redshift) == ("eagle/Box/12", "eagle/Box/11", 0.25)
    assert galaxy.kpc_per_pixel == pytest.approx(0.234, abs=5e-4)
    assert not galaxy.absolute
    assert np.isnan(read_eagle(tmp_path, ROW | {"z": ""}).redshift)
    assert read_eagle(tmp_path, ROW | {"z": "-2.2e-16"}).redshift == 0.0


def test_taper_is_a_round_cosine_without_an_edge():
    window = frame_taper((41, 41))
    y, x = np.indices((41, 41)) - 20.0
    radius = np.hypot(y, x) / 20.5
    assert np.all(window[radius <= 0.3] == 1.0)
    assert np.all(window[radius >= 1.0] == 0.0)
    between = (radius > 0.3) & (radius < 1.0)
    expected = np.cos(0.5 * np.pi * (radius[between] - 0.3) / 0.7) ** 2
    np.testing.assert_allclose(window[between], expected)
    np.testing.assert_array_equal(window, window.T)
    assert window.max(axis=0)[[0, -1]].max() < 0.01


def test_the_index_is_listed_in_order_without_opening_images(tmp_path):
    rows = [ROW | {"file": f"{i}.png", "GalaxyID": str(i)} for i in (2, 0, 1)]
    write_index(tmp_path, rows)
    entries = list_eagle(tmp_path)
    assert [entry.id for entry in entries] == ["eagle/Box/2", "eagle/Box/0", "eagle/Box/1"]
    assert {entry.lineage for entry in entries} == {"eagle/Box/11"}
    write_image(tmp_path / "0.png", gaussian(), (1.0, 1.0, 1.0))
    galaxy = entries[1].read()
    assert (galaxy.id, galaxy.lineage) == (entries[1].id, entries[1].lineage)
    with pytest.raises(InputError, match="No such file"):
        entries[0].read()


@pytest.mark.parametrize("keep", [0, 20, 60, 0.5, 0.9])
def test_truncated_images_are_refused(tmp_path, keep):
    path = tmp_path / "a.png"
    write_image(path, gaussian(), (1.2, 1.0, 0.7))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(InputError, match="a complete PNG") as caught:
        read_eagle(tmp_path, ROW)
    assert caught.value.source == str(path)


def test_black_grey_and_missing_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_eagle(tmp_path, ROW)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a black image"):
        read_eagle(tmp_path, ROW)
    Image.new("L", (32, 32), 100).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="mode L"):
        read_eagle(tmp_path, ROW)


def test_a_bad_redshift_is_refused(tmp_path):
    write_image(tmp_path / "a.png", gaussian(), (1.2, 1.0, 0.7))
    with pytest.raises(InputError, match="'near'"):
        read_eagle(tmp_path, ROW | {"z": "near"})


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file"),
        (b"", "no column"),
        (b"file,sim,GalaxyID,z\na.png,Box,1,0\n", r"no column \['ProjGalaxyID'\]"),
        (b"file,sim,GalaxyID,ProjGalaxyID,z\na.png,Box,1,1,0\nb.png,Box\n", "row 2 cut short"),
        (b"\x89PNG\xff\xfe\x00", "decode"),
    ],
)
def test_bad_indices_are_refused(tmp_path, content, found):
    if content is not None:
        (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=found) as caught:
        read_index(tmp_path)
    assert caught.value.source == str(tmp_path / "index.csv")


@pytest.mark.shared_data
def test_real_galaxies_have_the_sizes_of_the_simulation(shared_data):
    folder = shared_data / "eagle_skirt_rgb"
    rows = read_index(folder)
    assert len(rows) == 1565
    ratios = []
    for row in rows[::40]:
        galaxy = read_eagle(folder, row)
        assert galaxy.light.shape == (3, 192, 192)
        assert galaxy.light.min() >= 0
        assert np.isfinite(galaxy.light).all()
        # The cosine has closed before the corners, and what is left beside the edges cannot be seen.
        edge = np.concatenate([galaxy.light[:, 0], galaxy.light[:, -1], galaxy.light[:, :, 0]])
        assert edge.max() < 1e-3 * galaxy.light.max()
        radius = half_light_radius(galaxy.light.mean(axis=0)) * KPC_PER_PIXEL
        if row["HalfMassRadius"]:
            ratios.append(radius / float(row["HalfMassRadius"]))
    assert len(ratios) > 25
    # A projected half-light radius is 0.75 of the half-mass radius in space, for any usual profile.
    assert np.median(ratios) == pytest.approx(0.78, abs=0.12)


@pytest.mark.shared_data
def test_real_galaxies_fill_every_split(shared_data):
    splits = [split_of(lineage(row)) for row in read_index(shared_data / "eagle_skirt_rgb")]
    assert min(splits.count(split) for split in SPLITS) > 50
