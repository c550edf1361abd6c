"""A likelihood worse than an independent baseline: the best model that ignores z."""

import numpy as np

from vae_jax.diagnosis import overfitting, under_training
from vae_jax.evaluation import collapse
from vae_jax.evaluation._shared import mean_and_error
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["ERRORS", "find", "measure"]

ERRORS = 3.0
"""How far below the baseline, in standard errors (a scalar)."""


def measure(subject) -> dict[str, float | None]:
    """The ELBO of the test split less the score of the best model that ignores z, in nats.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`, rows [N, *shape].

    Returns:
        {"above", "error"}, scalars.

    Raises:
        NotApplicableError: the posterior is not Gaussian, or there is no such model.
    """
    subject.require_gaussian_posterior()
    elbo, floor = collapse.elbo_and_floor(subject)
    if elbo is None:
        raise NotApplicableError("there is no model that ignores z for such x")
    above, error = mean_and_error(np.float64(elbo) - np.float64(floor))
    return {"above": above, "error": error}


def find(evidence):
    """Whether the ELBO is below that baseline by more than `ERRORS`.

    Args:
        evidence: of a run whose `measured["baseline"]` has scalars.
    """
    found = evidence.measured.get("baseline")
    if found is None or found["error"] is None:
        return None
    if found["above"] > -ERRORS * found["error"]:
        return None
    told = (
        f"the ELBO is {-found['above']:.3g} ± {found['error']:.2g} nats below that of independent "
        "columns, a model that ignores z"
    )
    return told, _remedy(evidence)


def _remedy(evidence) -> str:
    beta = evidence.last("beta")
    if evidence.last("variance") is not None:
        return "take variance=learned"
    if beta is not None and beta < 1:
        return "take beta=1"
    is_overfit = overfitting.find(evidence) is not None
    return "take patience=10" if is_overfit else under_training.longer(evidence, 10)
