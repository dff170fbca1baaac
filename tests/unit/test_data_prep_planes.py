"""Sizes of images, and softened light maps: closed forms for Gaussians."""

import numpy as np
import pytest

from data_prep.placement import Pose
from data_prep.planes import half_light_radius, softened
from data_prep.sky import LightMaps


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
    assert half_light_radius(bell, Pose(1.0, 0.5, 0.0, 0.0, mirrored=False).matrix) == pytest.approx(
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
