"""What is said of the kinds of a table's columns."""

import json
import re

import numpy as np

from vae_jax import data, likelihoods, make_model, schema

from ._cases import at, attempt, tries
from .of_data import DATA, TABLE, csv, load, rows

TREES = ["oak", "ash", "elm"] * 10
NUMBERS = {"a": TABLE[:, 0], "b": TABLE[:, 1]}
SCHEMA, MIXED = "vae_jax/schema/", "vae_jax/likelihoods/mixed.py"


def table(folder, **columns):
    return csv(folder / "a.csv", rows({**NUMBERS, "tree": TREES, **columns}))


# --- Settings of columns

own = DATA + "__init__.py"


@tries(at(own, "_kinds")("give kinds={'age': 'count'}, for example"))
def a_kind_without_a_column(folder, patch):
    path = table(folder)
    message = yield attempt(load, path, kinds="count")
    given = eval(re.search(r"give kinds=(\{.*\})", message)[1])
    yield attempt(load, path, kinds=dict.fromkeys(["a"], "real" if given else None))


@tries(at(own, "_set_kind")("leave one of them out"))
def a_column_that_is_set_twice(folder, patch):
    path = table(folder)
    yield attempt(load, path, kinds="a=real", ignore="a")
    yield attempt(load, path, kinds="a=real")


@tries(at(own, "_texts")("must be names of columns: give …='a', for example"))
def a_column_that_is_no_name(folder, patch):
    path = table(folder)
    message = yield attempt(load, path, ignore=3)
    yield attempt(load, path, ignore=re.search(r"ignore='(\w)'", message)[1])


@tries(at(DATA + "_tables.py", "_without_splits")("write train, valid or test in each row"))
def a_set_column_that_says_no_splits(folder, patch):
    path = table(folder)
    yield attempt(load, path, split_column="tree")
    words = ["train", "valid", "test"] * 10
    yield attempt(load, table(folder, tree=words), split_column="tree")


# --- Cells that do not fit


@tries(at(DATA + "_dataset.py", "check")("take likelihood=mixed, or kinds=numeric for complete"))
def another_likelihood_of_a_mixed_table(folder, patch):
    path = table(folder)
    message = yield attempt(make_model, load(path), likelihood="gaussian")
    name = re.search(r"take likelihood=(\w+)", message)[1]
    yield attempt(make_model, load(path), likelihood=name)
    kinds = re.search(r"kinds=(\w+)", message)[1]
    yield attempt(make_model, load(path, kinds=kinds), likelihood="gaussian")


@tries(at(DATA + "_files.py", "_coded")("rescale them"))
def numbers_beyond_float32(folder, patch):
    far = np.geomspace(1e-250, 1e250, 30)
    yield attempt(load, table(folder, far=far), kinds="far=positive", scaling="none")
    near = np.geomspace(1e-25, 1e25, 30)
    yield attempt(load, table(folder, far=near), kinds="far=positive", scaling="none")


@tries(at(SCHEMA + "_kind.py", "Column.refuse")("correct it"))
def a_level_that_is_none(folder, patch):
    found = load(table(folder)).schema
    new = {"a": [1.5], "b": [2.5], "tree": ["fir"]}
    yield attempt(found.encode, new)
    yield attempt(found.encode, {**new, "tree": ["elm"]})


@tries(at(SCHEMA + "_kind.py", "require")("leave it out"))
def a_kind_that_does_not_fit(folder, patch):
    path = table(folder)
    yield attempt(load, path, kinds="a=positive")
    yield attempt(load, path)


@tries(at(SCHEMA + "__init__.py", "_column")("the column has no known cell: leave it out"))
def a_kind_of_an_empty_column(folder, patch):
    path = table(folder, e=[""] * 30)
    yield attempt(load, path, kinds="e=real")
    yield attempt(load, path)


@tries(at(SCHEMA + "__init__.py", "_refuse_text")("leave it out with ignore="))
def columns_of_text(folder, patch):
    texts = {name: [f"{name} tree of {i}" for i in range(30)] for name in ("note", "more")}
    path = table(folder, **texts)
    message = yield attempt(load, path)
    yield attempt(load, path, ignore=re.search(r"ignore=(.*)$", message)[1].split(","))


own = at(SCHEMA + "_numbers.py", "Number.code")


@tries(own("correct it"), own("or leave it out with missing_values="))
def a_number_that_is_not_finite(folder, patch):
    cells = [*TABLE[:, 2]]
    cells[3] = "inf"
    path = table(folder, c=cells)
    message = yield attempt(load, path)
    yield attempt(load, table(folder, c=TABLE[:, 2]))
    table(folder, c=cells)
    yield attempt(load, path, missing_values=re.search(r"missing_values=(\w+)", message)[1])


@tries(at(SCHEMA + "_schema.py", "Schema._codes")("give each column that the schema learns from"))
def rows_without_a_column(folder, patch):
    found = load(table(folder)).schema
    new = {"a": [1.5], "b": [2.5]}
    yield attempt(found.encode, new)
    yield attempt(found.encode, {**new, "tree": ["elm"]})


@tries(at(SCHEMA + "__init__.py", "from_json")("give that of schema.json"))
def another_json(folder, patch):
    yield attempt(schema.from_json, {"a": 1})
    kept = json.loads(json.dumps(load(table(folder)).schema.as_json()))
    yield attempt(schema.from_json, kept)


# --- The mixed likelihood

own = at(MIXED, "Mixed.__post_init__")


@tries(own("give a Dataset of vae_jax.data.load, or take gaussian"))
def a_mixed_likelihood_of_no_columns(folder, patch):
    message = yield attempt(make_model, (4,), likelihood="mixed")
    yield attempt(make_model, data.load(str(table(folder))))
    yield attempt(make_model, (4,), likelihood=re.search(r"take (\w+)$", message)[1])


@tries(at(MIXED, "Mixed.init")("give x that is encoded by the same schema"))
def a_mixed_likelihood_of_another_shape(folder, patch):
    dataset = load(table(folder))
    made = likelihoods.make("mixed", parts=dataset.parts)
    yield attempt(made.init, (2,))
    yield attempt(made.init, dataset.schema.encode(dict(NUMBERS, tree=TREES)).shape[1:])
