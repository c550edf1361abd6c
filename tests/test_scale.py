"""The work of bookkeeping grows with the number of things, not with its square: it is counted."""

import collections
import cProfile
import json
import pstats
import tracemalloc
import types

import numpy as np
import pytest

from vae_jax import data, discovery, labels, memory
from vae_jax.errors import UsageError
from vae_jax.lab import (
    apply,
    expansion,
    identity,
    overview,
    programs,
    sweep,
    sweep_results,
    train,
)
from vae_jax.lab import rows as rows_lib
from vae_jax.lab import unfinished as unfinished_lib
from vae_jax.lab.pictures import _seen
from vae_jax.lab.settings import Config, Plan
from vae_jax.storage import csv_rows, files


class Counted(int):
    """An integer that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


@pytest.fixture
def compared():
    """A function of no arguments: the comparisons of `Counted` integers during a call of it."""

    def count(act):
        Counted.compared = 0
        act()
        return Counted.compared

    return count


def num_calls(act):
    """Calls of Python functions and built-ins during a call."""
    profile = cProfile.Profile()
    profile.runcall(act)
    return pstats.Stats(profile).total_calls


# --- Runs


def rows_file(folder, num):
    """A sweep of runs that are programs of their own."""
    path = folder / f"rows{num}.json"
    path.write_text(json.dumps([{"seed": str(i), "widths": f"{8 + i},8"} for i in range(num)]))
    return str(path)


def bookkeeping(folder, num):
    """What a command does with runs before and after their training: the calls of each part."""
    file = rows_file(folder, num)
    configs = expansion.make_configs({}, file)
    parts = {
        "configs": lambda: expansion.make_configs({}, file),
        "programs": lambda: programs.group(configs),
        "identity": lambda: identity.of_sweep(configs, None),
        "workdir": lambda: identity.workdir_of_sweep(configs),
    }
    return {name: num_calls(part) for name, part in parts.items()}


def test_calls_grow_with_the_number_of_runs(tmp_path):
    bookkeeping(tmp_path, 2)  # what is imported or listed once
    few, many = bookkeeping(tmp_path, 10), bookkeeping(tmp_path, 40)
    for part, num in many.items():
        assert num < 4.4 * few[part], part


def test_settings_of_runs_are_not_compared_with_one_another(monkeypatch, compared):
    """Settings in a sweep's identity, each named once, in the order of the runs."""
    num = 300
    monkeypatch.setattr(Config, "identity", lambda self: {"seed": Counted(self.seed)})
    monkeypatch.setattr(identity, "_digest", lambda *_: "")
    configs = [Config(seed=i) for i in range(num)]
    assert compared(lambda: identity.of_sweep(configs, None)) < 3 * num
    assert identity.of_sweep(configs, None)["seed"] == list(range(num))


def test_equal_settings_of_runs_are_named_once(monkeypatch):
    values = [[1, [2]], [1, [2]], [1, [3]], 1.0, 1, None]
    monkeypatch.setattr(Config, "identity", lambda self: {"x": values[self.seed]})
    monkeypatch.setattr(identity, "_digest", lambda *_: "")
    configs = [Config(seed=i) for i in range(len(values))]
    assert identity.of_sweep(configs, None)["x"] == [[1, [2]], [1, [3]], 1.0, None]


def test_curves_are_drawn_of_the_runs_that_are_there(monkeypatch, compared, tmp_path):
    num, drawn = 200, []
    rows = [{"status": "missing" if r == 1 else "done"} for r in range(num)]
    curves = [{"run": Counted(r), "epoch": e} for r in range(num) for e in range(3)]
    monkeypatch.setattr(sweep_results, "ended", lambda *_: [])
    monkeypatch.setattr(sweep_results.tables, "curves", lambda *_: curves)
    monkeypatch.setattr(sweep_results.pictures, "draw_sweep", lambda *given: drawn.append(given))
    place = types.SimpleNamespace(directory=tmp_path, log=print)
    groups = [([*range(num)], "", [])]
    configs = [Config(seed=i) for i in range(num)]

    def draw():
        sweep_results._draw(place, configs, [], rows, groups)

    assert compared(draw) < 3 * len(curves)
    told = drawn[0][2]
    assert [row["run"] for row in told[:9]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(told) == len(curves) - 3
    assert drawn[0][0][1].seed == 2


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b-1"], ["", "b"]])
def test_programs_of_one_name_get_numbers(monkeypatch, names):
    configs = [[Config(network=name or "!")] for name in names]
    monkeypatch.setattr(programs, "program_settings", lambda c: {"network": c.network})
    found = programs.folder_names(configs)
    assert len(set(found)) == len(names)


def test_the_programs_of_a_sweep_share_their_data(tmp_path, monkeypatch):
    """They are loaded once: to be checked before any is trained, and to train all of them."""
    loads, trained = [], []
    load = data.load
    monkeypatch.setattr(data, "load", lambda *a, **k: loads.append(a) or load(*a, **k))

    def remember(configs, *, load, **_):
        trained.append(load(configs[0]))

    monkeypatch.setattr(train, "train", remember)
    monkeypatch.setattr(sweep_results, "report", lambda *_: None)
    values = {"widths": "4;5;6", "epochs": "1", "workdir": str(tmp_path / "sweep")}
    sweep.run(expansion.make_configs(values), Plan(), [])
    assert len(loads) == 1
    assert len(trained) == 3
    assert len({id(dataset) for dataset in trained}) == 1


def test_datasets_are_kept_as_long_as_there_is_memory(tmp_path, monkeypatch):
    loads = []
    load = data.load
    monkeypatch.setattr(data, "load", lambda *a, **k: loads.append(a[0]) or load(*a, **k))
    configs = []
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(40, 4)))
        configs.append(Config(dataset=str(tmp_path / f"{name}.npy")))
    datasets = train.Datasets()
    for config in configs * 2:
        datasets.load(config)
    assert len(loads) == 2
    # other settings are other data
    datasets.load(Config(dataset=configs[0].dataset, num_valid=5))
    assert len(loads) == 3
    monkeypatch.setattr(memory, "limit_bytes", lambda: 8 * 600)  # one of them is 16 × 40 bytes
    datasets = train.Datasets()
    for config in [*configs, configs[1], configs[0]]:
        datasets.load(config)
    assert len(loads) == 6


# --- Members


def test_the_record_of_an_evaluation_grows_by_a_line(tmp_path, monkeypatch):
    """A metric adds its line: the file is not written again with all that was measured before."""
    written = []
    write = unfinished_lib.files.write_bytes

    def counted(path, content, **options):
        written.append(len(content))
        write(path, content, **options)

    monkeypatch.setattr(unfinished_lib.files, "write_bytes", counted)
    (tmp_path / "evaluation").mkdir()
    owner = ("id", "request")

    def begun(*about):
        return unfinished_lib.Unfinished(tmp_path, tmp_path / "evaluation", *about)

    record, path = begun(*owner), tmp_path / "evaluation" / unfinished_lib.NAME
    parts = {f"member-{i}/nll": f"{i:064d}" for i in range(50)}
    for name, digest in parts.items():
        record.add({name: digest})
    assert len(written) == 1
    assert path.stat().st_size < 51 * (written[0] + 2)
    assert begun(*owner).parts == record.parts == parts
    assert begun("id", "other request").parts == {}
    # a line that a crash cut, or that somebody changed, does not count
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[3].replace(b"member-3/", b"member-9/")
    path.write_bytes(b"".join([*lines[:3], changed, *lines[4:], lines[0][:40]]))
    again = begun(*owner)
    assert again.parts == {name: d for name, d in parts.items() if name != "member-3/nll"}
    again.add({"more": "d"})
    again.add({"most": "e"})
    assert begun(*owner).parts == again.parts == {**again.parts, "more": "d", "most": "e"}
    begun("id", "other request").remove()
    assert path.exists()
    again.remove()
    assert not path.exists()


# --- Epochs


def test_the_last_epoch_is_read_without_the_others(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    num, runs = 500, 3
    rows = [{"epoch": e, "run": r, "elbo": -1.0 * e - r} for e in range(num) for r in range(runs)]
    csv_rows.write_table(path, rows)
    parsed = []
    parse = csv_rows.parse_row
    monkeypatch.setattr(csv_rows, "parse_row", lambda *a: parsed.append(a) or parse(*a))
    assert csv_rows.last_rows(path, "epoch") == rows[-runs:]
    assert len(parsed) == runs + 1
    assert overview._reached(tmp_path) == (str(num - 1), f"{-1.0 * (num - 1):.2f}")
    assert csv_rows.last_rows(tmp_path / "none.csv", "epoch") == []


# --- Labels, and lists of modules


def test_a_class_that_stands_twice_is_found_in_one_pass(compared):
    classes = tuple(Counted(i) for i in range(400))
    twice = (*classes, Counted(399))

    def refuse():
        with pytest.raises(UsageError, match="399 stands more than once"):
            labels.refuse_twice(twice)

    assert compared(refuse) < 10 * len(twice)


def test_a_folder_is_listed_once_until_it_changes(tmp_path, monkeypatch):
    listed = collections.Counter()
    walk = discovery.pkgutil.iter_modules

    def counted(places):
        listed[tuple(places)] += 1
        return walk(places)

    monkeypatch.setattr(discovery.pkgutil, "iter_modules", counted)
    package = types.ModuleType("a_package")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(discovery.sys.modules, "a_package", package)
    (tmp_path / "first.py").touch()
    assert [discovery.names("a_package") for _ in range(3)] == [["first"]] * 3
    assert listed == {(str(tmp_path),): 1}
    (tmp_path / "second.py").touch()
    discovery.os.utime(tmp_path, ns=(0, 1))
    assert discovery.names("a_package") == ["first", "second"]


def test_pages_of_pictures_are_numbered():
    names = ["a.png", "b.tif", "c/d.tif", "b.tif", "c/d.tif", "b.tif"]
    assert apply._numbered(names) == [
        *("a.png", "b-0.png", "c/d-0.png", "b-1.png", "c/d-1.png", "b-2.png"),
    ]


@pytest.mark.parametrize(
    ("labels", "num", "chosen"),
    [
        ([2, -1, 0, 2, 0, 1], 3, [2, 5, 0]),  # the first of 0, of 1, of 2
        ([2, -1, 0, 2, 0, 1], 5, [2, 5, 0, 1, 3]),  # then the first of the rest
        ([2, -1, 0, 2, 0, 1], 9, [2, 5, 0, 1, 3, 4]),
        (None, 2, [0, 1]),
    ],
)
def test_an_example_of_each_label_is_shown(labels, num, chosen):
    own = None if labels is None else np.array(labels)
    assert _seen._one_per_label(own, 6, num) == chosen


def test_examples_are_not_searched_for_each_label(monkeypatch):
    """One pass over the labels, however many classes there are."""
    passes = []
    unique = np.unique
    monkeypatch.setattr(
        _seen.np, "unique", lambda *a, **k: passes.append("sort") or unique(*a, **k)
    )
    monkeypatch.setattr(_seen.np, "argmax", lambda *a, **k: passes.append("search"))
    assert _seen._one_per_label(np.arange(500), 500, 10) == [*range(10)]
    assert passes == ["sort"]


# --- Files


def test_a_small_file_takes_little_memory(tmp_path):
    """Reading at most 1 GiB must not allocate 1 GiB."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"seed": "1"}, {"seed": "2"}]))
    for read in (lambda: files.read_json(path), lambda: rows_lib.read_rows(str(path), {})):
        read()  # what is imported on the way
        tracemalloc.start()
        assert len(read()) == 2
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20
