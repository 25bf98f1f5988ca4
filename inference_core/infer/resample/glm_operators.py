"""Maximum likelihood for every resample at once: Fisher scoring on all lanes that have not converged.

A lane is one resample, a vector of counts c. Its information is ``sum_i c_i w_i q_i q_i'``, so all lanes together are
one product ``(counts * w) @ products``, and one factorisation across the batch. Every lane starts at the full fit,
where weights and scores are the same for all: the first step needs no likelihood at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.backends import chosen_backend
from inference_core.errors import DataError
from inference_core.families import Family, get_family, with_params
from inference_core.solvers import irls as single
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import DRAW_OK
from inference_core.states.spec import ModelSpec

from . import planes
from .common import refit_indices
from .glm_lanes import CANONICAL, TOL_FISHER, TOL_NEWTON, Lanes
from .rank import chunk_rows, estimable_columns, widen
from .robust import check_errors
from .steps import clean, glm_variances

if TYPE_CHECKING:
    from .glm_jax import JaxGlm

__all__ = ["GlmKernel", "compute_batched_glm_bootstrap"]

MAX_ITER = 40


# Where every draw searches for a size or shape of its own: up to 10 ms each.
CHUNK_OF_ESTIMATED = 32


@dataclass(frozen=True, slots=True, eq=False)
class GlmKernel(Frozen):
    """Refits one generalized linear model on any batch of resamples given as counts; a pure function of its counts.

    n rows, p design columns of which r are estimable. The basis is X R^-1 with R the Cholesky factor of the full
    fit's information, which is therefore the identity.
    """

    family: Family
    n: int
    p: int
    kept: Array  # (r,)
    design: Array  # (n, r) estimable columns of X
    y: Array  # (n,)
    weights: Array | None  # (n,) prior weights, trials included
    offset: Array | None  # (n,)
    coef: Array  # (r,) the full fit
    r_inverse: Array  # (r, r)
    basis: Array  # (r, n)
    products: planes.Products  # of basis rows
    at_fit: Array  # (n,) linear predictor of the full fit
    working: Array  # (n,) weights at the full fit, where every refit starts
    score: Array  # (n,) and scores
    first: Array | None  # (q + r, n) what the first step multiplies the counts with, while the table is small
    dispersion: float  # of the full fit: the unit of squared steps
    reach: float  # length of the longest basis row
    want_se: bool = False
    errors: str = "iid"
    tol: float | None = None
    max_iter: int = MAX_ITER
    jax: JaxGlm | None = None  # what runs the steps of lanes that behave instead of NumPy

    @classmethod
    def from_arrays(
        cls,
        X: Array,
        y: Array,
        family: Family,
        coef: Array,
        *,
        weights: Array | None = None,
        offset: Array | None = None,
        kept: Array | None = None,
        want_se: bool = False,
        errors: str = "iid",
        tol: float | None = None,
        max_iter: int = MAX_ITER,
    ) -> GlmKernel:
        """Prepare refits from the full fit's ``coef`` (p,) and ``family`` (its parameters included)."""
        check_errors(errors, "generalized linear model")
        kept = np.flatnonzero(~np.isnan(coef)) if kept is None else np.asarray(kept)
        design, beta = np.ascontiguousarray(X[:, kept], dtype=float), np.asarray(coef, float)[kept]
        y = np.asarray(y, float)
        eta = design @ beta if offset is None else design @ beta + offset
        score, working = clean(*family.score_weight(eta, y))
        if weights is not None:
            score, working = score * weights, working * weights
        # Full information: so small a weight that a column loses its length must not make R singular.
        scale = np.sqrt(np.maximum(working, 1e-12 * working.max(initial=0.0)))
        r = np.linalg.qr(design * scale[:, None], mode="r")
        r_inverse = solve_triangular(r, np.eye(len(r)))
        basis = np.ascontiguousarray((design @ r_inverse).T)
        products = planes.Products.of(basis)
        df = float(np.count_nonzero(working) - len(kept))
        known = family.dispersion_known or df <= 0
        dispersion = 1.0 if known else family.dispersion_from(y, eta, weights, df)
        reach = float(np.sqrt((basis**2).sum(0).max(initial=0.0)))
        table = products.table
        first = None if table is None else np.concatenate([table * working, basis * score])
        jax = None
        if chosen_backend() == "jax":
            from .glm_jax import JaxGlm

            jax = JaxGlm.of(family, basis, eta, y, working, score, r_inverse, errors)
        return cls(family, X.shape[0], X.shape[1], kept, design, y, weights, offset, beta, r_inverse, basis, products,
                   eta, working, score, first, dispersion, reach, want_se, errors, tol, max_iter, jax)  # fmt: skip

    @classmethod
    def from_fit(
        cls, spec: ModelSpec, bundle: DataBundle, fit: FitState, *, want_se: bool = False, errors: str = "iid"
    ) -> GlmKernel:
        """The kernel of a fitted model; weights, trials, offset, link and dropped columns take part."""
        family = with_params(get_family(spec.family, spec.link), fit.family_params)
        return cls.from_arrays(bundle.X, bundle.y, family, fit.coef, weights=bundle.prior_weights,
                               offset=bundle.offset, want_se=want_se, errors=errors)  # fmt: skip

    @property
    def chunk_rows(self) -> int:
        """Resamples of one call, a power of two: some five (chunk, n) arrays of 1 MiB are alive at once."""
        if self.jax is not None:
            return self.jax.chunk_rows
        most = chunk_rows(self.n, self.kept.size, least=32)
        return min(most, CHUNK_OF_ESTIMATED) if self.family.estimated else most

    @property
    def threads(self) -> bool:
        """Whether threads suit it better than processes: short calls of large arrays, no search in each draw."""
        return not self.family.estimated

    def refit(self, counts: Array, responses: Array | None = None) -> tuple[Array, Array, Array | None]:
        """Refit on resamples given as counts (b, n), or to ``responses`` (b, n) of their own.

        Returns
        -------
        coef : (b, p)
            NaN in columns that the full fit drops, and in whole rows of resamples without an estimate.
        status : (b,) int8
            0, or why there is none: separation, rank, no convergence.
        se : (b, p) or None
            Standard errors of each resample by ``errors``, if the kernel was built with ``want_se``.
        """
        with one_blas_thread():
            lanes = Lanes(self, counts, responses)
            lanes.run()
            coef = self.coef + (self.r_inverse @ lanes.beta.T).T
            failed = lanes.status != DRAW_OK
            coef[failed] = np.nan
            se = None
            if self.want_se:
                se = np.full((len(counts), self.kept.size), np.nan)
                good = np.flatnonzero(~failed)
                if good.size:
                    with np.errstate(invalid="ignore", over="ignore"):  # a flat likelihood has none: NaN
                        se[good] = self._standard_errors(lanes, good)
        p, kept = self.p, self.kept
        return widen(coef, kept, p), lanes.status, None if se is None else widen(se, kept, p)

    def linear_predictor(self, beta: Array) -> Array:
        """(b, n) eta of lanes whose coefficients differ from the full fit's by ``beta`` (b, r) in the basis."""
        eta = beta @ self.basis
        eta += self.at_fit
        return eta

    def _standard_errors(self, lanes: Lanes, good: Array) -> Array:
        """(b, r) at the estimate; classical by the inverse information and the Pearson dispersion, or robust."""
        counts, beta, y = lanes.counts[good], lanes.beta[good], lanes.y_of(good)
        size = counts.sum(1) if self.weights is None else counts @ (self.weights > 0)
        r = self.kept.size
        df = np.where(size > r, size - r, np.nan)
        dispersion = lanes.known_dispersion(good)
        if self.jax is not None:
            own = None if lanes.responses is None else y
            found = self.jax.variances(beta, own, counts, self.weights, lanes.params_of(good), size, df, dispersion)
        else:
            prior = 1.0 if self.weights is None else self.weights
            found = glm_variances(self.products, self.at_fit, self.r_inverse, beta, lanes.family_of(good), y, counts,
                                  prior, size, df, dispersion, r, None, errors=self.errors)  # fmt: skip
        return np.sqrt(found).T


def compute_batched_glm_bootstrap(
    boot_indices: Array,
    X: Array,
    y: Array,
    family: Family,
    *,
    weights: Array | None = None,
    max_iter: int = 25,
    tol: float = 1e-08,
    chunk_size: int | None = None,
    offset: Array | None = None,
) -> Array:
    """Maximum-likelihood coefficients of every resample.

    Parameters
    ----------
    boot_indices : (n_boot, m) int
        Row numbers of each resample.
    X : (n, p)
        Design.
    y : (n,)
        Response; proportions for a binomial with trials.
    family : Family
        Distribution and link, with the parameters of its own that are known.
    weights, offset : (n,), optional
        Prior weights (trials included) and offset; drawn together with their rows.
    max_iter : int
        Steps per resample; what has not settled by then goes through the single fit's line search.
    tol : float
        A resample is done after the step that moves its coefficients by less than sqrt(tol) standard errors
        (canonical links, where the next error is the square of that) or tol standard errors (other links).
    chunk_size : int, optional
        Resamples held in memory at once.

    Returns
    -------
    (n_boot, p)
        NaN in whole rows of resamples that are separated, rank-deficient or do not converge, and in columns that the
        full fit drops.

    Raises
    ------
    DataError
        If the full data have no estimate to start from.
    """
    X, y = np.asarray(X, float), np.asarray(y, float)
    kept = estimable_columns(X, weights)
    fit = single.irls(X[:, kept], y, _known(family), weights, offset)
    if fit.status not in (single.OK, single.NOT_CONVERGED) or not np.all(np.isfinite(fit.coef)):
        raise DataError(
            asked="a bootstrap of a generalized linear model",
            found=f"the data themselves have no finite estimate ({fit.status})",
            remedy="fit the model first: the fit says which columns are to blame",
        )
    coef = np.full(X.shape[1], np.nan)
    coef[kept] = fit.coef
    canonical = (family.name, family.link.name) in CANONICAL
    kernel = GlmKernel.from_arrays(
        X, y, _known(family), coef, weights=weights, offset=offset, max_iter=max_iter,
        tol=min(tol, TOL_NEWTON) if canonical else max(tol**2, TOL_FISHER),
    )  # fmt: skip
    return refit_indices(kernel, boot_indices, chunk_size)[0]


def _known(family: Family) -> Family:
    """The family with its parameters taken as given: these functions see no estimate of them."""
    return replace(family, estimated=()) if family.params else family
