"""For any rows of weights over the coefficients: which covariance ``errors`` names, and which degrees of freedom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from inference_core.states import Array, DataBundle, FitState, JointDf, ModelSpec

from .asymptotic import REML_NOTE, asymptotic_route
from .sandwich import CLUSTER_KINDS, KENWARD_ROGER, check_error_type
from .welch import welch_joint, welch_row_df


@dataclass(frozen=True, slots=True, eq=False)
class RowReference:
    """A covariance of the coefficients and the t reference of rows; inf is the normal."""

    vcov: Array  # (p, p), 0 where the design dropped a column
    df: Callable[[Array], Array]  # rows (m, p) -> (m,)
    errors: str
    notes: tuple[str, ...] = ()
    many: Callable[[Array], JointDf] | None = None  # rows together; None: the df of a single row serves all

    @property
    def is_normal(self) -> bool:
        """Whether rows are referred to the normal."""
        return self.many is None and bool(np.all(np.isinf(self.df(np.eye(self.vcov.shape[0])))))

    def joint(self, L: Array) -> JointDf:
        """Numerator and denominator of the F of all rows of L (m, p), independent ones, together."""
        return JointDf(len(L), float(self.df(L[:1])[0])) if self.many is None else self.many(L)

    def quadratic(self, L: Array, value: Array) -> float:
        """``value' (L V L')^-1 value`` through a root of V, which costs half the digits that the product would."""
        spread = np.sqrt(np.maximum(np.diag(self.vcov), 0.0))
        scale = np.where(spread > 0, spread, 1.0)
        w, U = np.linalg.eigh(self.vcov / np.outer(scale, scale))
        root = scale[:, None] * U * np.sqrt(np.maximum(w, 0.0))
        triangle = np.asarray(np.linalg.qr((L @ root).T, mode="r"))
        solved = np.linalg.solve(triangle.T, value)
        return float(solved @ solved)

    def se(self, L: Array) -> Array:
        """(m,) standard errors of ``L b``."""
        return np.sqrt(np.maximum(np.einsum("mp,pq,mq->m", L, self.vcov, L), 0.0))


def row_reference(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    errors: str = "iid",
    data: pl.DataFrame | None = None,
    cluster: str | Array | None = None,
) -> RowReference:
    """Covariance and degrees of freedom for rows of weights, by the name of the errors.

    Parameters
    ----------
    spec, bundle, fit
        A fitted model.
    errors : str
        Canonical, see ``asymptotic.resolve_error_type``.
    data, cluster
        As in ``asymptotic.compute_params_asymptotic``.

    Raises
    ------
    InferenceError
        Errors that this model cannot have.
    """
    if errors == KENWARD_ROGER:
        return _kenward_roger(spec, bundle, fit, cluster)
    if errors in CLUSTER_KINDS and (not spec.has_random_effects or spec.is_lmer):
        return _clusters(spec, bundle, fit, errors, data, cluster)
    vcov, df, notes = asymptotic_route(spec, bundle, fit, errors, data, cluster)
    single, many = _df_of_rows(spec, bundle, fit, errors, data, cluster, df)
    return RowReference(np.nan_to_num(vcov), single, errors, notes, many)


def _kenward_roger(spec: ModelSpec, bundle: DataBundle, fit: FitState, cluster: str | Array | None) -> RowReference:
    """Without the degrees of freedom of each coefficient, which nobody asked for."""
    check_error_type(spec, KENWARD_ROGER, cluster)
    from inference_core.fit.mixed_df import mixed_df

    found = mixed_df(spec, bundle, fit)
    notes = () if spec.method == "reml" else (REML_NOTE,)
    vcov = np.nan_to_num(found.vcov_kenward_roger)
    return RowReference(vcov, found.kenward_roger, KENWARD_ROGER, notes, found.kenward_roger_joint)


def _clusters(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    errors: str,
    data: pl.DataFrame | None,
    cluster: str | Array | None,
) -> RowReference:
    """One sandwich for the covariance and for the denominators of whatever rows come."""
    check_error_type(spec, errors, cluster)
    from .cluster_robust import cluster_robust

    robust = cluster_robust(spec, bundle, fit, errors, cluster, data)
    return RowReference(np.nan_to_num(robust.vcov), robust.df, errors, (), robust.joint)


_Single = Callable[[Array], Array]
_Many = Callable[[Array], JointDf]


def _df_of_rows(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    errors: str,
    data: pl.DataFrame | None,
    cluster: str | Array | None,
    df: Array | float,
) -> tuple[_Single, _Many | None]:
    if errors == "unequal_var":
        return lambda L: welch_row_df(spec, bundle, data, L), lambda L: welch_joint(spec, bundle, data, L)
    if spec.is_lmer and np.all(np.isinf(df[np.isfinite(fit.coef)] if isinstance(df, np.ndarray) else df)):
        return (lambda L: np.full(len(L), np.inf)), None  # a model too large for degrees of freedom has the normal
    if spec.is_lmer:
        from inference_core.fit.mixed_df import mixed_df

        found = mixed_df(spec, bundle, fit)
        return found.satterthwaite, found.satterthwaite_joint
    known = np.ravel(np.asarray(df, float))  # NaN where the design dropped a column
    alike = float(known[~np.isnan(known)][0])
    return (lambda L: np.full(len(L), alike)), None
