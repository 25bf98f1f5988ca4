"""Formula and data to the bundle that every solver starts from, and new rows through the same state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import DataError, FormulaError, InferenceCoreWarning
from inference_core.formula.parse import ParsedFormula, parse_formula
from inference_core.formula.tokens import shorten
from inference_core.formula.values import Factor
from inference_core.solvers.lstsq import rank_of_design
from inference_core.states import Array, DataBundle, ModelSpec

from .codings import check_contrasts
from .columns import Columns, check_type, complete_rows, is_text, numbers_among_text, require_columns
from .matrix import OperandValue, assemble, check_size, learn_operand, name_columns, term_states
from .random import learn_random
from .read import read_frame
from .response import BINOMIAL, Response, build_response
from .rowwise import RowValue, check_weights, evaluate_row_value, read_row_value
from .state import DesignState, OffsetState
from .terms import Terms, expand_terms


def build_bundle(
    formula: str,
    data: Any,
    *,
    family: Any = "gaussian",
    link: Any = "identity",
    method: str = "ols",
    missing: str = "drop",
    contrasts: Mapping[str, Any] | None = None,
    weights: Any = None,
    offset: Any = None,
) -> tuple[ModelSpec, DataBundle]:
    """Build the design of one model.

    Parameters
    ----------
    formula : str
        In R's grammar; random terms are split off and kept as text in the specification.
    data : frame, path or dict
        Whatever ``read_frame`` reads.
    family, link, method : str
        Go into the specification as they are; the family also says how a text response is read.
    missing : {"drop", "raise"}
        Rows with a null or NaN in any used column are left out before any transform learns from them, or
        refused.
    contrasts : dict, optional
        Column (or operand such as ``"factor(cyl)"``) to ``"treatment" | "sum" | "helmert" | "poly" |
        "sequential"``, R's ``contr.*`` names, ``("treatment", reference)``, or a (levels, columns) matrix.
    weights, offset : str or (n_total,) array, optional
        A column, an expression over columns, or one number per row of ``data``. The offset adds to the
        ``offset()`` terms of the formula.

    Returns
    -------
    ModelSpec, DataBundle

    Raises
    ------
    FormulaError
        The formula cannot be read, names a column that is not there, or holds what formulas may not hold.
    DataError
        The data cannot serve the formula.
    """
    frame = read_frame(data)
    asked = formula if isinstance(formula, str) else repr(type(formula).__name__)
    parsed = parse_formula(formula)
    if parsed.response is None:
        raise FormulaError(shorten(asked, 120), "no response to the left of ~", 'write "y ~ x"')
    if missing not in ("drop", "raise"):
        raise DataError(f"missing={missing!r}", 'missing is "drop" or "raise"', 'leave it at "drop"')
    names = frame.columns
    codings = check_contrasts(contrasts, names)
    weight_request = read_row_value(weights, "weights", names, frame.height)
    offset_requests = [RowValue("offset", e, None) for e in parsed.offsets]
    if (extra := read_row_value(offset, "offset", names, frame.height)) is not None:
        offset_requests.append(extra)

    require_columns(parsed.response.columns, names, shorten(asked, 120))
    terms = expand_terms(parsed.fixed, names, set(parsed.response.columns), asked)
    used = used_columns(parsed, terms, [weight_request, *offset_requests], asked)
    require_columns(used, names, shorten(asked, 120))
    if any(o.text == parsed.response.text for o in terms.operands):
        raise FormulaError(
            shorten(asked, 120),
            f'the response "{parsed.response.text}" is also on the right',
            "take it out there",
        )
    for name in used:
        check_type(name, frame.get_column(name))

    valid, lacking = complete_rows(frame, used, _read_as_numbers(parsed, terms))
    n = int(np.count_nonzero(valid))
    _check_rows(frame.height, n, lacking, missing)
    rows = np.flatnonzero(valid)
    kept = frame[used]  # without the query engine of select(), which costs more than a small fit
    kept = kept if n == frame.height else kept.filter(pl.Series(valid))
    columns = Columns(kept)
    text_numbers = _text_of_numbers(kept, terms)

    values = [learn_operand(e, columns, n, codings, rows) for e in terms.operands]
    states = tuple(v.state for v in values)
    term_list = term_states(terms, values)
    check_size(terms.intercept, term_list, states, n)
    X_names, term_of_column, parts = name_columns(terms.intercept, term_list, states)
    X = assemble(terms.intercept, term_list, values, n, len(X_names))
    re_info, random_states = learn_random(parsed.random, columns, n, codings, rows, asked)
    family_name = family if isinstance(family, str) else family.name
    response = build_response(parsed, columns, n, rows, family_name)
    weight_values, trials = _weights(weight_request, columns, n, rows, response, family_name)
    offset_values, offset_states = _offsets(offset_requests, columns, n, rows)

    state = DesignState(
        formula=formula, intercept=terms.intercept, operands=states, terms=term_list,
        column_levels={c: v.levels for c, v in columns.cache.items() if isinstance(v, Factor)},
        column_kinds={c: _kind(kept.get_column(c)) for c in used},
        offsets=offset_states, X_names=X_names, parts=parts, lacking=lacking, text_numbers=text_numbers,
        number_groups=_number_groups(parsed, kept), random=random_states,
    )  # fmt: skip
    bundle = DataBundle(
        y=response.y, X=X, X_names=X_names, term_of_column=term_of_column, source_terms=terms.labels,
        y_name=parsed.response.text, valid_mask=valid, n_total=frame.height,
        rank_info=rank_of_design(X, names=X_names), weights=weight_values, offset=offset_values, trials=trials,
        factor_levels={s.text: s.coding.levels for s in states if s.coding is not None},
        contrast_matrices={s.text: s.coding.matrix for s in states if s.coding is not None},
        response_levels=response.levels, missing_in=tuple(lacking), re_metadata=re_info, design_state=state,
    )  # fmt: skip
    return _spec(parsed, terms, values, family_name, link, method), bundle


# ---- steps -------------------------------------------------------------------------------------------------


def used_columns(parsed: ParsedFormula, terms: Terms, requests: list[RowValue | None], asked: str) -> list[str]:
    """Every column that the model looks at, in order of appearance, each once."""
    used: dict[str, None] = {}
    if parsed.response is not None:
        used.update(dict.fromkeys(parsed.response.columns))
    for expression in terms.operands:
        used.update(dict.fromkeys(expression.columns))
    for term in parsed.random:
        for expression in expand_terms(term.effects, [], set(), asked).operands:
            used.update(dict.fromkeys(expression.columns))
        used.update(dict.fromkeys(term.columns))
    for request in requests:
        if request is not None and request.expression is not None:
            used.update(dict.fromkeys(request.expression.columns))
    return list(used)


def _read_as_numbers(parsed: ParsedFormula, terms: Terms) -> frozenset[str]:
    """Columns inside as_number(): their text is missing where it spells no number."""
    expressions = [*terms.operands, *([parsed.response] if parsed.response is not None else [])]
    return frozenset(c for e in expressions for c in e.columns_under("as_number"))


def _check_rows(n_total: int, n: int, lacking: dict[str, int], missing: str) -> None:
    listed = ", ".join(f'"{name}" ({count})' for name, count in lacking.items())
    if n_total == 0:
        raise DataError("a model of these data", "they have no rows", "check the file or the filter")
    if lacking and missing == "raise":
        raise DataError(
            asked='complete rows (missing="raise")',
            found=f"{n_total - n} of {n_total} rows lack a value: {listed}",
            remedy='fill the values in, or leave those rows out with missing="drop"',
        )
    if n == 0:
        raise DataError(
            asked="a model of these data",
            found=f"none of the {n_total} rows has a value in every column used; missing: {listed}",
            remedy="drop the emptiest column from the formula",
        )


def _text_of_numbers(frame: pl.DataFrame, terms: Terms) -> dict[str, str]:
    """Warn of text columns that are mostly numbers: a stray word has turned them into groups."""
    found: dict[str, str] = {}
    for expression in terms.operands:
        if expression.column is None:
            continue
        seen = numbers_among_text(frame.get_column(expression.column))
        if seen is not None:
            found[expression.column] = seen[0]
            warnings.warn(
                InferenceCoreWarning(
                    f'Column "{expression.column}" holds text ({seen[0]}) among numbers, so it is treated as groups. '
                    f"Clean it, or write `as_number({expression.column})` before the fit."
                ),
                stacklevel=4,
            )
    return found


def _weights(
    request: RowValue | None, columns: Columns, n: int, rows: Array, response: Response, family: str
) -> tuple[Array | None, Array | None]:
    """Prior weights and trials: for proportions the user's weights *are* the trials."""
    if request is None:
        return None, response.trials
    values, _ = evaluate_row_value(request, columns, n, rows, everything=False)
    check_weights(values, rows)
    proportions = response.trials is None and np.any((response.y > 0) & (response.y < 1))
    if family in BINOMIAL and proportions:
        return None, values
    return values, response.trials


def _offsets(
    requests: list[RowValue], columns: Columns, n: int, rows: Array
) -> tuple[Array | None, tuple[OffsetState, ...]]:
    total: Array | None = None
    states = []
    for request in requests:
        values, state = evaluate_row_value(request, columns, n, rows, everything=False)
        total = values.copy() if total is None else total + values
        states.append(state)
    return total, tuple(states)


def _number_groups(parsed: ParsedFormula, frame: pl.DataFrame) -> dict[str, int]:
    """Plain columns of numbers that serve as groups of a random term, and how many values each has."""
    plain = dict.fromkeys(g.column for term in parsed.random for g in term.groups if g.column is not None)
    return {c: frame.get_column(c).n_unique() for c in plain if _kind(frame.get_column(c)) == "number"}


def _kind(series: pl.Series) -> str:
    return "text" if is_text(series) else "boolean" if isinstance(series.dtype, pl.Boolean) else "number"


def _spec(
    parsed: ParsedFormula, terms: Terms, values: list[OperandValue], family: str, link: Any, method: str
) -> ModelSpec:
    response = parsed.response
    assert response is not None
    single = response.columns[0] if len(response.columns) == 1 else None
    return ModelSpec(
        formula=parsed.text,
        response_var=single if single is not None else response.text,
        response_transform=response.function if single is not None else None,
        fixed_terms=terms.labels,
        random_terms=parsed.random_terms,
        family=family,
        link=link if isinstance(link, str) else link.name,
        method=method,
        has_random_effects=bool(parsed.random),
        contrasts={v.state.text: v.state.coding.kind for v in values if v.state.coding is not None},
        has_intercept=terms.intercept,
    )
