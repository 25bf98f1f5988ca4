"""Cluster-robust covariance of coefficients: CR0, CR1, CR1S and CR2.

For a linear mixed model the bread is its own (X'V^-1X)^-1 and the residuals are marginal, y - Xb; for lm and glm V is
the inverse of the working weights, and a glm has its working residuals: in both the estimate stays what it is, and only
its covariance no longer rests on V being right. As in R's clubSandwich with V for CR2's target, but that the root in
CR2 is taken with each row in units of its own SD (R: of the response), so that how weights are written changes nothing.
Source: Bell & McCaffrey (2002), Survey Methodology 28; Pustejovsky & Tipton (2018), J. Bus. Econ. Stat. 36.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.linalg import solve_triangular

from inference_core.errors import InferenceError
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.solvers.lmm.clusters import ClusterSums, cluster_sums
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, JointDf, ModelSpec

from .cluster_labels import cluster_codes
from .cluster_robust_glmer import GlmerRobust, glmer_cluster_robust
from .sandwich import CLUSTER_KINDS, check_error_type, estimable, score_and_weight
from .spelling import nearest


@dataclass(frozen=True, slots=True, eq=False)
class ClusterRobust:
    """A cluster-robust covariance and its degrees of freedom, p columns."""

    kind: str
    n_clusters: int
    vcov: Array  # (p, p) NaN where a column was dropped
    kept: Array  # (r,) columns that have an estimate
    sums: ClusterSums

    def df(self, L: Array | None = None) -> Array:
        """Satterthwaite degrees of freedom (m,) of contrast rows L (m, p), or of each coefficient.

        NaN for rows that touch estimable columns nowhere.
        """
        return self.sums.df(self._rows(np.eye(self.vcov.shape[0]) if L is None else L))

    def joint(self, L: Array) -> JointDf:
        """Degrees of freedom and scale of the F of all rows of L (m, p) together, by approximate Hotelling's T^2.

        F = scale (L b)'(L V L')^-1 (L b) / df1 on (df1, df2). Rows that repeat others do not count.
        """
        return self.sums.joint(self._rows(L))

    def _rows(self, L: Array) -> Array:
        L = np.atleast_2d(np.asarray(L, dtype=float))
        p = self.vcov.shape[0]
        if L.shape[1] != p:
            raise InferenceError(
                "degrees of freedom of contrasts", f"contrast rows of {L.shape[1]} weights for {p} coefficients",
                "one weight a coefficient",
            )  # fmt: skip
        return L[:, self.kept]


def cluster_robust(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    kind: str = "CR2",
    cluster: str | Array | None = None,
    data: pl.DataFrame | None = None,
) -> ClusterRobust | GlmerRobust:
    """Cluster-robust covariance of the fixed effects of any model.

    Parameters
    ----------
    spec, bundle, fit
        A fitted model, its dispersion of no interest.
    kind : {"CR2", "CR1S", "CR1", "CR0"}
        CR2 corrects the residuals of each cluster so that the covariance is unbiased if the model is right; CR1 is CR0
        times J / (J - 1), and CR1S that times (n - 1) / (n - p). Generalized mixed models have CR0 and CR1, see
        ``cluster_robust_glmer``.
    cluster : str or (n,) array, optional
        A grouping factor of the model, a column of ``data``, or a label per row. Left out: the outermost grouping
        factor. Rows of different clusters must share no random effect.
    data : polars.DataFrame, optional
        The original frame.

    Returns
    -------
    ClusterRobust
        ``vcov``, ``df(L)`` and ``joint(L)``.

    Raises
    ------
    InferenceError
        An unknown kind or column; crossed factors without a cluster, or a cluster across which a random effect reaches;
        fewer than 5 clusters; separated data; CR2 or CR1S of a generalized mixed model.
    """
    asked = f"errors={kind!r}"
    if kind not in CLUSTER_KINDS:
        near = nearest(kind, CLUSTER_KINDS, "errors")
        raise InferenceError(
            asked, f"cluster-robust errors are {', '.join(CLUSTER_KINDS)}",
            f"did you mean {near!r}?" if near else "errors='CR2'",
        )  # fmt: skip
    check_error_type(spec, kind, cluster)
    if spec.has_random_effects and not spec.is_lmer:
        return glmer_cluster_robust(spec, bundle, fit, kind, cluster, data)
    take = _of_mixed if bundle.re_metadata is not None else _of_independent
    kept, sums, n = take(spec, bundle, fit, kind, cluster, data, asked)
    J = sums.scores.shape[0]
    scale = J / (J - 1.0) if kind in ("CR1", "CR1S") else 1.0
    if kind == "CR1S":
        scale *= (n - 1.0) / (n - kept.size)
    return ClusterRobust(kind, J, expand_square(sums.vcov * scale, kept, bundle.p), kept, sums)


def _of_mixed(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, kind: str, cluster: str | Array | None,
    data: pl.DataFrame | None, asked: str,
) -> tuple[Array, ClusterSums, int]:  # fmt: skip
    problem = MixedProblem.of(spec, bundle, fit, asked)
    codes, _ = cluster_codes(bundle, cluster, data, asked, problem=problem)
    assert fit.theta is not None
    kept = problem.kept
    with one_blas_thread():
        sums = cluster_sums(
            problem.X, problem.terms, problem.relative_factors(fit.theta), problem.y - problem.X @ fit.coef[kept],
            codes, fit.vcov[np.ix_(kept, kept)] / fit.sigma**2, weights=problem.weights, adjust=kind == "CR2",
        )  # fmt: skip
    return kept, sums, problem.n


def _of_independent(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, kind: str, cluster: str | Array | None,
    data: pl.DataFrame | None, asked: str,
) -> tuple[Array, ClusterSums, int]:  # fmt: skip
    """Of an lm or a glm: weights W and working residuals W^-1 score, the bread (X'WX)^-1."""
    if fit.is_separated:
        raise InferenceError(
            asked, "separated data: some coefficients are infinite, and no scatter says how far",
            "leave out or merge what separates; the fit's messages name it",
        )  # fmt: skip
    score, weight = score_and_weight(spec, bundle, fit)
    rows = None if np.all(weight > 0) else np.flatnonzero(weight > 0)
    codes, _ = cluster_codes(bundle, cluster, data, asked, rows=rows)
    kept = estimable(fit)
    X = bundle.X[:, kept]
    if rows is not None:
        X, score, weight = X[rows], score[rows], weight[rows]
    with one_blas_thread():
        inverse = solve_triangular(np.linalg.qr(np.sqrt(weight)[:, None] * X, mode="r"), np.eye(kept.size))
        sums = cluster_sums(
            X, (), (), score / weight, codes, inverse @ inverse.T, weights=weight, adjust=kind == "CR2"
        )
    return kept, sums, X.shape[0]
