"""What a model knows, as tables: one frozen state, and read-only views of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from . import tables
from .errors import InferenceCoreError, InferenceError
from .states import (
    CVState,
    DataBundle,
    FitState,
    InferenceState,
    JointTestState,
    MeeState,
    ModelSpec,
    ResamplesState,
)

if TYPE_CHECKING:
    from .states.inference import SimulationInferenceState, SimulationState
    from .states.prediction import PredictionState
    from .states.profile import ProfileState
    from .states.varying import VaryingSpreadState, VaryingState


SHOWN = 10  # rows of predictions or simulations in a printed model


@dataclass(frozen=True, slots=True, eq=False)
class ModelState:
    """Everything a model knows at one moment. Never changed, only replaced."""

    spec: ModelSpec
    bundle: DataBundle
    fit: FitState | None = None
    inference: InferenceState | None = None
    resamples: ResamplesState | None = None
    profile: ProfileState | None = None
    cv: CVState | None = None
    spread: VaryingSpreadState | None = None
    mee: MeeState | None = None
    joint: JointTestState | None = None
    pred: PredictionState | None = None
    simulations: SimulationState | None = None
    sim_inference: SimulationInferenceState | None = None
    last_op: str | None = None


class Results:
    """The tables of a model; ``inference_core.model`` adds the verbs that change what they show."""

    formula: str
    _state: ModelState

    # ---- what is known ----------------------------------------------------------------------------------------

    @property
    def state(self) -> ModelState:
        """The one frozen state; hold on to it, and later operations do not change it."""
        return self._state

    @property
    def spec(self) -> ModelSpec:
        """What was asked for."""
        return self._state.spec

    @property
    def bundle(self) -> DataBundle:
        """The data as arrays."""
        return self._state.bundle

    @property
    def fit_state(self) -> FitState:
        """The estimate."""
        return self._require_fit(self._fitted("fit_state"))

    @property
    def inference(self) -> InferenceState | None:
        """The last inference, or None."""
        return self._state.inference

    @property
    def params(self) -> pl.DataFrame:
        """``term, estimate``; after ``infer()`` also ``se, ci_lower, ci_upper, statistic, df, p_value``."""
        state = self._fitted("params")
        return tables.params_table(state.bundle, self._require_fit(state), state.inference)

    @property
    def monte_carlo(self) -> pl.DataFrame:
        """How far chance in the draws alone may move the last table: one standard error per simulated number."""
        state = self._fitted("monte_carlo")
        if state.inference is None or not state.inference.mcse:
            raise InferenceError("m.monte_carlo", "the last table was not simulated", "infer(how='boot') first")
        return tables.monte_carlo_table(state.bundle, state.inference)

    @property
    def resamples(self) -> pl.DataFrame:
        """The draws of the last resampling: one row per draw, one column per parameter."""
        state = self._fitted("resamples")
        if state.resamples is None:
            raise InferenceError(
                asked="m.resamples",
                found="no draws are stored",
                remedy="infer(how='boot'), with save_resamples left at True",
            )
        return tables.resamples_table(state.resamples)

    @property
    def diagnostics(self) -> pl.DataFrame:
        """One row about the model: nobs, df, R2 or deviance, logLik, AIC, BIC; after cross-validation its scores."""
        from .fit import diagnostics

        state = self._fitted("diagnostics")
        table = diagnostics.model_table(state.spec, state.bundle, self._require_fit(state))
        return table if state.cv is None else table.with_columns(**tables.cv_scores(state.cv))

    @property
    def cv(self) -> pl.DataFrame:
        """Scores of held-out predictions: ``metric, pooled, fold_mean, fold_sd``; defined in ``infer.cv.scores``."""
        return tables.cv_table(self._cross_validated("cv"))

    @property
    def cv_folds(self) -> pl.DataFrame:
        """The same scores for each fold: ``repeat, fold, n``, then one column a score."""
        return tables.cv_folds_table(self._cross_validated("cv_folds"))

    @property
    def cv_terms(self) -> pl.DataFrame:
        """What each term is worth: ``term, pre, pre_sd, pre_se, ci_lower, ci_upper, pre_ratio, without``."""
        return tables.cv_terms_table(self._cross_validated("cv_terms"))

    @property
    def cv_predictions(self) -> pl.DataFrame:
        """Every held-out prediction: ``repeat, fold, row, observed, prediction, residual``; rows count from 0."""
        return tables.cv_predictions_table(self._cross_validated("cv_predictions"))

    @property
    def effects(self) -> pl.DataFrame:
        """What the last ``explore()`` asked for: labels, ``estimate``; after ``infer()`` also ``se`` to ``p_value``.

        Columns of labels come first: ``contrast`` or the focal column, ``term`` for a slope, then the conditions. After
        ``infer(how="joint")`` one row per test: ``term, df1, df2, statistic, p_value``.
        """
        state = self._fitted("effects")
        if state.joint is not None:
            return tables.joint_table(state.joint)
        if state.mee is None:
            raise InferenceError("m.effects", "nothing was explored", 'explore("pairwise(group)") first')
        return tables.effects_table(state.mee)

    @property
    def predictions(self) -> pl.DataFrame:
        """What the last ``predict()`` asked for: the rows, then ``fitted``; after ``infer()`` also limits.

        ``se, ci_lower, ci_upper`` are of the expected value, ``pi_lower, pi_upper`` of a single new response; after
        ``infer(how="cv")`` ``cv_fitted, cv_residual, cv_fold``.
        """
        state = self._fitted("predictions")
        if state.pred is None:
            raise InferenceError("m.predictions", "nothing was predicted", 'predict({"x": [1, 2]}) first, or predict()')
        return tables.predictions_table(state.pred)

    def _cross_validated(self, asked: str) -> CVState:
        state = self._fitted(asked)
        if state.cv is None:
            raise InferenceError(f"m.{asked}", "the model was not cross-validated", "infer(how='cv') first")
        return state.cv

    @property
    def influence(self) -> pl.DataFrame:
        """One row per row of the data: leverage, standardised and studentised residuals, Cook's distance, DFFITS."""
        from .fit import diagnostics

        state = self._fitted("influence")
        return diagnostics.influence_table(state.spec, state.bundle, self._require_fit(state))

    @property
    def residuals(self) -> pl.DataFrame:
        """One row per row used: ``row, fitted, resid, pearson_resid, deviance_resid``, on the response scale.

        Of a mixed model conditional on the random effects, and ``fitted_marginal, resid_marginal`` with them at 0.
        """
        from .fit import diagnostics

        state = self._fitted("residuals")
        return diagnostics.residual_table(state.spec, state.bundle, self._require_fit(state))

    @property
    def vif(self) -> pl.DataFrame:
        """Variance inflation by source term (GVIF for terms of several columns)."""
        from .fit import diagnostics

        state = self._fitted("vif")
        return diagnostics.vif_table(state.spec, state.bundle, self._require_fit(state))

    @property
    def varying_spread(self) -> pl.DataFrame:
        """Variance components of a mixed model, the residual last.

        ``group, term, variance, sd``; after a bootstrap or a profile also ``sd_ci_lower, sd_ci_upper``.
        """
        state = self._fitted("varying_spread")
        return tables.spread_table(state.spec, state.bundle, self._require_fit(state), self._limits_of_spread(state))

    @property
    def varying_corr(self) -> pl.DataFrame:
        """Correlations of the random effects: ``group, term, term2, covariance, correlation``, and their limits."""
        state = self._fitted("varying_corr")
        return tables.correlation_table(state.bundle, self._require_fit(state), self._limits_of_spread(state))

    @property
    def profile(self) -> pl.DataFrame:
        """Traces of the profile likelihood: ``parameter, value, zeta``, then every parameter along the trace."""
        state = self._fitted("profile")
        if state.profile is None:
            raise InferenceError("m.profile", "no profile was computed", "infer(how='profile') first")
        return state.profile.table

    @property
    def varying_offsets(self) -> pl.DataFrame:
        """What each group adds to the fixed effects (conditional modes): ``group, level, term, estimate, cond_sd``.

        ``cond_sd`` takes the fixed effects as known, as lme4's ``condVar``; after ``infer()`` also ``se, ci_lower,
        ci_upper``, which count that they are estimated. All on the link scale.
        """
        from .infer.varying import varying_offsets

        return tables.varying_table(self._varying("varying_offsets", varying_offsets), cond_sd=True)

    @property
    def varying_params(self) -> pl.DataFrame:
        """The coefficients of each group, fixed effect plus what the group adds: ``group, level, term, estimate``.

        After ``infer()`` also ``se, ci_lower, ci_upper`` from the joint prediction variance of fixed and random
        effects. All on the link scale; effects that do not vary between groups are those of ``params``. The intervals
        take the variance components as known: with some ten groups a 95 % interval holds 85 to 90 %.
        """
        from .infer.varying import varying_params

        return tables.varying_table(self._varying("varying_params", varying_params))

    def _varying(self, asked: str, compute: Callable[..., VaryingState]) -> VaryingState:
        state = self._fitted(asked)
        level = None if state.inference is None else state.inference.conf_level
        return compute(state.spec, state.bundle, self._require_fit(state), level)

    def _head(self) -> str:
        """What the model is, in one line."""
        state = self._state
        spec = state.spec
        kind = "linear" if spec.family == "gaussian" and spec.link == "identity" else "generalized linear"
        kind += " mixed model" if spec.has_random_effects else " model"
        if spec.is_lmer:
            kind += f", {spec.method.upper()}"
        elif not spec.is_lm:
            kind += f", {spec.family} ({spec.link})"
        rows = f"{state.bundle.n:,} rows" if state.bundle.n_total else "no data"
        if state.bundle.n_total > state.bundle.n:
            rows += f" of {state.bundle.n_total:,}"
        return f"model({self.formula!r}): {kind}, {rows}"

    def __repr__(self) -> str:
        state, spec, head = self._state, self._state.spec, self._head()
        if state.fit is None:
            return f"{head}, not fitted"
        if state.last_op == "predict" and state.pred is not None:
            return "\n".join([head, *_prediction_lines(state.pred)])
        if state.joint is not None:
            return "\n".join([head, *_joint_lines(state.joint)])
        if state.last_op == "explore" and state.mee is not None:
            return "\n".join([head, *_effects_lines(state.mee)])
        lines = [head, tables.text_table(self.params), *state.fit.messages]
        if spec.has_random_effects:
            lines.insert(2, tables.text_table(self.varying_spread))
        if state.inference is not None:
            lines.insert(1, _how_words(state.inference))
            lines.extend(state.inference.notes)
        return "\n".join(lines)

    @staticmethod
    def _limits_of_spread(state: ModelState) -> tuple[list[float], list[float]] | None:
        """Limits of SDs and correlations, in the order of ``fit.varcomp.variance_components``, where there are any."""
        if state.spread is not None and state.spread.ci_lower is not None:
            return tables.limits_in_component_order(state.spread)
        drawn = None if state.inference is None else state.inference.spread
        return None if drawn is None else (list(drawn.ci_lower), list(drawn.ci_upper))

    # ---- guards ------------------------------------------------------------------------------------------------

    def _fitted(self, asked: str) -> ModelState:
        state = self._state
        if state.fit is None:
            raise InferenceCoreError(asked=f"m.{asked}", found="the model has not been fitted", remedy="m.fit() first")
        return state

    @staticmethod
    def _require_fit(state: ModelState) -> FitState:
        assert state.fit is not None  # _fitted() has looked
        return state.fit


def _joint_lines(joint: JointTestState) -> list[str]:
    kind = f"type {joint.ss_type}, " if joint.ss_type else ""
    reference = "chi-square" if joint.test_type == "chi2" else f"F, {joint.ddf} denominators"
    head = f"joint tests, {kind}{reference}, {joint.errors} errors"
    return [head, tables.text_table(tables.joint_table(joint)), *joint.notes]


def _prediction_lines(pred: PredictionState) -> list[str]:
    of = "for each row's own groups" if pred.conditional else ""
    scale = "" if pred.on_response else "link scale"
    lines = [", ".join(word for word in (f"{len(pred.fitted):,} predictions", of, scale) if word)]
    if pred.inference is not None:
        lines.append(_how_words(pred.inference))
    table = tables.predictions_table(pred)
    lines.append(tables.text_table(table.head(SHOWN)))
    if table.height > SHOWN:
        lines.append(f"... {table.height - SHOWN:,} more rows")
    return [*lines, *pred.notes, *(pred.inference.notes if pred.inference is not None else ())]


def _effects_lines(mee: MeeState) -> list[str]:
    scale = "" if mee.effect_scale == "response" else ", link scale"
    lines = [f"explore({mee.explore_formula!r}): {mee.type}{scale}"]
    if mee.inference is not None:
        lines.append(f"{_how_words(mee.inference)}, {mee.adjusted}")
    lines += [tables.text_table(tables.effects_table(mee)), *mee.notes]
    return lines + (list(mee.inference.notes) if mee.inference is not None else [])


def _how_words(inference: InferenceState) -> str:
    level = f"{100 * inference.conf_level:g}%"
    if inference.method == "boot":
        return (
            f"bootstrap ({inference.scheme}), {inference.n_resamples:,} draws, seed {inference.seed}, "
            f"{level} {inference.ci_type} limits"
        )
    if inference.method == "perm":
        draws = f"all {inference.n_resamples:,} arrangements" if inference.exact else f"{inference.n_resamples:,} draws"
        return (
            f"permutation ({inference.scheme}), {draws}, seed {inference.seed}, {inference.errors} errors, "
            f"{level} limits by inverting the test"
        )
    if inference.method == "profile":
        return f"profile likelihood, {level} limits"
    if inference.method == "cv":
        return "cross-validation: pre is the held-out R2 that is lost without the term"
    return f"asymptotic, {inference.errors} errors, {level} limits"
