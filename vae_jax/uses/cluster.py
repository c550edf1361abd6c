"""The cluster of each row, if the prior is a mixture."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError
from vae_jax.uses._use import Use

__all__ = ["Cluster"]


@dataclasses.dataclass(frozen=True)
class Cluster(Use):
    """The most likely component of a mixture prior, and its probability.

    p(k|x) = E p(k|z) over q(z|x), the mean of several draws; k from 0

    Attributes:
        answer: component gives the columns cluster and cluster_probability; probabilities gives
            p(k|x) of each component.
        num_samples: draws of z for each row.

    Reference:
        Jiang et al. 2017, Variational Deep Embedding, arXiv 1611.05148, equation 16.
    """

    answer: str = "component"
    num_samples: int = 10

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"answer": ("component", "probabilities")}

    @property
    def rows_per_row(self):
        """The draws of z."""
        return self.num_samples

    def check(self, model):
        """The prior of codes [L] must have components."""
        has_parts = False
        if model.prior_family is not None:
            shapes = model.param_shapes()
            has_parts = hasattr(jax.eval_shape(model.prior, shapes), "responsibilities")
        if not has_parts:
            told = "N(0, I)" if model.prior_family is None else model.prior_family
            raise UsageError(
                f"cluster: asks which component of p(z) a row is of, and p(z) is {told}: train "
                "with prior=mixture and num_components=10, for ten clusters"
            )

    def of_row(self, model, params, x, key):
        z = model.encode(params, x).sample(key, self.num_samples)[:, 0]
        chances = jnp.mean(model.prior(params).responsibilities(z), axis=0)
        return {"cluster": chances}

    def finished(self, model, found):
        del model
        if self.answer == "probabilities":
            return found
        chances = found["cluster"]
        return {
            "cluster": np.argmax(chances, axis=1),
            "cluster_probability": chances.max(axis=1, initial=0.0),
        }
