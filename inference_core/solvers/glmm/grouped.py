"""One grouping factor with k random coefficients: B models at once, groups independent given the coefficients.

eta = X beta + Z T u + offset with u ~ N(0, I). For each group M = T'Z'W Z T + I; the Laplace deviance is

    d = sum_j [ -2 log f(y_j | u_j) + u_j'u_j + log |M_j| ]      at the mode u_j, W expected (Fisher) weights

as lme4 counts it. Its gradient is exact at the mode and costs one adjoint solve a group (Skaug & Fournier 2006,
CSDA 51): with a = dw/deta o (leverage), lambda = M_obs^-1 T'Z'a and r = a - w_obs o (Z T lambda) - 2 s,

    d/d beta = X'r        d/d T = sum_j [ Z'r u' + 2 Z'WZ T M^-1 + Z's lambda' ]

Rows are kept sorted by group; arrays over rows are (B, n), over groups (B, J).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from inference_core.solvers.lmm import planes as pl
from inference_core.solvers.lmm.structure import Entries, to_matrix
from inference_core.states import Array

from .rows import RowModel, Rows

_LAST_STEP = 1e-8  # decrement after which one exact Newton step leaves its square, 1e-16
_SLOW_STEP = 1e-15  # the same where a group has to do with expected weights: convergence is linear there
_ROUNDING = 1e-10  # of a group's deviance: a rise no larger than this is none
_DENSE_SUMS = 2e5  # n J up to which sums by group are a product with a matrix of zeros and ones
_MODE_STEPS = 60
_HALVINGS = 14

Vector = list[Array]  # k planes (B, J)


class Point(NamedTuple):
    """Where the deviance is asked for, one lane a row."""

    theta: Array  # (B, m) free entries of T
    beta: Array  # (B, p)
    scale: Array | None  # (B,) log of the scale parameter


class Evaluation(NamedTuple):
    """A deviance and its gradient in (theta, beta, log scale); beta only moves where it was found inside."""

    deviance: Array  # (B,) NaN where no mode was found
    gradient: Array | None  # (B, m + p + scale), (B, m + scale) for the joint mode
    u: Array  # (B, q) modes
    beta: Array  # (B, p)


@dataclass(slots=True)
class Precision:
    """What is known at a mode, expected weights: lme4's RX factor and its relatives."""

    beta: Array  # (p, p) information about beta, u eliminated
    b_blocks: list[Array]  # (J, k, k) a factor: covariance of the effects of each level, theta and beta held
    leverage: Array  # (n,) rows of the design's own order


@dataclass(slots=True)
class Modes:
    """The modes of u and what was computed there."""

    T: Array  # (B, k, k)
    u: Vector
    eta: Array  # (B, n)
    rows: Rows
    penalised: Array  # (B, J) deviance rows + u'u of each group
    A: pl.Planes  # Z'WZ, Fisher weights
    AT: pl.Planes  # Z'WZ T
    M_inverse: pl.Planes
    log_det: Array  # (B, J)
    ok: Array  # (B,) whether every group of the lane settled


@dataclass(eq=False)
class Grouped:
    """The design of one grouping factor, rows sorted by group; every group must have a row.

    ``multiplicity`` counts a group more or less often in one lane: (B, J), or None for once each.
    """

    X: Array  # (n, p)
    Z: Array  # (n, k)
    group: Array  # (n,) sorted
    offset: Array  # (n,)
    entries: Entries
    order: Array  # (n,) rows of the data in this order
    starts: Array  # (J,)
    indicator: Array | None  # (n, J)
    multiplicity: Array | None = None

    @classmethod
    def make(cls, X: Array, Z: Array, group: Array, entries: Entries, offset: Array | None = None) -> Grouped:
        """Sort the rows of X (n, p), Z (n, k), offset (n,) by group (n,) int 0 .. J - 1."""
        order = np.argsort(group, kind="stable")
        g = np.asarray(group)[order]
        n, J = g.size, int(g[-1]) + 1
        indicator = None
        if n * J <= _DENSE_SUMS:
            indicator = np.zeros((n, J))
            indicator[np.arange(n), g] = 1.0
        off = np.zeros(n) if offset is None else np.asarray(offset, dtype=float)[order]
        return cls(
            np.ascontiguousarray(X[order]), np.ascontiguousarray(Z[order]), g, off, entries, order,
            np.searchsorted(g, np.arange(J)), indicator,
        )  # fmt: skip

    @property
    def n(self) -> int:
        """Rows."""
        return self.X.shape[0]

    @property
    def p(self) -> int:
        """Columns of X."""
        return self.X.shape[1]

    @property
    def k(self) -> int:
        """Effects a group."""
        return self.Z.shape[1]

    @property
    def J(self) -> int:
        """Groups."""
        return self.starts.size

    @property
    def q(self) -> int:
        """Random effects."""
        return self.J * self.k

    @property
    def n_theta(self) -> int:
        """Free entries of T."""
        return len(self.entries)

    def take(self, lanes: Array) -> Grouped:
        """The same for some of the lanes."""
        if self.multiplicity is None:
            return self
        return self.with_multiplicity(self.multiplicity[lanes])

    def with_multiplicity(self, multiplicity: Array | None) -> Grouped:
        """The same with groups counted so many times in each lane."""
        return Grouped(
            self.X, self.Z, self.group, self.offset, self.entries, self.order, self.starts, self.indicator, multiplicity
        )

    # ---- sums and products ---------------------------------------------------------------------------------

    def by_group(self, values: Array) -> Array:
        """(B, J) sums of (B, n) over the rows of each group."""
        if self.indicator is not None:
            return values @ self.indicator
        return np.add.reduceat(values, self.starts, axis=-1)

    def z_sums(self, values: Array) -> Vector:
        """Z'v by group, one plane an effect."""
        return [self.by_group(values * self.Z[:, a]) for a in range(self.k)]

    def z_squares(self, weights: Array) -> pl.Planes:
        """Z'WZ by group; entries above and below the diagonal are the same plane."""
        k = self.k
        out: Any = [[None] * k for _ in range(k)]
        for a in range(k):
            for b in range(a, k):
                out[a][b] = out[b][a] = self.by_group(weights * (self.Z[:, a] * self.Z[:, b]))
        return out

    def random_part(self, T: Array, u: Vector) -> Array:
        """(B, n) Z T u."""
        total: Any = 0.0
        for a in range(self.k):
            effect = sum((T[:, a, b, None] * u[b] for b in range(1, a + 1)), T[:, a, 0, None] * u[0])
            total = total + np.take(effect, self.group, axis=1) * self.Z[:, a]
        return total

    def factor(self, weights: Array, T: Array) -> tuple[pl.Planes, pl.Planes, pl.Planes, Array]:
        """Z'WZ, Z'WZ T, the inverse of M = T'Z'WZ T + I and log |M|."""
        k = self.k
        A = self.z_squares(weights)
        AT = [[plane_sum(A[a][d] * T[:, d, b, None] for d in range(b, k)) for b in range(k)] for a in range(k)]
        M: Any = [[None] * k for _ in range(k)]
        for a in range(k):
            for b in range(a, k):
                entry = plane_sum(T[:, d, a, None] * AT[d][b] for d in range(a, k))
                M[a][b] = M[b][a] = entry + 1.0 if a == b else entry
        inverse, log_det = pl.invert(M)
        return A, AT, inverse, log_det

    def into_u(self, T: Array, v: Vector) -> Vector:
        """T'v."""
        return [plane_sum(T[:, a, b, None] * v[a] for a in range(b, self.k)) for b in range(self.k)]

    def leverage_planes(self, T: Array, M_inverse: pl.Planes) -> pl.Planes:
        """T M^-1 T'."""
        k = self.k
        R = range(k)
        half = [[plane_sum(T[:, a, b, None] * M_inverse[b][c] for b in range(a + 1)) for c in R] for a in R]
        out: Any = [[None] * k for _ in range(k)]
        for a in range(k):
            for b in range(a, k):
                out[a][b] = out[b][a] = plane_sum(half[a][c] * T[:, b, c, None] for c in range(b + 1))
        return out

    def quadratic(self, planes: pl.Planes) -> Array:
        """(B, n) z'Q z with each row's group."""
        total: Any = 0.0
        for a in range(self.k):
            for b in range(a, self.k):
                z = self.Z[:, a] * self.Z[:, b] * (1.0 if a == b else 2.0)
                total = total + np.take(planes[a][b], self.group, axis=1) * z
        return total

    def unpack(self, u: Array) -> Vector:
        """Planes of u (B, q), which runs by group and within it by effect."""
        grid = u.reshape(u.shape[0], self.J, self.k)
        return [np.ascontiguousarray(grid[:, :, a]) for a in range(self.k)]

    def pack(self, u: Vector) -> Array:
        """(B, q) from planes."""
        return np.stack(u, axis=2).reshape(u[0].shape[0], self.q)

    # ---- modes ---------------------------------------------------------------------------------------------

    def modes(self, model: RowModel, point: Point, u: Array) -> Modes:
        """Newton for every group of every lane, damped by group; starts at u (B, q)."""
        T = to_matrix(point.theta, self.entries, self.k)
        fixed = point.beta @ self.X.T + self.offset
        planes = self.unpack(u)
        eta = fixed + self.random_part(T, planes)
        rows = model(eta, point.scale)
        value = self.by_group(rows.deviance) + plane_square(planes)
        if not np.all(np.isfinite(value)):  # a warm start that no longer makes sense
            lost = ~np.isfinite(value)
            planes = [np.where(lost, 0.0, x) for x in planes]
            eta = fixed + self.random_part(T, planes)
            rows = model(eta, point.scale)
            value = self.by_group(rows.deviance) + plane_square(planes)
        decrement = np.zeros_like(value)
        for _ in range(_MODE_STEPS):
            step, decrement, exact = self._step(rows, T, planes)
            last = not np.any(decrement > np.where(exact, _LAST_STEP, _SLOW_STEP))
            before = value
            planes, eta, rows, value = self._descend(model, point, fixed, T, planes, step, value)
            if last or not np.any((decrement > _LAST_STEP) & (before - value > 1e-13 * (1.0 + np.abs(value)))):
                break
        ok = np.all(decrement <= 1e-6, axis=1) & np.all(np.isfinite(value), axis=1)
        A, AT, inverse, log_det = self.factor(rows.fisher, T)
        return Modes(T, planes, eta, rows, value, A, AT, inverse, log_det, ok)

    def _step(self, rows: Rows, T: Array, u: Vector) -> tuple[Vector, Array, Array]:
        """Newton direction, its decrement, and whether it used the exact Hessian, by group."""
        gradient = [t - x for t, x in zip(self.into_u(T, self.z_sums(rows.score)), u, strict=True)]
        inverse = self.factor(rows.observed, T)[2]
        step = pl.times_vector(inverse, gradient)
        decrement = plane_dot(gradient, step)
        exact = np.ones(decrement.shape, dtype=bool)
        if rows.observed is not rows.fisher:
            exact = (decrement >= 0) & np.isfinite(decrement) & (inverse[0][0] > 0)
            if not np.all(exact):
                safe = pl.times_vector(self.factor(rows.fisher, T)[2], gradient)
                step = [np.where(exact, x, y) for x, y in zip(step, safe, strict=True)]
                decrement = plane_dot(gradient, step)
        return step, decrement, exact

    def _descend(self, model: RowModel, point: Point, fixed: Array, T: Array, u: Vector, step: Vector, value: Array):
        """The step, halved group by group until the penalised deviance does not rise."""
        size = np.ones_like(value)
        for attempt in range(_HALVINGS + 1):
            trial = [x + size * d for x, d in zip(u, step, strict=True)]
            trial_eta = fixed + self.random_part(T, trial)
            trial_rows = model(trial_eta, point.scale)
            trial_value = self.by_group(trial_rows.deviance) + plane_square(trial)
            bad = ~(trial_value <= value + _ROUNDING * (1.0 + np.abs(value)))
            if not np.any(bad):
                break
            size = np.where(bad, 0.5 * size if attempt < _HALVINGS - 1 else 0.0, size)
        return trial, trial_eta, trial_rows, trial_value

    # ---- deviances -----------------------------------------------------------------------------------------

    def laplace(self, model: RowModel, point: Point, u: Array, *, gradient: bool = True) -> Evaluation:
        """The Laplace deviance of every lane, and its gradient."""
        with np.errstate(all="ignore"):
            m = self.modes(model, point, u)
            value = m.penalised + m.log_det
            packed = self.pack(m.u)
            deviance = self.total(value, m.ok)
            if not gradient:
                return Evaluation(deviance, None, packed, point.beta)
            g = self.adjoint_gradient(model, point, m, m.M_inverse, m.rows.score, None, None)
            return Evaluation(deviance, g, packed, point.beta)

    def laplace_by_group(self, model: RowModel, point: Point, u: Array) -> Array:
        """(J, m) gradient of each group's Laplace deviance at one point (one lane)."""
        with np.errstate(all="ignore"):
            m = self.modes(model, point, u)
            return self.group_gradients(model, point, m, m.M_inverse, m.rows.score, None, None)

    def total(self, value: Array, ok: Array) -> Array:
        """(B,) deviance of a lane from its groups, NaN where a mode was not found."""
        total = np.sum(value if self.multiplicity is None else value * self.multiplicity, axis=1)
        return np.where(ok, total, np.nan)

    def adjoint_gradient(self, model, point, m: Modes, sensitivity: pl.Planes, score, quadrature, scale_part) -> Array:
        """(B, m) the adjoint gradient; ``sensitivity`` is d value / d M by group, M^-1 for Laplace."""
        by_theta, residual, by_scale = self.gradient_parts(model, point, m, sensitivity, score, quadrature, scale_part)
        times = self.multiplicity
        if times is not None:
            by_theta = [value * times for value in by_theta]
            residual = residual * np.take(times, self.group, axis=1)
            by_scale = None if by_scale is None else by_scale * times
        gradient = [np.stack([np.sum(value, axis=1) for value in by_theta], axis=1), residual @ self.X]
        if by_scale is not None:
            gradient.append(np.sum(by_scale, axis=1)[:, None])
        return np.concatenate(gradient, axis=1)

    def group_gradients(self, model, point, m: Modes, sensitivity: pl.Planes, score, quadrature, scale_part) -> Array:
        """(J, m) the same of one lane, group by group, each group once."""
        by_theta, residual, by_scale = self.gradient_parts(model, point, m, sensitivity, score, quadrature, scale_part)
        columns = [value[0] for value in by_theta]
        columns += [self.by_group(residual * self.X[:, j])[0] for j in range(self.p)]
        return np.stack(columns if by_scale is None else [*columns, by_scale[0]], axis=1)

    def gradient_parts(self, model, point, m: Modes, sensitivity: pl.Planes, score, quadrature, scale_part):
        """Of every group once: (B, J) for each entry of T, (B, n) in eta, and (B, J) for the log scale or None."""
        k, T, rows = self.k, m.T, m.rows
        lev = self.quadratic(self.leverage_planes(T, sensitivity))
        a = rows.slope * lev
        right = self.into_u(T, self.z_sums(a))
        if quadrature is not None:
            right = [right[0] + quadrature[0]]
        observed = m.M_inverse if rows.observed is rows.fisher else self.factor(rows.observed, T)[2]
        lam = pl.times_vector(observed, right)
        # what moves eta through the mode and the weights, then the direct -2 s
        via = a - rows.observed * self.random_part(T, lam)
        z_via, z_score = self.z_sums(via), self.z_sums(rows.score)
        z_direct = [-2.0 * s for s in self.z_sums(score)]
        by_theta = []
        for r, c in self.entries:
            value = z_via[r] * m.u[c] + z_score[r] * lam[c]
            value = value + 2.0 * plane_sum(m.AT[r][d] * sensitivity[d][c] for d in range(k))
            by_theta.append(value + (z_direct[r] * m.u[c] if quadrature is None else quadrature[1]))
        by_scale = None
        if point.scale is not None:
            s = model.scale_rows(m.eta, point.scale, rows)
            by_scale = self.by_group(lev * s.fisher) + plane_dot(lam, self.into_u(T, self.z_sums(s.score)))
            by_scale = by_scale + (self.by_group(s.deviance) if scale_part is None else scale_part)
        return by_theta, via - 2.0 * score, by_scale


def plane_sum(terms: Any) -> Array:
    """Sum of planes without the 0 that sum() starts from."""
    iterator = iter(terms)
    total = next(iterator)
    for term in iterator:
        total = total + term
    return total


def plane_dot(left: Vector, right: Vector) -> Array:
    """Inner products by group."""
    return plane_sum(x * y for x, y in zip(left, right, strict=True))


def plane_square(u: Vector) -> Array:
    """U'u by group."""
    return plane_sum(x * x for x in u)
