"""What a chart is and what is in it, in words: for whoever hears a panel instead of seeing it."""

from __future__ import annotations

import numpy as np

from .compute.focus import Focus
from .compute.reading import Reading
from .naming import Naming
from .sentences import Labels, Situation
from .sentences.charts import distribution_summary, intervals_summary, resample_summary, scatter_summary, strip_summary


def describe_data(focus: Focus, naming: Naming, labels: Labels, coef: np.ndarray) -> str:
    """Return the description of pane A."""
    if focus.kind == "strip":
        codes = focus.across[np.isfinite(focus.across)].astype(int)
        rows = {name: focus.up[focus.across == i] for i, name in enumerate(focus.frame.x_labels) if (codes == i).any()}
        return strip_summary(
            labels,
            factor=naming.plural(focus.focal),
            means={name: float(values.mean()) for name, values in rows.items()},
            counts={name: int(values.size) for name, values in rows.items()},
        )
    if focus.kind == "scatter":
        line = focus.lines(coef)[focus.end_line]
        said = scatter_summary(
            labels, n=focus.n, x=naming.noun(focus.focal), x_values=focus.across, x_unit=naming.unit(focus.focal),
            y_values=focus.up, line=(float(line[0, 1]), float(line[-1, 1])),
        )  # fmt: skip
        lines = 0 if focus.groups is None else len(focus.groups.shown)
        return f"{said} {lines} thin lines, one for each group." if lines else said
    if focus.kind == "groups":
        return (f"Strip plot of the real data: {focus.n:,} {naming.units}, {focus.frame.x_title}; a thin bar at each, "
                f"a line at {naming.end} {focus.value(coef)}.")  # fmt: skip
    value = focus.value(coef)
    return f"Dot plot of the real data: {focus.n:,} {naming.units}, {focus.frame.x_title} across; mean {value}."


def describe_resample(focus: Focus, labels: Labels, draw: int, times: np.ndarray, value: str, unit: str) -> str:
    """Return the description of pane B for draw ``draw``; times (n,) how often each row is in it."""
    return resample_summary(
        labels, draw=draw, distinct=int(np.count_nonzero(times)), most=int(times.max(initial=0)),
        statistic=focus.word, value=value, unit=unit,
    )  # fmt: skip


def describe_new_data(focus: Focus, naming: Naming, draw: int, what: str, value: str) -> str:
    """Return the description of pane B where a draw has new responses, or whole groups."""
    unit = f" {naming.unit_words}" if naming.unit_words else ""
    return f"Simulated: resample {draw}, same axes; {what}; its {naming.quantity} is {value}{unit}."


def describe_distribution(reading: Reading, situation: Situation, labels: Labels, naming: Naming, link: str) -> str:
    """Return the description of pane C: the draws, then the intervals side by side."""
    if not reading.usable:
        why = f"none of {reading.count:,} refits worked" if reading.count else "no resample has been drawn yet"
        return f"Empty plot for {naming.quantities.lower()} of resamples; {why}."
    coef = float(reading.estimate[reading.focal])
    if (naming.kind in ("mean", "intercept") and link != "identity") or not coef or situation.estimate is None:
        return f"{naming.quantities} of {reading.usable:,} simulated resamples, on the scale of the link."
    # The situation speaks in its own unit (a doubling, a standard deviation): the draws must follow.
    unit = situation.estimate / coef
    said = distribution_summary(situation, labels, reading.values * unit)
    rows = {
        row.ci_type: tuple(sorted((row.low * unit, row.high * unit)))
        for row in reading.limits
        if row.ci_type != "wald" and np.isfinite(row.low) and np.isfinite(row.high)
    }
    if not rows:
        return said
    return f"{said} {intervals_summary(situation, labels, rows, f'the {naming.quantity}')}"
