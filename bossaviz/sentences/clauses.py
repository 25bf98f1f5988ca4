"""Effect clauses: what changes, which way, by how much, in which unit, compared with what.

One function a kind of term, chosen by ``Situation.kind`` from a table; nothing here reads a name of a column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import ink, numbers
from .figures import Figures
from .situation import Labels, Situation, TermWords

IN_THE_MAIN = " in the main"
PLURAL_VERBS = {"rises": "rise", "falls": "fall", "is": "are", "changes": "change"}


class Clause(NamedTuple):
    """An effect without ", … held fixed" and without a full stop; ``by`` leads a bound ("and by at least")."""

    text: str
    by: str = "by "


class Speech(NamedTuple):
    """What a clause is made from."""

    s: Situation
    labels: Labels
    words: TermWords
    figures: Figures

    @property
    def response(self) -> str:
        """The response at the head of a sentence."""
        return ink.capital(self.labels.response)

    @property
    def amount(self) -> str:
        """Such as "3.88 mpg"."""
        return f"{self.figures.estimate} {self.figures.unit}".strip()

    @property
    def step(self) -> str:
        """One step of x, and where the rest of an interaction stands."""
        return f"{self.words.step} {self.words.condition}".strip()

    @property
    def rises(self) -> str:
        """Such as "rises by 3 ms", "falls by 3 ms", "changes by less than 0.1 ms"."""
        if not self.figures.sign:
            return f"{self.verb('changes')} by less than {self.figures.smallest} {self.figures.unit}".strip()
        rise, fall = self.labels.rises_falls
        return f"{self.verb(rise if self.figures.sign > 0 else fall)} by {self.amount}"

    @property
    def higher(self) -> str:
        """Such as "higher" or "lower", or the words of the response: "more", "less"."""
        return self.labels.comparatives[0 if self.figures.sign > 0 else 1]

    def verb(self, singular: str) -> str:
        """The verb that agrees with the response."""
        return PLURAL_VERBS.get(singular, singular) if self.labels.plural else singular

    def subject_is(self) -> str:
        """Such as "Tooth length is", "Breaks are", "Chicks weigh"."""
        if self.labels.subject and self.labels.verb:
            return f"{ink.capital(self.labels.subject)} {self.labels.verb}"
        return f"{self.response} {self.verb('is')}"


def effect(speech: Speech) -> Clause:
    """The clause for this kind of term on this scale."""
    table = RATIO_CLAUSES if speech.figures.ratio else CLAUSES
    return table[speech.s.kind](speech)


def held(words: TermWords) -> str:
    """Such as ", horsepower held fixed"."""
    return f", {numbers.listed(words.others)} held fixed" if words.others else ""


def elide(first: str, second: str) -> str:
    """``first`` without the last words it shares with ``second``: "at medium" beside "at high tension"."""
    a, b = first.split(), second.split()
    shared = 0
    while shared < min(len(a), len(b)) - 1 and a[-1 - shared] == b[-1 - shared]:
        shared += 1
    kept = a[: len(a) - shared] if shared else a
    return " ".join(kept) if len(kept) > 1 else first


def _slope(t: Speech) -> Clause:
    return Clause(f"{t.response} {t.rises} for each extra {t.step}")


def _scaled(t: Speech) -> Clause:
    return Clause(f"{t.response} {t.rises} for each {standard_deviation(t)} {t.words.condition}".strip())


def standard_deviation(t: Speech) -> str:
    """Such as "standard deviation of weight (0.978 thousand lb)"."""
    sd = t.s.sd_x
    size = f" ({ink.real(numbers.fixed(sd, numbers.decimals_for(sd, 3)))} {t.words.unit})" if sd is not None else ""
    return f"standard deviation of {t.words.noun}{size}".replace(" )", ")")


def _level(t: Speech) -> Clause:
    condition = f" {t.words.condition}" if t.words.condition else ""
    if not t.figures.sign:
        amount = f"{t.figures.smallest} {t.figures.unit}".strip()
        changes = t.verb("changes")
        return Clause(
            f"{t.response} {changes} by less than {amount} {t.words.level} rather than {t.words.reference}{condition}"
        )
    level = elide(t.words.level, t.words.reference)
    return Clause(f"{t.subject_is()} {t.amount} {t.higher} {level} than {t.words.reference}{condition}")


def _mean(t: Speech) -> Clause:
    if t.labels.mean_subject and t.labels.verb:
        return Clause(f"{ink.capital(t.labels.mean_subject)} {t.labels.verb} {t.amount} on average", by="")
    if t.s.scale == "probability":
        return Clause(f"{ink.capital(level_of(t))} is {t.amount}", by="")
    return Clause(f"{t.subject_is()} {t.amount} on average", by="")


def _intercept(t: Speech) -> Clause:
    return Clause(f"When {t.words.zeros}, the model puts {level_of(t)} at {t.amount}", by="")


def level_of(t: Speech) -> str:
    """What an intercept is a value of: the mean response, or the probability of the event."""
    if t.s.scale == "probability":
        return f"the probability of {t.labels.event}"
    return f"{'typical' if t.s.scale == 'factor' else 'mean'} {t.labels.response}"


def _levels_by_levels(t: Speech) -> Clause:
    w = t.words
    what = f"the change in {t.labels.response} from {w.reference_name} to {w.level_name}"
    if not t.figures.sign:
        differs = f"differs by less than {t.figures.smallest} {t.figures.unit}".strip()
        return Clause(f"{ink.capital(what)} {differs} {elide(w.second, w.first)} and {w.first}")
    higher = "higher" if t.figures.sign > 0 else "lower"
    return Clause(f"{ink.capital(what)} is {t.amount} {higher} {elide(w.second, w.first)} than {w.first}")


def _slopes_by_levels(t: Speech) -> Clause:
    w = t.words
    what, per = f"The slope of {w.noun}", f"per {w.step_unit}" if w.step_unit and t.figures.unit else ""
    if not t.figures.sign:
        return Clause(f"{what} differs by less than {t.figures.smallest} {t.figures.unit} {w.second} and {w.first}")
    higher = "higher" if t.figures.sign > 0 else "lower"
    return Clause(f"{what} is {t.amount} {per} {higher} {elide(w.second, w.first)} than {w.first}")


def _ordered(t: Speech) -> Clause:
    return Clause(f"Across the ordered levels of {t.words.noun}, {t.labels.response} {shape(t)}", by="")


def _curve(t: Speech) -> Clause:
    bends = {1: ("rises overall", "falls overall")}.get(t.s.degree, ("bends up", "bends down"))
    if t.s.degree > 2:
        bends = ("turns up at its end", "turns down at its end")
    word = bends[0] if t.figures.sign >= 0 else bends[1]
    return Clause(f"The line for {t.words.noun} {word if t.figures.sign else 'hardly bends'}", by="")


def shape(t: Speech) -> str:
    """What a polynomial contrast of an ordered factor does: "rises in the main", "bends up"."""
    if not t.figures.sign:
        return f"{t.verb('changes')} little"
    if t.s.degree == 1:
        rise, fall = t.labels.rises_falls
        return f"{t.verb(rise if t.figures.sign > 0 else fall)}{IN_THE_MAIN}"
    verb = "bend" if t.labels.plural else "bends"
    turn = "up" if t.figures.sign > 0 else "down"
    return f"{verb} {turn}" if t.s.degree == 2 else f"{verb} {turn} at {'their' if t.labels.plural else 'its'} end"


def _coefficient(t: Speech) -> Clause:
    return Clause(f"The coefficient of {t.words.noun} is {t.figures.estimate}", by="")


def _spread(t: Speech) -> Clause:
    w, groups = t.words, t.words.groups or t.labels.groups
    who = ink.capital(f"{groups}{possessive_mark(groups)} {w.noun}" if w.noun else groups)
    return Clause(f"{who} differ with a standard deviation of {t.amount} {w.per} {w.unit}".strip())


def possessive_mark(plural: str) -> str:
    """What makes an owner of a plural noun."""
    return "'" if ink.bare(plural).endswith("s") else "'s"


def _correlation(t: Speech) -> Clause:
    w, group = t.words, t.words.group or t.labels.group
    return Clause(f"The correlation between {numbers.article(ink.bare(group))} {group}'s {w.first} and its "
                  f"{w.second} is {t.figures.estimate}", by="")  # fmt: skip


def _scatter(t: Speech) -> Clause:
    w = t.words
    who = f"Repeated {t.labels.units} of one {w.group}" if w.group else ink.capital(t.labels.units)
    around = f"its own {w.noun}" if w.group else "what the model expects"
    return Clause(f"{who} scatter around {around} with a standard deviation of {t.amount} {w.unit}".strip())


def _nothing(t: Speech) -> Clause:
    return Clause(t.words.noun, by="")


CLAUSES: dict[str, Callable[[Speech], Clause]] = {
    "slope": _slope,
    "scaled": _scaled,
    "level": _level,
    "average": _level,
    "mean": _mean,
    "intercept": _intercept,
    "levels_by_levels": _levels_by_levels,
    "slopes_by_levels": _slopes_by_levels,
    "ordered": _ordered,
    "curve": _curve,
    "smooth": _nothing,
    "coefficient": _coefficient,
    "spread": _spread,
    "correlation": _correlation,
    "scatter": _scatter,
}


# Ratios: the number is a factor, so nothing rises or falls and the guard at 1 carries the direction.


def counted(t: Speech) -> str:
    """What a count counts."""
    return t.labels.count or t.labels.response


def _ratio_slope(t: Speech) -> Clause:
    step = f"standard deviation of {t.words.noun}" if t.s.kind == "scaled" else f"extra {t.step}"
    if t.s.kind == "scaled":
        step = standard_deviation(t)
    if t.s.scale == "odds":
        return Clause(f"For each {step}, the odds of {t.labels.event} are multiplied by {t.figures.estimate}")
    if t.s.scale == "rate":
        what = f"the expected number of {counted(t)}"
        return Clause(f"For each {step}, {what} is multiplied by {t.figures.estimate}")
    are = t.verb("is")
    return Clause(f"{t.response} {are} multiplied by {t.figures.estimate} for each {step}")


def _ratio_level(t: Speech) -> Clause:
    w, ratio = t.words, t.figures.estimate
    condition = f" {w.condition}" if w.condition else ""
    if t.s.scale == "odds":
        return Clause(f"The odds of {t.labels.event} {w.level}{condition} are {ratio} times those {w.reference}", by="")
    if t.s.scale == "rate":
        return Clause(
            f"{ink.capital(w.level)}, expected {counted(t)}{condition} are {ratio} times those {w.reference}", by=""
        )
    are, that = t.verb("is"), "those" if t.labels.plural else "that"
    return Clause(f"{t.response} {w.level}{condition} {are} {ratio} times {that} {w.reference}", by="")


def _ratio_levels_by_levels(t: Speech) -> Clause:
    w = t.words
    what = f"The ratio of {w.level_name} to {w.reference_name}"
    return Clause(f"{what} {elide(w.second, w.first)} is {t.figures.estimate} times that {w.first}", by="")


def _ratio_slopes_by_levels(t: Speech) -> Clause:
    w = t.words
    what = f"The factor for each extra {w.step}"
    return Clause(f"{what} {elide(w.second, w.first)} is {t.figures.estimate} times that {w.first}", by="")


def _ratio_coefficient(t: Speech) -> Clause:
    return Clause(f"The factor of {t.words.noun} is {t.figures.estimate}", by="")


RATIO_CLAUSES: dict[str, Callable[[Speech], Clause]] = {
    **CLAUSES,
    "slope": _ratio_slope,
    "scaled": _ratio_slope,
    "level": _ratio_level,
    "average": _ratio_level,
    "levels_by_levels": _ratio_levels_by_levels,
    "slopes_by_levels": _ratio_slopes_by_levels,
    "ordered": _ratio_coefficient,
    "curve": _curve,
    "coefficient": _ratio_coefficient,
}
