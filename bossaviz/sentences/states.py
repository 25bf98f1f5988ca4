"""States of a run: cancelled, failed refits, out of date, rows left out. They join a sentence last."""

from __future__ import annotations

from typing import NamedTuple

from . import ink, numbers, thresholds, words
from .fill import Filler
from .situation import Situation
from .templates import STATES


class State(NamedTuple):
    """A state that holds; ``replaces`` tells whether it may push the second sentence into *more*."""

    id: str
    replaces: bool
    tone: str


def state_of(s: Situation) -> State | None:
    """The state that matters most; ST4 and ST5 are rows of their own and are not asked for here."""
    share = thresholds.failure_share(s)
    if s.stale:
        return State("ST6", True, "caution")
    if s.cancelled and s.requested > thresholds.total_draws(s) > 0:
        return State("ST1", True, "caution")
    if share > thresholds.FAILURES_SOME:
        return State("ST3", True, "caution")
    if share > 0:
        return State("ST2", False, "info")
    if s.n_total > s.n > 0:
        return State("ST7", False, "info")
    return None


def state_text(state: State, filler: Filler) -> str:
    """The sentence or sentences of a state."""
    template = STATES[state.id]
    if thresholds.total_draws(filler.s) == 1:
        template = template.replace("those {done}", "that one")
    return filler.fill(template, state_values(filler))


def state_values(filler: Filler) -> dict[str, str]:
    """Values of the templates of states."""
    s = filler.s
    old, new = s.stale or ("", "")
    done = thresholds.total_draws(s)
    return {
        **failed_values(filler),
        "done": ink.sim(numbers.count(done)),
        "B": ink.sim(numbers.count(s.requested if s.cancelled else done)),
        "rest": numbers.count(max(0, s.requested - done)),
        "old": old,
        "new": new,
        "k": ink.real(numbers.count(s.n_total - s.n)),
        "n": ink.real(numbers.count(s.n_total)),
    }


def failed_values(filler: Filler) -> dict[str, str]:
    """Values of the sentences about refits that gave nothing."""
    s = filler.s
    done = thresholds.total_draws(s)
    return {
        "fail": ink.sim(numbers.count(s.failures)),
        "B": ink.sim(numbers.count(done)),
        "is_are": "is" if s.failures == 1 else "are",
        "pct": numbers.share(s.failures, done) if done else "0",
        "reason": words.reason(s),
        "better": words.BETTER.get(s.reason, words.BETTER[""]),
        "remedy": words.REMEDIES.get(s.remedy or s.reason, words.REMEDIES[""]),
    }
