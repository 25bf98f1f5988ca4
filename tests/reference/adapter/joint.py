"""Joint tests: emmeans' joint_tests, R's anova and car's Anova, from ``infer(how="joint")``."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from scipy import special

from .answer import Answer
from .case import Case
from .table import column

DENOMINATORS = {"satterthwaite": "iid", "kenward_roger": "kenward-roger"}


def joint_values(m, call: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """A table of ``joint_tests``; R prints F to three digits and df to two, its p-values are whole."""
    errors = {"errors": "kenward-roger"} if "kenward-roger" in call else {}
    if "pairs(" in call or "by = " in call:
        factor, by = re.search(r"~ (\w+) \| (\w+)", call).groups() if "|" in call else _by(call, m)
        m.explore(f"pairwise({factor}) ~ {by}").infer(how="joint", **errors)
        table = m.effects
        labels = {by: [name.split(" = ")[1] for name in table["term"]]} if by in wanted else {}
        if "model term" in wanted:
            labels["model term"] = [name.split("(")[1].split(")")[0] for name in table["term"]]
    else:
        if m.state.last_op == "explore":
            m.fit()
        table = m.infer(how="joint", **errors).effects
        labels = {"model term": table["term"].to_list()}
    df1, df2, p = (column(table, name) for name in ("df1", "df2", "p_value"))
    chi_square = np.isinf(df2)
    f = np.where(chi_square, column(table, "statistic") / df1, column(table, "statistic"))
    if m.spec.is_lmer:
        df2, p = _first_contrast(m, table["term"].to_list(), f, df1, "asymptotic" in call, errors)
    found = {"df1": df1, "df2": np.round(df2, 2), "F.ratio": np.round(f, 3), "p.value": p}
    return labels | {name: value for name, value in found.items() if name in wanted}


def _first_contrast(m, terms: list[str], f, df1, normal: bool, errors: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """emmeans refers a term's F to the df of its first contrast; ours to Fai and Cornelius', which lmerTest has.

    Ours are compared in ``lmer.anova``; here the df of the contrast, also ours, shows that F and rows agree.
    """
    numbers = {o.text for o in m.bundle.design_state.operands if o.kind == "number"}
    df2 = []
    for term in terms:
        parts = term.split(":")
        factors = [part for part in parts if part not in numbers]
        compared = ":".join(f"sequential({name})" for name in factors)
        slope = [part for part in parts if part in numbers]
        text = (slope[0] + (f" ~ {compared}" if compared else "")) if slope else compared
        df2.append(np.inf if normal else m.explore(text).infer(**errors).effects["df"][0])
    df2 = np.array(df2)
    return df2, np.where(np.isinf(df2), special.chdtrc(df1, f * df1), special.fdtrc(df1, np.minimum(df2, 1e12), f))


def _by(call: str, m) -> tuple[str, str]:
    by = re.search(r"by = '(\w+)'", call).group(1)
    return next(name for name in m.bundle.source_terms if name != by and ":" not in name), by


def lm_anova(case: Case) -> Answer:
    """``lm.anova``: types I and II; III where the codings make car's answer the usual one."""
    m = case.fitted()
    sigma2 = m.fit_state.sigma**2
    values = {}
    for name, ss_type in (("type1", "I"), ("type2", "II"), ("type3", "III")):
        if name == "type3" and not _balanced_codings(case):
            continue
        table = m.infer(how="joint", ss_type=ss_type).effects
        wanted = case.values[name]
        f, df = column(table, "statistic"), column(table, "df1")
        rest = {"Sum Sq": sigma2 * m.fit_state.df_resid, "Df": m.fit_state.df_resid, "Mean Sq": sigma2}
        found = {"Sum Sq": f * df * sigma2, "Df": df, "Mean Sq": f * sigma2, "F value": f,
                 "Pr(>F)": column(table, "p_value")}  # fmt: skip
        values[name] = _rows(wanted, table["term"].to_list(), found, rest)
    reason = "car's type III tests coefficients in the coding used; ours balances factors whatever the coding"
    return Answer(values, inputs=frozenset({"term"}), apart={"type3": reason})


def glm_anova(case: Case) -> Answer:
    """``glm.anova``: deviances of nested fits, car's Wald tests of type II; III where coding cannot count."""
    m = case.fitted()
    terms = list(m.bundle.source_terms)
    interaction = any(":" in t for t in terms)
    deviances = _deviances(case, terms)
    values = {"type1": _sequential(m, deviances, case.values["type1"])}
    for name in ("type2_LR", "type3_LR", "type2_F"):
        if name in case.values and not (name == "type3_LR" and interaction):
            values[name] = _dropped(m, deviances, terms, case.values[name])
    for name, ss_type in (("type2_Wald", "II"), ("type3_Wald", "III")):
        if name not in case.values or (ss_type == "III" and interaction):
            continue
        table = m.infer(how="joint", ss_type=ss_type).effects
        statistic, df = column(table, "statistic"), column(table, "df1")
        chi_square = np.where(np.isinf(column(table, "df2")), statistic, statistic * df)
        found = {"Df": df, "Chisq": chi_square, "Pr(>Chisq)": special.chdtrc(df, chi_square)}
        values[name] = _rows(case.values[name], table["term"].to_list(), found, {})
    reason = "car's type III tests coefficients in the coding used; ours balances factors whatever the coding"
    return Answer(values, inputs=frozenset({"term"}), apart=dict.fromkeys(("type3_LR", "type3_Wald"), reason))


def _deviances(case: Case, terms: list[str]):
    """Deviance and residual df of the model with some of its terms, through the public API, each fitted once."""
    response, seen = case.raw["model"]["formula"].split("~")[0], {}

    def of(some: tuple[str, ...]) -> tuple[float, float]:
        if some not in seen:
            fit = case.model_of(f"{response} ~ {' + '.join(some) or '1'}").fit().fit_state
            seen[some] = (fit.deviance, fit.df_resid)
        return seen[some]

    return of


def _sequential(m, deviances, wanted: dict[str, Any]) -> dict[str, Any]:
    terms = tuple(m.bundle.source_terms)
    steps = [deviances(terms[:i]) for i in range(len(terms) + 1)]
    deviance, df = np.array(steps).T
    fall, used = np.r_[np.nan, -np.diff(deviance)], np.r_[np.nan, -np.diff(df)]
    f = fall / used / m.fit_state.dispersion
    known = m.state.fit.dispersion == 1.0
    found = {
        "Df": used, "Deviance": fall, "Resid. Df": df, "Resid. Dev": deviance, "F": f,
        "Pr(>Chi)": special.chdtrc(used, fall) if known else None,
        "Pr(>F)": special.fdtrc(used, m.fit_state.df_resid, f),
    }  # fmt: skip
    return {name: value for name, value in found.items() if name in wanted and value is not None}


def _dropped(m, deviances, terms: list[str], wanted: dict[str, Any]) -> dict[str, Any]:
    """Each term after all that do not contain it."""
    rows = []
    for term in terms:
        parts = set(term.split(":"))
        others = tuple(t for t in terms if t != term and not parts < set(t.split(":")))
        (without, df0), (with_it, df1) = deviances(others), deviances(tuple(t for t in terms if t in (*others, term)))
        rows.append((without - with_it, df0 - df1))
    fall, df = np.array(rows).T
    phi, left = m.fit_state.dispersion, m.fit_state.df_resid
    found = {
        "LR Chisq": fall / phi, "Df": df, "Pr(>Chisq)": special.chdtrc(df, fall / phi), "Sum Sq": fall,
        "F value": fall / df / phi, "Pr(>F)": special.fdtrc(df, left, fall / df / phi),
    }  # fmt: skip
    return _rows(wanted, terms, found, {"Sum Sq": phi * left, "Df": left})


def lmer_anova(case: Case) -> Answer:
    """``lmer.anova``: lmerTest's sequential tests, car's of type II; lmerTest's others where no number is beside."""
    m = case.fitted()
    sigma2 = m.fit_state.sigma**2
    interaction = any(":" in t for t in m.bundle.source_terms)
    numbers = any(operand.kind == "number" for operand in m.bundle.design_state.operands)
    values = {}
    for name, wanted in case.values.items():
        found_type = re.match(r"type(I+)_(\w+)", name)
        if found_type and not (found_type.group(1) != "I" and interaction and numbers):
            ss_type, ddf = found_type.groups()
            table = m.infer(how="joint", ss_type=ss_type, errors=DENOMINATORS[ddf]).effects
            f, df = column(table, "statistic"), column(table, "df1")
            found = {"Sum Sq": f * df * sigma2, "Mean Sq": f * sigma2, "NumDF": df, "DenDF": column(table, "df2"),
                     "F value": f, "Pr(>F)": column(table, "p_value")}  # fmt: skip
            values[name] = _rows(wanted, table["term"].to_list(), found, {})
        elif name == "car_II_F":
            table = m.infer(how="joint", ss_type="II", errors="kenward-roger").effects
            found = {"F": column(table, "statistic"), "Df": column(table, "df1"), "Df.res": column(table, "df2"),
                     "Pr(>F)": column(table, "p_value")}  # fmt: skip
            values[name] = _rows(wanted, table["term"].to_list(), found, {})
    reason = (
        "lmerTest tests a factor where a number beside it is 0, car in the coding used, both without a denominator "
        "for chi-square; ours where the number is at its mean, as emmeans"
    )
    return Answer(values, inputs=frozenset({"term"}), apart=dict.fromkeys(case.values, reason))


def _balanced_codings(case: Case) -> bool:
    """Whether the coding cannot matter: no interaction, or sum-to-zero factors without numbers in interactions."""
    formula = case.raw["model"]["formula"]
    if "*" not in formula and ":" not in formula:
        return True
    sums = {"contr.sum", "contr.helmert", "contr.poly"}
    codings = case.raw["model"].get("contrasts") or {}
    inside = set(re.findall(r"(\w+) \* (\w+)", formula)[0])
    return inside <= set(codings) and all(codings[name] in sums for name in inside)


def _rows(wanted: dict[str, Any], terms: list[str], found: dict[str, Any], rest: dict[str, float]) -> dict[str, Any]:
    """Our rows in R's order; the intercept is nobody's term here and keeps R's own numbers out of the comparison."""
    out = {}
    for name, values in wanted.items():
        if name not in found:
            continue
        column_ = []
        for term, value in zip(wanted["term"], values, strict=True):
            plain = term.replace(" ", "")
            if term == "Residuals":
                column_.append(rest.get(name, np.nan))
            elif term == "(Intercept)":
                column_.append(value)
            else:
                column_.append(found[name][[t.replace(" ", "") for t in terms].index(plain)])
        out[name] = column_
    return out
