"""How training goes: a line on the terminal or in the log, and scalars for TensorBoard."""

import shutil
import sys
import time

from vae_jax import runs
from vae_jax.errors import UsageError


class TensorBoard:
    """Writes rows of metrics as TensorBoard scalars; those after `step` are written again.

    Args:
        directory: of the event files.
        step: where training goes on, scalar.

    Raises:
        UsageError: the extra that brings tensorboardX is not installed.
    """

    def __init__(self, directory, *, step: int):
        self._writer = tensorboard_writer()(str(directory), purge_step=step + 1)

    def row(self, row: dict, examples_per_second: float | None) -> None:
        """Takes the row of an epoch that ended."""
        del examples_per_second
        for name, value in row.items():
            split = "valid" if name.startswith("valid_") else "train"
            self._writer.add_scalar(f"{name.removeprefix('valid_')}/{split}", value, row["step"])

    def close(self) -> None:
        """Flushes what was written."""
        self._writer.close()


def tensorboard_writer():
    """The class that writes events, or a `UsageError` that names the extra which brings it."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError(
            "--tensorboard: tensorboardX is not installed: pip install 'vae_jax[tensorboard]', "
            "or EXTRAS=test,tensorboard ./launch.sh …"
        ) from None
    return SummaryWriter


class Progress:
    """Prints rows of metrics: all of them on a terminal, one every ten seconds elsewhere.

    Args:
        run: the open run, whose log receives each line that is printed.
        experiment: for the number of steps and their size.
    """

    def __init__(self, run, experiment, *, seconds_between: float = 10.0):
        self._run = run
        self._num_steps = experiment.num_steps
        self._batch_size = experiment.config.batch_size
        self._steps_per_epoch = experiment.train.steps_per_epoch
        self._seconds_between = seconds_between
        self._is_terminal = sys.stdout.isatty()
        self._printed = time.perf_counter()
        self._last = None

    def row(self, row: dict, examples_per_second: float | None) -> None:
        """Takes the row of an epoch that ended."""
        self._last = self._line(row, examples_per_second)
        now = time.perf_counter()
        if self._is_terminal:
            # a line that wraps could not be rewritten
            shown = self._last[: shutil.get_terminal_size().columns - 1]
            runs.say(f"\r\x1b[K{shown}", end="")
        elif now - self._printed >= self._seconds_between:
            self._run.log(self._last, echo=True)
            self._printed, self._last = now, None

    def close(self) -> None:
        """Prints the last row, if it was not."""
        if self._is_terminal:
            runs.say("")
        if self._last is not None:
            self._run.log(self._last, echo=not self._is_terminal)
            self._last = None

    def _line(self, row: dict, examples_per_second: float | None) -> str:
        terms = [_loss(row)]
        if "valid_elbo" in row:
            terms.append(f"valid elbo {row['valid_elbo']:.2f}")
        if "active_units" in row:
            terms.append(f"active {row['active_units']}")
        if examples_per_second:
            left = (self._num_steps - row["step"]) * self._batch_size / examples_per_second
            terms += [f"{examples_per_second:,.0f} examples/s", f"{_duration(left)} left"]
        num_epochs = self._num_steps // self._steps_per_epoch
        return f"epoch {row['epoch']}/{num_epochs}: {', '.join(terms)}"


def _loss(row: dict) -> str:
    """The loss, as the sum that it is where it is one."""
    terms = [f"{name} {row[name]:.2f}" for name in ("distortion", "rate") if name in row]
    if "beta" in row and len(terms) == 2 and not row.get("free_bits"):
        return f"loss {row['loss']:.2f} = {terms[0]} + {row['beta']:g}·{terms[1]}"
    return ", ".join([f"loss {row['loss']:.2f}", *terms])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
