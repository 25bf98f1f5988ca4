"""Sums over clusters of a linear (mixed) model's scores, adjusted for the leverage of each cluster (CR0 and CR2).

In rows scaled by the root of their weights V_j = I + Z_j Sigma Z_j' for cluster j, and both V_j and X_j (X'V^-1X)^-1
X_j' are the identity and nothing outside the span of [Z_j, X_j]. A QR of [Z_j T, X_j, e_j] therefore brings every
cluster down to matrices of the size of that span: no n_j x n_j matrix is formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inference_core.states import Array, JointDf

from .dense import Term

_CHUNK = 2_000_000  # numbers in one stack of clusters
_REPEATED = 1e-10  # share of the largest variance below which a combination of rows repeats others
_NO_FREEDOM = 1e-8  # 1 - leverage below which a direction within a cluster has no residual


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """J clusters, p columns; A_j the leverage adjustment (the identity for CR0), M = (X'V^-1X)^-1."""

    scores: Array  # (J, p) X_j'V_j^-1 A_j e_j
    spreads: Array  # (J, p, p) X_j'V_j^-1 A_j V_j A_j V_j^-1 X_j
    overlaps: Array  # (J, p, p) X_j' A_j V_j^-1 X_j
    bread: Array  # (p, p) M

    @property
    def vcov(self) -> Array:
        """(p, p) M (sum of scores times themselves) M."""
        half = self.scores @ self.bread
        return half.T @ half

    def df(self, L: Array) -> Array:
        """Satterthwaite degrees of freedom of each row of L (m, p), the model's V taken for the truth.

        The variance of l'b is a quadratic form sum_j (p_j'y)^2 with p_i'V p_j = delta_ij d_j - G_i'M G_j; its mean is
        the trace of that matrix and its variance twice the sum of its squares. Source: Pustejovsky & Tipton (2018),
        J. Bus. Econ. Stat. 36.
        """
        u = L @ self.bread
        d = np.einsum("mp,jpq,mq->mj", u, self.spreads, u, optimize=True)
        G = np.einsum("jpq,mq->mjp", self.overlaps, u)
        GM = G @ self.bread
        own = np.einsum("mjp,mjp->mj", G, GM)
        cross = np.einsum("mjp,mjq->mpq", G, GM)
        mean = d.sum(axis=1) - own.sum(axis=1)
        squares = np.sum(d**2, axis=1) - 2.0 * np.sum(d * own, axis=1) + np.einsum("mpq,mqp->m", cross, cross)
        with np.errstate(invalid="ignore", divide="ignore"):
            return mean**2 / squares

    def joint(self, L: Array) -> JointDf:
        """Degrees of freedom of all rows of L (m, p) together, the model's V taken for the truth.

        With D = S^-1/2 (L vcov L') S^-1/2, S its mean, eta = q (q + 1) / sum of the variances of D's entries makes
        eta D close to a Wishart matrix, and (eta - q + 1) / (eta q) times the Wald statistic to an F on (q, eta - q +
        1): Hotelling's T^2 where D is Wishart. Source: Tipton & Pustejovsky (2015), J. Educ. Behav. Stat. 40; the same,
        (2018), J. Bus. Econ. Stat. 36, the test "AHT".
        """
        U = np.atleast_2d(L) @ self.bread
        mean = self._kernel(U)
        w, V = np.linalg.eigh(mean)
        keep = w > _REPEATED * max(float(w[-1]), 0.0)
        q = int(np.count_nonzero(keep))
        if q == 0:
            return JointDf(0, float("nan"))
        U = (V[:, keep] / np.sqrt(w[keep])).T @ U  # rows whose variances are uncorrelated, of mean 1
        own = np.einsum("sp,jpq,tq->jst", U, self.spreads, U, optimize=True)
        h = np.einsum("jpq,sq->jsp", self.overlaps, U) @ np.linalg.cholesky(self.bread)
        A = np.einsum("jsa,jtb->satb", h, h, optimize=True)
        shared = h @ h.transpose(0, 2, 1)
        total = np.sum(A**2) + np.einsum("satb,tasb->", A, A)  # K_ij = h_i h_j', all pairs; then those with i = j
        total += float(np.sum(_entries(own - shared) - _entries(shared)))
        eta = q * (q + 1.0) / total
        df2 = float(eta - q + 1.0)
        return JointDf(q, df2, df2 / float(eta)) if df2 > 0 else JointDf(q, float("nan"), float("nan"))

    def _kernel(self, U: Array) -> Array:
        """Mean of U (sum of scores times themselves) U' under the model (m, m), the rows of U times M given."""
        G = np.einsum("jpq,mq->jmp", self.overlaps, U)
        spread = np.einsum("sp,jpq,tq->st", U, self.spreads, U, optimize=True)
        return spread - np.einsum("jsp,pq,jtq->st", G, self.bread, G, optimize=True)


def _entries(K: Array) -> Array:
    """(J,) tr(K)^2 + tr(K K): the variances of the entries of x y', summed, for each K (J, q, q)."""
    return np.einsum("jss->j", K) ** 2 + np.einsum("jst,jts->j", K, K)


def cluster_sums(
    X: Array, terms: Sequence[Term], T: Sequence[Array], e: Array, cluster: Array, bread: Array, *,
    weights: Array | None = None, adjust: bool = True,
) -> ClusterSums:  # fmt: skip
    """Sums of every cluster.

    Parameters
    ----------
    X : (n, p) array
    terms : sequence of Term
        Every level of a term lies within one cluster; none for a model without random effects.
    T : sequence of (k, k) arrays
        Relative factor of each term, in the units of the data.
    e : (n,) array
        Marginal residuals y - X b.
    cluster : (n,) int array
        0 .. J - 1, each used.
    bread : (p, p) array
        (X'V^-1X)^-1, V in units of sigma^2.
    weights : (n,) array > 0, optional
    adjust : bool
        CR2: A_j = D_j' B_j^{+1/2} D_j with D_j'D_j = V_j and B_j = D_j (V_j - X_j M X_j') D_j'. Otherwise CR0.
    """
    J, p = int(cluster.max()) + 1, X.shape[1]
    scores, spreads, overlaps = np.empty((J, p)), np.empty((J, p, p)), np.empty((J, p, p))
    for which, z, x, residual in _reduced(X, terms, T, e, cluster, weights):
        V = _identity_plus(z)
        w, U = np.linalg.eigh(V)
        solved = U @ ((U.transpose(0, 2, 1) @ x) / w[:, :, None])  # V^-1 x
        c = solved
        if adjust:
            root = (U * np.sqrt(w)[:, None, :]) @ U.transpose(0, 2, 1)
            inner = (U / np.sqrt(w)[:, None, :]) @ (U.transpose(0, 2, 1) @ x)  # V^-1/2 x
            c = _adjustment(V, root, inner, bread) @ solved
        scores[which] = np.einsum("jrp,jr->jp", c, residual)
        spreads[which] = c.transpose(0, 2, 1) @ V @ c
        overlaps[which] = x.transpose(0, 2, 1) @ c
    return ClusterSums(scores, spreads, overlaps, bread)


def adjusted_residuals(
    X: Array, terms: Sequence[Term], T: Sequence[Array], e: Array, cluster: Array, bread: Array, *,
    weights: Array | None = None,
) -> Array:  # fmt: skip
    """(n,) residuals A_j e_j of every cluster, A_j the adjustment of CR2; arguments as in :func:`cluster_sums`.

    A_j is the identity outside the span of [Z_j, X_j], so only the part of e_j within it is changed.
    """
    out = np.array(e, dtype=float)
    scale = np.ones(e.shape[0]) if weights is None else np.sqrt(weights)
    for _, rows, stack, q in _stacks(X, terms, T, e, cluster, weights):
        basis, R = np.linalg.qr(stack[:, :, :-1])
        z, x = R[:, :, :q], R[:, :, q:]
        V = _identity_plus(z)
        w, U = np.linalg.eigh(V)
        root = (U * np.sqrt(w)[:, None, :]) @ U.transpose(0, 2, 1)
        inner = (U / np.sqrt(w)[:, None, :]) @ (U.transpose(0, 2, 1) @ x)
        inside = np.einsum("jnr,jn->jr", basis, stack[:, :, -1])
        moved = np.einsum("jrs,js->jr", _adjustment(V, root, inner, bread), inside) - inside
        out[rows] += np.einsum("jnr,jr->jn", basis, moved) / scale[rows]
    return out


def _identity_plus(z: Array) -> Array:
    V = z @ z.transpose(0, 2, 1)
    V[:, np.arange(V.shape[1]), np.arange(V.shape[1])] += 1.0
    return V


def _adjustment(V: Array, root: Array, inner: Array, bread: Array) -> Array:
    """A = V^1/2 B^{+1/2} V^1/2, B = V (I - h) V, h = V^-1/2 x M x' V^-1/2, for a stack of clusters.

    How many directions have no residual at all is read off I - h, whose eigenvalues lie in [0, 1]; those of B may
    differ by many orders of magnitude.
    """
    free = np.eye(V.shape[1]) - inner @ bread @ inner.transpose(0, 2, 1)
    lost = np.count_nonzero(np.linalg.eigvalsh(free) < _NO_FREEDOM, axis=1)
    w, U = np.linalg.eigh(V @ free @ V)
    keep = np.arange(w.shape[1])[None, :] >= lost[:, None]
    scale = np.where(keep, 1.0 / np.sqrt(np.where(keep, np.maximum(w, 1e-300), 1.0)), 0.0)
    return root @ ((U * scale[:, None, :]) @ U.transpose(0, 2, 1)) @ root


def _reduced(
    X: Array, terms: Sequence[Term], T: Sequence[Array], e: Array, cluster: Array, weights: Array | None
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Stacks of clusters of one shape: which they are, and R of [Z T, X, e] in its three parts."""
    for which, _, stack, q in _stacks(X, terms, T, e, cluster, weights):
        R = np.asarray(np.linalg.qr(stack, mode="r"))
        yield which, R[:, :, :q], R[:, :, q:-1], R[:, :, -1]


def _stacks(
    X: Array, terms: Sequence[Term], T: Sequence[Array], e: Array, cluster: Array, weights: Array | None
) -> Iterator[tuple[Array, Array, Array, int]]:
    """The same stacks before any algebra: which clusters, their rows (b, size), [Z T, X, e], and the width of Z."""
    p = X.shape[1]
    J = int(cluster.max()) + 1
    root = np.ones((X.shape[0], 1)) if weights is None else np.sqrt(weights)[:, None]
    effects = [root * (term.Z @ t) for term, t in zip(terms, T, strict=True)]
    rest = root * np.column_stack([X, e])
    placed = [level_positions(term, cluster, J) for term in terms]
    local, widths = [place for place, _ in placed], [width for _, width in placed]
    order = np.argsort(cluster, kind="stable")
    sizes = np.bincount(cluster, minlength=J)
    starts = np.cumsum(sizes) - sizes
    shapes, shape_of = np.unique(np.column_stack([sizes, *widths]), axis=0, return_inverse=True)
    shape_of = shape_of.ravel()
    for i, (size, *levels) in enumerate(shapes):
        members = np.flatnonzero(shape_of == i)
        q = sum(int(count) * term.k for count, term in zip(levels, terms, strict=True))
        step = max(1, int(_CHUNK / (size * (q + p + 1))))
        for at in range(0, members.size, step):
            which = members[at : at + step]
            rows = order[starts[which][:, None] + np.arange(size)]
            stack = np.zeros((which.size, size, q + p + 1))
            stack[:, :, q:] = rest[rows]
            first = 0
            for t, term in enumerate(terms):
                columns = first + local[t][rows][:, :, None] * term.k + np.arange(term.k)
                np.put_along_axis(stack, columns, effects[t][rows], axis=2)
                first += int(levels[t]) * term.k
            yield which, rows, stack, q


def level_positions(term: Term, cluster: Array, J: int) -> tuple[Array, Array]:
    """(n,) position of each row's level among the levels of its cluster, and (J,) how many levels there are."""
    levels, code = np.unique(term.group, return_inverse=True)
    home = np.empty(levels.size, dtype=int)
    home[code] = cluster
    order = np.argsort(home, kind="stable")
    counts = np.bincount(home, minlength=J)
    position = np.empty(levels.size, dtype=int)
    position[order] = np.arange(levels.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return position[code.ravel()], counts
