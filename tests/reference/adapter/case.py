"""A reference case: its values, its data as a polars frame, and its model in the words of this package."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from inference_core import model
from inference_core.errors import InferenceCoreWarning

from .subset import read_subset

FAMILIES = {"Gamma": "gamma", "inverse.gaussian": "inverse_gaussian"}  # the others have one name in both
LINKS = {"1/mu^2": "inverse_squared"}
CODINGS = {
    "contr.treatment": "treatment", "contr.sum": "sum", "contr.helmert": "helmert", "contr.poly": "poly",
    "contr.sdif": "sequential",
}  # fmt: skip


def load_cases(folder: Path) -> Iterator[Case]:
    """Every case of a folder, in the order of its manifest."""
    for entry in json.loads((folder / "manifest.json").read_text()):
        yield Case(folder, json.loads((folder / "cases" / entry["file"]).read_text()))


@dataclass(frozen=True)
class Case:
    """One file of ``cases/``."""

    folder: Path
    raw: dict[str, Any]

    @property
    def id(self) -> str:
        """The case's name, for people; nothing may be decided by it."""
        return self.raw["id"]

    @property
    def quantity(self) -> str:
        """What family of values this is."""
        return self.raw["quantity"]

    @property
    def fun(self) -> str:
        """R's fitting function."""
        return self.raw["model"]["fun"]

    @property
    def family(self) -> str:
        """R's name of the family."""
        return self.raw["model"].get("family", "gaussian")

    @property
    def terms(self) -> list[str]:
        """R's names of the coefficients, in order."""
        return self.raw["terms"]

    @property
    def separated(self) -> bool:
        """Whether the case itself says that its coefficients diverge."""
        return self.raw["tolerance"].get("reason", "").startswith("separated data")

    @cached_property
    def values(self) -> dict[str, Any]:
        """The reference values, with "Inf", "NaN" and "NA" read as floats."""
        return {name: _numbers(value) for name, value in self.raw["values"].items()}

    @cached_property
    def schema(self) -> dict[str, dict[str, Any]]:
        """Column name -> type and levels."""
        tables = json.loads((self.folder / "data" / "schema.json").read_text())
        return next(t["columns"] for t in tables.values() if t["file"] == self.raw["data"])

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The data as the model saw them: factor levels applied, the subset taken."""
        frame = read_data(self.folder / "data" / self.raw["data"], self.schema)
        subset = self.raw["model"].get("subset")
        return frame.filter(read_subset(subset)) if subset else frame

    def index_matrix(self, key: str = "index") -> np.ndarray:
        """(B, n) 0-based row numbers of the case's resamples."""
        return pl.read_csv(self.folder / "data" / self.raw["files"][key]).to_numpy().astype(np.int64)

    def fitted(self, frame: pl.DataFrame | None = None, **override: Any):
        """The case's model, fitted through the public API (to another frame, if one is given)."""
        nodes = {"nAGQ": self.raw["model"]["nAGQ"]} if self.fun == "glmer" else {}
        with warnings.catch_warnings():  # separated data warn; what the fit says of them is looked at by ``glm_fit``
            warnings.simplefilter("ignore", InferenceCoreWarning)
            return self.model(frame, **override).fit(**nodes)

    def model(self, frame: pl.DataFrame | None = None, **override: Any):
        """The case's model before it is fitted."""
        return self.model_of(self.raw["model"]["formula"], frame, **override)

    def model_of(self, formula: str, frame: pl.DataFrame | None = None, **override: Any):
        """A model of another formula, in all else the case's."""
        frame = self.frame if frame is None else frame
        formula, frame = _without_unclass(formula, frame, self.schema)
        description = self.raw["model"]
        link = description.get("link", "identity")
        arguments: dict[str, Any] = {
            "family": FAMILIES.get(self.family, self.family),
            "link": LINKS.get(link, link),
            "contrasts": self._contrasts(formula) or None,
            "weights": description.get("weights"),
            "offset": description.get("offset"),
        }
        if self.fun == "lmer":
            arguments["method"] = description["method"].lower()
        return model(formula, frame, **arguments | override)

    def _contrasts(self, formula: str) -> dict[str, str]:
        """Codings by column. What R does unasked (treatment for a plain factor) is left unasked here too."""
        words = set(re.findall(r"[A-Za-z_][\w]*", formula.split("~", 1)[1]))
        codings = {c: "poly" for c, s in self.schema.items() if s["type"] == "ordered" and c in words}
        for column, name in self.raw["model"].get("contrasts", {}).items():
            if column in self.schema and CODINGS[name] != "treatment":
                codings[column] = CODINGS[name]
            elif column in codings:
                codings[column] = "treatment"
        return codings


def read_data(path: Path, schema: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """A csv(.gz) of the reference folder; an empty cell is missing, factors carry their levels in order."""
    text = pl.read_csv(path, infer_schema=False, null_values=["", "NA"])
    return text.select(_typed(name, column) for name, column in schema.items())


def _typed(name: str, column: dict[str, Any]) -> pl.Expr:
    kinds = {"double": pl.Float64, "integer": pl.Int64, "string": pl.String}
    if column["type"] in kinds:
        return pl.col(name).cast(kinds[column["type"]])
    if column["type"] == "logical":
        return pl.col(name).str.to_uppercase() == "TRUE"
    return pl.col(name).cast(pl.Enum(column["levels"]))


def _without_unclass(formula: str, frame: pl.DataFrame, schema: dict[str, Any]) -> tuple[str, pl.DataFrame]:
    """R's ``unclass(factor)`` is its integer code; here that is a column of its own."""
    for name in set(re.findall(r"unclass\((\w+)\)", formula)):
        code = pl.col(name).to_physical().cast(pl.Float64) + 1.0
        frame = frame.with_columns(code.alias(f"{name}_code"))
        formula = formula.replace(f"unclass({name})", f"{name}_code")
    return formula, frame


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return (
        {"NA": np.nan, "NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf}.get(value, value)
        if isinstance(value, str)
        else value
    )
