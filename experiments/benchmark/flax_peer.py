"""The same training in plain Flax: a Python loop over a jitted step."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from experiments.benchmark import workers
from experiments.benchmark.architecture import HIDDEN, KERNEL, Architecture


class Dense(nn.Module):
    """A VAE of dense layers: x [B, H, W, C] to (logits [B, H, W, C], mean, logvar [B, L])."""

    sizes: Architecture

    @nn.compact
    def __call__(self, x, key):
        h = x.reshape(len(x), -1)
        for width in self.sizes.widths:
            h = nn.tanh(nn.Dense(width)(h))
        mean, logvar = jnp.split(nn.Dense(2 * self.sizes.latent_dim)(h), 2, axis=-1)
        h = sample(key, mean, logvar)
        for width in self.sizes.widths[::-1]:
            h = nn.tanh(nn.Dense(width)(h))
        return nn.Dense(x[0].size)(h).reshape(x.shape), mean, logvar


class Conv(nn.Module):
    """A convolutional VAE: x [B, H, W, C] to (logits [B, H, W, C], mean, logvar [B, L])."""

    sizes: Architecture

    @nn.compact
    def __call__(self, x, key):
        kernel, widths = (KERNEL, KERNEL), self.sizes.widths
        h = x
        for width in widths:
            h = nn.relu(nn.Conv(width, kernel, strides=2)(h))
        h = nn.relu(nn.Dense(HIDDEN)(h.reshape(len(h), -1)))
        mean, logvar = jnp.split(nn.Dense(2 * self.sizes.latent_dim)(h), 2, axis=-1)
        h = nn.relu(nn.Dense(HIDDEN)(sample(key, mean, logvar)))
        h = nn.relu(nn.Dense(np.prod(self.sizes.start).item())(h))
        h = h.reshape(-1, *self.sizes.start)
        for width in widths[-2::-1]:
            h = nn.relu(nn.ConvTranspose(width, kernel, strides=(2, 2))(h))
        return nn.ConvTranspose(x.shape[-1], kernel, strides=(2, 2))(h), mean, logvar


def sample(key, mean, logvar):
    """z ~ N(mean, exp(logvar)), all [B, L]."""
    return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)


def start(sizes: Architecture) -> TrainState:
    """Parameters, Adam's moments and the step; leaves of any shape."""
    model = (Dense if sizes.network == "mlp" else Conv)(sizes)
    key = jax.random.key(0)
    params = model.init(key, jnp.zeros((1, *sizes.shape)), key)
    return TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))


@functools.partial(jax.jit, donate_argnums=0)
def step(state: TrainState, x, key):
    """One update on x [B, H, W, C]: (state, loss), the loss a scalar."""

    def loss_of(params):
        logits, mean, logvar = state.apply_fn(params, x, jax.random.fold_in(key, state.step))
        distortion = optax.sigmoid_binary_cross_entropy(logits, x).sum()
        rate = -0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar))
        return (distortion + rate) / len(x)

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradients), loss


def batches(x: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yields shuffled, binarized batches [B, H, W, C] of x [N, H, W, C] in [0, 1], endlessly."""
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(x))
        for first in range(0, len(x) - batch_size + 1, batch_size):
            batch = x[order[first : first + batch_size]]
            uniform = generator.random(batch.shape, dtype=np.float32)
            yield (uniform < batch).astype(np.float32)


def training(sizes: Architecture, images: np.ndarray, seconds: float) -> Callable[[], float]:
    """A work function that trains and counts steps.

    Args:
        sizes: sizes of model and batch.
        images: uint8 [N, H, W, C].
        seconds: minimum duration of a turn.
    """
    state, loss, key = start(sizes), None, jax.random.key(1)
    feed = batches(images.astype(np.float32) / 255, sizes.batch_size)

    def iterate():
        nonlocal state, loss
        state, loss = step(state, next(feed), key)

    return workers.repeat(iterate, seconds, lambda: jax.block_until_ready((state, loss)))
