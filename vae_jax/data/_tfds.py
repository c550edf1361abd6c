"""Image datasets of tensorflow-datasets by name, read without TensorFlow, offline if possible."""

import gzip
import io
import math
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from absl import logging

from vae_jax import memory
from vae_jax.data import _cache
from vae_jax.data._dataset import (
    Dataset,
    Rows,
    Split,
    bytes_to_convert,
    image_dataset,
    is_streamed,
    mismatch,
    rows_per_block,
    sha256_of_arrays,
    sha256_of_file,
    sha256_of_folder,
)
from vae_jax.errors import DataError

__all__ = ["builder_names", "is_name", "load"]

_VERSION = 1  # of the arrays made here: increase it when they change
_NAME = re.compile(r"[a-z]\w*(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?", re.ASCII)
_IDX_FILES = {
    part: (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    for part, prefix in (("train", "train"), ("test", "t10k"))
}


def builder_names() -> list[str]:
    """Names of all datasets of tensorflow-datasets, of images [H, W, C] and others."""
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def is_name(name: str) -> bool:
    """Whether `name` is a dataset of tensorflow-datasets (any shape): 'mnist', 'a/b:1.0.0'."""
    return _NAME.fullmatch(name) is not None and _base(name) in builder_names()


def _base(name: str) -> str:
    return re.split("[/:]", name)[0]


def load(
    name: str,
    data_dir: Path,
    cache_dir: Path,
    num_valid: int | None = None,
    loading: str = "auto",
    *,
    may_prepare: bool = True,
) -> Dataset:
    """An image dataset of tensorflow-datasets, uint8 [N, H, W, C], with labels if it has them.

    It is searched in this order: prepared as ArrayRecord in data_dir/tensorflow_datasets, data_dir,
    cache_dir/tensorflow_datasets and the default folder of tensorflow-datasets; MNIST's four
    original files in data_dir/<name>; prepared now, which needs TensorFlow and, unless
    data_dir/<name> holds the original files, network access.

    Args:
        name: name of the dataset, optionally with config and version: 'mnist', 'a/b:1.0.0'.
        data_dir: the folder of all datasets.
        cache_dir: the folder for prepared arrays.
        num_valid: rows held out for validation (scalar); None means 10 %, at most 5,000.
        loading: as in `is_streamed`: whether the images stay in the cache's files.
        may_prepare: whether to prepare the dataset now if it is not prepared.

    Returns:
        The dataset with the builder's own splits; if it has no validation split, validation rows
        are held out of train.

    Raises:
        DataError: it is not available, does not consist of 8-bit images of one size, or must stay
            on disk and the cache cannot be written.
        UsageError: if `num_valid` does not fit.
    """
    builder = _find(name, data_dir, cache_dir)
    if builder is None and (parts := _read_idx(data_dir, _base(name))):
        sha256 = sha256_of_arrays(array for s in parts.values() for array in (s.x, s.labels))
        classes = tuple(range(int(parts["train"].labels.max()) + 1))
        return _image_dataset(name, parts, num_valid, sha256=sha256, classes=classes)
    if builder is None and not may_prepare:
        raise DataError(
            f"{name}: is not prepared in {data_dir / 'tensorflow_datasets'}, and is only looked"
            " for: name the folder that holds it with `data_dir` or VAE_JAX_DATA_DIR"
        )
    builder = builder or _prepare(name, data_dir, cache_dir)

    image_key, label_key = _features(builder)
    roles = _roles(builder)
    num_train = builder.info.splits[next(iter(roles.values()))].num_examples
    num_bytes = num_train * math.prod(builder.info.features[image_key].shape)
    on_disk = is_streamed(loading, num_bytes)
    _refuse_large(name, builder, roles, image_key, on_disk=on_disk)
    arrays, notes = _cache.cached(
        cache_dir,
        builder.info.full_name.replace("/", "-"),
        sha256_of_folder(builder.data_path, _files(builder, roles.values())),
        _VERSION,
        lambda: (
            (f"{part}_{field}", num_rows, block)
            for part, split in roles.items()
            for field, num_rows, block in _read_split(builder, split, image_key, label_key)
        ),
        on_disk=on_disk,
    )
    parts = {}
    for part in roles:
        x, labels = arrays[f"{part}_x"], arrays.get(f"{part}_labels")
        parts[part] = Split(
            Rows(x) if on_disk else x,
            None if labels is None else labels[:],
        )
    if on_disk:
        notes += (f"{name}: the images stay in {cache_dir}: rows are read when they are needed",)
    label = builder.info.features[label_key] if label_key else None
    return _image_dataset(
        name,
        parts,
        num_valid,
        sha256=sha256_of_arrays(arrays.values()),
        classes=_classes(label),
        notes=notes,
        streamed=on_disk,
    )


def _refuse_large(name: str, builder, roles: dict[str, str], image_key: str, *, on_disk: bool):
    """Refuses images that need more memory than there is: all, or a few at a time."""
    shape = builder.info.features[image_key].shape
    num_rows = sum(builder.info.splits[split].num_examples for split in roles.values())
    shape = (num_rows, *shape)
    memory.check(name, bytes_to_convert(shape, np.dtype(np.uint8), stays=on_disk))


def _classes(label) -> tuple[int | str, ...] | None:
    """The classes of a `ClassLabel`: words, or numbers if its names are numbers."""
    names = tuple(getattr(label, "names", None) or ())
    if not names:
        return None
    numbers = tuple(range(len(names)))
    return numbers if names == tuple(map(str, numbers)) else names


def _image_dataset(name: str, parts: dict[str, Split], num_valid: int | None, **metadata):
    """Makes an image dataset; gray images get Bernoulli, as is usual for MNIST; [N, H, W, C]."""
    is_grey = next(iter(parts.values())).x.shape[-1] == 1
    likelihood = "bernoulli" if is_grey else "gaussian"
    return image_dataset(name, parts, num_valid, num_levels=256, likelihood=likelihood, **metadata)


def _find(name: str, data_dir: Path, cache_dir: Path):
    """The builder of a dataset prepared as ArrayRecord, or None; never uses the network."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    home = "tensorflow_datasets"
    for root in (
        data_dir / home,
        data_dir,
        cache_dir / home,
        Path(tfds.core.constants.DATA_DIR).expanduser(),
    ):
        try:
            builder = read_only_builder.builder_from_files(name, data_dir=root)
        except tfds.core.DatasetNotFoundError:
            continue
        except Exception as error:
            raise DataError(
                f"{root / _base(name)}: cannot be read ({_reason(error)}): damaged or incomplete;"
                " delete it and prepare it again"
            ) from error
        if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
            return builder
    return None


def _prepare(name: str, data_dir: Path, cache_dir: Path):
    """Prepares a dataset now, from original files or from the network; returns its builder."""
    import tensorflow_datasets as tfds

    if find_spec("tensorflow") is None:
        raise DataError(
            f"{name}: is not prepared in {data_dir / 'tensorflow_datasets'}, and preparing it"
            " needs TensorFlow: pip install 'vae_jax[tensorflow]', or name the folder that holds"
            " it with `data_dir` or VAE_JAX_DATA_DIR"
        )
    homes = (data_dir / "tensorflow_datasets", cache_dir / "tensorflow_datasets")
    home = next((folder for folder in homes if _writable(folder)), None)
    if home is None:
        raise DataError(f"{name}: neither {homes[0]} nor {homes[1]} can be written to prepare it")
    originals = data_dir / _base(name)
    given = originals.is_dir() and any(path.is_file() for path in originals.iterdir())
    logging.info("Preparing %s in %s from %s", name, home, originals if given else "the network")
    try:
        builder = tfds.builder(name, data_dir=home, file_format=tfds.core.FileFormat.ARRAY_RECORD)
        builder.download_and_prepare(
            download_dir=cache_dir / "downloads",
            download_config=tfds.download.DownloadConfig(
                manual_dir=originals if given else None,
                # An own folder: otherwise extracted files of the same name, of another dataset, are
                # reused.
                extract_dir=cache_dir / "extracted" / builder.info.full_name,
                try_download_gcs=False,
            ),
        )
    except Exception as error:
        raise DataError(
            f"{name}: tensorflow-datasets could not prepare it ({_reason(error)}); put the"
            f" original files into {originals} or prepare it where there is a network"
        ) from error
    return builder


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _features(builder) -> tuple[str, str | None]:
    """Keys of the image and of the label (or None); refuses all but 8-bit images of one size."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [key for key, feature in features.items() if type(feature) is tfds.features.Image]
    key = "image" if "image" in images or not images else images[0]
    if not images:
        raise DataError(
            f"{builder.info.name}: has no image among its features, {', '.join(features)}: only"
            " image datasets are read; save the arrays you want as .npz and give its path"
        )
    image = features[key]
    if None in image.shape or image.np_dtype != np.uint8:
        raise DataError(
            f"{builder.info.name}: its images have shape {image.shape} and dtype"
            f" {np.dtype(image.np_dtype)}: must be uint8 of one size; resize them into a folder"
            " and give its path"
        )
    label = dict(features.items()).get("label")
    return key, "label" if isinstance(label, tfds.features.ClassLabel) else None


def _roles(builder) -> dict[str, str]:
    """The builder's splits for our train, valid and test; 'all' if it has only one."""
    names = set(builder.info.splits)
    if {"train", "validation", "test"} <= names:
        return {"train": "train", "valid": "validation", "test": "test"}
    for test in ("test", "validation"):
        if {"train", test} <= names:
            return {"train": "train", "test": test}
    if "train" in names or len(names) == 1:
        return {"all": "train" if "train" in names else names.pop()}
    raise DataError(
        f"{builder.info.name}: has the splits {', '.join(sorted(names))} and none called train"
    )


def _files(builder, splits) -> list[Path]:
    paths = [Path(path) for name in splits for path in builder.info.splits[name].filepaths]
    return [Path(builder.data_path, "features.json"), *paths]


def _read_split(
    builder, split: str, image_key: str, label_key: str | None
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yields blocks ('x', N, [n, H, W, C] uint8) and, if any, ('labels', N, [n] int32)."""
    import tensorflow_datasets as tfds

    shape = builder.info.features[image_key].shape
    try:
        # Decoding here takes half the time of the feature's own decoder.
        source = builder.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})
        num_rows = len(source)
        step = rows_per_block((num_rows, *shape), np.dtype(np.uint8))
        for start in range(0, num_rows, step):
            rows = range(start, min(start + step, num_rows))
            examples = source.__getitems__(list(rows))
            x = np.empty((len(rows), *shape), np.uint8)
            for row, example in zip(range(len(rows)), examples, strict=True):
                x[row] = _pixels(example[image_key], shape)
            yield "x", num_rows, x
            if label_key:
                labels = [example[label_key] for example in examples]
                yield "labels", num_rows, np.array(labels, np.int32)
    except Exception as error:
        raise DataError(
            f"{builder.data_path}: cannot be read ({_reason(error)}): damaged or incomplete;"
            " delete it and prepare it again"
        ) from error


def _pixels(encoded: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decodes an image, [H, W, C]; raises `ValueError` if its size differs from `shape`."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(encoded)) as image:
        if image.size != (shape[1], shape[0]):
            raise ValueError(f"an image of {image.width}×{image.height} pixels")
        return np.asarray(image).reshape(shape)


def _read_idx(data_dir: Path, name: str) -> dict[str, Split] | None:
    """The four original files of MNIST or a similar dataset in data_dir/<name>, or None."""
    import tensorflow_datasets as tfds

    paths = {part: [data_dir / name / file for file in both] for part, both in _IDX_FILES.items()}
    if not all(path.is_file() for both in paths.values() for path in both):
        return None
    registered = {
        info.filename: info.checksum for info in tfds.builder_cls(name).url_infos.values()
    }
    parts = {}
    for part, both in paths.items():
        for path in both:
            found, expected = sha256_of_file(path), registered.get(path.name)
            if found != expected:
                raise mismatch(path, found, str(expected))
        images, labels = (_parse_idx(path) for path in both)
        parts[part] = Split(images[..., None], labels.astype(np.int32))
    return parts


def _parse_idx(path: Path) -> np.ndarray:
    # Two zero bytes, dtype, rank; the sizes as big-endian integers; the values.
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
