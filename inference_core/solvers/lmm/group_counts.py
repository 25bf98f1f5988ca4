"""Lanes in which whole groups take part a different number of times: cluster draws, groups left out, folds of groups.

Every cross-product of one response is a sum over groups, so it is taken once; a lane is a row of counts times them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference_core.states import Array

from .lanes import Lanes
from .planes import Planes

if TYPE_CHECKING:
    from .groups import GroupDesign

SINGULAR = 1e-10  # smallest eigenvalue of X'X, which is I where every group counts once: below, a column is lost
_BLOCK = 4_000_000  # numbers in one block of products of the columns of X


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Cross-products of one response by group, in the coordinates of the design: J groups, k effects, p columns."""

    design: GroupDesign
    c: Array  # (k, J) Z'y
    XX: Array  # (J, p (p + 1) / 2) the upper triangle of X'X, row by row
    Xy: Array  # (J, p)
    yy: Array  # (J,)
    n: Array  # (J,) rows
    log_weights: Array  # (J,)
    shift: Array  # (1, p) coefficients of the least-squares fit that was taken off y

    @classmethod
    def of(cls, design: GroupDesign, y: Array) -> GroupSums:
        """Of one response y (n,), the offset taken off."""
        (e,), shift = design.centred(np.asarray(y)[None])
        J, p, group = design.n_groups, design.p, design.group
        c = (design.scatter @ e).reshape(design.k, J)
        indicator = _indicator(group, J)
        left, right = np.triu_indices(p)
        XX = np.empty((J, left.size))
        step = max(1, _BLOCK // design.n)
        for at in range(0, left.size, step):
            some = slice(at, at + step)
            XX[:, some] = indicator @ (design.X[:, left[some]] * design.X[:, right[some]])
        root = design.root_weights
        log_w = np.zeros(J) if root is None else 2.0 * np.bincount(group, np.log(root), J)
        return cls(
            design, c, XX, indicator @ (design.X * e[:, None]), np.bincount(group, e * e, J),
            np.bincount(group, minlength=J).astype(float), log_w, shift,
        )  # fmt: skip

    def lanes(self, counts: Array, *, reml: bool = True) -> Lanes:
        """One lane per row of counts (B, J): how often each whole group takes part.

        A lane in which a column of X loses its variation has NaN in ``XX`` and a deviance that is not finite, and so
        never converges.
        """
        design, k = self.design, self.design.k
        counts = np.ascontiguousarray(counts, dtype=float)
        B, p = len(counts), design.p
        c = [design.by_pattern(counts * part) for part in self.c]
        C: Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
        for a in range(k):
            for b in range(a, k):
                C[a][b] = C[b][a] = design.by_pattern(counts * (self.c[a] * self.c[b]))
        return Lanes(
            patterns=design.patterns, reml=reml, c=c, C=C, yy=counts @ self.yy, shift=np.repeat(self.shift, B, axis=0),
            Xy=counts @ self.Xy, XX=_spoil_deficient(_symmetric(counts @ self.XX, p)),
            count=design.by_pattern(counts), n=counts @ self.n, log_weights=counts @ self.log_weights,
        )  # fmt: skip


def _indicator(group: Array, J: int):
    import scipy.sparse as sp

    n = group.shape[0]
    return sp.csc_matrix((np.ones(n), group, np.arange(n + 1)), shape=(J, n))


def _symmetric(upper: Array, p: int) -> Array:
    """(B, p, p) from upper triangles (B, p (p + 1) / 2)."""
    rows, columns = np.triu_indices(p)
    out = np.empty((len(upper), p, p))
    out[:, rows, columns] = out[:, columns, rows] = upper
    return out


def _spoil_deficient(XX: Array) -> Array:
    """NaN for each matrix (B, p, p) that is singular next to I: that lane cannot be estimated."""
    if XX.shape[1]:
        XX[np.linalg.eigvalsh(XX)[:, 0] < SINGULAR] = np.nan
    return XX
