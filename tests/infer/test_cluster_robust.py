"""Cluster-robust errors of mixed models: the n_j x n_j formulas written out, unbiasedness, refusals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit.lmer import fit_lmer
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.solvers.lmm.clusters import cluster_sums
from inference_core.solvers.lmm.dense import Term


def fitted(formula, frame, method="reml", **options):
    spec, bundle = build_bundle(formula, frame, method=method, **options)
    return spec, bundle, fit_lmer(spec, bundle)


def root(M, power):
    w, U = np.linalg.eigh(M)
    keep = w > 1e-11 * w[-1]
    return (U[:, keep] * w[keep] ** power) @ U[:, keep].T


class Brute:
    """Clusters of unequal size with an inner factor, and every matrix in full; rows scaled by sqrt(w)."""

    def __init__(self, seed, weighted, sizes=(3, 4, 4, 6, 9, 2, 5)):
        rng = np.random.default_rng(seed)
        n = sum(sizes)
        self.cluster = np.repeat(np.arange(len(sizes)), sizes)
        self.inner = self.cluster * 2 + rng.integers(0, 2, n)
        self.w = rng.uniform(0.4, 3.0, n) if weighted else None
        self.X = np.column_stack([np.ones(n), rng.normal(size=n), rng.normal(size=len(sizes))[self.cluster]])
        self.Z = [np.column_stack([np.ones(n), rng.normal(size=n)]), np.ones((n, 1))]
        self.T = [np.array([[0.8, 0.0], [-0.4, 0.6]]), np.array([[0.5]])]
        self.e = rng.normal(size=n)
        scale = np.ones(n) if self.w is None else np.sqrt(self.w)
        groups = [self.cluster, self.inner]
        V = np.eye(n)
        for Z, T, g in zip(self.Z, self.T, groups, strict=True):
            ZT = scale[:, None] * (Z @ T)
            V += np.where(g[:, None] == g, ZT @ ZT.T, 0.0)
        self.V, self.Xw, self.ew = V, scale[:, None] * self.X, scale * self.e
        self.Vi = np.linalg.inv(V)
        self.M = np.linalg.inv(self.Xw.T @ self.Vi @ self.Xw)
        self.terms = [Term.of(Z, g) for Z, g in zip(self.Z, groups, strict=True)]

    def sums(self, adjust):
        return cluster_sums(
            self.X, self.terms, self.T, self.e, self.cluster, self.M, weights=self.w, adjust=adjust
        )

    def adjustment(self, j, adjust):
        rows = np.flatnonzero(self.cluster == j)
        V, X = self.V[np.ix_(rows, rows)], self.Xw[rows]
        if not adjust:
            return rows, V, X, np.eye(rows.size)
        D = np.linalg.cholesky(V).T
        return rows, V, X, D.T @ root(D @ (V - X @ self.M @ X.T) @ D.T, -0.5) @ D

    def vcov_and_df(self, adjust, L):
        J = self.cluster.max() + 1
        n = self.e.size
        H = self.Xw @ self.M @ self.Xw.T @ self.Vi
        left = (np.eye(n) - H) @ self.V @ (np.eye(n) - H).T
        meat, vectors = 0.0, []
        for j in range(J):
            rows, V, X, A = self.adjustment(j, adjust)
            score = X.T @ np.linalg.solve(V, A @ self.ew[rows])
            meat = meat + np.outer(score, score)
            full = np.zeros((3, n))
            full[:, rows] = X.T @ np.linalg.solve(V, A)
            vectors.append(full)
        df = []
        for row in L:
            p = np.array([row @ self.M @ v for v in vectors])
            P = p @ left @ p.T
            df.append(np.trace(P) ** 2 / np.sum(P**2))
        return self.M @ meat @ self.M, np.array(df)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("adjust", [False, True])
def test_equals_the_formulas_written_out(weighted, adjust):
    brute = Brute(2, weighted)
    L = np.vstack([np.eye(3), [1.0, -2.0, 0.5]])
    vcov, df = brute.vcov_and_df(adjust, L)
    found = brute.sums(adjust)
    np.testing.assert_allclose(found.vcov, vcov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.df(L), df, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_cr2_is_unbiased_when_the_model_is_right(weighted):
    """E e_j e_j' = V_j - X_j M X_j' at the true V, and CR2 then has mean M exactly."""
    brute = Brute(5, weighted)
    mean = 0.0
    for j in range(brute.cluster.max() + 1):
        _rows, V, X, A = brute.adjustment(j, True)
        inner = X.T @ np.linalg.solve(V, A)
        mean = mean + inner @ (V - X @ brute.M @ X.T) @ inner.T
    np.testing.assert_allclose(brute.M @ mean @ brute.M, brute.M, rtol=1e-9, atol=1e-12)
    # the reduced matrices say the same: sum of spreads less overlaps M overlaps'
    sums = brute.sums(True)
    reduced = sums.spreads.sum(axis=0) - np.einsum("jqp,qr,jrs->ps", sums.overlaps, brute.M, sums.overlaps)
    np.testing.assert_allclose(reduced, np.linalg.inv(brute.M), rtol=1e-9, atol=1e-10)


def test_a_cluster_that_a_column_is_alone_in():
    """A dummy of one cluster leaves a direction there without a residual: it adds nothing, and nothing breaks."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(8), 4)
    X = np.column_stack([np.ones(32), g == 3, rng.normal(size=32)]).astype(float)
    T = np.array([[0.7]])
    V = np.eye(32) + 0.49 * (g[:, None] == g)
    M = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    y = rng.normal(size=32)
    e = y - X @ (M @ X.T @ np.linalg.solve(V, y))
    found = cluster_sums(X, [Term.of(np.ones((32, 1)), g)], [T], e, g, M)
    assert np.all(np.isfinite(found.vcov)) and np.all(found.df(np.eye(3)) > 0)


def test_sleepstudy():
    """Balanced: CR2 for 18 subjects has 17 degrees of freedom and the model's own errors."""
    spec, bundle, fit = fitted("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    cr0, cr1, cr2 = (cluster_robust(spec, bundle, fit, kind) for kind in ("CR0", "CR1", "CR2"))
    np.testing.assert_allclose(np.sqrt(np.diagonal(cr0.vcov)), [6.63, 1.50], atol=6e-3)  # two digits published
    np.testing.assert_allclose(np.sqrt(np.diagonal(cr2.vcov)), [6.82, 1.55], atol=6e-3)
    np.testing.assert_allclose(cr2.df(), [17.0, 17.0], rtol=1e-8)
    np.testing.assert_allclose(cr1.vcov, cr0.vcov * 18 / 17, rtol=1e-12)
    np.testing.assert_allclose(cr1.df(), cr0.df(), rtol=1e-12)
    assert cr2.n_clusters == 18


def nested(seed=0):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({"a": np.repeat(np.arange(9), 8), "b": np.tile(np.repeat(np.arange(4), 2), 9)})
    u, v = rng.normal(size=9), rng.normal(size=(9, 4))
    return frame.with_columns(
        y=pl.Series(u[frame["a"].to_numpy()] + v[frame["a"].to_numpy(), frame["b"].to_numpy()] + rng.normal(size=72)),
        x=pl.Series(rng.normal(size=72)), a=pl.col("a").cast(pl.String), b=pl.col("b").cast(pl.String),
    )  # fmt: skip


def test_the_outermost_factor_is_the_cluster():
    model = fitted("y ~ x + (1 | a / b)", nested())
    by_default, by_name = cluster_robust(*model), cluster_robust(*model, cluster="a")
    labels = nested()["a"].to_numpy()
    by_row = cluster_robust(*model, cluster=labels)
    assert by_default.n_clusters == 9
    np.testing.assert_array_equal(by_default.vcov, by_name.vcov)
    np.testing.assert_array_equal(by_default.vcov, by_row.vcov)


def test_labels_may_cover_rows_that_were_left_out():
    frame = nested().with_columns(x=pl.when(pl.int_range(72) == 5).then(None).otherwise(pl.col("x")))
    model = fitted("y ~ x + (1 | a)", frame)
    np.testing.assert_array_equal(
        cluster_robust(*model, cluster=frame["a"].to_numpy()).vcov, cluster_robust(*model).vcov
    )


def test_order_of_rows_changes_nothing():
    frame = nested(3)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    before, after = (cluster_robust(*fitted("y ~ x + (x | a)", f)) for f in (frame, shuffled))
    # two searches for one optimum
    np.testing.assert_allclose(after.vcov, before.vcov, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(after.df(), before.df(), rtol=1e-6)


def test_a_row_of_weight_0_is_no_row():
    frame = nested().with_columns(w=pl.when(pl.int_range(72) % 7 == 0).then(0.0).otherwise(1.0))
    model = fitted("y ~ x + (1 | a)", frame, weights="w")
    without = fitted("y ~ x + (1 | a)", frame.filter(pl.col("w") > 0))
    np.testing.assert_allclose(cluster_robust(*model).vcov, cluster_robust(*without).vcov, rtol=1e-8)


def crossed(seed=0):
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    y = rng.normal(size=8)[a] + rng.normal(size=6)[b] + rng.normal(size=48)
    return pl.DataFrame({"y": y, "a": a.astype(str), "b": b.astype(str)})


@pytest.mark.parametrize(
    ("formula", "frame", "options", "words"),
    [
        ("y ~ 1 + (1 | a) + (1 | b)", crossed(), {}, "are crossed"),
        ("y ~ 1 + (1 | a) + (1 | b)", crossed(), {"cluster": "a"}, "levels of b lie in several clusters of a"),
        ("y ~ x + (1 | a / b)", nested(), {"cluster": "a:b"}, "levels of a lie in several clusters"),
        ("y ~ x + (1 | a)", nested(), {"cluster": "aa"}, "did you mean 'a'"),
        ("y ~ x + (1 | a)", nested(), {"cluster": np.arange(5)}, "5 labels for 72 rows"),
        ("y ~ x + (1 | a)", nested(), {"kind": "CR9"}, "CR0, CR1, CR1S, CR2"),
        ("y ~ x + (1 | b)", nested(), {}, "fewer than 5"),
    ],
)
def test_refused(formula, frame, options, words):
    with pytest.raises(InferenceError, match=words):
        cluster_robust(*fitted(formula, frame), **options)


def test_uneven_groups_against_clubsandwich():
    """R: coef_test(f, vcovCR(f, type), "Satterthwaite") of f <- lmer(Reaction ~ Days + (Days | Subject), u),

    u <- sleepstudy[-c(3, 17, 18, 19, 20, 45, 46, 90, 91, 92), ].
    """
    frame = load_dataset("sleepstudy").with_row_index("row", offset=1)
    frame = frame.filter(~pl.col("row").is_in([3, 17, 18, 19, 20, 45, 46, 90, 91, 92]))
    m = model("Reaction ~ Days + (Days | Subject)", frame).fit()
    wanted = {
        "CR0": ([6.484888771, 1.558611842], [16.91973487, 16.84856331], [5.944872912e-18, 3.182329932e-06]),
        "CR1S": ([6.692725837, 1.608564481], [16.91973487, 16.84856331], [1.007901557e-17, 4.719206631e-06]),
        "CR2": ([6.682197805, 1.603235188], [16.91306119, 16.83739125], [9.932453839e-18, 4.544166981e-06]),
    }
    for kind, (se, df, p) in wanted.items():
        table = m.infer(errors=kind).params
        np.testing.assert_allclose(table["se"], se, rtol=2e-6)  # lme4's optimiser
        np.testing.assert_allclose(table["df"], df, rtol=1e-6)
        np.testing.assert_allclose(table["p_value"], p, rtol=5e-5)  # of t^17
