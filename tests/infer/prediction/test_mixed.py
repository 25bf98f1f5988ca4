"""Predictions of mixed models: Henderson's equations in full, closed forms of balanced data, and refits one by one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from inference_core import load_dataset, model
from inference_core.infer.prediction_variance import total_df
from inference_core.infer.resample.modes import GlmerModesKernel, effects_of, lmer_mode_errors
from inference_core.infer.resample.stream import open_stream

SLEEP = "Reaction ~ Days + (Days | Subject)"
CROSSED = "diameter ~ 1 + (1 | plate) + (1 | sample)"


def henderson(m, x, z):
    """Var of x'b-hat + z'u-hat less its target, from the inverse of the whole mixed-model equations."""
    fit, bundle = m.fit_state, m.bundle
    re = bundle.re_metadata
    Z = re.z_matrix().toarray()
    S = np.concatenate([np.repeat((fit.sigma**2 * t @ t.T)[None], b.n_levels, 0).ravel()
                        for t, b in zip(re.t_matrices(fit.theta), re.blocks, strict=True)])  # fmt: skip
    G = np.zeros((re.q, re.q))
    at = first = 0
    for b in re.blocks:
        for _ in range(b.n_levels):
            G[at : at + b.k, at : at + b.k] = S[first : first + b.k**2].reshape(b.k, b.k)
            at, first = at + b.k, first + b.k**2
    w = np.ones(bundle.n) if bundle.prior_weights is None else bundle.prior_weights
    W = np.diag(w / fit.sigma**2)
    T = np.block([[bundle.X.T @ W @ bundle.X, bundle.X.T @ W @ Z],
                  [Z.T @ W @ bundle.X, Z.T @ W @ Z + np.linalg.inv(G)]])  # fmt: skip
    rows = np.concatenate([x, z], axis=1)
    return np.einsum("ij,jk,ik->i", rows, np.linalg.inv(T), rows)


@pytest.mark.parametrize(
    ("formula", "data", "weights"),
    [
        (SLEEP, "sleepstudy", None),
        (SLEEP, "sleepstudy", "w"),
        ("strength ~ 1 + (1 | batch/cask)", "pastes", None),
        (CROSSED, "penicillin", None),
        ("Reaction ~ Days + (Days || Subject)", "sleepstudy", None),
    ],
)
def test_known_groups_err_by_hendersons_variance(formula, data, weights):
    frame = load_dataset(data)
    if weights:
        frame = frame.with_columns(w=1.0 + np.arange(frame.height) % 3)
    m = model(formula, frame, weights=weights).fit().predict(varying="include").infer()
    Z = m.bundle.re_metadata.z_matrix().toarray()
    variance = henderson(m, m.bundle.X, Z)
    np.testing.assert_allclose(m.predictions["se"], np.sqrt(variance), rtol=1e-7)  # a dense inverse
    noise = m.fit_state.sigma**2 / (1.0 if weights is None else m.bundle.prior_weights)
    pred = m.state.pred
    half = (pred.pi_upper - pred.pi_lower) / 2
    df = total_df(m.spec, m.bundle, m.fit_state, pred, noise / m.fit_state.sigma**2).total
    np.testing.assert_allclose(half, stats.t.ppf(0.975, df) * np.sqrt(variance + noise), rtol=1e-7)


def balanced(J=8, n=5, seed=3):
    g = np.random.default_rng(seed)
    group = np.repeat(np.arange(J), n)
    y = 10 + g.normal(0, 2, J)[group] + g.normal(0, 1, J * n)
    return pl.DataFrame({"y": y, "g": [f"g{i}" for i in group]})


def test_degrees_of_freedom_of_balanced_data_have_a_closed_form():
    """Of a new group: MSA (1 + 1/J) / n + MSE (1 - 1/n), two independent mean squares matched by a chi-square."""
    J, n = 8, 5
    data = balanced(J, n)
    m = model("y ~ 1 + (1 | g)", data).fit().predict({"g": ["new"]}).infer()
    y = data["y"].to_numpy().reshape(J, n)
    A = n * y.mean(1).var(ddof=1)
    E = ((y - y.mean(1, keepdims=True)) ** 2).sum() / (J * (n - 1))
    a, e = A * (1 + 1 / J) / n, E * (1 - 1 / n)
    df = (a + e) ** 2 / (a**2 / (J - 1) + e**2 / (J * (n - 1)))
    half = stats.t.ppf(0.975, df) * np.sqrt(a + e)
    found = m.predictions
    np.testing.assert_allclose(found["pi_lower"], y.mean() - half, rtol=1e-7)  # central differences: 1e-8
    np.testing.assert_allclose(found["pi_upper"], y.mean() + half, rtol=1e-7)
    # the population's mean: sqrt(MSA / Jn) on J - 1 degrees of freedom
    reach = stats.t.ppf(0.975, J - 1) * np.sqrt(A / (J * n))
    np.testing.assert_allclose(found["ci_upper"], y.mean() + reach, rtol=1e-9)
    # the mean of a new group: MSA (1 + 1/J) / n - MSE / n
    own = m.predict({"g": ["new"]}, varying="include", allow_new_levels=True).infer()
    mean = a - E / n
    df = mean**2 / (a**2 / (J - 1) + (E / n) ** 2 / (J * (n - 1)))
    np.testing.assert_allclose(own.state.pred.df, df, rtol=1e-7)
    np.testing.assert_allclose(own.predictions["se"], np.sqrt(mean), rtol=1e-9)
    ml = model("y ~ 1 + (1 | g)", data, method="ml").fit().predict({"g": ["new"]}).infer()
    assert ml.state.pred.df[0] == pytest.approx(J - 1)  # Satterthwaite's are for REML, whatever the fit


def test_sleepstudy_as_the_sentences_tell_it():
    """On day 9: subject 308 about 404 to 458; a subject not in the data anywhere from 215 to 476, here by t."""
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    m.predict({"Days": [9, 9], "Subject": ["308", "new"]}, varying="include", allow_new_levels=True).infer()
    table = m.predictions
    # REML's standard errors to the digits shown; limits with 152 and 15.2 degrees of freedom
    np.testing.assert_allclose(table["fitted"], [430.66, 345.61], atol=0.01)
    np.testing.assert_allclose(table["ci_lower"], [403.3, 213.7], atol=0.1)
    np.testing.assert_allclose(table["ci_upper"], [458.0, 477.6], atol=0.1)
    assert any("take the variance components as known" in note for note in m.state.pred.inference.notes)


def test_a_population_needs_no_groups_and_groups_need_their_own():
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    bare = m.predict({"Days": [3]}).infer().predictions
    named = m.predict({"Days": [3], "Subject": ["308"]}).infer().predictions
    assert bare.row(0)[1:] == named.row(0)[2:]
    slopes = model("Reaction ~ 1 + (Days | Subject)", load_dataset("sleepstudy")).fit().predict({"x": [1]}).infer()
    assert slopes.predictions["pi_lower"][0] is None
    assert slopes.predictions["ci_lower"][0] is not None
    assert "the rows lack Days" in slopes.state.pred.notes[0]


# ---- draws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "data"), [(SLEEP, "sleepstudy"), ("strength ~ 1 + (1 | batch/cask)", "pastes"), (CROSSED, "penicillin")]
)
def test_modes_of_draws_are_those_of_refits(formula, data):
    """b* less the error is the b-hat of the draw's response, fitted as any other data."""
    frame = load_dataset(data)
    m = model(formula, frame).fit()
    stream = open_stream("boot", None, m.spec, m.bundle, m.fit_state, seed=4)
    draws = stream.collect(3)
    errors = lmer_mode_errors(stream.kernel, stream.rng, draws.samples)
    name = formula.split(" ~ ")[0]
    for i in range(3):
        again = model(formula, frame.with_columns(pl.Series(name, draws.response_of(i)))).fit()
        truth = drawn_effects(stream.kernel, stream.rng, i)
        # a refit stops 1e-6 of a standard error off in theta
        np.testing.assert_allclose(truth - errors[i], again.fit_state.b, atol=2e-4 * np.abs(truth).max())


def drawn_effects(kernel, rng, i):
    from inference_core.infer.resample.lmer_kernel import standard_normals

    u, _ = standard_normals(rng, i, i + 1, kernel.re.q, kernel.n)
    return effects_of(kernel.re, kernel.T, kernel.sigma * u)[0]


def test_modes_of_draws_of_a_generalized_model():
    frame = load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    m = model(formula, frame, family="binomial").fit()
    stream = open_stream("boot", None, m.spec, m.bundle, m.fit_state, seed=4)
    kernel = GlmerModesKernel.around(stream.kernel)
    samples, status, _ = kernel.refit(kernel.simulate(stream.rng, 0, 3))
    assert not status.any()
    for i in range(3):
        counts = np.rint(stream.response_of(i) * frame["size"].to_numpy()).astype(int)
        again = model(formula, frame.with_columns(incidence=pl.Series(counts)), family="binomial").fit()
        # modes move with the refit's theta and beta, both within 1e-6 of a standard error
        np.testing.assert_allclose(samples[i, -kernel.re.q :], again.fit_state.b, atol=1e-4)
    eta = kernel.draws.linear_predictors(stream.rng, 0)[:3]
    fixed = m.bundle.X @ m.fit_state.coef
    np.testing.assert_allclose(
        fixed + m.bundle.re_metadata.random_part(kernel.drawn_effects(stream.rng, 3)), eta, rtol=1e-12
    )


@pytest.mark.parametrize("varying", ["exclude", "include"])
def test_bootstrap_and_delta_errors_agree(varying):
    """The spread of parametric draws of a Gaussian model's predictions is Henderson's variance, up to chance."""
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    rows = {"Days": [0, 4, 9, 9], "Subject": ["308", "309", "372", "new"]}
    m.predict(rows, varying=varying, allow_new_levels=varying == "include")
    se = m.infer().predictions["se"].to_numpy()
    limits = m.predictions.select("pi_lower", "pi_upper").to_numpy()
    found = m.infer(how="boot", seed=1, n_boot=2999).predictions
    chance = m.state.pred.inference.mcse["se"]
    # Four Monte-Carlo errors, and 2 %: the variance components of the draws vary, which the formula leaves out.
    assert np.all(np.abs(found["se"].to_numpy() - se) < 4 * chance + 0.02 * se)
    boot = found.select("pi_lower", "pi_upper").to_numpy()
    width = limits[:, 1] - limits[:, 0]
    # A 2.5 % quantile of 30,000 normals has an error of 0.4 % of the width; the draws of one refit hang together.
    assert np.all(np.abs(boot - limits) < 0.03 * width[:, None])


def test_expanded_limits_use_the_draws_of_the_coefficients():
    """x = (1, 0) predicts the intercept: the limits are those of the coefficient, draw by draw."""
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    own = m.infer(how="boot", seed=9, n_boot=499).params.row(0, named=True)
    there = m.predict({"Days": [0]}).infer(how="boot", seed=9, n_boot=499).predictions.row(0, named=True)
    for name in ("se", "ci_lower", "ci_upper"):
        assert there[name] == pytest.approx(own[name], rel=1e-12)


def test_schemes_of_whole_groups_serve_the_population():
    m = model(SLEEP, load_dataset("sleepstudy")).fit().predict({"Days": [0, 9]})
    se = m.infer().predictions["se"].to_numpy()
    for scheme in ("cluster", "residual", "wild"):
        found = m.infer(how="boot", scheme=scheme, seed=1, n_boot=999).predictions
        assert np.all(np.abs(found["se"].to_numpy() / se - 1) < 0.25)  # other assumptions, the same order
        assert (found["pi_lower"] < found["ci_lower"]).all()


def test_held_out_predictions_ask_the_question_that_was_predicted():
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    m.predict().infer(how="cv", seed=1)
    assert m.state.cv.scheme == "groups"
    population = m.predictions
    subjects = population.group_by("Subject").agg(pl.col("cv_fold").n_unique())["cv_fold"]
    assert subjects.to_list() == [1] * 18
    m.predict(varying="include").infer(how="cv", seed=1)
    assert m.state.cv.conditional
    own = m.predictions
    residual = own["cv_residual"].to_numpy()
    y = m.bundle.y
    np.testing.assert_allclose(own["cv_fitted"].to_numpy() + residual, y, rtol=1e-12)
    assert np.sqrt(np.mean(residual**2)) < np.sqrt(np.mean(population["cv_residual"].to_numpy() ** 2))
