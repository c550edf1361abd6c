"""Whatever a name holds, what it names stays inside its folder, or is refused in one line."""

import contextlib
import json
import os
import pathlib

import numpy as np
import pytest

from experiments import recipes, reproduce
from vae_jax import data, objectives
from vae_jax.cli.commands import evaluate
from vae_jax.data import _tfds
from vae_jax.errors import UsageError, VaeJaxError
from vae_jax.lab import config, identity, sweep, train
from vae_jax.lab.config import Plan
from vae_jax.storage import csv_rows, runs

HOSTILE = {
    "up": "..",
    "above": "../../outside",
    "absolute": "/outside/x",
    "nul": "a\0b",
    "long": "x" * 300,
    "unicode": "ß√日本",
    "no utf-8": "\udcff",
    "command": "$(touch outside); `id` -v",
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
def hostile(request):
    return request.param


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """The working directory, alone in a folder whose content is compared at the end."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    yield folder
    outside = {path.name for path in (tmp_path, tmp_path / "a") for path in path.iterdir()}
    assert outside == {"a", "b"}


def refused(act):
    """What is said where a name is refused, in one line."""
    with pytest.raises(VaeJaxError) as caught:
        act()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


IMPOSSIBLE = ["a\0b", "x" * 300, f"{'x' * 300}/y", "file/x"]


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=["nul", "long", "long folder", "below a file"])
def test_a_workdir_that_no_file_system_has_is_refused_and_leaves_nothing(inside, name):
    (inside / "file").write_text("x")
    values = {"epochs": "1", "widths": "4", "latent_dim": "2", "workdir": name}
    refused(lambda: train.train([config.from_flags(values)]))
    refused(lambda: sweep.main({**values, "beta": "1,4"}, Plan(), []))
    assert os.listdir(inside) == ["file"]


def test_a_run_that_no_file_system_has_is_refused(inside, hostile):
    values = dict.fromkeys(evaluate.flag_texts())
    refused(lambda: evaluate.main({**values, "run": hostile}))
    for flag in ("metrics", "disentanglement_metrics", "exact_split"):
        refused(lambda flag=flag: evaluate.parse_request({**values, flag: hostile}))
    assert os.listdir(inside) == []


def test_a_dataset_that_is_not_there_is_refused(inside, hostile):
    for name in (hostile, f"{hostile}.npy", f"folder/{hostile}"):
        if not os.path.isdir(name):
            refused(lambda name=name: data.load(name, data_dir=".", cache_dir="cache"))
    if not os.path.isdir(hostile):
        refused(lambda: data.load("digits", data_dir=hostile))
    assert set(os.listdir(inside)) <= {"cache"}


def test_a_config_of_a_tfds_dataset_is_no_path():
    assert _tfds.is_name("mnist/plain_text:1.0.0")
    for name in ("mnist/..", "mnist/.", "mnist/.x", "mnist/a/b", "../mnist", "/mnist", "mnist/"):
        assert not _tfds.is_name(name)


def test_names_made_of_a_dataset_stay_in_the_folder_of_runs(hostile):
    from experiments.lecture import __main__ as course

    own = dict.fromkeys(("dataset", "held_out", "epochs", "seed", "workdir", "data_dir"))
    one = config.from_flags({"dataset": f"{hostile}.npy"})
    paths = [
        identity.default_workdir(one, hostile),
        identity.workdir_of_sweep([one, config.from_flags({"dataset": "b.npy", "beta": "4"})]),
        course.parse({**own, "dataset": hostile}).workdir,
    ]
    for path in paths:
        assert path.parent == pathlib.Path("runs")
        assert path.name.isascii()
        assert 0 < len(path.name) <= 100
        assert path.name not in (".", "..")


def test_programs_of_a_sweep_lie_below_it(hostile):
    rows = [{"dataset": name} for name in (hostile, f"{hostile}2", f"{hostile}2\0", "digits")]
    programs = sweep.group([config.from_flags(row) for row in rows])
    names = [program.name for program in programs]
    assert len(set(names)) == len(names) == 4
    for name in names:
        assert name.isascii()
        assert name not in (".", "..")
        assert not set(name) & set("/\\\0")
        assert len(name) < 80


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_rows_of_a_file_are_refused_before_anything_is_written(inside, hostile, ending):
    path = inside / f"rows.{ending}"
    for flag in ("dataset", "objective", "network", "learning_rate", "workdir", hostile):
        row = {"beta": "4", flag: hostile}
        text = json.dumps([row])
        if ending == "csv":
            text = "\n".join(",".join(f'"{cell}"' for cell in line) for line in (row, row.values()))
        path.write_bytes(text.encode(errors="surrogateescape"))
        refused(lambda: sweep.main({"workdir": "sweep"}, Plan(sweep=str(path)), []))
    refused(lambda: sweep.main({}, Plan(sweep=hostile), []))
    assert os.listdir(inside) == [path.name]


def test_names_of_modules_are_looked_up_and_never_a_path(hostile):
    refused(lambda: objectives.load(hostile))
    refused(lambda: recipes.load(hostile))
    refused(lambda: reproduce.main({"recipe": hostile, "budget": None, "workdir": None}))


def test_keys_of_an_archive_are_names_alone(inside, hostile):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    key = hostile.replace("\0", "_").encode(errors="replace").decode()
    np.savez("x.npz", **{"x": x, key: x[:2]})
    assert data.load("x.npz").shape == (3,)
    np.savez("x.npz", **{key: x})
    assert "has the keys" in refused(lambda: data.load("x.npz"))
    assert os.listdir(inside) == ["x.npz"]


def test_files_of_a_run_stay_in_its_directory(inside, hostile):
    with runs.open_run("run", {}) as run:
        for parts in ((hostile,), ("plots", hostile), ("plots", "..", hostile)):
            with contextlib.suppress(UsageError):
                path = run.path(*parts)
                assert path.parent in (run.directory, run.directory / "plots")
                assert path.name not in ("", ".", "..")
    assert sorted(os.listdir("run")) == ["config.json", "lock"]


def test_a_table_holds_names_that_are_no_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9.npy")
    csv_rows.write_table(tmp_path / "sweep.csv", [{"dataset": name}])
    assert (tmp_path / "sweep.csv").read_bytes() == b"dataset\ncaf\xe9.npy\n"
