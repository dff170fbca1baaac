"""Survey numbers against published anchors."""

import math

import numpy as np
import pytest

from synergy.errors import InputError
from synergy.survey import SCENE_BANDS, available_bands, get_band


def test_vis_zero_point_ties_to_the_q1_headers():
    band = get_band("euclid.vis")
    assert 24.57 + 2.5 * math.log10(band.gain) == pytest.approx(band.zeropoint, abs=0.01)


def test_euclid_takes_four_exposures_and_nisp_integrates_87_seconds():
    assert get_band("euclid.vis").n_exposures == 4
    assert get_band("euclid.J").total_time == pytest.approx(4 * 87.2)


def test_lsst_total_is_not_multiplied_again():
    band = get_band("lsst.r")
    assert band.total_time == pytest.approx(5520.0)
    assert band.exposure_time == pytest.approx(30.0)


def test_depth_of_the_euclid_wide_survey():
    assert get_band("euclid.vis").depth(2.0) == pytest.approx(26.0, abs=0.2)
    nisp = [get_band(f"euclid.{band}").depth(2.0) for band in "YJH"]
    assert np.mean(nisp) == pytest.approx(24.5, abs=0.25)


@pytest.mark.parametrize(
    ("name", "published"), [("u", 26.1), ("g", 27.4), ("r", 27.5), ("i", 26.8), ("z", 26.1), ("y", 24.9)]
)
def test_ten_year_point_source_depth_of_lsst(name, published):
    """Ivezic et al. 2019, table 1; a PSF-weighted sum has the noise of an aperture of 2.27 FWHM^2."""
    band = get_band(f"lsst.{name}")
    aperture = 2 * band.psf_fwhm * math.sqrt(2.266 / math.pi)
    assert band.depth(aperture) == pytest.approx(published, abs=0.4)


def test_sky_variance_by_hand():
    band = get_band("euclid.H")
    rate = 10 ** (0.4 * (25.11 - 22.3)) * 0.3**2
    electrons = 4 * (87.2 * rate + 6.1**2)
    per_electron = 10 ** (0.4 * (31.4 - 25.11)) / (4 * 87.2)
    assert band.sky_variance() == pytest.approx(electrons * per_electron**2)


def test_every_band_of_the_default_scene_is_known():
    assert set(SCENE_BANDS) <= set(available_bands())
    for name in available_bands():
        band = get_band(name)
        assert 0 < band.sky_variance() < 1e6
        assert 18 < band.depth(2.0) < 30


def test_unknown_band():
    with pytest.raises(InputError, match=r"lsst\.w"):
        get_band("lsst.w")
