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
ONE_SLOPE = Slip(0.80, 0.01, "Do all subjects share one slope in your model?")
ROWS_AS_PEOPLE = Slip(1.24, 0.01, "Whose rows are these? Your model takes them for 180 unrelated people.")
OWN_LINE = "That is the subject's own line, the tail of the arrow. Where is the head?"

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
    "08.1 no grouping": Answer(1.24, 0.005, 2, simulated=False),
    "08.1 levels differ": Answer(0.80, 0.005, 2, simulated=False),
    "08.1 slopes differ": Answer(1.55, 0.005, 2, simulated=False, slips=[ONE_SLOPE, ROWS_AS_PEOPLE]),
    "08.2 subject 335": Answer(-0.28, 0.005, 2, simulated=False, slips=[Slip(-2.88, 0.01, OWN_LINE)]),
    "08.2 subject 308": Answer(19.67, 0.005, 2, simulated=False, slips=[Slip(21.76, 0.01, OWN_LINE)]),
    "08.3 own slopes": Answer(6.56, 0.005, 2, simulated=False),
    "08.3 shrunken slopes": Answer(5.46, 0.005, 2, simulated=False),
    "08.3 the model": Answer(
        5.92, 0.005, 2, simulated=False, slips=[Slip(35.07, 0.01, "That is the variance. In which unit is it?")]
    ),
    "08.3 share between people": Answer(0.589, 0.0005, 3, simulated=False),
    "08.4 spread of 1,000 dots": Answer(1.54, 0.14, 2, slips=[ONE_SLOPE, ROWS_AS_PEOPLE]),
    "11.1 gap at low tension": Answer(16.3, 0.05, 1, simulated=False),
    "11.1 lower limit": Answer(6.0, 0.05, 1, simulated=False),
    "11.1 gap at medium tension": Answer(
        -4.8, 0.05, 1, simulated=False, slips=[Slip(4.8, 0.05, "A minus B, not B minus A: which breaks less often?")]
    ),
    "11.2 difference of gaps": Answer(
        10.6, 0.05, 1, simulated=False,
        slips=[Slip(22.1, 0.05, "Difference of differences: subtract the second gap."),
               Slip(21.1, 0.05, "That is low against medium tension. Which two did we ask for?")],
    ),
    "11.2 p": Answer(0.15, 0.005, 2, simulated=False),
    "11.3 p alone": Answer(0.009, 0.0005, 3, simulated=False, slips=[Slip(0.023, 0.0005, "Is this one adjusted?")]),
    "11.3 p by Tukey": Answer(0.023, 0.0005, 3, simulated=False, slips=[Slip(0.009, 0.0005, "p_adjust= is missing.")]),
    "11.3 joint F": Answer(4.19, 0.005, 2, simulated=False),
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
