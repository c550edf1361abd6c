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
            sys.exit(128 + signum)

        signal.signal(signal.SIGTERM, save)
        signal.signal(signal.SIGINT, save)
        (directory / "ready").touch()
        if what == "fail":
            print("some output\\nerror: no such thing", file=sys.stderr)
            sys.exit(4)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + (60 if what in ("long", "deaf") else 0.3)
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
    tasks, folder, grace = json.loads(sys.argv[1])
    cluster.GRACE_SECONDS = grace
    tasks = [cluster.Task(n, a, Path(d)) for n, a, d in tasks]
    cluster.run_local(tasks, Path(folder), num_workers=2)
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
        ("partitoin=gpu", "'partitoin' is not an option of sbatch (did you mean partition?)"),
        ("color=red", "'color' is not an option of sbatch: give it as in partition=gpu"),
        ("partition", "'partition' must be name=value"),
        ("=gpu", "'=gpu' must be name=value"),
        ("time=", "'time=' must be name=value"),
        ("partition=gpu\nrm", "must be name=value"),
        ("time=2:00:00", "time=2:00:00: must be a whole number of at least 1"),
        ("time=0", "time=0: must be a whole number"),
        ("mem_gb=-1", "mem_gb=-1: must be a whole number"),
        ("time=10,time=20", "time=10,20: must be a whole number"),
        ("cpus_per_task=²", "must be a whole number"),
        ("signal=KILL@1", "signal is chosen by the sweep itself: leave it out"),
        ("open-mode=truncate", "open_mode is chosen by the sweep itself"),
    ],
)
def test_settings_that_do_not_fit_are_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        cluster.parse_slurm(text)
    assert "\n" not in str(error.value)


def test_settings_become_parameters():
    parameters = cluster.parse_slurm(f"{SETTINGS},gpu-bind=none,exclude=n1,exclude=n2,hold=true,")
    assert parameters["time"] == 120
    assert parameters["array_parallelism"] == 2
    options = parameters["additional_parameters"]
    assert options["partition"] == "gpu"
    assert options["mem"] == "32GB"
    assert options["gpu_bind"] == "none"
    assert options["exclude"] == "n1,n2"
    assert options["hold"] is True
    assert options["signal"] == "TERM@90"
    assert cluster.parse_slurm("signal_delay_s=30")["additional_parameters"]["signal"] == "TERM@30"
    assert cluster.parse_slurm("")["time"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": "slrum"}, "executor=slrum: must be one of local, slurm"),
        ({"num_workers": 0}, "num_workers=0: must be at least 1"),
        ({"slurm": "time=1"}, "`slurm`: only executor=slurm has these settings"),
        ({"executor": "slurm", "slurm": "tme=1"}, "did you mean time?"),
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
        tasks, folder, is_complete=lambda t: t.name == "b", executor="slurm", slurm=SETTINGS
    )
    assert not folder.exists()
    assert text.startswith("#!/bin/bash\n")
    for line in (
        "#SBATCH --array=0-1%2",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=120",
        "#SBATCH --signal=TERM@90",
        "#SBATCH --requeue",
        "# 2 of 3 programs to train in the job array",
        shlex.join([sys.executable, "-m", *tasks[2].arguments]),
    ):
        assert line in text.splitlines()
    assert shlex.join(tasks[1].arguments) not in text

    local = cluster.preview(tasks, folder, is_complete=is_complete, num_workers=2)
    assert local.splitlines()[0] == "# 3 of 3 programs to train here, at most 2 at a time"
    assert not folder.exists()


def test_without_slurm_the_error_says_what_to_do(make, folder, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="or choose executor=local"):
        cluster.fan_out(make(a="quick"), folder, is_complete=is_complete, executor="slurm")
    assert not folder.exists()


def test_an_array_is_submitted_once_and_runs_the_commands(make, folder, slurm):
    tasks = make(a="quick", b="quick", c="quick")
    arguments = {"is_complete": is_complete, "executor": "slurm", "slurm": SETTINGS}
    shown = cluster.preview(tasks, folder, **arguments)
    outcomes = cluster.fan_out(tasks, folder, **arguments)
    assert [(o.status, o.exit_code, o.message) for o in outcomes] == [
        ("submitted", None, f"job 77_{i}") for i in range(3)
    ]
    script = (slurm / "script.sh").read_text()
    assert shown.startswith(script.rstrip())
    assert json.loads((folder / "jobs.json").read_text()) == {
        "a": "77_0",
        "b": "77_1",
        "c": "77_2",
    }

    # queued: nothing to submit, nor to run here
    (slurm / "queue").write_text("12\n77_0\n77_1\n77_2\n")
    assert cluster.pending(folder) == {"a", "b", "c"}
    assert [o.status for o in cluster.fan_out(tasks, folder, **arguments)] == ["queued"] * 3
    local = cluster.fan_out(tasks, folder, is_complete=is_complete)
    assert [o.status for o in local] == ["queued"] * 3
    assert (slurm / "calls").read_text().count("sbatch") == 1

    # the second one runs, the first is still queued, the third was lost
    assert run_job(slurm, 1).wait(60) == 0
    assert is_complete(tasks[1])
    assert "the last line of b" in (folder / "logs" / "slurm" / "77_1_0_log.out").read_text()
    (slurm / "queue").write_text("77_0\n")
    again = cluster.fan_out(tasks, folder, **arguments)
    assert [o.status for o in again] == ["queued", "complete", "submitted"]
    assert again[2].message == "job 77"
    assert "--array" not in (slurm / "script.sh").read_text()
    assert json.loads((folder / "jobs.json").read_text())["c"] == "77"


def test_a_job_that_saved_on_sigterm_comes_back_and_another_does_not(make, folder, slurm):
    tasks = make(a="long", b="fail", c="long")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")

    def requeued():
        lines = (slurm / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith("scontrol")]

    job = run_job(slurm, 0)
    wait_for(tasks[0].directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)  # as SLURM does: the step, not the script
    assert job.wait(30) == 143
    assert (tasks[0].directory / "saved").exists()
    assert requeued() == ["scontrol requeue 78"]

    assert run_job(slurm, 1).wait(30) == 4
    job = run_job(slurm, 2, SLURM_RESTART_COUNT=str(cluster.MAX_REQUEUES))
    wait_for(tasks[2].directory / "ready")
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) == 143
    (tasks[2].directory / "ready").unlink()

    job = run_job(slurm, 2)
    wait_for(tasks[2].directory / "ready")
    job.terminate()  # cancelled: the script and the step
    os.kill(started(folder)[-1], signal.SIGTERM)
    assert job.wait(30) in (143, -15)
    assert requeued() == ["scontrol requeue 78"]


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


@pytest.mark.parametrize("failure", ["missing", "failing"])
def test_a_squeue_that_does_not_answer_holds_nothing_up(make, folder, slurm, failure):
    tasks = make(a="quick", b="quick")
    cluster.fan_out(tasks, folder, is_complete=is_complete, executor="slurm")
    if failure == "missing":
        (slurm / "bin" / "squeue").unlink()
        assert shutil.which("squeue") is None
    else:
        (slurm / "bin" / "squeue").write_text("#!/bin/bash\nexit 1\n")
    assert cluster.pending(folder) == set()


@pytest.mark.parametrize("content", ["{", "3", '["a"]', "\x00"])
def test_damaged_records_are_named(make, folder, content):
    folder.mkdir()
    (folder / "jobs.json").write_text(content)
    with pytest.raises(StorageError, match=r"jobs\.json cannot be read .*: move it away"):
        cluster.pending(folder)
