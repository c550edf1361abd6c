"""R10 and R14: data that does not fit, and files of a stranger."""

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np

from . import bad_data, bad_tables
from ._lab import check, check_refused, each, fault, finish, steps
from .kills import SMALL


def check_data_refused(lab, path: Path, *flags: str) -> None:
    """Raises `LostError` unless the data is refused in a line, and nothing left behind."""
    workdir = lab.new()
    ended = lab.run(workdir, f"--dataset={path}", *SMALL, "--epochs=1", *flags)
    check_refused(ended, (2, 3))
    check(not workdir.exists(), f"{path.name} leaves a run directory")


@fault("R10", "data files that nothing can be learned from")
def unusable_data(lab, tries):
    def case(name, content):
        path = lab.new().parent / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        check_data_refused(lab, path)

    files = {**bad_data.BAD, **bad_tables.made()}
    cases = [functools.partial(case, *item) for item in files.items()]
    yield from each(lab, cases[:tries])


def pickled(folder: Path) -> Path:
    """An array of an object that acts when it is unpickled."""
    content = bad_data.npy(np.array([bad_data.Canary(folder / "canary")] * 9, object))
    return write(folder / "x.npy", content)


def pickled_in_archive(folder: Path) -> Path:
    """The same in an archive, in place of labels."""
    objects = np.array([bad_data.Canary(folder / "canary")] * 60, object)
    return write(folder / "x.npz", bad_data.npz(x=bad_data.ROWS, y=objects))


def absurd_header(folder: Path) -> Path:
    """More rows than any memory holds."""
    return write(folder / "x.npy", bad_data.absurd("(1099511627776, 64)"))


def negative_header(folder: Path) -> Path:
    """A shape below nothing."""
    return write(folder / "x.npy", bad_data.absurd("(-1, 5)"))


def evaluated_header(folder: Path) -> Path:
    """A header that acts where somebody evaluates it."""
    order = f"__import__('os').mkdir('{folder / 'canary'}') or (9, 9)"
    return write(folder / "x.npy", bad_data.absurd(order[:90]))


def lying_archive(folder: Path) -> Path:
    """See `bad_data.lying_archive`."""
    return write(folder / "x.npz", bad_data.lying_archive())


def climbing_archive(folder: Path) -> Path:
    """See `bad_data.climbing_archive`."""
    return write(folder / "x.npz", bad_data.climbing_archive())


def link_to_secret(folder: Path) -> Path:
    """A link to a file that is not the stranger's to read."""
    path = folder / "x.npy"
    path.symlink_to("/etc/passwd")
    return path


def link_to_device(folder: Path) -> Path:
    """A link to a device without an end."""
    path = folder / "x.csv"
    path.symlink_to("/dev/zero")
    return path


def pipe(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    path = folder / "x.npy"
    os.mkfifo(path)
    return path


def write(path: Path, content: bytes) -> Path:
    """Writes a file and names it."""
    path.write_bytes(content)
    return path


HOSTILE_DATA = (
    pickled,
    pickled_in_archive,
    absurd_header,
    negative_header,
    evaluated_header,
    lying_archive,
    climbing_archive,
    link_to_secret,
    link_to_device,
    pipe,
)


@fault("R14", "data files of a stranger")
def hostile_data(lab, tries):
    def case(make):
        folder = lab.new().parent
        folder.mkdir(parents=True)
        path = make(folder)
        before = sorted(folder.rglob("*"))
        if make is pickled_in_archive:
            # labels that cannot be read only disable what needs them, or the file is refused
            workdir = lab.new()
            ended = lab.run(workdir, f"--dataset={path}", *SMALL, "--epochs=1")
            check(ended.code in (0, 3), ended.words)
        else:
            check_data_refused(lab, path)
        check(not (folder / "canary").exists(), "a stranger's code was run")
        check(sorted(folder.rglob("*")) == before, "something was written beside it")

    yield from each(lab, [functools.partial(case, make) for make in HOSTILE_DATA][:tries])


def linked_checkpoints(run: Path, secret: Path) -> None:
    """The checkpoints are somewhere else."""
    shutil.move(run / "checkpoints", secret / "checkpoints")
    (run / "checkpoints").symlink_to(secret / "checkpoints")


def linked_array(run: Path, secret: Path) -> None:
    """A file of a checkpoint is a link to the outside."""
    step = run / "checkpoints" / str(steps(run)[-1])
    file = next(p for p in step.rglob("*") if p.is_file() and p.name != "manifest.json")
    shutil.move(file, secret / file.name)
    file.symlink_to(secret / file.name)


def named_outside(run: Path, secret: Path) -> None:
    """A manifest that names a file of the outside."""
    manifest = run / "checkpoints" / str(steps(run)[-1]) / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content["files"]["../../../../secret/word"] = {"bytes": 4, "sha256": "0" * 64}
    manifest.write_text(json.dumps(content))


def linked_metrics(run: Path, secret: Path) -> None:
    """The rows of metrics go elsewhere."""
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to(secret / "word")


def linked_plots(run: Path, secret: Path) -> None:
    """The pictures go elsewhere."""
    shutil.rmtree(run / "plots", ignore_errors=True)
    (run / "plots").symlink_to(secret)


def piped_checkpoint(run: Path, secret: Path) -> None:
    """A pipe among the files of a checkpoint."""
    os.mkfifo(run / "checkpoints" / str(steps(run)[-1]) / "state" / "pipe")


def piped_flags(run: Path, secret: Path) -> None:
    """A pipe that nobody writes to, in place of a file of settings."""
    (run / "members.json").unlink()
    os.mkfifo(run / "members.json")


def linked_evaluation(run: Path, secret: Path) -> None:
    """What is measured goes elsewhere."""
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    (run / "evaluation").symlink_to(secret)


def nested_settings(run: Path, secret: Path) -> None:
    """Settings that nest deeper than a reader may go."""
    (run / "config.json").write_text("[" * 100_000)


HOSTILE_RUNS = (
    linked_checkpoints,
    linked_array,
    named_outside,
    linked_metrics,
    linked_plots,
    piped_checkpoint,
    piped_flags,
    linked_evaluation,
    nested_settings,
)


@fault("R14", "run directories of a stranger")
def hostile_runs(lab, tries):
    flags = (*SMALL, "--epochs=4", "--checkpoint_seconds=0")
    whole = lab.whole(*flags)

    def case(change):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        secret = workdir.parent / "secret"
        secret.mkdir()
        (secret / "word").write_text("word")
        change(workdir, secret)
        held = {p: p.read_bytes() for p in secret.rglob("*") if p.is_file()}
        metrics = ["--metrics=objective", f"--run={workdir}"]
        (workdir / "result.json").unlink()
        longer = [f"--workdir={workdir}", *flags, "--epochs=6"]
        for entry, arguments in (("evaluate", metrics), ("vae", longer)):
            ended = finish(lab.launch(["-m", f"experiments.{entry}", *arguments]), timeout=120)
            check("Traceback" not in ended.err, f"{change.__name__}, {entry}: {ended.words}")
            if ended.code:
                lines = ended.err.strip().splitlines()
                check(len(lines) == 1, f"{change.__name__}, {entry}: {ended.words}")
        after = {p: p.read_bytes() for p in secret.rglob("*") if p.is_file()}
        check(held == after, f"{change.__name__}: files outside of the run were written")

    yield from each(lab, [functools.partial(case, change) for change in HOSTILE_RUNS][:tries])
