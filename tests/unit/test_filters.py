"""Filter curves from files: units, order, and what is refused."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from synergy.errors import InputError
from synergy.filters import band_average, band_weights, filter_curve, read_curve
from synergy.survey import available_bands
from synergy.templates import template_fluxes


def text(path, rows, comment="# Angstrom"):
    path.write_text("\n".join([comment, *(f"{a} {b}" for a, b in rows)]) + "\n")
    return path


CORNERS = ((13300.0, 0.0), (13500.0, 0.5), (16500.0, 0.5), (16700.0, 0.0))


def test_every_band_of_the_surveys_has_a_curve():
    for band in available_bands():
        wavelength, transmission = filter_curve(band)
        assert transmission.max() > 0
        assert 2900 < wavelength[transmission > 0.1 * transmission.max()].mean() < 21000


def test_a_copy_of_a_known_curve_gives_its_fluxes(tmp_path):
    wavelength, transmission = filter_curve("euclid.H")
    table = Table({"wavelength": (wavelength / 1e4) * u.um, "transmission": 37.0 * transmission})
    table.write(tmp_path / "mine.ecsv")
    text(tmp_path / "mine.txt", zip(wavelength / 10.0, transmission, strict=True), "# wavelength [nm]")
    for name in ("mine.ecsv", "mine.txt"):
        ours = template_fluxes(("my.H",), 0.7, (0.0, 0.2), {"my.H": tmp_path / name})
        np.testing.assert_allclose(ours, template_fluxes(("euclid.H",), 0.7, (0.0, 0.2)), rtol=1e-6)


def test_weights_of_samples_average_their_interpolation():
    rng = np.random.default_rng(0)
    curve = filter_curve("lsst.r")
    # The second grid and the third end within the band, on either side.
    grids = [np.sort(rng.uniform(*ends, 60)) for ends in ((3000, 12000), (6200, 12000), (3000, 6500))]
    for grid, weights in zip(grids, band_weights(curve, grids), strict=True):
        flux = rng.uniform(0.5, 2.0, len(grid))
        expected = band_average(lambda w, x=grid, f=flux: np.interp(w, x, f), curve)
        assert weights @ flux == pytest.approx(expected, rel=1e-9)


def test_long_straight_lines_are_sampled_finely(tmp_path):
    wavelength, transmission = read_curve(text(tmp_path / "f150w.txt", CORNERS))
    assert np.diff(wavelength).max() <= 20.0
    np.testing.assert_allclose(transmission, np.interp(wavelength, *np.transpose(CORNERS)))


def test_a_given_curve_goes_before_a_known_one(tmp_path):
    path = text(tmp_path / "r.txt", CORNERS)
    wavelength, _ = filter_curve("lsst.r", {"lsst.r": path})
    assert wavelength[0] == 13300.0
    assert filter_curve("lsst.r")[0][0] < 6000.0


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (CORNERS[::-1], "do not rise"),
        ((*CORNERS[:2], CORNERS[1], *CORNERS[2:]), "do not rise"),
        ((*CORNERS, (17000.0, -0.1)), "1 negative"),
        ((*CORNERS, (17000.0, np.nan)), "not finite"),
        (((1.0, 0.0), (2.0, 0.0)), "no transmission"),
        (((13300.0, 1.0),), "1 rows"),
        (((13300.0, "0.1 0.2"), (13400.0, "0.1 0.2")), "3 columns"),
        (((13300.0, "high"), (13400.0, 0.1)), "could not convert"),
    ],
)
def test_what_is_no_curve_is_refused(tmp_path, rows, found):
    path = text(tmp_path / "bad.txt", rows)
    with pytest.raises(InputError, match=found) as caught:
        filter_curve("my.band", {"my.band": path})
    assert caught.value.source == str(path)


def test_files_without_a_unit_are_refused(tmp_path):
    bare = text(tmp_path / "bare.txt", CORNERS, "# wavelength transmission")
    with pytest.raises(InputError, match="no unit"):
        read_curve(bare)
    Table(rows=CORNERS, names=("wavelength", "transmission")).write(tmp_path / "bare.ecsv")
    with pytest.raises(InputError, match="no unit"):
        read_curve(tmp_path / "bare.ecsv")
    frequency = Table(rows=CORNERS, names=("nu", "transmission"), units=("GHz", None))
    frequency.write(tmp_path / "frequency.ecsv")
    with pytest.raises(InputError, match="ghz"):
        read_curve(tmp_path / "frequency.ecsv")


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_curve(tmp_path / "missing.ecsv")
    (tmp_path / "cut.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: wave")
    with pytest.raises(InputError, match="two columns"):
        read_curve(tmp_path / "cut.ecsv")
    (tmp_path / "binary.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="two columns"):
        read_curve(tmp_path / "binary.txt")


def test_bands_beyond_the_templates_are_refused(tmp_path):
    path = text(tmp_path / "f444w.txt", ((3.9, 0.0), (4.0, 0.5), (4.9, 0.5), (5.0, 0.0)), "# micron")
    with pytest.raises(InputError, match=r"jwst\.F444W"):
        template_fluxes(("jwst.F444W",), 0.5, curves={"jwst.F444W": path})
    assert template_fluxes(("jwst.F444W",), 1.5, curves={"jwst.F444W": path}).min() > 0
