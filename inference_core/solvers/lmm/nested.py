"""Nested factors as one: the effects of all levels within an outer group are the effects of that group.

For schools of classes a group has an intercept and one effect for each of its classes, and T = diag(t1, t2, t2, ..):
its blocks are tied, one set of entries for all levels of a factor. Groups with fewer levels have columns of zeros,
which change nothing. Lanes of group counts (``group_counts``) therefore serve nested factors too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference_core.states import Array

from .clusters import level_positions
from .dense import Term
from .groups import GroupDesign
from .lanes import Lanes
from .newton import REPLICATE_TOL, Evaluation, NewtonResult, newton
from .structure import canonical, free_entries, to_matrix, to_theta, whitening

WIDEST = 9  # effects of one outer group: work grows with their cube, and from 10 refits one by one are as fast


@dataclass(frozen=True, eq=False)
class NestedDesign:
    """Terms that are nested in the groups of one of them: K effects a group, m parameters."""

    groups: GroupDesign  # of the wide Z (n, K)
    terms: tuple[Term, ...]
    factors: tuple[Array, ...]  # (k, k) whitening of each term, the same for all of its levels
    tie: Array  # (M,) which parameter each free entry of the wide T is

    @classmethod
    def of(
        cls, X: Array, terms: Sequence[Term], outer: Array, n_outer: int, weights: Array | None = None
    ) -> NestedDesign | None:
        """A design, or None where a group has more effects than are taken here.

        ``outer`` (n,) is the group 0 .. n_outer - 1 of each row; every level of a term lies within one.
        """
        root = None if weights is None else np.sqrt(weights)[:, None]
        places = [level_positions(term, outer, n_outer) for term in terms]
        widths = [int(counts.max()) for _, counts in places]
        K = sum(width * term.k for width, term in zip(widths, terms, strict=True))
        if K > WIDEST:
            return None
        n = X.shape[0]
        Z, mask, R = np.zeros((n, K)), np.zeros((K, K), bool), np.zeros((K, K))
        owner = np.full((K, K), -1)
        factors, first, at = [], 0, 0
        for term, (position, _), width in zip(terms, places, widths, strict=True):
            k = term.k
            factors.append(whitening(term.Z if root is None else term.Z * root, term.mask))
            columns = at + position[:, None] * k + np.arange(k)
            np.put_along_axis(Z, columns, term.Z, axis=1)
            entries = free_entries(term.mask)
            for _ in range(width):
                part = slice(at, at + k)
                mask[part, part], R[part, part] = term.mask, factors[-1]
                for i, (a, b) in enumerate(entries):
                    owner[at + a, at + b] = first + i
                at += k
            first += len(entries)
        groups = GroupDesign.of(X, Z, outer, n_groups=n_outer, mask=mask, weights=weights, z_factor=R)
        return cls(groups, tuple(terms), tuple(factors), np.array([owner[a, b] for a, b in groups.entries]))

    @property
    def n_theta(self) -> int:
        """Parameters."""
        return int(self.tie.max()) + 1

    def fit_many(
        self, lanes: Lanes, start: Sequence[Array], *, tol: float = REPLICATE_TOL, max_iter: int = 60
    ) -> tuple[list[Array], Array, Array, NewtonResult]:
        """B refits from a warm start: T_t (B, k, k), beta (B, p), sigma (B,), and the search's own result."""
        tied = TiedLanes(lanes, self.tie, np.eye(self.n_theta)[self.tie])
        found = newton(tied, np.tile(self.theta_inside(start), (lanes.size, 1)), tol=tol, max_iter=max_iter)
        with np.errstate(invalid="ignore", divide="ignore"):
            sigma = np.sqrt(found.r2 / lanes.dof)
        return self._outside(found.theta), self.groups.beta_outside(found.beta, lanes.shift), sigma, found

    def theta_inside(self, T: Sequence[Array]) -> Array:
        """(m,) search coordinates of T_t (k, k) in the units of the data."""
        parts = [
            to_theta(canonical(R @ np.asarray(t, dtype=float), term.mask)[None], free_entries(term.mask))[0]
            for t, R, term in zip(T, self.factors, self.terms, strict=True)
        ]
        return np.concatenate(parts)

    def _outside(self, theta: Array) -> list[Array]:
        out, first = [], 0
        for term, R in zip(self.terms, self.factors, strict=True):
            entries = free_entries(term.mask)
            T = to_matrix(theta[:, first : first + len(entries)], entries, term.k)
            out.append(canonical(np.linalg.solve(R, T), term.mask))
            first += len(entries)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class TiedLanes:
    """Lanes whose free entries are copies of fewer parameters."""

    lanes: Lanes
    tie: Array  # (M,)
    copies: Array  # (M, m) 0 or 1

    def evaluate(self, theta: Array) -> Evaluation:
        """As :meth:`Lanes.evaluate`; derivatives in the parameters are sums over their copies."""
        at = self.lanes.evaluate(theta[:, self.tie])
        return at._replace(gradient=at.gradient @ self.copies, hessian=self.copies.T @ at.hessian @ self.copies)

    def take(self, lanes: Array) -> TiedLanes:
        """Some of the lanes."""
        return replace(self, lanes=self.lanes.take(lanes))
