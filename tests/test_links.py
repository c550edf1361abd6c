"""No name in a run directory, whatever it links to, has anything written outside of it."""

import fcntl
import os

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import disk
from vae_jax.errors import LockedError, StorageError, VaeJaxError
from vae_jax.lab import pictures, report
from vae_jax.lab.executors import local, slurm
from vae_jax.storage import checkpoints, locks, runs

CONFIG = {"beta": 4.0, "epochs": 2}


@pytest.fixture
def victim(tmp_path):
    """A folder that no run may touch, with a file."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("theirs\n")
    yield folder
    assert (folder / "file").read_text() == "theirs\n"
    assert [path.name for path in folder.iterdir()] == ["file"]


def opened(tmp_path):
    return runs.open_run(tmp_path / "run", CONFIG)


def _told(act, *arguments):
    """The one line in which an act ends, or None."""
    try:
        act(*arguments)
    except VaeJaxError as error:
        line = str(error)
    else:
        return None
    assert "\n" not in line
    return line


# --- Hard links: the name is ours, the file is another's too


WRITES = {
    "lock": lambda run: None,
    "run.log": lambda run: run.log("a line"),
    "metrics.csv": lambda run: run.append_rows([{"step": 1, "loss": 2.0}]),
    "result.json": lambda run: run.write_json("result.json", {"status": "done"}),
    "sweep.csv": lambda run: run.write_table("sweep.csv", [{"beta": 1}]),
    "command.txt": lambda run: run.write_command(["a"]),
    "config.json": lambda run: run.write_config(),
    ".result.json.tmp": lambda run: run.write_json("result.json", {"status": "done"}),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard", "symbolic"])
def test_the_target_of_a_link_is_not_changed(tmp_path, victim, link, name):
    opened(tmp_path).close()
    path = tmp_path / "run" / name
    path.unlink(missing_ok=True)
    link(victim / "file", path)

    def write():
        with opened(tmp_path) as run:
            WRITES[name](run)

    if _told(write) is None and path.exists():
        # a new file has the name, of this run alone
        assert not os.path.samestat(os.lstat(path), os.stat(victim / "file"))


@pytest.mark.parametrize("name", ["run.log", "metrics.csv"])
def test_appending_keeps_the_content_and_breaks_hard_links(tmp_path, name):
    """A copy by `cp -al` shares each file with the original until either is written."""
    with opened(tmp_path) as run:
        WRITES[name](run)
        before = (run.directory / name).read_bytes()
        copy = tmp_path / "copy"
        os.link(run.directory / name, copy)
        WRITES[name](run)
        assert copy.read_bytes() == before
        assert (run.directory / name).read_bytes().startswith(before)
        assert len((run.directory / name).read_bytes()) > len(before)


def test_copies_that_share_a_lock_are_parted_once_nobody_holds_it(tmp_path):
    copied = tmp_path / "copied"
    with opened(tmp_path) as run:
        copied.mkdir()
        for name in ("config.json", "lock"):
            os.link(run.directory / name, copied / name)
        # who holds it would not know of a new file by that name
        for place in (run.directory, copied):
            with pytest.raises(LockedError, match=f"{place.name} is in use by process "):
                runs.open_run(place, CONFIG)
    with opened(tmp_path) as run, runs.open_run(copied, CONFIG):
        with pytest.raises(LockedError):
            opened(tmp_path)
        with pytest.raises(LockedError):
            runs.open_run(copied, CONFIG)


# --- Symbolic links in place of folders


def save(run):
    with checkpoints.Checkpoints(run.directory / "checkpoints") as store:
        store.save(1, {"w": jnp.ones(3)}, {})
        store.save(2, {"w": jnp.ones(3)}, {})


def draw(run):
    pictures.draw_each({"a.txt": lambda: ["line"]}, run.directory, ["plots"])


def damage(run):
    run.write_table("metrics.csv", [{"step": 1}])
    run.keep_rows(1, "0" * 64)


def keep(run):
    report.write(run.directory, "member-0.json", {"elbo": {"values": {"elbo": 1.0}}})


def submit(run):
    slurm._record(run.directory, {"a": [slurm.Job("1")]})


def work(run):
    local.run_local([], run.directory, num_workers=1)


FOLDERS = {
    "plots": draw,
    "damaged": damage,
    "evaluation": keep,
    "logs": work,
    "checkpoints": save,
    "checkpoints/.staging": save,
    "jobs.json": submit,
    ".jobs.json.tmp": submit,
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_place_of_a_folder_leads_nothing_out(tmp_path, victim, name):
    with opened(tmp_path) as run:
        path = run.directory / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(victim if "json" not in name else victim / "file")
        told = _told(FOLDERS[name], run)
        assert told is None or name.split("/")[0] in told


# --- A race: the link comes between a look and a write


@pytest.mark.parametrize("name", ["plots", "evaluation", "damaged"])
@pytest.mark.parametrize("call", ["replace", "set_aside", "append"])
def test_a_link_that_comes_at_the_last_moment_leads_nothing_out(
    tmp_path, victim, monkeypatch, name, call
):
    with opened(tmp_path) as run:
        late = getattr(disk, call)

        def swapped(*arguments):
            place = run.directory / name
            if place.is_dir() and not place.is_symlink():
                place.rename(run.directory / "moved")
                place.symlink_to(victim)
            return late(*arguments)

        monkeypatch.setattr(disk, call, swapped)
        _told(FOLDERS[name], run)


def test_a_step_is_written_where_no_other_user_can_put_a_link(tmp_path, monkeypatch):
    seen, write = [], checkpoints.Checkpoints._write

    def look(self, staged, *arguments):
        seen.append(os.stat(staged.parent).st_mode & 0o777)
        # whoever renames the folder has what is written renamed with it
        os.rename(tmp_path / "c" / ".staging", tmp_path / "c" / "moved")
        os.symlink(tmp_path, tmp_path / "c" / ".staging")
        write(self, staged, *arguments)

    monkeypatch.setattr(checkpoints.Checkpoints, "_write", look)
    with checkpoints.Checkpoints(tmp_path / "c") as store:
        store.save(3, {"w": jnp.arange(3.0)}, {})
        os.unlink(tmp_path / "c" / ".staging")
        restored = store.read()
    assert seen == [0o700]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    np.testing.assert_array_equal(restored.state["w"], [0, 1, 2])


# --- What the rest is made of


def test_a_folder_is_held_whatever_takes_its_name(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with disk.folder(tmp_path, ["a", "b"]) as held:
        (tmp_path / "a" / "b").rename(tmp_path / "moved")
        disk.replace(held, "file", b"x")
    assert (tmp_path / "moved" / "file").read_bytes() == b"x"
    (tmp_path / "a" / "b").symlink_to(tmp_path / "moved")
    for make in (False, True):
        with pytest.raises(OSError, match="is a link"), disk.folder(tmp_path, "ab", make=make):
            pass


def test_a_lock_whose_file_is_replaced_again_and_again_ends_in_one_line(tmp_path, monkeypatch):
    """Each time the file is locked, somebody else has put another one in its place."""
    path, attempts = tmp_path / "lock", []

    def replaced(path, how, held):
        attempts.append(path)

    monkeypatch.setattr(locks, "_locked_if_alone", replaced)
    with pytest.raises(StorageError, match="another file took its place 1000 times: end what"):
        locks.locked(path, fcntl.LOCK_EX)
    assert len(attempts) == 1000
