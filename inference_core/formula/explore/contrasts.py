"""Contrast weights over k ordered cells: the named sets, and combinations that were written out.

Names and signs are those of emmeans (``contrast(method=)``): pairwise A - B, revpairwise B - A, consecutive B - A,
treatment against control, effects against the grand mean ("sum"), orthogonal polynomials with integer weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise as adjacent
from types import MappingProxyType

import numpy as np

from inference_core.errors import FormulaError
from inference_core.formula.names import first_few, suggest

from .query import Cell, Combination, Contrast, Group, Wildcard
from .tokens import refuse

Rows = tuple[list[str], np.ndarray]  # labels, (r, k) weights


def pairwise(labels: Sequence[str]) -> Rows:
    """Every pair, earlier minus later."""
    k = len(labels)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    weights = np.zeros((len(pairs), k))
    for row, (i, j) in enumerate(pairs):
        weights[row, i], weights[row, j] = 1.0, -1.0
    return [f"{labels[i]} - {labels[j]}" for i, j in pairs], weights


def revpairwise(labels: Sequence[str]) -> Rows:
    """Every pair, later minus earlier, in the order 2-1, 3-1, 3-2, ..."""
    k = len(labels)
    pairs = [(i, j) for i in range(k) for j in range(i)]
    weights = np.zeros((len(pairs), k))
    for row, (i, j) in enumerate(pairs):
        weights[row, i], weights[row, j] = 1.0, -1.0
    return [f"{labels[i]} - {labels[j]}" for i, j in pairs], weights


def sequential(labels: Sequence[str]) -> Rows:
    """Each minus the one before it."""
    weights = np.eye(len(labels))[1:] - np.eye(len(labels))[:-1]
    return [f"{b} - {a}" for a, b in adjacent(labels)], weights


def treatment(labels: Sequence[str], ref: int = 0) -> Rows:
    """Each other minus the reference."""
    others = [i for i in range(len(labels)) if i != ref]
    weights = np.eye(len(labels))[others]
    weights[:, ref] -= 1.0
    return [f"{labels[i]} - {labels[ref]}" for i in others], weights


def against_mean(labels: Sequence[str]) -> Rows:
    """Each minus the mean of all."""
    return [f"{label} effect" for label in labels], np.eye(len(labels)) - 1.0 / len(labels)


def helmert(labels: Sequence[str]) -> Rows:
    """Each minus the mean of those before it."""
    k = len(labels)
    weights = np.zeros((k - 1, k))
    for i in range(1, k):
        weights[i - 1, :i], weights[i - 1, i] = -1.0 / i, 1.0
    names = [f"{labels[i]} - {labels[0] if i == 1 else f'mean({first_few(labels[:i], 8)})'}" for i in range(1, k)]
    return names, weights


_DEGREES = ("linear", "quadratic", "cubic", "quartic")


def polynomial(labels: Sequence[str], degree: int | None = None) -> Rows:
    """Orthogonal polynomials over equally spaced cells, scaled to the smallest integers where there are such."""
    k = len(labels)
    degree = min(k - 1, len(_DEGREES) + 2) if degree is None else degree
    x = np.arange(k) - (k - 1) / 2
    basis = np.linalg.qr(np.vander(x, degree + 1, increasing=True))[0][:, 1:].T
    names = [_DEGREES[d - 1] if d <= len(_DEGREES) else f"degree {d}" for d in range(1, degree + 1)]
    return names, np.array([_integers(row * (1.0 if row[-1] > 0 else -1.0)) for row in basis])


def _integers(row: np.ndarray) -> np.ndarray:
    """The row as the smallest integers in its proportions, or at unit length where these exceed 10,000."""
    row = np.where(np.abs(row) < 1e-10 * np.abs(row).max(), 0.0, row)
    smallest = np.abs(row[row != 0]).min()
    for scale in range(1, 2_000):
        candidate = row / smallest * scale
        if np.abs(candidate).max() > 10_000:
            break
        if np.allclose(candidate, np.round(candidate), rtol=0, atol=1e-6):
            return np.round(candidate)
    return row


METHODS: MappingProxyType[str, Callable[..., Rows]] = MappingProxyType(
    {
        "pairwise": pairwise, "revpairwise": revpairwise, "sequential": sequential, "poly": polynomial,
        "treatment": treatment, "sum": against_mean, "deviation": against_mean, "helmert": helmert,
    }
)  # fmt: skip


def contrast_rows(contrast: Contrast, cells: Sequence[tuple[str, ...]], text: str) -> Rows:
    """Labels and (r, k) weights of a contrast over k cells.

    Raises
    ------
    FormulaError
        Fewer than two cells, a degree that so few cells do not have, a level that does not exist.
    """
    if contrast.method == "custom":
        return rows_of_combinations(contrast.rows, cells, text)
    labels = [" ".join(cell) for cell in cells]
    if len(labels) < 2:
        raise refuse(text, contrast.start, f"{contrast.method}() compares cells, and there is one ({labels[0]})",
                     "leave the function away, or name two values with @[a, b]")  # fmt: skip
    if contrast.method == "poly":
        if contrast.degree is not None and contrast.degree >= len(labels):
            raise refuse(text, contrast.start, f"degree {contrast.degree} over {len(labels)} cells",
                         f"poly(x, {len(labels) - 1}) is the highest")  # fmt: skip
        return polynomial(labels, contrast.degree)
    if contrast.method == "treatment" and contrast.ref is not None:
        if contrast.ref not in labels:
            raise _unknown_level(text, contrast.start, contrast.ref, labels)
        return treatment(labels, labels.index(contrast.ref))
    return METHODS[contrast.method](labels)


def rows_of_combinations(rows: Sequence[Combination], cells: Sequence[tuple[str, ...]], text: str) -> Rows:
    """Labels and weights of combinations that were written out; a wildcard becomes one row for each other cell."""
    names: list[str] = []
    weights: list[np.ndarray] = []
    for row in rows:
        named = {cell for _, term in row.terms for cell in _cells_of(term, cells, text)}
        wild = [term for _, term in row.terms if isinstance(term, Wildcard)]
        for filling in [c for c in cells if c not in named] if wild else [None]:
            weights.append(_weights(row, cells, filling, text))
            names.append(row.text if filling is None else row.text.replace("*", " ".join(filling), 1))
    if not names:
        raise refuse(text, rows[0].start, "* stands for the other cells, and there is none", "name two cells")
    return names, np.array(weights)


def _weights(
    row: Combination, cells: Sequence[tuple[str, ...]], filling: tuple[str, ...] | None, text: str
) -> np.ndarray:
    out = np.zeros(len(cells))
    for weight, term in row.terms:
        members = [filling] if isinstance(term, Wildcard) else _cells_of(term, cells, text)
        for member in members:
            assert member is not None  # a wildcard has a filling
            out[list(cells).index(member)] += weight / len(members)
    if not out.any():
        raise refuse(text, row.start, f"the weights of {row.text!r} are all 0, so it is 0 whatever the data",
                     "compare two different cells, as A - B")  # fmt: skip
    if not row.weighted and abs(out.sum()) > 1e-12:
        raise refuse(text, row.start, f"the weights of {row.text!r} sum to {out.sum():g}, so it compares nothing",
                     "parentheses take an average: (A + B) - C; or write the weights: 0.5*A + 0.5*B - C")  # fmt: skip
    return out


def _cells_of(term: Cell | Group | Wildcard, cells: Sequence[tuple[str, ...]], text: str) -> list[tuple[str, ...]]:
    if isinstance(term, Wildcard):
        return []
    return [_find(cell, cells, text) for cell in (term.cells if isinstance(term, Group) else (term,))]


def _find(cell: Cell, cells: Sequence[tuple[str, ...]], text: str) -> tuple[str, ...]:
    if cell.levels in cells:
        return cell.levels
    width = len(cells[0])
    if len(cell.levels) != width:
        joined = ":".join(cell.levels)
        raise refuse(text, cell.start, f"{joined!r} names {len(cell.levels)} level(s); each cell has {width}",
                     f"as {':'.join(cells[0])!r}")  # fmt: skip
    for place, level in enumerate(cell.levels):
        known = list(dict.fromkeys(c[place] for c in cells))
        if level not in known:
            raise _unknown_level(text, cell.start, level, known)
    raise refuse(text, cell.start, f"no cell {':'.join(cell.levels)!r}", 'see the cells with explore("a:b")')


def _unknown_level(text: str, start: int, level: str, known: Sequence[str]) -> FormulaError:
    near = suggest(level, known)
    return refuse(text, start, f"no level {level!r}; there are {first_few(known, 8)}",
                  f"did you mean {near!r}?" if near else f"as {known[0]!r}")  # fmt: skip
