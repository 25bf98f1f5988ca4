"""What is drawn: shuffles or signs, at random or all of them; any one of them from its number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from inference_core.rng import RNG
from inference_core.states.base import Array, Frozen

# All arrangements are tried where they are no more than this, or no more than the draws asked for.
ENUMERATE_BELOW = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Shuffles(Frozen):
    """Permutations of n rows; ``classes`` (n,) numbers rows that are alike, among which a swap changes nothing."""

    n: int
    classes: Array | None = None  # given: all distinct arrangements, by number
    total: int | None = None
    within: Array | None = None  # (n,) given: number of the group of each row, which no value leaves

    @classmethod
    def of(cls, rows: Array, n_perm: int) -> Shuffles:
        """Shuffles of the rows of a design (n, r), all of them where that is cheap."""
        n, limit = len(rows), max(n_perm, ENUMERATE_BELOW)
        if n > limit:  # two classes already have n arrangements or more
            return cls(n)
        classes = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        total = n_arrangements(np.bincount(classes), limit)
        return cls(n) if total is None else cls(n, classes, total)

    def draw(self, rng: RNG, start: int, stop: int) -> Array:
        """(stop - start, n) int64: which row's value each row receives."""
        if self.within is not None:
            return self._within_groups(rng.permutations(start, stop, self.n), self.within)
        if self.classes is None or self.total is None:
            return rng.permutations(start, stop, self.n)
        return unrank(np.arange(start, stop) % self.total, self.classes)

    def _within_groups(self, shuffles: Array, group: Array) -> Array:
        """The rows of each group in the order in which a shuffle of all rows (b, n) has them."""
        places = np.argsort(group, kind="stable")
        out = np.empty_like(shuffles)
        by_group = np.argsort(group[shuffles], axis=1, kind="stable")
        out[:, places] = np.take_along_axis(shuffles, by_group, axis=1)
        return out

    @property
    def identity(self) -> Array:
        """(1, n) the data as they are."""
        return np.arange(self.n)[None]


@dataclass(frozen=True, slots=True, eq=False)
class Signs(Frozen):
    """Signs of m units of exchange, spread over n rows: every row of a unit gets the sign of its unit."""

    n: int
    units: Array | None = None  # (n,) number of the unit of each row; None: every row is its own
    total: int | None = None  # given: all 2^m, draw i by the bits of i

    @classmethod
    def of(cls, n: int, n_perm: int, units: Array | None = None) -> Signs:
        """Signs of n rows (or of their units), all of them where that is cheap."""
        m = n if units is None else int(units.max()) + 1
        cheap = m < 63 and 2**m <= max(n_perm, ENUMERATE_BELOW)
        return cls(n, units, 2**m if cheap else None)

    @property
    def m(self) -> int:
        """Units of exchange."""
        return self.n if self.units is None else int(self.units.max()) + 1

    def draw(self, rng: RNG, start: int, stop: int) -> Array:
        """(stop - start, n) float64, -1 or 1."""
        if self.total is None:
            signs = rng.signs(start, stop, self.m)
        else:
            # neighbours are mirror images: the lowest bit turns all signs, each other bit those of one unit
            numbers = np.arange(start, stop)[:, None] % self.total
            turned = np.where(np.arange(self.m) > 0, numbers >> np.arange(self.m), 0) ^ numbers
            signs = 1.0 - 2.0 * (turned & 1)
        return signs if self.units is None else signs[:, self.units]

    @property
    def identity(self) -> Array:
        """(1, n) the data as they are."""
        return np.ones((1, self.n))


Arrangements = Shuffles | Signs


def n_arrangements(sizes: Array, limit: int) -> int | None:
    """N! / (n_1! n_2! ..) ways of dealing n values out to classes of these sizes; None above ``limit``."""
    n = int(np.sum(sizes))
    if float(gammaln(n + 1.0) - gammaln(np.asarray(sizes) + 1.0).sum()) > math.log(limit) + 1e-6:
        return None
    total = 1
    left = n
    for size in sizes:
        total *= math.comb(left, int(size))
        left -= int(size)
    return total if total <= limit else None


def unrank(numbers: Array, classes: Array) -> Array:
    """Arrangements of given numbers: (b, n) the value that each row receives, from numbers (b,) below their count.

    Value by value it is decided which class receives it: the numbers that give value j to class g are a share
    m_g / left of those that remain, m_g being the places the class still has. Within a class values come in order.
    """
    n, b = classes.size, len(numbers)
    sizes = np.bincount(classes)
    total = 1
    left = n
    for size in sizes:
        total *= math.comb(left, int(size))
        left -= int(size)
    places = np.tile(sizes, (b, 1))
    block = np.full(b, total, np.int64)  # how many arrangements share what was decided so far
    number = np.asarray(numbers, np.int64).copy()
    order = np.argsort(classes, kind="stable")  # rows, class by class
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    filled = np.zeros_like(places)
    at = np.arange(b)
    out = np.empty((b, n), np.int64)
    for value in range(n):
        shares = block[:, None] * places // (n - value)
        upto = np.cumsum(shares, axis=1)
        chosen = (number[:, None] >= upto).sum(1)
        number -= upto[at, chosen] - shares[at, chosen]
        block = shares[at, chosen]
        out[at, order[first[chosen] + filled[at, chosen]]] = value
        places[at, chosen] -= 1
        filled[at, chosen] += 1
    return out


def identity_number(arrangements: Arrangements) -> int | None:
    """The number of the arrangement that leaves the data as they are, where all are tried."""
    if isinstance(arrangements, Signs):
        return None if arrangements.total is None else 0
    if arrangements.classes is None or arrangements.total is None:
        return None
    sizes = np.bincount(arrangements.classes)
    places, block, number = sizes.astype(object), arrangements.total, 0
    for value, group in enumerate(arrangements.classes):
        shares = [block * int(m) // (arrangements.n - value) for m in places]
        number += sum(shares[:group])
        block = shares[group]
        places[group] -= 1
    return int(number)
