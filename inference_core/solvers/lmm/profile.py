"""Profile traces of a linear mixed model: fix zeta, find the value.

A point of the profile of h at D = D_min + zeta^2 solves grad D = mu grad h (Venzon & Moolgavkar 1988, Appl. Statist.
37), so limits are points of the trace and nothing is interpolated. Every (target, side) is a lane; all lanes take their
Newton steps together, warm-started along zeta.

The SD of an effect cannot fall below 0 nor a correlation leave [-1, 1]: a lane that cannot reach its zeta is compared
with the fit on that boundary, and if zeta lies beyond, the trace ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inference_core.states import Array

from .held import Held, Kernel, held_deviance
from .profile_targets import COR, FIXED, RATIO, SD, Targets

_STEP_CAP = 0.5  # largest move of one search coordinate in a Newton step
_SETTLED = 1e-7  # step below which the next one is rounding
_SADDLE = 1e-6  # an eigenvalue below minus this share of the largest is a way down
_SMALLEST = 1 / 64  # share of a zeta step below which a lane is given up
_TIED = 1e-9  # distance of a correlation from its limit that counts as the limit

Boundary = Callable[[int, int], float]  # (target, side) -> deviance of the best fit on that side's boundary


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """Signed zetas and values of P targets: one entry of each list per target, points in order of zeta."""

    zeta: list[Array]  # (points,)
    value: list[Array]  # (points,)
    slope: list[Array]  # (points,) d zeta / d value; NaN at a boundary
    others: list[Array]  # (points, P) every target along the trace
    ends: Array  # (P, 2) zeta at the boundary below and above, infinite where the trace did not meet one
    broken: Array  # (P, 2) bool: the search failed before the last zeta
    n_solved: int  # points found


@dataclass(slots=True, eq=False)
class _Lanes:
    """Where the 2 P lanes stand: the last point, and the guess of how it moves with zeta."""

    target: Array  # (B,)
    side: Array  # (B,) -1 or 1
    z: Array  # (B, q + 1) search coordinates and the held value
    mu: Array  # (B,)
    zeta: Array  # (B,)
    value: Array  # (B,) in units of ``derivatives`` or standard errors
    dz: Array  # (B, q + 1) per unit of zeta
    dmu: Array  # (B,)
    alive: Array  # (B,)
    end: Array  # (B,) zeta at the boundary
    points: list[list[tuple[float, Array, float]]] = field(default_factory=list)  # zeta, z, mu


class ProfileSearch:
    """The profile of every target around one optimum.

    Parameters
    ----------
    kernel : Kernel
        The deviance.
    targets : Targets
    x : (q,) array
        The optimum: free entries of T in search coordinates, then log sigma.
    boundary : callable
        (target, side) -> deviance of the best fit with that SD at 0, or that correlation at -1 or 1.
    """

    def __init__(self, kernel: Kernel, targets: Targets, x: Array, boundary: Boundary) -> None:
        self.kernel, self.targets, self.x, self.boundary = kernel, targets, x, boundary
        self.q = x.size
        none = np.zeros((1, targets.held.shape[1]))
        best = held_deviance(kernel, x[None], none, np.zeros(1))
        self.deviance = float(best.deviance[0])
        self.hessian, self.beta = best.hessian[0], best.beta[0]
        self.estimate = targets.values(x[None], best.beta)[0]
        self.n_solved = 0
        self._held_at = np.where(targets.kind == FIXED, targets.held @ self.beta, 0.0)
        self._slope_at_optimum = np.full(targets.size, np.nan)  # d zeta / d value

    def run(self, zetas: Array, tick: Callable[[int], bool] = lambda done: True) -> Traces:
        """Traces through the given zetas (increasing, > 0) on both sides; ``tick(i)`` false ends them early."""
        lanes = self._start(float(zetas[0]))
        for i, zeta in enumerate(zetas):
            self._advance(lanes, float(zeta))
            if not tick(i + 1):
                break
        return self._collect(lanes, float(zetas[-1]))

    # ---- starting ------------------------------------------------------------------------------------------

    def _start(self, zeta: float) -> _Lanes:
        P, q = self.targets.size, self.q
        target, side = np.tile(np.arange(P), 2), np.repeat([-1, 1], P)
        fixed = self.targets.kind == FIXED
        own = self._held_at
        z = np.zeros((2 * P, q + 1))
        z[:, :q], z[:, q] = self.x, np.tile(own, 2)
        value = np.where(fixed, own, self.estimate)
        dz, dmu = np.zeros((2 * P, q + 1)), np.zeros(2 * P)
        alive, end = np.ones(2 * P, dtype=bool), np.full(2 * P, np.inf)
        _, gradients, _ = self.targets.derivatives(np.tile(self.x, (P, 1)), np.arange(P))
        at = self._evaluate(np.column_stack([np.tile(self.x, (P, 1)), own]), np.arange(P))
        for j in range(P):
            full = np.zeros((q + 1, q + 1))
            full[:q, :q], full[q, q] = at.hessian[j], at.dd_value[j]
            full[q, :q] = full[:q, q] = at.d_value_x[j]
            d = np.append(gradients[j], float(fixed[j]))
            kind, here = self.targets.kind[j], self.estimate[j]
            tied = kind == COR and (not np.isfinite(here) or abs(here) > 1.0 - _TIED)
            empty = kind in (SD, RATIO) and here <= 1e-8 * (np.exp(self.x[-1]) if kind == SD else 1.0)
            for lane in (j, j + P):
                if kind == COR and not np.isfinite(here):
                    alive[lane] = False  # an SD is 0, and with it the correlation has no meaning
                elif (empty and side[lane] < 0) or (tied and side[lane] * here > 0):
                    alive[lane], end[lane] = False, 0.0
                elif empty or tied:
                    away = self._off_boundary(j)
                    dz[lane, :q] = away
                    there = self.x + zeta * away
                    g = held_deviance(self.kernel, there[None], self.targets.held[[j]], z[[lane], q]).gradient[0]
                    _, h, _ = self.targets.derivatives(there[None], np.array([j]))
                    dmu[lane] = g @ h[0] / (h[0] @ h[0]) / zeta
                else:
                    w = np.linalg.pinv(full, rcond=1e-12, hermitian=True) @ d
                    along = np.sqrt(2.0 / (d @ w))
                    dz[lane], dmu[lane] = side[lane] * w * along, side[lane] * along
                    self._slope_at_optimum[j] = 0.5 * along
        return _Lanes(
            target, side, z, np.zeros(2 * P), np.zeros(2 * P), np.tile(value, 2), dz, dmu, alive, end,
            [[] for _ in range(2 * P)],
        )  # fmt: skip

    def _off_boundary(self, j: int) -> Array:
        """(q,) direction off a boundary along which the deviance rises slowest, for D = D_min + zeta^2."""
        A = self.targets.first[j] if self.targets.kind[j] != COR else self.targets.second[j]
        _, s, Vt = np.linalg.svd(A)
        basis = Vt[: np.count_nonzero(s > 1e-12 * s[0])]
        w, U = np.linalg.eigh(basis @ self.hessian[:-1, :-1] @ basis.T)
        directions = U.T @ basis
        if self.targets.kind[j] == COR:  # only what moves the correlation at second order
            moves = [abs(self._value(self.x + 1e-3 * np.append(d, 0.0), j) - self.estimate[j]) for d in directions]
            pick = int(np.argmax(np.array(moves) / np.maximum(w, 1e-12)))
        else:
            pick = 0
        return np.append(directions[pick] * np.sqrt(2.0 / max(w[pick], 1e-6)), 0.0)

    def _value(self, x: Array, j: int) -> float:
        return float(self.targets.derivatives(x[None], np.array([j]))[0][0])

    # ---- moving along zeta -----------------------------------------------------------------------------------

    def _advance(self, lanes: _Lanes, zeta: float) -> None:
        go = np.flatnonzero(lanes.alive)
        if not go.size:
            return
        ok = self._step(lanes, go, zeta)
        for lane in go[~ok]:
            if self._meets_boundary(lanes, lane, zeta) or not self._march(lanes, lane, zeta):
                lanes.alive[lane] = False
        for lane in go[lanes.alive[go]]:
            lanes.points[lane].append((zeta, lanes.z[lane].copy(), float(lanes.mu[lane])))
            self.n_solved += 1

    def _step(self, lanes: _Lanes, go: Array, zeta: float) -> Array:
        """Try to bring lanes ``go`` to zeta; which ones arrived."""
        ahead = zeta - lanes.zeta[go]
        guess = lanes.z[go] + lanes.dz[go] * ahead[:, None]
        z, mu, ok = self._solve(guess, lanes.mu[go] + lanes.dmu[go] * ahead, lanes.target[go], zeta)
        value = self._values_at(z, lanes.target[go])
        with np.errstate(invalid="ignore"):
            ok &= (value - lanes.value[go]) * lanes.side[go] > 0
        good = go[ok]
        lanes.dz[good] = (z[ok] - lanes.z[good]) / ahead[ok, None]
        lanes.dmu[good] = (mu[ok] - lanes.mu[good]) / ahead[ok]
        lanes.z[good], lanes.mu[good], lanes.zeta[good], lanes.value[good] = z[ok], mu[ok], zeta, value[ok]
        return ok

    def _march(self, lanes: _Lanes, lane: int, zeta: float) -> bool:
        """Smaller steps for one lane, halved where they fail."""
        one, start = np.array([lane]), float(lanes.zeta[lane])
        step = 0.5 * (zeta - start)
        while lanes.zeta[lane] < zeta:
            to = min(float(lanes.zeta[lane]) + step, zeta)
            if self._step(lanes, one, zeta if zeta - to < 1e-9 else to)[0]:
                step *= 1.5
            else:
                step *= 0.5
                if step < _SMALLEST * (zeta - start):
                    return False
        return True

    def _meets_boundary(self, lanes: _Lanes, lane: int, zeta: float) -> bool:
        j, side = int(lanes.target[lane]), int(lanes.side[lane])
        kind = self.targets.kind[j]
        if kind not in (SD, RATIO, COR) or (kind != COR and side > 0):
            return False
        if np.isinf(lanes.end[lane]):
            lanes.end[lane] = np.sqrt(max(self.boundary(j, side) - self.deviance, 0.0))
        return bool(zeta >= lanes.end[lane] - 1e-9)

    # ---- one point -------------------------------------------------------------------------------------------

    def _evaluate(self, z: Array, which: Array) -> Held:
        return held_deviance(self.kernel, z[:, : self.q], self.targets.held[which], z[:, self.q])

    def _values_at(self, z: Array, which: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.targets.derivatives(z[:, : self.q], which)[0]
        return np.where(self.targets.kind[which] == FIXED, z[:, self.q], value)

    def _solve(self, z: Array, mu: Array, which: Array, zeta: float) -> tuple[Array, Array, Array]:
        """Newton on grad D = mu grad h, D = D_min + zeta^2; a saddle is left along its way down, once."""
        z, mu, ok, way_down = self._newton(z, mu, which, zeta)
        saddle = np.flatnonzero(ok & np.any(way_down != 0.0, axis=1))
        if saddle.size:
            kicked = z[saddle]
            kicked[:, : self.q] += 0.2 * way_down[saddle]
            z2, mu2, ok2, still = self._newton(kicked, mu[saddle], which[saddle], zeta)
            ok2 &= ~np.any(still != 0.0, axis=1)
            z[saddle[ok2]], mu[saddle[ok2]] = z2[ok2], mu2[ok2]
            ok[saddle] = ok2
        return z, mu, ok

    def _newton(
        self, z: Array, mu: Array, which: Array, zeta: float, max_iter: int = 25
    ) -> tuple[Array, Array, Array, Array]:
        B, q = z.shape[0], self.q
        z, mu = z.copy(), mu.copy()
        fixed = self.targets.kind[which] == FIXED
        converged, lost = np.zeros(B, dtype=bool), np.zeros(B, dtype=bool)
        way_down = np.zeros((B, q))
        for _ in range(max_iter):
            i = np.flatnonzero(~converged & ~lost)
            if not i.size:
                break
            at = self._evaluate(z[i], which[i])
            with np.errstate(over="ignore", invalid="ignore"):
                _, d, Hh = self.targets.derivatives(z[i, :q], which[i])
            m = mu[i]
            lagrangian = at.hessian - m[:, None, None] * Hh
            J, r = np.zeros((i.size, q + 2, q + 2)), np.zeros((i.size, q + 2))
            J[:, :q, :q] = lagrangian
            J[:, :q, q] = J[:, q, :q] = at.d_value_x
            J[:, q, q] = np.where(fixed[i], at.dd_value, 1.0)
            J[:, :q, q + 1] = -d
            J[:, q, q + 1] = np.where(fixed[i], -1.0, 0.0)
            J[:, q + 1, :q] = at.gradient
            J[:, q + 1, q] = at.d_value
            r[:, :q] = at.gradient - m[:, None] * d
            r[:, q] = np.where(fixed[i], at.d_value - m, 0.0)
            r[:, q + 1] = at.deviance - (self.deviance + zeta**2)
            step = _solve_each(J, r)
            bad = ~np.all(np.isfinite(step), axis=1)
            lost[i[bad]] = True
            step[bad] = 0.0
            size = np.abs(step[:, : q + 1]).max(axis=1)
            step *= np.minimum(1.0, _STEP_CAP * np.where(fixed[i], 4.0, 1.0) / np.maximum(size, 1e-300))[:, None]
            z[i] -= step[:, : q + 1]
            mu[i] -= step[:, q + 1]
            done = ~bad & (size < _SETTLED) & (np.abs(r[:, q + 1]) < 1e-6)
            if done.any():
                way_down[i[done]] = _descent(lagrangian[done], d[done], fixed[i[done]])
                converged[i[done]] = True
        return z, mu, converged, way_down

    # ---- the result --------------------------------------------------------------------------------------------

    def _collect(self, lanes: _Lanes, last: float) -> Traces:
        P = self.targets.size
        out = Traces([], [], [], [], np.full((P, 2), np.inf), np.zeros((P, 2), dtype=bool), self.n_solved)
        for j in range(P):
            zeta, z, mu = [0.0], [np.append(self.x, lanes.z[j, self.q])], [0.0]
            z[0][-1] = self._held_at[j]
            for lane, sign in ((j, -1.0), (j + P, 1.0)):
                zeta += [sign * point[0] for point in lanes.points[lane]]
                z += [point[1] for point in lanes.points[lane]]
                mu += [point[2] for point in lanes.points[lane]]
                column = int(sign > 0)
                out.ends[j, column] = lanes.end[lane] if not lanes.alive[lane] else np.inf
                out.broken[j, column] = not lanes.alive[lane] and np.isinf(lanes.end[lane])
            order = np.argsort(zeta)
            zeta_j, points, mu_j = np.array(zeta)[order], np.array(z)[order], np.array(mu)[order]
            along = self._evaluate(points, np.full(len(zeta_j), j))
            values = self.targets.values(points[:, : self.q], along.beta)
            with np.errstate(invalid="ignore", divide="ignore"):
                slope = mu_j / (2.0 * zeta_j) / self.targets.unit[j]
            slope[zeta_j == 0.0] = self._slope_at_optimum[j] / self.targets.unit[j]
            out.zeta.append(zeta_j)
            out.value.append(values[:, j])
            out.slope.append(slope)
            out.others.append(values)
        return out


def _solve_each(J: Array, r: Array) -> Array:
    """Solutions (B, k) of J x = r; NaN where J is not finite or singular."""
    finite = np.all(np.isfinite(J), axis=(1, 2)) & np.all(np.isfinite(r), axis=1)
    J = np.where(finite[:, None, None], J, np.eye(J.shape[1]))
    try:
        x = np.linalg.solve(J, r[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # an exactly singular lane spoils the stack; the least-squares step serves it
        x = np.stack([np.linalg.lstsq(a, b, rcond=1e-13)[0] for a, b in zip(J, r, strict=True)])
    x[~finite] = np.nan
    return x


def _descent(lagrangian: Array, d: Array, fixed: Array) -> Array:
    """(B, q) unit direction along which D falls with the target held; zeros at a minimum."""
    out = np.zeros(d.shape)
    if not np.all(np.isfinite(lagrangian)):
        return out
    size = np.where(fixed, 0.0, np.linalg.norm(d, axis=1))
    unit = np.where(size[:, None] > 0, d / np.maximum(size, 1e-300)[:, None], 0.0)
    off = np.eye(d.shape[1]) - unit[:, :, None] * unit[:, None, :]
    w, U = np.linalg.eigh(off @ lagrangian @ off)
    down = w[:, 0] < -_SADDLE * np.abs(w).max(axis=1)
    out[down] = U[down, :, 0]
    return out
