"""Training from Python in one call: an objective, a model and arrays; no flags and no files."""

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np

from vae_jax import likelihoods, objectives, ranges, schedules, training
from vae_jax.errors import DataError, DivergedError, UsageError, refuse_masked

__all__ = ["fit"]

_BLOCK_BYTES = 2**24
"""What is looked at at a time, in bytes."""
_RESCALE = "rescale it, x = (x - x.min()) / (x.max() - x.min())"
_REMEDIES = {
    "text": "give the k-th of V − 1 characters as k / (V − 1), 0 for the end and NaN after it, as "
    "vae_jax.data.load decodes a .txt file",
    "large": _RESCALE,
    "small": _RESCALE,
}
"""What to do by what is wrong, see `ranges.check`."""
_OF_FAR_COLUMNS = "take likelihoods.Laplace(), or rescale each column to [0, 1]"


def fit(
    objective: str | Callable,
    model: Any,
    data: Any,
    hparams: training.Hparams,
    *,
    epochs: int,
    batch_size: int = 100,
    preprocess: Callable | None = None,
    optimizer: str | Callable = "adam",
) -> tuple[training.State, list[dict[str, float]]]:
    """Trains a model in memory.

    Args:
        objective: the name of one of ours ("factor_vae") or its function, an `Objective` (from
            `objectives.bind`), or a function `loss(model, params, batch, key, **hyperparameters)`
            of your own. One of ours is bound: it gets its own parameters and optimizer, N, and the
            schedules that its flags have by default.
        model: a `Model` with the latents that the objective asks for, see `objectives.latent`.
        data: x [N, *stored]; or {"x": x, …} with what the objective asks for of each row:
            "condition", labels [N] or numbers [N, C] (cvae), or "labels" [N], −1 where unknown (m2,
            dbn). Labels are the user's own, see `Model.classes`.
        hparams: of the run; `hparams.objective` also takes words and counts of the objective.
        epochs: passes over x, a count.
        batch_size: B.
        preprocess: (stored [B, *stored], key) to x [B, *shape], run inside the step; None takes x
            as it is, which then must be floats in the likelihood's range.
        optimizer: see `training.make_train`.

    Returns:
        The last `State`, and a row of metrics (scalars) for each epoch.

    Raises:
        DataError: a value of x is not finite, or is none that the likelihood can take; or values
            are masked.
        UsageError: objective, model and data do not fit together.
        DivergedError: a loss, gradient or update was not finite.
    """
    with _in_32_bits():
        program = _program(
            objective, model, data, hparams, epochs, batch_size, preprocess, optimizer
        )
        return _trained(*program, epochs)


def _in_32_bits():
    """A context in which numbers are of 32 bits, whatever `JAX_ENABLE_X64` says outside of it."""
    known = getattr(jax, "enable_x64", None)
    return jax.experimental.disable_x64() if known is None else known(False)


def _settled(leaf: Any) -> jax.Array:
    """A leaf, of any shape, with 32 bits for each number if it has 64."""
    is_long = isinstance(leaf, jax.Array) and leaf.dtype in (jnp.dtype("f8"), jnp.dtype("i8"))
    return jnp.asarray(np.asarray(leaf)) if is_long else leaf


def _program(objective, model, data, hparams, epochs, batch_size, preprocess, optimizer):
    """The training, the rows of its batches [N, …] and its `Hparams`, checked; see `fit`."""
    for setting, value in {"epochs": epochs, "batch_size": batch_size}.items():
        if value < 1:
            raise UsageError(f"{setting}={value}: must be at least 1")
    told = _told(data)
    num_examples = len(told["x"])
    steps_per_epoch = -(-num_examples // batch_size)
    units = {"steps_per_epoch": steps_per_epoch, "num_steps": epochs * steps_per_epoch}
    name, bound, hyperparameters = _bound(objective, hparams.objective, num_examples, units)
    _check_model(bound, model, name)
    _check_values(told["x"], model, preprocess)
    rows = _arrays(told, bound, model)
    train = training.make_train(
        bound,
        model,
        preprocess=preprocess or _undecoded,
        num_examples=num_examples,
        batch_size=batch_size,
        optimizer=optimizer,
        beside={name: values for name, values in rows.items() if name != "x"},
    )
    hparams = hparams.replace(objective=hyperparameters)
    return train, rows, jax.tree.map(_settled, hparams)


def _trained(train: training.Train, rows: dict, hparams, epochs: int):
    """The last state and the metrics of each epoch, see `fit`."""
    state, metrics = jax.jit(train.init)(hparams), []
    states = training.train_until(
        jax.jit(train.chunk, donate_argnums=0),
        state,
        hparams,
        rows,
        first_step=0,
        num_steps=epochs * train.steps_per_epoch,
        steps_per_epoch=train.steps_per_epoch,
    )
    for step, state in states:
        if int(state.failure) >= 0:
            raise DivergedError(
                f"loss, gradient or update not finite at step {int(state.failure)}: try "
                f"{_advice(state, hparams)}"
            )
        if step % train.steps_per_epoch == 0:
            means = jax.tree.map(float, training.epoch_metrics(state, len(rows["x"])))
            metrics.append({"step": step, **means})
    return state, metrics


def _advice(state: training.State, hparams) -> str:
    """What to try after a divergence, by the state that it left."""
    is_of_loss = not all(np.isfinite(total) for total in state.sums.values())
    if int(state.failure) == 0 and is_of_loss:
        # before any update: no learning rate has had a part in it
        others = (f"another {name}" for name in hparams.objective)
        return " or ".join(["Hparams(…, init_scale=0.1)", *others])
    return "a smaller learning rate"


# --- The objective


def _bound(
    objective: str | Callable, settings: Mapping[str, Any], num_examples: int, units: dict
) -> tuple[str | None, training.Objective, dict[str, Any]]:
    """The objective's name, it with all that is static, and the hyperparameters left: scalars."""
    if isinstance(objective, functools.partial) and objectives.name_of(objective.func):
        settings = {**objective.keywords, **settings}
        objective = objective.func
    settings = dict(settings)
    num_examples = settings.pop("num_examples", num_examples)
    chosen = objectives.statics(objective, settings)
    bound = objectives.bind(objective, num_examples=num_examples, **chosen)
    left = {name: value for name, value in settings.items() if name not in chosen}
    name = objectives.name_of(objective)
    known = {} if name is None else objectives.hyperparameters(name)
    scheduled = {n: h.schedule for n, h in known.items() if h.schedule and n not in settings}
    left |= {n: schedules.parse(text, **units) for n, text in scheduled.items()}
    return name, bound, left


def _check_model(objective: training.Objective, model, name: str | None) -> None:
    """UsageError unless the model has the latents, and takes the conditions, of an objective."""
    who = name or "the objective"
    asked = None if objective.latent is None else objective.latent()
    found = getattr(model, "latent", asked)
    if asked is not None and found != asked:
        raise UsageError(
            f"{who} asks for latents.{asked}, the model has latents.{found}: make it with "
            f"Model(…, latent=latents.{asked}) and an encoder that returns "
            f"({', '.join(asked.parts)}){_same_family(name, asked, found)}"
        )
    if objective.given is not None and not model.num_conditions:
        raise UsageError(
            f"{who} gives the model a condition, this one takes none: make it with "
            "Model(…, num_conditions=C) and an encoder and a decoder that take a condition [B, C] "
            "as second argument"
        )


def _same_family(name: str | None, asked, found) -> str:
    """The other remedy where the latents differ in a size that the objective may choose."""
    if name is None or type(asked) is not type(found):
        return ""
    sizes = {n: v for n, v in vars(found).items() if v != getattr(asked, n)}
    try:
        is_found = objectives.latent(name, **sizes) == found
    except UsageError:
        return ""
    return f"; or give Hparams(…, objective={sizes})" if is_found else ""


# --- The data


def _told(data: Any) -> dict[str, Any]:
    """What the user gives, by name: arrays [N, …], of whatever dtype."""
    given = dict(data) if isinstance(data, Mapping) else {"x": data}
    if "x" not in given:
        raise UsageError(f"data: holds {', '.join(map(repr, given)) or 'nothing'}: give 'x'")
    told = {}
    for name, values in given.items():
        refuse_masked(name, values)
        try:
            told[name] = values if isinstance(values, jax.Array) else np.asarray(values)
        except ValueError:
            raise UsageError(f"{name}: has rows of several lengths: must be an array") from None
        if told[name].ndim == 0:
            raise UsageError(f"{name}: is no array: give one with a row for each example")
    num_examples = len(told["x"])
    if num_examples == 0:
        raise UsageError("x: has no rows, there is nothing to learn from")
    for name, values in told.items():
        if len(values) != num_examples:
            raise UsageError(
                f"{name}: has {len(values)} rows, x has {num_examples}: give one for each row of x"
            )
    return told


def _arrays(told: dict, objective: training.Objective, model) -> dict[str, jax.Array]:
    """What batches are gathered from: x and what the objective asks for, [N, …] each."""
    beside = {name: values for name, values in told.items() if name != "x"}
    if objective.beside is not None:
        beside = objective.beside(model, beside)
    for name, values in beside.items():
        _check_numeric(name, values)
    return {n: jnp.asarray(_settled(values)) for n, values in {"x": told["x"], **beside}.items()}


def _check_numeric(name: str, values: Any) -> None:
    kinds = jnp.floating, jnp.integer, jnp.bool_
    if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
        remedy = "encode it" if name == "x" else "encode it or leave it out"
        raise UsageError(f"{name}: holds {values.dtype}, must be real numbers: {remedy}")


def _undecoded(stored, key):
    del key
    return stored


def _check_values(x, model, preprocess: Callable | None) -> None:
    """Refuses values, as the likelihood sees them, that it cannot take; warns of far columns.

    Args:
        x: [N, *stored]; nothing is looked at if it is traced.
        model: its likelihood and shape decide, if it has them.
        preprocess: see `fit`; if it is random, one draw is checked.
    """
    if isinstance(x, jax.core.Tracer):
        return
    _check_numeric("x", x)
    if preprocess is None and not jnp.issubdtype(x.dtype, jnp.floating):
        raise UsageError(
            f"x holds {x.dtype}: give preprocess=…, for a dataset of ours "
            "preprocess=lambda stored, key: dataset.decode(stored)"
        )
    likelihood = getattr(model, "likelihood", None)
    num_levels = getattr(likelihood, "num_levels", None)
    has_missing = getattr(likelihood, "has_missing", False)
    blocks = functools.partial(_blocks, np.asarray(x), preprocess, getattr(model, "shape", None))
    found = ranges.survey(blocks(), num_levels=num_levels, has_missing=has_missing)
    if found.num_bad:
        row, place, value = found.first_bad
        column = f", column {place[0] if len(place) == 1 else list(place)}" if place else ""
        raise DataError(
            f"x: {found.num_bad:,} value(s) are not finite, the first is {value} in row {row}"
            f"{column}: fill them in, or leave these rows out"
        )
    if likelihood is None:
        return
    requires = likelihood.requires
    values = ranges.Values(
        found.low,
        found.high,
        num_levels if found.is_on_grid else None,
        is_text=requires == "text" and bool(found.is_on_grid),
    )
    # which would begin too far from other values
    is_near = max(-found.low, found.high) <= ranges.DEVIATIONS
    other = ", or take likelihoods.Gaussian()" if is_near else ""
    level = f"give level k as k / {(num_levels or 2) - 1}{other}"
    remedies = {**_REMEDIES, "unit": f"{_RESCALE}{other}", "levels": level}
    ranges.check(values, requires, what=f"likelihoods.{likelihood}", holder="x", remedies=remedies)

    def seen():
        return (block for _, block in blocks())

    if requires == "real":
        far = ranges.far_values(values, seen, likelihood.initial_deviation)
        if far:
            warnings.warn(f"x: {far}: {_RESCALE}", stacklevel=5)
    if isinstance(likelihood, likelihoods.Gaussian):
        far = ranges.far_columns(values, {"x": seen})
        if far:
            warnings.warn(f"{far}: {_OF_FAR_COLUMNS}", stacklevel=5)


def _blocks(
    x: np.ndarray, preprocess: Callable | None, shape: tuple[int, ...] | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, values [n, *shape]) of x [N, *stored] as the model sees it, in blocks.

    Raises:
        UsageError: examples do not have the shape that the model takes.
    """
    num_rows = max(1, _BLOCK_BYTES // max(1, x.nbytes // len(x)))
    decode, key = None if preprocess is None else jax.jit(preprocess), jax.random.key(0)
    for start in range(0, len(x), num_rows):
        block = x[start : start + num_rows]
        block = np.asarray(block if decode is None else decode(jnp.asarray(block), key))
        if shape is not None and block.shape[1:] != shape:
            same_size = math.prod(block.shape[1:]) == math.prod(shape)
            remedy = f"x.reshape(-1, {', '.join(map(str, shape))})" if same_size else "another x"
            raise UsageError(
                f"x: has examples of shape {list(block.shape[1:])}, the model takes {list(shape)}: "
                f"give {remedy}, or a model of that shape"
            )
        # half precision has no kind of its own in NumPy
        yield start, block.astype(np.float32) if block.dtype.itemsize < 4 else block
