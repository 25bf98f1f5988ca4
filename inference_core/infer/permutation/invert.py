"""Limits that invert the test: the null values that the draws do not reject, found with the same draws throughout.

For a limit at distance d (in standard errors) on one side of the estimate, the observed statistic h(d) must equal the
critical value c(d), the k-th most extreme draw with the null model shifted there. h is nearly proportional to d, so
d <- d c(d) / h(d) converges in a few steps; what does not is bisected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.states.base import Array, Frozen

STEPS, CLOSE = 15, 1e-3  # of a standard error
BISECTIONS, FAR = 30, 128.0  # a limit farther out than so many standard errors is called infinite

# (hypotheses (T,), null values (T,)) -> observed (T,) and drawn (B, T) statistics
Evaluate = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class InvertedLimits(Frozen):
    """Limits of q estimates, and their Monte-Carlo standard errors; infinite where no value is rejected."""

    lower: Array
    upper: Array
    mcse_lower: Array
    mcse_upper: Array
    settled: Array  # (q,) bool
    steps: int
    least: float = 0.0  # the smallest p that all arrangements can give; 0 for random draws


def invert(
    evaluate: Evaluate,
    estimate: Array,
    se: Array,
    alpha: float,
    alternative: str,
    n_draws: int,
    identity: int | None = None,
    ends: bool = False,
) -> InvertedLimits:
    """Invert the tests of q numbers.

    Parameters
    ----------
    evaluate : callable
        Statistics at any null values.
    estimate, se : (q,)
        Where the search starts, and its unit; NaN gives NaN limits.
    alpha : float
        Level of the test.
    alternative : {"two-sided", "greater", "less"}
        One-sided tests leave one limit infinite.
    n_draws : int
        B, or the number of arrangements.
    identity : int, optional
        The draw that is the data, where all arrangements are tried: it is no critical value.
    ends : bool
        Whether null values without a statistic lie outside what the model can be, so that a limit may be where they
        begin. Otherwise there is no telling where the limit is, and it is infinite.
    """
    q = len(estimate)
    rank = critical_rank(alpha, n_draws, exact=identity is not None)
    lower, upper = np.full(q, -np.inf), np.full(q, np.inf)
    mcse = np.zeros((2, q))
    usable = np.flatnonzero(np.isfinite(estimate) & np.isfinite(se) & (se > 0))
    lower[np.setdiff1d(np.arange(q), usable)] = np.nan
    upper[np.setdiff1d(np.arange(q), usable)] = np.nan
    settled = np.ones(q, bool)
    if rank < 1 or not usable.size:
        return InvertedLimits(lower, upper, mcse[0], mcse[1], settled, 0)
    sides = {"two-sided": (-1, 1), "greater": (-1,), "less": (1,)}[alternative]
    which, side = np.repeat(usable, len(sides)), np.tile(sides, usable.size)
    search = _Search(evaluate, estimate, se, which, side, alternative == "two-sided", rank, ends)
    if identity is not None:
        search.set_apart(identity)
    search.run()
    for i, (j, s) in enumerate(zip(which, side, strict=True)):
        (lower if s < 0 else upper)[j] = estimate[j] + s * search.d[i] * se[j]
        mcse[(s + 1) // 2, j] = search.mcse[i] * se[j]
        settled[j] &= bool(search.settled[i])
    least = 0.0 if search.same is None else float(search.same.sum(0).max()) / n_draws
    return InvertedLimits(lower, upper, mcse[0], mcse[1], settled, search.steps, least)


def critical_rank(alpha: float, n_draws: int, exact: bool) -> int:
    """K: a value is rejected where fewer than k draws, the data aside, are as extreme."""
    return int(alpha * (n_draws + (0 if exact else 1)) * (1.0 + 1e-12) + 1e-9)


class _Search:
    """T limits at a time, all advanced by the same pass over the draws."""

    def __init__(
        self, evaluate: Evaluate, estimate: Array, se: Array, which: Array, side: Array, both: bool, rank: int,
        ends: bool,
    ) -> None:  # fmt: skip
        self.evaluate, self.estimate, self.se = evaluate, estimate, se
        self.which, self.side, self.both, self.ends = which, side, both, ends
        self.rank = np.full(len(which), rank)
        self.same: Array | None = None  # (B, T) arrangements that are the data, or as good as
        self.d = np.full(len(which), 2.0)
        self.inside, self.outside = np.zeros(len(which)), np.full(len(which), np.inf)  # brackets of d
        self.edge = np.zeros(len(which), bool)  # whether there is no statistic at `outside`
        self.mcse = np.zeros(len(which))
        self.settled = np.zeros(len(which), bool)
        self.steps = 0

    def set_apart(self, identity: int) -> None:
        """Leave out the data, and arrangements that say the same as the data at every null value.

        All signs flipped, or two groups of one size in each other's place, always tie with the data in a two-sided
        test; as a critical value they would bound nothing. Each counts towards p, so the rank falls by one.
        """
        everyone = np.arange(len(self.which))
        self.same = np.ones(1, bool)
        for d in (1.37, 2.71):  # to tie at both to six digits is no chance, and rounding may have eaten the rest
            self.d[:] = d
            observed, draws = self._statistics(everyone)
            self.same = self.same & (np.abs(draws - observed) <= 1e-6 * np.abs(observed))
        self.same[identity] = True
        self.rank -= self.same.sum(0) - 1
        self.d[:] = np.where(self.rank >= 1, 2.0, np.inf)
        self.settled[self.rank < 1] = True

    def run(self) -> None:
        active = np.flatnonzero(self.rank >= 1)
        for _ in range(STEPS):
            if not active.size:
                return
            at = self.d[active]
            h, c = self._gap(active)
            with np.errstate(divide="ignore", invalid="ignore"):
                target = at * c / h
            lost = ~np.isfinite(target) | ~(h > 0)
            never = np.isposinf(c) & np.isfinite(h)  # too many draws have nothing to judge by: no value is rejected
            never |= (at >= FAR) & (h <= c)
            target = np.where(lost, self._middle(active), target)
            target = np.clip(target, -FAR, FAR)
            done = (np.abs(target - at) < CLOSE) & ~lost
            self.d[active] = np.where(never, np.inf, target)
            self.settled[active[done | never]] = True
            active = active[~(done | never)]
        self._bisect(active)

    def _gap(self, active: Array) -> tuple[Array, Array]:
        """Observed statistic and critical value, on the side of each limit; brackets follow."""
        at = self.d[active]
        h, draws = self._statistics(active)
        self.steps += 1
        if self.same is not None:
            draws = np.where(self.same[:, active], -np.inf, draws)
        c, spread = critical_values(draws, self.rank[active], exact=self.same is not None)
        out = ~(h <= c)  # a null model without an estimate counts as outside
        nearer = out & (at < self.outside[active])
        self.outside[active[nearer]], self.edge[active[nearer]] = at[nearer], np.isnan(h[nearer])
        self.inside[active[~out]] = np.maximum(self.inside[active[~out]], at[~out])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.mcse[active] = np.where(h > 0, spread * np.abs(at / h), np.nan)
        return h, c

    def _statistics(self, active: Array) -> tuple[Array, Array]:
        """Observed (T,) and drawn (B, T), the larger the more extreme."""
        which, side = self.which[active], self.side[active]
        observed, draws = self.evaluate(which, self.estimate[which] + side * self.d[active] * self.se[which])
        draws = np.abs(draws) if self.both else -side * draws
        return -side * observed, np.where(np.isnan(draws), np.inf, draws)

    def _middle(self, active: Array) -> Array:
        inside, outside = self.inside[active], self.outside[active]
        return np.where(np.isinf(outside), 2.0 * np.maximum(inside, 1.0), (inside + outside) / 2.0)

    def _bisect(self, active: Array) -> None:
        for _ in range(BISECTIONS):
            if not active.size:
                return
            self.d[active] = self._middle(active)
            self._gap(active)
            width = self.outside[active] - self.inside[active]
            close = width < CLOSE
            lost = self.edge[active] & (not self.ends)
            self.d[active[close]] = np.where(lost[close], np.inf, self.inside[active[close]])
            endless = self.inside[active] > FAR
            self.d[active[endless]] = np.inf
            self.settled[active[close | endless]] = True
            active = active[~(close | endless)]


def critical_values(draws: Array, rank: Array, exact: bool = False) -> tuple[Array, Array]:
    """The rank-th largest of each column of draws (B, T), and its Monte-Carlo standard error (0 if ``exact``).

    Half the distance between the order statistics one binomial standard deviation above and below.
    """
    B = len(draws)
    share = rank / (B + 1)
    sd = np.zeros_like(rank) if exact else np.maximum(1, np.rint(np.sqrt(B * share * (1.0 - share)))).astype(int)
    ranks = np.clip([rank, rank - sd, rank + sd], 1, B)
    ordered = np.partition(draws, np.unique(B - ranks), axis=0)
    c, high, low = np.take_along_axis(ordered, B - ranks, axis=0)
    with np.errstate(invalid="ignore"):
        return c, np.zeros_like(c) if exact else np.where(np.isfinite(high), (high - low) / 2.0, np.nan)
