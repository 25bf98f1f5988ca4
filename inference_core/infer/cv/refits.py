"""Held-out predictions by refitting: the path that every model has, and against which the fast ones are tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.design.folds import FoldDesign
from inference_core.errors import DataError, FitError, FormulaError
from inference_core.fit import fit_model, fitted_family
from inference_core.fit.predict import linear_predictor
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState

from .ablation import Variant
from .closed import estimable_rows

NOT_CONVERGED = "the refit did not converge"
NOT_ESTIMABLE = "the training rows do not determine their prediction"
SEPARATED = "separated"


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Linear predictors of held-out rows by one model, as one training fold gives them."""

    variant: int
    repeat: int
    fold: int
    rows: Array  # (m,) row positions
    eta: Array  # (m,) NaN where there is no prediction
    failure: str = ""  # why there is none
    params: tuple[float, ...] = ()  # the family's own, as the training rows have them
    dispersion: float = float("nan")
    remark: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Refitter:
    """Refits of one model to training rows; picklable, so that other processes can do it."""

    folds: FoldDesign
    model: Variant
    variant: int  # its number
    start: FitState | None = None  # the fit of all rows
    conditional: bool = False
    n_agq: int | None = None

    def hold_out(self, repeat: int, fold: int, test: Array) -> Held:
        """Predict the rows where ``test`` (n,) bool is true from the others."""
        held = np.flatnonzero(test)
        nothing = np.full(held.size, np.nan)
        try:
            return self._hold_out(repeat, fold, test, held)
        except (DataError, FitError, FormulaError) as error:
            return Held(self.variant, repeat, fold, held, nothing, failure=error.found)

    def _hold_out(self, repeat: int, fold: int, test: Array, held: Array) -> Held:
        model, full, variant = self.model, self.folds.bundle, self.variant
        design = model.design(self.folds, ~test)
        rows = np.flatnonzero(~test)
        bundle = model.bundle(full, design, rows)
        offset = None if design.offset is None else design.offset[held]
        X = np.ascontiguousarray(design.X[held])
        with one_blas_thread():
            known = estimable_rows(bundle.X, X, bundle.prior_weights)
            if not X.shape[1] and not model.spec.has_random_effects:
                return Held(variant, repeat, fold, held, np.zeros(held.size) if offset is None else offset)
            fit = self.fit(bundle)
            eta = linear_predictor(fit, X, offset)
            if self.conditional and bundle.re_metadata is not None:
                eta = eta + self._random_part(model, design.X_re, rows, held, fit)
        if not fit.converged and not fit.is_separated:
            return Held(variant, repeat, fold, held, np.full(held.size, np.nan), failure=NOT_CONVERGED)
        failure = "" if known.all() else NOT_ESTIMABLE
        return Held(
            variant, repeat, fold, held, np.where(known, eta, np.nan), failure=failure,
            params=tuple(fitted_family(model.spec, fit).params), dispersion=float(fit.dispersion),
            remark=SEPARATED if fit.is_separated else "",
        )  # fmt: skip

    def fit(self, bundle: DataBundle) -> FitState:
        """Fit the model to some rows, warm where that is possible."""
        spec, start = self.model.spec, self.start
        if not spec.has_random_effects:
            return fit_model(spec, bundle)
        assert bundle.re_metadata is not None
        if spec.is_lmer:
            from inference_core.fit.lmer import fit_lmer

            T = None
            if start is not None and start.theta is not None:
                T = bundle.re_metadata.t_matrices(start.theta)
            return fit_lmer(spec, bundle, start=T)
        from inference_core.fit.glmer import fit_glmer

        n_agq = 1 if self.n_agq is None else self.n_agq
        one = len(bundle.re_metadata.blocks) == 1 and bundle.re_metadata.blocks[0].k == 1
        usable = start is not None and np.array_equal(np.flatnonzero(np.isfinite(start.coef)), bundle.rank_info.kept)
        return fit_glmer(spec, bundle, n_agq=n_agq if one or n_agq < 2 else 1, start=start if usable else None)

    def _random_part(
        self, model: Variant, X_re: tuple[Array, ...], train: Array, held: Array, fit: FitState
    ) -> Array:
        """(m,) what the known groups add; a group without training rows adds nothing."""
        re = self.folds.bundle.re_metadata
        assert re is not None and fit.b is not None
        total, at = np.zeros(held.size), 0
        for block, Z, keep in zip(re.blocks, X_re, model.effects, strict=True):
            if not keep.any():
                continue
            present = np.unique(block.group_index[train])
            k = int(keep.sum())
            effects = np.zeros((block.n_levels, k))
            effects[present] = np.asarray(fit.b)[at : at + present.size * k].reshape(-1, k)
            at += present.size * k
            total += np.einsum("nk,nk->n", effects[block.group_index[held]], Z[held])
        return total


def fit_of_all_rows(refitter: Refitter) -> FitState | None:
    """The fit where refits start; None where there is none."""
    model, folds = refitter.model, refitter.folds
    try:
        bundle = model.bundle(folds.bundle, model.design(folds, None))
        return refitter.fit(bundle) if bundle.p or model.spec.has_random_effects else None
    except (DataError, FitError, FormulaError):
        return None
