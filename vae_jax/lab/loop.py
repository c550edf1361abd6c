"""The training loop: chunks of steps, epochs, checkpoints, signals."""

import collections
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import jax
import numpy as np

from vae_jax import console, training
from vae_jax.devices import processes
from vae_jax.lab import build as building
from vae_jax.lab import (
    divergence,
    interrupts,
    records,
    resuming,
)
from vae_jax.lab.progress import Progress
from vae_jax.program import (
    Carried,
    end_epoch,
    source,
)

__all__ = [
    "SAVE_SECONDS",
    "SAVE_SHARE",
    "Interrupt",
    "Saver",
    "Stopwatch",
    "run",
]


SAVE_SECONDS = 5.0
"""Default minimum time between two checkpoints, in seconds."""


SAVE_SHARE = 50
"""Minimum time between two checkpoints as a multiple of the time of a save, for large models."""


class Interrupt:
    """Turns signals into requests: the first SIGINT or SIGTERM to stop, SIGUSR1 and 2 to save.

    Each is answered at once, and met between two chunks of steps.
    """

    def __init__(self):
        self.signum = 0
        self.asks_to_save = False
        self._lock = threading.RLock()
        # signals that the handler, that the thread of `interrupts` heard, that were answered
        self._handled, self._heard, self._answered = (collections.Counter() for _ in range(3))

    def __enter__(self):
        signals = (*interrupts.INTERRUPTS, *interrupts.SAVES)
        self._before = {s: signal.signal(s, self._handle) for s in signals}
        self._hearing = interrupts.answered(lambda signum: self._answer(signum, self._heard))
        self._hearing.__enter__()
        return self

    def __exit__(self, *exception):
        self._hearing.__exit__(*exception)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum, frame):
        del frame
        self._answer(signum, self._handled)
        if signum in interrupts.SAVES:
            self.asks_to_save = True
        else:
            self.signum = signum

    def _answer(self, signum: int, known: collections.Counter) -> None:
        """Answers a signal; it is heard twice, in any order, and answered once."""
        with self._lock:
            known[signum] += 1
            if known[signum] <= self._answered[signum]:
                return
            is_second = any(self._answered[other] for other in interrupts.INTERRUPTS)
            self._answered[signum] += 1
            if signum in interrupts.SAVES:
                interrupts.tell(signum, "saving, then going on")
            elif is_second:
                interrupts.tell(signum, "left at once")
                os._exit(128 + signum)
            else:
                interrupts.tell(signum, "saving, then leaving (again to leave at once)")


class Saver:
    """Saves a program's state during training, from all its processes.

    Args:
        experiment: its layout brings the state to the host.
        store: the checkpoints, in the first process.
        saved_step: step of the newest checkpoint, a scalar, or None.
    """

    def __init__(self, experiment: building.Experiment, store, saved_step: int | None):
        self._layout = experiment.layout
        self._seconds = experiment.config.checkpoint_seconds
        self._store = store
        self._at = time.perf_counter()
        self.step = saved_step

    def save(self, step: int, carried: Carried, notes: dict) -> None:
        """Starts to write a checkpoint unless this step has one; it counts only after `wait`."""
        if step != self.step:
            kept = self._layout.read(carried)
            processes.on_first(lambda: self._store.start_save(step, kept, notes))
            self._at, self.step = time.perf_counter(), step

    def wait(self) -> None:
        """Waits until the last save is durable; if it failed, every process ends."""
        processes.on_first(self._store.wait)

    def is_due(self, asked: bool = False) -> bool:
        """Whether all processes save: one was asked for, enough time has passed, or one failed."""
        waited = time.perf_counter() - self._at
        if self._seconds is not None:
            is_due = waited >= self._seconds
        else:
            # do not let the training wait for the previous save
            share = SAVE_SHARE * self._store.save_seconds
            is_due = waited >= max(SAVE_SECONDS, share) and not self._store.is_saving()
        return processes.agree(asked or is_due or self._store.has_failed())


def _chunks(experiment: building.Experiment, chunk, begun: records.Begun, x):
    """Yields the steps done and the state after each chunk, until the last step.

    Args:
        experiment: from `build`.
        chunk: (state, hparams, x, num_steps) to the next state.
        begun: the initial state; there is nothing to do if every run has stopped.
        x: the training data, as `training.train_until` takes it.
    """
    state = begun.carried.state
    if experiment.layout.read(state.stopped).all():
        return iter(())
    return training.train_until(
        chunk,
        state,
        experiment.hparams,
        x,
        first_step=begun.step,
        num_steps=experiment.num_steps,
        steps_per_epoch=experiment.train.steps_per_epoch,
        read=experiment.layout.read,
        agree=processes.agree,
    )


def run(run, experiment: building.Experiment, store, begun: records.Begun) -> records.Ended:
    """Trains until the last step, all runs have stopped, or a signal arrives; saves on the way."""
    training_of = _Training(run, experiment, store, begun)
    with Interrupt() as interrupt:
        with (
            source(experiment) as x,
            _watchers(run, experiment) as tell,
            console.doing("training", training_of.how_far),
        ):
            chunks = _chunks(experiment, training_of.chunk, begun, x)
            _go_on(training_of, chunks, tell, interrupt)
        with console.doing("saving"):
            training_of.finish()
        signum = processes.largest(interrupt.signum)
        if signum:
            run.log(f"interrupted at step {training_of.step}, saved", echo=True)
            sys.exit(128 + signum)
    return training_of.ended()


def _go_on(training_of: "_Training", chunks, tell: Callable, interrupt: Interrupt) -> None:
    """Trains chunks, and saves when it is due, until nothing is left or a signal arrived."""
    for step, state in chunks:
        training_of.take(step, state, tell)
        if training_of.is_over() or processes.largest(interrupt.signum) > 0:
            return
        asked, interrupt.asks_to_save = interrupt.asks_to_save, False
        training_of.save_if_due(asked)


class _Training:
    """The current state of a training: the carried state, its step, the runs that failed.

    Args:
        run, experiment, store, begun: see `run`.
    """

    def __init__(self, run, experiment: building.Experiment, store, begun: records.Begun):
        self._run, self._experiment = run, experiment
        self._carried, self.step, self._failures = begun.carried, begun.step, dict(begun.failures)
        self._first_step = begun.step
        num_examples = len(experiment.dataset.train) * len(experiment.configs)
        per_step = num_examples / experiment.train.steps_per_epoch
        self._clock = Stopwatch(begun.spent, examples_per_step=per_step)
        self._saver = Saver(experiment, store, begun.step if begun.is_resumed else None)
        self._timed = self._clock.timed(experiment.chunk)
        self._snapshots = None
        if experiment.config.snapshots is not None:
            from vae_jax.lab.snapshots import Snapshots  # only runs that ask for it import it

            self._snapshots = Snapshots(run, experiment)
            self._snapshots.take(begun.step, begun.carried.state)

    def chunk(self, _, hparams, x, num_steps):
        """Runs a chunk from the state that `take` left, with its stops and finite sums."""
        return self._timed(self._carried.state, hparams, x, num_steps)

    def take(self, step: int, state, tell: Callable) -> None:
        """Takes the state after a chunk: records failures, and ends the epoch if it is over."""
        self._carried = self._carried._replace(state=state)
        failures = _new_failures(self._experiment, state, self._failures)
        self._failures |= failures
        if self._have_all_failed():
            return  # keep the last checkpoint, which is finite
        self.step = step
        if failures:
            state = self._experiment.drop_sums(state)
            self._carried = self._carried._replace(state=state)
            _log_failures(self._run, self._experiment, failures)
        if step % self._experiment.train.steps_per_epoch == 0:
            rows, self._carried = end_epoch(self._experiment, self._carried, step)
            self._run.append_rows(rows)
            if self._snapshots is not None:
                self._snapshots.take(step, self._carried.state)
            tell(rows, self._clock.spent().examples_per_second)

    def how_far(self) -> str:
        """The step that training is at, in words."""
        if self.step == self._first_step:
            return "compiling"
        return f"step {self.step:,} of {self._experiment.num_steps:,}"

    def _have_all_failed(self) -> bool:
        return len(self._failures) == len(self._experiment.configs)

    def is_over(self) -> bool:
        """Whether no run is left to train."""
        stopped = self._experiment.layout.read(self._carried.state.stopped)
        return self._have_all_failed() or bool(stopped.all())

    def save_if_due(self, asked: bool) -> None:
        """Starts a checkpoint if one is asked for, or the last one is old enough."""
        if self._saver.is_due(asked):
            self._save()

    def finish(self) -> None:
        """Saves the current state, and waits until it is durable."""
        if not self._have_all_failed():
            self._save()
        self._saver.wait()

    def ended(self) -> records.Ended:
        """The end of the training, as a record."""
        return records.Ended(self._carried, self._clock.spent(), self._failures, self._saver.step)

    def _save(self) -> None:
        notes = {**self._clock.spent()._asdict(), "failures": self._failures}
        notes[resuming.ROWS] = self._run.rows_sha256()
        self._saver.save(self.step, self._carried, notes)


@contextlib.contextmanager
def _watchers(run, experiment: building.Experiment):
    """Yields a function that reports an epoch to all watchers: its rows, and the speed."""
    watchers = []
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            watchers.append(stack.enter_context(Progress(run, experiment)))
            if experiment.config.loggers or experiment.config.tensorboard:
                from vae_jax.lab import logs

                watchers.append(stack.enter_context(logs.Logs(run, experiment)))

        def tell(rows, examples_per_second):
            for watcher in watchers:
                watcher.rows(rows, examples_per_second)

        yield tell


def _new_failures(experiment, state: training.State, known: dict) -> dict[str, dict]:
    """The runs that failed since the last check, by index: step, and terms that are not finite."""
    failure, sums = experiment.layout.read((state.failure, state.sums))
    return {
        str(r): {
            "step": int(at),
            "not_finite": [name for name, total in sums.items() if not np.isfinite(total[r])],
        }
        for r, at in enumerate(failure)
        if at >= 0 and str(r) not in known
    }


def _log_failures(run, experiment: building.Experiment, failures: dict[str, dict]) -> None:
    for r, failure in failures.items():
        run.log(divergence.failure_line(experiment, int(r), failure), echo=True)


class Stopwatch:
    """Adds up the time that training takes, and measures its speed without compilation.

    Args:
        spent: time spent by earlier processes of this program.
        examples_per_step: over all runs, N / steps per epoch each, so that padding does not count.
    """

    def __init__(self, spent: records.Spent, *, examples_per_step: float):
        self._before = spent
        self._examples_per_step = examples_per_step
        self._started = time.perf_counter()
        self._num_chunks = self._steps = 0
        self._seconds = 0.0

    def timed(self, chunk):
        """Wraps a chunk function to measure it."""

        def run(state, hparams, x, num_steps):
            start = time.perf_counter()
            state = jax.block_until_ready(chunk(state, hparams, x, num_steps))
            if self._num_chunks:  # the first includes compilation
                self._steps += int(num_steps)
                self._seconds += time.perf_counter() - start
            self._num_chunks += 1
            return state

        return run

    def spent(self) -> records.Spent:
        """The total so far; the speed excludes the first chunk."""
        seconds = self._before.seconds + time.perf_counter() - self._started
        if not self._seconds:
            return records.Spent(seconds, self._before.examples_per_second)
        speed = self._examples_per_step * self._steps / self._seconds
        return records.Spent(seconds, round(speed, 1))
