"""What ``explore`` and joint tests give: rows on a grid, each a function of the coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Array, Frozen
from .inference import InferenceState

Effect = Callable[[Array], Array]  # coefficients (..., p) -> effects (..., m)


@dataclass(frozen=True, slots=True, eq=False)
class RowFamily(Frozen):
    """Rows that are judged together when p-values and limits are adjusted: one level of ``by``.

    ``method`` names the contrast ("pairwise", "treatment", ..., "" for means and slopes); ``n_means`` is the number of
    means that its rows compare, which Tukey's and Scheffe's adjustments need.
    """

    rows: Array  # positions in the table
    method: str
    n_means: int


@dataclass(frozen=True, slots=True, eq=False)
class MeeState(Frozen):
    """Marginal effects: m rows, each an estimate with a label.

    A row is either *linear* in the coefficients before one monotone map, ``estimate = map(L @ coef + shift)``, or any
    function of them, ``estimate = effect(coef)`` with its Jacobian at the estimate. Never one dressed as the other: an
    effect that is not linear has ``L`` None, and draws are put through ``effect`` itself.
    """

    grid: Any  # frame of m rows: the labels ("contrast", or the focal variable), then conditions and ``by``
    estimate: Array  # (m,) on ``effect_scale``; NaN where not estimable
    explore_formula: str
    focal_var: str
    type: str  # means, slopes, contrasts, comparisons
    how: str  # mem (at a reference grid) or ame (averaged over rows)
    effect_scale: str  # link or response
    estimable: Array  # (m,) bool
    L: Array | None = None  # (m, p) on the link scale
    shift: Array | None = None  # (m,) what an offset or a response transform adds on the link scale; None: 0
    monotone: str = "identity"  # the map of linear rows: identity, inverse_link, exp (of log and logit differences)
    effect: Effect | None = None
    jacobian: Array | None = None  # (m, p) d estimate / d coef
    weights_rule: str = "equal"
    by: tuple[str, ...] = ()
    families: tuple[RowFamily, ...] = ()
    p_adjust: str = "none"
    notes: tuple[str, ...] = ()
    inference: InferenceState | None = None
    adjusted: str | None = None  # what the table's p-values and limits were adjusted by, once there is inference


@dataclass(frozen=True, slots=True)
class JointDf:
    """Several rows at once: F = scale * (L b)'(L V L')^-1 (L b) / df1 on (df1, df2) degrees of freedom."""

    df1: int
    df2: float
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class JointTestState(Frozen):
    """Tests of whole terms: k rows."""

    terms: tuple[str, ...]
    df1: Array  # (k,)
    df2: Array  # (k,) inf for chi-square
    statistic: Array  # (k,) F, or chi-square
    p_value: Array
    test_type: str  # F or chi2
    ss_type: str  # I, II or III
    ddf: str  # residual, satterthwaite, kenward-roger, none
    errors: str = "iid"
    notes: tuple[str, ...] = ()
