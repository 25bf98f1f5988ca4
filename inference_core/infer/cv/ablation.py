"""The models that a table of terms compares: the full one, and one without each term, on the map of the design.

Terms are left out as columns of the design, so weights, offset, link, codings and transforms stay what they are. With
a term go the terms that contain it, and the random slope of the same name: either would go on predicting in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.design.folds import FoldDesign, LearnedDesign
from inference_core.design.matrix import name_columns
from inference_core.design.state import TermState
from inference_core.errors import InferenceError
from inference_core.families import Family, get_family
from inference_core.solvers.lstsq import rank_of_design
from inference_core.states import Array, DataBundle, ModelSpec, RandomBlock, REInfo


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """The model with some terms left out; the full model leaves out none."""

    term: str | None  # the term whose worth is asked for
    without: tuple[str, ...]  # the source terms that go, that one first
    slopes: tuple[str, ...]  # random effects that go with it, "Days by Subject"
    columns: Array  # (p,) bool columns of the design that stay
    effects: tuple[Array, ...]  # (k,) bool columns of each block of random effects that stay
    recoded: tuple[TermState, ...] | None  # the terms that stay, where their coding changes
    spec: ModelSpec

    def design(self, folds: FoldDesign, train: Array | None) -> LearnedDesign:
        """Columns of all rows with what the rows ``train`` (n,) bool teach; None: all rows."""
        learned = folds.learn_from(train, self.recoded)
        X = learned.X if self.recoded is not None or self.columns.all() else learned.X[:, self.columns]
        X_re = tuple(Z if keep.all() else Z[:, keep] for Z, keep in zip(learned.X_re, self.effects, strict=True))
        return LearnedDesign(X, X_re, learned.offset)

    def bundle(self, full: DataBundle, design: LearnedDesign, rows: Array | None = None) -> DataBundle:
        """The data of this model over some rows (positions; None: all), its rank judged on those rows."""
        X = design.X if rows is None else design.X[rows]
        names = tuple(f"column {j}" for j in range(X.shape[1]))
        if self.recoded is None:
            names = tuple(name for name, keep in zip(full.X_names, self.columns, strict=True) if keep)

        def take(values: Array | None) -> Array | None:
            return values if values is None or rows is None else values[rows]

        n = full.n if rows is None else rows.size
        X = np.ascontiguousarray(X)
        return replace(
            full, y=np.asarray(take(full.y)), X=X, X_names=names, term_of_column=self._terms_of_columns(full, X),
            valid_mask=np.ones(n, bool), n_total=n, rank_info=rank_of_design(X, names=names),
            weights=take(full.weights), offset=take(design.offset), trials=take(full.trials), Z=None,
            re_metadata=self._random(full, design, rows),
        )  # fmt: skip

    def _terms_of_columns(self, full: DataBundle, X: Array) -> Array:
        if self.recoded is None:
            return np.asarray(full.term_of_column)[self.columns]
        constant = X.shape[1] > 0 and bool(np.all(X[:, 0] == 1.0))
        return np.where((np.arange(X.shape[1]) == 0) & constant, -1, 0)

    def _random(self, full: DataBundle, design: LearnedDesign, rows: Array | None) -> REInfo | None:
        """Blocks over the rows, without levels that no row has."""
        if not self.spec.has_random_effects or full.re_metadata is None:
            return None
        blocks = []
        for block, Z, keep in zip(full.re_metadata.blocks, design.X_re, self.effects, strict=True):
            if keep.any():
                blocks.append(_block_of_rows(block, Z, keep, rows))
        nested = full.re_metadata.nested_in if len(blocks) == len(full.re_metadata.blocks) else ()
        return REInfo(tuple(blocks), full.re_metadata.structure, nested)


def _block_of_rows(block: RandomBlock, Z: Array, keep: Array, rows: Array | None) -> RandomBlock:
    group = block.group_index if rows is None else block.group_index[rows]
    present, codes = np.unique(group, return_inverse=True)
    stay = np.flatnonzero(keep)
    Z = np.ascontiguousarray(Z if rows is None else Z[rows])
    return replace(
        block, levels=tuple(block.levels[j] for j in present), group_index=codes.ravel(),
        column_names=tuple(block.column_names[a] for a in stay), X_re=Z,
        mask=np.asarray(block.mask)[np.ix_(stay, stay)],
    )  # fmt: skip


def full_model(spec: ModelSpec, bundle: DataBundle) -> Variant:
    """The model itself."""
    blocks = () if bundle.re_metadata is None else bundle.re_metadata.blocks
    return Variant(None, (), (), np.ones(bundle.p, bool), tuple(np.ones(b.k, bool) for b in blocks), None, spec)


def variants(spec: ModelSpec, folds: FoldDesign) -> tuple[Variant, ...]:
    """The full model, then the model without each source term.

    Raises
    ------
    InferenceError
        Leaving a term out changes the coding of the others, and there are no data to code them from.
    """
    bundle = folds.bundle
    return (full_model(spec, bundle), *(_without(t, spec, folds) for t in range(len(bundle.source_terms))))


def _without(t: int, spec: ModelSpec, folds: FoldDesign) -> Variant:
    bundle, state = folds.bundle, folds.state
    labels = bundle.source_terms
    factors = [frozenset(label.split(":")) for label in labels]
    if state is not None:
        texts = [o.text for o in state.operands]
        factors = [frozenset(texts[i] for i in term.operands) for term in state.terms]
    gone = [s for s in range(len(labels)) if factors[s] >= factors[t]]
    stay = tuple(s for s in range(len(labels)) if s not in gone)
    columns = ~np.isin(bundle.term_of_column, gone)
    recoded = folds.recoded(stay) if stay else None
    if recoded is not None and not folds.has_frame:
        raise InferenceError(
            asked=f"{spec.formula} without {labels[t]}",
            found="without an intercept the remaining factors are then coded by a column for each level, which the "
            "bundle alone does not hold",
            remedy="give data=, the frame that the bundle was made from",
        )
    effects, slopes = _random_without(factors[t], bundle, folds)
    left = any(keep.any() for keep in effects)
    if spec.has_random_effects and not left:
        linear = spec.family == "gaussian" and spec.link == "identity"
        spec = replace(spec, has_random_effects=False, random_terms=(), method="ols" if linear else "irls")
    order = (labels[t], *(labels[s] for s in gone if s != t))
    return Variant(labels[t], order, slopes, columns, effects, recoded, spec)


def _random_without(
    target: frozenset[str], bundle: DataBundle, folds: FoldDesign
) -> tuple[tuple[Array, ...], tuple[str, ...]]:
    """Which random effects stay, and the names of those that go: slopes of what is left out."""
    blocks = () if bundle.re_metadata is None else bundle.re_metadata.blocks
    keeps, gone = [], []
    for b, block in enumerate(blocks):
        keep = np.ones(block.k, bool)
        if folds.state is not None and folds.state.random:
            keep = ~np.concatenate([_holds(part, target) for part in folds.state.random[b].parts])
        keeps.append(keep)
        gone += [f"{block.column_names[a]} by {block.group_name}" for a in np.flatnonzero(~keep)]
    return tuple(keeps), tuple(gone)


def _holds(part, target: frozenset[str]) -> Array:
    """(k,) whether each column of a random part belongs to a term that contains ``target``."""
    texts = [o.text for o in part.operands]
    _, source, _ = name_columns(part.intercept, part.terms, part.operands)
    inside = [frozenset(texts[i] for i in term.operands) >= target for term in part.terms]
    return np.array([s >= 0 and inside[s] for s in source], bool)


def family_of(spec: ModelSpec) -> Family:
    """The family by the names in the specification."""
    return get_family(spec.family, spec.link)
