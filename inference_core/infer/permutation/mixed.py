"""Streams of permutation draws of mixed models: flips of whole groups, of effects and residuals; shuffles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.infer.coefficient import resolve_null
from inference_core.infer.outermost import Blocks
from inference_core.infer.resample.lmer_kernel import LmerKernel
from inference_core.infer.resample.whole_groups import WholeGroups
from inference_core.rng import RNG
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import ResamplesState
from inference_core.states.spec import ModelSpec

from .arrangements import Shuffles, Signs
from .hypotheses import Hypothesis
from .mixed_refits import FlippedEffects, FlippedGroups, MixedRefits
from .mixed_rules import cells, default_mixed_scheme, not_within, whole_groups
from .mixed_score import GroupScores
from .rules import CANNOT_MOVE_A_MEAN, check_scheme, keep_the_constant, testable
from .score import score_kernel
from .stream import PermutationStream


@dataclass(slots=True, eq=False)
class MixedPermutationStream(PermutationStream):
    """Draws of permutation statistics of a mixed model.

    Attributes
    ----------
    groups : WholeGroups or None
        Whose signs are flipped; None where rows change places, or effects and residuals have signs of their own.
    """

    groups: WholeGroups | None = None

    def resamples(
        self, samples: Array, status: Array, se: Array | None = None, *, n_requested: int, cancelled: bool = False
    ) -> ResamplesState:
        """The container of draws 0, 1, .. of this stream."""
        made = PermutationStream.resamples(
            self, samples, status, se, n_requested=n_requested, cancelled=cancelled
        )
        if isinstance(self.arrangements, Shuffles):
            return made
        if self.groups is not None:
            return replace(made, signs_of=self.signs_of)
        return replace(made, signs_of=None, response_of=self.response_of)

    def signs_of(self, i: int) -> Array:
        """(n,) the sign, -1 or 1, of every row in draw ``i``: that of its group.

        Raises
        ------
        InferenceError
            Draws of this scheme shuffle rows, or give effects and residuals signs of their own.
        """
        if isinstance(self.arrangements, Signs) and self.groups is not None:
            signs = np.ones(self.n_rows)
            signs[self.rows] = self.arrangements.draw(self.rng, i, i + 1)[0][self.groups.codes]
            return signs
        raise InferenceError(
            asked=f"the signs of draw {i}",
            found=f"a draw of scheme={self.scheme!r} has no one sign for each row",
            remedy=f"response_of({i})",
        )

    def response_of(self, i: int, name: str | None = None) -> Array:
        """(n,) the response that draw ``i`` is refitted to, for the test of ``name`` (the first if not given).

        Raises
        ------
        InferenceError
            A name that is not tested; a scheme that refits nothing.
        """
        kernel: Any = self.kernel
        name = self.names[0] if name is None and self.names else name
        if name not in self.names:
            raise InferenceError(
                asked=f"the response of draw {i} for {name!r}",
                found=f"draws test {', '.join(self.names) or 'nothing'}",
                remedy="one of these names",
            )
        if not isinstance(kernel, MixedRefits):
            raise InferenceError(
                asked=f"the response of draw {i}",
                found="score flips refit nothing: they flip the sign of what each group adds to the score",
                remedy=f"signs_of({i})",
            )
        out = np.array(self.y)
        new = kernel.response(self.arrangements.draw(self.rng, i, i + 1), self.names.index(name))
        out[self.rows] = new if self.offset is None else new + self.offset[self.rows]
        return out


def open_mixed_stream(
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
) -> MixedPermutationStream:
    """The permutation draws of a fitted mixed model.

    Parameters
    ----------
    scheme : {"group_flip", "residual", "within", "y", "score_flip"}, optional
        ``group_flip`` (the default of a linear model): the marginal residuals of the null model keep or change their
        sign, group by group of the outermost factor, and are refitted. ``residual``: one sign for the effects of each
        level of each factor, one for each residual. ``within``: responses change places within groups. ``y``: responses
        change places. ``score_flip`` (generalized models): signs of what each group adds to the score of the null
        model.
    seed, errors, null, n_perm, means, every, hypotheses
        As in :func:`stream.open_permutation_stream`.

    Raises
    ------
    InferenceError
        A scheme that this model cannot have; crossed factors whose groups cannot be flipped.
    """
    null = resolve_null(null, bundle.X_names)
    scheme = scheme or default_mixed_scheme(spec)
    check_scheme(spec, bundle, scheme, errors, null)
    kept = np.flatnonzero(np.isfinite(fit.coef))
    coefficients = hypotheses is None
    if hypotheses is None:
        hypotheses = [h for h, _ in testable(bundle, kept, null)]
    open_parts = _linear if spec.is_lmer else _generalized
    parts = open_parts(spec, bundle, fit, scheme, hypotheses, coefficients and not means, n_perm if every else 0)
    return MixedPermutationStream(
        rng=RNG.from_seed(seed), scheme=scheme, errors=errors, df_resid=fit.df_resid, drawn=parts["arrangements"].draw,
        n_rows=bundle.n, y=bundle.y, offset=bundle.offset, **parts,
    )  # fmt: skip


def _linear(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, scheme: str, hypotheses: list[Hypothesis], judge: bool,
    n_perm: int,
) -> dict[str, Any]:  # fmt: skip
    asked = f".infer(how='perm', scheme={scheme!r})"
    base = LmerKernel.of(spec, bundle, fit, asked=asked, want_se=True, with_spread=False)
    problem = base.problem
    not_tested: dict[str, str] = {}
    unmoved: set[str] = set()
    groups, rule = None, None
    if scheme == "group_flip":
        groups = whole_groups(spec, problem, asked)
        rule = FlippedGroups.of(base, groups)
        arrangements = _signs(groups, n_perm)
    elif scheme == "residual":
        rule = FlippedEffects(tuple(WholeGroups.of_block(problem, b) for b in problem.re.blocks), problem.n)
        arrangements = Signs(rule.n_units)
    else:
        cell = cells(problem) if scheme == "within" else None
        arrangements = Shuffles(problem.n, within=cell)
        for h, reason in [(h, _stays(bundle, problem, h, cell)) for h in hypotheses]:
            if reason and judge:
                not_tested[h.name] = reason
            elif reason:
                unmoved.add(h.name)
    tested = [h for h in hypotheses if h.name not in not_tested]
    vcov = fit.vcov[np.ix_(problem.kept, problem.kept)]
    kernel = MixedRefits.of(base, tested, rule, vcov)
    return {
        "kernel": kernel, "names": tuple(h.name for h in tested), "observed": kernel.observed,
        "observed_se": kernel.observed_se, "want_se": True, "arrangements": arrangements, "groups": groups,
        "rows": np.arange(bundle.n) if problem.rows is None else problem.rows, "hypotheses": tuple(tested),
        "not_tested": not_tested, "unmoved": frozenset(unmoved),
    }  # fmt: skip


def _stays(bundle: DataBundle, problem: MixedProblem, hypothesis: Hypothesis, cell: Array | None) -> str:
    """Why shuffled responses (within cells, if given) cannot test a hypothesis; empty where they can."""
    if cell is not None:
        return not_within(problem, problem.X, hypothesis, cell)
    keeps = keep_the_constant(bundle, [hypothesis], problem.kept)[0]
    return "" if keeps else f"{CANNOT_MOVE_A_MEAN}; scheme='group_flip' tests it if the groups' errors are symmetric"


def _generalized(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, scheme: str, hypotheses: list[Hypothesis], judge: bool,
    n_perm: int,
) -> dict[str, Any]:  # fmt: skip
    glmer = glmer_problem(spec, bundle, n_agq=1 if fit.n_agq is None else fit.n_agq)
    rows = glmer.common.rows
    groups = whole_groups(spec, Blocks(glmer.re, rows), f".infer(how='perm', scheme={scheme!r})")
    kernel, refused = score_kernel(GroupScores.of(glmer, groups), hypotheses)
    return {
        "kernel": kernel, "names": tuple(h.name for h in kernel.hypotheses), "observed": kernel.observed,
        "arrangements": _signs(groups, n_perm), "groups": groups, "rows": np.arange(bundle.n) if rows is None else rows,
        "hypotheses": kernel.hypotheses, "not_tested": refused,
    }  # fmt: skip


def _signs(groups: WholeGroups, n_perm: int) -> Signs:
    """All patterns where there are few groups."""
    return Signs.of(groups.J, n_perm) if n_perm else Signs(groups.J)
