"""What reading may take of memory (R20), and files that end in one line (R21)."""

import os
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse

from vae_jax import data, errors, memory
from vae_jax.cli import command as cli
from vae_jax.data import _dataset
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import rows
from vae_jax.storage import files

RNG = np.random.default_rng(0)
LIMIT = 2**21
"""What reading may take in these tests, in bytes; none of the files has as many."""


@pytest.fixture
def limited(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, str(LIMIT / 2**30))


def header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


# --- What there is


def test_the_variable_says_what_reading_may_take(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "0.5")
    assert memory.limit_bytes() == 2**29
    memory.check("a", 2**29)
    with pytest.raises(DataError, match=r"a: would take about 512.0 MiB of memory, reading may"):
        memory.check("a", 2**29 + 1)


@pytest.mark.parametrize("value", ["", "8GB", "0", "-1", "nan", "inf"])
def test_a_variable_that_is_no_number_is_refused(monkeypatch, value):
    monkeypatch.setenv(memory.VARIABLE, value)
    with pytest.raises(UsageError, match=f"{memory.VARIABLE}={value}: "):
        memory.limit_bytes()


def test_without_the_variable_the_least_of_all_limits_counts(monkeypatch, tmp_path):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    assert 0 < memory.limit_bytes() <= memory.physical_bytes() * 3 / 4
    monkeypatch.setattr(memory, "_limits_of_process", lambda: iter([4000, 8000]))
    assert memory.limit_bytes() == 3000


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/jobs/1", "jobs/memory.max"),
        ("4:memory:/jobs/1", "memory/jobs/1/memory.limit_in_bytes"),
    ],
)
def test_control_groups_and_those_above_them_count(monkeypatch, tmp_path, line, file):
    group, where = tmp_path / "cgroup", tmp_path / "groups"
    group.write_text(f"1:cpu:/jobs\n{line}\n")
    (where / file).parent.mkdir(parents=True)
    (where / file).write_text("12345\n")
    below = where / file.replace("jobs/memory.max", "jobs/1/memory.max")
    below.parent.mkdir(exist_ok=True)
    if below != where / file:
        below.write_text("max\n")
    monkeypatch.setattr(memory, "_OWN_GROUPS", group)
    monkeypatch.setattr(memory, "_CGROUPS", where)
    assert 12345 in list(memory._limits_of_process())


def test_the_address_space_counts():
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30));"
        "from vae_jax import memory; print(memory.limit_bytes())"
    )
    environ = {k: v for k, v in os.environ.items() if k != memory.VARIABLE}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True)
    assert int(done.stdout) <= 2**30 * 3 / 4, done.stderr


# --- What a file says is not taken on its word (R20)


def long_line(folder):
    path = folder / "a.txt"
    path.write_text("a\n" * 3000 + "b" * 4000)
    return path


def many_lines(folder):
    path = folder / "a.txt"
    path.write_text("ab\nc\n" * 10**4)
    return path


def many_pictures(folder):
    path = folder / "pictures"
    path.mkdir()
    for i in range(20):
        PIL.Image.new("RGB", (300, 300)).save(path / f"{i}.png")
    return path


def large_picture(folder):
    path = folder / "pictures"
    path.mkdir()
    PIL.Image.new("1", (3000, 3000)).save(path / "0.png")
    return path


def few_values(folder):
    path = folder / "a.parquet"
    pa.parquet.write_table(pa.table({"a": np.zeros(10**5), "b": np.ones(10**5)}), path)
    return path


def long_text(folder):
    path, texts = folder / "a.parquet", pa.array(["w" * 10**5])
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300, np.int32)), texts)
    pa.parquet.write_table(pa.table({"a": np.arange(300) / 7, "b": texts}), path)
    return path


def wide_table(folder):
    path = folder / "a.csv"
    path.write_text("\n".join([",".join(f"c{i}" for i in range(500)), *[",".join("1" * 500)] * 3]))
    return path


def long_table(folder):
    path = folder / "a.csv"
    path.write_text("a,b\n" + "1,2\n3,4\n" * 10**4)
    return path


def zeros(folder):
    path = folder / "a.npz"
    np.savez_compressed(path, x=np.zeros((10**6, 3)))
    return path


def zeros_in_parts(folder):
    path, part = folder / "a.npz", np.zeros((10**5, 2))
    np.savez_compressed(path, x_train=part, x_test=part)
    return path


def labels_of_zeros(folder):
    path = folder / "a.npz"
    np.savez_compressed(path, x=RNG.normal(size=(30_000, 1)), y=np.zeros(30_000, np.uint8))
    return path


def rows_of_holes(folder):
    path = folder / "a.npy"
    content = header((10**8, 1), "'|u1'")
    path.write_bytes(content)
    os.truncate(path, len(content) + 10**8)
    return path


def sparse_and_huge(folder):
    path = folder / "a.npz"
    matrix = scipy.sparse.coo_array(([1.0], ([3], [4])), shape=(10**4, 10**4))
    scipy.sparse.save_npz(path, matrix.tocsr())
    return path


HOSTILE = [
    long_line,
    many_lines,
    many_pictures,
    large_picture,
    few_values,
    long_text,
    wide_table,
    long_table,
    zeros,
    zeros_in_parts,
    labels_of_zeros,
    rows_of_holes,
    sparse_and_huge,
]


@pytest.mark.fault("R20")
@pytest.mark.parametrize("make", HOSTILE)
def test_data_beyond_the_memory_limit_are_refused_before_reading(tmp_path, limited, make):
    path = make(tmp_path)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"memory|bytes here") as caught:
        data.load(str(path), loading="memory" if make in (sparse_and_huge, long_line) else "auto")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * LIMIT
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    assert memory.VARIABLE in str(caught.value) or "bytes here" in str(caught.value)


@pytest.mark.fault("R20")
def test_a_sparse_matrix_of_hardly_any_values_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    matrix = scipy.sparse.coo_array(([1.0], ([3], [4])), shape=(10**6, 10**5))
    scipy.sparse.save_npz(path, matrix.tocsr())
    with pytest.raises(DataError, match="with 1 values: at least one cell in 1,048,576"):
        data.load(str(path), loading="stream")


@pytest.mark.fault("R20")
def test_windows_that_overlap_are_counted_before_they_are_cut(tmp_path, limited):
    path = tmp_path / "a.npy"
    np.save(path, RNG.normal(size=(2000, 2)))
    data.load(str(path), window=100)
    with pytest.raises(DataError, match="of windows a longer `hop`"):
        data.load(str(path), window=100, hop=1)


@pytest.mark.fault("R20")
def test_one_long_label_is_a_label_like_others(tmp_path, limited):
    path, labels = tmp_path / "a.csv", ["x", "y", "w" * 10**4]
    rows = [f"{i / 7},{labels[i % 2 if i else 2]}" for i in range(1200)]
    path.write_text("\n".join(["a,label", *rows]))
    tracemalloc.start()
    assert data.load(str(path)).classes == ("w" * 10**4, "x", "y")
    # of one width they would take 1200 × 10⁴ × 4 bytes
    assert tracemalloc.get_traced_memory()[1] < 2 * LIMIT
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["npy", "csv", "parquet", "txt", "png"])
def test_estimated_memory_is_close_to_peak_memory(tmp_path, monkeypatch, kind):
    """Files that can be read are not refused for what they never take."""
    asked = []
    monkeypatch.setattr(memory, "limit_bytes", lambda: asked.append(None) or 2**40)
    found = []
    check = memory.check
    monkeypatch.setattr(
        memory, "check", lambda what, num, *a: found.append(num) or check(what, num)
    )
    x = RNG.normal(size=(20_000, 10))
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "csv":
        np.savetxt(path, x, delimiter=",", fmt="%.5f")
    elif kind == "parquet":
        pa.parquet.write_table(pa.table(list(x.T), [f"c{i}" for i in range(10)]), path)
    elif kind == "txt":
        path.write_text("\n".join("".join(chr(97 + int(abs(v)) % 26) for v in r) for r in x))
    else:
        path = tmp_path
        for i in range(40):
            PIL.Image.fromarray(RNG.integers(0, 256, (60, 60, 3), np.uint8)).save(path / f"{i}.png")
    data.load(str(path))  # what is imported and compiled once
    found.clear()
    pool = pa.default_memory_pool()
    before = pool.max_memory()
    tracemalloc.start()
    data.load(str(path))
    taken = tracemalloc.get_traced_memory()[1] + max(0, pool.max_memory() - before)
    tracemalloc.stop()
    constant = 4 * _dataset._BLOCK_BYTES  # blocks, whatever the size
    assert taken <= max(found) + constant
    assert max(found) <= 8 * taken


@pytest.mark.fault("R20")
@pytest.mark.parametrize("text", [b"[]", b"{}", b"[[]]", b'""', b"1.5", b'{"a":1}', b"[{}]", b"1"])
def test_json_is_not_parsed_beyond_what_reading_may_take(monkeypatch, text):
    raw = b"[" + (text + b",") * 5000 + text + b"]"
    tracemalloc.start()
    files.parse_json(raw)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.setenv(memory.VARIABLE, str((taken - 2**12) / 2**30))
    with pytest.raises(ValueError, match="reading may take"):
        files.parse_json(raw)


# --- One line, whatever a file holds (R21)


@pytest.mark.fault("R21")
@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ("(True, True)", "'<f4'"),
        (f"(0, {10**20}, 5)", "'<f4'"),
        (f"({10**20}, 0)", "'<f4'"),
        ("(-3, -4)", "'<f4'"),
        ("('a', 3)", "'<f4'"),
        ("(3.0, 4)", "'<f4'"),
        ("(3, None)", "'<f4'"),
        (f"({10**12},)", "'<U0'"),
        (f"({10**12},)", "'|V0'"),
        ("(" * 300 + ")" * 300, "'<f4'"),
        ("(60, 2)", "[('a', '<f4', (1000, 1000))]"),
        ("(60, 2)", "[('a', '<f4', (0,))]"),
        ("(60, 2)", f"'<U{10**12}'"),
        ("(60, 2)", "'<f4' * 10"),
    ],
)
def test_an_absurd_header_is_one_line(tmp_path, shape, descr):
    (tmp_path / "a.npy").write_bytes(header(shape, descr) + bytes(480))
    for loading in ("memory", "stream", "auto"):
        with pytest.raises(DataError) as caught:
            data.load(str(tmp_path / "a.npy"), loading=loading)
        assert len(str(caught.value)) < 1000
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.fault("R21")
@pytest.mark.parametrize("place", ["file", "class"])
def test_names_that_are_no_text_are_refused(tmp_path, place):
    odd = os.fsdecode(b"odd\xff")
    for label in ("cat", odd if place == "class" else "dog"):
        folder = tmp_path / label
        folder.mkdir(parents=True)
        for name in (odd if place == "file" else "0", "1", "2"):
            PIL.Image.fromarray(RNG.integers(0, 256, (4, 4), np.uint8)).save(folder / f"{name}.png")
    with pytest.raises(DataError, match="its name is not UTF-8: rename it"):
        data.load(str(tmp_path))


@pytest.mark.fault("R21")
@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet", "txt", "png"])
def test_data_may_lie_in_a_folder_whose_name_is_no_text(tmp_path, suffix):
    folder, x = tmp_path / os.fsdecode(b"odd\xff"), RNG.integers(0, 256, (12, 4, 3), np.uint8)
    folder.mkdir()
    path = folder / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, x)
    elif suffix == "csv":
        path.write_text("a,b\n" + "".join(f"{i / 7},{i / 3}\n" for i in range(12)))
    elif suffix == "parquet":
        pa.parquet.write_table(pa.table({"a": x[:, 0, 0]}), tmp_path / "a.parquet")
        os.rename(tmp_path / "a.parquet", path)
    elif suffix == "txt":
        path.write_text("ab\nc\n" * 6)
    else:
        path = folder
        for i in range(12):
            PIL.Image.fromarray(x[i]).save(path / f"{i}.png")
    dataset = data.load(str(path))
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == 12


@pytest.mark.fault("R21")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_a_sweep_is_read_from_a_file_alone(tmp_path, make):
    make(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        rows.read_rows(str(tmp_path / "a.csv"), {})


@pytest.mark.fault("R21")
def test_a_sweep_is_not_read_without_bound(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("beta\n" + "1\n" * (rows.MAX_RUNS + 1))
    with pytest.raises(UsageError, match="has more than 10000 runs"):
        rows.read_rows(str(path), {})
    monkeypatch.setattr(rows, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match=r"cannot be read \(has more than 10 bytes"):
        rows.read_rows(str(path), {})


def test_a_sweep_may_be_linked(tmp_path):
    (tmp_path / "a.csv").write_text("beta\n1\n2\n")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    assert len(rows.read_rows(str(tmp_path / "b.csv"), {})) == 2


@pytest.mark.fault("R21")
@pytest.mark.parametrize("word", ["--" + "x" * 10**5, "-" + "x" * 1500, "--" + "x" * 1500 + "=1"])
def test_the_name_of_a_flag_has_an_end(word):
    with pytest.raises(UsageError, match="is not a flag"):
        cli._parse(["program", word], ["beta"])


def test_errors_of_libraries_are_shortened():
    told = errors.first_line(ValueError("x" * 10**6))
    assert len(told) < 500
    assert "…" in told
    assert errors.first_line(ValueError("short")) == "short"
