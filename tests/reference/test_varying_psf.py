"""PSFs that depend on band and place, and images that are distorted, against GalSim and closed forms."""

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import Sip

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF
from synergy.varying_psf import PSFTerm, VaryingPSF

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
H, PIXEL = 0.05, 0.1
SCENE, IMAGE = Frame.tangent(CENTER, (96, 96), H), Frame.tangent(CENTER, (48, 48), PIXEL)
PARAMS = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=1e-4)
BLUE = galsim.Exponential(half_light_radius=0.3, flux=500.0, gsparams=PARAMS).shift(0.1, -0.2)
RED = galsim.Gaussian(fwhm=0.25, flux=300.0, gsparams=PARAMS).shift(-0.15, 0.05)


def draw(profile, size, scale):
    return profile.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=np.float64).array


def optics(wavelength):
    optical = galsim.OpticalPSF(lam=wavelength, diam=1.2, obscuration=0.3, oversampling=3, gsparams=PARAMS)
    return galsim.Convolve(optical, galsim.Pixel(PIXEL, gsparams=PARAMS), gsparams=PARAMS)


def observed(psf, frame=IMAGE, **fields):
    """Return an observation of nothing."""
    image, mask = np.zeros(frame.shape), np.zeros(frame.shape, bool)
    response = {"blue": 1.0, "red": 1.0}
    return Observation("image", "vis", image, np.ones(frame.shape), mask, psf, frame, response, **fields)


def predict(observation, scene, bands=("blue", "red")):
    with jax.enable_x64(True):
        likelihood = GaussianLikelihood.build([observation], SCENE, bands, jnp.float64)
        return np.asarray(jax.jit(GaussianLikelihood.forward)(likelihood, jnp.asarray(scene))[0])


def scene_of(*profiles):
    model = galsim.Gaussian(fwhm=2 * H, gsparams=PARAMS)
    return np.stack([draw(galsim.Convolve(p, model, gsparams=PARAMS), 96, H) for p in profiles])


def test_chromatic_psf_against_galsim():
    psfs = {"blue": optics(600.0), "red": optics(850.0)}
    stamps = {band: PSF(draw(psf, 401, 0.025), 0.025) for band, psf in psfs.items()}
    truth = sum(
        draw(galsim.Convolve(source, psfs[band], gsparams=PARAMS), 48, PIXEL)
        for band, source in (("blue", BLUE), ("red", RED))
    )
    found = predict(observed(VaryingPSF.chromatic(stamps)), scene_of(BLUE, RED))
    assert np.abs(found - truth).max() < 1e-4 * truth.max()
    grey = predict(observed(stamps["blue"]), scene_of(BLUE, RED))
    assert np.abs(grey - truth).max() > 0.02 * truth.max()  # what neglecting the colour of the PSF costs


def test_psf_over_the_field_against_galsim():
    """Stars on a field whose PSF goes linearly from one stamp to another: each has the PSF of its place."""
    narrow, wide = (galsim.Gaussian(fwhm=f, gsparams=PARAMS) for f in (0.3, 0.36))
    share = np.broadcast_to(np.linspace(0, 1, 48), (48, 48))
    psf = VaryingPSF.over_field(
        [PSF(draw(p, 121, 0.05), 0.05) for p in (narrow, wide)], np.stack([1 - share, share])
    )
    truth, scene = np.zeros((48, 48)), np.zeros((96, 96))
    model = galsim.Gaussian(fwhm=2 * H, gsparams=PARAMS)
    for column, row in ((12, 12), (24, 33), (36, 15)):
        # GalSim's x runs along the image's columns, and so do the scene's.
        place = (np.array([column, row]) - 23.5) * PIXEL
        local = share[row, column] * wide + (1 - share[row, column]) * narrow
        truth += draw(100 * local.shift(*place), 48, PIXEL)
        scene += draw(100 * model.shift(*place), 96, H)
    found = predict(observed(psf), np.stack([scene, 0 * scene]))
    # A map multiplies the model PSF as well: 0.04 arcsec of it, in a PSF that changes by 20 % in 5 arcsec.
    assert np.abs(found - truth).max() < 1e-3 * truth.max()
    assert psf.at((10, 0)).fwhm == pytest.approx(0.3, rel=0.01)
    assert psf.at((10, 47)).fwhm == pytest.approx(0.36, rel=0.01)
    assert 0.31 < psf.fwhm < 0.35


def test_dithered_exposures_of_one_band_have_their_own_psfs_and_grids():
    frames = [
        IMAGE,
        Frame.tangent(CENTER.spherical_offsets_by(0.033 * u.arcsec, 0.05 * u.arcsec), (47, 48), PIXEL),
    ]
    observations = [
        Observation(f"e{i}", "vis", np.zeros(f.shape), np.ones(f.shape), np.zeros(f.shape, bool), p, f)
        for i, (f, p) in enumerate(
            zip(frames, (PSF.gaussian(0.2, 0.05, 41), PSF.gaussian(0.3, 0.05, 41)), strict=True)
        )
    ]
    with jax.enable_x64(True):
        scene = jnp.asarray(scene_of(BLUE))
        joint = GaussianLikelihood.build(observations, SCENE, ("vis",), jnp.float64)
        alone = [GaussianLikelihood.build([o], SCENE, ("vis",), jnp.float64) for o in observations]
        np.testing.assert_allclose(
            joint.score(scene), sum(a.score(scene) for a in alone), rtol=1e-9, atol=1e-9
        )


def distorted_frame(quadratic):
    """Frame of 48 pixels whose x runs as ``x + quadratic (x - centre)^2``."""
    wcs = IMAGE.wcs.deepcopy()
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0] = quadratic
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    return Frame(IMAGE.shape, wcs)


def test_distorted_image_with_a_map_of_positions():
    frame, sigma = distorted_frame(2e-3), 0.25
    with pytest.raises(InputError, match=r"Frame\.positions"):
        predict(observed(PSF.gaussian(0.3, 0.05, 41), frame), np.zeros((2, 96, 96)))
    y, x = np.indices((96, 96))
    width = np.hypot(sigma, 2 * H / np.sqrt(8 * np.log(2))) / H
    where = np.array([52.3, 61.7])  # of a round Gaussian source, scene pixels
    blob = np.exp(-((y - where[0]) ** 2 + (x - where[1]) ** 2) / (2 * width**2)) / (2 * np.pi * width**2)
    observation = observed(PSF.gaussian(0.3, 0.05, 61), frame, positions=frame.positions())
    found = predict(observation, np.stack([blob, 0 * blob]))
    # Closed form: a Gaussian source through a Gaussian PSF, at the mapped position, times the pixel's area.
    # The PSF keeps the axes of the mean affine map.
    q = np.moveaxis(np.indices(IMAGE.shape), 0, -1).astype(float)
    offset = q[..., 1] - 23.5
    mapped_x = 47.5 + 2 * (offset + 2e-3 * offset**2)
    mapped_y = 47.5 + 2 * (q[..., 0] - 23.5)
    stretch = np.polyfit(q[0, :, 1], mapped_x[0], 1)[0] / 2
    # The stamp's scale refers to the frame's own, that at its centre; the mean map is a little wider.
    psf_sigma = 0.3 / np.sqrt(8 * np.log(2)) / H
    total = np.hypot(sigma / H, psf_sigma), np.hypot(sigma / H, psf_sigma * stretch)
    profile = np.exp(
        -((mapped_y - where[0]) ** 2) / (2 * total[0] ** 2) - (mapped_x - where[1]) ** 2 / (2 * total[1] ** 2)
    )
    expected = profile / (2 * np.pi * total[0] * total[1]) * 4 * (1 + 4e-3 * offset)
    inner = (slice(2, -2), slice(2, -2))  # numpy's gradient is one-sided at the edge
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3 * expected.max())
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-3)


def test_positions_of_an_affine_image_change_nothing():
    frame = Frame.tangent(CENTER, (40, 41), PIXEL, rotation=20.0)
    scene, psf = scene_of(BLUE, RED), PSF.gaussian(0.3, 0.05, 41)
    expected = predict(observed(psf, frame), scene)
    found = predict(observed(psf, frame, positions=frame.positions()), scene)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())


def test_bad_input():
    stamp = PSF.gaussian(0.3, 0.05, 41)
    with pytest.raises(InputError, match="unit sum"):
        VaryingPSF.over_field([stamp, stamp], np.ones((2, 48, 48)))
    with pytest.raises(InputError, match="one pixel scale"):
        VaryingPSF.chromatic({"blue": stamp, "red": PSF.gaussian(0.3, 0.1, 21)})
    with pytest.raises(InputError, match="not finite"):
        VaryingPSF((PSFTerm(stamp, None, np.full((48, 48), np.nan)),))
    with pytest.raises(InputError, match="at least one"):
        VaryingPSF(())
    with pytest.raises(InputError, match="no PSF for the light of red"):
        predict(observed(VaryingPSF.chromatic({"blue": stamp})), np.zeros((2, 96, 96)))
    with pytest.raises(InputError, match="PSF weights of shape"):
        observed(VaryingPSF.over_field([stamp], np.ones((1, 20, 20))))
    with pytest.raises(InputError, match="positions of shape"):
        observed(stamp, positions=np.zeros((3, 3, 2)))
