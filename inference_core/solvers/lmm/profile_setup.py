"""From arrays to a profile: order of the effects, the kernel, the targets, and the fits on the boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference_core.states import Array

from .dense import DenseDesign, Term
from .groups import GroupDesign
from .held import HeldGroups, HeldTerms, Kernel
from .information import covariance_entries
from .newton import FIT_TOL, newton
from .one_factor import solve
from .profile import LmmSurface
from .profile_targets import COR, FIXED, RATIO, SD, SIGMA, Targets, row_map
from .structure import canonical, components, full_mask, is_full

_ZERO = 1e-6  # SD over sigma, an effect taken over the rows, that is 0


@dataclass(frozen=True, slots=True)
class Label:
    """What a target is: ``term`` and effects for an SD or a correlation, ``column`` for a fixed effect."""

    kind: int
    term: int = -1
    first: int = -1
    second: int = -1
    column: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class ProfileSetup:
    """A model at its ML optimum, ready to be profiled."""

    X: Array  # (n, p)
    y: Array  # (n,) the offset taken off
    weights: Array | None
    terms: tuple[Term, ...]  # effects in falling order of what they add, so that zeros come last
    orders: tuple[Array, ...]  # per term: the columns of the model that those are
    T: tuple[Array, ...]  # canonical relative factor of each, in that order
    sigma: float
    grouped: bool  # one grouping factor

    @classmethod
    def of(
        cls, X: Array, terms: Sequence[Term], y: Array, T: Sequence[Array], sigma: float, *,
        weights: Array | None = None,
    ) -> ProfileSetup:  # fmt: skip
        """From the ML estimates T_t (k, k) and sigma, in the units of the data."""
        ordered, orders, factors = [], [], []
        for term, t in zip(terms, T, strict=True):
            order = falling(term.Z, term.mask, t)
            orders.append(order)
            ordered.append(replace(term, Z=np.ascontiguousarray(term.Z[:, order])))
            factors.append(canonical(_snapped(term, t)[order], term.mask))
        return cls(X, y, weights, tuple(ordered), tuple(orders), tuple(factors), sigma, len(terms) == 1)

    def surface(self) -> tuple[LmmSurface, tuple[Label, ...]]:
        """The deviance and what its targets are: SDs and correlations term by term as lme4 orders them, sigma, b.

        Last come the relative SDs of effects that covary with no other.
        """
        kernel: Kernel
        if self.grouped:
            design = _group_design(self.X, self.terms[0], self.weights)
            theta = design.theta_inside(self.T[0][None])[0]
            kernel = HeldGroups.of(design, self.y)
            factors, starts, entries = [design.z_factor], [0], [design.entries]
            shift, x_factor = kernel.shift[0], design.x_factor
        else:
            dense = DenseDesign.of(self.X, self.terms, self.weights)
            theta = dense.theta_inside([t[None] for t in self.T])[0]
            kernel = HeldTerms.of(dense, self.y)
            factors = list(dense.z_factors)
            starts, entries = [slot.first for slot in dense.slots], [slot.entries for slot in dense.slots]
            shift, x_factor = kernel.one.shift[0], dense.x_factor
        x = np.append(theta, np.log(self.sigma))
        labels = self._labels()
        P, m, p = len(labels), theta.size, self.X.shape[1]
        width = max(term.k for term in self.terms)
        first, second = np.zeros((P, width, m)), np.zeros((P, width, m))
        held, unit, origin, size = np.zeros((P, p)), np.ones(P), np.zeros(P), np.ones(P)
        for j, label in enumerate(labels):
            if label.kind in (SD, RATIO, COR):
                t = label.term
                place = np.argsort(self.orders[t])
                rows = np.linalg.inv(factors[t])[place]
                first[j] = row_map(rows[label.first], entries[t], starts[t], m, width)
                size[j] = column_sizes(self.terms[t].Z)[place[label.first]]
                if label.kind == COR:
                    second[j] = row_map(rows[label.second], entries[t], starts[t], m, width)
            elif label.kind == FIXED:
                row = np.linalg.solve(x_factor.T, np.eye(p)[label.column])
                spread = kernel.pieces(theta[None], row[None], np.zeros(1)).spread[0]
                unit[j] = self.sigma * np.sqrt(spread)
                held[j], origin[j] = row / unit[j], row @ shift
        targets = Targets(np.array([label.kind for label in labels]), first, second, held, unit, origin)

        def boundary(target: int, side: int) -> float:
            label = labels[target]
            if label.kind in (SD, RATIO):
                return self.deviance_without(label.term, label.first)
            return self.deviance_tied(label.term, label.first, label.second, side)

        return LmmSurface(kernel, targets, x, boundary, size), labels

    def _labels(self) -> tuple[Label, ...]:
        out = []
        for t, term in enumerate(self.terms):
            for a, b in covariance_entries(term.mask):
                out.append(Label(SD, t, a) if a == b else Label(COR, t, a, b))
        out.append(Label(SIGMA))
        out += [Label(FIXED, column=j) for j in range(self.X.shape[1])]
        for t, term in enumerate(self.terms):
            out += [Label(RATIO, t, int(group[0])) for group in components(term.mask) if len(group) == 1]
        return tuple(out)

    # ---- boundaries ----------------------------------------------------------------------------------------

    def deviance_without(self, t: int, a: int) -> float:
        """-2 log L of the best fit with the SD of effect a (a column of the model) of term t at 0."""
        at = int(np.flatnonzero(self.orders[t] == a)[0])
        keep = np.delete(np.arange(self.terms[t].k), at)
        terms, T = list(self.terms), list(self.T)
        if keep.size:
            term = terms[t]
            mask = term.mask[np.ix_(keep, keep)]
            terms[t] = replace(term, Z=np.ascontiguousarray(term.Z[:, keep]), mask=mask)
            T[t] = _square(self.T[t][keep], mask)
        else:
            del terms[t], T[t]
        return self._fit(terms, T)

    def deviance_tied(self, t: int, a: int, b: int, side: int) -> float:
        """-2 log L of the best fit with the correlation of effects a and b of term t at ``side``.

        T has rows (t_a, 0, ..) and (+-t_b, 0, ..), one sign for each side. If the best fit of that form has the other
        sign, the way there leads through an SD of 0, and the best of those fits stands for the boundary.
        """
        term = self.terms[t]
        k = term.k
        place = np.argsort(self.orders[t])
        pair = [int(place[a]), int(place[b])]
        group = next(members for members in components(term.mask) if pair[0] in members)
        rest = [int(c) for c in group if c not in pair]
        order = np.array([*pair, *rest, *(c for c in range(k) if c not in group)])
        n = len(group)
        mask = term.mask[np.ix_(order, order)].copy()
        mask[:n, :n] = np.tril(full_mask(n), -1)
        mask[0, 0] = True
        mask[1, 1:n] = False
        unit = column_sizes(term.Z)[order, None]
        full = np.zeros((k, k))
        full[:n, :n] = _square(unit[:n] * self.T[t][order[:n]], full_mask(n))
        if k > n:
            full[n:, n:] = unit[n:] * self.T[t][np.ix_(order[n:], order[n:])]
        tied = full.copy()
        tied[2:n, 1 : n - 1], tied[2:n, n - 1] = full[2:n, 2:n], 0.0
        size = max(float(np.abs(full).max()), 1e-3)
        tied[0, 0] = max(full[0, 0], 0.1 * size)
        tied[1, :n] = 0.0
        tied[1, 0] = side * max(float(np.linalg.norm(full[1, :n])), 0.1 * size)
        tied = np.where(mask, tied, 0.0)
        terms, T = list(self.terms), list(self.T)
        terms[t] = replace(term, Z=np.ascontiguousarray(term.Z[:, order]), mask=mask)
        T[t] = tied / unit
        deviance, found = self._search_from(terms, T)
        if found[t][1, 0] * found[t][0, 0] * side > 0:
            return deviance
        return min(self.deviance_without(t, a), self.deviance_without(t, b))

    def _fit(self, terms: list[Term], T: list[Array]) -> float:
        if not terms:
            return self._least_squares()
        grown = [_grown(term, t) for term, t in zip(terms, T, strict=True)]
        return min(self._search_from(terms, start)[0] for start in (T, grown))

    def _search_from(self, terms: list[Term], T: list[Array]) -> tuple[float, list[Array]]:
        """-2 log L and T of the optimum that Newton finds from T."""
        if len(terms) == 1:
            design = _group_design(self.X, terms[0], self.weights)
            lanes = design.lanes(self.y[None], reml=False)
            full = bool(np.all(terms[0].mask == np.tril(np.ones_like(terms[0].mask))))
            found = solve(lanes, design.theta_inside(T[0][None]), full=full, tol=FIT_TOL)
            return float(found.deviance[0]), [design.t_outside(found.theta)[0]]
        dense = DenseDesign.of(self.X, terms, self.weights)
        found = newton(dense.lanes(self.y[None], reml=False), dense.theta_inside([t[None] for t in T]), tol=FIT_TOL)
        return float(found.deviance[0]), [t[0] for t in dense.t_outside(found.theta)]

    def _least_squares(self) -> float:
        root = np.ones(self.y.size) if self.weights is None else np.sqrt(self.weights)
        Xw, yw = self.X * root[:, None], self.y * root
        Q = np.linalg.qr(Xw)[0]
        e = yw - Q @ (Q.T @ yw)
        n = self.y.size
        return n * (1.0 + np.log(2.0 * np.pi * float(e @ e) / n)) - 2.0 * float(np.sum(np.log(root)))


def _grown(term: Term, T: Array) -> Array:
    """T (k, k) with every effect's own part larger, in the size of its column: a zero is a stationary point."""
    size = column_sizes(term.Z)
    return T + np.diag(0.3 * max(float(np.abs(size[:, None] * T).max()), 0.3) / size)


def _group_design(X: Array, term: Term, weights: Array | None) -> GroupDesign:
    return GroupDesign.of(X, term.Z, term.group, n_groups=term.n_groups, mask=term.mask, weights=weights)


def column_sizes(Z: Array) -> Array:
    """(k,) root mean squares of the columns of Z (n, k): T in their units does not depend on those of the data."""
    return np.sqrt(np.mean(np.square(Z), axis=0))


def _snapped(term: Term, T: Array) -> Array:
    """T (k, k) with the rows of effects without variance at 0 itself, not where the search stopped beside it."""
    size = column_sizes(term.Z) * np.linalg.norm(T, axis=1)
    return np.where(size[:, None] > _ZERO, T, 0.0)


def falling(Z: Array, mask: Array, T: Array) -> Array:
    """(k,) order of a term's effects by what each adds to those before it, within every full component of the mask.

    A zero of the covariance then stands last, where it is an ordinary point and not a seam of the coordinates.
    """
    scaled = column_sizes(Z)[:, None] * T
    order = np.arange(Z.shape[1])
    for members in components(mask):
        if members.size == 1 or not is_full(mask, members):
            continue
        left = scaled[members].copy()
        picked: list[int] = []
        for _ in members:
            size = np.linalg.norm(left, axis=1)
            size[picked] = -1.0
            best = int(np.argmax(size))
            picked.append(best)
            if size[best] > 0:
                unit = left[best] / size[best]
                left = left - np.outer(left @ unit, unit)
        order[members] = members[picked]
    return order


def _square(rows: Array, mask: Array) -> Array:
    """Canonical T (r, r) with the covariance of some rows (r, k) of a larger T."""
    r = rows.shape[0]
    lower = np.asarray(np.linalg.qr(rows.T, mode="r")).T
    out = np.zeros((r, r))
    out[:, : min(r, lower.shape[1])] = lower[:, :r]
    return canonical(np.where(mask, out, 0.0), mask)

