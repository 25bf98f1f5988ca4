"""One grouping factor: the cross-products that a fit needs, once for the design and once per response.

Everything is taken in coordinates where X'WX = I and the columns of Z have unit mean square (``whitening``), and
about the least-squares fit of y, so that no difference of large sums is formed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.states import Array

from .group_counts import GroupSums
from .lanes import Lanes, Patterns
from .planes import Planes
from .structure import Entries, canonical, free_entries, full_mask, to_matrix, to_theta, whitening

MERGE_DIGITS = 11  # groups whose scaled cross-products agree to so many digits are one pattern
_DENSE_INDICATOR = 1 << 20  # groups times patterns
MERGE_LIMIT = 10_000  # groups above which merging is tried only if a cheap test finds repetitions


@dataclass(frozen=True, eq=False)
class GroupDesign:
    """What does not hold y: n rows, p columns, J groups with k effects each, U patterns of groups."""

    X: Array  # (n, p) sqrt(w) X R^-1, orthonormal
    x_factor: Array  # (p, p) R
    Z: Array  # (n, k) sqrt(w) Z Rz^-1
    z_factor: Array  # (k, k) Rz
    mask: Array  # (k, k) free entries of T
    group: Array  # (n,) 0 .. J - 1
    n_groups: int
    root_weights: Array | None  # (n,) sqrt(w)
    patterns: Patterns
    pattern_of: Array | None  # (J,) where groups were merged, else None

    @classmethod
    def of(
        cls, X: Array, Z: Array, group: Array, *, n_groups: int | None = None, mask: Array | None = None,
        weights: Array | None = None, merge: bool = True, z_factor: Array | None = None,
    ) -> GroupDesign:  # fmt: skip
        """Prepare a design.

        Parameters
        ----------
        X : (n, p) array
            Fixed-effects columns of full rank; p may be 0.
        Z : (n, k) array
            The columns whose effects vary by group.
        group : (n,) int array
            Group of each row, 0 .. J - 1.
        mask : (k, k) bool array, optional
            Free entries of T; the full lower triangle if left out.
        weights : (n,) array, optional
            Prior weights > 0: Var(e_i) = sigma^2 / w_i.
        merge : bool
            Treat groups with equal cross-products as one pattern.
        z_factor : (k, k) array, optional
            Upper triangle to take Z by in place of its own whitening, where entries of T are tied.
        """
        n, p = X.shape
        k = Z.shape[1]
        mask = full_mask(k) if mask is None else np.asarray(mask, dtype=bool)
        root = None if weights is None else np.sqrt(weights)
        Xw, Zw = (X, Z) if root is None else (X * root[:, None], Z * root[:, None])
        Q, R = np.linalg.qr(Xw) if p else (np.zeros((n, 0)), np.zeros((0, 0)))
        Rz = whitening(Zw, mask) if z_factor is None else z_factor
        Zs = np.ascontiguousarray(solve_triangular(Rz, Zw.T, trans=1, check_finite=False).T)
        group = np.ascontiguousarray(group)
        J = int(group.max()) + 1 if n_groups is None else n_groups
        cross = _scatter(Zs, group, J) @ np.concatenate([Zs, Q], axis=1)
        cross = cross.reshape(k, J, k + p).transpose(1, 0, 2)
        A, B = np.ascontiguousarray(cross[:, :, :k]), np.ascontiguousarray(cross[:, :, k:])
        pattern_of, first, count = _merge(A, B) if merge else (None, None, None)
        if pattern_of is not None:
            A, B = A[first], B[first]
        log_w = 0.0 if root is None else 2.0 * float(np.sum(np.log(root)))
        patterns = Patterns(
            A=A, B=B, count=count, entries=free_entries(mask), n=n, log_weights=log_w,
            log_det_x=2.0 * float(np.sum(np.log(np.abs(np.diagonal(R))))),
        )  # fmt: skip
        return cls(Q, R, Zs, Rz, mask, group, J, root, patterns, pattern_of)

    @property
    def n(self) -> int:
        """Rows."""
        return self.group.shape[0]

    @property
    def p(self) -> int:
        """Fixed-effects columns."""
        return self.X.shape[1]

    @property
    def k(self) -> int:
        """Effects a group."""
        return self.Z.shape[1]

    @property
    def entries(self) -> Entries:
        """Free entries of T, column by column."""
        return self.patterns.entries

    @cached_property
    def scatter(self) -> Any:
        """(k J, n) sparse transpose of the whitened Z, rows by effect and then by group."""
        return _scatter(self.Z, self.group, self.n_groups)

    # ---- responses ----------------------------------------------------------------------------------------

    def centred(self, Y: Array) -> tuple[Array, Array]:
        """(B, n) weighted responses less their least-squares fit, and the coefficients (B, p) of that fit."""
        Yw = Y if self.root_weights is None else Y * self.root_weights
        b0 = Yw @ self.X
        return Yw - b0 @ self.X.T, b0

    def lanes(self, Y: Array, *, reml: bool = True) -> Lanes:
        """One lane per response: Y (B, n), the offset already taken off."""
        Yw, b0 = self.centred(np.atleast_2d(Y))
        B = Yw.shape[0]
        c = (self.scatter @ Yw.T).reshape(self.k, self.n_groups, B)
        c = [np.ascontiguousarray(part.T) for part in c]
        C = None
        if self.pattern_of is not None:
            c, C = [self.by_pattern(part) for part in c], self._products_by_pattern(c)
        return Lanes(
            patterns=self.patterns, reml=reml, c=c, C=C, yy=np.einsum("bn,bn->b", Yw, Yw), shift=b0,
        )  # fmt: skip

    def lanes_of_groups(self, y: Array, counts: Array, *, reml: bool = True) -> Lanes:
        """One lane per row of counts (B, J): how often each whole group takes part. One response y (n,).

        Cluster bootstrap, leave-one-group-out and folds of groups are of this kind. A lane in which a column of X
        loses its variation has a deviance that is not finite, and so never converges.
        """
        return GroupSums.of(self, y).lanes(counts, reml=reml)

    def by_pattern(self, values: Array) -> Array:
        """(B, U) sums of values (B, J) over the groups of each pattern."""
        return values if self.pattern_of is None else values @ self._indicator

    def _products_by_pattern(self, c: Sequence[Array]) -> Planes:
        """Sums over the groups of each pattern of the products c c'."""
        k = self.k
        C: Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
        for a in range(k):
            for b in range(a, k):
                C[a][b] = C[b][a] = self.by_pattern(c[a] * c[b])
        return C

    @cached_property
    def _indicator(self) -> Any:
        """(J, U) which group has which pattern; sparse where it would be large."""
        assert self.pattern_of is not None
        J, U = self.n_groups, self.patterns.U
        if J * U > _DENSE_INDICATOR:
            import scipy.sparse as sp

            return sp.csr_array((np.ones(J), self.pattern_of, np.arange(J + 1)), shape=(J, U))
        E = np.zeros((J, U))
        E[np.arange(J), self.pattern_of] = 1.0
        return E

    # ---- coordinates --------------------------------------------------------------------------------------

    def theta_inside(self, T: Array) -> Array:
        """(B, m) search coordinates of T (B, k, k) given in units of the data."""
        return to_theta(canonical(self.z_factor @ np.asarray(T, dtype=float), self.mask), self.entries)

    def t_outside(self, theta: Array) -> Array:
        """(B, k, k) canonical T in units of the data, from search coordinates."""
        T = to_matrix(theta, self.entries, self.k)
        flat = T.transpose(1, 0, 2).reshape(self.k, -1)
        out = solve_triangular(self.z_factor, flat, check_finite=False).reshape(self.k, T.shape[0], self.k)
        return canonical(out.transpose(1, 0, 2), self.mask)

    def beta_outside(self, beta: Array, shift: Array) -> Array:
        """(B, p) coefficients of X as given."""
        if not self.p:
            return np.zeros((beta.shape[0], 0))
        return solve_triangular(self.x_factor, (beta + shift).T, check_finite=False).T

    def unwhitened(self, lanes: Lanes) -> Lanes:
        """The same lanes with Z in the units of the data, so that theta is lme4's."""
        return lanes.rebased(self.z_factor)


def _scatter(Z: Array, group: Array, J: int) -> Any:
    import scipy.sparse as sp

    n, k = Z.shape
    rows = (group[:, None] + J * np.arange(k)).ravel()
    return sp.csc_matrix((Z.ravel(), rows, np.arange(0, n * k + 1, k)), shape=(k * J, n))


def _merge(A: Array, B: Array) -> tuple[Array | None, Array | None, Array | None]:
    """Pattern of each group, the first group of each pattern, and how many groups it has; or None if few repeat."""
    J = A.shape[0]
    if J > MERGE_LIMIT:
        trace = np.einsum("jaa->j", A)
        if np.unique(np.round(trace / max(float(np.abs(trace).max()), 1e-300), MERGE_DIGITS)).size > J / 2:
            return None, None, None
    key = np.concatenate([A.reshape(J, -1), B.reshape(J, -1)], axis=1)
    key = np.round(key / max(float(np.abs(key).max()), 1e-300), MERGE_DIGITS) + 0.0  # -0.0 and 0.0 are one
    _, first, inverse, count = np.unique(key, axis=0, return_index=True, return_inverse=True, return_counts=True)
    if first.size >= J / 2:
        return None, None, None
    return inverse.ravel(), first, count.astype(float)
