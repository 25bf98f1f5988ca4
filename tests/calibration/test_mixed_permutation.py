"""Calibration of permutation tests of mixed models: type I errors under the null. The table is in README.md."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.infer.permutation.hypotheses import coefficient_hypotheses
from inference_core.infer.permutation.run import permutation_p

SIZE, B = 10, 199  # rows a group, draws a test
PUBLISHED = 1_000  # data sets behind the rates that this should agree with, at least


@dataclass(frozen=True)
class Scenario:
    """J groups of data under the null, and the test they get.

    ``said`` are rates at the 5 % level, between and within groups, that other code measured for the same design.
    """

    name: str
    J: int
    data_sets: int
    said: tuple[float, float]
    slope: float = 0.5
    formula: str = "y ~ x * w + (1 + x | g)"
    family: str = "gaussian"
    ask: dict = field(default_factory=dict)

    def make(self, rng):
        """A predictor w between groups, x within; neither matters."""
        g = np.repeat(np.arange(self.J), SIZE)
        w, x = rng.normal(size=self.J)[g], rng.normal(size=g.size)
        eta = rng.normal(size=self.J)[g] + self.slope * rng.normal(size=self.J)[g] * x
        if self.family == "binomial":
            y = (rng.random(g.size) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
        elif self.family == "poisson":
            y = rng.poisson(np.exp(1.0 + 0.5 * eta)).astype(float)
        else:
            y = eta + rng.normal(size=g.size)
        return pl.DataFrame({"y": y, "x": x, "w": w, "g": [f"g{j:02d}" for j in g]})


MAIN = "y ~ x + w + (1 | g)"  # of the generalized models, whose data have slopes that differ all the same
SCENARIOS = [
    # 64 patterns, two of which always tie: p goes in steps of 1/32, so the test at 5 % is one at 3.1 %
    Scenario("group_flip, J 6", 6, 600, (3.1, 3.1)),
    Scenario("group_flip, J 10", 10, 400, (5.9, 5.1)),
    Scenario("group_flip, J 20", 20, 400, (4.9, 5.2)),
    Scenario("group_flip, J 10, no slope variance", 10, 400, (5.9, 5.3), 0.0),
    Scenario("residual, J 10", 10, 400, (5.9, 4.9), ask={"scheme": "residual"}),
    Scenario("score_flip, binary, J 6", 6, 400, (3.2, 3.4), 0.0, MAIN, "binomial"),
    Scenario("score_flip, binary, J 20", 20, 400, (5.0, 5.0), 0.0, MAIN, "binomial"),
    Scenario("score_flip, Poisson, J 10", 10, 400, (5.0, 5.0), 0.0, MAIN, "poisson"),
    Scenario("score_flip, Poisson, J 20, a slope is missing", 20, 1_000, (5.0, 5.0), 0.5, MAIN, "poisson"),
]


def p_values(scenario: Scenario, data_sets: int) -> np.ndarray:
    """(data_sets, 2) p of w and of x; exact where there are few groups."""
    out = np.full((data_sets, 2), np.nan)
    for i in range(data_sets):
        data = scenario.make(np.random.default_rng([21, scenario.J, i]))
        m = model(scenario.formula, data, family=scenario.family).fit()
        both = coefficient_hypotheses(m.bundle, np.arange(m.bundle.p), 0.0)
        tested = [next(h for h in both if h.name == name) for name in ("w", "x")]
        stream = m.draw_stream("perm", seed=i, n_perm=B, every=scenario.J < 8, hypotheses=tested, **scenario.ask)
        draws = stream.collect(stream.total or B)
        found = permutation_p(stream.observed, draws.samples, "two-sided", stream.total is not None)
        for name, p in zip(stream.names, found, strict=True):
            out[i, ("w", "x").index(name)] = p
    return out


def rates(p: np.ndarray) -> np.ndarray:
    """Per cent of true null hypotheses that are rejected at 5 %; without a null fit there is no rejection."""
    return 100.0 * np.mean(p <= 0.05 + 1e-12, axis=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::inference_core.errors.InferenceCoreWarning")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[s.name for s in SCENARIOS])
def test_type_one_error_of_groups(scenario):
    p = p_values(scenario, scenario.data_sets)
    assert np.isfinite(p).mean() > 0.98  # null fits that exist
    said = np.array(scenario.said)
    # three Monte-Carlo errors of the difference between two measured rates
    error = 100.0 * np.sqrt(0.055 * 0.945 * (1.0 / scenario.data_sets + 1.0 / PUBLISHED))
    assert np.all(np.abs(rates(p) - said) < 3.0 * error), rates(p)


if __name__ == "__main__":  # the rows of the table in README.md
    import sys
    import warnings

    warnings.simplefilter("ignore")
    for s in SCENARIOS:
        if len(sys.argv) > 1 and sys.argv[1] not in s.name:
            continue
        found = p_values(s, s.data_sets)
        between, within = rates(found)
        said = " / ".join(f"{value:.1f}" for value in s.said)
        print(f"| {s.name} | {between:.1f} / {within:.1f} | {said} |", np.isfinite(found).mean(), flush=True)
