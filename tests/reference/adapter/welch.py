"""Welch's test as the slope of a treatment-coded linear model with ``errors="unequal_var"``."""

from __future__ import annotations

import numpy as np
import polars as pl

from .answer import Answer
from .case import Case
from .lm import limits_at
from .table import column, limits

WELCH = {"errors": "unequal_var"}


def welch_two_group(case: Case) -> Answer:
    """``welch.two_group``: the second level against the first."""
    m = case.fitted()
    two, less, greater = (m.infer(alternative=a, **WELCH).params for a in ("two-sided", "less", "greater"))
    null = m.infer(null=case.values["null"], **WELCH).params
    pooled = m.infer().params
    groups = _groups(case)
    values = {
        "estimate": column(two, "estimate")[1],
        "se": column(two, "se")[1],
        "df": column(two, "df")[1],
        "t": column(two, "statistic")[1],
        "p_two_sided": column(two, "p_value")[1],
        "p_greater": column(greater, "p_value")[1],
        "p_less": column(less, "p_value")[1],
        "ci": {level: both[1] for level, both in limits_at(m, case.values["ci"], **WELCH).items()},
        "group_mean": groups["estimate"],
        "group_var": groups["se"] ** 2 * (groups["df"] + 1),
        "group_n": groups["df"] + 1,
        "pooled": {
            "se": column(pooled, "se")[1],
            "df": column(pooled, "df")[1],
            "t": column(pooled, "statistic")[1],
            "p": column(pooled, "p_value")[1],
        },
        "t_null": column(null, "statistic")[1],
        "p_null": column(null, "p_value")[1],
    }
    return Answer(values, inputs=frozenset({"null"}))


def welch_k_group(case: Case) -> Answer:
    """``welch.k_group``: every pair of levels, by making each level the baseline in turn."""
    levels = _levels(case)
    names = ("estimate", "se", "df", "statistic", "p_value")
    pairs: dict[str, list] = {name: [] for name in ("contrast", "estimate", "se", "df", "t", "p", "lo", "hi")}
    for i, base in enumerate(levels[:-1]):
        table = _relevelled(case, base).infer(**WELCH).params
        # After the baseline the other levels keep their order: the j-th level sits at row j for every j > i.
        for j in range(i + 1, len(levels)):
            pairs["contrast"].append(f"{levels[j]} - {base}")
            for name, short in zip(names, ("estimate", "se", "df", "t", "p"), strict=True):
                pairs[short].append(column(table, name)[j])
            pairs["lo"].append(limits(table)[j, 0])
            pairs["hi"].append(limits(table)[j, 1])
    groups = _groups(case)
    joint = case.fitted().infer(how="joint", **WELCH).effects.row(0, named=True)
    oneway = {"F": joint["statistic"], "df1": joint["df1"], "df2": joint["df2"], "p": joint["p_value"]}
    means = {"mean": groups["estimate"], "se_mean": groups["se"], "df_mean": groups["df"]}
    return Answer({"pairs": pairs, "oneway": oneway, **means})


def _groups(case: Case) -> dict[str, np.ndarray]:
    """Each group's mean, its standard error and df: the intercept, with that group as the baseline."""
    first = [_relevelled(case, base).infer(**WELCH).params.row(0, named=True) for base in _levels(case)]
    return {name: np.array([row[name] for row in first]) for name in ("estimate", "se", "df")}


def _group_column(case: Case) -> str:
    return case.raw["model"]["formula"].split("~", 1)[1].strip()


def _levels(case: Case) -> list[str]:
    return list(case.schema[_group_column(case)]["levels"])


def _relevelled(case: Case, base: str):
    name = _group_column(case)
    order = [base, *(level for level in _levels(case) if level != base)]
    return case.fitted(case.frame.with_columns(pl.col(name).cast(pl.String).cast(pl.Enum(order))))
