"""Frames against the textbook gnomonic projection, astropy's sky frames and headers in every dress."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.psf import PSF

RA, DEC = 150.1, 2.2
ANGLE = np.radians(25.0)
SCALE = 0.2 / 3600
CD = SCALE * np.array([[-np.cos(ANGLE), np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])


@dataclasses.dataclass
class Image:
    """Stands for an observation."""

    frame: Frame
    psf: PSF


def gnomonic(y, x, crpix=(16.0, 20.0), linear=CD):
    """Sky position of zero-based pixel coordinates (Calabretta & Greisen 2002, equation 54)."""
    xi, eta = np.radians(linear @ np.array([x + 1 - crpix[0], y + 1 - crpix[1]]))
    ra0, dec0 = np.radians([RA, DEC])
    denominator = np.cos(dec0) - eta * np.sin(dec0)
    ra = ra0 + np.arctan2(xi, denominator)
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, denominator))
    return SkyCoord(np.degrees(ra) * u.deg, np.degrees(dec) * u.deg)


def header(**cards):
    result = fits.Header()
    result.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=RA, CRVAL2=DEC, CRPIX1=16.0, CRPIX2=20.0)
    result.update(RADESYS="ICRS", CUNIT1="deg", CUNIT2="deg")
    result.update(**cards)
    return result


def matrix_cards(kind, matrix):
    return {f"{kind}{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}


DRESSES = {
    "cd": matrix_cards("CD", CD),
    "pc and cdelt": {
        **matrix_cards("PC", CD / np.array([[-SCALE], [SCALE]])),
        "CDELT1": -SCALE,
        "CDELT2": SCALE,
    },
    "pc in degrees": matrix_cards("PC", CD),
    "crota": {"CDELT1": -SCALE, "CDELT2": SCALE, "CROTA2": -25.0},
    "cd and stray cdelt": {**matrix_cards("CD", CD), "CDELT1": 1.0, "CDELT2": 1.0},
    "cd, its copy as pc, cdelt 1": {
        **matrix_cards("CD", CD),
        **matrix_cards("PC", CD),
        "CDELT1": 1.0,
        "CDELT2": 1.0,
    },
    "cd, unit pc, stray cdelt": {
        **matrix_cards("CD", CD),
        **matrix_cards("PC", np.eye(2)),
        "CDELT1": 1.0,
        "CDELT2": 1.0,
    },
}


@pytest.mark.parametrize("dress", DRESSES)
def test_every_dress_is_the_same_sky(dress):
    frame = Frame.from_header(header(**DRESSES[dress]), (40, 32))
    for y, x in ((0.0, 0.0), (12.3, 30.1), (39.0, 5.0)):
        distance = frame.to_sky(np.array([y, x])).separation(gnomonic(y, x)).arcsec
        assert distance < 1e-6
    assert frame.pixel_scale == pytest.approx(0.2, rel=1e-6)


def test_cdelt_alone():
    frame = Frame.from_header(header(CDELT1=-SCALE, CDELT2=SCALE), (40, 32))
    straight = SCALE * np.diag([-1.0, 1.0])
    assert frame.to_sky(np.array([3.0, 9.0])).separation(gnomonic(3.0, 9.0, linear=straight)).arcsec < 1e-6


def test_dates_that_astropy_repairs_do_not_warn():
    Frame.from_header(header(**DRESSES["cd"], **{"DATE-OBS": "2024-10-18", "MJD-OBS": 60601.3}), (40, 32))


@pytest.mark.parametrize(
    ("cards", "found"),
    [
        ({}, "missing scale"),
        (matrix_cards("CD", np.array([[1.0, 2.0], [2.0, 4.0]]) * SCALE), "singular"),
        ({**matrix_cards("CD", CD), **matrix_cards("PC", 2 * CD)}, "contradict"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", **matrix_cards("CD", CD)}, "no celestial WCS"),
        ({"CTYPE2": "GLAT-TAN", **matrix_cards("CD", CD)}, "cannot be read"),
    ],
)
def test_unusable_headers(cards, found):
    with pytest.raises(InputError, match=found) as error:
        Frame.from_header(header(**cards), (40, 32), source="file.fits[1]")
    assert error.value.source == "file.fits[1]"


def test_header_round_trip():
    frame = Frame.tangent(SkyCoord(RA * u.deg, DEC * u.deg), (31, 42), 0.07, 33.0)
    again = Frame.from_header(frame.header(), frame.shape)
    pixels = np.array([[0.0, 0.0], [30.0, 41.0]])
    assert again.to_sky(pixels).separation(frame.to_sky(pixels)).arcsec.max() < 1e-7


def test_tangent_frame_points_where_it_says():
    centre = SkyCoord(RA * u.deg, DEC * u.deg)
    frame = Frame.tangent(centre, (31, 42), 0.07, 33.0)
    assert frame.center.separation(centre).arcsec < 1e-9
    up = centre.position_angle(frame.to_sky(np.array([30.0, 20.5])))
    right = centre.position_angle(frame.to_sky(np.array([15.0, 41.0])))
    assert up.deg == pytest.approx(33.0, abs=1e-4)
    assert right.wrap_at("360d").deg == pytest.approx(
        360 + 33.0 - 90.0, abs=1e-4
    )  # east to the left of north
    sine, cosine = np.sin(np.radians(33.0)), np.cos(np.radians(33.0))
    expected = 0.07 * np.array([[cosine, sine], [sine, -cosine]])
    np.testing.assert_allclose(frame.jacobian, expected, atol=1e-7)


def test_affine_map_in_closed_form():
    """Same tangent point, other rotation and scale: the map is a similarity about that point, exactly."""
    centre = SkyCoord(RA * u.deg, DEC * u.deg)
    here, there = Frame.tangent(centre, (33, 40), 0.2, 10.0), Frame.tangent(centre, (128, 127), 0.05, -20.0)
    matrix, offset = here.affine_to(there)
    angle = np.radians(30.0)
    # Turning the image by +30 degrees toward east turns its +y axis toward -x of the other frame.
    expected = 4 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    np.testing.assert_allclose(matrix @ [16.0, 19.5] + offset, [63.5, 63.0], atol=1e-6)
    back, shift = there.affine_to(here)
    np.testing.assert_allclose(back @ matrix, np.eye(2), atol=1e-7)
    np.testing.assert_allclose(back @ offset + shift, 0, atol=1e-5)


def test_affine_map_goes_through_the_sky_frames():
    """FK5 and galactic headers of one sky: pixels agree with astropy's own transformation of positions."""
    centre = SkyCoord(RA * u.deg, DEC * u.deg)
    scene = Frame.tangent(centre, (64, 64), 0.05)
    fk5 = Frame.from_header(header(**{**DRESSES["cd"], "RADESYS": "FK5", "EQUINOX": 2000.0}), (40, 32))
    galactic = header(**matrix_cards("CD", CD))
    galactic.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN")
    galactic.update(CRVAL1=centre.galactic.l.deg, CRVAL2=centre.galactic.b.deg)
    del galactic["RADESYS"]
    for frame in (fk5, Frame.from_header(galactic, (40, 32))):
        matrix, offset = frame.affine_to(scene)
        pixel = np.array([17.0, 11.0])
        expected = scene.to_pixels(frame.to_sky(pixel).icrs)
        np.testing.assert_allclose(matrix @ pixel + offset, expected, atol=1e-4)
    plain = Frame.from_header(header(**DRESSES["cd"]), (40, 32))
    shift = np.linalg.norm(plain.affine_to(scene)[1] - fk5.affine_to(scene)[1]) * 0.05
    assert 1e-3 < shift < 0.1  # the two systems differ by some tens of milliarcseconds


def distorted(coefficient):
    cards = header(**DRESSES["cd"], A_ORDER=2, B_ORDER=2, A_2_0=coefficient, B_0_2=coefficient)
    cards.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    return Frame.from_header(cards, (40, 32))


def test_distortion_is_measured_and_refused():
    scene = Frame.tangent(SkyCoord(RA * u.deg, DEC * u.deg), (160, 160), 0.05)
    distorted(1e-7).affine_to(scene)
    with pytest.raises(InputError, match="off an affine one"):
        distorted(1e-3).affine_to(scene)
    distorted(1e-3).affine_to(scene, tolerance=10.0)


@pytest.mark.parametrize("ra", [RA + 0.1, RA + 100.0, RA + 180.0])
def test_different_skies(ra):
    here = Frame.tangent(SkyCoord(RA * u.deg, DEC * u.deg), (32, 32), 0.2)
    there = Frame.tangent(SkyCoord(ra * u.deg, DEC * u.deg), (32, 32), 0.2)
    with pytest.raises(InputError, match="different parts of the sky"):
        here.affine_to(there)
    with pytest.raises(InputError, match=r"different parts|span"):
        Frame.covering([Image(f, PSF.gaussian(0.5, 0.1, 21)) for f in (here, there)])


def test_cutout_looks_at_the_same_sky():
    frame = Frame.from_header(header(**DRESSES["cd"]), (40, 32))
    small, (rows, columns) = frame.cutout(frame.to_sky(np.array([14.0, 20.0])), (9, 12))
    assert (rows, columns) == (slice(10, 19), slice(14, 26))
    assert small.shape == (9, 12)
    distance = small.to_sky(np.array([0.0, 0.0])).separation(frame.to_sky(np.array([10.0, 14.0])))
    assert distance.arcsec < 1e-9
    middle, slices = frame.cutout(None, 32)
    assert middle.shape == (32, 32)
    assert slices == (slice(4, 36), slice(0, 32))
    with pytest.raises(InputError, match="beyond the image"):
        frame.cutout(frame.to_sky(np.array([1.0, 1.0])), 8)


@pytest.mark.parametrize("size", [64, 63])
@pytest.mark.parametrize("parity", [1, -1])
@pytest.mark.parametrize("ratio", [2, 3])
def test_scene_pixels_tile_those_of_the_sharpest_image(size, parity, ratio):
    linear = CD @ np.diag([parity, 1]) / 2 * ratio / 2
    sharp = Frame.from_header(header(**matrix_cards("CD", linear)), (size, size))
    blunt = Frame.tangent(sharp.center, (21, 21), 0.3)
    images = [Image(blunt, PSF.gaussian(0.8, 0.1, 41)), Image(sharp, PSF.gaussian(0.2, 0.05, 21))]
    scene = Frame.covering(images, 0.05, margin_arcsec=0.5)
    matrix, offset = sharp.affine_to(scene)
    np.testing.assert_allclose(matrix, ratio * np.eye(2), atol=1e-8)
    start = offset - (ratio - 1) / 2
    np.testing.assert_allclose(start, np.round(start), atol=1e-6)
    assert all(n % 8 == 0 for n in scene.shape)
    for image in images:
        transform, shift = image.frame.affine_to(scene)
        corners = image.frame.corners @ transform.T + shift
        assert corners.min() >= 0.5 / 0.05 - 0.5 - 1 - 1e-6
        assert np.all(corners.max(axis=0) <= np.array(scene.shape) - 0.5 - 0.5 / 0.05 + 1 + 1e-6)


def test_scene_of_a_distorted_image_has_square_pixels():
    sheared = SCALE * np.array([[-1.0, 0.02], [0.0, 1.01]])
    frame = Frame.from_header(header(**matrix_cards("CD", sheared)), (40, 32))
    scene = Frame.covering([Image(frame, PSF.gaussian(0.5, 0.1, 21))], 0.05)
    np.testing.assert_allclose(scene.jacobian.T @ scene.jacobian, 0.05**2 * np.eye(2), atol=1e-9)
    matrix, _ = frame.affine_to(scene)
    assert matrix[0, 0] > 3.9 and matrix[1, 1] > 3.9  # noqa: PT018
    assert abs(matrix[0, 1] - matrix[1, 0]) < 1e-4  # no net rotation


def test_absurdly_large_scene():
    frame = Frame.tangent(SkyCoord(RA * u.deg, DEC * u.deg), (1000, 1000), 0.2)
    with pytest.raises(InputError, match="span 4040 x 4040 scene pixels"):
        Frame.covering([Image(frame, PSF.gaussian(0.5, 0.1, 21))], 0.05)
    with pytest.raises(InputError, match="no observation"):
        Frame.covering([])


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("pattern", "hdu", "scale"),
    [
        ("euclid_q1/*.fits", 1, 0.1),
        ("hsc_pdr3/*cutout*.fits", 1, 0.168),
        ("jwst_nircam_ceers/*.fits*", 0, None),
        ("hst_hsc_cosmos/*.fits*", 0, None),
    ],
)
def test_real_headers(shared_data, pattern, hdu, scale):
    paths = sorted(shared_data.glob(pattern))
    assert paths
    checked = 0
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as hdus:
                image = next((h for h in hdus[hdu:] if h.data is not None and h.data.ndim == 2), None)
                if image is None or "CTYPE1" not in image.header:
                    continue
                cards, shape = image.header.copy(), image.data.shape
        frame = Frame.from_header(cards, shape, source=path)
        if scale is not None:
            assert frame.pixel_scale == pytest.approx(scale, rel=2e-3)
        for card in [c for c in cards if c.startswith(("PC1_", "PC2_", "CDELT")) and "CD1_1" in cards]:
            del cards[card]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = WCS(cards).celestial.pixel_to_world(3.0, 7.0)
        assert frame.to_sky(np.array([7.0, 3.0])).separation(expected).arcsec < 1e-6
        checked += 1
    if scale is not None:
        assert checked == len(paths)
