"""Standard errors inside each resample: heteroskedasticity-consistent, for lm and glm alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.backends.namespace import namespace
from inference_core.errors import InferenceError
from inference_core.states.base import Array

from . import planes

ROBUST = ("HC0", "HC1", "HC2", "HC3", "HC4")


def check_errors(errors: str, kind: str) -> None:
    """Refuse an ``errors`` that a single resample has no standard error for."""
    if errors != "iid" and errors not in ROBUST:
        raise InferenceError(
            asked=f"errors={errors!r} inside each resample of a {kind}",
            found=f"a resample has standard errors of type iid, {', '.join(ROBUST)}",
            remedy="errors='HC3' allows for unequal variances",
        )


def robust_variances(
    errors: str,
    counts: Array,
    squares: Array,
    weights: Array | float,
    products: planes.Products,
    root: Array,
    in_x: Array,
    size: Array,
    df: Array,
    rank: int,
) -> Array:
    """(r, b) sandwich variances R^-1 G^-1 (sum c_i u_i q_i q_i') G^-1 R^-T of every resample.

    A row drawn c times is c rows, each with its own share; a row that fixes its own value (leverage 1) leaves the
    resample without HC2 to HC4.

    Parameters
    ----------
    errors : {"HC0", "HC1", "HC2", "HC3", "HC4"}
    counts : (b, n)
    squares : (b, n)
        Squared scores of one copy of each row.
    weights : (b, n) or 1
        Working weight of one copy of each row: times q'G^-1 q it is the leverage.
    products
        Of the basis.
    root, in_x : (r, r, b)
        M with M M' = G^-1, and R^-1 M.
    size, df : (b,)
        Rows that count, and residual degrees of freedom.
    rank : int
        Columns; ``root`` may have more, which only fill a shape.
    """
    r, xp = root.shape[0], namespace(root)
    meat_weights = counts * squares
    if errors == "HC1":
        meat_weights = meat_weights * (size / df)[:, None]
    elif errors != "HC0":
        meat_weights = meat_weights / _spare(errors, counts, weights, products, root, size, rank)
    bread = xp.einsum("ikb,jkb->ijb", in_x, root)
    meat = planes.unpack(products.times(meat_weights), r, symmetric=True)
    half = xp.einsum("ikb,klb->ilb", bread, meat)
    return xp.einsum("ilb,ilb->ib", half, bread)


def _spare(
    errors: str, counts: Array, weights: Array | float, products: planes.Products, root: Array, size: Array,
    rank: int,
) -> Array:  # fmt: skip
    """(b, n) the power of 1 - leverage that squared residuals are divided by; NaN where that is 0."""
    r, xp = root.shape[0], namespace(root)
    inverse = xp.einsum("ikb,jkb->ijb", root, root)
    rows, cols = planes.triangle(r)
    packed = inverse[rows, cols] * np.where(rows == cols, 1.0, 2.0)[:, None]
    leverage = products.combine(packed) * weights
    power: Any = 1.0 if errors == "HC2" else 2.0
    if errors == "HC4":
        power = xp.minimum(4.0, size[:, None] * leverage / rank)
    spare = 1.0 - leverage
    return xp.where(spare > 1e-8, spare, xp.where(counts > 0, np.nan, 1.0)) ** power
