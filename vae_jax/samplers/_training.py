"""Training of a small density of codes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["fit_by_adam"]

_BATCH = 100


def fit_by_adam(
    loss: Callable, params: Any, rows: np.ndarray, key: jax.Array, num_epochs: int
) -> Any:
    """Minimizes a loss on 9 of 10 rows; the parameters of the epoch of least loss on the tenth.

    Args:
        loss: (params, rows [B, L], key) to a scalar.
        params: initial values, any pytree.
        rows: [N, L].
        key: PRNG key, scalar.
        num_epochs: a count.
    """
    order_key, valid_key, step_key = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(order_key, len(rows)))
    valid, train = (jnp.asarray(part) for part in np.split(rows[order], [len(rows) // 10]))
    size = min(_BATCH, len(train))
    num_batches = len(train) // size
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_epochs * num_batches))

    def step(state, batch):
        params, moments = state
        gradient = jax.grad(loss)(params, *batch)
        # optax relies on implicit promotion, even if a user forbids it
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), None

    def epoch(carried, own_key):
        state, best, least = carried
        first, second = jax.random.split(own_key)
        order = jax.random.permutation(first, len(train))[: num_batches * size]
        batches = train[order].reshape(num_batches, size, -1)
        state, _ = jax.lax.scan(step, state, (batches, jax.random.split(second, num_batches)))
        value = loss(state[0], valid, valid_key)
        is_better = value < least
        best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), state[0], best)
        return (state, best, jnp.where(is_better, value, least)), None

    @jax.jit
    def run(params, keys):
        start = (params, optimizer.init(params)), params, loss(params, valid, valid_key)
        return jax.lax.scan(epoch, start, keys)[0][1]

    return run(params, jax.random.split(step_key, num_epochs))
