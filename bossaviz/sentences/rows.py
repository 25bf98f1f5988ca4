"""Which row answers a situation: tables in the order of the specification, first match wins.

A row is an entry ``Row(id, when, extra, variant)``: its template is ``templates.ROWS[id]``, ``when`` decides, ``extra``
gives the values that no other row uses, and ``variant`` may change the template where grammar asks for it. To add a
row, add an entry; the suite counts the templates that no entry selects yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import grammar as g
from . import numbers, thresholds
from .fill import Filler, plain_thresholds
from .situation import Situation
from .templates import ROWS, STATES, STATUS

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
    Row("PA23", lambda s: s.separated, g.separated, g.separated_variant, tone="caution"),
    Row("PA22", _no_estimate, g.aliased, tone="caution"),
)

PARAMS_ASYMP: tuple[Row, ...] = (
    *NO_ESTIMATE,
    Row("PA11", lambda s: s.kind == "intercept" and not s.zero_inside),
    Row("PA10", lambda s: s.kind == "intercept" and _two_sided(s) and thresholds.has_interval(s), g.level_of_intercept),
    Row("PA9", lambda s: s.kind == "mean" and _two_sided(s) and thresholds.has_interval(s) and s.null == 0),
    Row("PA7", lambda s: _one_sided(s) and not thresholds.on_asked_side(s), tone="caution"),
    Row("PA5", lambda s: _one_sided(s) and s.null == 0, g.bound, g.one_sided_variant),
    Row("PA6", lambda s: _one_sided(s), g.bound, g.one_sided_variant),
    Row("PA12", _interaction("levels_by_levels"), g.difference_of_differences, g.prepositions_in_levels),
    Row("PA13", _interaction("slopes_by_levels"), g.difference_of_slopes),
    Row(
        "PA14",
        lambda s: _plain(s) and s.kind == "ordered" and not s.is_ratio,
        variant=g.contrast_variant,
    ),
    Row("PA4", lambda s: _plain(s) and thresholds.limit_on_null(s), tone="caution"),
    Row("PA3", lambda s: _plain(s) and s.p > thresholds.COMMON),
    Row("PA8", lambda s: _plain(s) and s.null != 0),
    Row("PA2", lambda s: _plain(s) and thresholds.holds_null(s)),
    Row("PA19", lambda s: _plain(s) and _robust(s), g.robust_values, g.robust_variant),
    Row("PA16", lambda s: _plain(s) and s.scale == "odds" and s.kind == "slope"),
    Row("PA17", lambda s: _plain(s) and s.scale == "odds" and s.kind == "level", g.levels, g.prepositions_in_levels),
    Row("PA18", lambda s: _plain(s) and s.scale == "rate" and s.kind == "level", g.levels, g.prepositions_in_levels),
    Row("PA21", lambda s: _plain(s) and s.kind == "scaled" and not s.is_ratio, g.standardised, g.zero_contrast),
    Row("PA1", _plain),
    Row(EFFECT_ALONE, lambda s: True, tone="caution"),
)

PARAMS_BOOT: tuple[Row, ...] = (
    Row("ST5", lambda s: s.draws == 0 and s.failures > 0, g.failed, g.one_refit, tone="refusal"),
    Row("ST4", lambda s: thresholds.failure_share(s) > thresholds.FAILURES_MANY, g.failed, tone="caution"),
    *NO_ESTIMATE,
    Row("PB12", lambda s: s.dot is not None and numbers.finite(s.value), g.dot, g.dot_variant),
    Row("PB10", lambda s: thresholds.total_draws(s) == 0, variant=g.undrawn_variant),
    Row("PB11", lambda s: s.draws == 1 and s.failures == 0 and numbers.finite(s.value), g.one_draw, g.one_draw_variant),
    Row("PB7", thresholds.too_few_draws, g.still_moving, g.still_moving_variant, tone="caution"),
    Row(
        "PB9",
        lambda s: s.scheme == "cluster" and s.groups is not None and s.groups < thresholds.FEW_GROUPS,
        g.better,
        tone="caution",
    ),
    Row("PB6", thresholds.types_disagree, g.disagreement, g.disagreement_variant, tone="caution"),
    Row(
        "PB8",
        lambda s: s.ci_type == "percentile" and thresholds.biased(s),
        g.bias,
        g.bias_variant,
        tone="caution",
    ),
    Row("PB5", lambda s: s.test_asked and numbers.finite(s.p) and thresholds.at_floor(s)),
    Row(
        "PB4",
        lambda s: thresholds.one_sided(s) and thresholds.bound(s) is not None,
        g.bound,
        g.one_sided_variant,
    ),
    Row("PB3", lambda s: _two_limits(s) and s.scheme == "cluster", g.spread, g.spread_variant),
    Row("PB2", lambda s: _two_limits(s) and s.scheme == "parametric", g.spread, g.spread_variant),
    Row("PB1", lambda s: _two_limits(s), g.spread, g.spread_variant),
    Row(EFFECT_ALONE, lambda s: True, tone="caution"),
)

VARIANCE_BOOT: tuple[Row, ...] = (
    Row("ST5", lambda s: s.draws == 0 and s.failures > 0, g.failed, g.one_refit, tone="refusal"),
    Row("ST4", lambda s: thresholds.failure_share(s) > thresholds.FAILURES_MANY, g.failed, tone="caution"),
    Row("PB12", lambda s: s.dot is not None and numbers.finite(s.value), g.dot, g.dot_variant),
    Row("PB10", lambda s: thresholds.total_draws(s) == 0, variant=g.undrawn_variant),
    Row("PB11", lambda s: s.draws == 1 and s.failures == 0 and numbers.finite(s.value), g.one_draw, g.one_draw_variant),
    Row("PB7", thresholds.too_few_draws, g.still_moving, g.still_moving_variant, tone="caution"),
    Row("VA7", lambda s: s.kind == "spread" and s.estimate == 0, tone="caution"),
    Row("VA8", thresholds.at_edge, g.edge, tone="caution"),
    Row(
        "PB9",
        lambda s: s.scheme == "cluster" and s.groups is not None and s.groups < thresholds.FEW_GROUPS,
        g.better,
        tone="caution",
    ),
    Row("VA6", lambda s: _two_limits(s) and thresholds.often_zero(s), g.share_at_zero, tone="caution"),
    Row(
        "PB8",
        lambda s: s.ci_type == "percentile" and thresholds.biased(s),
        g.bias,
        g.bias_variant,
        tone="caution",
    ),
    Row(
        "VA9",
        lambda s: _two_limits(s) and s.kind == "spread" and (s.groups or 0) < thresholds.FEW_GROUPS,
        variant=g.from_draws,
        tone="caution",
    ),
    Row("VA4", lambda s: s.kind == "correlation" and thresholds.holds_null(s), g.pair, g.from_draws),
    Row("PB3", lambda s: _two_limits(s) and s.scheme == "cluster", g.spread, g.spread_variant),
    Row("PB2", lambda s: _two_limits(s) and s.scheme == "parametric", g.spread, g.spread_variant),
    Row("PB1", lambda s: _two_limits(s), g.spread, g.spread_variant),
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
