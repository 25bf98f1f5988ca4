"""Simulated summaries: both sides carry Monte-Carlo error; compared at four standard errors."""

from __future__ import annotations

import numpy as np

from .answer import Answer
from .case import Case
from .table import column, limits

SEED = 20261123
B = 100_000  # ten times R's: our own error is the small one, and limits far in the tail have a known one
TYPES = {
    "percentile": "percentile_boot",
    "basic": "basic_boot",
    "bca": "bca_boot",
    "normal": "normal_bias_corrected",
}


def mc_bootstrap_cases(case: Case) -> Answer:
    """``mc.bootstrap_cases``: the case bootstrap of a linear model, with our own draws."""
    m = case.fitted()
    reference = case.values
    observed = m.fit_state.coef
    draws = m.infer(how="boot", n_boot=B, ci_type="percentile", seed=SEED).resamples.select(m.bundle.X_names).to_numpy()
    n_reference = reference["R"]
    both = np.sqrt(1 + B / n_reference)  # our Monte-Carlo errors -> those of the difference of two simulations
    sd, centre = draws.std(axis=0, ddof=1), draws.mean(axis=0)
    values = {
        "t0": observed,
        "mean": centre,
        "sd": sd,
        "quantiles": np.quantile(draws, reference["probs"], axis=0),
        "boot_mean": centre,
        "boot_sd": sd,
        "bias": centre - observed,
    }
    of_mean = np.hypot(sd / np.sqrt(B), reference["mean_mcse"])
    of_sd = np.sqrt(2.0) * np.asarray(reference["sd_mcse"])
    mcse = {
        "t0": 1e-9 * np.abs(observed),  # not simulated: the two fits agree to rounding
        "mean": of_mean, "boot_mean": of_mean, "bias": of_mean, "sd": of_sd, "boot_sd": of_sd,
        "quantiles": both * np.asarray(reference["quantiles_mcse"]) * np.sqrt(n_reference / B),
    }  # fmt: skip
    for field in (f for f in reference if f.startswith("ci_")):
        level = float(field.removeprefix("ci_"))
        values[field], mcse[field] = {}, {}
        for kind, name in TYPES.items():
            m.infer(how="boot", n_boot=B, ci_type=kind, conf_level=level, seed=SEED)
            values[field][name] = limits(m.params)
            errors = m.monte_carlo
            mcse[field][name] = both * np.column_stack(
                [column(errors, "ci_lower_mcse"), column(errors, "ci_upper_mcse")]
            )
    apart = {f: "another quantile rule, or an intermediate of R's" for f in reference if f.startswith("ci_")}
    apart |= {"z0": "an intermediate of the BCa limits", "acceleration": "an intermediate of the BCa limits"}
    return Answer(values, inputs=frozenset({"R", "probs"}), apart=apart, mcse=mcse)
