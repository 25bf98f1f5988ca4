"""Linear mixed models whose draws are looked at: fitted once, and refitted from frames by hand."""

import numpy as np
import polars as pl

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.fit import fit_lmer


def crossed_frame(seed=1, n=120):
    rng = np.random.default_rng(seed)
    g, h = np.r_[np.arange(10), rng.integers(0, 10, n - 10)], rng.integers(0, 6, n)
    x = rng.standard_normal(n)
    y = 2 + x + rng.standard_normal(10)[g] + 0.7 * x * rng.standard_normal(10)[g] + rng.standard_normal(6)[h]
    w = rng.uniform(0.3, 3.0, n)
    return pl.DataFrame(
        {
            "y": y + 0.8 * rng.standard_normal(n), "x": x, "x2": 2 * x, "g": g, "h": h, "w": w,
            "z": np.where((g == 3) | (np.arange(n) % 17 == 0), 0.0, w), "o": x**2, "between": np.where(g < 5, 1.0, 0.0),
        }
    )  # fmt: skip


def nested_frame(seed=4):
    """8 schools of 2 to 4 classes of 2 to 5 pupils."""
    rng = np.random.default_rng(seed)
    rows = [(s, c) for s in range(8) for c in range(rng.integers(2, 5)) for _ in range(rng.integers(2, 6))]
    school, within = np.array(rows).T
    x = rng.standard_normal(len(rows))
    y = x + rng.standard_normal(8)[school] + rng.standard_normal(40)[5 * school + within]
    return pl.DataFrame({"y": y + rng.standard_normal(len(rows)), "x": x, "school": school, "class": within})


MODELS = {
    "slopes": dict(),
    "ml": dict(method="ml"),
    "diagonal": dict(formula="Reaction ~ Days + (Days || Subject)"),
    "intercepts": dict(formula="Reaction ~ Days + (1 | Subject)"),
    "weights and offset": dict(formula="y ~ x + (x | g)", data=crossed_frame(), weights="w", offset="o"),
    "rows of weight 0": dict(formula="y ~ x + (1 | g)", data=crossed_frame(), weights="z"),
    "a dropped column": dict(formula="y ~ x + x2 + (1 | g)", data=crossed_frame()),
    "nested": dict(formula="y ~ x + (1 | school/class)", data=nested_frame()),
}
CROSSED = dict(formula="y ~ x + (1 | g) + (1 | h)", data=crossed_frame())


def fitted(formula="Reaction ~ Days + (Days | Subject)", data=None, method="reml", **options):
    spec, bundle = build_bundle(formula, load_dataset("sleepstudy") if data is None else data, method=method, **options)
    return spec, bundle, fit_lmer(spec, bundle)


def statistics(spec, bundle):
    """A fit of its own, from many starts: coefficients, SDs, correlations, sigma."""
    from inference_core.fit.varcomp import variance_components

    fit = fit_lmer(spec, bundle)
    return np.concatenate([fit.coef, [c.sdcor for c in variance_components(bundle, fit)]])
