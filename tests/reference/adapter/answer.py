"""What an adapter hands back: values under the case's own names, and what is known about the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """The product's side of one case.

    ``values`` mirrors the case's ``values`` as far as it goes. ``inputs`` are fields that belong to the
    question, such as a number of draws; their names count at any depth. ``apart`` maps a field to the reason why
    numbers need not agree. ``mcse`` mirrors ``values`` with Monte-Carlo standard errors, for what is simulated on both
    sides. Every other field of the case is one this version cannot produce yet; the run counts those.
    """

    values: dict[str, Any]
    inputs: frozenset[str] = frozenset()
    apart: dict[str, str] = field(default_factory=dict)
    mcse: dict[str, Any] | None = None
