"""The run directory: who may write in it, what it holds, and how each file survives a crash.

`config.json` (every flag and a hash), `command.txt`, `env.json`, `metrics.csv`, `result.json`,
`run.log`, `lock`; checkpoints and plots lie in folders beside them. It may be moved,
copied and read from anywhere: `command.txt` alone names the place where it was written.

The lock is that of flock: advisory, and released by the kernel however its process ends; what the
file says of pid, host and time is for people. On NFS it holds between hosts where the server keeps
locks (version 4, or a lock service) and the mount leaves them to it (no `nolock`, no
`local_lock`); after the crash of a host version 4 releases them within minutes, older ones once
the host is back.
"""

import contextlib
import csv
import datetime
import errno
import fcntl
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vae_jax import disk, memory, seals
from vae_jax.errors import DataError, LockedError, StorageError, UsageError, printable

__all__ = [
    "SCHEMA",
    "Follower",
    "Run",
    "alone",
    "check_space",
    "default_workdir",
    "environment",
    "free_bytes",
    "inside",
    "make_folder",
    "open_run",
    "parse_config",
    "parse_json",
    "put",
    "read_bytes",
    "read_json",
    "read_rows",
    "refuse_newer",
    "rows_sha256",
    "say",
    "say_page",
    "write_bytes",
    "write_json",
    "write_table",
    "write_text",
]

SCHEMA = 2
"""The version of a run directory that is written, a scalar; those up to it are read.

1: what a file says is taken as it stands. 2: each file is sealed and bound to the run's `id`.
"""
_CONFIG = "config.json"
_LOCK = "lock"
_METRICS = "metrics.csv"
_DATA = "data_sha256"
_FREE = ("epochs",)
_LARGEST = 2**30
"""Of a file that is read whole, a count of bytes."""
_BYTES_OF_JSON = 48  # of memory for a byte of a text at most: "[]," is an empty list in another
_UNSET = "unset"
_LONGEST_NAME = 100
_REMEDY = "choose another --workdir"
_PACKAGES = ("vae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def default_workdir(root: str | os.PathLike, dataset: str, options: Mapping) -> pathlib.Path:
    """Names a run after what was asked for: `<root>/<dataset>-beta=4-seed=1`.

    The same options in any order give the same name. Characters other than ASCII letters, digits
    and `._=+,-` become `_`; a name changed so, or longer than 100 characters, ends in a hash of
    the full one, so that two different requests never share a directory.

    Args:
        root: the directory of all runs.
        dataset: name of the dataset.
        options: the options that differ from their defaults, scalars, strings or lists of any
            length.

    Returns:
        A direct child of `root`, whatever the names hold.
    """
    words = [f"{key}={_short(value)}" for key, value in sorted(options.items())]
    full = "-".join([dataset, *words])
    name = re.sub(r"[^A-Za-z0-9._=+,-]|^[.-]|^$", "_", full)
    if name != full or len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"
    return pathlib.Path(root) / name


def open_run(
    workdir: str | os.PathLike,
    config: Mapping,
    *,
    free_to_change: Iterable[str] = _FREE,
    as_of: Callable[[dict], Mapping] | None = None,
    called: Mapping[str, str] | None = None,
    overwrite: bool = False,
    schema: int = SCHEMA,
) -> "Run":
    """Creates or reopens a run directory and locks it until the run is closed.

    Args:
        workdir: the run directory; it and its parents are created.
        config: every option by name, scalars, strings or lists of any length.
        free_to_change: the keys that may differ from those the directory holds.
        as_of: from what the directory holds to `config` as the version that wrote it would have put
            it: a key that came later is left out where its value means what was done before there
            was one. It may refuse what it does not know. None takes `config` as it is.
        called: what a user knows an option by, a word each, where that is not its name.
        overwrite: archives an earlier run, `x` to `x.<time>`, by renaming; nothing is deleted.
        schema: version of the layout that this program writes; it reads all versions up to it.

    Returns:
        The run; use it as a context manager. `run.resumed` says whether an earlier one continues.

    Raises:
        UsageError: the path is a file or holds something else, an earlier run differs in `config`,
            its `config.json` was changed, or a newer version wrote it. What was there is as it was.
        DataError: an earlier run differs in its data alone, of which `data_sha256` tells.
        LockedError: another process holds the directory; the message names it.
        StorageError: the directory cannot be written.
    """
    config = seals.plain(config)
    identity = _identity(config, free_to_change)
    shown = os.fspath(workdir)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in shown):
        raise UsageError(
            f"--workdir={shown!r}: must be UTF-8 text without control characters, name another"
        )
    directory = pathlib.Path(os.path.abspath(shown))
    _refuse_foreign(directory, shown)

    archived = None
    with contextlib.ExitStack() as undo:
        lock = _enter(directory, shown, undo)
        earlier = _read_config(directory, shown, schema, free_to_change)
        if earlier is not None and overwrite:
            archived = _archive(directory, shown)
            undo.close()
            lock = _enter(directory, shown, undo)
            earlier = None
        if earlier is not None:
            held = earlier["config"]
            asked = config if as_of is None else seals.plain(as_of(held))
            _compare(held, asked, free_to_change, shown, called or {})
        _sign(lock, directory)
        # what an older version left has no seals, and goes on without
        version = schema if earlier is None else earlier["schema"]
        stored = {"schema": version, "config": config, "sha256": identity}
        stored |= {"id": (earlier or {}).get("id", identity)} if version > 1 else {}
        run = Run(directory, stored, lock, resumed=earlier is not None, archived=archived)
        if earlier is None:
            run.write_config()
        undo.pop_all()
    return run


class Run:
    """An open run directory: the scalars and rows it stores, each file whole after any crash.

    Made by `open_run`. A full disk or a lost permission raises `StorageError` naming the file.

    Attributes:
        directory: absolute path of the run.
        config: what `config.json` holds.
        id: what the run's files are bound to, the hash of its config when it began; None in a
            directory of schema 1.
        resumed: whether an earlier run continues.
        archived: where `overwrite` moved the earlier run, or None.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        stored: dict,
        lock: int,
        *,
        resumed: bool,
        archived: pathlib.Path | None,
    ):
        self.directory = directory
        self.config = stored["config"]
        self.id: str | None = stored.get("id")
        self._stored = stored
        self.resumed = resumed
        self.archived = archived
        self._lock = lock
        self._columns: list[str] | None = None
        self._written: Any = None  # the running SHA-256 of metrics.csv

    @property
    def owner(self) -> str:
        """Whom the checkpoints (of any shape) belong to: `id`, or "" in a directory of schema 1."""
        return self.id or ""

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock; the kernel does the same for a killed process."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write_config(self) -> None:
        """Writes `config.json`: for a run that continues, once nothing else can refuse it."""
        stored = self._stored
        self.write_json(_CONFIG, seals.seal(stored) if "id" in stored else stored)

    def path(self, *parts: str) -> pathlib.Path:
        """Joins names to the run's directory.

        Raises:
            UsageError: the result lies outside, by `..`, an absolute path or a symbolic link.
        """
        return inside(self.directory, *parts)

    def write_json(self, name: str, value: Any) -> None:
        """Replaces a JSON file at once: after a crash it holds the old value or the new one.

        Args:
            name: of the file, as `result.json`.
            value: what JSON holds, and numpy or JAX arrays of any shape (as lists). The floats
                that JSON lacks become the strings `nan`, `inf` and `-inf`.
        """
        write_json(self.path(name), value, root=self.directory)

    def remove(self, name: str) -> None:
        """Removes a file, unless there is none."""
        path = self.path(name)
        gone = contextlib.suppress(FileNotFoundError)
        with _storing(path), disk.folder(self.directory) as held, gone:
            os.unlink(path.name, dir_fd=held)

    def read_json(self, name: str) -> Any:
        """Reads a JSON file.

        Returns:
            Its value, or None where there is no such file.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            return read_json(self.path(name))
        except FileNotFoundError:
            return None

    def write_command(self, argv: Iterable[str]) -> None:
        """Writes the words of a command to `command.txt`, quoted to be pasted into a shell."""
        write_text(self.path("command.txt"), [shlex.join(argv)], root=self.directory)

    def write_table(self, name: str, rows: Sequence[Mapping]) -> None:
        """Replaces a CSV file at once, as `write_json` does a JSON file.

        Args:
            name: of the file, as `sweep.csv`.
            rows: each of scalars by column name; a row need not have every column.
        """
        write_table(self.path(name), rows, root=self.directory)

    def say(self, line: str) -> None:
        """Prints a line, see `say`."""
        say(line)

    def log(self, line: str, *, echo: bool = False) -> None:
        """Appends a line with the time to `run.log`, and prints it where asked."""
        if echo:
            say(line)
        path = self.path("run.log")
        content = f"{_now()} {printable(line)}\n".encode(errors="replace")
        with (
            _storing(path),
            disk.folder(self.directory) as held,
            open(disk.append(held, path.name), "ab", buffering=0) as file,
        ):
            file.write(content)

    def append_rows(self, rows: Sequence[Mapping]) -> None:
        """Adds rows to `metrics.csv`; when it returns, all of them are on the disk.

        Floats are written so that they read back exactly; None is an empty cell. Rows that do not
        fit on the disk leave no part of themselves.

        Args:
            rows: each of scalars by column name. The first ever decides the columns and their
                order.

        Raises:
            StorageError: the columns differ from those of the file.
        """
        if not rows:
            return
        path = self.path(_METRICS)
        if self._columns is None:
            lines = _whole_lines(path)
            if path.exists():
                write_bytes(path, b"".join(lines), root=self.directory)
            self._know(lines)
        columns = self._columns or list(rows[0])
        for row in rows:
            if row.keys() != set(columns):
                raise StorageError(
                    f"{path} has the columns {','.join(columns)}, this program writes "
                    f"{','.join(row)}: choose another --workdir"
                )
        cells = [[_cell(row[name]) for name in columns] for row in rows]
        content = _csv(cells if self._columns else [columns, *cells])
        rest = memoryview(content)
        with (
            _storing(path),
            disk.folder(self.directory) as held,
            open(disk.append(held, path.name), "ab", buffering=0) as file,
        ):
            start = file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(start)
                raise
        self._columns = columns
        self._written.update(content)

    def _know(self, lines: list[bytes]) -> None:
        """Takes note of the lines that `metrics.csv` holds."""
        self._columns, self._written = _columns(lines), hashlib.sha256(b"".join(lines))

    def rows_sha256(self) -> str:
        """SHA-256 of the rows (scalars) that `metrics.csv` was given: each whole, none torn."""
        if self._written is None:
            self._know(_whole_lines(self.path(_METRICS)))
        return self._written.hexdigest()

    def keep_rows(self, step: int, sha256: str | None) -> bool:
        """Keeps the rows that were there when a step was saved, and drops all after them.

        If they are not there as they were, `metrics.csv` is set aside in `damaged/`: no other rows
        take their place.

        Args:
            step: a scalar.
            sha256: what `rows_sha256` gave at that step; None, of an older version, keeps the rows
                up to the step as they stand.

        Returns:
            Whether the rows are as they were.

        Raises:
            StorageError: the file cannot be read or written.
        """
        path = self.path(_METRICS)
        if sha256 is None:
            self.truncate_rows(step)
            return True
        kept = _first_lines(path, sha256)
        if kept is None:
            _set_aside(path)
        elif path.exists():
            write_bytes(path, b"".join(kept), root=self.directory)
        self._know(kept or [])
        return kept is not None

    def rows(self) -> list[dict]:
        """Reads `metrics.csv`: one dict of scalars per row, in order.

        Numbers are parsed, an empty cell is None, a torn last line is left out.
        """
        return read_rows(self.path(_METRICS))

    def truncate_rows(self, step: int) -> None:
        """Drops the rows after a scalar step, and a torn last line; the others keep every byte.

        Raises:
            StorageError: a row has no number as `step`, or lacks cells.
        """
        path = self.path(_METRICS)
        lines = _whole_lines(path)
        columns = _columns(lines)
        kept = []
        for line in lines[1:]:
            at = _parse_row(path, columns, line).get("step")
            if not isinstance(at, (int, float)):
                raise StorageError(
                    f"{path} has a row without step: repair it or choose --overwrite"
                )
            if at <= step:
                kept.append(line)
        if path.exists():
            write_bytes(path, b"".join(lines[:1] + kept), root=self.directory)


class Follower:
    """The run directory as all but the first of several processes have it: they write nothing.

    Takes the place of a `Run`; whatever would write, print or lock does nothing.

    Args:
        directory: of the run.
    """

    archived = None

    def __init__(self, directory: pathlib.Path):
        self.directory = pathlib.Path(os.path.abspath(directory))

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *exception) -> None:
        pass

    def path(self, *parts: str) -> pathlib.Path:
        """Joins names to the run's directory."""
        return self.directory.joinpath(*parts)

    def _nothing(self, *arguments, **keywords) -> None:
        pass

    write_config = write_json = write_command = write_table = remove = _nothing
    log = say = append_rows = truncate_rows = keep_rows = rows_sha256 = _nothing
    id = owner = None


def refuse_newer(version: int, shown: str, schema: int = SCHEMA) -> None:
    """Passes where a run directory is of a version (a scalar) that is read.

    Raises:
        UsageError: a newer program wrote it.
    """
    if version > schema:
        raise UsageError(
            f"{shown} was written by a newer vae_jax (schema {version}, this one reads up to "
            f"{schema}): upgrade vae_jax, or choose another directory"
        )


def inside(directory: str | os.PathLike, *parts: str) -> pathlib.Path:
    """Joins names to a directory that may be a stranger's.

    Raises:
        UsageError: the result lies outside, by `..`, an absolute path or a symbolic link.
    """
    root = pathlib.Path(directory)
    try:
        joined = root.joinpath(*parts)
        is_inside = joined.resolve().is_relative_to(root.resolve())
    except (ValueError, OSError, RuntimeError):
        is_inside = False
    if not is_inside or ".." in pathlib.PurePath(*parts).parts:
        raise UsageError(
            f"{'/'.join(parts)!r}: must stay inside {root}, name or link nothing outside of it"
        )
    return joined


def read_bytes(path: str | os.PathLike, *, remedy: str = "move it away") -> bytes:
    """Reads a file that a run keeps beside its checkpoints; the run may be a stranger's.

    Args:
        path: of the file, of any length.
        remedy: what to do if it cannot be read; moving it away helps if it can be made anew.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read, is a link, a pipe or a device, or larger than 1 GiB.
    """
    try:
        descriptor = disk.open_regular(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            if size > _LARGEST:
                raise OSError(errno.EFBIG, f"{size} bytes, at most {_LARGEST} are read")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(_LARGEST)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({_reason(error)}): {remedy}") from None


def parse_json(raw: bytes) -> Any:
    """The value, of any shape, of a JSON text.

    Raises:
        ValueError: it is none, nests deeper than any file of ours, or would take more memory than
            reading may.
    """
    needed, limit = len(raw) * _BYTES_OF_JSON, memory.limit_bytes()
    if needed > limit:
        raise ValueError(f"would take {memory.told(needed)}, reading may take {memory.told(limit)}")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file of a run, see `read_bytes`.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read.
    """
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise StorageError(f"{path} cannot be read ({_reason(error)}): move it away") from None


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Reads a CSV file of a run: one dict of scalars per row, in order; of no file, no rows.

    Numbers are parsed, an empty cell is None, a torn last line is left out.

    Raises:
        StorageError: it cannot be read, or lacks cells.
    """
    path = pathlib.Path(path)
    lines = _whole_lines(path)
    columns = _columns(lines)
    return [_parse_row(path, columns, line) for line in lines[1:]]


def rows_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the lines of a run's CSV file, of rows of scalars; a torn last line is left out.

    Raises:
        StorageError: it cannot be read.
    """
    return hashlib.sha256(b"".join(_whole_lines(pathlib.Path(path)))).hexdigest()


def parse_config(
    raw: bytes,
    path: str | os.PathLike,
    *,
    schema: int = SCHEMA,
    free_to_change: Iterable[str] = _FREE,
) -> dict:
    """What a `config.json` of any length holds, once it is what a run directory has.

    Args:
        raw: of the file.
        path: of it, for messages.
        schema: the newest version that is read, a scalar.
        free_to_change: the keys that its hash leaves out: counts.

    Returns:
        `schema`, `config` (settings by name; of several runs a list of them as `runs`), `sha256`,
        and since schema 2 `id`, to which the run's files are bound.

    Raises:
        ValueError: it is damaged, or not ours.
        UsageError: a newer program wrote it, or it was changed after it was written.
    """
    try:
        stored = parse_json(raw)
        version = stored["schema"]
        if not _is_count(version) or version < 1:
            raise ValueError("has no version")
        refuse_newer(version, os.fspath(pathlib.Path(path).parent), schema)
        body = stored if version == 1 else seals.unseal(stored)
        held = stored["config"]
        several = held.get("runs", [])
        if not isinstance(several, list) or not all(isinstance(each, dict) for each in several):
            raise ValueError("holds no settings")
        if not all(_is_count(held.get(name, 0)) for name in free_to_change):
            raise ValueError(f"holds no number of {', '.join(free_to_change)}")
        is_as_written = body is not None and stored["sha256"] == _identity(held, free_to_change)
        is_as_written = is_as_written and (version == 1 or isinstance(stored["id"], str))
    except (LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("is no config") from None
    if not is_as_written:
        raise UsageError(
            f"{path} was changed after it was written (its SHA-256 differs): restore it, or "
            "choose another directory"
        )
    return body


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[None]:
    """Waits for the lock that is a file, which is made where it is missing, and holds it meanwhile.

    For what takes a moment: others wait for its end.

    Raises:
        StorageError: the file cannot be made, or its file system keeps no locks.
    """
    lock = _locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def make_folder(
    path: pathlib.Path, root: str | os.PathLike | None = None, *, mode: int = 0o777
) -> pathlib.Path:
    """Makes a folder and those above it, unless they are there; returns it.

    Args:
        path: of the folder.
        root: a folder above it, made too, that no link leads out of; None follows any.
        mode: of the folder if it is made, before the umask, a scalar.

    Raises:
        StorageError: it cannot be made.
        UsageError: a link leads out of the root.
    """
    with _storing(path):
        if root is None:
            path.mkdir(parents=True, exist_ok=True, mode=mode)
        else:
            pathlib.Path(root).mkdir(parents=True, exist_ok=True)
            *above, name = _below(root, path)
            there = contextlib.suppress(FileExistsError)
            with disk.folder(root, above, make=True) as held, there:
                os.mkdir(name, mode, dir_fd=held)
            with disk.folder(root, [*above, name]):
                pass  # it is a folder, and no link to one
    return path


def write_bytes(
    path: pathlib.Path,
    content: bytes,
    *,
    root: str | os.PathLike | None = None,
    remedy: str = _REMEDY,
    check: Callable[[pathlib.Path], Any] | None = None,
) -> None:
    """Replaces a file at once, see `Run.write_json`; of content of any length, a scalar.

    Args:
        path: of the file.
        content: what it is to hold.
        root: a folder above it that no link leads out of; folders below it are made. None follows
            any link, and makes none.
        remedy: what to do where that place cannot be written.
        check: reads what was written before it takes its place; its error leaves what was there.

    Raises:
        StorageError: it cannot be written.
        UsageError: a link leads out of the root.
    """
    with _storing(path, remedy), _parent(path, root) as held:
        look = check and (lambda name: check(path.with_name(name)))
        disk.replace(held, path.name, content, look)


def _parent(path: pathlib.Path, root: str | os.PathLike | None):
    """The folder of a file, held open; below a root no link is followed, and it is made."""
    if root is None:
        return disk.folder(path.parent)
    return disk.folder(root, _below(root, path.parent), make=True)


def _below(root: str | os.PathLike, folder: pathlib.Path) -> tuple[str, ...]:
    """The names from a folder to one below it, where links that stay inside lead.

    Raises:
        UsageError: one leads out. One that comes later is followed nowhere.
    """
    place = inside(root, *folder.relative_to(root).parts)
    return place.resolve().relative_to(pathlib.Path(root).resolve()).parts


def write_text(
    path: pathlib.Path, lines: Iterable[str], *, root: str | os.PathLike | None = None
) -> None:
    """Replaces a text file at once, see `write_bytes`; each line, a scalar, ends where it ends.

    Raises:
        StorageError: it cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    write_bytes(path, text.encode(errors="surrogateescape"), root=root)


def write_json(path: pathlib.Path, value: Any, *, root: str | os.PathLike | None = None) -> None:
    """Replaces a JSON file at once, see `write_bytes`; arrays of any shape become lists.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(
        path, (json.dumps(seals.plain(value), indent=1, allow_nan=False) + "\n").encode(), root=root
    )


def write_table(
    path: pathlib.Path, rows: Sequence[Mapping], *, root: str | os.PathLike | None = None
) -> None:
    """Replaces a CSV file at once, see `write_bytes`; rows are of scalars.

    Raises:
        StorageError: it cannot be written.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    write_bytes(path, _csv([columns, *cells]), root=root)


def say(line: str, *, is_error: bool = False) -> None:
    """Prints a line, whatever it holds as one that steers no terminal; see `errors.printable`.

    Args:
        line: a scalar.
        is_error: whether it goes to stderr.
    """
    put(f"{printable(line)}\n", sys.stderr if is_error else sys.stdout)


def say_page(text: str) -> None:
    """Prints the lines of a text, a scalar, each as `say` does."""
    put("".join(f"{printable(line)}\n" for line in text.split("\n")), sys.stdout)


def put(text: str, stream: Any) -> None:
    """Writes a text as it is; a reader that went away or a full disk ends no run.

    Args:
        text: a scalar.
        stream: with a file descriptor, as stdout has one.
    """
    try:
        print(text, end="", file=stream, flush=True)
    except OSError:
        # what could not be written stays in the buffer, and would fail once more at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def environment(devices: Iterable = ()) -> dict:
    """Describes what a result depends on beside its config, for `env.json`.

    Args:
        devices: any number of them, as `jax.devices()`; named, never touched.

    Returns:
        Scalars, strings and lists by name: `python`, `platform`, `host`, `packages` (versions,
        None where missing), `devices` and `git` (`{"revision", "dirty"}`, or None where no checkout
        tracks the package).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": [str(device) for device in devices],
        "git": _git(pathlib.Path(__file__).resolve()),
    }


def free_bytes(path: str | os.PathLike) -> int:
    """Counts the bytes (a scalar) that may still be written at a path, which need not exist."""
    place = pathlib.Path(os.path.abspath(path))
    # os.path: what no name can be does not exist, where pathlib raises
    return shutil.disk_usage(next(p for p in (place, *place.parents) if os.path.exists(p))).free


def check_space(path: str | os.PathLike, needed: int) -> None:
    """Makes sure that a scalar number of bytes may still be written at a path.

    Raises:
        StorageError: there is less; the message names both numbers.
    """
    free = free_bytes(path)
    if free < needed:
        raise StorageError(
            f"{os.fspath(path)}: needs {needed} bytes, {free} are free: "
            "free some, or choose another --workdir"
        )


def _enter(directory: pathlib.Path, shown: str, undo: contextlib.ExitStack) -> int:
    """Creates and locks the directory; `undo` unlocks and removes what was made here."""
    with _storing(directory):
        for folder in (*reversed(directory.parents), directory):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                undo.callback(_remove_empty, folder)
    path = directory / _LOCK
    is_new = not os.path.lexists(path)
    try:
        lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except LockedError as error:
        raise LockedError(
            f"{shown} {error}: wait for it, stop it, or choose another --workdir"
        ) from None
    except StorageError:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    undo.callback(_close, lock)
    if is_new:
        undo.callback(path.unlink, missing_ok=True)
    _refuse_foreign(directory, shown)
    return lock


def _locked(path: pathlib.Path, how: int) -> int:
    """Opens a file, which is made if there is none, and locks it.

    One that has another name too, as in a copy by `cp -al`, is replaced once nobody holds it: what
    is signed would be written into both, and both directories would share the lock.

    Raises:
        LockedError: another process holds it, and `how` says not to wait.
        StorageError: it cannot be opened, or its file system keeps no locks.
    """
    with _storing(path), disk.folder(path.parent) as held:
        while True:
            lock = disk.open_regular(path.name, os.O_RDWR | os.O_CREAT, held=held)
            try:
                _lock(lock, path, how)
                found = os.fstat(lock)
                # a process that was refused may have removed the file meanwhile
                is_there = os.path.samestat(found, os.lstat(path.name, dir_fd=held))
                if is_there and found.st_nlink == 1:
                    return lock
                if is_there:
                    disk.replace(held, path.name, b"")
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)


def _lock(descriptor: int, path: pathlib.Path, how: int) -> None:
    """Locks a file that is open, or says why its file system cannot, see `_locked`."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise LockedError(f"is in use by {_holder(descriptor)}") from None
    except OSError as error:
        remedy = "choose another place"
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            remedy = (
                "its file system keeps no locks, and two processes could write here unseen: choose "
                "a place on a local disk, or have it mounted with locks (NFS: version 4)"
            )
        raise StorageError(f"{path} cannot be locked ({_reason(error)}): {remedy}") from None


def _sign(lock: int, directory: pathlib.Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "start": _now()}
    with _storing(directory / _LOCK):
        os.ftruncate(lock, 0)
        os.pwrite(lock, (json.dumps(holder) + "\n").encode(), 0)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _remove_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _holder(lock: int) -> str:
    # The holder writes its name just after it has the lock.
    for _ in range(10):
        try:
            holder = json.loads(os.pread(lock, 4096, 0))
            return "process {pid} on {host} since {start}".format(**holder)
        except (ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return "another process"


def _refuse_foreign(directory: pathlib.Path, shown: str) -> None:
    """Raises UsageError unless the path is free, empty, or a run directory."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise UsageError(
            f"--workdir={shown}: is a file, must be a directory or not exist: choose another"
        )
    with _storing(directory):
        names = set(os.listdir(directory)) - disk.LEFT_BY_BROWSERS
    if _CONFIG not in names and names - {_LOCK, f".{_CONFIG}.tmp"}:
        raise UsageError(
            f"--workdir={shown}: is not empty and holds no run ({min(names)}): choose another"
        )


def _read_config(
    directory: pathlib.Path, shown: str, schema: int, free_to_change: Iterable[str]
) -> dict | None:
    path = directory / _CONFIG
    try:
        raw = read_bytes(path, remedy=f"restore it, or {_REMEDY}")
        return parse_config(raw, path, schema=schema, free_to_change=free_to_change)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UsageError(
            f"--workdir={shown}: its {_CONFIG} is damaged or not ours: choose another"
        ) from None


def _compare(
    held: dict, asked: dict, free_to_change: Iterable[str], shown: str, called: Mapping[str, str]
) -> None:
    names = (held.keys() | asked.keys()) - set(free_to_change)
    missing = object()
    changed = {n for n in names if held.get(n, missing) != asked.get(n, missing)}
    if not changed:
        return
    if changed == {_DATA} and held.keys() & asked.keys() >= changed:
        raise DataError(
            f"{shown} was trained on data whose SHA-256 is {held[_DATA]}, that of the data now is "
            f"{asked[_DATA]}: restore those, choose another --workdir, or --overwrite archives "
            f"{shown}"
        )
    kinds = [_kind(config) for config in (held, asked)]
    told = [_told(config, free_to_change) for config in (held, asked)]
    differing = sorted(n for n in told[0] | told[1] if told[0].get(n) != told[1].get(n))
    # a hash says little: that of the data is told where nothing else is, that of the runs never
    legible = [n for n in differing if not n.endswith("_sha256")]
    legible = legible or [n for n in differing if n != "runs_sha256"]
    if kinds[0] != kinds[1]:
        words = [
            "one run" if kind == "run" else f"a {kind} of {each['num_runs']} runs"
            for kind, each in zip(kinds, told, strict=True)
        ]
    else:
        words = [
            ", ".join(
                f"{called.get(n, n)}={each[n]}" if n in each else f"no {called.get(n, n)}"
                for n in legible
            )
            for each in told
        ]
    what = f"{words[0]}, you asked {words[1]}"
    if not any(words):
        what = "other combinations of these settings than you asked"
    raise UsageError(
        f"{shown} holds {what}: choose another --workdir, or --overwrite archives {shown}"
    )


def _kind(config: dict) -> str:
    """What a directory holds."""
    if "num_runs" in config:
        return "sweep"
    return "program" if "runs" in config else "run"


def _told(config: dict, free_to_change: Iterable[str]) -> dict[str, str]:
    """The settings in words; those of several runs as the values that there are."""
    runs = config.get("runs", [])
    values: dict[str, dict] = {"num_runs": {str(len(runs)): None}} if runs else {}
    for each in [config, *runs]:
        for name, value in each.items():
            if name != "runs":
                values.setdefault(name, {})[_word(value)] = None
    words = {name: ",".join(several) for name, several in values.items()}
    free = {*free_to_change}
    return {name: word for name, word in words.items() if name not in free and word != _UNSET}


def _word(value: Any) -> str:
    """A setting, or several values of one, as a command line has them."""
    if not isinstance(value, list):
        return _UNSET if value is None else str(value)
    parting = ";" if any(isinstance(item, list) for item in value) else ","
    return parting.join(map(_word, value))


def _archive(directory: pathlib.Path, shown: str) -> pathlib.Path:
    """Renames the directory, whose lock the caller holds, to a name not taken."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    first = directory.with_name(f"{directory.name}.{stamp}")
    others = (directory.with_name(f"{first.name}.{n}") for n in itertools.count(1))
    free = next(p for p in itertools.chain([first], others) if not os.path.lexists(p))
    with _storing(pathlib.Path(shown)):
        os.rename(directory, free)
        disk.sync_folder(directory.parent)
    return free


def _whole_lines(path: pathlib.Path) -> list[bytes]:
    """Reads the lines that end; what follows the last line end was torn by a crash."""
    try:
        raw = read_bytes(path)
    except FileNotFoundError:
        return []
    whole = raw[: raw.rfind(b"\n") + 1]
    try:
        whole.decode()
    except UnicodeDecodeError:
        raise StorageError(f"{path} is no UTF-8 text: repair it or choose --overwrite") from None
    return whole.splitlines(keepends=True)


def _first_lines(path: pathlib.Path, sha256: str) -> list[bytes] | None:
    """The lines from the first on whose SHA-256 this is, None if there are no such lines."""
    try:
        lines = read_bytes(path).split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []
    lines, found = [line + b"\n" for line in lines], hashlib.sha256()
    for num in range(len(lines) + 1):
        if found.hexdigest() == sha256:
            return lines[:num]
        found.update(b"".join(lines[num : num + 1]))
    return None


def _set_aside(path: pathlib.Path) -> None:
    """Moves a damaged file of a run into its folder `damaged`, unless it is gone."""
    with (
        _storing(path),
        contextlib.suppress(FileNotFoundError),
        disk.folder(path.parent) as held,
        disk.folder(path.parent, ["damaged"], make=True) as damaged,
    ):
        disk.set_aside(path.name, held, damaged)


def _columns(lines: list[bytes]) -> list[str]:
    return _split(lines[0]) if lines else []


def _split(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode()]), [])
    except csv.Error:  # a cell longer than any of ours
        return []


def _parse_row(path: pathlib.Path, columns: list[str], line: bytes) -> dict:
    cells = _split(line)
    if len(cells) != len(columns):
        raise StorageError(
            f"{path} has a damaged row ({line[:60]!r}): repair it or choose --overwrite"
        )
    return dict(zip(columns, map(_parse_cell, cells), strict=True))


def _parse_cell(text: str) -> int | float | str | None:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text or None


def _cell(value: Any) -> str:
    value = seals.scalar(value)
    if isinstance(value, float):
        return repr(value)
    return "" if value is None else " ".join(str(value).splitlines())


def _csv(lines: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode(errors="surrogateescape")  # names of files may be no UTF-8


def _identity(config: dict, free_to_change: Iterable[str]) -> str:
    """The hash of all settings but those that may change."""
    return seals.digest({k: v for k, v in config.items() if k not in set(free_to_change)})


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _short(value: Any) -> str:
    """Writes 4.0 as 4 and [16, 8] as 16,8, the way a person types it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_short, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(source: pathlib.Path) -> dict | None:
    """Names the revision of the checkout that tracks this very file, None where none does."""

    def ask(*words: str) -> str:
        # A repository's own settings may name programs to run: none are.
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(source.parent), *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", source.name)
        return {
            "revision": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("--no-optional-locks", "status", "--porcelain", "-uno")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def _storing(path: pathlib.Path, remedy: str = _REMEDY) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"{free_bytes(path)} bytes are free: free some and run the same command again"
        raise StorageError(f"{path} cannot be written ({_reason(error)}): {remedy}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
