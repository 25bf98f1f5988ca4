"""What a profile search needs of a deviance."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from inference_core.states import Array

FREE, EMPTY, TIED_BELOW, TIED_ABOVE, UNKNOWN = 0, 1, 2, 3, 4  # where an estimate stands in the range of its target


class Height(NamedTuple):
    """A deviance at B points of d coordinates."""

    deviance: Array  # (B,)
    gradient: Array  # (B, d)
    hessian: Array | None  # (B, d, d); None where it is costly and was not asked for


class Surface(Protocol):
    """A deviance and P targets; a point belongs to the lane of one target, whose coordinates may be its own."""

    deviance: float  # the minimum
    optimum: Array  # (P, d) the minimum, in the coordinates of each target's lanes
    curvature: Array  # (P, d, d) Hessian there
    estimate: Array  # (P,) targets at the minimum, as reported
    edge: Array  # (P,) FREE, EMPTY, TIED_BELOW, TIED_ABOVE or UNKNOWN
    unit: Array  # (P,) what one unit of a target is when reported
    reach: Array  # (P,) a factor of the largest Newton step
    positive: Array  # (P,) bool: SDs, whose range ends at 0
    between: Callable[[], None]  # called between the batches of a long evaluation

    def evaluate(self, z: Array, which: Array, exact: bool = False) -> Height:
        """The deviance at z (B, d) in the coordinates of targets ``which`` (B,); its Hessian if cheap or ``exact``."""
        ...

    def target(self, z: Array, which: Array) -> tuple[Array, Array, Array]:
        """Value (B,), gradient (B, d) and Hessian (B, d, d) of the targets themselves."""
        ...

    def report(self, z: Array, which: Array) -> Array:
        """(B, P) every target at z, as reported."""
        ...

    def off_edge(self, j: int) -> Array:
        """(d,) direction off the edge on which target j stands, scaled so that D = D_min + zeta^2 at zeta times it."""
        ...

    def boundary(self, j: int, side: int) -> float:
        """Deviance of the best fit at the end of target j's range on that side; inf where the range has no end."""
        ...
