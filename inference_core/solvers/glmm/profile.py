"""The deviance of a GLMM as its profiles see it: the fit's own (Laplace, quadrature, or nAGQ = 0), by its own rule.

Coordinates are the solver's working (theta, beta, log scale), so every fixed effect is linear in them. For nAGQ = 0
beta is found beside the modes and is no coordinate: its value does not minimise the deviance, so it has no profile.
Gradients are exact, Hessians are central differences of them with all points as lanes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference_core.solvers.lmm.profile_targets import COR, FIXED, RATIO, Targets, away_from_edge
from inference_core.solvers.profile_surface import EMPTY, FREE, TIED_ABOVE, TIED_BELOW, UNKNOWN, Height
from inference_core.states import Array

from .problem import Problem

_STEP = 1e-3  # of central differences of the gradient, in standard errors
_NUMBERS = 5e5  # rows times points worked at once
_TIED = 1e-9  # distance of a correlation from its limit that counts as the limit

Boundary = Callable[[int, int], float]


class GlmmSurface:
    """The deviance around its minimum; see ``profile_surface.Surface``.

    Parameters
    ----------
    problem : Problem
        One lane of responses.
    targets : Targets
        RATIO for SDs (on the link scale), COR, SIGMA for the scale parameter, FIXED for fixed effects.
    rows : (P, m) array
        What takes the working coordinates to a fixed effect; zeros for the others.
    scale_power : float
        The scale target is exp(scale_power * log scale): 1/2 for a residual SD, 1 for the theta of a negative binomial.
    x, u : (m,), (q,) arrays
        The optimum in working coordinates and its modes.
    boundary : callable
        (target, side) -> deviance of the best fit with that SD at 0, or that correlation at -1 or 1.
    """

    def __init__(
        self, problem: Problem, targets: Targets, rows: Array, scale_power: float, x: Array, u: Array,
        boundary: Boundary,
    ) -> None:  # fmt: skip
        self.problem, self.targets, self.rows, self.scale_power = problem, targets, rows, scale_power
        self.between: Callable[[], None] = lambda: None
        self._boundary = boundary
        self._x, self._u = x, u
        self._moves = np.zeros((problem.searched.size, u.size))  # d u / d z at the optimum, to start modes from
        P, s = targets.size, problem.searched
        self.positive = targets.kind == RATIO
        z = x[s]
        self._steps = np.full(s.size, _STEP)
        deviance, _, modes = self._evaluate(z[None])
        self.deviance = float(deviance[0])
        H = self._hessian(z[None], modes)[0][0]
        spread = np.sqrt(2.0 * np.clip(np.diagonal(np.linalg.pinv(H, hermitian=True)), 1e-12, 1e6))
        self._steps = np.clip(_STEP * spread, 1e-6, 1e-2)
        H, around = (part[0] for part in self._hessian(z[None], modes))
        self._moves = (around[: s.size] - around[s.size :]) / (2.0 * self._steps[:, None])
        self.optimum, self.curvature = np.tile(z, (P, 1)), np.tile(H, (P, 1, 1))
        self.unit, self.reach = np.ones(P), np.ones(P)
        self.estimate = self.report(z[None], np.zeros(1, dtype=int))[0]
        self.edge = np.array([self._edge(j) for j in range(P)])

    def full(self, z: Array) -> Array:
        """(B, m) working coordinates from what is searched (B, d)."""
        x = np.repeat(self._x[None], z.shape[0], axis=0)
        x[:, self.problem.searched] = z
        return x

    def evaluate(self, z: Array, which: Array, exact: bool = False) -> Height:
        """See ``Surface``."""
        deviance, gradient, u = self._evaluate(z)
        return Height(deviance, gradient, self._hessian(z, u)[0] if exact else None)

    def _evaluate(self, z: Array, start: Array | None = None) -> tuple[Array, Array, Array]:
        """Deviance (B,), gradient (B, d) and modes (B, q); modes may start at (B, q)."""
        step = max(1, int(_NUMBERS // max(self.problem.design.n, 1)))
        parts = []
        for at in range(0, z.shape[0], step):
            if at:
                self.between()
            some = z[at : at + step]
            if start is None:
                u = self._u + (some - self._x[self.problem.searched]) @ self._moves
            else:
                u = start[at : at + step]
            parts.append(self._batch(some, u))
        deviance, gradient, u = (np.concatenate(column) for column in zip(*parts, strict=True))
        return deviance, gradient, u

    def _batch(self, z: Array, u: Array) -> tuple[Array, Array, Array]:
        try:
            found = self.problem.evaluate(self.full(z), u)
        except np.linalg.LinAlgError:  # one point beyond all means spoils the stack
            if z.shape[0] == 1:
                return np.full(1, np.nan), np.full(z.shape, np.nan), u
            parts = [self._batch(z[[i]], u[[i]]) for i in range(z.shape[0])]
            deviance, gradient, modes = (np.concatenate(column) for column in zip(*parts, strict=True))
            return deviance, gradient, modes
        lost = np.flatnonzero(~np.isfinite(found.deviance) & np.any(u != 0.0, axis=1))
        assert found.gradient is not None
        if lost.size:  # far from the optimum its modes are no start
            again = self._batch(z[lost], np.zeros((lost.size, u.shape[1])))
            for old, new in zip((found.deviance, found.gradient, found.u), again, strict=True):
                old[lost] = new
        return found.deviance, found.gradient, found.u

    def _hessian(self, z: Array, u: Array) -> tuple[Array, Array]:
        """Hessians (B, d, d) at z (B, d) with modes u (B, q), and the modes (B, 2 d, q) of the points around."""
        B, d = z.shape
        moved, along = np.diag(self._steps), self._moves * self._steps[:, None]
        points = z[:, None, :] + np.concatenate([moved, -moved])
        starts = u[:, None, :] + np.concatenate([along, -along])
        _, gradient, modes = self._evaluate(points.reshape(-1, d), starts.reshape(B * 2 * d, -1))
        gradient = gradient.reshape(B, 2, d, d)
        H = (gradient[:, 0] - gradient[:, 1]) / (2.0 * self._steps[:, None])
        return 0.5 * (H + np.swapaxes(H, 1, 2)), modes.reshape(B, 2 * d, -1)

    def target(self, z: Array, which: Array) -> tuple[Array, Array, Array]:
        """See ``Surface``."""
        B, d = z.shape
        m, c = self.problem.n_theta, self.scale_power
        scaled = self.problem.n_scale > 0
        log_scale = c * z[:, -1] if scaled else np.zeros(B)
        value, own, own_H = self.targets.derivatives(np.column_stack([z[:, :m], log_scale]), which)
        gradient, H = self.rows[which].copy(), np.zeros((B, d, d))
        gradient[:, :m] += own[:, :m]
        H[:, :m, :m] = own_H[:, :m, :m]
        if scaled:
            gradient[:, -1] += c * own[:, m]
            H[:, -1, -1] += c * c * own_H[:, m, m]
        fixed = self.targets.kind[which] == FIXED
        return np.where(fixed, np.einsum("bd,bd->b", self.rows[which], z), value), gradient, H

    def report(self, z: Array, which: Array) -> Array:
        """See ``Surface``."""
        B = z.shape[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.column_stack([self.target(z, np.full(B, j))[0] for j in range(self.targets.size)])

    def off_edge(self, j: int) -> Array:
        """See ``Surface``."""
        m = self.problem.n_theta

        def value(theta: Array) -> float:
            return float(self.targets.derivatives(np.append(theta, 0.0)[None], np.array([j]))[0][0])

        theta = away_from_edge(self.targets, j, self.curvature[j][:m, :m], self.optimum[j][:m], value)
        return np.append(theta, np.zeros(self.optimum.shape[1] - m))

    def boundary(self, j: int, side: int) -> float:
        """See ``Surface``."""
        kind = self.targets.kind[j]
        if kind == COR or (kind == RATIO and side < 0):
            return self._boundary(j, side)
        return np.inf

    def _edge(self, j: int) -> int:
        kind, here = self.targets.kind[j], self.estimate[j]
        if kind == COR:
            if not np.isfinite(here):
                return UNKNOWN
            if abs(here) > 1.0 - _TIED:
                return TIED_ABOVE if here > 0 else TIED_BELOW
        return EMPTY if kind == RATIO and here == 0.0 else FREE
