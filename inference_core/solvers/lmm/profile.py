"""The deviance of a linear mixed model as its profiles see it: sigma, T, and one held combination of the coefficients.

The lane of an SD, a correlation or sigma moves in (theta, log sigma); that of a fixed effect in (theta, log sigma,
value), the other coefficients solved for (``held``). All have the same d coordinates: the last is idle in the former.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference_core.solvers.profile_surface import EMPTY, FREE, TIED_ABOVE, TIED_BELOW, UNKNOWN, Height
from inference_core.states import Array

from .held import Kernel, held_deviance
from .profile_targets import COR, FIXED, RATIO, SD, Targets, away_from_edge

_TIED = 1e-9  # distance of a correlation from its limit that counts as the limit
_EMPTY = 1e-8  # SD over sigma, an effect taken over the rows, that counts as 0

Boundary = Callable[[int, int], float]  # (target, side) -> deviance of the best fit on that side's boundary


class LmmSurface:
    """The ML deviance around its minimum; see ``profile_surface.Surface``.

    Parameters
    ----------
    kernel : Kernel
        The deviance.
    targets : Targets
    x : (q,) array
        The optimum: free entries of T in search coordinates, then log sigma.
    boundary : callable
        (target, side) -> deviance of the best fit with that SD at 0, or that correlation at -1 or 1.
    size : (P,) array
        Root mean square of the column of an SD's effect; 1 for other targets.
    """

    def __init__(self, kernel: Kernel, targets: Targets, x: Array, boundary: Boundary, size: Array) -> None:
        self.kernel, self.targets, self.x, self._boundary = kernel, targets, x, boundary
        self._size = size
        P, q = targets.size, x.size
        best = held_deviance(kernel, x[None], np.zeros((1, targets.held.shape[1])), np.zeros(1))
        self.deviance = float(best.deviance[0])
        self.estimate = targets.values(x[None], best.beta)[0]
        self.unit = targets.unit
        self.fixed = targets.kind == FIXED
        self.reach = np.where(self.fixed, 4.0, 1.0)  # the held value is in standard errors
        self.positive = (targets.kind == SD) | (targets.kind == RATIO)
        self.between: Callable[[], None] = lambda: None
        held_at = np.where(self.fixed, targets.held @ best.beta[0], 0.0)
        self.optimum = np.column_stack([np.tile(x, (P, 1)), held_at])
        at = self.evaluate(self.optimum, np.arange(P))
        assert at.hessian is not None
        self.curvature = at.hessian
        self._theta_hessian = best.hessian[0, : q - 1, : q - 1]
        self.edge = np.array([self._edge(j) for j in range(P)])

    def evaluate(self, z: Array, which: Array, exact: bool = False) -> Height:
        """See ``Surface``."""
        q = self.x.size
        at = held_deviance(self.kernel, z[:, :q], self.targets.held[which], z[:, q])
        gradient = np.column_stack([at.gradient, at.d_value])
        H = np.empty((z.shape[0], q + 1, q + 1))
        H[:, :q, :q], H[:, q, q] = at.hessian, at.dd_value
        H[:, q, :q] = H[:, :q, q] = at.d_value_x
        return Height(at.deviance, gradient, H)

    def target(self, z: Array, which: Array) -> tuple[Array, Array, Array]:
        """See ``Surface``."""
        B, q = z.shape[0], self.x.size
        fixed = self.fixed[which]
        gradient, H = np.zeros((B, q + 1)), np.zeros((B, q + 1, q + 1))
        value, gradient[:, :q], H[:, :q, :q] = self.targets.derivatives(z[:, :q], which)
        gradient[:, q] = fixed
        return np.where(fixed, z[:, q], value), gradient, H

    def report(self, z: Array, which: Array) -> Array:
        """See ``Surface``."""
        q = self.x.size
        none = np.zeros((z.shape[0], 0))
        if self.targets.held.shape[1]:
            none = held_deviance(self.kernel, z[:, :q], self.targets.held[which], z[:, q]).beta
        return self.targets.values(z[:, :q], none)

    def off_edge(self, j: int) -> Array:
        """See ``Surface``."""

        def value(theta: Array) -> float:
            return float(self.targets.derivatives(np.append(theta, self.x[-1])[None], np.array([j]))[0][0])

        theta = away_from_edge(self.targets, j, self._theta_hessian, self.x[:-1], value)
        return np.concatenate([theta, [0.0, 0.0]])

    def boundary(self, j: int, side: int) -> float:
        """See ``Surface``."""
        kind = self.targets.kind[j]
        if kind == COR or (kind in (SD, RATIO) and side < 0):
            return self._boundary(j, side)
        return np.inf

    def _edge(self, j: int) -> int:
        kind, here = self.targets.kind[j], self.estimate[j]
        if kind == COR:
            if not np.isfinite(here):
                return UNKNOWN  # an SD is 0, and with it the correlation has no meaning
            if abs(here) > 1.0 - _TIED:
                return TIED_ABOVE if here > 0 else TIED_BELOW
        if kind in (SD, RATIO) and here * self._size[j] <= _EMPTY * (np.exp(self.x[-1]) if kind == SD else 1.0):
            return EMPTY
        return FREE
