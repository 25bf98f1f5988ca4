"""The residual bootstrap of a linear mixed model: its own effects and residuals drawn again, their spread restored.

Conditional modes are too close together and their sample covariance is not the estimated one; so are residuals. Each
set is centred and turned by A = (L_R L_S^-1)' such that its sample covariance S = L_S L_S' becomes the model's R = L_R
L_R'. Source: Carpenter, Goldstein & Rasbash (2003), Appl. Statist. 52, 431-443.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.errors import InferenceError
from inference_core.rng import RNG
from inference_core.states import Array, FitState

from .lmer_kernel import LmerKernel
from .whole_groups import WholeGroups

_LOST = 1e-7  # of the largest direction of a relative factor: none at all
ASKED = "a residual bootstrap"


@dataclass(frozen=True, eq=False)
class ResidualDraws:
    """What is drawn from: reflated effects of each block, reflated noise."""

    fitted: Array  # (n,) X beta
    noise: Array  # (n,) mean 0, mean square sigma^2; of rows scaled by the root of their weights
    root_weights: Array | None  # (n,)
    effects: tuple[Array, ...]  # (J, k) of each block, mean 0, covariance sigma^2 T T'
    codes: tuple[Array, ...]  # (n,) group of each row, 0 .. J - 1
    Z: tuple[Array, ...]  # (n, k)

    @classmethod
    def of(cls, kernel: LmerKernel, fit: FitState) -> ResidualDraws:
        """From a fit.

        Raises
        ------
        InferenceError
            A factor has too few groups for the covariance of its effects.
        """
        problem = kernel.problem
        assert fit.u is not None and fit.b is not None
        fitted = problem.X @ kernel.beta
        e = problem.y - fitted
        effects, codes, Z = [], [], []
        spherical = problem.re.split_effects(fit.u)
        for block, term, u, T in zip(problem.re.blocks, problem.terms, spherical, kernel.T, strict=True):
            groups = WholeGroups.of_block(problem, block)
            e = e - np.einsum("nk,nk->n", term.Z, (u @ T.T)[term.group])
            effects.append(reflated(u[groups.levels], T, kernel.sigma, block.group_name, Z=term.Z))
            codes.append(groups.codes)
            Z.append(term.Z)
        root = None if problem.weights is None else np.sqrt(problem.weights)
        scaled = e if root is None else e * root
        noise = scaled - scaled.mean()
        noise = noise * (kernel.sigma / np.sqrt(np.mean(np.square(noise))))
        return cls(fitted, noise, root, tuple(effects), tuple(codes), tuple(Z))

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, n) responses of draws ``start .. stop - 1``, the offset taken off: a source of indices each."""
        own, *others = rng.split(1 + len(self.effects))
        Y = self.noise[own.indices(start, stop, self.noise.size)]
        if self.root_weights is not None:
            Y /= self.root_weights
        Y += self.fitted
        for source, pool, group, Z in zip(others, self.effects, self.codes, self.Z, strict=True):
            drawn = source.indices(start, stop, len(pool))
            for a in range(Z.shape[1]):
                Y += Z[:, a] * pool[:, a][drawn][:, group]
        return Y


def reflated(
    u: Array, T: Array, sigma: float, name: str, *, asked: str = ASKED, remedy: str = "scheme='parametric'",
    centred: bool = True, Z: Array | None = None,
) -> Array:  # fmt: skip
    """(J, k) effects from spherical modes u (J, k): mean 0, and covariance sigma^2 T T' exactly.

    In spherical coordinates A is L_S^-T sigma T' with S the covariance of u. Where T is singular, u lies within the
    span of its rows, and S is taken there. Not ``centred``, their mean products are sigma^2 T T', which is what flips
    of sign keep. ``Z`` (n, k) are the columns of the effects, of size 1 if left out.

    Raises
    ------
    InferenceError
        ``u`` spans less than T does.
    """
    # what an effect adds to a response says whether there is one: an SD alone depends on the units of its column
    units = np.ones(T.shape[0]) if Z is None else np.sqrt(np.mean(np.square(Z), axis=0))
    size, rows = np.linalg.svd(units[:, None] * T)[1:]
    rank = int(np.count_nonzero(size > _LOST * max(float(size.max(initial=0.0)), _LOST)))
    if not rank:
        return np.zeros_like(u)
    # the whole space in its own coordinates keeps the Cholesky factors those of the source
    turn = np.eye(T.shape[0]) if rank == T.shape[0] else rows[:rank].T
    v = u @ turn
    if centred:
        v = v - v.mean(axis=0)
    L = np.asarray(np.linalg.qr(v / np.sqrt(len(v)), mode="r")).T  # v'v / J = L L', no sum of squares formed
    L = L * np.where(np.diagonal(L) < 0, -1.0, 1.0)
    spread = np.diagonal(L)
    if len(v) <= rank or spread.min() <= _LOST * spread.max():
        raise InferenceError(
            asked,
            f"the conditional modes of {len(v)} groups of {name} span less than their {rank} effects",
            remedy,
        )
    return sigma * solve_triangular(L, v.T, lower=True).T @ (T @ turn).T


