"""Progress of training: a line on the terminal or in the log; how far long evaluations are."""

import contextlib
import time
from collections.abc import Iterator

from vae_jax import console
from vae_jax.live import live_line, terms

__all__ = [
    "Progress",
    "Watch",
    "live_line",
]


class Progress:
    """Reports the progress of training: a log line every ten seconds, which is also printed.

    On a terminal or in a notebook, a single line is rewritten instead of printing.

    Args:
        run: the open run, for its log.
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
        """Ends the live line; logs the last row unless there was an error."""
        if self._live is not None:
            self._live.end()
        if kind is None and self._last is not None:
            self._log()

    def rows(self, rows: list[dict], examples_per_second: float | None) -> None:
        """Reports the rows of an epoch that ended, one per run in training."""
        if not rows:
            return
        row, speed, left = rows[0], [], []
        if examples_per_second:
            num_left = (self._num_steps - row["step"]) * self._num_runs * self._batch_size
            speed = [f"{examples_per_second:,.0f} examples/s"]
            left = [f"{console.duration(num_left / examples_per_second)} left"]
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
    """What a long evaluation says of itself: the time spent and the time left."""

    def __init__(self):
        self._pass: tuple[float, int, int, int] | None = None

    @contextlib.contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watches the code in the context, under a name; see `console.doing`."""
        self._pass = None
        with console.doing(what, self.words):
            yield

    def count(self, blocks, num: int) -> Iterator:
        """Yields the blocks of one pass over `num` examples; a block ends with its row count."""
        done, first = 0, 0
        start = time.perf_counter()
        for block in blocks:
            yield block
            done += block[-1]
            if not first:
                # the first block includes compilation, so it is not used if there is a second
                first, start = done, time.perf_counter()
            self._pass = start, first, done, num
        self._pass = None

    def words(self) -> str:
        """The progress of the pass as `4,000 of 10,000 examples, 2:10 left`; "" between passes."""
        if self._pass is None:
            return ""
        start, first, done, num = self._pass
        words = f"{done:,} of {num:,} examples"
        if done > first:
            left = (num - done) * (time.perf_counter() - start) / (done - first)
            words += f", {console.duration(left)} left"
        return words
