"""Data files that nothing can be learned from, each written by a function."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np

ROWS = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)


def npy(array: np.ndarray) -> bytes:
    """An array as a file, objects pickled."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    """Arrays as an archive, objects pickled."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def with_value(value: float) -> np.ndarray:
    """The rows, one number replaced."""
    changed = ROWS.copy()
    changed[7, 2] = value
    return changed


def png() -> bytes:
    """A picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0, :, :, 0]).save(buffer, "png")
    return buffer.getvalue()


BAD = {
    "scalar.npy": npy(np.float32(3.0)),
    "rank1.npy": npy(ROWS[:, 0]),
    "rank5.npy": npy(np.zeros((9, 2, 2, 2, 2), np.float32)),
    "no_rows.npy": npy(ROWS[:0]),
    "one_row.npy": npy(ROWS[:1]),
    "no_columns.npy": npy(ROWS[:, :0]),
    "constant.npy": npy(np.ones((60, 8, 8, 1), np.float32)),
    "nan.npy": npy(with_value(np.nan)),
    "inf.npy": npy(with_value(np.inf)),
    "nan_pixel.npy": npy(np.where(IMAGES[3, 2, 1] == IMAGES, np.nan, IMAGES / 255.0)),
    "complex.npy": npy(ROWS.astype(np.complex64)),
    "text.npy": npy(np.array([["a", "b"]] * 30)),
    "dates.npy": npy(np.zeros((30, 3), "datetime64[D]")),
    "cut.npy": npy(ROWS)[:-40],
    "emptied.npy": b"",
    "magic_only.npy": b"\x93NUMPY",
    "noise.npy": np.random.default_rng(1).bytes(4_000),
    "cut.npz": npz(x=ROWS)[:-60],
    "no_x.npz": npz(weights=ROWS),
    "short_labels.npz": npz(x=ROWS, y=np.arange(59)),
    "long_labels.npz": npz(x=ROWS, y=np.arange(61)),
    "table_of_labels.npz": npz(x=ROWS, y=np.zeros((60, 2), np.int64)),
    "shapes.npz": npz(x_train=IMAGES[:40], x_test=IMAGES[40:, :4]),
    "emptied.npz": b"",
    "words.csv": b"a,b\n" + b"one,two\n" * 30,
    "ragged.csv": b"a,b\n1,2\n3\n" * 9,
    "header_only.csv": b"a,b,c\n",
    "holes.csv": b"a,b\n1,\n,2\n" * 9,
    "emptied.csv": b"",
    "noise.parquet": b"PAR1" + np.random.default_rng(2).bytes(400) + b"PAR1",
    "cut.png.npy": png()[:50],
    "unknown.xyz": npy(ROWS),
}
"""Name → content."""


def absurd(shape: str) -> bytes:
    """A header that promises more than any memory holds, and nothing behind it."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


class Canary:
    """An object that leaves a file behind where somebody unpickles it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def lying_archive() -> bytes:
    """An archive of two kilobytes with an array of zeros that unpacks to gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", absurd("(1073741824, 4)") + bytes(2**20))
    return buffer.getvalue()


def climbing_archive() -> bytes:
    """An archive whose member would be unpacked outside of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../x.npy", npy(ROWS))
    return buffer.getvalue()
