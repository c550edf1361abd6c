"""Asymmetric numeral systems: a stack of symbols, each of which takes −log2 of its probability.

The last symbol that was pushed is the first that is popped. A symbol is popped with any
distribution, even from bits that were never pushed: this draws it, and pushing it back restores
the bits. Bits-back coding is made of that.

There are several lanes, each an integer in [2^32, 2^64), so that NumPy codes a symbol of every lane
at a time. Lanes share one stack of words of 32 bits.
"""

import hashlib

import numpy as np

from vae_jax.errors import DataError

__all__ = ["EMPTY", "MOST_PRECISION", "Coder", "initial_words", "noise"]

EMPTY = 2**32
"""A lane that holds nothing, a scalar."""
MOST_PRECISION = 32
"""Frequencies are of a total of 2^precision, a count of bits of at most this."""
_WORD = np.uint64(32)
_LOW = np.uint64(2**32 - 1)
_LEAST = np.uint64(EMPTY)


def initial_words(num: int, first: int = 0) -> np.ndarray:
    """The bits that are there before any symbol is pushed, the same in all files.

    Args:
        num: a count of words.
        first: how many words come before them, a count.

    Returns:
        uint32 [num], SHA-256 of a counter.
    """
    blocks = range(first // 8, -(-(first + num) // 8))
    found = b"".join(hashlib.sha256(b"vaez%d" % block).digest() for block in blocks)
    return np.frombuffer(found, "<u4")[first % 8 :][:num].astype(np.uint32)


def noise(counts: np.ndarray) -> np.ndarray:
    """Pseudo-random words: SplitMix64 of a counter.

    Args:
        counts: uint64, any shape.

    Returns:
        uint64 below 2^32, the same shape.

    Reference:
        Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators, figure 17.
    """
    z = (counts + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & _LOW


class Coder:
    """The lanes, and the stack of words below them.

    Attributes:
        heads: uint64 [lanes].
        num_initial: how many initial words were taken, a count.

    Args:
        heads: of the lanes, uint64 [lanes], each in [2^32, 2^64).
        words: of the stack, uint32 [W], the top last.
        is_bottomless: whether `initial_words` lie below the stack, the first at the top; otherwise
            a stack that runs empty is an error.

    Reference:
        Duda 2009, arXiv 0902.0271; Giesen 2014, Interleaved entropy coders, arXiv 1402.3392.
    """

    def __init__(self, heads: np.ndarray, words: np.ndarray, *, is_bottomless: bool = False):
        self.heads = np.array(heads, np.uint64)
        self._words, self._size = np.array(words, np.uint32), len(words)
        self._is_bottomless, self.num_initial = is_bottomless, 0

    @property
    def words(self) -> np.ndarray:
        """The stack of words, uint32 [W], the top last."""
        return self._words[: self._size]

    def push(self, starts: np.ndarray, frequencies: np.ndarray, precision: int) -> None:
        """Pushes one symbol to each of the first lanes.

        Args:
            starts: sum of the frequencies of the symbols before it, integers [B].
            frequencies: of the symbol, integers [B], at least 1.
            precision: P, the frequencies of all symbols sum to 2^P, a count.
        """
        start, frequency = (np.asarray(v).astype(np.uint64) for v in (starts, frequencies))
        bits, own = np.uint64(precision), self.heads[: len(start)]
        is_full = own >> (np.uint64(64) - bits) >= frequency
        if is_full.any():
            self._put((own[is_full] & _LOW).astype(np.uint32))
            own[is_full] >>= _WORD
        quotient, rest = np.divmod(own, frequency)
        own[:] = (quotient << bits) + rest + start

    def whiten(self, noise: np.ndarray) -> None:
        """Flips the low bits of the first lanes; the same call again undoes it.

        What is popped next is then uniform, whatever was pushed before: with noise that is new each
        time, symbols are draws, independent of those before them.

        Args:
            noise: uint64 [B] below 2^32.
        """
        self.heads[: len(noise)] ^= noise

    def peek(self, num: int, precision: int) -> np.ndarray:
        """Where the next symbol of each of the first lanes lies: uint64 [num] in [0, 2^P).

        Args:
            num: lanes, a count.
            precision: P, a count.
        """
        return self.heads[:num] & np.uint64((1 << precision) - 1)

    def pop(self, starts: np.ndarray, frequencies: np.ndarray, precision: int) -> None:
        """Removes the symbols [B] that `peek` found: the inverse of `push`, arguments as there.

        Raises:
            DataError: the stack is empty, and not bottomless.
        """
        start, frequency = (np.asarray(v).astype(np.uint64) for v in (starts, frequencies))
        own = self.heads[: len(start)]
        place = self.peek(len(start), precision)
        own[:] = frequency * (own >> np.uint64(precision)) + place - start
        is_low = own < _LEAST
        num = int(np.count_nonzero(is_low))
        if num:
            own[is_low] = (own[is_low] << _WORD) | self._take(num).astype(np.uint64)

    def _put(self, words: np.ndarray) -> None:
        needed = self._size + len(words)
        if needed > len(self._words):
            grown = np.empty(max(2 * needed, 1024), np.uint32)
            grown[: self._size] = self.words
            self._words = grown
        self._words[self._size : needed] = words
        self._size = needed

    def _take(self, num: int) -> np.ndarray:
        """The words [num] that were put last, in the order in which they were put."""
        lacking = max(0, num - self._size)
        if lacking and not self._is_bottomless:
            raise DataError("holds fewer words than its rows take")
        below = initial_words(lacking, self.num_initial)[::-1]
        start = self._size - (num - lacking)
        found = np.concatenate([below, self._words[start : self._size]])
        self._size, self.num_initial = start, self.num_initial + lacking
        return found
