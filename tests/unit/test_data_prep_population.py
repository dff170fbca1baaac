"""The population: what is read, shipped and drawn, against the catalogue and closed forms."""

import importlib.resources
import sys

import numpy as np
import pytest
from astropy.io import fits
from scipy.integrate import quad
from scipy.stats import ks_2samp, kstest, spearmanr

from data_prep import population as module
from data_prep.population import (
    Population,
    counts,
    draw_magnitude,
    read_table,
    smoothed,
    typical_redshift,
    write_table,
)
from synergy.errors import InputError


@pytest.mark.parametrize("slope", [0.25, 0.6])
def test_magnitudes_follow_the_counts(slope):
    rng = np.random.default_rng(10)
    drawn = np.array([draw_magnitude(21.0, 27.0, rng, slope) for _ in range(4000)])

    def below(m):
        return (10 ** (slope * m) - 10 ** (slope * 21.0)) / (10 ** (slope * 27.0) - 10 ** (slope * 21.0))

    assert kstest(drawn, below).pvalue > 0.01
    assert drawn.min() >= 21.0
    assert drawn.max() <= 27.0


def test_counts_are_the_published_ones_and_magnitudes_follow_them():
    """LSST Science Book: 46 per square arcmin brighter than i = 25, 31 % of a decade per magnitude."""
    assert counts(25.0) == pytest.approx(46.0)
    assert counts(23.0) == pytest.approx(46.0 / 10**0.62)
    rng = np.random.default_rng(3)
    drawn = np.array([draw_magnitude(20.0, 26.0, rng) for _ in range(4000)])
    expected = (counts(24.0) - counts(20.0)) / (counts(26.0) - counts(20.0))
    assert np.mean(drawn < 24.0) == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000))


@pytest.mark.parametrize("magnitude", [20.0, 23.0, 26.5])
def test_typical_redshifts_are_the_means_of_the_published_distributions(magnitude):
    """Integrate Benitez (2000), eq. 22 to 24 with table 1, by hand."""
    types = ((2.465, 0.431, 0.0913), (1.806, 0.390, 0.0636), (0.906, 0.0626, 0.123))
    early, late = 0.35 * np.exp(-0.450 * (magnitude - 20)), 0.50 * np.exp(-0.147 * (magnitude - 20))
    mean = 0.0
    for share, (a, zero, k) in zip((early, late, 1 - early - late), types, strict=True):
        middle = zero + k * (magnitude - 20)

        def density(z, a=a, middle=middle):
            return z**a * np.exp(-((z / middle) ** a))

        norm = quad(density, 0, 60)[0]
        mean += share * quad(lambda z: z * density(z), 0, 60)[0] / norm
    assert float(typical_redshift(magnitude)) == pytest.approx(mean, rel=1e-4)
    assert float(typical_redshift(18.0)) == float(typical_redshift(20.0))


def catalogue(path, magnitude, radius, redshift, names=("mag_auto", "flux_radius", "zphot")):
    columns = [
        fits.Column(name, "D", array=np.asarray(values, float))
        for name, values in zip(names, (magnitude, radius, redshift), strict=True)
    ]
    fit = np.tile([1.0, 40.0, 1.5, 0.6, 0.0, 100.0, 100.0, 0.2], (len(magnitude), 1))
    columns.append(fits.Column("sersicfit", "8D", array=fit))
    fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)
    return path


def population(magnitude, radius, redshift):
    return Population(magnitude, radius, redshift, np.full(len(magnitude), 1.5), np.full(len(magnitude), 0.6))


def test_catalogue_is_read_in_arcsec_and_bad_rows_are_left_out(tmp_path):
    magnitude = np.linspace(20.0, 23.5, 30)
    radius, redshift = np.full(30, 10.0), np.full(30, 0.7)
    radius[3], redshift[4], magnitude[5] = 0.0, -1.0, np.nan
    read = Population.read(catalogue(tmp_path / "c.fits", magnitude, radius, redshift))
    assert len(read.magnitude) == 27
    np.testing.assert_allclose(read.radius, 0.3)  # pixels of 0.03 arcsec
    np.testing.assert_allclose(read.sersic, 1.5)
    np.testing.assert_allclose(read.axis_ratio, 0.6)
    assert read.magnitude.dtype.isnative


def test_a_draw_takes_a_near_row_along_the_relations():
    magnitude = np.linspace(20.0, 23.5, 36)
    radius = 0.5 * 10 ** (-0.1 * (magnitude - 22.0))  # on the relation: size as the fourth root of flux
    typical = typical_redshift(magnitude)
    rows = population(magnitude, radius, typical * (1.0 + 0.01 * np.arange(36)))  # told apart by redshift
    rng = np.random.default_rng(11)
    for wanted, nearest in ((21.7, 21.7), (19.0, 20.5), (26.0, 23.0)):
        draws = np.array([rows.draw(wanted, rng) for _ in range(200)])
        np.testing.assert_allclose(draws[:, 0], 0.5 * 10 ** (-0.1 * (wanted - 22.0)))
        taken = magnitude[np.round(100 * (draws[:, 1] / typical_redshift(wanted) - 1.0)).astype(int)]
        assert np.all(np.abs(taken - nearest) < 0.75)
        assert np.ptp(taken) > 1.0  # any of them


def test_redshifts_beyond_the_limits_are_left_out_unless_there_are_no_others():
    magnitude = np.linspace(20.0, 23.5, 36)
    rng = np.random.default_rng(12)
    mixed = population(magnitude, np.full(36, 0.4), np.where(np.arange(36) % 2, 0.5, 9.0))
    assert all(mixed.draw(22.0, rng)[1] < 1.0 for _ in range(50))
    far = population(magnitude, np.full(36, 0.4), np.full(36, 9.0))
    assert far.draw(22.0, rng)[1] == module.FARTHEST


def test_unusable_catalogues_are_refused(tmp_path):
    path = tmp_path / "c.fits"
    with pytest.raises(InputError, match="no such file"):
        Population.read(path)
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path)
    with pytest.raises(InputError, match="a table with mag_auto"):
        Population.read(path)
    values = np.linspace(20.0, 23.5, 30)
    catalogue(path, values, values, values, names=("mag", "flux_radius", "zphot"))
    with pytest.raises(InputError, match="mag_auto"):
        Population.read(path)
    catalogue(path, [20.5, 20.8], [5.0, 5.0], [0.3, 0.3])
    with pytest.raises(InputError, match="no usable galaxy"):
        Population.read(path)


def test_tables_come_back_and_others_are_refused(tmp_path):
    path = tmp_path / "p.ecsv"
    write_table(Population.shipped(), path)
    again = read_table(path)
    for name, values in vars(Population.shipped()).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    path.write_text(path.read_text().replace("redshift", "distance"))
    with pytest.raises(InputError, match="redshift"):
        read_table(path)
    path.write_text("no table")
    with pytest.raises(InputError, match="an ECSV table"):
        read_table(path)


def test_the_shipped_table_is_a_small_resource_of_the_package():
    resource = importlib.resources.files("data_prep") / "tables" / "population.ecsv"
    assert len(resource.read_bytes()) < 40_000
    shipped = Population.shipped()
    assert len(shipped.magnitude) == 1000
    assert shipped is Population.shipped()
    rng = np.random.default_rng(13)
    for wanted in np.arange(19.0, 27.1):
        radius, redshift = shipped.draw(float(wanted), rng)
        assert 0.02 < radius < 3.0
        assert module.NEAREST <= redshift <= module.FARTHEST


def test_smoothing_keeps_means_and_covariances():
    """A Gaussian population in the kernel's variables, so that moments say all; limits are out of reach."""
    rng = np.random.default_rng(14)
    scatter = np.array(
        [
            [0.5, 0.2, 0, 0, 0],
            [0, 0.4, 0.1, 0, 0],
            [0, 0, 0.5, 0.2, 0],
            [0, 0, 0, 0.3, 0.2],
            [0, 0, 0, 0, 0.6],
        ]
    )
    values = np.array([22.0, -1.0, -0.5, 0.3, 0.2])[:, None] + scatter @ rng.standard_normal((5, 4000))
    old = Population(values[0], *np.exp(values[1:4]), 1 / (1 + np.exp(-values[4])))
    new = smoothed(old, 4000, rng)
    fresh = np.stack(
        [
            new.magnitude,
            *(np.log(getattr(new, n)) for n in ("radius", "redshift", "sersic")),
            -np.log(1 / new.axis_ratio - 1),
        ]
    )
    error = np.sqrt(np.diag(np.cov(values)) / 4000)
    assert np.all(np.abs(fresh.mean(axis=1) - values.mean(axis=1)) < 4 * error)
    np.testing.assert_allclose(np.cov(fresh), np.cov(values), atol=0.02)
    assert not set(new.radius) & set(old.radius)


@pytest.mark.shared_data
def test_real_catalogue(shared_data):
    real = Population.read(shared_data / "catalogues" / "cosmos_23.5_500_sersic_fits.fits")
    assert len(real.magnitude) > 450
    assert real.magnitude.max() < 23.6  # the sample's limit
    assert 0.2 < np.median(real.radius) < 0.7  # arcsec; galaxies of 22nd magnitude
    assert 0.3 < np.median(real.redshift) < 0.9
    # Sizes and redshifts carried along the relations agree with those of the catalogue at its faint end.
    bright = np.abs(real.magnitude - 21.0) < 0.5
    faint = np.abs(real.magnitude - 23.0) < 0.5
    carried = real.radius[bright] * 10 ** (-0.1 * (23.0 - real.magnitude[bright]))
    assert np.median(carried) == pytest.approx(np.median(real.radius[faint]), rel=0.25)
    moved = real.redshift[bright] * typical_redshift(23.0) / typical_redshift(real.magnitude[bright])
    assert np.median(moved) == pytest.approx(np.median(real.redshift[faint]), rel=0.15)


@pytest.mark.shared_data
def test_the_shipped_table_is_that_of_the_catalogue_without_its_rows(shared_data, tmp_path, monkeypatch):
    path = shared_data / "catalogues" / "cosmos_23.5_500_sersic_fits.fits"
    real, shipped = Population.read(path), Population.shipped()
    for name, values in vars(real).items():
        # 0.09 of the cumulative distribution: a KS probability of 0.01 for samples of these sizes.
        assert ks_2samp(values, getattr(shipped, name)).statistic < 0.09, name
        assert len(set(np.round(values, 3)) & set(getattr(shipped, name))) < len(values)
    ours, theirs = (spearmanr(np.stack(list(vars(p).values())).T).statistic for p in (shipped, real))
    np.testing.assert_allclose(ours, theirs, atol=0.12)  # two standard errors of each
    rows = {tuple(row) for row in np.round(np.stack(list(vars(real).values())).T, 3)}
    assert not rows & {tuple(row) for row in np.stack(list(vars(shipped).values())).T}
    out = tmp_path / "again.ecsv"
    monkeypatch.setattr(sys, "argv", ["population", str(path), str(out)])
    module.main()
    again = read_table(out)
    for name, values in vars(again).items():
        np.testing.assert_allclose(values, getattr(shipped, name), atol=2e-3, err_msg=name)


@pytest.mark.shared_data
def test_faint_galaxies_are_like_those_of_a_simulated_catalogue(shared_data):
    """Beyond the sample's limit, against CatSim (i < 28): nothing of it went into the relations."""
    with fits.open(shared_data / "catalogues" / "catsim_100.fits") as file:
        table = file[1].data
        near = np.abs(table["i_ab"] - 26.0) < 1.0
        redshift = np.median(table["redshift"][near])
        radius = np.median(np.sqrt(table["a_d"] * table["b_d"])[near])
    assert near.sum() > 50
    rng = np.random.default_rng(15)
    ours = np.array([Population.shipped().draw(float(rng.uniform(25.0, 27.0)), rng) for _ in range(500)])
    # Medians of fifty galaxies are known to a sixth; the catalogue's sizes are those of discs alone.
    assert np.median(ours[:, 1]) == pytest.approx(redshift, rel=0.25)
    assert 0.5 < np.median(ours[:, 0]) / radius < 1.2
