"""HTML pages of one file: every text is escaped, nothing is fetched, and no script runs."""

import base64
import html
import re
from collections.abc import Iterator, Sequence

__all__ = ["POLICY", "STYLE", "escape", "head", "picture", "table"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #2b2b2b; max-width: 68rem; margin: 3rem auto;
       padding: 0 1.5rem; }
h1, h2, h3 { font-weight: 600; line-height: 1.25; }
h2 { margin-top: 3.5rem; }
p { max-width: 46rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 1.2rem 0.2rem 0;
         border-bottom: 1px solid #e4e4e4; }
th.number, td.number { text-align: right; white-space: nowrap; }
td small { color: #7a7a7a; }
pre { background: #f6f6f6; padding: 0.6rem 1rem; overflow-x: auto; }
dl { color: #7a7a7a; font-size: 0.85rem; max-width: 46rem; }
dt { float: left; margin-right: 0.5rem; color: #2b2b2b; }
dd { margin-left: 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
figure { margin: 1rem 0 0; max-width: 32rem; }
figure img { max-width: 100%; }
figcaption { color: #7a7a7a; font-size: 0.85rem; }
"""
"""The style of all pages."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a page may load: its own style, and pictures that are part of it."""


def escape(text: str) -> str:
    """A text as it is shown on a page, whatever it holds."""
    return html.escape(text)


def head(title: str, policy: str = POLICY, style: str = "") -> Iterator[str]:
    """The lines before the first section of a page.

    Args:
        title: of the page.
        policy: what it may load; "" if pictures are files beside it.
        style: of this page alone, added to that of all.
    """
    yield "<!doctype html>"
    told = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    named = f"<title>{escape(title)}</title>"
    yield f'<html lang="en"><meta charset="utf-8">{told}{named}<style>{STYLE}{style}</style>'
    yield f"<h1>{escape(title)}</h1>"


_NUMBER = re.compile(r"[-−+]?(\d[\d,]*\.?\d*|\.\d+)(e[-−+]?\d+)?%?( ± [\d.,e−+-]+)?|[-−+]?inf|nan")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str] = ()
) -> Iterator[str]:
    """The lines of a table of texts; columns of numbers have the class "number".

    Args:
        columns: the head of each column, [C].
        rows: cells, [R, C]; a column is of numbers if all cells that are not empty are.
        links: where the first cell of each row leads on the page, [R], or none.
    """
    classes = [_class_of(cells) for cells in zip(*rows, strict=True)] or [""] * len(columns)
    each = zip(classes, columns, strict=True)
    yield f"<table><tr>{''.join(f'<th{kind}>{escape(name)}</th>' for kind, name in each)}</tr>"
    for number, row in enumerate(rows):
        cells = [escape(cell) for cell in row]
        if links:
            cells[0] = f'<a href="{escape(links[number])}">{cells[0]}</a>'
        each = zip(classes, cells, strict=True)
        yield f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in each)}</tr>"
    yield "</table>"


def _class_of(cells: Sequence[str]) -> str:
    """The class of a column as an attribute."""
    told = [cell.strip() for cell in cells if cell.strip()]
    are_numbers = told and all(_NUMBER.fullmatch(cell) for cell in told)
    return ' class="number"' if are_numbers else ""


def picture(content: bytes, caption: str) -> str:
    """A picture with its caption, as part of the page; a browser runs no script in it.

    Args:
        content: of a PNG or SVG file, a picture of any shape.
        caption: one line.
    """
    kind = "svg+xml" if content.lstrip()[:1] == b"<" else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    told = escape(caption)
    return f'<figure><img src="{source}" alt="{told}"><figcaption>{told}</figcaption></figure>'
