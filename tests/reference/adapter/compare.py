"""Comparing an answer with a case, field by field, at the tolerance the case states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .answer import Answer

MONTE_CARLO = "mc."
SIGMAS = 4.0  # the README of the folder: |a - b| <= 4 sqrt(mcse_a^2 + mcse_b^2)


@dataclass
class Comparison:
    """What one case came to: failures in words, and the paths of fields by what became of them."""

    failures: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)


def compare(values: dict[str, Any], answer: Answer, tolerance: dict[str, Any]) -> Comparison:
    """Hold an answer against a case's values."""
    result = Comparison()
    unknown = sorted(set(_paths(answer.values)) - set(_paths(values)))
    if unknown:
        result.failures.append(f"the adapter answers fields the case does not have: {', '.join(unknown)}")
    for path, wanted in _leaves(values):
        name = path[0]
        if name in answer.inputs or path[-1] in answer.inputs or path[-1].endswith("_mcse"):
            result.inputs.append(".".join(path))
        elif (got := _reach(answer.values, path)) is not None:
            result.compared.append(".".join(path))
            allowed = _allowance(path, wanted, answer, values, tolerance)
            result.failures.extend(_differences(".".join(path), got, wanted, allowed))
        elif name in answer.apart:
            result.apart.append(".".join(path))
        else:
            result.waiting.append(".".join(path))
    return result


def _allowance(path, wanted, answer: Answer, values, tolerance):
    """Largest distance allowed, as a number or an array of the value's shape."""
    if isinstance(wanted, str) or _is_text(wanted):
        return 0.0
    mcse = _reach(answer.mcse, path) if answer.mcse else None
    if mcse is not None:
        return SIGMAS * np.asarray(mcse, float)
    by_field = tolerance.get("by_field") or {}
    rel = next((by_field[name] for name in reversed(path) if name in by_field), tolerance["rel"])
    return tolerance.get("abs", 0.0) + rel * np.abs(np.asarray(wanted, float))


def _differences(name: str, got, wanted, allowed) -> list[str]:
    if isinstance(wanted, str) or _is_text(wanted):
        same = list(got) == list(wanted) if _is_text(wanted) else got == wanted
        return [] if same else [f"{name}: {got!r}, not {wanted!r}"]
    a, b = np.asarray(got, float), np.asarray(wanted, float)
    if a.shape != b.shape:
        return [f"{name}: shape {a.shape}, not {b.shape}"]
    with np.errstate(invalid="ignore"):
        near = np.isfinite(b) & (np.abs(a - b) <= allowed)
        fine = (a == b) | (np.isnan(a) & np.isnan(b)) | near
    if fine.all():
        return []
    where = tuple(int(i[0]) for i in np.nonzero(~np.atleast_1d(fine)))
    a1, b1 = np.atleast_1d(a)[where], np.atleast_1d(b)[where]
    room = np.broadcast_to(np.atleast_1d(allowed), np.atleast_1d(b).shape)[where]
    return [
        f"{name}: {np.count_nonzero(~fine)} of {b.size} differ; first at {list(where)}: "
        f"{a1!r}, not {b1!r} (off by {abs(a1 - b1):.3g}, allowed {room:.3g})"
    ]


def _is_text(value) -> bool:
    return isinstance(value, list) and any(isinstance(v, str) for v in value)


def _leaves(values, path=()):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _paths(values):
    return (".".join(path) for path, _ in _leaves(values))


def _reach(values, path):
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return None
        values = values[name]
    return values
