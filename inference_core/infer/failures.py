"""What a run of draws says about itself when refits failed: a warning, or an error when none is left."""

from __future__ import annotations

import warnings

from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.states import ModelSpec
from inference_core.states.inference import ResamplesState

from .resample.common import FAILURE_SHARE


def judge_failures(draws: ResamplesState, spec: ModelSpec, advice: str = "") -> None:
    """Warn, or refuse, where refits failed; ``advice`` is what else to try.

    Raises
    ------
    InferenceError
        No refit gave an estimate.

    Warns
    -----
    InferenceCoreWarning
        More than 10 % of the refits failed.
    """
    done, failed = len(draws.status), draws.n_failed
    if not failed or failed <= FAILURE_SHARE * done:
        return
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in draws.failures.items())
    if failed == done:
        raise InferenceError(
            asked=f"a bootstrap of {spec.formula} with {done:,} draws",
            found=f"not one refit gave an estimate ({reasons})",
            remedy=advice or "leave out a term, merge rare levels, or use how='asymp'",
        )
    warnings.warn(
        InferenceCoreWarning(
            f"{failed:,} of {done:,} refits failed ({reasons}); limits and p-values rest on the others"
            + (f". Try {advice}" if advice else "")
        ),
        stacklevel=4,
    )
