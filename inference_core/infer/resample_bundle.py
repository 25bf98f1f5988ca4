"""A model's data with other rows: nothing of the bundle is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference_core.errors import DataError
from inference_core.states.bundle import DataBundle


def build_resampled_bundle(bundle: DataBundle, indices: np.ndarray) -> DataBundle:
    """The bundle of the rows ``indices``, repeats and order included.

    Weights, offset and trials go with their rows; names, contrasts, factor levels, the rank information of the full
    design and the state that new data are built with stay. ``valid_mask`` speaks of the rows of the new bundle: all
    of them are used.

    Parameters
    ----------
    bundle : DataBundle
    indices : (m,) int, or (n,) bool
        Row numbers, possibly repeated (bootstrap), or a mask of the rows to keep (jackknife, folds).

    Raises
    ------
    DataError
        For row numbers outside the data or a mask of another length.
    """
    rows = np.asarray(indices)
    if rows.dtype == bool:
        if rows.shape != (bundle.n,):
            raise DataError(
                asked="a bundle of the rows of a mask",
                found=f"a mask of shape {rows.shape}, data with {bundle.n} rows",
                remedy=f"one True or False a row: shape ({bundle.n},)",
            )
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise DataError(
            asked="a bundle of given rows",
            found=f"an array of shape {rows.shape} and type {rows.dtype}",
            remedy="whole row numbers, or a mask",
        )
    if rows.size and (rows.min() < 0 or rows.max() >= bundle.n):
        raise DataError(
            asked="a bundle of given rows",
            found=f"row numbers from {rows.min()} to {rows.max()}, data with {bundle.n} rows",
            remedy=f"row numbers count from 0 to {bundle.n - 1}",
        )

    def take(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    return replace(
        bundle,
        y=bundle.y[rows],
        X=np.ascontiguousarray(bundle.X[rows]),
        weights=take(bundle.weights),
        offset=take(bundle.offset),
        trials=take(bundle.trials),
        valid_mask=np.ones(rows.size, bool),
        n_total=rows.size,
        Z=None if bundle.Z is None else bundle.Z.tocsr()[rows].tocsc(),
    )
