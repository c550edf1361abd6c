"""Splits and labels as strangers lay them out; splits that do not belong together; hidden files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
from test_data_reading import COUNTS, LAYOUTS, PICTURES, TABLE, draw, load, refused, said

from vae_jax.data import _spelling
from vae_jax.errors import UsageError

PAIR = ("train", "test")
ROWS = {"train": slice(0, 20), "test": slice(20, 30)}


# --- Names


@pytest.mark.parametrize(
    ("name", "place"),
    {
        "xtr": ("x", "train"),
        "yte": ("labels", "test"),
        "x_eval": ("x", "test"),
        "evaluation_labels": ("labels", "test"),
        "y_hold_out": ("labels", "test"),
        "holdoutX": ("x", "test"),
        "t10k_images": ("x", "test"),
        "t10k-labels": ("labels", "test"),
        "imagesTr": ("x", "train"),
        "imagesTs": ("x", "test"),
        "labelsTs": ("labels", "test"),
        "embeddings": ("x", None),
        "feature_val": ("x", "valid"),
        "data_ts": None,
        "text": None,
        "yes": None,
        "retrieval": None,
    }.items(),
)
def test_names_of_strangers_are_told(name, place):
    assert _spelling.array(name) == place


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["1_train", "2_val", "3_test"], ["train", "valid", "test"]),
        (["train", "test1"], ["train", "test"]),
        (["train2017", "val2017"], ["train", "valid"]),
        (["imagesTr", "imagesTs", "labelsTr"], ["train", "test", None]),
        (["test1", "test2", "test3"], [None, None, None]),
        (["2_train", "cat"], [None, None]),
    ],
)
def test_numbers_and_siblings_decide_what_is_a_split(names, splits):
    assert list(_spelling.folders(names).values()) == splits


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("part-00000-aaaa.snappy", "part"),
        ("part-00012-6f2c-41d0-c000.gz", "part"),
        ("part-r-00001-6f2c.snappy", "part"),
        ("part-3", "part"),
        ("department-3-a", "department-3-a"),
        ("train-00000-of-00002", "train"),
        ("train-00000-of-00001-b42a775f407cee45", "train"),
    ],
)
def test_shards_have_one_name(stem, wanted):
    assert _spelling.shard(stem) == wanted


# --- Folders of pictures


def fill(folder, places):
    """Pictures of each split and label at its place."""
    for split in PAIR:
        for label, kind in enumerate(("cat", "dog")):
            place = folder / places[split].format(kind)
            draw(place, PICTURES[split][label::2], start=10 * label)


@pytest.mark.parametrize(
    ("of_train", "of_test"),
    [
        ("seg_train/seg_train/{}", "seg_test/seg_test/{}"),
        ("train/seg_train/{}", "test/seg_test/{}"),
        ("train/train/{}", "test/{}"),
        ("a/train/train/images/{}", "a/test/images/{}"),
        ("{}/train/train", "{}/test/test"),
        ("1_train/{}", "2_test/{}"),
        ("train/{}", "eval/{}"),
        ("train/{}", "holdout/{}"),
        ("train/{}/images", "test/{}/images"),
    ],
)
def test_folders_of_splits_that_come_twice_or_are_numbered(tmp_path, of_train, of_test):
    fill(tmp_path, {"train": of_train, "test": of_test})
    dataset = load(tmp_path, num_valid=0)
    assert dataset.classes == ("cat", "dog")
    for split in PAIR:
        own = getattr(dataset, split)
        np.testing.assert_array_equal(own.labels, [0, 0, 0, 1, 1, 1])
        order = [0, 2, 4, 1, 3, 5]
        np.testing.assert_array_equal(own.x[..., 0], PICTURES[split][order])


@pytest.mark.parametrize(
    ("of_train", "of_test"),
    [("train", "test1"), ("train/train", "test1/test1"), ("imagesTr", "imagesTs"),
     ("train/images", "test/images")],
)  # fmt: skip
def test_folders_of_splits_without_labels(tmp_path, of_train, of_test):
    fill(tmp_path, {"train": of_train, "test": of_test})
    dataset = load(tmp_path, num_valid=0)
    assert dataset.classes is None
    np.testing.assert_array_equal(np.sort(dataset.test.x, 0)[..., 0], np.sort(PICTURES["test"], 0))


def test_a_class_may_be_called_like_a_split(tmp_path):
    for split in PAIR:
        for kind in ("bus", "train"):
            draw(tmp_path / split / kind, PICTURES[split])
    assert load(tmp_path).classes == ("bus", "train")


HIDDEN = (".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "train/.cache/dog")


def test_hidden_folders_are_no_data_on_any_level(tmp_path):
    fill(tmp_path, {"train": "train/{}", "test": "test/{}"})
    whole = load(tmp_path)
    for name in (*HIDDEN, *(f"train/{own}" for own in HIDDEN), *(f"test/cat/{h}" for h in HIDDEN)):
        draw(tmp_path / name, np.zeros((2, 9, 9), np.uint8))
        (tmp_path / name / "x.npy").write_bytes(b"")
    (tmp_path / "train" / ".cache" / "link").symlink_to(tmp_path)
    again = load(tmp_path)
    assert (again.sha256, again.notes, again.classes) == (whole.sha256, whole.notes, ("cat", "dog"))


@pytest.mark.parametrize(
    ("folders", "match"),
    [
        (
            "fold1/train/a fold1/test/b fold2/train/a",
            "'fold1', 'fold2' lie above those of the splits, 'a', 'b' below",
        ),
        ("site/train/a site/test/b place/train/a", "'place', 'site' lie above"),
        ("fold1/train fold1/test fold2/train fold2/test", "'fold1', 'fold2' are folds"),
        ("fold_1/a fold_2/a", "'fold_1', 'fold_2' are folds"),
        ("train/images train/masks test/images", "'images', 'masks' are parts of an example"),
        ("images/train images/val labels/train labels/val", "'images', 'labels' are parts"),
        ("a/images a/masks b/images", "'images', 'masks' are parts"),
        ("trainA trainB testA testB", "'trainA', 'trainB' both say train, 'testA', 'testB' both s"),
        ("train_a train_b test_a test_b", "'train_a', 'train_b' both say train, 'test_a', 'test"),
        ("train evaluation test", "'evaluation', 'test' both say test"),
        ("train/train/a train/valid/a test/a", "'a', 'train', 'valid' name splits"),
        ("val_train val_test", "'val_test', 'val_train' name splits"),
        (
            "imagesTr imagesTs labelsTr",
            r"labelsTr/000\.png: lies beside the folders 'imagesTr', 'i",
        ),
    ],
)
def test_folders_that_may_say_two_things_are_refused(tmp_path, folders, match):
    for i, folder in enumerate(folders.split()):
        draw(tmp_path / folder, PICTURES["train"][i : i + 3])
    refused(tmp_path, match)


# --- Keys and files of arrays


@pytest.mark.parametrize(
    "keys",
    [
        "xtr ytr xte yte",
        "x_train y_train x_eval y_eval",
        "train_images train_labels t10k_images t10k_labels",
        "x_train y_train x_holdout y_holdout",
        "imagesTr labelsTr imagesTs labelsTs",
        "train_embeddings train_label test_embeddings test_label",
    ],
)
def test_keys_of_strangers_are_splits(tmp_path, keys):
    labels = np.arange(30) % 3
    held = {}
    for split, x, y in zip(PAIR, keys.split()[::2], keys.split()[1::2], strict=True):
        held |= {x: TABLE[ROWS[split]], y: labels[ROWS[split]]}
    np.savez(tmp_path / "a.npz", **held)
    dataset = load(tmp_path / "a.npz", scaling="none")
    np.testing.assert_array_equal(dataset.test.x, TABLE[20:].astype(np.float32))
    np.testing.assert_array_equal(dataset.test.labels, labels[20:])
    assert not any("not used" in note for note in dataset.notes)


@pytest.mark.parametrize("above", ["", "archive/"])
@pytest.mark.parametrize(
    "names", ["train/x train/y test/x test/y", "train/data train/labels eval/data eval/labels"]
)
def test_folders_of_arrays_are_splits(tmp_path, above, names):
    labels = np.arange(30) % 3
    for name, values in zip(
        names.split(), (TABLE[:20], labels[:20], TABLE[20:], labels[20:]), strict=True
    ):
        (tmp_path / above / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / above / f"{name}.npy", values)
    dataset = load(tmp_path, scaling="none")
    np.testing.assert_array_equal(dataset.test.x, TABLE[20:].astype(np.float32))
    np.testing.assert_array_equal(dataset.test.labels, labels[20:])
    said(dataset, "its files are the splits train, test")


def test_names_of_arrays_go_before_those_of_their_folders(tmp_path):
    for name in ("train/x_train", "train/x_valid", "train/y", "other/x_test"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", np.arange(30) % 2 if name == "train/y" else TABLE)
    dataset = load(tmp_path)
    said(dataset, "its files are the splits train, valid, test")
    assert dataset.classes == (0, 1)


# --- Sparse matrices


def held_by(matrix, layout, before="", *, keeps=("data", "indices", "indptr", "offsets", "shape")):
    """What SciPy saves of a matrix, or some of it, behind a word."""
    matrix = scipy.sparse.csr_matrix(matrix).asformat(layout)
    parts = {name: getattr(matrix, name) for name in keeps if hasattr(matrix, name)}
    if layout == "coo":
        parts |= {"row": matrix.row, "col": matrix.col}
    return {f"{before}{name}": values for name, values in parts.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("key", ["{}_", "x_{}_"])
def test_sparse_matrices_of_splits_are_read(tmp_path, layout, key):
    held = {"y_train": np.arange(30) % 2, "y_test": np.arange(10) % 2}
    for split, rows in {"train": COUNTS[:30], "test": COUNTS[30:]}.items():
        held |= held_by(rows, layout, key.format(split))
    np.savez(tmp_path / "a.npz", **held)
    for loading in ("memory", "stream"):
        dataset = load(tmp_path / "a.npz", scaling="none", num_valid=0, loading=loading)
        np.testing.assert_array_equal(dataset.train.x[:], COUNTS[:30])
        np.testing.assert_array_equal(dataset.test.x[:], COUNTS[30:])
        assert dataset.classes == (0, 1)
        assert not any("not used" in note for note in dataset.notes)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("before", ["", "train_", "data/"])
def test_sparse_matrices_without_their_shape_are_refused_by_name(tmp_path, layout, before):
    parts = held_by(COUNTS, layout, before, keeps=("data", "indices", "indptr", "offsets"))
    np.savez(tmp_path / "a.npz", **parts)
    told = refused(tmp_path / "a.npz", "are a sparse matrix without its shape: add it as")
    assert f"'{before}data'" in told


def test_sparse_matrices_of_files_and_beside_others(tmp_path):
    for name, values in held_by(COUNTS, "csr", "train_").items():
        np.save(tmp_path / f"{name}.npy", values)
    np.save(tmp_path / "x_test.npy", COUNTS)
    dataset = load(tmp_path, scaling="none", num_valid=0, loading="stream")
    np.testing.assert_array_equal(dataset.train.x[:], COUNTS)
    graph = {**held_by(COUNTS, "csr", "x_"), **held_by(np.eye(40), "csr", "adj_")}
    np.savez(tmp_path / "a.npz", **graph)
    dataset = load(tmp_path / "a.npz")
    assert dataset.shape == (12,)
    said(dataset, "not used: 'adj_data', 'adj_indices', 'adj_indptr', 'adj_shape'")
    np.savez(tmp_path / "a.npz", x=COUNTS, **held_by(np.eye(40), "csr", "y_"))
    refused(tmp_path / "a.npz", r"'y_data' is that of a sparse matrix, labels must be none")


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_both_interfaces_of_scipy_are_read(tmp_path, kind):
    scipy.sparse.save_npz(tmp_path / "a.npz", kind(COUNTS))
    with np.load(tmp_path / "a.npz") as file:
        np.savez(tmp_path / "a.npz", **{**file, "_is_array": np.array(True)})
    dataset = load(tmp_path / "a.npz")
    assert dataset.shape == (12,)
    assert not any("not used" in note for note in dataset.notes)


# --- Splits that do not belong together

BYTES = np.random.default_rng(1).integers(0, 256, (30, 6, 5), np.uint8)
BITS = (BYTES > 99).astype(np.uint8)
UNIT = (BYTES / 255).astype(np.float32)
DEEP = BYTES.astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (BYTES, BYTES / 255),
        (UNIT, BYTES),
        (UNIT, BYTES.astype(np.float32)),
        (BITS, BITS * 255),
        (DEEP, UNIT),
        (DEEP, BYTES),
        (UNIT * 2 - 1, BYTES),
        (UNIT * 2 - 1, BYTES.astype(np.float64)),
        (UNIT * 2 - 1, UNIT),
        (UNIT, UNIT / 255),
        ((BYTES.astype(np.int16) - 128).astype(np.int8), BYTES),
        (BYTES.reshape(30, 30), UNIT.reshape(30, 30)),
        (UNIT.reshape(30, 30), BYTES.reshape(30, 30).astype(np.float32)),
        (np.arange(60).reshape(30, 2), TABLE[:, :2]),
    ],
)  # fmt: skip
def test_splits_of_other_scales_are_refused(tmp_path, train, test):
    for scaling, pair in {"auto": (train, test), "unit": (test, train)}.items():
        np.savez(tmp_path / "a.npz", x_train=pair[0], x_test=pair[1])
        told = refused(tmp_path / "a.npz", "must be on one scale in all splits", scaling=scaling)
        for split, x in zip(PAIR, pair, strict=True):
            assert f"{split} holds {x.dtype} in [{x.min():g}, {x.max():g}]" in told


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (BYTES // 2, BYTES),
        (UNIT, UNIT * 0),
        (BYTES, BYTES // 20),
        (BYTES, BYTES.astype(np.float32)),
        (BITS, BITS > 0),
        (BITS, BITS.astype(np.float64)),
        (UNIT, UNIT * 1.7),
        (UNIT, UNIT * 2 - 0.01),
        (UNIT, UNIT.astype(np.float64)),
        (DEEP // 16, DEEP // 17),
        (np.geomspace(1e-3, 1e3, 900).reshape(BYTES.shape), UNIT * 9),  # few are large
        (TABLE, TABLE * 100),
        (np.abs(TABLE), np.abs(TABLE) * 300),
        (BITS.reshape(30, 30), BITS.reshape(30, 30) > 0),
    ],
)  # fmt: skip
def test_splits_whose_ranges_differ_a_little_are_read(tmp_path, train, test):
    np.savez(tmp_path / "a.npz", x_train=train, x_test=test)
    assert len(load(tmp_path / "a.npz").test) == 30


def test_series_of_other_scales_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", series_train=BYTES, series_test=BYTES / 255)
    refused(tmp_path / "a.npz", r"train holds uint8 in \[0, 255\], test holds float64 in \[0, 1\]")
    np.savez(tmp_path / "a.npz", series_train=BYTES, series_test=BYTES)
    assert len(load(tmp_path / "a.npz").test) == 30


@pytest.mark.parametrize("shape", [(9, 2, 16, 24), (9, 4, 16, 24), (9, 13, 64, 48)])
def test_channels_before_height_and_width_need_no_square(tmp_path, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    refused(tmp_path / "x.npy", r"channels last; save x\.transpose\(0, 2, 3, 1\)")
    np.save(tmp_path / "x.npy", x.transpose(0, 2, 3, 1))
    assert load(tmp_path / "x.npy").shape == (*shape[2:], shape[1])


@pytest.mark.parametrize("shape", [(9, 16, 24, 4), (9, 4, 30, 3), (9, 8, 8, 12), (9, 20, 30, 24)])
def test_channels_that_are_last_stay_there(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.arange(np.prod(shape)).reshape(shape).astype(np.uint8))
    assert load(tmp_path / "x.npy").shape == shape[1:]


def archive(path, of_train, of_test):
    np.savez(path, x_train=TABLE, x_test=TABLE, y_train=of_train, y_test=of_test)
    return path


def test_labels_of_splits_are_of_one_kind(tmp_path):
    numbers, words = np.arange(30) % 3, np.array(["a", "b", ""] * 10)
    for pair in ((numbers, words), (words, numbers)):
        refused(
            archive(tmp_path / "a.npz", *pair),
            r"labels of t\w+ are numbers \('0', '1', '2'\), of t\w+ words \('a', 'b'\)",
        )
    # numbers that were written as text
    dataset = load(archive(tmp_path / "a.npz", numbers, numbers.astype(str)))
    np.testing.assert_array_equal(dataset.test.labels, numbers)


def test_classes_that_train_has_not_are_said(tmp_path):
    dataset = load(archive(tmp_path / "a.npz", np.arange(30) % 2, np.arange(30) % 4 - 1))
    said(dataset, "the classes '2' have rows in test and none in train")
    fill(tmp_path / "b", {"train": "train/{}", "test": "test/{}"})
    assert not any("none in train" in note for note in load(tmp_path / "b").notes)
    draw(tmp_path / "b" / "test" / "owl", PICTURES["valid"])
    said(load(tmp_path / "b"), "the classes 'owl' have rows in test and none in train")


def test_validation_that_is_empty_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=TABLE[:5], x_test=TABLE)
    said(load(tmp_path / "a.npz"), "valid is empty, a tenth of 5 rows is none: give num_valid=1")
    for num_valid in (0, 1):
        dataset = load(tmp_path / "a.npz", num_valid=num_valid)
        assert not any("valid is empty" in note for note in dataset.notes)
    np.savez(tmp_path / "a.npz", series_train=TABLE[:5], series_test=TABLE)
    said(load(tmp_path / "a.npz"), "valid is empty")


# --- Tables


def write(path, rows=slice(None)):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"a": TABLE[rows, 0], "b": TABLE[rows, 1], "label": ["u", "v", "w"] * 10})
    pa.parquet.write_table(table, path)


def test_shards_as_spark_names_them_are_one_table(tmp_path):
    for split in PAIR:
        for i in range(2):
            write(tmp_path / split / f"part-{i:05}-6f2c-c000.snappy.parquet")
    (tmp_path / "train" / "_SUCCESS").write_text("")
    dataset = load(tmp_path, num_valid=0)
    assert (len(dataset.train), len(dataset.test)) == (60, 60)
    assert len(load(tmp_path / "train", num_valid=0).test) == 6


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ("train_fold1 test_fold1 train_fold2 test_fold2", "'train_fold1', 'train_fold2' both say"),
        (
            "mnist_train mnist_test cifar_train cifar_test",
            "'cifar_train', 'mnist_train' both say t",
        ),
        ("fold1/train fold1/test fold2/train fold2/test", "'fold1', 'fold2' both hold files of t"),
        ("a/train/0 a/test/0 b/train/1 b/test/1", "'a/test', 'b/test' both hold files of test"),
    ],
)
def test_tables_of_several_folds_or_datasets_are_refused(tmp_path, names, match):
    for name in names.split():
        write(tmp_path / f"{name}.parquet")
    refused(tmp_path, match)


def test_a_column_may_say_eval(tmp_path):
    names = ["train"] * 20 + ["eval"] * 10
    table = pa.table({"a": TABLE[:, 0], "b": TABLE[:, 1], "split": names})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet", scaling="none", num_valid=0)
    np.testing.assert_array_equal(dataset.test.x, TABLE[20:, :2].astype(np.float32))
    refused(tmp_path / "a.parquet", "num_valid=20", UsageError, num_valid=20)
