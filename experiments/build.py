"""From a `Config` and its data to the values that a run computes with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.config import Config, make_hparams
from vae_jax import data, likelihoods, networks, objectives, schedules, training
from vae_jax.evaluation import elbo
from vae_jax.model import Model


class Experiment(NamedTuple):
    """Everything static about a run: the same for training, evaluation and pictures."""

    config: Config
    dataset: Any
    model: Model
    loss_fn: Callable
    preprocess: Callable
    train: training.Train
    hparams: training.Hparams
    num_steps: int


def build(config: Config, dataset) -> Experiment:
    """Makes the model, the objective and the training of a resolved `Config`.

    Raises:
        DataError: the data's range does not fit the likelihood.
        UsageError: the network does not fit the data's shape.
    """
    likelihood = likelihoods.make(
        config.likelihood, variance=config.variance, num_levels=dataset.num_levels
    )
    data.check(dataset, likelihood.requires, what=f"--likelihood={config.likelihood}")
    encoder, decoder = networks.build(
        config.network,
        shape=dataset.shape,
        latent_dim=config.latent_dim,
        num_outputs=likelihood.num_outputs,
        widths=config.widths,
        activation=config.activation,
        dtype=jnp.dtype(config.dtype),
    )
    model = Model(encoder, decoder, likelihood, dataset.shape, config.latent_dim)
    loss_fn = objectives.load(config.objective)
    preprocess = make_preprocess(dataset, config.binarization)
    train = training.make_train(
        loss_fn,
        model,
        preprocess=preprocess,
        num_examples=len(dataset.train),
        batch_size=config.batch_size,
        optimizer=config.optimizer,
    )
    hparams = make_hparams(config, steps_per_epoch=train.steps_per_epoch)
    model = training.masked(model, hparams)
    num_steps = config.epochs * train.steps_per_epoch
    return Experiment(config, dataset, model, loss_fn, preprocess, train, hparams, num_steps)


def make_preprocess(dataset, binarization: str | None) -> Callable:
    """What happens to stored data inside the step: (stored [B, *stored], key) to x [B, *shape]."""
    if binarization == "dynamic":
        return lambda stored, key: data.binarize(key, dataset.decode(stored))
    if binarization == "threshold":
        return lambda stored, key: (dataset.decode(stored) > 0.5).astype(jnp.float32)
    return lambda stored, key: dataset.decode(stored)


_evaluate_schedules = jax.jit(schedules.evaluate)


def hparams_at(hparams: training.Hparams, step) -> training.Hparams:
    """The hyperparameters of the last of `step` steps done (scalars): those it was trained with."""
    return _evaluate_schedules(hparams, jnp.maximum(jnp.int32(step) - 1, 0))


def evaluate(experiment: Experiment, params, x, step) -> elbo.Evaluation:
    """The objective's terms over x [N, *stored] after `step` steps (scalar), see `hparams_at`."""
    hparams = hparams_at(experiment.hparams, step)
    return elbo.evaluate(
        experiment.loss_fn,
        experiment.model,
        params,
        x,
        training.stream(hparams.seed, "evaluation"),
        hparams.objective,
        preprocess=experiment.preprocess,
    )


def frozen(experiment: Experiment, params, x) -> tuple[Experiment, Any]:
    """The experiment and parameters with p(x|z) a density; see `elbo.freeze_likelihood`."""
    model, params = elbo.freeze_likelihood(
        experiment.model,
        params,
        x,
        training.stream(experiment.hparams.seed, "evaluation"),
        preprocess=experiment.preprocess,
    )
    return experiment._replace(model=model), params


def on_device(split) -> jax.Array:
    """A split's data on the device, as stored."""
    return jnp.asarray(split.x)
