"""Mock images against closed forms, astropy's WCS, survey numbers and the likelihood's own operators."""

import astropy.units as u
import galsim
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from data_prep.exposures import observe, pixel_variance
from data_prep.psfs import effective_psf
from data_prep.render import Source, image_frame, render_image, render_truth
from data_prep.seeing import Seeing
from synergy.frame import Frame
from synergy.operators import Operator
from synergy.survey import get_band

SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (96, 88), 0.05, rotation=15.0)


def mirrored(frame):
    """Return a frame of the opposite parity, with the same centre."""
    wcs = frame.wcs.deepcopy()
    wcs.wcs.pc = wcs.wcs.get_pc() * np.array([[-1.0, 1.0], [-1.0, 1.0]])
    wcs.wcs.crpix = [frame.shape[1] + 1 - wcs.wcs.crpix[0], wcs.wcs.crpix[1]]
    wcs.wcs.set()
    return Frame(frame.shape, wcs)


KINDS = ("aligned", "rotated", "mirrored")


def image_grid(kind, ny, nx):
    if kind == "aligned":
        return image_frame(SCENE, (ny, nx), 0.2, dither=(0.3, -0.2), rotation=15.0)
    if kind == "rotated":
        return image_frame(SCENE, (ny, nx), 0.2, dither=(-0.4, 0.1), rotation=52.0)
    return mirrored(image_frame(SCENE, (ny, nx), 0.2, dither=(0.25, 0.45), rotation=-70.0))


def test_truth_of_a_gaussian_is_a_wider_gaussian():
    sigma, flux, x0, y0 = 0.2, 321.0, 0.33, -0.41
    source = Source(galsim.Gaussian(sigma=sigma).shift(x0, y0), {"lsst.r": flux})
    truth = render_truth([source], SCENE, ("lsst.r",))[0]
    y, x = (np.indices(SCENE.shape) - np.array([47.5, 43.5])[:, None, None]) * 0.05
    total = sigma**2 + (0.1 / 2.354820) ** 2
    expected = flux * 0.05**2 / (2 * np.pi * total) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * total))
    np.testing.assert_allclose(truth, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("kind", KINDS)
def test_sources_land_where_the_wcs_says(kind):
    frame, psf = image_grid(kind, 48, 47), effective_psf("lsst.i", Seeing(0.79, shear=(0.0, 0.0)))
    position = np.array([0.55, -0.4])  # x, y in arcsec
    source = Source(galsim.Gaussian(sigma=0.15).shift(*position), {"lsst.i": 1000.0})
    image = render_image([source], SCENE, frame, psf)
    centroid = [np.sum(image * axis) / image.sum() for axis in np.indices(frame.shape)]
    in_scene = np.array([47.5 + position[1] / 0.05, 43.5 + position[0] / 0.05])
    np.testing.assert_allclose(centroid, frame.to_pixels(SCENE.to_sky(in_scene)), atol=2e-3)
    assert image.sum() == pytest.approx(1000.0, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", ["lsst.r", "euclid.vis", "euclid.J"])
def test_operators_agree_with_galsim_in_any_orientation(kind, band):
    frame, psf = image_grid(kind, 24, 23), effective_psf(band)
    sources = [
        Source(galsim.Sersic(1.5, half_light_radius=0.25, trunc=1.4).shear(g1=0.3, g2=0.2), {band: 3000.0}),
        Source(galsim.Gaussian(sigma=0.05).shift(-0.7, 0.6), {band: 200.0}),
    ]
    image = render_image(sources, SCENE, frame, psf)
    operator = Operator.build(SCENE, frame, psf.psf, np.ones(1))
    ours = operator(jnp.asarray(render_truth(sources, SCENE, (band,)), jnp.float32))
    assert np.max(np.abs(np.asarray(ours) - image)) < 1e-4 * image.max()


def test_sky_noise_follows_from_the_survey_numbers():
    # VIS: 22.3203 mag/arcsec2, zero point 25.92 (1 e/s), 4 x 565 s, 0.1" pixels, read noise 4.4 e; by hand:
    electrons = 10 ** (0.4 * (25.92 - 22.3203)) * 0.1**2 * 4 * 565 + 4 * 4.4**2
    per_electron = 10 ** (0.4 * (31.4 - 25.92)) / (4 * 565)
    empty = pixel_variance(np.zeros((2, 2)), "euclid.vis")
    np.testing.assert_allclose(np.sqrt(empty), np.sqrt(electrons) * per_electron, rtol=1e-6)
    # A pixel of S electrons adds S to their variance.
    bright = pixel_variance(np.full((2, 2), 1e5 * per_electron), "euclid.vis")
    np.testing.assert_allclose((bright - empty) / per_electron**2, 1e5, rtol=1e-6)
    np.testing.assert_allclose(
        pixel_variance(np.ones((2, 2)), "euclid.vis", 1), 4 * pixel_variance(np.ones((2, 2)), "euclid.vis")
    )


def test_noise_has_the_variance_of_the_map():
    frame, psf = image_frame(SCENE, (200, 200), 0.2), effective_psf("lsst.i")
    clean = np.linspace(0, 3000, 200)[:, None] * np.ones((200, 200))
    made = observe(clean, frame, psf, np.random.default_rng(3))
    pulls = (made.image - clean) * np.sqrt(made.ivar)
    n = pulls.size
    assert abs(pulls.mean()) < 4 / np.sqrt(n)
    assert abs(np.mean(pulls**2) - 1) < 4 * np.sqrt(2 / n)
    faint, bright = pulls[:50], pulls[-50:]
    assert np.var(faint) == pytest.approx(np.var(bright), rel=5 * np.sqrt(2 / faint.size) * 1.5)
    assert made.band == made.name == "lsst.i"
    assert not made.mask.any()
    assert np.median(1 / made.ivar[-1]) > 1.5 * get_band("lsst.i").sky_variance()


def test_same_seed_same_image():
    frame, psf = image_grid("aligned", 24, 24), effective_psf("lsst.r")
    first, second, other = (
        observe(np.ones(frame.shape), frame, psf, np.random.default_rng(s)) for s in (7, 7, 8)
    )
    np.testing.assert_array_equal(first.image, second.image)
    assert np.any(first.image != other.image)
