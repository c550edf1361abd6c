"""Commands fan out: never more than asked, only what is missing, and signals reach them."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import cluster
from vae_jax.lab.cluster import Task
from vae_jax.lab.executors import local
from vae_jax.lab.executors import slurm as slurm_executor

ROOT = pathlib.Path(__file__).parents[1]
SETTINGS = "partition=gpu,time=120,gpus_per_node=1,cpus_per_task=8,mem_gb=32,array_parallelism=2"

WORKER = """
    import os, pathlib, signal, sys, time
    name, directory, what = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / "events", "a") as events:
        print(name, "start", os.getpid(), file=events, flush=True)

        def save(signum, frame):
            if what == "deaf":
                return
            time.sleep(0.2)
            (directory / "saved").write_text(str(signum))
            if what == "part":  # of the phase after training
                (directory / "measured.json").write_text(str(os.getpid()))
            elif what != "early":
                (directory / "checkpoints").mkdir(exist_ok=True)
                (directory / "checkpoints" / str(os.getpid())).touch()
            sys.exit(128 + signum)

        signal.signal(signal.SIGTERM, save)
        signal.signal(signal.SIGINT, save)
        (directory / "ready").touch()
        if what == "fail":
            print("some output\\nerror: no such thing", file=sys.stderr)
            sys.exit(4)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + {"quick": 0.3, "deaf": 900}.get(what, 60)
        while time.monotonic() < deadline:
            time.sleep(0.02)
        (directory / "complete").touch()
        print(name, "end", os.getpid(), file=events, flush=True)
        print("the last line of", name)
"""

SRUN = """
    #!/bin/bash
    while [[ $1 == --* ]]; do
        case $1 in
        --output) out=$2; shift 2 ;;
        *) shift ;;
        esac
    done
    out=${out//%A/$SLURM_ARRAY_JOB_ID}
    out=${out//%a/$SLURM_ARRAY_TASK_ID}
    out=${out//%j/$SLURM_JOB_ID}
    exec "$@" >>"${out//%t/0}" 2>&1
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that stands for a training, on the path of subprocesses."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "fake_training.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), str(ROOT)]))
    return "fake_training"


@pytest.fixture
def make(tmp_path, module):
    """Makes tasks from what each does, by name."""

    def tasks(**whats):
        sweep = tmp_path / "my sweep"
        return [
            Task(name, [module, name, str(sweep / name), what], sweep / name)
            for name, what in whats.items()
        ]

    return tasks


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "my sweep"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A SLURM of shell scripts: what it is asked is in `calls`, what it queues in `queue`."""
    pytest.importorskip("submitit")
    state = tmp_path / "slurm"
    (state / "bin").mkdir(parents=True)
    scripts = {
        "sbatch": f'cp "$1" {state}/script.sh; echo Submitted batch job 77',
        "squeue": f"cat {state}/queue",
        "scontrol": "true",
    }
    for name, body in scripts.items():
        log = f'echo {name} "$@" >>{state}/calls'
        (state / "bin" / name).write_text(f"#!/bin/bash\n{log}\n{body}\n")
    (state / "bin" / "srun").write_text(textwrap.dedent(SRUN).lstrip())
    for path in (state / "bin").iterdir():
        path.chmod(0o755)
    (state / "queue").touch()
    (state / "calls").touch()
    monkeypatch.setenv("PATH", f"{state / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return state


def is_complete(task):
    return (task.directory / "complete").exists()


def run_job(slurm, index, **more):
    """Starts the script that sbatch received, as SLURM would."""
    environment = {
        "SLURM_JOB_ID": str(78 + index),
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_NTASKS": "1",
        **more,
    }
    return subprocess.Popen(["bash", slurm / "script.sh"], env={**os.environ, **environment})


def wait_for(path, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def started(folder):
    return [int(line.split()[2]) for line in (folder / "events").read_text().splitlines()]


def is_alive(pid):
    if not os.path.isdir("/proc"):
        told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
        return told.stdout.strip()[:1] not in ("", "Z")
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_never_more_than_num_workers_run_at_once(make, folder):
    tasks = make(**{f"p{i}": "quick" for i in range(5)})
    outcomes = cluster.fan_out(tasks, folder, is_complete=is_complete, num_workers=2)
    assert [(o.name, o.status, o.exit_code) for o in outcomes] == [
        (f"p{i}", "done", 0) for i in range(5)
    ]
    running, most = 0, 0
    for line in (folder / "events").read_text().splitlines():
        running += 1 if line.split()[1] == "start" else -1
        most = max(most, running)
    assert most == 2
    assert outcomes[3].message == "the last line of p3"
    assert (folder / "logs" / "p3.out").read_text() == "the last line of p3\n"


def test_a_failure_stops_no_other_and_only_what_is_missing_runs_again(make, folder, capsys):
    tasks = make(a="fail", b="quick", c="die", d="quick")
    outcomes = cluster.fan_out(tasks, folder, is_complete=is_complete, num_workers=2)
    assert [(o.status, o.exit_code) for o in outcomes] == [
        ("failed", 4),
        ("done", 0),
        ("failed", 137),
        ("done", 0),
    ]
    assert outcomes[0].message == "error: no such thing"
    assert "a: failed (exit code 4): error: no such thing" in capsys.readouterr().out

    again = cluster.fan_out(make(a="quick", b="quick", c="quick", d="quick"), folder,
                            is_complete=is_complete)  # fmt: skip
    assert [o.status for o in again] == ["done", "complete", "done", "complete"]
    starts = [line.split()[0] for line in (folder / "events").read_text().splitlines()
              if "start" in line]  # fmt: skip
    assert sorted(starts) == ["a", "a", "b", "c", "c", "d"]
    # the log grows, and the message is this process's own
    assert (folder / "logs" / "a.out").read_text().startswith("some output")
    assert again[0].message == "the last line of a"


def test_a_log_that_cannot_be_opened_fails_its_task_alone(make, folder):
    (folder / "logs" / "a.out").mkdir(parents=True)
    outcomes = cluster.fan_out(make(a="quick", b="quick"), folder, is_complete=is_complete)
    assert [(o.status, o.exit_code) for o in outcomes] == [("failed", 5), ("done", 0)]


CALLER = """
    import json, sys
    from pathlib import Path
    from vae_jax.lab import cluster
    from vae_jax.lab.executors import local
    tasks, folder, grace = json.loads(sys.argv[1])
    local.GRACE_SECONDS = grace
    tasks = [cluster.Task(n, a, Path(d)) for n, a, d in tasks]
    local.run_local(tasks, Path(folder), num_workers=2)
"""


@pytest.fixture
def call(folder):
    """Starts a process that runs tasks, and waits until the first two are under way."""
    callers = []

    def start(tasks, *, grace=20.0):
        wanted = [[t.name, t.arguments, str(t.directory)] for t in tasks]
        caller = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(CALLER)),
                json.dumps([wanted, str(folder), grace]),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        callers.append(caller)
        for task in tasks[:2]:
            wait_for(task.directory / "ready")
        return caller

    yield start
    for caller in callers:
        caller.stderr.close()
        if caller.poll() is None:
            caller.kill()
            caller.wait()
    for pid in started(folder):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("signum", "received"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_a_signal_reaches_the_workers_which_save(make, folder, call, signum, received):
    tasks = make(a="long", b="long", c="long")
    caller = call(tasks)
    caller.send_signal(signum)
    assert caller.wait(15) == 128 + signum
    for task in tasks[:2]:
        assert (task.directory / "saved").read_text() == str(int(received))
    assert not tasks[2].directory.exists()
    assert not any(map(is_alive, started(folder)))
    assert "2 workers save (again to kill them)" in caller.stderr.read()


def test_a_second_signal_kills(make, folder, call):
    caller = call(make(a="deaf", b="deaf"))
    caller.terminate()
    time.sleep(0.5)
    assert caller.poll() is None
    caller.terminate()
    assert caller.wait(15) == 143
    assert not any(map(is_alive, started(folder)))


def test_workers_that_do_not_leave_are_killed(make, folder, call):
    caller = call(make(a="deaf", b="long"), grace=0.5)
    caller.terminate()
    assert caller.wait(15) == 143
    assert (folder / "b" / "saved").exists()
    assert not any(map(is_alive, started(folder)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin=gpu", "'partitoin' is unknown (did you mean partition?)"),
        ("color=red", "'color' is unknown: give it as in partition=gpu"),
        ("partition", "'partition' must be name=value"),
        ("=gpu", "'=gpu' must be name=value"),
        ("time=", "'time=' must be name=value"),
        ("partition=gpu\nrm", "must be name=value"),
        ("time=2h", "time=2h: must be minutes, as 120, or as 2:00:00 or 1-12:00:00"),
        ("time=0", "the signal to save would come before a step: give at least time=3"),
        ("time=1:30", "time=1:30 with signal_delay_s=90: the signal to save would come"),
        ("time=0:10:00,signal_delay_s=600", "give at least time=11"),
        ("setup='module load cuda", "a quote is not closed: give it as in partition=gpu"),
        ("mem_gb=-1", "mem_gb=-1: must be a whole number"),
        ("time=10,time=20", "time=10,20: must be minutes"),
        ("cpus_per_task=²", "must be a whole number"),
        ("signal=KILL@1", "signal is chosen by the sweep itself: leave it out"),
        ("open-mode=truncate", "open_mode is chosen by the sweep itself"),
    ],
)
def test_settings_that_do_not_fit_are_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        slurm_executor.parse(text)
    assert "\n" not in str(error.value)


def test_settings_become_parameters():
    parameters = slurm_executor.parse(f"{SETTINGS},gpu-bind=none,exclude=n1,exclude=n2,hold=true,")
    assert parameters["time"] == "120"
    assert parameters["array_parallelism"] == 2
    options = parameters["additional_parameters"]
    assert options["partition"] == "gpu"
    assert options["mem"] == "32GB"
    assert options["gpu_bind"] == "none"
    assert options["exclude"] == "n1,n2"
    assert options["hold"] is True
    assert options["signal"] == "TERM@90"
    for limit in ("3", "2:30", "1:00:00", "1-0", "1-12:30:00"):
        assert slurm_executor.parse(f"time={limit}")["time"] == limit
    several = slurm_executor.parse("setup='module load a,b; source x',nodes=2,ntasks_per_node=4")
    assert several["setup"] == ["module load a,b; source x"]
    assert (several["nodes"], several["ntasks_per_node"]) == (2, 4)
    steps = slurm_executor.parse("container-image=a.sqsh,container_writable=true,cpus_per_task=2")
    assert steps["srun_args"] == [
        "--cpus-per-task=2", "--container-image=a.sqsh", "--container-writable"
    ]  # fmt: skip
    assert slurm_executor.parse("signal_delay_s=30")["additional_parameters"]["signal"] == "TERM@30"
    assert slurm_executor.parse("")["time"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": "slrum"}, "executor 'slrum' is unknown (did you mean slurm?)"),
        ({"num_workers": 0}, "num_workers=0: must be at least 1"),
        ({"executor": "slurm", "settings": "tme=1"}, "did you mean time?"),
    ],
)
@pytest.mark.parametrize("function", [cluster.fan_out, cluster.preview])
def test_usage_errors_come_before_anything_is_written(make, folder, function, arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        function(make(a="quick"), folder, is_complete=is_complete, **arguments)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["a%j", "a\nrm", "a\\b"])
def test_a_folder_that_slurm_misreads_is_refused(make, tmp_path, name):
    with pytest.raises(UsageError, match="choose another"):
        cluster.preview(make(), tmp_path / name, is_complete=is_complete, executor="slurm")


def test_a_missing_submitit_names_the_extra(make, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'vae_jax[cluster]'")):
        cluster.fan_out(make(a="quick"), folder, is_complete=is_complete, executor="slurm")
    assert not folder.exists()
    # this machine needs none
    assert cluster.fan_out(make(a="quick"), folder, is_complete=is_complete)[0].status == "done"


def test_a_preview_needs_no_slurm_and_writes_nothing(make, folder):
    pytest.importorskip("submitit")
    tasks = make(a="quick", b="quick", c="quick")
    text = cluster.preview(
        tasks, folder, is_complete=lambda t: t.name == "b", executor="slurm", settings=SETTINGS
    )
    assert not folder.exists()
    assert text.startswith("#!/bin/bash\n")
    for line in (
        "#SBATCH --array=0-1%2",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=120",
        "#SBATCH --signal=TERM@90",
        "#SBATCH --requeue",
        "# 2 to train in the job array",
        "# 2 of 3 programs are missing",
        shlex.join([sys.executable, "-m", *tasks[2].arguments]),
    ):
        assert line in text.splitlines()
    assert shlex.join(tasks[1].arguments) not in text

    here = cluster.preview(tasks, folder, is_complete=is_complete, num_workers=2)
    assert here.splitlines()[0] == "# 3 to train here, at most 2 at a time"
    assert not folder.exists()


def test_without_slurm_the_error_says_what_to_do(make, folder, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="or choose executor=local"):
        cluster.fan_out(make(a="quick"), folder, is_complete=is_complete, executor="slurm")
    assert not folder.exists()


def test_an_array_is_submitted_once_and_runs_the_commands(make, folder, slurm):
    tasks = make(a="quick", b="quick", c="quick")
    arguments = {"is_complete": is_complete, "executor": "slurm", "settings": SETTINGS}
    shown = cluster.preview(tasks, folder, **arguments)
    outcomes = cluster.fan_out(tasks, folder, **arguments)
    assert [(o.status, o.exit_code, o.message) for o in outcomes] == [
        ("submitted", None, f"job 77_{i}") for i in range(3)
    ]
    script = (slurm / "script.sh").read_text()
    assert shown.startswith(script.rstrip())
    recorded = json.loads((folder / "jobs.json").read_text())
    assert {name: [job[0] for job in jobs] for name, jobs in recorded.items()} == {
        "a": ["77_0"],
        "b": ["77_1"],
        "c": ["77_2"],
    }

    # queued: nothing to submit, nor to run here
    queue = ["12|RUNNING|None|1:00", "77_0|PENDING|Priority|0:00", "77_1|RUNNING|None|0:07"]
    (slurm / "queue").write_text("\n".join([*queue, "77_2|PENDING|Resources|0:00"]))
    waiting = cluster.fan_out(tasks, folder, **arguments)
    assert [o.status for o in waiting] == ["queued", "running", "queued"]
    assert [o.message for o in waiting] == [
        "job 77_0, Priority", "job 77_1, 0:07", "job 77_2, Resources"
    ]  # fmt: skip
    here = cluster.fan_out(tasks, folder, is_complete=is_complete)
    assert here == waiting == cluster.look(tasks, folder, is_complete)
    assert (slurm / "calls").read_text().count("sbatch") == 1

    # the second one runs, the first is still queued, the third was lost
    assert run_job(slurm, 1).wait(60) == 0
    assert is_complete(tasks[1])
    assert "the last line of b" in (folder / "logs" / "slurm" / "77_1_0_log.out").read_text()
    (slurm / "queue").write_text("77_0|PENDING|Priority|0:00\n")
    again = cluster.fan_out(tasks, folder, **arguments)
    assert [o.status for o in again] == ["queued", "complete", "submitted"]
    assert again[2].message == "job 77"
    assert "--array" not in (slurm / "script.sh").read_text()
    recorded = json.loads((folder / "jobs.json").read_text())["c"]
    assert [job[0] for job in recorded] == ["77_2", "77"]


def test_a_job_that_saved_on_sigterm_comes_back_and_another_does_not(make, folder, slurm):
    tasks = make(a="long", b="fail", c="long")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")

    def requeued():
        lines = (slurm / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith("scontrol requeue")]

    job = run_job(slurm, 0)
    wait_for(tasks[0].directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)  # as SLURM does: the step, not the script
    assert job.wait(30) == 143
    assert (tasks[0].directory / "saved").exists()
    assert requeued() == ["scontrol requeue 77_0"]
    # it has not ended, and is not submitted a second time if squeue does not answer now
    squeue = (slurm / "bin" / "squeue").read_text()
    (slurm / "bin" / "squeue").write_text("#!/bin/bash\nexit 1\n")
    assert cluster.look(tasks, folder, is_complete)[0].status == "queued"
    (slurm / "bin" / "squeue").write_text(squeue)

    assert run_job(slurm, 1).wait(30) == 4
    job = run_job(slurm, 2, SLURM_RESTART_COUNT=str(slurm_executor.MAX_REQUEUES))
    wait_for(tasks[2].directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) == 143
    (tasks[2].directory / "ready").unlink()

    job = run_job(slurm, 2)
    wait_for(tasks[2].directory / "ready")
    job.terminate()  # cancelled: the script and the step
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) in (143, -15)
    assert requeued() == ["scontrol requeue 77_0"]


def test_a_job_that_finished_a_part_comes_back_and_one_that_finished_none_does_not(
    make, folder, slurm
):
    (task,) = make(a="part")
    task.directory.mkdir(parents=True)
    (task.directory / "measured.json").write_text("{}")
    cluster.fan_out([task], folder, is_complete=is_complete, executor="slurm")
    alone = {"SLURM_ARRAY_JOB_ID": "", "SLURM_JOB_ID": "77"}
    job = run_job(slurm, 0, **alone)
    wait_for(task.directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) == 143
    assert "scontrol requeue 77" in (slurm / "calls").read_text().splitlines()


def test_an_error_of_sbatch_is_one_line_and_leaves_no_files(make, folder, slurm, capfd):
    (slurm / "bin" / "sbatch").write_text(
        "#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpu' >&2; exit 1\n"
    )
    with pytest.raises(UsageError, match="invalid partition specified: gpu") as error:
        cluster.fan_out(
            make(a="quick", b="quick"), folder, is_complete=is_complete, executor="slurm"
        )
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert list((folder / "logs" / "slurm").iterdir()) == []
    assert not (folder / "jobs.json").exists()


def test_a_failure_is_told_and_submitted_again_only_if_asked(make, folder, slurm):
    arguments = {"is_complete": is_complete, "executor": "slurm"}
    tasks = make(a="fail", b="quick", c="quick")
    cluster.fan_out(tasks, folder, **arguments)
    assert [run_job(slurm, i).wait(30) for i in (0, 1)] == [4, 0]

    # c was lost, as with its node: it left no exit code
    again = cluster.fan_out(tasks, folder, **arguments)
    assert [o.status for o in again] == ["failed", "complete", "submitted"]
    assert (again[0].exit_code, again[0].message) == (4, "error: no such thing")
    assert again[0].log.read_text().endswith("error: no such thing\n")
    assert cluster.look(tasks, folder, is_complete)[0] == again[0]
    # other settings may not fail
    other = make(a="quick", b="quick", c="quick")
    assert cluster.fan_out(other[:1], folder, **arguments)[0].status == "submitted"
    assert run_job(slurm, 0, SLURM_ARRAY_JOB_ID="", SLURM_JOB_ID="77").wait(30) == 0
    assert is_complete(other[0])


def test_a_failure_that_is_retried_may_succeed(make, folder, slurm):
    arguments = {"is_complete": is_complete, "executor": "slurm"}
    task = make(a="fail")
    cluster.fan_out(task, folder, **arguments)
    alone = {"SLURM_ARRAY_JOB_ID": "", "SLURM_JOB_ID": "77"}
    assert run_job(slurm, 0, **alone).wait(30) == 4
    assert cluster.fan_out(task, folder, **arguments)[0].status == "failed"
    assert cluster.fan_out(task, folder, **arguments, retries=True)[0].status == "submitted"
    # its exit code is that of the job before, until it starts
    (slurm / "queue").write_text("77|PENDING|Priority|0:00\n")
    assert cluster.fan_out(task, folder, **arguments)[0].status == "queued"


def test_a_job_that_saved_nothing_is_not_requeued(make, folder, slurm):
    tasks = make(a="early", b="quick")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    job = run_job(slurm, 0)
    wait_for(tasks[0].directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) == 143
    assert "scontrol requeue" not in (slurm / "calls").read_text()
    failed, _ = cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    assert (failed.status, failed.exit_code) == ("failed", 143)
    assert failed.message.startswith("it saved nothing before its time limit: give a longer time")


def test_a_job_that_was_killed_at_its_time_limit_has_failed(make, folder, slurm):
    tasks = make(a="long", b="long")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    log = folder / "logs" / "slurm" / "77_0_0_log.out"
    words = "*** JOB 78 ON n1 CANCELLED AT 2026-11-30T16:00:00 DUE TO TIME LIMIT ***"
    log.write_text(f"epoch 1\nslurmstepd: error: {words}\n")
    failed, lost = cluster.look(tasks, folder, is_complete)
    assert (failed.status, failed.exit_code, lost.status) == ("failed", 143, "missing")
    assert failed.message.startswith("it had not saved when its time limit came: give a larger")


def test_more_tasks_than_an_array_may_have_are_several_arrays(make, folder, slurm):
    (slurm / "bin" / "scontrol").write_text("#!/bin/bash\necho 'MaxArraySize            = 3'\n")
    (slurm / "bin" / "sbatch").write_text(
        f'#!/bin/bash\ncp "$1" {slurm}/script.sh; echo >>{slurm}/count\n'
        f"echo Submitted batch job 8$(wc -l <{slurm}/count)\n"
    )
    tasks = make(**{f"p{i}": "quick" for i in range(7)})
    outcomes = cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    ids = ["81_0", "81_1", "81_2", "82_0", "82_1", "82_2", "83"]
    assert [o.message for o in outcomes] == [f"job {job}" for job in ids]
    assert [job.id for job in slurm_executor.jobs(folder).values()] == ids


def test_what_is_queued_or_runs_is_canceled(make, folder, slurm):
    cluster.fan_out(make(a="quick", b="quick", c="quick"), folder, is_complete=is_complete,
                    executor="slurm")  # fmt: skip
    (slurm / "queue").write_text(
        "77_0|PENDING|Priority|0:00\n77_2|RUNNING|None|0:07\n9|RUNNING|None|1"
    )
    (slurm / "bin" / "scancel").write_text(f'#!/bin/bash\necho scancel "$@" >>{slurm}/calls\n')
    (slurm / "bin" / "scancel").chmod(0o755)
    assert slurm_executor.cancel(folder) == ["77_0", "77_2"]
    assert "scancel 77_0 77_2" in (slurm / "calls").read_text().splitlines()


@pytest.mark.parametrize("failure", ["missing", "failing"])
def test_a_squeue_that_does_not_answer_submits_nothing_twice(
    make, folder, slurm, failure, monkeypatch
):
    tasks = make(a="quick", b="quick")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    if failure == "missing":
        (slurm / "bin" / "squeue").unlink()
        monkeypatch.setenv("PATH", str(slurm / "bin"))
        assert shutil.which("squeue") is None
    else:
        (slurm / "bin" / "squeue").write_text("#!/bin/bash\nexit 1\n")
    outcomes = cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    assert [o.status for o in outcomes] == ["queued"] * 2
    assert outcomes[0].message == "job 77_0, squeue gives no answer"
    with pytest.raises(UsageError, match="squeue gives no answer: cancel from a login node"):
        slurm_executor.cancel(folder)


@pytest.mark.parametrize("content", ["{", "3", '["a"]', "\x00"])
def test_damaged_records_are_named(make, folder, content):
    folder.mkdir()
    (folder / "jobs.json").write_text(content)
    with pytest.raises(StorageError, match=r"jobs\.json cannot be read .*: move it away"):
        slurm_executor.jobs(folder)


def test_records_of_an_older_version_are_read(folder):
    folder.mkdir()
    (folder / "jobs.json").write_text('{"a": "77_0"}')
    assert slurm_executor.jobs(folder) == {"a": slurm_executor.Job("77_0")}


@pytest.mark.parametrize(
    ("environ", "shares"),
    [
        ({}, [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}] * 2),
        ({"CUDA_VISIBLE_DEVICES": "4,6"}, [{"CUDA_VISIBLE_DEVICES": d} for d in "4646"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, [{}] * 4),
        ({"JAX_PLATFORMS": "cpu"}, [{}] * 4),
    ],
)
def test_workers_share_the_devices_of_a_machine(tmp_path, environ, shares):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    for slot, share in enumerate(shares):
        found = local.share_of_devices(slot, 4, environ, tmp_path)
        # two workers of a device have its memory, less what it needs itself
        fraction = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"} if share else {}
        assert found == share | fraction
        assert local.share_of_devices(slot, 1, environ, tmp_path) == {}
    two = local.share_of_devices(1, 2, environ, tmp_path)
    assert two == shares[1]
