"""Data before there are any: predictors have their laws, fits find the truth again, wrong calls are refused."""

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.errors import InferenceError
from inference_core.infer.simulation.predictors import make_columns
from inference_core.predictors import balanced, binary, groups, levels, normal, per, uniform

N = 20_000


def column(what, n=N, **others):
    made = make_columns({"x": what, **others}, n, lambda j: np.random.default_rng([9, j]))
    return made["x"]


def near(value, wanted, sd):
    """Within 4 Monte-Carlo errors of a mean of N."""
    assert abs(value - wanted) < 4 * sd / np.sqrt(N)


def test_numbers_by_chance():
    x = column(normal(10, 2)).to_numpy()
    near(x.mean(), 10, 2)
    near(x.std(), 2, 2 / np.sqrt(2))
    x = column(uniform(1, 3)).to_numpy()
    near(x.mean(), 2, 2 / np.sqrt(12))
    assert x.min() >= 1 and x.max() < 3
    x = column(binary(0.3)).to_numpy()
    assert set(x) == {0.0, 1.0}
    near(x.mean(), 0.3, np.sqrt(0.21))


def test_levels_by_chance():
    x = column(levels("low", "mid", "high", p=[0.5, 0.3, 0.2]))
    assert x.dtype == pl.Enum(["low", "mid", "high"])
    for name, p in (("low", 0.5), ("mid", 0.3), ("high", 0.2)):
        near((x == name).mean(), p, np.sqrt(p * (1 - p)))


def test_designed_columns():
    assert column(balanced("a", "b", "c"), 7).to_list() == ["a", "b", "c", "a", "b", "c", "a"]
    assert column(balanced(0, 5), 4).to_list() == [0.0, 5.0, 0.0, 5.0]
    assert column(groups(3), 7).to_list() == ["g1", "g1", "g1", "g2", "g2", "g3", "g3"]
    assert column(groups(size=3), 7).to_list() == ["g1"] * 3 + ["g2"] * 3 + ["g3"]
    assert column(per("g", balanced("a", "b")), 6, g=groups(3)).to_list() == ["a", "a", "b", "b", "a", "a"]
    random = column(per("g", normal()), 12, g=groups(11))  # g10 sorts before g2 as text; groups go by their rows
    assert random.n_unique() == 11


TRUTHS = {
    "lm": ("y ~ x + g", {}, {"x": 0.5, "g[b]": -1.0, "(Intercept)": 3.0}, {"sigma": 2.0}),
    "log(y)": ("log(y) ~ x", {}, {"x": 0.5, "Intercept": 1.0}, {"sigma": 0.3}),
    "tdist": ("y ~ x", {"family": "tdist(df=5)"}, {"x": 0.5}, {"sigma": 2.0}),
    "binomial": ("y ~ x", {"family": "binomial", "link": "probit"}, {"x": 0.5}, {}),
    "cbind": ("cbind(won, lost) ~ x", {"family": "binomial"}, {"x": 0.5}, {"trials": 12}),
    "cbind of n": ("cbind(won, n - won) ~ x", {"family": "binomial"}, {"x": 0.5}, {"trials": 12}),
    "share": ("y ~ x", {"family": "binomial", "weights": "k"}, {"x": 0.5}, {"trials": 12}),
    "poisson": ("y ~ x + offset(log(t))", {"family": "poisson"}, {"x": 0.3, "Intercept": 1.0}, {}),
    "negbin": ("y ~ x", {"family": "negative_binomial(theta=2)"}, {"x": 0.3, "Intercept": 1.0}, {}),
    "gamma": ("y ~ x", {"family": "gamma", "link": "log"}, {"x": 0.3}, {"dispersion": 0.5}),
    "inverse gaussian": ("y ~ x", {"family": "inverse_gaussian", "link": "log"}, {"x": 0.3}, {"dispersion": 0.2}),
    "weights": ("y ~ x", {"weights": "k"}, {"x": 0.5}, {"sigma": 2.0}),
    "lmer": ("y ~ x + (x | s)", {}, {"x": 0.5}, {"sigma": 2.0, "spread": {"s": {"Intercept": 2, "x": 1, "cor": 0.4}}}),
    "lmer ||": ("y ~ x + (x || s)", {}, {"x": 0.5}, {"sigma": 2.0, "spread": {"s": {"Intercept": 2, "x": 1}}}),
    "glmer": ("y ~ x + (1 | s)", {"family": "poisson"}, {"x": 0.3}, {"spread": {"s": 0.5}}),
}


def generated(name, n=1500, seed=1):
    formula, options, coef, more = TRUTHS[name]
    used = {"g": levels("a", "b"), "t": uniform(1, 4), "s": groups(60), "k": balanced(1, 4)}
    words = formula.replace("(", " ").replace(")", " ").split()
    predictors = {
        k: v for k, v in used.items() if k in words or (k == "k" and "weights" in options and name != "share")
    }
    return model(formula, **options).simulate(n=n, seed=seed, coef=coef, predictors=predictors, **more)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_fit_finds_the_truth_again(name):
    coef = {k.replace("(Intercept)", "Intercept"): v for k, v in TRUTHS[name][2].items()}
    m = generated(name)
    assert m.simulations.height == 1500 and m.state.simulations.sim_type == "generated"
    params = m.fit().infer().params
    for term, estimate, se in params.select("term", "estimate", "se").iter_rows():
        truth = coef.get(term.replace("(Intercept)", "Intercept"), 0.0)
        assert abs(estimate - truth) < 4 * se, term
    noise = TRUTHS[name][3]
    wanted = noise.get("sigma") or np.sqrt(noise.get("dispersion", 1.0))
    # 15 %: four errors of an SD of 1,500 numbers whose kurtosis is up to 9
    assert m.fit_state.sigma == pytest.approx(wanted, rel=0.15)


def test_spread_and_correlation_are_those_asked_for():
    """Of 4,000 groups: SDs within 4 %, correlation within 0.05, some three errors each."""
    m = model("y ~ x + (x | s)").simulate(
        n=40_000, seed=3, coef={"x": 1}, sigma=1.0, predictors={"x": balanced(-1, 1), "s": groups(4000)},
        spread={"s": {"(Intercept)": 2.0, "x": 1.0, "cor": -0.6}},
    ).fit()  # fmt: skip
    sd = dict(m.varying_spread.select("term", "sd").iter_rows())
    assert sd["(Intercept)"] == pytest.approx(2.0, rel=0.04) and sd["x"] == pytest.approx(1.0, rel=0.04)
    assert m.varying_corr["correlation"][0] == pytest.approx(-0.6, abs=0.05)


def test_the_same_seed_makes_the_same_data():
    a, b = generated("lmer").simulations, generated("lmer").simulations
    assert a.equals(b) and not generated("lmer", seed=2).simulations.equals(a)
    unseeded = model("y ~ x").simulate(n=10, coef={"x": 1}, sigma=1.0)
    seed = unseeded.state.simulations.seed
    assert model("y ~ x").simulate(n=10, coef={"x": 1}, sigma=1.0, seed=seed).simulations.equals(unseeded.simulations)


def test_a_frame_is_a_design():
    data = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "unused": [1, 1, 1, 1]})
    made = model("y ~ x").simulate(predictors=data, coef={"x": 100}, sigma=1e-6, seed=1).simulations
    assert made.columns == ["x", "y"]
    np.testing.assert_allclose(made["y"], 100 * data["x"], atol=1e-4)  # noise of 1e-6
    with pytest.raises(ValueError, match='"z" is not a column'):
        model("y ~ x + z").simulate(predictors=data, coef={"x": 100}, sigma=1.0)


def test_simulating_again_replaces_and_fitting_keeps_the_data():
    m = model("y ~ x").simulate(n=20, coef={"x": 1}, sigma=1.0, seed=1)
    first = m.simulations
    m.simulate(n=30, coef={"x": 1}, sigma=1.0, seed=1)
    assert m.simulations.height == 30 and first.height == 20
    assert "not fitted" in repr(m)
    assert m.fit().bundle.n == 30 and m.data.height == 30
    assert m.simulate(nsim=2, seed=1).simulations.shape == (30, 2)


def ask(formula="y ~ x", options=None, **call):
    call = {"n": 20, "coef": {"x": 1.0}, "sigma": 1.0, "seed": 1} | call
    return lambda: model(formula, **(options or {})).simulate(**{k: v for k, v in call.items() if v is not None})


POISSON, GAMMA, BINOMIAL = {"family": "poisson"}, {"family": "gamma"}, {"family": "binomial"}
MIXED = {"predictors": {"g": groups(5)}, "spread": {"g": 1.0}}
WRONG = {
    "no truth": (ask(coef=None), "no truth"),
    "a name": (ask("y ~ age", coef={"agee": 1}), "did you mean 'age'"),
    "a level": (ask("y ~ g", coef={"g[c]": 1}, predictors={"g": levels("a", "b")}), r"are \(Intercept\), g\[b\]"),
    "text": (ask(coef={"x": "big"}), "is a number"),
    "no noise": (ask(sigma=None), "sigma=1.0"),
    "bad noise": (ask(sigma=0), "above 0"),
    "noise of counts": (ask(options=POISSON), "leave sigma out"),
    "gamma below 0": (ask(options=GAMMA, sigma=None, dispersion=1.0), "is impossible under the inverse link"),
    "no theta": (ask(options={"family": "negative_binomial"}, sigma=None), r"theta=2"),
    "quasi": (ask(options={"family": "quasipoisson"}, sigma=None), "no distribution"),
    "no rows": (ask(n=None), "n=100"),
    "part of a row": (ask(n=2.5), "whole number"),
    "lengths": (ask(predictors={"x": [1.0, 2.0]}), "n=2"),
    "a column": (ask("y ~ age", coef={"age": 1}, predictors={"ag": normal()}), "did you mean 'age'"),
    "the response": (ask(predictors={"y": normal()}), "which is made up"),
    "no groups": (ask("y ~ x + (1 | g)"), r"groups\(10\)"),
    "no weights": (ask(options={"weights": "w"}), "nothing is said of the weights"),
    "no spread": (ask("y ~ x + (1 | g)", predictors={"g": groups(5)}), "SDs of the random effects"),
    "spread of lm": (ask(spread={"g": 1}), "no random effects"),
    "spread below 0": (ask("y ~ x + (1 | g)", **MIXED | {"spread": {"g": -1}}), "0 or more"),
    "spread of whom": (ask("y ~ x + (1 | gang)", predictors={"gang": groups(5)}, spread={"gan": 1}), "mean 'gang'"),
    "one of two": (ask("y ~ x + (x | g)", **MIXED), "2 effects"),
    "no such effect": (ask("y ~ x + (1 | g)", **MIXED | {"spread": {"g": {"z": 1}}}), "effects of g are"),
    "cor": (ask("y ~ x + (x | g)", **MIXED | {"spread": {"g": {"x": 1, "cor": 1.5}}}), "between -1 and 1"),
    "cor of ||": (ask("y ~ x + (x || g)", **MIXED | {"spread": {"g": {"x": 1, "cor": 0.5}}}), "do not covary"),
    "no trials": (ask("cbind(a, b) ~ x", options=BINOMIAL, sigma=None), "trials=20"),
    "parts of trials": (ask("cbind(a, b) ~ x", options=BINOMIAL, sigma=None, trials=2.5), "whole number"),
    "trials of lm": (ask(trials=3), "no place for trials"),
    "left side": (ask("sqrt(y) ~ x"), "cannot be turned back"),
    "nsim": (ask(nsim=3), "leave nsim out"),
    "random": (ask(random="new"), "leave random out"),
    "whose": (ask("y ~ x + g", predictors={"g": per("school", levels("a", "b"))}), "no column of this design"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused(name):
    call, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(
    "make",
    [
        lambda: normal(0, 0), lambda: normal("a"), lambda: uniform(1, 1), lambda: binary(1), lambda: levels("a"),
        lambda: levels("a", "a"), lambda: levels("a", "b", p=[1, 1]), lambda: balanced("a", 1), lambda: groups(),
        lambda: groups(1), lambda: groups(2.5), lambda: groups(3, size=2), lambda: per("g", "levels"),
    ],
)  # fmt: skip
def test_predictors_that_cannot_be(make):
    with pytest.raises(InferenceError):
        make()


def test_a_model_without_data_says_so():
    m = model("y ~ x")
    assert "no data, not fitted" in repr(m)
    with pytest.raises(InferenceError, match=r"simulate\(n=100"):
        m.fit()
    with pytest.raises(ValueError, match="not been fitted"):
        m.infer()
