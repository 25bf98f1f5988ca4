"""Profile traces of any deviance: fix zeta, find the value.

A point of the profile of h at D = D_min + zeta^2 solves grad D = mu grad h (Venzon & Moolgavkar 1988, Appl. Statist.
37), so limits are points of the trace and nothing is interpolated. Every (target, side) is a lane; all lanes take their
Newton steps together, warm-started along zeta by the tangent and bend of the curve they follow.

The SD of an effect cannot fall below 0 nor a correlation leave [-1, 1]: a lane that cannot reach its zeta is compared
with the fit on that boundary, and if zeta lies beyond, the trace ends there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from inference_core.states import Array

from .profile_steps import descent, joined, learn, solve_each
from .profile_surface import EMPTY, FREE, TIED_ABOVE, TIED_BELOW, UNKNOWN, Height, Surface
from .profile_traces import Traces, curve_through

_STEP_CAP = 0.5  # largest move of one search coordinate in a Newton step
_SETTLED = 1e-5  # Newton step, in conditional standard errors, after which what is left is its square
_NEARLY = 1e-4  # the same where the Hessian is learnt on the way, before one step with the exact one
_KICKS = 0.01 * 2.0 ** np.arange(8)  # how far along a way down, on either side, a minimum is looked for
_WAYS = 3  # saddles left one after the other
_RENEW = 10  # iteration that computes a learnt Hessian anew
_SMALLEST = 1 / 64  # share of a zeta step below which a lane is given up
_MAX_ITER = 25
_ROUNDS = 6  # of points put between points
_FINE = 1e-7  # what the curve may be off, in standard errors
_NEAREST = 0.6  # zeta below which no limit is read: the level there is 45 %

Tick = Callable[[int], bool]


class _Point(NamedTuple):
    """One point of a lane."""

    zeta: float
    value: float  # of the target, in its own units
    z: Array  # (d,)
    mu: float
    dz: Array  # (d,) per unit of zeta
    dmu: float
    H: Array  # (d, d) of the deviance


@dataclass(slots=True, eq=False)
class _Lanes:
    """Where the 2 P lanes stand: the last point, and how it moves with zeta."""

    target: Array  # (B,)
    side: Array  # (B,) -1 or 1
    z: Array  # (B, d)
    mu: Array  # (B,)
    zeta: Array  # (B,)
    value: Array  # (B,) of the target, in its own units
    dz: Array  # (B, d) per unit of zeta
    dmu: Array  # (B,)
    bend: Array  # (2, B, d + 1) second and third coefficients of (z, mu) in zeta, as the last step showed them
    H: Array  # (B, d, d) of the deviance
    alive: Array  # (B,)
    end: Array  # (B,) zeta at the boundary
    origin: list[_Point] = field(default_factory=list)  # the optimum as each lane leaves it
    points: list[list[_Point]] = field(default_factory=list)

    def point(self, lane: int) -> _Point:
        """Where a lane stands."""
        return _Point(
            float(self.zeta[lane]), float(self.value[lane]), self.z[lane].copy(), float(self.mu[lane]),
            self.dz[lane].copy(), float(self.dmu[lane]), self.H[lane].copy(),
        )  # fmt: skip


class _Cancelled(Exception):
    """The caller asked to stop."""


class _Solved(NamedTuple):
    z: Array
    mu: Array
    dz: Array
    dmu: Array
    H: Array
    ok: Array


class ProfileSearch:
    """The profile of every target of a surface around its minimum."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self._tick: Tick = lambda done: True
        self._done = 0
        curvature = np.diagonal(surface.curvature, axis1=1, axis2=2)
        self._stiffness = np.sqrt(np.maximum(0.5 * curvature, 1.0))  # (P, d) one over a conditional standard error

    @property
    def size(self) -> int:
        """P."""
        return self.surface.optimum.shape[0]

    def run(self, zetas: Array, tick: Tick = lambda done: True, *, fine: float = 0.0) -> Traces:
        """Traces through the given zetas (K,) (increasing, > 0) on both sides.

        Parameters
        ----------
        zetas : (K,) array
            Points of every trace.
        tick : callable
            ``tick(i)`` after i zetas and now and then between; false ends the traces where they stand.
        fine : float
            Zeta up to which a quintic through the points is to be exact to some 1e-7 of a standard error: points are
            added until it is. 0 adds none.
        """
        self._tick, self._done = tick, 0
        self.surface.between = self._pulse
        lanes, cancelled = self._start(float(zetas[0])), False
        try:
            for i, zeta in enumerate(zetas):
                self._advance(lanes, float(zeta))
                self._done = i + 1
                self._pulse()
            if fine:
                self._refine(lanes, fine)
        except _Cancelled:
            cancelled = True
        return self._collect(lanes, cancelled)

    def _pulse(self) -> None:
        if not self._tick(self._done):
            raise _Cancelled

    # ---- starting ------------------------------------------------------------------------------------------

    def _start(self, zeta: float) -> _Lanes:
        s, P = self.surface, self.size
        d = s.optimum.shape[1]
        target, side = np.tile(np.arange(P), 2), np.repeat([-1, 1], P)
        z = np.tile(s.optimum, (2, 1))
        dz, dmu = np.zeros((2 * P, d)), np.zeros(2 * P)
        alive, end = s.edge[target] != UNKNOWN, np.full(2 * P, np.inf)
        value, gradient, _ = s.target(s.optimum, np.arange(P))
        for j in range(P):
            closed = {EMPTY: -1, TIED_BELOW: -1, TIED_ABOVE: 1}.get(int(s.edge[j]), 0)
            for lane in (j, j + P):
                if not alive[lane]:
                    continue
                if side[lane] == closed:
                    alive[lane], end[lane] = False, 0.0
                elif closed:
                    away = s.off_edge(j)
                    there = s.optimum[j] + zeta * away
                    g = s.evaluate(there[None], np.array([j])).gradient[0]
                    h = s.target(there[None], np.array([j]))[1][0]
                    dz[lane], dmu[lane] = away, g @ h / (h @ h) / zeta
                else:
                    w = np.linalg.pinv(s.curvature[j], rcond=1e-12, hermitian=True) @ gradient[j]
                    along = np.sqrt(2.0 / (gradient[j] @ w))
                    dz[lane], dmu[lane] = side[lane] * w * along, side[lane] * along
        lanes = _Lanes(
            target, side, z, np.zeros(2 * P), np.zeros(2 * P), np.tile(value, 2), dz, dmu, np.zeros((2, 2 * P, d + 1)),
            np.tile(s.curvature, (2, 1, 1)), alive, end,
        )  # fmt: skip
        lanes.origin, lanes.points = [lanes.point(lane) for lane in range(2 * P)], [[] for _ in range(2 * P)]
        return lanes

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
            lanes.points[lane].append(lanes.point(lane))

    def _step(self, lanes: _Lanes, go: Array, zeta: float) -> Array:
        """Try to bring lanes ``go`` to zeta; which ones arrived."""
        ahead = zeta - lanes.zeta[go]
        h = ahead[:, None]
        old, turn = joined(lanes.z[go], lanes.mu[go]), joined(lanes.dz[go], lanes.dmu[go])
        guess = old + h * (turn + h * (lanes.bend[0, go] + h * lanes.bend[1, go]))
        at = self._solve(guess[:, :-1], guess[:, -1], lanes.H[go], lanes.target[go], np.full(go.size, zeta))
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.surface.target(at.z, lanes.target[go])[0]
            ok = at.ok & ((value - lanes.value[go]) * lanes.side[go] > 0)
        good, h = go[ok], h[ok]
        # the cubic through both points with both tangents, about the new one
        new = joined(at.dz[ok], at.dmu[ok])
        lag, turn = (old[ok] - joined(at.z[ok], at.mu[ok]) + new * h) / h**2, (new - turn[ok]) / h
        lanes.bend[0, good], lanes.bend[1, good] = 3.0 * lag - turn, (2.0 * lag - turn) / h
        lanes.bend[:, go[~ok]] = 0.0
        lanes.z[good], lanes.mu[good], lanes.zeta[good], lanes.value[good] = at.z[ok], at.mu[ok], zeta, value[ok]
        lanes.dz[good], lanes.dmu[good], lanes.H[good] = at.dz[ok], at.dmu[ok], at.H[ok]
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
        if np.isinf(lanes.end[lane]):
            height = self.surface.boundary(int(lanes.target[lane]), int(lanes.side[lane]))
            lanes.end[lane] = np.sqrt(max(height - self.surface.deviance, 0.0))
        return bool(zeta >= lanes.end[lane] - 1e-9)

    # ---- one point -------------------------------------------------------------------------------------------

    def _solve(self, z: Array, mu: Array, H: Array, which: Array, zeta: Array) -> _Solved:
        """Newton on grad D = mu grad h, D = D_min + zeta^2; a saddle is left along its ways down, one at a time."""
        at, way_down = self._newton(z, mu, H, which, zeta)
        saddle = np.flatnonzero(at.ok & np.any(way_down != 0.0, axis=1))
        at.ok[saddle] = False
        for _ in range(_WAYS):
            if not saddle.size:
                break
            kicked = self._kicked(at, saddle, way_down[saddle], which)
            again, way_down[saddle] = self._newton(kicked, at.mu[saddle], at.H[saddle], which[saddle], zeta[saddle])
            found = saddle[again.ok]
            for old, new in zip(at[:-1], again[:-1], strict=True):
                old[found] = new[again.ok]
            still = np.any(way_down[found] != 0.0, axis=1)
            at.ok[found[~still]] = True
            saddle = found[still]
        return at

    def _kicked(self, at: _Solved, i: Array, way: Array, which: Array) -> Array:
        """Lanes i moved along their way down, to the nearest minimum of D - mu h on either side."""
        d, count = way.shape[1], 2 * _KICKS.size
        moves = np.concatenate([_KICKS, -_KICKS])
        points = at.z[i, None, :] + moves[:, None] * way[:, None, :]
        lanes = np.repeat(which[i], count)
        with np.errstate(over="ignore", invalid="ignore"):
            flat = points.reshape(-1, d)
            height = self.surface.evaluate(flat, lanes).deviance - np.repeat(at.mu[i], count) * (
                self.surface.target(flat, lanes)[0]
            )
        height = np.where(np.isfinite(height), height, np.inf).reshape(i.size, 2, -1)
        # far off, D - mu h means nothing: the first rise counts, and without one a middling step
        rises = np.diff(height, axis=2) >= 0
        first = np.where(rises.any(axis=2), np.argmax(rises, axis=2), 3)
        found = np.take_along_axis(height, first[:, :, None], axis=2)[:, :, 0]
        side = np.argmin(found, axis=1)
        pick = side * _KICKS.size + first[np.arange(i.size), side]
        return points[np.arange(i.size), pick]

    def _newton(self, z: Array, mu: Array, H: Array, which: Array, zeta: Array) -> tuple[_Solved, Array]:
        s = self.surface
        B, d = z.shape
        out = _Solved(z.copy(), mu.copy(), np.zeros((B, d)), np.zeros(B), H.copy(), np.zeros(B, dtype=bool))
        lost, way_down = np.zeros(B, dtype=bool), np.zeros((B, d))
        before = np.full((2, B, d), np.nan)  # last points and gradients, for Hessians that are learnt
        learnt = False
        for iteration in range(_MAX_ITER):
            i = np.flatnonzero(~out.ok & ~lost)
            if not i.size:
                break
            self._pulse()
            at = s.evaluate(out.z[i], which[i], exact=iteration == _RENEW)
            if at.hessian is not None:
                out.H[i] = at.hessian
            elif iteration:
                learn(out.H, i, out.z[i] - before[0, i], at.gradient - before[1, i])
            learnt |= at.hessian is None
            before[0, i], before[1, i] = out.z[i], at.gradient
            move, bad = self._move(out, i, at, which, zeta)
            lost[i[bad]] = True
            done = ~bad & (move < (_NEARLY if learnt else _SETTLED))
            out.ok[i[done]] = True
        if learnt:
            self._finish(out, which, zeta)
        i = np.flatnonzero(out.ok)
        if i.size:
            way_down[i] = self._way_down(out, i, which)
        return out, way_down

    def _finish(self, out: _Solved, which: Array, zeta: Array) -> None:
        """Exact Newton steps for lanes whose Hessian was learnt: usually one."""
        i = np.flatnonzero(out.ok)
        for _ in range(3):
            if not i.size:
                return
            self._pulse()
            at = self.surface.evaluate(out.z[i], which[i], exact=True)
            assert at.hessian is not None
            out.H[i] = at.hessian
            move, bad = self._move(out, i, at, which, zeta)
            out.ok[i[bad]] = False
            i = i[~bad & ~(move < 3.0 * _NEARLY)]
        out.ok[i] = False

    def _move(self, out: _Solved, i: Array, at: Height, which: Array, zeta: Array) -> tuple[Array, Array]:
        """One Newton step of lanes i; its size in standard errors (and relative, of mu), and which have none."""
        s, d = self.surface, out.z.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            _, g, Hh = s.target(out.z[i], which[i])
        mu = out.mu[i]
        J, r = np.zeros((i.size, d + 1, d + 1)), np.zeros((i.size, d + 1, 2))
        J[:, :d, :d], J[:, :d, d], J[:, d, :d] = out.H[i] - mu[:, None, None] * Hh, -g, at.gradient
        r[:, :d, 0] = at.gradient - mu[:, None] * g
        r[:, d, 0] = at.deviance - (s.deviance + zeta[i] ** 2)
        r[:, d, 1] = 2.0 * zeta[i]  # how the solution moves with zeta
        step = solve_each(J, r)
        bad = ~np.all(np.isfinite(step), axis=(1, 2))
        step[bad] = 0.0
        move = step[:, :, 0]
        size = np.abs(move[:, :d]).max(axis=1)
        move *= np.minimum(1.0, _STEP_CAP * s.reach[which[i]] / np.maximum(size, 1e-300))[:, None]
        out.z[i] -= move[:, :d]
        out.mu[i] -= move[:, d]
        out.dz[i], out.dmu[i] = step[:, :d, 1], step[:, d, 1]
        size = (np.abs(move[:, :d]) * self._stiffness[which[i]]).max(axis=1)
        return np.maximum(size, np.abs(move[:, d]) / np.maximum(np.abs(mu), 1e-300)), bad

    def _way_down(self, out: _Solved, i: Array, which: Array) -> Array:
        """(len(i), d) unit direction along which D falls with the target held; zeros at a minimum."""
        _, g, Hh = self.surface.target(out.z[i], which[i])
        return descent(out.H[i] - out.mu[i, None, None] * Hh, g)

    # ---- between the points --------------------------------------------------------------------------------

    def _refine(self, lanes: _Lanes, reach: float) -> None:
        """Points between points, until quintics through them are as good as a search."""
        for _ in range(_ROUNDS):
            wanted: list[tuple[int, float]] = []  # lane, zeta
            for j in range(self.size):
                wanted += [(j if z < 0 else j + self.size, abs(z)) for z in self._gaps(lanes, j, reach)]
            if not wanted:
                return
            lane = np.array([w[0] for w in wanted])
            zeta = np.array([w[1] for w in wanted])
            start = [self._between_points(lanes, int(i), float(z)) for i, z in wanted]
            at = self._solve(
                np.array([p[0] for p in start]), np.array([p[1] for p in start]), np.array([p[2] for p in start]),
                lanes.target[lane], zeta,
            )  # fmt: skip
            with np.errstate(over="ignore", invalid="ignore"):
                value = self.surface.target(at.z, lanes.target[lane])[0]
            for i in np.flatnonzero(at.ok):
                found = _Point(
                    float(zeta[i]), float(value[i]), at.z[i], float(at.mu[i]), at.dz[i], float(at.dmu[i]), at.H[i]
                )
                _insert(lanes.points[lane[i]], found, lanes.origin[lane[i]], int(lanes.side[lane[i]]))

    def _gaps(self, lanes: _Lanes, j: int, reach: float) -> Array:
        """Signed zetas in the middle of intervals of target j that its curve does not know well enough."""
        zeta, value, slope, bend = self._trace(lanes, j)
        ends = np.array([np.inf if lanes.alive[i] else lanes.end[i] for i in (j, j + self.size)])
        curve = curve_through(zeta, value, slope, bend, ends, bool(self.surface.positive[j]))
        if curve is None:
            return np.zeros(0)
        z = curve.zeta
        middle, half = 0.5 * (z[1:] + z[:-1]), 0.5 * np.diff(z)
        near = (np.abs(middle) - half < reach) & (np.abs(middle) + half > _NEAREST)
        width = np.interp(1.0, z, curve.value) - np.interp(-1.0, z, curve.value)
        return middle[near & (curve.errors() > _FINE * 0.5 * width)]

    def _between_points(self, lanes: _Lanes, lane: int, zeta: float) -> tuple[Array, float, Array]:
        """A guess of (z, mu) at a zeta between or beyond the points of a lane, and the nearer Hessian."""
        points = [lanes.origin[lane], *lanes.points[lane]]
        i = int(np.searchsorted([p.zeta for p in points], zeta)) - 1
        a = points[i]
        s = zeta - a.zeta
        if i + 1 == len(points):
            return a.z + s * a.dz, a.mu + s * a.dmu, a.H
        b = points[i + 1]
        h = b.zeta - a.zeta
        lag, turn = (b.z - a.z - h * a.dz) / h**2, (b.dz - a.dz) / h
        z = a.z + s * (a.dz + s * (3.0 * lag - turn + s * (turn - 2.0 * lag) / h))
        return z, a.mu + s / h * (b.mu - a.mu), b.H if s > 0.5 * h else a.H

    def _trace(self, lanes: _Lanes, j: int) -> tuple[Array, Array, Array, Array]:
        """Signed zeta, value and its first two derivatives in zeta, of target j in its own units."""
        below, above = lanes.points[j], lanes.points[j + self.size]
        middle = lanes.origin[j]
        zeta = np.array([-p.zeta for p in reversed(below)] + [0.0] + [p.zeta for p in above])
        points = [*reversed(below), middle, *above]
        value, mu, dmu = (np.array([getattr(p, name) for p in points]) for name in ("value", "mu", "dmu"))
        with np.errstate(invalid="ignore", divide="ignore"):
            slope, bend = 2.0 * zeta / mu, 2.0 / mu - 2.0 * np.abs(zeta) * dmu / mu**2
        slope[len(below)] = bend[len(below)] = np.nan
        if self.surface.edge[j] == FREE:
            slope[len(below)] = 2.0 / abs(middle.dmu)  # mu = dmu zeta there
        return zeta, value, slope, bend

    # ---- the result --------------------------------------------------------------------------------------------

    def _collect(self, lanes: _Lanes, cancelled: bool) -> Traces:
        s, P = self.surface, self.size
        ends, broken = np.full((P, 2), np.inf), np.zeros((P, 2), dtype=bool)
        out = Traces([], [], [], [], [], ends, broken, cancelled, s.positive)
        places: list[Array] = []
        for j in range(P):
            zeta, _, slope, bend = self._trace(lanes, j)
            places.append(
                np.array([p.z for p in reversed(lanes.points[j])] + [s.optimum[j]] + [p.z for p in lanes.points[j + P]])
            )
            for lane, column in ((j, 0), (j + P, 1)):
                ended = not lanes.alive[lane]
                ends[j, column] = lanes.end[lane] if ended else np.inf
                broken[j, column] = ended and np.isinf(lanes.end[lane])
            out.zeta.append(zeta)
            with np.errstate(divide="ignore"):
                out.slope.append(1.0 / (slope * s.unit[j]))
            out.bend.append(bend * s.unit[j])
        counts = [len(z) for z in places]
        values = s.report(np.concatenate(places), np.repeat(np.arange(P), counts))
        for j, part in enumerate(np.split(values, np.cumsum(counts)[:-1])):
            out.value.append(part[:, j])
            out.others.append(part)
        return out


def _insert(points: list[_Point], found: _Point, origin: _Point, side: int) -> None:
    """Put a point in its place if its value lies between its neighbours'."""
    i = sum(p.zeta < found.zeta for p in points)
    before = points[i - 1] if i else origin
    if side * (found.value - before.value) > 0 and (i == len(points) or side * (points[i].value - found.value) > 0):
        points.insert(i, found)
