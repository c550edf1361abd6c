"""Datasets by name: stored arrays, and what a model and a likelihood must know about them.

A new dataset is one file here: `vae_jax/data/<name>.py` with a function `load(data_dir, num_valid)`
that returns a `Dataset`; its docstring is its help. Modules with a leading underscore hold shared
code.
"""

import dataclasses
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import cache, discovery, looks, ratings, schema
from vae_jax.data._dataset import Dataset, Rows, Split, check, other_content
from vae_jax.data._part import Reading
from vae_jax.data._sequences import strings
from vae_jax.errors import UsageError, did_you_mean, shown
from vae_jax.threefry import unrolled

__all__ = ["Dataset", "Rows", "Split", "binarize", "check", "load", "names", "strings"]

_SCALINGS = ("auto", "unit", "none")
_OF_PICTURES = ("resize", "crop", "pad", "background", "frames", "icc")
_OF_RATINGS = ("user", "item", "rating", "rating_at_least", "min_ratings", "min_item_ratings")
_OF_SOUND = ("sound", "frame_length", "frame_hop", "mel_bands")
_LOADINGS = ("auto", "memory", "stream")


def names() -> list[str]:
    """Names of the built-in datasets (images of fixed shape), sorted: this package's modules."""
    return discovery.names(__name__)


def load(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    num_valid: int | None = None,
    scaling: str = "auto",
    loading: str = "auto",
    window: int | None = None,
    hop: int | None = None,
    missing_values: Sequence[str] | None = None,
    kinds: Mapping[str, str] | Sequence[str] | str | None = None,
    label: str | None = None,
    id: str | Sequence[str] | None = None,
    ignore: str | Sequence[str] | None = None,
    split_column: str | None = None,
    layer: str | None = None,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    rating_at_least: float | None = None,
    min_ratings: int | None = None,
    min_item_ratings: int | None = None,
    condition: str | Sequence[str] | None = None,
    csv: Mapping[str, str] | Sequence[str] | str | None = None,
    test_data: str | os.PathLike | None = None,
    train_where: str | None = None,
    resize: int | Sequence[int] | None = None,
    crop: str = "none",
    pad: bool = False,
    background: str | None = None,
    frames: str = "first",
    icc: str = "stored",
    sound: str | None = None,
    frame_length: int | None = None,
    frame_hop: int | None = None,
    mel_bands: int | None = None,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Loads a dataset by name or path, with train, valid and test splits [N, *stored].

    Args:
        name: one of `names()`, a dataset of tensorflow-datasets ('mnist', 'config/of:1.0.0'), or
            the path of an .npy, .npz, .mtx, .h5ad, .csv, .tsv, .csv.gz, .parquet, .feather, .xlsx
            or .txt file (of several sheets "table.xlsx#sheet"), of a file with several pages of
            images, or of a folder of images, recordings, tables or .npy files. A path that does not
            exist is searched below `data_dir`.
        data_dir: the folder of all datasets; None means $VAE_JAX_DATA_DIR, else
            $XDG_CACHE_HOME/vae_jax/data (~/.cache/vae_jax/data; if there is no home, below the
            working directory).
        num_valid: rows held out for validation (scalar) if the source has no such split; None means
            10 %, at most 5,000 if the source has its own train split.
        scaling: for the user's own continuous data: 'auto' standardizes the columns of a table and
            scales images of 0 … 255 to [0, 1], 'unit' scales the range of the training split to [0,
            1], 'none' keeps the values. Data on levels is always decoded to [0, 1].
        loading: 'memory' reads everything, 'stream' leaves rows on disk if the source supports it
            (an .npy file, tensorflow-datasets) and marks the dataset as streamed, 'auto' streams
            data of these sources that would take more than a third of the memory limit, see
            `vae_jax.memory.limit_bytes`. Values, splits and hash are the same in each mode.
        window: cuts your own table, whose rows are consecutive in time, into sequences of this many
            rows (scalar), the first to train and the last to test.
        hop: rows from the start of one window to the start of the next (scalar); None: no overlap.
        missing_values: text that marks a missing cell of your own table, in addition to empty
            cells and the usual words for it.
        kinds: what columns of your own table are, as {"age": "count", "size": "S<M<L"} or texts
            "age=count": one of `schema.names()`, or levels in ascending order; other columns
            follow the rules of `vae_jax.schema`. "numeric" uses complete rows of numeric columns
            alone, all real.
        label, id, ignore, split_column: names of columns of your own table, as `kinds` with label,
            identifier, ignored and split.
        layer: the matrix of an .h5ad file that is read, one of its layers or 'raw'; None means X.
            `label` and `id` name columns of its obs.
        user, item, rating: names of the columns of your own table with a row for each rating; None
            finds them by their names. It becomes users × items, 1 for each rating.
        rating_at_least: ratings of at least this (scalar) count; None: each does.
        min_ratings: users with fewer ratings (scalar) are left out; None means 5.
        min_item_ratings: items with fewer ratings (scalar) are left out; None means 1.
        condition: names of columns of your own table, or of obs in an .h5ad file, on which a model
            is conditioned (batch, covariates); they are not learned. Levels become unit vectors,
            numbers are standardized.
        csv: how your own CSV file is written, as {"separator": "tab", "decimal": "comma"} or texts
            "header=no", "encoding=cp1252"; what is not set is detected. The decimal mark is also
            that of numbers in words in other formats.
        test_data: path of another table with the columns of your own one, matched by name, whose
            rows are the test split. Its kinds, levels and units are those of the first table; a
            level that the first lacks is a missing cell.
        train_where: which rows may be in train and valid, as "label==0 and age>=18": comparisons of
            columns of your own table, or of the label of other data. Other rows are test rows; left
            out if the data have test rows of their own.
        resize: of your own pictures: (height, width) in pixels, or one number for both.
        crop: 'center' cuts the largest centered part of that shape out first; 'none' stretches.
        pad: whether pictures are resized to fit inside and the rest is filled with `background`,
            black by default.
        background: a color, such as 'white' or '#808080', on which transparent pictures are put;
            'alpha' keeps their alpha channel as the last one. None refuses them.
        frames: 'first' reads the first page of each file of pictures, 'all' reads each page as a
            row.
        icc: 'srgb' converts pictures of another color profile to sRGB; 'stored' keeps their
            numbers, with a note.
        sound: of your own recordings: 'mel' reads the log energies of mel bands in overlapping
            frames, 'raw' frames of samples; None means 'mel'.
        frame_length: samples of a frame (scalar); None: the power of two next to 32 ms.
        frame_hop: samples from a frame of mel bands to the next (scalar); None: half a frame.
        mel_bands: their number (scalar); None: 40, fewer for short frames.
        sha256: required hash of the content: other data are refused, your own file before it is
            parsed, and nothing is prepared or downloaded. None accepts any content.
        cache_dir: folder for prepared arrays; None means $XDG_CACHE_HOME/vae_jax/datasets
            (~/.cache/vae_jax/datasets; if there is no home, as above).

    Returns:
        The dataset.

    Raises:
        UsageError: if there is no dataset of that name, or an argument does not fit.
        DataError: if its files are missing, damaged, or contain nothing to learn from.
    """
    _check(name, data_dir, cache_dir, sha256, scaling, loading)
    (name, sheet), (data_dir, cache_dir) = _parted(str(name)), _found_in(data_dir, cache_dir)
    num_valid, window, hop = _counts(num_valid, window, hop)
    asked, is_numeric = _kinds(kinds, label, id, ignore, split_column)
    of_pictures = (resize, crop, pad, background, frames, icc)
    of_ratings = (user, item, rating, rating_at_least, min_ratings, min_item_ratings)
    reading = Reading(
        *(num_valid, scaling, loading, window, hop, _marks(missing_values), asked, is_numeric),
        csv=_csv_settings(csv),
        condition=_texts("condition", condition) or None,
        train_where=_which(train_where),
        sheet=sheet,
        sha256=sha256,
        cache_dir=cache_dir,
        layer=layer,
        **_second(test_data, data_dir),
        **_of_kinds_of_files(of_pictures, of_ratings, (sound, frame_length, frame_hop, mel_bands)),
    )
    return _read(name, data_dir, reading)


def _which(train_where: str | None) -> Any:
    """The rows that may be in train or valid, as `Reading` takes them; None means all."""
    if train_where is None:
        return None
    from vae_jax.data import _where

    return _where.parse(train_where)


def _found_in(data_dir: Any, cache_dir: Any) -> tuple[Path, Path]:
    """Where data files are, and where prepared data are kept."""
    home = cache.user_folder() or Path(".cache", "vae_jax")
    data_dir = Path(data_dir or os.environ.get("VAE_JAX_DATA_DIR") or home / "data")
    return data_dir, Path(cache_dir or home / "datasets")


def _parted(path: Any) -> tuple[Any, str | None]:
    """The path and the sheet of "table.xlsx#sheet"; a file of that whole name has no sheet."""
    if not isinstance(path, str | os.PathLike) or os.path.lexists(path):
        return path, None
    found = re.fullmatch(r"(.+\.xlsx)#(.+)", os.fspath(path), re.IGNORECASE)
    return (path, None) if found is None else (found[1], found[2])


def _of_kinds_of_files(pictures: Sequence, ratings_: Sequence, sound: Sequence) -> dict[str, Any]:
    """The settings of pictures, of ratings and of sound as `Reading` takes them."""
    return {
        "look": looks.make(**dict(zip(_OF_PICTURES, pictures, strict=True))),
        "ratings": ratings.make(**dict(zip(_OF_RATINGS, ratings_, strict=True))),
        "sound": dict(zip(_OF_SOUND, sound, strict=True)),
    }


def _read(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """The dataset of a name or a path, if its content is the required one."""
    own = _own(name, data_dir)
    dataset = _named(name, data_dir, reading) if own is None else _of_user(own, reading)
    if reading.sha256 not in (None, dataset.sha256):
        raise other_content(name, dataset.sha256, reading.sha256)
    is_streamed = dataset.streamed or reading.loading == "stream"
    return dataclasses.replace(dataset, streamed=is_streamed)


def _of_user(path: Path, reading: Reading) -> Dataset:
    """The user's own data."""
    from vae_jax.data import _files

    return _files.load(path, reading)


def _named(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """A dataset by its name; refuses settings of a user's own data."""
    if reading.sheet is not None:
        raise UsageError(f"dataset {name!r}: no such file, nor in {data_dir}")
    settings = reading.num_valid, reading.loading
    may_prepare = reading.sha256 is None
    dataset = _load(name, data_dir, reading.cache_dir, *settings, may_prepare=may_prepare)
    of_tables = ("missing_values", "kinds", "csv", "condition", "test_data")
    for setting in ("window", "layer", *of_tables):
        reading.refuse(setting, f"{name} is none")
    reading.ratings.refuse(f"{name} is no table")
    reading.look.refuse(f"{name} has a form of its own")
    reading.refuse_sound(f"{name} holds none")
    if reading.train_where is None:
        return dataset
    from vae_jax.data import _files

    return _files.restricted(dataset, reading.train_where)


def _check(name: Any, data_dir: Any, cache_dir: Any, sha256: Any, scaling: Any, loading: Any):
    """Refuses arguments of `load` that are no names, paths or choices."""
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise UsageError(
            f"name={shown(name)}: must be the name of a dataset, or a path: give "
            "load('digits'), for example; arrays go into make_model and fit as they are"
        )
    _check_words(sha256, scaling, loading)
    for setting, value in {"data_dir": data_dir, "cache_dir": cache_dir}.items():
        if value is not None and not isinstance(value, str | os.PathLike):
            raise UsageError(f"{setting}={shown(value)}: must be the path of a folder")
    if data_dir is not None and not os.path.isdir(data_dir):
        raise UsageError(f"data_dir={os.fspath(data_dir)}: no such folder")


def _counts(num_valid: Any, window: Any, hop: Any) -> tuple[int | None, int | None, int | None]:
    """Checks settings that are counts, and that go together."""
    num_valid, window, hop = (
        _integer(setting, value)
        for setting, value in {"num_valid": num_valid, "window": window, "hop": hop}.items()
    )
    for setting, value in {"window": window, "hop": hop}.items():
        if value is not None and value < 1:
            raise UsageError(f"{setting}={value}: must be at least 1")
    if hop is not None and window is None:
        raise UsageError(f"hop={hop}: is from one window to the next, give window too")
    return num_valid, window, hop


def _check_words(sha256: Any, scaling: str, loading: str) -> None:
    """Raises UsageError for a setting that is none of its words, or no text."""
    if sha256 is not None and not isinstance(sha256, str):
        raise UsageError(f"sha256={shown(sha256)}: must be a hash in hexadecimal")
    if scaling not in _SCALINGS:
        raise UsageError(f"scaling={scaling!r}: must be one of {', '.join(_SCALINGS)}")
    if loading not in _LOADINGS:
        raise UsageError(f"loading={loading!r}: must be one of {', '.join(_LOADINGS)}")


def _integer(setting: str, value: Any) -> int | None:
    """Checks a setting that is a count, if it is given."""
    if value is None:
        return None
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise UsageError(f"{setting}={value!r}: must be an integer, or be left out")
    return int(value)


def _marks(missing_values: Any) -> tuple[str, ...] | None:
    """The texts that mark a missing cell; one text alone is one mark."""
    if missing_values is None:
        return None
    is_one = isinstance(missing_values, str) or not isinstance(missing_values, Iterable)
    marks = (missing_values,) if is_one else tuple(missing_values)
    if not all(isinstance(mark, str) for mark in marks):
        raise UsageError(
            f"missing_values={shown(missing_values)}: must be texts: give missing_values=['NA'], "
            "for example"
        )
    return marks


def _kinds(
    kinds: Any, label: Any, id: Any, ignore: Any, split_column: Any
) -> tuple[dict[str, str] | None, bool]:
    """Column → the kind that is set for it, or None; whether only numbers are used."""
    given = kinds.items() if isinstance(kinds, Mapping) else _texts("kinds", kinds)
    is_numeric = "numeric" in given
    found: dict[str, str] = {}
    for pair in given:
        if pair == "numeric":
            continue
        name, mark, kind = pair.partition("=") if isinstance(pair, str) else (pair[0], "=", pair[1])
        if not (mark and name and kind and isinstance(kind, str)):
            raise UsageError(
                f"kinds={pair}: must be the name of a column and its kind: give"
                " kinds={'age': 'count'}, for example"
            )
        _set_kind(found, name.strip(), _kind(name, kind.strip()), "kinds")
    roles = {"label": label, "id": id, "ignore": ignore, "split_column": split_column}
    for setting, names in roles.items():
        for name in _texts(setting, names):
            _set_kind(found, name, _ROLES[setting], setting)
    return found or None, is_numeric


_ROLES = {"label": "label", "id": "identifier", "ignore": "ignored", "split_column": "split"}
"""Setting that names columns → their kind."""


def _kind(name: str, kind: str) -> str:
    """The name of a kind that is set for a column, or its levels in order."""
    if "<" in kind:
        return kind
    try:
        return schema.load(kind).name
    except UsageError as error:
        raise UsageError(f"kinds={name}={kind}: {error}") from None


def _set_kind(found: dict[str, str], name: str, kind: str, setting: str) -> None:
    if found.get(name, kind) != kind:
        raise UsageError(
            f"{setting}={name}: column {name!r} is set as {found[name]} and as {kind}: leave one"
            " of them out"
        )
    found[name] = kind


def _texts(setting: str, value: Any) -> tuple:
    """The texts of a setting; one text alone is one, None is none."""
    if value is None:
        return ()
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    texts = (value,) if is_one else tuple(value)
    if not all(isinstance(text, str) and text for text in texts):
        raise UsageError(
            f"{setting}={shown(value)}: must be names of columns: give {setting}='a', for example"
        )
    return texts


def _csv_settings(given: Any) -> dict[str, str] | None:
    """The settings of CSV files by name, if there are any."""
    if given is None:
        return None
    from vae_jax.data import _csv

    return _csv.settings(given)


def _second(path: Any, data_dir: Path) -> dict[str, Any]:
    """The fields of `Reading` of a second table, searched below the folder of data; {} if none."""
    if path is None:
        return {}
    path, sheet = _parted(path)
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UsageError(f"test_data={shown(path)}: must be the path of a table")
    from vae_jax.data import _table_files

    found = Path(path) if os.path.lexists(path) else data_dir / path
    if not found.is_file() or not found.name.lower().endswith(_table_files.SUFFIXES):
        what = "no such file" if not found.exists() else "must be one table"
        raise UsageError(
            f"test_data={os.fspath(path)}: {what}: give a file that ends in"
            f" {', '.join(_table_files.SUFFIXES)}"
        )
    return {"test_data": found, "test_sheet": sheet}


def _own(name: str, data_dir: Path) -> Path | None:
    """The path of the user's own data, or None if the name means something else."""
    if name in names():
        return None
    from vae_jax.data import _tfds

    if not os.path.lexists(name):
        below = data_dir / name
        return below if _looks_like_path(name) and os.path.lexists(below) else None
    return Path(name) if _looks_like_path(name) or not _tfds.is_name(name) else None


def _looks_like_path(name: str) -> bool:
    from vae_jax.data import _files

    return bool(os.path.dirname(name)) or name.lower().endswith(_files.SUFFIXES)


def _load(
    name: str,
    data_dir: Path,
    cache_dir: Path,
    num_valid: int | None,
    loading: str,
    *,
    may_prepare: bool,
) -> Dataset:
    if name in names():
        return discovery.load(__name__, name, "dataset").load(data_dir, num_valid)
    # formats that a built-in dataset does not need
    from vae_jax.data import _files, _tfds

    if _tfds.is_name(name):
        return _tfds.load(name, data_dir, cache_dir, num_valid, loading, may_prepare=may_prepare)
    if _looks_like_path(name):
        raise UsageError(f"dataset {name!r}: no such file or folder, nor in {data_dir}")
    hint = did_you_mean(name, [*names(), *_tfds.builder_names()])
    raise UsageError(
        f"dataset {name!r} is unknown{hint}: choose from {', '.join(names())}, a dataset of "
        "tensorflow-datasets (for instance mnist), or the path of a file "
        f"({', '.join(_files.SUFFIXES)}) or of a folder of images"
    )


def binarize(key: jax.Array, x: jax.Array) -> jax.Array:
    """Dynamic binarization: each value becomes 1 with a probability equal to it, else 0.

    b ~ Bernoulli(x), drawn afresh at each use.

    Args:
        key: PRNG key, used once.
        x: [B, *shape] in [0, 1].

    Returns:
        [B, *shape] float32, each 0 or 1.

    Reference:
        Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, ICML 2008.
    """
    return jax.random.bernoulli(unrolled(key), x).astype(jnp.float32)
