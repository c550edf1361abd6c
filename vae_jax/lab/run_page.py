"""The page of a run, `report.html`: what ran, its numbers, findings and pictures, how to go on."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import diagnosis, pages
from vae_jax.errors import VaeJaxError, first_line
from vae_jax.lab import entry, tables
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files

__all__ = ["NAME", "lines", "write"]

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
    command = _text(run.path("command.txt"))
    try:
        page = lines(run.directory, command, settings, result, _pictures(run.directory))
        files.write_text(run.path(NAME), page, root=run.directory)
    except (OSError, VaeJaxError) as error:  # the results are safe
        run.log(f"{NAME} could not be written ({first_line(error)})", echo=True)


def _pictures(directory: Path) -> dict[str, bytes]:
    """The pictures of a run: name → PNG, or SVG if there is no PNG; links are none."""
    folder = files.inside(directory, "plots")
    drawn = {
        path.stem: path
        for ending in ("svg", "png")
        for path in folder.glob(f"*.{ending}")
        if not path.is_symlink()
    }
    return {stem: drawn[stem].read_bytes() for stem in sorted(drawn)}


def _text(path: Path) -> str:
    """The text of a file; "" if there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def lines(
    directory: Path,
    command: str,
    settings: Mapping[str, Any],
    result: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> Iterator[str]:
    """The lines of the page.

    Args:
        directory: of the run.
        command: which trained it.
        settings, result: see `write`.
        pictures: name → PNG or SVG.
    """
    yield from pages.head(f"{directory.name}: {result['status']} at step {result['step']:,}")
    yield f"<h2>Verdict</h2><p>{pages.escape(diagnosis.use(result) or '')}</p>"
    findings = [list(finding.values()) for finding in result.get("diagnosis", ())]
    told = [(what, evidence, as_flags(remedy)) for what, evidence, remedy in findings]
    none = ["<p>Nothing was found to be wrong.</p>"]
    yield from pages.table(("finding", "evidence", "remedy"), told) if told else none
    yield "<h2>Numbers of the test split</h2>"
    yield from pages.table(("nats per example", "value", "standard error"), _numbers(result))
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


def _numbers(result: Mapping[str, Any]) -> Sequence[tuple[str, str, str]]:
    """Name, value and standard error of each number of the test split."""
    known = [name for name in tables.METRICS if isinstance(result.get(name), int | float)]
    return [(name.replace("_", " "), f"{result[name]:.5g}", _error(result, name)) for name in known]


def _error(result: Mapping[str, Any], name: str) -> str:
    error = result.get(f"{name}_standard_error")
    return f"{error:.2g}" if isinstance(error, int | float) else ""
