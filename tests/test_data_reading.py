"""Data as users bring it is read as what it is, or refused: splits, keys, labels, columns."""

import io
import re
import shutil
import zipfile

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.sparse

from vae_jax import data, likelihoods
from vae_jax.data import _spelling
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import build

RNG = np.random.default_rng(0)
SPLITS = ("train", "valid", "test")
PICTURES = {split: RNG.integers(0, 256, (6, 4, 5), np.uint8) for split in SPLITS}
LABELS = {split: np.arange(6) % 2 for split in SPLITS}
TABLE = RNG.normal(size=(30, 3))


def load(path, **options):
    return data.load(str(path), **options)


def refused(path, match, error=DataError, **options):
    """What is said where data is refused: one line."""
    with pytest.raises(error, match=match) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def values_of(split, classes):
    """The user's own labels of the rows of a split, None where unknown."""
    return [None if label < 0 else classes[label] for label in split.labels.tolist()]


def said(dataset, text):
    assert any(text in note for note in dataset.notes), dataset.notes


def draw(folder, images, start=0, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images, start):
        PIL.Image.fromarray(image).save(folder / f"{i:03}.png", **options)


# --- Names

SPELLINGS = {
    "train": "train Train TRAIN training Training train_set training-set trainset x_train xtrain",
    "valid": "val valid validation Validation dev VALID val_data devset",
    "test": "test testing Testing Test test_images testset",
}


@pytest.mark.parametrize("split", SPLITS)
def test_splits_are_told_in_every_usual_spelling(split):
    for name in SPELLINGS[split].split():
        assert _spelling.split(name) == (split, ()), name


@pytest.mark.parametrize(
    "name",
    [
        "latest",
        "contest",
        "trainval",
        "train_val",
        "train_station",
        "testosterone",
        "valley",
        "cat",
    ],
)
def test_names_that_hold_a_split_by_chance_are_none(name):
    assert _spelling.folders([name, "other"])[name] is None


FIELDS = {
    "x_train X_train trainX Xtrain train_images train_data train x_tr images_train": ("x", "train"),
    "x_val X_valid val_images valX dev": ("x", "valid"),
    "y_train Y_train train_labels labels_train train_target trainY ytrain": ("labels", "train"),
    "val_labels y_val y_valid target_dev validation_targets": ("labels", "valid"),
    "x X images data Data features input arr_0": ("x", None),
    "y Y label labels Labels target targets class": ("labels", None),
    "series_test": ("series", "test"),
    "condition_train c_train": ("condition", "train"),
}


@pytest.mark.parametrize(("names", "place"), FIELDS.items())
def test_keys_are_told_in_every_usual_spelling(names, place):
    assert {name: _spelling.array(name) for name in names.split()} == dict.fromkeys(
        names.split(), place
    )


@pytest.mark.parametrize("key", ["../x", "../../x_train", "/x", "a/../x"])
def test_a_key_that_leads_out_of_its_archive_is_no_data(tmp_path, key):
    assert _spelling.array(key) is None
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, TABLE)
        archive.writestr(f"{key}.npy", buffer.getvalue())
    refused(tmp_path / "a.npz", "must be one of data, or some of splits: call the data x, X")


# --- Folders of pictures


@pytest.mark.parametrize(
    "layout", ["{split}/{label}", "archive/{split}/{label}", "{label}/{split}"]
)
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("seg_train", "seg_dev", "seg_test"),
        ("training_set/training_set", "valid_set/valid_set", "test_set/test_set"),
    ],
)
def test_folders_of_splits_are_the_splits(tmp_path, layout, names):
    for split, name in zip(SPLITS, names, strict=True):
        for label, kind in enumerate(("cat", "dog")):
            place = layout.format(split=name, label=kind)
            draw(tmp_path / place, PICTURES[split][LABELS[split] == label])
    if "/" in names[0] and layout.startswith("{label}"):
        names = tuple(name.split("/")[0] for name in names)
    dataset = load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    for split in SPLITS:
        own = getattr(dataset, split)
        order = np.argsort(LABELS[split], kind="stable")
        np.testing.assert_array_equal(own.x[..., 0], PICTURES[split][order])
        np.testing.assert_array_equal(own.labels, LABELS[split][order])
    said(dataset, "its folders are the splits train, valid, test")


def test_splits_without_labels_and_without_test(tmp_path):
    draw(tmp_path / "train", np.concatenate([PICTURES["train"]] * 5))
    draw(tmp_path / "validation", PICTURES["valid"])
    dataset = load(tmp_path)
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [27, 6, 3]
    assert dataset.train.labels is None
    np.testing.assert_array_equal(dataset.valid.x[..., 0], PICTURES["valid"])
    said(dataset, "without test: a tenth of train is held out")
    shutil.rmtree(tmp_path / "validation")
    dataset = load(tmp_path)
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [24, 3, 3]
    said(dataset, "alone, which is dealt 80 / 10 / 10")


@pytest.mark.parametrize(
    ("folders", "match"),
    [
        (["train/a", "test/a", "extra/a"], r"extra/a/000\.png: lies beside .*'test', 'train'"),
        (["train", "plane", "boat"], r"boat/000\.png: lies beside the folders 'train', which look"),
        (["train/a", "val/a", "valid/a"], "'val', 'valid' both say valid"),
        (["val/a", "test/a"], "name the splits valid, test and no train"),
        (
            ["cat", "dog", "."],
            r"000\.png: lies beside the folders 'cat', 'dog', which are the labels",
        ),
        (["train/cat", "train/dog", "train", "test/cat"], r"train/000\.png: lies beside"),
        (
            ["cat/train", "cat/test", "dog"],
            r"dog/000\.png: lies beside the folders 'test', 'train'",
        ),
    ],
)
def test_ambiguous_folders_are_refused_with_what_was_seen(tmp_path, folders, match):
    for i, folder in enumerate(folders):
        draw(tmp_path / folder, PICTURES["train"][i : i + 3])
    refused(tmp_path, match)


def test_labels_lie_below_what_all_folders_share(tmp_path):
    for kind in ("cat", "dog"):
        draw(tmp_path / "archive" / kind, PICTURES["train"])
    assert load(tmp_path).classes == ("cat", "dog")
    shutil.rmtree(tmp_path / "archive" / "dog")
    assert load(tmp_path).classes == ("cat",)


def test_files_that_are_not_read_are_named(tmp_path):
    draw(tmp_path / "cat", PICTURES["train"])
    (tmp_path / "labels.csv").write_text("name,label\n000.png,cat\n")
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "Thumbs.db").write_text("")
    said(load(tmp_path), "files that are not used: 'labels.csv'")
    assert len([note for note in load(tmp_path).notes if "not used" in note]) == 1


# --- What a picture is


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_pictures_are_turned_as_a_viewer_turns_them(tmp_path, orientation, suffix):
    upright = np.zeros((16, 24), np.uint8)
    upright[:8], upright[8:, :8] = 250, 120  # no two of its turned forms are equal
    # how the sensor saw it: the inverse of what the tag asks for
    undone = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x[::-1, ::-1].T,
        8: lambda x: np.rot90(x, -1),
    }
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    for i in range(3):
        seen = np.ascontiguousarray(undone[orientation](upright))
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        PIL.Image.fromarray(seen).save(tmp_path / f"{i}.{suffix}", exif=exif, **options)
    dataset = load(tmp_path)
    np.testing.assert_allclose(dataset.test.x[0, ..., 0].astype(int), upright, atol=3)
    turned = [note for note in dataset.notes if "turned upright" in note]
    assert bool(turned) == (orientation != 1)


def test_dropped_frames_are_noted(tmp_path):
    frames = [PIL.Image.fromarray(PICTURES["train"][i]) for i in range(3)]
    for i in range(4):
        frames[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames[1:])
    said(load(tmp_path), "4 pictures have several frames, of which the first is read")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_channel_that_hides_nothing_is_left_out_and_said(tmp_path, mode):
    color = RNG.integers(0, 256, (3, 4, 5, 3), np.uint8)
    for i, pixels in enumerate(color):
        image = PIL.Image.fromarray(pixels).convert("RGBA")
        image = image.convert("LA") if mode == "LA" else image
        if mode == "P":
            image = PIL.Image.fromarray(pixels).quantize(16)
            image.info["transparency"] = b"\xff" * 16
        image.save(tmp_path / f"{i}.png")
    dataset = load(tmp_path)
    assert dataset.shape == (4, 5, 1 if mode == "LA" else 3)
    said(dataset, "alpha channel that is opaque everywhere")
    hidden = PIL.Image.open(tmp_path / "0.png").convert("RGBA")
    hidden.putpixel((0, 0), (9, 9, 9, 100))
    (hidden.quantize(16) if mode == "P" else hidden).save(tmp_path / "0.png")
    refused(tmp_path, r"0\.png: is transparent in places")


def test_the_remedy_for_transparency_helps(tmp_path):
    for i in range(3):
        image = PIL.Image.fromarray(RNG.integers(0, 256, (4, 5, 4), np.uint8), "RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        PIL.Image.alpha_composite(white, image).convert("RGB").save(tmp_path / f"{i}.png")
    assert load(tmp_path).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("dtype", "high", "num_levels"), [("u2", 4095, 4096), ("u2", 65535, 65536), ("i4", 900, 1024)]
)
def test_pictures_of_more_bits_are_levels_of_their_depth(tmp_path, dtype, high, num_levels):
    x = RNG.integers(0, high + 1, (12, 4, 5)).astype(dtype)
    x[0, 0, 0] = high
    for i, pixels in enumerate(x):
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i:03}.tiff")
    np.save(tmp_path / "x.npy", x)
    for path in (tmp_path / "x.npy", tmp_path):
        dataset = load(path, num_valid=0)
        assert dataset.num_levels == num_levels
        found = np.concatenate([dataset.decode(s.x) for s in (dataset.train, dataset.test)])
        wanted = np.sort(x.ravel()) / (num_levels - 1)
        np.testing.assert_allclose(np.sort(found.ravel()), wanted, rtol=1e-6)
        said(dataset, f"taken as {num_levels} levels")


@pytest.mark.parametrize(
    "x",
    [
        RNG.integers(-2048, 2048, (20, 4, 5)).astype(np.int16),  # a signed scan of 12 bits
        RNG.integers(-1024, 3000, (20, 4, 5)).astype(np.float32),  # Hounsfield units
        RNG.normal(0, 900, (20, 4, 5)),
        RNG.integers(0, 2**31, (20, 4, 5)),
    ],
)
def test_pictures_of_any_other_range_are_taken_to_the_unit_interval(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    dataset = load(tmp_path / "x.npy")
    assert (dataset.low, dataset.high) == (0, 1)
    said(dataset, "in train became [0, 1]")
    kept = load(tmp_path / "x.npy", scaling="none")
    assert kept.high == np.float32(x.max())
    # affine, with the numbers that the dataset tells
    own = dataset.scaling
    np.testing.assert_allclose(dataset.train.x, own(np.float64(kept.train.x)), atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 4, 16, 16), (9, 13, 64, 64), (9, 2, 5, 5), (9, 3, 7, 9)])
def test_channels_before_height_and_width_are_refused_and_the_remedy_works(tmp_path, shape):
    x = RNG.integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "x.npy", x)
    refused(tmp_path / "x.npy", r"channels last; save x\.transpose\(0, 2, 3, 1\)")
    np.save(tmp_path / "x.npy", x.transpose(0, 2, 3, 1))
    assert load(tmp_path / "x.npy").shape == (*shape[2:], shape[1])


# --- Keys of an archive


@pytest.mark.parametrize(
    "keys",
    [
        "x_{}, y_{}", "X_{}, Y_{}", "{}_images, {}_labels", "{}, {}_label", "{}X, {}Y",
        "features_{}, target_{}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "dev", "Test")])
def test_every_usual_key_is_read(tmp_path, keys, names):
    held = {}
    for split, name in zip(SPLITS, names, strict=True):
        x, y = (key.format(name) for key in keys.split(", "))
        held |= {x: PICTURES[split], y: LABELS[split][:, None] + 5}
    np.savez(tmp_path / "a.npz", **held)
    dataset = load(tmp_path / "a.npz")
    assert dataset.classes == (5, 6)
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(dataset, split).x[..., 0], PICTURES[split])
        np.testing.assert_array_equal(getattr(dataset, split).labels, LABELS[split])
    assert not any("not used" in note for note in dataset.notes)


def test_a_folder_of_arrays_is_read_as_an_archive(tmp_path):
    for split in ("train", "test"):
        np.save(tmp_path / f"x_{split}.npy", PICTURES[split])
        np.save(tmp_path / f"y_{split}.npy", LABELS[split])
    dataset = load(tmp_path, num_valid=2)
    np.testing.assert_array_equal(dataset.test.x[..., 0], PICTURES["test"])
    np.testing.assert_array_equal(dataset.test.labels, LABELS["test"])
    assert len(dataset.valid) == 2


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (["x", "images"], "'x', 'images' both say the same"),
        (["x", "y", "target"], "'y', 'target' both say the same"),
        (["x_val", "x_valid", "x_train"], "'x_val', 'x_valid' both say the same"),
        (["x", "x_test"], "must be one of data, or some of splits"),
        (["x_val", "x_test"], "name the splits valid, test and no train"),
        (["pixels", "y"], "has the keys 'pixels', 'y': must be one of data"),
    ],
)
def test_keys_that_say_the_same_or_too_little_are_refused(tmp_path, keys, match):
    np.savez(tmp_path / "a.npz", **{key: np.arange(24.0).reshape(12, 2) for key in keys})
    refused(tmp_path / "a.npz", match)


def test_keys_that_are_not_used_are_named(tmp_path):
    more = {"target_names": np.array(["a"]), "y_train": LABELS["train"], "extra": np.array([{}])}
    np.savez(tmp_path / "a.npz", data=PICTURES["train"], target=LABELS["train"], **more)
    said(load(tmp_path / "a.npz"), "keys that are not used: 'target_names', 'y_train', 'extra'")


# --- Sparse matrices

COUNTS = RNG.poisson(0.3, (40, 12)) * RNG.integers(1, 9, (40, 12))
LAYOUTS = ("csr", "csc", "coo", "bsr", "dia")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_sparse_matrices_of_every_layout_are_read(tmp_path, layout, loading):
    scipy.sparse.save_npz(tmp_path / "a.npz", scipy.sparse.csr_matrix(COUNTS).asformat(layout))
    np.save(tmp_path / "a.npy", COUNTS)
    for scaling in ("auto", "none"):
        dataset = load(tmp_path / "a.npz", loading=loading, scaling=scaling)
        dense = load(tmp_path / "a.npy", scaling=scaling)
        for split in SPLITS:
            x = getattr(dataset, split).x
            np.testing.assert_array_equal(x[:], getattr(dense, split).x)
            np.testing.assert_array_equal(
                x[np.array([3, 0, 3])], getattr(dense, split).x[[3, 0, 3]]
            )
        assert dataset.streamed == (loading == "stream")


def test_a_sparse_matrix_may_come_with_labels_and_without_its_format(tmp_path):
    matrix = scipy.sparse.csr_matrix(COUNTS)
    parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    np.savez(tmp_path / "a.npz", **parts, y=np.arange(40) % 3 + 1, gene=np.arange(12))
    dataset = load(tmp_path / "a.npz", scaling="none")
    assert dataset.classes == (1, 2, 3)
    said(dataset, "keys that are not used: 'gene'")
    wanted = {tuple(row): i % 3 + 1 for i, row in enumerate(COUNTS.tolist())}
    for row, label in zip(
        dataset.train.x.tolist(), values_of(dataset.train, (1, 2, 3)), strict=True
    ):
        assert wanted[tuple(row)] == label


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.full(3, 99)},
        {"indptr": np.array([0, 5, 3])},
        {"shape": np.array([2, 2, 2])},
        {"shape": np.array([-2, 2])},
        {"shape": np.array([10**9, 10**12])},
        {"format": np.array(b"xyz")},
        {"format": np.array(b"coo")},
        {"data": np.array(["a", "b", "c"])},
        {"data": np.zeros((3, 3))},
    ],
    ids=str,
)
def test_sparse_matrices_that_do_not_fit_together_are_refused(tmp_path, change):
    whole = {
        "data": np.ones(3),
        "indices": np.array([0, 1, 1]),
        "indptr": np.array([0, 2, 3]),
        "shape": np.array([2, 2]),
        "format": np.array(b"csr"),
    }
    np.savez(tmp_path / "a.npz", **{**whole, **change})
    refused(tmp_path / "a.npz", "sparse matrix")


# --- Labels

UNKNOWN = {
    "words": (["b", "", "a", "nan", " ", "<NA>", "a"], ("a", "b"), [1, -1, 0, -1, -1, -1, 0]),
    "numbers": ([10.0, np.nan, 30.0, 20.0, -1.0], (10, 20, 30), [0, -1, 2, 1, -1]),
    "integers": ([1, 2, 3, -1, 2], (1, 2, 3), [0, 1, 2, -1, 1]),
    "booleans": ([True, False, True], (0, 1), [1, 0, 1]),
    "gaps": ([0, 5, 9, 5], (0, 5, 9), [0, 1, 2, 1]),
    "signs": ([-1, 1, 1, -1], (-1, 1), [0, 1, 1, 0]),
    "grades": ([-2, -1, 0, 2], (-2, -1, 0, 2), [0, 1, 2, 3]),
}


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_a_blank_label_is_unknown_in_every_format(tmp_path, kind, suffix):
    labels, classes, codes = UNKNOWN[kind]
    repeated = labels * 8
    x = np.arange(2.0 * len(repeated)).reshape(-1, 2)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x, label=np.array(repeated))
    else:
        values = [None if v != v else v for v in repeated]
        table = pa.table({"a": x[:, 0], "b": x[:, 1], "label": values})
        (pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table)(table, path)
    dataset = load(path, scaling="none")
    assert dataset.classes == classes
    for split in SPLITS:
        own = getattr(dataset, split)
        rows = (own.x[:, 0] / 2).astype(int)
        np.testing.assert_array_equal(own.labels, np.array(codes * 8)[rows])
    if unknown := codes.count(-1):
        said(dataset, f"{8 * unknown} of {8 * len(codes)} labels are unknown")


def test_a_word_that_may_say_unknown_is_a_label_and_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=TABLE, y=np.array(["mild", "Unknown", "severe"] * 10))
    dataset = load(tmp_path / "a.npz")
    assert dataset.classes == ("Unknown", "mild", "severe")
    said(dataset, "'Unknown' is taken as a label: leave it blank where it says unknown")


# --- Tables


def write(folder, columns, suffix):
    path = folder / f"a.{suffix}"
    table = pa.table(columns)
    (pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table)(table, path)
    return path


INDICES = {
    "": np.arange(30),
    "Unnamed: 0": np.arange(30),
    "index": np.arange(1, 31),
    "row": np.arange(1, 31),
    "__index_level_0__": RNG.permutation(30),
    "customer_id": np.arange(100, 130),
    "PassengerId": RNG.permutation(30),
    "userid": np.arange(30),
    "uuid": np.array([f"k{i}" for i in range(30)]),
    "store_id": np.arange(30) % 4,
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_indices_and_identifiers_are_left_out_and_said(tmp_path, name, suffix):
    path = write(tmp_path, {name: INDICES[name], "a": TABLE[:, 0], "b": TABLE[:, 1]}, suffix)
    dataset = load(path)
    assert dataset.shape == (2,)
    said(dataset, f"left out the columns {name!r} (")


@pytest.mark.parametrize(
    "values", [np.arange(30), RNG.permutation(30), np.arange(30) % 3, TABLE[:, 2]]
)
@pytest.mark.parametrize("name", ["grid", "humid", "year", "time", "paid", "count", "number"])
def test_other_columns_are_learned_from(tmp_path, name, values):
    if name == "number" and np.array_equal(values, np.arange(30)):
        return  # counts the rows
    if name in ("grid", "humid", "paid") and np.array_equal(values, np.arange(30)):
        return  # grown together, "…id", and counts the rows
    path = write(tmp_path, {name: values, "a": TABLE[:, 0]}, "csv")
    assert load(path).shape == (2,)


def test_the_index_of_a_data_frame_is_known_by_its_metadata(tmp_path):
    table = pa.table({"a": TABLE[:, 0], "station": RNG.permutation(30), "b": TABLE[:, 1]})
    table = table.replace_schema_metadata({"pandas": '{"index_columns": ["station"]}'})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    assert dataset.shape == (2,)
    said(dataset, "'station' (index)")


@pytest.mark.parametrize("mark", ["?", "-", "missing", "1.2.3"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_cell_that_is_no_number_is_named_and_the_remedy_works(tmp_path, mark, suffix):
    cells = TABLE[:, 1].astype("<U20")
    cells[[4, 9]] = mark
    names = np.array(["u", "v", "w"] * 10)
    path = write(tmp_path, {"a": TABLE[:, 0], "b": cells.tolist(), "label": names}, suffix)
    told = refused(
        path, f"column 'b' holds numbers, but 2 of 30 cells are none, the first '{mark}'"
    )
    assert "in row 5" in told.replace(re.escape(mark), "")
    flag = re.search(r"missing_values=(\S+)", told)[1].strip("'")
    marks = {"missing_values": flag.split(","), "scaling": "none"}
    dataset = load(path, **marks)
    cells = np.concatenate([getattr(dataset, split).x for split in SPLITS])
    assert (len(cells), np.isnan(cells).sum(axis=0).tolist()) == (30, [0, 2])
    said(dataset, "2 of 60 cells (3.33 %) are missing")
    dataset = load(path, **marks, kinds="numeric")
    assert sum(len(getattr(dataset, split)) for split in SPLITS) == 28
    said(dataset, "2 of 30 rows have missing cells, most in column 'b': these rows are left out")
    kept = {float(np.float32(a)): name for a, name in zip(TABLE[:, 0], names, strict=True)}
    for row, label in zip(dataset.train.x, values_of(dataset.train, dataset.classes), strict=True):
        assert kept[float(row[0])] == label


def test_numbers_may_mark_missing_cells_and_empty_cells_are_missing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "a,b,c\n" + "".join(f"{i / 3},{i},{i * 2}\n" for i in range(10)) + "1,,3\n-999,4,5\n"
    )
    numeric = {"kinds": "numeric"}
    message = "1 values are missing, NaN or infinite, the first in row 11 of column 'b'"
    assert "missing_values=NA" in refused(path, message, **numeric)
    dataset = load(path, missing_values=["NA"], scaling="none", **numeric)
    assert sum(len(getattr(dataset, split)) for split in SPLITS) == 11
    assert len(load(path, kinds="b=real").train) == 10
    dataset = load(path, missing_values=["-999"], scaling="none", **numeric)
    assert sum(len(getattr(dataset, split)) for split in SPLITS) == 10
    assert dataset.low == 0


def test_a_column_of_mostly_text_is_not_numeric(tmp_path):
    cells = ["10"] * 14 + ["ten"] * 16
    path = write(tmp_path, {"a": TABLE[:, 0], "size": cells}, "csv")
    said(load(path, kinds="numeric"), "'size' (not numeric, such as '10')")
    assert load(path).columns == ("a", "size=ten")


@pytest.mark.parametrize("kind", [pa.decimal128(30, 3), pa.int8(), pa.float32(), pa.uint64()])
def test_numbers_of_every_kind_are_numbers(tmp_path, kind):
    column = pa.array(np.arange(30)).cast(kind)
    table = pa.table({"a": column, "b": TABLE[:, 0]})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").shape == (2,)


def test_a_column_may_name_the_splits(tmp_path):
    names = np.array(["train"] * 20 + ["val"] * 4 + ["test"] * 6)
    dataset = load(write(tmp_path, {"a": TABLE[:, 0], "b": TABLE[:, 1], "split": names}, "csv"))
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [20, 4, 6]
    said(dataset, "column 'split' taken as the splits of the rows")


def test_several_columns_of_labels_are_refused(tmp_path):
    path = write(
        tmp_path, {"a": TABLE[:, 0], "label": [0, 1, 2] * 10, "class": [1, 2, 3] * 10}, "csv"
    )
    refused(path, "the columns 'label', 'class' all look like labels")


def test_tables_of_a_folder_are_its_splits(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    table = pa.table({"a": TABLE[:, 0], "b": TABLE[:, 1], "label": ["u", "v", "w"] * 10})
    files = {
        "train-00000-of-00002": table[:10],
        "train-00001-of-00002": table[10:20].select(["label", "b", "a"]),
        "validation-00000-of-00001": table[20:24],
        "test-00000-of-00001": table[24:],
    }
    for name, part in files.items():
        pa.parquet.write_table(part, folder / f"{name}.parquet")
    dataset = load(tmp_path, scaling="none")
    wanted = TABLE[:, :2].astype(np.float32)
    np.testing.assert_array_equal(dataset.train.x, wanted[:20])
    np.testing.assert_array_equal(dataset.valid.x, wanted[20:24])
    np.testing.assert_array_equal(dataset.test.x, wanted[24:])
    assert values_of(dataset.test, dataset.classes) == ["u", "v", "w"] * 2
    pa.parquet.write_table(table.select(["a"]), folder / "train-00001-of-00002.parquet")
    refused(tmp_path, r"has other columns than .* \('b', 'label' in one of them alone\)")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["train", "test", "notes"], r"notes\.csv: lies beside 'test\.csv', 'train\.csv'"),
        (["first", "second"], "holds the tables 'first.csv', 'second.csv', none called train"),
        (["test", "val"], "and no train"),
    ],
)
def test_tables_of_a_folder_that_do_not_say_their_splits_are_refused(tmp_path, names, match):
    for name in names:
        (tmp_path / f"{name}.csv").write_text("a,b\n1,2\n3,4\n5,7\n")
    refused(tmp_path, match)


def test_shards_of_one_table_are_one_table(tmp_path):
    for i in range(3):
        rows = "".join(f"{j},{j * j}\n" for j in range(10 * i, 10 * i + 10))
        (tmp_path / f"part-{i:05}.csv").write_text(f"a,b\n{rows}")
    dataset = load(tmp_path, scaling="none")
    assert sum(len(getattr(dataset, split)) for split in SPLITS) == 30


# --- Values that are said before training


def test_columns_that_reach_far_are_named_with_the_remedy_that_helps(tmp_path):
    x = np.concatenate([TABLE] * 40)
    x[:, 1] = 1e-3 * (np.arange(len(x)) < 2)
    x[1, 2] = 1e4
    path = write(tmp_path, {"a": x[:, 0], "rare": x[:, 1], "far": x[:, 2]}, "csv")
    dataset = load(path)
    assert dataset.columns == ("a", "rare", "far")
    (told,) = build.far_values(dataset, likelihoods.Gaussian())
    assert "values beyond 20 standard deviations of train in 2 of 3 columns" in told
    assert {"'rare'", "'far'"} <= set(told.replace(",", " ").split())
    assert "scaling=unit" in told
    assert "likelihood=laplace" in told
    assert build.far_values(load(path, scaling="unit"), likelihoods.Gaussian()) == []
    assert build.far_values(dataset, likelihoods.Laplace()) == []


def test_lines_of_numbers_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"{a:.3f}  {b:.3f}" for a, b, _ in TABLE))
    refused(tmp_path / "a.txt", "holds 2 numbers in every line, which would be read as text")
    np.save(tmp_path / "table.npy", np.loadtxt(tmp_path / "a.txt"))
    assert load(tmp_path / "table.npy").shape == (2,)
    (tmp_path / "a.txt").write_text("one 1\ntwo 2\nthree 3\n")
    assert load(tmp_path / "a.txt").kind == "sequence"


# --- Where files are looked for, and settings that are not for them


def test_a_path_is_looked_for_below_the_data_directory_too(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "x.npy", TABLE)
    assert load("mine/x.npy", data_dir=tmp_path).shape == (3,)
    monkeypatch.setenv("VAE_JAX_DATA_DIR", str(tmp_path))
    assert load("mine/x.npy").shape == (3,)
    refused("mine/y.npy", "no such file or folder", UsageError, window=3)


@pytest.mark.parametrize("name", ["digits", "a.npy", "a.txt"])
def test_marks_of_missing_cells_are_for_tables_alone(tmp_path, name):
    np.save(tmp_path / "a.npy", TABLE)
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    path = name if name == "digits" else tmp_path / name
    refused(
        path, r"missing_values=\?,-: marks missing cells", UsageError, missing_values=["?", "-"]
    )


# --- Damage that only a checksum tells


@pytest.mark.fault("R17")
def test_a_page_of_parquet_whose_checksum_differs_is_refused(tmp_path):
    table = pa.table({"a": TABLE[:, 0], "b": TABLE[:, 1]})
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
    pa.parquet.write_table(table, tmp_path / "a.parquet", **options)
    assert load(tmp_path / "a.parquet").shape == (2,)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[content.index(TABLE[7:8, 1].tobytes()) + 5] ^= 4
    (tmp_path / "a.parquet").write_bytes(content)
    refused(tmp_path / "a.parquet", r"not a readable \.parquet file")
