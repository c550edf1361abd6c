"""What the folders of a user's files mean: the split and the label of each file."""

from collections.abc import Sequence
from pathlib import Path

from vae_jax.data import _spelling
from vae_jax.data._part import named_splits
from vae_jax.errors import DataError

__all__ = ["places"]


def places(
    folder: Path, files: Sequence[Path], what: str
) -> tuple[list[str], list[str] | None, list[str]]:
    """The split and the label of each file from the folders above it, and notes.

    The first level with a folder that names a split is the level of splits, and every file must be
    in one. The first other level on which folders differ is the level of labels.

    Args:
        folder: contains the files.
        files: N of them.
        what: their kind ("pictures"), for messages.

    Returns:
        (N splits, "all" if no folder names one; N labels, or None if no folder tells them; notes).

    Raises:
        DataError: a file is in a folder that does not tell its split or its label.
    """
    paths = [file.relative_to(folder).parts[:-1] for file in files]
    splits = ["all"] * len(paths)
    for depth in range(max(map(len, paths))):
        names = {path[depth] for path in paths if len(path) > depth}
        meanings = named_splits(folder, names, "folders")
        if any(meanings.values()):
            _refuse_mixed(files, paths, depth, meanings, what)
            splits = [meanings[path[depth]] for path in paths]
            above = [path[:depth] for path in paths]
            below = _undoubled(splits, [path[depth + 1 :] for path in paths])
            _refuse_both_sides(folder, above, below)
            paths = [first + second for first, second in zip(above, below, strict=True)]
            break
    labels, notes = _labels(folder, files, paths, what)
    return splits, labels, notes


def _undoubled(splits: Sequence[str], paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths below the folders of splits, without a folder that repeats the split's name.

    "seg_train/seg_train/cat": it is the only folder there, and is in no other split.
    """
    heads: dict[str, set[tuple[str, ...]]] = {}
    for split, path in zip(splits, paths, strict=True):
        heads.setdefault(split, set()).add(path[:1])
    doubled = {
        split
        for split, own in heads.items()
        for head in own
        if len(own) == 1 and head and _spelling.split(head[0]).split == split
        if sum(head in other for other in heads.values()) == 1
    }
    if not doubled:
        return paths
    pairs = zip(splits, paths, strict=True)
    return _undoubled(splits, [path[split in doubled :] for split, path in pairs])


def _refuse_both_sides(
    folder: Path, above: Sequence[tuple[str, ...]], below: Sequence[tuple[str, ...]]
) -> None:
    """Refuses folders that differ both above and below the folders of splits."""
    first, second = _names(above), _names(below)
    if len(first) > 1 and len(second) > 1:
        raise DataError(
            f"{folder}: the folders {_spelling.quoted(first)} lie above those of the splits,"
            f" {_spelling.quoted(second)} below, and either may be labels: give the path of one of"
            " the first"
        )


def _refuse_mixed(
    files: Sequence[Path],
    paths: Sequence[tuple[str, ...]],
    depth: int,
    meanings: dict[str, str | None],
    what: str,
) -> None:
    """Refuses folders of splits beside files that are in no split."""
    own = sorted(name for name, split in meanings.items() if split)
    lost = [
        file
        for file, path in zip(files, paths, strict=True)
        if len(path) <= depth or meanings[path[depth]] is None
    ]
    if lost:
        raise DataError(
            f"{lost[0]}: lies beside the folders {_spelling.quoted(own)}, which look like splits"
            f" ({len(lost):,} {what} do): move them into one of these or away, or rename these"
            " if they are labels"
        )


def _labels(
    folder: Path, files: Sequence[Path], paths: Sequence[tuple[str, ...]], what: str
) -> tuple[list[str] | None, list[str]]:
    """The label of each file, or None if no folder tells it, and notes."""
    names = _names(paths)
    paths = [path[_shared(paths) :] for path in paths]
    bare = [file for file, path in zip(files, paths, strict=True) if not path]
    if not names or (len(names) == 1 and not bare and _spelling.is_data(names[0])):
        return None, []
    for depth in range(max(map(len, paths))):
        _refuse_parts(folder, sorted({path[depth] for path in paths if len(path) > depth}))
    _refuse_unlike_labels(folder, names)
    if bare:
        raise DataError(
            f"{bare[0]}: lies beside the folders {_spelling.quoted(names)}, which are the labels"
            f" ({len(bare):,} {what} do): move them into one of these, or away"
        )
    notes = [f"folders are the labels: {_spelling.quoted(names)}"]
    if max(map(len, paths)) > 1:
        notes.append("folders below those of the labels are not told apart")
    return [path[0] for path in paths], notes


def _refuse_parts(folder: Path, names: Sequence[str]) -> None:
    """Refuses sibling folders that hold parts of an example, such as images and masks."""
    if len(names) > 1 and all(map(_spelling.is_part, names)):
        raise DataError(
            f"{folder}: the folders {_spelling.quoted(names)} are parts of an example, no labels:"
            " move all but one of them away, or rename them if they are labels"
        )


def _refuse_unlike_labels(folder: Path, names: Sequence[str]) -> None:
    """Refuses folders of labels whose names mean something else."""
    told = f"{folder}: the folders {_spelling.quoted(names)}"
    if len(names) > 1 and all(map(_spelling.is_fold, names)):
        raise DataError(
            f"{told} are folds of a cross-validation, no labels: give the path of one of them, or"
            " rename them if they are labels"
        )
    if len(set().union(*map(_spelling.splits_in, names))) > 1:
        raise DataError(
            f"{told} name splits, but not each of them one: make one folder for each split, side by"
            " side, or rename them if they are labels"
        )


def _names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The folder names, sorted, on the first level on which paths differ; see `_shared`."""
    place = _shared(paths)
    return sorted({path[place] for path in paths if len(path) > place})


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """The number of leading folders that all paths share; a count.

    The last folder of a path is not counted: if it is the only one, it is a label.
    """
    most = max(min(map(len, paths)) - 1, 0)
    return next((d for d in range(most) if len({path[d] for path in paths}) > 1), most)
