"""Separation: is there a direction in which the likelihood of a discrete model rises for ever?

Source: Konis (2007), *Linear programming algorithms for detecting separated data in binary logistic
regression models*, DPhil thesis, University of Oxford; Correia, Guimaraes & Zylkin (2020) for counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.families import Family
from inference_core.states import Array
from inference_core.states.base import Frozen

_ZERO = 1e-7  # HiGHS keeps constraints to 1e-7 on columns scaled to 1


@dataclass(frozen=True, slots=True, eq=False)
class Separation(Frozen):
    """A direction of recession of the likelihood."""

    kind: str  # "complete": every row is predicted perfectly in the limit; "quasi-complete": some rows are
    columns: Array  # positions of the columns whose best coefficient is infinite
    enough: Array  # positions of a smallest set of columns (constants aside) that separates as much
    rows: Array  # rows whose fitted value runs to the edge


def can_separate(family: Family) -> bool:
    """Whether means at an edge have an infinite eta, so that a direction may raise the likelihood for ever."""
    return _sides(np.zeros(1), family) is not None


def find_separation(X: Array, y: Array, family: Family) -> Separation | None:
    """The separation in the data, or None where a finite maximum exists (or the family knows no separation).

    A direction b recedes when ``x_i'b <= 0`` for rows at the lower edge (y = 0), ``>= 0`` at the upper edge
    (y = 1 of a binomial) and ``= 0`` for rows strictly between, with some row not 0. X is (n, r) of full
    rank, y (n,).
    """
    side = _sides(y, family)
    if side is None:
        return None
    scale = np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
    Z = X / scale
    direction = _direction(Z, side)
    if direction is None:
        return None
    gain = Z @ direction * np.where(side == 0, 0.0, side)
    rows = np.flatnonzero(gain > _ZERO)
    kind = "complete" if not np.any(side == 0) and _margin(Z, side) > _ZERO else "quasi-complete"
    return Separation(kind, _divergent(Z, side, direction), _enough(Z, side, kind == "complete"), rows)


def _sides(y: Array, family: Family) -> Array | None:
    """+1 for rows at the upper edge, -1 at the lower, 0 between; None for a family without edges."""
    if family.name in ("binomial", "quasibinomial"):
        if family.link.name not in ("logit", "probit", "cloglog", "cauchit"):
            return None  # identity and log reach the edge at a finite eta
        return np.where(y >= 1.0, 1.0, np.where(y <= 0.0, -1.0, 0.0))
    if family.name in ("poisson", "quasipoisson", "negative_binomial") and family.link.name == "log":
        return np.where(y <= 0.0, -1.0, 0.0)
    return None


def _constraints(Z: Array, side: Array):
    edge = side != 0
    between = Z[~edge]
    return -(Z[edge] * side[edge, None]), (between if between.shape[0] else None)


def _direction(Z: Array, side: Array) -> Array | None:
    """The direction in [-1, 1]^r that gains most over all rows, or None if none gains."""
    from scipy.optimize import linprog

    A, equal = _constraints(Z, side)
    if A.shape[0] == 0:
        return None
    answer = linprog(
        A.sum(axis=0),
        A,
        np.zeros(A.shape[0]),
        equal,
        None if equal is None else np.zeros(equal.shape[0]),
        bounds=(-1, 1),
        method="highs",
    )
    if answer.status != 0 or -answer.fun <= _ZERO * max(1.0, np.sqrt(A.shape[0])):
        return None
    return answer.x


def _margin(Z: Array, side: Array) -> float:
    """Largest t with side_i x_i'b >= t for all rows and b in [-1, 1]^r: above 0 means complete separation."""
    from scipy.optimize import linprog

    A, _ = _constraints(Z, side)
    answer = linprog(
        np.r_[np.zeros(Z.shape[1]), -1.0],
        np.hstack([A, np.ones((A.shape[0], 1))]),
        np.zeros(A.shape[0]),
        bounds=[(-1, 1)] * Z.shape[1] + [(None, 1)],
        method="highs",
    )
    return float(answer.x[-1]) if answer.status == 0 else 0.0


def _divergent(Z: Array, side: Array, direction: Array) -> Array:
    """Columns that are not 0 in some receding direction; for large problems those of the one direction
    found.
    """
    r = Z.shape[1]
    moving = np.abs(direction) > _ZERO
    if Z.size <= 200_000 and r <= 40:  # two small programs a column; a second or two at this size
        from scipy.optimize import linprog

        A, equal = _constraints(Z, side)
        b_eq = None if equal is None else np.zeros(equal.shape[0])
        for j in np.flatnonzero(~moving):
            for sign in (1.0, -1.0):
                cost = np.zeros(r)
                cost[j] = sign
                answer = linprog(cost, A, np.zeros(A.shape[0]), equal, b_eq, bounds=(-1, 1), method="highs")
                moving[j] |= bool(answer.status == 0 and -answer.fun > 1e-6)
    return np.flatnonzero(moving)


def _separates(Z: Array, side: Array, complete: bool) -> bool:
    return _margin(Z, side) > _ZERO if complete else _direction(Z, side) is not None


def _enough(Z: Array, side: Array, complete: bool) -> Array:
    """A smallest separating set of columns: drop from the right whatever can be spared, constants kept
    silently.
    """
    constant = np.ptp(Z, axis=0) == 0
    keep = np.ones(Z.shape[1], dtype=bool)
    if Z.size <= 200_000:
        for j in np.flatnonzero(~constant)[::-1]:
            keep[j] = False
            if not np.any(keep) or not _separates(Z[:, keep], side, complete):
                keep[j] = True
    return np.flatnonzero(keep & ~constant)
