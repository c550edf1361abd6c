"""Files of results, written block by block; nothing has the final name before it is whole."""

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vae_jax import disk
from vae_jax.data import _npy
from vae_jax.errors import DataError, UsageError
from vae_jax.storage import files

__all__ = ["check", "folder", "lines", "npy", "replaced", "table", "whole"]

_REMEDY = "choose another place for the output"
_MOST_NAME = 250  # bytes, of a name with what a temporary file adds


def check(path: Path, source: Path | None, *, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """Checks the name of an output before anything is computed.

    Args:
        path: of the output.
        source: of the input, if there is one.
        overwrite: whether an existing file is replaced.
        suffixes: allowed ones; "" is a folder.

    Raises:
        UsageError: it exists, is the input, or has another suffix.
    """
    name = path.name.lower()
    is_folder = "" in suffixes and not path.suffix
    if not is_folder and not any(name.endswith(suffix) for suffix in suffixes if suffix):
        told = ", ".join("a folder without a suffix" if s == "" else s for s in suffixes)
        raise UsageError(f"output={path}: must end in one of {told} for this input and use")
    if source is not None and os.path.exists(path) and os.path.samefile(path, source):
        raise UsageError(f"output={path}: is the input: give another name")
    if os.path.isdir(path) and (not is_folder or os.listdir(path)):
        raise UsageError(f"output={path}: is a folder that holds files: give another name")
    if os.path.lexists(path) and not overwrite and not os.path.isdir(path):
        raise UsageError(f"output={path}: exists: give another name, or overwrite=yes")
    if not os.path.isdir(path.parent):
        raise UsageError(f"output={path}: there is no folder {path.parent}: make it first")
    if len(os.fsencode(path.name)) > _MOST_NAME:
        raise UsageError(f"output={path}: the name is too long: give a shorter one")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Any]:
    """The file that becomes `path` when it is whole, open for writing.

    Args:
        path: of the output.

    Raises:
        StorageError: it cannot be written.
    """
    with (
        files.storing(path, _REMEDY),
        disk.folder(path.parent) as held,
        disk.replacing(held, path.name) as file,
    ):
        yield file


# --- Tables


@contextlib.contextmanager
def table(path: Path, separator: str | None = None) -> Iterator[Callable[[Any], None]]:
    """A writer of Arrow tables with equal columns, one after the other.

    Args:
        path: its suffix tells the format: .csv, .tsv, each perhaps with .gz, .parquet or .feather.
        separator: of the cells of a text, such as that of the input; None is that of the suffix.

    Yields:
        A function that writes a table.

    Raises:
        StorageError: it cannot be written.
        DataError: a column has a type that the format does not know.
    """
    name = path.name.lower()
    with replaced(path) as file:
        if name.endswith((".parquet", ".feather")):
            with _arrow(path, file) as write:
                yield write
            return
        if name.endswith(".gz"):
            import gzip

            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                yield _text(packed, separator or ("\t" if ".tsv" in name else ","))
            return
        yield _text(file, separator or ("\t" if name.endswith(".tsv") else ","))


@contextlib.contextmanager
def _arrow(path: Path, file: Any) -> Iterator[Callable[[Any], None]]:
    """A writer of .parquet or .feather."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    made: dict[str, Any] = {}

    def write(block: Any) -> None:
        try:
            if not made:
                is_parquet = path.suffix.lower() == ".parquet"
                make = pa.parquet.ParquetWriter if is_parquet else pa.ipc.new_file
                made["to"] = make(file, block.schema)
            if len(block):
                made["to"].write_table(block)
        except pa.ArrowException as error:
            raise DataError(
                f"{path}: {' '.join(str(error).split())[:200]}: take another format, such as .csv"
            ) from None

    try:
        yield write
    finally:
        if made:
            made["to"].close()


def _text(file: Any, separator: str) -> Callable[[Any], None]:
    """A function that writes tables as text: the names first, cells in quotes if they need them."""
    import pyarrow as pa
    import pyarrow.csv

    has_names = False

    def write(block: Any) -> None:
        nonlocal has_names
        if not has_names:
            file.write(_quoted([block.column_names], separator))
            has_names = True
        if not len(block):
            return
        options = pa.csv.WriteOptions(
            include_header=False, delimiter=separator, quoting_style="none"
        )
        try:
            held = pa.BufferOutputStream()
            pa.csv.write_csv(block, held, options)
            file.write(held.getvalue())
        except pa.ArrowInvalid:  # a cell needs quotes
            columns = [column.to_pylist() for column in block.columns]
            rows = ([_cell(v) for v in row] for row in zip(*columns, strict=True))
            file.write(_quoted(rows, separator))

    return write


def _quoted(rows: Any, separator: str) -> bytes:
    """Rows of cells as lines of text, in quotes where they are needed."""
    held = io.StringIO(newline="")
    csv.writer(held, delimiter=separator, lineterminator="\n").writerows(rows)
    return held.getvalue().encode()


def _cell(value: Any) -> Any:
    """A cell as Arrow writes it."""
    return str(value).lower() if isinstance(value, bool) else value


@contextlib.contextmanager
def lines(path: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """A writer of blocks of N strings: .txt, a line for each.

    Raises:
        StorageError: it cannot be written.
    """
    with replaced(path) as file:
        yield lambda block: file.write("".join(f"{line}\n" for line in block).encode())


# --- Arrays


@contextlib.contextmanager
def npy(path: Path, num_rows: int) -> Iterator[Callable[[np.ndarray], None]]:
    """A writer of blocks of an array whose number of rows is known, a count: .npy.

    Raises:
        StorageError: it cannot be written.
    """
    written = 0
    with replaced(path) as file:

        def write(block: np.ndarray) -> None:
            nonlocal written
            if file.tell() == 0:
                _npy.write_header(file, (num_rows, *block.shape[1:]), block.dtype)
            file.write(np.ascontiguousarray(block).tobytes())
            written += len(block)

        yield write
        assert written == num_rows


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """A writer of blocks of an array that is kept in memory: .npy, or `x` of an .npz archive.

    Raises:
        StorageError: it cannot be written.
    """
    blocks: list[np.ndarray] = []
    with replaced(path) as file:
        yield blocks.append
        x = np.concatenate(blocks)
        np.savez(file, x=x) if path.name.lower().endswith(".npz") else np.save(file, x)


# --- Pictures


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """A writer of pictures by name: pixels [H, W, C] of 8 or 16 bits become .png files.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with files.storing(path, _REMEDY):
        if temporary.is_symlink():
            temporary.unlink()
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:

            def write(pictures: Mapping[str, np.ndarray]) -> None:
                for name, pixels in pictures.items():
                    target = temporary / PurePosixPath(name).with_suffix(".png")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _image(pixels).save(target)

            yield write
            if path.is_dir():
                path.rmdir()
            os.replace(temporary, path)
            disk.sync_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _image(pixels: np.ndarray) -> Any:
    """Pixels [H, W, C] as a Pillow image."""
    import PIL.Image

    if pixels.shape[-1] not in (1, 3, 4) or (pixels.dtype != np.uint8 and pixels.shape[-1] != 1):
        raise DataError(
            f"pictures of {pixels.dtype} {list(pixels.shape)}: no .png has these: give output with"
            " .npy"
        )
    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
