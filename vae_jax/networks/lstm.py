"""Long short-term memory: `lstm`, and `bilstm`, which reads both ways."""

import jax
import jax.numpy as jnp

from vae_jax.networks._recurrent import Cell, recurrent

__all__ = ["CELL", "NETWORKS"]


def _step(state, gates, kernel):
    """i, f, o = σ(x + W h), g = tanh(x_g + W_g h);  c' = f c + i g;  h' = o tanh(c').

    The bias of f starts at 1, so a new network remembers.

    Reference: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Jozefowicz et al. 2015
    (its bias).
    """
    h, c = state
    i, f, g, o = jnp.split(gates + h @ kernel, 4, 1)
    c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELL = Cell(num_gates=4, num_states=2, has_bias=False, step=_step)
"""The order of the gates, each [B, H], is that of PyTorch."""

NETWORKS = recurrent("lstm")
