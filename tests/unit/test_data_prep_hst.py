"""HST stamps: AB magnitudes of known fluxes, and stamps that are left out or refused."""

import gzip
import io

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from data_prep.readers.hst import BANDS, PIVOTS, read_colours
from synergy.errors import InputError
from synergy.templates import template_fluxes

MAG0 = {"hst.F606W": 26.66, "hst.F814W": 26.78, "hst.F125W": 28.04}
AB = {"hst.F606W": 23.1, "hst.F814W": 22.2, "hst.F125W": 21.4}


def st_magnitude(band, ab):
    """Convert by way of the flux density, with astropy."""
    return (ab * u.ABmag).to(u.STmag, u.spectral_density(PIVOTS[band] * u.AA)).value


def write_stamp(folder, band, name, ab, shift=(0.0, 0.0), **changes):
    """Write a round galaxy of known AB magnitude; a card is changed to another value, or removed by None."""
    y, x = np.indices((41, 41)) - 20.0
    image = np.exp(-0.5 * ((y - shift[0]) ** 2 + (x - shift[1]) ** 2) / 9.0)
    magnitude = st_magnitude(band, ab)
    image *= 10 ** (-0.4 * (magnitude - MAG0[band])) / image.sum()
    cards = {"MAG0": MAG0[band], "MAG": magnitude} | changes
    header = fits.Header({key: value for key, value in cards.items() if value not in (None, "INDEF")})
    for key in (key for key, value in cards.items() if value == "INDEF"):
        header[key] = (
            12345678.0  # a number of the width of INDEF with blanks, replaced below as IRAF writes it
        )
    file = io.BytesIO()
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(file)
    path = folder / f"{band.split('.')[1].lower()}_{name}.fits.gz"
    path.write_bytes(gzip.compress(file.getvalue().replace(b"12345678.0", b"     INDEF"), compresslevel=1))
    return path


def write_galaxy(folder, name, only=None, **changes):
    """Write three stamps; the changes go to the one named, or to all."""
    for band in BANDS:
        write_stamp(folder, band, name, AB[band], **(changes if only in (None, band) else {}))


def test_magnitudes_are_ab(tmp_path):
    write_galaxy(tmp_path, "g")
    (colours,) = read_colours(tmp_path)
    assert colours.name == "g"
    np.testing.assert_allclose(colours.magnitudes, [AB[band] for band in BANDS], atol=2e-3)


def test_a_flat_spectrum_has_no_ab_colour_but_an_st_colour(tmp_path):
    for band in BANDS:
        write_stamp(tmp_path, band, "flat", 22.0)
    (colours,) = read_colours(tmp_path)
    np.testing.assert_allclose(colours.magnitudes, 22.0, atol=2e-3)
    assert st_magnitude("hst.F125W", 22.0) - st_magnitude("hst.F606W", 22.0) > 1.5


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": (0.0, 8.0)},  # bands that do not lie on top of each other
        {"shift": (7.0, 0.0)},
        {"MAG": "INDEF"},
        {"MAG0": "INDEF"},
        {"MAG": 25.0},  # contradicts the pixels
        {"MAG0": 20.0},
    ],
)
def test_unusable_stamps_are_left_out(tmp_path, changes):
    write_galaxy(tmp_path, "good")
    write_galaxy(tmp_path, "bad", only="hst.F125W", **changes)
    assert [colours.name for colours in read_colours(tmp_path)] == ["good"]


def test_small_shifts_are_accepted_and_the_limit_can_be_moved(tmp_path):
    write_galaxy(tmp_path, "good")
    write_galaxy(tmp_path, "near", only="hst.F606W", shift=(4.0, 4.0))
    assert [colours.name for colours in read_colours(tmp_path)] == ["good", "near"]
    assert [colours.name for colours in read_colours(tmp_path, largest_shift=3.0)] == ["good"]


def test_galaxies_without_all_bands_are_left_out(tmp_path):
    write_galaxy(tmp_path, "whole")
    write_stamp(tmp_path, "hst.F814W", "partial", 22.0)
    assert [colours.name for colours in read_colours(tmp_path)] == ["whole"]


def test_a_stamp_without_light_is_left_out(tmp_path):
    write_galaxy(tmp_path, "good")
    write_galaxy(tmp_path, "dark")
    path = tmp_path / "f606w_dark.fits.gz"
    with fits.open(path) as file:
        hdu = fits.PrimaryHDU(-file[0].data, file[0].header)
    hdu.writeto(path, overwrite=True)
    assert [colours.name for colours in read_colours(tmp_path)] == ["good"]


@pytest.mark.parametrize("key", ["MAG", "MAG0"])
def test_a_stamp_without_its_cards_is_refused(tmp_path, key):
    write_galaxy(tmp_path, "g", only="hst.F606W", **{key: None})
    with pytest.raises(InputError, match=f"no {key} in the header") as caught:
        read_colours(tmp_path)
    assert caught.value.source == str(tmp_path / "f606w_g.fits.gz")


def test_damaged_stamps_are_refused(tmp_path):
    write_galaxy(tmp_path, "g")
    path = tmp_path / "f814w_g.fits.gz"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], gzip.compress(gzip.decompress(whole)[:4000])):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="a complete FITS file"):
            read_colours(tmp_path)
    fits.PrimaryHDU(np.ones((2, 4, 4), np.float32)).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="3 axes"):
        read_colours(tmp_path)


def test_a_folder_without_galaxies_is_refused(tmp_path):
    with pytest.raises(InputError, match="no galaxy with three usable bands"):
        read_colours(tmp_path)


@pytest.mark.shared_data
def test_real_galaxies_have_the_colours_of_galaxies(shared_data, tmp_path):
    source = shared_data / "hst_f606w_f814w_f125w"
    names = sorted(path.name.removeprefix("f814w_") for path in source.glob("f814w_*"))[::15]
    for name in names:
        for band in ("f606w", "f814w", "f125w"):
            (tmp_path / f"{band}_{name}").symlink_to(source / f"{band}_{name}")
    colours = read_colours(tmp_path)
    assert len(colours) >= 0.7 * len(names)
    found = np.array([c.magnitudes for c in colours])
    assert np.all((found > 17.0) & (found < 27.0))
    # What the templates give at any redshift from 0.05 to 1.5, give or take the errors of either.
    fluxes = np.concatenate([template_fluxes(BANDS, z, (0.0, 0.3)) for z in np.linspace(0.05, 1.5, 15)])
    possible = -np.diff(-2.5 * np.log10(fluxes), axis=1)
    measured = -np.diff(found, axis=1)
    inside = (measured > possible.min(axis=0) - 0.2) & (measured < possible.max(axis=0) + 0.2)
    assert inside.mean() > 0.9
