"""The results of an evaluation: the printed page, and the files that store them."""

import functools
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_jax import console
from vae_jax.errors import StorageError, UsageError
from vae_jax.evaluation.subject import Subject
from vae_jax.lab import metrics, pictures, tables
from vae_jax.lab.flags import as_flags
from vae_jax.lab.unfinished import Unfinished
from vae_jax.storage import files, locks, members, seals

__all__ = [
    "Keeper",
    "columns",
    "entry",
    "flat",
    "folder",
    "held",
    "lines",
    "owner_of",
    "rows_of",
    "spell",
    "title",
    "told_files",
    "told_step",
    "udr_lines",
    "write",
]


def told_step(trained: metrics.Trained) -> str:
    """A run's step, with the total if training has not ended."""
    step, num_steps = trained.member.step, trained.experiment.num_steps
    if step >= num_steps or trained.program.results is not None:
        return f"{step:,}"
    return f"{step:,} of {num_steps:,}, its training is not finished"


def title(metric: str, settings: dict) -> str:
    """The key of a result: a split other than test gets its own key."""
    split = settings.get("split", "test")
    return metric if split == "test" else f"{metric}_{split}"


def lines(results: dict[str, dict], given: dict) -> Iterator[str]:
    """Formats the results of one run, each with its standard error and its meaning.

    Args:
        results: metric → result of `measure`.
        given: the settings given by flags.
    """
    for metric, result in results.items():
        if "left_out" in result:
            yield f"{metric}: left out, {result['left_out']}"
            continue
        words = [f"{result['seconds']:.1f} s", *(f"{k}={v}" for k, v in given.items())]
        yield f"{metric} ({', '.join(words)}):"
        values = result["values"]
        names = [name for name in values if not name.endswith(metrics.ERROR)]
        width = max(map(len, names), default=0)
        for name in names:
            meaning = as_flags(result["definitions"].get(name, ""))
            if isinstance(values[name], dict):
                yield f"  {name}: {meaning}"
                yield from (f"    {key}: {spell(each)}" for key, each in values[name].items())
                continue
            error = values.get(f"{name}{metrics.ERROR}")
            told = spell(values[name]) + ("" if error is None else f" ± {error:.2g}")
            yield from entry(f"  {name:<{width}}  ", told, meaning)
        own = [f"{metric}_{name}" for name in result["settings"]]
        for note in result["notes"]:
            indents = {"initial_indent": "  ", "subsequent_indent": "    "}
            yield from textwrap.wrap(f"note: {as_flags(note, own)}", columns(), **indents)


def entry(head: str, told: str, meaning: str) -> Iterator[str]:
    """Formats a value and its meaning, which is wrapped in its own column."""
    indent = len(head) + 22
    wrapped = textwrap.wrap(meaning, max(40, columns() - indent - 1)) or [""]
    if len(told) > 20:
        goes_on = " " * len(head)
        indents = {"initial_indent": head, "subsequent_indent": goes_on}
        yield from textwrap.wrap(told, columns(), **indents)
    else:
        yield f"{head}{told:<20}  {wrapped.pop(0)}".rstrip()
    yield from (" " * indent + line for line in wrapped if line)


def udr_lines(ranking: dict) -> Iterator[str]:
    """Formats the scores of all runs, each beside its run."""
    for group in ranking["values"]["groups"]:
        yield (
            f"udr over {len(group['runs'])} runs, {group['num_points']:,} examples of "
            f"{group['dataset']}:"
        )
        yield from textwrap.wrap(
            ranking["definitions"]["udr"], columns(), initial_indent="  ", subsequent_indent="  "
        )
        rows = zip(
            group["runs"],
            group["scores"],
            group["standard_errors"],
            group["num_informative"],
            strict=True,
        )
        for place, score, error, num in rows:
            told = f"{score:.4f}" + ("" if error is None else f" ± {error:.2g}")
            yield (
                f"  member {place['member']} of {place['program']}  {told}, "
                f"{num} informative dimensions"
            )


def columns() -> int:
    """The width of a page, a count of characters."""
    return max(80, shutil.get_terminal_size((110, 24)).columns)


def spell(value: Any) -> str:
    """Formats a value for a table; a list is shortened."""
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, dict):
        return ", ".join(f"{key} {spell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(f"{v:.3g}" for v in value[:8]) + (" …" if len(value) > 8 else "")
    if isinstance(value, int | str):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:.3f}" if abs(value) >= 10 else f"{value:.4f}"


def folder(directory: Path) -> Path:
    """The folder for the results of a run or of a sweep.

    Raises:
        UsageError: a symbolic link leads to another place.
    """
    return files.inside(directory, "evaluation")


def owner_of(directory: Path) -> str | None:
    """The id to which the files of a run or sweep are sealed; None if it has no config."""
    try:
        return members.owner(directory)
    except UsageError:
        return None


def held(directory: Path, name: str, owner: Callable = owner_of) -> dict[str, dict]:
    """The metrics in a file; {} if there is no file, or if it was changed.

    Args:
        directory: directory of the run or sweep.
        name: name of the file.
        owner: returns the id that seals the files of a directory.
    """
    return _read(folder(directory) / name, owner(directory)) or {}


def _read(path: Path, owner: str | None) -> dict[str, dict] | None:
    """The metrics in a file; {} if there is no file, None if it was changed."""
    try:
        stored = files.read_json(path)
        is_older = owner is None and "seal" not in stored
        body = stored if is_older else seals.unseal(stored, owner, path.name)
        metrics = dict(body["metrics"])
        are_ours = (isinstance(each.get("values", {}), dict) for each in metrics.values())
        return metrics if all(are_ours) else None
    except FileNotFoundError:
        return {}
    except (StorageError, AttributeError, ValueError, KeyError, TypeError):
        return None


def write(directory: Path, name: str, results: dict[str, dict], owner: Callable = owner_of) -> None:
    """Adds metrics to a run's file and keeps the others; the caller must hold the lock.

    Args:
        directory, name, owner: as in `held`.
        results: metric → result of `measure`.
    """
    path, run_id = folder(directory) / name, owner(directory)
    before = _read(path, run_id)
    if before is None:
        aside = path.with_name(f"{name}.damaged")
        path.replace(aside)
        console.say(f"{path} is not as it was written: it is now {aside.name}, a new one is begun")
    body = {"metrics": {**(before or {}), **_news(before or {}, results)}}
    files.write_json(path, seals.seal(body, run_id, path.name), root=directory)


def _news(before: dict[str, dict], results: dict[str, dict]) -> dict[str, dict]:
    """The results to store: a reason for no result does not replace numbers."""
    return {k: v for k, v in results.items() if "values" in v or "values" not in before.get(k, {})}


def told_files(directory: Path, written: Iterable[Path]) -> str:
    """Tells which files of a run or of a sweep were written."""

    def tell(path):
        if path.parent == directory:
            return path.name
        is_own = path.parent.parent == directory
        return f"{path.parent.name}/" + ("" if is_own else " of each program")

    return ", ".join(sorted({tell(path) for path in written}))


class Keeper:
    """Writes results if possible; a read-only run can be evaluated, too.

    Simultaneous evaluations of a run write one after the other, so no results are lost.

    Attributes:
        is_able: whether all writes so far succeeded; after a failure, which is printed, no more are
            tried.
        written: paths of the files that were written.
    """

    def __init__(self):
        self.is_able = True
        self.written: set[Path] = set()
        self._root: Path | None = None
        self._done: Unfinished | None = None
        # the config of a program has all of its runs: it is read once
        self._owner_of = functools.cache(owner_of)

    def begin(self, directory: Path, request: metrics.Request) -> None:
        """Begins an evaluation, or goes on with one of the same request that was interrupted.

        Args:
            directory: directory of the run or sweep that is evaluated.
            request: what is measured, and how.
        """
        about = seals.digest(seals.plain(request))
        owner = self._owner_of(directory)
        self._root, self._done = directory, Unfinished(directory, folder(directory), owner, about)
        if self._done.parts:
            console.say(f"resuming: {len(self._done.parts)} metrics were measured before")

    def known(self, path: Path, name: str, metric: str, step: int) -> dict | None:
        """The result that this evaluation has kept before it was interrupted, or None.

        Args:
            path, name: as in `keep`.
            metric: key of the result, from `title`.
            step: step of the run, a scalar.
        """
        told = None if self._done is None else self._done.parts.get(self._key(path, name, metric))
        if told is None:
            return None
        result = held(path, f"{name}.json", self._owner_of).get(metric)
        if result is None or result.get("step") != step or seals.digest(result) != told:
            return None
        return {**result, "values": seals.numbers(result["values"])}

    def _key(self, path: Path, name: str, metric: str) -> str:
        return f"{path.relative_to(self._root)}/{name}/{metric}" if self._root else ""

    def finish(self) -> None:
        """Ends an evaluation: the same request measures everything again."""
        if self._done is not None and self._done.parts:
            self._try(self._root, self._done.remove)

    def do(self, directory: Path, act: Callable[[], Any], path: Path) -> None:
        """Writes a file of a run or sweep under a lock, or prints why it cannot be written.

        Args:
            directory: directory of the run or sweep.
            act: reads the file and writes it.
            path: path of the file.
        """
        if self._try(directory, act):
            self.written.add(path)

    def _try(self, directory: Path, act: Callable[[], Any]) -> bool:
        """Whether a function that writes could be called under a lock; see `do`."""
        if not self.is_able:
            return False
        try:
            with locks.alone(files.make_folder(folder(directory), directory) / "lock"):
                act()
        except (OSError, StorageError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            console.say(f"nothing is kept: {reason} ({folder(directory)})")
            self.is_able = False
        return self.is_able

    def write(self, directory: Path, name: str, results: dict) -> None:
        """Adds results to a file, see `write`."""
        path = folder(directory) / name
        self.do(directory, lambda: write(directory, name, results, self._owner_of), path)

    def keep(self, path: Path, name: str, results: dict, subject: Subject) -> None:
        """Adds a run's results to its file, with the pictures beside them; then they are done."""
        if _news(held(path, f"{name}.json", self._owner_of), results):
            self.write(path, f"{name}.json", results)
        measured = [metric for metric, result in results.items() if "values" in result]
        for picture, make in pictures.of_metrics(subject, measured).items():
            drawn = {f"{name}-{picture}": make}
            draw = functools.partial(pictures.draw_each, drawn, path, [folder(path).name])
            self.do(path, draw, folder(path) / f"{name}-{picture}.png")
        done = self._done
        if done is not None and measured:
            parts = {
                self._key(path, name, metric): seals.digest(seals.plain(results[metric]))
                for metric in measured
            }
            self._try(self._root, lambda: done.add(parts))


def rows_of(
    directory: Path, places: Sequence[metrics.Place], steps: Sequence[int | None]
) -> list[dict]:
    """One row per run: its place, its differing settings, status, and all results of its step.

    Args:
        directory: directory of the sweep, which contains the results of `udr`.
        places: places of its runs.
        steps: step of each run, None if it diverged.
    """
    scores = _scores(directory)
    apart = tables.varying([place.config for place in places])
    programs = {place[0] for place in places}
    results_in = {path: members.read_results(path) for path in programs}
    owners = {path: owner_of(path) for path in programs}
    rows = []
    for (path, member, _, each), step in zip(places, steps, strict=True):
        results = results_in[path]
        status = "unfinished" if results is None else results[member]["status"]
        kept = folder(path) / f"member-{member}.json"
        own = {
            name: result
            for name, result in (_read(kept, owners[path]) or {}).items()
            if step is not None and result.get("step") == step
        }
        setting = each.requested()
        rows.append(
            {"program": path.name, "member": member}
            | {name: tables.plain(setting.get(name)) for name in apart}
            | {"status": "diverged" if step is None else status, "step": step}
            | flat(own)
            | scores.get((owners[path], path.name, member, step), {})
        )
    return rows


def _scores(directory: Path) -> dict[tuple, dict]:
    """The scores of `udr` in a sweep: id, program, member, step → columns of a table."""
    ranking = held(directory, f"{metrics.UDR}.json").get(metrics.UDR, {})
    scores = {}
    try:
        for group in ranking.get("values", {}).get("groups", []):
            told = zip(group["runs"], group["scores"], group["standard_errors"], strict=True)
            for run, score, error in told:
                place = (run.get("id"), run["program"], run["member"], run["step"])
                scores[place] = {"udr.udr": score, f"udr.udr{metrics.ERROR}": error}
    except (ValueError, KeyError, TypeError):  # the file is damaged
        return {}
    return scores


def flat(results: dict[str, dict]) -> dict[str, Any]:
    """The results of one run as a row of a table: `metric.name` → value."""
    return {
        f"{metric}.{name}": value
        for metric, result in results.items()
        for name, value in result.get("values", {}).items()
        if not isinstance(value, list | dict)
    }
