"""Datasets of tensorflow-datasets: what is read, in which order it is looked for, the cache."""

import gzip
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from vae_jax import data, memory
from vae_jax.data import _cache, _dataset, _tfds
from vae_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, no TensorFlow, and no folder of this machine is looked into."""

    class NoSocket(socket.socket):
        def __init__(self, *args, **kwargs):
            raise OSError("the test has cut the network")

    def no_address(*args, **kwargs):
        raise OSError("the test has cut the network")

    import tensorflow_datasets as tfds

    monkeypatch.setattr(_tfds, "find_spec", lambda name: None)  # as if it were not installed
    monkeypatch.setattr(socket, "socket", NoSocket)
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "default"))


def prepare(root, name, splits, *, file_format="array_record", shape=(6, 5, 3), labels=True):
    """Write what tensorflow-datasets would, with no TensorFlow: {split: (images, labels)}."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    features = {"image": tfds.features.Image(shape=shape)}
    if labels:
        features["label"] = tfds.features.ClassLabel(names=["cat", "dog"])
    tfds.features.FeaturesDict(features).save_config(folder)
    for split, rows in splits.items():
        path = folder / f"{name}-{split}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for image, label in zip(*rows, strict=True):
            example, png = tf_example_pb2.Example(), io.BytesIO()
            PIL.Image.fromarray(image.squeeze()).save(png, "PNG")
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            if labels:
                example.features.feature["label"].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
    info = {
        "name": name,
        "version": "1.0.0",
        "fileFormat": file_format,
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(len(rows[0]))],
            }
            for split, rows in splits.items()
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def parts(**slices):
    return {split: (IMAGES[rows], LABELS[rows]) for split, rows in slices.items()}


TRAIN_AND_TEST = parts(train=slice(0, 30), test=slice(30, 40))


@pytest.fixture
def load(tmp_path):
    (tmp_path / "data").mkdir()
    return lambda name="cifar10", **kwargs: data.load(
        name, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", **kwargs
    )


# --- The real MNIST


@pytest.fixture(scope="module")
def raw_mnist(data_dir):
    def parse(path, offset, shape):
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=offset).reshape(
            shape
        )

    folder = data_dir / "mnist"
    return {
        part: (
            parse(folder / f"{prefix}-images-idx3-ubyte.gz", 16, (-1, 28, 28, 1)),
            parse(folder / f"{prefix}-labels-idx1-ubyte.gz", 8, (-1,)),
        )
        for part, prefix in (("train", "train"), ("test", "t10k"))
    }


def in_any_order(x, labels):
    rows = np.c_[x.reshape(len(x), -1), labels.astype(np.uint8)]
    return rows[np.lexsort(rows.T[::-1])]


@pytest.mark.slow
def test_prepared_mnist_is_the_original_read_once(data_dir, raw_mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = data.load("mnist", data_dir=data_dir, num_valid=0)
    assert dataset.shape == (28, 28, 1)
    assert dataset.num_levels == 256
    for part, (x, labels) in raw_mnist.items():
        split = getattr(dataset, part)
        assert split.x.dtype == np.uint8
        np.testing.assert_array_equal(in_any_order(split.x, split.labels), in_any_order(x, labels))

    monkeypatch.setattr(_tfds, "_read_split", None)  # a second reading would fail
    again = data.load("mnist", data_dir=data_dir)
    assert [len(s) for s in (again.train, again.valid, again.test)] == [55_000, 5_000, 10_000]
    np.testing.assert_array_equal(again.test.x, dataset.test.x)
    assert again.sha256 == dataset.sha256
    assert again.notes == ()


def test_the_four_original_files_are_enough(data_dir, raw_mnist, load, tmp_path):
    shutil.copytree(data_dir / "mnist", tmp_path / "data/mnist")
    dataset = load("mnist", num_valid=0)
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [60_000, 0, 10_000]
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    np.testing.assert_array_equal(dataset.train.x, raw_mnist["train"][0])
    np.testing.assert_array_equal(dataset.test.labels, raw_mnist["test"][1])
    assert abs(dataset.train.x.mean() / 255 - 0.1307) < 5e-5
    decoded = jax.jit(dataset.decode)(dataset.test.x[:100])
    np.testing.assert_allclose(decoded, dataset.test.x[:100] / np.float32(255), rtol=1e-6)


@pytest.mark.fault("R6")
def test_original_files_of_another_dataset_are_named_with_both_hashes(data_dir, load, tmp_path):
    shutil.copytree(data_dir / "mnist", tmp_path / "data/fashion_mnist")
    with pytest.raises(DataError, match=r"SHA-256 .* is 440fcabf\w{56}, expected 3aede38d\w{56}"):
        load("fashion_mnist")


# --- Any other


def test_color_images_labels_and_names(load, tmp_path):
    prepare(tmp_path / "data/tensorflow_datasets", "cifar10", TRAIN_AND_TEST)
    dataset = load(num_valid=0)
    assert dataset.shape == (6, 5, 3)
    assert dataset.classes == ("cat", "dog")
    np.testing.assert_array_equal(dataset.train.x, IMAGES[:30])
    np.testing.assert_array_equal(dataset.test.x, IMAGES[30:])
    np.testing.assert_array_equal(dataset.train.labels, LABELS[:30])
    assert len(load().valid) == 3


def test_images_without_labels(load, tmp_path):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST, labels=False)
    dataset = load()
    assert dataset.train.labels is None
    assert dataset.classes is None


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        (parts(train=slice(0, 20), validation=slice(20, 30), test=slice(30, 40)), [20, 10, 10]),
        (parts(train=slice(0, 30), validation=slice(30, 40)), [27, 3, 10]),
        (parts(train=slice(0, 40)), [32, 4, 4]),
        (parts(test=slice(0, 40)), [32, 4, 4]),
    ],
)
def test_splits_are_the_builders_own(load, tmp_path, splits, sizes):
    prepare(tmp_path / "data", "cifar10", splits)
    dataset = load()
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == sizes


def test_own_validation_is_not_held_out_again(load, tmp_path):
    splits = parts(train=slice(0, 20), validation=slice(20, 30), test=slice(30, 40))
    prepare(tmp_path / "data", "cifar10", splits)
    with pytest.raises(UsageError, match="its own 10 rows for validation"):
        load(num_valid=5)


def test_folders_are_looked_into_in_order(load, tmp_path):
    roots = ["data/tensorflow_datasets", "data", "cache/tensorflow_datasets", "default"]
    for i, root in reversed(list(enumerate(roots))):
        prepare(tmp_path / root, "cifar10", parts(train=slice(0, 30 + i), test=slice(30, 40)))
        assert len(load(num_valid=0).train) == 30 + i


def test_a_version_can_be_asked_for(load, tmp_path):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    assert len(load("cifar10:1.0.0").test) == 10
    with pytest.raises(DataError, match="is not prepared"):
        load("cifar10:9.9.9")


@pytest.mark.parametrize("file_format", [None, "tfrecord"])
def test_an_unprepared_dataset_names_the_extra_at_once(load, tmp_path, file_format):
    if file_format:
        prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST, file_format=file_format)
    with pytest.raises(DataError) as error:
        load()
    assert "pip install 'vae_jax[tensorflow]'" in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_many_sizes_are_refused(load, tmp_path):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST, shape=(None, None, 3))
    with pytest.raises(DataError, match=r"shape \(None, None, 3\).*must be uint8 of one size"):
        load()


@pytest.mark.fault("R6")
@pytest.mark.parametrize("lost", ["train.array_record-00000-of-00001", "info"])
@pytest.mark.parametrize("how", ["delete", "empty", "truncate", "flip"])
def test_damaged_files_are_named(load, tmp_path, lost, how):
    folder = prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    path = folder / ("dataset_info.json" if lost == "info" else f"cifar10-{lost}")
    whole = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "flip":
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 0xFF]) + whole[201:])
    else:
        path.write_bytes(whole[: len(whole) // 3] if how == "truncate" else b"")
    with pytest.raises(DataError) as error:
        load()
    assert "cifar10" in str(error.value)
    assert "\n" not in str(error.value)


# --- The cache (R6)


@pytest.mark.fault("R6")
def test_a_damaged_copy_is_named_with_both_hashes_and_made_again(load, tmp_path):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    load()
    (copy,) = (tmp_path / "cache").glob("*/train_x.npy")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = hashlib.sha256(copy.read_bytes()).hexdigest()
    dataset = load(num_valid=0)
    np.testing.assert_array_equal(dataset.train.x, IMAGES[:30])
    assert damaged in dataset.notes[0]
    assert hashlib.sha256(whole).hexdigest() in dataset.notes[0]
    assert copy.read_bytes() == whole
    assert load().notes == ()


@pytest.mark.fault("R6")
@pytest.mark.parametrize("name", ["record.json", "train_x.npy", "test_labels.npy"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"arrays": 3}', b"\xff\x00"])
def test_an_incomplete_copy_is_made_again(load, tmp_path, name, content):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    load()
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    dataset = load(num_valid=0)
    np.testing.assert_array_equal(dataset.train.x, IMAGES[:30])
    assert "made again from the source" in dataset.notes[0]
    assert load().notes == ()


@pytest.mark.fault("R6")
def test_a_source_swapped_after_caching_is_read_again_and_said(load, tmp_path):
    folder = prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    first = load()
    shutil.rmtree(folder)
    prepare(tmp_path / "data", "cifar10", parts(train=slice(5, 40), test=slice(0, 5)))
    second = load(num_valid=0)
    np.testing.assert_array_equal(second.train.x, IMAGES[5:])
    assert first.sha256 != second.sha256
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", second.notes[0]))) == 2


# --- Data larger than memory


def splits_of(dataset):
    return dataset.train, dataset.valid, dataset.test


@pytest.mark.parametrize("streamed_first", [True, False])
def test_streamed_images_are_those_in_memory(load, tmp_path, monkeypatch, streamed_first):
    monkeypatch.setattr(_dataset, "_BLOCK_BYTES", 7 * IMAGES[0].nbytes)
    folder = prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    loadings = ("stream", "memory") if streamed_first else ("memory", "stream")
    found = {loading: load(loading=loading) for loading in loadings}
    shutil.rmtree(tmp_path / "cache")  # and once more, with the other one making the copy
    found |= {loading: load(loading=loading) for loading in loadings}
    shutil.rmtree(folder.parent)
    streamed, in_memory = found["stream"], found["memory"]
    for ours, theirs in zip(splits_of(streamed), splits_of(in_memory), strict=True):
        assert isinstance(ours.x, data.Rows)
        np.testing.assert_array_equal(ours.x[:], theirs.x, strict=True)
        np.testing.assert_array_equal(ours.labels, theirs.labels, strict=True)
    for field in ("shape", "low", "high", "num_levels", "sha256", "likelihood", "classes"):
        assert getattr(streamed, field) == getattr(in_memory, field)
    assert streamed.streamed
    assert not in_memory.streamed
    assert "stay in" in streamed.notes[-1]


@pytest.mark.slow
def test_streamed_mnist_is_mnist(data_dir, tmp_path):
    streamed, in_memory = (
        data.load("mnist", data_dir=data_dir, cache_dir=tmp_path, loading=loading)
        for loading in ("stream", "memory")
    )
    assert streamed.sha256 == in_memory.sha256
    assert streamed.likelihood == in_memory.likelihood
    for ours, theirs in zip(splits_of(streamed), splits_of(in_memory), strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        order = RNG.permutation(len(theirs))
        np.testing.assert_array_equal(ours.x[order], theirs.x[order], strict=True)
    decode = jax.jit(streamed.decode)
    np.testing.assert_array_equal(decode(streamed.test.x[:99]), decode(in_memory.test.x[:99]))


def test_auto_counts_the_train_split_alone(load, tmp_path, monkeypatch):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    limit = memory.limit_bytes()
    monkeypatch.setattr(_dataset, "_MEMORY_SHARE", IMAGES[:30].nbytes / limit)
    assert not load().streamed
    monkeypatch.setattr(_dataset, "_MEMORY_SHARE", (IMAGES[:30].nbytes - 1) / limit)
    assert load().streamed


def test_data_on_disk_need_a_writable_cache(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written") as error:
        _cache.cached(tmp_path / "file", "a", "0", 1, lambda: [("x", 40, IMAGES)], on_disk=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["record.json", "train_x.npy"])
def test_a_damaged_copy_is_made_again_before_it_is_streamed(load, tmp_path, name):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    load()
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:-1])
    dataset = load(num_valid=0, loading="stream")
    np.testing.assert_array_equal(dataset.train.x[:], IMAGES[:30])
    assert "made again from the source" in dataset.notes[0]


_KILLED = """
import os, pathlib, signal, sys
import numpy as np
from vae_jax.data import _cache

def blocks():
    yield "x", 40, np.zeros((20, 3), np.uint8)
    os.kill(os.getpid(), signal.SIGKILL)

_cache.cached(pathlib.Path(sys.argv[1]), "a", "0", 1, blocks, on_disk=True)
"""


@pytest.mark.fault("R6")
def test_a_kill_in_the_middle_of_writing_leaves_no_entry_and_no_litter(tmp_path):
    ran = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "c")])
    assert ran.returncode == -signal.SIGKILL
    assert [path.name[:7] for path in (tmp_path / "c").iterdir()] == [".draft-"]

    def blocks():
        assert len(list((tmp_path / "c").glob(".draft-*"))) == 1  # our own
        yield "x", 40, IMAGES

    arrays, notes = _cache.cached(tmp_path / "c", "a", "0", 1, blocks, on_disk=True)
    np.testing.assert_array_equal(arrays["x"][:], IMAGES)
    assert notes == ()
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_the_draft_of_a_process_that_lives_is_left_alone(tmp_path):
    def blocks():
        _cache.cached(tmp_path, "b", "0", 1, lambda: [("x", 40, IMAGES)])
        yield "x", 40, IMAGES

    arrays, _ = _cache.cached(tmp_path, "a", "0", 1, blocks, on_disk=True)
    np.testing.assert_array_equal(arrays["x"][:], IMAGES)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.fault("R6")
def test_another_version_of_the_preparation_is_another_copy(load, tmp_path, monkeypatch):
    prepare(tmp_path / "data", "cifar10", TRAIN_AND_TEST)
    load()
    monkeypatch.setattr(_tfds, "_VERSION", _tfds._VERSION + 1)
    monkeypatch.setattr(_tfds, "_read_split", lambda *_: [("x", 9, IMAGES[:9] ^ 1)])
    np.testing.assert_array_equal(load(num_valid=0).train.x, IMAGES[:9] ^ 1)


def test_a_cache_that_cannot_be_written_is_only_noted(tmp_path):
    (tmp_path / "file").write_text("")
    arrays, notes = _cache.cached(tmp_path / "file", "a", "0", 1, lambda: [("x", 40, IMAGES)])
    np.testing.assert_array_equal(arrays["x"], IMAGES)
    assert "not cached" in notes[0]


@pytest.mark.fault("R19")
@pytest.mark.parametrize("make", [os.mkfifo, pathlib.Path.touch])
def test_a_cache_entry_that_is_no_folder_is_replaced(tmp_path, make):
    arguments = tmp_path / "c", "a", "0", 1, lambda: [("x", 40, IMAGES)]
    _cache.cached(*arguments)
    (entry,) = (tmp_path / "c").iterdir()
    shutil.rmtree(entry)
    make(entry)
    make(tmp_path / "c" / ".draft-x")  # what waits for a writer must not be waited for
    for _ in range(2):
        arrays, _ = _cache.cached(*arguments)
        np.testing.assert_array_equal(arrays["x"], IMAGES)
        assert entry.is_dir()


def test_nothing_is_left_beside_a_copy(tmp_path):
    _cache.cached(tmp_path / "c", "a", "0", 1, lambda: [("x", 40, IMAGES)])
    (entry,) = (tmp_path / "c").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["record.json", "x.npy"]


# --- Preparing, with the extra


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_original_files_are_prepared_without_the_network(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(_tfds, "find_spec", importlib.util.find_spec)
    pytest.importorskip("tensorflow")
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    builder = _tfds._prepare("mnist", tmp_path, tmp_path / "cache")
    # The files' bytes differ from run to run (the order inside a record), what is read does not.
    ours = data.load("mnist", data_dir=builder.data_path.parents[1], cache_dir=tmp_path / "a")
    theirs = data.load("mnist", data_dir=data_dir, cache_dir=tmp_path / "b")
    np.testing.assert_array_equal(ours.train.x, theirs.train.x)
    assert ours.sha256 == theirs.sha256


def entry_of(folder, source="0", value=IMAGES):
    made = []

    def build():
        made.append(source)
        return [("x", len(value), value)]

    arrays, notes = _cache.cached(folder, "a", source, 1, build)
    return arrays["x"], notes, bool(made)


def rewritten(entry, tmp_path):
    """The array and its hash in the record are another's: whoever writes there can do so."""
    np.save(entry / "x.npy", IMAGES ^ 1)
    record = json.loads((entry / "record.json").read_text())
    record["arrays"]["x"] = hashlib.sha256((entry / "x.npy").read_bytes()).hexdigest()
    (entry / "record.json").write_text(json.dumps(record))


def without_code(entry, tmp_path):
    record = json.loads((entry / "record.json").read_text())
    record.pop("code")
    (entry / "record.json").write_text(json.dumps(record))


def linked(entry, tmp_path):
    shutil.move(entry, tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")


def linked_array(entry, tmp_path):
    shutil.move(entry / "x.npy", tmp_path / "x.npy")
    (entry / "x.npy").symlink_to(tmp_path / "x.npy")


def piped(entry, tmp_path):
    (entry / "record.json").unlink()
    os.mkfifo(entry / "record.json")


def of_another_source(entry, tmp_path):
    _cache.cached(tmp_path / "c", "a", "1", 1, lambda: [("x", 40, IMAGES ^ 1)])
    (other,) = (p for p in (tmp_path / "c").glob("a-*") if p != entry)
    shutil.rmtree(entry)
    other.rename(entry)


@pytest.mark.fault("R19")
@pytest.mark.parametrize(
    "attack", [rewritten, without_code, linked, linked_array, piped, of_another_source]
)
def test_an_entry_of_the_cache_that_is_not_this_users_for_this_source_is_made_again(
    tmp_path, attack, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    entry_of(tmp_path / "c")
    (entry,) = (tmp_path / "c").glob("a-*")
    assert entry_of(tmp_path / "c")[1:] == ((), False)
    attack(entry, tmp_path)
    x, notes, was_made = entry_of(tmp_path / "c")
    np.testing.assert_array_equal(x, IMAGES)
    assert was_made
    assert "made again from the source" in notes[0]
    assert entry_of(tmp_path / "c")[1:] == ((), False)


@pytest.mark.fault("R19")
def test_an_entry_of_another_user_is_made_again(tmp_path, monkeypatch):
    for user in ("one", "two", "two"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / user))
        x, notes, was_made = entry_of(tmp_path / "c")
        np.testing.assert_array_equal(x, IMAGES)
    assert (notes, was_made) == ((), False)
