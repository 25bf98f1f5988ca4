"""Still pictures: a specification with its data inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np


def filled(spec: dict, data: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]) -> dict:
    """Return ``spec`` with its named data and the values of its parameters inside; the original is not touched."""
    out = copy.deepcopy(spec)
    for param in out.get("params", ()):
        if param["name"] in params:
            param["value"] = params[param["name"]]
    out["datasets"] = {name: _rows(columns) for name, columns in data.items()}
    return out


def _rows(columns: Mapping[str, Any]) -> list[dict]:
    names = list(columns)
    values = [np.asarray(columns[name]).tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
