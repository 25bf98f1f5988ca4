"""The state of one batch of glm refits: which lanes still run, where they are, what became of them.

A lane is one resample. Lanes advance together by Fisher scoring and drop out as they finish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, with_params
from inference_core.fit.family_params import fit_with_params
from inference_core.solvers import irls as single
from inference_core.solvers.separation import can_separate
from inference_core.states.base import Array
from inference_core.states.inference import DRAW_NOT_CONVERGED, DRAW_OK, DRAW_RANK_DEFICIENT, DRAW_SEPARATED

from .family_lanes import update_params
from .rank import full_rank
from .steps import drop_absent, fisher_step, normal_equations, observed_step, solve

if TYPE_CHECKING:
    from .glm_operators import GlmKernel

# Links whose observed and expected information agree: Fisher scoring is Newton's method there.
CANONICAL = {
    ("gaussian", "identity"), ("binomial", "logit"), ("quasibinomial", "logit"), ("poisson", "log"),
    ("quasipoisson", "log"), ("gamma", "inverse"), ("inverse_gaussian", "inverse_squared"),
}  # fmt: skip
# Squared step in standard errors after which a lane is done. Newton's next error is the square of this one; Fisher
# scoring with another link only shrinks it by a factor, so the last step itself must be small.
TOL_NEWTON, TOL_FISHER = 1e-10, 1e-20
STALLED = 1e-18  # a step this small that no longer shrinks is rounding; slow Fisher scoring halves larger ones
# Separation: the likelihood has settled to 1e-8 while some eta still walks; its row's weight would be below 1e-5.
SETTLED, WALKS = 1e-8, 0.03
WEAK_PIVOT = 1e-9  # of the first information matrix: the rank of such a resample is judged on its rows


class Lanes:
    """The state of one batch of refits: which lanes still run, where they are, what became of them."""

    def __init__(self, kernel: GlmKernel, counts: Array, responses: Array | None = None) -> None:
        b, r = len(counts), kernel.kept.size
        self.kernel, self.counts = kernel, counts
        self.responses = responses  # (b, n) where every lane has a response of its own
        self.case_weights = counts if kernel.weights is None else counts * kernel.weights
        self.beta = np.zeros((b, r))  # in the basis, from the full fit
        self.status = np.full(b, DRAW_NOT_CONVERGED, np.int8)
        family = kernel.family
        self.canonical = (family.name, family.link.name) in CANONICAL
        tol = (TOL_NEWTON if self.canonical else TOL_FISHER) if kernel.tol is None else kernel.tol
        self.tol = tol * kernel.dispersion
        self.bounds = family.eta_bounds
        self.separable = can_separate(family)
        self.params = np.tile(np.asarray(family.params, float), (b, 1)) if family.estimated else None

    def y_of(self, lanes: Any) -> Array:
        """The response of these lanes: (n,) one for all, or (b, n)."""
        return self.kernel.y if self.responses is None else self.responses[lanes]

    def family_of(self, lanes: Array) -> Family:
        """The family, with these lanes' own parameters as columns where a refit estimates them."""
        if self.params is None:
            return self.kernel.family
        return _family_at(self.kernel.family, self.params[lanes])

    def params_of(self, lanes: Array) -> Array | None:
        """(b, k) the family's own parameters in these lanes, estimated or not; None where it has none."""
        if self.params is not None:
            return self.params[lanes]
        own = self.kernel.family.params
        return np.tile(np.asarray(own, float), (len(lanes), 1)) if own else None

    def known_dispersion(self, lanes: Array) -> Array | None:
        """(b,) 1 where the family knows it, scale squared for Student's t; None where the rows must tell."""
        family = self.kernel.family
        if family.name == "tdist" and self.params is not None:
            return self.params[lanes, 1] ** 2
        return np.ones(len(lanes)) if family.dispersion_known else None

    def run(self) -> None:
        """Iterate to the end, then hand what is left to the single fit with its line search."""
        b = len(self.counts)
        active, step, decrement = self._first_step()
        self._iterate(active, step, decrement)
        if self.params is not None:
            self._estimate_params()
        for lane in np.flatnonzero(self.status == DRAW_NOT_CONVERGED) if b else ():
            self._single(int(lane))
        self._refuse_runaways()

    def _first_step(self) -> tuple[Array, Array, Array]:
        kernel, packed = self.kernel, None
        if self.responses is not None:
            everyone = np.arange(len(self.counts))
            s, w = self.family_of(everyone).score_weight(kernel.linear_predictor(self.beta), self.responses)
            s, w = drop_absent(np.array(s), np.array(w), self.case_weights)
            packed = normal_equations(kernel.products, self.case_weights * w, self.case_weights * s)
        elif kernel.first is None:
            packed = normal_equations(kernel.products, self.counts * kernel.working, self.counts * kernel.score)
        elif kernel.jax is None or kernel.jax.first is None:
            packed = kernel.first @ self.counts.T
        if packed is not None:
            step, decrement, worst = solve(packed, kernel.kept.size)
        else:
            assert kernel.jax is not None
            step, decrement, worst = kernel.jax.first_step(self.counts)
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
        if self.kernel.jax is not None:
            active, step, decrement = self._iterate_together(active, step, decrement)
        kernel, phi = self.kernel, self.kernel.dispersion
        settled = self.beta[active].copy()  # the last accepted point of each lane
        self.beta[active] += np.where(np.isfinite(step), step, 0.0)
        cases, before = self.case_weights[active], decrement
        for turn in range(1, kernel.max_iter):
            if not active.size:
                return
            beta = self.beta[active]
            family = self.family_of(active)
            eta, s, _w, step, decrement = fisher_step(
                kernel.products, kernel.at_fit, beta, family, self.y_of(active), cases, None, canonical=self.canonical
            )
            if turn > 3 and not self.canonical:  # Fisher scoring may be slow, or swing around the maximum
                slow = np.flatnonzero(decrement > 0.01 * before)
                if slow.size:
                    self._newton(self.family_of(active[slow]), slow, self.y_of(active[slow]), eta, s, cases, step,
                                 decrement)  # fmt: skip
            worse = ~(decrement <= 1.5 * np.maximum(before, 1e-6 * phi))
            if worse.any():
                worse = self._rose(family, worse, active, settled, eta, cases)
            worse |= self._outside(eta, cases)
            moved = ~worse
            self.beta[active[worse]] = 0.5 * (beta[worse] + settled[worse])
            settled[moved] = beta[moved]
            good = moved & np.isfinite(decrement)
            self.beta[active[good]] = beta[good] + step[good]
            done = good & ((decrement <= self.tol) | ((decrement <= STALLED * phi) & (decrement > 0.25 * before)))
            stuck = self._stuck(family, done, eta, cases)
            quiet = np.flatnonzero(good & (decrement <= SETTLED * phi) if self.params is None else done)
            walking = np.zeros(len(active), bool)
            if quiet.size and self.separable:
                walking[quiet] = self._walks(step[quiet], cases[quiet])
            done &= ~walking
            self.status[active[done & ~stuck]] = DRAW_OK
            self.status[active[walking]] = DRAW_SEPARATED
            before = np.where(moved, decrement, before)
            on = ~(done | walking)
            if not on.all():
                active, settled, cases, before = active[on], settled[on], cases[on], before[on]

    def _iterate_together(self, active: Array, step: Array, decrement: Array) -> tuple[Array, Array, Array]:
        """The same by JAX for the lanes that behave; what it leaves, with what it was given for those."""
        from .glm_jax import Rules

        jax, phi = self.kernel.jax, self.kernel.dispersion
        if jax is None or not active.size:
            return active, step, decrement
        low, high = self.bounds
        rules = Rules(
            self.canonical, bool(np.isfinite(self.bounds).any()), float(self.tol), float(phi), float(STALLED * phi),
            float(SETTLED * phi) if self.separable else 0.0, float(WALKS / self.kernel.reach), float(low), float(high),
            WEAK_PIVOT,
        )  # fmt: skip
        cases = self.case_weights[active]
        own = None if self.responses is None else self.responses[active]
        beta, well, eta = jax.iterate(self.beta[active], step, decrement, own, cases, self.params_of(active), rules,
                                      self.kernel.max_iter)  # fmt: skip
        if rules.can_leave:
            at = np.flatnonzero(well)
            well = well.copy()
            well[at] = ~(single.edge_rows(self.family_of(active[at]), eta[at]) & (cases[at] > 0)).any(1)
        self.beta[active[well]] = beta[well]
        self.status[active[well]] = DRAW_OK
        return active[~well], step[~well], decrement[~well]

    def _newton(
        self, family: Family, slow: Array, y: Array, eta: Array, score: Array, cases: Array, step: Array,
        decrement: Array,
    ) -> None:  # fmt: skip
        """Put steps with the observed information in the place of Fisher's for ``slow`` lanes, where it is definite.

        The information by central differences of the score, as in the single fit.
        """
        better, length, worst, known = observed_step(self.kernel.products, eta[slow], score[slow], family, y,
                                                     cases[slow], None)  # fmt: skip
        fine = known & np.isfinite(length) & (worst > WEAK_PIVOT)
        step[slow[fine]], decrement[slow[fine]] = better[fine], length[fine]

    def _rose(
        self, family: Family, worse: Array, active: Array, settled: Array, eta: Array, cases: Array
    ) -> Array:
        """Which of the lanes flagged ``worse`` have a larger deviance than at their last accepted point, or none."""
        at = np.flatnonzero(worse)
        if self.params is not None:
            family = _family_at(family, np.column_stack([np.ravel(column)[at] for column in family.params]))
        y = self.y_of(active[at])
        now = _deviance(family, eta[at], y, cases[at])
        then = _deviance(family, self.kernel.linear_predictor(settled[at]), y, cases[at])
        rose = np.zeros_like(worse)
        rose[at] = ~(now <= then + 1e-8 * np.abs(then))
        return rose

    def _outside(self, eta: Array, cases: Array) -> Array:
        """(b,) lanes with a row whose eta lies where the link or the family is not defined."""
        low, high = self.bounds
        outside = np.zeros(len(eta), bool)
        if np.isfinite(low):
            outside |= ((eta <= low) & (cases > 0)).any(1)
        if np.isfinite(high):
            outside |= ((eta >= high) & (cases > 0)).any(1)
        return outside

    def _stuck(self, family: Family, done: Array, eta: Array, cases: Array) -> Array:
        """Which of the lanes that are ``done`` stopped at an edge of eta: the single fit goes along it."""
        stuck = np.zeros_like(done)
        if np.isfinite(self.bounds).any():
            at = np.flatnonzero(done)
            stuck[at] = (single.edge_rows(family, eta[at]) & (cases[at] > 0)).any(1)
        return stuck

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
            cases = self.case_weights[active]
            # A row that was not drawn may have an impossible mean; it must not spoil the sums it is no part of.
            y = self.y_of(active)
            mu = np.where(cases > 0, kernel.family.link.inverse(eta), y)
            updated, usable = update_params(kernel.family, y, mu, cases, self.params[active])
            self.status[active[~usable]] = DRAW_NOT_CONVERGED
            change = np.abs(updated / self.params[active] - 1.0).max(1)
            self.params[active] = updated
            active = active[usable & (change > 1e-11)]
            if not active.size:
                return
            cases = self.case_weights[active]
            eta = kernel.linear_predictor(self.beta[active])
            s, w = drop_absent(*self.family_of(active).score_weight(eta, self.y_of(active)), cases)
            s *= cases
            w *= cases
            step, decrement, _ = solve(normal_equations(kernel.products, w, s), kernel.kept.size)
            self.status[active] = DRAW_NOT_CONVERGED
            self._iterate(active, step, decrement)
            active = active[self.status[active] == DRAW_OK]
        self.status[active] = DRAW_NOT_CONVERGED

    def _refuse_runaways(self) -> None:
        """Lanes whose means are pressed to an edge that the link reaches only at infinity have no estimate."""
        if not single.can_run_away(self.kernel.family):
            return
        lanes = np.flatnonzero(self.status == DRAW_OK)
        eta = np.where(self.case_weights[lanes] > 0, self.kernel.linear_predictor(self.beta[lanes]), 0.0)
        self.status[lanes[single.runs_away(self.kernel.family, eta)]] = DRAW_NOT_CONVERGED

    def _single(self, lane: int) -> None:
        """One lane by the single fit: its line search and its test for separation are the careful ones."""
        kernel = self.kernel
        rows = np.flatnonzero(self.case_weights[lane] > 0)
        if rows.size < kernel.kept.size:
            return
        data = (
            kernel.design[rows], np.asarray(self.y_of(lane))[rows], kernel.family, self.case_weights[lane, rows],
            None if kernel.offset is None else kernel.offset[rows],
        )  # fmt: skip
        if self.params is None:
            result = single.maximise(*data, start=kernel.coef)
        else:
            try:
                family, result = fit_with_params(*data, start=kernel.coef)
            except FitError:  # the resample leaves the parameter without an estimate
                return
            self.params[lane] = family.params
        if result.converged:
            self.status[lane] = DRAW_OK
            self.beta[lane] = np.linalg.solve(kernel.r_inverse, result.coef - kernel.coef)
        elif result.status == single.SEPARATED:
            self.status[lane] = DRAW_SEPARATED


def _family_at(family: Family, params: Array) -> Family:
    """The family with one set of parameters a lane (b, k), as columns that broadcast against (b, n)."""
    columns: Any = tuple(params[:, j, None] for j in range(params.shape[1]))
    return with_params(family, columns)


def _deviance(family: Family, eta: Array, y: Array, cases: Array) -> Array:
    rows = family.deviance_rows(eta, y)
    return np.where(cases > 0, rows * cases, 0.0).sum(1)
