"""The stream of permutation draws: what ``infer(how="perm")`` drains and a picture watches grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.asymptotic import resolve_error_type
from inference_core.infer.coefficient import resolve_null
from inference_core.infer.resample.stream import DrawStream
from inference_core.infer.sandwich import hc3_ratio, sandwich_vcov
from inference_core.infer.welch import cell_model, check_welch
from inference_core.rng import RNG
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import ResamplesState
from inference_core.states.spec import ModelSpec

from .arrangements import Arrangements, Shuffles, Signs
from .exchange import least_squares_kernel
from .hypotheses import Hypothesis
from .least_squares import CellErrors, LeastSquaresKernel, Problem
from .refits import RefitKernel, refit_kernel
from .rules import CANNOT_MOVE_A_MEAN, SHUFFLING, check_scheme, counted_rows, default_scheme, testable
from .score import ScoreKernel, ScoreProblem, score_kernel

Kernel = LeastSquaresKernel | ScoreKernel | RefitKernel


@dataclass(slots=True, eq=False)
class PermutationStream(DrawStream):
    """Draws of permutation statistics of one fitted model; names, observed and draws belong to its hypotheses.

    ``samples`` are t* (z*, standardised scores, or F* of several numbers), ``se`` the standard error of each draw where
    the scheme has one: the estimate of a draw is null + t* se.

    Attributes
    ----------
    total : int or None
        How many arrangements there are, where all of them are tried (draw i is arrangement i); else None.
    not_tested : mapping
        Name to reason, of coefficients that this scheme has no test for.
    """

    arrangements: Arrangements = field(default_factory=lambda: Shuffles(0))
    rows: Array = field(default_factory=lambda: np.zeros(0, int))  # that take part
    n_rows: int = 0  # of the data
    y: Array = field(default_factory=lambda: np.zeros(0))  # (n_rows,)
    offset: Array | None = None
    not_tested: Mapping[str, str] = field(default_factory=dict)
    hypotheses: tuple[Hypothesis, ...] = ()
    unmoved: frozenset[str] = frozenset()  # tested although shuffling leaves the number where it is

    @property
    def total(self) -> int | None:
        """Number of arrangements, where all are tried."""
        return self.arrangements.total

    @property
    def task(self) -> str:
        """The label of a progress bar."""
        return "permutation"

    def resamples(
        self, samples: Array, status: Array, se: Array | None = None, *, n_requested: int, cancelled: bool = False
    ) -> ResamplesState:
        """The container of draws 0, 1, .. of this stream."""
        shuffled = isinstance(self.arrangements, Shuffles)
        rebuild = partial(arrangement_of_draw, self.arrangements, self.rng, self.rows, self.n_rows)
        return ResamplesState(
            samples=samples, observed=self.observed, names=self.names, method="perm", context="params", status=status,
            seed=self.seed, n_requested=n_requested, scheme=self.scheme, se=se, cancelled=cancelled,
            indices_of=rebuild if shuffled else None, signs_of=None if shuffled else rebuild,
        )  # fmt: skip

    def indices_of(self, i: int) -> Array:
        """(n,) the row whose value (response or residual) each row receives in draw ``i``.

        Raises
        ------
        InferenceError
            Draws of this scheme flip signs.
        """
        if isinstance(self.arrangements, Signs):
            raise InferenceError(
                asked=f"the rows of draw {i}",
                found=f"a draw of scheme={self.scheme!r} flips signs and moves no row",
                remedy=f"signs_of({i})",
            )
        return arrangement_of_draw(self.arrangements, self.rng, self.rows, self.n_rows, i)

    def signs_of(self, i: int) -> Array:
        """(n,) the sign, -1 or 1, of every row in draw ``i``.

        Raises
        ------
        InferenceError
            Draws of this scheme shuffle rows.
        """
        if isinstance(self.arrangements, Shuffles):
            raise InferenceError(
                asked=f"the signs of draw {i}",
                found=f"a draw of scheme={self.scheme!r} shuffles rows",
                remedy=f"indices_of({i})",
            )
        return arrangement_of_draw(self.arrangements, self.rng, self.rows, self.n_rows, i)

    def response_of(self, i: int, name: str | None = None) -> Array:
        """(n,) the response that draw ``i`` is refitted to, for the test of ``name`` (the first if not given).

        Each hypothesis has a null model, so a residual scheme makes one response for each. Rows of weight 0 keep
        theirs.

        Raises
        ------
        InferenceError
            A name that is not tested; a scheme that refits nothing.
        """
        name = self.names[0] if name is None and self.names else name
        if name not in self.names:
            raise InferenceError(
                asked=f"the response of draw {i} for {name!r}",
                found=f"draws test {', '.join(self.names) or 'nothing'}",
                remedy="one of these names",
            )
        kernel: Any = self.kernel
        if isinstance(kernel, ScoreKernel):
            raise InferenceError(
                asked=f"the response of draw {i}",
                found="score flips refit nothing: they flip the sign of what each row adds to the score",
                remedy=f"signs_of({i})",
            )
        drawn = self.arrangements.draw(self.rng, i, i + 1)[0]
        out = self.y.copy()
        if isinstance(kernel, RefitKernel):
            out[self.rows] = self.y[self.rows][drawn]
            return out
        vector = kernel.exchanged(self.names.index(name))
        moved = vector[drawn] if isinstance(self.arrangements, Shuffles) else vector * drawn
        out[self.rows] = (kernel.problem.target - vector + moved) / kernel.problem.root
        if self.offset is not None:
            out[self.rows] += self.offset[self.rows]
        return out


def arrangement_of_draw(arrangements: Arrangements, rng: RNG, rows: Array, n: int, i: int) -> Array:
    """(n,) row numbers, or signs, of draw ``i``; rows that take no part stay as they are."""
    drawn = arrangements.draw(rng, i, i + 1)[0]
    if rows.size == n:
        return drawn
    if isinstance(arrangements, Signs):
        signs = np.ones(n)
        signs[rows] = drawn
        return signs
    order = np.arange(n)
    order[rows] = rows[drawn]
    return order


def open_permutation_stream(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    *,
    scheme: str | None = None,
    seed: int | None = None,
    errors: str = "iid",
    null: Any = 0.0,
    n_perm: int = 999,
    means: bool = False,
    every: bool = True,
    hypotheses: list[Hypothesis] | None = None,
    data: Any = None,
    want_se: bool = True,
) -> PermutationStream:
    """The permutation draws of a fitted model; those of mixed models are in ``mixed.open_mixed_stream``.

    Parameters
    ----------
    spec, bundle, fit
        The model; weights, offset, trials, link and dropped columns take part.
    scheme : {"freedman_lane", "y", "ter_braak", "score_flip", "sign_flip"}, optional
        What is exchanged; None picks by :func:`rules.default_scheme`.
    seed : int, optional
        Draw i is a function of (seed, i). None picks one; the stream tells it.
    errors : str
        Standard error inside and outside the draws: "iid", "HC0" to "HC4", "hetero", "unequal_var" (lm).
    null : float, (p,), or mapping
        The values tested: one for all, p of them, or by parameter name.
    n_perm : int
        Draws that are wanted: all arrangements are tried where there are no more than these, or than 5,000.
    means : bool
        Also test what shuffling cannot move (intercepts and means), as the specified functions do.
    every : bool
        False never tries all arrangements.
    hypotheses : list of Hypothesis, optional
        Other hypotheses than "each coefficient equals its null".
    data : frame, optional
        The original frame, for Welch errors.
    want_se : bool
        Ignored: every draw has its standard error.

    Raises
    ------
    InferenceError
        A scheme or errors that this model cannot have.
    """
    if spec.has_random_effects:
        from .mixed import open_mixed_stream

        return open_mixed_stream(
            spec, bundle, fit, scheme=scheme, seed=seed, errors=resolve_error_type(errors, spec.family), null=null,
            n_perm=n_perm, means=means, every=every, hypotheses=hypotheses,
        )  # fmt: skip
    null, errors = resolve_null(null, bundle.X_names), resolve_error_type(errors, spec.family)
    scheme = scheme or default_scheme(spec, bundle, null, fit)
    check_scheme(spec, bundle, scheme, errors, null)
    if _route(spec, scheme) == "refits" and (fit.is_separated or not fit.converged):
        raise InferenceError(
            asked=f"permutation draws of {spec.formula} with scheme={scheme!r}",
            found="the fit has no estimate, so its z-values say nothing that shuffled ones could be held against",
            remedy="scheme='score_flip' needs the null model only",
        )
    kept, rows = np.flatnonzero(np.isfinite(fit.coef)), counted_rows(bundle)
    not_tested: dict[str, str] = {}
    unmoved: set[str] = set()
    if hypotheses is None:
        hypotheses = []
        for h, keeps in testable(bundle, kept, null):
            if keeps or means or scheme not in SHUFFLING:
                hypotheses.append(h)
                if not keeps and scheme in SHUFFLING:
                    unmoved.add(h.name)
            else:
                way_out = (
                    "scheme='sign_flip' tests it if errors are symmetric" if spec.is_lm else "scheme='score_flip' can"
                )
                not_tested[h.name] = f"{CANNOT_MOVE_A_MEAN}; {way_out}"
    parts = _Parts(spec, bundle, fit, kept, rows)
    arrangements = _arrangements(parts, scheme, n_perm if every else 0)
    kernel, observed, refused = _KERNELS[_route(spec, scheme)](parts, hypotheses, scheme, errors, arrangements, data)
    tested = tuple(h for h in hypotheses if h.name not in refused)
    return PermutationStream(
        kernel=kernel,
        rng=RNG.from_seed(seed),
        names=tuple(h.name for h in tested),
        observed=observed,
        observed_se=getattr(kernel, "observed_se", None),
        scheme=scheme,
        want_se=not isinstance(kernel, ScoreKernel),
        errors=errors,
        df_resid=fit.df_resid,
        robust_ratio=partial(hc3_ratio, spec, bundle, fit),
        drawn=arrangements.draw,
        arrangements=arrangements,
        rows=rows,
        n_rows=bundle.n,
        y=bundle.y,
        offset=bundle.offset,
        not_tested=not_tested | refused,
        hypotheses=tested,
        unmoved=frozenset(unmoved),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """A fitted model, the columns that it estimates and the rows that take part."""

    spec: ModelSpec
    bundle: DataBundle
    fit: FitState
    kept: Array
    rows: Array

    @property
    def X(self) -> Array:
        return self.bundle.X[np.ix_(self.rows, self.kept)]

    @property
    def y(self) -> Array:
        return self.bundle.y[self.rows]

    @property
    def weights(self) -> Array | None:
        return None if self.bundle.prior_weights is None else self.bundle.prior_weights[self.rows]

    @property
    def offset(self) -> Array | None:
        return None if self.bundle.offset is None else self.bundle.offset[self.rows]


def _arrangements(parts: _Parts, scheme: str, n_perm: int) -> Arrangements:
    m = parts.rows.size
    if scheme not in SHUFFLING:
        return Signs.of(m, n_perm) if n_perm else Signs(m)
    # The arrangement of ter Braak's residuals that changes nothing is not the data: there is no exact p to count.
    if not n_perm or scheme == "ter_braak":
        return Shuffles(m)
    design = parts.X if parts.weights is None else np.column_stack([parts.X, parts.weights])
    return Shuffles.of(design, n_perm)


def _least_squares(parts: _Parts, hypotheses: list, scheme: str, errors: str, arrangements: Any, data: Any):
    cells = None
    if errors == "unequal_var":
        check_welch(parts.spec, parts.bundle)
        cells = CellErrors(*cell_model(parts.bundle, data))
    problem = Problem.of(parts.X, parts.y, parts.weights, parts.offset)
    kernel, refused = least_squares_kernel(problem, hypotheses, scheme, errors, arrangements, cells)
    return kernel, kernel.observed, refused


def _scores(parts: _Parts, hypotheses: list, scheme: str, errors: str, arrangements: Any, data: Any):
    from inference_core.fit.common import fitted_family

    family = fitted_family(parts.spec, parts.fit)
    problem = ScoreProblem(parts.X, parts.y, parts.weights, parts.offset, family)
    kernel, refused = score_kernel(problem, hypotheses)
    return kernel, kernel.observed, refused


def _refits(parts: _Parts, hypotheses: list, scheme: str, errors: str, arrangements: Any, data: Any):
    if any(h.k > 1 or np.count_nonzero(h.rows) != 1 for h in hypotheses):
        raise InferenceError(
            asked="a test of several coefficients of a glm by scheme='y'",
            found="refits to shuffled responses test one coefficient at a time",
            remedy="scheme='score_flip'",
        )
    columns = np.array([parts.kept[np.flatnonzero(h.rows[0])[0]] for h in hypotheses], int)
    weight = np.array([h.rows.sum() for h in hypotheses])  # of the one coefficient that a row has
    kernel = refit_kernel(parts.spec, parts.bundle, parts.fit, parts.rows, columns, weight, errors)
    vcov = parts.fit.vcov if errors == "iid" else sandwich_vcov(parts.spec, parts.bundle, parts.fit, errors)
    values = np.array([h.value[0] for h in hypotheses])
    se = np.abs(weight) * np.sqrt(np.diag(vcov)[columns])
    return kernel, (weight * parts.fit.coef[columns] - values) / se, {}


def _route(spec: ModelSpec, scheme: str) -> str:
    if scheme == "score_flip":
        return scheme
    return "least_squares" if spec.is_lm else "refits"


_KERNELS = {"least_squares": _least_squares, "score_flip": _scores, "refits": _refits}
