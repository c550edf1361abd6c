"""Paired differences between models: each model on the same examples, and what is between them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import losses, rates
from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import require_finite
from vae_jax.evaluation.subject import NotApplicableError, Subject

__all__ = ["TERMS", "Difference", "difference", "per_example"]

TERMS = {
    "elbo": "−(distortion + rate), one sample of z",
    "rate": "log q(z|x) − log p(z), in closed form if there is one",
    "distortion": "−log p(x|z)",
    "squared_error": "Σ (x − x̂)² over the values of an example",
}
"""What `per_example` measures, each of shape [N]: name → definition; all but the last in nats."""


class Difference(NamedTuple):
    """The mean of paired differences.

    Attributes:
        mean: in the unit of the values, a scalar.
        standard_error: of the mean, in the same unit, a scalar; NaN for a single pair.
        num: number of pairs, a count.
    """

    mean: float
    standard_error: float
    num: int

    @property
    def is_clear(self) -> bool:
        """Whether the mean is more than two standard errors from 0."""
        return abs(self.mean) > 2.0 * self.standard_error


def difference(values: Any, reference: Any) -> Difference:
    """The mean of `values − reference` and its standard error s/√n, s that of the differences.

    What makes an example hard is hard for both models and drops out: the error is smaller than that
    of the difference of two means if the models agree on which examples are hard.

    Args:
        values, reference: numbers of the same N examples, [N] each.

    Raises:
        UsageError: the shapes differ or a value is not finite.
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if values.ndim != 1 or values.shape != reference.shape:
        raise UsageError(
            f"values and reference have shapes {list(values.shape)} and {list(reference.shape)}: "
            "must be both [N]"
        )
    require_finite(values=values, reference=reference)
    gaps = values - reference
    error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    return Difference(float(gaps.mean()), float(error), len(gaps))


def per_example(subject: Subject) -> dict[str, np.ndarray]:
    """The `TERMS` of each test example that the model has, [N] each.

    A model without a prior has no rate and no ELBO; examples with missing numbers, and texts, have
    no squared error. Every model is measured by the same terms, whatever its objective minimized.

    Args:
        subject: a trained model and its data.
    """
    has_bound, has_error = _meets(subject, _require_bound), _meets(subject, _require_numbers)
    has_prior = subject.model.latent.has_prior

    def bound(model, params, x, posterior, key):
        batch = {"x": x, "mask": jnp.ones(len(x))}
        if not has_prior:
            return {"distortion": model.distortion(params, posterior.mode, batch)}
        prior = model.prior(params)
        drawn = rates.walk(posterior, prior, key)
        distortion = model.distortion(params, drawn.z, batch, drawn.read)
        rate = rates.of_draw(posterior, prior, drawn)
        return {"elbo": losses.elbo(distortion, rate), "rate": rate, "distortion": distortion}

    def terms(params, stored, positions):
        x = subject.inputs(stored, positions)
        model = subject.given(params, stored, x)
        found = {}
        if has_bound:
            key = jax.random.fold_in(subject.key, positions[0])
            found = bound(model, params, x, model.encode(params, x), key)
        if has_error:
            gaps = x - model.reconstruct(params, x)
            found["squared_error"] = jnp.sum(gaps**2, axis=tuple(range(1, x.ndim)))
        return found

    found = subject.over(terms)
    return {name: found[name] for name in TERMS if name in found}


def _meets(subject: Subject, require) -> bool:
    """Whether a requirement is met."""
    try:
        require(subject)
    except NotApplicableError:
        return False
    return True


def _require_bound(subject: Subject) -> None:
    """Raises NotApplicableError if the model infers its condition: its bound is a sum over it."""
    if subject.conditions is not None and "condition" not in subject.conditions.test:
        raise NotApplicableError("the model infers its condition")


def _require_numbers(subject: Subject) -> None:
    """Raises NotApplicableError if x is no complete array of numbers."""
    subject.require_complete()
    if subject.model.likelihood.requires in ("text", "columns"):
        raise NotApplicableError("x is no array of numbers of one kind")
