"""The tables of a sweep: means against NumPy, the best run and the command that repeats it."""

import math
import shlex

import numpy as np
import pytest

from vae_jax.lab import config, sweep, tables
from vae_jax.storage import csv_rows

VALUES = {"beta": "1,4", "seed": "0,1,2", "widths": "16,8", "learning_rate": "cosine(1e-3,0,100%)"}


def results_of(configs, lost=(), diverged=()):
    generator = np.random.default_rng(0)
    results = []
    for number in range(len(configs)):
        elbo, valid = generator.normal(size=2).tolist()
        done = {"status": "done", "step": 9, "loss": -elbo, "elbo": elbo, "valid_elbo": valid}
        failed = {"status": "diverged", "step": 3, "not_finite": ["loss"]}
        results.append(
            None if number in lost else failed if number in diverged else {**done, "rate": 1.0}
        )
    return results


@pytest.fixture
def table():
    configs = sweep.make_configs(VALUES)
    results = results_of(configs, lost=[1], diverged=[3, 5])
    return configs, results, tables.sweep_rows(configs, sweep.group(configs), results)


def test_each_run_has_a_row_with_its_place_and_its_numbers(table):
    configs, results, rows = table
    assert [row["run"] for row in rows] == [row["member"] for row in rows] == list(range(6))
    assert {row["program"] for row in rows} == {"all"}
    for one, result, row in zip(configs, results, rows, strict=True):
        assert row["seed"] == one.seed
        assert row["beta"] == float(dict(one.hyperparameters)["beta"])
        assert row["status"] == ("missing" if result is None else result["status"])
        assert row["elbo"] == (result or {}).get("elbo")
    assert len({tuple(row) for row in rows}) == 1
    # what all share and nobody asks for is no column
    assert "widths" not in rows[0]


def test_the_summary_is_the_mean_over_seeds(table):
    configs, _, rows = table
    summary = tables.summary_rows(configs, rows)
    assert [line["beta"] for line in summary] == [1, 4]
    assert "seed" not in summary[0]
    for line in summary:
        members = [r for r in rows if r["beta"] == line["beta"]]
        elbos = np.array([r["elbo"] for r in members if r["status"] == "done"])
        assert line["num_runs"] == len(elbos)
        assert line["num_diverged"] == sum(r["status"] == "diverged" for r in members)
        assert line["num_missing"] == sum(r["status"] == "missing" for r in members)
        assert line["elbo_mean"] == pytest.approx(elbos.mean(), rel=1e-12)
        if len(elbos) > 1:
            error = elbos.std(ddof=1) / math.sqrt(len(elbos))
            assert line["elbo_standard_error"] == pytest.approx(error, rel=1e-12)
        else:
            assert line["elbo_standard_error"] is None
    assert [(s["num_runs"], s["num_diverged"], s["num_missing"]) for s in summary] == [
        (2, 0, 1),
        (1, 2, 0),
    ]


def test_a_setting_of_which_nothing_is_left_has_no_mean():
    configs = sweep.make_configs({"seed": "0,1"})
    rows = tables.sweep_rows(configs, sweep.group(configs), results_of(configs, diverged=[0, 1]))
    (line,) = tables.summary_rows(configs, rows)
    assert line["num_runs"] == 0
    assert line["num_diverged"] == 2
    assert "elbo_mean" not in line
    assert tables.best(rows) is None
    assert tables.lines([line])


@pytest.mark.parametrize(
    ("elbos", "best"),
    [([-3.0, -1.0, -2.0], 1), ([math.nan, -5.0, -4.0], 2), ([-3.0, -1.0, None], 1)],
)
def test_the_best_run_has_the_highest_validation_elbo(elbos, best):
    rows = [
        # the test ELBO has no say
        {"run": r, "status": "done", "valid_elbo": v, "elbo": -10.0 * r, "loss": 1.0}
        for r, v in enumerate(elbos)
    ]
    rows[2]["status"] = "done" if elbos[2] is not None else "diverged"
    assert tables.best(rows) == best


def test_a_diverged_run_is_never_the_best():
    rows = [
        {"run": 0, "status": "diverged", "valid_elbo": 5.0},
        {"run": 1, "status": "stopped early", "valid_elbo": -5.0},
    ]
    assert tables.best(rows) == 1


def test_elbos_compare_where_data_and_measure_are_the_same():
    flags = {"dataset": "digits,mnist", "likelihood": "gaussian,laplace,bernoulli", "beta": "1,4"}
    configs = sweep.make_configs(flags)
    groups = tables.comparable(configs)
    assert sorted(number for group in groups for number in group) == list(range(12))
    told = [{(configs[n].dataset, configs[n].likelihood == "bernoulli") for n in g} for g in groups]
    assert all(len(one) == 1 for one in told)
    assert [len(group) for group in groups] == [4, 2, 4, 2]


def test_elbos_of_counts_compare_unless_they_are_given_other_totals():
    flags = {"dataset": "mine.npy", "likelihood": "poisson,nb,zinb,multinomial,gaussian"}
    configs = [
        *sweep.make_configs(flags),
        *sweep.make_configs({**flags, "likelihood": "poisson,nb", "size_factor": "total"}),
    ]
    groups = tables.comparable(configs)
    assert [[configs[n].likelihood for n in group] for group in groups] == [
        ["poisson", "negative_binomial", "zero_inflated_negative_binomial"],
        ["multinomial"],
        ["gaussian"],
        ["poisson", "negative_binomial"],
    ]


def test_without_a_validation_split_the_test_elbo_decides():
    rows = [
        {"run": r, "status": "done", "valid_elbo": None, "elbo": e} for r, e in [(0, -2), (1, -1)]
    ]
    assert tables.best(rows) == 1


@pytest.mark.parametrize(
    "values",
    [
        {},
        VALUES,
        {"variance": "0.1,learned", "likelihood": "gaussian", "clip_norm": "1"},
        {"beta": "linear(0, 4, 50%),'cyclical(0, 1, 10ep)'".replace("'", "")},
        {"ema_decay": "0.9", "optimizer": "adamw", "weight_decay": "0.1", "num_valid": "0"},
        {"network": "conv", "widths": "8,16;4", "activation": "relu", "dataset": "digits"},
    ],
    ids=str,
)
def test_the_command_of_a_run_gives_its_very_config(values, monkeypatch):
    monkeypatch.delenv("VAE_JAX_DATA_DIR", raising=False)
    for one in sweep.make_configs(values):
        words = shlex.split(shlex.join(config.to_flags(one)))
        given = dict(word.removeprefix("--").split("=", 1) for word in words)
        assert config.from_flags(given) == one
        # read as a command it is one run, no sweep
        assert sweep.make_configs(given) == [one]


def test_curves_count_runs_over_the_sweep(tmp_path):
    configs = sweep.make_configs({"widths": "8;16", "seed": "0,1"})
    programs = sweep.group(configs)
    for program in programs[:1]:
        folder = tmp_path / "programs" / program.name
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("run,step,elbo\n0,15,-1.5\n1,15,nan\n1,30,\n")
    rows = tables.curves(programs, tmp_path)
    assert [row["run"] for row in rows] == [programs[0].members[i] for i in (0, 1, 1)]
    assert rows[0]["elbo"] == -1.5
    assert math.isnan(rows[1]["elbo"])
    assert rows[2]["elbo"] is None


def test_lines_are_aligned_and_bounded(table):
    configs, _, rows = table
    summary = tables.summary_rows(configs, rows)
    lines = tables.lines(summary)
    assert len(lines) == 1 + len(summary)
    assert len({len(line) for line in lines}) == 1
    assert "2 of 3" in lines[1]
    assert "1 of 3, 2 diverged" in lines[2]
    assert tables.lines(summary, most=1)[-1] == "and 1 more, in summary.csv"


def test_tables_survive_the_way_through_csv(table, tmp_path):
    _, _, rows = table
    csv_rows.write_table(tmp_path / "sweep.csv", rows)
    assert csv_rows.read_rows(tmp_path / "sweep.csv") == rows


def test_settings_of_one_objective_among_several_are_told_where_its_rows_differ():
    vae = {"objective": "beta_vae", "beta": 1, "gamma": None, "depth": None}
    other = {"objective": "factor_vae", "beta": None, "gamma": 10, "depth": 3}
    counts = {"num_runs": 1, "num_diverged": 0, "num_missing": 0}
    measured = {"elbo_mean": -1.0, "elbo_standard_error": None}
    rows = [{**row, **counts, **measured} for row in (vae, other, {**other, "gamma": 40})]
    header, *told = [line.split() for line in tables.lines(rows)]
    assert header == ["objective", "settings", "runs", "elbo"]
    assert told == [
        ["beta_vae", "1", "-1.00"],
        ["factor_vae", "gamma=10", "1", "-1.00"],
        ["factor_vae", "gamma=40", "1", "-1.00"],
    ]


def test_codes_without_a_prior_are_compared_by_their_distortion_and_among_themselves():
    configs = sweep.make_configs({"objective": "autoencoder,beta_vae", "latent_dim": "2,3"})
    groups = tables.comparable(configs)
    assert [{configs[n].objective for n in g} for g in groups] == [{"autoencoder"}, {"beta_vae"}]
    rows = [
        {"run": 0, "status": "done", "valid_distortion": 5.0, "distortion": 1.0, "loss": 0.0},
        {"run": 1, "status": "done", "valid_distortion": 4.0, "distortion": 2.0, "loss": 9.0},
    ]
    assert tables.best(rows) == 1
    assert tables.judged_by(rows[1]) == "validation distortion"
    assert tables.judged_by({"valid_elbo": -1.0, "valid_distortion": 1.0}) == "validation ELBO"


def test_a_classifier_is_judged_by_its_loss_and_not_beside_a_distortion():
    configs = sweep.make_configs({"objective": "dbn,stacked", "likelihood": "bernoulli"})
    assert tables.comparable(configs) == [[0], [1]]
    assert tables.judged_by({"valid_loss": 2.0, "distortion": 1.0}) == "validation loss"
    assert tables.score({"valid_loss": 2.0, "distortion": 1.0}) == -2.0
    assert tables.judged_by({"valid_elbo": None, "elbo": -3.0, "loss": 1.0}) == "test ELBO"
    assert tables.judged_by({"status": "diverged"}) == "nothing"
