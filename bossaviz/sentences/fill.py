"""What goes into the braces of the templates, for one situation and one degree of shortening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import clauses, ink, numbers, thresholds, words
from .clauses import Speech
from .figures import Figures
from .situation import Labels, Situation

CI_LITERAL = " confidence interval"


class Cut(NamedTuple):
    """What was moved to *more* so that 45 words are kept; the order of the fields is the order of moving."""

    held: bool = False
    freq: bool = False
    name: bool = False


CUTS = (Cut(), Cut(True), Cut(True, True), Cut(True, True, True))


class Filler:
    """Values by name for the templates; a row asks for what it needs and may replace some."""

    def __init__(self, s: Situation, labels: Labels, cut: Cut = CUTS[0]) -> None:
        self.s, self.labels, self.cut = s, labels, cut
        self.figures = Figures(s, labels)
        self.words = labels.term(s.term)
        self.speech = Speech(s, labels, self.words, self.figures)

    @property
    def held(self) -> str:
        """Such as ", horsepower held fixed", unless it was moved to *more* or the row has no place for it."""
        apart = self.s.operation == "variance" or self.s.kind in (
            "mean", "intercept", "ordered", "curve", "coefficient"
        )  # fmt: skip
        return "" if self.cut.held or apart else clauses.held(self.words)

    @property
    def effect(self) -> str:
        """The effect clause with what is held fixed."""
        return clauses.effect(self.speech).text + self.held

    @property
    def interval_clause(self) -> str:
        """The interval; a curvature says of what it is one."""
        text = self.figures.interval
        return f"{text} for the {words.quantity(self.s)}" if self.s.kind == "curve" else text

    @property
    def freq(self) -> str:
        """Such as "about 6 in 100"; when it had to go, a plain word, and p stays."""
        p = self.s.p
        if not numbers.finite(p):
            return "some"
        if self.cut.freq:
            return "few" if p < 0.10 else "some"
        return numbers.frequency(p)

    @property
    def level(self) -> str:
        """Such as "95%", with the type of robust errors where the row has no other place for it."""
        level = numbers.level(self.s.level)
        return f"{level} {self.s.errors}" if self.s.how == "asymp" and self.s.errors != "iid" else level

    @property
    def drawn_s(self) -> str:
        """What was drawn, at the head of a sentence."""
        s, lab = self.s, self.labels
        times = "once" if s.draws == 1 else f"{ink.sim(numbers.count(s.draws))} times"
        if s.scheme == "parametric":
            sets = "data set" if s.draws == 1 else "data sets"
            return f"The fitted model simulated {ink.sim(numbers.count(s.draws))} new {sets}"
        if s.scheme == "cluster":
            return f"Whole {lab.groups} ({ink.real(numbers.count(s.groups or 0))}) were resampled {times}"
        if s.scheme == "residual":
            return f"What the line leaves over was dealt out again {times}"
        if s.scheme == "wild":
            return f"The sign of each leftover was flipped by coin, {times}"
        return f"The {ink.real(numbers.count(s.n))} {lab.units} were resampled {times}"

    @property
    def new_groups(self) -> str:
        """What a draw with new responses is: "this data set of 18 made-up subjects"."""
        s = self.s
        if s.scheme != "parametric" or s.groups is None:
            return f"this data set of {numbers.count(s.n)} {self.labels.units} with new values"
        groups = self.words.groups or self.labels.groups
        return f"this data set of {ink.sim(numbers.count(s.groups))} made-up {groups}"

    @property
    def spread(self) -> dict[str, str]:
        """The quantity and the unit of its spread; a ratio's spread is that of its logarithm."""
        if self.figures.ratio:
            return {"quantity": f"log {words.drawn_quantity(self.s)}", "unit": ""}
        return {"quantity": words.quantity(self.s), "unit": self.figures.unit}

    @property
    def per_step(self) -> str:
        """The unit of a value of the term: "mpg per 1,000 lb"."""
        unit, step = self.figures.unit, self.words.step_unit
        if self.s.operation == "variance":
            return " ".join(part for part in (unit, self.words.per, self.words.unit) if part)
        return f"{unit} per {step}" if unit and step and self.s.kind == "slope" else unit

    def values(self) -> dict[str, str]:
        """Every name that more than one template uses."""
        s, f, lab = self.s, self.figures, self.labels
        return {
            "effect": self.effect,
            "held": self.held,
            "level": self.level,
            "ci": self.interval_clause,
            "ci_words": self.interval_clause,
            "ci_name": words.CI_NAMES.get(s.ci_type, s.ci_type),
            "quantity": words.quantity(s),
            "null": f.null,
            "alpha": numbers.alpha(s.level),
            "freq": self.freq,
            "freq_n": numbers.frequency(s.p, one_sided=True) if numbers.finite(s.p) else "",
            "p": f.p,
            "est": f.estimate,
            "or": f.estimate,
            "rr": f.estimate,
            "unit": f.unit,
            "se": f.se,
            "step": self.speech.step,
            "x": self.words.noun,
            "response": lab.response,
            "event": lab.event,
            "count": clauses.counted(self.speech),
            "rises_falls": clauses.shape(self.speech).removesuffix(clauses.IN_THE_MAIN),
            "drawn_s": self.drawn_s,
            "n": ink.real(numbers.count(s.n)),
            "unit_name": lab.unit_name,
            "units": lab.units,
            "group": self.words.group or lab.group,
            "groups": self.words.groups or lab.groups,
            "new_groups": self.new_groups,
            "k": numbers.count(s.groups or 0),
            "B": ink.sim(numbers.count(s.draws)),
            "zeros": self.words.zeros,
        }

    def fill(self, template: str, extra: Mapping[str, str] | None = None) -> str:
        """The template with its values; the first letter of every sentence raised."""
        if self.cut.name:
            template = template.replace(CI_LITERAL, " interval").replace(" {ci_name} ", " ")
        text = ink.tidy(template.format_map({**self.values(), **(extra or {})}))
        return " ".join(ink.capital(part) for part in ink.split_sentences(text))


def limit_words(filler: Filler) -> dict[str, str]:
    """Values of a one-sided row: the bound, and which way the null and the estimate lie."""
    s = filler.s
    side, text = filler.figures.bound()
    return {"side": side, "bound": text, "beyond": "higher" if s.alternative == "less" else "lower",
            "this": "low" if s.alternative == "less" else "high"}  # fmt: skip


def plain_thresholds(s: Situation) -> bool:
    """Both limits and a p: what the plain two-sided rows are made of."""
    return thresholds.has_interval(s) and numbers.finite(s.p)
