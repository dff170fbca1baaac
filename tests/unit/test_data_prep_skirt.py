"""Maps in mag/arcsec2: fluxes against closed forms, and what makes several HDUs one galaxy."""

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import Planck15
from astropy.io import fits

from data_prep.readers.skirt import read_skirt
from synergy.errors import InputError
from synergy.units import magnitude_from_flux

SDSS = {"g": "g_SDSS.res", "r": "r_SDSS.res", "i": "i_SDSS.res"}
HSC = ("CFHT_MegaCam.u", "Subaru_HSC.g", "Subaru_HSC.r", "CFHT_MegaCam.r", "Subaru_HSC.i", "Subaru_HSC.Y")


def header(filter_name, **changes):
    """Return the cards of an idealised merger, with some changed (None removes one)."""
    cards = {
        "BUNIT": "AB mag/arcsec2",
        "CDELT1": 97.65625,
        "CTYPE1": "pc",
        "CDELT2": 97.65625,
        "CTYPE2": "pc",
        "SIMTAG": "G2G3_e",
        "SUBTAG": "orbit_1",
        "ISNAP": 186,
        "CAMERA": "i0",
        "FILTER": filter_name,
        "REDSHIFT": 0.046,
    } | changes
    return fits.Header({key: value for key, value in cards.items() if value is not None})


def write_bands(folder, data, stem="m", only=None, **changes):
    """Write one file per SDSS band; the changes go to the band named, or to all."""
    paths = []
    for band, name in SDSS.items():
        cards = header(name, **(changes if only in (None, band) else {}))
        paths.append(folder / f"{stem}_{band}.fits")
        fits.PrimaryHDU(data[band] if isinstance(data, dict) else data, cards).writeto(paths[-1])
    return paths


def write_hsc(path, data, camera="v1", **changes):
    """Write one HDU per filter, as the idealised HSC product has them (the first becomes the primary one)."""
    hdus = fits.HDUList()
    for name in HSC:
        hdu = fits.ImageHDU(np.asarray(data, np.float32), name=name)
        hdu.header.update(
            header(
                name, CDELT1=0.1, CDELT2=0.1, CTYPE1="kpc", CTYPE2="kpc", SIMTAG="TNG50-1", SUBTAG=None,
                ISNAP=None, SNAPNUM=91, SUBHALO=544140, CAMERA=camera, REDSHIFT=0.1, **changes,
            )
        )  # fmt: skip
        hdus.append(hdu)
    hdus.writeto(path)
    return path


def test_one_pixel_of_known_brightness(tmp_path):
    """At mu mag/arcsec2 a pixel that spans a arcsec holds mu - 2.5 log10(a^2)."""
    data = np.full((6, 5), np.inf)
    data[2, 3] = 21.5
    galaxy = read_skirt(write_bands(tmp_path, data))
    side = 97.65625 * u.pc * Planck15.arcsec_per_kpc_proper(0.046)
    expected = 21.5 - 5.0 * np.log10(side.to_value("arcsec"))
    for plane in galaxy.light:
        assert magnitude_from_flux(plane[2, 3]) == pytest.approx(expected, abs=1e-6)
        assert plane.sum() == plane[2, 3]
    assert galaxy.bands == ("sdss.g", "sdss.r", "sdss.i")
    assert (galaxy.kpc_per_pixel, galaxy.redshift) == (0.09765625, 0.046)
    assert galaxy.light.dtype == np.float64
    assert galaxy.light.dtype.isnative
    assert galaxy.absolute


def test_a_galaxy_of_known_luminosity_closes(tmp_path):
    """Light of M = -21 spread over the sky and dimmed by hand comes back with the distance modulus."""
    redshift, absolute, kpc = 0.3, -21.0, 0.2
    y, x = np.indices((64, 64)) - 31.5
    profile = np.exp(-0.5 * (x**2 + y**2) / 36.0)
    profile *= 10 ** (-0.4 * absolute) / profile.sum()  # in units of magnitude 0 at 10 pc
    # Surface brightness at rest: flux at 10 pc over the solid angle there. Photons lose (1 + z)^4 to
    # redshift, and the magnitude of a flat spectrum, per unit frequency, wins back (1 + z).
    solid_angle = ((kpc * u.kpc / (10 * u.pc)).to_value("") * u.rad).to_value("arcsec") ** 2
    observed = -2.5 * np.log10(profile / solid_angle / (1.0 + redshift) ** 3)
    paths = write_bands(tmp_path, observed, REDSHIFT=redshift, CDELT1=200.0, CDELT2=200.0)
    total = magnitude_from_flux(float(read_skirt(paths).light[0].sum()))
    expected = absolute + Planck15.distmod(redshift).value - 2.5 * np.log10(1.0 + redshift)
    assert total == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("redshift", [0.0, 2.2e-16, None])
def test_without_a_redshift_magnitudes_are_absolute(tmp_path, redshift):
    data = np.full((4, 4), 99.0)
    data[1, 1] = 20.0
    galaxy = read_skirt(write_bands(tmp_path, data, REDSHIFT=redshift))
    pixel = np.degrees(97.65625 / 10.0) * 3600.0
    assert magnitude_from_flux(galaxy.light[0].sum()) == pytest.approx(20.0 - 5.0 * np.log10(pixel))
    assert np.isnan(galaxy.redshift) if redshift is None else galaxy.redshift == redshift


def test_colours_are_exact_and_bands_sorted_by_wavelength(tmp_path):
    rng = np.random.default_rng(3)
    data = {band: 22.0 + rng.normal(size=(8, 8)) for band in SDSS}
    paths = write_bands(tmp_path, data)
    galaxy = read_skirt(paths[::-1])
    assert galaxy.bands == ("sdss.g", "sdss.r", "sdss.i")
    colour = -2.5 * np.log10(galaxy.light[0] / galaxy.light[2])
    np.testing.assert_allclose(colour, data["g"] - data["i"], atol=1e-12)


@pytest.mark.parametrize("empty", [99.0, np.inf, 1e4])
def test_empty_pixels_are_dark(tmp_path, empty):
    data = np.full((5, 5), empty)
    data[2, 2] = 25.0
    light = read_skirt(write_bands(tmp_path, data)).light
    assert np.count_nonzero(light) == 3
    assert np.isfinite(light).all()


def test_all_filters_of_one_file(tmp_path):
    path = write_hsc(tmp_path / "shalo.fits", np.full((7, 7), 24.0))
    galaxy = read_skirt([path])
    assert galaxy.bands == ("megacam.u", "hsc.g", "hsc.r", "megacam.r", "hsc.i", "hsc.y")
    assert galaxy.kpc_per_pixel == pytest.approx(0.1)
    assert galaxy.id == "skirt/TNG50-1/91/544140/v1"
    assert galaxy.lineage == "skirt/TNG50-1/91/544140"
    total = 24.0 - 5.0 * np.log10(7 * 0.1 * Planck15.arcsec_per_kpc_proper(0.1).value)
    np.testing.assert_allclose(magnitude_from_flux(galaxy.light.sum(axis=(1, 2))), total, atol=1e-6)


def test_lineages(tmp_path):
    """Epochs and cameras of one merger are one lineage; other orbits, galaxies and snapshots are others."""
    data = np.full((4, 4), 22.0)

    def lineage(stem, **changes):
        return read_skirt(write_bands(tmp_path, data, stem, **changes)).lineage

    first = lineage("a")
    assert lineage("b", ISNAP=214) == first
    assert lineage("c", CAMERA="i3") == first
    assert lineage("d", SUBTAG="orbit_2") != first
    assert lineage("e", SIMTAG="G3G3_e") != first
    tng = read_skirt([write_hsc(tmp_path / "1.fits", data)]).lineage
    assert read_skirt([write_hsc(tmp_path / "2.fits", data, camera="v3")]).lineage == tng
    assert read_skirt([tmp_path / "2.fits"], lineage="tree/7").lineage == "tree/7"


def test_the_caller_may_name_the_simulation(tmp_path):
    paths = write_bands(tmp_path, np.full((4, 4), 22.0), SIMTAG=None)
    assert read_skirt(paths, simulation="mine").id == "skirt/mine/orbit_1/186/i0"
    with pytest.raises(InputError, match="no SIMTAG"):
        read_skirt(paths)


@pytest.mark.parametrize(
    ("changes", "only", "found", "expected"),
    [
        ({"BUNIT": "AB nanomaggies"}, None, "AB nanomaggies", "AB mag/arcsec2"),
        ({"BUNIT": None}, "r", "BUNIT = nothing", "AB mag/arcsec2"),
        ({"FILTER": "bessell_B"}, "r", "bessell_B", "known band"),
        ({"FILTER": "g_SDSS.res"}, "r", "another image in sdss.g", "one image per band"),
        ({"CDELT1": 50.0, "CDELT2": 50.0}, "i", "0.05", "0.09765625"),
        ({"CTYPE1": "arcsec"}, "g", "arcsec", "kpc"),
        ({"REDSHIFT": 0.05}, "r", "redshift 0.05", "0.046"),
        ({"REDSHIFT": None}, "r", "redshift nan", "0.046"),
        ({"REDSHIFT": -0.1}, None, "-0.1", "0 or more"),
        ({"ISNAP": 214}, "i", "214", "186"),
        ({"CAMERA": "i1"}, "i", "i1", "i0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, only, found, expected):
    paths = write_bands(tmp_path, np.full((4, 4), 22.0), only=only, **changes)
    with pytest.raises(InputError) as caught:
        read_skirt(paths)
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert str(tmp_path) in caught.value.source


def test_other_sizes_and_bad_pixels_are_refused(tmp_path):
    data = dict.fromkeys(SDSS, np.full((6, 6), 22.0)) | {"r": np.full((6, 7), 22.0)}
    with pytest.raises(InputError, match=r"size \(6, 7\)"):
        read_skirt(write_bands(tmp_path, data, "a"))
    for stem, bad in (("b", np.nan), ("c", -np.inf)):
        with pytest.raises(InputError, match="36 pixels"):
            read_skirt(write_bands(tmp_path, np.full((6, 6), bad), stem))
    with pytest.raises(InputError, match="3 axes"):
        read_skirt(write_bands(tmp_path, np.full((2, 6, 6), 22.0), "d"))


def test_truncated_files_are_refused(tmp_path):
    paths = write_bands(tmp_path, np.full((64, 64), 22.0))
    whole = paths[1].read_bytes()
    for keep in (0, 100, 2880, len(whole) // 2):
        paths[1].write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"damaged or truncated|no image") as caught:
            read_skirt(paths)
        assert str(paths[1]) in caught.value.source


@pytest.mark.shared_data
def test_both_epochs_of_the_merger(shared_data):
    lineages = set()
    for epoch in (186, 214):
        paths = sorted((shared_data / "skirt_merger_gri").glob(f"merger_{epoch}_*.fits"))
        galaxy = read_skirt(paths)
        assert galaxy.bands == ("sdss.g", "sdss.r", "sdss.i")
        assert galaxy.light.shape == (3, 512, 512)
        for path, band in zip(paths, ("sdss.g", "sdss.i", "sdss.r"), strict=True):
            brightness = fits.getdata(path)
            area = (0.09765625 * Planck15.arcsec_per_kpc_proper(0.046).value) ** 2
            total = -2.5 * np.log10(np.sum(10 ** (-0.4 * brightness[np.isfinite(brightness)])) * area)
            plane = galaxy.light[galaxy.bands.index(band)]
            assert magnitude_from_flux(plane.sum()) == pytest.approx(total, abs=1e-6)
            assert np.all((plane == 0) == np.isinf(brightness))
        # Two gas-rich spirals of a few 10^10 solar masses, young and blue.
        g, r, i = magnitude_from_flux(galaxy.light.sum(axis=(1, 2))) - Planck15.distmod(0.046).value
        assert -22.0 < r < -20.5
        assert 0.2 < g - r < 0.6
        assert 0.0 < r - i < 0.3
        lineages.add(galaxy.lineage)
        assert galaxy.id == f"{galaxy.lineage}/{epoch}/i0"
    assert lineages == {"skirt/G2G3_e/orbit_1"}
