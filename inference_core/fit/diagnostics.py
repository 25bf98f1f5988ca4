"""How well a model fits, counted as R counts it: one row for the model, one for every row, one for every
term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import fdtrc

from inference_core.errors import InferenceError
from inference_core.solvers.lstsq import inverse_gram, lstsq
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .common import fitted_family, has_intercept
from .varcomp import variance_shares

if TYPE_CHECKING:
    import polars as pl

_FIXED = 1.0 - 10.0 * np.finfo(float).eps  # R's lm.influence: leverage above it is 1, the row fixes its own value


# the model ------------------------------------------------------------------------------------------------
def model_summary(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> dict[str, Any]:
    """Numbers about the whole model; None where the kind of model has no such number.

    ``nobs`` counts rows with positive weight. AIC = 2 k - 2 logLik and BIC = k log nobs - 2 logLik, k the
    number R counts (sigma included for lm). ``r2`` and F are ``summary.lm``'s: about the mean with an
    intercept, about 0 without, fitted values with the offset. For a glm ``r2_deviance`` is 1 - deviance /
    null deviance.
    """
    nobs = n_used(bundle)
    shared = {
        "nobs": nobs, "df_model": fit.rank - int(has_intercept(bundle)), "df_resid": fit.df_resid,
        "sigma": fit.sigma,
        "loglik": fit.loglik, "n_params": fit.n_params, "aic": 2.0 * fit.n_params - 2.0 * fit.loglik,
        "bic": float(np.log(nobs)) * fit.n_params - 2.0 * fit.loglik,
    }  # fmt: skip
    if spec.has_random_effects:
        return shared | _mixed_summary(spec, bundle, fit)
    if spec.is_lm:
        return shared | {"rss": fit.deviance} | _r_squared(bundle, fit)
    return shared | {
        "dispersion": fit.dispersion, "deviance": fit.deviance, "null_deviance": fit.null_deviance,
        "df_null": fit.df_null, "pearson_chi2": pearson_chi2(spec, bundle, fit),
        "r2_deviance": 1.0 - fit.deviance / fit.null_deviance if 0 < fit.null_deviance < np.inf else None,
        "converged": fit.converged, "n_iter": fit.n_iter,
    }  # fmt: skip


def _mixed_summary(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> dict[str, Any]:
    """``criterion`` is the REML criterion or -2 logLik, as lme4; R2 and ICC are Nakagawa's, null where undefined."""
    shares = variance_shares(bundle, fit, spec)
    found = {"r2_marginal": shares.r2_marginal, "r2_conditional": shares.r2_conditional, "icc": shares.icc}
    return {
        "method": spec.method, "criterion": fit.criterion, "is_singular": fit.is_singular,
        **{name: value if np.isfinite(value) else None for name, value in found.items()},
        "converged": fit.converged, "n_iter": fit.n_iter,
    }  # fmt: skip


def _r_squared(bundle: DataBundle, fit: FitState) -> dict[str, float | None]:
    w, f = bundle.weights, fit.fitted
    intercept = has_intercept(bundle)
    total = bundle.n if w is None else float(np.sum(w))
    if intercept:
        f = f - (float(np.sum(f)) if w is None else float(w @ f)) / total
    mss = float(f @ f if w is None else w @ np.square(f))
    df1 = fit.rank - int(intercept)
    names = ("r2", "adj_r2", "f_statistic", "f_df1", "f_df2", "f_p_value")
    if df1 == 0:  # a model of the mean alone explains nothing and has no F
        return dict(zip(names, (0.0, 0.0, None, None, None, None), strict=True))
    r2 = mss / (mss + fit.deviance)
    adjusted = 1.0 - (1.0 - r2) * ((fit.df_resid + df1) / fit.df_resid)
    f_value = mss / df1 / fit.dispersion if fit.dispersion > 0 else float("inf")
    p = float(fdtrc(df1, fit.df_resid, f_value))
    return dict(zip(names, (r2, adjusted, f_value, float(df1), fit.df_resid, p), strict=True))


def n_used(bundle: DataBundle) -> int:
    """Rows with positive weight."""
    w = bundle.prior_weights
    return bundle.n if w is None else int(np.count_nonzero(w > 0))


def pearson_chi2(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> float:
    """Sum of squared Pearson residuals w (y - mu)^2 / V(mu)."""
    return float(np.sum(np.square(pearson_residuals(spec, bundle, fit))))


def model_table(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> pl.DataFrame:
    """:func:`model_summary` as a frame of one row."""
    import polars as pl

    return pl.DataFrame([model_summary(spec, bundle, fit)])


# the rows --------------------------------------------------------------------------------------------------
def pearson_residuals(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Array:
    """(n,) (y - mu) sqrt(w / V(mu))."""
    variance = fitted_family(spec, fit).variance(fit.fitted)
    w = bundle.prior_weights
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(fit.residuals * np.sqrt((1.0 if w is None else w) / variance))


def deviance_residuals(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Array:
    """(n,) sign(y - mu) sqrt(w d(y, mu)); for an lm the residual times sqrt(w)."""
    rows = fitted_family(spec, fit).deviance_rows(fit.eta, np.asarray(bundle.y))
    w = bundle.prior_weights
    return np.sign(fit.residuals) * np.sqrt(np.maximum(rows if w is None else rows * w, 0.0))


def influence(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> dict[str, Array]:
    """What every row does to the fit, as R's ``influence.measures``: columns of length n.

    ``fitted, resid`` (response scale), ``deviance_resid``, ``hat`` (leverage), ``std_resid`` and
    ``student_resid`` (scaled by sigma, and by sigma without the row), ``cooks_d``, ``dffits``. For a glm as
    ``rstandard.glm``, ``rstudent.glm`` (the likelihood residual) and ``cooks.distance.glm``. NaN where a row
    has weight 0, or leverage 1: it fixes its own value and its residual says nothing.

    Raises
    ------
    InferenceError
        For a mixed model: leaving out a row moves the random effects too, and this is not built.
    """
    if spec.has_random_effects:
        raise InferenceError(
            "the influence of single rows", "a mixed model; this is built for lm and glm",
            "look at m.residuals for rows and m.varying_offsets for groups that stand out",
        )  # fmt: skip
    h = np.where(fit.leverage > _FIXED, 1.0, fit.leverage)
    w = bundle.prior_weights
    used = np.ones(bundle.n, dtype=bool) if w is None else w > 0
    free = used & (h < 1.0)
    deviance, pearson = deviance_residuals(spec, bundle, fit), pearson_residuals(spec, bundle, fit)
    with np.errstate(divide="ignore", invalid="ignore"):
        one_less = np.where(free, 1.0 - h, np.nan)
        left = np.sum(np.square(deviance)) - np.square(deviance) / one_less
        sigma_without = (
            np.sqrt(np.maximum(left, 0.0) / (fit.df_resid - 1.0)) if fit.df_resid > 1 else np.full(h.shape, np.nan)
        )
        if spec.is_lm:
            student = deviance / (sigma_without * np.sqrt(one_less))
        else:
            student = np.sign(deviance) * np.sqrt(np.square(deviance) + h * np.square(pearson) / one_less)
            if not fitted_family(spec, fit).dispersion_known:
                student = student / sigma_without
        return {
            "fitted": np.asarray(fit.fitted), "resid": np.asarray(fit.residuals),
            "deviance_resid": deviance, "hat": h,
            "std_resid": deviance / (fit.sigma * np.sqrt(one_less)), "student_resid": student,
            "cooks_d": np.square(pearson / one_less) * h / (fit.dispersion * fit.rank),
            "dffits": deviance * np.sqrt(h) / (sigma_without * one_less),
        }  # fmt: skip


def influence_table(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> pl.DataFrame:
    """:func:`influence` as a frame: one row per row used, ``row`` its position in the data given, null for
    NaN.
    """
    import polars as pl

    rows = np.flatnonzero(bundle.valid_mask)
    columns = influence(spec, bundle, fit)
    return pl.DataFrame({"row": rows} | columns).with_columns(pl.col(*columns).fill_nan(None))


def residual_table(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> pl.DataFrame:
    """Fitted values and residuals: ``row, fitted, resid, pearson_resid, deviance_resid``, one row per row used.

    ``fitted`` and ``resid`` are on the response scale. Of a mixed model they are conditional on the random effects, and
    ``fitted_marginal, resid_marginal`` have the random effects at 0: the prediction for a typical group, which on a
    curved link is not the mean over groups.
    """
    import polars as pl

    columns = {
        "fitted": np.asarray(fit.fitted), "resid": np.asarray(fit.residuals),
        "pearson_resid": pearson_residuals(spec, bundle, fit), "deviance_resid": deviance_residuals(spec, bundle, fit),
    }  # fmt: skip
    if fit.fitted_marginal is not None:
        columns |= {"fitted_marginal": fit.fitted_marginal, "resid_marginal": bundle.y - fit.fitted_marginal}
    return pl.DataFrame({"row": np.flatnonzero(bundle.valid_mask)} | columns)


def loo_coef(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Array:
    """(n, p) coefficients of an lm without each row in turn, in closed form: b - (X'WX)^-1 x_i w_i e_i / (1 -
    h_i).

    NaN rows where a row fixes its own value; NaN columns where the design drops one.
    """
    _lm_only(spec, "leave-one-out coefficients in closed form")
    kept = np.flatnonzero(~np.isnan(fit.coef))
    X = bundle.X[:, kept]
    bread = fit.vcov[np.ix_(kept, kept)] / fit.dispersion if fit.dispersion > 0 else _bread(X, fit)
    out = np.full((bundle.n, bundle.p), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = fit.working_weights * fit.residuals / np.where(fit.leverage > _FIXED, np.nan, 1.0 - fit.leverage)
    out[:, kept] = fit.coef[kept] - scaled[:, None] * (X @ bread)
    return out


def press(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> float:
    """Sum of squared leave-one-out residuals e_i / (1 - h_i) of an lm, in squared units of y."""
    _lm_only(spec, "PRESS in closed form")
    with np.errstate(divide="ignore", invalid="ignore"):
        held_out = fit.residuals / np.where(fit.leverage > _FIXED, np.nan, 1.0 - fit.leverage)
    used = slice(None) if bundle.weights is None else bundle.weights > 0
    return float(np.sum(np.square(held_out[used])))


def _bread(X: Array, fit: FitState) -> Array:
    return inverse_gram(lstsq(X, np.zeros(X.shape[0]), fit.working_weights, leverage=False).r_factor)


def _lm_only(spec: ModelSpec, asked: str) -> None:
    if not spec.is_lm:
        raise InferenceError(asked, f"the model is a {spec.family} with link {spec.link}", "how='boot' refits a glm")


# the terms -------------------------------------------------------------------------------------------------
def vif(bundle: DataBundle, fit: FitState) -> dict[str, list[Any]]:
    """Variance inflation by source term: ``term, df, gvif, gvif_adjusted`` = gvif^(1 / (2 df)).

    ``gvif = det R11 det R22 / det R``, R the correlation matrix of the estimates without the intercept; for a
    term of one column it is the ordinary VIF. Source: Fox & Monette (1992), JASA 87, 178-183; as
    ``car::vif``.

    Raises
    ------
    InferenceError
        Fewer than two terms.
    """
    term_of = np.asarray(bundle.term_of_column)
    columns = np.flatnonzero((term_of >= 0) & ~np.isnan(fit.coef))
    terms = list(dict.fromkeys(term_of[columns].tolist()))
    if len(terms) < 2:
        raise InferenceError(
            "variance inflation factors",
            "the model has fewer than two terms to be correlated",
            "add a term, or look at the correlation of two columns directly",
        )
    V = fit.vcov[np.ix_(columns, columns)]
    sd = np.sqrt(np.diagonal(V))
    R = V / np.outer(sd, sd)
    whole = np.linalg.slogdet(R)[1]
    out: dict[str, list[Any]] = {"term": [], "df": [], "gvif": [], "gvif_adjusted": []}
    for term in terms:
        mine = term_of[columns] == term
        log_gvif = np.linalg.slogdet(R[np.ix_(mine, mine)])[1] + np.linalg.slogdet(R[np.ix_(~mine, ~mine)])[1] - whole
        df = int(np.count_nonzero(mine))
        for key, value in zip(
            out,
            (bundle.source_terms[term], df, float(np.exp(log_gvif)), float(np.exp(log_gvif / (2 * df)))),
            strict=True,
        ):
            out[key].append(value)
    return out


def vif_table(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> pl.DataFrame:
    """:func:`vif` as a frame."""
    import polars as pl

    return pl.DataFrame(vif(bundle, fit))
