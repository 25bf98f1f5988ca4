"""Values that belong to one row of the table, and grammar that the numbers ask for: templates with other words."""

from __future__ import annotations

from . import clauses, ink, numbers, words
from .fill import Filler, limit_words

NEW_RESPONSES = ("parametric", "residual", "wild")  # schemes whose draws keep every row


def one_sided_variant(filler: Filler, template: str) -> str:
    """Such as "at least" or "at most", "by" or not, "higher" or "lower" as the bound and the direction have it."""
    v, by = limit_words(filler), clauses.effect(filler.speech).by
    if v["side"] == "up to":
        higher = filler.labels.comparatives[0 if filler.s.alternative == "less" else 1]
        bounded = f", or up to {{bound}} {higher}"
    else:
        bounded = f", and {by}at {v['side']} {{bound}}"
    for word in ("least", "most"):
        template = template.replace(f", and by at {word} {{bound}}", bounded)
    for beyond in ("higher", "lower"):
        template = template.replace(f"{{null}} or {beyond},", f"{{null}} or {v['beyond']},")
    for this in ("low", "high"):
        template = template.replace(f"give one this {this} ", f"give one this {v['this']} ")
    return template


def bound(filler: Filler) -> dict[str, str]:
    """The finite limit of a one-sided interval."""
    return {"bound": limit_words(filler)["bound"]}


def signed_change(filler: Filler, x: float, plus: str = "") -> str:
    """A change with its sign; ``plus`` stands before a positive one."""
    text = filler.figures.value(x)
    return ink.real(text if text.startswith(numbers.MINUS) or not float(x) else plus + text)


def difference_of_differences(filler: Filler) -> dict[str, str]:
    """Two levels of each factor, and the difference at each of the second's."""
    w, unit = filler.words, filler.figures.unit
    first, second = filler.s.at
    return {
        "a0": w.reference_name,
        "a1": w.level_name,
        "b0": w.first,
        "b1": clauses.elide(w.second, w.first),
        "d0": f"{signed_change(filler, first, '+')} {unit}",
        "d1": f"{signed_change(filler, second, '+')} {unit}",
    }


def difference_of_slopes(filler: Filler) -> dict[str, str]:
    """The two settings, and the slope at each."""
    first, second = filler.s.at
    return {
        "step": filler.words.step,
        "in_a": filler.words.first,
        "in_b": filler.words.second,
        "d0": signed_change(filler, first),
        "d1": signed_change(filler, second),
    }


def prepositions_in_levels(filler: Filler, template: str) -> str:
    """Levels carry their own preposition."""
    return (
        template.replace("at {level_a} is", "{level_a} is")
        .replace("that at {ref}", "that {ref}")
        .replace("in {level_a} are", "{level_a} are")
        .replace("those in {ref}", "those {ref}")
        .replace("at {b0}", "{b0}")
        .replace("at {b1}", "{b1}")
    )


def levels(filler: Filler) -> dict[str, str]:
    """A level and the one it is compared with."""
    w = filler.words
    return {"level_a": f"{w.level} {w.condition}".strip(), "ref": w.reference}


def robust_variant(filler: Filler, template: str) -> str:
    """A difference has a true value of 0, a ratio one of 1."""
    return template if filler.figures.ratio else template.replace("ratio of 1", "{quantity} of {null}")


def robust_values(filler: Filler) -> dict[str, str]:
    """The type of robust errors, and how they compare with the usual ones."""
    ratio = filler.s.se_ratio or 1.0
    text = numbers.fixed(ratio, numbers.decimals_for(ratio, 2))
    return {"type": filler.s.errors, "ratio": text, "level": numbers.level(filler.s.level)}


def contrast_variant(filler: Filler, template: str) -> str:
    """The shape of a polynomial contrast in place of a straight line."""
    if filler.s.degree == 1 and filler.figures.sign:
        return template
    shape = words.SHAPES.get(filler.s.degree, "higher")
    if filler.s.degree == 1:
        return template.replace(" in the main", "")
    return template.replace(" in the main (straight-line", f" ({shape}")


def standardised(filler: Filler) -> dict[str, str]:
    """The size of one standard deviation, and which way the response goes."""
    sd = filler.s.sd_x or 0.0
    t = filler.speech
    rise, fall = filler.labels.rises_falls
    return {
        "sd": ink.real(numbers.fixed(sd, numbers.decimals_for(sd, 3))),
        "x_unit": filler.words.unit,
        "rises_falls": t.verb(rise if filler.figures.sign > 0 else fall),
    }


def zero_contrast(filler: Filler, template: str) -> str:
    """An estimate that rounds to 0 takes no direction."""
    if filler.figures.sign:
        return template
    changes = f"{filler.speech.verb('changes')} by less than {{smallest}} {{unit}}"
    return template.replace("{rises_falls} by {est} {unit}", changes)


def level_of_intercept(filler: Filler) -> dict[str, str]:
    """What an intercept is a value of."""
    return {"response": clauses.level_of(filler.speech)}


def aliased(filler: Filler) -> dict[str, str]:
    """A term without an estimate, and what it repeats."""
    return {"term": filler.words.noun, "others": filler.words.repeats}


def separated(filler: Filler) -> dict[str, str]:
    """The term that sorts the event, and where."""
    w = filler.words
    rows = f"{numbers.count(filler.s.separated_rows)} of {numbers.count(filler.s.n)} {filler.labels.units}"
    return {"x": w.noun, "which": w.which or rows}


def separated_variant(filler: Filler, template: str) -> str:
    """Without the place where it is not known."""
    named = filler.words.which or 0 < filler.s.separated_rows < filler.s.n
    return template if named else template.replace(" for {which}", "")


def disagreement(filler: Filler) -> dict[str, str]:
    """Interval types that stop short of the null, and those that cross it."""

    def said(types: tuple[str, ...]) -> str:
        return numbers.listed([words.CI_SHORT.get(t, t) for t in types])

    return {"stop": said(filler.s.stops), "cross": said(filler.s.crosses)}


def disagreement_variant(filler: Filler, template: str) -> str:
    """Verbs in the singular where one type stands alone."""
    if len(filler.s.stops) == 1:
        template = template.replace("intervals stop", "interval stops")
    if len(filler.s.crosses) == 1:
        template = template.replace("ones cross", "one crosses")
    return template


def still_moving(filler: Filler) -> dict[str, str]:
    """How far a limit may still move."""
    return {"mc": filler.figures.error(1), "unit": filler.figures.unit}


def still_moving_variant(filler: Filler, template: str) -> str:
    """One resample in the singular; no amount where none is known."""
    if filler.s.draws == 1:
        template = template.replace("{B} resamples", "{B} resample")
    return template if filler.figures.error(1) else template.replace(" by about {mc} {unit}", "")


def bias(filler: Filler) -> dict[str, str]:
    """Where the draws centre, how far that is away, and what to prefer."""
    f, s = filler.figures, filler.s
    mean, estimate = s.boot_mean or 0.0, s.estimate or 0.0
    better = "profile" if s.operation == "variance" else "BCa" if s.scheme == "case" else "basic"
    if f.ratio:
        return {"boot_mean": ink.sim(f.value(mean)), "bias": "", "unit": "", "better": better}
    return {"boot_mean": ink.sim(f.value(mean)), "bias": ink.sim(f.size(mean - estimate)), "better": better}


def bias_variant(filler: Filler, template: str) -> str:
    """A ratio has no distance in units."""
    return template.replace(", {bias} {unit} away,", ",") if filler.figures.ratio else template


def spread(filler: Filler) -> dict[str, str]:
    """The quantity and the unit of its standard error."""
    return filler.spread


def spread_variant(filler: Filler, template: str) -> str:
    """What was not computed is not said."""
    if numbers.finite(filler.s.se):
        return template
    return template.replace(", and the {quantity} had a standard error of {se} {unit} across them", "")


def one_draw(filler: Filler) -> dict[str, str]:
    """The value of a single draw beside the estimate."""
    f, s = filler.figures, filler.s
    return {
        "quantity": words.drawn_quantity(s),
        "new_groups": filler.new_groups,
        "value": ink.sim(f.value(s.value if s.value is not None else 0.0)),
        "unit": filler.per_step,
        "est": ink.real(f.value(s.estimate or 0.0)),
    }


def dot(filler: Filler) -> dict[str, str]:
    """The number of a draw, its value, and how many different rows it holds."""
    s = filler.s
    return {
        **one_draw(filler),
        "i": ink.sim(numbers.count(s.dot or 0)),
        "distinct": ink.sim(numbers.count(s.distinct or 0)),
    }


def dot_variant(filler: Filler, template: str) -> str:
    """Template PB12 for this scheme, and without the clause on rows where nobody counted them."""
    if filler.s.scheme in NEW_RESPONSES:
        return template.split(" in this resample")[0] + " in {new_groups}."
    return template if filler.s.distinct is not None else template.split(";")[0] + "."


def one_draw_variant(filler: Filler, template: str) -> str:
    """A draw that keeps every row and has new responses is a data set, not a choice of rows."""
    if filler.s.scheme not in NEW_RESPONSES:
        return template
    made = "the fitted model made up" if filler.s.scheme == "parametric" else "chance put together"
    return template.replace("One resample drawn", "One data set simulated").replace(
        "One dot is one {quantity} from one resample", f"One dot is one {{quantity}} from one data set that {made}"
    )


def undrawn_variant(filler: Filler, template: str) -> str:
    """Schemes with new responses draw data sets."""
    if filler.s.scheme not in NEW_RESPONSES:
        return template
    return template.replace("No resample has been drawn yet", "No data set has been simulated yet")


def share_at_zero(filler: Filler) -> dict[str, str]:
    """The share of draws in which the spread came out as 0."""
    s = filler.s
    return {"share": ink.sim(f"{numbers.share(s.at_zero, s.draws)}%")}


def from_draws(filler: Filler, template: str) -> str:
    """The same words with the interval that draws give."""
    return template.replace("profile interval", "{ci_name} interval")


def pair(filler: Filler) -> dict[str, str]:
    """The two effects that a correlation is of."""
    return {"a": filler.words.first, "b": filler.words.second}


def edge(filler: Filler) -> dict[str, str]:
    """What so few groups cannot support."""
    return {"what": f"{filler.words.second} and {filler.words.first} spread"}


def better(filler: Filler) -> dict[str, str]:
    """What serves few groups better than drawing them."""
    return {"better": "the parametric bootstrap or the profile"}


def failed(filler: Filler) -> dict[str, str]:
    """How many refits failed, and why."""
    from .states import failed_values

    return failed_values(filler)


def one_refit(filler: Filler, template: str) -> str:
    """The only refit in the singular."""
    if filler.s.failures != 1:
        return template
    return template.replace("None of the {B} refits worked", "The only refit did not work")
