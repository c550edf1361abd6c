"""A textbook chapter on autoencoders with your own runs: `python -m experiments.lecture`.

Trains all runs of the chapters as one sweep, which can be resumed; then each chapter evaluates its
runs, and one page shows their text, numbers and pictures.
"""

if __name__ == "__main__":
    from vae_jax.cli import beginning

    # before slow imports
    beginning.begin()

import functools
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import lecture
from experiments.lecture import page
from experiments.lecture import runs as trained_runs
from vae_jax import console, data, schedules
from vae_jax.cli import command as cli
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import elbo
from vae_jax.lab import config, metrics, parsers, pictures, sweep
from vae_jax.storage import files, runs

DESCRIPTION = (
    "Retells the textbook of autoencoders with runs of its own: trains them as one sweep, and "
    "leaves one page of numbers and pictures, index.html. The same command resumes."
)


class Settings(NamedTuple):
    """The checked values of the flags.

    Attributes:
        dataset: name of the image dataset.
        held_out: label that the runs for anomalies do not see, as written in the data.
        epochs: epochs of each run instead of those of `runs.SIZES`, a count, or None.
        seed: a count.
        workdir: folder for all files.
        data_dir: folder of datasets, or None.
    """

    dataset: str
    held_out: str
    epochs: int | None
    seed: int
    workdir: Path
    data_dir: str | None


def parse(values: dict) -> Settings:
    """Parses the flags, each a text or None if it was not given, to `Settings`."""

    def count(name, default, low):
        value = values[name]
        return default if value is None else config.parse_flag(name, value, parsers.integer(low))

    dataset = values["dataset"] or "digits"
    epochs, seed = count("epochs", None, 1), count("seed", 0, 0)
    held_out = values["held_out"] or "9"
    workdir = Path(values["workdir"] or runs.default_workdir("runs", f"lecture-{dataset}", {}))
    return Settings(dataset, held_out, epochs, seed, workdir, values["data_dir"])


def main(values: dict) -> None:
    """Trains missing runs, evaluates each chapter, and writes the page."""
    settings = parse(values)
    dataset = load(settings)
    without = keep_without(dataset, settings)
    rows = trained_runs.rows(settings.dataset, str(without))
    changes = {"seed": str(settings.seed)}
    if settings.epochs is not None:
        changes["epochs"] = str(settings.epochs)
    rows = {name: {**row, **changes} for name, row in rows.items()}
    place_of = _train(rows, settings.workdir, settings)
    loader = metrics.Loader(settings.data_dir)
    run = functools.cache(lambda name: _run(loader.load(*place_of[name]), settings))
    used = _used(run("vae-16").subject)
    place_of |= _train(trained_runs.equal(rows, used), settings.workdir / "equal", settings)
    held_out = index_of(dataset, settings)
    course = lecture.Course(dataset, run, held_out, settings.seed, used)
    chapters = {}
    for name in lecture.CHAPTERS:
        chapter = lecture.load(name)
        told = chapter.tell(course)
        chapters[name] = page.Chapter(lecture.title(chapter), lecture.text(chapter), told, {})
        for line in page.lines(chapters[name]):
            console.say(line)
    files.write_json(settings.workdir / "numbers.json", page.numbers(list(chapters.values())))
    folder = files.make_folder(settings.workdir / "pictures")
    drawn = [
        chapter._replace(files=draw(n, chapter.told, folder)) for n, chapter in chapters.items()
    ]
    files.write_text(settings.workdir / "index.html", page.html(drawn, settings.dataset))
    console.say(f"in {settings.workdir}: index.html, numbers.json, pictures/, runs/")


def _train(rows: dict, workdir: Path, settings: Settings) -> dict:
    """Trains the missing ones of some runs as one sweep: name → its place."""
    if not rows:
        return {}
    places = sweep.train_rows(list(rows.values()), workdir, settings.data_dir)
    return dict(zip(rows, places, strict=True))


def _used(subject) -> int:
    """The dimensions of a VAE whose posterior mean varies with x, a count."""
    variances = np.asarray(subject.posterior().mean).var(axis=0)
    return int(np.asarray(elbo.active_units(variances)).sum())


def draw(name: str, told: lecture.Told, folder: Path) -> dict[str, str]:
    """Draws the pictures of a chapter: caption → path relative to the page, without failed ones."""
    files = {f"{name}-{i}": caption for i, caption in enumerate(told.pictures)}
    made = dict(zip(files, told.pictures.values(), strict=True))
    failed = pictures.draw_each(made, folder.parent, [folder.name])
    return {
        caption: f"{folder.name}/{file}.png"
        for file, caption in files.items()
        if file not in failed
    }


def load(settings: Settings):
    """The images [N, H, W, C]; raises an error that says what is missing."""
    dataset = data.load(settings.dataset, data_dir=settings.data_dir)
    if dataset.kind != "image" or dataset.low < 0 or dataset.high > 1:
        raise UsageError(f"--dataset={settings.dataset}: the lecture is about images in [0, 1]")
    height, width = dataset.shape[:2]
    if height % 4 or width % 4:
        raise UsageError(
            f"--dataset={settings.dataset}: a quarter of the resolution needs sides divisible by "
            f"4, the pictures have {height}×{width}"
        )
    if dataset.test.labels is None:
        raise DataError(f"--dataset={settings.dataset}: has no labels, of which one is held out")
    index_of(dataset, settings)
    return dataset


def index_of(dataset, settings: Settings) -> int:
    """The class that is held out, from 0."""
    names = [str(value) for value in dataset.classes]
    if settings.held_out not in names or len(names) < 2:
        raise DataError(
            f"--held_out={settings.held_out}: the classes of {settings.dataset} are "
            f"{', '.join(names)}: name one of several"
        )
    return names.index(settings.held_out)


def keep_without(dataset, settings: Settings) -> Path:
    """Saves the images [N, H, W, C] of every split, without one class, as a file."""
    path = settings.workdir / f"without-{index_of(dataset, settings)}.npz"
    if os.path.exists(path):
        return path
    arrays = {}
    for part in ("train", "valid", "test"):
        split = getattr(dataset, part)
        kept = split.labels != index_of(dataset, settings)
        x = np.asarray(split.x[:])[kept]
        # without 256 levels, save the decoded numbers: a file does not store the number of levels
        arrays[f"x_{part}"] = x if dataset.num_levels == 256 else np.asarray(dataset.decode(x))
        arrays[f"y_{part}"] = np.array(dataset.classes)[split.labels[kept]]
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    files.make_folder(path.parent)
    files.write_bytes(path, archive.getvalue())
    return path


def _run(trained: metrics.Trained, settings: Settings) -> lecture.Run:
    """One trained run, with the corruption of its inputs."""
    experiment, corrupt = trained.experiment, trained.experiment.loss_fn.corrupt
    if corrupt is not None:
        last = schedules.evaluate(experiment.hparams, np.int32(experiment.num_steps - 1))
        own = {name: value[0] for name, value in last.objective.items()}
        corrupt = functools.partial(corrupt, **own)
    return lecture.Run(metrics.make_subject(trained, settings.seed), corrupt)


if __name__ == "__main__":
    cli.start(
        main,
        {
            "dataset": "digits, mnist, or other small images with labels (default: digits)",
            "held_out": "the class that the runs for anomalies are not shown (default: 9)",
            "epochs": "of every run (default: 150 of digits, 12 of others)",
            "seed": "of every run and of what is drawn (default: 0)",
            "workdir": "where all of it lives (default: runs/lecture-<dataset>)",
            "data_dir": "where datasets lie (default: $VAE_JAX_DATA_DIR)",
        },
        DESCRIPTION,
        example="python -m experiments.lecture --dataset=mnist",
    )
