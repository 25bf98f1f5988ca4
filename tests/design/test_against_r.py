"""The design of every lm and glm fit of the reference cases: R's columns, in R's order, from R's rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle

REFERENCE = Path(__file__).parents[1] / "reference"
SCHEMA = json.loads((REFERENCE / "data" / "schema.json").read_text())
FITS = [
    case
    for path in sorted((REFERENCE / "cases").glob("*.json"))
    if (case := json.loads(path.read_text()))["quantity"] in ("lm.fit", "glm.fit")
]


def load(case) -> pl.DataFrame:
    name = case["data"].split(".")[0]
    columns = SCHEMA[name]["columns"]
    frame = pl.read_csv(
        REFERENCE / "data" / case["data"],
        schema_overrides={c: pl.String for c, s in columns.items() if s["type"] in ("factor", "ordered", "string")},
        null_values=[""],
    )
    frame = frame.with_columns(pl.col(c).cast(pl.Enum(s["levels"])) for c, s in columns.items() if "levels" in s)
    if subset := case["model"].get("subset"):
        column, operator, value = subset.split()
        assert operator == "!="
        frame = frame.filter(pl.col(column) != float(value))
    return frame


def bundle_of(case):
    given = case["model"]
    return build_bundle(
        given["formula"],
        load(case),
        family=given["family"],
        contrasts=given.get("contrasts"),
        weights=given.get("weights"),
    )[1]


def plain(name: str) -> str:
    """A label with what only one of the two conventions writes taken away."""
    return name.replace("[", "").replace("]", "").replace("`", "")


@pytest.mark.parametrize("case", FITS, ids=[c["id"] for c in FITS])
def test_the_design_is_rs(case):
    bundle = bundle_of(case)
    terms = case["terms"]
    codings = set((case["model"].get("contrasts") or {}).values())
    assert bundle.p == len(terms)
    if codings <= {"contr.treatment", "contr.poly"}:  # R numbers the columns of the other codings
        assert [plain(n) for n in bundle.X_names] == [plain(t) for t in terms]
    values = case["values"]
    if "X_colsums" in values:
        # R writes 15 digits; sums over a few hundred rows lose a few of them, and columns of contr.poly sum to 0
        np.testing.assert_allclose(bundle.X.sum(axis=0), values["X_colsums"], rtol=1e-11, atol=1e-10)
        np.testing.assert_allclose((bundle.X**2).sum(axis=0), values["X_colsumsq"], rtol=1e-11, atol=1e-12)
        assert bundle.n_total - bundle.n == values["rows_dropped"]
    if "nobs" in values:
        assert bundle.n == values["nobs"]
    if "rank" in values:
        assert bundle.rank_info.rank == values["rank"]
        aliased = [j for j, c in enumerate(values["coef"]) if c == "NA"]
        assert list(bundle.rank_info.dropped) == aliased


@pytest.mark.parametrize("case", [c for c in FITS if c["quantity"] == "lm.fit"], ids=lambda c: c["id"])
def test_least_squares_on_the_design_gives_rs_coefficients(case):
    """Coefficients column by column, so that neither order nor coding can be off by a permutation."""
    bundle = bundle_of(case)
    y = bundle.y if bundle.offset is None else bundle.y - bundle.offset
    root = np.ones(bundle.n) if bundle.weights is None else np.sqrt(bundle.weights)
    kept = bundle.rank_info.kept
    coef = np.linalg.lstsq(bundle.X[:, kept] * root[:, None], y * root, rcond=None)[0]
    expected = [float(c) for c in case["values"]["coef"] if c != "NA"]
    # both solve the same problem in double precision; condition numbers here stay below 1e7
    np.testing.assert_allclose(coef, expected, rtol=1e-7, atol=1e-9)
