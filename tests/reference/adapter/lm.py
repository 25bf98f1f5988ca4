"""Linear models: the fit, tests against other nulls and in one direction, influence."""

from __future__ import annotations

import numpy as np

from inference_core.infer.bootstrap import compute_jackknife_coefs

from .answer import Answer
from .case import Case
from .table import column, estimable, limits, vcov


def lm_fit(case: Case) -> Answer:
    """``lm.fit``: the coefficient table, its limits at three levels, and R's summary of the model."""
    m = case.fitted()
    kept = estimable(m)
    params = m.infer().params
    info = m.diagnostics.row(0, named=True)
    values = {
        "coef": column(params, "estimate"),
        "nonaliased": [case.terms[j] for j in kept],
        "se": column(params, "se")[kept],
        "t": column(params, "statistic")[kept],
        "p": column(params, "p_value")[kept],
        "vcov": vcov(m),
        "sigma": info["sigma"],
        "df_resid": info["df_resid"],
        "rank": m.fit_state.rank,
        "nobs": info["nobs"],
        "ci": limits_at(m, case.values["ci"]),
        "logLik": info["loglik"],
        "logLik_df": m.fit_state.n_params,
        "AIC": info["aic"],
        "BIC": info["bic"],
        "rss": m.fit_state.deviance,
        "r2": info["r2"],
        "adj_r2": info["adj_r2"],
        "X_colsums": m.bundle.X.sum(axis=0),
        "X_colsumsq": (m.bundle.X**2).sum(axis=0),
        "rows_dropped": m.bundle.n_total - m.bundle.n,
    }
    if isinstance(case.values.get("F"), dict):
        values["F"] = {
            "F": info["f_statistic"],
            "df1": info["f_df1"],
            "df2": info["f_df2"],
            "p": info["f_p_value"],
        }
    return Answer(values, apart={"F": "R has no F for a model of the mean alone"})


def limits_at(m, levels, **options) -> dict[str, np.ndarray]:
    """Confidence limits of all terms at every level a case names ("0.90", ...)."""
    return {level: limits(m.infer(conf_level=float(level), **options).params) for level in levels}


def lm_nulls(case: Case) -> Answer:
    """``lm.tests_null_onesided``: a null value per coefficient, and both one-sided alternatives."""
    m = case.fitted()
    kept = estimable(m)
    null = np.zeros(m.bundle.p)
    null[kept] = case.values["h0"]
    tables = {side: m.infer(null=null, alternative=side).params for side in ("two-sided", "less", "greater")}
    values = {
        "df": column(tables["two-sided"], "df")[kept][0],
        "t": column(tables["two-sided"], "statistic")[kept],
        "p_two_sided": column(tables["two-sided"], "p_value")[kept],
        "p_less": column(tables["less"], "p_value")[kept],
        "p_greater": column(tables["greater"], "p_value")[kept],
        "lower95_greater": column(tables["greater"], "ci_lower")[kept],
        "upper95_less": column(tables["less"], "ci_upper")[kept],
    }
    return Answer(values, inputs=frozenset({"h0"}))


def lm_influence(case: Case) -> Answer:
    """``lm.influence``: leverages, scaled residuals, Cook's distance, DFFITS, leave-one-out fits, PRESS."""
    m = case.fitted()
    rows = m.influence
    hat = column(rows, "hat")
    values = {
        "hat": hat,
        "rstandard": column(rows, "std_resid"),
        "rstudent": column(rows, "student_resid"),
        "cooks": column(rows, "cooks_d"),
        "dffits": column(rows, "dffits"),
        "loo_coef": compute_jackknife_coefs(m.spec, m.bundle)[:, estimable(m)],
        "press": np.sum((column(rows, "resid") / (1 - hat)) ** 2),
    }
    return Answer(values)
