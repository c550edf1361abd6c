"""How training goes: a line on the terminal or in the log, and scalars for TensorBoard.

And how an evaluation goes that takes long: a line on stderr.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

from vae_jax import console
from vae_jax.errors import UsageError
from vae_jax.live import duration, live_line, terms

__all__ = [
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
            "`tensorboard=True`: tensorboardX is not installed: pip install "
            "'vae_jax[tensorboard]', or EXTRAS=test,tensorboard ./launch.sh …"
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
            left = [f"{duration(num_left / examples_per_second)} left"]
        of_sum, parts = terms(rows)
        told = ", ".join([*of_sum, *speed, *left])
        self._last = f"epoch {row['epoch']}/{self._num_epochs}: {told}"
        if self._live is not None:
            self._live.show(row["epoch"], ", ".join([parts[0], *speed, *parts[1:]]), *left)
        if time.perf_counter() - self._logged >= self._seconds_between:
            self._log()

    def _log(self) -> None:
        self._run.log(self._last, echo=self._live is None)
        self._logged, self._last = time.perf_counter(), None


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
        words = f"{duration(now - self._since)} so far"
        if self._pass is None:
            return words
        start, first, done, num = self._pass
        words += f", {done:,} of {num:,} examples"
        if done > first:
            words += f", {duration((num - done) * (now - start) / (done - first))} left"
        return words
