"""What the bootstraps of mixed models do not have: types of limits, and schemes of generalized ones."""

from __future__ import annotations

from typing import NoReturn

from inference_core.errors import InferenceError


def refuse_interval(ci_type: str, *, spread: bool, linear: bool = False) -> None:
    """Refuse limits that a bootstrap of a mixed model does not have.

    Parameters
    ----------
    ci_type : str
    spread : bool
        Of SDs and correlations, not of coefficients.
    linear : bool
        Of a linear mixed model, whose refits carry standard errors.

    Raises
    ------
    InferenceError
        Studentized limits of generalized mixed models; of SDs and correlations whatever may leave their range.
    """
    if ci_type == "studentized" and not linear:
        raise InferenceError(
            f"ci_type={ci_type!r} for a generalized mixed model",
            "refits of a generalized mixed model carry no standard errors of their own",
            "ci_type='expanded' or 'percentile'",
        )
    if spread and ci_type in ("basic", "normal", "studentized"):
        raise InferenceError(
            f"{ci_type} limits of standard deviations and correlations",
            "the SD is bounded at 0 and a correlation at -1 and 1; these limits go beyond",
            "ci_type='percentile'",
        )


def refuse_residuals(scheme: str) -> NoReturn:
    """Refuse the schemes of residuals for a generalized mixed model.

    Raises
    ------
    InferenceError
        Always.
    """
    raise InferenceError(
        f"scheme={scheme!r} of a generalized mixed model",
        "residuals there have no spread of their own: it follows from the mean, and with other signs or in other rows "
        "they give responses that the family cannot have",
        "scheme='parametric' or 'cluster'",
    )
