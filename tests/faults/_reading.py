"""Every number that the commands read of a run directory, called in place; and what takes others.

`python -m tests.faults._reading TASK …` does many tries in one process, where a command for
each would take three seconds: it writes what each of them lost to a file.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import reproduce
from experiments.recipes import Column
from vae_jax.cli.commands import evaluate
from vae_jax.errors import VaeJaxError
from vae_jax.lab import metrics, places, report, sweep, sweep_results, tables
from vae_jax.storage import exported, members, seals

_SWEEP = {"seed": "0,1", "beta": "1,4", "widths": "16", "latent_dim": "2", "epochs": "4"}
SWEEPS = {"sweep0": _SWEEP, "sweep1": {**_SWEEP, "learning_rate": "2e-3"}}
"""The flags of sweeps that are read, by the names of their directories."""
PER_PROGRAM = 2
COLUMN = Column("loss", "objective", "loss")
"""Of a table of `experiments.reproduce`."""
EXPORT = "model.safetensors"


class CrashError(Exception):
    """Reading ended in something else than one line."""


def digest(*trees: Any) -> str:
    """A hash of arrays and of what JSON holds."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        is_array = hasattr(leaf, "dtype")
        found.update(np.asarray(leaf).tobytes() if is_array else repr(leaf).encode())
    return found.hexdigest()


def read_or_none(read: Callable[[], Any]) -> Any:
    """What a function gives, None if it refuses in one line.

    Raises:
        CrashError: it fails otherwise.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return read()
    except VaeJaxError as error:
        if "\n" in str(error):
            raise CrashError(f"two lines: {error}") from None
        return None
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise CrashError(
            f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        ) from error


def loaded(directory: Path, member: int) -> tuple[int, str]:
    """What evaluation and export take of a run: its step, a hash of all that decides numbers."""
    trained = metrics.load(directory, member)
    experiment = trained.experiment
    settings = {**trained.member.settings, "failure": trained.member.failure}
    held = [experiment.config.identity(), experiment.num_steps, experiment.dataset.sha256, settings]
    mask = trained.member.latent_mask
    return trained.member.step, digest(seals.digest(seals.plain(held)), trained.params, mask)


def column(directory: Path, member: int) -> Any:
    """What `experiments.reproduce` has kept of a run, None if it measures it again."""
    results = members.read_results(directory)
    if results is None:
        return None
    key = {"metric": COLUMN.metric, "settings": {}, "trained_to": results[member]["step"]}
    path = directory / "evaluation" / f"column-{COLUMN.name}-{member}.json"
    return reproduce._held(path, key, members.owner(directory))


def read_export(directory: Path) -> str:
    """All of an exported file, as a hash."""
    _, params = exported.load(directory / EXPORT)
    about = exported.description(directory / EXPORT)
    return digest(seals.digest(seals.plain(about)), params)


def of_program(directory: Path) -> Iterator[tuple[str, Any]]:
    """(name, value) of whatever is read of a run, or of one program of a sweep; None if refused."""
    yield "results", read_or_none(lambda: members.read_results(directory))
    yield "rows", read_or_none(lambda: members.read_rows(directory))
    num = read_or_none(lambda: members.num_members(directory)) or 0
    for member in range(num):
        run = read_or_none(functools.partial(loaded, directory, member))
        # of a step that does not verify an earlier one takes the place, which is said
        yield f"run {member}{'' if run is None else f' at step {run[0]}'}", run
        yield f"column {member}", read_or_none(functools.partial(column, directory, member))
        held = functools.partial(report.held, directory, f"member-{member}.json")
        yield f"kept {member}", read_or_none(held) or None


def of_sweep(directory: Path) -> Iterator[tuple[str, Any]]:
    """(name, value) of whatever is read of a sweep beside its programs and table."""
    owner = read_or_none(lambda: members.owner(directory))
    yield f"{owner}: udr", read_or_none(lambda: report.held(directory, "udr.json")) or None
    # the runs that the sweep's command asks for, whose flags are in no file that could be damaged
    configs = sweep.make_configs(SWEEPS[directory.name])
    programs = sweep.group(configs, PER_PROGRAM)
    gathered = read_or_none(lambda: sweep_results.gather(programs, directory, len(configs)))
    gathered = enumerate(gathered or ())
    yield from ((f"{directory.name}: gathered {run}", each) for run, each in gathered)
    ended = read_or_none(lambda: sweep_results.ended(programs, directory)) or []
    curves = read_or_none(lambda: tables.curves(ended, directory)) or []
    for run in range(len(configs)):
        yield (
            f"{directory.name}: curves {run}",
            [row for row in curves if row["run"] == run] or None,
        )


def table(directory: Path, steps: Mapping[tuple[str, int], int]) -> list[dict]:
    """The rows of evaluation.csv as an evaluation makes them; none if it refuses a run.

    Args:
        directory: of the sweep.
        steps: of each run that could be loaded, by the name of its program and its member.
    """
    held = places.choose(directory, None)
    found = [steps.get((place.directory.name, place.member)) for place in held]
    return [] if None in found else report.rows_of(directory, held, found)


SETTINGS = ("seed", "beta", "status", "step")
"""Columns of a table that are no metrics, and are there whatever the table's other runs are."""


def cells(directory: Path, rows: Sequence[Mapping]) -> dict[str, Any]:
    """The cells of a table of a sweep by whose they are; "unfinished" is none."""
    return {
        f"{members.owner(directory / 'programs' / row['program'])}: "
        f"table {row['member']} at step {row['step']} {name}": value
        for row in rows
        for name, value in row.items()
        if (name in SETTINGS or "." in name) and value != "unfinished"
    }


def numbers(
    directory: Path, known: Mapping[Path, Mapping[str, Any]] = MappingProxyType({})
) -> dict[str, Any]:
    """Whatever is read below the directory of a run or sweep, by whose it is and by name.

    Args:
        directory: of the run or sweep.
        known: program → what is read of it: of those in which nothing was changed.
    """
    found, steps = {}, {}
    below = programs_of(directory)
    for program in below or [directory]:
        owner = read_or_none(lambda program=program: members.owner(program) or program.name)
        own = known.get(program) or dict(of_program(program))
        found |= {f"{owner}: {name}": value for name, value in own.items()}
        loads = [name.split() for name in own if " at step " in name]
        steps |= {(program.name, int(words[1])): int(words[-1]) for words in loads}
    if below:
        found |= dict(of_sweep(directory))
        # its rows are of their runs, with or without a config of the sweep
        found |= read_or_none(lambda: cells(directory, table(directory, steps))) or {}
    elif (directory / EXPORT).exists():
        found["export"] = read_or_none(lambda: read_export(directory))
    return found


def programs_of(directory: Path) -> list[Path]:
    """The directories of a sweep's programs; of a run alone none."""
    return sorted((directory / "programs").glob("*/"))


def wholes(roots: Iterable[Path]) -> dict[str, Any]:
    """What is read of runs that nobody changed, none of it refused; and of their earlier steps."""
    found = {}
    for root in roots:
        own = numbers(root)
        refused = [name for name, value in own.items() if value is None]
        if refused:
            raise CrashError(f"of {root}, which nobody changed, {', '.join(refused)} is refused")
        with tempfile.TemporaryDirectory() as made:
            copy = Path(made, root.name)
            shutil.copytree(root, copy)
            found |= earlier(copy) | own
    return found


def earlier(root: Path) -> dict[str, Any]:
    """What is read of a run or sweep whose newest steps are removed, program after program."""
    found = {}
    for folder in sorted(root.rglob("checkpoints")):
        newest = max((path for path in folder.iterdir() if path.name.isdigit()), key=_number)
        if len([path for path in folder.iterdir() if path.name.isdigit()]) > 1:
            shutil.rmtree(newest)
        found |= numbers(root)
    return found


def _number(path: Path) -> int:
    return int(path.name)


def judge(
    root: Path,
    whole: Mapping[str, Any],
    told: str,
    known: Mapping[Path, Mapping[str, Any]] = MappingProxyType({}),
) -> str | None:
    """The reason of a loss: another value was accepted, or reading did not end in one line.

    Args:
        root: of the run or sweep that is read.
        whole: what must be read, or refused.
        told: what was done, in words.
        known: as of `numbers`.
    """
    try:
        found = numbers(root, known)
    except CrashError as crash:
        return f"{told}: {crash}"
    taken = [n for n, v in found.items() if v is not None and repr(v) != repr(whole.get(n))]
    return f"{told}: another {', '.join(taken[:3])}" if taken else None


def flipped(content: bytes, bit: int) -> bytes:
    """A content, one of its bits another."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flips(folder: Path, seed: int, tries: int) -> Iterator[str | None]:
    """Flips a bit of a file of a run or sweep, reads all of it, and flips it back."""
    generator = np.random.default_rng(seed)
    whole = wholes([folder])
    known = {program: dict(of_program(program)) for program in programs_of(folder)}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    # all files in turn: each is tried as often as any other
    rounds = (generator.permutation(len(files)) for _ in itertools.count())
    for number in itertools.islice(itertools.chain.from_iterable(rounds), tries):
        content = files[number].read_bytes()
        bit = int(generator.integers(8 * len(content)))
        files[number].write_bytes(flipped(content, bit))
        others = {p: known[p] for p in known if p not in files[number].parents}
        yield judge(folder, whole, f"bit {bit} of {files[number].relative_to(folder)}", others)
        files[number].write_bytes(content)


class Swap(NamedTuple):
    """What takes the place of what.

    Attributes:
        into: the directory, below a folder, that gets files of another.
        files: what it gets → where from, below the folder.
        told: in words.
    """

    into: str
    files: dict[str, str]
    told: str


PARTS = {
    "checkpoints": ["checkpoints"],
    "result": ["result.json"],
    "rows": ["metrics.csv"],
    "result and rows": ["result.json", "metrics.csv"],
    "evaluation": ["evaluation"],
    "flags": ["members.json"],
    "config": ["config.json"],
    "config and flags": ["config.json", "members.json"],
    "checkpoints, result and rows": ["checkpoints", "result.json", "metrics.csv"],
    "all but the config": [
        *("checkpoints", "result.json", "metrics.csv", "evaluation", "members.json"),
    ],
}
"""What of a run takes another's place, in words → its files."""


def swaps_of_runs(names: Sequence[str]) -> Iterator[Swap]:
    """Each part of each run in the place of each other's."""
    for into, source in itertools.permutations(names, 2):
        for told, parts in PARTS.items():
            files = {part: f"{source}/{part}" for part in parts}
            yield Swap(into, files, f"{into} gets of {source} {told}")


def swaps_of_older(older: str, names: Sequence[str]) -> Iterator[Swap]:
    """Parts of a run that an older version left, without seals, in runs of this one."""
    for into, parts in itertools.product(names, ("checkpoints", "result.json", "metrics.csv")):
        yield Swap(into, {parts: f"{older}/{parts}"}, f"{into} gets of {older} {parts}")


def swaps_of_sweeps(sweeps: Sequence[str], programs: Sequence[str]) -> Iterator[Swap]:
    """Programs and what is kept of their members, within a sweep and between two."""
    first, second = (f"programs/{name}" for name in programs)
    for into, other in itertools.permutations(sweeps, 2):
        whole = {
            "its programs exchanged": {first: f"{into}/{second}", second: f"{into}/{first}"},
            "a program of the other": {first: f"{other}/{first}"},
            "the udr of the other": {"evaluation/udr.json": f"{other}/evaluation/udr.json"},
        }
        parts = ("results.json", "metrics.csv", "checkpoints", "evaluation", "config.json")
        whole |= {
            f"{part} of {source}": {f"{first}/{part}": f"{source}/{part}"}
            for part in parts
            for source in (f"{into}/{second}", f"{other}/{first}")
        }
        for kept in ("member-{}.json", f"column-{COLUMN.name}-{{}}.json"):
            one, two = (f"{first}/evaluation/{kept.format(member)}" for member in range(2))
            whole[f"members' {kept}"] = {one: f"{into}/{two}", two: f"{into}/{one}"}
        yield from (Swap(into, files, f"{into}: {told}") for told, files in whole.items())


def swaps(folder: Path, seed: int, tries: int) -> Iterator[str | None]:
    """Puts parts of runs and sweeps in one another's place, and reads all of what got them.

    Below the folder lie runs, sweeps (of a name that says so), and one that is older.
    """
    del seed  # all cases that there are
    names = sorted(path.name for path in folder.iterdir())
    sweeps = [name for name in names if name.startswith("sweep")]
    runs = [name for name in names if name not in (*sweeps, "older")]
    programs = [path.name for path in programs_of(folder / sweeps[0])]
    cases = [*swaps_of_sweeps(sweeps, programs), *swaps_of_older("older", runs)]
    cases += swaps_of_runs(runs)
    whole = wholes(folder / name for name in names)
    for case in cases[:tries]:
        with tempfile.TemporaryDirectory() as made:
            root = Path(made, case.into)
            shutil.copytree(folder / case.into, root)
            for file, source in case.files.items():
                remove(root / file)
                copy = shutil.copytree if (folder / source).is_dir() else shutil.copy
                copy(folder / source, root / file)
            yield judge(root, whole, case.told)


def remove(path: Path) -> None:
    """Removes a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def keep_all(folder: Path, seed: int, tries: int) -> Iterator[str | None]:
    """Has all be measured of the runs and sweeps in a folder that the commands keep of them."""
    del seed, tries
    for root in sorted(folder.iterdir()):
        is_sweep = (root / "programs").is_dir()
        asked = {"run": str(root), "metrics": "objective,udr" if is_sweep else "objective"}
        evaluate.main({**dict.fromkeys(evaluate.flag_texts()), **asked})
        for place in places.choose(root, None):
            reproduce.measure((place.directory, place.member), [COLUMN], metrics.Loader())
            yield None


TASKS = {"flips": flips, "swaps": swaps, "keep": keep_all}


def main(task: str, folder: str, seed: str, tries: str, output: str) -> None:
    """Does the tries of a task, and writes what each of them lost: None, or the reason."""
    lost = list(TASKS[task](Path(folder), int(seed), int(tries)))
    Path(output).write_text(json.dumps(lost))


if __name__ == "__main__":
    main(*sys.argv[1:])
