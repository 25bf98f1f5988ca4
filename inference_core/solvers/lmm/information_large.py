"""``Moves`` of large crossed models: the gradient is exact and cheap, so its differences give the Hessian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.states import Array

from .crossed import CrossedKernel
from .information import Moves, joint_hessian, move
from .newton import Evaluation

STEP = 1e-4  # in whitened T: truncation is its square, rounding of the gradient 1e-12 over it


def moves_of_crossed(kernel: CrossedKernel, y: Array, T: Sequence[Array]) -> Moves:
    """Several factors with many levels: y (n,) with the offset taken off, T_t (k, k) in the units of the data.

    Takes 2 m evaluations for m covariance parameters.
    """
    d = kernel.design
    lanes = kernel.lanes(y, reml=True)
    theta = d.theta_inside([t[None] for t in T])[0]

    def point(at: Array):
        found = lanes.at([t[0] for t in d.t_inside(at[None])])
        assert found is not None  # beside a fit
        return found

    rows = []
    for step in STEP * np.eye(theta.size):
        rows.append((point(theta + step).gradient() - point(theta - step).gradient()) / (2.0 * STEP))
    H = np.array(rows)
    at = point(theta)
    along, turns = [], []
    for g, W, t, slot in zip(at.g, at.W, at.T, d.slots, strict=True):
        GT = 2.0 * (g.T @ (g @ t))
        for a, b in slot.entries:
            along.append(GT[a, b])
            turns.append(np.einsum("jap,ab,jbq->pq", W, move(t, a, b), W, optimize=True))
    found = Evaluation(
        np.array([at.deviance]), at.gradient()[None], 0.5 * (H + H.T)[None], at.beta[None], np.array([at.r2])
    )
    return Moves(
        n=d.n, sigma2=at.r2 / lanes.dof, S=at.S, x_factor=d.x_factor,
        hessian=joint_hessian(found, np.array(along), d.n - d.p), turns=np.array(turns),
    )  # fmt: skip
