"""A line that says how training goes: rewritten in place on a terminal, now and then elsewhere."""

import sys
import time


class Progress:
    """Prints rows of metrics: all of them on a terminal, one every ten seconds elsewhere.

    Args:
        run: the open run, whose log receives each line that is printed.
        experiment: for the number of steps.
        first_step: where this process started.
    """

    def __init__(self, run, experiment, *, first_step: int, seconds_between: float = 10.0):
        self._run = run
        self._num_steps = experiment.num_steps
        self._first_step = first_step
        self._steps_per_epoch = experiment.train.steps_per_epoch
        self._seconds_between = seconds_between
        self._is_terminal = sys.stdout.isatty()
        self._started = time.perf_counter()
        self._printed = self._started
        self._last = None

    def row(self, row: dict, examples_per_second: float | None) -> None:
        """Takes the row of an epoch that ended."""
        self._last = self._line(row, examples_per_second)
        now = time.perf_counter()
        if self._is_terminal:
            print(f"\r\x1b[K{self._last}", end="", flush=True)
        elif now - self._printed >= self._seconds_between:
            self._run.log(self._last, echo=True)
            self._printed, self._last = now, None

    def close(self) -> None:
        """Prints the last row, if it was not."""
        if self._is_terminal:
            print()
        if self._last is not None:
            self._run.log(self._last, echo=not self._is_terminal)
            self._last = None

    def _line(self, row: dict, examples_per_second: float | None) -> str:
        terms = [
            f"{name} {row[name]:.2f}" for name in ("loss", "distortion", "rate") if name in row
        ]
        if "beta" in row:
            terms.insert(1, f"β {row['beta']:g}")
        if "valid_elbo" in row:
            terms.append(f"valid elbo {row['valid_elbo']:.2f}")
        if "active_units" in row:
            terms.append(f"active {row['active_units']}")
        if examples_per_second:
            terms.append(f"{examples_per_second:,.0f} examples/s")
        done = row["step"] - self._first_step
        left = (time.perf_counter() - self._started) / done * (self._num_steps - row["step"])
        terms.append(f"{_duration(left)} left")
        num_epochs = self._num_steps // self._steps_per_epoch
        return f"epoch {row['epoch']}/{num_epochs}: {', '.join(terms)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
