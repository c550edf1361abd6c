"""The time and memory of reading a user's own files."""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmark import fresh_process
from experiments.benchmark.measuring import Row, Target, compare
from experiments.benchmark.workloads import Effort

NUM_PICTURES, PICTURE_SIZE = 10_000, 128
NUM_ROWS, NUM_COLUMNS = 700_000, 12
WORDS = ("Bonn", "Lima", "Oslo", "Pune")
READ = f"from {__name__} import serve; serve()"
BOUND = Target(2.0)


class Found(NamedTuple):
    """What reading took, scalars.

    Attributes:
        seconds: time of the second reading in a process; the first is of a small file.
        peak: of memory in bytes, beyond what the first reading left.
        size: bytes of the data: of the files, or of the rows as stored if these are more.
    """

    seconds: float
    peak: int
    size: int


def reading(effort: Effort) -> Iterator[Row]:
    """Time and peak memory of reading files once, the memory compared with the data."""
    for case, make in cases(effort.is_small).items():
        with tempfile.TemporaryDirectory() as folder:
            path, small = make(Path(folder, "all"), False), make(Path(folder, "few"), True)
            found = measured(path, small)
        seconds, peak, size = ([value] for value in found)
        yield compare(case, "time of reading", seconds, seconds, "itself", unit="s")
        to = "the files, or the stored rows if these are larger"
        yield compare(case, "peak of reading", peak, size, to, unit="bytes", target=BOUND)


def cases(is_small: bool = False) -> dict[str, Callable[[Path, bool], Path]]:
    """Case → a function that writes it into a folder, all of it or a few rows: its path."""
    pictures, rows = (100, 2_000) if is_small else (NUM_PICTURES, NUM_ROWS)
    found: dict[str, Callable] = {
        f"{pictures:,} JPEG files of {PICTURE_SIZE}×{PICTURE_SIZE}": lambda folder, is_few: jpegs(
            folder, 20 if is_few else pictures
        )
    }
    for ending in ("csv", "parquet"):
        for what, columns in (("numbers", numbers), ("columns of several kinds", several_kinds)):
            case = f"{rows:,} × {NUM_COLUMNS} {what}, {ending}"
            found[case] = _table(ending, columns, rows)
    return found


def _table(ending: str, columns: Callable, num_rows: int) -> Callable[[Path, bool], Path]:
    def make(folder: Path, is_few: bool) -> Path:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        folder.mkdir()
        path, table = folder / f"rows.{ending}", pa.table(columns(100 if is_few else num_rows))
        write = pa.csv.write_csv if ending == "csv" else pa.parquet.write_table
        write(table, path)
        return path

    return make


def numbers(num: int) -> dict[str, np.ndarray]:
    """Columns [N] of numbers in double precision, by name."""
    x = np.random.default_rng(0).normal(size=(NUM_COLUMNS, num))
    return {f"c{place}": column for place, column in enumerate(x)}


def several_kinds(num: int) -> dict:
    """Columns [N] by name: numbers, some of them missing, counts and words."""
    import pyarrow as pa

    columns, generator = numbers(num), np.random.default_rng(1)
    gaps = pa.array(columns["c2"], mask=generator.random(num) < 0.1)
    counts = generator.integers(0, 50, num)
    words = np.array(WORDS)[generator.integers(0, len(WORDS), num)]
    return {**columns, "c0": words, "c1": counts, "c2": gaps}


def jpegs(folder: Path, num: int) -> Path:
    """A folder of N smooth random pictures in color."""
    import PIL.Image

    folder.mkdir()
    generator, size = np.random.default_rng(0), (PICTURE_SIZE, PICTURE_SIZE)
    for number in range(num):
        coarse = PIL.Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize(size, PIL.Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")
    return folder


def measured(path: Path, small: Path) -> Found:
    """Reads files in a new interpreter, after a small one of the same format."""
    told = fresh_process.printed(READ, [str(small), str(path)])
    return Found(*json.loads(told.splitlines()[-1]))


def serve() -> None:
    """The process of `measured`: prints a `Found` as JSON."""
    from vae_jax import data
    from vae_jax.devices import hardware

    small, path = sys.argv[1:]
    data.load(small)
    with contextlib.suppress(OSError):  # not Linux: the peak of the imports counts as reading
        Path("/proc/self/clear_refs").write_text("5")
    before, start = hardware.peak_bytes(), time.perf_counter()
    dataset = data.load(path)
    seconds, peak = time.perf_counter() - start, hardware.peak_bytes() - before
    stored = sum(split.x.nbytes for split in (dataset.train, dataset.valid, dataset.test))
    files = [Path(path)] if Path(path).is_file() else [*Path(path).iterdir()]
    size = max(stored, sum(file.stat().st_size for file in files))
    print(json.dumps(Found(seconds, peak, size)), flush=True)
