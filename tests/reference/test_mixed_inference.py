"""Agreement with lme4's profiles: every case, by its quantity alone, and no field of it left out."""

from __future__ import annotations

import pytest

from .adapter import load_cases
from .adapter.compare import compare
from .adapter.profile import glmer_profile_ci, lmer_profile_ci, lmer_profile_trace

ANSWERS = {
    "lmer.profile_ci": lmer_profile_ci, "lmer.profile_trace": lmer_profile_trace, "glmer.profile_ci": glmer_profile_ci,
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = [c for c in load_cases(metafunc.config.getoption("reference")) if c.quantity in ANSWERS]
    metafunc.parametrize("mixed", [pytest.param(c, id=c.id) for c in cases])


def test_agrees_with_r(mixed):
    found = compare(mixed.values, ANSWERS[mixed.quantity](mixed), mixed.raw["tolerance"])
    assert not found.failures, "\n".join([mixed.id, *found.failures])
    assert found.compared and not found.waiting, f"{mixed.id}: not compared {found.waiting}"
