"""Randomness: replicate i is a function of (seed, purpose, i), for any chunk, order or number of workers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

from .errors import InferenceError
from .states.base import Array

# One generator serves a block of replicates. Making one costs 11 us, drawing an index 1 ns: with some 65,000 values a
# block the constructor disappears, and rebuilding a single replicate still costs less than a tenth of a millisecond.
BLOCK_VALUES = 65_536
MAX_BLOCK_ROWS = 4_096

# Indices come from 32-bit words as (word * n) >> 32: at most n / 2^32 relative bias, so only up to here.
MAX_NARROW = 1 << 20


class Purpose(IntEnum):
    """Kinds of variates; two kinds of one replicate never share a stream."""

    INDEX = 1
    STREAM = 2
    PERMUTATION = 3
    NORMAL = 4
    SIGN = 5
    RESPONSE = 6
    FOLD = 7
    CHILD = 8


def block_rows(width: int) -> int:
    """Replicates that share one generator, a function of the row width alone.

    It never depends on the number of replicates, the chunk or the number of workers: that is what keeps replicate i
    the same when any of these change.
    """
    return min(MAX_BLOCK_ROWS, 1 << max(BLOCK_VALUES // max(width, 1), 1).bit_length() - 1)


@dataclass(frozen=True, slots=True)
class RNG:
    """A source of replicate streams; holds no state, so it can be shared, copied and pickled freely.

    Attributes
    ----------
    seed : int
        What the user types to get the same draws again.
    path : tuple of int
        Which descendant of the seed this is; empty for the root, see :meth:`split`.

    Notes
    -----
    Keys are hashed by ``SeedSequence(seed, spawn_key=(*path, purpose, block))`` and drive SFC64, the fastest bit
    generator of NumPy. Blocks of replicates start afresh, so no counter based generator is needed for random access.
    """

    seed: int
    path: tuple[int, ...] = ()

    @classmethod
    def from_seed(cls, seed: int | None = None) -> RNG:
        """An RNG for ``seed``; ``None`` picks one, which ``.seed`` then tells.

        Raises
        ------
        InferenceError
            For anything but a whole number that is not negative.
        """
        if seed is None:
            return cls(int(SeedSequence().generate_state(1)[0]))
        try:
            value = operator.index(seed)
        except TypeError:
            value = -1
        if value < 0 or isinstance(seed, bool):
            raise InferenceError(
                asked=f"seed={seed!r}",
                found="a seed is a whole number, 0 or larger",
                remedy="seed=1, or leave it out: the result then carries the seed that was picked",
            )
        return cls(value)

    def split(self, n: int) -> list[RNG]:
        """``n`` independent sources, child i always the same one."""
        return [RNG(self.seed, (*self.path, int(Purpose.CHILD), i)) for i in range(n)]

    def stream(self, i: int, purpose: Purpose = Purpose.STREAM) -> Generator:
        """The generator of replicate (or block) ``i``; costs 11 us, so draw a good deal from it."""
        return Generator(self._bits(purpose, i))

    def indices(self, start: int, stop: int, n: int) -> Array:
        """Row numbers of replicates ``start .. stop - 1``: (stop - start, n) int64 in 0 .. n - 1, with replacement."""
        rows = block_rows(n)
        pieces = [self._index_block(block, lo, hi, n) for block, lo, hi in _blocks(start, stop, rows)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, n), np.int64), *pieces])

    def counts(self, start: int, stop: int, n: int, out: Array | None = None) -> Array:
        """How often each of n rows occurs in replicates ``start .. stop - 1``: (stop - start, n) float64.

        Float, because every use is a matrix product; the counts of :meth:`indices`, exactly.
        """
        if out is None:
            out = np.empty((stop - start, n))
        done = 0
        for block, lo, hi in _blocks(start, stop, block_rows(n)):
            out[done : done + hi - lo] = count_rows(self._index_block(block, lo, hi, n), n, owned=True)
            done += hi - lo
        return out

    def rows(
        self, start: int, stop: int, width: int, draw: Callable[[Generator, int], Array], purpose: Purpose
    ) -> Array:
        """Replicates ``start .. stop - 1`` of any sampler, ``draw(generator, rows) -> (rows, ...)``.

        For variates with a variable appetite (normal, gamma, shuffles): a call for fewer rows must be a prefix of the
        call for more, which holds for every method of ``numpy.random.Generator`` called once.
        """
        pieces = [
            draw(self.stream(block, purpose), hi)[lo:hi] for block, lo, hi in _blocks(start, stop, block_rows(width))
        ]
        return np.concatenate(pieces) if len(pieces) != 1 else pieces[0]

    def permutations(self, start: int, stop: int, n: int) -> Array:
        """Shuffles ``start .. stop - 1``: (stop - start, n) int64, each row a permutation of 0 .. n - 1.

        The order of n random keys that carry their own number in the low bits: one sort of whole rows, three times as
        fast as shuffling each, and no two keys are equal.
        """
        if stop <= start:
            return np.empty((0, n), np.int64)
        return self.rows(start, stop, n, partial(_sorted_keys, n), Purpose.PERMUTATION)

    def signs(self, start: int, stop: int, n: int) -> Array:
        """Coin flips ``start .. stop - 1``: (stop - start, n) float64, -1 or 1.

        Float, because every use is a matrix product; one bit of the generator each.
        """
        if stop <= start:
            return np.empty((0, n))
        return self.rows(start, stop, n, partial(_coins, n), Purpose.SIGN)

    def _bits(self, purpose: int, i: int) -> Any:
        return SFC64(SeedSequence(self.seed, spawn_key=(*self.path, int(purpose), i)))

    def _index_block(self, block: int, lo: int, hi: int, n: int) -> Array:
        """Rows ``lo .. hi - 1`` of one block of indices, by multiply and shift: no rejection, so the width is fixed."""
        bits = self._bits(Purpose.INDEX, block)
        if n <= MAX_NARROW:
            half = (n + 1) // 2
            words = bits.random_raw(hi * half).astype("<u8", copy=False).view("<u4").reshape(hi, 2 * half)
            # Contiguous and 64 bit from the start: the counting that follows needs both.
            index = np.multiply(words[lo:, :n], np.uint64(n), dtype=np.uint64)
        else:
            words = bits.random_raw(hi * n).reshape(hi, n)[lo:]
            size, low = np.uint64(n), np.uint64(0xFFFFFFFF)
            index = (words >> np.uint64(32)) * size + (((words & low) * size) >> np.uint64(32))
        index >>= np.uint64(32)
        return index.view(np.int64)


def _sorted_keys(n: int, generator: Generator, rows: int) -> Array:
    """(rows, n) permutations from sorted keys."""
    low = np.uint64((1 << max(n - 1, 1).bit_length()) - 1)
    keys = generator.bit_generator.random_raw(rows * n).reshape(rows, n)
    keys &= ~low
    keys |= np.arange(n, dtype=np.uint64)
    keys.sort(axis=1)
    keys &= low
    return keys.view(np.int64)


def _coins(n: int, generator: Generator, rows: int) -> Array:
    """(rows, n) signs from single bits."""
    words = -(-n // 64)
    raw = generator.bit_generator.random_raw(rows * words).astype("<u8", copy=False).view(np.uint8)
    bits = np.unpackbits(raw.reshape(rows, 8 * words), axis=1, count=n)
    return 2.0 * bits - 1.0


def count_rows(indices: Array, n: int, owned: bool = False) -> Array:
    """How often each of ``n`` rows occurs in each row of ``indices`` (b, m): (b, n) integers.

    ``owned=True`` lets it write into ``indices``. One ``bincount`` for all rows: a loop of them costs 6 times as much
    for 32 rows.
    """
    b = indices.shape[0]
    offset = np.arange(b)[:, None] * n
    flat = np.add(indices, offset, out=indices) if owned else indices + offset
    return np.bincount(flat.ravel(), minlength=b * n).reshape(b, n)


def _blocks(start: int, stop: int, rows: int):
    """(block, first row, one past the last row) of the blocks that replicates ``start .. stop - 1`` lie in."""
    for block in range(start // rows, -(-stop // rows)):
        first = block * rows
        yield block, max(start - first, 0), min(stop - first, rows)
