"""The numbers of the random part of a mixed model: SDs between groups, correlations, the scatter within groups.

They stand behind the coefficients in every draw of a mixed model, in the order of its variance components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("spread", "correlation", "scatter")
# An SD below this share of the residual one is one at its boundary, as in lme4.
AT_ZERO = 1e-4
# A correlation this near to 1 or -1 is one at its boundary.
AT_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Spread:
    """One of these numbers, by its place in the model."""

    name: str  # as in the draws: "sd_Days|Subject", "cor_Days.(Intercept)|Subject", "sigma"
    kind: str  # one of KINDS
    block: int = -1  # which block of random effects; -1 for the scatter
    first: int = 0  # which effect of the block
    second: int = -1  # correlations: the other effect, the earlier one


def spreads_of(bundle: Any) -> tuple[Spread, ...]:
    """Return every number of the random part, in the order of the draws; empty without random effects."""
    re = bundle.re_metadata
    if re is None:
        return ()
    out = []
    for t, block in enumerate(re.blocks):
        names, group = block.column_names, block.group_name
        out += [Spread(f"sd_{name}|{group}", "spread", t, a) for a, name in enumerate(names)]
        out += [
            Spread(f"cor_{names[a]}.{names[b]}|{group}", "correlation", t, a, b) for a, b in block.entries if a != b
        ]
    return (*out, Spread("sigma", "scatter"))


def find_spread(bundle: Any, term: str) -> Spread | None:
    """Return the number called ``term``; None for a coefficient."""
    if term in bundle.X_names:
        return None
    return next((spread for spread in spreads_of(bundle) if spread.name == term), None)


def position_of(bundle: Any, term: str) -> int:
    """Return where a statistic stands in a draw.

    Raises
    ------
    KeyError
        For a name that is neither a coefficient nor a number of the random part; the message lists both.
    """
    names = (*bundle.X_names, *(spread.name for spread in spreads_of(bundle)))
    if term not in names:
        raise KeyError(f"{term!r} is not a parameter of this model; parameters: {', '.join(names)}")
    return names.index(term)


def observed_statistics(model: Any) -> np.ndarray:
    """Return (k,) coefficients, then the numbers of the random part, of the fit itself; NaN where undefined."""
    from inference_core.fit.varcomp import variance_components

    coef = np.asarray(model.fit_state.coef, float)
    if model.bundle.re_metadata is None:
        return coef
    return np.concatenate([coef, [c.sdcor for c in variance_components(model.bundle, model.fit_state)]])


def expected_errors(model: Any) -> np.ndarray:
    """Return (s,) about how far SDs, correlations and sigma will scatter; known before the first draw, for axes.

    From the normal law of J group estimates of SD ``total`` (their own scatter about the truth included), which is
    positive where the SD itself is estimated as 0. Rough: it decides an axis and digits, never a number shown.
    """
    bundle, fit = model.bundle, model.fit_state
    values = observed_statistics(model)[bundle.p :]
    sigma, out = float(fit.sigma), []
    for spread, value in zip(spreads_of(bundle), values, strict=True):
        if spread.kind == "scatter":
            out.append(sigma / np.sqrt(2.0 * max(bundle.n - bundle.re_metadata.q, bundle.n / 4, 1.0)))
            continue
        block = bundle.re_metadata.blocks[spread.block]
        J = max(block.n_levels - 1, 1)
        if spread.kind == "correlation":
            out.append(1.5 / np.sqrt(J))
            continue
        z = block.X_re
        gram = z.T @ z / block.n_levels
        noise = sigma**2 * float(np.linalg.pinv(gram)[spread.first, spread.first])
        total2 = value**2 + noise
        out.append(total2 / (max(value, 0.5 * np.sqrt(total2)) * np.sqrt(2.0 * J)))
    return np.asarray(out, float)


def covariances_of(bundle: Any, statistics: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Return the covariance (k, k) of each block and the residual SD from the statistics of one draw.

    Families whose dispersion is known have no residual SD among the statistics; it then is 1.
    """
    spread = np.asarray(statistics, float)[bundle.p :]
    at, out = 0, []
    for block in bundle.re_metadata.blocks:
        k = block.k
        sd = spread[at : at + k]
        R = np.eye(k)
        at += k
        for a, b in block.entries:
            if a != b:
                R[a, b] = R[b, a] = np.nan_to_num(spread[at])
                at += 1
        out.append(R * sd[:, None] * sd)
    return out, float(spread[at]) if at < spread.size else 1.0
