"""Loggers: every row once, in the real packages; a failure costs the log and not the training."""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import vae_jax
from vae_jax import loggers
from vae_jax.errors import UsageError
from vae_jax.lab import config, logs, pictures, sweep, train
from vae_jax.lab.settings import Plan
from vae_jax.loggers import _logger
from vae_jax.loggers.csv import Csv
from vae_jax.storage import csv_rows

pytestmark = pytest.mark.usefixtures("traced_once")
ROOT = pathlib.Path(__file__).parents[1]
SMALL = {"network": "linear", "latent_dim": "2", "learning_rate": "1e-3"}
ROWS = [{"step": 5 * n, "epoch": n, "elbo": -1.0 * n, "valid_elbo": -2.0 * n} for n in range(1, 6)]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: [])


class Memory(loggers.Logger):
    """A log in memory, which may fail."""

    fails_at = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.steps, self.num_closed, self.is_new = [], 0, []

    def _open(self, *, is_new):
        self.is_new.append(is_new)
        self.steps = [] if is_new else self.steps
        return max(self.steps, default=0)

    def _write(self, row):
        if row["step"] == self.fails_at:
            raise RuntimeError("no network\nand more")
        self.steps.append(row["step"])

    def _close(self):
        self.num_closed += 1


# --- The interface


def test_a_row_is_written_once(tmp_path):
    log = Memory(tmp_path / "log")
    log.begin(resumes=False)
    for row in [*ROWS[:3], *ROWS[1:]]:
        log.log(row)
    assert log.steps == [row["step"] for row in ROWS]
    log.close()
    log.close()
    assert log.num_closed == 1
    log.begin(resumes=True)
    log.log(ROWS[0])
    assert log.is_new == [True, False]
    assert log.steps == [row["step"] for row in ROWS]


def test_a_failure_is_one_line_and_ends_the_log_alone(tmp_path):
    lines = []
    log = Memory(tmp_path / "log", warn=lines.append)
    log.fails_at = 10
    for row in ROWS:
        log.log(row)
    log.close()
    assert log.steps == [5]
    told = "Memory failed at step 10 (RuntimeError: no network)"
    assert lines == [f"{told}: the training goes on without this log"]


def test_tags_name_the_split():
    row = {"run": 1, "step": 5, "elbo": 1, "valid_elbo": 2.5, "valid_rate": None}
    assert _logger.tagged(row) == {"elbo/train": 1.0, "elbo/valid": 2.5}


def test_a_logger_is_a_callback_of_fit_and_is_closed(tmp_path):
    x = np.random.default_rng(0).uniform(size=(20, 3)).astype("f4")
    model = vae_jax.make_model(x, latent_dim=2, network="linear", likelihood="gaussian")
    memory, file = Memory(tmp_path / "a"), loggers.Csv(tmp_path / "b")
    given = {"epochs": 3, "batch_size": 10, "learning_rate": 1e-3, "beta": 1.0}
    trained = vae_jax.fit("beta_vae", model, x, callbacks=(memory, file), **given)
    assert memory.steps == [2, 4, 6]
    assert memory.num_closed == 1
    rows = csv_rows.read_rows(tmp_path / "b" / "metrics.csv")
    assert [row["loss"] for row in rows] == [row["loss"] for row in trained.history]
    # another training is another log
    vae_jax.fit("beta_vae", model, x, callbacks=[file], **{**given, "epochs": 2})
    rows = csv_rows.read_rows(tmp_path / "b" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2]


def test_a_fit_that_resumes_continues_its_log(tmp_path):
    x = np.random.default_rng(0).uniform(size=(20, 3)).astype("f4")
    model = vae_jax.make_model(x, latent_dim=2, network="linear", likelihood="gaussian")
    given = {"batch_size": 10, "learning_rate": 1e-3, "checkpoint": tmp_path / "kept"}
    for epochs in (2, 4):
        log = loggers.Csv(tmp_path / "log")
        vae_jax.fit("beta_vae", model, x, epochs=epochs, callbacks=[log], **given)
    rows = csv_rows.read_rows(tmp_path / "log" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


# --- Runs


def trained(workdir, **values):
    plan = {"overwrite": values.pop("overwrite", False)}
    sweep.main({**SMALL, "workdir": str(workdir), **values}, Plan(**plan), [])


def of_csv(directory):
    return csv_rows.read_rows(directory / "metrics.csv")


def test_a_run_that_resumes_continues_its_log(tmp_path):
    """Also if the log began later than the run, or has more rows than the checkpoint."""
    run = tmp_path / "run"
    trained(run, epochs="1")
    trained(run, epochs="2", loggers="csv")
    trained(run, epochs="3", loggers="csv")
    assert of_csv(run / "csv") == of_csv(run)
    assert [row["epoch"] for row in of_csv(run)] == [1, 2, 3]


def test_the_runs_of_a_sweep_have_a_log_each(tmp_path):
    directory = tmp_path / "sweep"
    trained(directory, epochs="2", loggers="csv", beta="1,4", batch_size="100,200")
    for program in (directory / "programs").iterdir():
        both = of_csv(program)
        for member in (0, 1):
            own = [{**row, "run": member} for row in of_csv(program / "csv" / str(member))]
            assert own == [row for row in both if row["run"] == member]


def test_a_run_is_named_by_what_differs(tmp_path):
    configs = [config.from_flags({**SMALL, "epochs": "1", "beta": beta}) for beta in "14"]
    experiment = train.prepare(configs)
    run = type("Run", (), {"directory": tmp_path / "sweep" / "programs" / "all"})
    run.path = run.directory.joinpath
    log = logs._log("csv", run, experiment, 1)
    assert (log.name, log.group) == ("beta=4", "sweep")
    assert log.settings["beta"] == "4"
    assert log.settings["epochs"] == 1


def test_a_log_that_fails_leaves_the_result_as_it_is(tmp_path, monkeypatch, capsys):
    trained(tmp_path / "whole", epochs="2")

    def fail(self, row):
        raise OSError("no space")

    monkeypatch.setattr(Csv, "_write", fail)
    capsys.readouterr()
    trained(tmp_path / "run", epochs="2", loggers="csv")
    told = "Csv failed at step 15 (OSError: no space): the training goes on without this log"
    assert capsys.readouterr().out.splitlines().count(told) == 1
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()


def test_loggers_are_asked_for_by_name():
    asked = config.from_flags({"loggers": "csv,wandb,csv", "tensorboard": True})
    assert logs.asked(asked) == ("csv", "wandb", "tensorboard")
    assert config.from_flags({"tensorboard": True}).identity() == config.from_flags({}).identity()
    with pytest.raises(UsageError, match=r"^loggers=wandbb: unknown \(did you mean wandb\?\)"):
        config.from_flags({"loggers": "wandbb"})


@pytest.mark.parametrize("name", loggers.names())
def test_a_package_that_is_not_installed_is_named_before_training(name, tmp_path, monkeypatch):
    package = loggers.load(name).package
    if package is None:
        pytest.skip("needs no package")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"pip install 'vae_jax\[{name}\]'"):
        trained(tmp_path / "run", epochs="1", loggers=name)
    assert not (tmp_path / "run").exists()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert name in extras["optional-dependencies"]


def test_nothing_is_imported_that_nobody_asked_for():
    packages = [cls.package for cls in loggers.classes().values() if cls.package]
    program = (
        "import sys, vae_jax.loggers; vae_jax.loggers.classes(); "
        f"print(set({packages!r}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n"
    assert len(packages) == 3


# --- The real packages, each in a process of its own, which may warn as it likes

TWICE = """
import json, sys
from vae_jax import loggers
name, directory, rows = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
lines = []
for resumes, several in rows:
    several = [dict(row) for row in several]
    both = [
        loggers.load(name)(
            f"{directory}/{n}", name=f"run {n}", settings={"beta": "4"}, group="s",
            warn=lines.append,
        )
        for n in range(2)
    ]
    for log in both:
        log.begin(resumes=resumes)
    for row in several:
        for n, log in enumerate(both):
            log.log({**row, "elbo": row["elbo"] - 100 * n})
    for log in both:
        log.close()
print(json.dumps(lines))
"""
SESSIONS = [(False, ROWS[:3]), (True, ROWS[1:4]), (True, ROWS)]
"""Whether a session resumes, and its rows: some of them are trained again."""


def logged(name, directory, read, *, sessions=SESSIONS, **variables):
    """Logs two runs side by side in several sessions; what a program then reads of them."""
    package = loggers.load(name).package
    pytest.importorskip(package, reason=f"needs the extra {name}")
    environment = {**os.environ, **variables}
    for text in (TWICE, read):
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                text,
                name,
                str(directory),
                json.dumps(sessions),
            ],
            capture_output=True,
            text=True,
            env=environment,
            cwd=directory.parent,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        if text is TWICE:
            assert told == []
    return told


def assert_each_row_is_there_once(found):
    """Of each run, the tag elbo/train: pairs of step and value; and the settings."""
    for n in range(2):
        own = found[n]
        assert own["elbo/train"] == [[row["step"], row["elbo"] - 100 * n] for row in ROWS]
        assert own["elbo/valid"] == [[row["step"], row["valid_elbo"]] for row in ROWS]


READ_TENSORBOARD = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = []
for n in range(2):
    events = EventAccumulator(f"{sys.argv[2]}/{n}").Reload()
    tags = events.Tags()["scalars"]
    found.append({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags})
print(json.dumps(found))
"""


def test_tensorboard_reads_each_row_once(tmp_path):
    pytest.importorskip("tensorboard", reason="reads what tensorboardX wrote")
    assert_each_row_is_there_once(logged("tensorboard", tmp_path / "log", READ_TENSORBOARD))


READ_MLFLOW = """
import json, pathlib, sys
from mlflow.tracking import MlflowClient
client, found = MlflowClient(), []
for n in range(2):
    own = json.loads(pathlib.Path(sys.argv[2], str(n), "logger.json").read_text())["id"]
    run = client.get_run(own)
    history = {tag: client.get_metric_history(own, tag) for tag in run.data.metrics}
    tags = {tag: [[m.step, m.value] for m in each] for tag, each in history.items()}
    told = [run.info.run_name, run.info.status, run.data.params, run.data.tags["group"]]
    found.append({**tags, "told": told})
experiment = client.get_experiment_by_name("vae_jax")
found.append(len(client.search_runs([experiment.experiment_id])))
print(json.dumps(found))
"""


def test_mlflow_has_each_row_once(tmp_path):
    pytest.importorskip("sqlalchemy", reason="MLflow needs it for a database")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    found = logged("mlflow", tmp_path / "log", READ_MLFLOW, MLFLOW_TRACKING_URI=uri)
    assert_each_row_is_there_once(found)
    assert found[1]["told"] == ["run 1", "FINISHED", {"beta": "4"}, "s"]
    assert found[2] == 2


READ_WANDB = """
import json, pathlib, sys
from wandb.proto import wandb_internal_pb2 as messages


def records(data):
    # of a LevelDB log after a header of 7 bytes: blocks of 32 KiB, chunks with a type
    whole, place = b"", 7
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # the whole record, or its end
            yield whole
            whole = b""


found = []
for n in range(2):
    own, ids = {}, set()
    for path in sorted(pathlib.Path(sys.argv[2], str(n)).rglob("run-*.wandb")):
        for data in records(path.read_bytes()):
            record = messages.Record()
            record.ParseFromString(data)
            if record.run.run_id:
                ids.add((record.run.run_id, record.run.display_name, record.run.run_group))
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            for tag, value in items.items():
                own.setdefault(tag, []).append([int(items["_step"]), json.loads(value)])
    found.append({**own, "told": sorted(ids)})
print(json.dumps(found))
"""


def test_wandb_has_each_row_once(tmp_path):
    found = logged("wandb", tmp_path / "log", READ_WANDB, WANDB_MODE="offline", WANDB_SILENT="true")
    assert_each_row_is_there_once(found)
    for n in range(2):
        ((_, name, group),) = found[n]["told"]
        assert (name, group) == (f"run {n}", "s")
    assert found[0]["told"][0][0] != found[1]["told"][0][0]


def test_a_csv_file_has_each_row_once(tmp_path):
    for resumes, rows in SESSIONS:
        log = loggers.Csv(tmp_path / "log")
        log.begin(resumes=resumes)
        for row in rows:
            log.log(row)
    assert of_csv(tmp_path / "log") == ROWS
