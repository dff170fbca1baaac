"""Correlated noise against dense float64 matrices, and the statistics of its draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.noise import Noise
from synergy.periodic import Periodic
from synergy.stationary import Stationary, torus_power

SHAPE = (12, 13)
RNG = np.random.default_rng(0)
LAGS = np.arange(-4, 5)
# Not separable, and different along x and y.
CORRELATION = np.exp(-(LAGS[:, None] ** 2) / 6 - LAGS**2 / 3 - 0.1 * LAGS[:, None] * LAGS)
MASK = RNG.uniform(size=SHAPE) < 0.1
MASK[3:6, 4:9] = True
RMS = RNG.uniform(0.5, 2.0, SHAPE)
VARIANCE = np.where(RNG.uniform(size=SHAPE) < 0.3, RNG.uniform(0, 9, SHAPE), 0.0)
CASES = {
    "plain": (np.ones(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE, bool)),
    "mask": (np.ones(SHAPE), np.zeros(SHAPE), MASK),
    "maps": (RMS, VARIANCE, np.zeros(SHAPE, bool)),
    "mask and maps": (RMS, VARIANCE, MASK),
    "mostly independent": (np.where(RMS > 1, RMS, 0.0), VARIANCE + 0.1, MASK),
}


def model(case, tolerance=1e-9, dtype=jnp.float64, unit=1.0):
    rms, variance, mask = CASES[case]
    rms, variance = rms * unit, variance * unit**2
    ivar = np.where(mask, 0.0, 1 / (rms**2 + variance))
    return Stationary.build(ivar, CORRELATION, variance, dtype, floor=1e-3, tolerance=tolerance), ~mask


def dense(case):
    """Covariance of the good pixels from its definition, by separations on the torus."""
    rms, variance, mask = CASES[case]
    power, period = torus_power(CORRELATION, SHAPE, 1e-3)
    torus = np.fft.irfft2(power, period)
    pixels = np.argwhere(~mask)
    lag = (pixels[:, None] - pixels[None]) % np.array(period)
    covariance = torus[lag[..., 0], lag[..., 1]] * np.outer(rms[~mask], rms[~mask])
    return covariance + np.diag(variance[~mask])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


METHODS = ("apply_inverse", "whiten", "whiten_transpose")


@functools.partial(jax.jit, static_argnames="methods")
def run(noise, v, methods=METHODS):
    return [getattr(noise, method)(v) for method in methods]


def columns(noise, known, methods=METHODS):
    """Dense matrices of linear maps, over the good pixels; also checks that bad pixels stay out of them."""
    basis = np.zeros((known.sum() + 3, *known.shape))
    basis[:-3, known] = np.eye(known.sum())
    basis[-3:] = basis[:3] + 5.0 * ~known
    made = [np.asarray(matrix) for matrix in run(noise, jnp.asarray(basis), methods)]
    for matrix in made:
        np.testing.assert_array_equal(matrix[:, ~known], 0)
        np.testing.assert_allclose(matrix[-3:], matrix[:3], rtol=1e-12, atol=1e-14)
    return [matrix[:-3, known].T for matrix in made]


@pytest.mark.parametrize("case", CASES)
def test_against_dense_matrices(x64, case):
    noise, known = model(case)
    covariance = dense(case)
    inverse = np.linalg.inv(covariance)
    scale = np.abs(inverse).max()
    solved, whitening, transposed = columns(noise, known)
    np.testing.assert_allclose(solved, inverse, atol=1e-7 * scale)
    np.testing.assert_allclose(whitening.T @ whitening, inverse, atol=1e-7 * scale)
    np.testing.assert_allclose(transposed, whitening.T, atol=1e-10 * scale)
    assert float(noise.log_det) == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-10)
    assert int(noise.n_pixels) == known.sum()
    np.testing.assert_array_equal(noise.known, known)
    assert isinstance(noise, Noise)


def test_marginalising_is_not_zeroing_rows(x64):
    """A guard for the test above: in this noise the two differ a lot."""
    whole, part = np.linalg.inv(dense("plain")), np.linalg.inv(dense("mask"))
    zeroed = whole[np.ix_(~MASK.ravel(), ~MASK.ravel())]
    assert np.abs(zeroed - part).max() > 0.3 * np.abs(part).max()


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_float32_keeps_the_stated_tolerance_in_any_unit(unit):
    noise, known = model("mask and maps", 1e-3, jnp.float32, unit)
    inverse = np.linalg.inv(dense("mask and maps"))
    residual = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    r = residual[known].astype(np.float64)
    chi2 = r @ inverse @ r
    weighted, white, _ = (np.asarray(array) for array in run(noise, jnp.float32(unit) * residual))
    assert white.dtype == np.float32
    assert np.sum(white**2) == pytest.approx(chi2, rel=2e-3)
    assert unit * np.sum(weighted * residual.astype(np.float64)) == pytest.approx(chi2, rel=1e-3)
    expected = np.linalg.slogdet(dense("mask and maps"))[1] + 2 * known.sum() * np.log(unit)
    assert float(noise.log_det) == pytest.approx(expected, rel=1e-5)


def test_transposes_batches_and_gradients(x64):
    noise, _ = model("mask and maps")
    v = jnp.asarray(np.random.default_rng(2).normal(size=(3, *SHAPE)))
    like = jax.ShapeDtypeStruct(SHAPE, jnp.float64)
    weighted, _, transposed = run(noise, v)
    transpose = jax.jit(jax.vmap(lambda u: jax.linear_transpose(noise.whiten, like)(u)[0]))
    np.testing.assert_allclose(transpose(v), transposed, rtol=1e-9, atol=1e-10)
    gradient = jax.jit(jax.vmap(jax.grad(lambda r: 0.5 * jnp.sum(noise.whiten(r) ** 2))))
    np.testing.assert_allclose(gradient(v), weighted, rtol=1e-6, atol=1e-7)


def test_draws_have_the_covariance_they_should():
    noise, known = model("mask and maps", 1e-3, jnp.float32)
    n = 6000
    draws = np.asarray(jax.jit(jax.vmap(noise.draw))(jax.random.split(jax.random.key(0), n)))
    np.testing.assert_array_equal(draws[:, ~known], 0)
    flat, covariance = draws[:, known].astype(np.float64), dense("mask and maps")
    variance = np.diag(covariance)
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    pull = (flat.T @ flat / n - covariance) / error
    assert abs(pull).max() < 5.5  # of 10^4 numbers
    assert np.std(pull) == pytest.approx(1, abs=0.1)
    chi2 = np.sum(np.asarray(run(noise, draws, ("whiten",))[0]) ** 2) / (n * known.sum())
    assert chi2 == pytest.approx(1, abs=4 * np.sqrt(2 / (n * known.sum())) + 2e-3)


def test_large_image_meets_its_tolerance_and_determinant():
    """Too large for exact bounds: eigenvalues from Lanczos, determinant from probes."""
    rng = np.random.default_rng(3)
    shape = (44, 40)
    known = rng.uniform(size=shape) > 0.1
    variance = np.where(rng.uniform(size=shape) < 0.2, 5.0, 0.0)
    ivar = np.where(known, 1 / (1 + variance), 0)
    noise = Stationary.build(ivar, CORRELATION, variance)
    v = np.where(known, rng.normal(size=shape), 0).astype(np.float32)
    back = np.asarray(jax.jit(lambda u: noise.apply(noise.apply_inverse(u)))(v))
    assert np.linalg.norm((back - v)[known]) < 5e-3 * np.linalg.norm(v)
    power, period = torus_power(CORRELATION, shape)
    torus = np.fft.irfft2(power, period)
    pixels = np.argwhere(known)
    lag = (pixels[:, None] - pixels[None]) % np.array(period)
    exact = np.linalg.slogdet(torus[lag[..., 0], lag[..., 1]] + np.diag(variance[known]))[1]
    assert float(noise.log_det) == pytest.approx(exact, abs=2e-3 * known.sum())


def test_power_is_positive_floored_and_of_unit_variance():
    box = np.ones((5, 5))  # the spectrum of a box is negative in places
    power, period = torus_power(box, (20, 30), 0.02)
    assert period[0] >= 22
    assert period[1] >= 32
    assert np.fft.irfft2(power, period)[0, 0] == pytest.approx(1)
    assert power.min() == pytest.approx(0.02 / np.maximum(np.fft.irfft2(power, period)[0, 0], 1), rel=0.9)
    assert power.min() > 0


def test_periodic_noise_against_dense_matrices(x64):
    power, period = torus_power(CORRELATION, SHAPE)
    noise = Periodic(jnp.asarray(4 * power), period)
    pixels = np.argwhere(np.ones(period, bool))
    lag = (pixels[:, None] - pixels[None]) % np.array(period)
    covariance = 4 * np.fft.irfft2(power, period)[lag[..., 0], lag[..., 1]]
    known = np.ones(period, bool)
    inverse = np.linalg.inv(covariance)
    solved, whitening, _ = columns(noise, known)
    np.testing.assert_allclose(solved, inverse, atol=1e-9)
    np.testing.assert_allclose(whitening.T @ whitening, inverse, atol=1e-9)
    assert float(noise.log_det) == pytest.approx(np.linalg.slogdet(covariance)[1])
    draws = np.asarray(jax.vmap(noise.draw)(jax.random.split(jax.random.key(1), 500)))
    chi2 = np.mean(np.asarray(noise.whiten(jnp.asarray(draws))) ** 2)
    assert chi2 == pytest.approx(1, abs=4 * np.sqrt(2 / draws.size))
    assert isinstance(noise, Noise)


def test_even_noise_is_that_of_the_middle_of_a_large_image():
    shape = (40, 40)
    noise = Stationary.build(np.full(shape, 0.2), CORRELATION, np.full(shape, 2.0))
    point = np.zeros(shape, np.float32)
    point[20, 20] = 1
    even = np.asarray(noise.even().apply_inverse(jnp.asarray(point)))
    np.testing.assert_allclose(even, noise.apply_inverse(jnp.asarray(point)), atol=2e-3 * even.max())


def test_refusals():
    good = np.ones(SHAPE)
    with_one = lambda value: np.where(np.arange(13) == 5, value, good)  # noqa: E731
    skew = CORRELATION.copy()
    skew[0, 0] += 0.1
    for ivar, correlation, independent, found in (
        (with_one(-1.0), CORRELATION, None, "negative"),
        (with_one(np.inf), CORRELATION, None, "not finite"),
        (0 * good, CORRELATION, None, "no pixel"),
        (good, CORRELATION, with_one(-1.0), "independent"),
        (good, CORRELATION, 2 * good, "above the total"),
        (good, np.where(CORRELATION < 0.1, np.nan, CORRELATION), None, "not finite"),
        (good, CORRELATION[1:], None, "shape"),
        (good, 2 * CORRELATION, None, "zero separation"),
        (good, skew, None, "opposite"),
    ):
        with pytest.raises(InputError, match=found):
            Stationary.build(ivar, correlation, independent)
    with pytest.raises(InputError, match="floor"):
        Stationary.build(good, CORRELATION, floor=0.0)
