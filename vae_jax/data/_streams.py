"""New rows in a user's file or folder, block by block, without all of them in memory."""

import codecs
import contextlib
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import memory
from vae_jax.data import _csv, _files, _npy, _pictures, _sequences, _sheets, _spelling, _table_files
from vae_jax.errors import DataError
from vae_jax.looks import Look

__all__ = ["ARRAYS", "SHEETS", "TABLES", "TEXT", "Block", "Stream", "opened"]

SHEETS, ARRAYS = (".xlsx",), (".npy", ".npz")
"""Suffixes of files of sheets and of arrays."""
TEXT = ".txt"
"""Suffix of a text, of which a line is a row."""
TABLES = tuple(suffix for suffix in _table_files.SUFFIXES if suffix not in SHEETS)
"""Suffixes of files of tables that are read and written by blocks."""
_BLOCK_BYTES = 2**22
_BLOCK_ROWS = 2**15
_MOST_PICTURES = 256
_MOST_LINES = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows.

    Attributes:
        table: an Arrow table of N rows, or None.
        array: [N, …], or None; of text N strings.
        labels: [N], or None.
        files: names of pictures below their folder, N of them, or None.
        names: what else names the rows, an Arrow table [N], or None.
        notes: what was converted, in words.
    """

    table: Any = None
    array: np.ndarray | None = None
    labels: np.ndarray | None = None
    files: Sequence[str] | None = None
    names: Any = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.table if self.array is None else self.array)

    def __getitem__(self, rows: slice) -> "Block":
        """Some of the rows; a slice without a step."""
        held = (self.table, self.array, self.labels, self.files, self.names)
        own = (None if each is None else each[rows] for each in held)
        return Block(*own, notes=self.notes)


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """The rows of a file or a folder: tables, or arrays [N, …]; the lines of a text.

    Attributes:
        path: as the user gave it.
        what: "table", "array", "text" or "pictures"; "users" if their ratings were a table.
        blocks: a function that yields each `Block`, at least one, which may be empty.
        num_rows: a count, if it is known before they are read.
        dialect: of a CSV file.
        notes: lines for the log.
    """

    path: Path
    what: str
    blocks: Callable[[], Iterator[Block]]
    num_rows: int | None = None
    dialect: _csv.Dialect | None = None
    notes: Sequence[str] = ()


def opened(path: Path, look: Look) -> Stream:
    """Opens new rows: a table, an array, a text, or a folder of pictures [N, H, W, C].

    Cells of a CSV file stay text, so that each is read by the kind of its column.

    Args:
        path: of the file or folder.
        look: how pictures are read.

    Raises:
        DataError: it cannot be read, or is of another format.
    """
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such file or folder: give the path of the new rows")
    _files._refuse_special(path)
    name = path.name.lower()
    if path.is_dir():
        return _pictures_in(path, look)
    if name.endswith((*TABLES, *SHEETS)):
        with _table_files.damage_named(path):
            return _table(path)
    if name.endswith(".npy"):
        rows = _npy.FileRows(path)
        whole = functools.partial(_blocks_of_array, rows, None)
        return Stream(path, "array", whole, num_rows=len(rows))
    if name.endswith(".npz"):
        return _archive(path)
    if name.endswith(TEXT):
        return Stream(path, "text", functools.partial(_blocks_of_text, path))
    known = ", ".join((*TABLES, *SHEETS, *ARRAYS, TEXT))
    raise DataError(f"{path}: cannot be read: must end in {known}, or be a folder of pictures")


# --- Tables


def _table(path: Path) -> Stream:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        blocks = functools.partial(_blocks_of_parquet, path)
        return Stream(path, "table", functools.partial(_guarded, path, blocks))
    if suffix == ".feather":
        blocks = functools.partial(_blocks_of_feather, path)
        return Stream(path, "table", functools.partial(_guarded, path, blocks))
    if suffix in SHEETS:
        blocks = functools.partial(_blocks_of_sheet, path)
        return Stream(path, "table", functools.partial(_guarded, path, blocks))
    dialect = _csv.sniff(path)
    encoding = _encoding(path, dialect.encoding)
    notes = dialect.notes
    if encoding != dialect.encoding:
        notes = (*notes, f"is no UTF-8: read as {encoding}")
        dialect = dataclasses.replace(dialect, encoding=encoding)
    blocks = functools.partial(_blocks_of_csv, path, dialect)
    guarded = functools.partial(_guarded, path, blocks)
    return Stream(path, "table", guarded, dialect=dialect, notes=notes)


def _guarded(path: Path, blocks: Callable[[], Iterator[Block]]) -> Iterator[Block]:
    """Blocks whose reading ends in one line if the file is damaged; what uses them may raise."""
    found = blocks()
    while True:
        with _table_files.damage_named(path):
            block = next(found, None)
        if block is None:
            return
        yield block


def _encoding(path: Path, told: str) -> str:
    """The encoding of a text: UTF-8 if all of it is, else the first that fits it."""
    if told != "utf8":
        return told
    for encoding in ("utf8", *_csv._ENCODINGS):
        decoder = codecs.getincrementaldecoder(encoding)()
        with _csv.opened(path) as file, contextlib.suppress(UnicodeDecodeError):
            while part := file.read(_BLOCK_BYTES):
                decoder.decode(part)
            decoder.decode(b"", final=True)
            return encoding
    raise AssertionError("every byte is a character of the last one")


def _blocks_of_csv(path: Path, dialect: _csv.Dialect) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.csv

    names = None if dialect.has_names or not dialect.is_named else list(dialect.names)
    reading = pa.csv.ReadOptions(
        encoding=dialect.encoding,
        skip_rows=dialect.num_skipped,
        column_names=names,
        autogenerate_column_names=not dialect.is_named,
        block_size=_BLOCK_BYTES,
    )
    parsing = pa.csv.ParseOptions(delimiter=dialect.separator)
    converting = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(_csv._names(dialect), pa.string())
    )
    try:
        reader = pa.csv.open_csv(_csv._opened_by_arrow(path), reading, parsing, converting)
        yield Block(pa.Table.from_batches([], reader.schema))
        for batch in reader:
            yield Block(pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        if "columns, got" in str(error):
            _csv._refuse_ragged(path, dialect)
        raise


def _blocks_of_parquet(path: Path) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet

    file = pa.parquet.ParquetFile(_table_files._opened(path), page_checksum_verification=True)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    memory.check(path, max((group.total_byte_size for group in groups), default=0))
    yield Block(file.schema_arrow.empty_table())
    for batch in file.iter_batches(batch_size=_BLOCK_ROWS):
        yield Block(pa.Table.from_batches([batch]))


def _blocks_of_feather(path: Path) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.ipc

    file = pa.ipc.open_file(_table_files._opened(path))
    yield Block(file.schema.empty_table())
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        memory.check(path, batch.nbytes)
        yield Block(pa.Table.from_batches([batch]))


def _blocks_of_sheet(path: Path) -> Iterator[Block]:
    table, _, notes = _sheets.read(path, None, {}, memory.Tally())
    yield Block(table, notes=notes)


# --- Arrays


def _blocks_of_array(x: Any, labels: np.ndarray | None) -> Iterator[Block]:
    """Blocks of an array [N, …], in memory or in a file."""
    width = max(1, math.prod(x.shape[1:]) * x.dtype.itemsize)
    num = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // width))
    for start in range(0, max(1, len(x)), num):
        own = None if labels is None else labels[start : start + num]
        yield Block(array=np.asarray(x[start : start + num]), labels=own)


def _archive(path: Path) -> Stream:
    """The array of an .npz file, and its labels."""
    names = _npy.names(path)
    fields = {name: _spelling.array(name) or ("", None) for name in names}
    data = [name for name, (field, _) in fields.items() if field in ("x", "series")]
    if len(data) != 1 and len(names) > 1:
        raise DataError(
            f"{path}: holds the arrays {_spelling.quoted(names)}: keep one of rows, called x, and y"
            " with a label for each if the model is conditional"
        )
    tally = memory.Tally()
    x = _npy.read(path, data[0] if data else names[0], tally)
    beside = [n for n, (field, _) in fields.items() if field in ("labels", "condition")]
    labels = _npy.read(path, beside[0], tally) if beside else None
    if x.ndim == 0 or (labels is not None and len(labels) != len(x)):
        raise DataError(f"{path}: has no row of x for each label: give as many of both")
    return Stream(path, "array", functools.partial(_blocks_of_array, x, labels), num_rows=len(x))


# --- Texts


def _blocks_of_text(path: Path) -> Iterator[Block]:
    """Blocks of lines; a line longer than any that training takes is cut, and refused later."""
    most = _sequences.LONGEST + 1
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        try:
            yield Block(array=np.array([], np.str_))
            while lines := list(
                itertools.islice(iter(lambda: file.readline(most), ""), _MOST_LINES)
            ):
                kept = [line.removesuffix("\n").removesuffix("\r") for line in lines]
                yield Block(array=np.array(kept, np.str_))
        except UnicodeDecodeError:
            raise DataError(f"{path}: is not UTF-8: convert it, for instance with iconv") from None


# --- Pictures


def _pictures_in(folder: Path, look: Look) -> Stream:
    """The pictures below a folder, sorted by name."""
    files = [p for p in _files._files_below(folder) if p.name.lower().endswith(_pictures.SUFFIXES)]
    if not files:
        raise DataError(
            f"{folder}: holds no pictures: give a folder of {_pictures.SUFFIXES[0]} files"
        )
    num = len(files) if look.frames == "first" else None
    blocks = functools.partial(_blocks_of_pictures, folder, files, look)
    return Stream(folder, "pictures", blocks, num_rows=num)


def _blocks_of_pictures(folder: Path, files: Sequence[Path], look: Look) -> Iterator[Block]:
    for start in range(0, len(files), _MOST_PICTURES):
        own = files[start : start + _MOST_PICTURES]
        with _pictures.each(functools.partial(_pictures.read, look=look), own) as found:
            pages = [(path, page) for path, read in zip(own, found, strict=True) for page in read]
        width = max(page.pixels.shape[-1] for _, page in pages)
        pixels = [_widened(page.pixels, width) for _, page in pages]
        odd = next((i for i, p in enumerate(pixels) if p.shape != pixels[0].shape), None)
        if odd is not None:
            raise DataError(
                f"{pages[odd][0]}: has the shape {list(pixels[odd].shape)}, others"
                f" {list(pixels[0].shape)}: all must be of one size, that of the training"
            )
        notes = sorted({note for _, page in pages for note in page.notes})
        names = [path.relative_to(folder).as_posix() for path, _ in pages]
        yield Block(array=np.stack(pixels), files=names, notes=notes)


def _widened(pixels: np.ndarray, num_channels: int) -> np.ndarray:
    """Gray pixels [H, W, 1] as color, if others are."""
    is_gray = pixels.shape[-1] == 1 and num_channels == 3
    return np.repeat(pixels, 3, axis=-1) if is_gray else pixels
