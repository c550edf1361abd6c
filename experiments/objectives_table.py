"""Prints the tables of objectives and of priors, made from their docstrings.

`python -m experiments.objectives_table --write` writes them into docs/objectives.md and
docs/priors.md, each between two marks.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from vae_jax import console, objectives, priors
from vae_jax.lab import settings
from vae_jax.storage import files

DOCS = Path(__file__).parent.parent / "docs"


def table() -> str:
    """The table of objectives as Markdown, one row for each."""
    rows = [("`--objective`", "minimizes", "flags", "what it is", "paper"), ("---",) * 5]
    for name in objectives.names():
        flags = " ".join(f"--{flag}" for flag in objectives.hyperparameters(name))
        rows.append(
            (
                f"`{name}`",
                objectives.formula(name),
                f"`{flags}`" if flags else "",
                objectives.purpose(name),
                "; ".join(_linked(*paper) for paper in objectives.references(name).items()),
            )
        )
    return _markdown(rows)


def table_of_priors() -> str:
    """The table of priors as Markdown, one row for each."""
    rows = [("`--prior`", "p(z)", "flags", "what it is", "paper"), ("---",) * 5]
    for name in priors.names():
        flags = " ".join(f"--{flag}" for flag in settings.hyperparameters_of_prior(name))
        papers = objectives.papers(priors.load(name))
        rows.append(
            (
                f"`{name}`",
                priors.formula(name),
                f"`{flags}`" if flags else "",
                priors.summary(name).rstrip("."),
                "; ".join(_linked(*paper) for paper in papers.items()),
            )
        )
    return _markdown(rows)


TABLES = {"objectives": table, "priors": table_of_priors}
"""Table, which is also the name of its page and of its marks → its text."""


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def _linked(paper: str, number: str | None) -> str:
    return f"[{paper}](https://arxiv.org/abs/{number})" if number else paper


def inserted(name: str, text: str) -> str:
    """Inserts a table by name into a text, between its two marks."""
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = text.split(first)
    return before + first + TABLES[name]() + last + rest.split(last)[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for name in TABLES:
            page = DOCS / f"{name}.md"
            files.write_text(page, inserted(name, page.read_text(encoding="utf-8")).splitlines())
    elif sys.argv[1:]:
        sys.exit(f"error: {' '.join(sys.argv[1:])}: must be --write, or nothing")
    else:
        console.say_page("\n".join(make() for make in TABLES.values()).removesuffix("\n"))
