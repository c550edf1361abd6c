"""Programs and arrays that a cache keeps, used in a process of their own.

`python -m tests.faults._caches programs no` compiles two small programs or finds them, `arrays
FOLDER memory` makes two arrays or finds them. Both print what they got as JSON.
"""

import json
import signal
import sys
import types
import zlib
from pathlib import Path

import numpy as np

SOURCES = ("a" * 64, "b" * 64)
"""SHA-256 of two sources, of which two entries are made."""
SECONDS = 20
"""In which arrays are there, else their reader hangs."""


def zstandard() -> types.ModuleType:
    """A stand-in for the module of this name, by which JAX compresses where it is installed."""

    class Compressor:
        def compress(self, content: bytes) -> bytes:
            return b"zstd" + zlib.compress(content)

    class Decompressor:
        def decompress(self, content: bytes) -> bytes:
            if content[:4] != b"zstd":
                raise ValueError("zstd: not a frame")
            return zlib.decompress(content[4:])

    module = types.ModuleType("zstandard")
    module.ZstdCompressor, module.ZstdDecompressor = Compressor, Decompressor
    return module


def programs(with_zstandard: str) -> dict:
    """What two programs give, how many were found, and what is said of the cache."""
    sys.modules["zstandard"] = zstandard() if with_zstandard == "yes" else None
    from vae_jax.lab import compiled

    told = compiled.keep()
    import jax

    found = []
    jax.monitoring.register_event_listener(
        lambda name, **_: found.append(name) if name.endswith("cache_hits") else None
    )
    x = np.linspace(-2, 2, 9, dtype=np.float32)

    def relu(x):
        return jax.numpy.maximum(x, 0)

    def tanh(x):
        return jax.numpy.tanh(x)

    values = {f.__name__: jax.jit(f)(x).tolist() for f in (relu, tanh)}
    return {"values": values, "found": len(found), "told": told}


def build(number: int) -> np.ndarray:
    """The array [50, 4] of a source."""
    return np.arange(200, dtype=np.int32).reshape(50, 4) * (number + 1)


def arrays(folder: str, on_disk: str) -> dict:
    """The arrays of two sources, which of them were made anew, and what is said of them."""
    from vae_jax.data import _cache

    signal.alarm(SECONDS)
    found, made, notes = [], [], []
    for number, source in enumerate(SOURCES):

        def make(number=number):
            made.append(number)
            yield "x", 50, build(number)

        got, told = _cache.cached(Path(folder), "set", source, 1, make, on_disk=on_disk == "disk")
        found.append(np.asarray(got["x"][:]).tolist())
        notes += told
    return {"values": found, "made": made, "notes": notes}


TASKS = {"programs": programs, "arrays": arrays}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
