"""Prints the table of objectives, made from their docstrings.

`python -m experiments.objectives_table --write` writes it into docs/objectives.md, between two
marks.
"""

import sys
from pathlib import Path

from vae_jax import console, objectives
from vae_jax.storage import files

PAGE = Path(__file__).parent.parent / "docs" / "objectives.md"
MARKS = "<!-- objectives -->\n", "<!-- end of objectives -->\n"


def table() -> str:
    """The table as Markdown, one row per objective."""
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
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def _linked(paper: str, number: str | None) -> str:
    return f"[{paper}](https://arxiv.org/abs/{number})" if number else paper


def inserted(text: str) -> str:
    """Inserts the table into a text between its two marks."""
    before, rest = text.split(MARKS[0])
    return before + MARKS[0] + table() + MARKS[1] + rest.split(MARKS[1])[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        files.write_text(PAGE, inserted(PAGE.read_text(encoding="utf-8")).splitlines())
    elif sys.argv[1:]:
        sys.exit(f"error: {' '.join(sys.argv[1:])}: must be --write, or nothing to print the table")
    else:
        console.say_page(table().removesuffix("\n"))
