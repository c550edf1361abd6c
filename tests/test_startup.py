"""What a start does before its first step, and what it leaves for later."""

import gc
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import quick

from vae_jax import data
from vae_jax.cli import garbage_collection
from vae_jax.lab import build
from vae_jax.lab.config import from_flags
from vae_jax.lab.resolved import resolve

ROOT = pathlib.Path(__file__).parents[1]
# each is for one kind of data, for pictures or for what is saved, and takes up to a second
HEAVY = {
    "PIL",
    "array_record",
    "matplotlib",
    "mlflow",
    "orbax",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "submitit",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "tensorstore",
    "wandb",
}
# Runs the command; at its first step or at its end, tells what was imported and compiled.
WATCHED = """
import json, runpy, sys
from vae_jax.cli import garbage_collection
with garbage_collection.paused():
    import jax
    from vae_jax import training

%s
compiled, train_until = [], training.train_until

def note(event, seconds, fun_name=None, **labels):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(str(fun_name))

def to_first_step(*arguments, **settings):
    for step, state in train_until(*arguments, **settings):
        raise SystemExit

jax.monitoring.register_event_duration_secs_listener(note)
training.train_until = to_first_step
try:
    runpy.run_module("experiments.vae", run_name="__main__", alter_sys=True)
finally:
    print(json.dumps({"modules": sorted(sys.modules), "compiled": compiled}))
"""


def watch(*flags: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED % quick.source(), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def first_step(tmp_path_factory):
    """A run that is not the default's: a schedule, a mask, averaged parameters."""
    folder = tmp_path_factory.mktemp("start")
    return watch(
        "--network=linear",
        "--latent_dim=2",
        "--beta=linear(0, 1, 50%)",
        "--ema_decay=0.9",
        f"--workdir={folder / 'run'}",
    )


def test_nothing_heavy_is_imported_before_the_first_step(first_step):
    imported = {name.partition(".")[0] for name in first_step["modules"]}
    assert "flax" in imported
    assert not imported & HEAVY


def test_two_programs_are_compiled_before_the_first_step(first_step):
    """One makes the state, one trains; whatever else is computed, NumPy computes."""
    assert len(first_step["compiled"]) == 2, first_step["compiled"]


def test_nothing_heavy_is_imported_and_nothing_compiled_for_help():
    told = watch("--help")
    assert not {name.partition(".")[0] for name in told["modules"]} & HEAVY
    assert told["compiled"] == []


def test_a_device_of_the_host_takes_the_data_as_it_lies():
    """The memory that was loaded into is the memory that is trained on."""
    if jax.devices()[0].platform != "cpu":
        pytest.skip("an accelerator has memory of its own")
    dataset = data.load("digits")
    on_devices = build.build(resolve([from_flags({})], dataset)).resident("train")
    places = {shard.data.unsafe_buffer_pointer() for shard in on_devices.addressable_shards}
    assert places == {dataset.train.x.ctypes.data}
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.x[0] = 0


def test_rows_of_a_file_become_one_array_that_a_device_takes(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.arange(2 * 50 * 4 * 4, dtype=np.uint8).reshape(-1, 4, 4))
    dataset = data.load(str(path))
    on_device = jax.device_put(dataset.train.x, jax.devices("cpu")[0])
    assert on_device.unsafe_buffer_pointer() == dataset.train.x.ctypes.data


@pytest.fixture
def usual_collector():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def test_the_collector_waits_while_modules_are_imported(usual_collector):
    with garbage_collection.paused():
        assert not gc.isenabled()
        kept = [[] for _ in range(10)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(kept)
    assert gc.get_threshold() == garbage_collection.THRESHOLDS


def test_the_collector_goes_on_after_an_import_that_failed(usual_collector):
    with pytest.raises(ImportError), garbage_collection.paused():
        raise ImportError
    assert gc.isenabled()
