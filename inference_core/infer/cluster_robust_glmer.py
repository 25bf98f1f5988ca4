"""Cluster-robust covariance of the fixed effects of a generalized linear mixed model: CR0 and CR1.

The bread is the inverse Hessian of the deviance in everything that was estimated (theta, beta, log scale), the meat the
cross-products of every cluster's own score, by the rule of integration of the fit: the estimating equations of the
maximum-likelihood estimate. Source: White (1982), Econometrica 50; Wang & Merkle (2018), J. Stat. Softw. 87, code
snippet 1, for mixed models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.fit.glmer_problem import GlmerProblem, glmer_problem
from inference_core.solvers.glmm.blocked import Blocked
from inference_core.solvers.glmm.fit import Optimum
from inference_core.solvers.glmm.grouped import Grouped
from inference_core.solvers.glmm.rows import RowModel
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, JointDf, ModelSpec

from .cluster_labels import cluster_codes
from .outermost import Blocks
from .sandwich import check_error_type


@dataclass(frozen=True, slots=True, eq=False)
class GlmerRobust:
    """A cluster-robust covariance, p columns, and its reference: t with one degree of freedom a cluster, less one."""

    kind: str
    n_clusters: int
    vcov: Array  # (p, p) NaN where a column was dropped
    scores: Array  # (J, m) of each cluster's log-likelihood in what was searched, working coordinates

    def df(self, L: Array | None = None) -> Array:
        """Degrees of freedom J - 1 of contrast rows L (m, p), or of each coefficient."""
        rows = self.vcov.shape[0] if L is None else np.atleast_2d(L).shape[0]
        return np.full(rows, self.n_clusters - 1.0)

    def joint(self, L: Array) -> JointDf:
        """Degrees of freedom of the F of all rows of L (m, p) together: rank and J - 1."""
        return JointDf(int(np.linalg.matrix_rank(np.atleast_2d(np.asarray(L, dtype=float)))), self.n_clusters - 1.0)


def glmer_cluster_robust(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    kind: str = "CR1",
    cluster: str | Array | None = None,
    data: pl.DataFrame | None = None,
) -> GlmerRobust:
    """Cluster-robust covariance of the fixed effects of a generalized linear mixed model.

    Parameters
    ----------
    spec, bundle, fit
        A fitted generalized linear mixed model.
    kind : {"CR1", "CR0"}
        CR1 is CR0 times J / (J - 1).
    cluster, data
        As in ``cluster_robust.cluster_robust``: left out, the outermost grouping factor.

    Raises
    ------
    InferenceError
        Another kind; nAGQ = 0, whose coefficients maximise no likelihood; crossed factors without a cluster, or a
        cluster across which a random effect reaches; fewer than 5 clusters; separated data, or a deviance that is flat
        at the fit.
    """
    asked = f"errors={kind!r} of a generalized mixed model"
    check_error_type(spec, kind, cluster)
    n_agq = 1 if fit.n_agq is None else fit.n_agq
    if n_agq == 0:
        raise InferenceError(
            asked, "with nAGQ=0 the coefficients maximise no likelihood, so scores do not add up to 0",
            "fit(nAGQ=1), then errors='CR1'",
        )  # fmt: skip
    if fit.is_separated:
        raise InferenceError(asked, "some coefficients are infinite: the data are separated", "leave that column out")
    with one_blas_thread():
        problem = glmer_problem(spec, bundle, n_agq=n_agq)
        codes, _ = cluster_codes(bundle, cluster, data, asked, problem=Blocks(problem.re, problem.common.rows))
        optimum = problem.optimum(fit)
        if not np.all(np.isfinite(optimum.hessian)) or np.linalg.eigvalsh(optimum.hessian)[0] <= 0:
            raise InferenceError(
                asked, "the deviance is flat in some direction at the fit: there is no bread",
                "errors='iid', or how='boot'",
            )  # fmt: skip
        scores = -0.5 * cluster_gradients(problem, optimum, codes)
    J = len(scores)
    half = 2.0 * np.linalg.solve(optimum.hessian, scores.T)
    vcov = half @ half.T * (J / (J - 1.0) if kind == "CR1" else 1.0)
    m, r = problem.n_theta, problem.kept.size
    R = problem.solver.to_data[m : m + r, m : m + r]
    return GlmerRobust(kind, J, expand_square(R @ vcov[m : m + r, m : m + r] @ R.T, problem.kept, problem.p), scores)


def cluster_gradients(problem: GlmerProblem, optimum: Optimum, codes: Array) -> Array:
    """(J, m) gradient of each cluster's part of the deviance, codes (n,) 0 .. J - 1 over the rows that count."""
    J = int(codes.max()) + 1
    design = problem.solver.design
    if not isinstance(design, Grouped):
        return np.stack([_part(problem, design, optimum, np.flatnonzero(codes == j)) for j in range(J)])
    by_group = problem.solver.group_gradients(optimum.x, optimum.u)
    out = np.zeros((J, by_group.shape[1]))
    np.add.at(out, codes[design.order][design.starts], by_group)
    return out


def _part(problem: GlmerProblem, design: Blocked, optimum: Optimum, rows: Array) -> Array:
    """(m,) gradient of the deviance of some rows that share no effect with the others."""
    solver = problem.solver
    blocks, effects = [], []
    for term in design.terms:
        levels, codes = np.unique(term.group[rows], return_inverse=True)
        blocks.append((term.Z[rows], codes.ravel(), levels.size, term.entries))
        effects.append(optimum.u[term.first : term.first + term.q].reshape(term.J, term.k)[levels].ravel())
    model = solver.model
    w = None if model.weights is None else np.atleast_2d(model.weights)[:, rows]
    part = replace(
        solver,
        design=Blocked.make(design.X[rows], blocks, design.offset[rows]),
        model=RowModel(model.family, model.y[:, rows], w),
    )
    gradient = part.evaluate(optimum.x[None], np.concatenate(effects)[None]).gradient
    assert gradient is not None
    return gradient[0]
