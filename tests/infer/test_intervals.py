"""Limits and p-values from draws: known answers, laws, agreement of the two, and every named fall-back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inference_core.errors import InferenceError
from inference_core.infer.intervals import (
    CI_TYPES,
    OrderedDraws,
    acceleration,
    bias_correction,
    check_interval_request,
    draws_needed,
    interval,
    moments,
    p_value,
    tail_level,
)
from inference_core.infer.intervals.bca import BcaConstants
from inference_core.infer.intervals.limits import Material
from inference_core.infer.intervals.order import order_statistic_ranks
from inference_core.infer.intervals.pvalues import p_from, p_value_mcse


def draws_of(seed=0, b=999, p=2, skew=1.0):
    """Skewed draws with their own standard errors, and the parts that every type needs."""
    rng = np.random.default_rng(seed)
    samples = np.exp(skew * 0.3 * rng.normal(size=(b, p))) + 0.1 * rng.normal(size=(b, p))
    parts = {
        "jackknife": 1 + 0.1 * rng.gamma(2.0, size=(40, p)),
        "se_draws": 0.3 * np.exp(0.2 * rng.normal(size=(b, p))),
        "se_observed": np.full(p, 0.3),
        "df": 37.0,
        "n": 40,
    }
    return samples, np.full(p, 1.02), parts


# ---- known answers -----------------------------------------------------------------------------------------------


def test_bias_correction_and_acceleration_of_the_mean_of_three():
    """All 27 resamples of (0, 1, 5): 11 means below 2, 6 tied with it; z0 .0464357, a .0572703."""
    y = np.array([0.0, 1.0, 5.0])
    grid = np.stack(np.meshgrid(y, y, y), axis=-1).reshape(27, 3).mean(1)
    assert np.var(grid) == pytest.approx(14 / 9)
    z0, tied = bias_correction(OrderedDraws.of(grid[:, None]), np.array([2.0]))
    assert z0[0] == pytest.approx(0.0464357, abs=5e-8)
    assert tied[0] == pytest.approx(6 / 27)
    jackknife = np.array([[3.0], [2.5], [0.5]])
    assert acceleration(jackknife)[0] == pytest.approx(0.0572703, abs=5e-8)


def test_acceleration_of_the_air_conditioning_data():
    """Twelve failure times, mean 108.0833, a .0937981 (Davison & Hinkley 1997, example 5.8)."""
    y = np.array([3, 5, 7, 18, 43, 85, 91, 98, 100, 130, 230, 487], float)
    assert y.mean() == pytest.approx(108.0833, abs=5e-5)
    leave_one_out = ((y.sum() - y) / 11)[:, None]
    assert acceleration(leave_one_out)[0] == pytest.approx(0.0937981, abs=5e-8)


def test_bca_levels():
    constants = BcaConstants(np.array([0.1]), np.array([0.05]), ("",))
    assert constants.level(0.025)[0] == pytest.approx(0.0546101, abs=5e-8)
    assert constants.level(0.975)[0] == pytest.approx(0.9917237, abs=5e-8)
    assert stats.norm.cdf(constants.nominal_z(constants.level(0.025)))[0] == pytest.approx(0.025, rel=1e-9)


@pytest.mark.parametrize(("n", "p", "level"), [(10, 1, 0.00855064), (20, 2, 0.01339492), (50, 2, 0.02008019)])
def test_expanded_tail_levels(n, p, level):
    assert tail_level("expanded", 0.025, n - p, n / (n - p)) == pytest.approx(level, abs=5e-9)


def test_order_statistics_that_hold_a_quantile():
    assert [int(rank) for rank in order_statistic_ranks(999, 0.025, 0.95)] == [16, 36]


@given(size=st.integers(2, 3000), level=st.floats(0.001, 0.999), confidence=st.floats(0.3, 0.99))
def test_the_binomial_ranks_are_those_of_scipy_stats(size, level, confidence):
    low, high = order_statistic_ranks(size, level, confidence)
    tail = (1 - confidence) / 2
    assert low == np.clip(stats.binom.ppf(tail, size, level), 1, size)
    assert high == np.clip(stats.binom.ppf(1 - tail, size, level) + 1, 1, size)


def test_monte_carlo_error_of_a_standard_error():
    """Normal draws: s / sqrt(2 B), .0224 at B 1,000; measured over 400 repetitions, and for skewed draws."""
    rng = np.random.default_rng(1)
    for sample, claimed in ((rng.normal(size=(400, 1000)), 0.0224), (rng.exponential(size=(400, 1000)), None)):
        _, sd, mcse = moments(sample)
        # the SD of 400 numbers is known to 3.5 %; kurtosis of exponential draws adds noise of its own
        np.testing.assert_allclose(np.sqrt((mcse**2).mean()), sd.std(ddof=1), rtol=0.2)
        if claimed:
            np.testing.assert_allclose(mcse.mean(), claimed, rtol=0.02)


def test_monte_carlo_error_of_a_limit_and_of_a_p_value():
    """Percentile limits at B 1,000: .085 SE; p: 2 sqrt(u (1 - u) / B)."""
    rng = np.random.default_rng(2)
    lowers, mcse, bca, bca_mcse, ps, p_mcse = [], [], [], [], [], []
    for _ in range(300):
        sample = rng.normal(size=(1000, 1))
        found = interval("percentile", sample, np.zeros(1))
        lowers.append(found.lower[0])
        mcse.append(found.mcse_lower[0])
        found = interval("bca", sample, np.zeros(1))
        bca.append(found.lower[0])
        bca_mcse.append(found.mcse_lower[0])
        material = Material.of(sample, np.zeros(1))
        ps.append(p_from(material, "percentile", -1.8, "two-sided")[0])
        p_mcse.append(p_value_mcse(material, "percentile", np.array(ps[-1:]), -1.8, "two-sided")[0])
    # 300 repetitions know an SD to 4 %; half a 68 % interval of order statistics is a rough estimate of one
    assert np.mean(mcse) == pytest.approx(0.085, rel=0.1)
    assert np.std(lowers) == pytest.approx(0.085, rel=0.12)
    assert np.std(bca) == pytest.approx(0.110, rel=0.15)
    assert np.mean(bca_mcse) == pytest.approx(np.std(bca), rel=0.2)
    assert np.mean(p_mcse) == pytest.approx(np.std(ps), rel=0.15)


def test_the_quantile_rule_is_that_of_boot_ci():
    """Worked by hand: B = 9, level .25 lies between draws 2 and 3, halfway on the normal scale."""
    draws = OrderedDraws.of(np.array([[1.0, 2, 4, 8, 16, 32, 64, 128, 256]]).T)
    z = stats.norm.ppf
    share = (z(0.25) - z(0.2)) / (z(0.3) - z(0.2))
    assert draws.quantile(0.25)[0] == pytest.approx(2 + share * 2, rel=1e-12)
    assert draws.quantile(0.3)[0] == 4
    assert draws.quantile(0.001)[0] == 1
    assert draws.quantile(0.999)[0] == 256


def test_bca_agrees_with_scipy_up_to_the_quantile_rule():
    rng = np.random.default_rng(3)
    y = rng.exponential(size=60)
    idx = rng.integers(0, 60, size=(9999, 60))
    draws = y[idx].mean(1)
    scipys = stats.bootstrap((y,), np.mean, n_resamples=9999, method="BCa", random_state=np.random.default_rng(3))
    jackknife = ((y.sum() - y) / 59)[:, None]
    ours = interval("bca", draws[:, None], np.array([y.mean()]), jackknife=jackknife)
    # other draws and other interpolation: a Monte-Carlo error of a limit is .11 SE / sqrt(10)
    slack = 4 * np.sqrt(2) * 0.11 / np.sqrt(10) * draws.std()
    assert abs(ours.lower[0] - scipys.confidence_interval.low) < slack
    assert abs(ours.upper[0] - scipys.confidence_interval.high) < slack


def test_expanded_limits_of_normal_draws_are_t_limits():
    b, df, n = 99_999, 8, 10
    z = stats.norm.ppf((np.arange(b) + 1) / (b + 1))
    sigma = 2.0
    draws = sigma * np.sqrt(df / n) * z  # the plug-in spread of a bootstrap
    found = interval("expanded", draws[:, None], np.zeros(1), df=df, n=n)
    t = stats.t.ppf(0.975, df) * sigma
    np.testing.assert_allclose([found.lower[0], found.upper[0]], [-t, t], rtol=1e-4)  # interpolation in the far tail


# ---- laws --------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6), kind=st.sampled_from(CI_TYPES),
    alternative=st.sampled_from(["two-sided", "greater", "less"]), level=st.floats(0.5, 0.98), null=st.floats(0.2, 2.5),
)  # fmt: skip
def test_p_is_below_alpha_exactly_when_the_interval_leaves_the_null_out(seed, kind, alternative, level, null):
    samples, observed, parts = draws_of(seed, b=399)
    if kind == "bca":
        parts = {"jackknife": parts["jackknife"]}
    found = interval(kind, samples, observed, level, alternative, **parts)
    p = p_value(kind, samples, observed, null, alternative, level=level, **parts)
    outside = (null < found.lower) | (null > found.upper)
    clear = np.abs(p - (1 - level)) > 1e-7  # at the limit itself rounding decides
    np.testing.assert_array_equal((p < 1 - level)[clear], outside[clear])
    assert np.all(p > 0)
    assert np.all(p <= 1)


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(CI_TYPES), low=st.floats(0.5, 0.9), more=st.floats(0.01, 0.09))
def test_a_higher_level_widens_the_interval(seed, kind, low, more):
    samples, observed, parts = draws_of(seed, b=299)
    narrow = interval(kind, samples, observed, low, **parts)
    wide = interval(kind, samples, observed, low + more, **parts)
    assert np.all(wide.lower <= narrow.lower)
    assert np.all(wide.upper >= narrow.upper)


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(CI_TYPES), scale=st.floats(0.01, 100), shift=st.floats(-9, 9))
def test_limits_follow_the_units(seed, kind, scale, shift):
    samples, observed, parts = draws_of(seed, b=299)
    before = interval(kind, samples, observed, **parts)
    parts |= {
        "jackknife": scale * parts["jackknife"] + shift,
        "se_draws": scale * parts["se_draws"],
        "se_observed": scale * parts["se_observed"],
    }
    after = interval(kind, scale * samples + shift, scale * observed + shift, **parts)
    tol = 1e-8 * (scale + abs(shift) + 1)  # a share of ties may flip one draw's worth of rounding, no more
    np.testing.assert_allclose(after.lower, scale * before.lower + shift, rtol=1e-8, atol=tol)
    np.testing.assert_allclose(after.mcse_upper, scale * before.mcse_upper, rtol=1e-5, atol=tol)


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(CI_TYPES))
def test_the_order_of_the_draws_moves_no_limit(seed, kind):
    samples, observed, parts = draws_of(seed, b=200)
    order = np.random.default_rng(seed).permutation(200)
    before = interval(kind, samples, observed, **parts)
    parts["se_draws"] = parts["se_draws"][order]
    after = interval(kind, samples[order], observed, **parts)
    np.testing.assert_allclose(after.lower, before.lower, rtol=1e-12)  # a mean summed in another order
    np.testing.assert_allclose(after.upper, before.upper, rtol=1e-12)


@given(seed=st.integers(0, 10**6), level=st.floats(0.001, 0.999), b=st.integers(2, 400))
def test_rank_inverts_quantile(seed, level, b):
    draws = OrderedDraws.of(np.random.default_rng(seed).normal(size=(b, 1)))
    value = draws.quantile(level)
    expected = np.clip(level, 1 / (b + 1), b / (b + 1))
    for side in ("left", "right"):
        assert draws.rank(value, side)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", CI_TYPES)
def test_one_sided_limits_are_those_of_twice_the_tail(kind):
    samples, observed, parts = draws_of(5)
    both = interval(kind, samples, observed, 0.9, **parts)
    above = interval(kind, samples, observed, 0.95, "greater", **parts)
    below = interval(kind, samples, observed, 0.95, "less", **parts)
    np.testing.assert_allclose(above.lower, both.lower)
    np.testing.assert_allclose(below.upper, both.upper)
    assert np.all(above.upper == np.inf)
    assert np.all(below.lower == -np.inf)
    assert np.all(above.mcse_upper == 0)


# ---- edges -------------------------------------------------------------------------------------------------------


def test_failed_draws_are_left_out_and_dropped_columns_stay_missing():
    samples, observed, _ = draws_of(1, b=300, p=3)
    observed[1], samples[:, 1] = np.nan, np.nan
    holes = samples.copy()
    holes[[3, 77]] = np.nan
    without = interval("percentile", np.delete(samples, [3, 77], axis=0), observed)
    found = interval("percentile", holes, observed)
    np.testing.assert_array_equal(found.lower, without.lower)
    assert np.isnan(found.lower[1])
    assert np.isnan(p_value("percentile", holes, observed)[1])


def test_draws_that_are_all_equal_have_no_limits():
    for kind in CI_TYPES:
        samples, observed, parts = draws_of(1, b=300)
        samples[:, 0] = 4.0
        found = interval(kind, samples, observed, **parts)
        assert np.isnan(found.lower[0])
        assert np.isfinite(found.lower[1])


@pytest.mark.parametrize("kind", CI_TYPES)
def test_too_few_draws_to_speak_of(kind):
    _, observed, parts = draws_of(1, b=1)
    for b in (0, 1):
        parts["se_draws"] = np.ones((b, 2))
        found = interval(kind, np.zeros((b, 2)), observed, **parts)
        assert np.isnan(found.lower).all()
        assert np.isnan(p_value(kind, np.zeros((b, 2)), observed, **parts)).all()


def test_a_limit_beyond_the_outermost_draw_is_that_draw_or_nothing():
    samples, observed, _ = draws_of(2, b=100)
    extreme = interval("percentile", samples, observed, 0.99)
    np.testing.assert_array_equal(extreme.lower, samples.min(0))
    assert np.all(extreme.tail_draws < 1)
    null = interval("percentile", samples, observed, 0.99, beyond="null")
    assert np.isnan(null.lower).all()
    assert np.isnan(null.mcse_lower).all()


FALLBACKS = {
    "estimate outside the draws": lambda s, o, j: (s, o + 50, j),
    "discrete statistic": lambda s, o, j: (np.round(s * 4) / 4, o, j),
    "acceleration undefined": lambda s, o, j: (s, o, np.ones_like(j)),
}


@pytest.mark.parametrize("reason", FALLBACKS)
def test_bca_falls_back_to_expanded_and_names_the_reason(reason):
    samples, observed, parts = draws_of(3)
    samples, observed, jackknife = FALLBACKS[reason](samples, observed, parts["jackknife"])
    shared = {"df": 37.0, "n": 40}
    found = interval("bca", samples, observed, jackknife=jackknife, **shared)
    assert set(found.notes) == {f"bca_fallback: {reason}"}
    expanded = interval("expanded", samples, observed, **shared)
    np.testing.assert_array_equal(found.lower, expanded.lower)
    np.testing.assert_array_equal(found.mcse_upper, expanded.mcse_upper)


@pytest.mark.parametrize("broken", [np.nan, 1e9])
def test_a_jackknife_that_failed_or_runs_away_gives_no_acceleration(broken):
    samples, observed, parts = draws_of(3)
    jackknife = parts["jackknife"].copy()
    jackknife[0, 1] = broken
    found = interval("bca", samples, observed, jackknife=jackknife)
    if np.isnan(broken):
        assert found.notes == ("", "bca_fallback: acceleration undefined")
    else:  # one row moves it all: |a| = 1/6 at most, for sums of cubes are below sums of squares to the 1.5
        assert found.notes == ("", "")


def test_ties_with_the_estimate_count_half():
    samples = np.r_[np.full(30, 1.0), np.linspace(0, 0.9, 85), np.linspace(1.1, 2, 85)][:, None]
    exact = bias_correction(OrderedDraws.of(samples), np.array([1.0]))
    rounded = bias_correction(OrderedDraws.of(samples + 1e-16), np.array([1.0 + 2e-16]))
    np.testing.assert_allclose(exact[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(rounded[0], 0.0, atol=1e-12)


def test_percentile_p_between_draws_counts_them():
    samples = np.arange(1.0, 100.0)[:, None]
    assert p_value("percentile", samples, np.array([50.0]), 3.0)[0] == pytest.approx(2 * 3 / 100)
    assert p_value("percentile", samples, np.array([50.0]), -7.0)[0] == pytest.approx(2 / 100), "never 0"
    assert p_value("percentile", samples, np.array([50.0]), 50.0)[0] == 1.0
    assert p_value("percentile", samples, np.array([50.0]), 3.0, "greater")[0] == pytest.approx(3 / 100)
    assert p_value("percentile", samples, np.array([50.0]), 3.0, "less")[0] == pytest.approx(97 / 100)


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (("percentil", 999, 0.95), "ci_type='percentile'"),
        (("percentile", 999, 0.95, "bigger"), "two-sided, greater, less"),
        (("percentile", 999, 95), "conf_level=0.95"),
        (("percentile", 999, 0.0), "between 0 and 1"),
        (("percentile", 0, 0.95), "1 or more"),
        (("percentile", 200, 0.999), "B = 200 cannot give 99.9 % limits\ntry:   n_boot >= 1,999"),
        (("basic", 38, 0.95), "n_boot >= 39"),
        (("bca", 45, 0.9), "n_boot >= 50"),
        (("studentized", 18, 0.95, "greater"), "n_boot >= 19"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(request_, words):
    with pytest.raises(InferenceError) as refused:
        check_interval_request(*request_)
    assert words in str(refused.value)


@pytest.mark.parametrize("kind", CI_TYPES)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_number_asked_for_is_just_enough(kind, level):
    needed = draws_needed(kind, level, df=30.0, inflation=32 / 30)
    check_interval_request(kind, needed, level, df=30.0, inflation=32 / 30)
    if kind not in ("normal", "bca"):
        samples = np.random.default_rng(1).normal(size=(needed, 1))
        parts = {"se_draws": np.ones_like(samples), "se_observed": np.ones(1), "df": 30.0, "n": 32, "beyond": "null"}
        assert np.isfinite(interval(kind, samples, np.zeros(1), level, **parts).lower[0])
        fewer = {**parts, "se_draws": np.ones((needed - 1, 1))}
        assert np.isnan(interval(kind, samples[1:], np.zeros(1), level, **fewer).lower[0])


def test_studentized_limits_without_standard_errors_are_refused():
    samples, observed, _ = draws_of()
    for ask in (interval, lambda kind, s, o: p_value(kind, s, o)):
        with pytest.raises(InferenceError, match="no standard errors of their own"):
            ask("studentized", samples, observed)


def test_unknown_types_are_refused_by_the_engine_too():
    samples, observed, _ = draws_of()
    with pytest.raises(InferenceError, match="percentile, basic"):
        interval("wilson", samples, observed)
    with pytest.raises(InferenceError, match="percentile, basic"):
        p_value("wilson", samples, observed)


@pytest.mark.parametrize("unit", [1e-100, 1e-60, 1e60, 1e100, 1e140])
@pytest.mark.parametrize("ci_type", ["percentile", "bca", "normal"])
def test_limits_and_their_errors_follow_the_unit_however_far(ci_type, unit):
    """Fourth powers and cubes leave the range of a double long before the numbers themselves do."""
    rng = np.random.default_rng(1)
    samples, jackknife = rng.gamma(2, size=(400, 2)), rng.gamma(2, size=(30, 2))
    plain = interval(ci_type, samples, [2.0, 1.5], jackknife=jackknife)
    scaled = interval(ci_type, unit * samples, unit * np.array([2.0, 1.5]), jackknife=unit * jackknife)
    for name in ("lower", "upper", "mcse_lower", "mcse_upper"):
        np.testing.assert_allclose(getattr(scaled, name), unit * getattr(plain, name), rtol=1e-10)  # rounding
    assert plain.notes == scaled.notes
