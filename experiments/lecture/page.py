"""Chapters as lines for a terminal, as one page, and as numbers, without computing anything."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.lecture import Told
from vae_jax import pages
from vae_jax.pages import escape

__all__ = ["Chapter", "html", "lines", "numbers"]


class Chapter(NamedTuple):
    """A chapter to be printed.

    Attributes:
        title: one line.
        text: paragraphs separated by empty lines.
        told: result of the chapter.
        files: caption → path of the picture, relative to the page.
    """

    title: str
    text: str
    told: Told
    files: Mapping[str, str]


def lines(chapter: Chapter) -> Iterator[str]:
    """Title, table and what it says, for a terminal."""
    told = chapter.told
    table = [list(told.columns)]
    table += [[name, *(_number(pair) for pair in pairs)] for name, *pairs in told.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    yield ""
    yield chapter.title
    for name, *cells in table:
        numbers = "  ".join(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))
        yield f"  {name.ljust(widths[0])}  {numbers}".rstrip()
    for sentence in told.sentences:
        yield from textwrap.wrap(sentence, 100, initial_indent="  ", subsequent_indent="    ")


def _number(pair: tuple | None, error: str = " ± {}") -> str:
    """Formats a pair (number, standard error or None); "" if there is no number.

    An error of 0 is left out: it only says that all values were equal.
    """
    if pair is None or pair[0] is None:
        return ""
    value, deviation = pair
    text = f"{value:.4g}"
    return text if not deviation else text + error.format(f"{deviation:.2g}")


def numbers(chapters: Sequence[Chapter]) -> list[dict]:
    """Every number of every chapter with its standard error, as plain JSON values."""

    def cell(pair):
        return None if pair is None else {"value": pair[0], "standard_error": pair[1]}

    return [
        {
            "chapter": chapter.title,
            "meaning": dict(chapter.told.meaning),
            "sentences": list(chapter.told.sentences),
            "rows": [
                {"name": name, **dict(zip(chapter.told.columns[1:], map(cell, pairs), strict=True))}
                for name, *pairs in chapter.told.rows
            ],
        }
        for chapter in chapters
    ]


def html(chapters: Sequence[Chapter], dataset: str) -> Iterator[str]:
    """Yields the page line by line; pictures are files beside it."""
    yield from pages.head(f"Autoencoders on {dataset}", policy="")
    for chapter in chapters:
        yield f"<h2>{escape(chapter.title)}</h2>"
        for paragraph in filter(None, chapter.text.split("\n\n")):
            yield f"<p>{escape(paragraph)}</p>"
        yield from _table(chapter.told)
        yield from (f"<p>{escape(sentence)}</p>" for sentence in chapter.told.sentences)
        yield '<div class="pictures">'
        for caption, path in chapter.files.items():
            image = f'<img src="{escape(path)}" alt="{escape(caption)}">'
            yield f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
        yield "</div>"
    yield "</html>"


def _table(told: Told) -> Iterator[str]:
    first, *others = told.columns
    heads = "".join(f'<th class="number">{escape(name)}</th>' for name in others)
    yield f"<table><tr><th>{escape(first)}</th>{heads}</tr>"
    for name, *pairs in told.rows:
        told_pairs = [_number(pair, " <small>± {}</small>") for pair in pairs]
        cells = "".join(f'<td class="number">{pair}</td>' for pair in told_pairs)
        yield f"<tr><td>{escape(name)}</td>{cells}</tr>"
    yield "</table><dl>"
    for name, meaning in told.meaning.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(meaning)}</dd>"
    yield "</dl>"
