"""Streams of draws of generalized linear mixed models: what is drawn, and the refits behind it."""

from __future__ import annotations

from functools import partial

from inference_core.errors import InferenceError
from inference_core.rng import RNG
from inference_core.states import DataBundle, FitState, ModelSpec

from .glmer_kernel import GlmerKernel
from .stream import DrawStream


def parametric_stream(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    seed: int | None = None,
    errors: str = "iid",
    want_se: bool = False,
) -> DrawStream:
    """New random effects and new responses of the model's family in every draw.

    Parameters
    ----------
    spec, bundle, fit
        A fitted generalized linear mixed model; weights, trials, offset, nAGQ and dropped columns take part in every
        refit.
    seed : int, optional
        None picks one; the stream tells it.
    errors, want_se
        As in the other streams; only ``"iid"`` without standard errors is drawn.

    Raises
    ------
    InferenceError
        Other errors, or standard errors inside the draws.
    """
    _refuse_errors("parametric draws", errors, want_se)
    kernel = GlmerKernel.of(spec, bundle, fit)
    return DrawStream(
        kernel=kernel,
        rng=RNG.from_seed(seed),
        names=(*bundle.X_names, *kernel.spread_names),
        observed=kernel.observed,
        scheme="parametric",
        drawn=kernel.simulate,
        responses=partial(kernel.response, bundle=bundle),
        interval_df=kernel.interval_df,
        inflation=1.0,
    )


def _refuse_errors(what: str, errors: str, want_se: bool) -> None:
    if want_se or errors != "iid":
        raise InferenceError(
            asked=f"{what} with errors={errors!r}" + (" and their standard errors" if want_se else ""),
            found="refits of a mixed model carry no standard errors of their own",
            remedy="ci_type='percentile' with errors='iid'",
        )
