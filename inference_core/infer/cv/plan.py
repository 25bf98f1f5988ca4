"""What a cross-validation is to do: the division of the rows, the models, and the question it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from inference_core.backends import Backend, chosen_backend
from inference_core.design.folds import FoldDesign
from inference_core.errors import InferenceError
from inference_core.rng import RNG
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .ablation import Variant, full_model, variants
from .splits import DEFAULT_K, group_folds, resolve_holdout_group_ids, row_folds

if TYPE_CHECKING:
    import polars as pl

ROWS, GROUPS, GIVEN = "rows", "groups", "given"
_HASH = 0.7548776662466927  # powers of an irrational number tell the rows of a small table apart


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """k folds of n rows, R times over, of V models."""

    spec: ModelSpec
    design: FoldDesign
    models: tuple[Variant, ...]
    folds: Array  # (R, n) int
    k: int
    seed: int | None
    scheme: str  # "rows", "groups" or "given"
    loo: bool
    group_ids: Array | None  # (n,)
    conditional: bool
    fit: FitState | None
    n_agq: int | None = None
    notes: tuple[str, ...] = field(default=())
    backend: Backend = field(default_factory=chosen_backend)  # of the batched refits

    @property
    def bundle(self) -> DataBundle:
        """The data."""
        return self.design.bundle

    @property
    def repeats(self) -> int:
        """R."""
        return self.folds.shape[0]

    @property
    def question(self) -> str:
        """What the held-out rows stand for, in words."""
        if not self.spec.has_random_effects:
            return "rows of new groups" if self.scheme == GROUPS else "new rows"
        if self.conditional:
            return "new rows of known groups (conditional prediction)"
        return "rows of new groups (population prediction)"


def make_plan(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    data: pl.DataFrame | None = None,
    fit: FitState | None = None,
    k: int | str | None = DEFAULT_K,
    seed: int | None = None,
    group_ids: np.ndarray | None = None,
    scheme: str | None = None,
    repeats: int = 1,
    folds: np.ndarray | None = None,
    terms: bool = True,
) -> Plan:
    """Check a request and divide the rows.

    Parameters
    ----------
    spec, bundle, fit
        The model; without ``fit`` it is fitted where a fit is needed.
    data : polars.DataFrame, optional
        The frame of the bundle, from which transforms are learned in each training fold.
    k : int, "loo" or None
        Folds; "loo" leaves out one row or one group at a time; None 10, or as many as there are.
    group_ids : (n,) optional
        Groups to be kept together.
    scheme : {"rows", "groups"}, optional
        What is held out. None: groups for mixed models and where ``group_ids`` are given, else rows.
    repeats : int
        Divisions of the same rows.
    folds : (n,) or (R, n) int, optional
        A division of one's own.
    terms : bool
        Also the models without each term.

    Raises
    ------
    InferenceError
        k beyond the number of rows or groups, folds of the wrong shape, a transform that would have to be learned anew
        without data, crossed random effects without a choice of groups.
    """
    design = FoldDesign(bundle, data)
    asked = f"cross-validation of {spec.formula}"
    depends = design.space_depends_on_rows or (spec.has_random_effects and bool(design.relearned))
    if depends and not design.has_frame:
        raise InferenceError(
            asked=asked,
            found=f"{', '.join(design.relearned)} must be learned in each training fold, and the bundle holds the "
            "columns that all rows taught",
            remedy="give data=, the frame that the bundle was made from, or use model.infer(how='cv')",
        )
    if scheme not in (None, ROWS, GROUPS):
        raise InferenceError(f"scheme={scheme!r}", "rows or groups are held out", f"scheme={ROWS!r}")
    if group_ids is None and scheme != ROWS and folds is None:
        group_ids = resolve_holdout_group_ids(None, data, spec, bundle)
    if scheme == GROUPS and group_ids is None:
        raise InferenceError(asked, "no groups to hold out", "name a column: holdout_group=")
    if scheme == ROWS and group_ids is not None:
        raise InferenceError(
            asked, "groups to be held out, and scheme='rows'", "leave one of the two out: scheme or holdout_group"
        )
    ids = None if group_ids is None else _checked_ids(group_ids, bundle)
    units = bundle.n if ids is None else int(np.unique(ids).size)
    loo = k == "loo"
    count = units if loo else min(DEFAULT_K, units) if k is None else int(k)
    if loo and repeats > 1:
        raise InferenceError(
            asked=f"k='loo' with repeats={repeats}",
            found="leaving out one at a time has one division only",
            remedy="leave repeats out, or k=10",
        )
    notes: tuple[str, ...] = ()
    chosen = scheme
    if folds is not None:
        assignment, count = _checked_folds(folds, bundle.n)
        chosen, used, loo = GIVEN, None, False
    else:
        rng = RNG.from_seed(seed)
        used = None if loo else rng.seed
        chosen = ROWS if ids is None else GROUPS
        assignment = _assign(rng, bundle, design, ids, count, repeats, loo)
    conditional = spec.has_random_effects and ids is None
    if folds is not None and ids is not None:
        _refuse_split_groups(assignment, ids)
    return Plan(
        spec, design, variants(spec, design) if terms else (full_model(spec, bundle),), assignment, count, used, chosen,
        loo, ids, conditional, fit, None if fit is None else fit.n_agq, notes,
    )  # fmt: skip


def _assign(
    rng: RNG, bundle: DataBundle, design: FoldDesign, ids: Array | None, k: int, repeats: int, loo: bool
) -> Array:
    if ids is not None:
        if loo:
            return np.unique(ids, return_inverse=True)[1].reshape(1, -1)
        return np.array([group_folds(ids, k, rng, r) for r in range(repeats)])
    if loo:
        return np.arange(bundle.n)[None]
    factors = factor_codes(design)
    return np.array([row_folds(bundle.n, k, rng, factors, r) for r in range(repeats)])


def factor_codes(design: FoldDesign) -> list[Array]:
    """(n,) cell of each row for every term that is made of factors alone."""
    state, bundle = design.state, design.bundle
    if state is None:
        return []
    out = []
    for t, term in enumerate(state.terms):
        operands = [state.operands[i] for i in term.operands]
        if all(o.kind == "factor" for o in operands):
            X = bundle.X[:, np.asarray(bundle.term_of_column) == t]
            out.append(_by_appearance(X @ (_HASH ** np.arange(X.shape[1]))))
    return out


def _by_appearance(values: Array) -> Array:
    """(n,) whole numbers for equal values, in the order in which they appear: the same for every coding."""
    _, first, codes = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes.ravel()]


def _checked_ids(group_ids: np.ndarray, bundle: DataBundle) -> Array:
    ids = np.asarray(group_ids)
    if ids.shape != (bundle.n,):
        raise InferenceError(
            asked="holdout_group_ids",
            found=f"an array of shape {ids.shape} for {bundle.n} rows",
            remedy=f"one group for each row that the model uses: shape ({bundle.n},)",
        )
    return np.unique(ids, return_inverse=True)[1].ravel()


def _checked_folds(folds: np.ndarray, n: int) -> tuple[Array, int]:
    given = np.atleast_2d(np.asarray(folds))
    if given.ndim != 2 or given.shape[1] != n or not np.issubdtype(given.dtype, np.integer):
        raise InferenceError(
            asked="folds of one's own",
            found=f"an array of shape {np.shape(folds)} and type {np.asarray(folds).dtype}",
            remedy=f"one whole number for each of the {n} rows that the model uses",
        )
    k = int(given.max()) + 1
    if given.min() < 0 or k < 2 or any(np.unique(row).size != k for row in given):
        raise InferenceError(
            asked="folds of one's own",
            found=f"numbers {given.min()} to {given.max()}, not all of them in use",
            remedy="number the folds 0, 1, 2, ... with rows in each, at least two of them",
        )
    return given.astype(np.intp), k


def _refuse_split_groups(assignment: Array, ids: Array) -> None:
    for row in assignment:
        home = np.full(int(ids.max()) + 1, -1)
        home[ids] = row
        if not np.array_equal(home[ids], row):
            raise InferenceError(
                asked="folds of one's own with whole groups held out",
                found="a group has rows in several folds",
                remedy="number the folds by group, or leave holdout_group_ids out",
            )


def splits_groups(assignment: Array, ids: Array) -> bool:
    """Whether some group (n,) lies in several folds of one division (n,)."""
    home = np.full(int(ids.max()) + 1, -1)
    home[ids] = assignment
    return not np.array_equal(home[ids], assignment)

