"""Refits to drawn clusters, and to responses made of drawn or flipped residuals: deterministic once these are known."""

from __future__ import annotations

import re

import numpy as np

from inference_core.infer.resample.lm_operators import build_lm_coefficient_operator

from .answer import Answer
from .case import Case
from .table import column


def cluster_bootstrap_refits(case: Case) -> Answer:
    """``resample.cluster_bootstrap_refits``: whole clusters, and each cluster left out, as counts of rows."""
    found = re.search(r"whole clusters of (\w+)", case.raw["r_call"][-1])
    assert found, case.raw["r_call"]
    levels = [str(level) for level in case.values["cluster_levels"]]
    labels = [str(label) for label in case.frame[found[1]]]
    member = np.array([[label == level for label in labels] for level in levels], float)  # (J, n)
    m, drawn = case.fitted(), case.index_matrix()
    kernel = m.draw_stream().kernel
    times = np.array([np.bincount(row, minlength=len(levels)) for row in drawn], float)
    coef = kernel.refit(times @ member)[0]
    values = {
        "t0": m.fit_state.coef,
        "coef": coef,
        "sd": coef.std(axis=0, ddof=1),
        "jackknife_cluster_coef": kernel.refit(1.0 - member)[0],
    }
    return Answer(values, inputs=frozenset({"cluster_levels"}))


def residual_wild_bootstrap(case: Case) -> Answer:
    """``resample.residual_wild_bootstrap``: four kinds of new responses around one fit."""
    m = case.fitted()
    fit, rows, signs = m.fit_state, case.index_matrix(), case.index_matrix("sign")
    free = 1.0 - column(m.influence, "hat")
    centred = fit.residuals / np.sqrt(free)
    centred = centred - centred.mean()
    refit = build_lm_coefficient_operator(m.bundle.X, method="qr")
    responses = {
        "residual": fit.fitted + fit.residuals[rows],
        "residual_leverage": fit.fitted + centred[rows],
        "wild": fit.fitted + signs * fit.residuals,
        "wild_hc3": fit.fitted + signs * (fit.residuals / free),
    }
    coef = {name: np.asarray(refit(Y.T)).T for name, Y in responses.items()}
    sd = {name: value.std(axis=0, ddof=1) for name, value in coef.items()}
    return Answer({"t0": fit.coef, **coef, "sd": sd})
