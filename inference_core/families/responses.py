"""Responses a family cannot have had: each refusal says how many values, and where the first one stands."""

from __future__ import annotations

import numpy as np

from inference_core.errors import DataError
from inference_core.states.base import Array


def _refuse(bad: Array, y: Array, y_name: str, rows: Array | None, asked: str, found: str, remedy: str) -> None:
    if not np.any(bad):
        return
    first = int(np.argmax(bad))
    row = first if rows is None else int(rows[first])
    found = found.format(y=y_name, k=int(np.count_nonzero(bad)))
    raise DataError(asked, f"{found} (the first is {float(y[first]):g}, in row {row} counting from 0)", remedy)


def any_number(y: Array, trials: Array | None = None, *, y_name: str = "y", rows: Array | None = None) -> None:
    """Finite numbers."""
    _refuse(
        ~np.isfinite(y),
        y,
        y_name,
        rows,
        f'a model of "{y_name}"',
        '"{y}" has {k} values that are not finite numbers',
        "remove or recode these rows, or check the transform on the left of ~",
    )


def positive(
    y: Array,
    trials: Array | None = None,
    *,
    y_name: str = "y",
    rows: Array | None = None,
    label: str = "Gamma",
) -> None:
    """Numbers above 0."""
    any_number(y, y_name=y_name, rows=rows)
    article = "An" if label[0] in "aeiou" else "A"
    _refuse(
        y <= 0,
        y,
        y_name,
        rows,
        f'{article.lower()} {label} model of "{y_name}"',
        f'{article} {label} model needs values above 0; "{{y}}" has {{k}} at or below 0',
        "Use gaussian with `log(y + c)`, or check the rows.",
    )


def count(
    y: Array,
    trials: Array | None = None,
    *,
    y_name: str = "y",
    rows: Array | None = None,
    label: str = "Poisson",
) -> None:
    """Whole numbers from 0."""
    not_negative(y, y_name=y_name, rows=rows, label=label)
    # 1e-7 relative: counts that went through a division and back
    _refuse(
        np.abs(y - np.rint(y)) > 1e-7 * np.maximum(1.0, y),
        y,
        y_name,
        rows,
        f'a {label} model of "{y_name}"',
        f'A {label} model needs whole counts; "{{y}}" has {{k}} that are not',
        "Model the count and put its exposure into offset(log(exposure)), or use 'quasipoisson' or 'gamma'.",
    )


def not_negative(
    y: Array,
    trials: Array | None = None,
    *,
    y_name: str = "y",
    rows: Array | None = None,
    label: str = "quasi-Poisson",
) -> None:
    """Numbers from 0."""
    any_number(y, y_name=y_name, rows=rows)
    _refuse(
        y < 0,
        y,
        y_name,
        rows,
        f'a {label} model of "{y_name}"',
        f'A {label} model needs counts of 0 or more; "{{y}}" has {{k}} below 0',
        "Use gaussian, or check the rows.",
    )


def proportion(y: Array, trials: Array | None = None, *, y_name: str = "y", rows: Array | None = None) -> None:
    """Numbers from 0 to 1, and trials that are not negative."""
    any_number(y, y_name=y_name, rows=rows)
    _refuse(
        (y < 0) | (y > 1),
        y,
        y_name,
        rows,
        f'a binomial model of "{y_name}"',
        'A binomial model needs two levels, or values from 0 to 1; "{y}" has {k} outside',
        "Use cbind(successes, failures), a 0/1 column, or a proportion with weights= the number of trials.",
    )
    if trials is not None:
        _refuse(
            ~(trials >= 0),
            trials,
            y_name,
            rows,
            f'a binomial model of "{y_name}"',
            'the number of trials behind "{y}" is negative or missing in {k} rows',
            "Check the two columns of cbind(), or the weights.",
        )
