"""The diagonal of the matrix from y to the conditional fitted values, for large crossed models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.states import Array

from .crossed import Point


def leverage(at: Point, variances: Sequence[Array], root_S: Array) -> Array:
    """(n,) z_i'H z_i + |x~_i S^-1/2|^2, H the variance of all effects given y over sigma^2 and x~ = V^-1 X.

    ``variances`` (J, k, k) are the diagonal blocks of H by term; root_S (p, p) with root_S root_S' = S^-1. Beside
    them a row of the data needs H among the terms that stay, T M^-1 T', and -Q_r a_r T M^-1 T' between them and the
    leading one.
    """
    d = at.lanes.kernel.design
    lead, z, group = d.lead, d.z, [term.group for term in d.terms]
    columns = np.concatenate(
        [d.slots[t].start + group[t][:, None] * d.slots[t].k + np.arange(d.slots[t].k) for t in d.others], axis=1
    )
    rest = np.concatenate([z[t] for t in d.others], axis=1)
    own = z[lead]
    out = np.einsum("na,nab,nb->n", own, variances[lead][group[lead]], own)
    out += at.rest.row_squares(columns, rest)
    turned = np.einsum("na,nab->nb", own, at.Q[group[lead]])
    out -= 2.0 * at.rest.row_products(d.meeting, group[lead], turned, columns, rest)
    fixed = d.X.copy()
    for t, T in enumerate(at.T):
        moved = (T @ T.T) @ at.W[t]
        for a in range(T.shape[0]):
            fixed -= z[t][:, a, None] * moved[group[t], a]
    return out + np.square(fixed @ root_S).sum(axis=1)
