"""Schedules, the network, the stationary covariance and the files of a prior."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import without_zeros

from synergy.errors import InputError
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.diffusion import DiffusionPrior, load_prior
from synergy.priors.gaussian import GaussianDenoiser
from synergy.priors.network import UNetConfig
from synergy.priors.objective import Amplitudes, normalise
from synergy.priors.preconditioning import precondition
from synergy.priors.scale import scene_scale, smooth
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.unet import make_unet

TINY = UNetConfig(bands=3, widths=(8, 12, 16), blocks=1, embedding=16)


def _random_params(config: UNetConfig):
    return without_zeros(make_unet(config)[0](jax.random.key(0)))


def _covariance() -> SpectralCovariance:
    frequency = np.geomspace(0.01, 0.7, 12)
    power = np.stack([4.0 / (1 + (frequency / 0.05) ** 2), 1.0 / (1 + (frequency / 0.1) ** 2)])
    basis = np.array([[0.8, -0.6], [0.6, 0.8]])
    return SpectralCovariance(
        *(jnp.asarray(a, jnp.float32) for a in (basis, np.log(frequency), np.log(power)))
    )


def test_grid_is_karras_power_law():
    schedule = NoiseSchedule(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    grid = schedule.grid(5)
    # Karras et al. (2022), eq. 5, evaluated by hand for N = 5, i = 2.
    middle = (80 ** (1 / 7) + 0.5 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert grid[0] == pytest.approx(80.0)
    assert grid[2] == pytest.approx(middle)
    assert grid[4] == pytest.approx(0.002)
    assert grid[5] == 0.0
    with pytest.raises(ValueError, match="at least 2 steps"):
        schedule.grid(1)


def test_training_sigmas_follow_the_mixture():
    schedule = NoiseSchedule(log_mean=-1.0, log_std=1.0, uniform_fraction=0.25)
    keys = jax.random.split(jax.random.key(0), 500)
    log_sigma = np.log(jax.vmap(lambda k: schedule.draw(k, 64))(keys)).ravel()
    low, high = np.log(schedule.sigma_min), np.log(schedule.sigma_max)
    expected = 0.75 * -1.0 + 0.25 * 0.5 * (low + high)
    assert log_sigma.mean() == pytest.approx(expected, abs=0.05)
    # Below three standard deviations of the normal part only the uniform part draws.
    below = 0.25 * (-4.0 - low) / (high - low) + 0.75 * 0.00135
    assert np.mean(log_sigma < -4.0) == pytest.approx(below, abs=0.006)
    assert log_sigma.min() >= low - 1e-5


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (64, 24), (13, 26)])
def test_network_runs_on_any_size(shape):
    assert TINY.multiple == 8
    _, apply = make_unet(TINY)
    noisy = jax.random.normal(jax.random.key(2), (2, 3, *shape))
    mean = apply(_random_params(TINY), noisy, jnp.array([0.1, 3.0]))
    assert mean.shape == noisy.shape
    assert bool(jnp.all(jnp.isfinite(mean)))


def test_network_is_local_and_shift_equivariant():
    """What lies beyond the receptive field, and the size of the image, change nothing."""
    _, apply = make_unet(TINY)
    params = _random_params(TINY)
    sigma = jnp.array([0.5])
    large = jax.random.normal(jax.random.key(3), (1, 3, 256, 256))
    brighter = large.at[:, :, :16].mul(1e3)
    centre = (slice(None), slice(None), slice(192, 224), slice(112, 144))
    reference = apply(params, large, sigma)
    np.testing.assert_allclose(apply(params, brighter, sigma)[centre], reference[centre], atol=1e-4)
    cropped = apply(params, large[:, :, 72:, 8:248], sigma)
    np.testing.assert_allclose(cropped[:, :, 120:152, 104:136], reference[centre], atol=1e-4)


def _untrained(noisy, sigma):
    """Return the output of a network with a zeroed head: the skip alone."""
    config = dataclasses.replace(TINY, data_std=0.7)
    init, apply = make_unet(config)
    return np.asarray(apply(init(jax.random.key(0)), noisy, jnp.atleast_1d(jnp.float32(sigma))))


def test_untrained_network_is_the_wiener_filter_of_white_noise():
    """Where no pixel stands out of the noise, s^2/(s^2 + sigma^2) is left."""
    noisy = jax.random.uniform(jax.random.key(4), (1, 3, 16, 16), minval=-11.0, maxval=11.0)
    np.testing.assert_allclose(_untrained(noisy, 2.0), noisy * 0.49 / (0.49 + 4.0), rtol=1e-5)


def test_untrained_network_leaves_bright_pixels_alone():
    """A nucleus of 300 s, known to a ten thousandth of itself: EDM's skip alone would cost many sigmas."""
    noisy = jnp.full((1, 3, 16, 16), 0.05, jnp.float32).at[:, :, 5, 7].set(210.0)
    error = (_untrained(noisy, 0.02) - np.asarray(noisy)) / 0.02
    assert np.abs(error[:, :, 5, 7]).max() < 0.01
    assert 210.0 * 0.02 / (0.49 + 0.0004) > 5  # sigmas lost without


def test_preconditioning_follows_bright_pixels_as_far_as_noise_allows():
    noisy, std = jnp.linspace(-300.0, 300.0, 60001, dtype=jnp.float32), 0.7
    for sigma in (0.002, 0.07, 0.7, 7.0):
        pixel = precondition(noisy, jnp.float32(sigma), std)
        faint = np.abs(np.asarray(noisy)) <= 6 * sigma
        plain = {"skip": std**2, "out": sigma * std, "scale_in": 1.0}
        for name, numerator in plain.items():
            power = 1.0 if name == "skip" else 0.5
            expected = numerator / (std**2 + sigma**2) ** power
            np.testing.assert_allclose(np.asarray(getattr(pixel, name))[faint], expected, rtol=1e-5)
        excess = 300.0 - 6 * sigma
        near, wide = (std**2 / (std**2 + level**2) for level in (10 * sigma, sigma))
        size = np.hypot(std, near * excess)
        effective = np.hypot(size, wide * (excess - 30 * std))
        assert pixel.skip[-1] == pytest.approx(effective**2 / (effective**2 + sigma**2), rel=1e-5)
        outer = size + wide**2 * (effective - size)
        assert pixel.out[-1] == pytest.approx(sigma * outer / np.hypot(effective, sigma), rel=1e-5)
        for odd, steepest in ((noisy * pixel.scale_in, 5.0), (pixel.seen, 1.01)):
            odd = np.asarray(odd)
            np.testing.assert_allclose(odd, -odd[::-1], atol=1e-4)
            assert np.abs(np.diff(odd)).max() < steepest * 0.01 / std


def test_networks_see_noise_on_galaxies_and_bounded_stars():
    """At the noise of a good image, a galaxy ten s bright: its noise is not lost beside its light."""
    std, sigma = 0.5, 0.2
    pixels = jnp.array([5.0, 5.0 + sigma, 5000.0], jnp.float32)
    seen = np.asarray(precondition(pixels, jnp.float32(sigma), std).seen)
    assert seen[1] - seen[0] > 0.7 * sigma / np.hypot(sigma, std)
    assert seen[2] < 0.05 * 5000.0 / np.hypot(sigma, std)


def test_preconditioning_asks_less_of_the_network_than_edm():
    """Where a star is to come out as bright as it went in, the gate has to be (1 - c_skip)/(c_in c_out)."""
    std, star = 0.5, 500.0
    for sigma in np.geomspace(1e-3, 40.0, 30):
        pixel = precondition(jnp.float32(star), jnp.float32(sigma), std)
        wanted = (1.0 - float(pixel.skip)) / float(pixel.scale_in * pixel.out)
        assert wanted < 1.001 * sigma / std
        assert wanted < 0.02 or sigma > std


def test_covariance_apply_equals_dense_matrix():
    covariance = _covariance()
    shape = (2, 8, 6)
    size = int(np.prod(shape))
    basis = jnp.eye(size, dtype=jnp.float32).reshape(size, *shape)
    dense = np.asarray(covariance.apply(basis)).reshape(size, size)
    np.testing.assert_allclose(dense, dense.T, atol=1e-5)
    inverse = np.asarray(covariance.apply(basis, lambda p: 1.0 / p)).reshape(size, size)
    np.testing.assert_allclose(dense @ inverse, np.eye(size), atol=2e-4)
    sigma = jnp.float32(0.8)
    denoised = GaussianDenoiser(covariance)(basis, sigma)
    expected = dense @ np.linalg.inv(dense + 0.64 * np.eye(size))
    np.testing.assert_allclose(np.asarray(denoised).reshape(size, size).T, expected, atol=1e-4)


def test_widened_covariance_is_wider_mode_by_mode():
    covariance = _covariance()
    spectra = np.asarray(covariance.spectra(16, 16))
    for factor in (3.0, np.array([100.0, 10.0])):
        wider = np.asarray(covariance.widened(factor).spectra(16, 16))
        np.testing.assert_allclose(wider, spectra * np.reshape(factor, (-1, 1, 1)), rtol=1e-5)


def test_covariance_draws_and_fit_recover_the_spectra():
    covariance = _covariance()
    scenes = np.asarray(covariance.draw(jax.random.key(5), (400, 2, 64, 64)))
    fitted = SpectralCovariance.fit(scenes)
    overlap = np.abs(np.asarray(fitted.basis).T @ np.asarray(covariance.basis))
    np.testing.assert_allclose(overlap, np.eye(2), atol=0.05)
    middle = slice(4, 28)
    ratio = np.asarray(fitted.spectra(64, 64) / covariance.spectra(64, 64))[:, middle, middle]
    assert np.abs(np.median(ratio) - 1.0) < 0.05


def test_scale_is_the_peak_at_ground_resolution():
    """A Gaussian source of known width: convolution adds variances, so the peak is known."""
    y, x = np.mgrid[:96, :96]
    sigma, flux, pixel_scale = 4.0, 1000.0, 0.05
    blob = flux * np.exp(-0.5 * ((y - 40) ** 2 + (x - 50) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    expected = flux / (2 * np.pi * (sigma**2 + (0.3 / pixel_scale) ** 2))
    assert float(smooth(jnp.asarray(blob, jnp.float32), pixel_scale).max()) == pytest.approx(
        expected, rel=1e-3
    )
    bands = jnp.asarray([0.5, 2.0], jnp.float32)
    scene = jnp.asarray(blob, jnp.float32) * bands[:, None, None]
    assert float(scene_scale(scene, bands, pixel_scale)) == pytest.approx(expected, rel=1e-3)
    # Twice the sky holds the same scale.
    wide = jnp.pad(scene, ((0, 0), (0, 96), (0, 0)))
    assert float(scene_scale(wide, bands, pixel_scale)) == pytest.approx(expected, rel=1e-3)


def test_normalised_scenes_have_jittered_unit_scale():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    blob = np.exp(-0.5 * ((y - 24) ** 2 + (x - 24) ** 2) / 9.0)
    bands = jnp.asarray([0.5, 1.0, 1.5], jnp.float32)
    flux = 10 ** rng.uniform(0, 4, 64)
    scenes = jnp.asarray(flux[:, None, None, None] * blob, jnp.float32) * bands[:, None, None]
    amplitudes = Amplitudes(floor=1e-3, jitter=2.0, faint_fraction=0.0)
    u = normalise(jax.random.key(0), scenes, bands, 0.05, amplitudes)
    scale = np.asarray(scene_scale(u, jnp.ones(3), 0.05))
    assert scale.min() > 0.49
    assert scale.max() < 2.01
    assert abs(np.corrcoef(np.log(flux), np.log(scale))[0, 1]) < 0.3
    empty = normalise(jax.random.key(0), 1e-9 * scenes, bands, 0.05, amplitudes)
    assert float(jnp.max(empty)) < 1e-1


def _prior() -> DiffusionPrior:
    config = dataclasses.replace(TINY, bands=2)
    return DiffusionPrior(
        params=_random_params(config),
        band_scale=jnp.array([0.5, 1.5]),
        covariance=_covariance(),
        network=config,
        schedule=NoiseSchedule(),
        bands=("a", "b"),
        pixel_scale=0.05,
        scale_floor=0.1,
        id="tiny",
    )


def test_prior_survives_the_disk(tmp_path):
    prior = _prior()
    prior.save(tmp_path / "p", {"note": "a test"})
    loaded = load_prior(tmp_path / "p")
    noisy = jax.random.normal(jax.random.key(0), (2, 2, 16, 16))
    # Weights are stored in half precision.
    np.testing.assert_allclose(loaded(noisy, jnp.float32(0.3)), prior(noisy, jnp.float32(0.3)), atol=1e-2)
    again = load_prior(tmp_path / "p")
    np.testing.assert_array_equal(loaded(noisy, jnp.float32(0.3)), again(noisy, jnp.float32(0.3)))
    assert (loaded.bands, loaded.pixel_scale, loaded.schedule) == (
        prior.bands,
        prior.pixel_scale,
        prior.schedule,
    )
    assert not list((tmp_path / "p").glob(".*"))
    for precision in ("float32", "bfloat16"):
        assert load_prior(tmp_path / "p", precision).network.precision == precision


def test_damaged_or_missing_priors_are_refused(tmp_path):
    _prior().save(tmp_path / "p", {})
    path = tmp_path / "p" / "prior.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        load_prior(tmp_path / "p")
    card = json.loads((tmp_path / "p" / "prior.json").read_text())
    (tmp_path / "p" / "prior.json").write_text(json.dumps(card | {"format": "other"}))
    with pytest.raises(InputError, match="format 'other'"):
        load_prior(tmp_path / "p")
    with pytest.raises(InputError, match="neither a directory"):
        load_prior("no-such-prior")
