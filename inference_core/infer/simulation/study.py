"""Refits of many simulated responses on one design: estimates, standard errors and degrees of freedom.

What each refit reports is what ``fit().infer()`` would: t(n - p) for an lm and where the dispersion is estimated, z
where the family fixes it, Satterthwaite's t for a linear mixed model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.errors import InferenceError
from inference_core.rng import block_rows
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import DRAW_NOT_CONVERGED, DRAW_OK, Array, DataBundle, ModelSpec

from .truth import Truth

if TYPE_CHECKING:
    from inference_core.fit.glmer_problem import GlmerProblem
    from inference_core.infer.resample.glm_operators import GlmKernel
    from inference_core.infer.resample.lmer_kernel import LmerKernel
    from inference_core.solvers.glmm.fit import Optimum


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """b refits of p coefficients; NaN where ``status`` is not ok."""

    coef: Array  # (b, p)
    se: Array  # (b, p)
    df: Array  # (b, p), inf for the normal
    status: Array  # (b,) int8, see DRAW_REASONS


class Study(Protocol):
    """One design: refits to responses (b, m)."""

    @property
    def chunk_rows(self) -> int:
        """Responses that one call should bring."""
        ...

    def refit(self, Y: Array, /) -> Estimates:
        """Refits of responses Y (b, m) of the rows of positive weight."""
        ...


def open_study(spec: ModelSpec, bundle: DataBundle, truth: Truth, first: Array) -> Study:
    """What refits responses on this design.

    Parameters
    ----------
    spec, bundle
        The model; the bundle's own response is not looked at.
    truth : Truth
        Where refits start.
    first : (m,)
        Some simulated response, which kernels of mixed models want to see.

    Raises
    ------
    InferenceError
        Columns that cannot be told apart, too few rows, a mixed model too large for refits by the thousand.
    """
    X = bundle.X[truth.rows]
    refuse_dropped(spec.formula, bundle)
    m, p = X.shape
    if m <= p and not truth.family.dispersion_known:
        raise InferenceError(
            f"a power study of {spec.formula!r} with {m} rows", f"{p} coefficients leave nothing over", f"n={p + 2}"
        )
    if spec.has_random_effects:
        return (_LmerStudy.of if spec.is_lmer else _GlmerStudy.of)(spec, bundle, truth, first)
    return (_LmStudy.of if spec.is_lm else _GlmStudy.of)(bundle, truth)


def refuse_dropped(formula: str, bundle: DataBundle) -> None:
    """Refuse a design whose columns cannot all be told apart."""
    dropped = [bundle.X_names[j] for j in bundle.rank_info.dropped]
    if dropped:
        raise InferenceError(
            f"a power study of {formula!r} with {bundle.n} rows",
            f"{', '.join(dropped)} cannot be told from the other columns of this design",
            "more rows, other predictors, or leave the term out",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _LmStudy:
    """Least squares about the truth: one product for all responses."""

    basis: Array  # (m, p) orthonormal, of sqrt(w) X
    r_inverse: Array  # (p, p)
    eta: Array  # (m,)
    root: Array | None  # (m,)
    beta: Array  # (p,)

    @classmethod
    def of(cls, bundle: DataBundle, truth: Truth) -> _LmStudy:
        X = bundle.X[truth.rows]
        root = None if truth.weights is None else np.sqrt(truth.weights)
        basis, R = np.linalg.qr(X if root is None else X * root[:, None])
        return cls(basis, solve_triangular(R, np.eye(len(R))), truth.eta, root, truth.beta)

    @property
    def chunk_rows(self) -> int:
        return block_rows(self.eta.size)

    def refit(self, Y: Array, /) -> Estimates:
        noise = Y - self.eta if self.root is None else (Y - self.eta) * self.root
        with one_blas_thread():
            scores = noise @ self.basis
        m, p = self.basis.shape
        rss = np.einsum("bi,bi->b", noise, noise) - np.einsum("bi,bi->b", scores, scores)
        sigma = np.sqrt(np.maximum(rss, 0.0) / (m - p))
        se = sigma[:, None] * np.sqrt(np.square(self.r_inverse).sum(axis=1))
        coef = self.beta + scores @ self.r_inverse.T
        return Estimates(coef, se, np.full_like(coef, m - p), np.full(len(Y), DRAW_OK, np.int8))


@dataclass(frozen=True, slots=True, eq=False)
class _GlmStudy:
    """Lanes of Fisher scoring, each with a response of its own, from the truth."""

    kernel: GlmKernel
    df: float
    m: int

    @classmethod
    def of(cls, bundle: DataBundle, truth: Truth) -> _GlmStudy:
        from inference_core.infer.resample.glm_operators import GlmKernel

        X = np.ascontiguousarray(bundle.X[truth.rows])
        mu = truth.family.link.inverse(truth.eta)
        offset = None if bundle.offset is None else bundle.offset[truth.rows]
        kernel = GlmKernel.from_arrays(
            X, mu, truth.family, truth.beta, weights=truth.weights, offset=offset, want_se=True
        )
        kernel = replace(kernel, dispersion=truth.phi)  # of means alone it would be 0
        m, p = X.shape
        return cls(kernel, float("inf") if truth.family.dispersion_known else float(m - p), m)

    @property
    def chunk_rows(self) -> int:
        return min(self.kernel.chunk_rows, block_rows(self.m))

    def refit(self, Y: Array, /) -> Estimates:
        coef, status, se = self.kernel.refit(np.ones(Y.shape), np.ascontiguousarray(Y))
        assert se is not None  # the kernel was asked for them
        return Estimates(coef, se, np.full_like(coef, self.df), status)


@dataclass(frozen=True, slots=True, eq=False)
class _LmerStudy:
    """Newton on all replicates from the truth, then Satterthwaite's degrees of freedom of each."""

    kernel: LmerKernel
    offset: Array | float

    @classmethod
    def of(cls, spec: ModelSpec, bundle: DataBundle, truth: Truth, first: Array) -> _LmerStudy:
        from inference_core.fit.mixed_problem import MixedProblem
        from inference_core.infer.resample.lmer_kernel import LmerKernel
        from inference_core.solvers.lmm.crossed import CrossedKernel

        whole = truth.rows.size == bundle.n
        offset = 0.0 if bundle.offset is None else bundle.offset[truth.rows]
        problem = MixedProblem(
            bundle.re_metadata, np.ascontiguousarray(bundle.X[truth.rows]), first - offset, truth.weights,
            np.arange(bundle.p), None if whole else truth.rows, bundle.p, tuple(bundle.X_names),
        )  # fmt: skip
        sigma = float(np.sqrt(truth.phi))
        start = tuple(_start(term.Z, t / sigma) for term, t in zip(truth.terms, truth.T, strict=True))
        kernel = LmerKernel(
            problem, start, truth.beta, sigma, reml=spec.method != "ml", want_se=True, with_spread=False
        )
        if isinstance(kernel.design, CrossedKernel):
            raise InferenceError(
                f"a power study of {spec.formula!r}",
                f"{problem.re.q:,} random effects of several grouping factors: too many to refit by the thousand",
                "fewer groups, or one grouping factor",
            )
        return cls(kernel, offset)

    @property
    def chunk_rows(self) -> int:
        return self.kernel.chunk_rows

    def refit(self, Y: Array, /) -> Estimates:
        kernel = self.kernel
        Y = Y - self.offset
        fits = kernel.fits(Y)
        coef, status, se = kernel.collected(fits)
        assert se is not None
        df = np.full_like(coef, np.nan)
        good = np.flatnonzero(status == DRAW_OK)
        if good.size:
            T = [t[good] for t in fits.T] if kernel.reml else list(replace(kernel, reml=True).fits(Y[good]).T)
            df[good] = _satterthwaite(kernel, Y[good], T)
        lost = (status == DRAW_OK) & ~(np.isfinite(df) & np.isfinite(se)).all(axis=1)
        status = np.where(lost, DRAW_NOT_CONVERGED, status).astype(np.int8)
        return Estimates(coef, se, df, status)


def _satterthwaite(kernel: LmerKernel, Y: Array, T: list[Array]) -> Array:
    """(b, p) degrees of freedom at each lane's REML optimum."""
    from inference_core.solvers.lmm.denominator import Satterthwaite
    from inference_core.solvers.lmm.dense import DenseDesign
    from inference_core.solvers.lmm.groups import GroupDesign
    from inference_core.solvers.lmm.information import information_of_terms
    from inference_core.solvers.lmm.satterthwaite_lanes import satterthwaite_lanes

    design = kernel.design
    with one_blas_thread():
        if isinstance(design, GroupDesign):
            return satterthwaite_lanes(design, design.lanes(Y, reml=True), T[0])[1]
        assert isinstance(design, DenseDesign)  # larger ones were refused
        rows = np.eye(kernel.p)
        return np.array(
            [Satterthwaite.of(information_of_terms(design, y, [t[i] for t in T])).df(rows) for i, y in enumerate(Y)]
        )


@dataclass(frozen=True, slots=True, eq=False)
class _GlmerStudy:
    """Lanes of the Laplace approximation from the truth; standard errors by the Hessian of each."""

    problem: GlmerProblem
    optimum: Optimum
    rows_at_once: int

    @classmethod
    def of(cls, spec: ModelSpec, bundle: DataBundle, truth: Truth, first: Array) -> _GlmerStudy:
        from inference_core.fit.glmer_problem import glmer_problem
        from inference_core.infer.resample.glmer_draws import GlmerDraws
        from inference_core.solvers.glmm.fit import optimum_at

        y = np.array(bundle.y)
        y[truth.rows] = first
        with one_blas_thread():
            problem = glmer_problem(spec, replace(bundle, y=y), family=truth.family)
            solver = problem.solver
            theta = np.concatenate([b.theta_of(t) for b, t in zip(problem.re.blocks, truth.T, strict=True)])
            parts = [theta, truth.beta[problem.kept]]
            if solver.n_scale:
                parts.append(np.log([truth.phi if problem.relative else truth.family.params[0]]))
            optimum = optimum_at(solver, np.linalg.solve(solver.to_data, np.concatenate(parts)))
        draws = truth.draws()
        assert isinstance(draws, GlmerDraws)
        return cls(problem, optimum, draws.rows_at_once)

    @property
    def chunk_rows(self) -> int:
        return self.rows_at_once

    def refit(self, Y: Array, /) -> Estimates:
        from inference_core.infer.resample.glmer_kernel import REFIT_TOL
        from inference_core.solvers.glmm.refit import refit, standard_errors

        problem = self.problem
        possible = np.flatnonzero(np.isfinite(Y).all(axis=1))
        b, p = len(Y), problem.p
        coef, se = np.full((b, p), np.nan), np.full((b, p), np.nan)
        status = np.full(b, DRAW_NOT_CONVERGED, np.int8)
        if possible.size:
            with one_blas_thread():
                lanes = problem.solver.with_responses(Y[possible])
                found = refit(lanes, self.optimum, tol=REFIT_TOL)
                errors = standard_errors(lanes, self.optimum, found)
            fine = (found.status == DRAW_OK) & np.isfinite(errors).all(axis=1)
            flat = np.where(fine, DRAW_OK, DRAW_NOT_CONVERGED)
            status[possible] = np.where(found.status != DRAW_OK, found.status, flat)
            at = possible[fine]
            kept = problem.kept
            coef[np.ix_(at, kept)], se[np.ix_(at, kept)] = found.beta[fine], errors[fine]
        return Estimates(coef, se, np.full_like(coef, np.inf), status)


def _start(Z: Array, T: Array) -> Array:
    """T, with what is near 0 lifted: an exact 0 is a stationary point of every refit."""
    size = np.sqrt(np.mean(np.square(Z), axis=0))
    size = np.where(size > 0, size, 1.0)
    diagonal = np.diagonal(T)
    return T + np.diag(np.where(diagonal * size < 0.05, 0.3 / size - diagonal, 0.0))
