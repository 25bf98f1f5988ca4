"""What fit_lm and fit_glm share: checks before, and names for what was dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.errors import DataError, FitError
from inference_core.families import Family, get_family, with_params
from inference_core.states import Array, DataBundle, FitState, ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The rows that count (positive weight) and the columns that can be estimated: m rows, r columns."""

    X: Array  # (m, r)
    y: Array  # (m,)
    weights: Array | None  # (m,) prior weights times trials
    offset: Array | None  # (m,)
    trials: Array | None  # (m,)
    kept: Array  # (r,) columns of the bundle
    rows: Array | None  # (m,) rows of the bundle, None for all

    @property
    def m(self) -> int:
        """Rows with positive weight."""
        return self.y.shape[0]


def fitted_family(spec: ModelSpec, fit: FitState) -> Family:
    """The model's family at the parameters the fit found (theta of a negative binomial, scale of Student's
    t).
    """
    return with_params(get_family(spec.family, spec.link), fit.family_params)


def pose(bundle: DataBundle, family: Family) -> Problem:
    """Check the response, the weights and the offset against the family, and leave out rows of weight 0.

    Raises
    ------
    DataError
        A response, weight or offset that cannot be, with its row; no rows left; a response that is constant.
    """
    source = np.flatnonzero(bundle.valid_mask) if bundle.valid_mask.shape[0] == bundle.n_total else None
    if source is not None and source.shape[0] != bundle.n:
        source = None
    if bundle.n == 0:
        raise DataError(
            f'a model of "{bundle.y_name}"',
            "no row is complete",
            "check the columns with missing values, or leave one out of the formula",
        )
    weights = bundle.prior_weights
    _check_finite(bundle.offset, "offset", bundle, source)
    _check_finite(weights, "weight", bundle, source)
    rows = None
    if weights is not None:
        if np.any(weights < 0):
            row = int(np.argmax(weights < 0))
            raise DataError(
                "a weighted model",
                f"the weight in row {_row(row, source)} is {weights[row]:g}, below 0",
                "weights must be 0 or more; 0 leaves a row out",
            )
        if not np.all(weights > 0):
            rows = np.flatnonzero(weights > 0)
            if rows.size == 0:
                raise DataError("a weighted model", "every weight is 0", "check the weights")
    family.check_response(bundle.y, bundle.trials, y_name=bundle.y_name, rows=source)
    kept = np.asarray(bundle.rank_info.kept)

    def take(values: Array | None) -> Array | None:
        return values if values is None or rows is None else values[rows]

    X = bundle.X_estimable
    problem = Problem(
        X if rows is None else np.ascontiguousarray(X[rows]),
        np.asarray(take(bundle.y)),
        take(weights),
        take(bundle.offset),
        take(bundle.trials),
        kept,
        rows,
    )
    refuse_constant(problem, bundle)
    return problem


def refuse_constant(problem: Problem, bundle: DataBundle) -> None:
    """A response that is the same in every row, and no offset that differs, leaves nothing to explain
    (S33).
    """
    y, off = problem.y, problem.offset
    if y.min() == y.max() and (off is None or off.min() == off.max()):
        raise DataError(
            f'a model of "{bundle.y_name}"',
            f'"{bundle.y_name}" is the same in every row ({y[0]:g}), so there is nothing to explain',
            "Check the column or the filter.",
        )


def refuse_saturated(m: int, rank: int, bundle: DataBundle) -> None:
    """As many coefficients as rows: every row is fitted exactly and nothing is left to measure the noise."""
    if m <= rank:
        raise FitError(
            f'a model of "{bundle.y_name}" with {rank} coefficient{"s" if rank != 1 else ""}',
            f"{m} row{'s' if m != 1 else ''} of data: at least {rank + 1} are needed to measure the noise",
            "leave terms out, or bring more rows",
        )


def dropped_message(bundle: DataBundle, kept: Array) -> tuple[str, ...]:
    """Names of the columns that could not be estimated, as one message, or nothing."""
    lost = [bundle.X_names[j] for j in range(bundle.p) if j not in set(kept.tolist())]
    if not lost:
        return ()
    verb = "is a combination" if len(lost) == 1 else "are combinations"
    return (f"not estimated: {', '.join(lost)} {verb} of earlier columns, or constant",)


def has_intercept(bundle: DataBundle) -> bool:
    """Whether the design has an intercept column of its own."""
    return bool(np.any(np.asarray(bundle.term_of_column) == -1))


def expand(values: Array, kept: Array, p: int) -> Array:
    """(r,) estimates put into (p,), NaN where a column was dropped."""
    out = np.full(p, np.nan)
    out[kept] = values
    return out


def _row(row: int, source: Array | None) -> int:
    return row if source is None else int(source[row])


def _check_finite(values: Array | None, what: str, bundle: DataBundle, source: Array | None) -> None:
    if values is not None and not np.all(np.isfinite(values)):
        row = int(np.argmin(np.isfinite(values)))
        raise DataError(
            f'a model of "{bundle.y_name}"',
            f"the {what} in row {_row(row, source)} counting from 0 is not a finite number",
            f"remove the row, or check what makes the {what}",
        )
