"""Generalized linear models: the fit."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .answer import Answer
from .case import Case
from .lm import limits_at
from .profile import glm_profile_95
from .table import column, estimable, vcov

DIVERGING = (
    "coef",
    "se",
    "stat",
    "p",
    "vcov",
    "ci_wald_normal",
    "ci_wald_t",
    "ci_profile_95",
    "pearson_chi2",
    "converged",
)
NOT_NUMBERS = {"iterations": "how many steps R took", "warnings": "R's own words"}


def glm_fit(case: Case) -> Answer:
    """``glm.fit``: the table, deviances, likelihood, fitted values and deviance residuals."""
    m = case.fitted()
    fit, kept = m.fit_state, estimable(m)
    params = m.infer().params
    info = m.diagnostics.row(0, named=True)
    estimate, se = column(params, "estimate"), column(params, "se")
    normal = bool(np.isinf(column(params, "df")[kept][0]))
    levels = case.values["ci_wald_normal"]
    values = {
        "coef": estimate,
        "se": se[kept],
        "stat": column(params, "statistic")[kept],
        "stat_name": "z" if normal else "t",
        "p": column(params, "p_value")[kept],
        "vcov": vcov(m),
        "dispersion": fit.dispersion,
        "deviance": fit.deviance,
        "null_deviance": fit.null_deviance,
        "df_resid": fit.df_resid,
        "df_null": fit.df_null,
        "AIC": info["aic"],
        "BIC": info["bic"],
        "logLik": info["loglik"],
        "logLik_df": fit.n_params,
        "nobs": info["nobs"],
        "pearson_chi2": info["pearson_chi2"],
        "fitted_first6": fit.fitted[:6],
        "dev_resid_first6": column(m.influence, "deviance_resid")[:6],
        "converged": bool(fit.converged),
        "ci_wald_normal" if normal else "ci_wald_t": limits_at(m, levels),
    }
    if not normal:  # R's confint.default: the normal quantile whatever the reference of the table
        q = {level: ndtri([(1 - float(level)) / 2, (1 + float(level)) / 2]) for level in levels}
        values["ci_wald_normal"] = {level: estimate[:, None] + se[:, None] * q[level] for level in levels}
    if "ci_profile_95" in case.values and not case.separated:
        values["ci_profile_95"] = glm_profile_95(case, m)
    apart = dict(NOT_NUMBERS)
    if case.separated and fit.messages:  # the product must have said so itself
        apart |= {f: "the coefficients diverge; where they stop is chance" for f in DIVERGING}
    return Answer({f: v for f, v in values.items() if f in case.values and f not in apart}, apart=apart)
