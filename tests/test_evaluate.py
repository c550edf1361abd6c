"""`python -m experiments.evaluate`: what is asked for is measured, printed and kept."""

import collections
import csv
import errno
import fcntl
import functools
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest
from properties import slow

from vae_jax import console, evaluation
from vae_jax.cli.commands import evaluate
from vae_jax.errors import DivergedError, UsageError
from vae_jax.evaluation import _cost, latent_probes, nll
from vae_jax.lab import metrics, pictures, progress, report, sweep, unfinished
from vae_jax.lab.config import Plan
from vae_jax.lab.pictures import latent_geometry

pytestmark = pytest.mark.usefixtures("traced_once")
SMALL = {"epochs": "1", "widths": "8", "batch_size": "200", "num_valid": "0"}
COMMON = {"epochs": "1", "widths": "16", "latent_dim": "2"}
"""Of a program that other files train, too."""
QUICK = "objective,nll,latent_probes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluated")


def train(workdir, flags, **plan):
    """Trains without the pictures, which take longer; what an evaluation draws it draws itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        patch.setattr(pictures, "draw_sweep", lambda *_: [])
        sweep.main({**flags, "workdir": str(workdir)}, Plan(**plan), [])
    return workdir


@pytest.fixture(scope="module")
def single(folder):
    return train(folder / "single", COMMON)


@pytest.fixture(scope="module")
def swept(folder):
    """Two programs, one of two runs of which one is masked, one of one run."""
    rows = folder / "rows.csv"
    rows.write_text("latent_dim,epochs\n2,1\n3,1\n2,2\n")
    return train(folder / "swept", {"widths": COMMON["widths"]}, sweep=str(rows))


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
    # a long definition goes on below
    assert nll["definitions"]["nll"] in " ".join(out.split())
    assert "50 of the 179 of the test split" in " ".join(out.split())
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


def refuse(subject, *, num_samples=5000):
    raise UsageError("num_samples=30: does not fit")


def test_a_metric_that_does_not_fit_is_skipped_and_others_are_kept(single, capsys, monkeypatch):
    monkeypatch.setattr(nll, "measure", refuse)
    run(single, metrics="nll,latent_probes", num_examples="40")  # one was measured
    assert "nll: left out, num_samples=30: does not fit" in capsys.readouterr().out
    assert kept(single)["latent_probes"]["values"]["num_test"] == 40
    # what was asked for in so many words is an error, but only at the end
    with pytest.raises(UsageError, match="nll: num_samples=30: does not fit"):
        run(single, metrics="nll,latent_probes", num_examples="41", nll_num_samples="30")
    assert kept(single)["latent_probes"]["values"]["num_test"] == 41


def test_a_reason_does_not_take_the_place_of_numbers(single, monkeypatch):
    run(single, metrics="nll", nll_num_samples="5")
    monkeypatch.setattr(nll, "measure", refuse)
    with pytest.raises(UsageError, match="nothing could be measured, `nll: num_samples=30: does"):
        run(single, metrics="nll")
    assert kept(single)["nll"]["values"]["num_samples"] == 5


def test_neighbourhoods_of_few_examples_are_small(single):
    run(single, metrics="latent_neighbours", num_examples="6", latent_neighbours_num_draws="20")
    measured = kept(single)["latent_neighbours"]
    assert measured["values"]["num_neighbours"] == measured["settings"]["num_neighbours"] == 2
    run(single, metrics="latent_neighbours,objective", num_examples="2")
    assert kept(single)["latent_neighbours"]["values"]["num_neighbours"] == 2


@pytest.mark.parametrize(
    ("metric", "setting"),
    [
        ("latent_geometry", "num_codes"),
        ("latent_neighbours", "num_neighbours"),
        ("latent_probes", "num_neighbours"),
    ],
)
def test_more_than_there_are_must_not_be_asked_for(single, metric, setting):
    with pytest.raises(UsageError, match=f"^`{metric}: {setting}=5000: must be .* examples`$"):
        run(single, metrics=metric, num_examples="40", **{f"{metric}_{setting}": "5000"})


def test_neighbours_that_were_not_asked_for_may_be_fewer(single):
    flags = {"latent_probes_max_train": "7", "num_examples": "40"}
    run(single, metrics="latent_probes", **flags)
    measured = kept(single)["latent_probes"]
    assert measured["values"]["num_neighbours"] == measured["settings"]["num_neighbours"] == 7
    # the same number, asked for, does not fit
    with pytest.raises(UsageError, match="num_neighbours=10: must be from 1 to the 7 train"):
        run(single, metrics="latent_probes", latent_probes_num_neighbours="10", **flags)


def test_each_metric_is_saved_as_soon_as_it_is_measured(single, monkeypatch):
    def interrupt(subject, *, num_neighbours=10):
        raise KeyboardInterrupt

    monkeypatch.setattr(latent_probes, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(single, metrics="nll,latent_probes", nll_num_samples="9")
    assert kept(single)["nll"]["values"]["num_samples"] == 9


@pytest.fixture
def measured(monkeypatch):
    """The names of what is measured; `stops` is how many of them a process measures."""
    names = collections.UserList()
    names.stops = None

    def measure(trained, subject, request, name):
        if len(names) == names.stops:
            raise KeyboardInterrupt
        names.append(name)
        # a number of each run and metric, and one that JSON lacks
        values = {"num": len(name) + trained.member.latent_dim, "bad": math.nan}
        values |= {"bad_standard_error": math.nan}
        kept = {"definitions": {}, "notes": [], "settings": {}, "seconds": len(names) / 8}
        return {"values": values, "step": trained.member.step, "seed": request.seed, **kept}

    monkeypatch.setattr(metrics, "measure", measure)
    loader, load = metrics.Loader(), functools.cache(metrics.Loader.load)
    patched = functools.partial(load, loader)
    monkeypatch.setattr(metrics.Loader, "load", lambda _, *place: patched(*place))
    return names


def stop_after(measured, num, directory, **request):
    measured.stops = num
    with pytest.raises(KeyboardInterrupt):
        run(directory, **request)
    measured.stops = None


def test_an_interrupted_evaluation_goes_on_with_the_metrics_that_are_left(swept, measured, capsys):
    """It leaves what one leaves that was not interrupted, and measures nothing twice."""
    request = {"metrics": "objective,latent_probes", "seed": "3", "num_examples": "60"}

    def content():
        files = [*swept.glob("**/evaluation/*.json"), swept / "evaluation.csv"]
        return {file: file.read_bytes() for file in files}

    for file in swept.glob("**/evaluation/*.json"):
        file.unlink()
    run(swept, **request)
    whole, num = content(), len(measured)
    assert len(whole) == 4
    for file in swept.glob("**/evaluation/*.json"):
        file.unlink()
    measured.clear()
    for stop in (1, 2, num - 1):
        stop_after(measured, stop, swept, **request)
    capsys.readouterr()
    run(swept, **request)
    assert f"resuming: {num - 1} metrics were measured before" in capsys.readouterr().out
    assert len(measured) == num
    assert content() == whole
    assert not list(swept.glob(f"**/{unfinished.NAME}"))
    # who asks again has all measured again
    run(swept, **request)
    assert len(measured) == 2 * num


@pytest.mark.parametrize("other", ["seed", "result", "step"])
def test_what_was_measured_otherwise_is_measured_again(single, measured, monkeypatch, other):
    request = {"metrics": "latent_probes,objective", "seed": "3"}
    stop_after(measured, 1, single, **request)
    if other == "seed":
        request["seed"] = "4"
    if other == "result":
        result = {**kept(single)["latent_probes"], "values": {"num": 1}}
        report.write(single, "member-0.json", {"latent_probes": result})
    if other == "step":
        load = metrics.Loader.load

        def later(*arguments):
            trained = load(*arguments)
            return trained._replace(member=trained.member._replace(step=trained.member.step + 1))

        monkeypatch.setattr(metrics.Loader, "load", later)
    run(single, **request)
    assert measured == ["latent_probes", "latent_probes", "objective"]
    assert not list(single.glob(f"**/{unfinished.NAME}"))


@pytest.mark.slow
def test_another_split_stands_beside_the_test_split(tmp_path, capsys):
    flags = {**SMALL, "network": "linear", "likelihood": "gaussian", "workdir": str(tmp_path)}
    del flags["widths"]
    sweep.main({**flags, "latent_dim": "2"}, Plan(), [])
    run(tmp_path, metrics="exact")
    run(tmp_path, metrics="exact", exact_split="train")
    out = capsys.readouterr().out
    assert "exact_train" in out
    assert "split=train" in out
    metrics = kept(tmp_path)
    assert metrics["exact"]["values"]["nll"] != metrics["exact_train"]["values"]["nll"]


@pytest.mark.slow
def test_a_term_that_nobody_defined_is_named_and_few_samples_are_told(tmp_path, capsys):
    flags = {**SMALL, "objective": "wae_mmd", "workdir": str(tmp_path)}
    sweep.main(flags, Plan(), [])
    run(tmp_path, metrics="objective,nll", nll_num_samples="2")
    objective = kept(tmp_path)["objective"]
    assert "objectives/wae_mmd.py" in objective["definitions"]["mmd"]
    # one batch has one value
    assert "mmd_standard_error" not in objective["values"]
    assert "note: of 2 samples fewer than 10 count" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_data_that_moved_are_found_by_their_folder(tmp_path):
    import numpy as np

    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    np.save(old / "x.npy", np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    flags = {**SMALL, "dataset": str(old / "x.npy"), "batch_size": "20"}
    sweep.main({**flags, "workdir": str(tmp_path / "run")}, Plan(), [])
    old.rename(new)
    with pytest.raises(UsageError, match=r"of data that moved .*`data_dir`"):
        run(tmp_path / "run", metrics="objective")
    run(tmp_path / "run", metrics="objective", data_dir=str(new))
    assert "values" in kept(tmp_path / "run")["objective"]


def test_a_long_metric_says_how_far_it_is(capsys):
    watch = progress.Watch()
    with watch.over("nll"):
        for number, _ in watch.count(((i, 10) for i in range(4)), 40):
            if number == 2:
                console.tell(time.monotonic() + 31)
    assert capsys.readouterr().err == "nll: 0:31 so far, 20 of 40 examples, 0:00 left\n"


def test_a_run_that_is_not_finished_says_so(single, capsys, monkeypatch):
    monkeypatch.setattr(metrics.members, "read_results", lambda directory: None)
    load = metrics.Loader.load

    def early(*arguments):
        trained = load(*arguments)
        return trained._replace(member=trained.member._replace(step=3))

    monkeypatch.setattr(metrics.Loader, "load", early)
    run(single, metrics="latent_probes")
    assert "at step 3 of 15, its training is not finished" in capsys.readouterr().out


def test_lists_words_and_long_definitions_are_told():
    result = {
        "values": {"rates": [0.5] * 9, "verdict": "uses z " * 5, "counts": {"mig": {"n": 5}}},
        "definitions": {"rates": "the rates", "verdict": "the words " * 30, "counts": "how many"},
        "notes": ["give a larger `x_size`, or leave objective=vae"],
        "settings": {"size": 3},
        "seconds": 1.0,
    }
    told = list(report.lines({"x": result}, {}))
    assert all(len(line) <= report.columns() for line in told)
    page = " ".join(" ".join(told).split())
    for words in (
        "0.5 … the rates",
        "words the words",
        "counts: how many",
        "mig: n 5",
        "larger --x_size",
    ):
        assert words in page


def test_without_metrics_those_that_take_seconds_are_measured_best_known_first(
    single, capsys, monkeypatch
):
    asked = []

    def measured(trained, subject, request, name):
        asked.append((name, metrics.reduced(subject, request, name)))
        return {"left_out": "it is not measured here"}

    monkeypatch.setattr(metrics, "measure", measured)
    monkeypatch.setattr(metrics, "BRIEF", 179 * 30 * metrics.operations(subject_of(single)))
    run(single, num_examples="179")
    names = ["objective", "nll", "ranking", "reconstruction", "latent_use", "latent_probes"]
    assert asked == [(name, {"num_samples": 30} if name == "nll" else {}) for name in names]
    told = capsys.readouterr().out.splitlines()
    place = next(i for i, line in enumerate(told) if "test examples, seed 0" in line)
    assert "of the rate" in told[place + 1], "the verdict comes first"
    rest = ", ".join(name for name in evaluation.costs() if name not in names)
    left = f"measuring what takes seconds, --metrics=all also measures {rest}"
    assert left in told
    # a setting asks for its metric, and of nll for so many samples
    asked.clear()
    run(single, nll_num_samples="7", exact_split="train", num_examples="179")
    assert asked == [(name, {}) for name in [*names[:2], "exact", *names[2:]]]
    asked.clear()
    run(single, metrics="all")
    assert asked == [(name, {}) for name in evaluate.in_order()[:-1]]
    assert re.search(r"^about [\dh:]+ on two CPU cores", capsys.readouterr().out, re.M)


def subject_of(directory):
    return metrics.make_subject(metrics.load(directory, 0), 0)


def test_the_time_of_a_metric_is_told_from_what_it_decodes(single):
    subject = subject_of(single)
    decoded = 2 * (2 * 16 + 16 * 64)  # of a decoder 2-16-64, without its biases
    assert decoded <= metrics.operations(subject) < 2 * decoded + 200
    few = metrics.seconds(subject, metrics.Request(("nll",), {"nll": {"num_samples": 10**6}}))
    many = metrics.seconds(subject, metrics.Request(("nll",), {"nll": {"num_samples": 3 * 10**6}}))
    passes = 2 * 10**6 * subject.size() * metrics.operations(subject)
    assert many["nll"] - few["nll"] == pytest.approx(passes / _cost.OPERATIONS)
    places = [cost.place for cost in evaluation.costs().values()]
    assert places == sorted({*places})


def test_a_metric_that_does_not_apply_is_reported(single, capsys):
    message = (
        "--metrics=disentanglement: nothing could be measured, "
        "disentanglement: the data have no factors"
    )
    with pytest.raises(UsageError, match=f"^{message}$"):
        run(single, metrics="disentanglement")
    out = capsys.readouterr().out
    assert "disentanglement: left out, the data have no factors" in out
    assert out.endswith(f"in {single}: evaluation/\n")
    assert kept(single)["disentanglement"]["left_out"] == "the data have no factors"


def test_one_run_agrees_with_no_other(single, capsys):
    with pytest.raises(UsageError, match="nothing could be measured, udr: it compares the runs"):
        run(single, metrics="udr")
    out = capsys.readouterr().out
    assert "udr: left out, it compares the runs of a sweep" in out
    assert f"in {single}" not in out
    # beside what was measured it is a reason
    run(single, metrics="udr,objective")


def test_only_what_was_written_is_said_to_be_there(swept, capsys):
    run(swept, metrics="objective")
    found = f"in {swept}: evaluation.csv, evaluation/ of each program"
    assert capsys.readouterr().out.splitlines()[-1] == found
    run(swept, metrics="udr")
    assert capsys.readouterr().out.splitlines()[-1] == f"in {swept}: evaluation.csv, evaluation/"
    run(swept / "programs" / "epochs=1", metrics="objective")
    assert capsys.readouterr().out.endswith("epochs=1: evaluation.csv, evaluation/\n")


def test_every_run_of_a_sweep_is_a_row(swept, capsys):
    run(swept, metrics="objective,nll,udr", nll_num_samples="5")
    rows = list(csv.DictReader((swept / "evaluation.csv").read_text().splitlines()))
    assert [(row["program"], row["member"]) for row in rows] == [
        ("epochs=1", "0"),
        ("epochs=1", "1"),
        ("epochs=2", "0"),
    ]
    # what sets them apart
    assert [(row["latent_dim"], row["epochs"]) for row in rows] == [
        ("2", "1"),
        ("3", "1"),
        ("2", "2"),
    ]
    assert {row["status"] for row in rows} == {"done"}
    out = capsys.readouterr().out
    assert "member 1 of epochs=1 (latent_dim=3 epochs=1) at step" in out
    (group,) = json.loads((swept / "evaluation" / "udr.json").read_text())["metrics"]["udr"][
        "values"
    ]["groups"]
    assert [[len(row) for row in group["pairwise"]], len(group["runs"])] == [[3] * 3, 3]
    assert group["num_points"] == 179
    for row in rows:
        values = kept(swept / "programs" / row["program"], int(row["member"]))
        assert float(row["nll.nll"]) == pytest.approx(values["nll"]["values"]["nll"])
        assert 0 <= float(row["udr.udr"]) <= 1
        assert f"member {row['member']} of {row['program']}" in out


def test_the_table_of_a_sweep_has_all_that_is_kept_and_runs_that_diverged(
    swept, capsys, monkeypatch
):
    run(swept, metrics="objective,udr")
    load = metrics.Loader.load

    def diverge(loader, directory, member):
        if directory.name == "epochs=2":
            raise metrics.DivergedError("member 0 diverged")
        return load(loader, directory, member)

    monkeypatch.setattr(metrics.Loader, "load", diverge)
    run(swept, metrics="nll", nll_num_samples="3")
    rows = list(csv.DictReader((swept / "evaluation.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["done", "done", "diverged"]
    assert [bool(row["nll.nll"]) for row in rows] == [True, True, False]
    for row in rows[:2]:
        assert row["objective.elbo"]
        assert row["udr.udr"]


def test_a_sweep_whose_runs_all_diverged_is_an_error(swept, monkeypatch):
    def diverge(loader, directory, member):
        raise DivergedError(f"member {member} of {directory} diverged at step 3")

    monkeypatch.setattr(metrics.Loader, "load", diverge)
    with pytest.raises(DivergedError, match=f"^{swept}: every run diverged"):
        run(swept, metrics="objective")
    rows = list(csv.DictReader((swept / "evaluation.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["diverged"] * 3


@pytest.mark.slow
def test_a_masked_run_is_measured_in_its_dimensions(swept, capsys):
    program = swept / "programs" / "epochs=1"
    run(program, metrics="latent_use", latent_use_num_samples="20", member="0")
    assert kept(program, 0)["latent_use"]["values"]["num_dims"] == 2
    run(program, metrics="latent_use", latent_use_num_samples="20", member="1")
    assert kept(program, 1)["latent_use"]["values"]["num_dims"] == 3
    assert "member 1 (latent_dim=3) at step" in capsys.readouterr().out


def test_a_plane_is_drawn(swept):
    program = swept / "programs" / "epochs=2"
    settings = {"latent_geometry_num_codes": "5", "latent_geometry_num_pairs": "2"}
    run(program, metrics="latent_geometry", **settings)
    assert kept(program)["latent_geometry"]["values"]["num_pairs"] == 2
    for ending in ("png", "csv"):
        assert (program / "evaluation" / f"member-0-latent_geometry.{ending}").stat().st_size > 100


def test_a_plane_that_cannot_be_drawn_loses_no_number(swept, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no plane")

    program = swept / "programs" / "epochs=2"
    monkeypatch.setattr(latent_geometry, "PICTURES", (pictures.OfMetric(fail),))
    flags = {"num_examples": "40", "latent_geometry_num_codes": "4"}
    run(program, metrics="latent_geometry,latent_probes", **flags)
    told = "picture member-0-latent_geometry could not be drawn (ValueError: no plane)"
    assert capsys.readouterr().out.splitlines().count(told) == 1
    assert kept(program)["latent_geometry"]["values"]["num_codes"] == 4
    assert kept(program)["latent_probes"]["values"]["num_test"] == 40


@pytest.mark.slow
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
    run(tmp_path / "run", metrics="all", nll_num_samples="5", num_examples="50")
    program = tmp_path / "run" / "programs" / "all"
    for member in (0, 1):
        metrics = kept(program, member)
        left_out = {name for name, result in metrics.items() if "left_out" in result}
        asking = dict.fromkeys(("ais", "exact", "latent_use"), "Gaussian code")
        asking |= dict.fromkeys(
            ("clustering", "contraction", "latent_geometry", "sparsity"), "continuous code"
        )
        assert left_out == {*asking, "disentanglement"} | ({"nll"} - own)
        assert all(code in metrics[name]["left_out"] for name, code in asking.items())
        found = {name for each in metrics.values() for name in each.get("values", {})}
        assert own <= found
    assert "udr: left out" in capsys.readouterr().out
    drawn = {path.stem for path in (program / "plots").glob("*.png")}
    common = {"interpolation", "rate_per_dimension", "reconstructions", "samples"}
    assert common | pictures <= drawn
    assert "manifold" not in drawn
    assert ("latent_scatter" in drawn) == ("traversal" in pictures)


@pytest.mark.parametrize("text", [*slow("{"), '{"metrics": {"nll": 3}}'])
def test_kept_numbers_that_cannot_be_read_are_moved_aside(single, capsys, text):
    path = single / "evaluation" / "member-0.json"
    run(single, metrics="objective")
    assert "not as it was" not in capsys.readouterr().out
    path.write_text(text)
    run(single, metrics="objective")
    line = f"{path} is not as it was written: it is now member-0.json.damaged, a new one is begun"
    assert capsys.readouterr().out.splitlines().count(line) == 1
    assert path.with_name("member-0.json.damaged").read_text() == text
    assert list(kept(single)) == ["objective"]


def test_a_run_that_may_only_be_read_is_evaluated(single, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(report, "write", refuse)
    run(single, metrics="objective")
    out = capsys.readouterr().out
    assert "nothing is kept: Read-only file system" in out
    assert "elbo" in out


KEEPING = """
import pathlib, sys
from vae_jax.lab import report

directory, who = pathlib.Path(sys.argv[1]), sys.argv[2]
keeper = report.Keeper()
for number in range(30):
    keeper.write(directory, "member-0.json", {f"{who}{number}": {"values": {}}})
assert keeper.is_able
"""


def test_evaluations_at_once_lose_nothing(tmp_path):
    command = [sys.executable, "-c", KEEPING, str(tmp_path)]
    root = pathlib.Path(__file__).parents[1]
    processes = [subprocess.Popen([*command, who], cwd=root) for who in "ab"]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert kept(tmp_path).keys() == {f"{who}{number}" for who in "ab" for number in range(30)}


def test_results_are_read_and_written_under_one_lock(swept, monkeypatch):
    """Of the files of runs and of the table alike."""
    seen = []

    def watched(act, folder_of):
        def acting(*arguments):
            with open(folder_of(arguments[0]) / "lock") as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen.append(act.__name__)
            return act(*arguments)

        return acting

    monkeypatch.setattr(report, "write", watched(report.write, lambda d: d / "evaluation"))
    monkeypatch.setattr(report, "rows_of", watched(report.rows_of, lambda d: d / "evaluation"))
    run(swept / "programs" / "epochs=1", metrics="objective")
    assert seen == ["write"] * 2 + ["rows_of"]


def test_where_there_are_no_locks_nothing_is_kept_and_this_is_said_once(
    tmp_path, capsys, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    keeper = report.Keeper()
    for metric in ("objective", "nll"):
        keeper.write(tmp_path, "member-0.json", {metric: {"values": {}}})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("nothing is kept: ")
    assert "its file system keeps no locks" in line
    assert not keeper.is_able
    assert not keeper.written


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"metrics": "nll,latent_us"}, r"^metrics=latent_us: .*did you mean latent_use"),
        ({"metrics": "objetive"}, r"^metrics=objetive: .*did you mean objective"),
        ({"metrics": ""}, r"^metrics=: "),
        ({"metrics": "objective", "nll_num_samples": "5"}, r"--nll_num_samples=5: --metrics"),
        ({"nll_num_samples": "0"}, r"^nll_num_samples=0: must be an integer, 1 or more"),
        ({"disentanglement_metrics": "mig,migg"}, r"^disentanglement_metrics=mig,migg: unknown"),
        ({"disentanglement_predictors": "foo"}, r"_predictors=foo: unknown, choose from trees"),
        ({"ais_initial": "foo"}, r"^ais_initial=foo: unknown, choose from posterior"),
        ({"latent_use_kernel": "foo"}, r"^latent_use_kernel=foo: unknown, choose from"),
        ({"exact_split": "tset"}, r"^exact_split=tset: .*did you mean test"),
        ({"num_examples": "1"}, r"^num_examples=1: must be an integer, 2 or more"),
        ({"seed": "x"}, r"^seed=x: must be an integer, 0 or more$"),
        ({"seed": "-1"}, r"^seed=-1: must be an integer, 0 or more$"),
        ({"seed": "99999999999"}, r"=99999999999: must be .* 0 or more, at most 2147483647$"),
        ({"member": "9"}, r"^member=9: must be an integer, 0 or more, at most 0"),
        ({"run": None}, r"--run: name a run directory"),
        ({"run": "/nowhere"}, r"/nowhere: holds no run"),
    ],
)
def test_invalid_settings_are_refused(single, flags, message):
    with pytest.raises(UsageError, match=message):
        run(single, **flags)


def test_a_folder_of_several_runs_needs_a_choice(single, swept):
    assert single.parent == swept.parent
    match = rf"{single.parent}: holds no run .*; name one of the 2 below it, such as {single}$"
    with pytest.raises(UsageError, match=match):
        run(single.parent)


def test_a_member_of_several_programs_is_ambiguous(swept):
    with pytest.raises(UsageError, match=r"^member=0: .* holds 2 programs, name one of them"):
        run(swept, member="0")


def test_every_setting_is_a_flag_with_help():
    texts = evaluate.flag_texts()
    for metric in evaluation.names():
        for name in evaluation.settings(metric):
            assert (f"{metric}_{name}" in texts) != (name == "num_rows")
