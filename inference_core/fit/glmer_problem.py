"""A bundle with random effects as the GLMM solver wants it, and back: checks, levels with rows, coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, get_family
from inference_core.solvers.glmm import rows as glmm_rows
from inference_core.solvers.glmm.fit import Optimum
from inference_core.solvers.glmm.problem import Problem, RandomTerm, TooLargeError
from inference_core.solvers.glmm.problem import pose as pose_glmm
from inference_core.solvers.glmm.refit import Refits, refit
from inference_core.solvers.lstsq import independent_columns
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo

from . import common
from .common import refuse_saturated

MAX_NODES = 100


@dataclass(frozen=True, slots=True, eq=False)
class GlmerProblem:
    """A GLMM ready for its solver: m rows of positive weight, r estimable columns.

    ``solver`` works in coordinates of its own; ``levels`` are the levels of each block that have rows.
    """

    solver: Problem
    family: Family
    re: REInfo
    common: common.Problem
    kept: Array  # (r,) columns of the bundle
    levels: tuple[Array, ...]
    p: int  # columns of the bundle

    @property
    def n_theta(self) -> int:
        """Covariance parameters."""
        return self.re.n_theta

    @property
    def relative(self) -> bool:
        """Whether theta is relative to a residual SD that is estimated."""
        return self.family.name in ("gamma", "inverse_gaussian", "gaussian")

    def posed(self, terms: tuple[RandomTerm, ...]) -> Problem:
        """The solver's problem with the random terms written otherwise: effects in another order."""
        own, weights = self.common, self.common.weights
        X = np.ascontiguousarray(own.X[:, np.isin(own.kept, self.kept)])
        model = glmm_rows.RowModel(
            self.family, own.y[None], None if weights is None else np.asarray(weights, dtype=float)
        )
        return pose_glmm(X, terms, model, own.offset, self.solver.n_agq)

    def coordinates(self, fit: FitState) -> Array:
        """Working coordinates of a fit: theta, beta and the log of the scale."""
        assert fit.theta is not None
        parts = [fit.theta * (fit.sigma if self.relative else 1.0), fit.coef[self.kept]]
        if self.solver.n_scale:
            parts.append(np.array([np.log(fit.dispersion if self.relative else fit.family_params[0])]))
        return np.linalg.solve(self.solver.to_data, np.concatenate(parts))

    def optimum(self, fit: FitState) -> Optimum:
        """The solver's view of a fit, from which refits and profiles start."""
        assert fit.u is not None and fit.hessian is not None and fit.gradient is not None and fit.criterion is not None
        x = self.coordinates(fit)
        scale = fit.sigma if self.relative else 1.0
        blocks = self.re.split_effects(fit.u)
        u = np.concatenate([b[keep].ravel() for b, keep in zip(blocks, self.levels, strict=True)]) / scale
        J = self.reported_by_working(x)
        H = J.T @ fit.hessian @ J
        return Optimum(x, u, fit.criterion, J.T @ fit.gradient, H, 0.0, fit.converged, fit.n_iter)

    def refit(self, fit: FitState, y: Array, **options: Any) -> Refits:
        """Estimates for other responses y (B, n), rows of the bundle, theta absolute; warm from the fit."""
        rows = self.common.rows
        with one_blas_thread():
            lanes = self.solver.with_responses(y if rows is None else y[:, rows])
            return refit(lanes, self.optimum(fit), **options)

    def reported_by_working(self, x: Array) -> Array:
        """Derivatives of what is reported (theta, beta, log scale) in working coordinates, for what is searched."""
        K = self.solver.to_data
        if self.relative:
            data = K @ x
            log_sd = 0.5 * data[-1]
            back = np.eye(K.shape[0])
            m = self.n_theta
            back[:m, :m] *= np.exp(-log_sd)
            back[:m, -1] = -0.5 * data[:m] * np.exp(-log_sd)
            K = back @ K
        s = self.solver.searched
        return K[np.ix_(s, s)]


def glmer_problem(
    spec: ModelSpec, bundle: DataBundle, *, n_agq: int = 1, family: Family | None = None
) -> GlmerProblem:
    """Check the model and hand it to the solver's coordinates; raises as :func:`fit_glmer` does."""
    family = get_family(spec.family, spec.link) if family is None else family
    re = bundle.re_metadata
    if re is None:
        raise FitError(
            f"a mixed model of {spec.formula!r}", "the formula has no random terms", "add one, as + (1 | group)"
        )
    _refuse_family(family)
    _refuse_nodes(n_agq, re)
    posed = common.pose(bundle, family)
    X, kept = posed.X, posed.kept
    if posed.rows is not None and X.shape[1]:
        still = independent_columns(np.asarray(np.linalg.qr(X, mode="r")))
        X, kept = np.ascontiguousarray(X[:, still]), kept[still]
    if not family.dispersion_known:
        refuse_saturated(posed.m, kept.size, bundle)
    terms, levels = [], []
    for block in re.blocks:
        Z, group = block.X_re, block.group_index
        if posed.rows is not None:
            Z, group = Z[posed.rows], group[posed.rows]
        present, codes = np.unique(group, return_inverse=True)
        if not family.dispersion_known and present.size >= posed.m:
            raise FitError(
                f"random effects of {block.group_name} for {bundle.y_name!r}",
                f"{present.size} levels of {block.group_name} in {posed.m} rows: the spread between groups and the "
                "noise cannot be told apart",
                "use a factor with several rows a level",
            )
        terms.append(RandomTerm(np.ascontiguousarray(Z), codes, present.size, np.asarray(block.mask)))
        levels.append(present)
    weights = posed.weights
    model = glmm_rows.RowModel(family, posed.y[None], None if weights is None else np.asarray(weights, dtype=float))
    try:
        solver = pose_glmm(X, tuple(terms), model, posed.offset, n_agq)
    except TooLargeError as error:
        raise FitError(
            f"a mixed model of {bundle.y_name!r} with several grouping factors",
            f"{error}: more than this version's dense factor takes",
            "leave one factor out, or enter the smaller ones as fixed effects",
        ) from None
    return GlmerProblem(solver, family, re, posed, kept, tuple(levels), bundle.p)


def _refuse_family(family: Family) -> None:
    if family.name == "gaussian" and family.link.name == "identity":
        raise FitError(
            "a generalized mixed model with family='gaussian' and link='identity'",
            "that is a linear mixed model",
            "fit it by method='reml' or 'ml'",
        )
    if family.name not in glmm_rows.FAMILIES:
        raise FitError(
            f"a mixed model with family={family.name!r}",
            f"families of mixed models are {', '.join(glmm_rows.FAMILIES)}",
            "use negative_binomial or an observation-level random effect for spread counts",
        )


def _refuse_nodes(n_agq: int, re: REInfo) -> None:
    if isinstance(n_agq, bool) or int(n_agq) != n_agq or not 0 <= n_agq <= MAX_NODES:
        raise FitError(f"nAGQ={n_agq!r}", f"nAGQ is a whole number from 0 to {MAX_NODES}", "nAGQ=1, Laplace")
    head, *rest = re.blocks
    if n_agq > 1 and (rest or head.k > 1):
        what = "several grouping factors" if rest else f"{head.k} effects a group"
        raise FitError(
            f"nAGQ={n_agq}", f"quadrature needs one random effect a group; this model has {what}", "use nAGQ=1"
        )
