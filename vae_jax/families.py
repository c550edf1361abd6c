"""Packages in which each file defines one class that is chosen by name, such as priors.

The fields of a class are its settings: counts, numbers and words, each of which becomes a flag.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from vae_jax import discovery
from vae_jax.errors import UsageError, unknown

__all__ = ["Family", "Settings", "check_counts"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Settings:
    """A frozen class whose fields, scalars and words, are settings with defaults.

    Attributes:
        choices: words that a field accepts, by the name of the field.
    """

    choices: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in self.choices and value not in self.choices[field.name]:
                raise unknown(field.name, str(value), self.choices[field.name])
            if isinstance(field.default, int):
                check_counts(**{field.name: value})

    @classmethod
    def refuse_unknown(cls, what: str, settings: Iterable[str]) -> None:
        """Raises UsageError if a setting is not a field of the class, a scalar called `what`."""
        known = {field.name for field in dataclasses.fields(cls)}
        for setting in settings:
            if setting not in known:
                raise unknown(f"setting of {what}", setting, sorted(known))


def check_counts(**counts: Any) -> None:
    """Raises UsageError unless each value is an integer of at least 1; scalars."""
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name}={value!r}: must be an integer, at least 1")


class Family(Generic[T]):
    """The classes of a package, one in each public module; they do not depend on shapes.

    Args:
        package: its `__name__`; it must be imported.
        base: what all the classes extend.
        what: what one of them is called in messages, "prior".
    """

    def __init__(self, package: str, base: type[T], what: str):
        self.package, self.base, self.what = package, base, what

    def names(self) -> list[str]:
        """The names of all of them, sorted."""
        return discovery.names(self.package)

    def load(self, name: str) -> type[T]:
        """The class of a name, for arrays of any shape.

        Raises:
            UsageError: there is none of that name.
        """
        module = discovery.load(self.package, name, self.what)
        (found,) = discovery.classes(module, self.base).values()
        return found

    def classes(self) -> dict[str, type[T]]:
        """All classes by class name: "Mixture", not "mixture"."""
        return {cls.__name__: cls for cls in map(self.load, self.names())}

    def attribute(self, name: str) -> type[T]:
        """A class by its class name, as the attribute of the package; a scalar.

        Raises:
            AttributeError: there is none of that name.
        """
        # a class is looked up on first use, so adding a file is enough
        found = {} if name.startswith("_") else self.classes()
        if name not in found:
            raise AttributeError(f"module {self.package!r} has no attribute {name!r}")
        return found[name]

    def summary(self, name: str) -> str:
        """The first line of the docstring of a name's module."""
        return discovery.summary(self.package, name)

    def formula(self, name: str) -> str:
        """The density: the docstring of the class up to "over [L]"."""
        return _doc(self.load(name)).partition(" over [L]")[0]

    def settings(self, name: str) -> dict[str, str]:
        """Setting → its help, from the section "Attributes" of the class; scalars and words."""
        section = re.search(
            r"^Attributes:\n((?:(?:    .*)?\n)+)", f"{_doc(self.load(name))}\n", re.M
        )
        text = section[1] if section else ""
        entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.M)
        return {setting: re.sub(r"\s+", " ", told) for setting, told in entries}

    def settings_of(self, name: str) -> list[str]:
        """The settings of a name: the fields of its class, in their order."""
        return [field.name for field in dataclasses.fields(self.load(name))]

    def make(self, name: Any, **settings: Any) -> T:
        """Makes one by its name.

        Args:
            name: one of `names()`; a value of the family stays as it is.
            settings: its fields, scalars and words; the others keep their defaults.

        Raises:
            UsageError: the name or a setting is unknown, or a value does not fit.
        """
        if isinstance(name, self.base):
            if settings:
                raise UsageError(
                    f"{self.what}={name}: has its own settings: leave out "
                    f"{', '.join(sorted(settings))}"
                )
            return name
        if not isinstance(name, str):
            raise UsageError(
                f"{self.what}={name!r}: must be a name ({', '.join(self.names())}) or one of "
                f"{self.package}"
            )
        cls = self.load(name)
        cls.refuse_unknown(f"{self.what}={name}", settings)
        return cls(**settings)


def _doc(cls: type) -> str:
    """The docstring of a class, without indentation."""
    return inspect.getdoc(cls) or ""
