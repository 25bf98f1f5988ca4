"""Permutation tests: on given index matrices, by enumeration, and with our own draws."""

from __future__ import annotations

import numpy as np
import polars as pl

from inference_core.families import get_family
from inference_core.infer.permutation.hypotheses import term_hypothesis
from inference_core.infer.resample.core import compute_pvalues

from .answer import Answer
from .case import Case
from .table import column

SEED, B = 20261123, 100_000
ALTERNATIVES = {"p_two_sided": "two-sided", "p_greater": "greater", "p_less": "less"}


def _drawn(kernel, rows: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(t* (B, q), se* (B, q)) of given arrangements."""
    parts = [kernel.refit(rows[at : at + size]) for at in range(0, len(rows), size)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[2] for p in parts])


def permutation(case: Case) -> Answer:
    """``resample.permutation``: t of every coefficient refitted to shuffled responses, and the test of all of them."""
    m, rows = case.fitted(), case.index_matrix()
    stream = m.draw_stream("perm", scheme="y", means=True)
    t, se = _drawn(stream.kernel, rows)
    coef = t * se
    if m.spec.is_lm:
        slopes = [name for name, term in zip(m.bundle.X_names, m.bundle.term_of_column, strict=True) if term >= 0]
        together = term_hypothesis(m.bundle, np.arange(m.bundle.p), slopes)
        overall = m.draw_stream("perm", scheme="freedman_lane", hypotheses=[together], n_perm=1)
        overall_obs, overall_perm = overall.observed[0], overall.kernel.refit(rows)[0][:, 0]
    else:
        overall_obs = m.fit_state.null_deviance - m.fit_state.deviance
        family = get_family(m.spec.family, m.spec.link)
        eta = coef @ m.bundle.X.T
        overall_perm = m.fit_state.null_deviance - family.deviance_rows(eta, m.bundle.y[rows]).sum(1)
    values = {
        "t_obs": stream.observed,
        "t_perm": t,
        "coef_perm": coef,
        "overall_obs": overall_obs,
        "overall_perm": overall_perm,
        "overall_p": compute_pvalues(overall_obs, overall_perm, "greater")[0],
    }
    values |= {name: compute_pvalues(stream.observed, t, alternative) for name, alternative in ALTERNATIVES.items()}
    values = {name: value for name, value in values.items() if name in case.values}
    return Answer(values, inputs=frozenset({"B", "overall_name"}))


def permutation_exact(case: Case) -> Answer:
    """``resample.permutation_exact``: every way of dealing out two groups."""
    m = case.fitted(case.frame[case.values["rows"]])
    term = m.params["term"][-1]
    p = {side: _p(m, term, side) for side in ("two-sided", "greater")}
    stream = m.draw_stream("perm")
    draws = stream.collect(stream.total or 0)
    differences = draws.samples[:, 0] * np.asarray(draws.se)[:, 0]
    values = {
        "n_arrangements": stream.total,
        "diff_obs": m.params["estimate"][-1],
        "p_two_sided": p["two-sided"],
        "p_greater": p["greater"],
        "sd": differences.std(),  # of a whole population
    }
    return Answer(values, inputs=frozenset({"rows"}))


def _p(m, term: str, alternative: str) -> float:
    table = m.infer(how="perm", alternative=alternative).params
    return table.filter(pl.col("term") == term)["p_value"].item()


def freedman_lane(case: Case) -> Answer:
    """``resample.permutation_freedman_lane``: the null residuals of one term, shuffled by given rows."""
    m = case.fitted()
    stream = m.draw_stream("perm", scheme="freedman_lane")
    at = stream.names.index(case.terms[0])
    t, _ = _drawn(stream.kernel, case.index_matrix())
    values = {
        "t_obs": stream.observed[at],
        "t_perm": t[:, at],
        "p_two_sided": compute_pvalues(stream.observed[at], t[:, at])[0],
    }
    return Answer(values, inputs=frozenset({"B"}))


def mc_permutation_y(case: Case) -> Answer:
    """``mc.permutation_y``: shuffled responses with our own draws, ten times R's."""
    m, reference = case.fitted(), case.values
    stream = m.draw_stream("perm", scheme="y", means=True, seed=SEED)
    draws = stream.collect(B).samples
    n_reference = reference["R"]
    both = np.sqrt(1.0 + n_reference / B)  # R's Monte-Carlo errors -> those of the difference of two simulations
    values = {
        "t0": column(m.infer().params, "statistic"),
        "p": compute_pvalues(stream.observed, draws),
        "mean": draws.mean(axis=0),
        "sd": draws.std(axis=0, ddof=1),
        "quantiles": np.quantile(draws, reference["probs"], axis=0),
    }
    mcse = {name: both * np.asarray(reference[f"{name}_mcse"]) for name in ("p", "mean", "sd", "quantiles")}
    mcse["t0"] = 1e-9 * np.abs(values["t0"])  # not simulated: the two fits agree to rounding
    return Answer(values, inputs=frozenset({"R", "probs"}), mcse=mcse)
