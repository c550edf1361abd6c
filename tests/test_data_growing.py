"""Tables are read piece by piece with the types and values that Arrow finds in all of the file."""

import functools
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from vae_jax import data
from vae_jax.data import _growing, _table_files
from vae_jax.data._compact import Columns, HeldCells, compact
from vae_jax.schema import Cells

BLOCK = 2**8
"""Bytes of a block of these files, which so have many."""
FIRST = {
    "empty": "",
    "whole": "7",
    "large": str(2**53 + 1),
    "bool": "true",
    "day": "2025-01-31",
    "hour": "12:05:30",
    "time": "2025-01-31 12:05",
    "finer": "2025-01-31 12:05:00.25",
    "real": "0.5",
    "word": "Oslo",
}
PAIRS = [*itertools.product(FIRST, FIRST)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_growing, "_BYTES_OF_COLUMN", 0)


def options(num=1, **types):
    return (
        pa.csv.ReadOptions(block_size=BLOCK * num),
        pa.csv.ParseOptions(),
        pa.csv.ConvertOptions(column_types=types),
    )


def same(found, expected):
    """One table, but for whole numbers that take fewer bytes."""
    assert found.column_names == expected.column_names
    for own, other in zip(found.columns, expected.columns, strict=True):
        assert own.type == other.type or (own.type, other.type) == (pa.int32(), pa.int64())
        assert own.to_pylist() == other.to_pylist()


def test_a_cell_that_does_not_fit_the_first_block_changes_the_type_as_in_arrow(
    tmp_path, small_blocks, monkeypatch
):
    """Each kind of cell after each other kind, a column for each pair."""
    whole, num_whole = pa.csv.read_csv, []
    monkeypatch.setattr(pa.csv, "read_csv", lambda *a: num_whole.append(1) or whole(*a))
    names = [f"{a}_{b}" for a, b in PAIRS]
    rows = [[FIRST[a] for a, _ in PAIRS]] * 4 + [[FIRST[b] for _, b in PAIRS]]
    for num in (1, len(names)):  # alone, and beside all others
        for start in range(0, len(names), num):
            own = slice(start, start + num)
            path = tmp_path / "a.csv"
            lines = [",".join(["n", *row[own]]) for row in rows[:1] * 60 + rows[-1:]]
            path.write_text("\n".join([",".join(["n", *names[own]]), *lines]) + "\n")
            opened = functools.partial(pa.OSFile, str(path))
            found = _growing.read(opened, ["n", *names[own]], 70, *options(num))
            same(found, whole(str(path)))
        # 100 columns take more tries than are made
        assert len(num_whole) == (num > 1)


def test_missing_cells_and_given_types_stay(tmp_path, small_blocks):
    path = tmp_path / "a.csv"
    rows = [
        f"{'' if i % 3 else i},{i / 7 if i % 4 else ''},0{i},{2**40 * (i > 90)}" for i in range(99)
    ]
    path.write_text("\n".join(["a,b,c,d", *rows]))
    opened = functools.partial(pa.OSFile, str(path))
    found = _growing.read(opened, [*"abcd"], 99, *options(c=pa.string()))
    same(found, pa.csv.read_csv(str(path), convert_options=options(c=pa.string())[2]))
    assert [str(t) for t in found.schema.types] == ["int32", "double", "string", "int64"]
    assert [column.null_count for column in found.columns] == [66, 25, 0, 0]


@pytest.mark.parametrize("group", [7, 100])
def test_parquet_files_are_read_in_parts(tmp_path, monkeypatch, group):
    monkeypatch.setattr(_table_files, "_PART_BYTES", 8 * 100 * 2)
    generator = np.random.default_rng(0)
    table = pa.table(
        {
            "a": pa.array(generator.normal(size=100), mask=generator.random(100) < 0.2),
            "a.b": generator.integers(-5, 5, 100),
            "c": np.array(["x", "y"])[np.arange(100) % 2],
            "d": generator.normal(size=100).astype(np.float32),
            "e": np.arange(100) + 2**40,
        }
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=group)
    file = pa.parquet.ParquetFile(tmp_path / "a.parquet")
    same(_table_files._in_parts(file, table.column_names, 100), table)


def test_columns_are_one_array():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20, 3))
    x[:, 1] = np.float32(x[:, 1])
    x[3, 1], x[:, 2] = np.nan, np.arange(20)
    columns = Columns([compact(column) for column in x.T])
    assert [column.dtype for column in columns.columns] == ["f8", "f4", "f4"]
    rows = np.array([1, 3, 8])
    for own, expected in ((columns, x), (columns.select(rows), x[rows])):
        assert own.shape == expected.shape
        np.testing.assert_array_equal(own[:], expected)
        np.testing.assert_array_equal(own[1:2], expected[1:2])
        np.testing.assert_array_equal(own[:, 1], expected[:, 1])
        np.testing.assert_array_equal(np.column_stack([*own.each()]), expected)
    chosen = columns.select(rows).select(np.array([0, 2]))
    columns.replace(2, lambda column: column * 2)
    np.testing.assert_array_equal(chosen[:, 2], 2 * x[[1, 8], 2])


@pytest.mark.parametrize("value", [0.1, 1e300, 2.0**24 + 1])
def test_numbers_that_float32_does_not_hold_stay(value):
    values = np.array([0.5] * 2000 + [value])
    assert compact(values) is values
    held = HeldCells([("a", Cells(values)), ("b", Cells(values[:9])), ("c", Cells(values > 1))])
    assert held._held["b"].values.dtype == np.float32
    assert held["b"].values.dtype == held["a"].values.dtype == np.float64
    np.testing.assert_array_equal(held.of(["b"])["b"].values, values[:9])


@pytest.mark.parametrize("scaling", ["auto", "unit", "none"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_are_those_of_the_array_to_the_bit(tmp_path, scaling, ending):
    """Columns that are scaled one by one, and the same numbers scaled as rows."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3_000, 4)) * [1, 1e6, 1e-6, 1] + [0, 1e9, 0, 3]
    x[:, 3] = np.floor(x[:, 3])
    table = pa.table([*x.T], ["a", "b", "c", "d"])
    write = pa.csv.write_csv if ending == "csv" else pa.parquet.write_table
    write(table, tmp_path / f"a.{ending}")
    np.save(tmp_path / "a.npy", x)
    found, expected = (
        data.load(tmp_path / name, scaling=scaling) for name in (f"a.{ending}", "a.npy")
    )
    for split in ("train", "valid", "test"):
        own, other = getattr(found, split).x, getattr(expected, split).x
        np.testing.assert_array_equal(own, other, strict=True)
