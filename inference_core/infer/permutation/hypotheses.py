"""Linear hypotheses L b = c, and where they point in an orthonormal basis of the design.

The null model is X0 = X N with N a basis of the null space of L, and an offset X b_c with L b_c = c. In the basis Q of
the design it is what is left of the span of Q without the k directions G = Q U that the hypothesis tests: one rule for
coefficients, contrasts, slopes, whole factors, and values other than 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.errors import InferenceError
from inference_core.states.base import Array, Frozen
from inference_core.states.bundle import DataBundle

# A column of ones that lies in the null model to this share of its length does so but for rounding.
IN_SPAN = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis(Frozen):
    """One hypothesis L b = c about r estimable coefficients.

    k = 1 is tested by a t (or signed score) statistic, k > 1 by an F (or a quadratic form of scores).
    """

    name: str
    rows: Array  # L (k, r)
    value: Array  # c (k,)

    @property
    def k(self) -> int:
        """How many numbers the hypothesis is about."""
        return self.rows.shape[0]

    @property
    def direction(self) -> Array:
        """(r, k) D with L D = I: coefficients move along it when L b moves."""
        return self.rows.T @ np.linalg.inv(self.rows @ self.rows.T)

    def null_basis(self) -> Array:
        """(r, r - k) orthonormal N with L N = 0."""
        q, _ = np.linalg.qr(self.rows.T, mode="complete")
        return q[:, self.k :]

    def tested(self, r_factor: Array) -> tuple[Array, Array]:
        """U (r, k) and S (k, k) with L b = S' G'(X b), G = Q U: the directions tested, for a design X = Q R."""
        in_basis = solve_triangular(r_factor, self.rows.T, trans=1)
        if self.k == 1:
            length = float(np.linalg.norm(in_basis))
            return in_basis / length, np.array([[length]])
        return np.linalg.qr(in_basis)


def coefficient_hypotheses(bundle: DataBundle, kept: Array, null: float | Array) -> list[Hypothesis]:
    """One hypothesis for each estimable coefficient: it equals its entry of ``null`` (one for all, or (p,))."""
    values = np.broadcast_to(np.asarray(null, float), (bundle.p,))
    unit = np.eye(kept.size)
    return [Hypothesis(bundle.X_names[j], unit[[i]], values[[j]]) for i, j in enumerate(kept)]


def term_hypothesis(bundle: DataBundle, kept: Array, names: Sequence[str], label: str | None = None) -> Hypothesis:
    """All the named coefficients are 0 together, such as those of one factor.

    Raises
    ------
    InferenceError
        A name that is no estimable coefficient.
    """
    known = [bundle.X_names[j] for j in kept]
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise InferenceError(
            asked=f"a test of {', '.join(names) or 'no coefficient'}",
            found=f"estimable coefficients are {', '.join(known)}",
            remedy="use these names",
        )
    rows = np.eye(kept.size)[[known.index(name) for name in names]]
    return Hypothesis(label or ", ".join(names), rows, np.zeros(len(names)))


def keeps_constant(ones_in_basis: Array, length: float, tested: Array) -> bool:
    """Whether the null model can still move the mean: 1 in the span of X0.

    Parameters
    ----------
    ones_in_basis : (r,)
        Q'1, of the column of ones scaled like the design.
    length : float
        Its length.
    tested : (r, k)
        U of the hypothesis.
    """
    inside = np.linalg.norm(ones_in_basis) >= (1.0 - IN_SPAN) * length
    return bool(inside and np.linalg.norm(tested.T @ ones_in_basis) <= IN_SPAN * length)
