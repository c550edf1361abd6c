"""A CSV file: `metrics.csv`, a column for each metric."""

import pathlib
from collections.abc import Mapping
from typing import Any

from vae_jax.errors import StorageError
from vae_jax.loggers._logger import Logger
from vae_jax.storage import csv_rows, files

__all__ = ["NAME", "Csv"]

NAME = "metrics.csv"
"""Name of the file in the folder of the log."""


class Csv(Logger):
    """Rows of metrics, scalars, in one CSV file; the first row decides the columns."""

    def _open(self, *, is_new: bool) -> int:
        self._path: pathlib.Path = files.inside(self.directory, NAME)
        lines = [] if is_new else csv_rows.whole_lines(self._path)
        self._columns = csv_rows.columns_of(lines)
        rows = [csv_rows.parse_row(self._path, self._columns, line) for line in lines[1:]]
        files.write_bytes(self._path, b"".join(lines), root=self.directory)
        return max((row["step"] for row in rows if isinstance(row.get("step"), int)), default=0)

    def _write(self, row: Mapping[str, Any]) -> None:
        lines = [] if self._columns else [list(row)]
        self._columns = self._columns or list(row)
        if row.keys() != set(self._columns):
            raise StorageError(f"{self._path} has other columns")
        lines.append([csv_rows.cell(row[name]) for name in self._columns])
        csv_rows.append(self._path, lines, root=self.directory)

    def _close(self) -> None:
        pass
