"""How unusual each row is: higher is more anomalous."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError
from vae_jax.evaluation._shared import log_likelihood, require_density
from vae_jax.latents import Quantized
from vae_jax.uses._use import Use, weighted

__all__ = ["Score"]

_ALL = ("elbo", "iwae", "reconstruction", "rate")


@dataclasses.dataclass(frozen=True)
class Score(Use):
    """Nats of each row; the higher, the more anomalous.

    elbo = reconstruction + rate, the negative ELBO; reconstruction = −E log p(x|z) over q(z|x);
    rate = KL(q(z|x) ‖ p(z)); iwae = −log 1/K Σ_k p(x, z_k) / q(z_k|x), which tends to −log p(x)

    Missing cells add nothing, so a row with fewer cells has a lower score.

    Attributes:
        by: elbo, iwae, reconstruction or rate; all gives each of them; auto is elbo, or
            reconstruction for a code without a prior.
        num_samples: K, the draws of z for each row.

    Reference:
        Burda et al. 2015, Importance Weighted Autoencoders, arXiv 1509.00519, equation 8; An & Cho
        2015, Variational autoencoder based anomaly detection using reconstruction probability.
    """

    by: str = "auto"
    num_samples: int = 10

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"by": ("auto", *_ALL, "all")}

    @property
    def rows_per_row(self):
        """K."""
        return self.num_samples

    def check(self, model):
        """A code without a density has a reconstruction alone, x [B, *shape]."""
        require_density(model)
        if not _has_density(model) and self.by not in ("auto", "reconstruction"):
            raise UsageError(
                f"by={self.by}: the code is a point, which has no rate: take by=reconstruction"
            )

    def of_row(self, model, params, x, key):
        if not _has_density(model):
            z = model.encode(params, x).mode
            return {"score": -log_likelihood(model, params, z, x)[0]}
        found = weighted(model, params, x, key, self.num_samples)
        reconstruction = -jnp.mean(found.log_likelihood)
        mean_weight = jax.nn.logsumexp(found.log_weights) - math.log(self.num_samples)
        values = (reconstruction + found.rate, -mean_weight, reconstruction, found.rate)
        scores = dict(zip(_ALL, values, strict=True))
        if self.by == "all":
            return {f"score_{name}": value for name, value in scores.items()}
        return {"score": scores["elbo" if self.by == "auto" else self.by]}


def _has_density(model) -> bool:
    return model.latent.has_prior and not isinstance(model.latent, Quantized)
