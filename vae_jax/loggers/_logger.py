"""What all loggers do: no row twice, none after a failure, nothing that ends the training."""

import abc
import contextlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vae_jax import console
from vae_jax.errors import StorageError, UsageError, first_line

__all__ = ["Logger"]

_STATE = "logger.json"


def _warn(line: str) -> None:
    console.say(line, is_error=True)


class Logger(abc.ABC):
    """A log of the metrics of one training, one row (scalars) after each epoch.

    A training that resumes continues its log: a row whose step the log has is not written again.
    If logging fails, one line says so and the training goes on without it.

    Args:
        directory: folder of this log alone. It holds the log, or which log of a server it is.
        name: name of the run in the log; None is the name of the folder.
        settings: settings of the run, to be shown beside its metrics.
        group: name of the sweep that the run belongs to, or None.
        warn: prints the line about a failure.

    Attributes:
        package: name of the Python package that it needs, or None.

    Raises:
        UsageError: the package is not installed; the message names the extra.
    """

    package: ClassVar[str | None] = None

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        group: str | None = None,
        warn: Callable[[str], None] = _warn,
    ):
        self.require()
        self.directory = pathlib.Path(os.path.abspath(directory))
        self.name = name or self.directory.name
        self.settings = dict(settings or {})
        self.group = group
        self._warn = warn
        self._last: int | None = None  # the newest step of the open log
        self._resumes, self._has_failed = False, False

    @classmethod
    def require(cls) -> None:
        """Raises UsageError unless the package of this logger is installed."""
        name = cls.__module__.rpartition(".")[2]
        if cls.package is not None and importlib.util.find_spec(cls.package) is None:
            raise UsageError(
                f"loggers={name}: its package {cls.package} is not installed: pip install "
                f"'vae_jax[{name}]', or EXTRAS={name} ./launch.sh …"
            )

    def begin(self, *, resumes: bool) -> None:
        """Says whether the training goes on with an earlier log, before its first row.

        Args:
            resumes: False starts a new log.
        """
        self._resumes = resumes

    def log(self, row: Mapping[str, Any]) -> None:
        """Writes the row of an epoch, scalars by name, unless the log has its step already."""
        if self._has_failed:
            return
        # `fit` imports this module on systems without POSIX too
        from vae_jax.storage import files

        try:
            if self._last is None:
                files.make_folder(self.directory)
                self._last = self._open(is_new=not self._resumes)
            if row["step"] > self._last:
                self._write(row)
                self._last = row["step"]
        except Exception as error:
            self._fail(error, f"at step {row['step']}")

    def __call__(self, epoch: Any) -> None:
        """Writes the row of a `fitting.Epoch`, with arrays of any shape, of which it keeps none."""
        if self._last is None:
            self.begin(resumes=epoch.epoch > 1)
        self.log({"step": epoch.step, **epoch.metrics})

    def close(self) -> None:
        """Closes the log, which the next row opens again; it is not an error if it is closed."""
        is_open, self._last = self._last is not None, None
        if not is_open or self._has_failed:
            return
        try:
            self._close()
        except Exception as error:
            self._fail(error, "as it was closed")

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fail(self, error: Exception, where: str) -> None:
        self._has_failed = True
        what = type(self).__name__
        told = f"{type(error).__name__}: {first_line(error)}"
        self._warn(f"{what} failed {where} ({told}): the training goes on without this log")
        with contextlib.suppress(Exception):
            self._close()

    def _kept(self) -> dict[str, Any]:
        """What `_keep` kept; {} if there is nothing."""
        from vae_jax.storage import files

        try:
            held = files.read_json(files.inside(self.directory, _STATE))
        except (FileNotFoundError, StorageError):
            return {}
        return held if isinstance(held, dict) else {}

    def _keep(self, **state: Any) -> None:
        """Keeps plain values about the log in its folder."""
        from vae_jax.storage import files

        files.write_json(self.directory / _STATE, state, root=self.directory)

    @abc.abstractmethod
    def _open(self, *, is_new: bool) -> int:
        """Opens the log, a new one or the earlier one; returns its newest step or 0."""

    @abc.abstractmethod
    def _write(self, row: Mapping[str, Any]) -> None:
        """Writes a row, scalars by name, with `step` and `epoch`."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Ends the log; what was written to it stays."""


def step_of(state: Mapping[str, Any]) -> int:
    """The step (a scalar) in what a logger kept; 0 if there is none."""
    step = state.get("step")
    return step if type(step) is int and step >= 0 else 0


def tagged(row: Mapping[str, Any]) -> dict[str, float]:
    """The scalars of a row by tag: `elbo/train`, `elbo/valid`; without step, run, empty cells."""
    values = {}
    for name, value in row.items():
        if name in ("run", "step") or not isinstance(value, int | float):
            continue
        split = "valid" if name.startswith("valid_") else "train"
        values[f"{name.removeprefix('valid_')}/{split}"] = float(value)
    return values
