"""Evaluates trained runs: `python -m experiments.evaluate --run=DIR --member=3`."""

if __name__ == "__main__":
    from experiments import interrupts

    # before the imports that take a second
    interrupts.exit_at_once()

import json
from pathlib import Path

import jax
import numpy as np

from experiments import build as building
from experiments import cli, config, train
from vae_jax import members, runs
from vae_jax.errors import DivergedError, StorageError, UsageError
from vae_jax.evaluation.elbo import active_units

DESCRIPTION = (
    "Evaluates a trained run, or one run of a sweep's program, on the test split from its newest "
    "verified checkpoint, and prints its terms; the run directory is only read."
)


def evaluate(directory: str | Path, member: int, data_dir: str | None = None) -> dict:
    """The objective's terms of one run on the test split, as its `result.json` has them.

    Args:
        directory: of a program: a run directory, or one below `programs/` of a sweep.
        member: which of its runs, a count from 0.
        data_dir: where datasets lie; None means where they lay in training.

    Returns:
        Terms and standard errors in nats, active units.

    Raises:
        UsageError: there is no such run.
        DivergedError: it diverged.
        StorageError: its files cannot be read.
    """
    loaded = members.load_member(directory, member)
    if loaded.failure is not None:
        raise DivergedError(f"member {member} of {directory} diverged at step {loaded.failure}")
    asked = read_config(Path(directory), member, data_dir)
    dataset = train.load(asked)
    resolved = config.resolve(asked, dataset)
    experiment = building.build([resolved], dataset, latent_dim=loaded.latent_dim)
    place = experiment.layout.place
    params = place(jax.tree.map(lambda leaf: np.asarray(leaf)[None], loaded.params))
    steps = place(np.full(1, loaded.step, np.int32))
    params = building.frozen(experiment, params)
    evaluated = building.evaluate(experiment, params, "test", steps)
    terms = {name: float(value[0]) for name, value in evaluated.terms.items()}
    errors = {f"{n}_standard_error": float(v[0]) for n, v in evaluated.standard_errors.items()}
    units = int(active_units(evaluated.mean_variance[0]).sum())
    return {"member": member, "step": loaded.step, **terms, **errors, "active_units": units}


def read_config(directory: Path, member: int, data_dir: str | None) -> config.Config:
    """The `Config` that a run of a program was trained with."""
    path = directory / "members.json"
    try:
        given = json.loads(path.read_bytes())[member]
        values = dict(flag.removeprefix("--").split("=", 1) for flag in given)
    except (OSError, ValueError, IndexError, AttributeError) as error:
        raise StorageError(f"{path} cannot be read ({error}): use the run as it was left") from None
    if data_dir is not None:
        values["data_dir"] = data_dir
    return config.from_flags(values)


def main(values: dict) -> None:
    """Evaluates what the flags name."""
    if values["run"] is None:
        raise UsageError("--run: name a run directory, such as --run=runs/digits-beta=4")
    count = members.num_members(values["run"])
    chosen = range(count)
    if values["member"] is not None:
        chosen = [config.parse_flag("member", values["member"], config.integer(0, count - 1))]
    for member in chosen:
        try:
            result = evaluate(values["run"], member, values["data_dir"])
        except DivergedError as error:
            if len(chosen) == 1:
                raise
            runs.say(str(error))
            continue
        terms = [
            f"{name} {result[name]:.2f} ± {result[f'{name}_standard_error']:.2f}"
            for name in ("loss", "elbo", "rate", "distortion")
            if name in result
        ]
        runs.say(
            f"member {member} at step {result['step']}; test, nats per example: "
            f"{', '.join(terms)}; {result['active_units']} active units"
        )


if __name__ == "__main__":
    cli.start(
        main,
        {
            "run": "directory of a run, or of a program of a sweep (runs/…/programs/all)",
            "member": "which run of the program, from 0 (default: all)",
            "data_dir": "where datasets lie (default: where they lay in training)",
        },
        DESCRIPTION,
        example="python -m experiments.evaluate --run=runs/digits-beta=4",
    )
