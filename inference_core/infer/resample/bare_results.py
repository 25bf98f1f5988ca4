"""What the bootstraps of mixed models from bare arrays share: which statistics, their names, and the result."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from inference_core.errors import InferenceError
from inference_core.states import Array, REInfo
from inference_core.states.inference import ResamplesState

from .common import compute_bootstrap_ci
from .results import BootstrapResult

Which = Literal["fixef", "ranef", "all"]


def check_which(which: str) -> Which:
    """One of the three words.

    Raises
    ------
    InferenceError
        Another.
    """
    for known in ("fixef", "ranef", "all"):
        if which == known:
            return known
    raise InferenceError(f"which={which!r}", "which is one of fixef, ranef, all", "which='fixef'")


def check_names(which: Which, group_names: Any, random_names: Any) -> None:
    """Refuse spreads without names.

    Raises
    ------
    InferenceError
        SDs are asked for, and factors or effects are not named.
    """
    if which != "fixef" and (group_names is None or random_names is None):
        raise InferenceError(
            f"which={which!r}", "SDs are named by factor and effect", "give group_names and random_names"
        )


def refuse_boot_type(boot_type: str) -> None:
    """Refuse what is not the parametric bootstrap.

    Raises
    ------
    InferenceError
        Another type.
    """
    if boot_type != "parametric":
        raise InferenceError(f"boot_type={boot_type!r}", "rows of one group belong together", "boot_type='parametric'")


def columns_of(which: Which, p: int, k: int) -> slice:
    """Which of k statistics, coefficients first, are asked for."""
    return {"fixef": slice(0, p), "ranef": slice(p, k), "all": slice(0, k)}[which]


def bare_spread_names(re: REInfo) -> tuple[str, ...]:
    """Names in the order of ``spread_statistics``: ``Subject:Intercept_sd``, ``Subject:corr_Intercept:Days``."""
    out = []
    for block in re.blocks:
        names = [name.strip("()") for name in block.column_names]
        out += [f"{block.group_name}:{name}_sd" for name in names]
        out += [f"{block.group_name}:corr_{names[b]}:{names[a]}" for a, b in block.entries if a != b]
    return (*out, "Residual_sd")


def bootstrap_result(
    draws: ResamplesState, which: Which, p: int, ci_type: Any, level: float, jackknife: Array | None = None
) -> BootstrapResult:
    """Draws of p coefficients and the spread after them as the container of the function called.

    jackknife (J, k) is the same statistics without each group, for BCa.
    """
    columns = columns_of(which, p, len(draws.names))
    samples, observed = draws.samples[:, columns], draws.observed[columns]
    lower, upper = np.full(observed.size, np.nan), np.full(observed.size, np.nan)
    for j in range(observed.size):  # one by one: a correlation with an SD of 0 is NaN, and its draw good for the others
        good = samples[~np.isnan(samples[:, j]), j, None]
        if len(good):
            left = None if jackknife is None else jackknife[:, columns][:, j, None]
            (lower[j],), (upper[j],) = compute_bootstrap_ci(observed[j, None], good, ci_type, level, left)
    return BootstrapResult(
        observed=observed, boot_samples=samples, ci_lower=lower, ci_upper=upper, param_names=list(draws.names[columns]),
        n_boot=len(samples), ci_type=ci_type, level=level,
        term_types=["fixef"] * p + ["ranef"] * (len(draws.names) - p) if which == "all" else None,
    )  # fmt: skip
