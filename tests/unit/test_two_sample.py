"""Two-sample tests: known effects, false alarms at their rate, and the authors' own package."""

import numpy as np
import pytest
from scipy import stats

from synergy.metrics.pqmass import pqmass
from synergy.metrics.two_sample import cohen_d, compare


def test_shifted_normals_have_the_effect_of_their_shift():
    rng = np.random.default_rng(0)
    found = compare(rng.normal(0.5, 2.0, 3000), rng.normal(0.0, 2.0, 2000), rng)
    assert found.cohen == pytest.approx(0.25, abs=0.08)
    # For unit normals the variance of d is (m + n) / mn + d^2 / 2(m + n) (Hedges & Olkin 1985).
    assert found.cohen_error == pytest.approx(np.sqrt(5 / 6000 + 0.25**2 / 1e4), rel=0.15)
    # P(a > b) - P(a < b) of normals is 2 Phi(d / sqrt 2) - 1.
    assert found.cliff == pytest.approx(2 * stats.norm.cdf(0.25 / np.sqrt(2)) - 1, abs=0.05)
    assert found.ks_pvalue < 1e-4
    assert found.numbers == (3000, 2000)


def test_cliff_s_delta_counts_pairs():
    found = compare(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 0.0]), np.random.default_rng(0))
    # 1 against (1, 3, 0): tie, less, more; 2: more, less, more; 4: more three times.
    assert found.cliff == pytest.approx((0 + 1 + 3) / 9)


def test_values_that_are_not_finite_are_counted_out():
    rng = np.random.default_rng(1)
    values = rng.normal(size=50)
    found = compare(np.append(values, [np.nan, np.inf]), values, rng)
    assert found.numbers == (50, 50)
    assert found.cohen == 0.0
    with pytest.raises(ValueError, match="too few"):
        compare(np.array([1.0, np.nan, 2.0]), values, rng)
    assert cohen_d(np.ones(3), np.zeros(3)) == np.inf


def test_pqmass_raises_false_alarms_at_their_rate():
    rng = np.random.default_rng(2)
    results = [pqmass(rng.normal(size=(60, 4)), rng.normal(size=(90, 4)), rng, 16, 5, 60) for _ in range(60)]
    pvalues = np.array([r.pvalue for r in results])
    assert stats.kstest(pvalues, "uniform").pvalue > 0.01
    assert np.mean([r.chi2_per_dof for r in results]) == pytest.approx(1.0, abs=0.05)


def test_pqmass_finds_a_correlation_that_no_single_feature_shows():
    rng = np.random.default_rng(13)
    first = rng.normal(size=(400, 2))
    second = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 400)
    assert pqmass(first, second, rng).pvalue < 0.01
    assert all(compare(first[:, i], second[:, i], rng).ks_pvalue > 0.01 for i in range(2))


def test_pqmass_agrees_with_the_authors_package():
    pqm = pytest.importorskip("pqm")
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(500, 3)), rng.normal(0.25, 1.0, size=(400, 3))
    ours = pqmass(first, second, rng, cells=30, tessellations=100, permutations=200)
    theirs = np.array(pqm.pqm_chi2(first, second, num_refs=30, re_tessellation=100)) / 29
    error = theirs.std() / 10
    assert ours.chi2_per_dof == pytest.approx(theirs.mean(), abs=5 * error)
    assert ours.chi2_per_dof > 1.2  # and there is something to agree on


def test_pqmass_refuses_too_few_points_and_nan():
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="too few"):
        pqmass(np.zeros((10, 2)), np.zeros((10, 2)), rng)
    with pytest.raises(ValueError, match="finite"):
        pqmass(np.full((100, 2), np.nan), np.zeros((100, 2)), rng)
    with pytest.raises(ValueError, match="sets of 0 and 200 points"):
        pqmass(np.zeros((0, 2)), np.zeros((200, 2)), rng)
