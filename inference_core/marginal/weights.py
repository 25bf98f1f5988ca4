"""How the factors that a question does not name are averaged: the weights of emmeans, by the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.formula.names import suggest
from inference_core.states import Array, DataBundle

from .predictors import Predictor, Value

if TYPE_CHECKING:
    from .grid import Axis

RULES = ("equal", "proportional", "outer", "cells", "flat")


def nuisance_weights(
    rule: str | Mapping[str, Any],
    bundle: DataBundle,
    rows: pl.DataFrame,
    axes: Sequence[Axis],
    nuisance: Sequence[Predictor],
    cells: Sequence[tuple[Value, ...]],
    others: Sequence[tuple[Value, ...]],
) -> Array:
    """(C, K) weights, rows sum to 1.

    Parameters
    ----------
    rule : str or mapping
        "equal": every combination alike. "proportional": by how often each combination occurs. "outer": product of
        the factors' own frequencies. "cells": by frequencies within the cell. "flat": alike, but empty combinations
        of the cell not at all. A mapping gives weights by factor and level; factors it leaves out are balanced.
    bundle, rows
        Frequencies are sums of prior weights where there are any.
    axes, nuisance, cells, others
        The named columns, the other factors, and the combinations of both.

    Returns
    -------
    (C, K)
        NaN rows where a cell has no data and the rule needs some.
    """
    shape = (len(cells), len(others))
    if not isinstance(rule, str):
        return np.broadcast_to(_custom(rule, nuisance, others), shape).copy()
    if rule not in RULES:
        near = suggest(str(rule), RULES)
        raise InferenceError(f"weights={rule!r}", f"weights are {', '.join(RULES)}, or a mapping of weights by factor",
                             f"did you mean {near!r}?" if near else "weights='equal'")  # fmt: skip
    if rule == "equal" or not nuisance:
        return np.full(shape, 1.0 / shape[1])
    counts = bundle.prior_weights if bundle.prior_weights is not None else np.ones(bundle.n)
    codes = [_codes(p, p.levels or (), rows) for p in nuisance]
    sizes = [len(p.levels or ()) for p in nuisance]
    if rule == "outer":
        shares = [np.bincount(c, counts, size) / counts.sum() for c, size in zip(codes, sizes, strict=True)]
        return np.broadcast_to(_outer(shares), shape).copy()
    which = _joint(codes, sizes)
    if rule == "proportional":
        return np.broadcast_to(np.bincount(which, counts, shape[1]) / counts.sum(), shape).copy()
    factors = [axis for axis in axes if axis.predictor.is_factor]
    inside = _joint([_codes(a.predictor, a.values, rows) for a in factors], [len(a.values) for a in factors], bundle.n)
    place = {cell: i for i, cell in enumerate(_factor_cells(factors))}
    index = [place[tuple(v for v, a in zip(cell, axes, strict=True) if a.predictor.is_factor)] for cell in cells]
    table = np.zeros((max(len(place), 1), shape[1]))
    used = inside >= 0
    np.add.at(table, (inside[used], which[used]), counts[used])
    if rule == "flat":
        table = (table > 0).astype(float)
    with np.errstate(invalid="ignore"):
        return (table / table.sum(1, keepdims=True))[index]


def _factor_cells(factors: Sequence[Axis]) -> list[tuple[Value, ...]]:
    from .grid import first_fastest

    return first_fastest([a.values for a in factors])


def _custom(rule: Mapping[str, Any], nuisance: Sequence[Predictor], others: Sequence[tuple[Value, ...]]) -> Array:
    known = {p.name: p for p in nuisance}
    for name in rule:
        if name not in known:
            raise InferenceError(
                f"weights for {name!r}", f"averaged over are: {', '.join(known) or 'no factors'}", "name one of them"
            )
    shares = []
    for p in nuisance:
        labels = [p.label(v) for v in p.levels or ()]
        given = rule.get(p.name)
        values = np.ones(len(labels)) if given is None else _by_level(p.name, given, labels)
        shares.append(values / values.sum())
    return _outer(shares) if shares else np.ones(len(others))


def _by_level(name: str, given: Any, labels: list[str]) -> Array:
    if isinstance(given, Mapping):
        missing = [label for label in labels if label not in {str(k) for k in given}]
        if missing or len(given) != len(labels):
            found = f"levels are {', '.join(labels)}; given: {', '.join(map(str, given))}"
            raise InferenceError(f"weights of {name}", found, "give every level a weight")
        given = [next(v for k, v in given.items() if str(k) == label) for label in labels]
    values = np.asarray(given, float)
    if values.shape != (len(labels),) or not np.all(np.isfinite(values)) or np.any(values < 0) or values.sum() <= 0:
        found = f"{len(labels)} levels need weights of 0 or more, not all 0"
        raise InferenceError(f"weights of {name}: {given!r}", found, f"as {{{labels[0]!r}: 1, ...}}")
    return values


def _outer(shares: Sequence[Array]) -> Array:
    """Products over factors, the first varying fastest."""
    out = np.ones(1)
    for share in shares:
        out = (share[:, None] * out[None, :]).ravel()
    return out


def _codes(predictor: Predictor, values: Sequence[Value], rows: pl.DataFrame) -> Array:
    """(n,) position of each row's level among ``values``, -1 where it is none of them."""
    series = rows.get_column(predictor.name)
    if isinstance(values[0], str):
        place = {str(v): i for i, v in enumerate(values)}
        return np.array([place.get(v, -1) for v in series.cast(pl.String).to_list()])
    own = series.cast(pl.Float64).to_numpy()
    return np.where(own[:, None] == np.asarray(values, float), np.arange(len(values)) + 1, 0).max(1) - 1


def _joint(codes: Sequence[Array], sizes: Sequence[int], n: int = 0) -> Array:
    """(n,) position of each row's combination, the first factor varying fastest; -1 where a level is missing."""
    out = np.zeros(len(codes[0]) if codes else n, int)
    stride, known = 1, np.ones(len(out), bool)
    for code, size in zip(codes, sizes, strict=True):
        out += stride * code
        known &= code >= 0
        stride *= size
    return np.where(known, out, -1)
