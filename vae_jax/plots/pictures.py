"""What every function of this package returns: a figure and its numbers, and their files."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.errors import unknown
from vae_jax.plots._picture import MUTED, house_style, legible, write

__all__ = ["FORMATS", "Picture", "Table", "encode", "save"]

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
"""Format of a picture → what of its file's metadata is left out, so that it has no date."""


class Table(NamedTuple):
    """The numbers behind a picture.

    Args:
        columns: C names.
        rows: any number of rows, each of shape [C]: numbers, words, or None where there is none.
    """

    columns: tuple[str, ...]
    rows: list[tuple]

    def __repr__(self) -> str:
        return f"Table({len(self.rows):,} rows × {len(self.columns):,} columns)"


class Picture(NamedTuple):
    """A figure and the numbers it shows; a notebook shows it as a PNG.

    Args:
        figure: a `matplotlib.figure.Figure`, tied to no window and no global list.
        table: its numbers, rows of shape [columns]. Images are flattened: pixel `x{i}` is the
            i-th in the flat order of [H, W, C], as `shrink` leaves them.
        note: a line below the figure, such as the run and its epoch; "" for none.
    """

    figure: Any
    table: Table
    note: str = ""

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return f"Picture({width:.3g} × {height:.3g} inches, {self.table})"

    def _repr_png_(self) -> bytes:
        return _render(self, "png")


def save(
    picture: Picture, path_stem: str | os.PathLike, formats: Sequence[str] = ("png",)
) -> tuple[Path, ...]:
    """Writes `<path_stem>.png` and `<path_stem>.csv`, each whole or not at all.

    Equal pictures give equal bytes. A number in the CSV is the shortest decimal that reads back as
    the same value in the array's own precision; an absent one is empty. Text that is not UTF-8, as
    the name of a folder may be, is escaped.

    Args:
        picture: what to write, of any shape.
        path_stem: the path without its ending; the folder is made if there is none.
        formats: some of `FORMATS`, which are then the endings of the pictures.

    Returns:
        The path of the picture in each format, and of the CSV.

    Raises:
        StorageError: a file could not be written.
        UsageError: a format is unknown.
    """
    stem = Path(path_stem)
    paths = tuple(stem.with_name(f"{stem.name}.{ending}") for ending in (*formats, "csv"))
    for path, content in zip(paths, encode(picture, formats), strict=True):
        write(path, content)
    return paths


def encode(picture: Picture, formats: Sequence[str] = ("png",)) -> tuple[bytes, ...]:
    """What `save` writes of a picture of any shape: it in each format, and a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(picture.table.columns)
    writer.writerows(picture.table.rows)
    table = text.getvalue().encode(errors="backslashreplace")
    return (*(_render(picture, name) for name in formats), table)


def _render(picture: Picture, name: str) -> bytes:
    """The figure of a picture, of any shape, and its note in a format."""
    if name not in FORMATS:
        raise unknown("format of a picture", name, tuple(FORMATS))
    file = io.BytesIO()
    with house_style():
        below = {"ha": "left", "va": "top", "fontsize": 6.5, "color": MUTED}
        note = picture.figure.text(0.01, -0.01, legible(picture.note, 160), **below)
        picture.figure.savefig(file, format=name, metadata=FORMATS[name])
        note.remove()
    return file.getvalue()
