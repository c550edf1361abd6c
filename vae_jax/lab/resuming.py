"""The start of training: the newest checkpoint of a run, or step 0."""

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.errors import UsageError
from vae_jax.lab import build as building
from vae_jax.lab import records
from vae_jax.program import (
    Carried,
    begin,
    target,
    with_fillers,
)
from vae_jax.storage import checkpoints

__all__ = [
    "ROWS",
    "bytes_needed",
    "placed",
    "resume",
    "store",
]


ROWS = "metrics_sha256"
"""The key in a checkpoint for the hash of the rows in `metrics.csv` when it was saved."""


def store(run, **settings) -> checkpoints.Checkpoints:
    """The checkpoints of a run."""
    return checkpoints.Checkpoints(run.path("checkpoints"), owner=run.owner, **settings)


def resume(run, experiment: building.Experiment, store) -> records.Begun:
    """Restores the newest checkpoint, or makes the initial state."""

    def restore():
        restored = store.restore(target(experiment))
        if restored is not None:
            _refuse_fewer_epochs(run, experiment, restored.step)
        if restored is None:
            run.keep_rows(-1, None)
            return None
        run.log(f"resuming at step {restored.step}", echo=True)
        if not run.keep_rows(restored.step, restored.config.get(ROWS)):
            run.log(
                "metrics.csv is not as it was written: what was there is kept in damaged/, and the "
                f"rows before step {restored.step} are missing from now on",
                echo=True,
            )
        return restored

    restored = processes.on_first(restore)
    layout = experiment.layout
    if not processes.agree(restored is not None):
        carried = begin(experiment)
        step, spent, failures = 0, records.Spent(), {}
    else:
        carried = placed(experiment, restored)
        step = processes.agree(0 if restored is None else restored.step)
        notes = processes.agree_on_json(None if restored is None else restored.config)
        failures = notes.pop("failures")
        notes.pop(ROWS, None)
        spent = records.Spent(**notes)
    stopped = with_fillers(layout, layout.read(carried.state.stopped))
    state = carried.state.replace(stopped=layout.place_slots(stopped))
    is_resumed = processes.agree(restored is not None)
    return records.Begun(carried._replace(state=state), spent, failures, step, is_resumed)


def placed(experiment: building.Experiment, restored) -> Carried:
    """Copies the state that the first process restored to the devices of all processes."""
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target(experiment))
    state = zeros if restored is None else jax.tree.map(np.asarray, restored.state)
    return experiment.layout.place(processes.agree(state))


def bytes_needed(experiment: building.Experiment) -> int:
    """Bytes for three checkpoints, one that is being written, and 16 MiB of pictures and logs."""
    leaves = jax.tree.leaves(target(experiment))
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + 2**24


def _refuse_fewer_epochs(run, experiment: building.Experiment, step: int) -> None:
    if step > experiment.num_steps:
        trained = step // experiment.train.steps_per_epoch
        raise UsageError(
            f"epochs={experiment.config.epochs}: {run.directory} has trained {trained} epochs "
            "already, give at least as many"
        )
