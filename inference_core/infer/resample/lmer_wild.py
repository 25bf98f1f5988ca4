"""The wild bootstrap of a linear mixed model: the residuals of whole groups keep or change their sign.

y* = X b + s_j A_j e_j with s_j = -1 or 1 at random, e_j the marginal residuals y_j - X_j b of group j and A_j the
adjustment of CR2, which makes their products unbiased if the model is right. Within a group everything keeps its
place, so any covariance there is carried over, and groups may differ. Every |residual| stays as it is: SDs are not
bootstrapped by this. Source: Modugno & Giannerini (2015), Commun. Stat. Theory Methods 44, 4812-4825.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.rng import RNG, Purpose
from inference_core.solvers.lmm.clusters import adjusted_residuals
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, FitState

from .lmer_kernel import LmerKernel
from .whole_groups import WholeGroups

NO_SPREAD = "sign flips keep every |residual|: SDs and correlations have no limits from scheme='wild'"


@dataclass(frozen=True, eq=False)
class WildDraws:
    """What is flipped: adjusted residuals of J groups."""

    fitted: Array  # (n,) X beta
    residual: Array  # (n,) A_j e_j
    codes: Array  # (n,) 0 .. J - 1
    J: int

    @classmethod
    def of(cls, kernel: LmerKernel, fit: FitState, groups: WholeGroups) -> WildDraws:
        """From a fit; ``groups`` share no random effect."""
        problem, kept = kernel.problem, kernel.problem.kept
        fitted = problem.X @ kernel.beta
        with one_blas_thread():
            residual = adjusted_residuals(
                problem.X, problem.terms, kernel.T, problem.y - fitted, groups.codes,
                fit.vcov[np.ix_(kept, kept)] / fit.sigma**2, weights=problem.weights,
            )  # fmt: skip
        return cls(fitted, residual, groups.codes, groups.J)

    def signs(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, J) -1 or 1."""
        bits = rng.rows(start, stop, self.J, lambda g, rows: g.integers(0, 2, (rows, self.J)), Purpose.SIGN)
        return 2.0 * bits - 1.0

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, n) responses of draws ``start .. stop - 1``, the offset taken off."""
        return self.fitted + self.signs(rng, start, stop)[:, self.codes] * self.residual
