"""Degrees of freedom for a linear mixed model's coefficients and contrasts: Satterthwaite and Kenward-Roger.

Both are methods for REML. After a fit by maximum likelihood the REML optimum is found first (a few Newton steps from
the fit at hand), as pbkrtest does.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference_core.errors import InferenceError
from inference_core.solvers.lmm.denominator import KenwardRoger, Satterthwaite
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.information import Information, Moves, information_of_groups, information_of_terms
from inference_core.solvers.lmm.information_crossed import information_of_scalars, terms_left
from inference_core.solvers.lmm.information_large import moves_of_crossed
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, JointDf, ModelSpec

from .lmer import fit_lmer
from .mixed_problem import MixedProblem

MAX_DENSE = 2000  # random effects of several factors for which q x q matrices take a second or two
MAX_CELLS = 100_000_000  # rows times random effects that a dense Z may have
MAX_WORK = 2_000_000_000_000  # multiplications for the Hessian of a large crossed model: minutes
MAX_REST = 4000  # levels beside those of the largest factor, one effect each: one dense matrix of that size
SPARSE = 300  # random effects of several factors from which eliminating the largest pays


@dataclass(frozen=True, eq=False)
class MixedDf:
    """Denominators for one fitted model of p columns. Each method is computed when it is first asked for."""

    problem: MixedProblem
    moves: Moves
    T: Sequence[Array] = ()  # (k, k) by block, units of the data, where ``moves`` do not serve Kenward-Roger
    complete: bool = True  # every variance takes part; else those at 0 were left out, as Satterthwaite does anyway

    @cached_property
    def _satterthwaite(self) -> Satterthwaite:
        return Satterthwaite.of(self.moves)

    @cached_property
    def _kenward_roger(self) -> KenwardRoger:
        asked = "Kenward-Roger degrees of freedom"
        if not self.complete:
            raise InferenceError(
                asked,
                "a variance of this large model is 0, and the dense matrices that would need are too large",
                "leave errors out for Satterthwaite's, or leave the term out",
            )
        if isinstance(self.moves, Information):
            return KenwardRoger.of(self.moves)
        scalars = _of_scalars(self.problem, self.T) if _is_scalar(self.problem) else None
        if scalars is not None:
            return scalars._kenward_roger
        cells = self.problem.n * self.problem.re.q
        if self.problem.re.q > MAX_DENSE or cells > MAX_CELLS:
            raise InferenceError(
                asked,
                f"{self.problem.re.q:,} random effects of several grouping factors in {self.problem.n:,} rows: the "
                f"dense matrices that would need are too large (up to {MAX_DENSE:,} effects, and {MAX_CELLS:,} cells)",
                "use Satterthwaite's (errors='iid')",
            )
        with one_blas_thread():
            dense = self.problem.dense_design(asked, MAX_DENSE)
            return KenwardRoger.of(information_of_terms(dense, self.problem.y, self.T))

    @property
    def vcov_varpar(self) -> Array:
        """(m + 1, m + 1) asymptotic covariance of (T, log sigma), T in the coordinates of the search."""
        return self._satterthwaite.vcov_varpar

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


_RECENT: list[tuple[tuple[weakref.ref[Array] | None, ...], str | None, MixedDf]] = []
_KEPT = 4


def mixed_df(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> MixedDf:
    """Everything that the degrees of freedom of a fitted linear mixed model need, computed once.

    The answers for the last few fits are kept as long as these live: each question about one fit asks for them anew.

    Raises
    ------
    InferenceError
        Not a linear mixed model, or several grouping factors with so many effects that it would take many minutes.
    """
    asked = (fit.theta, fit.coef, bundle.X, bundle.y, bundle.prior_weights, bundle.offset)
    _RECENT[:] = [known for known in _RECENT if all(r is None or r() is not None for r in known[0])]
    for refs, method, found in tuple(_RECENT):
        same = all((r is None) == (a is None) and (r is None or r() is a) for r, a in zip(refs, asked, strict=True))
        if same and method == spec.method:
            return found
    found = _mixed_df(spec, bundle, fit)
    refs = tuple(None if a is None else weakref.ref(a) for a in asked)
    _RECENT[:] = [*_RECENT[1 - _KEPT :], (refs, spec.method, found)]
    return found


def _mixed_df(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> MixedDf:
    asked = "degrees of freedom of a mixed model"
    problem = MixedProblem.of(spec, bundle, fit, asked)
    assert fit.theta is not None
    T = problem.relative_factors(fit.theta)
    if spec.method == "ml":
        fit = fit_lmer(replace(spec, method="reml"), bundle, start=T)
        assert fit.theta is not None
        T = problem.relative_factors(fit.theta)
    with one_blas_thread():
        if problem.is_one_factor:
            return MixedDf(problem, information_of_groups(problem.group_design(), problem.y, T[0]))
        if problem.re.q <= SPARSE:
            return MixedDf(problem, information_of_terms(problem.dense_design(asked), problem.y, T))
        kernel = problem.crossed_kernel()
        if _is_scalar(problem) and kernel.plan is None:
            found = _of_scalars(problem, T)
            if found is not None:
                return found
        points = 2 * problem.re.n_theta + 1
        if points * kernel.work > MAX_WORK:
            raise InferenceError(
                asked,
                f"{points} points of the deviance of a model with {problem.re.q:,} random effects, minutes each",
                "with so many groups the normal reference is close; or use how='boot'",
            )
        return MixedDf(problem, moves_of_crossed(kernel, problem.y, T), T)


def _is_scalar(problem: MixedProblem) -> bool:
    return all(block.k == 1 for block in problem.re.blocks)


def _of_scalars(problem: MixedProblem, T: Sequence[Array]) -> MixedDf | None:
    """Several factors with one effect each: those without variance do not move V, and one alone has blocks.

    None where the factors beside the largest have more than ``MAX_REST`` levels.
    """
    terms, theta = problem.terms, np.array([t[0, 0] for t in T])
    left = terms_left(terms, theta, problem.weights)
    if sum(terms[i].n_groups for i in left[1:]) > MAX_REST:
        return None
    if len(left) > 1:
        info = information_of_scalars(problem.X, terms, problem.y, theta, problem.weights)
        return MixedDf(problem, info, complete=len(left) == len(terms))
    only = terms[left[0] if left else 0]
    own = np.array([[theta[left[0]] if left else 0.0]])
    design = GroupDesign.of(problem.X, only.Z, only.group, n_groups=only.n_groups, weights=problem.weights)
    return MixedDf(problem, information_of_groups(design, problem.y, own), complete=False)
