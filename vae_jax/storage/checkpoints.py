"""Checkpoints: made durable before they count, verified before they are used.

Orbax writes a step into `.staging/`. The step is read back, compared with the state in memory,
synced to disk, and sealed with `manifest.json` (size and SHA-256 of every file). Only then is it
renamed to its final place. So a directory named by a step number was once complete: if it does not
match its manifest, it is damaged, and anything in `.staging/` is left from a killed process.
"""

import concurrent.futures
import contextlib
import errno
import functools
import hashlib
import json
import logging
import math
import os
import pathlib
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging as absl_logging

from vae_jax import disk
from vae_jax.errors import StorageError
from vae_jax.memory import limit_bytes, release

__all__ = ["Checkpoints", "Restored"]

_SCHEMA = 1
_MANIFEST = "manifest.json"
_STAGING = ".staging"
# Orbax logs every stage of its work through absl's logger, which a program run by absl prints.
absl_logging.get_absl_logger().addFilter(
    lambda record: record.levelno >= logging.WARNING or "/orbax/" not in record.pathname
)
# Errors of the process or its permissions, not of the files: the checkpoint is not discarded.
_NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
# Space for Orbax's own files beside the arrays, in bytes.
_OVERHEAD = 1 << 20


class Restored(NamedTuple):
    """A verified checkpoint: the scalar step, the state with the target's shapes, the config."""

    step: int
    state: Any
    config: dict


class _DamageError(Exception):
    """A step directory does not match its manifest; the message names the file and the fault."""


class Checkpoints:
    """The checkpoints of one run, each a pytree of arrays of any shape with a scalar step.

    A save may continue in a thread during training: `start_save` returns when it has copied the
    state, and the next operation (`wait`, another save, a restore) waits for it.

    Layout: `<directory>/<step>/{state, config, manifest.json}`, readable by Orbax; damaged steps
    are moved to `<directory>/../damaged/<step>`. Nothing is written before the first `save`, so a
    read-only directory can be restored from. Only one process may save (it must hold the run's
    lock), any number may restore.

    Args:
        directory: folder of the steps; need not exist.
        keep: number of verified steps to keep, at least 2, so that one remains intact whatever
            happens to the newest.
        warn: called with one line when `restore` skips damaged steps.
        set_aside: whether `restore` and `save` move damaged steps to another folder.
        owner: id of the run that owns them, "" for older versions, which had none: a step of
            another run does not verify. None accepts the steps of any run.

    Raises:
        ValueError: `keep` is below 2.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int = 2,
        warn: Callable[[str], None] = print,
        set_aside: bool = True,
        owner: str | None = None,
    ):
        if keep < 2:
            raise ValueError(f"keep={keep}: must be at least 2")
        self._shown = pathlib.Path(directory)
        # Orbax needs an absolute path, which also protects against a later chdir.
        self._directory = pathlib.Path(os.path.abspath(directory))
        self._keep = keep
        self._warn = warn
        self._sets_aside = set_aside
        self._owner = owner
        self._pending: concurrent.futures.Future | None = None
        self.save_seconds = 0.0
        """The minimum time of a save so far, in seconds, so that contention does not inflate it."""

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Waits for a save that was started, and releases the threads.

        After `save` or `wait` has returned, the step is on disk.
        """
        if "_saving" in vars(self):
            self._saving.shutdown()
        if "_orbax" in vars(self):
            self._orbax.close()

    @functools.cached_property
    def _orbax(self) -> Any:
        return _in_pieces().checkpointer()

    @functools.cached_property
    def _saving(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(1, "checkpoint")

    def save(self, step: int, state: Any, config: dict) -> None:
        """Writes one step; when it returns, the step is durable and equals `state` bit by bit.

        An existing step that verifies is kept unchanged. Afterwards older steps are deleted, except
        the newest `keep` that verify.

        Args:
            step: scalar, at least 0.
            state: pytree of arrays of any shape (no typed keys: store `jax.random.key_data`).
            config: a value that `json` supports, returned by `restore`.

        Raises:
            StorageError: the step could not be written or read back; earlier steps are intact.
        """
        self.wait()
        # no copy: nothing writes to the state before this returns
        self._start(step, [jax.tree.map(np.asarray, jax.device_get(state))], config)
        self.wait()

    def start_save(self, step: int, state: Any, config: dict) -> None:
        """Copies the state and saves it in a thread, like `save`; `wait` reports the result.

        Args:
            step, state, config: as in `save`; the arrays may be overwritten when this returns.

        Raises:
            StorageError: the save that was started before failed.
        """
        self.wait()
        # a view of a device's buffer would see the writes of the next step
        self._start(step, [jax.tree.map(np.array, jax.device_get(state))], config)

    def _start(self, step: int, held: list, config: dict) -> None:
        """Saves a state in a thread; `held` has only the state, which is taken out of it."""
        self._pending = self._saving.submit(self._save, step, held, config)

    def wait(self) -> None:
        """Waits until the save of `start_save` is durable; returns at once if there is none.

        Raises:
            StorageError: it could not be written or read back; earlier steps are intact.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def is_saving(self) -> bool:
        """Whether a save that was started is still running."""
        return self._pending is not None and not self._pending.done()

    def has_failed(self) -> bool:
        """Whether a save that was started has failed; `wait` will raise its error."""
        return (
            self._pending is not None
            and self._pending.done()
            and self._pending.exception() is not None
        )

    def _save(self, step: int, held: list, config: dict) -> None:
        with _one_voice():
            _import_orbax()  # once per process; an error here is not an error of the disk
            start = time.perf_counter()
            self._save_quietly(step, held, config)
        took = time.perf_counter() - start
        self.save_seconds = min(self.save_seconds or took, took)

    def _save_quietly(self, step: int, state: list, config: dict) -> None:
        needed = _OVERHEAD + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        try:
            self._refuse_links()
            self._directory.mkdir(parents=True, exist_ok=True)
            with self._staging() as (held, staging, path):
                final = self._directory / str(step)
                reason = self._fault(final) if os.path.lexists(final) else "absent"
                if reason is not None:
                    self._write(path / str(step), step, state.pop(), config)
                    self._put_in_place(final, reason, held, staging)
                self._delete_old(held, staging)
        except StorageError:
            raise
        except Exception as error:  # Orbax raises many types for a full disk
            raise StorageError(self._explain(step, needed, error)) from error

    def _put_in_place(self, final: pathlib.Path, reason: str, held: int, staging: int) -> None:
        """Renames a finished step to its final place; a damaged one there is moved away."""
        if os.path.lexists(final):
            self._warn(
                f"checkpoint {final.name} failed verification ({reason}); saved again"
                + self._set_aside([final])
            )
        os.rename(final.name, final.name, src_dir_fd=staging, dst_dir_fd=held)
        disk.sync_folder(held)

    @contextlib.contextmanager
    def _staging(self) -> Iterator[tuple[int, int, pathlib.Path]]:
        """Opens the folder of the steps and an empty one in it; also yields the path of the latter.

        Only this user can access it, so nobody can put a link into it; it is removed at the end.
        """
        name, above = self._directory.name, self._directory.parent
        with disk.folder(above, [name]) as held:
            try:
                self._clear(held)
                os.mkdir(_STAGING, 0o700, dir_fd=held)
                with disk.folder(above, [name, _STAGING]) as staging:
                    yield held, staging, disk.path_of(staging, self._directory / _STAGING)
            finally:
                with contextlib.suppress(OSError):
                    self._clear(held)

    @staticmethod
    def _clear(held: int) -> None:
        """Removes the contents of `.staging`, and the folder."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(_STAGING, dir_fd=held)

    def restore(self, target: Any) -> Restored | None:
        """Reads the newest step that verifies, and moves damaged newer ones away with one warning.

        Args:
            target: pytree of arrays or `jax.ShapeDtypeStruct` (as from `jax.eval_shape`): the
                structure, shapes and dtypes to restore; the sharding of a `ShapeDtypeStruct` is
                honored if it has one.

        Returns:
            The step, its state and its config, or None if no step verifies.

        Raises:
            StorageError: the step does not have the target's structure, shapes and dtypes; or a
                newer version wrote it; or it verifies but cannot be read.
        """
        found = self._newest()
        return None if found is None else self._read(found, target)

    def read(self) -> Restored | None:
        """Reads the newest step that verifies, with any contents.

        Returns:
            The step, its state as nested dicts of NumPy arrays of any shape, and its config; or
                None if no step verifies.

        Raises:
            StorageError: a newer version wrote it, or it verifies but cannot be read.
        """
        found = self._newest()
        if found is None:
            return None
        with self._reading(found) as path, _one_voice():
            _check_arrays(path)
            loaded = self._load(path, None)
        return Restored(found, loaded.state, loaded.config)

    def _newest(self) -> int | None:
        self.wait()
        self._refuse_links()
        faults = []
        found = None
        for step in self._present():
            reason = self._fault(self._directory / str(step))
            if reason is None:
                found = step
                break
            faults.append((step, reason))
        if faults:
            self._report(faults, found)
        return found

    def steps(self) -> list[int]:
        """The steps, scalars, that verify now, ascending."""
        self.wait()
        newest_first = self._present()
        return [s for s in reversed(newest_first) if self._fault(self._directory / str(s)) is None]

    def _fault(self, path: pathlib.Path) -> str | None:
        return _fault(path, self._owner)

    def _present(self) -> list[int]:
        """All entries named like a step, newest first, verified or not."""
        if not self._directory.is_dir():
            return []
        names = os.listdir(self._directory)
        return sorted((int(n) for n in names if _is_step(n)), reverse=True)

    def _refuse_links(self) -> None:
        damaged = self._directory.parent / "damaged"
        for path in (self._directory, self._directory / _STAGING, damaged):
            if path.is_symlink():
                raise StorageError(
                    f"{path} is a symbolic link: checkpoints stay inside their run directory; "
                    "replace it by a directory"
                )

    def _write(self, staged: pathlib.Path, step: int, state: Any, config: dict) -> None:
        ocp, pieces = _import_orbax(), _in_pieces()
        described, digests, shapes = _describe(state), pieces.digests(state), _on_host(state)
        self._orbax.save(
            staged,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(state), config=ocp.args.JsonSave(config)
            ),
        )
        del state  # while it is read back, its digests represent it
        release()
        if not self._has(digests, staged, shapes):
            raise OSError(errno.EIO, "what was read back differs from what was written")
        files = {
            name: {"bytes": size, "sha256": digest}
            for name, size, digest in _measure(staged, durable=True)
        }
        manifest = {
            "schema": _SCHEMA,
            "step": step,
            "state": described,
            "files": files,
        }
        manifest |= {"run": self._owner} if self._owner else {}
        with open(staged / _MANIFEST, "wb") as file:
            file.write(_encode(manifest))
            file.flush()
            os.fsync(file.fileno())
        for folder, _, _ in os.walk(staged, topdown=False):
            disk.sync_folder(folder)

    def _has(self, digests: list[bytes], path: pathlib.Path, shapes: Any) -> bool:
        """Whether the arrays of a step have the digests; reads it in pieces."""
        return all(
            _in_pieces().digests(jax.tree.leaves(self._load(path, asked).state)[part])
            == digests[part]
            for part, asked in _in_pieces().parts(shapes)
        )

    def _load(self, path: pathlib.Path, host_target: Any) -> Any:
        """Reads the state and the config of a step; None instead of a target reads all arrays.

        Args:
            path: its directory.
            host_target: pytree of NumPy arrays of any shape, with Orbax's placeholder for those
                that are not read.
        """
        ocp = _import_orbax()
        return self._orbax.restore(
            path,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeRestore(host_target), config=ocp.args.JsonRestore()
            ),
        )

    def _read(self, step: int, target: Any) -> Restored:
        with self._reading(step) as path:
            saved = json.loads((path / _MANIFEST).read_bytes())["state"]
        wanted = _describe(target)
        differing = sorted(k for k in saved.keys() | wanted.keys() if saved.get(k) != wanted.get(k))
        if differing:
            name = differing[0]
            more = f" (and {len(differing) - 1} more differ)" if len(differing) > 1 else ""
            raise StorageError(
                f"checkpoint {step} in {self._shown} holds {name} {saved.get(name, 'not at all')}, "
                f"this program needs {wanted.get(name, 'none of it')}{more}: "
                "use the version and flags that wrote it, or another `workdir`"
            )
        with self._reading(step):
            _check_arrays(path)
            # Read to the host first: the devices that wrote the step may not exist here.
            wanted, structure = jax.tree.flatten(target)
            placed, config = [], {}
            for part, asked in _in_pieces().parts(_on_host(target)):
                loaded = self._load(path, asked)
                values = jax.tree.leaves(loaded.state)[part]
                # the copies are complete before what was read is freed
                placed += jax.block_until_ready(list(map(_place, wanted[part], values)))
                config = loaded.config
                del loaded, values
        return Restored(step, structure.unflatten(placed), config)

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[pathlib.Path]:
        try:
            yield self._directory / str(step)
        except Exception as error:
            raise StorageError(
                f"checkpoint {step} in {self._shown} verifies but cannot be read "
                f"({_one_line(error)}): use the versions named in env.json"
            ) from error

    def _delete_old(self, held: int, staging: int) -> None:
        kept = 0
        for step in self._present():
            path = self._directory / str(step)
            if kept < self._keep:
                kept += self._fault(path) is None
            else:
                # Renamed first: an interrupted deletion leaves no partial step behind.
                os.rename(path.name, path.name, src_dir_fd=held, dst_dir_fd=staging)

    def _set_aside(self, paths: list[pathlib.Path]) -> str:
        """Moves damaged steps away and says where to; in a read-only run they stay."""
        if not self._sets_aside:
            return ""
        above = self._directory.parent
        try:
            with (
                disk.folder(above, [self._directory.name]) as held,
                disk.folder(above, ["damaged"], make=True) as damaged,
            ):
                for path in paths:
                    disk.set_aside(path.name, held, damaged)
        except OSError:
            return ""
        return f" (what was damaged is kept in {self._shown.parent / 'damaged'})"

    def _report(self, faults: list[tuple[int, str]], found: int | None) -> None:
        named = ", ".join(f"{step} failed verification ({reason})" for step, reason in faults)
        if found is None:
            outcome = "no earlier one verifies: starting from the beginning"
        else:
            outcome = f"resuming from {found}, {faults[0][0] - found} steps repeated"
        kept = self._set_aside([self._directory / str(step) for step, _ in faults])
        self._warn(f"checkpoint {named}; {outcome}{kept}")

    def _explain(self, step: int, needed: int, error: Exception) -> str:
        place = next(p for p in (self._directory, *self._directory.parents) if p.exists())
        free = shutil.disk_usage(place).free
        return (
            f"checkpoint {step} could not be saved in {self._shown} ({_one_line(error)}): it needs "
            f"about {needed} bytes, {free} are free; earlier checkpoints are intact, "
            "remove the cause and run the same command again"
        )


def _import_orbax() -> Any:
    """The module, imported on first use: it takes a third of the import time of JAX."""
    import orbax.checkpoint

    _ignore_closed_loops()
    return orbax.checkpoint


@functools.cache
def _ignore_closed_loops() -> None:
    """Silences callbacks of TensorStore that come after the event loop of a failed call; once."""
    told = sys.unraisablehook

    def tell(unraisable):
        if "Event loop is closed" not in str(unraisable.exc_value):
            told(unraisable)

    sys.unraisablehook = tell


def _in_pieces() -> Any:
    """The module `pieces`, which imports Orbax."""
    _import_orbax()
    from vae_jax.storage import pieces

    return pieces


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
    """Silences Orbax's threads and logs: its errors are raised again, as one line.

    After an error they stay silent, because pending writes of TensorStore fail later.
    """
    hook, level, told = threading.excepthook, logging.root.manager.disable, sys.unraisablehook

    def tell_of_main_thread(unraisable):
        if threading.current_thread() is threading.main_thread():
            told(unraisable)

    threading.excepthook, sys.unraisablehook = lambda arguments: None, tell_of_main_thread
    logging.disable(logging.CRITICAL)
    try:
        yield
        sys.unraisablehook = told
    except BaseException:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(_is_of_others)
        raise
    finally:
        threading.excepthook = hook
        logging.disable(level)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Whether a log record is neither from Orbax nor about a future without a reader."""
    return "orbax" not in record.pathname and "never retrieved" not in str(record.msg)


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _describe(tree: Any) -> dict[str, str]:
    """Maps the path of each leaf to its dtype and shape, as `float32[784,400]`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}[{','.join(str(n) for n in leaf.shape)}]"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _on_host(tree: Any) -> Any:
    """Arrays of the shapes and dtypes of a tree's, which take no memory until they are written."""
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)


def _check_arrays(path: pathlib.Path) -> None:
    """Raises `ValueError` unless arrays have the shapes of the step's manifest, and fit in memory.

    A file may claim any shape, and its reader would allocate memory for it.
    """
    named = json.loads((path / _MANIFEST).read_bytes())["state"]
    stored = _import_orbax().StandardCheckpointHandler().metadata(path / "state").tree
    if _describe(stored) != named:
        raise ValueError("its arrays are not of the shapes that its manifest names")
    if any(leaf.storage.chunk_shape != leaf.shape for leaf in jax.tree.leaves(stored)):
        raise ValueError("its arrays are parted, which this program does not write")
    num_bytes = sum(math.prod(s.shape) * s.dtype.itemsize for s in jax.tree.leaves(stored))
    if num_bytes > limit_bytes():
        raise ValueError(
            f"it takes {num_bytes:,} bytes, reading may take {limit_bytes():,} of memory here"
        )


def _place(wanted: Any, value: np.ndarray) -> jax.Array:
    # A new array is not committed to a device. A restored one must not be either, unless requested,
    # or the resumed program would compile differently.
    bound = isinstance(wanted, jax.ShapeDtypeStruct) and wanted.sharding is not None
    return jax.device_put(value, wanted.sharding) if bound else jnp.array(value)


def _encode(manifest: dict) -> bytes:
    """Adds the manifest's own SHA-256; equal content gives equal bytes."""
    body = json.dumps(manifest, sort_keys=True).encode()
    sealed = manifest | {"sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(sealed, sort_keys=True, indent=1).encode() + b"\n"


def _unseal(raw: bytes) -> dict:
    try:
        sealed = json.loads(raw)
        body = {key: value for key, value in sealed.items() if key != "sha256"}
        if _encode(body) == raw and sealed.keys() >= {"schema", "step", "state", "files", "sha256"}:
            return sealed
    except (ValueError, AttributeError, RecursionError):
        pass
    raise _DamageError(f"{_MANIFEST}: damaged")


def _measure(
    root: pathlib.Path, prefix: str = "", *, durable: bool = False
) -> Iterator[tuple[str, int, str]]:
    """Yields name, size and SHA-256 of every file below `root`, synced first if `durable`."""
    for path in sorted(root.iterdir()):
        if path.name in disk.LEFT_BY_BROWSERS:
            continue
        name = prefix + path.name
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _measure(path, f"{name}/", durable=durable)
            continue
        if not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
            raise _DamageError(f"{name}: is {kind}")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            if durable:
                os.fsync(file.fileno())
            yield (
                name,
                os.fstat(file.fileno()).st_size,
                hashlib.file_digest(file, "sha256").hexdigest(),
            )


def _fault(path: pathlib.Path, owner: str | None) -> str | None:
    """Describes what is wrong with a step directory of a run; None if it verifies."""
    try:
        _verify(path, owner)
    except _DamageError as damage:
        return str(damage)
    except (AttributeError, KeyError, TypeError):  # sealed, but not by us
        return f"{_MANIFEST}: malformed"
    except OSError as error:
        if error.errno in _NOT_DAMAGE:
            remedy = "make it readable" if isinstance(error, PermissionError) else "try again"
            raise StorageError(f"{path} cannot be read ({_one_line(error)}): {remedy}") from None
        return _one_line(error)
    return None


def _verify(path: pathlib.Path, owner: str | None) -> None:
    if path.is_symlink() or not path.is_dir():
        raise _DamageError("not a directory")
    found = {name: (size, digest) for name, size, digest in _measure(path)}
    if found.pop(_MANIFEST, None) is None:
        raise _DamageError(f"{_MANIFEST}: missing")
    manifest = _unseal((path / _MANIFEST).read_bytes())
    if manifest["schema"] > _SCHEMA:
        raise StorageError(
            f"{path} was written by a newer vae_jax (schema {manifest['schema']}, this one reads "
            f"up to {_SCHEMA}): upgrade vae_jax, or choose another `workdir`"
        )
    if owner is not None and manifest.get("run", "") != owner:
        raise _DamageError("it is of another run")
    if manifest["step"] != int(path.name):
        raise _DamageError(f"{_MANIFEST}: of step {manifest['step']}")
    for name, expected in manifest["files"].items():
        if name not in found:
            raise _DamageError(f"{name}: missing")
        size, digest = found.pop(name)
        if size != expected["bytes"]:
            raise _DamageError(f"{name}: {size} bytes instead of {expected['bytes']}")
        if digest != expected["sha256"]:
            raise _DamageError(f"{name}: SHA-256 differs")
    if found:
        raise _DamageError(f"{min(found)}: not in {_MANIFEST}")


def _one_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
