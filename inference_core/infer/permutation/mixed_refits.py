"""Flipped and shuffled responses of a linear mixed model: all refits at once, studentised by the model's own errors.

A hypothesis L b = c has the null model y = X0 b0 + X b_c + Z u + e, X0 = X N, fitted by the criterion of the model
itself. What it leaves over is exchanged by a rule (whole groups of marginal residuals, effects and residuals apart) and
refitted: the parts in the span of X drop out of the t of L b. For ``y`` and ``within`` the response itself is
shuffled, after X b_c was taken off. Another null value moves the null model, so limits cost refits like the draws.

Sources: Winkler et al. (2015) NeuroImage 123 (whole-block flips); Cameron, Gelbach & Miller (2008) Rev. Econ. Stat. 90
(restricted residuals of whole clusters); ter Braak (1992) and Lee & Braun (2012) Biometrics 68 (effects and residuals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.infer.resample.lmer_kernel import AT_BOUND, LmerKernel, Refits
from inference_core.infer.resample.lmer_residual import reflated
from inference_core.infer.resample.whole_groups import WholeGroups
from inference_core.solvers.lmm.crossed_fit import fit_crossed
from inference_core.solvers.lmm.dense_fit import DENSE_UP_TO, fit_dense
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.nested import NestedDesign
from inference_core.solvers.lmm.newton import FIT_TOL
from inference_core.solvers.lmm.one_factor import conditional_modes, fit_many, fit_one
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array
from inference_core.states.inference import DRAW_OK

from .hypotheses import Hypothesis

SAME = 1e-5  # relative distance within which a refit of the data is their fit
FEW_UNITS = 20  # signs of a draw, up to which a chunk may hold the same pattern or its mirror image more than once
NO_RESIDUAL = "how='boot', scheme='parametric' draws new effects"


@dataclass(frozen=True, slots=True, eq=False)
class NullFit:
    """The null model of one hypothesis at one null value, n rows."""

    T: tuple[Array, ...]  # (k, k) relative factor of each block
    sigma: float
    fitted: Array  # (n,) X0 b0 + X b_c
    residual: Array  # (n,) y less that
    u: tuple[Array, ...]  # (J, k) spherical modes of each block, times sigma


@dataclass(frozen=True, eq=False)
class NullModel:
    """What the null fits of one hypothesis share."""

    base: LmerKernel
    hypothesis: Hypothesis

    @cached_property
    def X0(self) -> Array:
        """(n, r - k)"""
        return np.ascontiguousarray(self.base.problem.X @ self.hypothesis.null_basis())

    @cached_property
    def along(self) -> Array:
        """(n, k) X b_c is this times c."""
        return self.base.problem.X @ self.hypothesis.direction

    @cached_property
    def _groups(self) -> GroupDesign:
        return replace(self.base.problem, X=self.X0).group_design()

    def fit(self, value: Array, near: Sequence[Array] | None = None) -> NullFit:
        """At L b = ``value`` (k,): from many starts, as the fit of the model itself, or from T of a value nearby."""
        base, problem = self.base, self.base.problem
        moved = self.along @ value
        y = problem.y - moved
        if problem.is_one_factor:
            fits = None
            if near is not None:
                fits = fit_many(self._groups.lanes(y, reml=base.reml), self._groups, near[0], tol=FIT_TOL)
            if fits is None or not fits.converged[0]:
                fits, _ = fit_one(self._groups, y, reml=base.reml, tol=FIT_TOL, start=base.T[0])
            T, beta, sigma = (fits.T[0],), fits.beta[0], float(fits.sigma[0])
            u = (conditional_modes(self._groups, y, T[0], beta, sigma, self.X0).u,)
        else:
            solve = fit_dense if problem.re.q <= DENSE_UP_TO else fit_crossed
            start = base.T if near is None else near
            found = solve(self.X0, problem.terms, y, weights=problem.weights, reml=base.reml, start=start)
            T, beta, sigma, u = found.T, found.beta, found.sigma, found.u
        fitted = self.X0 @ beta + moved
        return NullFit(tuple(T), sigma, fitted, problem.y - fitted, tuple(u))


@dataclass(frozen=True, slots=True, eq=False)
class Exchanged:
    """What one null model exchanges: K parts of each row, every part with the sign of its unit; or one, shuffled."""

    parts: Array  # (K, n)
    units: Array | None  # (K, n) whose sign; None: rows are shuffled
    kept: Array  # (n,) what stays in its place, for whoever wants to see the response
    T: tuple[Array, ...]  # where refits start

    def responses(self, drawn: Array) -> Array:
        """(b, n) from signs (b, m) of units, or shuffles (b, n); without what stays in its place."""
        if self.units is None:
            return self.parts[0][drawn]
        out = drawn[:, self.units[0]] * self.parts[0]
        for part, unit in zip(self.parts[1:], self.units[1:], strict=True):
            out += drawn[:, unit] * part
        return out


@dataclass(frozen=True, slots=True, eq=False)
class FlippedGroups:
    """Every row of a group takes the sign of its group: its whole marginal residual vector is flipped."""

    groups: WholeGroups
    nested: NestedDesign | None = None  # factors within these groups, for refits at once

    @classmethod
    def of(cls, base: LmerKernel, groups: WholeGroups) -> FlippedGroups:
        """Of the groups in which all factors of a model are nested."""
        problem = base.problem
        if problem.is_one_factor:
            return cls(groups)
        return cls(groups, NestedDesign.of(problem.X, problem.terms, groups.codes, groups.J, problem.weights))

    @property
    def n_units(self) -> int:
        """Signs of a draw."""
        return self.groups.J

    def __call__(self, base: LmerKernel, null: NullFit) -> Exchanged:
        """What is exchanged under a null fit."""
        return Exchanged(null.residual[None], self.groups.codes[None], null.fitted, null.T)


@dataclass(frozen=True, slots=True, eq=False)
class FlippedEffects:
    """One sign for the effects of each level of each factor, one for each residual, their spread restored first."""

    blocks: tuple[WholeGroups, ...]
    n: int

    @property
    def n_units(self) -> int:
        """Signs of a draw."""
        return sum(groups.J for groups in self.blocks) + self.n

    def __call__(self, base: LmerKernel, null: NullFit) -> Exchanged:
        """What is exchanged under a null fit."""
        parts, units, first = [], [], 0
        left = null.residual
        for groups, term, T, u in zip(self.blocks, base.problem.terms, null.T, null.u, strict=True):
            left = left - np.einsum("nk,nk->n", term.Z, (u @ T.T)[term.group])
            own = reflated(u[groups.levels], T, null.sigma, groups.name, asked="flips of effects and residuals",
                           remedy=NO_RESIDUAL, centred=False, Z=term.Z)  # fmt: skip
            parts.append(np.einsum("nk,nk->n", term.Z, own[groups.codes]))
            units.append(first + groups.codes)
            first += groups.J
        weights = base.problem.weights
        size = np.sqrt(np.mean(np.square(left) if weights is None else weights * np.square(left)))
        parts.append(left * (null.sigma / size))
        units.append(first + np.arange(self.n))
        return Exchanged(np.array(parts), np.array(units), null.fitted, null.T)


Rule = Callable[[LmerKernel, NullFit], Exchanged]


@dataclass(frozen=True, eq=False)
class MixedRefits:
    """t* (F* of several numbers) of refits to exchanged responses of one linear mixed model; a function of the draws.

    ``source[j]`` is which of ``exchanged`` hypothesis j is tested with: one for all where the response is shuffled.
    """

    base: LmerKernel  # made with want_se
    nulls: tuple[NullModel, ...]  # one per hypothesis
    rule: Rule | None  # None: the response is shuffled
    values: tuple[Array, ...]  # (k,) null value of each hypothesis
    exchanged: tuple[Exchanged, ...]
    source: tuple[int, ...]
    vcov: Array  # (r, r) of the coefficients of the fit
    observed: Array  # (q,)
    observed_se: Array  # (q,) NaN for k > 1

    @classmethod
    def of(cls, base: LmerKernel, hypotheses: Sequence[Hypothesis], rule: Rule | None, vcov: Array) -> MixedRefits:
        """From the fit's kernel and the covariance (r, r) of its coefficients."""
        nulls = tuple(NullModel(base, h) for h in hypotheses)
        made = cls._made(base, nulls, rule, tuple(h.value for h in hypotheses), vcov, tuple(None for _ in nulls))
        if not made.exchanged:
            return made
        # The arrangement that changes nothing must tie with the data, so the data are refitted as the draws are.
        same = made.refit(np.arange(base.n)[None] if rule is None else np.ones((1, made.n_units)))[0][0]
        with np.errstate(invalid="ignore"):
            near = np.abs(same - made.observed) <= SAME * np.abs(made.observed)
        return replace(made, observed=np.where(near, same, made.observed))

    @property
    def n_units(self) -> int:
        """Signs of a draw."""
        return max(int(e.units.max()) + 1 if e.units is not None else 0 for e in self.exchanged)

    @classmethod
    def _made(
        cls, base: LmerKernel, nulls: tuple[NullModel, ...], rule: Rule | None, values: tuple[Array, ...],
        vcov: Array, near: tuple[Sequence[Array] | None, ...],
    ) -> MixedRefits:  # fmt: skip
        exchanged: list[Exchanged] = []
        source, at_zero = [], None
        with one_blas_thread():
            for null, value, T in zip(nulls, values, near, strict=True):
                if rule is None and at_zero is not None and not value.any():
                    source.append(at_zero)  # one shuffled response tests every coefficient
                    continue
                if rule is None:
                    moved = null.along @ value
                    exchanged.append(Exchanged((base.problem.y - moved)[None], None, moved, base.T))
                    at_zero = at_zero if value.any() else len(exchanged) - 1
                else:
                    exchanged.append(rule(base, null.fit(value, T)))
                source.append(len(exchanged) - 1)
        observed, se = np.full(len(nulls), np.nan), np.full(len(nulls), np.nan)
        for j, (null, value) in enumerate(zip(nulls, values, strict=True)):
            rows = null.hypothesis.rows
            observed[j], se[j] = _statistic(rows @ base.beta - value, rows @ vcov @ rows.T)
        return cls(base, nulls, rule, values, tuple(exchanged), tuple(source), vcov, observed, se)

    @property
    def n(self) -> int:
        """Rows that take part."""
        return self.base.n

    @property
    def p(self) -> int:
        """Statistics per draw."""
        return len(self.nulls)

    @property
    def chunk_rows(self) -> int:
        """Draws of one call, a power of two."""
        most = max(1, self.base.chunk_rows // max(1, len(self.exchanged)))
        return 1 << most.bit_length() - 1

    def refit(self, drawn: Array) -> tuple[Array, Array, Array | None]:
        """(t* (b, q), status (b,), se* (b, q)) of signs (b, units) or shuffles (b, n); NaN where a refit failed."""
        if self.rule is None or drawn.shape[1] > FEW_UNITS:
            return self._refit(drawn)
        # few patterns come again and again, and turning all signs turns t
        first = drawn[:, :1]
        patterns, back = np.unique(drawn * first, axis=0, return_inverse=True)
        t, status, se = self._refit(patterns)
        single = np.array([null.hypothesis.k == 1 for null in self.nulls])
        back = back.reshape(-1)
        return t[back] * np.where(single, first, 1.0), status[back], se[back]

    def _refit(self, drawn: Array) -> tuple[Array, Array, Array]:
        b, q = len(drawn), self.p
        t, se, status = np.full((b, q), np.nan), np.full((b, q), np.nan), np.full(b, DRAW_OK, np.int8)
        for s, exchanged in enumerate(self.exchanged):
            fits = self._fits(exchanged.responses(drawn), exchanged.T)
            status = np.where(fits.status == DRAW_OK, status, fits.status).astype(np.int8)
            for j in [j for j, own in enumerate(self.source) if own == s]:
                t[:, j], se[:, j] = self._tested(j, fits)
        return t, status, se

    def _fits(self, Y: Array, T: Sequence[Array]) -> Refits:
        """Refits from T; of nested factors as one factor with tied effects, those that do not settle as they are."""
        nested = self.rule.nested if isinstance(self.rule, FlippedGroups) else None
        if nested is None:
            return self.base.fits(Y, T)
        with one_blas_thread():
            lanes = nested.groups.lanes(Y, reml=self.base.reml)
            at, beta, sigma, found = nested.fit_many(lanes, T, tol=self.base.tol, max_iter=self.base.max_iter)
            information = lanes.x_information(found.theta[:, nested.tie])
        status = np.full(len(Y), DRAW_OK, np.int8)
        lost = np.flatnonzero(~found.converged)
        if lost.size:
            again = self.base.fits(Y[lost], T)
            assert again.information is not None
            beta[lost], sigma[lost], status[lost] = again.beta, again.sigma, again.status
            # each design has coordinates of its own for X
            turn = np.linalg.solve(nested.groups.x_factor.T, self.base.design.x_factor.T)
            information[lost] = turn @ again.information @ turn.T
        return Refits(at, beta, sigma, status, None, information)

    def response(self, drawn: Array, j: int) -> Array:
        """(n,) the response, offset taken off, of one draw (1, ..) for hypothesis ``j``."""
        exchanged = self.exchanged[self.source[j]]
        return exchanged.kept + exchanged.responses(drawn)[0]

    def shifted(self, which: Array, values: Array) -> MixedRefits:
        """The kernel of hypotheses ``which`` (T,) at other null values (T,)."""
        nulls = tuple(self.nulls[j] for j in which)
        near = tuple(self.exchanged[self.source[j]].T for j in which)
        at = tuple(np.array([value]) for value in values)
        return self._made(self.base, nulls, self.rule, at, self.vcov, near)

    @property
    def at_boundary(self) -> tuple[str, ...]:
        """Factors of which some null model estimates a variance of 0."""
        found = []
        for block, which in zip(self.base.re.blocks, range(len(self.base.re.blocks)), strict=True):
            size = np.sqrt(np.mean(np.square(block.X_re), axis=0))
            rows = [size * np.linalg.norm(exchanged.T[which], axis=1) for exchanged in self.exchanged]
            if any(np.any(row < AT_BOUND) for row in rows):
                found.append(block.group_name)
        return tuple(dict.fromkeys(found))

    def _tested(self, j: int, fits: Refits) -> tuple[Array, Array]:
        """(b,) statistics and standard errors (NaN for k > 1) of hypothesis j."""
        rows = self.nulls[j].hypothesis.rows
        assert fits.information is not None
        good = (fits.status == DRAW_OK) & np.isfinite(fits.information).all(axis=(1, 2)) & np.isfinite(fits.sigma)
        nested = self.rule.nested if isinstance(self.rule, FlippedGroups) else None
        x_factor = self.base.design.x_factor if nested is None else nested.groups.x_factor
        inside = solve_triangular(x_factor, rows.T, trans=1)
        information = np.where(good[:, None, None], fits.information, np.eye(inside.shape[0]))
        solved = np.linalg.solve(information, np.broadcast_to(inside, (len(good), *inside.shape)))
        variance = np.square(fits.sigma)[:, None, None] * (inside.T @ solved)
        away = fits.beta @ rows.T
        if rows.shape[0] == 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                se = np.where(good, np.sqrt(variance[:, 0, 0]), np.nan)
                return np.where(se > 0, away[:, 0] / se, np.nan), se
        variance = np.where(good[:, None, None], variance, np.eye(rows.shape[0]))
        solved = np.linalg.solve(variance, away[:, :, None])[:, :, 0]
        f = np.einsum("bk,bk->b", away, solved) / rows.shape[0]
        return np.where(good, f, np.nan), np.full(len(good), np.nan)


def _statistic(away: Array, variance: Array) -> tuple[float, float]:
    if away.size == 1:
        se = float(np.sqrt(variance[0, 0]))
        return (float(away[0]) / se if se > 0 else np.nan), se
    return float(away @ np.linalg.solve(variance, away)) / away.size, np.nan
