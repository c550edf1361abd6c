"""What each program does first, before the imports that take a second."""

import sys
import warnings

from vae_jax.cli import garbage_collection
from vae_jax.errors import printable
from vae_jax.lab import environment, interrupts

__all__ = [
    "begin",
]


def begin() -> None:
    """Has signals end the program, settles what its variables may decide, and imports JAX.

    A value of a variable that JAX refuses ends the program in one line, with the code of a usage
    error.
    """
    interrupts.exit_at_once()
    environment.settle()
    # `devices.warning` says it, with a remedy
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
