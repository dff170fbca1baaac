"""The measured correlation of noise: bias, and whitening of noise that was resampled as MER's is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from data_prep.resampled_noise import resampled_noise
from synergy.errors import InputError
from synergy.io.correlated import blank_sky
from synergy.noise import Diagonal
from synergy.noise_spectrum import correlation_factor, correlation_of_realisations, correlation_of_sky
from synergy.stationary import Stationary

SIDE = 160


def binned_power(white, count, bins=10):
    """Power of a whitened field in rings of spatial frequency, and its error for unit white noise."""
    power = np.abs(np.fft.fft2(white)) ** 2 / count
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in white.shape), indexing="ij"))
    ring = np.minimum((frequency * 2 * bins).astype(int), bins)
    modes = np.bincount(ring.ravel())
    return np.bincount(ring.ravel(), power.ravel()) / modes, np.sqrt(2 / modes)


def with_sources(rng, noise):
    """Add galaxies of all sizes, four per 1000 pixels."""
    image, (y, x) = noise.copy(), np.indices(noise.shape)
    for _ in range(noise.size // 2000):
        distance = np.hypot(y - rng.uniform(0, y.max()), x - rng.uniform(0, x.max()))
        image += rng.uniform(8, 60) * np.exp(-distance / rng.uniform(1, 3))
    return image


def test_white_and_gaussian_noise_match_their_closed_forms():
    rng = np.random.default_rng(0)
    good = np.ones((SIDE, SIDE), bool)
    white = correlation_of_sky(2 * rng.normal(size=good.shape), good, 5)
    assert white.variance == pytest.approx(4, rel=0.03)
    assert np.abs(white.correlation - (white.correlation == 1)).max() < 0.02
    smooth = (
        gaussian_filter(rng.normal(size=(4, *good.shape)), (0, 1.5, 1.5), mode="wrap") * 3 * np.sqrt(np.pi)
    )
    noise = smooth + 0.2 * rng.normal(size=smooth.shape)
    measured = correlation_of_realisations(noise, reach=9)
    lag = np.arange(-18, 19)
    exact = np.exp(-(lag[:, None] ** 2 + lag**2) / 9)
    exact[18, 18] += 0.04
    assert measured.variance == pytest.approx(1.04, rel=0.03)
    np.testing.assert_allclose(measured.correlation, exact / 1.04, atol=0.05)
    assert measured.chi2 == pytest.approx(1, abs=0.01)


def test_sources_and_gradients_do_not_bias_the_blank_sky():
    rng = np.random.default_rng(1)
    noises = [resampled_noise((SIDE, SIDE), 3.0, rng) for _ in range(4)]
    good = np.ones((SIDE, SIDE), bool)
    ramp = np.linspace(-0.3, 0.3, SIDE)
    plain, disturbed = [], []
    for noise in noises:
        image = with_sources(rng, noise) + ramp
        blank = blank_sky(image, ~good, 2.0)
        assert 0.4 < blank.mean() < 0.95
        plain.append(correlation_of_sky(noise, good, 9))
        disturbed.append(correlation_of_sky(image, blank, 9))
    assert np.mean([d.variance / p.variance for d, p in zip(disturbed, plain, strict=True)]) == pytest.approx(
        1, abs=0.05
    )
    for sigma in (1.0, 2.0):
        ratio = [
            correlation_factor(d.correlation, sigma) / correlation_factor(p.correlation, sigma)
            for d, p in zip(disturbed, plain, strict=True)
        ]
        assert np.mean(ratio) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(("kernel", "native", "ripple"), [("bilinear", 3.0, 0.01), ("lanczos3", 2.63, 0.05)])
def test_resampled_noise_whitens_to_unit_chi2_and_a_flat_spectrum(kernel, native, ripple):
    """Measured on some images of noise, judged on others, with holes and an uneven rms map."""
    rng = np.random.default_rng(2)
    shape = (SIDE, SIDE)
    measured = correlation_of_realisations(
        np.stack([resampled_noise(shape, native, rng, kernel) for _ in range(8)]), reach=20
    )
    rms = 5.0 * (1 + np.linspace(0, 1, SIDE)[:, None] ** 2 * np.ones(shape))
    known = rng.uniform(size=shape) > 0.02
    known[40:70, 100:160] = False
    ivar = np.where(known, 1 / (measured.variance * rms**2), 0)
    stationary = Stationary.build(ivar, measured.correlation)
    images = np.stack([rms * resampled_noise(shape, native, rng, kernel) for _ in range(8)])
    images = np.where(known, images, 0).astype(np.float32)
    whitened = np.asarray(jax.jit(stationary.whiten)(images), np.float64)
    count = known.sum()
    chi2 = np.sum(whitened**2, axis=(1, 2)) / count
    assert chi2.mean() == pytest.approx(1, abs=0.01)
    binned = [binned_power(white, count) for white in whitened]
    power, error = np.mean([b[0] for b in binned], axis=0), binned[0][1] / np.sqrt(8)
    # Both the images judged and those measured scatter; a Lanczos kernel cuts off more sharply than a
    # correlation of finite reach resolves, which leaves a ripple.
    assert np.all(np.abs(power - 1) < 4 * np.sqrt(2) * error + ripple)
    # The diagonal model with the same variance: right for single pixels, wrong for everything else.
    diagonal = np.asarray(
        Diagonal(jnp.asarray(ivar.astype(np.float32))).whiten(jnp.asarray(images)), np.float64
    )
    rings = np.mean([binned_power(white, count)[0] for white in diagonal], axis=0)
    assert np.mean(diagonal**2) * diagonal[0].size / count == pytest.approx(1, abs=0.05)
    assert rings[0] > 6
    assert rings[-1] < 0.1


@pytest.mark.parametrize(("kernel", "native"), [("bilinear", 3.0), ("lanczos3", 2.63)])
def test_simulated_noise_has_unit_variance(kernel, native):
    rng = np.random.default_rng(5)
    made = [resampled_noise((200, 160), native, rng, kernel) for _ in range(8)]
    variances = np.mean(np.square(made), axis=(1, 2))
    assert variances.mean() == pytest.approx(1, abs=4 * variances.std() / np.sqrt(8))
    assert variances.std() < 0.05


def test_factor_of_a_weighted_average():
    rng = np.random.default_rng(3)
    noise = np.stack([resampled_noise((SIDE, SIDE), 3.0, rng) for _ in range(6)])
    measured = correlation_of_realisations(noise, reach=9)
    assert correlation_factor(None, 2.0) == 1
    kernel = np.zeros((31, 31))
    kernel[15, 15] = 1
    square = np.sum(gaussian_filter(kernel, 2.0) ** 2)
    seen = np.var(gaussian_filter(noise, (0, 2, 2))[:, 10:-10, 10:-10]) / (measured.variance * square)
    assert correlation_factor(measured.correlation, 2.0) == pytest.approx(seen, rel=0.05)


def test_refusals():
    good = np.ones((30, 30), bool)
    noise = np.random.default_rng(4).normal(size=good.shape)
    with pytest.raises(InputError, match="0 usable"):
        correlation_of_sky(noise, ~good, 4)
    with pytest.raises(InputError, match="all alike"):
        correlation_of_sky(0 * noise, good, 4)
    with pytest.raises(InputError, match="not finite"):
        correlation_of_realisations(np.where(noise > 1, np.nan, noise)[None])
