"""All folds of a model at once: counts of 0 and 1 through the batched kernels of a glm and of a one-factor lmer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from inference_core.backends import Backend, chosen_backend
from inference_core.families import with_params
from inference_core.fit import fitted_family
from inference_core.infer.resample.glm_operators import GlmKernel
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.lanes import Lanes
from inference_core.solvers.lmm.newton import FIT_TOL
from inference_core.solvers.lmm.one_factor import LaneFits, fit_many, on_boundary, scaled_start
from inference_core.solvers.lmm.structure import canonical, to_matrix
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec
from inference_core.states.inference import DRAW_OK

from .refits import Held

ELSEWHERE = 0.3  # a multiple of the identity, of columns with unit mean square: where a second search begins
SAME_OPTIMUM = 1e-6  # deviance units
NEAR_BOUNDARY = 1e-2  # on the diagonal of T, in those columns


@dataclass(frozen=True, slots=True, eq=False)
class GlmFolds:
    """Refits of one generalized linear model to the complements of folds."""

    variant: int
    spec: ModelSpec
    bundle: DataBundle
    kernel: GlmKernel
    fit: FitState

    @classmethod
    def of(cls, variant: int, spec: ModelSpec, bundle: DataBundle, fit: FitState) -> GlmFolds:
        """From the fit of all rows, where every lane starts."""
        return cls(variant, spec, bundle, GlmKernel.from_fit(spec, bundle, fit), fit)

    @property
    def chunk(self) -> int:
        """Folds of one call."""
        return self.kernel.chunk_rows

    def hold_out(self, repeat: int, folds: Array, wanted: Array) -> tuple[list[Held], list[int]]:
        """Predictions of the folds ``wanted``, and the folds whose training rows need a fit of their own."""
        counts = (folds != wanted[:, None]).astype(float)
        coef, status, _ = self.kernel.refit(counts)
        kept = self.kernel.kept
        out, again = [], []
        for j, fold in enumerate(wanted.tolist()):
            if status[j] != DRAW_OK:
                again.append(fold)
                continue
            rows = np.flatnonzero(folds == fold)
            b = coef[j, kept]
            eta = self.bundle.X[np.ix_(rows, kept)] @ b
            if self.bundle.offset is not None:
                eta = eta + self.bundle.offset[rows]
            out.append(
                Held(self.variant, repeat, fold, rows, eta, params=self.fit.family_params,
                     dispersion=self._dispersion(b, folds != fold))
            )  # fmt: skip
        return out, again

    def _dispersion(self, b: Array, train: Array) -> float:
        """Pearson chi-square of the training rows over their degrees of freedom, where it is not known."""
        family = fitted_family(self.spec, self.fit)
        if family.dispersion_known or self.variant:
            return 1.0
        weights = self.bundle.prior_weights
        eta = self.bundle.X[np.ix_(train, self.kernel.kept)] @ b
        if self.bundle.offset is not None:
            eta = eta + self.bundle.offset[train]
        own = None if weights is None else weights[train]
        size = np.count_nonzero(train) if own is None else np.count_nonzero(own > 0)
        return with_params(family, self.fit.family_params).dispersion_from(
            self.bundle.y[train], eta, own, float(size - b.size)
        )


@dataclass(frozen=True, slots=True, eq=False)
class LmerFolds:
    """Refits of one linear mixed model with a single grouping factor, whole groups left out."""

    variant: int
    bundle: DataBundle
    design: GroupDesign
    target: Array  # (n,)
    kept: Array
    start: Array  # (k, k) T of the fit of all rows
    reml: bool
    backend: Backend = field(default_factory=chosen_backend)

    @classmethod
    def of(cls, variant: int, spec: ModelSpec, bundle: DataBundle, fit: FitState) -> LmerFolds:
        """From the fit of all rows."""
        assert bundle.re_metadata is not None and fit.theta is not None
        (block,) = bundle.re_metadata.blocks
        kept = np.flatnonzero(np.isfinite(fit.coef))
        target = bundle.y if bundle.offset is None else bundle.y - bundle.offset
        with one_blas_thread():
            design = GroupDesign.of(
                np.ascontiguousarray(bundle.X[:, kept]), block.X_re, block.group_index, n_groups=block.n_levels,
                mask=block.mask, weights=bundle.prior_weights,
            )  # fmt: skip
        (T,) = bundle.re_metadata.t_matrices(fit.theta)
        return cls(variant, bundle, design, target, kept, T, spec.method != "ml")

    @property
    def chunk(self) -> int:
        """Folds of one call."""
        return max(1, (1 << 20) // (self.design.n_groups * self.design.k))

    def hold_out(self, repeat: int, folds: Array, wanted: Array) -> tuple[list[Held], list[int]]:
        """Population predictions of the folds ``wanted``, and the folds whose lanes did not settle."""
        fold_of_group = np.full(self.design.n_groups, -1)
        fold_of_group[self.design.group] = folds
        counts = (fold_of_group != wanted[:, None]).astype(float)
        with one_blas_thread():
            lanes = self.design.lanes_of_groups(self.target, counts, reml=self.reml)
            fits = fit_many(lanes, self.design, self.start, tol=FIT_TOL, backend=self.backend)
            sure = fits.converged & np.all(np.isfinite(fits.beta), axis=1) & self._is_the_only_optimum(lanes, fits)
        out, again = [], []
        for j, fold in enumerate(wanted.tolist()):
            if not sure[j]:
                again.append(fold)
                continue
            rows = np.flatnonzero(folds == fold)
            eta = self.bundle.X[np.ix_(rows, self.kept)] @ fits.beta[j]
            if self.bundle.offset is not None:
                eta = eta + self.bundle.offset[rows]
            out.append(Held(self.variant, repeat, fold, rows, eta))
        return out, again

    def _is_the_only_optimum(self, lanes: Lanes, fits: LaneFits) -> Array:
        """(b,) whether a search from elsewhere ends where this one did, inside the space where there are slopes.

        What is not sure of is fitted with all the starts of a single fit.
        """
        inside = to_matrix(fits.inside.theta, self.design.entries, self.design.k)
        elsewhere = self.design.t_outside(scaled_start(lanes, ELSEWHERE)[None])[0]
        other = fit_many(lanes, self.design, elsewhere, tol=FIT_TOL, backend=self.backend)
        same = other.converged & (np.abs(other.deviance - fits.deviance) < SAME_OPTIMUM)
        if self.design.k == 1:
            return same
        return same & ~np.array([on_boundary(canonical(T, self.design.mask), NEAR_BOUNDARY) for T in inside])
