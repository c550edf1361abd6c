"""Data take the memory of their content: no padding, no second copy."""

import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import data, likelihoods
from vae_jax.data import _arrays, _dataset, _sequences
from vae_jax.data._dataset import Rows
from vae_jax.errors import DataError
from vae_jax.lab import build

NUM_ROWS = 100_000
WORDS = ["a", "longer line", "b c", "of a few words", "ab"]


@pytest.fixture
def text(tmp_path):
    """60 lines, one of them far longer than the others."""
    path = tmp_path / "lines.txt"
    lines = [WORDS[i % 5] + str(i) for i in range(59)]
    path.write_text("\n".join([*lines[:30], "x" * 900, *lines[30:]]) + "\n")
    return path


def test_lines_are_padded_on_access():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 40)
    rows = [rng.integers(1, 200, n).astype(np.uint8) for n in lengths]
    padded = np.zeros((40, lengths.max()), np.uint8)
    for row, symbols in zip(padded, rows, strict=True):
        row[: len(symbols)] = symbols
    lines = _sequences.Lines(np.concatenate(rows), lengths)
    assert (lines.shape, lines.dtype, len(lines)) == (padded.shape, np.uint8, 40)
    chosen = [
        slice(None),
        slice(3, 9),
        slice(0, 0),
        np.array([7, 0, 7]),
        np.array([[1, 2], [39, 0]]),
    ]
    for rows in chosen:
        np.testing.assert_array_equal(lines[rows], padded[rows])
    some = Rows(lines).select(np.array([0, 1, 5, 39]))
    np.testing.assert_array_equal(some.in_memory(), padded[[0, 1, 5, 39]])


def test_text_with_a_long_line_is_held_without_padding(text, monkeypatch):
    whole = data.load(text)
    assert not whole.streamed
    assert any("without longer lines training is about" in note for note in whole.notes)
    monkeypatch.setattr(_sequences, "_BYTES_OF_BLOCKS", 1_000)
    apart = data.load(text)
    assert apart.streamed
    assert isinstance(apart.train.x, Rows)
    held = apart.train.x.source._symbols.nbytes
    assert held == sum(len(line) for line in text.read_text().splitlines())
    assert (apart.sha256, apart.shape, apart.alphabet) == (
        whole.sha256,
        whole.shape,
        whole.alphabet,
    )
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(np.asarray(getattr(apart, split).x), getattr(whole, split).x)
    # who asks for memory gets it, and text whose lines are alike is as it was
    assert not data.load(text, loading="memory").streamed
    text.write_text("\n".join(["a line", "lines", "aligned"] * 20))
    alike = data.load(text)
    assert not alike.streamed
    assert not any("longer lines" in note for note in alike.notes)
    assert data.load(text, loading="stream").streamed


def test_padding_that_was_asked_for_is_refused_if_it_is_too_large(text, monkeypatch):
    """The line says which one is to be broken."""
    padded = 60 * 900 * _sequences._BYTES_OF_SYMBOL
    monkeypatch.setenv("VAE_JAX_MEMORY", str(padded / 2**30))
    with pytest.raises(DataError, match="break its longest line, 31, or leave it out"):
        data.load(text, loading="memory")
    monkeypatch.setattr(_sequences, "_BYTES_OF_BLOCKS", 1_000)
    assert data.load(text).streamed


def test_characters_are_counted_block_by_block(text, monkeypatch):
    dataset = data.load(text)
    seen = []
    likelihood = likelihoods.load("text")()
    dataset = _dataset.dataclasses.replace(
        dataset, decode=lambda x, decode=dataset.decode: seen.append(x.shape) or decode(x)
    )
    experiment = type("Experiment", (), {"dataset": dataset})()
    experiment.model = type("Model", (), {"likelihood": likelihood})()
    whole = build.in_units(experiment, -np.ones(1))
    assert seen == [dataset.test.x.shape]
    monkeypatch.setattr(build, "BLOCK_BYTES", 4 * 2 * 900)
    assert build.in_units(experiment, -np.ones(1)) == whole
    assert seen[1:] == [(2, 900)]
    known = (np.asarray(dataset.test.x) > 0).sum(axis=1) + 1
    known = np.minimum(known, 900)
    assert whole["bits_per_character"] == pytest.approx(1 / (known.mean() * np.log(2)))


def matrix(folder, dtype):
    path = folder / "x.npy"
    x = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, 40)).astype(dtype)
    np.save(path, x if dtype == np.uint8 else x / dtype(7))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_file_is_read_into_its_splits(tmp_path, monkeypatch, dtype):
    """Bit for bit as if it were in memory first, with one copy instead of two."""
    path = matrix(tmp_path, dtype)
    monkeypatch.setattr(_dataset, "_BLOCK_BYTES", 2**16)
    monkeypatch.setattr(_dataset, "_CONVERTED_BYTES", 2**16)

    def peak_of(loading):
        tracemalloc.start()
        found = data.load(path, loading=loading)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, peak

    peak_of("auto")  # what is imported on the way
    twice, most = peak_of("memory")
    monkeypatch.setattr(_arrays, "_READ_AT_ONCE", 0)
    once, peak = peak_of("auto")
    assert not once.streamed
    assert (once.sha256, once.low, once.high, once.num_levels, once.notes) == (
        *(twice.sha256, twice.low, twice.high),
        *(twice.num_levels, twice.notes),
    )
    for split in ("train", "valid", "test"):
        found, expected = getattr(once, split).x, getattr(twice, split).x
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    size = sum(getattr(once, split).x.nbytes for split in ("train", "valid", "test"))
    assert peak < 1.3 * size + 2**22
    assert most > peak + 0.6 * path.stat().st_size


def test_rows_that_lie_close_are_read_as_one_block(tmp_path):
    path = matrix(tmp_path, np.float32)
    source = _arrays._npy.FileRows(path, stays=False)
    x, reads = np.load(path), []
    read = source._read_into
    source._read_into = lambda *given: reads.append(given) or read(*given)
    rows = np.flatnonzero(np.arange(NUM_ROWS) % 5)  # four of five
    chosen = Rows(source, rows)
    np.testing.assert_array_equal(chosen[10:500], x[rows[10:500]])
    assert len(reads) == 1
    np.testing.assert_array_equal(chosen[np.array([3, 1])], x[rows[[3, 1]]])
    np.testing.assert_array_equal(chosen[40:3:-2], x[rows[40:3:-2]])
    few = Rows(source, np.array([0, 1_000, NUM_ROWS - 1]))
    reads.clear()
    np.testing.assert_array_equal(few[:], x[[0, 1_000, NUM_ROWS - 1]])
    assert len(reads) == 3


def test_text_stays_text(text):
    dataset = data.load(text, loading="stream")
    decoded = dataset.decode(jnp.asarray(dataset.test.x[:]))
    lines = {*text.read_text().splitlines()}
    assert {*data.strings(np.asarray(decoded), dataset.alphabet)} <= lines
