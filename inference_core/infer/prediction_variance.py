"""How far a linear predictor of a mixed model may lie from what it predicts, row by row.

With T the roots of the covariance of the random effects, W the weights at the modes, M = T'Z'WZT + I,
C = T M^-1 T' the variance of b given y, B = C Z'WX and V the covariance of the fixed effects, a row (x, z) of known
groups errs by

    z'Cz + (x - B'z)' V (x - B'z)

(Henderson 1975, Biometrics 31: the joint prediction variance of fixed and random effects), and a group that is new adds
z'TT'z. In a linear model everything is in units of sigma^2; degrees of freedom of a total variance match two moments
of it, as Satterthwaite's do (Kuznetsova, Brockhoff & Christensen 2017), its slopes by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_df import SPARSE, MixedDf, mixed_df
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.solvers.lmm.information import Information
from inference_core.solvers.lmm.information_crossed import terms_left
from inference_core.solvers.lmm.structure import canonical, free_entries, to_matrix, to_theta, whitening
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo
from inference_core.states.prediction import PredictionState

STEP = 1e-4  # of a coordinate of T near 1: truncation is its square, rounding 1e-12 over it
_CELLS = 1 << 22  # random effects times rows solved at once


@dataclass(frozen=True, eq=False)
class Errors:
    """Prediction variances of m rows on the scale of the linear predictor."""

    mean: Array  # (m,) of what ``fitted`` stands for: the population, or the row's own groups
    further: Array  # (m,) what the groups of a single new observation add to that
    known: Array  # (m,) whether some group of the row takes part with its own effects


@dataclass(frozen=True, eq=False)
class MixedRows:
    """Rows to predict beside the rows of the fit: what the variance is a function of, but for T."""

    re: REInfo
    X: Array  # (n, r) estimable columns of the fit
    W: Array  # (n,) weights, 0 for rows that do not count
    x: Array  # (m, r)
    z: tuple[Array, ...]  # (m, k) of each block
    group: tuple[Array, ...]  # (m,) -1 where new

    @classmethod
    def of(cls, spec: ModelSpec, bundle: DataBundle, fit: FitState, pred: PredictionState) -> MixedRows:
        """From a fitted mixed model and rows that have their random-effects columns."""
        assert pred.random is not None
        kept = np.flatnonzero(np.isfinite(fit.coef))
        W = fit.working_weights
        if spec.is_lmer:
            W = np.ones(bundle.n) if bundle.prior_weights is None else bundle.prior_weights
        conditional = pred.conditional
        groups = tuple(r.group_index if conditional else np.full(len(r.group_index), -1) for r in pred.random)
        return cls(
            bundle.re_metadata, bundle.X[:, kept], W, pred.X_pred[:, kept], tuple(r.X_re for r in pred.random), groups
        )

    def between(self, T: Sequence[Array]) -> Array:
        """(m,) z'TT'z of groups that are new."""
        total = np.zeros(len(self.x))
        for z, group, t in zip(self.z, self.group, T, strict=True):
            total += np.where(group < 0, np.square(z @ t).sum(1), 0.0)
        return total

    def of_means(self, T: Sequence[Array], vcov: Array | None) -> Array:
        """(m,) of the fixed part and known groups; ``vcov`` (r, r), or None for that of the linear model at T."""
        with one_blas_thread():
            if len(self.re.blocks) == 1:
                return self._one_factor(T[0], vcov)
            return self._several(T, vcov)

    def _one_factor(self, T: Array, vcov: Array | None) -> Array:
        (block,) = self.re.blocks
        A, B0 = self._crossproducts
        M = np.einsum("ba,jbc,cd->jad", T, A, T, optimize=True) + np.eye(block.k)
        C = np.einsum("ab,jbc,dc->jad", T, np.linalg.inv(M), T, optimize=True)
        shift = C @ B0  # (J, k, r)
        fixed = vcov
        if fixed is None:
            fixed = np.linalg.inv(self._XWX - np.einsum("jap,jaq->pq", B0, shift, optimize=True))
        group, z = self.group[0], self.z[0]
        known = group >= 0
        at = np.where(known, group, 0)
        zk = np.where(known[:, None], z, 0.0)
        turned = self.x - np.einsum("ma,map->mp", zk, shift[at])
        own = np.einsum("ma,mab,mb->m", zk, C[at], zk, optimize=True)
        return own + np.einsum("mp,pq,mq->m", turned, fixed, turned, optimize=True)

    def _several(self, T: Sequence[Array], vcov: Array | None) -> Array:
        import scipy.sparse as sp
        from scipy.sparse.linalg import splu

        S = sp.block_diag([sp.kron(sp.eye(b.n_levels), t) for b, t in zip(self.re.blocks, T, strict=True)], "csc")
        ZS = (sp.diags(np.sqrt(self.W)) @ self._Z @ S).tocsc()
        system = (ZS.T @ ZS + sp.eye(self.re.q)).tocsc()
        factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        root = np.sqrt(self.W)[:, None] * self.X
        right = np.asarray(ZS.T @ root)
        solved = factor.solve(right)  # M^-1 T'Z'WX
        fixed = np.linalg.inv(root.T @ root - right.T @ solved) if vcov is None else vcov
        zS = (self._rows_of_z @ S).tocsr()
        turned = self.x - zS @ solved
        own = np.zeros(len(self.x))
        if not any(np.any(group >= 0) for group in self.group):
            return np.einsum("mp,pq,mq->m", self.x, fixed, self.x, optimize=True)
        step = max(1, _CELLS // self.re.q)
        for at in range(0, len(own), step):
            part = zS[at : at + step].toarray()
            own[at : at + step] = np.einsum("mq,qm->m", part, factor.solve(np.ascontiguousarray(part.T)))
        return own + np.einsum("mp,pq,mq->m", turned, fixed, turned, optimize=True)

    @cached_property
    def _crossproducts(self) -> tuple[Array, Array]:
        """Z'WZ (J, k, k) and Z'WX (J, k, r) of each level of the one block."""
        (block,) = self.re.blocks
        Z, g, J, k = block.X_re, block.group_index, block.n_levels, block.k
        A, B0 = np.empty((J, k, k)), np.empty((J, k, self.X.shape[1]))
        for a in range(k):
            wz = self.W * Z[:, a]
            for b in range(k):
                A[:, a, b] = np.bincount(g, weights=wz * Z[:, b], minlength=J)
            for c in range(self.X.shape[1]):
                B0[:, a, c] = np.bincount(g, weights=wz * self.X[:, c], minlength=J)
        return A, B0

    @cached_property
    def _XWX(self) -> Array:
        return self.X.T @ (self.W[:, None] * self.X)

    @cached_property
    def _Z(self) -> Any:
        return self.re.z_matrix().tocsr()

    @cached_property
    def _rows_of_z(self) -> Any:
        """(m, q) sparse, 0 for new groups."""
        import scipy.sparse as sp

        parts = []
        for block, z, group in zip(self.re.blocks, self.z, self.group, strict=True):
            m, k = z.shape
            known = group >= 0
            columns = np.where(known, group, 0)[:, None] * k + np.arange(k)
            values = np.where(known[:, None], z, 0.0)
            indptr = np.arange(0, m * k + 1, k)
            parts.append(sp.csr_matrix((values.ravel(), columns.ravel(), indptr), shape=(m, block.q)))
        return sp.hstack(parts, format="csr")


def mixed_errors(spec: ModelSpec, bundle: DataBundle, fit: FitState, pred: PredictionState) -> Errors:
    """Prediction variances at the fit: rows of a mixed model that have their random-effects columns."""
    rows = MixedRows.of(spec, bundle, fit, pred)
    assert fit.theta is not None
    T = [t * fit.sigma for t in rows.re.t_matrices(fit.theta)]
    between = rows.between(T)
    kept = np.flatnonzero(np.isfinite(fit.coef))
    vcov = fit.vcov[np.ix_(kept, kept)]
    known = np.logical_or.reduce([g >= 0 for g in rows.group])
    if not pred.conditional:
        mean = np.einsum("mp,pq,mq->m", rows.x, vcov, rows.x)
        return Errors(mean, between, known)
    if spec.is_lmer:
        own = fit.sigma**2 * rows.of_means([t / fit.sigma for t in T], vcov / fit.sigma**2)
    else:
        own = rows.of_means(T, vcov)
    return Errors(own + between, np.zeros(len(between)), known)


@dataclass(frozen=True, eq=False)
class TotalDf:
    """Degrees of freedom of prediction variances of a linear mixed model: one for the mean, one with the noise."""

    mean: Array  # (m,)
    total: Array  # (m,) of a single new observation


def total_df(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, pred: PredictionState, noise: Array | None
) -> TotalDf:
    """Degrees of freedom (m,) of the variance of the mean, and of that plus new groups plus noise.

    noise (m,) is the variance of a new observation in units of sigma^2, 1 / w; None where it is not known.

    Raises
    ------
    InferenceError
        A model too large for degrees of freedom.
    """
    if spec.method == "ml":  # the method is for REML
        assert fit.theta is not None
        spec = replace(spec, method="reml")
        fit = fit_lmer(spec, bundle, start=bundle.re_metadata.t_matrices(fit.theta))
    rows = MixedRows.of(spec, bundle, fit, pred)
    found = mixed_df(spec, bundle, fit)
    to_T, start = _coordinates(found, fit)
    further = np.zeros(len(rows.x)) if noise is None else noise

    def parts(theta: Array) -> Array:
        T = to_T(theta)
        between = rows.between(T)
        own = rows.of_means(T, None)
        return np.stack([own + between if pred.conditional else own, own + between + further])

    at = parts(start)
    slopes = [(parts(start + step) - parts(start - step)) / (2.0 * STEP) for step in STEP * np.eye(start.size)]
    g = np.stack([*slopes, 2.0 * at])  # sigma^2 scales all of it
    with np.errstate(invalid="ignore", divide="ignore"):
        df = 2.0 * at**2 / np.einsum("kvm,kl,lvm->vm", g, found.vcov_varpar, g, optimize=True)
    return TotalDf(df[0], df[1])


def _coordinates(found: MixedDf, fit: FitState) -> tuple[Callable[[Array], list[Array]], Array]:
    """From the coordinates of the asymptotic covariance of T to T in the units of the data, and where the fit is."""
    problem = found.problem
    assert fit.theta is not None
    T = list(problem.relative_factors(fit.theta))
    if problem.is_one_factor:
        design = problem.group_design()
        return (lambda theta: [design.t_outside(theta[None])[0]]), design.theta_inside(T[0][None])[0]
    terms = problem.terms
    root = 1.0 if problem.weights is None else np.sqrt(problem.weights)[:, None]
    factors = [whitening(term.Z * root, term.mask) for term in terms]
    if problem.re.q > SPARSE and isinstance(found.moves, Information):
        return _scalar_coordinates(problem, T, factors)
    entries = [free_entries(term.mask) for term in terms]
    stops = np.cumsum([len(free) for free in entries])[:-1]
    inside = [
        to_theta(canonical(R @ t, term.mask)[None], free)[0]
        for R, t, term, free in zip(factors, T, terms, entries, strict=True)
    ]

    def to_T(theta: Array) -> list[Array]:
        parts = np.split(theta, stops)
        return [
            np.linalg.solve(R, to_matrix(part[None], free, term.k)[0])
            for R, part, free, term in zip(factors, parts, entries, terms, strict=True)
        ]

    return to_T, np.concatenate(inside)


def _scalar_coordinates(
    problem: MixedProblem, T: list[Array], factors: list[Array]
) -> tuple[Callable[[Array], list[Array]], Array]:
    """One effect each and many levels: the factors that vary, in the order of ``information_of_scalars``."""
    theta = np.array([t[0, 0] for t in T])
    left = terms_left(problem.terms, theta, problem.weights)
    unit = np.ones(len(left)) if len(left) > 1 else np.array([1.0 / factors[left[0]][0, 0]])

    def to_T(at: Array) -> list[Array]:
        out = [np.zeros((1, 1)) for _ in T]
        for i, value in zip(left, at * unit, strict=True):
            out[i] = np.array([[value]])
        return out

    return to_T, np.abs(theta[left]) / unit
