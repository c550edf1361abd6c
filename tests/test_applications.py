"""Applications: methods are compared on the same rows, kept one by one, and told honestly."""

import json
import math
import os
import sys
import types

import numpy as np
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


def test_a_measure_that_no_method_has_is_left_out():
    results = {("one", 0): {"a": {"gain": 1.0}}}
    told = [*_table.lines(make_application(), ["one"], results)]
    assert told[0] == "| method | gain | seconds |"
    assert not any(line.startswith("loss") for line in told)


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


# --- Imputation


@pytest.fixture
def imputation(monkeypatch):
    found = applications.load("imputation")
    monkeypatch.setattr(found, "_STEPS", 2)
    monkeypatch.setattr(found, "_NUM_SAMPLES", 2)
    monkeypatch.setattr(found, "_NUM_WEIGHTED", 3)
    monkeypatch.setitem(found._MODEL, "widths", (4,))
    return found


def test_holes_are_those_of_the_protocols(imputation):
    half = imputation._holes(Trial("iris", "miwae", 0, None))
    assert np.isnan(half.fitted).sum() == half.truth.size // 2
    again, other = (imputation._holes(Trial("iris", "miwae", seed, None)) for seed in (0, 1))
    np.testing.assert_array_equal(half.fitted, again.fitted)
    assert (np.isnan(half.fitted) != np.isnan(other.fitted)).any()
    high = imputation._holes(Trial("wine", "self_masking", 0, None))
    least = np.where(np.arange(13) < 13 // 2, high.truth.mean(axis=0), np.inf)
    np.testing.assert_array_equal(np.isnan(high.fitted), high.truth > least)


def test_a_mean_has_the_error_of_a_standardized_column(imputation):
    """At random: about 1 squared, and √ of it; nothing but what is observed decides the scale."""
    trial = Trial("breast_cancer", "miwae", 0, None)
    holes = imputation._holes(trial)
    squared = imputation.methods(trial)["mean"]()["error"]
    assert abs(squared - 1) < 0.1
    observed = np.nanmean(holes.fitted, axis=0)
    errors = ((observed - holes.truth) / holes.truth.std(axis=0))[np.isnan(holes.fitted)]
    assert squared == pytest.approx(np.mean(errors**2))
    mean = imputation._baselines(holes.fitted.shape, 0)["mean"]
    assert imputation._measured(mean, holes, "gain")["error"] == pytest.approx(np.sqrt(squared))


def test_a_mechanism_is_learned_if_there_is_one(imputation):
    baselines = {"mean", "kNN", "ridge", "forest"}
    for protocol, models in (("miwae", imputation.OURS[:2]), ("self_masking", imputation.OURS)):
        found = imputation.methods(Trial("iris", protocol, 0, None))
        assert found.keys() == {*baselines, *models}


@pytest.mark.slow
def test_models_fill_in_what_is_hidden(imputation):
    found = imputation.methods(Trial("iris", "self_masking", 0, None))
    assert 0 < found["not-MIWAE"]()["error"] < 3


HAS_DATA = pytest.mark.skipif(
    not os.environ.get("VAE_JAX_DATA_DIR"), reason="set VAE_JAX_DATA_DIR to the folder of tables"
)


@HAS_DATA
def test_tables_of_the_protocols_are_read(imputation):
    for protocol in ("gain", "held_out", "miwae", "self_masking"):
        for task in imputation.tasks(protocol, None):
            holes = imputation._holes(Trial(task, protocol, 0, None))
            assert np.isfinite(holes.truth).all()
            is_hidden = np.isnan(holes.filled)
            np.testing.assert_array_equal(holes.filled[~is_hidden], holes.truth[~is_hidden])
            assert 0.1 < is_hidden.mean() < 0.51
            assert protocol == "held_out" or holes.filled is holes.fitted


@HAS_DATA
def test_columns_of_several_kinds_have_their_own_errors(imputation):
    """The paper's mask of 30 %; the mean of a column and the commonest category."""
    trial = Trial("wine_30", "hivae", 1, None)
    table = imputation._table(trial)
    np.testing.assert_allclose(table.is_hidden.mean(), 0.3, atol=0.01)
    found = imputation.methods(trial)
    assert found.keys() == {"mean", "kNN", "ridge", "forest", "VAE", "MIWAE"}
    of_mean = found["mean"]()
    own = table.is_hidden[:, -1]
    commonest = table.truth["column_12"].mode()[0]
    assert of_mean["wrong"] == pytest.approx((table.truth["column_12"][own] != commonest).mean())
    perfect = imputation._measured_columns(lambda holes: table.truth, table)
    assert perfect == {"error": 0.0, "wrong": 0.0}


@HAS_DATA
@pytest.mark.slow
def test_a_model_of_columns_of_several_kinds_fills_them_in_better_than_means():
    methods = applications.load("imputation").methods(Trial("wine_10", "hivae", 0, None))
    found, of_means = (methods[name]() for name in ("MIWAE", "mean"))
    assert found["error"] < 0.9 * of_means["error"]
    assert found["wrong"] < 0.5 * of_means["wrong"]
