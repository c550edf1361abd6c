"""The page of several runs: what they differ in, what is between them, their pictures."""

from collections.abc import Iterator, Mapping, Sequence

from vae_jax import diagnosis, pages
from vae_jax.evaluation import paired
from vae_jax.lab import comparison, run_page
from vae_jax.lab.comparison import Between, Compared

__all__ = ["lines", "verdict"]

_HIGHER_IS_BETTER = {"elbo": True, "distortion": False, "squared_error": False}
"""Terms by which runs are judged, the first that they have."""


def lines(runs: Sequence[Compared], pictures: Sequence[Mapping[str, bytes]]) -> Iterator[str]:
    """The lines of the page.

    Args:
        runs: R runs, the first of which is the reference.
        pictures: of each of the R runs, name → PNG or SVG.
    """
    between = comparison.differences(runs)
    yield from pages.head(f"{len(runs)} runs compared")
    yield "<h2>Verdict</h2>"
    yield from (f"<p>{pages.escape(each)}</p>" for each in verdict(runs, between))
    yield "<h2>Differences to the first, paired by test example</h2>"
    yield from _paired(runs, between)
    yield "<h2>Numbers of the test split</h2>"
    yield from run_page.table([run.name for run in runs], [run.result or None for run in runs])
    yield "<h2>Settings in which they differ</h2>"
    names = comparison.apart(runs)
    cells = [[name, *(str(run.settings.get(name, "")) for run in runs)] for name in names]
    same = ["<p>None.</p>"]
    yield from pages.table(("setting", *(r.name for r in runs)), cells) if cells else same
    yield "<h2>Findings</h2>"
    for run in runs:
        yield f"<h3>{pages.escape(run.name)}</h3>"
        use = diagnosis.use(run.result)
        yield f"<p>{pages.escape(use)}</p>" if use else ""
        yield from run_page.findings(run.result)
    yield "<h2>Pictures</h2>"
    yield from _side_by_side(runs, pictures)
    yield "</html>"


def verdict(runs: Sequence[Compared], between: Sequence[Between]) -> Iterator[str]:
    """A sentence about each run but the first, from its paired differences.

    Args:
        runs: R runs.
        between: R differences, from `comparison.differences`.
    """
    first = runs[0].name
    for run, found in zip(runs[1:], between[1:], strict=True):
        term = next((name for name in _HIGHER_IS_BETTER if name in found.gaps), None)
        if term is None:
            yield f"{run.name} cannot be compared with {first}: {found.reason}."
            continue
        gap, what = found.gaps[term], term.replace("_", " ").replace("elbo", "ELBO")
        size = f"{abs(gap.mean):.3g} ± {gap.standard_error:.2g}"
        over = f"paired over {gap.num:,} test examples"
        if not gap.is_clear:
            told = f"{gap.mean:+.3g} ± {gap.standard_error:.2g}"
            yield f"{run.name} and {first} cannot be told apart by the {what}: {told}, {over}."
            continue
        is_better = (gap.mean > 0) == _HIGHER_IS_BETTER[term]
        way = "higher" if gap.mean > 0 else "lower"
        judged = "better" if is_better else "worse"
        yield f"{run.name} is {judged} than {first}: its {what} is {way} by {size}, {over}."


def _paired(runs: Sequence[Compared], between: Sequence[Between]) -> Iterator[str]:
    """The table of paired differences, and what its numbers are."""
    terms = [name for name in paired.TERMS if any(name in found.gaps for found in between)]
    rows = []
    for run, found in zip(runs, between, strict=True):
        cells = [_told(found.gaps[name]) if name in found.gaps else "" for name in terms]
        rows.append([run.name, *cells, found.reason])
    yield from pages.table(("run", *(name.replace("_", " ") for name in terms), ""), rows)
    told = [f"{name.replace('_', ' ')}: {paired.TERMS[name]}" for name in terms]
    if told:
        yield f"<p>{pages.escape('; '.join(told))}; ± is the standard error of the mean.</p>"


def _told(gap: paired.Difference) -> str:
    return f"{gap.mean:+.4g} ± {gap.standard_error:.2g}"


def _side_by_side(
    runs: Sequence[Compared], pictures: Sequence[Mapping[str, bytes]]
) -> Iterator[str]:
    """The pictures by name, those of all runs beside one another."""
    for name in dict.fromkeys(name for own in pictures for name in own):
        yield f'<h3>{pages.escape(name.replace("_", " "))}</h3><div class="pictures">'
        for run, own in zip(runs, pictures, strict=True):
            if name in own:
                yield pages.picture(own[name], run.name)
        yield "</div>"
