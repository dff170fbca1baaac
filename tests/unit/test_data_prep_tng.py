"""TNG images: units against the definition of the AB magnitude, pixel sizes against cosmology."""

import gzip

import numpy as np
import pytest
from astropy.cosmology import WMAP7
from astropy.io import fits

from data_prep.readers.tng import read_tng
from synergy.errors import InputError
from synergy.units import magnitude_from_flux

BANDS = ("sdss.g", "sdss.r", "sdss.i", "sdss.z")
ZEROPOINTS = {"sdss.g": 24.4, "sdss.r": 24.0, "sdss.i": 23.6, "sdss.z": 21.9}


def write(path, shape=(4, 12, 10), data=None, **changes):
    """Write a file of the documented layout, with some cards changed (None removes one)."""
    if data is None:
        data = np.random.default_rng(1).random(shape).astype(">f4")
    header = fits.Header()
    cards = {
        "BUNIT": "counts/s/pixel",
        "CDELT1": 374.5,
        "CTYPE1": "pc",
        "CDELT2": 374.5,
        "CTYPE2": "pc",
        "USE_Z": 0.0485,
    }
    cards |= {f"FILTER{i}": f"sloan/sdss_{b}" for i, b in enumerate("griz")}
    for key, value in (cards | changes).items():
        if value is not None:
            header[key] = value
    fits.PrimaryHDU(data, header).writeto(path)
    return np.asarray(data, np.float64)


def test_counts_become_nanojanskys_by_the_given_zero_points(tmp_path):
    counts = write(tmp_path / "broadband_7.fits")
    galaxy = read_tng(tmp_path / "broadband_7.fits", "TNG50-1", ZEROPOINTS)
    assert galaxy.bands == BANDS
    for plane, count, band in zip(galaxy.light, counts, BANDS, strict=True):
        magnitude = -2.5 * np.log10(count.sum()) + ZEROPOINTS[band]
        assert magnitude_from_flux(float(plane.sum())) == pytest.approx(magnitude, abs=1e-9)
    assert galaxy.light.dtype == np.float64
    assert galaxy.light.dtype.isnative
    assert galaxy.kpc_per_pixel == pytest.approx(0.3745)
    assert galaxy.redshift == 0.0485
    assert galaxy.absolute
    assert galaxy.id == galaxy.lineage == "tng/TNG50-1/z0.0485/broadband_7"


def test_maggies_are_absolute_whatever_the_file_is_called(tmp_path):
    data = np.zeros((1, 3, 3), np.float32)
    data[0, 1, 2] = 1.0
    write(tmp_path / "counts.fits", data=data, BUNIT="maggies/pixel", FILTER0="sdss_r")
    galaxy = read_tng(tmp_path / "counts.fits", "TNG100-1", lineage="tng/TNG100-1/42")
    assert galaxy.light[0, 1, 2] == pytest.approx(3.631e12, rel=1e-4)
    assert galaxy.light.sum() == galaxy.light[0, 1, 2]
    assert (galaxy.bands, galaxy.lineage) == (("sdss.r",), "tng/TNG100-1/42")


def test_pixel_size_in_kiloparsec(tmp_path):
    write(tmp_path / "a.fits", CDELT1=-0.2, CDELT2=0.2, CTYPE1="kpc", CTYPE2="kpc")
    assert read_tng(tmp_path / "a.fits", "TNG50-1", ZEROPOINTS).kpc_per_pixel == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"BUNIT": "AB mag/arcsec2"}, "AB mag/arcsec2", "maggies/pixel"),
        ({"BUNIT": None}, "BUNIT = nothing", "maggies/pixel"),
        ({"CTYPE1": "arcsec"}, "arcsec", "pc"),
        ({"CDELT2": 400.0}, "0.4 kpc", "square"),
        ({"CDELT1": 0.0, "CDELT2": 0.0}, "0 x 0", "square"),
        ({"USE_Z": None}, "no USE_Z", "a number"),
        ({"USE_Z": "local"}, "USE_Z = 'local'", "a number"),
        ({"FILTER2": "panstarrs/ps1_i"}, "panstarrs/ps1_i", "sloan/sdss_g"),
        ({"FILTER1": "sloan/sdss_g"}, "sloan/sdss_g, sloan/sdss_g", "different"),
        ({"FILTER3": None}, "nothing", "4 different"),
        ({"data": np.ones((6, 6), np.float32)}, "2 axes", "cube"),
        ({"data": np.full((4, 6, 6), np.nan, np.float32)}, "144 non-finite", "finite"),
    ],
)
def test_other_layouts_are_refused_by_name(tmp_path, changes, found, expected):
    path = tmp_path / "odd.fits"
    write(path, **changes)
    with pytest.raises(InputError) as caught:
        read_tng(path, "TNG50-1", ZEROPOINTS)
    assert caught.value.source == str(path)
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert caught.value.remedy


@pytest.mark.parametrize("zeropoints", [None, {"sdss.g": 24.4, "sdss.r": 24.0, "sdss.z": 22.0}])
def test_counts_without_all_zero_points_are_refused(tmp_path, zeropoints):
    write(tmp_path / "a.fits")
    with pytest.raises(InputError, match="zero points") as caught:
        read_tng(tmp_path / "a.fits", "TNG50-1", zeropoints)
    assert "sdss.i" in caught.value.found
    assert ("sdss.g" in caught.value.found) == (zeropoints is None)
    assert "zeropoints=" in caught.value.remedy


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.fits"
    with pytest.raises(InputError, match="no such file"):
        read_tng(path, "TNG50-1", ZEROPOINTS)
    write(path, shape=(4, 40, 40))
    zipped = tmp_path / "a.fits.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()[:9000]))
    with pytest.raises(InputError, match="truncated"):
        read_tng(zipped, "TNG50-1", ZEROPOINTS)


@pytest.mark.shared_data
def test_real_files(shared_data):
    paths = sorted((shared_data / "tng50_skirt_sdss").glob("broadband_*.fits"))
    assert len(paths) == 8
    ids = set()
    for path in paths:
        galaxy = read_tng(path, "TNG50-1", ZEROPOINTS)
        with fits.open(path) as file:
            header, data = file[0].header, file[0].data.astype(np.float64)
        assert galaxy.bands == BANDS
        factor = 10.0 ** (0.4 * (31.4 - np.array(list(ZEROPOINTS.values()))))
        np.testing.assert_allclose(galaxy.light.sum(axis=(1, 2)), data.sum(axis=(1, 2)) * factor)
        # The header states the pixel twice, in arcsec and in parsec, with a Hubble constant near 70 km/s/Mpc.
        size = header["PIXSCALE"] * WMAP7.kpc_proper_per_arcmin(galaxy.redshift).value / 60.0
        assert galaxy.kpc_per_pixel == pytest.approx(size, rel=0.01)
        # Brightest in the middle: the axes are (y, x) of a centred galaxy.
        y, x = np.unravel_index(galaxy.light[1].argmax(), galaxy.light[1].shape)
        assert np.hypot(y - data.shape[1] / 2, x - data.shape[2] / 2) < 0.1 * data.shape[1]
        ids.add(galaxy.id)
        with pytest.raises(InputError, match="zero points"):
            read_tng(path, "TNG50-1")
    assert len(ids) == 8
