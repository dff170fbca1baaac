"""Light maps on the scene: closed forms for Gaussians, GalSim for discs."""

import galsim
import numpy as np
import pytest

from data_prep.placement import Pose
from data_prep.planes import MODEL_SIGMA, half_light_radius, place, softened
from data_prep.sky import LightMaps

SHAPE, CENTRE = (72, 80), (35.3, 41.8)


def pose(**changes):
    straight = {"zoom": 0.4, "axis_ratio": 1.0, "position_angle": 0.0, "spin": 0.0, "mirrored": False}
    return Pose(**(straight | changes))


def put(maps, p, centre=CENTRE):
    return place(maps, p.matrix, centre, SHAPE)


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
    image = put(source[None], p)[0]
    matrix = hand_made_matrix(p)
    expected_covariance = matrix @ covariance @ matrix.T + MODEL_SIGMA**2 * np.eye(2)
    expected = gaussian(SHAPE, np.array(CENTRE) + matrix @ offset, expected_covariance, source.sum())
    np.testing.assert_allclose(image, expected, atol=1e-3 * expected.max())
    assert image.sum() == pytest.approx(source.sum(), rel=1e-3)


def test_position_angle_runs_from_x_to_y_and_the_ratio_shortens_the_other_axis():
    source = gaussian((65, 65), (32, 32), 36.0 * np.eye(2))
    for angle in (0.0, 0.5, 2.0):
        image = put(source[None], pose(axis_ratio=0.5, position_angle=angle, spin=1.0))[0]
        variances, axes = np.linalg.eigh(moments(image)[2] - MODEL_SIGMA**2 * np.eye(2))
        assert np.sqrt(variances[0] / variances[1]) == pytest.approx(0.5, abs=2e-3)
        major = axes[:, 1]  # (y, x)
        assert np.arctan2(major[0], major[1]) % np.pi == pytest.approx(angle, abs=2e-3)


def test_a_pose_is_mirrored_first():
    source = gaussian((65, 65), (42, 32), 9.0 * np.eye(2))  # ten pixels up
    ahead = moments(put(source[None], pose())[0])[1]
    behind = moments(put(source[None], pose(mirrored=True))[0])[1]
    np.testing.assert_allclose(ahead, [35.3 + 4.0, 41.8], atol=1e-3)
    np.testing.assert_allclose(behind, [35.3 - 4.0, 41.8], atol=1e-3)


@pytest.mark.parametrize("shape", [(192, 192), (191, 150), (150, 191)])
def test_a_disc_agrees_with_galsim(shape):
    """A cuspy profile, drawn by GalSim onto the source grid, then by GalSim straight onto the scene."""
    disc = galsim.Exponential(scale_radius=9.0)
    source = disc.drawImage(nx=shape[1], ny=shape[0], scale=1.0, method="no_pixel", dtype=float).array
    p = pose(zoom=0.25, axis_ratio=0.6, position_angle=0.8)
    image = put(source[None], p)[0]
    seen = (
        disc.dilate(p.zoom).transform(1.0, 0.0, 0.0, p.axis_ratio).rotate(p.position_angle * galsim.radians)
    )
    seen = galsim.Convolve(seen.withFlux(1.0), galsim.Gaussian(sigma=MODEL_SIGMA))
    offset = galsim.PositionD(CENTRE[1] - (SHAPE[1] - 1) / 2, CENTRE[0] - (SHAPE[0] - 1) / 2)
    expected = seen.drawImage(
        nx=SHAPE[1], ny=SHAPE[0], scale=1.0, offset=offset, method="no_pixel", dtype=float
    ).array
    np.testing.assert_allclose(image, source.sum() * expected, atol=3e-3 * expected.max())


def test_light_is_kept_but_for_what_falls_off():
    source = gaussian((64, 64), (31.5, 31.5), 25.0 * np.eye(2), flux=7.0)
    assert put(source[None], pose()).sum() == pytest.approx(7.0, rel=1e-3)
    # A centre midway between the scene's first pixel and the one outside of it leaves half.
    assert put(source[None], pose(), (-0.5, 40.0)).sum() == pytest.approx(3.5, rel=2e-3)
    assert put(source[None], pose(), (-300.0, 40.0)).sum() == 0.0


def test_maps_are_placed_each_by_itself():
    rng = np.random.default_rng(8)
    maps = np.stack(
        [gaussian((48, 48), rng.uniform(18, 30, 2), rng.uniform(4, 9) * np.eye(2)) for _ in range(3)]
    )
    p = pose(zoom=0.7, axis_ratio=0.5, position_angle=1.1, spin=0.4)
    together = put(maps, p)
    for one, plane in zip(maps, together, strict=True):
        np.testing.assert_allclose(put(one[None], p)[0], plane, atol=1e-12)
    np.testing.assert_allclose(put(maps.sum(axis=0)[None], p)[0], together.sum(axis=0), atol=1e-9)


def test_speckle_finer_than_the_scene_is_wiped_out():
    """Smoothing comes before shrinking: single bright pixels must not alias into the scene."""
    rng = np.random.default_rng(9)
    smooth = gaussian((128, 128), (63.5, 63.5), 200.0 * np.eye(2))
    speckled = smooth * rng.exponential(1.0, smooth.shape)
    p = pose(zoom=0.1)
    clean, dirty = put(np.stack([smooth, speckled]), p)
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


def test_half_light_radius_of_an_inclined_bell_is_that_of_the_squeezed_one():
    bell = gaussian((129, 129), (64, 64), 64.0 * np.eye(2))
    squeezed = gaussian((129, 129), (64, 64), np.diag([16.0, 64.0]))
    assert half_light_radius(bell, pose(zoom=1.0, axis_ratio=0.5).matrix) == pytest.approx(
        half_light_radius(squeezed), rel=0.01
    )


def test_softening_widens_by_its_gaussian_and_removes_single_pixels():
    rng = np.random.default_rng(4)
    smooth = gaussian((96, 96), (47.5, 47.5), 100.0 * np.eye(2))
    maps = np.stack([smooth, smooth * rng.exponential(1.0, smooth.shape)])
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    light = LightMaps("a", "a", maps, np.array([1.0, 0.0]), (("E", 0.0), ("Im", 0.0)), True, 11.8)
    clean, speckled = softened(light, sigma=1.5).maps
    np.testing.assert_allclose(moments(clean)[2], (100.0 + 1.5**2) * np.eye(2), atol=0.1)
    np.testing.assert_allclose([clean.sum(), speckled.sum()], 1.0)
    bright = clean > 0.5 * clean.max()
    averaged = 4 * np.pi * 1.5**2  # pixels under the squared Gaussian
    assert np.std(speckled[bright] / clean[bright]) == pytest.approx(1.0 / np.sqrt(averaged), rel=0.2)
