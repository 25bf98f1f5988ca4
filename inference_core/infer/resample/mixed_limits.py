"""Which types of limits the bootstraps of mixed models have, for coefficients and for their spread."""

from __future__ import annotations

from inference_core.errors import InferenceError


def refuse_interval(ci_type: str, *, spread: bool, linear: bool = False) -> None:
    """Refuse limits that a bootstrap of a mixed model does not have.

    Parameters
    ----------
    ci_type : str
    spread : bool
        Of SDs and correlations, not of coefficients.
    linear : bool
        Of a linear mixed model, whose refits without a group and standard errors are at hand.

    Raises
    ------
    InferenceError
        BCa and studentized limits of generalized mixed models; of SDs and correlations whatever may leave their range.
    """
    if ci_type in ("bca", "studentized") and not linear:
        why = {
            "bca": "BCa takes its acceleration from refits without a group, built for linear mixed models",
            "studentized": "refits of a generalized mixed model carry no standard errors of their own",
        }[ci_type]
        raise InferenceError(
            f"ci_type={ci_type!r} for a generalized mixed model", why, "ci_type='expanded' or 'percentile'"
        )
    if spread and ci_type in ("basic", "normal", "studentized"):
        raise InferenceError(
            f"{ci_type} limits of standard deviations and correlations",
            "the SD is bounded at 0 and a correlation at -1 and 1; these limits go beyond",
            "ci_type='percentile'",
        )
