"""Power by simulation: refits equal those of fit().infer(), shares equal closed forms, streams keep their promises."""

import threading

import numpy as np
import pytest
from scipy import stats

from inference_core import model
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.predictors import balanced, binary, groups, levels, normal, per

TWO_GROUPS = {"predictors": {"g": balanced("a", "b")}, "sigma": 7.48}


def within(value, wanted, mcse, sigmas=4.0):
    assert abs(value - wanted) < sigmas * mcse, (value, wanted, mcse)


def power_of_t(n, delta, sd, level=0.95, alternative="two-sided"):
    """Of the t test of two groups of n / 2, by the noncentral t."""
    df, shift = n - 2, delta / (sd * np.sqrt(4 / n))
    if alternative != "two-sided":
        return stats.nct.sf(stats.t.ppf(level, df), df, shift)
    reach = stats.t.ppf(0.5 + level / 2, df)
    return stats.nct.sf(reach, df, shift) + stats.nct.cdf(-reach, df, shift)


def test_power_of_the_t_test_is_that_of_the_noncentral_t():
    """And at n = 20, 40, 60, 120: 0.18, 0.33, 0.47, 0.77, known from R's power.t.test(n / 2, 3.7, 7.48)."""
    m = model("y ~ g").power(n=[20, 40, 60, 120], coef={"g[b]": [0.0, 3.7]}, nsim=4000, seed=1, **TWO_GROUPS)
    table = m.power_table
    assert table.columns[:5] == ["n", "coef[g[b]]", "term", "truth", "power"]
    for row in table.iter_rows(named=True):
        wanted = power_of_t(row["n"], row["truth"], 7.48)
        within(row["power"], wanted, np.sqrt(wanted * (1 - wanted) / 4000))
        within(row["coverage"], 0.95, np.sqrt(0.95 * 0.05 / 4000))
        within(row["bias"], 0.0, row["bias_mcse"])
        within(row["rmse"], 7.48 * np.sqrt(4 / row["n"]), row["rmse_mcse"])
        assert row["power_mcse"] == pytest.approx(np.sqrt(row["power"] * (1 - row["power"]) / 3999))
    found = dict(table.filter(table["truth"] > 0).select("n", "power").iter_rows())
    for n, known in {20: 0.18, 40: 0.33, 60: 0.47, 120: 0.77}.items():
        assert found[n] == pytest.approx(known, abs=0.035)  # four errors of 4,000, and the rounding of what is known


def test_small_studies_that_find_it_exaggerate():
    """10 a group: among findings on the right side the gap averages 8.3, its truth 3.7."""
    m = model("y ~ g").power(n=20, coef={"g[b]": 3.7}, nsim=4000, seed=2, **TWO_GROUPS)
    row = m.power_table.row(0, named=True)
    assert row["mean_significant"] == pytest.approx(8.3, abs=0.25)  # four errors: 700 findings with an SD of 1.5
    assert 0 < row["wrong_sign"] < 0.03


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided_power_and_coverage(alternative):
    delta = 3.7 if alternative == "greater" else -3.7
    m = model("y ~ g").power(
        n=40, coef={"g[b]": delta}, nsim=4000, seed=3, alternative=alternative, conf_level=0.9, **TWO_GROUPS
    )
    row = m.power_table.row(0, named=True)
    wanted = power_of_t(40, 3.7, 7.48, 0.9, "greater")
    within(row["power"], wanted, np.sqrt(wanted * (1 - wanted) / 4000))
    within(row["coverage"], 0.9, np.sqrt(0.09 / 4000))


STUDIES = {
    "lm": ("y ~ x + g", {}, {"x": 0.4}, {"sigma": 1.0, "predictors": {"g": balanced("a", "b", "c")}}),
    "lm weighted, offset": (
        "y ~ x + offset(t)", {"weights": "w"}, {"x": 0.4},
        {"sigma": 1.0, "predictors": {"w": balanced(1, 3), "t": normal(5, 2)}},
    ),
    "lm, rows of weight 0": (
        "y ~ x", {"weights": "w"}, {"x": 0.4}, {"sigma": 1.0, "predictors": {"w": balanced(0, 1, 2)}},
    ),
    "binomial": ("y ~ x", {"family": "binomial", "link": "cloglog"}, {"x": 0.4}, {}),
    "cbind": ("cbind(won, n - won) ~ x", {"family": "binomial"}, {"x": 0.4}, {"trials": 9}),
    "poisson, offset": ("y ~ x + offset(t)", {"family": "poisson"}, {"x": 0.4}, {}),
    "negative binomial": ("y ~ x", {"family": "negative_binomial(theta=2)"}, {"x": 0.4, "Intercept": 1}, {}),
    "gamma": ("y ~ x", {"family": "gamma", "link": "log"}, {"x": 0.4}, {"dispersion": 0.4}),
    "tdist": ("y ~ x", {"family": "tdist(df=6)"}, {"x": 0.4}, {"sigma": 2.0}),
    "lmer": (
        "y ~ x + (x | s)", {}, {"x": 0.4},
        {"sigma": 1.0, "predictors": {"s": groups(9)}, "spread": {"s": {"Intercept": 1, "x": 0.7, "cor": 0.3}}},
    ),
    "lmer, ML": (
        "y ~ x + (1 | s)", {"method": "ml"}, {"x": 0.4},
        {"sigma": 1.0, "predictors": {"s": groups(9)}, "spread": {"s": 1.0}},
    ),
    "lmer, weights, offset": (
        "y ~ x + offset(t) + (1 | s)", {"weights": "w"}, {"x": 0.4},
        {"sigma": 1.0, "predictors": {"w": balanced(1, 3), "s": groups(9)}, "spread": {"s": 1.0}},
    ),
    "lmer, no spread": (
        "y ~ x + (1 | s)", {}, {"x": 0.4}, {"sigma": 1.0, "predictors": {"s": groups(9)}, "spread": {"s": 0.0}}
    ),
    "lmer, crossed": (
        "y ~ x + (1 | s) + (1 | r)", {}, {"x": 0.4},
        {"sigma": 1.0, "predictors": {"s": groups(9), "r": balanced(*"abcdef")}, "spread": {"s": 1.0, "r": 0.5}},
    ),
    "glmer": (
        "y ~ x + (1 | s)", {"family": "poisson"}, {"x": 0.4}, {"predictors": {"s": groups(9)}, "spread": {"s": 0.5}},
    ),
    "glmer cbind": (
        "cbind(won, lost) ~ t + (1 | s)", {"family": "binomial"}, {"t": 1.0},
        {"predictors": {"s": groups(9), "t": per("s", binary())}, "trials": 8, "spread": {"s": 0.7}},
    ),
    "glmer gamma": (
        "y ~ x + (1 | s)", {"family": "gamma", "link": "log"}, {"x": 0.4},
        {"predictors": {"s": groups(9)}, "spread": {"s": 0.5}, "dispersion": 0.3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_a_refit_is_a_fit_and_its_inference(name):
    """Estimate, standard error and degrees of freedom of data sets 0 to 5: those of model(formula, data)."""
    formula, options, coef, more = STUDIES[name]
    stream = model(formula, **options).power_stream(n=90, coef=coef, nsim=6, seed=4, designs=2, **more)
    found = {}
    for batch in stream.batches():
        for k, i in enumerate(batch.index):
            found[int(i)] = [getattr(batch.estimates, what)[k] for what in ("coef", "se", "df", "status")]
    assert sorted(found) == list(range(6))
    # of mixed models two searches of one optimum, and of generalized ones standard errors by differences
    mixed, generalized = "|" in formula, "family" in options
    rtol = {"coef": 1e-4 if mixed else 1e-7, "se": 1e-3 if mixed and generalized else 1e-4 if mixed else 1e-6}
    for i, (estimate, se, df, status) in found.items():
        assert status == 0
        m = model(formula, stream.data(0, i), **options).fit().infer()
        params = m.params
        scale = params["se"].to_numpy()
        np.testing.assert_array_less(np.abs(estimate - params["estimate"].to_numpy()), rtol["coef"] * scale)
        np.testing.assert_allclose(se, scale, rtol=rtol["se"])
        np.testing.assert_allclose(df, params["df"].fill_null(np.inf).to_numpy(), rtol=1e-3 if mixed else 1e-12)


def test_coverage_of_a_mixed_model_is_nominal():
    """A treatment of whole groups: Satterthwaite's t on 8 df; z instead would cover about 91 %."""
    m = model("y ~ t + (1 | s)").power(
        n=60, coef={"t[b]": [0.0, 1.5]}, sigma=1.0, spread={"s": 1.0}, nsim=3000, seed=5,
        predictors={"s": groups(10), "t": per("s", balanced("a", "b"))},
    )  # fmt: skip
    for row in m.power_table.iter_rows(named=True):
        within(row["coverage"], 0.95, np.sqrt(0.95 * 0.05 / 3000))
        # balanced groups: the t test of the ten group means, SD sqrt(1 + 1 / 6)
        wanted = power_of_t(10, row["truth"], np.sqrt(1 + 1 / 6))
        within(row["power"], wanted, np.sqrt(wanted * (1 - wanted) / 3000))


def test_random_predictors_widen_the_monte_carlo_error():
    """Power of a slope on normal x, averaged over x by numerical integration of the noncentral t over chi-square."""
    n, nsim = 12, 4000
    m = model("y ~ x").power(n=n, coef={"x": 0.7}, sigma=1.0, nsim=nsim, seed=6, designs=100)
    row = m.power_table.row(0, named=True)
    reach = stats.t.ppf(0.975, n - 2)
    sxx = stats.chi2.ppf((np.arange(400) + 0.5) / 400, n - 1)  # squares about the mean of n normals
    each = stats.nct.sf(reach, n - 2, 0.7 * np.sqrt(sxx)) + stats.nct.cdf(-reach, n - 2, 0.7 * np.sqrt(sxx))
    binomial = np.sqrt(row["power"] * (1 - row["power"]) / nsim)
    assert row["power_mcse"] == pytest.approx(np.hypot(binomial, each.std() / 10), rel=0.35)  # an SD of 100 designs
    within(row["power"], each.mean(), row["power_mcse"])


def test_draws_do_not_depend_on_workers_number_or_grid():
    def run(**changed):
        ask = {"n": [30], "coef": {"x": 0.4}, "sigma": 1.0, "nsim": 150, "seed": 7, "designs": 4}
        stream = model("y ~ x").power_stream(**ask | {k: v for k, v in changed.items() if k != "n_jobs"})
        coef = np.full((len(stream.cells), stream.nsim), np.nan)
        for batch in stream.batches(n_jobs=changed.get("n_jobs", 1)):
            coef[batch.cell, batch.index] = batch.estimates.coef[:, 1]
        return coef

    base = run()
    np.testing.assert_array_equal(run(n_jobs=2), base)
    np.testing.assert_array_equal(run(nsim=400)[:, :150], base)
    np.testing.assert_array_equal(run(nsim=20), base[:, :20])
    np.testing.assert_array_equal(run(n=[20, 30])[1:], base)
    assert not np.array_equal(run(seed=8), base)


def test_a_cancelled_study_has_what_was_computed():
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append((done, total))
        if done >= 1500:
            stop.set()

    m = model("y ~ g").power(
        n=[20, 40, 60], coef={"g[b]": 3.7}, nsim=1000, seed=1, progress=progress, cancel=stop, **TWO_GROUPS
    )
    state = m.state.sim_inference
    assert state.cancelled and "cancelled" in repr(m)
    assert seen[-1][0] < 3000 and seen[-1][1] == 3000
    assert m.power_table["n_sims"].to_list() == [1000, seen[-1][0] - 1000, 0]
    assert m.power_table["power"].null_count() == 1
    whole = model("y ~ g").power(n=20, coef={"g[b]": 3.7}, nsim=1000, seed=1, **TWO_GROUPS).power_table
    assert whole.row(0) == m.power_table.row(0)


def test_the_grid_is_every_combination():
    m = model("y ~ x + (1 | s)").power(
        n=[30, 60], coef={"x": [0.1, 0.2]}, sigma=[1.0, 2.0], spread={"s": {"Intercept": [0.5, 1.0, 1.5]}},
        predictors={"s": groups(6)}, nsim=4, seed=1, designs=2, terms=["x", "(Intercept)"],
    )  # fmt: skip
    table = m.power_table
    assert table.height == 2 * 2 * 2 * 3 * 2
    assert table.columns[:6] == ["n", "coef[x]", "sigma", "spread[s, Intercept]", "term", "truth"]
    assert table.select("n", "coef[x]", "sigma", "spread[s, Intercept]").unique().height == 24


def test_the_state_of_a_study():
    m = model("y ~ g").power(n=40, coef={"g[b]": 3.7}, nsim=50, **TWO_GROUPS)
    state = m.state.sim_inference
    assert state.sim_type == "power" and state.n_sims == 50 and not state.cancelled
    assert set(state.mcse) == {"power", "coverage", "bias", "rmse"}
    again = model("y ~ g").power(n=40, coef={"g[b]": 3.7}, nsim=50, seed=state.seed, **TWO_GROUPS)
    assert again.power_table.equals(m.power_table)


def test_failed_refits_are_counted_and_told():
    """Twelve rows of one trial, a steep slope: many samples are separated."""
    with pytest.warns(InferenceCoreWarning, match="refits failed"):
        m = model("y ~ x", family="binomial").power(n=12, coef={"x": 3.0}, nsim=200, seed=1, designs=4)
    row = m.power_table.row(0, named=True)
    assert row["n_failed"] > 20 and row["n_sims"] + row["n_failed"] == 200
    with pytest.raises(InferenceError, match="not one of 100 data sets"):
        model("y ~ g", family="binomial").power(
            n=6, coef={"g[b]": 60.0, "Intercept": -30.0}, nsim=100, seed=1, predictors={"g": balanced("a", "b")}
        )


def test_samples_that_lack_a_level_are_counted():
    """Four equal chances, ten rows: a sample misses a level with probability 4 (3/4)^10 - 6 (1/2)^10 + 4 (1/4)^10."""
    predictors = {"g": levels("a", "b", "c", "d")}
    m = model("y ~ g")
    with pytest.warns(InferenceCoreWarning, match="refits failed"):
        m.power(n=10, coef={"g[d]": 1.0}, sigma=1.0, nsim=150, seed=2, designs=150, predictors=predictors)
    lost = 4 * 0.75**10 - 6 * 0.5**10 + 4 * 0.25**10
    within(m.power_table["n_failed"][0] / 150, lost, np.sqrt(lost * (1 - lost) / 150))
    with pytest.raises(InferenceError, match=r"no row of this sample shows g\["):
        model("y ~ g").simulate(n=3, coef={"g[d]": 1.0}, sigma=1.0, seed=1, predictors=predictors)


def ask(formula="y ~ x", options=None, **call):
    call = {"n": 20, "coef": {"x": 1.0}, "sigma": 1.0, "nsim": 10, "seed": 1} | call
    return lambda: model(formula, **(options or {})).power(**{k: v for k, v in call.items() if v is not None})


WRONG = {
    "no truth": (ask(coef=None), "no truth"),
    "a name": (ask("y ~ age", coef={"agee": [1, 2]}), "did you mean 'age'"),
    "terms": (ask(terms="xx"), "did you mean 'x'"),
    "empty": (ask(n=[]), "an empty list"),
    "part of a row": (ask(n=[20, 20.5]), "whole number of rows"),
    "too few": (ask(n=2), "n=4"),
    "too many": (ask(coef={"x": list(range(1001))}), "more than 1,000"),
    "two alike": (ask("y ~ x + I(2 * x)"), "cannot be told from"),
    "nsim": (ask(nsim=0), "nsim=999"),
    "level": (ask(conf_level=95), "conf_level"),
    "word": (ask(alternative="bigger"), "alternative is one of"),
    "jobs": (ask(n_jobs=0), "number of processes"),
    "one bad cell": (ask(sigma=[1.0, -1.0]), "above 0"),
    "data": (
        lambda: model("y ~ x", {"y": [1.0, 2.0, 4.0], "x": [1.0, 2.0, 3.0]}).power(n=9, coef={"x": 1}),
        "has data",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused(name):
    call, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        call()


def test_no_study_no_table():
    with pytest.raises(InferenceError, match="no power study"):
        _ = model("y ~ x").power_table
