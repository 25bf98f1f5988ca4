"""The deviance of a linear mixed model with several large grouping factors, its exact gradient, and its curvature.

The leading term is eliminated block by block, V1 = I + Z1 Sigma1 Z1', the rest by a Cholesky factor of M = I + T'C T,
C = Z2'V1^-1 Z2. The gradient needs the inverse of M where C is not zero, and no division by T: with N = Z'V^-1 Z,
N T = C T M^-1. The curvature is the average information of Gilmour, Thompson & Cullis (1995), Biometrics 51, plus
the part of the Hessian that is linear in d2(T T'); it is exact where a column of T is 0, so a saddle there shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference_core.errors import FitError
from inference_core.states import Array

from .crossed_design import CrossedDesign, Sums
from .crossed_map import LevelMap, PairMap, level_map
from .crossed_rest import DenseRest, Rest, left
from .crossed_sparse import SparsePlan, SparseRest
from .newton import Evaluation
from .sparse_symbolic import analyse

SPARSE_FROM = 500  # columns of the rest from which a sparse factor may pay
SPARSE_SHARE = 0.05  # of the square that C may fill for a sparse factor to be tried
SPARSE_GAIN = 0.2  # multiplications of a sparse factor relative to q2^3 below which it is taken
DENSE_COPIES = 5  # dense (q2, q2) arrays that are alive together: C, M, its factor, its inverse, T M^-1 T'
SPARSE_COPIES = 3  # arrays of the length of the fronts alive together, positions included
MAX_BYTES = 4 * 2**30
_TINY = 1e-7  # whitened T_aa below which K is read off this far from 0: it is even in T_aa, so the error is its square


@dataclass(frozen=True, eq=False)
class CrossedKernel:
    """A design, the map that eliminates its leading term, and how the rest is factored.

    Raises
    ------
    FitError
        When it is first used: neither a dense nor a sparse factor of the rest fits ``MAX_BYTES``.
    """

    design: CrossedDesign

    @cached_property
    def plan(self) -> SparsePlan | None:
        """The sparse way where it is the cheaper one, None for the dense one."""
        d = self.design
        q2, dense_bytes = d.q2, 8 * DENSE_COPIES * d.q2**2
        found = None
        if q2 >= SPARSE_FROM and d.meetings.fits:
            levels = PairMap.of(d.meetings, q2, d.cross)
            if levels.i.size < SPARSE_SHARE * q2**2:
                most = min(MAX_BYTES, dense_bytes) // (8 * SPARSE_COPIES)
                symbolic = analyse(levels.i, levels.j, q2, most)
                if symbolic is not None and (symbolic.work < SPARSE_GAIN * q2**3 or dense_bytes > MAX_BYTES):
                    found = SparsePlan(levels, symbolic, tuple(d.slots[t] for t in d.others))
        if found is None and dense_bytes > MAX_BYTES:
            raise FitError(
                f"a mixed model of {len(d.terms)} grouping terms",
                f"{q2:,} random effects beside those of the largest term, which meet in so many ways that their factor "
                f"would take {dense_bytes / 2**30:.1f} GiB and more; up to {MAX_BYTES / 2**30:.0f} GiB are taken",
                "leave the second largest grouping factor out, or its slopes; or fit a part of its levels",
            )
        return found

    @cached_property
    def levels(self) -> LevelMap:
        """From blocks of the leading term to the rest."""
        d = self.design
        return level_map(d.meetings, d.q2, d.cross) if self.plan is None else self.plan.levels

    def rest(self, Q: Array, T: Sequence[Array]) -> Rest:
        """The rest at one theta."""
        d = self.design
        others = [T[t] for t in d.others]
        if self.plan is not None:
            return SparseRest(self.plan, Q, others)
        return DenseRest(self.levels, Q, others, [d.slots[t] for t in d.others])

    def lanes(self, Y: Array, *, reml: bool = True) -> CrossedLanes:
        """One lane per response: Y (B, n), the offset already taken off."""
        return CrossedLanes(self, reml, self.design.sums(Y))

    @property
    def work(self) -> int:
        """Multiplications of one evaluation, to an order of magnitude."""
        d = self.design
        factor = d.q2**3 if self.plan is None else self.plan.symbolic.work
        return factor + 4 * min(d.meetings.n_pairs, d.meetings.n_levels * d.q2**2) + 50 * d.n

    @property
    def x_factor(self) -> Array:
        """(p, p) from the kernel's coordinates of the coefficients to those of X as given."""
        return self.design.x_factor

    def theta_inside(self, T: Sequence[Array]) -> Array:
        """(B, m) search coordinates of T_t (B, k, k) given in the units of the data."""
        return self.design.theta_inside(T)


@dataclass(frozen=True, slots=True, eq=False)
class CrossedLanes:
    """B responses of one design, one after the other."""

    kernel: CrossedKernel
    reml: bool
    sums: Sums

    @property
    def size(self) -> int:
        """B."""
        return self.sums.yy.shape[0]

    @property
    def dof(self) -> float:
        """Rows, less the columns of X for REML."""
        d = self.kernel.design
        return float(d.n - d.p if self.reml else d.n)

    def take(self, lanes: Array) -> CrossedLanes:
        """Some of the lanes."""
        return replace(self, sums=self.sums.take(lanes))

    def evaluate(self, theta: Array) -> Evaluation:
        """Deviance, gradient and curvature at theta (B, m); not finite where doubles do not reach."""
        d = self.kernel.design
        B, m = theta.shape
        out = Evaluation(
            np.full(B, np.nan), np.full((B, m), np.nan), np.full((B, m, m), np.nan), np.full((B, d.p), np.nan),
            np.full(B, np.nan),
        )  # fmt: skip
        with np.errstate(all="ignore"):
            T = d.t_inside(theta)
            for lane in range(B):
                at = self.at([t[lane] for t in T], lane)
                if at is not None:
                    out.deviance[lane], out.r2[lane], out.beta[lane] = at.deviance, at.r2, at.beta
                    out.gradient[lane] = at.gradient()
                    out.hessian[lane] = at.curvature()
        return out

    def x_information(self, theta: Array) -> Array:
        """(B, p, p) X'V^-1 X at theta (B, m), X orthonormal; NaN where V is singular to double precision."""
        d = self.kernel.design
        T = d.t_inside(theta)
        points = [self.at([t[lane] for t in T], lane) for lane in range(self.size)]
        return np.array([np.full((d.p, d.p), np.nan) if point is None else point.S for point in points])

    def at(self, T: Sequence[Array], lane: int = 0) -> Point | None:
        """Everything at one T of each term, search coordinates; None where V is singular to double precision."""
        return Point.of(self, T, lane)


@dataclass(eq=False)
class Point:
    """One theta and one response. F = [X, y]; N = Z'V^-1 Z, W = Z'V^-1 X, g = Z'P y, V in units of sigma^2."""

    lanes: CrossedLanes
    T: list[Array]
    used: list[Array]  # T with a diagonal that can be divided by, for the terms that do not lead
    D: Array  # (J1, k1, k1) (I + A Sigma)^-1 of the leading term
    Q: Array  # (J1, k1, k1) Sigma D
    rest: Rest
    deviance: float
    r2: float
    beta: Array  # (p,) in the kernel's coordinates
    S: Array  # (p, p) X'V^-1 X
    S_inverse: Array
    W: list[Array]  # (J, k, p) by term
    g: list[Array]  # (J, k) by term
    u: Array  # (q2,) M^-1 T'Z2'V1^-1 (y - X beta): spherical effects of the rest

    @classmethod
    def of(cls, lanes: CrossedLanes, T: Sequence[Array], lane: int) -> Point | None:
        """T (k, k) of each term, response ``lane``; None where V or X'V^-1 X is singular to double precision."""
        d, s = lanes.kernel.design, lanes.sums
        p, lead = d.p, d.lead
        Sigma = T[lead] @ T[lead].T
        X = d.A @ Sigma
        X[:, range(Sigma.shape[0]), range(Sigma.shape[0])] += 1.0
        D, log_lead = _inverse(X)
        Q = Sigma @ D
        lead_F = np.concatenate([d.lead_X, s.lead[lane][:, :, None]], axis=2)
        rest_F = np.concatenate([d.rest_X, s.rest[lane][:, None]], axis=1)
        FF = np.eye(p + 1)
        FF[:p, p] = FF[p, :p] = s.xy[lane]
        FF[p, p] = s.yy[lane]
        QF = (Q @ lead_F).reshape(-1, p + 1)
        flat = lead_F.reshape(-1, p + 1)
        CF = rest_F - d.meeting_T @ QF
        CFF = FF - flat.T @ QF
        used = [t if i == lead else _lifted(t) for i, t in enumerate(T)]
        rest = lanes.kernel.rest(Q, used)
        if not rest.ok or not np.isfinite(log_lead):
            return None
        others, slots = [used[t] for t in d.others], [d.slots[t] for t in d.others]
        TF = left(CF, [t.T for t in others], slots)
        U = rest.solve(TF)
        SFF = CFF - TF.T @ U
        S, Xy = 0.5 * (SFF[:p, :p] + SFF[:p, :p].T), SFF[:p, p]
        sign, log_S = np.linalg.slogdet(S)
        if sign <= 0:
            return None
        Si = np.linalg.inv(S)
        beta = Si @ Xy
        r2 = float(SFF[p, p] - Xy @ beta)
        dof = lanes.dof
        deviance = log_lead + rest.log_det() + dof * (1.0 + np.log(2.0 * np.pi * r2 / dof)) - d.log_weights
        if lanes.reml:
            deviance += log_S + d.log_det_x
        TU = left(U, others, slots)
        rest_N = CF - rest.times(TU)
        lead_N = D @ (lead_F - (d.meeting @ TU).reshape(lead_F.shape))
        W, g = [], []
        for t, slot in enumerate(d.slots):
            part = lead_N if t == lead else rest_N[slot.columns].reshape(slot.J, slot.k, p + 1)
            W.append(part[:, :, :p])
            g.append(part[:, :, p] - part[:, :, :p] @ beta)
        return cls(lanes, list(T), used, D, Q, rest, float(deviance), r2, beta, S, Si, W, g, U[:, p] - U[:, :p] @ beta)

    @property
    def ratio(self) -> float:
        """1 / sigma^2."""
        return self.lanes.dof / self.r2

    @cached_property
    def _fixed(self) -> list[Array]:
        """(k, k) what does not come from N in K: sum of g g' / sigma^2 and, for REML, of W S^-1 W'."""
        out = []
        for w, g in zip(self.W, self.g, strict=True):
            part = self.ratio * (g.T @ g)
            if self.lanes.reml:
                part = part + _flat(w @ self.S_inverse) @ _flat(w).T
            out.append(part)
        return out

    @cached_property
    def slopes(self) -> list[Array]:
        """K (k, k) of each term: half the derivative of the deviance in the covariance T T'."""
        return [N - fixed for N, fixed in zip(self._traces, self._fixed, strict=True)]

    @cached_property
    def _turned(self) -> dict[int, Array]:
        """Sum over levels of (N T)_rr for the terms that do not lead."""
        return dict(zip(self.lanes.kernel.design.others, self.rest.turned(), strict=True))

    @cached_property
    def _traces(self) -> list[Array]:
        """(k, k) sum over levels of N_rr, N = Z'V^-1 Z."""
        d = self.lanes.kernel.design
        out = []
        for t, T in enumerate(self.used):
            if t == d.lead:
                quad = self.D @ self.rest.lead_quads() @ self.D.transpose(0, 2, 1)
                part = (self.D @ d.A - quad).sum(axis=0)
            else:
                part = np.linalg.solve(T.T, self._turned[t].T).T
            out.append(0.5 * (part + part.T))
        return out

    def gradient(self) -> Array:
        """(m,) of the deviance in search coordinates."""
        d = self.lanes.kernel.design
        out = np.empty(d.n_theta)
        for t, slot in enumerate(d.slots):
            T = self.T[t]
            direct = t == d.lead or _is_tiny(T)
            KT = self.slopes[t] @ T if direct else self._turned[t] - self._fixed[t] @ T
            out[slot.parameters] = [2.0 * KT[a, b] for a, b in slot.entries]
        return out

    def curvature(self, bases: Sequence[Array] | None = None, T: Sequence[Array] | None = None) -> Array:
        """(m, m) average information; ``bases`` R_t (k, k) and T_t give it for T_t where R_t T_t is searched."""
        d = self.lanes.kernel.design
        bases = [np.eye(slot.k) for slot in d.slots] if bases is None else list(bases)
        T = self.T if T is None else [R @ t for R, t in zip(bases, T, strict=True)]
        m = d.n_theta
        E = [np.zeros((slot.J, slot.k, m)) for slot in d.slots]
        along = np.empty(m)
        linear = np.zeros((m, m))
        for t, slot in enumerate(d.slots):
            g, R = self.g[t], bases[t]
            K = R.T @ self.slopes[t] @ R
            for i, (a, b) in enumerate(slot.entries, start=slot.first):
                column = T[t][:, b]
                E[t][:, :, i] = np.outer(g @ column, R[:, a]) + np.outer(g @ R[:, a], column)
                along[i] = np.vdot(E[t][:, :, i], g)
                for j, (a2, b2) in enumerate(slot.entries, start=slot.first):
                    if b == b2:
                        linear[i, j] = 2.0 * K[a, a2]
        quadratic = self.information(E)
        return self.ratio * quadratic - self.ratio / self.r2 * np.outer(along, along) + linear

    def information(self, E: Sequence[Array]) -> Array:
        """(r, r) e'(Z'PZ)e of directions E_t (J, k, r), P = V^-1 - V^-1 X S^-1 X'V^-1."""
        d = self.lanes.kernel.design
        r = E[0].shape[2]
        lead = E[d.lead]
        rest = np.concatenate([E[t].reshape(-1, r) for t in d.others])
        moved = (d.meeting @ rest).reshape(lead.shape)
        on_lead = self.D @ (d.A @ lead + moved)
        on_rest = self.rest.times(rest) + d.meeting_T @ (self.D.transpose(0, 2, 1) @ lead).reshape(-1, r)
        others, slots = [self.used[t].T for t in d.others], [d.slots[t] for t in d.others]
        F = left(on_rest, others, slots)
        WE = np.zeros((d.p, r))
        for w, e in zip(self.W, E, strict=True):
            WE += w.reshape(w.shape[0] * w.shape[1], d.p).T @ e.reshape(-1, r)
        lead_part = lead.reshape(-1, r).T @ on_lead.reshape(-1, r)
        out = lead_part + rest.T @ on_rest - F.T @ self.rest.solve(F) - WE.T @ self.S_inverse @ WE
        return 0.5 * (out + out.T)


def _inverse(X: Array) -> tuple[Array, float]:
    """Inverses of blocks (J, k, k) with positive determinants, and the sum of their logs."""
    if X.shape[1] == 1:
        return 1.0 / X, float(np.sum(np.log(X)))
    sign, log = np.linalg.slogdet(X)
    if not np.all(sign > 0):
        return np.full_like(X, np.nan), float("nan")
    return np.linalg.inv(X), float(np.sum(log))


def _flat(w: Array) -> Array:
    """(k, J p) of w (J, k, p)."""
    return w.transpose(1, 0, 2).reshape(w.shape[1], w.shape[0] * w.shape[2])


def _is_tiny(T: Array) -> bool:
    return bool(np.any(np.abs(np.diagonal(T)) < _TINY))


def _lifted(T: Array) -> Array:
    """T with a diagonal that can be divided by."""
    if not _is_tiny(T):
        return T
    out = T.copy()
    tiny = np.abs(np.diagonal(T)) < _TINY
    out[tiny, tiny] = _TINY
    return out
