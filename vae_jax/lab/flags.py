"""Settings and flags: what the library calls `workdir` is `--workdir` on the command line.

The library knows no flags. In its messages, a setting with a value is plain text: beta=4. A setting
without a value, or a switch (`overwrite=True`), is in backticks. Text that must not change, such as
the settings that identify a run, is marked by `errors.verbatim`. A message is passed through
`as_flags` once, where it is printed on the command line or written to the log of a run.
"""

import re
from collections.abc import Iterable

from vae_jax import objectives
from vae_jax.lab.settings import Config, Plan, flag_fields, hyperparameter_flags

__all__ = ["as_flags", "is_flag"]

_SETTING = re.compile(r"`([^`]*)`|(?<![^\s(])(?<!\w\()(\w+)(?==)")
"""Words in backticks, or a name before "=" that starts a word and is no argument of a call."""


def as_flags(message: str, names: Iterable[str] = ()) -> str:
    """Spells the settings of a message of the library as flags.

    Args:
        message: `beta=4` becomes `--beta=4`. A name in backticks becomes `--name`, and so does a
            switch such as `overwrite=True` in backticks. Other words do not change.
        names: flags of a command in addition to those of a training.
    """
    several = frozenset(names)

    def spell(found: re.Match) -> str:
        quoted, name = found[1], found[2]
        if quoted is None:
            return f"--{name}" if name in several or is_flag(name) else name
        name = quoted.removesuffix("=True")
        if name in several or is_flag(name):
            return f"--{name}"
        return quoted if "=" in quoted else found[0]

    return _SETTING.sub(spell, message)


def is_flag(name: str) -> bool:
    """Whether a training has a flag of this name."""
    # other objectives are imported only for a name that is no setting
    fields = flag_fields() + flag_fields(Plan)
    known = {field.name for field in fields} | objectives.hyperparameters(Config.objective).keys()
    return name in known or name in hyperparameter_flags()
