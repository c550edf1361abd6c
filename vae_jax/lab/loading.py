"""Loads a run directory, a member of a sweep or an exported file as `vae_jax.Trained`."""

import os
from pathlib import Path
from typing import Any

from vae_jax import errors, keeping
from vae_jax.errors import StorageError, UsageError, unknown
from vae_jax.lab import metrics
from vae_jax.lab import places as places_lib
from vae_jax.storage import exported, hub, members
from vae_jax.trained import Trained

__all__ = ["load", "of_run"]


def load(path: str | os.PathLike, **options: Any) -> Trained:
    """Loads a trained model: a run, a member of a sweep, or an exported file.

    Args:
        path: path of a run directory, of a program of a sweep (with `member`), or of a file written
            by `exported.save` or the export command; or the address of a repository of a hub,
            "hf://user/name" or "hf://user/name@revision", see `storage.hub`.
        options: for a directory: `member`, the index of one of several runs, a count; `data_dir`,
            the current folder of its data. For a file: `encoder` and `decoder`, your own modules
            that it names.

    Returns:
        `Trained`, arrays with the shapes of its model. A run includes its data, so that it can be
            evaluated; a file does not.

    Raises:
        UsageError: there is no run or file, or there are several runs and none is selected.
        DataError: the data of a run differ from those it was trained on.
        DivergedError: the run diverged.
        StorageError: a file cannot be read, or was changed.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UsageError(
            f"path={errors.shown(path)}: must be the path of a run directory or an exported file: "
            "give load('runs/name'), for example"
        )
    shown = os.fspath(path)
    is_folder = os.path.isdir(shown) and not hub.is_address(shown)
    known = ("member", "data_dir") if is_folder else ("encoder", "decoder")
    for name in options.keys() - known:
        raise unknown(f"option of load for a {'directory' if is_folder else 'file'}", name, known)
    if is_folder:
        return of_run(shown, **options)
    if hub.is_address(shown):
        shown = os.fspath(hub.fetch(shown))
    if not os.path.lexists(shown):
        raise UsageError(
            f"{shown}: no such file or directory: name a run directory or an exported file"
        )
    model, params = exported.load(shown, **options)
    about = exported.description(shown)["about"]
    about = about if isinstance(about, dict) else {"about": about}
    return Trained(model, params, step=about.get("step"), about=about)


def of_run(
    path: str | os.PathLike, member: int | None = None, data_dir: str | os.PathLike | None = None
) -> Trained:
    """Loads a run, its data and its history; writes nothing.

    It also sets, for this process, the precision of matrix products with which the run was trained.

    Args:
        path: path of a run, of a sweep, or of one program of it.
        member: index of one of several runs, a count from 0.
        data_dir: current folder of its data; None means the folder used in training.

    Raises:
        UsageError: the directory holds no run, or several and none is selected.
        DataError, DivergedError, StorageError: see `metrics.load`.
    """
    directory = Path(path)
    if data_dir is not None and not isinstance(data_dir, str | os.PathLike):
        raise UsageError(f"data_dir={errors.shown(data_dir)}: must be the path of a folder")
    if (directory / keeping.NAME).exists():
        raise UsageError(
            f"{directory}: holds the checkpoints of a fit, without its model: call fit with the "
            f"same arguments and checkpoint={str(directory)!r}, which resumes"
        )
    places = places_lib.choose(directory, None if member is None else str(member))
    if len(places) > 1:
        raise UsageError(
            f"{directory}: holds {len(places)} runs: name one, such as "
            f"load({str(places[0].directory)!r}, member={places[0].member})"
        )
    place = places[0]
    loaded = metrics.load(
        place.directory, place.member, None if data_dir is None else os.fspath(data_dir)
    )
    model, params = metrics.alone(loaded)
    experiment, result = loaded.experiment, _result(place)
    return Trained(
        model,
        params,
        history=_history(place),
        step=loaded.member.step,
        status=result.get("status", "unfinished"),
        best_epoch=result.get("best_epoch"),
        dataset=experiment.dataset,
        preprocess=experiment.preprocess,
        conditions=experiment.given,
        program=experiment,
        about={"settings": loaded.member.settings, "result": result or None},
    )


def _result(place: metrics.Place) -> dict[str, Any]:
    """The result of the run; {} if it has not ended."""
    results = members.read_results(place.directory)
    return {} if results is None else results[place.member]


def _history(place: metrics.Place) -> tuple[dict[str, Any], ...]:
    """The rows of the run's epochs; () if its results, which verify them, do not exist yet."""
    try:
        rows = members.read_rows(place.directory)
    except (FileNotFoundError, StorageError):
        return ()
    own = [row for row in rows if row.get("run", place.member) == place.member]
    return tuple({name: value for name, value in row.items() if name != "run"} for row in own)
