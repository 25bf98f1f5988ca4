"""Bootstrap on given rows, its intervals, and the jackknife: deterministic once the index matrix is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from inference_core.families import get_family
from inference_core.infer.bootstrap import compute_jackknife_coefs
from inference_core.infer.intervals import OrderedDraws, acceleration, bias_correction, interval
from inference_core.infer.resample.common import compute_bootstrap_ci, refit_indices
from inference_core.infer.resample.glm_operators import compute_batched_glm_bootstrap
from inference_core.infer.resample.lm_operators import compute_batched_ols_bootstrap

from .answer import Answer
from .case import Case
from .table import column

OTHER_RULES = "another quantile rule than boot.ci's, another centre, or an intermediate"


@dataclass
class Refits:
    """A model, and its refits to the rows of an index matrix."""

    m: object
    observed: np.ndarray  # (p,)
    se_observed: np.ndarray  # (p,)
    coef: np.ndarray  # (B, p)
    se: np.ndarray  # (B, p)


def refit(case: Case) -> Refits:
    """Refits to the case's rows: by the specified functions where they take the model, else by the kernel."""
    m = case.fitted()
    rows, bundle = case.index_matrix(), m.bundle
    table = m.infer().params
    coef, _, se = refit_indices(m.draw_stream(want_se=True).kernel, rows)
    if bundle.offset is None and bundle.rank_info.rank == bundle.p:
        if m.spec.is_lm and bundle.weights is None:
            coef = compute_batched_ols_bootstrap(rows, bundle.X, bundle.y)
        elif not m.spec.is_lm:
            family, weights = get_family(m.spec.family, m.spec.link), bundle.prior_weights
            coef = compute_batched_glm_bootstrap(
                rows, bundle.X, bundle.y, family, weights=weights, max_iter=100, tol=1e-13
            )
    return Refits(m, column(table, "estimate"), column(table, "se"), np.asarray(coef), se)


def bootstrap_refits(case: Case) -> Answer:
    """``resample.bootstrap_refits``: coefficients and standard errors of every refit."""
    r = refit(case)
    return Answer({"t0": r.observed, "coef": r.coef, "se": r.se}, inputs=frozenset({"B"}))


def bootstrap_ci(case: Case) -> Answer:
    """``resample.bootstrap_ci``: every interval type at every level of the case, from the case's own rows."""
    r = refit(case)
    jackknife = compute_jackknife_coefs(r.m.spec, r.m.bundle)
    broken = ties_broken_as_in_r(r.coef, r.observed, case.values["z0"])
    values = {
        "t0": r.observed,
        "jackknife_coef": jackknife,
        "refit_colmeans": r.coef.mean(axis=0),
        "refit_first3": r.coef[:3],
        "boot_mean": r.coef.mean(axis=0),
        "boot_sd": r.coef.std(axis=0, ddof=1),
        "bias": r.coef.mean(axis=0) - r.observed,
        "acceleration": acceleration(jackknife),
        "z0": bias_correction(OrderedDraws.of(broken), r.observed)[0],
    }
    apart = {"bca_regression_a_last_coef": "boot's regression estimate of influence; ours is the jackknife"}
    for name in (n for n in case.values if n.startswith("ci_")):
        values[name] = intervals_at(float(name.removeprefix("ci_")), r, jackknife, broken)
        apart[name] = OTHER_RULES
    values = {name: value for name, value in values.items() if name in case.values}
    return Answer(values, inputs=frozenset({"B"}), apart=apart)


def intervals_at(level: float, r: Refits, jackknife: np.ndarray, broken: np.ndarray) -> dict[str, np.ndarray]:
    """Limits (p, 2) of each type at one level, under the case's names."""

    def specified(kind: str, draws: np.ndarray) -> np.ndarray:
        return np.column_stack(compute_bootstrap_ci(r.observed, draws, kind, level, jackknife_stats=jackknife))

    normal = interval("normal", r.coef, r.observed, level)
    studentized = interval("studentized", r.coef, r.observed, level, se_draws=r.se, se_observed=r.se_observed)
    return {
        "percentile_boot": specified("percentile", r.coef),
        "basic_boot": specified("basic", r.coef),
        "bca_boot": specified("bca", broken),
        "normal_bias_corrected": np.column_stack([normal.lower, normal.upper]),
        "studentized_boot": np.column_stack([studentized.lower, studentized.upper]),
    }


def ties_broken_as_in_r(draws: np.ndarray, observed: np.ndarray, z0: list[float]) -> np.ndarray:
    """(B, p) the draws, with those equal to the estimate moved a hair so that they count as they did in R.

    R's z0 counts ``t < t0``. A draw that equals the estimate in exact arithmetic (group means of whole numbers do)
    then falls on either side by rounding alone; here ties count half. The case's z0 says how many fell below.
    """
    size, broken = len(draws), draws.copy()
    for j, (value, z) in enumerate(zip(observed, z0, strict=True)):
        spread = draws[:, j].std()
        tied = np.flatnonzero(np.abs(draws[:, j] - value) <= 1e-9 * spread)
        if tied.size:
            below = round(size * float(ndtr(z))) - np.count_nonzero(draws[:, j] < value - 1e-9 * spread)
            # A hundred times what counts as a tie, a tenth of what the comparison allows.
            broken[tied, j] = value + 1e-8 * spread * np.where(np.arange(tied.size) < below, -1.0, 1.0)
    return broken


def jackknife(case: Case) -> Answer:
    """``resample.jackknife``: leave-one-out coefficients, and the bias and standard error they imply."""
    m = case.fitted()
    observed, coef = m.fit_state.coef, compute_jackknife_coefs(m.spec, m.bundle)
    n, centre = len(coef), coef.mean(axis=0)
    values = {
        "t0": observed,
        "coef": coef,
        "bias": (n - 1) * (centre - observed),
        "estimate_bias_corrected": n * observed - (n - 1) * centre,
        "se": np.sqrt((n - 1) / n * ((coef - centre) ** 2).sum(axis=0)),
    }
    return Answer(values)
