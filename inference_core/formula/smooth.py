"""Orthogonal polynomials and regression splines with R's conventions: poly, bs, ns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from inference_core.errors import DataError, FormulaError
from inference_core.states import Array

MAX_DEGREE = 20
MAX_DF = 50


def whole_number(value: Any, function: str, option: str, low: int, high: int) -> int:
    """``value`` as an int between the bounds, or a refusal that names function and option."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value != int(value)
        or not low <= value <= high
    ):
        raise FormulaError(
            asked=f"{function}(…, {option} = {value})",
            found=f"{option} is a whole number from {low} to {high}",
            remedy=f"write {function}(x, {option} = {max(low, 2)})",
        )
    return int(value)


# ---- polynomials -------------------------------------------------------------------------------------------


def learn_poly(x: Array, degree: int) -> tuple[int, float, float, Array, Array]:
    """What makes polynomials of x orthonormal over the training rows: (degree, centre, width, alpha, norm2).

    The three-term recurrence of monic polynomials in t = (x - centre) / width,
        P_{k+1} = (t - alpha_k) P_k - (norm2_k / norm2_{k-1}) P_{k-1},
    with alpha_k = <t P_k, P_k> / <P_k, P_k>. Centre and width keep powers of large x from overflowing; they
    change neither the columns nor their signs (leading coefficients are positive, R's convention). Source:
    Kennedy & Gentle (1980), Statistical Computing, pp. 343-4, as R's poly.
    """
    distinct = np.unique(x).size
    if degree >= distinct:
        raise DataError(
            asked=f"poly(x, {degree})",
            found=f"x has {distinct} distinct values; a polynomial of degree {degree} needs at least {degree + 1}",
            remedy=f"use degree {max(distinct - 1, 1)} or less, or a factor",
        )
    centre = float(np.mean(x))
    width = float(np.max(np.abs(x - centre)))
    t = (x - centre) / width
    alpha, norm2 = np.zeros(degree), np.zeros(degree + 1)
    previous, current = np.zeros_like(t), np.ones_like(t)
    norm2[0] = t.size
    for k in range(degree):
        alpha[k] = t @ (current * current) / norm2[k]
        step = (t - alpha[k]) * current
        if k:
            step -= norm2[k] / norm2[k - 1] * previous
        previous, current = current, step
        norm2[k + 1] = current @ current
    return degree, centre, width, alpha, norm2


def apply_poly(x: Array, state: tuple[int, float, float, Array, Array]) -> Array:
    """(n, degree) columns of the learned polynomials at x."""
    degree, centre, width, alpha, norm2 = state
    t = (x - centre) / width
    out = np.empty((t.size, degree))
    previous, current = np.zeros_like(t), np.ones_like(t)
    for k in range(degree):
        step = (t - alpha[k]) * current
        if k:
            step -= norm2[k] / norm2[k - 1] * previous
        previous, current = current, step
        out[:, k] = current / np.sqrt(norm2[k + 1])
    return out


def raw_poly(x: Array, degree: int) -> Array:
    """(n, degree) plain powers of x."""
    return x[:, None] ** np.arange(1, degree + 1)


# ---- splines -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Spline:
    """A learned spline basis: knots with the boundary repeated, and for a natural spline the map to its
    columns.
    """

    knots: Array  # (k + degree + 1,) with repeated boundary knots
    degree: int
    intercept: bool
    natural: bool
    transform: Array | None = None  # (k, m) columns of the natural basis in terms of the B-splines


def _literal_numbers(value: Any, function: str, option: str) -> list[float]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values) or len(values) > MAX_DF:
        raise FormulaError(
            asked=f"{function}(…, {option} = …)",
            found=f"{option} takes numbers, at most {MAX_DF} of them",
            remedy=f"write {option} = c(1, 2)",
        )
    return [float(v) for v in values]


def learn_spline(
    x: Array,
    *,
    natural: bool,
    df: Any = None,
    knots: Any = None,
    degree: Any = 3,
    intercept: Any = False,
    boundary_knots: Any = None,
) -> Spline:
    """Knots at quantiles of x (those inside the boundary), as splines::bs and splines::ns choose them."""
    function = "ns" if natural else "bs"
    degree = whole_number(degree, function, "degree", 1, 10)
    intercept = bool(intercept)
    low, high = float(np.min(x)), float(np.max(x))
    if boundary_knots is not None:
        bounds = _literal_numbers(boundary_knots, function, "Boundary.knots")
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise FormulaError(
                f"{function}(…, Boundary.knots = {bounds})",
                "two increasing numbers are needed",
                "write c(low, high)",
            )
        low, high = bounds
    if not low < high:
        raise DataError(
            asked=f"{function}() of a column",
            found=f"it has the same value in every row ({low:g})",
            remedy="leave the column out",
        )
    if knots is not None:
        inner = np.sort(np.array(_literal_numbers(knots, function, "knots")))
        if inner.size and not (low < inner[0] and inner[-1] < high):
            raise FormulaError(
                asked=f"{function}(…, knots = …)",
                found=f"knots must lie inside {low:g} to {high:g}",
                remedy="choose knots between the smallest and the largest value, or give df",
            )
    elif df is not None:
        smallest = (1 if natural else degree) + intercept
        df = whole_number(df, function, "df", smallest, MAX_DF)
        inside = x[(x >= low) & (x <= high)]
        inner = np.quantile(inside, np.linspace(0, 1, df - smallest + 2)[1:-1])
    else:
        inner = np.empty(0)
    full = np.concatenate([np.full(degree + 1, low), inner, np.full(degree + 1, high)])
    transform = _natural_transform(full, degree, intercept) if natural else None
    return Spline(full, degree, intercept, natural, transform)


def _basis(x: Array, knots: Array, degree: int, derivative: int = 0) -> Array:
    """(n, k) B-splines at x; outside the boundary the end polynomials go on, as in R."""
    from scipy.interpolate import BSpline

    k = knots.size - degree - 1
    spline = BSpline(knots, np.eye(k), degree, extrapolate=True)
    return np.asarray(spline(x, nu=derivative))


def _natural_transform(knots: Array, degree: int, intercept: bool) -> Array:
    """(k, m) map from B-splines to splines whose second derivative vanishes at both boundary knots.

    The null space of the two constraints comes from a Householder QR, whose signs are those of R's qr().
    """
    first = 0 if intercept else 1
    bounds = knots[[degree, -degree - 1]]
    constraint = _basis(bounds, knots, degree, 2)[:, first:]  # (2, k - first)
    q = np.asarray(scipy.linalg.qr(constraint.T, mode="full")[0])
    transform = np.zeros((knots.size - degree - 1, q.shape[0] - 2))
    transform[first:] = q[:, 2:]
    return transform


def apply_spline(x: Array, state: Spline) -> Array:
    """(n, m) columns of the learned basis at x."""
    if state.transform is None:
        basis = _basis(x, state.knots, state.degree)
        return basis if state.intercept else basis[:, 1:]
    low, high = state.knots[state.degree], state.knots[-state.degree - 1]
    inside = np.clip(x, low, high)
    basis = _basis(inside, state.knots, state.degree)
    outside = x != inside
    if np.any(outside):  # linear beyond the boundary: value plus slope times distance
        slope = _basis(inside[outside], state.knots, state.degree, 1)
        basis[outside] += slope * (x[outside] - inside[outside])[:, None]
    return basis @ state.transform
