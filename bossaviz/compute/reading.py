"""Stored draws read for one question: a table for every term, every kind of interval for one of them."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bossaviz.spreads import expected_errors, observed_statistics
from inference_core.errors import InferenceError
from inference_core.infer.asymptotic import compute_params_asymptotic
from inference_core.infer.intervals import summarise
from inference_core.infer.intervals.limits import Material, limits
from inference_core.states import DRAW_REASONS, InferenceState

from .draws import DrawCache, Draws, DrawStore
from .groups import conditional_modes
from .mixed import mixed_summary, singular_count, whole
from .query import DrawQuery, ReadQuery
from .types import types_of

REACH_DRAWS, REACH_ROWS = 12, 20_000  # draws, and rows of all of them, that tell how far an axis must reach
MOST_LEFT_OUT = 2_000  # rows of a mixed model up to which BCa limits are shown without being asked for
NO_WALD = "symmetric, so it misleads here"


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
    scheme: str
    names: tuple[str, ...]  # (k,) coefficients, then numbers of the random part
    estimate: np.ndarray  # (k,)
    focal: int  # position of the term
    inference: InferenceState | None  # None before the second draw
    table: InferenceState | None  # the same with k rows: what belongs to the random part stands behind
    wald: InferenceState
    formula_se: np.ndarray  # (k,) of a formula, for digits; rough for the random part
    spread: np.ndarray  # (k,) how far the draws will scatter, as far as the fit knows: the larger of two formula SEs
    limits: tuple[Limits, ...]  # every type of CI_TYPES, then Wald
    values: np.ndarray  # (B,) usable draws of the focal number, in the order drawn
    numbers: np.ndarray  # (B,) int: which draw each is, from 1
    count: int  # draws made, failed ones included
    failures: dict[str, int]
    singular: int = 0  # draws of a mixed model with a covariance at its limit; they count like the others

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
        return float("nan") if self.table is None else float(self.table.se[self.focal])

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
    def statistics(self) -> tuple[str, ...]:
        """Every number of a draw, in its order."""
        names = self.model.bundle.X_names
        return tuple(names) + tuple(spread.name for spread in self._spreads)

    @property
    def _spreads(self) -> tuple[Any, ...]:
        from bossaviz.spreads import spreads_of

        spreads = spreads_of(self.model.bundle)
        return tuple(s for s in spreads if s.kind != "scatter" or not self._dispersion_known)

    @property
    def _dispersion_known(self) -> bool:
        from inference_core.families import get_family

        spec = self.model.spec
        return get_family(spec.family, spec.link).dispersion_known

    @property
    def names(self) -> tuple[str, ...]:
        """Statistics that have an estimate, in their order."""
        values = self.observed
        return tuple(name for name, value in zip(self.statistics, values, strict=True) if np.isfinite(value))

    @property
    def observed(self) -> np.ndarray:
        """(k,) the statistics of the data themselves."""
        return observed_statistics(self.model)[: len(self.statistics)]

    def types(self, term: str | None = None) -> dict[str, str]:
        """Kinds of interval, each with why there is none for ``term``; an empty reason where there is one."""
        return types_of(self.model, term)

    def _open(self, query: DrawQuery) -> Any:
        own = {"want_se": True} if "studentized" in self.types() else {}
        return self.model.draw_stream(query.how, scheme=query.scheme, seed=query.seed, **own)

    def wald(self, query: ReadQuery) -> InferenceState:
        """Return the t or z table of the fit, computed once per level, null and alternative."""
        key = (query.conf_level, query.null, query.alternative)
        with self._lock:
            if key not in self._wald:
                m = self.model  # whatever was asked of it last, as after explore()
                self._wald[key] = compute_params_asymptotic(
                    m.spec, m.bundle, m.fit_state, query.conf_level, "iid", m.data, query.null, query.alternative
                )
            return self._wald[key]

    @property
    def spread(self) -> np.ndarray:
        """(k,) the larger of the classical and the robust standard error: drawing rows follows the robust one."""
        if self._spread is None:
            m = self.model
            self._spread = np.sqrt(np.diag(m.fit_state.vcov))
            if m.spec.has_random_effects:
                self._spread = np.concatenate([self._spread, expected_errors(m)])[: len(self.statistics)]
            else:
                from inference_core.infer.sandwich import sandwich_vcov

                robust = np.sqrt(np.diag(sandwich_vcov(m.spec, m.bundle, m.fit_state, "HC0")))
                self._spread = np.fmax(self._spread, robust)
        return self._spread

    def reach(self) -> np.ndarray | None:
        """(2,) the ends that new responses of a mixed model reach, for an axis; None where draws are rows."""
        if not self.model.spec.has_random_effects:
            return None
        stream = self.model.draw_stream("boot", seed=0)  # a seed of its own: the axis is the same for all
        if stream.responses is None:
            return None
        seen = [stream.response_of(i) for i in range(max(1, min(REACH_DRAWS, REACH_ROWS // self.model.bundle.n)))]
        return np.median([[np.min(y), np.max(y)] for y in seen], axis=0)  # what an ordinary draw reaches

    def read(self, store: DrawStore, n: int | None, query: ReadQuery) -> Reading:
        """Read the first ``n`` draws of ``store`` for one question; draws nothing."""
        draws, stream = store.first(n), store.stream
        model = self.model
        names = self.statistics[: len(stream.names)]  # some schemes draw coefficients only
        j = names.index(query.term)
        types = self.types(query.term)
        asked = query.ci_type
        if types.get(asked, "-"):  # not for this number: the first kind that is
            query = replace(query, ci_type=next(name for name, reason in types.items() if not reason))
        wald = self.wald(query)
        good = draws.status == 0
        values = draws.samples[good, j] if draws.count else np.empty(0)
        known = np.isfinite(values)  # a correlation is undefined where an SD is 0
        inference = None
        if int(good.sum()) > 1:
            inference = self._summary(draws, stream, replace(query, ci_type=asked))
        table = whole(inference)
        wald_se = np.asarray(wald.se)
        return Reading(
            query=query, seed=int(stream.seed), scheme=stream.scheme, names=names,
            estimate=self.observed[: len(names)], focal=j,
            inference=inference, table=table, wald=wald,
            formula_se=np.concatenate([wald_se, self.spread[wald_se.size :]])[: len(names)], spread=self.spread,
            limits=_every_type(draws, stream, j, query, wald, table, types),
            values=values[known], numbers=np.flatnonzero(good)[known] + 1, count=draws.count,
            failures=_failures(draws.status), singular=singular_count(model.bundle, draws.samples[good]),
        )  # fmt: skip

    def _summary(self, draws: Draws, stream: Any, query: ReadQuery) -> InferenceState:
        resamples = stream.resamples(draws.samples, draws.status, draws.se, n_requested=draws.count)
        words = {"conf_level": query.conf_level, "null": query.null, "alternative": query.alternative}
        types = self.types()
        ci_type = query.ci_type if not types.get(query.ci_type, "-") else next(iter(types))
        if self.model.spec.has_random_effects:
            return mixed_summary(resamples, stream, self.model.bundle, ci_type=ci_type, **words)
        return summarise(resamples, stream, ci_type=ci_type, save_resamples=False, **words)

    def resample(self, store: DrawStore, i: int) -> Shown:
        """Return draw ``i`` (from 1) as pane B shows it."""
        stream, bundle = store.stream, self.model.bundle
        draws = store.first()
        values = np.asarray(draws.samples[i - 1] if i <= draws.count else stream.batch(i - 1, i).samples[0])
        if stream.responses is not None:
            times, response = np.ones(bundle.n), np.asarray(stream.response_of(i - 1), float)
        else:
            rows = np.asarray(stream.indices_of(i - 1))
            times, response = np.bincount(rows, minlength=bundle.n).astype(float), None
        modes = None
        if bundle.re_metadata is not None:
            modes = conditional_modes(self.model, values, np.asarray(bundle.y if response is None else response))
        return Shown(values, times, response, modes)

    def real_modes(self) -> list[np.ndarray] | None:
        """Conditional modes of the fit, block by block; None for a model without random effects."""
        m = self.model
        if m.bundle.re_metadata is None:
            return None
        return [np.asarray(part) for part in m.bundle.re_metadata.split_effects(m.fit_state.b)]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One draw, ready for pane B."""

    statistics: np.ndarray  # (k,)
    times: np.ndarray  # (n,) how often each row is in it
    response: np.ndarray | None  # (n,) new responses, where it has some
    modes: list[np.ndarray] | None  # effects of the groups, where it has groups


def _failures(status: np.ndarray) -> dict[str, int]:
    """How many draws gave nothing, by reason in words."""
    codes, times = np.unique(status[status != 0], return_counts=True)
    return {DRAW_REASONS[int(code)]: int(n) for code, n in zip(codes, times, strict=True)}


def _every_type(
    draws: Draws, stream: Any, j: int, query: ReadQuery, wald: InferenceState, table: InferenceState | None,
    types: dict[str, str],
) -> tuple[Limits, ...]:  # fmt: skip
    """Every kind of interval from the same draws, sorted once; the chosen one as the table has it."""
    rows = []
    good = draws.status == 0
    material, reasons = None, types
    if int(good.sum()) > 1:
        material, reasons = _material(draws, stream, j, types, query.ci_type)
    for ci_type, reason in reasons.items():
        if reason or material is None:
            rows.append(Limits(ci_type, np.nan, np.nan, note=reason))
        elif table is not None and ci_type == query.ci_type:
            numbers = (table.ci_lower, table.ci_upper, table.mcse["ci_lower"], table.mcse["ci_upper"])
            rows.append(Limits(ci_type, *(float(value[j]) for value in numbers)))
        elif ci_type == "studentized" and material.pivots is None:
            rows.append(Limits(ci_type, np.nan, np.nan, note="these draws carry no standard errors of their own"))
        else:
            found = limits(material, ci_type, query.conf_level, query.alternative)
            rows.append(Limits(ci_type, float(found.lower[0]), float(found.upper[0]), float(found.mcse_lower[0]),
                               float(found.mcse_upper[0]), found.notes[0]))  # fmt: skip
    if j < len(wald.ci_lower):
        rows.append(Limits("wald", float(wald.ci_lower[j]), float(wald.ci_upper[j])))
    else:
        rows.append(Limits("wald", np.nan, np.nan, note=NO_WALD))
    return tuple(rows)


def _material(
    draws: Draws, stream: Any, j: int, types: dict[str, str], chosen: str
) -> tuple[Material, dict[str, str]]:  # fmt: skip
    """The draws of one number with what the kinds of interval need, and why some of them cannot be had."""
    column = np.array([j])
    se, se_observed = draws.se, stream.observed_se
    df = stream.df_of_limits() if types.get("expanded", "-") == "" else None
    jackknife = None
    if types.get("bca", "-") == "":
        if chosen != "bca" and stream.interval_df is not None and stream.n > MOST_LEFT_OUT:
            types = types | {"bca": "refits without each group: choose it to have it"}
        else:
            try:
                jackknife = stream.jackknife()[:, column]
            except InferenceError:
                types = types | {"bca": "no group can be left out alone"}
    material = Material.of(
        draws.samples[:, column], np.asarray(stream.observed)[column], jackknife=jackknife,
        se_draws=None if se is None else se[:, column],
        se_observed=None if se_observed is None else se_observed[column],
        df=df if df is None or np.ndim(df) == 0 else np.asarray(df)[column], inflation=stream.inflation, n=stream.n,
    )  # fmt: skip
    return material, types
