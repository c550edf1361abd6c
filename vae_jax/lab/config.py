"""From flags to a `Config` or a `Plan`, and from a `Config` back to flags."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vae_jax import latents, looks, objectives, phases, posteriors, priors
from vae_jax.errors import UsageError, any_of
from vae_jax.lab import executors, parsers
from vae_jax.lab.settings import (
    ADAM,
    Config,
    Plan,
    flag_fields,
    hyperparameter_flags,
    hyperparameters_of,
    members_of,
    named_in,
    statics_of,
)

__all__ = [
    "CombinationError",
    "command_line",
    "default",
    "from_flags",
    "latent_of",
    "parse_flag",
    "parse_hyperparameter",
    "plan_from_flags",
    "spell",
    "to_flags",
]


class CombinationError(UsageError):
    """A flag does not fit the choice made by another flag."""


def from_flags(values: Mapping[str, str | None]) -> Config:
    """Checks the flags that were given and makes a `Config`.

    Args:
        values: flag → text, or None if it was not given.

    Returns:
        A `Config`, complete except for what depends on the data.

    Raises:
        UsageError: a value does not fit; the message names the flag, the value and what is allowed.
    """
    given = {name: value for name, value in values.items() if value is not None}
    settings = {
        f.name: parse_flag(f.name, given.pop(f.name), f.metadata["parse"])
        for f in flag_fields()
        if f.name in given
    }
    objective = settings.get("objective", Config.objective)
    config = Config(
        **settings, hyperparameters=_hyperparameters(objective, named_in(settings), given)
    )
    _check_together(config)
    return config


def default(config: Config) -> Config:
    """The `Config` of the same objective without other flags.

    It has no prior and posterior, but the defaults of the settings of those that `config` has.
    """
    usual = _hyperparameters(config.objective, named_in(vars(config)), {})
    return Config(objective=config.objective, hyperparameters=usual)


def _hyperparameters(
    objective: str, names: Mapping[str, str], given: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """The hyperparameters of an objective and the `named_in` names, sorted: given, and defaults.

    Raises:
        CombinationError: one of them belongs to other objectives, priors or posteriors.
    """
    known = hyperparameters_of(objective, names)
    for name in given:
        if name not in known and name in hyperparameter_flags():
            raise CombinationError(_misplaced(name, given[name], objective, names))
    parsed = {
        name: parse_hyperparameter(name, given.get(name, each.text), each)
        for name, each in known.items()
    }
    return tuple(sorted(parsed.items()))


def _misplaced(name: str, value: str, objective: str, names: Mapping[str, str]) -> str:
    """The error of a hyperparameter of another objective, prior or posterior."""
    owners = [owner for owner in hyperparameter_flags()[name] if "=" in owner]
    if owners:
        setting = owners[0].partition("=")[0]
        has = f"{setting}={names[setting]} has none" if setting in names else ""
        given = has or f"no {setting} is given"
        return f"{name}={value}: {given}: give {any_of(owners)} too, or leave it out"
    takes = ", ".join(f"`{each}`" for each in objectives.hyperparameters(objective)) or "none"
    return f"{name}={value}: objective {objective} takes {takes}"


def _parser(hyperparameter: objectives.Hyperparameter) -> Callable[[str], str]:
    """The parser for the flag of a hyperparameter."""
    if hyperparameter.or_number:
        return parsers.word_or_number(hyperparameter.choices)
    if hyperparameter.others:
        return parsers.text
    if hyperparameter.choices:
        return parsers.choice(hyperparameter.choices)
    interval = hyperparameter.interval
    if hyperparameter.is_static:
        parse = parsers.integer(int(interval.low), int(min(interval.high, parsers.LARGEST)))
        return lambda value: str(parse(value))
    return parsers.number(interval, note=f" ({hyperparameter.help.rstrip('.')})")


def plan_from_flags(values: dict[str, str | None]) -> Plan:
    """Checks the flags about how to train; see `from_flags`."""
    given = {f.name: values.get(f.name) for f in flag_fields(Plan)}
    plan = Plan(
        **{
            f.name: parse_flag(f.name, given[f.name], f.metadata["parse"])
            for f in flag_fields(Plan)
            if given[f.name] is not None
        }
    )
    for name in executors.names():
        text = getattr(plan, name, None)
        if text is not None and plan.executor != name:
            raise UsageError(f"{name}={text}: give executor={name} too")
    if given["num_workers"] is not None and plan.executor != "local":
        raise UsageError(f"num_workers={plan.num_workers}: give executor=local too")
    return plan


@functools.cache
def parse_flag(name: str, value: str, parse: Callable):
    """The value of a flag, from its text; a `UsageError` names the flag and the text."""
    try:
        return parse(value)
    except UsageError as error:
        raise UsageError(f"{name}={value}: {error}") from None


def parse_hyperparameter(name: str, value: str, known: objectives.Hyperparameter) -> str:
    """The value of a hyperparameter, from its text; see `parse_flag`."""
    return parse_flag(name, value, _parser(known))


def _check_together(config: Config) -> None:
    """Raises CombinationError if settings contradict one another."""
    if config.patience is not None and config.num_valid == 0:
        raise CombinationError(
            f"patience={config.patience}: needs a validation split, num_valid=0 leaves none"
        )
    has_phases = objectives.has_phases(config.objective) or config.prior_phase is not None
    if config.patience is not None and has_phases:
        raise CombinationError(
            f"patience={config.patience}: {config.objective} is several trainings whose losses "
            "do not compare: leave it"
        )
    if config.prior_phase is not None:
        phases.require_learned(members_of(config)["prior"], config.prior_phase)
    if config.weight_decay is not None and config.optimizer != "adamw":
        raise CombinationError(
            f"weight_decay={config.weight_decay}: {config.optimizer} has none, give optimizer=adamw"
        )
    chosen = [name for name in ADAM if getattr(config, name) is not None]
    if chosen and not config.optimizer.startswith("adam"):
        raise CombinationError(
            f"{chosen[0]}={getattr(config, chosen[0])}: {config.optimizer} has none, give "
            "optimizer=adam"
        )
    if config.hop is not None and config.window is None:
        raise CombinationError(
            f"hop={config.hop}: counts rows from window to window, give `window` too"
        )
    try:
        looks.check_together(config)
    except UsageError as error:
        raise CombinationError(str(error)) from None
    if config.network == "linear" and (config.widths or config.activation):
        raise CombinationError(
            "network=linear has no hidden layers: leave `widths` and `activation`"
        )
    try:
        latent = latent_of(config)
        latent.check(config.latent_dim)
        latent.check_prior(members_of(config)["prior"])
        _check_temperature(config, latent)
    except UsageError as error:
        raise CombinationError(f"{error} (objective {config.objective})") from None


def _check_temperature(config: Config, latent: latents.Latent) -> None:
    """Raises UsageError if p(z) of codes [B, L] cannot be drawn from at the temperature asked."""
    temperature = config.sampling_temperature
    if temperature is None:
        return
    if config.sampler is not None:
        raise UsageError(
            f"sampling_temperature={temperature}: is of the prior, draws are from "
            f"sampler={config.sampler}: leave one of them out"
        )
    prior = members_of(config)["prior"]
    if prior is not None and type(prior) is not priors.Normal:
        latents.at_temperature(prior, temperature)
    elif latent.has_prior:  # without a prior, draws are from a Gaussian fit to the codes
        key, size = jax.random.key(0), config.latent_dim
        density = jax.eval_shape(lambda: latent.prior(latent.init(key, size), size))
        latents.at_temperature(density, temperature)


def latent_of(config: Config) -> latents.Latent:
    """The family of latents, of codes [B, L], that the objective needs, or the posterior asked."""
    own = objectives.latent(config.objective, **statics_of(config))
    posterior = members_of(config)["posterior"]
    return own if posterior is None else posteriors.instead_of(own, posterior)


def to_flags(config: Config) -> list[str]:
    """The flags that give this `Config`, with the data directory that the shell set."""
    values = {f.name: (getattr(config, f.name), f.default) for f in flag_fields()}
    data_dir = config.data_dir or os.environ.get("VAE_JAX_DATA_DIR")
    # absolute, so that it works from any working directory
    values["data_dir"] = (data_dir and os.path.abspath(data_dir), None)
    known = hyperparameters_of(config.objective, named_in(vars(config)))
    for name, value in config.hyperparameters:
        values[name] = (value, parsers.canonical(known[name].text))
    chosen = {
        name: spell(value)
        for name, (value, usual) in values.items()
        if value is not None and value != usual
    }
    return command_line(chosen)


def command_line(values: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line; None is left out, True is the flag alone."""
    return [
        f"--{name}" if value is True else f"--{name}={spell(value)}"
        for name, value in values.items()
        if value is not None
    ]


def spell(value: Any) -> str:
    """A setting as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
