"""Fits by the dense kernel: one from several starts, or replicates from a warm start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inference_core.states import Array

from .dense import DenseDesign, DenseLanes, Slot, Term
from .newton import FIT_TOL, REPLICATE_TOL, NewtonResult, best_of, newton
from .solution import Solution
from .structure import canonical, to_theta

DENSE_UP_TO = 150  # random effects of several factors for which stacked dense matrices are the fastest
STARTS = (1.0, 0.3, 3.0)
SAME_OPTIMUM = 1e-4  # deviance units within which two starts have met
_CHUNK = 2e6  # numbers in one (B, q, q) array


def fit_dense(
    X: Array, terms: Sequence[Term], y: Array, *, weights: Array | None = None, reml: bool = True,
    tol: float = FIT_TOL, max_iter: int = 60, start: Sequence[Array] | None = None,
) -> Solution:  # fmt: skip
    """Fit any combination of random terms.

    Parameters
    ----------
    X : (n, p) array of full rank
    terms : sequence of Term
    y : (n,) array, the offset already taken off
    weights : (n,) array > 0, optional
    start : sequence of (k, k) arrays, optional
        A further start, in the units of the data. The others are 1, 0.3 and 3 times the identity and, where the
        result is on the boundary or the starts disagree, the best with each variance lifted off zero.
    """
    design = DenseDesign.of(X, terms, weights)
    one = design.lanes(y, reml=reml)
    unit = np.concatenate([[float(a == b) for a, b in slot.entries] for slot in design.slots])
    first = [s * unit for s in STARTS]
    if start is not None:
        first.insert(0, design.theta_inside([np.asarray(t)[None] for t in start])[0])
    tried = _from_starts(one, first, tol, max_iter)
    best, apart = best_of(tried), _apart(tried)
    singular = _singular(design, best.theta)
    if apart > SAME_OPTIMUM or singular:
        tried += _from_starts(one, _lifted(design, best.theta[0]), tol, max_iter)
        best, apart = best_of(tried), _apart(tried)
        singular = _singular(design, best.theta)
    messages = ()
    if apart > SAME_OPTIMUM:
        messages = (
            f"starting points ended in different optima, up to {apart:.2g} deviance units apart; the best was taken",
        )
    return _finish(design, one, best, X, y, singular, messages)


def replicate_dense(
    design: DenseDesign, Y: Array, start: Sequence[Array], *, reml: bool = True, tol: float = REPLICATE_TOL,
    max_iter: int = 60,
) -> tuple[list[Array], Array, Array, NewtonResult]:  # fmt: skip
    """B refits from a warm start: T_t (B, k, k), beta (B, p), sigma (B,), and the search's own result."""
    begin = design.theta_inside([np.asarray(t)[None] for t in start])
    chunk = max(1, int(_CHUNK / design.q**2))
    found: NewtonResult | None = None
    shift = []
    for at in range(0, len(Y), chunk):
        lanes = design.lanes(Y[at : at + chunk], reml=reml)
        shift.append(lanes.shift)
        part = newton(lanes, np.tile(begin, (lanes.size, 1)), tol=tol, max_iter=max_iter)
        found = part if found is None else found.join([part])
    assert found is not None
    dof = design.X.shape[0] - (design.X.shape[1] if reml else 0)
    beta = design.beta_outside(found.beta, np.concatenate(shift))
    return design.t_outside(found.theta), beta, np.sqrt(found.r2 / dof), found


def _from_starts(one: DenseLanes, starts: Sequence[Array], tol: float, max_iter: int) -> list[NewtonResult]:
    if one.design.q > 200:  # large matrices gain nothing from being stacked
        return [newton(one, s[None], tol=tol, max_iter=max_iter) for s in starts]
    found = newton(one.take(np.zeros(len(starts), dtype=int)), np.array(starts), tol=tol, max_iter=max_iter)
    return [found.pick(np.array([i])) for i in range(len(starts))]


def _apart(tried: list[NewtonResult]) -> float:
    values = np.array([r.deviance[0] for r in tried if r.converged[0]])
    return float(values.max() - values.min()) if values.size else 0.0


def _singular(design: DenseDesign, theta: Array) -> bool:
    inside = zip(design.t_inside(theta), design.terms, strict=True)
    return any(bool(np.any(np.diagonal(canonical(T, term.mask)[0]) < 1e-4)) for T, term in inside)


def _lifted(design: DenseDesign, theta: Array) -> list[Array]:
    """The point with each small variance lifted off zero, and with each variance at zero where there are several."""
    out = []
    for slot in design.slots:
        for i, (a, b) in enumerate(slot.entries, start=slot.first):
            if a == b:
                for value in (0.5, 0.0):
                    point = theta.copy()
                    point[i] = value
                    out.append(point)
    return out


def _finish(
    design: DenseDesign, one: DenseLanes, best: NewtonResult, X: Array, y: Array, singular: bool, messages: tuple
) -> Solution:
    T = [t[0] for t in design.t_outside(best.theta)]
    beta = design.beta_outside(best.beta, one.shift)[0]
    sigma = float(np.sqrt(best.r2[0] / one.dof))
    plain = design.unwhitened()
    root = design.root_weights
    e = (y - X @ beta) * (1.0 if root is None else root)
    c = plain.left((e @ design.Z)[None, :, None], [R.T for R in design.z_factors])[:, :, 0]
    at = DenseLanes(plain, one.reml, c, np.array([e @ e]), np.zeros_like(one.shift))
    Sigma = [(t @ t.T)[None] for t in T]
    N, W, g, _ = at.solve(Sigma)
    b = [_effects(g[0], slot) @ (t @ t.T) for slot, t in zip(design.slots, T, strict=True)]
    u = [_effects(g[0], slot) @ t for slot, t in zip(design.slots, T, strict=True)]
    # Var(b | y) / sigma^2 = Sigma - Sigma N Sigma = Sigma (I + A Sigma)^-1
    SN = plain.right(N, Sigma).transpose(0, 2, 1)
    Q = -plain.right(SN, Sigma)[0]
    for slot, s in zip(design.slots, Sigma, strict=True):
        Q[_block_index(slot)] += s
    S = np.eye(X.shape[1]) - plain.right(plain.B.T[None], Sigma)[0] @ W[0]
    w, V = np.linalg.eigh(0.5 * (S + S.T))
    S_root = V / np.sqrt(w)
    root_x = np.linalg.solve(design.x_factor, S_root) if X.shape[1] else np.zeros((0, 0))
    theta = np.concatenate([to_theta(t[None], slot.entries)[0] for t, slot in zip(T, design.slots, strict=True)])
    original = replace(at, c=plain.left(one.c[:, :, None], [R.T for R in design.z_factors])[:, :, 0], yy=one.yy)
    final = original.evaluate(theta[None])
    return Solution(
        T=tuple(T), beta=beta, sigma=sigma, deviance=float(best.deviance[0]), vcov_unscaled=root_x @ root_x.T,
        u=tuple(u), b=tuple(b), cond_var=tuple(sigma**2 * Q[_block_index(slot)] for slot in design.slots),
        leverage=_leverage(design, plain, Q, S_root), gradient=final.gradient[0], hessian=final.hessian[0],
        singular=singular, converged=bool(best.converged[0]), n_iter=int(best.n_iter[0]), messages=messages,
    )  # fmt: skip


def _effects(values: Array, slot: Slot) -> Array:
    return values[slot.columns].reshape(slot.J, slot.k)


def _block_index(slot: Slot) -> tuple[Array, Array]:
    """Index of a term's diagonal blocks in a (q, q) matrix, giving (J, k, k)."""
    at = slot.start + np.arange(slot.J * slot.k).reshape(slot.J, slot.k)
    return at[:, :, None], at[:, None, :]


def _leverage(design: DenseDesign, plain: DenseDesign, Q: Array, S_root: Array) -> Array:
    """(n,) diagonal of the matrix from y to the conditional fitted values: z'Qz + |(x - B'Qz) S^-1/2|^2."""
    columns, values = [], []
    root = design.root_weights
    for term, slot in zip(design.terms, design.slots, strict=True):
        columns.append(slot.start + term.group[:, None] * slot.k + np.arange(slot.k))
        values.append(term.Z if root is None else term.Z * root[:, None])
    at, z = np.concatenate(columns, axis=1), np.concatenate(values, axis=1)
    hat = np.einsum("na,nab,nb->n", z, Q[at[:, :, None], at[:, None, :]], z)
    QB = Q @ plain.B
    rest = design.X - np.einsum("na,nap->np", z, QB[at])
    return hat + np.square(rest @ S_root).sum(axis=1)
