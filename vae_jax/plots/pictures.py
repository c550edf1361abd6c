"""What every function of this package returns: a figure and its numbers, and their files."""

import csv
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.plots._picture import house_style, write

__all__ = ["Picture", "Table", "encode", "save"]


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
    """A figure and the numbers it shows.

    Args:
        figure: a `matplotlib.figure.Figure`, tied to no window and no global list.
        table: its numbers, rows of shape [columns]. Images are flattened: pixel `x{i}` is the
            i-th in the flat order of [H, W, C], as `shrink` leaves them.
    """

    figure: Any
    table: Table

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return f"Picture({width:.3g} × {height:.3g} inches, {self.table})"

    def _repr_png_(self) -> bytes:
        return _png(self)


def save(picture: Picture, path_stem: str | os.PathLike) -> tuple[Path, Path]:
    """Writes `<path_stem>.png` and `<path_stem>.csv`, each whole or not at all.

    Equal pictures give equal bytes. A number in the CSV is the shortest decimal that reads back as
    the same value in the array's own precision; an absent one is empty. Text that is not UTF-8, as
    the name of a folder may be, is escaped.

    Args:
        picture: what to write, of any shape.
        path_stem: the path without its ending; the folder is made if there is none.

    Returns:
        The paths of the PNG and of the CSV.

    Raises:
        StorageError: a file could not be written.
    """
    stem = Path(path_stem)
    paths = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.csv")
    for path, content in zip(paths, encode(picture), strict=True):
        write(path, content)
    return paths


def encode(picture: Picture) -> tuple[bytes, bytes]:
    """What `save` writes of a picture of any shape: a PNG and a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(picture.table.columns)
    writer.writerows(picture.table.rows)
    return _png(picture), text.getvalue().encode(errors="backslashreplace")


def _png(picture: Picture) -> bytes:
    """The figure of a picture, of any shape, as a PNG."""
    file = io.BytesIO()
    with house_style():
        picture.figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
