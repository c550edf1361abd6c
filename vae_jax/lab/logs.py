"""The loggers of a program: each of its runs has a log of its own, by every logger asked for."""

import contextlib
from collections.abc import Sequence
from typing import Any

from vae_jax import loggers
from vae_jax.lab import build as building
from vae_jax.lab.config import spell
from vae_jax.lab.settings import Config
from vae_jax.storage import seals

__all__ = ["Logs", "asked", "require"]


def asked(config: Config) -> tuple[str, ...]:
    """The names of the loggers that a config asks for."""
    own = ("tensorboard",) if config.tensorboard else ()
    return tuple(dict.fromkeys([*(config.loggers or ()), *own]))


def require(config: Config) -> None:
    """Raises UsageError unless the packages of the loggers are installed."""
    for name in asked(config):
        loggers.load(name).require()


class Logs:
    """Passes the rows of epochs on to the logs of their runs.

    Rows that `metrics.csv` has and a log lacks are written to it first, so that a log is whole
    even if it began, or failed, in the middle of the training.

    Args:
        run: the open run.
        experiment: the program.
    """

    def __init__(self, run, experiment: building.Experiment):
        self._run = run
        self._logs = [
            [_log(name, run, experiment, member) for name in asked(experiment.config)]
            for member in range(len(experiment.configs))
        ]
        self._open = contextlib.ExitStack()

    def rows(self, rows: Sequence[dict[str, Any]], examples_per_second: float | None) -> None:
        """Writes the rows of an epoch that ended, one per run in training."""
        del examples_per_second
        for row in rows:
            own = {name: value for name, value in row.items() if name != "run"}
            for log in self._logs[row.get("run", 0)]:
                log.log(own)

    def __enter__(self) -> "Logs":
        for log in (log for logs in self._logs for log in logs):
            log.begin(resumes=self._run.resumed)
            self._open.callback(log.close)
        self.rows(self._run.rows(), None)
        return self

    def __exit__(self, *exception) -> None:
        """Closes the logs."""
        self._open.close()


def _log(name: str, run, experiment: building.Experiment, member: int) -> loggers.Logger:
    """The log of one run, in a folder of its own."""
    own = () if experiment.is_single else (str(member),)
    config, directory = experiment.configs[member], run.directory
    is_of_sweep = directory.parent.name == "programs"
    group = directory.parents[1].name if is_of_sweep else directory.name if own else None
    return loggers.load(name)(
        run.path(name, *own),
        name=_differing(experiment.configs, config) if own else directory.name,
        settings=seals.plain(config.requested()),
        group=group,
        warn=lambda line: run.log(line, echo=True),
    )


def _differing(configs: Sequence[Config], config: Config) -> str:
    """The settings in which a run differs from the others of its program."""
    each = [other.requested() for other in configs]
    own = config.requested()
    return ",".join(
        f"{name}={spell(value)}"
        for name, value in own.items()
        if any(other.get(name) != value for other in each)
    )
