"""Trains the programs of a sweep: in subprocesses on this machine, or as one SLURM job array.

Both start commands `python -m …` that resume where they stopped, so the same call trains only the
missing programs: those neither complete nor queued.
"""

import contextlib
import io
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import console, disk
from vae_jax.errors import StorageError, UsageError, did_you_mean
from vae_jax.lab import interrupts
from vae_jax.storage import files

__all__ = [
    "EXECUTORS",
    "GRACE_SECONDS",
    "MAX_REQUEUES",
    "Outcome",
    "Task",
    "fan_out",
    "parse_slurm",
    "pending",
    "preview",
    "run_local",
    "submit",
]

EXECUTORS = ("local", "slurm")
GRACE_SECONDS = 20.0
"""Seconds that local workers have to save after a signal."""
MAX_REQUEUES = 100
"""Maximum number of requeues after a time limit, so that a job that saves nothing ends."""

_COUNTS = "time gpus_per_node cpus_per_task mem_gb array_parallelism signal_delay_s"
_OPTIONS = """account begin cluster_constraint comment constraint contiguous core_spec cpus_per_gpu
    deadline delay_boot dependency exclude exclusive gpu_bind gpu_freq gpus gpus_per_task gres hint
    hold job_name licenses mail_type mail_user mem mem_per_cpu mem_per_gpu network nice nodelist
    partition prefer priority profile propagate qos reservation sockets_per_node switches
    thread_spec threads_per_core tmp wckey"""
_OURS = """array chdir error export input no_requeue nodes ntasks ntasks_per_node open_mode output
    requeue signal wrap"""
_EXAMPLE = "partition=gpu,time=120,gpus_per_node=1,cpus_per_task=8,mem_gb=32"


class Task(NamedTuple):
    """One command of a sweep.

    Attributes:
        name: name of the program, unique in its sweep and valid in a file name.
        arguments: the arguments after `python -m`.
        directory: its run directory.
    """

    name: str
    arguments: list[str]
    directory: Path


class Outcome(NamedTuple):
    """The outcome of a task.

    Attributes:
        name: name of the task.
        status: `complete` or `queued` before the call, `submitted` by it, or `done` or `failed` in
            it.
        exit_code: 0 if complete, None if queued; 128 + n for signal n.
        message: the last line of a worker's log, or the id of a job.
    """

    name: str
    status: str
    exit_code: int | None = None
    message: str = ""


def fan_out(
    tasks: Sequence[Task],
    folder: Path,
    *,
    is_complete: Callable[[Task], bool],
    executor: str = "local",
    num_workers: int = 1,
    slurm: str = "",
) -> list[Outcome]:
    """Trains the missing programs: waits for them on this machine, returns at once with SLURM.

    Args:
        tasks: all tasks of the sweep.
        folder: folder of the sweep, for `logs/` and `jobs.json`.
        is_complete: tells whether a task has nothing left to do.
        executor: `local` or `slurm`.
        num_workers: number of tasks that run at a time on this machine.
        slurm: settings, see `parse_slurm`.

    Returns:
        The outcome of each task, in the order of `tasks`.

    Raises:
        UsageError: a setting does not fit, or a requirement of the executor is not installed.
        StorageError: the folder cannot be written.
        SystemExit: with 128 + signum after a signal, when the workers have saved.
    """
    parameters = _checked(folder, executor, num_workers, slurm)
    outcomes = _settled(tasks, folder, is_complete)
    missing = [task for task in tasks if task.name not in outcomes]
    if executor == "slurm":
        jobs = submit(missing, folder, parameters)
        outcomes |= {n: Outcome(n, "submitted", message=f"job {job}") for n, job in jobs.items()}
    else:
        outcomes |= {o.name: o for o in run_local(missing, folder, num_workers=num_workers)}
    return [outcomes[task.name] for task in tasks]


def preview(
    tasks: Sequence[Task],
    folder: Path,
    *,
    is_complete: Callable[[Task], bool],
    executor: str = "local",
    num_workers: int = 1,
    slurm: str = "",
) -> str:
    """What `fan_out` would run, for `dry_run=True`: writes nothing, and needs no SLURM.

    Args:
        tasks, folder, is_complete, executor, num_workers, slurm: as in `fan_out`.

    Returns:
        The script for sbatch, if any, and the command of each missing task.

    Raises:
        UsageError: as in `fan_out`.
    """
    parameters = _checked(folder, executor, num_workers, slurm)
    settled = _settled(tasks, folder, is_complete)
    missing = [task for task in tasks if task.name not in settled]
    where = "in the job array" if executor == "slurm" else f"here, at most {num_workers} at a time"
    lines = [f"# {len(missing)} of {len(tasks)} programs to train {where}"]
    lines += [f"# {i} {t.name}\n{shlex.join(_command(t))}" for i, t in enumerate(missing)]
    script = [_script(len(missing), folder, parameters)] if executor == "slurm" and missing else []
    return "\n".join([*script, *lines])


def run_local(tasks: Sequence[Task], folder: Path, *, num_workers: int) -> list[Outcome]:
    """Runs tasks as subprocesses on this machine, and waits for all of them.

    It uses plain subprocesses, because submitit's local executor starts all tasks at once, and its
    workers survive a signal to the caller. Each worker has its own session, so that Ctrl-C reaches
    it only once, from here: a second signal would make it exit without saving.

    Args:
        tasks: tasks with distinct names; a worker writes to `<folder>/logs/<name>.out`.
        folder: folder of the sweep.
        num_workers: number of tasks that run at a time, at least 1.

    Returns:
        The outcome of each task, in order; a failure does not stop the others.

    Raises:
        StorageError: the folder of logs cannot be created.
        SystemExit: with 128 + signum after SIGINT, SIGTERM or SIGHUP. The workers received the
            signal, too, and had 20 seconds to save, or until a second signal.
    """
    logs = files.make_folder(folder / "logs", folder)
    workers: list[_Worker] = []
    with _signals() as received:
        try:
            outcomes = _run(list(tasks), workers, logs, num_workers, received)
        finally:
            _kill(workers)
    if received:
        sys.exit(128 + received[0])
    return [outcomes[task.name] for task in tasks]


def _run(
    waiting: list[Task], workers: list["_Worker"], logs: Path, num_workers: int, received: list[int]
) -> dict[str, Outcome]:
    """Runs tasks until none is left; after a signal, until the workers have ended.

    Args:
        waiting: tasks to start; those that remain in it were not started.
        workers: list of running workers, updated here.
        logs, num_workers: see `run_local`.
        received: list of received signals, see `_signals`.

    Returns:
        The outcome of each task that has one, by name.
    """
    outcomes, deadline = {}, math.inf
    while workers or (waiting and not received):
        while waiting and len(workers) < num_workers and not received:
            outcomes |= _start(waiting.pop(0), workers, logs)
        if received and deadline == math.inf:
            deadline = time.monotonic() + GRACE_SECONDS
            _ask_to_stop(workers, received[0])
        if len(received) > 1 or time.monotonic() > deadline:
            _kill(workers)
        outcomes |= _collect(workers)
        time.sleep(0.05)
    return outcomes


def _start(task: Task, workers: list["_Worker"], logs: Path) -> dict[str, Outcome]:
    """Adds a worker for a task; if it cannot be started, returns that as the task's outcome."""
    try:
        workers.append(_Worker(task, logs / f"{task.name}.out"))
    except OSError as error:
        return {task.name: _told(task, StorageError.exit_code, str(error))}
    return {}


def _collect(workers: list["_Worker"]) -> dict[str, Outcome]:
    """Removes the workers that have ended; returns the outcomes of their tasks."""
    outcomes = {}
    for worker in [w for w in workers if w.process.poll() is not None]:
        workers.remove(worker)
        task = worker.task
        outcomes[task.name] = _told(task, worker.exit_code(), worker.last_line())
    return outcomes


def parse_slurm(text: str) -> dict[str, Any]:
    """Parses `partition=gpu,time=120,…` to parameters of `submitit.SlurmExecutor`.

    `time` is in minutes (by default, the partition's limit). Other options of sbatch have their own
    names, options without a value are written as `contiguous=true`; an option that is given twice
    becomes a list.

    Our training saves on SIGTERM. So the job requests it, instead of submitit's SIGUSR2,
    `signal_delay_s` (90) seconds before its time limit; a task that exits with 143 is requeued, and
    resumes. A canceled job is not requeued, because the script ends, too.

    Args:
        text: the settings, separated by commas; may be empty.

    Returns:
        Parameters with submitit's names; options only for sbatch are among its
            `additional_parameters`.

    Raises:
        UsageError: a setting is unknown, is set by this program, or has an invalid value.
    """
    known = f"{_COUNTS} {_OPTIONS}".split()
    values: dict[str, str] = {}
    for word in filter(str.strip, text.split(",")):
        name, _, value = (part.strip() for part in word.partition("="))
        name = name.replace("-", "_")
        if not name or not value or not value.isprintable():
            raise UsageError(f"`slurm`: {word!r} must be name=value, as in {_EXAMPLE}")
        if name in _OURS.split():
            raise UsageError(f"`slurm`: {name} is chosen by the sweep itself: leave it out")
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(
                f"`slurm`: {name!r} is not an option of sbatch{hint}: give it as in {_EXAMPLE}"
            )
        values[name] = f"{values[name]},{value}" if name in values else value
    counts = {n: _count(n, values.pop(n)) for n in _COUNTS.split() if n in values}
    options: dict[str, Any] = {n: value == "true" or value for n, value in values.items()}
    if "mem_gb" in counts:
        options["mem"] = f"{counts.pop('mem_gb')}GB"
    options["signal"] = f"TERM@{counts.pop('signal_delay_s', 90)}"
    # since 22.05 srun does not inherit it from sbatch
    cpus = [f"--cpus-per-task={counts['cpus_per_task']}"] if "cpus_per_task" in counts else None
    return {
        "time": None,  # submitit's own default is 5 minutes
        "wckey": None,
        "ntasks_per_node": 1,  # otherwise some versions start one task per processor
        **counts,
        "additional_parameters": {**options, "requeue": True},
        "srun_args": cpus,
        "stderr_to_stdout": True,
        "teardown": [
            "status=$?",
            f'if [ $status -eq 143 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MAX_REQUEUES} ]; then',
            '  scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            "exit $status",
        ],
    }


def submit(tasks: Sequence[Task], folder: Path, parameters: dict[str, Any]) -> dict[str, str]:
    """Submits tasks as one SLURM job array (a plain job for one task), and returns at once.

    The job replaces itself by the task's command, which so gets SLURM's signals and sets the exit
    code.

    Args:
        tasks: tasks to submit; an empty list submits nothing.
        folder: folder of the sweep, visible on all nodes; `jobs.json` records the jobs,
            `logs/slurm` has their output.
        parameters: from `parse_slurm`.

    Returns:
        Task name → the job's id.

    Raises:
        UsageError: submitit or SLURM is missing, or sbatch refuses.
        StorageError: the folder cannot be written.
    """
    if not tasks:
        return {}
    submitit, logs = _submitit(), folder / "logs" / "slurm"
    try:
        executor = submitit.SlurmExecutor(logs.absolute())
    except RuntimeError as error:
        raise UsageError(
            f"executor=slurm: {error} Submit from a login node, or choose executor=local"
        ) from None
    executor.update_parameters(**{"job_name": folder.absolute().name, **parameters})
    with _storing(logs):
        recorded = _read_jobs(folder)
        # submitit unpickles files from here: only this user may write to it
        files.make_folder(logs, folder, mode=0o700)
        before = set(logs.iterdir())
        commands = [_command(task) for task in tasks]
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the error contains this output, too
                jobs = executor.map_array(os.execv, [sys.executable] * len(tasks), commands)
        except (RuntimeError, FileNotFoundError) as error:
            for path in set(logs.iterdir()) - before:
                path.unlink()
            reason = " ".join(str(error).split())
            raise UsageError(f"executor=slurm: sbatch refuses ({reason}): see `slurm`") from None
        new = {task.name: job.job_id for task, job in zip(tasks, jobs, strict=True)}
        _write_jobs(folder, recorded | new)
    return new


def pending(folder: Path) -> set[str]:
    """The names of the tasks whose recorded SLURM jobs are pending or running.

    It asks squeue, which is up to date; sacct, which submitit uses, lags behind and is missing on
    clusters without accounting. If squeue fails, no task counts as pending: a duplicate job finds
    its run locked or complete, and exits.

    Args:
        folder: folder of the sweep.

    Returns:
        Names of tasks.

    Raises:
        StorageError: `jobs.json` cannot be read.
    """
    jobs = _read_jobs(folder)
    if not jobs:
        return set()
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return set()
    return {name for name, job in jobs.items() if job in answer.stdout.split()}


class _Worker:
    """The process of a task, which appends to its log."""

    def __init__(self, task: Task, log: Path):
        self.task, self._log = task, log
        with disk.folder(log.parent) as held, open(disk.append(held, log.name), "ab") as file:
            self._start = file.seek(0, os.SEEK_END)
            self.process = subprocess.Popen(
                _command(task),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int:
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def last_line(self) -> str:
        with open(disk.open_regular(self._log, os.O_RDONLY), "rb") as file:
            file.seek(max(self._start, file.seek(0, os.SEEK_END) - 4096))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace").strip())
        return lines[-1].strip()


def _ask_to_stop(workers: list[_Worker], signum: int) -> None:
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)
    interrupts.tell(signum, f"{len(workers)} workers save (again to kill them)")


def _kill(workers: list[_Worker]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects the signals that ask to stop, in order of arrival."""
    received: list[int] = []
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        asked.append(signal.SIGHUP)
    before = {s: signal.signal(s, lambda signum, _: received.append(signum)) for s in asked}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _checked(folder: Path, executor: str, num_workers: int, slurm: str) -> dict[str, Any]:
    if executor not in EXECUTORS:
        raise UsageError(f"executor={executor}: must be one of {', '.join(EXECUTORS)}")
    if num_workers < 1:
        raise UsageError(f"num_workers={num_workers}: must be at least 1")
    if slurm and executor != "slurm":
        raise UsageError("`slurm`: only executor=slurm has these settings: choose it")
    path = str(folder.absolute())
    if executor == "slurm" and not (path.isprintable() and {"%", "\\"}.isdisjoint(path)):
        raise UsageError(f"{path!r}: SLURM reads % and \\ in a path in its own way: choose another")
    return parse_slurm(slurm)


def _settled(tasks, folder: Path, is_complete) -> dict[str, Outcome]:
    """Complete and queued tasks by name; the queue first, since a job may end meanwhile."""
    queued = pending(folder)
    complete = {task.name for task in tasks if is_complete(task)}
    return {name: Outcome(name, "queued") for name in queued - complete} | {
        name: Outcome(name, "complete", 0) for name in complete
    }


def _told(task: Task, exit_code: int, message: str) -> Outcome:
    outcome = Outcome(task.name, "failed" if exit_code else "done", exit_code, message)
    words = f"failed (exit code {exit_code})" if exit_code else "done"
    with contextlib.suppress(OSError):  # the terminal may be closed
        console.say(f"{task.name}: {words}: {message}")
    return outcome


def _command(task: Task) -> list[str]:
    return [sys.executable, "-m", *task.arguments]


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise UsageError(f"`slurm`: {name}={value}: must be a whole number of at least 1")
    return int(value)


def _submitit():
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "executor=slurm: submitit is not installed: pip install 'vae_jax[cluster]', "
            "or EXTRAS=test,cluster ./launch.sh …"
        ) from None
    return submitit


def _script(num_tasks: int, folder: Path, parameters: dict[str, Any]) -> str:
    """The script that `submit` passes to sbatch, as submitit writes it."""
    _submitit()
    from submitit.slurm import slurm

    logs = (folder / "logs" / "slurm").absolute()
    words = [shlex.quote(sys.executable), "-u -m submitit.core._submit", shlex.quote(str(logs))]
    return slurm._make_sbatch_string(
        command=" ".join(words),
        folder=logs,
        map_count=num_tasks if num_tasks > 1 else None,
        **{"job_name": folder.absolute().name, **parameters},
    )


def _read_jobs(folder: Path) -> dict[str, str]:
    path = folder / "jobs.json"
    try:
        return dict(files.read_json(path))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} cannot be read ({error}): move it away") from None


def _write_jobs(folder: Path, jobs: dict[str, str]) -> None:
    files.write_json(folder / "jobs.json", jobs, root=folder)


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"{path} cannot be written ({reason}): choose another `workdir`"
        ) from error
