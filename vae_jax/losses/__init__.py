"""Terms of the losses, to import into your own code: arrays in, arrays out.

Axis 0 is the batch B; all other axes are event axes and are summed. Every term has shape [B] and
is in nats per example, with full normalizing constants. Only `batch_mean` averages over the batch:

    distortion = losses.bernoulli_distortion(x, logits)       # [B]  −log p(x|z)
    rate = losses.gaussian_rate(mean, logvar)                 # [B]  KL(q(z|x) ‖ p(z))
    loss = losses.batch_mean(losses.beta_elbo_loss(distortion, rate, beta=4.0))

A `mask` [B] is 1 for a row that counts and 0 for a padded row. A padded row has no influence on a
value or a gradient if the values it holds are finite. NaN and infinity in it do not reach a
function that takes the mask either. But a gradient that flows back to the operations that made them
may meet them.

Each file holds one family of terms. This package exports all public names of its files.
"""

# ruff: noqa: F403 (a name is listed once, in the `__all__` of its file)

from vae_jax.losses import (
    adversaries,
    aggregate,
    bounds,
    contraction,
    contrast,
    discrepancies,
    distortions,
    quantization,
    rates,
    reductions,
    similarity,
    sparsity,
    weights,
)
from vae_jax.losses.adversaries import *
from vae_jax.losses.aggregate import *
from vae_jax.losses.bounds import *
from vae_jax.losses.contraction import *
from vae_jax.losses.contrast import *
from vae_jax.losses.discrepancies import *
from vae_jax.losses.distortions import *
from vae_jax.losses.quantization import *
from vae_jax.losses.rates import *
from vae_jax.losses.reductions import *
from vae_jax.losses.similarity import *
from vae_jax.losses.sparsity import *
from vae_jax.losses.weights import *

# one line per file: the form that type checkers read
__all__: list[str] = []
__all__ += adversaries.__all__
__all__ += aggregate.__all__
__all__ += bounds.__all__
__all__ += contraction.__all__
__all__ += contrast.__all__
__all__ += discrepancies.__all__
__all__ += distortions.__all__
__all__ += quantization.__all__
__all__ += rates.__all__
__all__ += reductions.__all__
__all__ += similarity.__all__
__all__ += sparsity.__all__
__all__ += weights.__all__
