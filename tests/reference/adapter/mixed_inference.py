"""Inference for linear mixed models: degrees of freedom, cluster-robust errors, profile likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_df import mixed_df
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.infer.coefficient import coefficient_inference
from inference_core.infer.profile import compute_profile_inference, profile_limits

from .answer import Answer
from .case import Case
from .mixed import Fitted, bundle_of, varcorr

FAR = 25.0  # rise of the deviance that covers R's traces
FINE = 240  # points of a trace, so that what lies between them is known to 1e-3 in zeta, kinks included


def lmer_df(case: Case) -> Answer:
    """``lmer.df``: Satterthwaite and Kenward-Roger tables, and the adjusted covariance."""
    spec, bundle = bundle_of(case)
    fit = fit_lmer(spec, bundle)
    df = mixed_df(spec, bundle, fit)
    tables = {
        "satterthwaite": _table(fit.coef, fit.vcov, df.satterthwaite()),
        "kenward_roger": _table(fit.coef, df.vcov_kenward_roger, df.kenward_roger()),
    }
    return Answer(tables | {"vcov_kr": df.vcov_kenward_roger}, apart={"r_messages": "R's words"})


def lmer_cluster_robust(case: Case) -> Answer:
    """``lmer.cluster_robust``: clubSandwich's CR0 to CR2 with Satterthwaite df."""
    spec, bundle = bundle_of(case)
    fit = fit_lmer(spec, bundle)
    values = {}
    for kind in case.values:
        robust = cluster_robust(spec, bundle, fit, kind)
        table = _table(fit.coef, robust.vcov, robust.df())
        values[kind] = {name: table[name] for name in ("se", "t", "df", "p")} | {"vcov": robust.vcov}
    return Answer(values)


def lmer_profile_ci(case: Case) -> Answer:
    """``lmer.profile_ci``: limits at three levels, by R's defaults, from its finer profile, and exact."""
    spec, bundle = bundle_of(case)
    fit = fit_lmer(spec, bundle)
    profile = compute_profile_inference(spec, bundle, fit)
    names = list(profile.ci)
    values: dict[str, Any] = {"deviance": profile.dev_opt, "beta": fit.coef}
    values["varcorr"] = varcorr(case, Fitted(bundle, fit))
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
    spec, bundle = bundle_of(case)
    profile = compute_profile_inference(spec, bundle, fit_lmer(spec, bundle), n_steps=FINE, threshold=FAR)
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


def _table(coef: np.ndarray, vcov: np.ndarray, df: np.ndarray) -> dict[str, Any]:
    se = np.sqrt(np.diagonal(vcov))
    table = coefficient_inference(coef, se, df, 0.95, 0.0, "two-sided")
    return {
        "estimate": coef, "se": se, "df": df, "t": table.statistic, "p": table.p_value,
        "ci95": np.column_stack([table.ci_lower, table.ci_upper]),
    }  # fmt: skip
