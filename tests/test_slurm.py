"""Executors on a real SLURM: `SLURM_CONF=… pytest -m slurm`, with two nodes of two cores.

What only scripts decide is in test_cluster.py, on a SLURM of shell scripts.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
from test_cluster import ROOT, WORKER, is_complete, wait_for

from vae_jax.lab import cluster
from vae_jax.lab.cluster import Task
from vae_jax.lab.executors import slurm as slurm_executor
from vae_jax.storage import csv_rows, members

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


@pytest.fixture(scope="module", autouse=True)
def answers():
    """Skips where there is no SLURM."""
    pytest.importorskip("submitit")
    if shutil.which("sinfo") is None:
        pytest.skip("no SLURM is installed here (apt-get install slurm-wlm munge)")
    told = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60)
    if told.returncode or "idle" not in told.stdout:
        pytest.skip("no SLURM answers with an idle node: start one and set SLURM_CONF")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "my sweep"


@pytest.fixture
def make(tmp_path, folder, monkeypatch):
    """Makes tasks from what each does, see `WORKER`."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "fake_training.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), str(ROOT)]))

    def tasks(**whats):
        return [
            Task(name, ["fake_training", name, str(folder / name), what], folder / name)
            for name, what in whats.items()
        ]

    return tasks


def submit(tasks, folder, settings="", **options):
    options = {"is_complete": is_complete, "executor": "slurm", **options}
    return cluster.fan_out(tasks, folder, settings=settings, **options)


def until(tasks, folder, *statuses, seconds=90):
    """Waits until the tasks have these states; the outcomes."""
    deadline = time.monotonic() + seconds
    while True:
        found = cluster.look(tasks, folder, is_complete)
        if tuple(outcome.status for outcome in found) == statuses:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def scancel(*words):
    subprocess.run(["scancel", *words], check=True)


def test_a_failure_is_told_once_and_retried_if_asked(make, folder):
    tasks = make(a="fail", b="quick")
    script = "setup='echo the setup; export LOADED=1',time=0:10:00,export=NONE"
    assert [o.status for o in submit(tasks, folder, script)] == ["submitted"] * 2
    failed, _ = until(tasks, folder, "failed", "complete")
    assert (failed.exit_code, failed.message) == (4, "error: no such thing")
    assert "some output" in failed.log.read_text()
    before = slurm_executor.jobs(folder)
    assert [o.status for o in submit(tasks, folder, script)] == ["failed", "complete"]
    assert slurm_executor.jobs(folder) == before
    assert submit(tasks, folder, script, retries=True)[0].status == "submitted"
    until(tasks, folder, "failed", "complete")
    output = before["a"].id.partition("_")[0] + "_0_0_log.out"
    assert "the setup" in (folder / "logs" / "slurm" / output).read_text()


def test_a_job_that_saved_goes_on_and_one_that_did_not_stops(make, folder):
    tasks = make(a="long", b="early")
    submit(tasks, folder)
    for task in tasks:
        wait_for(task.directory / "ready", 90)
    ids = [slurm_executor.jobs(folder)[name].id for name in "ab"]
    (tasks[0].directory / "ready").unlink()
    # as SLURM does before a time limit: to the steps, not to the script
    scancel("--signal=TERM", *ids)
    # SLURM lets a job that is requeued wait for two minutes
    wait_for(tasks[0].directory / "ready", 300)
    running, stuck = until(tasks, folder, "running", "failed")
    assert "saved nothing before its time limit" in stuck.message
    assert ids[0] in running.message
    assert slurm_executor.cancel(folder) == [ids[0]]
    until(tasks, folder, "missing", "failed")
    assert submit(tasks, folder)[0].status == "submitted"
    slurm_executor.cancel(folder)


def test_a_sweep_trains_from_submission_to_table(tmp_path):
    workdir = tmp_path / "sweep"
    flags = ["--network=mlp,linear", "--epochs=2", "--latent_dim=2", f"--workdir={workdir}"]
    flags += ["--executor=slurm", "--slurm=time=10,cpus_per_task=1", "--follow"]
    # a login node without an accelerator
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cuda"}
    for name in ("one", "again"):
        done = subprocess.run(
            [sys.executable, "-m", "experiments.vae", *flags, "--slurm=time=10,export=NONE"],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    assert "submitted" not in done.stdout
    assert [row["status"] for row in csv_rows.read_rows(workdir / "sweep.csv")] == ["done"] * 2


def test_a_program_spans_two_nodes(tmp_path):
    workdir = tmp_path / "sweep"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.vae", "--epochs=2", "--network=linear"),
            *("--latent_dim=2", f"--workdir={workdir}", "--executor=slurm", "--follow"),
            "--slurm=time=10,nodes=2,ntasks_per_node=1,cpus_per_task=1",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    logs = [path.read_text() for path in (workdir / "logs" / "slurm").glob("*.out")]
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    (result,) = members.read_results(workdir / "programs" / "all")
    assert result["status"] == "done"
    # the cores of both nodes
    assert any("devices: 4 × cpu" in text for text in logs), logs
