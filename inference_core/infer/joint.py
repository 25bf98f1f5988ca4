"""Joint tests: whether a whole term has any effect, by F or chi-square."""

from __future__ import annotations

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.formula.names import suggest
from inference_core.marginal.predictors import kept_rows
from inference_core.marginal.terms import Hypothesis, type_one, type_three, type_two
from inference_core.states import Array, DataBundle, FitState, JointTestState, MeeState, ModelSpec

from .asymptotic import resolve_error_type
from .denominators import RowReference, row_reference
from .distributions_f import f_tail
from .sandwich import KENWARD_ROGER

SS_TYPES = ("III", "II", "I")


def joint_tests(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None,
    *,
    errors: str = "iid",
    ss_type: str = "III",
    cluster: str | Array | None = None,
) -> JointTestState:
    """One test per term of the fixed part.

    F on residual degrees of freedom for lm and estimated dispersions, on Satterthwaite's or Kenward and Roger's for
    linear mixed models; chi-square where the family fixes the dispersion. Wald tests: nothing is refitted.

    Parameters
    ----------
    spec, bundle, fit, data
        A fitted model and its original frame.
    errors, cluster
        As in ``asymptotic.compute_params_asymptotic``.
    ss_type : {"III", "II", "I"}
        What each term is adjusted for; see ``marginal.terms``.

    Raises
    ------
    InferenceError
        No terms, another type, errors that this model cannot have.
    """
    if ss_type not in SS_TYPES:
        near = suggest(str(ss_type), SS_TYPES)
        raise InferenceError(f"ss_type={ss_type!r}", f"types are {', '.join(SS_TYPES)}",
                             f"ss_type={near or 'III'!r}")  # fmt: skip
    if data is None:
        raise InferenceError("joint tests of the terms", "no data: the means of the numbers are needed",
                             "give the frame that the model was made from")  # fmt: skip
    if not bundle.source_terms:
        raise InferenceError("joint tests of the terms", "the model has no terms beside its intercept",
                             "m.params has the intercept's test")  # fmt: skip
    reference = row_reference(spec, bundle, fit, resolve_error_type(errors, spec.family), data, cluster)
    return _state(spec, bundle, fit, reference, _hypotheses(bundle, data, reference, ss_type), ss_type)


def joint_contrasts(
    mee: MeeState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame,
    *,
    errors: str = "iid",
    cluster: str | Array | None = None,
) -> JointTestState:
    """One test per family of explored rows: that all of them are 0 (means: 0 on the scale of the test).

    Raises
    ------
    InferenceError
        Rows that are not linear in the coefficients.
    """
    if mee.L is None:
        found = "these effects are curved functions of the coefficients, and a Wald test of them depends on the scale"
        raise InferenceError(f"a joint test of explore({mee.explore_formula!r})", found, "effect_scale='link'")
    reference = row_reference(spec, bundle, fit, resolve_error_type(errors, spec.family), data, cluster)
    labels = mee.grid.select(list(mee.by)).rows() if mee.by else [()] * len(mee.estimate)
    hypotheses = []
    for family in mee.families:
        rows = family.rows[mee.estimable[family.rows]]
        name = ", ".join(f"{column} = {value}" for column, value in zip(mee.by, labels[family.rows[0]], strict=True))
        hypotheses.append(Hypothesis(f"{mee.explore_formula.partition('~')[0].strip()}{', ' + name if name else ''}",
                                     np.nan_to_num(np.asarray(mee.L)[rows])))  # fmt: skip
    return _state(spec, bundle, fit, reference, hypotheses, "")


def _hypotheses(bundle: DataBundle, data: pl.DataFrame, reference: RowReference, ss_type: str) -> list[Hypothesis]:
    if ss_type == "III":
        return type_three(bundle, kept_rows(bundle, data))
    if ss_type == "I":
        return type_one(bundle)
    kept = bundle.rank_info.kept
    return type_two(bundle, np.linalg.inv(reference.vcov[np.ix_(kept, kept)]))


def _state(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    reference: RowReference,
    hypotheses: list[Hypothesis],
    ss_type: str,
) -> JointTestState:
    chi_square = bool(get_family(spec.family, spec.link).dispersion_known) and reference.is_normal
    coef = np.nan_to_num(fit.coef)
    df1, df2, statistic = (np.full(len(hypotheses), np.nan) for _ in range(3))
    for i, hypothesis in enumerate(hypotheses):
        L = _independent(hypothesis.L)
        if not len(L):
            continue
        joint = reference.joint(L)
        value = L @ coef
        quadratic = reference.quadratic(L, value)
        df1[i], df2[i] = joint.df1, np.inf if chi_square else joint.df2
        statistic[i] = quadratic if chi_square else joint.scale * quadratic / joint.df1
    p = f_tail(statistic / df1 if chi_square else statistic, df1, df2)
    notes = [h.note for h in hypotheses if h.note]
    return JointTestState(
        terms=tuple(h.term for h in hypotheses), df1=df1, df2=df2, statistic=statistic, p_value=p,
        test_type="chi2" if chi_square else "F", ss_type=ss_type, ddf=_denominator(spec, reference, chi_square),
        errors=reference.errors, notes=tuple(dict.fromkeys([*reference.notes, *notes])),
    )  # fmt: skip


def _denominator(spec: ModelSpec, reference: RowReference, chi_square: bool) -> str:
    if chi_square or reference.is_normal:
        return "none"
    if reference.errors == KENWARD_ROGER:
        return "kenward-roger"
    return "satterthwaite" if spec.is_lmer or reference.errors not in ("iid", "HC0", "HC1", "HC2", "HC3", "HC4") else (
        "residual"
    )  # fmt: skip


def _independent(L: Array) -> Array:
    """A basis of the rows' space."""
    _, singular, directions = np.linalg.svd(L, full_matrices=False)
    return directions[singular > 1e-9 * max(singular.max(initial=0.0), 1e-300)]
