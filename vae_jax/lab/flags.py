"""Settings and flags: what the library calls `workdir` is `--workdir` on the command line.

The library knows no flags. Its messages write a setting with its value as `beta=4` stands in this
line without the backticks, and a setting alone, or one to be switched on (`overwrite=True`), in
backticks. What has to stay as it is, such as the settings that a run is told by, is marked by
`errors.verbatim`. Whoever says a message on the command line or in `run.log` says it by `as_flags`,
once.
"""

import re
from collections.abc import Iterable

from vae_jax.lab.settings import Plan, flag_fields, objective_flags

__all__ = ["as_flags", "is_flag"]

_SETTING = re.compile(r"`([^`]*)`|(?<![^\s(])(?<!\w\()(\w+)(?==)")
"""Words in backticks, or a name before "=" that begins a word, but for an argument of a call."""


def as_flags(message: str, names: Iterable[str] = ()) -> str:
    """Spells the settings of a message of the library as flags.

    Args:
        message: `beta=4` becomes `--beta=4`, a name in backticks `--name`, and so does one that is
            switched on, such as `overwrite=True` in backticks; words that are no flags stay.
        names: of the flags of a command, beside those of a training.
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
    return name in {field.name for field in fields} or name in objective_flags()
