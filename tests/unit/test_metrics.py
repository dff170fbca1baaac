"""Metrics against closed forms."""

import numpy as np
import pytest

from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse
from synergy.metrics.photometry import aperture_flux, aperture_flux_error, aperture_weights, total_flux_error


def test_nmse_closed_form():
    truth = np.arange(1.0, 25.0).reshape(2, 3, 4)
    np.testing.assert_allclose(nmse(truth, truth), 0)
    np.testing.assert_allclose(nmse(np.zeros_like(truth), truth), 1)
    np.testing.assert_allclose(nmse(1.1 * truth, truth), 0.01)
    np.testing.assert_allclose(nmse(truth + 1, truth), 12 / np.sum(truth**2, axis=(1, 2)))


def test_total_flux_error():
    truth = np.ones((2, 4, 4))
    np.testing.assert_allclose(
        total_flux_error(np.stack([truth[0] * 1.2, truth[1] * 0.9]), truth), [0.2, -0.1]
    )


@pytest.mark.parametrize("center", [(15.0, 15.0), (14.3, 16.8)])
@pytest.mark.parametrize("radius", [2.5, 9.0])
def test_aperture_area(center, radius):
    weights = aperture_weights((32, 31), center, radius)
    assert weights.sum() == pytest.approx(np.pi * radius**2, rel=2e-3)
    assert weights.max() == 1
    y, x = np.indices(weights.shape)
    assert np.sum(weights * y) / weights.sum() == pytest.approx(center[0], abs=0.01)
    assert np.sum(weights * x) / weights.sum() == pytest.approx(center[1], abs=0.01)


def test_aperture_flux_of_a_gaussian():
    sigma, radius = 4.0, 6.0
    y, x = np.indices((61, 61)) - 30.0
    star = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    scene = np.stack([star, 3 * star])
    expected = 1 - np.exp(-(radius**2) / (2 * sigma**2))
    np.testing.assert_allclose(
        aperture_flux(scene, (30.0, 30.0), radius), [expected, 3 * expected], rtol=5e-3
    )
    np.testing.assert_allclose(aperture_flux_error(scene * 1.05, scene, (30.0, 30.0), radius), 0.05)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_coverage_is_exact_for_gaussian_posteriors_of_few_draws(n):
    rng = np.random.default_rng(n)
    center, scale = rng.normal(size=(2, 80, 80)), np.array([1.0, 7.0])[:, None, None]
    draws = center + scale * rng.standard_normal((n, 2, 80, 80))
    truth = center + scale * rng.standard_normal((2, 80, 80))
    levels = np.array([0.68, 0.95])
    error = np.sqrt(levels * (1 - levels) / 80**2)
    found = coverage(draws.astype(np.float32), truth, tuple(levels))
    assert np.all(np.abs(found - levels[:, None]) < 4 * error[:, None])


def test_coverage_sees_overconfidence():
    rng = np.random.default_rng(0)
    draws, truth = rng.standard_normal((16, 1, 50, 50)), 3 * rng.standard_normal((1, 50, 50))
    low = coverage(draws, truth)
    assert low[0, 0] < 0.35
    with pytest.raises(ValueError, match="two draws"):
        coverage(draws[:1], truth)
