"""Predictions at new rows: R's ``predict`` with its limits, in the words of ``predict`` and ``infer``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .answer import Answer
from .case import Case
from .table import column


def lm_predict(case: Case) -> Answer:
    """``lm.predict``: confidence and prediction limits; R gives a new row of a weighted fit the weight 1."""
    m = case.fitted()
    weights = None if m.bundle.weights is None else 1.0
    m.predict(_rows(case), weights=weights)
    sides = (("confidence", "ci"), ("prediction", "pi"))
    levels = {name: _limits_at(m, case.values[name], side) for name, side in sides}
    table = m.infer().predictions
    values = {
        "fit": column(table, "fitted"), "se": column(table, "se"), "df": m.state.pred.df[0],
        "residual_scale": m.fit_state.sigma, **levels,
    }  # fmt: skip
    return Answer(values, inputs=frozenset({"newdata"}))


def glm_predict(case: Case) -> Answer:
    """``glm.predict``: both scales; limits of the response are those of the link scale, transformed."""
    m = case.fitted()
    m.predict(_rows(case), type="link")
    at_link = _limits_at(m, case.values["ci_link"], "ci")
    link = m.infer().predictions
    normal = bool(np.all(np.isinf(np.asarray(m.state.pred.df))))
    m.predict(_rows(case))
    at_response = _limits_at(m, case.values["ci_response_from_link"], "ci")
    response = m.infer().predictions
    values = {
        "link": column(link, "fitted"), "link_se": column(link, "se"), "response": column(response, "fitted"),
        "response_se_delta": column(response, "se"), "residual_scale": np.sqrt(m.fit_state.dispersion),
        "crit": "normal" if normal else "t(df.residual)", "ci_link": at_link, "ci_response_from_link": at_response,
        # Limits that may leave 0 to 1 are never shown; their parts are.
        "ci_response_delta": {
            level: column(response, "fitted")[:, None]
            + column(response, "se")[:, None] * (limits - column(link, "fitted")[:, None]) / column(link, "se")[:, None]
            for level, limits in at_link.items()
        },
    }  # fmt: skip
    return Answer(values, inputs=frozenset({"newdata"}))


def mixed_predict(case: Case) -> Answer:
    """``lmer.predict``, ``glmer.predict``: the population and the rows' own groups, new ones at 0."""
    m = case.fitted()
    rows = _rows(case)
    population = m.predict(rows, type="link").infer().predictions
    own = m.predict(rows, type="link", varying="include", allow_new_levels=True).predictions
    own_of_data = m.predict(varying="include").predictions
    values: dict[str, Any] = {
        "population": column(population, "fitted"), "population_se": column(population, "se"),
        "conditional": column(own, "fitted"), "fitted_first10": column(own_of_data, "fitted")[:10],
    }  # fmt: skip
    if "population_response" in case.values:
        values["population_response"] = column(m.predict(rows).predictions, "fitted")
        again = m.predict(rows, varying="include", allow_new_levels=True).predictions
        values["conditional_response"] = column(again, "fitted")
    return Answer(values, inputs=frozenset({"newdata"}))


def _rows(case: Case) -> dict[str, Any]:
    return dict(case.values["newdata"])


def _limits_at(m, levels: dict[str, Any], side: str) -> dict[str, np.ndarray]:
    out = {}
    for level in levels:
        table = m.infer(conf_level=float(level)).predictions
        out[level] = np.column_stack([column(table, f"{side}_lower"), column(table, f"{side}_upper")])
    return out
