"""What is said of lossless compression."""

import functools
import hashlib
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from vae_jax import data, lossless, make_model
from vae_jax.lab import compress as lab
from vae_jax.likelihoods import Bernoulli, DiscretizedLogistic, LogisticMixture
from vae_jax.lossless import codec, container, tables
from vae_jax.storage import exported
from vae_jax.trained import Trained

from ._cases import at, attempt, flags_of, tries
from .of_data import csv, rows
from .of_uses import trained

CODEC, CONTAINER = "vae_jax/lossless/codec.py", "vae_jax/lossless/container.py"
TABLES, LAB = "vae_jax/lossless/tables.py", "vae_jax/lab/compress.py"
BITS = np.random.default_rng(0).integers(0, 2, (6, 3)).astype(np.uint8)


def of_bits(**settings):
    return trained(BITS.astype("f4"), **{"likelihood": "bernoulli", **settings})


@functools.cache
def small():
    """One model of bits, and its rows as a file."""
    model = of_bits()
    return model, model.compress(BITS)


def sealed(body):
    """A file with its checksum."""
    return body + hashlib.sha256(body).digest()


def refused_and_again(changed):
    """Provokes the refusal of a changed file; the file as it was made is read."""
    model, made = small()
    yield attempt(model.decompress, changed)
    yield attempt(model.decompress, made)


# --- Files


@tries(at(CONTAINER)("was cut short or damaged: fetch or make it again"))
def a_compressed_file_that_was_cut_short(folder, patch):
    yield from refused_and_again(small()[1][:-1])


@tries(at(CONTAINER, "unpack")("give one that ends in .vaez"))
def no_compressed_file(folder, patch):
    yield from refused_and_again(b"PK" + bytes(100))


@tries(at(CONTAINER, "unpack")("this vae_jax reads …: take a newer one"))
def a_compressed_file_of_a_later_version(folder, patch):
    body = small()[1][:-32]
    yield from refused_and_again(sealed(body[:4] + struct.pack("<I", 9) + body[8:]))


@tries(at(CONTAINER, "unpack")("has no header that compress writes (…): make it again"))
def a_compressed_file_with_another_header(folder, patch):
    body = small()[1][:-32]
    yield from refused_and_again(sealed(body.replace(b'"num_values":2', b'"num_values":0')))


@tries(at(CODEC, "_check_sizes")("which the model does not take: make it again"))
def a_compressed_file_with_other_sizes(folder, patch):
    body = small()[1][:-32]
    yield from refused_and_again(sealed(body.replace(b'"batch_size":64', b'"batch_size":65')))


@tries(at(CODEC, "_blocks")("…: make it again"))
def a_compressed_file_without_its_words(folder, patch):
    held = container.unpack(small()[1], "data")
    changed = held._replace(words=held.words[:0], heads=held.heads * 0 + 2**32)
    yield from refused_and_again(container.pack(changed))


@tries(at(CODEC, "_blocks")("its rows are not those that were compressed: make it again"))
def a_compressed_file_with_other_words(folder, patch):
    held = container.unpack(small()[1], "data")
    yield from refused_and_again(container.pack(held._replace(rows="0" * 64)))


@tries(at(CODEC, "_check_origin")("give the run that compressed it"))
def a_file_of_another_model(folder, patch):
    model, made = small()
    other = Trained(model.model, model.model.init(jax.random.key(1)))
    yield attempt(other.decompress, made)
    yield attempt(model.decompress, made)


@tries(at(LAB, "_check")("give the path of one that ends in …"))
def rows_to_compress_that_are_not_there(folder, patch):
    request = lab.Request("run", folder / "a.npy", folder / "out.vaez")
    message = yield attempt(lab._check, request, ".npy", ".vaez")
    np.save(folder / f"b{re.search(r'ends in (.npy)', message)[1]}", BITS)
    yield attempt(lab._check, request._replace(input=folder / "b.npy"), ".npy", ".vaez")


@tries(at(LAB, "_check")("give an array that numpy.save wrote to compress, and what compress made"))
def a_table_to_compress(folder, patch):
    path = csv(folder / "a.csv", rows({"a": BITS[:, 0]}))
    request = lab.Request("run", path, folder / "out.vaez")
    yield attempt(lab._check, request, ".npy", ".vaez")
    np.save(folder / "a.npy", BITS)
    yield attempt(lab._check, request._replace(input=folder / "a.npy"), ".npy", ".vaez")
    (folder / "a.vaez").write_bytes(small()[1])
    back = request._replace(input=folder / "a.vaez", output=folder / "out.npy")
    yield attempt(lab._check, back, ".vaez", ".npy")


@tries(at(LAB, "decompress")("give one that compress has made"))
def a_link_to_a_compressed_file(folder, patch):
    model, made = small()
    exported.save(folder / "m.safetensors", model.model, model.params)
    (folder / "a.vaez").write_bytes(made)
    (folder / "b.vaez").symlink_to(folder / "a.vaez")
    request = lab.Request(str(folder / "m.safetensors"), folder / "b.vaez", folder / "out.npy")
    yield attempt(lab.decompress, request)
    yield attempt(lab.decompress, request._replace(input=folder / "a.vaez"))


@tries(at(CODEC, "decompressed")("give pathlib.Path(path).read_bytes()"))
def a_path_in_place_of_bytes(folder, patch):
    model, made = small()
    yield attempt(model.decompress, "a.vaez")
    (folder / "a.vaez").write_bytes(made)
    yield attempt(model.decompress, (folder / "a.vaez").read_bytes())


# --- Rows


@tries(at(CODEC, "compress")("give numpy.asarray(rows)"))
def compressing_a_table(folder, patch):
    table = pa.table({"a": [0, 1], "b": [1, 1], "c": [0, 0]})
    yield attempt(small()[0].compress, table)
    yield attempt(small()[0].compress, np.asarray(table.to_pandas()))


@tries(at(CODEC, "_Alphabet.__init__")("train on an array of levels"))
def compressing_for_a_model_of_a_table(folder, patch):
    dataset = data.load(csv(folder / "a.csv", rows({"a": BITS[:, 0], "b": BITS[:, 1]})))
    model = make_model(dataset, latent_dim=2, widths=(3,))
    made = Trained(model, model.init(jax.random.key(0)), dataset=dataset)
    yield attempt(codec._Alphabet, made, "|u1", BITS.shape, 2, "rows")
    yield attempt(codec._Alphabet, small()[0], "|u1", BITS.shape, 2, "rows")


@tries(at(CODEC, "_Alphabet.symbols")("leave these rows out"))
def compressing_missing_values(folder, patch):
    x = BITS.astype("f4")
    x[1, 2] = np.nan
    likelihood = Bernoulli(has_missing=True)
    model = Trained(of_bits().model.replace(likelihood=likelihood), {})
    alphabet = codec._Alphabet(model, "<f4", x.shape, 2, "rows")
    yield attempt(alphabet.symbols, x)
    yield attempt(alphabet.symbols, x[2:])


@tries(at(CODEC, "_Alphabet.check")("such as 0 and 1 for likelihood=bernoulli"))
def compressing_values_between_levels(folder, patch):
    yield attempt(small()[0].compress, BITS.astype("f4") * 0.7)
    yield attempt(small()[0].compress, BITS.astype("f4"))


@tries(at(CODEC, "_num_counts")("must be below …: leave these rows out"))
def compressing_large_counts(folder, patch):
    counts = np.int64([[1, 2, 3], [4, 5, 6], [7, 8, 5000]])
    yield attempt(codec._num_counts, counts, "rows")
    yield attempt(codec._num_counts, counts[:2], "rows")


# --- Models


def check(model):
    tables.check(model, model.param_shapes())


@tries(at(TABLES, "check")("or poisson on counts"))
def compressing_with_a_density(folder, patch):
    message = yield attempt(check, trained(BITS.astype("f4")).model)
    names = re.search(r"likelihood=(\w+), (\w+) or (\w+) on levels, or (\w+)", message).groups()
    for name in names:
        yield attempt(check, trained(BITS.astype("f4"), likelihood=name).model)


@tries(at(TABLES, "check")("or counts without totals"))
def compressing_numbers_that_depend_on_each_other(folder, patch):
    counts = BITS.astype("f4")
    yield attempt(check, trained(counts, likelihood="multinomial").model)
    yield attempt(check, trained(counts, likelihood="logistic").model)
    yield attempt(check, trained(counts, likelihood="categorical").model)
    yield attempt(check, trained(counts, likelihood="poisson").model)


@tries(at(TABLES, "check")("in which the numbers of a row depend on each other"))
def compressing_colors_that_depend_on_each_other(folder, patch):
    x = np.zeros((2, 2, 2, 3), "f4")
    model = trained(x, likelihood="logistic").model
    mixture = make_model(x, latent_dim=2, widths=(3,), likelihood="logistic_mixture")
    assert isinstance(mixture.likelihood, LogisticMixture)
    yield attempt(check, mixture)
    yield attempt(check, model)


@tries(at(TABLES, "check")("train with network=mlp or conv"))
def compressing_with_a_decoder_that_reads_x(folder, patch):
    x = np.zeros((2, 4, 4, 1), "f4")
    given = {"latent_dim": 2, "likelihood": "bernoulli", "widths": (3,)}
    message = yield attempt(check, make_model(x, network="pixel", **given))
    for name in (flags_of(message)["network"], "conv"):
        yield attempt(check, make_model(x, network=name, **given))


@tries(at(TABLES, "check")("train with objective=beta_vae"))
def compressing_with_a_conditional_model(folder, patch):
    given = {"x": BITS.astype("f4"), "labels": [0, 1] * 3}
    conditional = trained(given, objective="cvae", likelihood="bernoulli").model
    message = yield attempt(check, conditional)
    yield attempt(check, of_bits(objective=flags_of(message)["objective"]).model)


@tries(at(TABLES, "check")("… levels, must be at most …: train on fewer"))
def compressing_many_levels(folder, patch):
    model = of_bits().model
    many = model.replace(likelihood=DiscretizedLogistic(0.1, 65536))
    yield attempt(check, many)
    yield attempt(check, many.replace(likelihood=DiscretizedLogistic(0.1, 256)))


@tries(at(TABLES, "check")("without `prior` and `posterior`"))
def compressing_with_another_prior(folder, patch):
    message = yield attempt(check, of_bits(prior="mixture").model)
    objective = flags_of(message)["objective"]
    yield attempt(check, of_bits(objective=objective).model)


@tries(at(TABLES, "Tables", "_run")("look whether training diverged"))
def compressing_with_a_model_that_diverged(folder, patch):
    model, _ = small()
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, model.params)
    made = tables.Tables(model.model, params, 4, 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))
    yield attempt(made.posterior, BITS[:2])
    yield attempt(lossless.compress, model, BITS)
