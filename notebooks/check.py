"""Answers to the exercises: ``check(key, value)`` says "ok", or gives a hint that names the likely slip.

Deterministic answers must agree to half a unit of the last digit shown. Simulated ones may differ by chance:
they pass within four Monte-Carlo standard errors, so any seed passes. No server, no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slip:
    """A wrong answer people give, and the question that puts them right."""

    value: float
    within: float
    hint: str


@dataclass(frozen=True)
class Answer:
    """What an exercise comes to: ``value`` ± ``within``, shown with ``digits`` decimals."""

    value: float
    within: float
    digits: int = 0
    simulated: bool = True
    slips: Sequence[Slip] = ()

    def __str__(self) -> str:
        value = f"{self.value:,.{self.digits}f}"
        return f"{value} ± {self.within:,.{self.digits}f}" if self.simulated else value


SD_OF_BIRDS = Slip(384, 6, "How far apart are *birds*? We asked how far apart the *dots* are.")
SHRUNK_BY_B = Slip(23.1, 4.0, "Did you change B or n? Press undo and look at which box moved.")
GREW_N = Slip(46.3, 6.0, "Did you stack the rows? n should read 272 in the first line of the panel.")

# Expected values from 100,000 draws; ± four Monte-Carlo standard errors at the exercise's number of draws.
ANSWERS = {
    "01.1 spread of 1,000 dots": Answer(46.3, 4.1, 1, slips=[SD_OF_BIRDS, SHRUNK_BY_B]),
    "01.1 formula": Answer(46.6, 0.05, 1, simulated=False, slips=[SD_OF_BIRDS]),
    "01.2 lower": Answer(
        3657, 12, slips=[Slip(3643, 10, "That is the 95% limit. Which level did we ask for?")]
    ),
    "01.2 upper": Answer(
        3809, 12, slips=[Slip(3824, 12, "That is the 95% limit. Which level did we ask for?")]
    ),
    "01.3 spread of 4,000 dots": Answer(46.3, 2.1, 1, slips=[SD_OF_BIRDS, SHRUNK_BY_B]),
    "01.3 spread with stacked rows": Answer(23.1, 2.1, 1, slips=[GREW_N]),
}


def check(key: str, value: float) -> None:
    """Compare an answer with what the exercise expects, and print the outcome; ``...`` is no answer yet."""
    try:
        answer = ANSWERS[key]
    except KeyError:
        raise KeyError(f"no exercise is called {key!r}; there are {', '.join(ANSWERS)}") from None
    print("your turn: write a number instead of ..." if value is ... else outcome(answer, float(value)))


def outcome(answer: Answer, value: float) -> str:
    """The sentence for a value: "ok", a hint for a known slip, or where the answer lies."""
    if abs(value - answer.value) <= answer.within:
        return f"ok: {answer}"
    for slip in answer.slips:
        if abs(value - slip.value) <= slip.within:
            return f"not yet. {slip.hint}"
    side = "lower" if value < answer.value else "higher"
    given = f"{value:,.{answer.digits}f}"
    return f"not yet: your {given} is {side} than it should be. Look again at what one dot is."
