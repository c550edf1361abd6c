"""Prints the tables of objectives, likelihoods, priors, posteriors, samplers and estimators.

They are made from docstrings. `python -m experiments.objectives_table --write` writes them into
docs/objectives.md and the pages of the others, each between two marks.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_jax import (
    console,
    families,
    likelihoods,
    objectives,
    posteriors,
    priors,
    samplers,
    sklearn,
)
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


def table_of(family: families.Family, density: str) -> str:
    """The table of a family, such as priors, as Markdown, one row for each.

    Args:
        family: all of them.
        density: heading of the column of their densities.
    """
    has_flags = family.what in settings.FAMILIES
    own = ("flags", "--") if has_flags else ("settings", "")
    rows = [(f"`--{family.what}`", density, own[0], "what it is", "paper"), ("---",) * 5]
    for name in family.names():
        known = " ".join(f"{own[1]}{setting}" for setting in family.settings_of(name))
        papers = objectives.papers(family.load(name))
        rows.append(
            (
                f"`{name}`",
                family.formula(name),
                f"`{known}`" if known else "",
                family.summary(name).rstrip("."),
                "; ".join(_linked(*paper) for paper in papers.items()),
            )
        )
    return _markdown(rows)


def table_of_estimators() -> str:
    """The table of scikit-learn estimators as Markdown, one row for each."""
    shared = sklearn.Estimator._get_param_names()
    rows = [("`vae_jax.sklearn`", "what it is", "methods", "parameters of its own"), ("---",) * 4]
    for name, cls in sklearn.classes().items():
        own = [each for each in cls._get_param_names() if each not in shared]
        methods = [each for each in _METHODS if hasattr(cls, each)]
        rows.append(
            (
                f"`{name}`",
                sklearn.FAMILY.summary(cls.__module__.rpartition(".")[2]).rstrip("."),
                f"`{' '.join(methods)}`",
                f"`{' '.join(own)}`" if own else "",
            )
        )
    return _markdown(rows)


_METHODS = (
    *("fit", "transform", "inverse_transform", "predict", "predict_proba", "decision_function"),
    *("score_samples", "score", "sample", "recommend", "score_items"),
)
"""Methods of estimators, in the order of the table."""
TABLES = {
    "objectives": table,
    "likelihoods": functools.partial(table_of, likelihoods.FAMILY, "p(x|z)"),
    "priors": functools.partial(table_of, priors.FAMILY, "p(z)"),
    "posteriors": functools.partial(table_of, posteriors.FAMILY, "q(z|x)"),
    "samplers": functools.partial(table_of, samplers.FAMILY, "density"),
    "sklearn": table_of_estimators,
}
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
