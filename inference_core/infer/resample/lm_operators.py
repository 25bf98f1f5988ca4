"""Least squares for every resample at once: counts, one matrix product, one factorisation across the batch.

With c the counts of one resample and q_i the rows of an orthonormal basis of the (weighted) design, its Gram matrix is
``sum_i c_i q_i q_i'``: linear in c. All resamples together are one product ``counts @ products``. The right-hand side
holds the residuals of the full fit instead of y, so that a large mean of y costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.linalg import solve_triangular

from ...errors import DataError, InferenceError
from ...states.base import Array, Frozen
from ...states.bundle import DataBundle
from ...states.inference import DRAW_OK, DRAW_RANK_DEFICIENT
from . import planes
from .blas import one_thread

__all__ = ["LmKernel", "build_lm_coefficient_operator", "compute_batched_ols_bootstrap"]

# A pivot is 1 - R^2 of a column on the earlier ones, inside the resample. Cholesky loses about eps / pivot, so below
# this it might miss the 1e-9 that the batch owes a single fit; those resamples are redone by QR.
SAFE_PIVOT = 1e-5
# R's rule (LINPACK dqrdc2): a column whose norm falls below this share of itself is a combination of earlier ones.
RANK_TOL = 1e-7
# Doubles of one (chunk, n) array: 1 MiB.
CHUNK_VALUES = 1 << 17
ROBUST = ("HC0", "HC1", "HC2", "HC3", "HC4")


@dataclass(frozen=True, slots=True, eq=False)
class LmKernel(Frozen):
    """Refits one linear model on any batch of resamples given as counts; a pure function of its counts.

    n rows, p design columns of which r are estimable; all row quantities are scaled by the root of the weight.
    """

    n: int
    p: int
    kept: Array  # (r,) positions of the estimable columns
    coef: Array  # (r,) the full fit
    basis: Array  # (r, n) orthonormal rows spanning the design: X sqrt(w) = basis' R
    r_inverse: Array  # (r, r) R^-1
    residual: Array  # (n,) of the full fit
    products: Array  # (q, n) products of basis rows, then basis times residual, then residual squared
    counted: Array | None  # (n,) 1 where the weight is positive, or None: all are
    want_se: bool = False
    errors: str = "iid"

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
        if errors != "iid" and errors not in ROBUST:
            raise InferenceError(
                asked=f"errors={errors!r} inside each resample of a linear model",
                found=f"a resample has standard errors of type iid, {', '.join(ROBUST)}",
                remedy="errors='HC3' allows for unequal variances",
            )
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
        products = np.concatenate([planes.column_products(basis), basis * residual, [residual**2]])
        counted = None if weights is None or np.all(weights > 0) else (np.asarray(weights) > 0).astype(float)
        return cls(n, p, np.asarray(kept), r_inverse @ scores, basis, r_inverse, residual, products, counted,
                   want_se, errors)  # fmt: skip

    @classmethod
    def from_bundle(cls, bundle: DataBundle, *, want_se: bool = False, errors: str = "iid") -> LmKernel:
        """The kernel of a model's data; weights, offset and dropped columns take part."""
        return cls.from_arrays(
            bundle.X, bundle.y, weights=bundle.prior_weights, offset=bundle.offset, kept=bundle.rank_info.kept,
            want_se=want_se, errors=errors,
        )  # fmt: skip

    @property
    def chunk_rows(self) -> int:
        """Resamples of one call, a power of two: the working set stays near the cache, products are read seldom."""
        return chunk_rows(self.n, self.kept.size)

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
        with one_thread():
            return self._refit(counts)

    def _refit(self, counts: Array) -> tuple[Array, Array, Array | None]:
        r, rows = self.kept.size, counts.shape[0]
        gram, worst = planes.cholesky(self._gram(counts), r)
        delta = planes.back_substitute(gram, gram[r, :r].copy())
        rss = gram[r, r]
        root = planes.inverse_root(gram, r) if self.want_se else None
        status = np.full(rows, DRAW_OK, np.int8)
        redo = np.flatnonzero(~(worst > SAFE_PIVOT))
        if redo.size:
            self._redo(counts, redo, delta, rss, root, status)
        fitted = self.coef + (self.r_inverse @ delta).T
        se = None if root is None else np.sqrt(self._variances(counts, delta, rss, root)).T
        failed = status != DRAW_OK
        if failed.any():
            fitted[failed] = np.nan
            if se is not None:
                se[failed] = np.nan
        return self.widen(fitted), status, None if se is None else self.widen(se)

    def _gram(self, counts: Array) -> Array:
        """(r + 1, r + 1, b) cross-products of basis and residual, one matrix product for the batch."""
        packed = self.products @ counts.T
        r = self.kept.size
        n_pairs = r * (r + 1) // 2
        full = np.empty((r + 1, r + 1, counts.shape[0]))
        where = planes.unpacking(r)
        for j in range(r):  # the lower triangle is all that the factorisation reads
            full[j:r, j] = packed[where[j:, j]]
        full[r] = packed[n_pairs:]
        return full

    def _redo(self, counts: Array, redo: Array, delta: Array, rss: Array, root: Array | None, status: Array) -> None:
        """Replace the answers of ill-conditioned resamples by those of QR, or mark them as rank-deficient.

        R's rule looks at the columns of X in their own order and units, so the rank is judged on X, the solution is
        taken in the orthonormal basis.
        """
        step = max(1, CHUNK_VALUES // (self.n * max(self.kept.size, 1)))
        r_factor = np.linalg.inv(self.r_inverse)
        for at in range(0, redo.size, step):
            take = redo[at : at + step]
            scale = np.sqrt(counts[take])[:, :, None]
            q, r = np.linalg.qr(scale * self.basis.T)
            in_x = r @ r_factor  # X sqrt(c w) = q r R
            norms = np.sqrt((in_x**2).sum(1))
            pivots = np.abs(np.einsum("bii->bi", np.linalg.qr(in_x, mode="r")))
            full_rank = (pivots > RANK_TOL * norms).all(1) & (pivots > 0).all(1)
            status[take[~full_rank]] = DRAW_RANK_DEFICIENT
            take, q, r, scale = take[full_rank], q[full_rank], r[full_rank], scale[full_rank]
            inverse = np.linalg.inv(r)
            residual = scale[:, :, 0] * self.residual
            delta[:, take] = (inverse @ (q.transpose(0, 2, 1) @ residual[:, :, None]))[:, :, 0].T
            rss[take] = ((residual - (scale * self.basis.T @ delta[:, take].T[:, :, None])[:, :, 0]) ** 2).sum(1)
            if root is not None:
                root[:, :, take] = inverse.transpose(1, 2, 0)

    def _variances(self, counts: Array, delta: Array, rss: Array, root: Array) -> Array:
        """(r, b) squared standard errors; NaN where a resample leaves no residual degrees of freedom."""
        r, rows = self.kept.size, counts.shape[0]
        size = np.full(rows, float(self.n)) if self.counted is None else counts @ self.counted
        df = np.where(size > r, size - r, np.nan)
        in_x = (self.r_inverse @ root.reshape(r, r * rows)).reshape(r, r, rows)  # R^-1 M
        if self.errors == "iid":
            return (in_x**2).sum(1) * (np.maximum(rss, 0.0) / df)
        bread = np.einsum("ikb,jkb->ijb", in_x, root)  # R^-1 G^-1
        squares = self._meat_weights(counts, delta, root, size, df)
        meat = (self.products[: r * (r + 1) // 2] @ squares.T)[planes.unpacking(r)]
        return np.einsum("ikb,klb,ilb->ib", bread, meat, bread, optimize=True)

    def _meat_weights(self, counts: Array, delta: Array, root: Array, size: Array, df: Array) -> Array:
        """(b, n) counts times squared residuals with the correction that ``errors`` names.

        A row drawn c times is c rows with one leverage; a row that fixes its own value (leverage 1) has no HC2 to
        HC4, so that resample has none.
        """
        squares = counts * (self.residual - (self.basis.T @ delta).T) ** 2
        if self.errors == "HC0":
            return squares
        if self.errors == "HC1":
            return squares * (size / df)[:, None]
        inverse = np.einsum("ikb,jkb->ijb", root, root)
        rows, cols = planes.triangle(self.kept.size)
        packed = inverse[rows, cols] * np.where(rows == cols, 1.0, 2.0)[:, None]
        leverage = packed.T @ self.products[: rows.size]
        if self.errors == "HC4":
            power: Any = np.minimum(4.0, size[:, None] * leverage / self.kept.size)
        else:
            power = 1.0 if self.errors == "HC2" else 2.0
        spare = 1.0 - leverage
        spare = np.where(spare > 1e-8, spare, np.where(counts > 0, np.nan, 1.0))
        return squares / spare**power

    def widen(self, values: Array) -> Array:
        """(b, p) with NaN in the columns that the full fit drops."""
        if self.kept.size == self.p:
            return values
        wide = np.full((values.shape[0], self.p), np.nan)
        wide[:, self.kept] = values
        return wide


def chunk_rows(n: int, r: int) -> int:
    """Resamples of n rows and r columns that are best refitted together, a power of two.

    Some 131,000 counts; 64 resamples at least, while they stay below 32 MiB, so that the products of columns are read
    seldom; 2^20 entries of Gram matrices at most.
    """
    wanted = max(CHUNK_VALUES // n, min(64, (1 << 22) // n), 1)
    return 1 << (min(wanted, max((1 << 20) // max(r, 1) ** 2, 1)).bit_length() - 1)


def estimable_columns(X: Array, weights: Array | None = None) -> Array:
    """Positions of the columns that R keeps: a column that earlier ones explain to 1e-7 goes."""
    from ...solvers.lstsq import rank_of_design

    scaled = X if weights is None else X * np.sqrt(weights)[:, None]
    return np.asarray(rank_of_design(scaled).kept)


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
    from .common import refit_indices

    kernel = LmKernel.from_arrays(X, y, weights=weights, offset=offset)
    return refit_indices(kernel, boot_indices, chunk_size)[0]
