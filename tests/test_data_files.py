"""The user's own data (faults.md R10, R14): what is read, what is converted, what is refused."""

import os
import struct
import tracemalloc
import zipfile

import jax
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest

from vae_jax import data, memory
from vae_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)
UNIT = RNG.random((20, 6, 5, 1)).astype(np.float32)
BYTES = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
TABLE = RNG.normal([3.0, -2.0, 0.0], [10.0, 0.1, 1.0], (40, 3))


def save(folder, x, **more):
    path = folder / "mine.npz"
    np.savez(path, x=x, **more)
    return path


def load(path, **kwargs):
    return data.load(str(path), **kwargs)


def everything(dataset):
    """All rows [N, *shape], decoded as the training step would."""
    decode = jax.jit(dataset.decode)
    splits = (dataset.train, dataset.valid, dataset.test)
    return np.concatenate([decode(s.x) for s in splits if len(s)])


def rows(x):
    """Rows of x as a sorted list, to compare sets of rows whatever their order."""
    return sorted(map(tuple, np.asarray(x).reshape(len(x), -1).tolist()))


def with_value(x, value, index):
    x = x.copy()
    x[index] = value
    return x


# --- What is kept and what is converted, with its line


@pytest.mark.parametrize(
    ("x", "expected", "num_levels", "note"),
    [
        (BYTES, BYTES / 255, 256, None),
        (BYTES[..., 0], BYTES[..., :1] / 255, 256, None),
        (UNIT, UNIT, None, None),
        (UNIT.astype(np.float64), UNIT, None, "float64 stored as float32"),
        (UNIT * 2 - 1, UNIT * 2 - 1, None, None),
        (BYTES.astype(np.float32), BYTES / 255, 256, "taken as 256 levels"),
        (BYTES.astype(np.int64), BYTES / 255, 256, "taken as 256 levels"),
        (BYTES * np.float32(0.99), BYTES * 0.99 / 255, None, "divided by 255"),
        (BYTES > 99, BYTES > 99, 2, "0 or 1: taken as binary"),
        ((BYTES > 99).astype(np.int32), BYTES > 99, 2, "0 or 1: taken as binary"),
        (np.where(BYTES > 99, 255, 0).astype(np.uint8), BYTES > 99, 2, "0 or 255: taken as binary"),
        (BYTES.astype(np.uint16) * 257, BYTES / 255, 65536, "taken as 65536 levels"),
    ],
)
def test_images_keep_their_values_or_a_note_says_how_not(tmp_path, x, expected, num_levels, note):
    dataset = load(save(tmp_path, x))
    assert dataset.kind == "image"
    assert dataset.shape == expected.shape[1:]
    assert dataset.num_levels == num_levels
    np.testing.assert_allclose(rows(everything(dataset)), rows(expected), rtol=1e-6)
    if note is None:
        assert dataset.notes == ()
    else:
        assert any(note in line for line in dataset.notes)


def test_levels_are_stored_in_bytes(tmp_path):
    assert load(save(tmp_path, BYTES.astype(np.float64))).train.x.dtype == np.uint8
    assert load(save(tmp_path, BYTES > 99)).train.x.dtype == np.uint8


def test_an_npy_file_is_the_same_data(tmp_path):
    np.save(tmp_path / "a.npy", UNIT)
    np.testing.assert_array_equal(
        everything(load(tmp_path / "a.npy")), everything(load(save(tmp_path, UNIT)))
    )


@pytest.mark.parametrize("key", ["x", "X", "images", "data"])
@pytest.mark.parametrize("labels", ["y", "labels", "label"])
def test_keys_of_an_archive(tmp_path, key, labels):
    np.savez(tmp_path / "a.npz", **{key: UNIT, labels: np.arange(20) % 4})
    dataset = load(tmp_path / "a.npz")
    pairs = [
        (tuple(x.ravel().tolist()), int(label))
        for split in (dataset.train, dataset.valid, dataset.test)
        for x, label in zip(split.x, split.labels, strict=True)
    ]
    expected = [(tuple(x.ravel().tolist()), i % 4) for i, x in enumerate(UNIT)]
    assert sorted(pairs) == sorted(expected)


@pytest.mark.parametrize(
    "keys",
    [
        {"train": BYTES[:12], "valid": BYTES[12:15], "test": BYTES[15:]},
        {"x_train": BYTES[:12], "x_valid": BYTES[12:15], "x_test": BYTES[15:]},
    ],
)
def test_an_archive_may_bring_its_own_splits(tmp_path, keys):
    np.savez(tmp_path / "a.npz", y_test=np.arange(5), **keys)
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.train.x, BYTES[:12])
    np.testing.assert_array_equal(dataset.valid.x, BYTES[12:15])
    np.testing.assert_array_equal(dataset.test.x, BYTES[15:])
    np.testing.assert_array_equal(dataset.test.labels, np.arange(5))
    assert dataset.train.labels is None


def test_train_and_test_alone_leave_validation_to_us(tmp_path):
    np.savez(tmp_path / "a.npz", train=UNIT[:15], test=UNIT[15:])
    dataset = load(tmp_path / "a.npz", num_valid=4)
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [11, 4, 5]
    np.testing.assert_array_equal(dataset.test.x, UNIT[15:])


def test_the_hash_is_that_of_the_file(tmp_path):
    import hashlib

    path = save(tmp_path, UNIT)
    assert load(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# --- Tables


def test_columns_are_standardized_by_train(tmp_path):
    dataset = load(save(tmp_path, TABLE))
    assert dataset.kind == "table"
    assert dataset.shape == (3,)
    assert dataset.train.x.dtype == np.float32
    np.testing.assert_allclose(dataset.train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.x.std(axis=0), 1, rtol=1e-5)
    # Affine per column with the numbers of train: undone by the same numbers for all rows.
    raw = load(save(tmp_path, TABLE), scaling="none")
    np.testing.assert_allclose(
        dataset.test.x,
        (raw.test.x - raw.train.x.mean(axis=0)[None]) / raw.train.x.std(axis=0)[None],
        rtol=1e-3,
        atol=1e-5,
    )
    assert "standardized" in dataset.notes[0]


def test_columns_are_taken_to_the_unit_interval_by_train(tmp_path):
    x = np.linspace(0, 39, 40)[:, None] * [[1.0, -3.0]]
    dataset = load(save(tmp_path, x), scaling="unit")
    np.testing.assert_array_equal(dataset.train.x.min(axis=0), 0)
    np.testing.assert_array_equal(dataset.train.x.max(axis=0), 1)
    assert everything(dataset).min() == 0
    assert everything(dataset).max() == 1
    data.check(dataset, "unit", what="likelihood=bernoulli")


def test_test_rows_beyond_the_range_of_train_are_clipped_and_said(tmp_path):
    np.savez(tmp_path / "a.npz", train=TABLE[:30], test=TABLE[30:] * 100)
    dataset = load(tmp_path / "a.npz", scaling="unit")
    assert dataset.test.x.max() == 1
    assert any("clipped" in note for note in dataset.notes)


def test_values_stay_where_nothing_is_to_be_scaled(tmp_path):
    dataset = load(save(tmp_path, TABLE), scaling="none")
    np.testing.assert_array_equal(rows(everything(dataset)), rows(TABLE.astype(np.float32)))
    assert (dataset.low, dataset.high) == (np.float32(TABLE.min()), np.float32(TABLE.max()))


@pytest.mark.parametrize(
    ("x", "scaling"),
    [(TABLE, "auto"), (TABLE, "unit"), (BYTES * np.float32(0.99), "auto"), (UNIT * 3 - 1, "unit")],
)
def test_the_scaling_of_a_dataset_can_be_repeated(tmp_path, x, scaling):
    dataset = load(save(tmp_path, x), scaling=scaling)
    x = x if x.ndim == 2 else x.reshape(-1, *dataset.shape)
    np.testing.assert_array_equal(rows(everything(dataset)), rows(dataset.scaling(x)))


@pytest.mark.parametrize(("x", "scaling"), [(TABLE, "none"), (BYTES, "auto"), (UNIT, "unit")])
def test_values_that_were_not_scaled_say_nothing(tmp_path, x, scaling):
    assert load(save(tmp_path, x), scaling=scaling).scaling is None


def test_a_constant_column_is_shifted_only(tmp_path):
    x = np.c_[TABLE, np.full(40, 0.1)]
    dataset = load(save(tmp_path, x))
    np.testing.assert_allclose(dataset.train.x[:, 3], 0, atol=1e-12)
    assert any("1 columns are constant" in note for note in dataset.notes)


def test_a_binary_table_stays_binary(tmp_path):
    dataset = load(save(tmp_path, TABLE > 0))
    assert dataset.num_levels == 2
    assert set(np.unique(everything(dataset))) == {0.0, 1.0}


def test_csv_and_parquet_read_the_same(tmp_path):
    names = np.array(["good", "bad"])[np.arange(40) % 2]
    table = pa.table({"when": ["now"] * 40, "a": TABLE[:, 0], "b": TABLE[:, 1], "label": names})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    lines = [
        f"now,{a!r},{b!r},{name}" for (a, b, _), name in zip(TABLE.tolist(), names, strict=True)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["when,a,b,label", *lines]))
    first, second = (load(tmp_path / name, scaling="none") for name in ("a.csv", "a.parquet"))
    np.testing.assert_array_equal(first.train.x, second.train.x)
    np.testing.assert_array_equal(rows(everything(first)), rows(TABLE[:, :2].astype(np.float32)))
    assert first.classes == second.classes == ("bad", "good")
    np.testing.assert_array_equal(first.train.labels, second.train.labels)
    of_row = {
        row: int(name == "good") for row, name in zip(rows_in_order(TABLE), names, strict=True)
    }
    assert [of_row[row] for row in rows_in_order(first.train.x)] == first.train.labels.tolist()
    for part in ("'when'", "'label' taken as labels"):
        assert any(part in note for note in first.notes)


def rows_in_order(x):
    return [tuple(row) for row in np.asarray(x)[:, :2].astype(np.float32).tolist()]


def test_a_csv_without_names_loses_no_line(tmp_path):
    (tmp_path / "a.csv").write_text("".join(f"{i},{i * i}\n" for i in range(10)))
    dataset = load(tmp_path / "a.csv", scaling="none")
    assert rows(everything(dataset)) == [(float(i), float(i * i)) for i in range(10)]
    assert "taken as data" in dataset.notes[0]


@pytest.mark.parametrize("name", ["18_Ionosphere.npz", "45_wine.npz", "6_cardio.npz"])
def test_real_tables_of_anomalies(data_dir, name):
    with np.load(data_dir / "adbench" / name) as file:
        dataset = load(data_dir / "adbench" / name)
        assert dataset.shape == file["X"].shape[1:]
        splits = (dataset.train, dataset.valid, dataset.test)
        assert sum(map(len, splits)) == len(file["X"])
        assert sum(int(s.labels.sum()) for s in splits) == int(file["y"].sum())


def test_a_real_time_series(data_dir):
    dataset = load(data_dir / "nab/nyc_taxi.csv", kinds="numeric")
    assert dataset.shape == (1,)
    assert any("'timestamp'" in note for note in dataset.notes)
    assert [c.kind for c in load(data_dir / "nab/nyc_taxi.csv").schema.columns] == ["date", "real"]


# --- Folders of images


def write_images(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        PIL.Image.fromarray(image.squeeze()).save(folder / f"{i:03}.png")


def test_a_folder_of_images_with_labels(tmp_path):
    write_images(tmp_path / "dog", BYTES[:8])
    write_images(tmp_path / "cat", BYTES[8:])
    dataset = load(tmp_path)
    assert dataset.shape == (6, 5, 3)
    assert dataset.num_levels == 256
    assert dataset.classes == ("cat", "dog")
    dogs = rows(BYTES[:8])
    for split in (dataset.train, dataset.valid, dataset.test):
        for x, label in zip(split.x, split.labels, strict=True):
            assert (tuple(x.ravel().tolist()) in dogs) == bool(label)


def test_a_folder_of_grey_images_without_labels(tmp_path):
    write_images(tmp_path, BYTES[..., 0])
    dataset = load(tmp_path)
    assert dataset.shape == (6, 5, 1)
    assert dataset.train.labels is None
    np.testing.assert_allclose(rows(everything(dataset)), rows(BYTES[..., 0] / 255), rtol=1e-6)


def test_a_folder_may_bring_its_own_splits(tmp_path):
    for part, images in {"train": BYTES[:12], "test": BYTES[12:]}.items():
        write_images(tmp_path / part / "b", images[:4])
        write_images(tmp_path / part / "a", images[4:])
    dataset = load(tmp_path, num_valid=0)
    assert dataset.classes == ("a", "b")
    np.testing.assert_array_equal(dataset.test.labels, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(dataset.test.x, np.r_[BYTES[16:], BYTES[12:16]])


def test_the_hash_of_a_folder_knows_names_and_contents(tmp_path):
    write_images(tmp_path / "a", BYTES[:8])
    first = load(tmp_path).sha256
    os.rename(tmp_path / "a", tmp_path / "b")
    second = load(tmp_path).sha256
    os.rename(tmp_path / "b", tmp_path / "a")
    assert load(tmp_path).sha256 == first != second


# --- What is refused, in one line that names the file and the remedy (R10)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.float32(3), "has shape ()"),
        (np.zeros(9), "has shape (9,): must be [rows, columns]"),
        (np.zeros((4, 2, 2, 2, 1)), "has shape (4, 2, 2, 2, 1)"),
        (BYTES.transpose(0, 3, 1, 2), "save x.transpose(0, 2, 3, 1)"),
        (UNIT[:0], "there is nothing in it"),
        (UNIT[:, :0], "there is nothing in it"),
        (UNIT[:2], "has 2 rows: must have at least 3"),
        (np.full((9, 4), 0.5), "every value is 0.5"),
        (np.zeros((9, 4, 4), bool), "every value is 0"),
        (
            with_value(UNIT, np.nan, (7, 3, 2, 0)),
            "1 values are missing, NaN or infinite, the first",
        ),
        (with_value(UNIT, np.nan, (7, 3, 2, 0)), "(7, 3, 2, 0)"),
        (with_value(TABLE, -np.inf, np.s_[4:6, 1]), "2 values are missing, NaN or infinite"),
        (with_value(TABLE, 1e300, (0, 0)), "beyond float32"),
        (UNIT.astype(np.complex64), "holds complex64"),
        (UNIT.astype(str), "must be real numbers"),
        (np.zeros(9, "datetime64[s]"), "must be real numbers"),
        (np.zeros(9, [("a", "f4")]), "must be real numbers"),
        (np.array([[1, None]] * 9), "pickle"),
    ],
)
def test_hopeless_arrays_are_refused(tmp_path, x, message):
    path = save(tmp_path, x)
    with pytest.raises(DataError) as error:
        load(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(19), "labels have shape (19,) for 20 rows"),
        (np.zeros((20, 10)), "labels have shape (20, 10) for 20 rows"),
        (np.array([{}] * 20), "pickle"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    with pytest.raises(DataError) as error:
        load(save(tmp_path, UNIT, y=labels))
    assert message in str(error.value)


def test_labels_that_are_no_classes_only_disable_what_needs_them(tmp_path):
    dataset = load(save(tmp_path, UNIT, y=RNG.normal(size=20)))
    assert dataset.train.labels is None
    assert "left out" in dataset.notes[0]


@pytest.mark.parametrize(
    ("x", "scaling"), [(UNIT * 2 - 1, "auto"), (UNIT * 5, "auto"), (TABLE, "auto"), (TABLE, "none")]
)
def test_real_values_are_refused_to_bernoulli_and_the_remedy_works(tmp_path, x, scaling):
    path = save(tmp_path, x)
    with pytest.raises(DataError, match="scaling=unit"):
        data.check(load(path, scaling=scaling), "unit", what="likelihood=bernoulli")
    data.check(load(path, scaling="unit"), "unit", what="likelihood=bernoulli")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"PAR1" * 9, b"\xff" * 99])
def test_garbage_is_named(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".png"])
def test_a_damaged_byte_never_ends_in_a_traceback(tmp_path, suffix):
    small = UNIT[:4, :2, :2, 0]
    path = tmp_path / f"0{suffix}"
    if suffix == ".npy":
        np.save(path, small)
    elif suffix == ".npz":
        np.savez(path, x=small, y=np.arange(4))
    elif suffix == ".csv":
        path.write_text("a,b,label\n" + "".join(f"{i},{i / 3},{'uv'[i % 2]}\n" for i in range(6)))
    elif suffix == ".parquet":
        pa.parquet.write_table(pa.table({"a": TABLE[:, 0], "y": ["é"] * 40}), path)
    else:
        write_images(tmp_path, BYTES[:4])
        path = tmp_path / "000.png"
    whole = path.read_bytes()
    refused = []
    for position in np.linspace(0, len(whole) - 1, 120).astype(int):
        for damaged in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :],
        ):
            path.write_bytes(damaged)
            try:
                load(tmp_path if suffix == ".png" else path)
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > 50
    assert not [message for message in refused if "\n" in message]


@pytest.mark.fault("R14")
@pytest.mark.parametrize("shape", [(2**40, 8), (10**6,) * 4, (-1, 5)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_absurd_header_is_refused_before_memory_is_asked_for(tmp_path, suffix, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(400)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=r"claims shape|not a readable"):
        load(path)


@pytest.mark.fault("R14")
def test_pickled_code_never_runs(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    harm = np.empty(4, object)
    harm[:] = [Harm() for _ in range(4)]
    np.save(tmp_path / "a.npy", harm, allow_pickle=True)
    with pytest.raises(DataError, match="pickle"):
        load(tmp_path / "a.npy")
    assert not (tmp_path / "harm").exists()


def test_other_keys_of_an_archive_are_not_touched(tmp_path):
    harmless = load(save(tmp_path, UNIT, metadata=np.array([{}])))
    assert len(harmless.train) == 16


@pytest.mark.fault("R14")
def test_links_devices_and_pipes_are_refused(tmp_path):
    target = save(tmp_path, UNIT)
    (tmp_path / "link.npz").symlink_to(target)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match=f"is a symbolic link: name what it points to, {target}"):
        load(tmp_path / "link.npz")
    with pytest.raises(DataError, match="neither a regular file"):
        load(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match="neither a regular file"):
        load("/dev/zero")


@pytest.mark.fault("R14")
@pytest.mark.parametrize("to_folder", [False, True])
def test_links_inside_a_folder_of_images_are_refused(tmp_path, to_folder):
    write_images(tmp_path / "secret", BYTES[:4])
    write_images(tmp_path / "mine", BYTES[4:])
    target = tmp_path / "secret"
    (tmp_path / "mine/link.png").symlink_to(target if to_folder else target / "000.png")
    with pytest.raises(DataError, match=r"link\.png: is a symbolic link"):
        load(tmp_path / "mine")


def test_images_that_do_not_fit_together_are_named(tmp_path):
    write_images(tmp_path, BYTES[:5])
    PIL.Image.fromarray(BYTES[0, :4]).save(tmp_path / "odd.png")
    with pytest.raises(DataError, match=r"odd\.png: is 5×4 pixels, most of .* are 5×6"):
        load(tmp_path)


def test_images_with_transparency_are_refused(tmp_path):
    write_images(tmp_path, BYTES[:5])
    PIL.Image.fromarray(np.full((6, 5, 4), 9, np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(DataError, match=r"clear\.png: is transparent in places: give background"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pkl", "must end in .npy, .npz, .mtx"),
        ("folder", "holds no images"),
        (
            "keys.npz",
            "has the keys 'pixels': must be one of data, or some of splits: call",
        ),
        ("text.csv", "has no column to learn from, only 'a', 'b'"),
        ("gap.npz", "1 values are missing, NaN or infinite, the first at index (1, 1)"),
    ],
)
def test_files_that_say_too_little(tmp_path, name, message):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "keys.npz", pixels=UNIT)
    (tmp_path / "text.csv").write_text("a,b\nu,v\nw,x\ny,z\n")
    np.savez(tmp_path / "gap.npz", x=np.array([[1, 2], [3, np.nan], [5, 6], [7, 8]]))
    with pytest.raises(DataError) as error:
        load(tmp_path / name)
    assert message in str(error.value)


@pytest.mark.fault("R14")
@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_an_archive_that_lies_about_its_size_is_refused(tmp_path, savez):
    path = tmp_path / "a.npz"
    savez(path, x=UNIT)
    size = struct.pack("<I", zipfile.ZipFile(path).getinfo("x.npy").file_size)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 2**31 - 1)))
    with pytest.raises(DataError, match="not a readable"):
        load(path)


@pytest.mark.fault("R14")
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_file_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    x = np.zeros((4000, 100))
    np.save(path, x) if suffix == "npy" else np.savez_compressed(path, x=x)
    monkeypatch.setenv(memory.VARIABLE, str((x.nbytes - 1) / 2**30))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"about 3\.05 MiB of memory, reading may take 3\.05 MiB"):
        load(path, loading="memory")
    assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    tracemalloc.stop()


def test_num_valid_must_leave_something(tmp_path):
    with pytest.raises(UsageError, match="num_valid=18: must be >= 0 and leave some of the 18"):
        load(save(tmp_path, UNIT), num_valid=18)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_one_name_are_both_kept(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        path.write_text("a,a,b\n" + "".join(f"{i},{i + 10},{i + 20}\n" for i in range(5)))
    else:
        columns = [pa.array(np.arange(5) + start) for start in (0, 10, 20)]
        pa.parquet.write_table(pa.Table.from_arrays(columns, ["a", "a", "b"]), path)
    dataset = load(path, scaling="none")
    assert rows(everything(dataset)) == [(i, i + 10, i + 20) for i in range(5)]


@pytest.mark.parametrize(
    ("x", "condition", "message"),
    [
        (
            TABLE,
            np.full(40, 1e300),
            "condition holds values that are not finite, or beyond float32",
        ),
        (np.float32(3), np.arange(40.0), "condition is float64 of shape (40,) for 0 rows"),
        (TABLE[:0], np.zeros((0, 2)), "there is nothing in it"),
        (TABLE, np.zeros((40, 0)), "shape (40, 0) for 40 rows: must be numbers [rows, C], C at"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(tmp_path, x, condition, message):
    with pytest.raises(DataError) as error:
        load(save(tmp_path, x, condition=condition))
    assert message in str(error.value)


def test_standardized_rows_beyond_float32_are_refused(tmp_path):
    train, test = np.array([[0.0, 1], [1e-30, 2], [0, 3]]), np.array([[1e30, 1], [0, 2]])
    np.savez(tmp_path / "a.npz", train=train, test=test)
    with pytest.raises(DataError, match=r"other rows reach beyond float32: .* scaling=unit$"):
        load(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz", scaling="unit").test.x[0, 0] == 1
    assert load(tmp_path / "a.npz", scaling="none").test.x[0, 0] == np.float32(1e30)
    np.savez(tmp_path / "b.npz", train=train * 1e-290, test=test)
    assert load(tmp_path / "b.npz", scaling="unit").test.x[0, 0] == 1


def test_control_sequences_in_a_file_are_escaped(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3\x1b[2J\r\n")
    with pytest.raises(DataError) as error:
        load(tmp_path / "a.csv")
    assert "3\\x1b[2J" in str(error.value)
    assert str(error.value).isprintable()


def test_a_damaged_archive_of_another_compression_is_named(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", bytes([9, 4, 5, 0] + [255] * 60))
    content = bytearray(path.read_bytes())
    # the method stands in the header of the member and in the directory at the end
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = bytes(content).index(mark) + offset
        content[place : place + 2] = zipfile.ZIP_LZMA.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        load(path)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([2**60] * 4, pa.timestamp("ms")),
        pa.array([2**30] * 4, pa.date32()),
        pa.array([5] * 4, pa.timestamp("ns")),
        pa.array([[1], [1, 2], [], [3]]),
    ],
    ids=lambda labels: str(labels.type),
)
def test_a_column_called_label_of_what_is_no_class_is_left_out(tmp_path, labels):
    pa.parquet.write_table(pa.table({"a": [1.0, 2, 3, 4], "label": labels}), tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    assert dataset.train.labels is None
    assert "column 'label' is " in dataset.notes[0]
    assert "left out" in dataset.notes[0]


def test_categories_of_parquet_are_labels(tmp_path):
    names = pa.array(["b", "a", "b", "c"]).dictionary_encode()
    pa.parquet.write_table(pa.table({"a": [1.0, 2, 3, 4], "y": names}), tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").classes == ("a", "b", "c")


@pytest.mark.parametrize("x", [TABLE * 1e-60, 1 + TABLE * 1e-12])
def test_values_that_are_one_in_float32_are_refused(tmp_path, x):
    path = save(tmp_path, x)
    with pytest.raises(DataError, match=r"every value is .* in float32: subtract"):
        load(path, scaling="none")
    assert load(path).train.x.std() > 0.5
