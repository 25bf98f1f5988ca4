"""Unequal variances by cell (Welch): the covariance of lm coefficients and a Satterthwaite df for each.

A cell is a combination of levels of every factor in the model. With u_i the column of (X'X)^-1 X' that
belongs to row i,

    V = sum_c s_c^2 sum_{i in c} u_i u_i'
    df_j = (sum_c a_jc s_c^2)^2 / sum_c (a_jc s_c^2)^2 / nu_c,      a_jc = sum_{i in c} u_ij^2

where s_c^2 is the variance inside cell c. It comes from the model in which every cell has its own mean,
beside the numeric covariates of the model: with residuals e and leverages h of *that* model,

    s_c^2 = sum_{i in c} e_i^2 / nu_c,      nu_c = n_c - sum_{i in c} h_i

Without numeric covariates this is the plain variance of the cell with n_c - 1 degrees of freedom, so a
two-group slope is Welch's t test and a linear combination of cell means has the df (sum c_i^2 s_i^2/n_i)^2 /
sum (c_i^2 s_i^2/n_i)^2/(n_i - 1). With covariates each cell pays its share of what the covariates cost. Lack
of fit of an additive model does not inflate s_c^2.

Measured for the slope of g in y ~ g + x, SD 3 against 1, 4,000 data sets, coverage of 95 %: 94.1 (4 against 16
rows), 94.2 (10, 10), 94.5 (6, 30); HC3 with n - p degrees of freedom 91.8, 94.6, 92.4.

Sources: Welch (1938) Biometrika 29; Satterthwaite (1946) Biometrics Bulletin 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.linalg import solve_triangular

from inference_core.design.columns import is_text, to_factor
from inference_core.errors import InferenceError
from inference_core.solvers.lstsq import expand_square
from inference_core.states import Array, DataBundle, JointDf, ModelSpec

from .formula_utils import unwrap

ASKED = "errors='unequal_var'"
WAY_OUT = "errors='HC3' allows unequal variances without cells"
# A standard deviation below this share of the largest response is rounding, not scatter.
_NO_SCATTER = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of a model: ``of_row`` (n,) index into ``names``."""

    of_row: Array
    names: tuple[str, ...]


def check_welch(spec: ModelSpec, bundle: DataBundle) -> None:
    """Refuse a model that cell variances make no sense for.

    Raises
    ------
    InferenceError
        Not a linear model, weights, or no factor.
    """
    if spec.has_random_effects:
        found, remedy = "cell variances of mixed models are not built yet in this version", "errors='iid'"
    elif not spec.is_lm:
        found = f"a {spec.family} model with {spec.link} link: its variance follows from its mean, not a cell"
        remedy = "errors='HC0' to 'HC4' allow the scatter to differ"
    elif bundle.weights is not None:
        found, remedy = (
            "weights: they already say how the variance differs from row to row",
            f"drop one; {WAY_OUT}",
        )
    elif not bundle.factor_levels:
        found, remedy = "no factor in the model, so no cells to take variances of", WAY_OUT
    else:
        return
    raise InferenceError(asked=ASKED, found=found, remedy=remedy)


def welch_vcov_df(spec: ModelSpec, bundle: DataBundle, data: pl.DataFrame | None) -> tuple[Array, Array]:
    """Covariance (p, p) and degrees of freedom (p,) under a variance of its own in every cell.

    Parameters
    ----------
    spec, bundle
        A linear model with at least one factor, unweighted.
    data : polars.DataFrame
        All rows (``bundle.n_total``); only the factors' columns are read.

    Returns
    -------
    tuple of arrays
        NaN where the design dropped a column.

    Raises
    ------
    InferenceError
        No linear model, weights, no factor, or a cell with one row or no scatter.
    """
    check_welch(spec, bundle)
    cells = cells_of(bundle, data)
    y = bundle.y if bundle.offset is None else bundle.y - bundle.offset
    variance, dof = _cell_variances(bundle.X_estimable, y, cells)
    q, r_factor = np.linalg.qr(bundle.X_estimable)
    half = solve_triangular(r_factor, (q * variance[cells.of_row][:, None]).T @ q)
    vcov = solve_triangular(r_factor, half.T)
    weight = _cell_sums(solve_triangular(r_factor, q.T) ** 2, cells.of_row, len(cells.names))
    df = satterthwaite_df(weight * variance[:, None], dof)
    full_df = np.full(bundle.p, np.nan)
    full_df[bundle.rank_info.kept] = df
    return expand_square((vcov + vcov.T) / 2.0, bundle.rank_info.kept, bundle.p), full_df


def welch_row_df(spec: ModelSpec, bundle: DataBundle, data: pl.DataFrame | None, L: Array) -> Array:
    """(m,) degrees of freedom of rows of weights ``L`` (m, p), each matched to the cells it draws on."""
    check_welch(spec, bundle)
    cells = cells_of(bundle, data)
    y = bundle.y if bundle.offset is None else bundle.y - bundle.offset
    variance, dof = _cell_variances(bundle.X_estimable, y, cells)
    q, r_factor = np.linalg.qr(bundle.X_estimable)
    rows = L[:, bundle.rank_info.kept] @ solve_triangular(r_factor, q.T)
    weight = _cell_sums(rows**2, cells.of_row, len(cells.names))
    with np.errstate(invalid="ignore"):
        return satterthwaite_df(weight * variance[:, None], dof)


def welch_joint(spec: ModelSpec, bundle: DataBundle, data: pl.DataFrame | None, L: Array) -> JointDf:
    """Denominator and scale of the F of all rows of L (m, p) together under a variance of its own in every cell.

    With W the inverse of the rows' covariance, a sum of parts S_c of the cells with nu_c degrees of freedom:
    A = sum [(tr W S_c)^2 + tr (W S_c)^2] / (2 nu_c), F = (Lb)'W(Lb) / (m + 2 A - 6 A / (m + 2)) on m and
    m (m + 2) / (3 A). One-way it is Welch's (1951) test. Source: Johansen (1980), Biometrika 67.
    """
    check_welch(spec, bundle)
    cells = cells_of(bundle, data)
    y = bundle.y if bundle.offset is None else bundle.y - bundle.offset
    variance, dof = _cell_variances(bundle.X_estimable, y, cells)
    q, r_factor = np.linalg.qr(bundle.X_estimable)
    rows = L[:, bundle.rank_info.kept] @ solve_triangular(r_factor, q.T)
    parts = [
        variance[c] * rows[:, inside] @ rows[:, inside].T
        for c in range(len(cells.names))
        for inside in [cells.of_row == c]
    ]
    weight = np.linalg.inv(np.sum(parts, axis=0))
    m = len(L)
    A = sum(
        (np.trace(weight @ part) ** 2 + np.trace(weight @ part @ weight @ part)) / (2 * nu)
        for part, nu in zip(parts, dof, strict=True)
    )
    return JointDf(m, float(m * (m + 2) / (3 * A)), float(m / (m + 2 * A - 6 * A / (m + 2))))


def satterthwaite_df(parts: Array, dof: Array) -> Array:
    """(p,) degrees of freedom of a sum of independent scaled chi-squares.

    ``parts`` (cells, p) are the estimated contributions to each variance, ``dof`` (cells,) theirs. Matches
    the first two moments: (sum parts)^2 / sum (parts^2 / dof). Lies between the smallest and the sum of the
    ``dof`` that take part.
    """
    return parts.sum(axis=0) ** 2 / (parts**2 / dof[:, None]).sum(axis=0)


def cell_model(bundle: DataBundle, data: pl.DataFrame | None) -> tuple[Array, Array, Array]:
    """The model in which every cell has its own mean: basis (n, s), cell of each row (n,), nu_c (cells,).

    A variance s_c^2 is the sum of squared residuals outside that basis over nu_c, for any response.
    """
    cells = cells_of(bundle, data)
    count = _counts(cells)
    varying, dof = _beside_means(bundle.X_estimable, cells, count)
    means = np.zeros((bundle.n, count.size))
    means[np.arange(bundle.n), cells.of_row] = 1.0 / np.sqrt(count[cells.of_row])
    return np.hstack([means, varying]), cells.of_row, dof


def _counts(cells: Cells) -> Array:
    count = np.bincount(cells.of_row, minlength=len(cells.names)).astype(float)
    _refuse(cells, count < 2, "one row, so no variance")
    return count


def _beside_means(X: Array, cells: Cells, count: Array) -> tuple[Array, Array]:
    """Orthonormal basis of the columns that vary within cells, and nu_c (cells,)."""
    varying = _basis(_within(X, cells.of_row, count), scale=np.abs(X).max(axis=0))
    leverage = 1.0 / count[cells.of_row] + np.einsum("ij,ij->i", varying, varying)
    dof = count - np.bincount(cells.of_row, leverage, minlength=count.size)
    _refuse(cells, dof < 1e-6, "as many covariates as rows, so no variance")
    return varying, dof


def _cell_variances(X: Array, y: Array, cells: Cells) -> tuple[Array, Array]:
    """s_c^2 and nu_c, both (cells,), from a mean per cell beside the columns that vary within cells."""
    k = len(cells.names)
    count = _counts(cells)
    varying, dof = _beside_means(X, cells, count)
    residual = _within(y[:, None], cells.of_row, count)[:, 0]
    residual = residual - varying @ (varying.T @ residual)
    variance = np.bincount(cells.of_row, residual**2, minlength=k) / dof
    _refuse(
        cells,
        np.sqrt(variance) <= _NO_SCATTER * np.abs(y).max(),
        "the same response in every row, a variance of 0",
    )
    return variance, dof


def _within(columns: Array, of_row: Array, count: Array) -> Array:
    """Columns (n, m) less their cell means."""
    total = _cell_sums(columns.T, of_row, count.size)
    return columns - (total / count[:, None])[of_row]


def _cell_sums(rows: Array, of_row: Array, k: int) -> Array:
    """(k, m) sums within cells of each of m rows of numbers (m, n)."""
    return np.stack([np.bincount(of_row, row, minlength=k) for row in rows], axis=1)


def _basis(columns: Array, scale: Array) -> Array:
    """Orthonormal basis of the columns that vary beyond rounding."""
    columns = columns[:, np.abs(columns).max(axis=0) > 1e-9 * scale]
    if not columns.shape[1]:
        return columns
    u, s, _ = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), full_matrices=False)
    return u[:, s > 1e-7 * s[0]]


def _refuse(cells: Cells, bad: Array, why: str) -> None:
    if np.any(bad):
        named = [cells.names[i] for i in np.flatnonzero(bad)]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        raise InferenceError(asked=ASKED, found=f"{'; '.join(named[:3])}{more}: {why}", remedy=WAY_OUT)


def cells_of(bundle: DataBundle, data: pl.DataFrame | None) -> Cells:
    """The cells: combinations of levels, of every factor in the model, that occur in the rows kept."""
    of_row = np.zeros(bundle.n, int)
    names = [""]
    for factor in bundle.factor_levels:
        labels, codes = _levels_in_rows(factor, bundle, data)
        crossed, of_row = np.unique(of_row * len(labels) + codes, return_inverse=True)
        names = [_cell_name(names[i // len(labels)], unwrap(factor), labels[i % len(labels)]) for i in crossed]
    return Cells(of_row, tuple(names))


def _cell_name(before: str, factor: str, level: str) -> str:
    return f"{before}, {factor}={level}" if before else f"{factor}={level}"


def _levels_in_rows(factor: str, bundle: DataBundle, data: pl.DataFrame | None) -> tuple[list[str], Array]:
    """Labels that occur, and (n,) index into them; from the data, else from the factor's own columns."""
    variable = unwrap(factor)
    if data is not None and variable in data.columns:
        kept = data[variable].filter(pl.Series(bundle.valid_mask))
        found = to_factor(kept if is_text(kept) else kept.cast(pl.String)).used()
        return list(found.levels), found.codes
    terms = [i for i, term in enumerate(bundle.source_terms) if unwrap(term) == variable]
    columns = np.isin(bundle.term_of_column, terms)
    if not columns.any():
        raise InferenceError(
            asked=ASKED,
            found=f"the levels of {factor} cannot be read from the data",
            remedy=f"make it a column; {WAY_OUT}",
        )
    patterns, codes = np.unique(bundle.X[:, columns], axis=0, return_inverse=True)
    return [f"pattern {i + 1}" for i in range(len(patterns))], codes.reshape(-1)
