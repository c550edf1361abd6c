"""The progress line in a terminal or a notebook, which is rewritten as training goes on."""

import importlib.util
import math
import statistics
import sys
import time

from vae_jax import console

__all__ = ["LiveLine", "live_line", "terms"]


class LiveLine:
    """One line of a terminal or a notebook, rewritten and fitted to the current width.

    The time left is always shown, and as much of the rest as fits. Other output is printed above
    it.

    Args:
        console: a rich console.
        num_epochs: the number of epochs, a scalar.
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
        """Shows the progress of training, at most ten times a second."""
        told = {"completed": epoch, "description": words, "left": left}
        self._progress.update(self._task, **told)
        now = time.perf_counter()
        if now - self._shown > 0.1:
            self._progress.start()
            self._progress.refresh()
            self._shown = now

    def end(self) -> None:
        """Shows the last state; later output is printed below it."""
        self._progress.refresh()
        self._progress.stop()


def live_line(num_epochs: int) -> LiveLine | None:
    """A progress line, or None if the output cannot be rewritten.

    It follows the environment as rich does, for instance `TERM=dumb` and `NO_COLOR`.
    """
    is_notebook = "ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None
    if not (is_notebook or sys.stdout.isatty()):
        return None
    from rich.console import Console

    class VisibleCursor(Console):
        def show_cursor(self, show=True):
            # a killed process could not show a hidden cursor again
            return False

    console = VisibleCursor(file=_Terminal(sys.stdout))
    is_live = console.is_jupyter if is_notebook else console.is_interactive
    return LiveLine(console, num_epochs) if is_live else None


class _Terminal:
    """A stream that ignores a closed pipe: see `console.put`."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        console.put(text, self._stream)
        return len(text)

    def flush(self) -> None:
        """Does nothing: `put` flushes."""


def terms(rows: list[dict]) -> tuple[list[str], list[str]]:
    """The results of an epoch from rows of scalars: the loss as a sum, most important first."""
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
    """The minimum, the median and the maximum over the runs of a sweep."""
    name = next(n for n in ("valid_elbo", "elbo", "loss") if n in rows[0])
    values = sorted(row[name] for row in rows)
    middle = statistics.median(values)
    words = f"{name.replace('_', ' ')} from {values[0]:.2f} to {values[-1]:.2f}"
    return f"{len(rows)} runs, {words}, median {middle:.2f}"
