"""How the covariance of the fixed effects moves with the covariance parameters, at the REML optimum.

With V in units of sigma^2, N = Z'V^-1 Z, W = Z'V^-1 X, S = X'V^-1 X, and E a direction in which the covariance
of the random effects moves, everything that Satterthwaite and Kenward-Roger ask for is made of

    W'E W        W'E N E' W        tr(N E)        tr(N E N E')

so nothing of size n x n is formed. One grouping factor needs one k x k block per pattern of groups, several factors
the dense q x q matrix N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference_core.states import Array

from .dense import DenseDesign, Slot
from .groups import GroupDesign
from .newton import Evaluation
from .structure import Entries, components

Basis = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Moves:
    """A fit of n rows, p columns and m covariance parameters T (sigma apart): what Satterthwaite asks for.

    Matrices of X are in the kernel's coordinates, X'WX = I; ``x_factor`` leads back.
    """

    n: int
    sigma2: float  # r2 / (n - p) at theta, squared units of y
    S: Array  # (p, p) X'V^-1 X
    x_factor: Array  # (p, p)
    hessian: Array  # (m + 1, m + 1) of the REML deviance in (T, log sigma)
    turns: Array  # (m, p, p) W'E_i W, E_i the move of T T' with the i-th free entry of T

    @property
    def p(self) -> int:
        """Columns of X."""
        return self.S.shape[0]

    def inside(self, L: Array) -> Array:
        """Contrast rows (m, p) of the coefficients of X as given, in the kernel's coordinates."""
        return np.linalg.solve(self.x_factor.T, np.atleast_2d(L).T).T

    def outside(self, M: Array) -> Array:
        """A covariance (p, p) of coefficients in the kernel's coordinates, for X as given."""
        half = np.linalg.solve(self.x_factor, M)
        return np.linalg.solve(self.x_factor, half.T).T


@dataclass(frozen=True, eq=False)
class Information(Moves):
    """What Kenward-Roger asks for beside that, for the s free entries of the covariance."""

    spans: Array  # (s, p, p) W'E_r W, E_r the r-th free entry of the covariance itself
    crossed: Array  # (s, s, p, p) W'E_r N E_s W
    traces: Array  # (s,) tr(N E_r)
    trace_pairs: Array  # (s, s) tr(N E_r N E_s)


def information_of_groups(design: GroupDesign, y: Array, T: Array) -> Information:
    """One grouping factor: y (n,) with the offset taken off, T (k, k) in the units of the data."""
    d = design.patterns
    theta = design.theta_inside(T[None])
    found = design.lanes(y[None], reml=True).evaluate(theta)
    Ts = _matrix(theta[0], design.entries, d.k)
    Sigma = Ts @ Ts.T
    m = np.ones(d.U) if d.count is None else d.count
    D = np.linalg.inv(np.eye(d.k) + d.A @ Sigma)
    N, W = D @ d.A, D @ d.B
    N = 0.5 * (N + N.transpose(0, 2, 1))
    weighted = W * m[:, None, None]
    S = np.eye(d.p) - np.einsum("uap,ab,ubq->pq", weighted, Sigma, d.B, optimize=True)
    S = 0.5 * (S + S.T)
    P = np.einsum("uap,pq,ubq->ab", weighted, np.linalg.inv(S), W, optimize=True)
    slope = np.einsum("u,uab->ab", m, N) - P
    moves = [move(Ts, a, b) for a, b in design.entries]
    units = [_unit(d.k, a, b) for a, b in covariance_entries(design.mask)]
    turns = np.array([np.einsum("uap,ab,ubq->pq", weighted, E, W, optimize=True) for E in moves])
    EW = np.stack([E @ W for E in units])  # (s, U, k, p)
    spans = np.array([np.einsum("uap,uaq->pq", weighted, ew, optimize=True) for ew in EW])
    NEW = N @ EW * m[:, None, None]
    s, flat = len(units), d.U * d.k
    left, right = EW.reshape(s, flat, d.p), NEW.reshape(s, flat, d.p)
    crossed = np.stack([np.stack([a.T @ b for b in right]) for a in left])
    NE = np.stack([N @ E for E in units])
    traces = np.einsum("suaa,u->s", NE, m)
    pairs = np.einsum("ruab,suba,u->rs", NE, NE, m, optimize=True)
    along = _along([slope @ Ts], [design.entries], found, design.n - d.p)
    return Information(
        n=design.n, sigma2=float(found.r2[0]) / (design.n - d.p), S=S, x_factor=design.x_factor,
        hessian=joint_hessian(found, along, design.n - d.p), turns=turns, spans=spans, crossed=crossed, traces=traces,
        trace_pairs=pairs,
    )  # fmt: skip


def information_of_terms(design: DenseDesign, y: Array, T: Sequence[Array]) -> Information:
    """Any terms: y (n,) with the offset taken off, T_t (k, k) of each term in the units of the data."""
    n, p = design.X.shape
    theta = design.theta_inside([t[None] for t in T])
    found = design.lanes(y[None], reml=True).evaluate(theta)
    Ts = [t[0] for t in design.t_inside(theta)]
    Sigma = [(t @ t.T)[None] for t in Ts]
    M = design.right(design.A[None], Sigma)[0]
    M[np.diag_indices(design.q)] += 1.0
    solved = np.linalg.solve(M, np.concatenate([design.A, design.B], axis=1))
    N, W = solved[:, : design.q], solved[:, design.q :]
    N = 0.5 * (N + N.T)
    S = np.eye(p) - design.right(design.B.T[None], Sigma)[0] @ W
    S = 0.5 * (S + S.T)
    Si = np.linalg.inv(S)

    slopes, turns, units = [], [], []
    for t, (slot, term) in enumerate(zip(design.slots, design.terms, strict=True)):
        w = W[slot.columns].reshape(slot.J, slot.k, p)
        own = N[slot.columns, slot.columns].reshape(slot.J, slot.k, slot.J, slot.k)
        slope = np.einsum("jajb->ab", own) - np.einsum("jap,pq,jbq->ab", w, Si, w, optimize=True)
        slopes.append(slope @ Ts[t])
        for a, b in slot.entries:
            turns.append(np.einsum("jap,ab,jbq->pq", w, move(Ts[t], a, b), w, optimize=True))
        units += [(slot, _unit(slot.k, a, b)) for a, b in covariance_entries(term.mask)]
    EW = [(E @ W[slot.columns].reshape(slot.J, slot.k, p)).reshape(-1, p) for slot, E in units]
    s = len(units)
    spans, traces = np.empty((s, p, p)), np.empty(s)
    crossed, pairs = np.empty((s, s, p, p)), np.empty((s, s))
    for r, (slot, E) in enumerate(units):
        spans[r] = W[slot.columns].T @ EW[r]
        own = _times(N[slot.columns, slot.columns], E, slot)
        traces[r] = np.trace(own)
        for c in range(r + 1):
            other, E2 = units[c]
            block = N[slot.columns, other.columns]
            crossed[r, c] = EW[r].T @ block @ EW[c]
            crossed[c, r] = crossed[r, c].T
            pairs[r, c] = pairs[c, r] = np.sum(_times(block, E2, other) * _times(block.T, E, slot).T)
    along = _along(slopes, [slot.entries for slot in design.slots], found, n - p)
    return Information(
        n=n, sigma2=float(found.r2[0]) / (n - p), S=S, x_factor=design.x_factor,
        hessian=joint_hessian(found, along, n - p), turns=np.array(turns), spans=spans, crossed=crossed, traces=traces,
        trace_pairs=pairs,
    )  # fmt: skip


def covariance_entries(mask: Array) -> Basis:
    """Free entries (row, column) of the covariance T T', column by column, for a mask (k, k) of T."""
    out = []
    for members in components(mask):
        out += [(int(a), int(b)) for j, b in enumerate(members) for a in members[j:]]
    return tuple(sorted(out, key=lambda entry: (entry[1], entry[0])))


# ---- pieces ------------------------------------------------------------------------------------------------


def joint_hessian(found: Evaluation, along: Array, dof: int) -> Array:
    """Hessian of the REML deviance in (T, log sigma) from that of the profiled one, at sigma^2 = r2 / dof.

    Profiling sigma out takes (dof / r2^2) dr2 dr2' away; d r2 / dT_i = -tr(E_i G) = -``along``.
    """
    r2 = float(found.r2[0])
    m = along.size
    H = np.empty((m + 1, m + 1))
    H[:m, :m] = found.hessian[0] + dof / r2**2 * np.outer(along, along)
    H[m, :m] = H[:m, m] = 2.0 * dof / r2 * along
    H[m, m] = 4.0 * dof
    return H


def _along(slopes: Sequence[Array], entries: Sequence[Entries], found: Evaluation, dof: int) -> Array:
    """tr(E_i G), G the sum of g g': the part of the gradient that is not d (log|M| + log|S|)."""
    logs = np.array([2.0 * KT[a, b] for KT, free in zip(slopes, entries, strict=True) for a, b in free])
    return (logs - found.gradient[0]) * float(found.r2[0]) / dof


def _matrix(theta: Array, entries: Entries, k: int) -> Array:
    T = np.zeros((k, k))
    for value, (a, b) in zip(theta, entries, strict=True):
        T[a, b] = value
    return T


def move(T: Array, a: int, b: int) -> Array:
    """D(T T') / dT_ab = e_a t_b' + t_b e_a', t_b the column b of T."""
    E = np.zeros_like(T)
    E[a, :] += T[:, b]
    E[:, a] += T[:, b]
    return E


def _unit(k: int, a: int, b: int) -> Array:
    E = np.zeros((k, k))
    E[a, b] = E[b, a] = 1.0
    return E


def _times(M: Array, E: Array, slot: Slot) -> Array:
    """M (r, J k) times blockdiag(I x E)."""
    return (M.reshape(M.shape[0], slot.J, slot.k) @ E).reshape(M.shape)
