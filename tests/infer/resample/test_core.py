"""Index generators, permutation p-values, and the specification's three intervals and loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inference_core.infer.resample as resample
from inference_core.errors import InferenceError
from inference_core.infer.intervals import interval
from inference_core.infer.resample import common, core
from inference_core.infer.resample.results import BootstrapResult
from inference_core.rng import RNG


@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), k=st.integers(2, 12), shuffle=st.booleans())
def test_folds_part_the_rows_evenly(seed, n, k, shuffle):
    if k > n:
        with pytest.raises(InferenceError, match=f"between 2 and {n}"):
            core.generate_kfold_indices(RNG(seed), n, k, shuffle)
        return
    folds = core.generate_kfold_indices(RNG(seed), n, k, shuffle)
    tests = [test for _, test in folds]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(n))
    assert np.ptp([len(test) for test in tests]) <= 1
    for train, test in folds:
        np.testing.assert_array_equal(np.setdiff1d(np.arange(n), test), train)
    if not shuffle:
        np.testing.assert_array_equal(np.concatenate(tests), np.arange(n))


def test_leave_one_out_leaves_one_out():
    for i, (train, test) in enumerate(core.generate_loo_indices(4)):
        assert test.tolist() == [i]
        assert train.tolist() == [j for j in range(4) if j != i]


def test_more_draws_keep_the_earlier_ones():
    few, many = (core.generate_bootstrap_indices(RNG(3), 20, b) for b in (10, 500))
    np.testing.assert_array_equal(many[:10], few)
    few, many = (core.generate_permutation_indices(RNG(3), 20, b) for b in (10, 500))
    np.testing.assert_array_equal(many[:10], few)


def test_permutation_p_of_darwins_maize():
    """All 32,768 sign flips of the 15 paired differences: 863 at least as large; two-sided .0526733 (Fisher 1935)."""
    d = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]) / 8.0
    signs = 1.0 - 2.0 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    means = signs @ d / 15
    observed = d.mean()
    count = round(core.compute_pvalues(observed, means, "greater")[0] * (2**15 + 1)) - 1
    assert count == 863  # ties included, in spite of rounding
    assert core.compute_pvalues(observed, means)[0] == pytest.approx((1726 + 1) / (2**15 + 1), rel=1e-12)


@given(
    seed=st.integers(0, 10**6), b=st.integers(1, 200), size=st.floats(-5, 5),
    alternative=st.sampled_from(["two-sided", "greater", "less"]),
)  # fmt: skip
def test_a_permutation_p_is_at_least_one_over_b_plus_one(seed, b, size, alternative):
    null = np.random.default_rng(seed).normal(size=(b, 2))
    p = core.compute_pvalues([size, -size], null, alternative)
    assert np.all(p >= 1 / (b + 1))
    assert np.all(p <= 1)


def test_permutation_p_counts_ties_and_failed_refits_as_extreme():
    null = np.array([0.1 + 0.2, 0.3, -0.3, np.nan, 0.0])
    assert core.compute_pvalues(0.3, null)[0] == pytest.approx((1 + 4) / 6)
    assert core.compute_pvalues(0.3, null, "greater")[0] == pytest.approx((1 + 3) / 6)
    assert np.isnan(core.compute_pvalues(np.nan, null)[0])
    with pytest.raises(InferenceError, match="two-sided"):
        core.compute_pvalues(0.3, null, "both")  # type: ignore[arg-type]


def test_the_specified_intervals_are_those_of_the_engine():
    rng = np.random.default_rng(1)
    draws, observed, jack = rng.normal(size=(400, 2)), np.array([0.1, -0.2]), rng.normal(size=(30, 2))
    for found, kind in (
        (core.compute_bootstrap_ci_percentile(draws, 0.9), "percentile"),
        (core.compute_bootstrap_ci_basic(observed, draws, 0.9), "basic"),
        (core.compute_bootstrap_ci_bca(draws, observed, jack, 0.9), "bca"),
        (common.compute_bootstrap_ci(observed, draws, "bca", 0.9, jack), "bca"),
    ):
        expected = interval(kind, draws, observed, 0.9, jackknife=jack)
        np.testing.assert_array_equal(found, (expected.lower, expected.upper))
    np.testing.assert_array_equal(
        core.compute_bootstrap_ci_percentile(draws[:, 0]), core.compute_bootstrap_ci_percentile(draws[:, :1])
    )


def test_the_specifications_own_examples():
    boot = np.array([[1.1, 2.1], [0.9, 1.9], [1.2, 2.2]])
    lower, upper = resample.compute_bootstrap_ci_basic(np.array([1.0, 2.0]), boot, level=0.95)
    np.testing.assert_allclose([lower, upper], [[0.8, 1.8], [1.1, 2.1]])  # three draws: the outermost ones
    null = np.array([[0.1, 0.2], [-0.3, 0.5], [0.8, -0.1]])
    np.testing.assert_allclose(resample.compute_pvalues([2.5, -1.0], null), [0.25, 0.25])


def mean_of_a_resample(rng, y):
    return np.array([y[rng.indices(0, 1, len(y))[0]].mean()])


def test_the_loop_gives_the_same_draws_here_and_on_workers():
    kwargs = {"y": np.arange(10.0)}
    rngs = RNG(1).split(12)
    alone = common.run_bootstrap_iterations(mean_of_a_resample, rngs, 12, kwargs)
    together = common.run_bootstrap_iterations(mean_of_a_resample, rngs, 12, kwargs, n_jobs=2)
    np.testing.assert_array_equal(alone, together)
    assert len(common.run_bootstrap_iterations(mean_of_a_resample, rngs, 5, kwargs, verbose=True)) == 5


def test_failed_iterations_are_counted_and_many_warn():
    rows = [np.array([1.0, np.nan]), np.array([np.nan, np.nan]), *[np.array([2.0, np.nan])] * 18]
    samples, valid, failed = common.collect_boot_samples(rows, 20)
    assert samples.shape == (20, 2)
    assert failed == 1
    assert valid.sum() == 19
    with pytest.warns(RuntimeWarning, match=r"Permutation: 3 of 20 refits failed \(15%\)"):
        common.warn_on_failures(3, 20, "Permutation")


def test_a_bootstrap_result_knows_its_interval_and_error():
    samples = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 6.0]])
    result = BootstrapResult(np.zeros(2), samples, np.zeros(2), np.ones(2), ["a", "b"], 3, "percentile", 0.95)
    np.testing.assert_allclose(result.se, [np.sqrt(2), np.sqrt(8)])
    assert result.ci == (result.ci_lower, result.ci_upper)
