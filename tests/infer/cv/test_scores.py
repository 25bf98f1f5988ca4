"""Scores by their definitions, row by row; known answers; ties, trials, weights."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from inference_core import load_dataset, model
from inference_core.families import get_family
from inference_core.infer.cv import compute_cv_metrics, compute_params_cv_inference
from inference_core.infer.cv.compute import nadeau_bengio
from inference_core.infer.cv.scores import auc

from .brute import held_out


def cv(m, **options):
    return compute_params_cv_inference(m.spec, m.bundle, m.data, 0.95, fit=m.fit_state, **options)[1]


# ---- known answers -----------------------------------------------------------------------------------------


def test_the_factor_of_nadeau_and_bengio():
    """k 10; k 5; 10 times 10: sqrt(1/(rk) + 1/(k - 1))."""
    assert [round(nadeau_bengio(*a), 6) for a in ((10, 1), (5, 1), (10, 10))] == [0.459468, 0.67082, 0.34801]


def test_press_of_a_mean():
    """Leaving out each of 1, 2, 3, 6: the others' means are 11/3, 10/3, 3, 2, so PRESS is 224/9."""
    m = model("y ~ 1", pl.DataFrame({"y": [1.0, 2, 3, 6]})).fit().infer(how="cv", k="loo")
    np.testing.assert_allclose(m.cv_predictions["prediction"], [11 / 3, 10 / 3, 3, 2], rtol=1e-14)  # rounding
    assert np.sum(m.cv_predictions["residual"].to_numpy() ** 2) == pytest.approx(224 / 9, rel=1e-14)  # rounding


def test_press_of_mtcars():
    """R: f <- lm(mpg ~ wt + hp, mtcars); e <- resid(f) / (1 - hatvalues(f)); 1 - sum(e^2) / (31 * var(mtcars$mpg))."""
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit().infer(how="cv", k="loo")
    assert round(np.sum(m.cv_predictions["residual"].to_numpy() ** 2), 6) == 246.506259
    assert round(m.diagnostics["cv_rsquared"].item(), 6) == 0.781087


# ---- definitions -------------------------------------------------------------------------------------------


def test_pre_by_hand():
    d = load_dataset("mtcars")
    state = cv(model("mpg ~ wt + hp", d).fit(), k=4, seed=2)
    y, folds = d["mpg"].to_numpy(), state.folds
    full, less = (held_out(f, d, folds) for f in ("mpg ~ wt + hp", "mpg ~ hp"))
    mean = np.array([y[folds != f].mean() for f in folds])
    sst = np.sum((y - mean) ** 2)
    pre = [
        np.sum(((y - less) ** 2 - (y - full) ** 2)[folds == f]) / (np.sum(folds == f) * sst / 32) for f in range(4)
    ]
    pooled = (np.sum((y - less) ** 2) - np.sum((y - full) ** 2)) / sst
    terms = state.terms
    # sums of 32 squares in another order
    assert terms["pre"][0] == pytest.approx(pooled, rel=1e-10)
    assert np.average(pre, weights=np.bincount(folds)) == pytest.approx(pooled, rel=1e-10)
    assert terms["pre_sd"][0] == pytest.approx(np.std(pre, ddof=1), rel=1e-10)
    assert terms["pre_ratio"][0] == pytest.approx(1 - np.sum((y - full) ** 2) / np.sum((y - less) ** 2), rel=1e-10)
    half = stats.t.ppf(0.975, 3) * np.std(pre, ddof=1) * np.sqrt(1 / 4 + 1 / 3)
    assert terms["ci_lower"][0] == pytest.approx(pooled - half, rel=1e-10)
    assert terms["ci_upper"][0] == pytest.approx(pooled + half, rel=1e-10)
    assert state.metrics["r2_trainmean"] == pytest.approx(1 - np.sum((y - full) ** 2) / sst, rel=1e-12)


def test_pre_of_a_term_goes_to_all_of_its_columns():
    m = model("mpg ~ wt + factor(cyl)", load_dataset("mtcars")).fit().infer(how="cv", k=5, seed=1)
    assert m.params.columns == ["term", "estimate", "pre", "pre_sd", "pre_ratio"]
    pre = m.params["pre"].to_list()
    worth = dict(zip(m.cv_terms["term"], m.cv_terms["pre"], strict=True))
    assert pre == [None, worth["wt"], worth["factor(cyl)"], worth["factor(cyl)"]]


def test_pooled_scores_of_repeats_are_those_of_all_rows_together():
    d = load_dataset("mtcars")
    state = cv(model("mpg ~ wt", d).fit(), k=4, seed=2, repeats=3)
    y = d["mpg"].to_numpy()
    errors = np.concatenate([y - held_out("mpg ~ wt", d, folds) for folds in state.assignment])
    assert state.metrics["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)  # sums in another order
    assert state.metrics["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-12)  # as above
    assert state.fold_metrics["rmse"].shape == (12,) and state.predictions.shape == (3, 32)


def test_weights_count_in_every_score():
    d = load_dataset("mtcars")
    state = cv(model("mpg ~ wt + hp", d, weights="qsec").fit(), k=4, seed=2)
    y, w, folds = d["mpg"].to_numpy(), d["qsec"].to_numpy(), state.folds
    e = y - held_out("mpg ~ wt + hp", d, folds, weights="qsec")
    mean = np.array([np.average(y[folds != f], weights=w[folds != f]) for f in folds])
    sse, sst = np.sum(w * e**2), np.sum(w * (y - mean) ** 2)
    centred = y - np.average(y, weights=w)
    # sums in another order
    assert state.metrics["rmse"] == pytest.approx(np.sqrt(sse / w.sum()), rel=1e-10)
    assert state.metrics["r2"] == pytest.approx(1 - sse / np.sum(w * centred**2), rel=1e-10)
    assert state.metrics["r2_trainmean"] == pytest.approx(1 - sse / sst, rel=1e-10)


def test_trials_count_one_by_one():
    """A row of 3 successes in 5 trials is five rows of one trial each: the same scores."""
    d = load_dataset("cbpp").filter(pl.col("size") > 1)
    m = model("cbind(incidence, size - incidence) ~ period", d, family="binomial").fit()
    folds = np.random.default_rng(0).permutation(d.height) % 4
    state = compute_cv_metrics(m.spec, m.bundle, folds=folds, fit=m.fit_state)
    size, hits = d["size"].to_numpy().astype(int), d["incidence"].to_numpy()
    rows = np.repeat(np.arange(d.height), size)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    y = (np.arange(rows.size) - first[rows] < hits[rows]).astype(float)
    p = state.oos_predictions[rows]
    # sums in another order
    want = {
        "log_loss": -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)),
        "brier": np.mean((y - p) ** 2),
        "accuracy": np.mean((p > 0.5) == (y > 0.5)),
        "auc": _auc_by_pairs(y, p),
    }
    for name, value in want.items():
        assert state.metrics[name] == pytest.approx(value, rel=1e-10), name


def _auc_by_pairs(y, p):
    a, b = p[y == 1][:, None], p[y == 0]
    return np.mean((a > b) + 0.5 * (a == b))


def test_auc_counts_ties_half_and_trials_as_often_as_they_are():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, size=40).astype(float), rng.integers(0, 5, size=40) / 5
    assert auc(y, p) == pytest.approx(_auc_by_pairs(y, p), rel=1e-14)  # rounding
    u = stats.mannwhitneyu(p[y == 1], p[y == 0]).statistic / (np.sum(y == 1) * np.sum(y == 0))
    assert auc(y, p) == pytest.approx(u, rel=1e-14)  # the same number by its other name
    assert np.isnan(auc(np.ones(4), np.arange(4.0)))
    assert auc(np.array([0.0, 1, 1]), np.zeros(3)) == 0.5
    w = np.array([3.0, 1, 2])
    assert auc(np.array([1.0, 0, 0.5]), np.array([0.7, 0.2, 0.4]), w) == auc(
        np.array([1.0, 1, 1, 0, 1, 0]), np.array([0.7, 0.7, 0.7, 0.2, 0.4, 0.4])
    )


def test_balanced_accuracy_is_the_mean_of_both_classes():
    d = load_dataset("infert")
    state = cv(model("case ~ spontaneous", d, family="binomial").fit(), k=5, seed=1)
    y, hit = d["case"].to_numpy(), state.oos_predictions > 0.5
    want = 0.5 * (np.mean(hit[y == 1]) + np.mean(~hit[y == 0]))
    assert state.metrics["balanced_accuracy"] == pytest.approx(want, rel=1e-12)  # rounding


@pytest.mark.parametrize(
    ("formula", "family", "density"),
    [
        ("breaks ~ wool + tension", "poisson", lambda y, mu, phi: stats.poisson.logpmf(y, mu)),
        ("breaks ~ wool", "gamma", lambda y, mu, phi: stats.gamma.logpdf(y, 1 / phi, scale=mu * phi)),
        ("breaks ~ wool", "inverse_gaussian", lambda y, mu, phi: stats.invgauss.logpdf(y, mu * phi, scale=1 / phi)),
    ],
)
def test_log_scores_take_the_dispersion_of_the_training_rows(formula, family, density):
    d = load_dataset("warpbreaks")
    m = model(formula, d, family=family).fit()
    folds = np.arange(54) % 3
    state = compute_cv_metrics(m.spec, m.bundle, folds=folds, fit=m.fit_state)
    phi = np.array([
        model(formula, d.filter(pl.Series(folds != f)), family=family).fit().fit_state.dispersion for f in range(3)
    ])[folds]  # fmt: skip
    want = -np.mean(density(d["breaks"].to_numpy(), state.oos_predictions, phi))
    assert state.metrics["log_score"] == pytest.approx(want, rel=1e-7)  # where two searches stop


def test_the_log_score_of_a_negative_binomial_takes_the_training_theta():
    d = load_dataset("warpbreaks")
    m = model("breaks ~ wool", d, family="negative_binomial").fit()
    folds = np.arange(54) % 3
    state = compute_cv_metrics(m.spec, m.bundle, folds=folds, fit=m.fit_state)
    fits = [model("breaks ~ wool", d.filter(pl.Series(folds != f)), family="negative_binomial").fit() for f in range(3)]
    theta = np.array([f.fit_state.family_params[0] for f in fits])[folds]
    mu, y = state.oos_predictions, d["breaks"].to_numpy()
    want = -np.mean(stats.nbinom.logpmf(y, theta, theta / (theta + mu)))
    assert state.metrics["log_score"] == pytest.approx(want, rel=1e-7)  # where two searches of theta stop


def test_the_null_model_has_the_offset():
    """R2 by deviance of a rate model compares with one rate for all, not with one count for all."""
    rng = np.random.default_rng(0)
    d = pl.DataFrame({"x": rng.normal(size=50), "e": rng.uniform(1, 20, size=50)})
    d = d.with_columns(y=rng.poisson(d["e"].to_numpy()))
    m = model("y ~ x + offset(log(e))", d, family="poisson").fit()
    folds = np.arange(50) % 5
    state = compute_cv_metrics(m.spec, m.bundle, folds=folds, fit=m.fit_state)
    null = np.exp(held_out("y ~ 1 + offset(log(e))", d, folds, family="poisson"))
    family, y = get_family("poisson"), d["y"].to_numpy().astype(float)
    want = 1 - np.sum(family.unit_deviance(y, state.oos_predictions)) / np.sum(family.unit_deviance(y, null))
    assert state.metrics["r2_deviance"] == pytest.approx(want, rel=1e-7)  # where two searches stop


def test_the_calibration_slope_is_a_regression_on_the_held_out_predictor():
    """R: coef(glm(case ~ qlogis(p), binomial))[2] by Fisher scoring, here by this package's own tested fit."""
    d = load_dataset("infert")
    state = cv(model("case ~ spontaneous + induced", d, family="binomial").fit(), k=5, seed=1)
    p = state.oos_predictions
    again = model("case ~ eta", d.with_columns(eta=pl.Series(np.log(p / (1 - p)))), family="binomial").fit()
    assert state.metrics["calibration_slope"] == pytest.approx(again.fit_state.coef[1], rel=1e-8)  # two searches
