"""Every way a fold is computed equals the long way: a fit of the training frame and a prediction of the others."""

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.families import get_family
from inference_core.infer.cv import compute_cv_metrics
from inference_core.infer.cv.ablation import variants
from inference_core.infer.cv.plan import make_plan
from inference_core.infer.cv.run import outcome

from .brute import held_out


def frame(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.uniform(1, 3, size=n)
    g = np.resize(["a", "b", "c"], n)
    h = np.resize(["u", "u", "v", "v"], n)
    eta = 0.4 + 0.7 * x - 0.5 * (g == "b") + 0.3 * z
    return pl.DataFrame(
        {
            "x": x, "z": z, "g": g, "h": h, "y": eta + rng.normal(size=n), "w": rng.uniform(0.5, 2, size=n),
            "count": rng.poisson(np.exp(0.6 * eta)), "hit": (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(int),
            "trials": rng.integers(2, 9, size=n), "pos": rng.gamma(3, np.exp(0.3 * eta)),
            "e": rng.uniform(0.5, 3, size=n),
        }
    ).with_columns(share=pl.col("hit") * 0.25 + 0.5)  # fmt: skip


def eta_of(m, folds, **options):
    plan = make_plan(m.spec, m.bundle, data=m.data, fit=m.fit_state, folds=folds, **options)
    return plan, outcome(plan).eta[:, 0]


FOLDS = np.random.default_rng(1).permutation(60) % 7

LINEAR = [
    ("y ~ x + z", {}),
    ("y ~ x * g + z", {}),
    ("y ~ x + g", {"weights": "w"}),
    ("y ~ x + offset(z) + g", {}),
    ("y ~ poly(x, 3) + scale(z)", {}),
    ("y ~ center(x) * g + zscore(z)", {}),
    ("y ~ bs(x, df = 4) + g", {}),
    ("y ~ ns(x, df = 3) * h", {"weights": "w"}),
    ("y ~ rank(x) + z", {}),
    ("y ~ scale(x):g + z", {}),  # without x itself, centring changes what the terms span
    ("y ~ 0 + scale(x) + z", {}),
    ("y ~ x + g", {"contrasts": {"g": "helmert"}}),
    ("y ~ offset(center(z)) + x", {}),
    ("log(pos) ~ x + I(2 * x) + g", {}),  # a column that is never estimable
]


@pytest.mark.parametrize(("formula", "options"), LINEAR, ids=[f for f, _ in LINEAR])
def test_linear_models(formula, options):
    d = frame()
    _, eta = eta_of(model(formula, d, **options).fit(), FOLDS)
    # cross-products of orthonormal columns: the condition of a fold's system is below 100
    np.testing.assert_allclose(eta[0], held_out(formula, d, FOLDS, **options), rtol=1e-9, atol=1e-10)


GENERALIZED = [
    ("hit ~ x + g", {"family": "binomial"}),
    ("hit ~ x + z", {"family": "binomial", "link": "cloglog"}),
    ("share ~ x + g", {"family": "binomial", "weights": "trials"}),
    ("count ~ x + z + offset(log(e))", {"family": "poisson"}),
    ("count ~ bs(x, df = 4)", {"family": "poisson"}),
    ("count ~ poly(x, 2) + g", {"family": "poisson", "weights": "w"}),
    ("pos ~ x + g", {"family": "gamma", "link": "log"}),
    ("count ~ x", {"family": "negative_binomial"}),
]


@pytest.mark.parametrize(("formula", "options"), GENERALIZED, ids=[f"{f}-{o['family']}" for f, o in GENERALIZED])
def test_generalized_models(formula, options):
    d = frame()
    _, eta = eta_of(model(formula, d, **options).fit(), FOLDS)
    # two Newton searches stop at steps of 1e-10 (canonical links: 1e-5 squared) standard errors
    np.testing.assert_allclose(eta[0], held_out(formula, d, FOLDS, **options), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("formula", "term", "reduced", "options"),
    [
        ("y ~ x * g + z", "x", "y ~ g + z", {}),
        ("y ~ x * g + z", "g", "y ~ x + z", {"weights": "w"}),
        ("y ~ x * g + z", "x:g", "y ~ x + g + z", {}),
        ("y ~ x", "x", "y ~ 1", {}),
        ("y ~ 0 + g + h", "g", "y ~ 0 + h", {}),  # h then has a column for each level
        ("y ~ 0 + g + h + x", "g", "y ~ 0 + h + x", {"weights": "w"}),
        ("y ~ bs(x, df = 4) + scale(z)", "scale(z)", "y ~ bs(x, df = 4)", {}),
        ("y ~ x + I(2 * x) + z", "x", "y ~ I(2 * x) + z", {}),  # its double takes its place
        ("count ~ x + g + offset(log(e))", "x", "count ~ g + offset(log(e))", {"family": "poisson"}),
        ("count ~ 0 + g + h", "g", "count ~ 0 + h", {"family": "poisson"}),
    ],
)
def test_models_without_a_term(formula, term, reduced, options):
    d = frame()
    plan, eta = eta_of(model(formula, d, **options).fit(), FOLDS)
    v = [m.term for m in plan.models].index(term)
    # as above; glm: where two searches stop
    np.testing.assert_allclose(eta[v], held_out(reduced, d, FOLDS, **options), rtol=1e-7, atol=1e-8)


def test_leaving_out_single_rows():
    d = frame()
    for formula, options in (("y ~ x * g", {}), ("y ~ x + g", {"weights": "w"}), ("y ~ x + offset(z)", {})):
        m = model(formula, d, **options).fit()
        state = compute_cv_metrics(m.spec, m.bundle, "loo")
        # closed form against 60 fits: rounding
        long = held_out(formula, d, np.arange(60), **options)
        np.testing.assert_allclose(state.oos_predictions, long, rtol=1e-10, atol=1e-11)


def test_leaving_out_single_rows_of_a_glm():
    d = frame()
    m = model("hit ~ x + g", d, family="binomial").fit()
    state = compute_cv_metrics(m.spec, m.bundle, "loo")
    mu = get_family("binomial").link.inverse(held_out("hit ~ x + g", d, np.arange(60), family="binomial"))
    np.testing.assert_allclose(state.oos_predictions, mu, atol=1e-8)  # where two searches stop


def test_rows_of_weight_zero_teach_nothing_and_are_predicted():
    d = frame().with_columns(w=pl.Series(np.arange(60) % 5 != 0).cast(pl.Float64))
    m = model("y ~ x + g", d, weights="w").fit()
    for folds in (FOLDS, np.arange(60)):
        _, eta = eta_of(m, folds)
        np.testing.assert_allclose(eta[0], held_out("y ~ x + g", d, folds, weights="w"), rtol=1e-9)  # rounding


def test_weights_and_offset_as_arrays_go_with_their_rows():
    d = frame()
    w, off = d["w"].to_numpy(), d["z"].to_numpy()
    a = model("y ~ bs(x, df = 4)", d, weights=w, offset=off).fit()
    b = model("y ~ bs(x, df = 4) + offset(z)", d, weights="w").fit()
    np.testing.assert_allclose(eta_of(a, FOLDS)[1], eta_of(b, FOLDS)[1], rtol=1e-12)  # the same arithmetic


# ---- mixed models ------------------------------------------------------------------------------------------


def groups_of(column, k=5):
    codes = column.rank("dense").to_numpy().astype(int) - 1
    return codes % k


def test_linear_mixed_models_by_whole_groups():
    d = load_dataset("sleepstudy")
    for formula, reduced in (
        ("Reaction ~ Days + (Days | Subject)", "Reaction ~ 1 + (1 | Subject)"),
        ("Reaction ~ Days + (1 | Subject)", "Reaction ~ 1 + (1 | Subject)"),
    ):
        folds = groups_of(d["Subject"])
        m = model(formula, d).fit()
        ids = m.bundle.re_metadata.blocks[0].group_index
        _, eta = eta_of(m, folds, group_ids=ids)
        # ms: coefficients move with the square of what is left in theta
        np.testing.assert_allclose(eta[0], held_out(formula, d, folds), rtol=1e-8)
        np.testing.assert_allclose(eta[1], held_out(reduced, d, folds), rtol=1e-8)


def test_linear_mixed_models_by_rows():
    d = load_dataset("sleepstudy")
    folds = np.random.default_rng(3).permutation(180) % 4
    m = model("Reaction ~ Days + (Days | Subject)", d).fit()
    _, eta = eta_of(m, folds, scheme="rows")
    long = held_out("Reaction ~ Days + (Days | Subject)", d, folds, conditional=True)
    np.testing.assert_allclose(eta[0], long, rtol=1e-6)  # modes follow theta, which the search leaves at 1e-6
    long = held_out("Reaction ~ 1 + (1 | Subject)", d, folds, conditional=True)
    np.testing.assert_allclose(eta[1], long, rtol=1e-6)  # as above


def test_transforms_of_mixed_models_are_learned_in_the_fold():
    d = load_dataset("sleepstudy")
    formula = "Reaction ~ scale(Days) + (scale(Days) | Subject)"
    folds = groups_of(d["Subject"])
    m = model(formula, d).fit()
    _, eta = eta_of(m, folds, group_ids=m.bundle.re_metadata.blocks[0].group_index)
    np.testing.assert_allclose(eta[0], held_out(formula, d, folds), rtol=1e-7)  # two searches in theta
    rows = np.random.default_rng(4).permutation(180) % 3
    _, eta = eta_of(m, rows, scheme="rows")
    np.testing.assert_allclose(eta[0], held_out(formula, d, rows, conditional=True), rtol=1e-6)  # as above


def test_generalized_mixed_models():
    d = load_dataset("cbpp")
    formula, arguments = "cbind(incidence, size - incidence) ~ period + (1 | herd)", {"family": "binomial"}
    m = model(formula, d, **arguments).fit()
    folds = groups_of(d["herd"], 3)
    _, eta = eta_of(m, folds, group_ids=m.bundle.re_metadata.blocks[0].group_index)
    np.testing.assert_allclose(eta[0], held_out(formula, d, folds, **arguments), atol=1e-5)  # BFGS from two starts
    rows = np.random.default_rng(4).permutation(56) % 3
    _, eta = eta_of(m, rows, scheme="rows")
    np.testing.assert_allclose(eta[0], held_out(formula, d, rows, conditional=True, **arguments), atol=1e-5)  # same


def test_the_nodes_of_a_generalized_mixed_model_take_part():
    d = load_dataset("cbpp")
    formula, arguments = "cbind(incidence, size - incidence) ~ period + (1 | herd)", {"family": "binomial"}
    folds = groups_of(d["herd"], 2)
    found = {}
    for nodes in (1, 9):
        m = model(formula, d, **arguments).fit(nAGQ=nodes)
        plan = make_plan(m.spec, m.bundle, data=d, fit=m.fit_state, folds=folds, scheme="groups", terms=False,
                         group_ids=m.bundle.re_metadata.blocks[0].group_index)  # fmt: skip
        found[nodes] = outcome(plan).eta[0, 0]
        long = held_out(formula, d, folds, fit={"nAGQ": nodes}, **arguments)
        np.testing.assert_allclose(found[nodes], long, atol=1e-5)  # BFGS from two starts
    assert np.max(np.abs(found[1] - found[9])) > 1e-3  # so that the above tells something


@pytest.mark.parametrize("seed", range(6))
def test_few_groups_have_more_than_one_optimum(seed):
    """Few groups, slopes and weights: a search from one start may end elsewhere than the fit of many starts does."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(9), rng.integers(2, 9, size=9))
    b = rng.normal(size=(9, 2)) * [1.5, 0.3]
    x = rng.normal(size=g.size)
    d = pl.DataFrame({"x": x, "g": g.astype(str), "w": rng.uniform(0.2, 3, size=g.size),
                      "y": 5 + x + b[g, 0] + b[g, 1] * x + rng.normal(size=g.size)})  # fmt: skip
    m = model("y ~ x + (x || g)", d, weights="w").fit()
    ids = m.bundle.re_metadata.blocks[0].group_index
    _, eta = eta_of(m, ids, group_ids=ids)
    np.testing.assert_allclose(eta[0], held_out("y ~ x + (x || g)", d, ids, weights="w"), rtol=1e-7)  # two searches


def test_two_factors_are_refitted():
    rng = np.random.default_rng(5)
    d = pl.DataFrame({"x": rng.normal(size=90), "a": np.repeat(np.arange(15), 6).astype(str),
                      "b": np.tile(np.arange(6), 15).astype(str)})  # fmt: skip
    effect = rng.normal(size=15)[np.repeat(np.arange(15), 6)] + rng.normal(size=6)[np.tile(np.arange(6), 15)]
    d = d.with_columns(y=1 + 0.5 * d["x"] + effect + rng.normal(size=90))
    m = model("y ~ x + (1 | a) + (1 | b)", d).fit()
    folds = groups_of(d["a"], 3)
    ids = m.bundle.re_metadata.blocks[0].group_index
    _, eta = eta_of(m, folds, group_ids=ids)
    np.testing.assert_allclose(eta[0], held_out("y ~ x + (1 | a) + (1 | b)", d, folds), rtol=1e-6)  # two searches


def test_the_variants_of_a_design():
    m = model("y ~ x * g + z", frame()).fit()
    found = variants(m.spec, make_plan(m.spec, m.bundle, k=5).design)
    assert [v.without for v in found] == [(), ("x", "x:g"), ("g", "x:g"), ("z",), ("x:g",)]
