"""Stored draws read for one question: a table for every term, every kind of interval for one of them."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.infer.intervals import CI_TYPES, summarise
from inference_core.infer.intervals.limits import Material, limits
from inference_core.states import DRAW_REASONS, InferenceState

from .draws import DrawCache, Draws, DrawStore
from .query import DrawQuery, ReadQuery


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """One interval of the focal number; NaN where there is none, with the reason in ``note``."""

    ci_type: str  # one of CI_TYPES, or "wald"
    low: float
    high: float
    mcse_low: float = float("nan")
    mcse_high: float = float("nan")
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Everything a panel says about the draws at one moment."""

    query: ReadQuery
    seed: int
    names: tuple[str, ...]
    estimate: np.ndarray  # (p,)
    focal: int  # position of the term
    inference: InferenceState | None  # None before the second draw
    wald: InferenceState
    spread: np.ndarray  # (p,) how far the draws will scatter, as far as the fit knows: the larger of two formula SEs
    limits: tuple[Limits, ...]  # every type of CI_TYPES, then Wald
    values: np.ndarray  # (B,) usable draws of the focal number, in the order drawn
    numbers: np.ndarray  # (B,) int: which draw each is, from 1
    count: int  # draws made, failed ones included
    failures: dict[str, int]

    @property
    def chosen(self) -> Limits:
        """The interval of the type that was asked for."""
        return next(row for row in self.limits if row.ci_type == self.query.ci_type)

    @property
    def mcse(self) -> float:
        """The larger Monte-Carlo error of the two chosen limits; NaN where unknown."""
        both = np.array([self.chosen.mcse_low, self.chosen.mcse_high])
        finite = both[np.isfinite(both)]
        return float(finite.max()) if finite.size else float("nan")

    @property
    def se(self) -> float:
        """Standard error of the focal number over the draws; NaN before the second."""
        return float("nan") if self.inference is None else float(self.inference.se[self.focal])

    @property
    def usable(self) -> int:
        """Draws that gave an estimate."""
        return self.values.shape[0]


class Machine:
    """One fitted model and its draws. Holds the model as it was when the panel was made."""

    def __init__(self, model: Any) -> None:
        # A copy keeps the state of this moment: the reader may fit the model again.
        self.model = copy.copy(model)
        self.cache = DrawCache(self._open)
        self._wald: dict[tuple, InferenceState] = {}
        self._spread: np.ndarray | None = None
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Terms that have an estimate, in the order of the design."""
        coef = self.model.fit_state.coef
        return tuple(name for name, value in zip(self.model.bundle.X_names, coef, strict=True) if np.isfinite(value))

    def _open(self, query: DrawQuery) -> Any:
        return self.model.draw_stream(query.how, scheme=query.scheme, seed=query.seed, want_se=True)

    def wald(self, query: ReadQuery) -> InferenceState:
        """Return the t or z table of the fit, computed once per level, null and alternative."""
        key = (query.conf_level, query.null, query.alternative)
        with self._lock:
            if key not in self._wald:
                table = copy.copy(self.model).infer(
                    how="asymp", conf_level=query.conf_level, null=query.null, alternative=query.alternative
                )
                self._wald[key] = table.inference
            return self._wald[key]

    @property
    def spread(self) -> np.ndarray:
        """(p,) the larger of the classical and the robust standard error: drawing rows follows the robust one."""
        if self._spread is None:
            from inference_core.infer.sandwich import sandwich_vcov

            m = self.model
            robust = np.sqrt(np.diag(sandwich_vcov(m.spec, m.bundle, m.fit_state, "HC0")))
            self._spread = np.fmax(np.sqrt(np.diag(m.fit_state.vcov)), robust)
        return self._spread

    def read(self, store: DrawStore, n: int | None, query: ReadQuery) -> Reading:
        """Read the first ``n`` draws of ``store`` for one question; draws nothing."""
        draws, stream = store.first(n), store.stream
        model = self.model
        names = tuple(model.bundle.X_names)
        j = names.index(query.term)
        wald = self.wald(query)
        good = draws.status == 0
        values = draws.samples[good, j] if draws.count else np.empty(0)
        inference = _summary(draws, stream, query) if int(good.sum()) > 1 else None
        return Reading(
            query=query, seed=int(stream.seed), names=names, estimate=np.asarray(model.fit_state.coef), focal=j,
            inference=inference, wald=wald, spread=self.spread,
            limits=_every_type(draws, stream, j, query, wald, inference),
            values=values, numbers=np.flatnonzero(good) + 1, count=draws.count, failures=_failures(draws.status),
        )  # fmt: skip

    def resample(self, store: DrawStore, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return draw ``i`` (from 1): its coefficients (p,), and how often each row is in it (n,)."""
        rows = np.asarray(store.stream.indices_of(i - 1))
        times = np.bincount(rows, minlength=self.model.bundle.n).astype(float)
        draws = store.first()
        coef = draws.samples[i - 1] if i <= draws.count else store.stream.batch(i - 1, i).samples[0]
        return np.asarray(coef), times


def _failures(status: np.ndarray) -> dict[str, int]:
    """How many draws gave nothing, by reason in words."""
    codes, times = np.unique(status[status != 0], return_counts=True)
    return {DRAW_REASONS[int(code)]: int(n) for code, n in zip(codes, times, strict=True)}


def _summary(draws: Draws, stream: Any, query: ReadQuery) -> InferenceState:
    resamples = stream.resamples(draws.samples, draws.status, draws.se, n_requested=draws.count)
    return summarise(
        resamples, stream, ci_type=query.ci_type, conf_level=query.conf_level, null=query.null,
        alternative=query.alternative, save_resamples=False,
    )  # fmt: skip


def _every_type(
    draws: Draws, stream: Any, j: int, query: ReadQuery, wald: InferenceState, chosen: InferenceState | None
) -> tuple[Limits, ...]:
    """Every kind of interval from the same draws, sorted once; the chosen one as the table has it."""
    rows = []
    column = np.array([j])
    good = draws.status == 0
    if int(good.sum()) > 1:
        se, se_observed = draws.se, stream.observed_se
        material = Material.of(
            draws.samples[:, column], np.asarray(stream.observed)[column],
            jackknife=stream.jackknife()[:, column],
            se_draws=None if se is None else se[:, column],
            se_observed=None if se_observed is None else se_observed[column],
            df=stream.df_resid, n=stream.n,
        )  # fmt: skip
        for ci_type in CI_TYPES:
            if chosen is not None and ci_type == query.ci_type:
                numbers = (chosen.ci_lower, chosen.ci_upper, chosen.mcse["ci_lower"], chosen.mcse["ci_upper"])
                rows.append(Limits(ci_type, *(float(value[j]) for value in numbers)))
                continue
            if ci_type == "studentized" and material.pivots is None:
                rows.append(Limits(ci_type, np.nan, np.nan, note="these draws carry no standard errors of their own"))
                continue
            found = limits(material, ci_type, query.conf_level, query.alternative)
            rows.append(Limits(ci_type, float(found.lower[0]), float(found.upper[0]), float(found.mcse_lower[0]),
                               float(found.mcse_upper[0]), found.notes[0]))  # fmt: skip
    else:
        rows = [Limits(ci_type, np.nan, np.nan) for ci_type in CI_TYPES]
    rows.append(Limits("wald", float(wald.ci_lower[j]), float(wald.ci_upper[j])))
    return tuple(rows)
