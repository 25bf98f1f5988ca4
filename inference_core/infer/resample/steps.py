"""The arithmetic of one step for a whole batch of resamples, written once for NumPy's arrays and those of JAX.

Nothing here looks at a value to decide what to do next; that is the business of the drivers: ``lm_operators`` and
``glm_lanes`` with NumPy, where lanes leave the batch as they finish, ``lm_jax`` and ``glm_jax`` with JAX.
"""

from __future__ import annotations

import numpy as np

from inference_core.backends.namespace import is_numpy, namespace
from inference_core.families import Family
from inference_core.states.base import Array

from . import planes
from .robust import robust_variances


def least_squares_step(
    products: planes.Products, counts: Array, r: int, spare: Array | None, *, want_root: bool
) -> tuple[Array, Array, Array, Array, Array | None]:
    """Least squares of every resample from its counts (b, n).

    Parameters
    ----------
    products
        Of the r basis rows, then basis times residual, then residual squared.
    spare : (r,), optional
        1 in columns that only fill a shape.

    Returns
    -------
    delta : (r, b)
        Coefficients in the basis, from the full fit's.
    rss, total : (b,)
        Sums of squares after and before.
    worst : (b,)
        See :func:`planes.cholesky`.
    root : (r, r, b) or None
        M with M M' the inverse of the Gram matrix.
    """
    gram = planes.bordered(products.times(counts), r, spare)
    total = gram[r, r].copy()
    factor, worst = planes.cholesky(gram, r)
    delta = planes.back_substitute(factor, factor[r, :r].copy())
    return delta, factor[r, r], total, worst, planes.inverse_root(factor, r) if want_root else None


def least_squares_variances(
    products: planes.Products, residual: Array, r_inverse: Array, counts: Array, delta: Array, rss: Array, root: Array,
    size: Array, df: Array, r: int, *, errors: str,
) -> Array:  # fmt: skip
    """(r, b) squared standard errors of resamples of ``size`` rows; NaN where ``df`` (b,) is."""
    k, rows = root.shape[0], counts.shape[0]
    in_x = (r_inverse @ root.reshape(k, k * rows)).reshape(k, k, rows)  # R^-1 M
    if errors == "iid":
        return (in_x**2).sum(1) * (namespace(rss).maximum(rss, 0.0) / df)
    squares = (residual - (products.columns.T @ delta).T) ** 2
    return robust_variances(errors, counts, squares, 1.0, products, root, in_x, size, df, r)


def fisher_step(
    products: planes.Products, at_fit: Array, beta: Array, family: Family, y: Array, cases: Array, spare: Array | None,
    *, canonical: bool,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """One step of Fisher scoring of lanes at ``beta`` (b, r), in the basis and from the full fit.

    Parameters
    ----------
    products
        Of the basis rows.
    at_fit : (n,)
        Linear predictor of the full fit, the offset included.
    y : (n,) or (b, n)
    cases : (b, n)
        Counts times prior weights.
    canonical : bool
        Without it a row outside the resample may have an impossible mean: 0 times NaN would be NaN.

    Returns
    -------
    eta, score, weight : (b, n)
        The weights too, so that a loop may hold their pages until the next step wants as many.
    step : (b, r)
    decrement : (b,)
        Its squared length in standard errors.
    """
    eta = beta @ products.columns
    if is_numpy(eta):
        eta += at_fit
    else:
        eta = eta + at_fit
    s, w = family.score_weight(eta, y)
    if not canonical:
        s, w = drop_absent(s, w, cases)
    if is_numpy(s):
        s *= cases
        w *= cases
    else:
        s, w = s * cases, w * cases
    step, decrement, _ = solve(normal_equations(products, w, s), beta.shape[1], spare)
    return eta, s, w, step, decrement


def observed_step(
    products: planes.Products, eta: Array, score: Array, family: Family, y: Array, cases: Array, spare: Array | None
) -> tuple[Array, Array, Array, Array]:
    """A step with the observed information, by central differences of the score as in the single fit.

    Returns
    -------
    step : (b, r)
    decrement, worst : (b,)
    known : (b,) bool
        Whether the information is finite.
    """
    xp = namespace(eta)
    h = 1e-5 * xp.maximum(1e-3, xp.abs(eta))
    with np.errstate(all="ignore"):
        low, high = family.score_weight(eta - h, y)[0], family.score_weight(eta + h, y)[0]
        observed = xp.where(cases > 0, (low - high) / (2.0 * h), 0.0) * cases
    known = xp.isfinite(observed).all(1)
    if is_numpy(observed):  # in place: a choice between two arrays costs as much as an exponential
        observed[~known] = 0.0
    else:
        observed = xp.where(known[:, None], observed, 0.0)
    step, decrement, worst = solve(normal_equations(products, observed, score), products.columns.shape[0], spare)
    return step, decrement, worst, known


def glm_variances(
    products: planes.Products, at_fit: Array, r_inverse: Array, beta: Array, family: Family, y: Array, counts: Array,
    prior: Array | float, size: Array, df: Array, dispersion: Array | None, r: int, spare: Array | None, *, errors: str,
) -> Array:  # fmt: skip
    """(r, b) squared standard errors at the estimates ``beta`` (b, r) of resamples of ``size`` rows.

    Classical ones take ``dispersion`` (b,), or if that is None Pearson's chi-square over ``df`` (b,).
    """
    s, w = family.score_weight(beta @ products.columns + at_fit, y)
    xp, k = namespace(s), products.columns.shape[0]
    s, w = clean(s, w)
    factor, _ = planes.cholesky(planes.unpack(products.times(counts * (prior * w)), k, spare), k)
    root = planes.inverse_root(factor, k)
    in_x = (r_inverse @ root.reshape(k, -1)).reshape(root.shape)
    if errors == "iid":
        if dispersion is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                pearson = xp.where(w > 0, s * s / w, 0.0)
            dispersion = (counts * prior * pearson).sum(1) / df
        return (in_x**2).sum(1) * dispersion
    return robust_variances(errors, counts, (prior * s) ** 2, prior * w, products, root, in_x, size, df, r)


def clean(s: Array, w: Array) -> tuple[Array, Array]:
    """Score and weight with nothing in rows where the mean is impossible."""
    xp = namespace(s)
    fine = xp.isfinite(s) & xp.isfinite(w)
    return xp.where(fine, s, 0.0), xp.where(fine, w, 0.0)


def normal_equations(products: planes.Products, weights: Array, scores: Array) -> Array:
    """(q + r, b) packed information, and below it the score, of lanes with these weights and scores (b, n)."""
    return namespace(weights).concatenate([products.times(weights), products.columns @ scores.T])


def solve(packed: Array, r: int, spare: Array | None = None) -> tuple[Array, Array, Array]:
    """Fisher step (b, r), its squared length (b,) and the worst pivot (b,) from packed information and score."""
    factor, worst = planes.cholesky(planes.bordered(packed, r, spare), r)
    half = factor[r, :r]
    decrement = (half * half).sum(0)
    return planes.back_substitute(factor, half.copy()).T, decrement, worst


def drop_absent(s: Array, w: Array, cases: Array) -> tuple[Array, Array]:
    """Nothing from rows outside the resample: there an impossible mean matters to nobody (0 times NaN is NaN)."""
    absent = cases == 0
    if not is_numpy(s):
        xp = namespace(s)
        return xp.where(absent, 0.0, s), xp.where(absent, 0.0, w)
    s[absent], w[absent] = 0.0, 0.0
    return s, w
