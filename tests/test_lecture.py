"""The lecture: chapters explain themselves, numbers have known answers, the page shows them."""

import html.parser
import json
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments import config, lecture
from experiments.lecture import (
    _shared,
    anomalies,
    interpolation,
    overcomplete,
    page,
    super_resolution,
)
from experiments.lecture import runs as trained_runs
from vae_jax import data
from vae_jax.errors import DataError, UsageError

CHAPTERS = [lecture.load(name) for name in lecture.CHAPTERS]


@pytest.fixture(scope="module")
def course():
    return lecture.Course(data.load("digits"), None, 9, 0)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lecture.CHAPTERS)
def test_a_chapter_has_a_title_and_a_text(chapter):
    assert 10 < len(lecture.title(chapter)) < 90
    assert len(lecture.text(chapter)) > 80
    assert callable(chapter.tell)


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_every_run_can_be_trained(dataset):
    rows = trained_runs.rows(dataset, "without.npz")
    assert len(rows) == 18
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
    none = _shared.restoring_components(course, lambda x, key: x)
    assert len(none.directions) == 64
    noisy = _shared.restoring_components(
        course, lambda x, key: x + 2.0 * jax.random.normal(key, x.shape)
    )
    assert len(noisy.directions) <= 8


def test_bicubic_keeps_what_is_even_and_what_rises_evenly():
    even = np.full((1, 8, 8, 1), 0.3, np.float32)
    np.testing.assert_allclose(super_resolution.bicubic(even, "quarter"), 0.3, rtol=1e-5)
    centres = np.repeat((np.arange(8) + 0.5) / 8, 2)
    steps = np.broadcast_to(centres[None, None, :, None], (1, 16, 16, 1)).astype(np.float32)
    ramp = (np.arange(16) + 0.5) / 16
    found = super_resolution.bicubic(steps, "half")[0, 8, :, 0]
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


TOLD = lecture.Told(
    ("code", "error", "angle"),
    [("PCA <2>", (1.5, 0.25), None), ("deep", (0.123456, None), (3.0, None))],
    {"a & b": None},
    {"error": "what it means", "angle": "in degrees"},
)
CHAPTER = page.Chapter("A title", "One.\n\nTwo.", TOLD, {"a & b": "pictures/x-0.png"})


def test_lines_are_aligned():
    lines = list(page.lines(CHAPTER))
    assert lines[1] == "A title"
    assert lines[3].split() == ["PCA", "<2>", "1.5", "±", "0.25"]
    assert lines[4].split() == ["deep", "0.1235", "3"]


def test_numbers_are_plain_and_whole():
    (found,) = json.loads(json.dumps(page.numbers([CHAPTER])))
    assert found["rows"][0] == {
        "name": "PCA <2>",
        "error": {"value": 1.5, "standard_error": 0.25},
        "angle": None,
    }
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
    for word in ("A title", "One.", "PCA <2>", "0.1235", "a & b", "pictures/x-0.png", "in degrees"):
        assert any(word in each for each in words), word


def main_of(**values):
    from experiments.lecture import __main__ as command

    names = ("dataset", "held_out", "epochs", "seed", "workdir", "data_dir")
    return command, {**dict.fromkeys(names), **values}


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"held_out": "12"}, DataError, r"--held_out=12: the classes of digits are 0, 1.*name one"),
        ({"epochs": "0"}, UsageError, r"--epochs=0: must be an integer, 1 or more"),
        ({"seed": "-1"}, UsageError, r"--seed=-1: must be an integer"),
        ({"dataset": "digit"}, UsageError, r"dataset 'digit' is unknown.*digits"),
    ],
)
def test_what_does_not_fit_is_one_line(values, error, match, tmp_path):
    command, values = main_of(workdir=str(tmp_path), **values)
    with pytest.raises(error, match=match):
        command.main(values)


def test_the_file_without_a_class_lacks_it_alone(course, tmp_path):
    command, values = main_of(workdir=str(tmp_path), held_out="3")
    path = command.keep_without(course.dataset, command.parse(values))
    kept = data.load(str(path))
    for part in ("train", "valid", "test"):
        own, all_of_it = getattr(kept, part), getattr(course.dataset, part)
        np.testing.assert_array_equal(own.labels, all_of_it.labels[all_of_it.labels != 3])
        x = np.asarray(course.dataset.decode(all_of_it.x[:][all_of_it.labels != 3]))
        np.testing.assert_allclose(np.asarray(kept.decode(own.x[:])), x, atol=1e-6)


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
    assert "epoch" not in again.stdout
    assert json.loads((tmp_path / "numbers.json").read_text()) == numbers
    assert first.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]
