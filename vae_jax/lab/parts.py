"""What is finished of the work after training, so that an interrupted run goes on with the rest.

Until all is done, `measured.json` of a run has the numbers of the splits that were measured, and
`undrawn.json` names the pictures that are still to be drawn. Each is sealed to what it is about: of
a file that was changed, or that is about other parameters or results, nothing counts.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vae_jax.devices import processes
from vae_jax.errors import StorageError
from vae_jax.storage import seals

__all__ = ["MEASURED", "NOT_YET", "UNDRAWN", "Parts"]

MEASURED = "measured.json"
"""File of a run whose results are not complete: split → its numbers."""

UNDRAWN = "undrawn.json"
"""File of a run with results but missing pictures: name of each → reason."""

NOT_YET = "not drawn yet"
"""The reason of a picture that was not tried."""


class Parts:
    """A file of a run: name of a part → what is known of it, until there is nothing left to know.

    Args:
        run: the open run.
        name: name of the file.
        about: hash of what the parts are of; parts of anything else are not read.
    """

    def __init__(self, run, name: str, about: str):
        self._run, self._name, self._owner = run, name, (run.id, name, about)

    def read(self) -> dict[str, Any]:
        """The parts in the file; {} if there is none, or if it is damaged or about something else.

        The first process reads, and the others get what it found.
        """

        def read():
            try:
                stored = self._run.read_json(self._name)
            except StorageError:
                return {}
            return seals.unseal(stored, *self._owner) or {}

        return processes.agree_on_json(processes.on_first(read))

    def write(self, parts: Mapping[str, Any]) -> None:
        """Replaces the file; each part is plain JSON, or arrays of any shape."""
        self._run.write_json(self._name, seals.seal(parts, *self._owner))

    def once(self, part: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A part as the file has it; otherwise it is made, and added to the file.

        Args:
            part: its name.
            make: what makes it: numbers, or lists of them, by name.

        Returns:
            The same numbers, whether they were made now or before.
        """
        known = self.read()
        if part not in known:
            made = seals.plain(make())
            processes.on_first(lambda: self.write({**known, part: made}))
            known[part] = made
        return seals.numbers(known[part])
