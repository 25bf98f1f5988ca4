"""Diagnostics against brute force: refits without each row, definitions, statsmodels."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.fit import diagnostics as dg
from inference_core.fit import fit_model

from .handmade import make, random_design

SEEDS = st.integers(0, 2**32 - 1)


def without(X, y, w, i):
    keep = np.arange(y.size) != i
    spec, bundle = make(X[keep], y[keep], weights=None if w is None else w[keep])
    return fit_model(spec, bundle)


@pytest.mark.parametrize("weighted", [False, True])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_influence_is_what_leaving_the_row_out_does(weighted, seed):
    X, y = random_design(seed, 15)
    w = np.random.default_rng(seed).uniform(0.5, 2, 15) if weighted else None
    spec, bundle = make(X, y, weights=w)
    fit = fit_model(spec, bundle)
    table, loo = dg.influence(spec, bundle, fit), dg.loo_coef(spec, bundle, fit)
    for i in (0, 7):
        other = without(X, y, w, i)
        move = fit.coef - other.coef
        root = 1.0 if w is None else np.sqrt(w[i])
        # refits and closed forms differ by rounding times the conditioning of 14 rows
        np.testing.assert_allclose(loo[i], other.coef, rtol=1e-8, atol=1e-9)
        cook = move @ np.linalg.inv(fit.vcov / fit.dispersion) @ move / (3 * fit.dispersion)
        assert table["cooks_d"][i] == pytest.approx(cook, rel=1e-7, abs=1e-12)
        h = fit.leverage[i]
        student = root * fit.residuals[i] / (other.sigma * np.sqrt(1 - h))
        assert table["student_resid"][i] == pytest.approx(student, rel=1e-8)
        assert table["dffits"][i] == pytest.approx(root * (X[i] @ move) / (other.sigma * np.sqrt(h)), rel=1e-7)
    held_out = [y[i] - X[i] @ without(X, y, w, i).coef for i in range(15)]
    assert dg.press(spec, bundle, fit) == pytest.approx(np.sum(np.square(held_out)), rel=1e-8)


def test_press_of_the_mean_of_1_2_3_6():
    spec, bundle = make(np.ones((4, 1)), [1.0, 2, 3, 6])
    assert dg.press(spec, bundle, fit_model(spec, bundle)) == pytest.approx(224 / 9, rel=1e-13)  # closed form


def test_a_row_that_fixes_its_own_value_has_no_residual():
    X, y = random_design(1, 12)
    X = np.column_stack([X, np.arange(12) == 4])
    spec, bundle = make(X, y)
    fit = fit_model(spec, bundle)
    table = dg.influence(spec, bundle, fit)
    assert table["hat"][4] == 1.0
    for name in ("std_resid", "student_resid", "cooks_d", "dffits"):
        assert np.isnan(table[name][4]) and np.isfinite(np.delete(table[name], 4)).all()
    frame = dg.influence_table(spec, bundle, fit)
    assert frame["std_resid"].null_count() == 1 and frame.height == 12


def test_model_summary_of_a_line():
    spec, bundle = make(np.column_stack([np.ones(5), np.arange(5)]), [1.0, 2, 4, 3, 5])
    fit = fit_model(spec, bundle)
    got = dg.model_summary(spec, bundle, fit)
    assert got["r2"] == pytest.approx(0.81) and got["adj_r2"] == pytest.approx(1 - 0.19 * 4 / 3)
    assert got["f_statistic"] == pytest.approx(8.1 / (1.9 / 3)) and (got["f_df1"], got["f_df2"]) == (1, 3)
    assert got["f_p_value"] == pytest.approx(0.03738607346849)  # t = 3.5763, 3 df, two-sided
    assert got["aic"] == pytest.approx(6 - 2 * fit.loglik)
    assert got["bic"] == pytest.approx(3 * np.log(5) - 2 * fit.loglik)
    assert dg.model_table(spec, bundle, fit).height == 1


def test_a_model_of_the_mean_alone_has_no_f():
    spec, bundle = make(np.ones((4, 1)), [1.0, 2, 3, 6])
    got = dg.model_summary(spec, bundle, fit_model(spec, bundle))
    assert got["r2"] == 0.0 and got["f_statistic"] is None


@pytest.mark.parametrize(("family", "link"), [("poisson", "log"), ("gamma", "log"), ("binomial", "logit")])
def test_glm_residuals_and_influence_by_their_definitions(family, link):
    rng = np.random.default_rng(2)
    X, eta = random_design(3, 60)
    mu = np.exp(0.4 * eta)
    y = {"poisson": lambda: rng.poisson(mu), "gamma": lambda: rng.gamma(3, mu / 3),
         "binomial": lambda: rng.binomial(1, mu / (1 + mu))}[family]().astype(float)  # fmt: skip
    w = rng.uniform(0.5, 2, 60)
    spec, bundle = make(X, y, family, link, weights=w)
    fit = fit_model(spec, bundle)
    got = dg.influence(spec, bundle, fit)
    W = fit.working_weights
    root = np.sqrt(W)[:, None] * X
    h = np.einsum("ij,ij->i", root @ np.linalg.inv(root.T @ root), root)
    np.testing.assert_allclose(got["hat"], h, rtol=1e-9)  # an inverse against QR
    assert np.sum(got["deviance_resid"] ** 2) == pytest.approx(fit.deviance, rel=1e-12)
    pearson = dg.pearson_residuals(spec, bundle, fit)
    phi = fit.dispersion
    np.testing.assert_allclose(got["std_resid"], got["deviance_resid"] / np.sqrt(phi * (1 - h)), rtol=1e-8)
    np.testing.assert_allclose(got["cooks_d"], (pearson / (1 - h)) ** 2 * h / (3 * phi), rtol=1e-8)
    summary = dg.model_summary(spec, bundle, fit)
    assert summary["pearson_chi2"] == pytest.approx(np.sum(pearson**2))
    assert summary["r2_deviance"] == pytest.approx(1 - fit.deviance / fit.null_deviance)


def test_vif_of_single_columns_is_one_over_one_minus_r2():
    rng = np.random.default_rng(4)
    Z = rng.normal(size=(50, 3)) @ np.array([[1, 0.8, 0.1], [0, 1, 0.5], [0, 0, 1]])
    spec, bundle = make(np.column_stack([np.ones(50), Z]), rng.normal(size=50))
    got = dg.vif(bundle, fit_model(spec, bundle))
    for j in range(3):
        others = np.column_stack([np.ones(50), np.delete(Z, j, axis=1)])
        resid = Z[:, j] - others @ np.linalg.lstsq(others, Z[:, j], rcond=None)[0]
        r2 = 1 - resid @ resid / np.sum((Z[:, j] - Z[:, j].mean()) ** 2)
        assert got["gvif"][j] == pytest.approx(1 / (1 - r2), rel=1e-9)
    assert got["term"] == ["x1", "x2", "x3"] and got["df"] == [1, 1, 1]


def test_gvif_of_a_factor_does_not_depend_on_its_coding():
    rng = np.random.default_rng(5)
    group = rng.integers(0, 3, 60)
    x = rng.normal(size=60) + group
    D = np.eye(3)[group]
    values = []
    for coded in (D[:, 1:], D[:, :2] - D[:, 2:]):
        spec, bundle = make(np.column_stack([np.ones(60), coded, x]), rng.normal(size=60),
                            names=("(Intercept)", "g", "g", "x"), terms=np.array([-1, 0, 0, 1]))  # fmt: skip
        got = dg.vif_table(spec, bundle, fit_model(spec, bundle))
        assert got["df"].to_list() == [2, 1] and got["term"].to_list() == ["g", "x"]
        values.append(got["gvif"].to_numpy())
    np.testing.assert_allclose(values[0], values[1], rtol=1e-10)
    np.testing.assert_allclose(values[0][0], values[0][1], rtol=1e-10)  # two terms: one canonical correlation


def test_one_term_has_no_vif():
    spec, bundle = make(*random_design(1, 20, 2))
    with pytest.raises(InferenceError, match="fewer than two terms"):
        dg.vif(bundle, fit_model(spec, bundle))


def test_closed_forms_of_lm_are_refused_for_glm():
    rng = np.random.default_rng(0)
    spec, bundle = make(random_design(1, 20)[0], rng.poisson(3, 20), "poisson")
    fit = fit_model(spec, bundle)
    for call in (dg.loo_coef, dg.press):
        with pytest.raises(InferenceError, match="the model is a poisson"):
            call(spec, bundle, fit)


def test_residuals_of_a_linear_mixed_model():
    """R: residuals(f), fitted(f), predict(f, re.form = NA), f <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy).

    And residuals(fw, "pearson") of fw <- lmer(Reaction ~ Days + (1 | Subject), weights = w), w = rep(c(1, 2, .5), 60).
    """
    frame = load_dataset("sleepstudy")
    table = model("Reaction ~ Days + (Days | Subject)", frame).fit().residuals
    # theta of two optimisers, 1e-6 apart
    np.testing.assert_allclose(table["resid"][:4], [-4.10365580, -14.62521752, -42.19557925, 8.77735903], atol=5e-5)
    np.testing.assert_allclose(table["fitted"][:2], [253.663656, 273.329918], rtol=1e-6)
    np.testing.assert_allclose(table["fitted_marginal"][:2], [251.405105, 261.872391], rtol=1e-8)
    np.testing.assert_allclose(table["fitted_marginal"] + table["resid_marginal"], frame["Reaction"], rtol=1e-12)
    weighted = model("Reaction ~ Days + (1 | Subject)", frame, weights=np.tile([1.0, 2.0, 0.5], 60)).fit().residuals
    np.testing.assert_allclose(weighted["pearson_resid"][:3], [-32.6486503, -47.8030250, -36.7722651], rtol=1e-5)
    np.testing.assert_allclose(weighted["resid"][:3], [-32.6486503, -33.8018432, -52.0038360], rtol=1e-5)


def test_residuals_of_a_generalized_mixed_model():
    """R: residuals(g, type), fitted(g), predict(g, re.form = NA, type = "response"), with tolPwrss = 1e-11, of

    g <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial).
    """
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial")
    table = m.fit().residuals
    wanted = {
        "deviance_resid": [-1.438033069, 0.988720081, 2.356987288],
        "pearson_resid": [-1.33986272, 1.07509789, 2.87959763],
        "resid": [-0.165350659, 0.108249607, 0.318485962],
        "fitted": [0.308207802, 0.141750393],
        "fitted_marginal": [0.1980491574, 0.0838732557],
    }
    for name, values in wanted.items():  # glmer's default optimiser stops 1e-5 or so off
        np.testing.assert_allclose(table[name][: len(values)], values, rtol=1e-4, err_msg=name)


def test_residuals_of_an_lm_leave_out_the_rows_that_were_dropped():
    frame = load_dataset("mtcars").with_columns(wt=pl.when(pl.int_range(32) == 4).then(None).otherwise(pl.col("wt")))
    table = model("mpg ~ wt", frame).fit().residuals
    assert table.columns == ["row", "fitted", "resid", "pearson_resid", "deviance_resid"]
    assert table.height == 31 and 4 not in table["row"].to_list()


def test_numbers_about_a_mixed_model():
    """R: logLik, AIC, BIC of the sleepstudy fit; performance::r2_nakagawa and icc print .279, .799 and .722."""
    row = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit().diagnostics.row(0, named=True)
    assert row["loglik"] == pytest.approx(-871.8141, abs=1e-4)  # printed digits
    assert row["aic"] == pytest.approx(1755.628, abs=1e-3) and row["bic"] == pytest.approx(1774.786, abs=1e-3)
    shares = (row["r2_marginal"], row["r2_conditional"], row["icc"])
    np.testing.assert_allclose(shares, [0.279, 0.799, 0.722], atol=5e-4)
    assert row["method"] == "reml" and row["n_params"] == 6 and not row["is_singular"]
