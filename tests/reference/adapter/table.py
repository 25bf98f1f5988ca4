"""Reading this package's tables as arrays: nulls become NaN, rows in order."""

from __future__ import annotations

import numpy as np
import polars as pl


def column(table: pl.DataFrame, name: str) -> np.ndarray:
    """(rows,) one column."""
    return table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def limits(table: pl.DataFrame) -> np.ndarray:
    """(rows, 2) lower and upper limit."""
    return np.column_stack([column(table, "ci_lower"), column(table, "ci_upper")])


def estimable(m) -> np.ndarray:
    """(rank,) positions of the columns that were not dropped."""
    return np.asarray(m.bundle.rank_info.kept)


def vcov(m) -> np.ndarray:
    """(rank, rank) covariance of the estimable coefficients."""
    kept = estimable(m)
    return m.fit_state.vcov[np.ix_(kept, kept)]
