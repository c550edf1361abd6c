"""The first steps of each program, before slow imports."""

import contextlib
import sys
import warnings

from vae_jax import console
from vae_jax.cli import garbage_collection
from vae_jax.errors import printable
from vae_jax.lab import environment, interrupts

__all__ = [
    "begin",
    "end",
]

_STARTING = contextlib.ExitStack()


def begin() -> None:
    """Installs signal handlers, settles environment variables, and imports JAX.

    If JAX refuses the value of a variable, the program ends with one line and the exit code of a
    usage error.
    """
    interrupts.exit_at_once()
    _STARTING.enter_context(console.doing("starting"))
    environment.settle()
    # `devices.warning` reports it, with a remedy
    warnings.filterwarnings("ignore", "JAX plugin .* not compatible", RuntimeWarning)
    with garbage_collection.paused():
        try:
            import jax  # noqa: F401
        except ValueError as error:
            told = printable(str(error))  # it quotes the value
            sys.stderr.write(
                f"error: JAX refuses one of its variables ({told}): correct or unset it\n"
            )
            sys.exit(2)


def end() -> None:
    """Ends what `begin` says of imports."""
    _STARTING.close()
