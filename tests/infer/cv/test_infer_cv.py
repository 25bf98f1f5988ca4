"""Cross-validation as a user asks for it: answers that R gives too, tables, notes, and every refusal."""

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreError, InferenceError
from inference_core.families import get_family
from inference_core.infer.cv import compute_cv_metrics, compute_params_cv_inference


def scores(m):
    return dict(zip(m.cv["metric"], m.cv["pooled"], strict=True))


# ---- figures that R gives ----------------------------------------------------------------------------------


def test_leave_one_out_error_of_polynomials():
    """R: for d in 1:8 with f <- lm(mpg ~ poly(hp, d), mtcars): sqrt(mean((resid(f) / (1 - hatvalues(f)))^2))."""
    d = load_dataset("mtcars")
    r = [4.153709530, 3.249835385, 3.251857821, 7.824167851, 25.321838691, 29.125906488, 182.925714715, 490.950929623]
    ours = [
        scores(model(f"mpg ~ poly(hp, {degree})", d).fit().infer(how="cv", k="loo"))["rmse"] for degree in range(1, 9)
    ]
    np.testing.assert_allclose(ours, r, rtol=1e-7)  # one leverage of degree 8 is 1 - 2e-6


def test_pre_ratio_of_leave_one_out():
    """R: with s(f) the PRESS of a fit, 1 - s(mpg ~ wt + hp) / s(mpg ~ hp), and so on."""
    d = load_dataset("mtcars")
    m = model("mpg ~ wt + hp", d).fit().infer(how="cv", k="loo")
    np.testing.assert_allclose(m.cv_terms["pre_ratio"], [0.553516178511, 0.248508708710], rtol=1e-10)  # R's digits
    m = model("mpg ~ wt + hp + qsec", d).fit().infer(how="cv", k="loo")
    assert scores(m)["rmse"] == pytest.approx(2.769721205513, rel=1e-11)  # R's digits
    assert m.cv_terms["pre_ratio"][2] == pytest.approx(0.004149514252, rel=1e-7)  # R's digits


def test_weighted_poisson_folds():
    """R: glm(breaks ~ wool + tension, poisson, weights = w) without rows i %% 4 == j; dev.resids, dpois by weight;
    the slope is coef(glm(breaks ~ log(p), poisson, weights = w))[2].
    """
    d = load_dataset("warpbreaks").with_columns(w=pl.Series(np.arange(1, 55) % 3 + 1))
    m = model("breaks ~ wool + tension", d, family="poisson", weights="w").fit()
    state = compute_cv_metrics(m.spec, m.bundle, folds=np.arange(54) % 4, fit=m.fit_state)
    names = ("mean_deviance", "r2_deviance", "log_score", "rmse", "calibration_slope")
    r = [5.0189340682, 0.1529349236, 5.0261541830, 12.4403648767, 0.6779427508]
    np.testing.assert_allclose([state.metrics[name] for name in names], r, rtol=1e-9)  # R's digits


def test_groups_of_a_generalized_mixed_model():
    """R: glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), binomial, tolPwrss = 1e-11) without the herds
    of each fold, predict(re.form = NA); the deviance per trial.
    """
    d = load_dataset("cbpp")
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", d, family="binomial").fit()
    herd = m.bundle.re_metadata.blocks[0]
    number = np.array([int(level) for level in herd.levels])[herd.group_index] - 1
    state = compute_cv_metrics(
        m.spec, m.bundle, folds=number % 3, fit=m.fit_state, holdout_group_ids=herd.group_index
    )
    r = [0.22306176433, 0.07853362052, 0.03931171527, 0.05356542945]
    np.testing.assert_allclose(state.oos_predictions[:4], r, rtol=1e-4)  # where bobyqa stops
    assert state.metrics["mean_deviance"] == pytest.approx(0.15714313769, rel=1e-5)  # as above


def test_groups_of_a_weighted_linear_mixed_model():
    """R: lmer(Reaction ~ Days + (Days | Subject), weights = rep(1:3, 60)) without the subjects of each fold."""
    d = load_dataset("sleepstudy").with_columns(w=pl.Series(np.tile([1.0, 2, 3], 60)))
    m = model("Reaction ~ Days + (Days | Subject)", d, weights="w").fit()
    index = m.bundle.re_metadata.blocks[0].group_index
    state = compute_cv_metrics(m.spec, m.bundle, folds=index % 4, fit=m.fit_state, holdout_group_ids=index)
    assert state.metrics["rmse"] == pytest.approx(49.50878988, rel=1e-5)  # where lme4's optimiser stops
    np.testing.assert_allclose(state.oos_predictions[:3], [248.16449607, 259.51282342, 270.86115077], rtol=1e-5)  # same


# ---- which question ----------------------------------------------------------------------------------------


def test_new_subjects_and_new_days_are_two_questions():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    m.infer(how="cv", seed=1)
    groups, cv = scores(m)["rmse"], m.state.cv
    assert cv.scheme == "groups" and not cv.conditional
    assert m.inference.notes[0] == "10 folds of groups, seed 1; held out: rows of new groups (population prediction)"
    assert m.inference.notes[1] == "the model without Days is without the random effect of Days by Subject too"
    m.infer(how="cv", scheme="rows", seed=1)
    rows, cv = scores(m)["rmse"], m.state.cv
    assert cv.scheme == "rows" and cv.conditional
    assert m.inference.notes[0].endswith("held out: new rows of known groups (conditional prediction)")
    assert 45 < groups < 53 and 26 < rows < 32  # 49 and 29 ms, within what ten folds leave to chance


def test_k_left_out_is_ten_or_as_many_as_there_are():
    d = load_dataset("penicillin")
    m = model("diameter ~ 1 + (1 | sample)", d).fit().infer(how="cv", seed=1)
    assert m.state.cv.k == d["sample"].n_unique() == 6
    m.infer(how="cv", k="loo")
    assert m.state.cv.k == 6 and m.inference.notes[0].startswith("one group left out at a time; held out:")


def test_groups_of_a_linear_model_by_name():
    d = load_dataset("sleepstudy")
    m = model("Reaction ~ Days", d).fit().infer(how="cv", holdout_group="Subject", k=6, seed=1)
    folds = m.cv_predictions["fold"].to_numpy()
    for subject in d["Subject"].unique():
        assert np.unique(folds[(d["Subject"] == subject).to_numpy()]).size == 1
    assert m.state.cv.group_rule == "rows of new groups"


def test_crossed_factors_by_choice():
    d = load_dataset("penicillin")
    m = model("diameter ~ 1 + (1 | plate) + (1 | sample)", d).fit()
    with pytest.raises(InferenceError, match="crossed"):
        m.infer(how="cv")
    plates = scores(m.infer(how="cv", k=3, seed=1, holdout_group="plate"))["rmse"]
    rows = scores(m.infer(how="cv", k=3, seed=1, scheme="rows"))["rmse"]
    assert rows < plates / 2  # plates and samples explain nearly all


# ---- tables ------------------------------------------------------------------------------------------------


def test_the_tables_of_a_cross_validation():
    d = load_dataset("mtcars")
    m = model("mpg ~ wt + factor(cyl)", d).fit().infer(how="cv", k=4, seed=1, repeats=2)
    assert m.cv.columns == ["metric", "pooled", "fold_mean", "fold_sd"]
    assert m.cv_folds.columns[:4] == ["repeat", "fold", "n", "rmse"] and m.cv_folds.height == 8
    assert m.cv_terms["term"].to_list() == ["wt", "factor(cyl)"]
    assert m.cv_predictions.columns == ["repeat", "fold", "row", "observed", "prediction", "residual"]
    assert m.cv_predictions["observed"].to_list() == d["mpg"].to_list() * 2
    info = m.diagnostics.row(0, named=True)
    assert info["cv_rmse"] == scores(m)["rmse"] and info["cv_rsquared"] == scores(m)["r2"]
    assert "cross-validation: pre is the held-out R2 that is lost without the term" in repr(m)
    assert [len(v) for v in m.state.cv.fold_pre.values()] == [8, 8]
    n = m.state.cv.fold_metrics["n"]
    mean = np.average(m.state.cv.fold_pre["wt"], weights=n)
    np.testing.assert_allclose(mean, m.cv_terms["pre"][0], rtol=1e-12)  # sums in another order
    m.infer()
    with pytest.raises(InferenceCoreError, match="was not cross-validated"):
        _ = m.cv


def test_rows_are_those_of_the_data():
    d = pl.DataFrame({"x": [None, 1.0, 2, 3, 4, 5, 6], "y": [0.0, 1, 3, 2, 5, 4, 6]})
    m = model("y ~ x", d).fit().infer(how="cv", k=3, seed=1)
    assert m.cv_predictions["row"].to_list() == [1, 2, 3, 4, 5, 6]
    assert m.cv_predictions["observed"].to_list() == [1.0, 3, 2, 5, 4, 6]


def test_a_model_of_the_mean_has_no_terms():
    m = model("mpg ~ 1", load_dataset("mtcars")).fit().infer(how="cv", k=4, seed=1)
    assert m.params["pre"].to_list() == [None] and m.cv_terms.height == 0
    assert np.isfinite(scores(m)["rmse"])


def test_the_stream_is_the_table():
    d = load_dataset("infert")
    m = model("case ~ spontaneous + induced", d, family="binomial").fit()
    folds = m.fold_stream(k=5, seed=2)
    assert folds.folds.shape == (1, 248) and folds.seed == 2 and folds.question == "new rows"
    assert folds.state().cancelled and folds.state().metrics == {}
    batches = folds.batches()
    first = next(batches)
    assert first.variants == (0,) and folds.state().cancelled
    mu = folds.predictions(first)[0]
    for _ in batches:
        pass
    m.infer(how="cv", k=5, seed=2)
    assert not folds.state().cancelled and folds.state().metrics == m.state.cv.metrics
    np.testing.assert_array_equal(m.state.cv.oos_predictions[first.rows], mu)
    with pytest.raises(InferenceError, match="no argument 'folds'"):
        m.fold_stream(folds=3)


def test_another_link_by_the_low_level_function():
    d = load_dataset("infert")
    a = model("case ~ spontaneous", d, family="binomial").fit()
    b = model("case ~ spontaneous", d, family="binomial", link="probit").fit()
    ask = {"k": 4, "seed": 3}
    found = compute_params_cv_inference(a.spec, a.bundle, a.data, 0.9, link_override="probit", **ask)[1]
    want = compute_params_cv_inference(b.spec, b.bundle, b.data, 0.9, **ask)[1]
    np.testing.assert_allclose(found.oos_predictions, want.oos_predictions, atol=1e-9)  # where two searches stop
    assert found.conf_level == 0.9 and get_family("binomial").link.name == "logit"


# ---- refusals ----------------------------------------------------------------------------------------------


def refusal(m, **ask):
    with pytest.raises(InferenceError) as caught:
        m.infer(how="cv", **ask)
    return str(caught.value)


def test_refusals_say_what_to_type():
    lm = model("mpg ~ wt", load_dataset("mtcars")).fit()
    mixed = model("diameter ~ 1 + (1 | sample)", load_dataset("penicillin")).fit()
    assert refusal(lm, k=33) == (
        "asked: k=33 folds of 32 rows\n"
        "found: every fold holds a row and leaves one: k lies between 2 and 32\ntry:   k=10"
    )
    assert refusal(mixed, k=7) == (
        "asked: k=7 folds of whole groups\n"
        "found: there are 6 groups, and every fold holds one and leaves one: k lies between 2 and 6\ntry:   k=6"
    )
    assert "did you mean 'cyl'?" in refusal(lm, holdout_group="cyll")
    assert refusal(lm, scheme="groups").endswith("holdout_group='...'")
    assert refusal(lm, scheme="rows", holdout_group="cyl").endswith("leave one of the two out")
    assert refusal(lm, k="loo", repeats=2).endswith("leave repeats out, or k=10")
    assert "takes no part in how='cv'" in refusal(lm, n_boot=99)
    assert refusal(lm, scheme="case").endswith("try:   scheme='rows', or leave it out")
    assert refusal(lm, repeats=0).startswith("asked: repeats=0")
    assert lm.inference is None  # a refusal leaves the model as it was


def test_when_nothing_can_be_predicted():
    d = pl.DataFrame({"g": list("aabbcc"), "y": [1.0, 2, 4, 3, 6, 5]})
    m = model("y ~ g", d).fit()
    said = refusal(m, holdout_group="g", k=3)
    assert "no held-out row could be predicted: the training rows do not determine" in said


def test_low_level_functions_called_wrongly():
    d = load_dataset("mtcars")
    m = model("mpg ~ bs(wt, df = 4)", d).fit()
    with pytest.raises(InferenceError, match=r"bs\(wt, df = 4\) must be learned in each training fold"):
        compute_cv_metrics(m.spec, m.bundle)
    p = model("mpg ~ poly(wt, 2)", d).fit()
    assert np.isfinite(compute_cv_metrics(p.spec, p.bundle, seed=1).metrics["rmse"])  # the space does not change
    for bad in (np.zeros(32, int), np.arange(31), np.arange(32) % 3 * 2, np.linspace(0, 1, 32)):
        with pytest.raises(InferenceError, match="folds of one's own"):
            compute_cv_metrics(p.spec, p.bundle, folds=bad)
    with pytest.raises(InferenceError, match="holdout_group_ids"):
        compute_cv_metrics(p.spec, p.bundle, holdout_group_ids=np.arange(5))
    with pytest.raises(InferenceError, match="a group has rows in several folds"):
        compute_cv_metrics(p.spec, p.bundle, folds=np.arange(32) % 4, holdout_group_ids=np.arange(32) // 8)
    z = model("mpg ~ 0 + factor(cyl) + factor(gear)", d).fit()
    with pytest.raises(InferenceError, match="coded by a column for each level"):
        compute_params_cv_inference(z.spec, z.bundle, None, 0.95)
    with pytest.raises(InferenceError, match="rows or groups"):
        compute_cv_metrics(p.spec, p.bundle, scheme="wild")
