"""Applications: methods are compared on the same rows, kept one by one, and told honestly."""

import json
import math
import sys
import types

import pytest

from experiments import applications
from experiments.applications import Measure, Trial, _table
from experiments.applications import __main__ as command
from vae_jax.errors import UsageError

GAIN, LOSS = Measure("gain", "more"), Measure("loss", "less", higher_is_better=False, digits=1)
FLAGS = dict.fromkeys(("application", "protocol", "tasks", "seeds", "workdir", "data_dir"))


def make_application(calls=None, **changes):
    """Two tasks, a model, a baseline; every call of a method is written down."""
    calls = [] if calls is None else calls

    def method(trial, name, gain):
        def run():
            calls.append((trial.task, trial.seed, name))
            return {"gain": gain + trial.seed, "loss": -gain}

        return run

    def methods(trial):
        return {"mean": method(trial, "mean", 1.0), "VAE": method(trial, "VAE", 2.5)}

    module = types.ModuleType("an_application", "Told first.\n")
    values = {
        "PROTOCOLS": {"plain": "as it comes"},
        "SEEDS": 3,
        "MEASURES": (GAIN, LOSS),
        "OURS": ("VAE",),
        "tasks": lambda protocol, data_dir: ["one", "two"],
        "methods": methods,
    }
    module.__dict__.update(values | changes)
    return module


@pytest.fixture
def compare(monkeypatch, tmp_path, capsys):
    """Runs the command on an application; what it prints."""
    monkeypatch.setattr(command.inspect, "getsource", lambda module: module.__doc__)

    def run(application, **flags):
        monkeypatch.setattr(applications, "load", lambda name: application)
        command.main(FLAGS | {"application": "it", "workdir": str(tmp_path)} | flags)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", applications.names())
def test_every_application_names_its_parts(name):
    found = applications.load(name)
    assert found.__doc__.strip()
    assert found.SEEDS >= 2
    assert all(isinstance(measure, Measure) for measure in found.MEASURES)
    for protocol, told in found.PROTOCOLS.items():
        assert told
        tasks = found.tasks(protocol, None)
        assert len(set(tasks)) == len(tasks) > 0
    assert found.OURS


def test_a_table_has_means_and_errors_over_seeds(compare, tmp_path):
    printed = compare(make_application())
    # seeds 0, 1, 2: deviation 1
    assert f"| one | 2.000 ± {1 / math.sqrt(3):.3f} | 3.500 ± 0.577 |" in printed
    assert "| mean of 2 | 2.000 ± 0.577 | 3.500 ± 0.577 |" in printed
    assert "| one | -1.0 ± 0.0 | -2.5 ± 0.0 |" in printed
    assert (tmp_path / "table.md").read_text() in printed


def test_methods_are_compared_by_pairs_of_a_seed(compare):
    printed = compare(make_application())
    assert "all: VAE − mean = +1.500 ± 0.000 of gain: the model is better" in printed
    printed = compare(make_application(MEASURES=(LOSS,), OURS=("mean",), __doc__="Other."))
    assert "one: mean − VAE = +1.5 ± 0.0 of loss: the baseline is better" in printed


def test_a_difference_within_its_error_is_undecided():
    results = {("one", seed): {"a": {"gain": seed % 2}, "VAE": {"gain": 0.4}} for seed in range(4)}
    told = [*_table.lines(make_application(), ["one"], results)]
    assert told[-1].endswith("undecided within two standard errors")


def test_seeds_without_a_value_of_every_task_do_not_count():
    results = {("one", 0): {"a": {"gain": 1.0}}, ("two", 0): {"a": {}}, ("one", 1): {"a": {}}}
    told = "\n".join(_table.lines(make_application(), ["one", "two"], results))
    assert "| mean of 2 |  |" in told
    assert "| one | 1.000 |" in told


def test_what_was_measured_is_kept_and_the_rest_resumes(compare):
    calls = []

    def fails():
        raise RuntimeError("killed")

    broken = make_application(calls)
    whole, broken.methods = broken.methods, lambda trial: {**whole(trial), "late": fails}
    with pytest.raises(RuntimeError, match="killed"):
        compare(broken)
    assert calls == [("one", 0, "mean"), ("one", 0, "VAE")]
    compare(make_application(calls))
    assert len(calls) == 3 * 2 * 2  # each once


def test_results_of_another_text_or_protocol_are_not_used(compare, tmp_path):
    calls = []
    compare(make_application(calls), seeds="1", tasks="one")
    compare(make_application(calls), seeds="1", tasks="one")
    assert len(calls) == 2
    compare(make_application(calls, __doc__="Changed."), seeds="1", tasks="one")
    assert len(calls) == 4
    path = tmp_path / "results" / "one-0.json"
    path.write_text(path.read_text()[:-9])
    compare(make_application(calls, __doc__="Changed."), seeds="1", tasks="one")
    assert len(calls) == 6
    assert json.loads(path.read_text())["methods"].keys() == {"mean", "VAE"}


def test_names_that_do_not_fit_are_refused(compare):
    for flags, message in (
        ({"protocol": "plane"}, "--protocol 'plane' is unknown .did you mean plain"),
        ({"tasks": "one,tow"}, "--tasks 'tow' is unknown .*one, two"),
        ({"seeds": "0"}, "seeds=0: must be an integer, 1 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            compare(make_application(), **flags)
    with pytest.raises(UsageError, match=r"--application: name one of .*dimensionality_reduction"):
        command.main(FLAGS)


def test_maps_of_digits_are_measured(monkeypatch):
    found = applications.load("dimensionality_reduction")
    monkeypatch.setattr(found, "_EPOCHS", 2)
    monkeypatch.setattr(found, "_MAX_TRAIN", 200)
    monkeypatch.setattr(found, "_MAX_TEST", 100)
    methods = found.methods(Trial("digits", "default", 0, None))
    told = {name: methods[name]() for name in ("PCA", "VAE")}
    for values in told.values():
        assert values.keys() == {measure.name for measure in found.MEASURES}
        assert all(0 <= value <= 1 for value in values.values())
    assert told["PCA"]["trustworthiness"] > 0.7
    assert {"t-SNE", "autoencoder"} <= methods.keys()
    assert ("UMAP" in methods) == ("umap" in sys.modules)


def test_pictures_are_restored(monkeypatch):
    found = applications.load("restoration")
    monkeypatch.setitem(found._EPOCHS, "digits", 15)
    methods = found.methods(Trial("half the resolution", "digits", 0, None))
    told = {name: method()["PSNR"] for name, method in methods.items()}
    assert told["corrupted"] < told["bicubic"] < told["linear regression"] < 40
    assert told["corrupted"] < told["denoising autoencoder"]
    assert "bicubic" not in found.methods(Trial("noise", "digits", 0, None))
