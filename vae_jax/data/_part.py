"""What a reader of a user's data takes and returns: parts by split, before they are converted.

A reader is a function (path, files, reading) → (parts, notes): `path` was named, `files` are those
below it that the reader is for, or the path alone.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.data._dataset import Rows
from vae_jax.data._spelling import SPLITS
from vae_jax.errors import DataError, UsageError

__all__ = ["Part", "Reading", "complete", "named_splits"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a user's data are to be read, by the names that `vae_jax.data.load` has.

    Attributes:
        num_valid: rows held out for validation (scalar); None means 10 %.
        scaling: 'auto', 'unit' or 'none'.
        loading: as `is_streamed` takes it.
        window: rows of each series that a table is cut into (scalar), or None.
        hop: rows from the start of a window to that of the next (scalar); None: the window's.
        missing_values: what marks a missing cell of a table beside an empty one, or None.
        sha256: what the content must be, known before any of it is parsed; None: anything.
        tally: of the memory that what is read takes.
    """

    num_valid: int | None = None
    scaling: str = "auto"
    loading: str = "auto"
    window: int | None = None
    hop: int | None = None
    missing_values: tuple[str, ...] | None = None
    sha256: str | None = None
    tally: memory.Tally = dataclasses.field(default_factory=memory.Tally)

    def refuse(self, setting: str, why: str) -> None:
        """Refuses a setting that was given to data which are no table, for a reason in words."""
        value = getattr(self, setting)
        if value is not None:
            value = ",".join(value) if isinstance(value, tuple) else value
            raise UsageError(f"{setting}={value}: {_WHAT[setting]}, {why}: leave it out")


_WHAT = {
    "window": "cuts a table whose rows follow one another in time",
    "missing_values": "marks missing cells of a table (.csv, .parquet)",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One part of the user's data, as read.

    Attributes:
        x: [N, …], in memory or in a file; series [N, T] or [N, T, C] where `is_series`.
        labels: [N] or [N, 1] of any dtype, objects where some are None; or None.
        condition: [N, C], or None.
        columns: names of the columns of a table, or None.
        low, high: [1, …], the least and the greatest value in each place of the source of x, once
            it has been surveyed.
        is_series: whether the second axis of x is time.
        unlabeled: why labels that the source has were left out, or "".
    """

    x: np.ndarray | Rows
    labels: np.ndarray | None = None
    condition: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_series: bool = False
    unlabeled: str = ""


def named_splits(where: Path, names: Iterable[str], what: str) -> dict[str, str | None]:
    """The split that each of some names side by side is (a mapping of any shape), None if none.

    Args:
        where: the folder, for messages.
        names: of folders or of files.
        what: they are ("folders"), for messages.

    Raises:
        DataError: several say the same split.
    """
    meanings = _spelling.folders(names)
    own = {split: sorted(n for n, said in meanings.items() if said == split) for split in SPLITS}
    twice = {split: found for split, found in own.items() if len(found) > 1}
    if not twice:
        return meanings
    told = (
        f"{_spelling.quoted(found)} {'both' if len(found) == 2 else 'all'} say {split}"
        for split, found in twice.items()
    )
    raise DataError(
        f"{where}: the {what} {', '.join(told)}: rename or move away all but one for each split"
        f"{_as_labels(twice) if what == 'folders' else ''}"
    )


def _as_labels(twice: Mapping[str, Collection[str]]) -> str:
    """The other remedy, where folders of one split differ by what may be labels: "trainA"."""
    rests = {split: {_spelling.split(n).rest for n in own} for split, own in twice.items()}
    first, *others = rests.values()
    words = sorted("_".join(rest) for rest in first)
    are_labels = all(w and not (_spelling.is_part(w) or _spelling.is_fold(w)) for w in words)
    if not are_labels or any(rest != first for rest in others):
        return ""
    return (
        f", or make folders of labels in one for each split, such as {next(iter(twice))}/{words[0]}"
    )


def complete(where: Path, parts: Mapping[str, Part], what: str) -> tuple[dict[str, Part], list]:
    """The parts of a source that brings splits of its own, if there are enough of them.

    Args:
        where: the file or folder, for messages.
        parts: by split, those that were found, x [N, …]; at least one.
        what: says where the splits were found, for messages ("keys", "folders").

    Returns:
        (parts, notes): "train" with "test", "valid" or both; or "all" where train was alone.

    Raises:
        DataError: there is nothing to train on.
    """
    found = [split for split in SPLITS if split in parts]
    if "train" not in parts:
        raise DataError(
            f"{where}: its {what} name the splits {', '.join(found)} and no train: name one train,"
            " or leave the names of splits out and the rows are dealt 80 / 10 / 10"
        )
    notes = [f"its {what} are the splits {', '.join(found)}"]
    if found == ["train"]:
        return {"all": parts["train"]}, [f"{notes[0]} alone, which is dealt 80 / 10 / 10"]
    if "test" not in parts:
        notes = [f"{notes[0]}, without test: a tenth of train is held out for it"]
    return dict(parts), notes
