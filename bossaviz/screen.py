"""Everything a bootstrap panel shows at one moment, as plain values. Pure: the same reading gives the same screen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .charts.axis import decimals_beside, decimals_for, distribution_axis, number
from .charts.distribution import DOTS_UP_TO, Distribution, IntervalRow
from .compute.reading import Reading
from .dots import DotWords
from .naming import Naming
from .state import CI_TYPES

PIN_HEAD = ("run", "term", "ci_type", "conf_level", "draws", "seed", "estimate", "ci_lower", "ci_upper")


@dataclass(frozen=True, slots=True)
class Pin:
    """One run that the reader pinned, to compare with others."""

    term: str
    ci_type: str
    conf_level: float
    draws: int
    seed: int
    estimate: float
    low: float
    high: float
    decimals: int


def scale_of_focus(reading: Reading) -> tuple[float, int]:
    """Return a formula's standard error of the focal number and the decimals it is shown with; no draw moves them."""
    se = float(reading.formula_se[reading.focal])
    return se, decimals_for(se)


def distribution(
    reading: Reading, naming: Naming, *, shown: int | None, bins: int, overlay: bool,
    dots: DotWords | None = None, distinct: np.ndarray | None = None,
) -> Distribution:  # fmt: skip
    """Return what pane C shows. The axis is as wide as the draws will be, which is known before the first."""
    _, decimals = scale_of_focus(reading)
    se = float(reading.spread[reading.focal])
    estimate = float(reading.estimate[reading.focal])
    null = _null_of(reading, naming)
    axis = (-1.62, 1.08) if naming.kind == "correlation" else distribution_axis(estimate, se, null)
    rows = tuple(
        IntervalRow(
            name=CI_TYPES.get(row.ci_type, "Wald"), low=row.low, high=row.high,
            chosen=row.ci_type == reading.query.ci_type, theory=row.ci_type == "wald",
            mcse_low=row.mcse_low, mcse_high=row.mcse_high, note=row.note,
        )
        for row in reading.limits
    )  # fmt: skip
    formula = _has_formula(reading)
    return Distribution(
        draws=reading.values, numbers=reading.numbers, estimate=estimate, axis=axis, rows=rows, decimals=decimals,
        null=null, null_words="" if null is None else naming.null_words(null), x_title=naming.axis, shown=shown,
        bin_width=1.0 / bins, se=se, curve=_curve(reading, axis, estimate) if overlay and formula else None,
        curve_words=_curve_words(reading) if formula else "", draw_words=naming.quantity,
        failed=sum(reading.failures.values()),
        floor={"correlation": -1.0, "spread": 0.0, "scatter": 0.0}.get(naming.kind),
        **_dot_words(reading, dots, distinct),
    )  # fmt: skip


def _null_of(reading: Reading, naming: Naming) -> float | None:
    """The null that the picture shows; none where it says nothing, as for a mean or a standard deviation."""
    if naming.kind == "correlation":
        return 0.0
    if naming.kind in ("spread", "scatter"):
        return None
    return reading.query.null if naming.kind not in ("mean", "intercept") or reading.query.null else None


def _dot_words(reading: Reading, dots: DotWords | None, distinct: np.ndarray | None) -> dict[str, Any]:
    """The words of the dots, while there are dots."""
    if dots is None:
        return {}
    few = reading.usable <= DOTS_UP_TO
    return {
        "pieces": dots.pieces, "observed": dots.observed, "spoken": tuple(dots.say(reading.values)) if few else (),
        "distinct": np.empty(0) if distinct is None else distinct,
    }  # fmt: skip


def _has_formula(reading: Reading) -> bool:
    """Whether a formula has a distribution for the focal number."""
    return reading.focal < len(reading.wald.se)


def _curve(reading: Reading, axis: tuple[float, float], centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Density of the reference distribution behind the Wald interval: t with its df, or normal."""
    se = float(reading.wald.se[reading.focal])
    x = np.linspace(*axis, 160)
    df = _reference_df(reading)
    z = (x - centre) / se
    if math.isfinite(df):
        log = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
        return x, np.exp(log - (df + 1) / 2 * np.log1p(z * z / df)) / se
    return x, np.exp(-0.5 * z * z) / (se * math.sqrt(2 * math.pi))


def _reference_df(reading: Reading) -> float:
    """Degrees of freedom behind the Wald interval; infinite for the normal."""
    if reading.wald.df is None:
        return math.inf
    df = np.broadcast_to(np.asarray(reading.wald.df, float), np.shape(reading.wald.se))
    return float(df[reading.focal])


def _curve_words(reading: Reading) -> str:
    df = _reference_df(reading)
    return f"t curve, {df:g} df" if math.isfinite(df) else "normal curve"


def title_of_distribution(reading: Reading, naming: Naming) -> tuple[str, str]:
    """Return the heading of pane C and what can be done there."""
    count = reading.usable
    if count == 0:
        none = f"none of {reading.count:,} refits worked" if reading.count else "one dot will be one resample"
        return f"{naming.quantities} of resamples", none
    noun = naming.quantities if count != 1 else naming.quantity.capitalize()
    title = f"{noun} of {count:,} resample{'s' * (count != 1)}"
    if count <= DOTS_UP_TO:
        sees = "see its rows" if reading.scheme == "case" else "see it"
        return title, f"one dot is one resample; click it to {sees}"
    return title, "click a bar to see one of its resamples"


def estimates(
    reading: Reading, words: dict[str, str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]], int]:
    """Return head, rows and the focal row of the table of estimates; ``words`` say terms in another way."""
    head = ("term", "estimate", "se", "ci_lower", "ci_upper", "p_value")
    rows, chosen = [], -1
    table = reading.table
    words = words or {}
    for j, name in enumerate(reading.names):
        estimate = float(reading.estimate[j])
        if j == reading.focal:
            chosen = len(rows)
        digits = decimals_for(float(reading.formula_se[j]))
        name = words.get(name, name)
        if not math.isfinite(estimate):
            rows.append((name, "–", "", "", "", ""))
        elif table is None:
            rows.append((name, number(estimate, digits), "", "", "", ""))
        else:
            null = float(np.broadcast_to(np.asarray(table.null, float), reading.estimate.shape)[j])
            limits = [float(v[j]) for v in (table.ci_lower, table.ci_upper)]
            rows.append((
                name, number(estimate, digits), number(float(table.se[j]), digits),
                *(number(v, decimals_beside(v, digits, null)) for v in limits), p_text(table.p_value, j, reading),
            ))  # fmt: skip
    return head, rows, chosen


def p_text(p_value: np.ndarray | None, j: int, reading: Reading) -> str:
    """Return a p-value with at most three decimals, never below what the number of draws can show."""
    if p_value is None or not math.isfinite(float(p_value[j])):
        return ""
    p = float(p_value[j])
    return f"{p:.3f}" if p >= 0.001 else f"{p:.{min(6, 1 - math.floor(math.log10(p)))}f}" if p > 0 else "0"


def pinned(pins: list[Pin]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table of pinned runs."""
    rows = [
        (
            str(i + 1), pin.term, CI_TYPES[pin.ci_type], f"{pin.conf_level:g}", f"{pin.draws:,}", str(pin.seed),
            *(number(v, pin.decimals) for v in (pin.estimate, pin.low, pin.high)),
        )
        for i, pin in enumerate(pins)
    ]  # fmt: skip
    return PIN_HEAD, rows


def latest_draws(
    reading: Reading, samples: np.ndarray, status: np.ndarray, most: int = 8, words: dict[str, str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table of the latest draws, newest first; a failed draw shows its reason in place of numbers."""
    from inference_core.states import DRAW_REASONS

    words = words or {}
    head = ("draw", *(words.get(name, name) for name in reading.names))
    rows = []
    for i in range(len(status) - 1, max(-1, len(status) - 1 - most), -1):
        if status[i]:
            rows.append((f"#{i + 1}", DRAW_REASONS.get(int(status[i]), "failed"), *[""] * (len(reading.names) - 1)))
        else:
            digits = [decimals_for(float(se)) for se in reading.formula_se]
            rows.append((f"#{i + 1}", *(number(float(v), d) for v, d in zip(samples[i], digits, strict=True))))
    return head, rows


def reasons(reading: Reading) -> list[tuple[str, str]]:
    """Return why refits gave nothing, the most frequent reason first, with their numbers."""
    return [(why, f"{times:,}") for why, times in sorted(reading.failures.items(), key=lambda item: -item[1])]


def two_errors(reading: Reading) -> tuple[list[tuple[str, str, str]], str]:
    """Return sampling error and Monte-Carlo error for the status line, and the latter alone for the rail."""
    if reading.inference is None:
        return [], ""
    _, digits = scale_of_focus(reading)
    mcse = "" if not math.isfinite(reading.mcse) else number(reading.mcse, decimals_for(reading.mcse))
    facts = [("sampling error (se)", number(reading.se, digits), "from n")]
    if mcse:
        facts.append(("Monte-Carlo error of the limits", f"± {mcse}", "from B"))
    return facts, mcse
