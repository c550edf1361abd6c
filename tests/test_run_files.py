"""The small files of a run, which may be damaged, changed or a stranger's: refused in one line."""

import json
import os
import pathlib
import shutil

import pytest

from vae_jax.cli.commands import evaluate
from vae_jax.errors import DataError, StorageError, UsageError
from vae_jax.lab import places, report, tables
from vae_jax.lab.programs import Program
from vae_jax.storage import csv_rows, members, runs

FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "schema1"
CONFIG = {"beta": "1", "latent_dim": 2, "epochs": 3, "data_sha256": "a" * 64, "dataset": "x.npy"}


@pytest.fixture
def held(tmp_path):
    """The directory of a run that has begun."""
    with runs.open_run(tmp_path / "run", CONFIG):
        return tmp_path / "run"


def edit(directory, change):
    path = directory / "config.json"
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def measure(directory):
    evaluate.main({**dict.fromkeys(evaluate.flag_texts()), "run": str(directory)})


def refused(kind, act):
    """What an error says, in one line."""
    with pytest.raises(kind) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What is no file


def pipe(path, outside):
    os.mkfifo(path)


def link(path, outside):
    (outside / "secret").write_text("{}")
    path.symlink_to(outside / "secret")


def device(path, outside):
    path.symlink_to("/dev/zero")


def folder(path, outside):
    path.mkdir()


def large(path, outside):
    with path.open("wb") as file:
        file.truncate(2**30 + 1)


READERS = {
    "config.json": lambda run: runs.open_run(run, CONFIG),
    "config.json ": members.num_members,
    "result.json": members.read_results,
    "results.json": members.read_results,
    "metrics.csv": lambda run: csv_rows.read_rows(run / "metrics.csv"),
    "run.log": None,
}


@pytest.mark.fault("R14")
@pytest.mark.parametrize("make", [pipe, link, device, folder, large])
@pytest.mark.parametrize("name", READERS)
def test_pipes_and_devices_are_neither_read_nor_waited_for(held, tmp_path, make, name):
    if name == "run.log":
        with runs.open_run(held, CONFIG) as run:
            if make is not large:
                make(held / "run.log", tmp_path)
                refused((StorageError, UsageError), lambda: run.log("a line"))
        return
    path = held / name.strip()
    path.unlink(missing_ok=True)
    make(path, tmp_path)
    assert f"{path} cannot be read (" in refused(StorageError, lambda: READERS[name](held))


@pytest.mark.fault("R14")
@pytest.mark.parametrize("make", [pipe, link, device, folder])
def test_kept_numbers_that_are_no_file_count_as_none(held, tmp_path, make, capsys):
    kept = held / "evaluation" / "member-0.json"
    kept.parent.mkdir()
    make(kept, tmp_path)
    assert report.held(held, kept.name) == {}
    report.write(held, kept.name, {"nll": {"values": {"nll": 1.0}}})
    assert "is now member-0.json.damaged" in capsys.readouterr().out
    assert report.held(held, kept.name)["nll"]["values"] == {"nll": 1.0}
    assert [p.read_text() for p in tmp_path.glob("secret")] == (["{}"] if make is link else [])


# --- What leads out of the directory


@pytest.mark.fault("R14")
@pytest.mark.parametrize("kind", ["single", "sweep"])
def test_nothing_is_kept_outside_of_a_run(tmp_path, kind):
    shutil.copytree(FIXTURES / kind, tmp_path / "run")
    (program,) = places.programs_of(tmp_path / "run")
    (tmp_path / "outside").mkdir()
    (program / "evaluation").symlink_to(tmp_path / "outside")
    message = refused(UsageError, lambda: measure(tmp_path / "run"))
    assert message.startswith(f"'evaluation': must stay inside {program}, ")
    keeper = report.Keeper()
    for act in (
        lambda: keeper.do(program, lambda: None, program),
        lambda: keeper.write(program, "x.json", {}),
        lambda: report.write(program, "x.json", {}),
        lambda: report.held(program, "x.json"),
    ):
        assert refused(UsageError, act) == message
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.fault("R14")
@pytest.mark.parametrize("moved", ["programs", "programs/all"])
def test_programs_lie_inside_of_their_sweep(tmp_path, moved):
    shutil.copytree(FIXTURES / "sweep", tmp_path / "run")
    (tmp_path / "run" / moved).rename(tmp_path / "outside")
    (tmp_path / "run" / moved).symlink_to(tmp_path / "outside")
    assert "must stay inside" in refused(UsageError, lambda: measure(tmp_path / "run"))
    assert not list((tmp_path / "outside").rglob("evaluation"))


def test_links_that_stay_inside_are_followed(held):
    (held / "elsewhere").mkdir()
    (held / "evaluation").symlink_to("elsewhere")
    report.write(held, "x.json", {"nll": {"values": {}}})
    assert os.listdir(held / "elsewhere") == ["x.json"]


# --- Damaged, or changed


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"schema": 1e999, "config": {"latent_dim": 2}, "sha256": ""}',
        '{"schema": [], "config": {"latent_dim": 2}, "sha256": ""}',
        '{"schema": Infinity}',
        '{"schema": 1, "config": {"latent_dim": Infinity}}',
        "\xff",
    ],
)
def test_damaged_configs_are_refused_in_a_line(held, text):
    (held / "config.json").write_bytes(text.encode("latin-1"))
    assert "is damaged or not ours" in refused(UsageError, lambda: runs.open_run(held, CONFIG))
    assert "is not the config of a run" in refused(UsageError, lambda: members.num_members(held))


@pytest.mark.parametrize("latent_dim", ["2", float("inf"), -1, None, [2], 4097, 10**12, 10**400])
def test_a_config_without_latent_dim_is_refused(tmp_path, latent_dim):
    with runs.open_run(tmp_path, {"latent_dim": latent_dim}):
        pass
    message = refused(UsageError, lambda: members.num_members(tmp_path))
    assert "is not the config of a run" in message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("schema", [-1, 0, True, 1.0, "1", None]),
        ("epochs", ["x", [], float("inf"), -1, 2.0, None, True]),
    ],
)
def test_keys_outside_the_hash_must_have_their_types(held, name, values):
    for value in values:
        edit(held, lambda s, v=value: (s if name == "schema" else s["config"]).update({name: v}))
        assert "damaged or not ours" in refused(UsageError, lambda: runs.open_run(held, CONFIG))
        refused(UsageError, lambda: members.num_members(held))


@pytest.mark.parametrize("kind", ["single", "sweep", "sweep/programs/all"])
def test_a_config_that_was_changed_is_refused(tmp_path, kind):
    directory = tmp_path / "run"
    shutil.copytree(FIXTURES / kind, directory)
    path = directory / "config.json"
    before = path.read_text()
    path.write_text(before.replace('"adam"', '"sgd"'))
    message = f"{path} was changed after it was written (its SHA-256 differs): restore it, or "
    assert refused(UsageError, lambda: runs.open_run(directory, {})).startswith(message)
    assert refused(UsageError, lambda: members.num_members(directory)).startswith(message)
    path.write_text(before.replace('"epochs": 1', '"epochs": 2'))
    assert runs.parse_config(path.read_bytes(), path)["schema"] == 1


@pytest.mark.parametrize("name", ["epochs", "later"])
def test_a_resumed_run_has_the_hash_of_its_new_config(held, name):
    def as_of(config):
        return {k: v for k, v in changed.items() if k in config}

    changed = {**CONFIG, name: 5}
    with runs.open_run(held, changed, as_of=as_of) as run:
        run.write_config()
    with runs.open_run(held, changed) as run:
        assert run.resumed


def test_other_data_are_told_as_such(held):
    changed = {**CONFIG, "data_sha256": "b" * 64}
    message = refused(DataError, lambda: runs.open_run(held, changed))
    for word in ("a" * 64, "b" * 64, "choose another `workdir`", "`overwrite=True`"):
        assert word in message
    assert "data_sha256" not in message
    changed |= {"beta": "4"}
    assert "holds `beta=1`, you asked `beta=4`" in refused(
        UsageError, lambda: runs.open_run(held, changed)
    )


# --- Rows


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"run,step,loss\n0,5,1.0\n9,5,1.0\n", "has a damaged row (run 9, step 5)"),
        (b"run,step,loss\n-1,5,1.0\n", "has a damaged row (run -1, step 5)"),
        (b"run,step,loss\nx,5,1.0\n", "has a damaged row (run x, step 5)"),
        (b"run,step,loss\n0,,1.0\n", "has a damaged row (run 0, step None)"),
        (b"run,step,loss\n0,5,low\n", "has a damaged row (run 0, step 5)"),
        (b"step,loss\n5,1.0\n", "has a damaged row (run None, step 5)"),
        (b"run,step,loss\n0,5\n", "has a damaged row (b'0,5"),
        (b"run,step,loss\n0,5," + b"1" * 200_000 + b"\n", "has a damaged row (b'0,5"),
        (b"run,step,loss\n\xff\xfe,5,1.0\n", "is no UTF-8 text"),
    ],
)
def test_damaged_rows_of_a_program_are_named(tmp_path, text, told):
    programs = [Program("all", [3, 7], [])]
    path = tmp_path / "programs" / "all" / "metrics.csv"
    path.parent.mkdir(parents=True)
    assert tables.curves(programs, tmp_path) == []
    path.write_bytes(b"run,step,loss\n0,5,1.5\n1,5,nan\n1,")
    first, second = tables.curves(programs, tmp_path)
    assert (first, second["run"]) == ({"run": 3, "step": 5, "loss": 1.5}, 7)
    path.write_bytes(text)
    message = refused(StorageError, lambda: tables.curves(programs, tmp_path))
    assert message.startswith(f"{path} {told}")
    assert message.endswith(": repair it or choose `overwrite=True`")


def test_rows_of_a_program_of_one_run_are_its_own(tmp_path):
    path = tmp_path / "programs" / "all" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("step,loss\n5,1.5\n")
    (row,) = tables.curves([Program("all", [4], [])], tmp_path)
    assert row == {"run": 4, "step": 5, "loss": 1.5}


@pytest.mark.parametrize(
    "groups", [3, [3], [{"runs": []}], [{"runs": [{}], "scores": [1], "standard_errors": [1]}]]
)
def test_damaged_scores_count_as_none(held, groups):
    report.write(held, "udr.json", {"udr": {"values": {"groups": groups}}})
    assert report.rows_of(held, [], []) == []
