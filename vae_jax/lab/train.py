"""One program from its `Config`s to its results: load, resume, train, evaluate, draw.

A program trains R runs that differ in numbers only; a run alone is a program with R = 1.
"""

import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import data, objectives, training
from vae_jax.devices import platform as devices
from vae_jax.devices import processes
from vae_jax.errors import DivergedError, UsageError
from vae_jax.lab import build as building
from vae_jax.lab import entry, environment, interrupts, pictures, tables
from vae_jax.lab.config import (
    Config,
    from_flags,
    identity_as_of,
    lasts_a_share,
    refuse_unknown,
    resolve,
    statics_of,
    to_flags,
    with_dataset_of,
)
from vae_jax.lab.progress import Progress, TensorBoard, tensorboard_writer
from vae_jax.program import (
    Carried,
    begin,
    end_epoch,
    latent_use,
    result_params,
    source,
    target,
    with_fillers,
)
from vae_jax.storage import checkpoints, files, members, provenance, runs, seals

__all__ = [
    "DATA_SETTINGS",
    "NUM_RATES",
    "ROWS",
    "SAVE_SECONDS",
    "SAVE_SHARE",
    "UNDRAWN",
    "Begun",
    "Ended",
    "Interrupt",
    "Saver",
    "Spent",
    "Stopwatch",
    "default_workdir",
    "describe",
    "has_ended",
    "holds",
    "identity",
    "load",
    "make_results",
    "prepare",
    "summary",
    "train",
    "workdir_options",
]

DATA_SETTINGS = ("data_dir", "num_valid", "scaling", "loading", "window", "hop", "missing_values")
"""Flags that `data.load` takes under the same names."""
SAVE_SECONDS = 5.0
"""Between two checkpoints where the user names no time, in seconds."""
UNDRAWN = "undrawn.json"
"""Of a run whose result is there and not all of its pictures: name of each → why."""
NUM_RATES = 9
"""Moments before a divergence whose learning rates are looked at, a count."""
ROWS = "metrics_sha256"
"""What a checkpoint says of the rows of `metrics.csv` that were there when it was saved."""
SAVE_SHARE = 50
"""So many times as long as a save takes is left between two, a ratio: where models are large."""


class Spent(NamedTuple):
    """Wall time of a program over all its processes, and the speed of the last one's training."""

    seconds: float = 0.0
    examples_per_second: float | None = None


class Begun(NamedTuple):
    """Where training begins: what is carried [S], what earlier processes spent and saw fail."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    step: int
    is_resumed: bool


class Ended(NamedTuple):
    """Where training ended: what is carried [S], and the newest checkpoint's step or None."""

    carried: Carried
    spent: Spent
    failures: dict[str, dict]
    saved_step: int | None


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a request to stop, so that the loop can save first."""

    def __init__(self):
        self.signum = 0

    def __enter__(self):
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {s: signal.signal(s, self._handle) for s in signals}
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum, frame):
        del frame
        if self.signum:
            interrupts.tell(signum, "left at once")
            os._exit(128 + signum)
        self.signum = signum
        interrupts.tell(signum, "saving, then leaving (again to leave at once)")


def load(config: Config, sha256: str | None = None):
    """The dataset that a `Config` names; what is said of a setting is said of its flag.

    Args:
        config: of a run.
        sha256: what the data must be, see `data.load`; None: what the name says.
    """
    settings = {name: getattr(config, name) for name in DATA_SETTINGS}
    try:
        return data.load(config.dataset, sha256=sha256, **settings)
    except UsageError as error:
        if str(error).partition("=")[0] in settings:
            raise UsageError(f"--{error}") from None
        raise


def train(
    configs: Sequence[Config],
    *,
    workdir: Path | None = None,
    overwrite: bool = False,
    num_data: int | None = None,
    retry_diverged: bool = True,
) -> list[dict]:
    """Trains the runs of one program, or resumes them, or reports those that are complete.

    Args:
        configs: from `vae_jax.lab.config.from_flags`, with equal `program_key`.
        workdir: where the program lives; None means the first one's, or a name by its settings.
        overwrite: archive what the directory holds, and start afresh.
        num_data: devices that share a batch, a count; None leaves the choice.
        retry_diverged: whether a run alone that diverged is tried again.

    Returns:
        The result of each run: for one run alone what `result.json` holds.
    """
    experiment = prepare(configs, num_data=num_data)
    workdir = workdir or configs[0].workdir or default_workdir(configs[0], experiment.dataset.name)
    asked = [dataclasses.replace(config, workdir=str(workdir)) for config in configs]
    with _open(Path(workdir), experiment, overwrite) as run:
        if run.archived is not None:
            run.log(f"the run that was here is now {run.archived}", echo=True)
        results = processes.agree_on_json(
            processes.on_first(lambda: members.read_results(run.directory))
        )
        if _is_complete(results, experiment.num_steps, retry_diverged):
            processes.on_first(lambda: run.log(_told_complete(run, results), echo=True))
            _draw_missing(run, experiment, results)
        else:
            results = _train_in(run, experiment, asked)
        if experiment.is_single:
            run.say(summary(results[0]))
            run.say(f"in {run.directory}: result.json, metrics.csv, plots/")
    return results


def prepare(configs: Sequence[Config], *, num_data: int | None = None) -> building.Experiment:
    """Loads the data of a program and builds it: whatever a user can get wrong is found here.

    Args:
        configs: from `vae_jax.lab.config.from_flags`, with equal `program_key`.
        num_data: devices that share a batch, a count; None leaves the choice.
    """
    if configs[0].tensorboard:
        tensorboard_writer()
    dataset = load(configs[0])
    return building.build([resolve(c, dataset) for c in configs], dataset, num_data=num_data)


def _open(workdir: Path, experiment: building.Experiment, overwrite: bool):
    def as_of(held):
        for settings in (held, *_settings_in(held)):
            refuse_unknown(settings, str(workdir))
        return identity(experiment, held)

    def open_run():
        files.check_space(workdir, _bytes_needed(experiment))
        return runs.open_run(
            workdir,
            identity(experiment),
            as_of=as_of,
            called=environment.CALLED,
            overwrite=overwrite,
        )

    return processes.on_first(open_run) or runs.Follower(workdir)


def identity(experiment: building.Experiment, held: dict | None = None) -> dict:
    """What tells a program from others, as plain JSON values.

    Args:
        experiment: from `prepare`.
        held: what a directory holds; then as the version that wrote it puts the same program, see
            `config.identity_as_of` and `config.with_dataset_of`.
    """
    configs, dataset = experiment.configs, experiment.dataset
    if held is None:
        settings = [config.identity() for config in configs]
    else:
        known = {name: value for each in _settings_in(held) for name, value in each.items()}
        default = resolve(from_flags({"objective": configs[0].objective}), dataset)
        configs = [with_dataset_of(config, known.get("dataset")) for config in configs]
        settings = [identity_as_of(config, known, default) for config in configs]
    found = {"epochs": configs[0].epochs, "data_sha256": dataset.sha256}
    found |= environment.identity()
    found |= settings[0] if experiment.is_single else {"runs": settings}
    if any(map(lasts_a_share, settings)):
        found["epochs_of_schedules"] = configs[0].epochs
    return found


def _settings_in(held: dict) -> list[dict]:
    """The settings of each run that a directory holds."""
    return held.get("runs", [held])


def default_workdir(config: Config, dataset_name: str) -> Path:
    """The readable directory that a run alone is given by its settings."""
    return runs.default_workdir("runs", dataset_name, workdir_options(config))


def workdir_options(config: Config) -> dict[str, Any]:
    """The settings that a readable run directory is named by."""
    default = from_flags({"objective": config.objective}).identity()
    default["objective"] = Config.objective
    chosen = config.identity()
    options = {k: v for k, v in chosen.items() if v != default[k] and k != "dataset"}
    if config.epochs is not None and config.depends_on_epochs():
        options["epochs"] = config.epochs
    return options


def _train_in(run, experiment: building.Experiment, asked: Sequence[Config]) -> list[dict]:
    devices.warn()
    for line in (devices.line(), *describe(experiment)):
        run.log(line, echo=True)
    with _store(run, warn=lambda line: run.log(line, echo=True)) as store:
        begun = _begin(run, experiment, store)
        run.write_config()
        flags = [to_flags(config) for config in asked]
        if experiment.is_single:
            run.write_command([*entry.words("train"), *flags[0]])
        run.write_json("members.json", flags)
        told = {"working_directory": os.getcwd(), "data_sha256": experiment.dataset.sha256}
        told["variables"] = environment.recorded()
        run.write_json("env.json", {**provenance.environment(jax.devices()), **told})
        ended = _loop(run, experiment, store, begun)

    finished = time.perf_counter()
    if len(ended.failures) == len(experiment.configs):
        results = [{"status": "diverged", **ended.failures[str(r)]} for r in range(len(asked))]
    else:
        params = building.frozen(experiment, result_params(ended.carried))
        results = make_results(experiment, ended, params)
    seconds = round(ended.spent.seconds + time.perf_counter() - finished, 3)
    times = {"wall_seconds": seconds, "examples_per_second": ended.spent.examples_per_second}
    results = [{**result, **times} for result in results]
    if _alive(results):
        # before the result: a process that is killed between the two leaves it to the next
        run.write_json(UNDRAWN, {"all": "not drawn yet"})
    sealed = members.sealed_results(results, run.id, run.rows_sha256())
    if experiment.is_single:
        run.write_json("result.json", sealed[0])
    else:
        run.write_json("results.json", sealed)
    if _alive(results):
        _draw(run, experiment, results, params)
        return results
    if not ended.failures:
        raise DivergedError(
            f"the test loss is not finite at step {results[0]['step']}: try "
            f"{_advice(experiment, 'a smaller --learning_rate')}, with another --workdir or "
            "--overwrite"
        )
    raise _diverged(experiment, ended)


def _store(run, **settings) -> checkpoints.Checkpoints:
    """The checkpoints of a run."""
    return checkpoints.Checkpoints(run.path("checkpoints"), owner=run.owner, **settings)


def _alive(results: Sequence[dict]) -> list[int]:
    """The numbers of the runs that did not diverge."""
    return [r for r, result in enumerate(results) if result["status"] != "diverged"]


def _draw(run, experiment: building.Experiment, results: Sequence[dict], params) -> None:
    """Draws the pictures of the best run, and keeps in mind which of them failed.

    Args:
        run: the open run, whose results are written.
        experiment: from `prepare`.
        results: of its runs, one at least not diverged.
        params: of densities, [S, …].
    """

    def score(r):
        return tables.score({name: tables.plain(value) for name, value in results[r].items()})

    shown = max(_alive(results), key=score)
    member = building.member(experiment, shown, experiment.layout.read(params))
    failed = processes.on_first(lambda: pictures.draw(experiment, shown, member, run))
    if failed:
        run.write_json(UNDRAWN, failed)
    else:
        run.remove(UNDRAWN)


def _draw_missing(run, experiment: building.Experiment, results: Sequence[dict]) -> None:
    """Draws the pictures of a run that is complete, if it ended before they all were there."""
    steps = [results[r]["step"] for r in _alive(results)]

    def restore():
        if not steps or not os.path.lexists(run.path(UNDRAWN)):
            return None
        with _store(run, set_aside=False, warn=run.log) as store:
            restored = store.restore(target(experiment))
        # an earlier step is not what the results are of
        return restored if restored is not None and restored.step >= max(steps) else None

    restored = processes.on_first(restore)
    if processes.agree(restored is not None):
        carried = _placed(experiment, restored)
        _draw(run, experiment, results, building.frozen(experiment, result_params(carried)))


def _begin(run, experiment: building.Experiment, store) -> Begun:
    """What the newest checkpoint holds, or a beginning."""

    def restore():
        restored = store.restore(target(experiment))
        if restored is not None:
            _refuse_fewer_epochs(run, experiment, restored.step)
        if restored is None:
            run.keep_rows(-1, None)
            return None
        run.log(f"resuming at step {restored.step}", echo=True)
        if not run.keep_rows(restored.step, restored.config.get(ROWS)):
            run.log(
                "metrics.csv is not as it was written: what was there is kept in damaged/, and the "
                f"rows before step {restored.step} are missing from now on",
                echo=True,
            )
        return restored

    restored = processes.on_first(restore)
    layout = experiment.layout
    if not processes.agree(restored is not None):
        carried = begin(experiment)
        step, spent, failures = 0, Spent(), {}
    else:
        carried = _placed(experiment, restored)
        step = processes.agree(0 if restored is None else restored.step)
        notes = processes.agree_on_json(None if restored is None else restored.config)
        failures = notes.pop("failures")
        notes.pop(ROWS, None)
        spent = Spent(**notes)
    stopped = with_fillers(layout, layout.read(carried.state.stopped))
    state = carried.state.replace(stopped=layout.place_slots(stopped))
    is_resumed = processes.agree(restored is not None)
    return Begun(carried._replace(state=state), spent, failures, step, is_resumed)


def _placed(experiment: building.Experiment, restored) -> Carried:
    """What the first process has restored from a checkpoint, on the devices of all."""
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target(experiment))
    state = zeros if restored is None else jax.tree.map(np.asarray, restored.state)
    return experiment.layout.place(processes.agree(state))


def _bytes_needed(experiment: building.Experiment) -> int:
    """Three checkpoints and one that is being written, and 16 MiB of pictures and logs."""
    leaves = jax.tree.leaves(target(experiment))
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + 2**24


def _refuse_fewer_epochs(run, experiment: building.Experiment, step: int) -> None:
    if step > experiment.num_steps:
        trained = step // experiment.train.steps_per_epoch
        raise UsageError(
            f"--epochs={experiment.config.epochs}: {run.directory} has trained {trained} epochs "
            "already, give at least as many"
        )


def _is_complete(results: list[dict] | None, num_steps: int, retry_diverged: bool) -> bool:
    """Whether there is nothing left to train."""
    if not results:
        return False
    if len(results) == 1 and results[0]["status"] == "diverged" and retry_diverged:
        return False
    return all(r["status"] != "done" or r["step"] == num_steps for r in results)


def has_ended(directory: Path) -> bool:
    """Whether a program has its results, and nothing that is still to be drawn."""
    is_drawn = not os.path.lexists(directory / UNDRAWN)
    return is_drawn and members.read_results(directory) is not None


def holds(directory: Path, configs: Sequence[Config]) -> bool:
    """Whether a directory is of the program of these runs, by the settings that were given.

    Args:
        directory: of a program that has begun.
        configs: of its runs, from `vae_jax.lab.config.from_flags`.
    """
    held = members.settings(directory)
    asked = [with_dataset_of(c, h.get("dataset")) for c, h in zip(configs, held, strict=False)]
    return len(held) == len(configs) and all(
        # None is settled by the data, and what is not there came later
        value is None or own.get(name, value) == value
        for config, own in zip(asked, held, strict=True)
        for name, value in seals.plain(config.identity()).items()
    )


def _told_complete(run, results: list[dict]) -> str:
    """That there is nothing to train, and whether the parameters are still there."""
    with _store(run, set_aside=False) as store:
        is_whole = bool(store.steps())
    # what diverged altogether may never have been saved
    if is_whole or all(result["status"] == "diverged" for result in results):
        return "complete already (--overwrite starts afresh)"
    return (
        f"complete already, but {run.path('checkpoints')} holds no checkpoint that verifies: "
        f"--overwrite trains again, or copy its checkpoints back (a program of a sweep: move "
        f"{run.directory} away, the same command trains what is missing)"
    )


class Saver:
    """Saves a program's state beside its training, from all its processes; knows what was saved.

    Args:
        experiment: whose layout brings the state to the host.
        store: of the first process.
        saved_step: of the newest checkpoint, a scalar, or None.
    """

    def __init__(self, experiment: building.Experiment, store, saved_step: int | None):
        self._layout = experiment.layout
        self._seconds = experiment.config.checkpoint_seconds
        self._store = store
        self._at = time.perf_counter()
        self.step = saved_step

    def save(self, step: int, carried: Carried, notes: dict) -> None:
        """Starts to write a checkpoint, unless this step has one; `wait` before it is relied on."""
        if step != self.step:
            kept = self._layout.read(carried)
            processes.on_first(lambda: self._store.start_save(step, kept, notes))
            self._at, self.step = time.perf_counter(), step

    def wait(self) -> None:
        """Waits until what was saved last is durable; an error of it ends every process."""
        processes.on_first(self._store.wait)

    def is_due(self) -> bool:
        """Whether so much time has passed that all processes should save, or one has failed."""
        waited = time.perf_counter() - self._at
        if self._seconds is not None:
            is_due = waited >= self._seconds
        else:
            # a save that waits for the one before would keep the training waiting
            share = SAVE_SHARE * self._store.save_seconds
            is_due = waited >= max(SAVE_SECONDS, share) and not self._store.is_saving()
        return processes.agree(is_due or self._store.has_failed())


def _chunks(experiment: building.Experiment, chunk, begun: Begun, x):
    """The steps done and the state after each chunk, from where training begins to its last step.

    Args:
        experiment: from `build`.
        chunk: (state, hparams, x, num_steps) to the next state.
        begun: what training begins with; nothing is left to do where every run has stopped.
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


def _loop(run, experiment: building.Experiment, store, begun: Begun) -> Ended:
    """Trains to the last step, or until every run or a signal ends it; saves as it goes."""
    train, layout = experiment.train, experiment.layout
    carried, step, failures = begun.carried, begun.step, dict(begun.failures)
    per_step = len(experiment.dataset.train) / train.steps_per_epoch * len(experiment.configs)
    clock = Stopwatch(begun.spent, examples_per_step=per_step)
    saver = Saver(experiment, store, step if begun.is_resumed else None)

    def save():
        notes = {**clock.spent()._asdict(), "failures": failures, ROWS: run.rows_sha256()}
        saver.save(step, carried, notes)

    chunk = clock.timed(experiment.chunk)

    def chunk_of_carried(_, hparams, x, num_steps):
        # the state as this loop has left it: with its stops, without sums that are not finite
        return chunk(carried.state, hparams, x, num_steps)

    with Interrupt() as interrupt:
        with source(experiment) as x, _watchers(run, experiment, step) as tell:
            for done, state in _chunks(experiment, chunk_of_carried, begun, x):
                carried = carried._replace(state=state)
                new_failures = _new_failures(experiment, state, failures)
                failures |= new_failures
                if len(failures) == len(experiment.configs):
                    break  # nothing is left to train, and the last checkpoint is a finite one
                step = done
                if new_failures:
                    carried = carried._replace(state=experiment.drop_sums(state))
                    _log_failures(run, experiment, new_failures)
                if step % train.steps_per_epoch == 0:
                    rows, carried = end_epoch(experiment, carried, step)
                    run.append_rows(rows)
                    tell(rows, clock.spent().examples_per_second)
                is_asked = processes.largest(interrupt.signum) > 0
                if is_asked or layout.read(carried.state.stopped).all():
                    break
                if saver.is_due():
                    save()
        if len(failures) < len(experiment.configs):
            save()
        saver.wait()
        signum = processes.largest(interrupt.signum)
        if signum:
            run.log(f"interrupted at step {step}, saved", echo=True)
            sys.exit(128 + signum)
    return Ended(carried, clock.spent(), failures, saver.step)


@contextlib.contextmanager
def _watchers(run, experiment: building.Experiment, step: int):
    """What tells whoever watches of an epoch that ended: from its rows, and the speed."""
    watchers = []
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            watchers.append(stack.enter_context(Progress(run, experiment)))
            if experiment.config.tensorboard:
                events = TensorBoard(run.path("tensorboard"), step=step)
                watchers.append(stack.enter_context(events))

        def tell(rows, examples_per_second):
            for watcher in watchers:
                watcher.rows(rows, examples_per_second)

        yield tell


def _new_failures(experiment, state: training.State, known: dict) -> dict[str, dict]:
    """The runs that failed since the last look, by their number: step, and terms not finite."""
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
        run.log(_failure_line(experiment, int(r), failure), echo=True)


def _failure_line(experiment: building.Experiment, r: int, failure: dict) -> str:
    bad = ", ".join(failure["not_finite"]) or "the update"
    rate = float(experiment.learning_rates(failure["step"] + 1)[r])
    which = "" if experiment.is_single else f"run {r} ({experiment.differences[r]}): "
    return f"{which}{bad} became non-finite at step {failure['step']} (learning rate {rate:.3g})"


def _diverged(experiment: building.Experiment, ended: Ended) -> DivergedError:
    failures = list(ended.failures.values())
    kept = f"last finite checkpoint {ended.saved_step}; " if ended.saved_step is not None else ""
    told = f"all {len(experiment.configs)} runs diverged: "
    slower = "smaller values of --learning_rate"
    if experiment.is_single:
        told = f"{_failure_line(experiment, 0, failures[0])}; {kept}"
        slower = _slower(experiment, failures[0]["step"])
    is_first = all(failure["step"] == 0 and failure["not_finite"] for failure in failures)
    advice = _advice_at_first(experiment) if is_first else _advice(experiment, slower)
    return DivergedError(f"{told}try {advice}, with another --workdir or --overwrite")


def _slower(experiment: building.Experiment, step: int) -> str:
    """A learning rate to try for a run that diverged after so many steps, a scalar above 0.

    What ruined the parameters may have been an earlier and larger one than that of the last step.
    """
    steps = np.linspace(1, step, NUM_RATES).astype(int)
    rate = max(float(experiment.learning_rates(each)[0]) for each in steps)
    return f"--learning_rate={min(rate / 3, 1e-3):.1g}" if rate > 0 else "another --learning_rate"


def _advice_at_first(experiment: building.Experiment) -> str:
    """What to try where the first loss is not finite: no learning rate has had a part in it."""
    config = experiment.config
    own = [name for name, _ in config.hyperparameters if name not in statics_of(config)]
    return " or ".join(["a smaller --init_scale", *(f"another --{name}" for name in own)])


def _advice(experiment: building.Experiment, slower: str) -> str:
    """What to try after a divergence: rates alone, as no clipping changes the size of Adam's steps.

    Args:
        experiment: that diverged.
        slower: what its learning rate could be.
    """
    own = objectives.optimizer_settings(experiment.config.objective)
    return " or ".join([slower, *(f"a smaller --{name}" for name in own)])


class Stopwatch:
    """Adds up the time that training takes, and its speed without compilation.

    Args:
        spent: what earlier processes of this program spent.
        examples_per_step: of all runs, N / steps per epoch each, so that padding does not count.
    """

    def __init__(self, spent: Spent, *, examples_per_step: float):
        self._before = spent
        self._examples_per_step = examples_per_step
        self._started = time.perf_counter()
        self._chunks = []

    def timed(self, chunk):
        """The same chunk function, watched."""

        def run(state, hparams, x, num_steps):
            start = time.perf_counter()
            state = jax.block_until_ready(chunk(state, hparams, x, num_steps))
            self._chunks.append((int(num_steps), time.perf_counter() - start))
            return state

        return run

    def spent(self) -> Spent:
        """The total so far; the first chunk, which holds the compilation, gives no speed."""
        seconds = self._before.seconds + time.perf_counter() - self._started
        if len(self._chunks) < 2:
            return Spent(seconds, self._before.examples_per_second)
        steps, times = (sum(column) for column in zip(*self._chunks[1:], strict=True))
        return Spent(seconds, round(self._examples_per_step * steps / times, 1))


def make_results(experiment: building.Experiment, ended: Ended, params) -> list[dict]:
    """The result of each run: the objective's terms on the test split, one sample of z each.

    Args:
        experiment: from `build`.
        ended: what training left.
        params: of densities, [S, …].
    """
    steps = experiment.layout.read(ended.carried.state.step)
    splits = {"test": ""} | ({"valid": "valid_"} if len(experiment.dataset.valid) else {})
    columns: dict[str, np.ndarray] = {}
    for split, prefix in splits.items():
        evaluated = building.evaluate(experiment, params, split, ended.carried.state.step)
        columns |= {f"{prefix}{name}": values for name, values in evaluated.terms.items()}
        if split == "test":
            errors = evaluated.standard_errors.items()
            columns |= {f"{name}_standard_error": values for name, values in errors}
            columns |= building.num_examples_of(evaluated)
            columns |= latent_use(evaluated)
            if "elbo" in evaluated.terms:
                columns |= building.in_units(experiment, evaluated.terms["elbo"])
    if ended.carried.best is not None:
        columns["best_epoch"] = experiment.layout.read(ended.carried.best["epoch"])
    columns = {name: np.asarray(values).tolist() for name, values in columns.items()}
    configs, dataset = experiment.configs, experiment.dataset
    by_size = {config.latent_dim: config for config in configs}
    num_parameters = {d: building.num_parameters(c, dataset) for d, c in by_size.items()}
    results = []
    for r, step in enumerate(steps.tolist()):
        result = {name: values[r] for name, values in columns.items()}
        if str(r) in ended.failures or not math.isfinite(result["loss"]):
            failure = ended.failures.get(str(r), {"step": step, "not_finite": ["test loss"]})
            results.append({"status": "diverged", **failure})
            continue
        status = "done" if step == experiment.num_steps else "stopped early"
        results.append({"status": status, "step": step, "split": "test", **result})
        if "rate_per_dim" in result:
            # the program has the dimensions of its largest run
            results[-1]["rate_per_dim"] = result["rate_per_dim"][: configs[r].latent_dim]
        results[-1] |= {
            "num_samples": 1,
            "num_examples": len(dataset.test),
            "num_parameters": num_parameters[configs[r].latent_dim],
        }
    return results


def describe(experiment: building.Experiment) -> list[str]:
    """What is about to happen, in a few lines."""
    config, dataset = experiment.config, experiment.dataset
    sizes = "/".join(str(len(s)) for s in (dataset.train, dataset.valid, dataset.test))
    shape = "×".join(map(str, dataset.shape))
    values = f"values from {dataset.low:.4g} to {dataset.high:.4g}"
    if dataset.num_levels is not None:
        values = f"{dataset.num_levels} levels from 0 to 1"
    if dataset.alphabet is not None:
        values = f"{len(dataset.alphabet)} characters and an end"
    treatment = f", {config.binarization} binarization" if config.binarization else ""
    if config.binarization == "soft":
        treatment = ", grey levels as soft targets"
    hyperparameters = ", ".join(
        f"{name} {experiment.values_of(name)}" for name, _ in config.hyperparameters
    )
    hyperparameters = f" ({hyperparameters})" if hyperparameters else ""
    streamed = ", streamed from the host" if dataset.streamed else ""
    map_size = getattr(experiment.model.decoder, "map_size", None)
    places = "" if map_size is None else " on a map of {}×{} places".format(*map_size)
    lines = [
        f"data: {dataset.name}, {shape}, train/valid/test {sizes}, {values}{streamed}",
        *(f"data: {note}" for note in dataset.notes),
        *(f"data: {note}" for note in building.far_values(dataset, experiment.model.likelihood)),
        *(f"data: {note}" for note in getattr(experiment.conditions, "notes", ())),
        f"model: {config.network}, latent_dim {experiment.values_of('latent_dim')}{places}, "
        f"p(x|z) {config.likelihood}{treatment}",
        f"objective: {config.objective}{hyperparameters}, {config.optimizer}, "
        f"learning rate {experiment.values_of('learning_rate')}, {config.epochs} epochs of "
        f"{experiment.train.steps_per_epoch} steps",
        *experiment.loss_fn.notes(experiment.model),
    ]
    if not experiment.is_single:
        lines.append(f"program: {len(experiment.configs)} runs, {experiment.memory_estimate()}")
    return lines


def _over(result: dict, name: str) -> str:
    """How many examples a mean is over where these are not all, in words."""
    num = result.get(f"{name}_num_examples", result.get("num_examples"))
    return "" if num == result.get("num_examples") else f" (of {num} known)"


def summary(result: dict) -> str:
    """The result in one line."""
    if result["status"] == "diverged":
        bad = ", ".join(result["not_finite"]) or "the update"
        return f"diverged: {bad} became non-finite at step {result['step']}"
    # a file has no numbers that are not finite
    result = {name: tables.plain(value) for name, value in result.items()}
    precision = {
        **dict.fromkeys(("loss", "elbo", "rate", "distortion"), (".2f", ".2f")),
        "accuracy": (".4f", ".4f"),
        "squared_error": (".4g", ".2g"),
    }
    terms = [
        f"{name.replace('_', ' ')} {result[name]:{of_value}} ± "
        f"{result[f'{name}_standard_error']:{of_error}}{_over(result, name)}"
        for name, (of_value, of_error) in precision.items()
        if name in result
    ]
    if "active_share" in result:
        terms.append(f"active share {result['active_share']:.3g}")
    if "active_units" in result:
        terms.append(f"{result['active_units']} active units")
    units = ("bits_per_character", "nats_per_step")
    terms += [f"{result[u]:.3f} {u.replace('_', ' ')}" for u in units if u in result]
    best = f" (parameters of epoch {result['best_epoch']})" if "best_epoch" in result else ""
    return (
        f"{result['status']} at step {result['step']}{best}; test, nats per example: "
        f"{', '.join(terms)}"
    )
