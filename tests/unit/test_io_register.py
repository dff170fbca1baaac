"""Registration: a known shift between images of different pixels, PSFs and orientation is found again."""

import dataclasses

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.register import measure_shift, moved, register
from synergy.observation import Observation
from synergy.psf import PSF

CENTER = SkyCoord("150d", "2d")


def observe(band, scale, size, fwhm, offset=(0.0, 0.0), rotation=0.0, flux=1.0, noise=0.0003, seed=0):
    """Draw two Gaussian-PSF galaxies; the stated WCS is off by `offset`, arcsec (north, east)."""
    rng = np.random.default_rng(seed)
    frame = Frame.tangent(CENTER, (size, size), scale, rotation)
    (dn_dy, dn_dx), (de_dy, de_dx) = frame.jacobian
    wcs = galsim.JacobianWCS(de_dx, de_dy, dn_dx, dn_dy)  # world axes: east, north
    galaxy = galsim.Exponential(half_light_radius=0.4, flux=flux).shear(g1=0.2, g2=0.1)
    pair = galaxy.shift(1.0, 0.5) + 0.5 * galaxy.shift(-1.2, -0.8)
    canvas = galsim.ImageD(size, size, wcs=wcs)
    image = galsim.Convolve(pair, galsim.Gaussian(fwhm=fwhm)).drawImage(canvas, method="no_pixel").array
    image = image + rng.normal(0, noise, image.shape)
    stated = frame.center.spherical_offsets_by(-offset[1] * u.arcsec, -offset[0] * u.arcsec)
    wrong = Frame.tangent(stated, (size, size), scale, rotation)
    psf = PSF.gaussian(fwhm, scale, 2 * int(1.5 * fwhm / scale) + 1)
    ivar = np.full(image.shape, noise**-2)
    return Observation(band, band, image, ivar, np.zeros(image.shape, bool), psf, wrong)


@pytest.mark.parametrize("rotation", [0.0, 30.0])
def test_finds_a_known_shift(rotation):
    offset = np.array([0.07, -0.04])
    sharp = observe("hst.F814W", 0.05, 150, 0.15)
    blurred = observe("hsc.i", 0.2, 40, 0.7, offset, rotation, flux=2.0, seed=1)
    shift = measure_shift(sharp, blurred)
    found = blurred.frame.jacobian @ shift.value
    np.testing.assert_allclose(found, offset, atol=max(0.004, 4 * 0.2 * shift.error.max()))
    assert shift.significant
    _, fixed = register([sharp, blurred])
    assert fixed.frame.center.separation(CENTER).arcsec < 0.01
    np.testing.assert_allclose(fixed.meta["shift"], offset, atol=0.01)


def test_a_map_of_positions_moves_along():
    sharp, blurred = (
        observe("hst.F814W", 0.05, 150, 0.15),
        observe("hsc.i", 0.2, 40, 0.7, (0.07, -0.04), seed=1),
    )
    _, fixed = register([sharp, dataclasses.replace(blurred, positions=blurred.frame.positions())])
    np.testing.assert_allclose(fixed.positions, fixed.frame.positions(), rtol=0, atol=1e-8)


def test_images_that_agree_are_not_moved():
    sharp, blurred = observe("hst.F814W", 0.05, 150, 0.15), observe("hsc.i", 0.2, 40, 0.7, noise=0.01, seed=3)
    _, same = register([sharp, blurred])
    assert same.meta["shift"] == [0.0, 0.0]
    assert same.frame.center.separation(CENTER).arcsec < 1e-6


def test_one_instrument_moves_as_one():
    sharp = observe("hst.F814W", 0.05, 150, 0.15)
    good = observe("hsc.i", 0.2, 40, 0.7, (0.05, 0.05), seed=1)
    poor = observe("hsc.g", 0.2, 40, 0.7, (0.05, 0.05), noise=0.05, seed=2)
    _, a, b = register([sharp, good, poor])
    assert a.meta["shift"] == b.meta["shift"]
    assert "from hsc.i" in b.meta["notes"][-1]


def test_refuses_empty_sky():
    sharp, blurred = observe("hst.F814W", 0.05, 150, 0.15), observe("hsc.i", 0.2, 40, 0.7, flux=1e-6)
    with pytest.raises(InputError, match="no common sources"):
        register([sharp, blurred])


def test_moved_frame_looks_elsewhere():
    frame = Frame.tangent(CENTER, (20, 30), 0.2, 17.0)
    shift = np.array([0.3, -1.2])
    pixels = np.array([[2.0, 3.0], [15.0, 28.0]])
    there = frame.to_sky(pixels + shift)
    assert moved(frame, shift).to_sky(pixels).separation(there).arcsec.max() < 1e-6
