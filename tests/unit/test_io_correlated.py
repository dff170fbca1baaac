"""Blank-sky noise: against noise whose covariance is known in closed form."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synergy.errors import InputError
from synergy.io.correlated import blank_sky, measure_blank_sky
from synergy.io.noise import allow_for_correlation, measured, noise_from_sky

SIZE = 400
GOOD = np.zeros((SIZE, SIZE), bool)


def correlated_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Unit-variance noise with covariance exp(-d^2 / 4 sigma^2)."""
    noise = gaussian_filter(rng.normal(size=(SIZE, SIZE)), sigma, mode="wrap", truncate=8)
    return noise * 2 * np.sqrt(np.pi) * sigma


def exact_block_variance(sigma: float, block: int) -> float:
    lag = np.arange(-block + 1, block)
    profile = (1 - np.abs(lag) / block) @ np.exp(-(lag**2) / (4 * sigma**2))
    return float(profile**2)


def with_sources(image: np.ndarray) -> np.ndarray:
    """Add a bright galaxy with wings and a sky gradient, the things that mimic correlated noise."""
    y, x = np.indices(image.shape)
    galaxy = 300 * np.exp(-np.hypot(y - 210, x - 170) / 8)
    return image + galaxy + 2 * x / SIZE - 1


def test_independent_noise_has_factor_one():
    sky = measure_blank_sky(np.random.default_rng(0).normal(size=(SIZE, SIZE)), GOOD, 5)
    assert sky.pixel_variance == pytest.approx(1.0, abs=0.02)
    assert sky.factor == pytest.approx(1.0, abs=0.05)
    assert sky.enough


@pytest.mark.parametrize(("sigma", "block"), [(1.0, 3), (1.5, 5)])
@pytest.mark.parametrize("disturb", [lambda image: image, with_sources])
def test_correlated_noise_matches_its_covariance(sigma, block, disturb):
    rng = np.random.default_rng(1)
    skies = [measure_blank_sky(disturb(correlated_noise(rng, sigma)), GOOD, block) for _ in range(3)]
    # Relative errors of sqrt(2 / independent areas), and a few per cent from subtracting far covariance.
    assert np.mean([sky.pixel_variance for sky in skies]) == pytest.approx(1.0, abs=0.04)
    exact = exact_block_variance(sigma, block)
    assert np.mean([sky.block_variance for sky in skies]) == pytest.approx(exact, rel=0.07)


def test_sources_and_bad_pixels_are_not_blank():
    image = with_sources(np.random.default_rng(2).normal(size=(SIZE, SIZE)))
    bad = GOOD.copy()
    bad[:40] = True
    image[bad] = 1e6
    blank = blank_sky(image, bad, 2.0)
    assert not blank[bad].any()
    assert not blank[200:220, 160:180].any()
    assert blank[60:140].mean() > 0.9


def test_stated_variance_is_inflated_to_what_blocks_need():
    rms = 3.0
    image = rms * correlated_noise(np.random.default_rng(3), 1.5)
    noise = allow_for_correlation(image, GOOD, np.full(image.shape, rms**-2), 5)
    exact = exact_block_variance(1.5, 5)
    assert noise.record["variance_inflation"] == pytest.approx(exact, rel=0.1)
    np.testing.assert_allclose(noise.ivar, rms**-2 / noise.record["variance_inflation"])
    assert noise.record["expected_chi2"] == pytest.approx(1 / exact, rel=0.1)
    assert "inflated" in noise.notes[0]


def test_variance_that_allows_for_correlation_is_never_deflated():
    image = correlated_noise(np.random.default_rng(4), 1.5)
    ivar = np.full(image.shape, 1 / (2 * exact_block_variance(1.5, 5)))
    noise = allow_for_correlation(image, GOOD, ivar, 5)
    np.testing.assert_array_equal(noise.ivar, ivar)
    assert noise.record["variance_inflation"] == 1.0


def test_too_little_sky_is_said_or_refused():
    image = np.random.default_rng(5).normal(size=(12, 12))
    bad = np.zeros(image.shape, bool)
    noise = allow_for_correlation(image, bad, np.ones(image.shape), 5)
    assert noise.record["variance_inflation"] is None
    assert "not" in noise.notes[0] or "too little" in noise.notes[0]
    with pytest.raises(InputError, match="blank sky"):
        noise_from_sky(image, bad, 5, None, "image.fits")


def test_correlated_noise_becomes_stationary():
    """The noise map tells how noise varies over the image, the blank sky how large and correlated it is."""
    rms = 3.0 * np.linspace(1, 2, SIZE)[:, None] * np.ones((SIZE, SIZE))
    image = rms * with_sources(correlated_noise(np.random.default_rng(7), 1.0))
    stated = 1 / (5 * rms**2)
    noise = measured(image, GOOD, stated, 3)
    assert noise.record["noise_model"] == "stationary"
    assert noise.record["variance_inflation"] == pytest.approx(0.2, rel=0.05)
    np.testing.assert_allclose(noise.ivar, rms**-2, rtol=0.05)
    middle = noise.correlation.shape[0] // 2
    np.testing.assert_allclose(
        noise.correlation[middle, middle : middle + 4], np.exp(-(np.arange(4) ** 2) / 4), atol=0.04
    )
    assert "correlated noise, measured on" in noise.notes[0]


def test_independent_noise_and_little_sky_stay_diagonal():
    white = np.random.default_rng(8).normal(size=(SIZE, SIZE))
    noise = measured(white, GOOD, np.ones(white.shape), 3)
    assert noise.correlation is None
    assert noise.record["noise_model"] == "diagonal"
    part = slice(200, 230)
    image = correlated_noise(np.random.default_rng(9), 1.0)[part, part]
    noise = measured(image, GOOD[part, part], np.ones(image.shape), 5)
    assert noise.correlation is None
    assert noise.record["variance_inflation"] > 2


def test_estimated_noise_holds_correlation_and_poisson_noise():
    image = 2.0 * correlated_noise(np.random.default_rng(6), 1.0)
    bright = image.copy()
    bright[100, 100] = 5000.0
    factor = exact_block_variance(1.0, 3)
    plain = noise_from_sky(image, GOOD, 3, None, "image", stationary=False)
    np.testing.assert_allclose(1 / plain.ivar, 4.0 * factor, rtol=0.1)
    poisson = noise_from_sky(bright, GOOD, 3, 10.0, "image", stationary=False)
    assert 1 / poisson.ivar[100, 100] == pytest.approx(4.0 * factor + 500.0, rel=0.1)
    # Stationary: the variance of single pixels, in which Poisson noise is smoothed like the rest.
    plain = noise_from_sky(image, GOOD, 3, None, "image")
    np.testing.assert_allclose(1 / plain.ivar, 4.0, rtol=0.05)
    area = 4 * np.pi  # the sum of exp(-d^2 / 4)
    assert plain.correlation.sum() == pytest.approx(area, rel=0.15)
    poisson = noise_from_sky(bright, GOOD, 3, 10.0, "image")
    assert 1 / poisson.ivar[100, 100] == pytest.approx(4.0 + 500.0 / area, rel=0.15)
