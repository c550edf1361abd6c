"""The lecture: chapters explain themselves, numbers have known answers, the page shows them."""

import html.parser
import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from experiments import lecture, restorers
from experiments.lecture import (
    _draws,
    _shared,
    anomalies,
    codes,
    interpolation,
    overcomplete,
    page,
    random_points,
)
from experiments.lecture import runs as trained_runs
from vae_jax import data, likelihoods, networks, plots
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import reconstruction
from vae_jax.lab import config
from vae_jax.model import Model

CHAPTERS = [lecture.load(name) for name in lecture.CHAPTERS]


@pytest.fixture(scope="module")
def course():
    return lecture.Course(data.load("digits"), None, 9, 0)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lecture.CHAPTERS)
def test_a_chapter_has_a_title_and_a_text(chapter):
    assert 10 < len(lecture.title(chapter)) < 90
    assert len(lecture.text(chapter)) > 100
    assert callable(chapter.tell)


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_every_run_can_be_trained(dataset):
    rows = trained_runs.rows(dataset, "without.npz")
    assert len(rows) == 20
    for row in rows.values():
        config.from_flags(row)
    for name in trained_runs.CORRUPTIONS:
        assert rows[name]["objective"] == "denoising"


def test_examples_begin_with_one_of_each_class(course):
    x = _shared.examples(course)
    labels = course.dataset.test.labels
    own = np.asarray(course.dataset.decode(np.asarray(course.dataset.test.x[:])))
    assert len(x) == len(own)
    for c in range(10):
        np.testing.assert_array_equal(x[c], own[np.argmax(labels == c)])


def test_without_corruption_all_components_are_best_and_of_noise_few(course):
    clean = _shared.training(course)
    every = _shared.principal_components(course, max(restorers.NUM_COMPONENTS))
    none = restorers.best_components(every, clean, clean)
    assert len(none.directions) == 64
    shown = clean + 2.0 * np.asarray(jax.random.normal(jax.random.key(1), clean.shape))
    noisy = restorers.best_components(every, clean, shown)
    assert len(noisy.directions) <= 8


def test_bicubic_keeps_what_is_even_and_what_rises_evenly():
    even = np.full((1, 8, 8, 1), 0.3, np.float32)
    np.testing.assert_allclose(restorers.bicubic(even, 4), 0.3, rtol=1e-5)
    centres = np.repeat((np.arange(8) + 0.5) / 8, 2)
    steps = np.broadcast_to(centres[None, None, :, None], (1, 16, 16, 1)).astype(np.float32)
    ramp = (np.arange(16) + 0.5) / 16
    found = restorers.bicubic(steps, 2)[0, 8, :, 0]
    # away from the borders a cubic restores what is linear
    np.testing.assert_allclose(found[4:-4], ramp[4:-4], atol=1e-3)


def test_lines_begin_and_end_where_they_should():
    ends = np.random.default_rng(0).normal(size=(2, 3, 4))
    t = np.array([0.0, 0.25, 1.0])
    lines = interpolation._between(*ends, t)
    np.testing.assert_allclose(lines[:, 0], ends[0])
    np.testing.assert_allclose(lines[:, 2], ends[1])
    np.testing.assert_allclose(lines[:, 1], 0.75 * ends[0] + 0.25 * ends[1])


def test_a_copy_leaves_nothing_and_the_mean_everything():
    x = np.random.default_rng(0).normal(size=(50, 4, 4, 1))
    copy = types.SimpleNamespace(restore=lambda x: x)
    mean = types.SimpleNamespace(restore=lambda x: np.broadcast_to(x.mean(axis=0), x.shape))
    assert overcomplete._left(copy, x)[0] == 0
    assert overcomplete._left(mean, x)[0] == pytest.approx(1)


def test_the_error_of_an_auroc_is_the_spread_of_resamples():
    random = np.random.default_rng(0)
    is_new = np.arange(400) % 4 == 0
    draws = [is_new * 1.0 + random.normal(size=400) for _ in range(300)]
    spread = np.std([roc_auc_score(is_new, scores) for scores in draws])
    told = np.mean([anomalies._error(is_new, scores) for scores in draws])
    assert told == pytest.approx(spread, rel=0.15)


def test_components_are_those_of_the_training_pictures(course):
    x = np.asarray(course.dataset.decode(course.dataset.train.x[:]))
    pca = PCA(4).fit(x.reshape(len(x), -1))
    found = _shared.principal_components(course, 4)
    np.testing.assert_allclose(found.mean, pca.mean_, atol=1e-6)
    np.testing.assert_allclose(
        reconstruction.principal_angles(found.directions, pca.components_), 0, atol=0.1
    )


def test_a_run_that_restores_nothing_is_as_far_from_clean_as_what_is_shown(course):
    copy = types.SimpleNamespace(corrupt=lambda x, key: 0.5 * x, restore=lambda shown: shown)
    told = _shared.restored(course._replace(run={"fake": copy}.get), {"fake": "half"})
    values = dict(told.rows)
    x = _shared.examples(course)
    want = -10 * np.log10(np.square(0.5 * x).mean(axis=(1, 2, 3)))
    assert values["half: shown"][0] == pytest.approx(want.mean(), rel=1e-5)
    assert values["half: autoencoder"] == values["half: shown"]


def test_both_the_clipped_and_the_unclipped_noise_are_compared(course):
    copy = types.SimpleNamespace(corrupt=lambda x, key: x - 0.5, restore=lambda shown: shown)
    told = _shared.restored(course._replace(run={"fake": copy}.get), {"fake": "dark"})
    values = {name: value for name, (value, _) in told.rows}
    x = _shared.examples(course)
    assert "dark: shown" not in values
    assert values["dark: shown, as models read it"] == pytest.approx(-20 * np.log10(0.5))
    want = -10 * np.log10(np.square(np.minimum(x, 0.5)).mean(axis=(1, 2, 3)))
    assert values["dark: shown, clipped"] == pytest.approx(want.mean(), rel=1e-5)


def test_the_negative_elbo_by_hand():
    """Of a decoder that does not hear of z, so that nothing is random."""
    encoder, decoder = networks.build("linear", shape=(2, 2, 1), latent_dim=3)
    model = Model(encoder, decoder, likelihoods.Gaussian(0.5), (2, 2, 1), 3)
    draw = np.random.default_rng(0).normal
    params = jax.tree.map(
        lambda leaf: jnp.asarray(draw(size=leaf.shape), leaf.dtype), model.init(jax.random.key(0))
    )
    own = params["decoder"]["latent"]
    params["decoder"]["latent"] = {**own, "kernel": jnp.zeros_like(own["kernel"])}
    x = jnp.asarray(draw(size=(5, 2, 2, 1)), jnp.float32)
    found = anomalies._negative_elbo(types.SimpleNamespace(model=model, params=params), x, 0)
    q = model.encode(params, x)
    rate = 0.5 * (np.exp(q.logvar) + np.square(q.mean) - 1 - q.logvar).sum(axis=1)
    # −log N(x; x̂, ½) = (x − x̂)² + ½ log π
    error = np.square(np.reshape(x, (5, 4)) - np.asarray(own["bias"])[None]).sum(axis=1)
    np.testing.assert_allclose(found, error + 2 * np.log(np.pi) + rate, rtol=1e-5)


def test_a_score_that_is_high_for_the_held_out_class_detects_it(course, monkeypatch):
    labels = course.dataset.test.labels
    is_new, train = labels == 9, course.dataset.train
    seen = types.SimpleNamespace(
        decode=course.dataset.decode,
        train=types.SimpleNamespace(x=train.x[:][train.labels != 9]),
    )
    subject = types.SimpleNamespace(latent_dim=4, dataset=seen)

    def restoring(is_restored):
        return types.SimpleNamespace(
            subject=subject, restore=lambda x: np.where(is_restored[:, None, None, None], x, 0)
        )

    runs = {"normal-autoencoder": restoring(~is_new), "normal-beta_vae": restoring(is_new)}
    monkeypatch.setattr(anomalies, "_negative_elbo", lambda *_: np.where(is_new, 2.0, -1.0))
    told = anomalies.tell(course._replace(run=runs.get))
    values = {name: value for name, (value, _) in told.rows}
    assert values["autoencoder, 4: squared error"] == 1
    assert values["VAE, 4: squared error"] == 0
    assert values["VAE, 4: −ELBO"] == 1
    # principal components have not seen it either
    own, x = (
        np.asarray(course.dataset.decode(np.asarray(rows))).reshape(len(rows), -1)
        for rows in (seen.train.x, course.dataset.test.x[:])
    )
    pca = PCA(4).fit(own)
    left = np.square(x - pca.inverse_transform(pca.transform(x))).sum(axis=1)
    want = roc_auc_score(is_new, left)
    assert want > 0.5
    assert values["PCA, 4: squared error"] == pytest.approx(want, abs=1e-3)


def test_an_autoencoder_decodes_draws_of_both_and_a_vae_of_its_prior(course):
    """Of draws of its own Gaussian, all 3, an autoencoder makes data; a VAE of every second."""
    x = _draws.beside(course).reference
    far = np.ones_like(x)

    def fake(decode_mean):
        prior = types.SimpleNamespace(sample=lambda key, num: np.full((num, 16), 3.0, np.float32))
        return types.SimpleNamespace(
            subject=types.SimpleNamespace(prior=prior, decode_mean=decode_mean)
        )

    def autoencoder(z):
        place = np.arange(len(z)) % len(x)
        return np.where((np.asarray(z) == 3).all(axis=1)[:, None, None, None], x[place], far[place])

    def vae(z):
        assert abs(np.mean(z)) < 0.1
        place = np.arange(len(z)) % len(x)
        return np.where((place % 2 == 0)[:, None, None, None], x[place], far[place])

    runs = {"autoencoder-16": fake(autoencoder), "vae-16": fake(vae)}
    told = random_points.tell(course._replace(run=runs.get))
    found = {name: dict(zip(told.columns[1:], own, strict=True)) for name, *own in told.rows}
    assert {name: own["precision"][0] for name, own in found.items() if "pictures" not in name} == {
        "autoencoder, N(0, I)": 0,
        "autoencoder, Gaussian fit to its codes": 1,
        "VAE, its prior N(0, I)": pytest.approx(0.5, abs=1 / len(x)),
    }
    # real pictures are as real ones; means of pictures win at density, and are not sharp
    real, blurred = (found[name] for name in (_draws.REAL, _draws.BLURRED))
    assert abs(real["told apart"][0] - 0.5) < 4 * real["told apart"][1]
    assert blurred["density"][0] > real["density"][0]
    assert blurred["sharpness"][0] < 0.8 < real["sharpness"][0]
    assert all(error > 0 for own in found.values() for _, error in [own["precision"]])
    assert "Density rewards blur here" in told.sentences[0]
    assert "Gaussian fit to its codes are told from data least often" in told.sentences[1]


@pytest.mark.parametrize(
    ("value", "word"), [(0.7, "below"), (0.85, "near"), (1.15, "near"), (1.3, "above")]
)
def test_a_verdict_asks_for_two_standard_errors(value, word):
    assert _shared.verdict((value, 0.1), 1.0, ("below", "near", "above")) == word
    assert _shared.difference((3.0, 0.3), (1.0, 0.4)) == (2.0, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("own", "restored", "first", "second"),
    [
        (1.0, 0.8, "are nearer to training pictures than those", "nearer to them than real"),
        (1.19, 1.3, "are as near to training pictures as those", "as near to them as real"),
        (1.5, 1.6, "are farther from training pictures than those", "farther from them than real"),
    ],
)
def test_what_is_said_of_lines_follows_from_their_numbers(own, restored, first, second):
    values = {
        "line between codes, autoencoder": 1.2,
        "line between codes, VAE": own,
        "reconstructions, VAE": restored,
        interpolation.REAL: 1.3,
    }
    said = interpolation._sentences({name: ((v, 0.01), None) for name, v in values.items()})
    assert first in said[0]
    assert second in said[1]
    assert ("blur shortens distances" in said[1]) == (restored < 1.3)


def test_pairs_are_of_different_classes_and_many(course):
    starts, stops = interpolation._pairs(course)
    assert len(starts) == len(stops) == interpolation.NUM_PAIRS == 400
    test = course.dataset.test
    x = np.asarray(course.dataset.decode(test.x[:])).reshape(len(test), -1)
    labels = [
        [test.labels[np.argmax((x == end.ravel()).all(axis=1))] for end in ends]
        for ends in (starts, stops)
    ]
    assert all(a != b for a, b in zip(*labels, strict=True))
    assert [*labels[0][:5], *labels[1][:5]] == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]


@pytest.mark.parametrize(("scale", "word"), [(0.5, "below"), (1.0, "equal"), (2.0, "above")])
def test_what_is_said_of_a_vae_is_at_the_dimensions_it_uses(course, scale, word):
    """An autoencoder that leaves half of each picture, a VAE that leaves `scale` of its error."""
    x = np.asarray(course.dataset.decode(course.dataset.test.x[:]))

    def fake(left):
        subject = types.SimpleNamespace(x=lambda: x)
        return types.SimpleNamespace(subject=subject, restore=lambda x: x * (1 - left))

    runs = {"autoencoder-equal": fake(0.5), "vae-16": fake(0.5 * scale**0.5)}
    told = codes._sentences(course._replace(run=runs.get, used=4))
    pca = reconstruction.squared_errors(x, _shared.principal_components(course, 4).restore(x))
    ratio = 0.25 * scale * np.square(x).sum() / pca.sum()
    assert "uses 4." in told[0]
    assert f"{ratio:.3g} ± " in told[0]
    assert f"At 4 used dimensions its error is {word}" in told[1]
    assert "has collapsed" in codes._sentences(course)[0]


def test_runs_of_equal_size_have_the_dimensions_in_use():
    rows = trained_runs.rows("digits", "without.npz")
    assert trained_runs.equal(rows, 0) == {}
    ((name, flags),) = trained_runs.equal(rows, 4).items()
    assert name == "autoencoder-equal"
    assert flags == {**rows["autoencoder-16"], "latent_dim": "4"}


TOLD = lecture.Told(
    ("code", "error", "angle"),
    [("PCA <2>", (1.5, 0.25), None), ("deep", (0.123456, None), (3.0, None))],
    {"a & b": None},
    {"error": "what it means", "angle": "in degrees"},
    ("PCA is <better>.",),
)
CHAPTER = page.Chapter("A title", "One.\n\nTwo.", TOLD, {"a & b": "pictures/x-0.png"})


def test_lines_are_aligned():
    lines = list(page.lines(CHAPTER))
    assert lines[1] == "A title"
    assert lines[3].split() == ["PCA", "<2>", "1.5", "±", "0.25"]
    assert lines[4].split() == ["deep", "0.1235", "3"]
    assert lines[5] == "  PCA is <better>."


def test_an_error_of_nothing_is_not_printed():
    assert page._number((1.0, 0.0)) == page._number((1.0, None)) == "1"
    assert page._number((1.0, 0.1)) == "1 ± 0.1"


def test_numbers_are_plain_and_whole():
    (found,) = json.loads(json.dumps(page.numbers([CHAPTER])))
    assert found["rows"][0] == {
        "name": "PCA <2>",
        "error": {"value": 1.5, "standard_error": 0.25},
        "angle": None,
    }
    assert found["sentences"] == ["PCA is <better>."]
    assert found["rows"][1]["error"] == {"value": 0.123456, "standard_error": None}


def test_the_page_is_well_formed_and_says_everything():
    text = "\n".join(page.html([CHAPTER], "mnist"))
    open_tags, words = [], []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img"):
                open_tags.append(tag)
            if tag == "img":
                words.append(dict(attributes)["src"])

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

        def handle_data(self, data):
            words.append(data)

    Reader().feed(text)
    assert not open_tags
    for word in (
        "A title",
        "One.",
        "PCA <2>",
        "0.1235",
        "a & b",
        "pictures/x-0.png",
        "in degrees",
        "is <bett",
    ):
        assert any(word in each for each in words), word


def main_of(**values):
    from experiments.lecture import __main__ as command

    names = ("dataset", "held_out", "epochs", "seed", "workdir", "data_dir")
    return command, {**dict.fromkeys(names), **values}


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"held_out": "12"}, DataError, r"--held_out=12: the classes of digits are 0, 1.*name one"),
        ({"epochs": "0"}, UsageError, r"epochs=0: must be an integer, 1 or more"),
        ({"seed": "-1"}, UsageError, r"seed=-1: must be an integer"),
        ({"dataset": "digit"}, UsageError, r"dataset 'digit' is unknown.*digits"),
    ],
)
def test_invalid_settings_end_in_one_line(values, error, match, tmp_path):
    command, values = main_of(workdir=str(tmp_path), **values)
    with pytest.raises(error, match=match):
        command.main(values)


def test_the_file_without_a_class_lacks_it_alone(course, tmp_path):
    command, values = main_of(workdir=str(tmp_path), held_out="3")
    path = command.keep_without(course.dataset, command.parse(values))
    kept = data.load(str(path))
    for part in ("train", "valid", "test"):
        own, all_of_it = getattr(kept, part), getattr(course.dataset, part)
        values = np.array(kept.classes)[own.labels]
        np.testing.assert_array_equal(values, all_of_it.labels[all_of_it.labels != 3])
        x = np.asarray(course.dataset.decode(all_of_it.x[:][all_of_it.labels != 3]))
        np.testing.assert_allclose(np.asarray(kept.decode(own.x[:])), x, atol=1e-6)


def test_a_picture_that_fails_is_not_on_the_page(tmp_path, capsys):
    def fail():
        raise MemoryError("too large")

    def picture():
        return plots.rate_per_dimension(np.ones(2), np.ones(2))

    command, _ = main_of()
    told = TOLD._replace(pictures={"first": picture, "broken": fail, "last": picture})
    files = command.draw("codes", told, tmp_path / "pictures")
    assert files == {"first": "pictures/codes-0.png", "last": "pictures/codes-2.png"}
    assert all((tmp_path / file).exists() for file in files.values())
    told = "picture codes-1 could not be drawn (MemoryError: too large)\n"
    assert capsys.readouterr().out == told


@pytest.mark.slow
def test_the_command_leaves_one_page_and_resumes(tmp_path):
    command = [sys.executable, "-m", "experiments.lecture", "--epochs=2", f"--workdir={tmp_path}"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [each["chapter"] for each in numbers] == [lecture.title(c) for c in CHAPTERS]
    page_text = (tmp_path / "index.html").read_text()
    for picture in (tmp_path / "pictures").glob("*.png"):
        assert f"pictures/{picture.name}" in page_text
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not [line for line in again.stdout.splitlines() if line.startswith("epoch")]
    assert json.loads((tmp_path / "numbers.json").read_text()) == numbers
    assert first.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]
