"""Refits of a linear mixed model without one group: for influence, for jackknife tables and for BCa."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import Array, DataBundle, FitState, Frozen, ModelSpec
from inference_core.states.inference import DRAW_OK

from .lmer_cluster import ClusterKernel
from .lmer_kernel import LmerKernel, refuse_without_lmer
from .whole_groups import WholeGroups


@dataclass(frozen=True, slots=True, eq=False)
class GroupJackknife(Frozen):
    """Statistics without each of J groups: the coefficients, SDs and correlations of the effects, sigma."""

    factor: str
    levels: tuple[str, ...]  # (J,) the group that was left out
    names: tuple[str, ...]  # (k,)
    observed: Array  # (k,) of all groups
    samples: Array  # (J, k) NaN rows where status is not 0
    status: Array  # (J,) int8, see DRAW_REASONS

    @property
    def se(self) -> Array:
        """(k,) jackknife standard errors: sqrt((J - 1)/J sum (t_(-j) - mean)^2); NaN if a refit failed."""
        J = len(self.levels)
        return np.sqrt((J - 1) / J * np.square(self.samples - self.samples.mean(axis=0)).sum(axis=0))

    @property
    def n_failed(self) -> int:
        """Groups without which there is no estimate."""
        return int(np.count_nonzero(self.status != DRAW_OK))


def leave_one_group_out(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, factor: str | None = None
) -> GroupJackknife:
    """Refit a linear mixed model without each group in turn.

    With one grouping factor all refits advance together, from cross-products by group; with several, one by one.
    Refits start at the fitted covariance.

    Parameters
    ----------
    spec, bundle, fit
        A fitted linear mixed model; weights, offset, REML or ML and dropped columns take part.
    factor : str, optional
        Whose groups are left out, all of their rows with them; the outermost factor if not given. Crossed factors have
        none, there it must be named.

    Returns
    -------
    GroupJackknife
        A row without an estimate has a reason code: a column of X lost its variation, or the search did not settle.

    Raises
    ------
    InferenceError
        Not a linear mixed model, no such factor, or crossed factors and no name.
    """
    asked = "a jackknife over groups"
    refuse_without_lmer(spec, asked)
    base = LmerKernel.of(spec, bundle, fit, asked=asked)
    problem = base.problem
    if factor is None:
        groups = WholeGroups.outermost(problem, asked, remedy=f"factor={problem.re.group_names[0]!r}")
    else:
        groups = WholeGroups.named(problem, factor)
    samples, status, _ = ClusterKernel(base, groups).left_out()
    labels = problem.re.blocks[groups.block].levels
    return GroupJackknife(
        groups.name, tuple(labels[j] for j in groups.levels), (*bundle.X_names, *base.spread_names), base.observed,
        samples, status,
    )  # fmt: skip
