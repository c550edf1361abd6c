"""A masked autoregressive flow, trained on the codes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import priors
from vae_jax.samplers._sampler import Sampler, Standardized

__all__ = ["MAF"]

_BATCH = 100


@dataclasses.dataclass(frozen=True)
class MAF(Sampler):
    """z = f(ε), ε ~ N(0, I) over [L], of largest likelihood on 9 of 10 codes by Adam.

    Of all epochs that one is kept whose likelihood of the tenth is the largest.

    Attributes:
        num_flows: number of layers.
        flow_width: units of each of the two hidden layers of (s, t).
        num_epochs: passes over the codes.

    Reference:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, arXiv
        1705.07057.
    """

    num_flows: int = 4
    flow_width: int = 128
    num_epochs: int = 100

    def fit(self, codes, key):
        self.require(codes, 20)
        standardized, center, scale = Standardized.of(np.asarray(codes))
        size = standardized.shape[1]
        family = priors.MAF(num_flows=self.num_flows, flow_width=self.flow_width)
        init_key, order_key, fit_key = jax.random.split(key, 3)
        order = np.asarray(jax.random.permutation(order_key, len(standardized)))
        valid, train = np.split(standardized[order], [len(order) // 10])
        params = family.init(init_key, priors.Sizes(size, None, (size,)))

        def loss(params, z):
            return -family.of(params, size).log_prob(z).mean()

        best = fit_by_adam(
            loss, params, jnp.asarray(train), jnp.asarray(valid), fit_key, self.num_epochs
        )
        return Standardized(family.of(best, size), center, scale)


def fit_by_adam(loss, params, train, valid, key, num_epochs: int):
    """Minimizes a loss of rows by Adam; the parameters of the epoch of least validation loss.

    Args:
        loss: (params, rows [B, L]) to a scalar.
        params: initial values, any pytree.
        train, valid: rows, [N, L] each.
        key: PRNG key, scalar, for the order of the rows.
        num_epochs: a count.
    """
    size = min(_BATCH, len(train))
    num_batches = len(train) // size
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, num_epochs * num_batches))

    def step(state, rows):
        params, moments = state
        gradient = jax.grad(loss)(params, rows)
        # optax relies on implicit promotion, even if a user forbids it
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), None

    def epoch(carried, own_key):
        state, best, least = carried
        order = jax.random.permutation(own_key, len(train))[: num_batches * size]
        state, _ = jax.lax.scan(step, state, train[order].reshape(num_batches, size, -1))
        value = loss(state[0], valid)
        is_better = value < least
        best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), state[0], best)
        return (state, best, jnp.where(is_better, value, least)), None

    @jax.jit
    def run(params, keys):
        start = (params, optimizer.init(params)), params, loss(params, valid)
        return jax.lax.scan(epoch, start, keys)[0][1]

    return run(params, jax.random.split(key, num_epochs))
