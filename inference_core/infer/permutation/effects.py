"""Permutation inference for marginal effects: each row is a linear hypothesis of its own, all tested by the same draws.

A row L b = c has its own null model (see ``hypotheses``), so contrasts, slopes, ratios and odds ratios are tested as
coefficients are. Means cannot be: shuffling leaves the mean of the response where it is. Effects that are curved
functions of the coefficients are no hypothesis L b = c, and are for the bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.infer.asymptotic import resolve_error_type
from inference_core.infer.coefficient import check_level
from inference_core.infer.intervals.requirements import check_alternative
from inference_core.infer.mee_asymptotic import Wald, inner_alternative, on_the_effect_scale, wald_rows
from inference_core.infer.mee_bootstrap import level_of_rows, refuse_reference, row_names, stepped
from inference_core.infer.resample.core import count_extreme
from inference_core.marginal.maps import map_named
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import (
    Array,
    DataBundle,
    FitState,
    InferenceState,
    MeeState,
    ModelSpec,
    ResamplesState,
)

from .hypotheses import Hypothesis
from .invert import critical_rank
from .rules import CANNOT_MOVE_A_MEAN, SHUFFLING, check_scheme, default_scheme, keep_the_constant
from .run import PermutationTests, permutation_tests
from .stream import open_permutation_stream

_RATIOS = MappingProxyType({"log": "ratio", "logit": "odds_ratio"})
ZERO = 1e-12  # relative to the largest weight of a table: what summing designs leaves of a weight that is none


def mee_permutation(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    mee: MeeState,
    data: pl.DataFrame | None = None,
    conf_level: float = 0.95,
    n_perm: int = 999,
    seed: int | None = None,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
    *,
    scheme: str | None = None,
    errors: str = "iid",
    every: bool = True,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[MeeState, ResamplesState]:
    """Permutation tests of effects, and limits that invert them.

    Parameters
    ----------
    spec, bundle, fit, mee
        A fitted model and what was asked about it.
    data : frame, optional
        The original frame, for Welch errors.
    conf_level, n_perm, seed, alternative, save_resamples, scheme, errors, every
        As in ``table.compute_params_permutation``.
    null : float or (m,)
        On the scale of the effects; 0 stands for "no effect", which of a ratio is 1.
    n_jobs, verbose, progress, cancel
        The protocol of every long loop.

    Returns
    -------
    mee : MeeState
        With inference. ``p_adjust="mvt"`` is the largest |t| of each draw, over the rows of a family.
    resamples : ResamplesState
        t* of every draw, (B, m); NaN in columns that are not tested.

    Raises
    ------
    InferenceError
        Means under a scheme that shuffles, effects that are curved functions, adjustments that draws do not have.

    Source: Westfall & Young (1993), section 2, of the largest |t|; ``permutation.hypotheses`` of the tests.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    _refuse(mee, spec)
    refuse_reference(mee, "perm")
    wald = wald_rows(mee, spec, fit, null)
    side = inner_alternative(mee, spec, fit, alternative)
    errors = resolve_error_type(errors, spec.family)
    found = _hypotheses(mee, fit, wald)
    scheme = scheme or _scheme(spec, bundle, fit, found)
    check_scheme(spec, bundle, scheme, errors, _raw_nulls(bundle, fit, found) if scheme == "y" else 0.0)
    found, untested = _movable(spec, bundle, found, scheme, mee)
    with one_blas_thread():
        stream = open_permutation_stream(
            spec, bundle, fit, scheme=scheme, seed=seed, errors=errors, n_perm=n_perm, every=every, data=data,
            hypotheses=[row.hypothesis for row in found],
        )  # fmt: skip
    tests = permutation_tests(
        stream, spec, bundle, fit, n_perm, level_of_rows(mee, level), side, n_jobs=n_jobs, progress=progress,
        cancel=cancel, verbose=verbose,
    )  # fmt: skip
    place = {row.hypothesis.name: row.row for row in found}
    rows = np.array([place[name] for name in stream.names], int)
    table = _Table.of(mee, tests, rows, wald)
    words = table.adjust(mee, level, side, spec.is_lm)
    se, lower, upper = on_the_effect_scale(mee, spec, fit, wald, table.se, table.lower, table.upper)
    notes = [*tests.notes, *untested, *([wald.note] if wald.note else []), *table.notes]
    draws = tests.draws
    inference = InferenceState(
        se=se, ci_lower=lower, ci_upper=upper, statistic=table.statistic, p_value=table.p_value, conf_level=level,
        method="perm", ci_type="inverted", errors=errors, scheme=stream.scheme, null=wald.shown_null,
        alternative=alternative, n_resamples=len(draws.status), n_requested=draws.n_requested,
        n_failed=draws.n_failed, failures=draws.failures, cancelled=draws.cancelled,
        mcse=_mcse(mee, spec, fit, table, wald), seed=stream.seed,
        perm_samples=table.samples if save_resamples else None,
        draw_status=draws.status if save_resamples else None, exact=tests.exact, notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip
    kept = replace(
        draws, samples=table.samples, observed=table.statistic, names=row_names(mee), context="effects", se=None
    )
    return replace(mee, inference=inference, adjusted=words), kept


def compute_mee_permutation(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    mee: MeeState,
    data: pl.DataFrame,
    conf_level: float,
    se_obs: np.ndarray,
    n_perm: int = 1000,
    seed: int | None = None,
    null: float = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
) -> tuple[MeeState, np.ndarray | None]:
    """Permutation inference for marginal effects, by the scheme that the model gets where none is named.

    Parameters
    ----------
    spec, bundle, fit, mee, data
        The fitted model, what was asked about it, and its original frame.
    conf_level, n_perm, seed, null, alternative, save_resamples
        As in :func:`mee_permutation`.
    se_obs : (m,) array
        Standard errors of the effects, for the column ``se``. The tests take none of them: every draw, and the data
        alike, is divided by the standard error of its own refit.

    Returns
    -------
    mee : MeeState
        With inference.
    samples : (B, m) array or None
        Statistics of the draws; None without ``save_resamples``.

    Raises
    ------
    InferenceError
        As in :func:`mee_permutation`; standard errors of another number of effects.
    """
    given = np.asarray(se_obs, float)
    if given.shape != mee.estimate.shape:
        raise InferenceError(
            asked=f"se_obs of shape {given.shape}", found=f"{len(mee.estimate)} effects", remedy="one for each effect"
        )
    found, draws = mee_permutation(
        spec, bundle, fit, mee, data, conf_level, n_perm, seed, null, alternative, save_resamples
    )
    assert found.inference is not None
    shown = replace(found.inference, se=np.where(np.isnan(found.inference.se), np.nan, given))
    return replace(found, inference=shown), np.asarray(draws.samples) if save_resamples else None


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One effect as a hypothesis about the estimable coefficients."""

    row: int
    hypothesis: Hypothesis


def _refuse(mee: MeeState, spec: ModelSpec) -> None:
    if mee.L is not None:
        return
    linear = "effect_scale='link' asks for one that can be permuted"
    if mee.type == "slopes":
        linear = "how='mem' and effect_scale='link' ask for a slope that can be permuted"
    elif spec.link in _RATIOS:
        linear = f"comparison={_RATIOS[spec.link]!r} or {linear}"
    raise InferenceError(
        asked=f".infer(how='perm') after explore({mee.explore_formula!r})",
        found="these effects are curved functions of the coefficients, and permuting tests linear ones",
        remedy=f"how='boot', or explore anew: {linear}",
    )


def _hypotheses(mee: MeeState, fit: FitState, wald: Wald) -> list[_Row]:
    """One per estimable row that is not empty; the null value without what an offset adds to the row."""
    kept = np.flatnonzero(np.isfinite(fit.coef))
    assert mee.L is not None
    L = np.nan_to_num(mee.L)[:, kept]
    L = np.where(np.abs(L) <= ZERO * np.abs(L).max(initial=0.0), 0.0, L)
    value = wald.null if mee.shift is None else wald.null - mee.shift
    names = row_names(mee)
    return [
        _Row(i, Hypothesis(names[i], L[[i]], np.asarray(value)[[i]]))
        for i in range(len(L))
        if mee.estimable[i] and L[i].any()
    ]


def _scheme(spec: ModelSpec, bundle: DataBundle, fit: FitState, rows: list[_Row]) -> str:
    """That of the coefficients, but shuffled responses of a glm only where every row is one coefficient at 0."""
    chosen = default_scheme(spec, bundle, 0.0, fit)
    if spec.has_random_effects:
        return chosen
    single = all(np.count_nonzero(r.hypothesis.rows) == 1 and r.hypothesis.value[0] == 0.0 for r in rows)
    keeps = all(keep_the_constant(bundle, [r.hypothesis for r in rows]))
    return chosen if spec.is_lm or (single and keeps) else "score_flip"


def _raw_nulls(bundle: DataBundle, fit: FitState, rows: list[_Row]) -> Array:
    """(p,) null values of the coefficients that a row is about, for the rule of shuffled responses."""
    out = np.zeros(bundle.p)
    kept = np.flatnonzero(np.isfinite(fit.coef))
    for row in rows:
        j = np.flatnonzero(row.hypothesis.rows[0])
        if len(j) == 1:
            out[kept[j[0]]] = row.hypothesis.value[0] / row.hypothesis.rows[0, j[0]]
    return out


def _movable(
    spec: ModelSpec, bundle: DataBundle, rows: list[_Row], scheme: str, mee: MeeState
) -> tuple[list[_Row], list[str]]:
    """Rows that the scheme can test, and a note about those that it cannot."""
    flips = "sign_flip" if spec.is_lm else "score_flip"
    if scheme not in SHUFFLING:
        return rows, []
    moves = keep_the_constant(bundle, [row.hypothesis for row in rows])
    if rows and not any(moves):
        also = " if errors are symmetric" if spec.is_lm else ""
        raise InferenceError(
            asked=f".infer(how='perm') after explore({mee.explore_formula!r})",
            found=f"{CANNOT_MOVE_A_MEAN}: these rows are {mee.type}, and shuffled rows have the same mean",
            remedy=f"explore a contrast, as pairwise(...); or scheme={flips!r}, which tests them{also}",
        )
    fixed = [row.hypothesis.name for row, can in zip(rows, moves, strict=True) if not can]
    notes = [f"{', '.join(fixed)}: {CANNOT_MOVE_A_MEAN}; scheme={flips!r} tests it"] if fixed else []
    return [row for row, can in zip(rows, moves, strict=True) if can], notes


@dataclass(slots=True, eq=False)
class _Table:
    """Tests spread over the m rows of the table, on the scale on which they are made; NaN where not tested."""

    estimate: Array
    se: Array
    statistic: Array
    p_value: Array
    lower: Array
    upper: Array
    mcse: dict[str, Array]
    samples: Array  # (B, m)
    exact: bool
    notes: list[str]

    @classmethod
    def of(cls, mee: MeeState, tests: PermutationTests, rows: Array, wald: Wald) -> _Table:
        m = len(mee.estimate)

        def wide(values: Array) -> Array:
            out = np.full((*values.shape[:-1], m), np.nan)
            out[..., rows] = values
            return out

        moved = np.zeros(len(rows)) if mee.shift is None else mee.shift[rows]
        return cls(
            estimate=np.asarray(wald.estimate), se=wide(tests.se), statistic=wide(tests.statistic),
            p_value=wide(tests.p_value), lower=wide(tests.lower + moved), upper=wide(tests.upper + moved),
            mcse={name: wide(values) for name, values in tests.mcse.items()}, samples=wide(tests.draws.samples),
            exact=tests.exact, notes=[],
        )  # fmt: skip

    def adjust(self, mee: MeeState, level: float, alternative: str, studentised: bool) -> str:
        """Adjust p-values and limits as the question asked, and say how."""
        if mee.p_adjust == "none" or not any(np.isfinite(self.p_value[f.rows]).sum() > 1 for f in mee.families):
            return "not adjusted"
        for family in mee.families:
            rows = family.rows[np.isfinite(self.p_value[family.rows])]
            if len(rows) < 2:
                continue
            if mee.p_adjust == "mvt":
                self._largest_t(rows, level, alternative)
            else:
                self.p_value[rows] = stepped(self.p_value[rows], mee.p_adjust)
        if mee.p_adjust == "mvt":
            if not studentised:
                self.notes.append("limits: the draws' critical |t| times the standard error of the fit")
            return "largest |t| of each draw"
        if mee.p_adjust in ("bonferroni", "sidak"):
            return mee.p_adjust
        return f"{mee.p_adjust}; limits Bonferroni"

    def _largest_t(self, rows: Array, level: float, alternative: str) -> None:
        t = self.samples[:, rows]
        t = np.abs(t) if alternative == "two-sided" else t if alternative == "greater" else -t
        peak = np.where(np.isnan(t), np.inf, t).max(1)  # a draw without a statistic counts as extreme
        own = self.statistic[rows]
        own = np.abs(own) if alternative == "two-sided" else own if alternative == "greater" else -own
        count = count_extreme(own, np.repeat(peak[:, None], len(rows), axis=1), "greater")
        B = len(peak)
        self.p_value[rows] = np.maximum(count, 1) / B if self.exact else (1.0 + count) / (B + 1.0)
        if not self.exact:
            self.mcse["p_value"][rows] = np.sqrt(self.p_value[rows] * (1 - self.p_value[rows]) / B)
        rank = critical_rank(1.0 - level, B, self.exact)
        critical = np.sort(peak)[-rank] if 1 <= rank <= B else np.inf
        for name in ("ci_lower", "ci_upper"):
            self.mcse[name][rows] = np.nan
        known = np.isfinite(self.lower[rows]) | np.isfinite(self.upper[rows])
        far = np.where(known, critical * self.se[rows], np.nan)
        self.lower[rows] = -np.inf if alternative == "less" else self.estimate[rows] - far
        self.upper[rows] = np.inf if alternative == "greater" else self.estimate[rows] + far


def _mcse(mee: MeeState, spec: ModelSpec, fit: FitState, table: _Table, wald: Wald) -> dict[str, Array]:
    """Monte-Carlo errors of the limits through the slope of the map that the limits go through."""
    out = dict(table.mcse)
    if mee.monotone == "identity":
        return out
    _, derivative = map_named(mee.monotone, spec, fitted_family(spec, fit))
    with np.errstate(over="ignore", invalid="ignore"):
        for name, limit in (("ci_lower", table.lower), ("ci_upper", table.upper)):
            out[name] = out[name] * np.abs(derivative(np.where(np.isfinite(limit), limit, np.nan)))
    return out
