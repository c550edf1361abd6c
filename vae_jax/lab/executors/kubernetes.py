"""An indexed Job of Kubernetes, one index for each program: `kubernetes`.

The image must hold this package and see the sweep's directory under the same path, which
`claim=NAME` mounts. A pod that is evicted saves on SIGTERM, exits with 143 and is started again;
any other exit code fails its program, and the others go on.
"""

import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import entry
from vae_jax.lab.executors._task import Outcome, Task, pairs
from vae_jax.storage import files

__all__ = [
    "IS_QUEUED",
    "MAX_RETRIES",
    "cancel",
    "manifest",
    "parse",
    "preview",
    "recorded",
    "run",
]

IS_QUEUED = True
MAX_RETRIES = 100
"""Maximum number of starts after an eviction."""
_GRACE_SECONDS = 90
_SIGTERM = 143
_RECORD = "kubernetes.json"
_LOST = "DisruptionTarget"
"""Condition of a pod that lost its node."""
_ANYWHERE = {"action": "Ignore", "onPodConditions": [{"type": _LOST, "status": "True"}]}
"""A pod that lost its node is started again, whatever its exit code."""
_COUNTS = "cpus gpus mem_gb parallelism"
_WORDS = "image namespace claim mount python"
_EXAMPLE = "image=registry/vae:1,claim=shared,mount=/shared,cpus=4,mem_gb=16,gpus=1"


def parse(text: str, num_workers: int = 1) -> dict[str, Any]:
    """Parses `image=…,claim=…` to settings.

    `image` is required; `claim`, a persistent volume claim, is mounted at `mount`; `cpus`, `mem_gb`
    and `gpus` are of each program, `parallelism` is the most programs at a time, `python` the
    interpreter in the image.

    Args:
        text: the settings, separated by commas.
        num_workers: not used.

    Returns:
        Setting → value.

    Raises:
        UsageError: a setting is unknown or missing, or has an invalid value.
    """
    found = pairs(text, "kubernetes", f"{_COUNTS} {_WORDS}".split(), _EXAMPLE)
    values: dict[str, Any] = dict(found)
    for name in found.keys() & _COUNTS.split():
        if not re.fullmatch(r"[1-9][0-9]{0,5}", found[name]):
            told = f"{name}={found[name]}"
            raise UsageError(f"`kubernetes`: {told}: must be a whole number of at least 1")
        values[name] = int(found[name])
    if "image" not in values:
        raise UsageError(f"`kubernetes`: names no image: give {_EXAMPLE}, for example")
    if ("claim" in values) != ("mount" in values):
        raise UsageError(f"`kubernetes`: claim and mount go together: give {_EXAMPLE}, for example")
    return values


def manifest(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The Job of tasks, as the API of Kubernetes (batch/v1, from 1.29) has it.

    Args:
        tasks: one index each, in their order.
        folder: folder of the sweep.
        settings: from `parse`.
    """
    python = settings.get("python", "python")
    cases = [
        f"{i}) exec {shlex.join([python, '-m', *_as_installed(task.arguments)])} ;;"
        for i, task in enumerate(tasks)
    ]
    script = "\n".join(['case "$JOB_COMPLETION_INDEX" in', *cases, "esac"])
    amounts = {"cpu": "cpus", "nvidia.com/gpu": "gpus"}
    limits = {name: str(settings[of]) for name, of in amounts.items() if of in settings}
    if "mem_gb" in settings:
        limits["memory"] = f"{settings['mem_gb']}G"
    container: dict[str, Any] = {
        "name": "train",
        "image": settings["image"],
        "command": ["/bin/sh", "-c", script],
        "resources": {"limits": limits, "requests": limits},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "containers": [container],
    }
    if "claim" in settings:
        container["volumeMounts"] = [{"name": "shared", "mountPath": settings["mount"]}]
        claim = {"claimName": settings["claim"]}
        pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": claim}]
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": len(tasks),
        "parallelism": min(len(tasks), settings.get("parallelism", len(tasks))),
        "backoffLimitPerIndex": MAX_RETRIES,
        "podFailurePolicy": {
            "rules": [_ANYWHERE, _rule("In", "Count"), _rule("NotIn", "FailIndex")]
        },
        "template": {"spec": pod},
    }
    names = json.dumps([task.name for task in tasks])
    metadata = {"name": _name(folder), "annotations": {"vae-jax/programs": names}}
    if "namespace" in settings:
        metadata["namespace"] = settings["namespace"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _as_installed(arguments: Sequence[str]) -> list[str]:
    """The words after `python -m`, which a checkout has in another way than an image."""
    own = entry.words("train")[2:]
    is_ours = [*arguments[: len(own)]] == own
    return ["vae_jax", "train", *arguments[len(own) :]] if is_ours else [*arguments]


def _rule(operator: str, action: str) -> dict[str, Any]:
    """What becomes of a pod whose exit code is that of a training that has saved, or is not."""
    codes = {"containerName": "train", "operator": operator, "values": [_SIGTERM]}
    return {"action": action, "onExitCodes": codes}


def _name(folder: Path) -> str:
    """The name of a sweep's Job: letters of its folder, and a hash of its path."""
    whole = str(folder.absolute())
    words = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-")[:40]
    return f"vae-{words}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}".replace("--", "-")


def preview(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> str:
    """The manifest as JSON, which `kubectl apply -f -` reads."""
    return json.dumps(manifest(tasks, folder, settings), indent=2) if tasks else ""


def run(tasks: Sequence[Task], folder: Path, settings: Mapping[str, Any]) -> list[Outcome]:
    """Applies a Job of tasks with kubectl, and returns at once; earlier Jobs of the sweep go on.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    if not tasks:
        return []
    earlier, names = _read(folder), [task.name for task in tasks]
    job = manifest(tasks, folder, settings)
    job["metadata"]["name"] += f"-{len(earlier)}"
    own = job["metadata"]["name"]
    _kubectl("apply", "--filename=-", *_namespace(settings), given=json.dumps(job))
    record = {"job": own, "namespace": settings.get("namespace", ""), "programs": names}
    files.write_json(folder / _RECORD, [*earlier, record], root=folder)
    told = [f"job {own}, index {i}" for i in range(len(tasks))]
    return [Outcome(n, "submitted", message=words) for n, words in zip(names, told, strict=True)]


def recorded(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """The state of each task in the newest Job that has it: queued, running or failed.

    Args:
        tasks: all tasks of the sweep.
        folder: folder of the sweep.

    Returns:
        Task name → outcome; none where no Job was applied, or it was deleted.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    found: dict[str, Outcome | None] = {}
    for record in _read(folder):
        found |= _of_job(record)
    names = {task.name for task in tasks}
    return {n: outcome for n, outcome in found.items() if outcome is not None and n in names}


def _of_job(record: Mapping[str, Any]) -> dict[str, Outcome | None]:
    """The state of each program of a Job; None if it may be run again."""
    names, where = record["programs"], _namespace(record)
    text = _kubectl("get", "job", record["job"], "--ignore-not-found", "--output=json", *where)
    found: dict[str, Outcome | None] = dict.fromkeys(names)
    if not text.strip():
        return found  # it was deleted
    is_over = _holds(json.loads(text).get("status", {}), "Complete", "Failed")
    chosen = f"--selector=job-name={record['job']}"
    pods = json.loads(_kubectl("get", "pods", chosen, "--output=json", *where))["items"]
    # of several pods of an index the last is the newest
    newest = {_index(p): p for p in sorted(pods, key=lambda p: p["metadata"]["creationTimestamp"])}
    for index, name in enumerate(names):
        found[name] = _state(name, newest.get(index), None if is_over else record["job"], index)
    return found


def _index(pod: Mapping[str, Any]) -> int:
    """The index of a pod in its Job, a count."""
    return int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


def _state(name: str, pod: Mapping[str, Any] | None, job: str | None, index: int) -> Outcome | None:
    """The state of a program; None if it may be run again.

    Args:
        name: name of the program.
        pod: its newest pod, or None.
        job: the Job if it still starts pods, or None.
        index: index of the program in the Job, a count.
    """
    status = {} if pod is None else pod["status"]
    phase, own = status.get("phase"), "" if pod is None else pod["metadata"]["name"]
    if phase in ("Pending", "Running"):
        state = "queued" if phase == "Pending" else "running"
        return Outcome(
            name, state, message=" ".join(["pod", own, status.get("reason", "")]).strip()
        )
    ended = [each.get("state", {}) for each in status.get("containerStatuses", [])]
    codes = [state["terminated"]["exitCode"] for state in ended if "terminated" in state]
    is_failure = phase == "Failed" and codes[:1] not in ([], [_SIGTERM])
    if is_failure and not _holds(status, _LOST):
        return Outcome(name, "failed", codes[0], f"pod {own}: kubectl logs {own}")
    if phase == "Succeeded":
        return None
    # it has no pod yet, or one that saved and is started again
    return None if job is None else Outcome(name, "queued", message=f"job {job}, index {index}")


def _holds(status: Mapping[str, Any], *types: str) -> bool:
    """Whether a status has a condition of one of the types."""
    found = status.get("conditions", [])
    return any(each["type"] in types and each["status"] == "True" for each in found)


def cancel(folder: Path) -> list[str]:
    """Deletes the Jobs of a sweep; their names.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    deleted = []
    for record in _read(folder):
        words = ("delete", "job", record["job"], "--ignore-not-found")
        if _kubectl(*words, *_namespace(record)).strip():
            deleted.append(record["job"])
    return deleted


def _read(folder: Path) -> list[dict[str, Any]]:
    """The records of the Jobs that were applied, the newest last."""
    path = folder / _RECORD
    try:
        return [
            {
                "job": str(record["job"]),
                "namespace": str(record["namespace"]),
                "programs": [str(name) for name in record["programs"]],
            }
            for record in files.read_json(path)
        ]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError):
        raise StorageError(f"{path} cannot be read: move it away") from None


def _namespace(settings: Mapping[str, Any]) -> list[str]:
    return [f"--namespace={settings['namespace']}"] if settings.get("namespace") else []


def _kubectl(*words: str, given: str | None = None) -> str:
    """Runs kubectl; its output.

    Raises:
        UsageError: it is not there, or ends with an error.
    """
    try:
        done = subprocess.run(
            ["kubectl", *words], input=given, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"executor=kubernetes: kubectl does not run ({error}): install it, or apply what "
            "`dry_run=True` shows"
        ) from None
    if done.returncode:
        reason = " ".join(done.stderr.split())[:300]
        raise UsageError(f"executor=kubernetes: kubectl refuses ({reason}): see `kubernetes`")
    return done.stdout
