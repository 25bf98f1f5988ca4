"""Wald inference for effects: numeric derivatives, mapped limits, nulls, families, errors, weights, rank, missing rows.

Figures of R are emmeans 1.8.4 with lme4 1.1-31; the call stands beside them.
"""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inference_core import load_dataset, model
from inference_core.errors import FormulaError, InferenceCoreError, InferenceError
from inference_core.infer import dispatch_mee_inference
from inference_core.infer.denominators import row_reference
from inference_core.marginal import explore

EXACT = 1e-9  # relative: the same sums in another order
DELTA = 1e-6  # relative: a central difference of step 1e-5 against a Jacobian in closed form
NUMBERS = ("estimate", "se", "ci_lower", "ci_upper", "statistic", "df", "p_value")


def cars(formula, **options):
    data = load_dataset("mtcars").with_columns(cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String))
    return model(formula, data, **options).fit()


def warp(formula="breaks ~ wool * tension", **options):
    return model(formula, load_dataset("warpbreaks"), **options).fit()


def numbers(m, names=NUMBERS):
    return m.effects.select(names).to_numpy().astype(float)


MODELS = {
    "lm": lambda: cars("mpg ~ poly(wt, 2) * cylf + log(hp)"),
    "splines": lambda: cars("mpg ~ bs(wt, df=4) + ns(hp, df=3) + cylf"),
    "log response": lambda: cars("log(mpg) ~ wt * cylf"),
    "logit": lambda: cars("am ~ wt", family="binomial", link="probit"),
    "poisson": lambda: warp("breaks ~ wool * tension", family="poisson"),
    "gamma": lambda: cars("mpg ~ wt + cylf", family="gamma"),
    "lmer": lambda: model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit(),
    "glmer": lambda: model(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        load_dataset("cbpp").with_columns(pl.col("period").cast(pl.String)), family="binomial",
    ).fit(),
}  # fmt: skip
ASKED = [
    ("lm", "cylf", {}), ("lm", "wt ~ cylf", {}), ("lm", "hp", {"how": "ame"}), ("lm", "pairwise(cylf) ~ wt@[2, 4]", {}),
    ("splines", "wt@range(3)", {}), ("splines", "hp", {}), ("splines", "pairwise(cylf)", {"how": "ame"}),
    ("log response", "cylf", {"effect_scale": "response"}),
    ("log response", "pairwise(cylf)", {"effect_scale": "response"}),
    ("log response", "pairwise(cylf)", {"effect_scale": "response", "comparison": "ratio"}),
    ("logit", "wt", {}), ("logit", "wt@[2, 3]", {}), ("logit", "wt@[2, 3]", {"how": "ame"}),
    ("logit", "pairwise(wt@[2, 3])", {}), ("logit", "pairwise(wt@[2, 3])", {"comparison": "odds_ratio"}),
    ("logit", "pairwise(wt@[2, 3])", {"comparison": "ratio", "how": "ame"}),
    ("poisson", "wool", {}), ("poisson", "wool", {"average_on": "response"}), ("poisson", "pairwise(wool)", {}),
    ("poisson", "pairwise(wool):pairwise(tension)", {"comparison": "ratio"}),
    ("gamma", "cylf", {}), ("gamma", "wt", {}), ("gamma", "wt ~ pairwise(cylf)", {}),
    ("lmer", "Days@[0, 9]", {}), ("lmer", "Days", {}), ("glmer", "period", {}), ("glmer", "pairwise(period)", {}),
    ("glmer", "pairwise(period)", {"comparison": "odds_ratio"}),
]  # fmt: skip
FITTED = {}


def fitted(name):
    """Each model is fitted once; explore() changes nothing in a fit."""
    if name not in FITTED:
        FITTED[name] = MODELS[name]()
    return FITTED[name]


@pytest.mark.parametrize(("name", "text", "ask"), ASKED, ids=lambda value: str(value))
def test_standard_errors_are_those_of_a_numeric_derivative(name, text, ask):
    m = fitted(name).explore(text, **ask).infer()
    effect, coef, vcov = m.state.mee.effect, m.fit_state.coef, m.fit_state.vcov
    step = 1e-5 * np.maximum(1.0, np.abs(coef))
    jacobian = np.column_stack([(effect(coef + h) - effect(coef - h)) / (2 * h.sum()) for h in np.diag(step)])
    se = np.sqrt(np.diag(jacobian @ vcov @ jacobian.T))
    np.testing.assert_allclose(m.effects["se"].to_numpy(), se, rtol=DELTA)
    np.testing.assert_allclose(m.effects["estimate"].to_numpy(), effect(coef), rtol=EXACT)


@pytest.mark.parametrize(
    ("name", "text", "ask", "inverse"),
    [
        ("logit", "wt@[2, 3]", {}, stats.norm.cdf), ("poisson", "tension ~ wool", {}, np.exp),
        ("gamma", "cylf", {}, lambda eta: 1 / eta), ("glmer", "period", {}, lambda eta: 1 / (1 + np.exp(-eta))),
        ("log response", "cylf", {"effect_scale": "response"}, np.exp),
        ("poisson", "pairwise(tension)", {"comparison": "ratio"}, np.exp),
        ("glmer", "pairwise(period)", {"comparison": "odds_ratio"}, np.exp),
    ],
)  # fmt: skip
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_limits_on_the_response_scale_are_mapped(name, text, ask, inverse, alternative):
    m = fitted(name)
    link = m.explore(text, effect_scale="link").infer(conf_level=0.9, alternative=alternative).effects
    response = m.explore(text, **ask).infer(conf_level=0.9, alternative=alternative).effects
    np.testing.assert_allclose(response["estimate"].to_numpy(), inverse(link["estimate"].to_numpy()), rtol=EXACT)
    with np.errstate(divide="ignore"):
        ends = inverse(link.select("ci_lower", "ci_upper").to_numpy())
    if name == "gamma":  # 1/eta turns around, so the sides change places; at an endless side it is 0 or endless
        other = {"greater": "less", "less": "greater"}.get(alternative, alternative)
        link = m.explore(text, effect_scale="link").infer(conf_level=0.9, alternative=other).effects
        ends = inverse(link.select("ci_upper", "ci_lower").to_numpy())
        ends = np.where(np.isneginf(link.select("ci_upper", "ci_lower").to_numpy()), np.inf, ends)
    np.testing.assert_allclose(response.select("ci_lower", "ci_upper").to_numpy(), ends, rtol=EXACT)
    np.testing.assert_allclose(response["p_value"].to_numpy(), link["p_value"].to_numpy(), rtol=1e-7)


@pytest.mark.parametrize(("name", "text", "ask"), ASKED, ids=lambda value: str(value))
def test_one_sided_and_two_sided_agree(name, text, ask):
    """p of the sides sum to 1; the smaller doubled is two-sided; a one-sided 95% limit is a two-sided 90% limit."""
    m = fitted(name).explore(text, **ask)
    two = m.infer(conf_level=0.9).effects
    less, greater = (m.infer(conf_level=0.95, alternative=a).effects for a in ("less", "greater"))
    np.testing.assert_allclose(less["p_value"].to_numpy() + greater["p_value"].to_numpy(), 1.0, rtol=EXACT)
    smaller = np.minimum(less["p_value"].to_numpy(), greater["p_value"].to_numpy())
    np.testing.assert_allclose(two["p_value"].to_numpy(), 2 * smaller, rtol=EXACT)
    np.testing.assert_allclose(less["ci_upper"].to_numpy(), two["ci_upper"].to_numpy(), rtol=EXACT)
    np.testing.assert_allclose(greater["ci_lower"].to_numpy(), two["ci_lower"].to_numpy(), rtol=EXACT)


@pytest.mark.parametrize(("name", "text", "ask"), ASKED, ids=lambda value: str(value))
def test_a_limit_is_the_null_that_is_just_rejected(name, text, ask):
    m = fitted(name).explore(text, **ask)
    table = m.infer(conf_level=0.9).effects
    for side in ("ci_lower", "ci_upper"):
        null = table[side].to_numpy()
        if m.state.mee.type == "comparisons" and m.state.mee.L is None and np.any(null <= 0):
            continue  # the delta method's limit of a ratio may be below 0, and no such null is accepted
        at_limit = m.infer(conf_level=0.9, null=null.tolist()).effects
        np.testing.assert_allclose(at_limit["p_value"].to_numpy(), 0.1, rtol=1e-6)  # maps there and back
        np.testing.assert_allclose(at_limit[side].to_numpy(), null, rtol=EXACT)


def test_equivalence_and_noninferiority_are_two_calls():
    """R: test(pairs(emmeans(lm(breaks ~ wool * tension, warpbreaks), "tension")), delta = 8, adjust = "none",
    side = "equivalence"), and side = "noninferiority"; printed to four digits."""
    m = warp().explore("pairwise(tension)")
    above = m.infer(null=-8.0, alternative="greater").effects["p_value"].to_numpy()
    below = m.infer(null=8.0, alternative="less").effects["p_value"].to_numpy()
    np.testing.assert_allclose(np.maximum(above, below), [0.7070, 0.9643, 0.1866], atol=5e-5)
    assert above[2] == pytest.approx(0.0005, abs=5e-5) and above[0] < 1e-4
    inside = m.infer(conf_level=0.90).effects
    within = (inside["ci_lower"].to_numpy() > -8) & (inside["ci_upper"].to_numpy() < 8)
    np.testing.assert_array_equal(within, np.maximum(above, below) < 0.05)  # Schuirmann: the 1 - 2 alpha interval


@pytest.mark.parametrize("method", ["tukey", "mvt", "bonferroni", "holm", "sidak", "fdr", "scheffe"])
def test_each_condition_is_a_family(method):
    """Three comparisons in each wool: as if each wool had been asked about alone."""
    m = warp()
    together = m.explore("pairwise(tension)", by="wool", p_adjust=method).infer().effects
    for wool in ("A", "B"):
        alone = m.explore(f"pairwise(tension) ~ wool@{wool}", p_adjust=method).infer().effects
        some = together.filter(pl.col("wool") == wool)
        np.testing.assert_allclose(some.select(NUMBERS).to_numpy(), alone.select(NUMBERS).to_numpy(), rtol=EXACT)
    plain = m.explore("pairwise(tension)", by="wool").infer().effects
    assert np.all(together["p_value"].to_numpy() >= plain["p_value"].to_numpy() - 1e-12)
    assert np.all(together["ci_upper"].to_numpy() > plain["ci_upper"].to_numpy())


def test_p_and_limits_come_from_one_procedure():
    """Trap 20: a limit leaves the null out exactly where the adjusted p-value does."""
    m = warp()
    for method in ("none", "tukey", "mvt", "bonferroni", "sidak", "scheffe"):
        m.explore("pairwise(tension) ~ wool", p_adjust=method)
        for level in (0.5, 0.8, 0.9, 0.95, 0.99):
            table = m.infer(conf_level=level).effects
            out = (table["ci_lower"] > 0) | (table["ci_upper"] < 0)
            assert out.to_list() == (table["p_value"] < 1 - level).to_list()


def test_nulls_of_means_go_through_the_link_in_use():
    """Trap 20: a null of .5 is 0 for a probit and a logit, log(-log(.5)) for a cloglog; of a log link, log(5)."""
    for link, inner in (("logit", 0.0), ("probit", 0.0), ("cloglog", np.log(np.log(2)))):
        m = cars("am ~ wt", family="binomial", link=link).explore("wt@3")
        z = m.infer(null=0.5).effects["statistic"].item()
        eta, se = (m.explore("wt@3", effect_scale="link").infer().effects[x].item() for x in ("estimate", "se"))
        assert z == pytest.approx((eta - inner) / se, rel=EXACT)
    m = warp(family="poisson").explore("tension")
    assert m.infer(null=25.0).effects["statistic"][0] == pytest.approx(
        (np.log(m.effects["estimate"][0]) - np.log(25)) / (m.effects["se"][0] / m.effects["estimate"][0]), rel=EXACT
    )
    for wrong in (-1.0, [1.0, 2.0, -3.0]):
        with pytest.raises(InferenceError, match="lie between 0 and inf"):
            m.infer(null=wrong)
    with pytest.raises(InferenceError, match="between 0 and 1"):
        cars("am ~ wt", family="binomial").explore("wt@3").infer(null=1.5)


def test_robust_errors_of_rows_by_hand():
    m = warp().explore("pairwise(tension)")
    L, X, y, b = m.state.mee.L, m.bundle.X, m.bundle.y, m.fit_state.coef
    bread = np.linalg.inv(X.T @ X)
    h = np.einsum("ij,jk,ik->i", X, bread, X)
    e = y - X @ b
    for kind, omega in (("HC0", e**2), ("HC1", e**2 * 54 / 48), ("HC2", e**2 / (1 - h)), ("HC3", (e / (1 - h)) ** 2)):
        vcov = bread @ (X.T * omega) @ X @ bread
        table = m.infer(errors=kind).effects
        np.testing.assert_allclose(table["se"].to_numpy(), np.sqrt(np.diag(L @ vcov @ L.T)), rtol=EXACT)
        assert table["df"].to_list() == [48.0] * 3
    loom = np.arange(54) % 9
    scores = np.array([X[loom == g].T @ e[loom == g] for g in range(9)])
    clustered = bread @ scores.T @ scores @ bread
    table = m.infer(errors="CR0", cluster=loom).effects
    np.testing.assert_allclose(table["se"].to_numpy(), np.sqrt(np.diag(L @ clustered @ L.T)), rtol=1e-7)


def test_unequal_variances_are_welchs_test_of_each_pair():
    m = model("weight ~ feed", load_dataset("chickwts")).fit().explore("pairwise(feed)").infer(errors="unequal_var")
    of = {k[0]: v["weight"].to_numpy() for k, v in load_dataset("chickwts").partition_by("feed", as_dict=True).items()}
    for row in m.effects.iter_rows(named=True):
        a, b = row["contrast"].split(" - ")
        test = stats.ttest_ind(of[a], of[b], equal_var=False)
        assert (row["statistic"], row["df"], row["p_value"]) == pytest.approx(
            (test.statistic, test.df, test.pvalue), rel=EXACT
        )


def test_satterthwaite_and_kenward_roger_rows():
    """R: emmeans(lmer(angle ~ recipe * temperature + (1 | recipe:replicate), cake), pairwise ~ recipe,
    lmer.df = "satterthwaite") and "kenward-roger": 42 df, the denominators of a balanced split plot."""
    cake = load_dataset("cake").with_columns(pl.col("temperature").cast(pl.String))
    m = model("angle ~ recipe * temperature + (1 | recipe:replicate)", cake).fit()
    m.explore("pairwise(recipe)")
    for errors in ("iid", "kenward-roger"):
        np.testing.assert_allclose(m.infer(errors=errors).effects["df"].to_numpy(), 42.0, rtol=1e-6)  # balanced: exact
    inside = m.explore("pairwise(temperature)").infer().effects
    np.testing.assert_allclose(inside["df"].to_numpy(), 210.0, rtol=1e-6)  # 3 x 14 x 5 within-plot df
    mixed = m.explore("recipe").infer().effects["df"].to_numpy()
    assert np.all((mixed > 40) & (mixed < 60))


def test_weights_are_copies_of_rows():
    """Poisson with whole weights is the frame with its rows repeated; so are cell weights of an average."""
    data = load_dataset("warpbreaks").with_columns(w=pl.Series([1 + i % 3 for i in range(54)]))
    rows = np.repeat(np.arange(54), data["w"].to_numpy())
    given = model("breaks ~ wool * tension", data, family="poisson", weights="w").fit()
    copied = model("breaks ~ wool * tension", data[rows.tolist()], family="poisson").fit()
    for text, ask in (
        ("tension", {}), ("wool", {"weights": "proportional"}), ("wool", {"weights": "cells"}), ("pairwise(wool)", {}),
        ("pairwise(tension)", {"comparison": "ratio", "p_adjust": "holm"}),
    ):  # fmt: skip
        found = [numbers(m.explore(text, **ask).infer()) for m in (given, copied)]
        np.testing.assert_allclose(found[0], found[1], rtol=1e-7)  # two searches of IRLS


def test_rows_that_were_left_out_leave_no_trace():
    full = load_dataset("penguins_na")
    kept = full.drop_nulls(["body_mass_g", "species", "flipper_length_mm"])
    assert kept.height < full.height
    for text, ask in (("species", {}), ("species", {"weights": "proportional"}), ("flipper_length_mm", {"how": "ame"})):
        found = [
            numbers(model("body_mass_g ~ species * flipper_length_mm", d).fit().explore(text, **ask).infer())
            for d in (full, kept)
        ]
        np.testing.assert_array_equal(found[0], found[1])


def test_a_column_that_says_nothing_changes_nothing():
    data = load_dataset("mtcars").with_columns(
        twice=2 * pl.col("wt"), cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String)
    )
    plain = model("mpg ~ wt + cylf", data).fit()
    spare = model("mpg ~ wt + twice + cylf", data).fit()
    # held at its mean, `twice` is held with wt; and a slope in wt alone, twice held, is no question that data answer
    for text in ("cylf", "pairwise(cylf)", "1"):
        np.testing.assert_allclose(
            numbers(spare.explore(text).infer()), numbers(plain.explore(text).infer()), rtol=1e-8
        )  # an exact copy, found by rounding
    assert spare.explore("wt").infer().effects["se"].null_count() == 1


def test_rates_stand_at_the_mean_offset():
    data = load_dataset("warpbreaks").with_columns(hours=pl.Series(np.linspace(1, 4, 54)))
    m = model("breaks ~ tension + offset(log(hours))", data, family="poisson").fit()
    link = m.explore("tension", effect_scale="link").infer().effects
    b = m.fit_state.coef
    at = np.log(data["hours"].mean())  # hours stand at their mean, as any number; emmeans does the same
    np.testing.assert_allclose(link["estimate"].to_numpy() - at, b[0] + np.array([0, b[1], b[2]]), rtol=EXACT)
    array = model("breaks ~ tension", data, family="poisson", offset=np.log(data["hours"].to_numpy())).fit()
    there = array.explore("tension", effect_scale="link").infer().effects["estimate"].to_numpy()
    at = np.log(data["hours"].to_numpy()).mean()
    np.testing.assert_allclose(there - at, b[0] + np.array([0, b[1], b[2]]), rtol=EXACT)
    pairs = [numbers(k.explore("pairwise(tension)", comparison="ratio").infer()) for k in (m, array)]
    np.testing.assert_allclose(pairs[0], pairs[1], rtol=1e-7)  # ratios of rates know no exposure


@pytest.mark.parametrize("formula", ["poly(wt, 3)", "bs(wt, df=5)", "ns(wt, df=4)", "log(wt)", "wt + I(wt^2)"])
def test_a_slope_is_the_limit_of_a_comparison(formula):
    """(mean(x + h) - mean(x - h)) / 2h, with its standard error, by a contrast of two means."""
    m = cars(f"mpg ~ {formula} + cylf")
    h = 1e-3
    for at in (2.1, 3.3, 4.7):
        pair = m.explore(f"revpairwise(wt@[{at - h}, {at + h}])").infer().effects
        slope = m.explore(f"slope(wt@{at})").infer().effects
        for name in ("estimate", "se"):
            # the contrast's own error: h^2 times a third derivative of order 10 per unit of slope
            assert slope[name].item() == pytest.approx(pair[name].item() / (2 * h), rel=2e-4)


@settings(deadline=None, max_examples=25)
@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_units_of_y(shift, scale):
    """y -> a y + c: means follow, contrasts only stretch, statistics of contrasts stay."""
    data = load_dataset("warpbreaks").with_columns(z=scale * pl.col("breaks") + shift)
    moved = model("z ~ wool * tension", data).fit()
    plain = fitted_warp()
    for text, constant in (("tension", shift), ("pairwise(tension)", 0.0)):
        a, b = plain.explore(text).infer().effects, moved.explore(text).infer().effects
        for name in ("estimate", "ci_lower", "ci_upper"):
            np.testing.assert_allclose(b[name].to_numpy(), scale * a[name].to_numpy() + constant, rtol=1e-8, atol=1e-8)
        if not constant:
            np.testing.assert_allclose(b["statistic"].to_numpy(), a["statistic"].to_numpy(), rtol=1e-8)


def fitted_warp():
    if "warp" not in FITTED:
        FITTED["warp"] = warp()
    return FITTED["warp"]


def test_coding_leaves_the_table():
    codings = [{}, {"wool": "sum", "tension": "helmert"}, {"wool": "helmert", "tension": "poly"}]
    for text in ("wool", "pairwise(tension) ~ wool", "pairwise(wool):pairwise(tension)", "helmert(tension)"):
        tables = [numbers(warp(contrasts=coding or None).explore(text).infer()) for coding in codings]
        np.testing.assert_allclose(tables[1], tables[0], rtol=1e-8)  # another basis of six columns
        np.testing.assert_allclose(tables[2], tables[0], rtol=1e-8)


def test_what_the_model_says_is_zero_is_not_tested():
    m = warp("breaks ~ wool + tension").explore("pairwise(wool):pairwise(tension)").infer()
    assert m.effects["estimate"].to_list() == [0.0] * 3 and m.effects["p_value"].null_count() == 3
    assert any("nothing to test" in note for note in m.state.mee.notes)
    m = cars("log(mpg) ~ log(wt) + cylf").explore("wt ~ pairwise(cylf)").infer()  # by finite differences: rounding
    assert m.effects["estimate"].to_list() == [0.0] * 3 and m.effects["se"].to_list() == [0.0] * 3


@pytest.mark.parametrize(
    ("text", "ask", "error", "found"),
    [
        ("wt@[1e308, -1e308]", {}, FormulaError, "more than any data hold"),
        ("cylf[4 - 4]", {}, FormulaError, "all 0"),
        ("cylf ~ wt@range(1000) + hp@range(1000)", {}, InferenceError, "rows"),
        ("cylf ~ wt@range(1000) + hp@range(1000)", {"how": "ame"}, InferenceError, "the limit is"),
        ("cylf", {"p_adjust": "Tukey"}, InferenceError, "tukey"),
        ("cylf", {"by": "nope"}, FormulaError, "no predictor"),
        ("cylf", {"weights": "equals"}, InferenceError, "equal"),
        ("cylf", {"comparison": "ratio"}, InferenceError, "nothing is compared"),
        (None, {}, FormulaError, "said in text"),
        (["cylf"], {}, FormulaError, "said in text"),
        ("💥", {}, FormulaError, "character 1"),
        ("pairwise(cylf", {}, FormulaError, "close the parenthesis"),
        ("x" * 5000, {}, FormulaError, "limit is 2,000"),
        ("slope(cylf)", {}, FormulaError, "no slope"),
        ("__import__('os')", {}, FormulaError, "no function"),
    ],
)  # fmt: skip
def test_wrong_questions(text, ask, error, found):
    m = cars("mpg ~ wt * cylf + hp")
    before = m.state
    with pytest.raises(error, match=found):
        m.explore(text, **ask)
    assert m.state is before


def test_many_rows_need_no_matrix_of_all_pairs():
    m = cars("mpg ~ wt + hp").explore("wt@range(300):hp@range(300)").infer(conf_level=0.9)
    assert m.effects.height == 90_000  # correlations of all pairs would be 65 gigabytes
    with pytest.raises(InferenceError, match="2,000 rows a family"):
        m.explore("wt@range(300):hp@range(300)", p_adjust="mvt").infer()


def test_the_function_of_the_specification():
    m = warp().explore("pairwise(tension)", p_adjust="tukey")
    state = m.state
    ask = {"mee": state.mee, "spec": m.spec, "bundle": m.bundle, "fit": m.fit_state, "data": m.data, "conf_level": 0.9}
    found, samples = dispatch_mee_inference(how="asymp", **ask)
    assert samples is None
    np.testing.assert_array_equal(found.inference.p_value, m.infer(conf_level=0.9).effects["p_value"].to_numpy())
    for wrong in ("joint", "bayes"):
        with pytest.raises(InferenceCoreError):
            dispatch_mee_inference(how=wrong, **ask)
    state = explore(m.spec, m.bundle, m.fit_state, m.data, "pairwise(tension)")
    reference = row_reference(m.spec, m.bundle, m.fit_state)
    np.testing.assert_allclose(reference.se(state.L), m.effects["se"].to_numpy(), rtol=EXACT)
