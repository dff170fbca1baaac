"""The flux scale, estimated from mock images of known sources."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.diffusion import DiffusionPrior
from synergy.priors.network import UNetConfig
from synergy.priors.scale import scene_scale
from synergy.priors.schedule import NoiseSchedule
from synergy.psf import PSF
from synergy.sampling.amplitude import estimate_scale
from synergy.sampling.circulant import circulant_normal

SIDE, PIXEL = 64, 0.05
BANDS = ("lsst.r", "euclid.vis")
BAND_SCALE = np.array([0.8, 1.2], np.float32)


def _blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    out = np.zeros((count, 2, SIDE, SIDE), np.float32)
    for scene in out:
        centre, width, ratio = rng.uniform(16, 48, 2), rng.uniform(2.0, 8.0), rng.uniform(0.4, 1.0)
        blob = np.exp(-0.5 * (((y - centre[0]) / ratio) ** 2 + (x - centre[1]) ** 2) / width**2)
        scene += blob * BAND_SCALE[:, None, None]
        scene /= float(scene_scale(jnp.asarray(scene), jnp.asarray(BAND_SCALE), PIXEL))
    return out


@pytest.fixture(scope="module")
def prior() -> DiffusionPrior:
    scenes = _blobs(np.random.default_rng(1), 64) / BAND_SCALE[:, None, None]
    return DiffusionPrior(
        params={},
        band_scale=jnp.asarray(BAND_SCALE),
        covariance=SpectralCovariance.fit(scenes),
        network=UNetConfig(bands=2),
        schedule=NoiseSchedule(),
        bands=BANDS,
        pixel_scale=PIXEL,
        scale_floor=1e-3,
        id="blobs",
    )


def _observe(
    scene: np.ndarray, rms: float, sky: float, seed: int
) -> tuple[list[Observation], GaussianLikelihood]:
    """Observe a scene in r (0.2 arcsec pixels) and VIS (0.1) with noise `rms` per scene pixel."""
    centre = SkyCoord(10.0, -5.0, unit="deg")
    frame = Frame.tangent(centre, (SIDE, SIDE), PIXEL)
    observations = []
    for name, pixel_scale, fwhm in (("lsst.r", 0.2, 0.8), ("euclid.vis", 0.1, 0.18)):
        side = round(SIDE * PIXEL / pixel_scale)
        noise = rms * pixel_scale / PIXEL
        mask = np.random.default_rng(seed).random((side, side)) < 0.03
        observations.append(
            Observation(
                name,
                name,
                np.zeros((side, side)),
                np.full((side, side), noise**-2),
                mask,
                PSF.gaussian(fwhm, PIXEL, 81),
                Frame.tangent(centre, (side, side), pixel_scale),
            )
        )
    likelihood = GaussianLikelihood.build(observations, frame, BANDS)
    noisy = []
    for i, (o, image) in enumerate(zip(observations, likelihood.forward(jnp.asarray(scene)), strict=True)):
        drawn = likelihood.noises[i].draw(jax.random.key(seed + i))
        noisy.append(
            dataclasses.replace(
                o, image=np.asarray(image + drawn, np.float64) + sky * (o.frame.pixel_scale / PIXEL) ** 2
            )
        )
    return noisy, GaussianLikelihood.build(noisy, frame, BANDS).rescaled(jnp.asarray(BAND_SCALE))


def _estimate(
    observations: list[Observation], likelihood: GaussianLikelihood, prior: DiffusionPrior
) -> float:
    return estimate_scale(observations, likelihood, circulant_normal(likelihood), prior)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("snr", [3.0, 30.0, 1000.0])
@pytest.mark.parametrize("flux", [0.3, 3000.0])
def test_scale_is_right_within_the_training_jitter(prior, seed, snr, flux):
    """From S/N 3 to 1000 (VIS, matched filter) and over four decades of brightness."""
    scene = flux * _blobs(np.random.default_rng(10 + seed), 1)[0]
    rms = np.sqrt(np.sum(scene[1] ** 2)) / snr
    observations, likelihood = _observe(scene, rms, 0.0, seed)
    true = float(scene_scale(jnp.asarray(scene), jnp.asarray(BAND_SCALE), PIXEL))
    estimate = _estimate(observations, likelihood, prior)
    assert 0.5 < estimate / true < (2.0 if snr > 3.0 else 4.0)


def test_negative_sky_leaves_a_positive_scale_of_the_order_of_the_noise(prior):
    observations, likelihood = _observe(np.zeros((2, SIDE, SIDE), np.float32), 0.1, -0.05, 5)
    estimate = _estimate(observations, likelihood, prior)
    assert prior.scale_floor < estimate < 0.1
