"""Calibration of draws: exact ones pass at the nominal rate, slightly wrong ones are caught."""

import inspect

import numpy as np
import pytest
from scipy import integrate, stats

from synergy.metrics.calibration import by_bins, interval_coverage
from synergy.metrics.crps import crps
from synergy.metrics.sbc import ranks, uniformity
from synergy.metrics.tarp import tarp

WRONG = [(1.3, 0.0), (1 / 1.3, 0.0), (1.0, 0.5), (1.0, -0.5)]
"""Errors that are 30 % too large or too small, and biases of half a sigma."""


def skewed(rng, simulations, draws, summaries, inflation=1.0, bias=0.0):
    """Truths and draws of lognormal posteriors, each simulation with its own centre and width."""
    centre, width = rng.normal(size=(2, simulations, 1))
    draws = inflation * rng.standard_normal((simulations, draws, summaries)) + bias
    truth = rng.standard_normal((simulations, summaries))
    scale = 0.4 * np.exp(0.3 * width)
    return np.exp(centre[:, None] + scale[:, None] * draws), np.exp(centre + scale * truth)


def conjugate(rng, simulations, draws, features, inflation=1.0, bias=0.0, sigma=1.0):
    """Draws and truths of a normal prior of unit width seen through noise, and the posterior means."""
    width = sigma / np.hypot(1.0, sigma)
    mean = width * rng.standard_normal((simulations, features)) / sigma
    truth = mean + width * rng.standard_normal((simulations, features))
    errors = inflation * rng.standard_normal((simulations, draws, features)) + bias
    return mean[:, None] + width * errors, truth, mean


def at_its_rate(pvalues, rate=0.05):
    """Whether p-values are below a rate as often as it says, within what chance allows."""
    return abs(np.mean(pvalues <= rate) - rate) < 3.5 * np.sqrt(rate * (1 - rate) / len(pvalues))


def unchecked(function):
    """Without the tests' own checks of types, which would refuse wrong shapes first."""
    return inspect.unwrap(function)


def test_ranks_count_draws_below_and_order_ties_at_random():
    rng = np.random.default_rng(0)
    draws = np.array([3.0, 1.0, 2.0, 2.0])[None, :, None].repeat(4000, axis=0)
    assert np.all(ranks(draws, np.full((4000, 1), 2.5), rng) == 3)
    tied = ranks(draws, np.full((4000, 1), 2.0), rng)[:, 0]
    assert set(tied) == {1, 2, 3}
    assert stats.chisquare(np.bincount(tied)[1:]).pvalue > 0.01


@pytest.mark.parametrize("discrete", [False, True])
def test_uniformity_raises_false_alarms_at_its_rate(discrete):
    rng = np.random.default_rng(1)
    draws, truth = skewed(rng, 200, 31, 1000)
    if discrete:
        draws, truth = np.floor(2 * draws), np.floor(2 * truth)
    found = uniformity(ranks(draws, truth, rng), 31, rng, repeats=3000)
    assert at_its_rate(found.chi2_pvalue)
    assert stats.kstest(found.chi2_pvalue, "uniform").statistic < 0.06
    assert at_its_rate(found.ecdf_pvalue)
    assert stats.kstest(found.ecdf_pvalue, "uniform").statistic < 0.06
    below, above = (found.ecdf < found.band[0][:, None]), (found.ecdf > found.band[1][:, None])
    strays = np.any(below | above, axis=0)
    assert np.mean(strays == (found.ecdf_pvalue <= 0.05)) > 0.99


@pytest.mark.parametrize(("inflation", "bias"), WRONG)
def test_uniformity_sees_wrong_widths_and_biases(inflation, bias):
    rng = np.random.default_rng(2)
    found = uniformity(ranks(*skewed(rng, 300, 63, 100, inflation, bias), rng), 63, rng)
    assert np.mean(found.ecdf_pvalue <= 0.05) > 0.9
    assert np.mean(found.chi2_pvalue <= 0.05) > 0.7


def test_chi_squared_is_that_of_the_histogram():
    rng = np.random.default_rng(3)
    column = np.array([[0] * 9 + [1] * 12 + [2] * 20 + [3] * 9]).T
    assert uniformity(column, 3, rng).chi2_pvalue[0] == pytest.approx(stats.chisquare([9, 12, 20, 9]).pvalue)
    # Ten simulations: two bins of two ranks, five expected in each.
    few = uniformity(np.array([[0, 0, 1, 1, 1, 1, 0, 2, 3, 3]]).T, 3, rng)
    assert few.chi2_pvalue[0] == pytest.approx(stats.chisquare([7, 3]).pvalue)
    np.testing.assert_allclose(few.levels, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(few.ecdf[:, 0], [0.3, 0.7, 0.8])


@pytest.mark.parametrize("n", [1, 2, 5, 16, 63])
def test_intervals_cover_exactly_whatever_the_number_of_draws(n):
    draws = np.tile(np.arange(1.0, n + 1)[None, :, None], (n + 1, 1, 1))
    levels = (0.05, 0.3, 0.5, 0.68, 0.95, 0.999)
    every_rank = np.arange(n + 1)[:, None] + 0.5
    np.testing.assert_allclose(interval_coverage(draws, every_rank, levels).fraction[:, 0], levels)


def test_intervals_are_those_of_order_statistics():
    rng = np.random.default_rng(4)
    draws, truth = skewed(rng, 500, 19, 2)
    found = interval_coverage(draws, truth, levels=(0.9, 0.5))
    ordered = np.sort(draws, axis=1)
    for fraction, j in zip(found.fraction, (1, 5), strict=True):
        inside = (truth > ordered[:, j - 1]) & (truth < ordered[:, -j])
        np.testing.assert_allclose(fraction, inside.mean(axis=0))


@pytest.mark.parametrize(("n", "discrete"), [(4, False), (31, False), (31, True)])
def test_exact_draws_are_covered_within_binomial_errors(n, discrete):
    rng = np.random.default_rng(5)
    draws, truth = skewed(rng, 200, n, 1000)
    if discrete:
        draws, truth = np.floor(2 * draws), np.floor(2 * truth)
    found = interval_coverage(draws, truth, levels=(0.5, 0.75, 0.9), z=2.0)
    levels = found.levels[:, None]
    error = np.sqrt(levels * (1 - levels) / 200)
    assert np.all(np.abs(found.fraction.mean(axis=1) - found.levels) < 4 * error[:, 0] / np.sqrt(1000))
    missed = np.mean((found.lower > levels) | (found.upper < levels), axis=1)
    counts = np.arange(201)
    beyond = np.abs(counts / 200 - levels) > 2 * error
    expected = np.sum(beyond * stats.binom.pmf(counts, 200, levels), axis=1)
    scatter = 4 * np.sqrt(expected / 1000)
    # Where intervals are mixed or values tie, a truth counts in part and scatters less than one or none.
    assert np.all(missed < expected + scatter)
    if n == 31 and not discrete:  # of 32 ranks, 16 and 24 are whole
        assert np.all(np.abs(missed - expected)[:2] < scatter[:2])


@pytest.mark.parametrize(("inflation", "bias"), WRONG)
def test_intervals_show_wrong_widths_and_biases(inflation, bias):
    rng = np.random.default_rng(6)
    found = interval_coverage(*skewed(rng, 1500, 63, 20, inflation, bias), z=2.0)
    wrong = found.lower[1] > 0.68 if inflation > 1 else found.upper[1] < 0.68
    assert np.mean(wrong) > 0.85
    # A normal truth of a normal posterior; the intervals' ends scatter little with 63 draws.
    half = inflation * stats.norm.ppf(0.84)
    exact = stats.norm.cdf(half + bias) - stats.norm.cdf(bias - half)
    assert found.fraction[1].mean() == pytest.approx(exact, abs=0.015)


def test_errors_are_wilson_s():
    draws = np.tile(np.array([0.0, 1.0, 2.0])[None, :, None], (40, 1, 1))
    truth = np.where(np.arange(40) < 33, 0.5, 5.0)[:, None]
    found = interval_coverage(draws, truth, levels=(0.5,), z=1.5)
    level = stats.norm.cdf(1.5) - stats.norm.cdf(-1.5)
    expected = stats.binomtest(33, 40).proportion_ci(level, method="wilson")
    assert found.fraction[0, 0] == 33 / 40
    assert (found.lower[0, 0], found.upper[0, 0]) == pytest.approx((expected.low, expected.high))


def test_bins_of_what_the_data_say_are_calibrated_and_those_of_the_truth_are_not():
    rng = np.random.default_rng(7)
    draws, truth, mean = conjugate(rng, 6000, 31, 1)
    edges = (-9.0, -0.5, 0.5, 9.0)
    for found in by_bins(mean[:, 0], edges, draws, truth):
        error = np.sqrt(found.levels * (1 - found.levels) / found.simulations)
        assert np.all(np.abs(found.fraction[:, 0] - found.levels) < 3.5 * error)
    middle = by_bins(truth[:, 0], edges, draws, truth, z=5.0)[1]
    assert np.all(middle.lower[:, 0] > middle.levels)


def test_bins_find_errors_that_cancel():
    rng = np.random.default_rng(8)
    (wide, first), (narrow, second) = skewed(rng, 2000, 31, 1, 1.3), skewed(rng, 2000, 31, 1, 1 / 1.3)
    draws, truth = np.concatenate([wide, narrow]), np.concatenate([first, second])
    assert interval_coverage(draws, truth).fraction[1, 0] == pytest.approx(0.68, abs=0.03)
    bright, faint = by_bins(np.repeat([1.5, 2.5], 2000), (1.0, 2.0, 3.0), draws, truth, z=4.0)
    assert bright.lower[1, 0] > 0.68 > faint.upper[1, 0]


def test_bins_leave_out_what_falls_in_none():
    draws, truth = np.zeros((5, 3, 1)), np.ones((5, 1))
    values = np.array([0.0, 1.0, 2.0, np.nan, -1.0])
    first, second, third = by_bins(values, (0.0, 1.0, 2.0, 2.0 + 1e-9), draws, truth)
    assert (first.simulations, second.simulations, third.simulations) == (1, 1, 1)
    (empty,) = by_bins(values, (7.0, 8.0), draws, truth)
    assert empty.simulations == 0
    assert np.all(np.isnan(empty.fraction))
    np.testing.assert_allclose((empty.lower, empty.upper), (np.zeros((3, 1)), np.ones((3, 1))), atol=1e-12)


def normal_crps(y, sigma=1.0):
    z = y / sigma
    return sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def test_crps_integrates_the_squared_error_of_the_distribution_function():
    rng = np.random.default_rng(9)
    draws, truth = rng.normal(size=(3, 7, 2)), rng.normal(size=(3, 2))
    t = np.linspace(-6, 6, 120001)
    share = (draws[..., None] <= t).mean(axis=1)
    expected = integrate.trapezoid((share - (truth[..., None] <= t)) ** 2, t)
    np.testing.assert_allclose(crps(draws, truth, fair=False).scores, expected, atol=2e-4)
    pairs = np.abs(draws[:, :, None] - draws[:, None]).sum(axis=(1, 2))
    fair = np.abs(draws - truth[:, None]).mean(axis=1) - pairs / (2 * 7 * 6)
    np.testing.assert_allclose(crps(draws, truth).scores, fair)
    np.testing.assert_allclose(crps(draws + 1e9, truth + 1e9).scores, fair, atol=1e-6)


@pytest.mark.parametrize("y", [0.0, 0.8, -2.5])
def test_crps_of_normal_draws(y):
    rng = np.random.default_rng(10)
    sigma, truth = 2.0, np.full((20000, 1), y)
    draws = sigma * rng.standard_normal((20000, 3, 1))
    fair, raw = crps(draws, truth), crps(draws, truth, fair=False)
    expected = normal_crps(y, sigma)
    assert abs(fair.mean[0] - expected) < 4 * fair.error[0]
    # E|x - x'| is 2 sigma / sqrt pi; raw scores of three draws are too large by a sixth of it.
    assert abs(raw.mean[0] - expected - sigma / np.sqrt(np.pi) / 3) < 4 * raw.error[0]
    many = crps(sigma * stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[None, :, None], truth[:1])
    assert many.scores[0, 0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("n", [2, 8])
def test_crps_of_exact_draws_is_the_expected_one(n):
    rng = np.random.default_rng(11)
    draws, truth = skewed(rng, 200, n, 1000)
    fair, raw = crps(draws, truth), crps(draws, truth, fair=False)
    np.testing.assert_allclose(raw.excess, fair.excess)
    # Few simulations dominate the mean of skewed scores: it has these moments, but no normal shape yet.
    assert abs(fair.excess.mean()) < 4 / np.sqrt(1000)
    assert np.mean(fair.excess**2) == pytest.approx(1, abs=0.2)
    relative = crps(np.log(draws), np.log(truth)).excess
    assert stats.kstest(relative, "norm").pvalue > 0.001
    assert at_its_rate(2 * stats.norm.sf(np.abs(relative)))


def test_crps_errors_of_normal_posteriors():
    rng = np.random.default_rng(12)
    found = crps(rng.standard_normal((400, 200, 20)), rng.standard_normal((400, 20)))
    variance, _ = integrate.quad(lambda y: normal_crps(y) ** 2 * stats.norm.pdf(y), -9, 9)
    scatter = np.sqrt(variance - 1 / np.pi)
    np.testing.assert_allclose(found.expected, 1 / np.sqrt(np.pi), rtol=0.02)
    np.testing.assert_allclose(found.expected_error, scatter / 20, rtol=0.05)
    np.testing.assert_allclose(found.error, scatter / 20, rtol=0.25)


@pytest.mark.parametrize(("inflation", "bias"), WRONG)
def test_crps_sees_wrong_widths_and_biases(inflation, bias):
    rng = np.random.default_rng(13)
    draws, truth = skewed(rng, 1000, 31, 40, inflation, bias)
    excess = crps(np.log(draws), np.log(truth)).excess
    assert np.mean(excess < -2 if inflation > 1 else excess > 2) > 0.9


def test_crps_of_values_that_do_not_vary():
    found = crps(np.full((1, 3, 1), 5.0), np.full((1, 1), 5.0))
    assert (found.mean[0], found.excess[0]) == (0, 0)
    assert np.isnan(found.error[0])


@pytest.mark.parametrize("kind", ["random", "data", "draw"])
@pytest.mark.parametrize(("features", "simulations", "n", "seeds"), [(2, 101, 31, 150), (1000, 37, 11, 60)])
def test_tarp_raises_false_alarms_at_its_rate(features, simulations, n, seeds, kind):
    rng = np.random.default_rng(14)
    results = []
    for _ in range(seeds):
        draws, truth, mean = conjugate(rng, simulations, n + 1, features)
        references = {"random": None, "data": mean - 1, "draw": draws[:, 0]}[kind]
        results.append(tarp(draws[:, 1:], truth, rng, references, repeats=300))
    pvalues = np.array([r.pvalue for r in results])
    assert at_its_rate(pvalues)
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001
    strays = np.array([r.deviation > r.band for r in results])
    assert np.mean(strays == (pvalues <= 0.05)) > 0.95


@pytest.mark.parametrize(("features", "simulations", "n"), [(2, 400, 63), (1500, 40, 31)])
@pytest.mark.parametrize(("inflation", "bias"), WRONG)
def test_tarp_sees_wrong_widths_and_biases(features, simulations, n, inflation, bias):
    rng = np.random.default_rng(15)
    seen = []
    for _ in range(4):
        draws, truth, mean = conjugate(rng, simulations, n, features, inflation, bias)
        # References far from the data in one direction see a bias, others in few dimensions widths.
        found = tarp(draws, truth, rng, references=mean - 1 if bias else None)
        seen.append(found.pvalue < 0.05 and found.deviation > found.band)
    assert sum(seen) >= 3


@pytest.mark.parametrize(("features", "simulations"), [(2, 200), (1000, 40)])
def test_tarp_sees_a_sampler_that_ignores_the_data_by_references_that_do_not(features, simulations):
    rng = np.random.default_rng(16)
    _, truth, mean = conjugate(rng, simulations, 31, features)
    prior = rng.standard_normal((simulations, 31, features))
    assert tarp(prior, truth, rng).pvalue > 0.05
    assert tarp(prior, truth, rng, references=mean).pvalue < 0.01


def test_tarp_passes_exact_draws_that_the_range_of_the_truths_would_fail():
    rng = np.random.default_rng(17)
    draws, truth, _ = conjugate(rng, 64, 31, 4000)
    low, high = truth.min(axis=0), truth.max(axis=0)
    references = rng.uniform(low, high, truth.shape)
    ours = tarp(draws, truth, rng)
    assert ours.deviation < ours.band
    distances = [
        np.linalg.norm((np.vstack([y, x]) - r) / (high - low), axis=1)
        for x, y, r in zip(draws, truth, references, strict=True)
    ]
    rank = np.array([np.sum(d[1:] < d[0]) for d in distances])
    expected_coverage = np.mean(rank[:, None] < np.arange(1, 32), axis=0)
    assert np.max(expected_coverage - ours.levels) > 2 * ours.band  # truths seem too close


def test_tarp_does_not_depend_on_units_nor_on_constant_features():
    rng = np.random.default_rng(18)
    draws, truth, mean = conjugate(rng, 50, 15, 3)
    scale, zero = np.array([1e-3, 1.0, 1e6]), np.array([5.0, 0.0, -1e6])
    first = tarp(draws, truth, rng, mean)
    second = tarp(zero + scale * draws, zero + scale * truth, rng, zero + scale * mean)
    third = tarp(*(np.concatenate([a, np.ones_like(a)], axis=-1) for a in (draws, truth)), rng)
    np.testing.assert_array_equal(first.expected_coverage, second.expected_coverage)
    assert third.pvalue > 0.01
    assert first.expected_coverage[7] == pytest.approx(first.levels[7], abs=first.deviation)


@pytest.mark.parametrize("function", [ranks, interval_coverage, crps, tarp])
@pytest.mark.parametrize(
    ("draws", "truth", "match"),
    [
        (np.zeros((4, 5, 2)), np.zeros((4, 3)), r"\(4, 5, 2\) and \(4, 3\)"),
        (np.zeros((4, 5)), np.zeros((4, 5)), "must be"),
        (np.zeros((4, 0, 2)), np.zeros((4, 2)), "0 draws"),
        (np.zeros((0, 5, 2)), np.zeros((0, 2)), "0 simulations"),
        (np.full((4, 5, 2), np.nan), np.zeros((4, 2)), "finite"),
    ],
)
def test_draws_and_truths_that_do_not_fit_are_refused(function, draws, truth, match):
    rng = [np.random.default_rng(0)] if function in (ranks, tarp) else []
    with pytest.raises(ValueError, match=match):
        unchecked(function)(draws, truth, *rng)


def test_what_cannot_be_answered_is_refused():
    rng = np.random.default_rng(0)
    draws, truth = np.zeros((4, 5, 2)), np.zeros((4, 2))
    with pytest.raises(ValueError, match="1 draws"):
        crps(draws[:, :1], truth)
    with pytest.raises(ValueError, match="levels are between 0 and 1"):
        interval_coverage(draws, truth, levels=(0.5, 95.0))
    with pytest.raises(ValueError, match="must increase"):
        by_bins(np.zeros(4), (1.0, 1.0), draws, truth)
    with pytest.raises(ValueError, match="do not fit 4 simulations"):
        unchecked(by_bins)(np.zeros(3), (0.0, 1.0), draws, truth)
    with pytest.raises(ValueError, match="ranks among 5 draws are 0 to 5"):
        uniformity(np.full((20, 1), 6), 5, rng)
    with pytest.raises(ValueError, match="9 simulations are too few"):
        uniformity(np.zeros((9, 1), int), 5, rng)
    with pytest.raises(ValueError, match="shaped as the truths"):
        unchecked(tarp)(draws, truth, rng, np.zeros((4, 3)))
