"""Adaptive Gauss-Hermite quadrature for one scalar effect a group.

The nodes of a group stand at u + M^-1/2 z around its mode, so that one node is the Laplace approximation. The gradient
is the adjoint one of ``grouped``, with the derivative of the rule in M in place of M^-1.
Source: Pinheiro & Bates (1995), JCGS 4.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from inference_core.states import Array

from .grouped import Evaluation, Grouped, Point
from .rows import RowModel


def adaptive(
    design: Grouped, model: RowModel, point: Point, u: Array, n_nodes: int, *, gradient: bool = True
) -> Evaluation:
    """Adaptive Gauss-Hermite quadrature with ``n_nodes`` nodes; one scalar effect a group."""
    with np.errstate(all="ignore"):
        value, m, parts = _quadrature(design, model, point, u, n_nodes, gradient)
        g = None if parts is None else design.adjoint_gradient(model, point, m, *parts)
        return Evaluation(design.total(value, m.ok), g, design.pack(m.u), point.beta)


def adaptive_by_group(design: Grouped, model: RowModel, point: Point, u: Array, n_nodes: int) -> Array:
    """(J, m) gradient of each group's deviance at one point (one lane)."""
    with np.errstate(all="ignore"):
        _, m, parts = _quadrature(design, model, point, u, n_nodes, True)
        assert parts is not None
        return design.group_gradients(model, point, m, *parts)


def _quadrature(design: Grouped, model: RowModel, point: Point, u: Array, n_nodes: int, gradient: bool):
    """The deviance (B, J) of each group, the modes, and what the gradient is made of."""
    m = design.modes(model, point, u)
    nodes, log_weights = gauss_hermite(n_nodes)
    spread = np.sqrt(m.M_inverse[0][0])
    fixed = m.eta - design.random_part(m.T, m.u)
    height, scores, slopes, places, scale_parts = [], [], [], [], []
    for z, log_weight in zip(nodes, log_weights, strict=True):
        place = m.u[0] + spread * z
        eta = fixed + design.random_part(m.T, [place])
        rows = model(eta, point.scale)
        level = design.by_group(rows.deviance) + place * place
        inside = np.isfinite(level)  # a node where no mean is possible has density 0
        height.append(np.where(inside, -0.5 * (level - m.penalised) + 0.5 * z * z + log_weight, -np.inf))
        places.append(place)
        if gradient:
            scores.append(np.where(np.take(inside, design.group, axis=1), rows.score, 0.0))
            slopes.append(2.0 * (place - design.into_u(m.T, design.z_sums(scores[-1]))[0]))
            if point.scale is not None:
                part = design.by_group(model.scale_rows(eta, point.scale, rows).deviance)
                scale_parts.append(np.where(inside, part, 0.0))
    heights = np.stack(height)
    top = heights.max(axis=0)
    share = np.exp(heights - top)
    total = share.sum(axis=0)
    value = m.penalised + m.log_det - 2.0 * (top + np.log(total))
    if not gradient:
        return value, m, None
    share /= total
    pull = sum(s * d for s, d in zip(share, slopes, strict=True))
    widen = sum(s * d * z for s, d, z in zip(share, slopes, nodes, strict=True))
    # d/dM of the log of the spread and of the nodes' places, in place of M^-1 of the Laplace term
    sensitivity = m.M_inverse[0][0] - 0.5 * spread**3 * widen
    mean_score = sum(np.take(s, design.group, axis=1) * r for s, r in zip(share, scores, strict=True))
    cross = -2.0 * sum(
        s * design.by_group(r * design.Z[:, 0]) * v for s, r, v in zip(share, scores, places, strict=True)
    )
    scale_part = sum(s * d for s, d in zip(share, scale_parts, strict=True)) if scale_parts else None
    return value, m, ([[sensitivity]], mean_score, (pull, cross), scale_part)


@cache
def gauss_hermite(n_nodes: int) -> tuple[Array, Array]:
    """Nodes and log weights against the standard normal density."""
    z, w = np.polynomial.hermite_e.hermegauss(n_nodes)
    return z, np.log(w) - 0.5 * np.log(2.0 * np.pi)
