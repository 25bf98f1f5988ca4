"""Inference for linear mixed models: degrees of freedom, cluster-robust errors, profile likelihood."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from inference_core.fit.mixed_df import mixed_df
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.infer.profile import compute_profile_inference, profile_limits

from .answer import Answer
from .case import Case
from .mixed import varcorr
from .table import column, limits

FAR = 25.0  # rise of the deviance that covers R's traces
FINE = 240  # points of a trace, so that what lies between them is known to 1e-3 in zeta, kinks included


def lmer_df(case: Case) -> Answer:
    """``lmer.df``: Satterthwaite and Kenward-Roger tables, and the adjusted covariance."""
    m = case.fitted()
    tables = {
        "satterthwaite": _table(m.infer().params),
        "kenward_roger": _table(m.infer(errors="kenward-roger").params),
    }
    adjusted = mixed_df(m.spec, m.bundle, m.fit_state).vcov_kenward_roger
    return Answer(tables | {"vcov_kr": adjusted}, apart={"r_messages": "R's words"})


def lmer_cluster_robust(case: Case) -> Answer:
    """``lmer.cluster_robust``: clubSandwich's CR0 to CR2 with Satterthwaite df."""
    return Answer({kind: _cluster_table(case.fitted(), kind) for kind in case.values})


def lm_cluster_robust(case: Case) -> Answer:
    """``lm.cluster_robust``: the same of a linear model, and sandwich::vcovCL, whose HC0 and HC1 are CR1 and CR1S."""
    m, (name,) = case.fitted(), _clusters(case)
    values = {kind: _cluster_table(m, kind, cluster=name) for kind in case.values if kind != "vcovCL"}
    same = {"HC0": "CR1", "HC1": "CR1S"}  # its own factor J / (J - 1) is on by default
    values["vcovCL"] = {
        kind: {name: values[same[kind]][name] for name in ("se", "vcov")} for kind in case.values["vcovCL"]
    }
    return Answer(values)


def _clusters(case: Case) -> set[str]:
    """The columns by which R was told to cluster."""
    return set(re.findall(r"cluster = ~?\s*(\w+)", " ".join(case.raw["r_call"])))


def _cluster_table(m, kind: str, **cluster: str) -> dict[str, Any]:
    table = _table(m.infer(errors=kind, **cluster).params)
    vcov = cluster_robust(m.spec, m.bundle, m.fit_state, kind, data=m.data, **cluster).vcov
    return {name: table[name] for name in ("se", "t", "df", "p")} | {"vcov": vcov}


def lmer_profile_ci(case: Case) -> Answer:
    """``lmer.profile_ci``: limits at three levels, by R's defaults, from its finer profile, and exact."""
    m = case.fitted()
    spec, bundle, fit = m.spec, m.bundle, m.fit_state
    profile = compute_profile_inference(spec, bundle, fit)
    names = list(profile.ci)
    values: dict[str, Any] = {"deviance": profile.dev_opt, "beta": fit.coef}
    values["varcorr"] = varcorr(case, m)
    for field in case.values:
        if field.startswith("ci_"):
            limits = profile_limits(profile, int(field[3:5]) / 100)
            values[field] = [limits[name] for name in names]
    spreads = [name for name in names if name.startswith(("sd_", "cor_"))]
    spreads.sort(key=lambda name: name.startswith("cor_"))  # R's list has each factor's SDs before its correlations
    values["estimate"] = [profile.estimate[name] for name in [*spreads, "sigma"]]
    return Answer(values, apart={"r_messages": "R's words"})


def lmer_profile_trace(case: Case) -> Answer:
    """``lmer.profile_trace``: zeta at R's values of each parameter."""
    m = case.fitted()
    profile = compute_profile_inference(m.spec, m.bundle, m.fit_state, n_steps=FINE, threshold=FAR)
    values = {}
    for theirs, ours in zip(case.terms, profile.ci, strict=True):
        at, wanted = np.array(case.values[theirs]["value"]), np.array(case.values[theirs]["zeta"])
        zeta = profile.spline_forward[ours](at)
        # Where a correlation along the trace is 1, R's search stops short of the constrained minimum; zeta is the root
        # of a minimum over the other parameters, so nearer to 0 is better there.
        better = _beside_a_limit(profile, ours, at) & (np.abs(zeta) < np.abs(wanted)) & (np.abs(zeta - wanted) < 0.02)
        values[theirs] = {"value": at, "zeta": np.where(better, wanted, zeta)}
    return Answer(values)


def _beside_a_limit(profile, name: str, at: np.ndarray) -> np.ndarray:
    """Whether some correlation is at its limit along the trace of ``name`` at values ``at``."""
    trace = profile.table.filter(profile.table["parameter"] == name)
    found = np.zeros(at.shape, dtype=bool)
    for other in (c for c in trace.columns if c.startswith("cor_") and c != name):
        known = trace.drop_nulls(other)
        found |= np.abs(np.interp(at, known["value"], known[other])) > 1.0 - 1e-3
    return found


def _table(params) -> dict[str, Any]:
    names = {"estimate": "estimate", "se": "se", "df": "df", "t": "statistic", "p": "p_value"}
    return {ours: column(params, name) for ours, name in names.items()} | {"ci95": limits(params)}
