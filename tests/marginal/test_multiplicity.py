"""Adjustments of several comparisons: tables, mvtnorm's figures, R's p.adjust, and a brute-force simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from inference_core.errors import InferenceError
from inference_core.marginal.multiplicity import Family, adjust, false_discovery, holm
from inference_core.marginal.studentized_range import quantile, upper_tail


def pairs(k):
    rows = [(i, j) for i in range(k) for j in range(i + 1, k)]
    W = np.zeros((len(rows), k))
    for r, (i, j) in enumerate(rows):
        W[r, i], W[r, j] = 1, -1
    return W @ W.T / 2


def family(statistic, df, correlation, rank=2, k=0):
    statistic = np.asarray(statistic, float)
    return Family(statistic, np.full(len(statistic), float(df)), correlation, rank, k)


# Tables of the studentized range: q(.95; 3, 12) = 3.772929, q(.95; 5, 20) = 4.231857
@pytest.mark.parametrize(("k", "df", "q"), [(3, 12, 3.772929), (5, 20, 4.231857)])
def test_tukey_is_the_studentized_range(k, df, q):
    m = k * (k - 1) // 2
    found = adjust(family(np.full(m, q / np.sqrt(2)), df, pairs(k), k - 1, k), "tukey", 0.95)
    np.testing.assert_allclose(found.critical * np.sqrt(2), q, atol=5e-7)  # the printed digits
    np.testing.assert_allclose(found.p_value, 0.05, atol=2e-7)  # slope of the tail times the printed digits


def dunnett(q, k, df):
    """P(all |T_i| <= q) for correlations of a half: one integral over the shared normal, one over the scale."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def given_scale(s):
        high, low = ((sign * q * s - np.sqrt(0.5) * nodes) / np.sqrt(0.5) for sign in (1, -1))
        return weights @ (special.ndtr(high) - special.ndtr(low)) ** k * stats.chi.pdf(s * df**0.5, df) * df**0.5

    return integrate.quad(given_scale, 0, 6, epsabs=1e-11)[0]


def test_mvt_takes_singular_correlations():
    """All pairs of 3 means, df 12, at the table's q(.95) / sqrt(2)."""
    found = adjust(family(np.full(3, 3.772929 / np.sqrt(2)), 12, pairs(3)), "mvt", 0.95)
    np.testing.assert_allclose(found.p_value, 0.05, atol=2e-5)  # measured error of 2^15 quasi-random points for k = 3


def test_mvt_of_comparisons_with_a_control():
    half = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    t = np.array([2.0, 2.5, 3.0])
    found = adjust(family(t, 12, half, 3), "mvt", 0.95)
    expected = [1 - dunnett(q, 3, 12) for q in t]
    np.testing.assert_allclose(found.p_value, expected, atol=1e-4)  # error of 2^15 quasi-random points in 3 dimensions
    np.testing.assert_allclose(dunnett(found.critical[0], 3, 12), 0.95, atol=1e-4)  # as above


@pytest.mark.parametrize("df", [1.5, 2, 7, 65, 1000, np.inf])
@pytest.mark.parametrize("t", [0.1, 1, 3, 8, 30])
def test_the_range_of_two_is_a_t_statistic(t, df):
    """Q / sqrt(2) of two means is |t|: the tail keeps its relative accuracy where 1 - cdf has none."""
    expected = 2 * (stats.norm.sf(t) if np.isinf(df) else stats.t.sf(t, df))
    if expected > 1e-40:
        np.testing.assert_allclose(upper_tail(t * np.sqrt(2), 2, df), expected, rtol=1e-9)  # 200 x 160 nodes
    if expected > 1e-6:  # beyond that 1 - p cannot carry it
        np.testing.assert_allclose(quantile(1 - expected, 2, df), t * np.sqrt(2), rtol=1e-8)  # 1 - p has 10 digits


@pytest.mark.parametrize(("q", "k", "df"), [(3.5, 3, 12), (4.2, 5, 20), (2.0, 10, 5), (5.0, 20, 40), (4.0, 4, np.inf)])
def test_the_range_against_scipy(q, k, df):
    np.testing.assert_allclose(upper_tail(q, k, df), stats.studentized_range.sf(q, k, df), atol=1e-11)  # scipy's error


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("df", [7.0, np.inf])
def test_mvt_against_simulation(alternative, df):
    """The law itself: correlated normals over a shared chi, two million draws."""
    rng = np.random.default_rng(3)
    R = np.array([[1, 0.3, -0.5], [0.3, 1, 0.1], [-0.5, 0.1, 1]])
    t = np.array([2.1, 1.2, -0.4]) * (-1 if alternative == "less" else 1)
    n = 2_000_000
    Z = rng.normal(size=(n, 3)) @ np.linalg.cholesky(R).T
    if np.isfinite(df):
        Z /= np.sqrt(rng.chisquare(df, (n, 1)) / df)
    peak = np.abs(Z).max(1) if alternative == "two-sided" else (Z if alternative == "greater" else -Z).max(1)
    found = adjust(family(t, df, R, 3), "mvt", 0.95, alternative)
    size = np.abs(t) if alternative == "two-sided" else t if alternative == "greater" else -t
    expected = (peak[:, None] >= size).mean(0)
    error = 4 * np.sqrt(expected * (1 - expected) / n) + 2e-4  # 4 standard errors of the draws; the points' own
    assert np.all(np.abs(found.p_value - expected) <= error)
    np.testing.assert_allclose((peak <= found.critical[0]).mean(), 0.95, atol=8e-4)  # as above, of a share of .95


def test_independent_rows_are_sidak():
    """Of independent z statistics the maximum has a closed form."""
    z = np.array([1.0, 2.0, 2.5, 3.0])
    exact = adjust(family(z, np.inf, np.eye(4), 4), "sidak", 0.95)
    found = adjust(family(z, np.inf, np.eye(4), 4), "mvt", 0.95)
    np.testing.assert_allclose(found.p_value, exact.p_value, atol=2e-4)  # the points' error for k = 4
    np.testing.assert_allclose(found.critical, exact.critical, atol=2e-3)  # that over the density of the maximum


# R: p.adjust(c(.01, .02, .03, .04), "holm"), "fdr"; and an unordered set
@pytest.mark.parametrize(
    ("p", "by_holm", "by_fdr"),
    [
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06], [0.04, 0.04, 0.04, 0.04]),
        ([0.5, 0.001, 0.2, 0.03], [0.5, 0.004, 0.4, 0.09], [0.5, 0.004, 0.8 / 3, 0.06]),
    ],
)
def test_steps(p, by_holm, by_fdr):
    p, fine = np.array(p), np.ones(4, bool)
    np.testing.assert_allclose(holm(p, fine), by_holm, rtol=1e-12)
    np.testing.assert_allclose(false_discovery(p, fine), by_fdr, rtol=1e-12)


@given(
    t=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    df=st.floats(3, 200),
    method=st.sampled_from(["bonferroni", "sidak", "scheffe", "tukey"]),
)
def test_p_and_limit_come_from_one_procedure(t, df, method):
    """A limit excludes the null exactly when the adjusted p-value is below 1 - level."""
    found = adjust(family(t, df, pairs(3), 2, 3), method, 0.95)
    for value, p, critical in zip(t, found.p_value, found.critical, strict=True):
        if abs(abs(value) - critical) > 1e-6:  # at the edge itself rounding decides
            assert (abs(value) > critical) == (p < 0.05)


@given(t=st.lists(st.floats(-6, 6), min_size=3, max_size=3), df=st.floats(3, 500))
def test_adjusting_never_helps(t, df):
    plain = adjust(family(t, df, pairs(3), 2, 3), "none", 0.95)
    for method in ("tukey", "bonferroni", "holm", "sidak", "fdr", "scheffe"):
        found = adjust(family(t, df, pairs(3), 2, 3), method, 0.95)
        assert np.all(found.p_value >= plain.p_value - 1e-9)  # error of the studentized range's integral
        assert np.all(found.critical >= plain.critical - 1e-9)  # as above


def test_scheffe_of_one_dimension_is_the_t_test():
    both = family([2.0, -2.0], 9, np.array([[1, -1], [-1, 1.0]]), 1)
    plain, found = adjust(both, "none", 0.9), adjust(both, "scheffe", 0.9)
    np.testing.assert_allclose(found.p_value, plain.p_value, rtol=1e-10)  # F(1, df) is t squared
    np.testing.assert_allclose(found.critical, plain.critical, rtol=1e-10)  # as above


def test_rows_without_an_estimate_do_not_count():
    with_gap = family([2.0, np.nan, 3.0], 20, np.eye(3), 2)
    found = adjust(with_gap, "bonferroni", 0.95)
    both = adjust(family([2.0, 3.0], 20, np.eye(2), 2), "bonferroni", 0.95)
    np.testing.assert_array_equal(found.p_value[[0, 2]], both.p_value)
    assert np.isnan(found.p_value[1])


@pytest.mark.parametrize("method", ["holm", "fdr"])
def test_methods_without_limits_say_so(method):
    found = adjust(family([2.0, 3.0], 20, np.eye(2), 2), method, 0.95)
    assert "Bonferroni" in found.notes[0]


def test_refusals():
    with pytest.raises(InferenceError, match="p_adjust='mvt'"):
        adjust(family([1, 2], 9, np.eye(2)), "tukey", 0.95)
    with pytest.raises(InferenceError, match="two-sided"):
        adjust(family([1, 2, 3], 9, pairs(3), 2, 3), "tukey", 0.95, "greater")
