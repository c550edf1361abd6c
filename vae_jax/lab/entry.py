"""How to start this project's commands: from a checkout, or as installed."""

import importlib.util
from pathlib import Path

import vae_jax

__all__ = [
    "words",
]

_MODULES = {"train": "vae"}
"""Commands whose module in `experiments/` has a different name."""


def words(command: str) -> list[str]:
    """Returns the first words of a command line: "python -m experiments.vae" as words.

    Args:
        command: one of `vae_jax.cli.commands`, such as "train".
    """
    name = _MODULES.get(command, command)
    if _is_of_checkout(name):
        return ["python", "-m", f"experiments.{name}"]
    return ["python", "-m", "vae_jax", command]


def _is_of_checkout(name: str) -> bool:
    """Whether `experiments.NAME` can be imported from the checkout of this package."""
    try:
        spec = importlib.util.find_spec(f"experiments.{name}")
    except ModuleNotFoundError:
        return False
    own = Path(vae_jax.__file__).parents[1] / "experiments" / f"{name}.py"
    return spec is not None and spec.origin is not None and Path(spec.origin) == own
