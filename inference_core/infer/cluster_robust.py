"""Cluster-robust covariance of the fixed effects of a linear mixed model: CR0, CR1 and CR2.

The bread is the model's own (X'V^-1X)^-1 and the residuals are marginal, y - Xb, as in R's clubSandwich. What is
estimated stays the GLS estimate; only its covariance no longer rests on V being right. Source: Bell & McCaffrey
(2002), Survey Methodology 28; Pustejovsky & Tipton (2018), J. Bus. Econ. Stat. 36.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.solvers.lmm.clusters import ClusterSums, cluster_sums
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, RandomBlock

from .outermost import is_within, outermost, rows_of_block
from .sandwich import CLUSTER_KINDS
from .spelling import nearest

MIN_CLUSTERS = 5


@dataclass(frozen=True, slots=True, eq=False)
class ClusterRobust:
    """A cluster-robust covariance and its degrees of freedom, p columns."""

    kind: str
    n_clusters: int
    vcov: Array  # (p, p) NaN where a column was dropped
    problem: MixedProblem
    sums: ClusterSums

    def df(self, L: Array | None = None) -> Array:
        """Satterthwaite degrees of freedom (m,) of contrast rows L (m, p), or of each coefficient.

        NaN for rows that touch estimable columns nowhere.
        """
        L = np.eye(self.problem.p) if L is None else L
        return self.sums.df(self.problem.contrast_rows(L, "degrees of freedom of contrasts"))


def cluster_robust(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    kind: str = "CR2",
    cluster: str | Array | None = None,
) -> ClusterRobust:
    """Cluster-robust covariance of the fixed effects.

    Parameters
    ----------
    spec, bundle, fit
        A fitted linear mixed model.
    kind : {"CR2", "CR1", "CR0"}
        CR2 corrects the residuals of each cluster so that the covariance is unbiased if the model is right; CR1 is CR0
        times J / (J - 1).
    cluster : str or (n,) array, optional
        A grouping factor of the model, or a label per row. Left out: the outermost grouping factor. Rows of
        different clusters must share no random effect.

    Returns
    -------
    ClusterRobust
        ``vcov`` and ``df(L)``.

    Raises
    ------
    InferenceError
        An unknown kind or factor; crossed factors without a cluster, or a cluster across which a random effect reaches;
        fewer than 5 clusters; a generalized mixed model.
    """
    asked = f"errors={kind!r}"
    if kind not in CLUSTER_KINDS:
        near = nearest(kind, CLUSTER_KINDS, "errors")
        raise InferenceError(
            asked, f"cluster-robust errors are {', '.join(CLUSTER_KINDS)}",
            f"did you mean {near!r}?" if near else "errors='CR2'",
        )  # fmt: skip
    if bundle.re_metadata is not None and (spec.family != "gaussian" or spec.link != "identity"):
        raise InferenceError(
            asked,
            f"a generalized mixed model ({spec.family}, {spec.link} link); these errors are built for linear ones",
            "leave errors out",
        )
    problem = MixedProblem.of(spec, bundle, fit, asked)
    codes, name = _clusters(problem, bundle, cluster, asked)
    _refuse_split_effects(problem, codes, name, asked)
    J = int(codes.max()) + 1
    if J < MIN_CLUSTERS:
        raise InferenceError(
            asked,
            f"{name} has {J} clusters; fewer than {MIN_CLUSTERS} say too little about the spread between them",
            "use the model's own errors, or how='boot'",
        )
    assert fit.theta is not None
    kept = problem.kept
    with one_blas_thread():
        sums = cluster_sums(
            problem.X, problem.terms, problem.relative_factors(fit.theta), problem.y - problem.X @ fit.coef[kept],
            codes, fit.vcov[np.ix_(kept, kept)] / fit.sigma**2, weights=problem.weights, adjust=kind == "CR2",
        )  # fmt: skip
    vcov = sums.vcov * (J / (J - 1.0) if kind == "CR1" else 1.0)
    return ClusterRobust(kind, J, expand_square(vcov, kept, problem.p), problem, sums)


def _clusters(
    problem: MixedProblem, bundle: DataBundle, cluster: str | Array | None, asked: str
) -> tuple[Array, str]:
    """Codes 0 .. J - 1 over the rows that count, and what to call them."""
    blocks = problem.re.blocks
    if cluster is None:
        codes, name = rows_of_block(problem, _outermost(problem, asked)), "the outermost grouping factor"
    elif isinstance(cluster, str):
        names = [block.group_name for block in blocks]
        if cluster not in names:
            near = nearest(cluster, names, "cluster")
            raise InferenceError(
                f"{asked} with cluster={cluster!r}",
                f"the grouping factors are {', '.join(names)}",
                f"did you mean {near!r}?" if near else "name one of them, or give a label per row",
            )
        codes, name = rows_of_block(problem, blocks[names.index(cluster)]), cluster
    else:
        labels = np.asarray(cluster)
        if labels.shape == (bundle.n_total,) and bundle.n_total != bundle.n:
            labels = labels[bundle.valid_mask]
        if labels.shape != (bundle.n,):
            raise InferenceError(
                f"{asked} with a cluster per row",
                f"{labels.shape[0] if labels.ndim else 0} labels for {bundle.n} rows",
                "give one label a row",
            )
        codes, name = labels if problem.rows is None else labels[problem.rows], "the cluster given"
    return np.unique(codes, return_inverse=True)[1].ravel(), name


def _outermost(problem: MixedProblem, asked: str) -> RandomBlock:
    block = outermost(problem)
    if block is None:
        names = ", ".join(problem.re.group_names)
        raise InferenceError(
            asked,
            f"the factors {names} are crossed: rows share random effects across any of them",
            "give cluster= a label per row within which all of them lie, or use how='boot'",
        )
    return block


def _refuse_split_effects(problem: MixedProblem, codes: Array, name: str, asked: str) -> None:
    for block in problem.re.blocks:
        if not is_within(rows_of_block(problem, block), codes):
            raise InferenceError(
                asked,
                f"levels of {block.group_name} lie in several clusters of {name}, so clusters are not independent",
                "choose a cluster that holds every grouping factor, or use how='boot'",
            )
