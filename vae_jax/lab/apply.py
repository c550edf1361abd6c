"""A trained run at work on a file: from the input to the output, block by block."""

import collections
import contextlib
import dataclasses
import itertools
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import console, looks
from vae_jax.applying import Worker
from vae_jax.data import _streams
from vae_jax.data._streams import ARRAYS, TABLES, TEXT, Block, Stream
from vae_jax.errors import DataError
from vae_jax.lab import loading, outputs
from vae_jax.uses import Use

__all__ = ["Request", "run"]

_BLOCK_ROWS = 4096
"""Rows that are made at a time."""


class Request(NamedTuple):
    """What is done with which files.

    Attributes:
        use: one of `vae_jax.uses`.
        run: path of a run directory or an exported file.
        output: path of the results.
        input: path of the new rows, unless the use makes them.
        member: index of one of several runs, a count, or None.
        data_dir: folder of the data of the training, or None.
        num: rows to make, a count.
        label: of the rows to make, or None.
        seed: decides every draw, a count.
        unseen, missing_values: see `Worker`.
        overwrite: whether an existing output is replaced.
        rows: which rows of the input, from the first to before the second, counts; None: to the
            last.
    """

    use: Use
    run: str
    output: Path
    input: Path | None = None
    member: int | None = None
    data_dir: str | None = None
    num: int | None = None
    label: Any = None
    seed: int = 0
    unseen: str = "refuse"
    missing_values: tuple[str, ...] | None = None
    overwrite: bool = False
    rows: tuple[int, int | None] = (0, None)


def run(request: Request) -> None:
    """Applies a trained run to a file, or draws rows, and writes the results.

    Raises:
        UsageError: a setting or the model does not fit.
        DataError: the rows do not fit the training.
        StorageError: a file of the run cannot be read, or the output cannot be written.
    """
    start = time.perf_counter()
    given = {"member": request.member, "data_dir": request.data_dir}
    trained = loading.load(request.run, **{n: v for n, v in given.items() if v is not None})
    worker = Worker(
        trained,
        request.use,
        seed=request.seed,
        unseen=request.unseen,
        missing_values=request.missing_values,
        where=request.input or "rows",
    )
    if request.use.takes_rows:
        num, notes = _applied(request, worker, _look(trained.about))
    else:
        num, notes = _made(request, worker), []
    for line in dict.fromkeys((*notes, *worker.told())):
        console.say(f"{request.input or request.output}: {line}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    # bytes on macOS, KiB elsewhere
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    console.say(
        f"in {request.output}: {num:,} rows in {time.perf_counter() - start:.1f} s, "
        f"{used.ru_utime + used.ru_stime:.1f} s of CPU time, {peak:.0f} MiB of memory"
    )


def _look(about: Any) -> looks.Look:
    """How pictures were read in training."""
    settings = about.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    usual = {field.name: field.default for field in dataclasses.fields(looks.Look)}
    given = {name: settings[name] for name in usual if settings.get(name) is not None}
    return looks.make(**{**usual, **given})


# --- Rows of a file


def _applied(request: Request, worker: Worker, look: looks.Look) -> tuple[int, list[str]]:
    """Applies the worker to the input; the number of rows, and notes."""
    assert request.input is not None
    stream = _streams.opened(request.input, look)
    path = request.output
    _check_output(request, stream.what)
    stream = _by_user(stream, worker)
    write_to = _table_of(worker, stream) if path.name.lower().endswith(TABLES) else _other
    stream, num, notes = _only(stream, request.rows), 0, [*stream.notes]
    with (
        write_to(request, stream, worker) as write,
        console.doing("applying", lambda: f"{num:,} rows"),
    ):
        for first_row, block in _placed(stream, request.rows):
            if stream.what == "pictures":
                block = _on_levels(block, worker.form.num_levels)
            write(block, first_row)
            num += len(block)
            notes += [note for note in block.notes if note not in notes]
    return num, notes


def _by_user(stream: Stream, worker: Worker) -> Stream:
    """A table with a row for each rating as the rows of its users; any other as it is."""
    if stream.what != "table":
        return stream
    blocks = stream.blocks()
    first = next(blocks)
    if not worker.takes_users(first.table.column_names):
        return stream
    users = worker.users(block.table for block in itertools.chain([first], blocks))
    return dataclasses.replace(
        stream,
        what="users",
        blocks=lambda: (Block(array=x, names=names) for _, names, x in users.blocks()),
        num_rows=len(users.names),
        notes=[*stream.notes, *first.notes],
    )


def _only(stream: Stream, rows: tuple[int, int | None]) -> Stream:
    """The stream with the number of rows that are wanted of it, if it is known."""
    if stream.num_rows is None:
        return stream
    first, last = rows
    stop = stream.num_rows if last is None else min(last, stream.num_rows)
    return dataclasses.replace(stream, num_rows=max(0, stop - first))


def _placed(stream: Stream, rows: tuple[int, int | None]) -> Iterator[tuple[int, Block]]:
    """(index of its first row, block) of the wanted rows; at least one block, perhaps empty."""
    (first, last), start = rows, 0
    for number, block in enumerate(stream.blocks()):
        stop = start + len(block)
        low = min(max(first - start, 0), len(block))
        high = len(block) if last is None else min(max(last - start, low), len(block))
        if number == 0 or high > low:
            yield start + low, block[low:high]
        if last is not None and stop >= last:
            return
        start = stop


def _on_levels(block: Block, num_levels: int | None) -> Block:
    """Pictures of 8 bits on the levels of the training, if these are fewer."""
    if num_levels is None or num_levels >= 256 or block.array.dtype != np.uint8:
        return block
    levels = np.rint(block.array * ((num_levels - 1) / 255)).astype(np.uint8)
    return dataclasses.replace(block, array=levels)


def _check_output(request: Request, what: str) -> None:
    """Checks the output against what the input is: "table", "array" or "pictures"."""
    gives_cells = request.use.gives_cells
    suffixes: tuple[str, ...] = TABLES if what == "table" else ARRAYS
    if what != "table" and not gives_cells:
        suffixes = (*ARRAYS, *TABLES)
    if what in ("pictures", "text") and gives_cells:
        suffixes = (TEXT if what == "text" else "", *ARRAYS)
    outputs.check(request.output, request.input, overwrite=request.overwrite, suffixes=suffixes)


def _table_of(worker: Worker, stream: Stream) -> Callable:
    return _table if stream.what == "table" else _table_of_arrays


@contextlib.contextmanager
def _table(request: Request, stream: Stream, worker: Worker) -> Iterator[Callable]:
    """Writes tables for tables."""
    with outputs.table(request.output, _separator(request, stream)) as write:
        yield lambda block, first_row: write(worker.table(block.table, first_row))


def _separator(request: Request, stream: Stream) -> str | None:
    """The separator of the input, if the output has the same suffix."""
    is_same = request.output.suffix.lower() == stream.path.suffix.lower()
    return stream.dialect.separator if is_same and stream.dialect else None


@contextlib.contextmanager
def _table_of_arrays(request: Request, stream: Stream, worker: Worker) -> Iterator[Callable]:
    """Writes a table for arrays or pictures: the row's name, index or file, then the results."""
    import pyarrow as pa

    with outputs.table(request.output, _separator(request, stream)) as write:

        def each(block: Block, first_row: int) -> None:
            own = {"row": np.arange(first_row, first_row + len(block))}
            own = own if block.files is None else {"file": [*block.files]}
            names = pa.table(own) if block.names is None else block.names
            write(worker.beside(names, block.array, first_row, block.labels))

        yield each


@contextlib.contextmanager
def _other(request: Request, stream: Stream, worker: Worker) -> Iterator[Callable]:
    """Writes an array, or pictures."""
    if not request.output.suffix:
        with outputs.folder(request.output) as write_pictures:

            def each(block: Block, first_row: int) -> None:
                found = worker.array(block.array, first_row, block.labels)
                pixels = _pixels(found, worker.form.num_levels)
                write_pictures(_named(pixels, block.files or ()))

            yield each
        return
    with _arrays(request.output, stream.num_rows) as write:
        yield lambda block, first_row: write(worker.array(block.array, first_row, block.labels))


def _arrays(path: Path, num_rows: int | None) -> Any:
    """A writer of an array [num_rows, …], of which blocks stay in memory if it must be whole.

    The number of rows is None if it is unknown, or if rows are strings.
    """
    if path.name.lower().endswith(TEXT):
        return outputs.lines(path)
    if path.name.lower().endswith(".npy") and num_rows is not None:
        return outputs.npy(path, num_rows)
    return outputs.whole(path)


def _named(pixels: np.ndarray, names: Any) -> dict[str, np.ndarray]:
    """Pictures [N, H, W, C] by the names of their files; [N, M, H, W, C] by name and draw."""
    own = _numbered(names)
    if pixels.ndim == 4:
        return dict(zip(own, pixels, strict=True))
    return {
        f"{Path(name).with_suffix('')}-{draw}.png": p
        for name, draws in zip(own, pixels, strict=True)
        for draw, p in enumerate(draws)
    }


def _numbered(names: Iterable[str]) -> list[str]:
    """Names of pictures; pages of one file follow its name with their number."""
    names = list(names)
    counts, pages = collections.Counter(names), collections.Counter[str]()
    found = []
    for name in names:
        page = f"{Path(name).with_suffix('')}-{pages[name]}.png"
        found.append(name if counts[name] == 1 else page)
        pages[name] += 1
    return found


def _pixels(x: np.ndarray, num_levels: int | None) -> np.ndarray:
    """Values as pixels: fewer levels than those of 8 bits are spread over them, as are floats."""
    if x.dtype.kind != "f":
        if num_levels is None or num_levels >= 256:
            return x
        return np.rint(x * (255.0 / (num_levels - 1))).astype(np.uint8)
    if x.size and (x.min() < -0.5 or x.max() > 1.5):
        raise DataError(
            f"pictures hold values from {x.min():.4g} to {x.max():.4g}, a file of them takes"
            " [0, 1]: give an output that ends in .npy"
        )
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


# --- Rows that are made


def _made(request: Request, worker: Worker) -> int:
    """Draws rows; their number."""
    num = 100 if request.num is None else request.num
    form = worker.form
    is_image, path = form.kind == "image", request.output
    suffixes: tuple[str, ...] = ARRAYS if form.schema is None else TABLES
    suffixes = ("", *ARRAYS) if is_image else suffixes
    is_text = form.alphabet is not None
    suffixes = (TEXT, *ARRAYS) if is_text else suffixes
    outputs.check(path, None, overwrite=request.overwrite, suffixes=suffixes)
    parts = (
        (start, worker.made(min(_BLOCK_ROWS, num - start), request.label, start))
        for start in range(0, num, _BLOCK_ROWS)
    )
    if form.schema is not None:
        with outputs.table(path) as write:
            for _, part in parts:
                write(part)
    elif path.suffix:
        with _arrays(path, None if is_text else num) as write:
            for _, part in parts:
                write(part)
    else:
        digits = len(str(num - 1))
        with outputs.folder(path) as write_pictures:
            for start, part in parts:
                pixels = _pixels(part, form.num_levels)
                names = [f"{start + i:0{digits}d}.png" for i in range(len(pixels))]
                write_pictures(dict(zip(names, pixels, strict=True)))
    return num
