"""One run from its `Config` to its result: load, resume, train, evaluate, draw."""

import dataclasses
import math
import os
import signal
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import build as building
from experiments import pictures
from experiments.config import Config, from_flags, resolve, to_flags
from experiments.progress import Progress, TensorBoard, tensorboard_writer
from vae_jax import checkpoints, data, runs, training
from vae_jax.errors import DivergedError, UsageError
from vae_jax.evaluation.elbo import active_units

ENTRY = "experiments.vae"
NUM_FOR_VARIANCE = 5000
"""Training examples from which an optimal variance is fixed for a validation."""


class Carried(NamedTuple):
    """What a checkpoint holds: the training's state and the best validation so far."""

    state: training.State
    best: Any


class Spent(NamedTuple):
    """Wall time of a run over all its processes, and the speed of the last one's training."""

    seconds: float = 0.0
    examples_per_second: float | None = None


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a request to stop, so that the loop can save first."""

    def __init__(self):
        self.signum = None

    def __enter__(self):
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {s: signal.signal(s, self._handle) for s in signals}
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum, frame):
        del frame
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        name = signal.Signals(signum).name
        print(f"\n{name}: saving, then leaving (again to leave at once)", file=sys.stderr)


def train(config: Config, overwrite: bool = False) -> dict:
    """Trains, or resumes, or reports a run that is complete.

    Args:
        config: from `experiments.config.from_flags`.
        overwrite: archive what the run directory holds, and start afresh.

    Returns:
        What `result.json` holds.
    """
    if config.tensorboard:
        tensorboard_writer()
    dataset = data.load(
        config.dataset,
        data_dir=config.data_dir,
        num_valid=config.num_valid,
        scaling=config.scaling,
    )
    asked, config = config, resolve(config, dataset)
    experiment = building.build(config, dataset)
    stored = {**config.identity(), "epochs": config.epochs, "data_sha256": dataset.sha256}
    if config.depends_on_epochs():
        stored["schedules_in_percent_of_epochs"] = config.epochs
    workdir = asked.workdir or runs.default_workdir("runs", dataset.name, workdir_options(asked))
    asked = dataclasses.replace(asked, workdir=str(workdir))
    runs.check_space(workdir, _bytes_needed(experiment))
    with runs.open_run(workdir, stored, free_to_change=("epochs",), overwrite=overwrite) as run:
        if run.archived is not None:
            run.log(f"the run that was here is now {run.archived}", echo=True)
        result = run.read_json("result.json")
        if result and _is_complete(result, experiment.num_steps):
            run.log("complete already (--overwrite starts afresh)", echo=True)
        else:
            result = _train_in(run, experiment, to_flags(asked))
        runs.say(summary(result))
        runs.say(f"in {run.directory}: result.json, metrics.csv, plots/")
    return result


def workdir_options(config: Config) -> dict[str, Any]:
    """The settings that a readable run directory is named by."""
    default = from_flags({"objective": config.objective}).identity()
    default["objective"] = Config.objective
    chosen = config.identity()
    options = {k: v for k, v in chosen.items() if v != default[k] and k != "dataset"}
    if config.epochs is not None and config.depends_on_epochs():
        options["epochs"] = config.epochs
    return options


def _train_in(run: runs.Run, experiment: building.Experiment, flags: list[str]) -> dict:
    config, dataset = experiment.config, experiment.dataset
    for line in describe(experiment):
        run.log(line, echo=True)
    init = jax.jit(experiment.train.init)
    target = _target(experiment)
    with checkpoints.Checkpoints(
        run.path("checkpoints"), warn=lambda line: run.log(line, echo=True)
    ) as store:
        restored = store.restore(target)
        if restored is None:
            carried, spent = _carried(init(experiment.hparams), config), Spent()
            run.truncate_rows(-1)
        else:
            carried, spent = restored.state, Spent(**restored.config)
            _refuse_fewer_epochs(run, experiment, restored.step)
            run.truncate_rows(restored.step)
            run.log(f"resuming at step {restored.step}", echo=True)
        run.write_config()
        run.write_command(["python", "-m", ENTRY, *flags])
        environment = {**runs.environment(jax.devices()), "data_sha256": dataset.sha256}
        run.write_json("env.json", environment)
        carried, status, spent = _loop(run, experiment, store, carried, spent)

    finished = time.perf_counter()
    state, best = carried
    params = state.params if state.ema is None else state.ema
    if best is not None:
        params = best["params"]
    experiment, params = building.frozen(experiment, params, building.on_device(dataset.train))
    result = {"status": status, "step": int(state.step), "split": "test"}
    result |= evaluate_test(experiment, params, int(state.step))
    if not math.isfinite(result["loss"]):
        raise DivergedError(
            f"the test loss is {result['loss']} at step {int(state.step)}: "
            "try a smaller --learning_rate, or --clip_norm=1, with --overwrite"
        )
    if best is not None:
        result["best_epoch"] = int(best["epoch"])
    drawn = pictures.draw(experiment, params, run)
    run.log(f"pictures: {', '.join(drawn)}")
    result["num_parameters"] = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    result["wall_seconds"] = round(spent.seconds + time.perf_counter() - finished, 3)
    result["examples_per_second"] = spent.examples_per_second
    run.write_json("result.json", result)
    return result


def _target(experiment: building.Experiment) -> Carried:
    """Shapes and dtypes of what a checkpoint holds."""

    def start():
        return _carried(experiment.train.init(experiment.hparams), experiment.config)

    return jax.eval_shape(start)


def _bytes_needed(experiment: building.Experiment) -> int:
    """Three checkpoints and one that is being written, and 16 MiB of pictures and logs."""
    leaves = jax.tree.leaves(_target(experiment))
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + 2**24


def _carried(state: training.State, config: Config) -> Carried:
    if config.patience is None:
        return Carried(state, None)
    best = {
        "params": jax.tree.map(jnp.copy, state.params),
        "score": jnp.float32(-jnp.inf),
        "epoch": jnp.int32(0),
    }
    return Carried(state, best)


def _refuse_fewer_epochs(run: runs.Run, experiment: building.Experiment, step: int) -> None:
    if step > experiment.num_steps:
        trained = step // experiment.train.steps_per_epoch
        raise UsageError(
            f"--epochs={experiment.config.epochs}: {run.directory} has trained {trained} epochs "
            "already, give at least as many"
        )


def _is_complete(result: dict, num_steps: int) -> bool:
    if result["status"] == "stopped early":
        return True
    return result["status"] == "done" and result["step"] == num_steps


def _loop(run, experiment, store, carried: Carried, spent: Spent):
    """Trains to the last step, or until patience or a signal ends it; saves as it goes."""
    config, train = experiment.config, experiment.train
    x = building.on_device(experiment.dataset.train)
    valid = building.on_device(experiment.dataset.valid)
    clock = Stopwatch(spent, examples_per_step=len(x) / train.steps_per_epoch)
    watchers = [Progress(run, experiment)]
    if config.tensorboard:
        watchers.append(TensorBoard(run.path("tensorboard"), step=int(carried.state.step)))
    saved_at = time.perf_counter()
    saved_step = int(carried.state.step) if store.steps() else None

    def save():
        nonlocal saved_at, saved_step
        step = int(carried.state.step)
        if step != saved_step:
            store.save(step, carried, clock.spent()._asdict())
            saved_at, saved_step = time.perf_counter(), step

    def leave_if_asked(interrupt):
        if interrupt.signum is not None:
            save()
            run.log(f"interrupted at step {int(carried.state.step)}, saved", echo=True)
            sys.exit(128 + interrupt.signum)

    states = training.train_until(
        clock.timed(jax.jit(train.chunk, donate_argnums=0)),
        carried.state,
        experiment.hparams,
        x,
        num_steps=experiment.num_steps,
        steps_per_epoch=train.steps_per_epoch,
    )
    status = "done"
    with Interrupt() as interrupt:
        if _out_of_patience(carried, config, train.steps_per_epoch):
            states, status = (), "stopped early"
        for state in states:
            carried = carried._replace(state=state)
            if int(state.failure) >= 0:
                raise _diverged(run, experiment, state, saved_step)
            if int(state.step) % train.steps_per_epoch == 0:
                row, carried = end_epoch(experiment, carried, x, valid)
                run.append_row(row)
                for watcher in watchers:
                    watcher.row(row, clock.spent().examples_per_second)
            leave_if_asked(interrupt)
            if _out_of_patience(carried, config, train.steps_per_epoch):
                status = "stopped early"
                break
            if time.perf_counter() - saved_at >= config.checkpoint_seconds:
                save()
        for watcher in watchers:
            watcher.close()
        save()
        leave_if_asked(interrupt)
    return carried, status, clock.spent()


def end_epoch(experiment, carried: Carried, x, valid) -> tuple[dict, Carried]:
    """The row of metrics of an epoch that just ended, and what is carried on."""
    state, best = carried
    step = int(state.step)
    epoch = step // experiment.train.steps_per_epoch
    row = {"step": step, "epoch": epoch}
    row |= training.epoch_metrics(state, len(experiment.dataset.train))
    at_step = building.hparams_at(experiment.hparams, state.step)
    row |= {"learning_rate": float(at_step.learning_rate)}
    row |= {name: float(value) for name, value in at_step.objective.items()}
    if len(valid):
        params = state.params if state.ema is None else state.ema
        density = building.frozen(experiment, params, x[:NUM_FOR_VARIANCE])
        evaluated = building.evaluate(*density, valid, step)
        row |= {f"valid_{name}": float(value) for name, value in evaluated.terms.items()}
        row["active_units"] = int(active_units(evaluated.mean_variance).sum())
        score = row.get("valid_elbo", -row["valid_loss"])
        if best is not None and score > float(best["score"]):
            best = {
                "params": jax.tree.map(jnp.copy, params),
                "score": jnp.float32(score),
                "epoch": jnp.int32(epoch),
            }
    return row, Carried(state, best)


def _out_of_patience(carried: Carried, config: Config, steps_per_epoch: int) -> bool:
    if carried.best is None:
        return False
    epoch = int(carried.state.step) // steps_per_epoch
    return epoch - int(carried.best["epoch"]) >= config.patience


def _diverged(run, experiment, state: training.State, saved_step: int | None) -> DivergedError:
    bad = [name for name, total in state.sums.items() if not jnp.isfinite(total)]
    step = int(state.failure)
    rate = float(building.hparams_at(experiment.hparams, step + 1).learning_rate)
    run.write_json("result.json", {"status": "diverged", "step": step, "not_finite": bad})
    kept = f"last finite checkpoint {saved_step}; " if saved_step is not None else ""
    return DivergedError(
        f"{', '.join(bad) or 'the update'} became non-finite at step {step} "
        f"(learning rate {rate:.3g}); {kept}"
        f"try --learning_rate={min(rate / 3, 1e-3):.1g} or --clip_norm=1, with another --workdir "
        "or --overwrite"
    )


class Stopwatch:
    """Adds up the time that training takes, and its speed without compilation.

    Args:
        spent: what earlier processes of this run spent.
        examples_per_step: N / steps per epoch, so that padding does not count.
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


def evaluate_test(experiment, params, step: int) -> dict:
    """The objective's terms on the test split, one sample of z for each example."""
    test = building.on_device(experiment.dataset.test)
    evaluated = building.evaluate(experiment, params, test, step)
    result = {name: float(value) for name, value in evaluated.terms.items()}
    result |= {f"{k}_standard_error": float(v) for k, v in evaluated.standard_errors.items()}
    active = active_units(evaluated.mean_variance)
    return result | {
        "active_units": int(active.sum()),
        "rate_per_dim": evaluated.rate_per_dim.tolist(),
        "num_samples": 1,
        "num_examples": len(experiment.dataset.test),
    }


def describe(experiment) -> list[str]:
    """What is about to happen, in a few lines."""
    config, dataset = experiment.config, experiment.dataset
    sizes = "/".join(str(len(s)) for s in (dataset.train, dataset.valid, dataset.test))
    shape = "×".join(map(str, dataset.shape))
    values = f"values from {dataset.low:.4g} to {dataset.high:.4g}"
    if dataset.num_levels is not None:
        values = f"{dataset.num_levels} levels from 0 to 1"
    treatment = f", {config.binarization} binarization" if config.binarization else ""
    if config.binarization == "soft":
        treatment = ", grey levels as soft targets"
    hyperparameters = ", ".join(f"{name} {value}" for name, value in config.hyperparameters)
    return [
        f"data: {dataset.name}, {shape}, train/valid/test {sizes}, {values}",
        *(f"data: {note}" for note in dataset.notes),
        f"model: {config.network}, latent_dim {config.latent_dim}, p(x|z) {config.likelihood}"
        f"{treatment}",
        f"objective: {config.objective} ({hyperparameters}), {config.optimizer}, "
        f"learning rate {config.learning_rate}, {config.epochs} epochs of "
        f"{experiment.train.steps_per_epoch} steps",
    ]


def summary(result: dict) -> str:
    """The result in one line."""
    terms = [
        f"{name} {result[name]:.2f} ± {result[f'{name}_standard_error']:.2f}"
        for name in ("loss", "elbo", "rate", "distortion")
        if name in result
    ]
    best = f" (parameters of epoch {result['best_epoch']})" if "best_epoch" in result else ""
    return (
        f"{result['status']} at step {result['step']}{best}; test, nats per example: "
        f"{', '.join(terms)}; "
        f"{result['active_units']} active units"
    )
