"""Text and series in time: what is read, how it is divided, what is refused."""

import jax
import numpy as np
import pytest

from vae_jax import data
from vae_jax.errors import DataError, UsageError

LINES = ["to be", "or", "not to be", "ß→∞", "that is", "the question", "a", "b", "c", "de"]


def write(folder, content):
    path = folder / "mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path, **options):
    return data.load(str(path), **options)


def splits(dataset):
    return dataset.train, dataset.valid, dataset.test


def lines_of(dataset):
    decoded = [np.asarray(jax.jit(dataset.decode)(s.x)) for s in splits(dataset)]
    return [line for x in decoded for line in data.strings(x, dataset.alphabet)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("head", [b"", "\ufeff".encode()])
def test_a_line_is_an_example(tmp_path, end, head):
    dataset = load(write(tmp_path, head + end.join(LINES).encode() + end.encode()))
    assert sorted(lines_of(dataset)) == sorted(LINES)
    assert (dataset.kind, dataset.likelihood) == ("sequence", "text")
    assert dataset.shape == (max(map(len, LINES)),)
    assert dataset.alphabet == tuple(sorted(set("".join(LINES))))
    assert dataset.num_levels == len(dataset.alphabet) + 1
    assert dataset.train.x.dtype == np.uint8
    data.check(dataset, "text", what="likelihood=text")


def test_nan_follows_the_end_of_a_string(tmp_path):
    dataset = load(write(tmp_path, "\n".join(LINES)))
    x = np.asarray(dataset.decode(np.array([[2, 1, 0, 0], [1, 1, 1, 1]], np.uint8)))
    top = dataset.num_levels - 1
    np.testing.assert_allclose(x[0], [2 / top, 1 / top, 0, np.nan], rtol=1e-6)
    assert np.isfinite(x[1]).all()  # as long as can be: no end is to be said


def test_empty_lines_are_left_out_and_said(tmp_path):
    dataset = load(write(tmp_path, "\n\n".join(LINES) + "\n"))
    assert sorted(lines_of(dataset)) == sorted(LINES)
    assert any("9 empty lines left out" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\n\xff\n", "byte 8 is not UTF-8"),
        ("only one line\n", "has 1 lines with characters: must have at least 3"),
        ("\n\n\n\n", "has 0 lines"),
        ("", "has 0 lines"),
        ("a\nb\n" + "c" * 5000 + "\n", "line 3 has 5,000 characters: must be at most 4,096"),
    ],
)
def test_bad_text_is_refused_in_a_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_text_goes_with_its_own_likelihood_alone(tmp_path):
    dataset = load(write(tmp_path, "\n".join(LINES)))
    for requires in ("unit", "levels", "real"):
        with pytest.raises(DataError, match="holds text: take likelihood=text"):
            data.check(dataset, requires, what="likelihood=other")
    with pytest.raises(DataError, match="holds numbers: take likelihood=gaussian"):
        data.check(data.load("digits"), "text", what="likelihood=text")


# --- Series


def ragged(num=20, num_steps=7, channels=2):
    x = np.random.default_rng(0).normal(3.0, 2.0, (num, num_steps, channels))
    lengths = 1 + np.arange(num) % num_steps
    x[np.arange(num_steps) >= lengths[:, None]] = np.nan
    return x, lengths


def test_series_of_several_lengths(tmp_path):
    x, _ = ragged()
    np.savez(tmp_path / "a.npz", series=x, y=np.arange(20))
    dataset = load(tmp_path / "a.npz", scaling="none")
    assert (dataset.kind, dataset.shape, dataset.has_missing) == ("sequence", (7, 2), True)
    for split in splits(dataset):
        np.testing.assert_allclose(split.x, x[split.labels], rtol=1e-6)
    scaled = load(tmp_path / "a.npz")
    values = scaled.train.x.reshape(-1, 2)
    np.testing.assert_allclose(np.nanmean(values, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(values, axis=0), 1, rtol=1e-5)
    assert np.isfinite([scaled.low, scaled.high]).all()


def test_series_of_one_length_and_channel(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 5))
    np.savez(tmp_path / "a.npz", series_train=x[:9], series_test=x[9:])
    dataset = load(tmp_path / "a.npz", scaling="none", num_valid=2)
    assert (dataset.shape, dataset.has_missing) == ((5, 1), False)
    assert [len(s) for s in splits(dataset)] == [7, 2, 3]
    np.testing.assert_allclose(dataset.test.x[..., 0], x[9:], rtol=1e-6)


def test_binary_series_stay_binary(tmp_path):
    np.savez(tmp_path / "a.npz", series=np.random.default_rng(0).integers(0, 2, (10, 6, 3)))
    dataset = load(tmp_path / "a.npz")
    assert (dataset.num_levels, dataset.likelihood) == (2, "bernoulli")
    assert set(np.unique(dataset.decode(dataset.train.x))) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        ((4, 0), np.nan, r"1 values are missing, the first at index \(4, 0, 1\)"),
        ((6, 2), np.inf, "1 values are missing, NaN or infinite"),
    ],
)
def test_only_what_follows_the_end_may_be_missing(tmp_path, index, value, message):
    x = np.random.default_rng(0).normal(size=(20, 7, 2))
    x[(*index, 1)] = value
    np.savez(tmp_path / "a.npz", series=x)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz")


def test_a_series_of_nothing_is_refused(tmp_path):
    x, _ = ragged()
    x[3] = np.nan
    np.savez(tmp_path / "a.npz", series=x)
    with pytest.raises(DataError, match="series 3 holds nothing"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("hop", [None, 1, 3])
def test_windows_are_divided_in_time(tmp_path, hop):
    rows = np.arange(103.0)[:, None] * [1.0, -1.0]
    np.save(tmp_path / "a.npy", rows)
    dataset = load(tmp_path / "a.npy", window=5, hop=hop, scaling="none")
    assert (dataset.kind, dataset.shape) == ("sequence", (5, 2))
    seen = [np.unique(split.x[..., 0]) for split in splits(dataset)]
    # 20 windows side by side: 2 to test, 2 to validate, each row in one split
    assert [s.max() for s in seen] == [82.0, 92.0, 102.0]
    assert seen[0].max() < seen[1].min()
    assert seen[1].max() < seen[2].min()
    starts = dataset.train.x[:, 0, 0]
    assert np.all(np.diff(starts) == (hop or 5))
    np.testing.assert_array_equal(
        dataset.train.x[..., 0] - starts[:, None], [range(5)] * len(starts)
    )
    if hop is None:
        assert [len(s) for s in splits(dataset)] == [16, 2, 2]


def test_windows_are_scaled_by_the_rows_of_train(tmp_path):
    rows = np.random.default_rng(0).normal(5.0, 3.0, (200, 1))
    rows[160:] += 100
    np.save(tmp_path / "a.npy", rows)
    dataset = load(tmp_path / "a.npy", window=10)
    assert abs(dataset.train.x.mean()) < 1e-5
    assert dataset.test.x.mean() > 10


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((20, 2), {"window": 10}, "20 rows, 2 windows of 10: .* give window=6 or less"),
        ((20, 3, 3), {"window": 4}, "window=4: cuts a table"),
        ((40, 2), {"window": 4, "num_valid": 9}, "num_valid=9: must be >= 0 and leave"),
        (
            (40, 2),
            {"window": 4, "num_valid": -1},
            "num_valid=-1: must be >= 0 and leave some of the 9",
        ),
        ((40, 2), {"hop": 4}, "hop=4: is from one window to the next"),
        ((40, 2), {"window": 0}, "window=0: must be at least 1"),
    ],
)
def test_windows_that_do_not_fit_are_refused(tmp_path, shape, options, message):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=shape))
    with pytest.raises((DataError, UsageError), match=message):
        load(tmp_path / "a.npy", **options)


def test_integers_of_numpy_are_integers(tmp_path):
    """Of few bits too, in which the number of rows would not fit."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(400, 2)))
    own = load(tmp_path / "a.npy", window=5, hop=3, num_valid=4)
    same = load(tmp_path / "a.npy", window=np.uint8(5), hop=np.int8(3), num_valid=np.int64(4))
    assert (own.shape, len(own.valid)) == (same.shape, len(same.valid))
    for a, b in zip(splits(own), splits(same), strict=True):
        np.testing.assert_array_equal(a.x, b.x, strict=True)


@pytest.mark.parametrize("other", ["x", "data", "train", "images_test"])
def test_series_beside_what_is_none_are_refused(tmp_path, other):
    x = np.random.default_rng(0).normal(size=(12, 5))
    for series in ("series", "series_train"):
        np.savez(tmp_path / "a.npz", **{series: x, other: x})
        with pytest.raises(DataError, match=f"has the keys '{series}' and '{other}': must be"):
            load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=x, series_names=np.array(["a"]))
    assert load(tmp_path / "a.npz").kind == "table"


def test_windows_need_a_table(tmp_path):
    path = write(tmp_path, "\n".join(LINES))
    for name in ("digits", path):
        with pytest.raises(UsageError, match="window=4: cuts a table"):
            load(name, window=4)
