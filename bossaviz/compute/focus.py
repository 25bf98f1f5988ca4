"""What panes A and B show for one term: the rows, the fitted line, and the same for any set of coefficients.

The rows are the real rows: the response against the term's own predictor. The line is the model's, with every other
predictor at a typical value (the mean of a number, the most frequent level of a factor), and the pane says so. A
predictor that the term's own one is multiplied with has no typical value that would do: its coefficient belongs to one
setting, so the lines of several settings are drawn, and the number stands at the line it belongs to, if that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from bossaviz.charts.axis import data_axis, nice_ticks, number
from bossaviz.charts.cases import Cases, Frame
from bossaviz.spreads import find_spread, position_of
from bossaviz.terms import Part, column_parts, interacting

from .columns import (
    MOST_LEVELS,
    jitter,
    level_of,
    level_values,
    levels_of,
    schema_of,
    spread_of,
    thinned,
    tick_labels,
    typical_value,
    varies_within,
)
from .groups import BENDS, Groups, block_of_focus, drawn_groups, group_lines

GRID = 41  # points of a curve
MOST_LINES = 6
MOST_TICKS = 11


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """One term of one fitted model, ready to be drawn for any coefficients."""

    frame: Frame
    kind: str  # "scatter", "strip", "mean" or "groups"
    x: np.ndarray  # (m,) where each drawn row stands
    y: np.ndarray  # (m,)
    rows: np.ndarray  # (m,) positions among the rows kept
    grids: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]  # per line: x (k,), design (k, p), offset (k,)
    inverse: Any  # the inverse link
    column: int  # position of the focal number among the statistics
    word: str  # what the coefficient is called at the end of the line
    decimals: int
    held: tuple[str, ...]  # predictors at a typical value
    n: int
    across: np.ndarray  # (n,) the predictor of every row: a number, the position of its level, or the response itself
    up: np.ndarray  # (n,) the response of every row
    numbers: np.ndarray  # (n,) which row of the frame each kept row is, from 1
    focal: str = ""  # the column across; "" for the response itself
    end_line: int = -1  # the line at which the coefficient is written
    labelled: bool = True  # False: no line drawn is the one that the coefficient describes
    aside: str = ""  # where the lines of an interaction stand: "lines at horsepower 96 and 180"
    groups: Groups | None = None  # the groups of a mixed model that have a line of their own

    def lines(self, coef: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the model's lines for ``coef``, whose first p are coefficients; each (k, 2)."""
        known = np.where(np.isfinite(coef), coef, 0.0)
        out = []
        for x, design, offset in self.grids:
            height = self.inverse(design @ known[: design.shape[1]] + offset)
            if self.kind == "mean":
                centre = float(height[0])
                out.append(np.array([[centre, self.frame.y_axis[0]], [centre, self.frame.y_axis[1]]]))
            else:
                out.append(np.column_stack([x, height]))
        return tuple(out)

    def value(self, coef: np.ndarray) -> str:
        """Return the focal one of ``coef`` (p,) as it is written; empty where it has no estimate."""
        focal = float(coef[self.column])
        return number(focal, self.decimals) if np.isfinite(focal) else ""

    def group_lines(
        self, coef: np.ndarray, modes: list[np.ndarray] | None, times: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Return the lines of the groups for ``coef`` and the effects of every block; none where these are unknown.

        Where rows are drawn, ``times`` (n,) each, only the groups that are among them.
        """
        if self.groups is None or modes is None:
            return ()
        known = np.where(np.isfinite(coef), coef, 0.0)[: self.groups.design[0].shape[1]]
        here = None if times is None else np.unique(self.groups.index[times > 0])
        return self.groups.lines(known, modes[self.groups.block], self.inverse, here)

    def cases(
        self,
        coef: np.ndarray,
        times: np.ndarray | None = None,
        real: np.ndarray | None = None,
        response: np.ndarray | None = None,
        modes: list[np.ndarray] | None = None,
    ) -> Cases:
        """Return the rows and lines for ``coef``.

        times (n,) how often each row was drawn; response (n,) in place of that of the data; modes the effects of the
        groups, for their lines; real the numbers of the data, for the dotted lines.
        """
        value = self.value(coef)
        words = (self.word, value) if value and self.labelled else ("", "")
        x, y = self.x, self.y
        if response is not None and self.kind == "mean":
            x, y = _piled(response[self.rows], self.frame.x_axis)
        elif response is not None:
            y = response[self.rows] + (self.y - self.up[self.rows])  # the jitter of a response of two values stays
        count = np.ones(self.x.size) if times is None else times[self.rows]
        return Cases(
            x=x, y=y, row=self.numbers[self.rows], times=count, lines=self.lines(coef),
            real_lines=() if real is None else self.lines(real), end_words=words,
            end_line=self.end_line, group_lines=self.group_lines(coef, modes, times),
        )  # fmt: skip


def focus_on(model: Any, term: str, words: Any, decimals: int, reach: np.ndarray | None = None) -> Focus:
    """Prepare panes A and B for one number of a fitted model.

    model a fitted model; term a name of the design, or of the random part; words carries ``y_title``,
    ``x_title(column)`` and ``level`` words; decimals of the focal number; reach (2,) responses that the axis must hold
    beside those of the data.
    """
    from inference_core.families import get_family

    bundle, spec = model.bundle, model.spec
    data = model.data.filter(pl.Series(bundle.valid_mask))
    spread, column = find_spread(bundle, term), position_of(bundle, term)
    inverse = get_family(spec.family, spec.link).link.inverse
    parts = [column_parts(bundle, j) for j in range(bundle.p)]
    used = list(dict.fromkeys(part.column for column_ in parts for part in column_))
    own: tuple[Part, ...] = () if spread is not None else parts[column]
    if spread is not None and spread.block >= 0:  # the predictor whose slopes differ, if it is one of the design
        names = bundle.re_metadata.blocks[spread.block].column_names
        own = next((parts[bundle.X_names.index(n)] for n in (names[spread.first], *names) if n in bundle.X_names), ())
    if spread is not None and not own:
        block = bundle.re_metadata.blocks[block_of_focus(bundle, "", spread.block)]
        own = next((p for j, p in enumerate(parts) if p and varies_within(bundle.X[:, j], block.group_index)), ())
    own = own or next((column_ for column_ in parts if column_), ())
    if not own and bundle.re_metadata is not None:
        block = block_of_focus(bundle, "", -1 if spread is None else spread.block)
        return _by_group(bundle, data, block, inverse, column, words, decimals, reach)
    if not own:
        return _mean(bundle, inverse, column, words, decimals, reach)
    grouped = {part.column for column_ in parts for part in column_ if part.kind in ("factor", "ordered")}
    names = list(dict.fromkeys(part.column for part in own))
    focal = next((name for name in names if name not in grouped), names[0])
    partner = next((name for name in names if name != focal), None)
    kind = "strip" if focal in grouped else "scatter"
    multiplied = None
    if partner is None and len(own) == 1:
        multiplied = next((part for part in interacting(bundle, own[0]) if part.column != focal), None)
        partner = None if multiplied is None or multiplied.centre is not None else multiplied.column
    place = Place(model, data, kind, focal, partner, tuple(used), frozenset(grouped), multiplied)
    level = own[0].plus if spread is None and kind == "strip" and len(parts[column]) == 1 else ""
    return _against(place, inverse, column, words, decimals, level, reach, -1 if spread is None else spread.block)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Which columns span the panes: the focal one across, its partner (in an interaction) as several lines."""

    model: Any
    data: pl.DataFrame  # the rows kept
    kind: str
    focal: str
    partner: str | None
    used: tuple[str, ...]
    grouped: frozenset[str]  # columns that the model treats as groups
    multiplied: Part | None = None  # what the focal predictor is multiplied with, where the term is a main effect


def _against(
    place: Place, inverse: Any, column: int, words: Any, decimals: int, level: str, reach: np.ndarray | None, block: int
) -> Focus:
    bundle, kind, focal = place.model.bundle, place.kind, place.focal
    values = place.data[focal]
    if kind == "strip":
        levels = levels_of(values, bundle, focal)
        position = {level: i for i, level in enumerate(levels)}
        stand = np.array([position.get(level_of(v, levels), np.nan) for v in values.to_list()], float)
        x_axis = (-0.6, len(levels) - 0.4)
        ticks, tick_words = tuple(float(i) for i in range(len(levels))), levels
        spread = 0.42
    else:
        stand = values.cast(pl.Float64).to_numpy()
        spread = spread_of(stand)
        x_axis = data_axis(np.array([np.nanmin(stand) - spread / 2, np.nanmax(stand) + spread / 2]))
        ticks = tuple(nice_ticks(*x_axis, 6))
        if spread and np.all(np.mod(stand[np.isfinite(stand)], 1) == 0):
            ticks = tuple(t for t in ticks if t == int(t))  # whole numbers only, where the data are whole
            known = np.unique(stand[np.isfinite(stand)])
            if known.size <= MOST_TICKS and known[-1] - known[0] < MOST_TICKS:
                ticks = tuple(float(v) for v in known)  # every value there is
        tick_words = tick_labels(ticks)
    rows = thinned(stand.size)
    x = stand[rows] + jitter(rows, 0.618034) * spread
    y = np.asarray(bundle.y, float)
    grids = _grids(place, stand)
    coef = np.nan_to_num(place.model.fit_state.coef)
    ends = [inverse(design @ coef + offset) for _, design, offset in grids]
    two_valued = np.unique(y).size == 2
    seen = [y, *ends, *([] if reach is None else [reach])]
    y_axis = data_axis(np.concatenate(seen), 0.09 if two_valued else 0.05)
    shown = y[rows] + (jitter(rows, 0.754878) * 0.09 * (y.max() - y.min()) if two_valued else 0.0)
    y_ticks = tuple(nice_ticks(*y_axis, 3))
    frame = Frame(
        x_axis, y_axis, ticks, tick_words, y_ticks, tick_labels(y_ticks), words.x_title(focal), words.y_title,
        max(map(len, tick_words), default=0) if kind == "strip" else 0,
    )  # fmt: skip
    held = tuple(n for n in place.used if n not in (focal, place.partner))
    settings = _partners(place)
    own = _own_setting(place, settings)
    each = len(grids) // len(settings)  # lines at one setting
    end_line = -1 if own is None else own * each + (tick_words.index(level) if level in tick_words else each - 1)
    return Focus(frame, kind, x, shown, rows, tuple(grids), inverse, column, words.end, decimals, held, y.size,
                 stand, y, np.flatnonzero(bundle.valid_mask) + 1, focal, end_line,
                 own is not None, _aside(place, settings, words), _groups(place, stand, block))  # fmt: skip


def _groups(place: Place, stand: np.ndarray, asked: int) -> Groups | None:
    """The lines of the groups of a mixed model: along the values that each has, its own typical ones of the others."""
    bundle, data = place.model.bundle, place.data
    if bundle.re_metadata is None:
        return None
    block = block_of_focus(bundle, place.focal, asked)
    grouped = place.grouped | {name for b in bundle.re_metadata.blocks for name in b.group_columns}
    straight = place.kind == "scatter" and _straight(place)

    def across(rows: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
        here = stand[rows][np.isfinite(stand[rows])]
        if place.kind == "strip":
            at = np.unique(here)
            first = {float(v): data[place.focal][int(r)] for v, r in zip(stand[rows], rows, strict=True)}
            if at.size == 1:  # a group that has one level: a short bar there
                return [{place.focal: first[float(at[0])]}] * 2, at[0] + np.array([-0.16, 0.16])
            return [{place.focal: first[float(v)]} for v in at], at
        if here.size == 0 or here.min() == here.max():
            return [], here
        at = np.linspace(here.min(), here.max(), 2 if straight else BENDS)
        return [{place.focal: float(v)} for v in at], at

    def typical(frame: pl.DataFrame) -> dict[str, Any]:
        return {name: typical_value(frame[name], name in grouped) for name in frame.columns}

    offset = None if bundle.offset is None else float(np.mean(bundle.offset))
    return group_lines(bundle, data, block, across, typical, schema_of(data, frozenset(grouped)), offset)


def _straight(place: Place) -> bool:
    """Whether lines along the focal predictor are straight: it enters as it is, and the link is the identity."""
    spec, bundle = place.model.spec, place.model.bundle
    parts = [part for j in range(bundle.p) for part in column_parts(bundle, j) if part.column == place.focal]
    names = {n for b in bundle.re_metadata.blocks for n in b.column_names} - {"(Intercept)", *bundle.X_names}
    return spec.link == "identity" and all(part.kind in ("number", "scaled") for part in parts) and not names


def _grids(place: Place, stand: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of new data along each line, through the model's own design: (x, design, offset) a line."""
    from inference_core.design import design_new

    bundle, data = place.model.bundle, place.data
    typical = {name: typical_value(data[name], name in place.grouped) for name in data.columns}
    if place.kind == "strip":
        across = level_values(data[place.focal], bundle, place.focal)
    else:
        finite = stand[np.isfinite(stand)]
        across = np.linspace(finite.min(), finite.max(), GRID).tolist()
    grids = []
    for extra in _partners(place):
        rows = [{**typical, place.focal: value, **extra} for value in across]
        design, offset = design_new(bundle, pl.DataFrame(rows, schema=schema_of(data, place.grouped)))
        offset = np.zeros(len(rows)) if offset is None else np.asarray(offset, float)
        if bundle.offset is not None:
            offset = np.full(len(rows), float(np.mean(bundle.offset)))
        if place.kind == "strip":  # a short bar at each level
            for i in range(len(rows)):
                grids.append((np.array([i - 0.28, i + 0.28]), design[[i, i]], offset[[i, i]]))
        else:
            grids.append((np.asarray(across, float), design, offset))
    return grids


def _partners(place: Place) -> list[dict[str, Any]]:
    """Settings of the partner: each level of a factor, the quartiles of a number; one empty setting without one."""
    if place.partner is None:
        return [{}]
    column = place.data[place.partner]
    if place.multiplied is not None and place.partner not in place.grouped:
        zero = 1.0 if place.multiplied.kind == "doubling" else 0.0
        values = column.cast(pl.Float64).drop_nans().drop_nulls()
        if values.min() <= zero <= values.max():
            return [{place.partner: zero}]
    if place.partner in place.grouped:
        values = level_values(column, place.model.bundle, place.partner)[:MOST_LINES]
        return [{place.partner: value} for value in values]
    return [{place.partner: float(column.cast(pl.Float64).quantile(q) or 0.0)} for q in (0.25, 0.75)]


def _own_setting(place: Place, settings: list[dict[str, Any]]) -> int | None:
    """Which setting of the partner the coefficient belongs to; None where that one is not drawn."""
    if place.multiplied is None or place.partner is None:
        return len(settings) - 1
    if place.partner not in place.grouped:
        return 0 if len(settings) == 1 else None
    levels = [str(setting[place.partner]) for setting in settings]
    reference = place.multiplied.reference
    if reference in levels:
        return levels.index(reference)
    return None


def _aside(place: Place, settings: list[dict[str, Any]], words: Any) -> str:
    """Where the lines of an interaction stand, in words."""
    if place.partner is None:
        return ""
    noun, one = words.noun(place.partner), "bar" if place.kind == "strip" else "line"
    if place.partner in place.grouped:
        return f"one {one} for each {noun}"
    values = [float(setting[place.partner]) for setting in settings]
    said = " and ".join(number(v, 0 if abs(v) >= 10 or v == int(v) else 1) for v in values)
    return f"{one}{'s' * (one == 'bar' or len(values) > 1)} at {noun} {said}"


def _by_group(bundle, data, block, inverse, column, words, decimals, reach) -> Focus:
    """Intercept and groups: the rows of each group in a column, groups in the order of their means."""
    info = bundle.re_metadata.blocks[block]
    y = np.asarray(bundle.y, float)
    means = np.bincount(info.group_index, y, info.n_levels) / np.maximum(np.bincount(info.group_index), 1)
    kept = drawn_groups(info.n_levels)  # of the groups in order, so that all sizes are seen
    order = np.argsort(means, kind="stable")[kept]
    place = np.full(info.n_levels, np.nan)
    place[order] = np.arange(order.size)
    stand = place[info.group_index]
    rows = np.flatnonzero(np.isfinite(stand))
    rows = rows[thinned(rows.size)]
    axis = data_axis(y if reach is None else np.concatenate([y, reach]))
    few = order.size <= MOST_LEVELS and max(len(info.levels[g]) for g in order) <= 6
    ticks = tuple(float(i) for i in range(order.size)) if few else ()
    names = tuple(info.levels[g] for g in order) if few else ()
    y_ticks = tuple(nice_ticks(*axis, 3))
    x_title = f"{words.plural(info.group_name)}, in the order of their means"
    frame = Frame((-0.7, order.size - 0.3), axis, ticks, names, y_ticks, tick_labels(y_ticks), x_title, words.y_title,
                  max(map(len, names), default=0))  # fmt: skip
    design = np.ones((2, bundle.p))
    offset = np.zeros(2) if bundle.offset is None else np.full(2, float(np.mean(bundle.offset)))
    own = np.zeros((2, info.k))
    own[:, [i for i, name in enumerate(info.column_names) if name == "(Intercept)"]] = 1.0
    groups = Groups(
        block, info.group_name, info.n_levels, order, tuple(np.array([i - 0.3, i + 0.3]) for i in range(order.size)),
        tuple(design for _ in order), tuple(own for _ in order), tuple(offset for _ in order), info.group_index,
    )  # fmt: skip
    grids = ((np.array([-0.5, order.size - 0.5]), design, offset),)
    wide = 0.0 if rows.size <= 4 * order.size else 0.3
    return Focus(frame, "groups", stand[rows] + jitter(rows, 0.618034) * wide, y[rows], rows, grids, inverse, column,
                 words.end, decimals, (), y.size, stand, y, np.flatnonzero(bundle.valid_mask) + 1, "", -1, True, "",
                 groups)  # fmt: skip


def _piled(y: np.ndarray, axis: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Where rows stand (m,) and how high (m,) when they are piled up along the response."""
    from bossaviz.charts.binning import bins_through, stack

    bins = bins_through(y, -np.inf, np.inf, (axis[1] - axis[0]) / 42, axis)
    index = np.clip(bins.index, 0, len(bins.centres) - 1)
    return bins.centres[index], stack(index) + 0.5


def _mean(bundle, inverse, column, words, decimals, reach) -> Focus:
    """Intercept alone: the rows piled up along the response, the mean as an upright line."""
    y = np.asarray(bundle.y, float)
    rows = thinned(y.size)
    axis = data_axis(y if reach is None else np.concatenate([y, reach]))
    x, height = _piled(y[rows], axis)
    top = max(float(height.max(initial=1.0)) * 1.15, 6.0)
    ticks = tuple(nice_ticks(*axis, 6))
    offset = np.zeros(1) if bundle.offset is None else np.full(1, float(np.mean(bundle.offset)))
    counts = tuple(t for t in nice_ticks(0.0, top, 3) if t == int(t))
    frame = Frame(axis, (0.0, top), ticks, tick_labels(ticks), counts, tick_labels(counts), words.y_title, words.units)
    grids = ((np.zeros(1), np.ones((1, bundle.p)), offset),)
    return Focus(frame, "mean", x, height, rows, grids, inverse, column, "mean", decimals, (), y.size, y, y,
                 np.flatnonzero(bundle.valid_mask) + 1)  # fmt: skip
