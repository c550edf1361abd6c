"""Damaged tables and other files are refused in one line; reading takes no more than it must."""

import sys

import pytest
from faults import bad_tables

from experiments.benchmark import reading
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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resets the peak in /proc")
@pytest.mark.parametrize("case", [case for case in reading.cases() if "JPEG" not in case])
def test_reading_takes_about_twice_the_data_at_most(tmp_path, case):
    """Of the file, or of the rows in float32, whichever is larger; beyond what is imported."""
    make = reading.cases()[case]
    found = reading.measured(make(tmp_path / "all", False), make(tmp_path / "few", True))
    # of several kinds in Parquet 1.98: its counts and words take almost nothing in the file
    most = 2.25 if "kinds, parquet" in case else 1.75
    assert found.peak <= most * found.size, f"{found.peak / found.size:.2f} × the data"
