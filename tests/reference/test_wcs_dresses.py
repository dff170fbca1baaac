"""One sky in every dress of a WCS: header -> frame -> operator -> image, the same to 1e-5 of the peak.

The plain dress is a TAN projection with a CD matrix, turned by 25 degrees, its reference pixel at the image's
centre; its image is compared with GalSim elsewhere. Each other dress describes the same pixels on the same
sky: some exactly, some (another projection, a far reference pixel, a distortion) by cards that are worked out
here so that they agree over the cutout, through astropy's own transformation of the sky and never through
ours.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, ICRS, Galactic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.operators import Operator
from synergy.psf import PSF

CENTER = SkyCoord(150.1 * u.deg, 2.2 * u.deg)
SHAPE = (40, 33)  # even and odd
MIDDLE = np.array([17.0, 20.5])  # FITS pixel (x, y) of the centre
SCALE = 0.1 / 3600
ANGLE = np.radians(25.0)
CD = SCALE * np.array([[-np.cos(ANGLE), np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
STRAIGHT = SCALE * np.diag([-1.0, 1.0])
FLIPPED = CD @ np.diag([-1.0, 1.0])
SCENE = Frame.tangent(CENTER, (88, 80), 0.05, 5.0)


def header(linear=None, crpix=MIDDLE, crval=None, **cards):
    ra, dec = crval if crval is not None else (CENTER.ra.deg, CENTER.dec.deg)
    result = fits.Header()
    result.update(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec, CRPIX1=crpix[0], CRPIX2=crpix[1]
    )
    result.update(RADESYS="ICRS", CUNIT1="deg", CUNIT2="deg")
    result.update(matrix("CD", linear) if linear is not None else {})
    result.update(cards)
    return result


def matrix(kind, values):
    return {f"{kind}{i + 1}_{j + 1}": float(values[i, j]) for i in range(2) for j in range(2)}


def pixels():
    """Return FITS pixels all over the cutout."""
    y, x = np.meshgrid(np.linspace(0.5, SHAPE[0] + 0.5, 5), np.linspace(0.5, SHAPE[1] + 0.5, 5))
    return x.ravel(), y.ravel()


def sky(linear=CD):
    return WCS(header(linear)).all_pix2world(*pixels(), 1)


def fitted(make, linear, crpix, frame="icrs"):
    """Return the header `make(linear, crpix)` whose pixels look at the sky of the plain one.

    Where its pixels fall beside those that they should be, an affine map says by how much; linear part and
    reference pixel take it up. A few rounds suffice, as distortions are small.
    """
    positions = SkyCoord(*WCS(header(CD)).all_pix2world(*pixels(), 1), unit="deg").transform_to(frame)
    wanted = np.stack(pixels(), axis=-1)
    for _ in range(6):
        wcs = WCS(make(linear, crpix))
        lon, lat = positions.spherical.lon.deg, positions.spherical.lat.deg
        there = np.stack(wcs.all_world2pix(lon, lat, 1, tolerance=1e-9), axis=-1)
        design = np.column_stack([there - MIDDLE, np.ones(len(there))])
        solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        turn = solution[:2].T
        linear, crpix = linear @ np.linalg.inv(turn), turn @ (crpix - MIDDLE) + solution[2]
    assert np.abs(wanted - design @ solution).max() < 2e-5
    assert np.abs(there - wanted).max() < 1e-4
    return make(linear, crpix)


def general(*ctype, crval, **cards):
    """Return a maker of headers without distortion."""

    def make(linear, crpix):
        result = header(linear, crpix, crval, **cards)
        result.update(CTYPE1=ctype[0], CTYPE2=ctype[1])
        return result

    return make


def sky_of(offset):
    """Return where a pixel far from the middle looks at."""
    return np.ravel(WCS(header(CD)).all_pix2world(*(MIDDLE + offset)[:, None], 1))


def far():
    """Put the reference pixel 18000 pixels (half a degree) away, as in the cutout of a large mosaic."""
    away = np.array([14000.0, -11000.0])
    return fitted(general("RA---TAN", "DEC--TAN", crval=sky_of(away)), CD, MIDDLE + away)


def zenithal(degrees=0.0):
    crval = (CENTER.ra.deg, CENTER.dec.deg + degrees)
    crpix = MIDDLE + np.linalg.solve(CD, [0.0, degrees])
    return fitted(general("RA---ZEA", "DEC--ZEA", crval=crval), CD, crpix)


def turned_frame(system, names, **cards):
    """Describe the same sky in another celestial frame, in which pixels point another way."""
    middle = CENTER.transform_to(system)
    step = SkyCoord(CENTER.ra, CENTER.dec + 1 * u.arcsec).transform_to(system)
    angle = middle.position_angle(step).rad  # of north, in the other frame
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    crval = (middle.spherical.lon.deg, middle.spherical.lat.deg)
    return fitted(general(*names, crval=crval, **cards), turn @ CD, MIDDLE, system)


def sip(coefficient, crpix=MIDDLE, linear=CD, crval=None):
    cards = header(linear, crpix, crval, A_ORDER=2, B_ORDER=2)
    cards.update(A_2_0=coefficient, B_0_2=-coefficient, A_1_1=coefficient)
    cards.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    return cards


def sip_far():
    """Distort by SIP about a reference pixel 15000 pixels away: several pixels, affine over the cutout."""
    away = np.array([12000.0, 9000.0])
    crval = sky_of(away)
    return fitted(lambda linear, crpix: sip(2e-8, crpix, linear, crval), CD, MIDDLE + away)


def tpv(crpix=MIDDLE, strength=0.0, linear=CD, crval=None):
    cards = header(linear, crpix, crval)
    cards.update(CTYPE1="RA---TPV", CTYPE2="DEC--TPV")
    for axis in (1, 2):
        cards.update({f"PV{axis}_0": 0.0, f"PV{axis}_1": 1.0, f"PV{axis}_2": 0.0})
        cards.update(
            {f"PV{axis}_{i}": s * strength for i, s in zip((4, 5, 6), (1.0, -0.5, 0.7), strict=True)}
        )
    return cards


def tpv_far():
    """Distort as the Euclid VIS pipeline writes it: TPV about the tangent point of the focal plane."""
    away = np.array([9000.0, -12000.0])
    crval = sky_of(away)
    return fitted(lambda linear, crpix: tpv(crpix, 1e-3, linear, crval), CD, MIDDLE + away)


DRESSES = {
    "pc and cdelt": lambda: header(CDELT1=-SCALE, CDELT2=SCALE, **matrix("PC", CD / [[-SCALE], [SCALE]])),
    "pc in degrees, cdelt 1": lambda: header(CDELT1=1.0, CDELT2=1.0, **matrix("PC", CD)),
    "pc without cdelt": lambda: header(**matrix("PC", CD)),
    "cd and stray cdelt": lambda: header(CD, CDELT1=1.0, CDELT2=1.0),
    "cd, its copy as pc, cdelt 1": lambda: header(CD, CDELT1=1.0, CDELT2=1.0, **matrix("PC", CD)),
    "crota2": lambda: header(CDELT1=-SCALE, CDELT2=SCALE, CROTA2=-25.0),
    "far reference pixel": far,
    "zea": zenithal,
    "zea, a degree away": lambda: zenithal(1.0),
    "fk5": lambda: turned_frame(
        FK5(equinox="J2000"), ("RA---TAN", "DEC--TAN"), RADESYS="FK5", EQUINOX=2000.0
    ),
    "fk5 of 1975": lambda: turned_frame(
        FK5(equinox="J1975"), ("RA---TAN", "DEC--TAN"), RADESYS="FK5", EQUINOX=1975.0
    ),
    "galactic": lambda: turned_frame(Galactic(), ("GLON-TAN", "GLAT-TAN")),
    "negligible sip": lambda: sip(1e-9),
    "real sip, affine here": sip_far,
    "plain tpv": tpv,
    "negligible tpv": lambda: tpv(strength=1e-4),
    "tpv of a focal plane": tpv_far,
}


@functools.cache
def sharp_scene():
    """Return a scene with structure down to a few pixels."""
    rng = np.random.default_rng(0)
    y, x = np.indices(SCENE.shape)
    scene = np.zeros(SCENE.shape)
    for _ in range(12):
        y0, x0, width = rng.uniform(20, 65), rng.uniform(20, 60), rng.uniform(1.5, 5)
        scene += rng.uniform(1, 5) * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * width**2))
    return scene[None]


def image_of(cards):
    frame = Frame.from_header(cards, SHAPE)
    psf = PSF.gaussian(0.2, 0.04, 41)
    with jax.enable_x64(True):
        operator = Operator.build(SCENE, frame, psf, np.ones(1), jnp.float64)
        return np.asarray(jax.jit(Operator.__call__)(operator, jnp.asarray(sharp_scene())))


@functools.cache
def reference(name):
    return image_of(header({"turned": CD, "straight": STRAIGHT, "flipped": FLIPPED}[name]))


def same(found, expected):
    assert np.abs(found - expected).max() < 1e-5 * expected.max()


@pytest.mark.parametrize("dress", DRESSES)
def test_every_dress_gives_the_same_image(dress):
    same(image_of(DRESSES[dress]()), reference("turned"))


def test_the_comparison_can_fail():
    """A thousandth of a pixel shows."""
    moved = image_of(header(CD, MIDDLE + np.array([1e-3, 0.0])))
    assert np.abs(moved - reference("turned")).max() > 1e-5 * reference("turned").max()


def test_cdelt_alone():
    same(image_of(header(CDELT1=-SCALE, CDELT2=SCALE)), reference("straight"))


def test_flipped_image_is_the_mirror_image():
    """An image whose x axis points the other way about the centre of an odd row."""
    same(image_of(header(FLIPPED))[:, ::-1], reference("turned"))
    pc = header(CDELT1=SCALE, CDELT2=SCALE, **matrix("PC", FLIPPED / SCALE))
    same(image_of(pc), reference("flipped"))


@pytest.mark.parametrize("turn", [90.0, 180.0, 270.0])
def test_turned_image_is_the_turned_array(turn):
    """Turning the axes by right angles moves the same numbers about."""
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = SHAPE if turn == 180.0 else SHAPE[::-1]
    middle = MIDDLE if turn == 180.0 else MIDDLE[::-1]
    frame = Frame.from_header(header(CD @ rotation, middle), shape)
    with jax.enable_x64(True):
        operator = Operator.build(SCENE, frame, PSF.gaussian(0.2, 0.04, 41), np.ones(1), jnp.float64)
        found = np.asarray(jax.jit(Operator.__call__)(operator, jnp.asarray(sharp_scene())))
    same(np.rot90(found, -round(turn / 90)), reference("turned"))


@pytest.mark.parametrize(
    "cards",
    [sip(3e-4), tpv(strength=8.0), sip(3e-4, MIDDLE + np.array([30.0, 0.0]))],
    ids=["sip", "tpv", "sip far from its reference pixel"],
)
def test_a_map_that_is_not_affine_is_refused(cards):
    with pytest.raises(InputError, match=r"off an affine one by 0\.\d+ pixel") as error:
        image_of(cards)
    assert "0.02 pixel" in error.value.expected
    assert "smaller" in error.value.remedy


def test_the_skies_differ_where_they_should():
    """FK5 of 1975 taken for ICRS would be 0.3 degrees off; galactic axes are turned by tens of degrees."""
    old = SkyCoord(CENTER.ra, CENTER.dec, frame=FK5(equinox="J1975")).transform_to(ICRS())
    assert old.separation(CENTER).deg > 0.2
