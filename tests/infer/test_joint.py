"""Joint tests against comparisons of nested fits, closed forms, Welch's test, and the laws of each type."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy import stats

from inference_core import load_dataset, model
from inference_core.errors import InferenceError

ROUNDING = 1e-8  # relative: a least-squares solution between two codings of one design, squared


def effects(m, **options):
    return m.infer(how="joint", **options).effects


def uneven():
    """Two factors with an interaction and a number, cells of 2 to 9 rows."""
    rng = np.random.default_rng(5)
    cells = [("a", "x", 4), ("a", "y", 9), ("b", "x", 2), ("b", "y", 5), ("c", "x", 7), ("c", "y", 3)]
    f = np.repeat([c[0] for c in cells], [c[2] for c in cells])
    g = np.repeat([c[1] for c in cells], [c[2] for c in cells])
    z = rng.normal(3, 2, len(f))
    y = rng.normal(size=len(f)) + (f == "b") + 0.5 * z + (f == "c") * (g == "y")
    return pl.DataFrame({"y": y, "f": f, "g": g, "z": z})


def rss(formula, data):
    m = model(formula, data).fit()
    return m.fit_state.sigma**2 * m.fit_state.df_resid, m.fit_state.df_resid


def f_test(small, large, data, whole):
    """The extra sum of squares, over the residual variance of the whole model."""
    (rss_small, df_small), (rss_large, df_large) = rss(small, data), rss(large, data)
    rss_whole, df_whole = rss(whole, data)
    return ((rss_small - rss_large) / (df_small - df_large)) / (rss_whole / df_whole), df_small - df_large


def test_sequential_tests_are_extra_sums_of_squares():
    data, whole = uneven(), "y ~ f * g + z"
    table = effects(model(whole, data).fit(), ss_type="I")
    steps = ["y ~ 1", "y ~ f", "y ~ f + g", "y ~ f + g + z", "y ~ f * g + z"]
    assert table["term"].to_list() == ["f", "g", "z", "f:g"]
    for i, (small, large) in enumerate(pairwise(steps)):
        f, df = f_test(small, large, data, whole)
        np.testing.assert_allclose(table["statistic"][i], f, rtol=ROUNDING)
        assert table["df1"][i] == df


def test_type_two_leaves_out_what_contains_the_term():
    data, whole = uneven(), "y ~ f * g + z"
    table = effects(model(whole, data).fit(), ss_type="II")
    margins = "y ~ f + g + z"
    pairs = [("y ~ g + z", margins), ("y ~ f + z", margins), ("y ~ f * g", whole), (margins, whole)]
    for i, (small, large) in enumerate(pairs):
        np.testing.assert_allclose(table["statistic"][i], f_test(small, large, data, whole)[0], rtol=ROUNDING)


def test_type_three_is_the_test_of_balanced_means():
    """f: the equally weighted means of its levels, at the mean of z, are all equal; by hand from the cell means."""
    data = uneven()
    m = model("y ~ f * g + z", data).fit()
    table = effects(m)
    m.explore("pairwise(f)").infer(how="joint")
    np.testing.assert_allclose(table["statistic"][0], m.effects["statistic"][0], rtol=ROUNDING)
    t = m.explore("pairwise(g)").infer().effects["statistic"][0]
    np.testing.assert_allclose(table["statistic"][1], t**2, rtol=ROUNDING)


@pytest.mark.parametrize("coding", ["treatment", "sum", "helmert", "poly", "sequential"])
def test_type_three_does_not_know_the_coding(coding):
    data = uneven()
    reference = effects(model("y ~ f * g + z", data).fit())
    table = effects(model("y ~ f * g + z", data, contrasts={"f": coding, "g": coding}).fit())
    np.testing.assert_allclose(table["statistic"], reference["statistic"], rtol=ROUNDING)


def test_type_three_does_not_know_where_numbers_begin():
    """Moving the origin of z changes no test, though it changes every coefficient of f."""
    data = uneven()
    here = effects(model("y ~ f * z", data).fit())
    there = effects(model("y ~ f * z", data.with_columns(z=pl.col("z") + 1000)).fit())
    np.testing.assert_allclose(there["statistic"], here["statistic"], rtol=1e-5)  # 1000 costs six digits


def test_all_types_agree_where_cells_are_equal():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
    one, two, three = (effects(m, ss_type=t)["statistic"] for t in ("I", "II", "III"))
    np.testing.assert_allclose(one, two, rtol=ROUNDING)
    np.testing.assert_allclose(one, three, rtol=ROUNDING)


def test_a_basis_is_one_term():
    """poly(x, 2): the F of two columns, as the comparison with the model without it."""
    data = load_dataset("mtcars")
    table = effects(model("mpg ~ poly(wt, 2) + hp", data).fit())
    f, df = f_test("mpg ~ hp", "mpg ~ poly(wt, 2) + hp", data, "mpg ~ poly(wt, 2) + hp")
    assert (table["term"][0], table["df1"][0], df) == ("poly(wt, 2)", 2, 2)
    np.testing.assert_allclose(table["statistic"][0], f, rtol=ROUNDING)


def test_weights_take_part():
    data = uneven().with_columns(w=pl.Series(np.linspace(0.5, 3, 30)))
    m = model("y ~ f + z", data, weights="w").fit()
    small = model("y ~ z", data, weights="w").fit()
    extra = small.fit_state.sigma**2 * small.fit_state.df_resid - m.fit_state.sigma**2 * m.fit_state.df_resid
    for ss_type in ("II", "III"):
        statistic = effects(m, ss_type=ss_type)["statistic"][0]
        np.testing.assert_allclose(statistic, extra / 2 / m.fit_state.sigma**2, rtol=ROUNDING)


def test_empty_cells_test_what_is_left():
    data = uneven().filter(~((pl.col("f") == "b") & (pl.col("g") == "x")))
    m = model("y ~ f * g + z", data).fit()
    table = effects(m)
    f, df = f_test("y ~ f + g + z", "y ~ f * g + z", data, "y ~ f * g + z")
    assert (table["df1"][3], df) == (1, 1)
    np.testing.assert_allclose(table["statistic"][3], f, rtol=ROUNDING)
    assert any("cells are empty" in note for note in m.state.joint.notes)


def test_a_model_without_margins_is_tested_in_its_own_coding():
    data = uneven()
    m = model("y ~ f + f:z", data).fit()  # spans the slopes of every level, but has no margin z
    table = effects(m)
    assert table["term"].to_list() == ["f", "f:z"]
    f, _ = f_test("y ~ f", "y ~ f + f:z", data, "y ~ f + f:z")
    np.testing.assert_allclose(table["statistic"][1], f, rtol=ROUNDING)


def test_glm_is_chi_square():
    m = model("case ~ spontaneous + age", load_dataset("infert"), family="binomial").fit()
    table = effects(m)
    z = m.infer().params["statistic"][1:]
    np.testing.assert_allclose(table["statistic"], z**2, rtol=ROUNDING)
    assert table["df2"].is_infinite().all()
    np.testing.assert_allclose(table["p_value"], stats.chi2.sf(table["statistic"], 1), rtol=1e-10)  # two tails


def test_gamma_is_f():
    m = model("hp ~ wt + qsec", load_dataset("mtcars"), family="gamma", link="log").fit()
    table = effects(m)
    assert table["df2"].to_list() == [29, 29]
    np.testing.assert_allclose(table["statistic"], m.infer().params["statistic"][1:] ** 2, rtol=ROUNDING)


# STATISTICS: oneway.test of R: chickwts F 19.66172, df 5, 29.95204; ToothGrowth by dose F 68.40098, df 2, 37.74325
@pytest.mark.parametrize(
    ("data", "formula", "f", "df2"),
    [("chickwts", "weight ~ feed", 19.66172, 29.95204), ("toothgrowth", "len ~ factor(dose)", 68.40098, 37.74325)],
)
def test_welch(data, formula, f, df2):
    table = effects(model(formula, load_dataset(data)).fit(), errors="unequal_var")
    np.testing.assert_allclose([table["statistic"][0], table["df2"][0]], [f, df2], rtol=5e-7)  # the printed digits


def test_welch_of_two_groups_is_the_t_test():
    data = uneven().filter(pl.col("f") != "c")
    t = stats.ttest_ind(*(data.filter(pl.col("f") == level)["y"] for level in "ab"), equal_var=False)
    table = effects(model("y ~ f", data).fit(), errors="unequal_var")
    np.testing.assert_allclose(table["statistic"][0], t.statistic**2, rtol=ROUNDING)
    np.testing.assert_allclose(table["df2"][0], t.df, rtol=ROUNDING)


def test_single_columns_are_squared_t_tests_of_a_mixed_model():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    for errors in ("iid", "kenward-roger", "CR2"):
        table = effects(m, errors=errors)
        row = m.infer(errors=errors).params.row(1, named=True)
        np.testing.assert_allclose(table["statistic"][0], row["statistic"] ** 2, rtol=1e-6)  # KR's scale
        np.testing.assert_allclose(table["df2"][0], row["df"], rtol=1e-6)  # as above


def test_refusals():
    m = model("mpg ~ 1", load_dataset("mtcars")).fit()
    with pytest.raises(InferenceError, match="no terms"):
        m.infer(how="joint")
    m = model("case ~ spontaneous + education", load_dataset("infert"), family="binomial").fit()
    with pytest.raises(InferenceError, match="III"):
        m.infer(how="joint", ss_type="IV")
    with pytest.raises(InferenceError, match="effect_scale='link'"):
        m.explore("pairwise(education)").infer(how="joint")
    with pytest.raises(InferenceError, match="alternative"):
        m.infer(how="joint", alternative="greater")
