"""Which rows and groups of a mixed model may be exchanged, and what is refused in which words."""

from __future__ import annotations

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.outermost import Blocks, HasBlocks, outermost, rows_of_block
from inference_core.infer.resample.whole_groups import WholeGroups
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.spec import ModelSpec

from .hypotheses import Hypothesis

LEFT_OVER = 1e-8  # of the length of a column: what is left of it is rounding

VARIANCES = (
    "permutation tests no variance component, for the groups stay as they are: how='profile' or how='boot' gives their "
    "limits"
)
NOT_EXACT = (
    "signs of effects and residuals are no exact randomisation: 4.9 to 7.2 % of true null hypotheses were rejected at "
    "the 5 % level"
)
IGNORES_GROUPS = (
    "rows of one group belong together and were shuffled all the same: 7 to 15 % of true null hypotheses were rejected "
    "at the 5 % level; scheme='group_flip' keeps groups whole"
)


def default_mixed_scheme(spec: ModelSpec) -> str:
    """Whole groups: of responses that are refitted, or of scores."""
    return "group_flip" if spec.is_lmer else "score_flip"


def check_mixed_scheme(
    spec: ModelSpec, bundle: DataBundle | None, scheme: str, schemes: tuple[str, ...], errors: str
) -> None:
    """Refuse a scheme that this mixed model cannot have.

    Raises
    ------
    InferenceError
        A scheme of other models; other errors than the model's own; crossed factors whose groups cannot be flipped;
        raw responses of unlike rows.
    """
    asked = f".infer(how='perm', scheme={scheme!r})"
    if scheme not in schemes:
        found = f"schemes of {'a linear' if spec.is_lmer else 'a generalized'} mixed model are {', '.join(schemes)}"
        if not spec.is_lmer:
            found = f"a {spec.family} mixed model is tested by the scores of its groups, which needs no refit"
        raise InferenceError(asked=asked, found=found, remedy=f"scheme={schemes[0]!r}")
    if errors != "iid":
        raise InferenceError(
            asked=f".infer(how='perm', errors={errors!r})",
            found="every draw of a mixed model is divided by the model's own standard error",
            remedy="leave errors out",
        )
    if bundle is None:
        return
    if scheme in ("group_flip", "score_flip"):
        whole_groups(spec, _blocks(bundle), asked)
    if scheme in ("y", "within"):
        _refuse_unlike_rows(bundle, asked)


def whole_groups(spec: ModelSpec, problem: HasBlocks, asked: str) -> WholeGroups:
    """The groups that are flipped: those of the factor in which all others are nested.

    Raises
    ------
    InferenceError
        Crossed factors.
    """
    block = outermost(problem)
    if block is None:
        raise InferenceError(
            asked,
            f"{', '.join(dict.fromkeys(problem.re.group_names))} are crossed: rows of one group share other groups",
            "scheme='residual'" if spec.is_lmer else "how='boot'",
        )
    return WholeGroups.of_block(problem, block)


def refuse_few_groups(groups: WholeGroups, alpha: float, alternative: str) -> None:
    """Refuse a level that no pattern of signs can reach.

    Raises
    ------
    InferenceError
        The share of the most extreme pattern, with its mirror image where both sides count, is above ``alpha``.
    """
    least = (2.0 if alternative == "two-sided" else 1.0) / 2.0**groups.J
    if least > alpha * (1.0 + 1e-12):
        raise InferenceError(
            asked=f"sign flips of the groups of {groups.name} at level {alpha:.4g}",
            found=f"{groups.J} groups give p >= {f'{least:.4g}'.lstrip('0')}",
            remedy="how='boot', or how='asymp', whose t has few degrees of freedom",
        )


def mixed_notes(scheme: str, at_boundary: tuple[str, ...]) -> list[str]:
    """What a table by this scheme says beside its numbers; ``at_boundary`` are factors with a variance of 0."""
    notes = [VARIANCES]
    if scheme == "residual":
        notes.append(NOT_EXACT)
        if at_boundary:
            notes.append(
                f"a null model has a variance of 0 by {' and '.join(at_boundary)}: its effects are all 0, and flips of "
                "their signs randomise nothing; how='boot' draws them from the model"
            )
    if scheme == "y":
        notes.append(IGNORES_GROUPS)
    return notes


def cells(problem: HasBlocks) -> Array:
    """(n,) number of the cell of each row: rows that have the same level of every factor."""
    codes = np.column_stack([rows_of_block(problem, block) for block in problem.re.blocks])
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)


def not_within(problem: HasBlocks, X: Array, hypothesis: Hypothesis, cell: Array) -> str:
    """Why shuffling within groups cannot test a hypothesis about the columns of X (n, r); empty where it can."""
    names = " and ".join(dict.fromkeys(problem.re.group_names))
    x = X @ hypothesis.direction
    moved = _centred(x, cell)
    if np.linalg.norm(moved) <= LEFT_OVER * np.linalg.norm(x):
        return f"it is the same in all rows of a group of {names}, and rows change places within groups only"
    Z = np.hstack([b.X_re if problem.rows is None else b.X_re[problem.rows] for b in problem.re.blocks])
    slopes = _centred(Z, cell)
    slopes = slopes[:, np.linalg.norm(slopes, axis=0) > LEFT_OVER * np.linalg.norm(Z, axis=0)]
    if not slopes.shape[1]:
        return ""
    # the directions within groups along which both move
    inside = np.linalg.lstsq(slopes, moved, rcond=None)[0]
    if np.any(np.linalg.norm(moved - slopes @ inside, axis=0) <= LEFT_OVER * np.linalg.norm(moved, axis=0)):
        return f"groups of {names} differ in this slope, so rows within a group are not exchangeable"
    return ""


def _centred(columns: Array, cell: Array) -> Array:
    size = np.bincount(cell)
    out = np.array(columns, dtype=float)
    for j in range(columns.shape[1]):
        out[:, j] -= (np.bincount(cell, columns[:, j]) / size)[cell]
    return out


def _blocks(bundle: DataBundle) -> Blocks:
    weights = bundle.prior_weights
    rows = None if weights is None or np.all(weights > 0) else np.flatnonzero(weights > 0)
    return Blocks(bundle.re_metadata, rows)


def _refuse_unlike_rows(bundle: DataBundle, asked: str) -> None:
    from .rules import equal_weights

    parts = [("an offset", bundle.offset is not None), ("unequal weights", not equal_weights(bundle))]
    unlike = [name for name, there in parts if there]
    if unlike:
        raise InferenceError(
            asked=asked,
            found=f"{' and '.join(unlike)}: rows are not exchangeable",
            remedy="scheme='group_flip' keeps every row where it is",
        )
