"""Which columns a resample can estimate, and how many resamples are refitted together."""

from __future__ import annotations

import numpy as np

from inference_core.solvers.lstsq import RANK_TOL, rank_of_design
from inference_core.states.base import Array

# Doubles of one (chunk, n) array: 1 MiB.
CHUNK_VALUES = 1 << 17


def chunk_rows(n: int, r: int, least: int = 64) -> int:
    """Resamples of n rows and r columns that are best refitted together, a power of two.

    Some 131,000 counts; ``least`` resamples, while they stay below 32 MiB, so that the products of columns are not
    read for every one; at most 2^20 entries of Gram matrices.
    """
    wanted = max(CHUNK_VALUES // n, min(least, (1 << 22) // n), 1)
    return 1 << (min(wanted, max((1 << 20) // max(r, 1) ** 2, 1)).bit_length() - 1)


def estimable_columns(X: Array, weights: Array | None = None) -> Array:
    """Positions of the columns that R keeps: a column that earlier ones explain to 1e-7 goes."""
    scaled = X if weights is None else X * np.sqrt(weights)[:, None]
    return np.asarray(rank_of_design(scaled).kept)


def passes_rank_rule(in_x: Array) -> Array:
    """(b,) bool: whether R's rule keeps every column, from any matrices (b, m, r) with the Gram matrix of the rows.

    The rule looks at the columns in their own order and units: a column goes when what the earlier ones leave of it
    falls below 1e-7 of its norm.
    """
    norms = np.sqrt((in_x**2).sum(1))
    pivots = np.abs(np.einsum("bii->bi", np.linalg.qr(in_x, mode="r")))
    return ((pivots > RANK_TOL * norms) & (pivots > 0)).all(1)


def full_rank(design: Array, rows: Array) -> Array:
    """(b,) bool: whether ``design`` (n, r) keeps its rank on the rows flagged in ``rows`` (b, n)."""
    step = max(1, CHUNK_VALUES // max(design.size, 1))
    return np.concatenate([
        passes_rank_rule(rows[at : at + step, :, None] * design) for at in range(0, len(rows), step)
    ])  # fmt: skip


def widen(values: Array, kept: Array, p: int) -> Array:
    """(b, p) from (b, r): NaN in the columns that the full fit drops."""
    if kept.size == p:
        return values
    wide = np.full((values.shape[0], p), np.nan)
    wide[:, kept] = values
    return wide
