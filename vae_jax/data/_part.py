"""The inputs and outputs of readers of user data: parts by split, before conversion.

A reader is a function (path, files, reading) → (parts, notes): `path` is the user's path, `files`
are the files below it for this reader, or the path itself.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax import memory
from vae_jax.data import _spelling
from vae_jax.data._dataset import Rows
from vae_jax.data._spelling import SPLITS
from vae_jax.errors import DataError, UsageError
from vae_jax.looks import Look
from vae_jax.ratings import Ratings
from vae_jax.schema import Schema
from vae_jax.sounds import Framing

if TYPE_CHECKING:
    from vae_jax.data._compact import Columns
    from vae_jax.data._where import Where

__all__ = ["Part", "Reading", "complete", "named_splits"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Settings for reading a user's data, named as in `vae_jax.data.load`.

    Attributes:
        num_valid: rows held out for validation (scalar); None means 10 %.
        scaling: 'auto', 'unit' or 'none'.
        loading: as in `is_streamed`.
        window: rows per series that a table is cut into (scalar), or None.
        hop: rows from the start of a window to the next (scalar); None: the window's length.
        missing_values: text that marks a missing cell of a table, beside an empty one, or None.
        kinds: column → the kind that is set for it, or its levels in order; see `schema.infer`.
        is_numeric: whether only complete rows of numeric columns are used, all as real numbers.
        condition: names of the columns of a table on which a model is conditioned, or None.
        csv: how a CSV file is written, by name, see `_csv.SETTINGS`; what is not set is detected.
        test_data: another table of the same columns, whose rows are the test split; or None.
        sheet, test_sheet: of Excel files, or None.
        train_where: which rows may be in train or valid, or None: all.
        sha256: required hash of the content, checked before parsing; None accepts any.
        tally: the memory needed for reading.
        look: how pictures are read.
        cache_dir: folder for prepared arrays, or None: nothing is kept.
        ratings: how a table of ratings is read.
        layer: the matrix of an .h5ad file that is read; None means X.
        sound: settings of recordings by name, see `vae_jax.sounds.make`; None if not given.
    """

    num_valid: int | None = None
    scaling: str = "auto"
    loading: str = "auto"
    window: int | None = None
    hop: int | None = None
    missing_values: tuple[str, ...] | None = None
    kinds: Mapping[str, str] | None = None
    is_numeric: bool = False
    csv: Mapping[str, str] | None = None
    condition: tuple[str, ...] | None = None
    test_data: Path | None = None
    train_where: "Where | None" = None
    sheet: str | None = None
    test_sheet: str | None = None
    sha256: str | None = None
    tally: memory.Tally = dataclasses.field(default_factory=memory.Tally)
    look: Look = dataclasses.field(default_factory=Look)
    cache_dir: Path | None = None
    layer: str | None = None
    ratings: Ratings = dataclasses.field(default_factory=Ratings)
    sound: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether all columns are numbers, a scalar: without kinds, or of series."""
        return self.is_numeric or self.window is not None

    @property
    def decimal(self) -> str | None:
        """The decimal mark that is set, a character; None if it is found for each column."""
        return {"point": ".", "comma": ","}.get((self.csv or {}).get("decimal"))

    def refuse(self, setting: str, why: str) -> None:
        """Refuses a setting for data that are not a table, with a reason in words."""
        value = getattr(self, setting)
        if value is not None:
            value = ",".join(value) if type(value) in (tuple, dict) else value
            raise UsageError(f"{setting}={value}: {_WHAT[setting]}, {why}: leave it out")

    def refuse_sound(self, why: str) -> None:
        """Refuses settings of recordings for data that are none, with a reason in words."""
        for name, value in self.sound.items():
            if value is not None:
                raise UsageError(f"{name}={value}: is a setting of recordings, {why}: leave it out")


_WHAT = {
    "window": "cuts series, or a table whose rows follow one another in time",
    "missing_values": "marks missing cells of a table",
    "kinds": "sets what the columns of a table are",
    "layer": "chooses a matrix of an .h5ad file",
    "condition": "must be labels, factors, array, or columns of a table or of obs",
    "csv": "says how the cells of a table are written",
    "test_data": "is a second table with the columns of the first",
    "train_where": "chooses rows of a table, or of data with labels",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One part of the user's data, before conversion.

    Attributes:
        x: [N, …], in memory, by columns, or in a file; series [N, T] or [N, T, C] if `is_series`.
        labels: [N] or [N, 1] of any dtype, objects if some are None; or None.
        condition: [N, C], or None.
        columns: names of the columns of a table, or None.
        low, high: [1, …], the smallest and the largest value at each position of the source of x,
            once it has been surveyed.
        is_series: whether the second axis of x is time.
        unlabeled: why labels of the source were dropped, or "".
        manifest: what became of each row's file, one mapping per row; or empty.
        framing: how recordings became frames, or None.
        lengths: rows of each of several series that x [M, D] holds one after the other; or None.
        schema: of a table, what its columns are, or None. If it `has_codes`, x are the codes of
            its columns, [N, C], NaN if missing.
        has_codes: see `schema`.
        ids: the user's own names of the rows, [N], or None.
        aside: of ratings, those of each row that are kept aside, [N, D], or None.
        ratings: of ratings, their columns and which of them count, or None.
        may_train: whether each row may be in train or valid, [N]; None: all may.
    """

    x: "np.ndarray | Rows | Columns"
    labels: np.ndarray | None = None
    condition: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_series: bool = False
    unlabeled: str = ""
    manifest: tuple[Mapping[str, Any], ...] = ()
    framing: Framing | None = None
    lengths: tuple[int, ...] | None = None
    schema: Schema | None = None
    has_codes: bool = False
    ids: np.ndarray | None = None
    aside: Rows | None = None
    ratings: Ratings | None = None
    may_train: np.ndarray | None = None


def named_splits(where: Path, names: Iterable[str], what: str) -> dict[str, str | None]:
    """The split of each of several sibling names (a mapping of any shape), or None.

    Args:
        where: the folder, for messages.
        names: names of folders or of files.
        what: their kind ("folders"), for messages.

    Raises:
        DataError: several names mean the same split.
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
    """An alternative remedy if folders of one split may differ by labels: "trainA"."""
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
    """Checks the parts of a source with its own splits.

    Args:
        where: the file or folder, for messages.
        parts: the parts found, by split, x [N, …]; at least one.
        what: where the splits were found, for messages ("keys", "folders").

    Returns:
        (parts, notes): "train" with "test", "valid" or both; or "all" if there is only train.

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
