"""What is said of a user's tables: how they are written, and what their columns say."""

import re
import shlex
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from vae_jax import data
from vae_jax.model import Model

from ._cases import at, attempt, tries
from .of_data import DATA, PICTURES, TABLE, csv, draw, load, notes, rows

COLUMNS = {"a": TABLE[:, 0], "b": TABLE[:, 1], "c": TABLE[:, 2]}
WORDS = ["oak", "chêne", "elm"] * 10


def written(path, separator=",", **columns):
    """A CSV file of a, b, c and other columns."""
    return csv(path, rows({**COLUMNS, **columns}).replace(",", separator) + "\n")


def marks_of(message):
    return shlex.split(re.search(r"missing_values=(.*)$", message)[1])[0].split(",")


# --- How a file is written


@tries(at(DATA + "_csv.py", "read")("is no UTF-8: read as …, save it as UTF-8 if its words look"))
def a_table_that_is_no_utf_8(folder, patch):
    path = written(folder / "a.csv", label=WORDS)
    text = path.read_text()
    path.write_bytes(text.encode("cp1252"))
    yield attempt(notes, "is no UTF-8", path)
    path.write_text(text, encoding="utf-8")
    yield attempt(notes, "is no UTF-8", path)


@tries(at(DATA + "_csv.py", "_first_lines")("save it as UTF-8"))
def a_table_with_bytes_of_zero(folder, patch):
    path = written(folder / "a.csv")
    text = path.read_text()
    path.write_bytes(text.encode("utf-16-le"))
    yield attempt(load, path)
    path.write_text(text, encoding="utf-8")
    yield attempt(load, path)


@tries(at(DATA + "_csv.py", "_separator")("cells are separated by spaces: give commas, …"))
def a_table_in_columns_of_spaces(folder, patch):
    path = written(folder / "a b.csv", separator="   ")
    message = yield attempt(load, path)
    command = message.partition("give commas, ")[2]
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    yield lambda: len(load(folder / "new.csv").columns) == 3 or 1 / 0


own = at(DATA + "_csv.py", "_refuse_ragged")


@tries(own("give each line as many"))
def a_line_with_more_cells_than_the_first(folder, patch):
    path = written(folder / "a.csv")
    text = path.read_text()
    path.write_text(f"{text}1,2,3,4\n")
    yield attempt(load, path)
    path.write_text(f"{text}1,2,3\n")
    yield attempt(load, path)


@tries(own("name each column in the first line, also that of the names of rows or of blanks"))
def lines_that_all_have_one_cell_more(folder, patch):
    path = written(folder / "a.csv")
    names, *lines = path.read_text().splitlines()
    named = "\n".join(f"r{i},{line}" for i, line in enumerate(lines))
    path.write_text(f"{names}\n{named}")
    yield attempt(load, path)
    path.write_text(f"name,{names}\n{named}")
    yield attempt(load, path)
    blank = ",\n".join(lines)
    path.write_text(f"{names},blank\n{blank},")
    yield attempt(load, path)


@tries(own("delete that line if it is a title, or name each column in it"))
def a_title_above_the_names(folder, patch):
    path = written(folder / "a.csv")
    names, lines = path.read_text().split("\n", 1)
    path.write_text(f"Report\n{names}\n{lines}")
    yield attempt(load, path)
    path.write_text(f"{names}\n{lines}")
    yield attempt(load, path)
    path.write_text(f"one,two,three\n{names}\n{lines}".replace(f"{names}\n", ""))
    yield attempt(load, path)


@tries(at(DATA + "_tables.py", "_refuse_mixed_points")("write points in both"))
def decimal_commas_beside_points(folder, patch):
    commas = [f'"{value:.3f}"'.replace(".", ",") for value in TABLE[:, 0]]
    path = written(folder / "a.csv", d=commas)
    yield attempt(load, path)
    points = [cell.replace(",", ".") for cell in commas]
    yield attempt(load, written(path, d=points))


@tries(
    at(DATA + "_tables.py", "_may_be_identifier")("name the columns in a first line, this one id")
)
def identifiers_without_a_name(folder, patch):
    path = written(folder / "a.csv", d=np.arange(842302, 842332) ** 2)
    names, lines = path.read_text().split("\n", 1)
    path.write_text(lines)
    yield attempt(notes, "another whole number", path)
    path.write_text(f"{names.replace('d', 'id')}\n{lines}")
    yield lambda: load(path).shape == (3,) or 1 / 0


# --- Numbers

own = at(DATA + "_cells.py", "refuse")


@tries(own("units perhaps, in columns of numbers: delete that line"), own("leave it out with …"))
def a_row_of_units(folder, patch):
    path = written(folder / "a.csv")
    names, lines = path.read_text().split("\n", 1)
    path.write_text(f"{names}\nm,kg,s\n{lines}")
    message = yield attempt(load, path)
    yield attempt(load, path, missing_values=marks_of(message))
    yield attempt(load, written(path))


@tries(own("leave the column out with ignore="), own("correct it"))
def cells_of_many_words(folder, patch):
    cells = [*map(str, TABLE[:22, 0]), *(f"A{i}" for i in range(8))]
    path = written(folder / "a.csv", ticket=cells)
    message = yield attempt(load, path)
    assert "`missing_values`" not in message
    yield attempt(load, path, ignore=re.search(r"ignore='(.*)'$", message)[1])
    yield attempt(load, written(path, ticket=TABLE[:, 0]))


own = at(DATA + "_cells.py", "_refuse_written")


@tries(own("write … instead, …"), own("or drop the column"))
def numbers_written_in_another_way(folder, patch):
    cells = [f"${value:.2f}" for value in TABLE[:, 0] ** 2]
    path = written(folder / "a.csv", share=cells)
    message = yield attempt(load, path)
    cell, plain = re.search(r"such as '(.*?)': write (\S+) instead", message).groups()
    assert cell == cells[0]
    assert plain == cell.strip("$")
    yield attempt(load, written(path, share=[cell.strip("$") for cell in cells]))
    yield attempt(load, written(path))


@tries(own("or take csv=decimal=point or csv=decimal=comma, or ignore="))
def numbers_with_two_readings(folder, patch):
    path = written(folder / "a.csv", share=[f'"1,{i:03}"' for i in range(len(TABLE))])
    message = yield attempt(load, path)
    for setting in re.findall(r"csv=(\S+?),? ", f"{message} "):
        yield attempt(load, path, csv=setting, ignore=[*COLUMNS])
    yield attempt(load, path, ignore=re.search(r"ignore=(\w+)$", message)[1])


@tries(at(DATA + "_tables.py", "_told_code")("take kinds=…=real if they are numbers"))
def digits_after_a_zero(folder, patch):
    path = written(folder / "a.csv", place=[f"0{i}" for i in range(len(TABLE))])
    message = yield attempt(notes, "holds codes of digits", path)
    kinds = re.search(r"kinds=(\S+) if", message)[1]
    yield attempt(notes, "holds codes of digits", path, kinds=kinds)


own = at(DATA + "_csv.py", "settings")


@tries(own("must be settings: give csv='decimal=comma', say"))
def settings_of_csv_that_are_none(folder, patch):
    path = written(folder / "a.csv", separator=";")
    message = yield attempt(load, path, csv=3)
    yield attempt(load, path, csv=re.search(r"csv='(\S+)'", message)[1])


@tries(at(DATA + "_csv.py", "read")("give its own, or leave csv=encoding out"))
def an_encoding_that_is_not_its_own(folder, patch):
    path = written(folder / "a.csv", label=WORDS)
    yield attempt(load, path, csv="encoding=ascii")
    yield attempt(load, path, csv="encoding=utf8")
    yield attempt(load, path)


own = at(DATA + "_values.py", "_outweighed")


@tries(own("correct them"), own(", or leave them out with missing_values="))
def a_value_that_outweighs_all_others(folder, patch):
    far = TABLE[:, 0].copy()
    far[3] = 1e12
    path = written(folder / "a.csv", far=far)
    message = yield attempt(notes, "outweigh all others", path)
    yield attempt(notes, "outweigh", path, missing_values=marks_of(message))
    yield attempt(notes, "outweigh", written(path, far=TABLE[:, 0]))


@tries(at(DATA + "_values.py", "as_levels")("if they are numbers, take scaling=none"))
def numbers_that_look_like_pixels(folder, patch):
    columns = {name: 255 * (values > 0) for name, values in COLUMNS.items()}
    path = csv(folder / "a.csv", rows(columns))
    yield attempt(notes, "taken as binary", path)
    yield attempt(notes, "taken as binary", path, scaling="none")


# --- Columns that say splits

own = at(DATA + "_splits.py", "find")


@tries(own("drop all but one of them"))
def two_columns_that_say_splits(folder, patch):
    words, flags = ["train", "test"] * 15, [1, 0] * 15
    path = written(folder / "a.csv", split=words, is_train=flags)
    yield attempt(load, path)
    yield attempt(load, written(path, split=words))
    yield attempt(load, written(path, is_train=flags))


own = at(DATA + "_splits.py", "_names_splits")


@tries(own("write train, valid or test there, or drop the column"))
def a_split_that_nobody_knows(folder, patch):
    words = ["train", "spare", "test"] * 10
    path = written(folder / "a.csv", split=words)
    yield attempt(load, path)
    yield attempt(load, written(path, split=[w.replace("spare", "valid") for w in words]))
    yield attempt(load, written(path))


own = at(DATA + "_splits.py", "_refuse_numbers")


@tries(own("write train, valid and test, or rename the column if it says no split"))
def splits_that_are_numbers(folder, patch):
    path = written(folder / "a.csv", partition=[0, 1, 2] * 10)
    yield attempt(load, path)
    yield attempt(load, written(path, partition=["train", "valid", "test"] * 10))
    yield attempt(load, written(path, parts=[0, 1, 2] * 10))


own = at(DATA + "_splits.py", "_flags")


@tries(own("write true or false in each row, or rename the column if it says no split"))
def a_flag_of_a_split_with_blanks(folder, patch):
    path = written(folder / "a.csv", is_test=["true", "", "false"] * 10)
    yield attempt(load, path)
    yield attempt(load, written(path, is_test=["true", "false", "false"] * 10))
    yield attempt(load, written(path, tested=["true", "true", "false"] * 10))


own = at(DATA + "_splits.py", "_of_flags")


@tries(own("write train, valid or test in one column split, or rename them if they say no split"))
def flags_of_splits_that_both_hold(folder, patch):
    path = written(folder / "a.csv", is_train=[1] * 30, is_test=[0, 1] * 15)
    yield attempt(load, path)
    yield attempt(load, written(path, split=["train", "test"] * 15))
    yield attempt(load, written(path, trained=[1] * 30, tested=[0, 1] * 15))


# --- Pictures in tables, and labels


@tries(
    at(DATA + "_table_files.py", "_refuse_nested")("write the pictures as files, in a folder for")
)
def a_table_of_pictures(folder, patch):
    path = folder / "a.parquet"
    pictures = [{"bytes": image.tobytes(), "path": None} for image in PICTURES]
    table = pa.table({"image": pictures, "label": [0, 1] * 6, "size": np.arange(12) / 7})
    pa.parquet.write_table(table, path)
    yield attempt(load, path)
    draw(folder / "pictures" / "0", PICTURES[::2])
    draw(folder / "pictures" / "1", PICTURES[1::2])
    yield attempt(load, folder / "pictures")
    pa.parquet.write_table(table.drop_columns(["image"]), path)
    yield attempt(load, path)


@tries(at("vae_jax/labels.py", "refuse_twice")("name each class once"))
def a_class_that_is_named_twice(folder, patch):
    digits = data.load("digits")
    model = Model(None, None, None, (2,), 2, num_conditions=3)

    def named(*classes):
        model.replace(classes=classes).given([classes[0]])
        return type(digits)(**{**vars(digits), "classes": classes})

    yield attempt(named, "oak", "elm", "oak")
    yield attempt(named, "oak", "elm", "ash")
