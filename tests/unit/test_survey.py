"""Survey numbers against published anchors."""

import dataclasses
import math

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


def psf_aperture(fwhm):
    """Return the diameter of the aperture whose noise a PSF-weighted sum has, for a Gaussian."""
    return 2 * fwhm * math.sqrt(2.266 / math.pi)


def test_depth_of_the_euclid_wide_survey():
    """VIS: McCracken et al. 2025. NISP: 24.5 for point sources in an unnamed aperture, Jahnke et al. 2024.

    In 2 arcsec, NISP's are those of the RMS maps of Q1 (``tests/benchmarks/depths.py``).
    """
    assert get_band("euclid.vis").depth(1.3, nsigma=10.0) == pytest.approx(25.6, abs=0.15)
    assert get_band("euclid.vis").depth(2.0) == pytest.approx(26.0, abs=0.2)
    for name, q1 in (("euclid.Y", 24.03), ("euclid.J", 24.18), ("euclid.H", 24.16)):
        band = get_band(name)
        assert band.depth(2.0) == pytest.approx(q1, abs=0.05)
        assert band.depth(2.0) < 24.5 < band.depth(psf_aperture(math.hypot(band.psf_fwhm, band.pixel_scale)))


@pytest.mark.parametrize(
    ("letter", "published"), [("u", 25.6), ("g", 26.9), ("r", 26.9), ("i", 26.4), ("z", 25.6), ("y", 24.8)]
)
def test_ten_year_point_source_depth_of_lsst(letter, published):
    """PSTN-054, median of the wide survey as simulated."""
    band = get_band(f"lsst.{letter}")
    assert band.depth(psf_aperture((band.psf_fwhm - 0.052) / 0.822)) == pytest.approx(published, abs=0.15)


@pytest.mark.parametrize(
    ("letter", "extinction", "sky", "seeing", "published"),
    [
        ("u", 0.47, 23.05, 0.92, 23.70),
        ("g", 0.21, 22.25, 0.87, 24.97),
        ("r", 0.13, 21.20, 0.83, 24.52),
        ("i", 0.10, 20.46, 0.80, 24.13),
        ("z", 0.07, 19.61, 0.78, 23.56),
        ("y", 0.17, 18.60, 0.76, 22.55),
    ],
)
def test_single_visit_of_lsst_at_zenith(letter, extinction, sky, seeing, published):
    """SMTN-002: a dark sky, 9 electrons of read noise; the source's photons are left out here."""
    airmass = {"u": 1.16, "z": 1.19, "y": 1.20}.get(letter, 1.18)
    band = get_band(f"lsst.{letter}")
    zenith = dataclasses.replace(
        band,
        zeropoint=band.zeropoint + extinction * (airmass - 1),
        sky_brightness=sky - extinction,
        n_exposures=1,
        read_noise=9.0,
    )
    assert zenith.depth(psf_aperture(seeing)) == pytest.approx(published, abs=0.05)


def test_sky_variance_by_hand():
    band = get_band("euclid.H")
    rate = 10 ** (0.4 * (25.11 - 22.3)) * 0.3**2
    electrons = 4 * (87.2 * rate + 9.8**2)
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
