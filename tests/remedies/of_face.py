"""What is said by `make_model`, `fit`, `load` and `evaluate`."""

import pathlib
import re

import numpy as np
import optax

import vae_jax
from vae_jax import (
    fitting,
    keeping,
    likelihoods,
    schedules,
    trained,
    training,
)
from vae_jax.storage import exported

from ._cases import SaidError, at, attempt, tries
from .of_python import ASKED, LABELS, N, X, begin, make

ASSEMBLY, FITTING = "vae_jax/assembly.py", "vae_jax/fitting.py"
KEEPING, TRAINED = "vae_jax/keeping.py", "vae_jax/trained.py"
SWEEP = pathlib.Path(__file__).parents[1] / "fixtures" / "schema2" / "sweep"
GIVEN = {"likelihood": "bernoulli", "latent_dim": 3, "widths": (4,)}


def digits():
    return vae_jax.data.load("digits")


def model_of(data, **changes):
    return vae_jax.make_model(data, **{**GIVEN, **changes})


# --- Models


@tries(at(ASSEMBLY, "make_model")("is no part of a model: give it to fit(…, …=…)"))
def a_weight_given_to_a_model(folder, patch):
    message = yield attempt(model_of, X, beta=4.0)
    name = re.search(r"give it to fit\(…, (\w+)=…\)", message)[1]
    yield lambda: begin("beta_vae", model_of(X), X, {name: 4.0})


@tries(at(ASSEMBLY, "_likelihood")("has its own: leave variance out"))
def a_variance_of_a_likelihood_that_has_one(folder, patch):
    yield attempt(model_of, X, likelihood=likelihoods.Gaussian(), variance=0.5)
    yield attempt(model_of, X, likelihood=likelihoods.Gaussian())


@tries(at(ASSEMBLY, "_likelihood")("or a Dataset of vae_jax.data.load"))
def a_shape_without_a_likelihood(folder, patch):
    message = yield attempt(model_of, (8, 8, 1), likelihood=None)
    first, second = re.search(r"likelihood='(\w+)' for .*, '(\w+)' for", message).groups()
    names = re.search(r"one of ([\w, ]+)\)", message)[1].split(", ")
    for name in (first, second, *names):
        yield attempt(model_of, (8, 8, 1) if name != "text" else (8,), likelihood=name)
    yield attempt(model_of, digits(), likelihood=None)


@tries(at(ASSEMBLY, "_schema")("the shape of one example as a tuple, or a Dataset"))
def numbers_that_are_no_examples(folder, patch):
    yield attempt(model_of, X[0])
    for data in (X, {"x": X}, X.shape[1:], digits()):
        yield attempt(model_of, data)


@tries(at(ASSEMBLY, "_schema")("with a label for each row, or a Dataset that has labels"))
def a_conditional_model_of_x_alone(folder, patch):
    yield attempt(model_of, X, objective="cvae")
    yield attempt(model_of, {"x": X, "labels": LABELS}, objective="cvae")
    yield attempt(model_of, digits(), objective="cvae")


@tries(at(ASSEMBLY, "_conditions")("give labels of 2 classes or more"))
def labels_of_one_class(folder, patch):
    yield attempt(model_of, {"x": X, "labels": 0 * LABELS}, objective="cvae")
    yield attempt(model_of, {"x": X, "labels": LABELS % 2}, objective="cvae")


own = at("vae_jax/labels.py", "classes_in")


@tries(own("give one for each row, [N]"))
def labels_that_are_a_cube(folder, patch):
    told = {"x": X, "labels": LABELS.reshape(N, 1, 1)}
    yield attempt(model_of, told, objective="cvae")
    yield attempt(model_of, {**told, "labels": LABELS}, objective="cvae")


@tries(own("give labels of one kind"))
def words_beside_numbers(folder, patch):
    labels = np.array([1, "one"] * (N // 2), object)
    yield attempt(model_of, {"x": X, "labels": labels}, objective="cvae")
    yield attempt(model_of, {"x": X, "labels": labels.astype(str)}, objective="cvae")


# --- Trainings


def planned(data=X, objective="beta_vae", settings=None, model=None, **changes):
    """What `fit` does before it compiles."""
    asked = {n: changes.pop(n, value) for n, value in ASKED.items()}
    options = {"epochs": 2, "batch_size": 16, **changes}
    return fitting._planned(objective, model or make(), data, settings or {}, asked, **options)


own = at(FITTING, "_check_patience")


@tries(own("needs a validation split: give valid=…, or leave patience out"))
def patience_without_a_validation(folder, patch):
    yield attempt(planned, patience=2)
    yield attempt(planned, patience=2, valid=X)
    yield attempt(planned)


@tries(own("whose losses do not compare: leave it out"))
def patience_of_a_fit_of_several_trainings(folder, patch):
    given = {"objective": "stacked", "model": model_of(X, objective="stacked"), "valid": X}
    yield attempt(planned, patience=2, **given)
    yield attempt(planned, **given)


own = at(FITTING, "_optimizer")


@tries(own("has none: give optimizer='adamw'"))
def weight_decay_of_adam(folder, patch):
    message = yield attempt(planned, weight_decay=0.1)
    name = re.search(r"optimizer='(\w+)'", message)[1]
    yield attempt(planned, weight_decay=0.1, optimizer=name)


@tries(own("leave learning_rate out, or give a factory such as optimizer=optax.sgd"))
def a_rate_of_a_transformation(folder, patch):
    message = yield attempt(planned, optimizer=optax.sgd(0.1), learning_rate=0.2)
    usual = training.LEARNING_RATE
    yield attempt(planned, optimizer=optax.sgd(0.1), learning_rate=usual)
    factory = eval(re.search(r"such as optimizer=(\S+)$", message)[1], {"optax": optax})
    yield attempt(planned, optimizer=factory, learning_rate=0.2)


@tries(at("vae_jax/sources.py", "of_arrays")("is for a Dataset: give preprocess=…"))
def a_binarization_of_arrays(folder, patch):
    yield attempt(planned, binarization="threshold")
    yield attempt(planned, preprocess=lambda stored, key: (stored > 0.5).astype(np.float32))


@tries(at("vae_jax/sources.py", "of_dataset")("has its own validation split: leave it out"))
def a_validation_beside_a_dataset(folder, patch):
    given = {"data": digits(), "model": model_of(digits())}
    yield attempt(planned, valid=digits().test.x, **given)
    yield attempt(planned, **given)


@tries(at("vae_jax/sources.py", "of_dataset")("make it with make_model(dataset, objective=…)"))
def a_model_of_another_dataset(folder, patch):
    given = {"data": digits(), "objective": "cvae"}
    yield attempt(planned, model=make(num=3, shape=(8, 8, 1)), **given)
    yield attempt(planned, model=model_of(digits(), objective="cvae"), **given)


@tries(at("vae_jax/schedules.py", "make")("or text such as 'linear(0, 4, 10ep)'"))
def a_list_as_a_schedule(folder, patch):
    message = yield attempt(planned, settings={"beta": [0, 4]})
    text = re.search(r"text such as '(.*)'$", message)[1]
    for value in (4, schedules.linear(0, 4, 10), lambda step: 4.0, text):
        yield attempt(planned, settings={"beta": value})


# --- Checkpoints


def kept(directory, **settings):
    with keeping.Keeper(directory, {"seed": 0, **settings}):
        pass


@tries(at(KEEPING, "Keeper", "__enter__")("is a file: name a directory"))
def checkpoints_in_a_file(folder, patch):
    (folder / "a").write_text("mine")
    yield attempt(kept, folder / "a")
    yield attempt(kept, folder / "b")


@tries(at(KEEPING, "Keeper", "__enter__")("holds no training of fit: name another directory"))
def checkpoints_among_other_files(folder, patch):
    (folder / "a").write_text("mine")
    yield attempt(kept, folder)
    yield attempt(kept, folder / "b")


@tries(at(KEEPING, "Keeper", "_held")("or give the same settings and data"))
def checkpoints_of_another_training(folder, patch):
    kept(folder / "a")
    yield attempt(kept, folder / "a", seed=1)
    yield attempt(kept, folder / "b", seed=1)
    yield attempt(kept, folder / "a")


def fit(**changes):
    return vae_jax.fit("beta_vae", make(), X, learning_rate=1e-2, **changes)


@tries(at(FITTING, "_check_numbers")("must be numbers by name: give adam={'b1': 0.9}"))
def adam_without_names(folder, patch):
    message = yield attempt(fit, epochs=1, adam=0.9)
    yield attempt(fit, epochs=1, adam=eval(message.partition("give adam=")[2]))


@tries(at(FITTING, "_beginning")("epochs already: give at least as many"), is_slow=True)
def less_epochs_than_there_were(folder, patch):
    fit(epochs=2, checkpoint=folder)
    message = yield attempt(fit, epochs=1, checkpoint=folder)
    yield attempt(fit, epochs=int(re.search(r"trained (\d+) epochs", message)[1]))


OWN = at("vae_jax/lab/loading.py", "of_run")


@tries(OWN("call fit with the same arguments and checkpoint=…, which resumes"), is_slow=True)
def checkpoints_of_a_fit_as_a_run(folder, patch):
    fit(epochs=1, checkpoint=folder / "a")
    message = yield attempt(vae_jax.load, folder / "a")
    yield attempt(fit, epochs=1, checkpoint=eval(re.search(r"checkpoint=('.*?')", message)[1]))


# --- What a training left


@tries(OWN("runs: name one, such as load(…, member=…)"))
def a_sweep_without_a_member(folder, patch):
    message = yield attempt(vae_jax.load, SWEEP)
    call = re.search(r"such as (load\(.*\))$", message)[1]
    yield lambda: eval(call, {"load": vae_jax.load})


@tries(at("vae_jax/lab/loading.py", "load")("name a run directory or an exported file"))
def a_model_that_is_not_there(folder, patch):
    model = make()
    exported.save(folder / "b.safetensors", model, begin_params(model))
    yield attempt(vae_jax.load, folder / "a.safetensors")
    yield attempt(vae_jax.load, folder / "b.safetensors")
    yield attempt(vae_jax.load, SWEEP / "programs" / "all", member=0)


def begin_params(model):
    return model.init(vae_jax.training.stream(0, "init"))


def measured(data, model=None):
    model = model or make(likelihoods.Gaussian())
    left = vae_jax.Trained(model, begin_params(model))
    return vae_jax.evaluate(left, "reconstruction", data)


@tries(at(TRAINED, "Measured", "__getitem__")("name the metric, then the entry"))
def an_entry_of_two_metrics(folder, patch):
    values = {"nll": {"num_examples": 3}, "elbo": {"num_examples": 5}}
    measured = trained.Measured(values, {}, {})

    def entry():
        try:
            return measured["num_examples"]
        except KeyError as error:
            raise SaidError(error.args[0]) from None

    message = yield entry
    for metric in re.search(r"is of (\w+) and (\w+):", message).groups():
        yield lambda metric=metric: measured[metric]["num_examples"]


@tries(at(TRAINED, "_subject")("give data=x, or {'x': x, 'labels': y}"))
def a_model_without_data(folder, patch):
    yield attempt(measured, None)
    yield attempt(measured, X)
    yield attempt(measured, {"x": X, "labels": LABELS})


@tries(at(TRAINED, "_subject")("give data of that shape"))
def data_of_another_shape(folder, patch):
    yield attempt(measured, X[:, :5])
    yield attempt(measured, X)
