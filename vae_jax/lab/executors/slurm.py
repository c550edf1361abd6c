"""A SLURM job array that requeues what ran out of time: `slurm`.

The training saves on SIGTERM. So the job requests it, instead of submitit's SIGUSR2, some time
before its time limit; a task that exits with 143 and has saved something since it started is
requeued, and resumes. A canceled job is not requeued, because its script ends, too.

`jobs.json` records the jobs of each task, `logs/slurm/` has their output and, once a job has ended,
its exit code.
"""

import contextlib
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.errors import StorageError, UsageError
from vae_jax.lab.executors._task import Outcome, Task, command, last_line, pairs, storing, tail
from vae_jax.lab.parts import MEASURED, UNDRAWN
from vae_jax.storage import files

__all__ = [
    "IS_QUEUED",
    "MAX_REQUEUES",
    "Job",
    "cancel",
    "jobs",
    "parse",
    "preview",
    "recorded",
    "run",
]

IS_QUEUED = True
MAX_REQUEUES = 100
"""Maximum number of requeues after a time limit."""
LEAST_SECONDS = 60
"""Seconds that a job must have before the signal: Python, JAX and a compilation take some."""
_SIGTERM = 143
"""Exit code of a training that has saved after SIGTERM."""
_SIGKILL = 137
_STUCK, _KILLED = "stuck", "killed"
"""In place of 143, if nothing was saved since the job started, or not before it was killed."""
_LIMIT = "DUE TO TIME LIMIT"
"""What SLURM says at the end of the output of a job that it has killed."""
_KEPT = ("PYTHONPATH", "PYTHONSAFEPATH")
"""Variables without which a job would not find this program."""
_COUNTS = """gpus_per_node cpus_per_task mem_gb array_parallelism signal_delay_s nodes
    ntasks_per_node"""
_OPTIONS = """account begin cluster_constraint clusters comment constraint contiguous core_spec
    cpus_per_gpu deadline delay_boot dependency exclude exclusive export gpu_bind gpu_freq gpus
    gpus_per_task gres hint hold job_name licenses mail_type mail_user mem mem_per_cpu mem_per_gpu
    network nice nodelist partition prefer priority profile propagate qos reservation
    sockets_per_node switches thread_spec threads_per_core time tmp wckey"""
_OF_STEPS = "container_image container_mounts container_name container_workdir container_writable"
"""Options of srun that Pyxis adds, for the job's steps."""
_OURS = "array chdir error input no_requeue ntasks open_mode output requeue signal wrap"
_EXAMPLE = "partition=gpu,time=120,gpus_per_node=1,setup='module load cuda'"


class Job(NamedTuple):
    """A recorded job.

    Attributes:
        id: as squeue has it: "77", or "77_3" in an array.
        clusters: option of squeue and scancel that finds it, or "".
        arguments: hash of the command that it runs; "" if it was recorded by an older version.
    """

    id: str
    clusters: str = ""
    arguments: str = ""


def parse(text: str, num_workers: int = 1) -> dict[str, Any]:
    """Parses `partition=gpu,time=120,…` to parameters of `submitit.SlurmExecutor`.

    `time` is in minutes or as sbatch spells it, `1:00:00` or `1-12:00:00` (by default, the
    partition's limit); SIGTERM comes `signal_delay_s` (90) seconds before. `setup='module load
    cuda; source x'` are lines of the script; options that start with `container` are those of
    Pyxis. Other options of sbatch have their own names, options without a value are written as
    `contiguous=true`; an option that is given twice becomes a list.

    Args:
        text: the settings, separated by commas; may be empty.
        num_workers: not used.

    Returns:
        Parameters with submitit's names; options only for sbatch are among its
            `additional_parameters`.

    Raises:
        UsageError: a setting is unknown, is set by this program, or has an invalid value.
    """
    values = _values(text)
    setup = values.pop("setup", None)
    steps = {name: values.pop(name) for name in _OF_STEPS.split() if name in values}
    counts = {n: _count(n, values.pop(n)) for n in _COUNTS.split() if n in values}
    delay = counts.pop("signal_delay_s", 90)
    time = values.pop("time", None)
    if time is not None:
        _check_time(time, delay)
    options: dict[str, Any] = {n: value == "true" or value for n, value in values.items()}
    if "mem_gb" in counts:
        options["mem"] = f"{counts.pop('mem_gb')}GB"
    options["signal"] = f"TERM@{delay}"
    # since 22.05 srun does not inherit it from sbatch
    words = {n: counts[n] for n in ("cpus_per_task",) if n in counts} | steps
    srun = [_option(name, value) for name, value in words.items()]
    return {
        "time": time,  # submitit's own default is 5 minutes
        "wckey": None,
        "ntasks_per_node": 1,  # otherwise some versions start one task per processor
        **counts,
        "additional_parameters": {**options, "requeue": True},
        "srun_args": srun or None,
        "stderr_to_stdout": True,
        "setup": [setup] if setup else [],
    }


def _values(text: str) -> dict[str, str]:
    """Setting → its text; UsageError if one is not known or set by this program."""
    known = f"{_COUNTS} {_OPTIONS} {_OF_STEPS} {_OURS} setup".split()
    values = pairs(text, "slurm", known, _EXAMPLE)
    for name in _OURS.split():
        if name in values:
            raise UsageError(f"`slurm`: {name} is chosen by the sweep itself: leave it out")
    return values


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise UsageError(f"`slurm`: {name}={value}: must be a whole number of at least 1")
    return int(value)


def _check_time(time: str, delay: int) -> None:
    """Raises UsageError unless a time limit is one, and leaves time before the signal."""
    spelled = re.fullmatch(
        r"(?:(?P<days>\d{1,4})-)?(?P<first>\d{1,6})(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?",
        time,
    )
    if not spelled:
        raise UsageError(
            f"`slurm`: time={time}: must be minutes, as 120, or as 2:00:00 or 1-12:00:00"
        )
    days, first, second, third = (int(part or 0) for part in spelled.groups())
    if spelled["days"] is not None or spelled["third"] is not None:
        seconds = ((days * 24 + first) * 60 + second) * 60 + third
    else:
        seconds = first * 60 + second
    least = delay + LEAST_SECONDS
    if seconds < least:
        raise UsageError(
            f"`slurm`: time={time} with signal_delay_s={delay}: the signal to save would come "
            f"before a step: give at least time={-(-least // 60)}"
        )


def preview(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> str:
    """The script that sbatch gets for tasks, as submitit writes it, and their commands."""
    _check_folder(folder)
    lines = [f"# {len(tasks)} to train in the job array"]
    lines += [f"# {i} {t.name}\n{shlex.join(command(t))}" for i, t in enumerate(tasks)]
    return "\n".join([_script(tasks, folder, settings), *lines] if tasks else lines)


def run(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> list[Outcome]:
    """Submits tasks as job arrays (a plain job for one task), and returns at once.

    The job replaces itself by the task's command, which so gets SLURM's signals and sets the exit
    code.

    Args:
        tasks: tasks to submit; an empty list submits nothing.
        folder: folder of the sweep, visible on all nodes; `jobs.json` records the jobs,
            `logs/slurm` has their output.
        settings: from `parse`.

    Returns:
        The outcome of each task: submitted, with its job.

    Raises:
        UsageError: submitit or SLURM is missing, or sbatch refuses.
        StorageError: the folder cannot be written.
    """
    _check_folder(folder)
    outcomes, most = [], _max_array_size()
    for first in range(0, len(tasks), most):
        several = tasks[first : first + most]
        for task, job in _submit(several, folder, settings).items():
            told = f"job {job.id}"
            outcomes.append(Outcome(task, "submitted", message=told, log=_log(folder, job)))
    return outcomes


def _submit(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> dict[str, Job]:
    """Submits tasks as one array and records it: task name → its job."""
    submitit, logs = _submitit(), folder / "logs" / "slurm"
    try:
        executor = submitit.SlurmExecutor(logs.absolute())
    except RuntimeError as error:
        raise UsageError(
            f"executor=slurm: {error} Submit from a login node, or choose executor=local"
        ) from None
    executor.update_parameters(**_parameters(tasks, folder, settings))
    clusters = settings["additional_parameters"].get("clusters", "")
    with storing(logs):
        known = _read(folder)
        # submitit unpickles files from here: only this user may write to it
        files.make_folder(logs, folder, mode=0o700)
        before = set(logs.iterdir())
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the error contains this output, too
                commands = [command(task) for task in tasks]
                found = executor.map_array(os.execv, [sys.executable] * len(tasks), commands)
        except (RuntimeError, FileNotFoundError) as error:
            for path in set(logs.iterdir()) - before:
                path.unlink()
            reason = " ".join(str(error).split())
            raise UsageError(f"executor=slurm: sbatch refuses ({reason}): see `slurm`") from None
        new = {
            task.name: Job(job.job_id, str(clusters), _hash(task))
            for task, job in zip(tasks, found, strict=True)
        }
        _record(folder, known | {n: [*known.get(n, []), job] for n, job in new.items()})
    return new


def _record(folder: Path, several: Mapping[str, Sequence[Job]]) -> None:
    files.write_json(folder / "jobs.json", several, root=folder)


def recorded(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """The state of the newest job of each task that has one: queued, running or failed.

    It asks squeue, which is up to date; sacct, which submitit uses, lags behind and is missing on
    clusters without accounting. A job that squeue does not list has ended; it has failed if it left
    an exit code that the same command would give again. If squeue does not answer, a job without an
    exit code counts as queued.

    Args:
        tasks: all tasks of the sweep; one whose command has changed since is not held up. Without
            arguments, the command is not compared.
        folder: folder of the sweep.

    Returns:
        Task name → outcome. What is not there may be submitted.

    Raises:
        StorageError: `jobs.json` cannot be read.
    """
    newest = jobs(folder)
    if not newest:
        return {}
    queue = _queue({job.clusters for job in newest.values()})
    found = {}
    for task in tasks:
        job = newest.get(task.name)
        if job is not None:
            outcome = _state(task, job, folder, queue)
            found |= {} if outcome is None else {task.name: outcome}
    return found


def _state(
    task: Task, job: Job, folder: Path, queue: Mapping[str, list[str]] | None
) -> Outcome | None:
    """The state of a job, see `recorded`."""
    log = _log(folder, job)
    if queue is not None and job.id in queue:
        state, reason, elapsed = queue[job.id]
        status = "running" if state in ("RUNNING", "COMPLETING") else "queued"
        told = elapsed if status == "running" else reason.removeprefix("None")
        message = f"job {job.id}, {told}".rstrip(", ")
        return Outcome(task.name, status, message=message, log=log)
    code = _exit_code(folder, job)
    if queue is None and code is None:
        return Outcome(
            task.name, "queued", message=f"job {job.id}, squeue gives no answer", log=log
        )
    if task.arguments and job.arguments not in ("", _hash(task)):
        return None
    if code in (None, _SIGKILL) and _LIMIT in tail(log):
        code = _KILLED
    if code in (_STUCK, _KILLED):
        return Outcome(task.name, "failed", _SIGTERM, _why(code), log)
    if code in (None, 0, 130, _SIGTERM):
        return None
    return Outcome(task.name, "failed", code, last_line(log), log)


def _why(code: str) -> str:
    """Why a job whose time was over was not requeued, and what to do."""
    if code == _STUCK:
        found = "it saved nothing before its time limit: give a longer time in `slurm`"
    else:
        found = "it had not saved when its time limit came: give a larger signal_delay_s in `slurm`"
    return f"{found}, and `retry_failed=True`"


def jobs(folder: Path) -> dict[str, Job]:
    """Task name → its newest recorded job."""
    return {name: several[-1] for name, several in _read(folder).items()}


def cancel(folder: Path) -> list[str]:
    """Cancels the jobs of a sweep that are queued or run; returns their ids.

    Raises:
        UsageError: squeue or scancel does not answer.
    """
    newest = jobs(folder)
    queue = _queue({job.clusters for job in newest.values()})
    if queue is None:
        raise UsageError("squeue gives no answer: cancel from a login node")
    ended = [job for job in newest.values() if job.id in queue]
    for clusters in {job.clusters for job in ended}:
        words = ["scancel", *_of_clusters(clusters)]
        ids = [job.id for job in ended if job.clusters == clusters]
        try:
            subprocess.run([*words, *ids], check=True, capture_output=True, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            reason = " ".join(str(getattr(error, "stderr", "") or error).split())
            raise UsageError(f"scancel refuses ({reason}): cancel from a login node") from None
    return [job.id for job in ended]


def _queue(clusters: set[str]) -> dict[str, list[str]] | None:
    """Job id → state, reason and time used, of this user's jobs; None if squeue does not answer."""
    found = {}
    for several in clusters:
        words = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%M"]
        try:
            answer = subprocess.run(
                [*words, *_of_clusters(several)],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        rows = (line.strip().split("|") for line in answer.stdout.splitlines())
        found |= {row[0]: row[1:] for row in rows if len(row) == 4}
    return found


def _of_clusters(clusters: str) -> list[str]:
    return [f"--clusters={clusters}"] if clusters else []


def _max_array_size() -> int:
    """The number of tasks that an array may have, a count: that of SLURM's default if not told."""
    words = ["scontrol", "show", "config"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        told = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.M)
        if told:
            return max(1, int(told[1]))
    return 1001


def _parameters(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of submitit for an array of tasks: settings, and the script around the step."""
    places = " ".join(shlex.quote(str(task.directory.absolute())) for task in tasks)
    logs = shlex.quote(str((folder / "logs" / "slurm").absolute()))
    environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
    before = [
        # steps have the script's variables, also those of a job that has none of the caller's
        "export SLURM_EXPORT_ENV=ALL",
        *(f"export {name}={shlex.quote(value)}" for name, value in environ.items()),
        f"places=({places})",
        "place=${places[${SLURM_ARRAY_TASK_ID:-0}]}",
        # SLURM_JOB_ID of one task of an array is that of the whole array
        "id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
        "id=${id:-$SLURM_JOB_ID}",
        f"ended={logs}/$id.exit",
        'rm -f "$ended"',
        # saved steps, measured splits, results, pictures: what a job that resumes need not do
        f"parts='{MEASURED} {UNDRAWN} result.json results.json'",
        'saved() { (cd "$place" && ls checkpoints; cat $parts) 2>/dev/null | cksum; }',
        "at_start=$(saved)",
    ]
    after = [
        "status=$?",
        "end=$status",
        f"if [ $status -eq {_SIGTERM} ]; then",
        '  if [ "$(saved)" = "$at_start" ]; then',
        f"    end={_STUCK}",
        f'  elif [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MAX_REQUEUES} ] &&',
        '      scontrol requeue "$id"; then',
        # it has not ended
        "    exit $status",
        "  fi",
        "fi",
        'echo $end >"$ended"',
        "exit $status",
    ]
    own = {"job_name": folder.absolute().name, **settings}
    return {**own, "setup": [*own["setup"], *before], "teardown": after}


def _script(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> str:
    """The script that `run` passes to sbatch, as submitit writes it."""
    _submitit()
    from submitit.slurm import slurm

    logs = (folder / "logs" / "slurm").absolute()
    words = [shlex.quote(sys.executable), "-u -m submitit.core._submit", shlex.quote(str(logs))]
    return slurm._make_sbatch_string(
        command=" ".join(words),
        folder=logs,
        map_count=len(tasks) if len(tasks) > 1 else None,
        **_parameters(tasks, folder, settings),
    )


def _option(name: str, value: Any) -> str:
    """An option of srun."""
    word = f"--{name.replace('_', '-')}"
    return word if value == "true" else f"{word}={value}"


def _check_folder(folder: Path) -> None:
    path = str(folder.absolute())
    if not (path.isprintable() and {"%", "\\"}.isdisjoint(path)):
        raise UsageError(f"{path!r}: SLURM reads % and \\ in a path in its own way: choose another")


def _submitit():
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "executor=slurm: submitit is not installed: pip install 'vae_jax[cluster]', "
            "or EXTRAS=cluster ./launch.sh …"
        ) from None
    return submitit


def _hash(task: Task) -> str:
    """The hash of a task's command."""
    return hashlib.sha256("\0".join(task.arguments).encode()).hexdigest()[:16]


def _log(folder: Path, job: Job) -> Path:
    """The file with the output of a job's first process."""
    return folder / "logs" / "slurm" / f"{job.id}_0_log.out"


def _exit_code(folder: Path, job: Job) -> int | str | None:
    """The exit code of a job that has ended; "stuck", see `_STUCK`; None if it left none."""
    try:
        text = files.read_bytes(folder / "logs" / "slurm" / f"{job.id}.exit").decode().strip()
    except (OSError, StorageError, ValueError):
        return None
    return int(text) if text.isdigit() and len(text) < 4 else text if text == _STUCK else None


def _read(folder: Path) -> dict[str, list[Job]]:
    """Task name → all its recorded jobs, the newest last."""
    path = folder / "jobs.json"
    try:
        rows = files.read_json(path)
        # an older version recorded the id of the newest alone
        return {
            str(name): [Job(row)] if isinstance(row, str) else [Job(*map(str, job)) for job in row]
            for name, row in dict(rows).items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} cannot be read ({error}): move it away") from None
