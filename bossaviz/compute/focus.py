"""What panes A and B show for one term: the rows, the fitted line, and the same for any set of coefficients.

The rows are the real rows: the response against the term's own predictor. The line is the model's, with every other
predictor at a typical value (the mean of a number, the most frequent level of a factor), and the pane says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..charts.axis import data_axis, nice_ticks, number
from ..charts.cases import Cases, Frame

GRID = 41  # points of a curve
MOST_LINES = 6
MOST_LEVELS = 12
MOST_POINTS = 2_000  # rows drawn; more are thinned evenly, and the pane says so
_NAME = re.compile(r"`([^`]+)`|([A-Za-z_.][\w.]*)(?!\s*\()")
_AS_GROUPS = re.compile(r"\b(?:factor|C)\s*\(\s*`?([\w.]+)`?")


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

    def cases(self, coef: np.ndarray, times: np.ndarray | None = None, real: np.ndarray | None = None) -> Cases:
        """Return the rows and lines for ``coef``; ``times`` (n,) how often each row was drawn, ``real`` the real coef."""
        value = coef[self.column]
        words = (self.word, number(float(value), self.decimals)) if np.isfinite(value) else ("", "")
        y = self.y
        count = np.ones(self.x.size) if times is None else times[self.rows]
        return Cases(
            x=self.x, y=y, row=self.rows + 1, times=count, lines=self.lines(coef),
            real_lines=() if real is None else self.lines(real), end_words=words,
        )  # fmt: skip


def term_columns(text: str, columns: list[str]) -> list[str]:
    """Return the columns of the data that the text of a term names, in order."""
    found = dict.fromkeys(quoted or plain for quoted, plain in _NAME.findall(text))
    return [name for name in found if name in columns]


def focus_on(model: Any, term: str, words: Any, decimals: int) -> Focus:
    """Prepare panes A and B for one term of a fitted lm or glm.

    model a fitted model; term a name of the design; words carries ``y_title``, ``x_title(column)`` and ``level`` words;
    decimals of the focal coefficient.
    """
    from inference_core.families import get_family

    bundle, spec = model.bundle, model.spec
    data = model.data.filter(pl.Series(bundle.valid_mask))
    column = bundle.X_names.index(term)
    used = list(dict.fromkeys(name for text in bundle.source_terms for name in term_columns(text, data.columns)))
    source = bundle.term_of_column[column]
    text = bundle.source_terms[source] if source >= 0 else (bundle.source_terms[0] if bundle.source_terms else "")
    names = term_columns(text, data.columns)
    inverse = get_family(spec.family, spec.link).link.inverse
    if not names:
        return _mean(bundle, inverse, column, words, decimals)
    grouped = set(_AS_GROUPS.findall(text))
    by_number = [n for n in names if data[n].dtype.is_numeric() and n not in grouped]
    focal = by_number[0] if by_number else names[0]
    partner = next((n for n in names if n != focal), None)
    kind = "scatter" if by_number else "strip"
    return _against(model, data, kind, focal, partner, used, grouped, inverse, column, source, words, decimals)


def _against(model, data, kind, focal, partner, used, grouped, inverse, column, source, words, decimals) -> Focus:
    bundle = model.bundle
    values = data[focal]
    if kind == "strip":
        levels = _levels(values, bundle, focal)
        place = {level: i for i, level in enumerate(levels)}
        stand = np.array([place.get(str(v), np.nan) for v in values.to_list()], float)
        x_axis = (-0.6, len(levels) - 0.4)
        ticks, tick_words = tuple(float(i) for i in range(len(levels))), levels
        spread = 0.42
    else:
        stand = values.cast(pl.Float64).to_numpy()
        x_axis = data_axis(stand)
        ticks = tuple(nice_ticks(*x_axis, 6))
        tick_words = _tick_words(ticks)
        spread = _spread_of(stand)
    rows = _thinned(stand.size)
    x = stand[rows] + _jitter(rows, 0.618034) * spread
    y = np.asarray(bundle.y, float)
    grids = _grids(model, data, kind, focal, partner, used, grouped, stand, x_axis, values)
    ends = [inverse(design @ np.nan_to_num(model.fit_state.coef) + offset) for _, design, offset in grids]
    two_valued = np.unique(y).size == 2
    y_axis = data_axis(np.concatenate([y, *ends]) if ends else y, 0.09 if two_valued else 0.05)
    shown = y[rows] + (_jitter(rows, 0.754878) * 0.09 * (y.max() - y.min()) if two_valued else 0.0)
    y_ticks = tuple(nice_ticks(*y_axis, 3))
    frame = Frame(
        x_axis, y_axis, ticks, tick_words, y_ticks, _tick_words(y_ticks), words.x_title(focal), words.y_title
    )
    word = "intercept" if source < 0 else words.end_word(kind, partner is not None)
    held = tuple(n for n in used if n not in (focal, partner))
    return Focus(frame, kind, x, shown, rows, tuple(grids), inverse, column, word, decimals, held, y.size)


def _grids(model, data, kind, focal, partner, used, grouped, stand, x_axis, values) -> list:
    """Rows of new data along each line, through the model's own design."""
    from inference_core.design import design_new

    bundle = model.bundle
    typical = {name: _typical(data[name]) for name in data.columns}
    if kind == "strip":
        levels = _levels(values, bundle, focal)
        firsts = {str(v): v for v in reversed(values.to_list())}
        settings = [({focal: firsts.get(level, level)}, float(i)) for i, level in enumerate(levels)]
    else:
        finite = stand[np.isfinite(stand)]
        settings = [({focal: v}, v) for v in np.linspace(finite.min(), finite.max(), GRID)]
    partners: list[dict[str, Any]] = [{}]
    if partner is not None:
        column = data[partner]
        if column.dtype.is_numeric() and partner not in grouped:
            partners = [{partner: float(column.quantile(q) or 0.0)} for q in (0.25, 0.75)]
        else:
            firsts = {str(v): v for v in reversed(column.to_list())}
            partners = [{partner: firsts.get(lv, lv)} for lv in _levels(column, bundle, partner)[:MOST_LINES]]
    grids = []
    for extra in partners:
        rows = [{**typical, **at, **extra} for at, _ in settings]
        frame = pl.DataFrame(rows, schema=_schema(data, rows), orient="row")
        design, offset = design_new(bundle, frame)
        offset = np.zeros(len(rows)) if offset is None else np.asarray(offset, float)
        if bundle.offset is not None:
            offset = np.full(len(rows), float(np.mean(bundle.offset)))
        x = np.array([at for _, at in settings])
        if kind == "strip":  # a short bar at each level
            for i in range(len(settings)):
                two = np.array([x[i] - 0.28, x[i] + 0.28])
                grids.append((two, design[[i, i]], offset[[i, i]]))
        else:
            grids.append((x, design, offset))
    return grids


def _mean(bundle, inverse, column, words, decimals) -> Focus:
    """Intercept alone: the rows piled up along the response, the mean as an upright line."""
    from ..charts.binning import bins_through, stack

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
    return Focus(frame, "mean", x, height, rows, grids, inverse, column, "mean", decimals, (), y.size)


def _levels(values: pl.Series, bundle: Any, name: str) -> tuple[str, ...]:
    for known, levels in bundle.factor_levels.items():
        if known == name or re.fullmatch(rf"(?:factor|C)\(\s*`?{re.escape(name)}`?.*\)", known):
            return tuple(str(v) for v in levels)[:MOST_LEVELS]
    if isinstance(values.dtype, pl.Enum):
        seen = set(values.to_list())
        return tuple(v for v in values.dtype.categories.to_list() if v in seen)[:MOST_LEVELS]
    return tuple(str(v) for v in sorted(values.unique().to_list()))[:MOST_LEVELS]


def _typical(values: pl.Series) -> Any:
    if values.dtype == pl.Boolean or not values.dtype.is_numeric():
        mode = values.drop_nulls().mode().sort()
        return mode[0] if mode.len() else None
    return float(values.cast(pl.Float64).drop_nans().mean() or 0.0)


def _schema(data: pl.DataFrame, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Types of the new rows: numbers become floats (a mean is one), everything else stays what it was."""
    return {
        name: pl.Float64 if dtype.is_numeric() else dtype
        for name, dtype in zip(data.columns, data.dtypes, strict=True)
    }


def _tick_words(ticks: tuple[float, ...]) -> tuple[str, ...]:
    gap = min((b - a for a, b in zip(ticks, ticks[1:], strict=False)), default=1.0)
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
