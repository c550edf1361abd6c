"""Where the programs of a sweep are trained, if not in this process. One file each, by its name.

An executor is a module with these functions, and with `IS_QUEUED`, whether `run` returns before its
tasks have ended:

    parse(text, num_workers) → settings, from the text of its flag, or UsageError
    recorded(tasks, folder) → outcomes of what an earlier call has left queued, running or failed
    cancel(folder) → names of the jobs of a sweep that were queued or running, and no more are
    preview(tasks, folder, settings) → what would be run, as text; writes nothing
    run(tasks, folder, settings) → outcomes; waits for the tasks, or returns when they are queued

It starts commands `python -m …` that resume where they stopped, so that the same call trains only
what is missing. Modules with a leading underscore are what several share.
"""

from types import ModuleType

from vae_jax import discovery
from vae_jax.lab.executors._task import Outcome, Task

__all__ = ["Outcome", "Task", "load", "names"]


def names() -> list[str]:
    """Names of the executors, sorted."""
    return discovery.names(__name__)


def load(name: str) -> ModuleType:
    """The module of an executor, a scalar; UsageError if there is none of that name."""
    return discovery.load(__name__, name, "executor")
