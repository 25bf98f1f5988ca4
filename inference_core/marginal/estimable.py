"""Which linear functions of the coefficients the data can estimate, where the design lacks rank."""

from __future__ import annotations

import numpy as np

from inference_core.states import Array, DataBundle

TOLERANCE = 1e-8  # relative size of the part of a row that the data do not see; R's estimability package has the same


def null_space(bundle: DataBundle) -> Array:
    """(p, p - r) directions in which coefficients can move without moving any fitted value."""
    kept, dropped = bundle.rank_info.kept, bundle.rank_info.dropped
    null = np.zeros((bundle.p, len(dropped)))
    if len(dropped):
        null[kept] = -np.linalg.lstsq(bundle.X[:, kept], bundle.X[:, dropped], rcond=None)[0]
        null[dropped, np.arange(len(dropped))] = 1.0
        null = np.linalg.qr(null)[0]
    return null


def estimable_rows(L: Array, null: Array) -> Array:
    """(m,) whether each row is a combination of rows of the design: orthogonal to the null space.

    Source: Searle (1971), Linear Models, section 5.4.
    """
    if not null.shape[1]:
        return np.ones(len(L), bool)
    size = np.maximum(np.linalg.norm(L, axis=1), 1e-300)
    return np.linalg.norm(L @ null, axis=1) <= TOLERANCE * size
