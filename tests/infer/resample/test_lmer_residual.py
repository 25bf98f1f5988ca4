"""Residual and wild draws of linear mixed models: their moments in closed form, their refits, their refusals."""

import pickle
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from inference_core.errors import InferenceError
from inference_core.fit import fit_lmer
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.infer.resample.lmer_kernel import LmerKernel
from inference_core.infer.resample.lmer_residual import ResidualDraws, reflated
from inference_core.infer.resample.lmer_wild import WildDraws
from inference_core.infer.resample.stream import open_stream
from inference_core.infer.resample.whole_groups import WholeGroups
from inference_core.rng import RNG
from inference_core.solvers.lmm.clusters import adjusted_residuals

from .scenes_lmer import CROSSED, MODELS, fitted, statistics

SCHEMES = ("residual", "wild")


def stream_of(m, scheme, seed=11, **options):
    return open_stream("boot", scheme, *m, seed=seed, **options)


@pytest.fixture(scope="module")
def models():
    return {name: fitted(**ask) for name, ask in {**MODELS, "crossed": CROSSED}.items()}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", MODELS)
def test_batched_refits_equal_single_fits(models, name, scheme):
    spec, bundle, fit = m = models[name]
    stream = stream_of(m, scheme)
    draws = stream.collect(20)
    assert draws.n_failed == 0
    assert len(stream.names) == draws.samples.shape[1] == (bundle.p if scheme == "wild" else len(stream.observed))
    se = np.nanmax(np.sqrt(np.diag(fit.vcov)))
    for i in (0, 19):
        alone = statistics(spec, replace(bundle, y=draws.draw(i)))[: len(stream.names)]
        # a replicate stops at a decrement of 1e-8: T is within 1e-6 of its spread, and near 0 a root of 1e-8
        np.testing.assert_allclose(draws.samples[i, : bundle.p], alone[: bundle.p], atol=1e-5 * se, rtol=1e-7)
        np.testing.assert_allclose(draws.samples[i, bundle.p :], alone[bundle.p :], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_slices_growth_workers_and_pickles_leave_every_draw(models, scheme):
    m = models["slopes"]
    whole = stream_of(m, scheme).collect(900)
    np.testing.assert_array_equal(stream_of(m, scheme).batch(505, 520).samples, whole.samples[505:520])
    np.testing.assert_array_equal(stream_of(m, scheme).collect(300, start=600, n_jobs=2).samples, whole.samples[600:])
    copied = pickle.loads(pickle.dumps(stream_of(m, scheme)))
    np.testing.assert_array_equal(copied.batch(5, 6).samples, whole.samples[5:6])
    assert not np.array_equal(stream_of(m, scheme, seed=12).batch(0, 1).samples, whole.samples[:1])


@pytest.mark.parametrize("name", [*MODELS, "crossed"])
def test_what_residual_draws_come_from_has_the_spread_of_the_model(models, name):
    """Means 0; covariance of the effects sigma^2 T T', mean square of the noise sigma^2: exactly."""
    spec, bundle, fit = models[name]
    draws = ResidualDraws.of(LmerKernel.of(spec, bundle, fit), fit)
    for pool, T in zip(draws.effects, bundle.re_metadata.t_matrices(fit.theta), strict=True):
        wanted = fit.sigma**2 * T @ T.T
        np.testing.assert_allclose(pool.mean(0), 0, atol=1e-9 * np.sqrt(wanted.max() + 1e-300))
        np.testing.assert_allclose(pool.T @ pool / len(pool), wanted, rtol=1e-9, atol=1e-12 * wanted.max())
    assert draws.noise.mean() == pytest.approx(0, abs=1e-12 * fit.sigma)
    assert np.mean(draws.noise**2) == pytest.approx(fit.sigma**2, rel=1e-12)


def test_reflation_is_that_of_the_source(models):
    """b A with A = (L_R L_S^-1)', L_S and L_R the Cholesky factors of both covariances."""
    _, bundle, fit = models["slopes"]
    (b,) = bundle.re_metadata.split_effects(fit.b)
    (T,) = bundle.re_metadata.t_matrices(fit.theta)
    centred = b - b.mean(0)
    L_S = np.linalg.cholesky(centred.T @ centred / len(b))
    L_R = np.linalg.cholesky(fit.sigma**2 * T @ T.T)
    expected = centred @ (L_R @ np.linalg.inv(L_S)).T
    (u,) = bundle.re_metadata.split_effects(fit.u)
    found = reflated(np.asarray(u), T, fit.sigma, "Subject")
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)  # y units, effects of 1 to 60


def test_a_singular_covariance_is_restored_where_there_is_one():
    rng = np.random.default_rng(0)
    T = np.array([[2.0, 0.0], [-1.0, 0.0]])  # effects tied to each other
    u = np.column_stack([rng.standard_normal(9), np.zeros(9)])  # its modes lie in the span of T'
    pool = reflated(u, T, 1.5, "g")
    np.testing.assert_allclose(pool.T @ pool / 9, 1.5**2 * T @ T.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(reflated(u, np.zeros((2, 2)), 1.5, "g"), 0)
    with pytest.raises(InferenceError, match="2 groups of g span less"):
        reflated(rng.standard_normal((2, 2)), np.array([[2.0, 0.0], [0.3, 1.0]]), 1.0, "g")


@pytest.mark.parametrize("tied", [False, True])
def test_effects_follow_the_units_of_their_column(tied):
    """A column times 1e10: its effects are 1e10 times smaller, the other's and their rank what they were."""
    rng = np.random.default_rng(1)
    T = np.array([[2.0, 0.0], [-1.0, 0.0 if tied else 0.5]])
    u = rng.standard_normal((9, 2)) * [1.0, 0.0 if tied else 1.0]
    Z = np.column_stack([np.ones(40), rng.standard_normal(40)])
    units = np.array([1.0, 1e10])
    before, after = reflated(u, T, 1.5, "g", Z=Z), reflated(u, T / units[:, None], 1.5, "g", Z=Z * units)
    np.testing.assert_allclose(after * units, before, rtol=1e-10, atol=1e-12)


def test_moments_of_residual_responses(models):
    """Mean X beta; covariance of the model, up to the noise being one pool: sigma^2 (Z T T' Z' + 1/w)."""
    spec, bundle, fit = models["weights and offset"]
    B, draws = 20_000, ResidualDraws.of(LmerKernel.of(spec, bundle, fit), fit)
    Y = draws.simulate(RNG.from_seed(5), 0, B) - bundle.X @ fit.coef
    Z = bundle.re_metadata.z_matrix().toarray()
    L = np.kron(np.eye(10), bundle.re_metadata.t_matrices(fit.theta)[0])
    V = fit.sigma**2 * (Z @ L @ L.T @ Z.T + np.diag(1 / bundle.weights))
    assert np.abs(Y.mean(0) / np.sqrt(np.diag(V) / B)).max() < 4.5  # 120 rows
    kurtosis = (Y**4).mean(0) / (Y**2).mean(0) ** 2
    assert np.abs((Y.var(0) / np.diag(V) - 1) / np.sqrt((kurtosis - 1) / B)).max() < 4.5
    errors = np.sqrt(2 * np.outer(np.diag(V), np.diag(V)) * kurtosis.max() / B)  # a bound of every covariance's
    assert np.abs((Y.T @ Y / B - V) / errors).max() < 5


@pytest.mark.parametrize("name", ["slopes", "weights and offset", "nested", "rows of weight 0"])
def test_adjusted_residuals_by_brute_force(models, name):
    """A_j e_j with n_j x n_j matrices: A = D'(D (V - X M X') D')^+1/2 D, D'D = V, in rows scaled by root weights."""
    spec, bundle, fit = models[name]
    kernel = LmerKernel.of(spec, bundle, fit)
    problem = kernel.problem
    groups = WholeGroups.outermost(problem, "")
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    Z = bundle.re_metadata.z_matrix().toarray()[slice(None) if problem.rows is None else problem.rows]
    L = [np.kron(np.eye(b.n_levels), T) for b, T in zip(bundle.re_metadata.blocks, kernel.T, strict=True)]
    root = np.sqrt(w)[:, None]
    start, V, Z, Xs = 0, np.eye(problem.n), root * Z, root * problem.X
    for part in L:
        half = Z[:, start : start + len(part)] @ part
        V, start = V + half @ half.T, start + len(part)
    e = root[:, 0] * (problem.y - problem.X @ kernel.beta)
    M = np.linalg.inv(Xs.T @ np.linalg.solve(V, Xs))
    found = root[:, 0] * WildDraws.of(kernel, fit, groups).residual
    for j in range(groups.J):
        rows = groups.rows(j)
        D = np.linalg.cholesky(V[np.ix_(rows, rows)]).T
        X = Xs[rows]
        values, U = np.linalg.eigh(D @ (D.T @ D - X @ M @ X.T) @ D.T)
        good = values > 1e-10 * values.max()
        A = D.T @ (U[:, good] / np.sqrt(values[good])) @ U[:, good].T @ D
        np.testing.assert_allclose(found[rows], A @ e[rows], rtol=1e-6, atol=1e-7 * np.abs(e).max())


def test_wild_draws_have_the_covariance_of_cr2(models):
    """With V held, b* - b = M sum s_j X_j'V_j^-1 A_j e_j: its covariance is the CR2 one, exactly and over the signs."""
    _, bundle, fit = m = models["slopes"]
    stream = stream_of(m, "wild")
    Y = np.array([stream.response_of(i) for i in range(400)]) - bundle.X @ fit.coef
    Z = bundle.re_metadata.z_matrix().toarray()
    L = np.kron(np.eye(18), bundle.re_metadata.t_matrices(fit.theta)[0])
    V = Z @ L @ L.T @ Z.T + np.eye(bundle.n)
    M = np.linalg.inv(bundle.X.T @ np.linalg.solve(V, bundle.X))
    gls = np.linalg.solve(V, Y.T).T @ bundle.X @ M
    vcov = cluster_robust(*m, "CR2").vcov
    apart = (gls.T @ gls / 400 - vcov) / np.sqrt((np.outer(np.diag(vcov), np.diag(vcov)) + vcov**2) / 400)
    assert np.abs(apart).max() < 4.5
    np.testing.assert_array_equal(np.abs(Y).round(9), np.abs(Y[0]).round(9)[None].repeat(400, 0))  # signs alone
    flipped = np.sign(Y[:, ::10] * Y[0, ::10])
    assert np.abs(flipped[1:].mean(0)).max() < 4 / np.sqrt(399)


def test_adjusted_residuals_of_a_cluster_that_fixes_a_column_are_finite():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(7), 4)
    frame = pl.DataFrame({"y": rng.standard_normal(28), "x": rng.standard_normal(28), "g": g})
    frame = frame.with_columns(only=pl.when(pl.col("g") == 2).then(1.0).otherwise(0.0))
    m = fitted("y ~ x + only + (1 | g)", frame)
    draws = stream_of(m, "wild").collect(100)
    assert draws.n_failed == 0 and np.isfinite(draws.samples).all()


def test_degrees_of_freedom_of_expanded_limits(models):
    from inference_core.fit.mixed_df import mixed_df

    m = models["slopes"]
    cluster = open_stream("boot", "cluster", *m)
    np.testing.assert_array_equal(cluster.df_of_limits(), [17, 17, np.inf, np.inf, np.inf, np.inf])
    assert cluster.inflation == 18 / 17
    np.testing.assert_allclose(stream_of(m, "residual").df_of_limits()[:2], mixed_df(*m).satterthwaite())
    np.testing.assert_array_equal(stream_of(m, "wild").df_of_limits(), [17, 17])
    assert stream_of(m, "residual").inflation == stream_of(m, "wild").inflation == 1.0


@pytest.mark.parametrize("scheme", ["parametric", "cluster", "residual", "wild"])
@pytest.mark.parametrize("name", ["slopes", "weights and offset", "nested"])
def test_standard_errors_of_draws_are_those_of_their_fits(models, name, scheme):
    from inference_core.infer.resample.lmer_cluster import ClusterKernel

    spec, bundle, fit = m = models[name]
    draws = open_stream("boot", scheme, *m, seed=3, want_se=True).collect(9)
    if scheme != "cluster":
        for i in (0, 8):
            alone = fit_lmer(spec, replace(bundle, y=draws.draw(i)))
            np.testing.assert_allclose(draws.se[i, : bundle.p], np.sqrt(np.diag(alone.vcov)), rtol=1e-4)  # T to 1e-6
    else:
        kernel = open_stream("boot", scheme, *m, want_se=True).kernel
        assert isinstance(kernel, ClusterKernel)
        whole = kernel.refit(np.ones((1, kernel.groups.J)))
        np.testing.assert_allclose(whole[2][0, : bundle.p], np.sqrt(np.diag(fit.vcov)), rtol=1e-4)
        assert (draws.se[:, : bundle.p] > 0).all()
    assert np.isnan(draws.se[:, bundle.p :]).all()


def test_refusals(models):
    with pytest.raises(InferenceError, match="g, h are crossed"):
        stream_of(models["crossed"], "wild")
    assert stream_of(models["crossed"], "residual").collect(3).n_failed == 0
    few = MODELS["nested"]["data"].filter(pl.col("school") < 4)
    with pytest.raises(InferenceError, match="4 groups; fewer than 5"):
        stream_of(fitted("y ~ x + (1 | school)", few), "wild")
    with pytest.raises(InferenceError, match="standard errors of the model itself"):
        stream_of(models["slopes"], "residual", errors="CR2")
    with pytest.raises(InferenceError, match=r"no fixed effects[\s\S]*scheme='parametric'"):
        stream_of(fitted("y ~ 0 + (1 | school)", MODELS["nested"]["data"]), "wild")


def test_adjustment_is_the_identity_without_fixed_effects():
    rng = np.random.default_rng(1)
    from inference_core.solvers.lmm.dense import Term

    g = np.repeat(np.arange(6), 3)
    e = rng.standard_normal(18)
    none = np.zeros((18, 0))
    found = adjusted_residuals(none, [Term.of(np.ones((18, 1)), g)], [np.ones((1, 1))], e, g, np.zeros((0, 0)))
    np.testing.assert_allclose(found, e, rtol=1e-12, atol=1e-12)
