"""Shuffled responses of a generalized linear model: all refits at once, by the lanes of its bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.infer.resample.glm_operators import GlmKernel
from inference_core.solvers.lstsq import lstsq
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.spec import ModelSpec

CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class RefitKernel(Frozen):
    """z-values of refits to shuffled responses; a pure function of the shuffles."""

    kernel: GlmKernel
    y: Array  # (m,) rows of positive weight
    columns: Array  # (q,) coefficients that are tested
    weight: Array  # (q,) what each is multiplied by

    @property
    def n(self) -> int:
        """Rows that take part."""
        return self.y.shape[0]

    @property
    def p(self) -> int:
        """Statistics per draw."""
        return self.columns.size

    @property
    def chunk_rows(self) -> int:
        """Draws of one call; a refit is dear, so not many more than may be wanted."""
        return min(self.kernel.chunk_rows, CHUNK)

    @property
    def threads(self) -> bool:
        """Whether threads suit it better than processes."""
        return self.kernel.threads

    def refit(self, shuffles: Array) -> tuple[Array, Array, Array | None]:
        """(z* (b, q), status (b,), se* (b, q)) of shuffles (b, m); NaN where a refit has no estimate."""
        ones = np.ones(shuffles.shape)
        coef, status, se = self.kernel.refit(ones, self.y[shuffles])
        assert se is not None  # the kernel was made with want_se
        coef, se = coef[:, self.columns] * self.weight, se[:, self.columns] * np.abs(self.weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            return coef / se, status, se


def refit_kernel(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, rows: Array, columns: Array, weight: Array, errors: str
) -> RefitKernel:
    """Refits of ``spec`` to shuffles of the responses of ``rows``, without offset and with equal weights.

    They start at the fit with the mean alone where the design holds a constant: no shuffle changes that one.
    """
    from inference_core.fit.common import fitted_family

    family = fitted_family(spec, fit)
    X, y = bundle.X[rows], bundle.y[rows]
    weights = None if bundle.prior_weights is None else bundle.prior_weights[rows]
    kept = np.flatnonzero(np.isfinite(fit.coef))
    flat = family.link.link(np.asarray(y.mean()))
    constant = lstsq(X[:, kept], np.ones(len(y)))
    start = fit.coef
    if constant.rss <= 1e-16 * len(y) and np.isfinite(flat):
        start = np.full(bundle.p, np.nan)
        start[kept] = constant.coef * float(flat)
    kernel = GlmKernel.from_arrays(X, y, family, start, weights=weights, kept=kept, want_se=True, errors=errors)
    return RefitKernel(kernel, y, columns, weight)
