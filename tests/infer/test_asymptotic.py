"""Wald tables: references, nulls, alternatives, levels; against scipy, closed forms and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.asymptotic import ERROR_TYPES, compute_params_asymptotic, resolve_error_type
from inference_core.infer.coefficient import coefficient_inference, resolve_null
from inference_core.infer.distributions import critical_value, lower_tail, quantile, tail_probability
from inference_core.infer.sandwich import sandwich_vcov

from .handmade import GLMS, fit_by_newton, generalized, linear, make_bundle, make_spec

# ---- distributions ------------------------------------------------------------------------------------------


def test_tails_in_closed_form():
    t = -np.array([1e-3, 0.5, 1.0, 30.0, 1e4, 1e8])
    # t with 1 df is Cauchy; with 2 df the tail is 1 / (s (s + |t|)), s = sqrt(2 + t^2). Both to rounding.
    np.testing.assert_allclose(lower_tail(t, 1.0), np.arctan2(1, -t) / np.pi, rtol=1e-13)
    s = np.sqrt(2 + t**2)
    np.testing.assert_allclose(lower_tail(t, 2.0), 1 / (s * (s + np.abs(t))), rtol=1e-13)


@pytest.mark.parametrize("df", [1.0, 3.3, 10.0, 250.5, np.inf])
def test_far_tails_keep_their_digits(df):
    t = np.array([5.0, 12.0, 30.0])
    expected = stats.norm.sf(t) if np.isinf(df) else stats.t.sf(t, df)
    np.testing.assert_allclose(tail_probability(t, df, "greater"), expected, rtol=1e-12)  # two algorithms
    assert np.all(tail_probability(t, df, "greater") > 0)


@given(p=st.floats(1e-12, 0.5), df=st.one_of(st.floats(1, 1e6), st.just(np.inf)))
def test_quantile_inverts_the_tail(p, df):
    assert lower_tail(quantile(p, df), df) == pytest.approx(p, rel=1e-9)  # the quantile is solved for iteratively


def test_nothing_comes_from_nothing():
    assert np.isnan(tail_probability(np.array([np.nan]), 5.0)).all()
    assert np.isnan(critical_value(0.95, np.array([np.nan]))).all()


def test_known_critical_values():
    """Tables of Student's t: 2.228 at 10 df, 1.812 one-sided; the normal's 1.959963985."""
    assert critical_value(0.95, 10.0) == pytest.approx(2.228138852, rel=1e-9)  # digits of the table
    assert critical_value(0.95, 10.0, "greater") == pytest.approx(1.812461123, rel=1e-9)
    assert critical_value(0.95, np.inf) == pytest.approx(1.959963984540054, rel=1e-14)


# ---- coefficient_inference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_one_sample_t_test(alternative, level):
    y = np.array([5.1, 4.9, 6.2, 5.8, 4.4, 6.6, 5.0])
    bundle = make_bundle(np.ones((7, 1)), y)
    fit = fit_by_newton(make_spec(), bundle, steps=1)
    table = compute_params_asymptotic(make_spec(), bundle, fit, level, null=5.0, alternative=alternative)
    test = stats.ttest_1samp(y, 5.0, alternative=alternative)
    limits = test.confidence_interval(level)
    # scipy does the same arithmetic: rounding only
    assert table.statistic[0] == pytest.approx(test.statistic, rel=1e-12)
    assert table.p_value[0] == pytest.approx(test.pvalue, rel=1e-12)
    assert (table.ci_lower[0], table.ci_upper[0]) == pytest.approx((limits.low, limits.high), rel=1e-12)
    assert table.df[0] == 6


def test_sleep_paired():
    """Student (1908): t p .00283289, interval [.700114, 2.459886]; given to 6 digits."""
    difference = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    bundle = make_bundle(np.ones((10, 1)), difference)
    table = compute_params_asymptotic(make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=1), 0.95)
    assert table.p_value[0] == pytest.approx(0.00283289, rel=1e-6)
    assert (table.ci_lower[0], table.ci_upper[0]) == pytest.approx((0.700114, 2.459886), rel=1e-6)


def test_linregress():
    spec, bundle, fit = linear(9, n=15, p=2)
    line = stats.linregress(bundle.X[:, 1], bundle.y)
    table = compute_params_asymptotic(spec, bundle, fit, 0.95)
    np.testing.assert_allclose([table.se[1], table.p_value[1]], [line.stderr, line.pvalue], rtol=1e-9)  # condition


COEF = st.floats(-1e3, 1e3)
SE = st.floats(1e-3, 1e3)
DF = st.one_of(st.floats(1, 500), st.just(np.inf))
LEVEL = st.floats(0.01, 0.999)


@given(coef=COEF, se=SE, df=DF, level=LEVEL, alternative=st.sampled_from(["two-sided", "greater", "less"]))
def test_p_is_the_level_at_which_the_interval_excludes_the_null(coef, se, df, level, alternative):
    at_limit = coefficient_inference([coef], [se], df, level, 0.0, alternative)
    for limit in (at_limit.ci_lower[0], at_limit.ci_upper[0]):
        if np.isfinite(limit):
            p = coefficient_inference([coef], [se], df, level, limit, alternative).p_value[0]
            # (coef - limit) cancels up to 1e3 / 1e-3 of its digits
            assert p == pytest.approx(1 - level, rel=1e-6, abs=1e-9)


@given(coef=COEF, se=SE, df=DF, null=COEF)
def test_one_sided_p_values_add_up_to_one(coef, se, df, null):
    less, greater, both = (
        coefficient_inference([coef], [se], df, 0.9, null, a).p_value[0] for a in ("less", "greater", "two-sided")
    )
    assert less + greater == pytest.approx(1, abs=1e-12)  # two tails of one distribution
    assert both == pytest.approx(2 * min(less, greater), rel=1e-12)


@given(coef=COEF, se=SE, df=DF, level=LEVEL, more=st.floats(1e-4, 0.5))
def test_a_higher_level_widens(coef, se, df, level, more):
    narrow = coefficient_inference([coef], [se], df, level)
    wide = coefficient_inference([coef], [se], df, level + more * (1 - level))
    assert wide.ci_lower[0] <= narrow.ci_lower[0] and wide.ci_upper[0] >= narrow.ci_upper[0]


def test_one_sided_limits_are_open_on_the_other_side():
    greater = coefficient_inference([1.0, np.nan], [1.0, np.nan], 5.0, alternative="greater")
    less = coefficient_inference([1.0, np.nan], [1.0, np.nan], 5.0, alternative="less")
    assert greater.ci_upper[0] == np.inf and np.isfinite(greater.ci_lower[0])
    assert less.ci_lower[0] == -np.inf and np.isfinite(less.ci_upper[0])
    for table in (greater, less):  # a dropped column has no limits, not infinite ones
        assert np.isnan([table.ci_lower[1], table.ci_upper[1], table.df[1], table.p_value[1]]).all()


def test_no_scatter_no_test():
    table = coefficient_inference([1.0, 0.0], [0.0, 0.0], 3.0)
    assert np.isnan(table.statistic).all() and np.isnan(table.p_value).all()
    assert table.ci_lower[0] == table.ci_upper[0] == 1.0


# ---- nulls ---------------------------------------------------------------------------------------------------


def test_nulls_one_each_by_name_or_for_all():
    spec, bundle, fit = linear(1)
    each = compute_params_asymptotic(spec, bundle, fit, 0.95, null=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(each.statistic, (fit.coef - [1, 2, 3]) / each.se, rtol=1e-12)  # the definition
    named = compute_params_asymptotic(spec, bundle, fit, 0.95, null={"b2": 3.0})
    assert named.statistic[2] == each.statistic[2]
    assert named.statistic[0] == compute_params_asymptotic(spec, bundle, fit, 0.95).statistic[0]
    assert each.null.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("null", "message"),
    [
        ([1.0, 2.0], "the model has 3 parameters: a, b, c"),
        (np.nan, "a null value is a finite number"),
        (np.inf, "a null value is a finite number"),
        ("zero", "a null value is a finite number"),
        (True, "a null value is a finite number"),
        (None, "a null value is a finite number"),
        ({"bb": 1.0}, "no parameter 'bb'; the model has a, b, c"),
        ({"b": "x"}, "a null value is a finite number"),
        ([[1, 2, 3]], "null with 3 values"),
    ],
)
def test_nulls_that_make_no_sense(null, message):
    with pytest.raises(InferenceError, match=message):
        resolve_null(null, ("a", "b", "c"))


# ---- levels and words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "remedy"),
    [
        (95, "type 0.95 for 95%"),
        (1.5, "type 0.015 for 1.5%"),
        (99.9, "type 0.999 for 99.9%"),
        (0, "type 0.95 for 95%"),
        (1, "type 0.95 for 95%"),
        (-0.5, "type 0.95 for 95%"),
        (np.nan, "type 0.95 for 95%"),
        ("0.95", "type 0.95 for 95%"),
        (True, "type 0.95 for 95%"),
        (None, "type 0.95 for 95%"),
    ],
)
def test_levels_outside_0_and_1(level, remedy):
    with pytest.raises(InferenceError) as refusal:
        compute_params_asymptotic(*linear(), level)
    expected = f"asked: conf_level={level!r}\nfound: a level is a share between 0 and 1\ntry:   {remedy}"
    assert str(refusal.value) == expected


def test_an_unknown_alternative():
    with pytest.raises(InferenceError, match="alternative is one of two-sided, greater, less"):
        compute_params_asymptotic(*linear(), 0.95, alternative="two.sided")


@pytest.mark.parametrize(
    ("errors", "family", "resolved"),
    [
        ("hetero", "gaussian", "HC3"), ("hetero", "poisson", "HC0"), ("hetero", "binomial", "HC0"),
        ("iid", "gamma", "iid"),
        ("HC0", "gaussian", "HC0"), ("HC4", "poisson", "HC4"), ("unequal_var", "gaussian", "unequal_var"),
    ],
)  # fmt: skip
def test_error_types(errors, family, resolved):
    assert resolve_error_type(errors, family) == resolved
    assert resolve_error_type(resolved, family) == resolved  # canonical names stand for themselves


def test_cluster_robust_errors_need_groups():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit()
    with pytest.raises(InferenceError, match="this model has no groups"):
        compute_params_asymptotic(m.spec, m.bundle, m.fit_state, 0.95, errors="CR2")


@pytest.mark.parametrize(
    ("errors", "found", "remedy"),
    [
        ("hc3", f"errors are {', '.join(ERROR_TYPES)}", "did you mean 'HC3'?"),
        ("HC5", f"errors are {', '.join(ERROR_TYPES)}", "did you mean 'HC4'?"),
        ("welch", f"errors are {', '.join(ERROR_TYPES)}", "did you mean 'unequal_var'?"),
        ("unequal", f"errors are {', '.join(ERROR_TYPES)}", "did you mean 'unequal_var'?"),
        ("zzz", f"errors are {', '.join(ERROR_TYPES)}", "errors='HC3' allows unequal scatter"),
    ],
)
def test_unknown_error_types(errors, found, remedy):
    with pytest.raises(InferenceError) as refusal:
        resolve_error_type(errors)
    assert (refusal.value.asked, refusal.value.found, refusal.value.remedy) == (f"errors={errors!r}", found, remedy)


# ---- references ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "link"), GLMS)
@pytest.mark.parametrize("errors", ["iid", "HC3", "hetero"])
def test_t_where_the_dispersion_is_estimated_else_z(family, link, errors):
    spec, bundle, fit = generalized(family, link, seed=2)
    table = compute_params_asymptotic(spec, bundle, fit, 0.95, errors=errors)
    assert np.all(table.df == (np.inf if family in ("binomial", "poisson") else fit.df_resid))
    assert table.errors == {"hetero": "HC3" if family == "gaussian" else "HC0"}.get(errors, errors)
    expected = fit.vcov if errors == "iid" else sandwich_vcov(spec, bundle, fit, table.errors)
    np.testing.assert_array_equal(table.se, np.sqrt(np.diag(expected)))


def test_dropped_columns_are_empty_rows():
    spec, bundle, _ = linear(3)
    X = np.column_stack([bundle.X, bundle.X[:, 1] - 2 * bundle.X[:, 2]])
    wide = make_bundle(X, bundle.y, kept=[0, 1, 2])
    for errors in ("iid", "HC3"):
        table = compute_params_asymptotic(spec, wide, fit_by_newton(spec, wide, steps=2), 0.95, errors=errors)
        for values in (table.se, table.statistic, table.df, table.p_value, table.ci_lower, table.ci_upper):
            assert np.isnan(values).tolist() == [False, False, False, True]


def test_an_offset_moves_the_estimate_not_the_error():
    spec, bundle, fit = linear(4)
    shifted = make_bundle(bundle.X, bundle.y + 3 * bundle.X[:, 1], offset=3 * bundle.X[:, 1])
    a = compute_params_asymptotic(spec, bundle, fit, 0.95, errors="HC3")
    b = compute_params_asymptotic(spec, shifted, fit_by_newton(spec, shifted, steps=2), 0.95, errors="HC3")
    np.testing.assert_allclose(a.se, b.se, rtol=1e-9)  # same residuals up to rounding of y + 3x
    np.testing.assert_allclose(a.ci_lower, b.ci_lower, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_units_of_y(seed, scale):
    spec, bundle, fit = linear(seed)
    scaled = make_bundle(bundle.X, scale * bundle.y)
    for errors in ("iid", "HC2"):
        a = compute_params_asymptotic(spec, bundle, fit, 0.95, errors=errors)
        b = compute_params_asymptotic(spec, scaled, fit_by_newton(spec, scaled, steps=2), 0.95, errors=errors)
        np.testing.assert_allclose(b.se, scale * a.se, rtol=1e-8)  # condition of a random design
        np.testing.assert_allclose(b.p_value, a.p_value, rtol=1e-6)  # p magnifies the error of t by up to t^2


# ---- notes ---------------------------------------------------------------------------------------------------


def test_unequal_scatter_is_said_under_the_table():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 10, 60)
    y = 1 + x + rng.normal(size=60) * x**2
    bundle = make_bundle(np.column_stack([np.ones(60), x]), y, names=("(Intercept)", "x"))
    fit = fit_by_newton(make_spec(), bundle, steps=2)
    (note,) = compute_params_asymptotic(make_spec(), bundle, fit, 0.95).notes
    assert note.startswith("HC3 and classical standard errors differ by more than 25% ((Intercept): HC3 is 0.")
    assert note.endswith("errors='HC3' allows unequal scatter")
    assert compute_params_asymptotic(make_spec(), bundle, fit, 0.95, errors="HC3").notes == ()


def test_equal_scatter_is_not():
    rng = np.random.default_rng(1)
    x = rng.uniform(size=400)
    bundle = make_bundle(np.column_stack([np.ones(400), x]), x + rng.normal(size=400))
    assert compute_params_asymptotic(make_spec(), bundle, fit_by_newton(make_spec(), bundle), 0.95).notes == ()


def test_a_perfect_fit_has_no_scatter_to_compare():
    X = np.column_stack([np.ones(5), np.arange(5.0)])
    bundle = make_bundle(X, 1.0 + np.arange(5.0))
    notes = compute_params_asymptotic(make_spec(), bundle, fit_by_newton(make_spec(), bundle), 0.95).notes
    assert not any("HC3" in note for note in notes)


def test_a_standard_error_of_zero_is_said():
    """0 + g with a level seen once: HC0 takes that mean to be exact."""
    X = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    bundle = make_bundle(X, np.array([1.0, 2.0, 4.0, 8.0]), names=("g[A]", "g[B]"))
    fit = fit_by_newton(make_spec(), bundle, steps=1)
    table = compute_params_asymptotic(make_spec(), bundle, fit, 0.95, errors="HC0")
    assert table.notes == (
        "row 3 (counting from 0) fixes its own value: HC0 takes it to be without error in g[B]",
        "the standard error of g[B] is 0: there is no test of it",
    )
    assert np.isnan(table.p_value[1]) and table.p_value[0] > 0
