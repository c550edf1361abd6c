"""The console script: `vae-jax train --beta=4`, or `python -m vae_jax train --beta=4`."""

import sys

from vae_jax import console, discovery
from vae_jax.cli import beginning, commands, garbage_collection
from vae_jax.errors import UsageError

__all__ = ["main", "page", "start"]

_HELP = ("help", "--help", "-h", "-help")
_COMMANDS = commands.__name__


def main() -> None:
    """Runs the command that the first argument names."""
    argument = sys.argv[1] if len(sys.argv) > 1 else "help"
    if argument in _HELP:
        console.say_page(page())
        return
    try:
        discovery.find(_COMMANDS, argument, "command")
    except UsageError as error:
        console.say(f"error: {error}", is_error=True)
        sys.exit(error.exit_code)
    # flags follow the name of the program, as for a module
    sys.argv[:2] = [f"vae-jax {argument}"]
    start(argument)


def start(name: str) -> None:
    """Runs a command with the flags in `sys.argv`, and exits.

    Args:
        name: name of a module in `vae_jax.cli.commands`.
    """
    # before slow imports
    beginning.begin()
    with garbage_collection.paused():
        command = discovery.load(_COMMANDS, name, "command")
    command.run()


def page() -> str:
    """Returns the text that lists the commands."""
    names = discovery.names(_COMMANDS)
    lines = [f"  {name:<10} {discovery.summary(_COMMANDS, name)}" for name in names]
    usage = ["vae-jax COMMAND --flag=value …", "", *lines, ""]
    return "\n".join([*usage, "vae-jax COMMAND --help lists the flags of a command."])
