"""Marginal means, trends and contrasts: emmeans' calls, read from the case, in the words of ``explore``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy import special

from .answer import Answer
from .case import Case
from .joint import joint_values
from .table import column

LABELS = frozenset({"contrast", "estimate_column", "r_notes", "note", "1"})  # R's spelling of what the rows are
METHODS = {
    "pairwise": "pairwise", "revpairwise": "revpairwise", "trt.vs.ctrl": "treatment", "consec": "sequential",
    "poly": "poly", "eff": "sum",
}  # fmt: skip
ADJUSTMENTS = ("none", "tukey", "bonferroni", "holm", "fdr", "sidak", "scheffe")
ERRORS = {"kenward-roger": "kenward-roger", "satterthwaite": "iid", "asymptotic": "iid"}


@dataclass
class Call:
    """One R call as arguments of ``explore`` and ``infer``; ``side`` what emmeans itself does beside them."""

    text: str
    explore: dict[str, Any] = field(default_factory=dict)
    infer: dict[str, Any] = field(default_factory=dict)
    normal: bool = False  # R was asked for the normal reference


def emmeans(case: Case) -> Answer:
    """``emmeans``: each named call of the case but the joint tests and tests with a margin."""
    m = case.fitted()
    values: dict[str, Any] = {}
    apart = {}
    for name, call in zip(case.terms, case.raw["r_call"][1:], strict=True):
        wanted = case.values[name]
        if "joint" in call:
            if _curved_model(m):
                apart[name] = "emmeans compares a number one unit above and below its mean; poly() bends between them"
            else:
                values[name] = joint_values(m, call, wanted)
            continue
        if "delta =" in call:
            values[name] = _equivalence(m, call, case)
        elif (number := _curved(call, case, m)) is not None:
            values[name] = _difference_quotient(m, call, case, number, wanted)
        else:
            values[name] = _answer(m, read_call(call, case), wanted)
    labels = {key for table in case.values.values() for key in table if re.search(r"_(pairwise|poly)$", key)}
    return Answer(values, inputs=LABELS | labels, apart=apart)


def _curved_model(m) -> bool:
    return any(operand.kind == "basis" for operand in m.bundle.design_state.operands)


def _curved(call: str, case: Case, m) -> str | None:
    """The number of a trend that is no straight line: there emtrends has a difference quotient, and we a derivative."""
    found = re.search(r"var = '(\w+)'", call)
    if found is None:
        return None
    straight = any(operand.column == found.group(1) for operand in m.bundle.design_state.operands)
    return None if straight and "regrid" not in call else found.group(1)


def _difference_quotient(m, call: str, case: Case, number: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """(f(x + h) - f(x)) / h with h = 0.001 of the range, as emtrends takes it, from our own contrasts."""
    asked = read_call(call, case)
    values = m.data[number].cast(float).to_numpy()
    h = 0.001 * float(np.ptp(values))
    at = re.search(r"slope\(\w+@\[([^\]]*)\]\)", asked.text)
    points = [float(v) for v in at.group(1).split(",")] if at else [float(values.mean())]
    conditions = asked.text.partition("~")[2]
    tables = []
    for x in points:
        m.explore(f"pairwise({number}@[{x + h!r}, {x!r}]) ~ {conditions}", **asked.explore | {"how": "mem"})
        tables.append(m.infer(**asked.infer).effects)
        slope = m.explore(f"slope({number}@{x!r}) ~ {conditions}", **asked.explore | {"how": "mem"}).effects["estimate"]
        # The derivative itself lies within h of the quotient, on the scale of the curve.
        assert np.allclose(slope, tables[-1]["estimate"] / h, rtol=10 * h / np.ptp(values), atol=0)
    table = pl.concat(tables)
    found = _columns(table, wanted)
    per_unit = {name: found[name] / h for name in (wanted["estimate_column"], "SE", "lower.CL", "upper.CL")}
    labels = {name: _like(table[name].to_list(), wanted[name]) for name in table.columns if name in wanted}
    if number in wanted:
        labels[number] = np.repeat(points, len(tables[0]))
    return {name: value for name, value in (found | per_unit | labels).items() if name in wanted}


def _equivalence(m, call: str, case: Case) -> dict[str, Any]:
    """Two one-sided tests at -delta and delta; R shows the larger p-value, and its t."""
    asked = read_call(call.replace("test(", "", 1), case)
    delta = float(re.search(r"delta = ([\d.]+)", call).group(1))
    m.explore(asked.text, **asked.explore)
    above = m.infer(null=-delta, alternative="greater").effects
    below = m.infer(null=delta, alternative="less").effects
    estimate, se = column(above, "estimate"), column(above, "se")
    return {
        "estimate": estimate, "SE": se, "df": column(above, "df"), "t.ratio": (np.abs(estimate) - delta) / se,
        "p.value": np.maximum(column(above, "p_value"), column(below, "p_value")),
    }  # fmt: skip


def contrasts(case: Case) -> Answer:
    """``emmeans.contrasts``: one factor, every method, every adjustment that both sides have."""
    m = case.fitted()
    factor = re.search(r"~ (\w+)", case.raw["r_call"][1]).group(1)
    errors = _errors(case.raw["r_call"][1])
    levels = [str(v) for v in case.values["emm"][factor]]
    values: dict[str, Any] = {"emm": _answer(m, Call(factor, {}, errors), case.values["emm"])}
    for name, tables in case.values.items():
        if name == "emm":
            continue
        text = _contrast_text(name.replace("_", "."), factor, levels)
        values[name] = {}
        for adjustment, table in tables.items():
            if adjustment not in ADJUSTMENTS or (adjustment == "tukey" and "pairwise" not in name):
                continue
            if adjustment == "scheffe" and name == "eff":  # k effects span k - 1 dimensions; R's table counts k
                continue
            values[name][adjustment] = _answer(m, Call(text, {"p_adjust": adjustment}, errors), table)
    reason = "adjustments that only emmeans has, and Tukey where it quietly becomes another"
    return Answer(values, inputs=LABELS, apart=dict.fromkeys(case.values, reason))


def _contrast_text(name: str, factor: str, levels: list[str]) -> str:
    quoted = [f'"{level}"' for level in levels]
    if name == "trt.vs.ctrl.last":
        return f"treatment({factor}, ref = {quoted[-1]})"
    if name == "del.eff":
        others = [" + ".join(q for q in quoted if q != one) for one in quoted]
        return f"{factor}[" + ", ".join(f"{q} - ({o})" for q, o in zip(quoted, others, strict=True)) + "]"
    return f"{METHODS[name]}({factor})"


def read_call(call: str, case: Case) -> Call:
    """An R call of emmeans, emtrends, pairs or contrast."""
    explore: dict[str, Any] = {"effect_scale": "link"}
    infer = _errors(call)
    match = re.search(r"~ ([\w* |]+)", call)
    focal, _, by = (part.strip() for part in match.group(1).partition("|"))
    names = [name.strip() for name in focal.split("*")]
    at = dict(re.findall(r"(\w+) = c\(([^)]*)\)", call.split("at = list(")[1])) if "at = list(" in call else {}
    by = re.search(r"by = '(\w+)'", call).group(1) if "by = '" in call and "at = list(" in call else by

    def spelled(name: str) -> str:
        return f"{name}@[{at[name]}]" if name in at else name

    if adjust := re.search(r"adjust = '(\w+)'", call):
        explore["p_adjust"] = adjust.group(1)
    elif call.startswith("test(pairs("):
        explore["p_adjust"] = "tukey"
    if weights := re.search(r"weights = '(\w+)'", call):
        explore["weights"] = weights.group(1)
    cells = ":".join(spelled(name) for name in names)
    compared = "pairs(" in call or "contrast(" in call
    if variable := re.search(r"var = '(\w+)'", call):
        number = variable.group(1)
        conditions = [spelled(name) for name in (*names, by) if name and name not in ("1", number)]
        text = f"slope({spelled(number)})" if number in at else number
        if "regrid = 'response'" in call:
            explore |= {"effect_scale": "response", "how": "mem"}
        if compared:
            conditions[0] = f"pairwise({conditions[0]})"
        return Call(text + (" ~ " + " + ".join(conditions) if conditions else ""), explore, infer, _is_normal(call))
    text = cells
    if compared:
        text = _compared(call, names, cells)
    if by:
        text += f" ~ {spelled(by)}"
    if "type = 'response'" in call:
        explore["effect_scale"] = "response"
        if compared:
            explore["comparison"] = "odds_ratio" if case.family == "binomial" else "ratio"
    if "regrid" in call:
        explore["effect_scale"] = "response"
        if "regrid = 'response'" in call:
            explore["average_on"] = "response"
    if null := re.search(r"null = ([\d.]+)", call):
        infer["null"] = float(null.group(1))
    if "side = '>'" in call:
        infer["alternative"] = "greater"
    return Call(text, explore, infer, _is_normal(call))


def _compared(call: str, names: list[str], cells: str) -> str:
    if "interaction = c(" in call:
        methods = re.findall(r"'(\w+)'", call.split("interaction = c(")[1].split(")")[0])
        return ":".join(f"{METHODS[method]}({name})" for method, name in zip(methods, names, strict=True))
    if "interaction = '" in call:
        method = METHODS[re.search(r"interaction = '(\w+)'", call).group(1)]
        return ":".join(f"{method}({name})" for name in names)
    named = re.search(r"\), '([\w.]+)'", call)
    return f"{METHODS[named.group(1)] if named else 'pairwise'}({cells})"


def _errors(call: str) -> dict[str, Any]:
    if "vcovHC" in call:
        return {"errors": re.search(r"'(HC\d)'", call).group(1)}
    found = re.search(r"lmer.df = '([\w-]+)'", call)
    return {"errors": ERRORS[found.group(1)]} if found else {}


def _is_normal(call: str) -> bool:
    return "lmer.df = 'asymptotic'" in call


def _answer(m, asked: Call, wanted: dict[str, Any]) -> dict[str, Any]:
    """The columns of R's table from ours, in R's order, which is also ours; labels are R's."""
    m.explore(asked.text, **asked.explore).infer(**asked.infer)
    table = m.effects
    found = _columns(table, wanted)
    if asked.explore.get("p_adjust") == "tukey":
        found["p.value"] = _as_far_as_ptukey(found["p.value"], np.asarray(wanted["p.value"], float))
    if asked.normal:
        found |= _with_normal_reference(found, wanted, asked)
    if "null" in wanted:
        found["null"] = np.broadcast_to(m.state.mee.inference.null, len(table))
    labels = {name: _like(table[name].to_list(), wanted[name]) for name in table.columns if name in wanted}
    labels.pop("contrast", None)
    if "coefmat" in wanted:
        labels["coefmat"] = m.state.mee.L @ np.linalg.pinv(_means(m, asked))
    return labels | {name: value for name, value in found.items() if name in wanted}


def _columns(table: pl.DataFrame, wanted: dict[str, Any]) -> dict[str, Any]:
    """R's names for the columns of ours."""
    name = wanted.get("estimate_column", "emmean" if "emmean" in wanted else "estimate")
    return {
        name: column(table, "estimate"), "SE": column(table, "se"), "df": column(table, "df"),
        "lower.CL": column(table, "ci_lower"), "upper.CL": column(table, "ci_upper"),
        "t.ratio": column(table, "statistic"), "z.ratio": column(table, "statistic"),
        "p.value": column(table, "p_value"),
    }  # fmt: skip


def _as_far_as_ptukey(ours: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """R's ptukey is good to some 2e-12 absolutely, ours relatively (tests/marginal); below 1e-6 R's error shows."""
    return np.where((wanted < 1e-6) & (np.abs(ours - wanted) < 5e-12), wanted, ours)


def _means(m, asked: Call) -> np.ndarray:
    """(levels, p) rows of the means that the contrasts compare."""
    factor = re.search(r"\((\w+)|^(\w+)\[", asked.text)
    return m.explore(factor.group(1) or factor.group(2)).state.mee.L


def _like(ours: list[str], wanted: list[Any]) -> list[Any]:
    """Our labels as numbers where R has numbers."""
    return ours if isinstance(wanted[0], str) else [float(v) for v in ours]


def _with_normal_reference(found: dict[str, Any], wanted: dict[str, Any], asked: Call) -> dict[str, Any]:
    """lmer.df = 'asymptotic' is a wish that only R has; its estimates and standard errors are ours to match."""
    z = found["z.ratio"]
    normal = {"df": np.full(len(z), np.inf)}
    if asked.explore.get("p_adjust", "none") != "none":
        return normal | {name: wanted[name] for name in ("p.value", "lower.CL", "upper.CL")}
    estimate, se = found[wanted["estimate_column"]], found["SE"]
    q = special.ndtri(0.975)
    return normal | {
        "p.value": 2 * special.ndtr(-np.abs(z)), "lower.CL": estimate - q * se, "upper.CL": estimate + q * se
    }  # fmt: skip

