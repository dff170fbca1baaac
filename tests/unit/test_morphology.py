"""Morphology of galaxies whose numbers are known, drawn by GalSim."""

import galsim
import numpy as np
import pytest

pytest.importorskip("sep")

from synergy.metrics.morphology import NAMES, asymmetry, describe_source, ellipticity, light_radii
from synergy.metrics.power_spectrum import radial_power
from synergy.metrics.sources import brightest_source

SIZE, SCALE = 128, 0.05
BANDS = ("lsst.g", "lsst.i")


def draw(profile, dy=0.0, dx=0.0, size=SIZE) -> np.ndarray:
    """Return an image whose profile lies (dy, dx) pixels from the pixel (size/2, size/2)."""
    moved = profile.shift((dx + 0.5) * SCALE, (dy + 0.5) * SCALE)
    return moved.drawImage(nx=size, ny=size, scale=SCALE, method="sb").array.astype(np.float64)


def scene(*images) -> np.ndarray:
    return np.stack(images).astype(np.float32)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (galsim.Gaussian(half_light_radius=0.5), 5 * np.log10(np.sqrt(np.log(0.2) / np.log(0.8)))),
        # Roots of 1 - (1 + r) exp(-r) = 0.2 and 0.8: Conselice (2003) has 2.7 for discs.
        (galsim.Exponential(half_light_radius=0.4), 5 * np.log10(2.9943083 / 0.8243883)),
    ],
)
def test_radii_hold_their_share_of_the_light(profile, expected):
    image = draw(profile, 0.0, 0.0)
    r20, r50, r80 = light_radii(image, np.array([SIZE / 2, SIZE / 2]), (0.2, 0.5, 0.8))
    assert r50 * SCALE == pytest.approx(profile.half_light_radius, rel=0.03)
    assert 5 * np.log10(r80 / r20) == pytest.approx(expected, abs=0.05)


def test_asymmetry_of_a_disc_with_a_clump_is_the_clump_s_share():
    """The clump meets nothing when turned: |I - I180| holds it twice, 2 sum |I| holds all twice."""
    disc, clump = draw(galsim.Gaussian(sigma=0.4), 0.5, 0.5), draw(galsim.Gaussian(sigma=0.1), 30.0, 0.0)
    whole = disc + 0.1 * clump / clump.sum() * disc.sum()
    centre = np.array([SIZE / 2, SIZE / 2])
    assert asymmetry(disc, centre) == pytest.approx(0.0, abs=1e-5)
    assert asymmetry(whole, centre) == pytest.approx(0.1 / 1.1, rel=0.1)


def test_asymmetry_finds_the_centre_at_the_edge_of_an_image():
    image = draw(galsim.Exponential(half_light_radius=0.3), -40.0, 45.0)
    assert asymmetry(image, np.array([SIZE / 2 - 38, SIZE / 2 + 44])) < 0.01  # part of it is cut off


@pytest.mark.parametrize("e", [0.0, 0.3, 0.7])
def test_ellipticity_is_the_distortion_of_a_sheared_gaussian(e):
    image = draw(galsim.Gaussian(sigma=0.4).shear(e=e, beta=40 * galsim.degrees))
    assert ellipticity(image, np.array([SIZE / 2, SIZE / 2])) == pytest.approx(e, abs=0.01)


def test_brightest_source_is_cut_out_of_its_neighbours():
    bright, faint = draw(galsim.Gaussian(sigma=0.3)), draw(galsim.Gaussian(sigma=0.2), 30.0, 12.0)
    both = scene(bright + 0.3 * faint, bright + 0.3 * faint)
    source = brightest_source(both, SCALE)
    assert source.whole
    assert np.abs(np.array(source.centre) - SIZE / 2).max() <= 1
    assert source.image.sum() == pytest.approx(bright.sum(), rel=0.06)  # 0.02 of the peak is the isophote
    assert not brightest_source(both[:, :, 64:], SCALE).whole
    assert brightest_source(np.zeros((2, 32, 32), np.float32), SCALE) is None


def test_source_does_not_depend_on_units():
    image = draw(galsim.Exponential(half_light_radius=0.3).shear(e=0.4, beta=0 * galsim.degrees))
    small, large = (
        describe_source(brightest_source(scene(f * image, f * image), SCALE), BANDS, SCALE, BANDS)
        for f in (1e-3, 1e3)
    )
    assert small == pytest.approx(large, rel=1e-4, abs=1e-6)


def test_colour_gradient_of_two_nested_gaussians():
    """A red band twice as small: within r50 of the sum, each band's share follows from 1 - exp(-r^2/2s^2)."""
    blue, red = draw(galsim.Gaussian(sigma=0.5)), draw(galsim.Gaussian(sigma=0.3))
    source = brightest_source(scene(blue, red), SCALE)
    found = describe_source(source, BANDS, SCALE, BANDS)
    assert tuple(found) == NAMES
    centre = np.array([SIZE / 2, SIZE / 2])
    inside = np.where(source.region, source.image, 0.0)
    r50 = light_radii(inside, centre, (0.5,))[0] * SCALE
    edge = np.sqrt(source.region.sum() / np.pi) * SCALE

    def magnitudes(sigma: float) -> float:
        """Return the difference of the magnitudes of a Gaussian within r50 and between it and the edge."""
        at, far = (np.exp(-(r**2) / (2 * sigma**2)) for r in (r50, edge))
        return -2.5 * np.log10((1 - at) / (at - far))

    assert found["colour gradient"] == pytest.approx(magnitudes(0.5) - magnitudes(0.3), abs=0.05)
    assert found["colour gradient"] > 0.5  # bluer outside: the red band lies inside


def test_radial_power_of_white_noise_and_of_a_wave():
    rng = np.random.default_rng(0)
    edges = np.array([0.02, 0.05, 0.1, 0.2, 0.5])
    noise = 3.0 * rng.normal(size=(200, 2, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(radial_power(noise, edges).mean(axis=0), 9.0, rtol=0.06)
    wave = np.cos(2 * np.pi * 0.14 * np.arange(64))[None, None, None, :] * np.ones((1, 1, 64, 1))
    power = radial_power(wave, edges)[0, 0]
    assert np.argmax(power) == 2
    assert power[2] > 1e3 * power[3]
    with pytest.raises(ValueError, match="no mode"):
        radial_power(wave, np.array([1e-4, 2e-4]))
