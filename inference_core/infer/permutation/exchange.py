"""What a scheme exchanges, and the standard errors it is judged by: from a model to its least-squares kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.infer.sandwich import DIVIDES_BY_ONE_MINUS_H, FIXED_ROW, INFLATION
from inference_core.states.base import Array

from .arrangements import Arrangements, Shuffles
from .hypotheses import Hypothesis
from .least_squares import CellErrors, LeastSquaresKernel, Problem, quadratic_form, robust_meat

NOTHING_LEFT = 1e-30  # of the squared response: what is left of it is rounding


def least_squares_kernel(
    problem: Problem,
    hypotheses: list[Hypothesis],
    scheme: str,
    errors: str,
    arrangements: Arrangements,
    cells: CellErrors | None = None,
) -> tuple[LeastSquaresKernel, dict[str, str]]:
    """The kernel of a scheme, and why some hypotheses have no standard error (reason by name); those are left out.

    Parameters
    ----------
    scheme : {"freedman_lane", "sign_flip", "ter_braak", "y"}
    errors : {"iid", "HC0", "HC1", "HC2", "HC3", "HC4", "unequal_var"}
    cells
        Of Welch errors.
    """
    inflation, fixed = _inflation(problem, errors)
    geometry = [h.tested(problem.r_factor) for h in hypotheses]
    refused: dict[str, str] = {}
    if fixed.size:
        for h, (u, _) in zip(hypotheses, geometry, strict=True):
            g = np.abs(problem.basis @ u).max(1)
            if np.any(g[fixed] > 1e-7 * g.max()):
                refused[h.name] = f"a row fixes its own value, and {errors} has no standard error"
    chosen = [j for j, h in enumerate(hypotheses) if h.name not in refused]
    hypotheses, geometry = [hypotheses[j] for j in chosen], [geometry[j] for j in chosen]
    exchanged = _exchanged(problem, hypotheses, geometry, scheme)
    weights = _se_weights(problem, geometry, errors, inflation, cells)
    observed, se = _observed(problem, hypotheses, geometry, weights, inflation, cells)
    kernel = LeastSquaresKernel(
        problem=problem, hypotheses=tuple(hypotheses), **exchanged, tested=tuple(u for u, _ in geometry),
        scale=np.array([s[0, 0] if h.k == 1 else np.nan for h, (_, s) in zip(hypotheses, geometry, strict=True)]),
        estimate=np.array([
            float(s[0, 0] * (u[:, 0] @ problem.scores)) if h.k == 1 else 0.0
            for h, (u, s) in zip(hypotheses, geometry, strict=True)
        ]),
        weights=weights, cells=cells, inflation=inflation, observed=observed, observed_se=se,
        shuffled=isinstance(arrangements, Shuffles),
    )  # fmt: skip
    return kernel, refused


def _exchanged(problem: Problem, hypotheses: list[Hypothesis], geometry: list, scheme: str) -> dict[str, Any]:
    """What each hypothesis exchanges: v0, v1 and g, see :class:`LeastSquaresKernel`."""
    vectors, base, slope = [problem.residual], [], []
    q = len(hypotheses)
    at_null, per_value, mean = np.zeros(q), np.zeros((q, 2)), np.zeros(q)
    centre = problem.centre
    if scheme == "y":
        vectors = [problem.target - centre * problem.root]
    for j, (h, (u, s)) in enumerate(zip(hypotheses, geometry, strict=True)):
        if scheme == "y":
            mean[j] = centre * float(u[:, 0] @ (problem.basis.T @ problem.root)) if h.k == 1 else 0.0
            shift = -problem.design @ h.direction
            if h.k > 1:
                vectors.append(vectors[0] + shift @ h.value)
            else:
                vectors.append(shift[:, 0])
                per_value[j], at_null[j] = (0.0, 1.0), h.value[0]
        elif scheme == "ter_braak":
            base.append(0)
            slope.append(-1)
            continue
        else:
            g = problem.basis @ u
            size = u.T @ problem.scores
            if h.k > 1:
                vectors.append(vectors[0] + g @ (size - np.linalg.solve(s.T, h.value)))
            else:
                vectors.append(g[:, 0])
                per_value[j] = size[0], -1.0 / s[0, 0]
                at_null[j] = size[0] - h.value[0] / s[0, 0]
        base.append(len(vectors) - 1 if h.k > 1 else 0)
        slope.append(-1 if h.k > 1 else len(vectors) - 1)
    return {
        "vectors": np.array(vectors), "base": tuple(base), "slope": tuple(slope), "at_null": at_null,
        "per_value": per_value, "mean": mean,
    }  # fmt: skip


def _inflation(problem: Problem, errors: str) -> tuple[Array | None, Array]:
    """(m,) omega of an HC kind (None for others), and the rows that leave it undefined."""
    if errors not in INFLATION:
        return None, np.zeros(0, int)
    leverage = (problem.basis**2).sum(1)
    fixed = np.flatnonzero(leverage > 1.0 - FIXED_ROW) if errors in DIVIDES_BY_ONE_MINUS_H else np.zeros(0, int)
    leverage[fixed] = 0.0
    omega = np.array(INFLATION[errors](leverage, problem.m, problem.basis.shape[1]))
    omega[fixed] = 0.0
    return omega, fixed


def _se_weights(
    problem: Problem, geometry: list, errors: str, inflation: Array | None, cells: CellErrors | None
) -> Array | None:
    """(m, q) d of each squared residual; a column of zeros for k > 1, None for classical errors."""
    if errors == "iid":
        return None
    columns = []
    for u, _ in geometry:
        g2 = (problem.basis @ u[:, 0]) ** 2 if u.shape[1] == 1 else np.zeros(problem.m)
        if cells is not None:
            columns.append((np.bincount(cells.of_row, g2, minlength=len(cells.df)) / cells.df)[cells.of_row])
        else:
            columns.append(g2 if inflation is None else g2 * inflation)
    return np.column_stack(columns) if columns else np.zeros((problem.m, 0))


def _observed(
    problem: Problem,
    hypotheses: list[Hypothesis],
    geometry: list,
    weights: Array | None,
    inflation: Array | None,
    cells: CellErrors | None,
) -> tuple[Array, Array]:
    """(q,) t (or F) of the data and the standard errors of L b."""
    e = problem.residual
    if cells is not None:
        e = problem.target - cells.basis @ (cells.basis.T @ problem.target)
    statistic, se = np.full(len(hypotheses), np.nan), np.full(len(hypotheses), np.nan)
    scatter = float(e @ e)
    if scatter <= NOTHING_LEFT * float(problem.target @ problem.target):
        return statistic, se  # a perfect fit: nothing to judge by
    for j, (h, (u, s)) in enumerate(zip(hypotheses, geometry, strict=True)):
        away = u.T @ problem.scores - np.linalg.solve(s.T, h.value)
        if h.k == 1:
            square = scatter / problem.df if weights is None else float(e**2 @ weights[:, j])
            se[j] = s[0, 0] * np.sqrt(square)
            statistic[j] = away[0] / np.sqrt(square) if square > 0 else np.nan
        elif weights is None:
            statistic[j] = float(away @ away) / h.k / (scatter / problem.df)
        else:
            meat = robust_meat(problem.basis @ u, e[None], inflation, cells)
            statistic[j] = quadratic_form(away[:, None], meat)[0] / h.k
    return statistic, se
