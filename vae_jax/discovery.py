"""Finds the modules of a package by name, so that adding one means adding a file."""

import ast
import functools
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import sys
from types import ModuleType

from vae_jax import aliases
from vae_jax.errors import unknown

__all__ = ["classes", "find", "load", "names", "summary"]


def names(package: str) -> list[str]:
    """Names of a package's public modules, sorted, without importing them.

    Args:
        package: its `__name__`; it must be imported.
    """
    places = tuple(sys.modules[package].__path__)
    return [*_listed(places, tuple(map(_changed, places)))]


@functools.lru_cache(maxsize=64)
def _listed(places: tuple[str, ...], changed: tuple[int | None, ...]) -> tuple[str, ...]:
    """Names of the public modules in folders, sorted; a sweep asks for them for each run.

    Args:
        places: the folders.
        changed: when each was last changed, so that a new file is found.
    """
    del changed
    found = pkgutil.iter_modules(places)
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def _changed(place: str) -> int | None:
    """When a folder was last changed, in nanoseconds; None if it is no folder."""
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return None


def load(package: str, name: str, what: str) -> ModuleType:
    """Imports a module of a package by name.

    Args:
        package: its `__name__`.
        name: name of the module.
        what: the kind of these modules, for the error; for instance "objective".

    Raises:
        UsageError: there is no such module.
    """
    return importlib.import_module(find(package, name, what))


def find(package: str, name: str, what: str) -> str:
    """Returns the dotted name of a package's module, which is not imported; see `load`.

    Args:
        package, what: see `load`.
        name: of the module, or an alias of it, see `vae_jax.aliases`.
    """
    name = aliases.canonical(what, name)
    if name not in names(package):
        raise unknown(what, name, names(package))
    return f"{package}.{name}"


def summary(package: str, name: str) -> str:
    """Returns the first line of a module's docstring, or its name, without importing the module.

    Args:
        package, name: see `load`.
    """
    spec = importlib.util.find_spec(f"{package}.{name}")
    tree = ast.parse(pathlib.Path(spec.origin).read_text())
    return (ast.get_docstring(tree) or name).splitlines()[0]


def classes(module: ModuleType, base: type) -> dict[str, type]:
    """The public subclasses of `base` that a module itself defines, by name.

    Args:
        module: an imported module.
        base: a class, included if the module defines it; a scalar.
    """
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
