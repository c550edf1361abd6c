"""A run directory is read wherever it lies, whoever may write in it, whatever version wrote it."""

import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import quick
from properties import slow

from vae_jax.cli.commands import evaluate
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, metrics, pictures, places, stored, sweep
from vae_jax.lab import train as train_lib
from vae_jax.lab.config import Plan
from vae_jax.storage import members, runs, seals

pytestmark = pytest.mark.usefixtures("traced_once")

ROOT = pathlib.Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
SCHEMAS = sorted(path.name for path in FIXTURES.glob("schema*"))
OLDEST = [SCHEMAS[0], *slow(*SCHEMAS[1:])]
KINDS = ("single", "sweep")
CLOSE = 1e-4
"""Of numbers in float32 from another version of JAX, or another processor."""
NEWER = (
    *("adam_b1", "hop", "init_scale", "missing_values", "scaling", "teacher_dropout", "window"),
    *("free_bits", "posterior", "prior", "prior_phase", "skip_norm"),
    *("background", "crop", "frames", "icc", "pad", "resize"),
    *("frame_hop", "frame_length", "mel_bands", "sound"),
    *("kinds", "label", "id", "ignore", "split_column"),
    *("csv", "layer", "test_data", "train_where"),
    *("input_dropout", "tied", "output_activation"),
    *("user", "item", "rating", "rating_at_least", "min_ratings", "min_item_ratings"),
)
"""Flags that an older version may not have had; some are None where they are not given, not all."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: [])


@pytest.fixture(params=SCHEMAS)
def schema(request):
    return request.param


def copied(schema, kind, to):
    """A copy that may be written."""
    shutil.copytree(FIXTURES / schema / kind, to)
    return to


def flags_of(directory):
    words = shlex.split((directory / "command.txt").read_text())
    return dict(word.removeprefix("--").split("=", 1) for word in words[3:])


def resume(directory, **values):
    train({**flags_of(directory), "workdir": str(directory), **values})


def train(values):
    sweep.main(values, Plan(), [f"--{name}={value}" for name, value in values.items()])


def measure(directory, **values):
    names = dict.fromkeys(evaluate.flag_texts())
    evaluate.main({**names, "run": str(directory), "metrics": "objective", **values})


def assert_measured_as_stored(directory):
    """Every run of a directory comes to the numbers that its training left."""
    directory = pathlib.Path(directory)
    for program in places.programs_of(directory):
        for member, result in enumerate(members.read_results(program)):
            kept = json.loads((program / "evaluation" / f"member-{member}.json").read_text())
            values = kept["metrics"]["objective"]["values"]
            for name in ("loss", "elbo", "rate", "distortion", "elbo_standard_error"):
                assert values[name] == pytest.approx(result[name], rel=CLOSE)


def configs_in(directory):
    return [path for path in directory.rglob("config.json") if "checkpoints" not in path.parts]


def edit(path, change):
    """Changes a file of a run; a config gets the hash that it would have been written with."""
    stored = json.loads(path.read_text())
    change(stored)
    if path.name == "config.json":
        held = {name: v for name, v in stored["config"].items() if name != "epochs"}
        stored["sha256"] = hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(stored))


def snapshot(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# --- Of another version


def test_every_schema_has_a_fixture_and_is_small():
    assert [f"schema{number}" for number in range(1, runs.SCHEMA + 1)] == SCHEMAS
    sizes = [path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()]
    assert sum(sizes) < 200 * 2**10 * len(SCHEMAS)


@pytest.mark.parametrize("schema", OLDEST, indirect=True)
@pytest.mark.parametrize("kind", [*slow(KINDS[0]), KINDS[1]])
def test_runs_of_older_versions_are_evaluated(schema, kind, tmp_path):
    directory = copied(schema, kind, tmp_path / kind)
    measure(directory)
    assert_measured_as_stored(directory)


@pytest.mark.parametrize("schema", OLDEST, indirect=True)
@pytest.mark.parametrize("kind", [KINDS[0], *slow(KINDS[1])])
def test_runs_of_older_versions_resume(schema, kind, tmp_path, capsys):
    directory = copied(schema, kind, tmp_path / kind)
    (program,) = places.programs_of(directory)
    before = (program / "metrics.csv").read_bytes()
    resume(directory)
    assert "complete already" in capsys.readouterr().out
    assert (program / "metrics.csv").read_bytes() == before
    resume(directory, epochs="2")
    assert "resuming at step 15" in capsys.readouterr().out
    after = (program / "metrics.csv").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 2 * before.count(b"\n") - 1
    # as one that was trained by this version alone
    resume(directory, epochs="2", workdir=str(tmp_path / "afresh"))
    (afresh,) = places.programs_of(tmp_path / "afresh")
    pairs = zip(members.read_results(program), members.read_results(afresh), strict=True)
    for resumed, whole in pairs:
        assert resumed["step"] == whole["step"] == 30
        for name in ("elbo", "rate", "distortion"):
            assert resumed[name] == pytest.approx(whole[name], rel=CLOSE)


def hash_of(configs, without=()):
    """What a sweep's directory has as the hash of its runs, by hand."""
    kept = [{k: v for k, v in c.identity().items() if k not in without} for c in configs]
    return hashlib.sha256(json.dumps([kept, None], sort_keys=True).encode()).hexdigest()


def make_older(directory):
    """Leaves out of a directory what an older version would not have put down."""
    configs = sweep.make_configs(flags_of(directory))

    def leave_out(stored):
        # the version that wrote the fixture may have lacked some itself
        lacking = [name for name in NEWER if name not in stored["config"]]
        for settings in (stored["config"], *stored["config"].get("runs", [])):
            for name in NEWER:
                settings.pop(name, None)
        if "runs_sha256" in stored["config"]:
            assert stored["config"]["runs_sha256"] == hash_of(configs, lacking)
            stored["config"]["runs_sha256"] = hash_of(configs, NEWER)
        assert not set(NEWER) & set(json.dumps(stored["config"]).split('"'))

    for path in configs_in(directory):
        edit(path, leave_out)


@pytest.mark.parametrize("kind", KINDS)
def test_flags_that_came_later_count_as_their_defaults(kind, tmp_path, capsys):
    directory = copied("schema1", kind, tmp_path / kind)
    make_older(directory)
    resume(directory)
    assert "complete already" in capsys.readouterr().out
    (program,) = places.programs_of(directory)
    assert metrics.load(program, 0).member.step == 15


@pytest.mark.parametrize("kind", [KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)])
def test_a_directory_that_lacks_flags_goes_on_and_then_has_them(kind, tmp_path, capsys):
    directory = copied("schema1", kind, tmp_path / kind)
    make_older(directory)
    resume(directory, epochs="2")
    assert "resuming at step 15" in capsys.readouterr().out
    (program,) = places.programs_of(directory)
    for path in {directory / "config.json", program / "config.json"}:
        stored = json.loads(path.read_text())["config"]
        assert all(settings.keys() >= set(NEWER) for settings in stored.get("runs", [stored]))


@pytest.mark.parametrize("kind", KINDS)
def test_flags_that_came_later_and_mean_something_are_refused(kind, tmp_path):
    directory = copied("schema1", kind, tmp_path / kind)
    make_older(directory)
    before = snapshot(directory)
    with pytest.raises(UsageError, match=r"holds no init_scale, you asked `init_scale=0\.5`: "):
        resume(directory, init_scale="0.5")
    assert snapshot(directory) == before


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_are_not_known_are_refused_by_name(kind, tmp_path):
    directory = copied("schema1", kind, tmp_path / kind)
    (program,) = places.programs_of(directory)

    def add(stored):
        for settings in stored["config"].get("runs", [stored["config"]]):
            settings["unheard_of"] = None

    for changed in {directory, program}:
        kept = (changed / "config.json").read_bytes()
        edit(changed / "config.json", add)
        before = snapshot(changed)
        with pytest.raises(UsageError, match=rf"^{changed} holds unheard_of=None, which this"):
            resume(directory, epochs="2")
        assert snapshot(changed) == before
        (changed / "config.json").write_bytes(kept)
    edit(program / "members.json", lambda flags: flags[0].append("--unheard_of=3"))
    with pytest.raises(UsageError, match=r"members\.json holds unheard_of=3, which this"):
        measure(directory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_schema_is_refused(kind, tmp_path):
    directory = copied("schema1", kind, tmp_path / kind)
    newer = runs.SCHEMA + 1
    for path in configs_in(directory):
        edit(path, lambda stored: stored.update(schema=newer))
    match = rf"was written by a newer vae_jax \(schema {newer}, this one reads up to {newer - 1}\)"
    with pytest.raises(UsageError, match=match):
        resume(directory, epochs="2")
    with pytest.raises(UsageError, match=match):
        measure(directory)


def test_defaults_that_have_changed_are_told_before_anything_is_measured(tmp_path):
    directory = copied("schema1", "single", tmp_path / "single")
    edit(directory / "config.json", lambda stored: stored["config"].update(variance=0.5))
    message = r"was trained with `variance=0\.5`, its flags mean `variance=learned` to this version"
    with pytest.raises(UsageError, match=message):
        metrics.load(directory, 0)


def reseal(directory, change):
    """Changes the config of a run, and seals it as if it had been written so."""
    path = directory / "config.json"
    body = seals.unseal(json.loads(path.read_text()))
    change(body["config"])
    held = {name: value for name, value in body["config"].items() if name != "epochs"}
    path.write_text(json.dumps(seals.seal(body | {"sha256": seals.digest(held)})))


def test_default_widths_are_those_of_the_directory():
    """Earlier versions had two layers at any size, and stored no widths."""
    asked = config.from_flags({"network": "conv"})
    for held, widths in [({"widths": None}, (32, 64)), ({"widths": [8, 8, 8]}, (8, 8, 8))]:
        begun = stored.as_begun(asked, held)
        assert begun.widths == widths
        assert stored.with_widths_of(begun, held).identity()["widths"] == held["widths"]
    given = config.from_flags({"network": "conv", "widths": "16,32"})
    assert stored.as_begun(given, {"kinds": None, "widths": None}) == given
    assert stored.with_widths_of(given, {"widths": None}) == given
    mlp = config.from_flags({})
    assert stored.as_begun(mlp, {"kinds": None, "widths": None}) == mlp


@pytest.mark.slow
def test_default_layers_of_large_images_are_those_of_the_directory(tmp_path, capsys):
    x = np.random.default_rng(0).random((40, 33, 1, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    flags = {"dataset": str(tmp_path / "x.npy"), "network": "conv", "latent_dim": "2"}
    flags |= {"likelihood": "gaussian", "learning_rate": "0.001", "batch_size": "20"}
    flags |= {"workdir": str(tmp_path / "run")}
    train({**flags, "widths": "32,64", "epochs": "1"})
    run = tmp_path / "run"
    reseal(run, lambda config: config.update(widths=None))
    kept = json.loads((run / "members.json").read_text())
    kept = [[flag for flag in each if not flag.startswith("--widths")] for each in kept]
    (run / "members.json").write_text(json.dumps(kept))

    assert metrics.load(run, 0).experiment.model.encoder.widths == (32, 64)
    train({**flags, "epochs": "1"})
    assert "complete already" in capsys.readouterr().out
    train({**flags, "epochs": "2"})
    assert "resuming at step 2" in capsys.readouterr().out
    assert members.settings(run)[0]["widths"] == [32, 64]
    train({**flags, "epochs": "2"})
    assert "complete already" in capsys.readouterr().out
    assert metrics.load(run, 0).experiment.model.encoder.widths == (32, 64)

    resolved = train_lib.prepare([config.from_flags(flags)]).configs[0]
    assert resolved.widths == (32, 64, 128)
    with pytest.raises(UsageError, match=r"holds `?widths=32,64`?, you asked `?widths=16,32"):
        train({**flags, "widths": "16,32", "epochs": "2"})


# --- In another place


def moved(tmp_path):
    copied("schema1", "single", tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    return tmp_path / "new"


def of_odd_name(tmp_path):
    return copied("schema1", "single", tmp_path / "ü ñ 日本 [1] {2} 'q' %s" / "β = 4")


def below_a_link(tmp_path):
    copied("schema1", "single", tmp_path / "real" / "run")
    (tmp_path / "link").symlink_to("real")
    return tmp_path / "link" / "run"


def relative(tmp_path):
    copied("schema1", "single", tmp_path / "a" / "run")
    (tmp_path / "b").mkdir()
    os.chdir(tmp_path / "b")
    return pathlib.Path("..", "a", "run")


def all_of_these(tmp_path):
    moved(tmp_path).rename(of_odd_name(tmp_path / "real") / "run")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "b").mkdir()
    os.chdir(tmp_path / "b")
    (place,) = pathlib.Path("..", "link").glob("*/*/run")
    return place


@pytest.mark.parametrize(
    "place",
    [
        all_of_these,
        *(pytest.param(p, marks=pytest.mark.slow) for p in (moved, of_odd_name, below_a_link)),
        pytest.param(relative, marks=pytest.mark.slow),
    ],
)
def test_a_directory_is_read_where_it_lies(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    directory = place(tmp_path)
    measure(directory)
    assert_measured_as_stored(directory)
    resume(directory)
    assert "complete already" in capsys.readouterr().out


def bound_by_modes():
    """What starts a process for which modes of files hold: root is above them."""
    if os.geteuid():
        return []
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    if (
        shutil.which(command[0]) is None
        or subprocess.run([*command, "true"], capture_output=True).returncode
    ):
        pytest.skip("root may write anywhere, and cannot be kept from it here (setpriv)")
    return command


def test_a_directory_that_may_only_be_read_is_evaluated_and_left_as_it_is(tmp_path):
    directory = copied("schema1", "single", tmp_path / "single")
    start = bound_by_modes()
    everything = [directory, *directory.rglob("*")]
    before = snapshot(directory)
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    main = quick.module("experiments.evaluate")
    command = [*start, sys.executable, "-c", main, "--metrics=objective"]
    done = subprocess.run(
        [*command, f"--run={directory}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    for path in everything:
        path.chmod(path.stat().st_mode | 0o200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing is kept: Permission denied") == 1
    (result,) = members.read_results(directory)
    assert f"{result['distortion']:.2f}"[:-1] in done.stdout
    assert snapshot(directory) == before


@pytest.fixture
def of_a_file(tmp_path, monkeypatch):
    """Flags of a run on a file that was named from its own folder, and another to work in."""
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.save(there / "x.npy", x)
    flags = {"widths": "4", "latent_dim": "2", "batch_size": "20", "epochs": "1"}

    def train_here(**values):
        train({**flags, "learning_rate": "0.001", **values})

    monkeypatch.chdir(there)
    train_here(dataset="x.npy", workdir="run")
    monkeypatch.chdir(elsewhere)
    return train_here


def test_a_users_file_is_known_by_its_name_and_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.npy").touch()
    one = config.from_flags({"dataset": "a/x.npy"})
    for held, named in [
        ("/nowhere/x.npy", "/nowhere/x.npy"),
        (["y.npy", "x.npy"], "x.npy"),
        ("a/x.npy", "a/x.npy"),
        ("y.npy", "a/x.npy"),
        (["c/x.npy", "d/x.npy"], "a/x.npy"),
        (None, "a/x.npy"),
    ]:
        assert stored.with_dataset_of(one, held).dataset == named
    assert stored.with_dataset_of(config.from_flags({}), "a/digits").dataset == "digits"


def test_other_data_than_a_run_was_trained_on_are_refused_with_both_hashes(tmp_path):
    directory = copied("schema1", "single", tmp_path / "single")
    own = json.loads((directory / "config.json").read_text())["config"]["data_sha256"]
    edit(directory / "config.json", lambda stored: stored["config"].update(data_sha256="0" * 64))
    with pytest.raises(
        DataError, match=rf"digits: SHA-256 of the data is {own}, .* wanted 0{{64}}:"
    ):
        metrics.load(directory, 0)
    edit(directory / "config.json", lambda stored: stored["config"].pop("data_sha256"))
    with pytest.raises(DataError, match="its config has no data_sha256"):
        metrics.load(directory, 0)


@pytest.mark.fault("R14")
def test_a_strangers_run_reads_no_file_but_its_data(tmp_path, monkeypatch):
    """What a config names is hashed, and parsed only if it is what was trained on."""
    directory = copied("schema1", "single", tmp_path / "single")
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n3,4\n5,6\n7,9\n")
    flags = json.loads((directory / "members.json").read_text())
    for name, match in ((str(secret), "SHA-256 of the data is"), ("mnist", "is only looked for")):
        (directory / "members.json").write_text(json.dumps([[*flags[0], f"--dataset={name}"]]))
        with monkeypatch.context() as patch:
            patch.setattr("pyarrow.csv.read_csv", None)
            patch.setattr("vae_jax.data._tfds._prepare", None)
            with pytest.raises(DataError, match=match):
                metrics.load(directory, 0, str(tmp_path))


@pytest.mark.slow
def test_a_users_file_is_found_from_anywhere(of_a_file, capsys):
    run, file = pathlib.Path("../there/run"), pathlib.Path("../there/x.npy")
    assert metrics.load(run, 0).experiment.dataset.shape == (4,)
    capsys.readouterr()
    of_a_file(dataset=str(file), workdir=str(run))
    assert "complete already" in capsys.readouterr().out
    was = hashlib.sha256(file.read_bytes()).hexdigest()
    np.save(file, np.load(file, allow_pickle=False) + 1)
    now = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=rf"SHA-256 of the data is {now}, .* wanted {was}:"):
        metrics.load(run, 0)
    with pytest.raises(DataError, match=rf"trained on data whose SHA-256 is {was}, .* is {now}: "):
        of_a_file(dataset=str(file), workdir=str(run))


@pytest.mark.slow
def test_a_sweep_on_a_users_file_goes_on_from_anywhere(of_a_file, monkeypatch, capsys):
    monkeypatch.chdir("../there")
    of_a_file(dataset="x.npy", workdir="sweep", beta="1,4")
    monkeypatch.chdir("../elsewhere")
    measure("../there/sweep")
    assert_measured_as_stored("../there/sweep")
    capsys.readouterr()
    of_a_file(dataset="../there/x.npy", workdir="../there/sweep", beta="1,4")
    assert "complete already" in capsys.readouterr().out
    of_a_file(dataset="../there/x.npy", workdir="../there/sweep", beta="1,4", epochs="2")
    assert "resuming at step 3" in capsys.readouterr().out
