"""Simulated summaries: both sides carry Monte-Carlo error; compared at four standard errors."""

from __future__ import annotations

import numpy as np
import polars as pl

from inference_core.infer.resample.lmer_kernel import singular_draws

from .answer import Answer
from .case import Case
from .compare import SIGMAS
from .table import column, limits

SEED = 20261123
BOOTMER = 10_000  # five to ten times R's draws: their error is the larger one
AT_ZERO = 1e-3  # SDs and thetas at the boundary: lme4's optimiser ends 1e-3 off, ours at 1e-8
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


def mc_bootmer_parametric(case: Case) -> Answer:
    """``mc.bootmer_parametric``: coefficients, SDs and correlations, theta and the share of singular fits."""
    m = case.fitted()
    m.infer(how="boot", n_boot=BOOTMER, seed=SEED)
    draws = m.resamples
    names = draws.columns[2:]
    kept = draws.filter(pl.col("status") == "ok").select(names).to_numpy()
    observed = as_in_r(m, names, np.asarray(m.state.resamples.observed)[None])[0]
    ours, R = as_in_r(m, names, kept), case.values
    mean, sd = ours.mean(axis=0), ours.std(axis=0, ddof=1)
    values = {
        "t0": observed,
        "mean": mean,
        "sd": sd,
        "quantiles": np.quantile(ours, R["probs"], axis=0),
        "cov": np.cov(ours.T),
    }
    both = np.sqrt(1 + R["R"] / BOOTMER)  # R's Monte-Carlo errors -> those of the difference
    told = {name: np.asarray(R[f"{name}_mcse"], float) for name in ("mean", "sd", "quantiles")}
    mcse = {name: both * error + AT_ZERO / SIGMAS for name, error in told.items()}
    mcse["quantiles"][:, -1] = np.inf  # of a share of 0 and 1 there are none to compare
    mcse["t0"] = (1e-4 * np.abs(R["t0"]) + 1e-6) / SIGMAS  # not simulated: two optimisers at the same flat optimum
    centred = ours - mean
    fourth = np.einsum("ni,nj->ij", centred**2, centred**2) / len(ours) - values["cov"] ** 2
    mcse["cov"] = both * np.sqrt(np.maximum(fourth, 0.0) / R["R"]) + AT_ZERO * sd.max() / SIGMAS
    assert len(kept) > 0.999 * BOOTMER
    apart = {"percentile_95": "boot.ci's quantile rule; the quantiles are compared", "failed": "each by its own rules"}
    return Answer(values, inputs=frozenset({"R", "probs"}), apart=apart, mcse=mcse)


def as_in_r(m, names: list[str], samples: np.ndarray) -> np.ndarray:
    """(B, k) R's columns: coefficients, SDs and correlations, theta, the share of singular fits."""
    re, p = m.bundle.re_metadata, m.bundle.p
    spread = {name: samples[:, j] for j, name in enumerate(names)}
    theta = []
    for block in re.blocks:
        effects = block.column_names
        sd = [spread[f"sd_{name}|{block.group_name}"] / spread.get("sigma", 1.0) for name in effects]
        theta.append(sd[0])
        if block.k == 2:  # the Cholesky factor of a 2 x 2 covariance
            r = spread[f"cor_{effects[1]}.{effects[0]}|{block.group_name}"]
            theta += [r * sd[1], np.sqrt(1 - r * r) * sd[1]]
    relative = samples[:, p:] if "sigma" in spread else np.column_stack([samples[:, p:], np.ones(len(samples))])
    return np.column_stack([samples, *theta, singular_draws(re, relative)])
