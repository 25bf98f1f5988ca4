"""Marginal means, slopes and contrasts against brute force: predictions at every row of a grid, averaged by hand."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import FormulaError, InferenceError
from inference_core.families.registry import get_family
from inference_core.marginal import explore

ROUNDING = 1e-10  # relative: sums of a few dozen products of numbers of like size


def ask(m, text, **options):
    return explore(m.spec, m.bundle, m.fit_state, m.data, text, **options)


def cars(formula="mpg ~ wt * cylf + gearf + hp", **options):
    data = load_dataset("mtcars").with_columns(
        cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String), gearf=pl.col("gear").cast(pl.Int64).cast(pl.String)
    )
    return model(formula, data, **options).fit()


def predict(m, **columns):
    """Linear predictor at one row, coefficient by coefficient: the design by hand for wt * cylf + gearf + hp."""
    b = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True))
    eta = b["(Intercept)"] + b["wt"] * columns["wt"] + b["hp"] * columns["hp"]
    for level in ("6", "8"):
        if columns["cylf"] == level:
            eta += b[f"cylf[{level}]"] + b[f"wt:cylf[{level}]"] * columns["wt"]
    for level in ("4", "5"):
        if columns["gearf"] == level:
            eta += b[f"gearf[{level}]"]
    return eta


def averages(m, wt=None):
    data = m.data
    wt = data["wt"].mean() if wt is None else wt
    return {
        (c, g): predict(m, wt=wt, hp=data["hp"].mean(), cylf=c, gearf=g)
        for c, g in itertools.product("468", "345")
    }


def test_means_at_the_grid():
    m = cars()
    at = averages(m)
    state = ask(m, "cylf")
    assert (state.type, state.how, state.monotone) == ("means", "mem", "identity")
    np.testing.assert_allclose(
        state.estimate, [np.mean([at[c, g] for g in "345"]) for c in "468"], rtol=ROUNDING
    )
    assert state.grid["cylf"].to_list() == ["4", "6", "8"]
    assert state.notes == (
        "averaged over the levels of gearf",
        "held at the mean: wt = 3.217, hp = 146.7",
        "cylf and wt interact: one answer for all of wt may mislead; '... ~ wt@range(3)' shows them",
    )
    assert ask(m, "pairwise(cylf) ~ wt@[2, 4]").notes == (
        "averaged over the levels of gearf", "held at the mean: hp = 146.7"
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["proportional", "outer", "cells", "flat", {"gearf": {"3": 1, "4": 2, "5": 3}}])
def test_weights(rule):
    m = cars()
    at = averages(m)
    counts = {
        (c, g): m.data.filter((pl.col("cylf") == c) & (pl.col("gearf") == g)).height
        for c, g in itertools.product("468", "345")
    }
    margin = {g: sum(counts[c, g] for c in "468") for g in "345"}
    expected = []
    for c in "468":
        if isinstance(rule, dict):
            w = {"3": 1, "4": 2, "5": 3}
        elif rule == "cells":
            w = {g: counts[c, g] for g in "345"}
        elif rule == "flat":
            w = {g: float(counts[c, g] > 0) for g in "345"}
        else:  # one factor is averaged over, so its joint and its own frequencies are the same
            w = margin
        expected.append(sum(w[g] * at[c, g] for g in "345") / sum(w.values()))
    np.testing.assert_allclose(ask(m, "cylf", weights=rule).estimate, expected, rtol=ROUNDING)


def test_two_averaged_factors_tell_proportional_from_outer():
    data = load_dataset("penguins").with_columns(big=(pl.col("flipper_length_mm") > 200))
    m = model("body_mass_g ~ sex + species + big", data).fit()
    b = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True))
    kept = m.data.filter(pl.Series(m.bundle.valid_mask))

    def at(sex, species, big):
        names = [f"sex[{sex}]", f"species[{species}]", f"big[{big}]"]
        return b["(Intercept)"] + sum(b.get(name, 0.0) for name in names)

    cells = list(itertools.product(kept["species"].cast(pl.String).unique().sort(), (False, True)))
    joint = [kept.filter((pl.col("species").cast(pl.String) == s) & (pl.col("big") == v)).height for s, v in cells]
    own = [
        kept.filter(pl.col("species").cast(pl.String) == s).height * kept.filter(pl.col("big") == v).height
        for s, v in cells
    ]
    for rule, counts in (("proportional", joint), ("outer", own)):
        expected = [np.average([at(sex, s, v) for s, v in cells], weights=counts) for sex in ("female", "male")]
        np.testing.assert_allclose(ask(m, "sex", weights=rule).estimate, expected, rtol=ROUNDING)


def test_contrasts_are_differences_of_means():
    m = cars()
    means = ask(m, "cylf").estimate
    state = ask(m, "pairwise(cylf)")
    assert state.grid["contrast"].to_list() == ["4 - 6", "4 - 8", "6 - 8"]
    np.testing.assert_allclose(
        state.estimate, [means[0] - means[1], means[0] - means[2], means[1] - means[2]], rtol=1e-9
    )  # a difference of means some four times its size
    by = ask(m, "pairwise(cylf) ~ wt@[2, 3]")
    for j, wt in enumerate((2, 3)):
        at = averages(m, wt)
        mean = {c: np.mean([at[c, g] for g in "345"]) for c in "468"}
        np.testing.assert_allclose(by.estimate[3 * j], mean["4"] - mean["6"], rtol=1e-9)  # as above
    assert [family.rows.tolist() for family in by.families] == [[0, 1, 2], [3, 4, 5]]
    assert {family.n_means for family in by.families} == {3}


def test_interaction_contrast_is_a_difference_of_differences():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
    cell = dict(
        zip(map(tuple, ask(m, "wool:tension").grid.rows()), ask(m, "wool:tension").estimate, strict=True)
    )
    state = ask(m, "pairwise(wool):pairwise(tension)")
    assert state.grid["contrast"].to_list()[1] == "A - B : L - H"
    by_hand = cell["A", "L"] - cell["B", "L"] - (cell["A", "H"] - cell["B", "H"])
    np.testing.assert_allclose(state.estimate[1], by_hand, rtol=ROUNDING)
    np.testing.assert_allclose(state.estimate[1], 10.5556, atol=5e-5)  # the printed digits of the R manual's data


@pytest.mark.parametrize(("text", "by"), [("wt ~ cylf", None), ("wt", "cylf")])
def test_slopes_of_a_line_are_its_coefficients(text, by):
    m = cars()
    b = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True))
    expected = [b["wt"], b["wt"] + b["wt:cylf[6]"], b["wt"] + b["wt:cylf[8]"]]
    state = ask(m, text, by=by)
    assert (state.type, state.how) == ("slopes", "mem")
    np.testing.assert_allclose(state.estimate, expected, rtol=ROUNDING)
    differences = ask(m, "wt ~ pairwise(cylf)")
    np.testing.assert_allclose(differences.estimate[0], expected[0] - expected[1], rtol=1e-8)  # cancels two digits


def test_slope_of_a_curve():
    """d/dx of b1 x + b2 x^2 + b3 log x, at two values and averaged over rows."""
    m = cars("mpg ~ wt + I(wt^2) + log(wt)")
    b = m.fit_state.coef
    x = np.array([2.0, 3.5])
    found = ask(m, "slope(wt@[2, 3.5])").estimate
    np.testing.assert_allclose(found, b[1] + 2 * b[2] * x + b[3] / x, rtol=1e-7)  # a Richardson difference of log
    x = m.data["wt"].to_numpy()
    averaged = ask(m, "wt", how="ame").estimate
    np.testing.assert_allclose(averaged, np.mean(b[1] + 2 * b[2] * x + b[3] / x), rtol=1e-7)  # as above


def logistic():
    data = load_dataset("infert")
    return model("case ~ education * spontaneous + age", data, family="binomial").fit()


def test_average_slope_of_a_probability():
    m = logistic()
    eta = m.bundle.X @ m.fit_state.coef
    p = 1 / (1 + np.exp(-eta))
    b = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True))
    state = ask(m, "age")
    assert (state.how, state.effect_scale, state.L) == ("ame", "response", None)
    np.testing.assert_allclose(state.estimate, np.mean(p * (1 - p)) * b["age"], rtol=1e-9)  # a sum of 248 products


def test_counterfactual_means_of_a_probability():
    m = logistic()
    b, data = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True)), m.data
    state = ask(m, "education", how="ame")
    for j, level in enumerate(state.grid["education"]):
        eta = (
            b["(Intercept)"] + b["spontaneous"] * data["spontaneous"] + b["age"] * data["age"]
            + b.get(f"education[{level}]", 0.0) + b.get(f"education[{level}]:spontaneous", 0.0) * data["spontaneous"]
        ).to_numpy()  # fmt: skip
        np.testing.assert_allclose(state.estimate[j], np.mean(1 / (1 + np.exp(-eta))), rtol=ROUNDING)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("age", {}),
        ("age ~ education", {}),
        ("education", {"how": "ame"}),
        ("pairwise(education)", {}),
        ("pairwise(education)", {"comparison": "ratio"}),
        ("pairwise(education)", {"comparison": "odds_ratio"}),
        ("pairwise(education)", {"comparison": "odds_ratio", "how": "ame"}),
        ("spontaneous", {"how": "mem"}),
        ("age ~ pairwise(education)", {}),
    ],
)
def test_jacobians_are_derivatives(text, options):
    m = logistic()
    state = ask(m, text, **options)
    coef = m.fit_state.coef
    step = 1e-5
    moved = coef + step * np.vstack([np.eye(len(coef)), -np.eye(len(coef))])
    values = state.effect(moved)
    numeric = ((values[: len(coef)] - values[len(coef) :]) / (2 * step)).T
    if state.jacobian is None:
        inverse = {"inverse_link": lambda e: 1 / (2 + 2 * np.cosh(e)), "exp": np.exp, "identity": np.ones_like}
        jacobian = inverse[state.monotone](state.L @ coef)[:, None] * state.L
    else:
        jacobian = state.jacobian
    size = np.abs(numeric).max()
    np.testing.assert_allclose(jacobian, numeric, atol=2e-7 * size)  # error of a central difference with this step
    np.testing.assert_allclose(state.effect(coef), state.estimate, rtol=ROUNDING)


def test_ratios_of_a_log_link_are_linear():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks"), family="poisson").fit()
    state = ask(m, "pairwise(tension) ~ wool", comparison="ratio")
    assert (state.type, state.monotone) == ("comparisons", "exp")
    means = ask(m, "tension ~ wool").estimate
    np.testing.assert_allclose(state.estimate[0], means[0] / means[1], rtol=ROUNDING)


def test_offsets_take_part():
    """A text offset at the mean of its column; an array offset at its own mean."""
    data = load_dataset("warpbreaks").with_columns(exposure=pl.Series(np.linspace(1, 3, 54)))
    named = model("breaks ~ wool + offset(log(exposure))", data, family="poisson").fit()
    link = ask(named, "wool", effect_scale="link").estimate
    b = named.fit_state.coef
    np.testing.assert_allclose(link, [b[0] + np.log(2.0), b[0] + b[1] + np.log(2.0)], rtol=ROUNDING)
    log_exposure = np.log(data["exposure"].to_numpy())
    array = model("breaks ~ wool", data, family="poisson", offset=log_exposure).fit()
    expected = b[0] + log_exposure.mean() + np.array([0, b[1]])
    np.testing.assert_allclose(ask(array, "wool", effect_scale="link").estimate, expected, rtol=1e-8)  # two IRLS runs


def test_what_cannot_be_estimated_is_said():
    """With an empty cell its mean, and means averaged over it, have no estimate; the others do."""
    data = load_dataset("warpbreaks").filter(~((pl.col("wool") == "B") & (pl.col("tension") == "H")))
    m = model("breaks ~ wool * tension", data).fit()
    cells = ask(m, "wool:tension")
    rows = list(map(tuple, cells.grid.rows()))
    assert [row for row, fine in zip(rows, cells.estimable, strict=True) if not fine] == [("B", "H")]
    assert np.isnan(cells.estimate[rows.index(("B", "H"))])
    observed = data.group_by("wool", "tension").agg(pl.col("breaks").mean())
    for wool, tension, mean in observed.iter_rows():
        np.testing.assert_allclose(cells.estimate[rows.index((wool, tension))], mean, rtol=ROUNDING)
    assert ask(m, "tension").estimable.tolist() == [True, True, False]
    flat = ask(m, "tension", weights="flat")
    assert flat.estimable.tolist() == [True, True, True]


def test_a_transformed_response():
    m = cars("log(mpg) ~ wt * cylf + gearf + hp")
    state = ask(m, "cylf")
    assert state.effect_scale == "link"
    back = ask(m, "cylf", effect_scale="response")
    np.testing.assert_allclose(back.estimate, np.exp(state.estimate), rtol=ROUNDING)
    assert back.monotone == "inverse_response"


def test_random_effects_have_no_effect_of_their_own():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    np.testing.assert_allclose(ask(m, "Days").estimate, m.fit_state.coef[1], rtol=ROUNDING)
    with pytest.raises(FormulaError, match="grouping factor"):
        ask(m, "Subject")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("cyl", {}, "did you mean cylf"),
        ("pairwise(wt)", {}, "wt@\\[1, 2\\]"),
        ("wt@a", {}, "is a number"),
        ("cylf@5", {}, "no level '5'"),
        ("cylf@range(3)", {}, "has levels"),
        ("slope(cylf)", {}, "has no slope"),
        ("cylf", {"weights": "equl"}, "did you mean 'equal'"),
        ("cylf", {"weights": {"gearf": [1, 2]}}, "3 levels need weights"),
        ("cylf", {"weights": {"gear": [1, 2, 3]}}, "averaged over are: gearf"),
        ("cylf", {"how": "aem"}, "did you mean 'mem'"),
        ("cylf", {"comparison": "ratio"}, "nothing is compared"),
        ("pairwise(cylf)", {"comparison": "odds_ratio"}, "no probabilities"),
        ("pairwise(cylf)", {"comparison": "ratio", "effect_scale": "link"}, "effect_scale='response'"),
        ("cylf", {"by": "gerf"}, "did you mean 'gearf'"),
        ("pairwise(cylf) ~ pairwise(gearf)", {}, "pairwise\\(a\\):pairwise\\(b\\)"),
    ],
)
def test_refusals(text, options, words):
    with pytest.raises((FormulaError, InferenceError), match=words):
        ask(cars(), text, **options)


def test_a_grid_beyond_reason_is_refused():
    rng = np.random.default_rng(1)
    columns = {f"f{j}": rng.integers(0, 30, 400).astype(str) for j in range(4)}
    m = model("y ~ f0 + f1 + f2 + f3", {"y": rng.normal(size=400), **columns}).fit()
    with pytest.raises(InferenceError, match="how='ame'"):
        ask(m, "f0")
    assert ask(m, "f0", how="ame").estimate.shape == (30,)


def test_link_is_the_families_own():
    assert get_family("gamma").link.name == "inverse"
    data = load_dataset("mtcars").with_columns(cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String))
    m = model("hp ~ wt + cylf", data, family="gamma").fit()
    link = ask(m, "cylf", effect_scale="link").estimate
    np.testing.assert_allclose(ask(m, "cylf").estimate, 1 / link, rtol=ROUNDING)
