"""The run directory: who may write to it, its contents, and how each file survives a crash.

It holds `config.json` (every setting and a hash), `command.txt`, `env.json`, `metrics.csv`,
`result.json`, `run.log`, `lock`; checkpoints and plots are in folders beside them. It may be moved,
copied and read from anywhere: only `command.txt` contains its original path.
"""

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import os
import pathlib
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vae_jax import console, disk
from vae_jax.errors import DataError, LockedError, StorageError, UsageError, printable, verbatim
from vae_jax.storage import csv_rows, files, locks, seals

__all__ = [
    "SCHEMA",
    "Follower",
    "Run",
    "default_workdir",
    "open_run",
    "parse_config",
    "refuse_newer",
]

SCHEMA = 2
"""The version of new run directories, a scalar; all versions up to it can be read.

1: files are trusted. 2: each file is sealed and bound to the run's `id`.
"""
_CONFIG = "config.json"
_METRICS = "metrics.csv"
_DATA = "data_sha256"
_FREE = ("epochs",)
_UNSET = "unset"
_LONGEST_NAME = 100


def default_workdir(root: str | os.PathLike, dataset: str, options: Mapping) -> pathlib.Path:
    """Names a run after its options: `<root>/<dataset>-beta=4-seed=1`.

    The order of the options does not matter. Characters other than ASCII letters, digits and
    `._=+,-` become `_`. A name with such a change, or longer than 100 characters, ends in a hash of
    the full one, so that different options never share a directory.

    Args:
        root: the directory of all runs.
        dataset: name of the dataset.
        options: the options that differ from their defaults, scalars, strings or lists of any
            length.

    Returns:
        A direct child of `root`, whatever the names contain.
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
        free_to_change: the keys that may differ from those in the directory.
        as_of: converts the directory's config to `config` in the form of the version that wrote it:
            a newer key is left out if its value means the behavior before it existed. It may refuse
            unknown keys. None uses `config` unchanged.
        called: option → the word by which a user knows it, if that is not its name.
        overwrite: archives an earlier run, `x` to `x.<time>`, by renaming; nothing is deleted.
        schema: version of the layout to write; all versions up to it can be read.

    Returns:
        The run; use it as a context manager. `run.resumed` tells whether it continues an earlier
        one.

    Raises:
        UsageError: the path is a file or contains something else, an earlier run has another
            `config`, its `config.json` was changed, or a newer version wrote it. Existing files are
            left unchanged.
        DataError: an earlier run differs only in its data, as shown by `data_sha256`.
        LockedError: another process holds the directory; the message names it.
        StorageError: the directory cannot be written.
    """
    config = seals.plain(config)
    identity = _identity(config, free_to_change)
    shown = os.fspath(workdir)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in shown):
        raise UsageError(
            f"workdir={shown!r}: must be UTF-8 text without control characters, name another"
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
        locks.sign(lock, directory)
        # the directory of an older version has no seals, and continues without
        version = schema if earlier is None else earlier["schema"]
        stored = {"schema": version, "config": config, "sha256": identity}
        stored |= {"id": (earlier or {}).get("id", identity)} if version > 1 else {}
        run = Run(directory, stored, lock, resumed=earlier is not None, archived=archived)
        if earlier is None:
            run.write_config()
        undo.pop_all()
    return run


class Run:
    """An open run directory: stores scalars and rows; each file survives any crash intact.

    Use `open_run` to make one. A full disk or a lost permission raises `StorageError` that names
    the file.

    Attributes:
        directory: absolute path of the run.
        config: the contents of `config.json`.
        id: id to which the run's files are bound, the hash of its first config; None in a directory
            of schema 1.
        resumed: whether it continues an earlier run.
        archived: the new place of the earlier run with `overwrite`, or None.
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
        """The owner of the checkpoints (of any shape): `id`, or "" in a directory of schema 1."""
        return self.id or ""

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock; the kernel does this for a killed process."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write_config(self) -> None:
        """Writes `config.json`; for a resumed run, after all checks have passed."""
        stored = self._stored
        self.write_json(_CONFIG, seals.seal(stored) if "id" in stored else stored)

    def path(self, *parts: str) -> pathlib.Path:
        """Joins names to the run's directory.

        Raises:
            UsageError: the result lies outside, by `..`, an absolute path or a symbolic link.
        """
        return files.inside(self.directory, *parts)

    def write_json(self, name: str, value: Any) -> None:
        """Replaces a JSON file atomically: after a crash it has either the old or the new value.

        Args:
            name: name of the file, such as `result.json`.
            value: a JSON value, with numpy or JAX arrays of any shape (as lists). Floats that JSON
                lacks become the strings `nan`, `inf` and `-inf`.
        """
        files.write_json(self.path(name), value, root=self.directory)

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        path = self.path(name)
        gone = contextlib.suppress(FileNotFoundError)
        with files.storing(path), disk.folder(self.directory) as held, gone:
            os.unlink(path.name, dir_fd=held)

    def read_json(self, name: str) -> Any:
        """Reads a JSON file.

        Returns:
            Its value, or None if there is no such file.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            return files.read_json(self.path(name))
        except FileNotFoundError:
            return None

    def write_command(self, argv: Iterable[str]) -> None:
        """Writes a command to `command.txt`, quoted so that it can be pasted into a shell."""
        files.write_text(self.path("command.txt"), [shlex.join(argv)], root=self.directory)

    def write_table(self, name: str, rows: Sequence[Mapping]) -> None:
        """Replaces a CSV file atomically, as `write_json` does.

        Args:
            name: name of the file, such as `sweep.csv`.
            rows: scalars by column name; a row need not have every column.
        """
        csv_rows.write_table(self.path(name), rows, root=self.directory)

    def say(self, line: str) -> None:
        """Prints a line, see `say`."""
        console.say(line)

    def log(self, line: str, *, echo: bool = False) -> None:
        """Appends a line with the time to `run.log`, and prints it if `echo`."""
        if echo:
            console.say(line)
        path = self.path("run.log")
        content = f"{locks.now()} {printable(line)}\n".encode(errors="replace")
        with (
            files.storing(path),
            disk.folder(self.directory) as held,
            open(disk.append(held, path.name), "ab", buffering=0) as file,
        ):
            file.write(content)

    def append_rows(self, rows: Sequence[Mapping]) -> None:
        """Appends rows to `metrics.csv`; when it returns, all of them are on disk.

        Floats are written so that they are read back exactly; None is an empty cell. If the disk is
        full, no part of the rows remains.

        Args:
            rows: scalars by column name. The first row ever decides the columns and their order.

        Raises:
            StorageError: the columns differ from those of the file.
        """
        if not rows:
            return
        path = self.path(_METRICS)
        if self._columns is None:
            lines = csv_rows.whole_lines(path)
            if path.exists():
                files.write_bytes(path, b"".join(lines), root=self.directory)
            self._know(lines)
        columns = self._columns or list(rows[0])
        for row in rows:
            if row.keys() != set(columns):
                raise StorageError(
                    f"{path} has the columns {','.join(columns)}, this program writes "
                    f"{','.join(row)}: choose another `workdir`"
                )
        cells = [[csv_rows.cell(row[name]) for name in columns] for row in rows]
        content = csv_rows.to_csv(cells if self._columns else [columns, *cells])
        csv_rows.append_bytes(path, content, root=self.directory)
        self._columns = columns
        self._written.update(content)

    def _know(self, lines: list[bytes]) -> None:
        """Remembers the lines in `metrics.csv`."""
        self._columns, self._written = csv_rows.columns_of(lines), hashlib.sha256(b"".join(lines))

    def rows_sha256(self) -> str:
        """SHA-256 of the complete rows (scalars) that were written to `metrics.csv`."""
        if self._written is None:
            self._know(csv_rows.whole_lines(self.path(_METRICS)))
        return self._written.hexdigest()

    def keep_rows(self, step: int, sha256: str | None) -> bool:
        """Keeps the rows at the time when a step was saved, and drops all later ones.

        If those rows were changed, `metrics.csv` is moved to `damaged/` and not replaced.

        Args:
            step: a scalar.
            sha256: the value of `rows_sha256` at that step; None, from an older version, keeps the
                rows up to the step without a check.

        Returns:
            Whether the rows are unchanged.

        Raises:
            StorageError: the file cannot be read or written.
        """
        path = self.path(_METRICS)
        if sha256 is None:
            self.truncate_rows(step)
            return True
        kept = csv_rows.first_lines(path, sha256)
        if kept is None:
            _set_aside(path)
        elif path.exists():
            files.write_bytes(path, b"".join(kept), root=self.directory)
        self._know(kept or [])
        return kept is not None

    def rows(self) -> list[dict]:
        """Reads `metrics.csv`: one dict of scalars per row, in order.

        Numbers are parsed, an empty cell is None, an incomplete last line is dropped.
        """
        return csv_rows.read_rows(self.path(_METRICS))

    def truncate_rows(self, step: int) -> None:
        """Drops the rows after a scalar step, and an incomplete last line; others keep every byte.

        Raises:
            StorageError: the `step` of a row is not a number, or cells are missing.
        """
        path = self.path(_METRICS)
        lines = csv_rows.whole_lines(path)
        columns = csv_rows.columns_of(lines)
        kept = []
        for line in lines[1:]:
            at = csv_rows.parse_row(path, columns, line).get("step")
            if not isinstance(at, (int, float)):
                raise StorageError(
                    f"{path} has a row without step: repair it or choose `overwrite=True`"
                )
            if at <= step:
                kept.append(line)
        if path.exists():
            files.write_bytes(path, b"".join(lines[:1] + kept), root=self.directory)


class Follower:
    """The run directory in all processes except the first: they write nothing.

    It replaces a `Run`; methods that would write, print or lock do nothing.

    Args:
        directory: directory of the run.
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
    """Raises an error if a run directory has a newer version (a scalar) than can be read.

    Raises:
        UsageError: a newer program wrote it.
    """
    if version > schema:
        raise UsageError(
            f"{shown} was written by a newer vae_jax (schema {version}, this one reads up to "
            f"{schema}): upgrade vae_jax, or choose another directory"
        )


def parse_config(
    raw: bytes,
    path: str | os.PathLike,
    *,
    schema: int = SCHEMA,
    free_to_change: Iterable[str] = _FREE,
) -> dict:
    """Parses and checks a `config.json` of any length.

    Args:
        raw: contents of the file.
        path: its path, for messages.
        schema: the newest version that can be read, a scalar.
        free_to_change: the keys that its hash leaves out: counts.

    Returns:
        `schema`, `config` (settings by name; for several runs a list of them as `runs`), `sha256`,
            and since schema 2 `id`, to which the run's files are bound.

    Raises:
        ValueError: it is damaged, or not from this program.
        UsageError: a newer program wrote it, or it was changed after it was written.
    """
    try:
        stored = files.parse_json(raw)
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


def _enter(directory: pathlib.Path, shown: str, undo: contextlib.ExitStack) -> int:
    """Creates and locks the directory; `undo` unlocks and removes what was created."""
    with files.storing(directory):
        for folder in (*reversed(directory.parents), directory):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                undo.callback(_remove_empty, folder)
    path = directory / locks.NAME
    is_new = not os.path.lexists(path)
    try:
        lock = locks.locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except LockedError as error:
        raise LockedError(
            f"{shown} {error}: wait for it, stop it, or choose another `workdir`"
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


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _remove_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _refuse_foreign(directory: pathlib.Path, shown: str) -> None:
    """Raises UsageError unless the path is free, empty, or a run directory."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise UsageError(
            f"workdir={shown}: is a file, must be a directory or not exist: choose another"
        )
    with files.storing(directory):
        names = set(os.listdir(directory)) - disk.LEFT_BY_BROWSERS
    if _CONFIG not in names and names - {locks.NAME, f".{_CONFIG}.tmp"}:
        raise UsageError(
            f"workdir={shown}: is not empty and holds no run ({min(names)}): choose another"
        )


def _read_config(
    directory: pathlib.Path, shown: str, schema: int, free_to_change: Iterable[str]
) -> dict | None:
    path = directory / _CONFIG
    try:
        raw = files.read_bytes(path, remedy=f"restore it, or {files.REMEDY}")
        return parse_config(raw, path, schema=schema, free_to_change=free_to_change)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UsageError(
            f"workdir={shown}: its {_CONFIG} is damaged or not ours: choose another"
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
            f"{asked[_DATA]}: restore those, choose another `workdir`, or `overwrite=True` "
            f"archives {shown}"
        )
    kinds = [_kind(config) for config in (held, asked)]
    told = [_told(config, free_to_change) for config in (held, asked)]
    differing = sorted(n for n in told[0] | told[1] if told[0].get(n) != told[1].get(n))
    # hashes are not readable: the data's is shown only if nothing else differs, the runs' never
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
    what = f"{verbatim(words[0])}, you asked {verbatim(words[1])}"
    if not any(words):
        what = "other combinations of these settings than you asked"
    raise UsageError(
        f"{shown} holds {what}: choose another `workdir`, or `overwrite=True` archives {shown}"
    )


def _kind(config: dict) -> str:
    """Describes the contents of a directory."""
    if "num_runs" in config:
        return "sweep"
    return "program" if "runs" in config else "run"


def _told(config: dict, free_to_change: Iterable[str]) -> dict[str, str]:
    """The settings as text; for several runs the distinct values."""
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
    """A setting, or several values of it, in command line form."""
    if not isinstance(value, list):
        return _UNSET if value is None else str(value)
    parting = ";" if any(isinstance(item, list) for item in value) else ","
    return parting.join(map(_word, value))


def _archive(directory: pathlib.Path, shown: str) -> pathlib.Path:
    """Renames the directory, whose lock the caller holds, to an unused name."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    first = directory.with_name(f"{directory.name}.{stamp}")
    others = (directory.with_name(f"{first.name}.{n}") for n in itertools.count(1))
    free = next(p for p in itertools.chain([first], others) if not os.path.lexists(p))
    with files.storing(pathlib.Path(shown)):
        os.rename(directory, free)
        disk.sync_folder(directory.parent)
    return free


def _set_aside(path: pathlib.Path) -> None:
    """Moves a damaged file of a run into its folder `damaged`, unless it is gone."""
    with (
        files.storing(path),
        contextlib.suppress(FileNotFoundError),
        disk.folder(path.parent) as held,
        disk.folder(path.parent, ["damaged"], make=True) as damaged,
    ):
        disk.set_aside(path.name, held, damaged)


def _identity(config: dict, free_to_change: Iterable[str]) -> str:
    """The hash of all settings except those that may change."""
    return seals.digest({k: v for k, v in config.items() if k not in set(free_to_change)})


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _short(value: Any) -> str:
    """Writes 4.0 as 4 and [16, 8] as 16,8, as a user would type them."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_short, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
