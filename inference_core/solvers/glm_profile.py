"""Profile of the coefficients of a generalized linear model: fix zeta, find the value.

A point solves grad D = mu grad b_j, D = D_min + zeta^2, D the deviance over the dispersion (Venzon & Moolgavkar 1988),
by scoring in coordinates where D rises by |u|^2 around the optimum. All (coefficient, side) pairs step together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.families import Family
from inference_core.states import Array

_MAX_ITER = 80
_SETTLED = 1e-10  # step, in standard errors
_SMALLEST = 1 / 64  # share of a zeta step below which a lane is given up
_CAP = 1.5  # largest step, in standard errors
_CHUNK = 2_000_000  # numbers in one (lanes, n) array


@dataclass(frozen=True, slots=True, eq=False)
class GlmTraces:
    """Values along zeta of p coefficients, both sides; NaN from where the search failed on."""

    zeta: Array  # (K,) > 0
    beta: Array  # (p, 2, K, p) all coefficients: of the profile of j, below and above the estimate
    slope: Array  # (p, 2, K) d zeta / d value
    cancelled: bool = False


def profile_glm(
    X: Array, y: Array, family: Family, beta: Array, dispersion: float, zetas: Array, *,
    weights: Array | None = None, offset: Array | None = None, tick: Callable[[int], bool] = lambda done: True,
) -> GlmTraces:  # fmt: skip
    """Traces of every coefficient through the given zetas.

    Parameters
    ----------
    X : (n, p) array of full rank
    y : (n,) array
    family : Family
    beta : (p,) array
        The maximum-likelihood estimate.
    dispersion : float
        Held at its estimate; 1 where the family fixes it.
    zetas : (K,) increasing array > 0
    weights, offset : (n,) arrays, optional
    tick : callable
        ``tick(i)`` after i of the 2 p K points; false ends the traces where they stand.
    """
    n, p = X.shape
    w = np.ones(n) if weights is None else weights
    eta0 = X @ beta + (0.0 if offset is None else offset)
    _, working = family.score_weight(eta0, y)
    R = np.asarray(np.linalg.qr(X * np.sqrt(w * working / dispersion)[:, None], mode="r"))
    root = np.linalg.inv(R)  # beta = beta_hat + root u, and D = D_min + |u|^2 + O(u^3)
    Z = X @ root
    best = float(np.sum(w * family.deviance_rows(eta0, y))) / dispersion

    target = np.repeat(np.arange(p), 2)
    side = np.tile([-1.0, 1.0], p)
    d = root[target]  # gradients of b_j in u

    def solve(d: Array, zeta: float, u: Array, mu: Array) -> tuple[Array, Array, Array]:
        return _solve(Z, y, w, family, eta0, dispersion, best + zeta**2, d, u, mu)

    out = np.full((2 * p, zetas.size, p), np.nan)
    slopes = np.full((2 * p, zetas.size), np.nan)
    step = max(1, _CHUNK // n)
    cancelled = False
    for at in range(0, 2 * p, step):
        lanes = slice(at, at + step)
        count = len(side[lanes])

        def ticked(done: int, before: int = at * zetas.size, count: int = count) -> bool:
            return tick(before + count * done)

        ends, multipliers, cancelled = _march(_Lanes(d[lanes], side[lanes], solve), zetas, ticked)
        out[lanes] = beta + ends @ root.T
        slopes[lanes] = multipliers / (2.0 * zetas * side[lanes, None])
        if cancelled:
            break
    return GlmTraces(zetas, out.reshape(p, 2, zetas.size, p), slopes.reshape(p, 2, zetas.size), cancelled)


class _Lanes:
    """Where B lanes stand along zeta, and how they move with it."""

    def __init__(self, d: Array, side: Array, solve: Callable[..., tuple[Array, Array, Array]]) -> None:
        B, p = d.shape
        self.d, self.side, self.solve = d, side, solve
        self.u, self.mu, self.zeta = np.zeros((B, p)), np.zeros(B), np.zeros(B)
        size = np.linalg.norm(d, axis=1)
        self.du, self.dmu = side[:, None] * d / size[:, None], side * 2.0 / size

    def step(self, go: Array, to: float) -> Array:
        """Try to bring lanes ``go`` to zeta ``to``; which ones arrived."""
        ahead = to - self.zeta[go]
        guess = self.u[go] + ahead[:, None] * self.du[go]
        new, m, ok = self.solve(self.d[go], to, guess, self.mu[go] + ahead * self.dmu[go])
        ok &= self.side[go] * np.einsum("bp,bp->b", self.d[go], new - self.u[go]) > 0
        good = go[ok]
        self.du[good] = (new[ok] - self.u[good]) / ahead[ok, None]
        self.dmu[good] = (m[ok] - self.mu[good]) / ahead[ok]
        self.u[good], self.mu[good], self.zeta[good] = new[ok], m[ok], to
        return ok

    def creep(self, lane: int, to: float) -> bool:
        """Smaller steps for one lane."""
        start = float(self.zeta[lane])
        step = 0.5 * (to - start)
        while self.zeta[lane] < to:
            next_to = float(self.zeta[lane]) + step
            if self.step(np.array([lane]), to if next_to > to - 1e-9 else next_to)[0]:
                step *= 1.5
            else:
                step *= 0.5
                if step < _SMALLEST * (to - start):
                    return False
        return True


def _march(lanes: _Lanes, zetas: Array, tick: Callable[[int], bool]) -> tuple[Array, Array, bool]:
    """Points u (B, K, p) and multipliers (B, K) along zeta, NaN from where a lane is lost; whether it was stopped."""
    B, p = lanes.d.shape
    points, multipliers = np.full((B, zetas.size, p), np.nan), np.full((B, zetas.size), np.nan)
    alive = np.ones(B, dtype=bool)
    for k, zeta in enumerate(zetas):
        go = np.flatnonzero(alive)
        if not go.size:
            break
        ok = lanes.step(go, float(zeta))
        for lane in go[~ok]:
            alive[lane] = lanes.creep(int(lane), float(zeta))
        good = np.flatnonzero(alive)
        points[good, k], multipliers[good, k] = lanes.u[good], lanes.mu[good]
        if not tick(k + 1):
            return points, multipliers, True
    return points, multipliers, False


def _solve(
    Z: Array, y: Array, w: Array, family: Family, eta0: Array, dispersion: float, goal: float, d: Array, u: Array,
    mu: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    B, p = u.shape
    se = np.linalg.norm(d, axis=1)
    done = np.zeros(B, dtype=bool)
    inside, before = np.zeros((B, p)), np.zeros(B)  # the last point within the range of eta; the estimate is
    for _ in range(_MAX_ITER):
        i = np.flatnonzero(~done)
        if not i.size:
            break
        eta = eta0 + u[i] @ Z.T
        with np.errstate(all="ignore"):
            s, working = family.score_weight(eta, y)
            D = (w * family.deviance_rows(eta, y)).sum(axis=1) / dispersion
            gradient = -2.0 * ((w * s) @ Z) / dispersion
            H = 2.0 * np.einsum("bn,np,nq->bpq", w * working, Z, Z, optimize=True) / dispersion
        J, r = np.zeros((i.size, p + 1, p + 1)), np.empty((i.size, p + 1))
        J[:, :p, :p], J[:, :p, p], J[:, p, :p] = H, -d[i], gradient
        r[:, :p], r[:, p] = gradient - mu[i, None] * d[i], D - goal
        usable = np.all(np.isfinite(J), axis=(1, 2)) & np.all(np.isfinite(r), axis=1)
        J[~usable] = np.eye(p + 1)
        try:
            move = np.linalg.solve(J, r[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            return u, mu, np.zeros(B, dtype=bool) | done
        size = np.abs(move[:, :p]).max(axis=1)
        move *= np.minimum(1.0, _CAP / np.maximum(size, 1e-300))[:, None]
        beyond = i[~usable]  # half of the way back
        move[~usable, :p], move[~usable, p] = 0.5 * (u[beyond] - inside[beyond]), 0.5 * (mu[beyond] - before[beyond])
        inside[i[usable]], before[i[usable]] = u[i[usable]], mu[i[usable]]
        u[i] -= move[:, :p]
        mu[i] -= move[:, p]
        done[i] = usable & (size < _SETTLED) & (np.abs(move[:, p]) * se[i] < 1e-6) & (np.abs(r[:, p]) < 1e-7)
    return u, mu, done
