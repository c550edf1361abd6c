"""A sweep that is killed, interrupted, moved to other devices or spread over processes is the same.

All are real processes. Those that only repeat a program share what was compiled for it; the sweep
that they are compared with compiles for itself.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import quick
from faults._lab import WITHOUT_PICTURES

from vae_jax.storage import members

TRAINS = quick.program(WITHOUT_PICTURES)
PROJECT = pathlib.Path(__file__).parents[1]
SMALL = ["--widths=16", "--latent_dim=2", "--checkpoint_seconds=0"]
# three runs: on two and on four devices some slots are filled up
LONG = [*SMALL, "--beta=1,2,4", "--epochs=30", "--ema_decay=0.9", "--patience=30"]
# may go on for longer, and so stops at known steps
GROWING = [*SMALL, "--beta=1,2,4", "--learning_rate=1e-3"]
TIMES = ("wall_seconds", "examples_per_second")
NEVER = 20_000


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Environment variables of processes that share what they compile."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture
def start(compiled):
    """Starts the program in a process, which does not outlive the test."""
    processes = []

    def start(workdir, *flags, **environ):
        environ = compiled | {"XLA_FLAGS": devices(1)} | environ
        processes.append(launch(workdir, *flags, **environ))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def launch(workdir, *flags, main=("-c", TRAINS), **environ):
    named = {name for name in os.environ if name.startswith(("JAX_", "XLA_"))}
    inherited = {name: value for name, value in os.environ.items() if name not in named}
    return subprocess.Popen(
        [sys.executable, *main, f"--workdir={workdir}", *flags],
        cwd=PROJECT,
        env={**inherited, "JAX_PLATFORMS": "cpu", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def devices(number):
    return f"--xla_force_host_platform_device_count={number}"


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def complete(process):
    code, out, err = finish(process)
    assert code == 0, err
    return out


def wait_for(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def whole(tmp_path_factory, name, *flags):
    """A sweep that was never interrupted, and shares nothing with the others."""
    directory = tmp_path_factory.mktemp(name) / "sweep"
    complete(launch(directory, *flags, XLA_FLAGS=devices(1)))
    return directory


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return whole(tmp_path_factory, "long", *LONG)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    return whole(tmp_path_factory, "grown", *GROWING, "--epochs=4")


def programs(sweep):
    return sorted(path for path in (sweep / "programs").iterdir() if path.is_dir())


def steps(program):
    folder = program / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def state(program):
    path = program.absolute() / "checkpoints" / str(steps(program)[-1]) / "state"
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(path)


def results(program):
    stored = members.read_results(program)
    return [{k: v for k, v in result.items() if k not in TIMES} for result in stored]


def assert_same(sweep, other):
    """Tables, results and checkpoints are equal to the bit."""
    assert (sweep / "sweep.csv").read_bytes() == (other / "sweep.csv").read_bytes()
    assert (sweep / "summary.csv").read_bytes() == (other / "summary.csv").read_bytes()
    names = [program.name for program in programs(sweep)]
    assert names == [program.name for program in programs(other)]
    for a, b in zip(programs(sweep), programs(other), strict=True):
        assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()
        assert results(a) == results(b)
        assert steps(a)[-1] == steps(b)[-1]
        jax.tree.map(np.testing.assert_array_equal, state(a), state(b))
        assert not (a / "damaged").exists()


def assert_trained_alike(sweep, other, num_rows=None):
    """Training is equal to the bit, what other programs evaluate on other devices to 1e-5."""
    moved, stayed = (folder / "programs" / "all" for folder in (sweep, other))
    tables = [np.genfromtxt(p / "metrics.csv", delimiter=",", names=True) for p in (moved, stayed)]
    assert tables[0].dtype.names == tables[1].dtype.names
    for name in tables[0].dtype.names:
        own, wanted = tables[0][name], tables[1][name][:num_rows]
        if name.startswith("valid_"):
            np.testing.assert_allclose(own, wanted, rtol=1e-5, atol=1e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(own, wanted, err_msg=name)
    if num_rows is None:
        jax.tree.map(np.testing.assert_array_equal, state(moved), state(stayed))
        for own, wanted in zip(results(moved), results(stayed), strict=True):
            assert own.keys() == wanted.keys()
            for name, value in wanted.items():
                if isinstance(value, str):
                    assert own[name] == value
                elif name == "diagnosis":  # in words, of numbers that may differ in the last bits
                    assert [f["what"] for f in own[name]] == [f["what"] for f in value]
                else:
                    np.testing.assert_allclose(own[name], value, 1e-5, 1e-7, err_msg=name)


# --- Killed and interrupted


@pytest.mark.slow
def test_a_killed_sweep_resumes_bit_by_bit(start, long, tmp_path):
    sweep = tmp_path / "sweep"
    all_runs = sweep / "programs" / "all"
    generator = np.random.default_rng()
    moments = generator.uniform(0, (5, 0.3, 0.3))
    print(f"killed {moments} seconds after the directory, the first and a later checkpoint")
    process = start(sweep, *LONG)
    wait_for(lambda: (sweep / "config.json").exists(), process)
    time.sleep(moments[0])
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    for moment, epoch in zip(moments[1:], (1, 4), strict=True):
        process = start(sweep, *LONG)
        wait_for(lambda epoch=epoch: steps(all_runs)[-1:] > [epoch * 15], process)
        time.sleep(moment)
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
    out = complete(start(sweep, *LONG))
    resumed = int(re.search(r"resuming at step (\d+)", out)[1])
    assert 4 * 15 < resumed < 30 * 15
    assert_same(sweep, long)


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_goes_on(start, long, tmp_path):
    sweep = tmp_path / "sweep"
    all_runs = sweep / "programs" / "all"
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = steps(all_runs)
        process = start(sweep, *LONG)
        wait_for(lambda before=before: steps(all_runs)[-1:] > before[-1:], process)
        sent = time.monotonic()
        process.send_signal(signum)
        returned, out, err = finish(process)
        assert returned == code, err
        assert time.monotonic() - sent < 10
        assert "Traceback" not in err
        step = steps(all_runs)[-1]
        assert f"interrupted at step {step}, saved" in out
        assert not (all_runs / "results.json").exists()
        assert not (sweep / "sweep.csv").exists()
    assert f"resuming at step {step}" in complete(start(sweep, *LONG))
    assert_same(sweep, long)


@pytest.mark.slow
def test_a_signal_between_two_programs_ends_the_sweep(start, tmp_path):
    flags = [*SMALL[1:], "--widths=16;8", "--beta=1,4", "--epochs=2"]
    sweep, uninterrupted = tmp_path / "sweep", tmp_path / "whole"
    process = start(sweep, *flags)
    first, second = (sweep / "programs" / name for name in ("widths=16", "widths=8"))
    wait_for(lambda: (first / "results.json").exists(), process)
    sent = time.monotonic()
    process.terminate()
    code, _, err = finish(process)
    assert code == 143, err
    assert time.monotonic() - sent < 10
    assert "Traceback" not in err
    assert not (second / "results.json").exists()
    trained = (first / "results.json").stat().st_mtime_ns
    assert "complete already" in complete(start(sweep, *flags))
    assert (first / "results.json").stat().st_mtime_ns == trained
    complete(start(uninterrupted, *flags))
    assert_same(sweep, uninterrupted)


# --- Other devices


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_a_sweep_goes_on_with_another_number_of_devices(start, grown, tmp_path):
    """1 → 2 → 4 → 1 devices, an epoch each: runs that share nothing are the same to the bit."""
    for epochs, number in enumerate((1, 2, 4, 1), 1):
        out = complete(
            start(tmp_path / "sweep", *GROWING, f"--epochs={epochs}", XLA_FLAGS=devices(number))
        )
        # three runs never take more than three devices
        assert f"on {min(number, 3)} device(s)" in out
        assert epochs == 1 or f"resuming at step {15 * (epochs - 1)}" in out
    assert_trained_alike(tmp_path / "sweep", grown)


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices_to_its_batch(start, tmp_path):
    """Sums over a batch in another order: to 1e-4 of each number after three epochs."""
    flags = [*SMALL, "--learning_rate=1e-3", "--batch_size=99"]
    for epochs, number in ((1, 4), (2, 1), (3, 2)):
        more = [f"--epochs={epochs}", f"--data_devices={number}"]
        complete(start(tmp_path / "moved", *flags, *more, XLA_FLAGS=devices(number)))
    complete(start(tmp_path / "one", *flags, "--epochs=3"))
    tables = [
        np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True)
        for name in ("moved", "one")
    ]
    assert tables[0].dtype.names == tables[1].dtype.names
    assert len(tables[0]) == len(tables[1]) == 3
    for name in tables[0].dtype.names:
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-4, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        state(tmp_path / "moved"),
        state(tmp_path / "one"),
    )


# --- Two processes


def start_two(start, workdir, *flags):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    named = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [start(workdir, *flags, **named, JAX_PROCESS_ID=str(i)) for i in range(2)]


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_two_processes_are_one_program_which_one_process_continues(start, grown, tmp_path):
    sweep = tmp_path / "sweep"
    first, second = map(complete, start_two(start, sweep, *GROWING, "--epochs=2"))
    assert "on 2 device(s)" in first
    assert [line for line in second.splitlines() if "[Gloo]" not in line] == []
    all_runs = sweep / "programs" / "all"
    assert_trained_alike(sweep, grown, num_rows=2 * 3)
    assert steps(all_runs) == [15, 30]
    assert set(os.listdir(all_runs / "checkpoints")) == {"15", "30"}
    assert (all_runs / "run.log").read_text().count("model: mlp") == 1
    assert "resuming at step 30" in complete(start(sweep, *GROWING, "--epochs=3"))
    first, _ = map(complete, start_two(start, sweep, *GROWING, "--epochs=4"))
    assert "resuming at step 45" in first
    assert_trained_alike(sweep, grown)


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(start, tmp_path):
    sweep = tmp_path / "sweep"
    first, second = start_two(start, sweep, *GROWING, f"--epochs={NEVER}")
    all_runs = sweep / "programs" / "all"
    wait_for(lambda: steps(all_runs), first)
    sent = time.monotonic()
    second.terminate()
    (code, out, err), (other, _, _) = finish(first), finish(second)
    assert (code, other) == (143, 143), err
    assert time.monotonic() - sent < 10
    assert f"interrupted at step {steps(all_runs)[-1]}, saved" in out


IDLE = """
import time
from vae_jax.devices import processes
processes.initialize()
print("together", flush=True)
time.sleep(120)
"""


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_a_process_that_waits_for_nothing_says_so_too():
    """A thread of JAX's finds out, and aborts."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{own.getsockname()[1]}"
    named = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", IDLE]
    options = {"cwd": PROJECT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [
        subprocess.Popen(command, env={**os.environ, **named, "JAX_PROCESS_ID": str(i)}, **options)
        for i in range(2)
    ]
    try:
        assert [process.stdout.readline() for process in both] == ["together\n"] * 2
        both[0].kill()
        code, _, err = finish(both[1], timeout=60)
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert code == 1
    assert err.splitlines()[-1].startswith("error: another process of this program has ended")


@pytest.mark.fault("R12")
@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_process_is_killed_the_other_says_so_and_leaves(start, tmp_path, victim):
    sweep = tmp_path / "sweep"
    both = start_two(start, sweep, *GROWING, f"--epochs={NEVER}")
    wait_for(lambda: steps(sweep / "programs" / "all"), both[0])
    both[victim].kill()
    assert finish(both[victim])[0] == -signal.SIGKILL
    code, _, err = finish(both[1 - victim], timeout=60)
    assert code == 1, err
    # JAX says, before or after from a thread of its own, that its coordinator is gone
    told = (
        "error: another process of this program has ended, see its own output: the same command "
        "goes on from the last checkpoint"
    )
    assert err.count(told) == 1
    assert "Traceback" not in err
    assert "Fatal" not in err


@pytest.mark.slow
def test_an_error_of_one_process_alone_ends_both(start, tmp_path):
    """A row that the first process cannot write: the second is not left waiting for it."""
    sweep = tmp_path / "sweep"
    both = start_two(start, sweep, *GROWING, f"--epochs={NEVER}")
    metrics = sweep / "programs" / "all" / "metrics.csv"
    wait_for(metrics.exists, both[0])
    metrics.unlink()
    metrics.mkdir()
    (code, _, err), (other, _, _) = finish(both[0], timeout=60), finish(both[1], timeout=60)
    assert code == 5
    assert f"error: {metrics} cannot be written" in err
    assert other == 1


LAUNCHED = r"""
import json, os, sys
names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
told = {n: os.environ.get(n) for n in names} | {"arguments": sys.argv[1:]}
os.write(1, (json.dumps(told) + "\n").encode())  # whole, beside those of the others
sys.exit(int(os.environ["EXIT_CODES"].split(",")[int(os.environ.get("JAX_PROCESS_ID", 0))]))
"""


@pytest.fixture
def launcher(tmp_path):
    """A copy of launch.sh whose environment is made already: the Python of this test."""
    project = tmp_path / "project"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    bin_ = project / ".venv" / version / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").symlink_to(sys.executable)
    (project / "pyproject.toml").write_text("[project]\n")
    (project / "launched.py").write_text(LAUNCHED)
    script = project / "launch.sh"
    script.write_text((PROJECT / "launch.sh").read_text())
    stamp = f"{sys.executable} test {project}\n[project]\n"
    (project / ".venv" / version / "installed").write_text(stamp)

    def run(*arguments, **environ):
        # of the environment that runs these tests
        own = ("JAX_", "RESOLUTION")
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(own)}
        inherited |= {"PYTHON": sys.executable, "EXTRAS": "test"}
        return subprocess.run(
            ["bash", str(script), "launched", *arguments],
            cwd=project,
            env={**inherited, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_launch_names_the_processes_to_each_other(launcher):
    ran = launcher("--beta=1, 4", PROCESSES="3", EXIT_CODES="0,0,0")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert sorted(one.pop("JAX_PROCESS_ID") for one in told) == ["0", "1", "2"]
    assert told[0] == told[1] == told[2]
    assert told[0]["JAX_NUM_PROCESSES"] == "3"
    assert told[0]["arguments"] == ["--beta=1, 4"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", told[0]["JAX_COORDINATOR_ADDRESS"])


def test_launch_of_one_process_names_nothing(launcher):
    ran = launcher(EXIT_CODES="3")
    assert ran.returncode == 3
    told = json.loads(ran.stdout)
    assert told.pop("arguments") == []
    assert set(told.values()) == {None}


@pytest.mark.parametrize(("codes", "code"), [("0,5", 5), ("4,0", 4), ("143,143", 143)])
def test_launch_fails_where_any_process_does(launcher, codes, code):
    assert launcher(PROCESSES="2", EXIT_CODES=codes).returncode == code


@pytest.mark.parametrize("processes", ["0", "two", "-1", "1.5"])
def test_launch_wants_a_number_of_processes(launcher, processes):
    ran = launcher(PROCESSES=processes, EXIT_CODES="0")
    assert ran.returncode == 1
    assert f"launch.sh: PROCESSES={processes}: must be a number, 1 or more" in ran.stderr


# --- One directory, two sweeps


@pytest.mark.fault("R11")
def test_a_second_sweep_is_refused_by_name_and_a_killed_one_lets_go(start, tmp_path):
    sweep = tmp_path / "sweep"
    holder = start(sweep, *GROWING, f"--epochs={NEVER}")
    wait_for(lambda: steps(sweep / "programs" / "all"), holder)
    holder.send_signal(signal.SIGSTOP)  # it holds its lock and takes no time
    code, out, err = finish(start(sweep, *GROWING, f"--epochs={NEVER}"))
    assert code == 6
    assert err.startswith(f"error: {sweep} is in use by process {holder.pid} on ")
    assert len(err.splitlines()) == 1
    assert out == ""
    assert holder.poll() is None
    holder.kill()
    finish(holder)
    step = steps(sweep / "programs" / "all")[-1]
    process = start(sweep, *GROWING, f"--epochs={NEVER}")
    lines = iter(process.stdout.readline, "")
    assert f"resuming at step {step}\n" in lines
    process.kill()
