"""What panes A and B show for one term: the rows, the fitted line, and the same for any set of coefficients.

The rows are the real rows: the response against the term's own predictor. The line is the model's, with every other
predictor at a typical value (the mean of a number, the most frequent level of a factor), and the pane says so. A
predictor that the term's own one is multiplied with has no typical value that would do: its coefficient belongs to one
setting, so the lines of several settings are drawn, and the number stands at the line it belongs to, if that is there.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from bossaviz.charts.axis import data_axis, nice_ticks, number
from bossaviz.charts.cases import Cases, Frame
from bossaviz.terms import Part, column_parts, interacting

GRID = 41  # points of a curve
MOST_LINES = 6
MOST_LEVELS = 12
MOST_POINTS = 2_000  # rows drawn; more are thinned evenly, and the pane says so


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """One term of one fitted model, ready to be drawn for any coefficients."""

    frame: Frame
    kind: str  # "scatter", "strip" or "mean"
    x: np.ndarray  # (m,) where each drawn row stands
    y: np.ndarray  # (m,)
    rows: np.ndarray  # (m,) positions among the rows kept
    grids: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]  # per line: x (k,), design (k, p), offset (k,)
    inverse: Any  # the inverse link
    column: int  # position of the focal coefficient
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

    def lines(self, coef: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the model's lines for ``coef`` (p,), each (k, 2)."""
        known = np.where(np.isfinite(coef), coef, 0.0)
        out = []
        for x, design, offset in self.grids:
            height = self.inverse(design @ known + offset)
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

    def cases(self, coef: np.ndarray, times: np.ndarray | None = None, real: np.ndarray | None = None) -> Cases:
        """Return the rows and lines for ``coef``; ``times`` (n,) how often each row was drawn."""
        value = self.value(coef)
        words = (self.word, value) if value and self.labelled else ("", "")
        y = self.y
        count = np.ones(self.x.size) if times is None else times[self.rows]
        return Cases(
            x=self.x, y=y, row=self.numbers[self.rows], times=count, lines=self.lines(coef),
            real_lines=() if real is None else self.lines(real), end_words=words,
            end_line=self.end_line,
        )  # fmt: skip


def focus_on(model: Any, term: str, words: Any, decimals: int) -> Focus:
    """Prepare panes A and B for one term of a fitted lm or glm.

    model a fitted model; term a name of the design; words carries ``y_title``, ``x_title(column)`` and ``level`` words;
    decimals of the focal coefficient.
    """
    from inference_core.families import get_family

    bundle, spec = model.bundle, model.spec
    data = model.data.filter(pl.Series(bundle.valid_mask))
    column = bundle.X_names.index(term)
    inverse = get_family(spec.family, spec.link).link.inverse
    parts = [column_parts(bundle, j) for j in range(bundle.p)]
    used = list(dict.fromkeys(part.column for column_ in parts for part in column_))
    own = parts[column] or next((column_ for column_ in parts if column_), ())
    if not own:
        return _mean(bundle, inverse, column, words, decimals)
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
    level = parts[column][0].plus if kind == "strip" and len(parts[column]) == 1 else ""
    return _against(place, inverse, column, words, decimals, level)


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


def _against(place: Place, inverse: Any, column: int, words: Any, decimals: int, level: str) -> Focus:
    bundle, kind, focal = place.model.bundle, place.kind, place.focal
    values = place.data[focal]
    if kind == "strip":
        levels = _levels(values, bundle, focal)
        position = {level: i for i, level in enumerate(levels)}
        stand = np.array([position.get(_level_of(v, levels), np.nan) for v in values.to_list()], float)
        x_axis = (-0.6, len(levels) - 0.4)
        ticks, tick_words = tuple(float(i) for i in range(len(levels))), levels
        spread = 0.42
    else:
        stand = values.cast(pl.Float64).to_numpy()
        spread = _spread_of(stand)
        x_axis = data_axis(np.array([np.nanmin(stand) - spread / 2, np.nanmax(stand) + spread / 2]))
        ticks = tuple(nice_ticks(*x_axis, 6))
        if spread and np.all(np.mod(stand[np.isfinite(stand)], 1) == 0):
            ticks = tuple(t for t in ticks if t == int(t))  # whole numbers only, where the data are whole
        tick_words = _tick_words(ticks)
    rows = _thinned(stand.size)
    x = stand[rows] + _jitter(rows, 0.618034) * spread
    y = np.asarray(bundle.y, float)
    grids = _grids(place, stand)
    coef = np.nan_to_num(place.model.fit_state.coef)
    ends = [inverse(design @ coef + offset) for _, design, offset in grids]
    two_valued = np.unique(y).size == 2
    y_axis = data_axis(np.concatenate([y, *ends]) if ends else y, 0.09 if two_valued else 0.05)
    shown = y[rows] + (_jitter(rows, 0.754878) * 0.09 * (y.max() - y.min()) if two_valued else 0.0)
    y_ticks = tuple(nice_ticks(*y_axis, 3))
    frame = Frame(
        x_axis, y_axis, ticks, tick_words, y_ticks, _tick_words(y_ticks), words.x_title(focal), words.y_title,
        max(map(len, tick_words), default=0) if kind == "strip" else 0,
    )  # fmt: skip
    held = tuple(n for n in place.used if n not in (focal, place.partner))
    settings = _partners(place)
    own = _own_setting(place, settings)
    each = len(grids) // len(settings)  # lines at one setting
    end_line = -1 if own is None else own * each + (tick_words.index(level) if level in tick_words else each - 1)
    return Focus(frame, kind, x, shown, rows, tuple(grids), inverse, column, words.quantity, decimals, held, y.size,
                 stand, y, np.flatnonzero(bundle.valid_mask) + 1, focal, end_line,
                 own is not None, _aside(place, settings, words))  # fmt: skip


def _grids(place: Place, stand: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of new data along each line, through the model's own design: (x, design, offset) a line."""
    from inference_core.design import design_new

    bundle, data = place.model.bundle, place.data
    typical = {name: _typical(data[name], name in place.grouped) for name in data.columns}
    if place.kind == "strip":
        across = _level_values(data[place.focal], bundle, place.focal)
    else:
        finite = stand[np.isfinite(stand)]
        across = np.linspace(finite.min(), finite.max(), GRID).tolist()
    grids = []
    for extra in _partners(place):
        rows = [{**typical, place.focal: value, **extra} for value in across]
        design, offset = design_new(bundle, pl.DataFrame(rows, schema=_schema(data, place.grouped)))
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
        values = _level_values(column, place.model.bundle, place.partner)[:MOST_LINES]
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


def _level_values(values: pl.Series, bundle: Any, name: str) -> list[Any]:
    """The values of a column that stand for its levels, in the order of the levels."""
    levels = _levels(values, bundle, name)
    first = {_level_of(v, levels): v for v in reversed(values.to_list())}
    return [first.get(level, level) for level in levels]


def _level_of(value: Any, levels: tuple[str, ...]) -> str:
    """The level that a value belongs to: numbers used as groups are written without needless decimals."""
    text = str(value)
    if text in levels or not isinstance(value, (int, float)):
        return text
    return next((other for other in (f"{value:g}", text.lower()) if other in levels), text)


def _mean(bundle, inverse, column, words, decimals) -> Focus:
    """Intercept alone: the rows piled up along the response, the mean as an upright line."""
    from bossaviz.charts.binning import bins_through, stack

    y = np.asarray(bundle.y, float)
    rows = _thinned(y.size)
    axis = data_axis(y)
    bins = bins_through(y[rows], -np.inf, np.inf, (axis[1] - axis[0]) / 42, axis)
    height = stack(bins.index) + 0.5
    top = max(float(height.max(initial=1.0)) * 1.15, 6.0)
    ticks = tuple(nice_ticks(*axis, 6))
    offset = np.zeros(1) if bundle.offset is None else np.full(1, float(np.mean(bundle.offset)))
    counts = tuple(t for t in nice_ticks(0.0, top, 3) if t == int(t))
    frame = Frame(axis, (0.0, top), ticks, _tick_words(ticks), counts, _tick_words(counts), words.y_title, words.units)
    grids = ((np.zeros(1), np.ones((1, bundle.p)), offset),)
    x = bins.centres[bins.index]
    return Focus(frame, "mean", x, height, rows, grids, inverse, column, "mean", decimals, (), y.size, y, y,
                 np.flatnonzero(bundle.valid_mask) + 1)  # fmt: skip


def _levels(values: pl.Series, bundle: Any, name: str) -> tuple[str, ...]:
    """Levels in the model's order, as text."""
    known = bundle.factor_levels.get(name)
    if known is None:
        known = next((v for k, v in bundle.factor_levels.items() if name in k), None)
    if known is None and isinstance(values.dtype, pl.Enum):
        seen = set(values.to_list())
        known = [v for v in values.dtype.categories.to_list() if v in seen]
    return tuple(str(v) for v in (known or sorted(values.drop_nulls().unique().to_list())))[:MOST_LEVELS]


def _typical(values: pl.Series, grouped: bool) -> Any:
    """The mean of a number, the most frequent value of anything else."""
    if grouped or values.dtype == pl.Boolean or not values.dtype.is_numeric():
        mode = values.drop_nulls().mode().sort()
        return mode[0] if mode.len() else None
    return float(values.cast(pl.Float64).drop_nans().mean() or 0.0)


def _schema(data: pl.DataFrame, grouped: frozenset[str]) -> dict[str, Any]:
    """Types of the new rows: numbers become floats (a mean is one); groups and words stay what they were."""
    return {
        name: pl.Float64 if dtype.is_numeric() and name not in grouped else dtype
        for name, dtype in zip(data.columns, data.dtypes, strict=True)
    }


def _tick_words(ticks: tuple[float, ...]) -> tuple[str, ...]:
    gap = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    decimals = next((d for d in range(9) if abs(gap * 10**d - round(gap * 10**d)) < 1e-6 * 10**d * gap), 2)
    return tuple(number(t, decimals) for t in ticks)


def _thinned(n: int) -> np.ndarray:
    if n <= MOST_POINTS:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, MOST_POINTS).astype(int))


def _jitter(rows: np.ndarray, step: float) -> np.ndarray:
    """Offsets in (-0.5, 0.5) that fill the interval evenly and are the same in both panes."""
    return ((rows + 1) * step) % 1.0 - 0.5


def _spread_of(x: np.ndarray) -> float:
    """Width of the sideways jitter: a third of the gap where many rows share a value, else none."""
    values = np.unique(x[np.isfinite(x)])
    if values.size < 2 or values.size > max(12, x.size / 4):
        return 0.0
    return 0.34 * float(np.min(np.diff(values)))
