"""What other codes take for the same rows: general ones, and independent values."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Baselines"]

_HARDEST = 9
_GZIP_FRAME = 31
"""Of zlib: the format of gzip with the largest window."""


def _gzip() -> Any:
    return zlib.compressobj(_HARDEST, zlib.DEFLATED, _GZIP_FRAME)


_CODES: dict[str, Callable[[], Any]] = {
    "gzip": _gzip,
    "bz2": lambda: bz2.BZ2Compressor(_HARDEST),
    "xz": lambda: lzma.LZMACompressor(preset=_HARDEST),
}


class Baselines:
    """Counts the bytes of gzip, bz2 and xz, each at its highest level, block by block.

    Rows of two values are also packed first, eight to a byte. `independent` is the entropy of each
    number of a row at its frequencies in these rows, without the cost of these frequencies.

    Args:
        num_values: V, how many values each number can have, a count.
    """

    def __init__(self, num_values: int):
        self._num_values, self._num = num_values, 0
        endings = ("", " of packed bits") if num_values == 2 else ("",)
        self._codes = {f"{n}{end}": make() for end in endings for n, make in _CODES.items()}
        self._sizes = dict.fromkeys(self._codes, 0)
        self._counts: np.ndarray | None = None

    def add(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Counts a block.

        Args:
            rows: as they were given, [b, …].
            symbols: the index of each value, integers [b, D].
        """
        self._num += symbols.size
        whole = rows.tobytes()
        packed = (
            np.packbits(symbols.astype(bool), axis=1).tobytes() if self._num_values == 2 else b""
        )
        for name, code in self._codes.items():
            self._sizes[name] += len(code.compress(packed if name.endswith("bits") else whole))
        size = symbols.shape[1]
        places = np.arange(size) * self._num_values + symbols
        counts = np.bincount(places.ravel(), minlength=size * self._num_values)
        self._counts = counts if self._counts is None else self._counts + counts

    def bits_per_value(self) -> dict[str, float]:
        """The bits for each number of the rows, by the name of the code; called once, at the end.

        Returns:
            Scalars; {} without rows.
        """
        if not self._num or self._counts is None:
            return {}
        counts = self._counts.reshape(-1, self._num_values)
        shares = counts / counts.sum(axis=1, keepdims=True)
        logs = np.log2(np.where(shares > 0, shares, 1.0))
        found = {
            name: 8 * (self._sizes[name] + len(code.flush())) / self._num
            for name, code in self._codes.items()
        }
        return found | {"independent values": float(-(shares * logs).sum() / len(counts))}
