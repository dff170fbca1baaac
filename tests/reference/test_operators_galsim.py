"""The operators against GalSim, an independent code that renders both the scene and each image of it.

The truth of an image is ``Convolve(galaxy, effective PSF)`` drawn by GalSim on the image's own WCS; the scene
is the same galaxy convolved with the model PSF and sampled. PSFs are handed over as oversampled stamps, as
GalSim draws them, without normalisation: what a stamp clips is missing from it and not from GalSim's image.
"""

import functools
from typing import NamedTuple

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.wcs import WCS

from synergy.frame import Frame
from synergy.operators import Operator, inside
from synergy.pixel_sampling import Folded, NonUniform, Separable
from synergy.psf import PSF

H = 0.05  # scene pixel scale, arcsec
PARAMS = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=1e-4, kvalue_accuracy=1e-8)
UPRIGHT = ((1.0, 0.0), (0.0, -1.0))  # d(north, east)/d(y, x): north up, east to the left


class Camera(NamedTuple):
    """Pixel scale, image size, PSF, and the stamp's pixel scale and width, all in arcsec."""

    pixel_scale: float
    size: int
    optics: galsim.GSObject
    stamp_scale: float
    stamp_width: float


@functools.cache
def camera(name: str) -> Camera:
    if name == "lsst":
        return Camera(0.2, 24, galsim.Kolmogorov(fwhm=0.8, gsparams=PARAMS), 0.05, 8.0)
    wavelength = {"vis": 750.0, "nisp": 1400.0}[name]
    # GalSim's default oversampling of 1.5 leaves ghosts of 5e-4 at high frequencies.
    optics = galsim.OpticalPSF(lam=wavelength, diam=1.2, obscuration=0.3, oversampling=3, gsparams=PARAMS)
    return Camera(0.1, 48, optics, 0.025, 6.0) if name == "vis" else Camera(0.3, 16, optics, 0.05, 7.0)


def frame(shape, jacobian, shift=(0.0, 0.0)):
    """Frame whose (north, east) offsets in arcsec are `jacobian` times (y, x) from its centre, displaced."""
    linear = np.array(jacobian, float)
    reference = (np.array(shape) - 1) / 2 - np.linalg.solve(linear, np.array(shift, float))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = reference[::-1] + 1
    wcs.wcs.pc = linear[::-1, ::-1] / 3600
    wcs.wcs.cdelt = [1.0, 1.0]
    return Frame(shape, wcs)


def galsim_wcs(jacobian):
    """Return the same in GalSim's sky coordinates: u to the west, v to the north; x before y."""
    (north_y, north_x), (east_y, east_x) = jacobian
    return galsim.JacobianWCS(-east_x, -east_y, north_x, north_y)


def draw(profile, shape, wcs):
    return profile.drawImage(nx=shape[1], ny=shape[0], wcs=wcs, method="no_pixel", dtype=np.float64).array


GALAXY = (
    galsim.Exponential(half_light_radius=0.2, flux=1000.0, gsparams=PARAMS)
    .shear(g1=0.2, g2=0.15)
    .shift(0.13, -0.21)
)
STAR = galsim.DeltaFunction(flux=1000.0, gsparams=PARAMS).shift(0.013, -0.027)


@functools.cache
def scene_of(size, star=False):
    model = galsim.Gaussian(fwhm=2 * H, gsparams=PARAMS)
    profile = galsim.Convolve(STAR if star else GALAXY, model, gsparams=PARAMS)
    return draw(profile, (size, size), galsim_wcs(np.array(UPRIGHT) * H))


@functools.cache
def effective(name, unit_jacobian):
    """Return GalSim's effective PSF, and the PSF that a user would hand over, in the image's pixel axes."""
    pixel_scale, _, optics, stamp_scale, width = camera(name)
    jacobian = np.array(unit_jacobian) * pixel_scale
    pixel = galsim_wcs(jacobian).toWorld(galsim.Pixel(1.0, gsparams=PARAMS))
    profile = galsim.Convolve(optics, pixel, gsparams=PARAMS)
    n = 2 * round(0.5 * width / stamp_scale) + 1
    stamp = draw(profile, (n, n), galsim_wcs(jacobian * stamp_scale / pixel_scale))
    # Stamp and image share their axes, so a sheared pixel has a sheared stamp; its scale is that of the area.
    area = np.sqrt(abs(np.linalg.det(np.array(unit_jacobian))))
    return profile, PSF(stamp, stamp_scale * area)


def compare(name, scene_size, size, unit_jacobian=UPRIGHT, shift=(0.0, 0.0), *, star=False, dtype=np.float64):
    """Return the largest error inside the scene relative to the peak, that of the flux, and the operator."""
    jacobian = np.array(unit_jacobian) * camera(name).pixel_scale
    profile, psf = effective(name, unit_jacobian)
    sky = (STAR if star else GALAXY).shift(shift[1], -shift[0])  # u points west
    truth = draw(galsim.Convolve(sky, profile, gsparams=PARAMS), (size, size), galsim_wcs(jacobian))
    scene, image = (
        frame((scene_size, scene_size), np.array(UPRIGHT) * H),
        frame((size, size), jacobian, shift),
    )
    with jax.enable_x64(dtype == np.float64):
        operator = Operator.build(scene, image, psf, np.ones(1), dtype)
        found = np.asarray(
            jax.jit(Operator.__call__)(operator, jnp.asarray(scene_of(scene_size, star)[None].astype(dtype)))
        )
    visible = inside(scene, image)
    error = np.abs(found - truth)[visible].max() / truth.max()
    return error, found[visible].sum() / truth[visible].sum() - 1, operator


def turned(degrees, shear=0.0, stretch=1.0):
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return tuple(map(tuple, rotation @ np.array([[1.0, shear], [0.5 * shear, stretch]]) @ np.array(UPRIGHT)))


CAMERAS = ("vis", "nisp", "lsst")
ALIGNED = {
    "even scene, even image": (96, 0, UPRIGHT, (0.0, 0.0)),
    "odd scene, odd image": (95, -1, UPRIGHT, (0.0, 0.0)),
    "even scene, odd image, dithered": (96, -1, UPRIGHT, (0.031, -0.017)),
    "odd scene, even image, flipped, dithered": (95, 0, ((1.0, 0.0), (0.0, 1.0)), (0.02, 0.043)),
    "turned by 180 degrees": (96, 0, ((-1.0, 0.0), (0.0, 1.0)), (0.0, 0.01)),
}
GENERAL = {
    "rotated": (96, 0, turned(17.0), (0.0, 0.0)),
    "rotated, odd, dithered": (95, -1, turned(-63.0), (0.02, 0.043)),
    "sheared": (96, -1, turned(5.0, 0.1, 1.02), (0.0, 0.03)),
    "axes swapped": (96, 0, ((0.0, 1.0), (1.0, 0.0)), (0.0, 0.0)),
}


@pytest.mark.parametrize("case", ALIGNED)
@pytest.mark.parametrize("name", CAMERAS)
def test_aligned(name, case):
    scene_size, change, jacobian, shift = ALIGNED[case]
    error, flux, operator = compare(name, scene_size, camera(name).size + change, jacobian, shift)
    assert isinstance(operator.sampler, Separable | Folded)
    assert error < 1e-5
    assert abs(flux) < 1e-4


@pytest.mark.parametrize("case", GENERAL)
@pytest.mark.parametrize("name", CAMERAS)
def test_any_other_grid(name, case):
    scene_size, change, jacobian, shift = GENERAL[case]
    error, flux, operator = compare(name, scene_size, camera(name).size + change, jacobian, shift)
    assert isinstance(operator.sampler, NonUniform)
    assert error < 1e-5
    assert abs(flux) < 1e-4


@pytest.mark.parametrize("jacobian", [UPRIGHT, turned(17.0)])
@pytest.mark.parametrize("name", CAMERAS)
def test_float32(name, jacobian):
    error, _, operator = compare(name, 96, camera(name).size, jacobian, dtype=np.float32)
    assert operator.transfer.dtype == jnp.complex64
    assert error < 2e-5


@pytest.mark.parametrize("name", CAMERAS)
def test_star(name):
    """The sharpest sky: the model PSF has 3 % left at the scene's Nyquist limit, which VIS comes near."""
    error, flux, _ = compare(name, 96, camera(name).size, star=True)
    assert error < (5e-4 if name == "vis" else 1e-5)
    assert abs(flux) < 1e-4
