"""What each term of a model is tested by: rows of weights over the coefficients, by three definitions.

* III: every other factor balanced, every number at its mean; the answer does not depend on how factors are coded. Found
  by writing the same model with sum-to-zero factors and centred numbers, and asking for the term's coefficients there.
* II: a term after all terms that do not contain it, those that do left out; Fox & Weisberg (2019), section 5.3.
* I: each term after those before it, in the order of the formula.

Source of III: Lenth (2016), emmeans ``joint_tests``; Yates (1934). Where cells are empty, the estimable part of each
term's hypothesis is tested: Searle (1971).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from inference_core.design.codings import full_coding, make_coding
from inference_core.design.columns import Columns
from inference_core.design.matrix import apply_operand, assemble
from inference_core.design.state import DesignState, OperandState
from inference_core.formula.guard import admit, admit_column
from inference_core.states import Array, DataBundle

from .predictors import Predictor, predictors_of

TOLERANCE = 1e-8  # relative: rounding of a least-squares solution between two codings of one design


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """One term and the (r, p) rows that are 0 if it has no effect; fewer rows than columns where cells are empty."""

    term: str
    L: Array
    note: str | None = None


def type_three(bundle: DataBundle, rows: pl.DataFrame) -> list[Hypothesis]:
    """Hypotheses of type III, one per term."""
    turn = _turn(bundle, rows)
    owner = _owner(bundle)
    kept = bundle.rank_info.kept
    out = []
    for t, term in enumerate(bundle.source_terms):
        columns = np.flatnonzero(owner == t)
        if turn is None:
            L = np.eye(bundle.p)[np.intersect1d(columns, kept)]
            out.append(Hypothesis(term, L, "tested in the coding of the fit: the model lacks a margin of a term"))
            continue
        T, null = turn
        parts = T[columns]
        if null.shape[1]:
            parts = _left_null(null[columns]) @ parts
        L = np.zeros((len(parts), bundle.p))
        L[:, kept] = parts
        note = None if len(parts) == len(columns) else f"{term}: {len(parts)} of {len(columns)} df, cells are empty"
        out.append(Hypothesis(term, L, note))
    return out


def type_two(bundle: DataBundle, information: Array) -> list[Hypothesis]:
    """Hypotheses of type II, in the metric of ``information``, the inverse covariance of the kept coefficients."""
    owner, kept = _owner(bundle), bundle.rank_info.kept
    owner = owner[kept]
    members = _members(bundle.design_state)
    out = []
    for t, term in enumerate(bundle.source_terms):
        containing = [s for s in range(len(members)) if s != t and members[t] < members[s]]
        relatives = np.isin(owner, containing)
        own = owner == t
        stay = ~relatives
        L = np.zeros((int(own.sum()), bundle.p))
        inside = np.zeros((int(own.sum()), len(kept)))
        inside[:, own] = np.eye(int(own.sum()))
        if relatives.any():
            moved = np.linalg.solve(information[np.ix_(stay, stay)], information[np.ix_(stay, relatives)])
            inside[:, relatives] = moved[own[stay]]
        L[:, kept] = inside
        out.append(Hypothesis(term, L))
    return out


def type_one(bundle: DataBundle) -> list[Hypothesis]:
    """Hypotheses of type I: rows of the triangular root of X'WX, which adjust each column for those before it."""
    kept, owner = bundle.rank_info.kept, _owner(bundle)
    order = np.argsort(owner[kept], kind="stable")  # the formula's order is the design's
    X = bundle.X[:, kept][:, order]
    if bundle.prior_weights is not None:
        X = X * np.sqrt(bundle.prior_weights)[:, None]
    root = np.linalg.qr(X, mode="r")
    out = []
    for t, term in enumerate(bundle.source_terms):
        L = np.zeros((int((owner[kept] == t).sum()), bundle.p))
        L[:, kept[order]] = root[owner[kept][order] == t]
        out.append(Hypothesis(term, L))
    return out


def _owner(bundle: DataBundle) -> Array:
    return np.asarray(bundle.term_of_column)


def _members(state: DesignState) -> list[frozenset[int]]:
    return [frozenset(term.operands) for term in state.terms]


def _turn(bundle: DataBundle, rows: pl.DataFrame) -> tuple[Array, Array] | None:
    """(columns, kept) coefficients of the sum-to-zero, centred design from the fitted ones, and its null space.

    None where the two designs do not span the same space (a model without a margin of one of its terms).
    """
    state: DesignState = bundle.design_state
    columns = Columns(rows, state.column_levels)
    values = [apply_operand(o, _expression(o), columns, bundle.n) for o in state.operands]
    centre = _at_mean(state, predictors_of(bundle, rows))
    turned = []
    for value, middle in zip(values, centre, strict=True):
        if value.state.kind == "factor":
            coding = value.state.coding
            assert coding is not None
            balanced = make_coding("sum", coding.levels, value.state.text)
            turned.append(replace(value, state=replace(value.state, coding=balanced, full=full_coding(coding.levels))))
        else:
            turned.append(replace(value, values=value.values - middle))
    X = assemble(state.intercept, state.terms, turned, bundle.n, _width(state, [v.state for v in turned]))
    fitted = bundle.X_estimable
    T, _, rank, _ = np.linalg.lstsq(X, fitted, rcond=1e-11)
    size = np.linalg.norm(fitted, axis=0)
    if rank != bundle.rank_info.rank or np.any(np.linalg.norm(fitted - X @ T, axis=0) > TOLERANCE * size):
        return None
    _, singular, directions = np.linalg.svd(X.T @ X)
    null = directions[singular <= singular[0] * 1e-13].T if rank < X.shape[1] else np.zeros((X.shape[1], 0))
    return T, null


def _left_null(N: Array) -> Array:
    """Rows A with A N = 0: the combinations of a term's coefficients that the data can tell."""
    U, singular, _ = np.linalg.svd(N)
    rank = int(np.sum(singular > 1e-9))
    return U[:, rank:].T


def _expression(operand: OperandState):
    return admit_column(operand.column) if operand.column is not None else admit(operand.text)


def _at_mean(state: DesignState, known: dict[str, Predictor]) -> list[Array | float]:
    """Each operand where the numbers it reads stand at their mean."""
    frame = pl.DataFrame(
        {name: [float(np.mean(p.values))] for name, p in known.items() if p.values is not None} or {"": [0.0]}
    )
    columns = Columns(frame, state.column_levels)
    return [
        0.0 if operand.kind == "factor" else apply_operand(operand, _expression(operand), columns, 1).values[0]
        for operand in state.operands
    ]


def _width(state: DesignState, operands: list[OperandState]) -> int:
    total = int(state.intercept)
    for term in state.terms:
        total += int(np.prod([operands[i].width(d) for i, d in zip(term.operands, term.dummy, strict=True)]))
    return total
