"""Degrees of freedom for a linear mixed model's coefficients and contrasts: Satterthwaite and Kenward-Roger.

Both are methods for REML. After a fit by maximum likelihood the REML optimum is found first (a few Newton steps from
the fit at hand), as pbkrtest does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.solvers.lmm.denominator import JointDf, KenwardRoger, Satterthwaite
from inference_core.solvers.lmm.dense_fit import fit_dense
from inference_core.solvers.lmm.information import Information, information_of_groups, information_of_terms
from inference_core.solvers.lmm.one_factor import fit_one
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .mixed_problem import MixedProblem

MAX_DENSE = 2000  # random effects of several factors for which q x q matrices take a second or two


@dataclass(frozen=True, eq=False)
class MixedDf:
    """Denominators for one fitted model of p columns. Each method is computed when it is first asked for."""

    problem: MixedProblem
    information: Information

    @cached_property
    def _satterthwaite(self) -> Satterthwaite:
        return Satterthwaite.of(self.information)

    @cached_property
    def _kenward_roger(self) -> KenwardRoger:
        return KenwardRoger.of(self.information)

    def satterthwaite(self, L: Array | None = None) -> Array:
        """Degrees of freedom (m,) of contrast rows L (m, p), or of each coefficient (p,).

        NaN where a row touches estimable columns nowhere.
        """
        return self._satterthwaite.df(self._rows(L))

    def satterthwaite_joint(self, L: Array) -> JointDf:
        """The F of all rows of L together."""
        return self._satterthwaite.joint(self._rows(L))

    def kenward_roger(self, L: Array | None = None) -> Array:
        """Degrees of freedom (m,) of contrast rows L (m, p), or of each coefficient (p,)."""
        return self._kenward_roger.df(self._rows(L))

    def kenward_roger_joint(self, L: Array) -> JointDf:
        """The F of all rows of L together, and its scale."""
        return self._kenward_roger.joint(self._rows(L))

    @property
    def vcov_kenward_roger(self) -> Array:
        """(p, p) adjusted covariance of the coefficients; NaN where a column was dropped."""
        return expand_square(self._kenward_roger.vcov, self.problem.kept, self.problem.p)

    @property
    def vcov_reml(self) -> Array:
        """(p, p) covariance of the coefficients at the REML optimum; NaN where a column was dropped."""
        return expand_square(self._satterthwaite.vcov, self.problem.kept, self.problem.p)

    def _rows(self, L: Array | None) -> Array:
        L = np.eye(self.problem.p) if L is None else L
        return self.problem.contrast_rows(L, "degrees of freedom of contrasts")


def mixed_df(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> MixedDf:
    """Everything that the degrees of freedom of a fitted linear mixed model need, computed once.

    Raises
    ------
    InferenceError
        Not a linear mixed model, or several grouping factors with more than ``MAX_DENSE`` random effects.
    """
    asked = "degrees of freedom of a mixed model"
    problem = MixedProblem.of(spec, bundle, fit, asked)
    assert fit.theta is not None
    T = problem.relative_factors(fit.theta)
    with one_blas_thread():
        if problem.is_one_factor:
            design = problem.group_design()
            if spec.method == "ml":
                T = (fit_one(design, problem.y, reml=True, start=T[0])[0].T[0],)
            return MixedDf(problem, information_of_groups(design, problem.y, T[0]))
        dense = problem.dense_design(asked, MAX_DENSE)
        if spec.method == "ml":
            T = fit_dense(
                problem.X, problem.terms, problem.y, weights=problem.weights, reml=True, start=list(T)
            ).T
        return MixedDf(problem, information_of_terms(dense, problem.y, T))
