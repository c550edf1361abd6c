"""Trainings in tests share their compiled functions: most take longer to trace than to run."""

import contextlib
import functools
import json
from typing import Any

import jax
import pytest

from vae_jax import fitting, keeping
from vae_jax.lab import build, programs
from vae_jax.program import Program, _Compiled
from vae_jax.storage import provenance

NOT_TRACED = {
    *("workdir", "data_dir", "epochs", "patience", "checkpoint_seconds", "tensorboard", "loggers"),
}
"""Settings of a run on which no compiled function depends."""
OF_FIT = ("objective", "chosen", "batch_size", "model", "optimizer", "preprocess", "binarization")
"""Settings of `fit` on which they depend, beside the names of the others."""
SHARED = [name for name, value in vars(Program).items() if isinstance(value, _Compiled)]
_first: dict[Any, Program] = {}


def share(made: Program, key: Any) -> None:
    """Gives a program the compiled functions of the first one with the same key."""
    first = _first.setdefault(key, made)
    if first is not made:
        vars(made).update({name: getattr(first, name) for name in SHARED})


def _built(build_one):
    def build(resolved, **sizes):
        made = build_one(resolved, **sizes)
        settings = programs.program_settings(resolved.config)
        traced = tuple((name, each) for name, each in settings.items() if name not in NOT_TRACED)
        data = resolved.dataset.sha256, made.streamed
        share(made, (traced, data, made.model.latent_dim, made.layout.mesh, made.layout.num_runs))
        return made

    return build


def _planned(plan):
    def planned(objective, *arguments, **settings):
        made = plan(objective, *arguments, **settings)
        traced = keeping.spelled({name: made.settings[name] for name in OF_FIT})
        data = [keeping.sha256_of(leaf) for leaf in jax.tree.leaves(dict(made.program.splits))]
        key = json.dumps([traced, data, sorted(made.settings)])
        share(made.program, (key, objective, made.program.layout.mesh))
        return made

    return planned


@contextlib.contextmanager
def between_trainings():
    """Inside, a training takes the functions of an earlier one that differs in numbers alone.

    The revision of the code is asked once, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build", _built(build.build))
        patch.setattr(fitting, "_planned", _planned(fitting._planned))
        patch.setattr(provenance, "_git", functools.cache(provenance._git))
        yield
