"""Codings of factors: which columns stand for the levels, with R's matrices and readable labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from inference_core.errors import DataError, FormulaError
from inference_core.formula.names import first_few, suggest
from inference_core.formula.transforms import number_label
from inference_core.states import Array

CODINGS = ("treatment", "sum", "helmert", "poly", "sequential")
_ALIASES = {
    "contr.treatment": "treatment", "contr.sum": "sum", "contr.helmert": "helmert", "contr.poly": "poly",
    "contr.sdif": "sequential", "contr_treatment": "treatment", "contr_sum": "sum", "contr_helmert": "helmert",
    "contr_poly": "poly", "contr_sdif": "sequential", "deviation": "sum", "diff": "sequential", "sdif": "sequential",
    "dummy": "treatment", "polynomial": "poly",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """A factor's coding: row j of ``matrix`` stands for ``levels[j]``; one label suffix per column.

    ``kind`` is one of ``CODINGS``, "custom", or "full" for one column per level.
    """

    kind: str
    levels: tuple[str, ...]
    matrix: Array  # (k, columns)
    suffixes: tuple[str, ...]  # appended to the factor's name: "[B]", ".L"
    reference: str | None = None  # the baseline of treatment coding


def full_coding(levels: tuple[str, ...]) -> Coding:
    """One column per level."""
    return Coding("full", levels, np.eye(len(levels)), tuple(f"[{name}]" for name in levels))


def coding_name(word: Any, asked: str) -> str:
    """The coding that ``word`` names, R's spellings included."""
    name = _ALIASES.get(word.casefold(), word.casefold()) if isinstance(word, str) else None
    if name in CODINGS:
        return name
    near = suggest(word, (*CODINGS, *_ALIASES)) if isinstance(word, str) else None
    shown = f'"{word[:40]}"' if isinstance(word, str) else f"a value of type {type(word).__name__}"
    raise FormulaError(
        asked=asked,
        found=f"{shown} is not a coding; codings: {', '.join(CODINGS)}, a matrix, or (coding, reference level)",
        remedy=f'did you mean "{near}"?' if near else 'write contrasts={"group": "sum"}',
    )


def make_coding(request: Any, levels: tuple[str, ...], name: str, *, ordered: bool = False) -> Coding:
    """The coding a factor gets.

    Parameters
    ----------
    request : None, str, (str, level) or array (k, m)
        None takes R's defaults: treatment, polynomial for an ordered factor.
    levels : tuple of str
        Levels in use, in order.
    name : str
        The factor, for messages.

    Raises
    ------
    FormulaError, DataError
        A coding, reference or matrix that does not exist or does not fit the levels.
    """
    asked = f"the coding of {name}"
    if isinstance(request, Coding):
        request = request.matrix
    if isinstance(request, np.ndarray) or (isinstance(request, (list, tuple)) and _is_rows(request)):
        try:
            matrix = np.asarray(request, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(asked, "a matrix that does not hold numbers", "give one row of numbers per level") from None
        return _custom(matrix, levels, asked)
    reference: str | None = None
    if isinstance(request, (tuple, list)):
        if len(request) != 2:
            raise FormulaError(
                asked, f"{len(request)} values in place of (coding, reference)", 'write ("treatment", "B")'
            )
        request, given = request
        reference = (
            given if isinstance(given, str) else number_label(given) if isinstance(given, (int, float)) else None
        )
        if reference is None:
            raise FormulaError(asked, f"a reference of type {type(given).__name__}", 'write ("treatment", "B")')
    kind = coding_name(request if request is not None else ("poly" if ordered else "treatment"), asked)
    if reference is not None and kind not in ("treatment", "sum"):
        raise FormulaError(asked, f"a reference level for {kind} coding", "only treatment and sum coding have one")
    if reference is not None and reference not in levels:
        near = suggest(reference, levels)
        raise DataError(
            asked=asked,
            found=f'"{reference}" is not a level; levels: {first_few(levels, 10)}',
            remedy=f'did you mean "{near}"?' if near else "use one of the levels",
        )
    k = len(levels)
    if kind in ("treatment", "sum"):
        base = levels.index(reference) if reference is not None else (0 if kind == "treatment" else k - 1)
        others = [j for j in range(k) if j != base]
        if kind == "treatment":
            suffixes = tuple(f"[{levels[j]}]" for j in others)
            return Coding(kind, levels, np.eye(k)[:, others], suffixes, levels[base])
        matrix = np.eye(k)[:, others]
        matrix[base] = -1.0
        return Coding(kind, levels, matrix, tuple(f"[S.{levels[j]}]" for j in others), levels[base])
    from .formulaic_bridge import coding_matrix

    return Coding(kind, levels, coding_matrix(kind, k), _suffixes(kind, levels))


def _suffixes(kind: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    if kind == "helmert":
        return tuple(f"[H.{name}]" for name in levels[1:])
    if kind == "sequential":
        return tuple(f"[{after}-{before}]" for before, after in pairwise(levels))
    return tuple((".L", ".Q", ".C")[j] if j < 3 else f"^{j + 1}" for j in range(len(levels) - 1))


def _is_rows(request: Any) -> bool:
    return bool(request) and all(isinstance(row, (list, tuple, np.ndarray)) for row in request)


def _custom(matrix: Array, levels: tuple[str, ...], asked: str) -> Coding:
    k = len(levels)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or matrix.shape[0] != k or not 1 <= matrix.shape[1] < k or not np.all(np.isfinite(matrix)):
        raise DataError(
            asked=asked,
            found=f"a matrix of shape {matrix.shape} for {k} levels ({first_few(levels, 10)})",
            remedy=f"give finite numbers, one row per level and 1 to {k - 1} columns",
        )
    return Coding("custom", levels, matrix, tuple(f"[{j + 1}]" for j in range(matrix.shape[1])))


def check_contrasts(contrasts: Mapping[str, Any] | None, columns: list[str]) -> dict[str, Any]:
    """Contrasts as asked for, keys trimmed; a key that names neither a column nor a call is refused."""
    out: dict[str, Any] = {}
    if contrasts is None:
        return out
    if not isinstance(contrasts, Mapping):
        raise FormulaError(
            asked=f"contrasts of type {type(contrasts).__name__}",
            found="contrasts map a column to its coding",
            remedy='write contrasts={"group": "sum"}',
        )
    for key, value in contrasts.items():
        if not isinstance(key, str):
            raise FormulaError("contrasts", f"a key of type {type(key).__name__}", 'write contrasts={"group": "sum"}')
        if isinstance(value, str):
            coding_name(value, f'contrasts={{"{key[:40]}": "{value[:40]}"}}')
        if key not in columns:
            from inference_core.formula.guard import admit

            from .columns import require_columns

            expression = admit(key)
            if expression.column is not None:
                require_columns([expression.column], columns, "contrasts")
            key = expression.text
        out[key] = value
    return out
