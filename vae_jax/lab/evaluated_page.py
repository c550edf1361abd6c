"""The page of a run once more, with the numbers that an evaluation kept of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_jax import pages
from vae_jax.errors import UsageError
from vae_jax.lab import metrics, report, run_page
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files, members

__all__ = ["is_there", "lines", "write"]


def is_there(directory: Path) -> bool:
    """Whether training left a page: that of a single run, which has ended.

    Args:
        directory: of the run.
    """
    if not (directory / run_page.NAME).is_file():
        return False
    results = members.read_results(directory)
    return results is not None and len(results) == 1


def write(directory: Path) -> None:
    """Writes `report.html` of a single run again.

    Args:
        directory: of the run.

    Raises:
        UsageError: it is no single run that has ended.
        OSError, StorageError: it cannot be written.
    """
    results = members.read_results(directory)
    if results is None or len(results) != 1:
        raise UsageError(f"run={directory}: its training has not ended: train it first")
    measured = lines(report.held(directory, "member-0.json"), results[0].get("step"))
    made = run_page.page(directory, members.settings(directory)[0], results[0], measured)
    files.write_text(directory / run_page.NAME, made, root=directory)


def lines(evaluated: Mapping[str, Mapping[str, Any]], step: int | None) -> Iterator[str]:
    """The lines about an evaluation: each number with its standard error and its meaning.

    Args:
        evaluated: metric → its result, as an evaluation keeps it.
        step: of the run, a count; what was measured at another one is left out.
    """
    own = {n: r for n, r in evaluated.items() if r.get("step") == step and "values" in r}
    if own:
        yield "<h2>Evaluation</h2>"
    for metric, result in own.items():
        yield f"<h3>{pages.escape(metric)}</h3>"
        rows = list(_rows(result["values"], result.get("definitions", {})))
        yield from pages.table(("", "value", "standard error", "meaning"), rows)
        notes = (as_flags(note) for note in result.get("notes", ()))
        yield from (f"<p>{pages.escape(note)}</p>" for note in notes)


def _rows(values: Mapping[str, Any], definitions: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Name, value, standard error and meaning of each number."""
    for name, value in values.items():
        if name.endswith(metrics.ERROR):
            continue
        error, meaning = values.get(f"{name}{metrics.ERROR}"), as_flags(definitions.get(name, ""))
        told = f"{error:.2g}" if isinstance(error, int | float) else ""
        yield name.replace("_", " "), report.spell(value), told, meaning
