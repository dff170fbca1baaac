"""Manifests: every kind of entry against arrays that are known."""

import galsim
import numpy as np
import pytest
import yaml
from astropy.io import fits

from synergy.errors import InputError
from synergy.io.read import read_observations
from synergy.psf import PSF

SIZE = 64
SCALE = 0.168


def header(**cards):
    wcs = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": 32.5,
        "CRPIX2": 32.5,
        "CDELT1": -SCALE / 3600,
        "CDELT2": SCALE / 3600,
    }
    return fits.Header(wcs | cards)


@pytest.fixture
def field(tmp_path):
    """Write a cube of two planes, its noise maps, a mask and a cube of PSFs; return the cube."""
    rng = np.random.default_rng(0)
    rms = rng.uniform(1.0, 2.0, (SIZE, SIZE))
    cube = np.array([1.0, 3.0])[:, None, None] + rms * rng.normal(size=(2, SIZE, SIZE))
    mask = np.zeros((SIZE, SIZE), np.int32)
    mask[0, 0], mask[1, 1], mask[2, 2] = 1, 2, 8
    psfs = np.stack([PSF.gaussian(f, SCALE, 21).image for f in (0.6, 0.8)])
    fits.writeto(tmp_path / "cube.fits", cube, header())
    fits.writeto(tmp_path / "psf.fits", psfs)
    planes = [rms, rms**2, rms**-2]
    extensions = [fits.ImageHDU(p, name=n) for p, n in zip(planes, ("RMS", "VAR", "IVAR"), strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *extensions, fits.ImageHDU(mask, name="MASK")]).writeto(
        tmp_path / "maps.fits"
    )
    return cube, rms


def entry(**changes):
    base = {
        "band": "hsc.i",
        "image": {"file": "cube.fits", "plane": 1},
        "noise": {"rms": {"file": "maps.fits", "hdu": "RMS"}},
        "psf": {"file": "psf.fits", "plane": 1},
        "zeropoint": 27.0,
    }
    return {key: value for key, value in (base | changes).items() if value is not None}


def read(folder, *entries, **top):
    (folder / "field.yaml").write_text(yaml.safe_dump({"images": list(entries), **top}))
    return read_observations(folder / "field.yaml")


def test_planes_noise_maps_and_zero_point(tmp_path, field):
    cube, rms = field
    maps = [
        {"rms": {"file": "maps.fits", "hdu": "RMS"}},
        {"variance": {"file": "maps.fits", "hdu": 2}},
        {"ivar": {"file": "maps.fits", "hdu": "IVAR"}},
    ]
    unit = 10 ** (0.4 * 4.4)
    for number, noise in enumerate(maps):
        (observation,) = read(tmp_path, entry(noise=noise, name=f"i{number}"))
        np.testing.assert_allclose(observation.image, cube[1] * unit)
        stated = observation.ivar * observation.meta["variance_inflation"]
        np.testing.assert_allclose(stated, (rms * unit) ** -2)
        assert observation.psf.fwhm == pytest.approx(0.8, rel=0.02)
        assert observation.name == f"i{number}"


def test_mask_bits_and_any_value(tmp_path, field):
    mask = {"file": "maps.fits", "hdu": "MASK"}
    (some,) = read(tmp_path, entry(mask=mask | {"bits": [0, 3]}))
    (every,) = read(tmp_path, entry(mask=mask))
    assert [tuple(p) for p in np.argwhere(some.mask)] == [(0, 0), (2, 2)]
    assert [tuple(p) for p in np.argwhere(every.mask)] == [(0, 0), (1, 1), (2, 2)]


def test_zero_point_from_the_header(tmp_path, field):
    cube, _ = field
    fits.writeto(tmp_path / "one.fits", cube[0], header(PHOTZP=25.0))
    (observation,) = read(tmp_path, entry(image="one.fits", zeropoint="PHOTZP"))
    np.testing.assert_allclose(observation.image, cube[0] * 10 ** (0.4 * 6.4))


def test_noise_is_estimated_only_when_asked(tmp_path, field):
    rng = np.random.default_rng(1)
    fits.writeto(tmp_path / "white.fits", rng.normal(0, 2.0, (SIZE, SIZE)), header())
    (observation,) = read(tmp_path, entry(image="white.fits", noise="estimate", calibration_error=0.1))
    unit = 10 ** (0.4 * 4.4)
    assert 1 / observation.ivar[0, 0] == pytest.approx((2.0 * unit) ** 2, rel=0.15)
    assert observation.response_error == 0.1
    with pytest.raises(InputError, match="noise"):
        read(tmp_path, entry(noise=None))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"zeropont": 27}, "unknown key 'images.0.zeropont'"),
        ({"zeropoint": None}, "no key 'images.0.zeropoint'"),
        ({"noise": {"rms": "a.fits", "ivar": "b.fits"}}, "exactly one"),
        ({"gain": 2.0}, "gain goes with"),
        ({"image": {"file": "cube.fits"}}, "plane"),
        ({"image": {"file": "cube.fits", "plane": 2}}, r"shape \(2, 64, 64\)"),
        ({"image": {"file": "cube.fits", "plane": 0, "hdu": 3}}, "no such HDU"),
        ({"zeropoint": "MAGZERO"}, "MAGZERO"),
        ({"noise": {"rms": {"file": "psf.fits", "plane": 0}}}, r"shape \(21, 21\)"),
        ({"mask": {"file": "none.fits"}}, "no such file"),
    ],
)
def test_mistakes_are_named(tmp_path, field, change, complaint):
    changed = entry(**change)
    with pytest.raises(InputError, match=complaint):
        read(tmp_path, changed)


@pytest.fixture
def correlations(tmp_path):
    """Write an autocorrelation and spoiled ones, and a variance."""
    good = np.exp(-np.hypot(*(np.indices((5, 5)) - 2)))
    lopsided = good.copy()
    lopsided[0, 0] += 0.1
    wrong = {
        "EVEN": good[1:],
        "SCALED": 2 * good,
        "LOPSIDED": lopsided,
        "NAN": np.where(good < 1, good, np.nan),
    }
    planes = {"GOOD": good} | wrong | {"V": np.full((SIZE, SIZE), 0.25), "HUGE": np.full((SIZE, SIZE), 9.0)}
    hdus = [fits.ImageHDU(array, name=name) for name, array in planes.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "c.fits")
    return good


def test_a_given_correlation_is_taken_at_its_word(tmp_path, field, correlations):
    _, rms = field
    unit = 10 ** (0.4 * 4.4)
    given = {"correlation": {"file": "c.fits", "hdu": "GOOD"}, "independent": {"file": "c.fits", "hdu": "V"}}
    (observation,) = read(tmp_path, entry(correlated=given))
    np.testing.assert_allclose(observation.correlation, correlations)
    np.testing.assert_allclose(observation.independent, 0.25 * unit**2)
    np.testing.assert_allclose(observation.ivar, (rms * unit) ** -2)
    (part,) = read_observations(tmp_path / "field.yaml", size=4.0)
    assert part.independent.shape == part.frame.shape == (24, 24)
    (whole,) = read(tmp_path, entry(correlated={"correlation": given["correlation"]}))
    assert whole.independent is None


@pytest.mark.parametrize(
    ("correlation", "independent", "complaint"),
    [
        ("EVEN", None, r"c\.fits\[EVEN\].*\(4, 5\).*odd sides"),
        ("SCALED", None, r"c\.fits\[SCALED\].*not 1 at zero separation"),
        ("LOPSIDED", None, "opposite separations"),
        ("NAN", None, "not finite"),
        ("ABSENT", None, "no such HDU"),
        ("GOOD", "GOOD", r"c\.fits\[GOOD\].*shape \(5, 5\)"),
        ("GOOD", "HUGE", "above the total"),
    ],
)
def test_wrong_correlations_are_named(tmp_path, field, correlations, correlation, independent, complaint):
    given = {"correlation": {"file": "c.fits", "hdu": correlation}}
    given |= {} if independent is None else {"independent": {"file": "c.fits", "hdu": independent}}
    with pytest.raises(InputError, match=f"(?s){complaint}"):
        read(tmp_path, entry(correlated=given))
    with pytest.raises(InputError, match="goes with a noise map"):
        read(tmp_path, entry(correlated=given, noise="estimate"))


def test_undersampled_stamps_are_recovered_or_mentioned(tmp_path, field):
    profile = galsim.Convolve(galsim.Airy(lam=725, diam=1.2, obscuration=0.33), galsim.Gaussian(sigma=0.045))
    stamp = profile.drawImage(nx=17, ny=17, scale=0.1).array
    fits.writeto(tmp_path / "vis.fits", stamp.astype(float))
    psf = {"file": "vis.fits", "pixel_scale": 0.1, "plane": None}
    (asis,) = read(tmp_path, entry(psf=psf))
    assert any("undersampled" in note and "% of the peak" in note for note in asis.meta["notes"])
    assert asis.response_error == 0
    (recovered,) = read(tmp_path, entry(psf=psf | {"recover": "euclid.vis"}, calibration_error=0.03))
    assert not any("undersampled" in note for note in recovered.meta["notes"])
    assert any("recovered" in note and "euclid.vis" in note for note in recovered.meta["notes"])
    assert 0.03 < recovered.response_error < 0.035
    assert recovered.psf.pixel_scale == pytest.approx(0.025)
    with pytest.raises(InputError, match="no model of its PSF"):
        read(tmp_path, entry(psf=psf | {"recover": "hst.F814W"}))


def test_root_is_relative_to_the_manifest(tmp_path, field):
    (tmp_path / "sub").mkdir()
    assert len(read(tmp_path / "sub", entry(), root="..")) == 1


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["hst_hsc.yaml", "hst_hsc_pdr3.yaml"])
def test_example_manifests_are_consistent(shared_data, tmp_path, pytestconfig, name):
    config = yaml.safe_load((pytestconfig.rootpath / "configs" / "reconstruct" / name).read_text())
    folder = "hst_hsc_cosmos" if name == "hst_hsc.yaml" else "."
    config["root"] = str(shared_data / folder)
    (tmp_path / name).write_text(yaml.safe_dump(config))
    by_band = {o.band: o for o in read_observations(tmp_path / name, size=6.0)}
    assert {o.frame.pixel_scale.__round__(3) for o in by_band.values()} == {0.03, 0.168}
    # F814W covers i and the blue part of z; the galaxies are red.
    assert 0.85 < by_band["hsc.i"].image.sum() / by_band["hst.F814W"].image.sum() < 1.1
    assert by_band["hsc.r"].image.sum() < by_band["hsc.i"].image.sum()


def test_distorted_image(tmp_path, field):
    cube, _ = field
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-3}
    fits.writeto(tmp_path / "sip.fits", cube, header(**sip))
    (plain,) = read(tmp_path, entry(image={"file": "sip.fits", "plane": 1}))
    assert plain.positions is None
    (mapped,) = read(tmp_path, entry(image={"file": "sip.fits", "plane": 1}, distorted=True))
    expected = mapped.frame.to_sky(np.array([[5.0, 60.0]])).icrs
    np.testing.assert_allclose(mapped.positions[5, 60], [expected.ra.deg[0], expected.dec.deg[0]], rtol=1e-12)
    (part,) = read_observations(tmp_path / "field.yaml", size=4.0)
    start = np.round(mapped.frame.to_pixels(part.frame.to_sky(np.array([[0.0, 0.0]])))[0]).astype(int)
    inner = mapped.positions[start[0] :, start[1] :][: part.frame.shape[0], : part.frame.shape[1]]
    np.testing.assert_allclose(part.positions, inner, rtol=0, atol=1e-9)
