"""The page of a run, `report.html`: what ran, its numbers, findings and pictures, how to go on."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import diagnosis, pages
from vae_jax.errors import VaeJaxError, first_line
from vae_jax.lab import entry, tables
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files

__all__ = [
    "NAME",
    "command_of",
    "findings",
    "lines",
    "numbers",
    "page",
    "pictures_of",
    "store",
    "table",
    "write",
]

NAME = "report.html"
"""File of a run; it can be moved and sent alone."""
_NEXT = {
    "doctor": "says what is wrong, with measurements of the model",
    "evaluate": "measures what takes seconds; with metrics=all, every metric that applies",
    "export": "writes the model to a file",
}
"""Command → what it does with the run."""


def write(run, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Writes the page of a single run whose results are written.

    Args:
        run: the open run.
        settings: those of its training.
        result: as in `result.json`.
    """
    store(run, lambda: page(Path(run.directory), settings, result))


def store(run, make: Callable[[], Iterable[str]]) -> None:
    """Writes a page into a run or sweep; a page that cannot be written is told and loses nothing.

    Args:
        run: the open run or sweep.
        make: makes the lines.
    """
    try:
        files.write_text(run.path(NAME), make(), root=run.directory)
    except (OSError, VaeJaxError) as error:  # the results are safe
        run.log(f"{NAME} could not be written ({first_line(error)})", echo=True)


def page(
    directory: Path,
    settings: Mapping[str, Any],
    result: Mapping[str, Any],
    measured: Iterable[str] = (),
) -> Iterator[str]:
    """The lines of the page of a run, with the pictures and the command in its directory.

    Args:
        directory: of the run.
        settings, result: see `write`.
        measured: lines about its evaluation.
    """
    pictures = pictures_of(directory)
    return lines(directory, command_of(directory), settings, result, pictures, measured)


def pictures_of(directory: Path) -> dict[str, bytes]:
    """The pictures in `plots/`: name → PNG, or SVG if there is no PNG; links are none."""
    folder = files.inside(directory, "plots")
    drawn = {
        path.stem: path
        for ending in ("svg", "png")
        for path in folder.glob(f"*.{ending}")
        if not path.is_symlink()
    }
    return {stem: drawn[stem].read_bytes() for stem in sorted(drawn)}


def command_of(directory: Path) -> str:
    """The command that trained what is in a directory; "" if it is lost."""
    try:
        return (directory / "command.txt").read_text(errors="replace").strip()
    except OSError:
        return ""


def lines(
    directory: Path,
    command: str,
    settings: Mapping[str, Any],
    result: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    measured: Iterable[str] = (),
) -> Iterator[str]:
    """The lines of the page.

    Args:
        directory: of the run.
        command: which trained it.
        settings, result: see `write`.
        pictures: name → PNG or SVG.
        measured: see `page`.
    """
    yield from pages.head(f"{directory.name}: {result['status']} at step {result['step']:,}")
    yield f"<h2>Verdict</h2><p>{pages.escape(diagnosis.use(result) or '')}</p>"
    yield from findings(result)
    yield "<h2>Numbers of the test split</h2>"
    yield from numbers(result)
    yield from measured
    yield '<h2>Pictures</h2><div class="pictures">'
    yield from (pages.picture(png, name.replace("_", " ")) for name, png in pictures.items())
    yield f"</div><h2>Command</h2><pre>{pages.escape(command)}</pre>"
    chosen = [(name, str(value)) for name, value in settings.items() if value is not None]
    yield "<details><summary>All settings</summary>"
    yield from pages.table(("setting", "value"), chosen)
    yield "</details><h2>How to go on</h2>"
    for name, purpose in _NEXT.items():
        words = shlex.join([*entry.words(name), f"--run={directory}"])
        yield f"<pre>{pages.escape(words)}   # {pages.escape(purpose)}</pre>"
    yield "</html>"


def findings(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table of what is wrong with a run, or that nothing is.

    Args:
        result: as in `result.json`.
    """
    found = [list(finding.values()) for finding in result.get("diagnosis", ())]
    told = [(what, evidence, as_flags(remedy)) for what, evidence, remedy in found]
    none = ["<p>Nothing was found to be wrong.</p>"]
    yield from pages.table(("finding", "evidence", "remedy"), told) if told else none


def numbers(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table of the numbers of a run's test split, with their standard errors.

    Args:
        result: as in `result.json`.
    """
    known = [name for name in tables.METRICS if isinstance(result.get(name), int | float)]
    rows = [(name.replace("_", " "), f"{result[name]:.5g}", _error(result, name)) for name in known]
    yield from pages.table(("nats per example", "value", "standard error"), rows)


def table(
    names: Sequence[str], results: Sequence[Mapping[str, Any] | None], links: Sequence[str] = ()
) -> Iterator[str]:
    """The lines of a table of the numbers of several runs.

    Args:
        names: of R runs.
        results: as in `result.json`, R; None if it is missing.
        links: where the name of each run leads on the page, R, or none.
    """
    held = [result or {"status": "missing"} for result in results]
    known = [n for n in tables.METRICS if any(isinstance(r.get(n), int | float) for r in held)]
    rows = [
        [name, result["status"], *(_cell(result, metric) for metric in known)]
        for name, result in zip(names, held, strict=True)
    ]
    columns = ("run", "status", *(metric.replace("_", " ") for metric in known))
    yield from pages.table(columns, rows, links=links)


def _cell(result: Mapping[str, Any], name: str) -> str:
    """A number with its standard error, as text; "" if there is none."""
    value, error = result.get(name), _error(result, name)
    if not isinstance(value, int | float):
        return ""
    return f"{value:.5g} ± {error}" if error else f"{value:.5g}"


def _error(result: Mapping[str, Any], name: str) -> str:
    error = result.get(f"{name}_standard_error")
    return f"{error:.2g}" if isinstance(error, int | float) else ""
