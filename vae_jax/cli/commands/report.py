"""Writes the page of a run, of a sweep, or of several runs beside one another.

Training leaves the pages of a run and of a sweep; this makes them again, with what an evaluation
measured since, and compares runs example by example.
"""

from collections.abc import Sequence
from pathlib import Path

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import (
    comparison,
    comparison_page,
    config,
    entry,
    evaluated_page,
    metrics,
    parsers,
    run_page,
    sweep_page,
)
from vae_jax.lab import places as places_lib
from vae_jax.lab.build import differences
from vae_jax.storage import files, members

__all__ = ["DESCRIPTION", "FLAGS", "SUFFIX", "main", "run"]

DESCRIPTION = (
    "Writes an HTML file that can be sent alone. One --run: report.html of a run or a sweep, with "
    "the numbers of its evaluation. Several --run, or several members: the runs side by side, "
    "with the settings in which they differ and their differences on the same test examples."
)
SUFFIX = ".html"
FLAGS = {
    "run": "directory of a run, of a sweep, or of one program of it; may be given several times",
    "member": "which runs of the one directory to compare, from 0: several with commas",
    "to": f"the file of a comparison, which ends in {SUFFIX} (default: comparison{SUFFIX} here)",
    "num_examples": "of the test split, evenly spread over it, for a comparison (default: all)",
    "seed": "decides every draw of a comparison (default: 0)",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line."""


def main(values: dict) -> None:
    """Writes the page of the runs that the flags name."""
    if not values["run"]:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    directories = [Path(text) for text in values["run"]]
    if len(directories) > 1 and values["member"] is not None:
        raise UsageError(
            f"--member={values['member']}: chooses among the runs of one directory, --run names "
            f"{len(directories)}: name directories of single runs, or leave --member out"
        )
    if len(directories) == 1 and values["member"] is None:
        _write_own(directories[0])
        return
    places = _places(directories, values["member"])
    if len(places) < 2:
        raise UsageError(
            f"--member={values['member']}: names one run, a comparison needs two: name several "
            "with commas, such as --member=0,1"
        )
    path = Path(values["to"] or f"comparison{SUFFIX}")
    if path.suffix != SUFFIX or path.is_dir():
        raise UsageError(f"--to={path}: must be a file that ends in {SUFFIX}")
    counts = {"seed": 0, "num_examples": None}
    for name, low in (("seed", 0), ("num_examples", 2)):
        if values[name] is not None:
            counts[name] = config.parse_flag(name, values[name], parsers.integer(low))
    runs = comparison.compare(places, _names(places), data_dir=values["data_dir"], **counts)
    pictures = [_pictures(run.place) for run in runs]
    for line in comparison_page.verdict(runs, comparison.differences(runs)):
        console.say(line)
    try:
        files.write_text(path, comparison_page.lines(runs, pictures))
    except StorageError as error:
        raise StorageError(f"--to: {error}") from None
    console.say(f"in {path}: open it in a browser")


def _write_own(directory: Path) -> None:
    """Writes the page of a directory: of its run, or of its sweep."""
    places = places_lib.choose(directory, None)
    if len(places) == 1:
        own = places[0].directory
        evaluated_page.write(own)
        console.say(f"in {own / run_page.NAME}: open it in a browser")
        return
    held = {place.directory: members.read_results(place.directory) for place in places}
    runs = []
    for own, member, _, each in places:
        results = held[own]
        result = None if results is None else results[member]
        runs.append(sweep_page.Shown(own, member, each, result))
    files.write_text(directory / run_page.NAME, sweep_page.page(directory, runs), root=directory)
    console.say(f"in {directory / run_page.NAME}: open it in a browser")


def _places(directories: Sequence[Path], member: str | None) -> list[metrics.Place]:
    """The runs to compare, in the order in which they are named."""
    if member is None:
        return [place for each in directories for place in places_lib.choose(each, None)]
    texts = [text.strip() for text in member.split(",")]
    return [place for text in texts for place in places_lib.choose(directories[0], text)]


def _names(places: Sequence[metrics.Place]) -> list[str]:
    """What each run is called: its settings that differ, or its directory."""
    apart = differences([place.config for place in places])
    if len({*apart}) == len(places):
        return apart
    return [f"{p.directory}{f' member {p.member}' if p.member else ''}" for p in places]


def _pictures(place: metrics.Place) -> dict[str, bytes]:
    """The pictures of a run; those of a program of several runs are of all of them."""
    is_alone = members.num_members(place.directory) == 1
    return run_page.pictures_of(place.directory) if is_alone else {}


def run() -> None:
    """The command `report`."""
    words = [*entry.words("report"), "--run=runs/digits-beta=4", "--run=runs/digits-beta=1"]
    cli.start(main, FLAGS, DESCRIPTION, example=" ".join(words), repeated=("run",))
