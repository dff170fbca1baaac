"""Reading by content, and listings: the same galaxies, in a fixed order, without opening images."""

import pickle
import shutil
import time

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from data_prep.readers import list_galaxies, read_galaxy
from data_prep.splits import SPLITS, split_of
from synergy.errors import InputError
from synergy.units import magnitude_from_flux

COUNTS_OF_MAGNITUDE_0 = {"sdss.g": 2.40238e10, "sdss.r": 2.3826e10, "sdss.i": 1.59001e10, "sdss.z": 2.66542e9}
ZEROPOINTS = {band: 2.5 * np.log10(counts) for band, counts in COUNTS_OF_MAGNITUDE_0.items()}


def write_tng(path, unit="counts/s/pixel", value=3.0):
    header = fits.Header({"BUNIT": unit, "CDELT1": 374.5, "CTYPE1": "pc", "CDELT2": 374.5, "CTYPE2": "pc"})
    header.update({"USE_Z": 0.0485} | {f"FILTER{i}": f"sloan/sdss_{b}" for i, b in enumerate("griz")})
    fits.PrimaryHDU(np.full((4, 5, 5), value, np.float32), header).writeto(path)
    return path


def write_map(path, band, epoch=1, unit="AB mag/arcsec2", **changes):
    header = fits.Header({"BUNIT": unit, "CDELT1": 100.0, "CTYPE1": "pc", "CDELT2": 100.0, "CTYPE2": "pc"})
    header.update({"SIMTAG": "box", "SUBTAG": "orbit", "ISNAP": epoch, "REDSHIFT": 0.05})
    header.update({"FILTER": f"{band}_SDSS.res"} | changes)
    fits.PrimaryHDU(np.full((5, 5), 22.0), header).writeto(path)
    return path


def write_eagle(folder):
    folder.joinpath("index.csv").write_text("file,sim,GalaxyID,ProjGalaxyID,z\na.png,Box,12,11,0.25\n")
    y, x = np.indices((32, 32)) - 15.5
    image = np.round(200 * np.exp(-(y**2 + x**2) / 40)).astype(np.uint8)
    Image.fromarray(np.stack([image] * 3, axis=-1)).save(folder / "a.png")
    return folder / "a.png"


def test_content_decides_and_names_do_not(tmp_path):
    png = write_eagle(tmp_path)
    misnamed = tmp_path / "broadband.png"
    shutil.move(write_tng(tmp_path / "t.fits"), misnamed)
    assert read_galaxy(png).id == "eagle/Box/12"
    assert read_galaxy(png, lineage="x").lineage == "x"
    tng = read_galaxy(misnamed, simulation="TNG50-1", zeropoints=ZEROPOINTS)
    assert tng.bands == ("sdss.g", "sdss.r", "sdss.i", "sdss.z")
    maps = [write_map(tmp_path / f"broadband_{band}.fits", band) for band in "ir"]
    assert read_galaxy(maps).bands == ("sdss.r", "sdss.i")


@pytest.mark.parametrize("unit", ["Jy/beam", "mag/arcsec2", "counts/pixel", "AB nanomaggies"])
def test_an_unknown_unit_is_named_beside_the_known_ones(tmp_path, unit):
    path = write_map(tmp_path / "m.fits", "r", unit=unit)
    for read in (lambda: read_galaxy(path), lambda: list_galaxies("skirt", tmp_path)):
        with pytest.raises(InputError) as caught:
            read()
        assert caught.value.source == str(path)
        assert caught.value.found == f"BUNIT = {unit}"
        for known in ("counts/s/pixel", "maggies/pixel", "AB mag/arcsec2"):
            assert known in caught.value.expected


def test_what_is_needed_and_lacking_is_told_before_any_image_is_read(tmp_path):
    path = write_tng(tmp_path / "t.fits")
    path.write_bytes(path.read_bytes()[:2880] + b"\0" * 2880)  # a header and too few pixels
    with pytest.raises(InputError, match="no name of the simulation"):
        list_galaxies("tng", tmp_path, zeropoints=ZEROPOINTS)
    with pytest.raises(InputError, match=r"without zero points of sdss\.g, sdss\.r, sdss\.i, sdss\.z"):
        list_galaxies("tng", tmp_path, simulation="TNG50-1")
    for arguments in ({}, {"simulation": "TNG50-1"}):
        path.unlink()
        write_tng(path)
        with pytest.raises(InputError, match=r"no name of the simulation|without zero points"):
            read_galaxy(path, **arguments)


def test_files_that_do_not_go_together_are_refused(tmp_path):
    tng, other = write_tng(tmp_path / "t.fits"), write_tng(tmp_path / "u.fits")
    one = write_map(tmp_path / "m.fits", "r")
    for paths in ([tng, one], [tng, other]):
        with pytest.raises(InputError, match="do not go together"):
            read_galaxy(paths, simulation="TNG50-1", zeropoints=ZEROPOINTS)
    with pytest.raises(InputError, match="no file"):
        read_galaxy([])
    with pytest.raises(InputError, match="No such file"):
        read_galaxy(tmp_path / "nothing.fits")


@pytest.mark.parametrize("keep", [0, 4, 50, 0.6])
def test_truncated_images_are_refused(tmp_path, keep):
    for path in (write_eagle(tmp_path), write_tng(tmp_path / "t.fits")):
        data = path.read_bytes()
        path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
        with pytest.raises(InputError, match=r"damaged|complete|no image|truncated") as caught:
            read_galaxy(path, simulation="TNG50-1", zeropoints=ZEROPOINTS)
        assert caught.value.source == str(path)


def test_epochs_and_bands_are_grouped_by_their_headers(tmp_path):
    for number, (band, epoch) in enumerate([("i", 2), ("g", 1), ("g", 2), ("r", 1), ("r", 2), ("i", 1)]):
        write_map(tmp_path / f"{number}.fits", band, epoch)
    entries = list_galaxies("skirt", tmp_path)
    assert [entry.id for entry in entries] == ["skirt/box/orbit/1", "skirt/box/orbit/2"]
    assert {entry.lineage for entry in entries} == {"skirt/box/orbit"}
    for entry in entries:
        galaxy = entry.read()
        assert (galaxy.id, galaxy.lineage) == (entry.id, entry.lineage)
        assert galaxy.bands == ("sdss.g", "sdss.r", "sdss.i")


def test_lineages_may_be_given_in_a_table(tmp_path):
    for name in "abc":
        write_tng(tmp_path / f"{name}.fits", "maggies/pixel")
    (tmp_path / "lineages.csv").write_text("file,lineage\na.fits,tree/1\nc.fits,tree/1\n")
    entries = list_galaxies("tng", tmp_path, simulation="TNG50-1")
    assert [entry.lineage for entry in entries] == ["tree/1", "tng/TNG50-1/z0.0485/b", "tree/1"]
    assert [entry.read().lineage for entry in entries] == [entry.lineage for entry in entries]
    (tmp_path / "lineages.csv").write_text("file,family\na.fits,tree/1\n")
    with pytest.raises(InputError, match="columns file and lineage"):
        list_galaxies("tng", tmp_path, simulation="TNG50-1")


def test_entries_can_be_sent_to_other_processes(tmp_path):
    write_tng(tmp_path / "t.fits")
    (entry,) = list_galaxies("tng", tmp_path, simulation="TNG50-1", zeropoints=ZEROPOINTS)
    galaxy, again = entry.read(), pickle.loads(pickle.dumps(entry)).read()
    np.testing.assert_array_equal(again.light, galaxy.light)
    assert again.id == galaxy.id == entry.id


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list_galaxies("tng", tmp_path / "nowhere")
    for kind in ("tng", "skirt"):
        with pytest.raises(InputError, match="no galaxy"):
            list_galaxies(kind, tmp_path)
    write_tng(tmp_path / "t.fits")
    with pytest.raises(InputError, match="the kind 'tng'"):
        list_galaxies("skirt", tmp_path)
    shutil.copy(tmp_path / "t.fits", tmp_path / "t.fits.gz")
    with pytest.raises(InputError, match="2 times"):
        list_galaxies("tng", tmp_path, simulation="TNG50-1", zeropoints=ZEROPOINTS)


@pytest.mark.shared_data
def test_real_folders(shared_data):
    start = time.process_time()
    eagle = list_galaxies("eagle", shared_data / "eagle_skirt_rgb")
    assert len(eagle) == 1565
    assert time.process_time() - start < 1.0  # reading the images would take ten times as long
    assert min([split_of(entry.lineage) for entry in eagle].count(split) for split in SPLITS) > 50
    merger = list_galaxies("skirt", shared_data / "skirt_merger_gri")
    tng = list_galaxies("tng", shared_data / "tng50_skirt_sdss", simulation="TNG50-1", zeropoints=ZEROPOINTS)
    assert (len(merger), len(tng)) == (2, 8)
    for entry in (eagle[0], eagle[-1], *merger, *tng):
        galaxy = entry.read()
        assert (galaxy.id, galaxy.lineage) == (entry.id, entry.lineage)


@pytest.mark.shared_data
def test_tng_galaxies_have_the_colours_of_galaxies_with_the_documented_zero_points(shared_data):
    for entry in list_galaxies(
        "tng", shared_data / "tng50_skirt_sdss", simulation="TNG50-1", zeropoints=ZEROPOINTS
    ):
        g, r, i, z = magnitude_from_flux(entry.read().light.sum(axis=(1, 2)))
        # The loci of galaxies at redshift 0.05 in SDSS (Blanton et al. 2003), give or take 0.1 mag.
        assert 0.35 < g - r < 0.95
        assert 0.1 < r - i < 0.45
        assert 0.05 < i - z < 0.4
        assert -21.0 < r - 36.7 < -18.0
