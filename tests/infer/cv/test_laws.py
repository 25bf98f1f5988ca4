"""What holds whatever the data: no leakage, noise is worth nothing, numbers do not depend on how they were computed."""

import pickle
import threading
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config

from inference_core import load_dataset, model
from inference_core.infer.cv import compute_cv_metrics, compute_params_cv_inference
from inference_core.infer.cv.plan import make_plan
from inference_core.infer.cv.run import outcome, refit_tasks, stream

seeds = st.integers(0, 2**32 - 1)


def linear(seed, n=40):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    g = np.resize(["a", "b", "c", "a"], n)
    y = x + 0.3 * z + (g == "b") + rng.normal(size=n)
    return pl.DataFrame({"x": x, "z": z, "g": g, "y": y})


@given(seed=seeds, a=st.floats(0.01, 100), b=st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_units_of_the_response_change_nothing_but_units(seed, a, b):
    d = linear(seed)
    one = compute_params_cv_inference(*_parts(d), 0.95, k=5, seed=1)[1]
    other = compute_params_cv_inference(*_parts(d.with_columns(y=a * pl.col("y") + b)), 0.95, k=5, seed=1)[1]
    # rounding of a y whose mean may be 1e4 times its spread
    np.testing.assert_allclose(other.terms["pre"], one.terms["pre"], rtol=1e-6, atol=1e-8)
    assert other.metrics["rmse"] == pytest.approx(a * one.metrics["rmse"], rel=1e-7)


def _parts(d, formula="y ~ x * g + z", **options):
    m = model(formula, d, **options).fit()
    return m.spec, m.bundle, m.data


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_pre_ratio_and_pre_never_exceed_one_share_of_the_loss(seed):
    """pre_ratio = 1 - SSE_full / SSE_without is at most 1; r2 too; RMSE is no less than MAE."""
    state = compute_params_cv_inference(*_parts(linear(seed)), 0.95, k=5, seed=seed)[1]
    assert np.all(state.terms["pre_ratio"] <= 1) and state.metrics["r2"] <= 1
    assert state.metrics["rmse"] >= state.metrics["mae"]
    assert np.all((state.terms["ci_lower"] <= state.terms["pre"]) & (state.terms["pre"] <= state.terms["ci_upper"]))


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_changes_nothing(seed):
    d = linear(seed)
    folds = np.arange(40) % 5
    order = np.random.default_rng(seed).permutation(40)
    m, n = (model("y ~ bs(x, df = 4) + g", f).fit() for f in (d, d[order]))
    a = compute_cv_metrics(m.spec, m.bundle, data=m.data, folds=folds)
    b = compute_cv_metrics(n.spec, n.bundle, data=n.data, folds=folds[order])
    np.testing.assert_allclose(b.oos_predictions, a.oos_predictions[order], rtol=1e-9, atol=1e-9)  # rounding


# ---- leakage -----------------------------------------------------------------------------------------------


def test_a_transform_learned_on_all_rows_would_change_the_result():
    """Knots of a spline and ranks are learned from the training rows; columns that all rows made give other numbers."""
    rng = np.random.default_rng(0)
    d = pl.DataFrame({"x": rng.lognormal(0, 1.5, size=40)})
    d = d.with_columns(y=np.log(d["x"].to_numpy()) + rng.normal(size=40) / 3)
    folds = np.arange(40) % 5
    for transform, width in (("bs(x, df = 5)", 5), ("ns(x, df = 4)", 4), ("rank(x)", 1)):
        m = model(f"y ~ {transform}", d).fit()
        ours = compute_cv_metrics(m.spec, m.bundle, data=d, folds=folds)
        fixed = d.select("y", *(pl.Series(f"b{j}", m.bundle.X[:, j + 1]) for j in range(width)))
        leaky = model("y ~ " + " + ".join(f"b{j}" for j in range(width)), fixed).fit()
        theirs = compute_cv_metrics(leaky.spec, leaky.bundle, folds=folds)
        assert np.max(np.abs(ours.oos_predictions - theirs.oos_predictions)) > 1e-3


def test_held_out_rows_do_not_reach_their_own_prediction():
    """Any change of the responses of a fold leaves the predictions of that fold where they were."""
    d = linear(3)
    folds = np.arange(40) % 5
    wild = d.with_columns(y=pl.when(pl.Series(folds == 2)).then(pl.col("y") * 50 - 7).otherwise(pl.col("y")))
    for formula in ("y ~ x * g", "y ~ bs(x, df = 4) + scale(z)"):
        a, b = (
            compute_cv_metrics(m.spec, m.bundle, data=m.data, folds=folds)
            for m in (model(formula, f).fit() for f in (d, wild))
        )
        # exact but for rounding: the downdated system has seen the numbers and lost them again
        np.testing.assert_allclose(b.oos_predictions[folds == 2], a.oos_predictions[folds == 2], rtol=1e-8, atol=1e-9)
        assert np.max(np.abs(b.oos_predictions - a.oos_predictions)) > 1


def test_noise_is_worth_nothing():
    """Over 300 data sets the mean of pre of a column of noise is below 0: fitting noise costs held-out R2."""
    pre = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        d = pl.DataFrame({"x": rng.normal(size=30), "noise": rng.normal(size=30)})
        d = d.with_columns(y=d["x"] + rng.normal(size=30))
        state = compute_params_cv_inference(*_parts(d, "y ~ x + noise"), 0.95, k=5, seed=seed)[1]
        pre.append(state.terms["pre"])
    worth = np.mean(pre, axis=0)
    error = np.std(pre, axis=0) / np.sqrt(300)
    assert worth[0] > 0.2 and worth[1] < 3 * error[1]  # three standard errors above 0 would be a leak
    # one parameter costs about 1/n of the noise variance: 1/30 of a half
    assert -0.06 < worth[1] < 0


# ---- how it is computed ------------------------------------------------------------------------------------


def test_workers_change_nothing():
    d = load_dataset("cbpp")
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", d, family="binomial").fit()
    plan = make_plan(m.spec, m.bundle, data=d, fit=m.fit_state, k=3, seed=1)
    one = outcome(plan)
    with parallel_config(backend="threading"):
        two = outcome(plan, n_jobs=2)
        m.infer(how="cv", k="loo", n_jobs=2, cancel=StopAfter(3))
    np.testing.assert_array_equal(one.eta, two.eta)
    assert m.state.cv.cancelled and m.state.cv.k == 15
    # what a process would do: the task travels as bytes
    task = pickle.loads(pickle.dumps(next(refit_tasks(plan))))
    (batch,) = task()
    np.testing.assert_array_equal(batch.eta[0], one.eta[0, 0, batch.rows])


def test_a_seed_gives_the_same_table_and_another_seed_another():
    m = model("y ~ x + g", linear(0)).fit()
    a, b, c = (m.infer(how="cv", k=5, seed=s).cv_terms for s in (1, 1, 2))
    assert a.equals(b) and not a.equals(c)
    m.infer(how="cv", k=5)
    again = m.state.cv.seed
    first = m.cv_predictions
    assert m.infer(how="cv", k=5, seed=again).cv_predictions.equals(first)


def test_repeats_begin_with_the_single_run():
    m = model("y ~ x + g", linear(0)).fit()
    once = m.infer(how="cv", k=5, seed=3).cv_predictions
    thrice = m.infer(how="cv", k=5, seed=3, repeats=3).cv_predictions
    assert thrice.head(40).equals(once) and thrice.height == 120


def test_the_stream_brings_every_fold_once():
    d = load_dataset("infert")
    m = model("case ~ spontaneous + induced", d, family="binomial").fit()
    plan = make_plan(m.spec, m.bundle, data=d, fit=m.fit_state, k=6, seed=1)
    seen, done = np.zeros((3, d.height), int), []
    for batch in stream(plan):
        for v in batch.variants:
            seen[v, batch.rows] += 1
        done.append(batch.done)
        assert batch.total == 18 and batch.eta.shape == (len(batch.variants), len(batch.rows))
    assert np.all(seen == 1) and done == sorted(done) and done[-1] == 18


class StopAfter(threading.Event):
    """Set after so many looks."""

    def __init__(self, looks):
        super().__init__()
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0


def test_a_cancelled_run_scores_the_folds_it_has():
    d = load_dataset("sleepstudy")
    m = model("Reaction ~ Days + (1 | Subject)", d).fit()
    seen = []
    m.infer(how="cv", scheme="rows", k=6, seed=1, cancel=StopAfter(4), progress=lambda *a: seen.append(a))
    cv = m.state.cv
    assert cv.cancelled and "cancelled: 4 of 6 folds of the full model are done" in m.inference.notes
    scored = np.isfinite(cv.oos_predictions)
    assert set(np.unique(cv.folds[scored])) == {0, 1, 2, 3} and 0 < scored.sum() < 180
    assert np.isfinite(cv.metrics["rmse"]) and m.cv_terms["pre"].to_list() == [None]
    assert seen == [(i, 12) for i in range(1, 5)]
    m.infer(how="cv", scheme="rows", k=6, seed=1, cancel=StopAfter(0))
    assert m.state.cv.cancelled and m.cv.height == 0


# ---- levels that the training rows do not have -------------------------------------------------------------


def test_rows_of_an_unseen_level_are_not_scored_and_named():
    rng = np.random.default_rng(0)
    d = pl.DataFrame({"x": rng.normal(size=31), "g": [*np.resize(["a", "b"], 30), "rare"], "y": rng.normal(size=31)})
    for formula, family in (("y ~ x + g", "gaussian"), ("y ~ bs(x, df = 4) + g", "gaussian"), ("c ~ x + g", "poisson")):
        m = model(formula, d.with_columns(c=rng.poisson(3, size=31)), family=family).fit()
        for k in (5, "loo"):
            m.infer(how="cv", k=k, seed=1)
            row = m.cv_predictions.filter(pl.col("row") == 30)
            assert row["prediction"].to_list() == [None] and m.cv_predictions["prediction"].null_count() == 1
            why = "1 held-out row not scored: the training rows do not determine their prediction"
            assert any(note.startswith(why) and 'g = "rare"' in note for note in m.inference.notes)
            assert m.cv_folds["n"].sum() == 30 and np.isfinite(m.cv["pooled"][1])
            assert all(v is not None for v in m.cv_terms["pre"])


def test_a_row_alone_in_its_level_takes_no_other_row_with_it():
    """The slope within a level of one row is never estimable; rows of other levels do not need it."""
    rng = np.random.default_rng(0)
    d = pl.DataFrame({"x": rng.normal(size=25), "g": [*np.resize(["a", "b"], 24), "d"], "y": rng.normal(size=25)})
    folds = np.append(np.arange(24) % 4, 0)
    for formula in ("y ~ g + x:g", "y ~ g + x:g + bs(x, df = 3)"):
        m = model(formula, d).fit()
        state = compute_cv_metrics(m.spec, m.bundle, data=d, folds=folds)
        np.testing.assert_array_equal(np.isnan(state.oos_predictions), np.arange(25) == 24)


def test_an_unseen_baseline_is_no_better_known():
    """Treatment coding would predict it silently as whatever the next level is."""
    rng = np.random.default_rng(0)
    d = pl.DataFrame({"g": ["a", *np.resize(["b", "c"], 20)], "y": rng.normal(size=21)})
    m = model("y ~ g", d).fit().infer(how="cv", k=4, seed=1)
    assert m.cv_predictions.filter(pl.col("row") == 0)["prediction"].to_list() == [None]
    assert m.cv_predictions["prediction"].null_count() == 1


def test_separated_training_folds_are_said():
    d = pl.DataFrame({"x": [*np.arange(10.0), 4.5, 5.5], "y": [0] * 5 + [1] * 5 + [1, 0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = model("y ~ x", d, family="binomial").fit().infer(how="cv", k="loo")
    assert any("separated" in note for note in m.inference.notes)
    assert np.all(np.isfinite(m.cv_predictions["prediction"].to_numpy()))
