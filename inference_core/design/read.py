"""Anything that holds a table to a polars frame."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".json", ".ndjson", ".jsonl")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
MISSING_WORDS = ["", "NA", "NaN", "nan"]  # cells of a text file that mean: no value
# What polars, pandas and pyarrow raise (ArrowInvalid is a ValueError, ArrowNotImplementedError a NotImplementedError).
_UNREADABLE = (TypeError, ValueError, OverflowError, ImportError, NotImplementedError)
_REMEDY = "give a polars, pandas or pyarrow table, a dict of columns, or the path of a csv, tsv, parquet or json file"


def read_frame(data: Any) -> pl.DataFrame:
    """Read data into a polars frame.

    Parameters
    ----------
    data : frame, str, Path or dict
        A polars frame or lazy frame; anything narwhals knows (pandas, pyarrow, ...); the path of a csv, tsv,
        parquet, json or ndjson file, the text formats also as ``.gz``; or a dict from column to values.
        Ordered or unordered categories of pandas become a ``pl.Enum`` with their levels in the same order.

    Returns
    -------
    polars.DataFrame
        A polars frame itself; otherwise nothing that changes when ``data`` are changed later.

    Raises
    ------
    DataError
        No such file, a suffix that is not known, columns of unequal length, or something that is no table.
    """
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if data is None:
        raise DataError("a model without data", "data is None", _REMEDY)
    if isinstance(data, (str, Path)):
        return _read_path(Path(data))
    if isinstance(data, Mapping):
        return _read_columns(data)
    if isinstance(data, Sequence):
        rows = "a list of rows" if data and isinstance(data[0], Mapping) else f"a {type(data).__name__}"
        raise DataError(f"data as {rows}", "a model needs named columns", "write pl.DataFrame(rows) first")
    if isinstance(data, np.ndarray):
        raise DataError(
            f"data as an array of shape {data.shape}",
            "its columns have no names",
            'write {"x": array[:, 0], …}',
        )
    return _read_foreign(data)


def _read_foreign(data: Any) -> pl.DataFrame:
    """A frame of another library, through narwhals."""
    import narwhals.stable.v1 as nw

    if type(data).__name__ == "RecordBatch":  # of pyarrow: narwhals knows its tables only
        import pyarrow

        data = pyarrow.table(data)
    try:
        frame = nw.from_native(data)
    except TypeError:
        raise DataError(f"data of type {type(data).__name__}", "it is not a table", _REMEDY) from None
    except nw.exceptions.DuplicateError:
        twice = sorted({str(c) for c in data.columns if list(data.columns).count(c) > 1})
        raise DataError(
            asked=f"data of type {type(data).__name__}",
            found=f'more than one column is called "{twice[0]}"',
            remedy="rename one of them",
        ) from None
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if frame.implementation.is_pandas():
        return _read_pandas(frame.to_native())
    try:
        return frame.to_polars()
    except (pl.exceptions.PolarsError, *_UNREADABLE) as error:
        raise DataError(
            asked=f"data of type {type(data).__name__}",
            found=f"a column cannot be read: {_first_line(error)}",
            remedy="convert that column to numbers or text",
        ) from None


def _read_pandas(data: Any) -> pl.DataFrame:
    """A pandas frame, column by column, so that a refusal can name the column. The index is left behind."""
    import pandas

    columns: dict[str, pl.Series] = {}
    for position, name in enumerate(data.columns):
        key, values = str(name), data.iloc[:, position]
        if key in columns:
            raise DataError("this pandas frame", f'two columns are called "{key}"', "rename one of them")
        try:
            if isinstance(values.dtype, pandas.CategoricalDtype):
                levels = [str(c) for c in values.cat.categories]
                codes = values.cat.codes.to_numpy()
                words = pl.Series(key, [levels[c] if c >= 0 else None for c in codes], dtype=pl.String)
                columns[key] = words.cast(pl.Enum(levels))
            else:
                columns[key] = pl.from_pandas(values.reset_index(drop=True).copy()).alias(key)
        except (pl.exceptions.PolarsError, *_UNREADABLE) as error:
            raise DataError(
                asked=f'column "{key}" of a pandas frame',
                found=f"it cannot be read: {_first_line(error)}",
                remedy="make it all numbers or all text",
            ) from None
    return pl.DataFrame(list(columns.values()))


def _read_columns(data: Mapping[Any, Any]) -> pl.DataFrame:
    """A dict of columns, each with the same number of values."""
    columns: list[pl.Series] = []
    for name, values in data.items():
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise DataError(f'column "{name}"', f"it is one {type(values).__name__}, not a column", "write [value, …]")
        try:
            if isinstance(values, pl.Series):
                columns.append(values.alias(str(name)))
            elif type(values).__module__.startswith("pandas"):
                columns.append(_read_pandas(_as_pandas_frame(str(name), values)).to_series())
            else:
                array = values if isinstance(values, np.ndarray) else list(values)
                if isinstance(array, np.ndarray) and array.ndim != 1:
                    raise DataError(f'column "{name}"', f"an array of shape {array.shape}", "give one column at a time")
                columns.append(_series(str(name), array))
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f'column "{name}"',
                f"it cannot be read: {_first_line(error)}",
                "make it all numbers or all text",
            ) from None
    lengths = {c.len() for c in columns}
    if len(lengths) > 1:
        listed = ", ".join(f"{c.name} {c.len()}" for c in columns[:8])
        raise DataError("data as a dict of columns", f"the columns differ in length: {listed}", "make them equal")
    return pl.DataFrame(columns)


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, np.ndarray):  # a copy: polars would look into the caller's array for good
        values = values.tolist() if values.dtype == object else values.copy()
    if isinstance(values, list) and _mixes_whole_and_fractional(values):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    return pl.Series(name, values, strict=True)


def _mixes_whole_and_fractional(values: list[Any]) -> bool:
    """Whether a list holds ints *and* floats, as ``[1, 2, 3.5]``: numbers to a person, an error to strict polars."""
    kinds = {type(v) for v in values if v is not None}
    return kinds == {int, float}


def _as_pandas_frame(name: str, values: Any) -> Any:
    import pandas

    return pandas.DataFrame({name: pandas.Series(values).reset_index(drop=True)})


def _read_path(path: Path) -> pl.DataFrame:
    suffixes = [s.lower() for s in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = suffixes[-2] if packed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if kind not in SUFFIXES or (packed and kind not in TEXT_SUFFIXES):
        raise DataError(
            asked=f"data from {path}",
            found=f'the ending "{"".join(path.suffixes) or path.name}" is not one that can be read',
            remedy=f"use one of {', '.join(SUFFIXES)}, the text ones also with .gz",
        )
    if not path.is_file():
        raise DataError(
            asked=f"data from {path}",
            found="there is a folder of that name" if path.is_dir() else _no_file(path),
            remedy="check the spelling; a relative path starts where Python was started",
        )
    try:
        if kind == ".parquet":
            return pl.read_parquet(path)
        content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        if kind in (".csv", ".tsv"):
            return pl.read_csv(
                io.BytesIO(content), separator="\t" if kind == ".tsv" else ",", null_values=MISSING_WORDS,
                infer_schema_length=None,
            )  # fmt: skip
        return pl.read_json(io.BytesIO(content)) if kind == ".json" else pl.read_ndjson(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            asked=f"data from {path}",
            found=f"it cannot be read as {kind.lstrip('.')}: {_first_line(error)}",
            remedy="open the file and look at its first lines",
        ) from None


def _no_file(path: Path) -> str:
    from inference_core.formula.names import suggest

    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    near = suggest(path.name, [p.name for p in folder.iterdir()])
    return "there is no such file" + (f'; there is "{near}"' if near else "")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
