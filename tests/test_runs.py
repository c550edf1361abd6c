"""A run directory holds one run, says who writes in it, and survives a crash at any byte."""

import errno
import fcntl
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import console, errors
from vae_jax.errors import LockedError, StorageError, UsageError
from vae_jax.lab.flags import as_flags
from vae_jax.storage import files, locks, provenance, runs

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = {"beta": 4.0, "dataset": "digits", "widths": (400, 20), "epochs": 3}


@pytest.fixture
def run(tmp_path):
    with runs.open_run(tmp_path / "runs" / "x", CONFIG) as opened:
        yield opened


def test_default_names_are_readable_and_do_not_depend_on_order():
    path = runs.default_workdir("runs", "digits", {"seed": 1, "beta": 4.0})
    assert path == pathlib.Path("runs/digits-beta=4-seed=1")
    assert path == runs.default_workdir("runs", "digits", {"beta": 4.0, "seed": 1})
    path = runs.default_workdir("runs", "digits", {"widths": [16, 8]})
    assert path == pathlib.Path("runs/digits-widths=16,8")
    assert runs.default_workdir("runs", "digits", {}) == pathlib.Path("runs/digits")
    assert runs.default_workdir("runs", "digits", {"beta": 0.1 + 0.2}).name != (
        runs.default_workdir("runs", "digits", {"beta": 0.3}).name
    )


HOSTILE = ["..", ".", "", "/", "../../etc", "/etc/passwd", "a\0b", "x" * 300, "ß√", "\udcff", "-v"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_root(tmp_path, name):
    for path in (
        runs.default_workdir(tmp_path, name, {}),
        runs.default_workdir(tmp_path, "digits", {"network": name}),
    ):
        assert path.parent == tmp_path
        assert path.name not in ("", ".", "..")
        assert path.name[0] not in ".-"
        assert path.name.isascii()
        assert len(path.name) <= 100
        path.mkdir(exist_ok=True)
        assert path.resolve().parent == tmp_path.resolve()


def test_hostile_names_do_not_collide():
    names = [*HOSTILE, "_", "a_b", "a/b", "x" * 301, "é", "è"]
    assert len({runs.default_workdir("runs", name, {}) for name in names}) == len(names)


def test_config_is_stored_with_a_hash_that_free_keys_do_not_change(tmp_path):
    hashes = []
    for epochs in (3, 5):
        with runs.open_run(tmp_path / "x", CONFIG | {"epochs": epochs}) as run:
            run.write_config()
            stored = run.read_json("config.json")
        assert stored["schema"] == runs.SCHEMA
        assert stored["id"] == stored["sha256"]
        assert stored["config"] == CONFIG | {"widths": [400, 20], "epochs": epochs}
        hashes.append(stored["sha256"])
    assert hashes[0] == hashes[1]
    with runs.open_run(tmp_path / "y", CONFIG | {"beta": 1.0}) as run:
        assert run.read_json("config.json")["sha256"] != hashes[0]


def test_a_run_that_goes_on_keeps_its_config_until_told(tmp_path):
    for epochs, write, expected in [(3, False, 3), (5, False, 3), (5, True, 5)]:
        with runs.open_run(tmp_path / "x", CONFIG | {"epochs": epochs}) as run:
            if write:
                run.write_config()
            assert run.read_json("config.json")["config"]["epochs"] == expected


def test_the_same_config_resumes(tmp_path):
    config = CONFIG | {"capacity": math.inf, "likelihood": None}
    with runs.open_run(tmp_path / "x", config) as run:
        assert not run.resumed
        run.append_rows([{"step": 1}])
    with runs.open_run(tmp_path / "x", config) as run:
        assert run.resumed
        assert run.archived is None
        assert run.rows() == [{"step": 1}]


def snapshot(root: pathlib.Path) -> dict:
    """Every path below a directory with what it holds."""
    paths = (p for p in root.rglob("*"))
    return {p.relative_to(root): p.read_bytes() if p.is_file() else None for p in paths}


@pytest.mark.fault("R9")
def test_another_config_is_refused_with_the_differing_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runs.open_run("runs/x", {"beta": 1.0, "seed": 0, "old": 2}):
        pass
    before = snapshot(tmp_path)
    with pytest.raises(UsageError) as caught:
        runs.open_run("runs/x", {"beta": 4.0, "seed": 0, "new": "a"})
    assert as_flags(str(caught.value)) == (
        "runs/x holds beta=1.0, no new, old=2, you asked beta=4.0, new=a, no old: "
        "choose another --workdir, or --overwrite archives runs/x"
    )
    assert snapshot(tmp_path) == before


def refused(directory, held, asked):
    """What another config in the same place is refused with, without the remedy."""
    with runs.open_run(directory, held):
        pass
    with pytest.raises(UsageError) as caught:
        runs.open_run(directory, asked)
    assert "\n" not in str(caught.value)
    assert "runs_sha256" not in str(caught.value)
    message = as_flags(str(caught.value))
    return message.removeprefix(f"{directory} ").split(": choose another")[0]


def sweep_of(num_runs, digest="a", **values):
    return {**values, "num_runs": num_runs, "runs_sha256": digest, "runs_per_program": None}


def program_of(*members, data_sha256="a"):
    return {"epochs": 3, "data_sha256": data_sha256, "runs": list(members)}


@pytest.mark.parametrize(
    ("held", "asked", "message"),
    [
        (
            sweep_of(8, beta=[1, 2, 4, 8], seed=[0, 1]),
            sweep_of(4, "b", beta=[1, 2], seed=[0, 1]),
            "holds beta=1,2,4,8, num_runs=8, you asked beta=1,2, num_runs=4",
        ),
        (
            sweep_of(2, widths=[[200, 200], [16]], clip_norm=None),
            sweep_of(2, "b", widths=[[200], None], clip_norm=["1", None]),
            "holds no clip_norm, widths=200,200;16, you asked clip_norm=1,unset, widths=200;unset",
        ),
        (
            sweep_of(2, beta=[1, 4], seed=[0, 1]),
            sweep_of(2, "b", beta=[1, 4], seed=[0, 1]),
            "holds other combinations of these settings than you asked",
        ),
        (
            program_of({"beta": 1, "seed": 0}, {"beta": 4, "seed": 0}),
            program_of({"beta": 1, "seed": 0}, {"beta": 2, "seed": 0}, {"beta": 3, "seed": 0}),
            "holds beta=1,4, num_runs=2, you asked beta=1,2,3, num_runs=3",
        ),
        (
            program_of({"beta": 1}, {"beta": 4}),
            program_of({"beta": 1}, {"beta": 2}, data_sha256="b"),
            "holds beta=1,4, you asked beta=1,2",
        ),
        (
            program_of({"a": 1, "b": 1}, {"a": 2, "b": 2}),
            program_of({"a": 1, "b": 2}, {"a": 2, "b": 1}, data_sha256="b"),
            "holds b=1,2, you asked b=2,1",
        ),
        (
            program_of({"beta": 1, "seed": 0}, {"beta": 4, "seed": 1}),
            program_of({"beta": 1, "seed": 1}, {"beta": 4, "seed": 0}),
            "holds seed=0,1, you asked seed=1,0",
        ),
        (
            program_of({"a": 0, "b": 0}, {"a": 0, "b": 1}, {"a": 1, "b": 1}),
            program_of({"a": 0, "b": 0}, {"a": 1, "b": 0}, {"a": 1, "b": 1}),
            "holds other combinations of these settings than you asked",
        ),
        ({"widths": [200, 200]}, {"widths": [200]}, "holds widths=200,200, you asked widths=200"),
        (sweep_of(8, beta=[1, 2]), {"beta": 1}, "holds a sweep of 8 runs, you asked one run"),
        (
            {"beta": 1},
            program_of({"beta": 1}, {"beta": 4}),
            "holds one run, you asked a program of 2 runs",
        ),
    ],
)
def test_differences_between_sweeps_are_described(tmp_path, held, asked, message):
    assert refused(tmp_path / "x", held, asked) == message


@pytest.mark.fault("R9")
def test_overwrite_archives_and_deletes_nothing(tmp_path):
    directory = tmp_path / "x"
    archives = set()
    for beta in (1.0, 2.0, 3.0):
        with runs.open_run(directory, {"beta": beta}, overwrite=True) as run:
            assert not run.resumed
            assert run.rows() == []
            run.append_rows([{"step": 1, "beta": beta}])
            if run.archived:
                archives.add(run.archived)
    assert len(archives) == 2
    assert all(path.name.startswith("x.") for path in archives)
    held = {json.loads((p / "config.json").read_text())["config"]["beta"] for p in archives}
    assert held == {1.0, 2.0}
    assert all((p / "metrics.csv").exists() for p in archives)
    assert len(list(tmp_path.iterdir())) == 3


def foreign(path):
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def foreign_config(path):
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "bert"}')


def newer(path):
    with runs.open_run(path, CONFIG, schema=runs.SCHEMA + 1):
        pass


def is_file(path):
    path.write_text("x")


@pytest.mark.fault("R9")
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (foreign, r"is not empty and holds no run \(thesis.tex\)"),
        (foreign_config, "config.json is damaged or not ours"),
        (newer, rf"newer vae_jax \(schema {runs.SCHEMA + 1}, this one reads up to {runs.SCHEMA}\)"),
        (is_file, "is a file"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_directories_are_refused_and_unchanged(tmp_path, prepare, message, overwrite):
    prepare(tmp_path / "x")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        runs.open_run(tmp_path / "x", CONFIG, overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.fault("R9")
@pytest.mark.parametrize("name", ["a\0b", "file/x", "n" * 300])
def test_impossible_paths_are_refused_and_leave_nothing(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises((UsageError, StorageError)) as caught:
        runs.open_run(f"{tmp_path}/new/../{name}", CONFIG)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.fault("R9")
def test_unwritable_parent_is_refused(tmp_path, monkeypatch):
    # Root may write anywhere, so modes alone would not refuse it.
    monkeypatch.setattr(pathlib.Path, "mkdir", fail_with(errno.EACCES))
    with pytest.raises(StorageError, match=r"closed/x cannot be written \(Permission denied\)"):
        runs.open_run(tmp_path / "closed" / "x", CONFIG)


def test_a_directory_made_for_a_refused_run_is_removed(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"config.json .*No space left.* bytes are free"):
        runs.open_run(tmp_path / "new" / "x", CONFIG)
    assert list(tmp_path.iterdir()) == []


HOLDER = textwrap.dedent(
    """
    import sys, time
    from vae_jax.storage import runs

    with runs.open_run(sys.argv[1], {}):
        assert "jax" not in sys.modules
        print("holding", flush=True)
        time.sleep(60)
    """
)


@pytest.mark.fault("R11")
def test_a_live_holder_is_named_and_a_killed_one_releases(tmp_path):
    directory = tmp_path / "x"
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"holding\n"
            for overwrite in (False, True):
                with pytest.raises(LockedError, match=f"in use by process {holder.pid} on "):
                    runs.open_run(directory, {}, overwrite=overwrite)
        finally:
            holder.send_signal(signal.SIGKILL)
    with runs.open_run(directory, {}) as run:
        assert run.resumed
        assert json.loads((directory / "lock").read_text())["pid"] == os.getpid()


@pytest.mark.fault("R11")
def test_the_lock_ends_with_the_run(tmp_path):
    with runs.open_run(tmp_path, {}), pytest.raises(LockedError):
        runs.open_run(tmp_path, {})
    with runs.open_run(tmp_path, {}):
        pass


def test_json_round_trips_and_is_valid_json(run):
    value = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf],
        "tiny": 5e-324,
        "path": pathlib.Path("a/b"),
        "numpy": np.float32(0.1),
        "jax": jnp.array([1, 2]),
        "name": "β",
        "none": None,
    }
    run.write_json("result.json", value)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = run.path("result.json").read_text()
    assert json.loads(text, parse_constant=refuse) == run.read_json("result.json")
    assert run.read_json("result.json") == {
        "nan": "nan",
        "inf": ["inf", "-inf"],
        "tiny": 5e-324,
        "path": "a/b",
        "numpy": float(np.float32(0.1)),
        "jax": [1, 2],
        "name": "β",
        "none": None,
    }
    assert run.read_json("absent.json") is None
    run.path("broken.json").write_text("{")
    with pytest.raises(StorageError, match=r"broken.json cannot be read"):
        run.read_json("broken.json")


def test_an_interrupted_write_keeps_the_old_file(run, monkeypatch):
    run.write_json("result.json", {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_with(errno.ENOSPC))
        with pytest.raises(StorageError, match=r"result.json .*bytes are free"):
            run.write_json("result.json", {"step": 2})
    assert run.read_json("result.json") == {"step": 1}
    assert sorted(os.listdir(run.directory)) == ["config.json", "lock", "result.json"]


def test_writes_are_durable_when_the_call_returns(run, monkeypatch):
    """A file is synced before it takes its place, its folder after; rows where they are added."""
    told, sync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        told.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def replaced(source, target, **folders):
        told.append("replaced")
        replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    run.write_json("result.json", {"step": 1})
    file, folder = (path.stat().st_ino for path in (run.path("result.json"), run.directory))
    assert told == [file, "replaced", folder]
    run.append_rows([{"step": 1, "loss": 2.0}])
    assert told[3:] == [run.path("metrics.csv").stat().st_ino]


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_rows_round_trip_exactly(run):
    key = jax.random.key(0)
    for step in range(5):
        value = float(jax.random.normal(jax.random.fold_in(key, step)))
        row = {"step": step, "loss": value / 3, "rate": 1e-310, "note": None, "term": 'a,"b'}
        run.append_rows([row])
        assert run.rows()[-1] == row
    assert [row["step"] for row in run.rows()] == list(range(5))
    run.append_rows(
        [{"step": np.int64(5), "loss": jnp.float32(0.1), "rate": math.nan, "note": 1, "term": "-"}]
    )
    last = run.rows()[-1]
    assert last["step"] == 5
    assert last["loss"] == float(np.float32(0.1))
    assert math.isnan(last["rate"])


def test_rows_survive_reopening_and_other_columns_are_refused(tmp_path):
    for step in (1, 2):
        with runs.open_run(tmp_path / "x", {}) as run:
            run.append_rows([{"loss": 0.5, "step": step}])
    with runs.open_run(tmp_path / "x", {}) as run:
        assert run.path("metrics.csv").read_text() == "loss,step\n0.5,1\n0.5,2\n"
        with pytest.raises(StorageError, match=r"columns loss,step, this program writes step,elbo"):
            run.append_rows([{"step": 3, "elbo": 1.0}])
        assert len(run.rows()) == 2


def test_truncate_keeps_the_bytes_of_earlier_rows(run):
    for step in (100, 200, 300, 400):
        run.append_rows([{"step": step, "loss": 1 / step}])
    lines = run.path("metrics.csv").read_text().splitlines(keepends=True)
    run.truncate_rows(250)
    assert run.path("metrics.csv").read_text() == "".join(lines[:3])
    run.append_rows([{"step": 300, "loss": 1 / 300}])
    run.append_rows([{"step": 400, "loss": 1 / 400}])
    assert run.path("metrics.csv").read_text() == "".join(lines)
    run.truncate_rows(0)
    assert run.rows() == []
    run.append_rows([{"step": 100, "loss": 1 / 100}])
    assert run.path("metrics.csv").read_text() == "".join(lines[:2])


def test_a_file_torn_at_any_byte_loses_at_most_the_torn_row(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    rows = [{"step": step, "loss": step / 7} for step in (1, 2, 3)]
    with runs.open_run(tmp_path / "x", {}) as run:
        for row in rows:
            run.append_rows([row])
        whole = run.path("metrics.csv").read_bytes()
    for length in range(len(whole) + 1):
        with runs.open_run(tmp_path / "x", {}) as run:
            run.path("metrics.csv").write_bytes(whole[:length])
            complete = max(whole[:length].count(b"\n") - 1, 0)
            assert run.rows() == rows[:complete]
            if length % 2:
                run.truncate_rows(3)
            for row in rows[complete:]:
                run.append_rows([row])
            assert run.path("metrics.csv").read_bytes() == whole


def test_truncate_without_rows_and_with_broken_rows(run):
    run.truncate_rows(5)
    assert not run.path("metrics.csv").exists()
    run.path("metrics.csv").write_text("step,loss\n1,2,3\n")
    with pytest.raises(StorageError, match="damaged row"):
        run.truncate_rows(5)
    run.path("metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(StorageError, match="row without step"):
        run.truncate_rows(5)


def test_a_row_that_does_not_fit_leaves_no_part(run, monkeypatch):
    run.append_rows([{"step": 1, "loss": 0.5}])
    before = run.path("metrics.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_with(errno.ENOSPC))
        with pytest.raises(StorageError, match=r"metrics.csv .*bytes are free"):
            run.append_rows([{"step": 2, "loss": 0.5}])
    assert run.path("metrics.csv").read_bytes() == before
    run.append_rows([{"step": 2, "loss": 0.5}])
    assert [row["step"] for row in run.rows()] == [1, 2]


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 256 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def append_until_full(run):
    for step in range(5000):
        run.append_rows([{"step": step, "text": "x" * 100}])


def test_a_full_disk_loses_no_row_and_no_file(small_disk):
    with runs.open_run(small_disk / "x", {}) as run:
        run.write_json("result.json", {"step": 0})
        filler = small_disk / "filler"
        filler.write_bytes(bytes(files.free_bytes(small_disk) - 2 * 4096))
        with pytest.raises(StorageError, match=r"metrics.csv .*No space left") as caught:
            append_until_full(run)
        assert "\n" not in str(caught.value)
        kept = run.rows()
        assert [row["step"] for row in kept] == list(range(len(kept)))
        assert run.path("metrics.csv").read_bytes().endswith(b"\n")
        with pytest.raises(StorageError, match=r"result.json .*No space left"):
            run.write_json("result.json", {"step": "x" * 20_000})
        assert run.read_json("result.json") == {"step": 0}
        filler.unlink()
        run.append_rows([{"step": len(kept), "text": "x"}])
        assert len(run.rows()) == len(kept) + 1


@pytest.mark.fault("R14")
def test_paths_stay_inside(run, tmp_path):
    assert run.path("plots", "a.png") == run.directory / "plots" / "a.png"
    (run.directory / "link").symlink_to(tmp_path)
    for parts in (("..",), ("plots", "..", ".."), ("/etc/passwd",), ("link", "x"), ("a\0",)):
        with pytest.raises(UsageError, match="must stay inside"):
            run.path(*parts)
    (run.directory / "metrics.csv").symlink_to(tmp_path / "outside")
    (run.directory / ".result.json.tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="must stay inside"):
        run.append_rows([{"step": 1}])
    run.write_json("result.json", {})
    assert not (tmp_path / "outside").exists()


def test_the_command_runs_again_as_written(run):
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--beta=4", "a b", "$HOME'"]
    run.write_command(words)
    line = run.path("command.txt").read_text()
    assert line.count("\n") == 1
    again = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert again.stdout == f"{words[3:]}\n"
    run.write_command(["python", "-m", "experiments.vae", "--beta=4"])
    assert run.path("command.txt").read_text() == "python -m experiments.vae --beta=4\n"


def test_log_stamps_each_line_and_prints_where_asked(run, capsys):
    run.log("one")
    run.log("two\nlines", echo=True)
    assert capsys.readouterr().out == "two\\nlines\n"
    first, second = run.path("run.log").read_text().splitlines()
    assert first.split(" ", 1)[1] == "one"
    assert second.split(" ", 1)[1] == "two\\nlines"
    assert first[:2] == "20"


def test_environment_names_versions_and_revision(tmp_path, monkeypatch):
    found = provenance.environment(jax.devices())
    assert found["packages"]["jax"] == jax.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["devices"] == [str(device) for device in jax.devices()]
    json.dumps(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.environment()["git"] is None


def test_revision_is_that_of_the_checkout_that_tracks_the_file(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    source = tmp_path / "source.py"
    source.write_text("a")
    git("init")
    assert provenance._git(source) is None
    git("add", "source.py")
    git("commit", "-m", "a")
    assert provenance._git(source) == {"revision": git("rev-parse", "HEAD"), "dirty": False}
    source.write_text("b")
    assert provenance._git(source)["dirty"]


def test_space_is_checked_with_both_numbers(tmp_path):
    missing = tmp_path / "not" / "there"
    free = files.free_bytes(missing)
    assert 0 < free <= shutil.disk_usage(tmp_path).total
    files.check_space(missing, 1)
    needed = 2 * shutil.disk_usage(tmp_path).total
    with pytest.raises(StorageError, match=rf"needs {needed} bytes, \d+ are free"):
        files.check_space(missing, needed)


# --- Locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_this_is_said_and_nothing_left(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    message = rf"lock cannot be locked \({os.strerror(number)}\): its file system keeps no locks"
    with pytest.raises(StorageError, match=rf"{message}.*local disk.*NFS: version 4"):
        runs.open_run(tmp_path / "x", CONFIG)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match=message), locks.alone(tmp_path / "lock"):
        raise AssertionError("nobody is alone here")


ADDING = textwrap.dedent(
    """
    import pathlib, sys, time
    from vae_jax.storage import files, locks

    path = pathlib.Path(sys.argv[1])
    for _ in range(50):
        with locks.alone(path.with_name("lock")):
            number = int(path.read_text())
            time.sleep(0.001)
            files.write_text(path, [str(number + 1)])
    """
)


def test_several_holders_wait_for_each_other(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    command = [sys.executable, "-c", ADDING, str(path)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert path.read_text() == "100\n"


def test_the_lock_is_released_when_its_holder_ends_or_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.alone(tmp_path / "lock"):
        raise ZeroDivisionError
    path = tmp_path / "lock"
    with locks.alone(path), open(path) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locks.alone(tmp_path / "lock"):
        pass


def test_an_older_config_is_compared_in_its_own_form(tmp_path):
    """A key that came later is left out, and written once the run goes on."""
    with runs.open_run(tmp_path, {"beta": 1, "epochs": 3}):
        pass
    config = {"beta": 1, "epochs": 3, "later": "usual"}
    with pytest.raises(UsageError, match="holds no later, you asked `later=usual`"):
        runs.open_run(tmp_path, config)

    def as_of(held):
        return {name: value for name, value in config.items() if name in held}

    with runs.open_run(tmp_path, config, as_of=as_of) as run:
        assert run.resumed
        assert run.config == config
        run.write_config()
    with runs.open_run(tmp_path, config) as run:
        assert run.resumed


@pytest.mark.parametrize("runs_held", [5, "x", [1], [[]], {"a": 1}])
def test_runs_that_are_no_settings_are_not_ours(tmp_path, runs_held):
    stored = {"schema": 1, "config": {"runs": runs_held}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UsageError, match=r"config\.json is damaged or not ours"):
        runs.open_run(tmp_path, CONFIG)


@pytest.mark.fault("R15")
@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\tb", "a\x7f", "a\udcff"])
def test_names_that_no_line_can_show_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="must be UTF-8 text without control characters"):
        runs.open_run(tmp_path / name, CONFIG)
    assert not list(tmp_path.iterdir())


SAYING = """
import os, sys
from vae_jax import console
for is_error in (False, True):
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2 if is_error else 1)
    for _ in range(3):
        console.say("β" * 10_000, is_error=is_error)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_printed_does_not_end_the_program():
    done = subprocess.run([sys.executable, "-c", SAYING], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_line_goes_where_it_is_said_to_go(capsys):
    console.say("a")
    console.say("b", is_error=True)
    assert capsys.readouterr() == ("a\n", "b\n")


HOSTILE = [
    "a\x1b[2J\x1b]0;b\x07",
    "a\nerror: forged",
    "\u202egnp.exe",
    "a\rb",
    "\x9b31m",
    "\udcff",
    "\u2028",
]


@pytest.mark.fault("R18")
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_line_steers_no_terminal_and_forges_no_other(tmp_path, capsys, text):
    console.say(text)
    console.say(text, is_error=True)
    console.say_page(f"{text}\n{text}")
    with runs.open_run(tmp_path / "x", {}) as run:
        run.log(text, echo=True)
    out, err = capsys.readouterr()
    logged = (tmp_path / "x" / "run.log").read_text()
    for lines, num in ((out, 4 + text.count("\n") * 2), (err, 1), (logged, 1)):
        assert lines.count("\n") == len(lines.splitlines()) == num
        assert all(line.isprintable() for line in lines.splitlines())


def test_a_line_is_bounded_and_keeps_its_ends():
    line = errors.printable("begin" + "x" * 10**6 + "end")
    assert len(line) <= 4000
    assert line.startswith("beginxx")
    assert line.endswith("xxend")
    assert "(1,000,008 characters)" in line
    assert errors.printable("β ± −σ 日本") == "β ± −σ 日本"
