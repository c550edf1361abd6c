"""Files of settings: what a command line says, as JSON, TOML or YAML; the config.json of a run.

A file maps settings to values: numbers, text, true and false, and lists, which mean what values
with commas between them do on the command line. `schema`, the version of the format, may be left
out.
"""

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import aliases, console, objectives
from vae_jax.devices import processes
from vae_jax.errors import UsageError, any_of, did_you_mean, first_line, printable, shown
from vae_jax.lab import config as config_lib
from vae_jax.lab import entry, expansion, parsers, rows, stored
from vae_jax.lab.settings import (
    FAMILIES,
    Config,
    Plan,
    flag_fields,
    hyperparameter_flags,
    hyperparameters_of,
    named_in,
)
from vae_jax.storage import files, runs

__all__ = ["MOST_BYTES", "SUFFIXES", "beside", "read", "write"]

MOST_BYTES = 2**18
"""The largest file of settings that is read: a count."""
_MOST_VALUES = rows.MAX_RUNS
_SCHEMA = "schema"
_OF_RUN = {_SCHEMA, "config", "sha256"}


def read(file: str | os.PathLike) -> dict[str, str | bool]:
    """Reads the settings of a file.

    Args:
        file: path of a .json, .toml or .yaml file, or of the config.json of one run.

    Returns:
        Setting → its text as on the command line, True or False of a switch; as
        `expansion.make_configs` takes them, except settings of `Plan`.

    Raises:
        UsageError: the file is not a file of settings, a newer version wrote it, or a setting is
            unknown or has a value that it does not accept.
    """
    file = os.fspath(file)
    parse = _format(file, "config").parse
    text = rows.read_text(file, "config", MOST_BYTES)
    try:
        pairs = parse(text)
    except RecursionError:
        raise UsageError(
            f"config={file}: is nested too deeply: give one value or list for each setting"
        ) from None
    except (ValueError, TypeError) as error:
        told = first_line(error)
        raise UsageError(f"config={file}: cannot be parsed ({told}): correct it") from None
    if pairs is None:
        raise UsageError(
            f"config={file}: must map settings to values: write them as `save_config` does"
        )
    names = {name for name, _ in pairs if isinstance(name, str)}
    given = _of_run(file, text) if names >= _OF_RUN else _plain(file, pairs)
    values = {name: _value(file, name, value) for name, value in given.items()}
    return _ordered({name: value for name, value in values.items() if value is not None})


def beside(values: Mapping[str, str | bool | None]) -> dict[str, str | bool | None]:
    """The flags that were given, and the settings of the file that `config` names.

    If a flag chooses another objective, prior, posterior or likelihood, the settings that this one
    lacks are left out of the file, as long as they have their defaults there.

    Args:
        values: flag → text, True or False; None if it was not given, which the file replaces.

    Raises:
        UsageError: see `read`.
    """
    held = read(str(values["config"]))
    given = {name: value for name, value in values.items() if value is not None}
    choices = ("objective", *FAMILIES)
    if any(given.get(name, held.get(name)) != held.get(name) for name in choices):
        known = _known_to({**held, **given})
        usual = {name: parsers.canonical(h.text) for name, h in _hyperparameters(held).items()}
        held = {
            name: value
            for name, value in held.items()
            if name in known or usual.get(name) != parsers.canonical(str(value))
        }
    return _ordered({**values, **held, **given})


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the order of the flags, which is that of the runs of a sweep."""
    fields = [f.name for f in (*flag_fields(), *flag_fields(Plan))]
    names = [*fields, *objectives.hyperparameters(Config.objective)]
    if not values.keys() <= set(names):
        names = [*fields, *hyperparameter_flags()]
    return {name: values[name] for name in names if name in values}


def _known_to(values: Mapping[str, Any]) -> set[str]:
    """The settings that a choice of objectives, priors, posteriors and likelihoods has."""
    fields = [f.name for f in (*flag_fields(), *flag_fields(Plan))]
    chosen = {"objective": Config.objective, **{n: v for n, v in values.items() if v is not None}}
    owners = [
        aliases.canonical(setting, name)
        if setting == "objective"
        else f"{setting}={aliases.canonical(setting, name)}"
        for setting in ("objective", *FAMILIES)
        for name in expansion.split(chosen.get(setting, ""), setting)
    ]
    own = [n for n, known in hyperparameter_flags().items() if not known.keys().isdisjoint(owners)]
    return {*fields, *own}


def _hyperparameters(held: Mapping[str, Any]) -> dict[str, objectives.Hyperparameter]:
    """The hyperparameters of the file's own objective, if it names one."""
    try:
        return hyperparameters_of(held.get("objective", Config.objective), named_in(held))
    except UsageError:  # several: none is left out
        return {}


# --- What a file holds


def _of_run(file: str, text: str) -> dict[str, Any]:
    """The settings in the config.json of a run."""
    try:
        held = runs.parse_config(text.encode(), file)["config"]
    except ValueError as error:
        raise UsageError(
            f"config={file}: is no config of a run ({first_line(error)}): give another file"
        ) from None
    if {"runs", "num_runs"} & held.keys():
        raise UsageError(
            f"config={file}: holds several runs: write one file of their flags with `save_config`"
        )
    stored.refuse_unknown(held, file)
    return stored.settings_of(held)


def _plain(file: str, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """The settings in a file that maps them to values."""
    given: dict[str, Any] = {}
    for written, value in pairs:
        if written == _SCHEMA:
            _check_schema(file, value)
            continue
        if not isinstance(written, str):
            raise UsageError(f"config={file}: holds a name that is no text: put it in quotes")
        name = rows.setting_of(written)
        _check_name(file, name)
        if name in given:
            raise UsageError(f"config={file}: sets {name} twice: give it once")
        given[name] = value
    return given


def _check_schema(file: str, version: Any) -> None:
    if type(version) is not int or version < 1:
        raise UsageError(
            f"config={file}: {_SCHEMA} is {_told(version)}, must be the number {runs.SCHEMA} or "
            "less: leave it out"
        )
    if version > runs.SCHEMA:
        raise UsageError(
            f"config={file}: was written by a newer vae_jax ({_SCHEMA} {version}, this one reads "
            f"up to {runs.SCHEMA}): upgrade vae_jax"
        )


def _check_name(file: str, name: str) -> None:
    """Raises UsageError unless a file may hold this setting."""
    fields = {f.name: f for f in (*flag_fields(), *flag_fields(Plan))}
    if name in fields:
        if not fields[name].metadata["stored"]:
            raise UsageError(
                f"config={file}: sets {name}, which holds for one command: give `{name}` on the "
                "command line"
            )
        return
    if name in objectives.hyperparameters(Config.objective) or name in hyperparameter_flags():
        return
    known = [n for n, f in fields.items() if f.metadata["stored"]] + [*hyperparameter_flags()]
    hint = did_you_mean(name, known)
    raise UsageError(f"config={file}: {shown(name)} is no setting{hint}: correct or remove it")


def _value(file: str, name: str, value: Any) -> str | bool | None:
    """A value of a file as the command line has it; checked."""
    fields = {f.name: f for f in (*flag_fields(), *flag_fields(Plan))}
    field = fields.get(name)
    if field is not None and field.default is False:
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"config={file}: {name} is {_told(value)}: write true or false")
        return value
    text = _text(file, name, value)
    if text is None:
        return None
    sweeps = field is None or field.metadata["sweeps"]
    for item in expansion.split(text, name) if sweeps else [text]:
        try:
            _parse(name, item)
        except UsageError as error:
            raise UsageError(f"config={file}: {error}") from None
    return text


def _parse(name: str, text: str) -> None:
    """Raises UsageError if no owner of a setting accepts the text."""
    fields = {f.name: f for f in (*flag_fields(), *flag_fields(Plan))}
    if name in fields:
        config_lib.parse_flag(name, text, fields[name].metadata["parse"])
        return
    refused = None
    for known in hyperparameter_flags()[name].values():
        try:
            config_lib.parse_hyperparameter(name, text, known)
            return
        except UsageError as error:
            refused = error
    if refused is not None:
        raise refused


def _text(file: str, name: str, value: Any) -> str | None:
    """A value as text: lists with commas, lists of `widths` with semicolons between them."""
    if value is None:
        return None
    several = value if isinstance(value, list) and value else [value]
    is_nested = name == "widths" and any(isinstance(each, list) for each in several)
    inner = [each if isinstance(each, list) else [each] for each in several if is_nested]
    leaves = [leaf for each in inner for leaf in each] if is_nested else several
    if len(leaves) > _MOST_VALUES:
        raise UsageError(f"config={file}: {name} has more than {_MOST_VALUES:,} values: give fewer")
    for leaf in leaves:
        if type(leaf) not in (int, float, str):
            raise UsageError(
                f"config={file}: {name} is {_told(value)}: write a number, text, or a list of these"
            )
    if is_nested:
        return ";".join(",".join(map(str, each)) for each in inner)
    return ",".join(map(str, several))


def _told(value: Any) -> str:
    """A value that was read, for a message; aliases of YAML make lists that no line can hold."""
    if isinstance(value, bool):
        return str(value).lower()
    is_short = value is None or isinstance(value, int | float | str)
    return shown(value) if is_short else "a list" if isinstance(value, list) else "no plain value"


# --- Formats


def _pairs(value: Any) -> list[tuple[Any, Any]] | None:
    return list(value.items()) if isinstance(value, dict) else None


def _of_json(text: str) -> list[tuple[Any, Any]] | None:
    # pairs, because two may have the same name
    value = json.loads(text, object_pairs_hook=tuple)
    return list(value) if isinstance(value, tuple) else None


def _of_toml(text: str) -> list[tuple[Any, Any]] | None:
    import tomllib

    return _pairs(tomllib.loads(text))


def _of_yaml(text: str) -> list[tuple[Any, Any]] | None:
    yaml = _yaml()
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return None
        pairs = [
            (loader.construct_object(name, deep=True), loader.construct_object(value, deep=True))
            for name, value in node.value
        ]
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        loader.dispose()
    return pairs


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError(
            "config, save_config: YAML needs PyYAML, which is not installed: pip install "
            "'vae_jax[yaml]', or take a .toml or .json file"
        ) from None
    return yaml


def _as_json(settings: Mapping[str, Any], _: str) -> str:
    lines = [f" {json.dumps(name)}: {_spelled(value)}" for name, value in settings.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _as_toml(settings: Mapping[str, Any], comment: str) -> str:
    lines = [f"{name} = {_spelled(value)}" for name, value in settings.items()]
    return "\n".join([f"# {comment}", *lines, ""])


def _as_yaml(settings: Mapping[str, Any], comment: str) -> str:
    lines = [f"{name}: {_spelled(value)}" for name, value in settings.items()]
    return "\n".join([f"# {comment}", *lines, ""])


def _spelled(value: Any) -> str:
    """A value as all three formats have it."""
    # TOML has no escapes of surrogates, and escapes this character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Format(NamedTuple):
    """A format of files.

    Attributes:
        parse: text to pairs of setting and value, or None if it is no mapping; raises ValueError.
        text: (settings, a comment) to text.
    """

    parse: Callable[[str], list[tuple[Any, Any]] | None]
    text: Callable[[Mapping[str, Any], str], str]


_YAML = _Format(_of_yaml, _as_yaml)
_FORMATS = {
    ".json": _Format(_of_json, _as_json),
    ".toml": _Format(_of_toml, _as_toml),
    ".yaml": _YAML,
    ".yml": _YAML,
}
SUFFIXES = tuple(_FORMATS)
"""Suffixes of the names of files that can be read and written."""


def _format(file: str, setting: str) -> _Format:
    suffix = Path(file).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"{setting}={file}: give a name that ends in {any_of(SUFFIXES)}")
    return _FORMATS[suffix]


# --- Writing


def write(file: str, configs: Sequence[Config], plan: Plan) -> None:
    """Writes the settings of the runs that were asked for.

    Settings that depend on the data are left out unless they were given.

    Args:
        file: path of the file, whose suffix is its format.
        configs: of all runs, from `expansion.make_configs`.
        plan: how to train; what holds for one command is left out.

    Raises:
        UsageError: the file exists and is not to be overwritten, or the runs are rows of a file.
        StorageError: it cannot be written.
    """
    form = _format(file, "save_config")
    if form is _YAML:
        _yaml()  # so that the file can be read again
    if os.path.lexists(file) and not plan.overwrite:
        raise UsageError(
            f"save_config={file}: exists: choose another name, or give `overwrite=True`"
        )
    settings = _settings(configs)
    if plan.sweep is not None or not _gives(settings, configs):
        raise UsageError(
            f"save_config={file}: the runs are no product of settings: keep their rows in a file "
            "for `sweep`"
        )
    usual = Plan()
    settings |= {
        f.name: getattr(plan, f.name)
        for f in flag_fields(Plan)
        if f.metadata["stored"] and getattr(plan, f.name) != getattr(usual, f.name)
    }
    words = [*entry.words("train"), *config_lib.command_line({"config": file})]
    command = printable(shlex.join(words))
    text = form.text({_SCHEMA: runs.SCHEMA, **settings}, command)
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"save_config={file}: a value is not UTF-8 text: rename what it names"
        ) from None
    processes.on_first(lambda: _write(file, content, command))


def _gives(settings: Mapping[str, Any], configs: Sequence[Config]) -> bool:
    """Whether a file of the settings asks for these runs."""
    texts = {name: _value("", name, value) for name, value in settings.items()}
    try:
        return expansion.make_configs(texts) == list(configs)
    except UsageError:
        return False


def _write(file: str, content: bytes, command: str) -> None:
    files.write_bytes(Path(file), content, remedy="choose another place for it")
    console.say(f"in {file}: {command}")


def _settings(configs: Sequence[Config]) -> dict[str, Any]:
    """Setting → its value if all runs share it, or a list of its values."""
    own = [_settings_of(config) for config in configs]
    found: dict[str, Any] = {}
    for name in own[0]:
        if any(name not in each for each in own):
            continue  # of one objective among several: its default
        values = list({json.dumps(each[name]): each[name] for each in own}.values())
        found[name] = values if len(values) > 1 else values[0]
    return _ordered(found)


def _settings_of(config: Config) -> dict[str, Any]:
    """The settings of a run that do not depend on its data, as plain JSON values."""
    values = {f.name: getattr(config, f.name) for f in flag_fields()}
    values |= dict(config.hyperparameters)
    return {name: _as_plain(value) for name, value in values.items() if value is not None}


def _as_plain(value: Any) -> Any:
    """A setting as a JSON value: the text of a number becomes the number."""
    if isinstance(value, tuple):
        return list(value)
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            number = kind(value)
        except ValueError:
            continue
        if str(number) == value:
            return number
    return value
