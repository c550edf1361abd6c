"""R20 and R21: memory on a file's word, and what must end in one line."""

import functools
import io
import json
import os
import shutil
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vae_jax.storage import runs, seals

from . import bad_data
from ._lab import LostError, check, each, fault, finish
from .kills import SMALL

LIMIT = 2**29
"""Bytes that reading may take in these trials."""
SECONDS = 90
"""In which a file must be refused, imports and another trial beside it included."""
LONGEST = 4100
"""Characters of a line on stderr."""

MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL)
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and leaves its peak of memory, in KiB (of macOS bytes), in a file."""


def tried(lab, module: str, *flags: str) -> None:
    """Raises `LostError` unless a program ends in one line, in time, within twice the limit."""
    told = lab.newest.with_name("peak")
    told.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"experiments.{module}", *flags]
    limit = {"VAE_JAX_MEMORY": str(LIMIT / 2**30)}
    ended = finish(lab.launch(["-c", MEASURED, str(told), *command], **limit), timeout=SECONDS)
    shown = f"{module} {' '.join(flags)[-100:]!r}"
    check("Traceback" not in ended.err, f"{shown}: {ended.words}")
    lines = ended.err.strip().splitlines()
    if ended.code or lines:
        check(ended.code in (2, 3, 5), f"{shown}: {ended.words}")
        check(len(lines) == 1 and lines[0].startswith("error: "), f"{shown}: {ended.err[:300]}")
        check(len(lines[0]) <= LONGEST, f"{shown}: a line of {len(lines[0])} characters")
    peak = int(told.read_text()) * (1 if sys.platform == "darwin" else 2**10)
    check(peak <= 2 * LIMIT, f"{shown}: takes {peak / 2**20:.0f} MiB, limit {LIMIT / 2**20:.0f}")
    raise_unless_refused(ended.code, shown)


def raise_unless_refused(code: int, shown: str) -> None:
    """Raises `LostError` if what had to be refused was taken; see `MAY_PASS`."""
    if code == 0 and not any(word in shown for word in MAY_PASS):
        raise LostError(f"{shown}: was taken")


MAY_PASS = ("evaluate", "export", "long_label", "codepage")
"""What may also end well: it need not read what is hostile, or can, and says as what."""


# --- Writers of large content in small files


def header(shape, descr: str = "'<f8'", order: bool = False) -> bytes:
    """The head of an .npy file."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def holes(folder: Path, shape, descr: str = "'|u1'", order: bool = False) -> Path:
    """An .npy file of the size that its header claims, of which the disk holds a few bytes."""
    path, head = folder / "holes.npy", header(shape, descr, order)
    path.write_bytes(head)
    os.truncate(path, len(head) + int(np.prod(shape)) * int(descr.strip("'")[2:]))
    return path


def zeros(folder: Path, method: int = zipfile.ZIP_DEFLATED, **claims) -> Path:
    """An archive of arrays of zeros: key → (shape, descr)."""
    path = folder / "zeros.npz"
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, (shape, descr) in claims.items():
            left = int(np.prod(shape, dtype=object)) * np.dtype(descr.strip("'")).itemsize
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(header(shape, descr))
                while left > 0:
                    left -= file.write(bytes(min(left, 2**22)))
    return path


def sparse(folder: Path, shape, **arrays) -> Path:
    """An archive as SciPy saves a sparse matrix."""
    path = folder / "sparse.npz"
    np.savez_compressed(path, shape=np.array(shape), **arrays)
    return path


def parquet(folder: Path, make: Callable[[], object], num_groups: int, **options) -> Path:
    """A Parquet file of one table, again and again."""
    import pyarrow.parquet as pq

    path, table = folder / "a.parquet", make()
    with pq.ParquetWriter(path, table.schema, compression="zstd", **options) as writer:
        for _ in range(num_groups):
            writer.write_table(table)
    return path


def repeated(text, num_rows: int, name: str = "s"):
    """A table of a number, and one text in all rows."""
    import pyarrow as pa

    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, np.int32)), pa.array([text]))
    return pa.table({"a": np.arange(num_rows) / 7, name: texts})


def written(path: Path, *pieces: str | bytes) -> Path:
    """A file of pieces one after another."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece.encode() if isinstance(piece, str) else piece)
    return path


def pictures(folder: Path, content: bytes, suffix: str, num: int = 3) -> Path:
    """A folder of one picture, several times."""
    own = folder / "pictures"
    own.mkdir()
    for i in range(num):
        (own / f"{i}.{suffix}").write_bytes(content)
    return own


def drawn(width: int, height: int, mode: str = "RGB", suffix: str = "png") -> bytes:
    """A black picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, suffix)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file that claims a size, with chunks of one's own."""
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(64 * 65))
    found = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", size), *chunks, (b"IDAT", pixels), (b"IEND", b"")):
        code = zlib.crc32(kind + body)
        found += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", code)
    return found


def resized(content: bytes, old: bytes, new: bytes) -> bytes:
    """A file of a picture with another size in its head."""
    return content.replace(old, new, 1)


def gif() -> bytes:
    """A GIF file of 65,535 × 65,535 pixels."""
    return resized(drawn(64, 48, "P", "gif"), struct.pack("<HH", 64, 48), b"\xff" * 4)


def jpeg() -> bytes:
    """A JPEG file of 65,500 × 65,500 pixels."""
    size = struct.pack(">HH", 65_500, 65_500)
    return resized(drawn(64, 48, "RGB", "jpeg"), struct.pack(">HH", 48, 64), size)


def tiff() -> bytes:
    """A TIFF file of 65,535 × 65,535 pixels."""
    content = drawn(64, 48, "L", "tiff")
    for tag, value in ((256, 64), (257, 48)):
        for kind, code in ((3, "<HHIHxx"), (4, "<HHII")):
            old = struct.pack(code, tag, kind, 1, value)
            content = resized(content, old, struct.pack(code, tag, kind, 1, 65_535))
    return content


def bmp() -> bytes:
    """A BMP file of 2³⁰ × 2³⁰ pixels."""
    size = struct.pack("<ii", 2**30, 2**30)
    return resized(drawn(64, 48, "RGB", "bmp"), struct.pack("<ii", 64, 48), size)


# --- R20


def bools(num_rows: int):
    """A table of truth values."""
    import pyarrow as pa

    return pa.table({"a": np.zeros(num_rows, bool), "b": np.ones(num_rows, bool)})


def numbers(num_rows: int, num_columns: int = 1):
    """A table of zeros."""
    import pyarrow as pa

    return pa.table({f"c{i}": np.zeros(num_rows) for i in range(num_columns)})


def wide_bytes():
    """A table of values of a megabyte each."""
    import pyarrow as pa

    kind = pa.binary(2**20)
    return pa.table({"a": np.arange(30) / 7, "b": pa.array([bytes(2**20)] * 30, kind)})


def lists():
    """A table of a list of many zeros in each row."""
    import pyarrow as pa

    ends = pa.array(np.arange(31, dtype=np.int32) * 10**6)
    return pa.table({"a": pa.ListArray.from_arrays(ends, pa.array(np.zeros(30 * 10**6, np.int8)))})


def shards(folder: Path) -> Path:
    """Tables of which each alone could be read."""
    own = folder / "shards"
    own.mkdir()
    for split in ("train", "valid", "test"):
        parquet(own, functools.partial(numbers, 10**6), 1).rename(own / f"{split}.parquet")
    return own


def members_in_turn(folder: Path) -> Path:
    """Arrays of which each alone could be read."""
    part = ((4 * 10**7, 1), "'<f8'")
    return zeros(folder, x_train=part, x_valid=part, x_test=part)


def long_label(folder: Path) -> Path:
    """A table with one label that is long; it can be read."""
    rows = "".join(f"{i / 7},{'xyz'[i % 3]}\n" for i in range(3000))
    return written(folder / "long_label.csv", "a,label\n", rows, "4,", "L" * 900_000, "\n")


def csr(folder: Path, shape) -> Path:
    """One value in a sparse matrix of a shape."""
    pointers = np.zeros(shape[0] + 1, np.int32)
    pointers[-1] = 1
    arrays = {"data": np.ones(1), "indices": np.zeros(1, np.int32), "indptr": pointers}
    return sparse(folder, shape, format=np.array("csr"), **arrays)


def coo(folder: Path, shape) -> Path:
    """One value in a sparse matrix of a shape."""
    place = np.zeros(1, np.int64)
    return sparse(folder, shape, format=np.array("coo"), data=np.ones(1), row=place, col=place)


def dia(folder: Path) -> Path:
    """Many diagonals of zeros."""
    data = np.zeros((400, 2 * 10**5), np.float32)
    return sparse(
        folder, (10**5, 2 * 10**5), format=np.array("dia"), data=data, offsets=np.arange(400)
    )


BOMB = zlib.compress(bytes(2**28), 9)
IN_MEMORY = ("--loading=memory",)
LARGE = [
    (
        "a text, one of 3,000,000 lines is long",
        lambda f: written(f / "a.txt", "a\n" * 3_000_000, "b" * 4096),
        (),
    ),
    (
        "a text of 6,000,000 lines",
        lambda f: written(f / "a.txt", "ab\ncde\n" * 3_000_000, "f" * 200),
        (),
    ),
    ("a text of one line", lambda f: written(f / "a.txt", "a" * 50_000_000), ()),
    ("a long label", long_label, ()),
    (
        "a CSV of 150,000 columns",
        lambda f: written(f / "a.csv", "c," * 149_999, "c\n", *["1," * 149_999 + "2\n"] * 4),
        (),
    ),
    ("a CSV of 9,000,000 rows", lambda f: written(f / "a.csv", "a,b\n", "1,2\n" * 9_000_000), ()),
    (
        "a CSV of 9,000,000 rows without names",
        lambda f: written(f / "a.csv", "1\n2\n" * 4_500_000),
        (),
    ),
    (
        "a CSV of empty cells",
        lambda f: written(f / "a.csv", "a,b,c,d,e,f\n", ",,,,,1\n" * 3_000_000),
        (),
    ),
    (
        "a CSV of one cell",
        lambda f: written(f / "a.csv", 'a,b\n1,"', "x" * 150_000_000, '"\n2,y\n3,z\n'),
        (),
    ),
    ("a Parquet of zeros", lambda f: parquet(f, lambda: numbers(10**6, 3), 40), ()),
    ("a Parquet of truth values", lambda f: parquet(f, lambda: bools(10**6), 60), ()),
    (
        "a Parquet of one long text",
        lambda f: parquet(f, lambda: repeated("w" * 10**6, 10**5), 1),
        (),
    ),
    (
        "a Parquet of one long label",
        lambda f: parquet(f, lambda: repeated("w" * 10**6, 10**5, "label"), 1),
        (),
    ),
    (
        "a Parquet of one long split",
        lambda f: parquet(f, lambda: repeated("train " * 10**5, 10**5, "split"), 1),
        (),
    ),
    ("a Parquet of long bytes", lambda f: parquet(f, lambda: repeated(b"w" * 10**6, 10**5), 1), ()),
    ("a Parquet of wide bytes", lambda f: parquet(f, wide_bytes, 40), ()),
    ("a Parquet of lists", lambda f: parquet(f, lists, 8), ()),
    ("a Parquet of many columns", lambda f: parquet(f, lambda: numbers(4, 40_000), 1), ()),
    ("tables that fit alone", shards, ()),
    ("an .npy of 6·10⁹ rows of holes", lambda f: holes(f, (6_000_000_000, 1), "'<f8'"), ()),
    ("an .npy of three rows of holes", lambda f: holes(f, (3, 2_000_000_000)), ()),
    ("an .npy of pictures of holes", lambda f: holes(f, (9, 60_000, 60_000)), ()),
    ("an .npy of holes in Fortran order", lambda f: holes(f, (100_000, 40_000), "'|u1'", True), ()),
    ("an .npy of holes in memory", lambda f: holes(f, (100_000, 40_000)), IN_MEMORY),
    ("an .npy of holes in windows", lambda f: holes(f, (10**9, 4)), ("--window=10",)),
    (
        "windows that overlap",
        lambda f: written(f / "a.npy", bad_data.npy(np.arange(2 * 10**5).reshape(-1, 2) % 97 / 7)),
        ("--window=5000", "--hop=1"),
    ),
    ("an archive of zeros", lambda f: zeros(f, x=((10**8, 3), "'<f8'")), ()),
    (
        "an archive of zeros, bzip2",
        lambda f: zeros(f, zipfile.ZIP_BZIP2, x=((10**8, 3), "'|u1'")),
        (),
    ),
    ("an archive of zeros, lzma", lambda f: zeros(f, zipfile.ZIP_LZMA, x=((10**9,), "'|u1'")), ()),
    ("an archive of bytes", lambda f: zeros(f, x=((4 * 10**8, 1), "'|u1'")), ()),
    ("arrays that fit alone", members_in_turn, ()),
    (
        "labels of zeros",
        lambda f: zeros(f, x=((6 * 10**6, 1), "'|u1'"), y=((6 * 10**6,), "'|u1'")),
        (),
    ),
    (
        "labels of wide texts",
        lambda f: zeros(f, x=((5000, 1), "'|u1'"), y=((5000,), "'<U100000'")),
        (),
    ),
    (
        "conditions of zeros",
        lambda f: zeros(f, x=((10**5, 1), "'|u1'"), condition=((10**5, 2000), "'<f8'")),
        (),
    ),
    ("series of zeros", lambda f: zeros(f, series=((10**5, 10**4), "'|u1'")), ()),
    ("an archive that lies", lambda f: written(f / "a.npz", bad_data.lying_archive()), ()),
    ("a sparse matrix of one value, in memory", lambda f: csr(f, (10**5, 10**5)), IN_MEMORY),
    ("a sparse matrix of one value", lambda f: csr(f, (10**6, 10**6)), ()),
    ("a sparse matrix of many rows", lambda f: csr(f, (2 * 10**8, 4)), ()),
    ("a sparse matrix of many columns", lambda f: csr(f, (100, 2 * 10**9)), ()),
    ("a sparse matrix of places", lambda f: coo(f, (10**12, 10**12)), ()),
    ("a sparse matrix of diagonals", dia, ()),
    ("200 pictures of 25 megapixels", lambda f: pictures(f, drawn(5000, 5000), "png", 200), ()),
    ("a picture of 400 megapixels", lambda f: pictures(f, drawn(20_000, 20_000, "1"), "png"), ()),
    ("a picture of 81 megapixels", lambda f: pictures(f, drawn(9000, 9000, "1"), "png"), ()),
    (
        "a PNG that claims 2³¹ × 2³¹ pixels",
        lambda f: pictures(f, png(2**31 - 1, 2**31 - 1), "png"),
        (),
    ),
    (
        "a PNG with a bomb of text",
        lambda f: pictures(f, png(64, 64, (b"zTXt", b"a\0\0" + BOMB)), "png"),
        (),
    ),
    (
        "a PNG with a bomb of colors",
        lambda f: pictures(f, png(64, 64, (b"iCCP", b"a\0\0" + BOMB)), "png"),
        (),
    ),
    ("a GIF of 65,535 × 65,535 pixels", lambda f: pictures(f, gif(), "gif"), ()),
    ("a JPEG of 65,500 × 65,500 pixels", lambda f: pictures(f, jpeg(), "jpg"), ()),
    ("a TIFF of 65,535 × 65,535 pixels", lambda f: pictures(f, tiff(), "tif"), ()),
    ("a BMP of 2³⁰ × 2³⁰ pixels", lambda f: pictures(f, bmp(), "bmp"), ()),
    (
        "a WebP of 144 megapixels",
        lambda f: pictures(f, drawn(12_000, 12_000, "RGB", "webp"), "webp"),
        (),
    ),
]
"""What is tried, from a folder to the path, flags."""


@fault("R20", "data that would take more memory than reading may")
def large_data(lab, tries):
    yield from each(lab, [functools.partial(refused, lab, *case) for case in LARGE[:tries]])


def refused(lab, name: str, make: Callable[[Path], Path], flags: tuple[str, ...]) -> None:
    """Tries data that a function writes."""
    workdir = lab.new()
    workdir.parent.mkdir(parents=True)
    try:
        path = make(workdir.parent)
        data = f"--dataset={path}"
        tried(lab, "vae", f"--workdir={workdir}", *SMALL, "--epochs=1", *flags, data)
    except LostError as lost:
        raise LostError(f"{name}: {lost}") from None
    may_pass = any(word in data for word in MAY_PASS)
    check(may_pass or not workdir.exists(), f"{name}: leaves a run directory")
    shutil.rmtree(workdir.parent)


# --- R21: data


def bad_text(folder: Path, name: str) -> Path:
    """A Parquet file of a column of texts that are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"\xff\xfe"] * 30, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 30, raw.buffers())
    pq.write_table(pa.table({"a": np.arange(30) / 7, name: texts}), folder / "a.parquet")
    return folder / "a.parquet"


def bad_key(folder: Path, flag: bool) -> Path:
    """An archive whose key is no text, with or without the flag that says it is."""
    content = bytearray(bad_data.npz(x=bad_data.ROWS).replace(b"x.npy", b"\xff.npy"))
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        content[content.index(mark) + place] |= 8 * flag
    return written(folder / "a.npz", bytes(content))


def odd_folder(folder: Path, *parts: bytes) -> Path:
    """Pictures below folders whose names may be no text."""
    content = bad_data.png()
    for last in (parts[-1], b"dog"):
        own = folder.joinpath(*map(os.fsdecode, (*parts[:-1], last)))
        own.mkdir(parents=True)
        for i in range(9):
            (own / f"{i}.png").write_bytes(content)
    return folder / os.fsdecode(parts[0])


def odd_table(folder: Path) -> Path:
    """Tables, of which one has a name that is no text."""
    own = folder / "tables"
    own.mkdir()
    for name in (b"train.csv", b"test\xff.csv"):
        written(own / os.fsdecode(name), "a,b\n", "1,2\n3,5\n" * 9)
    return own


def special(folder: Path, make: Callable[[Path], object], *parts: str) -> Path:
    """What is no file, at a path."""
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return folder / parts[0]


def bound(path: Path) -> None:
    """A socket at a path."""
    with socket.socket(socket.AF_UNIX) as own:
        here = os.open(path.parent, os.O_RDONLY)
        own.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def npy(shape: str, descr: str = "'<f4'") -> Callable[[Path], Path]:
    """An .npy file of a header."""
    return lambda folder: written(folder / "a.npy", header(shape, descr), bytes(480))


ODD = [
    ("a shape of truth values", npy("(True, True)"), ()),
    ("a shape of 10²⁰", npy(f"(0, {10**20}, 5)"), ()),
    ("a shape of 10²⁰ of nothing", npy(f"({10**20}, 0)"), ()),
    ("a shape below nothing", npy("(-3, -4)"), ()),
    ("a shape of texts", npy("('a', 3)"), ()),
    ("a shape of fractions", npy("(3.0, 4)"), ()),
    ("a shape that nests", npy("(" * 300 + ")" * 300), ()),
    ("texts of no bytes", npy(f"({10**12},)", "'<U0'"), ()),
    ("a type of many values", npy("(60, 2)", "[('a', '<f4', (1000, 1000))]"), ()),
    (
        "a CSV of names that are no UTF-8",
        lambda f: written(f / "codepage.csv", b"a,\xff\xfe\n" + b"1,2\n3,4\n" * 30),
        (),
    ),
    (
        "a CSV of labels that are no UTF-8",
        lambda f: written(f / "codepage.csv", b"a,\xff,label\n" + b"1,2,\xff\n" * 30),
        (),
    ),
    (
        "a CSV of a long name",
        lambda f: written(f / "a.csv", "x" * 900_000, ",label,class\n", "1,2,3\n" * 30),
        (),
    ),
    ("a text that is none", lambda f: written(f / "a.txt", b"ab\n\xff\n" * 30), ()),
    ("a Parquet of texts that are none", lambda f: bad_text(f, "s"), ()),
    ("a Parquet of labels that are no text", lambda f: bad_text(f, "label"), ()),
    ("an archive of a key that is no text", lambda f: bad_key(f, True), ()),
    ("an archive of an odd key", lambda f: bad_key(f, False), ()),
    ("a table whose name is no text", odd_table, ()),
    ("a class whose name is no text", lambda f: odd_folder(f, b"a", b"cat\xff"), ()),
    ("a pipe", lambda f: special(f, os.mkfifo, "a.csv"), ()),
    ("a pipe among pictures", lambda f: special(f, os.mkfifo, "a", "0.png"), ()),
    ("a pipe among tables", lambda f: special(f, os.mkfifo, "a", "train.csv"), ()),
    ("a socket", lambda f: special(f, bound, "a.npy"), ()),
    ("a folder called as a file", lambda f: special(f, os.mkdir, "a.npy"), ()),
    ("a device", lambda f: Path("/dev/zero"), ()),
    ("the standard input", lambda f: Path("/dev/stdin"), ()),
    ("a link to a device", lambda f: special(f, lambda p: p.symlink_to("/dev/zero"), "a.txt"), ()),
]
"""What is tried, from a folder to the path, flags."""


@fault("R21", "data whose names, headers and kinds are odd")
def odd_data(lab, tries):
    yield from each(lab, [functools.partial(refused, lab, *case) for case in ODD[:tries]])


# --- R21: flags and files of sweeps

SWEEPS = {
    "nested.json": "[" * 100_000,
    "nested_below.json": '[{"beta":' + "[" * 100_000,
    "digits.json": '[{"beta": ' + "9" * 5000 + "}]",
    "many_digits.json": '[{"seed": ' + "9" * 4000 + "}]",
    "exponent.json": '[{"beta": 1e999999999}]',
    "long_key.json": json.dumps([{"k" * 1_000_000: 1}]),
    "long_value.json": json.dumps([{"beta": "b" * 1_000_000}]),
    "surrogate.json": '[{"\\ud800": 1}]',
    "many_lists.json": "[" + "[]," * 2_000_000 + "[]]",
    "object.json": '[{"beta": {"a": 1}}]',
    "no_text.json": b'[{"beta": "\xff"}]',
    "rows.csv": "beta\n" + "1\n" * 3_000_000,
    "large.csv": "beta\n" + "1\n" * 5_000_000,
    "cell.csv": "beta\n" + "9" * 2_000_000 + "\n",
    "columns.csv": "c," * 1_000_000 + "c\n",
    "nul.csv": "beta\n\0\n",
}
"""Name → content."""
SPECIAL_SWEEPS: list[Callable[[Path], Path]] = [
    lambda f: special(f, os.mkfifo, "a.csv"),
    lambda f: special(f, os.mkfifo, "a.json"),
    lambda f: special(f, os.mkdir, "b.csv"),
    lambda f: special(f, bound, "c.csv"),
    lambda f: special(f, lambda p: p.symlink_to("/dev/zero"), "d.csv"),
    lambda f: Path("/dev/zero"),
    lambda f: Path("/dev/stdin"),
]
LONG = "x" * 100_000
FLAGS = [
    *([f"--{name}={LONG}"] for name in ("beta", "dataset", "network", "objective", "seed")),
    [f"--widths={'1' * 50_000}"],
    [f"--beta={'(' * 50_000}"],
    [f"--beta=linear({'(' * 50_000}"],
    [f"--{LONG}"],
    [f"--{LONG}=1"],
    [LONG],
    [f"--workdir=runs/{LONG}"],
    ["--workdir=runs/" + os.fsdecode(b"\xff")],
    ["--dataset=" + os.fsdecode(b"\xff.npy")],
    ["--beta=" + os.fsdecode(b"\xff")],
    ["--widths=2000000000"],
    ["--latent_dim=2000000000"],
]


@fault("R21", "files of sweeps and flags")
def odd_flags(lab, tries):
    folder = lab.new().parent
    folder.mkdir(parents=True)
    data = written(folder / "good.npy", bad_data.npy(bad_data.ROWS))
    given = [[f"--sweep={written(folder / name, content)}"] for name, content in SWEEPS.items()]
    given += [[f"--sweep={make(folder)}"] for make in SPECIAL_SWEEPS]

    def case(flags):
        workdir = lab.new()
        tried(lab, "vae", f"--workdir={workdir}", f"--dataset={data}", "--epochs=1", *flags)
        check(not workdir.exists(), f"{str(flags)[:80]} leaves a run directory")

    yield from each(lab, [functools.partial(case, flags) for flags in [*given, *FLAGS][:tries]])


# --- R21: runs


def settings(**changed) -> Callable[[Path], None]:
    """Other settings in a run's config, sealed anew, as a stranger can."""

    def change(run: Path) -> None:
        stored = json.loads((run / "config.json").read_text())
        del stored["seal"]
        stored["config"].update(changed)
        stored["sha256"] = runs._identity(stored["config"], runs._FREE)
        (run / "config.json").write_text(json.dumps(seals.seal(stored)))

    return change


def content(name: str, text: str) -> Callable[[Path], None]:
    """Another content of a file of a run."""
    return lambda run: (run / name).write_text(text) and None


def in_place(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """What is no file in place of one, or of the checkpoints' manifest."""

    def change(run: Path) -> None:
        for path in list(run.glob(name)):
            path.unlink()
            make(path)

    return change


def to_zero(path: Path) -> None:
    """A link to a device without an end."""
    path.symlink_to("/dev/zero")


FILES = ("config.json", "members.json", "result.json", "metrics.csv", "checkpoints/*/manifest.json")
RUNS: list[Callable[[Path], None]] = [
    *(in_place(name, make) for name in FILES for make in (os.mkfifo, to_zero, os.mkdir)),
    *(content(name, "[" * 100_000) for name in FILES[:3]),
    *(content(name, '{"a":' + "9" * 5000 + "}") for name in FILES[:3]),
    *(content(name, "[" + "[]," * 10**7 + "[]]") for name in FILES[:3]),
    settings(latent_dim=10**12),
    settings(latent_dim=10**400),
    settings(runs=[{"latent_dim": 2}, {"latent_dim": 10**12}]),
    settings(widths=[10**12]),
    settings(network="x" * 1_000_000),
    settings(**{"k" * 1_000_000: 1}),
]


@fault("R21", "runs whose files are odd")
def odd_runs(lab, tries):
    flags = (*SMALL, "--epochs=2")
    whole = lab.whole(*flags)

    def case(number: int, change: Callable[[Path], None]) -> None:
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        change(workdir)
        for module, own in commands(workdir):
            try:
                tried(lab, module, *own)
            except LostError as lost:
                raise LostError(f"change {number}: {lost}") from None
        shutil.rmtree(workdir)

    cases = [functools.partial(case, *numbered) for numbered in enumerate(RUNS)]
    yield from each(lab, cases[:tries])


def commands(run: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Programs that read a run, with their flags."""
    yield "evaluate", (f"--run={run}", "--metrics=objective")
    yield "export", (f"--run={run}",)
