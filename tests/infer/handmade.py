"""Specs, bundles and fits built by textbook formulas, so that inference is tested apart from formula and fit."""

from __future__ import annotations

import numpy as np

from inference_core.families import get_family, with_params
from inference_core.states import DataBundle, FitState, ModelSpec, RankInfo


def make_spec(family="gaussian", link="identity", **changes):
    return ModelSpec(formula="y ~ x", response_var="y", fixed_terms=("x",), family=family, link=link, **changes)


def make_bundle(X, y, *, names=None, weights=None, offset=None, trials=None, factor_levels=None, kept=None, **changes):
    n, p = X.shape
    names = tuple(f"b{j}" for j in range(p)) if names is None else tuple(names)
    kept = np.arange(p) if kept is None else np.asarray(kept)
    dropped = np.setdiff1d(np.arange(p), kept)
    return DataBundle(
        y=y, X=X, X_names=names, term_of_column=np.arange(p) - 1, source_terms=names[1:], y_name="y",
        n_total=changes.pop("n_total", n), valid_mask=changes.pop("valid_mask", np.ones(n, bool)),
        rank_info=RankInfo(len(kept), kept, dropped, tuple(names[j] for j in dropped)),
        weights=weights, offset=offset, trials=trials, factor_levels=factor_levels or {}, **changes,
    )  # fmt: skip


def fit_by_newton(spec, bundle, family_params=(), steps=60):
    """Fisher scoring to the last digit: slow, short, and independent of the package's solvers."""
    family = with_params(get_family(spec.family, spec.link), family_params)
    kept = bundle.rank_info.kept
    X, y = bundle.X[:, kept], bundle.y
    n, p = X.shape
    prior = np.ones(n) if bundle.prior_weights is None else bundle.prior_weights
    offset = np.zeros(n) if bundle.offset is None else bundle.offset
    beta = np.linalg.lstsq(X, family.link.link(family.initialize(y, prior)) - offset, rcond=None)[0]
    for _ in range(steps):
        s, w = family.score_weight(X @ beta + offset, y)
        beta = beta + np.linalg.solve(X.T @ (X * (prior * w)[:, None]), X.T @ (prior * s))
    eta = X @ beta + offset
    s, w = family.score_weight(eta, y)
    weight = prior * w
    unscaled = np.linalg.inv(X.T @ (X * weight[:, None]))
    df = float(np.count_nonzero(prior) - p)
    dispersion = family.dispersion_from(y, eta, prior, df)
    coef, vcov = np.full(bundle.p, np.nan), np.full((bundle.p, bundle.p), np.nan)
    coef[kept], vcov[np.ix_(kept, kept)] = beta, dispersion * unscaled
    mu = family.link.inverse(eta)
    return FitState(
        coef=coef, vcov=vcov, fitted=mu, eta=eta, residuals=y - mu, working_weights=weight,
        leverage=weight * np.einsum("ij,jk,ik->i", X, unscaled, X), df_resid=df, rank=p,
        sigma=float(np.sqrt(dispersion)),
        dispersion=dispersion, deviance=float("nan"), null_deviance=float("nan"), df_null=n - 1.0,
        loglik=float("nan"), n_params=p, family_params=tuple(family_params),
    )  # fmt: skip


def linear(seed=0, n=25, p=3, **changes):
    """A random linear model: (spec, bundle, fit)."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    y = X @ rng.normal(size=p) + rng.normal(size=n) * (1 + np.abs(X[:, -1]))
    bundle = make_bundle(X, y, **changes)
    return make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=2)


GLMS = [
    ("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("poisson", "log"), ("poisson", "sqrt"),
    ("gamma", "inverse"), ("gamma", "log"), ("inverse_gaussian", "log"), ("gaussian", "log"),
]  # fmt: skip


def generalized(family, link, seed=0, n=60, weights=None, offset=None):
    """A random generalized linear model with responses the family allows: (spec, bundle, fit)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=n)
    X = np.column_stack([np.ones(n), x])
    start = {"inverse": (1.0, 0.4), "log": (1.0, 0.3), "sqrt": (2.0, 0.5)}.get(link, (0.2, 0.6))
    mu = get_family(family, link).link.inverse(X @ np.array(start))
    y = {
        "binomial": lambda: (rng.uniform(size=n) < mu).astype(float),
        "poisson": lambda: rng.poisson(mu).astype(float),
        "gamma": lambda: rng.gamma(4.0, mu / 4.0),
        "inverse_gaussian": lambda: rng.wald(mu, 20.0),
        "gaussian": lambda: mu + 0.3 * rng.normal(size=n),
    }[family]()
    spec, bundle = make_spec(family, link), make_bundle(X, y, weights=weights, offset=offset)
    return spec, bundle, fit_by_newton(spec, bundle)
