"""Effective transfer functions against the closed form of one image in one band."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.plot_transfer import plot_transfer
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.diffusion import load_prior
from synergy.psf import MODEL_FWHM, PSF
from synergy.sampling.transfer import JOINT, effective_transfer

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
FRAME = Frame.tangent(CENTER, (128, 128), 0.05)
BANDS = ("lsst.g", "euclid.vis")


@pytest.fixture(scope="module")
def prior():
    """Two independent bands of the shipped prior, with white spectra of variance 4 and 9."""
    flat = SpectralCovariance(
        jnp.eye(2), jnp.log(jnp.array([0.01, 0.5])), jnp.log(jnp.array([[4.0, 4.0], [9.0, 9.0]]))
    )
    return dataclasses.replace(load_prior(), bands=BANDS, covariance=flat, band_scale=jnp.ones(2))


def observe(band, fwhm, sigma):
    shape = FRAME.shape
    psf = PSF.gaussian(fwhm, 0.05, 81)
    return Observation(
        band, band, np.zeros(shape), np.full(shape, sigma**-2.0), np.zeros(shape, bool), psf, FRAME
    )


def test_closed_form(prior, tmp_path):
    """An image on the scene's own grid: t = P |T|^2 / (P |T|^2 + N), T the ratio of two Gaussians."""
    sharp, blurred = observe("euclid.vis", 0.2, 0.5), observe("lsst.g", 0.7, 0.1)
    transfer = effective_transfer([sharp, blurred], prior, FRAME, 2.0)
    assert set(transfer.curves) == {"VIS", "LSST", JOINT}
    assert transfer.frequency[0] == 0
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.rfftfreq(128), indexing="ij")) / 0.05
    for name, band, fwhm, sigma, variance in (("VIS", 1, 0.2, 0.5, 9.0), ("LSST", 0, 0.7, 0.1, 4.0)):
        width2 = (fwhm**2 - (MODEL_FWHM * 0.05) ** 2) / (8 * np.log(2))
        optical = np.exp(-2 * np.pi**2 * width2 * radius**2)
        power = variance * (2.0 * optical) ** 2
        # Averaged over rings of the half-plane, as wide as the frame resolves.
        ring = np.round(radius * 6.4).astype(int)
        expected = np.bincount(ring.ravel(), (power / (power + sigma**2)).ravel()) / np.bincount(ring.ravel())
        expected = expected[: len(transfer.frequency)]
        np.testing.assert_allclose(transfer.curves[name][band], expected, atol=0.01)
        np.testing.assert_allclose(transfer.curves[name][1 - band], 0.0, atol=1e-6)
        np.testing.assert_allclose(transfer.curves[JOINT][band], transfer.curves[name][band], atol=1e-6)
    plot_transfer(transfer, tmp_path / "transfer.png")
    assert (tmp_path / "transfer.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="ending"):
        plot_transfer(transfer, tmp_path / "transfer.txt")


def test_more_images_never_say_less(prior):
    observations = [observe("euclid.vis", 0.2, 0.5), observe("lsst.g", 0.7, 0.1)]
    observations[1] = dataclasses.replace(observations[1], response={"lsst.g": 0.5, "euclid.vis": 0.5})
    curves = effective_transfer(observations, prior, FRAME, 1.0).curves
    for name in ("VIS", "LSST"):
        assert np.all(curves[JOINT] >= curves[name] - 1e-6)
    assert np.all(curves["LSST"][:, 1] > 0.1)
