"""Where a sparse symmetric positive definite matrix fills in, before any number is computed.

Columns with the same structure below them stand together as one dense front of k columns and r rows beneath; fronts
of one shape whose children are done are one batch. Sources: Liu (1990), SIAM J. Matrix Anal. Appl. 11 (elimination
trees); Duff & Reid (1983), ACM TOMS 9 (fronts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import Array


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Fronts of one shape that do not depend on each other: b of them, k own columns and r rows beneath."""

    k: int
    r: int
    start: int  # of their (b, f, f) block in the buffer, f = k + r
    own: Array  # (b, k) permuted columns
    below: Array  # (b, r) permuted rows
    parent: Array  # (b,) where the parent's front starts, -1 for none
    width: Array  # (b,) columns and rows of the parent's front
    place: Array  # (b, r) positions of ``below`` in the parent's front

    @property
    def size(self) -> int:
        """Fronts in the batch."""
        return self.own.shape[0]

    @property
    def block(self) -> slice:
        """Their part of the buffer."""
        f = self.k + self.r
        return slice(self.start, self.start + self.size * f * f)


@dataclass(frozen=True, slots=True, eq=False)
class Symbolic:
    """The factor of a matrix whose lower entries are (i, j), i >= j, P of them."""

    order: Array  # (q,) column of the matrix at each place of the elimination
    batches: tuple[Batch, ...]  # children first
    length: int  # numbers in all fronts
    at: Array  # (P,) where entry (i, j) stands in the buffer
    mirrored: Array  # (P,) where (j, i) stands there
    work: int  # multiplications of one factor, to an order of magnitude


def analyse(i: Array, j: Array, q: int, limit: int) -> Symbolic | None:
    """The symbolic factor of a pattern, every diagonal entry in it; None where its fronts exceed ``limit`` numbers."""
    order = _minimum_degree(i, j, q)
    place = np.empty(q, dtype=np.int64)
    place[order] = np.arange(q)
    structure = _structures(np.maximum(place[i], place[j]), np.minimum(place[i], place[j]), q, limit)
    if structure is None:
        return None
    post = _postorder(np.array([s[0] if s.size else -1 for s in structure]))
    rank = np.empty(q, dtype=np.int64)
    rank[post] = np.arange(q)
    structure = [np.sort(rank[structure[c]]) for c in post]
    order, place = order[post], rank[place]
    fronts = _fronts(structure)
    first = np.array([c for c, _ in fronts])
    k = np.array([size for _, size in fronts])
    rows = [structure[c + size - 1] for c, size in fronts]
    r = np.array([below.size for below in rows])
    length = int(np.sum((k + r) ** 2))
    if length > limit:
        return None
    front_of = np.repeat(np.arange(first.size), k)
    parent = np.array([front_of[below[0]] if below.size else -1 for below in rows])
    height = np.zeros(first.size, dtype=np.int64)
    for s, up in enumerate(parent):
        if up >= 0:
            height[up] = max(height[up], height[s] + 1)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for s in range(first.size):
        groups.setdefault((int(height[s]), int(k[s]), int(r[s])), []).append(s)
    begin = np.empty(first.size, dtype=np.int64)
    start, plans = 0, []
    for (_, kk, rr), members in sorted(groups.items()):
        begin[members] = start + np.arange(len(members)) * (kk + rr) ** 2
        plans.append((kk, rr, start, members))
        start += len(members) * (kk + rr) ** 2

    def places(s: int) -> Array:
        up = parent[s]
        if up < 0:
            return np.zeros(0, dtype=np.int64)
        inside = rows[s] < first[up] + k[up]
        return np.where(inside, rows[s] - first[up], k[up] + np.searchsorted(rows[up], rows[s]))

    batches = tuple(
        Batch(
            kk, rr, at, first[members][:, None] + np.arange(kk), _table([rows[s] for s in members], rr),
            np.where(parent[members] >= 0, begin[parent[members]], -1), (k + r)[parent[members]],
            _table([places(s) for s in members], rr),
        )
        for kk, rr, at, members in plans
    )  # fmt: skip
    low, high = np.minimum(place[i], place[j]), np.maximum(place[i], place[j])
    s = front_of[low]
    column = low - first[s]
    row = np.where(high < first[s] + k[s], high - first[s], 0)
    below = np.flatnonzero(high >= first[s] + k[s])
    keys = np.concatenate([np.full(rows[t].size, t) * q + rows[t] for t in range(first.size)])  # rising
    ends = np.concatenate([[0], np.cumsum(r)])
    row[below] = k[s[below]] + np.searchsorted(keys, s[below] * q + high[below]) - ends[s[below]]
    f = (k + r)[s]
    return Symbolic(
        order, batches, length, begin[s] + row * f + column, begin[s] + column * f + row, int(np.sum((k + r) ** 2 * k))
    )


def _minimum_degree(i: Array, j: Array, q: int) -> Array:
    """Columns in an order of little fill: SuperLU's multiple minimum degree, an incomplete factor thrown away."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import spilu

    off = i != j
    rows, columns = np.concatenate([i[off], j[off]]), np.concatenate([j[off], i[off]])
    degree = np.bincount(rows, minlength=q) + 1.0
    entries = np.concatenate([np.full(rows.size, -1.0), degree])
    at = np.concatenate([rows, np.arange(q)]), np.concatenate([columns, np.arange(q)])
    pattern = sp.csc_matrix((entries, at), shape=(q, q))
    found = spilu(
        pattern, drop_tol=1.0, fill_factor=1.0, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )  # fmt: skip
    order = np.empty(q, dtype=np.int64)
    order[found.perm_c] = np.arange(q)
    return order


def _structures(high: Array, low: Array, q: int, limit: int) -> list[Array] | None:
    """Rows below the diagonal of each column of the factor, rising; the first is the parent in the tree."""
    by_column = np.argsort(low * q + high, kind="stable")
    rows, columns = high[by_column], low[by_column]
    off = rows > columns
    rows, columns = rows[off], columns[off]
    ends = np.searchsorted(columns, np.arange(q + 1))
    out: list[Array] = []
    waiting: list[list[Array]] = [[] for _ in range(q)]
    total = 0
    for c in range(q):
        parts = [rows[ends[c] : ends[c + 1]], *waiting[c]]
        waiting[c] = []
        below = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
        out.append(below)
        if below.size > 1:
            waiting[below[0]].append(below[1:])
        total += below.size
        if total > limit:
            return None
    return out


def _postorder(parent: Array) -> Array:
    """Columns so that every subtree stands together, children before parents."""
    children: list[list[int]] = [[] for _ in range(parent.size)]
    roots = []
    for c, up in enumerate(parent):
        (roots if up < 0 else children[up]).append(c)
    out, stack = [], roots[::-1]
    while stack:
        c = stack.pop()
        out.append(c)
        stack.extend(children[c])
    return np.array(out[::-1])  # parents before children, reversed


def _fronts(structure: list[Array]) -> list[tuple[int, int]]:
    """Runs of columns (first, count) each of which has the next one and its structure as its own."""
    out, first = [], 0
    for c in range(1, len(structure) + 1):
        below = structure[c - 1]
        joined = c < len(structure) and below.size and below[0] == c and below.size == structure[c].size + 1
        if not joined:
            out.append((first, c - first))
            first = c
    return out


def _table(rows: list[Array], width: int) -> Array:
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)
