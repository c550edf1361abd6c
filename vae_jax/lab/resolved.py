"""Configs resolved with their data, once: what a program is built from, and what it reads later."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vae_jax import (
    assembly,
    likelihoods,
    modules,
    networks,
    objectives,
    phases,
    schedules,
    training,
)
from vae_jax.errors import UsageError
from vae_jax.lab.settings import ADAM, Config, likelihood_settings, members_of, statics_of
from vae_jax.model import Model

__all__ = ["Resolved", "complete", "resolve"]


@dataclasses.dataclass(frozen=True, eq=False)
class Resolved:
    """The runs of one program with everything that their settings name.

    Attributes:
        configs: complete configs, one per run, with equal `programs.program_key`.
        dataset: from `vae_jax.data.load`.
        parts: what their models share: the bound objective, the likelihood, the conditions.
    """

    configs: tuple[Config, ...]
    dataset: Any
    parts: assembly.Parts

    @property
    def config(self) -> Config:
        """The config of the first run, for settings that all runs share."""
        return self.configs[0]

    @functools.cached_property
    def hyperparameters(self) -> dict[str, objectives.Hyperparameter]:
        """The hyperparameters of the objective, by name."""
        return objectives.hyperparameters(self.config.objective)

    @property
    def latent_dim(self) -> int:
        """The largest L of the runs, a count."""
        return max(config.latent_dim for config in self.configs)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the training split, a count."""
        return -(-len(self.dataset.train) // self.config.batch_size)

    def model(self, latent_dim: int) -> Model:
        """The model of the runs with L = `latent_dim`; its variance is "given" if it is a number.

        Raises:
            UsageError: the network does not fit the data's shape.
        """
        config = self.config
        return self.parts.model(
            network=config.network,
            latent_dim=latent_dim,
            widths=config.widths,
            activation=config.activation,
            dtype=config.dtype,
            teacher_dropout=config.teacher_dropout,
            input_dropout=config.input_dropout,
            tied=config.tied,
        )

    def num_parameters(self, latent_dim: int) -> int:
        """Trained numbers of a model with L = `latent_dim`, a count."""
        model = self.model(latent_dim)
        params = model.param_shapes()
        params.pop(modules.STATISTICS, None)
        for part, family in (("likelihood", model.likelihood), ("prior", model.prior_family)):
            for name in () if family is None else family.fixed:
                params[part].pop(name)
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    def hparams(self, latent_dim: int) -> list[training.Hparams]:
        """The arrays and schedules of the runs: scalars, see `training.Hparams`.

        Args:
            latent_dim: L of the model; runs with fewer dimensions get a mask.
        """
        units = {
            "steps_per_epoch": self.steps_per_epoch,
            "num_steps": max(1, self.config.epochs * self.steps_per_epoch),
        }
        is_masked = any(c.latent_dim < latent_dim for c in self.configs)
        names = self._scheduled()
        return [_hparams(c, names, units, latent_dim if is_masked else None) for c in self.configs]

    def _scheduled(self) -> list[str]:
        """The hyperparameters that are arrays or schedules; a term that no run has is left out."""
        chosen = [dict(config.hyperparameters) for config in self.configs]
        return [
            name
            for name, known in self.hyperparameters.items()
            if not known.is_static
            and not (known.default == 0 and all(own[name] == "0" for own in chosen))
        ]


def _hparams(
    config: Config, names: Sequence[str], units: dict[str, int], masked: int | None
) -> training.Hparams:
    """The hyperparameters of a run, scalars.

    Args:
        config: complete.
        names: the hyperparameters of the objective that are arrays or schedules.
        units: see `schedules.parse`.
        masked: L of the model if some runs have fewer dimensions, else None.
    """

    def schedule(value):
        return None if value is None else schedules.parse(value, **units)

    def scalar(value):
        return np.float32(value) if isinstance(value, float) else None

    mask = None if masked is None else np.arange(masked) < config.latent_dim
    own = dict(config.hyperparameters)
    if config.prior_phase is not None:
        own[phases.NAME], names = config.prior_phase, [*names, phases.NAME]
    adam = {keyword: getattr(config, name) for name, keyword in ADAM.items()}
    return training.Hparams(
        seed=np.int32(config.seed),
        learning_rate=schedule(config.learning_rate),
        objective={name: schedule(own[name]) for name in sorted(names)},
        weight_decay=schedule(config.weight_decay or "1e-4"),
        adam={keyword: scalar(value) for keyword, value in adam.items() if value is not None},
        clip_norm=schedule(config.clip_norm),
        skip_norm=schedule(config.skip_norm),
        init_scale=scalar(config.init_scale),
        ema_decay=scalar(config.ema_decay),
        latent_mask=None if mask is None else mask.astype(np.float32),
        variance=scalar(config.variance),
    )


def resolve(configs: Sequence[Config], dataset) -> Resolved:
    """Resolves the configs of a program with their data: names become what they name.

    Args:
        configs: from `config.from_flags`, with equal `programs.program_key`.
        dataset: from `vae_jax.data.load`.

    Raises:
        DataError: the range of the data does not fit the likelihood.
        UsageError: settings do not fit the data.
    """
    config = configs[0]
    objective = objectives.bind(
        config.objective, num_examples=len(dataset.train), **statics_of(config)
    )
    if config.prior_phase is not None:
        objective = phases.by_prior_phase(objective)
    has_prior = objective.latent().has_prior
    configs = [complete(each, dataset, has_prior=has_prior) for each in configs]
    likelihood = configs[0].likelihood
    # all numbers share a program with the variance "given", so each is checked here
    settings = likelihood_settings(config)
    known = {**assembly.schema_of(dataset).of_likelihood, **settings}
    for value in {c.variance for c in configs if not isinstance(c.variance, str)}:
        likelihoods.make(likelihood, variance=value, **known)
    parts = assembly.assemble(
        dataset,
        objective,
        likelihood=likelihood,
        variance=config.variance if isinstance(config.variance, str) else "given",
        settings=settings,
        **members_of(config),
    )
    return Resolved(tuple(configs), dataset, parts)


def complete(config: Config, dataset, *, has_prior: bool) -> Config:
    """Fills in the settings that depend on the data, and checks them.

    Args:
        config: from `config.from_flags`.
        dataset: from `vae_jax.data.load`.
        has_prior: whether the latents of the objective have a prior.

    Raises:
        UsageError: a batch has more examples than there are, or a setting does not fit the data.
    """
    num_examples = len(dataset.train)
    batch_size = config.batch_size or min(100, num_examples)
    if batch_size > num_examples:
        raise UsageError(
            f"batch_size={batch_size}: the training split has {num_examples} examples, "
            f"give at most that"
        )
    if config.scaling != "auto" and dataset.num_levels is not None:
        raise UsageError(
            f"scaling={config.scaling}: {dataset.name} has {dataset.num_levels} levels, which "
            "always become 0 to 1: leave the flag out"
        )
    likelihood = config.likelihood or dataset.likelihood
    binarization = assembly.binarization(
        dataset.num_levels,
        is_bernoulli=likelihood == "bernoulli",
        has_prior=has_prior,
        asked=config.binarization,
    )
    epochs = config.epochs
    if epochs is None:
        steps_per_epoch = -(-num_examples // batch_size)
        epochs = min(200, max(1, round(30_000 / steps_per_epoch)))
    widths, network = config.widths, networks.load(config.network)
    if widths is None and network.widths_by_shape is not None:
        # stored, so that the run keeps them if a later version has other defaults
        widths = network.widths_for(dataset.shape)
    return dataclasses.replace(
        config,
        widths=widths,
        likelihood=likelihood,
        binarization=binarization,
        epochs=epochs,
        batch_size=batch_size,
    )
