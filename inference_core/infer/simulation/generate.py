"""One data set before there are any: predictors by distribution, a response from a stated truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.rng import RNG
from inference_core.states import SimulationState

from .design import Plan
from .truth import Truth

DESIGN, RESPONSE = 0, 1  # children of the seed


def generate(
    plan: Plan,
    *,
    n: int | None = None,
    predictors: Any = None,
    coef: Any = None,
    sigma: Any = None,
    dispersion: Any = None,
    spread: Any = None,
    trials: Any = None,
    seed: int | None = None,
) -> SimulationState:
    """A data set of n rows from a truth.

    Parameters
    ----------
    plan : Plan
        The formula, its family and link.
    n : int, optional
        Rows; as many as the given values if left out.
    predictors : mapping or frame, optional
        ``{"x": normal(10, 2), "g": groups(18)}``, or values; a frame's own columns. Numbers that are not named are
        standard normal.
    coef : mapping
        Coefficients by name, on the link scale; what is not named is 0.
    sigma, dispersion : float
        SD of the noise (gaussian, tdist), or dispersion (gamma, inverse_gaussian).
    spread : mapping, optional
        SDs of the random effects: ``{"g": 2.0}``, ``{"g": {"Intercept": 24, "x": 6, "cor": 0.1}}``; link scale.
    trials : int, values or Predictor, optional
        Of a binomial ``cbind()``, or of a proportion with weights.
    seed : int, optional
        None picks one, and the result carries it.

    Raises
    ------
    InferenceError
        Unknown names, numbers that cannot be, means that the family cannot have.

    Notes
    -----
    Coefficients belong to the columns of this very data set: what ``center(x)`` or ``poly(x, 2)`` learns, it learns
    from the rows that were made.
    """
    rng = RNG.from_seed(seed)
    wanted = plan.wanted(predictors, trials)
    rows = plan.rows(wanted, n)
    frame = plan.frame(wanted, rows, trials, rng.split(2)[DESIGN])
    _, bundle = plan.build(frame)
    lost = set(plan.reference(wanted, rows, rng).X_names) - set(bundle.X_names)
    if lost:
        raise InferenceError(
            f"simulated data for {plan.formula!r} with {rows} rows",
            f"by chance no row of this sample shows {', '.join(sorted(lost))}",
            "more rows, balanced() in place of levels(), or another seed",
        )
    truth = Truth.on(bundle, plan.family, coef, sigma, dispersion, spread)
    y = np.full(bundle.n, 0.0)
    y[truth.rows] = truth.draws().simulate(rng.split(2)[RESPONSE], 0, 1)[0]
    if not np.all(np.isfinite(y)):
        raise InferenceError(
            f"simulated data for {plan.formula!r}",
            f"these random effects give a mean that {plan.family.name} responses cannot have",
            "a smaller spread, or link='log'",
        )
    data = plan.with_response(frame, y, bundle.prior_weights if plan.family.name == "binomial" else None)
    known = {
        "coef": dict(zip(bundle.X_names, truth.beta.tolist(), strict=True)), "sigma": sigma, "dispersion": dispersion,
        "spread": spread, "predictors": {name: str(what) for name, what in wanted.items()},
    }  # fmt: skip
    return SimulationState(data, "generated", 1, rng.seed, truth={k: v for k, v in known.items() if v is not None})
