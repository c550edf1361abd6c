"""What is said of arguments of another kind in Python: shapes, keys, names and functions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vae_jax
from vae_jax import arguments, fitting, keeping, likelihoods, networks, schedules, training

from ._cases import SaidError, at, attempt, tries
from .of_face import GIVEN, SWEEP, model_of, planned
from .of_python import LABELS, L, X, make

KEY = jax.random.key(0)
ARGUMENTS, MODEL = "vae_jax/arguments.py", "vae_jax/model.py"
FITTING, SOURCES = "vae_jax/fitting.py", "vae_jax/sources.py"


def shapes_of(model):
    return jax.eval_shape(model.init, KEY)


def encoded(x, model=None, params=None):
    """The shapes of a posterior."""
    model = model or make()
    return jax.eval_shape(lambda p: model.encode(p, x), params or shapes_of(model))


def said_of_x(message, x):
    """What a message asks to give in place of x."""
    return eval(re.search(r"give (x.*)$", message)[1], {"x": x})


OWN = at(ARGUMENTS, "rows")


@tries(OWN("it is one example, give …[None]"))
def one_example(folder, patch):
    message = yield attempt(encoded, X[0])
    yield attempt(encoded, said_of_x(message, X[0]))


@tries(OWN("give ….reshape(…)"))
def examples_with_an_axis_too_many(folder, patch):
    x = X.reshape(-1, 2, 3)
    message = yield attempt(encoded, x)
    yield attempt(encoded, said_of_x(message, x))


@tries(OWN("give … rows of … number(s) each"))
def examples_of_another_size(folder, patch):
    message = yield attempt(encoded, X[:, :5])
    size = int(re.search(r"of (\d+) number", message)[1])
    yield attempt(encoded, X[:, :size])


own = at(ARGUMENTS, "prng_key")


@tries(own("must be a PRNG key: give jax.random.key(…)"))
def a_seed_for_a_key(folder, patch):
    message = yield attempt(arguments.prng_key, 7)
    yield lambda: arguments.prng_key(eval(message.partition("give ")[2]))


@tries(own("must be a PRNG key: give jax.random.key(0)"))
def nothing_for_a_key(folder, patch):
    message = yield attempt(arguments.prng_key, None)
    yield lambda: arguments.prng_key(eval(message.partition("give ")[2]))


@tries(own("keys: give one of them, such as …[0]"))
def keys_for_a_key(folder, patch):
    keys = jax.random.split(KEY)
    message = yield attempt(arguments.prng_key, keys)
    yield lambda: arguments.prng_key(eval(message.partition("such as ")[2], {"key": keys}))


@tries(at(ARGUMENTS, "numeric")("must be an array of numbers: encode it"))
def words_for_numbers(folder, patch):
    words = np.array(["a", "b"])
    yield attempt(arguments.numeric, "x", words)
    yield lambda: arguments.numeric("x", np.unique(words, return_inverse=True)[1])


@tries(at(MODEL, "Model", "_examples")("give dataset.decode(…) of stored values, or ….astype("))
def stored_values_for_x(folder, patch):
    digits = vae_jax.data.load("digits")
    model = make(shape=digits.shape)
    x = digits.test.x[:4]
    message = yield attempt(encoded, x, model)
    for text in re.search(r"give (\S+) of stored values, or (\S+)$", message).groups():
        yield attempt(encoded, eval(text, {"dataset": digits, "x": x}), model)


@tries(at(MODEL, "Model", "_conditions")("call model.given(condition) with one for each row, or"))
def too_few_conditions(folder, patch):
    model = make(num=3)
    yield attempt(encoded, X[:4], model.given([0, 1, 2]), shapes_of(model))
    yield attempt(encoded, X[:4], model.given([0, 1, 2, 0]), shapes_of(model))
    yield attempt(encoded, X[:4], model.given(0), shapes_of(model))


own = at(MODEL, "Model", "_check_fields")


@tries(own("give one that is made, such as MyModule(), or take vae_jax.make_model"))
def a_class_for_a_module(folder, patch):
    yield lambda: shapes_of(make().replace(encoder=type(make().encoder)))
    yield lambda: shapes_of(make().replace(encoder=make().encoder))
    yield lambda: shapes_of(vae_jax.make_model(X, **GIVEN))


@tries(own("must be one of vae_jax.…: give ….Gaussian(), for example"))
def a_name_for_a_likelihood(folder, patch):
    message = yield lambda: shapes_of(make().replace(likelihood="gaussian"))
    given = eval(re.search(r"give (.*), for", message)[1], {"likelihoods": likelihoods})
    yield lambda: shapes_of(make().replace(likelihood=given))


@tries(own("must be the shape of one example: give a tuple such as (28, 28, 1)"))
def a_number_for_a_shape(folder, patch):
    message = yield lambda: shapes_of(make().replace(shape=6))
    yield lambda: shapes_of(make(shape=eval(message.partition("such as ")[2])))


@tries(at(MODEL, "Model", "distortion")("give {'x': x, 'mask': mask}, mask [B] with 1 for each"))
def a_batch_without_a_mask(folder, patch):
    model, z = make(), np.zeros((4, L), np.float32)

    def trace(batch):
        return jax.eval_shape(lambda p: model.distortion(p, z, batch), shapes_of(model))

    message = yield attempt(trace, {"x": X[:4]})
    told = re.search(r"give (\{.*\}),", message)[1]
    yield attempt(trace, eval(told, {"x": X[:4], "mask": np.ones(4, np.float32)}))


@tries(at(MODEL, "_part")("as Model.init returns it: give trained.params"))
def a_result_for_its_parameters(folder, patch):
    model = make()
    left = vae_jax.Trained(model, model.init(KEY))
    message = yield lambda: model.encode(left, X[:2])
    yield lambda: model.encode(eval(message.partition("give ")[2], {"trained": left}), X[:2])


@tries(at("vae_jax/modules.py", "_in_one_line")("give the parameters that were trained with"))
def parameters_of_another_model(folder, patch):
    yield attempt(encoded, X[:2], make(), shapes_of(make(shape=(5,))))
    yield attempt(encoded, X[:2], make(), shapes_of(make()))


# --- Names and settings


@tries(at("vae_jax/errors.py", "unknown")("…: choose from …"))
def something_that_is_no_name(folder, patch):
    message = yield attempt(networks.load, None)
    for name in message.partition("choose from ")[2].split(", "):
        yield attempt(networks.load, name)


@tries(at(ARGUMENTS, "refuse_elsewhere")("…: give it to …(…, …=…)"))
def a_setting_in_another_place(folder, patch):
    message = yield attempt(planned, settings={"z_dim": 3})
    call, name = re.search(r"give it to (\w+)\(…, (\w+)=…\)", message).groups()
    yield lambda: getattr(vae_jax, call)(X, **{**GIVEN, name: 3})
    yield attempt(planned, learning_rate=0.1)


@tries(at("vae_jax/assembly.py", "_widths")("give a tuple such as widths=(64, 64)"))
def a_number_of_widths(folder, patch):
    message = yield attempt(model_of, X, widths=4)
    yield attempt(model_of, X, widths=eval(message.partition("as widths=")[2]))


@tries(at("vae_jax/assembly.py", "_likelihood")("is a class: give likelihoods.…(), or its name"))
def a_class_for_a_likelihood(folder, patch):
    message = yield attempt(model_of, X, likelihood=likelihoods.Bernoulli)
    text = re.search(r"give (\S+),", message)[1]
    yield attempt(model_of, X, likelihood=eval(text, {"likelihoods": likelihoods}))
    yield attempt(model_of, X, likelihood="bernoulli")


@tries(at("vae_jax/assembly.py", "_model")("fill them in, such as numpy.nan_to_num(x), or leave"))
def a_table_with_nan(folder, patch):
    x = np.where(X < 0.02, np.nan, X)
    message = yield attempt(model_of, x)
    text = re.search(r"such as (numpy\S+),", message)[1]
    yield attempt(model_of, eval(text, {"numpy": np, "x": x}))
    yield attempt(model_of, x[~np.isnan(x).any(axis=1)])


# --- Data


own = at(ARGUMENTS, "examples")


@tries(own("is a name: give vae_jax.data.load(…)"))
def a_name_for_data(folder, patch):
    message = yield attempt(model_of, "digits")
    yield attempt(model_of, eval(message.partition("give ")[2], {"vae_jax": vae_jax}))


@tries(own("give {'x': x, 'labels': y}, or x alone"))
def a_pair_for_data(folder, patch):
    message = yield attempt(model_of, (X, LABELS))
    text = re.search(r"give (\{.*\}),", message)[1]
    yield attempt(model_of, eval(text, {"x": X, "y": LABELS}))
    yield attempt(model_of, X)


@tries(own("give each array a name other than 'mask'"))
def a_mask_beside_x(folder, patch):
    yield attempt(planned, {"x": X, "mask": LABELS})
    yield attempt(planned, {"x": X, "weight": LABELS})


@tries(at("vae_jax/data/__init__.py", "_check")("give load('digits'), for example"))
def an_array_for_the_name_of_a_dataset(folder, patch):
    message = yield attempt(vae_jax.data.load, X)
    yield lambda: eval(re.search(r"give (load\(.*?\))", message)[1], vars(vae_jax.data))
    yield attempt(planned, X, model=model_of(X))


@tries(at("vae_jax/data/__init__.py", "_marks")("give missing_values=['NA'], for example"))
def a_number_for_a_mark(folder, patch):
    (folder / "a.csv").write_text("a,b\n" + "1,2\n2,NA\n4,7\n" * 20)
    message = yield attempt(vae_jax.data.load, folder / "a.csv", missing_values=3)
    given = eval(re.search(r"missing_values=(\[.*\])", message)[1])
    yield attempt(vae_jax.data.load, folder / "a.csv", missing_values=given)


# --- Trainings


own = at(FITTING, "_callbacks")


@tries(own(": give callbacks=[…]"))
def a_callback_alone(folder, patch):
    message = yield attempt(fitting._callbacks, print)
    yield lambda: fitting._callbacks(eval(message.partition("give callbacks=")[2]))


@tries(own("give functions of one argument, the `Epoch`"))
def a_callback_without_an_argument(folder, patch):
    yield attempt(fitting._callbacks, [lambda: None])
    yield attempt(fitting._callbacks, [lambda epoch: None])


own = at(FITTING, "_check_kinds")


@tries(own("give vae_jax.make_model(data)"))
def a_training_without_a_model(folder, patch):
    message = yield attempt(fitting._check_kinds, None, None)
    data = vae_jax.data.load("digits")
    yield lambda: fitting._check_kinds(
        eval(message.partition("give ")[2], {"vae_jax": vae_jax, "data": data}), None
    )


@tries(own("give trained.model"))
def a_result_for_its_model(folder, patch):
    left = vae_jax.Trained(make(), {})
    message = yield attempt(fitting._check_kinds, left, None)
    yield lambda: fitting._check_kinds(eval(message.partition("give ")[2], {"trained": left}), None)


@tries(own("must be a function of two arguments: give lambda stored, key: x"))
def a_preprocess_of_one_argument(folder, patch):
    message = yield attempt(planned, preprocess=lambda x: x)
    given = eval(message.partition("give ")[2].replace(": x", ": stored"))
    yield attempt(planned, preprocess=given)


own = at(SOURCES, "_refuse_preprocess")


@tries(own("take jax.numpy in place of numpy, and jax.numpy.where in place of if"))
def a_preprocess_in_numpy(folder, patch):
    yield attempt(planned, preprocess=lambda x, key: np.sqrt(x))
    yield attempt(planned, preprocess=lambda x, key: jnp.where(x > 0.1, jnp.sqrt(x), 0.0))


@tries(own("convert it with .astype('float32')"))
def a_preprocess_to_booleans(folder, patch):
    yield attempt(planned, preprocess=lambda x, key: x > 0.5)
    yield attempt(planned, preprocess=lambda x, key: (x > 0.5).astype("float32"))


def own_loss(model, params, batch, key):
    return model.distortion(params, model.encode(params, batch["x"]).sample(key), batch)


own = at(FITTING, "_check_traced")


@tries(own("take jax.numpy in place of numpy and float(), and jax.numpy.where in place of if"))
def an_objective_in_numpy(folder, patch):
    yield attempt(planned, objective=lambda *a: (np.abs(own_loss(*a)), {}))
    yield attempt(planned, objective=lambda *a: (jnp.abs(own_loss(*a)), {}))
    yield lambda: planned(objective=lambda *a: (jnp.where(own_loss(*a) > 0, own_loss(*a), 0), {}))


@tries(own("give {'x': x, …: …} in place of x"))
def an_objective_that_asks_for_more(folder, patch):
    def mine(model, params, batch, key):
        return own_loss(model, params, batch, key) * batch["weight"], {}

    message = yield attempt(planned, objective=mine)
    text = re.search(r"give (\{.*\}) in place", message)[1].replace("…", "w")
    data = eval(text, {"x": X, "w": np.ones(len(X), np.float32)})
    yield attempt(planned, data, objective=mine)


own = at("vae_jax/training.py", "_terms")


@tries(own("write return loss, {} at its end"))
def an_objective_without_terms(folder, patch):
    yield attempt(planned, objective=lambda *a: own_loss(*a))
    yield attempt(planned, objective=lambda *a: (own_loss(*a), {}))


@tries(own("sum over the other axes, or leave it out of aux"))
def a_term_for_each_number(folder, patch):
    yield attempt(planned, objective=lambda m, p, b, k: (own_loss(m, p, b, k), {"a": b["x"]}))
    yield lambda: planned(
        objective=lambda m, p, b, k: (own_loss(m, p, b, k), {"a": b["x"].sum(axis=1)})
    )
    yield attempt(planned, objective=lambda m, p, b, k: (own_loss(m, p, b, k), {}))


@tries(own("aux holds …, which training adds: give it another name"))
def a_term_of_a_taken_name(folder, patch):
    yield attempt(planned, objective=lambda *a: (own_loss(*a), {"loss": own_loss(*a)}))
    yield attempt(planned, objective=lambda *a: (own_loss(*a), {"mine": own_loss(*a)}))


own = at(FITTING, "_bound")


@tries(own("leave it out, or give fewer rows of data"))
def another_number_of_examples(folder, patch):
    yield attempt(planned, settings={"num_examples": 7})
    yield attempt(planned, settings={})
    yield attempt(planned, X[:7], settings={"num_examples": 7})


@tries(own("the objective has no default for it: give fit(…, …=…)"))
def a_hyperparameter_without_a_value(folder, patch):
    def mine(model, params, batch, key, *, gamma):
        return gamma * own_loss(model, params, batch, key), {}

    message = yield attempt(planned, objective=mine)
    name = re.search(r"give fit\(…, (\w+)=…\)", message)[1]
    yield attempt(planned, objective=mine, settings={name: 2.0})


own = at(FITTING, "_schedule")


@tries(own("=None: must be a number or a schedule: leave it out, or give one"))
def no_learning_rate(folder, patch):
    yield attempt(planned, learning_rate=None)
    yield attempt(planned)
    yield attempt(planned, learning_rate=0.1)


@tries(own("is an optax transformation: give optimizer=…, which has its own rate"))
def a_transformation_for_a_rate(folder, patch):
    yield attempt(planned, learning_rate=optax.sgd(0.1))
    yield attempt(planned, optimizer=optax.sgd(0.1), learning_rate=training.LEARNING_RATE)


own = at(FITTING, "_optimizer")


@tries(own("…, or give optimizer=optax.…"))
def an_optimizer_of_optax_by_name(folder, patch):
    message = yield attempt(planned, optimizer="lion")
    given = eval(message.partition("or give optimizer=")[2], {"optax": optax})
    yield attempt(planned, optimizer=given)


@tries(at(FITTING, "_optimizer", "make")("give one such as optax.sgd"))
def a_factory_of_something_else(folder, patch):
    def made(optimizer):
        return fitting._optimizer(optimizer, {"weight_decay": None})[0]({"learning_rate": 0.1})

    message = yield attempt(made, lambda h: 3)
    yield attempt(made, eval(message.partition("such as ")[2], {"optax": optax}))


own = at("vae_jax/schedules.py", "_refuse_untraceable")


@tries(own("does not take a step alone: give a function of the step"))
def a_schedule_without_a_step(folder, patch):
    yield attempt(schedules.make, lambda: 1.0)
    yield attempt(schedules.make, lambda step: 1.0)


@tries(own("take jax.numpy.where(step < 10, a, b) in place of if, or text such as"))
def a_schedule_with_an_if(folder, patch):
    message = yield attempt(schedules.make, lambda step: 1e-3 if step < 10 else 1e-4)
    where, text = re.search(r"take (.*) in place of if, or text such as '(.*)'$", message).groups()
    names = {"jax": jax, "a": 1e-3, "b": 1e-4}
    yield attempt(schedules.make, lambda step: eval(where, {**names, "step": step}))
    yield attempt(schedules.make, text)


@tries(own("returns no number: give a function from a step to a number"))
def a_schedule_of_several_numbers(folder, patch):
    yield attempt(schedules.make, lambda step: jnp.ones(2))
    yield attempt(schedules.make, lambda step: jnp.ones(2).sum())


# --- Checkpoints


own = at("vae_jax/keeping.py", "Keeper", "_held")


def kept(folder, rate):
    with keeping.Keeper(folder, {"learning_rate": rate}):
        pass


@tries(own("changes with epochs: give …=… to go on with that one, or name another directory"))
def a_checkpoint_of_fewer_epochs(folder, patch):
    def told(value):
        schedule = schedules.parse(value, steps_per_epoch=3, num_steps=9)
        return fitting._told_schedule(schedule)

    kept(folder / "a", told("cosine(2e-3, 0, 100%)"))
    message = yield attempt(kept, folder / "a", told("cosine(2e-3, 0, 12)"))
    value = re.search(r"give learning_rate='(.*)' to go on", message)[1]
    yield attempt(kept, folder / "a", told(value))
    yield attempt(kept, folder / "b", told("cosine(2e-3, 0, 12)"))


@tries(at("vae_jax/keeping.py", "Keeper", "_locked")("wait until that fit has ended, or name"))
def a_checkpoint_in_use(folder, patch):
    def twice(other):
        with keeping.Keeper(folder / "a", {}):
            kept(folder / other, 0.1)

    def after():
        with keeping.Keeper(folder / "a", {}):
            pass
        with keeping.Keeper(folder / "a", {}):
            pass

    yield attempt(twice, "a")
    yield after
    yield attempt(twice, "b")


# --- What a training left


own = at("vae_jax/trained.py", "_check_kinds")


def measured(left, **settings):
    return vae_jax.evaluate(left, "reconstruction", X, **settings)


def left_by(model):
    return vae_jax.Trained(model, model.init(KEY))


@tries(own("is a path: give vae_jax.load(…)"))
def a_path_for_a_result(folder, patch):
    path = SWEEP / "programs" / "all"
    message = yield attempt(measured, path)
    text = message.partition("give ")[2].replace(")", ", member=0)")
    yield lambda: vae_jax.evaluate(eval(text, {"vae_jax": vae_jax}), "reconstruction")


@tries(own("is a Model: give vae_jax.Trained(model, params)"))
def a_model_for_a_result(folder, patch):
    model = make()
    message = yield attempt(measured, model)
    names = {"vae_jax": vae_jax, "model": model, "params": model.init(KEY)}
    yield attempt(measured, eval(message.partition("give ")[2], names))


@tries(own("must be the result of vae_jax.fit or vae_jax.load: give one, or vae_jax.Trained("))
def nothing_for_a_result(folder, patch):
    yield attempt(measured, None)
    yield attempt(measured, left_by(make()))


@tries(own("give {'nll': {'num_samples': 100}}, for example"))
def settings_that_are_none(folder, patch):
    left = left_by(make())
    message = yield attempt(vae_jax.evaluate, left, "nll", X, settings={"nll": 3})
    given = eval(re.search(r"give (\{.*\}),", message)[1])
    yield attempt(vae_jax.evaluate, left, "nll", X, settings=given)


@tries(at("vae_jax/trained.py", "_as_dataset")("give x[None] for one example"))
def one_example_to_measure(folder, patch):
    left = left_by(make())
    message = yield attempt(vae_jax.evaluate, left, "reconstruction", X[0])
    given = eval(re.search(r"give (\S+) for", message)[1], {"x": X[0]})
    yield attempt(vae_jax.evaluate, left, "reconstruction", given)


@tries(
    at("vae_jax/trained.py", "_objective_terms")("load the run instead, or call fit"), is_slow=True
)
def a_model_alone_without_its_objective(folder, patch):
    def terms(left, data=None):
        skipped = vae_jax.evaluate(left, "objective", data).skipped
        if skipped:
            raise SaidError(skipped["objective"])

    yield attempt(terms, left_by(make()), X)
    yield lambda: terms(vae_jax.load(SWEEP / "programs" / "all", member=0))
    yield lambda: terms(vae_jax.fit("beta_vae", make(), X, epochs=1), X)


@tries(at("vae_jax/lab/loading.py", "load")("give load('runs/name'), for example"))
def a_number_for_a_path(folder, patch):
    yield attempt(vae_jax.load, 3)
    yield attempt(vae_jax.load, SWEEP / "programs" / "all", member=0)
