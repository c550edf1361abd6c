"""Encoders and decoders as Linen modules, by name: `mlp`, `conv`, `conv_map`, `linear`, `gru`, …

An encoder maps x [B, *shape] to what the posterior is made of, arrays [B, L]: mean and logvar, or
the parts of other latents. A decoder maps z [B, L] to prod(shape)·num_outputs numbers per example,
in any layout whose flat order is [*shape, num_outputs]. A network is one builder in `NETWORKS`;
nothing else knows its name.

Each takes a second argument, a condition [M, C] that x and z are given: a layer without bias, named
`condition`, adds it to what the first dense layer makes of x or z, of a map to each of its places.
So W [v; c] = W_v v + W_c c keeps the weights that v alone would have, and the rows of v and c may
be repeated after that layer.

An encoder with `reads_missing` takes x with NaN. A decoder with `reads_x` says p(x|z) step by step:
it takes x too, or `feed`, see `RecurrentDecoder`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError, unknown
from vae_jax.networks._cascade import CascadeEncoder, cascade
from vae_jax.networks._conv import (
    ConvDecoder,
    ConvEncoder,
    ConvMapDecoder,
    ConvMapEncoder,
    conv,
    conv_map,
)
from vae_jax.networks._dense import LinearEncoder, MLPDecoder, MLPEncoder, linear, mlp
from vae_jax.networks._recurrent import CELLS, RecurrentDecoder, RecurrentEncoder, recurrent

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "SPATIAL",
    "CascadeEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "ConvMapDecoder",
    "ConvMapEncoder",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "build",
]

ACTIVATIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "leaky_relu": nn.leaky_relu,
}
"""Activations by name; each is elementwise, shape in = shape out."""


NETWORKS: dict[str, Callable] = {
    "mlp": mlp,
    "conv": conv,
    "conv_map": conv_map,
    "linear": linear,
    "cascade": cascade,
    **{cell: recurrent(cell) for cell in CELLS},
    **{f"bi{cell}": recurrent(cell, both_ways=True) for cell in CELLS},
}
"""Builders by name: (shape, latent_dim, num_outputs, widths, activation, dtype) to a pair."""

SPATIAL = frozenset({"conv_map", "cascade"})
"""Networks whose latent dimensions are places of a map, or which have other codes of L numbers
inside: a mask [L] does not make a smaller one."""


def build(
    name: str,
    *,
    shape: tuple[int, ...],
    latent_dim: int,
    num_outputs: int = 1,
    widths: Sequence[int] | None = None,
    activation: str | None = None,
    dtype: Any = jnp.float32,
    num_parts: int = 2,
    teacher_dropout: float | None = None,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and the decoder that mirrors it.

    Args:
        name: one of `NETWORKS`.
        shape: of one example, [H, W, C] or [D]; for a recurrent network [T, …].
        latent_dim: L, the size of z.
        num_outputs: decoder outputs per number of x (`Likelihood.num_outputs`).
        widths: hidden units (mlp, gru, …) or channels (conv) of the encoder; the decoder mirrors
            them. None is the network's default: 200,200 for mlp and cascade, 32,64 for conv and
            conv_map, 128 for gru, lstm, bigru and bilstm.
        activation: one of `ACTIVATIONS`; None is the network's default: tanh (mlp), relu (conv).
        dtype: of the computation; parameters stay float32.
        num_parts: arrays [B, L] that the posterior is made of, a count; of a Gaussian 2.
        teacher_dropout: of a recurrent decoder, see `RecurrentDecoder`, a scalar; None: 0.

    Returns:
        (encoder, decoder).

    Raises:
        UsageError: the name is unknown or the shape does not fit the network.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    if activation is not None and activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    widths = None if widths is None else tuple(widths)
    function = None if activation is None else ACTIVATIONS[activation]
    encoder, decoder = NETWORKS[name](shape, latent_dim, num_outputs, widths, function, dtype)
    if teacher_dropout is not None:
        if not hasattr(decoder, "teacher_dropout"):
            raise UsageError(
                f"teacher_dropout={teacher_dropout}: network '{name}' has no teacher, take "
                f"{' or '.join(CELLS)}, or leave it out"
            )
        decoder = decoder.clone(teacher_dropout=teacher_dropout)
    return encoder if num_parts == 2 else encoder.clone(num_parts=num_parts), decoder
