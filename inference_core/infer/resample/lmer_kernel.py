"""Parametric draws of a linear mixed model: new groups, new noise, and the refits of many draws at once.

Draw i is y* = X beta + Z T u sigma + e sigma / sqrt(w); its q + n standard normals (u first) are one row of a block of
rows, so that it is a function of (seed, i) alone. Refits start at the fitted T. One that does not settle is searched
again from many starts; only then is it a NaN row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from inference_core.backends import Backend, chosen_backend
from inference_core.errors import InferenceError
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.fit.varcomp import sds_and_correlations
from inference_core.rng import RNG, Purpose
from inference_core.solvers.lmm.crossed import CrossedKernel
from inference_core.solvers.lmm.crossed_fit import fit_crossed, replicate_crossed
from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.dense_fit import DENSE_UP_TO, fit_dense, replicate_dense
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.lanes import Lanes
from inference_core.solvers.lmm.newton import REPLICATE_TOL
from inference_core.solvers.lmm.one_factor import fit_many, fit_one
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo
from inference_core.states.inference import DRAW_NOT_CONVERGED, DRAW_OK, DRAW_RANK_DEFICIENT

MAX_CHUNK = 512  # draws: above, a chunk takes longer than a picture should wait
CHUNK_VALUES = 1 << 20  # normals of one chunk
CHUNK_PATTERNS = 1 << 16  # draws times patterns of groups
CHUNK_CUBES = 1 << 22  # draws times q^3, where there are several factors
CHUNK_WORK = 1 << 32  # multiplications of one evaluation times draws, where these are refitted one by one
AT_BOUND = 1e-4  # relative SD, or what is left of it given the other effects, that counts as 0, as in lme4


Simulate = Callable[[RNG, int, int], Array]  # responses (b, n) of draws start .. stop - 1, the offset taken off


@dataclass(frozen=True, slots=True, eq=False)
class Refits:
    """B refits in the units of the data; rows of those that failed hold anything."""

    T: Sequence[Array]  # (B, k, k) relative factors of each block
    beta: Array  # (B, r)
    sigma: Array  # (B,)
    status: Array  # (B,) see DRAW_REASONS
    se: Array | None = None  # (B, r)
    information: Array | None = None  # (B, r, r) X'V^-1X in units of 1 / sigma^2, in the coordinates of the design


def standard_normals(rng: RNG, start: int, stop: int, q: int, n: int) -> tuple[Array, Array]:
    """Effects u (b, q) and noise e (b, n) of draws ``start .. stop - 1``, parts of one row of normals each."""
    z = rng.rows(start, stop, q + n, lambda g, rows: g.standard_normal((rows, q + n)), Purpose.NORMAL)
    return z[:, :q], z[:, q:]


def effects_map(terms: Sequence[Term], T: Sequence[Array]) -> Any:
    """(n, q) sparse matrix Z T: from standard normal u to the random part of the rows, in units of sigma."""
    import scipy.sparse as sp

    parts = []
    for term, t in zip(terms, T, strict=True):
        n, k = term.Z.shape
        columns = term.group[:, None] * k + np.arange(k)
        indptr = np.arange(0, n * k + 1, k)
        parts.append(sp.csr_matrix(((term.Z @ t).ravel(), columns.ravel(), indptr), shape=(n, term.q)))
    return sp.hstack(parts, format="csr")


@dataclass(frozen=True, eq=False)
class LmerKernel:
    """Draws and refits of one linear mixed model at its estimate: n rows of positive weight, r estimable columns.

    The statistics of a draw are the p coefficients (NaN where a column was dropped), then, ``with_spread``, block by
    block SDs and the correlations of what may covary, then sigma. With ``want_se`` a refit brings the model's own
    standard errors of its coefficients; those of the spread are NaN.
    """

    problem: MixedProblem
    T: tuple[Array, ...]  # (k, k) relative factors, units of the data
    beta: Array  # (r,)
    sigma: float
    reml: bool
    tol: float = REPLICATE_TOL
    max_iter: int = 60
    want_se: bool = False
    with_spread: bool = True
    backend: Backend = field(default_factory=chosen_backend)  # of refits with one grouping factor

    @classmethod
    def of(
        cls, spec: ModelSpec, bundle: DataBundle, fit: FitState, *, asked: str = "a parametric bootstrap",
        want_se: bool = False, with_spread: bool = True,
    ) -> LmerKernel:  # fmt: skip
        """From a fitted model; ``asked`` is what a refusal says was asked for.

        Raises
        ------
        InferenceError
            No random effects, or not Gaussian.
        """
        problem = MixedProblem.of(spec, bundle, fit, asked)
        assert fit.theta is not None
        T = tuple(problem.relative_factors(fit.theta))
        kernel = cls(
            problem, T, fit.coef[problem.kept], fit.sigma, spec.method != "ml", want_se=want_se, with_spread=with_spread
        )
        if not problem.is_one_factor:
            _ = kernel.design  # says so now if it is too large
        return kernel

    @property
    def n(self) -> int:
        """Rows."""
        return self.problem.n

    @property
    def p(self) -> int:
        """Columns of the whole design."""
        return self.problem.p

    @property
    def re(self) -> REInfo:
        """The random effects."""
        return self.problem.re

    @cached_property
    def design(self) -> GroupDesign | DenseDesign | CrossedKernel:
        """What every refit shares."""
        if self.problem.is_one_factor:
            return self.problem.group_design()
        if self.re.q <= DENSE_UP_TO:
            return self.problem.dense_design("a parametric bootstrap")
        return self.problem.crossed_kernel()

    @property
    def chunk_rows(self) -> int:
        """Draws that one call brings, a power of two."""
        most = min(MAX_CHUNK, CHUNK_VALUES // (self.n + self.re.q))
        if isinstance(self.design, GroupDesign):
            most = min(most, CHUNK_PATTERNS // self.design.patterns.U)
        elif isinstance(self.design, CrossedKernel):
            most = min(most, CHUNK_WORK // self.design.work)
        else:
            most = min(most, CHUNK_CUBES // self.re.q**3)
        return 1 << max(most, 1).bit_length() - 1

    @property
    def spread_names(self) -> tuple[str, ...]:
        """Names of the SDs, the correlations and sigma; none without spread."""
        return spread_names(self.re) if self.with_spread else ()

    # ---- draws --------------------------------------------------------------------------------------------

    @cached_property
    def _effects(self) -> Any:
        return effects_map(self.problem.terms, self.T)

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, n) responses of draws ``start .. stop - 1``, the offset taken off."""
        u, e = standard_normals(rng, start, stop, self.re.q, self.n)
        if self.problem.weights is not None:
            e = e / np.sqrt(self.problem.weights)
        return self.problem.X @ self.beta + self.sigma * ((self._effects @ u.T).T + e)

    def response(self, rng: RNG, i: int, bundle: DataBundle, simulate: Simulate | None = None) -> Array:
        """(bundle.n,) the response of draw ``i`` on the scale of the data, to the last bit what was refitted.

        ``simulate`` is where it came from, parametric draws if left out. A row of weight 0 takes no part in any draw
        and keeps its own value.
        """
        first = i // self.chunk_rows * self.chunk_rows
        with one_blas_thread():
            y = (simulate or self.simulate)(rng, first, first + self.chunk_rows)[i - first]
        rows = slice(None) if self.problem.rows is None else self.problem.rows
        out = np.array(bundle.y)
        out[rows] = y if bundle.offset is None else y + bundle.offset[rows]
        return out

    # ---- refits -------------------------------------------------------------------------------------------

    def refit(self, Y: Array) -> tuple[Array, Array, Array | None]:
        """Statistics (b, k), status (b,) and standard errors (b, k) or None of responses Y (b, n), the offset off."""
        return self.collected(self.fits(Y))

    def fits(self, Y: Array, start: Sequence[Array] | None = None) -> Refits:
        """Refits to responses Y (b, n), the offset off, from T (k, k) of each block; the model's own if left out."""
        design = self.design
        with one_blas_thread():
            if isinstance(design, GroupDesign):
                return self.fits_of_lanes(design, design.lanes(Y, reml=self.reml), start)
            return self._fits_of_terms(design, Y, self.T if start is None else start)

    def fits_of_lanes(self, design: GroupDesign, lanes: Lanes, start: Sequence[Array] | None = None) -> Refits:
        """Warm refits of lanes of one grouping factor; those that do not settle go again from many starts."""
        begin = self.T[0] if start is None else start[0]
        many = fit_many(lanes, design, begin, tol=self.tol, max_iter=self.max_iter, backend=self.backend)
        T, beta, sigma, converged = many.T, many.beta, many.sigma, many.converged.copy()
        possible = np.ones(lanes.size, bool) if lanes.XX is None else np.isfinite(lanes.XX).all(axis=(1, 2))
        for i in np.flatnonzero(~converged & possible):
            one, _ = fit_one(
                design, self.problem.y, reml=self.reml, tol=self.tol, max_iter=self.max_iter, start=begin,
                lanes=lanes.take(np.array([i])),
            )  # fmt: skip
            T[i], beta[i], sigma[i], converged[i] = one.T[0], one.beta[0], one.sigma[0], one.converged[0]
        se = information = None
        if self.want_se:
            information = lanes.x_information(design.theta_inside(T))
            se = standard_errors(information, design.x_factor, sigma)
        status = np.where(possible, np.where(converged, DRAW_OK, DRAW_NOT_CONVERGED), DRAW_RANK_DEFICIENT)
        return Refits([T], beta, sigma, status, se, information)

    def _fits_of_terms(self, design: DenseDesign | CrossedKernel, Y: Array, start: Sequence[Array]) -> Refits:
        options = {"reml": self.reml, "tol": self.tol, "max_iter": self.max_iter}
        if isinstance(design, DenseDesign):
            fit, (T, beta, sigma, found) = fit_dense, replicate_dense(design, Y, start, **options)
        else:
            fit, (T, beta, sigma, found) = fit_crossed, replicate_crossed(design, Y, start, **options)
        converged = found.converged.copy()
        for i in np.flatnonzero(~converged):
            again = fit(
                self.problem.X, self.problem.terms, Y[i], weights=self.problem.weights, start=list(start), **options
            )
            beta[i], sigma[i], converged[i] = again.beta, again.sigma, again.converged
            for t, one in zip(T, again.T, strict=True):
                t[i] = one
        se = information = None
        if self.want_se:
            information = design.lanes(Y, reml=self.reml).x_information(design.theta_inside(T))
            se = standard_errors(information, design.x_factor, sigma)
        return Refits(T, beta, sigma, np.where(converged, DRAW_OK, DRAW_NOT_CONVERGED), se, information)

    def collected(self, fits: Refits) -> tuple[Array, Array, Array | None]:
        """What a stream wants of refits: NaN rows where there is no estimate."""
        samples = self.statistics(fits.T, fits.beta, fits.sigma)
        status = np.where((fits.status == DRAW_OK) & ~np.isfinite(fits.sigma), DRAW_NOT_CONVERGED, fits.status)
        samples[status != DRAW_OK] = np.nan
        se = None
        if fits.se is not None:
            se = np.full_like(samples, np.nan)
            se[:, self.problem.kept] = fits.se
            se[status != DRAW_OK] = np.nan
        return samples, status.astype(np.int8), se

    # ---- statistics ---------------------------------------------------------------------------------------

    def statistics(self, T: Sequence[Array], beta: Array, sigma: Array) -> Array:
        """(B, k) coefficients, SDs, correlations and sigma from T (B, k, k) of each block, beta (B, r), sigma (B,)."""
        coef = np.full((len(beta), self.p), np.nan)
        coef[:, self.problem.kept] = beta
        return np.column_stack([coef, spread_statistics(self.re, T, sigma)]) if self.with_spread else coef

    @property
    def observed(self) -> Array:
        """(k,) the statistics of the fit itself."""
        return self.statistics([t[None] for t in self.T], self.beta[None], np.array([self.sigma]))[0]


def standard_errors(information: Array, x_factor: Array, sigma: Array) -> Array:
    """(B, r) of the coefficients: sigma times the root of the diagonal of (X'V^-1X)^-1, back in the units of X."""
    root = np.linalg.inv(x_factor)
    good = np.isfinite(information).all(axis=(1, 2)) & np.isfinite(sigma)
    inverse = np.linalg.inv(np.where(good[:, None, None], information, np.eye(len(x_factor))))
    variance = np.einsum("ip,bpq,iq->bi", root, inverse, root, optimize=True)
    with np.errstate(invalid="ignore"):
        return np.where(good[:, None], sigma[:, None] * np.sqrt(variance), np.nan)


def spread_statistics(re: REInfo, T: Sequence[Array], sigma: Array) -> Array:
    """(B, s) SDs and correlations of each block, sigma last, in the order of ``fit.varcomp.variance_components``."""
    columns = []
    for block, t in zip(re.blocks, T, strict=True):
        sd, correlation = sds_and_correlations(np.square(sigma)[:, None, None] * (t @ np.swapaxes(t, -1, -2)))
        columns.append(sd)
        columns += [correlation[:, a, b, None] for a, b in block.entries if a != b]
    return np.concatenate([*columns, sigma[:, None]], axis=1)


def spread_names(re: REInfo) -> tuple[str, ...]:
    """Names of these: ``sd_Days|Subject``, ``cor_Days.(Intercept)|Subject``, ``sigma``."""
    out = []
    for block in re.blocks:
        names = block.column_names
        out += [f"sd_{name}|{block.group_name}" for name in names]
        out += [f"cor_{names[a]}.{names[b]}|{block.group_name}" for a, b in block.entries if a != b]
    return (*out, "sigma")


def singular_draws(re: REInfo, spread: Array) -> Array:
    """(B,) whether the covariance of a block is singular in a draw: an SD at 0, or effects tied to each other.

    spread (B, s) as of :func:`spread_statistics`. Effects are measured by the mean square of their columns, and each
    by what is left of it given those before it, as the diagonal of T is.
    """
    singular = np.zeros(len(spread), dtype=bool)
    sigma, at = spread[:, -1], 0
    for block in re.blocks:
        k = block.k
        size = np.sqrt(np.mean(np.square(block.X_re), axis=0))
        sd = spread[:, at : at + k] * size / sigma[:, None]
        S = np.zeros((len(spread), k, k))
        S[:, range(k), range(k)] = 1.0
        at += k
        for a, b in block.entries:
            if a != b:
                S[:, a, b] = S[:, b, a] = np.nan_to_num(spread[:, at])
                at += 1
        S *= sd[:, :, None] * sd[:, None, :]
        for a in range(k):
            pivot = S[:, a, a]
            singular |= pivot < AT_BOUND**2
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(pivot[:, None] > 0, S[:, a] / pivot[:, None], 0.0)
            S = S - share[:, :, None] * S[:, None, a]
    return singular


def refuse_without_lmer(spec: ModelSpec, asked: str = "a parametric bootstrap") -> None:
    """Refuse models that this kernel does not draw.

    Raises
    ------
    InferenceError
        No random effects, or a family other than the Gaussian.
    """
    if not spec.has_random_effects:
        raise InferenceError(
            asked, f"{spec.formula!r} has no random effects; its rows can be drawn themselves", "scheme='case'"
        )
    if spec.family != "gaussian" or spec.link != "identity":
        raise InferenceError(
            asked,
            f"a mixed model of family {spec.family} with the {spec.link} link; such draws are of Gaussian ones",
            "scheme='parametric'",
        )
