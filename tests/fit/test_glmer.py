"""Generalized linear mixed models through a bundle: what is said, what is refused, and laws of the whole fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle
from inference_core.errors import DataError, FitError
from inference_core.families import default_link, get_family
from inference_core.fit.glm import fit_glm
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.solvers.glmm.fit import hessian

J, M = 24, 8


def frame(seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = J * M
    group = np.repeat(np.arange(J), M)
    x = rng.normal(size=n)
    effect = 0.7 * rng.normal(size=J)[group]
    mu = np.exp(0.8 + 0.4 * x + effect)
    size = rng.integers(1, 9, n)
    p = 1 / (1 + np.exp(-(0.2 + 0.6 * x + effect)))
    return pl.DataFrame({
        "g": [f"g{j:02d}" for j in group], "h": [f"h{j}" for j in rng.integers(0, 5, n)], "x": x,
        "row": [f"r{i:03d}" for i in range(n)], "size": size, "hits": rng.binomial(size, p),
        "hit": (rng.random(n) < p).astype(int), "count": rng.poisson(mu), "spread": rng.poisson(rng.gamma(2, mu / 2)),
        "time": rng.gamma(4, mu / 4), "coin": (rng.random(n) < 0.5).astype(int), "above": (x > 0).astype(int),
        "exposure": rng.uniform(0.5, 3, n), "w": np.where(np.arange(n) % 7 == 0, 0.0, 1.0),
    })  # fmt: skip


def fit(formula, family, data=None, n_agq=1, link=None, **options):
    data = frame() if data is None else data
    spec, bundle = build_bundle(formula, data, family=family, link=link or default_link(family), **options)
    return spec, bundle, fit_glmer(spec, bundle, n_agq=n_agq)


def test_three_ways_to_write_a_proportion():
    data = frame().with_columns(share=pl.col("hits") / pl.col("size"))
    _, _, a = fit("cbind(hits, size - hits) ~ x + (1 | g)", "binomial", data)
    _, _, b = fit("share ~ x + (1 | g)", "binomial", data, weights="size")
    rows = [dict(r, hit2=int(i < r["hits"])) for r in data.to_dicts() for i in range(r["size"])]
    _, _, c = fit("hit2 ~ x + (1 | g)", "binomial", pl.DataFrame(rows))
    np.testing.assert_allclose(b.coef, a.coef, rtol=1e-7)  # the same sums
    assert b.loglik == pytest.approx(a.loglik, rel=1e-10)
    np.testing.assert_allclose(c.coef, a.coef, rtol=1e-6)  # one row a trial: the same likelihood but for constants
    np.testing.assert_allclose(c.theta, a.theta, rtol=1e-5)


def test_offset_moves_only_the_intercept():
    data = frame().with_columns(shift=pl.lit(1.5))
    _, _, a = fit("count ~ x + (1 | g)", "poisson", data)
    _, _, b = fit("count ~ x + offset(shift) + (1 | g)", "poisson", data)
    np.testing.assert_allclose(b.coef, a.coef - [1.5, 0.0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(b.fitted, a.fitted, rtol=1e-6)
    np.testing.assert_allclose(b.fitted_marginal, a.fitted_marginal, rtol=1e-6)


@pytest.mark.parametrize(("y", "family", "link"), [("hit", "binomial", None), ("time", "gamma", "log")])
def test_rows_of_weight_zero_are_not_there(y, family, link):
    data = frame()
    # the whole of g03 weighs nothing: its level stays, at its prior
    data = data.with_columns(w=pl.when(pl.col("g") == "g03").then(0.0).otherwise(pl.col("w")))
    _, bundle, a = fit(f"{y} ~ x + (1 | g)", family, data, link=link, weights="w")
    _, _, b = fit(f"{y} ~ x + (1 | g)", family, data.filter(pl.col("w") > 0), link=link)
    np.testing.assert_allclose(a.coef, b.coef, rtol=1e-6)
    assert (a.loglik, a.df_resid) == (pytest.approx(b.loglik, rel=1e-10), b.df_resid)
    at = bundle.re_metadata.blocks[0].levels.index("g03")
    assert a.b[at] == 0.0
    sd = a.theta[0] * a.sigma
    assert a.cond_var[0][at, 0, 0] == pytest.approx(sd**2, rel=1e-12)
    assert np.all(a.leverage[data["w"].to_numpy() == 0] == 0)
    assert np.all(np.isfinite(a.fitted))


@pytest.mark.parametrize(("y", "family", "link"), [
    ("hit", "binomial", "logit"), ("count", "poisson", "log"), ("time", "gamma", "log"),
    ("time", "inverse_gaussian", "log"), ("spread", "negative_binomial", "log"), ("time", "gaussian", "log"),
])  # fmt: skip
def test_every_family_settles(y, family, link):
    _, bundle, f = fit(f"{y} ~ x + (1 | g)", family, link=link)
    assert f.converged and not f.messages
    size = np.sqrt(np.diag(np.linalg.inv(f.hessian)))
    assert np.max(np.abs(f.gradient) * size) < 1e-4  # decrement below 1e-8 deviance units
    assert f.n_params == 2 + 1 + (family not in ("binomial", "poisson"))
    assert f.loglik == pytest.approx(-0.5 * f.criterion)
    np.testing.assert_allclose(f.residuals, bundle.y - f.fitted)
    # b of a level is T u, and the modes are shrunk: their spread is below the SD
    np.testing.assert_allclose(f.b, f.theta[0] * f.u, rtol=1e-10)
    assert np.std(f.b) < 1.2 * f.theta[0] * f.sigma
    assert 0 < np.sum(f.leverage) < 2 + J


def test_without_variance_between_groups_it_is_the_glm():
    for seed in range(1, 30):
        spec, bundle, f = fit("coin ~ x + (1 | g)", "binomial", frame(seed))
        if f.is_singular:
            break
    assert any(m.startswith("singular fit: the SD of (Intercept) by g is 0") for m in f.messages)
    plain = fit_glm(spec, bundle)
    np.testing.assert_allclose(f.coef, plain.coef, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.diag(f.vcov), np.diag(plain.vcov), rtol=1e-4)
    assert f.loglik == pytest.approx(plain.loglik, abs=1e-7)


def test_quadrature_is_counted_from_the_saturated_model():
    """As lme4 does: -2 log-likelihood less that of the saturated model; Laplace has every constant."""
    _, bundle, laplace = fit("cbind(hits, size - hits) ~ x + (1 | g)", "binomial")
    _, _, fine = fit("cbind(hits, size - hits) ~ x + (1 | g)", "binomial", n_agq=20)
    family = get_family("binomial")
    saturated = float(family.loglik(bundle.y, bundle.y, bundle.prior_weights, None, bundle.trials))
    # 0.5: what Laplace loses on 192 rows in 24 groups
    assert fine.criterion - 2 * saturated == pytest.approx(laplace.criterion, abs=0.5)
    _, _, gamma = fit("time ~ x + (1 | g)", "gamma", link="log", n_agq=20)
    _, _, rough = fit("time ~ x + (1 | g)", "gamma", link="log")
    assert gamma.criterion == pytest.approx(rough.criterion, abs=0.5)  # a dispersion has no saturated model


def test_an_effect_for_every_row_takes_up_overdispersion():
    _, bundle, f = fit("spread ~ x + (1 | g) + (1 | row)", "poisson")
    assert f.converged
    assert [b.group_name for b in bundle.re_metadata.blocks] == ["row", "g"]
    _, _, nb = fit("spread ~ x + (1 | g)", "negative_binomial")
    np.testing.assert_allclose(f.coef[1], nb.coef[1], atol=2 * np.sqrt(nb.vcov[1, 1]))
    assert len(f.cond_var) == 2 and f.cond_var[0].shape == (J * M, 1, 1)


def test_nested_is_crossed_with_the_interaction():
    _, _, a = fit("count ~ x + (1 | g/h)", "poisson")
    data = frame().with_columns(gh=pl.concat_str(["g", "h"], separator=":"))
    _, _, b = fit("count ~ x + (1 | gh) + (1 | g)", "poisson", data)
    np.testing.assert_allclose(a.coef, b.coef, rtol=1e-7)
    assert a.criterion == pytest.approx(b.criterion, rel=1e-10)


def test_counts_without_extra_spread_are_poisson():
    """With variance below the mean theta has no finite estimate: the fit says so, and is the Poisson's."""
    rng = np.random.default_rng(4)
    data = frame().with_columns(even=pl.Series(np.rint(5 + rng.uniform(-1, 1, J * M)).astype(int)))
    _, _, f = fit("even ~ x + (1 | g)", "negative_binomial", data)
    _, _, p = fit("even ~ x + (1 | g)", "poisson", data)
    assert f.converged
    assert f.loglik == pytest.approx(p.loglik, abs=1e-3)  # theta is held at 1e6: terms of order mean / theta
    np.testing.assert_allclose(f.coef, p.coef, rtol=1e-4, atol=1e-5)
    assert any("spreads no more than a Poisson" in m for m in f.messages)


def test_separation_is_said():
    _, _, f = fit("above ~ x + (1 | g)", "binomial")
    assert not f.converged
    assert any(m.startswith('complete separation: x sorts "above" perfectly') for m in f.messages)


def test_refits_start_from_the_state():
    """What a state stores brings back the solver's optimum: refits of other responses are fits of them."""
    for family, y, link in (
        ("binomial", "hit", "logit"), ("gamma", "time", "log"), ("negative_binomial", "spread", "log"),
    ):  # fmt: skip
        spec, bundle, f = fit(f"{y} ~ x + (1 | g)", family, link=link)
        problem = glmer_problem(spec, bundle)
        optimum = problem.optimum(f)
        found = problem.solver.evaluate(optimum.x[None], optimum.u[None])
        np.testing.assert_allclose(found.gradient[0], optimum.gradient, atol=1e-5)
        np.testing.assert_allclose(found.u[0], optimum.u, atol=1e-7)
        H = hessian(problem.solver, optimum.x, optimum.u, np.linalg.inv(optimum.hessian))
        # the same differences of the gradient, at steps that follow another guess
        np.testing.assert_allclose(optimum.hessian, H, rtol=1e-4, atol=1e-5 * np.max(np.abs(H)))
        other = frame(2)
        Y = np.stack([bundle.y, other[y].to_numpy().astype(float)])
        lanes = problem.refit(f, Y, tol=1e-12)
        np.testing.assert_allclose(lanes.beta[0], f.coef, rtol=1e-5, atol=1e-6)
        data = frame().with_columns(other[y])
        _, _, again = fit(f"{y} ~ x + (1 | g)", family, data, link=link)
        np.testing.assert_allclose(lanes.beta[1], again.coef, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(lanes.theta[1], again.theta * again.sigma, rtol=1e-3)


def test_a_start_changes_nothing():
    spec, bundle, f = fit("count ~ x + (x | g)", "poisson")
    again = fit_glmer(spec, bundle, start=f)
    np.testing.assert_allclose(again.coef, f.coef, rtol=1e-6)
    assert again.n_iter <= f.n_iter


def test_no_fixed_effects():
    _, _, f = fit("hit ~ 0 + (1 | g)", "binomial")
    assert f.converged and f.coef.shape == (0,)


def test_a_dropped_column_is_nan():
    data = frame().with_columns(x2=2 * pl.col("x"))
    _, _, f = fit("hit ~ x + x2 + (1 | g)", "binomial", data)
    assert np.isnan(f.coef[2]) and np.all(np.isnan(f.vcov[2]))
    assert np.isfinite(f.coef[:2]).all()
    assert any("x2" in m for m in f.messages)


@pytest.mark.parametrize(("formula", "family", "n_agq", "said"), [
    ("hit ~ x + (x | g)", "binomial", 5, "needs one random effect a group; this model has 2 effects a group"),
    ("hit ~ x + (1 | g) + (1 | h)", "binomial", 5, "this model has several grouping factors"),
    ("hit ~ x + (1 | g)", "binomial", -1, "nAGQ is a whole number from 0 to 100"),
    ("hit ~ x + (1 | g)", "binomial", 1.5, "nAGQ is a whole number from 0 to 100"),
    ("hit ~ x + (1 | g)", "quasibinomial", 1, "families of mixed models are binomial, poisson"),
    ("x ~ hit + (1 | g)", "tdist", 1, "families of mixed models are binomial, poisson"),
    ("x ~ hit + (1 | g)", "gaussian", 1, "that is a linear mixed model"),
    ("time ~ x + (1 | row)", "gamma", 1, "192 levels of row in 192 rows"),
])  # fmt: skip
def test_refusals(formula, family, n_agq, said):
    with pytest.raises(FitError, match=said):
        fit(formula, family, n_agq=n_agq)


def test_shares_without_trials_are_said_with_a_way_that_mixed_models_have():
    data = frame().with_columns(share=0.37 * pl.col("hit"))
    _, _, f = fit("share ~ x + (1 | g)", "binomial", data)
    (said,) = (m for m in f.messages if "no whole number of successes" in m)
    assert "weights=" in said and "quasibinomial" not in said


def test_impossible_responses_are_refused():
    with pytest.raises(DataError):
        fit("x ~ hit + (1 | g)", "poisson")


def test_a_model_without_random_terms_is_refused():
    spec, bundle = build_bundle("hit ~ x", frame(), family="binomial", link="logit")
    with pytest.raises(FitError, match="no random terms"):
        fit_glmer(spec, bundle)
