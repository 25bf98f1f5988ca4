"""Fisher scoring of a batch of resamples by JAX: all lanes step together until the last one that is well has settled.

A lane that behaves takes the same steps as with NumPy. One that does not (its decrement grows, a row leaves the range
of the link, it may be separated) is left where it was, and the careful rules of ``glm_lanes`` take it from its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.backends.jax_runtime import (
    OnDevice,
    compiled,
    on_device,
    pad,
    padded_columns,
    padded_lanes,
    padded_rows,
)  # fmt: skip
from inference_core.families import Family, get_family, with_params
from inference_core.states.base import Array

from . import planes
from .rank import chunk_rows
from .steps import fisher_step, glm_variances, observed_step, solve


@dataclass(frozen=True, slots=True, eq=False)
class JaxGlm(OnDevice):
    """What the steps of one generalized linear model need, where JAX computes: N padded rows, R padded columns."""

    n: int
    r: int
    N: int
    R: int
    name: str
    link: str
    columns: Any  # (R, N)
    table: Any  # (Q, N), or None where it would fill the memory
    first: Any  # (Q + R, N), or None likewise
    at_fit: Any  # (N,) padded with the first row's, which is possible
    y: Any  # (N,)
    r_inverse: Any  # (R, R)
    spare: Any  # (R,) 1 in columns that only fill the shape
    y_fill: float
    errors: str

    @classmethod
    def of(
        cls, family: Family, basis: Array, at_fit: Array, y: Array, working: Array, score: Array, r_inverse: Array,
        errors: str,
    ) -> JaxGlm:  # fmt: skip
        """From what ``GlmKernel`` holds: basis (r, n), the rest (n,), r_inverse (r, r)."""
        r, n = basis.shape
        N, R = padded_rows(n), padded_columns(r)
        columns = pad(basis, R, N)
        table = planes.Products.of(columns).table
        first = None
        if table is not None:
            first = np.concatenate([table * pad(working, N), columns * pad(score, N)])
        spare = (np.arange(R) >= r).astype(float)
        there: Any = on_device(columns, table, first, pad(at_fit, N, fill=at_fit[0]), pad(y, N, fill=y[0]),
                               pad(r_inverse, R, R), spare)  # fmt: skip
        return cls(n, r, N, R, family.name, family.link.name, *there, y_fill=float(y[0]), errors=errors)

    @property
    def chunk_rows(self) -> int:
        """Resamples of one call, the same for all data of this padded size."""
        return chunk_rows(self.N, self.R, least=32)

    def first_step(self, counts: Array) -> tuple[Array, Array, Array]:
        """Step (b, r), decrement and worst pivot (b,) from the full fit, whose table is kept."""
        b = len(counts)
        step, decrement, worst = compiled(_first)(self.first, self.spare, self._rows(counts))
        return step[:b, : self.r], decrement[:b], worst[:b]

    def iterate(
        self, beta: Array, step: Array, before: Array, y: Array | None, cases: Array, params: Array | None,
        rules: Rules, max_iter: int,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Steps of lanes at ``beta`` (b, r), the first one given, until each has settled or is left.

        ``y`` (b, n) are responses of the lanes' own, ``cases`` (b, n) counts times prior weights, ``params`` (b, k) the
        family's own parameters.

        Returns
        -------
        beta : (b, r)
        settled : (b,) bool
        eta : (b, n)
            Where the last step began.
        """
        b, B = len(beta), padded_lanes(len(beta), self.chunk_rows)
        own = self.y if y is None else pad(pad(y, None, self.N, fill=self.y_fill), B, None, fill=self.y_fill)
        own_params = None if params is None else pad(params, B, None, fill=1.0)
        run = compiled(_iterate, name=self.name, link=self.link, canonical=rules.canonical, can_leave=rules.can_leave)
        out, settled, eta = run(
            self.columns, self.table, self.at_fit, self.spare, pad(beta, B, self.R), pad(step, B, self.R),
            pad(before, B), own, self._rows(cases), own_params, np.arange(B) < b, rules.numbers(), max_iter,
        )  # fmt: skip
        return out[:b, : self.r], settled[:b], eta[:b, : self.n]

    def variances(
        self, beta: Array, y: Array | None, counts: Array, prior: Array | None, params: Array | None, size: Array,
        df: Array, dispersion: Array | None,
    ) -> Array:  # fmt: skip
        """:func:`steps.glm_variances` (r, b); ``dispersion`` (b,) where it is known."""
        b, B = len(beta), padded_lanes(len(beta), self.chunk_rows)
        own = self.y if y is None else pad(pad(y, None, self.N, fill=self.y_fill), B, None, fill=self.y_fill)
        own_params = None if params is None else pad(params, B, None, fill=1.0)
        run = compiled(_variances, name=self.name, link=self.link, errors=self.errors)
        found = run(
            self.columns, self.table, self.at_fit, self.spare, self.r_inverse, pad(beta, B, self.R), own,
            self._rows(counts), np.ones(self.N) if prior is None else pad(prior, self.N), own_params,
            pad(size, B, fill=1.0), pad(df, B, fill=1.0), None if dispersion is None else pad(dispersion, B, fill=1.0),
            float(self.r),
        )  # fmt: skip
        return found[: self.r, :b]

    def _rows(self, values: Array) -> Array:
        return pad(values, padded_lanes(len(values), self.chunk_rows), self.N)


@dataclass(frozen=True, slots=True)
class Rules:
    """When a lane is done, and when it is left to others."""

    canonical: bool
    can_leave: bool  # the range of eta has an end
    tol: float
    dispersion: float
    stalled: float
    settled: float  # decrement below which a lane that still walks is left; 0: none can be separated
    walk: float  # length of a step that some row might feel
    low: float
    high: float
    weak: float

    def numbers(self) -> tuple[float, ...]:
        """What a compiled loop takes as arguments."""
        return (self.tol, self.dispersion, self.stalled, self.settled, self.walk, self.low, self.high, self.weak)


def _family(name: str, link: str, params: Any) -> Family:
    family = get_family(name, link)
    return family if params is None else with_params(family, tuple(params[:, j, None] for j in range(params.shape[1])))


def _first(first: Any, spare: Any, counts: Any) -> Any:
    return solve(first @ counts.T, spare.shape[0], spare)


def _iterate(
    columns: Any, table: Any, at_fit: Any, spare: Any, beta: Any, step: Any, before: Any, y: Any, cases: Any,
    params: Any, real: Any, numbers: Any, max_iter: Any, *, name: str, link: str, canonical: bool, can_leave: bool,
) -> Any:  # fmt: skip
    import jax.numpy as jnp
    from jax import lax

    tol, phi, stalled, quiet, walk, low, high, weak = numbers
    products, family = planes.Products(columns, None, table), _family(name, link, params)

    def body(state: Any) -> Any:
        turn, beta, before, on, settled, eta_at = state
        eta, score, _, step, decrement = fisher_step(
            products, at_fit, beta, family, y, cases, spare, canonical=canonical
        )
        if not canonical:
            slow = on & (turn > 3) & (decrement > 0.01 * before)

            def closer(_: Any) -> Any:
                better, length, worst, known = observed_step(products, eta, score, family, y, cases, spare)
                fine = slow & known & jnp.isfinite(length) & (worst > weak)
                return jnp.where(fine[:, None], better, step), jnp.where(fine, length, decrement)

            step, decrement = lax.cond(slow.any(), closer, lambda _: (step, decrement), None)
        well = decrement <= 1.5 * jnp.maximum(before, 1e-6 * phi)
        if can_leave:
            well &= ~(((eta <= low) | (eta >= high)) & (cases > 0)).any(1)
        well &= ~((decrement <= quiet) & (jnp.sqrt((step * step).sum(1)) > walk))
        done = well & ((decrement <= tol) | ((decrement <= stalled) & (decrement > 0.25 * before)))
        on_here = on & well
        beta = jnp.where(on_here[:, None], beta + step, beta)
        eta_at = jnp.where(on_here[:, None], eta, eta_at) if can_leave else eta_at
        before = jnp.where(on_here, decrement, before)
        return turn + 1, beta, before, on_here & ~done, settled | (on_here & done), eta_at

    start = (1, beta + jnp.where(jnp.isfinite(step), step, 0.0), before, real, jnp.zeros_like(real),
             jnp.zeros(cases.shape if can_leave else (cases.shape[0], 1)))  # fmt: skip
    _, beta, _, _, settled, eta = lax.while_loop(lambda s: s[3].any() & (s[0] < max_iter), body, start)
    return beta, settled, eta


def _variances(
    columns: Any, table: Any, at_fit: Any, spare: Any, r_inverse: Any, beta: Any, y: Any, counts: Any, prior: Any,
    params: Any, size: Any, df: Any, dispersion: Any, rank: Any, *, name: str, link: str, errors: str,
) -> Any:  # fmt: skip
    products = planes.Products(columns, None, table)
    return glm_variances(products, at_fit, r_inverse, beta, _family(name, link, params), y, counts, prior, size, df,
                         dispersion, rank, spare, errors=errors)  # fmt: skip
