"""A checkpoint comes back bit by bit, or not at all and with a word."""

import itertools
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.benchmark import saving
from vae_jax.errors import StorageError
from vae_jax.storage import checkpoints as module
from vae_jax.storage import pieces
from vae_jax.storage.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[1]


class Moments(NamedTuple):
    mean: jax.Array
    count: jax.Array


@flax.struct.dataclass
class State:
    params: dict
    optimizer: tuple
    extra: Moments


def make_state(seed: int) -> State:
    key_a, key_b = jax.random.split(jax.random.key(seed))
    params = {
        "encoder": {"kernel": jax.random.normal(key_a, (3, 4)), "bias": jnp.zeros(4)},
        "decoder": {"kernel": jax.random.normal(key_b, (4, 3), jnp.bfloat16)},
        "best": jnp.array([jnp.nan, jnp.inf, -0.0]),
        "alive": jnp.array([True, False]),
        "key": jax.random.key_data(key_a),
        "nothing": {},
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return State(
        params=params,
        optimizer=optimizer.init(params["encoder"]),
        extra=Moments(mean=jnp.float32(0.1), count=jnp.int32(seed)),
    )


def assert_same(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def shapes_of(state):
    return jax.eval_shape(lambda: state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
    """A directory with the steps 500 and 600; tests copy it."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        for step in (500, 600):
            checkpoints.save(step, make_state(step), {"beta": 4.0, "step": step})
    return directory


@pytest.fixture
def directory(saved, tmp_path) -> pathlib.Path:
    return shutil.copytree(saved, tmp_path / "run" / "checkpoints")


def test_round_trip_is_bit_identical_and_keeps_config(directory):
    with Checkpoints(directory) as checkpoints:
        restored = checkpoints.restore(shapes_of(make_state(0)))
        assert restored.step == 600
        assert restored.config == {"beta": 4.0, "step": 600}
        assert_same(restored.state, make_state(600))
        assert_same(checkpoints.restore(make_state(0)).state, make_state(600))


def test_restored_arrays_are_placed_like_fresh_ones_unless_a_sharding_is_asked(directory):
    target = shapes_of(make_state(0))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    bound = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), target
    )
    with Checkpoints(directory) as checkpoints:
        assert not any(a.committed for a in jax.tree.leaves(checkpoints.restore(target).state))
        assert all(a.committed for a in jax.tree.leaves(checkpoints.restore(bound).state))


def test_no_checkpoint_restores_none_and_writes_nothing(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore(make_state(0)) is None
        assert checkpoints.steps() == []
    assert list(tmp_path.iterdir()) == []


def test_keeps_the_newest_two_and_leaves_nothing_else(directory):
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(700, make_state(700), {})
        assert checkpoints.steps() == [600, 700]
    assert sorted(os.listdir(directory)) == ["600", "700"]
    with pytest.raises(ValueError, match="at least 2"):
        Checkpoints(directory, keep=1)


def test_damaged_steps_do_not_count_as_kept(directory):
    flip_one_bit(directory / "600" / module._MANIFEST)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(700, make_state(700), {})
        assert checkpoints.steps() == [500, 700]


def test_a_step_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Its files and folders are synced, it is renamed, and then the folder that names it synced."""
    told, sync, rename = [], os.fsync, os.rename

    def synced(descriptor):
        told.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def renamed(source, target, **folders):
        told.append(os.fspath(target))
        rename(source, target, **folders)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(7, {"kernel": jnp.ones((3, 4))}, {"beta": 4.0})
    step = tmp_path / "checkpoints" / "7"
    place = told.index(step.name)
    unsynced = [
        str(path.relative_to(step.parent))
        for path in (step, *step.rglob("*"))
        if path.stat().st_ino not in told[:place]
    ]
    assert unsynced == []
    assert step.parent.stat().st_ino in told[place:]


def test_a_save_beside_the_training_is_of_the_state_as_it_was(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + leaf, state), donate_argnums=0)
    state = {"kernel": jnp.ones((300, 300)), "host": np.ones(5, np.float32)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.start_save(1, state, {})
        # the buffers are overwritten, on the device by donation
        state["host"] += 1
        step({"kernel": state["kernel"]})
        restored = checkpoints.restore({"kernel": jnp.zeros((300, 300)), "host": jnp.zeros(5)})
        assert restored.step == 1
        assert (restored.state["kernel"] == 1).all()
        assert (restored.state["host"] == 1).all()
        assert checkpoints.save_seconds > 0


def test_the_cost_of_a_save_is_the_minimum_over_saves(tmp_path, monkeypatch):
    clock = iter([10.0, 13.0, 20.0, 22.0, 30.0, 39.0])
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        took = []
        for step in (1, 2, 3):
            checkpoints.save(step, make_state(step), {})
            took.append(checkpoints.save_seconds)
    assert took == [3, 2, 2]


def test_a_save_goes_on_until_it_has_ended(tmp_path, monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(Checkpoints, "_save_quietly", lambda *_: may_end.wait(60))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert not checkpoints.is_saving()
        checkpoints.start_save(1, make_state(1), {})
        assert checkpoints.is_saving()
        may_end.set()
        checkpoints.wait()
        assert not checkpoints.is_saving()


def test_a_save_that_was_started_is_waited_for(directory):
    with Checkpoints(directory) as checkpoints:
        checkpoints.start_save(700, make_state(700), {})
        assert checkpoints.steps() == [600, 700]
        checkpoints.start_save(800, make_state(800), {})
        checkpoints.start_save(900, make_state(900), {})
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps() == [800, 900]


def test_a_save_that_fails_in_its_thread_is_told_by_what_comes_next(directory, monkeypatch):
    with Checkpoints(directory) as checkpoints:
        assert not checkpoints.has_failed()
        monkeypatch.setattr(os, "rename", fail_once(os.rename))
        checkpoints.start_save(700, make_state(700), {})
        while not checkpoints._pending.done():
            time.sleep(0.01)
        assert checkpoints.has_failed()
        with pytest.raises(StorageError, match="checkpoint 700 could not be saved"):
            checkpoints.start_save(800, make_state(800), {})
        assert not checkpoints.has_failed()
        checkpoints.save(900, make_state(900), {})
        assert checkpoints.steps() == [600, 900]


def fail_once(function):
    """The first call finds the disk full."""
    calls = itertools.count()

    def wrapper(*arguments, **keywords):
        if next(calls) == 0:
            raise OSError(28, "No space left on device")
        return function(*arguments, **keywords)

    return wrapper


def test_saving_a_verified_step_again_leaves_it(directory):
    before = (directory / "600").stat()
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(600, make_state(600), {})
    after = (directory / "600").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def delete(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    at = random.Random(path.name).randrange(8 * len(content))
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(content)


@pytest.mark.fault("R5")
def test_every_injury_of_every_file_falls_back_to_the_step_before(saved, tmp_path):
    names = [p.relative_to(saved / "600") for p in (saved / "600").rglob("*") if p.is_file()]
    assert len(names) > 10
    expected, target = make_state(500), shapes_of(make_state(0))
    shutil.copytree(saved / "500", tmp_path / "checkpoints" / "500")
    damaged = tmp_path / "checkpoints" / "600"
    warnings = []
    with Checkpoints(tmp_path / "checkpoints", warn=warnings.append) as checkpoints:
        for name, injure in itertools.product(names, (delete, empty, truncate, flip_one_bit)):
            shutil.copytree(saved / "600", damaged)
            injure(damaged / name)
            warnings.clear()
            restored = checkpoints.restore(target)
            assert restored.step == 500, (name, injure.__name__)
            assert_same(restored.state, expected)
            assert len(warnings) == 1
            assert warnings[0].startswith(f"checkpoint 600 failed verification ({name}: ")
            assert "; resuming from 500, 100 steps repeated" in warnings[0]
            assert not damaged.exists()
    # Each one is kept, none replaced another.
    assert len(list((tmp_path / "damaged").iterdir())) == 4 * len(names)


def empty_step(directory):
    (directory / "700").mkdir()


def file_as_step(directory):
    (directory / "700").write_text("x")


def lost_manifest(directory):
    shutil.copytree(directory / "600", directory / "700")
    (directory / "700" / module._MANIFEST).unlink()


def renamed_step(directory):
    shutil.copytree(directory / "600", directory / "700")


def extra_file(directory):
    reseal(directory, lambda manifest: None)
    (directory / "700" / "state" / "more").write_text("x")


def link_to_step(directory):
    (directory / "700").symlink_to("600")


def link_in_step(directory):
    reseal(directory, lambda manifest: None)
    file = directory / "700" / "state" / "_METADATA"
    file.unlink()
    file.symlink_to(directory / "600" / "state" / "_METADATA")


def pipe_in_step(directory):
    reseal(directory, lambda manifest: None)
    os.mkfifo(directory / "700" / "state" / "pipe")


def malformed_manifest(directory):
    reseal(directory, lambda manifest: manifest.update(files=[1]))


def file_outside(directory):
    (directory / "secret").write_text("x")
    reseal(
        directory,
        lambda manifest: manifest["files"].update({"../secret": {"bytes": 1, "sha256": "0"}}),
    )


def reseal(directory, change) -> None:
    """Makes step 700 from 600 with a manifest that is changed and sealed again."""
    shutil.copytree(directory / "600", directory / "700")
    path = directory / "700" / module._MANIFEST
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    manifest["step"] = 700
    change(manifest)
    path.write_bytes(module._encode(manifest))


@pytest.mark.fault("R14")
@pytest.mark.parametrize(
    ("key", "sizes", "reason"),
    [
        ("shape", 2**37, "not of the shapes that its manifest names"),
        ("chunks", 2**16, "its arrays are parted"),
    ],
)
def test_arrays_that_no_memory_holds_are_refused(directory, key, sizes, reason):
    import tensorstore

    state = directory / "600" / "state"
    spec = {"driver": "ocdbt", "base": f"file://{state}/"}
    arrays = tensorstore.KvStore.open(spec).result()
    name = next(n for n in arrays.list().result() if n.endswith(b"encoder.kernel/.zarray"))
    header = json.loads(arrays.read(name).result().value)
    header[key] = [sizes] * len(header[key])
    arrays.write(name, json.dumps(header).encode()).result()

    def seal(manifest):
        files = module._measure(directory / "700")
        manifest["files"] = {
            name: {"bytes": size, "sha256": digest}
            for name, size, digest in files
            if name != module._MANIFEST
        }

    reseal(directory, seal)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps()[-1] == 700
        with pytest.raises(StorageError, match=reason):
            checkpoints.read()
        with pytest.raises(StorageError, match=reason):
            checkpoints.restore(make_state(0))


def test_a_state_larger_than_memory_is_refused(directory, monkeypatch):
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(make_state(0)))
    with Checkpoints(directory) as checkpoints:
        monkeypatch.setattr(module, "limit_bytes", lambda: num_bytes)
        assert checkpoints.read().step == 600
        monkeypatch.setattr(module, "limit_bytes", lambda: num_bytes - 1)
        with pytest.raises(StorageError, match=f"it takes {num_bytes:,} bytes, reading may take"):
            checkpoints.read()


def test_reseal_alone_makes_a_step_that_verifies(directory):
    reseal(directory, lambda manifest: None)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps() == [500, 600, 700]


@pytest.mark.fault("R5")
@pytest.mark.parametrize(
    ("injure", "reason"),
    [
        (empty_step, "manifest.json: missing"),
        (file_as_step, "not a directory"),
        (lost_manifest, "manifest.json: missing"),
        (renamed_step, "manifest.json: of step 600"),
        (extra_file, "state/more: not in manifest.json"),
        (link_to_step, "not a directory"),
        (link_in_step, "state/_METADATA: is a symbolic link"),
        (pipe_in_step, "state/pipe: is no regular file"),
        (malformed_manifest, "manifest.json: malformed"),
        (file_outside, "../secret: missing"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_with_one_warning(directory, injure, reason):
    injure(directory)
    warnings = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        restored = checkpoints.restore(shapes_of(make_state(0)))
        assert restored.step == 600
        assert_same(restored.state, make_state(600))
        (warning,) = warnings
        assert f"checkpoint 700 failed verification ({reason})" in warning
        assert os.path.lexists(directory.parent / "damaged" / "700")
        assert not os.path.lexists(directory / "700")


def test_a_step_that_finder_has_shown_is_whole(directory):
    """It leaves a file of its own in each folder."""
    for folder, _, _ in os.walk(directory):
        pathlib.Path(folder, ".DS_Store").write_bytes(b"Bud1")
    warnings = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        restored = checkpoints.restore(shapes_of(make_state(0)))
        assert (restored.step, warnings) == (600, [])
        assert_same(restored.state, make_state(600))
        checkpoints.save(700, make_state(700), {})
        assert checkpoints.steps()[-1] == 700


@pytest.mark.fault("R5")
def test_several_damaged_steps_give_one_warning(directory):
    for step in ("500", "600"):
        empty(directory / step / "state" / "_METADATA")
    warnings = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        assert checkpoints.restore(make_state(0)) is None
        (warning,) = warnings
        assert "600 failed verification" in warning
        assert "500 failed verification" in warning
        assert "starting from the beginning" in warning
        assert "\n" not in warning


def test_an_unverified_step_does_not_block_saving_it_again(directory):
    lost_manifest(directory)
    warnings = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        checkpoints.save(700, make_state(700), {})
        assert_same(checkpoints.restore(make_state(0)).state, make_state(700))
    assert len(warnings) == 1


@pytest.mark.fault("R3")
def test_leftovers_of_a_killed_save_are_ignored(directory):
    (directory / "700.orbax-checkpoint-tmp").mkdir()
    (directory / ".staging" / "700").mkdir(parents=True)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.restore(make_state(0)).step == 600
        checkpoints.save(700, make_state(700), {})
        assert checkpoints.steps() == [600, 700]
    assert not (directory / ".staging").exists()


@pytest.mark.fault("R14")
@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/.staging", "damaged"])
def test_links_in_place_of_our_directories_are_refused(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        with pytest.raises(StorageError, match="symbolic link"):
            checkpoints.save(1, make_state(1), {})
        with pytest.raises(StorageError, match="symbolic link"):
            checkpoints.restore(make_state(1))
    assert list(outside.iterdir()) == []


@pytest.mark.fault("R9")
def test_a_target_that_differs_is_refused_by_name(directory):
    wider = make_state(0)
    wider.params["encoder"]["kernel"] = jnp.zeros((3, 5))
    halved = make_state(0)
    halved.params["encoder"]["kernel"] = jnp.zeros((3, 4), jnp.bfloat16)
    lacking = make_state(0)
    del lacking.params["encoder"]["bias"]
    with Checkpoints(directory) as checkpoints:
        for target, message in (
            (wider, r"params/encoder/kernel float32\[3,4\], .* needs float32\[3,5\]"),
            (halved, r"params/encoder/kernel float32\[3,4\], .* needs bfloat16\[3,4\]"),
            (lacking, r"params/encoder/bias float32\[4\], .* needs none of it"),
        ):
            with pytest.raises(StorageError, match=message):
                checkpoints.restore(target)
        assert checkpoints.steps() == [500, 600]


@pytest.mark.fault("R9")
def test_a_newer_schema_is_refused_and_left_in_place(directory):
    reseal(directory, lambda manifest: manifest.update(schema=2))
    with Checkpoints(directory) as checkpoints, pytest.raises(StorageError, match="newer vae_jax"):
        checkpoints.restore(make_state(0))
    assert (directory / "700").is_dir()


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the program catches it, so nothing is cleaned up."""


@pytest.mark.fault("R3")
def test_killed_at_every_phase_of_a_save_leaves_a_verified_step(saved, tmp_path, monkeypatch):
    target = make_state(0)
    phases = [(module.Checkpoints, "_load"), (module.Checkpoints, "_delete_old")]
    phases += [(module, "_encode"), (os, "rename"), (shutil, "rmtree")]
    survived = []
    for nth in itertools.count(1):
        directory = shutil.copytree(saved, tmp_path / str(nth) / "checkpoints")
        calls = itertools.count(1)
        with monkeypatch.context() as patch, Checkpoints(directory) as checkpoints:
            for owner, name in phases:
                patch.setattr(owner, name, killed_at(nth, calls, getattr(owner, name)))
            try:
                checkpoints.save(700, make_state(700), {})
            except KilledError:
                pass
            else:
                break
        with Checkpoints(directory, warn=pytest.fail) as checkpoints:
            restored = checkpoints.restore(target)
            assert_same(restored.state, make_state(restored.step))
            survived.append(restored.step)
            if nth % 4 == 0:
                checkpoints.save(700, make_state(700), {})
                assert checkpoints.steps() == [600, 700]
    # Before the commit the step of old, after it the new one.
    assert survived == sorted(survived)
    assert set(survived) == {600, 700}


def killed_at(nth, calls, function):
    def wrapper(*args, **kwargs):
        if next(calls) == nth:
            raise KilledError
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.fault("R3")
@pytest.mark.slow
def test_killed_by_sigkill_while_saving(tmp_path):
    program = textwrap.dedent(
        """
        import itertools, sys
        import jax.numpy as jnp
        from absl import logging
        from vae_jax.storage.checkpoints import Checkpoints

        logging.set_verbosity(logging.INFO)
        logging.info("heard")
        with Checkpoints(sys.argv[1], warn=lambda line: sys.exit(line)) as checkpoints:
            restored = checkpoints.restore({"x": jnp.zeros(1000)})
            first = 0 if restored is None else restored.step
            for step in itertools.count(first + 1):
                checkpoints.save(step, {"x": jnp.full(1000, step, jnp.float32)}, {})
                print(step, flush=True)
        """
    )
    delays = random.Random(0)
    newest = 0
    for _ in range(3):
        command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "checkpoints")]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            done = int(child.stdout.readline())
            assert done == newest + 1
            try:
                child.wait(timeout=delays.uniform(0.02, 0.3))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            output, errors = child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert errors.count("\n") == 1
        assert "heard" in errors
        done = int(output.split()[-1]) if output.split() else done
        with Checkpoints(tmp_path / "checkpoints", warn=pytest.fail) as checkpoints:
            restored = checkpoints.restore({"x": jnp.zeros(1000)})
        # The step under way may be committed and not yet announced.
        assert restored.step in (done, done + 1)
        assert_same(restored.state, {"x": jnp.full(1000, restored.step, jnp.float32)})
        newest = restored.step


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 2 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_keeps_the_earlier_checkpoint(small_disk):
    def noise(step):
        return {"x": jax.random.normal(jax.random.key(step), (100_000,))}

    with Checkpoints(small_disk / "checkpoints") as checkpoints:
        checkpoints.save(1, noise(1), {})
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
        with pytest.raises(StorageError, match=r"checkpoint 2 .* about \d+ bytes") as caught:
            checkpoints.save(2, noise(2), {})
        assert "\n" not in str(caught.value)
        assert checkpoints.steps() == [1]
        assert os.listdir(small_disk / "checkpoints") == ["1"]
        assert_same(checkpoints.restore(noise(0)).state, noise(1))
        filler.unlink()
        checkpoints.save(2, noise(2), {})
        assert_same(checkpoints.restore(noise(0)).state, noise(2))


@pytest.mark.fault("R5")
def test_arrays_that_orbax_wrote_wrongly_are_not_committed(directory, monkeypatch):
    load = module.Checkpoints._load

    def flipped(self, path, target):
        loaded = load(self, path, target)
        loaded.state.params["alive"][0] ^= True
        return loaded

    with Checkpoints(directory) as checkpoints:
        monkeypatch.setattr(module.Checkpoints, "_load", flipped)
        with pytest.raises(StorageError, match="read back differs"):
            checkpoints.save(700, make_state(700), {})
        assert checkpoints.steps() == [500, 600]


@pytest.mark.parametrize("last", [False, True])
def test_a_state_in_pieces_is_the_state_and_each_piece_is_verified(directory, monkeypatch, last):
    monkeypatch.setattr(pieces, "NUM_BYTES", 20)
    state = make_state(700)
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(state)]
    num = len(list(pieces.split(sizes)))
    assert num > 5
    load, calls = module.Checkpoints._load, []

    def counted(self, path, target):
        loaded = load(self, path, target)
        calls.append([leaf for leaf in jax.tree.leaves(loaded.state) if leaf is not ...])
        if damaged and len(calls) == (num if last else 1):
            calls[-1][-1].reshape(-1).view(np.uint8)[0] ^= 1
        return loaded

    monkeypatch.setattr(module.Checkpoints, "_load", counted)
    with Checkpoints(directory) as checkpoints:
        damaged = True
        with pytest.raises(StorageError, match="read back differs"):
            checkpoints.save(700, state, {"beta": 4.0})
        assert checkpoints.steps() == [500, 600]
        damaged = False
        calls.clear()
        checkpoints.save(700, state, {"beta": 4.0})
        assert [sum(leaf.nbytes for leaf in call) for call in calls] == [
            sum(sizes[part]) for part in pieces.split(sizes)
        ]
        restored = checkpoints.restore(shapes_of(state))
    assert (restored.step, restored.config) == (700, {"beta": 4.0})
    assert_same(restored.state, state)


def test_pieces_have_at_most_so_many_bytes_or_one_array(monkeypatch):
    monkeypatch.setattr(pieces, "NUM_BYTES", 10)
    for sizes, parts in [
        ([], []),
        ([3], [[3]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([40, 1, 9, 1, 40], [[40], [1, 9], [1], [40]]),
    ]:
        assert [sizes[part] for part in pieces.split(sizes)] == parts


@pytest.mark.slow
def test_a_save_takes_little_more_memory_than_a_copy_of_the_state():
    """The copy is of the moment, beside which the training goes on."""
    saved, _ = saving.memory_of(200 * 2**20)
    assert saved.ratio <= saving.BESIDE_STATE


def test_orbax_that_cannot_be_imported_is_not_told_as_a_full_disk(directory, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps() == [500, 600]  # nothing of it is needed to verify
        with pytest.raises(ImportError, match="orbax"):
            checkpoints.save(800, make_state(800), {})


def test_a_read_only_directory_restores(directory, monkeypatch):
    empty_step(directory)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    warnings = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        assert checkpoints.restore(make_state(0)).step == 600
    assert warnings == [
        "checkpoint 700 failed verification (manifest.json: missing); "
        "resuming from 600, 100 steps repeated"
    ]


def test_callbacks_of_a_closed_loop_are_silent_in_any_thread(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    module._ignore_closed_loops.__wrapped__()
    of_ours, of_a_loop = (
        types.SimpleNamespace(exc_value=RuntimeError(words))
        for words in ("ours", "Event loop is closed")
    )
    for thrown in (of_a_loop, of_ours):
        thread = threading.Thread(target=sys.unraisablehook, args=[thrown])
        thread.start()
        thread.join()
        sys.unraisablehook(thrown)
    assert told == [of_ours] * 2


def test_errors_after_a_failed_save_are_silent(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        monkeypatch.setattr(logger, "filters", [])
    with module._one_voice():
        pass
    assert sys.unraisablehook == told.append
    with pytest.raises(OSError, match="full"), module._one_voice():
        raise OSError("full")
    late = threading.Thread(target=lambda: sys.unraisablehook("of a thread"))
    late.start()
    late.join()
    sys.unraisablehook("of ours")
    assert told == ["of ours"]
    for logger, path, message, is_told in (
        (loggers[0], "orbax/checkpoint/future.py", "raised", False),
        (loggers[0], "ours.py", "raised", True),
        (loggers[1], "asyncio/base_events.py", "Future exception was never retrieved", False),
    ):
        record = logging.LogRecord("name", logging.ERROR, path, 1, message, None, None)
        assert bool(logger.filter(record)) is is_told
