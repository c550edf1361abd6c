"""The file of compressed rows: what is in it, what it was made with, and its checksum.

"VAEZ", the version, the length of the header; the header, JSON; the lanes; the words; the SHA-256
of all of it. Numbers are little-endian.
"""

import hashlib
import json
import math
import re
import struct
from typing import Any, NamedTuple

import numpy as np

from vae_jax.errors import DataError, printable
from vae_jax.lossless.ans import EMPTY

__all__ = ["Contents", "pack", "unpack"]

_MAGIC, _VERSION = b"VAEZ", 1
_START = struct.Struct("<4sII")
_MOST_HEADER, _MOST_SIZE = 2**16, 2**48
_DTYPE = re.compile(r"[|<>][buif](1|2|4|8|16)")
_MOST_AXES = 32
_DAMAGE = "was cut short or damaged: fetch or make it again"


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        shape: of the rows, [N, …].
        dtype: of the rows, as `numpy.dtype.str`.
        num_values: V, how many values each number may have, a count.
        batch_size: rows whose tables are computed at a time, a count.
        rows: SHA-256 of the rows, 64 hex digits.
        params: SHA-256 of the parameters of the model, 64 hex digits.
        fingerprint: of `Tables`, 64 hex digits.
        machine: name → value of what the rounding of the tables may depend on.
        heads: uint64 [lanes].
        words: uint32 [W].
    """

    shape: tuple[int, ...]
    dtype: str
    num_values: int
    batch_size: int
    rows: str
    params: str
    fingerprint: str
    machine: dict[str, str]
    heads: np.ndarray
    words: np.ndarray

    @property
    def num_bits(self) -> int:
        """Bits of the lanes and the words, without the header, a count."""
        return 64 * len(self.heads) + 32 * len(self.words)


def pack(contents: Contents) -> bytes:
    """The bytes of a file; arrays of any shape in, a scalar out."""
    told = contents._asdict()
    heads, words = told.pop("heads"), told.pop("words")
    told |= {"shape": list(contents.shape), "lanes": len(heads)}
    header = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    start = _START.pack(_MAGIC, _VERSION, len(header))
    body = b"".join((start, header, heads.astype("<u8").tobytes(), words.astype("<u4").tobytes()))
    return body + hashlib.sha256(body).digest()


def unpack(data: bytes, where: str) -> Contents:
    """Reads a file, which may be anybody's.

    Args:
        data: its bytes, a scalar.
        where: what it is called in messages.

    Raises:
        DataError: it is none, was damaged, or is of another version.
    """
    if len(data) < _START.size + 32 or data[:4] != _MAGIC:
        raise DataError(f"{where}: is no file that compress has made: give one that ends in .vaez")
    body, digest = data[:-32], data[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise DataError(f"{where}: {_DAMAGE}")
    _, version, length = _START.unpack_from(body)
    if version != _VERSION:
        raise DataError(
            f"{where}: is of version {version}, this vae_jax reads {_VERSION}: take a newer one"
        )
    try:
        return _contents(body[_START.size :], length)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        told = printable(str(error))[:100]
        raise DataError(
            f"{where}: has no header that compress writes ({told}): make it again"
        ) from None


def _contents(body: bytes, length: int) -> Contents:
    """What follows the start of a file; raises a ValueError or its like if it does not fit."""
    if not 0 < length <= min(_MOST_HEADER, len(body)):
        raise ValueError(f"a header of {length} bytes")
    told: dict[str, Any] = json.loads(body[:length])
    shape, lanes = told.pop("shape"), told.pop("lanes")
    sizes = [*shape, lanes, told["num_values"], told["batch_size"]]
    if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(map(int, shape)) > _MOST_SIZE:
        raise ValueError(f"sizes {sizes}")
    if not 0 < len(shape) <= _MOST_AXES or told["num_values"] < 2 or told["batch_size"] < 1:
        raise ValueError(f"sizes {sizes}")
    if not _DTYPE.fullmatch(told["dtype"]):
        raise ValueError(f"dtype {told['dtype']}")
    np.dtype(told["dtype"])  # there is no <f1
    texts = [told[n] for n in ("rows", "params", "fingerprint")]
    texts += [*told["machine"], *told["machine"].values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("hashes that are no texts")
    rest = body[length:]
    if 8 * lanes > len(rest) or (len(rest) - 8 * lanes) % 4:
        raise ValueError(f"{lanes} lanes in {len(rest)} bytes")
    heads = np.frombuffer(rest[: 8 * lanes], "<u8").astype(np.uint64)
    if heads.min(initial=EMPTY) < EMPTY:
        raise ValueError("lanes that hold too little")
    words = np.frombuffer(rest[8 * lanes :], "<u4").astype(np.uint32)
    return Contents(**told, shape=tuple(shape), heads=heads, words=words)
