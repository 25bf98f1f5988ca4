"""Inference for linear mixed models: degrees of freedom, cluster-robust errors."""

from __future__ import annotations

import re
from typing import Any

from inference_core.fit.mixed_df import mixed_df
from inference_core.infer.cluster_robust import cluster_robust

from .answer import Answer
from .case import Case
from .table import column, limits


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


def _table(params) -> dict[str, Any]:
    names = {"estimate": "estimate", "se": "se", "df": "df", "t": "statistic", "p": "p_value"}
    return {ours: column(params, name) for ours, name in names.items()} | {"ci95": limits(params)}
