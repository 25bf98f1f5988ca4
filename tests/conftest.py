"""What the whole suite shares: the --reference option and quiet, repeatable defaults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Examples follow from the test itself, so a red run is red again; the machine is shared, so no deadline.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference",
        type=Path,
        default=Path(__file__).parent / "reference",
        metavar="DIR",
        help="folder of reference cases (manifest.json, cases/, data/) to run tests/reference on",
    )
