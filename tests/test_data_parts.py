"""A second table to test on, and training on a part of the rows."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vae_jax import data, objectives, schema
from vae_jax.data import _where
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, metrics, train
from vae_jax.schema import as_cells

RNG = np.random.default_rng(5)
N = 60
SPLITS = ("train", "valid", "test")
CITIES = np.array(["Oslo", "Lima", "Pune"])[RNG.integers(0, 3, N)]
TABLE = {
    "id": [f"K{i:03}" for i in range(N)],
    "age": RNG.integers(0, 9, N),
    "size": np.round(RNG.normal(size=N), 3),
    "city": CITIES,
    "zip": np.array(["A1", "B2"])[RNG.integers(0, 2, N)],
    "label": np.arange(N) % 3,
}
NUMBERS = {name: np.round(RNG.normal(size=N), 3) for name in "ab"} | {"label": np.arange(N) % 3}


def write(path, table):
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table({k: np.asarray(v) for k, v in table.items()}), path)
        return path
    rows = zip(*table.values(), strict=True)
    lines = [",".join(table), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def chosen(table, rows):
    return {name: np.asarray(values)[rows] for name, values in table.items()}


def refused(match, *args, **options):
    with pytest.raises((DataError, UsageError), match=match) as caught:
        data.load(*args, **options)
    assert len(str(caught.value).splitlines()) == 1


def everything(dataset):
    return np.concatenate([getattr(dataset, split).x for split in SPLITS])


def said(dataset, text):
    assert any(text in note for note in dataset.notes), dataset.notes


# --- A second table


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("table", [TABLE, NUMBERS], ids=["mixed", "numbers"])
def test_rows_of_another_table_are_the_test_split(tmp_path, table, ending):
    """In another order of columns and another format, they are what they were in the first."""
    path, rows = write(tmp_path / "a.csv", table), RNG.permutation(N)[:20]
    moved = {name: chosen(table, rows)[name] for name in reversed(table)}
    other = write(tmp_path / f"b.{ending}", {**moved, "more": np.zeros(20)})
    alone, dataset = data.load(path), data.load(path, test_data=other)
    assert dataset.likelihood == alone.likelihood
    assert [len(getattr(dataset, split)) for split in SPLITS] == [54, 6, 20]
    np.testing.assert_array_equal(dataset.test.labels, np.asarray(table["label"])[rows])
    encoded = dataset.schema.encode(chosen(table, rows))
    np.testing.assert_allclose(dataset.test.x, encoded, atol=1e-6)
    said(dataset, "columns that .* does not have".replace(".*", str(path)))
    assert dataset.sha256 not in (alone.sha256, data.load(path, test_data=path).sha256)
    # units are those of train alone
    far = write(tmp_path / "c.csv", {**table, **dict.fromkeys({"a", "size"} & {*table}, [9e3] * N)})
    assert data.load(path, test_data=far).schema.columns[1:] == dataset.schema.columns[1:]


def test_levels_that_the_first_table_lacks_are_missing_and_said(tmp_path):
    path = write(tmp_path / "a.csv", TABLE)
    other = chosen(TABLE, slice(9))
    other["city"] = np.array(["Rome", "Lima", "Rome", *["Oslo"] * 6])
    other["zip"] = np.array(["A1"] * 8 + ["01"])
    dataset = data.load(path, test_data=write(tmp_path / "b.csv", other))
    said(dataset, f"2 cells of 'city' are missing: {path} has no 'Rome' in that column")
    said(dataset, f"1 cells of 'zip' are missing: {path} has no '01' in that column")
    assert dataset.has_missing
    assert dataset.schema.decode(dataset.test.x)["city"].tolist()[:3] == [None, "Lima", None]
    assert dataset.schema.columns[3].levels == ("Lima", "Oslo", "Pune")


def test_missing_cells_of_another_table_of_numbers_are_learned_around(tmp_path):
    path, other = write(tmp_path / "a.csv", NUMBERS), chosen(NUMBERS, slice(9))
    other["a"] = np.array(["", *other["a"][1:]])
    dataset = data.load(path, test_data=write(tmp_path / "b.csv", other))
    assert (dataset.likelihood, dataset.has_missing) == ("gaussian", True)
    assert np.isnan(dataset.test.x).sum() == 1
    plain = data.load(path, test_data=path)
    np.testing.assert_allclose(dataset.train.x, plain.train.x, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({"city": None}, {}, "has no column 'city', of which .* ignore=city$"),
        ({"age": [-1] * 9}, {}, "b.csv: column 'age': holds -1"),
        ({"size": ["?"] * 2 + ["1.5"] * 7}, {"kinds": "size=real"}, "b.csv: column 'size'"),
        ({}, {"kinds": "numeric"}, "which has none with kinds=numeric"),
        ({}, {"window": 3}, "which has none with kinds=numeric"),
    ],
)
def test_other_tables_that_do_not_fit_are_refused(tmp_path, change, options, match):
    other = {**chosen(TABLE, slice(9)), **change}
    other = {name: values for name, values in other.items() if values is not None}
    path = write(tmp_path / "a.csv", TABLE)
    refused(match, path, test_data=write(tmp_path / "b.csv", other), **options)


def test_what_is_no_second_table_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", TABLE)
    refused("test_data=nowhere.csv: no such file", path, test_data="nowhere.csv")
    refused("must be one table", path, test_data=tmp_path)
    refused("must be the path of a table", path, test_data=3)
    refused("is a second table .* digits is none", "digits", test_data=path)
    np.save(tmp_path / "x.npy", RNG.normal(size=(9, 2)))
    refused("is a second table", tmp_path / "x.npy", test_data=path)
    own = write(tmp_path / "b.csv", {**TABLE, "split": ["train", "test"] * (N // 2)})
    refused("names test rows of its own", own, test_data=path)


# --- A part of the rows

COLUMNS = {
    "a": as_cells([1.0, 2.0, np.nan, 4.0]),
    "the city": as_cells(["Oslo", "or", "", "Pune"]),
    "when": as_cells(np.array(["2024-01-01", "2024-02-01", "NaT", "2025-01-01"], "M8[D]")),
    "is": as_cells(np.array([True, False, None, True], object)),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a==1", [0]),
        ("a!=1", [1, 3]),  # a missing cell meets none
        ("a>=2", [1, 3]),
        ("a<1e1 and a > 1", [1, 3]),
        ("a==1 or a==2 and is==true", [0]),  # `and` binds tighter
        ("(a==1 or a==2) and is==FALSE", [1]),
        ("'the city' == 'or'", [1]),
        ('"the city"!=Oslo or(a==1)', [0, 1, 3]),
        ("when<2024-06-01", [0, 1]),
        ("when>='2024-02-01 00:00'", [1, 3]),
        ("is==True AND a<=4", [0, 3]),
    ],
)
def test_conditions_hold_for_the_rows_that_they_say(text, rows):
    assert np.flatnonzero(_where.parse(text).rows(COLUMNS)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "it ends too early"),
        ("a", "'a' is out of place"),
        ("a=1", "'=' in it"),
        ("a==", "out of place"),
        ("==1 1", "'==' is out of place"),
        ("a==1 b==2", "'b' is out of place"),
        ("(a==1", "it ends too early"),
        ("a==1)", "'\\)' is out of place"),
        ("a==1 and", "it ends too early"),
        ("a==1 and or", "out of place"),
        ("__import__('os').system('x')", "out of place"),
        ("a is 1", "'is' is out of place"),
        ("(" * 99 + "a==1" + ")" * 99, "out of place"),
        ("a=='1", "in it"),
        ("b==1", "column 'b'"),
        ("a==x", "does not go with 'a', of numbers"),
        ("'the city'<5", "words, which have no order"),
        ("when==1", "of dates"),
        ("when==now", "of dates"),
        ("a==7", "none of 4 rows meets it"),
    ],
)
def test_what_is_no_condition_is_refused(text, match):
    with pytest.raises((UsageError, DataError), match=match) as caught:
        _where.parse(text).rows(COLUMNS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("form", ["mixed.csv", "numbers.csv", "arrays.npz"])
def test_other_rows_are_test_rows(tmp_path, form):
    """No row is lost, train and valid have rows that meet the condition alone, and their units."""
    path = tmp_path / form
    if form == "arrays.npz":
        np.savez(path, x=np.c_[NUMBERS["a"], NUMBERS["b"]], y=NUMBERS["label"])
    else:
        write(path, TABLE if form == "mixed.csv" else NUMBERS)
    dataset = data.load(path, train_where="label==0")
    assert [len(getattr(dataset, split)) for split in SPLITS] == [16, 2, 2 + 40]
    assert np.sum(dataset.test.labels == 0) == 2
    assert {*dataset.train.labels, *dataset.valid.labels} == {0}
    said(dataset, "40 of 60 rows do not meet label==0: test rows")
    if form != "mixed.csv":
        np.testing.assert_allclose(np.mean(dataset.train.x, axis=0), 0, atol=1e-6)
    assert len(np.unique(everything(dataset), axis=0)) == N


def test_rows_of_data_with_a_test_split_are_left_out(tmp_path):
    splits = np.array(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    path = write(tmp_path / "a.csv", {**TABLE, "split": splits})
    where = "label!=1 and city=='Oslo'"
    dataset = data.load(path, train_where=where)
    meets = (np.asarray(TABLE["label"]) != 1) & (CITIES == "Oslo")
    assert [len(dataset.train), len(dataset.valid)] == [meets[:40].sum(), meets[40:50].sum()]
    assert len(dataset.test) == 10
    said(dataset, f"{np.sum(~meets[:50])} of 50 rows do not meet {where}: left out")
    whole = data.load(path)
    digits = data.load("digits", train_where="label<=1")
    assert {*digits.train.labels.tolist()} == {0, 1}
    assert len({*digits.test.labels.tolist()}) == 10
    second = data.load(write(tmp_path / "b.csv", TABLE), train_where="age>4", test_data=path)
    assert len(second.test) == N
    assert whole.sha256 == dataset.sha256


def test_data_without_labels_have_no_condition(tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(size=(9, 2)))
    refused("x.npy has no labels, by which alone", tmp_path / "x.npy", train_where="label==0")
    refused("column 'a'", "digits", train_where="a==0")
    refused("windows follow", write(tmp_path / "a.csv", NUMBERS), train_where="a>0", window=3)
    (tmp_path / "a.txt").write_text("ab\n" * 9)
    refused("is text: leave it out", tmp_path / "a.txt", train_where="a==0")


@pytest.mark.slow
def test_a_run_reads_its_second_table_again_where_it_moved(tmp_path, capsys):
    for name in "ab":
        write(tmp_path / f"{name}.csv", TABLE)
    flags = {"epochs": "1", "latent_dim": "2", "widths": "3", "train_where": "label==0"}
    for name in ("dataset", "test_data"):
        flags[name] = str(tmp_path / ("a.csv" if name == "dataset" else "b.csv"))
    asked = config.from_flags(flags)
    (result,) = train.train([asked], workdir=tmp_path / "run")
    assert result["num_examples"] == N if "num_examples" in result else result["status"] == "done"
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (kept["test_data"], kept["train_where"]) == (flags["test_data"], "label==0")
    (tmp_path / "moved").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.csv").rename(tmp_path / "moved" / f"{name}.csv")
    with pytest.raises((DataError, UsageError), match="`data_dir`"):
        metrics.load(tmp_path / "run", 0)
    loaded = metrics.load(tmp_path / "run", 0, str(tmp_path / "moved"))
    assert len(loaded.experiment.dataset.test) == N


# --- Columns on which a model is conditioned


@pytest.mark.parametrize("given", [["city"], ["age", "city"], ["zip", "when"]])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_given_in_place_of_being_learned(tmp_path, given, ending):
    table = {**TABLE, "when": np.datetime64("2025-01-01") + np.arange(N)}
    path = write(tmp_path / f"a.{ending}", table)
    alone, dataset = data.load(path), data.load(path, condition=given)
    slots = [i for i, s in enumerate(alone.columns) if s.split("=")[0].split(" ")[0] not in given]
    assert dataset.columns == tuple(alone.columns[i] for i in slots)
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(dataset, split).x, getattr(alone, split).x[:, slots])
    found = np.concatenate([getattr(dataset, split).condition for split in SPLITS])
    encoded = dataset.schema.condition(table)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(encoded, axis=0), atol=1e-6)
    if "city" in given:
        levels = encoded[:, -3:]
        np.testing.assert_array_equal(levels.argmax(1), np.searchsorted(["Lima", "Oslo"], CITIES))
        assert {*levels.ravel().tolist()} == {0.0, 1.0}
    if "age" in given:  # standardized, although its values are counts
        np.testing.assert_allclose(dataset.train.condition[:, 0].std(), 1, atol=1e-5)
    kept = schema.from_json(json.loads(json.dumps(dataset.schema.as_json())))
    assert kept == dataset.schema
    assert [c.name for c in kept.given] == sorted(given, key=[*table].index)
    assert sum("condition: " in line for line in kept.lines(200)) == len(given)


def test_numbers_beside_a_condition_stay_as_they_are(tmp_path):
    """A table of numbers with a batch in words is still one of numbers."""
    batch = np.array(["u", "v", "w"])[np.arange(N) % 3]
    path = write(tmp_path / "a.csv", {"batch": batch, **NUMBERS})
    plain = data.load(write(tmp_path / "b.csv", NUMBERS))
    dataset = data.load(path, condition="batch", test_data=path)
    assert (dataset.likelihood, dataset.columns) == ("gaussian", plain.columns)
    np.testing.assert_array_equal(dataset.test.condition.argmax(axis=1), np.arange(N) % 3)
    objective = objectives.bind("cvae", num_examples=N, condition="batch")
    conditions = objective.conditions(dataset)
    assert (conditions.num, conditions.names) == (3, ("u", "v", "w"))
    np.testing.assert_array_equal(conditions.shown, np.eye(3))
    assert dataset.test.labels is not None
    with pytest.raises(UsageError, match="condition=age: must be labels, factors, array, or the"):
        objectives.bind("cvae", num_examples=N, condition="age").conditions(dataset)


@pytest.mark.parametrize(
    ("change", "given", "match"),
    [
        ({}, "town", "column 'town'"),
        ({}, "id", "condition=id: the column is identifier"),
        ({"same": ["x"] * N}, "same", "condition=same: the column is constant"),
        ({"city": ["", *CITIES[1:]]}, "city", "condition=city: 1 of .* cells are missing"),
    ],
)
def test_columns_that_cannot_be_given_are_refused(tmp_path, change, given, match):
    path = write(tmp_path / "a.csv", {**TABLE, **change})
    refused(match, path, condition=given)


def test_conditions_are_columns_of_tables_with_kinds(tmp_path):
    path = write(tmp_path / "a.csv", TABLE)
    refused("must be labels, factors, array, or columns", "digits", condition="age")
    for options in ({"kinds": "numeric"}, {"window": 3}):
        refused("must be labels, factors, array, or columns", path, condition="age", **options)
    asked = config.from_flags({"objective": "cvae", "dataset": str(path), "condition": "age+city"})
    assert [c.name for c in train.load(asked).schema.given] == ["age", "city"]
