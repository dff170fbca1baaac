"""Placing galaxies: closed forms for Gaussians, GalSim for discs; the sizes and magnitudes that are drawn."""

import galsim
import numpy as np
import pytest
from astropy.io import fits
from scipy.stats import kstest

from data_prep.placement import (
    MODEL_SIGMA,
    Population,
    Pose,
    draw_magnitude,
    half_light_radius,
    place,
)
from synergy.errors import InputError

SHAPE = (72, 80)


def pose(**changes):
    straight = {"centre": (35.3, 41.8), "zoom": 0.4, "axis_ratio": 1.0, "position_angle": 0.0}
    return Pose(**(straight | {"spin": 0.0, "mirrored": False} | changes))


def gaussian(shape, centre, covariance, flux=1.0):
    """Sample a Gaussian at pixel centres, times the pixel's area."""
    d = np.moveaxis(np.indices(shape).astype(float), 0, -1) - np.asarray(centre)
    quadratic = np.einsum("yxi,ij,yxj->yx", d, np.linalg.inv(covariance), d)
    return flux * np.exp(-0.5 * quadratic) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


def moments(image):
    y, x = np.indices(image.shape)
    flux = image.sum()
    centre = np.array([(image * y).sum(), (image * x).sum()]) / flux
    dy, dx = y - centre[0], x - centre[1]
    yy, yx, xx = ((image * a).sum() / flux for a in (dy * dy, dy * dx, dx * dx))
    return flux, centre, np.array([[yy, yx], [yx, xx]])


def hand_made_matrix(p):
    """Follow the documentation word by word, in (x, y), with complex numbers for the rotations."""

    def transform(x, y):
        z = complex(x, -y if p.mirrored else y) * np.exp(1j * p.spin)
        z = complex(z.real, p.axis_ratio * z.imag) * np.exp(1j * p.position_angle)
        return np.array([z.imag, z.real]) * p.zoom

    return np.stack([transform(0.0, 1.0), transform(1.0, 0.0)], axis=1)


@pytest.mark.parametrize("zoom", [0.06, 0.15, 0.4, 0.8, 1.3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"axis_ratio": 0.3, "position_angle": 0.7},
        {"axis_ratio": 0.6, "position_angle": 2.5, "spin": 4.0, "mirrored": True},
    ],
    ids=["round", "inclined", "turned"],
)
def test_a_gaussian_stays_the_gaussian_that_it_should_be(zoom, changes):
    p = pose(zoom=zoom, **changes)
    side = 120 if zoom < 0.3 else 64
    width = side / 16
    covariance = np.array([[width**2, 0.2 * width**2], [0.2 * width**2, (0.8 * width) ** 2]])
    shape, offset = (side, side + 1), np.array([0.1 * side, -0.05 * side])  # off-centre, even and odd
    middle = (np.array(shape) - 1) / 2
    source = gaussian(shape, middle + offset, covariance)
    image = place(source[None], p, SHAPE)[0]
    matrix = hand_made_matrix(p)
    expected_covariance = matrix @ covariance @ matrix.T + MODEL_SIGMA**2 * np.eye(2)
    expected = gaussian(SHAPE, np.array(p.centre) + matrix @ offset, expected_covariance, source.sum())
    np.testing.assert_allclose(image, expected, atol=1e-3 * expected.max())
    assert image.sum() == pytest.approx(source.sum(), rel=1e-3)


def test_position_angle_runs_from_x_to_y_and_the_ratio_shortens_the_other_axis():
    source = gaussian((65, 65), (32, 32), 36.0 * np.eye(2))
    for angle in (0.0, 0.5, 2.0):
        image = place(source[None], pose(axis_ratio=0.5, position_angle=angle, spin=1.0), SHAPE)[0]
        variances, axes = np.linalg.eigh(moments(image)[2] - MODEL_SIGMA**2 * np.eye(2))
        assert np.sqrt(variances[0] / variances[1]) == pytest.approx(0.5, abs=2e-3)
        major = axes[:, 1]  # (y, x)
        assert np.arctan2(major[0], major[1]) % np.pi == pytest.approx(angle, abs=2e-3)


def test_a_pose_is_mirrored_first():
    source = gaussian((65, 65), (42, 32), 9.0 * np.eye(2))  # ten pixels up
    ahead = moments(place(source[None], pose(), SHAPE)[0])[1]
    behind = moments(place(source[None], pose(mirrored=True), SHAPE)[0])[1]
    np.testing.assert_allclose(ahead, [35.3 + 4.0, 41.8], atol=1e-3)
    np.testing.assert_allclose(behind, [35.3 - 4.0, 41.8], atol=1e-3)


@pytest.mark.parametrize("shape", [(192, 192), (191, 150), (150, 191)])
def test_a_disc_agrees_with_galsim(shape):
    """A cuspy profile, drawn by GalSim onto the source grid, then by GalSim straight onto the scene."""
    disc = galsim.Exponential(scale_radius=9.0)
    source = disc.drawImage(nx=shape[1], ny=shape[0], scale=1.0, method="no_pixel", dtype=float).array
    p = pose(zoom=0.25, axis_ratio=0.6, position_angle=0.8)
    image = place(source[None], p, SHAPE)[0]
    seen = (
        disc.dilate(p.zoom).transform(1.0, 0.0, 0.0, p.axis_ratio).rotate(p.position_angle * galsim.radians)
    )
    seen = galsim.Convolve(seen.withFlux(1.0), galsim.Gaussian(sigma=MODEL_SIGMA))
    offset = galsim.PositionD(p.centre[1] - (SHAPE[1] - 1) / 2, p.centre[0] - (SHAPE[0] - 1) / 2)
    expected = seen.drawImage(
        nx=SHAPE[1], ny=SHAPE[0], scale=1.0, offset=offset, method="no_pixel", dtype=float
    ).array
    np.testing.assert_allclose(image, source.sum() * expected, atol=3e-3 * expected.max())


def test_light_is_kept_but_for_what_falls_off():
    source = gaussian((64, 64), (31.5, 31.5), 25.0 * np.eye(2), flux=7.0)
    assert place(source[None], pose(), SHAPE).sum() == pytest.approx(7.0, rel=1e-3)
    # A centre midway between the scene's first pixel and the one outside of it leaves half.
    assert place(source[None], pose(centre=(-0.5, 40.0)), SHAPE).sum() == pytest.approx(3.5, rel=2e-3)
    assert place(source[None], pose(centre=(-300.0, 40.0)), SHAPE).sum() == 0.0


def test_maps_are_placed_each_by_itself():
    rng = np.random.default_rng(8)
    maps = np.stack(
        [gaussian((48, 48), rng.uniform(18, 30, 2), rng.uniform(4, 9) * np.eye(2)) for _ in range(3)]
    )
    p = pose(zoom=0.7, axis_ratio=0.5, position_angle=1.1, spin=0.4)
    together = place(maps, p, SHAPE)
    for one, plane in zip(maps, together, strict=True):
        np.testing.assert_allclose(place(one[None], p, SHAPE)[0], plane, atol=1e-12)
    np.testing.assert_allclose(place(maps.sum(axis=0)[None], p, SHAPE)[0], together.sum(axis=0), atol=1e-9)


def test_speckle_finer_than_the_scene_is_wiped_out():
    """Smoothing comes before shrinking: single bright pixels must not alias into the scene."""
    rng = np.random.default_rng(9)
    smooth = gaussian((128, 128), (63.5, 63.5), 200.0 * np.eye(2))
    speckled = smooth * rng.exponential(1.0, smooth.shape)
    p = pose(zoom=0.1)
    clean, dirty = place(np.stack([smooth, speckled]), p, SHAPE)
    # The Gaussian averages over 4 pi sigma^2 source pixels.
    averaged = 4 * np.pi * (MODEL_SIGMA / p.zoom) ** 2
    bright = clean > 0.5 * clean.max()
    assert np.std(dirty[bright] / clean[bright]) < 2.0 / np.sqrt(averaged)


@pytest.mark.parametrize("side", [63, 64])
def test_half_light_radius_has_its_closed_form(side):
    middle = (side - 1) / 2
    y, x = np.indices((side, side)) - middle
    disc = (np.hypot(y, x) < 25.0).astype(float)
    assert half_light_radius(disc) == pytest.approx(25.0 / np.sqrt(2.0), rel=0.02)
    bell = gaussian((side, side), (middle, middle), 36.0 * np.eye(2))
    assert half_light_radius(bell) == pytest.approx(6.0 * np.sqrt(2.0 * np.log(2.0)), rel=0.03)


@pytest.mark.parametrize("slope", [0.25, 0.6])
def test_magnitudes_follow_the_counts(slope):
    rng = np.random.default_rng(10)
    drawn = np.array([draw_magnitude(21.0, 27.0, slope, rng) for _ in range(4000)])

    def below(m):
        return (10 ** (slope * m) - 10 ** (slope * 21.0)) / (10 ** (slope * 27.0) - 10 ** (slope * 21.0))

    assert kstest(drawn, below).pvalue > 0.01
    assert drawn.min() >= 21.0
    assert drawn.max() <= 27.0


def catalogue(path, magnitude, radius, redshift, names=("mag_auto", "flux_radius", "zphot")):
    columns = [
        fits.Column(name, "D", array=np.asarray(values, float))
        for name, values in zip(names, (magnitude, radius, redshift), strict=True)
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)
    return path


def test_catalogue_is_read_in_arcsec_and_bad_rows_are_left_out(tmp_path):
    magnitude = np.linspace(20.0, 23.5, 30)
    radius, redshift = np.full(30, 10.0), np.full(30, 0.7)
    radius[3], redshift[4], magnitude[5] = 0.0, -1.0, np.nan
    population = Population.read(catalogue(tmp_path / "c.fits", magnitude, radius, redshift))
    assert len(population.magnitude) == 27
    np.testing.assert_allclose(population.radius, 0.3)  # pixels of 0.03 arcsec
    assert population.magnitude.dtype.isnative


def test_a_draw_takes_a_near_row_along_the_size_relation():
    magnitude = np.linspace(20.0, 23.5, 36)
    radius = 0.5 * 10 ** (-0.1 * (magnitude - 22.0))  # on the relation: size as the fourth root of flux
    population = Population(magnitude, radius, 0.1 * (magnitude - 19.0))
    rng = np.random.default_rng(11)
    for wanted, nearest in ((21.7, 21.7), (19.0, 20.5), (27.0, 23.0)):
        draws = np.array([population.draw(wanted, rng) for _ in range(200)])
        np.testing.assert_allclose(draws[:, 0], 0.5 * 10 ** (-0.1 * (wanted - 22.0)))
        rows = 10.0 * draws[:, 1] + 19.0
        assert np.all(np.abs(rows - nearest) < 0.75)
        assert np.ptp(rows) > 1.0  # any of them
    far = Population(magnitude, radius, np.where(magnitude < 21.75, 0.001, 7.0))
    redshifts = {far.draw(21.75, rng)[1] for _ in range(50)}
    assert redshifts == {0.02, 2.0}


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


@pytest.mark.shared_data
def test_real_catalogue(shared_data):
    population = Population.read(shared_data / "catalogues" / "cosmos_23.5_500_sersic_fits.fits")
    assert len(population.magnitude) > 450
    assert population.magnitude.max() < 23.6  # the sample's limit
    assert 0.2 < np.median(population.radius) < 0.7  # arcsec; galaxies of 22nd magnitude
    assert 0.3 < np.median(population.redshift) < 0.9
    # Sizes carried along the relation agree with those of the catalogue at its faint end.
    rng = np.random.default_rng(12)
    bright, faint = (np.median([population.draw(m, rng)[0] for _ in range(300)]) for m in (21.0, 23.0))
    assert faint == pytest.approx(bright * 10**-0.2, rel=0.25)
