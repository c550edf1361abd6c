"""From flags to exit code: the help page, and one line for each error that a user can cause."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

import jax
from absl import app, flags, logging

from vae_jax import aliases, console, objectives
from vae_jax.cli import beginning
from vae_jax.cli import help as help_lib
from vae_jax.devices import hardware, processes
from vae_jax.devices import platform as devices
from vae_jax.errors import UsageError, VaeJaxError, did_you_mean
from vae_jax.lab import compiled, environment, interrupts
from vae_jax.lab.config import plan_from_flags
from vae_jax.lab.flags import as_flags
from vae_jax.lab.settings import Config, Plan, flag_fields, hyperparameter_flags

__all__ = [
    "MAX_NAME",
    "define_flags",
    "launch",
    "or_exit",
    "run",
    "start",
    "with_first",
]

MAX_NAME = 100
"""Length of the longest possible name of a flag, a count."""


def run(main: Callable[[dict, Plan, list[str]], None], description: str) -> None:
    """Parses the flags of a training, calls `main(values, plan, flags as given)`, and exits.

    Exit codes: 0 done, 2 usage, 3 data, 4 diverged (all runs), 5 storage, 6 locked, 7 incomplete (a
    program of a sweep failed), 130 and 143 for a run that was interrupted.

    Args:
        main: runs the training.
        description: the head of the help page.
    """
    names = define_flags(sys.argv[1:])

    def train(values):
        if values["config"] is not None:
            from vae_jax.lab import settings_file

            values = settings_file.beside(values)
        given = {f.name: values.pop(f.name) for f in flag_fields(Plan)}
        plan = plan_from_flags(given)
        if plan.executor is not None:
            # this process leaves the accelerators to others, and a login node may have none
            jax.config.update("jax_platforms", "cpu")
        processes.initialize()
        if plan.executor is None:
            devices.check_platform()
        main(values, plan, sys.argv[1:])

    launch(train, names, lambda asked: help_lib.of_training(asked, description))


def start(
    main: Callable[[dict], None],
    texts: Mapping[str, str],
    description: str,
    *,
    example: str,
    repeated: Sequence[str] = (),
) -> None:
    """Parses flags that are all text, calls `main(values)`, and exits like `run`.

    Args:
        main: runs the command; a flag that was not given is None.
        texts: flag → its help line.
        description: the head of the help page.
        example: an example command.
        repeated: flags that may be given several times; their values are lists.
    """
    for name, text in texts.items():
        define = flags.DEFINE_multi_string if name in repeated else flags.DEFINE_string
        define(name, None, text)

    def work(values):
        devices.check_platform()
        main(values)

    launch(work, list(texts), lambda _: help_lib.of_flags(texts, description, example))


def with_first(argv: Sequence[str], flag: str) -> list[str]:
    """Converts a first word without a flag's name to that flag: `iwae` to `--recipe=iwae`.

    Args:
        argv: the command's words, its own name first.
        flag: name of the flag.

    Raises:
        UsageError: it is given twice.
    """
    first = [word for word in argv[1:2] if not word.startswith("-")]
    given = first + [word for word in argv[1:] if re.match(f"--?{flag}(=|$)", word)]
    if len(given) > 1:
        raise UsageError(f"{' '.join(given)}: names two {flag}s: name one of them")
    return [argv[0], *(f"--{flag}={word}" for word in first), *argv[1 + len(first) :]]


def launch(main: Callable[[dict], None], names: Sequence[str], page: Callable[[str], str]) -> None:
    """Parses defined flags, calls `main(values)`, and exits with the codes of `run`.

    Args:
        main: runs the command; a flag that was not given is None.
        names: names of the flags, for suggestions if one is misspelled.
        page: the requested page (see `help.asked_for`) → the text that --help prints.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        # a terminal without β shows ?, and the run continues
        getattr(sys, name).reconfigure(errors="replace")
    interrupts.exit_at_once()

    not_kept = compiled.keep()
    devices.listen()
    # on CPU, a sweep spreads its runs over one device per available core
    if not devices.are_counted():
        num_cores = hardware.num_cores() // processes.num_on_this_machine()
        jax.config.update("jax_num_cpu_devices", max(1, num_cores))

    def parse(argv):
        asked = help_lib.asked_for(argv[1:])
        if asked is not None:
            console.say_page(or_exit(lambda: page(asked)))
            sys.exit(0)
        return or_exit(lambda: _parse(argv, names), names)

    def call(_):
        beginning.end()
        # libraries log what they looked for and found: hide it
        logging.set_verbosity(logging.WARNING)
        for told in filter(None, (environment.told(), not_kept)):
            if processes.is_first():
                console.say(told, is_error=True)
        or_exit(devices.check_flags)
        values = {name: flags.FLAGS[name].value for name in names}
        or_exit(lambda: main(values), names)

    app.run(call, flags_parser=parse)


def define_flags(argv: Sequence[str], into: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Defines a flag for each field of `Config` and `Plan`, hyperparameter and alias.

    The hyperparameters are those of the default objective, or of all objectives if there is a flag
    that is not one of these: the other objectives are then not imported for nothing.

    Args:
        argv: the words after the name of the program.
        into: where the flags are defined.

    Returns:
        The names of the flags, without aliases.
    """
    fields = flag_fields() + flag_fields(Plan)
    own = list(objectives.hyperparameters(Config.objective))
    asked = {word.lstrip("-").partition("=")[0] for word in argv if word.startswith("-")}
    if not asked <= {*(f.name for f in fields), *own, *aliases.SETTINGS}:
        own = list(hyperparameter_flags())
    for field in fields:
        define = flags.DEFINE_boolean if field.default is False else flags.DEFINE_string
        define(field.name, None, field.metadata["help"], into)
    for name in own:
        flags.DEFINE_string(name, None, "a hyperparameter, see --help=all", into)
    for alias, name in aliases.SETTINGS.items():
        flags.DEFINE_alias(alias, name, into)
    return [f.name for f in fields] + own


def _parse(argv, names: Sequence[str]):
    for word in argv[1:]:
        # absl searches for the nearest flag, with one step per character
        if word.startswith("-") and len(word.partition("=")[0]) > MAX_NAME:
            raise UsageError(f"{word.partition('=')[0]} is not a flag (see --help)")
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        hint = did_you_mean(error.flagname, names, "--")
        raise UsageError(f"--{error.flagname} is not a flag{hint} (see --help)") from None
    except flags.IllegalFlagValueError as error:
        told = re.sub(r"^flag |: \('Non-boolean argument.*$", "", str(error))
        raise UsageError(f"{told}: is true or false, --name or --noname (see --help)") from None
    except flags.Error as error:
        raise UsageError(f"{str(error).rstrip('.')} (see --help)") from None
    if rest[1:]:
        raise UsageError(f"{rest[1]!r} is not a flag: settings are given as --name=value")
    return rest


def or_exit(function: Callable, names: Sequence[str] = ()):
    """What a function gives; an error that a user can cause is one line, and the exit code.

    Args:
        function: without arguments.
        names: of the flags that the settings of the error may be, beside those of a training.
    """
    try:
        return function()
    except processes.EndedElsewhereError as error:
        processes.leave(error.exit_code)
    except VaeJaxError as error:
        if processes.is_first():
            console.say(f"error: {as_flags(str(error), names)}", is_error=True)
        processes.leave(error.exit_code)
    except Exception as error:
        refused = devices.refusal()
        if refused is not None:
            if processes.is_first():
                console.say(f"error: {refused}", is_error=True)
            processes.leave(refused.exit_code)
        processes.leave_after_fault(error)
        raise
