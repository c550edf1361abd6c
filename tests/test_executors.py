"""Executors beside SLURM: a Job of Kubernetes, and tasks of Ray."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_cluster import ROOT, WORKER, is_complete, wait_for

from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import cluster, entry, executors
from vae_jax.lab.cluster import Task
from vae_jax.lab.executors import kubernetes, ray

IMAGE = "image=registry/vae:1,claim=shared,mount=/shared,cpus=4,mem_gb=16,gpus=1,parallelism=2"


@pytest.fixture
def tasks(tmp_path):
    train = entry.words("train")[2:]
    return [Task(n, [*train, f"--workdir=a {n}"], tmp_path / "My sweep" / n) for n in "abc"]


def test_every_executor_has_the_functions_of_one():
    for name in executors.names():
        module = executors.load(name)
        functions = ("parse", "recorded", "cancel", "preview", "run")
        assert [each for each in functions if not callable(getattr(module, each))] == []


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (kubernetes.parse, "imag=a", "`kubernetes`: 'imag' is unknown (did you mean image?)"),
        (kubernetes.parse, "image", "'image' must be name=value"),
        (kubernetes.parse, "cpus=2", "names no image: give image="),
        (kubernetes.parse, "image=a,cpus=x", "cpus=x: must be a whole number of at least 1"),
        (kubernetes.parse, "image=a,claim=b", "claim and mount go together: give image="),
        (ray.parse, "adress=auto", "`ray`: 'adress' is unknown (did you mean address?)"),
        (ray.parse, "gpus=-1", "gpus=-1: must be a number, 0 or more"),
        (ray.parse, "=2", "'=2' must be name=value"),
    ],
)
def test_settings_that_do_not_fit_are_refused(parse, text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_a_program_is_an_index_of_the_job(tasks, tmp_path):
    folder = tmp_path / "My sweep"
    settings = kubernetes.parse(IMAGE)
    job = json.loads(kubernetes.preview(tasks, folder, settings))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"vae-my-sweep-[0-9a-f]{8}", job["metadata"]["name"])
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 2)
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "4", "memory": "16G", "nvidia.com/gpu": "1"
    }  # fmt: skip
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]
    assert "1) exec python -m vae_jax train '--workdir=a b' ;;" in container["command"][2]
    # another folder is another job, and a sweep of nothing is none
    assert kubernetes.manifest(tasks, tmp_path, settings)["metadata"] != job["metadata"]
    assert kubernetes.preview([], folder, settings) == ""


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.33"])
def test_the_manifest_fits_the_schema(tasks, tmp_path, version):
    validate = pytest.importorskip("kubernetes_validate").validate
    for text in ("image=a", IMAGE, "image=a,namespace=b,python=python3"):
        validate(kubernetes.manifest(tasks, tmp_path, kubernetes.parse(text)), version, strict=True)


def pod(index, phase, code=None, created=1):
    state = {} if code is None else {"terminated": {"exitCode": code}}
    return {
        "metadata": {
            "name": f"p{index}{created}",
            "creationTimestamp": str(created),
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
        },
        "status": {"phase": phase, "containerStatuses": [{"state": state}]},
    }


def test_states_are_those_of_the_newest_pods(tasks, tmp_path, monkeypatch):
    folder, calls, jobs = tmp_path / "My sweep", [], {}
    folder.mkdir()
    pods = [pod(0, "Failed", 143, 1), pod(0, "Running", None, 2), pod(1, "Failed", 4)]

    def kubectl(*words, given=None):
        calls.append(words[:2])
        if words[0] == "apply":
            jobs[json.loads(given)["metadata"]["name"]] = []
        if words[:2] == ("get", "job"):
            conditions = [{"type": type_, "status": "True"} for type_ in jobs.get(words[2], ())]
            return json.dumps({"status": {"conditions": conditions}}) if words[2] in jobs else ""
        if words[:2] == ("get", "pods"):
            return json.dumps({"items": [] if words[2].endswith("-1") else pods})
        return "done"

    monkeypatch.setattr(kubernetes, "_kubectl", kubectl)
    assert kubernetes.recorded(tasks, folder) == {}
    assert kubernetes.cancel(folder) == []
    assert calls == []

    settings = kubernetes.parse(IMAGE)
    assert [o.status for o in kubernetes.run(tasks, folder, settings)] == ["submitted"] * 3
    (first,) = jobs
    found = kubernetes.recorded(tasks, folder)
    # no more pods than `parallelism` are there at a time
    assert {n: (o.status, o.message) for n, o in found.items()} == {
        "a": ("running", "pod p02"),
        "b": ("failed", "pod p11: kubectl logs p11"),
        "c": ("queued", f"job {first}, index 2"),
    }
    assert found["b"].exit_code == 4
    # evicted: it is started again as long as the Job is there
    pods[1:2] = []
    assert kubernetes.recorded(tasks, folder)["a"].status == "queued"
    pods[-1]["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert kubernetes.recorded(tasks, folder)["b"].status == "queued"
    del pods[-1]["status"]["conditions"]
    jobs[first] = ["Failed"]
    assert kubernetes.recorded(tasks, folder).keys() == {"b"}
    # a second Job leaves the first, and its programs count from then on
    assert kubernetes.run(tasks[:1], folder, settings)[0].message.endswith("-1, index 0")
    assert ("delete", "job") not in calls
    assert kubernetes.recorded(tasks, folder)["a"].message.endswith("-1, index 0")
    assert kubernetes.cancel(folder) == [*jobs]
    # one that was deleted has no say
    jobs.clear()
    assert kubernetes.recorded(tasks, folder) == {}


def test_a_missing_kubectl_is_one_line(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"kubectl does not run .*: install it, or apply what"
    ) as e:
        kubernetes.run(tasks, tmp_path, kubernetes.parse(IMAGE))
    assert "\n" not in str(e.value)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho 'error: no such\nnamespace' >&2; exit 1\n")
    kubectl.chmod(0o755)
    with pytest.raises(UsageError, match=r"kubectl refuses \(error: no such namespace\)"):
        kubernetes.run(tasks, tmp_path, kubernetes.parse(IMAGE))


@pytest.mark.parametrize("content", ["{", "3", "[{}]"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "kubernetes.json").write_text(content)
    with pytest.raises(StorageError, match=r"cannot be read.*: move it away"):
        kubernetes.recorded([], tmp_path)


def test_a_missing_ray_names_the_extra(tasks, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'vae_jax[ray]'")):
        ray.run(tasks, tmp_path, ray.parse(""))
    assert ray.run([], tmp_path, ray.parse("")) == []
    assert "each with 2 CPUs and 0.5 GPUs" in ray.preview(
        tasks, tmp_path, ray.parse("cpus=2,gpus=0.5")
    )


@pytest.mark.slow
def test_tasks_run_on_a_cluster_of_two_nodes(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "fake_training.py").write_text(textwrap.dedent(WORKER))
    own = [str(tmp_path / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, own)))
    folder = tmp_path / "sweep"
    whats = {"a": "quick", "b": "fail", "c": "quick", "d": "quick"}
    tasks = [
        Task(name, ["fake_training", name, str(folder / name), what], folder / name)
        for name, what in whats.items()
    ]
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        nodes.add_node(num_cpus=1)
        outcomes = cluster.fan_out(
            tasks,
            folder,
            is_complete=is_complete,
            executor="ray",
            settings=f"address={nodes.address}",
        )
    finally:
        nodes.shutdown()
    assert [o.status for o in outcomes] == ["done", "failed", "done", "done"]
    assert (outcomes[1].exit_code, outcomes[1].message) == (4, "error: no such thing")
    assert outcomes[0].message == "the last line of a"
    assert (folder / "logs" / "d.out").read_text() == "the last line of d\n"
    assert Path(folder, "a", "complete").exists()


DRIVER = """
import pathlib, sys
from vae_jax.cli import beginning
beginning.begin()
from vae_jax.lab import cluster
folder = pathlib.Path(sys.argv[1])
tasks = [cluster.Task("a", ["fake_training", "a", str(folder / "a"), "long"], folder / "a")]
cluster.fan_out(tasks, folder, is_complete=lambda _: False, executor="ray")
"""


@pytest.mark.slow
def test_a_signal_reaches_tasks_of_ray_which_save(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "fake_training.py").write_text(textwrap.dedent(WORKER))
    own = [str(tmp_path / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, own))},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(tmp_path / "a" / "ready", 120)
        driver.terminate()
        assert (
            "SIGTERM: 1 programs save (again to leave at once)" in driver.communicate(timeout=60)[1]
        )
    finally:
        driver.kill()
    assert driver.returncode == 143
    assert (tmp_path / "a" / "saved").read_text() == "15"
