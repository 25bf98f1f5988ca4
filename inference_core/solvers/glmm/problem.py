"""A GLMM as one function of (theta, beta, log scale) in coordinates where it is well scaled.

X becomes c X R^-1 sqrt(n), Z becomes c Z A with A lower triangular (diagonal where T is), so that T = A T*. The columns
then have root mean square c, the size of eta: 1 for links that have no units (logit, log), the spread of link(y)
otherwise. Both maps are linear in the parameters: ``to_data`` (m, m) carries them back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.solvers.lmm.structure import Entries, components, free_entries, is_full, to_matrix
from inference_core.states import Array

from .blocked import CROSS_LIMIT, DENSE_LIMIT, Blocked
from .grouped import Evaluation, Grouped, Point, Precision
from .joint import joint_laplace, precision
from .quadrature import adaptive, adaptive_by_group
from .rows import RowModel


@dataclass(frozen=True, slots=True, eq=False)
class RandomTerm:
    """Effects of one grouping factor: Z (n, k), codes (n,) of J levels that all occur, mask (k, k) of T."""

    Z: Array
    group: Array
    J: int
    mask: Array

    @property
    def entries(self) -> Entries:
        """Free entries of T, column by column."""
        return free_entries(self.mask)


class TooLargeError(ValueError):
    """The random effects beyond the first factor need more memory than a dense factor may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Design and rows in working coordinates; lanes of y share the rest."""

    design: Grouped | Blocked
    model: RowModel  # rows in the design's order
    terms: tuple[RandomTerm, ...]  # in the units of the data
    n_agq: int
    to_data: Array  # (m, m) working (theta, beta, log scale) to data
    maps: tuple[Array, ...]  # A (k, k) of each term
    unit: float  # c, the size of eta

    def lanes(self, lanes: Array) -> Problem:
        """Some of the lanes."""
        return replace(self, design=self.design.take(lanes), model=self.model.take(lanes))

    @property
    def n_theta(self) -> int:
        """Covariance parameters."""
        return self.design.n_theta

    @property
    def n_scale(self) -> int:
        """1 with a scale parameter, else 0."""
        return int(self.model.has_scale)

    @property
    def searched(self) -> Array:
        """Positions in (theta, beta, log scale) that the outer search moves: beta is not among them for nAGQ = 0."""
        every = np.arange(self.to_data.shape[0])
        if self.n_agq > 0:
            return every
        return np.concatenate([every[: self.n_theta], every[self.n_theta + self.design.p :]])

    def with_responses(self, y: Array) -> Problem:
        """The same for other responses (B, n), rows as in the data."""
        model = RowModel(self.model.family, np.ascontiguousarray(y[:, self.design.order]), self.model.weights)
        return self.with_model(model)

    def with_model(self, model: RowModel) -> Problem:
        """The same with other rows, already in the design's order."""
        return replace(self, model=model)

    def with_multiplicity(self, multiplicity: Array) -> Problem:
        """The same with groups counted so often in each lane: (B, J), one grouping factor only."""
        if not isinstance(self.design, Grouped):
            raise ValueError("groups can be counted more than once for a single grouping factor only")
        return replace(self, design=self.design.with_multiplicity(multiplicity))

    def at_nodes(self, n_agq: int) -> Problem:
        """The same by another rule of integration."""
        return replace(self, n_agq=n_agq)

    def split(self, x: Array) -> Point:
        """(theta, beta, log scale) of x (B, m)."""
        m, p = self.n_theta, self.design.p
        return Point(x[:, :m], x[:, m : m + p], x[:, m + p] if self.n_scale else None)

    def evaluate(self, x: Array, u: Array, lanes: Array | slice = slice(None), *, gradient: bool = True) -> Evaluation:
        """Deviance and gradient in what is searched at x (b, m), the values of ``lanes``; modes start at u (b, q)."""
        model, design = self.model.take(lanes), self.design.take(lanes)  # type: ignore[arg-type]
        point = self.split(x)
        if self.n_agq > 1:
            if not isinstance(design, Grouped):
                raise ValueError("quadrature needs one grouping factor")
            return adaptive(design, model, point, u, self.n_agq, gradient=gradient)
        if self.n_agq == 1:
            return design.laplace(model, point, u, gradient=gradient)
        if isinstance(design, Grouped):
            return joint_laplace(design, model, point.theta, point.scale, point.beta, u, gradient=gradient)
        return design.joint_laplace(model, point.theta, point.scale, point.beta, u, gradient=gradient)

    def group_gradients(self, x: Array, u: Array) -> Array:
        """(J, m) gradient of each group's part of the deviance at x (m,), u (q,); one grouping factor, nAGQ > 0."""
        point = self.split(x[None])
        if not isinstance(self.design, Grouped) or self.n_agq == 0:
            raise ValueError("parts of a deviance that belong to groups need one grouping factor and nAGQ > 0")
        if self.n_agq > 1:
            return adaptive_by_group(self.design, self.model, point, u[None], self.n_agq)
        return self.design.laplace_by_group(self.model, point, u[None])

    def precision(self, x: Array, u: Array) -> Precision:
        """What is known about beta and the effects at x (m,), u (q,), in working coordinates."""
        point = self.split(x[None])
        if isinstance(self.design, Grouped):
            return precision(self.design, self.model, point, u[None])
        return self.design.precision(self.model, point, u[None])

    def eta(self, x: Array, u: Array) -> tuple[Array, Array]:
        """(n,) linear predictor with and without the random effects, rows as in the data."""
        point = self.split(x[None])
        fixed = self.design.X @ point.beta[0] + self.design.offset
        back = np.empty_like(self.design.order)
        back[self.design.order] = np.arange(self.design.n)
        return (fixed + self.random_part(x, u))[back], fixed[back]

    def random_part(self, x: Array, u: Array) -> Array:
        """(n,) Z T u, rows in the design's order."""
        theta = x[None, : self.n_theta]
        if isinstance(self.design, Grouped):
            T = to_matrix(theta, self.design.entries, self.design.k)
            return self.design.random_part(T, self.design.unpack(u[None]))[0]
        return self.design.random_part(self.design.rotated(theta)[1], u[None])[0]


def pose(
    X: Array, terms: tuple[RandomTerm, ...], model: RowModel, offset: Array | None = None, n_agq: int = 1
) -> Problem:
    """Scale the columns and choose the algebra.

    Parameters
    ----------
    X : (n, p) array
        Fixed-effects design of full column rank.
    terms : tuple of RandomTerm
        One a grouping factor, the one with most levels first.
    model : RowModel
        Family, responses and weights, rows as in X.
    offset : (n,) array, optional
    n_agq : int
        0: beta with the modes; 1: Laplace; more: quadrature nodes, for one scalar term only.

    Raises
    ------
    TooLargeError
        Several factors whose smaller ones together have too many effects for a dense factor.
    """
    n, p = X.shape
    unit = _size_of_eta(model)
    R = np.linalg.qr(X, mode="r") / np.sqrt(n)
    R_inverse = unit * np.linalg.inv(R)
    work_X = X @ R_inverse
    maps = tuple(unit * _lower_whitening(t.Z, t.mask) for t in terms)
    m = sum(len(t.entries) for t in terms) + p + int(model.has_scale)
    to_data = np.eye(m)
    at = 0
    for t, A in zip(terms, maps, strict=True):
        for j, (_, column) in enumerate(t.entries):
            for i, (row, other) in enumerate(t.entries):
                to_data[at + i, at + j] = A[row, t.entries[j][0]] if other == column else 0.0
        at += len(t.entries)
    to_data[at : at + p, at : at + p] = R_inverse
    if len(terms) == 1:
        t = terms[0]
        design: Grouped | Blocked = Grouped.make(work_X, t.Z @ maps[0], t.group, t.entries, offset)
    else:
        rest = sum(t.J * t.Z.shape[1] for t in terms[1:])
        first = terms[0].J * terms[0].Z.shape[1]
        if rest > DENSE_LIMIT or first * rest > CROSS_LIMIT:
            raise TooLargeError(f"{rest} random effects beside the {first} of the largest factor")
        blocks = [(t.Z @ A, t.group, t.J, t.entries) for t, A in zip(terms, maps, strict=True)]
        design = Blocked.make(work_X, blocks, offset)
    return Problem(design, model.reorder(design.order), terms, n_agq, to_data, maps, unit)


def _size_of_eta(model: RowModel) -> float:
    """A power of ten near the spread of link(y) where eta has units, else 1."""
    family = model.family
    if family.link.name not in ("identity", "inverse", "sqrt", "inverse_squared") or family.name == "binomial":
        return 1.0
    weights = None if model.weights is None else np.atleast_2d(model.weights)[0]
    with np.errstate(all="ignore"):
        eta = family.link.link(family.initialize(model.y[0], weights))
        eta = eta[np.isfinite(eta)]
        spread = float(np.median(np.abs(eta - np.median(eta)))) if eta.size else 0.0
        spread = spread if spread > 0 else float(np.std(eta)) if eta.size else 0.0
    return 10.0 ** round(np.log10(spread)) if np.isfinite(spread) and spread > 0 else 1.0


def _lower_whitening(Z: Array, mask: Array) -> Array:
    """(k, k) lower-triangular A such that Z A has mean cross-products I as far as the structure of T allows.

    A keeps T = A T* lower triangular, so that the parameters of T are linear in those of T*.
    """
    n, k = Z.shape
    A = np.zeros((k, k))
    for members in components(mask):
        part = Z[:, members]
        norms = np.sqrt(np.mean(np.square(part), axis=0))
        safe = np.where(norms > 0, norms, 1.0)
        if members.size > 1 and is_full(mask, members):
            # QR with the columns reversed is Z = Q L: A = L^-1
            upper = np.linalg.qr(part[:, ::-1], mode="r") / np.sqrt(n)
            lower = upper[::-1, ::-1]
            if lower.shape[0] == members.size and np.all(np.abs(np.diagonal(lower)) > 1e-8 * safe):
                inverse = np.linalg.inv(lower)
                A[np.ix_(members, members)] = np.tril(inverse * np.sign(np.diagonal(inverse))[None, :])
                continue
        A[members, members] = 1.0 / safe
    return A
