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

from vae_jax.errors import StorageError, UsageError, did_you_mean
from vae_jax.lab import entry
from vae_jax.lab.executors._task import Outcome, Task
from vae_jax.storage import files

__all__ = ["MAX_RETRIES", "cancel", "manifest", "parse", "preview", "recorded", "run"]

MAX_RETRIES = 100
"""Maximum number of starts after an eviction."""
_GRACE_SECONDS = 90
_SIGTERM = 143
_RECORD = "kubernetes.json"
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
    known, values = f"{_COUNTS} {_WORDS}".split(), {}
    for word in filter(str.strip, text.split(",")):
        name, _, value = (part.strip() for part in word.partition("="))
        if not name or not value or not value.isprintable():
            raise UsageError(f"`kubernetes`: {word!r} must be name=value, as in {_EXAMPLE}")
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"`kubernetes`: {name!r} is no setting{hint}: give {_EXAMPLE}")
        if name in _COUNTS.split() and not re.fullmatch(r"[1-9][0-9]{0,5}", value):
            raise UsageError(f"`kubernetes`: {name}={value}: must be a whole number of at least 1")
        values[name] = int(value) if name in _COUNTS.split() else value
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
        "podFailurePolicy": {"rules": [_rule("In", "Count"), _rule("NotIn", "FailIndex")]},
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
    """Applies the Job of tasks with kubectl, and returns at once; a Job that was there is replaced.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    if not tasks:
        return []
    text = preview(tasks, folder, settings)
    _kubectl("delete", "job", _name(folder), "--ignore-not-found", *_namespace(settings))
    _kubectl("apply", "--filename=-", *_namespace(settings), given=text)
    job, names = _name(folder), [task.name for task in tasks]
    record = {"job": job, "namespace": settings.get("namespace", ""), "programs": names}
    files.write_json(folder / _RECORD, record, root=folder)
    told = [f"job {job}, index {i}" for i in range(len(tasks))]
    return [Outcome(n, "submitted", message=words) for n, words in zip(names, told, strict=True)]


def recorded(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """The state of each task of the Job: queued, running or failed.

    Args:
        tasks: all tasks of the sweep.
        folder: folder of the sweep.

    Returns:
        Task name → outcome; none where no Job was applied, or it was deleted.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    record = _read(folder)
    if record is None:
        return {}
    where = _namespace(record)
    chosen = f"--selector=job-name={record['job']}"
    text = _kubectl("get", "pods", chosen, "--output=json", *where)
    names = {task.name for task in tasks} & {*record["programs"]}
    # of several pods of an index the last is the newest
    pods = sorted(json.loads(text)["items"], key=lambda p: p["metadata"]["creationTimestamp"])
    found = {}
    for pod in pods:
        index = int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])
        name = record["programs"][index]
        outcome = _state(name, pod["status"], f"pod {pod['metadata']['name']}")
        if name in names:
            found.pop(name, None)
            found |= {} if outcome is None else {name: outcome}
    return found


def _state(name: str, status: Mapping[str, Any], pod: str) -> Outcome | None:
    """The state of a program from the status of its newest pod; None if it may be run again."""
    phase = status.get("phase")
    if phase in ("Pending", "Running"):
        state = "queued" if phase == "Pending" else "running"
        return Outcome(name, state, message=" ".join([pod, status.get("reason", "")]).strip())
    ended = [each.get("state", {}) for each in status.get("containerStatuses", [])]
    codes = [state["terminated"]["exitCode"] for state in ended if "terminated" in state]
    if phase != "Failed" or not codes or codes[0] == _SIGTERM:
        return None
    return Outcome(name, "failed", codes[0], f"{pod}: kubectl logs {pod.removeprefix('pod ')}")


def cancel(folder: Path) -> list[str]:
    """Deletes the Job of a sweep; its name, or nothing.

    Raises:
        UsageError: kubectl is missing, or refuses.
    """
    record = _read(folder)
    if record is None:
        return []
    given = _namespace(record)
    deleted = _kubectl("delete", "job", record["job"], "--ignore-not-found", *given)
    return [record["job"]] if deleted.strip() else []


def _read(folder: Path) -> dict[str, Any] | None:
    """The record of the Job that was applied, or None."""
    path = folder / _RECORD
    try:
        record = files.read_json(path)
        return {
            "job": str(record["job"]),
            "namespace": str(record["namespace"]),
            "programs": [str(name) for name in record["programs"]],
        }
    except FileNotFoundError:
        return None
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
