"""The error that interpolation leaves, against images interpolated at random phases."""

import numpy as np
import pytest

from synergy.io.resampled import interpolation_variance


def _interpolated(fwhm, native, rng, exposures=4, side=41):
    """Sample a round Gaussian at native pixels of random phase, interpolate linearly, average."""
    x = np.arange(side) - side // 2

    def axis():
        phase = rng.uniform()
        cell = np.floor(x / native - phase)
        share = x / native - phase - cell
        low, high = (np.exp(-4 * np.log(2) * (native * (cell + i + phase) / fwhm) ** 2) for i in (0, 1))
        return (1 - share) * low + share * high

    return np.mean([np.outer(axis(), axis()) for _ in range(exposures)], axis=0)


@pytest.mark.parametrize(
    ("fwhm", "native"),
    [(1.75, 1.0), (3.0, 1.0), (6.0, 1.0), (5.0, 3.0), (7.0, 3.0), (10.0, 3.0), (6.0, 1.68), (9.0, 2.63)],
)
def test_scatter_of_simulated_interpolation(fwhm, native):
    rng = np.random.default_rng(0)
    images = np.array([_interpolated(fwhm, native, rng) for _ in range(400)])
    bright = images.mean(axis=0) > 0.1 * images.mean(axis=0).max()
    scatter = np.sqrt(np.mean(images.var(axis=0)[bright]))
    stated = np.sqrt(np.mean([interpolation_variance(i, i < -1, native, 4)[bright] for i in images[:50]]))
    assert 0.65 < stated / scatter < 1.45


def test_bad_pixels_do_not_spill_over():
    image, bad = np.zeros((9, 9)), np.zeros((9, 9), bool)
    image[4, 4], bad[4, 4] = 1e6, True
    assert np.all(interpolation_variance(image, bad, 3.0, 4) == 0)
    bad[4, 4] = False
    variance = interpolation_variance(image, bad, 3.0, 4)
    assert variance[4, 4] == pytest.approx(8 * variance[4, 3])
    assert variance[3, 3] == 0


def test_noise_alone_has_no_phase_error():
    noise = np.random.default_rng(1).standard_normal((100, 100))
    variance = interpolation_variance(noise, np.zeros(noise.shape, bool), 1.0, 4)
    assert np.mean(variance > 0) < 0.01
    assert variance.mean() < 1e-3
