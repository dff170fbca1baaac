"""Observations refuse what they cannot stand for."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation, mask_disc, response_row
from synergy.psf import PSF

SHAPE = (6, 5)
BANDS = ("lsst.r", "lsst.i", "euclid.vis")


def observe(**changes):
    values = {
        "name": "r",
        "band": "lsst.r",
        "image": np.ones(SHAPE),
        "ivar": np.full(SHAPE, 4.0),
        "mask": np.zeros(SHAPE, bool),
        "psf": PSF.gaussian(0.8, 0.2, 15),
        "frame": Frame.tangent(SkyCoord(150 * u.deg, 2 * u.deg), SHAPE, 0.2),
    }
    return Observation(**{**values, **changes})


def with_pixel(value, fill=1.0):
    array = np.full(SHAPE, fill)
    array[2, 3] = value
    return array


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"image": np.ones((6, 6))}, "an image of shape"),
        ({"ivar": np.ones((5, 5))}, "an ivar of shape"),
        ({"mask": np.zeros((5, 6), bool)}, "a mask of shape"),
        ({"image": with_pixel(np.nan)}, "not finite"),
        ({"ivar": with_pixel(-1.0)}, "negative"),
        ({"ivar": with_pixel(np.inf)}, "negative or not finite"),
        ({"ivar": np.zeros(SHAPE)}, "no pixel"),
        ({"mask": np.ones(SHAPE, bool)}, "no pixel"),
    ],
)
def test_refusals(changes, found):
    with pytest.raises(InputError, match=found) as error:
        observe(**changes)
    assert error.value.source == "r"


def test_pixels_without_information_may_hold_anything():
    bad = with_pixel(1.0, 0.0).astype(bool)
    for changes in (
        {"image": with_pixel(np.nan), "mask": bad},
        {"image": with_pixel(np.inf), "ivar": with_pixel(0.0)},
        {"ivar": with_pixel(np.nan), "mask": bad},
    ):
        observation = observe(**changes)
        assert observation.mask[2, 3]
        assert observation.ivar[2, 3] == 0
        assert observation.image[2, 3] == 0
        assert np.count_nonzero(observation.mask) == 1


def test_big_endian_arrays_become_native():
    observation = observe(image=np.ones(SHAPE, ">f4"), ivar=np.ones(SHAPE, ">f8"))
    for array in (observation.image, observation.ivar):
        assert array.dtype == np.float64
        assert array.dtype.isnative


def test_input_arrays_are_not_touched():
    image, ivar = with_pixel(np.nan), with_pixel(0.0)
    observe(image=image, ivar=ivar)
    assert np.isnan(image[2, 3])


def test_signal_to_noise_ratio():
    """A flux of 1 in each of 30 pixels of sigma 1/2 and the noise itself: 30 (4 + 1) - 30 = 30 x 4."""
    signs = np.where(np.indices(SHAPE).sum(axis=0) % 2, 0.5, -0.5)
    assert observe(image=1 + signs).snr == pytest.approx(np.sqrt(30 * 4))
    assert observe(image=np.zeros(SHAPE)).snr == 0


def test_response_rows():
    np.testing.assert_array_equal(response_row(observe(), BANDS), [1, 0, 0])
    broad = observe(band="broad", response={"lsst.r": 0.6, "lsst.i": 0.4})
    np.testing.assert_array_equal(response_row(broad, BANDS), [0.6, 0.4, 0])
    with pytest.raises(InputError, match=r"hsc\.g"):
        response_row(observe(band="hsc.g"), BANDS)
    with pytest.raises(InputError, match=r"lsst\.z"):
        response_row(observe(response={"lsst.z": 1.0}), BANDS)


def test_a_disc_is_masked_in_all_images_that_it_touches():
    here = observe()
    there = observe(name="i", frame=Frame.tangent(SkyCoord(150.001 * u.deg, 2 * u.deg), SHAPE, 0.2))
    masked = mask_disc([here, there], here.frame.to_sky(np.array([2.0, 3.0])), 0.25)
    y, x = np.indices(SHAPE)
    np.testing.assert_array_equal(masked[0].mask, np.hypot(y - 2, x - 3) * 0.2 <= 0.25)
    assert np.all(masked[0].ivar[masked[0].mask] == 0)
    assert not masked[1].mask.any()
    with pytest.raises(InputError, match="no usable pixel"):
        mask_disc([here, there], SkyCoord(151 * u.deg, 2 * u.deg), 1.0)
    with pytest.raises(InputError, match="no pixel"):
        mask_disc([here], SkyCoord(150 * u.deg, 2 * u.deg), 10.0)


def test_a_disc_is_masked_where_a_map_of_positions_puts_it():
    moved = Frame.tangent(SkyCoord(150 * u.deg, 2.001 * u.deg), SHAPE, 0.2)
    image = observe(positions=moved.positions())
    masked = mask_disc([image], moved.to_sky(np.array([2.0, 3.0])), 0.1)
    assert np.argwhere(masked[0].mask).tolist() == [[2, 3]]
