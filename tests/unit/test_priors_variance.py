"""Variances that denoisers state of their errors, and their correction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.diffusion import DiffusionPrior, load_prior
from synergy.priors.network import UNetConfig
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.unet import make_unet, make_unet_with_variance
from synergy.priors.variance import VarianceCorrection, mean_ratios


def _errors(sigma: float, key: int):
    """Errors whose variances differ by mode and place from those stated, e^-1."""
    factor = np.random.default_rng(int(1000 * sigma)).uniform(0.2, 5.0, (3, 2, 2)).astype(np.float32)
    std = jnp.sqrt(jnp.exp(-1.0) * jnp.tile(factor, (1, 20, 24)))
    return factor, std * jax.random.normal(jax.random.key(key), (8, 3, 40, 48))


def test_correction_makes_stated_variances_right_at_every_mode_and_place():
    sigmas, stated = (0.1, 1.0), jnp.full((8, 3, 40, 48), -1.0)
    factors, errors = zip(*(_errors(sigma, 0) for sigma in sigmas), strict=True)
    ratios = np.stack([mean_ratios(error, stated, 2) for error in errors])
    np.testing.assert_allclose(ratios, factors, rtol=0.15)  # of 3840 squares: 2.3 % each
    correction = VarianceCorrection.measured(np.asarray(sigmas), ratios)
    for sigma in sigmas:
        _, others = _errors(sigma, 1)
        variance = correction.apply(stated, jnp.float32(sigma))
        again = mean_ratios(others, jnp.log(variance), 2)
        np.testing.assert_allclose(again, 1.0, atol=0.15)
    between = correction.apply(stated, jnp.float32(np.sqrt(0.1)))[0, :, :2, :2]
    np.testing.assert_allclose(between, np.exp(-1.0) * np.sqrt(ratios[0] * ratios[1]), rtol=1e-4)
    beyond = correction.apply(stated, jnp.float32(50.0))[0, :, :2, :2]
    np.testing.assert_allclose(beyond, np.exp(-1.0) * ratios[1], rtol=1e-4)


def test_prior_keeps_its_correction_on_disk(tmp_path):
    network = UNetConfig(bands=3, widths=(8, 12), blocks=1, embedding=8, variance=True)
    ratios = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 2, 2))
    flat = SpectralCovariance(jnp.eye(3), jnp.log(jnp.array([0.1, 0.5])), jnp.zeros((3, 2)))
    prior = DiffusionPrior(
        params=make_unet(network)[0](jax.random.key(0)),
        band_scale=jnp.ones(3),
        covariance=flat,
        network=network,
        schedule=NoiseSchedule(),
        bands=("a", "b", "c"),
        pixel_scale=0.05,
        scale_floor=0.05,
        id="test",
        correction=VarianceCorrection.measured(np.array([0.1, 1.0]), ratios),
    )
    noisy, sigma = jax.random.normal(jax.random.key(1), (1, 3, 16, 16)), jnp.float32(1.0)
    mean, variance = prior.with_variance(noisy, sigma)
    np.testing.assert_allclose(mean, prior(noisy, sigma), atol=1e-6)
    stated = make_unet_with_variance(network)[1](prior.params, noisy, sigma[None])[1]
    np.testing.assert_allclose(
        variance, jnp.exp(stated) * np.tile(ratios[1], (1, 8, 8)).astype(np.float32), rtol=1e-4
    )
    prior.save(tmp_path / "p", {})
    loaded = load_prior(tmp_path / "p")
    np.testing.assert_allclose(loaded.with_variance(noisy, sigma)[1], variance, rtol=1e-2)
    with pytest.raises(InputError, match="multiples of the block"):
        loaded.with_variance(noisy[..., :15], sigma)
    with pytest.raises(InputError, match="trained with `variance: true`"):
        dataclasses.replace(prior, correction=None).with_variance(noisy, sigma)
