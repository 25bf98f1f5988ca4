"""Permutation tests of effects: against tests of coefficients, enumeration, refits one by one, and laws of max |t|."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer import compute_mee_permutation
from inference_core.infer.permutation import open_permutation_stream

SAME_DRAWS = 1e-9  # the same arrangements through another basis of the same design: rounding of t
SEARCH = 2e-3  # limits of two searches that each stop within 1e-3 of a standard error, which is some 5 here


def warp(formula="breaks ~ wool * tension", **options):
    return model(formula, load_dataset("warpbreaks"), **options).fit()


def cars(formula, **options):
    data = load_dataset("mtcars").with_columns(cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String))
    return model(formula, data, **options).fit()


@pytest.mark.parametrize(
    ("m", "coefficient", "text", "ask", "scheme"),
    [
        (warp("breaks ~ wool + tension"), "wool[B]", "revpairwise(wool)", {}, None),
        (warp("breaks ~ wool + tension"), "wool[B]", "revpairwise(wool)", {}, "sign_flip"),
        (cars("mpg ~ wt * cylf"), "wt", "wt ~ cylf@4", {}, None),
        (warp(family="poisson"), "wool[B]", "revpairwise(wool) ~ tension@L", {"effect_scale": "link"}, None),
        (cars("am ~ wt", family="binomial"), "wt", "wt", {"effect_scale": "link", "how": "mem"}, "y"),
    ],
    ids=["lm", "signs", "slope", "poisson", "shuffled-glm"],
)
def test_an_effect_that_is_a_coefficient_is_tested_as_one(m, coefficient, text, ask, scheme):
    options = {"how": "perm", "n_perm": 199, "seed": 3} | ({"scheme": scheme} if scheme else {})
    alone = m.fit().infer(**options).params.filter(pl.col("term") == coefficient).row(0, named=True)
    row = m.explore(text, **ask).infer(**options).effects.row(0, named=True)
    for name in ("estimate", "se", "statistic", "p_value"):
        assert row[name] == pytest.approx(alone[name], rel=SAME_DRAWS)
    for name in ("ci_lower", "ci_upper"):
        assert row[name] == pytest.approx(alone[name], abs=SEARCH * 5)
    assert row["df"] is None


def test_the_other_way_round_is_the_mirror_image():
    """A - B is minus B - A: the draws change sign, one-sided p-values change places."""
    for m, ask in ((warp("breaks ~ wool"), {}), (warp("breaks ~ wool", family="poisson"), {"effect_scale": "link"})):
        draws = {"how": "perm", "n_perm": 99, "seed": 5}
        there = m.explore("pairwise(wool)", **ask).infer(**draws, alternative="greater")
        first, t = there.effects, there.resamples["A - B"].to_numpy()
        back = m.explore("revpairwise(wool)", **ask).infer(**draws, alternative="less")
        np.testing.assert_allclose(t, -back.resamples["B - A"].to_numpy(), rtol=SAME_DRAWS)
        assert first["p_value"].item() == back.effects["p_value"].item()
        assert first["ci_lower"].item() == pytest.approx(-back.effects["ci_upper"].item(), abs=SEARCH * 5)


def test_two_small_groups_by_enumeration():
    """5 against 6 animals: all 462 splits, and |t| of each by the textbook formula."""
    y = np.array([3.1, 4.7, 2.2, 5.9, 4.0, 6.3, 5.2, 7.7, 4.9, 8.1, 6.6])
    g = ["a"] * 5 + ["b"] * 6
    m = model("y ~ g", {"y": y, "g": g}).fit().explore("pairwise(g)").infer(how="perm")

    def t(first):
        a, b = y[first], np.delete(y, first)
        pooled = (a.var() * len(a) + b.var() * len(b)) / (len(y) - 2)
        return (a.mean() - b.mean()) / np.sqrt(pooled * (1 / len(a) + 1 / len(b)))

    everything = np.array([t(list(c)) for c in combinations(range(11), 5)])
    share = np.mean(np.abs(everything) >= abs(t(list(range(5)))) - 1e-9)
    assert m.effects["p_value"].item() == pytest.approx(share, abs=1e-12)  # a count over 462
    assert "exact: all 462 arrangements were tried" in m.state.mee.inference.notes[0]


def test_freedman_lane_of_a_difference_of_differences_one_by_one():
    """The null model by elimination: a design whose own columns leave out the direction that is tested."""
    m = warp()
    state = m.explore("pairwise(wool):pairwise(tension)").infer(how="perm", n_perm=49, seed=7).state
    L, t = state.mee.L, m.resamples.drop("draw", "status").to_numpy()
    X, y = m.bundle.X, m.bundle.y
    stream = open_permutation_stream(m.spec, m.bundle, m.fit_state, seed=7, n_perm=49)
    orders = [stream.indices_of(i) for i in range(49)]
    xtx = np.linalg.inv(X.T @ X)
    for row in range(3):
        _, _, right = np.linalg.svd(L[[row]])
        null = X @ right[1:].T
        fitted = null @ np.linalg.lstsq(null, y, rcond=None)[0]
        for i, order in enumerate(orders):
            drawn = fitted + (y - fitted)[order]
            b = xtx @ X.T @ drawn
            rss = np.sum((drawn - X @ b) ** 2)
            se = np.sqrt(rss / (54 - 6) * (L[row] @ xtx @ L[row]))
            assert t[i, row] == pytest.approx(L[row] @ b / se, rel=1e-8, abs=1e-10)  # two ways to solve 6 equations


def test_coding_leaves_every_draw():
    plain = warp().explore("pairwise(tension)").infer(how="perm", n_perm=99, seed=2)
    recoded = warp(contrasts={"tension": "sum", "wool": "helmert"})
    recoded.explore("pairwise(tension)").infer(how="perm", n_perm=99, seed=2)
    np.testing.assert_allclose(
        plain.resamples.drop("status").to_numpy(), recoded.resamples.drop("status").to_numpy(), rtol=1e-7, atol=1e-9
    )  # another basis of the design: three digits of t near 0


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_largest_t_by_hand(alternative):
    """p = (1 + #{largest >= |t|}) / (B + 1) over the stored draws; limits leave out 0 exactly where p <= alpha."""
    sign = -1.0 if alternative == "less" else 1.0
    size = np.abs if alternative == "two-sided" else lambda t: sign * t
    for p_text, family in (("pairwise(tension)", 3), ("pairwise(tension) ~ wool", 3)):
        m = warp().explore(p_text, p_adjust="mvt")
        m.infer(how="perm", n_perm=399, seed=4, alternative=alternative, conf_level=0.9)
        table, t = m.effects, size(m.resamples.drop("draw", "status").to_numpy())
        own = size(table["statistic"].to_numpy())
        for start in range(0, table.height, family):
            rows = slice(start, start + family)
            peak = t[:, rows].max(1)
            by_hand = [(1 + np.sum(peak >= v)) / 400 for v in own[rows]]
            np.testing.assert_allclose(table["p_value"][rows].to_numpy(), by_hand, rtol=1e-12)  # counts
        outside = (table["ci_lower"] > 0) | (table["ci_upper"] < 0)
        assert outside.to_list() == (table["p_value"] <= 0.1 + 1e-12).to_list()
        single = warp().explore(p_text).infer(how="perm", n_perm=399, seed=4, alternative=alternative).effects
        assert np.all(table["p_value"].to_numpy() >= single["p_value"].to_numpy())
    assert m.state.mee.adjusted == "largest |t| of each draw"


@pytest.mark.parametrize(("rule", "factor"), [("bonferroni", 3.0), ("holm", None), ("sidak", None), ("fdr", None)])
def test_other_adjustments_share_out_the_level(rule, factor):
    m = warp()
    plain = m.explore("pairwise(tension)").infer(how="perm", n_perm=999, seed=1).effects
    wide = m.explore("pairwise(tension)").infer(how="perm", n_perm=999, seed=1, conf_level=1 - 0.05 / 3).effects
    table = m.explore("pairwise(tension)", p_adjust=rule).infer(how="perm", n_perm=999, seed=1).effects
    p = plain["p_value"].to_numpy()
    ordered = np.sort(p)
    expected = {
        "bonferroni": np.minimum(1, 3 * p), "sidak": 1 - (1 - p) ** 3,
        "holm": np.maximum.accumulate(np.minimum(1, ordered * [3, 2, 1]))[p.argsort().argsort()],
        "fdr": np.minimum.accumulate((ordered * 3 / [1, 2, 3])[::-1])[::-1][p.argsort().argsort()],
    }[rule]  # fmt: skip
    np.testing.assert_allclose(table["p_value"].to_numpy(), expected, rtol=1e-12)  # the rules on counts
    if rule != "sidak":
        np.testing.assert_allclose(table["ci_lower"].to_numpy(), wide["ci_lower"].to_numpy(), rtol=1e-12)  # same search
    assert table["ci_upper"][0] > plain["ci_upper"][0]
    assert factor is None or table["p_value"][0] == pytest.approx(factor * p[0])


def test_ratios_are_the_exponentials_of_the_link_scale():
    m = warp("breaks ~ wool + tension", family="poisson")
    ask = {"how": "perm", "n_perm": 199, "seed": 6}
    link = m.explore("pairwise(tension)", effect_scale="link").infer(**ask).effects
    ratio = m.explore("pairwise(tension)", comparison="ratio").infer(**ask).effects
    assert ratio["p_value"].to_list() == link["p_value"].to_list()
    for name in ("estimate", "ci_lower", "ci_upper"):
        np.testing.assert_allclose(ratio[name].to_numpy(), np.exp(link[name].to_numpy()), rtol=1e-12)  # one exp
    se = ratio["estimate"].to_numpy() * link["se"].to_numpy()
    np.testing.assert_allclose(ratio["se"].to_numpy(), se, rtol=1e-12)  # the delta method of exp
    doubled = m.explore("pairwise(tension)", comparison="ratio").infer(**ask, null=2.0).effects
    shifted = m.explore("pairwise(tension)", effect_scale="link").infer(**ask, null=float(np.log(2))).effects
    assert doubled["p_value"].to_list() == shifted["p_value"].to_list()


def test_null_values_move_the_test_and_not_the_limits():
    """At a limit the p-value is alpha: limits and nulls are one procedure."""
    m = warp().explore("pairwise(tension)")
    ask = {"how": "perm", "n_perm": 399, "seed": 8}
    at_zero = m.infer(**ask).effects
    lower, se = at_zero["ci_lower"].to_numpy(), at_zero["se"].to_numpy()
    outside = m.infer(**ask, null=(lower - 0.02 * se).tolist()).effects
    inside = m.infer(**ask, null=(lower + 0.02 * se).tolist()).effects
    # 0.02 se: twenty times the step at which the search for limits stops
    assert np.all(outside["p_value"].to_numpy() <= 0.05 + 1e-12) and np.all(inside["p_value"].to_numpy() > 0.05)
    np.testing.assert_allclose(inside["ci_lower"].to_numpy(), lower, atol=4e-3 * se.max())  # two such searches
    named = m.infer(**ask, null={"L - H": float(lower[1] - 0.02 * se[1])}).effects
    assert named["p_value"].to_list()[0] == at_zero["p_value"].to_list()[0]
    assert named["p_value"].to_list()[1] == outside["p_value"].to_list()[1]


def test_offsets_are_no_part_of_the_null():
    """y with an offset is y less the offset without one; means by flips, where the shift of the row enters."""
    data = load_dataset("warpbreaks").with_columns(known=pl.Series(np.linspace(0, 9, 54)))
    data = data.with_columns(rest=pl.col("breaks") - pl.col("known"))
    ask = {"how": "perm", "n_perm": 99, "seed": 1, "scheme": "sign_flip"}
    given = model("breaks ~ tension", data, offset="known").fit().explore("tension")
    shift = given.state.mee.shift
    first = given.infer(**ask, null=25.0).effects
    second = model("rest ~ tension", data).fit().explore("tension").infer(**ask, null=(25.0 - shift).tolist()).effects
    assert first["p_value"].to_list() == second["p_value"].to_list()
    np.testing.assert_allclose(first["statistic"].to_numpy(), second["statistic"].to_numpy(), rtol=SAME_DRAWS)
    np.testing.assert_allclose(first["ci_lower"].to_numpy(), second["ci_lower"].to_numpy() + shift, atol=SEARCH * 5)


def test_a_mean_by_flips_by_hand():
    """Signs of y - 18 flipped, and the one-sample t of each draw."""
    y = load_dataset("mtcars")["mpg"].to_numpy()
    m = model("mpg ~ 1", load_dataset("mtcars")).fit().explore("1")
    row = m.infer(how="perm", scheme="sign_flip", n_perm=299, seed=1, null=18.0).effects.row(0, named=True)
    stream = open_permutation_stream(m.spec, m.bundle, m.fit_state, scheme="sign_flip", seed=1, n_perm=299)
    z = np.array([stream.signs_of(i) for i in range(299)]) * (y - 18.0)
    t = np.abs(z.mean(1) / (z.std(1, ddof=1) / np.sqrt(32)))
    own = abs((y.mean() - 18.0) / (y.std(ddof=1) / np.sqrt(32)))
    assert row["p_value"] == pytest.approx((1 + np.sum(t >= own - 1e-9)) / 300, abs=1e-12)  # a count; mileages tie


def test_rows_without_an_estimate_are_not_tested():
    data = load_dataset("warpbreaks").filter(~((pl.col("wool") == "B") & (pl.col("tension") == "H")))
    m = model("breaks ~ wool * tension", data).fit().explore("pairwise(wool) ~ tension")
    table = m.infer(how="perm", n_perm=99, seed=1).effects
    assert table["p_value"].is_null().to_list() == [False, False, True]
    assert table["ci_lower"].is_null().to_list() == [False, False, True]


def test_robust_errors_inside_every_draw():
    m = warp().explore("pairwise(tension)")
    plain, robust = m.infer(how="perm", n_perm=99, seed=1).effects, None
    robust = m.infer(how="perm", n_perm=99, seed=1, errors="HC3").effects
    wald = warp().explore("pairwise(tension)").infer(errors="HC3").effects
    np.testing.assert_allclose(robust["se"].to_numpy(), wald["se"].to_numpy(), rtol=1e-9)  # two sandwiches
    np.testing.assert_allclose(robust["statistic"].to_numpy(), wald["statistic"].to_numpy(), rtol=1e-9)
    assert np.all(plain["se"].to_numpy() != robust["se"].to_numpy())


@pytest.mark.parametrize(
    ("m", "text", "ask", "infer", "found", "way_out"),
    [
        (warp(), "wool", {}, {}, "permuting cannot move a mean", ("pairwise(wool)", {}, {})),
        (warp(), "wool", {}, {}, "permuting cannot move a mean", ("wool", {}, {"scheme": "sign_flip"})),
        (warp(), "wool[0.5*A + 0.5*B]", {}, {}, "permuting cannot move", ("wool[0.5*A - 0.5*B]", {}, {})),
        (warp(family="poisson"), "pairwise(wool)", {}, {}, "curved", ("pairwise(wool)", {"comparison": "ratio"}, {})),
        (warp(family="poisson"), "wool", {}, {"scheme": "y"}, "cannot move", ("wool", {}, {"scheme": "score_flip"})),
        (cars("am ~ wt", family="binomial"), "wt", {}, {}, "curved",
         ("wt", {"how": "mem", "effect_scale": "link"}, {})),
        (warp(), "pairwise(tension)", {"p_adjust": "tukey"}, {}, "rests on a t or F",
         ("pairwise(tension)", {"p_adjust": "mvt"}, {})),
        (warp(), "pairwise(tension)", {"p_adjust": "scheffe"}, {}, "rests on a t or F",
         ("pairwise(tension)", {"p_adjust": "mvt"}, {})),
        (warp(family="poisson"), "pairwise(wool)", {"effect_scale": "link"}, {"scheme": "y"}, "one coefficient",
         ("pairwise(wool)", {"effect_scale": "link"}, {"scheme": "score_flip"})),
    ],
)  # fmt: skip
def test_refusals_and_their_way_out(m, text, ask, infer, found, way_out):
    m.explore(text, **ask)
    before = m.state
    with pytest.raises(InferenceError, match=found):
        m.infer(how="perm", n_perm=99, seed=1, **infer)
    assert m.state is before
    text, ask, infer = way_out
    assert m.explore(text, **ask).infer(how="perm", n_perm=99, seed=1, **infer).effects["p_value"].null_count() == 0


def test_some_rows_of_a_table_can_be_means():
    m = warp().explore("wool[A - B, 1*A]").infer(how="perm", n_perm=99, seed=1)
    assert m.effects["p_value"].is_null().to_list() == [False, True]
    assert "1*A: permuting cannot move a mean; scheme='sign_flip' tests it" in m.state.mee.inference.notes


def test_a_slope_of_a_mixed_model_is_tested_as_its_coefficient():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    coefficient = m.infer(how="perm", n_perm=39, seed=1).params.filter(pl.col("term") == "Days")
    slope = m.explore("Days").infer(how="perm", n_perm=39, seed=1)
    assert slope.state.mee.inference.scheme == "group_flip"
    for column in ("statistic", "p_value", "ci_lower", "ci_upper"):
        np.testing.assert_allclose(slope.effects[column], coefficient[column], rtol=1e-6)  # one search each


def test_the_function_of_the_specification():
    m = warp().explore("pairwise(tension)").infer()
    state, se = m.state.mee, m.effects["se"].to_numpy()
    found, samples = compute_mee_permutation(m.spec, m.bundle, m.fit_state, state, m.data, 0.95, se, 99, 1)
    assert samples.shape == (99, 3) and found.inference.method == "perm"
    np.testing.assert_array_equal(found.inference.se, se)
    again = m.infer(how="perm", n_perm=99, seed=1).effects
    np.testing.assert_array_equal(again["p_value"].to_numpy(), found.inference.p_value)
    _, none = compute_mee_permutation(
        m.spec, m.bundle, m.fit_state, state, m.data, 0.95, se, 99, 1, save_resamples=False
    )
    assert none is None
    with pytest.raises(InferenceError, match="one for each effect"):
        compute_mee_permutation(m.spec, m.bundle, m.fit_state, state, m.data, 0.95, se[:2])
