"""From estimates, standard errors and degrees of freedom to tests and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.formula.names import suggest
from inference_core.states import Array, Frozen

from .distributions import critical_value, tail_probability
from .intervals.requirements import check_alternative


@dataclass(frozen=True, slots=True, eq=False)
class CoefficientInference(Frozen):
    """One row per parameter, all arrays (p,); NaN where there is nothing to estimate."""

    se: Array
    statistic: Array  # (estimate - null) / se
    df: Array  # inf for the normal reference
    p_value: Array
    ci_lower: Array  # -inf for alternative "less"
    ci_upper: Array  # inf for alternative "greater"


def coefficient_inference(
    coef: Array,
    se: Array,
    df: Array | float,
    conf_level: float = 0.95,
    null: Array | float = 0.0,
    alternative: str = "two-sided",
) -> CoefficientInference:
    """Wald tests and limits: estimate -/+ critical value x se, and (estimate - null) / se against t(df).

    Parameters
    ----------
    coef, se : (p,) arrays
        Estimates and standard errors; NaN marks a column that the design dropped.
    df : (p,) array or float
        Degrees of freedom of the t reference; ``inf`` for the normal.
    conf_level : float
        Between 0 and 1.
    null : float or (p,) array
        The values tested.
    alternative : {"two-sided", "greater", "less"}
        "greater" puts the alternative above the null and gives a lower limit only; "less" the opposite.

    Returns
    -------
    CoefficientInference
        A standard error of exactly 0 gives no statistic and no p-value: nothing varies, so nothing can be
        tested.
    """
    check_alternative(alternative)
    conf_level = check_level(conf_level)
    coef, se = np.asarray(coef, float), np.asarray(se, float)
    missing = np.isnan(coef) | np.isnan(se)
    df = np.where(missing, np.nan, df)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(se > 0, (coef - null) / se, np.nan)
    margin = critical_value(conf_level, df, alternative) * se
    lower = np.where(missing, np.nan, -np.inf if alternative == "less" else coef - margin)
    upper = np.where(missing, np.nan, np.inf if alternative == "greater" else coef + margin)
    return CoefficientInference(
        se=np.where(missing, np.nan, se),
        statistic=statistic,
        df=df,
        p_value=tail_probability(statistic, df, alternative),
        ci_lower=lower,
        ci_upper=upper,
    )


def check_level(conf_level: Any) -> float:
    """The level as a float strictly between 0 and 1; 95 is not read as 95 %."""
    try:
        level = float("nan") if isinstance(conf_level, (bool, str)) else float(conf_level)
    except (TypeError, ValueError):
        level = float("nan")
    if not 0.0 < level < 1.0:
        meant = level / 100 if 1.0 < level < 100.0 else 0.95
        raise InferenceError(
            asked=f"conf_level={conf_level!r}",
            found="a level is a share between 0 and 1",
            remedy=f"type {meant:g} for {100 * meant:g}%",
        )
    return level


def resolve_null(null: Any, names: Sequence[str]) -> float | Array:
    """The null values: one number for all parameters, or a (p,) array.

    Parameters
    ----------
    null : float, sequence of p floats, or mapping
        A mapping gives values by parameter name; parameters it does not name are tested against 0.
    names : sequence of str
        The p parameter names, in design order.

    Raises
    ------
    InferenceError
        Not finite, the wrong number of values, or a name that is no parameter.
    """
    if isinstance(null, Mapping):
        return _null_by_name(null, names)
    try:
        values = np.array(null, dtype=float)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if isinstance(null, (bool, str)) or not np.all(np.isfinite(values)):
        raise InferenceError(
            asked=f"null={null!r}",
            found="a null value is a finite number",
            remedy="one number for all parameters, a list with one each, or a dict by parameter name",
        )
    if values.ndim == 0:
        return float(values)
    if values.shape != (len(names),):
        raise InferenceError(
            asked=f"null with {values.size} values",
            found=f"the model has {len(names)} parameters: {', '.join(names)}",
            remedy=f"one number, {len(names)} numbers in this order, or a dict by parameter name",
        )
    return values


def _null_by_name(null: Mapping[str, Any], names: Sequence[str]) -> Array:
    values = np.zeros(len(names))
    for name, value in null.items():
        if name not in names:
            near = suggest(str(name), names)
            raise InferenceError(
                asked=f"null={{{name!r}: {value!r}}}",
                found=f"no parameter {name!r}; the model has {', '.join(names)}",
                remedy=f"did you mean {near!r}?" if near else "use one of these names",
            )
        values[list(names).index(name)] = resolve_null(value, ("",))
    return values
