"""Heteroscedasticity-consistent errors of lm and glm."""

from __future__ import annotations

import numpy as np

from inference_core.infer.sandwich import sandwich_vcov

from .answer import Answer
from .case import Case
from .table import column, estimable, limits


def robust_errors(case: Case) -> Answer:
    """``lm.hc`` and ``glm.hc``: one table per kind that the case holds."""
    m = case.fitted()
    kept = estimable(m)
    values: dict = {"hat": m.fit_state.leverage}
    if "df" in case.values:
        values["df"] = m.fit_state.df_resid
    for kind, wanted in case.values.items():
        if not isinstance(wanted, dict):
            continue
        table = m.infer(errors=kind).params
        values[kind] = {
            "vcov": sandwich_vcov(m.spec, m.bundle, m.fit_state, kind)[np.ix_(kept, kept)],
            "se": column(table, "se")[kept],
        }
        statistic = "t" if "t" in wanted else "z"
        values[kind][statistic] = column(table, "statistic")[kept]
        # R's coeftest was asked for the normal even where the dispersion is estimated; our table then uses t.
        if statistic == "t" or np.all(np.isinf(column(table, "df")[kept])):
            values[kind]["p"] = column(table, "p_value")[kept]
        if "ci95" in wanted:
            values[kind]["ci95"] = limits(table)[kept]
    return Answer(values, apart={kind: "R used the normal where we use t" for kind in values if kind.startswith("HC")})
