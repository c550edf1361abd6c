"""Where the numbers of a training go while it runs. One file each, by name.

A logger is a callback of `vae_jax.fit`, and a value of the setting `loggers` of a run:

    vae_jax.fit(…, callbacks=[vae_jax.loggers.TensorBoard("logs")])

To add one, add a file `NAME.py` with one public subclass of `Logger`. It imports its package when
the log is opened, so that nothing is imported that nobody asked for.
"""

from typing import Any

from vae_jax import families
from vae_jax.loggers._logger import Logger

__all__ = ["FAMILY", "Logger", "classes", "load", "names"]

FAMILY = families.Family(__name__, Logger, "logger")
"""All loggers by name."""
names, load, classes = FAMILY.names, FAMILY.load, FAMILY.classes


def __getattr__(name: str) -> Any:
    return FAMILY.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *classes()})
