"""The result of each run: its numbers on the test split, and a one-line summary."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from vae_jax.lab import build as building
from vae_jax.lab import records, tables
from vae_jax.program import (
    latent_use,
)

__all__ = [
    "columns",
    "make_results",
    "summary",
]


def make_results(
    experiment: building.Experiment, ended: records.Ended, params, once: Callable
) -> list[dict]:
    """The result of each run: the objective's terms on the test split, with one sample of z each.

    Args:
        experiment: from `build`.
        ended: the end of the training.
        params: parameters with a fixed density, [S, …].
        once: (split, function that measures it) → its numbers, measured now or before an
            interruption: `Parts.once`.
    """
    steps = experiment.layout.read(ended.carried.state.step)
    found: dict[str, Any] = {}
    for split in ("test", "valid") if len(experiment.dataset.valid) else ("test",):

        def measure(split=split):
            return columns(experiment, params, split, ended.carried.state.step)

        found |= once(split, measure)
    if ended.carried.best is not None:
        found["best_epoch"] = experiment.layout.read(ended.carried.best["epoch"]).tolist()
    configs, dataset = experiment.configs, experiment.dataset
    sizes = {config.latent_dim for config in configs}
    num_parameters = {size: experiment.resolved.num_parameters(size) for size in sizes}
    results = []
    for r, step in enumerate(steps.tolist()):
        result = {name: values[r] for name, values in found.items()}
        if str(r) in ended.failures or not math.isfinite(result["loss"]):
            failure = ended.failures.get(str(r), {"step": step, "not_finite": ["test loss"]})
            results.append({"status": "diverged", **failure})
            continue
        status = "done" if step == experiment.num_steps else "stopped early"
        results.append({"status": status, "step": step, "split": "test", **result})
        if "rate_per_dim" in result:
            # the program has the dimensions of its largest run
            results[-1]["rate_per_dim"] = result["rate_per_dim"][: configs[r].latent_dim]
        results[-1] |= {
            "num_samples": 1,
            "num_examples": len(dataset.test),
            "num_parameters": num_parameters[configs[r].latent_dim],
        }
    return results


def columns(experiment: building.Experiment, params, split: str, steps) -> dict[str, list]:
    """The numbers of a split by name, a list over the runs each; see `make_results`.

    Args:
        experiment, params: see `make_results`.
        split: "test", with errors and the use of the latent dimensions, or "valid".
        steps: number of steps done by each run, [S].
    """
    evaluated = building.evaluate(experiment, params, split, steps)
    prefix = "" if split == "test" else f"{split}_"
    found: dict[str, Any] = {f"{prefix}{n}": values for n, values in evaluated.terms.items()}
    if split == "test":
        errors = evaluated.standard_errors.items()
        found |= {f"{name}_standard_error": values for name, values in errors}
        found |= building.num_examples_of(evaluated)
        found |= latent_use(evaluated)
        if "elbo" in evaluated.terms:
            found |= building.in_units(experiment, evaluated.terms["elbo"])
    return {name: np.asarray(values).tolist() for name, values in found.items()}


def _over(result: dict, name: str) -> str:
    """The number of examples in a mean, as text, if it is not over all of them."""
    num = result.get(f"{name}_num_examples", result.get("num_examples"))
    return "" if num == result.get("num_examples") else f" (of {num} known)"


def summary(result: dict) -> str:
    """A one-line summary of the result."""
    if result["status"] == "diverged":
        bad = ", ".join(result["not_finite"]) or "the update"
        return f"diverged: {bad} became non-finite at step {result['step']}"
    # a file stores only finite numbers
    result = {name: tables.plain(value) for name, value in result.items()}
    precision = {
        **dict.fromkeys(("loss", "elbo", "rate", "distortion"), (".2f", ".2f")),
        "accuracy": (".4f", ".4f"),
        "squared_error": (".4g", ".2g"),
    }
    terms = [
        f"{name.replace('_', ' ')} {result[name]:{of_value}} ± "
        f"{result[f'{name}_standard_error']:{of_error}}{_over(result, name)}"
        for name, (of_value, of_error) in precision.items()
        if name in result
    ]
    if "active_share" in result:
        terms.append(f"active share {result['active_share']:.3g}")
    if "active_units" in result and "rate_per_dim" not in result:
        terms.append(f"{result['active_units']} active units")
    units = ("bits_per_character", "nats_per_step")
    terms += [f"{result[u]:.3f} {u.replace('_', ' ')}" for u in units if u in result]
    best = f" (parameters of epoch {result['best_epoch']})" if "best_epoch" in result else ""
    return (
        f"{result['status']} at step {result['step']}{best}; test, nats per example: "
        f"{', '.join(terms)}"
    )
