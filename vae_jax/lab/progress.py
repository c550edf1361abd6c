"""How training goes: a line on the terminal or in the log, and scalars for TensorBoard.

And how an evaluation goes that takes long: a line on stderr.
"""

import contextlib
import importlib.util
import math
import statistics
import sys
import threading
import time
from collections.abc import Iterator

from vae_jax import console
from vae_jax.errors import UsageError

__all__ = [
    "LiveLine",
    "Progress",
    "TensorBoard",
    "Watch",
    "live_line",
    "tensorboard_writer",
]


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

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exception) -> None:
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
    """Tells how training goes: a line in the log every ten seconds, which is printed too.

    On a terminal or in a notebook one line that is rewritten is printed instead.

    Args:
        run: the open run, whose log receives the lines.
        experiment: for the number of steps and their size.
    """

    def __init__(self, run, experiment, *, seconds_between: float = 10.0):
        self._run = run
        self._num_steps = experiment.num_steps
        self._batch_size = experiment.config.batch_size
        self._num_runs = len(experiment.configs)
        self._num_epochs = experiment.num_steps // experiment.train.steps_per_epoch
        self._seconds_between = seconds_between
        self._live = live_line(self._num_epochs)
        self._logged = time.perf_counter()
        self._last = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind, *exception) -> None:
        """Ends the live line; unless something failed, logs the last row."""
        if self._live is not None:
            self._live.end()
        if kind is None and self._last is not None:
            self._log()

    def rows(self, rows: list[dict], examples_per_second: float | None) -> None:
        """Takes the rows of an epoch that ended, one for each run that trains."""
        if not rows:
            return
        row, speed, left = rows[0], [], []
        if examples_per_second:
            num_left = (self._num_steps - row["step"]) * self._num_runs * self._batch_size
            speed = [f"{examples_per_second:,.0f} examples/s"]
            left = [f"{_duration(num_left / examples_per_second)} left"]
        of_sum, terms = _terms(rows)
        told = ", ".join([*of_sum, *speed, *left])
        self._last = f"epoch {row['epoch']}/{self._num_epochs}: {told}"
        if self._live is not None:
            self._live.show(row["epoch"], ", ".join([terms[0], *speed, *terms[1:]]), *left)
        if time.perf_counter() - self._logged >= self._seconds_between:
            self._log()

    def _log(self) -> None:
        self._run.log(self._last, echo=self._live is None)
        self._logged, self._last = time.perf_counter(), None


class LiveLine:
    """One line of a terminal or a notebook, rewritten as wide as that is at the time.

    The time left is always there, and as much of the rest as has room. What is printed meanwhile
    stands above it.

    Args:
        console: of rich.
        num_epochs: a count.
    """

    def __init__(self, console, num_epochs: int):
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        def words(text, **settings):
            column = Column(no_wrap=True, **settings)
            return TextColumn(text, markup=False, table_column=column)

        self._progress = Progress(
            words("epoch {task.completed}/{task.total}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            words("{task.description}", ratio=5, overflow="ellipsis"),
            words("{task.fields[left]}"),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._task = self._progress.add_task("", total=num_epochs, left="")
        self._shown = -math.inf

    def show(self, epoch: int, words: str, left: str = "-:-- left") -> None:
        """Shows how far training is, at most ten times a second."""
        told = {"completed": epoch, "description": words, "left": left}
        self._progress.update(self._task, **told)
        now = time.perf_counter()
        if now - self._shown > 0.1:
            self._progress.start()
            self._progress.refresh()
            self._shown = now

    def end(self) -> None:
        """Shows the last that there was; what is printed next stands below it."""
        self._progress.refresh()
        self._progress.stop()


def live_line(num_epochs: int) -> LiveLine | None:
    """A line that is rewritten, or None if none can be.

    The environment is heeded as rich heeds it, `TERM=dumb` and `NO_COLOR` for instance.
    """
    is_notebook = "ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None
    if not (is_notebook or sys.stdout.isatty()):
        return None
    from rich.console import Console

    class VisibleCursor(Console):
        def show_cursor(self, show=True):
            # a process that is killed could not bring a hidden one back
            return False

    console = VisibleCursor(file=_Terminal(sys.stdout))
    is_live = console.is_jupyter if is_notebook else console.is_interactive
    return LiveLine(console, num_epochs) if is_live else None


class _Terminal:
    """A stream whose reader may go away, which ends nothing: see `console.put`."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        console.put(text, self._stream)
        return len(text)

    def flush(self) -> None:
        """Nothing: `put` does."""


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
                console.say(f"{what}: {self.words()}", is_error=True)

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


def _terms(rows: list[dict]) -> tuple[list[str], list[str]]:
    """What an epoch came to: with the loss as a sum if it is one, and with what matters first."""
    row = rows[0]
    if len(rows) > 1:
        return [_spread(rows)], [_spread(rows)]
    loss = f"loss {row['loss']:.2f}"
    parts = [f"{name} {row[name]:.2f}" for name in ("distortion", "rate") if name in row]
    others = [f"valid elbo {row['valid_elbo']:.2f}"] if "valid_elbo" in row else []
    others += [f"active {row['active_units']}"] if "active_units" in row else []
    of_sum = [loss, *parts]
    if "beta" in row and len(parts) == 2 and not row.get("free_bits"):
        of_sum = [f"{loss} = {parts[0]} + {row['beta']:g}·{parts[1]}"]
    return [*of_sum, *others], [loss, *parts, *others]


def _spread(rows: list[dict]) -> str:
    """The least, the median and the greatest of what the runs of a sweep have reached."""
    name = next(n for n in ("valid_elbo", "elbo", "loss") if n in rows[0])
    values = sorted(row[name] for row in rows)
    middle = statistics.median(values)
    words = f"{name.replace('_', ' ')} from {values[0]:.2f} to {values[-1]:.2f}"
    return f"{len(rows)} runs, {words}, median {middle:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
