"""What is said of a trained model on new rows."""

import functools
import re
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
from PIL import Image

from vae_jax import data, exported, frames, make_model, priors, uses
from vae_jax.applying import Worker
from vae_jax.cli.commands import apply as command
from vae_jax.data import _sequences, _streams
from vae_jax.forms import Form, of
from vae_jax.lab import apply, mapping, outputs
from vae_jax.looks import Look
from vae_jax.trained import Trained

from ._cases import at, attempt, flags_of, tries
from .of_data import csv, rows

TREES = ["oak", "ash", "elm"] * 10
NUMBERS = np.random.default_rng(0).normal(size=(30, 2)).astype("f4")
RATED = "vae_jax/data/_new_ratings.py"
MATCHING, STREAMS = "vae_jax/data/_matching.py", "vae_jax/data/_streams.py"
FORMS, OUTPUTS, APPLYING = "vae_jax/forms.py", "vae_jax/lab/outputs.py", "vae_jax/applying.py"
USES, LAB = "vae_jax/uses/", "vae_jax/lab/apply.py"


def trained(x, **settings):
    """A model with its initial parameters."""
    given = {"latent_dim": 2, "widths": (3,), "likelihood": "gaussian", **settings}
    model = make_model(x, **given)
    return Trained(model, model.init(jax.random.key(0)))


@functools.cache
def plain():
    """One model of arrays, so that its program is compiled once."""
    return trained(NUMBERS)


@functools.cache
def labeled():
    return trained({"x": NUMBERS, "labels": TREES}, objective="cvae")


def encode(model, batch_size=4):
    return functools.partial(model.encode, batch_size=batch_size)


def table(folder, **columns):
    """A worker of a table of two numbers and words, and the table."""
    held = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1], "tree": TREES}
    dataset = data.load(csv(folder / "a.csv", rows(held)))
    model = make_model(dataset, latent_dim=2, widths=(3,))
    made = Trained(model, model.init(jax.random.key(0)), dataset=dataset)
    return Worker(made, uses.make("encode"), batch_size=4), pa.table(held)


# --- Columns and cells


@tries(at(MATCHING, "Matcher", "check")("by its name"))
def a_column_that_is_missing(folder, patch):
    worker, _ = table(folder)
    message = yield attempt(worker.matcher.check, ["a"])
    names = re.findall(r"'(\w+)'", message.partition("give each of")[2])
    yield attempt(worker.matcher.check, names)


@tries(at(MATCHING, "Matcher", "check")("give each a name of its own"))
def columns_of_one_name(folder, patch):
    worker, _ = table(folder)
    yield attempt(worker.matcher.check, ["a", "b", "tree", "a"])
    yield attempt(worker.matcher.check, ["a", "b", "tree", "other"])


@tries(at(MATCHING, "Matcher", "_cells")("correct it, or take it as missing with unseen="))
def a_category_that_training_did_not_have(folder, patch):
    worker, whole = table(folder)
    odd = whole.set_column(2, "tree", [["fir", *TREES[1:]]])
    message = yield attempt(worker.matcher.codes, odd)
    yield attempt(worker.matcher.codes, whole)
    unseen = flags_of(message.replace("unseen=", "--unseen="))["unseen"]
    worker.matcher.unseen = unseen
    yield attempt(worker.matcher.codes, odd)


@tries(at(APPLYING, "Worker", "_with")("has the name of a result: rename it"))
def a_column_with_the_name_of_a_result(folder, patch):
    worker, whole = table(folder)
    yield attempt(worker.table, whole.append_column("z0", [TREES]))
    yield attempt(worker.table, whole.append_column("z_0", [TREES]))


@tries(at(APPLYING, "Worker", "_matcher")("give an array"))
def a_table_for_a_model_of_arrays(folder, patch):
    yield attempt(encode(plain()), {"a": [1.0], "b": [2.0]})
    yield attempt(encode(plain()), np.float32([[1.0, 2.0]]))


@tries(at(APPLYING, "Worker", "_labels_in")("give the label of each row"))
def a_table_without_its_labels(folder, patch):
    held = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1], "label": TREES}
    dataset = data.load(csv(folder / "a.csv", rows(held)))
    model = make_model(dataset, objective="cvae", latent_dim=2, widths=(3,))
    made = Trained(model, model.init(jax.random.key(0)), dataset=dataset)
    worker, whole = Worker(made, uses.make("encode"), batch_size=4), pa.table(held)
    yield attempt(worker.table, whole.select(["a", "b"]))
    yield attempt(worker.table, whole)


@tries(at(USES + "_engine.py", "Engine", "_check_condition")("give the label of each row"))
def new_rows_without_their_labels(folder, patch):
    yield attempt(encode(labeled()), NUMBERS)
    yield attempt(encode(labeled()), {"x": NUMBERS, "labels": TREES})


@tries(at(APPLYING, "Worker", "_condition")("the model has no labels: leave them out"))
def labels_for_a_model_without(folder, patch):
    yield attempt(encode(plain()), {"x": NUMBERS, "labels": TREES})
    yield attempt(encode(plain()), {"x": NUMBERS})


@tries(at(APPLYING, "apply")("is for sample: give {'x': x, 'labels': y}"))
def a_label_for_rows(folder, patch):
    yield attempt(labeled().encode, NUMBERS, label="oak", batch_size=4)
    yield attempt(encode(labeled()), {"x": NUMBERS, "labels": TREES})


@tries(at(APPLYING, "_on_table")("give 'labels' or 'condition'"))
def an_array_beside_x_of_another_name(folder, patch):
    yield attempt(encode(labeled()), {"x": NUMBERS, "y": TREES})
    yield attempt(encode(labeled()), {"x": NUMBERS, "labels": TREES})
    yield attempt(encode(labeled()), {"x": NUMBERS, "condition": np.eye(3, dtype="f4")[[0] * 30]})


@tries(at("vae_jax/frames.py", "read")("give columns of numbers, words, truth values or dates"))
def a_table_that_is_none(folder, patch):
    yield attempt(frames.read, {"a": [1.0, "x"], "b": [1.0], "tree": ["oak"]})
    yield attempt(frames.read, {"a": [1.0], "b": [1.0], "tree": ["oak"]})


# --- Ratings

PAIRS = [(user, item) for user in range(12) for item in range(7) if (user + item) % 3]


def rated(folder):
    """A model of users and items, of whom ratings of 3 and more count."""
    held = {"user": [u for u, _ in PAIRS], "item": [i for _, i in PAIRS]}
    held["rating"] = [3 + (u * i) % 3 for u, i in PAIRS]
    dataset = data.load(csv(folder / "a.csv", rows(held)), rating_at_least=3, min_ratings=2)
    model = make_model(dataset, latent_dim=2, widths=(3,))
    return Trained(model, model.init(jax.random.key(0)), dataset=dataset)


def items_of(model, use="recommend", unseen="refuse", **columns):
    held = {"user": [1, 1], "item": [2, 3], "rating": [5, 3], **columns}
    return model.apply(use, {n: v for n, v in held.items() if v}, unseen=unseen, batch_size=4)


@tries(at(RATED, "NewRatings", "_columns")("give one of that name"))
def ratings_without_a_column(folder, patch):
    model = rated(folder)
    message = yield attempt(items_of, model, rating=None)
    name = re.search(r"columns '(\w+)'", message)[1]
    yield attempt(items_of, model, **{name: [4, 5]})


@tries(at(RATED, "NewRatings", "_numbers")("of ratings holds no numbers: correct it"))
def ratings_of_items_in_words(folder, patch):
    model = rated(folder)
    yield attempt(items_of, model, rating=["good", "bad"])
    yield attempt(items_of, model)


@tries(at(RATED, "NewRatings", "_note_unseen")("correct it, or leave such items out with unseen="))
def items_that_training_did_not_have(folder, patch):
    model = rated(folder)
    message = yield attempt(items_of, model, item=[2, 77])
    yield attempt(items_of, model)
    unseen = flags_of(message.replace("unseen=", "--unseen="))["unseen"]
    patch.setattr("warnings.warn", lambda *_, **__: None)
    yield attempt(items_of, model, item=[2, 77], unseen=unseen)


@tries(at(APPLYING, "Worker", "users")("take the use recommend, or give an array"))
def ratings_for_a_use_of_cells(folder, patch):
    model = rated(folder)
    message = yield attempt(items_of, model, "reconstruct")
    yield attempt(items_of, model, re.search(r"take the use (\w+)", message)[1])
    num = int(re.search(r"\[N, (\d+)\]", message)[1])
    yield attempt(model.reconstruct, np.eye(num, dtype=int), batch_size=4)


@tries(at(USES + "recommend.py", "Recommend", "check")("take a run on ratings"))
def recommending_pictures(folder, patch):
    yield attempt(uses.make("recommend").check, trained(np.ones((3, 4, 4, 1), "f4")).model)
    yield attempt(uses.make("recommend").check, rated(folder).model)


# --- Arrays


def form(**settings):
    return Form((3, 2), kind="image", **settings)


@tries(at(FORMS, "Form", "of_array")("must be numbers: encode them"))
def an_array_of_words(folder, patch):
    yield attempt(form().of_array, [[["a", "b"]] * 3])
    yield attempt(form().of_array, [[[0, 1]] * 3])


@tries(at(FORMS, "Form", "of_array")("give rows of that shape"))
def an_array_of_another_shape(folder, patch):
    message = yield attempt(form().of_array, np.zeros((4, 6)))
    shape = re.search(r"takes \[N, (\d), (\d)\]", message)
    yield attempt(form().of_array, np.zeros((4, int(shape[1]), int(shape[2]))))


@tries(at(FORMS, "Form", "_of_columns")("give a table with names"))
def an_array_for_columns_of_several_kinds(folder, patch):
    worker, whole = table(folder)
    yield attempt(worker.form.of_array, np.zeros((2, 3)))
    yield attempt(worker.table, whole)


@tries(at(FORMS, "Form", "_of_columns")("or a table with names"))
def an_array_of_too_few_columns(folder, patch):
    dataset = data.load(csv(folder / "a.csv", rows({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})))
    own = of(plain().model, dataset, None, {})
    yield attempt(own.of_array, NUMBERS[:, :1])
    yield attempt(own.of_array, NUMBERS)


@tries(at(FORMS, "Form", "_of_levels")("give integers in that range"))
def levels_beyond_those_of_training(folder, patch):
    message = yield attempt(form(num_levels=17).of_array, np.full((1, 3, 2), 17))
    most = int(re.search(r"levels 0 … (\d+)", message)[1])
    yield attempt(form(num_levels=17).of_array, np.full((1, 3, 2), most))


@tries(at(FORMS, "Form", "_of_levels")("as integers, rows.astype("))
def levels_as_floats(folder, patch):
    given = np.full((1, 3, 2), 16.0)
    message = yield attempt(form(num_levels=17).of_array, given)
    name = re.search(r"astype\('(\w+)'\)", message)[1]
    yield attempt(form(num_levels=17).of_array, given.astype(name))


@tries(
    at(FORMS, "Form", "refuse_missing")("correct it"),
)
def a_number_that_is_infinite(folder, patch):
    yield attempt(form().of_array, np.full((1, 3, 2), np.inf))
    yield attempt(form().of_array, np.full((1, 3, 2), 1.0))


@tries(at(FORMS, "Form", "refuse_missing")("fill it in first, with the use impute"))
def a_missing_value_where_training_had_none(folder, patch):
    gaps = NUMBERS[:4].copy()
    gaps[1, 0] = np.nan
    yield attempt(encode(plain()), gaps)
    filled = plain().impute(gaps, num_samples=2, batch_size=4)
    yield attempt(encode(plain()), filled)


@tries(at(FORMS, "_of_file")("export the run again"))
def a_file_that_describes_other_data(folder, patch):
    yield attempt(of, plain().model, None, None, {"data": {"kind": "table", "num_levels": "2"}})
    yield attempt(of, plain().model, None, None, {"data": {"kind": "table", "num_levels": 2}})


# --- Models


@tries(
    at(USES + "_use.py", "require_weights")("such as objective=beta_vae"),
)
def imputing_with_a_code_that_is_a_point(folder, patch):
    model = trained(NUMBERS, objective="autoencoder").model
    message = yield attempt(uses.make("impute").check, model)
    name = re.search(r"objective=(\w+)", message)[1]
    yield attempt(uses.make("impute").check, trained(NUMBERS, objective=name).model)


@tries(at(USES + "sample.py", "Sample", "check")("such as objective=beta_vae"))
def drawing_without_a_prior(folder, patch):
    message = yield attempt(uses.make("sample").check, trained(NUMBERS, objective="rae").model)
    name = re.search(r"objective=(\w+)", message)[1]
    yield attempt(uses.make("sample").check, trained(NUMBERS, objective=name).model)


@tries(at(USES + "score.py", "Score", "check")("take by=reconstruction"))
def the_rate_of_a_point(folder, patch):
    model = trained(NUMBERS, objective="autoencoder").model
    message = yield attempt(uses.make("score", by="rate").check, model)
    yield attempt(uses.make("score", by=re.search(r"take by=(\w+)", message)[1]).check, model)


@tries(at(USES + "cluster.py", "Cluster", "check")("with prior=mixture and num_components=10"))
def clusters_without_components(folder, patch):
    message = yield attempt(uses.make("cluster").check, plain().model)
    name, num = re.search(r"prior=(\w+) and num_components=(\d+)", message).groups()
    prior = priors.make(name, num_components=int(num))
    yield attempt(uses.make("cluster").check, trained(NUMBERS, prior=prior).model)


@tries(at(USES + "impute.py", "Impute", "check")("such as likelihood=gaussian"))
def imputing_cells_that_depend_on_one_another(folder, patch):
    counts = np.ones((4, 3), "f4")
    joint = trained(counts, likelihood="multinomial").model
    message = yield attempt(uses.make("impute").check, joint)
    name = re.search(r"such as likelihood=(\w+)", message)[1]
    yield attempt(uses.make("impute").check, trained(counts, likelihood=name).model)


# --- Files


@tries(at("vae_jax/cli/commands/apply.py", "main")("is missing: give …"))
def a_command_without_its_input(folder, patch):
    values = dict.fromkeys(command.flag_texts("score"))
    message = yield attempt(command.main, "score", {**values, "run": "a", "output": "b"})
    patch.setattr(apply, "run", lambda request: None)
    found = dict(re.findall(r"--(\w+)=(\S+)", message))
    yield attempt(command.main, "score", {**values, **found})


@tries(at(STREAMS, "opened")("give the path of the new rows"))
def new_rows_that_do_not_exist(folder, patch):
    yield attempt(_streams.opened, folder / "a.csv", Look())
    yield attempt(_streams.opened, csv(folder / "a.csv", rows({"a": NUMBERS[:, 0]})), Look())


@tries(at(STREAMS, "_archive")("keep one of rows, called x, and y"))
def an_archive_of_many_arrays(folder, patch):
    np.savez(folder / "a.npz", one=NUMBERS, two=NUMBERS)
    yield attempt(_streams.opened, folder / "a.npz", Look())
    np.savez(folder / "b.npz", x=NUMBERS, y=TREES)
    yield attempt(_streams.opened, folder / "b.npz", Look())


@tries(at(STREAMS, "_archive")("give as many of both"))
def an_archive_with_too_few_labels(folder, patch):
    np.savez(folder / "a.npz", x=NUMBERS, y=TREES[:3])
    yield attempt(_streams.opened, folder / "a.npz", Look())
    np.savez(folder / "b.npz", x=NUMBERS[:3], y=TREES[:3])
    yield attempt(_streams.opened, folder / "b.npz", Look())


@tries(at(STREAMS, "_pictures_in")("give a folder of … files"))
def a_folder_without_pictures(folder, patch):
    message = yield attempt(_streams.opened, folder, Look())
    suffix = re.search(r"a folder of (\.\w+) files", message)[1]
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / f"a{suffix}")
    yield attempt(_streams.opened, folder, Look())


@tries(at(STREAMS, "_blocks_of_text")("convert it, for instance with iconv"))
def new_lines_that_are_no_utf8(folder, patch):
    path = folder / "a.txt"
    path.write_bytes("Zürich".encode("latin-1"))
    yield attempt(lambda: [*_streams.opened(path, Look()).blocks()])
    path.write_bytes(path.read_bytes().decode("latin-1").encode())
    yield attempt(lambda: [*_streams.opened(path, Look()).blocks()])


own = at("vae_jax/data/_sequences.py", "symbols_of")


@tries(own("break it, or leave it out"))
def a_line_that_is_longer_than_in_training(folder, patch):
    yield attempt(_sequences.symbols_of, np.array(["ab", "abba"]), "ab", 3)
    yield attempt(_sequences.symbols_of, np.array(["ab", "ab", "ba"]), "ab", 3)


@tries(own("correct it, or leave the line out"))
def a_line_with_another_character(folder, patch):
    yield attempt(_sequences.symbols_of, np.array(["ab", "abc"]), "ab", 3)
    yield attempt(_sequences.symbols_of, np.array(["ab"]), "ab", 3)


def check(path, source=None, *, overwrite=False, suffixes=(".csv",)):
    outputs.check(Path(path), source, overwrite=overwrite, suffixes=suffixes)


@tries(at(OUTPUTS, "check")("must end in one of"))
def an_output_of_another_format(folder, patch):
    message = yield attempt(check, folder / "a.png")
    suffix = re.search(r"one of (\.\w+)", message)[1]
    yield attempt(check, folder / f"a{suffix}")


@tries(at(OUTPUTS, "check")("is the input: give another name"))
def an_output_that_is_the_input(folder, patch):
    path = csv(folder / "a.csv", rows({"a": NUMBERS[:, 0]}))
    yield attempt(check, path, path, overwrite=True)
    yield attempt(check, folder / "b.csv", path)


@tries(at(OUTPUTS, "check")("is a folder that holds files: give another name"))
def an_output_that_is_a_folder(folder, patch):
    (folder / "a" / "b").mkdir(parents=True)
    yield attempt(check, folder / "a", suffixes=("",))
    yield attempt(check, folder / "c", suffixes=("",))


@tries(at(OUTPUTS, "check")("give another name, or overwrite=yes"))
def an_output_that_exists(folder, patch):
    (folder / "a.csv").touch()
    message = yield attempt(check, folder / "a.csv")
    yield attempt(check, folder / "b.csv")
    yield attempt(check, folder / "a.csv", overwrite=message.endswith("overwrite=yes"))


@tries(at(OUTPUTS, "check")("make it first"))
def an_output_in_no_folder(folder, patch):
    yield attempt(check, folder / "a" / "a.csv")
    (folder / "a").mkdir()
    yield attempt(check, folder / "a" / "a.csv")


@tries(at(OUTPUTS, "check")("give a shorter one"))
def an_output_of_a_long_name(folder, patch):
    yield attempt(check, folder / f"{'a' * 251}.csv")
    yield attempt(check, folder / f"{'a' * 50}.csv")


def written(path, block):
    with outputs.table(path) as write:
        write(block)


@tries(at(OUTPUTS, "_arrow", "write")("take another format, such as .csv"))
def a_column_that_parquet_does_not_know(folder, patch):
    odd = pa.table({"a": pa.array([], pa.month_day_nano_interval())})
    message = yield attempt(written, folder / "a.parquet", odd)
    yield attempt(written, folder / f"a{re.search(r'as (.csv)', message)[1]}", odd)


@tries(at(OUTPUTS, "_image")("no .png has these: give output with .npy"))
def pictures_that_no_png_has(folder, patch):
    def pictures():
        with outputs.folder(folder / "out") as write:
            write({"a.png": np.zeros((2, 2, 3), np.uint16)})

    def array():
        with outputs.whole(folder / "out.npy") as write:
            write(np.zeros((1, 2, 2, 3), np.uint16))

    yield attempt(pictures)
    yield attempt(array)


@tries(at(LAB, "_pixels")("give an output that ends in .npy"))
def pictures_of_far_values(folder, patch):
    x = np.full((3, 2, 2, 1), 7.0, "f4")
    yield attempt(apply._pixels, x, None)

    def array():
        with outputs.npy(folder / "out.npy", 3) as write:
            write(x)

    yield attempt(array)


@tries(at(OUTPUTS)("choose another place for the output"))
def an_output_that_cannot_be_written(folder, patch):
    block = pa.table({"a": [1]})
    (folder / ".a.csv.tmp").mkdir()
    yield attempt(written, folder / "a.csv", block)
    yield attempt(written, folder / "b.csv", block)


# --- Batches of an engine

MAPPING = "vae_jax/lab/mapping.py"


def mapped(folder, index=None):
    """A mapper of an exported model of two columns of numbers."""
    dataset = data.load(csv(folder / "a.csv", rows({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})))
    told = {"kind": "table", "num_levels": None, "schema": dataset.schema.as_json()}
    path = folder / "m.safetensors"
    exported.save(path, plain().model, plain().params, {"data": told})
    return mapping.Mapper(path, "encode", index=index, batch_size=4)


@tries(at(MAPPING, "Mapper.__call__")("must be a table: give batches of one"))
def a_batch_that_is_no_table(folder, patch):
    own = mapped(folder)
    yield attempt(own, NUMBERS)
    yield attempt(own, {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})


@tries(at(MAPPING, "Mapper._places")("which index names: give one of integers"))
def a_batch_without_its_index(folder, patch):
    own, batch = mapped(folder, "row"), {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]}
    yield attempt(own, batch)
    yield attempt(own, {**batch, "row": np.arange(30)})


@tries(at(MAPPING, "Mapper._places")("which index names: give whole numbers of at least 0"))
def an_index_of_fractions(folder, patch):
    own, batch = mapped(folder, "row"), {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]}
    yield attempt(own, {**batch, "row": np.arange(30) / 2})
    yield attempt(own, {**batch, "row": np.arange(30)})
