"""Predictions of a fitted model at new rows, a grid, or its own rows: point values, and what their limits need."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inference_core.design import design_new
from inference_core.design.columns import Columns
from inference_core.design.random import RandomRows, random_new
from inference_core.design.read import read_frame
from inference_core.design.rowwise import check_weights, evaluate_row_value, read_row_value
from inference_core.errors import FormulaError, InferenceError
from inference_core.fit.common import fitted_family
from inference_core.fit.predict import linear_predictor
from inference_core.formula.names import suggest
from inference_core.states import Array, DataBundle, FitState, ModelSpec
from inference_core.states.prediction import PredictionState

from .estimable import estimable_rows, null_space
from .grid import array_offset, design_rows
from .predictors import kept_rows, predictors_of
from .rows import grid_frame, is_grid_text, training_frame

TYPES = ("response", "link")
VARYING = ("exclude", "include")
_SHOWN = 3  # rows that a note names


def predict(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame,
    newdata: Any = None,
    *,
    type: str = "response",
    varying: str = "exclude",
    allow_new_levels: bool = False,
    offset: Any = None,
    weights: Any = None,
) -> PredictionState:
    """Fitted values for any rows.

    Parameters
    ----------
    spec, bundle, fit, data
        A fitted model and its original frame.
    newdata : frame, dict, path or str, optional
        Rows with the predictors; a text such as ``"wt ~ cyl"`` is a grid, see ``rows.grid_frame``; None are the rows of
        the fit, in their order.
    type : {"response", "link"}
        Scale of the fitted values. A transform on the left of the formula is never undone: ``log(y)`` is predicted as
        ``log(y)``, and the notes say so.
    varying : {"exclude", "include"}
        The population, with random effects at 0; or each row's own groups, by their conditional modes.
    allow_new_levels : bool
        Of conditional predictions: a group that the fit has not seen has the population's value, and intervals with
        the variance between groups.
    offset : str or (m,) array, optional
        Of a model whose offset was given as an array.
    weights : str, number or (m,) array, optional
        Prior weights of new observations, of the binomial their number of trials; prediction intervals of a weighted
        model need them.

    Returns
    -------
    PredictionState
        Without limits; see ``infer.prediction``.

    Raises
    ------
    InferenceError
        Words that are not known, and arguments that have no use here.
    DataError
        A level that the fit has not seen, or a missing value.
    FormulaError
        A column that is not there, or a grid that cannot be read.
    """
    _check(spec, type, varying, allow_new_levels, newdata, offset, weights)
    conditional = varying == "include"
    rows = kept_rows(bundle, data)
    notes: list[str] = []
    text = newdata.strip() if is_grid_text(newdata) else None
    if newdata is None:
        grid, X, shift = training_frame(bundle, rows), bundle.X, bundle.offset
        w = bundle.prior_weights
        random = _training_random(bundle)
    else:
        if text is not None:
            grid, note = grid_frame(bundle, rows, text, groups=conditional)
            notes += [note] if note else []
            _refuse_unnamed_groups(text, grid, bundle, conditional)
        else:
            grid = read_frame(newdata)
        if text is not None and offset is None:
            X, shift = design_rows(bundle, rows, grid)
            notes += _offset_note(bundle, rows)
        else:
            _refuse_offset(bundle, offset)
            X, shift = design_new(bundle, grid, offset=offset)
        w = _weights(weights, grid, bundle)
        random, more = _new_random(bundle, grid, conditional, allow_new_levels)
        notes += more
        notes += _outside(bundle, rows, grid)
    estimable = estimable_rows(X, null_space(bundle))
    eta = linear_predictor(fit, X, shift)
    if conditional:
        assert random is not None
        eta = eta + random_part(bundle, fit, random)
    eta = np.where(estimable, eta, np.nan)
    notes += _rank_note(estimable) + _scale_note(spec)
    with np.errstate(all="ignore"):
        mean = eta if type == "link" else fitted_family(spec, fit).link.inverse(eta)
    return PredictionState(
        fitted=mean, link=eta, X_pred=X, grid=grid,
        config={
            "type": type, "varying": varying, "allow_new_levels": allow_new_levels, "newdata": newdata is not None,
            "formula": text,
        },
        offset=shift, weights=w, random=random, training=newdata is None, notes=tuple(notes),
    )  # fmt: skip


def random_part(bundle: DataBundle, fit: FitState, random: tuple[RandomRows, ...]) -> Array:
    """(m,) z'b of each row, 0 for groups that are new."""
    assert fit.b is not None
    total = np.zeros(len(random[0].group_index))
    for own, b in zip(random, bundle.re_metadata.split_effects(fit.b), strict=True):
        known = own.group_index >= 0
        total[known] += np.einsum("nk,nk->n", own.X_re[known], b[own.group_index[known]])
    return total


# ---- what was asked --------------------------------------------------------------------------------------------


def _check(
    spec: ModelSpec, type: Any, varying: Any, allow_new_levels: Any, newdata: Any, offset: Any, weights: Any
) -> None:
    _word("type", type, TYPES)
    _word("varying", varying, VARYING)
    if not isinstance(allow_new_levels, bool):
        raise InferenceError(f"predict(allow_new_levels={allow_new_levels!r})", "it is True or False",
                             "allow_new_levels=True")  # fmt: skip
    if varying == "include" and not spec.has_random_effects:
        raise InferenceError("predict(varying='include')", "the model has no random effects", "leave varying out")
    if allow_new_levels and varying == "exclude":
        raise InferenceError(
            "predict(allow_new_levels=True)",
            "with varying='exclude' predictions are those of the population, whatever the group"
            if spec.has_random_effects
            else "the model has no random effects, and a new level of a fixed factor has no coefficient",
            "varying='include', or leave allow_new_levels out" if spec.has_random_effects
            else "leave allow_new_levels out",
        )
    for name, value in (("offset", offset), ("weights", weights)):
        if newdata is None and value is not None:
            raise InferenceError(
                f"predict({name}=...) without new rows",
                f"the rows of the fit have their own {name}",
                f"leave {name} out, or give newdata",
            )


def _word(name: str, value: Any, words: tuple[str, ...]) -> None:
    if value not in words:
        near = suggest(value, words) if isinstance(value, str) else None
        raise InferenceError(
            f"predict({name}={value!r})",
            f"{name} is one of {', '.join(words)}",
            f"did you mean {near!r}?" if near else f"{name}={words[0]!r}",
        )


def _refuse_offset(bundle: DataBundle, offset: Any) -> None:
    if offset is not None and all(saved.text is not None for saved in bundle.design_state.offsets):
        known = [saved.text for saved in bundle.design_state.offsets]
        raise InferenceError(
            "predict(offset=...)",
            f"the model finds its offset {' + '.join(known)} in the new rows" if known else "the model has no offset",
            "leave offset out",
        )


def _refuse_unnamed_groups(text: str, grid: pl.DataFrame, bundle: DataBundle, conditional: bool) -> None:
    if not conditional:
        return
    lost = [c for g in bundle.design_state.random for c in g.columns if c not in grid.columns]
    if lost:
        joined = " + ".join(dict.fromkeys(lost))
        condition = f"{text} + {joined}" if "~" in text else f"{text} ~ {joined}"
        raise FormulaError(
            f"predict({text!r}, varying='include')",
            f"{', '.join(dict.fromkeys(lost))} is not named, and predictions of groups need it",
            f"predict({condition!r}, varying='include'), or leave varying out for the population",
        )


# ---- parts of new rows -----------------------------------------------------------------------------------------


def _weights(weights: Any, grid: pl.DataFrame, bundle: DataBundle) -> Array | None:
    if weights is None:
        return None
    m = grid.height
    if isinstance(weights, (int, float, np.number)) and not isinstance(weights, bool):
        weights = np.full(m, float(weights))
    request = read_row_value(weights, "weights", grid.columns, m)
    assert request is not None
    columns = Columns(grid, bundle.design_state.column_levels)
    values, _ = evaluate_row_value(request, columns, m, np.arange(m), everything=True)
    check_weights(values, np.arange(m))
    return values


def _training_random(bundle: DataBundle) -> tuple[RandomRows, ...] | None:
    if bundle.re_metadata is None:
        return None
    return tuple(RandomRows(block.X_re, block.group_index, ()) for block in bundle.re_metadata.blocks)


def _new_random(
    bundle: DataBundle, grid: pl.DataFrame, conditional: bool, allow_new_levels: bool
) -> tuple[tuple[RandomRows, ...] | None, list[str]]:
    if bundle.re_metadata is None:
        return None, []
    if conditional:
        random = random_new(bundle, grid, allow_new_levels=allow_new_levels)
        new = {b.group_name: r.unseen for b, r in zip(bundle.re_metadata.blocks, random, strict=True) if r.unseen}
        return random, [
            f"{name} {', '.join(levels[:_SHOWN])}{' and others' if len(levels) > _SHOWN else ''} not in the data: the "
            "population's value, limits with the variance between groups"
            for name, levels in new.items()
        ]
    need = dict.fromkeys(
        c for g in bundle.design_state.random for part in g.parts for o in part.operands for c in o.columns
    )
    lacking = [name for name in need if name not in grid.columns]
    if lacking:
        return None, [f"no prediction limits: the rows lack {', '.join(lacking)}, whose effect varies between groups"]
    return random_new(bundle, grid, groups=False), []


def _offset_note(bundle: DataBundle, rows: pl.DataFrame) -> list[str]:
    if all(saved.text is not None for saved in bundle.design_state.offsets):
        return []
    return [f"the offset stands at its mean, {float(array_offset(bundle, rows).mean()):.4g}"]


# ---- what a reader must know -----------------------------------------------------------------------------------


def _outside(bundle: DataBundle, rows: pl.DataFrame, grid: pl.DataFrame) -> list[str]:
    """Numbers beyond the data: the line goes on, but nothing was seen there."""
    notes = []
    for name, predictor in predictors_of(bundle, rows).items():
        if predictor.values is None or not predictor.values.size or name not in grid.columns:
            continue
        low, high = float(predictor.values.min()), float(predictor.values.max())
        values = grid.get_column(name).cast(pl.Float64, strict=False).to_numpy()
        beyond = values[(values < low) | (values > high)]
        if beyond.size:
            far = beyond[int(np.argmax(np.maximum(low - beyond, beyond - high)))]
            notes.append(f"{name} of {far:g} lies outside the data ({low:g} to {high:g}): treat it as a guess")
    return notes


def _rank_note(estimable: Array) -> list[str]:
    lost = np.flatnonzero(~estimable)
    if not lost.size:
        return []
    shown = ", ".join(str(int(i)) for i in lost[:_SHOWN]) + (", ..." if lost.size > _SHOWN else "")
    return [
        f"{lost.size:,} of {estimable.size:,} rows ({shown}, counting from 0) cannot be predicted: the data leave open "
        "what the terms that were dropped would add"
    ]


def _scale_note(spec: ModelSpec) -> list[str]:
    if spec.response_transform is None:
        return []
    transform = spec.response_transform
    back = {"log": "exp", "log2": "2 ** ", "log10": "10 ** ", "log1p": "expm1", "sqrt": "the square"}.get(transform)
    more = f"; {back} of them is a median, with its limits" if back else ""
    return [f"on the scale of the formula, {transform}({spec.response_var}){more}"]
