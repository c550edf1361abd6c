"""Text and series in time: what is read, how it is divided, what is refused."""

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vae_jax import data, likelihoods
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


@pytest.mark.parametrize("is_train", [True, False])
def test_infinite_values_of_series_are_refused(tmp_path, is_train):
    x = np.random.default_rng(0).normal(size=(20, 7, 2))
    x[0 if is_train else 19, 2, 1] = np.inf
    np.savez(tmp_path / "a.npz", series_train=x[:15], series_test=x[15:])
    with pytest.raises(DataError, match="1 values are missing, NaN or infinite"):
        load(tmp_path / "a.npz")


# --- Gaps


def holed(num=20, num_steps=7, channels=2):
    """Series of several lengths with values missing inside: three in ten, and a whole step."""
    x, lengths = ragged(num, num_steps, channels)
    is_gap = np.random.default_rng(1).random(x.shape) < 0.3
    is_gap[np.arange(num), lengths - 1] = False
    x[is_gap] = np.nan
    x[5, 2] = np.nan
    return x, is_gap


def test_values_missing_inside_series_are_nan_and_scaled_around(tmp_path):
    x, _ = holed()
    np.savez(tmp_path / "a.npz", series=x, y=np.arange(20))
    dataset = load(tmp_path / "a.npz", scaling="none")
    assert dataset.has_missing
    for split in splits(dataset):
        np.testing.assert_allclose(split.x, x[split.labels], rtol=1e-6)
    assert any("values of series are missing" in note for note in dataset.notes)
    scaled = load(tmp_path / "a.npz")
    values = scaled.train.x.reshape(-1, 2)
    np.testing.assert_allclose(np.nanmean(values, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(values, axis=0), 1, rtol=1e-5)
    unit = load(tmp_path / "a.npz", scaling="unit").train.x
    np.testing.assert_allclose([np.nanmin(unit), np.nanmax(unit)], [0, 1], atol=1e-6)


def test_a_gap_costs_nothing(tmp_path):
    """The loss of a series with a gap is that of its other values, whatever stood in the gap."""
    x, _ = holed()
    np.savez(tmp_path / "a.npz", series=x)
    dataset = load(tmp_path / "a.npz")
    likelihood = likelihoods.make("gaussian", has_missing=True)
    own = dataset.train.x[:5]
    outputs = np.random.default_rng(2).normal(size=own.shape).astype(np.float32)
    found = likelihood.log_prob(likelihood.init(own.shape[1:]), outputs, own)
    is_known = ~np.isnan(own)
    for row in range(5):
        told = likelihoods.make("gaussian")
        kept = own[row][is_known[row]][None], outputs[row][is_known[row]][None]
        expected = told.log_prob(told.init(kept[0].shape[1:]), kept[1], kept[0])
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-5)


def test_a_channel_or_a_window_of_nothing(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    x[:, 1] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(DataError, match="channel 1 holds nothing but missing values: leave it"):
        load(tmp_path / "a.npy", window=5)
    x = np.random.default_rng(0).normal(size=(60, 2))
    x[10:15] = np.nan
    np.save(tmp_path / "a.npy", x)
    dataset = load(tmp_path / "a.npy", window=5)
    assert [len(s) for s in splits(dataset)] == [9, 1, 1]
    assert any("1 series in which every value is missing" in note for note in dataset.notes)


@pytest.mark.parametrize("marks", [None, ["?"]])
def test_missing_cells_of_a_table_in_time_keep_their_rows(tmp_path, marks):
    """A row that was left out would make others neighbors."""
    mark = "" if marks is None else "?"
    lines = [f"{n},{mark if n == 7 else -n}" for n in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    dataset = load(tmp_path / "a.csv", window=5, scaling="none", missing_values=marks)
    rows = dataset.train.x.reshape(-1, 2)
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(rows)))
    assert np.flatnonzero(np.isnan(rows[:, 1])).tolist() == [7]


# --- Several series


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_files_of_a_folder_are_series_of_their_own(tmp_path, suffix):
    lengths = {"north": 43, "south": 60, "west": 30}
    for number, (name, length) in enumerate(lengths.items()):
        rows = 1000 * number + np.arange(float(length))[:, None] * [1, 1]
        if suffix == "npy":
            np.save(tmp_path / f"{name}.npy", rows)
        else:
            lines = "\n".join(",".join(map(str, row)) for row in rows)
            (tmp_path / f"{name}.csv").write_text(f"a,b\n{lines}\n")
    dataset = load(tmp_path, window=5, scaling="none")
    seen = {}
    for split in splits(dataset):
        starts = split.x[:, 0, 0]
        # no window crosses two files
        np.testing.assert_array_equal(split.x[..., 0] - starts[:, None], [range(5)] * len(starts))
        for number in range(3):
            own = split.x[split.x[:, 0, 0] // 1000 == number, :, 0]
            seen.setdefault(number, []).append((own.min(), own.max()))
    for (_, train), (valid, until), (test, end) in seen.values():
        assert train < valid <= until < test <= end
    assert [end % 1000 for _, _, (_, end) in seen.values()] == [42, 59, 29]
    assert any("3 files, a series each, of 30 to 60" in note for note in dataset.notes)


def test_files_of_other_columns_are_no_set_of_series(tmp_path):
    for name, columns in {"north": "a,b", "south": "a,c"}.items():
        lines = "\n".join(f"{n},{n * n}" for n in range(40))
        (tmp_path / f"{name}.csv").write_text(f"{columns}\n{lines}\n")
    with pytest.raises(DataError, match=r"south\.csv: has other columns than .*north\.csv"):
        load(tmp_path, window=5)


@pytest.mark.parametrize("hop", [None, 2])
def test_series_are_cut_into_windows_of_their_own(tmp_path, hop):
    x = 1000.0 * np.arange(30)[:, None] + np.arange(17)
    x[4, 9:] = np.nan
    x[5, 3:] = np.nan
    np.savez(tmp_path / "a.npz", series=x, y=np.arange(30))
    dataset = load(tmp_path / "a.npz", window=5, hop=hop, scaling="none")
    assert dataset.shape == (5, 1)
    owners = [set((s.x[:, 0, 0] // 1000).tolist()) for s in splits(dataset)]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    found = np.concatenate([s.x[..., 0] for s in splits(dataset)])
    labels = np.concatenate([s.labels for s in splits(dataset)])
    np.testing.assert_array_equal(found[:, 0] // 1000, labels)
    own = np.sort(found[labels == 0][:, 0])
    np.testing.assert_array_equal(own, [2, 7, 12] if hop is None else [0, 2, 4, 6, 8, 10, 12])
    np.testing.assert_array_equal(found[labels == 5], [[5000, 5001, 5002, np.nan, np.nan]])
    assert len(found[labels == 4]) == (1 if hop is None else 3)


# --- Times


def timed(path, times, name="timestamp"):
    lines = "\n".join(f"{time},{n % 7},{n}" for n, time in enumerate(times))
    path.write_text(f"{name},a,b\n{lines}\n")
    return path


def stamps(minutes):
    start = np.datetime64("2024-02-28T23:00")
    return [str(start + np.timedelta64(int(m), "m")).replace("T", " ") + ":00" for m in minutes]


REGULAR = np.arange(60) * 30


@pytest.mark.parametrize("form", ["iso", "numbers", "parquet"])
def test_times_in_order_say_nothing_and_irregular_ones_are_said(tmp_path, form):
    def made(minutes):
        path = tmp_path / f"a.{'parquet' if form == 'parquet' else 'csv'}"
        if form == "iso":
            return timed(path, stamps(minutes))
        if form == "numbers":
            return timed(path, minutes * 60, "time")
        times = pa.array(np.datetime64("2024-01-01", "us") + minutes * np.timedelta64(1, "m"))
        b = np.arange(float(len(minutes)))
        pa.parquet.write_table(pa.table({"when": times, "a": b % 7, "b": b}), path)
        return path

    dataset = load(made(REGULAR), window=5)
    assert not any("irregular" in note for note in dataset.notes)
    late = REGULAR + 15 * (np.arange(60) >= 40)
    notes = load(made(late), window=5).notes
    told = "30 min is usual, 1 of 59 differ, from 30 min to 45 min; series count rows, not time"
    assert any(told in note for note in notes), notes
    swapped = REGULAR.copy()
    swapped[[20, 21]] = swapped[[21, 20]]
    with pytest.raises(DataError, match="goes back in time in 1 of 60 rows, first in row 22: sort"):
        load(made(swapped), window=5)
    assert load(made(swapped)).kind == "table"  # without a window, the order means nothing


def test_rows_without_a_time_are_refused(tmp_path):
    times = stamps(REGULAR)
    times[3] = ""
    with pytest.raises(DataError, match="'timestamp' has no time in 1 rows, the first is row 4"):
        load(timed(tmp_path / "a.csv", times), window=5)


def test_words_in_a_column_of_times_are_no_times(tmp_path):
    times = [("morning", "noon", "night")[n % 3] for n in range(60)]
    assert load(timed(tmp_path / "a.csv", times, "date"), window=5).kind == "sequence"


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
        ((20, 3, 3), {"window": 4}, "window=4: cuts series, or a table"),
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
        with pytest.raises(UsageError, match="window=4: cuts series, or a table"):
            load(name, window=4)
