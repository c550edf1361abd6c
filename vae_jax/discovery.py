"""What a package offers: its modules, found by their names, so that adding one is adding a file."""

import importlib
import pkgutil
import sys
from types import ModuleType

from vae_jax.errors import unknown

__all__ = ["load", "names"]


def names(package: str) -> list[str]:
    """Names of a package's public modules, sorted; none is imported.

    Args:
        package: its `__name__`; it is imported already.
    """
    found = pkgutil.iter_modules(sys.modules[package].__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def load(package: str, name: str, what: str) -> ModuleType:
    """A module of a package by its name.

    Args:
        package: its `__name__`.
        name: of the module.
        what: the modules of this package are, for the error; for instance "objective".

    Raises:
        UsageError: there is no such module.
    """
    if name not in names(package):
        raise unknown(what, name, names(package))
    return importlib.import_module(f"{package}.{name}")
