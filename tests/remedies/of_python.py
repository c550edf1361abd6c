"""What is said of arguments in Python: of models, objectives, data in memory and measures."""

import functools
import re
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import vae_jax
from experiments import applications, recipes, reproduce
from experiments.applications import __main__ as compare
from experiments.applications import imputation
from experiments.benchmark import command
from experiments.lecture import __main__ as lecture_main
from vae_jax import (
    data,
    distributions,
    evaluation,
    fitting,
    latents,
    likelihoods,
    losses,
    modules,
    networks,
    objectives,
    schedules,
    sources,
    training,
)
from vae_jax.cli import command as cli
from vae_jax.evaluation import _shared, ais, collapse, exact, nll
from vae_jax.evaluation.disentanglement import _common, explicitness
from vae_jax.evaluation.subject import Subject
from vae_jax.model import Model

from ._cases import SaidError, at, attempt, tries

N, L, SHAPE = 40, 3, (6,)
X = np.random.default_rng(0).random((N, *SHAPE)).astype(np.float32)
LABELS = np.arange(N, dtype=np.int32) % 3
ASKED = {"seed": 0, "learning_rate": 1e-3, "weight_decay": None, "adam": None}
ASKED |= {"clip_norm": None, "skip_norm": None, "ema_decay": None, "init_scale": None}


def make(likelihood=None, latent=None, num=0, classes=None, shape=SHAPE, dim=L):
    """A model of dense layers."""
    likelihood, latent = likelihood or likelihoods.Bernoulli(), latent or latents.Gaussian()
    sizes = {"num_outputs": likelihood.num_outputs, "num_parts": len(latent.parts)}
    modules = networks.build("mlp", shape=shape, latent_dim=dim, widths=(4,), **sizes)
    model = Model(*modules, likelihood, shape, dim, latent=latent, num_conditions=num)
    return model.replace(classes=classes)


def begin(objective, model, x, settings=None, **changes):
    """What `fit` does before it compiles: the training."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            options = {"epochs": 2, "batch_size": 16, **changes}
            return fitting._planned(objective, model, x, settings or {}, ASKED, **options)
        except UserWarning as warning:
            raise SaidError(str(warning)) from None


def names(**more):
    """What the expressions of messages are made of."""
    known = {"make_model": vae_jax.make_model, "likelihoods": likelihoods, "latents": latents}
    return {**vars(vae_jax), **known, **more}


# --- Names, schedules, densities


@tries(at("vae_jax/errors.py", "unknown")("is unknown…: choose from …"))
def a_name_that_is_unknown(folder, patch):
    message = yield attempt(likelihoods.make, "gausian")
    for name in re.search(r"choose from (.*)$", message)[1].split(", "):
        yield attempt(likelihoods.make, name, parts=[("gaussian", 1)])


own = at("vae_jax/schedules.py", "parse")
USABLE = "constant, linear, cosine, cyclical, cosine_decay, exponential_decay, polynomial, "
USABLE += "warmup_constant, warmup_cosine_decay, warmup_exponential_decay, cosine_onecycle, "
USABLE += "linear_onecycle, piecewise"


def filled(message):
    """The call that a message asks for, with a number for each argument."""
    usage = message.partition("write it as ")[2].replace("value, …", "value")

    def number(argument):
        known = {"decay_steps": "60", "warmup_steps": "20", "decay_rate": "0.9", "power": "2"}
        return known.get(argument[0], "40" if "step" in argument[0] else "0.5")

    return re.sub(r"\w+(?=[,)])", number, usage)


@tries(own("too many arguments; write it as …"))
def a_schedule_of_too_many_arguments(folder, patch):
    message = yield attempt(schedules.parse, "linear(1, 2, 3, 4)")
    yield attempt(schedules.parse, filled(message))


@tries(own("…; write it as …"))
def a_schedule_of_too_few_arguments(folder, patch):
    message = yield attempt(schedules.parse, "cosine(1)")
    yield attempt(schedules.parse, filled(message))
    for name in USABLE.split(", ")[1:]:
        try:
            schedules.parse(f"{name}({'0.5, 0.5' if name == 'piecewise' else ''})")
        except vae_jax.errors.UsageError as error:
            yield attempt(schedules.parse, filled(str(error)))
    for name in schedules._INSTEAD:
        try:
            schedules.parse(f"{name}()")
        except vae_jax.errors.UsageError as error:
            yield attempt(schedules.parse, filled(str(error)))


@tries(at("vae_jax/schedules.py", "parse", "number")("is no duration: give 2000 (steps), 10ep"))
def a_negative_duration(folder, patch):
    message = yield attempt(schedules.parse, "linear(0, 1, -5)")
    told = re.search(r"give (\S+) \(steps\), (\S+) or (\S+)$", message)
    for duration in told.groups():
        yield attempt(schedules.parse, f"linear(0, 1, {duration})")


GAUSSIAN = distributions.DiagonalGaussian(jnp.zeros((2, L)), jnp.zeros((2, L)))
UNIFORM = latents.Categorical(3).prior(None, L)


@tries(at("vae_jax/distributions.py", "kl_divergence")("estimate the rate as log q(z|x) − log p"))
def a_divergence_without_a_formula(folder, patch):
    yield attempt(distributions.kl_divergence, GAUSSIAN, UNIFORM)
    z = jnp.eye(L)[:2]
    yield lambda: np.testing.assert_equal((GAUSSIAN.log_prob(z) - UNIFORM.log_prob(z)).shape, (2,))


@tries(at("vae_jax/distributions.py", "require_diagonal_gaussian")("take latents with"))
def a_prior_of_another_type(folder, patch):
    require = distributions.require_diagonal_gaussian
    yield attempt(require, UNIFORM, "here")
    yield lambda: require(latents.Gaussian().prior(None, L), "here")


@tries(at("vae_jax/losses/bounds.py", "thermodynamic_bound")("or more, or take beta_vae"))
def a_covariance_of_one_sample(folder, patch):
    def trace(objective, **settings):
        model = make()
        params = jax.eval_shape(model.init, jax.random.key(0))
        loss, batch = objectives.load(objective), {"x": jnp.asarray(X[:4]), "mask": jnp.ones(4)}
        key = jax.random.key(0)
        return jax.eval_shape(lambda p: loss(model, p, batch, key, **settings), params)

    message = yield attempt(trace, "tvo", num_samples=1)
    told = re.search(r"give num_samples=(\d) or more, or take (\w+)", message)
    yield attempt(trace, "tvo", num_samples=int(told[1]))
    yield attempt(trace, told[2])


# --- Models

own = at("vae_jax/model.py", "Model", "_conditions")


@tries(own("call model.given(condition) first"))
def a_model_without_its_condition(folder, patch):
    model = make(num=3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    message = yield lambda: jax.eval_shape(model.encode, shapes, X[:2])
    told = eval(re.search(r"call (.*) first", message)[1], {"model": model, "condition": [0, 2]})
    yield lambda: jax.eval_shape(told.encode, shapes, X[:2])


class Kept(nn.Module):
    """An encoder that keeps something, as `how` says."""

    how: str
    kind: type = jnp.int32

    @nn.compact
    def __call__(self, x, train: bool):
        h = nn.Dense(L)(x)
        if self.how == "axis":
            h = nn.BatchNorm(use_running_average=not train, axis_name="batch")(h)
        if self.how == "none":
            h = nn.BatchNorm(use_running_average=not train)(h)
        if self.how == "train":
            h = nn.BatchNorm(use_running_average=False)(h)
            h = nn.Dropout(0.5, deterministic=False)(h)
        if self.how == "told":
            h = nn.BatchNorm(use_running_average=not train)(h)
            h = nn.Dropout(0.5, deterministic=not train)(h)
        if self.how in ("memory", "batch_stats"):
            kept = self.variable(self.how, "last", jnp.zeros, (1, L), self.kind)
            h = h + kept.value.astype(h.dtype)
        return h, h


def initialized(how, kind=jnp.float32):
    """What such an encoder returns in training, with variables that it has drawn: shapes."""
    module = Kept(how, kind)

    def train(key):
        variables = modules.init(module, key, X[:2])[1]
        return modules.apply(module, variables, X[:2], train_key=key)

    return jax.eval_shape(train, jax.random.key(0))


own = at("vae_jax/modules.py", "_in_one_line")


@tries(at("vae_jax/modules.py")("let its __call__ take train: bool, and give BatchNorm"))
def a_module_that_always_trains(folder, patch):
    message = yield attempt(initialized, "train")
    assert "use_running_average=not train" in message
    assert "deterministic=not train" in message
    yield attempt(initialized, "told")


@tries(at("vae_jax/modules.py", "init")("keep statistics as floating-point numbers"))
def statistics_that_are_integers(folder, patch):
    yield attempt(initialized, "batch_stats", jnp.int32)
    yield attempt(initialized, "batch_stats", jnp.float32)


@tries(own("keeps the collections params and … alone, take one of these"))
def a_collection_that_is_not_kept(folder, patch):
    message = yield attempt(initialized, "memory")
    told = re.search(r"the collections params and (\w+) alone", message)[1]
    yield attempt(initialized, told)


@tries(own("leave axis_name out, statistics are those of the whole batch"))
def statistics_over_an_axis(folder, patch):
    yield attempt(initialized, "axis")
    yield attempt(initialized, "none")


@tries(own("give parameters with …, as Model.init returns them"))
def parameters_without_statistics(folder, patch):
    model = make().replace(encoder=Kept("none"))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    lacking = {name: value for name, value in shapes.items() if name != "batch_stats"}
    yield lambda: jax.eval_shape(model.encode, lacking, X[:2])
    yield lambda: jax.eval_shape(model.encode, shapes, X[:2])


# --- Labels and conditions

OWN = at("vae_jax/labels.py")(", or make the model with classes=(…), your own labels in order")
own = at("vae_jax/labels.py", "indices")


@tries(OWN, own("is none of the classes …: give one of these"))
def a_label_that_is_no_class(folder, patch):
    yield lambda: make(num=3).given([10, 30])
    yield lambda: make(num=3).given([0, 2])
    yield lambda: make(num=3, classes=(10, 20, 30)).given([10, 30])


@tries(own("give one for each row, [N]"))
def labels_in_a_column(folder, patch):
    told = {"x": X, "labels": LABELS[:, None]}
    yield attempt(begin, "m2", make(num=3), told)
    yield attempt(begin, "m2", make(num=3), {**told, "labels": LABELS})


@tries(at("vae_jax/labels.py", "one_hot")("outside of jit, or give unit vectors [B, C]"))
def words_inside_of_jit(folder, patch):
    model = make(num=2, classes=("cat", "dog"))
    yield lambda: jax.eval_shape(lambda c: model.given(c).condition, jnp.array([0, 1]))
    yield lambda: jax.eval_shape(lambda: model.given(["cat"]).condition)
    yield lambda: jax.eval_shape(lambda c: model.given(c).condition, jnp.eye(2))


own = at("vae_jax/labels.py", "encoded")


@tries(own("give …numbers [B, …]"))
def a_condition_of_another_shape(folder, patch):
    yield lambda: make(num=3).given(np.zeros((4, 2)))
    yield lambda: make(num=3).given(np.zeros((4, 3)))
    yield lambda: make(num=3).given(np.zeros(4, int))


@tries(at("vae_jax/labels.py")("make it with make_model("))
def a_condition_of_a_model_without(folder, patch):
    model = make()
    message = yield lambda: model.given([0, 1])
    call = message.partition("make it with ")[2]
    yield lambda: eval(call, names(x=X, y=LABELS, model=model)).given([0, 1])


@tries(own("the model has … for num_conditions=…: give as many"))
def classes_of_another_number(folder, patch):
    yield lambda: make(num=3, classes=("a", "b")).given(["a"])
    yield lambda: make(num=3, classes=("a", "b", "c")).given(["a"])


own = at("vae_jax/objectives/_conditions.py", "beside")


@tries(own("give {'x': x, 'labels': y} in place of x"))
def rows_without_their_condition(folder, patch):
    message = yield attempt(begin, "cvae", make(num=3), X)
    told = re.search(r"give (\{.*?\}) in place of x.*, or (\{.*?\}), c", message)
    names = {"x": X, "y": LABELS, "c": np.eye(3)[LABELS]}
    for text in told.groups():
        yield attempt(begin, "cvae", make(num=3), eval(text, names))


own = at("vae_jax/objectives/_conditions.py", "told_labels")


@tries(own("give {'x': x, 'labels': y} in place of x, y [N] with −1 where a label is unknown"))
def rows_without_their_labels(folder, patch):
    message = yield attempt(begin, "m2", make(num=3), X)
    told = re.search(r"give (\{.*?\}) in place of x", message)[1]
    y = np.where(LABELS == 1, -1, LABELS)
    yield attempt(begin, "m2", make(num=3), eval(told, {"x": X, "y": y}))


@tries(own("are unknown (−1): give one for some rows"))
def labels_that_are_all_unknown(folder, patch):
    labels = np.full(N, -1)
    yield attempt(begin, "m2", make(num=3), {"x": X, "labels": labels})
    labels[:3] = [0, 1, 2]
    yield attempt(begin, "m2", make(num=3), {"x": X, "labels": labels})


@tries(at("vae_jax/objectives/_conditions.py", "taken")("the batch holds …: give … beside x"))
def a_batch_without_its_condition(folder, patch):
    model = make(num=3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    batch, loss = {"x": X[:4], "mask": np.ones(4, np.float32)}, objectives.load("cvae")

    def trace(**more):
        own = {**batch, **more}
        return jax.eval_shape(lambda p: loss(model, p, own, jax.random.key(0)), shapes)

    message = yield trace
    name = re.search(r"give '(\w+)' beside x", message)[1]
    yield attempt(trace, **{name: LABELS[:4]})


# --- Training in memory

own = at("vae_jax/fitting.py", "_check_model")
SAME = at("vae_jax/fitting.py", "_same_family")("; or give fit(…, …)")


@tries(own("make it with …Model(…, latent=latents.…) and an encoder"), SAME)
def other_latents_than_those_asked_for(folder, patch):
    model = make(latent=latents.Quantized(8, 3))
    message = yield attempt(begin, "vq_vae", model, X)
    call = re.search(r"make it with (make_model\(.*?\)), or Model", message)[1]
    made = eval(call, names(data=X, model=model))
    yield attempt(begin, "vq_vae", made, X)
    asked = eval(re.search(r"latent=latents\.(\w+\(.*?\))\)", message)[1], vars(latents))
    yield attempt(begin, "vq_vae", make(latent=asked, dim=2 * asked.code_dim), X)
    sizes = eval(f"dict({re.search(r'or give fit.…, (.*).$', message)[1]})")
    yield attempt(begin, "vq_vae", model, X, sizes)


@tries(own("make it with …Model(…, num_conditions=C) and an encoder and a decoder that take"))
def a_condition_for_a_model_that_takes_none(folder, patch):
    message = yield attempt(begin, "m2", make(), {"x": X, "labels": LABELS})
    call = re.search(r"make it with (make_model\(.*?\)), or Model", message)[1]
    made = eval(call, names(x=X, y=LABELS, model=make()))
    yield attempt(begin, "m2", made, {"x": X, "labels": LABELS})
    yield attempt(begin, "m2", make(num=3), {"x": X, "labels": LABELS})


@tries(at("vae_jax/fitting.py", "_check_mechanism")("make it with …Model(…, mechanism=…)"))
def another_mechanism_than_that_of_the_objective(folder, patch):
    message = yield attempt(begin, "not_miwae", make(), X)
    call = re.search(r"make it with (make_model\(.*?\)), or Model", message)[1]
    yield attempt(begin, "not_miwae", eval(call, names(data=X, model=make())), X)
    asked = eval(re.search(r"mechanism=(.*\))\)$", message)[1], vars(vae_jax))
    yield attempt(begin, "not_miwae", make().replace(mechanism=asked), X)


own = at("vae_jax/objectives/not_miwae.py", "_check")


@tries(own("make it with make_model(data, objective='not_miwae'), or give Model(…, mechanism="))
def a_loss_without_a_mechanism(folder, patch):
    batch, loss = {"x": X[:4], "mask": np.ones(4, np.float32)}, objectives.load("not_miwae")

    def trace(model):
        own = model.param_shapes()
        return jax.eval_shape(lambda p: loss(model, p, batch, jax.random.key(0)), own)

    yield attempt(trace, make())
    yield attempt(trace, make().replace(mechanism=vae_jax.mechanisms.Mechanism()))
    bernoulli = likelihoods.Bernoulli()
    yield attempt(trace, vae_jax.make_model(X, objective="not_miwae", likelihood=bernoulli))


@tries(own("take network=mlp and another likelihood, such as likelihood=gaussian"))
def a_mechanism_of_dependent_numbers(folder, patch):
    loss = objectives.load("not_miwae")
    batch = {"x": np.ones((4, *SHAPE), np.float32), "mask": np.ones(4, np.float32)}

    def trace(likelihood):
        model = make(likelihoods.make(likelihood)).replace(mechanism=vae_jax.mechanisms.Mechanism())
        own = model.param_shapes()
        return jax.eval_shape(lambda p: loss(model, p, batch, jax.random.key(0)), own)

    yield attempt(trace, "multinomial")
    yield attempt(trace, "gaussian")


own = at("vae_jax/arguments.py", "examples")


@tries(own("data: holds …: give 'x'"))
def data_without_x(folder, patch):
    message = yield attempt(begin, "beta_vae", make(), {"images": X})
    yield attempt(begin, "beta_vae", make(), {re.search(r"give '(\w+)'", message)[1]: X})


@tries(at("vae_jax/arguments.py", "_array")("is no array: give one with a row for each example"))
def data_that_are_no_array(folder, patch):
    yield attempt(begin, "beta_vae", make(), np.float32(0.5))
    yield attempt(begin, "beta_vae", make(), X)


@tries(at("vae_jax/sources.py", "named")("give one for each row of x"))
def labels_of_too_few_rows(folder, patch):
    yield attempt(begin, "cvae", make(num=3), {"x": X, "labels": LABELS[:-1]})
    yield attempt(begin, "cvae", make(num=3), {"x": X, "labels": LABELS})


@tries(
    at("vae_jax/errors.py", "refuse_masked")("fill them in, ….filled(…), or leave these rows out")
)
def values_that_are_masked(folder, patch):
    x = np.ma.masked_array(X, X < 0.02)
    yield attempt(begin, "beta_vae", make(), x)
    yield attempt(begin, "beta_vae", make(), x.filled(0.5))
    yield attempt(begin, "beta_vae", make(), x[~x.mask.any(axis=1)])


@tries(at("vae_jax/sources.py", "_check_numeric")("encode it or leave it out"))
def words_beside_x(folder, patch):
    told = {"x": X, "names": np.array(["cat", "dog"])[LABELS % 2]}
    yield attempt(begin, "beta_vae", make(), told)
    yield attempt(begin, "beta_vae", make(), {"x": X, "names": LABELS % 2})
    yield attempt(begin, "beta_vae", make(), {"x": X})


@tries(at("vae_jax/sources.py", "_check_numeric")("encode it"))
def words_in_place_of_x(folder, patch):
    words = np.array([["no", "yes"]] * 3).reshape(6)[(X > 0.5).astype(int)]
    message = yield attempt(begin, "beta_vae", make(), words)
    assert "leave it out" not in message
    yield attempt(begin, "beta_vae", make(), (words == "yes").astype(np.float32))


own = at("vae_jax/sources.py", "check_values")


@tries(own("give preprocess=…, for a dataset of ours preprocess="))
def bytes_without_a_preprocess(folder, patch):
    dataset = data.load("digits")
    model = make(shape=dataset.shape)
    message = yield attempt(begin, "beta_vae", model, dataset.train.x)
    told = eval(re.search(r"preprocess=(lambda .*)$", message)[1], {"dataset": dataset})
    yield attempt(begin, "beta_vae", model, dataset.train.x, preprocess=told)


@tries(own("fill them in, or leave these rows out"))
def values_that_are_not_finite(folder, patch):
    x = X.copy()
    x[3, 1], x[7, 0] = np.nan, np.inf
    yield attempt(begin, "beta_vae", make(), x)
    yield attempt(begin, "beta_vae", make(), x[np.isfinite(x).all(axis=1)])
    yield attempt(begin, "beta_vae", make(), np.where(np.isfinite(x), x, 0))


@tries(own("give level k as k / "))
def levels_that_are_not_on_their_grid(folder, patch):
    levels = np.round(7 * X).astype(np.float32)
    message = yield attempt(begin, "beta_vae", make(likelihoods.Categorical(8)), levels)
    most = int(re.search(r"as k / (\d+)", message)[1])
    yield attempt(begin, "beta_vae", make(likelihoods.Categorical(8)), levels / most)
    other = eval(re.search(r"or take (\S+)$", message)[1], names())
    yield attempt(begin, "beta_vae", make(other), levels)


own = at("vae_jax/sources.py")
RESCALE = own("rescale it, x = (x - x.min()) / (x.max() - x.min())")


def rescaled(message, x):
    """x after the statement that a message holds."""
    own = {"x": x}
    exec(re.search(r"rescale it, (x = .*? / \(.*?\(\) - .*?\(\)\))", message)[1], own)
    return own["x"].astype(np.float32)


@tries(at("vae_jax/sources.py", "check_values")(", or take likelihoods.Gaussian()"))
def probabilities_that_are_none(folder, patch):
    message = yield attempt(begin, "beta_vae", make(), 3 * X - 1)
    yield attempt(begin, "beta_vae", make(), rescaled(message, 3 * X - 1))
    other = eval(re.search(r"or take (\S+)$", message)[1], names())
    yield attempt(begin, "beta_vae", make(other), 3 * X - 1)


@tries(RESCALE)
def values_that_are_far_from_where_a_decoder_begins(folder, patch):
    message = yield attempt(begin, "beta_vae", make(likelihoods.Gaussian()), 255 * X)
    yield attempt(begin, "beta_vae", make(likelihoods.Gaussian()), rescaled(message, 255 * X))


@tries(RESCALE)
def values_that_no_likelihood_fits(folder, patch):
    message = yield attempt(begin, "beta_vae", make(), X.astype(np.float64) * 1e300)
    assert "take likelihoods" not in message
    yield attempt(begin, "beta_vae", make(), rescaled(message, X.astype(np.float64) * 1e300))


@tries(own("give the k-th of V − 1 characters as k / (V − 1), 0 for the end and NaN after it"))
def characters_that_are_not_encoded(folder, patch):
    text = np.array([[1, 2, 0], [3, 0, np.nan]] * 20, np.float32)
    modules = networks.build("gru", shape=(3,), latent_dim=2, widths=(4,), num_outputs=4)
    model = Model(*modules, likelihoods.Text(4), (3,), 2)
    yield attempt(begin, "beta_vae", model, text)
    yield attempt(begin, "beta_vae", model, text / 3)
    (folder / "a.txt").write_text("ab\nc\nabc\nba\n")
    dataset = data.load(str(folder / "a.txt"))
    decoded = dataset.decode(jnp.asarray(dataset.train.x))
    yield attempt(begin, "beta_vae", model, np.asarray(decoded))


@tries(own("take likelihoods.Laplace(), or rescale each column to [0, 1]"))
def columns_that_reach_far(folder, patch):
    x = np.random.default_rng(0).normal(size=(2000, *SHAPE)).astype(np.float32)
    x[11, 4] = 90
    message = yield attempt(begin, "beta_vae", make(likelihoods.Gaussian()), x)
    other = eval(re.search(r"take (\S+), or rescale", message)[1], names())
    yield attempt(begin, "beta_vae", make(other), x)
    low, high = x.min(axis=0, keepdims=True), x.max(axis=0, keepdims=True)
    yield attempt(begin, "beta_vae", make(likelihoods.Gaussian()), (x - low) / (high - low))


@tries(at("vae_jax/sources.py", "_blocks")("give …, or a model of that shape"))
def examples_of_another_shape(folder, patch):
    x = X.reshape(N, 2, 3)
    message = yield attempt(begin, "beta_vae", make(), x)
    reshaped = eval(re.search(r"give (x\.reshape\(.*?\))", message)[1], {"x": x})
    yield attempt(begin, "beta_vae", make(), reshaped)
    yield attempt(begin, "beta_vae", make(shape=(2, 3)), x)


@tries(at("vae_jax/training.py", "_alone")("give objectives.bind(…, num_examples=N)"))
def a_loss_without_the_rest_of_its_objective(folder, patch):
    options = {"preprocess": sources.undecoded, "num_examples": N, "batch_size": 16}
    message = yield attempt(
        lambda: training.make_train(objectives.load("factor_vae"), make(), **options)
    )
    assert "give objectives.bind(" in message
    bound = objectives.bind("factor_vae", num_examples=N)
    yield attempt(lambda: training.make_train(bound, make(), **options))


@tries(at("vae_jax/training.py", "_given")("take objectives.bind(name, num_examples=N), or"))
def statistics_of_a_conditional_model(folder, patch):
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x, condition, train: bool):
            h = nn.BatchNorm(use_running_average=not train)(nn.Dense(L)(x) + condition)
            return h, h

    model, condition = make(num=3).replace(encoder=Encoder()), {"condition": LABELS}
    batch = {"x": X[:16], "condition": LABELS[:16], "mask": np.ones(16, np.float32)}

    def trace(objective):
        options = {"num_examples": N, "batch_size": 16, "beside": condition}
        made = training.make_train(objective, model, preprocess=sources.undecoded, **options)
        h = training.Hparams(jnp.int32(0), jnp.float32(1e-3), {})
        state = jax.eval_shape(made.init, h)
        return jax.eval_shape(made.step, state, h, batch, jax.random.key(0))

    def alone(*arguments, **settings):
        return objectives.load("cvae")(*arguments, **settings)

    message = yield attempt(trace, alone)
    known = {"objectives": objectives, "name": "cvae", "N": N}
    bound = eval(re.search(r"take (objectives\.bind\(.*?\))", message)[1], known)
    yield attempt(trace, bound)
    yield attempt(trace, training.Objective(objectives.load("cvae"), given=bound.given))


# --- Measures

own = at("vae_jax/evaluation/_shared.py")


@tries(at("vae_jax/evaluation/_shared.py", "require_finite")("or leave their rows out"))
def codes_that_are_not_finite(folder, patch):
    codes = X.copy()
    codes[3, 1] = np.nan
    yield attempt(_shared.require_finite, codes=codes)
    yield attempt(_shared.require_finite, codes=codes[np.isfinite(codes).all(axis=1)])


def estimated(measure, likelihood, **settings):
    """−log p(x) of two examples by a measure of a small model, traced."""
    model, key = make(likelihood), jax.random.key(0)
    settings["preprocess"] = sources.undecoded
    shapes = jax.eval_shape(model.init, key)
    return jax.eval_shape(lambda p: measure.evaluate(model, p, X[:2], key, **settings), shapes)


@tries(at("vae_jax/evaluation/_shared.py", "require_density")("fix it with evaluation.elbo.freeze"))
def a_variance_of_each_batch(folder, patch):
    model, key = make(likelihoods.Gaussian("optimal")), jax.random.key(0)

    def measured(params, freeze=lambda *both, **_: both[:2]):
        frozen, params = freeze(model, params, X, key, preprocess=sources.undecoded)
        return nll.evaluate(frozen, params, X, key, preprocess=sources.undecoded, num_samples=2)

    shapes = jax.eval_shape(model.init, key)
    message = yield attempt(jax.eval_shape, measured, shapes)
    freeze = eval(re.search(r"fix it with (\S+)$", message)[1], {"evaluation": evaluation})
    yield lambda: jax.eval_shape(functools.partial(measured, freeze=freeze), shapes)


@tries(at("vae_jax/evaluation/exact.py", "_not_linear")("take ais or nll"))
def a_closed_form_of_a_nonlinear_model(folder, patch):
    likelihood = likelihoods.Categorical(4)
    yield attempt(estimated, exact, likelihood, method="closed_form")
    yield attempt(estimated, nll, likelihood, num_samples=2)
    yield attempt(estimated, ais, likelihood, num_temperatures=2, num_chains=2)


@tries(at("vae_jax/evaluation/exact.py", "_check_dimensions")("take ais or nll instead"))
def an_integral_of_many_dimensions(folder, patch):
    yield attempt(exact.integrate, lambda z: -jnp.square(z).sum(axis=1), -jnp.ones(3), jnp.ones(3))
    yield attempt(estimated, nll, likelihoods.Bernoulli(), num_samples=2)
    yield attempt(estimated, ais, likelihoods.Bernoulli(), num_temperatures=2, num_chains=2)


TAKE = "a grid takes 1 or 2; take ais or nll instead"


@tries(at("vae_jax/evaluation/exact.py", "_check_dimensions")(TAKE))
def a_grid_of_many_dimensions(folder, patch):
    yield attempt(estimated, exact, likelihoods.Bernoulli(), method="quadrature")
    yield attempt(estimated, nll, likelihoods.Bernoulli(), num_samples=2)
    yield attempt(estimated, ais, likelihoods.Bernoulli(), num_temperatures=2, num_chains=2)


@tries(at("vae_jax/evaluation/collapse.py", "_above_floor")("one is missing, give both or neither"))
def an_elbo_without_its_floor(folder, patch):
    rates, values = np.ones(3), np.ones(5)
    yield attempt(collapse.diagnose, rates, rates, elbo=values)
    yield attempt(collapse.diagnose, rates, rates, elbo=values, floor=values)
    yield attempt(collapse.diagnose, rates, rates)


@tries(at("vae_jax/evaluation/subject.py", "Subject", "blocks")("must hold examples"))
def a_split_without_examples(folder, patch):
    digits = data.load("digits", num_valid=0)
    model = make(shape=digits.shape)
    ways = {"preprocess": sources.undecoded, "key": jax.random.key(0)}
    subject = Subject(model, None, digits, **ways)
    message = yield lambda: next(subject.blocks("valid"))
    known = re.search(r"choose one of (.*)$", message)[1].split(", ")
    assert known == ["train", "test"]
    for split in known:
        yield lambda split=split: next(subject.blocks(split))


own = at("vae_jax/evaluation/disentanglement/_common.py", "check")
MORE = at("vae_jax/evaluation/disentanglement/_common.py", "check_codes")


@tries(MORE("must have at least 2 rows and 1 column; encode more"))
def too_few_codes(folder, patch):
    yield attempt(_common.check_codes, X[:1])
    yield attempt(_common.check_codes, X[:2])


@tries(MORE("must be finite; look whether training diverged"))
def codes_of_a_run_that_diverged(folder, patch):
    yield attempt(_common.check_codes, np.full((3, 2), np.nan))
    yield attempt(_common.check_codes, X)


@tries(own("must be integers, the index of each value; put continuous factors into bins first"))
def factors_that_are_continuous(folder, patch):
    yield attempt(_common.check, X, X[:, :2])
    yield attempt(_common.check, X, np.digitize(X[:, :2], [0.3, 0.6]))


@tries(own("at least one must take two values or more; take other rows"))
def factors_that_do_not_vary(folder, patch):
    factors = np.arange(N)[:, None] // 30
    yield attempt(_common.check, X[:20], factors[:20])
    yield attempt(_common.check, X[20:], factors[20:])


@tries(at("vae_jax/evaluation/disentanglement/_common.py", "split_rows")("too few for … parts"))
def too_few_rows_for_parts(folder, patch):
    yield attempt(_common.split_rows, jax.random.key(0), 1, 5, 5)
    yield attempt(_common.split_rows, jax.random.key(0), 9, 5, 5)


@tries(at("vae_jax/evaluation/disentanglement/_common.py", "varying")("encode more"))
def factors_that_do_not_vary_in_a_part(folder, patch):
    factors = np.arange(N)[:, None] // 30
    yield attempt(_common.varying, factors[:20])
    yield attempt(_common.varying, factors)


@tries(at("vae_jax/evaluation/disentanglement/explicitness.py", "evaluate")("encode more"))
def factors_that_do_not_vary_where_they_are_tested(folder, patch):
    key, sizes = jax.random.key(0), {"num_train": 30, "num_test": 1}
    factors = LABELS[:, None] % 2
    yield attempt(explicitness.evaluate, X, factors, key, **sizes)
    yield attempt(explicitness.evaluate, X, factors, key, **{**sizes, "num_test": 10})


# --- Other programs


@tries(at("experiments/lecture/__main__.py", "index_of")("name one of several"))
def a_class_that_is_not_there(folder, patch):
    digits = data.load("digits")

    def index(held_out):
        told = SimpleNamespace(held_out=held_out, dataset="digits")
        return lecture_main.index_of(digits, told)

    message = yield attempt(index, "ten")
    for name in re.search(r"are (.*?): name", message)[1].split(", "):
        yield attempt(index, name)


@tries(at("experiments/reproduce.py", "main")("--recipe: name one of …"))
def a_table_without_a_name(folder, patch):
    message = yield attempt(reproduce.main, {"recipe": None})
    for name in re.search(r"name one of (.*)$", message)[1].split(", "):
        yield attempt(recipes.load, name)


@tries(at("experiments/applications/__main__.py", "main")("--application: name one of …"))
def an_application_without_a_name(folder, patch):
    message = yield attempt(compare.main, {"application": None})
    for name in re.search(r"name one of (.*)$", message)[1].split(", "):
        yield attempt(applications.load, name)


@tries(at("experiments/applications/imputation.py", "_path")("is not there: name the folder"))
def a_table_that_is_not_there(folder, patch):
    (folder / "imputation").mkdir()
    trial = applications.Trial("concrete", "miwae", 0, str(folder))
    yield attempt(imputation._rows, trial)
    np.savetxt(folder / "imputation" / "concrete.txt", np.ones((3, 4)))
    yield attempt(imputation._rows, trial)
    yield attempt(imputation._rows, trial._replace(task="iris", data_dir=None))


@tries(at("vae_jax/cli/command.py", "with_first")("names two …s: name one of them"))
def two_tables_at_once(folder, patch):
    yield attempt(cli.with_first, ["program", "iwae", "--recipe=ppca"], "recipe")
    yield attempt(cli.with_first, ["program", "iwae"], "recipe")
    yield attempt(cli.with_first, ["program", "--recipe=ppca"], "recipe")


@tries(at("experiments/benchmark/command.py", "parse_sections")("is none, choose from …"))
def a_section_that_is_unknown(folder, patch):
    message = yield attempt(command.parse_sections, "steps,nonsense")
    for name in re.search(r"choose from (.*)$", message)[1].split(", "):
        yield attempt(command.parse_sections, name)


@tries(at("vae_jax/losses/similarity.py", "multiscale_similarity")("give a smaller num_scales or"))
def more_scales_than_an_image_has_room_for(folder, patch):
    x, sizes = jnp.zeros((1, 8, 8, 1)), {"window": 5, "num_scales": 2}
    yield attempt(losses.multiscale_similarity, x, x, **sizes)
    yield attempt(losses.multiscale_similarity, x, x, **{**sizes, "num_scales": 1})
    yield attempt(losses.multiscale_similarity, x, x, **{**sizes, "window": 4})
