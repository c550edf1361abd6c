"""Writes a trained run as one small file.

`vae_jax.storage.exported` reads the file, without training code, checkpoints or data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import console
from vae_jax.cli import command as cli
from vae_jax.errors import StorageError, UsageError
from vae_jax.lab import entry, metrics, report
from vae_jax.lab import places as places_lib
from vae_jax.storage import exported, members

__all__ = [
    "BINARIZED",
    "DESCRIPTION",
    "FLAGS",
    "SUFFIX",
    "TOLD",
    "about",
    "main",
    "ratings",
    "run",
    "scaling",
    "without_folders",
]

DESCRIPTION = (
    "Writes a trained run as one file for sharing, from the newest verified checkpoint: its "
    "weights as safetensors, and what they are to be read with. exported.load of vae_jax makes a "
    "model of it; a reader without vae_jax finds plain arrays, by name."
)
SUFFIX = ".safetensors"
FLAGS = {
    "run": "directory of a run, or of one program of a sweep (runs/…/programs/all)",
    "member": "which run of the program, from 0 (default: the only one)",
    "to": f"the file, which ends in {SUFFIX} (default: in the run's directory model{SUFFIX}, or "
    f"model-3{SUFFIX} of member 3 of several)",
    "data_dir": "where datasets lie, or files that moved (default: where they lay in training)",
}
"""Flag → its help line."""
BINARIZED = {
    "dynamic": "; then 1 with this probability, else 0",
    "threshold": "; then 1 above 0.5, else 0",
}
"""The further processing of gray levels, by the name of the binarization."""
TOLD = (
    *("name", "kind", "low", "high", "num_levels", "alphabet", "has_missing"),
    *("classes", "factor_names", "factor_sizes"),
)
"""Fields of a `Dataset` that are stored in a file."""


def main(values: dict) -> None:
    """Exports the run that the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    place = places_lib.only(values["run"], values["member"])
    path = places_lib.beside(place, values["to"], "model", SUFFIX)
    trained = metrics.load(place.directory, place.member, values["data_dir"])
    model, params = metrics.alone(trained)
    try:
        exported.save(path, model, params, about(trained, place))
    except StorageError as error:
        raise StorageError(f"--to: {error}") from None
    console.say(f"{place.name} at step {report.told_step(trained)}: {path.stat().st_size:,} bytes")
    console.say(f"in {path}: model, params = vae_jax.storage.exported.load({str(path)!r})")


def about(trained: metrics.Trained, place: metrics.Place) -> dict:
    """The information in the file beside the model: its origin, and the meaning of x."""
    member, dataset = trained.member, trained.experiment.dataset
    settings = without_folders(member.settings, dataset.name)
    results = members.read_results(place.directory)
    result = None if results is None else results[place.member]
    is_of_step = result is not None and result["step"] == member.step
    given = trained.experiment.given
    return {
        "settings": settings,
        "step": member.step,
        "result": result if is_of_step else None,
        "data": {name: getattr(dataset, name) for name in TOLD}
        | scaling(dataset, trained.experiment.config.binarization)
        | ({} if dataset.schema is None else {"schema": dataset.schema.as_json()})
        | ratings(dataset),
        "condition": given and {"what": given.what, "num": given.num, "names": given.names},
    }


def without_folders(settings: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The settings of a run without the folders of its data on this machine.

    Args:
        settings: by name.
        dataset: name of its dataset, which is kept.
    """
    found = dict(settings)
    for name in ("dataset", "test_data"):
        if found.get(name) not in (None, dataset):
            found[name] = Path(found[name]).name
    return found


def ratings(dataset) -> dict:
    """How ratings were read, and the items [D]; {} of other data."""
    if dataset.ratings is None:
        return {}
    return {"ratings": dataset.ratings.given(), "columns": [*dataset.columns]}


def scaling(dataset, binarization: str | None) -> dict:
    """How stored values become x: in words, and with the numbers of each column."""
    scaled, told, numbers = dataset.scaling, "the values as they are", None
    if scaled is not None:
        cut = ", below 0 made 0 and above 1 made 1" if scaled.is_cut else ""
        told = f"(value − offset) / scale{cut}, of each column where there are several"
        numbers = {name: np.ravel(getattr(scaled, name)).tolist() for name in ("offset", "scale")}
    elif dataset.schema is not None and dataset.scaling is None:
        told = "cells as the schema encodes them, vae_jax.schema.from_json(schema).encode(rows)"
    elif dataset.alphabet is not None:
        num = len(dataset.alphabet)
        told = f"k / {num} of the k-th of {num} characters, 0 of the end, NaN after it"
    elif dataset.num_levels is not None:
        most = dataset.num_levels - 1
        told = f"k / {most} of level k, from 0 to {most}"
    return {"x": f"{told}{BINARIZED.get(binarization, '')}", "scaling": numbers}


def run() -> None:
    """Parses the flags of an export from `sys.argv`, writes the file, and exits."""
    example = [*entry.words("export"), "--run=runs/digits-beta=4", "--to=model.safetensors"]
    cli.start(main, FLAGS, DESCRIPTION, example=" ".join(example))
