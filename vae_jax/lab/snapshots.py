"""Snapshots: fixed inputs reconstructed, and fixed codes decoded, in the course of training.

Each is kept in a file of its own at the end of its epoch, before the next checkpoint, so that a
training that was killed has all snapshots up to the checkpoint from which it goes on.
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import plots, training
from vae_jax.devices import processes
from vae_jax.errors import StorageError
from vae_jax.lab.pictures import _seen
from vae_jax.storage import files

__all__ = ["FOLDER", "Snapshot", "Snapshots", "epochs", "read"]

FOLDER = "snapshots"
"""Folder of a run with a file for each snapshot."""


class Snapshot(NamedTuple):
    """Pictures at the end of an epoch.

    Attributes:
        epoch: a count; 0 is before training.
        inputs: [F, H, W, C].
        reconstructions: of the inputs, [F, H, W, C].
        samples: decoded from the same random numbers each time, [F, H, W, C]; F is 0 if there is
            no prior.
    """

    epoch: int
    inputs: np.ndarray
    reconstructions: np.ndarray
    samples: np.ndarray


def epochs(num_epochs: int, asked: int) -> list[int]:
    """The epochs of at most `asked` snapshots, evenly spaced from 0 to the last (scalars)."""
    return sorted({*np.rint(np.linspace(0, num_epochs, asked)).astype(int).tolist()})


class Snapshots:
    """Takes the snapshots of a run while it is trained.

    Args:
        run: the open run.
        experiment: of the one run, on images.
    """

    def __init__(self, run, experiment):
        self._run, self._layout = run, experiment.layout
        self._steps_per_epoch = experiment.train.steps_per_epoch
        num_epochs = experiment.num_steps // self._steps_per_epoch
        self._epochs = {*epochs(num_epochs, experiment.config.snapshots)}
        hparams = jax.tree.map(lambda leaf: leaf[0], self._layout.read(experiment.hparams))
        data_key, self._key = jax.random.split(training.stream(hparams.seed, "pictures"))
        self._batch = _few(experiment, data_key)
        self._show = jax.jit(_shower(experiment, training.masked(experiment.model, hparams)))

    def take(self, step: int, state: training.State) -> None:
        """Keeps a snapshot if an epoch of one ended with this step; state [S, …]."""
        epoch, rest = divmod(step, self._steps_per_epoch)
        if rest or epoch not in self._epochs:
            return
        params = self._layout.read(state.params if state.ema is None else state.ema)
        processes.on_first(lambda: self._write(epoch, jax.tree.map(lambda leaf: leaf[0], params)))

    def _write(self, epoch: int, params) -> None:
        """Writes the file of an epoch, of parameters of one run, leaves of any shape."""
        shown = self._show(params, self._batch, self._key)
        num = 3 * len(self._batch["x"]) * (len(self._epochs) + 1)
        made = [plots.shrink(np.asarray(x, np.float32), num) for x in (self._batch["x"], *shown)]
        content = io.BytesIO()
        np.savez_compressed(content, **dict(zip(Snapshot._fields[1:], made, strict=True)))
        path = _path(self._run.directory, epoch)
        files.write_bytes(path, content.getvalue(), root=self._run.directory)


def read(directory: Path, num_epochs: int, asked: int) -> list[Snapshot]:
    """The snapshots of a run, by epoch; those that are not there or damaged are left out.

    Args:
        directory: of the run.
        num_epochs, asked: see `epochs`.
    """
    found = []
    for epoch in epochs(num_epochs, asked):
        try:
            content = io.BytesIO(files.read_bytes(_path(directory, epoch)))
            with np.load(content, allow_pickle=False) as held:
                found.append(Snapshot(epoch, *(held[name] for name in Snapshot._fields[1:])))
        except (OSError, StorageError, KeyError, ValueError, zipfile.BadZipFile):
            continue
    return found


def _path(directory: Path, epoch: int) -> Path:
    return files.inside(directory, FOLDER, f"epoch-{epoch:06d}.npz")


def _few(experiment, key) -> dict:
    """The few test examples that pictures show, as a batch of arrays [F, …]."""
    labels = experiment.dataset.test.labels
    labels = None if labels is None else labels[: _seen.NUM_EXAMPLES]
    few, rows = _seen.few_of(experiment, labels), {}
    for start, batch in _seen.batches_of(experiment, key):
        last = start + len(batch["x"])
        for place, number in enumerate(few):
            if start <= number < last:
                rows[place] = {name: each[number - start] for name, each in batch.items()}
    return {name: jnp.stack([rows[place][name] for place in range(len(few))]) for name in rows[0]}


def _shower(experiment, model):
    """(params, batch [F], key) to the reconstructions and the samples, [F, *shape] each."""
    given, has_prior = experiment.loss_fn.given, model.latent.has_prior

    def show(params, batch, key):
        x = batch["x"]
        own = model if given is None else given(model, params, batch)
        like = x if model.likelihood.is_joint else None
        made = own.decode_mean(params, own.encode(params, x).mode, like)
        if not has_prior:
            return made, made[:0]
        z_key, x_key = jax.random.split(key)
        z = model.prior(params).sample(z_key, len(x))
        if model.reads_x:
            return made, own.sample_given(params, x_key, z)[0]
        return made, own.decode_mean(params, z)

    return show
