"""How training goes: a line on the terminal or in the log, and scalars for TensorBoard.

And how an evaluation goes that takes long: a line on stderr.
"""

import contextlib
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator

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

    def rows(self, rows: list[dict], examples_per_second: float | None) -> None:
        """Takes the rows of an epoch that ended, one for each run that trains."""
        del examples_per_second
        for row in rows:
            suffix = f"/run {row['run']}" if "run" in row else ""
            for name, value in row.items():
                split = "valid" if name.startswith("valid_") else "train"
                tag = f"{name.removeprefix('valid_')}/{split}{suffix}"
                if name not in ("run", "step"):
                    self._writer.add_scalar(tag, value, row["step"])

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
        self._num_runs = len(experiment.configs)
        self._steps_per_epoch = experiment.train.steps_per_epoch
        self._seconds_between = seconds_between
        self._is_terminal = sys.stdout.isatty()
        self._printed = time.perf_counter()
        self._last = None

    def rows(self, rows: list[dict], examples_per_second: float | None) -> None:
        """Takes the rows of an epoch that ended, one for each run that trains."""
        if not rows:
            return
        self._last = self._line(rows, examples_per_second)
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

    def _line(self, rows: list[dict], examples_per_second: float | None) -> str:
        row = rows[0]
        terms = [_loss(row)] if len(rows) == 1 else [_spread(rows)]
        if "valid_elbo" in row and len(rows) == 1:
            terms.append(f"valid elbo {row['valid_elbo']:.2f}")
        if "active_units" in row and len(rows) == 1:
            terms.append(f"active {row['active_units']}")
        if examples_per_second:
            steps = (self._num_steps - row["step"]) * self._num_runs
            left = steps * self._batch_size / examples_per_second
            terms += [f"{examples_per_second:,.0f} examples/s", f"{_duration(left)} left"]
        num_epochs = self._num_steps // self._steps_per_epoch
        return f"epoch {row['epoch']}/{num_epochs}: {', '.join(terms)}"


class Watch:
    """Tells on stderr, every half minute, how long something takes and how much is left.

    Args:
        seconds_between: two lines, a scalar.
    """

    def __init__(self, *, seconds_between: float = 30.0):
        self._seconds_between = seconds_between
        self._since = time.perf_counter()
        self._pass: tuple[float, int, int, int] | None = None

    @contextlib.contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watches what is done inside, by the name that the lines give it."""
        ended = threading.Event()
        self._since, self._pass = time.perf_counter(), None

        def tell():
            while not ended.wait(self._seconds_between):
                runs.say(f"{what}: {self.words()}", is_error=True)

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def count(self, blocks, num: int) -> Iterator:
        """The blocks of one pass over `num` examples; each ends with how many of its rows count."""
        done, first = 0, 0
        start = time.perf_counter()
        for block in blocks:
            yield block
            done += block[-1]
            if not first:
                # the first compiles, and is no measure of the rest where there is a second
                first, start = done, time.perf_counter()
            self._pass = start, first, done, num
        self._pass = None

    def words(self) -> str:
        """As `1:30 so far, 4,000 of 10,000 examples, 2:10 left`."""
        now = time.perf_counter()
        words = f"{_duration(now - self._since)} so far"
        if self._pass is None:
            return words
        start, first, done, num = self._pass
        words += f", {done:,} of {num:,} examples"
        if done > first:
            words += f", {_duration((num - done) * (now - start) / (done - first))} left"
        return words


def _spread(rows: list[dict]) -> str:
    """The least, the median and the greatest of what the runs of a sweep have reached."""
    name = next(n for n in ("valid_elbo", "elbo", "loss") if n in rows[0])
    values = sorted(row[name] for row in rows)
    middle = statistics.median(values)
    words = f"{name.replace('_', ' ')} from {values[0]:.2f} to {values[-1]:.2f}"
    return f"{len(rows)} runs, {words}, median {middle:.2f}"


def _loss(row: dict) -> str:
    """The loss, as the sum that it is where it is one."""
    terms = [f"{name} {row[name]:.2f}" for name in ("distortion", "rate") if name in row]
    if "beta" in row and len(terms) == 2 and not row.get("free_bits"):
        return f"loss {row['loss']:.2f} = {terms[0]} + {row['beta']:g}·{terms[1]}"
    return ", ".join([f"loss {row['loss']:.2f}", *terms])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
