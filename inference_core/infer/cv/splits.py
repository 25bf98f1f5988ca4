"""Which row is held out in which fold: rows, rows spread over the levels of factors, or whole groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.resample.core import fold_of_rows, generate_kfold_indices
from inference_core.infer.spelling import nearest
from inference_core.rng import RNG, Purpose
from inference_core.states import Array, DataBundle, ModelSpec

if TYPE_CHECKING:
    import polars as pl

Split = tuple[np.ndarray, np.ndarray]
DEFAULT_K = 10
MAX_SWAPS = 500  # that are tried to bring one level into a second fold


def generate_kfold_splits(n: int, k: int, seed: int | None = None) -> list[Split]:
    """Return k pairs (train, test) of sorted row numbers; the test sets part the rows, sizes differ by one at most.

    Parameters
    ----------
    n, k : int
        Rows and folds, 2 <= k <= n.
    seed : int, optional
        Fold j is a function of (seed, j); None picks a seed.

    Raises
    ------
    InferenceError
        Unless 2 <= k <= n.

    Examples
    --------
    >>> [len(test) for _, test in generate_kfold_splits(100, k=10, seed=42)]
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    return generate_kfold_indices(RNG.from_seed(seed), n, k)


def generate_group_kfold_splits(group_ids: np.ndarray, k: int, seed: int | None = None) -> list[Split]:
    """Return k pairs (train, test) in which every group lies on one side, folds balanced by their number of rows.

    Parameters
    ----------
    group_ids : (n,)
        Group of each row, of any type.
    k : int
        Folds; at most as many as groups.
    seed : int, optional
        None picks one.

    Raises
    ------
    InferenceError
        Unless 2 <= k <= number of groups.

    Examples
    --------
    >>> splits = generate_group_kfold_splits(np.array([0, 0, 1, 1, 2, 2, 3, 3]), k=2, seed=42)
    >>> [len(test) for _, test in splits]
    [4, 4]
    """
    return splits_of(group_folds(np.asarray(group_ids), k, RNG.from_seed(seed)), k)


def splits_of(folds: Array, k: int) -> list[Split]:
    """Pairs (train, test) of sorted row numbers from the fold of each row (n,)."""
    return [(np.flatnonzero(folds != j), np.flatnonzero(folds == j)) for j in range(k)]


def group_folds(group_ids: Array, k: int, rng: RNG, repeat: int = 0) -> Array:
    """(n,) fold of each row: groups from the largest to the smallest, each into the fold with the fewest rows.

    Groups of one size come in random order, and so do the folds at the end; a repeat is another order.
    """
    _, codes, size = np.unique(group_ids, return_inverse=True, return_counts=True)
    J = size.size
    if not 2 <= k <= J:
        raise InferenceError(
            asked=f"k={k} folds of whole groups",
            found=f"there are {J} groups, and every fold holds one and leaves one: k lies between 2 and {J}",
            remedy=f"k={min(DEFAULT_K, J)}" if J >= 2 else "a grouping column with at least two groups",
        )
    generator = rng.stream(repeat, Purpose.FOLD)
    order = generator.permutation(J)
    order = order[np.argsort(-size[order], kind="stable")]
    rows = np.zeros(k)
    fold_of_group = np.empty(J, np.intp)
    for group in order.tolist():
        lightest = int(np.argmin(rows))
        fold_of_group[group] = lightest
        rows[lightest] += size[group]
    return generator.permutation(k)[fold_of_group][codes.ravel()]


def row_folds(n: int, k: int, rng: RNG, factors: Sequence[Array] = (), repeat: int = 0) -> Array:
    """(n,) fold of each row, the rows of each combination of factor levels dealt out over the folds.

    Parameters
    ----------
    n, k : int
        2 <= k <= n.
    rng : RNG
    factors : sequence of (n,) int arrays
        Level of each row. A level with two rows or more never lies in one fold alone, as far as that can be had: it
        would be unknown to the fit that predicts it.
    repeat : int
        Another division of the same rows.

    Raises
    ------
    InferenceError
        Unless 2 <= k <= n.
    """
    if not 2 <= k <= n:
        raise InferenceError(
            asked=f"k={k} folds of {n} rows",
            found=f"every fold holds a row and leaves one: k lies between 2 and {n}",
            remedy=f"k={min(DEFAULT_K, n)}",
        )
    if not factors and repeat == 0:
        return fold_of_rows(rng, n, k)
    generator = rng.stream(repeat, Purpose.FOLD)
    cell = _cells(factors, n)
    shuffled = generator.permutation(n)
    # Cells in random order, rows of a cell side by side: dealing round the table spreads each over the folds.
    rank = generator.permutation(int(cell.max()) + 1)
    order = shuffled[np.argsort(rank[cell[shuffled]], kind="stable")]
    folds = np.empty(n, np.intp)
    folds[order] = generator.permutation(k)[np.arange(n) % k]
    for codes in (*factors, *factors):  # a swap may leave one level for later that it could not free at once
        _spread_levels(folds, np.asarray(codes), factors, generator)
    return folds


def _cells(factors: Sequence[Array], n: int) -> Array:
    cell = np.zeros(n, np.int64)
    for codes in factors:
        cell = np.unique(cell * (int(np.max(codes)) + 1) + codes, return_inverse=True)[1].ravel()
    return cell


def _spread_levels(folds: Array, codes: Array, factors: Sequence[Array], generator: Any) -> None:
    """Swap rows so that a level of ``codes`` with several rows in one fold alone reaches a second one."""
    for level in _levels_in_one_fold(folds, codes).tolist():
        rows = np.flatnonzero(codes == level)
        if np.ptp(folds[rows]) > 0:
            continue  # an earlier swap has helped
        others = generator.permutation(np.flatnonzero(folds != folds[rows[0]])).tolist()
        for own, other in islice(product(generator.permutation(rows).tolist(), others), MAX_SWAPS):
            before = _n_alone(folds, factors, own, other)
            folds[own], folds[other] = folds[other], folds[own]
            if _n_alone(folds, factors, own, other) < before:
                break
            folds[own], folds[other] = folds[other], folds[own]


def _levels_in_one_fold(folds: Array, codes: Array) -> Array:
    """Levels with several rows, all of them in one fold."""
    size = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    first = np.cumsum(size) - size
    used = np.flatnonzero(size > 1)
    if not used.size:
        return used
    mine = folds[order]
    low, high = (f.reduceat(mine, first[size > 0]) for f in (np.minimum, np.maximum))
    return np.flatnonzero(size > 0)[(low == high) & (size[size > 0] > 1)]


def _n_alone(folds: Array, factors: Sequence[Array], *rows: int) -> int:
    """How many levels of these rows lie in one fold alone."""
    return sum(_is_alone(folds, codes, row) for codes in factors for row in rows)


def _is_alone(folds: Array, codes: Array, row: int) -> bool:
    """Whether the level of this row has several rows, all of them in one fold."""
    mine = folds[codes == codes[row]]
    return mine.size > 1 and np.ptp(mine) == 0


# ---- groups ------------------------------------------------------------------------------------------------


def resolve_holdout_group_ids(
    holdout_group: str | None, data: pl.DataFrame | None, spec: ModelSpec, bundle: DataBundle
) -> np.ndarray | None:
    """The group of each row where whole groups are to be held out, else None.

    Parameters
    ----------
    holdout_group : str or None
        A column of ``data``, or the name of a grouping factor of the model. None takes the outermost factor of a mixed
        model, and no groups where there are no random effects.
    data : polars.DataFrame or None
        The frame that the bundle was made from; rows that the model left out are left out here too.
    spec, bundle
        The model.

    Returns
    -------
    (n,) int or None

    Raises
    ------
    InferenceError
        No such column, missing groups, a single group; or crossed random effects and no ``holdout_group``.
    """
    if holdout_group is not None:
        return _named_groups(holdout_group, data, bundle)
    if not spec.has_random_effects or bundle.re_metadata is None:
        return None
    from inference_core.infer.outermost import is_within

    blocks = bundle.re_metadata.blocks
    for block in sorted(blocks, key=lambda b: b.n_levels):
        if all(is_within(other.group_index, block.group_index) for other in blocks):
            return np.asarray(block.group_index)
    names = [block.group_name for block in blocks]
    raise InferenceError(
        asked=f"cross-validation of {spec.formula} by whole groups",
        found=f"the grouping factors {', '.join(names)} are crossed: none of them contains the others",
        remedy=f"say which one new data bring: holdout_group={names[0]!r}, or scheme='rows'",
    )


def _named_groups(name: str, data: pl.DataFrame | None, bundle: DataBundle) -> np.ndarray:
    blocks = () if bundle.re_metadata is None else bundle.re_metadata.blocks
    for block in blocks:
        if block.group_name == name:
            return np.asarray(block.group_index)
    asked = f"holdout_group={name!r}"
    if data is None or name not in data.columns:
        known = [*(block.group_name for block in blocks), *([] if data is None else data.columns)]
        near = nearest(name, known)
        raise InferenceError(
            asked=asked,
            found=f"no column of that name; there are {', '.join(dict.fromkeys(known)) or 'none without the data'}",
            remedy=f"did you mean {near!r}?" if near else "name a column of the data",
        )
    column = data.get_column(name)
    if column.len() == bundle.n_total:
        column = column.filter(bundle.valid_mask.tolist())
    if column.len() != bundle.n:
        raise InferenceError(asked, f"{column.len()} values for {bundle.n} rows", "give the frame of the model")
    missing = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
    if missing:
        raise InferenceError(
            asked=asked,
            found=f"{missing} of the {bundle.n} rows used have no group",
            remedy="fill the column in, or leave those rows out of the data",
        )
    codes = column.rank("dense").to_numpy().astype(np.intp) - 1
    if codes.max() < 1:
        raise InferenceError(asked, "every row is in one group", "name a column with several groups")
    return codes
