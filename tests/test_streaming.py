"""What is fed block by block is what would be taken from memory, or one clear error."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

from vae_jax import data, shuffling, training
from vae_jax.data._npy import FileRows
from vae_jax.devices import layout, streaming
from vae_jax.errors import DataError
from vae_jax.lab import config, loop, pictures, sweep, train
from vae_jax.lab.config import Plan

B = 16
NUMBERED = np.arange(50 * 3, dtype=np.int32).reshape(50, 3)


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests of what is computed: drawing takes longer than training here."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: [])


class Rows:
    """Rows that a file would give, which fail, are held back, and counted on demand."""

    def __init__(self, x):
        self.shape, self.dtype, self.nbytes = x.shape, x.dtype, x.nbytes
        self._x = x
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.taken = 0

    def __len__(self):
        return len(self._x)

    def __getitem__(self, rows):
        self.taken += len(rows)
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self._x[rows]


def toy_train(num_examples=50, batch_size=B):
    """Only the order is asked of it: `Train.rows` needs neither model nor loss."""
    return training.make_train(
        None, None, preprocess=None, num_examples=num_examples, batch_size=batch_size
    )


def make_feed(x, toy=None, seeds=(0,), steps_at_once=3):
    toy = toy or toy_train(len(x))
    step_bytes = len(seeds) * B * (x.nbytes // len(x))
    place = layout.make_layout(len(seeds), devices=jax.devices()[:1])
    return streaming.Feed(x, toy, np.array(seeds), place, steps_at_once * step_bytes)


@pytest.fixture
def feed_of():
    """Makes feeds, and ends them with the test."""
    feeds = []

    def make(*arguments, **options):
        feeds.append(make_feed(*arguments, **options))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


def batch(feed, step):
    """The batches of a step, [R, B, …], as `Train.chunk` takes them from a block."""
    block, held = feed(step)
    first = np.asarray(block.first)
    assert (first == first[0]).all()
    index = step - first[0]
    assert held == block.rows.shape[1] - index >= 1
    return np.asarray(block.rows[:, index])


def expected(x, seeds, step, batch_size=B):
    """The batches by definition: a place in the order of an epoch; what pads is not looked at."""
    epoch, index = divmod(step, -(-len(x) // batch_size))
    places = slice(index * batch_size, (index + 1) * batch_size)
    return np.stack([x[order_of(seed, epoch, len(x))[places]] for seed in seeds])


@functools.cache
def order_of(seed, epoch, num):
    key = jax.random.fold_in(training.stream(jnp.int32(seed), "order"), epoch)
    return np.asarray(jax.jit(shuffling.shuffle, static_argnums=2)(key, jnp.arange(num), num))


# --- The same batches


@pytest.mark.parametrize("steps_at_once", [1, 3, *slow(4, 100)])
@pytest.mark.parametrize("seeds", [(0,), (3, 7, 3)])
def test_each_batch_is_a_function_of_seed_epoch_and_index(feed_of, seeds, steps_at_once):
    """Four steps an epoch, the last of two rows; blocks divide epochs, or do not."""
    feed = feed_of(NUMBERED, seeds=seeds, steps_at_once=steps_at_once)
    assert feed.num_steps == min(steps_at_once, 4)
    for step in range(3 * 4):
        wanted = expected(NUMBERED, seeds, step)
        assert wanted.shape == (len(seeds), 2 if step % 4 == 3 else B, 3)
        np.testing.assert_array_equal(batch(feed, step)[:, : wanted.shape[1]], wanted)


@pytest.mark.parametrize("first", [0, 1, 5, 11])
def test_training_may_start_at_any_step(feed_of, first):
    feed = feed_of(NUMBERED)
    for step in range(first, 12):
        wanted = expected(NUMBERED, (0,), step)
        np.testing.assert_array_equal(batch(feed, step)[:, : wanted.shape[1]], wanted)


def test_a_jump_to_another_step_gives_that_step(feed_of):
    feed = feed_of(NUMBERED, steps_at_once=2)
    for step in (9, 2, 3, 3, 7, 0):
        wanted = expected(NUMBERED, (0,), step)
        np.testing.assert_array_equal(batch(feed, step)[:, : wanted.shape[1]], wanted)


def test_an_epoch_holds_each_example_once(feed_of):
    feed = feed_of(NUMBERED)
    for epoch in range(2):
        rows = [batch(feed, 4 * epoch + i)[0, : (B, B, B, 2)[i]] for i in range(4)]
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)[:, 0]), NUMBERED[:, 0])


def test_a_file_is_fed_as_an_array_is(feed_of, tmp_path):
    np.save(tmp_path / "mine.npy", NUMBERED)
    fed = feed_of(data.Rows(FileRows(tmp_path / "mine.npy")))
    for step in range(8):
        wanted = expected(NUMBERED, (0,), step)
        np.testing.assert_array_equal(batch(fed, step)[:, : wanted.shape[1]], wanted)


def test_runs_of_one_seed_read_once(feed_of):
    alone, five = Rows(NUMBERED), Rows(NUMBERED)
    for rows, seeds in ((alone, (4,)), (five, (4,) * 5)):
        feed = feed_of(rows, seeds=seeds, steps_at_once=1)
        feed(0)
        feed.wait()
    assert five.taken == alone.taken == 2 * B  # a block, and the one ahead


# --- Ends


@pytest.mark.parametrize("error", [DataError("mine.npy: has changed"), OSError(5, "Input/output")])
def test_a_fault_of_reading_is_raised_where_the_block_is_used(feed_of, error):
    rows = Rows(NUMBERED)
    feed = feed_of(rows, steps_at_once=2)
    feed(0)
    feed.wait()  # the block ahead is whole, what comes after it will not be
    rows.error = error
    np.testing.assert_array_equal(batch(feed, 2)[:, :B], expected(NUMBERED, (0,), 2))
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            feed(4)
        assert raised.value is error


def test_close_ends_the_thread_also_while_a_block_is_gathered():
    before = threading.active_count()
    rows = Rows(NUMBERED)
    feed = make_feed(rows, steps_at_once=1)
    feed(0)
    feed.wait()
    rows.gate.clear()
    feed(1)  # gathered already; the one after it waits at the gate
    closing = threading.Thread(target=feed.close)
    closing.start()
    rows.gate.set()
    closing.join(10)
    assert not closing.is_alive()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        feed(9)


def test_a_feed_that_was_never_used_closes():
    make_feed(NUMBERED).close()


# --- Whole trainings


def shared_flags(tmp_path, name, **values):
    if not (tmp_path / "mine.npy").exists():
        x = np.random.default_rng(0).integers(0, 256, (130, 4, 4), dtype=np.uint8)
        np.save(tmp_path / "mine.npy", x)
    flags = {"dataset": str(tmp_path / "mine.npy"), "widths": "8", "latent_dim": "2"}
    flags |= {"epochs": "3", "batch_size": "16", "workdir": str(tmp_path / name)}
    return flags | values


def assert_close(file, other):
    """The batches are the same to the bit; the compiler rounds another program otherwise."""
    tables = [np.genfromtxt(path, delimiter=",", names=True) for path in (file, other)]
    assert tables[0].dtype.names == tables[1].dtype.names
    for name in tables[0].dtype.names:
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("block_bytes", [pytest.param(1, marks=pytest.mark.slow), 2**26])
def test_a_run_that_streams_is_the_run_in_memory(no_pictures, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(streaming.Feed.__init__, "__defaults__", (block_bytes,))
    results = []
    for loading in ("memory", "stream"):
        values = shared_flags(tmp_path, loading, loading=loading, variance="optimal")
        results += train.train([config.from_flags(values)])
        assert ("streamed" in (tmp_path / loading / "run.log").read_text()) == (loading == "stream")
    assert_close(*(tmp_path / name / "metrics.csv" for name in ("stream", "memory")))
    assert results[0]["elbo"] == pytest.approx(results[1]["elbo"], rel=1e-5)
    assert not [t for t in threading.enumerate() if t.name.startswith("feed")]


@pytest.mark.slow
def test_a_sweep_that_streams_is_the_sweep_in_memory(no_pictures, tmp_path):
    for loading in ("memory", "stream"):
        values = shared_flags(tmp_path, loading, loading=loading, beta="1,4", seed="0,1")
        sweep.run(sweep.make_configs(values), Plan(), [])
    name = "programs/all/metrics.csv"
    assert_close(*(tmp_path / loading / name for loading in ("stream", "memory")))


def test_a_file_that_changes_in_training_ends_it_with_one_error(no_pictures, tmp_path, monkeypatch):
    def end_epoch(*arguments):
        (tmp_path / "mine.npy").write_bytes(b"")
        return before(*arguments)

    before = loop.end_epoch
    monkeypatch.setattr(loop, "end_epoch", end_epoch)
    values = shared_flags(tmp_path, "run", loading="stream", num_valid="0")
    with pytest.raises(DataError, match=r"mine\.npy: has changed while it was in use"):
        train.train([config.from_flags(values)])
    assert not [t for t in threading.enumerate() if t.name.startswith("feed")]
