"""A fitted mixed model's rows, columns and blocks as its kernels want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference_core.errors import InferenceError
from inference_core.solvers.lmm.crossed import CrossedKernel
from inference_core.solvers.lmm.crossed_design import CrossedDesign
from inference_core.solvers.lmm.dense import MAX_Q, DenseDesign, Term
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo


@dataclass(frozen=True, slots=True, eq=False)
class MixedProblem:
    """Rows of positive weight and estimable columns of a Gaussian mixed model: n rows, r columns."""

    re: REInfo
    X: Array  # (n, r)
    y: Array  # (n,) the offset taken off
    weights: Array | None  # (n,) prior weights
    kept: Array  # (r,) columns of the bundle
    rows: Array | None  # (n,) rows of the bundle, None for all
    p: int  # columns of the bundle
    names: tuple[str, ...]  # (r,) of the columns

    @classmethod
    def of(cls, spec: ModelSpec, bundle: DataBundle, fit: FitState, asked: str) -> MixedProblem:
        """From a fitted model.

        Raises
        ------
        InferenceError
            The model has no random effects, or is not Gaussian with the identity link.
        """
        if bundle.re_metadata is None or fit.theta is None:
            raise InferenceError(asked, f"{spec.formula!r} has no random effects", "add a term, as + (1 | group)")
        if spec.family != "gaussian" or spec.link != "identity":
            raise InferenceError(
                asked,
                f"a mixed model of family {spec.family} with the {spec.link} link",
                "use the normal reference, or how='boot'",
            )
        weights = bundle.prior_weights
        rows = None if weights is None or np.all(weights > 0) else np.flatnonzero(weights > 0)
        kept = np.flatnonzero(np.isfinite(fit.coef))
        y = bundle.y if bundle.offset is None else bundle.y - bundle.offset
        X = np.ascontiguousarray(bundle.X[:, kept])
        if rows is not None:
            assert weights is not None
            X, y, weights = X[rows], y[rows], weights[rows]
        names = tuple(bundle.X_names[j] for j in kept)
        return cls(bundle.re_metadata, X, y, weights, kept, rows, bundle.p, names)

    @property
    def n(self) -> int:
        """Rows."""
        return self.y.shape[0]

    @property
    def terms(self) -> tuple[Term, ...]:
        """The blocks over the rows that count."""
        return tuple(
            Term(self._rows(block.X_re), self._rows(block.group_index), block.n_levels, block.mask)
            for block in self.re.blocks
        )

    @property
    def is_one_factor(self) -> bool:
        """Whether there is a single grouping factor."""
        return len(self.re.blocks) == 1

    def group_design(self) -> GroupDesign:
        """The design of one grouping factor."""
        (term,) = self.terms
        return GroupDesign.of(
            self.X, term.Z, term.group, n_groups=term.n_groups, mask=term.mask, weights=self.weights
        )

    def dense_design(self, asked: str, limit: int = MAX_Q) -> DenseDesign:
        """The design of several factors.

        Raises
        ------
        InferenceError
            More than ``limit`` random effects.
        """
        if self.re.q > limit:
            raise InferenceError(
                asked,
                f"{self.re.q:,} random effects of several grouping factors; up to {limit:,} are taken here",
                "with so many groups the normal reference is close; or use how='boot'",
            )
        return DenseDesign.of(self.X, self.terms, self.weights)

    def crossed_kernel(self) -> CrossedKernel:
        """What several factors with many levels need."""
        return CrossedKernel(CrossedDesign.of(self.X, self.terms, self.weights))

    def relative_factors(self, theta: Array) -> Sequence[Array]:
        """T (k, k) of each block, in the units of the data."""
        return self.re.t_matrices(theta)

    def contrast_rows(self, L: Array, asked: str) -> Array:
        """(m, r) of contrast rows (m, p) over all columns of the bundle, the dropped ones left out.

        Raises
        ------
        InferenceError
            Rows of another width.
        """
        L = np.atleast_2d(np.asarray(L, dtype=float))
        if L.shape[1] != self.p:
            raise InferenceError(
                asked, f"contrast rows of {L.shape[1]} weights for {self.p} coefficients", "one weight a coefficient"
            )
        return L[:, self.kept]

    def _rows(self, values: Array) -> Array:
        return values if self.rows is None else values[self.rows]
