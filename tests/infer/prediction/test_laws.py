"""Laws of predictions: rows, grids, draws of the fit, held-out rows, refusals."""

from __future__ import annotations

from threading import Event

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import DataError, FormulaError, InferenceError
from inference_core.fit import mixed_df
from inference_core.infer import compute_prediction_bootstrap, dispatch_prediction_inference, prediction_variance
from inference_core.infer.asymptotic import compute_prediction_asymptotic
from inference_core.infer.prediction_variance import total_df

LIMITS = ("fitted", "se", "ci_lower", "ci_upper", "pi_lower", "pi_upper")

MODELS = {
    "lm": ("mpg ~ poly(wt, 2) * factor(am) + log(hp)", "mtcars", {}),
    "glm": ("breaks ~ wool * tension", "warpbreaks", {"family": "poisson"}),
    "lmer": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {}),
    "glmer": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", {"family": "binomial"}),
}


def fitted(kind):
    formula, data, options = MODELS[kind]
    return model(formula, load_dataset(data), **options).fit()


@pytest.mark.parametrize("kind", MODELS)
def test_training_rows_are_fitted_values(kind):
    m = fitted(kind)
    own = m.predict(varying="include" if kind.endswith("er") else "exclude").predictions
    np.testing.assert_allclose(own["fitted"], m.fit_state.fitted, rtol=1e-12)
    np.testing.assert_allclose(m.predict(type="link").predictions["fitted"],
                               m.bundle.X @ m.fit_state.coef, rtol=1e-11)  # fmt: skip


def test_populations_are_the_default_of_the_rows_of_the_fit_too():
    """Trap 21: predictions of the rows of the fit were conditional although varying="exclude" was the default."""
    m = fitted("lmer")
    np.testing.assert_allclose(m.predict().predictions["fitted"], m.fit_state.fitted_marginal, rtol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("how", ["asymp", "boot"])
def test_a_row_has_its_limits_whatever_the_other_rows(kind, how):
    m = fitted(kind)
    options = {"how": "boot", "seed": 2, "n_boot": 199, "ci_type": "percentile"} if how == "boot" else {"how": how}
    frame = m.data.head(9)
    conditional = {"varying": "include"} if kind.endswith("er") else {}
    weights = {"weights": 10} if kind == "glmer" else {}
    whole = m.predict(frame, **conditional, **weights).infer(**options).predictions
    order = [7, 2, 5]
    some = m.predict(frame[order], **conditional, **weights).infer(**options).predictions
    for name in LIMITS:
        # sums over other numbers of rows differ in the last digits
        np.testing.assert_allclose(some[name].to_numpy(), whole[name].to_numpy()[order], rtol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_a_higher_level_is_wider_and_new_responses_scatter_more_than_means(kind):
    m = fitted(kind).predict()
    for options in ({}, {"how": "boot", "seed": 1, "n_boot": 399, "ci_type": "percentile"}):
        narrow = m.infer(conf_level=0.8, **options).predictions
        wide = m.infer(conf_level=0.95, **options).predictions
        for side in ("ci", "pi"):
            assert (wide[f"{side}_lower"] <= narrow[f"{side}_lower"]).all()
            assert (wide[f"{side}_upper"] >= narrow[f"{side}_upper"]).all()
        assert (wide["pi_upper"] - wide["pi_lower"] > wide["ci_upper"] - wide["ci_lower"]).all()


# ---- draws of the fit ------------------------------------------------------------------------------------------


def test_draws_are_refits_to_resampled_rows():
    """Each draw is x'b of the weighted least-squares fit to its rows, in the order of the rows asked for (trap 9)."""
    data = load_dataset("mtcars")
    m = model("mpg ~ wt + hp", data, weights="qsec").fit().predict({"wt": [4.0, 2.0], "hp": [200.0, 90.0]}, weights=1)
    m.infer(how="boot", seed=7, n_boot=50, ci_type="normal")
    X, y, w = m.bundle.X, m.bundle.y, m.bundle.weights
    for i in (0, 31):
        rows = m.state.resamples.draw(i)
        root = np.sqrt(w[rows])
        b = np.linalg.lstsq(X[rows] * root[:, None], y[rows] * root, rcond=None)[0]
        drawn = m.resamples.row(i)[2:]
        np.testing.assert_allclose(drawn, [b @ [1, 4, 200], b @ [1, 2, 90]], rtol=1e-9)


def test_limits_are_those_of_the_coefficients_where_the_row_picks_one():
    """The draws are the fit's own: x = (1, 0) predicts the intercept, for every type of limits."""
    data = load_dataset("mtcars").with_columns(x=pl.col("wt") - 3)
    m = model("mpg ~ x", data).fit()
    for ci_type in ("bca", "percentile", "basic", "normal", "expanded"):
        own = m.infer(how="boot", seed=3, ci_type=ci_type, n_boot=499).params.row(0, named=True)
        there = m.predict({"x": [0.0]}).infer(how="boot", seed=3, ci_type=ci_type, n_boot=499).predictions
        m.fit()
        for name in ("se", "ci_lower", "ci_upper"):
            assert there[name][0] == pytest.approx(own[name], rel=1e-9)  # the last digits of the sums


def test_more_draws_keep_the_earlier_ones():
    m = fitted("glm").predict("tension")
    few = m.infer(how="boot", seed=5, n_boot=99).resamples
    many = m.infer(how="boot", seed=5, n_boot=199).resamples
    assert many.head(99).equals(few)


def test_residuals_are_inflated_by_their_leverage():
    """Stine (1985): with normal errors in many rows the limits are those of t, a little skewed by the residuals."""
    g = np.random.default_rng(8)
    x = g.normal(size=400)
    m = model("y ~ x", {"y": 3 * x + g.normal(size=400), "x": x}).fit().predict({"x": [0.0, 2.0]})
    exact = m.infer().predictions
    drawn = m.infer(how="boot", seed=1).predictions
    for name in ("pi_lower", "pi_upper"):
        # 400 residuals know their 2.5 % quantile to 0.13 standard deviations, on top of 10,000 draws of them
        assert np.all(np.abs(exact[name].to_numpy() - drawn[name].to_numpy()) < 0.35)


def test_delta_and_bootstrap_errors_agree_on_good_data():
    g = np.random.default_rng(9)
    n = 600
    x = g.normal(size=n)
    m = model("y ~ x", {"y": g.poisson(np.exp(1 + 0.3 * x)), "x": x}, family="poisson").fit()
    m.predict({"x": [-1.0, 0.0, 1.5]})
    delta = m.infer().predictions["se"].to_numpy()
    boot = m.infer(how="boot", seed=1, n_boot=1999).predictions["se"].to_numpy()
    chance = m.state.pred.inference.mcse["se"]
    # Four Monte-Carlo errors; resampled rows estimate the variance, 600 of them to 6 % of its root
    assert np.all(np.abs(boot - delta) < 4 * chance + 0.06 * delta)


# ---- held-out rows ---------------------------------------------------------------------------------------------


def test_leave_one_out_has_a_closed_form():
    m = fitted("lm").predict().infer(how="cv", k="loo")
    e, h = m.fit_state.residuals, m.fit_state.leverage
    np.testing.assert_allclose(m.predictions["cv_residual"], e / (1 - h), rtol=1e-8)
    assert m.cv.filter(pl.col("metric") == "rmse")["pooled"][0] == pytest.approx(np.sqrt(np.mean((e / (1 - h)) ** 2)))


def test_folds_are_refits_without_them():
    m = fitted("glm").predict().infer(how="cv", seed=3, k=5)
    table, frame = m.predictions, m.data
    fold = table["cv_fold"].to_numpy()
    for j in range(5):
        again = model(MODELS["glm"][0], frame.filter(pl.Series(fold != j)), family="poisson").fit()
        there = again.predict(frame.filter(pl.Series(fold == j))).predictions["fitted"]
        np.testing.assert_allclose(table["cv_fitted"].to_numpy()[fold == j], there, rtol=1e-6)  # two searches
    link = m.predict(type="link").infer(how="cv", seed=3, k=5).predictions
    np.testing.assert_allclose(np.exp(link["cv_fitted"]), table["cv_fitted"], rtol=1e-12)


# ---- rows ------------------------------------------------------------------------------------------------------


def test_grids_by_formula():
    m = model("mpg ~ wt * hp + factor(cyl)", load_dataset("mtcars")).fit()
    table = m.predict("wt ~ cyl").predictions
    assert table.height == 150
    assert table.columns == ["wt", "cyl", "hp", "fitted"]
    assert m.state.pred.notes == ("held: hp = 146.7 (mean)",)
    same = m.predict({"wt": table["wt"], "cyl": table["cyl"], "hp": table["hp"]}).predictions
    np.testing.assert_array_equal(same["fitted"], table["fitted"])
    three = m.predict("wt@range(3) ~ hp@[100, 200]").predictions
    assert three["cyl"].to_list() == [8.0] * 6
    assert three["wt"].to_list()[:3] == pytest.approx([1.513, 3.4685, 5.424])
    groups = fitted("lmer").predict("Days@[0, 9] ~ Subject@[308, 309]", varying="include").predictions
    np.testing.assert_allclose(groups["fitted"], [253.6637, 430.6600, 211.0065, 227.6348], atol=1e-3)  # coef(lmer)


def test_rows_that_cannot_be_estimated_are_null_and_named():
    y = np.arange(40.0) % 7 + np.arange(40.0) % 3
    data = {"y": y, "a": ["u", "u", "v", "v"] * 10, "b": ["p", "q", "p", "p"] * 10}
    m = model("y ~ a * b", data).fit()
    for options in ({}, {"how": "boot", "seed": 1, "ci_type": "percentile", "n_boot": 99}):
        table = m.predict({"a": ["u", "v"], "b": ["p", "q"]}).infer(**options).predictions
        assert table["fitted"].is_null().to_list() == [False, True]
        assert table["ci_lower"][1] is None
        assert table["pi_upper"][1] is None
    assert "1 of 2 rows (1, counting from 0) cannot be predicted" in m.state.pred.notes[-1]


def test_a_transform_of_the_response_is_told():
    m = model("log(mpg) ~ wt", load_dataset("mtcars")).fit().predict({"wt": [3.0]}).infer()
    note = m.state.pred.notes[-1]
    assert note == "on the scale of the formula, log(mpg); exp of them is a median, with its limits"
    assert 2 < m.predictions["fitted"][0] < 4


def test_numbers_outside_the_data_are_told():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().predict({"wt": [9.0, 3.0]})
    assert m.state.pred.notes == ("wt of 9 lies outside the data (1.513 to 5.424): treat it as a guess",)


def test_an_offset_given_as_an_array_is_asked_for():
    data = load_dataset("warpbreaks")
    m = model("breaks ~ wool", data, family="poisson", offset=np.full(54, 0.5)).fit()
    with pytest.raises(DataError, match="pass offset="):
        m.predict({"wool": ["A"]})
    at = m.predict({"wool": ["A"]}, offset=[1.5], type="link").predictions["fitted"][0]
    assert at == pytest.approx(m.fit_state.coef[0] + 1.5)
    assert m.predict("wool").state.pred.notes[0] == "the offset stands at its mean, 0.5"


def test_predictions_as_new_rows_again():
    """Columns of results give way."""
    m = model("mpg ~ wt", load_dataset("mtcars")).fit()
    table = m.predict({"wt": [2.0]}).infer().predictions
    assert m.predict(table).infer().predictions.equals(table)


# ---- the specified functions -----------------------------------------------------------------------------------


def test_specified_functions_answer_as_the_model_does():
    m = fitted("lm").predict()
    blank = m.state.pred
    own = m.infer().state.pred
    there = compute_prediction_asymptotic(blank, m.bundle, m.fit_state, m.spec, 0.95)
    np.testing.assert_array_equal(there.pi_lower, own.pi_lower)
    boot = compute_prediction_bootstrap(m.spec, m.bundle, blank, n_boot=99, seed=1)
    again, cv = dispatch_prediction_inference(
        how="boot", pred=blank, spec=m.spec, bundle=m.bundle, fit=m.fit_state, conf_level=0.95, n_boot=99, seed=1
    )
    np.testing.assert_array_equal(boot.ci_lower, again.ci_lower)
    assert cv is None
    held, cv = dispatch_prediction_inference(
        how="cv", pred=blank, spec=m.spec, bundle=m.bundle, fit=m.fit_state, conf_level=0.95, k=4, seed=1
    )
    assert cv.k == 4
    np.testing.assert_array_equal(held.cv_fold, cv.folds)


# ---- refusals --------------------------------------------------------------------------------------------------


def refusal(call) -> str:
    with pytest.raises((InferenceError, DataError, FormulaError)) as caught:
        call()
    return str(caught.value)


def test_words_that_are_not_known():
    m = fitted("lmer")
    assert refusal(lambda: m.predict(varying="inc")).splitlines()[2] == "try:   did you mean 'include'?"
    assert "type is one of response, link" in refusal(lambda: m.predict(type="probability"))
    assert "True or False" in refusal(lambda: m.predict(allow_new_levels=1))
    assert "varying='include', or leave" in refusal(lambda: m.predict(allow_new_levels=True))
    assert "no random effects" in refusal(lambda: fitted("lm").predict(varying="include"))
    assert "own weights" in refusal(lambda: m.predict(weights=2))
    assert "no offset" in refusal(lambda: m.predict({"Days": [1]}, offset=[1.0]))


def test_levels_and_columns_that_are_not_known():
    m = fitted("lmer")
    assert 'level "q" of Subject' in refusal(lambda: m.predict({"Days": [1], "Subject": ["q"]}, varying="include"))
    assert 'did you mean "days"?' in refusal(lambda: m.predict({"days": [1]}))
    glm = fitted("glm")
    unseen = refusal(lambda: glm.predict({"wool": ["C"], "tension": ["L"]}))
    assert 'level "C" of wool was not in the data that made the fit' in unseen
    assert "compares, and a prediction does not" in refusal(lambda: glm.predict("pairwise(wool)"))
    assert "named twice" in refusal(lambda: glm.predict("wool ~ wool"))
    way_out = refusal(lambda: m.predict("Days ~ Subject")).splitlines()[-1]
    assert way_out == "try:   predict('Days ~ Subject', varying='include')"
    unnamed = refusal(lambda: m.predict("Days", varying="include"))
    assert "predict('Days ~ Subject', varying='include')" in unnamed
    assert m.predict("Days ~ Subject", varying="include").predictions.height == 900


def test_limits_that_do_not_exist_are_refused_before_any_refit():
    m = fitted("lmer").predict(varying="include")
    assert "carries no standard error" in refusal(lambda: m.infer(how="boot", ci_type="studentized"))
    assert "the error of the prediction" in refusal(lambda: m.infer(how="boot", ci_type="bca"))
    assert "scheme='parametric'" in refusal(lambda: m.infer(how="boot", scheme="cluster"))
    assert "the model's own covariance" in refusal(lambda: m.infer(errors="CR2"))
    assert "a prediction is not tested" in refusal(lambda: m.infer(null=1))
    assert "the groups are known" in refusal(lambda: m.infer(how="cv", scheme="groups"))
    m.predict({"Days": [1]})
    assert "no response to be held against" in refusal(lambda: m.infer(how="cv"))
    assert "cannot give 95 % limits" in refusal(lambda: m.infer(how="boot", n_boot=10))


def test_default_limits_work_after_predict_for_every_kind():
    """Trap 1: the default type of limits raised after every refit had been done."""
    for kind in MODELS:
        m = fitted(kind).predict()
        table = m.infer(how="boot", seed=1).predictions
        assert table.null_count().sum_horizontal()[0] == 0


def test_a_new_fit_drops_predictions():
    m = fitted("lm").predict().infer()
    m.fit()
    assert m.state.pred is None
    with pytest.raises(InferenceError, match="nothing was predicted"):
        _ = m.predictions


def test_profile_and_joint_are_those_of_the_fit():
    m = fitted("lmer").predict()
    before = m.predictions
    m.infer(how="joint")
    assert m.effects["term"].to_list() == ["Days"]
    assert m.predictions.equals(before)


@pytest.mark.parametrize("kind", MODELS)
def test_a_stopped_run_has_what_it_has(kind):
    m = fitted(kind).predict(varying="include" if kind.endswith("er") else "exclude")
    stop = Event()
    stop.set()
    nothing = m.infer(how="boot", seed=1, n_boot=999, cancel=stop).predictions
    assert nothing["fitted"].null_count() == 0
    assert nothing["ci_lower"].null_count() == nothing.height
    assert any("stopped after 0 of 999 draws" in note for note in m.state.pred.inference.notes)


def test_draws_do_not_depend_on_workers():
    m = fitted("lmer").predict({"Days": [3, 9], "Subject": ["308", "309"]}, varying="include")
    one = m.infer(how="boot", seed=1, n_boot=600).predictions
    assert m.infer(how="boot", seed=1, n_boot=600, n_jobs=2).predictions.equals(one)


def test_an_intercept_alone_is_one_row():
    m = model("mpg ~ 1", load_dataset("mtcars")).fit().predict("1").infer()
    y = m.bundle.y
    assert m.predictions["fitted"].to_list() == pytest.approx([y.mean()])
    assert m.predictions["pi_upper"][0] == pytest.approx(y.mean() + 2.0395134464 * y.std(ddof=1) * np.sqrt(1 + 1 / 32))


def test_degrees_of_freedom_do_not_depend_on_how_they_are_found(monkeypatch):
    """Many levels of two factors: one dense matrix of all effects gives the same."""
    g = np.random.default_rng(1)
    a, b, x = g.integers(0, 300, 1500), g.integers(0, 40, 1500), g.normal(size=1500)
    y = x + g.normal(size=300)[a] + 0.7 * g.normal(size=40)[b] + g.normal(size=1500)
    frame = pl.DataFrame({"y": y, "x": x, "a": [f"a{i}" for i in a], "b": [f"b{i}" for i in b]})
    m = model("y ~ x + (1 | a) + (1 | b)", frame).fit()
    rows = {"x": [0.0, 1.0, 2.0], "a": ["a1", "a5", "new"], "b": ["b1", "new", "b3"]}
    m.predict(rows, varying="include", allow_new_levels=True)
    ask = (m.spec, m.bundle, m.fit_state, m.state.pred, np.ones(3))
    found = total_df(*ask)
    monkeypatch.setattr(mixed_df, "SPARSE", 1000)
    monkeypatch.setattr(prediction_variance, "SPARSE", 1000)
    dense = total_df(*ask)
    np.testing.assert_allclose(found.total, dense.total, rtol=1e-7)  # central differences: 1e-8
    np.testing.assert_allclose(found.mean, dense.mean, rtol=1e-7)
