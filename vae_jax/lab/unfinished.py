"""The record of an evaluation that has not ended: one line for each metric that was measured.

A line is added to the file, not the file written again: of R runs this costs R lines, not R².
"""

import json
import os
from pathlib import Path

from vae_jax import disk
from vae_jax.errors import StorageError
from vae_jax.storage import files, seals

__all__ = ["NAME", "Unfinished"]

NAME = "unfinished.jsonl"
"""Name of the file: a sealed line for each metric, with a hash of its result."""


class Unfinished:
    """What an evaluation has measured before it was interrupted: part → hash of its result.

    Args:
        root: directory of the run or sweep that is evaluated.
        folder: its folder for results.
        owner: what the record is about: scalars and strings; lines about anything else are not
            read.
    """

    def __init__(self, root: Path, folder: Path, *owner: str | None):
        self._root, self._path, self._owner = root, folder / NAME, owner
        self._parts = self.read()
        self._is_begun = False

    @property
    def parts(self) -> dict[str, str]:
        """The parts so far: those of earlier processes and those that were added, in any number."""
        return self._parts

    def read(self) -> dict[str, str]:
        """The parts in the file, in any number; {} if it is damaged, or about something else."""
        try:
            lines = files.read_bytes(self._path).split(b"\n")[:-1]
        except (OSError, StorageError):
            return {}
        found = {}
        for line in lines:
            body = self._unsealed(line)
            found |= body or {}
        return found

    def _unsealed(self, line: bytes) -> dict | None:
        try:
            return seals.unseal(files.parse_json(line), NAME, *self._owner)
        except ValueError:
            return None

    def add(self, parts: dict[str, str]) -> None:
        """Adds parts, in any number; the caller holds the lock of the folder.

        Raises:
            OSError, StorageError: the file cannot be written.
        """
        self._parts |= parts
        if not self._is_begun:
            # an incomplete last line, a link or another's record do not stay
            files.write_bytes(self._path, self._line(self._parts), root=self._root)
            self._is_begun = True
            return
        with (
            disk.folder(self._path.parent) as held,
            open(disk.append(held, NAME), "ab", buffering=0) as file,
        ):
            file.write(self._line(parts))
            os.fsync(file.fileno())

    def _line(self, parts: dict[str, str]) -> bytes:
        return json.dumps(seals.seal(parts, NAME, *self._owner)).encode() + b"\n"

    def remove(self) -> None:
        """Removes the file, unless it is another's by now."""
        if self.read():
            self._path.unlink()
