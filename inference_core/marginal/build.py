"""From a fitted model and a question to a table of effects: estimates, and each as a function of the coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import polars as pl

from inference_core.design.state import DesignState
from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.formula.names import first_few
from inference_core.states import Array, DataBundle, FitState, MeeState, ModelSpec, RowFamily

from .counterfactual import average_over_rows
from .estimable import estimable_rows, null_space
from .grid import Grid, design_rows, reference_grid
from .options import Options, check_options
from .predictors import Predictor, grouping_columns, kept_rows, predictors_of
from .quantity import IDENTITY, Linear, Quantity, averages, compare
from .question import Block, Question, ask, by_names
from .slopes import design_slope

MAX_WEIGHTS = 50_000_000  # of all comparisons together: 400 megabytes
ROUNDING = 1e-10  # relative: of differences of design rows, slopes by finite differences among them


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The quantity of every cell of the named columns, and which can be estimated."""

    quantity: Quantity
    estimable: Array  # (C,)
    notes: tuple[str, ...]


def explore(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame,
    text: str,
    *,
    by: str | Sequence[str] | None = None,
    effect_scale: str | None = None,
    how: str | None = None,
    weights: str | Mapping[str, Any] = "equal",
    p_adjust: str = "none",
    comparison: str = "difference",
    average_on: str = "link",
) -> MeeState:
    """Marginal means, slopes and contrasts of a fitted model.

    Parameters
    ----------
    spec, bundle, fit, data
        A fitted model and its original frame.
    text : str
        ``"group"``: means; ``"x"`` of a number: its slope; ``"pairwise(group) ~ sex"``: comparisons; the whole language
        is in ``formula.explore.parse``.
    by : str or sequence of str, optional
        Conditions beside those of the text.
    effect_scale : {"response", "link"}, optional
        Default: response, but "link" (the scale of the transform) where the formula transforms the response.
    how : {"mem", "ame"}, optional
        "mem": at a reference grid, other numbers at their mean. "ame": averages over the rows of the data, in each of
        which the named columns are set to the cell's values. Default: "ame" for slopes on a curved response scale.
    weights : str or mapping
        How factors that the text does not name are averaged on a grid: equal, proportional, outer, cells, flat, or
        weights by factor.
    p_adjust : str
        Kept for the table that ``infer`` makes.
    comparison : {"difference", "ratio", "odds_ratio"}
        Of contrasts on the response scale.
    average_on : {"link", "response"}
        Where the factors that are averaged over are averaged on a grid: before the inverse link (as emmeans), or after.

    Returns
    -------
    MeeState
        Without inference; see ``infer.mee``.

    Raises
    ------
    FormulaError
        The text cannot be read, or names what the model does not have.
    InferenceError
        Options that do not go together.
    """
    rows = kept_rows(bundle, data)
    known = predictors_of(bundle, rows)
    question = ask(text, by_names(by, known), known, grouping_columns(bundle))
    options = check_options(
        spec, question, effect_scale=effect_scale, how=how, p_adjust=p_adjust, comparison=comparison,
        average_on=average_on,
    )  # fmt: skip
    cells = _cells(spec, bundle, fit, rows, known, question, options, weights)
    quantity, estimable = cells.quantity, cells.estimable
    if question.is_contrast:
        matrix = _contrast_matrix(question)
        quantity = _without_rounding(compare(quantity, matrix, options.comparison, options.link_name), quantity, matrix)
        estimable = np.array([bool(np.all(estimable[row != 0])) for row in matrix])
        if isinstance(cells.quantity, Linear) and isinstance(quantity, Linear):
            # A difference can be estimable where its parts are not.
            estimable = estimable_rows(matrix @ cells.quantity.L, null_space(bundle))
    kept = bundle.rank_info.kept
    coef = np.zeros(bundle.p)
    coef[kept] = fit.coef[kept]
    if isinstance(quantity, Linear) and len(kept) < bundle.p:
        L = np.zeros_like(quantity.L)
        L[:, kept] = quantity.L[:, kept]
        quantity = Linear(L, quantity.shift, quantity.map)
    linear = isinstance(quantity, Linear)
    grid = _labels(question)
    notes = (*cells.notes, *_notes_of_zeros(quantity, estimable, grid))
    return MeeState(
        grid=grid,
        estimate=np.where(estimable, quantity.of(coef), np.nan),
        explore_formula=text,
        focal_var=question.slope.name if question.slope else ":".join(a.predictor.name for b in question.blocks
                                                                      if not b.is_condition for a in b.axes),
        type=_type(question, options),
        how=options.how,
        effect_scale=options.effect_scale,
        estimable=estimable,
        L=quantity.L if isinstance(quantity, Linear) else None,
        shift=quantity.shift if isinstance(quantity, Linear) else None,
        monotone=quantity.map.name if isinstance(quantity, Linear) else "identity",
        effect=quantity.of,
        jacobian=None if linear else quantity.jacobian(coef),
        weights_rule=weights if isinstance(weights, str) else "custom",
        by=tuple(a.predictor.name for b in question.blocks if b.is_condition and b.weights is None for a in b.axes),
        families=_families(question.blocks),
        p_adjust=options.p_adjust,
        notes=notes,
    )  # fmt: skip


def _cells(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    rows: pl.DataFrame,
    known: dict[str, Predictor],
    question: Question,
    options: Options,
    weights: str | Mapping[str, Any],
) -> _Cells:
    link = options.map_of(fitted_family(spec, fit).link)
    if options.how == "ame":
        return _Cells(*average_over_rows(bundle, rows, question, link))
    grid = reference_grid(bundle, rows, known, question.axes, weights)
    notes = (*_grid_notes(known, question, weights), *_interaction_notes(bundle, known, question))
    null = null_space(bundle)
    if question.slope is None and (options.average_on == "link" or link is IDENTITY):
        return _Cells(Linear(grid.L, grid.shift, link), _judged(grid, grid.L, null), notes)
    slope = None
    if question.slope is not None:
        flat = design_slope(bundle, lambda frame: design_rows(bundle, rows, frame)[0], grid.frame, question.slope)
        slope = flat.reshape(grid.X.shape)
        if link is IDENTITY:
            L = np.einsum("ck,ckp->cp", grid.weights, slope)
            return _Cells(Linear(L, None), _judged(grid, L, null), notes)
    whole = estimable_rows(grid.X.reshape(-1, bundle.p), null).reshape(grid.weights.shape)
    estimable = np.all(whole | (grid.weights == 0), axis=1)
    return _Cells(averages(grid.X, grid.offset, grid.weights, link, slope), estimable, notes)


def _judged(grid: Grid, L: Array, null: Array) -> Array:
    return estimable_rows(np.nan_to_num(L), null) & ~np.isnan(grid.weights).any(1)


def _without_rounding(compared: Quantity, cells: Quantity, matrix: Array) -> Quantity:
    """Weights that cancel but for rounding made 0: what a model says is 0 must not get an estimate and a p-value."""
    if not isinstance(compared, Linear) or not isinstance(cells, Linear):
        return compared
    size = np.abs(matrix) @ np.abs(cells.L)
    return replace(compared, L=np.where(np.abs(compared.L) <= ROUNDING * size, 0.0, compared.L))


def _notes_of_zeros(quantity: Quantity, estimable: Array, grid: pl.DataFrame) -> tuple[str, ...]:
    if not isinstance(quantity, Linear):
        return ()
    zero = estimable & ~quantity.L.any(1)
    if not zero.any():
        return ()
    rows = [", ".join(map(str, row)) for row in grid.filter(pl.Series(zero)).rows()]
    return (f"{first_few(rows, 3)}: the same for every value of the coefficients, so there is nothing to test",)


def _contrast_matrix(question: Question) -> Array:
    """(rows, cells), the first block varying fastest."""
    rows, cells = (prod(sizes) for sizes in zip(*((b.n_rows, b.size) for b in question.blocks), strict=True))
    if rows * cells > MAX_WEIGHTS:
        raise InferenceError(
            asked=f"explore({question.text!r})", found=f"{rows:,} comparisons of {cells:,} cells, too many to hold",
            remedy="name fewer values, or sequential(...) for pairwise(...)",
        )  # fmt: skip
    parts = [np.eye(block.size) if block.weights is None else block.weights for block in question.blocks]
    return reduce(lambda fast, slow: np.kron(slow, fast), parts, np.ones((1, 1)))


def _labels(question: Question) -> pl.DataFrame:
    """One row per effect: the slope's number, the comparison, then values of every column that is not compared."""
    columns: dict[str, list[str]] = {}
    total = prod(block.n_rows for block in question.blocks)
    if question.slope is not None:
        columns["term"] = [question.slope.name] * total
    repeat, contrasts = 1, []
    for block in question.blocks:
        if block.weights is not None:
            contrasts.append(_spread(block.labels, repeat, total))
            repeat *= len(block.labels)
            continue
        for axis in block.axes:
            columns[axis.predictor.name] = _spread(axis.labels, repeat, total)
            repeat *= len(axis.values)
    if contrasts:
        joined = [" : ".join(parts) for parts in zip(*contrasts, strict=True)]
        first = {"term": columns.pop("term")} if "term" in columns else {}
        columns = {**first, "contrast": joined, **columns}
    return pl.DataFrame(columns or {"mean": ["overall"] * total})


def _spread(labels: Sequence[str], repeat: int, total: int) -> list[str]:
    return [labels[i // repeat % len(labels)] for i in range(total)]


def _families(blocks: Sequence[Block]) -> tuple[RowFamily, ...]:
    """Rows within one value of every condition that is not compared are judged together."""
    inner = [b for b in blocks if not b.is_condition or b.weights is not None]
    width = prod(block.n_rows for block in blocks)
    methods = [b.method for b in inner if b.weights is not None]
    means = prod(block.size for block in inner)
    group = np.zeros(width, int)
    repeat, stride = 1, 1
    for block in blocks:
        length = block.n_rows
        if block.is_condition and block.weights is None:
            group += stride * (np.arange(width) // repeat % length)
            stride *= length
        repeat *= length
    return tuple(RowFamily(np.flatnonzero(group == g), ":".join(methods), means) for g in range(stride))


def _type(question: Question, options: Options) -> str:
    if question.is_contrast:
        return "contrasts" if options.comparison == "difference" else "comparisons"
    return "slopes" if question.slope is not None else "means"


def _interaction_notes(bundle: DataBundle, known: Mapping[str, Predictor], question: Question) -> tuple[str, ...]:
    """What emmeans warns of: a column that is asked about interacts with one that is averaged over or held."""
    state: DesignState = bundle.design_state
    named = {axis.predictor.name for axis in question.axes} | ({question.slope.name} if question.slope else set())
    asked: dict[str, None] = {}
    found: dict[str, None] = {}
    for term in state.terms:
        columns = {column for i in term.operands for column in state.operands[i].columns}
        if len(term.operands) > 1 and columns & named and columns - named:
            asked |= dict.fromkeys(name for name in known if name in columns & named)
            found |= dict.fromkeys(name for name in known if name in columns - named)
    if not found:
        return ()
    first = next(iter(found))
    apart = first if known[first].is_factor else f"{first}@range(3)"
    both, others = " and ".join(asked), " and ".join(found)
    return (f"{both} and {others} interact: one answer for all of {others} may mislead; '... ~ {apart}' shows them",)


def _grid_notes(
    known: Mapping[str, Predictor], question: Question, weights: str | Mapping[str, Any]
) -> tuple[str, ...]:
    named = {axis.predictor.name for axis in question.axes}
    over = [p.name for p in known.values() if p.is_factor and p.name not in named]
    notes = []
    if over:
        rule = "" if weights == "equal" else f" (weights: {weights if isinstance(weights, str) else 'as given'})"
        notes.append(f"averaged over the levels of {', '.join(over)}{rule}")
    held = [p for p in known.values() if not p.is_factor and p.name not in named]
    if held:
        notes.append("held at the mean: " + ", ".join(f"{p.name} = {np.mean(p.values):.4g}" for p in held
                                                      if p.values is not None))  # fmt: skip
    return tuple(notes)
