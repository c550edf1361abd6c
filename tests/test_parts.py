"""The phase after training goes on where it was interrupted, and leaves the same bytes."""

import collections
import functools
import json
import shutil
import types

import pytest

from vae_jax.lab import build, config, loop, parts, pictures, results, train
from vae_jax.storage import members, runs

SETTINGS = {"network": "linear", "latent_dim": "2", "epochs": "1", "beta": "0.5"}
NAMES = ("first.txt", "second.txt", "third.txt")


class Stopped(BaseException):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def done():
    """What was computed: name of a split or picture → how often; `stops` is the next that stops."""
    counts, measure = collections.Counter(), build.evaluate
    counts.stops = None

    def count(name):
        if name == counts.stops:
            raise Stopped(name)
        counts[name] += 1

    def evaluate(experiment, params, split, step):
        count(split)
        return measure(experiment, params, split, step)

    def draw(name, seen):
        count(name)
        return [f"{name} of rates {seen.rates}"]

    made = {name: functools.partial(draw, name) for name in NAMES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_all", lambda *_: {})
        patch.setattr(pictures, "_of_model", lambda *_: made)
        patch.setattr(results.building, "evaluate", evaluate)
        # no time passes, so that nothing of it is in a file
        still = types.SimpleNamespace(perf_counter=lambda: 0.0)
        for module in (train, loop):
            patch.setattr(module, "time", still)
        # it is compiled once
        experiment = train.prepare([config.from_flags(SETTINGS)])
        patch.setattr(train, "prepare", lambda *_, **__: experiment)
        yield counts


def run_once(directory):
    return train.train([config.from_flags({**SETTINGS, "workdir": str(directory)})])


def stop_at(done, part, directory):
    done.stops = part
    with pytest.raises(Stopped, match=part):
        run_once(directory)
    done.stops = None


def content(directory):
    """Path → bytes of all that a run leaves, but for what tells of the time and place."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("run.log", "lock", "env.json")
    }


@pytest.fixture(scope="module")
def begun(done, tmp_path_factory):
    """A run that was interrupted when its training had ended, and all that it leaves at its end."""
    run, begun = (tmp_path_factory.mktemp("parts") / name for name in ("run", "begun"))
    stop_at(done, "test", run)
    shutil.copytree(run, begun)
    assert run_once(run)[0]["status"] == "done"
    assert done == dict.fromkeys(("test", "valid", *NAMES), 1)
    return run, begun, content(run)


@pytest.fixture
def trained(begun, done):
    """The same run before its end, and all that it is to leave."""
    run, before, whole = begun
    shutil.rmtree(run)
    shutil.copytree(before, run)
    done.clear()
    return run, whole


def test_every_part_is_done_once_however_often_it_is_interrupted(trained, done):
    run, whole = trained
    for part in ("valid", *NAMES):
        stop_at(done, part, run)
    assert not train.has_ended(run)
    run_once(run)
    assert done == dict.fromkeys(("test", "valid", *NAMES), 1)
    assert content(run) == whole
    assert not {parts.MEASURED, parts.UNDRAWN} & whole.keys()
    assert train.has_ended(run)
    run_once(run)
    assert done.total() == 5


def edited(stored):
    stored["test"]["loss"] = [0.0]


def unsealed(stored):
    del stored["seal"]


@pytest.mark.parametrize("change", [edited, unsealed, "not JSON"])
def test_parts_that_were_changed_are_done_again(trained, done, change):
    run, whole = trained
    for part, name in (("valid", parts.MEASURED), ("second.txt", parts.UNDRAWN)):
        stop_at(done, part, run)
        stored = json.loads((run / name).read_text())
        if callable(change):
            (change if name == parts.MEASURED else unsealed)(stored)
        text = change if isinstance(change, str) else json.dumps(stored)
        (run / name).write_text(text)
    run_once(run)
    assert done == {"test": 2, "valid": 1, NAMES[0]: 2, NAMES[1]: 1, NAMES[2]: 1}
    assert content(run) == whole


def test_parts_of_another_run_are_not_taken(tmp_path):
    for number in range(2):
        with runs.open_run(tmp_path / str(number), {"seed": number}) as run:
            run.write_config()
            mine = parts.Parts(run, parts.MEASURED, "a hash")
            if number:
                shutil.copyfile(tmp_path / "0" / parts.MEASURED, run.path(parts.MEASURED))
            assert mine.once("test", lambda n=number: {"loss": n}) == {"loss": number}


def test_parts_of_other_parameters_are_not_taken(tmp_path):
    with runs.open_run(tmp_path / "run", {}) as run:
        first = parts.Parts(run, parts.MEASURED, "a hash")
        values = {"loss": [float("inf"), 0.1], "elbo": float("-inf"), "steps": [3]}
        assert first.once("test", lambda: values) == values
        again = parts.Parts(run, parts.MEASURED, "a hash")
        assert again.once("test", lambda: 1 / 0) == values
        other = parts.Parts(run, parts.MEASURED, "another hash")
        assert other.once("test", lambda: {"loss": [1.0]}) == {"loss": [1.0]}


def test_a_process_that_is_killed_after_the_results_leaves_no_part(trained, done):
    run, whole = trained
    stop_at(done, "valid", run)
    left = (run / parts.MEASURED).read_bytes()
    stop_at(done, "second.txt", run)
    assert members.read_results(run) is not None
    (run / parts.MEASURED).write_bytes(left)
    run_once(run)
    assert content(run) == whole
