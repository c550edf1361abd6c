"""Messages about a run whose numbers are no longer finite, with a remedy."""

import numpy as np

from vae_jax import objectives
from vae_jax.diagnosis.divergence import slower
from vae_jax.errors import DivergedError
from vae_jax.lab import build as building
from vae_jax.lab import records

__all__ = [
    "NUM_RATES",
    "advice",
    "error",
    "failure_line",
]


NUM_RATES = 9
"""Number of steps before a divergence at which the learning rate is read, a count."""


def failure_line(experiment: building.Experiment, r: int, failure: dict) -> str:
    """Returns what became non-finite in run r (a count), and at which step."""
    bad = ", ".join(failure["not_finite"]) or "the update"
    rate = float(experiment.learning_rates(failure["step"] + 1)[r])
    which = "" if experiment.is_single else f"run {r} ({experiment.differences[r]}): "
    return f"{which}{bad} became non-finite at step {failure['step']} (learning rate {rate:.3g})"


def error(experiment: building.Experiment, ended: records.Ended) -> DivergedError:
    """Returns the error for a program in which all runs diverged, with a remedy."""
    failures = list(ended.failures.values())
    kept = f"last finite checkpoint {ended.saved_step}; " if ended.saved_step is not None else ""
    told = f"all {len(experiment.configs)} runs diverged: "
    slower = "smaller values of `learning_rate`"
    if experiment.is_single:
        told = f"{failure_line(experiment, 0, failures[0])}; {kept}"
        slower = _slower(experiment, failures[0]["step"])
    is_first = all(failure["step"] == 0 and failure["not_finite"] for failure in failures)
    remedy = _advice_at_first(experiment) if is_first else advice(experiment, slower)
    return DivergedError(f"{told}try {remedy}, with another `workdir` or `overwrite=True`")


def _slower(experiment: building.Experiment, step: int) -> str:
    """Suggests a learning rate for a run that diverged after a number of steps, a scalar above 0.

    The rate may have been too large at an earlier step than the last one.
    """
    steps = np.linspace(1, step, NUM_RATES).astype(int)
    rate = max(float(experiment.learning_rates(each)[0]) for each in steps)
    return slower(rate)


def _advice_at_first(experiment: building.Experiment) -> str:
    """The remedy if the first loss is not finite: the learning rate is not the cause."""
    # not those of a prior or a posterior, which are words and counts
    known = experiment.resolved.hyperparameters.items()
    own = sorted(name for name, hyperparameter in known if not hyperparameter.is_static)
    return " or ".join(["a smaller `init_scale`", *(f"another `{name}`" for name in own)])


def advice(experiment: building.Experiment, slower: str) -> str:
    """The remedy after a divergence: lower learning rates, since clipping does not limit Adam.

    Args:
        experiment: the program that diverged.
        slower: a lower learning rate, as text.
    """
    own = objectives.optimizer_settings(experiment.config.objective)
    return " or ".join([slower, *(f"a smaller `{name}`" for name in own)])
