"""Data larger than memory: rows left in an .npy file are the rows in memory, or a clear error."""

import os
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from vae_jax import data, memory
from vae_jax.data import _dataset
from vae_jax.data._npy import FileRows
from vae_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
UNIT = RNG.random((50, 6, 5)).astype(np.float32)
TABLE = np.c_[RNG.normal([3e6, -2.0], [10.0, 0.1], (400, 2)), np.full(400, 0.1)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of some rows, so that a few kilobytes are many blocks."""
    monkeypatch.setattr(_dataset, "_BLOCK_BYTES", 1000)


def saved(folder, x):
    path = folder / "mine.npy"
    np.save(path, x)
    return str(path)


def parts(dataset):
    return dataset.train, dataset.valid, dataset.test


def assert_same(streamed, in_memory):
    """Every field is equal but the notes on where the rows are; values are equal to the bit."""
    for ours, theirs in zip(parts(streamed), parts(in_memory), strict=True):
        assert isinstance(ours.x, data.Rows)
        assert isinstance(theirs.x, np.ndarray)
        assert ours.x.shape == theirs.x.shape
        assert ours.x.dtype == theirs.x.dtype
        assert ours.x.nbytes == theirs.x.nbytes
        assert len(ours.x) == len(theirs.x) == len(ours)
        np.testing.assert_array_equal(ours.x[:], theirs.x, strict=True)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(jax.numpy.asarray(ours.x), theirs.x)
        order = RNG.permutation(len(theirs))
        np.testing.assert_array_equal(
            jax.jit(streamed.decode)(ours.x[order]), jax.jit(in_memory.decode)(theirs.x[order])
        )
    for field in ("name", "shape", "kind", "low", "high", "num_levels", "sha256", "likelihood"):
        assert getattr(streamed, field) == getattr(in_memory, field)
    assert streamed.streamed
    assert not in_memory.streamed


# --- The same data


@pytest.mark.parametrize("scaling", ["auto", "unit", "none"])
@pytest.mark.parametrize(
    "x",
    [
        BYTES,
        BYTES[..., 0],
        UNIT,
        UNIT * 2 - 1,
        UNIT.astype(">f8") * 254.5,
        BYTES.astype(np.float32),
        BYTES.astype(np.int64),
        BYTES > 99,
        np.where(BYTES > 99, 255, 0).astype(np.uint8),
        BYTES.astype(np.uint16) * 257,
        TABLE,
        TABLE.astype(np.float32),
        (TABLE * 7).astype(np.int32),
        TABLE > 0,
    ],
)
def test_streamed_rows_are_those_in_memory(tmp_path, small_blocks, x, scaling):
    path = saved(tmp_path, x)
    streamed, in_memory = (
        data.load(path, scaling=scaling, loading=loading) for loading in ("stream", "memory")
    )
    assert_same(streamed, in_memory)
    assert streamed.notes[1:] == in_memory.notes
    assert "stay in the file" in streamed.notes[0]


@pytest.mark.parametrize("x", [TABLE, UNIT, BYTES.astype(np.float64)])
@pytest.mark.parametrize("scaling", ["auto", "unit"])
def test_many_blocks_say_what_one_says(tmp_path, monkeypatch, x, scaling):
    path = saved(tmp_path, x)
    one = data.load(path, scaling=scaling)
    monkeypatch.setattr(_dataset, "_BLOCK_BYTES", 1)  # a row at a time
    many = data.load(path, scaling=scaling)
    assert many.notes == one.notes
    np.testing.assert_allclose((many.low, many.high), (one.low, one.high), rtol=1e-6)
    for ours, theirs in zip(parts(many), parts(one), strict=True):
        np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-5, atol=1e-6)


def test_the_range_is_that_of_the_values(tmp_path, small_blocks):
    for x in (TABLE, UNIT * 3 - 1):
        for scaling in ("auto", "unit", "none"):
            dataset = data.load(saved(tmp_path, x), scaling=scaling, loading="stream")
            values = np.concatenate([split.x[:] for split in parts(dataset)])
            assert (dataset.low, dataset.high) == (values.min(), values.max())


@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize("name", ["digits", "mine.npz"])
def test_data_in_memory_can_be_marked_as_streamed(tmp_path, monkeypatch, name, loading):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=UNIT)
    dataset = data.load(name, loading=loading)
    assert dataset.streamed == (loading == "stream")
    for ours, theirs in zip(parts(dataset), parts(data.load(name)), strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x, strict=True)


def test_fortran_order_is_read_into_memory_and_said(tmp_path):
    path = saved(tmp_path, np.asfortranarray(UNIT))
    dataset = data.load(path, loading="stream")
    assert dataset.streamed
    assert "Fortran order" in dataset.notes[0]
    np.testing.assert_array_equal(dataset.train.x, data.load(path).train.x, strict=True)


def test_auto_streams_what_takes_more_than_its_share_of_memory(tmp_path, monkeypatch):
    path = saved(tmp_path, BYTES)
    assert not data.load(path).streamed
    limit = memory.limit_bytes()
    monkeypatch.setattr(_dataset, "_MEMORY_SHARE", BYTES.nbytes / limit)
    assert not data.load(path).streamed
    monkeypatch.setattr(_dataset, "_MEMORY_SHARE", (BYTES.nbytes - 1) / limit)
    assert data.load(path).streamed
    assert not data.load(path, loading="memory").streamed
    shutil.copy(path, tmp_path / "b.npy")
    np.savez(tmp_path / "b.npz", x=BYTES)
    assert not data.load(str(tmp_path / "b.npz")).streamed


def test_loading_is_one_of_three():
    with pytest.raises(UsageError, match="loading='lazy': must be one of auto, memory, stream"):
        data.load("digits", loading="lazy")


# --- Rows


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(3, 17),
        slice(40, 3, -4),
        slice(-5, None),
        slice(7, 7),
        np.array([4, 2, 2, 9]),
        np.array([0, 1, 2, 30, 31, 48]),
        np.array([-1, -50, 0]),
        np.array([], np.int64),
        np.array([[3, 1], [1, 49]], np.uint8),
        np.int32(5),
        RNG.permutation(50),
    ],
)
def test_rows_are_taken_as_an_array_would(tmp_path, rows):
    saved(tmp_path, BYTES)
    whole = data.Rows(FileRows(tmp_path / "mine.npy"))
    np.testing.assert_array_equal(whole[rows], BYTES[rows], strict=True)
    index = np.sort(RNG.permutation(50)[:50])
    part = whole.select(index).map(lambda x: x / 2)
    np.testing.assert_array_equal(part[rows], BYTES[index][rows] / 2, strict=True)
    assert part.shape == BYTES.shape
    assert part.dtype == np.float64


def test_a_selection_of_a_selection_of_rows(tmp_path):
    saved(tmp_path, BYTES)
    rows = data.Rows(FileRows(tmp_path / "mine.npy")).select(np.arange(0, 50, 3))
    some = rows.select(np.array([1, 4, 5]))
    np.testing.assert_array_equal(some[:], BYTES[[3, 12, 15]])
    np.testing.assert_array_equal(some[np.array([2, 0])], BYTES[[15, 3]])
    with pytest.raises(IndexError):
        some[np.array([3])]


@pytest.mark.parametrize("rows", [[50], [-51], [0.5], [True] * 50])
def test_rows_that_are_none_are_refused(tmp_path, rows):
    saved(tmp_path, BYTES)
    with pytest.raises(IndexError, match=r"must be integers in \[-50, 50\)"):
        FileRows(tmp_path / "mine.npy")[np.array(rows)]


def test_blocks_are_bounded_and_together_the_whole(small_blocks):
    for x in (BYTES, data.Rows(BYTES), data.Rows(BYTES).select(np.arange(1, 50, 2))):
        starts, pieces = zip(*_dataset.blocks(x), strict=True)
        assert max(piece.nbytes for piece in pieces) <= 1000
        assert list(starts) == [0, *np.cumsum([len(piece) for piece in pieces])[:-1]]
        np.testing.assert_array_equal(np.concatenate(pieces), x[:])


# --- Faults


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.float32(3), "has shape ()"),
        (np.zeros(9), "has shape (9,): must be [rows, columns]"),
        (BYTES.transpose(0, 3, 1, 2).copy(), "save x.transpose(0, 2, 3, 1)"),
        (UNIT[:0], "there is nothing in it"),
        (UNIT[:, :0], "there is nothing in it"),
        (UNIT[:2], "has 2 rows: must have at least 3"),
        (np.full((99, 4), 0.5), "every value is 0.5"),
        (np.where(np.arange(150).reshape(50, 3) == 100, np.nan, 1.0), "(33, 1)"),
        (np.where(np.arange(150).reshape(50, 3) % 50 == 40, -np.inf, 1.0), "3 values are missing"),
        (np.where(np.arange(150).reshape(50, 3) == 149, 1e300, 1.0), "beyond float32"),
        (UNIT.astype(np.complex64), "holds complex64"),
        (UNIT.astype(str), "must be real numbers"),
        (np.zeros(9, [("a", "f4")]), "must be real numbers"),
        (np.array([[1, None]] * 9), "pickle"),
    ],
)
def test_streaming_refuses_the_same_data(tmp_path, small_blocks, x, message):
    path = saved(tmp_path, x)
    messages = []
    for loading in ("memory", "stream"):
        with pytest.raises(DataError) as error:
            data.load(path, loading=loading)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert message in messages[0]


def truncate(path):
    os.truncate(path, os.path.getsize(path) - 1)


def overwrite(path):
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")


@pytest.mark.parametrize("damage", [truncate, overwrite])
def test_a_file_that_changes_while_in_use_is_one_clear_line(tmp_path, damage):
    path = saved(tmp_path, BYTES)
    dataset = data.load(path, loading="stream")
    time.sleep(0.02)  # longer than the grain of a file's time
    damage(path)
    with pytest.raises(DataError) as error:
        dataset.train.x[np.arange(3)]
    assert str(error.value) == f"{path}: has changed while it was in use: start again"


def test_a_file_cut_short_in_the_middle_of_a_read_is_an_error(tmp_path, monkeypatch):
    path = saved(tmp_path, BYTES)
    rows = FileRows(tmp_path / "mine.npy")
    monkeypatch.setattr(FileRows, "_current_stamp", lambda self: self._stamp)
    truncate(path)
    np.testing.assert_array_equal(rows[:49], BYTES[:49])
    with pytest.raises(DataError, match="ends early"):
        rows[:]


def test_a_truncated_file_is_refused_at_once(tmp_path):
    path = saved(tmp_path, BYTES)
    truncate(path)
    with pytest.raises(DataError, match="claims shape"):
        data.load(path, loading="stream")


def test_a_file_that_is_replaced_stays_the_one_that_was_loaded(tmp_path):
    path = saved(tmp_path, BYTES)
    dataset = data.load(path, loading="stream")
    before = dataset.train.x[:]
    np.save(tmp_path / "other.npy", BYTES ^ 1)
    os.replace(tmp_path / "other.npy", path)
    np.testing.assert_array_equal(dataset.train.x[:], before)


# --- Memory

_PEAK = """
import re, sys
import numpy as np
import jax
from vae_jax import data

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def reset():
    open("/proc/self/clear_refs", "w").write("5")

data.load("digits")
reset()
before = peak()
dataset = data.load(sys.argv[1], loading=sys.argv[2], scaling=sys.argv[3])
for start in range(0, len(dataset.train), 10_000):
    dataset.train.x[start : start + 1000]
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("dtype", "shape", "scaling"),
    [
        ("<f4", (400_000, 200), "auto"),
        pytest.param("<f4", (400_000, 200), "unit", marks=pytest.mark.slow),
        pytest.param("|u1", (100_000, 32, 32, 3), "auto", marks=pytest.mark.slow),
    ],
)
def test_memory_is_bounded_by_blocks(tmp_path, dtype, shape, scaling):
    path = tmp_path / "large.npy"
    x = np.lib.format.open_memmap(path, "w+", dtype, shape)  # a file of holes
    x[:50] = 7
    x[5::1000] = 3
    del x
    assert path.stat().st_size > 300e6
    ran = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), "stream", scaling],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(ran.stdout) < 100, f"{ran.stdout} MiB"
