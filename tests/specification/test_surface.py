"""The public surface of ``inference_core`` against the list that its specification was reduced to."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from pathlib import Path

import pytest

SURFACE = json.loads((Path(__file__).parent / "surface.json").read_text())
PACKAGE = SURFACE["package"]
NAMES = [(module, name, want) for module, names in SURFACE["modules"].items() for name, want in names.items()]


@pytest.mark.parametrize(("module", "name", "want"), NAMES, ids=[f"{module}.{name}" for module, name, _ in NAMES])
def test_is_as_specified(module, name, want):
    thing = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    if "value" in want:
        assert thing == want["value"]
    if "fields" in want:
        assert set(want["fields"]) <= set(inspect.signature(thing).parameters)
    if "params" not in want:
        return
    have = inspect.signature(thing).parameters
    for parameter, kind, default in want["params"]:
        assert parameter in have
        if kind == "positional":
            assert have[parameter].kind is not inspect.Parameter.KEYWORD_ONLY, parameter
        if default is not None:
            assert repr(have[parameter].default) == repr(_literal(default)), parameter
    named = {parameter for parameter, _, _ in want["params"]}
    for parameter in have.values():
        variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        assert parameter.name in named or variable or parameter.default is not inspect.Parameter.empty, parameter


@pytest.mark.parametrize(("sub", "names"), SURFACE["reexports"].items())
def test_is_reexported(sub, names):
    loaded = importlib.import_module(f"{PACKAGE}.{sub}" if sub else PACKAGE)
    assert [name for name in names if not hasattr(loaded, name)] == []


def _literal(text):
    """A default as the specification writes it: numbers, text, None, True, False, empty containers."""
    return ast.literal_eval(text)
