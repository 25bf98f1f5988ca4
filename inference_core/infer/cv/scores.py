"""Scores of held-out predictions, of each fold and pooled.

A row counts by its weight w (trials included); rows without a prediction count nowhere. Pooled scores are those of all
held-out rows together, never a mean of folds:

    rmse, mae            sqrt(sum w e^2 / sum w), sum w |e| / sum w, on the response's own scale
    r2                   1 - SSE / sum w (y - mean y)^2, "predicted R2" (Allen's PRESS)
    r2_trainmean         1 - SSE / sum w (y - training mean)^2; of a fold also r2_testmean, about the fold's own mean
    cor2                 squared correlation of y and prediction
    mean_deviance        unit deviance per weight; r2_deviance = 1 - D / D of the training mean
    log_loss, brier      per trial: -(y log p + (1 - y) log(1 - p)), y (1 - p)^2 + (1 - y) p^2
    accuracy             trials on the side of .5 that p is on; balanced_accuracy: mean of both classes' shares
    auc                  P(p of a success > p of a failure) + P(equal) / 2, over trials
    log_score            -log density of a row at the training fold's parameters
    calibration_slope    slope of y on the linear predictor by the model's family: 1 calibrated, below 1 overfitted
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, with_params
from inference_core.solvers import irls
from inference_core.states import Array, ModelSpec

from .ablation import family_of
from .plan import Plan
from .run import Outcome

BINOMIAL = ("binomial", "quasibinomial")


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Held-out rows of all divisions, one after the other: N = R n rows in F = R k folds."""

    y: Array  # (N,)
    mu: Array  # (N,) NaN where there is no prediction
    eta: Array  # (N,)
    weights: Array  # (N,) 0 where there is no prediction
    fold: Array  # (N,) 0 .. F - 1
    n_folds: int
    loss: Array  # (V, N) deviance of each model per unit of weight
    null: Array  # (N,) and of the training mean
    train_mean: Array  # (N,) mean that the training rows predict
    normal: bool  # losses are squares

    plain: bool  # every row has a prediction and weight 1

    def by_fold(self, values: Array) -> Array:
        """(F,) weighted sums."""
        if not self.plain:
            values = np.where(self.weights > 0, self.weights * values, 0.0)
        return np.bincount(self.fold, values, self.n_folds)


def scored(plan: Plan, found: Outcome) -> Scored:
    """Put predictions beside what happened."""
    bundle, spec = plan.bundle, plan.spec
    R, n = plan.folds.shape
    fold = (plan.folds + plan.k * np.arange(R)[:, None]).ravel()
    y = np.tile(bundle.y, R)
    prior = np.ones(n) if bundle.prior_weights is None else np.asarray(bundle.prior_weights, float)
    family = family_of(spec)
    eta = found.eta.reshape(len(plan.models), -1)
    known = np.isfinite(eta[0])
    weights = np.where(known, np.tile(prior, R), 0.0)
    with np.errstate(all="ignore"):
        mu = np.where(known, family.link.inverse(eta[0]), np.nan)
        mean = _train_mean(plan, family, prior).ravel()
        loss, null = _losses(plan, found, family, eta, y, mean, fold)
    plain = bool(known.all()) and bundle.prior_weights is None
    return Scored(y, mu, eta[0], weights, fold, R * plan.k, loss, null, mean, spec.family == "gaussian", plain)


def metrics(plan: Plan, s: Scored, found: Outcome) -> tuple[dict[str, float], dict[str, Array]]:
    """Pooled scores by name, and those of the R k folds, each (R k,)."""
    w = s.by_fold(np.ones_like(s.y))
    W = float(w.sum())
    counts = np.bincount(s.fold, None if s.plain else s.weights > 0, s.n_folds)
    with np.errstate(all="ignore"):
        e = s.y - s.mu
        size = np.abs(e)
        squared = s.null if s.normal else (s.y - s.train_mean) ** 2
        sums = {"sse": s.by_fold(e * e), "abs": s.by_fold(size), "train": s.by_fold(squared)}
        # About one centre: the moments of a fold then lose no more digits than its own mean is away from it.
        y = s.y - s.by_fold(s.y).sum() / W
        mu = y - e
        moments = [s.by_fold(v) for v in (y, mu, y * y, mu * mu, y * mu)]
        total = {name: float(values.sum()) for name, values in sums.items()}
        around = moments[2] - moments[0] ** 2 / w
        pooled = {
            "n": float(counts.sum()),
            "rmse": float(np.sqrt(total["sse"] / W)),
            "mae": total["abs"] / W,
            "r2": _share(total["sse"], float(moments[2].sum())),
            "r2_trainmean": _share(total["sse"], total["train"]),
            "cor2": float(_cor2(W, *(v.sum() for v in moments))),
        }
        fold: dict[str, Array] = {
            "n": counts,
            "rmse": np.sqrt(sums["sse"] / w),
            "mae": sums["abs"] / w,
            "r2_testmean": _shares(sums["sse"], np.where(around > 1e-13 * moments[2], around, 0.0)),
            "r2_trainmean": _shares(sums["sse"], sums["train"]),
            "cor2": _cor2(w, *moments),
        }
        if not (plan.spec.family == "gaussian" and plan.spec.link == "identity"):
            _add_deviance(plan, s, found, W, w, pooled, fold)
    pooled["calibration_slope"] = calibration_slope(plan.spec, s)
    return {name: float(value) for name, value in pooled.items()}, fold


def _cor2(W, y, mu, yy, mm, ym):
    cov, vy, vm = ym - y * mu / W, yy - y * y / W, mm - mu * mu / W
    return np.where((vy > 1e-13 * yy) & (vm > 1e-13 * mm), cov**2 / (vy * vm), np.nan)


def _share(part: float, whole: float) -> float:
    return 1.0 - part / whole if whole > 0 else float("nan")


def _shares(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, 1.0 - part / np.where(whole > 0, whole, 1.0), np.nan)


# ---- families other than the normal ------------------------------------------------------------------------


def _add_deviance(
    plan: Plan, s: Scored, found: Outcome, W: float, w: Array, pooled: dict[str, float], fold: dict[str, Array]
) -> None:
    family = family_of(plan.spec)
    loss = s.loss[0]
    lost, null = s.by_fold(loss), s.by_fold(s.null)
    pooled["mean_deviance"] = float(lost.sum()) / W
    pooled["r2_deviance"] = _share(float(lost.sum()), float(null.sum()))
    fold["mean_deviance"] = lost / w
    fold["r2_deviance"] = _shares(lost, null)
    if family.name in BINOMIAL:
        _add_binomial(s, W, w, pooled, fold)
    elif family.has_loglik:
        rows = _log_scores(plan, s, found, family)
        sums = s.by_fold(rows)
        pooled["log_score"] = float(sums.sum()) / W
        fold["log_score"] = sums / w


def _add_binomial(s: Scored, W: float, w: Array, pooled: dict[str, float], fold: dict[str, Array]) -> None:
    y, p = s.y, s.mu
    entropy = -(_xlogx(y) + _xlogx(1.0 - y))
    right = np.where(p > 0.5, y, 1.0 - y)
    rows = {
        "log_loss": 0.5 * s.loss[0] + entropy,
        "brier": y * (1.0 - p) ** 2 + (1.0 - y) * p**2,
        "accuracy": right,
    }
    for name, values in rows.items():
        sums = s.by_fold(values)
        pooled[name] = float(sums.sum()) / W
        fold[name] = sums / w
    hits, yes = s.by_fold(np.where(p > 0.5, y, 0.0)), s.by_fold(y)
    rejected, no = s.by_fold(np.where(p > 0.5, 0.0, 1.0 - y)), s.by_fold(1.0 - y)
    pooled["balanced_accuracy"] = float(0.5 * (_ratio(hits.sum(), yes.sum()) + _ratio(rejected.sum(), no.sum())))
    fold["balanced_accuracy"] = 0.5 * (_ratio(hits, yes) + _ratio(rejected, no))
    counts = s.weights > 0
    pooled["auc"] = auc(y[counts], p[counts], s.weights[counts])
    fold["auc"] = _auc_by_fold(s)


def _xlogx(y: Array) -> Array:
    return np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)), 0.0)


def _ratio(part, whole):
    return np.where(np.asarray(whole) > 0, part / np.where(np.asarray(whole) > 0, whole, 1.0), np.nan)


def auc(y: Array, score: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve, ties half: y (n,) shares of successes, weights (n,) trials; NaN with one class."""
    w = np.ones_like(y) if weights is None else weights
    level, at = np.unique(score, return_inverse=True)
    yes = np.bincount(at.ravel(), w * y, level.size)
    no = np.bincount(at.ravel(), w * (1.0 - y), level.size)
    total = yes.sum() * no.sum()
    if not total > 0:
        return float("nan")
    below = np.cumsum(no) - no
    return float(np.sum(yes * (below + 0.5 * no)) / total)


def _auc_by_fold(s: Scored) -> Array:
    out = np.full(s.n_folds, np.nan)
    counts = s.weights > 0
    yes, no = s.by_fold(s.y), s.by_fold(1.0 - s.y)
    order = np.argsort(s.fold, kind="stable")
    stops = np.searchsorted(s.fold[order], np.arange(s.n_folds + 1))
    for f in np.flatnonzero((yes > 0) & (no > 0)):
        rows = order[stops[f] : stops[f + 1]]
        rows = rows[counts[rows]]
        out[f] = auc(s.y[rows], s.mu[rows], s.weights[rows])
    return out


def _log_scores(plan: Plan, s: Scored, found: Outcome, family: Family) -> Array:
    """(N,) -log density of each row at what its training fold estimated, per unit of weight."""
    out = np.full(s.y.size, np.nan)
    for rows, own, phi in _parameter_sets(plan, found, family, s.fold):
        dispersion = None if family.dispersion_known or family.estimated else phi
        out[rows] = -np.asarray(own.loglik(s.y[rows, None], s.mu[rows, None], None, dispersion))
    return out


def _parameter_sets(plan: Plan, found: Outcome, family: Family, fold: Array):
    """Rows (positions) that share the family's parameters and dispersion, with both."""
    k = plan.k
    if not family.estimated and family.dispersion_known:
        yield np.arange(fold.size), family, 1.0
        return
    order = np.argsort(fold, kind="stable")
    stops = np.searchsorted(fold[order], np.arange(plan.repeats * k + 1))
    for f in range(plan.repeats * k):
        at = divmod(f, k)
        params = found.params.get(at)
        if params is None:
            continue
        phi = float("nan") if found.dispersion is None else float(found.dispersion[at])
        yield order[stops[f] : stops[f + 1]], with_params(family, params), phi


# ---- losses ------------------------------------------------------------------------------------------------


def _losses(
    plan: Plan, found: Outcome, family: Family, eta: Array, y: Array, mean: Array, fold: Array
) -> tuple[Array, Array]:
    """Unit deviances (V, N) of the models and (N,) of the training mean, at the full model's parameters."""
    if plan.spec.family == "gaussian":
        mu = family.link.inverse(eta)
        return (y - mu) ** 2, (y - mean) ** 2
    loss, null = np.full(eta.shape, np.nan), np.full(y.size, np.nan)
    for rows, own, _ in _parameter_sets(plan, found, family, fold) if family.estimated else [
        (np.arange(y.size), family, 1.0)
    ]:
        loss[:, rows] = own.deviance_rows(eta[:, rows], y[rows])
        null[rows] = own.unit_deviance(y[rows], mean[rows])
    return loss, null


def _train_mean(plan: Plan, family: Family, prior: Array) -> Array:
    """(R, n) what an intercept alone, with the offset, predicts of each row from the others."""
    bundle = plan.bundle
    out = np.empty(plan.folds.shape)
    for r, folds in enumerate(plan.folds):
        k = plan.k
        if bundle.offset is None or family.link.name == "identity":
            off = 0.0 if bundle.offset is None else bundle.offset
            own = bundle.y - off
            w, wy = np.bincount(folds, prior, k), np.bincount(folds, prior * own, k)
            out[r] = ((wy.sum() - wy) / (w.sum() - w))[folds] + off
        else:
            out[r] = family.link.inverse(_intercepts(family, bundle.y, bundle.offset, prior, folds, k) + bundle.offset)
    return out


def _intercepts(family: Family, y: Array, offset: Array, prior: Array, folds: Array, k: int) -> Array:
    """(n,) intercept of the training rows of each row's fold, by Fisher scoring on one number a fold."""
    own = family if not (family.param_names and not family.params) else with_params(family, (1.0,))
    start = float(np.average(family.link.link(own.initialize(y, prior)) - offset, weights=prior))
    if family.link.name == "log":
        start = float(np.log(np.sum(prior * y) / np.sum(prior * np.exp(offset))))
    a = np.full(k, start)
    block = max(1, (1 << 22) // y.size)
    for at in range(0, k, block):
        part = np.arange(at, min(at + block, k))
        train = np.where(folds != part[:, None], prior, 0.0)
        for _ in range(50):
            score, information = own.score_weight(a[part, None] + offset, y)
            step = np.sum(train * score, 1) / np.sum(train * information, 1)
            a[part] += step
            if np.all(np.abs(step) < 1e-12):
                break
    return a[folds]


def calibration_slope(spec: ModelSpec, s: Scored) -> float:
    """Slope of the response on the held-out linear predictor, by the family and link of the model; NaN without one."""
    use = (s.weights > 0) & np.isfinite(s.eta)
    eta, y, w = s.eta[use], s.y[use], s.weights[use]
    if eta.size < 3 or np.ptp(eta) <= 1e-12 * np.abs(eta).max():
        return float("nan")
    family = family_of(spec)
    if spec.family == "gaussian" and spec.link == "identity":
        centred = eta - np.average(eta, weights=w)
        return float(np.sum(w * centred * y) / np.sum(w * centred**2))
    if family.estimated:
        return float("nan")
    X = np.column_stack([np.ones(eta.size), eta])
    try:
        fit = irls.irls(X, y, family, w)
    except FitError:
        return float("nan")
    return float(fit.coef[1]) if fit.status == irls.OK else float("nan")
