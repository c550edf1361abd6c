"""Laws of tables: what is observed comes back, whatever the order of columns, rows and spelling."""

import datetime
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st
from properties import law

from vae_jax import data, schema

SPLITS = ("train", "valid", "test")
SIZES = {"train": 12, "valid": 2, "test": 3}
NUM_ROWS = sum(SIZES.values())
WORDS = ["Oslo", "Lima", "it's", "São Paulo", "a b", "x=1", "-1st", "Q&A"]
FIRST = datetime.datetime(1990, 1, 1)
CELLS = {
    "categorical": lambda r: WORDS[r.integers(len(WORDS))],
    "binary": lambda r: ["yes", "no"][r.integers(2)],
    "count": lambda r: int(2 ** r.uniform(0, 24)) - 1,
    "date": lambda r: (FIRST + datetime.timedelta(days=int(r.integers(20_000)))).date(),
    "moment": lambda r: FIRST + datetime.timedelta(seconds=int(r.integers(10**9))),
    "ordinal": lambda r: "SML"[r.integers(3)],
    "real": lambda r: int(r.integers(-(10**9), 10**9)) / 1000,
    "positive": lambda r: (1 + int(10 ** r.uniform(0, 9))) / 1000,
}
"""Kind of a column → a cell, of a generator; a moment is a date with a time."""
KIND_OF = {"moment": "date", "ordinal": "S<M<L"}
DIALECTS = st.sampled_from(
    [
        *((separator, decimal) for separator in ";\t|" for decimal in ".,"),
        (",", "."),
    ]
)
MARKS = st.sampled_from(["", "NA", "?", "n/a", "null"])


@st.composite
def tables(draw):
    """Columns of every kind in any order with missing cells, and the splits of the rows."""
    names = draw(st.permutations([*CELLS]))[: draw(st.integers(2, len(CELLS)))]
    shares = draw(st.lists(st.sampled_from([0.0, 0.2, 0.8]), min_size=8, max_size=8))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = {}
    for place, (name, share) in enumerate(zip(names, shares, strict=False)):
        cells = [CELLS[name](random) for _ in range(NUM_ROWS)]
        # some are known in train and not all the same, and one of each row
        while len({*cells[:3]}) < 2:
            cells[:3] = [CELLS[name](random) for _ in range(3)]
        is_missing = random.random(NUM_ROWS) < share
        is_missing[:3] = False
        is_missing[place :: len(names)] = False
        table[name] = [None if m else c for c, m in zip(cells, is_missing, strict=True)]
    table["split"] = [split for split, size in SIZES.items() for _ in range(size)]
    return table


def kinds_of(table):
    return {name: KIND_OF.get(name, name) for name in table if name != "split"}


def spelled(cell, separator, decimal, mark):
    if cell is None:
        return mark
    text = str(cell).replace(".", decimal) if isinstance(cell, float) else str(cell)
    return f'"{text}"' if separator in text or decimal == "," == separator else text


def written(path, table, separator=",", decimal=".", mark=""):
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(table), path)
        return path
    rows = zip(*table.values(), strict=True)
    lines = [separator.join(table)]
    lines += [separator.join(spelled(c, separator, decimal, mark) for c in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(table, ending="csv", **dialect):
    with tempfile.TemporaryDirectory() as folder:
        path = written(pathlib.Path(folder, f"a.{ending}"), table, **dialect)
        decimal = {} if ending != "csv" else {"decimal": dialect.get("decimal", ".")}
        words = {",": "comma", ".": "point"}
        return data.load(
            path,
            kinds=kinds_of(table),
            csv={k: words[v] for k, v in decimal.items()} or None,
            split_column="split",
        )


def whole(dataset):
    return np.concatenate([getattr(dataset, split).x for split in SPLITS])


def same(found, cell):
    if cell is None:
        return found is None or found != found
    if isinstance(cell, datetime.date):
        return np.datetime64(found) == np.datetime64(cell)
    return found == cell


@law("load", examples=8, table=tables(), dialect=DIALECTS, mark=MARKS)
def test_what_is_observed_comes_back_in_its_own_words(table, dialect, mark):
    """Exactly for every kind without loss; numbers to the precision of float32."""
    separator, decimal = dialect
    dataset = read(table, separator=separator, decimal=decimal, mark=mark)
    assert [len(getattr(dataset, split)) for split in SPLITS] == [*SIZES.values()]
    x = whole(dataset)
    back = dataset.schema.decode(x)
    lossless = [n for n in kinds_of(table) if n not in ("real", "positive")]
    for name in lossless:
        pairs = zip(back[name], table[name], strict=True)
        assert all(same(found, cell) for found, cell in pairs), name
    for name in {"real", "positive"} & {*table}:
        known = np.array([np.nan if c is None else c for c in table[name]])
        scale = np.nanmax(np.abs(known))
        np.testing.assert_allclose(back[name], known, rtol=1e-5, atol=1e-6 * scale)
    # the schema says the same of the cells themselves
    np.testing.assert_array_equal(dataset.schema.encode(table), x)
    assert schema.from_json(dataset.schema.as_json()).encode(table).tobytes() == x.tobytes()


@law("load", examples=5, table=tables(), random=st.randoms(use_true_random=False))
def test_order_of_columns_and_rows_changes_the_order_alone(table, random):
    """Rows stay in their splits, so that train has the same units."""
    names = random.sample([*table], len(table))
    rows = [i for split in SPLITS for i in shuffled(table, split, random)]
    moved = {name: [table[name][i] for i in rows] for name in names}
    first, other = read(table), read(moved)
    slots = [(c.name, i) for c in first.schema.used for i in range(width(first, c))]
    places = {
        slot: i
        for i, slot in enumerate(
            (c.name, i) for c in other.schema.used for i in range(width(other, c))
        )
    }
    again = whole(other)[:, [places[slot] for slot in slots]]
    np.testing.assert_array_equal(again, whole(first)[rows])


def shuffled(table, split, random):
    own = [i for i, word in enumerate(table["split"]) if word == split]
    return random.sample(own, len(own))


def width(dataset, column):
    return dataset.schema.kind_of(column.kind).width(column)


@law("load", examples=5, table=tables(), dialect=DIALECTS, mark=MARKS)
def test_a_csv_and_a_parquet_file_of_one_table_are_the_same(table, dialect, mark):
    separator, decimal = dialect
    first = read(table, separator=separator, decimal=decimal, mark=mark)
    second = read(table, "parquet")
    assert first.schema == second.schema
    assert first.columns == second.columns
    assert whole(first).tobytes() == whole(second).tobytes()
