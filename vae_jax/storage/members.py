"""Loads single runs of a trained program: parameters, settings, latent mask."""

import functools
import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import DivergedError, StorageError, UsageError
from vae_jax.storage import csv_rows, files, runs, seals
from vae_jax.storage.checkpoints import Checkpoints

__all__ = [
    "MAX_LATENT_DIM",
    "Member",
    "Saved",
    "load_member",
    "num_members",
    "owner",
    "read_results",
    "read_rows",
    "sealed_results",
    "settings",
]


MAX_LATENT_DIM = 4096
"""Maximum size of a code in a run, a count."""


class Member(NamedTuple):
    """One run of a program, with the parameters of its results.

    Args:
        params: parameters of the model, a dict of arrays without the axis of runs: the best by
            validation if the run kept those, otherwise the EMA if it has one, otherwise the last.
        settings: the settings of this run, and of its program, from `config.json`.
        latent_dim: L of the arrays, the maximum over the program's runs, a count.
        latent_mask: [L], 1 for the dimensions of this run and 0 for the others, to pass to its
            `Model`; None if it has all of them.
        step: number of steps done, a scalar.
        failure: the step with a loss, gradient or update that was not finite, a scalar; None if
            there was none. The parameters are those before it.
    """

    params: Any
    settings: dict
    latent_dim: int
    latent_mask: jax.Array | None
    step: int
    failure: int | None


def num_members(directory: str | os.PathLike) -> int:
    """The number of runs of the program in a run directory, a count; see `load_member`."""
    return len(settings(directory))


def settings(directory: str | os.PathLike) -> list[dict]:
    """The settings of each run of a program, and of the program: scalars and lists.

    Raises:
        UsageError: the directory does not contain a run, or the run was modified.
    """
    return _settings(Path(directory), _stored(Path(directory))["config"])


def _settings(directory: Path, config: dict) -> list[dict]:
    """The settings of each run, from the config of their program."""
    shared = {name: value for name, value in config.items() if name != "runs"}
    found = [{**shared, **each} for each in config.get("runs", [config])]
    sizes = [each.get("latent_dim") for each in found]
    if not sizes or not all(_is_step(size) and size <= MAX_LATENT_DIM for size in sizes):
        raise _no_config(directory)
    return found


def owner(directory: str | os.PathLike) -> str | None:
    """The id of a run or sweep that seals its files (of any shape); None in schema 1.

    Raises:
        UsageError: the directory does not contain a run, or the run was modified.
    """
    return _stored(Path(directory)).get("id")


class Saved:
    """The runs of a program in its directory; each file is read at most once, when it is needed.

    So the cost of loading all runs of a program grows with their number, not with its square.
    Nothing is written.

    Args:
        directory: directory of the program: a single run, or below `programs/` of a sweep.

    Raises:
        UsageError: of its attributes: the directory holds no run, or the run was modified.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)

    @functools.cached_property
    def settings(self) -> list[dict]:
        """The settings of each run, see `settings`: scalars and lists."""
        return _settings(self.directory, self._config["config"])

    @property
    def owner(self) -> str | None:
        """The id that seals the files of the program (of any shape), see `owner`."""
        return self._config.get("id")

    @functools.cached_property
    def results(self) -> list[dict] | None:
        """The result of each run, or None: see `read_results`; scalars, and lists [L]."""
        return read_results(self.directory)

    @functools.cached_property
    def _config(self) -> dict:
        return _stored(self.directory)

    def member(self, member: int = 0) -> Member:
        """One run, with arrays of the shapes of its model; see `load_member`."""
        known = self.settings
        if not isinstance(member, numbers.Integral) or isinstance(member, bool):
            raise UsageError(f"member={member!r}: must be an integer, a run counted from 0")
        if not 0 <= member < len(known):
            raise UsageError(
                f"member {member}: {self.directory} holds {len(known)} run(s), choose from 0 to "
                f"{len(known) - 1}"
            )
        params, steps, failures = self._trained
        latent_dim, own = self._latent_dim, known[member]["latent_dim"]
        return Member(
            params=jax.tree.map(lambda leaf: jnp.asarray(leaf[member]), params),
            settings=known[member],
            latent_dim=latent_dim,
            latent_mask=None if own == latent_dim else (jnp.arange(latent_dim) < own).astype(float),
            step=int(steps[member]),
            failure=None if failures[member] < 0 else int(failures[member]),
        )

    @functools.cached_property
    def _have_all_diverged(self) -> bool:
        found = self.results or []
        return bool(found) and all(result["status"] == "diverged" for result in found)

    @functools.cached_property
    def _latent_dim(self) -> int:
        return max(each["latent_dim"] for each in self.settings)

    @functools.cached_property
    def _trained(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """Parameters [S, …], steps [S] and failures [S] of the newest verified checkpoint."""
        place = {"set_aside": False, "owner": self.owner or ""}
        with Checkpoints(self.directory / "checkpoints", **place) as store:
            restored = store.read()
        if restored is None:
            raise self._nothing_saved()
        state, best = restored.state["state"], restored.state.get("best")
        params = best["params"] if best else state.get("ema") or state["params"]
        return params, state["step"], state["failure"]

    def _nothing_saved(self) -> DivergedError | StorageError:
        """Why there are no parameters."""
        if self._have_all_diverged:
            return DivergedError(
                f"{self.directory}: every run diverged, none has parameters to be loaded"
            )
        return StorageError(
            f"{self.directory / 'checkpoints'}: no checkpoint that verifies: train it again with "
            "`overwrite=True`, or copy its checkpoints back"
        )


def load_member(directory: str | os.PathLike, member: int = 0) -> Member:
    """Reads one run of a program from its newest verified checkpoint; writes nothing.

    `Saved` reads several runs of one program, and its files once.

    Args:
        directory: directory of the program: a single run, or below `programs/` of a sweep.
        member: index of the run, a count from 0, as in the column `member` of `sweep.csv`.

    Returns:
        `Member`.

    Raises:
        UsageError: there is no such run, or a newer version wrote it.
        DivergedError: all runs of the program diverged before one was saved.
        StorageError: no checkpoint verifies.
    """
    return Saved(directory).member(member)


def read_results(directory: str | os.PathLike) -> list[dict] | None:
    """The results of the runs of a program, in order, from `results.json` or `result.json`.

    Args:
        directory: directory of the program, as in `load_member`.

    Returns:
        For each run its status, its step and, unless it diverged, its metrics (scalars, and lists
            of shape [L]). None if the program has no results yet, or if runs or entries are
            missing: training it again recomputes them.

    Raises:
        UsageError: the directory does not contain a run, or the run was modified.
        StorageError: they cannot be read.
    """
    found = _read_results(Path(directory))
    return None if found is None else found[0]


def sealed_results(results: Sequence[dict], run_id: str | None, metrics_sha256: str) -> list[dict]:
    """Seals the results of a program for its file, see `read_results`.

    Args:
        results: results of each run, scalars and lists of shape [L].
        run_id: id of the program, from `owner`.
        metrics_sha256: hash of the rows of `metrics.csv` at the end of the runs.
    """
    return [
        seals.seal({**result, _ROWS: metrics_sha256}, run_id, member)
        for member, result in enumerate(results)
    ]


def read_rows(directory: str | os.PathLike) -> list[dict]:
    """The rows of a program's `metrics.csv`, if they match its results.

    Args:
        directory: directory of the program, as in `load_member`.

    Returns:
        One dict of scalars per row, in order.

    Raises:
        StorageError: the file cannot be read, or was changed after the results were written; or the
            results are missing or changed.
    """
    path = Path(directory, "metrics.csv")
    found = _read_results(Path(directory))
    is_run = os.path.lexists(Path(directory, "config.json"))
    if found is None and is_run and owner(directory) is not None:
        raise StorageError(f"{path}: no results say which rows are this run's: train it to its end")
    told = None if found is None else found[1]
    if told is not None and csv_rows.rows_sha256(path) != told:
        raise StorageError(f"{path} was changed after it was written (its SHA-256 differs)")
    return csv_rows.read_rows(path)


def _read_results(directory: Path) -> tuple[list[dict], str | None] | None:
    """The results of each run, and the SHA-256 of the rows with them; see `read_results`."""
    for name in ("results.json", "result.json"):
        try:
            stored = files.read_json(directory / name)
        except FileNotFoundError:
            continue
        results = stored if isinstance(stored, list) else [stored]
        run_id = owner(directory)
        bodies = [_unsealed(result, run_id, member) for member, result in enumerate(results)]
        told = [None if body is None else body.pop(_ROWS, None) for body in bodies]
        if len(bodies) == num_members(directory) and all(map(_is_result, bodies)):
            return bodies, told[0]
    return None


def _unsealed(result: Any, run_id: str | None, member: int) -> dict | None:
    """A result without its seal, or None if it was changed or belongs to another member."""
    is_older = run_id is None and isinstance(result, dict) and "seal" not in result
    return dict(result) if is_older else seals.unseal(result, run_id, member)


_ROWS = "metrics_sha256"
"""The key in a results file for the hash of its rows."""
_NO_METRICS = {"status", "step", "split", "diagnosis"}
"""Keys of a result other than metrics."""
_MAY_LACK = {"examples_per_second"}
"""Keys that may be None in a result because they could not be measured in a run of one step."""
_MEASURED = {"loss", "elbo", "rate", "distortion", "squared_error", "accuracy"}
"""Metrics that are stored with a standard error, if a result has one."""


def _is_result(result: Any) -> bool:
    """Whether a value read from a file has the form of a run's result."""
    if not isinstance(result, dict) or not _is_step(result.get("step")):
        return False
    if result.get("status") == "diverged":
        names = result.get("not_finite")
        return isinstance(names, list) and all(isinstance(name, str) for name in names)
    errors = {f"{name}_standard_error" for name in _MEASURED & result.keys()}
    is_whole = result.get("status") in ("done", "stopped early") and "loss" in result
    metrics = errors | result.keys() - _NO_METRICS
    measured = (name for name in metrics if name not in _MAY_LACK or result[name] is not None)
    is_whole = is_whole and _is_diagnosis(result.get("diagnosis", []))
    return is_whole and all(_is_metric(name, result.get(name)) for name in measured)


def _is_diagnosis(value: Any) -> bool:
    """Whether a value is a list of findings: texts by name."""
    keys = {"what", "evidence", "remedy"}
    are_findings = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return are_findings and all(
        each.keys() == keys and all(isinstance(text, str) for text in each.values())
        for each in value
    )


def _is_step(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_metric(name: str, value: Any) -> bool:
    """Whether a value is a number as in `files.write_json`, or for some names a list of them."""
    if name.endswith("_per_dim"):
        return isinstance(value, list) and all(_is_metric("", each) for each in value)
    return type(value) in (int, float) or value in ("nan", "inf", "-inf")


def _other_place(directory: Path) -> str:
    """Suggests another directory if one does not contain a run."""
    below = [*directory.glob("*/config.json"), *directory.glob("programs/*/config.json")]
    if below:
        return f"name one of the {len(below)} below it, such as {min(below).parent}"
    return "name the directory that a training left"


def _stored(directory: Path) -> dict:
    """The contents of `config.json`."""
    path = directory / "config.json"
    try:
        raw = files.read_bytes(path, remedy="restore it, or choose another directory")
        return runs.parse_config(raw, path)
    except FileNotFoundError:
        raise UsageError(
            f"{directory}: holds no run (no config.json); {_other_place(directory)}"
        ) from None
    except ValueError:
        raise _no_config(directory) from None


def _no_config(directory: Path) -> UsageError:
    return UsageError(
        f"{directory / 'config.json'}: is not the config of a run; of a sweep, name one of its "
        "programs/"
    )
