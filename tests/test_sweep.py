"""Many runs from one command: what is asked for, and that each run is what it would be alone."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from properties import slow

from vae_jax import errors, plots
from vae_jax.devices import layout
from vae_jax.lab import (
    cluster,
    config,
    expansion,
    metrics,
    pictures,
    sweep,
    sweep_results,
    tables,
    train,
)
from vae_jax.lab.config import Plan
from vae_jax.lab.flags import as_flags
from vae_jax.storage import members, runs

pytestmark = pytest.mark.usefixtures("traced_once")
CLOSE = 1e-5  # of float32 on CPU; 2e-7 was seen
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def on_one_device():
    """Workers train as this process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
        yield


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Drawing takes longer than training here; one sweep gets its pictures, see `whole`."""
    draw_sweep = pictures.draw_sweep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        patch.setattr(pictures, "draw_sweep", lambda *_: [])
        yield draw_sweep


# what is asked for


def products(**values):
    return [tuple(run[name] for name in values) for run in expansion.expand(values)]


def make(values=None, text=None, name="runs.csv"):
    """The runs of flags and of a file with this text, in the working directory."""
    if text is not None:
        pathlib.Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return sweep.make_configs(values or {}, None if text is None else name)


def beta(one):
    return dict(one.hyperparameters)["beta"]


def test_the_last_flag_runs_fastest():
    assert products(beta="1,4", seed="0,1,2") == [
        (b, s) for b in ("1", "4") for s in ("0", "1", "2")
    ]
    assert expansion.expand({"beta": "4", "seed": None}) == [{"beta": "4", "seed": None}]


@pytest.mark.parametrize(
    ("name", "value", "values"),
    [
        ("beta", "linear(0, 1, 10)", ["linear(0, 1, 10)"]),
        ("beta", "1, linear(0,1,10),4", ["1", "linear(0,1,10)", "4"]),
        ("learning_rate", "cosine(1e-3,0,100%),1e-3", ["cosine(1e-3,0,100%)", "1e-3"]),
        ("widths", "200,200", ["200,200"]),
        ("widths", "200,200; 16", ["200,200", "16"]),
        ("workdir", "a,b", ["a,b"]),
    ],
)
def test_commas_part_values_outside_parentheses(name, value, values):
    assert products(**{name: value}) == [(v,) for v in values]


def test_a_path_with_a_comma_is_one_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(make({"dataset": "a,b.npy"})) == 2
    (tmp_path / "a,b.npy").touch()
    (one,) = make({"dataset": "a,b.npy"})
    assert one.dataset == "a,b.npy"


def test_rows_are_runs_and_an_empty_cell_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = '\ufeff --beta , widths,seed\r\n 2 ,"16,8",1\r\n\r\n"linear(0,1,9)",,2\r\n'
    (first, second) = make({"latent_dim": "3"}, text)
    assert (beta(first), first.widths, first.seed) == ("2", (16, 8), 1)
    assert (beta(second), second.widths, second.seed) == ("linear(0, 1, 9)", None, 2)
    assert first.latent_dim == second.latent_dim == 3
    rows = [
        {"--beta": 2, "widths": [16, 8], "seed": 1},
        {"seed": 2, "--beta": "linear(0,1,9)", "widths": None},
    ]
    as_json = "\ufeff" + json.dumps(rows)
    assert make({"latent_dim": "3"}, as_json, "runs.json") == [first, second]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clip_norm,ema_decay\n1,\n,\n,0.9\n", [("1", None), (None, None), (None, 0.9)]),
        ("clip_norm,ema_decay\n\n  \n , \n\n,0.9\n\n", [(None, None), (None, 0.9)]),
        ('clip_norm\n1\n\n""\n  \n', [("1", None), (None, None)]),
        ("\n\nclip_norm\n1\n\n", [("1", None)]),
    ],
)
def test_a_row_of_empty_cells_is_a_run_and_a_blank_line_is_none(
    tmp_path, monkeypatch, text, expected
):
    monkeypatch.chdir(tmp_path)
    assert [(one.clip_norm, one.ema_decay) for one in make(text=text)] == expected


def test_flags_beside_a_file_hold_for_each_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = make({"seed": "0,1"}, "beta\n1\n4\n")
    assert [(beta(one), one.seed) for one in runs] == [("1", 0), ("1", 1), ("4", 0), ("4", 1)]


FILES = [
    ("", "holds no runs: give a row for each"),
    ("beta,seed\n\n", "holds no runs: give a row for each"),
    ("beta,seed\n1\n", "row 1 has 1 cells, there are 2 columns"),
    ("beta,seed\n1,2\n1,2,3\n", "row 2 has 3 cells, there are 2 columns"),
    ("widths\n16,8\n", "put values with commas in double quotes"),
    ("beta,--beta\n1,2\n", "sets beta twice, give it once"),
    ("bta\n1\n", "'bta' is not a flag that a row may set (did you mean beta?)"),
    ("workdir\nhere\n", "'workdir' is not a flag that a row may set"),
    ("beta,patience\n,\n1,2\n,\n", "runs 1 and 5 of the sweep are the same"),
    (",,\nbeta,seed,\n", "'' is not a flag that a row may set"),
    ("beta;seed\n1;2\n", "'beta;seed' is not a flag that a row may set"),
    ("seed\n0\n", "--seed=0,1: runs.csv sets it too, give it in one place"),
    (b"beta\n\xff\n", "cannot be read (no UTF-8 text)"),
    ('beta\n"1,4"\n', "--beta=1,4: '1,4' is not a finite number"),
    ("beta\n1\n4\n1.0\n", "runs 1 and 5 of the sweep are the same"),
    ("[]", "holds no runs: give a row for each"),
    ("[{}]", "row 1 sets no flag"),
    ("[{", "is not JSON (Expecting property name"),
    ("[" * 100_000, "must be a list of objects, but is nested too deeply"),
    ('{"beta": [1, 4]}', "must be a list of objects, one for each run"),
    ("[1, 4]", "must be a list of objects, one for each run"),
    ('[{"beta": 1}, {"widths": 2}]', "row 2 has widths, the first row has beta: give the same"),
    ('[{"beta": 1, "beta": 2}]', "sets beta twice, give it once"),
    ('[{"beta": [1, 4]}]', "--beta=1,4: '1,4' is not a finite number"),
    ('[{"beta": NaN}]', "--sweep=runs.json, run 1: --beta=nan: 'nan' is not a finite number"),
    ('[{"beta": {"a": 1}}]', "is not a finite number"),
    ('[{"beta": 1.0}, {"beta": 1}]', "runs 1 and 3 of the sweep are the same"),
]


@pytest.mark.parametrize(("text", "message"), FILES, ids=[str(t)[:30] for t, _ in FILES])
def test_a_file_that_does_not_fit_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    name = "runs.json" if text[:1] in ("[", "{") else "runs.csv"
    with pytest.raises(errors.UsageError) as error:
        make({"seed": "0,1"}, text, name)
    assert message in as_flags(str(error.value))
    assert "\n" not in str(error.value)


def test_a_sweep_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in [(tmp_path / "none.csv", "No such file"), (tmp_path, "no regular file")]:
        with pytest.raises(errors.UsageError, match=rf"^sweep={path}: cannot be read \({reason}"):
            sweep.make_configs({}, str(path))


def test_a_product_that_is_too_large_is_counted_not_made():
    many = ",".join(map(str, range(1, 2001)))
    with pytest.raises(errors.UsageError, match="8000000000 runs: at most 10000"):
        expansion.expand({"beta": many, "seed": many, "latent_dim": many})


@pytest.mark.parametrize(
    "values", [{"beta": "1,1.0"}, {"seed": "0,1,00"}, {"beta": "linear(0,1,10),linear(0, 1.0,1e1)"}]
)
def test_a_value_that_stands_twice_is_refused(values):
    with pytest.raises(errors.UsageError, match=r"runs 1 and \d of the sweep are the same"):
        sweep.make_configs(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": "1,,2"}, "--beta=1,,2: holds an empty value"),
        ({"learning_rate": "1e-3,linear(0,1"}, "a parenthesis is not closed, or not opened"),
        (
            {"objective": "beta_vae,capacity_vae", "gamma": "1,10"},
            "run 1 of 4: --gamma=1: objective beta_vae takes --beta, --free_bits, --num_samples "
            "(rows of --sweep",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_named(values, message):
    with pytest.raises(errors.UsageError) as error:
        sweep.make_configs(values)
    assert message in as_flags(str(error.value))


# what trains together


@pytest.mark.parametrize(
    "values",
    [
        {"beta": "1,4,linear(0,1,10)", "seed": "0,1", "latent_dim": "2,5"},
        {"learning_rate": "1e-3,cosine(1e-3,0,100%)", "free_bits": "0,0.1"},
        {"variance": "0.1,2", "clip_norm": "1,5", "ema_decay": "0.9,0.99"},
        {"objective": "capacity_vae", "capacity": "0,linear(0,5,50%)", "gamma": "1,100"},
        {"optimizer": "adamw", "weight_decay": "0,0.1"},
        {"init_scale": "0.577,1"},
        {"adam_b1": "0.5,0.9", "adam_b2": "0.9,0.999", "adam_eps": "1e-20,1e-4"},
        {"learning_rate": "warmup_cosine_decay(0, 1e-3, 5ep, 100%)", "seed": "0,1"},
    ],
    ids=str,
)
def test_runs_that_differ_in_numbers_are_one_program(values):
    configs = sweep.make_configs(values)
    (program,) = sweep.group(configs)
    assert program == ("all", list(range(len(configs))), configs)


@pytest.mark.parametrize(
    "values",
    [
        {"network": "mlp,conv"},
        {"widths": "16;16,16"},
        {"activation": "tanh,relu"},
        {"batch_size": "50,100"},
        {"likelihood": "gaussian,bernoulli"},
        {"variance": "0.1,learned"},
        {"objective": "beta_vae,capacity_vae"},
        {"optimizer": "adam,adamw"},
        {"epochs": "1,2"},
        {"patience": "1,2"},
        {"dtype": "float32,bfloat16"},
        {"num_valid": "10,20"},
        {"dataset": "digits,mnist"},
    ],
    ids=str,
)
def test_settings_that_change_the_program_split_runs(values):
    configs = sweep.make_configs({**values, "seed": "0,1"})
    programs = sweep.group(configs)
    assert [len(p.members) for p in programs] == [2, 2]
    assert sorted(n for p in programs for n in p.members) == [0, 1, 2, 3]
    assert len({p.name for p in programs}) == 2


def test_optional_numbers_of_some_runs_only_part_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    programs = sweep.group(make({}, "clip_norm,ema_decay,seed\n1,,0\n,,0\n1,0.9,0\n2,,1\n"))
    assert [(program.name, program.members) for program in programs] == [
        ("clip_norm=1,2-ema_decay=default", [0, 3]),
        ("clip_norm=default-ema_decay=default", [1]),
        ("clip_norm=1-ema_decay=0.9", [2]),
    ]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"variance": "0.1,learned,0.5", "beta": "1,4"}, ["variance=0.1,0.5", "variance=learned"]),
        (
            {"learning_rate": "1e-3,linear(1e-3, 0, 9),polynomial(1e-3, 0, 1, 9)"},
            ["learning_rate=0.001,linear_0.001,0,9_", "learning_rate=polynomial_0.001,0,1,9_"],
        ),
        # what an objective takes alone is told by its name
        (
            {"objective": "beta_vae,capacity_vae", "seed": "0,1"},
            ["objective=beta_vae", "objective=capacity_vae"],
        ),
        (
            {"objective": "beta_tc_vae", "sampling": "stratified,weighted", "beta": "1,4"},
            ["sampling=stratified", "sampling=weighted"],
        ),
        ({"optimizer": "adam,adamw", "clip_norm": "1,2"}, ["optimizer=adam", "optimizer=adamw"]),
        ({"widths": "16;16,16"}, ["widths=16", "widths=16,16"]),
        ({"seed": "0,1"}, ["all"]),
    ],
    ids=str,
)
def test_programs_are_named_by_what_parts_them(values, names):
    assert [program.name for program in sweep.group(sweep.make_configs(values))] == names


def test_programs_are_cut_into_parts():
    configs = sweep.make_configs({"network": "mlp,linear", "seed": "0,1,2"})
    programs = sweep.group(configs, 2)
    assert [(p.name, p.members) for p in programs] == [
        ("network=mlp-part0", [0, 1]),
        ("network=mlp-part1", [2]),
        ("network=linear-part0", [3, 4]),
        ("network=linear-part1", [5]),
    ]
    assert all(p.configs == [configs[n] for n in p.members] for p in programs)


@pytest.mark.parametrize(
    "values",
    [
        {"widths": ";".join(map(str, range(1, 30))), "num_valid": "3,4"},
        {"dataset": "/x?y,/x_y,/x_y-1"},
        {"dataset": ",".join("/long" * 20 + end for end in "abc")},
        {"dataset": "/data/ü,/data/ö,digits"},
    ],
    ids=lambda v: str(v)[:40],
)
def test_folders_of_programs_are_distinct_and_plain(values):
    programs = sweep.group(sweep.make_configs(values))
    names = [p.name for p in programs]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "/" not in name and " " not in name for name in names)
    assert max(map(len, names)) < 100


# a run in a sweep is the run alone

SHARED = {"widths": "16", "epochs": "14", "patience": "3", "batch_size": "200"}
MEMBERS = [
    # no step changes anything after the fifth epoch: stops early
    {
        "beta": "1",
        "seed": "3",
        "learning_rate": "linear(1e-2, 0, 40)",
        "latent_dim": "2",
        "variance": "0.1",
    },
    {"beta": "4", "seed": "1", "learning_rate": "3e-3", "latent_dim": "5", "variance": "0.05"},
    {
        "beta": "linear(0, 2, 20)",
        "seed": "2",
        "learning_rate": "linear(2e-3, 1e-3, 40)",
        "latent_dim": "2",
        "variance": "1",
    },
]
SPARE = {"beta": "1", "seed": "0", "learning_rate": "1e-3", "latent_dim": "3", "variance": "1"}
BAD = {**SPARE, "learning_rate": "1e30"}
TERMS = ("loss", "elbo", "rate", "distortion", "elbo_standard_error", "valid_elbo", "valid_loss")


def train_rows(directory, rows, plan=None, **values):
    """Trains the runs of a file, and returns their results."""
    directory.parent.mkdir(exist_ok=True)
    file = directory.parent / f"{directory.name}.json"
    file.write_text(json.dumps(rows))
    configs = sweep.make_configs({**SHARED, "workdir": str(directory), **values}, str(file))
    return sweep.run(configs, plan or Plan(), ["--given"])


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def rows_of(directory, run):
    """The epochs of a run in a sweep of one program, as text."""
    rows = read(directory / "programs" / "all" / "metrics.csv")
    return [row for row in rows if row.pop("run") == str(run)]


def numbers(result):
    """What does not depend on the clock."""
    return {k: v for k, v in result.items() if k not in ("wall_seconds", "examples_per_second")}


SETTINGS = {
    "latent_dim": {"latent_dim": "2,3"},
    "latent_dim_and_seed": {"latent_dim": "2,3", "seed": "0,1"},
    "seed": {"seed": "0,1"},
    "beta": {"beta": "1,4"},
    "schedules": {"beta": "1,linear(0, 4, 10)", "latent_dim": "2,3"},
    "network": {"network": "mlp,linear", "latent_dim": "2,3"},
    "three": {"beta": "1,4", "learning_rate": "1e-3,1e-2", "latent_dim": "2,3"},
    "one": {"beta": "4"},
}


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        *((name, "none") for name in SETTINGS),
        ("three", "some"),
        ("three", "all"),
        *(
            pytest.param(name, lost, marks=pytest.mark.slow)
            for name in SETTINGS
            for lost in ("some", "all")
            if name != "three"
        ),
    ],
)
def test_whatever_varies_is_drawn(tmp_path, no_pictures, monkeypatch, name, lost):
    if name != "three":  # which takes most of the time
        monkeypatch.setattr(plots.pictures, "_render", lambda *_: b"")
    configs = sweep.make_configs(SETTINGS[name])
    result = {"status": "done", "step": 9, "rate": 2.0, "distortion": 5.0, "active_units": 2}
    results = [{**result, "loss": 7.0 + r, "elbo": -7.0 - r} for r in range(len(configs))]
    num_lost = {"none": 0, "some": len(configs) // 2, "all": len(configs)}[lost]
    results[:num_lost] = [{"status": "diverged", "step": 3}] * num_lost
    rows = tables.sweep_rows(configs, sweep.group(configs), results)
    curves = [{"run": r, "epoch": e, "loss": 1.0 / e} for r in range(len(rows)) for e in (1, 2)]
    told = []
    failed = no_pictures(configs, rows, curves, tmp_path, [], lambda line, echo: told.append(line))
    assert not failed
    drawn = [path.stem for path in tmp_path.glob("*.png")]
    assert {*told[0].partition(": ")[2].split(", ")} == {*drawn}
    assert "curves" in drawn
    assert ("rate_distortion" in drawn) == (lost != "all")
    assert ("elbo_against_latent_dim" in drawn) == (
        "latent_dim" in SETTINGS[name] and lost != "all"
    )


def test_a_picture_of_a_sweep_that_fails_takes_nothing_with_it(tmp_path, no_pictures, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no cells")

    monkeypatch.setattr(plots, "sweep_heatmap", fail)
    configs = sweep.make_configs(SETTINGS["three"])
    result = {"status": "done", "step": 9, "rate": 2.0, "distortion": 5.0, "active_units": 2}
    results = [{**result, "loss": 7.0 + r, "elbo": -7.0 - r} for r in range(len(configs))]
    rows = tables.sweep_rows(configs, sweep.group(configs), results)
    told = []

    def log(line, echo):
        told.append((line, echo))

    failed = no_pictures(configs, rows, [], tmp_path, [], log, " of x")
    assert failed == {"heatmap": "ValueError: no cells"}
    assert told[0] == ("picture heatmap of x could not be drawn (ValueError: no cells)", True)
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        *("rate_distortion", "elbo_against_latent_dim")
    }


def test_the_tables_of_a_sweep_are_there_before_its_pictures(tmp_path, monkeypatch):
    configs = sweep.make_configs(SETTINGS["beta"])
    result = {"status": "done", "step": 9, "loss": 7.0, "elbo": -7.0}
    programs = sweep.group(configs)
    monkeypatch.setattr(tables, "curves", lambda *_: 1 / 0)
    with (
        runs.open_run(tmp_path / "sweep", {}) as opened,
        pytest.raises(ZeroDivisionError),
    ):
        sweep_results.report(opened, configs, programs, [result, {**result, "elbo": -6.0}])
    assert json.loads((tmp_path / "sweep" / "best.json").read_text())["run"] == 1
    assert len(read(tmp_path / "sweep" / "sweep.csv")) == 2
    assert len(read(tmp_path / "sweep" / "summary.csv")) == 2


def test_a_program_with_pictures_to_be_drawn_has_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "read_results", lambda _: [{"status": "done"}])
    assert train.has_ended(tmp_path)
    (tmp_path / train.UNDRAWN).touch()
    assert not train.has_ended(tmp_path)
    monkeypatch.setattr(members, "read_results", lambda _: None)
    (tmp_path / train.UNDRAWN).unlink()
    assert not train.has_ended(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def swept(folder):
    """Three runs and one that diverges, in the middle: directory and results."""
    rows = [MEMBERS[0], BAD, *MEMBERS[1:]]
    return folder / "bad", train_rows(folder / "bad", rows)


@pytest.fixture(scope="module")
def alone(folder):
    """The same three, each trained alone, with its own latent size."""
    runs = []
    for number, row in enumerate(MEMBERS):
        directory = folder / f"alone{number}"
        values = {**SHARED, **row, "workdir": str(directory)}
        (result,) = train.train([config.from_flags(values)])
        runs.append((read(directory / "metrics.csv"), result))
    return runs


GOOD = (0, 2, 3)


def test_a_run_that_diverged_is_not_taken_for_a_trained_one(swept):
    program = swept[0] / "programs" / "all"
    assert members.load_member(program, 1).failure == swept[1][1]["step"]
    assert members.load_member(program, 2).failure is None
    with pytest.raises(errors.DivergedError, match=r"member 1 of .* diverged at step"):
        metrics.load(program, 1)


@pytest.mark.fault("R13")
def test_a_run_of_a_sweep_is_the_run_alone(swept, alone):
    """β, seed, learning rate, variance and latent size, all different, and two of them masked."""
    directory, results = swept
    for run, (rows, result) in zip(GOOD, alone, strict=True):
        own = rows_of(directory, run)
        assert [row.keys() for row in own] == [row.keys() for row in rows]
        for a, b in zip(own, rows, strict=True):
            for name in a:
                # the parts of the rate are small differences of logarithms
                close = pytest.approx(float(b[name]), rel=CLOSE, abs=CLOSE)
                assert float(a[name]) == close, (run, name)
        for name in TERMS:
            assert results[run][name] == pytest.approx(result[name], rel=CLOSE), (run, name)
        for name in ("active_units", "num_examples", "num_parameters"):
            assert results[run][name] == result[name]
        # of its own dimensions, and no more
        assert len(result["rate_per_dim"]) == int(MEMBERS[GOOD.index(run)]["latent_dim"])
        assert results[run]["rate_per_dim"] == pytest.approx(
            result["rate_per_dim"], rel=CLOSE, abs=1e-6
        )
        assert sum(results[run]["rate_per_dim"]) == pytest.approx(result["rate"], rel=CLOSE)


def test_patience_stops_each_run_for_itself(swept, alone):
    _, results = swept
    for run, (rows, result) in zip(GOOD, alone, strict=True):
        for name in ("status", "step", "best_epoch"):
            assert results[run][name] == result[name]
        assert result["step"] == int(rows[-1]["step"])
    assert {results[run]["status"] for run in GOOD} == {"done", "stopped early"}
    early = [results[run] for run in GOOD if results[run]["status"] == "stopped early"]
    steps_per_epoch = int(rows[0]["step"])
    for result in early:
        assert result["step"] == (result["best_epoch"] + 3) * steps_per_epoch


@pytest.mark.fault("R7")
@pytest.mark.slow
def test_a_run_that_diverges_changes_no_bit_of_the_others(swept, folder):
    directory, results = swept
    assert results[1].keys() >= {"status", "step", "not_finite"}
    assert results[1]["status"] == "diverged"
    harmless = train_rows(folder / "harmless", [MEMBERS[0], SPARE, *MEMBERS[1:]])
    assert harmless[1]["status"] == "done"
    for run in GOOD:
        assert rows_of(directory, run) == rows_of(folder / "harmless", run)
        assert numbers(results[run]) == numbers(harmless[run])
    assert len(rows_of(directory, 1)) < len(rows_of(folder / "harmless", 1))
    (row,) = [row for row in read(directory / "sweep.csv") if row["status"] == "diverged"]
    assert row["run"] == "1"
    assert row["elbo"] == ""


def test_a_sweep_goes_on_where_it_ended(swept, folder):
    """With a run that diverged and one that had stopped: each row as if never interrupted."""
    rows = [MEMBERS[0], BAD, *MEMBERS[1:]]
    train_rows(folder / "twice", rows, epochs="8")
    twice = train_rows(folder / "twice", rows)
    directory, results = swept
    assert [numbers(r) for r in twice] == [numbers(r) for r in results]
    name = "programs/all/metrics.csv"
    assert (folder / "twice" / name).read_bytes() == (directory / name).read_bytes()
    assert (folder / "twice" / "sweep.csv").read_bytes() == (directory / "sweep.csv").read_bytes()


# devices

PROGRAM = """
import json, pathlib, sys
import numpy as np
from vae_jax.lab import loop, pictures, sweep
from vae_jax.lab.config import Plan

pictures.draw = pictures.draw_sweep = lambda *_: []
inner, kept = loop.run, {}

def watched(run, experiment, *rest):
    ended = inner(run, experiment, *rest)
    state = ended.carried.state
    kept.update(
        mesh=dict(experiment.layout.mesh.shape), step=np.asarray(state.step).tolist(),
        stopped=np.asarray(state.stopped).tolist(), failure=np.asarray(state.failure).tolist(),
    )
    return ended

loop.run = watched
values, directory = json.loads(sys.argv[1]), pathlib.Path(sys.argv[2])
configs = sweep.make_configs({**values, "workdir": str(directory)}, sys.argv[3])
sweep.run(configs, Plan(), [])
(directory / "kept.json").write_text(json.dumps(kept))
"""


@pytest.mark.fault("R13")
@pytest.mark.slow
def test_filler_runs_do_not_train_and_do_not_affect_results(alone, folder):
    """Three runs over two devices, in slots of which the fourth is nobody's."""
    file, directory = folder / "filled.json", folder / "filled"
    file.write_text(json.dumps(MEMBERS))
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(SHARED), str(directory), str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, **flags},
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kept = json.loads((directory / "kept.json").read_text())
    assert kept["mesh"] == {"runs": 2, "data": 1}
    results = json.loads((directory / "programs" / "all" / "results.json").read_text())
    assert kept["step"] == [*(result["step"] for result in results), 0]
    assert kept["stopped"][3]
    assert kept["failure"] == [-1] * 4
    for run, (rows, result) in enumerate(alone):
        assert [row["step"] for row in rows_of(directory, run)] == [row["step"] for row in rows]
        assert results[run]["status"] == result["status"]
        assert results[run]["elbo"] == pytest.approx(result["elbo"], rel=CLOSE)


def test_idle_runs_are_not_computed():
    seen = []

    def double(x, is_idle):
        jax.debug.callback(lambda value: seen.append(int(value)), x)
        return jax.numpy.where(is_idle, x, 2 * x)

    place = layout.make_layout(3)
    doubled = place.over_runs(double, is_idle=lambda x, is_idle: is_idle)
    x, idle = place.place((np.arange(1, 4), np.array([False, True, False])))
    assert np.asarray(doubled(x, idle)).tolist() == [2, 2, 6]
    jax.effects_barrier()
    assert sorted(seen) == [1, 3]


# what a sweep leaves behind, and the same command again

GRID = {**SHARED, "epochs": "2", "beta": "1,4", "latent_dim": "2,5", "variance": "0.1"}


def train_grid(directory, plan=None, **values):
    # what lies there must not depend on how long it took
    values = {"checkpoint_seconds": "1000", **values}
    configs = sweep.make_configs({**GRID, "workdir": str(directory), **values})
    return sweep.run(configs, plan or Plan(), ["--given"])


def contents(directory):
    """Everything that a sweep holds, but logs and pictures."""
    kinds = (".json", ".csv", ".txt")
    files = [p for p in directory.rglob("*") if p.suffix in kinds and "plots" not in p.parts]
    return {str(p.relative_to(directory)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def table(directory):
    """`sweep.csv` without the place of a run."""
    return [
        {name: cell for name, cell in row.items() if name not in ("program", "member")}
        for row in read(directory / "sweep.csv")
    ]


@pytest.fixture(scope="module")
def whole(folder, no_pictures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw_sweep", no_pictures)
        train_grid(folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="module")
def parted(folder):
    """Two programs of two runs each."""
    train_grid(folder / "parted", Plan(runs_per_program=2))
    return folder / "parted"


def test_a_sweep_leaves_tables_and_pictures(whole):
    rows = read(whole / "sweep.csv")
    assert [(row["beta"], row["latent_dim"]) for row in rows] == [
        (beta, size) for beta in ("1", "4") for size in ("2", "5")
    ]
    assert {row["status"] for row in rows} == {"done"}
    assert [line["num_runs"] for line in read(whole / "summary.csv")] == ["1"] * 4
    assert (whole / "command.txt").read_text().split()[-1] == "--given"
    stems = ("rate_distortion", "elbo_against_latent_dim", "heatmap", "curves")
    plots = {p.name for p in (whole / "plots").iterdir()}
    assert plots == {f"{stem}.{end}" for stem in stems for end in ("png", "csv")}
    best = json.loads((whole / "best.json").read_text())
    assert best["run"] == int(np.argmax([float(row["valid_elbo"]) for row in rows]))


def test_the_command_of_the_best_run_gives_its_number(whole, tmp_path):
    best = json.loads((whole / "best.json").read_text())
    words = best["command"].split()
    assert words[:3] == ["python", "-m", "experiments.vae"]
    given = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    # where it lies and how often it was saved are no part of the experiment
    chosen = {"widths", "epochs", "batch_size", "patience", "variance", "beta", "latent_dim"}
    assert given.keys() <= chosen | {"data_dir"}
    assert given.keys() >= chosen - {"beta"}
    (one,) = sweep.make_configs({**given, "workdir": str(tmp_path / "run")})
    (result,) = train.train([one])
    for name in ("elbo", "valid_elbo", "rate", "distortion"):
        assert result[name] == pytest.approx(best[name], rel=CLOSE)


def test_how_runs_are_parted_changes_no_number(whole, parted):
    assert len(list((parted / "programs").glob("*-part*/results.json"))) == 2
    assert table(parted) == table(whole)


@pytest.mark.slow
def test_a_worker_gives_the_same_numbers(whole, folder):
    train_grid(folder / "local", Plan(executor="local"))
    for name in ("sweep.csv", "summary.csv", "programs/all/metrics.csv"):
        assert (folder / "local" / name).read_bytes() == (whole / name).read_bytes()


def test_the_same_command_again_is_complete(swept, parted, capsys):
    before = contents(parted)
    train_grid(parted, Plan(runs_per_program=2))
    assert capsys.readouterr().out.count("complete already") == 2
    after = contents(parted)
    assert after.keys() == before.keys()
    assert {n: text for n, (text, _) in after.items()} == {n: t for n, (t, _) in before.items()}
    # of the programs nothing was even written
    assert all(after[n] == before[n] for n in after if n.startswith("programs/"))
    # a run that diverged is not tried again
    directory, results = swept
    before = contents(directory)
    again = train_rows(directory, [MEMBERS[0], BAD, *MEMBERS[1:]])
    assert again == results
    assert "complete already" in capsys.readouterr().out
    after = contents(directory)
    assert all(after[n] == before[n] for n in after if n.startswith("programs/"))


def test_only_what_is_missing_is_trained(parted, capsys):
    before = contents(parted)
    gone, kept = sorted(p for p in (parted / "programs").iterdir() if p.is_dir())
    shutil.rmtree(gone)
    capsys.readouterr()
    train_grid(parted, Plan(runs_per_program=2))
    assert capsys.readouterr().out.count("complete already") == 1
    after = contents(parted)
    assert after.keys() == before.keys()
    for name in after:
        if name.startswith(f"programs/{kept.name}/"):
            assert after[name] == before[name]
    for name in ("sweep.csv", "summary.csv", "best.json", f"programs/{gone.name}/metrics.csv"):
        assert after[name][0] == before[name][0]


def test_a_sweep_whose_runs_all_diverge_is_an_error(folder):
    rates = {"learning_rate": "1e30", "beta": "1", "latent_dim": "2,5"}
    with pytest.raises(errors.DivergedError, match="all 2 runs diverged"):
        train_grid(folder / "all_lost", **rates)


@pytest.mark.fault("R7")
@pytest.mark.slow
def test_a_program_that_diverges_altogether_holds_up_no_other(folder, capsys):
    plan = Plan(runs_per_program=1)
    rates = {"learning_rate": "1e30,1e-3", "beta": "1", "latent_dim": "2"}
    lost, won = train_grid(folder / "lost", plan, **rates)
    assert (lost["status"], won["status"]) == ("diverged", "done")
    assert json.loads((folder / "lost" / "best.json").read_text())["run"] == 1
    before = contents(folder / "lost")
    assert train_grid(folder / "lost", plan, **rates) == [lost, won]
    assert contents(folder / "lost").keys() == before.keys()


def test_other_runs_in_the_same_place_are_refused(parted):
    before = contents(parted)
    for values, plan in [({"beta": "1,2"}, Plan(runs_per_program=2)), ({}, Plan())]:
        with pytest.raises(errors.UsageError, match="`overwrite=True`"):
            train_grid(parted, plan, **values)
    assert contents(parted) == before


@pytest.mark.parametrize("executor", [None, *slow("local")])
def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys, executor):
    monkeypatch.chdir(tmp_path)
    plan = Plan(dry_run=True, executor=executor, runs_per_program=3)
    sweep.main(dict(GRID), plan, [])
    out = capsys.readouterr().out
    assert "4 runs in 2 programs" in out
    assert "all-part0" in out
    sweep.main({**GRID, "beta": "1", "latent_dim": "2"}, plan, [])
    sweep.main(dict(GRID), dataclasses.replace(plan, runs_per_program=None, as_program=True), [])
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_fails_elsewhere_fails_the_sweep(tmp_path, monkeypatch):
    def fail(tasks, *_, **__):
        return [cluster.Outcome(tasks[0].name, "failed", 5, "error: the disk is full")]

    monkeypatch.setattr(cluster, "fan_out", fail)
    configs = sweep.make_configs({**GRID, "workdir": str(tmp_path / "sweep")})
    with pytest.raises(errors.IncompleteError, match=r"1 of 1 program failed .*the disk is full"):
        sweep.run(configs, Plan(executor="local"), [])
    (rows,) = [read(tmp_path / "sweep" / "sweep.csv")]
    assert {row["status"] for row in rows} == {"missing"}


def test_a_program_that_cannot_train_is_refused_before_another_has(tmp_path):
    bad = {"batch_size": "100,5000", "workdir": str(tmp_path / "sweep")}
    with pytest.raises(errors.UsageError, match=r"^batch_size=5000"):
        sweep.run(sweep.make_configs({**GRID, **bad}), Plan(), [])
    assert list(tmp_path.iterdir()) == []
