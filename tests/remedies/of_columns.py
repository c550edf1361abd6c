"""What is said of a second table, and of the rows that are trained on."""

import re

import numpy as np

from vae_jax import make_model

from ._cases import at, attempt, tries
from .of_data import DATA, TABLE, csv, load, rows

TREES = ["oak", "ash", "elm"] * 10
DAYS = np.datetime64("2025-01-01") + np.arange(30)
COLUMNS = {"a": TABLE[:, 0], "b": TABLE[:, 1], "tree": TREES, "day": DAYS}
OTHER = DATA + "_other_rows.py"


def table(path, **columns):
    told = {name: values for name, values in {**COLUMNS, **columns}.items() if values is not None}
    return csv(path, rows(told))


# --- A second table


@tries(at(DATA + "__init__.py", "_second")("give a file that ends in …"))
def a_second_table_that_is_none(folder, patch):
    path = table(folder / "a.csv")
    message = yield attempt(load, path, test_data=folder)
    assert path.suffix in re.search(r"ends in (.*)$", message)[1]
    yield attempt(load, path, test_data=path)


own = at(OTHER, "as_test")


@tries(own("or if two columns have one name: leave test_data out"))
def a_second_table_without_kinds(folder, patch):
    path = table(folder / "a.csv")
    yield attempt(load, path, kinds="numeric", test_data=path)
    yield attempt(load, path, kinds="numeric")


@tries(own("names test rows of its own: leave test_data out, or drop what names them"))
def a_second_table_beside_a_test_split(folder, patch):
    path = table(folder / "a.csv", split=["train", "test", "train"] * 10)
    yield attempt(load, path, test_data=path)
    yield attempt(load, path)
    yield attempt(load, table(folder / "b.csv"), test_data=path)


@tries(own("give rows to test on"))
def a_second_table_of_nothing(folder, patch):
    path, columns = table(folder / "a.csv"), ",".join(COLUMNS)
    other = csv(folder / "b.csv", f"{columns}\n,,,\n,,,\n")
    yield attempt(load, path, test_data=other)
    yield attempt(load, path, test_data=table(folder / "b.csv"))


own = at(OTHER, "_refuse_other_columns")


@tries(own("rename all but one of them"))
def a_second_table_with_a_name_twice(folder, patch):
    path = table(folder / "a.csv")
    lines = table(folder / "b.csv").read_text().splitlines()
    other = csv(folder / "b.csv", "\n".join(f"{line},{i}" for i, line in enumerate(lines)))
    text = other.read_text()
    other.write_text(text.replace(",0\n", ",a\n", 1))
    yield attempt(load, path, test_data=other)
    other.write_text(text.replace(",0\n", ",c\n", 1))
    yield attempt(load, path, test_data=other)


@tries(own("add it, or leave it out of both with ignore="))
def a_second_table_without_a_column(folder, patch):
    path, other = table(folder / "a.csv"), table(folder / "b.csv", tree=None)
    message = yield attempt(load, path, test_data=other)
    names = re.search(r"ignore=(\S+)$", message)[1].split(",")
    yield attempt(load, path, test_data=table(folder / "c.csv"))
    yield attempt(load, path, test_data=other, ignore=names)


# --- Rows to train on

own = at(DATA + "_where.py", "Where._compared")


@tries(own("take == or !="))
def words_in_no_order(folder, patch):
    path = table(folder / "a.csv")
    yield attempt(load, path, train_where="tree<oak")
    yield attempt(load, path, train_where="tree==oak")
    yield attempt(load, path, train_where="tree!=oak")


@tries(own("give a number"))
def numbers_beside_a_word(folder, patch):
    path = table(folder / "a.csv")
    yield attempt(load, path, train_where="a<oak")
    yield attempt(load, path, train_where="a<5")


@tries(own("give one, 2025-01-31"))
def dates_beside_a_number(folder, patch):
    path = table(folder / "a.csv")
    message = yield attempt(load, path, train_where="day<5")
    day = re.search(r"give one, (\S+)$", message)[1]
    yield attempt(load, path, train_where=f"day<{day}")


@tries(at(DATA + "_files.py", "_by_labels")("leave train_where out"))
def rows_without_labels(folder, patch):
    np.save(folder / "a.npy", TABLE)
    yield attempt(load, folder / "a.npy", train_where="label==0")
    yield attempt(load, folder / "a.npy")


# --- Columns that are given

SCHEMA = "vae_jax/schema/"


@tries(at(SCHEMA + "__init__.py", "_given")("leave it out, or set its kind, kinds=…=categorical"))
def a_condition_that_says_nothing(folder, patch):
    ids = [f"0{i // 2 * 2 if i < 20 else i}" for i in range(30)]
    path = table(folder / "a.csv", place=ids)
    message = yield attempt(load, path, condition="place")
    yield attempt(load, path)
    kinds = re.search(r"kinds=(\S+)$", message)[1]
    yield attempt(load, path, condition="place", kinds=kinds)


own = at(SCHEMA + "_schema.py", "Schema.refuse_missing")


@tries(own("fill them in, or learn the column in place of giving it: leave condition out"))
def a_condition_that_is_missing(folder, patch):
    path = table(folder / "a.csv", tree=["", *TREES[1:]])
    yield attempt(load, path, condition="tree")
    yield attempt(load, table(folder / "b.csv"), condition="tree")
    yield attempt(load, path)


own = at("vae_jax/objectives/_conditions.py", "_of_columns")


@tries(own("give load(path, condition=…), or one of the former"))
def a_condition_of_other_columns(folder, patch):
    path = table(folder / "a.csv", label=[0, 1, 2] * 10)
    message = yield attempt(make_model, load(path), objective="cvae", condition="tree")
    names = eval(re.search(r"condition=(\[.*?\])", message)[1])
    given = load(path, condition=names)
    yield attempt(make_model, given, objective="cvae", condition="tree")
    yield attempt(make_model, load(path), objective="cvae", condition="labels")
