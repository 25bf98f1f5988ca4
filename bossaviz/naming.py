"""Titles and axis words of a panel: short nouns for one term of one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .sentences import Labels, ink
from .spreads import Spread, find_spread, spreads_of
from .terms import read_term, response_of, scale_of

LONGEST_TITLE = 48  # characters of an axis title; it shares its line with the labels of the axis

# kind of a term -> (one of its numbers, many of them)
QUANTITIES = {
    "slope": ("slope", "Slopes"),
    "scaled": ("slope", "Slopes"),
    "level": ("difference", "Differences"),
    "average": ("difference", "Differences"),
    "mean": ("mean", "Means"),
    "intercept": ("intercept", "Intercepts"),
    "levels_by_levels": ("interaction", "Interactions"),
    "slopes_by_levels": ("difference", "Differences of slopes"),
    "ordered": ("contrast", "Contrasts"),
    "curve": ("coefficient", "Coefficients"),
    "smooth": ("coefficient", "Coefficients"),
    "coefficient": ("coefficient", "Coefficients"),
    "spread": ("SD", "SDs"),
    "correlation": ("correlation", "Correlations"),
    "scatter": ("residual SD", "Residual SDs"),
}
ENDS = {"correlation": "cor", "scatter": "SD"}  # shorter, for the end of a line


@dataclass(frozen=True, slots=True)
class Naming:
    """The nouns of one term; numbers on the axes are those of the table (the link scale for a glm)."""

    term: str
    kind: str
    quantity: str  # "slope"
    quantities: str  # "Slopes"
    question: str
    axis: str  # "slope of weight (mpg per 1,000 lb)"
    y_title: str
    units: str  # "cars"
    unit_name: str  # "car"
    x_titles: dict[str, tuple[str, str, str]]  # column -> title with unit, noun, groups of it
    menu: str  # how the term stands in the drop-down list
    unit_words: str = ""  # the unit of the numbers on the axis: "mpg per 1,000 lb"
    row: str = ""  # how the term stands in the table: "SD of Days"

    @property
    def end(self) -> str:
        """The quantity at the end of a line."""
        return ENDS.get(self.kind, self.quantity)

    def x_title(self, column: str) -> str:
        """Return the title of an axis along a column of the data."""
        return self.x_titles.get(column, (column, column, column))[0]

    def noun(self, column: str) -> str:
        """Return a column of the data as a noun without its unit."""
        return self.x_titles.get(column, (column, column, column))[1]

    def plural(self, column: str) -> str:
        """Return a column of groups in the plural: "feeds"; one without words of its own: 'groups of "x"'."""
        return self.x_titles.get(column, ("", "", f'groups of "{column}"'))[2]

    def unit(self, column: str) -> str:
        """Return the unit of a column of the data, empty where it has none."""
        title, noun, _ = self.x_titles.get(column, (column, column, column))
        return title.removeprefix(noun).strip(" ()")

    def null_words(self, null: float) -> str:
        """Return what the null means, beside its dashed line."""
        value = f"{null:g}".replace("-", "−")
        if null == 0 and self.kind in ("slope", "scaled"):
            return f"{value}: no change along the line"
        if null == 0 and self.kind in ("level", "average", "levels_by_levels", "slopes_by_levels"):
            return f"{value}: no difference"
        if null == 0 and self.kind == "correlation":
            return f"{value}: no relation"
        return f"{value}: the null"


def naming_of(model: Any, term: str, labels: Labels) -> Naming:
    """Return the nouns of one term, from the labels of the model and the kind of its column."""
    spec, bundle = model.spec, model.bundle
    spread = find_spread(bundle, term)
    if spread is not None:
        return _naming_of_spread(model, spread, labels)
    reading = read_term(spec, bundle, bundle.X_names.index(term))
    words = labels.term(term)
    quantity, quantities = QUANTITIES[reading.kind]
    scale = scale_of(spec)
    noun = _plain(words.noun) or term
    shown = _axis_unit(labels, words, scale, reading.kind)
    if reading.kind in ("slope", "scaled"):
        axis = f"slope of {noun}{shown}"
    elif reading.kind == "level":
        above, below = words.level_name or words.level or term, words.reference_name or words.reference
        axis = f"{_side(above)} less {_side(below)}{shown}"
    elif reading.kind == "mean":
        axis = f"mean {labels.response}{shown}"
    else:
        axis = f"{quantity}: {term}{shown}" if reading.kind != "intercept" else f"intercept{shown}"
    told = reading.kind in ("slope", "mean")
    if len(axis) > LONGEST_TITLE:
        axis = axis.removesuffix(shown)
    return Naming(
        term=term, kind=reading.kind, quantity=quantity, quantities=quantities,
        question=_question(reading.kind, labels, words, term, noun), axis=axis, y_title=_y_title(spec, labels),
        units=labels.units, unit_name=labels.unit_name, x_titles=_x_titles(bundle, labels),
        menu=f"{term} ({quantity})" if told and len(term) < 18 else term, unit_words=shown.strip(" ()"), row=term,
    )  # fmt: skip


def _y_title(spec: Any, labels: Labels) -> str:
    function = response_of(spec)[0]
    if function == "log":
        return f"log({_plain(labels.response)})"
    return _plain(labels.response) + (f" ({labels.unit})" if labels.unit else "")


def _naming_of_spread(model: Any, spread: Spread, labels: Labels) -> Naming:
    """The nouns of an SD, a correlation or the residual SD."""
    spec, bundle = model.spec, model.bundle
    words = labels.term(spread.name)
    quantity, quantities = QUANTITIES[spread.kind]
    groups, group, noun = _plain(words.groups), _plain(words.group), _plain(words.noun)
    unit = _plain(f"{labels.unit} {words.per}".strip() if words.unit == "" else words.unit)
    shown = f" ({unit})" if unit and spread.kind != "correlation" else ""
    if spread.kind == "spread":
        block = bundle.re_metadata.blocks[spread.block]
        row = f"SD of {block.column_names[spread.first]}"
        whose = f"{possessive(groups)} {noun}" if noun else groups
        axis = f"SD of {whose}{shown}"
        question = f"How different are {groups}{f' in their {noun}' if noun else ''}?"
    elif spread.kind == "correlation":
        block = bundle.re_metadata.blocks[spread.block]
        pair = block.column_names[spread.second], block.column_names[spread.first]
        row = "correlation" if block.k == 2 else f"correlation of {' and '.join(pair)}"
        first, second = _plain(words.first), _plain(words.second)
        axis = f"correlation of {first} and {second}"
        question = f"Does {_article(group)} {group}'s {first} go with its {second}?"
    else:
        row, axis = "residual SD", f"residual SD{shown}"
        question = f"How far do {labels.units}{f' of one {group}' if group else ''} scatter?"
    if len(axis) > LONGEST_TITLE:
        axis = axis.removesuffix(shown)
    several = spread.block >= 0 and len(bundle.re_metadata.blocks) > 1
    menu = f"{row} | {bundle.re_metadata.blocks[spread.block].group_name}" if several else row
    titles = _x_titles(bundle, labels)
    return Naming(
        term=spread.name, kind=spread.kind, quantity=quantity, quantities=quantities, question=question, axis=axis,
        y_title=_y_title(spec, labels), units=labels.units, unit_name=labels.unit_name, x_titles=titles, menu=menu,
        unit_words=shown.strip(" ()"), row=menu,
    )  # fmt: skip


def possessive(plural: str) -> str:
    """Return a plural noun as an owner: "subjects'"."""
    return f"{plural}'" if plural.endswith("s") else f"{plural}'s"


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"


def quoted(text: str) -> str:
    """Words as a sentence has them: a column without words of its own in quotes."""
    return ink.finish(text)[0]


def _plain(text: str) -> str:
    """Words without the marks that sentences use for quoting."""
    return "".join(ch for ch in text if not "\ue000" <= ch <= "\uf8ff")


def _side(text: str) -> str:
    return _plain(text).strip() or "the reference"


def _axis_unit(labels: Labels, words: Any, scale: str, kind: str) -> str:
    ratio = {"odds": "log odds", "rate": "log rate", "factor": "log", "link": "link scale"}.get(scale)
    if ratio is not None and kind != "mean":
        return f" ({ratio})"
    per = f" per {_plain(words.step_unit)}" if kind in ("slope", "scaled") and words.step_unit else ""
    if not labels.unit:
        return f" ({per.strip()})" if per else ""
    return f" ({labels.unit}{per})"


def _question(kind: str, labels: Labels, words: Any, term: str, noun: str) -> str:
    response = quoted(labels.response)
    if kind in ("slope", "scaled"):
        return f"Is the slope of {quoted(words.noun) or noun} different from 0?"
    if kind == "level" and words.level and words.reference:
        verb = "Are" if labels.plural else "Is"
        return f"{verb} {response} different {quoted(words.level)} than {quoted(words.reference)}?"
    if kind == "mean":
        return f"How large is the mean {response}?"
    if kind == "intercept":
        return "Where does the line start?"
    return f"Is the {QUANTITIES[kind][0]} {term} different from 0?"


def _plural(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"


def _x_titles(bundle: Any, labels: Labels) -> dict[str, tuple[str, str, str]]:
    """Axis titles and nouns by column of the data, from the words of the terms that use it alone."""
    from .terms import column_parts

    titles: dict[str, tuple[str, str, str]] = {}
    for j, name in enumerate(bundle.X_names):
        parts = column_parts(bundle, j)
        if len(parts) != 1:
            continue
        words, column = labels.term(name), parts[0].column
        marked = words.factor or words.noun
        noun = _plain(marked) or column
        said = _plain(words.unit)
        unit = f" ({said})" if said and said not in noun.split() else ""  # "days of deprivation" are days
        groups = _plural(noun) if noun == marked else f'groups of "{noun}"'
        titles.setdefault(column, (noun + unit, noun, groups))
    for spread in spreads_of(bundle):  # a grouping column has words of its own
        if spread.block >= 0:
            words, name = labels.term(spread.name), bundle.re_metadata.blocks[spread.block].group_name
            titles.setdefault(name, (_plain(words.group), _plain(words.group), quoted(words.groups)))
    return titles
