"""What a chart's specification expects from outside, and the message form of its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from inference_core.errors import DataError

MAX_ROWS = 20_000  # of one dataset: beyond it a browser falls behind; 200 are enough for a picture of bins


def dataset_names(spec: Any) -> list[str]:
    """Return the names of the datasets a Vega-Lite spec expects from outside, in order of appearance."""
    names: dict[str, None] = {}

    def walk(node: Any) -> None:
        if isinstance(node, Mapping):
            source = node.get("data")
            if isinstance(source, Mapping) and "name" in source and set(source) <= {"name", "format"}:
                names[source["name"]] = None
            for key, inner in node.items():
                if key != "datasets":
                    walk(inner)
        elif isinstance(node, (list, tuple)):
            for inner in node:
                walk(inner)

    walk(spec)
    return list(names)


def param_names(spec: Mapping) -> list[str]:
    """Return the names of the top-level variable params of a Vega-Lite spec: those that can be set."""
    return [param["name"] for param in spec.get("params", ()) if "select" not in param]


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can say it: NumPy unwrapped, numbers that are not finite as ``None``."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(inner) for inner in value]
    return value


def columns_of(name: str, table: Any) -> dict[str, np.ndarray]:
    """Return the columns of one dataset as one-dimensional arrays of one length.

    ``table`` is a mapping of columns or a data frame. Raises ``DataError`` naming the column when lengths
    differ, when a column is not one-dimensional, or when there are more than ``MAX_ROWS`` rows.
    """
    if not isinstance(table, Mapping):
        table = {column: table[column] for column in table.columns}
    columns = {column: np.asarray(values) for column, values in table.items()}
    rows = None
    for column, values in columns.items():
        if values.ndim != 1:
            raise DataError(
                asked=f"column {column!r} of dataset {name!r} in a chart",
                found=f"an array of shape {values.shape}",
                remedy="give one value a row",
            )
        if rows is not None and len(values) != rows:
            raise DataError(
                asked=f"dataset {name!r} in a chart",
                found=f"column {column!r} has {len(values)} values, the columns before it {rows}",
                remedy="give columns of one length",
            )
        rows = len(values)
    if (rows or 0) > MAX_ROWS:
        raise DataError(
            asked=f"dataset {name!r} in a chart",
            found=f"{rows:,} rows, and a browser draws at most {MAX_ROWS:,} in time",
            remedy="bin or thin them in Python",
        )
    return columns


def encode(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the message form of a dataset: numeric columns in one float64 buffer, the others as lists.

    Keys: ``rows``; ``numbers``, the numeric columns' names in the buffer's order; ``buffer``, column after
    column, 8 * rows * len(numbers) bytes, little endian; ``lists``, name -> values, for text and booleans.
    Numbers that are not finite become null in the browser.
    """
    numbers = {name: values for name, values in columns.items() if values.dtype.kind in "iuf"}
    lists = {name: plain(values.tolist()) for name, values in columns.items() if name not in numbers}
    flat = [np.ascontiguousarray(values, dtype="<f8") for values in numbers.values()]
    return {
        "rows": rows_of(columns),
        "numbers": list(numbers),
        "buffer": b"".join(part.tobytes() for part in flat),
        "lists": lists,
    }


def records(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the dataset as a list of rows, as the browser makes it from ``encode``."""
    lists = {name: plain(values) for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def rows_of(columns: Mapping[str, Any]) -> int:
    """Return the number of rows of a dataset; 0 without columns."""
    return len(next(iter(columns.values()), ()))
