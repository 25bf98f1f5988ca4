"""Which row answers a situation: tables in the order of the specification, first match wins.

A row is an entry ``Row(id, when, extra, variant)``: its template is ``templates.ROWS[id]``, ``when`` decides, ``extra``
gives the values that no other row uses, and ``variant`` may change the template where grammar asks for it. To add a
row, add an entry; the suite counts the templates that no entry selects yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import clauses, ink, numbers, thresholds, words
from .fill import Filler, limit_words, plain_thresholds
from .situation import Situation
from .templates import ROWS, STATES, STATUS

NEW_RESPONSES = ("parametric", "residual", "wild")  # schemes whose draws keep every row
EFFECT_ALONE = "E"  # not in the table: the clause by itself, where no interval could be computed


class Row(NamedTuple):
    """One line of the specification's table and when it fires."""

    id: str
    when: Callable[[Situation], bool]
    extra: Callable[[Filler], dict[str, str]] = lambda filler: {}
    variant: Callable[[Filler, str], str] = lambda filler, template: template
    tone: str = "info"

    @property
    def template(self) -> str:
        """The text with its braces, as the specification has it."""
        if self.id == EFFECT_ALONE:
            return "{effect}."
        return ROWS.get(self.id) or STATES.get(self.id) or STATUS[self.id]


def choose(s: Situation) -> Row:
    """The first row that fires.

    Raises
    ------
    LookupError
        If nothing speaks about this operation yet.
    """
    for row in REFUSALS:
        if row.when(s):
            return row
    table = TABLES.get((s.operation, s.how))
    if table is None:
        raise LookupError(f"no sentence speaks about how={s.how!r} after operation={s.operation!r} yet")
    return next(row for row in table if row.when(s))


# what a situation is


def _two_sided(s: Situation) -> bool:
    return not thresholds.one_sided(s)


def _plain(s: Situation) -> bool:
    return _two_sided(s) and plain_thresholds(s)


def _two_limits(s: Situation) -> bool:
    return _two_sided(s) and thresholds.has_interval(s)


def _one_sided(s: Situation) -> bool:
    return thresholds.one_sided(s) and thresholds.bound(s) is not None and numbers.finite(s.p)


def _no_estimate(s: Situation) -> bool:
    return s.aliased or not numbers.finite(s.estimate)


def _robust(s: Situation) -> bool:
    return s.errors != "iid" and numbers.finite(s.se_ratio)


def _interaction(kind: str) -> Callable[[Situation], bool]:
    return lambda s: _plain(s) and s.kind == kind and s.scale == "identity" and s.at is not None


# values that belong to one row, and grammar that the numbers ask for


def _one_sided_variant(filler: Filler, template: str) -> str:
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


def _bound(filler: Filler) -> dict[str, str]:
    return {"bound": limit_words(filler)["bound"]}


def _signed_change(filler: Filler, x: float, plus: str = "") -> str:
    text = filler.figures.value(x)
    return ink.real(text if text.startswith(numbers.MINUS) or not float(x) else plus + text)


def _difference_of_differences(filler: Filler) -> dict[str, str]:
    w, unit = filler.words, filler.figures.unit
    first, second = filler.s.at
    return {
        "a0": w.reference_name,
        "a1": w.level_name,
        "b0": w.first,
        "b1": clauses.elide(w.second, w.first),
        "d0": f"{_signed_change(filler, first, '+')} {unit}",
        "d1": f"{_signed_change(filler, second, '+')} {unit}",
    }


def _difference_of_slopes(filler: Filler) -> dict[str, str]:
    first, second = filler.s.at
    return {
        "step": filler.words.step,
        "in_a": filler.words.first,
        "in_b": filler.words.second,
        "d0": _signed_change(filler, first),
        "d1": _signed_change(filler, second),
    }


def _prepositions_in_levels(filler: Filler, template: str) -> str:
    """Levels carry their own preposition."""
    return (
        template.replace("at {level_a} is", "{level_a} is")
        .replace("that at {ref}", "that {ref}")
        .replace("in {level_a} are", "{level_a} are")
        .replace("those in {ref}", "those {ref}")
        .replace("at {b0}", "{b0}")
        .replace("at {b1}", "{b1}")
    )


def _levels(filler: Filler) -> dict[str, str]:
    w = filler.words
    return {"level_a": f"{w.level} {w.condition}".strip(), "ref": w.reference}


def _robust_variant(filler: Filler, template: str) -> str:
    """A difference has a true value of 0, a ratio one of 1."""
    return template if filler.figures.ratio else template.replace("ratio of 1", "{quantity} of {null}")


def _robust_values(filler: Filler) -> dict[str, str]:
    ratio = filler.s.se_ratio or 1.0
    text = numbers.fixed(ratio, numbers.decimals_for(ratio, 2))
    return {"type": filler.s.errors, "ratio": text, "level": numbers.level(filler.s.level)}


def _contrast_variant(filler: Filler, template: str) -> str:
    if filler.s.degree == 1 and filler.figures.sign:
        return template
    shape = words.SHAPES.get(filler.s.degree, "higher")
    if filler.s.degree == 1:
        return template.replace(" in the main", "")
    return template.replace(" in the main (straight-line", f" ({shape}")


def _standardised(filler: Filler) -> dict[str, str]:
    sd = filler.s.sd_x or 0.0
    t = filler.speech
    rise, fall = filler.labels.rises_falls
    return {
        "sd": ink.real(numbers.fixed(sd, numbers.decimals_for(sd, 3))),
        "x_unit": filler.words.unit,
        "rises_falls": t.verb(rise if filler.figures.sign > 0 else fall),
    }


def _zero_contrast(filler: Filler, template: str) -> str:
    """An estimate that rounds to 0 takes no direction."""
    if filler.figures.sign:
        return template
    changes = f"{filler.speech.verb('changes')} by less than {{smallest}} {{unit}}"
    return template.replace("{rises_falls} by {est} {unit}", changes)


def _level_of_intercept(filler: Filler) -> dict[str, str]:
    return {"response": clauses.level_of(filler.speech)}


def _aliased(filler: Filler) -> dict[str, str]:
    return {"term": filler.words.noun, "others": filler.words.repeats}


def _separated(filler: Filler) -> dict[str, str]:
    w = filler.words
    rows = f"{numbers.count(filler.s.separated_rows)} of {numbers.count(filler.s.n)} {filler.labels.units}"
    return {"x": w.noun, "which": w.which or rows}


def _separated_variant(filler: Filler, template: str) -> str:
    named = filler.words.which or 0 < filler.s.separated_rows < filler.s.n
    return template if named else template.replace(" for {which}", "")


def _disagreement(filler: Filler) -> dict[str, str]:
    def said(types: tuple[str, ...]) -> str:
        return numbers.listed([words.CI_SHORT.get(t, t) for t in types])

    return {"stop": said(filler.s.stops), "cross": said(filler.s.crosses)}


def _disagreement_variant(filler: Filler, template: str) -> str:
    if len(filler.s.stops) == 1:
        template = template.replace("intervals stop", "interval stops")
    if len(filler.s.crosses) == 1:
        template = template.replace("ones cross", "one crosses")
    return template


def _still_moving(filler: Filler) -> dict[str, str]:
    return {"mc": filler.figures.error(1), "unit": filler.figures.unit}


def _still_moving_variant(filler: Filler, template: str) -> str:
    if filler.s.draws == 1:
        template = template.replace("{B} resamples", "{B} resample")
    return template if filler.figures.error(1) else template.replace(" by about {mc} {unit}", "")


def _bias(filler: Filler) -> dict[str, str]:
    f, s = filler.figures, filler.s
    mean, estimate = s.boot_mean or 0.0, s.estimate or 0.0
    better = "profile" if s.operation == "variance" else "BCa" if s.scheme == "case" else "basic"
    if f.ratio:
        return {"boot_mean": ink.sim(f.value(mean)), "bias": "", "unit": "", "better": better}
    return {"boot_mean": ink.sim(f.value(mean)), "bias": ink.sim(f.size(mean - estimate)), "better": better}


def _bias_variant(filler: Filler, template: str) -> str:
    return template.replace(", {bias} {unit} away,", ",") if filler.figures.ratio else template


def _spread(filler: Filler) -> dict[str, str]:
    return filler.spread


def _spread_variant(filler: Filler, template: str) -> str:
    """What was not computed is not said."""
    if numbers.finite(filler.s.se):
        return template
    return template.replace(", and the {quantity} had a standard error of {se} {unit} across them", "")


def _one_draw(filler: Filler) -> dict[str, str]:
    f, s = filler.figures, filler.s
    return {
        "quantity": words.drawn_quantity(s),
        "new_groups": filler.new_groups,
        "value": ink.sim(f.value(s.value if s.value is not None else 0.0)),
        "unit": filler.per_step,
        "est": ink.real(f.value(s.estimate or 0.0)),
    }


def _dot(filler: Filler) -> dict[str, str]:
    s = filler.s
    return {
        **_one_draw(filler),
        "i": ink.sim(numbers.count(s.dot or 0)),
        "distinct": ink.sim(numbers.count(s.distinct or 0)),
    }


def dot_variant(filler: Filler, template: str) -> str:
    """Template PB12 for this scheme, and without the clause on rows where nobody counted them."""
    if filler.s.scheme in NEW_RESPONSES:
        return template.split(" in this resample")[0] + " in {new_groups}."
    return template if filler.s.distinct is not None else template.split(";")[0] + "."


def _one_draw_variant(filler: Filler, template: str) -> str:
    """A draw that keeps every row and has new responses is a data set, not a choice of rows."""
    if filler.s.scheme not in NEW_RESPONSES:
        return template
    made = "the fitted model made up" if filler.s.scheme == "parametric" else "chance put together"
    return template.replace("One resample drawn", "One data set simulated").replace(
        "One dot is one {quantity} from one resample", f"One dot is one {{quantity}} from one data set that {made}"
    )


def _undrawn_variant(filler: Filler, template: str) -> str:
    if filler.s.scheme not in NEW_RESPONSES:
        return template
    return template.replace("No resample has been drawn yet", "No data set has been simulated yet")


def _share_at_zero(filler: Filler) -> dict[str, str]:
    s = filler.s
    return {"share": ink.sim(f"{numbers.share(s.at_zero, s.draws)}%")}


def _from_draws(filler: Filler, template: str) -> str:
    """The same words with the interval that draws give."""
    return template.replace("profile interval", "{ci_name} interval")


def _pair(filler: Filler) -> dict[str, str]:
    return {"a": filler.words.first, "b": filler.words.second}


def _edge(filler: Filler) -> dict[str, str]:
    return {"what": f"{filler.words.second} and {filler.words.first} spread"}


def _better(filler: Filler) -> dict[str, str]:
    return {"better": "the parametric bootstrap or the profile"}


def _failed(filler: Filler) -> dict[str, str]:
    from .states import failed_values

    return failed_values(filler)


def _one_refit(filler: Filler, template: str) -> str:
    if filler.s.failures != 1:
        return template
    return template.replace("None of the {B} refits worked", "The only refit did not work")


# the tables

REFUSALS: tuple[Row, ...] = (
    Row("SM2", lambda s: s.operation == "simulate" and s.how != "asymp", tone="refusal"),
    Row("RA11", lambda s: s.operation == "predictions" and s.how == "perm", tone="refusal"),
    Row("CV9", lambda s: s.operation == "effects" and s.how == "cv", tone="refusal"),
    Row("VA14", lambda s: s.operation == "variance" and s.how in ("perm", "cv"), tone="refusal"),
    Row("S34", lambda s: s.how == "joint" and thresholds.one_sided(s), tone="refusal"),
    Row("S35", lambda s: s.how == "cv" and thresholds.one_sided(s), tone="refusal"),
    Row("S19", lambda s: s.operation == "params" and s.kind == "smooth", tone="refusal"),
)

# A column without an estimate has no effect clause, so it is named before the draws are counted.
NO_ESTIMATE: tuple[Row, ...] = (
    Row("PA23", lambda s: s.separated, _separated, _separated_variant, tone="caution"),
    Row("PA22", _no_estimate, _aliased, tone="caution"),
)

PARAMS_ASYMP: tuple[Row, ...] = (
    *NO_ESTIMATE,
    Row("PA11", lambda s: s.kind == "intercept" and not s.zero_inside),
    Row("PA10", lambda s: s.kind == "intercept" and _two_sided(s) and thresholds.has_interval(s), _level_of_intercept),
    Row("PA9", lambda s: s.kind == "mean" and _two_sided(s) and thresholds.has_interval(s) and s.null == 0),
    Row("PA7", lambda s: _one_sided(s) and not thresholds.on_asked_side(s), tone="caution"),
    Row("PA5", lambda s: _one_sided(s) and s.null == 0, _bound, _one_sided_variant),
    Row("PA6", lambda s: _one_sided(s), _bound, _one_sided_variant),
    Row("PA12", _interaction("levels_by_levels"), _difference_of_differences, _prepositions_in_levels),
    Row("PA13", _interaction("slopes_by_levels"), _difference_of_slopes),
    Row(
        "PA14",
        lambda s: _plain(s) and s.kind == "ordered" and not s.is_ratio,
        variant=_contrast_variant,
    ),
    Row("PA4", lambda s: _plain(s) and thresholds.limit_on_null(s), tone="caution"),
    Row("PA3", lambda s: _plain(s) and s.p > thresholds.COMMON),
    Row("PA8", lambda s: _plain(s) and s.null != 0),
    Row("PA2", lambda s: _plain(s) and thresholds.holds_null(s)),
    Row("PA19", lambda s: _plain(s) and _robust(s), _robust_values, _robust_variant),
    Row("PA16", lambda s: _plain(s) and s.scale == "odds" and s.kind == "slope"),
    Row("PA17", lambda s: _plain(s) and s.scale == "odds" and s.kind == "level", _levels, _prepositions_in_levels),
    Row("PA18", lambda s: _plain(s) and s.scale == "rate" and s.kind == "level", _levels, _prepositions_in_levels),
    Row("PA21", lambda s: _plain(s) and s.kind == "scaled" and not s.is_ratio, _standardised, _zero_contrast),
    Row("PA1", _plain),
    Row(EFFECT_ALONE, lambda s: True, tone="caution"),
)

PARAMS_BOOT: tuple[Row, ...] = (
    Row("ST5", lambda s: s.draws == 0 and s.failures > 0, _failed, _one_refit, tone="refusal"),
    Row("ST4", lambda s: thresholds.failure_share(s) > thresholds.FAILURES_MANY, _failed, tone="caution"),
    *NO_ESTIMATE,
    Row("PB12", lambda s: s.dot is not None and numbers.finite(s.value), _dot, dot_variant),
    Row("PB10", lambda s: thresholds.total_draws(s) == 0, variant=_undrawn_variant),
    Row("PB11", lambda s: s.draws == 1 and s.failures == 0 and numbers.finite(s.value), _one_draw, _one_draw_variant),
    Row("PB7", thresholds.too_few_draws, _still_moving, _still_moving_variant, tone="caution"),
    Row(
        "PB9",
        lambda s: s.scheme == "cluster" and s.groups is not None and s.groups < thresholds.FEW_GROUPS,
        _better,
        tone="caution",
    ),
    Row("PB6", thresholds.types_disagree, _disagreement, _disagreement_variant, tone="caution"),
    Row(
        "PB8",
        lambda s: s.ci_type == "percentile" and thresholds.biased(s),
        _bias,
        _bias_variant,
        tone="caution",
    ),
    Row("PB5", lambda s: s.test_asked and numbers.finite(s.p) and thresholds.at_floor(s)),
    Row(
        "PB4",
        lambda s: thresholds.one_sided(s) and thresholds.bound(s) is not None,
        _bound,
        _one_sided_variant,
    ),
    Row("PB3", lambda s: _two_limits(s) and s.scheme == "cluster", _spread, _spread_variant),
    Row("PB2", lambda s: _two_limits(s) and s.scheme == "parametric", _spread, _spread_variant),
    Row("PB1", lambda s: _two_limits(s), _spread, _spread_variant),
    Row(EFFECT_ALONE, lambda s: True, tone="caution"),
)

VARIANCE_BOOT: tuple[Row, ...] = (
    Row("ST5", lambda s: s.draws == 0 and s.failures > 0, _failed, _one_refit, tone="refusal"),
    Row("ST4", lambda s: thresholds.failure_share(s) > thresholds.FAILURES_MANY, _failed, tone="caution"),
    Row("PB12", lambda s: s.dot is not None and numbers.finite(s.value), _dot, dot_variant),
    Row("PB10", lambda s: thresholds.total_draws(s) == 0, variant=_undrawn_variant),
    Row("PB11", lambda s: s.draws == 1 and s.failures == 0 and numbers.finite(s.value), _one_draw, _one_draw_variant),
    Row("PB7", thresholds.too_few_draws, _still_moving, _still_moving_variant, tone="caution"),
    Row("VA7", lambda s: s.kind == "spread" and s.estimate == 0, tone="caution"),
    Row("VA8", thresholds.at_edge, _edge, tone="caution"),
    Row(
        "PB9",
        lambda s: s.scheme == "cluster" and s.groups is not None and s.groups < thresholds.FEW_GROUPS,
        _better,
        tone="caution",
    ),
    Row("VA6", lambda s: _two_limits(s) and thresholds.often_zero(s), _share_at_zero, tone="caution"),
    Row(
        "PB8",
        lambda s: s.ci_type == "percentile" and thresholds.biased(s),
        _bias,
        _bias_variant,
        tone="caution",
    ),
    Row(
        "VA9",
        lambda s: _two_limits(s) and s.kind == "spread" and (s.groups or 0) < thresholds.FEW_GROUPS,
        variant=_from_draws,
        tone="caution",
    ),
    Row("VA4", lambda s: s.kind == "correlation" and thresholds.holds_null(s), _pair, _from_draws),
    Row("PB3", lambda s: _two_limits(s) and s.scheme == "cluster", _spread, _spread_variant),
    Row("PB2", lambda s: _two_limits(s) and s.scheme == "parametric", _spread, _spread_variant),
    Row("PB1", lambda s: _two_limits(s), _spread, _spread_variant),
    Row(EFFECT_ALONE, lambda s: True, tone="caution"),
)

TABLES: dict[tuple[str, str], tuple[Row, ...]] = {
    ("params", "asymp"): PARAMS_ASYMP,
    ("params", "boot"): PARAMS_BOOT,
    ("variance", "boot"): VARIANCE_BOOT,
}


def selected() -> frozenset[str]:
    """Ids of the rows that some table can choose."""
    rows = [*REFUSALS, *(row for table in TABLES.values() for row in table)]
    return frozenset(row.id for row in rows) & (ROWS.keys() | STATES.keys())
