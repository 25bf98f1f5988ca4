"""Whether one model is a special case of another, and which rows of weights say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import Array, DataBundle, REInfo

TOLERANCE = 1e-8  # relative size of what the larger design leaves of a column of the smaller


@dataclass(frozen=True, slots=True, eq=False)
class Nesting:
    """How a smaller model lies in a larger one."""

    is_nested: bool
    same_fixed: bool  # the fixed parts span the same space
    same_random: bool
    L: Array  # (r, p) rows over the larger model's coefficients that are 0 in the smaller one
    added_effects: int | None  # existing random effects that a new one may covary with, where one was added; else None


def nesting(small: DataBundle, large: DataBundle) -> Nesting:
    """Compare designs of the same rows: fixed parts by their column spaces, random parts by group and columns."""
    inside = _spans(large.X_estimable, small.X_estimable)
    back = _spans(small.X_estimable, large.X_estimable)
    fewer, same, added = _random(small.re_metadata, large.re_metadata)
    return Nesting(inside and fewer, inside and back, same, _restrictions(small, large), added)


def _spans(larger: Array, smaller: Array) -> bool:
    fitted = larger @ np.linalg.lstsq(larger, smaller, rcond=None)[0]
    return bool(np.all(np.linalg.norm(smaller - fitted, axis=0) <= TOLERANCE * np.linalg.norm(smaller, axis=0)))


def _restrictions(small: DataBundle, large: DataBundle) -> Array:
    """Rows with L b = 0 exactly where X b lies in the smaller design's space."""
    Q = np.linalg.qr(small.X_estimable)[0]
    X = large.X_estimable
    left = X - Q @ (Q.T @ X)
    scale = np.linalg.norm(X, axis=0)
    _, singular, directions = np.linalg.svd(left / scale, full_matrices=False)
    rows = directions[singular > TOLERANCE * np.sqrt(len(X))] / scale
    L = np.zeros((len(rows), large.p))
    L[:, large.rank_info.kept] = rows
    return L


def _random(small: REInfo | None, large: REInfo | None) -> tuple[bool, bool, int | None]:
    ours, theirs = _parts(small), _parts(large)
    if not all(key in theirs and _fits(ours[key], theirs[key]) for key in ours):
        return False, False, None
    new = [(key, column) for key, (columns, _) in theirs.items() for column in columns
           if key not in ours or column not in ours[key][0]]  # fmt: skip
    same = not new and all(ours[key][1] == theirs[key][1] for key in ours)
    if len(new) != 1:
        return True, same, None
    key, column = new[0]
    columns, free = theirs[key]
    return True, same, sum(1 for other in columns if other != column and frozenset((other, column)) in free)


_Part = tuple[tuple[str, ...], frozenset[frozenset[str]]]


def _parts(re: REInfo | None) -> dict[str, _Part]:
    """By grouping factor: its effects, and the pairs of them that may covary."""
    out = {}
    for block in re.blocks if re is not None else ():
        free = {
            frozenset((block.column_names[i], block.column_names[j]))
            for i in range(block.k) for j in range(i) if block.mask[i, j]
        }  # fmt: skip
        out[block.group_name] = (tuple(block.column_names), frozenset(free))
    return out


def _fits(ours: _Part, theirs: _Part) -> bool:
    return set(ours[0]) <= set(theirs[0]) and ours[1] <= theirs[1]
