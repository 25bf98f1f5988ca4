"""Least squares for every resample at once: counts, one matrix product, one factorisation across the batch.

With c the counts of one resample and q_i the rows of an orthonormal basis of the (weighted) design, its Gram matrix is
``sum_i c_i q_i q_i'``: linear in c. All resamples together are one product ``counts @ products``. The right-hand side
holds the residuals of the full fit instead of y, so that a large mean of y costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.backends import chosen_backend
from inference_core.errors import DataError, InferenceError
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle
from inference_core.states.inference import DRAW_OK, DRAW_RANK_DEFICIENT

from . import planes
from .common import refit_indices
from .rank import CHUNK_VALUES, chunk_rows, estimable_columns, passes_rank_rule, widen
from .robust import check_errors
from .steps import least_squares_step, least_squares_variances

if TYPE_CHECKING:
    from .lm_jax import JaxLm

__all__ = ["LmKernel", "build_lm_coefficient_operator", "compute_batched_ols_bootstrap"]

# A pivot is 1 - R^2 of a column on the earlier ones, inside the resample. Cholesky loses about eps / pivot, so below
# this it might miss the 1e-9 that the batch owes a single fit; those resamples are redone by QR.
SAFE_PIVOT = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class LmKernel(Frozen):
    """Refits one linear model on any batch of resamples given as counts; a pure function of its counts.

    n rows, p design columns of which r are estimable; all row quantities are scaled by the root of the weight.
    """

    threads: ClassVar[bool] = True  # suit it: it is matrix products, outside the interpreter's lock
    n: int
    p: int
    kept: Array  # (r,) positions of the estimable columns
    coef: Array  # (r,) the full fit
    design: Array  # (n, r) X sqrt(w), the estimable columns
    basis: Array  # (r, n) orthonormal rows spanning the design: X sqrt(w) = basis' R
    r_inverse: Array  # (r, r) R^-1
    residual: Array  # (n,) of the full fit
    products: planes.Products  # of basis rows, then basis times residual, then residual squared
    counted: Array | None  # (n,) 1 where the weight is positive, or None: all are
    want_se: bool = False
    errors: str = "iid"
    jax: JaxLm | None = None  # what runs the steps instead of NumPy

    @classmethod
    def from_arrays(
        cls,
        X: Array,
        y: Array,
        *,
        weights: Array | None = None,
        offset: Array | None = None,
        kept: Array | None = None,
        want_se: bool = False,
        errors: str = "iid",
    ) -> LmKernel:
        """Factorise the full fit of ``y - offset`` on the columns ``kept`` of X (all that R would keep, if None).

        Raises
        ------
        InferenceError
            For an ``errors`` that a resample has no standard error for.
        """
        check_errors(errors, "linear model")
        X, response = np.asarray(X, float), np.asarray(y, float)
        n, p = X.shape
        if kept is None:
            kept = estimable_columns(X, weights)
        target = response if offset is None else response - offset
        design = X[:, kept]
        if weights is not None:
            root = np.sqrt(weights)
            design, target = design * root[:, None], target * root
        q, r = np.linalg.qr(design)
        scores = q.T @ target
        residual = target - q @ scores
        residual -= q @ (q.T @ residual)  # once more: the residual's own rounding, not y's
        r_inverse = solve_triangular(r, np.eye(len(r)))
        basis = np.ascontiguousarray(q.T)
        products = planes.Products.of(basis, np.concatenate([basis * residual, [residual**2]]))
        counted = None if weights is None or np.all(weights > 0) else (np.asarray(weights) > 0).astype(float)
        jax = None
        if chosen_backend() == "jax":
            from .lm_jax import JaxLm

            jax = JaxLm.of(basis, residual, r_inverse, want_se, errors)
        return cls(n, p, np.asarray(kept), r_inverse @ scores, design, basis, r_inverse, residual, products, counted,
                   want_se, errors, jax)  # fmt: skip

    @classmethod
    def from_bundle(
        cls, bundle: DataBundle, *, kept: Array | None = None, want_se: bool = False, errors: str = "iid"
    ) -> LmKernel:
        """The kernel of a model's data; weights, offset and dropped columns take part.

        ``kept`` are the columns that the fit could estimate, where rows of weight 0 make them fewer than the design's.
        """
        return cls.from_arrays(
            bundle.X, bundle.y, weights=bundle.prior_weights, offset=bundle.offset,
            kept=bundle.rank_info.kept if kept is None else kept, want_se=want_se, errors=errors,
        )  # fmt: skip

    @property
    def chunk_rows(self) -> int:
        """Resamples of one call, a power of two: the working set stays near the cache, products are read seldom."""
        return chunk_rows(self.n, self.kept.size) if self.jax is None else self.jax.chunk_rows

    def refit(self, counts: Array) -> tuple[Array, Array, Array | None]:
        """Refit on resamples given as counts (b, n).

        Returns
        -------
        coef : (b, p)
            NaN in columns that the full fit drops, and in whole rows of rank-deficient resamples.
        status : (b,) int8
            0, or the code of a rank-deficient resample.
        se : (b, p) or None
            Standard errors of each resample by ``errors``, if the kernel was built with ``want_se``.
        """
        with one_blas_thread():
            return self._refit(counts)

    def _refit(self, counts: Array) -> tuple[Array, Array, Array | None]:
        r, rows = self.kept.size, counts.shape[0]
        if self.jax is None:
            delta, rss, total, worst, root = least_squares_step(self.products, counts, r, None, want_root=self.want_se)
        else:
            delta, rss, total, worst, root = self.jax.step(counts)
        status = np.full(rows, DRAW_OK, np.int8)
        redo = np.flatnonzero(~(worst > SAFE_PIVOT))
        if redo.size:
            self._redo(counts, redo, delta, rss, root, status)
        fitted = self.coef + (self.r_inverse @ delta).T
        if root is not None:
            self._sharpen(counts, delta, rss, total)
        se = None if root is None else np.sqrt(self._variances(counts, delta, rss, root)).T
        failed = status != DRAW_OK
        if failed.any():
            fitted[failed] = np.nan
            if se is not None:
                se[failed] = np.nan
        return widen(fitted, self.kept, self.p), status, None if se is None else widen(se, self.kept, self.p)

    def _redo(self, counts: Array, redo: Array, delta: Array, rss: Array, root: Array | None, status: Array) -> None:
        """Replace the answers of ill-conditioned resamples by those of QR, or mark them as rank-deficient.

        R's rule looks at the columns of X in their own order and units, so the rank is judged on X itself (where a
        level that was not drawn is a column of exact zeros; in the basis it is one of rounding errors), and the
        solution is taken in the orthonormal basis.
        """
        step = max(1, CHUNK_VALUES // (self.n * max(self.kept.size, 1)))
        for at in range(0, redo.size, step):
            take = redo[at : at + step]
            scale = np.sqrt(counts[take])[:, :, None]
            keeps = passes_rank_rule(scale * self.design)
            status[take[~keeps]] = DRAW_RANK_DEFICIENT
            delta[:, take[~keeps]] = 0.0  # becomes a NaN row at the end; until then arithmetic should stay quiet
            if root is not None:
                root[:, :, take[~keeps]] = 0.0
            take, scale = take[keeps], scale[keeps]
            q, r = np.linalg.qr(scale * self.basis.T)
            inverse = np.linalg.inv(r)
            residual = scale[:, :, 0] * self.residual
            delta[:, take] = (inverse @ (q.transpose(0, 2, 1) @ residual[:, :, None]))[:, :, 0].T
            rss[take] = ((residual - (scale * self.basis.T @ delta[:, take].T[:, :, None])[:, :, 0]) ** 2).sum(1)
            if root is not None:
                root[:, :, take] = inverse.transpose(1, 2, 0)

    def _sharpen(self, counts: Array, delta: Array, rss: Array, total: Array) -> None:
        """Residual sums of squares of nearly exact fits again, from the residuals; the difference lost its digits.

        A resample with as many distinct rows as columns is fitted exactly: its residual is 0, and so is its error.
        """
        small = np.flatnonzero(~(rss > 1e-4 * total))
        if small.size:
            exact = (counts[small] * (self.residual - delta[:, small].T @ self.basis) ** 2).sum(1)
            rss[small] = np.where(exact > 1e-24 * total[small], exact, 0.0)

    def _variances(self, counts: Array, delta: Array, rss: Array, root: Array) -> Array:
        """(r, b) squared standard errors; NaN where a resample leaves no residual degrees of freedom."""
        r, rows = self.kept.size, counts.shape[0]
        size = np.full(rows, float(self.n)) if self.counted is None else counts @ self.counted
        df = np.where(size > r, size - r, np.nan)
        if self.jax is not None:
            return self.jax.variances(counts, delta, rss, root, size, df)
        return least_squares_variances(self.products, self.residual, self.r_inverse, counts, delta, rss, root, size, df,
                                       r, errors=self.errors)  # fmt: skip


def build_lm_coefficient_operator(X: Array, method: Literal["cholesky", "qr"] = "cholesky") -> Callable[[Array], Array]:
    """Factorise a design once and return the linear map from responses to coefficients.

    Parameters
    ----------
    X : (n, p)
        Design of full column rank for ``"cholesky"``; ``"qr"`` also takes a rank-deficient one and gives NaN to the
        columns that R drops.
    method : {"cholesky", "qr"}
        ``"cholesky"`` factorises X'X (half the work); ``"qr"`` factorises X (twice the digits).

    Returns
    -------
    callable
        ``operator(Y)`` maps (n,) to (p,), or (n, m) to (p, m): one product for all m responses.

    Raises
    ------
    DataError
        If X'X is not positive definite and ``method="cholesky"``, or for a response of another length.
    InferenceError
        For another method.
    """
    X = np.asarray(X, float)
    n, p = X.shape
    if method == "cholesky":
        mapping = _cholesky_map(X)
    elif method == "qr":
        kept = estimable_columns(X)
        q, r = np.linalg.qr(X[:, kept])
        mapping = np.full((p, n), np.nan)
        mapping[kept] = solve_triangular(r, q.T)
    else:
        raise InferenceError(
            asked=f"build_lm_coefficient_operator(method={method!r})",
            found="the factorisations are 'cholesky' and 'qr'",
            remedy="method='qr' is the careful one",
        )

    def operator(Y: Array) -> Array:
        Y = np.asarray(Y, float)
        if Y.shape[0] != n:
            raise DataError(
                asked=f"coefficients of a response with {Y.shape[0]} rows",
                found=f"the design has {n} rows",
                remedy="one response value a row of the design",
            )
        return mapping @ Y

    return operator


def _cholesky_map(X: Array) -> Array:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        return cho_solve(cho_factor(X.T @ X), X.T)
    except LinAlgError:
        raise DataError(
            asked="a Cholesky factor of X'X",
            found="the columns of X are linearly dependent",
            remedy="method='qr' drops the later of two dependent columns",
        ) from None


def compute_batched_ols_bootstrap(
    boot_indices: Array,
    X: Array,
    y: Array,
    chunk_size: int | None = None,
    *,
    weights: Array | None = None,
    offset: Array | None = None,
) -> Array:
    """Least-squares coefficients of every resample.

    Parameters
    ----------
    boot_indices : (n_boot, m) int
        Row numbers of each resample; m is n for a bootstrap, less for a subsample.
    X : (n, p)
        Design.
    y : (n,)
        Response.
    chunk_size : int, optional
        Resamples held in memory at once; changes no digit that matters, only speed.
    weights, offset : (n,), optional
        Prior weights and offset; drawn together with their rows.

    Returns
    -------
    (n_boot, p)
        NaN in whole rows of rank-deficient resamples, and in columns that the full fit drops.
    """
    kernel = LmKernel.from_arrays(X, y, weights=weights, offset=offset)
    return refit_indices(kernel, boot_indices, chunk_size)[0]
