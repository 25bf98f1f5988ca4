"""Which cluster a row belongs to: by a column, by a label a row, or by the grouping factors of a mixed model."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.states import Array, DataBundle, RandomBlock

from .outermost import HasBlocks, is_within, outermost, rows_of_block
from .spelling import nearest

MIN_CLUSTERS = 5


def cluster_codes(
    bundle: DataBundle,
    cluster: str | Array | None,
    data: pl.DataFrame | None,
    asked: str,
    *,
    problem: HasBlocks | None = None,
    rows: Array | None = None,
) -> tuple[Array, str]:
    """Codes 0 .. J - 1 over the rows that count, and what to call the clusters.

    Parameters
    ----------
    bundle : DataBundle
        n rows.
    cluster : str, (n,) array or None
        A grouping factor of the model, a column of ``data``, or a label a row; of the rows left out too, if there are
        any. None is the outermost grouping factor.
    data : polars.DataFrame or None
        The original frame.
    asked : str
        What was asked, for messages.
    problem : HasBlocks, optional
        Of a mixed model.
    rows : (m,) array, optional
        Of another model, the rows that count; left out for all.

    Raises
    ------
    InferenceError
        No such column; labels of another length, or missing ones; a random effect that reaches across clusters; fewer
        than 5 clusters.
    """
    blocks = () if problem is None else problem.re.blocks
    rows = rows if problem is None else problem.rows
    if cluster is None:
        codes, name = _outermost(problem, asked).group_index, "the outermost grouping factor"
    elif isinstance(cluster, str):
        codes, name = _of_name(bundle, blocks, cluster, data, asked), cluster
    else:
        codes, name = _of_labels(bundle, cluster, f"{asked} with a cluster per row"), "the cluster given"
    if rows is not None:
        codes = codes[rows]
    codes = np.unique(codes, return_inverse=True)[1].ravel()
    for block in blocks:
        if problem is not None and not is_within(rows_of_block(problem, block), codes):
            raise InferenceError(
                asked,
                f"levels of {block.group_name} lie in several clusters of {name}, so clusters are not independent",
                "choose a cluster that holds every grouping factor, or use how='boot'",
            )
    J = int(codes.max()) + 1
    if J < MIN_CLUSTERS:
        raise InferenceError(
            asked,
            f"{name} has {J} clusters; fewer than {MIN_CLUSTERS} say too little about the spread between them",
            "use the model's own errors, or how='boot'",
        )
    return codes, name


def _of_name(
    bundle: DataBundle, blocks: tuple[RandomBlock, ...], cluster: str, data: pl.DataFrame | None, asked: str
) -> Array:
    names = [block.group_name for block in blocks]
    if cluster in names:
        return blocks[names.index(cluster)].group_index
    columns = [] if data is None else data.columns
    if data is None or cluster not in columns:
        near = nearest(cluster, [*names, *columns], "cluster")
        known = f"the grouping factors are {', '.join(names)}" if names else "there is no such column"
        raise InferenceError(
            f"{asked} with cluster={cluster!r}",
            known,
            f"did you mean {near!r}?" if near else "name a column, or give a label per row",
        )
    return _of_labels(bundle, data.get_column(cluster), f"{asked} with cluster={cluster!r}")


def _of_labels(bundle: DataBundle, labels: Any, asked: str) -> Array:
    series = pl.Series(values=labels, strict=False) if not isinstance(labels, pl.Series) else labels
    if series.len() == bundle.n_total and bundle.n_total != bundle.n:
        series = series.filter(pl.Series(bundle.valid_mask))
    if series.len() != bundle.n:
        raise InferenceError(asked, f"{series.len()} labels for {bundle.n} rows", "give one label a row")
    missing = series.null_count() + (int(series.is_nan().sum()) if series.dtype.is_float() else 0)
    if missing:
        raise InferenceError(
            asked, f"{missing} of {bundle.n} rows have no cluster", "give each a label, or leave those rows out"
        )
    return np.asarray(series.rank("dense").to_numpy(), dtype=np.intp) - 1


def _outermost(problem: HasBlocks | None, asked: str) -> RandomBlock:
    """The grouping factor within which all others are nested."""
    if problem is None:
        raise InferenceError(asked, "this model has no groups", "cluster= the column that tells the clusters")
    block = outermost(problem)
    if block is None:
        raise InferenceError(
            asked,
            f"the factors {', '.join(problem.re.group_names)} are crossed: rows share random effects across any",
            "give cluster= a label per row within which all of them lie, or use how='boot'",
        )
    return block
