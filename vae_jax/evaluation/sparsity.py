"""How sparse codes are: units that never fire, firing rates, and Hoyer's measure.

A rectified or k-sparse unit fires if it is not 0. A sigmoid is never 0, so a threshold is needed:
the mean of all codes, which the penalty of `sparse` with penalty=kl draws to its target. Hoyer's
measure needs no threshold, and no scale of the code changes it.
"""

from typing import Any

import chex
import numpy as np

from vae_jax.errors import UsageError, shown
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import require_finite, with_errors
from vae_jax.evaluation.subject import NotApplicableError

__all__ = ["DEFINITIONS", "evaluate", "hoyer", "measure"]

COST = Cost(place=12, start=1.0)

DEFINITIONS = {
    "num_examples": "N, the examples of the test split",
    "num_units": "L, the dimensions of the code in use",
    "threshold": "above which, in absolute value, a unit fires",
    "num_dead": "units that fire for none of the examples",
    "num_always": "units that fire for each of the examples",
    "firing_rate": "share of an example's units that fire; the mean firing rate of the units",
    "firing_rates": "share of the examples for which each unit fires, descending",
    "mean_activation": "mean of an example's code over its units, in absolute value",
    "num_empty": "examples whose code is 0, left out below",
    "hoyer": "(√L − ‖z‖₁/‖z‖₂)/(√L − 1) of an example: 0 if its units are equal, 1 if one fires",
    "lifetime_hoyer": "the same of a unit over the examples, mean of the units that ever fire",
}
"""The meaning of each entry of `evaluate`; `name_standard_error` is the error of `name`."""


def hoyer(z: np.ndarray) -> np.ndarray:
    """Hoyer's measure of sparseness: (√L − ‖z‖₁ / ‖z‖₂) / (√L − 1).

    Args:
        z: [N, L], L >= 2.

    Returns:
        [N]: 0 if all numbers of a row are equal up to the sign, 1 if one of them is not 0; NaN for
            a row of zeros.

    Reference:
        Hoyer 2004, Non-negative matrix factorization with sparseness constraints, JMLR 5, section
        3.1.
    """
    chex.assert_rank(z, 2)
    size = np.abs(np.asarray(z, np.float64))
    if size.shape[1] < 2:
        raise UsageError(f"z has shape {list(size.shape)}: must have at least 2 columns")
    largest = size.max(axis=1, keepdims=True)
    size = np.divide(size, largest, out=np.full_like(size, np.nan), where=largest > 0)
    root = np.sqrt(size.shape[1])
    return (root - size.sum(axis=1) / np.sqrt(np.square(size).sum(axis=1))) / (root - 1)


def evaluate(codes: np.ndarray, *, threshold: float = 0.0) -> dict[str, Any]:
    """How sparse codes are.

    Args:
        codes: [N, L], L >= 2.
        threshold: a unit fires if its absolute value is above it, a scalar.

    Returns:
        The entries of `DEFINITIONS`; standard errors are over the examples, or over the units for
            `lifetime_hoyer`.

    Raises:
        UsageError: a value is not finite, or there are fewer than 2 units.
    """
    require_finite(codes=codes)
    codes = np.abs(np.asarray(codes, np.float64))
    fires = codes > threshold
    rates = fires.mean(axis=0)
    of_rows = hoyer(codes)
    of_units = hoyer(codes.T) if len(codes) > 1 else np.zeros(0)
    return {
        "num_examples": len(codes),
        "num_units": codes.shape[1],
        "threshold": float(threshold),
        "num_dead": int((rates == 0).sum()),
        "num_always": int((rates == 1).sum()),
        "firing_rates": np.sort(rates)[::-1].tolist(),
        "num_empty": int(np.isnan(of_rows).sum()),
        **with_errors(
            {
                "firing_rate": fires.mean(axis=1),
                "mean_activation": codes.mean(axis=1),
                "hoyer": of_rows[np.isfinite(of_rows)],
                "lifetime_hoyer": of_units[np.isfinite(of_units)],
            }
        ),
    }


def measure(subject, *, threshold: str = "auto") -> dict[str, Any]:
    """How sparse the codes of the test split are.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        threshold: a number at least 0, as text; auto is 0, or the mean of all codes [N, L] if they
            are those of a sigmoid.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`.

    Raises:
        NotApplicableError: z is not continuous, or has one dimension.
        UsageError: the threshold is no number.
    """
    subject.require_continuous()
    if subject.latent_dim < 2:
        raise NotApplicableError("a code of one dimension is not sparse or dense")
    codes = np.asarray(subject.posterior().mean)
    is_sigmoid = getattr(subject.model.latent, "activation", None) == "sigmoid"
    if threshold == "auto":
        return evaluate(codes, threshold=float(codes.mean()) if is_sigmoid else 0.0)
    return evaluate(codes, threshold=_number(threshold))


def _number(text: str) -> float:
    """A threshold from its text, a scalar."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"threshold={shown(text)}: must be auto or a finite number, at least 0")
    return number
