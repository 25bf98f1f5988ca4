"""Permuted and sign-flipped least squares: every draw from two products with an orthonormal basis, no refit.

A draw replaces the whitened response by X0 b0 + P v, where P shuffles rows or flips signs and v is what the scheme
exchanges. Neither the tested direction G nor the residual maker M = I - QQ' sees X0, so

    t* = G'Pv / sqrt(sum_i d_i (MPv)_i^2)

with d the weights of the standard error: 1/df for the classical one, G_i^2 omega_i for HC0 to HC4, and for Welch the
cell weights, with M that of the cell means. For a null value theta the exchanged vector is v = v0 + g(theta) v1, so the
numerator is linear and the squared denominator quadratic in g: five numbers a draw give t* at *every* null value.

Sources: Freedman & Lane (1983) J. Bus. Econ. Stat. 1; ter Braak (1992); Anderson & Robinson (2001) Aust. N.Z. J. Stat.
43; Winkler et al. (2014) NeuroImage 92; DiCiccio & Romano (2017) JASA 112.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from inference_core.infer.resample.planes import triangle, unpacking
from inference_core.rng import block_rows
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.inference import DRAW_OK

from .hypotheses import Hypothesis

# Doubles of one (chunk, n) array, and the draws a chunk should at least hold while it stays below that.
CHUNK_VALUES, CHUNK_DRAWS = 1 << 19, 256
# A residual sum of squares below this share of the total is taken again from the residuals: the difference lost digits.
SMALL, NOTHING = 1e-4, 1e-24
N0, N1, ALPHA, BETA, GAMMA = range(5)  # what a draw leaves behind for one hypothesis
KEPT = 5


def chunk_of(m: int) -> int:
    """Draws of one call, whole blocks of the generator: a few MiB, and enough of them to pay for the call."""
    size = block_rows(m)
    while size < CHUNK_DRAWS and 2 * size * m <= CHUNK_VALUES:
        size *= 2
    return size


@dataclass(frozen=True, slots=True, eq=False)
class Problem(Frozen):
    """A whitened linear model: m rows of positive weight, r estimable columns, X sqrt(w) = basis @ r_factor."""

    design: Array  # (m, r)
    basis: Array  # (m, r)
    r_factor: Array  # (r, r)
    target: Array  # (m,) (y - offset) sqrt(w)
    root: Array  # (m,) sqrt(w), the column of ones
    scores: Array  # (r,) basis' target
    residual: Array  # (m,)
    centre: float  # the mean of y, where the design absorbs a constant; else 0

    @classmethod
    def of(cls, X: Array, y: Array, weights: Array | None, offset: Array | None) -> Problem:
        """Factorise ``y - offset`` on the full-rank X (m, r); weights are positive."""
        root = np.ones(len(y)) if weights is None else np.sqrt(weights)
        design = X * root[:, None]
        target = (y if offset is None else y - offset) * root
        basis, r_factor = np.linalg.qr(design)
        ones = basis.T @ root
        centre = 0.0
        if np.linalg.norm(ones) >= (1.0 - 1e-12) * np.linalg.norm(root):  # the design absorbs a constant
            centre = float(root @ target / (root @ root))
        around = target - centre * root  # a large mean of y must not cost the residuals their digits
        inside = basis.T @ around
        residual = around - basis @ inside
        residual -= basis @ (basis.T @ residual)  # once more: the residual's own rounding
        return cls(design, basis, r_factor, target, root, inside + centre * ones, residual, centre)

    @property
    def m(self) -> int:
        """Rows of positive weight."""
        return self.basis.shape[0]

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return self.basis.shape[0] - self.basis.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class CellErrors(Frozen):
    """A variance of its own in every cell (Welch): the basis of the cell means, and the cells."""

    basis: Array  # (m, s)
    of_row: Array  # (m,)
    df: Array  # (cells,)


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquaresKernel(Frozen):
    """Statistics of any batch of arrangements; a pure function of them. Built by ``exchange.least_squares_kernel``.

    q hypotheses; ``vectors`` are what is exchanged, hypothesis j's being ``vectors[base[j]] + at_null[j] *
    vectors[slope[j]]``.
    """

    threads: ClassVar[bool] = True  # suit it: it is matrix products, outside the interpreter's lock
    problem: Problem
    hypotheses: tuple[Hypothesis, ...]
    vectors: Array  # (v, m)
    base: tuple[int, ...]
    slope: tuple[int, ...]  # -1: what is exchanged does not depend on the null value
    at_null: Array  # (q,) g of the null value
    per_value: Array  # (q, 2): g = per_value[0] + per_value[1] * theta
    tested: tuple[Array, ...]  # U (r, k) of each
    scale: Array  # (q,) L b = scale * G'X b, for k = 1
    estimate: Array  # (q,) L b, for k = 1; else 0
    mean: Array  # (q,) what the mean taken out of the response adds to G'Pv
    weights: Array | None  # (m, q) d of the standard errors; None: classical
    cells: CellErrors | None
    inflation: Array | None  # (m,) omega of HC errors, for k > 1
    observed: Array  # (q,) statistics of the data
    observed_se: Array  # (q,) NaN for k > 1
    shuffled: bool
    keep_parts: bool = False  # refit() then returns t* and the five numbers of each draw

    @property
    def n(self) -> int:
        """Rows that take part."""
        return self.problem.m

    @property
    def p(self) -> int:
        """Statistics per draw."""
        return (1 + KEPT if self.keep_parts else 1) * len(self.hypotheses)

    @property
    def chunk_rows(self) -> int:
        """Draws of one call."""
        return chunk_of(self.n)

    def refit(self, arrangements: Array) -> tuple[Array, Array, Array | None]:
        """(t* (b, q), status (b,), se* (b, q)) of arrangements (b, m): row numbers, or signs.

        With ``keep_parts`` the first is (b, 6 q), read by :meth:`at_null_value` and :meth:`statistics`.
        """
        points = (self.at_null, self.at_estimate) if self.keep_parts else (self.at_null,)
        with one_blas_thread():
            found = self._parts(arrangements, points)
        status = np.full(len(arrangements), DRAW_OK, np.int8)
        t, se = _ratio(found[0][:, N0], found[0][:, ALPHA])
        if self.keep_parts:
            kept = np.concatenate([t[:, None], found[1]], axis=1)
            return kept.reshape(-1, kept.shape[2]).T, status, None
        return t.T, status, (se * self.scale[:, None]).T

    @property
    def at_estimate(self) -> Array:
        """(q,) g of the estimates: limits are near them, and squares are best taken where they are small."""
        return self.per_value[:, 0] + self.per_value[:, 1] * self.estimate

    def at_null_value(self, kept: Array) -> Array:
        """(B, q) t* from what ``refit`` left behind."""
        return np.ascontiguousarray(kept.reshape(len(kept), len(self.hypotheses), 1 + KEPT)[:, :, 0])

    def statistics(self, kept: Array, which: Array, values: Array) -> tuple[Array, Array]:
        """Observed (T,) and drawn (B, T) t-values of hypotheses ``which`` at other null values (T,).

        ``kept`` (B, 6 q) are the numbers that ``refit`` left behind.
        """
        parts = kept.reshape(len(kept), len(self.hypotheses), 1 + KEPT)[:, which, 1:]
        g = self.per_value[which, 1] * (values - self.estimate[which])
        square = parts[:, :, ALPHA] + 2.0 * g * parts[:, :, BETA] + g**2 * parts[:, :, GAMMA]
        t, _ = _ratio(parts[:, :, N0] + g * parts[:, :, N1], np.maximum(square, 0.0))
        null = np.array([self.hypotheses[j].value[0] for j in which])
        return self.observed[which] + (null - values) / self.observed_se[which], t

    def exchanged(self, j: int) -> Array:
        """(m,) the whitened vector that hypothesis ``j`` shuffles or flips."""
        vector = self.vectors[self.base[j]]
        return vector if self.slope[j] < 0 else vector + self.at_null[j] * self.vectors[self.slope[j]]

    def _parts(self, arrangements: Array, points: tuple[Array, ...]) -> list[Array]:
        """(q, 5, b) at each of some g (q,): numerator, its slope in g, squared denominator, and its slopes."""
        slopes = self.keep_parts
        needed = sorted({*self.base, *(s for j, s in enumerate(self.slope) if s >= 0 and (slopes or self.at_null[j]))})
        place = {v: i for i, v in enumerate(needed)}
        moved = self._arrange(self.vectors[needed], arrangements)
        inside = self.problem.basis.T @ moved.transpose(0, 2, 1)  # (v, r, b)
        left = None if self.weights is None else self._residuals(moved, inside)
        return [self._parts_at(g, place, moved, inside, left) for g in points]

    def _parts_at(
        self, points: Array, place: dict[int, int], moved: Array, inside: Array, left: Array | None
    ) -> Array:
        out = np.zeros((len(self.hypotheses), KEPT, moved.shape[1]))
        for j, hypothesis in enumerate(self.hypotheses):
            at, along = place[self.base[j]], place.get(self.slope[j], -1)
            if hypothesis.k > 1:
                out[j, N0], out[j, ALPHA] = self._quadratic(j, moved[at], inside[at], left, at), 1.0
                continue
            g = points[j]
            u = self.tested[j][:, 0]
            here = inside[at] if along < 0 or not g else inside[at] + g * inside[along]
            out[j, N0] = u @ here + self.mean[j]
            if along >= 0:
                out[j, N1] = u @ inside[along]
            if left is None:
                self._classical(out[j], here, inside[along] if along >= 0 else None, moved, at, along, g)
            else:
                self._weighted(out[j], left, at, along, g, j)
        return out

    def _arrange(self, vectors: Array, arrangements: Array) -> Array:
        if self.shuffled:
            return np.take(vectors, arrangements, axis=1)
        return vectors[:, None, :] * arrangements

    def _residuals(self, moved: Array, inside: Array) -> Array:
        """(v, b, m) what is left of the exchanged vectors outside the design, or outside the cell means."""
        if self.cells is None:
            return moved - inside.transpose(0, 2, 1) @ self.problem.basis.T
        return moved - (moved @ self.cells.basis) @ self.cells.basis.T

    def _classical(
        self, out: Array, here: Array, there: Array | None, moved: Array, at: int, along: int, g: float
    ) -> None:
        df = self.problem.df
        v0 = moved[at, 0] if along < 0 or not g else moved[at, 0] + g * moved[along, 0]
        total = float(v0 @ v0)  # the same for every arrangement
        rest = total - (here**2).sum(0)
        small = np.flatnonzero(rest < SMALL * total)
        if small.size:
            vector = moved[at, small] if along < 0 or not g else moved[at, small] + g * moved[along, small]
            rest[small] = self._exactly(vector, total)
        out[ALPHA] = rest / df
        if there is not None:
            v1 = moved[along, 0]
            out[BETA] = (float(v0 @ v1) - (here * there).sum(0)) / df
            out[GAMMA] = (float(v1 @ v1) - (there**2).sum(0)) / df

    def _exactly(self, vectors: Array, total: float) -> Array:
        """(b,) residual sums of squares from the residuals themselves; what is rounding of ``total`` is 0."""
        basis = self.problem.basis
        for _ in range(2):
            vectors = vectors - (vectors @ basis) @ basis.T
        rest = (vectors**2).sum(1)
        return np.where(rest > NOTHING * total, rest, 0.0)

    def _weighted(self, out: Array, left: Array, at: int, along: int, g: float, j: int) -> None:
        assert self.weights is not None
        d = self.weights[:, j]
        here = left[at] if along < 0 or not g else left[at] + g * left[along]
        out[ALPHA] = here**2 @ d
        spread = self.vectors[self.base[j]]
        if along >= 0:
            spread = spread + g * self.vectors[self.slope[j]]
            out[BETA] = (here * left[along]) @ d
            out[GAMMA] = left[along] ** 2 @ d
        out[ALPHA][out[ALPHA] <= NOTHING * float(spread @ spread) * d.max()] = 0.0

    def _quadratic(self, j: int, moved: Array, inside: Array, left: Array | None, at: int) -> Array:
        """(b,) F of a hypothesis about k > 1 numbers."""
        u = self.tested[j]
        numerator = u.T @ inside  # (k, b)
        if left is None:
            total = float(moved[0] @ moved[0])
            rest = total - (inside**2).sum(0)
            small = np.flatnonzero(rest < SMALL * total)
            if small.size:
                rest[small] = self._exactly(moved[small], total)
            with np.errstate(divide="ignore", invalid="ignore"):
                return (numerator**2).sum(0) / u.shape[1] / (rest / self.problem.df)
        return quadratic_form(numerator, self._meat(j, left[at])) / u.shape[1]

    def _meat(self, j: int, left: Array) -> Array:
        """(b, k, k) covariance of G'Pv by the errors asked for."""
        g = self.problem.basis @ self.tested[j]
        return robust_meat(g, left, self.inflation, self.cells)


def robust_meat(g: Array, left: Array, inflation: Array | None, cells: CellErrors | None) -> Array:
    """(b, k, k) sum of g_i g_i' omega_i left_i^2, or with the variance of the row's cell."""
    k = g.shape[1]
    rows, cols = triangle(k)
    pairs = g[:, rows] * g[:, cols]
    if cells is None:
        pairs = pairs * (1.0 if inflation is None else inflation[:, None])
    else:
        pairs = np.stack([np.bincount(cells.of_row, c) for c in pairs.T], 1)
        pairs = (pairs / cells.df[:, None])[cells.of_row]
    return (left**2 @ pairs)[:, unpacking(k)]


def quadratic_form(numerator: Array, covariance: Array) -> Array:
    """(b,) u' V^-1 u of u (k, b) and V (b, k, k); NaN where V has no inverse."""
    u = numerator.T[:, :, None]
    singular = ~(np.linalg.cond(covariance) < 1e12)
    safe = np.where(singular[:, None, None], np.eye(covariance.shape[1]), covariance)
    value = (u * np.linalg.solve(safe, u)).sum((1, 2))
    return np.where(singular, np.nan, value)


def _ratio(numerator: Array, square: Array) -> tuple[Array, Array]:
    """T and its denominator; where nothing is left to judge by, t is infinite, or NaN if there is nothing to judge."""
    root = np.sqrt(square)
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / root, root
