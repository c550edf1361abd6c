"""`python -m experiments.numbers`: a row is run again, and read in what its command prints."""

import csv
import subprocess
import sys

import pytest

from experiments import numbers, recipes, reproduce
from experiments.benchmark import measuring, peers, scaling
from vae_jax.errors import UsageError, VaeJaxError
from vae_jax.lab import results

ROWS = numbers.rows()


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A function that makes a table of one row called `one`."""
    monkeypatch.setattr(numbers, "TABLE", tmp_path / "numbers.csv")

    def write(command, read):
        row = numbers.Row("one", "a claim", command, read, "3.1 | 4", "a machine", "2026-01-01")
        with numbers.TABLE.open("w", newline="") as file:
            writer = csv.DictWriter(file, numbers.Row._fields)
            writer.writeheader()
            writer.writerow(row._asdict())

    return write


def test_a_row_is_run_again_and_both_values_are_printed(table, capsys):
    table("python -c 'print(\"elbo 3.25 ± 0.1, rate\", 2 + 3)'", r"elbo (\S+) ± .* (\d+)$")
    numbers.main([])
    assert capsys.readouterr().out == "one: a claim\n"
    numbers.main(["one"])
    *_, old, new = capsys.readouterr().out.splitlines()
    assert old == "old: 3.1 | 4  (a machine, 2026-01-01)"
    assert new.startswith("new: 3.25 | 5  (")


def test_a_row_without_a_place_to_read_is_of_the_time(table, capsys):
    table("cd . && sleep 0.6", "")
    numbers.main(["one"])
    assert "new: 1 s  (1 s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "command", "error", "message"),
    [
        (["ones"], "true", UsageError, r"'ones' is no row \(did you mean one\?\): without a name"),
        (["one", "two"], "true", UsageError, "one two: name one row"),
        (["one"], "false | cat", VaeJaxError, r"false \| cat: ended with exit code 1"),
        (["one"], "echo two", VaeJaxError, "one: its command does not print the number"),
    ],
)
def test_a_row_that_cannot_be_run_ends_in_one_line(table, argv, command, error, message):
    table(command, r"(\d+)")
    with pytest.raises(error, match=message) as caught:
        numbers.main(argv)
    assert "\n" not in str(caught.value)


def test_the_command_ends_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.numbers", "digit"],
        cwd=numbers.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'digit' is no row (did you mean digits?)")
    assert len(done.stderr.splitlines()) == 1


# --- Each row reads what our commands print


def result_line(**more):
    """The last line of a training."""
    terms = {"loss": 1.5, "elbo": -2.25, "rate": 0.5, "distortion": 1.75}
    errors = {f"{name}_standard_error": 0.125 for name in terms}
    line = results.summary({"status": "done", "step": 3, **terms, **errors, **more})
    return f"epoch 1/1: valid elbo -9\n{line}\nin runs/one: result.json\n"


@pytest.mark.parametrize(
    ("name", "more", "value"),
    [
        ("digits", {}, "-2.25 ± 0.12 | 0.50 | 1.75"),
        ("mnist.mlp", {"active_units": 3}, "-2.25 ± 0.12 | 0.50 | 1.75"),
        ("words", {"bits_per_character": 4.5}, "2.25 ± 0.12 | 4.500 bits per character"),
        ("words.dropout", {"bits_per_character": 4.5}, "0.50 | 4.500 bits per character"),
        ("taxi", {"nats_per_step": 4.5}, "-2.25 ± 0.12 | 4.500 nats per step"),
    ],
)
def test_the_terms_of_a_training_are_read(name, more, value):
    assert numbers.found(ROWS[name].read, result_line(**more), 1.0) == value


@pytest.mark.parametrize("name", [name for name in recipes.names() if name in ROWS])
def test_the_table_of_a_paper_is_read(name):
    recipe = recipes.load(name)
    budget = next(iter(recipe.BUDGETS))
    measured = [
        {column.name: (7 + i, 0.5) for column in recipe.COLUMNS}
        for i, _ in enumerate(reproduce.flags_of(recipe, budget))
    ]
    lines = reproduce.lines(recipe, reproduce.gather(recipe, measured))
    value = numbers.found(ROWS[name].read, "\n".join(lines), 1.0)
    if name == "ppca":
        assert value.endswith(" nats")  # of the line below the table
    else:
        trained = [row for row in recipe.ROWS if not row.waits_for]
        assert value.count("±") == len(trained) * len(recipe.COLUMNS)
        assert value.startswith("7.") or recipe.SEEDS > 1


def benchmark_lines(case, *whats):
    rows = [
        measuring.Row(case, what, 0.001 * (i + 1), "s/step", i + 0.5, 0, 1, "speed of another")
        for i, what in enumerate(whats)
    ]
    other = measuring.Row("another case", whats[0], 9.0, "s/step", 9.0, 0, 1, "speed")
    return "\n".join(measuring.table("a section", [other, *rows, other]))


def test_the_rows_of_the_benchmark_are_read():
    cases = [contest.workload.name for contest in peers.CONTESTS]
    names = [name for name in ROWS if name.startswith("speed.") and name.endswith("3.11")]
    assert len(names) == len(cases)
    for name, case in zip(names, cases, strict=True):
        value = numbers.found(ROWS[name].read, benchmark_lines(case, peers.OURS, peers.FLAX), 1.0)
        assert [line.split()[0] for line in value.splitlines()] == ["ours:", "plain"]
        assert "2,000.0 µs/step" in value

    case = "digits 8×8, MLP 200,200, batch 100"
    lines = benchmark_lines(case, "1 run, jax.jit(train.chunk)", "1 run, a sweep of length one")
    value = numbers.found(ROWS["cost.sweep.digits.one.3.11"].read, lines, 1.0)
    assert value == "2,000.0 µs/step | 1.50"
    lines = benchmark_lines(f"{scaling.SWEEP_SIZE} runs of {case}", "1 device on 2 cores")
    value = numbers.found(ROWS["cost.devices.digits.1.3.11"].read, lines, 1.0)
    assert value == "1,000.0 µs/step | 0.50"
    lines = benchmark_lines("a case", "none", "beside the training")
    assert numbers.found(ROWS["saving"].read, lines, 1.0) == "1.50"
