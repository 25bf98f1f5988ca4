"""Sign flips of effective scores: one fit of the null model, then a matrix product for all draws.

With X0 and W the design and working weights of the null fit, r its Pearson residuals, H0 the weighted hat matrix of
X0, and a the part of W^1/2 x outside it, the score of the tested direction is a'r: a sum over rows that has mean zero
under the null, whatever the variance of each. Flipping signs S = diag(+-1),

    T(S) = a'S r / sqrt(a'S (I - H0) S a)

Any link, trials, weights, offset and dispersion take part through the null fit, and the full model need not have an
estimate at all. Units of exchange may be groups: a sign is then shared by the rows of one.

Sources: Hemerik, Goeman & Finos (2020) J. R. Stat. Soc. B 82; De Santis et al. (2025) JASA (standardised).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family
from inference_core.fit.family_params import fit_with_params
from inference_core.solvers import irls as solver
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array, Frozen
from inference_core.states.inference import DRAW_OK

from .hypotheses import Hypothesis
from .least_squares import chunk_of, quadratic_form

# A flip whose variance is below this share of the observed one leaves nothing to judge by.
NOTHING = 1e-12
QUICK_STEPS = 30  # of a null fit that starts at its neighbour's


@dataclass(frozen=True, slots=True, eq=False)
class ScoreProblem(Frozen):
    """What null fits start from: rows of positive weight, estimable columns."""

    X: Array  # (m, r)
    y: Array  # (m,)
    weights: Array | None  # (m,) trials included
    offset: Array | None  # (m,)
    family: Family

    def null_scores(self, hypothesis: Hypothesis, near: NullScores | None = None) -> NullScores | str:
        """As :func:`null_scores`, from a neighbour's null fit if given."""
        return null_scores(self, hypothesis, None if near is None else near.coef, quick=near is not None)

    def by_unit(self, columns: Array) -> Array:
        """(m, c) columns (m, c): each row is a unit of exchange."""
        return columns


class HasNullFits(Protocol):
    """Rows of a model, and the null fits of its hypotheses; units of exchange are rows, or groups of them."""

    @property
    def X(self) -> Array:
        """(m, r) design."""
        ...

    @property
    def family(self) -> Family:
        """Of the model."""
        ...

    def null_scores(self, hypothesis: Hypothesis, near: NullScores | None = None) -> NullScores | str:
        """The null fit, or why there is none; ``near`` is the same hypothesis at another value."""
        ...

    def by_unit(self, columns: Array) -> Array:
        """(units, c) sums of columns (m, c) over the rows of each unit."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class NullScores(Frozen):
    """The null fit of one hypothesis: effective directions a (m, k), residuals r (m,), basis of X0 (m, r - k)."""

    a: Array
    r: Array
    basis: Array
    coef: Array  # (r - k,) in the null basis, where the next null value may start


@dataclass(frozen=True, slots=True, eq=False)
class ScoreKernel(Frozen):
    """Statistics of any batch of signs; a pure function of them."""

    threads: ClassVar[bool] = True  # suit it: it is matrix products, outside the interpreter's lock
    problem: HasNullFits
    hypotheses: tuple[Hypothesis, ...]
    scores: tuple[NullScores, ...]
    stacked: Array  # (units, sum k (1 + r - k)) of a r and a basis, all hypotheses side by side
    observed: Array  # (q,)

    @property
    def n(self) -> int:
        """Rows that take part."""
        return self.problem.X.shape[0]

    @property
    def p(self) -> int:
        """Statistics per draw."""
        return len(self.hypotheses)

    @property
    def chunk_rows(self) -> int:
        """Draws of one call."""
        return chunk_of(self.n)

    def refit(self, signs: Array) -> tuple[Array, Array, Array | None]:
        """(T (b, q), status (b,), None) of signs (b, units)."""
        with one_blas_thread():
            sums = signs @ self.stacked
            out = np.empty((len(signs), self.p))
            done = 0
            for j, null in enumerate(self.scores):
                k, width = null.a.shape[1], null.a.shape[1] * (1 + null.basis.shape[1])
                out[:, j] = _statistic(sums[:, done : done + width], null, k)
                done += width
        return out, np.full(len(signs), DRAW_OK, np.int8), None

    def shifted(self, which: Array, values: Array) -> tuple[ScoreKernel, Array]:
        """The kernel of hypotheses ``which`` (T,) at other null values (T,), and which of the T have a null fit."""
        fitted = []
        for j, value in zip(which, values, strict=True):
            moved = replace(self.hypotheses[j], value=np.array([value]))
            fitted.append((moved, self.problem.null_scores(moved, self.scores[j])))
        good = [i for i, (_, found) in enumerate(fitted) if isinstance(found, NullScores)]
        kernel = _assemble(self.problem, [(h, s) for h, s in fitted if isinstance(s, NullScores)])
        return kernel, np.array(good, int)


def _statistic(sums: Array, null: NullScores, k: int) -> Array:
    numerator, inside = sums[:, :k], sums[:, k:].reshape(len(sums), k, -1)
    if k == 1:
        total = float(null.a[:, 0] @ null.a[:, 0])
        variance = total - (inside[:, 0] ** 2).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > NOTHING * total, numerator[:, 0] / np.sqrt(np.abs(variance)), np.nan)
    variance = null.a.T @ null.a - inside @ inside.transpose(0, 2, 1)
    return quadratic_form(numerator.T, variance) / k


def score_kernel(problem: HasNullFits, hypotheses: list[Hypothesis]) -> tuple[ScoreKernel, dict[str, str]]:
    """The kernel, and why some null models have no fit (reason by name); those hypotheses are left out."""
    fitted: list[tuple[Hypothesis, NullScores]] = []
    refused: dict[str, str] = {}
    for h in hypotheses:
        found = problem.null_scores(h)
        if isinstance(found, str):
            refused[h.name] = found
        else:
            fitted.append((h, found))
    return _assemble(problem, fitted), refused


def _assemble(problem: HasNullFits, fitted: list[tuple[Hypothesis, NullScores]]) -> ScoreKernel:
    columns = [np.zeros((len(problem.X), 0))]
    for h, null in fitted:
        columns.append(null.a * null.r[:, None])
        columns.extend(null.a[:, [i]] * null.basis for i in range(h.k))
    stacked = problem.by_unit(np.hstack(columns))
    kernel = ScoreKernel(
        problem, tuple(h for h, _ in fitted), tuple(s for _, s in fitted), stacked, np.zeros(len(fitted))
    )
    return replace(kernel, observed=kernel.refit(np.ones((1, len(stacked))))[0][0])


def null_scores(
    problem: ScoreProblem, hypothesis: Hypothesis, start: Array | None = None, quick: bool = False
) -> NullScores | str:
    """Fit the null model of one hypothesis; a reason instead where it has no estimate.

    ``quick`` gives up where the link's range gets in the way of the search: among the many null values that a limit
    is looked for at, one that far out is outside.
    """
    basis = hypothesis.null_basis()
    X0 = problem.X @ basis
    along = problem.X @ hypothesis.direction
    shift = along @ hypothesis.value
    offset = shift if problem.offset is None else problem.offset + shift
    fitted = _fit_null(X0, problem, offset, start, quick)
    if isinstance(fitted, str):
        return fitted
    family, coef = fitted
    s, w = family.score_weight(X0 @ coef + offset, problem.y)
    if problem.weights is not None:
        s, w = s * problem.weights, w * problem.weights
    usable = np.isfinite(s) & np.isfinite(w) & (w > 0)
    root = np.sqrt(np.where(usable, w, 0.0))
    r = np.divide(s, root, out=np.zeros_like(root), where=usable)
    q0, _ = np.linalg.qr(X0 * root[:, None])
    a = along * root[:, None]
    length = np.linalg.norm(a, axis=0)
    for _ in range(2):
        a = a - q0 @ (q0.T @ a)
    if np.any(np.linalg.norm(a, axis=0) <= 1e-7 * length):
        return "its column is explained by the others at the fit of the null model"
    df = len(problem.y) - X0.shape[1]
    if not family.dispersion_known and df > 0:
        r = r / np.sqrt(max(float(r @ r) / df, np.finfo(float).tiny))  # any constant drops out of the p-value
    return NullScores(a, r, q0, coef)


def _fit_null(
    X0: Array, problem: ScoreProblem, offset: Array, start: Array | None, quick: bool
) -> tuple[Family, Array] | str:
    family = problem.family
    if X0.shape[1] == 0:
        if family.estimated:
            return f"a null model without a coefficient gives no {' or '.join(family.estimated)}"
        return (family, np.zeros(0)) if family.eta_valid(offset) else "its null model gives impossible means"
    try:
        if family.estimated or family.name == "tdist":
            family, result = fit_with_params(X0, problem.y, family, problem.weights, offset, start=start)
        else:
            data = X0, problem.y, family, problem.weights, offset
            if quick:
                result = solver.irls(*data, start=start, max_iter=QUICK_STEPS, check_separation=False)
            else:
                result = solver.maximise(*data, start=start)
    except FitError:
        return "its null model has no estimate"
    if result.status != solver.OK:
        return "its null model has no estimate"
    return family, result.coef
