"""Laws of data: what is loaded is what was saved, or a line says why not, of any file."""

import csv
import hashlib
import io
import pathlib
import string
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from properties import arrays, close, law, numbers, uncovered

from vae_jax import data, schema, sounds
from vae_jax.data import Dataset, Rows, Split
from vae_jax.errors import DataError, UsageError
from vae_jax.labels import is_blank

FLOAT32_MAX = float(np.finfo(np.float32).max)
NAMES = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="/."),
    min_size=1,
    max_size=8,
).filter(lambda name: not is_blank(name))
NUM_ROWS = st.sampled_from([0, 1, 2, 3, 4, 9, 10, 23])
STORED = st.sampled_from([(1,), (3,), (2, 3), (2, 2, 1), (2, 2, 3)])
DTYPES = st.sampled_from(
    ["f4", "f8", "f2", ">f4", ">f8", "u1", "i1", "u2", ">i2", "i4", "i8", "u8", "?"]
)
PALETTES = {
    "ordinary": st.floats(-9, 9),
    "unit": st.floats(0, 1),
    "bytes": st.integers(0, 255),
    "half bytes": st.floats(0, 255),
    "binary": st.sampled_from([0, 1]),
    "black and white": st.sampled_from([0, 255]),
    "constant": st.just(7),
    "small and huge": st.sampled_from([0, 1e-30, -1e-3, 1, 1e4, -2e30, 3e38, FLOAT32_MAX]),
    "beyond float32": st.sampled_from([0, 1, 1e39, -1e300]),
    "broken": st.sampled_from([0, 1, 2, 3, 4, 5, 6, np.nan, np.inf, -np.inf]),
}


@st.composite
def raw(draw, stored=STORED, num_rows=NUM_ROWS, dtypes=DTYPES):
    """An array [N, *stored] as someone may have saved it."""
    shape = (draw(num_rows), *draw(stored))
    dtype = np.dtype(draw(dtypes))
    values = draw(arrays(PALETTES[draw(st.sampled_from([*PALETTES]))], shape, np.float64))
    with np.errstate(over="ignore"):
        if dtype.kind in "iu":
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            # both ends as numbers that a float64 can hold
            values = np.clip(np.nan_to_num(values), low / 2, high / 2)
        return (values != 0) if dtype.kind == "b" else values.astype(dtype)


def save(folder, name, x, kind="npz", **more):
    path = pathlib.Path(folder, f"{name}.{kind}")
    if kind == "npz":
        np.savez(path, x=x, **more)
    else:
        np.save(path, x)
    return path


def splits_of(dataset):
    return dataset.train, dataset.valid, dataset.test


def whole(dataset, field="x"):
    """A field of all rows, train, valid and test one after another."""
    return np.concatenate([np.asarray(getattr(split, field)) for split in splits_of(dataset)])


def message_of(error) -> str:
    """What the user is told: one line, of nothing that steers a terminal."""
    text = str(error.value if isinstance(error, pytest.ExceptionInfo) else error)
    assert text.isprintable(), text
    return text


def load(path, **options) -> Dataset | str:
    """The dataset, or what the user is told of why there is none."""
    try:
        return data.load(str(path), **options)
    except (DataError, UsageError) as error:
        return message_of(error)


def is_hopeless(x) -> bool:
    """Whether x [N, …] cannot be learnt from: the reasons for which a file is to be refused."""
    values = np.float64(x)
    return (
        len(x) < 3
        or not np.isfinite(values).all()
        or np.ptp(values) == 0
        or bool(np.abs(values).max() > FLOAT32_MAX)
    )


def expected_values(x, train, scaling):
    """(decoded values of all rows [N, *shape] in float64, levels or None), as `load` says.

    Args:
        x: as saved, [N, *stored].
        train: numbers of the rows to learn from, [n].
    """
    is_image, is_asked = x.ndim > 2, scaling == "unit"
    values = np.float64(x[..., None] if x.ndim == 3 else x)
    low, high = values.min(), values.max()
    tops = (1,) if scaling == "none" and not is_image else (1, 255)
    if low == 0 and high in tops and np.isin(values, (0, high)).all():
        return values / high, 2
    if is_image and x.dtype == np.uint8:
        return values / 255, 256
    is_whole, is_byte = np.all(values == np.floor(values)), 128 <= high <= 255
    if is_image and scaling != "none" and low >= 0 and is_byte:
        return values / 255, 256 if is_whole else None
    if is_image and scaling == "auto" and low >= 0 and high < 2**16 and is_whole:
        # of a picture that fills no byte its own range, of a deeper one that of its sensor
        bits = next(bits for bits in (7, 10, 12, 14, 16) if high < 2**bits)
        most = high if bits == 7 else 2**bits - 1
        return values / most, int(most) + 1
    own = values[train]
    is_scaled = x.dtype.kind == "f" and np.abs(own).max() <= 20
    if scaling == "none" or (scaling == "auto" and is_image and is_scaled):
        return values, None
    if scaling == "auto" and is_image:
        scaling = "unit"
    if scaling == "auto":
        offset, scale = own.mean(axis=0), own.std(axis=0)
        scale = np.where(np.ptp(own, axis=0) == 0, 0, scale)
    else:
        axes = None if is_image else 0
        offset, scale = own.min(axis=axes), np.ptp(own, axis=axes)
        if is_image and is_asked and own.min() >= 0 and own.max() <= 1:
            return values, None
    with np.errstate(over="ignore"):
        moved = (values - offset) / np.where(scale == 0, 1, scale)
    return (np.clip(moved, 0, 1) if scaling == "unit" else moved), None


# --- Files of arrays


@law(
    "load",
    "Dataset",
    "Split",
    examples=150,
    name=NAMES,
    x=raw(),
    scaling=st.sampled_from(["auto", "unit", "none"]),
    kind=st.sampled_from(["npy", "npz"]),
)
def test_an_array_is_loaded_as_it_was_saved_or_refused_in_a_line(name, x, scaling, kind):
    with tempfile.TemporaryDirectory() as folder:
        marks = {"y": np.arange(len(x)), "condition": np.arange(len(x)) / 8}
        path = save(folder, name, x, kind, **(marks if kind == "npz" else {}))
        # which row is where does not depend on what the rows hold
        order, held = np.random.default_rng(0).permutation(len(x)), max(1, len(x) // 10)
        test, valid, train = (np.sort(part) for part in np.split(order, [held, 2 * held]))
        dataset = load(path, scaling=scaling)
        if isinstance(dataset, str):
            assert dataset.startswith(f"{path}: ")
        if is_hopeless(x):
            assert isinstance(dataset, str)
            return
        expected, num_levels = expected_values(x, train, scaling)
        with np.errstate(over="ignore"):
            stored = np.float32(expected)
        if not np.isfinite(stored).all() or np.ptp(stored) == 0:
            assert "float32" in dataset
            return
        assert isinstance(dataset, Dataset)
        assert dataset.name == name
        assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert all("\n" not in note for note in dataset.notes)
        assert not dataset.streamed
        sizes = [len(split) for split in splits_of(dataset)]
        assert sizes == [len(train), len(valid), len(test)]
        decoded = dataset.decode(whole(dataset))
        assert decoded.dtype == np.float32
        assert decoded.shape == (len(x), *dataset.shape)
        assert np.isfinite(decoded).all()
        if dataset.num_levels is None:
            assert (decoded.min(), decoded.max()) == (dataset.low, dataset.high)
        else:
            assert (dataset.low, dataset.high) == (0, 1)
        rows = np.concatenate([train, valid, test])
        if kind == "npz":
            np.testing.assert_array_equal(whole(dataset, "labels"), rows)
            np.testing.assert_array_equal(whole(dataset, "condition")[:, 0], np.float32(rows) / 8)
        assert dataset.num_levels == num_levels
        # what is standardized is rounded relative to what it was before
        of_scale = 1e-5 * (1 + np.abs(expected[rows]))
        close(decoded, expected[rows], of_scale)


@law("load", examples=20, x=raw(), num_valid=st.integers(-2, 30), name=NAMES)
def test_the_same_rows_from_memory_from_disk_and_from_an_archive(x, num_valid, name):
    with tempfile.TemporaryDirectory() as folder:
        paths = [save(folder, name, x, "npy"), save(folder, name, x), save(folder, "b", x, "npy")]
        loaded = []
        for path, loading in zip((*paths, paths[0]), ("memory",) * 3 + ("stream",), strict=True):
            found = load(path, loading=loading, num_valid=num_valid)
            loaded.append(found.replace(str(path), "") if isinstance(found, str) else found)
        first, *others = loaded
        if isinstance(first, str):
            assert {*loaded} == {first}
            return
        assert len(first.valid) == num_valid
        for other in others:
            for a, b in zip(splits_of(first), splits_of(other), strict=True):
                np.testing.assert_array_equal(np.asarray(a.x), np.asarray(b.x))
            assert (other.low, other.high, other.num_levels) == (
                first.low,
                first.high,
                first.num_levels,
            )
        assert others[1].sha256 == others[2].sha256 == first.sha256
        assert others[2].streamed


@law(
    "load",
    examples=20,
    x=raw(num_rows=st.just(12)),
    labels=st.lists(NAMES, min_size=12, max_size=12),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    is_own=st.booleans(),
)
def test_rows_keep_their_names_and_splits_of_ones_own_their_rows(x, labels, sizes, is_own):
    assume(not is_hopeless(x) and x.shape[1] not in (1, 3))
    names, ends = np.array(labels), np.cumsum(sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.npz")
        if is_own:
            parts = zip(("train", "valid", "test"), np.split(np.arange(12), ends), strict=True)
            held = {}
            for part, rows in parts:
                held |= {f"x_{part}": x[rows], f"y_{part}": names[rows]}
            np.savez(path, **held)
        else:
            np.savez(path, x=x, labels=names, c=np.arange(12.0))
        dataset = load(path, scaling="none")
    if isinstance(dataset, str) and "must be on one scale in all splits" in dataset:
        lowest, reach = zip(*((p.min(), np.abs(p).max()) for p in np.split(x, ends)), strict=True)
        assert is_own
        assert min(lowest) < 0 <= max(lowest) or max(reach) > 2 * min(reach)
        return
    if isinstance(dataset, str):
        assert "in float32" in dataset
        assert np.ptp(np.float32(expected_values(x, np.arange(12), "none")[0])) == 0
        return
    assert dataset.classes == tuple(sorted(set(labels)))
    if is_own:
        order = np.arange(12)
        assert [len(split) for split in splits_of(dataset)] == [*sizes, 12 - ends[-1]]
    else:
        order = whole(dataset, "condition")[:, 0].astype(int)
        np.testing.assert_array_equal(np.sort(order), np.arange(12))
    assert [dataset.classes[code] for code in whole(dataset, "labels")] == [
        labels[row] for row in order
    ]
    expected, _ = expected_values(x, order, "none")
    close(dataset.decode(whole(dataset)), expected[order], 1e-6 * np.abs(expected[order]) + 1e-37)


@law(
    "load",
    examples=40,
    condition=st.one_of(raw(num_rows=st.sampled_from([5, 6])), st.just(np.float32(1))),
    x=st.sampled_from([np.arange(15.0).reshape(5, 3), np.float32(3), np.zeros((5, 0))]),
)
def test_conditions_are_finite_numbers_of_each_row_or_refused(condition, x):
    with tempfile.TemporaryDirectory() as folder:
        path = save(folder, "a", x, condition=condition)
        dataset = load(path)
    fits = condition.ndim == 2 and len(condition) == 5 and x.shape == (5, 3)
    if not fits or not np.all(np.abs(np.float64(condition)) <= FLOAT32_MAX):
        assert isinstance(dataset, str)
        assert dataset.startswith(f"{path}: ")
        return
    given = whole(dataset, "condition")
    assert given.dtype == np.float32
    assert np.isfinite(given).all()
    np.testing.assert_array_equal(np.sort(given, axis=0), np.sort(np.float32(condition), axis=0))


# --- Tables


@law(
    "load",
    examples=60,
    columns=st.lists(NAMES, min_size=1, max_size=4),
    x=arrays(st.floats(-1e30, 1e30), (7, 4), np.float64),
    labels=st.one_of(
        st.none(), st.lists(NAMES.map(lambda name: f"_{name}"), min_size=7, max_size=7)
    ),
    suffix=st.sampled_from(["csv", "parquet"]),
)
def test_a_table_keeps_every_column_and_row(columns, x, labels, suffix):
    assume(not {name.lower() for name in columns} & {"label", "y", "target", "class"})
    assume(any(not is_number(name) for name in columns))
    x = x[:, : len(columns)]
    assume(np.ptp(np.float32(x)) > 0 and not np.isin(x, (0, 1, 255)).all())
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"a.{suffix}")
        names = [*columns, *(["Label"] if labels else [])]
        if suffix == "csv":
            text = io.StringIO()
            writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow(names)
            for i, row in enumerate(x.tolist()):
                writer.writerow([*row, *([labels[i]] if labels else [])])
            path.write_text(text.getvalue(), encoding="utf-8")
        else:
            held = [pa.array(column) for column in x.T]
            pa.parquet.write_table(
                pa.Table.from_arrays([*held, *([pa.array(labels)] if labels else [])], names), path
            )
        dataset = data.load(str(path), scaling="none", num_valid=0)
    assert dataset.shape == (len(columns),)
    order = np.random.default_rng(0).permutation(7)
    rows = np.array([*np.sort(order[1:]), order[0]])
    np.testing.assert_array_equal(whole(dataset), np.float32(x)[rows])
    if labels:
        found = [dataset.classes[code] for code in whole(dataset, "labels")]
        assert found == [labels[row] for row in rows]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- Files that hold anything


def valid_files(folder: pathlib.Path) -> dict[str, bytes]:
    """A small good file of each kind, by its ending."""
    x = np.random.default_rng(0).random((5, 2)).astype(np.float32)
    np.save(folder / "a.npy", x)
    np.savez(folder / "a.npz", x=x, y=np.arange(5))
    np.savez_compressed(folder / "b.npz", x=x)
    table = pa.table(
        {"a": x[:, 0], "label": ["é", "b", "c", "d", "e"], "ok": [True, None] * 2 + [False]}
    )
    pa.parquet.write_table(table, folder / "a.parquet")
    found = {f"{path.stem}{path.suffix}": path.read_bytes() for path in sorted(folder.iterdir())}
    found["a.csv"] = 'a,"b, c",label\n1,2,é\n3,4.5,b\n-1e3,nan,c\n'.encode()
    found["a.txt"] = "one\ntwo ü\r\nthree\n\n".encode()
    return found


with tempfile.TemporaryDirectory() as made:
    FILES = valid_files(pathlib.Path(made))


@st.composite
def damaged(draw, content):
    """The same with bytes set, cut off or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        how = draw(st.sampled_from(["set", "flip", "cut", "drop", "put"]))
        if how == "set" and content:
            content[place] = draw(st.integers(0, 255))
        elif how == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[place:]
        elif how == "drop":
            del content[place : place + draw(st.integers(1, 9))]
        elif how == "put":
            content[place:place] = draw(st.binary(max_size=9))
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
@law("load", examples=100, drawn=st.data())
def test_any_bytes_are_data_or_refused_in_a_line(name, drawn):
    content = drawn.draw(
        st.one_of(damaged(FILES[name]), damaged(FILES[name]), st.binary(max_size=99))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        path.write_bytes(content)
        dataset = load(path)
        if isinstance(dataset, str):
            assert dataset.startswith(str(path))
            return
        for split in splits_of(dataset):
            assert len(dataset.decode(jnp.asarray(np.asarray(split.x)))) == len(split)


@pytest.mark.parametrize("method", [8, 12, 14, 93, 99])
def test_an_archive_of_any_compression_is_data_or_refused_in_a_line(tmp_path, method):
    # the method stands in the header of the member and in the directory at the end
    content = bytearray(FILES["b.npz"])
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = bytes(content).index(mark) + offset
        content[place : place + 2] = method.to_bytes(2, "little")
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    if method == 8:
        assert len(data.load(str(path)).train) == 3
        return
    with pytest.raises(DataError) as error:
        data.load(str(path))
    assert message_of(error).startswith(str(path))


# --- Text


LINES = st.lists(
    st.text(
        st.one_of(
            st.sampled_from("abé€😀 \t\x00"),
            st.characters(exclude_categories=("Cs",), exclude_characters="\n\r"),
        ),
        max_size=12,
    ),
    max_size=8,
)


@law("load", "strings", examples=60, lines=LINES, end=st.sampled_from(["\n", "\r\n"]), name=NAMES)
def test_a_text_is_told_again_as_it_was(lines, end, name):
    told = [line for line in lines if line]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"{name}.txt")
        path.write_bytes(end.join(lines).encode())
        # a mark of byte order at the very start is none of the text
        assume(not (lines and lines[0].startswith("\ufeff")))
        if len(told) < 3:
            with pytest.raises(DataError) as error:
                data.load(str(path), num_valid=0)
            assert message_of(error).startswith(str(path))
            return
        dataset = data.load(str(path), num_valid=0)
    assert dataset.alphabet == tuple(sorted(set("".join(told))))
    order = np.random.default_rng(0).permutation(len(told))
    expected = [told[row] for row in (*np.sort(order[1:]), order[0])]
    # in NumPy what `decode` says, so that no shape compiles
    symbols = whole(dataset)
    is_past = np.cumsum(symbols == 0, axis=1) > 1
    decoded = np.where(is_past, np.nan, symbols / np.float32(dataset.num_levels - 1))
    assert data.strings(decoded, dataset.alphabet) == expected
    assert data.strings(np.nan_to_num(decoded), dataset.alphabet) == expected
    assert symbols.shape[1] == max(map(len, told))


@law("strings", examples=5, symbols=arrays(st.integers(0, 3), (4, 5), np.uint8))
def test_decoded_text_has_levels_and_is_missing_after_its_end(symbols):
    from vae_jax.data._sequences import decode_text

    # zeros from the end on
    symbols = symbols * np.cumprod(symbols > 0, axis=1, dtype=np.uint8)
    decoded = np.asarray(decode_text(symbols, num_levels=4))
    assert decoded.dtype == np.float32
    for row, values in zip(symbols, decoded, strict=True):
        length = int(np.argmax(np.append(row, 0) == 0))
        np.testing.assert_allclose(values[: length + 1], row[: length + 1] / 3, rtol=1e-6)
        assert np.isnan(values[length + 1 :]).all()
    lengths = [len(line) for line in data.strings(decoded, "abc")]
    assert lengths == [int(np.argmax(np.append(row, 0) == 0)) for row in symbols]
    assert data.strings(decoded[:0], "abc") == []
    assert data.strings(decoded[:, :0], "abc") == [""] * 4


# --- Series and windows


@law(
    "load",
    examples=40,
    lengths=st.lists(st.integers(1, 5), min_size=0, max_size=9),
    channels=st.sampled_from([None, 1, 2]),
    values=arrays(numbers(100.0), (9, 5, 2), np.float64),
    hole=st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 8), st.integers(0, 4))),
)
def test_series_of_any_lengths_are_loaded_as_they_were_saved(lengths, channels, values, hole):
    x = values[: len(lengths), :, : channels or 1]
    x = np.where(np.arange(5)[None, :, None] < np.array(lengths, int).reshape(-1, 1, 1), x, np.nan)
    if hole is not None and hole[0] < len(x) and hole[1] < lengths[hole[0]] - 1:
        x[hole] = np.nan
    known = x[~np.isnan(x)]
    stored = x[..., 0] if channels is None else x
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.npz")
        np.savez(path, series=stored, y=np.arange(len(x)))
        dataset = load(path, scaling="none")
    if len(x) < 3 or np.ptp(np.float32(known)) == 0:
        assert isinstance(dataset, str)
        assert dataset.startswith(str(path))
        return
    assert dataset.shape == (5, channels or 1)
    assert dataset.kind == "sequence"
    decoded, rows = dataset.decode(whole(dataset)), whole(dataset, "labels")
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(x)))
    np.testing.assert_array_equal(
        decoded, np.float32(x[rows]) / (known.max() if dataset.num_levels else 1)
    )
    assert dataset.has_missing == bool(np.isnan(decoded).any())


@law(
    "load",
    examples=60,
    num_rows=st.integers(1, 40),
    window=st.integers(1, 9),
    hop=st.one_of(st.none(), st.integers(1, 12)),
    num_valid=st.one_of(st.none(), st.integers(-3, 12)),
)
def test_windows_of_two_splits_share_no_row_and_follow_in_time(num_rows, window, hop, num_valid):
    x = np.arange(num_rows, dtype=np.float64)[:, None] + 0.5
    with tempfile.TemporaryDirectory() as folder:
        path = save(folder, "a", x)
        dataset = load(path, scaling="none", window=window, hop=hop, num_valid=num_valid)
    room = num_rows // window
    wanted = max(1, room // 10) if num_valid is None else num_valid
    if room < 3 or wanted < 0 or wanted + max(1, room // 10) >= room:
        assert isinstance(dataset, str)
        return
    last = -1
    for split in splits_of(dataset):
        starts = np.asarray(split.x)[:, 0, 0] - 0.5
        np.testing.assert_array_equal(
            np.asarray(split.x)[..., 0] - 0.5, starts[:, None] + np.arange(window)
        )
        np.testing.assert_array_equal(np.diff(starts), hop or window)
        if len(starts):
            assert starts[0] > last
            last = starts[-1] + window - 1
    assert len(dataset.train) > 0
    assert len(dataset.test) > 0
    assert last == num_rows - 1
    if num_valid == 0:
        assert len(dataset.valid) == 0


@law(
    "Dataset.wave",
    examples=25,
    samples=st.lists(
        st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=40), min_size=3, max_size=5
    ),
    frame=st.integers(1, 16),
    scaling=st.sampled_from(["auto", "none"]),
)
def test_recordings_become_the_samples_that_they_were(samples, frame, scaling):
    with tempfile.TemporaryDirectory() as folder:
        for number, own in enumerate(samples):
            content = sounds.encode([np.array(own) / 2**15], 4)
            pathlib.Path(folder, f"{number}.wav").write_bytes(content)
        dataset = load(pathlib.Path(folder), sound="raw", frame_length=frame, scaling=scaling)
    if isinstance(dataset, str):
        assert "there is nothing to learn from it" in dataset
        return
    found = []
    for split in splits_of(dataset):
        for x in np.asarray(split.x):
            found.append(np.rint(dataset.wave(x) * 2**15).astype(int))
    # the last frame is filled, and a second of silence lasts four samples
    wanted = {(*own, 0) for own in samples}
    assert {(*own[: len(other)].tolist(),) for own in found for other in wanted} >= wanted


# --- Rows and splits in memory and in files


INDICES = st.lists(st.integers(-6, 5), max_size=8).map(lambda rows: np.array(rows, np.int64))
SLICES = st.builds(
    slice,
    st.one_of(st.none(), st.integers(-8, 8)),
    st.one_of(st.none(), st.integers(-8, 8)),
    st.one_of(st.none(), st.sampled_from([-2, -1, 1, 3])),
)


@law(
    "Rows",
    "Rows.shape",
    "Rows.dtype",
    "Rows.nbytes",
    "Rows.convert",
    "Rows.map",
    "Rows.select",
    "Rows.in_memory",
    "Split",
    examples=60,
    x=raw(num_rows=st.just(9)),
    kept=st.lists(st.integers(0, 8), min_size=6, max_size=6, unique=True).map(sorted),
    again=st.lists(st.integers(0, 5), max_size=6, unique=True).map(sorted),
    asked=st.one_of(INDICES, SLICES),
    on_disk=st.booleans(),
)
def test_rows_are_those_of_the_array_wherever_it_lies(x, kept, again, asked, on_disk):
    from vae_jax.data._npy import FileRows

    kept, again = np.array(kept), np.array(again, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        source = FileRows(save(folder, "a", x, "npy")) if on_disk else x
        rows = Rows(source)
        np.testing.assert_array_equal(np.asarray(rows), x)
        some = rows.select(kept)
        assert (len(some), some.shape, some.dtype) == (6, (6, *x.shape[1:]), x.dtype)
        assert some.nbytes == x[kept].nbytes
        np.testing.assert_array_equal(some[asked], x[kept][asked])
        np.testing.assert_array_equal(some.in_memory(), x[kept])
        np.testing.assert_array_equal(some.select(again).in_memory(), x[kept][again])

        def is_one(values):
            return values[..., None] == 1

        told = some.map(is_one)
        assert (told.dtype, told.shape) == (bool, (6, *x.shape[1:], 1))
        np.testing.assert_array_equal(told[asked], is_one(x[kept][asked]))
        np.testing.assert_array_equal(told.convert(x[:2]), is_one(x[:2]))
        np.testing.assert_array_equal(np.asarray(told.select(again)), is_one(x[kept][again]))
        # a split of rows is one of the array
        labels = np.arange(9)
        lazy, eager = Split(rows, labels)[kept], Split(x, labels)[kept]
        assert len(lazy) == len(eager) == 6
        np.testing.assert_array_equal(np.asarray(lazy.x), eager.x)
        np.testing.assert_array_equal(lazy.labels, eager.labels)
        assert not eager.x.flags.writeable
        # a copy is one: what is done to it is not done to the source
        copied = np.array(rows)
        assert not np.shares_memory(copied, x)
        assert copied.flags.writeable


# --- Names, requirements, binarization


@law("names", "load", examples=30, name=NAMES)
def test_a_name_is_a_dataset_or_refused_in_a_line(name):
    assert data.names() == sorted(data.names())
    assert "digits" in data.names()
    with tempfile.TemporaryDirectory() as folder:
        for path in (pathlib.Path(folder, name), pathlib.Path(folder, f"{name}.npy")):
            with pytest.raises(UsageError) as error:
                data.load(str(path))
            assert message_of(error)
        # a folder without images, and a file of no known ending
        pathlib.Path(folder, name).mkdir()
        pathlib.Path(folder, f"{name}.bin").write_bytes(b"1")
        for path in (pathlib.Path(folder, name), pathlib.Path(folder, f"{name}.bin")):
            with pytest.raises(DataError) as error:
                data.load(str(path))
            assert message_of(error).startswith(str(path))


@law(
    "check",
    "Dataset.is_mixed",
    "Dataset.parts",
    examples=60,
    ends=st.tuples(numbers(1e6), numbers(1e6)).map(sorted),
    num_levels=st.sampled_from([None, 2, 256]),
    alphabet=st.sampled_from([None, ("a", "b")]),
    is_mixed=st.booleans(),
    requires=st.sampled_from(["unit", "levels", "text", "columns", "real"]),
    what=st.text(string.printable.strip(), max_size=9),
)
def test_only_what_fits_is_let_through(ends, num_levels, alphabet, is_mixed, requires, what):
    low, high = ends
    split = Split(np.zeros((1, 2), np.float32))
    dataset = Dataset(
        *("d", split, split, split),
        **{"shape": (2,), "kind": "table", "low": low, "high": high, "num_levels": num_levels},
        **{"sha256": "0", "decode": np.float32, "alphabet": alphabet},
        likelihood="mixed" if is_mixed else "gaussian",
        schema=schema.infer({"a": ["u", "v"] * 2, "b": [0.5, 1.5] * 2}, {"a": "binary"}),
    )
    assert dataset.is_mixed == is_mixed
    assert dataset.parts == ((("bernoulli", 1), ("gaussian", 1)) if is_mixed else ())
    fits = (requires == "text") == (alphabet is not None)
    fits &= (requires == "columns") == is_mixed
    fits &= requires != "unit" or (low >= 0 and high <= 1)
    fits &= requires != "levels" or num_levels is not None
    # of a Gaussian or Laplace variance of at most e^20 and at least e^-20
    is_apart = low == high or high - low >= np.exp(-10)
    fits &= requires != "real" or (max(-low, high) <= 20 * np.exp(10) and is_apart)
    if fits:
        data.check(dataset, requires, what=what)
        return
    with pytest.raises(DataError) as error:
        data.check(dataset, requires, what=what)
    assert message_of(error).startswith(f"{what}: ")


binarized = jax.jit(data.binarize)


@law(
    "binarize",
    x=arrays(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0])), (3, 4)),
    seed=st.integers(0, 99),
    share=st.floats(0, 1),
)
def test_binarization_keeps_what_is_certain_and_grows_with_the_probability(x, seed, share):
    key = jax.random.key(seed)
    drawn = np.asarray(binarized(key, x))
    assert (drawn.shape, drawn.dtype) == ((3, 4), np.float32)
    assert np.isin(drawn, (0, 1)).all()
    assert np.all(drawn[x == 1] == 1)
    assert np.all(drawn[x == 0] == 0)
    np.testing.assert_array_equal(data.binarize(key, drawn), drawn)
    np.testing.assert_array_equal(data.binarize(key, x), drawn)
    assert np.all(np.asarray(binarized(key, x * np.float32(share))) <= drawn)
    assert data.binarize(key, x[:0]).shape == (0, 4)
    half = data.binarize(key, x.astype(jnp.bfloat16))
    assert half.dtype == np.float32
    assert np.isin(half, (0, 1)).all()


def test_every_public_name_has_a_law():
    assert not uncovered(data, globals())
