"""A run of a program, loaded alone, is the run that was trained."""

import collections
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from vae_jax import data, likelihoods, networks, program, training
from vae_jax.errors import DivergedError, StorageError, UsageError
from vae_jax.evaluation import elbo
from vae_jax.lab import metrics, pictures, places, sweep
from vae_jax.lab.config import Plan
from vae_jax.model import Model
from vae_jax.storage import checkpoints, files, members, runs

pytestmark = pytest.mark.usefixtures("traced_once")

FLAGS = {"widths": "16", "epochs": "3", "beta": "1,4", "latent_dim": "2,5", "ema_decay": "0.9"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Four runs, trained in one program: the sweep's directory and the rows of its table."""
    directory = tmp_path_factory.mktemp("swept") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        patch.setattr(pictures, "draw_sweep", lambda *_: [])
        configs = sweep.make_configs({**FLAGS, "workdir": str(directory)})
        sweep.run(configs, Plan(), [])
    return directory / "programs" / "all"


def test_a_member_evaluates_to_its_result(swept):
    results = json.loads((swept / "results.json").read_text())
    assert members.num_members(swept) == len(results) == 4
    for member, result in enumerate(results):
        trained = metrics.load(swept, member)
        again = program.objective_terms(trained.experiment, trained.params, trained.member.step)
        for name in ("loss", "elbo", "rate", "distortion", "elbo_standard_error", "active_units"):
            assert again[name] == pytest.approx(result[name], rel=1e-5)
        assert trained.member.step == result["step"]


def test_a_member_is_a_model_in_a_few_lines(swept):
    """As the page on sweeps shows it, with nothing of `experiments`."""
    every = [members.load_member(swept, member) for member in range(4)]
    settings = [(m.settings["beta"], m.settings["latent_dim"]) for m in every]
    assert sorted(settings) == [("1", 2), ("1", 5), ("4", 2), ("4", 5)]
    assert {m.settings["epochs"] for m in every} == {3}  # and what they have in common
    loaded = every[settings.index(("4", 2))]
    assert loaded.latent_dim == 5
    np.testing.assert_array_equal(loaded.latent_mask, [1, 1, 0, 0, 0])
    digits = data.load("digits")
    encoder, decoder = networks.build(
        "mlp", shape=digits.shape, latent_dim=loaded.latent_dim, widths=(16,)
    )
    model = Model(
        encoder,
        decoder,
        likelihoods.Gaussian("learned"),
        digits.shape,
        loaded.latent_dim,
        loaded.latent_mask,
    )
    x = digits.decode(digits.test.x)
    assert model.reconstruct(loaded.params, x).shape == x.shape
    posterior = model.encode(loaded.params, x)
    active = elbo.active_units(np.asarray(posterior.mean).var(axis=0))
    assert not np.asarray(active)[2:].any()
    shapes = jax.tree.map(np.shape, loaded.params)
    assert shapes == jax.tree.map(np.shape, model.init(training.stream(0, "init")))


def test_the_runs_of_a_program_read_its_files_once(swept, monkeypatch):
    """Of R runs, the checkpoint of R runs would be verified R times: R² work."""
    count = collections.Counter()

    def counting(owner, name, told):
        act = getattr(owner, name)

        def counted(*arguments, **options):
            count[told(arguments)] += 1
            return act(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    counting(checkpoints, "_verify", lambda _: "checkpoint verified")
    counting(checkpoints.Checkpoints, "_load", lambda _: "checkpoint read")
    counting(files, "read_bytes", lambda arguments: Path(arguments[0]).name)
    counting(data, "load", lambda _: "data")
    loader = metrics.Loader()
    runs_of_it = [loader.load(swept, member) for member in range(4)]
    del count["env.json"]  # where a file of data was: read for a path, not for the runs
    assert count == dict.fromkeys(
        ("checkpoint verified", "checkpoint read", "config.json", "members.json"), 1
    ) | {"data": 1}
    # and each is the run that is loaded alone
    alone = metrics.load(swept, 2)
    jax.tree.map(np.testing.assert_array_equal, runs_of_it[2].params, alone.params)
    assert runs_of_it[2].experiment.config == alone.experiment.config
    assert places.choose(swept, "2")[0].config.identity()["beta"] == alone.member.settings["beta"]


def test_configs_of_all_runs_are_those_of_each(swept):
    assert metrics.read_configs(swept) == [metrics.read_config(swept, m, None) for m in range(4)]


def test_missing_runs_are_reported(swept, tmp_path):
    with pytest.raises(UsageError, match=r"member 4: .* choose from 0 to 3"):
        members.load_member(swept, 4)
    with pytest.raises(UsageError, match="name one of its programs/"):
        members.load_member(swept.parents[1])
    with pytest.raises(UsageError, match=r"holds no run .*; name the directory that a training"):
        members.load_member(tmp_path)
    (tmp_path / "config.json").write_text((swept / "config.json").read_text())
    with pytest.raises(StorageError, match="no checkpoint that verifies"):
        members.load_member(tmp_path)


@pytest.mark.parametrize("member", ["0", 0.5, 0.0, None, True])
def test_a_member_is_an_integer(swept, member):
    with pytest.raises(UsageError, match=rf"^member={member!r}: must be an integer"):
        members.load_member(swept, member)
    assert (
        members.load_member(swept, np.int64(1)).settings == members.load_member(swept, 1).settings
    )


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, '{"status": "done"'])
@pytest.mark.parametrize("name", ["result.json", "results.json"])
def test_damaged_results_are_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(StorageError) as error:
        members.read_results(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name} cannot be read (")
    assert str(error.value).endswith("): move it away")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "", "[]", "{}", "7", "[1]", "[[1]]", '["x"]', "null"])
def test_damaged_flags_are_named(tmp_path, text):
    path = tmp_path / "members.json"
    with pytest.raises(StorageError, match=r"members\.json cannot be read \(No such file"):
        metrics.read_config(tmp_path, 0, None)
    path.write_text(text)
    with pytest.raises(StorageError, match=r"members\.json does not hold the flags of member 0:"):
        metrics.read_config(tmp_path, 0, None)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"config": 1}', '{"config": {"runs": []}}'])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json: is not the config of a run"):
        members.num_members(tmp_path)


ONE = {"status": "done", "step": 3, "loss": 1.5, "loss_standard_error": "inf", "rate_per_dim": [1]}
OTHER = {"status": "diverged", "step": 1, "not_finite": ["loss"]}


def begin(directory, num_runs):
    """A run directory as training begins it."""
    several = [{"latent_dim": 2, "seed": seed} for seed in range(num_runs)]
    with runs.open_run(directory, several[0] if num_runs == 1 else {"runs": several}):
        return directory


def test_results_of_one_run_and_of_several_are_a_list(tmp_path):
    one, two = begin(tmp_path / "one", 1), begin(tmp_path / "two", 2)
    assert members.read_results(one) is None
    (one / "result.json").write_text(json.dumps(sealed(one, [ONE])[0]))
    assert members.read_results(one) == [ONE]
    (two / "results.json").write_text(json.dumps(sealed(two, [ONE, OTHER])))
    assert members.read_results(two) == [ONE, OTHER]
    # not as they were written: by hand, by no one, of another member, of another run
    for wrong in (
        [{**r, "step": 7} for r in sealed(two, [ONE, OTHER])],
        [ONE, OTHER],
        sealed(two, [ONE, OTHER])[::-1],
        sealed(one, [ONE, OTHER]),
    ):
        (two / "results.json").write_text(json.dumps(wrong))
        assert members.read_results(two) is None


def sealed(directory, results):
    """As training writes them; what is no result stays as it is."""
    owner, whole = members.owner(directory), [r if isinstance(r, dict) else {} for r in results]
    pairs = zip(results, members.sealed_results(whole, owner, ""), strict=True)
    return [each if isinstance(result, dict) else result for result, each in pairs]


@pytest.mark.parametrize(
    "stored",
    [
        *([], {}, 7, None, [ONE], [ONE, OTHER, ONE], [ONE, 1], [ONE, {}], [ONE, [ONE]]),
        [ONE, {**OTHER, "not_finite": 3}],
        [ONE, {"status": "diverged", "step": 1}],
        *([ONE, {k: v for k, v in ONE.items() if k != lost}] for lost in list(ONE)[:4]),
        [ONE, {**ONE, "step": -1}],
        [ONE, {**ONE, "step": 1.0}],
        [ONE, {**ONE, "status": "missing"}],
        [ONE, {**ONE, "loss": "low"}],
        [ONE, {**ONE, "loss_standard_error": None}],
        [ONE, {**ONE, "of_some_later_objective": "1"}],
        [ONE, {**ONE, "rate": 1.0}],
        [ONE, {**ONE, "rate": 1.0, "rate_standard_error": None}],
        [ONE, {**ONE, "valid_loss": [1.0]}],
        [ONE, {**ONE, "loss": [1.0]}],
        *([ONE, {**ONE, "rate_per_dim": value}] for value in (1.0, [1.0, None], [[1.0]])),
        [ONE, {**ONE, "active_units": {}}],
        [ONE, {**ONE, "active_units": True}],
        *([ONE, {**ONE, "diagnosis": value}] for value in (None, {}, [1], [{}], [{"what": 1}])),
        [ONE, {**ONE, "diagnosis": [{"what": "a", "evidence": "b", "remedy": 1}]}],
    ],
)
def test_results_that_lack_runs_or_entries_are_none(tmp_path, stored):
    directory = begin(tmp_path / "two", 2)
    stored = sealed(directory, stored) if isinstance(stored, list) else stored
    (directory / "results.json").write_text(json.dumps(stored))
    assert members.read_results(directory) is None


@pytest.mark.parametrize("lost", ["one", "all"])
def test_a_program_without_parameters_says_why(swept, tmp_path, lost):
    (tmp_path / "config.json").write_text((swept / "config.json").read_text())
    results = [OTHER if lost == "all" else ONE, *[OTHER] * 3]
    (tmp_path / "results.json").write_text(json.dumps(sealed(tmp_path, results)))
    error, message = {
        "one": (
            StorageError,
            "no checkpoint that verifies: train it again with `overwrite=True`, or",
        ),
        "all": (DivergedError, "every run diverged"),
    }[lost]
    with pytest.raises(error, match=message):
        members.load_member(tmp_path)


def test_a_read_only_program_is_read(swept):
    before = sorted(p.name for p in swept.rglob("*"))
    manifests = {path: path.read_bytes() for path in swept.glob("checkpoints/*/manifest.json")}
    assert manifests
    try:
        for path in manifests:
            path.write_bytes(b"{}")
        with pytest.raises(StorageError, match="no checkpoint that verifies"):
            members.load_member(swept, 0)
    finally:
        for path, kept in manifests.items():
            path.write_bytes(kept)
    assert sorted(p.name for p in swept.rglob("*")) == before
