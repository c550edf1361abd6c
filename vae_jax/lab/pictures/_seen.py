"""What the pictures of a model are made of: a part of the test split, encoded once for all."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import (
    data,
    latents,
    plots,
    rates,
    samplers,
    schedules,
    sounds,
    training,
)
from vae_jax.distributions import DiagonalGaussian, FullGaussian
from vae_jax.evaluation import elbo

__all__ = [
    "MOST_AT_ONCE",
    "NUM_EXAMPLES",
    "NUM_FEW",
    "Seen",
    "batches_of",
    "few_of",
    "kind_of",
    "look",
    "title_of",
]

NUM_EXAMPLES = 2000
"""That are encoded at most, a count."""
_SAMPLER = 2**32 - 3
"""Folded into the key for the fit of a sampler, a scalar."""
_DRAWS = 2**32 - 4
"""Folded into the key for draws of q(z|x) of a few examples, a scalar."""
NUM_FEW = 10
"""Examples that are shown one by one at most, a count."""
MOST_AT_ONCE = 2**24
"""Numbers of the examples that are encoded or decoded together, a count: 64 MiB."""


class Seen(NamedTuple):
    """What pictures of a model are made of; the examples are those of the test split.

    Attributes:
        model, params: of the run.
        decode: codes [rows, columns, L], and c that broadcasts with them or None, to E[x|z, c]
            [rows, columns, *shape]; unless `is_whole`, images that a picture of so many has no
            room for are shrunk.
        x: of the few, [F, *shape].
        labels: [N], below 0 where unknown, or None.
        label_names: of the labels 0 … C − 1, or None.
        alphabet: of text, else None.
        to_wave: of recordings, decoded frames [T, C] to samples [n], else None.
        rate: of recordings, samples per second, else None.
        codes: the likeliest code of each, [N, L].
        means: posterior means, [N, L].
        prior: what codes are drawn from: p(z), or where there is none a density fit to `codes`.
        draws: what pictures of samples draw codes from, with `sample`: `prior`, or a sampler.
        source: `draws` in words.
        rates: of each dimension in nats, averaged over the examples, [L], see
            `rates.per_dim_or_like_gaussian`; without a prior the variance of its codes.
        is_active: which dimensions are active units, [L]; without a prior those that vary.
        continuous: dimensions that are continuous, by falling rate.
        few: numbers of F examples, with one of each label first.
        told: conditions of the few, [F, C], or None.
        conditions: from the objective, or None.
        shown: what the encoder is shown of the few while it is trained, [F, *shape]; None: x.
        key: of what is drawn at random.
        schema: of a table with columns of several kinds, else None.
        title: of the run, in words.
        dataset: of the examples.
        inputs: a count to the first examples as the model got them, [n, *shape].
        condition: of each example, [N, C], or None.
        example: number of the example that is asked for, or None.
        draw: numbers of n examples and a count K to these as the model got them, [n, *shape], and
            draws of q(z|x), [n, K, L].
        covariances: numbers of n examples and a plane [2, L] of continuous dimensions to the
            covariance of q(z|x) on it, [n, 2, 2]; None if it is not Gaussian.
        snapshots: of training, each a `lab.snapshots.Snapshot`, by epoch.
    """

    model: Any
    params: Any
    decode: Callable
    x: np.ndarray
    labels: np.ndarray | None
    label_names: tuple | None
    alphabet: Any
    to_wave: Callable | None
    rate: int | None
    codes: np.ndarray
    means: np.ndarray
    prior: Any
    draws: Any
    source: str
    rates: np.ndarray
    is_active: np.ndarray
    continuous: np.ndarray
    few: np.ndarray
    told: np.ndarray | None
    conditions: Any
    shown: np.ndarray | None
    key: jax.Array
    schema: Any = None
    title: str = ""
    dataset: Any = None
    inputs: Callable | None = None
    condition: np.ndarray | None = None
    example: int | None = None
    draw: Callable | None = None
    covariances: Callable | None = None
    snapshots: Sequence = ()

    @property
    def has_rates(self) -> bool:
        """Whether there is a prior, and so a rate of each dimension."""
        return self.model.latent.has_prior

    @property
    def is_gaussian(self) -> bool:
        """Whether each continuous dimension of `prior` is Gaussian, of its mean and deviation."""
        return type(self.prior) in (DiagonalGaussian, FullGaussian, latents.Pair)

    def onto(self, z: np.ndarray) -> np.ndarray:
        """The codes nearest to points [rows, columns, L], see `Model.onto`; the same shape."""
        rows = jnp.asarray(z, jnp.float32).reshape(-1, z.shape[-1])
        return np.asarray(self.model.onto(rows)).reshape(z.shape)

    @property
    def is_curved(self) -> bool:
        """Whether codes [L] are on a curved surface or inside of one, such as a sphere."""
        return self.model.latent.is_curved

    @property
    def is_standard(self) -> bool:
        """Whether each continuous dimension of `prior` is N(0, 1)."""
        if not self.is_gaussian:
            return False
        mean, deviation = np.asarray(self.prior.mean), np.asarray(self.prior.deviation)
        return bool((mean[self.continuous] == 0).all() and (deviation[self.continuous] == 1).all())

    @property
    def num_discrete(self) -> int:
        """The first dimensions of a code, which are discrete, a count."""
        return self.model.latent.num_discrete(self.model.latent_dim)

    def sound(self, x: np.ndarray) -> bytes:
        """Series of frames [N, T, C] as one file of sound, one after the other."""
        return sounds.encode([self.to_wave(frames) for frames in x], self.rate)

    def read(self, x: np.ndarray) -> list[str]:
        """The strings that arrays [..., T] of text stand for."""
        return data.strings(x.reshape(-1, x.shape[-1]), self.alphabet)


def title_of(experiment) -> str:
    """The data and the objective of an experiment, in words."""
    return f"{Path(experiment.dataset.name).name}, {experiment.config.objective}"


def kind_of(dataset) -> str:
    """Which of the kinds of data a dataset is, see `KINDS`."""
    if dataset.kind != "sequence":
        return dataset.kind
    return "series" if dataset.alphabet is None else "text"


def look(experiment, model, params, hparams) -> Seen:
    """Encodes the test split of an experiment, with one run of it."""
    conditions, test = experiment.given, experiment.dataset.test
    data_key, key = jax.random.split(training.stream(hparams.seed, "pictures"))
    labels = None if test.labels is None else test.labels[:NUM_EXAMPLES]
    framing = experiment.dataset.framing
    few = few_of(experiment, labels)
    x, encoded = {}, []
    for start, batch in batches_of(experiment, data_key):
        rows = np.asarray(batch["x"])
        x |= {n: rows[n - start] for n in few if 0 <= n - start < len(rows)}
        encoded.append(_encode(model, params, batch, key, experiment.loss_fn.given))
    encoded = jax.tree.map(lambda *parts: np.concatenate(parts), *encoded)
    x = np.stack([x[n] for n in few])
    codes, condition = encoded["codes"], encoded["condition"]
    if model.latent.has_prior:
        of_dims, variances = encoded["rates"].mean(axis=0), encoded["standardized"].var(axis=0)
    else:
        of_dims = codes.var(axis=0)
        variances = of_dims / max(of_dims.max(), 1e-12)
    falling = np.argsort(-of_dims, kind="stable")
    corrupt = experiment.loss_fn.corrupt
    h = schedules.evaluate(hparams, jnp.int32(experiment.num_steps - 1)).objective
    prior = _prior(model, params, codes)
    draws, source = _draws(experiment.config, prior, model, encoded, key)
    return Seen(
        model=model,
        params=params,
        decode=_decoder(model, params),
        x=x,
        labels=labels,
        label_names=experiment.dataset.classes,
        alphabet=experiment.dataset.alphabet,
        to_wave=None if framing is None else experiment.dataset.wave,
        rate=None if framing is None else framing.rate,
        codes=codes,
        means=encoded["means"],
        prior=prior,
        draws=draws,
        source=source,
        rates=of_dims,
        is_active=np.asarray(elbo.active_units(variances)),
        continuous=falling[falling >= model.latent.num_discrete(model.latent_dim)],
        few=few,
        told=None if condition is None else condition[few],
        conditions=conditions,
        shown=None if corrupt is None else np.asarray(corrupt(jnp.asarray(x), key, **h)),
        key=key,
        schema=experiment.dataset.schema if experiment.dataset.is_mixed else None,
        title=title_of(experiment),
        dataset=experiment.dataset,
        inputs=functools.partial(_inputs, experiment, data_key),
        condition=condition,
        example=experiment.config.traversal_example,
        draw=functools.partial(_draw, experiment, (model, params), data_key, key),
        covariances=functools.partial(_covariances, experiment, (model, params), data_key),
    )


def _inputs(experiment, key, num: int) -> np.ndarray:
    """The first `num` test examples as the model got them, [num, *shape]."""
    parts, found = [], 0
    for _, batch in batches_of(experiment, key):
        parts.append(np.asarray(batch["x"])[: num - found])
        found += len(parts[-1])
        if found == num:
            break
    return np.concatenate(parts)


def _draw(experiment, trained, data_key, key, numbers, num: int) -> tuple[np.ndarray, np.ndarray]:
    """`Seen.draw` of a trained model and its parameters."""
    batch, key = _rows(experiment, data_key, numbers), jax.random.fold_in(key, jnp.uint32(_DRAWS))
    z = _drawn(*trained, batch, key, experiment.loss_fn.given, num)
    return batch["x"], np.asarray(z).swapaxes(0, 1)


def _covariances(experiment, trained, data_key, numbers, plane) -> np.ndarray | None:
    """`Seen.covariances` of a trained model and its parameters."""
    batch = _rows(experiment, data_key, numbers)
    found = _covariance_on(*trained, batch, jnp.asarray(plane), experiment.loss_fn.given)
    return None if found is None else np.asarray(found)


def _rows(experiment, key, numbers) -> dict:
    """The batch of the examples of n numbers, as the model got them."""
    parts, wanted = [], np.asarray(numbers)
    for start, batch in batches_of(experiment, key):
        of_batch = np.flatnonzero((wanted >= start) & (wanted < start + len(batch["x"])))
        own = {name: np.asarray(each)[wanted[of_batch] - start] for name, each in batch.items()}
        parts.append({**own, "place": of_batch})
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(rows.pop("place"))
    return {name: each[order] for name, each in rows.items()}


@functools.partial(jax.jit, static_argnums=(4, 5))
def _drawn(model, params, batch, key, given, num):
    """Draws of q(z|x) for a batch, [num, n, L]."""
    model = model if given is None else given(model, params, batch)
    return model.encode(params, batch["x"]).sample(key, num)


@functools.partial(jax.jit, static_argnums=4)
def _covariance_on(model, params, batch, plane, given):
    """Covariances of q(z|x) on a plane [2, L] for a batch, [n, 2, 2], or None."""
    model = model if given is None else given(model, params, batch)
    posterior = model.encode(params, batch["x"])
    return posterior.covariance_on(plane) if hasattr(posterior, "covariance_on") else None


def _prior(model, params, codes: np.ndarray) -> Any:
    """p(z), or a density fit to codes [N, L] if there is none."""
    if model.latent.has_prior:
        return model.prior(params)
    return model.latent.fitted(jnp.asarray(codes))


def _draws(config, prior, model, encoded: dict, key) -> tuple[Any, str]:
    """What codes are drawn from, and its words: the prior, or a sampler fit to draws of q(z|x)."""
    sampler, temperature = config.sampler, config.sampling_temperature
    if sampler is None or not model.latent.is_continuous:
        source = "the prior" if model.latent.has_prior else _words(prior)
        if temperature is None:
            return prior, source
        tempered = latents.at_temperature(prior, temperature)
        return tempered, f"{source} at temperature {temperature:g}"
    fit_key = jax.random.fold_in(key, jnp.uint32(_SAMPLER))
    fitted = samplers.make(sampler).fit(encoded["drawn"], fit_key)
    return _OfCodes(fitted, model.onto), f"sampler={sampler} of the codes"


def _words(density) -> str:
    """What a density of codes that replaces a missing prior is."""
    kind = "Gaussian" if type(density) is FullGaussian else "Gaussian copula"
    return f"a {kind} fit to the codes"


@dataclasses.dataclass(frozen=True)
class _OfCodes:
    """A sampler whose draws are moved to the nearest codes, such as those on a sphere."""

    sampler: Any
    onto: Callable

    def sample(self, key, num: int):
        """Draws codes [num, L]."""
        return self.onto(self.sampler.sample(key, num))


def few_of(experiment, labels: np.ndarray | None) -> np.ndarray:
    """Numbers of the F examples that are shown, fewer if each is large."""
    dataset = experiment.dataset
    num_examples = min(NUM_EXAMPLES, len(dataset.test))
    most = 4 * MOST_AT_ONCE // math.prod(dataset.shape)
    num = min(num_examples, int(np.clip(most, 2, NUM_FEW)))
    if dataset.kind == "sequence" and labels is None and experiment.given is None:
        # neighbors in time, or in an alphabet, are alike
        return np.arange(num) * num_examples // num
    return np.asarray(_one_per_label(labels, num_examples, num))


def batches_of(experiment, key) -> Iterator[tuple[int, dict]]:
    """The first number and the batch of as many test examples as are encoded at once."""
    test, conditions = experiment.dataset.test, experiment.given
    known = {} if conditions is None else conditions.test
    preprocess, num = jax.jit(experiment.preprocess), min(NUM_EXAMPLES, len(test))
    size = max(1, MOST_AT_ONCE // math.prod(experiment.dataset.shape))
    for start in range(0, num, size):
        rows = slice(start, min(start + size, num))
        own_key = jax.random.fold_in(key, start) if start else key
        x = preprocess(jnp.asarray(test.x[rows]), own_key)
        yield start, {"x": x, **{name: each[rows] for name, each in known.items()}}


@functools.partial(jax.jit, static_argnums=4)
def _encode(model, params, batch, key, given):
    """Of a batch codes, means, conditions, and with a prior rates and standardized means [B, L]."""
    model = model if given is None else given(model, params, batch)
    posterior = model.encode(params, batch["x"])
    seen = {"codes": posterior.mode, "means": posterior.mean}
    seen["condition"] = model.condition_vectors
    seen["drawn"] = posterior.sample(key)
    if model.latent.has_prior:
        prior = model.prior(params)
        seen["rates"] = rates.per_dim_or_like_gaussian(posterior, prior, seen["drawn"])
        seen["standardized"] = elbo.standardized_mean(posterior, prior)
    return seen


def _decoder(model, params) -> Callable:
    """`Seen.decode` of a model."""

    @jax.jit
    def decode_mean(params, z, c=None, like=None):
        return (model if c is None else model.given(c)).decode_mean(params, z, like)

    def decode(z, condition=None, *, like=None, is_whole=False):
        if condition is not None:
            condition = np.broadcast_to(condition, (*z.shape[:2], np.shape(condition)[-1]))
            condition = condition.reshape(-1, condition.shape[-1])
        like = like if model.likelihood.is_joint else None
        codes, size = z.reshape(-1, z.shape[-1]), max(1, MOST_AT_ONCE // math.prod(model.shape))
        parts = []
        for start in range(0, len(codes), size):
            rows = slice(start, start + size)
            told = (None if each is None else jnp.asarray(each[rows]) for each in (condition, like))
            x = np.asarray(decode_mean(params, jnp.asarray(codes[rows]), *told))
            is_image = x.ndim == 4 and not is_whole
            parts.append(plots.shrink(x, len(codes)) if is_image else x)
        x = np.concatenate(parts)
        return x.reshape(*z.shape[:2], *x.shape[1:])

    return decode


def _one_per_label(labels, num_examples: int, num: int) -> list[int]:
    """Indices of `num` examples: the first of each known label, then the first of the rest."""
    firsts = []
    if labels is not None:
        classes, places = np.unique(labels, return_index=True)
        firsts = places[classes >= 0].tolist()
    taken = {*firsts}
    rest = (i for i in range(num_examples) if i not in taken)
    chosen = firsts[:num]
    while len(chosen) < min(num, num_examples):
        chosen.append(next(rest))
    return chosen
