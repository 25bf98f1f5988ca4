"""Limits of predictions from the fit's own draws: those behind the bootstrap of its coefficients.

The expected value is the draws' linear predictor, read by any type of limits and mapped to the response. Of known
groups of a mixed model it is the error (X b + Z u*) - (X b* + Z u-hat*) that is drawn, not the prediction itself, whose
spread is not that of its error. A single new response adds, to each draw,

* lm: a leverage-adjusted, centred residual of the fit (Stine 1985, J. Am. Stat. Assoc. 80), so that the residuals need
  not be normal, only alike;
* glm, glmer: a response of the family, at the draw's own mean and dispersion;
* mixed models: the effects of a new group where the group is new, and of linear ones normal noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, InferenceState, ModelSpec, ResamplesState
from inference_core.states.prediction import PredictionState

from .coefficient import check_level
from .denominators import row_reference
from .failures import judge_failures
from .intervals import check_interval_request, summarise
from .intervals.order import moments
from .intervals.requirements import check_alternative
from .prediction_asymptotic import mapped_limits
from .prediction_draws import Groups, single_responses
from .prediction_noise import new_response
from .resample.stream import DrawStream, open_stream

CELLS = 1 << 22  # draws times rows worked at once
KEPT = 20_000_000  # draws times rows that are stored
OF_ERRORS = ("expanded", "percentile", "normal")  # limits that draws of an error have


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Draws of what every row needs, row blocks at a time."""

    draws: ResamplesState  # of the coefficients (and the spread), failed draws included
    stream: DrawStream
    groups: Groups | None  # of a mixed model


def predictions_bootstrap(
    pred: PredictionState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None = None,
    conf_level: float = 0.95,
    n_boot: int = 1000,
    ci_type: str = "percentile",
    seed: int | None = None,
    alternative: str = "two-sided",
    save_resamples: bool = True,
    *,
    scheme: str | None = None,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[PredictionState, ResamplesState | None]:
    """Confidence and prediction limits from the same draws that the coefficients have.

    Parameters
    ----------
    pred : PredictionState
        From ``marginal.predict``.
    spec, bundle, fit, data
        The fitted model and its original frame.
    conf_level, n_boot, ci_type, seed, alternative, save_resamples, scheme, n_jobs, verbose, progress, cancel
        As in ``bootstrap.compute_params_bootstrap``. ``ci_type`` is that of the expected value; limits of a single new
        response are percentiles, of linear models with "expanded" widened by their degrees of freedom.

    Returns
    -------
    pred : PredictionState
        With limits.
    resamples : ResamplesState or None
        Draws of the expected values (n_boot, m), on the scale of ``fitted``; None where they would not fit.

    Raises
    ------
    InferenceError
        Before any refit: limits or schemes that these predictions do not have, too few draws.
    """
    level = check_level(conf_level)
    check_alternative(alternative)
    refuse(pred, spec, ci_type, scheme)
    check_interval_request("percentile" if ci_type == "expanded" else ci_type, n_boot, level, alternative)
    with one_blas_thread():
        drawn = _collect(pred, spec, bundle, fit, n_boot, scheme, seed, n_jobs, verbose, progress, cancel)
        judge_failures(drawn.draws, spec)
        mean_df, total = _df(pred, spec, bundle, fit, data, ci_type)
        means = _expected(pred, spec, bundle, fit, drawn, mean_df, ci_type, level, alternative, save_resamples)
        new = new_response(spec, bundle, pred)
        tail_df = total if ci_type == "expanded" else None
        pi_lower, pi_upper = single_responses(
            pred, spec, bundle, fit, drawn.draws, drawn.stream, drawn.groups, new, level, alternative, tail_df
        )
    inference, resamples = means
    notes = (*inference.notes, *([new.note] if new.note else []))
    inference = replace(inference, notes=tuple(dict.fromkeys(notes)))
    found = replace(
        pred, se=inference.se, ci_lower=inference.ci_lower, ci_upper=inference.ci_upper, pi_lower=pi_lower,
        pi_upper=pi_upper, df=None, conf_level=level, method="boot", inference=inference, cv_fitted=None,
        cv_residual=None, cv_fold=None,
    )  # fmt: skip
    return found, resamples


def compute_prediction_bootstrap(
    spec: ModelSpec,
    bundle: DataBundle,
    pred: PredictionState,
    conf_level: float = 0.95,
    n_boot: int = 1000,
    ci_type: str = "percentile",
    seed: int | None = None,
) -> PredictionState:
    """Bootstrap limits of predictions; the model is fitted here.

    Parameters
    ----------
    spec, bundle : ModelSpec, DataBundle
        The model.
    pred : PredictionState
        From ``model.predict``.
    conf_level, n_boot, ci_type, seed
        As in :func:`predictions_bootstrap`, which takes a fit that is at hand.

    Returns
    -------
    PredictionState
        With ``se``, ``ci_lower``, ``ci_upper``, and ``pi_lower``, ``pi_upper`` of a single new response.
    """
    from inference_core.fit import fit_model

    fit = fit_model(spec, bundle)
    return predictions_bootstrap(pred, spec, bundle, fit, None, conf_level, n_boot, ci_type, seed)[0]


def refuse(pred: PredictionState, spec: ModelSpec, ci_type: str, scheme: str | None) -> None:
    """Limits and schemes that predictions do not have."""
    if ci_type == "studentized":
        raise InferenceError(
            "studentized limits of predictions",
            "a draw of a prediction carries no standard error of its own",
            "ci_type='expanded', which needs none",
        )
    if not pred.conditional:
        return
    if scheme not in (None, "parametric"):
        raise InferenceError(
            f"scheme={scheme!r} for predictions of groups",
            "only draws from the fitted model know the effects that a refit has to find again",
            "scheme='parametric', or predict(varying='exclude')",
        )
    if ci_type not in OF_ERRORS:
        raise InferenceError(
            f"ci_type={ci_type!r} for predictions of groups",
            "what is drawn is the error of the prediction, not the prediction itself",
            "ci_type='expanded' or 'percentile'",
        )


# ---- draws -----------------------------------------------------------------------------------------------------


def _collect(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, n_boot: int, scheme: str | None,
    seed: int | None, n_jobs: int, verbose: bool, progress: Progress | None, cancel: Cancel | None,
) -> _Drawn:  # fmt: skip
    stream = open_stream("boot", scheme, spec, bundle, fit, seed=seed)
    conditional = pred.conditional
    if conditional and not spec.is_lmer:
        from .resample.modes import GlmerModesKernel

        kernel = GlmerModesKernel.around(stream.kernel)  # type: ignore[arg-type]
        names = (*stream.names, *(f"b{i}" for i in range(kernel.re.q)))
        stream = replace(stream, kernel=kernel, names=names, observed=kernel.observed)
    draws = stream.collect(n_boot, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose)
    groups = None
    if spec.has_random_effects and pred.random is not None:
        errors = _mode_errors(stream.kernel, stream, draws) if conditional else None
        groups = Groups.of(bundle, fit, pred, errors, stream.rng.split(2)[1])
    return _Drawn(draws, stream, groups)


def _mode_errors(kernel: Any, stream: DrawStream, draws: ResamplesState) -> Array:
    """(B, q) effects drawn less effects found."""
    from .resample.modes import GlmerModesKernel, lmer_mode_errors

    samples = np.asarray(draws.samples)
    if not len(samples):  # stopped before the first
        return np.empty((0, kernel.re.q))
    if isinstance(kernel, GlmerModesKernel):
        return kernel.drawn_effects(stream.rng, len(samples)) - samples[:, -kernel.re.q :]
    return lmer_mode_errors(kernel, stream.rng, samples)


def _df(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, data: pl.DataFrame | None, ci_type: str
) -> tuple[Array, Array]:
    """Degrees of freedom of the mean and of a single new response, where expanded limits ask for them."""
    m = len(pred.link)
    if ci_type != "expanded" or not (spec.is_lm or spec.is_lmer):
        return np.full(m, np.inf), np.full(m, np.inf)
    if spec.is_lm:
        return np.full(m, float(fit.df_resid)), np.full(m, float(fit.df_resid))
    from .prediction_variance import total_df

    try:
        if pred.conditional:
            found = total_df(spec, bundle, fit, pred, np.ones(m))
            return found.mean, found.total
        with np.errstate(invalid="ignore", divide="ignore"):
            df = np.asarray(row_reference(spec, bundle, fit, "iid", data).df(np.nan_to_num(pred.X_pred)), float)
        mean = np.where(df > 0, df, np.inf)
        return mean, mean if pred.random is None else total_df(spec, bundle, fit, pred, np.ones(m)).total
    except InferenceError:  # too large for degrees of freedom: the normal is close
        return np.full(m, np.inf), np.full(m, np.inf)


# ---- the expected value ------------------------------------------------------------------------------------------


def _expected(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, drawn: _Drawn, df: Array, ci_type: str,
    level: float, alternative: str, save: bool,
) -> tuple[InferenceState, ResamplesState | None]:  # fmt: skip
    B, m = len(drawn.draws.samples), len(pred.link)
    step = max(1, CELLS // max(B, bundle.n if ci_type == "bca" else 1))
    parts, kept = [], []
    for at in range(0, m, step):
        rows = slice(at, min(at + step, m))
        eta = linear_draws(pred, bundle, drawn.draws, drawn.groups, rows)
        parts.append(_block(pred, spec, bundle, fit, drawn, df, eta, rows, ci_type, level, alternative))
        if save and B * m <= KEPT:
            kept.append(_shown(pred, spec, fit, eta))
    inference = _joined(parts) if len(parts) > 1 else parts[0]
    resamples = None
    if kept:
        resamples = replace(
            drawn.draws, samples=np.concatenate(kept, axis=1), observed=np.asarray(pred.fitted),
            names=tuple(f"row {i}" for i in range(m)), context="predictions", se=None,
        )  # fmt: skip
    return inference, resamples


def linear_draws(
    pred: PredictionState, bundle: DataBundle, draws: ResamplesState, groups: Groups | None, rows: slice
) -> Array:
    """(B, r) linear predictors of draws; of conditional predictions the prediction plus the draw of its error."""
    coef = np.asarray(draws.samples)[:, : bundle.p]
    kept = bundle.rank_info.kept
    out = np.full((len(coef), len(pred.link[rows])), np.nan)
    fine = np.asarray(draws.status) == 0
    X = pred.X_pred[rows][:, kept]
    if pred.conditional:
        assert groups is not None
        moved = (np.asarray(draws.observed)[kept] - coef[fine][:, kept]) @ X.T
        out[fine] = pred.link[rows] + moved + groups.errors(rows)[fine]
    else:
        out[fine] = coef[fine][:, kept] @ X.T
        if pred.offset is not None:
            out[fine] += pred.offset[rows]
    out[:, np.isnan(pred.link[rows])] = np.nan
    return out


def _shown(pred: PredictionState, spec: ModelSpec, fit: FitState, eta: Array) -> Array:
    if not pred.on_response or spec.link == "identity":
        return eta
    family = fitted_family(spec, fit)
    with np.errstate(all="ignore"):
        return family.link.inverse(np.clip(eta, *family.eta_bounds))


def _block(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, drawn: _Drawn, df: Array, eta: Array,
    rows: slice, ci_type: str, level: float, alternative: str,
) -> InferenceState:  # fmt: skip
    """Limits of some rows: read off the linear predictor, then mapped."""
    some = replace(pred, link=pred.link[rows], fitted=pred.fitted[rows])
    names = tuple(f"row {i}" for i in range(*rows.indices(len(pred.link))))
    draws = replace(drawn.draws, samples=eta, observed=some.link, names=names, context="predictions", se=None)
    stream = replace(
        drawn.stream, names=names, observed=some.link, observed_se=None, want_se=False,
        leave_one_out=partial(_leave_one_out, drawn.stream, bundle, pred, rows),
        interval_df=(lambda: df[rows]) if drawn.stream.interval_df is not None else None, _df=None, _jackknife=None,
    )  # fmt: skip
    side = _side(some, spec, fit, alternative)
    found = summarise(draws, stream, ci_type=ci_type, conf_level=level, alternative=side, save_resamples=False)
    se, lower, upper = mapped_limits(some, spec, fit, found.se, found.ci_lower, found.ci_upper, alternative)
    mcse = {name: found.mcse[name] for name in ("se", "ci_lower", "ci_upper")}
    if pred.on_response and spec.link != "identity":
        shown = _shown(pred, spec, fit, eta)
        fine = np.isfinite(shown[:, np.isfinite(some.link)]).all(1)
        with np.errstate(all="ignore"):
            _, se, mcse["se"] = moments(np.ascontiguousarray(shown[fine].T))
            mcse |= _mapped_errors(spec, fit, some, found, mcse)
        se = np.where(np.isnan(some.link), np.nan, se)
    notes = tuple(_short(note) for note in found.notes)
    return replace(
        found, se=se, ci_lower=lower, ci_upper=upper, mcse=mcse, statistic=None, p_value=None, bias=None, notes=notes,
        alternative=alternative, boot_samples=None, draw_status=None,
    )  # fmt: skip


def _side(pred: PredictionState, spec: ModelSpec, fit: FitState, alternative: str) -> str:
    """The side of the linear predictor that a one-sided limit of the response asks for."""
    if alternative == "two-sided" or not pred.on_response or spec.link == "identity":
        return alternative
    known = pred.link[np.isfinite(pred.link)]
    with np.errstate(all="ignore"):
        falls = known.size and fitted_family(spec, fit).link.derivative(known[:1])[0] < 0
    return {"greater": "less", "less": "greater"}[alternative] if falls else alternative


def _mapped_errors(
    spec: ModelSpec, fit: FitState, pred: PredictionState, found: InferenceState, mcse: dict[str, Array]
) -> dict[str, Array]:
    """Monte-Carlo errors of limits on the scale of the response, by the slope of the link there."""
    link = fitted_family(spec, fit).link
    low = np.abs(link.derivative(found.ci_lower)) * mcse["ci_lower"]
    high = np.abs(link.derivative(found.ci_upper)) * mcse["ci_upper"]
    falls = link.derivative(pred.link) < 0
    return {"ci_lower": np.where(falls, high, low), "ci_upper": np.where(falls, low, high)}


def _leave_one_out(stream: DrawStream, bundle: DataBundle, pred: PredictionState, rows: slice) -> Array:
    """(n, r) linear predictors without each row, or group, in turn."""
    left = stream.jackknife()[:, : bundle.p][:, bundle.rank_info.kept]
    return left @ pred.X_pred[rows][:, bundle.rank_info.kept].T


def _short(note: str) -> str:
    """A note that names rows, with their number in place of a long list."""
    if "(row " not in note:
        return note
    head, _, tail = note.partition("(row ")
    listed, _, end = tail.partition(")")
    count = listed.count(",") + 1
    return note if count <= 3 else f"{head}({count:,} rows){end}"


def _joined(parts: list[InferenceState]) -> InferenceState:
    def join(read: Callable[[InferenceState], Any]) -> Array:
        return np.concatenate([read(part) for part in parts])

    return replace(
        parts[0], se=join(lambda p: p.se), ci_lower=join(lambda p: p.ci_lower), ci_upper=join(lambda p: p.ci_upper),
        mcse={name: join(lambda p, n=name: p.mcse[n]) for name in parts[0].mcse},
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )  # fmt: skip
