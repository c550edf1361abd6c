"""R17: no number of a damaged file, or of another run, is taken for a run's own."""

import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import _reading
from ._lab import (
    PROJECT,
    Lab,
    check,
    check_refused,
    each,
    fault,
    finish,
    outcome,
)

OLDER = PROJECT / "tests" / "fixtures" / "schema1" / "single"
SMALL = ("--widths=16", "--latent_dim=2", "--epochs=4", "--checkpoint_seconds=0")
# evaluated at another number of epochs, beta would be another
RUN = (*SMALL, "--beta=linear(0, 4, 100%)")
SWEEPS = {
    name: (*(f"--{flag}={value}" for flag, value in flags.items()), "--runs_per_program=2")
    for name, flags in _reading.SWEEPS.items()
}


def command(lab: Lab, entry: str, *flags: str) -> None:
    """Runs a command that must end well."""
    ended = finish(lab.launch(["-m", f"experiments.{entry}", *flags]))
    check(ended.code == 0, f"{entry}: {ended.words}")


def in_place(lab: Lab, task: str, folder: Path, tries: int) -> Iterator[str | None]:
    """Does the tries of a task of `_reading` in a process of their own."""
    output = lab.new().parent / "lost.json"
    output.parent.mkdir(parents=True)
    seed = int(lab.generator.integers(2**31))
    words = [task, str(folder), str(seed), str(tries), str(output)]
    ended = finish(lab.launch(["-m", "tests.faults._reading", *words]), timeout=1800)
    check(ended.code == 0, ended.words)
    yield from json.loads(output.read_text())


def train(lab: Lab, workdir: Path, *flags: str, pictures: bool = False) -> None:
    """Trains a run or sweep to its end."""
    ended = lab.run(workdir, *flags, pictures=pictures)
    check(ended.code == 0, ended.words)


def keep_all(lab: Lab, folder: Path) -> None:
    """Has all be measured of the runs in a folder that the commands keep of them."""
    check(list(in_place(lab, "keep", folder, 0)) != [], f"{folder} holds no run")


@fault("R17", "a bit flipped in each file of a run, by turns: other numbers read", tries=1300)
def flips_of_a_run(lab, tries):
    folder = lab.new()
    train(lab, folder / "run", *RUN, pictures=True)
    keep_all(lab, folder)
    command(lab, "export", f"--run={folder / 'run'}")
    yield from in_place(lab, "flips", folder / "run", tries)


@fault("R17", "a bit flipped in each file of a sweep, by turns: other numbers read", tries=1000)
def flips_of_a_sweep(lab, tries):
    folder = lab.new()
    train(lab, folder / "sweep0", *SWEEPS["sweep0"], "--checkpoint_seconds=0")
    keep_all(lab, folder)
    yield from in_place(lab, "flips", folder / "sweep0", tries)


def data_file(folder: Path, number: int) -> Path:
    """A file of 300 rows of 6 columns, other numbers in each."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"data{number}.npy"
    np.save(path, np.random.default_rng(number).normal(size=(300, 6)).astype(np.float32))
    return path


@fault("R17", "parts of runs, sweeps and members in one another's place", tries=245)
def swaps(lab, tries):
    folder = lab.new()
    data = [f"--dataset={data_file(folder.parent, number)}" for number in range(2)]
    settings = {
        "seed0": [],
        "seed1": ["--seed=1"],
        "beta": ["--beta=2"],
        "data0": [data[0]],
        "data1": [data[1]],
    }
    for name, flags in settings.items():
        train(lab, folder / name, *RUN, *flags)
    for name, flags in SWEEPS.items():
        train(lab, folder / name, *flags)
    shutil.copytree(OLDER, folder / "older")
    keep_all(lab, folder)
    yield from in_place(lab, "swaps", folder, tries)


def without(workdir: Path, name: str) -> Path:
    """A file of a run that is removed."""
    path = workdir / name
    path.unlink() if path.is_file() else shutil.rmtree(path)
    return path


def check_resumed(lab: Lab, workdir: Path, whole: Path, told: str) -> None:
    """Raises `LostError` unless the command ends with the run's own numbers, or in one line."""
    ended = lab.run(workdir, *RUN)
    if ended.code:
        check_refused(ended, (2, 3, 5))
        return
    found, wanted = outcome(workdir), outcome(whole)
    rows, all_rows = found.pop("metrics.csv", b""), wanted.pop("metrics.csv")
    found.pop("damaged/metrics.csv", None)
    # rows that were set aside are missing, and no other ones are there
    check(set(rows.splitlines()) <= set(all_rows.splitlines()), f"{told}: other rows")
    is_told = re.search("not as it was written|failed verification", ended.out) is not None
    check(rows == all_rows or is_told, f"{told}: rows are missing, and nothing says so")
    for results in (found, wanted):
        result = json.loads(results["./result.json"])
        result.pop("metrics_sha256")
        results["./result.json"] = result
    check(found == wanted, f"{told}: differs from the undisturbed run's")


@fault("R17", "the real command on a run of which a file has a flipped bit: resumed", tries=18)
def resumed_after_flips(lab, tries):
    whole = lab.whole(*RUN)
    of_checkpoints = [p for p in whole.rglob("checkpoints/*/**/*") if p.is_file()]
    small = ("config.json", "members.json", "env.json", "metrics.csv", "result.json", "lock")
    files = [*(whole / name for name in small), *sorted(of_checkpoints)]

    def case(path):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        if path.name != "result.json":
            without(workdir, "result.json")
        injured = workdir / path.relative_to(whole)
        content = injured.read_bytes()
        bit = int(lab.generator.integers(8 * len(content)))
        injured.write_bytes(_reading.flipped(content, bit))
        check_resumed(lab, workdir, whole, f"bit {bit} of {path.relative_to(whole)}")

    order = [files[n % len(files)] for n in range(len(small))]
    order += lab.generator.choice(of_checkpoints, max(0, (tries or 0) - len(order))).tolist()
    yield from each(lab, [functools.partial(case, path) for path in order[:tries]])


@fault("R17", "the real command on a run with parts of another: resumed", tries=8)
def resumed_after_swaps(lab, tries):
    whole = lab.whole(*RUN)
    others = [lab.whole(*RUN, "--seed=1"), OLDER]
    parts = {
        "checkpoints": ["checkpoints"],
        "rows": ["metrics.csv"],
        "result": ["result.json"],
        "all": ["checkpoints", "metrics.csv", "result.json", "members.json"],
    }

    def case(other, told):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        without(workdir, "result.json")
        for part in parts[told]:
            if (workdir / part).exists():
                without(workdir, part)
            copy = shutil.copytree if (other / part).is_dir() else shutil.copy
            copy(other / part, workdir / part)
        check_resumed(lab, workdir, whole, f"{told} of {other.name}")

    cases = [functools.partial(case, other, told) for other in others for told in parts]
    yield from each(lab, cases[:tries])


@fault("R17", "the real sweep, its programs exchanged, trained here and by workers", tries=2)
def exchanged_programs(lab, tries):
    flags = SWEEPS["sweep0"]
    whole = lab.whole(*flags)

    def case(more):
        workdir = lab.new()
        shutil.copytree(whole, workdir)
        one, two = sorted((workdir / "programs").glob("*/"))
        aside = one.rename(workdir / "aside")
        two.rename(one)
        aside.rename(two)
        ended = lab.run(workdir, *flags, *more)
        lines = ended.err.strip().splitlines()
        check(ended.code in (2, 7), f"{more}: {ended.words}")
        check(len(lines) == 1 and "Traceback" not in ended.err, f"{more}: {ended.words}")
        table = (workdir / "sweep.csv").read_bytes()
        is_whole = table == (whole / "sweep.csv").read_bytes()
        check(is_whole or b"done" not in table, f"{more}: results of other runs in sweep.csv")

    workers = ("--executor=local", "--num_workers=2")
    yield from each(lab, [functools.partial(case, more) for more in ((), workers)][:tries])
