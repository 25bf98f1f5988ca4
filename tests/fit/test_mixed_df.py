"""Satterthwaite and Kenward-Roger: numeric derivatives, closed forms of balanced designs, several rows, refusals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit import fit_model
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_df import mixed_df
from inference_core.infer.satterthwaite_emm import compute_satterthwaite_emm_df
from inference_core.solvers.lmm.denominator import KenwardRoger, Satterthwaite
from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.information import information_of_groups, information_of_terms
from inference_core.solvers.lmm.information_crossed import information_of_scalars
from inference_core.solvers.lmm.one_factor import fit_one
from inference_core.solvers.lmm.structure import free_entries
from tests.solvers.lmm.models import BLOCKS, DIAGONAL, FULL, covariance, draw


def fitted(formula, frame, method="reml", **options):
    spec, bundle = build_bundle(formula, frame, method=method, **options)
    return spec, bundle, fit_lmer(spec, bundle)


def reml_deviance(d, x, entries):
    """The REML deviance with sigma not profiled, by the n x n covariance: x = (free entries of T, log sigma)."""
    T = np.zeros((d.Z.shape[1],) * 2)
    for value, (a, b) in zip(x, entries, strict=False):
        T[a, b] = value
    V = np.exp(2 * x[-1]) * covariance([(d.Z, d.group, T)], d.y.size, d.weights)
    Vi = np.linalg.inv(V)
    S = d.X.T @ Vi @ d.X
    e = d.y - d.X @ np.linalg.solve(S, d.X.T @ Vi @ d.y)
    return np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1] + e @ Vi @ e, np.linalg.inv(S)


def numeric_satterthwaite(d, x, entries, L, h=1e-4):
    steps = h * np.eye(x.size)

    def f(z):
        return reml_deviance(d, z, entries)[0]

    H = np.array(
        [[(f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * h * h) for a in steps] for b in steps]
    )
    A = 2 * np.linalg.inv(H)
    V = reml_deviance(d, x, entries)[1]
    J = [(reml_deviance(d, x + a, entries)[1] - reml_deviance(d, x - a, entries)[1]) / (2 * h) for a in steps]
    g = np.array([[row @ j @ row for j in J] for row in L])
    v = np.array([row @ V @ row for row in L])
    return 2 * v**2 / np.einsum("mi,ij,mj->m", g, A, g)


@pytest.mark.parametrize(("k", "kind"), [(1, FULL), (2, FULL), (2, DIAGONAL), (3, BLOCKS)])
@pytest.mark.parametrize("weighted", [False, True])
def test_satterthwaite_by_numeric_derivatives(k, kind, weighted):
    d = draw(5, k, kind, groups=15, n=120, weighted=weighted, spread=1.2)
    design = GroupDesign.of(d.X, d.Z, d.group, mask=d.mask, weights=d.weights)
    fits, _ = fit_one(design, d.y)
    T, entries = fits.T[0], free_entries(d.mask)
    x = np.append([T[a, b] for a, b in entries], np.log(fits.sigma[0]))
    L = np.vstack([np.eye(3), [1.0, -1.0, 2.0]])
    found = Satterthwaite.of(information_of_groups(design, d.y, T)).df(L)
    # second differences of a deviance near 400 with h = 1e-4: some 1e-5 of rounding in the Hessian
    np.testing.assert_allclose(found, numeric_satterthwaite(d, x, entries, L), rtol=2e-4)


@pytest.mark.parametrize(("k", "kind"), [(1, FULL), (2, FULL), (3, FULL), (2, DIAGONAL), (3, BLOCKS)])
def test_one_factor_and_dense_agree(k, kind):
    d = draw(8, k, kind, groups=12, n=90, weighted=True)
    design = GroupDesign.of(d.X, d.Z, d.group, mask=d.mask, weights=d.weights)
    T = fit_one(design, d.y)[0].T[0]
    one = information_of_groups(design, d.y, T)
    many = information_of_terms(
        DenseDesign.of(d.X, [Term.of(d.Z, d.group, mask=d.mask)], d.weights), d.y, [T]
    )
    L = np.eye(3)
    # the same algebra in another order: rounding, magnified by the inverse of the information
    np.testing.assert_allclose(Satterthwaite.of(one).df(L), Satterthwaite.of(many).df(L), rtol=1e-7)
    np.testing.assert_allclose(KenwardRoger.of(one).df(L), KenwardRoger.of(many).df(L), rtol=1e-7)
    np.testing.assert_allclose(KenwardRoger.of(one).vcov, KenwardRoger.of(many).vcov, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_eliminating_the_largest_factor_changes_nothing(weighted):
    rng = np.random.default_rng(3)
    n = 250
    groups = [rng.integers(0, J, n) for J in (9, 40, 6)]
    columns = [np.ones(n), np.ones(n), rng.normal(size=n)]
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = rng.normal(size=n) + sum(z * rng.normal(size=40)[g] for z, g in zip(columns, groups, strict=True))
    w = rng.uniform(0.5, 2.0, n) if weighted else None
    terms = [Term.of(z[:, None], g) for z, g in zip(columns, groups, strict=True)]
    theta = np.array([0.7, 1.1, 0.4])
    dense = information_of_terms(DenseDesign.of(X, terms, w), y, [np.array([[t]]) for t in theta])
    sparse = information_of_scalars(X, terms, y, theta, w)
    L = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    # traces as differences over theta^2 lose a digit or two
    np.testing.assert_allclose(Satterthwaite.of(sparse).df(L), Satterthwaite.of(dense).df(L), rtol=1e-9)
    np.testing.assert_allclose(KenwardRoger.of(sparse).df(L), KenwardRoger.of(dense).df(L), rtol=1e-9)


# ---- closed forms ------------------------------------------------------------------------------------------


def balanced(groups=12, each=5, seed=1):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), each)
    arm = np.repeat(np.arange(groups) % 3, each)
    x = np.tile(np.arange(each) - (each - 1) / 2, groups)
    y = 2.0 + x + arm + 2.0 * rng.normal(size=groups)[g] + rng.normal(size=g.size)
    return pl.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in g], "arm": [f"a{i}" for i in arm]})


def test_balanced_designs_have_whole_numbers():
    """Between groups J - 3, within groups n - J - 1: one number for every method, no adjustment, no scale."""
    spec, bundle, fit = fitted("y ~ arm + x + (1 | g)", balanced())
    df = mixed_df(spec, bundle, fit)
    expected = [9.0, 9.0, 9.0, 60 - 12 - 1.0]
    np.testing.assert_allclose(df.satterthwaite(), expected, rtol=1e-6)  # the optimum is known to 1e-7 of its spread
    np.testing.assert_allclose(df.kenward_roger(), expected, rtol=1e-6)
    np.testing.assert_allclose(df.vcov_kenward_roger, fit.vcov, rtol=1e-6, atol=1e-12)
    arm = np.eye(4)[1:3]
    both = df.kenward_roger_joint(arm), df.satterthwaite_joint(arm)
    for joint in both:
        assert joint.df1 == 2
        np.testing.assert_allclose([joint.df2, joint.scale], [9.0, 1.0], rtol=1e-6)


def test_a_balanced_random_slope_counts_groups():
    spec, bundle, fit = fitted("y ~ x + (x | g)", balanced(14, 6))
    df = mixed_df(spec, bundle, fit)
    np.testing.assert_allclose(df.satterthwaite(), [13.0, 13.0], rtol=1e-5)  # as above; the slope's optimum is flatter
    np.testing.assert_allclose(df.kenward_roger(), [13.0, 13.0], rtol=1e-5)


def test_several_rows_against_lmertest(pytestconfig):
    """The last term of a type III table is the F of its own coefficients."""
    from tests.reference.adapter import load_cases

    seen = 0
    for case in load_cases(pytestconfig.getoption("reference")):
        if case.quantity != "lmer.anova":
            continue
        m = case.fitted()
        bundle, fit = m.bundle, m.fit_state
        df = mixed_df(m.spec, bundle, fit)
        last = np.flatnonzero(np.asarray(bundle.term_of_column) == max(bundle.term_of_column))
        L = np.eye(bundle.p)[last]
        for name, vcov, joint in (
            ("typeIII_satterthwaite", fit.vcov, df.satterthwaite_joint(L)),
            ("typeIII_kenward_roger", df.vcov_kenward_roger, df.kenward_roger_joint(L)),
        ):
            table = {column: values[-1] for column, values in case.values[name].items()}
            b = L @ fit.coef
            F = joint.scale * b @ np.linalg.solve(L @ vcov @ L.T, b) / joint.df1
            got = [joint.df1, joint.df2, F]
            # the cases' own tolerance: lmerTest differentiates numerically
            np.testing.assert_allclose(got, [table["NumDF"], table["DenDF"], table["F value"]], rtol=1e-3)
            seen += 1
    assert seen


def test_rows_that_say_the_same_count_once():
    spec, bundle, fit = fitted("y ~ arm + x + (1 | g)", balanced(seed=4))
    df = mixed_df(spec, bundle, fit)
    L = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, -1.0, 0.0]])
    assert df.satterthwaite_joint(L).df1 == df.kenward_roger_joint(L).df1 == 2


# ---- behaviour ---------------------------------------------------------------------------------------------


def test_at_a_singular_fit_satterthwaite_forgets_the_term():
    """As lmerTest: without variance the model is least squares; Kenward-Roger goes on counting groups."""
    frame = balanced(8, 4)
    means = frame.group_by("g", maintain_order=True).agg(pl.col("y").mean())["y"].to_numpy()
    flat = frame.with_columns(y=pl.col("y") - np.repeat(means, 4))
    spec, bundle, fit = fitted("y ~ x + (1 | g)", flat)
    assert fit.is_singular
    df = mixed_df(spec, bundle, fit)
    np.testing.assert_allclose(df.satterthwaite(), [30.0, 30.0], rtol=1e-10)
    assert df.kenward_roger()[0] < 10


def test_after_ml_it_is_reml():
    frame = balanced(seed=7)
    ml, reml = fitted("y ~ arm + x + (x | g)", frame, "ml"), fitted("y ~ arm + x + (x | g)", frame)
    # two searches for one optimum
    np.testing.assert_allclose(mixed_df(*ml).satterthwaite(), mixed_df(*reml).satterthwaite(), rtol=1e-5)
    np.testing.assert_allclose(mixed_df(*ml).vcov_reml, reml[2].vcov, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_units_change_nothing(scale):
    frame = balanced(seed=9).with_columns(x=pl.col("x") + 3.0)
    before = mixed_df(*fitted("y ~ x + (x | g)", frame))
    after = mixed_df(*fitted("y ~ x + (x | g)", frame.with_columns(x=scale * pl.col("x"), y=5.0 * pl.col("y"))))
    np.testing.assert_allclose(after.satterthwaite(), before.satterthwaite(), rtol=1e-6)
    np.testing.assert_allclose(after.kenward_roger(), before.kenward_roger(), rtol=1e-6)


def test_a_dropped_column_has_no_df():
    frame = balanced().with_columns(twice=2.0 * pl.col("x"))
    spec, bundle, fit = fitted("y ~ x + twice + (1 | g)", frame)
    df = mixed_df(spec, bundle, fit)
    assert np.isnan(df.satterthwaite()[2]) and np.isnan(df.kenward_roger()[2])
    assert np.all(np.isfinite(df.satterthwaite()[:2]))
    assert np.isnan(df.vcov_kenward_roger[2]).all()


def test_large_crossed_models_take_the_sparse_way():
    rng = np.random.default_rng(0)
    n = 1500
    a, b = rng.integers(0, 300, n), rng.integers(0, 60, n)
    frame = pl.DataFrame({
        "x": rng.normal(size=n), "a": [f"a{i}" for i in a], "b": [f"b{i}" for i in b],
        "y": rng.normal(size=n) + rng.normal(size=300)[a] + rng.normal(size=60)[b],
    })  # fmt: skip
    spec, bundle, fit = fitted("y ~ x + (1 | a) + (1 | b)", frame)
    found = mixed_df(spec, bundle, fit)
    T = bundle.re_metadata.t_matrices(fit.theta)
    terms = [Term.of(block.X_re, block.group_index) for block in bundle.re_metadata.blocks]
    dense = information_of_terms(DenseDesign.of(bundle.X, terms), bundle.y, T)
    np.testing.assert_allclose(found.satterthwaite(), Satterthwaite.of(dense).df(np.eye(2)), rtol=1e-8)
    np.testing.assert_allclose(found.kenward_roger(), KenwardRoger.of(dense).df(np.eye(2)), rtol=1e-8)


def test_the_specified_function():
    spec, bundle, fit = fitted("y ~ arm + x + (1 | g)", balanced())
    L = np.array([[0.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = compute_satterthwaite_emm_df(bundle, fit, spec, L)
    assert found.shape == (2,) and np.isnan(found[1])
    np.testing.assert_allclose(found[0], 9.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("formula", "weights"),
    [("y ~ arm + x + (x | g)", None), ("y ~ arm * x + (1 | g)", "w"), ("y ~ arm + x + (1 | g) + (0 + x | h)", "w")],
)
def test_the_specified_function_on_random_contrasts(formula, weights):
    """Against second differences of the REML deviance and first differences of (X'V^-1X)^-1, V formed in full."""
    rng = np.random.default_rng(11)
    frame = balanced(12, 8, seed=2).with_columns(
        h=pl.Series(rng.integers(0, 7, 96).astype(str)), w=pl.Series(rng.uniform(0.5, 2.0, 96))
    )
    frame = frame.with_columns(y=pl.col("y") + pl.col("x") * pl.Series(rng.normal(size=7)[frame["h"].cast(pl.Int64)]))
    spec, bundle, fit = fitted(formula, frame, weights=weights)
    re, X, y = bundle.re_metadata, bundle.X, bundle.y
    Z, noise = re.z_matrix().toarray(), np.ones(96) if weights is None else 1.0 / bundle.weights

    def covariance_at(x):
        blocks = [np.kron(np.eye(b.n_levels), T) for b, T in zip(re.blocks, re.t_matrices(x[:-1]), strict=True)]
        parts = np.split(Z, np.cumsum([b.q for b in re.blocks])[:-1], axis=1)
        V = np.diag(noise) + sum((P @ B) @ (P @ B).T for P, B in zip(parts, blocks, strict=True))
        return np.exp(2 * x[-1]) * V

    def deviance(x):
        V = covariance_at(x)
        S = X.T @ np.linalg.solve(V, X)
        e = y - X @ np.linalg.solve(S, X.T @ np.linalg.solve(V, y))
        return np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1] + e @ np.linalg.solve(V, e)

    def spread(x):
        return np.linalg.inv(X.T @ np.linalg.solve(covariance_at(x), X))

    x, h = np.append(fit.theta, np.log(fit.sigma)), 1e-4
    steps = h * np.eye(x.size)
    H = [
        [(deviance(x + a + b) - deviance(x + a - b) - deviance(x - a + b) + deviance(x - a - b)) / (4 * h * h)
         for a in steps] for b in steps
    ]  # fmt: skip
    A = 2 * np.linalg.inv(np.array(H))
    L = rng.normal(size=(5, bundle.p))
    J = [(spread(x + a) - spread(x - a)) / (2 * h) for a in steps]
    g = np.array([[row @ j @ row for j in J] for row in L])
    v = np.einsum("mp,pq,mq->m", L, spread(x), L)
    wanted = 2 * v**2 / np.einsum("mi,ij,mj->m", g, A, g)
    # second differences of a deviance near 400 with h = 1e-4: some 1e-5 of rounding in the Hessian
    np.testing.assert_allclose(compute_satterthwaite_emm_df(bundle, fit, spec, L), wanted, rtol=5e-4)


def test_refusals():
    spec, bundle = build_bundle("y ~ x", balanced())
    with pytest.raises(InferenceError, match="no random effects"):
        mixed_df(spec, bundle, fit_model(spec, bundle))
    spec, bundle, fit = fitted("y ~ x + (1 | g)", balanced())
    with pytest.raises(InferenceError, match="3 weights for 2 coefficients"):
        mixed_df(spec, bundle, fit).satterthwaite(np.ones((1, 3)))
