"""Every scheme against a loop that permutes, refits and divides by the standard error, one draw at a time."""

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.infer.permutation.hypotheses import Hypothesis, term_hypothesis
from inference_core.infer.sandwich import INFLATION

B = 40
NULL = 0.3


def frame(n=26, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.gamma(2.0, size=n)
    g = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    y = 40 + 0.4 * x - z + (g == "b") + rng.exponential(size=n) * (1 + np.abs(x))
    w = rng.uniform(0.5, 3.0, n) if weighted else np.ones(n)
    if weighted:
        w[3] = 0.0
    count = rng.poisson(np.exp(0.3 + 0.4 * x))
    return pl.DataFrame({"y": y, "x": x, "z": z, "g": g, "w": w, "off": rng.normal(size=n), "count": count})


def wls(X, y, w, errors, cells=None):
    """Coefficients and covariance, by the book: normal equations and the sandwich."""
    n, p = X.shape
    bread = np.linalg.inv(X.T @ (w[:, None] * X))
    b = bread @ X.T @ (w * y)
    e = y - X @ b
    if errors == "iid":
        return b, bread * (w @ e**2) / (n - p)
    if errors == "unequal_var":  # cell means beside the covariates that are given with them
        means, of_row = cells
        hat = means @ np.linalg.pinv(means)
        left = y - hat @ y
        nu = np.array([(1 - np.diag(hat))[of_row == c].sum() for c in range(of_row.max() + 1)])
        s2 = np.array([(left[of_row == c] ** 2).sum() for c in range(of_row.max() + 1)]) / nu
        return b, bread @ (X.T * s2[of_row]) @ X @ bread
    h = np.einsum("ij,jk,ik->i", X, bread, X) * w
    omega = (w * e) ** 2 * INFLATION[errors](h, n, p)
    return b, bread @ (X.T * omega) @ X @ bread


def loop(scheme, X, y, w, j, null, arrangements, errors, cells=None):
    """t* (B,) of coefficient j: the null model is fitted, something exchanged, the full model refitted."""
    root = np.sqrt(w)
    others = np.delete(X, j, axis=1)
    shifted = y - null * X[:, j]
    null_fit = others @ wls(others, shifted, w, "iid")[0] + null * X[:, j]
    full_fit = X @ wls(X, y, w, "iid")[0]
    out = []
    for a in arrangements:
        move = (lambda v, a=a: v[a]) if a.dtype.kind == "i" else (lambda v, a=a: a * v)
        if scheme == "y":
            new, centre = null * X[:, j] + move(shifted), null
        elif scheme == "ter_braak":
            new, centre = full_fit + move(root * (y - full_fit)) / root, wls(X, y, w, "iid")[0][j]
        else:
            new, centre = null_fit + move(root * (y - null_fit)) / root, null
        b, v = wls(X, new, w, errors, cells)
        out.append((b[j] - centre) / np.sqrt(v[j, j]))
    return np.array(out)


@pytest.mark.parametrize("errors", ["iid", "HC0", "HC1", "HC2", "HC3", "HC4"])
@pytest.mark.parametrize("scheme", ["freedman_lane", "sign_flip", "ter_braak", "y"])
@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares_schemes(scheme, errors, weighted):
    if weighted and scheme == "y":
        return  # refused: see test_rules
    data = frame(weighted=weighted)
    m = model("y ~ x + z + g", data, weights="w" if weighted else None, offset="off" if weighted else None).fit()
    stream = m.draw_stream("perm", scheme=scheme, errors=errors, null=NULL, seed=3, means=True)
    rows = np.flatnonzero(data["w"].to_numpy() > 0)
    drawn = [stream.signs_of(i)[rows] if scheme == "sign_flip" else stream.indices_of(i) for i in range(B)]
    if scheme != "sign_flip":
        place = np.full(data.height, -1)
        place[rows] = np.arange(rows.size)
        drawn = [place[d[rows]] for d in drawn]
    y = (m.bundle.y - (0 if m.bundle.offset is None else m.bundle.offset))[rows]
    batch = stream.batch(0, B)
    assert stream.names == m.bundle.X_names
    for j, name in enumerate(stream.names):
        by_hand = loop(scheme, m.bundle.X[rows], y, data["w"].to_numpy()[rows], j, NULL, drawn, errors)
        # normal equations against an orthonormal basis: eight digits
        np.testing.assert_allclose(batch.samples[:, j], by_hand, rtol=1e-8, atol=1e-10, err_msg=name)
    # the data themselves: the table's own statistic
    table = m.infer(null=NULL, errors=errors).inference
    np.testing.assert_allclose(stream.observed, table.statistic, rtol=1e-9)
    np.testing.assert_allclose(stream.observed_se, table.se, rtol=1e-9)


def test_the_response_of_a_draw_gives_its_statistic_when_it_is_refitted():
    data = frame(weighted=True)
    m = model("y ~ x + z", data, weights="w", offset="off").fit()
    for scheme in ("freedman_lane", "sign_flip", "ter_braak"):
        stream = m.draw_stream("perm", scheme=scheme, null=NULL, seed=5)
        batch = stream.batch(0, 8)
        for name in ("x", "z"):
            j = stream.names.index(name)
            again = model("new ~ x + z", data.with_columns(new=stream.response_of(7, name)), weights="w", offset="off")
            centre = m.fit_state.coef[m.bundle.X_names.index(name)] if scheme == "ter_braak" else NULL
            row = again.fit().infer(null=centre).inference
            at = m.bundle.X_names.index(name)
            np.testing.assert_allclose(batch.samples[7, j], row.statistic[at], rtol=1e-9)
            np.testing.assert_allclose(batch.se[7, j], row.se[at], rtol=1e-9)


def test_welch_errors_inside_each_draw():
    data = frame(30)
    m = model("y ~ g + x", data).fit()
    stream = m.draw_stream("perm", errors="unequal_var", seed=1, data=data)
    levels = np.unique(data["g"].to_numpy(), return_inverse=True)[1]
    means = np.column_stack([np.eye(3)[levels], data["x"].to_numpy()])
    drawn = [stream.indices_of(i) for i in range(B)]
    for j, name in enumerate(m.bundle.X_names):
        if name in stream.names:
            by_hand = loop("freedman_lane", m.bundle.X, m.bundle.y, np.ones(30), j, 0.0, drawn, "unequal_var",
                           (means, levels))  # fmt: skip
            np.testing.assert_allclose(stream.batch(0, B).samples[:, stream.names.index(name)], by_hand, rtol=1e-8)
    table = m.infer(errors="unequal_var").inference
    np.testing.assert_allclose(stream.observed_se, table.se[1:], rtol=1e-9)


@pytest.mark.parametrize("errors", ["iid", "HC3"])
def test_a_factor_is_tested_by_its_f(errors):
    """F of both columns of g, by hand from the whole covariance."""
    data = frame()
    m = model("y ~ x + g", data).fit()
    kept = np.arange(4)
    both = term_hypothesis(m.bundle, kept, m.bundle.X_names[2:])
    stream = m.draw_stream("perm", seed=2, errors=errors, hypotheses=[both])
    X, y, ones = m.bundle.X, m.bundle.y, np.ones(m.bundle.n)
    null_fit = X[:, :2] @ wls(X[:, :2], y, ones, "iid")[0]

    def f(response):
        b, v = wls(X, response, ones, errors)
        return b[2:] @ np.linalg.solve(v[2:, 2:], b[2:]) / 2

    np.testing.assert_allclose(stream.observed[0], f(y), rtol=1e-9)
    by_hand = [f(null_fit + (y - null_fit)[stream.indices_of(i)]) for i in range(B)]
    np.testing.assert_allclose(stream.batch(0, B).samples[:, 0], by_hand, rtol=1e-8)


def test_a_contrast_goes_the_same_way_as_a_coefficient():
    """g[c] - g[b] of a treatment coding is the coefficient of c when b is the reference."""
    data = frame()
    m = model("y ~ x + g", data).fit()
    difference = Hypothesis("c - b", np.array([[0.0, 0.0, -1.0, 1.0]]), np.array([NULL]))
    stream = m.draw_stream("perm", seed=2, hypotheses=[difference])
    other = data.with_columns(pl.col("g").cast(pl.Enum(["b", "a", "c"])))
    plain = model("y ~ x + g", other).fit().draw_stream("perm", seed=2, null=NULL)
    np.testing.assert_allclose(stream.batch(0, B).samples[:, 0], plain.batch(0, B).samples[:, -1], rtol=1e-9)


@pytest.mark.parametrize(("family", "response"), [("poisson", "count"), ("gaussian", "y")])
def test_score_flips_by_the_formula(family, response):
    """T(S) = a'Sr / sqrt(a'S (I - H0) S a), with n x n matrices."""
    data = frame(weighted=True)
    m = model(f"{response} ~ x + z", data, family=family, weights="w", offset="off").fit()
    stream = m.draw_stream("perm", scheme="score_flip", null=NULL, seed=4)
    rows = np.flatnonzero(data["w"].to_numpy() > 0)
    X, w = m.bundle.X[rows], data["w"].to_numpy()[rows]
    for j in range(3):
        shift = data["off"].to_numpy() + NULL * m.bundle.X[:, j]
        rest = " + ".join(name for name in ("x", "z") if name != m.bundle.X_names[j])
        formula = f"{response} ~ {'0 + ' if j == 0 else ''}{rest}"
        null = model(formula, data.with_columns(shift=shift), family=family, weights="w", offset="shift").fit()
        mu = null.fit_state.fitted[rows]
        V = mu if family == "poisson" else np.ones_like(mu)  # and the slope of both links is V
        W = w * V
        r = np.sqrt(w) * (m.bundle.y[rows] - mu) / np.sqrt(V)
        X0 = np.delete(X, j, axis=1) * np.sqrt(W)[:, None]
        H0 = X0 @ np.linalg.solve(X0.T @ X0, X0.T)
        a = (np.eye(len(rows)) - H0) @ (np.sqrt(W) * X[:, j])
        scale = 1.0 if family == "poisson" else np.sqrt(r @ r / (len(rows) - 2))
        for i in range(10):
            s = stream.signs_of(i)[rows]
            t = (a * s) @ r / np.sqrt((a * s) @ (np.eye(len(rows)) - H0) @ (s * a)) / scale
            np.testing.assert_allclose(stream.batch(0, 10).samples[i, j], t, rtol=1e-8)
        np.testing.assert_allclose(stream.observed[j], a @ r / np.linalg.norm(a) / scale, rtol=1e-8)


@pytest.mark.parametrize("errors", ["iid", "HC0"])
@pytest.mark.parametrize(
    ("family", "response"), [("poisson", "count"), ("binomial", "high"), ("negative_binomial", "count"), ("gamma", "y")]
)
def test_shuffled_responses_are_refitted(family, response, errors):
    """Batched lanes against one fit of the model at a time."""
    data = frame(40, seed=2).with_columns(high=(pl.col("y") > 39).cast(pl.Int64))
    if family == "negative_binomial":
        data = data.with_columns(count=(pl.col("count") * 3 + pl.col("w") * 0).cast(pl.Int64))
    link = "log" if family == "gamma" else None
    m = model(f"{response} ~ x + z", data, family=family, link=link).fit()
    stream = m.draw_stream("perm", scheme="y", seed=6, errors=errors, means=True)
    batch = stream.batch(0, 12)
    for i in range(12):
        again = model("new ~ x + z", data.with_columns(new=data[response].gather(stream.indices_of(i))), family=family,
                      link=link).fit().infer(errors=errors).inference  # fmt: skip
        # two searches that stop at 1e-10 of a standard error or better; theta is one more search
        np.testing.assert_allclose(batch.samples[i], again.statistic, rtol=2e-6, atol=1e-8)
    assert not batch.status.any()
