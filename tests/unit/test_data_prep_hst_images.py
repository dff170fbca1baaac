"""Images of HST stamps: calibration, registration, and what is left out."""

import gzip

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import shift as shifted

from data_prep.readers.hst import BANDS, PIVOTS
from data_prep.readers.hst_images import UnusableStampError, displacement, list_hst, read_hst
from synergy.errors import InputError
from synergy.units import magnitude_from_flux

MAG0 = {"hst.F606W": 26.66, "hst.F814W": 26.78, "hst.F125W": 28.04}
AB = {"hst.F606W": 23.1, "hst.F814W": 22.2, "hst.F125W": 21.4}


def profile(centre=(34.0, 27.0), side=61):
    """Return a lopsided galaxy with a segment outside of which all is 0."""
    y, x = np.indices((side, side), dtype=np.float64)
    y, x = y - centre[0], x - centre[1]
    image = np.exp(-np.hypot(1.4 * y, x) / 2.5) + 0.2 * np.exp(-0.5 * ((y - 3) ** 2 + (x + 4) ** 2))
    return np.where(np.hypot(y, x) < 14.0, image, 0.0)


def write_galaxy(folder, name, image=None, only=None, **changes):
    """Write three stamps under names that tell nothing; the changes go to the one named, or to all."""
    paths = []
    for number, band in enumerate(BANDS):
        mine = changes if only in (None, band) else {}
        data = profile() if image is None else image
        data = data if "moved" not in mine else shifted(data, mine["moved"], order=3)
        st_magnitude = (AB[band] * u.ABmag).to(u.STmag, u.spectral_density(PIVOTS[band] * u.AA)).value
        data = data * 10 ** (-0.4 * (st_magnitude - MAG0[band])) / data.sum()
        cards = {
            "PIXSCALE": 0.06,
            "IMCMB001": "bg.fits",
            "IMCMB002": f"sect23_{band.split('.')[1].lower()}_{name}.fits",
            "MAG0": MAG0[band],
            "MAG": st_magnitude,
        } | {key: value for key, value in mine.items() if key != "moved"}
        header = fits.Header({key: value for key, value in cards.items() if value is not None})
        paths.append(folder / f"{name}{number}.fits.gz")
        fits.PrimaryHDU(data.astype(">f4"), header).writeto(paths[-1])
    return paths


def test_fluxes_are_ab_nanojanskys_and_none_is_lost(tmp_path):
    galaxy = read_hst(write_galaxy(tmp_path, "gal7")[::-1])
    assert galaxy.bands == BANDS
    for plane, band in zip(galaxy.light, BANDS, strict=True):
        assert magnitude_from_flux(plane.sum()) == pytest.approx(AB[band], abs=2e-3)
    assert (galaxy.id, galaxy.lineage, galaxy.absolute) == ("hst/gal7", "hst/gal7", True)
    assert np.isnan([galaxy.redshift, galaxy.kpc_per_pixel]).all()
    assert galaxy.light.dtype == np.float64
    assert galaxy.light.dtype.isnative


def test_the_cut_is_a_square_around_the_centroid_with_dark_edges(tmp_path):
    light = read_hst(write_galaxy(tmp_path, "g", profile((15.0, 44.0)))).light
    side = light.shape[1]
    assert light.shape == (3, side, side)
    y, x = np.indices(light.shape[1:]) - (side - 1) / 2
    centroid = [np.sum(light[1] * axis) / light[1].sum() for axis in (y, x)]
    np.testing.assert_allclose(centroid, 0.0, atol=0.5)
    assert side < 50
    assert not any(light[:, i].any() or light[:, :, i].any() for i in (0, 1, -2, -1))


def test_negative_pixels_keep_the_total_unbiased(tmp_path):
    noise = np.random.default_rng(5).normal(0.0, 0.02, (61, 61))
    image = np.where(profile() > 0, profile() + noise, 0.0)
    assert image.min() < -0.02
    light = read_hst(write_galaxy(tmp_path, "g", image)).light
    assert light.min() < 0
    assert magnitude_from_flux(light[1].sum()) == pytest.approx(AB["hst.F814W"], abs=2e-3)


@pytest.mark.parametrize("move", [(0.0, 0.0), (0.6, -1.7), (-3.0, 2.0), (5.2, 0.3)])
def test_displacement_is_the_one_made(move):
    found = displacement(shifted(profile(), move, order=3), profile())
    np.testing.assert_allclose(found, move, atol=0.1)


def test_a_colour_gradient_is_no_shift():
    """A red bulge beside a blue arm moves the centroid by pixels, and the cross-correlation hardly."""
    y, x = np.indices((61, 61)) - 30.0
    bulge, arm = np.exp(-np.hypot(y, x) / 2.0), 0.1 * np.exp(-0.5 * ((y - 6) ** 2 + (x - 6) ** 2) / 9.0)
    red, blue = bulge + 0.5 * arm, bulge + 2.0 * arm
    centroid = [np.sum(image * y) / image.sum() for image in (red, blue)]
    assert centroid[1] - centroid[0] > 1.0
    assert np.hypot(*displacement(blue, red)) < 0.25 * np.hypot(*[centroid[1] - centroid[0]] * 2)


def test_shifted_bands_are_refused_with_the_reason(tmp_path):
    paths = write_galaxy(tmp_path, "g", only="hst.F125W", moved=(1.5, -0.5))
    with pytest.raises(UnusableStampError, match=r"hst.F125W shifted by 1\.[45], -0\.[456] pixels"):
        read_hst(paths)
    assert read_hst(paths, largest_shift=2.0).id == "hst/g"


def test_the_listing_leaves_out_what_cannot_be_used(tmp_path):
    write_galaxy(tmp_path, "good2")
    write_galaxy(tmp_path, "good1", only="hst.F606W", moved=(0.4, 0.4))
    write_galaxy(tmp_path, "moved", only="hst.F606W", moved=(0.0, 3.0))
    write_galaxy(tmp_path, "other", only="hst.F814W", MAG=20.0)
    write_galaxy(tmp_path, "partial")[0].unlink()
    entries, left_out = list_hst(tmp_path)
    assert [entry.id for entry in entries] == ["hst/good1", "hst/good2"]
    assert set(left_out) == {"moved", "other", "partial"}
    assert "shifted" in left_out["moved"]
    assert "20.00 in the header" in left_out["other"]
    assert left_out["partial"] == "2 of 3 bands"
    galaxy = entries[1].read()
    assert (galaxy.id, galaxy.lineage) == (entries[1].id, entries[1].lineage)


def test_files_of_several_galaxies_are_refused(tmp_path):
    a, b = write_galaxy(tmp_path, "a"), write_galaxy(tmp_path, "b")
    for paths in ([a[0], a[1], b[2]], a[:2], [*a, b[0]], [a[0], a[0], a[1]]):
        with pytest.raises(InputError, match=r"one galaxy in hst\.F606W, hst\.F814W, hst\.F125W"):
            read_hst(paths)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    paths = write_galaxy(tmp_path, "g")
    whole = gzip.decompress(paths[0].read_bytes())
    paths[0].write_bytes(gzip.compress(whole[: len(whole) // 2]))
    for read in (lambda: read_hst(paths), lambda: list_hst(tmp_path)):
        with pytest.raises(InputError, match="truncated"):
            read()
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match="no band in the header"):
        read_hst(write_galaxy(tmp_path / "x", "g", only="hst.F606W", IMCMB002="f606.fits"))
    (tmp_path / "y").mkdir()
    with pytest.raises(InputError, match="no galaxy with three usable bands"):
        list_hst(tmp_path / "y")


@pytest.mark.shared_data
def test_real_stamps(shared_data, tmp_path):
    folder = shared_data / "hst_f606w_f814w_f125w"
    names = [
        *sorted(path.name.removeprefix("f814w_") for path in folder.glob("f814w_*"))[::10],
        "gal107.fits.gz",
    ]
    for name in names:
        for band in ("f606w", "f814w", "f125w"):
            (tmp_path / f"{band}_{name}").symlink_to(folder / f"{band}_{name}")
    entries, left_out = list_hst(tmp_path)
    assert len(entries) + len(left_out) == len(names)
    assert len(entries) > 0.8 * len(names)
    assert "shifted" in left_out["gal107"]
    for entry in entries[:4]:
        galaxy = entry.read()
        for plane, band in zip(galaxy.light, BANDS, strict=True):
            name = galaxy.id.removeprefix("hst/")
            with fits.open(folder / f"{band.split('.')[1].lower()}_{name}.fits.gz") as file:
                stated = file[0].header["MAG"] * u.STmag
                # SExtractor's automatic magnitude is not the sum over the segment, but near to it.
                total = (
                    magnitude_from_flux(plane.sum())
                    - stated.to(u.ABmag, u.spectral_density(PIVOTS[band] * u.AA)).value
                )
                assert total == pytest.approx(0.0, abs=0.1)
                assert plane.sum() == pytest.approx(
                    file[0].data.astype(float).sum() * plane.max() / file[0].data.max()
                )
