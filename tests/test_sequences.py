"""Text and series from the command's settings to numbers, strings and pictures."""

import csv
import json
import math
import pathlib
import re

import jax
import numpy as np
import pytest
import sklearn.datasets

from vae_jax import data, plots
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, metrics, pictures, train

SMALL = {"network": "gru", "widths": "16", "latent_dim": "2", "epochs": "2"}
WORDS = [f"{a}{b}{c}" for a in ("ka", "to", "mi") for b in ("na", "ru", "") for c in "aeious"]


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def train_here(workdir, **values):
    values = {**SMALL, "workdir": str(workdir), **values}
    return train.train([config.from_flags(values)])[0]


def words_file(folder):
    path = folder / "words.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return path


def waves_file(folder):
    """Series of 9 to 12 steps, two channels."""
    t, n = np.arange(12.0)[None], np.arange(60)[:, None]
    x = np.stack([np.sin(t + n), np.cos(0.5 * t + n)], axis=2)
    x[np.arange(12) >= 9 + n % 4] = np.nan
    np.savez(folder / "waves.npz", series=x, y=n[:, 0] % 3)
    return folder / "waves.npz"


@pytest.mark.slow
def test_text_trains_is_written_and_is_measured(tmp_path):
    result = train_here(tmp_path / "run", dataset=str(words_file(tmp_path)), teacher_dropout="0.3")
    folder = tmp_path / "run" / "plots"
    read = {p.name: p.read_text().splitlines() for p in folder.glob("*.txt")}
    assert set(read) == {"samples.txt", "reconstructions.txt", "interpolation.txt"}
    assert len(read["samples.txt"]) == 100
    inputs = read["reconstructions.txt"][::3]
    assert set(inputs) <= set(WORDS)
    assert not {p.stem for p in folder.glob("*.png")} & {"samples", "traversal", "interpolation"}
    # the ends of the words are said too, but for those of the longest ones
    longest = max(map(len, WORDS))
    lengths = [min(len(word) + 1, longest) for word in inputs]
    assert len(inputs) == result["num_examples"]
    bits = -result["elbo"] / np.mean(lengths) / math.log(2)
    assert result["bits_per_character"] == pytest.approx(bits, rel=1e-5)

    trained = metrics.load(tmp_path / "run", 0)
    subject = metrics.make_subject(trained, seed=0)
    request = metrics.Request(("nll", "latent_neighbours"), {"nll": {"num_samples": 20}})
    found = metrics.measure(trained, subject, request, "nll")["values"]
    assert found["nll"] < -result["elbo"] + 3 * result["elbo_standard_error"]
    bits = found["nll"] / np.mean(lengths) / math.log(2)
    assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    left_out = metrics.measure(trained, subject, request, "latent_neighbours")["left_out"]
    assert "several lengths" in left_out


@pytest.mark.slow
def test_series_train_resume_to_the_bit_and_are_drawn(tmp_path, monkeypatch):
    values = {"dataset": str(waves_file(tmp_path)), "learning_rate": "1e-3", "network": "lstm"}
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        whole = train_here(tmp_path / "whole", **values)
        train_here(tmp_path / "twice", **values, epochs="1")
    twice = train_here(tmp_path / "twice", **values)
    times = ("wall_seconds", "examples_per_second")
    assert {k: v for k, v in whole.items() if k not in times} == {
        k: v for k, v in twice.items() if k not in times
    }
    rows = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "twice")]
    assert rows[0] == rows[1]
    stems = {p.stem for p in (tmp_path / "twice" / "plots").glob("*.png")}
    assert stems >= {"reconstructions", "samples", "interpolation", "traversal"}
    assert (tmp_path / "twice" / "plots" / "samples.csv").exists()
    assert whole["nats_per_step"] == pytest.approx(-whole["elbo"] / 10.5, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"objective": "autoencoder"},
        {"objective": "iwae", "num_samples": "3", "network": "bilstm", "widths": "8,12"},
        {"objective": "vq_vae", "latent_dim": "4", "code_dim": "2", "num_codes": "8"},
        {"objective": "cvae", "dtype": "bfloat16"},
        {"likelihood": "laplace", "variance": "learned_per_dimension", "teacher_dropout": "1"},
    ],
    ids=lambda v: "-".join(v.values()),
)
@pytest.mark.parametrize("kind", ["words", "waves"])
def test_variants_train_end_to_end(tmp_path, kind, values):
    if kind == "words" and ("likelihood" in values or values.get("objective") == "cvae"):
        return
    file = words_file(tmp_path) if kind == "words" else waves_file(tmp_path)
    result = train_here(tmp_path / "run", dataset=str(file), **{"epochs": "1", **values})
    assert np.isfinite(result["loss"])
    assert {p.stem for p in (tmp_path / "run" / "plots").iterdir()} >= {"reconstructions"}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"network": "mlp"}, UsageError, "network=mlp: words has examples of several lengths"),
        ({"likelihood": "bernoulli"}, DataError, "holds text: take likelihood=text"),
        ({"network": "mlp", "teacher_dropout": "0.1"}, UsageError, "network 'mlp' has no teacher"),
        ({"teacher_dropout": "2"}, UsageError, "teacher_dropout=2: must be a finite number"),
        ({"window": "3"}, UsageError, "window=3: cuts series"),
        ({"hop": "3"}, UsageError, "hop=3: .* give `window` too"),
        ({"window": "0"}, UsageError, "window=0: must be an integer, 1 or more"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(tmp_path, values, error, message):
    with pytest.raises(error, match=message) as caught:
        train_here(tmp_path / "run", dataset=str(words_file(tmp_path)), **values)
    assert "\n" not in str(caught.value)


def test_the_picture_of_series_has_its_numbers(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 2)).astype(np.float32)
    x[0, 1, 3:] = np.nan
    picture = plots.series(x, ("a", "b"), title="t", panel_names=("p", "q", "r"))
    png, table = plots.save(picture, tmp_path / "series")
    assert png.stat().st_size > 0
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["panel", "name", "step", "x0", "x1"]
    assert len(rows) == 1 + 3 * 2 * 5 - 2
    assert [np.float32(v) for v in rows[6][3:]] == x[0, 1, 0].tolist()
    for wrong in ({"names": ("a",)}, {"panel_names": ("p",)}):
        with pytest.raises(UsageError):
            plots.series(**{"x": x, "names": ("a", "b"), **wrong})


def ngram_bits(train, test, order):
    """Bits per symbol of test under counts of train, ends included, each count one more.

    Of order 1 symbols are independent, of order 2 each is told the one before it.
    """
    symbols = [*sorted(set("".join([*train, *test]))), "\n"]
    counts = {}
    for line in train:
        for before, symbol in zip("\n" + line, line + "\n", strict=True):
            context = counts.setdefault(before if order == 2 else "", dict.fromkeys(symbols, 1))
            context[symbol] += 1
    total, num = 0.0, 0
    for line in test:
        for before, symbol in zip("\n" + line, line + "\n", strict=True):
            context = counts.get(before if order == 2 else "", dict.fromkeys(symbols, 1))
            total -= math.log2(context[symbol] / sum(context.values()))
            num += 1
    return total / num


@pytest.mark.slow
def test_words_are_learned_beyond_pairs_of_characters(no_pictures, tmp_path):
    """Words of the descriptions that come with scikit-learn, beside what n-grams say of them."""
    folder = pathlib.Path(sklearn.datasets.__file__).parent / "descr"
    text = " ".join(p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.rst")))
    words = sorted(set(re.findall(r"[a-z]{2,}", text.lower())))
    (tmp_path / "words.txt").write_text("\n".join(words))
    values = {"dataset": str(tmp_path / "words.txt"), "widths": "128", "latent_dim": "16"}
    result = train_here(tmp_path / "run", **values, epochs="60")
    dataset = train.load(config.from_flags({**SMALL, **values}))
    parts = [
        data.strings(jax.jit(dataset.decode)(split.x), dataset.alphabet)
        for split in (dataset.train, dataset.test)
    ]
    baselines = [ngram_bits(*parts, order) for order in (1, 2)]
    print(json.dumps({"ours": result["bits_per_character"], "baselines": baselines}))
    assert result["bits_per_character"] < baselines[1] < baselines[0]


def regression_nats(train, test, order):
    """Nats per step of series [N, T] by a Gaussian around linear regression on the steps before.

    The first steps of a series are regressed on as many as there are, each for itself.
    """

    def design(x, t):
        return np.column_stack([x[:, max(0, t - order) : t], np.ones(len(x))])

    total, times = 0.0, range(train.shape[1])
    for t in times:
        pooled = [s for s in times if s >= order] if t >= order else [t]
        inputs = np.concatenate([design(train, s) for s in pooled])
        outputs = np.concatenate([train[:, s] for s in pooled])
        weights = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
        variance = np.mean((outputs - inputs @ weights) ** 2)
        squares = np.mean((test[:, t] - design(test, t) @ weights) ** 2)
        total += 0.5 * (np.log(2 * np.pi * variance) + squares / variance)
    return total / train.shape[1]


@pytest.mark.slow
def test_a_series_is_learned_beyond_regression_on_the_step_before(no_pictures, tmp_path, data_dir):
    """Taxi rides in New York by half hours, windows of a day."""
    values = {"dataset": str(data_dir / "nab" / "nyc_taxi.csv"), "window": "48", "hop": "4"}
    values |= {"widths": "128", "latent_dim": "8"}
    result = train_here(tmp_path / "run", **values, epochs="30")
    dataset = train.load(config.from_flags({**SMALL, **values}))
    parts = [split.x[..., 0].astype(float) for split in (dataset.train, dataset.test)]
    baselines = [regression_nats(*parts, order) for order in (0, 1)]
    print(json.dumps({"ours": result["nats_per_step"], "baselines": baselines}))
    assert result["nats_per_step"] < baselines[1] < baselines[0]
