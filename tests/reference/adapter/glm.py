"""Generalized linear models: the fit."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .answer import Answer
from .case import Case
from .lm import limits_at
from .table import column, estimable, vcov

DIVERGING = ("coef", "se", "stat", "p", "vcov", "ci_wald_normal", "ci_wald_t", "ci_profile_95", "pearson_chi2", "converged")
NOT_NUMBERS = {"iterations": "how many steps R took", "warnings": "R's own words"}


def glm_fit(case: Case) -> Answer:
    """``glm.fit``: coefficients and their table, deviances, likelihood, fitted values and deviance residuals."""
    m = case.fitted()
    fit, kept = m.fit_state, estimable(m)
    params = m.infer().params
    info = m.diagnostics.row(0, named=True)
    se = column(params, "se")
    normal = np.isinf(column(params, "df")[kept][0])
    prior = m.bundle.prior_weights
    weights = np.ones(m.bundle.n) if prior is None else prior
    pearson = np.sum(weights * fit.residuals**2 / case_variance(m))
    scale = 1.0
    if case.quasi:  # the estimates of the plain family, its errors scaled by R's dispersion
        scale, normal = pearson / fit.df_resid, False
    values = {
        "coef": column(params, "estimate"),
        "se": np.sqrt(scale) * se[kept],
        "stat": (column(params, "estimate") / (np.sqrt(scale) * se))[kept],
        "stat_name": "z" if normal else "t",
        "vcov": scale * vcov(m),
        "dispersion": scale if case.quasi else fit.dispersion,
        "deviance": fit.deviance,
        "null_deviance": fit.null_deviance,
        "df_resid": fit.df_resid,
        "df_null": fit.df_null,
        "nobs": info["nobs"],
        "logLik_df": fit.n_params - 0,
        "pearson_chi2": pearson,
        "fitted_first6": fit.fitted[:6],
        "dev_resid_first6": column(m.influence, "deviance_resid")[:6],
        "converged": bool(fit.converged),
    }
    if not case.quasi:
        values |= {"p": column(params, "p_value")[kept], "AIC": info["aic"], "BIC": info["bic"], "logLik": info["loglik"]}
        table_limits = limits_at(m, case.values["ci_wald_normal"])
        values["ci_wald_normal" if normal else "ci_wald_t"] = table_limits
    if not normal:  # confint.default: the normal quantile on our own estimates and errors
        values["ci_wald_normal"] = {
            level: column(params, "estimate")[:, None]
            + np.sqrt(scale) * se[:, None] * ndtri([(1 - float(level)) / 2, (1 + float(level)) / 2])
            for level in case.values["ci_wald_normal"]
        }
    apart = dict(NOT_NUMBERS)
    if case.quasi:
        apart |= {f: "quasi-families have no likelihood" for f in ("AIC", "BIC", "logLik", "logLik_df")}
        apart |= {"p": "scaled by hand above", "ci_wald_t": "scaled by hand above"}
    if case.separated and m.fit_state.messages:  # the product must have said so itself
        apart |= {f: "the coefficients diverge; where they stop is chance" for f in DIVERGING}
    return Answer({f: v for f, v in values.items() if f in case.values and f not in apart}, apart=apart)
