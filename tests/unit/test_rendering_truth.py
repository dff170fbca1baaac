"""Truths of placed skies, by the convention of their documentation: GalSim, closed forms and fluxes."""

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from data_prep.placement import LARGEST_PIXEL, Pose
from data_prep.procedural import procedural_galaxy
from data_prep.rendering import render_truth
from data_prep.sky import LightMaps, Sky, SkySource
from synergy.frame import Frame


def pose(**changes):
    straight = {"zoom": 0.4, "axis_ratio": 1.0, "position_angle": 0.0, "spin": 0.0, "mirrored": False}
    return Pose(**(straight | changes))


def truth(sky, side, scale):
    return render_truth(sky, Frame.tangent(SkyCoord(60.0 * u.deg, -30.0 * u.deg), (side, side), scale))


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


def lopsided(size, seed=3):
    """Return smooth light maps without any symmetry."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, size, size))
    for plane in maps:
        for _ in range(4):
            centre = (size - 1) / 2 + rng.uniform(-0.15, 0.15, 2) * size
            plane += gaussian(plane.shape, centre, rng.uniform(2.5, 6.0) ** 2 * np.eye(2), rng.uniform(1, 3))
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    shares = np.array([0.7, 0.3])
    return LightMaps("a", "a", maps, shares, (("E", 0.0), ("Im", 0.0)), True, 8.0)


def galsim_truth(sky, side, scale):
    """Draw the same sky by the words of its documentation, with GalSim."""
    out = []
    for band in range(len(sky.bands)):
        profiles = []
        for source in sky.sources:
            if source.light is None:
                profiles.append(galsim.DeltaFunction(flux=source.fluxes[0, band]).shift(*source.centre[::-1]))
                continue
            yy, yx, xy, xx = source.matrix.ravel()
            for plane, flux in zip(source.light.maps, source.fluxes[:, band], strict=True):
                image = galsim.Image(np.ascontiguousarray(plane), scale=1.0)
                profile = (
                    galsim.InterpolatedImage(image).transform(xx, xy, yx, yy).withFlux(flux * plane.sum())
                )
                profiles.append(profile.shift(source.centre[1], source.centre[0]))
        seen = galsim.Convolve(galsim.Sum(profiles), galsim.Gaussian(fwhm=2.0 * scale))
        out.append(seen.drawImage(nx=side, ny=side, scale=scale, method="no_pixel", dtype=float).array)
    return np.stack(out)


@pytest.mark.parametrize("side", [63, 64])
@pytest.mark.parametrize("size", [64, 65])
def test_skies_agree_with_galsim_for_both_parities_and_even_and_odd_grids(side, size):
    light, scale = lopsided(size), 0.05
    fluxes = np.array([[300.0, 50.0], [20.0, 90.0]])
    poses = [
        pose(zoom=0.03, axis_ratio=0.6, position_angle=0.9, spin=2.0, mirrored=mirrored)
        for mirrored in (False, True)
    ]
    assert np.linalg.det(poses[0].matrix) * np.linalg.det(poses[1].matrix) < 0
    sources = [
        SkySource(light, fluxes, (0.33, -0.41), poses[0].matrix, 0.5),
        SkySource(light, fluxes[::-1], (-0.52, 0.27), poses[1].matrix, 0.5),
        SkySource(None, np.array([[40.0, 10.0]]), (0.113, 0.728), np.eye(2), 0.0),
    ]
    sky = Sky(("lsst.r", "lsst.i"), tuple(sources))
    expected = galsim_truth(sky, side, scale)
    ours = truth(sky, side, scale)
    for plane, reference in zip(ours, expected, strict=True):
        assert np.abs(plane - reference).max() < 1e-3 * reference.max()


@pytest.mark.parametrize("number", [0, 2, 10])
def test_made_up_galaxies_are_resolved_by_their_pixels(number):
    """As large as galaxies get: GalSim's interpolation and ours would differ where pixels are too coarse."""
    light, scale = procedural_galaxy(number, seed=2), 0.05
    matrix = pose(zoom=LARGEST_PIXEL * scale, position_angle=0.3, mirrored=True).matrix
    fluxes = 100.0 * light.shares[:, None]
    sky = Sky(("lsst.r",), (SkySource(light, fluxes, (0.02, -0.013), matrix, 0.5),))
    ours, expected = (f(sky, 160, scale)[0] for f in (truth, galsim_truth))
    assert np.abs(ours - expected).max() < 3e-3 * expected.max()
    assert ours.sum() == pytest.approx(expected.sum(), rel=1e-4)


def put(maps, matrix, centre, side=80, scale=0.05):
    """Return the truth of light maps of one flux each, seen one per band."""
    totals = maps.sum(axis=(1, 2))
    kinds = (("E", 0.0),) * len(maps)
    light = LightMaps(
        "a", "a", maps / totals[:, None, None], np.full(len(maps), 1 / len(maps)), kinds, True, 1.0
    )
    bands = tuple(f"b{i}" for i in range(len(maps)))
    return truth(Sky(bands, (SkySource(light, np.diag(totals), centre, matrix, 0.5),)), side, scale)


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
    scale, centre = 0.05, np.array([-0.21, 0.12])
    side = 120 if zoom < 0.3 else 64
    width = side / 16
    covariance = np.array([[width**2, 0.2 * width**2], [0.2 * width**2, (0.8 * width) ** 2]])
    shape, offset = (side, side + 1), np.array([0.1 * side, -0.05 * side])  # off-centre, even and odd
    source = gaussian(shape, (np.array(shape) - 1) / 2 + offset, covariance)
    matrix = pose(zoom=zoom * scale, **changes).matrix
    (image,) = put(source[None], matrix, tuple(centre))
    seen = matrix @ covariance @ matrix.T / scale**2 + 2.0**2 / (8 * np.log(2)) * np.eye(2)
    expected = gaussian((80, 80), 39.5 + (centre + matrix @ offset) / scale, seen, source.sum())
    np.testing.assert_allclose(image, expected, atol=1e-3 * expected.max())
    assert image.min() >= 0


def test_light_is_kept_but_for_what_falls_off():
    source, matrix = gaussian((64, 64), (31.5, 31.5), 25.0 * np.eye(2), flux=7.0), 0.02 * np.eye(2)
    assert put(source[None], matrix, (0.1, 0.2)).sum() == pytest.approx(7.0, rel=1e-3)
    # A centre midway between the scene's first pixel and the one outside of it leaves half.
    assert put(source[None], matrix, (-2.0, 0.0)).sum() == pytest.approx(3.5, rel=2e-3)
    assert put(source[None], matrix, (-20.0, 0.0)).sum() == 0.0


def test_speckle_finer_than_the_scene_is_wiped_out():
    """Single bright pixels of a galaxy that is shrunk must not alias into the scene."""
    rng, zoom = np.random.default_rng(9), 0.1
    smooth = gaussian((128, 128), (63.5, 63.5), 200.0 * np.eye(2))
    clean, dirty = put(
        np.stack([smooth, smooth * rng.exponential(1.0, smooth.shape)]), 0.05 * zoom * np.eye(2), (0.0, 0.0)
    )
    # The model PSF averages over 4 pi sigma^2 source pixels.
    averaged = 4 * np.pi * (2.0 / np.sqrt(8 * np.log(2)) / zoom) ** 2
    bright = clean > 0.5 * clean.max()
    assert np.std(dirty[bright] / clean[bright]) < 2.0 / np.sqrt(averaged)


@pytest.mark.parametrize("x", [0.208, -1.728], ids=["inside", "beyond the edge"])
def test_a_star_is_the_model_psf(x):
    flux = 10 ** (0.4 * (31.4 - 16.0))
    star = SkySource(None, np.array([[flux]]), (0.113, x), np.eye(2), 0.0)
    image = truth(Sky(("lsst.r",), (star,)), 64, 0.05)[0]
    variance = 4 / (8 * np.log(2))
    expected = gaussian((64, 64), 31.5 + np.array(star.centre) / 0.05, variance * np.eye(2), flux)
    np.testing.assert_allclose(image, expected, atol=1e-5 * flux / (2 * np.pi * variance))
    assert image.min() >= 0


def test_centroids_and_fluxes_of_a_sky_are_those_of_its_source():
    light, scale = lopsided(64), 0.05
    matrix = pose(zoom=0.03, position_angle=0.4, mirrored=True).matrix
    for side in (95, 96):
        source = SkySource(light, np.array([[7.0], [3.0]]), (0.1234, -0.217), matrix, 0.5)
        flux, centre, _ = moments(truth(Sky(("lsst.r",), (source,)), side, scale)[0])
        inside = moments(0.7 * light.maps[0] + 0.3 * light.maps[1])[1] - 31.5
        expected = (side - 1) / 2 + (np.array(source.centre) + matrix @ inside) / scale
        np.testing.assert_allclose(centre, expected, atol=1e-2)
        assert flux == pytest.approx(10.0, rel=1e-3)
