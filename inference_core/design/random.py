"""Random terms to blocks: the left of each bar as columns, the right as groups, in lme4's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from inference_core.errors import DataError, FormulaError
from inference_core.formula.evaluate import apply, learn
from inference_core.formula.guard import Expression, admit, admit_column
from inference_core.formula.parse import RandomTerm
from inference_core.formula.tokens import shorten
from inference_core.formula.transforms import as_factor
from inference_core.formula.values import Basis, Factor, Value
from inference_core.states import Array, DataBundle, RandomBlock, REInfo

from .columns import Columns, missing_mask, require_columns
from .matrix import OperandValue, apply_operand, assemble, learn_operand, name_columns, term_states, unseen_level
from .newdata import check_column
from .read import read_frame
from .state import DesignState, OperandState, RandomGroupState, RandomPartState
from .terms import Terms, expand_terms


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Effects that covary: one term of lme4 after ``||`` is written out."""

    group: _Group
    text: str
    names: tuple[str, ...]
    X: Array  # (n, k)
    state: RandomPartState


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """A grouping factor over the rows at hand."""

    name: str
    levels: tuple[str, ...]
    codes: Array  # (n,)
    columns: tuple[str, ...]
    state: RandomGroupState


def learn_random(
    terms: tuple[RandomTerm, ...],
    columns: Callable[[str], Value],
    n: int,
    contrasts: Mapping[str, Any],
    row_of: Array,
    asked: str,
) -> tuple[REInfo | None, tuple[RandomGroupState, ...]]:
    """Blocks of all random terms, and what new rows need.

    Parameters
    ----------
    terms : tuple of RandomTerm
        From ``parse_formula``; nesting is already written out.
    columns : callable
        Complete rows of a column by name.
    n : int
        Rows kept.
    contrasts : mapping
        Codings by column, as in the fixed part: ``(f | g)`` has an intercept and contrasts, ``(0 + f | g)`` one effect
        per level.
    row_of : (n,) array
        Where the rows stand in the data, for messages.
    asked : str
        The formula as written.

    Returns
    -------
    REInfo or None, states
        None without random terms.

    Raises
    ------
    FormulaError
        A term without effects, or an effect that stands twice for one factor.
    DataError
        A factor with one level.
    """
    if not terms:
        return None, ()
    groups: dict[str, _Group] = {}
    parts: list[_Part] = []
    for term in terms:
        if term.group_name not in groups:
            groups[term.group_name] = _learn_group(term, columns, n)
        parts += _learn_parts(term, groups[term.group_name], columns, n, contrasts, row_of, asked)
    ordered: dict[str, list[_Part]] = {}
    for part in _in_lme4_order(parts):
        ordered.setdefault(part.group.name, []).append(part)
    blocks = tuple(_block(members, asked) for members in ordered.values())
    states = tuple(
        RandomGroupState(**{**_fields(members[0].group.state), "parts": tuple(p.state for p in members)})
        for members in ordered.values()
    )
    nested = _nesting(blocks)
    return REInfo(blocks, _structure(blocks, nested), nested), states


@dataclass(frozen=True, slots=True, eq=False)
class RandomRows:
    """One block's share of new rows."""

    X_re: Array  # (m, k)
    group_index: Array  # (m,) -1 for a group that was not in the data that made the fit
    unseen: tuple[str, ...]


def random_new(
    bundle: DataBundle, newdata: Any, *, allow_new_levels: bool = False, groups: bool = True
) -> tuple[RandomRows, ...]:
    """Random-effects columns and groups of new rows, one entry per block, with what the training rows taught.

    Without ``groups`` every row is one of a new group, whose name is not looked at.

    Raises
    ------
    DataError
        A group that was not in the training rows (unless ``allow_new_levels``: its index then is -1, and so is that of
        a missing group), or a missing value on the left of a bar.
    FormulaError
        A column that is not there.
    """
    state: DesignState = bundle.design_state
    frame = read_frame(newdata)
    m = frame.height
    effects = dict.fromkeys(c for g in state.random for part in g.parts for o in part.operands for c in o.columns)
    grouping = dict.fromkeys(c for g in state.random for c in g.columns) if groups else {}
    require_columns([*effects, *grouping], frame.columns, "predictions for new rows")
    absent: dict[str, Array] = {}
    for name in [*effects, *grouping]:
        check_column(name, frame.get_column(name), state)
        mask = missing_mask(frame.get_column(name))
        if mask is None:
            continue
        if name in effects or not allow_new_levels:
            raise DataError(
                asked="predictions for new rows",
                found=f'"{name}" lacks a value in {int(mask.sum())} of {m} rows',
                remedy="give every new row a value in every predictor, or allow_new_levels=True where it is a group",
            )
        absent[name] = mask
    columns = Columns(frame, state.column_levels)
    out = []
    for group in state.random:
        X = np.concatenate([_apply_part(part, columns, m) for part in group.parts], axis=1)
        index = np.full(m, -1, dtype=np.intp)
        if not groups:
            out.append(RandomRows(X, index, ()))
            continue
        lost = [absent[name] for name in group.columns if name in absent]
        here = np.flatnonzero(~np.logical_or.reduce(lost)) if lost else np.arange(m)
        known = Columns(frame[here], state.column_levels) if lost else columns
        found, unseen = _apply_group(group, known, here.size)
        if unseen and not allow_new_levels:
            raise unseen_level(unseen[0], group.name, group.levels)
        index[here] = found
        out.append(RandomRows(X, index, unseen))
    return tuple(out)


# ---- learning ----------------------------------------------------------------------------------------------


def _learn_group(term: RandomTerm, columns: Callable[[str], Value], n: int) -> _Group:
    factors, learned = [], []
    for expression in term.groups:
        value, what = learn(expression, columns, n)
        factors.append(_as_group(value, expression).used())
        learned.append(what)
    levels, codes = _cross([f.levels for f in factors], [f.codes for f in factors])
    if len(levels) < 2:
        raise DataError(
            asked=term.text,
            found=f'"{term.group_name}" has only one level ("{levels[0] if levels else ""}") in the {n} rows used',
            remedy="a random effect needs several groups: leave the term out, or check the filter",
        )
    state = RandomGroupState(
        term.group_name, levels, tuple(e.text for e in term.groups), tuple(e.column for e in term.groups),
        tuple(learned), term.columns, (),
    )  # fmt: skip
    return _Group(term.group_name, levels, codes, term.columns, state)


def _as_group(value: Value, expression: Expression) -> Factor:
    if isinstance(value, Basis):
        raise DataError(f"{expression.text} as a group", "it makes several columns", "name one column")
    return value if isinstance(value, Factor) else as_factor(value)


def _cross(levels: list[tuple[str, ...]], codes: list[Array]) -> tuple[tuple[str, ...], Array]:
    """Combinations that occur, the first factor varying slowest, as R's ``a:b``."""
    if len(levels) == 1:
        return levels[0], np.asarray(codes[0], dtype=np.intp)
    joint = np.zeros(codes[0].shape[0], dtype=np.int64)
    for names, code in zip(levels, codes, strict=True):
        joint = joint * len(names) + code
    seen, index = np.unique(joint, return_inverse=True)
    labels = []
    for value in seen.tolist():
        parts = []
        for names in reversed(levels):
            value, at = divmod(value, len(names))
            parts.append(names[at])
        labels.append(":".join(reversed(parts)))
    return tuple(labels), index.ravel().astype(np.intp)


def _learn_parts(
    term: RandomTerm, group: _Group, columns: Callable[[str], Value], n: int, contrasts: Mapping[str, Any],
    row_of: Array, asked: str,
) -> list[_Part]:  # fmt: skip
    terms = expand_terms(term.effects, [], set(), asked)
    if not terms.intercept and not terms.members:
        raise FormulaError(
            shorten(asked, 120), f"no effects to the left of the bar in {term.text}", "write (1 | g) or (0 + x | g)"
        )
    values = [learn_operand(e, columns, n, contrasts, row_of) for e in terms.operands]
    if term.correlated:
        return [_part(term.text, terms, values, group, n)]
    # (x || g) is (1 | g) + (0 + x | g): one part per summand, so that a factor keeps its own correlations, as in R
    made = []
    if terms.intercept:
        made.append(_part(f"(1 | {group.name})", Terms(True, (), ()), [], group, n))
    for member, label in zip(terms.members, terms.labels, strict=True):
        own = tuple(terms.operands[i] for i in member)
        single = Terms(False, own, (tuple(range(len(own))),))
        made.append(_part(f"(0 + {label} | {group.name})", single, [values[i] for i in member], group, n))
    return made


def _part(text: str, terms: Terms, values: list[OperandValue], group: _Group, n: int) -> _Part:
    states: tuple[OperandState, ...] = tuple(v.state for v in values)
    term_list = term_states(terms, values)
    names, _, _ = name_columns(terms.intercept, term_list, states)
    X = assemble(terms.intercept, term_list, values, n, len(names))
    return _Part(group, text, names, X, RandomPartState(text, terms.intercept, states, term_list, names))


def _in_lme4_order(parts: list[_Part]) -> list[_Part]:
    """Falling number of levels; as written if they already fall. Where lme4 sorts, ties come out reversed."""
    sizes = [len(part.group.levels) for part in parts]
    if all(a >= b for a, b in pairwise(sizes)):
        return parts
    return [parts[i] for i in reversed(np.argsort(sizes, kind="stable").tolist())]


def _block(members: list[_Part], asked: str) -> RandomBlock:
    group = members[0].group
    names = tuple(name for part in members for name in part.names)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise FormulaError(
            asked=shorten(asked, 120),
            found=f"the effect {twice[0]} of {group.name} stands in several terms; their shares cannot be told apart",
            remedy=f"keep it in one of {', '.join(part.text for part in members)}",
        )
    mask = np.zeros((len(names), len(names)), dtype=bool)
    at = 0
    for part in members:
        k = len(part.names)
        mask[at : at + k, at : at + k] = np.tril(np.ones((k, k), dtype=bool))
        at += k
    X = members[0].X if len(members) == 1 else np.concatenate([part.X for part in members], axis=1)
    return RandomBlock(
        group.name, group.levels, group.codes, names, X, mask, tuple(part.text for part in members), group.columns
    )


def _nesting(blocks: tuple[RandomBlock, ...]) -> tuple[int | None, ...]:
    """For each block the finest other block whose levels contain its own."""
    out: list[int | None] = []
    for i, inner in enumerate(blocks):
        found: int | None = None
        for j, outer in enumerate(blocks):
            coarser = outer.n_levels < inner.n_levels
            if i != j and coarser and (found is None or outer.n_levels > blocks[found].n_levels):
                pairs = inner.group_index.astype(np.int64) * outer.n_levels + outer.group_index
                if np.unique(pairs).size == inner.n_levels:
                    found = j
        out.append(found)
    return tuple(out)


def _structure(blocks: tuple[RandomBlock, ...], nested: tuple[int | None, ...]) -> str:
    if len(blocks) == 1:
        block = blocks[0]
        if block.k == 1:
            return "intercept" if block.column_names == ("(Intercept)",) else "slope"
        return "slope" if block.correlated else "diagonal"
    if any(block.k > 1 for block in blocks):
        return "mixed"
    if sum(outer is None for outer in nested) == 1:
        return "nested"
    return "crossed" if all(outer is None for outer in nested) else "mixed"


def _fields(state: RandomGroupState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in RandomGroupState.__slots__}


# ---- new rows ----------------------------------------------------------------------------------------------


def _expression(column: str | None, text: str) -> Expression:
    return admit_column(column) if column is not None else admit(text)


def _apply_part(part: RandomPartState, columns: Columns, m: int) -> Array:
    values = [apply_operand(o, _expression(o.column, o.text), columns, m) for o in part.operands]
    return assemble(part.intercept, part.terms, values, m, len(part.names))


def _apply_group(group: RandomGroupState, columns: Columns, m: int) -> tuple[Array, tuple[str, ...]]:
    """(m,) level of each row, -1 where it is new, and the new levels."""
    factors = []
    for text, column, learned in zip(group.texts, group.plain, group.learned, strict=True):
        expression = _expression(column, text)
        factors.append(_as_group(apply(expression, columns, m, learned), expression))
    levels, codes = _cross([f.levels for f in factors], [f.codes for f in factors])
    position = {name: j for j, name in enumerate(group.levels)}
    lookup = np.array([position.get(name, -1) for name in levels], dtype=np.intp)
    index = lookup[codes] if codes.size else codes
    return index, tuple(levels[j] for j in np.unique(codes[index < 0]))
