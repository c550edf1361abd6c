"""The page of a sweep: its rate–distortion plane, in which each point leads to its run."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import diagnosis, pages, plots
from vae_jax.lab import entry, run_page, tables
from vae_jax.lab.build import differences
from vae_jax.lab.settings import Config

__all__ = ["MOST", "Shown", "lines", "page"]

MOST = 400
"""Runs that a page shows at most, the best of each group of comparable runs: a count."""
_STYLE = """
.run { display: none; border: 1px solid #e4e4e4; padding: 0 1.5rem 1rem; margin-top: 1.5rem;
       scroll-margin-top: 32rem; }
.run:target { display: block; }
.run.best { display: block; }
body:has(.run:target) .run.best:not(:target) { display: none; }
.plane { max-width: 36rem; }
.plane svg { width: 100%; height: auto; }
.plane a:focus path, .plane a:hover path { stroke: #2b2b2b; stroke-width: 1.5; }
@media print { .run { display: block !important; } }
"""


class Shown(NamedTuple):
    """A run of a sweep.

    Attributes:
        directory: of its program.
        member: its number in the program, from 0.
        config: of its training.
        result: as in `result.json`; None if it is missing.
    """

    directory: Path
    member: int
    config: Config
    result: Mapping[str, Any] | None


def page(directory: Path, runs: Sequence[Shown]) -> Iterator[str]:
    """The lines of the page of a sweep, with the pictures and the command in its directory.

    Args:
        directory: of the sweep.
        runs: in the order of the sweep, R.
    """
    command = run_page.command_of(directory)
    return lines(directory, command, runs, run_page.pictures_of(directory))


def lines(
    directory: Path, command: str, runs: Sequence[Shown], pictures: Mapping[str, bytes]
) -> Iterator[str]:
    """The lines of the page.

    Args:
        directory: of the sweep.
        command: which trained it.
        runs: in the order of the sweep, R.
        pictures: name → PNG or SVG.
    """
    names = [text or f"run {number}" for number, text in enumerate(_names(runs))]
    yield from pages.head(f"{directory.name}: {len(runs)} runs", style=_STYLE)
    for words, group in _groups(runs):
        shown = _shown(runs, group)
        yield f"<h2>{pages.escape(words)}</h2>" if words else "<h2>Runs</h2>"
        if len(shown) < len(group):
            yield f"<p>The {len(shown)} best of {len(group)} runs; sweep.csv holds all.</p>"
        yield from _plane([runs[r] for r in shown], [names[r] for r in shown], shown)
        best = tables.best([_row(r, runs[r].result) for r in group])
        for r in shown:
            yield from _run(r, runs[r], names[r], is_best=r == best)
        yield "<h3>All</h3>"
        links = [f"#run-{r}" for r in shown]
        results = [runs[r].result for r in shown]
        yield from run_page.table([names[r] for r in shown], results, links)
    yield '<h2>Pictures</h2><div class="pictures">'
    yield from (pages.picture(png, name.replace("_", " ")) for name, png in pictures.items())
    yield f"</div><h2>Command</h2><pre>{pages.escape(command)}</pre></html>"


def _names(runs: Sequence[Shown]) -> list[str]:
    return differences([run.config for run in runs])


def _groups(runs: Sequence[Shown]) -> Iterator[tuple[str, list[int]]]:
    """The groups of comparable runs: in words, and their numbers."""
    groups = tables.comparable([run.config for run in runs])
    firsts = differences([runs[group[0]].config for group in groups])
    yield from zip(firsts, groups, strict=True)


def _row(number: int, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run as `tables.best` reads it."""
    return {"run": number, **(result or {"status": "missing"})}


def _shown(runs: Sequence[Shown], group: Sequence[int]) -> list[int]:
    """The numbers of the runs that are shown: of too many the best, in the order of the sweep."""
    if len(group) <= MOST:
        return list(group)
    falling = sorted(group, key=lambda r: -tables.score(_known(runs[r].result)))
    return sorted(falling[:MOST])


def _known(result: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (result or {}).items() if value is not None}


def _plane(runs: Sequence[Shown], names: Sequence[str], numbers: Sequence[int]) -> Iterator[str]:
    """The rate–distortion plane as SVG, in which each point leads to its run; or nothing."""
    results = [run.result or {} for run in runs]
    if not any("rate" in result for result in results):
        return
    rate, distortion = (
        np.array([result.get(name, np.nan) for result in results])
        for name in ("rate", "distortion")
    )
    varying = tables.varying([run.config for run in runs])
    name = varying[0] if varying else "seed"
    drawn = plots.rate_distortion(
        rate,
        distortion,
        names=names,
        color=[tables.plain(run.config.requested().get(name)) for run in runs],
        color_name=name,
        links=[f"#run-{number}" for number in numbers],
    )
    svg = plots.encode(drawn, ("svg",))[0].decode()
    yield f'<figure class="plane">{svg[svg.index("<svg") :]}'
    yield "<figcaption>rate and distortion; each point leads to its run</figcaption></figure>"


def _run(number: int, run: Shown, name: str, *, is_best: bool) -> Iterator[str]:
    """The section of a run."""
    result = run.result or {"status": "has no result yet"}
    yield f'<section class="run{" best" if is_best else ""}" id="run-{number}">'
    step = f" at step {result['step']:,}" if isinstance(result.get("step"), int) else ""
    best = ", the best" if is_best else ""
    yield f"<h3>{pages.escape(name)}: {pages.escape(result['status'])}{step}{best}</h3>"
    use = diagnosis.use(result)
    yield f"<p>{pages.escape(use)}</p>" if use else ""
    yield from run_page.findings(result)
    yield from run_page.numbers(result)
    if run.result is not None:
        place = [f"--run={run.directory}", f"--member={run.member}"]
        words = shlex.join([*entry.words("evaluate"), *place])
        yield f"<pre>{pages.escape(words)}</pre>"
    yield "</section>"
