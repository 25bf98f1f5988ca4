"""From a stream to tests: draws, p-values and limits of all its hypotheses, whatever these are about."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer.resample.common import FAILURE_SHARE
from inference_core.infer.resample.core import count_extreme
from inference_core.infer.resample.stream import DrawStream
from inference_core.infer.sandwich import disagreement_note, hc3_ratio, sandwich_vcov
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import ResamplesState
from inference_core.states.spec import ModelSpec

from .arrangements import Shuffles, identity_number
from .invert import Evaluate, InvertedLimits, critical_rank, invert
from .least_squares import LeastSquaresKernel
from .mixed_rules import mixed_notes, refuse_few_groups
from .rules import CANNOT_MOVE_A_MEAN
from .score import ScoreKernel
from .stream import PermutationStream


@dataclass(frozen=True, slots=True, eq=False)
class PermutationTests(Frozen):
    """Tests of the q hypotheses of a stream; estimates, standard errors and limits are NaN where k > 1."""

    estimate: Array
    se: Array
    statistic: Array
    p_value: Array
    lower: Array
    upper: Array
    mcse: Mapping[str, Array]  # of p_value, ci_lower, ci_upper
    draws: ResamplesState
    exact: bool  # the draws are all arrangements
    notes: tuple[str, ...]


def permutation_tests(
    stream: PermutationStream,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    n_perm: int,
    conf_level: float = 0.95,
    alternative: str = "two-sided",
    **watched: Any,
) -> PermutationTests:
    """Draw, count, and invert the tests of a stream's hypotheses: coefficients, contrasts or whole terms.

    Parameters
    ----------
    stream, spec, bundle, fit
        A stream, and the model it was opened for.
    n_perm : int
        Draws; a stream that tries all arrangements makes ``stream.total``.
    conf_level, alternative
        Of the limits; a hypothesis about k > 1 numbers has a p-value only.
    watched
        n_jobs, progress, cancel, verbose.

    Raises
    ------
    InferenceError
        No hypothesis that this scheme can test; no draw gave a statistic.

    Warns
    -----
    InferenceCoreWarning
        Too few draws for the level, before any is made; more than 10 % of the refits failed.
    """
    if not stream.names:
        raise _nothing_to_test(spec, stream)
    B, alpha = stream.total or n_perm, 1.0 - conf_level
    groups = getattr(stream, "groups", None)
    if groups is not None:
        refuse_few_groups(groups, alpha, alternative)
    short = too_few(B, conf_level, exact=stream.total is not None)
    if short:
        warnings.warn(InferenceCoreWarning(short), stacklevel=3)
    with one_blas_thread():
        estimate, se = _estimates(stream, spec, bundle, fit)
        draws, evaluate = _collect(stream, B, watched, estimate, se)
        _judge_failures(draws, spec)
        done = len(draws.status)
        exact = stream.total is not None and done == stream.total
        centre = np.where(np.isin(stream.names, list(stream.unmoved)), np.nan, estimate)
        if fit.is_separated or not fit.converged:
            centre = np.full(len(stream.names), np.nan)  # where the search stopped is no place to look for limits from
        identity = identity_number(stream.arrangements) if exact else None
        try:
            limits = invert(evaluate, centre, se, alpha, alternative, done, identity, _ends(stream))
        except _Stopped:
            draws, centre = replace(draws, cancelled=True), np.full(len(stream.names), np.nan)
            limits = invert(evaluate, centre, se, alpha, alternative, done, identity)
    p = permutation_p(stream.observed, draws.samples, alternative, exact)
    of_p = np.where(np.isnan(p), np.nan, 0.0) if exact or not done else np.sqrt(p * (1.0 - p) / done)
    return PermutationTests(
        estimate=estimate, se=se, statistic=stream.observed, p_value=p, lower=limits.lower, upper=limits.upper,
        mcse={"ci_lower": limits.mcse_lower, "ci_upper": limits.mcse_upper, "p_value": of_p}, draws=draws, exact=exact,
        notes=_notes(spec, bundle, fit, stream, draws, limits, exact, short, alpha, alternative),
    )  # fmt: skip


def permutation_p(observed: Array, draws: Array, alternative: str, exact: bool) -> Array:
    """(q,) p-values: (1 + c) / (B + 1), or c / B where the B draws are all arrangements, the data among them."""
    count = count_extreme(observed, draws, alternative)
    p = np.maximum(count, 1) / max(len(draws), 1) if exact else (1.0 + count) / (len(draws) + 1.0)
    return np.where(np.isnan(observed), np.nan, p)


def too_few(n_draws: int, level: float, exact: bool) -> str:
    """The sentence for fewer draws than ``level`` needs; empty where there are enough."""
    alpha = 1.0 - level
    if critical_rank(alpha, n_draws, exact) >= 1:
        return ""
    if exact:
        return f"{n_draws:,} arrangements give no p below {1.0 / n_draws:.3g}: they cannot reach level {alpha:.4g}"
    return f"B = {n_draws:,} cannot reach level {alpha:.4g}; need n_perm >= {math.ceil(1.0 / alpha - 1e-6) - 1:,}"


def _by_reason(stream: PermutationStream) -> dict[str, list[str]]:
    """Which coefficients are not tested, by the reason."""
    out: dict[str, list[str]] = {}
    for name, reason in stream.not_tested.items():
        out.setdefault(reason, []).append(name)
    return out


def _nothing_to_test(spec: ModelSpec, stream: PermutationStream) -> InferenceError:
    reasons = [f"{', '.join(names)}: {reason}" for reason, names in _by_reason(stream).items()]
    reason = "; ".join(reasons) or "the model has no estimable coefficient"
    signs = "sign_flip" if spec.is_lm else "group_flip" if spec.is_lmer else "score_flip"
    only_means = f"{CANNOT_MOVE_A_MEAN}, and the model is about nothing else"
    return InferenceError(
        asked=f".infer(how='perm', scheme={stream.scheme!r}) of {spec.formula}",
        found=only_means if CANNOT_MOVE_A_MEAN in reason else f"nothing can be tested: {reason}",
        remedy=f"scheme={signs!r}" if stream.scheme != signs else "how='asymp'",
    )


def _estimates(
    stream: PermutationStream, spec: ModelSpec, bundle: DataBundle, fit: FitState
) -> tuple[Array, Array]:
    """(q,) estimates L b and their standard errors by the errors that the draws have; NaN for k > 1."""
    kept = np.flatnonzero(np.isfinite(fit.coef))
    single = np.array([h.k == 1 for h in stream.hypotheses])
    rows = np.array([h.rows[0] for h in stream.hypotheses])
    kernel: Any = stream.kernel
    if isinstance(kernel, LeastSquaresKernel):
        se = kernel.observed_se
    else:
        vcov = fit.vcov if stream.errors == "iid" else sandwich_vcov(spec, bundle, fit, stream.errors)
        se = np.sqrt(np.einsum("qi,ij,qj->q", rows, vcov[np.ix_(kept, kept)], rows))
    return np.where(single, rows @ fit.coef[kept], np.nan), np.where(single, se, np.nan)


def _collect(
    stream: PermutationStream, B: int, watched: dict[str, Any], estimate: Array, se: Array
) -> tuple[ResamplesState, Evaluate]:
    """The draws, and what tells the statistics at other null values from them."""
    kernel: Any = stream.kernel
    if isinstance(kernel, LeastSquaresKernel):
        q = len(stream.names)
        keeping = replace(stream, kernel=replace(kernel, keep_parts=True), names=tuple(map(str, range(6 * q))),
                          want_se=False)  # fmt: skip
        kept = DrawStream.collect(keeping, B, **watched)
        t = kernel.at_null_value(kept.samples)
        return replace(kept, samples=t, names=stream.names), partial(kernel.statistics, kept.samples)
    draws = stream.collect(B, **watched)
    if isinstance(kernel, ScoreKernel):
        return draws, partial(_rescored, stream, len(draws.status))
    if hasattr(kernel, "shifted"):
        work = {name: watched[name] for name in ("n_jobs", "cancel") if name in watched}
        return draws, partial(_refitted, stream, len(draws.status), work)
    return draws, partial(_held, estimate, se, draws.samples)


def _rescored(stream: PermutationStream, B: int, which: Array, values: Array) -> tuple[Array, Array]:
    """Scores with the null models shifted: null fits anew, and one more pass over the same signs."""
    kernel: Any = stream.kernel
    moved, good = kernel.shifted(which, values)
    observed, draws = np.full(len(which), np.nan), np.full((B, len(which)), np.nan)
    observed[good] = moved.observed
    for start in range(0, B, moved.chunk_rows):
        stop = min(start + moved.chunk_rows, B)
        draws[start:stop, good] = moved.refit(stream.arrangements.draw(stream.rng, start, stop))[0]
    return observed, draws


class _Stopped(Exception):
    """Somebody cancelled while limits were looked for."""


def _refitted(
    stream: PermutationStream, B: int, work: dict[str, Any], which: Array, values: Array
) -> tuple[Array, Array]:
    """Refits of the same draws with the null models shifted."""
    kernel: Any = stream.kernel
    moved = kernel.shifted(which, values)
    source = replace(stream, kernel=moved, names=tuple(map(str, range(len(which)))), want_se=False, _last_chunk=None)
    found = DrawStream.collect(source, B, **work)
    if found.cancelled:
        raise _Stopped
    return moved.observed, found.samples


def _held(estimate: Array, se: Array, draws: Array, which: Array, values: Array) -> tuple[Array, Array]:
    """Shuffled z-values at 0, standing for those at every other value."""
    return (estimate[which] - values) / se[which], draws[:, which]


def _ends(stream: PermutationStream) -> bool:
    """Whether a null value may be one that no model of this link can have."""
    kernel: Any = stream.kernel
    return isinstance(kernel, ScoreKernel) and bool(np.isfinite(kernel.problem.family.eta_bounds).any())


def _judge_failures(draws: ResamplesState, spec: ModelSpec) -> None:
    done, failed = len(draws.status), draws.n_failed
    if failed <= FAILURE_SHARE * done:
        return
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in draws.failures.items())
    remedy = "a model with fewer random effects fits more" if spec.is_lmer else "scheme='score_flip' refits nothing"
    if failed == done:
        raise InferenceError(
            asked=f"permutation tests of {spec.formula} with {done:,} draws",
            found=f"not one refit gave an estimate ({reasons})",
            remedy=remedy,
        )
    warnings.warn(
        InferenceCoreWarning(f"{failed:,} of {done:,} refits failed ({reasons}) and count as extreme; {remedy}"),
        stacklevel=4,
    )


def _notes(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    stream: PermutationStream,
    draws: ResamplesState,
    limits: InvertedLimits,
    exact: bool,
    short: str,
    alpha: float,
    alternative: str,
) -> tuple[str, ...]:
    notes = []
    if exact:
        what = "arrangements" if isinstance(stream.arrangements, Shuffles) else "patterns of signs"
        what += " of the groups" if spec.has_random_effects else ""
        notes.append(f"exact: all {len(draws.status):,} {what} were tried, the real one among them")
    if draws.cancelled and len(draws.status) == draws.n_requested:
        notes.append("stopped before the limits were found")
    elif draws.cancelled:
        notes.append(f"stopped after {len(draws.status):,} of {draws.n_requested:,} draws")
    notes += [f"{', '.join(names)}: {reason}" for reason, names in _by_reason(stream).items()]
    if stream.unmoved:
        notes.append(f"no limits of {', '.join(sorted(stream.unmoved))}: {CANNOT_MOVE_A_MEAN}")
    if short:
        notes.append(short)
    if draws.n_failed:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in draws.failures.items())
        notes.append(f"{draws.n_failed:,} of {len(draws.status):,} refits failed and count as extreme ({reasons})")
    if fit.is_separated or not fit.converged:
        notes.append("no limits: the fit itself has no estimate; the p-values need none")
    elif stream.scheme == "y" and not (spec.is_lm or spec.has_random_effects):
        notes.append("limits take the shuffled z-values at 0 for those at every other value")
    if limits.least > alpha * (1.0 + 1e-12) and not short:
        least = f"all arrangements together give no p below {limits.least:.3g}"
        notes.append(f"{least}: they cannot reach level {alpha:.4g}")
    endless = [
        name for name, low, high in zip(stream.names, limits.lower, limits.upper, strict=True)
        if (np.isneginf(low) and alternative != "less") or (np.isposinf(high) and alternative != "greater")
    ]  # fmt: skip
    if endless and not short and limits.least <= alpha * (1.0 + 1e-12):
        notes.append(f"an infinite limit of {', '.join(endless)}: no value on that side is rejected")
    unsettled = [name for name, fine in zip(stream.names, limits.settled, strict=True) if not fine]
    if unsettled:
        notes.append(f"the search for the limits of {', '.join(unsettled)} did not settle")
    if spec.has_random_effects:
        notes += mixed_notes(stream.scheme, getattr(stream.kernel, "at_boundary", ()))
    elif stream.errors == "iid" and stream.scheme != "score_flip" and fit.df_resid > 0 and not fit.is_separated:
        ratio = hc3_ratio(spec, bundle, fit) if _scatters(spec, bundle, fit) else np.ones(bundle.p)
        tested = np.isin(bundle.X_names, stream.names)
        note = disagreement_note(bundle, np.where(tested, ratio, np.nan))
        notes += [note] if note else []
    return tuple(notes)


def _scatters(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> bool:
    return not spec.is_lm or fit.sigma > 1e-12 * float(np.abs(bundle.y).max())
