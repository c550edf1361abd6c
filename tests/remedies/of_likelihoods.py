"""What is said of values that are no counts or proportions, for a likelihood of these."""

import re

import numpy as np

from vae_jax import data, make_model, sources
from vae_jax.lab import config, train

from ._cases import at, attempt, flags_of, tries

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, (40, 4))
SHARES = RNG.integers(0, 5, (40, 4)) / 4
DATASET = "vae_jax/data/_dataset.py"


def prepared(folder, x, **flags):
    """A run on an array in a file, as the command line prepares it."""
    path = folder / f"{x.dtype.str[1:]}{x.size}.npy"
    np.save(path, x)
    values = {"dataset": str(path), "widths": "4", "latent_dim": "2", "epochs": "1", **flags}
    return train.prepare([config.from_flags(values)])


@tries(at(DATASET, "check")("…take likelihood=gaussian"))
def values_that_are_no_counts(folder, patch):
    message = yield attempt(prepared, folder, COUNTS - 1, likelihood="poisson")
    asked = flags_of(message.rpartition(": ")[2])
    yield lambda: prepared(folder, COUNTS - 1, **asked)
    yield lambda: prepared(folder, COUNTS + 0.5, **asked)


@tries(
    at(DATASET, "check")("…take likelihood=gaussian"),
    at(DATASET, "_of_counts")("keep them with scaling=none, or "),
)
def counts_that_were_rescaled(folder, patch):
    message = yield attempt(prepared, folder, COUNTS, likelihood="poisson", scaling="unit")
    remedies = re.findall(r"(scaling|likelihood)=(\w+)", message.rpartition(": ")[2])
    for name, value in remedies:
        asked = {"likelihood": "poisson", "scaling": "unit", name: value}
        yield lambda asked=asked: prepared(folder, COUNTS, **asked)


@tries(
    at(DATASET, "check")("…take likelihood=gaussian"),
    at(DATASET, "_of_counts")("store them as int32 and take scaling=none, or "),
)
def counts_that_are_levels_of_a_picture(folder, patch):
    pictures = RNG.poisson(3.0, (40, 4, 4))
    asked = {"likelihood": "multinomial"}
    yield attempt(prepared, folder, pictures.astype(np.uint8), **asked)
    yield lambda: prepared(folder, pictures.astype(np.int32), scaling="none", **asked)
    yield lambda: prepared(folder, pictures.astype(np.uint8), likelihood="gaussian")


@tries(at(DATASET)("move them inside, 0.01 + 0.98"))
def proportions_that_reach_0_and_1(folder, patch):
    yield attempt(prepared, folder, SHARES, likelihood="beta")
    yield lambda: prepared(folder, 0.01 + 0.98 * SHARES, likelihood="beta")
    yield lambda: prepared(folder, SHARES, likelihood="gaussian")


@tries(at("vae_jax/sources.py", "check_values")("give the counts themselves"))
def an_array_of_no_counts(folder, patch):
    model = make_model((4,), likelihood="poisson", latent_dim=2)
    yield attempt(sources.check_values, np.float32(COUNTS) / 2, model, None)
    yield lambda: sources.check_values(np.float32(COUNTS), model, None)
    plain = make_model((4,), likelihood="gaussian", latent_dim=2)
    yield lambda: sources.check_values(np.float32(COUNTS) / 2, plain, None)


@tries(at("vae_jax/sources.py")("move it inside, x = 0.01"))
def an_array_of_proportions_that_reach_0_and_1(folder, patch):
    model = make_model((4,), likelihood="beta", latent_dim=2)
    x = np.float32(SHARES)
    message = yield attempt(sources.check_values, x, model, None)
    moved = {"x": x}
    exec(re.search(r"x = .*? (?=, or)|x = [^,]*", message)[0], moved)
    yield lambda: sources.check_values(np.float32(moved["x"]), model, None)


@tries(
    at("vae_jax/model.py", "Model", "check_steps")("is decoded step by step: take network='mlp'")
)
def totals_of_what_is_decoded_in_steps(folder, patch):
    asked = {"likelihood": "multinomial", "latent_dim": 2}
    message = yield attempt(make_model, (5, 2), network="gru", **asked)
    yield lambda: make_model((5, 2), network=re.search(r"network='(\w+)'", message)[1], **asked)


@tries(at(DATASET, "_of_counts")("keep them with scaling=none, or "))
def counts_that_were_standardized_when_they_were_loaded(folder, patch):
    np.save(folder / "x.npy", COUNTS)
    yield attempt(make_model, data.load(folder / "x.npy"), likelihood="poisson")
    yield lambda: make_model(data.load(folder / "x.npy", scaling="none"), likelihood="poisson")
    yield lambda: make_model(data.load(folder / "x.npy"), likelihood="gaussian")


@tries(at("vae_jax/likelihoods/__init__.py", "_without")("leave it out, or take likelihood="))
def an_activation_of_a_likelihood_without_one(folder, patch):
    given = {"likelihood": "laplace", "output_activation": "relu"}
    message = yield attempt(prepared, folder, SHARES, **given)
    name = re.search(r"or take likelihood=(\w+)", message)[1]
    yield lambda: prepared(folder, SHARES, likelihood="laplace")
    yield lambda: prepared(folder, SHARES, **{**given, "likelihood": name})
