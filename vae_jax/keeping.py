"""Checkpoints of one training from Python in a directory: ownership, and when to save."""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import time
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vae_jax.errors import LockedError, StorageError, UsageError
from vae_jax.storage import files, locks
from vae_jax.storage.checkpoints import Checkpoints

__all__ = ["NAME", "Keeper", "sha256_of", "spelled"]

NAME = "fit.json"
"""The file that identifies the training of a directory."""
_SECONDS = 5.0
"""Minimum time between two checkpoints, in seconds."""
_SHARE = 50
"""Minimum time between two checkpoints, relative to the time of a save: saves take at most 2 %."""


class Keeper:
    """Saves the state of a training, arrays of any shape, and restores the newest valid one.

    Only one process can use a directory: another is refused until this keeper is closed.

    Args:
        directory: created if it does not exist.
        settings: everything that decides the training, see `spelled`.
        unused: names of settings that decide nothing in this training.

    Raises:
        LockedError: another process uses the directory.
        UsageError: the directory holds something else, or a different training.
        StorageError: it cannot be written.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        settings: Mapping[str, Any],
        unused: Collection[str] = (),
    ):
        self._directory = pathlib.Path(directory)
        self._settings = dict(settings)
        self._unused = unused
        self._saved: int | None = None
        self._at = time.perf_counter()

    def __enter__(self) -> "Keeper":
        if self._directory.exists() and not self._directory.is_dir():
            raise UsageError(f"checkpoint={self._directory}: is a file: name a directory")
        is_new = not (self._directory / NAME).exists()
        if is_new and self._directory.exists() and any(self._directory.iterdir()):
            raise UsageError(
                f"checkpoint={self._directory}: is not empty and holds no training of fit: name "
                "another directory"
            )
        with _named_as_in_fit(), contextlib.ExitStack() as stack:
            files.make_folder(self._directory)
            if is_new:
                files.write_json(self._directory / NAME, {"settings": self._settings})
            lock = self._locked()
            stack.callback(os.close, lock)
            locks.sign(lock, self._directory)
            owner = hashlib.sha256(_text(self._held()).encode()).hexdigest()
            store = Checkpoints(self._directory / "checkpoints", owner=owner)
            self._store = stack.enter_context(store)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _locked(self) -> int:
        """The lock of the directory; raises LockedError if another process holds it."""
        try:
            return locks.locked(self._directory / locks.NAME, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except LockedError as error:
            raise LockedError(
                f"checkpoint={self._directory}: {error}: wait until that fit has ended, or name "
                "another directory"
            ) from None

    def _held(self) -> dict[str, Any]:
        """The settings of the directory; raises UsageError if those of this training differ."""
        held = files.read_json(self._directory / NAME)
        held = held.get("settings", {}) if isinstance(held, dict) else {}
        asked = json.loads(_text(self._settings))
        names = sorted((held.keys() | asked.keys()) - set(self._unused))
        differing = [name for name in names if held.get(name) != asked.get(name)]
        if not differing:
            return held
        name = differing[0]
        before, now = _readable(held.get(name)), _readable(asked.get(name))
        more = f" (and {', '.join(differing[1:4])} differ)" if differing[1:] else ""
        told = f"{name}={_short(before)}, this one has {_short(now)}{more}"
        if not differing[1:] and _is_shape(held.get(name), asked.get(name)):
            raise UsageError(
                f"checkpoint={self._directory}: is of a training with {told}: a schedule over the "
                f"whole run changes with epochs: give {name}={before!r} to go on with that one, "
                "or name another directory"
            )
        raise UsageError(
            f"checkpoint={self._directory}: is of a training with {told}: name another directory, "
            "or give the same settings and data"
        )

    def restore(self, target: Any) -> tuple[int, Any, list[dict]] | None:
        """(step, state as NumPy, history), or None if no checkpoint passes verification.

        Args:
            target: shapes and dtypes of the state, a pytree of [R, …].
        """
        with _named_as_in_fit():
            restored = self._store.restore(target)
        if restored is None:
            return None
        self._saved = restored.step
        return (
            restored.step,
            jax.tree.map(np.asarray, restored.state),
            restored.config["history"],
        )

    def save(self, step: int, read: Callable[[], Any], history: list[dict]) -> None:
        """Saves the state unless this step is saved; returns when it is durable.

        Args:
            step: a scalar.
            read: returns the state, a pytree of NumPy arrays of any shape.
            history: rows so far.
        """
        if step != self._saved:
            with _named_as_in_fit():
                self._store.save(step, read(), {"history": history})
            self._at, self._saved = time.perf_counter(), step

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save for another one."""
        share = _SHARE * self._store.save_seconds
        return time.perf_counter() - self._at >= max(_SECONDS, share)


@contextlib.contextmanager
def _named_as_in_fit() -> Iterator[None]:
    """Names the directory in an error of the storage by the argument that `fit` has for it."""
    try:
        yield
    except StorageError as error:
        raise StorageError(str(error).replace("`workdir`", "`checkpoint`")) from error.__cause__


def spelled(value: Any) -> Any:
    """A setting as plain JSON, equal for equal settings; arrays of any shape by their hash.

    A function that is made at run time, such as a lambda or one of optax's transformations, is
    identified by its name, its code and the values in its closure; an object that can be called by
    its attributes. A function of a module is identified by its name only.
    """
    return _spelled(value, ())


def _spelled(value: Any, above: tuple[int, ...]) -> Any:
    """See `spelled`; `above` are the identities of the values that hold this one."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, np.generic):
        return _spelled(value.item(), above)
    if isinstance(value, np.ndarray | jax.Array):
        return sha256_of(value)
    if id(value) in above:
        return "…"  # a function that calls itself holds itself
    spell = functools.partial(_spelled, above=(*above, id(value)))
    if isinstance(value, Mapping):
        return {str(name): spell(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [spell(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (f.name for f in dataclasses.fields(value) if f.name not in ("parent", "name"))
        own = {name: spell(getattr(value, name, None)) for name in fields}
        return {"class": type(value).__qualname__, **own}
    if callable(value) and not isinstance(value, type):
        return _spelled_callable(value, spell)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value) if isinstance(value, np.dtype) else type(value).__qualname__


def _spelled_callable(value: Any, spell: Callable) -> Any:
    """A function, a method, a partial application, or an object that can be called."""
    if isinstance(value, functools.partial | jax.tree_util.Partial):
        return [spell(value.func), spell(value.args), spell(value.keywords)]
    if isinstance(value, types.MethodType):
        return [spell(value.__func__), spell(value.__self__)]
    if hasattr(value, "__wrapped__"):  # of `jax.jit`, `functools.wraps`
        return [type(value).__qualname__, spell(value.__wrapped__)]
    if not isinstance(value, types.FunctionType):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return [name, spell(getattr(value, "__dict__", {}))]
    name = f"{value.__module__}.{value.__qualname__}"
    if "<" not in value.__qualname__:
        return name
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    held = [cells, value.__defaults__, value.__kwdefaults__]
    return [name, hashlib.sha256(_code(value.__code__)).hexdigest()[:16], spell(held)]


def _code(code: types.CodeType) -> bytes:
    """What a code does, as bytes: its operations, names and constants."""
    constants = b"".join(
        _code(each) if isinstance(each, types.CodeType) else _constant(each).encode()
        for each in code.co_consts
    )
    return code.co_code + " ".join(code.co_names).encode() + constants


def _constant(value: Any) -> str:
    """A constant as text; the order of a set differs from one process to the next."""
    return str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _is_filled(cell: types.CellType) -> bool:
    """Whether a name that a function closes over is bound yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def sha256_of(tree: Any) -> str:
    """The SHA-256 of the arrays of a pytree, of any shapes, in hexadecimal."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


_RAMP = re.compile(
    r"from (?P<start>\S+) to (?P<end>\S+) in (?P<steps>\S+) of (?P<period>\S+) steps "
    r"\(cosine: (?P<is_cosine>\S+)\)"
)
"""A schedule as `fit` spells it in a directory."""


def _readable(value: Any) -> Any:
    """A schedule that was spelled, as a user writes it; other values as they are."""
    found = _RAMP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    start, end, steps, period = (found[n].removesuffix(".0") for n in list(found.groupdict())[:4])
    if float(period) > 0:
        rising = float(steps) / float(period)
        return f"cyclical({start}, {end}, {period}, {rising:g})"
    return f"{'cosine' if float(found['is_cosine']) else 'linear'}({start}, {end}, {steps})"


def _is_shape(before: Any, now: Any) -> bool:
    """Whether two spelled schedules differ in their length alone."""
    pair = [_RAMP.fullmatch(v) if isinstance(v, str) else None for v in (before, now)]
    if pair[0] is None or pair[1] is None:
        return False
    return all(pair[0][name] == pair[1][name] for name in ("start", "end", "is_cosine"))


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}…"
