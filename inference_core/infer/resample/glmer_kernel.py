"""Parametric draws of a generalized linear mixed model and the refits of many draws at once.

A refit starts at the fit, with its Hessian, its modes and its rule of integration (nAGQ). One that does not settle is
tried once more from a cold start; only then is it a NaN row, with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.families import get_family, with_params
from inference_core.fit.glmer_problem import GlmerProblem, glmer_problem
from inference_core.rng import RNG
from inference_core.solvers.glmm.fit import Optimum
from inference_core.solvers.glmm.refit import Refits, refit
from inference_core.solvers.lmm.dense import Term
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo
from inference_core.states.inference import DRAW_NO_MEAN, DRAW_NOT_CONVERGED, DRAW_OK

from .glmer_draws import GlmerDraws, block_of
from .lmer_kernel import singular_draws, spread_names, spread_statistics

REFIT_TOL = 1e-12  # half g'Hg, deviance units: within 1e-6 of a standard error, at one evaluation more than 1e-8


@dataclass(frozen=True, eq=False)
class GlmerKernel:
    """Draws and refits of one generalized linear mixed model: m rows of positive weight.

    The statistics of a draw are the p coefficients (NaN where a column was dropped), then block by block SDs and the
    correlations of what may covary, then sigma where the family has a dispersion to estimate.
    """

    problem: GlmerProblem
    optimum: Optimum  # where refits start
    draws: GlmerDraws
    observed: Array  # (k,) the statistics of the fit itself
    tol: float = REFIT_TOL
    max_iter: int = 60

    @classmethod
    def of(cls, spec: ModelSpec, bundle: DataBundle, fit: FitState) -> GlmerKernel:
        """From a fitted model.

        Raises
        ------
        InferenceError
            Not a generalized mixed model, or trials that are not whole.
        """
        family = with_params(get_family(spec.family, spec.link), fit.family_params)
        with one_blas_thread():
            problem = glmer_problem(spec, bundle, n_agq=1 if fit.n_agq is None else fit.n_agq)
            optimum = problem.optimum(fit)
        assert fit.theta is not None
        sigma = fit.sigma if problem.relative else 1.0
        T = tuple(t * sigma for t in problem.re.t_matrices(fit.theta))
        posed = problem.common
        eta = posed.X @ np.where(np.isfinite(fit.coef[posed.kept]), fit.coef[posed.kept], 0.0)
        eta = eta if posed.offset is None else eta + posed.offset
        draws = GlmerDraws(
            eta, terms_of(problem), T, family, fit.dispersion if problem.relative else 1.0,
            None if posed.weights is None else np.asarray(posed.weights, dtype=float), rows_at_once(problem),
        )  # fmt: skip
        log_sd = np.log([sigma]) if problem.relative else None
        observed = statistics(problem, fit.coef[None], [t[None] for t in T], log_sd)
        return cls(problem, optimum, draws, observed[0])

    @property
    def n(self) -> int:
        """Rows that count."""
        return self.problem.common.m

    @property
    def p(self) -> int:
        """Columns of the whole design."""
        return self.problem.p

    @property
    def re(self) -> REInfo:
        """The random effects."""
        return self.problem.re

    @property
    def chunk_rows(self) -> int:
        """Draws that one call brings, a power of two."""
        return self.draws.rows_at_once

    @property
    def spread_names(self) -> tuple[str, ...]:
        """Names of the SDs and correlations, and of sigma where there is one."""
        names = spread_names(self.re)
        return names if self.problem.relative else names[:-1]

    def interval_df(self) -> Array:
        """(k,) degrees of freedom of expanded limits: the normal reference of a generalized mixed model."""
        return np.full(self.observed.size, np.inf)

    # ---- draws --------------------------------------------------------------------------------------------

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, m) responses of draws ``start .. stop - 1``: proportions where there are trials."""
        return self.draws.simulate(rng, start, stop)

    def response(self, rng: RNG, i: int, bundle: DataBundle) -> Array:
        """(bundle.n,) the response of draw ``i``; a row of weight 0 takes no part and keeps its own value."""
        out = np.array(bundle.y)
        rows = slice(None) if self.problem.common.rows is None else self.problem.common.rows
        out[rows] = self.simulate(rng, i, i + 1)[0]
        return out

    # ---- refits -------------------------------------------------------------------------------------------

    def refit(self, Y: Array) -> tuple[Array, Array, Array | None]:
        """Statistics (b, k) and status (b,) of responses Y (b, m)."""
        possible = np.all(np.isfinite(Y), axis=1)
        samples = np.full((len(Y), self.observed.size), np.nan)
        status = np.full(len(Y), DRAW_NO_MEAN, np.int8)
        if np.any(possible):
            with one_blas_thread():
                lanes = self.problem.solver.with_responses(Y[possible])
                found = refit(lanes, self.optimum, tol=self.tol, max_iter=self.max_iter)
            samples[possible], status[possible] = self.read(found)
        return samples, status, None

    def read(self, found: Refits) -> tuple[Array, Array]:
        """Statistics (b, k), NaN where a refit failed, and status (b,)."""
        coef = np.full((len(found.beta), self.p), np.nan)
        coef[:, self.problem.kept] = found.beta
        log_sd = 0.5 * found.scale if self.problem.relative and found.scale is not None else None
        samples = statistics(self.problem, coef, self.re.t_matrices(found.theta), log_sd)
        status = found.status.copy()
        lost = (status == DRAW_OK) & ~np.all(np.isfinite(found.beta), axis=1)
        status[lost] = DRAW_NOT_CONVERGED
        samples[status != DRAW_OK] = np.nan
        return samples, status

    @cached_property
    def unit(self) -> float:
        """The size of eta, in which an SD is large or small."""
        return self.problem.solver.unit

    def singular(self, samples: Array) -> Array:
        """(B,) whether the covariance of a block is singular in a draw (B, k), as the fit itself counts it."""
        spread = samples[:, self.p :]
        spread = spread[:, :-1] if self.problem.relative else spread
        return singular_draws(self.re, np.column_stack([spread, np.full(len(samples), self.unit)]))


def rows_at_once(problem: GlmerProblem) -> int:
    """Draws of one block."""
    return block_of(problem.common.m + problem.re.q, len(problem.re.blocks) == 1)


def terms_of(problem: GlmerProblem) -> tuple[Term, ...]:
    """The blocks over the rows that count, all levels."""
    rows = slice(None) if problem.common.rows is None else problem.common.rows
    return tuple(Term(b.X_re[rows], b.group_index[rows], b.n_levels, b.mask) for b in problem.re.blocks)


def statistics(problem: GlmerProblem, coef: Array, T, log_sd: Array | None) -> Array:
    """(B, k) from coefficients (B, p), T (B, k, k) of each block in link units and log sigma (B,)."""
    B = len(coef)
    spread = spread_statistics(problem.re, T, np.ones(B))
    last = np.empty((B, 0)) if log_sd is None else np.exp(log_sd)[:, None]
    return np.concatenate([coef, spread[:, :-1], last], axis=1)
