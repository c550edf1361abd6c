"""No number of another run or member, or that somebody has changed, is taken for a run's own."""

import json
import math
import pathlib
import shutil

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import slow

from vae_jax.errors import StorageError, UsageError, VaeJaxError
from vae_jax.lab import cluster, metrics, pictures, places, report, sweep, sweep_results
from vae_jax.lab.config import Plan
from vae_jax.storage import checkpoints, members, runs, seals

pytestmark = pytest.mark.usefixtures("traced_once")

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
FLAGS = {"widths": "4", "latent_dim": "2", "epochs": "1", "learning_rate": "0.001", "beta": "4"}
"""Of the single run among the fixtures."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


# --- The seal itself


@settings(max_examples=40, deadline=None)
@given(
    body=st.dictionaries(st.text(max_size=4).filter(lambda k: k != "seal"), VALUES, max_size=4),
    owner=st.lists(st.none() | st.integers() | st.text(max_size=4), max_size=2),
    name=st.text(max_size=4),
    value=VALUES,
)
def test_a_seal_fits_its_body_and_its_owner_alone(body, owner, name, value):
    stored = json.loads(json.dumps(seals.seal(body, *owner)))
    assert seals.unseal(stored, *owner) == seals.plain(body)
    assert seals.unseal(stored, *owner, "another") is None
    assert seals.unseal(seals.plain(body), *owner) is None
    changed = {**stored, name: seals.plain(value)}
    # 1 and 1.0 are equal, and are not written alike
    if changed != stored or json.dumps(changed, sort_keys=True) != json.dumps(
        stored, sort_keys=True
    ):
        assert seals.unseal(changed, *owner) is None


@pytest.mark.parametrize(
    "stored", [None, 3, [], "seal", {}, {"seal": 3}, {"seal": "0" * 64, "a": 1}]
)
def test_a_value_without_a_seal_is_refused(stored):
    assert seals.unseal(stored) is None


def test_arrays_and_numbers_that_json_lacks_are_sealed_as_they_are_read():
    body = {"a": np.arange(3.0), "b": math.inf, "c": (np.float32(0.1), None)}
    stored = json.loads(json.dumps(seals.seal(body, "x")))
    assert seals.unseal(stored, "x") == {
        "a": [0, 1, 2],
        "b": "inf",
        "c": [float(np.float32(0.1)), None],
    }


# --- Runs: trained once, copied for each attack


def train(workdir, **flags):
    values = {**FLAGS, "workdir": str(workdir), **flags}
    sweep.main(values, Plan(), [f"--{name}={value}" for name, value in values.items()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs that differ in their seed, and a sweep of two: directories that nobody changes."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(FIXTURES / "schema2" / "single", folder / "seed0")
    shutil.copytree(FIXTURES / "schema2" / "sweep", folder / "sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: {})
        train(folder / "seed1", seed="1")
    kept = {"objective": {"values": {"loss": 1.5}}}
    for name in ("seed0", "seed1", "sweep/programs/all"):
        report.write(folder / name, "member-0.json", kept)
    return folder


@pytest.fixture
def copies(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: {})
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: {})
    for directory in trained.iterdir():
        shutil.copytree(directory, tmp_path / directory.name)
    return tmp_path


def params_of(directory, member=0):
    return members.load_member(directory, member).params


def leaves_of(directory):
    return jax.tree.leaves(params_of(directory))


@pytest.mark.fault("R17")
def test_checkpoints_of_another_run_are_neither_loaded_nor_resumed(copies, trained, capsys):
    shutil.rmtree(copies / "seed0" / "checkpoints")
    shutil.copytree(trained / "seed1" / "checkpoints", copies / "seed0" / "checkpoints")
    with pytest.raises(StorageError, match="no checkpoint that verifies"):
        members.load_member(copies / "seed0")
    (copies / "seed0" / "result.json").unlink()
    train(copies / "seed0", seed="0")
    assert "it is of another run" in capsys.readouterr().out
    # close, not equal: the fixture may have been trained by another version of JAX
    pairs = zip(leaves_of(copies / "seed0"), leaves_of(trained / "seed0"), strict=True)
    for again, whole in pairs:
        np.testing.assert_allclose(again, whole, atol=1e-4)


@pytest.mark.fault("R17")
def test_a_checkpoint_without_an_owner_is_of_no_sealed_run(copies):
    for path in (copies / "seed0" / "checkpoints").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        for gone in ("run", "sha256"):
            manifest.pop(gone)
        path.write_bytes(checkpoints._encode(manifest))
    with pytest.raises(StorageError, match="no checkpoint that verifies"):
        members.load_member(copies / "seed0")


@pytest.mark.fault("R17")
def test_an_older_run_takes_no_checkpoint_of_a_sealed_one(copies, tmp_path):
    shutil.copytree(FIXTURES / "schema1" / "single", tmp_path / "old")
    members.load_member(tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "checkpoints")
    shutil.copytree(copies / "seed0" / "checkpoints", tmp_path / "old" / "checkpoints")
    with pytest.raises(StorageError, match="no checkpoint that verifies"):
        members.load_member(tmp_path / "old")


@pytest.mark.fault("R17")
def test_a_result_that_was_edited_is_computed_again(copies, trained, capsys):
    path = copies / "seed0" / "result.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "loss": stored["loss"] - 1}))
    assert members.read_results(copies / "seed0") is None
    train(copies / "seed0", seed="0")
    capsys.readouterr()
    again, whole = (members.read_results(f / "seed0")[0] for f in (copies, trained))
    assert again["loss"] == pytest.approx(whole["loss"], rel=1e-4)


@pytest.mark.fault("R17")
def test_results_of_another_run_or_member_are_none(copies, trained):
    shutil.copy(trained / "seed1" / "result.json", copies / "seed0" / "result.json")
    assert members.read_results(copies / "seed0") is None
    path = copies / "sweep" / "programs" / "all" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert members.read_results(path.parent) is None
    alone = json.loads((trained / "seed0" / "result.json").read_text())
    path.write_text(json.dumps([alone, json.loads(path.read_text())[0]]))
    assert members.read_results(path.parent) is None


@pytest.mark.fault("R17")
@pytest.mark.parametrize("change", ["flip", "drop", "other"])
def test_rows_that_are_not_as_written_are_not_read(copies, trained, change):
    change_rows(copies, trained, change)
    with pytest.raises(StorageError, match="was changed after it was written"):
        members.read_rows(copies / "seed0")


@pytest.mark.fault("R17")
@pytest.mark.parametrize("change", ["flip", *slow("drop", "other")])
def test_rows_that_are_not_as_written_are_set_aside(copies, trained, change, capsys):
    content = change_rows(copies, trained, change)
    (copies / "seed0" / "result.json").unlink()
    train(copies / "seed0", seed="0", epochs="2")
    assert "metrics.csv is not as it was written" in capsys.readouterr().out
    assert (copies / "seed0" / "damaged" / "metrics.csv").read_bytes() == content
    assert [row["epoch"] for row in members.read_rows(copies / "seed0")] == [2]


def change_rows(copies, trained, change):
    """Changes the rows of a run; returns what its file then holds."""
    path = copies / "seed0" / "metrics.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    digit = lines[1].index(b".") + 2
    flipped = lines[1][:digit] + bytes([lines[1][digit] ^ 1]) + lines[1][digit + 1 :]
    content = {
        "flip": [lines[0], flipped],
        "drop": lines[:1],
        "other": (trained / "seed1" / "metrics.csv").read_bytes().splitlines(keepends=True),
    }[change]
    path.write_bytes(b"".join(content))
    return b"".join(content)


def test_rows_appended_after_a_checkpoint_are_dropped(copies):
    path = copies / "seed0" / "metrics.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1] + b"torn")
    (copies / "seed0" / "result.json").unlink()
    train(copies / "seed0", seed="0")
    assert path.read_bytes() == whole
    assert not (copies / "seed0" / "damaged").exists()


@pytest.mark.fault("R17")
def test_results_of_another_run_are_not_kept(copies, trained, capsys):
    kept = pathlib.Path("evaluation", "member-0.json")
    held = report.held(copies / "seed0", "member-0.json")
    assert held["objective"]["values"]["loss"] > 0
    shutil.copy(trained / "seed1" / kept, copies / "seed0" / kept)
    assert report.held(copies / "seed0", "member-0.json") == {}
    program = copies / "sweep" / "programs" / "all"
    shutil.copy(program / kept, program / kept.with_name("member-1.json"))
    assert report.held(program, "member-1.json") == {}
    assert report.held(program, "member-0.json") != {}


@pytest.mark.fault("R17")
def test_a_config_whose_id_was_changed_is_refused(copies):
    path = copies / "seed0" / "config.json"
    stored = json.loads(path.read_text())
    other = json.loads((copies / "seed1" / "config.json").read_text())
    for wrong in ({**stored, "id": other["id"]}, {k: v for k, v in stored.items() if k != "id"}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UsageError, match="was changed after it was written"):
            members.read_results(copies / "seed0")


@pytest.mark.fault("R17")
def test_rows_that_no_result_vouches_for_are_not_read(copies, trained):
    directory = copies / "seed0"
    for name in ("result.json", "metrics.csv"):
        shutil.copy(trained / "seed1" / name, directory / name)
    with pytest.raises(StorageError, match="no results say which rows are this run's"):
        members.read_rows(directory)
    (directory / "result.json").unlink()
    with pytest.raises(StorageError, match="train it to its end"):
        members.read_rows(directory)


@pytest.mark.fault("R17")
@pytest.mark.parametrize("wrong", ["--epochs=7", "--beta=2", "--seed=3"])
def test_flags_beside_a_config_change_no_number(copies, wrong):
    """`members.json` has no seal: what it says is held against the config."""
    path = copies / "seed0" / "members.json"
    whole = metrics.load(copies / "seed0", 0).experiment
    (flags,) = json.loads(path.read_text())
    name = wrong.partition("=")[0]
    path.write_text(json.dumps([[*(f for f in flags if not f.startswith(f"{name}=")), wrong]]))
    if name == "--epochs":
        again = metrics.load(copies / "seed0", 0).experiment
        assert (again.config.epochs, again.num_steps) == (whole.config.epochs, whole.num_steps)
    else:
        with pytest.raises(UsageError, match=f"was trained with `{name[2:]}="):
            metrics.load(copies / "seed0", 0)


@pytest.mark.fault("R17")
def test_programs_of_a_sweep_in_one_anothers_place_are_missing(copies):
    """Neither its table nor its curves have their numbers, and no worker takes them for its own."""
    directory = copies / "sweep"
    (whole,) = sweep.group(sweep.make_configs({**FLAGS, "beta": "1,4"}))
    assert None not in sweep_results.gather([whole], directory, 2)
    assert sweep_results.ended([whole], directory) == [whole]
    for other in ({"beta": "4,1"}, {"beta": "1,2"}, {"beta": "1"}, {"beta": "1,4", "seed": "1"}):
        configs = sweep.make_configs({**FLAGS, **other})
        program = whole._replace(configs=configs, members=list(range(len(configs))))
        assert sweep_results.gather([program], directory, 2) == [None, None]
        executor = sweep._executor(Plan(executor="local"), [program], directory)
        task = cluster.Task(program.name, [], directory / "programs" / program.name)
        assert not executor["is_complete"](task)
    assert sweep._executor(Plan(executor="local"), [whole], directory)["is_complete"](task)


@pytest.mark.fault("R17")
def test_scores_of_udr_are_of_the_run_that_was_compared(copies):
    """A program that takes another's place by name does not take its score."""
    directory = copies / "sweep"
    held = places.choose(directory, None)
    own = members.owner(held[0].directory)
    for owner, has_scores in ((own, True), ("0" * 64, False), (None, False)):
        runs_of = [
            {"program": p.directory.name, "member": p.member, "step": 15, "id": owner} for p in held
        ]
        group = {"runs": runs_of, "scores": [0.5, 0.25], "standard_errors": [0.1, 0.2]}
        report.write(directory, "udr.json", {"udr": {"values": {"groups": [group]}}})
        rows = report.rows_of(directory, held, [15, 15])
        assert [row.get("udr.udr") for row in rows] == ([0.5, 0.25] if has_scores else [None] * 2)


# --- A bit anywhere


@pytest.mark.fault("R17")
def test_a_flipped_bit_in_any_small_file_changes_no_number(copies):
    directory = copies / "seed0"
    whole = read_all(directory)
    assert None not in whole.values()
    rng = np.random.default_rng(0)
    files = ("config.json", "result.json", "metrics.csv", "evaluation/member-0.json")
    accepted = 0
    for name in files:
        path = directory / name
        content = path.read_bytes()
        for place in rng.integers(0, 8 * len(content), 40).tolist():
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            for what, value in read_all(directory).items():
                accepted += value is not None and value != whole[what]
        path.write_bytes(content)
    assert accepted == 0


def read_all(directory):
    """Every number that is read of a run's small files; None in place of what is refused."""
    found = {}
    for name, read in {
        "results": members.read_results,
        "rows": members.read_rows,
        "kept": lambda d: report.held(d, "member-0.json") or None,
    }.items():
        try:
            found[name] = read(directory)
        except VaeJaxError:
            found[name] = None
    return found


# --- Directories of schema 1 go on


def test_a_directory_without_seals_is_read_and_goes_on_without(tmp_path):
    shutil.copytree(FIXTURES / "schema1" / "single", tmp_path / "run")
    assert members.owner(tmp_path / "run") is None
    assert members.read_results(tmp_path / "run") is not None
    assert len(members.read_rows(tmp_path / "run")) == 1
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    with runs.open_run(tmp_path / "run", stored["config"]) as run:
        run.write_config()
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == stored
