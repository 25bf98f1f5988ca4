"""Cluster-robust errors of lm and glm through ``infer(errors=..., cluster=...)``, and the joint test of all models."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.infer.sandwich import sandwich_vcov


def robust(m, kind, cluster):
    return cluster_robust(m.spec, m.bundle, m.fit_state, kind, cluster, m.data)


# ---- against clubSandwich 0.5.8 ----------------------------------------------------------------------------


# R takes the root of CR2's adjustment in the units of the rows, here each row is in units of its own SD: both make the
# covariance unbiased if the model is right, and they differ where weights vary within a cluster.
OTHER_ROOT = 2e-3


def test_a_weighted_linear_model():
    """R: coef_test(fw, vcov = vcovCR(fw, sleepstudy$Subject, type, target = 1 / w, inverse_var = FALSE)) of

    fw <- lm(Reaction ~ Days, sleepstudy, weights = w), w = rep(c(1, 2, .5), 60). Without ``target`` R takes rows of
    unequal weight to have one variance; here the weights say what it is, as in every other use of them.
    """
    m = model("Reaction ~ Days", load_dataset("sleepstudy"), weights=np.tile([1.0, 2.0, 0.5], 60)).fit()
    table = m.infer(errors="CR0", cluster="Subject").params
    np.testing.assert_allclose(table["se"], [6.593412106, 1.428835538], rtol=1e-8)  # printed digits
    np.testing.assert_allclose(table["df"], [16.67588533, 16.55037623], rtol=1e-8)
    table = m.infer(errors="CR2", cluster="Subject").params
    np.testing.assert_allclose(table["se"], [6.787010804, 1.470265595], rtol=OTHER_ROOT)
    np.testing.assert_allclose(table["df"], [16.63943124, 16.49588548], rtol=OTHER_ROOT)


@pytest.mark.parametrize(
    ("formula", "weights"),
    [("cbind(incidence, size - incidence) ~ period", None), ("I(incidence / size) ~ period", "size")],
)
def test_a_logistic_model(formula, weights):
    """R: coef_test(g, vcov = vcovCR(g, cbpp$herd, type)), g <- glm(..., binomial, cbpp), epsilon = 1e-14."""
    m = model(formula, load_dataset("cbpp"), family="binomial", weights=weights).fit()
    wanted = {
        "CR0": (
            [0.2750260647, 0.4395696429, 0.4956500889, 0.3879608922],
            [12.657581961, 11.700893334, 11.742302639, 9.082385758],
        ),
        "CR2": (
            [0.2867136076, 0.4619715093, 0.5151589402, 0.4089883229],
            [12.469850578, 11.510119468, 11.570323210, 8.759313568],
        ),
    }
    for kind, (se, df) in wanted.items():
        table = m.infer(errors=kind, cluster="herd").params
        np.testing.assert_allclose(table["se"], se, rtol=1e-7)  # glm's own last step
        np.testing.assert_allclose(table["df"], df, rtol=1e-7)
    p = [0.000754645593, 0.026934557853, 0.027237101878, 0.001950882425]
    np.testing.assert_allclose(table["p_value"], p, rtol=1e-6)


def test_a_gamma_model():
    """R: the same of glm(rate ~ x, Gamma("log")), rate = (incidence + 1) / size, x = as.numeric(period)."""
    frame = load_dataset("cbpp").with_columns(
        rate=(pl.col("incidence") + 1) / pl.col("size"), x=pl.col("period").cast(pl.String).cast(pl.Float64)
    )
    m = model("rate ~ x", frame, family="gamma", link="log").fit()
    table = m.infer(errors="CR0", cluster="herd").params
    np.testing.assert_allclose(table["se"], [0.16878956249, 0.04990994568], rtol=1e-7)
    np.testing.assert_allclose(table["df"], [13.86776796, 13.46836913], rtol=1e-7)
    table = m.infer(errors="CR2", cluster="herd").params
    np.testing.assert_allclose(table["se"], [0.17462823749, 0.05178901277], rtol=OTHER_ROOT)
    np.testing.assert_allclose(table["df"], [13.85699732, 13.44542408], rtol=OTHER_ROOT)


@pytest.mark.parametrize("family", ["gaussian", "gamma"])
def test_cr2_is_unbiased_if_the_model_is_right(family):
    """The mean of the covariance under the working variances is the bread, whatever the weights within clusters."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(8), [3, 4, 5, 3, 6, 7, 2, 4])
    n = g.size
    frame = pl.DataFrame({"y": rng.gamma(3.0, size=n), "x": rng.normal(size=n), "w": rng.uniform(0.3, 3, n), "g": g})
    m = model("y ~ x", frame, family=family, link="log" if family == "gamma" else None, weights="w").fit()
    sums = robust(m, "CR2", "g").sums
    mean = sums.spreads.sum(axis=0) - np.einsum("jqp,qr,jrs->ps", sums.overlaps, sums.bread, sums.overlaps)
    W = m.fit_state.working_weights
    np.testing.assert_allclose(mean, m.bundle.X.T @ (W[:, None] * m.bundle.X), rtol=1e-9)


def wald(found, b, L):
    """The F of L b = 0 and its degrees of freedom."""
    joint = found.joint(L)
    middle = L @ found.vcov @ L.T
    return joint.scale * (L @ b) @ np.linalg.solve(middle, L @ b) / joint.df1, joint.df1, joint.df2


@pytest.mark.parametrize(
    ("kind", "F", "df2"), [("CR0", 4.674775824, 24.01717037), ("CR2", 4.307348631, 23.85992664)]
)
def test_joint_test_of_a_linear_model(kind, F, df2):
    """R: Wald_test(f, constrain_zero(6:8), vcovCR(f, Chick, type), test = "HTZ"), f <- lm(weight ~ Time * Diet)."""
    m = model("weight ~ Time * Diet", load_dataset("chickweight")).fit()
    found = wald(robust(m, kind, "Chick"), m.fit_state.coef, np.eye(8)[5:])
    np.testing.assert_allclose(found, [F, 3, df2], rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "F", "df2"), [(slice(8, 18), 1.553553858, 29.5), (slice(1, 3), 0.2884608354, 30.5)]
)
def test_joint_test_of_a_linear_mixed_model(rows, F, df2):
    """R: Wald_test(m, constrain_zero(9:18) or (2:3), vcovCR(m, type = "CR2"), test = "HTZ") of

    m <- lmer(angle ~ recipe * temperature + (1 | recipe:replicate), cake), ordered temperature.
    """
    m = model(
        "angle ~ recipe * temperature + (1 | recipe:replicate)", load_dataset("cake"), contrasts={"temperature": "poly"}
    ).fit()
    found = wald(robust(m, "CR2", None), m.fit_state.coef, np.eye(18)[rows])
    np.testing.assert_allclose(found, [F, 2 if rows.stop == 3 else 10, df2], rtol=1e-6)  # lme4's optimiser


# ---- closed forms ------------------------------------------------------------------------------------------


def outcomes(seed=1, J=12, q=3):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(J, q)) @ rng.normal(size=(q, q)) + [0.5, 1.0, -0.3]
    return y, pl.DataFrame(
        {"y": y.ravel(), "o": np.tile(list("abc"), J), "id": np.repeat(np.arange(J), q)}
    )


def test_the_joint_test_is_hotellings_where_that_is_exact():
    """One row a cluster and outcome: CR2 is the sample covariance over J, eta = J - 1, and F is Hotelling's."""
    y, frame = outcomes()
    J, q = y.shape
    m = model("y ~ 0 + o", frame).fit()
    F, df1, df2 = wald(robust(m, "CR2", "id"), m.fit_state.coef, np.eye(q))
    mean, S = y.mean(axis=0), np.cov(y.T)
    hotelling = J * mean @ np.linalg.solve(S, mean)
    np.testing.assert_allclose([F, df1, df2], [(J - q) / (q * (J - 1)) * hotelling, q, J - q], rtol=1e-10)


def test_one_row_jointly_is_that_row_alone():
    m = model("weight ~ Time * Diet", load_dataset("chickweight")).fit()
    found = robust(m, "CR2", "Chick")
    L = np.array([[0.0, 1.0, 0.0, 0.5, 0.0, 0.0, -1.0, 0.0]])
    assert found.joint(L).df2 == pytest.approx(found.df(L)[0], rel=1e-10)
    assert found.joint(L).scale == pytest.approx(1.0, rel=1e-12)


def test_rows_that_repeat_others_do_not_count():
    m = model("weight ~ Time * Diet", load_dataset("chickweight")).fit()
    found = robust(m, "CR2", "Chick")
    two = np.eye(8)[5:7]
    three = np.vstack([two, two[0] - 2 * two[1]])
    assert found.joint(three).df1 == 2
    assert found.joint(three).df2 == pytest.approx(found.joint(two).df2, rel=1e-9)


def test_the_joint_df_is_the_definition_written_out():
    """Eta from the variances of the q x q entries, every n x n matrix formed, clusters of unequal size."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(9), [2, 3, 3, 4, 5, 6, 2, 7, 4])
    n = g.size
    frame = pl.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "z": rng.normal(size=9)[g], "g": g})
    m = model("y ~ x + z", frame).fit()
    X, L = m.bundle.X, np.array([[0.0, 1.0, 0.0], [0.0, 0.3, 1.0]])
    M = np.linalg.inv(X.T @ X)
    left = np.eye(n) - X @ M @ X.T
    vectors = []
    for j in range(9):
        rows = np.flatnonzero(g == j)
        w, U = np.linalg.eigh(left[np.ix_(rows, rows)])
        A = (U / np.sqrt(w)) @ U.T
        full = np.zeros((2, n))
        full[:, rows] = L @ M @ X[rows].T @ A
        vectors.append(full @ left)
    mean = sum(v @ v.T for v in vectors)
    w, U = np.linalg.eigh(mean)
    half = (U / np.sqrt(w)) @ U.T
    vectors = [half @ v for v in vectors]
    total = 0.0
    for a in vectors:
        for b in vectors:
            K = a @ b.T
            total += sum(K[s, s] * K[t, t] + K[s, t] * K[t, s] for s in range(2) for t in range(2))
    assert robust(m, "CR2", "g").joint(L).df2 == pytest.approx(6 / total - 1, rel=1e-9)


@pytest.mark.parametrize("weights", [None, "disp"])
def test_every_row_its_own_cluster(weights):
    """Clusters of one row: CR0 is HC0, CR2 is HC2."""
    frame = load_dataset("mtcars").with_row_index()
    m = model("mpg ~ wt + hp", frame, weights=weights).fit()
    for kind, hc in (("CR0", "HC0"), ("CR2", "HC2")):
        np.testing.assert_allclose(
            robust(m, kind, "index").vcov, sandwich_vcov(m.spec, m.bundle, m.fit_state, hc), rtol=1e-9
        )
    g = model("am ~ wt", frame, family="binomial").fit()
    np.testing.assert_allclose(
        robust(g, "CR2", "index").vcov, sandwich_vcov(g.spec, g.bundle, g.fit_state, "HC2"), rtol=1e-8
    )


def test_stata_scales_by_rows_too():
    m = model("weight ~ Time * Diet", load_dataset("chickweight")).fit()
    np.testing.assert_allclose(
        robust(m, "CR1S", "Chick").vcov, robust(m, "CR0", "Chick").vcov * 50 / 49 * 577 / 570, rtol=1e-12
    )


# ---- through infer -----------------------------------------------------------------------------------------


def same(found, wanted):
    """Two tables alike, up to the order in which clusters are summed."""
    np.testing.assert_allclose(found.drop("term").to_numpy(), wanted.drop("term").to_numpy(), rtol=1e-9)


def test_a_column_or_a_label_a_row():
    frame = load_dataset("chickweight")
    m = model("weight ~ Time", frame).fit()
    by_name = m.infer(errors="CR2", cluster="Chick").params
    for labels in (frame["Chick"].to_list(), frame["Chick"].to_numpy(), frame["Chick"]):
        same(m.infer(errors="CR2", cluster=labels).params, by_name)
    assert "CR2 errors" in repr(m)


def test_rows_that_were_dropped_take_their_labels_along():
    frame = load_dataset("chickweight")
    holed = frame.with_columns(Time=pl.when(pl.int_range(pl.len()) % 7 == 3).then(None).otherwise(pl.col("Time")))
    m = model("weight ~ Time", holed).fit()
    clean = holed.drop_nulls("Time")
    wanted = model("weight ~ Time", clean).fit().infer(errors="CR2", cluster="Chick").params
    for labels in ("Chick", holed["Chick"].to_numpy(), clean["Chick"].to_numpy()):
        same(m.infer(errors="CR2", cluster=labels).params, wanted)


def test_dropped_columns_and_rows_of_weight_0():
    frame = load_dataset("chickweight").with_columns(
        twice=2.0 * pl.col("Time"), w=(pl.int_range(pl.len()) % 5 > 0).cast(pl.Float64)
    )
    m = model("weight ~ Time + twice", frame, weights="w").fit().infer(errors="CR2", cluster="Chick")
    assert m.params["se"].null_count() == 1
    kept = model("weight ~ Time", frame.filter(pl.col("w") > 0)).fit().infer(errors="CR2", cluster="Chick")
    np.testing.assert_allclose(m.params["se"][:2], kept.params["se"], rtol=1e-9)
    np.testing.assert_allclose(m.params["df"][:2], kept.params["df"], rtol=1e-9)


@pytest.mark.parametrize(
    ("formula", "options", "asked", "words"),
    [
        ("mpg ~ wt", {}, {"errors": "CR2"}, "need clusters, and this model has no groups"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": "crab"}, "did you mean 'carb'"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": "cyl"}, "cyl has 3 clusters; fewer than 5"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": [1, 2, 3]}, "3 labels for 32 rows"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": [None, *range(31)]}, "1 of 32 rows have no cluster"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": [np.nan, *range(31)]}, "1 of 32 rows have no cluster"),
        ("mpg ~ wt", {}, {"errors": "CR2", "cluster": 5}, "a column's name, or one label a row"),
        ("mpg ~ wt", {}, {"errors": "HC3", "cluster": "carb"}, "CR0, CR1, CR1S, CR2 alone"),
        ("mpg ~ wt", {}, {"cluster": "carb"}, "errors='CR2', or leave cluster out"),
        ("mpg ~ wt", {}, {"how": "boot", "cluster": "carb"}, "cluster takes no part in how='boot'"),
        ("mpg ~ wt", {}, {"how": "boot", "errors": "CR2"}, "go with how='asymp'"),
    ],
)
def test_refused(formula, options, asked, words):
    m = model(formula, load_dataset("mtcars"), **options).fit()
    with pytest.raises(InferenceError, match=words):
        m.infer(**asked)


def test_separated_data_are_refused():
    frame = pl.DataFrame({"y": np.repeat([0, 1], 10), "x": np.arange(20.0), "g": np.arange(20) % 6})
    with pytest.warns(match="separation"):
        m = model("y ~ x", frame, family="binomial").fit()
    with pytest.raises(InferenceError, match="separated"):
        m.infer(errors="CR2", cluster="g")
