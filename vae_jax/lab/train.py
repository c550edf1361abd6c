"""One program from its `Config`s to its results: load, resume, train, evaluate, draw.

A program trains R runs that differ only in numbers; a single run is a program with R = 1.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax import console, data, likelihoods, memory
from vae_jax.devices import platform as devices
from vae_jax.devices import processes
from vae_jax.errors import DivergedError, UsageError, VaeJaxError
from vae_jax.keeping import sha256_of
from vae_jax.lab import build as building
from vae_jax.lab import (
    description,
    diagnoses,
    divergence,
    entry,
    environment,
    identity,
    loop,
    pictures,
    records,
    resuming,
    run_page,
    tables,
)
from vae_jax.lab.config import to_flags
from vae_jax.lab.flags import as_flags
from vae_jax.lab.parts import MEASURED, NOT_YET, UNDRAWN, Parts
from vae_jax.lab.resolved import resolve
from vae_jax.lab.results import make_results, summary
from vae_jax.lab.settings import Config, columns_of
from vae_jax.lab.stored import as_begun, refuse_unknown
from vae_jax.program import (
    result_params,
    target,
)
from vae_jax.storage import files, members, provenance, runs, seals

__all__ = [
    "DATA_SETTINGS",
    "MANIFEST",
    "UNDRAWN",
    "Datasets",
    "has_ended",
    "load",
    "prepare",
    "train",
]


DATA_SETTINGS = (
    *("data_dir", "num_valid", "scaling", "loading", "window", "hop", "missing_values", "kinds"),
    *("label", "id", "ignore", "split_column", "csv", "test_data", "train_where", "layer"),
    *("user", "item", "rating", "rating_at_least", "min_ratings", "min_item_ratings"),
    *("resize", "crop", "pad", "background", "frames", "icc"),
    *("sound", "frame_length", "frame_hop", "mel_bands"),
)
"""Flags that are arguments of `data.load` with the same names."""


MANIFEST = "manifest.csv"
"""File of a run on a folder of pictures: what became of each file."""


def load(config: Config, sha256: str | None = None):
    """The dataset that a `Config` names.

    Args:
        config: config of a run.
        sha256: required hash of the data, see `data.load`; None accepts any.
    """
    with console.doing(f"reading {config.dataset}"):
        return data.load(config.dataset, sha256=sha256, **_data_settings(config))


def _data_settings(config: Config) -> dict[str, Any]:
    """The arguments of `data.load` beside the name and the hash."""
    settings = {name: getattr(config, name) for name in DATA_SETTINGS}
    settings["condition"] = columns_of(config)
    settings["scaling"] = likelihoods.scaling_for(config.likelihood, config.scaling)
    return settings


class Datasets:
    """Loads datasets, and keeps those that were loaded: the programs of a sweep share their data.

    The last one is always kept, earlier ones as long as all of them take less than an eighth of
    the memory that reading may take.
    """

    def __init__(self):
        self._held: dict[tuple, Any] = {}

    def load(self, config: Config, sha256: str | None = None):
        """The dataset that a `Config` names; see `load`."""
        key = (config.dataset, sha256, *_data_settings(config).values())
        dataset = self._held.pop(key, None)
        if dataset is None:
            dataset = load(config, sha256)
        sizes = [_num_bytes(dataset)]
        for other in reversed([*self._held]):
            sizes.append(_num_bytes(self._held[other]))
            if sum(sizes) > memory.limit_bytes() // 8:
                del self._held[other]
        self._held[key] = dataset
        return dataset


def _num_bytes(dataset) -> int:
    """The size of a dataset's arrays in memory, a count."""
    splits = () if dataset.streamed else (dataset.train, dataset.valid, dataset.test)
    return sum(split.x.nbytes for split in splits)


def train(
    configs: Sequence[Config],
    *,
    workdir: Path | None = None,
    overwrite: bool = False,
    num_data: int | None = None,
    retry_diverged: bool = True,
    load: Callable = load,
) -> list[dict]:
    """Trains the runs of one program, or resumes them, or reports complete ones.

    Args:
        configs: from `config.from_flags`, with equal `programs.program_key`.
        workdir: directory of the program; None means the first config's, or a name by its settings.
        overwrite: archives an existing run in the directory, and starts again.
        num_data: devices that share a batch, a count; None chooses automatically.
        retry_diverged: whether a single run that diverged is trained again.
        load: returns the dataset of a config, see `load`.

    Returns:
        The result of each run; for a single run the contents of `result.json`.
    """
    experiment = prepare(_as_begun(configs, workdir, overwrite), num_data=num_data, load=load)
    workdir = (
        workdir
        or configs[0].workdir
        or identity.default_workdir(configs[0], experiment.dataset.name)
    )
    asked = [dataclasses.replace(config, workdir=str(workdir)) for config in configs]
    with _open(Path(workdir), experiment, overwrite) as run:
        if run.archived is not None:
            run.log(f"the run that was here is now {run.archived}", echo=True)
        results = processes.agree_on_json(
            processes.on_first(lambda: members.read_results(run.directory))
        )
        if _is_complete(results, experiment.num_steps, retry_diverged):
            processes.on_first(lambda: run.log(as_flags(_told_complete(run, results)), echo=True))
            _draw_missing(run, experiment, results)
        else:
            results = _train_in(run, experiment, asked)
        if experiment.is_single:
            for line in (summary(results[0]), *diagnoses.lines(results[0])):
                run.say(line)
            run.say(f"in {run.directory}: result.json, metrics.csv, plots/, {run_page.NAME}")
    return results


def _as_begun(configs: Sequence[Config], workdir: Path | None, overwrite: bool) -> Sequence[Config]:
    """The configs as the version that began a directory of theirs would have read them."""
    name = Path(configs[0].dataset).stem
    directory = workdir or configs[0].workdir or identity.default_workdir(configs[0], name)
    if overwrite or not os.path.lexists(Path(directory, "config.json")):
        return configs
    try:
        held = members.settings(directory)
    except VaeJaxError:  # opening the directory says what is wrong with it
        return configs
    return [as_begun(config, held[0]) for config in configs]


def prepare(
    configs: Sequence[Config], *, num_data: int | None = None, load: Callable = load
) -> building.Experiment:
    """Loads the data of a program and builds it; finds all errors that a user can cause.

    Args:
        configs: from `config.from_flags`, with equal `programs.program_key`.
        num_data: devices that share a batch, a count; None chooses automatically.
        load: returns the dataset of a config, see `load`.
    """
    if configs[0].loggers or configs[0].tensorboard:
        from vae_jax.lab import logs

        logs.require(configs[0])
    dataset = load(configs[0])
    _check_pictures(configs, dataset)
    with console.doing("building the model"):
        return building.build(resolve(configs, dataset), num_data=num_data)


def _check_pictures(configs: Sequence[Config], dataset) -> None:
    """Raises UsageError if pictures are asked for that the data or the runs do not have."""
    snapshots, asked = configs[0].snapshots, configs[0].traversal_example
    if snapshots is not None and len(configs) > 1:
        raise UsageError(
            f"snapshots={snapshots}: are of one run, this program has {len(configs)}: leave "
            "`snapshots` out, or give runs_per_program=1"
        )
    if snapshots is not None and dataset.kind != "image":
        raise UsageError(
            f"snapshots={snapshots}: are images, {dataset.name} has none: leave `snapshots` out"
        )
    most = min(pictures.NUM_EXAMPLES, len(dataset.test))
    if asked is not None and asked >= most:
        raise UsageError(
            f"traversal_example={asked}: pictures show the first {most:,} test examples, give 0 to "
            f"{most - 1}"
        )


def _open(workdir: Path, experiment: building.Experiment, overwrite: bool):
    def as_of(held):
        for settings in (held, *identity.settings_in(held)):
            refuse_unknown(settings, str(workdir))
        return identity.of(experiment, held)

    def open_run():
        files.check_space(workdir, resuming.bytes_needed(experiment))
        return runs.open_run(
            workdir,
            identity.of(experiment),
            as_of=as_of,
            called=environment.CALLED,
            overwrite=overwrite,
        )

    return processes.on_first(open_run) or runs.Follower(workdir)


def _train_in(run, experiment: building.Experiment, asked: Sequence[Config]) -> list[dict]:
    """Trains or resumes a run directory, measures the runs, stores results, draws pictures.

    Args:
        run: the open run.
        experiment: from `prepare`.
        asked: its configs as given, including the directory.

    Raises:
        DivergedError: all runs diverged.
    """
    devices.warn()
    for line in (devices.line(), *description.describe(experiment)):
        run.log(line, echo=True)
    footprint = experiment.footprint()
    run.log(f"memory: {footprint.told()}", echo=True)
    footprint.refuse(len(experiment.configs))
    with resuming.store(run, warn=lambda line: run.log(as_flags(line), echo=True)) as store:
        with console.doing("initializing"):
            begun = resuming.resume(run, experiment, store)
        _write_origin(run, experiment, asked)
        ended = loop.run(run, experiment, store, begun)
    results, params = _measure(run, experiment, ended)
    results = diagnoses.add(run, experiment, results, params)
    _write_results(run, experiment, results)
    if _alive(results):
        _draw(run, experiment, results, params)
        return results
    if not ended.failures:
        slower = divergence.advice(experiment, "a smaller `learning_rate`")
        raise DivergedError(
            f"the test loss is not finite at step {results[0]['step']}: try {slower}, with another "
            "`workdir` or `overwrite=True`"
        )
    raise divergence.error(experiment, ended)


def _write_origin(run, experiment: building.Experiment, asked: Sequence[Config]) -> None:
    """Writes the origin of a run: its settings, its command, its data, its environment."""
    run.write_config()
    flags = [to_flags(config) for config in asked]
    if experiment.is_single:
        run.write_command([*entry.words("train"), *flags[0]])
    run.write_json("members.json", flags)
    if experiment.dataset.manifest:
        run.write_table(MANIFEST, experiment.dataset.manifest)
    if experiment.dataset.schema is not None:
        run.write_json("schema.json", experiment.dataset.schema.as_json())
    told = {"working_directory": os.getcwd(), "data_sha256": experiment.dataset.sha256}
    told["variables"] = environment.recorded()
    run.write_json("env.json", {**provenance.environment(jax.devices()), **told})


def _measure(run, experiment: building.Experiment, ended: records.Ended) -> tuple[list[dict], Any]:
    """The result of each run, and their parameters [S, …]; None if all runs diverged.

    A split that was measured before an interruption is not measured again.
    """
    started, params = time.perf_counter(), None
    if len(ended.failures) == len(experiment.configs):
        failures = [ended.failures[str(r)] for r in range(len(experiment.configs))]
        results = [{"status": "diverged", **failure} for failure in failures]
    else:
        trained = result_params(ended.carried)
        about = sha256_of(experiment.layout.read((trained, ended.carried.state.step)))
        params = building.frozen(experiment, trained)
        once = Parts(run, MEASURED, about).once
        with console.doing("evaluating"):
            results = make_results(experiment, ended, params, once)
    seconds = round(ended.spent.seconds + time.perf_counter() - started, 3)
    times = {"wall_seconds": seconds, "examples_per_second": ended.spent.examples_per_second}
    return [{**result, **times} for result in results], params


def _write_results(run, experiment: building.Experiment, results: Sequence[dict]) -> None:
    """Writes the sealed results, after noting the pictures that are still to be drawn."""
    if _alive(results):
        # before the result: if the process is killed in between, the next one draws them
        _pictures_of(run, results).write({"all": NOT_YET})
    sealed = members.sealed_results(results, run.id, run.rows_sha256())
    if experiment.is_single:
        run.write_json("result.json", sealed[0])
    else:
        run.write_json("results.json", sealed)
    run.remove(MEASURED)


def _pictures_of(run, results: Sequence[dict]) -> Parts:
    """The record of the pictures of a run that are still to be drawn."""
    return Parts(run, UNDRAWN, seals.digest(seals.plain(results)))


def _alive(results: Sequence[dict]) -> list[int]:
    """The indices of the runs that did not diverge."""
    return [r for r, result in enumerate(results) if result["status"] != "diverged"]


def _draw(run, experiment: building.Experiment, results: Sequence[dict], params) -> None:
    """Draws the pictures of the best run that are not drawn yet, and records which of them failed.

    Args:
        run: the open run, whose results are written.
        experiment: from `prepare`.
        results: results of its runs, at least one not diverged.
        params: parameters with a fixed density, [S, …].
    """

    def score(r):
        return tables.score({name: tables.plain(value) for name, value in results[r].items()})

    shown = max(_alive(results), key=score)
    member = building.member(experiment, shown, experiment.layout.read(params))
    undrawn = _pictures_of(run, results)
    known = undrawn.read()
    failed = processes.on_first(
        lambda: pictures.draw(experiment, shown, member, run, known, undrawn.write)
    )
    if not failed:
        run.remove(UNDRAWN)
    if experiment.is_single:
        settings = experiment.config.requested()
        processes.on_first(lambda: run_page.write(run, settings, results[0]))


def _draw_missing(run, experiment: building.Experiment, results: Sequence[dict]) -> None:
    """Draws the missing pictures of a complete run."""
    run.remove(MEASURED)  # if a process was killed right after it wrote the results
    steps = [results[r]["step"] for r in _alive(results)]

    def restore():
        is_drawn = not os.path.lexists(run.path(UNDRAWN))
        if not steps or (is_drawn and not _lacks_format(run, experiment.config.plot_format)):
            return None
        with resuming.store(run, set_aside=False, warn=run.log) as store:
            restored = store.restore(target(experiment))
        # the results do not belong to an earlier step
        return restored if restored is not None and restored.step >= max(steps) else None

    restored = processes.on_first(restore)
    if processes.agree(restored is not None):
        carried = resuming.placed(experiment, restored)
        _draw(run, experiment, results, building.frozen(experiment, result_params(carried)))


def _lacks_format(run, formats: Sequence[str]) -> bool:
    """Whether a picture of a run, which has a CSV in any case, is not there in a format."""
    folder = files.inside(run.directory, "plots")
    stems = [path.stem for path in folder.glob("*.csv")]
    return any(not (folder / f"{stem}.{name}").exists() for stem in stems for name in formats)


def _is_complete(results: list[dict] | None, num_steps: int, retry_diverged: bool) -> bool:
    """Whether there is nothing left to train."""
    if not results:
        return False
    if len(results) == 1 and results[0]["status"] == "diverged" and retry_diverged:
        return False
    return all(r["status"] != "done" or r["step"] == num_steps for r in results)


def has_ended(directory: Path) -> bool:
    """Whether a program has its results, and no pictures are left to draw."""
    is_drawn = not os.path.lexists(directory / UNDRAWN)
    return is_drawn and members.read_results(directory) is not None


def _told_complete(run, results: list[dict]) -> str:
    """A message that there is nothing to train, and whether the parameters still exist."""
    with resuming.store(run, set_aside=False) as store:
        is_whole = bool(store.steps())
    # if all runs diverged, nothing may have been saved
    if is_whole or all(result["status"] == "diverged" for result in results):
        return "complete already (`overwrite=True` starts afresh)"
    return (
        f"complete already, but {run.path('checkpoints')} holds no checkpoint that verifies: "
        f"`overwrite=True` trains again, or copy its checkpoints back (a program of a sweep: move "
        f"{run.directory} away, the same command trains what is missing)"
    )
