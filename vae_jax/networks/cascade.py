"""A sequence of autoencoders, each a stage: `cascade`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError
from vae_jax.networks import mlp
from vae_jax.networks._shared import Network, Pair, flat
from vae_jax.networks.mlp import MLPDecoder, MLPEncoder

__all__ = ["NETWORKS", "CascadeEncoder", "build"]


class CascadeEncoder(nn.Module):
    """A sequence of autoencoders, each of which reads x and the previous reconstruction of x.

    x̂_1 = d_1(e_1(x)), x̂_k = d_k(e_k([x, x̂_{k−1}])), for K stages. The last decoder is the
    model's, so z = e_K([x, x̂_{K−1}]), to mean [B, L] and logvar [B, L]. Every e_k and d_k consists
    of dense layers as in `mlp`, with a code of L numbers. x̂_k [B, output_dim] is the raw output of
    d_k, before the likelihood's mean, and is stored as "outputs" in the collection "intermediates".
    """

    latent_dim: int
    output_dim: int
    widths: Sequence[int] = (200, 200)
    activation: Callable = jnp.tanh
    dtype: Any = jnp.float32
    num_parts: int = 2
    num_stages: int = 2

    has_stages = True

    @nn.nowrap
    def pairs(self, decoder: nn.Module | None) -> tuple[Pair, ...]:
        """The encoder and the decoder of each stage; the last decoder is `decoder`."""
        del decoder
        *before, last = range(self.num_stages)
        own = (Pair(("encoder", f"encoder_{i}"), ("encoder", f"decoder_{i}")) for i in before)
        return (*own, Pair(("encoder", f"encoder_{last}"), ("decoder",)))

    @nn.compact
    def __call__(self, x, condition=None):
        if condition is not None:
            raise UsageError("network 'cascade' takes no condition: give network=mlp")
        shown = x = flat(x)
        layers = {"activation": self.activation, "dtype": self.dtype}
        *before, last = self.pairs(None)
        for encoder, decoder in before:
            own = {**layers, "num_parts": 1, "name": encoder[-1]}
            code = MLPEncoder(self.latent_dim, self.widths, **own)(shown)[0]
            own = {**layers, "name": decoder[-1]}
            outputs = MLPDecoder(self.output_dim, self.widths[::-1], **own)(code)
            self.sow("intermediates", "outputs", outputs)
            shown = jnp.concatenate([x, outputs.astype(x.dtype)], axis=1)
        own = {**layers, "num_parts": self.num_parts, "name": last.layer[-1]}
        return MLPEncoder(self.latent_dim, self.widths, **own)(shown)


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for examples of any shape: two stages."""
    _, decoder = mlp.build(shape, latent_dim, num_outputs, widths, activation, dtype)
    options = {"activation": decoder.activation, "dtype": dtype}
    encoder = CascadeEncoder(latent_dim, decoder.output_dim, decoder.widths[::-1], **options)
    return encoder, decoder


NETWORKS = {
    "cascade": Network(CascadeEncoder, MLPDecoder, build, (200, 200), "tanh", has_fixed_codes=True)
}
