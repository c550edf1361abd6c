"""VampPrior: the mixture of the posteriors of a few inputs, which are learned or training rows."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError
from vae_jax.priors import _components
from vae_jax.priors._prior import Prior

__all__ = ["Vamp"]


@dataclasses.dataclass(frozen=True)
class Vamp(Prior):
    """p(z) = 1/K Σ_k q(z|u_k) over [L]: the pseudo-inputs u_k have the shape of x.

    The pseudo-inputs start at training rows. With u = all training rows it is the aggregate
    posterior, the prior of the highest ELBO. Networks with BatchNorm read pseudo-inputs with their
    running statistics, so the prior is the same in training and in evaluation.

    Attributes:
        num_components: K.
        pseudo_inputs: "learned", or "data": they stay the training rows.

    Reference:
        Tomczak & Welling 2018, VAE with a VampPrior, arXiv 1705.07120, equation 9; section 4
        ("VampPrior data" is `pseudo_inputs="data"`).
    """

    num_components: int = 500
    pseudo_inputs: str = "learned"

    choices: ClassVar = {"pseudo_inputs": ("learned", "data")}
    reads_x: ClassVar[bool] = True

    @property
    def num_examples(self):
        return self.num_components

    @property
    def fixed(self):
        return ("inputs",) if self.pseudo_inputs == "data" else ()

    def init(self, key, sizes, examples=None):
        del key
        wanted = (self.num_components, *sizes.shape)
        if examples is None:
            raise UsageError(
                f"prior={self}: starts from training rows: give model.init(key, examples), an "
                f"array of shape {list(wanted)}"
            )
        if examples.shape != wanted:
            raise UsageError(
                f"prior={self}: examples have shape {list(examples.shape)}: must be {list(wanted)}"
            )
        return {"inputs": jnp.asarray(examples, jnp.float32)}

    def of(self, params, latent_dim, latent_mask=None, encode=None):
        del latent_dim, latent_mask
        inputs = params["inputs"]
        if self.pseudo_inputs == "data":
            inputs = jax.lax.stop_gradient(inputs)
        mean, logvar = encode(inputs)
        return _components.mixture(jnp.zeros(self.num_components), mean, logvar)
