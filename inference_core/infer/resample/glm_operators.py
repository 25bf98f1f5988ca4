"""Maximum likelihood for every resample at once: Fisher scoring on all lanes that have not converged.

A lane is one resample, a vector of counts c. Its information is ``sum_i c_i w_i q_i q_i'``, so all lanes together are
one product ``(counts * w) @ products``, and one factorisation across the batch. Every lane starts at the full fit,
where weights and scores are the same for all: the first step needs no likelihood at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.errors import DataError
from inference_core.families import Family, get_family, with_params
from inference_core.solvers import irls as single
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import (
    DRAW_NOT_CONVERGED,
    DRAW_OK,
    DRAW_RANK_DEFICIENT,
    DRAW_SEPARATED,
)
from inference_core.states.spec import ModelSpec

from . import planes
from .common import refit_indices
from .family_lanes import update_params
from .robust import check_errors, robust_variances
from .rank import CHUNK_VALUES, chunk_rows, estimable_columns, full_rank, widen

__all__ = ["GlmKernel", "compute_batched_glm_bootstrap"]

# Links whose observed and expected information agree: Fisher scoring is Newton's method there.
CANONICAL = {
    ("gaussian", "identity"), ("binomial", "logit"), ("quasibinomial", "logit"), ("poisson", "log"),
    ("quasipoisson", "log"), ("gamma", "inverse"), ("inverse_gaussian", "inverse_squared"),
}  # fmt: skip
# Squared step in standard errors after which a lane is done. Newton's next error is the square of this one; Fisher
# scoring with another link only shrinks it by a factor, so the last step itself must be small.
TOL_NEWTON, TOL_FISHER = 1e-10, 1e-20
STALLED = 1e-12  # a step this small that no longer shrinks is rounding
MAX_ITER = 40
# Separation: the likelihood has settled to 1e-8 while some eta still walks; its row's weight would be below 1e-5.
SETTLED, WALKS = 1e-8, 0.03
WEAK_PIVOT = 1e-9  # of the first information matrix: the rank of such a resample is judged on its rows


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
    products: Array  # (q, n) products of basis rows
    first: Array  # (q + r, n) what the first step multiplies the counts with
    dispersion: float  # of the full fit: the unit of squared steps
    reach: float  # length of the longest basis row
    want_se: bool = False
    errors: str = "iid"
    tol: float | None = None
    max_iter: int = MAX_ITER

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
        score, working = _clean(*family.score_weight(eta, y))
        if weights is not None:
            score, working = score * weights, working * weights
        # Full information: so small a weight that a column loses its length must not make R singular.
        scale = np.sqrt(np.maximum(working, 1e-12 * working.max(initial=0.0)))
        r = np.linalg.qr(design * scale[:, None], mode="r")
        r_inverse = solve_triangular(r, np.eye(len(r)))
        basis = np.ascontiguousarray((design @ r_inverse).T)
        products = planes.column_products(basis)
        df = np.count_nonzero(working) - len(kept)
        known = family.dispersion_known or df <= 0
        dispersion = 1.0 if known else family.dispersion_from(y, eta, weights, df)
        first = np.concatenate([products * working, basis * score])
        return cls(family, X.shape[0], X.shape[1], kept, design, y, weights, offset, beta, r_inverse, basis, products,
                   first, dispersion, float(np.sqrt((basis**2).sum(0).max(initial=0.0))), want_se, errors, tol, max_iter)  # fmt: skip

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
        return chunk_rows(self.n, self.kept.size, least=32)

    def refit(self, counts: Array) -> tuple[Array, Array, Array | None]:
        """Refit on resamples given as counts (b, n).

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
            lanes = Lanes(self, counts)
            lanes.run()
            coef = self.coef + (self.r_inverse @ lanes.beta.T).T
            failed = lanes.status != DRAW_OK
            coef[failed] = np.nan
            se = None
            if self.want_se:
                se = np.full((len(counts), self.kept.size), np.nan)
                good = np.flatnonzero(~failed)
                if good.size:
                    se[good] = self._standard_errors(lanes, good)
        p, kept = self.p, self.kept
        return widen(coef, kept, p), lanes.status, None if se is None else widen(se, kept, p)

    def linear_predictor(self, beta: Array) -> Array:
        """(b, n) eta of lanes whose coefficients differ from the full fit's by ``beta`` (b, r) in the basis."""
        eta = beta @ self.basis
        eta += self.design @ self.coef
        return eta if self.offset is None else np.add(eta, self.offset, out=eta)

    def _standard_errors(self, lanes: Lanes, good: Array) -> Array:
        """(b, r) at the estimate; classical by the inverse information and the Pearson dispersion, or robust."""
        family, counts = lanes.family_of(good), lanes.counts[good]
        s, w = _clean(*family.score_weight(self.linear_predictor(lanes.beta[good]), self.y))
        size = counts.sum(1) if self.weights is None else counts @ (self.weights > 0)
        r = self.kept.size
        df = np.where(size > r, size - r, np.nan)
        prior = 1.0 if self.weights is None else self.weights
        information = planes.unpack(self.products @ (counts * (prior * w)).T, r)
        factor, _ = planes.cholesky(information, r)
        root = planes.inverse_root(factor, r)
        in_x = (self.r_inverse @ root.reshape(r, -1)).reshape(root.shape)
        if self.errors == "iid":
            return np.sqrt((in_x**2).sum(1) * lanes.dispersion(good, s, w, df)).T
        variances = robust_variances(self.errors, counts, (prior * s) ** 2, prior * w, self.products, root, in_x,
                                     size, df)  # fmt: skip
        return np.sqrt(variances).T


class Lanes:
    """The state of one batch of refits: which lanes still run, where they are, what became of them."""

    def __init__(self, kernel: GlmKernel, counts: Array) -> None:
        b, r = len(counts), kernel.kept.size
        self.kernel, self.counts = kernel, counts
        self.case_weights = counts if kernel.weights is None else counts * kernel.weights
        self.beta = np.zeros((b, r))  # in the basis, from the full fit
        self.status = np.full(b, DRAW_NOT_CONVERGED, np.int8)
        family = kernel.family
        self.canonical = (family.name, family.link.name) in CANONICAL
        tol = (TOL_NEWTON if self.canonical else TOL_FISHER) if kernel.tol is None else kernel.tol
        self.tol = tol * kernel.dispersion
        self.params = np.tile(np.asarray(family.params, float), (b, 1)) if family.estimated else None

    def family_of(self, lanes: Array) -> Family:
        """The family, with these lanes' own parameters as columns where a refit estimates them."""
        if self.params is None:
            return self.kernel.family
        return with_params(self.kernel.family, tuple(self.params[lanes, j, None] for j in range(self.params.shape[1])))

    def dispersion(self, lanes: Array, s: Array, w: Array, df: Array) -> Array:
        """(b,) Pearson chi-square over df, or 1 where the family knows it; scale squared for Student's t."""
        family = self.kernel.family
        if family.name == "tdist" and self.params is not None:
            return self.params[lanes, 1] ** 2
        if family.dispersion_known:
            return np.ones(len(lanes))
        with np.errstate(divide="ignore", invalid="ignore"):
            pearson = np.where(w > 0, s * s / w, 0.0)
        return (self.case_weights[lanes] * pearson).sum(1) / df

    def run(self) -> None:
        """Iterate to the end, then hand what is left to the single fit with its line search."""
        b = len(self.counts)
        active, step, decrement = self._first_step()
        self._iterate(active, step, decrement)
        if self.params is not None:
            self._estimate_params()
        for lane in np.flatnonzero(self.status == DRAW_NOT_CONVERGED) if b else ():
            self._single(int(lane))

    def _first_step(self) -> tuple[Array, Array, Array]:
        kernel = self.kernel
        packed = kernel.first @ self.counts.T
        step, decrement, worst = _solve(packed, kernel.kept.size)
        weak = np.flatnonzero(~(worst > WEAK_PIVOT))
        if weak.size:
            weights = self.counts[weak] > 0
            if kernel.weights is not None:
                weights = weights & (kernel.weights > 0)
            self.status[weak[~full_rank(kernel.design, weights)]] = DRAW_RANK_DEFICIENT
        active = np.flatnonzero(self.status != DRAW_RANK_DEFICIENT)
        return active, step[active], decrement[active]

    def _iterate(self, active: Array, step: Array, decrement: Array) -> None:
        """Fisher scoring on the ``active`` lanes from ``beta``, the first step given; compacted as lanes finish.

        A lane whose decrement grows is looked at more closely: if its deviance rose too, the step is halved.
        """
        kernel, phi = self.kernel, self.kernel.dispersion
        settled = self.beta[active].copy()  # the last accepted point of each lane
        self.beta[active] += np.where(np.isfinite(step), step, 0.0)
        cases, before = self.case_weights[active], decrement
        for _ in range(kernel.max_iter - 1):
            if not active.size:
                return
            beta = self.beta[active]
            family = self.family_of(active)
            eta = kernel.linear_predictor(beta)
            s, w = family.score_weight(eta, kernel.y)
            if not self.canonical:
                s, w = _drop_absent(s, w, cases)
            s *= cases
            w *= cases
            packed = np.concatenate([kernel.products @ w.T, kernel.basis @ s.T])
            step, decrement, _ = _solve(packed, kernel.kept.size)
            worse = ~(decrement <= 1.5 * np.maximum(before, 1e-6 * phi))
            if worse.any():
                worse = self._rose(family, worse, settled, eta, cases)
            moved = ~worse
            self.beta[active[worse]] = 0.5 * (beta[worse] + settled[worse])
            settled[moved] = beta[moved]
            good = moved & np.isfinite(decrement)
            self.beta[active[good]] = beta[good] + step[good]
            done = good & ((decrement <= self.tol) | ((decrement <= STALLED * phi) & (decrement > 0.25 * before)))
            quiet = np.flatnonzero(good & (decrement <= SETTLED * phi) if self.params is None else done)
            walking = np.zeros(len(active), bool)
            if quiet.size:
                walking[quiet] = self._walks(step[quiet], cases[quiet])
            done &= ~walking
            self.status[active[done]] = DRAW_OK
            self.status[active[walking]] = DRAW_SEPARATED
            before = np.where(moved, decrement, before)
            on = ~(done | walking)
            if not on.all():
                active, settled, cases, before = active[on], settled[on], cases[on], before[on]

    def _rose(self, family: Family, worse: Array, settled: Array, eta: Array, cases: Array) -> Array:
        """Which of the lanes flagged ``worse`` have a larger deviance than at their last accepted point, or none."""
        at = np.flatnonzero(worse)
        if family is not self.kernel.family:  # lane parameters are columns: take the same lanes of them
            family = with_params(family, tuple(np.asarray(column)[at] for column in family.params))
        y = self.kernel.y
        now = _deviance(family, eta[at], y, cases[at])
        then = _deviance(family, self.kernel.linear_predictor(settled[at]), y, cases[at])
        rose = np.zeros_like(worse)
        rose[at] = ~(now <= then + 1e-8 * np.abs(then))
        return rose

    def _walks(self, step: Array, cases: Array) -> Array:
        """Whether some row of the resample still moves by a lot although the likelihood has settled."""
        walks = np.linalg.norm(step, axis=1) * self.kernel.reach > WALKS  # Cauchy and Schwarz: most lanes end here
        at = np.flatnonzero(walks)
        if at.size:
            moves = np.abs(step[at] @ self.kernel.basis)
            walks[at] = np.where(cases[at] > 0, moves, 0.0).max(1, initial=0.0) > WALKS
        return walks

    def _estimate_params(self) -> None:
        """Alternate between the family's own parameters and the coefficients until both stand still."""
        assert self.params is not None
        kernel = self.kernel
        active = np.flatnonzero(self.status == DRAW_OK)
        for _ in range(60):
            if not active.size:
                return
            eta = kernel.linear_predictor(self.beta[active])
            mu = kernel.family.link.inverse(eta)
            updated, usable = update_params(kernel.family, kernel.y, mu, self.case_weights[active], self.params[active])
            self.status[active[~usable]] = DRAW_NOT_CONVERGED
            change = np.abs(updated / self.params[active] - 1.0).max(1)
            self.params[active] = updated
            active = active[usable & (change > 1e-11)]
            if not active.size:
                return
            s, w = _drop_absent(*self.family_of(active).score_weight(kernel.linear_predictor(self.beta[active]), kernel.y),
                                self.case_weights[active])  # fmt: skip
            s *= self.case_weights[active]
            w *= self.case_weights[active]
            step, decrement, _ = _solve(np.concatenate([kernel.products @ w.T, kernel.basis @ s.T]), kernel.kept.size)
            self.status[active] = DRAW_NOT_CONVERGED
            self._iterate(active, step, decrement)
            active = active[self.status[active] == DRAW_OK]
        self.status[active] = DRAW_NOT_CONVERGED

    def _single(self, lane: int) -> None:
        """One lane by the single fit: its line search and its test for separation are the careful ones."""
        kernel = self.kernel
        rows = np.flatnonzero(self.case_weights[lane] > 0)
        if rows.size < kernel.kept.size or kernel.family.estimated:
            return
        data = (
            kernel.design[rows], kernel.y[rows], kernel.family, self.case_weights[lane, rows],
            None if kernel.offset is None else kernel.offset[rows],
        )  # fmt: skip
        result = single.maximise(*data, start=kernel.coef)
        if result.status == single.OK:
            self.status[lane] = DRAW_OK
            self.beta[lane] = np.linalg.solve(kernel.r_inverse, result.coef - kernel.coef)
        elif result.status == single.SEPARATED:
            self.status[lane] = DRAW_SEPARATED


def _solve(packed: Array, r: int) -> tuple[Array, Array, Array]:
    """Fisher step (b, r), its squared length (b,) and the worst pivot (b,) from packed information and score."""
    n_pairs = r * (r + 1) // 2
    augmented = planes.unpack(packed[:n_pairs], r, extra=1)
    augmented[r, :r] = packed[n_pairs:]
    augmented[r, r] = 0.0
    factor, worst = planes.cholesky(augmented, r)
    half = factor[r, :r]
    decrement = np.einsum("rb,rb->b", half, half)
    return planes.back_substitute(factor, half.copy()).T, decrement, worst


def _clean(s: Array, w: Array) -> tuple[Array, Array]:
    """Score and weight with nothing in rows where the mean is impossible."""
    fine = np.isfinite(s) & np.isfinite(w)
    return np.where(fine, s, 0.0), np.where(fine, w, 0.0)


def _drop_absent(s: Array, w: Array, cases: Array) -> tuple[Array, Array]:
    """Nothing from rows outside the resample: there an impossible mean matters to nobody (0 times NaN is NaN)."""
    absent = cases == 0
    s[absent], w[absent] = 0.0, 0.0
    return s, w


def _deviance(family: Family, eta: Array, y: Array, cases: Array) -> Array:
    rows = family.deviance_rows(eta, y)
    return np.where(cases > 0, rows * cases, 0.0).sum(1)


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
