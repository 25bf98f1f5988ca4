"""Frozen snapshots of what the reader chose: what must be drawn, and how draws are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrawQuery:
    """Which draws: a compute control changes this, and the draws are others."""

    how: str
    scheme: str
    seed: int


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """How stored draws are read: a display control changes this, and nothing is drawn anew."""

    term: str
    ci_type: str
    conf_level: float
    null: float
    alternative: str
