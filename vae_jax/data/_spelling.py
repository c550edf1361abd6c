"""The meaning of names: the split and the field of an array, a file or a folder.

This is the only module that knows the usual spellings of splits, images, labels and identifiers. A
name is split into words ("x_train", "trainX", "imagesVal", "train-set", "xtrain"). A word may name
a split or a field, or only mean data ("set", "images").
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax.labels import UNKNOWN, is_blank

__all__ = [
    "MARKS",
    "SPLITS",
    "Meaning",
    "array",
    "column",
    "flag_of_split",
    "folders",
    "is_data",
    "is_fold",
    "is_hidden",
    "is_label",
    "is_part",
    "is_splits",
    "is_time",
    "is_unknown",
    "may_be_unknown",
    "quoted",
    "ratings",
    "shard",
    "split",
    "splits_in",
    "stem",
    "words",
]

SPLITS = ("train", "valid", "test")
"""Internal names of the splits."""

_SPLIT_OF = {
    spelling: split
    for split, spellings in {
        "train": ("train", "training", "trn", "tr"),
        "valid": ("valid", "validation", "val", "dev", "development"),
        "test": ("test", "testing", "tst", "te", "eval", "evaluation", "holdout", "t10k"),
    }.items()
    for spelling in spellings
}
_FIELD_OF = {
    spelling: field
    for field, spellings in {
        "x": (
            *("x", "data", "images", "image", "imgs", "img", "inputs", "input"),
            *("features", "feature", "embeddings", "embedding"),
        ),
        "series": ("series",),
        "labels": ("y", "labels", "label", "targets", "target", "class"),
        "condition": ("condition", "c"),
    }.items()
    for spelling in spellings
}
_SILENT = {spelling for spelling, field in _FIELD_OF.items() if field == "x"} | {
    *("set", "split", "part", "folder", "dir", "file", "files", "pictures", "array"),
}
_PARTS = {"masks", "mask", "annotations", "annotation", "segmentations", "segmentation", "gt"} | {
    *("ground_truth", "groundtruth"),
    *(spelling for spelling, field in _FIELD_OF.items() if field in ("x", "labels")),
}
_FOLD = {"fold", "folds", "kfold", "cv"}
_HIDDEN = {"__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found"} | {
    *("thumbs.db", "ehthumbs.db", "desktop.ini"),
}
_JOINED = {("t", "10", "k"): "t10k", ("hold", "out"): "holdout"}
"""Adjacent words of a name → the single word that they mean."""
_SPLITS = {"split", "splits", "partition", "subset", "set", "fold", "folds", "datasplit"}
_INDEX = {"index", "row", "rows", "rownames", "rowname", "rowid", "unnamed", "sample", "samples"}
_INDEX |= {"obs", "observation", "record", "serial", "sn", "sno", "slno", "srno"}
_TIMES = {"time", "timestamp", "datetime", "date", "epoch", "unixtime"}
_NUMBER = {"level", "number", "no", "nr", "num"}
_IDENTIFIER = {"id", "ids", "uuid", "guid", "identifier"}
_THINGS = {
    *("user", "customer", "client", "member", "reviewer", "person", "patient", "subject", "item"),
    *("passenger", "student", "employee", "player", "team", "movie", "film", "book", "product"),
    *("order", "store", "sample", "image", "img", "file", "record", "case", "obs", "object", "obj"),
    *("doc", "page", "post", "event", "session", "device", "sensor", "station", "cell", "gene"),
    *("row", "u", "p", "s", "o"),
}
"""Words that may precede "id": "userid" is an identifier, "grid" and "humid" are not."""
_LIKE_UNKNOWN = {"unknown", "unlabeled", "unlabelled", "missing", "undefined", "."}
MARKS = UNKNOWN | _LIKE_UNKNOWN
"""Words, in lower case, that mark an unknown value in a column of numbers."""
_RATING = (
    {"user", "reviewer", "customer", "member"},
    {"item", "movie", "film", "product", "book", "song", "track", "artist", "anime", "business"},
    {"rating", "ratings", "score", "stars"},
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_SHARD = re.compile(r"[-_.]\d+$|[-_.]\d+[-_]of[-_]\d+([-_.]\w+)?$|(?<=^part)-([a-z]-)?\d+[-_.].*$")
_TEST_OF_IMAGES = re.compile(r"(?<=[a-z])Ts$")  # "imagesTs" beside "imagesTr"
_MOST_QUOTED = 6


class Meaning(NamedTuple):
    """The meaning of a name (of a thing of any shape).

    Args:
        split: "train", "valid" or "test"; None if it names no split, or two.
        rest: its other words, without generic ones such as "set".
    """

    split: str | None
    rest: tuple[str, ...]


def words(name: str) -> list[str]:
    """The words of a name, in lower case: "customerID" has "customer" and "id"."""
    found = [word.casefold() for word in _WORD.findall(name)]
    for parts, whole in _JOINED.items():
        for start in range(len(found) - len(parts), -1, -1):
            if tuple(found[start : start + len(parts)]) == parts:
                found[start : start + len(parts)] = [whole]
    return found


def split(name: str) -> Meaning:
    """Finds the split in a name: "xtrain", "Train", "training_set" and "imagesTr" mean train."""
    parted = [_parted(word) for word in words(_TEST_OF_IMAGES.sub("Te", name))]
    found = [own for own, _ in parted if own is not None]
    if len(found) != 1:
        return Meaning(None, tuple(words(name)))
    return Meaning(found[0], tuple(w for _, rest in parted for w in rest if w not in _SILENT))


def _parted(word: str) -> tuple[str | None, list[str]]:
    """The split in a single word, and the rest of the word ("xtrain", "testset")."""
    if word in _SPLIT_OF:
        return _SPLIT_OF[word], []
    for spelling, own in _SPLIT_OF.items():
        for rest in (word.removeprefix(spelling), word.removesuffix(spelling)):
            if len(spelling) > 2 and rest != word and rest in _SILENT | _FIELD_OF.keys():
                return own, [rest]
    if word[:1] in ("x", "y") and word[1:] in _SPLIT_OF:
        return _SPLIT_OF[word[1:]], [word[0]]  # "xte"
    return None, [word]


def splits_in(name: str) -> set[str]:
    """The splits that a name is made of: both in "val_train", none in "train_station"."""
    parted = [_parted(word) for word in words(name)]
    says_more = any(own is None and rest[0] not in _SILENT for own, rest in parted)
    return set() if says_more else {own for own, _ in parted if own is not None}


def folders(names: Iterable[str]) -> dict[str, str | None]:
    """The split of each of several sibling folders or files, or None.

    A split with another word ("seg_train") counts only if siblings share that word ("seg_test");
    alone ("train_station") it does not. Numbers ("1_train", "2_test") are ignored.
    """
    meanings = {name: split(name) for name in names}
    rests = {name: tuple(w for w in own.rest if not w.isdigit()) for name, own in meanings.items()}
    shared: dict[tuple[str, ...], set] = {}
    for name, own in meanings.items():
        shared.setdefault(rests[name], set()).add(own.split)
    return {
        name: own.split if not own.rest or len(shared[rests[name]] - {None}) > 1 else None
        for name, own in meanings.items()
    }


def is_fold(name: str) -> bool:
    """Whether a name means a fold of a cross-validation: "fold1", "cv_3", "2nd fold"."""
    return not _FOLD.isdisjoint(words(name))


def is_part(name: str) -> bool:
    """Whether a name means a part of an example: "images", "masks", "labels"."""
    whole = "_".join(words(name))
    return len(whole) > 1 and whole in _PARTS


def is_data(name: str) -> bool:
    """Whether a name only means data: "images", "data set"."""
    return bool(words(name)) and set(words(name)) <= _SILENT


def is_hidden(name: str) -> bool:
    """Whether a name is hidden or belongs to an operating system."""
    return name.startswith((".", "@")) or name.casefold() in _HIDDEN


def array(name: str) -> tuple[str, str | None] | None:
    """The field and the split in the name of an array; None if it has no field.

    A name that leads out of its archive ("../x") has none: NumPy does not write such names.

    Args:
        name: a key of an .npz file, or the stem of an .npy file.

    Returns:
        (one of "x", "series", "labels" and "condition"; one of `SPLITS`, or None).
    """
    if name == "arr_0":  # from numpy.savez for an array without a name
        return "x", None
    if name.startswith("/") or ".." in name.split("/"):
        return None
    own = split(name)
    if own.split is not None and not own.rest:
        return "x", own.split
    field = _FIELD_OF.get("_".join(own.rest))
    return None if field is None else (field, own.split)


def column(name: str, *, is_distinct: bool, is_run: bool, is_counting: bool) -> str | None:
    """The role of a column of integers, by its name and values, if it is nothing to learn from.

    Except for a last word "id", it takes both the name and the values: "sample" and "S/N" are an
    index if their values are consecutive in any order, "number" if it counts the rows, and a column
    without a name if its values are distinct; "userid" is an identifier if its values are distinct.

    Args:
        name: name of the column.
        is_distinct: whether no number occurs twice.
        is_run: whether they are consecutive integers, in any order.
        is_counting: whether they count the rows, from 0 or 1.

    Returns:
        "index", "identifier", or None for any other column.
    """
    own = [word for word in words(name) if not word.isdigit()]
    if is_distinct and (not words(name) or own in (["unnamed"], ["index"], ["index", "level"])):
        return "index"
    is_index = {"".join(own), *own} & _INDEX and {*own} <= _INDEX | _NUMBER | {"s", "sl", "sr", "n"}
    if (is_run and is_index) or (is_counting and own and {*own} <= _NUMBER):
        return "index"
    is_grown_together = own[-1:] and own[-1].endswith("id") and own[-1][:-2] in _THINGS
    if (own and own[-1] in _IDENTIFIER) or (is_distinct and is_grown_together):
        return "identifier"
    return None


def is_splits(name: str) -> bool:
    """Whether a column with this name holds the split of each row."""
    own = words(name)
    return "".join(own) in _SPLITS


def is_time(name: str) -> bool:
    """Whether a column with this name holds the time of each row."""
    return bool({*words(name)} & _TIMES)


def flag_of_split(name: str) -> str | None:
    """The split for which a column is a flag by its name ("is_train"), or None.

    "is_valid" is not one: it usually means that a row is correct.
    """
    own = words(name)
    own = [own[0][:2], own[0][2:]] if len(own) == 1 and own[0].startswith("is") else own
    if len(own) != 2 or own[0] not in ("is", "in") or own[1] == "valid":
        return None
    return _SPLIT_OF.get(own[1])


def is_unknown(text: str) -> bool:
    """Whether a cell or a label means unknown: empty, "?", "NA", "None"."""
    return is_blank(text)


def may_be_unknown(text: str) -> bool:
    """Whether a word may mean unknown, but may also be a value."""
    return text.strip().casefold() in _LIKE_UNKNOWN


def is_label(name: str) -> bool:
    """Whether a column with this name holds labels."""
    return _FIELD_OF.get(name.strip().casefold()) == "labels"


def ratings(names: Sequence[str]) -> tuple[str, ...] | None:
    """The columns [N] of users, items and ratings by name, if there is one of each."""
    users, items, marks = _RATING
    by_name = {name: words(name) for name in names}

    def first(kind: Collection[str], others: Collection[str]) -> str | None:
        found = (n for n, own in by_name.items() if {*own[:1]} & kind and {*own[1:]} <= others)
        return next(found, None)

    found = first(users, _IDENTIFIER), first(items, _IDENTIFIER), first(marks, set())
    return None if None in found else found


def stem(path: Path) -> str:
    """The name of a file without its ending: "train" of train.csv.gz; a scalar."""
    return Path(path.name.removesuffix(".gz")).stem


def shard(stem: str) -> str:
    """The stem of a file without a shard number: "train-00000-of-00002" is "train"."""
    return _SHARD.sub("", stem)


def quoted(names: Collection[str]) -> str:
    """Names (of things of any shape) for a message: quoted, shortened, the first of many."""
    told = [repr(name if len(name) <= 60 else f"{name[:57]}…") for name in names]
    more = f" and {len(told) - _MOST_QUOTED:,} more" if len(told) > _MOST_QUOTED else ""
    return ", ".join(told[:_MOST_QUOTED]) + more
