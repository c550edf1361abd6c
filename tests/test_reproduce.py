"""A recipe becomes a sweep, its runs become numbers beside those that were published."""

import itertools
import json
import math
import pathlib
import re
import shlex
import subprocess
import sys
import types

import pytest

from experiments import recipes, reproduce
from experiments.recipes import Column, Row
from vae_jax import schedules
from vae_jax.cli import command
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import config, pictures, sweep

pytestmark = pytest.mark.usefixtures("traced_once")

ROOT = pathlib.Path(__file__).parents[1]
COMMON = {"epochs": "1", "widths": "8", "batch_size": "300", "num_valid": "0"}
COMMON["learning_rate"] = "1e-3"  # such a run may go on for longer


def make_recipe(**changes):
    """Two rows on digits, one of two seeds that cannot be trained yet."""
    values = {
        "__doc__": "A table.\n",
        "BUDGETS": {"small": dict(COMMON), "large": {**COMMON, "epochs": "2"}},
        "SEEDS": 2,
        "ROWS": [
            Row("two", {"latent_dim": "2"}, {"nll": {"paper": 1.5}}),
            Row("three", {"latent_dim": "3"}, {"nll": {"paper": 2.5, "port": 2.25}}),
            Row("later", {}, {"nll": {"paper": 3.5}}, waits_for="waits for more"),
        ],
        "COLUMNS": [
            Column("nll", "nll", "nll", {"num_samples": 3}),
            Column("log p", "nll", "nll", {"num_samples": 3}, factor=-1),
        ],
    }
    return types.SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_can_be_trained_and_measured(name):
    recipe = recipes.load(name)
    assert recipe.__doc__.strip()
    assert {"full", "cpu"} <= set(recipe.BUDGETS)
    for budget in recipe.BUDGETS:
        for flags in reproduce.flags_of(recipe, budget):
            chosen = config.from_flags(flags)
            schedules.parse(chosen.learning_rate, steps_per_epoch=600, num_steps=10**6)
    from vae_jax import evaluation

    for column in recipe.COLUMNS:
        if column.metric != "objective":
            assert column.entry in evaluation.load(column.metric).DEFINITIONS
            assert column.settings.keys() <= evaluation.settings(column.metric).keys()
    names = {column.name for column in recipe.COLUMNS}
    for row in recipe.ROWS:
        assert row.published.keys() <= names
        assert all(math.isfinite(v) for who in row.published.values() for v in who.values())


def test_the_schedule_of_iwae_is_the_papers():
    """3^(i−1) epochs at 1e-4·round(10^(1−(i−1)/7), 1), 3,280 in all."""
    recipe = recipes.load("iwae")
    flags = recipe.BUDGETS["full"]
    schedule = schedules.parse(flags["learning_rate"], steps_per_epoch=1)
    epoch = 0
    for stage in range(1, 9):
        rate = 1e-4 * round(10 ** (1 - (stage - 1) / 7), 1)
        for at in (epoch, epoch + 3 ** (stage - 1) - 1):
            assert float(schedule(at)) == pytest.approx(rate)
        epoch += 3 ** (stage - 1)
    assert epoch == int(flags["epochs"]) == 3280


def test_rows_times_seeds_in_order():
    flags = reproduce.flags_of(make_recipe(), "large")
    chosen = [(f["latent_dim"], f["seed"], f["epochs"]) for f in flags]
    assert chosen == [("2", "0", "2"), ("2", "1", "2"), ("3", "0", "2"), ("3", "1", "2")]


def test_a_row_may_ask_for_more_in_one_budget():
    rows = [Row("two", {"latent_dim": "2"}, {}, by_budget={"large": {"latent_dim": "4"}})]
    recipe = make_recipe(ROWS=rows, SEEDS=1)
    sizes = {b: reproduce.flags_of(recipe, b)[0]["latent_dim"] for b in recipe.BUDGETS}
    assert sizes == {"small": "2", "large": "4"}


def test_means_and_errors_over_seeds():
    recipe = make_recipe()
    runs = [{"nll": (v, 0.5), "log p": (-v, 0.5)} for v in (1.0, 3.0, 5.0)]
    table = reproduce.gather(recipe, [*runs, None])
    two, three, later = (table[name]["nll"] for name in ("two", "three", "later"))
    assert two.mean == 2.0
    assert two.standard_error == pytest.approx(1.0)  # √(2 / 2), s = √2
    assert (three.mean, three.standard_error) == (5.0, 0.5)  # of the one that is left
    assert math.isnan(later.mean)
    text = "\n".join(reproduce.lines(recipe, table))
    assert "| nll | paper | port | ours |" in text
    assert "| two | 1.5 |  | 2.000 ± 1 |" in text
    assert "| three | 2.5 | 2.25 | 5.000 ± 0.5 |" in text
    assert "| later | 3.5 |  | waits for more |" in text


def test_notes_speak_of_rows_that_were_trained():
    told = []
    recipe = make_recipe(notes=lambda results: told.append(list(results)) or ["said"])
    table = reproduce.gather(recipe, [{"nll": (1.0, 0.1), "log p": (-1.0, 0.1)}] * 2 + [None] * 2)
    assert list(reproduce.lines(recipe, table))[-1] == "said"
    assert told == [["two"]]


def test_a_recipe_from_flags_to_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: [])
    monkeypatch.setattr(recipes, "names", lambda: ["mine"])
    monkeypatch.setattr(recipes, "load", lambda name: make_recipe(SEEDS=1))
    values = {"recipe": "mine", "budget": None, "workdir": str(tmp_path / "all"), "data_dir": None}
    reproduce.main(values)
    first = (tmp_path / "all" / "table.md").read_text()
    assert "| later | 3.5 |  | waits for more |" in first
    assert "not trained" not in first
    held = list((tmp_path / "all" / "runs" / "programs").glob("*/evaluation/*.json"))
    assert len(held) == 4
    values_of = {
        (path.name.split("-")[1], json.loads(path.read_text())["values"]["nll"]) for path in held
    }
    assert len({value for _, value in values_of}) == 2
    assert all(json.loads(path.read_text())["seconds"] > 0 for path in held)
    # again: nothing is trained or measured
    load = reproduce.metrics.Loader.load
    monkeypatch.setattr(reproduce.metrics.Loader, "load", None)
    capsys.readouterr()
    reproduce.main(values)
    assert (tmp_path / "all" / "table.md").read_text() == first
    # trained further: what was measured before does not count
    monkeypatch.setattr(reproduce.metrics.Loader, "load", load)
    longer = make_recipe(SEEDS=1, BUDGETS={"small": {**COMMON, "epochs": "2"}})
    monkeypatch.setattr(recipes, "load", lambda name: longer)
    reproduce.main(values)
    assert (tmp_path / "all" / "table.md").read_text() != first


def shrunk(name):
    """A recipe on digits: a few steps of small layers, few samples; phases of an epoch each."""
    recipe = recipes.for_budget(recipes.load(name), "cpu")
    every = [
        {**recipe.BUDGETS["cpu"], **row.flags, **row.by_budget.get("cpu", {})}
        for row in recipe.ROWS
    ]
    lengths = sorted({int(flags["epochs"]) for flags in every})

    def of_row(row, flags):
        length = 2 + lengths.index(int(flags["epochs"]))
        for flag, value in flags.items():
            ends = itertools.count(1)
            flags[flag] = re.sub(r"\d+ep", lambda _, ends=ends: f"{next(ends)}ep", value)
        flags |= {
            "dataset": "digits",
            "epochs": str(length),
            "batch_size": "500",
            "num_valid": "100",
        }
        flags["widths"] = re.sub(r"\d+", "8", flags.get("widths", "8"))
        flags.setdefault("likelihood", "bernoulli")
        if flags["network"] == "conv_map":
            flags["latent_dim"] = "16"
        return row._replace(flags=flags, by_budget={})

    few = {"num_samples": 3, "max_train": 200, "max_tsne": 1000, "num_draws": 20}
    columns = [
        column._replace(settings={n: few.get(n, value) for n, value in column.settings.items()})
        for column in recipe.COLUMNS
    ]
    rows = [of_row(*each) for each in zip(recipe.ROWS, every, strict=True)]
    changes = {"BUDGETS": {"cpu": {}}, "SEEDS": 1, "ROWS": rows, "COLUMNS": columns}
    return types.SimpleNamespace(**{**vars(recipe), **changes})


OF_MNIST = [
    name
    for name in recipes.names()
    if recipes.load(name).BUDGETS["cpu"].get("dataset") in ("mnist", "binarized_mnist")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_MNIST)
def test_a_recipe_runs_from_its_flags_to_its_table(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(pictures, "draw_sweep", lambda *_: [])
    recipe = shrunk(name)
    monkeypatch.setattr(recipes, "load", lambda _: recipe)
    reproduce.main(
        {"recipe": name, "budget": "cpu", "workdir": str(tmp_path / "all"), "data_dir": None}
    )
    table = (tmp_path / "all" / "table.md").read_text()
    assert "not trained" not in table
    for row in recipe.ROWS:
        assert table.count(f"| {row.name} |") == len(recipe.COLUMNS)


def test_claims_are_judged_with_their_errors():
    def result(mean, error):
        return reproduce.Result(mean, error, {"paper": 84.0})

    results = {"a": {"nll": result(84.5, 0.3)}, "b": {"nll": result(86.5, 0.4)}}
    (line,) = recipes.below(results, "a", "b", "nll")
    assert line == "nll: a is 2 ± 0.5 below b: holds"
    (line,) = recipes.below(results, "a", "b", "nll", least=1.5)
    assert line.endswith("(claimed: at least 1.5): undecided within two standard errors")
    (line,) = recipes.below(results, "b", "a", "nll")
    assert line == "nll: b is -2 ± 0.5 below a: fails"
    (line,) = recipes.near(results, "a", "nll", "paper", within=2.0)
    assert line == "nll: a is +0.5 ± 0.3 from paper (claimed: within 2): holds"
    (line,) = recipes.near(results, "b", "nll", "paper", within=1.0)
    assert line.endswith("fails")
    constant = {**results, "c": {"nll": result(87.0, math.nan)}}
    assert recipes.below(constant, "a", "c", "nll") == ["nll: a is 2.5 ± 0.3 below c: holds"]
    assert recipes.below(results, "a", "c", "nll") == []
    assert recipes.near(results, "c", "nll", "paper", within=1.0) == []


def test_a_budget_chooses_rows_and_settings_of_columns():
    rows = [Row("two", {}, {}), Row("three", {}, {}, budgets=("large",))]
    columns = [Column("nll", "nll", "nll", {"a": 1, "b": 2}, by_budget={"small": {"b": 3}})]
    recipe = make_recipe(ROWS=rows, COLUMNS=columns, SEEDS=1)
    own = {budget: recipes.for_budget(recipe, budget) for budget in ("small", "large")}
    assert [row.name for row in own["small"].ROWS] == ["two"]
    assert [row.name for row in own["large"].ROWS] == ["two", "three"]
    assert own["small"].COLUMNS[0].settings == {"a": 1, "b": 3}
    assert own["large"].COLUMNS[0].settings == {"a": 1, "b": 2}
    assert len(reproduce.flags_of(recipe, "small")) == 1


@pytest.mark.slow
def test_one_run_of_a_recipe_trains_alone(tmp_path, monkeypatch, capsys):
    rows = [Row("two", {"latent_dim": "2"}, {"nll": {"paper": 1.5}})]
    monkeypatch.setattr(recipes, "load", lambda name: make_recipe(SEEDS=1, ROWS=rows))
    folder = tmp_path / "all"
    values = {"recipe": "mine", "budget": "small", "workdir": str(folder), "data_dir": None}
    reproduce.main(values)
    assert "| two | 1.5 | " in (folder / "table.md").read_text()
    assert len(list((folder / "runs" / "evaluation").glob("column-*-0.json"))) == 2
    assert not (folder / "runs" / "programs").exists()


@pytest.mark.slow
def test_the_command_that_is_kept_is_the_one_that_trains(tmp_path, monkeypatch, capsys):
    """Given again as it stands in `command.txt`, it finds everything complete."""
    monkeypatch.setattr(recipes, "load", lambda name: make_recipe())
    sweep.train_rows(reproduce.flags_of(make_recipe(), "small"), tmp_path, None)
    words = shlex.split((tmp_path / "runs" / "command.txt").read_text())
    assert words[:3] == ["python", "-m", "experiments.vae"]
    given = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    assert sorted(given) == ["sweep", "workdir"]
    capsys.readouterr()
    sweep.main({"workdir": given["workdir"]}, config.Plan(sweep=given["sweep"]), words[3:])
    assert "complete already" in capsys.readouterr().out


def test_a_table_that_cannot_be_written_ends_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    values = {"recipe": "iwae", "budget": "cpu", "workdir": str(tmp_path / "file" / "in")}
    with pytest.raises(StorageError, match="file/in cannot be written"):
        reproduce.main({**values, "data_dir": None})


def test_names_that_do_not_fit_are_refused():
    for values, message in (
        ({"recipe": None, "budget": None}, r"--recipe: name one of .*iwae"),
        ({"recipe": "iwea", "budget": None}, r"did you mean iwae"),
        ({"recipe": "iwae", "budget": "huge"}, r"--budget=huge: iwae has full, cpu"),
    ):
        with pytest.raises(UsageError, match=message):
            reproduce.main({"workdir": None, "data_dir": None, **values})


def test_the_recipe_may_stand_first():
    words = command.with_first(["x", "iwae", "--budget=cpu"], "recipe")
    assert words == ["x", "--recipe=iwae", "--budget=cpu"]
    assert command.with_first(["x", "--budget=cpu"], "recipe") == ["x", "--budget=cpu"]
    assert command.with_first(["x"], "recipe") == ["x"]


@pytest.mark.parametrize(
    "words", [["ppca", "--recipe=iwae"], ["ppca", "-recipe", "ppca"], ["--recipe=a", "--recipe=b"]]
)
def test_two_recipes_are_one_too_many(words):
    with pytest.raises(UsageError, match=r"names two recipes: name one of them$"):
        command.with_first(["x", *words], "recipe")


def test_a_command_of_two_recipes_ends_in_one_line():
    words = ["ppca", "--recipe=iwae"]
    command = [sys.executable, "-m", "experiments.reproduce", *words]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(r"error: .*names two recipes: name one of them\n", ran.stderr)
