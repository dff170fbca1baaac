"""Hallucination metrics on Gaussian posteriors: exact draws pass, false ones are caught."""

import functools
import inspect
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from synergy.metrics.hallucination import band_power, false_structures, support_agreement, variance_ratio
from synergy.priors.covariance import SpectralCovariance
from synergy.psf import FWHM_PER_SIGMA

SIZE, SCALE = 64, 0.05
AREA = (SIZE * SCALE) ** 2
SCALES = (0.1, 0.2, 0.4)
RADIUS = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None, :])
PRIOR = np.array([1.0, 4.0])[:, None, None] / (1 + (RADIUS / 0.05) ** 2) ** 1.5  # power per mode
NOISE = 0.02 / np.exp(-((RADIUS / 0.15) ** 2))  # of white noise behind a Gaussian PSF
LEFT = PRIOR * NOISE / (PRIOR + NOISE)  # the posterior's power


def field(rng, power, *batch):
    """Return periodic Gaussian fields of a power spectrum."""
    white = np.fft.fft2(rng.standard_normal((*batch, *power.shape)))
    return np.fft.ifft2(np.sqrt(power) * white).real


def posterior(rng, n):
    """Return a scene, the mean of its posterior given data, and exact draws.

    Truth and draws are the mean plus independent fields of the posterior's power; only what lies between
    them is asked for, so that the mean needs no data.
    """
    mean = field(rng, PRIOR - LEFT)
    return mean + field(rng, LEFT), mean, mean + field(rng, LEFT, n)


def rates(change, scenes=24, n=12, **settings):
    """Return rates and expected rates of scenes whose draws are changed, ``(scene, scale, band)``."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(scenes):
        truth, mean, draws = posterior(rng, n)
        found.append(false_structures(change(truth, mean, draws, rng), truth, SCALE, SCALES, **settings))
    return np.array([f.rate for f in found]), np.array([f.expected for f in found])


def significance(rate, expected):
    """Return by how many standard errors of the scenes' scatter the rate of each scale is too high."""
    excess = (rate - expected).mean(axis=2)
    return excess.mean(axis=0) / (excess.std(axis=0, ddof=1) / np.sqrt(len(excess)))


@pytest.mark.parametrize("single", [False, True])
def test_exact_draws_show_false_structures_at_the_expected_rate(single):
    rate, expected = rates(lambda truth, mean, draws, rng: draws, single=single)
    assert np.all(np.abs(significance(rate, expected)) < 3)
    assert expected.mean(axis=(0, 2)).min() > 0.02  # there is something to compare


def test_expected_rate_is_that_of_a_gaussian_field():
    """Of independent pixels smoothed by s, the regions above u number as the Euler characteristic.

    Per area lambda u exp(-u^2/2) / (2 pi)^1.5 and per length of half the edge lambda^0.5 exp(-u^2/2) / 2 pi,
    with lambda = 1 / 2 s^2 (Adler 1981; Worsley et al. 1996).
    """
    rng, size, u, scale = np.random.default_rng(1), 128, 2.5, 0.4
    draws, side = rng.standard_normal((101, 2, size, size)), size * SCALE
    found = false_structures(draws[1:], draws[0], SCALE, (scale,), u)
    curvature = 0.5 * (FWHM_PER_SIGMA / scale) ** 2
    peak = np.exp(-(u**2) / 2)
    number = side**2 * curvature * u * peak / (2 * np.pi) ** 1.5
    number += 2 * side * np.sqrt(curvature) * peak / (2 * np.pi) + stats.norm.sf(u)
    # Five regions in each of 200 fields are known to 3 %; smoothing mirrors the edges, which takes a few.
    assert found.expected.mean() * side**2 == pytest.approx(number, rel=0.12)
    assert found.spread.mean() * side**2 == pytest.approx(np.sqrt(number), rel=0.3)


def blobs(truth, mean, draws, rng):
    """Put one blob, six standard deviations high at FWHM 0.2 arcsec, into all draws of both bands."""
    y, x = np.indices((SIZE, SIZE)) - rng.integers(8, SIZE - 8, 2)[:, None, None]
    s = 0.2 / FWHM_PER_SIGMA / SCALE
    frequency = np.fft.fftfreq(SIZE)
    gain = np.exp(-2 * (np.pi * s) ** 2 * (frequency[:, None] ** 2 + frequency[None, :] ** 2))
    rms = np.sqrt(np.mean(gain**2 * LEFT, axis=(1, 2)))
    # Smoothed once more, a Gaussian of the same width keeps half its height.
    return draws + 12 * rms[:, None, None] * np.exp(-(x**2 + y**2) / (2 * s**2))


def inflated(truth, mean, draws, rng):
    return draws + 0.3 * (mean - truth)


def understated(truth, mean, draws, rng):
    return mean + 0.7 * (draws - mean)


@pytest.mark.parametrize("change", [blobs, inflated, understated])
def test_false_draws_are_caught(change):
    rate, expected = rates(change)
    assert significance(rate, expected).max() > 4
    if change is blobs:  # one per scene, where the smoothing fits it
        excess = (rate - expected)[:, 1].mean() * AREA
        assert excess == pytest.approx(1.0, abs=0.3)
    else:
        assert np.all(rate.mean(axis=(0, 2)) > 1.5 * expected.mean(axis=(0, 2)))


@pytest.mark.parametrize("change", [blobs, understated])
def test_false_single_draws_are_caught(change):
    rate, expected = rates(change, single=True)
    assert significance(rate, expected).max() > 4


def test_draws_that_are_the_truth_show_nothing_and_certain_errors_count():
    rng = np.random.default_rng(3)
    truth = rng.standard_normal((1, SIZE, SIZE))
    same = np.stack([truth] * 5)
    found = false_structures(same, truth, SCALE, SCALES)
    assert not found.rate.any()
    assert not found.expected.any()
    same[:, 0, 20, 30] += 1.0
    np.testing.assert_allclose(false_structures(same, truth, SCALE, SCALES).rate, 1 / AREA)


def test_variance_ratio_is_that_of_the_spectra():
    rng = np.random.default_rng(4)
    _, mean, draws = posterior(rng, 60)
    by_power = variance_ratio(draws, lambda height, width: PRIOR, SCALE)
    by_draws = variance_ratio(draws, field(rng, PRIOR, 60), SCALE)
    rings = np.geomspace(1.9 / SIZE, 0.5, 7)
    np.testing.assert_allclose(by_power.frequency, (rings[:-1] + rings[1:]) / 2 / SCALE)
    inside = [np.digitize(RADIUS, pair) == 1 for pair in itertools.pairwise(rings)]
    closed = np.array([[LEFT[b][r].mean() / PRIOR[b][r].mean() for r in inside] for b in range(2)])
    assert closed.min() < 0.1  # the data speak here
    assert closed.max() > 0.9  # the prior alone there
    for found in (by_power, by_draws):
        # The window smears both spectra a little.
        assert np.all(np.abs(found.ratio - closed) < 4 * found.error + 0.05 * closed)
        assert np.all(found.error < 0.15 * closed)
    narrow = variance_ratio(understated(None, mean, draws, rng), lambda height, width: PRIOR, SCALE)
    np.testing.assert_allclose(narrow.ratio, 0.49 * by_power.ratio, rtol=0.02)
    assert np.all(narrow.ratio < closed - 4 * narrow.error)


def test_band_power_is_that_of_the_covariance():
    """A stationary covariance answers a unit pixel with its autocovariance, whose transform is the power."""
    basis = jnp.array([[0.8, -0.6], [0.6, 0.8]], jnp.float32)
    frequency = jnp.log(jnp.array([0.02, 0.1, 0.5], jnp.float32))
    covariance = SpectralCovariance(basis, frequency, jnp.log(jnp.array([[9.0, 1.0, 0.1], [1.0, 0.5, 0.05]])))
    pixel = np.zeros((2, 2, SIZE, SIZE - 1), np.float32)  # and of odd width
    pixel[[0, 1], [0, 1], 0, 0] = 1.0
    answer = np.asarray(covariance.apply(jnp.asarray(pixel)), np.float64)[[0, 1], [0, 1]]
    np.testing.assert_allclose(band_power(covariance, SIZE, SIZE - 1), np.fft.fft2(answer).real, rtol=1e-4)
    # Draws of the prior itself have learned nothing from data.
    draws = field(np.random.default_rng(0), band_power(covariance, SIZE, SIZE), 100)
    found = variance_ratio(draws, functools.partial(band_power, covariance), SCALE)
    assert np.all(np.abs(found.ratio - 1) < 4 * found.error)
    assert np.all(found.error < 0.06)


def test_support_of_exact_draws_is_the_support():
    """A white prior under noise that grows along y: support p / (p + N)."""
    rng = np.random.default_rng(6)
    prior = np.array([1.0, 4.0])
    noise = np.geomspace(0.1, 30.0, SIZE)[:, None] * np.ones(SIZE)
    left = prior[:, None, None] * noise / (prior[:, None, None] + noise)
    support = 1 - left / prior[:, None, None]
    draws = np.sqrt(left) * rng.standard_normal((40, 2, SIZE, SIZE))
    found = support_agreement(draws, prior, support)
    np.testing.assert_allclose(found.difference, 0.0, atol=0.01)
    assert np.all(found.correlation > 0.98)
    assert np.all((found.implied >= 0) & (found.implied <= 1))
    narrow = support_agreement(0.7 * draws, prior, support)
    np.testing.assert_allclose(narrow.difference, 0.51 * (1 - support).mean(axis=(1, 2)), atol=0.01)
    assert np.all(support_agreement(draws[:, :, ::-1], prior, support).correlation < -0.8)
    assert np.isnan(support_agreement(draws, prior, np.full_like(support, 0.3)).correlation).all()


def test_bad_input_is_refused():
    draws, truth = np.random.default_rng(7).standard_normal((5, 1, 16, 16)), np.zeros((1, 16, 16))
    with pytest.raises(ValueError, match="at least 3 draws"):
        false_structures(draws[:2], truth, SCALE)
    with pytest.raises(ValueError, match="at least 4 draws"):
        false_structures(draws[:3], truth, SCALE, single=True)
    with pytest.raises(ValueError, match="cannot be compared"):
        inspect.unwrap(false_structures)(draws, truth[:, :8], SCALE)  # without the tests' type checks
    with pytest.raises(ValueError, match="not finite"):
        false_structures(np.where(draws > 2, np.nan, draws), truth, SCALE)
    with pytest.raises(ValueError, match="positive arcsec"):
        false_structures(draws, truth, SCALE, (0.1, 0.0))
    with pytest.raises(ValueError, match="two draws"):
        variance_ratio(draws[:1], draws, SCALE)
    with pytest.raises(ValueError, match="1 bands, the prior 2"):
        inspect.unwrap(variance_ratio)(draws, np.concatenate([draws, draws], axis=1), SCALE)
    with pytest.raises(ValueError, match="no power"):
        variance_ratio(draws, np.zeros_like(draws), SCALE)
    with pytest.raises(ValueError, match="no mode"):
        variance_ratio(draws, draws, SCALE, np.array([0.01, 0.02]))
    with pytest.raises(ValueError, match="two draws"):
        support_agreement(draws[:1], np.ones(1), truth)
    with pytest.raises(ValueError, match="2 prior variances"):
        inspect.unwrap(support_agreement)(draws, np.ones(2), truth)
    with pytest.raises(ValueError, match="positive"):
        support_agreement(draws, np.zeros(1), truth)
