"""Variances by cell: Welch's t test, combinations of means, interactions, covariates; refusals by name."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inference_core.errors import InferenceError
from inference_core.infer.asymptotic import compute_params_asymptotic, resolve_welch
from inference_core.infer.welch import cells_of, satterthwaite_df

from .handmade import fit_by_newton, make_bundle, make_spec


def one_factor(groups, labels=None, offset=None):
    """Treatment-coded y ~ g for a list of samples: (spec, bundle, fit, data)."""
    labels = [f"g{i}" for i in range(len(groups))] if labels is None else labels
    codes = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    X = np.column_stack([np.ones(codes.size), *(codes == j for j in range(1, len(groups)))]).astype(float)
    names = ("(Intercept)", *(f"g[{label}]" for label in labels[1:]))
    bundle = make_bundle(
        X, np.concatenate(groups), names=names, factor_levels={"g": tuple(labels)}, offset=offset
    )  # fmt: skip
    data = pl.DataFrame({"g": [labels[c] for c in codes]})
    return make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=2), data


def samples(seed, *sizes):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(), 10 ** rng.uniform(-1, 1), size=n) for n in sizes]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 30), m=st.integers(2, 30))
def test_two_groups_are_welchs_t_test(seed, n, m):
    first, second = samples(seed, n, m)
    spec, bundle, fit, data = one_factor([first, second])
    table = compute_params_asymptotic(spec, bundle, fit, 0.9, errors="unequal_var", data=data)
    test = stats.ttest_ind(second, first, equal_var=False)
    limits = test.confidence_interval(0.9)
    # the same arithmetic through a design matrix: rounding, times the ratio of the two spreads
    assert table.df[1] == pytest.approx(test.df, rel=1e-9)
    assert table.statistic[1] == pytest.approx(test.statistic, rel=1e-9)
    assert table.p_value[1] == pytest.approx(test.pvalue, rel=1e-8)
    assert (table.ci_lower[1], table.ci_upper[1]) == pytest.approx((limits.low, limits.high), rel=1e-8, abs=1e-9)
    # the intercept is the first mean with its own spread
    alone = stats.ttest_1samp(first, 0.0)
    assert (table.df[0], table.statistic[0]) == pytest.approx((n - 1, alone.statistic), rel=1e-9)


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided(alternative):
    first, second = samples(3, 9, 14)
    spec, bundle, fit, data = one_factor([first, second])
    table = compute_params_asymptotic(
        spec, bundle, fit, 0.95, errors="unequal_var", data=data, alternative=alternative, null=0.3
    )
    test = stats.ttest_ind(second - 0.3, first, equal_var=False, alternative=alternative)
    assert table.p_value[1] == pytest.approx(test.pvalue, rel=1e-9)  # same formula


def test_sleep_as_two_groups():
    """Student (1908) as independent groups: Welch df 17.77647, p .0793941; to the digits given."""
    drug1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    drug2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    spec, bundle, fit, data = one_factor([drug1, drug2])
    table = compute_params_asymptotic(spec, bundle, fit, 0.95, errors="unequal_var", data=data)
    assert (table.df[1], table.p_value[1]) == pytest.approx((17.77647, 0.0793941), rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_k_groups_are_pairs_with_the_first(seed):
    groups = samples(seed, 5, 12, 3, 8)
    spec, bundle, fit, data = one_factor(groups)
    vcov, df = resolve_welch(spec, bundle, fit, data)
    for j in range(1, 4):
        test = stats.ttest_ind(groups[j], groups[0], equal_var=False)
        assert (df[j], np.sqrt(vcov[j, j])) == pytest.approx((test.df, test._standard_error), rel=1e-8)
    # two slopes share the first mean, and nothing else
    share = np.var(groups[0], ddof=1) / 5
    np.testing.assert_allclose(vcov[1, 2], share, rtol=1e-8)
    np.testing.assert_allclose(vcov[0, 1:], -share, rtol=1e-8)


def crossed(seed, sizes, interaction=True):
    """y ~ a * b (or a + b) with the cell sizes given as a table, rows shuffled."""
    rng = np.random.default_rng(seed)
    a, b = (
        np.concatenate([np.full(n, i) for (i, j), n in np.ndenumerate(sizes)]),
        np.concatenate([np.full(n, j) for (i, j), n in np.ndenumerate(sizes)]),
    )
    order = rng.permutation(a.size)
    a, b = a[order], b[order]
    y = a - 2 * b + 3 * a * b + rng.normal(size=a.size) * (1 + a + 4 * b)
    columns = [np.ones(a.size), a, b, a * b] if interaction else [np.ones(a.size), a, b]
    names = ("(Intercept)", "a[1]", "b[1]", "a[1]:b[1]")[: len(columns)]
    bundle = make_bundle(
        np.column_stack(columns).astype(float), y, names=names, factor_levels={"a": ("0", "1"), "b": ("0", "1")}
    )
    data = pl.DataFrame({"a": a.astype(str), "b": b.astype(str)})
    return make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=2), data


def by_hand(bundle, data, weights_of_means):
    """(sum c^2 s^2/n) and its df, for coefficients that are sums of cell means with weights c."""
    total, below = 0.0, 0.0
    for (a, b), c in weights_of_means.items():
        y = bundle.y[((data["a"] == a) & (data["b"] == b)).to_numpy()]
        part = c**2 * np.var(y, ddof=1) / y.size
        total, below = total + part, below + part**2 / (y.size - 1)
    return total, total**2 / below


@given(seed=st.integers(0, 2**32 - 1))
def test_an_interaction_is_a_contrast_of_four_means(seed):
    spec, bundle, fit, data = crossed(seed, [[4, 9], [7, 3]])
    vcov, df = resolve_welch(spec, bundle, fit, data)
    weights = {("1", "1"): 1, ("1", "0"): -1, ("0", "1"): -1, ("0", "0"): 1}
    assert (vcov[3, 3], df[3]) == pytest.approx(by_hand(bundle, data, weights), rel=1e-9)  # closed form
    assert (vcov[1, 1], df[1]) == pytest.approx(by_hand(bundle, data, {("1", "0"): 1, ("0", "0"): -1}), rel=1e-9)


def test_additive_factors_keep_the_variances_of_their_cells():
    """Balanced y ~ a + b: the slope of a is the difference of the mean of two cells and that of the other two.

    The data do have an interaction; lack of fit must not enter the variances.
    """
    spec, bundle, fit, data = crossed(5, [[6, 6], [6, 6]], interaction=False)
    vcov, df = resolve_welch(spec, bundle, fit, data)
    weights = {("1", "0"): 0.5, ("1", "1"): 0.5, ("0", "0"): -0.5, ("0", "1"): -0.5}
    assert (vcov[1, 1], df[1]) == pytest.approx(by_hand(bundle, data, weights), rel=1e-10)  # closed form


def test_recoding_the_factor_changes_the_question_not_the_answer():
    """Sum coding of two groups: its slope is half of (first - second), so half the error and the same df."""
    groups = samples(8, 6, 11)
    spec, bundle, fit, data = one_factor(groups)
    X = np.column_stack([np.ones(17), np.repeat([1.0, -1.0], [6, 11])])
    coded = make_bundle(X, bundle.y, names=("(Intercept)", "g[S.g0]"), factor_levels=dict(bundle.factor_levels))
    vcov, df = resolve_welch(spec, bundle, fit, data)
    vcov_sum, df_sum = resolve_welch(spec, coded, fit_by_newton(spec, coded, steps=2), data)
    assert (vcov_sum[1, 1], df_sum[1]) == pytest.approx((vcov[1, 1] / 4, df[1]), rel=1e-10)  # a linear map


def with_covariate(seed=0, sizes=(8, 15), own_slopes=False):
    rng = np.random.default_rng(seed)
    g = np.repeat([0.0, 1.0], sizes)
    x = rng.normal(size=g.size)
    y = 2 * x + g + rng.normal(size=g.size) * (1 + 3 * g)
    columns = [np.ones(g.size), g, x, *([g * x] if own_slopes else [])]
    bundle = make_bundle(np.column_stack(columns), y, factor_levels={"g": ("0", "1")})
    return make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=2), pl.DataFrame({"g": g.astype(int)})


def test_own_slopes_are_two_regressions():
    """y ~ g * x: the difference of two slopes with the variance and n - 2 df of each regression."""
    spec, bundle, fit, data = with_covariate(own_slopes=True)
    vcov, df = resolve_welch(spec, bundle, fit, data)
    parts, dofs = [], []
    for level in (0, 1):
        rows = (data["g"] == level).to_numpy()
        line = stats.linregress(bundle.X[rows, 2], bundle.y[rows])
        parts.append(line.stderr**2)
        dofs.append(rows.sum() - 2)
    parts, dofs = np.array(parts), np.array(dofs)
    expected = (parts.sum(), parts.sum() ** 2 / (parts**2 / dofs).sum())
    assert (vcov[3, 3], df[3]) == pytest.approx(expected, rel=1e-9)  # closed form


def test_a_shared_slope_costs_each_cell_its_share():
    """The degrees of freedom of the cells add up to n less cells less covariates, and those of a slope lie below."""
    spec, bundle, fit, data = with_covariate()
    vcov, df = resolve_welch(spec, bundle, fit, data)
    h = fit.leverage
    rows = [(data["g"] == level).to_numpy() for level in (0, 1)]
    dof = np.array([r.sum() - h[r].sum() for r in rows])
    assert dof.sum() == pytest.approx(23 - 3, rel=1e-12)  # the trace of the hat matrix
    variance = np.array([np.sum(fit.residuals[r] ** 2) for r in rows]) / dof
    u = np.linalg.pinv(bundle.X)
    parts = np.array([np.sum(u[:, r] ** 2, axis=1) for r in rows]) * variance[:, None]
    np.testing.assert_allclose(np.diag(vcov), parts.sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(df, satterthwaite_df(parts, dof), rtol=1e-10)
    assert np.all(df >= dof.min() - 1e-9) and np.all(df <= dof.sum() + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 16), (10, 10), (6, 30)])
def test_coverage_beside_a_covariate(sizes):
    """SD 3 against 1: 95 % limits of the group's slope cover it in about 94 to 95 % of data sets."""
    rng = np.random.default_rng(1)
    g = np.repeat([0.0, 1.0], sizes)
    data, covered = pl.DataFrame({"g": g.astype(int)}), 0
    for _ in range(4000):
        x = rng.normal(size=g.size) + 0.7 * g
        y = x + rng.normal(size=g.size) * np.where(g == 0, 3.0, 1.0)
        bundle = make_bundle(np.column_stack([np.ones(g.size), g, x]), y, factor_levels={"g": ("0", "1")})
        fit = fit_by_newton(make_spec(), bundle, steps=1)
        table = compute_params_asymptotic(make_spec(), bundle, fit, 0.95, errors="unequal_var", data=data)
        covered += table.ci_lower[1] <= 0 <= table.ci_upper[1]
    assert 0.925 < covered / 4000 < 0.965  # measured 94.1 to 94.5; four Monte-Carlo errors are 1.4 points


@given(
    parts=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3),
    dof=st.lists(st.integers(1, 99), min_size=3, max_size=3),
)
def test_satterthwaite_lies_between_the_smallest_and_the_sum(parts, dof):
    df = satterthwaite_df(np.array(parts)[:, None], np.array(dof, float))[0]
    assert min(dof) * (1 - 1e-12) <= df <= sum(dof) * (1 + 1e-12)  # equality up to rounding


def test_an_offset_is_taken_off_first():
    groups = samples(4, 7, 9)
    spec, bundle, fit, data = one_factor(groups)
    shift = np.linspace(0, 50, 16)
    moved = make_bundle(
        bundle.X, bundle.y + shift, names=bundle.X_names, offset=shift, factor_levels=dict(bundle.factor_levels)
    )
    ours = resolve_welch(spec, moved, fit_by_newton(spec, moved, steps=2), data)
    for a, b in zip(ours, resolve_welch(spec, bundle, fit, data), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)  # rounding of y + shift


def test_rows_that_went_missing_are_not_in_the_cells():
    groups = samples(6, 5, 6)
    spec, bundle, fit, data = one_factor(groups)
    whole = pl.concat([pl.DataFrame({"g": ["g1", "g9"]}), data])
    mask = np.array([False, False, *[True] * 11])
    partial = make_bundle(
        bundle.X, bundle.y, names=bundle.X_names, factor_levels=dict(bundle.factor_levels), valid_mask=mask, n_total=13
    )
    assert cells_of(partial, whole).names == ("g=g0", "g=g1")
    for a, b in zip(resolve_welch(spec, partial, fit, whole), resolve_welch(spec, bundle, fit, data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cells_without_data_come_from_the_design():
    spec, bundle, fit, data = one_factor(samples(2, 4, 5, 6))
    named = make_bundle(bundle.X, bundle.y, names=("(Intercept)", "g", "g"), factor_levels={"g": ("a", "b", "c")})
    for a, b in zip(resolve_welch(spec, named, fit, None), resolve_welch(spec, bundle, fit, data), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropped_columns_stay_empty():
    spec, bundle, fit, data = one_factor(samples(2, 4, 5))
    wide = make_bundle(
        np.column_stack([bundle.X, 1 - bundle.X[:, 1]]), bundle.y, kept=[0, 1], factor_levels={"g": ("g0", "g1")}
    )
    vcov, df = resolve_welch(spec, wide, fit_by_newton(spec, wide, steps=2), data)
    assert np.isnan(df).tolist() == [False, False, True] and np.isnan(vcov[2]).all()
    np.testing.assert_allclose(df[:2], resolve_welch(spec, bundle, fit, data)[1], rtol=1e-12)


# ---- refusals ------------------------------------------------------------------------------------------------


def refusal_of(spec, bundle, fit, data):
    with pytest.raises(InferenceError) as refusal:
        compute_params_asymptotic(spec, bundle, fit, 0.95, errors="unequal_var", data=data)
    assert refusal.value.asked == "errors='unequal_var'"
    return refusal.value.found, refusal.value.remedy


HC3 = "errors='HC3' allows unequal variances without cells"


def test_cells_with_one_row_are_named():
    spec, bundle, fit, data = one_factor([[1.0, 2.0], [3.0], [5.0, 6.5], [4.0]], ["red", "green", "blue", "grey"])
    assert refusal_of(spec, bundle, fit, data) == ("g=green; g=grey: one row, so no variance", HC3)


def test_cells_without_scatter_are_named():
    spec, bundle, fit, data = one_factor([[1.0, 2.0], [3.1, 3.1, 3.1]], ["red", "green"])
    assert refusal_of(spec, bundle, fit, data) == ("g=green: the same response in every row, a variance of 0", HC3)


def test_many_bad_cells_are_counted():
    spec, bundle, fit, data = one_factor([[float(i)] for i in range(5)] + [[1.0, 2.0]])
    assert refusal_of(spec, bundle, fit, data)[0] == "g=g0; g=g1; g=g2 and 2 more: one row, so no variance"


def test_crossed_cells_are_named_by_both_levels():
    spec, bundle, fit, data = crossed(1, [[4, 5], [1, 3]])
    assert refusal_of(spec, bundle, fit, data)[0] == "a=1, b=0: one row, so no variance"


def test_covariates_that_use_a_cell_up():
    spec, bundle, _, data = with_covariate(sizes=(2, 9), own_slopes=True)
    fit = fit_by_newton(spec, bundle, steps=2)
    assert refusal_of(spec, bundle, fit, data)[0] == "g=0: as many covariates as rows, so no variance"


def test_models_without_cells():
    spec, bundle, fit, data = one_factor(samples(0, 4, 4))
    plain = make_bundle(bundle.X, bundle.y)
    assert refusal_of(spec, plain, fit, data) == ("no factor in the model, so no cells to take variances of", HC3)
    weighted = make_bundle(bundle.X, bundle.y, weights=np.ones(8), factor_levels={"g": ("g0", "g1")})
    assert refusal_of(spec, weighted, fit, data) == (
        "weights: they already say how the variance differs from row to row",
        f"drop one; {HC3}",
    )
    assert refusal_of(make_spec("binomial", "logit"), bundle, fit, data) == (
        "a binomial model with logit link: its variance follows from its mean, not a cell",
        "errors='HC0' to 'HC4' allow the scatter to differ",
    )
    assert refusal_of(make_spec(has_random_effects=True), bundle, fit, data) == (
        "cell variances of mixed models are not built yet in this version",
        "errors='iid'",
    )
    nowhere = make_bundle(bundle.X, bundle.y, factor_levels={"I(x > 3):h": ("a", "b")})
    assert refusal_of(spec, nowhere, fit, data)[0] == "the levels of I(x > 3):h cannot be read from the data"
