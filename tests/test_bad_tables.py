"""Damaged tables and other files are refused in one line; reading takes no more than it must."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from faults import bad_tables

from vae_jax import data
from vae_jax.errors import DataError, UsageError

BAD = bad_tables.made()


def test_there_are_at_least_forty_of_many_formats():
    assert len(BAD) >= 40
    assert len({name.partition(".")[2] for name in BAD}) >= 10


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises((DataError, UsageError)) as caught:
        data.load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path)) or name in message


def test_the_table_without_damage_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(bad_tables.text(*bad_tables.lines()))
    dataset = data.load(path)
    assert sum(len(getattr(dataset, s)) for s in ("train", "valid", "test")) == bad_tables.NUM


PEAK = """
import resource, sys
from vae_jax import data
from vae_jax.data import _files, _tables
import pyarrow, pyarrow.csv, pyarrow.parquet
pyarrow.array(["a"])  # which imports pandas, where there is one
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset = data.load(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 2**10), len(dataset.train))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "times"), [("csv", 2.0), ("parquet", 2.5)])
def test_reading_takes_at_most_a_few_times_the_file(tmp_path, ending, times):
    """Beyond what is imported. Of Parquet, Arrow's columns and the rows of all are held at once."""
    x = np.random.default_rng(0).normal(size=(700_000, 12))
    path, names = tmp_path / f"a.{ending}", [f"c{i}" for i in range(12)]
    table = pa.table(dict(zip(names, x.T, strict=True)))
    write = pa.parquet.write_table if ending == "parquet" else pa.csv.write_csv
    write(table, path)
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
    )
    peak, num_train = map(int, ended.stdout.split())
    assert num_train == 560_000
    assert peak <= times * path.stat().st_size, f"{peak / path.stat().st_size:.2f} × the file"
