"""`python -m experiments.evaluate`: what is asked for is measured, printed and kept."""

import csv
import json
import os

import pytest

from experiments import evaluate, sweep
from experiments.config import Plan
from vae_jax import evaluation
from vae_jax.errors import UsageError

SMALL = {"epochs": "1", "widths": "8", "batch_size": "200", "num_valid": "0"}
QUICK = "objective,nll,latent_probes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def single(folder):
    sweep.main({**SMALL, "workdir": str(folder / "single")}, Plan(), [])
    return folder / "single"


@pytest.fixture(scope="module")
def swept(folder):
    """Two programs, one of two runs of which one is masked, one of one run."""
    rows = folder / "rows.csv"
    rows.write_text("latent_dim,activation\n2,tanh\n3,tanh\n2,relu\n")
    flags = {**SMALL, "workdir": str(folder / "swept")}
    sweep.main(flags, Plan(sweep=str(rows)), [])
    return folder / "swept"


def run(directory, **flags):
    values = dict.fromkeys(evaluate.flag_texts())
    evaluate.main({**values, "run": str(directory), **flags})


def kept(directory, member=0):
    return json.loads((directory / "evaluation" / f"member-{member}.json").read_text())["metrics"]


def test_numbers_are_printed_and_kept(single, capsys):
    run(single, metrics=QUICK, nll_num_samples="30", seed="7", num_examples="50")
    out = capsys.readouterr().out
    metrics = kept(single)
    assert list(metrics) == QUICK.split(",")
    nll = metrics["nll"]
    assert nll["settings"]["num_samples"] == nll["values"]["num_samples"] == 30
    assert (nll["seed"], nll["step"]) == (7, metrics["objective"]["step"])
    # the objective is evaluated as in training, by the run's own seed
    assert (metrics["objective"]["seed"], metrics["objective"]["values"]["num_examples"]) == (
        0,
        179,
    )
    assert nll["values"]["num_examples"] == metrics["latent_probes"]["values"]["num_test"] == 50
    value, error = nll["values"]["nll"], nll["values"]["nll_standard_error"]
    assert f"{value:.3f}" in out or f"{value:.4f}" in out
    assert f"± {error:.2g}" in out
    assert nll["definitions"]["nll"] in out
    assert str(single) in out.splitlines()[-1]


def test_the_objective_is_that_of_the_result(single):
    run(single, metrics="objective")
    result = json.loads((single / "result.json").read_text())
    values = kept(single)["objective"]["values"]
    for name in ("elbo", "rate", "distortion", "elbo_standard_error", "active_units"):
        assert values[name] == pytest.approx(result[name], rel=1e-5)


def test_metrics_are_added_to_those_that_are_there(single):
    run(single, metrics="nll", nll_num_samples="5")
    run(single, metrics="latent_probes")
    assert {"nll", "latent_probes"} <= kept(single).keys()
    run(single, metrics="nll", nll_num_samples="6")
    assert kept(single)["nll"]["settings"]["num_samples"] == 6


def test_what_does_not_apply_is_said(single, capsys):
    run(single, metrics="disentanglement")
    assert "disentanglement: left out, the data have no factors" in capsys.readouterr().out
    assert kept(single)["disentanglement"]["left_out"] == "the data have no factors"


def test_one_run_agrees_with_no_other(single, capsys):
    run(single, metrics="udr")
    assert "udr: left out, it compares the runs of a sweep" in capsys.readouterr().out


def test_every_run_of_a_sweep_is_a_row(swept, capsys):
    run(swept, metrics="objective,nll,udr", nll_num_samples="5")
    rows = list(csv.DictReader((swept / "evaluation.csv").read_text().splitlines()))
    assert [(row["program"], row["member"]) for row in rows] == [
        ("activation=relu", "0"),
        ("activation=tanh", "0"),
        ("activation=tanh", "1"),
    ]
    out = capsys.readouterr().out
    for row in rows:
        values = kept(swept / "programs" / row["program"], int(row["member"]))
        assert float(row["nll.nll"]) == pytest.approx(values["nll"]["values"]["nll"])
        assert 0 <= float(row["udr.udr"]) <= 1
        assert f"member {row['member']} of {row['program']}" in out


def test_a_masked_run_is_measured_in_its_dimensions(swept):
    program = swept / "programs" / "activation=tanh"
    run(program, metrics="latent_use", latent_use_num_samples="20", member="0")
    assert kept(program, 0)["latent_use"]["values"]["num_dims"] == 2
    run(program, metrics="latent_use", latent_use_num_samples="20", member="1")
    assert kept(program, 1)["latent_use"]["values"]["num_dims"] == 3


def test_a_plane_is_drawn(swept):
    program = swept / "programs" / "activation=relu"
    settings = {"latent_geometry_num_codes": "5", "latent_geometry_num_pairs": "2"}
    run(program, metrics="latent_geometry", **settings)
    assert kept(program)["latent_geometry"]["values"]["num_pairs"] == 2
    for ending in ("png", "csv"):
        assert (program / "evaluation" / f"member-0-latent_geometry.{ending}").stat().st_size > 100


@pytest.mark.parametrize(
    ("objective", "latent_dim", "own", "pictures"),
    [
        ("vq_vae", "4,8", {"knn_accuracy", "perplexity"}, {"codes"}),
        ("joint_vae", "12,13", {"knn_accuracy", "nll", "discrete_rate"}, {"codes", "traversal"}),
    ],
)
def test_codes_that_are_not_gaussian_leave_out_what_asks_for_one(
    tmp_path, capsys, objective, latent_dim, own, pictures
):
    """Two runs, one masked: what has a meaning is measured and drawn, of the rest the reason."""
    flags = {**SMALL, "objective": objective, "workdir": str(tmp_path / "run")}
    sweep.main({**flags, "latent_dim": latent_dim}, Plan(), [])
    run(tmp_path / "run", nll_num_samples="5", num_examples="50")
    program = tmp_path / "run" / "programs" / "all"
    for member in (0, 1):
        metrics = kept(program, member)
        left_out = {name for name, result in metrics.items() if "left_out" in result}
        asking = {"ais", "exact", "latent_geometry", "latent_neighbours", "latent_use"}
        assert left_out == asking | {"disentanglement"} | ({"nll"} - own)
        assert all("Gaussian code" in metrics[name]["left_out"] for name in asking)
        found = {name for each in metrics.values() for name in each.get("values", {})}
        assert own <= found
    assert "udr: left out" in capsys.readouterr().out
    drawn = {path.stem for path in (program / "plots").glob("*.png")}
    common = {"interpolation", "rate_per_dimension", "reconstructions", "samples"}
    assert common | pictures <= drawn
    assert "manifold" not in drawn
    assert ("latent_scatter" in drawn) == ("traversal" in pictures)


def test_a_run_that_may_only_be_read_is_evaluated(single, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(evaluate, "write", refuse)
    run(single, metrics="objective")
    out = capsys.readouterr().out
    assert "nothing is kept: Read-only file system" in out
    assert "elbo" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"metrics": "nll,latent_us"}, r"--metrics=latent_us: .*did you mean latent_use"),
        ({"metrics": "objetive"}, r"--metrics=objetive: .*did you mean objective"),
        ({"metrics": ""}, r"--metrics=: "),
        ({"metrics": "objective", "nll_num_samples": "5"}, r"--nll_num_samples=5: --metrics"),
        ({"nll_num_samples": "0"}, r"--nll_num_samples=0: must be an integer, 1 or more"),
        ({"num_examples": "1"}, r"--num_examples=1: must be an integer, 2 or more"),
        ({"seed": "x"}, r"--seed=x: must be an integer"),
        ({"member": "9"}, r"--member=9: must be an integer, 0 or more, at most 0"),
        ({"run": None}, r"--run: name a run directory"),
        ({"run": "/nowhere"}, r"/nowhere: holds no run"),
    ],
)
def test_what_does_not_fit_is_refused(single, flags, message):
    with pytest.raises(UsageError, match=message):
        run(single, **flags)


def test_a_member_of_several_programs_is_ambiguous(swept):
    with pytest.raises(UsageError, match=r"--member=0: .* holds 2 programs, name one of them"):
        run(swept, member="0")


def test_every_setting_is_a_flag_with_help():
    texts = evaluate.flag_texts()
    for metric in evaluation.names():
        for name in evaluation.settings(metric):
            assert (f"{metric}_{name}" in texts) != (name == "num_rows")
