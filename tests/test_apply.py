"""Files of new rows: read block by block, written whole or not at all."""

import gzip
import os
import pickle
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

import vae_jax
from vae_jax import data, forms, make_model, uses
from vae_jax.cli.commands import apply as command
from vae_jax.data import _streams
from vae_jax.errors import DataError, StorageError, UsageError
from vae_jax.lab import mapping, outputs
from vae_jax.looks import Look
from vae_jax.storage import exported

N = 40
X = np.round(np.random.default_rng(5).normal(size=(N, 3)) * [1, 10, 100], 3)
NAMES = ["a", "b", "c"]


def csv(names=NAMES, rows=X, mark=","):
    lines = (mark.join(map(str, row)) for row in rows)
    return "\n".join([mark.join(names), *lines]) + "\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An exported model of a table, untrained: the path of its file."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "train.csv").write_text(csv())
    dataset = data.load(folder / "train.csv")
    made = make_model(dataset, latent_dim=2, widths=(3,))
    about = {
        "settings": {},
        "data": {
            **{"kind": "table", "num_levels": None, "x": ""},
            "scaling": {
                n: np.ravel(getattr(dataset.scaling, n)).tolist() for n in ("offset", "scale")
            },
            "schema": dataset.schema.as_json(),
        },
    }
    exported.save(folder / "model.safetensors", made, made.init(jax.random.key(0)), about)
    return str(folder / "model.safetensors")


def run(name, model, output, **flags):
    """The command in this process, flags as text."""
    values = dict.fromkeys(command.flag_texts(name))
    command.main(name, {**values, "run": model, "output": str(output), **flags})


READERS = {
    ".csv": lambda path: pa.csv.read_csv(path),
    ".tsv": lambda path: pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter="\t")),
    ".csv.gz": lambda path: pa.csv.read_csv(path),
    ".parquet": pa.parquet.read_table,
    ".feather": pa.feather.read_table,
}


def write(path):
    """The rows, with an id that stands last, in the format of a path."""
    table = pa.table(
        {n: X[:, i] for i, n in enumerate(NAMES)} | {"key": [f"k,{i}" for i in range(N)]}
    )
    if path.name.endswith(".parquet"):
        pa.parquet.write_table(table, path, row_group_size=16)
    elif path.name.endswith(".feather"):
        pa.feather.write_feather(table, path, chunksize=16)
    else:
        mark = "\t" if ".tsv" in path.name else ","
        options = pa.csv.WriteOptions(delimiter=mark)
        with path.open("wb") as file:
            held = pa.BufferOutputStream()
            pa.csv.write_csv(table, held, options)
            text = held.getvalue().to_pybytes()
            file.write(gzip.compress(text) if path.name.endswith(".gz") else text)


def test_each_format_gives_the_same_in_blocks(model, tmp_path, monkeypatch, capsys):
    """The output has the format of the input; ids and the order of rows stay."""
    monkeypatch.setattr(_streams, "_BLOCK_BYTES", 500)
    monkeypatch.setattr(_streams, "_BLOCK_ROWS", 7)
    found = {}
    for suffix, read in READERS.items():
        source, output = tmp_path / f"new{suffix}", tmp_path / f"scores{suffix}"
        write(source)
        assert len([*_streams.opened(source, Look()).blocks()]) > 3
        run("score", model, output, input=str(source), num_samples="2")
        found[suffix] = read(output)
    first = found[".csv"]
    assert first.column_names == ["key", "score"]
    assert first.column("key").to_pylist() == [f"k,{i}" for i in range(N)]
    for table in found.values():
        np.testing.assert_allclose(table.column("score"), first.column("score"), rtol=1e-6)
    assert len(set(first.column("score").to_pylist())) == N
    assert f"in {tmp_path / 'scores.csv'}: 40 rows" in capsys.readouterr().out
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_parts_of_several_processes_are_the_whole(model, tmp_path, monkeypatch, suffix):
    """Rows that two processes share have the draws that one gives them, bit for bit."""
    monkeypatch.setattr(_streams, "_BLOCK_BYTES", 500)
    monkeypatch.setattr(_streams, "_BLOCK_ROWS", 7)
    np.save(tmp_path / "new.npy", X)
    (tmp_path / "new.csv").write_text(csv())
    held = {}
    for rows in ("0:", "0:17", "17:33", "33:99", "99:100"):
        path = tmp_path / f"{rows.replace(':', '-')}{suffix}"
        run("encode", model, path, input=str(tmp_path / f"new{suffix}"), rows=rows, code="draw")
        text = path.read_text().splitlines() if suffix == ".csv" else ["", *np.load(path).tolist()]
        held[rows] = text[1:]
    assert held["0:"] == held["0:17"] + held["17:33"] + held["33:99"]
    assert held["99:100"] == []
    assert len(held["17:33"]) == 16
    for rows in ("5", "5:5", "-1:3", "a:b"):
        with pytest.raises(UsageError, match="must be rows such as 0:1000"):
            run("encode", model, tmp_path / "a.csv", input=str(tmp_path / "new.csv"), rows=rows)


def test_arrays_are_read_where_they_lie(model, tmp_path, monkeypatch):
    """Of a model of columns: the same numbers in their order, .npy for .npy."""
    monkeypatch.setattr(_streams, "_BLOCK_ROWS", 7)
    np.save(tmp_path / "new.npy", X)
    np.savez(tmp_path / "new.npz", x=X)
    gaps = np.where(np.arange(X.size).reshape(X.shape) % 5 == 0, np.nan, X)
    np.save(tmp_path / "gaps.npy", gaps)
    (tmp_path / "new.csv").write_text(csv())
    run("encode", model, tmp_path / "z.csv", input=str(tmp_path / "new.csv"))
    expected = np.loadtxt(tmp_path / "z.csv", delimiter=",", skiprows=1)
    for suffix in (".npy", ".npz"):
        run("encode", model, tmp_path / f"z{suffix}", input=str(tmp_path / f"new{suffix}"))
        z = np.load(tmp_path / f"z{suffix}")
        np.testing.assert_allclose(z if suffix == ".npy" else z["x"], expected, rtol=1e-6)
    run("encode", model, tmp_path / "rows.csv", input=str(tmp_path / "new.npy"))
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] == "row,z0,z1"
    out = tmp_path / "filled.npy"
    run("impute", model, out, input=str(tmp_path / "gaps.npy"), num_draws="2", num_samples="3")
    filled = np.load(out)
    assert filled.shape == (N, 2, 3)
    assert np.isfinite(filled).all()
    is_known = ~np.isnan(gaps)
    np.testing.assert_array_equal(filled[:, 0][is_known], gaps[is_known])


def test_pictures_are_restored_to_pictures(tmp_path):
    """A folder with the names of the input; scores are a table with the file of each row."""
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 1), np.uint8)
    (tmp_path / "in" / "cat").mkdir(parents=True)
    for i, name in enumerate(("cat/b.png", "cat/a.png", "c.png")):
        PIL.Image.fromarray(images[i, ..., 0]).save(tmp_path / "in" / name)
    made = make_model(images / np.float32(255), latent_dim=2, widths=(3,), likelihood="gaussian")
    about = {"settings": {}, "data": {"kind": "image", "num_levels": 256, "x": "", "scaling": None}}
    path = tmp_path / "model.safetensors"
    params = made.init(jax.random.key(0))
    exported.save(path, made, params, about)
    source = str(tmp_path / "in")
    run("reconstruct", str(path), tmp_path / "out", input=source)
    names = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")
    )
    assert names == ["c.png", "cat/a.png", "cat/b.png"]
    expected = np.asarray(made.reconstruct(params, images[:1] / np.float32(255)))[0]
    pixels = np.asarray(PIL.Image.open(tmp_path / "out" / "cat" / "b.png"))
    assert abs(pixels / 255 - np.clip(expected[..., 0], 0, 1)).max() < 0.003
    run("encode", str(path), tmp_path / "z.csv", input=source)
    told = (tmp_path / "z.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in told] == ["file", "c.png", "cat/a.png", "cat/b.png"]
    run("sample", str(path), tmp_path / "made", num="2")
    assert sorted(os.listdir(tmp_path / "made")) == ["0.png", "1.png"]
    with pytest.raises(UsageError, match="must end in one of a folder without a suffix"):
        run("reconstruct", str(path), tmp_path / "out.csv", input=source)
    with pytest.raises(UsageError, match="is a folder that holds files"):
        run("reconstruct", str(path), tmp_path / "out", input=source)


def test_rows_are_made_in_the_columns_of_the_training(model, tmp_path):
    run("sample", model, tmp_path / "a.csv", num="5")
    run("sample", model, tmp_path / "b.parquet", num="3")
    first = pa.csv.read_csv(tmp_path / "a.csv")
    assert first.column_names == NAMES
    again = pa.parquet.read_table(tmp_path / "b.parquet")
    np.testing.assert_allclose(first.column("c")[:3], again.column("c"), rtol=1e-6)


def test_mistakes_end_in_one_line(model, tmp_path):
    (tmp_path / "new.csv").write_text(csv())
    (tmp_path / "short.csv").write_text(csv(NAMES[:2], X[:, :2]))
    (tmp_path / "ragged.csv").write_text(csv() + "1,2\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + bytes(20))
    good, out = str(tmp_path / "new.csv"), tmp_path / "out.csv"
    for error, words, flags in (
        (
            UsageError,
            "--input: is missing: give python -m experiments.apply score",
            {"input": None},
        ),
        (DataError, "has no column 'c', from which", {"input": str(tmp_path / "short.csv")}),
        (DataError, "first line has 3 cells, 1 of 41", {"input": str(tmp_path / "ragged.csv")}),
        (DataError, "not a readable .parquet file", {"input": str(tmp_path / "bad.parquet")}),
        (DataError, "no such file or folder", {"input": str(tmp_path / "none.csv")}),
        (DataError, "cannot be read: must end in .csv", {"input": model}),
        (UsageError, "output=.*: is the input", {"output": good}),
        (
            UsageError,
            "output=.*out.png: must end in one of .csv",
            {"output": str(tmp_path / "out.png")},
        ),
        (UsageError, "there is no folder", {"output": str(tmp_path / "no" / "out.csv")}),
        (UsageError, "num_samples=0: must be an integer", {"num_samples": "0"}),
        (UsageError, "unseen=drop: ", {"unseen": "drop"}),
        (UsageError, "--overwrite=maybe: must be yes or no", {"overwrite": "maybe"}),
        (UsageError, "no such file or directory", {"run": str(tmp_path / "none")}),
        (StorageError, "is not a model as vae_jax exports it", {"run": good}),
    ):
        with pytest.raises(error, match=words) as caught:
            run("score", **{"model": model, "output": out, "input": good, **_renamed(flags)})
        assert "\n" not in str(caught.value)
        assert not out.exists()
    out.write_text("mine\n")
    with pytest.raises(UsageError, match="exists: give another name, or overwrite=yes"):
        run("score", model, out, input=good)
    assert out.read_text() == "mine\n"
    run("score", model, out, input=good, overwrite="yes", num_samples="2")
    assert out.read_text().startswith("score\n")


def _renamed(flags):
    return {("model" if name == "run" else name): value for name, value in flags.items()}


def test_each_use_has_flags_for_its_settings():
    for name in uses.names():
        texts = command.flag_texts(name)
        assert all(texts.values())
        assert uses.make(name) == command.parse_use(name, {})
    assert command.parse_use("impute", {"num_draws": "5"}).num_draws == 5
    assert command.parse_use("denoise", {"level": "0.5", "corruption": "masking"}).level == 0.5
    for flag, value in (("level", "x"), ("level", "nan"), ("corruption", "fog")):
        with pytest.raises(UsageError):
            command.parse_use("denoise", {flag: value})
    assert "input" not in command.flag_texts("sample")
    assert {"num", "label", "temperature"} <= command.flag_texts("sample").keys()


# --- Whole or not at all


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.npy", "out.npz", "out"])
def test_an_output_that_fails_leaves_nothing(tmp_path, name):
    """Neither under its name nor beside it; what was there before stays."""
    path = tmp_path / name
    if path.suffix:
        path.write_text("before\n")
    block = np.zeros((2, 3, 3, 1), np.uint8)
    writers = {
        ".npy": lambda: outputs.npy(path, 4),
        ".npz": lambda: outputs.whole(path),
        "": lambda: outputs.folder(path),
    }

    def fail():
        with writers.get(path.suffix, lambda: outputs.table(path))() as to:
            if path.suffix in (".csv", ".parquet"):
                to(pa.table({"a": [1]}))
            else:
                to({"a.png": block[0]} if not path.suffix else block)
            raise DataError("in the middle")

    with pytest.raises(DataError, match="in the middle"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ([name] if path.suffix else [])
    assert not path.suffix or path.read_text() == "before\n"


def test_lines_of_a_text_are_rows(tmp_path):
    """Scores are those of the symbols, lines come back as lines, whatever ends them."""
    words = ["one two", "three", "net", "wet tree", "row one", "hen"] * 3
    (tmp_path / "train.txt").write_text("\n".join(words))
    dataset = data.load(tmp_path / "train.txt", num_valid=1)
    made = make_model(dataset, latent_dim=1, widths=(2,), network="gru")
    settings = {"num_levels": dataset.num_levels, "alphabet": [*dataset.alphabet]}
    about = {"settings": {}, "data": {"kind": "sequence", "x": "", **settings}}
    path = tmp_path / "model.safetensors"
    exported.save(path, made, made.init(jax.random.key(0)), about)
    (tmp_path / "new.txt").write_bytes(b"\xef\xbb\xbfthree\r\n\r\nhen\nwet tree")
    files = {"input": str(tmp_path / "new.txt"), "by": "reconstruction"}
    run("score", str(path), tmp_path / "s.csv", **files)
    found = pa.csv.read_csv(tmp_path / "s.csv")
    assert found.column("row").to_pylist() == [0, 1, 2, 3]
    trained = vae_jax.load(path)
    symbols = np.array([[1 + dataset.alphabet.index(c) for c in "hen"] + [0] * 5], np.int32)
    again = trained.score(np.repeat(symbols, 3, axis=0), by="reconstruction")
    np.testing.assert_allclose(found.column("score")[2].as_py(), again[2], rtol=1e-6)
    assert forms.of(made, None, None, about).array(
        symbols / len(dataset.alphabet), np.array(["x"])
    ) == ["hen"]
    run("reconstruct", str(path), tmp_path / "r.txt", input=str(tmp_path / "new.txt"))
    run("sample", str(path), tmp_path / "drawn.txt", num="5")
    for name, num in (("r.txt", 4), ("drawn.txt", 5)):
        lines = (tmp_path / name).read_text().split("\n")
        assert len(lines) == num + 1
        assert {*"".join(lines)} <= {*dataset.alphabet}


def test_text_that_needs_quotes_is_read_again(tmp_path):
    words = ['a "b"', "x,y", "two\nlines", "", "plain"]
    table = pa.table(
        {"n,1": words, "b": [1.5, None, 3.0, 4.0, 5.0], "t": [True, False, None] + [True] * 2}
    )
    with outputs.table(tmp_path / "a.csv") as to:
        to(table)
        to(table.slice(4))
    options = pa.csv.ParseOptions(newlines_in_values=True)
    found = pa.csv.read_csv(tmp_path / "a.csv", parse_options=options)
    assert found.column("n,1").to_pylist() == [*words, "plain"]
    assert found.column("b").to_pylist() == [1.5, None, 3.0, 4.0, 5.0, 5.0]
    assert found.column("t").to_pylist() == [True, False, None, True, True, True]


KILLED = """
import pathlib, sys, time
import pyarrow as pa
from vae_jax.lab import mapping, outputs
with outputs.table(pathlib.Path(sys.argv[1])) as to:
    for i in range(10**6):
        to(pa.table({"a": [i] * 1000}))
        print(i, flush=True)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_half_file(tmp_path):
    path = tmp_path / "out.csv"
    for _ in range(2):  # the second finds what the first left
        words = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) >= 50:
                    process.send_signal(signal.SIGKILL)
                    break
        assert not path.exists()
    with outputs.table(path) as to:
        to(pa.table({"a": [1]}))
    assert path.read_text() == "a\n1\n"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows(model, tmp_path):
    """Eight times as many rows, of 300 MB as Arrow and float64, take at most 128 MiB more."""
    peaks, (names, body) = [], csv().split("\n", 1)
    for times in (8_000, 64_000):
        path = tmp_path / f"{times}.csv"
        path.write_text(f"{names}\n{body * times}")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "experiments.apply", "score", f"--run={model}"),
                *(f"--input={path}", f"--output={tmp_path / f'{times}.out.csv'}"),
                "--num_samples=1",
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(float(re.search(r"([\d.]+) MiB of memory", done.stdout)[1]))
    assert peaks[1] < peaks[0] + 128


# --- Engines that spread a table over processes


def scored(model, index="key"):
    table = pa.table({n: X[:, i] for i, n in enumerate(NAMES)} | {"key": np.arange(N)})
    return table, mapping.Mapper(model, "encode", index=index, code="draw", batch_size=8)


def test_batches_in_any_order_are_the_whole(model):
    """A mapper is pickled, and each process loads the model anew: bit for bit the same."""
    table, mapper = scored(model)
    whole = mapper(table)
    parts = [pickle.loads(pickle.dumps(mapper))(table.slice(a, 15)) for a in (30, 0, 15)]
    joined = pa.concat_tables(parts).sort_by("key")
    assert joined.to_pydict() == whole.to_pydict()
    assert len(set(whole.column("z0").to_pylist())) == N
    with pytest.raises(DataError, match="have no column 'row', which index names: give one"):
        scored(model, "row")[1](table)
    with pytest.raises(DataError, match="column 'a' holds float64, which index names: give whole"):
        scored(model, "a")[1](table)
    with pytest.raises(UsageError, match="must be a table: give batches of one"):
        mapper(X)


@pytest.mark.slow
def test_partitions_of_dask(model):
    frames = pytest.importorskip("dask.dataframe")
    table, mapper = scored(model)
    whole = mapper(table).to_pandas()
    frame = frames.from_pandas(table.to_pandas(), npartitions=2)
    found = frame.map_partitions(mapper, meta=whole.iloc[:0])
    found = found.compute(scheduler="processes", num_workers=2)
    assert found.to_dict("list") == whole.to_dict("list")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.use_.* is deprecated:DeprecationWarning")  # Ray's own
@pytest.mark.filterwarnings("ignore:.*_at_fork:pytest.PytestUnraisableExceptionWarning")  # JAX's
def test_batches_of_ray(model):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        table, mapper = scored(model)
        rows = ray.data.from_arrow(table).map_batches(
            mapper, batch_format="pyarrow", batch_size=N // 2
        )
        found = pa.concat_tables(ray.get(rows.to_arrow_refs())).sort_by("key")
        assert found.to_pydict() == mapper(table).to_pydict()
    finally:
        ray.shutdown()
