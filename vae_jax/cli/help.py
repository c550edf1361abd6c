"""The pages that --help prints: the most-used flags, all flags, or those of an objective."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from vae_jax import (
    aliases,
    data,
    discovery,
    likelihoods,
    networks,
    objectives,
    samplers,
    schema,
)
from vae_jax.errors import any_of
from vae_jax.lab import entry
from vae_jax.lab.flags import as_flags
from vae_jax.lab.settings import FAMILIES, GROUPS, Config, Plan, flag_fields, hyperparameter_flags

__all__ = ["COMMON", "WIDTH", "asked_for", "of_flags", "of_training"]

WIDTH = 80
"""Columns of a page."""
COMMON = (
    *("objective", "network", "latent_dim", "likelihood", "dataset"),
    *("epochs", "batch_size", "learning_rate", "patience", "seed", "workdir", "overwrite"),
)
"""Flags of the first page, in addition to those of the default objective."""
_HELP = ("help", "helpshort", "h")
_SCHEDULES = (
    "A hyperparameter that is a real number may follow a schedule, and so may --learning_rate, "
    "--weight_decay, --clip_norm and --prior_phase: linear(0, 4, 2000) goes from 0 to 4 in 2000 "
    "steps, "
    "cosine(1e-3, 0, 100%) falls over the whole run, cyclical(0, 1, 10ep) restarts every 10 "
    "epochs; schedules of optax serve by name: 'warmup_cosine_decay(0, 1e-3, 5ep, 100%)'."
)
_SWEEPS = (
    "Several values with commas between them are a sweep, the product of all that are given: "
    "--beta=1,4 --seed=0,1,2 are six runs. Runs that differ only in real numbers, seed and "
    "latent_dim train as one program."
)
_WIDTHS = "The values of --widths hold commas: semicolons separate them, --widths='200,200;400'."


def asked_for(argv: Sequence[str]) -> str | None:
    """Returns the help topic that a command line requests.

    Args:
        argv: the arguments after the name of the program.

    Returns:
        "" for the first page, "all" for all flags, the name of an objective; None for no help.
    """
    given = dict(_split(word) for word in argv if word.startswith("-"))
    if "helpfull" in given:
        return "all"
    asked = next((given[name] for name in _HELP if name in given), None)
    if asked is None:
        return None
    return asked or given.get("objective", "")


def _split(word: str) -> tuple[str, str]:
    name, _, value = word.lstrip("-").partition("=")
    return name, value


def of_training(asked: str, description: str) -> str:
    """Returns a page on the flags of a training.

    Args:
        asked: result of `asked_for`.
        description: description of the program.

    Raises:
        UsageError: there is no such objective.
    """
    if not asked:
        return _first(description)
    return _all(description) if asked == "all" else _of_objective(asked)


def of_flags(texts: Mapping[str, str], description: str, example: str) -> str:
    """Returns the help page of a program whose flags are all text.

    Args:
        texts: flag → its help line.
        description: description of the program.
        example: an example command.
    """
    entries = [line for name, text in texts.items() for line in _entry(name, text)]
    return "\n".join([*_wrapped(description), "", *entries, "", "Example:", f"  {example}"])


def _first(description: str) -> str:
    lines = [*_wrapped(description), ""]
    for group in GROUPS:
        entries = _entries(group, COMMON)
        if group == "Objective":
            entries = _hyperparameters([Config.objective])
        if entries:
            lines += [f"{group}:", *entries, ""]
    lines += [*_wrapped(_SWEEPS), "", "Example:", f"  {_example()}", ""]
    more = "--help=all lists every flag, --help --objective=iwae those of an objective."
    return "\n".join([*lines, *_wrapped(more)])


def _all(description: str) -> str:
    lines = [*_wrapped(description), ""]
    for group in GROUPS:
        lines += [f"{group}:", *_entries(group)]
        if group == "Model":
            lines += [line for setting in FAMILIES for line in _of_family(setting)]
        if group == "Objective":
            for name in objectives.names():
                purpose = objectives.summary(name).partition(": ")[2]
                lines += _wrapped(f"{name}: {purpose}" if purpose else name, "  ", "    ")
            lines += _hyperparameters(objectives.names())
        lines.append("")
    lines += [*_wrapped(_SCHEDULES), "", *_wrapped(f"{_SWEEPS} {_WIDTHS}"), ""]
    lines += [*_wrapped(_aliases()), ""]
    return "\n".join([*lines, "Example:", f"  {_example()}"])


def _of_family(setting: str) -> list[str]:
    """The classes that a setting chooses among, and their flags."""
    family = FAMILIES[setting]
    owners = {f"{setting}={name}": family.summary(name) for name in family.names()}
    lines = [line for own in owners.items() for line in _wrapped(": ".join(own), "  ", "    ")]
    return [*lines, *_hyperparameters(list(owners))]


def _of_objective(name: str) -> str:
    discovery.find(objectives.__name__, name, "objective")
    name = aliases.canonical("objective", name)
    purpose = f"{objectives.purpose(name)}: loss = {objectives.formula(name)}"
    command = " ".join([*entry.words("train"), f"--objective={name}"])
    flags = _hyperparameters([name]) or ["  it has no flags of its own"]
    lines = [*_wrapped(purpose), "", f"Flags of --objective={name}:", *flags, ""]
    return "\n".join([*lines, *_wrapped(_SCHEDULES), "", "Example:", f"  {command}"])


def _entries(group: str, names: Iterable[str] | None = None) -> list[str]:
    """The entries of the named flags in a group, or of all its flags."""
    fills = _fills()
    lines = []
    for field in flag_fields() + flag_fields(Plan):
        if field.metadata["group"] != group or (names is not None and field.name not in names):
            continue
        text = field.metadata["help"].format(**fills)
        if field.default is not None and field.default is not False:
            text += f" (default: {field.default})"
        lines += _entry(field.name, text)
    return lines


def _fills() -> dict[str, str]:
    """What the entries of flags have in braces: names, and defaults by name."""
    from vae_jax import loggers

    with_variance = [n for n in likelihoods.names() if likelihoods.load(n).variances]
    return {
        "objectives": ", ".join(objectives.names()),
        "datasets": ", ".join(data.names()),
        "networks": ", ".join(networks.names()),
        "widths": _defaults("widths"),
        "activations": ", ".join(networks.ACTIVATIONS),
        "activation": _defaults("activation"),
        "likelihoods": ", ".join(likelihoods.names()),
        "loggers": ", ".join(loggers.names()),
        "samplers": ", ".join(samplers.names()),
        **{f"{setting}s": ", ".join(family.names()) for setting, family in FAMILIES.items()},
        "with_variance": ", ".join(with_variance),
        "kinds": ", ".join(schema.names()),
    }


def _defaults(setting: str) -> str:
    """The defaults of a setting of networks, as text: "32,64 for conv or conv_map"."""
    named: dict[str, list[str]] = {}
    for name in networks.names():
        default = getattr(networks.load(name), setting)
        if default:
            text = default if isinstance(default, str) else ",".join(map(str, default))
            named.setdefault(text, []).append(name)
    return ", ".join(f"{default} for {any_of(names)}" for default, names in named.items())


def _hyperparameters(several: Sequence[str]) -> list[str]:
    """The flags of objectives; equal flags of several objectives are listed once."""
    lines = []
    for name, owners in hyperparameter_flags().items():
        by_text: dict[str, list[str]] = {}
        for objective in several:
            if objective in owners:
                own = owners[objective]
                told = f"{own.help.rstrip('.')} (default: {own.text})"
                by_text.setdefault(told, []).append(objective)
        for told, whose in by_text.items():
            head = f"{', '.join(whose)}: " if len(several) > 1 else ""
            lines += _entry(name, f"{head}{told}")
    return lines


def _aliases() -> str:
    flags = [f"--{alias} is --{name}" for alias, name in aliases.SETTINGS.items()]
    values = [
        f"--{setting}={alias} is {value}"
        for setting, several in aliases.VALUES.items()
        for alias, value in several.items()
    ]
    return f"Other names: {', '.join(flags + values)}."


def _example() -> str:
    return " ".join([*entry.words("train"), "--dataset=mnist", "--beta=4", "--latent_dim=10"])


def _entry(name: str, text: str) -> list[str]:
    # a long name leaves a space before its text
    return _wrapped(as_flags(text), f"  --{name} ".ljust(22), " " * 22)


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=others)
