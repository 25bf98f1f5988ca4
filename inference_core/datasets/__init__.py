"""Small documented frames that ship with the package: ``load_dataset("mtcars")``.

Factors come as ``pl.Enum`` with their levels in the order that R has them. A polars frame cannot say that an
Enum is *ordered*, and a mark that got lost on the first ``filter`` would be worse than none, so ordered
factors are treatment coded like any other unless asked: ``model(...,
contrasts=dataset_info("cake")["contrasts"])``, or ``ordered(x)`` in the formula, gives the polynomial
contrasts that R gives them.

The data are those of the reference cases (tests/reference/README.md says how they were written by R); the
registry holds sources, licences, a description and unit for each column, and the words that sentences use.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import polars as pl

from inference_core.errors import DataError
from inference_core.formula.names import suggest

__all__ = ["dataset_info", "dataset_of", "list_datasets", "load_dataset"]

_TYPES = {"double": pl.Float64, "integer": pl.Int64, "string": pl.String, "logical": pl.Boolean}


@lru_cache(maxsize=1)
def _registry() -> dict[str, dict[str, Any]]:
    return json.loads(files(__name__).joinpath("registry.json").read_text(encoding="utf-8"))


def list_datasets() -> tuple[str, ...]:
    """Names of the data sets, in alphabetical order."""
    return tuple(_registry())


def _entry(name: str) -> dict[str, Any]:
    registry = _registry()
    if not isinstance(name, str) or name not in registry:
        near = suggest(str(name), registry)
        raise DataError(
            asked=f"the data set {name!r}",
            found=f"there is none of that name; there are {', '.join(registry)}",
            remedy=f'did you mean "{near}"?'
            if near
            else "choose one of these, or read a file: model(formula, 'my.csv')",
        )
    return registry[name]


def dataset_info(name: str) -> dict[str, Any]:
    """What is known about a data set.

    Parameters
    ----------
    name : str
        One of ``list_datasets()``.

    Returns
    -------
    dict
        ``title, description, source, licence, origin`` ("experiment", "observational" or "case-control"),
        ``rows``, ``response`` (the usual one), ``unit_name`` and ``units`` (one row, rows), ``group`` and
        ``groups``, ``contrasts`` (codings that R gives its ordered factors), ``columns`` (name ->
        description, unit, type, levels) and ``labels`` (name -> words for sentences: response, unit, name,
        step, event, levels). A copy: change it freely.

    Raises
    ------
    DataError
        No data set of that name.
    """
    return {"name": name, **copy.deepcopy(_entry(name))}


@lru_cache(maxsize=32)
def _frame(name: str) -> pl.DataFrame:
    entry = _entry(name)
    columns: dict[str, dict[str, Any]] = entry["columns"]
    schema = {c: _TYPES.get(spec["type"], pl.String) for c, spec in columns.items()}
    path = files(__name__).joinpath("data", entry["file"])
    frame = pl.read_csv(path.read_bytes(), schema=schema, null_values=[""])
    factors = [pl.col(c).cast(pl.Enum(spec["levels"])) for c, spec in columns.items() if "levels" in spec]
    return frame.with_columns(factors)


def load_dataset(name: str) -> pl.DataFrame:
    """Load one of the data sets that ship with the package.

    Parameters
    ----------
    name : str
        One of ``list_datasets()``.

    Returns
    -------
    polars.DataFrame
        Factors are ``pl.Enum`` with their levels in R's order; an empty cell of the source is null.

    Raises
    ------
    DataError
        No data set of that name; the message says which there are.
    """
    return _frame(name).clone()


def dataset_of(frame: pl.DataFrame) -> str | None:
    """The data set a frame was made from, judged by its columns; None if it could be several or none.

    Rows may have been left out and columns added; every column of the data set must still be there with its
    levels.
    """
    schema = frame.schema
    fitting = [
        name
        for name, entry in _registry().items()
        if all(_same_column(schema.get(c), spec) for c, spec in entry["columns"].items())
    ]
    if len(fitting) > 1:  # penguins and penguins_na differ in their rows only
        fitting = [name for name in fitting if _registry()[name]["rows"] == frame.height] or fitting[:1]
    return fitting[0] if fitting else None


def _same_column(dtype: pl.DataType | None, spec: dict[str, Any]) -> bool:
    if dtype is None:
        return False
    if "levels" in spec:
        return isinstance(dtype, pl.Enum) and dtype.categories.to_list() == spec["levels"]
    return dtype == _TYPES[spec["type"]]
