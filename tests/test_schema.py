"""The schema of a table: what each column is, and rows to the input of a model and back."""

import datetime
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_jax import data, discovery, likelihoods, schema
from vae_jax.cli.commands import export
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, metrics, pictures, train
from vae_jax.storage import runs, seals

SPLITS = ("train", "valid", "test")
N = 40
RNG = np.random.default_rng(3)
DAYS = np.datetime64("2024-02-27") + RNG.permutation(N)

# kind: cells [N] that are of it by the rules
BY_RULES = {
    "real": RNG.normal(size=N),
    "positive": np.exp(3 * RNG.normal(size=N)),
    "count": RNG.permutation(N) % 7,
    "binary": np.array(["no", "yes"])[RNG.permutation(N) % 2],
    "categorical": np.array(["Oslo", "Lima", "Pune", "Bonn"])[RNG.permutation(N) % 4],
    "date": DAYS,
    "constant": np.full(N, "same"),
    "identifier": np.array([f"K{i:03}" for i in RNG.permutation(N)]),
    "empty": np.full(N, ""),
}
ALL = {name: cells for name, cells in BY_RULES.items() if name in schema.names()}


def kinds_of(found):
    return {column.name: column.kind for column in found.columns}


# --- Inference


def test_the_rules_find_each_kind():
    found = schema.infer(ALL)
    assert kinds_of(found) == {name: name for name in ALL}
    assert [c.name for c in found.used] == [name for name in ALL if schema.load(name).likelihood]


def test_kinds_are_found_without_a_list_and_each_is_ranked_once():
    kinds = [schema.load(name) for name in schema.names()]
    ranks = [kind.rank for kind in kinds if kind.rank is not None]
    assert len(ranks) == len({*ranks})
    assert all(kind.likelihood in likelihoods.part_names() for kind in kinds if kind.likelihood)
    assert {"real", "label", "text"} <= {*schema.names()}
    assert not {*schema.names()} & {*discovery.names("vae_jax.data")}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([0, 1, 1, 0], "binary"),
        ([1.5, 2.5, 1.5, 2.5], "real"),
        ([1, 2, 1, 2], "real"),
        ([1, 2, 3, 2019], "real"),
        ([0.01, 0.1, 0.5, 1], "positive"),
        ([0.01, 0.1, 0.5, 0.99], "real"),  # a factor of 99
        ([-0.1, 5, 2, 1000], "real"),
        (np.linspace(0.01, 2, 50), "real"),  # no more skewed than its logarithm
        ([True, False, None, True], "binary"),
        (["a", "a", "b", "b", "", "c", "c"], "categorical"),
        (["a", "?", "a", "NA"], "constant"),
        (["u1", "u2", "u3", "u4"], "identifier"),
        ([5.0, np.nan, 5.0], "constant"),
        (np.array(["2025-01-01", "NaT"], "datetime64[D]"), "date"),
    ],
)
def test_rules(cells, kind):
    values = np.array(cells, object) if None in list(cells) else cells
    assert kinds_of(schema.infer({"a": values})) == {"a": kind}


def test_text_is_refused_by_name_with_all_others():
    words = [f"a note of {i}" for i in range(9)]
    with pytest.raises(DataError, match=r"'a' \(as do 1 others\): holds text, 9 .* ignore=a,b$"):
        schema.infer({"a": words, "x": np.arange(9.0), "b": words})
    assert kinds_of(schema.infer({"a": words}, {"a": "ignored"})) == {"a": "ignored"}


@pytest.mark.parametrize(
    ("cells", "kind", "match"),
    [
        ([1.5, 2, 3], "count", "whole numbers"),
        ([-1, 2, 3], "positive", "numbers above 0"),
        (["a", "b", "c"], "binary", "two different values"),
        (["a", "b", "c"], "real", "must hold numbers"),
        (["a", "b", "c"], "date", "holds 'a', but is date: must be dates"),
        ([1, 2, 3], "date", "must hold dates"),
        (["a", "a", "a"], "categorical", "different values"),
        (["", ""], "categorical", "no known cell"),
        (["S", "M", "X"], "S<M<L", "holds 'X', but is ordinal: must be one of S, M, L"),
        ([1, 2, 3], "nonsense", "unknown"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(cells, kind, match):
    with pytest.raises((DataError, UsageError), match=match) as caught:
        schema.infer({"a": cells}, {"a": kind})
    assert len(str(caught.value).splitlines()) == 1


def test_levels_may_be_given_in_order():
    sizes = np.array(["S", "M", "L", ""])[np.arange(12) % 4]
    found = schema.infer({"size": sizes}, {"size": "S<M<L"})
    assert (found.used[0].kind, found.used[0].levels) == ("ordinal", ("S", "M", "L"))
    x = found.encode({"size": sizes})
    np.testing.assert_array_equal(x[:4], [[0, 0], [1, 0], [1, 1], [np.nan, np.nan]])


# --- There and back

LOSSLESS = [name for name in schema.names() if schema.load(name).is_lossless]


@st.composite
def tables(draw):
    """A table of lossless kinds, with missing cells, in any order; kinds that are set."""
    num = draw(st.integers(4, 12))
    words = st.text("abcåß_ .,=<'\"12", min_size=1, max_size=4).map(str.strip)
    word = words.filter(lambda w: w and not data._spelling.is_unknown(w))
    levels = draw(st.lists(word, min_size=3, max_size=5, unique_by=str.casefold))
    cells = {
        "categorical": st.sampled_from(levels),
        "ordinal": st.sampled_from(levels),
        "binary": st.sampled_from(levels[:2]),
        "count": st.integers(0, 2**24 - 1),
        "date": st.dates(datetime.date(1800, 1, 1), datetime.date(2200, 1, 1)),
    }
    names = draw(st.permutations([*cells]))
    table, kinds = {}, {}
    for name in names[: draw(st.integers(1, len(names)))]:
        if name not in schema.names():
            continue
        known = draw(st.lists(cells[name], min_size=num, max_size=num))
        is_missing = draw(st.lists(st.booleans(), min_size=num, max_size=num))
        if len({v for v, m in zip(known, is_missing, strict=True) if not m}) < 2:
            continue
        if name == "binary" and len({*known}) < 2:
            continue
        values = [None if m else v for v, m in zip(known, is_missing, strict=True)]
        if name == "date":
            values = np.array(["NaT" if v is None else v for v in values], "datetime64[D]")
        elif name == "count":
            values = np.array([np.nan if v is None else v for v in values], np.float64)
        table[name], kinds[name] = values, name
    return table, kinds


def same(left, right):
    missing = [schema.as_cells(values).missing for values in (left, right)]
    np.testing.assert_array_equal(*missing)
    left, right = (np.asarray(v)[~m].tolist() for v, m in zip((left, right), missing, strict=True))
    return left == right


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.randoms(use_true_random=False))
def test_lossless_kinds_come_back_and_order_does_not_matter(drawn, random):
    table, kinds = drawn
    if not table:
        return
    found = schema.infer(table, kinds)
    found = found.stored(found.codes(table))
    x = found.encode(table)
    assert x.dtype == np.float32
    decoded = found.decode(x)
    assert [*decoded] == [*table]
    assert all(same(table[name], decoded[name]) for name in table)
    assert schema.from_json(json.loads(json.dumps(found.as_json()))) == found
    # another order of columns and rows: the same numbers by name
    names, rows = random.sample([*table], len(table)), random.sample(range(len(x)), len(x))
    moved = {name: np.asarray(schema.as_cells(table[name]).values)[rows] for name in names}
    other = schema.infer(moved, kinds)
    other = other.stored(other.codes(moved))
    assert sorted(other.slots) == sorted(found.slots)
    # slots of one name are of one column, in order
    places = [np.flatnonzero([c == name for c, s in by_slot(found)]) for name in names]
    np.testing.assert_array_equal(other.encode(moved), x[rows][:, np.concatenate(places)])


def by_slot(found):
    return [(c.name, slot) for c in found.used for slot in schema.load(c.kind).slots(c)]


def test_numbers_come_back_to_the_precision_of_float32():
    for kind in ("real", "positive"):
        values = ALL[kind]
        found = schema.infer({"a": values}, {"a": kind})
        found = found.stored(found.codes({"a": values}))
        back = found.decode(found.encode({"a": values}))["a"]
        np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-6)
    x = found.encode({"a": values})
    np.testing.assert_allclose(np.log(x).mean(), 0, atol=1e-6)


def test_units_do_not_depend_on_the_order_of_the_rows():
    values = np.exp(20 * RNG.normal(size=200))
    units = set()
    for kind in ("real", "positive") * 5:
        moved = {"a": RNG.permutation(values)}
        found = schema.infer(moved, {"a": kind})
        column = found.stored(found.codes(moved)).used[0]
        units.add((kind, column.center, column.scale))
    assert len(units) == 2


def test_new_rows_are_matched_by_name_and_refused_if_they_do_not_fit():
    table = {"a": [1.5, 2.5, 4.0], "b": ["u", "v", "u"], "id": ["k1", "k2", "k3"]}
    found = schema.infer(table, {"b": "binary"})
    found = found.stored(found.codes(table))
    new = {"more": [0, 0], "b": ["v", None], "a": [2.5, np.nan]}
    np.testing.assert_array_equal(found.encode(new)[0], found.encode(table)[1])
    assert np.isnan(found.encode(new)[1]).all()
    with pytest.raises(DataError, match="have no column 'a'"):
        found.encode({"b": ["u"]})
    with pytest.raises(
        DataError, match="column 'b': holds 'w', but is binary: must be one of u, v"
    ):
        found.encode({"a": [1.0], "b": ["w"]})
    with pytest.raises(DataError, match="column 'a': holds 'w'"):
        found.encode({"a": ["w"], "b": ["u"]})
    with pytest.raises(DataError, match="missing_values=inf"):
        found.encode({"a": [np.inf], "b": ["u"]})
    with pytest.raises(UsageError, match="must be \\[rows, 2\\]"):
        found.decode(np.zeros((2, 3)))


def test_dates_may_be_words():
    words = ["2025-01-31", "", "1969-12-31"]
    found = schema.infer({"a": words}, {"a": "date"})
    assert schema.load("date").told(found.used[0]) == "1969-12-31 … 2025-01-31"
    codes = found.codes({"a": words})
    assert codes[2] == -1
    np.testing.assert_array_equal(codes, found.codes({"a": np.array(words, "datetime64[D]")}))


def test_dates_are_where_they_are_in_their_cycles():
    """Noon of Monday, 2025-01-06, and a quarter of a day, two days and three months later."""
    times = np.array(["2025-01-06T12", "2025-01-08T18", "2025-04-07T12"], "datetime64[s]")
    found = schema.infer({"a": times})
    column = found.used[0]
    assert column.cycles == ("hour", "weekday", "month")
    assert found.slots == ("a", *(f"a {c} {p}" for c in column.cycles for p in ("sine", "cosine")))
    x = found.stored(found.codes({"a": times})).encode({"a": times})
    week = 2 * np.pi * 2 / 7
    expected = [
        [0, -1, 0, 1, 0, 1],
        [-1, 0, np.sin(week), np.cos(week), 0, 1],
        [0, -1, 0, 1, 1, 0],
    ]
    np.testing.assert_allclose(x[:, 1:], expected, atol=1e-6)
    # only what varies has numbers
    days = np.array(["2025-01-06", "2025-01-13", "2025-01-20"], "datetime64[D]")
    assert schema.infer({"a": days}).used[0].cycles == ()
    assert schema.infer({"a": days + np.arange(3)}).used[0].cycles == ("weekday",)
    lines = found.lines(200)
    assert "elapsed time, standardized, angle of hour, weekday, month" in lines[1]


@pytest.mark.parametrize("unit", ["D", "h", "s"])
def test_dates_of_decades_come_back_to_the_second(unit):
    """Their hours tell what float32 loses of twenty years, in seconds."""
    seconds = RNG.integers(0, 20 * 365 * 86_400, 500)
    times = np.datetime64("2005-01-01T00:00:00") + seconds.astype("timedelta64[s]")
    times = times.astype(f"datetime64[{unit}]")
    if unit == "h":  # one hour of each day
        times = times.astype("datetime64[D]").astype("datetime64[h]") + np.timedelta64(10, "h")
    times = np.append(times.astype("datetime64[s]"), np.datetime64("NaT", "s"))
    found = schema.infer({"a": times})
    found = found.stored(found.codes({"a": times}))
    np.testing.assert_array_equal(found.decode(found.encode({"a": times}))["a"], times)
    # of other numbers, the time nearest to the elapsed one that is so in its day and week
    x = found.encode({"a": times})
    x[:-1, 0] += 0.4 * 86_400 / (86_400 * found.used[0].scale) * (unit != "h")
    np.testing.assert_array_equal(found.decode(x)["a"], times)


def test_likely_values_are_levels():
    found = schema.infer({"c": ["u", "v", "w"] * 3, "o": [1, 2, 3] * 3}, {"o": "ordinal"})
    outputs = np.array([[0.2, 0.5, 0.3, 0.9, 0.4]])
    decoded = found.decode(outputs)
    assert (decoded["c"].tolist(), decoded["o"].tolist()) == (["v"], [2])


# --- As text


def test_the_table_fits_the_terminal_and_long_ones_are_shortened():
    wide = {f"a column with a long name {i}": RNG.normal(size=9) for i in range(70)}
    for width in (60, 80, 120):
        lines = schema.infer({**ALL, **wide}).lines(width)
        assert max(map(len, lines)) <= width
        assert len(lines) == 31
        assert lines[-1].startswith("…")
    of_numbers = schema.infer({"a": ALL["real"]})
    assert of_numbers.lines(80)[1].endswith("as it is")
    stored = of_numbers.stored(of_numbers.codes({"a": ALL["real"]}))
    assert stored.lines(80)[1].endswith("standardized")
    lines = schema.infer(ALL).lines(200)
    assert len(lines) == len(ALL) + 1
    assert any("identifies the rows" in line for line in lines)
    assert any("Bonn, Lima, Oslo, Pune" in line for line in lines)


@pytest.mark.parametrize(
    "described",
    [
        3,
        [3],
        [{"kind": "real"}],
        [{"name": "a"}],
        [{"name": "a", "kind": "x"}],
        [{"name": "a", "kind": "real", "more": 1}],
    ],
)
def test_other_json_is_no_schema(described):
    with pytest.raises(UsageError):
        schema.from_json(described)


# --- Of files


def write(path, table):
    """The same table in a file of the format that its ending says."""
    if path.suffix in (".parquet", ".feather"):
        write_ = pa.parquet.write_table if path.suffix == ".parquet" else pa.feather.write_feather
        write_(pa.table(table), path)
        return path
    separator = "\t" if ".tsv" in path.suffixes else ","
    rows = zip(*table.values(), strict=True)
    lines = [separator.join(table)]
    lines += [separator.join("" if v is None else str(v) for v in row) for row in rows]
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    return path


def some(values, every=5):
    return [None if i % every == 2 else v for i, v in enumerate(np.asarray(values).tolist())]


FILE = {
    "id": ALL["identifier"].tolist(),
    "amount": some(ALL["positive"]),
    "city": some(ALL["categorical"]),
    "when": some(DAYS),
    "at": [f"2025-01-{i % 28 + 1:02}T10:{i:02}:00Z" for i in range(N)],
    "is_new": [bool(i % 3) for i in range(N)],
    "active": ALL["binary"].tolist(),
    "score": ALL["real"].tolist(),
    "same": ["x"] * N,
    "label": ["u", "v"] * (N // 2),
    "split": (["train"] * 30 + ["val"] * 5 + ["test"] * 5),
}
KINDS = {
    **{"id": "identifier", "amount": "positive", "city": "categorical", "when": "date"},
    **{"at": "date", "is_new": "binary", "active": "binary", "score": "real"},
    **{"same": "constant", "label": "label", "split": "split"},
}


@pytest.mark.parametrize("ending", ["parquet", "feather", "tsv", "csv.gz", "tsv.gz"])
def test_all_formats_of_one_table_give_the_same(tmp_path, ending):
    found = [data.load(write(tmp_path / f"a.{end}", FILE)) for end in ("csv", ending)]
    first, second = found
    assert kinds_of(first.schema) == KINDS
    assert first.schema.columns[[*FILE].index("label")].levels == first.classes == ("u", "v")
    assert first.schema == second.schema
    assert (first.likelihood, first.has_missing) == ("mixed", True)
    assert first.schema.parts == first.parts
    for split in SPLITS:
        own = [getattr(dataset, split) for dataset in found]
        np.testing.assert_array_equal(own[0].x, own[1].x)
        np.testing.assert_array_equal(own[0].labels, own[1].labels)
    assert [len(getattr(first, split)) for split in SPLITS] == [30, 5, 5]
    rows = first.schema.decode(first.train.x)
    for name in ("city", "active", "is_new", "same"):
        assert rows[name].tolist() == FILE[name][:30]
    assert rows["when"].tolist() == FILE["when"][:30]


@pytest.mark.parametrize("ending", ["feather", "csv.gz", "parquet", "tsv"])
def test_damaged_tables_are_one_line(tmp_path, ending):
    path = write(tmp_path / f"a.{ending}", FILE)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\x00" * 99, b"\x1f\x8b" + whole[2:][::-1]):
        path.write_bytes(content)
        with pytest.raises((DataError, UsageError)) as caught:
            data.load(path)
        assert len(str(caught.value).splitlines()) == 1


def test_files_of_splits_may_be_compressed(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.csv.gz", {n: c for n, c in FILE.items() if n != "split"})
    dataset = data.load(tmp_path)
    assert [len(getattr(dataset, split)) for split in SPLITS] == [36, 4, 40]


def test_order_of_columns_and_rows_of_a_file_does_not_matter(tmp_path):
    whole = data.load(write(tmp_path / "a.csv", FILE))
    rows = RNG.permutation(N)
    moved = {name: [FILE[name][i] for i in rows] for name in RNG.permutation([*FILE])}
    other = data.load(write(tmp_path / "b.csv", moved))
    place = {slot: i for i, slot in enumerate(other.schema.slots)}
    order = [place[slot] for slot in whole.schema.slots]
    for split, size in zip(SPLITS, (30, 5, 5), strict=True):
        own, again = getattr(whole, split).x, getattr(other, split).x[:, order]
        assert len(own) == size
        key = [np.lexsort(np.nan_to_num(x, nan=-9).T) for x in (own, again)]
        np.testing.assert_array_equal(own[key[0]], again[key[1]])


def test_a_table_of_numbers_is_as_before(tmp_path):
    """Also if some are whole or 0 and 1: the numbers, the likelihood, the scaling."""
    table = {
        "a": ALL["real"],
        "b": RNG.permutation(N),
        "c": np.arange(N) % 2,
        "y": np.arange(N) % 3,
    }
    path = write(tmp_path / "a.csv", table)
    now, before = data.load(path), data.load(path, kinds="numeric")
    assert before.schema is None
    assert [now.likelihood, now.has_missing, now.columns] == ["gaussian", False, ("a", "b", "c")]
    for split in SPLITS:
        assert getattr(now, split).x.tobytes() == getattr(before, split).x.tobytes()
    assert kinds_of(now.schema) == {"a": "real", "b": "real", "c": "real", "y": "label"}
    # new rows are encoded by the same scaling
    names, places = now.columns, np.argsort(table["b"])
    x = now.schema.encode({name: np.asarray(table[name])[places] for name in names})
    order = np.lexsort(x.T)
    whole = np.concatenate([getattr(now, split).x for split in SPLITS])
    np.testing.assert_array_equal(x[order], whole[np.lexsort(whole.T)])


def test_settings_of_columns(tmp_path):
    path = write(tmp_path / "a.csv", FILE)
    found = data.load(
        path, kinds=["score=ignore", "active=label", "label=category"], ignore="amount", id=["at"]
    )
    kinds = kinds_of(found.schema)
    assert {name for name, kind in kinds.items() if kind == "ignored"} == {"score", "amount"}
    assert (kinds["active"], kinds["at"]) == ("label", "identifier")
    assert kinds["label"] == "categorical"
    assert found.classes == ("no", "yes")
    named = {**FILE, "part": FILE["split"]}
    named.pop("split")
    found = data.load(write(tmp_path / "b.csv", named), split_column="part", label="city")
    assert [len(getattr(found, split)) for split in SPLITS] == [30, 5, 5]
    assert found.classes == ("Bonn", "Lima", "Oslo", "Pune")
    zips = {**FILE, "zip": [f"0{i % 4}" for i in range(N)]}
    found = data.load(write(tmp_path / "c.csv", zips), kinds={"zip": "category"})
    assert found.schema.columns[-1].levels == ("00", "01", "02", "03")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kinds": "agee=real"}, "column 'agee'"),
        ({"kinds": "score"}, "must be the name of a column and its kind"),
        ({"kinds": "score=wrong"}, "kinds=score=wrong: kind 'wrong'"),
        ({"kinds": "score=binary", "ignore": "score"}, "is set as binary and as ignored"),
        ({"ignore": 3}, "must be names of columns"),
        ({"split_column": "city"}, "'city' is set as the split of each row, but does"),
        ({"window": 4, "kinds": "score=real"}, "all columns of series are numbers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, options, match):
    with pytest.raises((DataError, UsageError), match=match) as caught:
        data.load(write(tmp_path / "a.csv", FILE), **options)
    assert len(str(caught.value).splitlines()) == 1


def test_rows_without_a_known_cell_are_left_out_and_said(tmp_path):
    table = {"a": [None if i == 4 else float(i) for i in range(N)], "b": some(ALL["real"], 4)}
    table["b"][4] = None
    dataset = data.load(write(tmp_path / "a.csv", table))
    assert sum(len(getattr(dataset, split)) for split in SPLITS) == N - 1
    assert any("1 of 40 rows have no known cell" in note for note in dataset.notes)


def test_an_order_of_categories_is_kept_from_the_file(tmp_path):
    sizes = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(N) % 3, pa.int8()), pa.array(["S", "M", "L"]), ordered=True
    )
    path = write(tmp_path / "a.parquet", {"size": sizes, "x": ALL["real"]})
    column = data.load(path).schema.columns[0]
    assert (column.kind, column.levels) == ("ordinal", ("S", "M", "L"))


# --- Runs


def begun_before(folder):
    """Makes the directory of a run one of the version before there were kinds of columns."""
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    stored.pop("seal")
    for name in ("kinds", "label", "id", "ignore", "split_column"):
        del stored["config"][name]
    stored["sha256"] = runs._identity(stored["config"], runs._FREE)
    path.write_text(json.dumps(seals.seal(stored)))


@pytest.mark.usefixtures("traced_once")
def test_a_run_keeps_its_schema_and_an_older_one_goes_on_with_numbers(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pictures, "draw", lambda *_: {})
    write(tmp_path / "a.csv", FILE)
    flags = {"dataset": str(tmp_path / "a.csv"), "epochs": "1", "latent_dim": "2", "widths": "3"}
    flags["learning_rate"] = "1e-3"  # not a schedule, so that epochs may follow
    asked = config.from_flags(flags)
    (result,) = train.train([asked], workdir=tmp_path / "run")
    assert result["status"] == "done"
    printed = "".join(capsys.readouterr()).splitlines()
    assert any(line.split()[:2] == ["city", "categorical"] for line in printed)
    kept = json.loads((tmp_path / "run" / "schema.json").read_text())
    trained = metrics.load(tmp_path / "run", 0)
    found = trained.experiment.dataset.schema
    assert schema.from_json(kept) == found
    about = export.scaling(trained.experiment.dataset, None)
    assert "schema" in about["x"]
    # one of the version before: the numbers of complete rows alone
    older = config.from_flags({**flags, "kinds": "numeric", "missing_values": "NA"})
    train.train([older], workdir=tmp_path / "old")
    begun_before(tmp_path / "old")
    plain = config.from_flags({**flags, "missing_values": "NA"})
    train.train([plain], workdir=tmp_path / "old")
    assert "complete already" in "".join(capsys.readouterr())
    assert metrics.load(tmp_path / "old", 0).experiment.dataset.columns == (
        "amount",
        "is_new",
        "score",
    )
    # further epochs put down what it is, and it goes on so
    more = config.from_flags({**flags, "missing_values": "NA", "epochs": "2"})
    for told in ("resuming at step 1", "complete already"):
        train.train([more], workdir=tmp_path / "old")
        assert told in "".join(capsys.readouterr())
    assert json.loads((tmp_path / "old/config.json").read_text())["config"]["kinds"] == ["numeric"]
    # an explicit kind is another run
    with pytest.raises(UsageError, match="kinds"):
        train.train([config.from_flags({**flags, "kinds": "score=real"})], workdir=tmp_path / "run")
