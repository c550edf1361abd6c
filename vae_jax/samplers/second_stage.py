"""A second VAE, trained on the codes of the first."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import assembly
from vae_jax.model import Model
from vae_jax.objectives.beta_vae import loss as _elbo_loss
from vae_jax.samplers._sampler import Sampler, Standardized
from vae_jax.samplers._training import fit_by_adam

__all__ = ["SecondStage", "SecondVAE"]


@dataclasses.dataclass(frozen=True)
class SecondVAE:
    """Draws of a VAE of codes.

    Attributes:
        model: a `Model` over x [L].
        params: its parameters.
    """

    model: Model
    params: dict

    def sample(self, key: jax.Array, num_samples: int) -> jax.Array:
        """Draws z ~ p(z|u), u ~ N(0, I): [num_samples, L]."""
        return self.model.sample(self.params, key, num_samples)[0]


@dataclasses.dataclass(frozen=True)
class SecondStage(Sampler):
    """p(z) = ∫ p(z|u) N(u; 0, I) du over [L], a VAE with as many dimensions in u as in z.

    Attributes:
        stage_width: units of each of the two hidden layers of its networks.
        stage_epochs: passes over the codes.

    Reference:
        Dai & Wipf 2019, Diagnosing and Enhancing VAE Models, arXiv 1903.05789, section 4.
    """

    stage_width: int = 128
    stage_epochs: int = 100

    def fit(self, codes, key):
        self.require(codes, 20)
        standardized, center, scale = Standardized.of(np.asarray(codes))
        model = assembly.make_model(
            standardized,
            latent_dim=standardized.shape[1],
            likelihood="gaussian",
            widths=(self.stage_width, self.stage_width),
        )
        init_key, fit_key = jax.random.split(key)

        def loss(params, z, key):
            batch = {"x": z, "mask": jnp.ones(len(z))}
            return _elbo_loss(model, params, batch, key)[0].mean()

        params = fit_by_adam(loss, model.init(init_key), standardized, fit_key, self.stage_epochs)
        return Standardized(SecondVAE(model, params), center, scale)
