"""The list of planted faults fits the code as it is, and its table says what became of each."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from tests.mutants import __main__ as command
from tests.mutants import _lab
from vae_jax import discovery

for _name in discovery.names("tests.mutants"):
    importlib.import_module(f"tests.mutants.{_name}")
PROJECT = pathlib.Path(__file__).parents[1]


def test_every_fault_can_be_planted_and_parses(tmp_path):
    """Its text stands in the file once, and no name of the replacement is unknown there."""
    assert len(_lab.FAULTS) >= 80
    for number, fault in enumerate(_lab.FAULTS):
        assert fault.text.split() != fault.replacement.split(), fault
        planted = fault.plant((PROJECT / fault.file).read_text())
        (tmp_path / f"fault_{number}.py").write_text(planted)
    # which also tells what does not parse
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select=F821,F823"]
    done = subprocess.run([*ruff, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_fault_has_words_of_its_own_and_tests_that_exist():
    told = [(fault.module, fault.what) for fault in _lab.FAULTS]
    assert len(set(told)) == len(told)
    for test in {test for fault in _lab.FAULTS for test in fault.tests}:
        assert (PROJECT / "tests" / f"test_{test}.py").is_file(), test
    assert all(fault.tests for fault in _lab.FAULTS)


@pytest.mark.parametrize("text", ["a = 1\n", "a = 2\na = 2\n"])
def test_a_text_that_does_not_stand_there_once_is_refused(text):
    fault = _lab.Fault("vae_jax/mine.py", "a = 2", "a = 3", "another number", ("losses",))
    assert fault.plant("a = 2\nb = a\n") == "a = 3\nb = a\n"
    with pytest.raises(ValueError, match=r"vae_jax/mine\.py: 'a = 2' stands there [02] times"):
        fault.plant(text)


def test_modules_are_chosen_with_those_below_them():
    everything = command.chosen("")
    assert everything == _lab.FAULTS
    objectives = command.chosen("objectives")
    assert {fault.module for fault in objectives} >= {"objectives", "objectives.swae"}
    assert {f.module for f in command.chosen("training, model")} == {"training", "model"}
    assert not command.chosen("train")


def test_only_a_test_that_ran_and_failed_has_caught_a_fault():
    def verdict(code, *failed):
        return command.verdict(_lab.Ended(code, list(failed), {}, 1.0, ""))

    assert verdict(1, "tests/test_losses.py::test_x") == "caught"
    assert verdict(0) == "survived"
    assert verdict(None) == "over time"
    assert verdict(1, "collecting tests/test_losses.py") == "broken"
    assert verdict(2) == verdict(5) == verdict(-9) == "broken"
    rows = [
        {"module": "losses", "what": "a sign", "verdict": "caught"},
        {"module": "losses", "what": "an axis", "verdict": "survived"},
        {"module": "model", "what": "a key", "verdict": "broken"},
    ]
    assert command.table(rows) == [
        *("", "| module | caught | survived |", "|---|---|---|"),
        *("| losses | 1 | 1 |", "| model | 0 | 1 |", "| all | 1 | 2 |", ""),
        *("survived: losses: an axis", "broken: model: a key"),
    ]


def test_the_test_that_caught_a_fault_is_kept_until_the_next_try(tmp_path):
    first, second, *_ = _lab.FAULTS
    rows = [{"module": f.module, "what": f.what, "seconds": 1} for f in (first, second)]
    for file in (str(tmp_path / "kept.json"), None):
        ledger = command.Ledger(file)
        ledger.enter({**rows[0], "verdict": "caught", "by": ["tests/test_losses.py::test_x"]})
        ledger.enter({**rows[1], "verdict": "over time", "by": ["tests/test_losses.py::test_x"]})
        again = command.Ledger(file)
        again.enter({**rows[1], "verdict": "survived", "by": []})
        for each in (again, command.Ledger(file)) if file else ():
            assert each.likely(first) == ["tests/test_losses.py::test_x"]
            assert each.likely(second) == []
    assert command.Ledger(None).likely(first) == []


def test_a_copy_is_the_working_tree_without_what_git_ignores(tmp_path):
    copy = _lab.copy_of_checkout(tmp_path / "copy")
    assert (copy / "tests" / "test_mutants.py").read_text() == pathlib.Path(__file__).read_text()
    assert not (copy / ".venv").exists()
    assert not list(copy.rglob("__pycache__"))


@pytest.mark.slow
def test_faults_of_schedules_are_caught_and_the_working_tree_is_untouched():
    path = PROJECT / "vae_jax" / "schedules.py"
    before = path.stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "--only=schedules"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| schedules | 3 | 0 |" in done.stdout
    assert path.stat().st_mtime_ns == before
