"""From a fitted model and its inference to the numbers of a sentence. No words: those come from ``labels_for``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from inference_core.families import get_family
from inference_core.states import DRAW_REASONS, InferenceState, ResamplesState

from . import terms
from .sentences.situation import Situation
from .spreads import AT_EDGE, AT_ZERO, Spread, find_spread, observed_statistics, position_of

Transform = Callable[[float], float]


def situation_from(
    model: Any,
    inference: InferenceState | None,
    term: str,
    *,
    how: str | None = None,
    all_intervals: Mapping[str, Any] | None = None,
    resamples: ResamplesState | None = None,
    requested: int | None = None,
    dot: int | None = None,
    test_asked: bool = False,
    first_resampling: bool = False,
    stale: tuple[str, str] | None = None,
    usual_se: Any = None,
    ci_type: str | None = None,
    null: float | None = None,
    alternative: str | None = None,
    level: float | None = None,
) -> Situation:
    """The situation of one parameter of a fitted model.

    Parameters
    ----------
    model : inference_core.model
        Fitted; ``spec``, ``bundle`` and ``fit_state`` are read.
    inference : InferenceState or None
        What was computed; None before anything was (then pass ``how``).
    term : str
        A column of the design, ``bundle.X_names``, or a number of the random part, ``spreads_of(bundle)``.
    how : str, optional
        "asymp" or "boot"; ``inference.method`` if not given.
    all_intervals : mapping, optional
        Interval type -> limits of *all* parameters: an InferenceState, anything with ``lower`` and ``upper`` of shape
        (p,), or a pair of them. Sentences say when the types disagree about the null.
    resamples : ResamplesState, optional
        The draws: counts of good and failed ones, their centre, the single draw. ``inference.boot_samples`` serves
        where it is not given.
    requested : int, optional
        Draws that were asked for; with fewer made, the run counts as stopped if ``inference.cancelled`` or
        ``resamples.cancelled`` says so.
    dot : int, optional
        Number of a draw, from 1: the sentence is about that dot (needs ``resamples``).
    test_asked : bool
        The reader asked about the null, so a bootstrap p at its floor leads the sentence.
    first_resampling : bool
        First resampling in this notebook: *more* explains n and B.
    stale : (str, str), optional
        The settings shown and those chosen, in words (see ``sentences.words.setting``).
    usual_se : array (p,), optional
        Classical standard errors beside robust ones; read from ``fit_state.vcov`` if not given.
    ci_type, null, alternative, level
        Override what ``inference`` says; needed only while there is none.

    Returns
    -------
    Situation
        In the unit the sentence speaks: a coefficient of log(x) for one doubling, Helmert columns as differences of
        averages, the intercept of a glm on the scale of the response.

    Raises
    ------
    KeyError
        If ``term`` is not a column of the design; the message lists the columns.
    """
    spec, bundle, fit = model.spec, model.bundle, model.fit_state
    j = position_of(bundle, term)
    spread = find_spread(bundle, term)
    if spread is not None:
        return _of_spread(
            model, inference, spread, j, how=how or "boot", resamples=resamples, requested=requested, dot=dot,
            first_resampling=first_resampling, stale=stale, level=level, ci_type=ci_type,
        )  # fmt: skip
    reading = terms.read_term(spec, bundle, j)
    scale, speak = _scale_and_transform(spec, reading)
    how = how or (inference.method if inference is not None else "asymp")
    coef = float(fit.coef[j])
    null = _at(inference.null, j) if null is None and inference is not None else (null or 0.0)
    level = level if level is not None else (inference.conf_level if inference is not None else 0.95)
    alternative = alternative or (inference.alternative if inference is not None else "two-sided")
    common: dict[str, Any] = {
        "how": how,
        "term": term,
        "kind": reading.kind,
        "degree": reading.degree,
        "scale": scale,
        "alternative": alternative,
        "level": level,
        "test_asked": test_asked,
        "n": bundle.n,
        "n_total": bundle.n_total,
        "sd_x": reading.sd,
        "settings": reading.settings,
        "zero_inside": _zero_inside(bundle, reading),
        "aliased": not math.isfinite(coef),
        **_separated(spec, bundle, fit, j),
        "base": _base_probability(spec, bundle, scale),
        "stale": stale,
    }
    numbers = _numbers(inference, fit, reading, speak, j, null)
    if inference is not None:
        common |= {"errors": inference.errors, "se_ratio": _se_ratio(inference, fit, usual_se, j)}
    if how == "boot":
        common |= _draws(inference, resamples, reading, speak, j, coef, null, requested, dot)
        common |= {"first_resampling": first_resampling, **_types(all_intervals, j, null)}
        common["ci_type"] = ci_type or (inference.ci_type if inference is not None else None) or "percentile"
    if bundle.re_metadata is not None:
        common["groups"] = min(block.n_levels for block in bundle.re_metadata.blocks)
    return Situation(**{**numbers, **common})


def _of_spread(
    model: Any,
    inference: InferenceState | None,
    spread: Spread,
    j: int,
    *,
    how: str,
    resamples: ResamplesState | None,
    requested: int | None,
    dot: int | None,
    first_resampling: bool,
    stale: tuple[str, str] | None,
    level: float | None,
    ci_type: str | None,
) -> Situation:
    """The situation of an SD, a correlation or the residual SD: limits from draws, always two-sided."""
    bundle, fit = model.bundle, model.fit_state
    value = float(observed_statistics(model)[j])
    zero = AT_ZERO * float(fit.sigma)

    def speak(x: float) -> float:
        if spread.kind == "correlation":
            return math.copysign(1.0, x) if 1.0 - abs(x) < AT_EDGE else x
        return 0.0 if spread.kind == "spread" and abs(x) < zero else x

    blocks = bundle.re_metadata.blocks
    groups = blocks[spread.block].n_levels if spread.block >= 0 else min(block.n_levels for block in blocks)
    plain = model.spec.link == "identity" and terms.scale_of(model.spec) == "identity"
    common: dict[str, Any] = {
        "operation": "variance", "how": how, "term": spread.name, "kind": spread.kind,
        "scale": "identity" if plain or spread.kind == "correlation" else "link",
        "level": level if level is not None else (inference.conf_level if inference is not None else 0.95),
        "n": bundle.n, "n_total": bundle.n_total, "groups": groups, "stale": stale, "ci_type": ci_type or "percentile",
        "estimate": _spoken(speak, value), "aliased": not math.isfinite(value),
    }  # fmt: skip
    if inference is not None:
        common |= {
            "lower": _spoken(speak, _at(inference.ci_lower, j)), "upper": _spoken(speak, _at(inference.ci_upper, j)),
            "se": _none_if_nan(_at(inference.se, j)), "mcse_lower": _mcse(inference, "ci_lower", j),
            "mcse_upper": _mcse(inference, "ci_upper", j),
        }  # fmt: skip
    reading = terms.Reading(spread.name, spread.kind)
    drawn = _draws(inference, resamples, reading, speak, j, value, 0.0, requested, dot)
    drawn.pop("crossings", None)
    if resamples is not None and spread.kind == "spread":
        drawn["at_zero"] = int(np.count_nonzero(np.asarray(resamples.samples)[:, j] < zero))
    return Situation(**common, **drawn, first_resampling=first_resampling)


def spoken_values(model: Any, term: str, values: np.ndarray) -> np.ndarray:
    """Statistics (B,) of a term in the unit that its sentence speaks."""
    if find_spread(model.bundle, term) is not None:
        return np.asarray(values, float)
    reading = terms.read_term(model.spec, model.bundle, model.bundle.X_names.index(term))
    speak = _scale_and_transform(model.spec, reading)[1]
    return np.array([speak(float(value)) for value in values])


def _at(value: Any, j: int) -> float:
    """Entry ``j`` of an array, or the one number."""
    array = np.asarray(value, dtype=float)
    return float(array) if array.ndim == 0 else float(array[j])


def _scale_and_transform(spec: Any, reading: terms.Reading) -> tuple[str, Transform]:
    """How this parameter is spoken, and the way from its coefficient there."""
    scale = terms.scale_of(spec)
    if reading.kind in ("mean", "intercept"):
        if spec.link != "identity":
            inverse = get_family(spec.family, spec.link).link.inverse
            spoken = "probability" if spec.family in terms.BINOMIAL else "identity"
            return spoken, lambda x: float(np.asarray(inverse(np.asarray(x, dtype=float))))
        if scale == "factor":
            return "factor", lambda x: math.exp(min(x, 700.0))
        return "identity", lambda x: x
    return scale, lambda x: x * reading.multiplier


def _numbers(
    inference: InferenceState | None, fit: Any, reading: terms.Reading, speak: Transform, j: int, null: float
) -> dict[str, Any]:
    """Estimate, limits, SE, p and null in the unit that is spoken."""
    coef = float(fit.coef[j])
    bent = _bends(reading, speak)
    out: dict[str, Any] = {"estimate": _spoken(speak, coef), "null": null if bent and null == 0 else speak(null)}
    if reading.base_column is not None and math.isfinite(coef):
        out["at"] = _two_effects(fit, reading, j)
    if inference is None:
        return out
    lower, upper = _at(inference.ci_lower, j), _at(inference.ci_upper, j)
    limits = [(_spoken(speak, lower), "lower"), (_spoken(speak, upper), "upper")]
    errors = [_mcse(inference, "ci_lower", j), _mcse(inference, "ci_upper", j)]
    first, second = limits[0][0], limits[1][0]
    if first is not None and second is not None and first > second:  # a decreasing scale swaps the ends
        first, second, errors = second, first, errors[::-1]
    out |= {"lower": first, "upper": second}
    out["p"] = None if inference.p_value is None else _none_if_nan(_at(inference.p_value, j))
    if not bent:
        factor = abs(speak(1.0) - speak(0.0))
        out["se"] = _times(_none_if_nan(_at(inference.se, j)), factor)
        out["mcse_lower"], out["mcse_upper"] = (_times(e, factor) for e in errors)
    return out


def _bends(reading: terms.Reading, speak: Transform) -> bool:
    """Whether the coefficient goes through a link before it is spoken, so that its SE cannot come along."""
    return reading.kind in ("mean", "intercept") and not (speak(0.0) == 0.0 and speak(1.0) == 1.0)


def _spoken(speak: Transform, x: float) -> float | None:
    return speak(x) if math.isfinite(x) else None


def _none_if_nan(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _times(x: float | None, factor: float) -> float | None:
    return None if x is None else x * factor


def _mcse(inference: InferenceState, name: str, j: int) -> float | None:
    value = inference.mcse.get(name)
    return None if value is None else _none_if_nan(_at(value, j))


def _two_effects(fit: Any, reading: terms.Reading, j: int) -> tuple[float, float] | None:
    """The effect of the first operand at the two settings of the second."""
    main = float(fit.coef[reading.base_column])
    if not math.isfinite(main):
        return None
    own = reading.parts[0].multiplier
    if reading.settings is not None:
        centre = reading.parts[1].centre or 0.0
        first, second = (main + float(fit.coef[j]) * (x - centre) for x in reading.settings)
        return own * first, own * second
    return own * main, own * main + reading.multiplier * float(fit.coef[j])


def _se_ratio(inference: InferenceState, fit: Any, usual_se: Any, j: int) -> float | None:
    """Robust SE over the usual one."""
    if inference.errors == "iid" or inference.method != "asymp":
        return None
    usual = float(usual_se[j]) if usual_se is not None else math.sqrt(max(float(fit.vcov[j, j]), 0.0))
    return _none_if_nan(_at(inference.se, j)) and _at(inference.se, j) / usual if usual > 0 else None


def _zero_inside(bundle: Any, reading: terms.Reading) -> bool:
    """Intercept: whether some rows come near zero of every number (within a tenth of its range)."""
    if reading.kind != "intercept":
        return True
    for j in range(bundle.p):
        parts = terms.column_parts(bundle, j)
        if len(parts) == 1 and parts[0].kind in ("number", "doubling", "scaled"):
            low, high = float(bundle.X[:, j].min()), float(bundle.X[:, j].max())
            margin = 0.1 * (high - low)
            if not low - margin <= 0 <= high + margin:
                return False
    return True


def _separated(spec: Any, bundle: Any, fit: Any, j: int) -> dict[str, Any]:
    """Whether the best value of this coefficient is infinite, and in how many rows its column sorts the event."""
    if not fit.messages or not math.isfinite(float(fit.coef[j])):
        return {}
    columns, rows = _separation(bundle, spec.family, spec.link)
    return {"separated": True, "separated_rows": rows} if j in columns else {}


@lru_cache(maxsize=4)  # a linear programme; a panel asks for every frame. Bundles compare by identity
def _separation(bundle: Any, family: str, link: str) -> tuple[frozenset[int], int]:
    from inference_core.solvers.separation import find_separation

    found = find_separation(bundle.X_estimable, bundle.y, get_family(family, link))
    if found is None:
        return frozenset(), 0
    rows = bundle.n if found.kind == "complete" else int(found.rows.size)
    return frozenset(int(bundle.rank_info.kept[k]) for k in found.columns), rows


def _base_probability(spec: Any, bundle: Any, scale: str) -> float | None:
    """The share of events, to show what an odds ratio does to a probability."""
    if scale != "odds" or spec.family not in terms.BINOMIAL:
        return None
    share = float(np.average(bundle.y, weights=bundle.prior_weights))
    return share if 0 < share < 1 else None


def _draws(
    inference: InferenceState | None,
    resamples: ResamplesState | None,
    reading: terms.Reading,
    speak: Transform,
    j: int,
    coef: float,
    null: float,
    requested: int | None,
    dot: int | None,
) -> dict[str, Any]:
    """Counts, centre and single draws of a bootstrap."""
    samples = resamples.samples if resamples is not None else None
    if samples is None and inference is not None:
        samples = inference.boot_samples
    values = np.empty(0) if samples is None else np.asarray(samples)[:, j]
    good = values[np.isfinite(values)]
    made = values.size or (inference.n_resamples or 0 if inference is not None else 0)
    failures, reason = _failures(inference, resamples, int(values.size - good.size))
    out: dict[str, Any] = {
        "draws": int(good.size) if values.size else max(0, made - failures),
        "requested": requested or (resamples.n_requested if resamples is not None else made),
        "failures": failures,
        "reason": reason,
        "scheme": (resamples.scheme if resamples is not None else getattr(inference, "scheme", None)) or "case",
        "cancelled": bool(getattr(inference, "cancelled", False) or getattr(resamples, "cancelled", False)),
    }
    if good.size:
        spoken = np.array([speak(float(x)) for x in good]) if _bends(reading, speak) else None
        out["boot_mean"] = speak(float(good.mean())) if spoken is None else float(spoken.mean())
        if spoken is not None and good.size > 1:  # sent through a link, so its spread is that of what is spoken
            out["se"] = float(spoken.std(ddof=1))
        beyond = good <= null if coef > null else good >= null
        out["crossings"] = int(np.count_nonzero(beyond))
        if good.size == 1:
            out["value"] = speak(float(good[0]))
    if dot is not None and samples is not None and 1 <= dot <= values.size and math.isfinite(values[dot - 1]):
        out |= {"dot": dot, "value": speak(float(values[dot - 1]))}
        if resamples is not None and resamples.indices_of is not None:
            out["distinct"] = int(np.unique(resamples.draw(dot - 1)).size)
    return out


def _failures(inference: InferenceState | None, resamples: ResamplesState | None, seen: int) -> tuple[int, str]:
    """How many draws gave nothing, and the most frequent reason in words."""
    if resamples is not None and resamples.n_failed:
        codes = Counter(int(c) for c in resamples.status if c)
        return resamples.n_failed, DRAW_REASONS[codes.most_common(1)[0][0]]
    if inference is not None and inference.n_failed:
        reason = max(inference.failures, key=lambda r: inference.failures[r]) if inference.failures else ""
        return inference.n_failed, reason
    return seen, ""


def _types(all_intervals: Mapping[str, Any] | None, j: int, null: float) -> dict[str, Any]:
    """Which interval types stop short of the null, and which hold it."""
    stops: list[str] = []
    crosses: list[str] = []
    for name, limits in (all_intervals or {}).items():
        lower, upper = limit_pair(limits, j)
        if math.isnan(lower) or math.isnan(upper):
            continue
        (crosses if lower <= null <= upper else stops).append(name)
    return {"stops": tuple(stops), "crosses": tuple(crosses)}


def limit_pair(limits: Any, j: int) -> tuple[float, float]:
    """Limits of parameter ``j`` from an InferenceState, anything with lower and upper, or a pair."""
    for low, high in (("ci_lower", "ci_upper"), ("lower", "upper")):
        if hasattr(limits, low):
            return _at(getattr(limits, low), j), _at(getattr(limits, high), j)
    lower, upper = limits
    return _at(lower, j), _at(upper, j)
