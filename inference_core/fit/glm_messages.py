"""What a generalized linear model says when it has no ordinary estimate."""

from __future__ import annotations

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family
from inference_core.solvers.irls import BOUNDARY, IrlsResult
from inference_core.solvers.separation import Separation
from inference_core.states import DataBundle

from .common import Problem


def separation_message(bundle: DataBundle, problem: Problem, found: Separation) -> str:
    """Which columns sort which event, and what to do about it."""
    infinite = [bundle.X_names[problem.kept[j]] for j in found.columns]
    slopes = [name for name in infinite if name != "(Intercept)"] or infinite
    enough = [bundle.X_names[problem.kept[j]] for j in found.enough]
    event = f'"{bundle.y_name}"'
    if bundle.response_levels:
        event = f'"{bundle.y_name}" = {bundle.response_levels[-1]}'
    sorts = "sort" if len(slopes) > 1 else "sorts"
    reach = "in every row" if found.kind == "complete" else f"in {found.rows.size} of {problem.m} rows"
    alone = ""
    if enough and set(enough) < set(slopes):
        alone = f" ({_list(enough)} alone would do)"
    return (
        f"{found.kind} separation: {_list(slopes)} {sorts} {event} perfectly {reach}{alone}, so the best "
        "slope is infinite and no finite estimate, standard error or Wald p describes it. Use a profile "
        "interval, merge levels, or leave the column out; the numbers shown are where R's glm would stop."
    )


def slow_message(bundle: DataBundle, problem: Problem, family: Family, result: IrlsResult) -> str:
    """The fit stopped before it settled (S20), or stands at the edge of what the means may be."""
    if result.status == BOUNDARY:
        lo, hi = family.mean_range
        edge = f"between {lo:g} and {hi:g}" if np.isfinite(hi) else f"above {lo:g}"
        return (
            f"The best fit lies at the edge of what link='{family.link.name}' allows: means must stay "
            f"{edge}. Standard errors mean nothing there; use link='{_safe_link(family)}'."
        )
    sizes = np.abs(problem.X).max(axis=0)
    j = int(np.argmax(sizes))
    name = bundle.X_names[problem.kept[j]]
    return (
        f"The fit stopped before it settled ({result.n_iter} steps). Rescale {name} (its values reach "
        f"{sizes[j]:.4g}), raise max_iter, or simplify the model."
    )


def no_extra_spread_message(bundle: DataBundle) -> str:
    """Theta of the negative binomial grows without end."""
    return (
        f'"{bundle.y_name}" spreads no more than a Poisson would: theta grows without end. '
        "family='poisson' says the same with one parameter less."
    )


def fractional_message(bundle: DataBundle, problem: Problem, family: Family) -> tuple[str, ...]:
    """Binomial successes that are no whole numbers, by R's threshold of 1e-3; nothing otherwise."""
    if family.name != "binomial":
        return ()
    successes = problem.y if problem.trials is None else problem.y * problem.trials
    bad = np.abs(successes - np.rint(successes)) > 1e-3
    if not np.any(bad):
        return ()
    # mixed models need a likelihood, which the quasi families do not have
    shares = "" if bundle.re_metadata is not None else ", or use family='quasibinomial' for shares that are not counts"
    return (
        f'"{bundle.y_name}" is no whole number of successes in {int(np.count_nonzero(bad))} rows. Give the number '
        f"of trials as weights={shares}.",
    )


def start_error(bundle: DataBundle, family: Family) -> FitError:
    """No coefficients at all give means the family may have."""
    return FitError(
        f'family="{family.name}" with link="{family.link.name}" for "{bundle.y_name}"',
        "no coefficients of these columns give a possible mean in every row",
        f"link='{_safe_link(family)}' has no such limits; without an intercept, add one",
    )


def runaway_message(family: Family) -> str:
    """The fit pushes means to an edge that the link reaches only at infinity."""
    return (
        f"No finite estimate: the fit pushes means to the edge of what link='{family.link.name}' can give. "
        f"Use link='{_safe_link(family)}'."
    )


def _safe_link(family: Family) -> str:
    if family.name in ("binomial", "quasibinomial"):
        return "logit"
    return "identity" if family.name in ("gaussian", "tdist") else "log"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
