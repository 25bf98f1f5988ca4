"""Permutation inference for the coefficients of a model: the table, and the draws behind it."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer.coefficient import check_level, resolve_null
from inference_core.infer.intervals.requirements import check_alternative
from inference_core.infer.resample.common import FAILURE_SHARE
from inference_core.infer.resample.core import count_extreme
from inference_core.infer.resample.stream import DrawStream
from inference_core.infer.sandwich import disagreement_note, hc3_ratio, sandwich_vcov
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import InferenceState, ResamplesState
from inference_core.states.spec import ModelSpec

from .arrangements import Shuffles, identity_number
from .invert import Evaluate, InvertedLimits, critical_rank, invert
from .least_squares import LeastSquaresKernel
from .rules import CANNOT_MOVE_A_MEAN
from .score import ScoreKernel
from .stream import PermutationStream, open_permutation_stream


def compute_params_permutation(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float,
    n_perm: int = 1000,
    seed: int | None = None,
    save_resamples: bool = True,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    *,
    scheme: str | None = "y",
    errors: str = "iid",
    means: bool = True,
    every: bool = False,
    data: Any = None,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> InferenceState:
    """Permutation tests of the coefficients of an lm or glm, studentised inside every draw.

    Called as specified it shuffles the response itself and tests every coefficient, those included whose p-value says
    little because shuffling leaves the mean where it is. ``model.infer(how="perm")`` calls it with ``scheme=None,
    means=False, every=True``.

    Parameters
    ----------
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_perm : int
        Number of draws.
    seed : int, optional
        Draw i is a function of (seed, i), so a larger ``n_perm`` keeps the earlier draws.
    save_resamples : bool
        Keep the null distribution, ``perm_samples``.
    null : float, sequence or mapping
        The values tested: one for all, p of them, or by parameter name.
    alternative : {"two-sided", "greater", "less"}
    scheme : {"y", "freedman_lane", "ter_braak", "score_flip", "sign_flip"}, optional
        What is exchanged; None picks by the model.
    errors : str
        Standard error inside and outside the draws.
    means : bool
        Whether to test what shuffling cannot move; False gives null rows and says why.
    every : bool
        Try all arrangements where there are no more than ``n_perm`` or 5,000 of them; p is then a share, and exact.
    data : frame, optional
        The original frame, for Welch errors.
    n_jobs, verbose, progress, cancel
        The protocol of every long loop; a cancelled run returns what it has, marked so.

    Returns
    -------
    InferenceState
        p = (1 + #{T* as extreme as T}) / (B + 1), ties included; limits are the null values that the draws do not
        reject. ``perm_samples`` (B, p) hold t*, NaN in columns that are not tested.

    Raises
    ------
    InferenceError
        A scheme or errors that this model cannot have; no draw gave a statistic.

    Warns
    -----
    InferenceCoreWarning
        Too few draws for the level, before any is made; more than 10 % of the refits failed.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    null = resolve_null(null, bundle.X_names)
    with one_blas_thread():
        stream = open_permutation_stream(
            spec, bundle, fit, scheme=scheme, seed=seed, errors=errors, null=null, n_perm=n_perm, means=means,
            every=every, data=data,
        )  # fmt: skip
        if not stream.names:
            raise _nothing_to_test(spec, stream)
        B = stream.total or n_perm
        short = too_few(B, level, exact=stream.total is not None)
        if short:
            warnings.warn(InferenceCoreWarning(short), stacklevel=2)
        watched = {"n_jobs": n_jobs, "progress": progress, "cancel": cancel, "verbose": verbose}
        draws, evaluate = _collect(stream, B, watched, fit, bundle)
        _judge_failures(draws, spec)
        done = len(draws.status)
        exact = stream.total is not None and done == stream.total
        columns = np.array([bundle.X_names.index(name) for name in stream.names], int)
        estimate = fit.coef[columns]
        se = _standard_errors(spec, bundle, fit, stream)[columns]
        if fit.is_separated or not fit.converged:
            estimate = np.full(columns.size, np.nan)  # where the search stopped is no place to look for limits from
        estimate = np.where(np.isin(stream.names, list(stream.unmoved)), np.nan, estimate)
        identity = identity_number(stream.arrangements) if exact else None
        limits = invert(evaluate, estimate, se, 1.0 - level, alternative, done, identity)
    p = permutation_p(stream.observed, draws.samples, alternative, exact)

    def wide(values: Array) -> Array:
        out = np.full(bundle.p, np.nan)
        out[columns] = values
        return out

    samples = None
    if save_resamples:
        samples = np.full((done, bundle.p), np.nan)
        samples[:, columns] = draws.samples
    mcse_p = np.where(np.isnan(p), np.nan, 0.0) if exact or not done else np.sqrt(p * (1.0 - p) / done)
    return InferenceState(
        se=wide(se),
        ci_lower=wide(limits.lower),
        ci_upper=wide(limits.upper),
        statistic=wide(stream.observed),
        p_value=wide(p),
        conf_level=level,
        method="perm",
        ci_type="inverted",
        errors=errors,
        scheme=stream.scheme,
        null=null,
        alternative=alternative,
        n_resamples=done,
        n_requested=B,
        n_failed=draws.n_failed,
        failures=draws.failures,
        cancelled=draws.cancelled,
        mcse={"ci_lower": wide(limits.mcse_lower), "ci_upper": wide(limits.mcse_upper), "p_value": wide(mcse_p)},
        seed=stream.seed,
        perm_samples=samples,
        draw_status=draws.status if save_resamples else None,
        exact=exact,
        notes=_notes(spec, bundle, fit, stream, draws, limits, exact, short, 1.0 - level),
    )


def _nothing_to_test(spec: ModelSpec, stream: PermutationStream) -> InferenceError:
    reason = next(iter(stream.not_tested.values()), "the model has no estimable coefficient")
    signs = "sign_flip" if spec.is_lm else "score_flip"
    return InferenceError(
        asked=f".infer(how='perm', scheme={stream.scheme!r}) of {spec.formula}",
        found=f"{reason.split(';')[0]}, and the model is about nothing else"
        if CANNOT_MOVE_A_MEAN in reason else f"nothing can be tested: {reason}",
        remedy=f"scheme={signs!r}" if stream.scheme != signs else "how='asymp'",
    )  # fmt: skip


def permutation_p(observed: Array, draws: Array, alternative: str, exact: bool) -> Array:
    """(q,) p-values: (1 + c) / (B + 1), or c / B where the B draws are all arrangements, the data among them."""
    count = count_extreme(observed, draws, alternative)
    p = count / max(len(draws), 1) if exact else (1.0 + count) / (len(draws) + 1.0)
    return np.where(np.isnan(observed), np.nan, p)


def too_few(n_draws: int, level: float, exact: bool) -> str:
    """The sentence for fewer draws than ``level`` needs; empty where there are enough."""
    alpha = 1.0 - level
    if critical_rank(alpha, n_draws, exact) >= 1:
        return ""
    if exact:
        return f"{n_draws:,} arrangements give no p below {1.0 / n_draws:.3g}: they cannot reach level {alpha:.4g}"
    return f"B = {n_draws:,} cannot reach level {alpha:.4g}; need n_perm >= {math.ceil(1.0 / alpha - 1e-6) - 1:,}"


def permutation_resamples(
    inference: InferenceState, spec: ModelSpec, bundle: DataBundle, fit: FitState, data: Any = None
) -> ResamplesState | None:
    """The stored draws of a permutation table as a container that can rebuild each; None without draws."""
    if inference.perm_samples is None or inference.draw_status is None:
        return None
    tested = np.flatnonzero(~np.isnan(np.asarray(inference.statistic)))
    requested = inference.n_requested or len(inference.draw_status)
    stream = open_permutation_stream(
        spec, bundle, fit, scheme=inference.scheme, seed=inference.seed, errors=inference.errors, null=inference.null,
        n_perm=requested, data=data,
    )  # fmt: skip
    made = stream.resamples(
        inference.perm_samples[:, tested], inference.draw_status, n_requested=requested, cancelled=inference.cancelled
    )
    observed = np.asarray(inference.statistic)[tested]
    return replace(made, observed=observed, names=tuple(bundle.X_names[j] for j in tested))


def _collect(
    stream: PermutationStream, B: int, watched: dict, fit: FitState, bundle: DataBundle
) -> tuple[ResamplesState, Evaluate]:
    """The draws, and what tells the statistics at other null values from them."""
    kernel: Any = stream.kernel
    if isinstance(kernel, LeastSquaresKernel):
        q = len(stream.names)
        keeping = replace(stream, kernel=replace(kernel, keep_parts=True), names=tuple(map(str, range(5 * q))),
                          want_se=False)  # fmt: skip
        kept = DrawStream.collect(keeping, B, **watched)
        null = np.array([h.value[0] for h in kernel.hypotheses])
        t = kernel.statistics(kept.samples, np.arange(q), null)[1]
        return replace(kept, samples=t, names=stream.names), partial(kernel.statistics, kept.samples)
    draws = stream.collect(B, **watched)
    if isinstance(kernel, ScoreKernel):
        return draws, partial(_rescored, stream, len(draws.status))
    columns = [bundle.X_names.index(name) for name in stream.names]
    return draws, partial(_held, fit.coef[columns], np.asarray(stream.observed), draws.samples)


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


def _held(coef: Array, at_zero: Array, draws: Array, which: Array, values: Array) -> tuple[Array, Array]:
    """Shuffled z-values at 0, standing for those at every other value."""
    se = coef / at_zero
    return (coef[which] - values) / se[which], draws[:, which]


def _standard_errors(spec: ModelSpec, bundle: DataBundle, fit: FitState, stream: PermutationStream) -> Array:
    """(p,) of the fit, by the errors that the draws have."""
    kernel: Any = stream.kernel
    if isinstance(kernel, LeastSquaresKernel):
        out = np.full(bundle.p, np.nan)
        out[[bundle.X_names.index(name) for name in stream.names]] = kernel.observed_se
        return out
    vcov = fit.vcov if stream.errors == "iid" else sandwich_vcov(spec, bundle, fit, stream.errors)
    return np.sqrt(np.diag(vcov))


def _judge_failures(draws: ResamplesState, spec: ModelSpec) -> None:
    done, failed = len(draws.status), draws.n_failed
    if failed <= FAILURE_SHARE * done:
        return
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in draws.failures.items())
    if failed == done:
        raise InferenceError(
            asked=f"permutation tests of {spec.formula} with {done:,} draws",
            found=f"not one refit gave an estimate ({reasons})",
            remedy="scheme='score_flip' refits nothing",
        )
    warnings.warn(
        InferenceCoreWarning(
            f"{failed:,} of {done:,} refits failed ({reasons}) and count as extreme; scheme='score_flip' refits nothing"
        ),
        stacklevel=3,
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
) -> tuple[str, ...]:
    notes = []
    if exact:
        what = "arrangements" if isinstance(stream.arrangements, Shuffles) else "patterns of signs"
        notes.append(f"exact: all {len(draws.status):,} {what} were tried, the real one among them")
    if draws.cancelled:
        notes.append(f"stopped after {len(draws.status):,} of {draws.n_requested:,} draws")
    by_reason: dict[str, list[str]] = {}
    for name, reason in stream.not_tested.items():
        by_reason.setdefault(reason, []).append(name)
    notes += [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    if stream.unmoved:
        notes.append(f"no limits of {', '.join(sorted(stream.unmoved))}: {CANNOT_MOVE_A_MEAN}")
    if short:
        notes.append(short)
    if draws.n_failed:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in draws.failures.items())
        notes.append(f"{draws.n_failed:,} of {len(draws.status):,} refits failed and count as extreme ({reasons})")
    if fit.is_separated or not fit.converged:
        notes.append("no limits: the fit itself has no estimate; the p-values need none")
    elif not spec.is_lm and stream.scheme == "y":
        notes.append("limits take the shuffled z-values at 0 for those at every other value")
    if limits.least > alpha * (1.0 + 1e-12) and not short:
        least = f"all arrangements together give no p below {limits.least:.3g}"
        notes.append(f"{least}: they cannot reach level {alpha:.4g}")
    unsettled = [name for name, fine in zip(stream.names, limits.settled, strict=True) if not fine]
    if unsettled:
        notes.append(f"the search for the limits of {', '.join(unsettled)} did not settle")
    if stream.errors == "iid" and stream.scheme != "score_flip" and fit.df_resid > 0 and not fit.is_separated:
        ratio = hc3_ratio(spec, bundle, fit) if _scatters(spec, bundle, fit) else np.ones(bundle.p)
        tested = np.isin(bundle.X_names, stream.names)
        note = disagreement_note(bundle, np.where(tested, ratio, np.nan))
        notes += [note] if note else []
    return tuple(notes)


def _scatters(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> bool:
    return not spec.is_lm or fit.sigma > 1e-12 * float(np.abs(bundle.y).max())
