"""Least squares of a batch of resamples by JAX: the steps of ``steps`` compiled, shapes padded to a few sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.backends.jax_runtime import (
    OnDevice,
    compiled,
    on_device,
    pad,
    padded_columns,
    padded_lanes,
    padded_rows,
)  # fmt: skip
from inference_core.states.base import Array

from . import planes
from .rank import chunk_rows
from .steps import least_squares_step, least_squares_variances


@dataclass(frozen=True, slots=True, eq=False)
class JaxLm(OnDevice):
    """What the steps of one linear model need, where JAX computes: N padded rows, R padded columns."""

    n: int
    r: int
    N: int
    R: int
    columns: Any  # (R, N)
    extra: Any  # (R + 1, N)
    table: Any  # (Q + R + 1, N), or None where it would fill the memory
    residual: Any  # (N,)
    r_inverse: Any  # (R, R)
    spare: Any  # (R,) 1 in columns that only fill the shape
    want_se: bool
    errors: str

    @classmethod
    def of(cls, basis: Array, residual: Array, r_inverse: Array, want_se: bool, errors: str) -> JaxLm:
        """From what ``LmKernel`` holds: basis (r, n), residual (n,), r_inverse (r, r)."""
        r, n = basis.shape
        N, R = padded_rows(n), padded_columns(r)
        columns, rest = pad(basis, R, N), pad(residual, N)
        made = planes.Products.of(columns, np.concatenate([columns * rest, [rest**2]]))
        spare = (np.arange(R) >= r).astype(float)
        there: Any = on_device(columns, made.extra, made.table, rest, pad(r_inverse, R, R), spare)
        return cls(n, r, N, R, *there, want_se=want_se, errors=errors)

    @property
    def chunk_rows(self) -> int:
        """Resamples of one call, the same for all data of this padded size."""
        return chunk_rows(self.N, self.R)

    def step(self, counts: Array) -> tuple[Array, Array, Array, Array, Array | None]:
        """:func:`least_squares_step`, in arrays that may be written."""
        b, r = len(counts), self.r
        run = compiled(_step, want_root=self.want_se)
        delta, rss, total, worst, root = run(self.columns, self.extra, self.table, self.spare, self._padded(counts))
        root = None if root is None else root[:r, :r, :b].copy()
        return delta[:r, :b].copy(), rss[:b].copy(), total[:b], worst[:b], root

    def variances(self, counts: Array, delta: Array, rss: Array, root: Array, size: Array, df: Array) -> Array:
        """:func:`least_squares_variances`."""
        b, R = len(counts), self.R
        B = padded_lanes(b, self.chunk_rows)
        run = compiled(_variances, errors=self.errors)
        found = run(self.columns, self.extra, self.table, self.residual, self.r_inverse, self._padded(counts),
                    pad(delta, R, B), pad(rss, B), pad(root, R, R, B), pad(size, B, fill=1.0), pad(df, B, fill=1.0),
                    float(self.r))  # fmt: skip
        return found[: self.r, :b].copy()

    def _padded(self, counts: Array) -> Array:
        return pad(counts, padded_lanes(len(counts), self.chunk_rows), self.N)


def _step(columns: Any, extra: Any, table: Any, spare: Any, counts: Any, *, want_root: bool) -> Any:
    products = planes.Products(columns, extra, table)
    return least_squares_step(products, counts, columns.shape[0], spare, want_root=want_root)


def _variances(columns: Any, extra: Any, table: Any, *rest: Any, errors: str) -> Any:
    return least_squares_variances(planes.Products(columns, extra, table), *rest, errors=errors)


__all__ = ["JaxLm"]
