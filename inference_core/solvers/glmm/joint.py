"""The joint mode of u and beta of one grouping factor: nAGQ = 0, and the information about beta at any mode.

lme4's nAGQ = 0 takes beta from the penalised likelihood itself, so that only theta is searched for. The deviance is
the Laplace deviance there; its gradient in theta comes from one adjoint solve with the joint Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.solvers.lmm import planes as pl
from inference_core.solvers.lmm.structure import to_matrix
from inference_core.states import Array

from .grouped import Evaluation, Grouped, Point, Precision, Vector, plane_dot, plane_square, plane_sum
from .rows import RowModel

_STEPS = 80
_HALVINGS = 16
_LAST_STEP = 1e-8
_SLOW_STEP = 1e-15


@dataclass(slots=True)
class JointFactor:
    """The Hessian of the penalised likelihood in (u, beta), factored: u eliminated group by group."""

    A: pl.Planes
    AT: pl.Planes
    M_inverse: pl.Planes
    log_det: Array  # (B, J)
    C: list[Array]  # k planes (B, p, J): M^-1 T'Z'WX
    S: Array  # (B, p, p): X'WX less what u takes up
    times: Array | None

    def solve(self, right_u: Vector, right_beta: Array) -> tuple[Vector, Array]:
        """The Hessian's inverse times (right_u, right_beta); right_beta already sums groups as often as they count."""
        counted = right_u if self.times is None else [x * self.times for x in right_u]
        taken = plane_sum(np.matmul(c, x[:, :, None])[:, :, 0] for c, x in zip(self.C, counted, strict=True))
        beta = np.linalg.solve(self.S, (right_beta - taken)[:, :, None])[:, :, 0]
        own = pl.times_vector(self.M_inverse, right_u)
        return [x - np.matmul(beta[:, None, :], c)[:, 0] for x, c in zip(own, self.C, strict=True)], beta


def joint_factor(design: Grouped, weights: Array, T: Array) -> JointFactor:
    """Factor the joint Hessian with row weights (B, n)."""
    A, AT, inverse, log_det = design.factor(weights, T)
    k, p = design.k, design.p
    cross = []
    for a in range(k):
        wz = weights * design.Z[:, a]
        sums = np.empty((weights.shape[0], p, design.J))
        for j in range(p):
            sums[:, j] = design.by_group(wz * design.X[:, j])
        cross.append(sums)
    right = [plane_sum(T[:, a, b, None, None] * cross[a] for a in range(b, k)) for b in range(k)]
    C = [plane_sum(inverse[b][c][:, None] * right[c] for c in range(k)) for b in range(k)]
    times = design.multiplicity
    counted = weights if times is None else weights * np.take(times, design.group, axis=1)
    gram = np.matmul(design.X.T * counted[:, None, :], design.X)
    weighted = right if times is None else [r * times[:, None, :] for r in right]
    S = gram - plane_sum(np.matmul(r, np.swapaxes(c, 1, 2)) for r, c in zip(weighted, C, strict=True))
    return JointFactor(A, AT, inverse, log_det, C, 0.5 * (S + np.swapaxes(S, 1, 2)), times)


def joint_laplace(
    design: Grouped, model: RowModel, theta: Array, scale: Array | None, beta: Array, u: Array, *, gradient: bool = True
) -> Evaluation:
    """The Laplace deviance at the joint mode of (u, beta), and its gradient in (theta, log scale)."""
    with np.errstate(all="ignore"):
        return _joint_laplace(design, model, theta, scale, beta, u, gradient)


def _joint_laplace(design, model, theta, scale, beta, u, gradient):
    T = to_matrix(theta, design.entries, design.k)
    planes = design.unpack(u)
    times = design.multiplicity
    sums = times if times is not None else 1.0

    def state(beta, planes):
        eta = beta @ design.X.T + design.offset + design.random_part(T, planes)
        rows = model(eta, scale)
        return eta, rows, np.sum((design.by_group(rows.deviance) + plane_square(planes)) * sums, axis=1)

    eta, rows, value = state(beta, planes)
    decrement = np.full(len(theta), np.inf)
    for _ in range(_STEPS):
        right_u = [t - x for t, x in zip(design.into_u(T, design.z_sums(rows.score)), planes, strict=True)]
        counted = rows.score if times is None else rows.score * np.take(times, design.group, axis=1)
        right_beta = counted @ design.X
        step_u, step_beta = joint_factor(design, rows.observed, T).solve(right_u, right_beta)
        decrement = np.sum(plane_dot(right_u, step_u) * sums, axis=1)
        decrement = decrement + np.sum(right_beta * step_beta, axis=1)
        exact = np.ones(len(theta), dtype=bool)
        if rows.observed is not rows.fisher:
            exact = np.all(rows.observed > 0, axis=1)  # the joint Hessian is then surely positive definite
            if not np.all(exact):
                safe_u, safe_beta = joint_factor(design, rows.fisher, T).solve(right_u, right_beta)
                exact |= decrement > 0
                step_u = [np.where(exact[:, None], x, y) for x, y in zip(step_u, safe_u, strict=True)]
                step_beta = np.where(exact[:, None], step_beta, safe_beta)
        last = not np.any(np.abs(decrement) > np.where(exact, _LAST_STEP, _SLOW_STEP))
        size = np.ones(len(theta))
        for _ in range(_HALVINGS):
            trial_u = [x + size[:, None] * d for x, d in zip(planes, step_u, strict=True)]
            trial_beta = beta + size[:, None] * step_beta
            trial = state(trial_beta, trial_u)
            bad = ~(trial[2] <= value + 1e-10 * (1.0 + np.abs(value)))
            if not np.any(bad):
                break
            size = np.where(bad, 0.5 * size, size)
        planes, beta = trial_u, trial_beta
        eta, rows, value = trial
        if last:
            break
    fisher = joint_factor(design, rows.fisher, T)
    packed = design.pack(planes)
    deviance = value + np.sum(fisher.log_det * sums, axis=1)
    deviance = np.where(np.abs(decrement) <= 1e-6, deviance, np.nan)
    if not gradient:
        return Evaluation(deviance, None, packed, beta)
    lev = design.quadratic(design.leverage_planes(T, fisher.M_inverse))
    a = rows.slope * lev
    counted = a if times is None else a * np.take(times, design.group, axis=1)
    observed = fisher if rows.observed is rows.fisher else joint_factor(design, rows.observed, T)
    lam_u, lam_beta = observed.solve(design.into_u(T, design.z_sums(a)), counted @ design.X)
    via = a - rows.observed * (design.random_part(T, lam_u) + lam_beta @ design.X.T)
    z_direct, z_score = design.z_sums(via - 2.0 * rows.score), design.z_sums(rows.score)
    parts = []
    for r, c in design.entries:
        part = z_direct[r] * planes[c] + z_score[r] * lam_u[c]
        part = part + 2.0 * plane_sum(fisher.AT[r][d] * fisher.M_inverse[d][c] for d in range(design.k))
        parts.append(np.sum(part * sums, axis=1))
    out = [np.stack(parts, axis=1)]
    if scale is not None:
        s = model.scale_rows(eta, scale, rows)
        total = design.by_group(s.deviance + lev * s.fisher + (lam_beta @ design.X.T) * s.score)
        total = total + plane_dot(lam_u, design.into_u(T, design.z_sums(s.score)))
        out.append(np.sum(total * sums, axis=1)[:, None])
    return Evaluation(deviance, np.concatenate(out, axis=1), packed, beta)


def precision(design: Grouped, model: RowModel, point: Point, u: Array) -> Precision:
    """Information about beta and the conditional covariances at the mode u (1, q) of one lane."""
    with np.errstate(all="ignore"):
        T = to_matrix(point.theta, design.entries, design.k)
        eta = point.beta @ design.X.T + design.offset + design.random_part(T, design.unpack(u))
        rows = model(eta, point.scale)
        f = joint_factor(design, rows.fisher, T)
        blocks = design.leverage_planes(T, f.M_inverse)
        k = design.k
        grid = np.stack([np.stack([blocks[a][b][0] for b in range(k)], axis=-1) for a in range(k)], axis=-2)
        TC = [plane_sum(T[:, a, b, None, None] * f.C[b] for b in range(a + 1)) for a in range(k)]
        taken = plane_sum(TC[a][0].T[design.group] * design.Z[:, a, None] for a in range(k))
        rest = design.X - taken
        lev = design.quadratic(blocks)[0] + np.einsum("np,np->n", rest, np.linalg.solve(f.S[0], rest.T).T)
        return Precision(f.S[0], [grid], rows.fisher[0] * lev)
