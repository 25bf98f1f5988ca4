"""Responses of a fitted model: their laws by family, their seeds, what survives (weights, trials, offset, gaps)."""

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreWarning, InferenceError

B = 4000
SIGMAS = 4.8  # of 30 to 200 rows at once: the largest of so many normals lies below 4.8 in 99.9 % of runs


def frame(n=40, seed=3):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=n), rng.integers(1, 6, n).astype(float)
    return pl.DataFrame({
        "x": x, "w": w, "t": rng.uniform(1, 3, n), "size": rng.integers(5, 30, n),
        "gauss": 2 + x + rng.normal(size=n), "count": rng.poisson(np.exp(1 + 0.3 * x)),
        "spread": rng.negative_binomial(3, 0.3, n), "positive": rng.gamma(3, np.exp(0.2 * x)),
        "won": rng.integers(0, 5, n), "yes": rng.random(n) < 0.5,
        "group": np.repeat([f"g{j}" for j in range(8)], n // 8),
    })  # fmt: skip


def simulated(m, **options):
    return m.simulate(nsim=B, seed=11, **options).simulations.to_numpy()


LAWS = {
    "lm": ("gauss ~ x", {}),
    "lm weighted, offset": ("gauss ~ x + offset(t)", {"weights": "w"}),
    "binomial": ("yes ~ x", {"family": "binomial"}),
    "binomial cbind": ("cbind(won, size) ~ x", {"family": "binomial", "link": "probit"}),
    "poisson, offset": ("count ~ x + offset(log(t))", {"family": "poisson"}),
    "gamma": ("positive ~ x", {"family": "gamma", "link": "log"}),
    "gamma weighted": ("positive ~ x", {"family": "gamma", "link": "log", "weights": "w"}),
    "inverse gaussian": ("positive ~ x", {"family": "inverse_gaussian", "link": "log"}),
    "negative binomial": ("spread ~ x", {"family": "negative_binomial"}),
    "tdist": ("gauss ~ x", {"family": "tdist(df=9)"}),
}


@pytest.mark.parametrize("name", LAWS)
def test_mean_and_variance_by_family(name):
    """E y = mu, Var y = phi V(mu) / w from the fit itself (df / (df - 2) times that for Student's t)."""
    formula, options = LAWS[name]
    m = model(formula, frame(), **options).fit()
    draws, fit = simulated(m), m.fit_state
    variance = {
        "gaussian": lambda mu: np.ones_like(mu), "tdist": lambda mu: np.full_like(mu, 9 / 7),
        "binomial": lambda mu: mu * (1 - mu), "poisson": lambda mu: mu, "gamma": lambda mu: mu**2,
        "inverse_gaussian": lambda mu: mu**3, "negative_binomial": lambda mu: mu + mu**2 / fit.family_params[0],
    }[m.spec.family.partition("(")[0]](fit.fitted) * fit.dispersion  # fmt: skip
    if m.bundle.prior_weights is not None:
        variance = variance / m.bundle.prior_weights
    error = draws.mean(axis=1) - fit.fitted
    assert np.all(np.abs(error) < SIGMAS * np.sqrt(variance / B))
    squares = (draws - fit.fitted[:, None]) ** 2
    assert np.all(np.abs(squares.mean(axis=1) - variance) < SIGMAS * squares.std(axis=1) / np.sqrt(B))


def test_trials_make_whole_successes():
    m = model("cbind(won, size) ~ x", frame(), family="binomial").fit()
    won = simulated(m) * m.bundle.trials[:, None]
    np.testing.assert_allclose(won, np.rint(won), atol=1e-9)  # 1e-9: a proportion times its trials


def test_new_random_effects_have_the_marginal_law():
    """Cov y = sigma^2 (Z T T' Z' + I / w) with new effects; sigma^2 / w around the fitted values with the fit's own."""
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    fit, re = m.fit_state, m.bundle.re_metadata
    Z = re.z_matrix()[:10, :2].toarray() @ re.t_matrices(fit.theta)[0]
    cov = fit.dispersion * (Z @ Z.T + np.eye(10))
    draws = simulated(m)[:10]
    centred = draws - fit.fitted_marginal[:10, None]
    products = centred[:, None] * centred[None]
    assert np.all(np.abs(products.mean(axis=2) - cov) < SIGMAS * products.std(axis=2) / np.sqrt(B))
    own = simulated(m, random="fitted")
    assert np.all(np.abs(own.mean(axis=1) - fit.fitted) < SIGMAS * fit.sigma / np.sqrt(B))
    # 5 %: the SD of B normals has a relative error of 1.1 %
    np.testing.assert_allclose(own.std(axis=1), fit.sigma, rtol=0.055)


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("Reaction ~ Days + offset(Days) + (Days | Subject)", {"data": "sleepstudy"}),
        ("strength ~ 1 + (1 | batch/cask)", {"data": "pastes"}),
        ("cbind(incidence, size - incidence) ~ period + (1 | herd)", {"data": "cbpp", "family": "binomial"}),
    ],
)
def test_new_effects_are_the_draws_of_the_parametric_bootstrap(formula, options):
    options = dict(options)
    m = model(formula, load_dataset(options.pop("data")), **options).fit()
    made = m.simulate(nsim=700, seed=5).simulations
    stream = m.draw_stream(seed=5)
    for i in (0, 699):
        np.testing.assert_allclose(made[f"sim_{i + 1}"].to_numpy(), stream.response_of(i), rtol=1e-13)  # sums reordered


def test_a_gamma_mixed_model_simulates():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(12), 15)
    data = pl.DataFrame({"g": [f"g{j}" for j in g], "y": rng.gamma(4, np.exp(1 + rng.normal(0, 0.5, 12)[g]) / 4)})
    m = model("y ~ 1 + (1 | g)", data, family="gamma", link="log").fit()
    draws = simulated(m)
    fit = m.fit_state
    sd = fit.sigma * fit.theta[0]
    mean = np.exp(fit.coef[0] + 0.5 * sd**2)  # of a lognormal mean
    second = np.exp(2 * fit.coef[0] + 2 * sd**2) * (1 + fit.dispersion)
    for power, wanted in ((1, mean), (2, second)):
        values = draws[::15] ** power
        assert np.all(np.abs(values.mean(axis=1) - wanted) < SIGMAS * values.std(axis=1) / np.sqrt(B))


@pytest.mark.parametrize("name", ["lm", "negative binomial", "inverse gaussian", "mixed", "mixed poisson"])
def test_simulation_i_is_a_function_of_seed_and_i(name):
    if name.startswith("mixed"):
        family = {} if name == "mixed" else {"family": "poisson"}
        m = model("count ~ x + (1 | group)", frame(), **family).fit()
    else:
        formula, options = LAWS[name]
        m = model(formula, frame(), **options).fit()
    many = m.simulate(nsim=600, seed=2).simulations
    few = m.simulate(nsim=3, seed=2).simulations
    assert few.equals(many.select(few.columns))
    assert not m.simulate(nsim=3, seed=3).simulations.equals(few)
    unseeded = m.simulate(nsim=2)
    again = unseeded.simulations
    assert m.simulate(nsim=2, seed=unseeded.state.simulations.seed).simulations.equals(again)


def test_rows_that_took_no_part_are_null():
    data = frame().with_columns(
        x=pl.when(pl.int_range(40) == 7).then(None).otherwise("x"),
        w=pl.when(pl.int_range(40) == 9).then(0.0).otherwise("w"),
    )
    m = model("gauss ~ x", data, weights="w").fit().simulate(nsim=30, seed=1).infer()
    made = m.simulations
    assert made.height == 40
    assert [i for i, v in enumerate(made["sim_1"]) if v is None] == [7, 9]
    summary = m.simulation_summary
    assert summary["row"].to_list() == [i for i in range(40) if i != 7]
    assert summary.filter(pl.col("row") == 9)["mean"].to_list() == [None]
    assert m.simulation_check("mean")["observed"][0] == pytest.approx(
        data.filter(~pl.int_range(40).is_in([7, 9]))["gauss"].mean()
    )


def test_the_left_side_as_it_is_written():
    m = model("log(positive) ~ x", frame()).fit()
    assert np.all(np.abs(simulated(m).mean(axis=1) - m.fit_state.fitted) < SIGMAS * m.fit_state.sigma / np.sqrt(B))


def test_a_dispersion_of_ones_own():
    m = model("positive ~ x", frame(), family="gamma", link="log").fit()
    draws = simulated(m, dispersion=0.04)
    # 6 %: the SD of B gammas of this shape has a relative error of 1.2 %
    np.testing.assert_allclose(draws.std(axis=1) / m.fit_state.fitted, 0.2, rtol=0.06)


def test_results_of_before_go():
    m = model("gauss ~ x", frame()).fit().infer().simulate(nsim=5, seed=1).infer()
    assert m.state.sim_inference is not None and m.state.inference is not None
    m.simulate(nsim=5, seed=2)
    assert m.state.sim_inference is None
    m.infer().fit()
    assert m.state.simulations is None and m.state.sim_inference is None
    with pytest.raises(InferenceError, match="nothing was simulated"):
        _ = m.simulations


def test_draws_without_a_possible_mean_are_told():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(10), 20)
    y = rng.poisson(np.maximum(3 + rng.normal(0, 1.5, 10)[g], 0.3))
    data = pl.DataFrame({"y": y, "g": [f"g{j}" for j in g]})
    m = model("y ~ 1 + (1 | g)", data, family="poisson", link="identity").fit()
    with pytest.warns(InferenceCoreWarning, match="of 400 simulations have a mean"):
        m.simulate(nsim=400, seed=1)
    empty = [name for name in m.simulations.columns if m.simulations[name].null_count() == 200]
    assert 0 < len(empty) < 400
    assert m.infer().state.sim_inference.n_sims == 400 - len(empty)


def fractional():
    data = frame().with_columns(share=pl.col("won") / 10, part=pl.col("size") + 0.5)
    return model("share ~ x", data, family="binomial", weights="part").fit()


def lm():
    return model("gauss ~ x", frame()).fit()


REFUSED = {
    "fractional trials": (fractional, {"nsim": 2}, "part of a trial"),
    "quasi": (lambda: model("count ~ x", frame(), family="quasipoisson").fit(), {"nsim": 2}, "no distribution"),
    "no random effects": (lm, {"random": "new"}, "has no random effects"),
    "a word": (lambda: model("gauss ~ x + (1 | group)", frame()).fit(), {"random": "fited"}, "did you mean 'fitted'"),
    "nsim": (lm, {"nsim": 2.5}, "whole number"),
    "seed": (lm, {"seed": -1}, "whole number"),
    "truth": (lm, {"coef": {"x": 1}}, "leave coef out"),
    "rows": (lm, {"n": 30}, "leave n out"),
    "too many": (lm, {"nsim": 50_000_000}, "nsim=6710886"),
    "dispersion": (lambda: model("count ~ x", frame(), family="poisson").fit(), {"dispersion": 2}, "leave dispersion"),
    "not fitted": (lambda: model("gauss ~ x", frame()), {"nsim": 2}, "has not been fitted"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_calls_are_refused(name):
    make, options, said = REFUSED[name]
    m = make()
    with pytest.raises(ValueError, match=said):
        m.simulate(**options)
    assert m.state.simulations is None


@pytest.mark.parametrize("how", ["boot", "perm", "cv", "profile", "joint"])
def test_simulations_are_not_tested(how):
    with pytest.raises(InferenceError, match="tests nothing"):
        lm().simulate(nsim=3, seed=1).infer(how=how)


@pytest.mark.parametrize("argument", [{"null": 1}, {"errors": "HC3"}, {"alternative": "less"}])
def test_arguments_of_tests_take_no_part(argument):
    with pytest.raises(InferenceError, match="conf_level alone takes part"):
        lm().simulate(nsim=3, seed=1).infer(**argument)
