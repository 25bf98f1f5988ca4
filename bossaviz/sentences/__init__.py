"""What the panel says in words: pure functions from numbers to sentences, without widgets, clock or randomness."""

from __future__ import annotations

from .compose import sentence
from .expansions import one_dot
from .ink import Run
from .situation import Labels, Sentence, Situation, TermWords
from .status_line import Status, status

__all__ = ["Labels", "Run", "Sentence", "Situation", "Status", "TermWords", "one_dot", "sentence", "status"]
