"""Gated recurrent units: `gru`, and `bigru`, which reads both ways."""

import jax
import jax.numpy as jnp

from vae_jax.networks._recurrent import Cell, recurrent

__all__ = ["CELL", "NETWORKS"]


def _step(state, gates, kernel, bias):
    """r, u = σ(x_ru + W h);  n = tanh(x_n + r (W_n h + b));  h' = (1 − u) n + u h.

    Reference: Cho et al. 2014, arXiv 1406.1078, with the reset after the product, as in
    Chung et al. 2014, arXiv 1412.3555, and cuDNN.
    """
    (h,) = state
    width = h.shape[-1]
    told = h @ kernel
    reset, update = jnp.split(jax.nn.sigmoid(gates[:, : 2 * width] + told[:, : 2 * width]), 2, 1)
    new = jnp.tanh(gates[:, 2 * width :] + reset * (told[:, 2 * width :] + bias[None]))
    return (new + update * (h - new),)


CELL = Cell(num_gates=3, num_states=1, has_bias=True, step=_step)
"""The order of the gates, each [B, H], is that of PyTorch."""

NETWORKS = recurrent("gru")
