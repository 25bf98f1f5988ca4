"""One step of a comparison: a smaller model against a larger one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.infer.asymptotic import resolve_error_type
from inference_core.infer.denominators import row_reference
from inference_core.infer.distributions_f import f_tail

from .nesting import Nesting

if TYPE_CHECKING:
    from .compare import Side


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Two models, the largest of all, how the first lies in the second, and the errors of a Wald test."""

    small: Side
    large: Side
    largest: Side
    nesting: Nesting
    errors: str


@dataclass(frozen=True, slots=True)
class Tested:
    """``df2`` is inf for chi-square, whose statistic is not divided by ``df``."""

    df: float
    statistic: float
    df2: float
    p_value: float


def f_test(step: Step) -> Tested:
    """Extra sum of squares per degree of freedom, over the residual variance of the largest model (R's ``anova``)."""
    df = step.small.fit.df_resid - step.large.fit.df_resid
    scale, df2 = step.largest.fit.dispersion, step.largest.fit.df_resid
    statistic = (step.small.fit.deviance - step.large.fit.deviance) / df / scale
    return Tested(df, statistic, df2, float(f_tail(statistic, df, df2)))


def likelihood_ratio(step: Step) -> Tested:
    """The fall of -2 log L (or of the REML criterion) against chi-square; rounding below 0 is 0."""
    df = step.large.fit.n_params - step.small.fit.n_params
    statistic = max(step.small.criterion - step.large.criterion, 0.0)
    return Tested(df, statistic, np.inf, float(special.chdtrc(df, statistic)))


def wald_test(step: Step) -> Tested:
    """The larger model's restrictions, with the covariance and denominators that ``errors`` names."""
    large = step.large
    if not step.nesting.same_random:
        raise InferenceError("compare(..., test='wald')", "the random effects differ; a Wald test is of coefficients",
                             "test='lrt'")  # fmt: skip
    errors = resolve_error_type(step.errors, large.spec.family)
    reference = row_reference(large.spec, large.bundle, large.fit, errors, large.data)
    L, joint = step.nesting.L, reference.joint(step.nesting.L)
    value = L @ np.nan_to_num(large.fit.coef)
    quadratic = reference.quadratic(L, value)
    if np.isinf(joint.df2):
        return Tested(joint.df1, quadratic, np.inf, float(special.chdtrc(joint.df1, quadratic)))
    statistic = joint.scale * quadratic / joint.df1
    return Tested(joint.df1, statistic, joint.df2, float(f_tail(statistic, joint.df1, joint.df2)))


def score_test(step: Step) -> Tested:
    """Rao's test: the larger model's score at the smaller model's fit, in its information there."""
    small, large = step.small, step.large
    family = fitted_family(small.spec, small.fit)
    score, weight = family.score_weight(small.fit.eta, large.bundle.y)
    prior = large.bundle.prior_weights
    if prior is not None:
        score, weight = score * prior, weight * prior
    X = large.bundle.X_estimable
    gradient, information = X.T @ score, (X * weight[:, None]).T @ X
    scale = 1.0 if family.dispersion_known else small.fit.dispersion
    statistic = float(gradient @ np.linalg.solve(information, gradient)) / scale
    df = small.fit.df_resid - large.fit.df_resid
    return Tested(df, statistic, np.inf, float(special.chdtrc(df, statistic)))


STEPS: MappingProxyType[str, Callable[[Step], Tested]] = MappingProxyType(
    {"F": f_test, "lrt": likelihood_ratio, "wald": wald_test, "score": score_test}
)


def mixture_tail(statistic: float, others: int) -> float:
    """Upper tail of half chi-square(others) and half chi-square(others + 1): one variance more, and its covariances."""
    below = float(special.chdtrc(others, statistic)) if others else float(statistic <= 0)
    return 0.5 * below + 0.5 * float(special.chdtrc(others + 1, statistic))
