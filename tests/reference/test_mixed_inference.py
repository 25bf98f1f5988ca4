"""Agreement with lmerTest, pbkrtest, clubSandwich and lme4's profiles: every case, by its quantity alone."""

from __future__ import annotations

import pytest

from .adapter import load_cases
from .adapter.compare import compare
from .adapter.mixed import within_reach
from .adapter.mixed_inference import lmer_cluster_robust, lmer_df, lmer_profile_ci, lmer_profile_trace

ANSWERS = {
    "lmer.df": lmer_df, "lmer.cluster_robust": lmer_cluster_robust, "lmer.profile_ci": lmer_profile_ci,
    "lmer.profile_trace": lmer_profile_trace,
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = [c for c in load_cases(metafunc.config.getoption("reference")) if c.quantity in ANSWERS]
    metafunc.parametrize("mixed", [pytest.param(c, id=c.id) for c in cases if within_reach(c)])


def test_agrees_with_r(mixed):
    found = compare(mixed.values, ANSWERS[mixed.quantity](mixed), mixed.raw["tolerance"])
    assert not found.failures, "\n".join([mixed.id, *found.failures])
    waiting = [field for field in found.waiting if not field.startswith("varcorr.")]  # R's names of the rows
    assert found.compared and not waiting, f"{mixed.id}: not compared {waiting}"
