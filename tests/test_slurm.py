"""Executors on a real SLURM: `SLURM_CONF=… pytest -n 0 -m slurm`, with two nodes of two cores.

What is promised, and what tries it here; what only scripts decide is also in test_cluster.py, on a
SLURM of shell scripts.

| | promise | test |
|---|---|---|
| 1 | `launch.sh` takes nothing from jobs that run or are queued | `environment_is_extended` |
| 2 | a failure is told once, with exit code 7 | `failed_program`, `failure_is_told_once` |
| 2 | what the login node can find is found before submission | `found_before_submission` |
| 3 | a limit that leaves no time is refused with the least | `limit_that_leaves_no_time` |
| 3 | the limit interrupts, the numbers are the same | `interrupted_by_its_time_limit` |
| 3 | requeued only if a step or a part was saved | `goes_on_and_one_that_did_not` |
| 3 | a job that saved nothing, or not in time | `saved_nothing`, `was_killed_at_its_limit` |
| 4 | the submitting process starts no accelerator | `trains_from_submission_to_table` |
| 4 | local workers share devices | test_cluster.py: a fake of /dev, no GPU is needed |
| 5 | table, reasons, log, `status`, `cancel`, throttling | `states_of_a_sweep` |
| 5 | `--follow`, and nothing is named that is not there | `trains_from_submission_to_table` |
| 5 | what the page shows is what is printed | `page_shows` |
| 6 | more programs than `MaxArraySize` | `more_programs_than_an_array` |
| 6 | job ids are kept when squeue fails | `squeue_that_fails` |
| 7 | lines of setup, `export`, `time`, several nodes | `options_reach_the_job` |
| 7 | what this SLURM lacks is refused in a line | `options_that_this_slurm_lacks` |
| 7 | USR1 and USR2 save, and the training goes on | `signals_save` |
| 8 | who waits says for whom and where | `process_that_waits` |
| | new rows, parted over the tasks of a job, have the results of one process | `new_rows` |
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from test_cluster import ROOT, WORKER, is_complete, wait_for

import vae_jax
from vae_jax import exported
from vae_jax.errors import UsageError
from vae_jax.lab import cluster
from vae_jax.lab.cluster import Task
from vae_jax.lab.executors import slurm as slurm_executor
from vae_jax.storage import csv_rows, members

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SMALL = ("--network=linear", "--latent_dim=2", "--epochs=2", "--slurm=time=10,cpus_per_task=1")
TIMES = ("wall_seconds", "examples_per_second")
LONG = ("--network=linear", "--latent_dim=2", "--epochs=300000")
"""A training of hours."""


@pytest.fixture(scope="module", autouse=True)
def answers():
    """Skips where there is no SLURM; nothing that is left runs on."""
    pytest.importorskip("submitit")
    if shutil.which("sinfo") is None:
        pytest.skip("no SLURM is installed here (apt-get install slurm-wlm munge)")
    told = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60)
    if told.returncode or "idle" not in told.stdout:
        pytest.skip("no SLURM answers with an idle node: start one and set SLURM_CONF")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "my sweep"
    yield place
    if (place / "jobs.json").exists():
        slurm_executor.cancel(place)


@pytest.fixture
def workdir(tmp_path):
    """The directory of a sweep, whose jobs are canceled at the end."""
    place = tmp_path / "sweep"
    yield place
    if (place / "jobs.json").exists():
        slurm_executor.cancel(place)


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


def wait_until(condition, seconds=120.0):
    """Waits for a condition; what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, subprocess.run(["squeue"], capture_output=True).stdout
        time.sleep(0.5)


def until(tasks, folder, *statuses, seconds=120):
    """Waits until the tasks have these states; the outcomes."""

    def reached():
        found = cluster.look(tasks, folder, is_complete)
        return found if tuple(outcome.status for outcome in found) == statuses else None

    return wait_until(reached, seconds)


def scancel(*words):
    subprocess.run(["scancel", *words], check=True)


def queue(*words, form="%i"):
    """What squeue says of all jobs, a line for each."""
    words = ["squeue", "--noheader", "--array", f"--format={form}", *words]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    return told.stdout.split("\n")[:-1]


def job_of(folder, name="all"):
    return slurm_executor.jobs(folder)[name].id


def shown(job):
    """What scontrol shows of a job: name → value."""
    told = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True)
    return dict(re.findall(r"(\S+?)=(\S*)", told.stdout))


def call(module, *flags, main=None, cwd=None, **environ):
    """A command of a user on the login node, as it ended."""
    return subprocess.run(
        [sys.executable, *(main or ("-m", f"experiments.{module}")), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
    )


def train(workdir, *flags, **environ):
    return call("vae", *flags, f"--workdir={workdir}", "--executor=slurm", **environ)


def logs_of(workdir):
    return [path.read_text() for path in (workdir / "logs" / "slurm").glob("*.out")]


def test_each_promise_has_a_test():
    rows = [line for line in __doc__.splitlines() if re.match(r"\| \d", line)]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[-2])]
    assert len(named) >= len(rows) > 10
    tests = [name for name in globals() if name.startswith("test_")]
    assert [n for n in named if not any(n in test for test in tests)] == []


# --- 1: the environment


VENV = """#!/bin/sh
# a machine without a network, whose pip is a script
if [ "$1 $2" = "-m venv" ]; then
    {python} -m venv --without-pip "$3" && exec {python} {fill} "$3"
fi
exec {python} "$@"
"""
FILL = """
import pathlib, sys
(site,) = pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")
(site / "others.pth").write_text({paths!r})
(site / "only_here.py").write_text("import sys; PREFIX = sys.prefix")
(site / "pip").mkdir()
(site / "pip/__init__.py").touch()
(site / "pip/__main__.py").write_text({pip!r})
"""
PIP = """
import pathlib, sys
if "--requirement" in sys.argv:
    asked = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text()
    (pathlib.Path(__file__).parents[1] / "added.txt").write_text(asked)
"""
SUBMITS = """
import pathlib, sys
from vae_jax.lab import cluster
folder = pathlib.Path(sys.argv[1])
tasks = [cluster.Task(n, ["imports_late", str(folder / n)], folder / n) for n in "ab"]
settings = "time=10,array_parallelism=1"
cluster.fan_out(tasks, folder, is_complete=lambda _: False, executor="slurm", settings=settings)
"""
IMPORTS_LATE = """
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
place.mkdir(parents=True, exist_ok=True)
(place / "ready").touch()
while not (place.parent / "go").exists():
    time.sleep(0.1)
import only_here
(place / "complete").write_text(only_here.PREFIX)
"""


def test_an_environment_is_extended_and_replaced_while_jobs_run_and_wait(tmp_path, folder):
    project, own = tmp_path / "project", tmp_path / "bin"
    project.mkdir()
    own.mkdir()
    for name in ("launch.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, project / name)
    for name, text in (("submits", SUBMITS), ("imports_late", IMPORTS_LATE), ("told", "")):
        (project / f"{name}.py").write_text(text)
    here = [*(path for path in sys.path if path.endswith("site-packages")), str(ROOT)]
    fill = tmp_path / "fill.py"
    fill.write_text(FILL.format(paths="\n".join(here), pip=PIP))
    (own / "python3").write_text(VENV.format(python=sys.executable, fill=fill))
    (own / "python3").chmod(0o755)
    others = [p for p in os.environ["PATH"].split(os.pathsep) if not shutil.which("uv", path=p)]

    def launch(*words, extras="test"):
        kept = {n: v for n, v in os.environ.items() if n not in ("PYTHON", "PYTHONPATH")}
        environ = {**kept, "PATH": os.pathsep.join([str(own), *others]), "EXTRAS": extras}
        done = subprocess.run(
            ["bash", str(project / "launch.sh"), *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    launch("submits", str(folder), extras="test,cluster")
    (first,) = (path for path in (project / ".venv").iterdir() if path.is_dir())
    wait_for(folder / "a" / "ready", 120)

    assert f"adding ray to the environment {first}" in launch("told", extras="ray")
    (added,) = first.glob("lib/*/site-packages/added.txt")
    assert added.read_text().startswith("ray")
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text + "# of a newer version\n")
    assert f"{first} stays for what runs or is queued with it" in launch("told")
    assert (project / ".venv" / f"{first.name}.2" / "installed").exists()

    # one job runs and imports late, the other has not started
    assert not (folder / "b").exists()
    (folder / "go").touch()
    for name in "ab":
        wait_for(folder / name / "complete", 120)
        assert (folder / name / "complete").read_text() == str(first)


# --- 2: failures


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


def test_a_failed_program_ends_the_command_with_exit_code_7(workdir):
    bad = (*SMALL, "--follow", "--slurm=setup='export XLA_FLAGS=--xla_typo=1'")
    first = train(workdir, *bad)
    assert first.returncode == 7, (first.stdout, first.stderr)
    (line,) = first.stderr.splitlines()
    assert line.startswith("error: 1 of 1 program failed (program all: exit code 2: error: XLA_FLA")
    assert line.endswith(f"see {workdir / 'logs'}, --retry_failed tries again")
    (log,) = set(re.findall(r"\S+_log\.out", first.stdout))
    assert "correct or unset it" in (workdir / "logs" / "slurm" / log).read_text()
    job = job_of(workdir)
    again = train(workdir, *SMALL)
    assert (again.returncode, job_of(workdir)) == (7, job)
    assert "XLA refuses it" in again.stdout
    retried = train(workdir, *SMALL, "--follow", "--retry_failed")
    assert retried.returncode == 0, (retried.stdout, retried.stderr)
    assert [row["status"] for row in csv_rows.read_rows(workdir / "sweep.csv")] == ["done"]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--dataset=nowhere.npy",), 2, "nowhere.npy"),
        (("--beta=-1",), 2, "beta"),
        (("--network=mlp,conv", "--latent_dim=0"), 2, "latent_dim"),
        (("--dataset={damaged}",), 3, "damaged.npy"),
        (("--slurm=partition=nowhere",), 2, "invalid partition specified: nowhere"),
    ],
)
def test_what_can_be_found_is_found_before_submission(tmp_path, flags, code, words):
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00")
    before = set(queue("--states=all"))
    given = [flag.format(damaged=tmp_path / "damaged.npy") for flag in flags]
    done = train(tmp_path / "sweep", *SMALL, *given)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert words in line
    assert set(queue("--states=all")) <= before
    assert not (tmp_path / "sweep" / "jobs.json").exists()


# --- 3: time limits


def test_a_limit_that_leaves_no_time_is_refused_and_the_least_is_taken(workdir):
    flags = ("--network=linear", "--latent_dim=2", "--epochs=2")
    before = set(queue("--states=all"))
    done = train(workdir, *flags, "--slurm=time=1,cpus_per_task=1")
    assert done.returncode == 2
    (least,) = re.findall(r"give at least (time=\d+)", done.stderr)
    assert set(queue("--states=all")) <= before
    done = train(workdir, *flags, f"--slurm={least},cpus_per_task=1", "--follow")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert members.read_results(workdir / "programs" / "all")[0]["status"] == "done"


def test_a_training_interrupted_by_its_time_limit_has_the_same_numbers(workdir, tmp_path):
    """It is stopped once it has saved, so that little is computed until the limit comes."""
    alone = tmp_path / "alone"
    flags = ("--network=linear", "--latent_dim=2", "--epochs=3000", "--checkpoint_seconds=1")
    done = train(workdir, *flags, "--slurm=time=2,signal_delay_s=60,cpus_per_task=1")
    assert done.returncode == 0, done.stderr
    program, job = workdir / "programs" / "all", job_of(workdir)
    wait_until(lambda: (program / "checkpoints").exists() and os.listdir(program / "checkpoints"))
    # on a slow machine the limit has come already
    subprocess.run(["scancel", "--signal=STOP", job], check=False)

    def is_due():
        running = queue(f"--jobs={job}", "--states=running", form="%M")
        return not running or running[0].zfill(5) >= "01:10"

    wait_until(is_due, 200)
    subprocess.run(["scancel", "--signal=CONT", job], check=False)
    # SLURM lets a job that is requeued wait for two minutes; it may be interrupted again
    wait_until(lambda: members.read_results(program) is not None, seconds=600)
    log = (program / "run.log").read_text()
    interrupted = re.findall(r"interrupted at step (\d+), saved", log)
    assert interrupted
    assert re.findall(r"resuming at step (\d+)", log) == interrupted

    assert call("vae", *flags, f"--workdir={alone}").returncode == 0
    assert (program / "metrics.csv").read_bytes() == (alone / "metrics.csv").read_bytes()
    (first,), (second,) = (members.read_results(place) for place in (program, alone))
    assert first | dict.fromkeys(TIMES) == second | dict.fromkeys(TIMES)


def test_a_job_that_saved_goes_on_and_one_that_did_not_stops(make, folder):
    tasks = make(a="long", b="early", c="part")
    submit(tasks, folder)
    for task in tasks:
        wait_for(task.directory / "ready", 120)
    ids = [job_of(folder, name) for name in "abc"]
    for task in tasks:
        (task.directory / "ready").unlink()
    # as SLURM does before a time limit: to the steps, not to the script
    scancel("--signal=TERM", *ids)
    # SLURM lets a job that is requeued wait for two minutes
    for number in (0, 2):
        wait_for(tasks[number].directory / "ready", 300)
    running, stuck, part = until(tasks, folder, "running", "failed", "running")
    assert "saved nothing before its time limit" in stuck.message
    assert ids[0] in running.message
    assert ids[2] in part.message
    assert slurm_executor.cancel(folder) == [ids[0], ids[2]]
    until(tasks, folder, "missing", "failed", "missing")
    assert submit(tasks, folder)[0].status == "submitted"
    assert slurm_executor.cancel(folder)


def test_a_job_that_saved_nothing_is_told_and_goes_on_with_more_time(make, folder):
    (task,) = make(a="early")
    submit([task], folder, "time=3")
    wait_for(task.directory / "ready", 120)
    scancel("--signal=TERM", job_of(folder, "a"))
    (failed,) = until([task], folder, "failed")
    assert failed.message.startswith("it saved nothing before its time limit: give a longer time")
    # the remedy
    assert submit([task], folder, "time=10", retries=True)[0].status == "submitted"
    until([task], folder, "complete")


def test_a_job_that_was_killed_at_its_limit_is_told(make, folder):
    (task,) = make(a="deaf")
    submit([task], folder, "time=2,signal_delay_s=60")
    wait_for(task.directory / "ready", 120)
    (failed,) = until([task], folder, "failed", seconds=300)
    assert failed.message.startswith("it had not saved when its time limit came: give a larger")
    assert submit([task], folder)[0].status == "failed"
    # the remedy
    settings = "time=10,signal_delay_s=120"
    assert submit([task], folder, settings, retries=True)[0].status == "submitted"


# --- 4, 5: submission, states, tables


BACKENDS = """
import atexit, runpy, sys
from vae_jax.cli import beginning
beginning.begin()
from jax._src import xla_bridge
atexit.register(lambda: print("backends:", *sorted(xla_bridge._backends)))
runpy.run_module("experiments.vae", run_name="__main__", alter_sys=True)
"""


def test_a_sweep_trains_from_submission_to_table(workdir):
    flags = ["--network=mlp,linear", "--epochs=2", "--latent_dim=2", f"--workdir={workdir}"]
    flags += ["--executor=slurm", "--follow", "--slurm=time=10,cpus_per_task=1,export=NONE"]
    # a login node without an accelerator
    first, again = (
        call("vae", *flags, main=("-c", BACKENDS), JAX_PLATFORMS="cuda") for _ in range(2)
    )
    for done in (first, again):
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert done.stdout.splitlines()[-1] == "backends: cpu"
        assert f"in {workdir}: sweep.csv, summary.csv, plots/, programs/" in done.stdout
    assert "submitted" in first.stdout
    assert f"output is in {workdir / 'logs' / 'slurm'}/" in first.stdout
    assert "submitted" not in again.stdout
    assert [row["status"] for row in csv_rows.read_rows(workdir / "sweep.csv")] == ["done"] * 2
    # without --follow the table says at once what is there
    assert not re.search(r"\brunning\b|\bqueued\b", again.stdout)


def test_the_page_shows_what_is_printed(tmp_path):
    page = (ROOT / "docs" / "sweeps-and-clusters.md").read_text()
    _, command, _, shows, *_ = re.split(r"```\w*\n", page.partition("## A sweep on SLURM")[2])
    command = command.replace("\\\n", " ").partition("launch.sh experiments.vae")[2]
    words = shlex.split(command)
    done = call("vae", *words, cwd=tmp_path)
    slurm_executor.cancel(tmp_path / "runs" / "networks")

    def parts(text):
        """What is printed before the programs start, and after they have ended."""
        text = re.sub(r"job \d+", "job 49", text).replace(str(tmp_path), "/shared/vae_jax")
        lines = text.splitlines()
        ends = next(i for i, line in enumerate(lines) if line.startswith("output is in"))
        begins = next(i for i, line in enumerate(lines) if line.startswith("network  runs"))
        return lines[: ends + 1], lines[begins:]

    assert parts(done.stdout) == parts(shows), done.stderr


def test_the_states_of_a_sweep_are_told_until_it_is_canceled(workdir):
    """Three programs, of which two may run at a time."""
    flags = (
        *LONG,
        "--batch_size=100,200,300",
        "--slurm=time=10,array_parallelism=2,cpus_per_task=1",
    )
    first = train(workdir, *flags)
    assert first.returncode == 0, first.stderr
    names = ["batch_size=100", "batch_size=200", "batch_size=300"]
    ids = [job_of(workdir, name) for name in names]
    lines = first.stdout.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("program")))
    assert [line.split() for line in lines[at + 1 : at + 4]] == [
        [name, "submitted", "job", job] for name, job in zip(names, ids, strict=True)
    ]
    assert "3 of 3 runs have no result yet" in first.stdout
    # nothing is named that is not there
    for path in re.findall(rf"{workdir}\S*?(?=[/:,]?\s)", first.stdout):
        assert os.path.exists(path), path

    def rows():
        told = call("status", f"--run={workdir}").stdout
        return [line.split() for line in told.splitlines()[1:4]], told

    def both_run():
        found, told = rows()
        # epoch and ELBO so far, the name of the log, the job and its elapsed time
        running = [len(row) == 8 and row[1] == "running" for row in found]
        return (found, told) if running == [True, True, False] else None

    (one, two, three), told = wait_until(both_run, seconds=180)
    for row, name, job in ((one, names[0], ids[0]), (two, names[1], ids[1])):
        assert row[0] == name
        epoch, elbo, log, _, told_job, elapsed = row[2:]
        assert told_job == f"{job},"
        assert re.fullmatch(r"\d+:\d\d", elapsed)
        told_rows = csv_rows.read_rows(workdir / "programs" / name / "metrics.csv")
        known = {r["epoch"]: r["valid_elbo"] for r in told_rows}
        assert float(elbo) == pytest.approx(known[int(epoch)], abs=0.01)
        assert (workdir / "logs" / "slurm" / log).exists()
    assert three == [names[2], "queued", "job", f"{ids[2]},", "JobArrayTaskLimit"]
    assert f"output is in {workdir / 'logs' / 'slurm'}/" in told

    # the same command submits nothing twice
    assert train(workdir, *flags).returncode == 0
    assert [job_of(workdir, name) for name in names] == ids
    canceled = call("cancel", f"--run={workdir}")
    assert canceled.stdout == f"canceled: {', '.join(ids)}\n"
    wait_until(lambda: not set(queue()) & set(ids))
    assert [row[1] for row in rows()[0]] == ["missing"] * 3
    assert call("cancel", f"--run={workdir}").stdout == "canceled: none was queued or running\n"


# --- 6: arrays


def test_more_programs_than_an_array_may_have_are_several_arrays(make, folder, monkeypatch):
    """Those that are held cost nothing; SLURM itself refuses what is not split."""
    most = slurm_executor._max_array_size()
    told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True).stdout
    assert re.search(rf"^MaxArraySize\s*= {most}$", told, re.M)
    tasks = make(**{f"p{i}": "quick" for i in range(most + 2)})
    with monkeypatch.context() as patch:
        patch.setattr(slurm_executor, "_max_array_size", lambda: most + 2)
        with pytest.raises(UsageError, match=r"sbatch refuses .*[Aa]rray") as error:
            submit(tasks, folder, "hold=true")
    assert "\n" not in str(error.value)
    assert not (folder / "jobs.json").exists()

    submit(tasks, folder, "hold=true")
    ids = [job_of(folder, task.name) for task in tasks]
    arrays = list(dict.fromkeys(job.partition("_")[0] for job in ids))
    assert len(set(ids)) == most + 2
    assert [sum(job.startswith(f"{array}_") for job in ids) for array in arrays] == [most, 2]
    queued = {outcome.status for outcome in cluster.look(tasks, folder, is_complete)}
    assert queued == {"queued"}
    # the last of each array is the program of that name
    for number in (most - 1, most + 1):
        subprocess.run(["scontrol", "release", ids[number]], check=True)
    for number in (most - 1, most + 1):
        wait_for(tasks[number].directory / "complete", 120)
    assert sum(task.directory.exists() for task in tasks) == 2


def test_a_squeue_that_fails_loses_no_job(make, folder, tmp_path, monkeypatch):
    tasks = make(a="long", b="quick")
    submit(tasks, folder)
    wait_for(tasks[0].directory / "ready", 120)
    until(tasks, folder, "running", "complete")
    before = (folder / "jobs.json").read_bytes()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "squeue").write_text(
        "#!/bin/sh\necho squeue: error: timed out >&2\nexit 1\n"
    )
    (tmp_path / "bin" / "squeue").chmod(0o755)
    everything = set(queue("--states=all"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        for retries in (False, True):
            found = submit(tasks, folder, retries=retries)
            assert [outcome.status for outcome in found] == ["queued", "complete"]
        assert found[0].message == f"job {job_of(folder, 'a')}, squeue gives no answer"
        # it is requeued meanwhile, and has not ended
        scancel("--signal=TERM", job_of(folder, "a"))
        wait_for(tasks[0].directory / "saved", 60)
        time.sleep(5)
        assert submit(tasks, folder)[0].status == "queued"
    assert (folder / "jobs.json").read_bytes() == before
    assert set(queue("--states=all")) <= everything
    assert cluster.look(tasks, folder, is_complete)[0].status == "queued"


# --- 7: options


TELLS = """
import json, os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
place.mkdir(parents=True, exist_ok=True)
whole = place / os.environ["SLURM_PROCID"]
part = whole.with_suffix(".part")
part.write_text(json.dumps(dict(os.environ)))
part.rename(whole)
time.sleep(5)
"""


def test_options_reach_the_job(tmp_path, folder, monkeypatch):
    """A worker that tells its environment."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tells.py").write_text(TELLS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), str(ROOT)]))
    monkeypatch.setenv("OF_THE_LOGIN_NODE", "1")
    settings = 'setup="export A=1; export B=$A,2",time=1:00:00,nodes=2,ntasks_per_node=1'
    task = Task("a", ["tells", str(folder / "a")], folder / "a")
    for number, export in enumerate(("", ",export=NONE")):
        place = folder / str(number)
        (job,) = submit([task._replace(arguments=["tells", str(place)])], folder, settings + export)
        told = shown(job.message.removeprefix("job "))
        assert (told["TimeLimit"], told["NumNodes"]) == ("01:00:00", "2-2")
        for process in ("0", "1"):
            wait_for(place / process, 120)
        wait_until(lambda: not queue("--states=running,pending", "--me"))
        environs = [json.loads((place / process).read_text()) for process in ("0", "1")]
        assert {environ["SLURMD_NODENAME"] for environ in environs} == {"n1", "n2"}
        for environ in environs:
            assert (environ["A"], environ["B"]) == ("1", "1,2")
            assert ("OF_THE_LOGIN_NODE" in environ) == (export == "")


@pytest.mark.parametrize(
    "settings",
    ["clusters=elsewhere", "gpus_per_task=2,gpus_per_node=2", "reservation=nowhere"],
)
def test_options_that_this_slurm_lacks_are_refused_in_a_line(make, folder, settings):
    before = set(queue("--states=all"))
    with pytest.raises(UsageError, match=r"executor=slurm: sbatch refuses \(") as error:
        submit(make(a="quick", b="quick"), folder, settings)
    assert "\n" not in str(error.value)
    assert set(queue("--states=all")) <= before
    assert not (folder / "jobs.json").exists()


def test_a_container_without_its_plugin_is_a_failure_that_is_told(make, folder):
    tasks = make(a="quick")
    submit(tasks, folder, "container_image=a.sqsh")
    (failed,) = until(tasks, folder, "failed")
    assert "container-image" in failed.log.read_text()


def test_signals_save_and_the_training_goes_on(workdir):
    done = train(workdir, *LONG, "--checkpoint_seconds=100000", "--slurm=time=10,cpus_per_task=1")
    assert done.returncode == 0, done.stderr
    program, job = workdir / "programs" / "all", job_of(workdir)
    wait_until(lambda: (program / "metrics.csv").exists())
    steps = []
    for name in ("USR1", "USR2"):
        scancel(f"--signal={name}", job)

        def is_saved(name=name):
            told = [
                text for text in logs_of(workdir) if f"SIG{name}: saving, then going on" in text
            ]
            found = [path.name for path in (program / "checkpoints").glob("*")] if told else []
            new = [int(step) for step in found if step.isdigit() and int(step) not in steps]
            return max(new, default=0)

        steps.append(wait_until(is_saved))
    rows = (program / "metrics.csv").stat().st_size
    wait_until(lambda: (program / "metrics.csv").stat().st_size > rows)
    assert queue(f"--jobs={job}", form="%T") == ["RUNNING"]
    assert steps == sorted(steps)
    slurm_executor.cancel(workdir)
    wait_until(lambda: job not in queue())


# --- 8: several processes


LATE = """
import os, time
if os.environ.get("SLURM_PROCID") == "1" and "SLURM_STEP_ID" in os.environ:
    time.sleep(25)
"""


def test_a_process_that_waits_says_for_whom_and_the_program_spans_two_nodes(workdir, tmp_path):
    (tmp_path / "lib").mkdir()
    # the second process starts late
    (tmp_path / "lib" / "sitecustomize.py").write_text(LATE)
    done = train(
        workdir,
        *("--network=linear", "--latent_dim=2", "--epochs=2", "--follow"),
        "--slurm=time=10,nodes=2,ntasks_per_node=1,cpus_per_task=1",
        PYTHONPATH=os.pathsep.join([str(tmp_path / "lib"), str(ROOT)]),
    )
    logs = logs_of(workdir)
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    (result,) = members.read_results(workdir / "programs" / "all")
    assert result["status"] == "done"
    # the cores of both nodes
    assert any("devices: 4 × cpu" in text for text in logs), logs
    (waiting,) = (text for text in logs if "waits for" in text)
    assert waiting.count("process 0 of 2 waits for the others at n[1-2]") >= 2


def test_new_rows_have_the_same_results_on_two_tasks(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3)).astype(np.float32)
    model = vae_jax.make_model((3,), likelihood="gaussian", latent_dim=2, widths=(8,))
    trained = vae_jax.fit("beta_vae", model, rows, epochs=1, progress=False)
    exported.save(tmp_path / "model.safetensors", trained.model, trained.params)
    np.save(tmp_path / "rows.npy", rows)
    part = "$((SLURM_PROCID * 30)):$(((SLURM_PROCID + 1) * 30))"
    command = (
        f"{shlex.quote(sys.executable)} -m experiments.apply score --by=iwae"
        f" --run={tmp_path}/model.safetensors --input={tmp_path}/rows.npy"
    )
    parted = f"{command} --rows={part} --output={tmp_path}/part-$SLURM_PROCID.npy"
    for words in (["srun", "-N", "2", "-n", "2", "bash", "-c", parted], shlex.split(command)):
        words += [] if words[0] == "srun" else [f"--output={tmp_path}/whole.npy"]
        told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert told.returncode == 0, told.stderr
    parts = [np.load(tmp_path / f"part-{number}.npy") for number in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), np.load(tmp_path / "whole.npy"))
