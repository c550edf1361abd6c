"""Builds a model from data, an objective and the sizes of its networks.

`make_model` is for Python; `assemble` is for code that has a `Dataset` and a bound objective, such
as the command line.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vae_jax import (
    arguments,
    labels,
    latents,
    likelihoods,
    networks,
    objectives,
    posteriors,
    priors,
    training,
)
from vae_jax import data as datasets
from vae_jax.data import Dataset
from vae_jax.errors import DataError, UsageError, any_of, shown, unknown
from vae_jax.model import Model

__all__ = [
    "Parts",
    "Schema",
    "assemble",
    "binarization",
    "initial_examples",
    "latent_of",
    "make_model",
    "make_preprocess",
    "schema_of",
]

_BINARIZATIONS = ("dynamic", "soft", "threshold")
_DTYPES = ("float32", "bfloat16", "float16")


class Schema(NamedTuple):
    """The properties of data that a model depends on.

    Attributes:
        name: name of the data, for messages.
        shape: shape of one example x.
        likelihood: the name of the default p(x|z) for these data; None if unknown.
        num_levels: see `data.Dataset`, a count or None.
        has_missing: whether x may hold NaN.
        num_conditions, classes: see `Model`.
        missing: where x holds NaN, in words, if not at the end of examples of several lengths.
        parts: see `likelihoods.make`.
        is_table: whether missing values are cells of a table with a schema.
    """

    name: str
    shape: tuple[int, ...]
    likelihood: str | None = None
    num_levels: int | None = None
    has_missing: bool = False
    num_conditions: int = 0
    classes: tuple | None = None
    missing: str = ""
    parts: tuple[tuple[str, int], ...] = ()
    is_table: bool = False

    @property
    def of_likelihood(self) -> dict[str, Any]:
        """What `likelihoods.make` needs to know of the data."""
        return {n: getattr(self, n) for n in ("num_levels", "has_missing", "parts")}


class Parts(NamedTuple):
    """What the models of an objective on given data share; their sizes are still free.

    Attributes:
        schema: the properties of the data.
        objective: bound, see `objectives.bind`.
        likelihood: p(x|z).
        conditions: what batches hold beside x, arrays [N, …]; None for nothing.
        prior: p(z) if it is not that of the objective's latents, else None.
        posterior: q(z|x) in place of a Gaussian of independent dimensions, else None.
    """

    schema: Schema
    objective: training.Objective
    likelihood: likelihoods.Likelihood
    conditions: training.Conditions | None = None
    prior: priors.Prior | None = None
    posterior: posteriors.Posterior | None = None

    def model(self, **sizes: Any) -> Model:
        """A `Model` of these parts, with the network and its sizes; see `make_model`.

        Raises:
            UsageError: the network does not fit the shape of x, or L the objective.
        """
        latent = latent_of(self.objective, self.posterior)
        asked = self.objective.mechanism
        parts = {"prior_family": self.prior, "mechanism": None if asked is None else asked()}
        return _model(self.schema, latent, self.likelihood, parts, **sizes)


def make_model(
    data: Any,
    *,
    objective: str | Callable = "beta_vae",
    network: str = "mlp",
    latent_dim: int = 20,
    likelihood: str | likelihoods.Likelihood | None = None,
    variance: float | str = "learned",
    prior: str | priors.Prior | None = None,
    posterior: str | posteriors.Posterior | None = None,
    widths: Sequence[int] | None = None,
    activation: str | None = None,
    dtype: Any = "float32",
    teacher_dropout: float | None = None,
    input_dropout: float = 0.0,
    tied: bool = False,
    **hyperparameters: Any,
) -> Model:
    """Makes the model that an objective trains on given data, exactly as the command line does.

    A `Dataset` describes its data completely. An array or a shape gives the shape only, so the
    likelihood must be named.

    Args:
        data: a `Dataset`; x [N, *shape]; {"x": x, "labels": y} with the user's own labels [N], or
            "condition" with numbers [N, C], for a conditional objective; or the shape of one
            example, a tuple.
        objective: the name of a built-in objective, or anything that `objectives.bind` accepts.
        network: one of `networks.names()`.
        latent_dim: L, a count.
        likelihood: p(x|z) by name or as one of `vae_jax.likelihoods`; None is the default of a
            `Dataset`.
        variance: variance of a likelihood given by name, see `likelihoods.make`.
        prior: p(z) of a Gaussian code by name or as one of `vae_jax.priors`; None is that of the
            objective's latents, N(0, I) for Gaussian ones.
        posterior: q(z|x) of a Gaussian code by name or as one of `vae_jax.posteriors`; None is a
            Gaussian with independent dimensions.
        widths, activation, dtype, teacher_dropout: settings of the networks, see `networks.build`.
        input_dropout: the share of what the encoder reads that is dropped in training, a scalar.
        tied: whether the decoder's kernels are the encoder's, transposed.
        hyperparameters: counts and words of the objective that decide its latents, such as
            `num_codes=64`.

    Returns:
        A `Model` without parameters: `vae_jax.fit` initializes and trains them.

    Raises:
        UsageError: a name is unknown, the parts do not fit together, or information about the data
            is missing; the message names it.
        DataError: the data do not fit the likelihood or the objective.
    """
    is_ours = isinstance(data, Dataset)
    static = objectives.statics(objective, hyperparameters, has_dataset=is_ours, call="make_model")
    given = hyperparameters.keys() - static.keys()
    if given:
        name = min(given)
        raise UsageError(
            f"{name}={shown(hyperparameters[name])}: is no part of a model: give it to fit(…, "
            f"{name}=…)"
        )
    sizes: dict[str, Any] = {
        "network": network,
        "latent_dim": arguments.integer("latent_dim", latent_dim, 1),
        "widths": _widths(widths),
        "activation": activation,
        "dtype": _dtype(dtype),
        "teacher_dropout": teacher_dropout,
        "input_dropout": input_dropout,
        "tied": tied,
    }
    num_examples = len(data.train) if is_ours else 1
    bound = objectives.bind(objective, num_examples=num_examples, **hyperparameters)
    if isinstance(data, Dataset):
        parts = assemble(
            data,
            bound,
            likelihood=likelihood,
            variance=variance,
            prior=prior,
            posterior=posterior,
        )
    else:
        schema = _schema(data, bound, objectives.name_of(objective) or "the objective")
        made = _likelihood(schema, likelihood, variance, {})
        chosen = _made(prior, posterior)
        parts = Parts(schema, bound, made, None, *chosen)
    return parts.model(**sizes)


def _widths(widths: Any) -> tuple[int, ...] | None:
    """The sizes of the layers as Python integers; raises UsageError for anything else."""
    if widths is None:
        return None
    if isinstance(widths, str | Mapping) or not isinstance(widths, Iterable):
        raise UsageError(
            f"widths={shown(widths)}: must be a size for each layer: give a tuple such as "
            "widths=(64, 64)"
        )
    return tuple(arguments.integer("widths", width, 1) for width in widths)


def _dtype(dtype: Any) -> Any:
    """The name of a dtype of the networks; raises UsageError unless it is one of `_DTYPES`."""
    try:
        name = str(jnp.dtype("none" if dtype is None else dtype))
    except TypeError:
        name = dtype
    if name not in _DTYPES:
        raise unknown("dtype", dtype if isinstance(dtype, str) else name, _DTYPES)
    return name


def assemble(
    dataset: Dataset,
    objective: training.Objective,
    *,
    likelihood: str | likelihoods.Likelihood | None,
    variance: float | str,
    settings: Mapping[str, Any] | None = None,
    prior: str | priors.Prior | None = None,
    posterior: str | posteriors.Posterior | None = None,
) -> Parts:
    """Makes the parts of models for a dataset, splits [N, *stored]; see `make_model`.

    `settings` are those of a likelihood given by name, see `likelihoods.make`.
    """
    schema = schema_of(dataset)
    made = _likelihood(schema, likelihood, variance, settings or {})
    name = likelihood if isinstance(likelihood, str) else dataset.likelihood
    what = made if isinstance(likelihood, likelihoods.Likelihood) else f"likelihood={name}"
    datasets.check(dataset, made.requires, what=str(what))
    conditions = None if objective.conditions is None else objective.conditions(dataset)
    if conditions is not None and conditions.num > 0:
        schema = schema._replace(num_conditions=conditions.num, classes=conditions.classes)
    return Parts(schema, objective, made, conditions, *_made(prior, posterior))


def schema_of(dataset: Dataset) -> Schema:
    """The properties of a dataset, splits [N, *stored], that a model depends on."""
    return Schema(
        dataset.name,
        dataset.shape,
        dataset.likelihood,
        dataset.num_levels,
        dataset.has_missing,
        parts=dataset.parts,
        is_table=dataset.schema is not None,
    )


def _made(prior: Any, posterior: Any) -> tuple[Any, Any]:
    """The requested p(z) and q(z|x); None for those of the objective's latents."""
    asked = ((priors, prior), (posteriors, posterior))
    made = [None if value is None else family.make(value) for family, value in asked]
    return made[0], made[1]


def latent_of(
    objective: training.Objective, posterior: posteriors.Posterior | None = None
) -> latents.Latent:
    """The family of latents of a model for codes [B, L]: the objective's, or the given posterior.

    Raises:
        UsageError: the objective's codes are not Gaussian, so they have no other posterior.
    """
    own = latents.Gaussian() if objective.latent is None else objective.latent()
    return own if posterior is None else posteriors.instead_of(own, posterior)


def _model(
    schema: Schema,
    latent: latents.Latent,
    likelihood: likelihoods.Likelihood,
    parts: Mapping[str, Any],
    *,
    network: str,
    latent_dim: int,
    dtype: Any,
    input_dropout: float = 0.0,
    **sizes: Any,
) -> Model:
    """Builds the model of a schema, latents and other parts, with networks from the sizes."""
    latent.check(latent_dim)
    likelihood = likelihood.of_conditions(schema.num_conditions)
    encoder, decoder = networks.build(
        network,
        shape=schema.shape,
        latent_dim=latent_dim,
        num_outputs=likelihood.num_outputs,
        dtype=jnp.dtype(dtype),
        num_parts=len(latent.parts_for(latent_dim)),
        maps=latent.maps(),
        **sizes,
    )
    # for tables, the model tells the encoder what is observed
    is_table = schema.is_table or likelihood.requires == "columns"
    reads_missing = is_table or getattr(encoder, "reads_missing", False)
    if schema.missing and not reads_missing and likelihood.requires != "text":
        raise DataError(
            f"x: {schema.missing}, which network={network} cannot read: fill them in, such as "
            "numpy.nan_to_num(x), or leave these rows out"
        )
    if schema.has_missing and not reads_missing:
        raise UsageError(
            f"network={network}: {schema.name} has examples of several lengths: take "
            f"network={any_of(networks.names(lambda each: each.reads_missing))}"
        )
    model = Model(
        encoder,
        decoder,
        likelihood,
        schema.shape,
        latent_dim,
        latent=latent,
        num_conditions=schema.num_conditions,
        classes=schema.classes,
        input_dropout=input_dropout,
        **parts,
    )
    model.check_prior()
    model.check_steps()
    if model.is_tied:
        model.param_shapes()  # raises an error if the shapes of the layers do not mirror
    return model


def initial_examples(model: Model, x: Any) -> np.ndarray | None:
    """The training rows from which prior and likelihood are initialized; None if they need none.

    Args:
        model: a `Model`.
        x: stored training rows, [N, *stored].

    Returns:
        Rows [num_examples, *stored], evenly spaced; some several times if there are fewer.
    """
    parts = [np.arange(num) * len(x) // num for num in getattr(model, "num_examples", ()) if num]
    return np.asarray(x[np.concatenate(parts)]) if parts else None


def _likelihood(
    schema: Schema, asked: Any, variance: float | str, settings: Mapping[str, Any]
) -> likelihoods.Likelihood:
    """The requested p(x|z), or the default."""
    if isinstance(asked, type) and issubclass(asked, likelihoods.Likelihood):
        raise UsageError(
            f"likelihood={asked.__name__}: is a class: give likelihoods.{asked.__name__}(), or its "
            "name"
        )
    if isinstance(asked, likelihoods.Likelihood):
        if variance != "learned":
            raise UsageError(f"variance={variance}: {asked} has its own: leave variance out")
        return asked
    name: Any = schema.likelihood if asked is None else asked
    if name is None:
        known = [n for n in likelihoods.names() if likelihoods.load(n).requires != "columns"]
        raise UsageError(
            f"likelihood: {schema.name} does not say what the values of x are: give "
            "likelihood='gaussian' for real numbers, 'bernoulli' for numbers in [0, 1] (one of "
            f"{', '.join(known)}), or a Dataset of vae_jax.data.load"
        )
    return likelihoods.make(name, variance=variance, **schema.of_likelihood, **settings)


# --- The schema of an array or a shape


def _schema(data: Any, objective: training.Objective, who: str) -> Schema:
    """The schema of data other than a `Dataset`, for an objective called `who`."""
    if isinstance(data, tuple) and data and all(np.ndim(size) == 0 for size in data):
        schema = Schema("a shape", tuple(arguments.integer("shape", size, 1) for size in data))
    else:
        array = arguments.examples(data)["x"]
        if array.ndim < 2 or 0 in array.shape:
            raise UsageError(
                f"data: is no array of examples (its shape is {list(array.shape)}): give x "
                "[N, *shape], {'x': x, …}, the shape of one example as a tuple, or a Dataset"
            )
        arguments.numeric("x", array)
        missing = _missing(array)
        schema = Schema(
            "an array", array.shape[1:], has_missing=missing is not None, missing=missing or ""
        )
    if objective.given is None:
        return schema
    told = data if isinstance(data, Mapping) else {}
    name = next((name for name in ("condition", "labels") if name in told), None)
    if name is None:
        raise UsageError(
            f"{who} gives the model a condition, which {schema.name} does not tell: give "
            "{'x': x, 'labels': y} with a label for each row, or a Dataset that has labels"
        )
    num, classes = _conditions(name, told[name])
    return schema._replace(num_conditions=num, classes=classes)


def _missing(x: Any) -> str | None:
    """Where NaN is in x [N, …], in words; "" if examples of several lengths end in it, or None."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    is_missing = np.isnan(np.asarray(x).astype(np.float32))
    if not is_missing.any():
        return None
    steps = is_missing.reshape(*is_missing.shape[:2], -1)
    is_step = steps.all(axis=2)
    if x.ndim > 2 and (is_step == steps.any(axis=2)).all() and (np.diff(is_step * 1) >= 0).all():
        return ""
    row, *place = np.argwhere(is_missing)[0].tolist()
    column = place[0] if len(place) == 1 else place
    return (
        f"{is_missing.sum():,} of {x.size:,} values are NaN, the first in row {row}, "
        f"column {column}"
    )


def _conditions(name: str, values: Any) -> tuple[int, tuple | None]:
    """C and the user's own labels (see `Model.classes`), from labels [N] or numbers [N, C]."""
    if np.ndim(values) == 2:
        return np.shape(values)[1], ()
    classes = labels.classes_in(values, what=name)
    if len(classes) < 2:
        raise UsageError(
            f"{name}: are of {len(classes)} class(es): give labels of 2 classes or more"
        )
    return len(classes), None if classes == tuple(range(len(classes))) else classes


# --- Preprocessing of stored values


def binarization(
    num_levels: int | None, *, is_bernoulli: bool, has_prior: bool, asked: str | None = None
) -> str | None:
    """How gray levels become x: "dynamic", "soft" or "threshold"; None leaves them unchanged.

    Args:
        num_levels: number of levels of the data, a count; None if they are continuous.
        is_bernoulli: whether p(x|z) is a Bernoulli distribution.
        has_prior: whether the latents have a prior; without one, gray levels are soft targets.
        asked: the user's choice; None means "dynamic", or "soft" without a prior.

    Raises:
        UsageError: there is nothing to binarize.
    """
    if asked is not None and asked not in _BINARIZATIONS:
        raise unknown("binarization", asked, _BINARIZATIONS)
    if is_bernoulli and num_levels != 2:
        return asked or ("dynamic" if has_prior else "soft")
    if asked is not None:
        why = "the data is binary already" if is_bernoulli else "only for bernoulli"
        raise UsageError(f"binarization={asked}: {why}, leave it out")
    return None


def make_preprocess(dataset: Dataset, binarization: str | None) -> Callable:
    """The preprocessing inside the step: (stored [B, *stored], key) to x [B, *shape]."""
    if binarization == "dynamic":
        return lambda stored, key: datasets.binarize(key, dataset.decode(stored))
    if binarization == "threshold":
        return lambda stored, key: (dataset.decode(stored) > 0.5).astype(jnp.float32)
    return lambda stored, key: dataset.decode(stored)
