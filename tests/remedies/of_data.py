"""What is said of a user's data."""

import itertools
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse

from vae_jax import cache, data, errors, memory
from vae_jax.data import _cache, _dataset, _npy, _sparse

from ._cases import SaidError, at, attempt, flags_of, said, tries

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(30, 3))
PICTURES = RNG.integers(0, 256, (12, 4, 5), np.uint8)
SPLITS = ("train", "valid", "test")
DATA = "vae_jax/data/"


def load(path, **options):
    """A dataset of a file or a folder."""
    return data.load(str(path), **options)


def notes(words, path, **options):
    """Raises the note on a dataset that holds words."""
    said(load(path, **options).notes, words)


def saved(path, x):
    """An .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, x)
    return path


def archive(path, **arrays):
    """An .npz file."""
    np.savez(path, **arrays)
    return path


def draw(folder, images=PICTURES, suffix="png"):
    """Pictures in a folder, that of a file each; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / f"{i:03}.{suffix}")
    return folder / f"000.{suffix}"


def csv(path, text="a,b\n1,2\n3,4\n5,7\n6,1\n"):
    """A table as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(columns):
    """The text of a table of columns by name."""
    lines = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, line)) for line in lines)])


# --- Names and settings


@tries(at(DATA + "__init__.py", "_counts")("give window too"))
def a_hop_without_a_window(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    yield attempt(load, path, hop=2)
    yield attempt(load, path, hop=2, window=4)


@tries(at(DATA + "__init__.py", "_load")("choose from …, a dataset of tensorflow-datasets"))
def a_dataset_that_is_unknown(folder, patch):
    message = yield attempt(load, "digit")
    named = re.search(r"choose from (.*?), a dataset of", message)[1].split(", ")
    assert "digits" in named
    yield attempt(load, "digits")
    yield attempt(load, csv(folder / f"a{re.search(r'path of a file .*?([.]csv)', message)[1]}"))
    draw(folder / "pictures")
    yield attempt(load, folder / "pictures")


own = at(DATA + "_dataset.py", "divide")


@tries(own("leave num_valid out"))
def rows_for_validation_of_a_source_that_has_some(folder, patch):
    path = archive(folder / "a.npz", x_train=TABLE, x_valid=TABLE, x_test=TABLE)
    yield attempt(load, path, num_valid=5)
    yield attempt(load, path)


@tries(own("must be >= 0 and leave some of the"))
def rows_for_validation_that_leave_none(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    message = yield attempt(load, path, num_valid=27)
    most = int(re.search(r"leave some of the (\d+) rows", message)[1])
    yield attempt(load, path, num_valid=most - 1)


@tries(at(DATA + "_dataset.py", "data_file")("put it there, or name the folder that holds"))
def a_file_that_is_not_there(folder, patch):
    here, there = folder / "here", folder / "there"
    message = yield attempt(_dataset.data_file, here, "freyfaces", "frey.mat")
    missing, parts = re.search(r"^(.*?): no such file.*holds (\S+) with", message).groups()
    csv(there / parts)
    yield attempt(_dataset.data_file, there, "freyfaces", "frey.mat")
    os.makedirs(os.path.dirname(missing))
    shutil.copy(there / parts, missing)
    yield attempt(_dataset.data_file, here, "freyfaces", "frey.mat")


@tries(at(DATA + "_cache.py", "cached")("name another folder for the cache by XDG_CACHE_HOME"))
def a_cache_that_cannot_be_written(folder, patch):
    def keep():
        place = cache.user_folder() / "datasets"
        return _cache.cached(place, "a", "0" * 64, 1, lambda: [("x", 30, TABLE)], on_disk=True)

    csv(folder / "full")
    patch.setenv("XDG_CACHE_HOME", str(folder / "full"))
    yield keep
    patch.setenv("XDG_CACHE_HOME", str(folder / "other"))
    yield keep
    os.remove(folder / "full")
    patch.setenv("XDG_CACHE_HOME", str(folder / "full"))
    yield keep


own = at(DATA + "_part.py", "Reading.refuse")


@tries(own("leave it out"))
def a_window_of_pictures(folder, patch):
    path = saved(folder / "a.npy", PICTURES)
    yield attempt(load, path, window=4)
    yield attempt(load, path)


@tries(at(DATA + "_part.py", "complete")("name one train, or leave the names of splits out"))
def splits_without_train(folder, patch):
    path = archive(folder / "a.npz", x_val=TABLE, x_test=TABLE + 1)
    yield attempt(load, path)
    yield attempt(load, archive(path, x_train=TABLE, x_test=TABLE + 1))
    yield attempt(load, archive(path, x=np.concatenate([TABLE, TABLE + 1])))


# --- Files and folders

own = at(DATA + "_files.py", "_folder_reader")


@tries(own("give the path of one file, or leave one kind out"))
def tables_beside_arrays(folder, patch):
    table, array = csv(folder / "train.csv"), saved(folder / "x.npy", TABLE)
    yield attempt(load, folder)
    yield attempt(load, table)
    yield attempt(load, array)
    os.remove(array)
    yield attempt(load, folder)


own = at(DATA + "_files.py", "_refuse_special")


@tries(own("is a symbolic link: name what it points to"))
def a_link(folder, patch):
    (folder / "link.npy").symlink_to(saved(folder / "a.npy", TABLE))
    message = yield attempt(load, folder / "link.npy")
    yield attempt(load, message.rpartition("points to, ")[2])


@tries(own("make a copy of the folder without links"))
def links_in_a_folder(folder, patch):
    draw(folder / "pictures" / "cat")
    draw(folder / "elsewhere")
    for path in list((folder / "elsewhere").iterdir()):
        (folder / "pictures" / "cat" / f"more-{path.name}").symlink_to(path)
    (folder / "pictures" / "dog").symlink_to(folder / "elsewhere")
    message = yield attempt(load, folder / "pictures")
    command = shlex.split(re.search(r"without links, (cp .*), and give its path", message)[1])
    subprocess.run(command, check=True)
    yield lambda: np.testing.assert_equal(load(command[-1]).classes, ("cat", "dog"))


# --- Pictures

own = at(DATA + "_folders.py", "_refuse_mixed")


splits = at(DATA + "_part.py", "named_splits")("rename or move away all but one for each split")


@tries(splits)
def two_folders_of_one_split(folder, patch):
    for name in ("train", "val", "valid"):
        draw(folder / "pictures" / name)
    yield attempt(load, folder / "pictures")
    (folder / "pictures" / "valid").rename(folder / "pictures" / "test")
    yield attempt(load, folder / "pictures")
    (folder / "pictures" / "test").rename(folder / "away")
    yield attempt(load, folder / "pictures")


@tries(
    splits,
    at(DATA + "_part.py", "_as_labels")(", or make folders of labels in one for each split, such"),
)
def folders_of_splits_and_labels(folder, patch):
    for name in ("trainA", "trainB", "testA", "testB"):
        draw(folder / "a" / name)
        draw(folder / "b" / name)
    message = yield attempt(load, folder / "a")
    for split in ("train", "test"):
        (folder / "a" / f"{split}B").rename(folder / f"{split}-away")
    yield attempt(load, folder / "a")
    first = message.rpartition("such as ")[2]
    assert first == "train/a"
    for split, label in itertools.product(("train", "test"), "AB"):
        (folder / "c" / split).mkdir(parents=True, exist_ok=True)
        (folder / "b" / f"{split}{label}").rename(folder / "c" / split / label.lower())
    yield lambda: np.testing.assert_equal(load(folder / "c").classes, ("a", "b"))


@tries(own("move them into one of these or away, or rename these if they are labels"))
def a_folder_beside_those_of_splits(folder, patch):
    for name in ("train", "test", "extra"):
        draw(folder / "a" / name, PICTURES[:4])
    for other in ("b", "c"):
        shutil.copytree(folder / "a", folder / other)
    message = yield attempt(load, folder / "a")
    for path in pathlib.Path(message.partition(": ")[0]).parent.iterdir():
        path.rename(folder / "a" / "train" / f"more-{path.name}")
    yield attempt(load, folder / "a")
    (folder / "b" / "extra").rename(folder / "away")
    yield attempt(load, folder / "b")
    for before, after in {"train": "rail", "test": "exam"}.items():
        (folder / "c" / before).rename(folder / "c" / after)
    yield lambda: np.testing.assert_equal(len(load(folder / "c").classes), 3)


@tries(at(DATA + "_folders.py", "_refuse_both_sides")("give the path of one of the first"))
def folders_that_differ_above_and_below_the_splits(folder, patch):
    for name in ("north/train/a", "north/test/b", "south/train/a", "south/test/b"):
        draw(folder / name)
    message = yield attempt(load, folder)
    first = re.search(r"the folders '(\w+)', '\w+' lie above", message)[1]
    yield lambda: np.testing.assert_equal(load(folder / first).classes, ("a", "b"))


@tries(
    at(DATA + "_folders.py", "_refuse_parts")(
        "move all but one of them away, or rename them if they are labels"
    )
)
def folders_of_parts(folder, patch):
    for name in ("images", "masks"):
        draw(folder / "a" / name)
        draw(folder / "b" / name)
    yield attempt(load, folder / "a")
    (folder / "a" / "masks").rename(folder / "away")
    yield attempt(load, folder / "a")
    (folder / "b" / "images").rename(folder / "b" / "plain")
    yield lambda: np.testing.assert_equal(load(folder / "b").classes, ("masks", "plain"))


own = at(DATA + "_folders.py", "_refuse_unlike_labels")


@tries(own("give the path of one of them, or rename them if they are labels"))
def folders_of_folds(folder, patch):
    for name in ("fold1", "fold2"):
        draw(folder / name)
    yield attempt(load, folder)
    yield attempt(load, folder / "fold1")
    for number in "12":
        (folder / f"fold{number}").rename(folder / f"paper{number}")
    yield lambda: np.testing.assert_equal(load(folder).classes, ("paper1", "paper2"))


@tries(own("make one folder for each split, side by side, or rename them if they are labels"))
def folders_of_splits_in_one_of_a_split(folder, patch):
    for name in ("train/train", "train/valid", "test"):
        draw(folder / "a" / name)
    for name in ("val_train", "val_test"):
        draw(folder / "b" / name)
    yield attempt(load, folder / "a")
    for name in ("train", "valid"):
        (folder / "a" / "train" / name).rename(folder / name)
    (folder / "a" / "train").rmdir()
    for name in ("train", "valid"):
        (folder / name).rename(folder / "a" / name)
    yield attempt(load, folder / "a")
    for before, after in {"val_train": "seen", "val_test": "unseen"}.items():
        (folder / "b" / before).rename(folder / "b" / after)
    yield lambda: np.testing.assert_equal(load(folder / "b").classes, ("seen", "unseen"))


@tries(at(DATA + "_folders.py", "_labels")("move them into one of these, or away"))
def a_picture_beside_the_folders_of_labels(folder, patch):
    draw(folder / "cat")
    draw(folder / "dog")
    draw(folder, PICTURES[:1])
    message = yield attempt(load, folder)
    path = message.partition(": ")[0]
    shutil.copy(path, folder / "cat" / "one.png")
    os.remove(path)
    yield attempt(load, folder)
    os.remove(folder / "cat" / "one.png")
    yield attempt(load, folder)


# --- Arrays

CALL = at(DATA + "_arrays.py")("call the data x, X, images, data, features or embeddings")


@tries(CALL)
def keys_that_say_too_little(folder, patch):
    path = archive(folder / "a.npz", pixels=TABLE)
    message = yield attempt(load, path)
    of_data, of_labels = re.search(r"call the data (.*?) \(labels: (.*?)\)", message).groups()
    of_splits = re.search(r"with (.*?) behind where there are splits", message)[1].split(", ")
    for name in re.split(", | or ", of_data):
        yield attempt(load, archive(path, **{name: TABLE}))
        yield attempt(load, archive(path, **{name + own: TABLE for own in of_splits}))
    for name in re.split(", | or ", of_labels):
        labels = np.arange(30) % 2
        yield lambda own={name: labels}: len(load(archive(path, x=TABLE, **own)).classes)
    yield attempt(load, archive(path, series=TABLE))


@tries(at(DATA + "_arrays.py", "read_npy")("leave one of them out, or call their folders train"))
def two_arrays_of_one_name(folder, patch):
    for name in ("first/a", "first/b", "second/a", "second/b"):
        saved(folder / name / "x.npy", TABLE)
    message = yield attempt(load, folder / "first")
    os.remove(re.search(r"and (\S+) have one name", message)[1])
    yield attempt(load, folder / "first")
    first, _, last = re.search(r"folders (\w+), (\w+) and (\w+) if", message).groups()
    for before, after in {"a": first, "b": last}.items():
        (folder / "second" / before).rename(folder / "second" / after)
    yield lambda: np.testing.assert_equal(len(load(folder / "second").test), len(TABLE))


own = at(DATA + "_arrays.py", "_data_and_splits")


@tries(own("rename … to … if no row of the other splits is there too"))
def data_beside_splits(folder, patch):
    path, labels = folder / "a.npz", np.arange(30) % 2
    held = {"images": TABLE, "y": labels, "images_test": TABLE, "y_test": labels}
    message = yield attempt(load, archive(path, **held))
    before, after = re.search(r"rename (.*?) to (.*?) if", message).groups()
    names = dict(zip(eval(f"[{before}]"), after.split(", "), strict=True))
    held = {names.get(name, name): values for name, values in held.items()}
    yield lambda: np.testing.assert_equal(load(archive(path, **held)).train.labels.shape, (27,))


@tries(at(DATA + "_arrays.py", "_named", "of")("save it as an array, matrix.toarray()"))
def labels_in_a_sparse_matrix(folder, patch):
    path, matrix = folder / "a.npz", scipy.sparse.csr_array(np.arange(30)[:, None] % 2)
    parts = {f"y_{n}": getattr(matrix, n) for n in ("data", "indices", "indptr", "shape")}
    message = yield attempt(load, archive(path, x=TABLE, **parts))
    dense = eval(message.rpartition(", ")[2], {"matrix": matrix})
    yield attempt(load, archive(path, x=TABLE, y=dense))


@tries(own("series or no series: leave the other out"))
def series_beside_data(folder, patch):
    path = archive(folder / "a.npz", x=TABLE, series=TABLE)
    yield attempt(load, path)
    yield attempt(load, archive(path, x=TABLE))
    yield attempt(load, archive(path, series=TABLE))


@tries(at(DATA + "_arrays.py", "_places")("rename or leave out one of them"))
def two_keys_that_say_the_same(folder, patch):
    path = archive(folder / "a.npz", x=TABLE, images=TABLE)
    yield attempt(load, path)
    yield attempt(load, archive(path, x=TABLE, others=TABLE))
    yield attempt(load, archive(path, images=TABLE))


@tries(at(DATA + "_labels.py", "encode")("give one label for each row (of one-hot rows their"))
def labels_of_another_number_than_rows(folder, patch):
    path, one_hot = folder / "a.npz", np.eye(3)[np.arange(30) % 3]
    message = yield attempt(load, archive(path, x=TABLE, y=one_hot))
    taken = eval(f"y.{re.search(r'their (argmax.*?[)])', message)[1]}", {"y": one_hot})
    yield lambda: len(load(archive(path, x=TABLE, y=taken)).classes)
    yield attempt(load, archive(path, x=TABLE))


@tries(
    at(DATA + "_labels.py", "_refuse_mixed")("give the same labels in all splits, or none in one")
)
def labels_of_two_kinds(folder, patch):
    path, numbers = folder / "a.npz", np.arange(30) % 2
    words = np.array(["cat", "dog"])[numbers]
    yield attempt(load, archive(path, x_train=TABLE, x_test=TABLE, y_train=numbers, y_test=words))
    yield attempt(load, archive(path, x_train=TABLE, x_test=TABLE, y_train=words, y_test=words))
    yield attempt(load, archive(path, x_train=TABLE, x_test=TABLE, y_train=numbers))


@tries(at(DATA + "_values.py", "refuse_mixed")("convert them alike before they are saved, x / 255"))
def splits_of_two_scales(folder, patch):
    path = folder / "a.npz"
    message = yield attempt(load, archive(path, x_train=PICTURES, x_test=PICTURES / 255))
    alike = eval(re.search(r"saved, (.*) say", message)[1], {"x": PICTURES})
    yield attempt(load, archive(path, x_train=alike, x_test=PICTURES / 255))


@tries(at(DATA + "_files.py", "_note_no_valid")("give num_valid=1 for a row"))
def a_validation_of_no_row(folder, patch):
    path = archive(folder / "a.npz", x_train=TABLE[:5], x_test=TABLE)
    with pytest.raises(SaidError) as caught:
        notes("valid is empty", path)
    num_valid = int(flags_of(str(caught.value))["num_valid"])
    yield attempt(notes, "valid is empty", path)
    yield lambda: np.testing.assert_equal(len(load(path, num_valid=num_valid).valid), 1)


@tries(at(DATA + "_labels.py", "_settled")("leave it blank where it says unknown"))
def a_label_that_may_say_unknown(folder, patch):
    path, words = folder / "a.npz", np.array(["mild", "unknown", "severe"] * 10)
    yield attempt(notes, "taken as a label", archive(path, x=TABLE, y=words))
    blank = np.where(words == "unknown", "", words)
    yield attempt(notes, "taken as a label", archive(path, x=TABLE, y=blank))


own = at(DATA + "_npy.py", "_damage_named")


@tries(own("save it again with numpy.save or numpy.savez"))
def a_damaged_array(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    path.write_bytes(path.read_bytes()[:30])
    yield attempt(load, path)
    yield attempt(load, saved(path, TABLE))
    yield attempt(load, archive(folder / "a.npz", x=TABLE))


@tries(at(DATA + "_npy.py", "_read_header")("holds Python objects (pickle)"))
def arrays_of_objects(folder, patch):
    path, words = folder / "a.npz", np.array(["cat", "dog", None] * 10, object)
    x, y = TABLE.astype(object), np.where(words == None, "owl", words)  # noqa: E711 (elementwise)
    message = yield attempt(load, archive(path, x=x, y=y))
    of_numbers, of_words = re.findall(r"numpy\.asarray\(.*?\)", message)
    names = {"numpy": np, "x": x, "y": y}
    x, y = eval(of_numbers, names), eval(of_words, names)
    yield lambda: np.testing.assert_equal(
        load(archive(path, x=x, y=y)).classes, ("cat", "dog", "owl")
    )


@tries(at(DATA + "_npy.py")("give fewer rows, or an .npy file in C order"))
def arrays_larger_than_memory(folder, patch):
    patch.setenv(memory.VARIABLE, str(500 / 2**30))
    message = yield attempt(load, archive(folder / "a.npz", x=TABLE))
    yield attempt(load, archive(folder / "a.npz", x=TABLE[:5]))
    patch.setenv(memory.VARIABLE, str(2000 / 2**30))
    path = saved(folder / "a.npy", TABLE)
    yield attempt(load, path, **flags_of(message))


@tries(at(DATA + "_npy.py", "FileRows.__init__")("lie together: save it in C order"))
def rows_in_fortran_order(folder, patch):
    path = saved(folder / "a.npy", np.asfortranarray(TABLE))
    yield attempt(_npy.FileRows, path)
    yield attempt(_npy.FileRows, saved(path, np.ascontiguousarray(TABLE)))


@tries(at(DATA + "_npy.py", "FileRows.__getitem__")("has changed while it was in use: start again"))
def a_file_that_changes(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    dataset = load(path, loading="stream", scaling="none")
    os.utime(path, (1, 1))
    yield lambda: dataset.train.x[:3]
    yield lambda: load(path, loading="stream", scaling="none").train.x[:3]


own = at(DATA + "_sparse.py", "read")


@tries(own("save it again with scipy.sparse.save_npz"))
def a_sparse_matrix_that_does_not_fit_together(folder, patch):
    path, matrix = folder / "a.npz", scipy.sparse.csr_matrix(np.round(TABLE))
    parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    yield attempt(load, archive(path, **{**parts, "indptr": parts["indptr"][:-3]}))
    scipy.sparse.save_npz(path, matrix)
    yield attempt(load, path)


@tries(own("add it as …, save it with scipy.sparse.save_npz, or rename them if they are none"))
def a_sparse_matrix_without_its_shape(folder, patch):
    path, matrix = folder / "a.npz", scipy.sparse.csr_array(np.round(TABLE))
    parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
    message = yield attempt(load, archive(path, **parts))
    name = re.search(r"add it as '(\w+)'", message)[1]
    yield attempt(load, archive(path, **parts, **{name: matrix.shape}))
    scipy.sparse.save_npz(path, matrix)
    yield attempt(load, path)
    others = {"data": TABLE, "offsets": np.arange(len(TABLE))}
    with pytest.raises(errors.DataError, match="without its shape"):
        load(archive(path, **others))
    yield attempt(load, archive(path, x=TABLE, starts=others["offsets"]))


@tries(at(DATA + "_sparse.py")("leave out rows or columns"))
def a_huge_sparse_matrix(folder, patch):
    patch.setattr(_sparse, "_MEMORY_SHARE", 1 / 400)
    patch.setenv(memory.VARIABLE, str(400 * 8 * 30 / 2**30))
    path, matrix = folder / "a.npz", scipy.sparse.csr_matrix(RNG.poisson(0.5, (60, 60)))
    scipy.sparse.save_npz(path, matrix)
    yield attempt(load, path)
    patch.setenv(memory.VARIABLE, "1e-3")
    yield attempt(load, path)
    patch.setenv(memory.VARIABLE, str(400 * 8 * 30 / 2**30))
    scipy.sparse.save_npz(path, matrix[:30, :30])
    yield attempt(load, path)


@tries(
    at("vae_jax/memory.py", "check")("or set … to more GiB"),
    at("vae_jax/memory.py")("give fewer rows"),
)
def data_that_would_take_too_much_memory(folder, patch):
    path = archive(folder / "a.npz", x=np.zeros((900, 4), np.uint8) + np.arange(4, dtype=np.uint8))
    patch.setenv(memory.VARIABLE, str(20_000 / 2**30))
    yield attempt(load, path)
    yield attempt(load, archive(path, x=TABLE))
    archive(path, x=np.arange(3600, dtype=np.uint8).reshape(-1, 4) % 7)
    patch.setenv(memory.VARIABLE, str(60_000 / 2**30))
    yield attempt(load, path)


@tries(at("vae_jax/memory.py", "_given_bytes")(": set one, such as 8"))
def a_variable_of_memory_that_is_no_number(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    patch.setenv(memory.VARIABLE, "8GB")
    message = yield attempt(load, path)
    patch.setenv(memory.VARIABLE, message.split()[-1])
    yield attempt(load, path)


@tries(at(DATA + "_sequences.py", "read_text")("break its longest line, …, or leave it out"))
def a_text_of_one_long_line(folder, patch):
    path, lines = folder / "a.txt", ["a b", "c"] * 200
    patch.setenv(memory.VARIABLE, "4e-4")
    path.write_text("\n".join([*lines, "long" * 300]))
    message = yield attempt(load, path, loading="memory")
    number = int(re.search(r"longest line, ([\d,]+)", message)[1].replace(",", "")) - 1
    assert number == len(lines)
    path.write_text("\n".join([*lines, *["long"] * 300]))
    yield attempt(load, path)
    path.write_text("\n".join(lines))
    yield attempt(load, path)


@tries(
    at(DATA + "_tables.py", "_refuse_scattered")(
        "give the path of one of them, or move their files into one folder"
    )
)
def tables_of_one_split_in_two_folders(folder, patch):
    for name, number in itertools.product(("train", "test"), "12"):
        csv(folder / number / f"{name}-{number}.csv")
    message = yield attempt(load, folder)
    yield attempt(load, folder / re.search(r"the folders '(\w+)'", message)[1])
    for path in list((folder / "2").iterdir()):
        path.rename(folder / "1" / path.name)
    yield attempt(load, folder)


@tries(at("vae_jax/data/_table_files.py")("give fewer rows or columns"))
def a_table_of_too_much_memory(folder, patch):
    path = folder / "a.parquet"
    patch.setenv(memory.VARIABLE, str(300_000 / 2**30))

    def written(num_rows, num_columns):
        x = RNG.integers(0, 9, (num_columns, num_rows)) / 4
        pa.parquet.write_table(pa.table(list(x), [f"c{i}" for i in range(len(x))]), path)

    written(2000, 3)
    yield attempt(load, path)
    written(200, 3)
    yield attempt(load, path)
    written(20, 40)
    with pytest.raises(errors.DataError, match="give fewer rows or columns"):
        load(path)
    written(20, 10)
    yield attempt(load, path)


@tries(at("vae_jax/data/_table_files.py", "_refuse_nested")("give each of their values a column"))
def a_table_of_lists(folder, patch):
    path, pairs = folder / "a.parquet", TABLE[:, :2].tolist()
    pa.parquet.write_table(pa.table({"a": TABLE[:, 2], "b": pairs}), path)
    yield attempt(load, path)
    pa.parquet.write_table(pa.table({"a": TABLE[:, 2], "b0": TABLE[:, 0], "b1": TABLE[:, 1]}), path)
    yield attempt(load, path)
    pa.parquet.write_table(pa.table({"a": TABLE[:, 2]}), path)
    yield attempt(load, path)


@tries(at("vae_jax/data/_images.py")("resize them, or give fewer pictures"))
def pictures_that_would_take_too_much_memory(folder, patch):
    images = RNG.integers(0, 256, (120, 40, 40), np.uint8)
    patch.setenv(memory.VARIABLE, str(200_000 / 2**30))
    draw(folder / "a", images)
    yield attempt(load, folder / "a")
    draw(folder / "b", images[:, :20, :20])
    yield attempt(load, folder / "b")
    draw(folder / "c", images[:9])
    yield attempt(load, folder / "c")


@tries(at("vae_jax/data/_files.py", "_series")("give fewer or shorter series, of windows a longer"))
def windows_of_too_much_memory(folder, patch):
    path = saved(folder / "a.npy", RNG.normal(size=(600, 2)))
    patch.setenv(memory.VARIABLE, str(400_000 / 2**30))
    yield attempt(load, path, window=60, hop=1)
    yield attempt(load, path, window=60, hop=60)
    yield attempt(load, saved(folder / "b.npy", RNG.normal(size=(200, 2))), window=60, hop=40)


@tries(at("vae_jax/data/_files.py", "_refuse_misspelled")("rename it"))
def a_name_that_is_no_text(folder, patch):
    path = folder / "a" / os.fsdecode(b"\xff")
    draw(path)
    yield attempt(load, folder / "a")
    path.rename(folder / "a" / "b")
    yield attempt(load, folder / "a")


# --- Values

own = at(DATA + "_values.py", "encode_conditions")


@tries(own("fill them in or rescale them"))
def conditions_that_are_not_finite(folder, patch):
    path, condition = folder / "a.npz", TABLE.copy()
    condition[3] = [np.nan, 1, 1e300]
    yield attempt(load, archive(path, x=TABLE, condition=condition))
    condition[3] = [0.0, 1, 1e-5]
    yield attempt(load, archive(path, x=TABLE, condition=condition))


@tries(at(DATA + "_values.py", "surveyed")("beyond float32: rescale them"))
def values_beyond_float32(folder, patch):
    path = saved(folder / "a.npy", 1e200 * TABLE)
    yield attempt(load, path)
    yield attempt(load, saved(path, np.load(path) / 1e200))


own = at(DATA + "_values.py", "_with_extremes")


@tries(own("remove those rows or fill them in"))
def missing_values_of_an_array(folder, patch):
    path, x = folder / "a.npy", TABLE.copy()
    x[3, 1] = np.nan
    yield attempt(load, saved(path, x))
    yield attempt(load, saved(path, np.delete(x, 3, axis=0)))
    yield attempt(load, saved(path, np.nan_to_num(x)))


@tries(own("fill them in, or leave out their rows with missing_values="))
def missing_values_of_a_table(folder, patch):
    columns = {"a": [*TABLE[:, 0]], "b": [*TABLE[:, 1]], "split": ["train"] * 20 + ["test"] * 10}
    columns["a"][3], columns["b"][4], columns["a"][25] = "", "inf", "-inf"
    path = csv(folder / "a.csv", rows(columns))
    message = yield attempt(load, path, kinds="numeric")
    marks = re.search(r"missing_values=(\S+)", message)[1]
    yield attempt(load, path, missing_values=marks.split(","), kinds="numeric")
    filled = {**columns, "a": [0 if v in ("", "-inf") else v for v in columns["a"]]}
    filled["b"] = [0 if v == "inf" else v for v in columns["b"]]
    yield attempt(load, csv(path, rows(filled)))


own = at(DATA + "_values.py", "stored_range")


@tries(own("leave out the columns that hardly vary in train, or take scaling=unit"))
def columns_that_hardly_vary_in_train(folder, patch):
    train, test = np.array([[0.0, 1], [1e-30, 2], [0, 3]]), np.array([[1e30, 1], [0, 2]])
    path = archive(folder / "a.npz", train=train, test=test)
    message = yield attempt(load, path)
    yield attempt(load, path, **flags_of(message))
    yield attempt(load, archive(path, train=train[:, 1:], test=test[:, 1:]))


@tries(own("subtract what the values have in common and rescale what is left"))
def values_that_are_one_in_float32(folder, patch):
    path = saved(folder / "a.npy", 1e9 + TABLE.reshape(30, 3, 1, 1) / 1e4)
    yield attempt(load, path, scaling="none")
    x = np.load(path)
    yield attempt(load, saved(path, (x - x.min()) * 1e4), scaling="none")


# --- Sequences

own = at(DATA + "_sequences.py", "read_text")


@tries(own("is not UTF-8: convert it, for instance with iconv"))
def a_text_of_another_encoding(folder, patch):
    path = folder / "a.txt"
    path.write_bytes("één\ntwéé\ndrie\n".encode("latin-1"))
    yield attempt(load, path)
    path.write_bytes(path.read_bytes().decode("latin-1").encode())
    yield attempt(load, path)


@tries(own("break it into sentences, say"))
def a_line_that_is_too_long(folder, patch):
    path = csv(folder / "a.txt", "one\ntwo\n" + "A word. " * 600)
    yield attempt(load, path)
    yield attempt(load, csv(path, path.read_text().replace(". ", ".\n")))


own = at(DATA + "_sequences.py", "spans_of")


@tries(own("holds nothing but NaN: leave it out"))
def a_series_of_nothing(folder, patch):
    path, x = folder / "a.npz", TABLE.copy()
    x[4] = np.nan
    message = yield attempt(load, archive(path, series=x))
    empty = int(re.search(r"series (\d+) holds", message)[1])
    yield attempt(load, archive(path, series=np.delete(x, empty, axis=0)))


@tries(at(DATA + "_sequences.py", "gaps")("holds nothing but missing values: leave it out"))
def a_channel_of_nothing(folder, patch):
    x = TABLE.copy()
    x[:, 1] = np.nan
    message = yield attempt(load, saved(folder / "a.npy", x), window=3)
    empty = int(re.search(r"channel (\d+)", message)[1])
    yield attempt(load, saved(folder / "a.npy", np.delete(x, empty, axis=1)), window=3)


own = at(DATA + "_times.py", "check")


@tries(own("fill it in, or leave the rows out"))
def a_row_without_a_time(folder, patch):
    columns = {"time": [*range(30)], "a": TABLE[:, 0]}
    holed = {**columns, "time": ["" if n == 4 else n for n in range(30)]}
    path = csv(folder / "a.csv", rows(holed))
    message = yield attempt(load, path, window=3)
    assert "row 5" in message
    csv(path, rows(columns))
    yield attempt(load, path, window=3)
    csv(path, rows({name: np.delete(values, 4) for name, values in columns.items()}))
    yield attempt(load, path, window=3)


@tries(own("sort the rows by it, and put each series into a file of its own if there are several"))
def rows_that_go_back_in_time(folder, patch):
    times = np.array([*range(15), *range(15)])
    path = csv(folder / "a.csv", rows({"time": times, "a": TABLE[:, 0]}))
    message = yield attempt(load, path, window=3)
    order = np.argsort(times, kind="stable")
    csv(path, rows({"time": times[order], "a": TABLE[order, 0]}))
    yield attempt(load, path, window=3)
    assert "goes back in time in 1 of 30" in message
    for name, part in {"north": slice(15), "south": slice(15, 30)}.items():
        csv(folder / "each" / f"{name}.csv", rows({"time": times[part], "a": TABLE[part, 0]}))
    yield attempt(load, folder / "each", window=3)


own = at(DATA + "_files.py", "_several")


def two_series(folder):
    """A folder of two tables of the columns time and a."""
    for name, part in {"north": slice(15), "south": slice(15, 30)}.items():
        csv(folder / f"{name}.csv", rows({"time": range(15), "a": TABLE[part, 0]}))
    return folder


@tries(own("give both the same, in one order"))
def series_of_other_columns(folder, patch):
    other = csv(two_series(folder) / "west.csv", rows({"b": TABLE[:, 0], "time": range(30)}))
    yield attempt(load, folder, window=3)
    csv(other, rows({"time": range(30), "a": TABLE[:, 0]}))
    yield attempt(load, folder, window=3)


@tries(own("is no table of one series, or says splits: leave it out"))
def a_series_that_says_splits(folder, patch):
    words = ["train"] * 20 + ["test"] * 10
    columns = {"time": range(30), "a": TABLE[:, 0], "split": words}
    other = csv(two_series(folder) / "west.csv", rows(columns))
    yield attempt(load, folder, window=3)
    other.unlink()
    yield attempt(load, folder, window=3)


own = at(DATA + "_sequences.py", "divide_in_time")


@tries(own("give window="))
def windows_that_are_too_long(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    message = yield attempt(load, path, window=11)
    yield attempt(load, path, window=int(flags_of(message)["window"]))


@tries(own("leave some of the … windows"))
def windows_for_validation_that_leave_none(folder, patch):
    path = saved(folder / "a.npy", TABLE)
    message = yield attempt(load, path, window=3, num_valid=9)
    most = int(re.search(r"leave some of the (\d+) windows", message)[1])
    yield attempt(load, path, window=3, num_valid=most - 1)


# --- Tables

own = at(DATA + "_tables.py", "_by_split")


@tries(own("move it away, or give the path of one file"))
def a_table_beside_those_of_splits(folder, patch):
    for name in ("train", "test", "notes"):
        csv(folder / "tables" / f"{name}.csv")
    message = yield attempt(load, folder / "tables")
    yield attempt(load, folder / "tables" / "train.csv")
    shutil.move(message.partition(": ")[0], folder / "away.csv")
    yield attempt(load, folder / "tables")


@tries(own("give the path of one file, or call them train, valid and test"))
def tables_whose_names_say_no_split(folder, patch):
    for name in ("first", "second", "third"):
        csv(folder / f"{name}.csv")
    message = yield attempt(load, folder)
    yield attempt(load, folder / "first.csv")
    names = re.split(", | and ", re.search(r"call them (.*)$", message)[1])
    for before, after in zip(("first", "second", "third"), names, strict=True):
        (folder / f"{before}.csv").rename(folder / f"{after}.csv")
    yield attempt(load, folder)


own = at(DATA + "_tables.py", "_joined")


@tries(own("give both the same columns"))
def splits_of_other_columns(folder, patch):
    csv(folder / "train.csv")
    csv(folder / "test.csv", "a\n1\n2\n3\n")
    message = yield attempt(load, folder)
    assert re.search(r"train\.csv: has other columns than \S+test\.csv \('b' in", message), message
    csv(folder / "test.csv")
    yield attempt(load, folder)


@tries(own("write them alike"))
def shards_of_other_values(folder, patch):
    for i, kind in enumerate((pa.int64(), pa.float64(), pa.string())):
        column = pa.array([1, 2, 3 + i]).cast(kind)
        table = pa.table({"a": column, "b": [1.5, 2.5, 3.5]})
        pa.parquet.write_table(table, folder / f"part-{i}.parquet")
    message = yield attempt(load, folder)
    path = message.partition(": ")[0]
    assert path.endswith("part-2.parquet")
    table = pa.parquet.read_table(path)
    pa.parquet.write_table(table.set_column(0, "a", table["a"].cast(pa.int64())), path)
    yield attempt(load, folder)


own = at(DATA + "_tables.py", "_complete_rows")


@tries(own(", or drop that column"), own("and no row is left: fill them in"))
def a_table_without_a_complete_row(folder, patch):
    columns = {"a": TABLE[:, 0], "b": [""] * 29 + [1.5], "c": [*TABLE[:29, 2], ""]}
    path = csv(folder / "a.csv", rows(columns))
    message = yield attempt(load, path, missing_values=["NA"], kinds="numeric")
    worst = re.search(r"most in column '(\w)'", message)[1]
    kept = {name: column for name, column in columns.items() if name != worst}
    yield attempt(load, csv(path, rows(kept)), missing_values=["NA"], kinds="numeric")
    yield attempt(
        load, csv(path, rows({**columns, "b": TABLE[:, 1]})), missing_values=["NA"], kinds="numeric"
    )


@tries(own("and no row is left: fill them in"))
def columns_that_leave_no_row_each(folder, patch):
    columns = {"a": TABLE[:, 0], "b": ["", *TABLE[:29, 1]], "c": [1.5, *[""] * 29]}
    columns["d"] = columns["c"]
    path = csv(folder / "a.csv", rows(columns))
    message = yield attempt(load, path, missing_values=["NA"], kinds="numeric")
    assert "drop that column" not in message
    filled = dict.fromkeys("bcd", TABLE[:, 1])
    yield attempt(
        load, csv(path, rows({**columns, **filled})), missing_values=["NA"], kinds="numeric"
    )


@tries(at(DATA + "_tables.py", "_label_column")("rename or drop all but one of them"))
def several_columns_of_labels(folder, patch):
    columns = {"a": TABLE[:, 0], "label": [0, 1] * 15, "class": [1, 2] * 15}
    path = csv(folder / "a.csv", rows(columns))
    yield attempt(load, path)
    yield attempt(load, csv(path, rows(columns).replace("class", "color")))
    columns.pop("class")
    yield attempt(load, csv(path, rows(columns)))


own = at(DATA + "_cells.py", "refuse")


@tries(own("leave it out with …"), own("correct it"))
def a_cell_that_is_no_number(folder, patch):
    columns = {"a": TABLE[:, 0], "b": [*TABLE[:, 1]]}
    columns["b"][4] = "?"
    path = csv(folder / "a.csv", rows(columns))
    message = yield attempt(load, path)
    marks = shlex.split(re.search(r"missing_values=(.*)$", message)[1])[0]
    yield attempt(load, path, missing_values=marks.split(","))
    row = int(re.search(r"in row (\d+)", message)[1])
    columns["b"][row - 1] = 0.5
    yield attempt(load, csv(path, rows(columns)))
