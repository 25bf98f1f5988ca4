"""``compare``: nested models by F, likelihood ratio, Wald or score test, and any models by AIC and BIC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.fit import fit_model
from inference_core.formula.names import suggest
from inference_core.model import model
from inference_core.progress import Cancel, Progress
from inference_core.states import DataBundle, FitState, ModelSpec

from .nesting import Nesting, nesting

if TYPE_CHECKING:
    from .steps import Tested

TESTS = ("F", "lrt", "wald", "score", "boot", "cv")

COLUMNS = (
    "model", "n_params", "df_resid", "loglik", "deviance", "aic", "bic", "df", "statistic", "df2", "p_value",
    "p_mixture",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One model, fitted as the comparison needs it."""

    formula: str
    spec: ModelSpec
    bundle: DataBundle
    fit: FitState
    data: pl.DataFrame

    @property
    def criterion(self) -> float:
        """-2 log L, or the REML criterion where that is compared."""
        if self.spec.is_lmer and self.fit.criterion is not None:
            return float(self.fit.criterion)
        return -2.0 * self.fit.loglik


def compare(
    *models: model,
    test: str | None = None,
    errors: str = "iid",
    reml: bool = False,
    n_boot: int = 999,
    k: int = 10,
    repeats: int = 1,
    seed: int | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> pl.DataFrame:
    """Put fitted models of the same data side by side, each tested against the one before it.

    Parameters
    ----------
    *models : model
        Two or more fitted models of the same rows and the same response; they are sorted by their number of
        parameters, and each is tested against the next smaller one.
    test : {"F", "lrt", "wald", "score", "boot", "cv"}, optional
        "F": extra sum of squares, of linear models, over the residual variance of the largest. "lrt": likelihood ratio.
        "wald": the larger model's coefficients, with ``errors``. "score": Rao's, of generalized linear models.
        "boot": the likelihood ratio against its distribution when the smaller model is true, by refitting both to
        responses that it makes up. "cv": held-out error on the same folds, which needs no nesting. Default: F for
        linear models, likelihood ratio for all others.
    errors : str
        Of "wald": as in ``model.infer``, "kenward-roger" included.
    reml : bool
        Linear mixed models that were fitted by REML are refitted by ML, since REML criteria of different fixed parts do
        not compare. True keeps REML where the fixed parts are the same; preferable for tests of variances.

    Returns
    -------
    polars.DataFrame
        ``model, n_params, df_resid, loglik, deviance, aic, bic``, and of each against the one above it ``df,
        statistic, df2, p_value``. ``p_mixture`` where one random effect was added: its variance is tested at the edge
        of what it can be, where chi-square is too cautious; it weighs two chi-squares by a half each. With test="cv"
        also ``cv_error`` (mean held-out deviance; squared error for a gaussian response) and, against the model above,
        ``cv_difference, cv_se``, what the larger model saves.

    Raises
    ------
    InferenceError
        Fewer than two models, one not fitted, other rows or another response, families that differ, a test that these
        models do not have, models that are not nested.

    Notes
    -----
    Models that are not nested have a null p-value; AIC and BIC compare them.
    Source of the mixture: Self & Liang (1987), J. Am. Stat. Assoc. 82; Stram & Lee (1994), Biometrics 50.

    Examples
    --------
    >>> from inference_core import compare, load_dataset, model
    >>> cars = load_dataset("mtcars")
    >>> compare(model("mpg ~ wt", cars).fit(), model("mpg ~ wt + hp", cars).fit())["df"].to_list()
    [None, 1.0]
    """
    from .steps import STEPS, Step

    sides = _sides(models, reml)
    chosen = _choose(test, sides, errors)
    rows = [_row(side) for side in sides]
    if chosen == "cv":
        return _held_out(sides, rows, k, repeats, seed)
    for i in range(1, len(sides)):
        small, large = sides[i - 1], sides[i]
        found = nesting(small.bundle, large.bundle)
        if not found.is_nested:
            continue
        step = Step(small, large, sides[-1], found, errors)
        if chosen == "boot":
            from .resampled import bootstrap_ratio

            tested = bootstrap_ratio(step, n_boot, seed, progress, cancel)
        else:
            tested = STEPS[chosen](step)
        rows[i] |= {"df": tested.df, "statistic": tested.statistic, "df2": tested.df2, "p_value": tested.p_value}
        rows[i]["p_mixture"] = _mixture(chosen, found, tested)
    return _table(rows, COLUMNS)


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pl.DataFrame:
    schema = {name: pl.String if name == "model" else pl.Float64 for name in columns}
    frame = pl.DataFrame(rows, schema=schema).with_columns(pl.col("n_params").cast(pl.Int64))
    return frame.with_columns(pl.selectors.float().fill_nan(None))


def _held_out(sides: list[Side], rows: list[dict[str, Any]], k: int, repeats: int, seed: int | None) -> pl.DataFrame:
    from .resampled import cross_validated, fold_errors, paired

    states = cross_validated(sides, k, repeats, seed)
    errors = [fold_errors(side, state) for side, state in zip(sides, states, strict=True)]
    for i, row in enumerate(rows):
        row |= {"cv_error": float(np.mean(errors[i])), "cv_difference": None, "cv_se": None}
        if i:
            row |= paired(errors[i - 1], errors[i], states[0].k, repeats)
    return _table(rows, (*COLUMNS[:7], "cv_error", "cv_difference", "cv_se", "df", "statistic", "p_value"))


def _mixture(test: str, found: Nesting, tested: Tested) -> float | None:
    if test != "lrt" or not found.same_fixed or found.added_effects is None:
        return None
    from .steps import mixture_tail

    return mixture_tail(tested.statistic, found.added_effects)


def _row(side: Side) -> dict[str, Any]:
    fit, n = side.fit, int(np.count_nonzero(side.fit.working_weights > 0))
    loglik = -0.5 * side.criterion
    deviance = side.criterion if side.spec.has_random_effects else fit.deviance
    return {
        "model": side.formula, "n_params": fit.n_params, "df_resid": float(fit.df_resid), "loglik": loglik,
        "deviance": deviance, "aic": -2 * loglik + 2 * fit.n_params, "bic": -2 * loglik + fit.n_params * np.log(n),
        **dict.fromkeys(("df", "statistic", "df2", "p_value", "p_mixture")),
    }  # fmt: skip


def _sides(models: tuple[Any, ...], reml: bool) -> list[Side]:
    if len(models) < 2:
        raise InferenceError(f"compare() of {len(models)} model(s)", "a comparison takes two or more",
                             "compare(small, large)")  # fmt: skip
    for i, m in enumerate(models):
        if not isinstance(m, model):
            raise InferenceError("compare()", f"argument {i + 1} is a {type(m).__name__}", "give fitted models")
        if m.state.fit is None:
            raise InferenceError("compare()", f"model {i + 1}, {m.formula!r}, has not been fitted", "m.fit() first")
    sides = [Side(m.formula, m.spec, m.bundle, m.fit_state, m.data) for m in models]
    _same_data(sides)
    if reml:
        _refuse_reml(sides)
    else:
        sides = [_by_ml(side) for side in sides]
    return sorted(sides, key=lambda side: side.fit.n_params)


def _same_data(sides: list[Side]) -> None:
    first = sides[0]
    for side in sides[1:]:
        if side.bundle.n != first.bundle.n:
            raise InferenceError(
                asked=f"compare({first.formula!r}, {side.formula!r})",
                found=f"{first.bundle.n:,} rows beside {side.bundle.n:,}: a column of one model lacks values",
                remedy="drop these rows from the data first, and fit both again",
            )
        if not np.allclose(side.bundle.y, first.bundle.y, rtol=1e-12, atol=0):
            raise InferenceError(f"compare({first.formula!r}, {side.formula!r})", "the responses differ",
                                 "models of one response, on one scale, compare")  # fmt: skip
        if (side.spec.family, side.spec.link) != (first.spec.family, first.spec.link):
            found = f"{first.spec.family} ({first.spec.link}) beside {side.spec.family} ({side.spec.link})"
            raise InferenceError(f"compare({first.formula!r}, {side.formula!r})", found, "fit both with one family")


def _refuse_reml(sides: list[Side]) -> None:
    if any(not side.spec.is_lmer or side.spec.method != "reml" for side in sides):
        raise InferenceError("compare(..., reml=True)", "not every model is a linear mixed model fitted by REML",
                             "leave reml out")  # fmt: skip
    for side in sides[1:]:
        if not nesting(sides[0].bundle, side.bundle).same_fixed:
            raise InferenceError("compare(..., reml=True)", "the fixed parts differ, and with them what REML looks at",
                                 "leave reml out: the models are refitted by ML")  # fmt: skip


def _by_ml(side: Side) -> Side:
    if not side.spec.is_lmer or side.spec.method != "reml":
        return side
    spec = replace(side.spec, method="ml")
    return replace(side, spec=spec, fit=fit_model(spec, side.bundle))


def _choose(test: str | None, sides: list[Side], errors: str) -> str:
    linear = all(side.spec.is_lm for side in sides)
    chosen = test or ("F" if linear else "lrt")
    if chosen not in TESTS:
        near = suggest(str(chosen), TESTS)
        raise InferenceError(f"compare(..., test={test!r})", f"tests are {', '.join(TESTS)}",
                             f"did you mean {near!r}?" if near else "test='lrt'")  # fmt: skip
    if errors != "iid" and chosen != "wald":
        raise InferenceError(f"compare(..., errors={errors!r})", f"{chosen} tests rest on the model's own likelihood",
                             f"test='wald', errors={errors!r}")  # fmt: skip
    if chosen == "cv" and len({side.spec.has_random_effects for side in sides}) > 1:
        raise InferenceError("compare(..., test='cv')", "a mixed model predicts new groups, the other new rows",
                             "test='lrt'")  # fmt: skip
    if chosen == "F" and not linear:
        raise InferenceError("compare(..., test='F')", "extra sums of squares are of linear models", "test='lrt'")
    if chosen == "score" and any(side.spec.has_random_effects or side.spec.is_lm for side in sides):
        raise InferenceError("compare(..., test='score')", "Rao's test is of generalized linear models here",
                             "test='lrt'")  # fmt: skip
    return chosen
