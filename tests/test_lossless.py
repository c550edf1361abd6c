"""Lossless compression: what comes back is what went in, and it takes what the theory says."""

import bz2
import functools
import gzip
import hashlib
import json
import lzma
import math
import os
import re
import signal
import struct
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax import data, likelihoods, lossless, networks
from vae_jax.cli.commands import apply as command
from vae_jax.errors import DataError, UsageError
from vae_jax.lossless import ans, baselines, codec, container, tables
from vae_jax.model import Model
from vae_jax.storage import exported
from vae_jax.trained import Trained

pytestmark = pytest.mark.usefixtures("tables_once")
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tables_once():
    """The programs of a model and a batch size are compiled once for the whole file."""
    made, make = {}, codec.Tables

    def kept(model, params, batch_size, num_values):
        key = id(params), batch_size, num_values
        if key not in made:
            made[key] = params, make(model, params, batch_size, num_values)
        return made[key][1]

    codec.Tables = kept
    yield
    codec.Tables = make


def model_of(shape, name, num_levels=2, **more):
    """A model with its initial parameters."""
    settings = {} if name in ("bernoulli", "poisson") else {"num_levels": num_levels}
    likelihood = likelihoods.make(name, **settings)
    parts = networks.build(
        "mlp", shape=shape, latent_dim=3, num_outputs=likelihood.num_outputs, widths=(8,)
    )
    made = Model(*parts, likelihood, shape, 3, **more)
    return Trained(made, made.init(jax.random.key(3)))


@functools.cache
def known(name):
    """A model of 3 × 2 values of a likelihood, and rows of them."""
    num = {"bernoulli": 2}.get(name, 5)
    return model_of((3, 2), name, num), RANDOM.integers(0, num, (70, 3, 2)), num


@pytest.fixture(scope="module")
def bits():
    """A model of 4 × 4 bits, and rows that it draws."""
    trained = model_of((4, 4, 1), "bernoulli")
    z = RANDOM.normal(size=(3000, 3)).astype("f4")
    shares = np.asarray(trained.model.decode_mean(trained.params, z))
    return trained, (RANDOM.random(shares.shape) < shares).astype(np.uint8)


@pytest.fixture(scope="module")
def made(bits):
    """Twenty of these rows as a file."""
    trained, rows = bits
    return lossless.compress(trained, rows[:20], batch_size=4).data


# --- The coder


def coder(num_lanes, **more):
    empty = np.zeros(0, np.uint32)
    return ans.Coder(np.full(num_lanes, ans.EMPTY, np.uint64), empty, **more)


steps = st.lists(
    st.tuples(st.booleans(), st.integers(1, 5), st.integers(2, 32), st.integers(0, 2**32)),
    max_size=60,
)


@given(steps)
@settings(max_examples=50, deadline=None)
def test_each_step_is_undone_by_its_inverse(steps):
    """Pushes and pops in any order, of any distributions, leave the initial bits at the end."""
    there, done = coder(5, is_bottomless=True), []
    for is_push, num, precision, seed in steps:
        random = np.random.default_rng(seed)
        width = random.integers(0, precision)
        start = random.integers(0, 2 ** (precision - width), num) << width
        if not is_push:
            start = there.peek(num, precision) >> np.uint64(width) << np.uint64(width)
        step = start, np.full(num, 1 << width), precision
        (there.push if is_push else there.pop)(*step)
        done.append((is_push, step))
        assert (there.heads >= ans.EMPTY).all()
    back = ans.Coder(there.heads, there.words)
    for is_push, (start, frequency, precision) in reversed(done):
        if is_push:
            found = back.peek(len(start), precision) - start.astype(np.uint64)
            assert (found < frequency.astype(np.uint64)).all()
        (back.pop if is_push else back.push)(start, frequency, precision)
    assert (back.heads == ans.EMPTY).all()
    np.testing.assert_array_equal(back.words, ans.initial_words(there.num_initial)[::-1])


def test_symbols_take_their_logarithms():
    """Σ −log2 p, but for the bits that a lane rounds up to, and 2^-12 of each symbol at most."""
    shares = np.int64([1, 2, 5, 8, 2**20 - 16])
    starts, total = np.cumsum(shares) - shares, 2**20
    symbols = RANDOM.choice(5, (4000, 3), p=[0.1, 0.1, 0.2, 0.3, 0.3])
    there = coder(3)
    for row in symbols:
        there.push(starts[row], shares[row], 20)
    ideal = -np.log2(shares[symbols] / total).sum()
    held = np.log2(there.heads.astype(float)).sum() - 3 * 32 + 32 * len(there.words)
    assert abs(held - ideal) < symbols.size * 2**-11
    for row in symbols[::-1]:
        place = there.peek(3, 20).astype(np.int64)
        np.testing.assert_array_equal(np.searchsorted(starts, place, "right") - 1, row)
        there.pop(starts[row], shares[row], 20)
    assert len(there.words) == 0


def test_popping_draws_from_the_distribution():
    """With the bits that were never pushed, which are counted: 2 bits a symbol of 1 in 4."""
    there = coder(1, is_bottomless=True)
    found = []
    for _ in range(4000):
        place = there.peek(1, 8)
        start = place >> np.uint64(6) << np.uint64(6)
        found.append(int(start[0]) // 64)
        there.pop(start, np.int64([64]), 8)
    counts = np.bincount(found, minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 20  # χ² of 3 degrees: 20 is 1 in 5,000
    assert abs(32 * there.num_initial - 2 * 4000) <= 64
    whole = ans.initial_words(20)
    np.testing.assert_array_equal(ans.initial_words(5, 13), whole[13:18])
    assert whole[0] == struct.unpack("<I", hashlib.sha256(b"vaez0").digest()[:4])[0]


# --- Probabilities as integers


def x_of(name, whole, num):
    """The values of a likelihood for their indices, float32."""
    return whole.astype("f4") if name == "poisson" else whole / np.float32(num - 1)


LIKELIHOODS = [
    *("bernoulli", "logistic"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("categorical", "poisson")),
]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_frequencies_are_the_densities_of_the_model(name):
    """Of q(z|x) between the edges of the buckets, of p(x|z) at their middles, from SciPy."""
    trained, whole, num = known(name)
    whole = whole[:6]
    own = codec.Tables(trained.model, trained.params, 8, num)
    of_codes, codes = own.posterior(whole.reshape(6, 6)), RANDOM.integers(0, 256, (6, 3))
    of_values = own.observation(codes)
    for found in (of_codes, of_values):
        assert (found >= 1).all()
        assert (found.astype(int).sum(axis=2) == 2**20).all()
    q = trained.model.encode(trained.params, x_of(name, whole, num))
    edges = scipy.special.ndtri(np.arange(257) / 256)
    below = scipy.special.ndtr((edges - np.asarray(q.mean)[..., None]) / q.deviation[..., None])
    np.testing.assert_allclose(of_codes / 2**20, np.diff(below, axis=2), atol=258 / 2**20)
    z = scipy.special.ndtri((codes + 0.5) / 256).astype("f4")
    outputs = trained.model.decode(trained.params, z)
    density = functools.partial(
        trained.model.likelihood.log_probs, trained.params["likelihood"], outputs
    )
    values = x_of(name, np.arange(num), num)
    log = [np.ravel(density(np.full(whole.shape, value, "f4"))) for value in values]
    shares = np.exp(np.stack(log, axis=1).astype(float))
    shares /= shares.sum(axis=1, keepdims=True)  # counts are cut off at the largest
    found = of_values.reshape(-1, num) / 2**20
    np.testing.assert_allclose(found, shares, atol=(num + 2) / 2**20)


# --- Rows, there and back


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_rows_come_back_bit_for_bit(name):
    trained, whole, num = known(name)
    x = x_of(name, whole, num)
    whole_types = ("|b1", "<u2", "<f8") if name == "bernoulli" else (">i8",)
    for dtype in whole_types if name in ("bernoulli", "poisson") else ("<f4", ">f4"):
        for count in (0, 1, 70):
            rows = x[:count].astype(dtype)
            data = lossless.compress(trained, rows, batch_size=8).data
            found = trained.decompress(data)
            assert (found.dtype, found.shape) == (rows.dtype, rows.shape)
            assert found.tobytes() == rows.tobytes()


def test_masked_dimensions_take_nothing(bits):
    """Neither bits nor initial bits, whatever the encoder says of them."""
    trained, rows = bits
    masked = model_of((4, 4, 1), "bernoulli", latent_mask=np.float32([1, 0, 1]))
    made = lossless.compress(masked, rows[:1], batch_size=1)
    assert (masked.decompress(made.data) == rows[:1]).all()
    assert made.initial_bits == 32  # 2 dimensions of 8 bits each, in words
    assert trained.model.latent_dim == 3


@given(st.integers(0, 5000), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_batches_grow_and_hold_each_row_once(num, most):
    batches = codec._Batches.of(num, most)
    sizes = [*batches]
    assert sum(sizes) == num
    assert [*reversed(batches)] == sizes[::-1]
    assert max(sizes, default=0) == batches.num_lanes
    done = np.cumsum(sizes) - sizes
    assert all(1 <= n <= min(most, max(1, d // 4)) for n, d in zip(sizes, done, strict=True))


def test_the_rate_is_the_elbo(bits):
    """Net of the initial bits: within 1 % of −ELBO, and the lanes, which hold at most 64 bits."""
    trained, rows = bits
    made = lossless.compress(trained, rows, batch_size=16)
    lanes = 64 * 16 / rows.size
    assert 0.99 * made.bits["elbo"] < made.bits["net"] < 1.01 * made.bits["elbo"] + lanes
    assert made.bits["file"] == 8 * len(made.data) / rows.size
    assert made.bits["coded"] - made.bits["net"] == pytest.approx(made.initial_bits / rows.size)
    assert 0 < made.initial_bits <= 64  # of the first row: at most 3 × 20, in words


def test_codes_are_draws_whatever_lies_on_the_stack(bits, monkeypatch):
    """Uniform under q(z|x) = p(z), and independent of the code of the row before.

    That lies on top of the stack: popped as it is, it would be the code of each row that follows.
    """
    trained, rows = bits
    encoder = jax.tree.map(np.zeros_like, trained.params["encoder"])
    same = Trained(trained.model, {**trained.params, "encoder": encoder})
    seen, own = [], tables.Tables.observation

    def observation(self, buckets):
        seen.append(buckets)
        return own(self, buckets)

    monkeypatch.setattr(tables.Tables, "observation", observation)
    lossless.compress(same, rows[:200], batch_size=1)
    found = np.concatenate(seen[:200]) / 256 - 0.5
    assert abs(np.corrcoef(found[1:].ravel(), found[:-1].ravel())[0, 1]) < 0.17  # 4 σ
    counts = np.histogram(found, bins=10, range=(-0.5, 0.5))[0]
    assert ((counts - 60) ** 2 / 60).sum() < 32  # χ² of 9 degrees: 32 is 1 in 5,000


def test_other_codes_count_what_the_libraries_write():
    rows = (RANDOM.random((500, 30)) < 0.1).astype(np.uint8)
    found = baselines.Baselines(2)
    for block in (rows[:200], rows[200:]):
        found.add(block, block)
    bits = found.bits_per_value()
    packed = np.packbits(rows, axis=1).tobytes()
    for name, code in (("bz2", bz2), ("xz", lzma)):
        more = {"preset": 9} if code is lzma else {}
        assert bits[name] == 8 * len(code.compress(rows.tobytes(), **more)) / rows.size
        assert bits[f"{name} of packed bits"] == 8 * len(code.compress(packed, **more)) / rows.size
    assert bits["gzip"] == 8 * len(gzip.compress(rows.tobytes(), 9)) / rows.size
    shares = rows.mean(axis=0)
    entropy = scipy.special.entr([shares, 1 - shares]).sum() / math.log(2) / 30
    assert bits["independent values"] == pytest.approx(entropy)


# --- Files that are not what they should be


def test_a_file_that_was_changed_anywhere_is_refused(bits, made):
    trained, data = bits[0], made
    for place in (0, 3, 5, 9, 60, len(data) // 2, len(data) - 40, len(data) - 1):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        for changed in (bytes(flipped), data[:place]):
            with pytest.raises(DataError, match="data: ") as caught:
                trained.decompress(changed)
            assert "\n" not in str(caught.value)


HOSTILE = (
    *({"shape": value} for value in ([2**50, 4, 4], [2**47, 1], [-1, 4, 4], [], "a", [1.0, 4, 4])),
    *({"shape": [value, 4, 4]} for value in (2**40, True, None, 1e9, [20])),
    *({"dtype": value} for value in ("|O", "<f2", "|V8", "M8[s]", "(9,)f4", 3, ["f4"])),
    *({"num_values": value} for value in (0, 1, 3, 2**40, "2", None)),
    *({"batch_size": value} for value in (0, -1, 65, 2**60, 4.0)),
    *({"lanes": value} for value in (0, 1, 4, 5, -4, 2**40, "4")),
    *({"machine": value} for value in (None, [], {"jax": 1})),
    *({"params": 1}, {"rows": None}, {"rows": "0" * 64}, {"fingerprint": []}, {"more": 1}),
)


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_a_forged_header_is_refused(bits, made, change):
    """In one line, and without the memory that it claims."""
    trained, data = bits[0], made
    length = struct.unpack_from("<I", data, 8)[0]
    told = json.loads(data[12 : 12 + length])
    header = json.dumps({**told, **change}).encode()
    body = data[:8] + struct.pack("<I", len(header)) + header + data[12 + length : -32]
    with pytest.raises((DataError, UsageError)) as caught:
        trained.decompress(body + hashlib.sha256(body).digest())
    assert "\n" not in str(caught.value)


def test_headers_that_are_none_are_refused(bits, made):
    trained, data = bits[0], made
    rest = data[12 + struct.unpack_from("<I", data, 8)[0] : -32]
    for header in (b"", b"{}", b"[]", b"1", b"{", b"\xff", b"[" * 60_000):
        for length in (len(header), 2**32 - 1):
            body = data[:8] + struct.pack("<I", length) + header + rest
            with pytest.raises(DataError, match="no header that compress writes"):
                trained.decompress(body + hashlib.sha256(body).digest())


def test_words_of_another_file_are_refused_at_the_end(bits, made):
    trained, held = bits[0], container.unpack(made, "data")
    for changed in (
        held._replace(words=held.words[::-1]),
        held._replace(words=np.append(held.words, np.uint32(1))),
        held._replace(heads=held.heads[::-1]),
    ):
        with pytest.raises(DataError, match="data: "):
            trained.decompress(container.pack(changed))


def test_another_machine_or_model_is_refused_with_the_reason(bits, made, monkeypatch):
    trained, data = bits[0], made
    other = Trained(trained.model, trained.model.init(jax.random.key(9)))
    with pytest.raises(UsageError, match=r"by another model \(parameters [0-9a-f]{8}, these"):
        other.decompress(data)
    own = codec._machine()
    with monkeypatch.context() as patch:
        patch.setattr(codec, "_machine", lambda: {**own, "jaxlib": "0.0.1", "XLA_FLAGS": "--a"})
        with pytest.raises(
            UsageError, match=r"elsewhere \(jaxlib \S+ there, 0.0.1 here; XLA_FLAGS"
        ):
            trained.decompress(data)
    forged = container.unpack(data, "data")._replace(fingerprint="0" * 64)
    with pytest.raises(UsageError, match="rounds the probabilities of the model differently"):
        trained.decompress(container.pack(forged))


def test_rows_that_the_model_cannot_tell_apart_are_refused(bits):
    trained, rows = bits
    for odd, words in (
        (rows * 255, "rows: 255 in row"),
        (rows.astype("f4") * 0.7, "rows: 0.69"),
        (np.where(rows == 1, 1.0, -0.0), "rows: -0.0 in row"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            trained.compress(odd)
        assert "is no value of the model, which would give" in str(caught.value)


# --- The command


@pytest.fixture(scope="module")
def files(bits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    trained, rows = bits
    exported.save(folder / "model.safetensors", trained.model, trained.params)
    np.save(folder / "rows.npy", rows[:40, ..., 0])
    return folder


def run(name, folder, source, target, **flags):
    values = dict.fromkeys(command.flag_texts(name))
    given = {"run": str(folder / "model.safetensors"), "input": str(folder / source)}
    command.main(name, {**values, **given, "output": str(folder / target), **flags})


def test_the_commands_give_the_file_back(files, capsys):
    run("compress", files, "rows.npy", "a.vaez")
    told = capsys.readouterr().out
    bits = float(re.search(r"(\d+\.\d{4}) in the file", told)[1])
    assert bits == round(8 * (files / "a.vaez").stat().st_size / 640, 4)
    assert "independent values" in told
    run("decompress", files, "a.vaez", "back.npy")
    assert "40 rows, as they were compressed" in capsys.readouterr().out
    assert (files / "back.npy").read_bytes() == (files / "rows.npy").read_bytes()
    run("compress", files, "rows.npy", "a.vaez", overwrite="yes", baselines="no")
    assert "other codes" not in capsys.readouterr().out
    for error, words, odd in (
        (UsageError, "exists: give another name", {}),
        (UsageError, "output=.*: must end in one of .vaez", {"target": "b.npy"}),
        (DataError, "is no file: give the path", {"source": "none.npy"}),
        (DataError, "must end in .npy", {"source": "a.vaez", "target": "c.vaez"}),
        (
            UsageError,
            "--baselines=no.: must be yes or no",
            {"target": "d.vaez", "baselines": "no."},
        ),
        (UsageError, "--input: is missing: give python -m experiments.apply c", {"input": None}),
    ):
        with pytest.raises(error, match=words):
            run("compress", files, **{"source": "rows.npy", "target": "a.vaez", **odd})
    assert {p.name for p in files.iterdir()} == {
        *("model.safetensors", "rows.npy", "a.vaez", "back.npy")
    }


def test_rows_that_are_not_verified_get_no_name(files):
    run("compress", files, "rows.npy", "e.vaez", overwrite="yes", baselines="no")
    held = container.unpack((files / "e.vaez").read_bytes(), "e")
    (files / "e.vaez").write_bytes(container.pack(held._replace(rows="0" * 64)))
    with pytest.raises(DataError, match="its rows are not those that were compressed"):
        run("decompress", files, "e.vaez", "e.npy")
    assert not [p for p in files.iterdir() if ".npy" in p.name and "e." in p.name]
    (files / "e.vaez").unlink()


def started(*words, **more):
    return [sys.executable, "-m", "experiments.apply", *words], {"text": True, **more}


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_half_file(files, bits):
    """Killed at ten times of either command: the output is whole or not there."""
    _, rows = bits
    np.save(files / "many.npy", np.tile(rows, (200, 1, 1, 1)))
    model = f"--run={files / 'model.safetensors'}"
    for name, source, target in (
        ("compress", "many.npy", "many.vaez"),
        ("decompress", "many.vaez", "many2.npy"),
    ):
        words, more = started(
            *(name, model, f"--input={files / source}", f"--output={files / target}"),
            "--overwrite=yes",
        )
        begun = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, **more)
        took, whole = time.perf_counter() - begun, (files / target).read_bytes()
        for share in np.linspace(0.3, 1.0, 10):
            (files / target).unlink(missing_ok=True)
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, **more) as process:
                time.sleep(share * took)
                process.send_signal(signal.SIGKILL)
            path = files / target
            assert not path.exists() or path.read_bytes() == whole
        subprocess.run(words, check=True, capture_output=True, **more)
        assert (files / target).read_bytes() == whole
        assert not (files / f".{target}.tmp").exists()


@pytest.mark.slow
def test_mnist_comes_back_in_another_process_with_other_cores(data_dir, tmp_path):
    """10,000 binarized digits, a rate within 1 % of −ELBO, byte for byte the same file."""
    test = data.load("binarized_mnist", data_dir).test.x
    np.save(tmp_path / "a.npy", np.unpackbits(test, axis=1).reshape(-1, 28, 28))
    train = [sys.executable, "-m", "experiments.vae", "--dataset=binarized_mnist", "--epochs=2"]
    train += ["--network=mlp", f"--workdir={tmp_path / 'run'}", f"--data_dir={data_dir}"]
    subprocess.run(train, check=True, capture_output=True)
    model = f"--run={tmp_path / 'run'}"
    words, more = started("compress", model, f"--input={tmp_path / 'a.npy'}")
    words.append(f"--output={tmp_path / 'a.vaez'}")
    told = subprocess.run(words, check=True, capture_output=True, **more).stdout
    net, elbo = map(
        float, re.search(r"([\d.]+) without [\d,]+ initial.*ELBO ([\d.]+)", told).groups()
    )
    assert net == pytest.approx(elbo, rel=0.01)
    words, more = started("decompress", model, f"--input={tmp_path / 'a.vaez'}")
    words.append(f"--output={tmp_path / 'b.npy'}")
    cores = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})}
    subprocess.run(words, check=True, **more, **(cores if hasattr(os, "sched_setaffinity") else {}))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
