"""Dense layers: `mlp`."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax.errors import UsageError
from vae_jax.networks._shared import Network, Pair, PosteriorHead, by_latent, flat, given, lecun

__all__ = ["NETWORKS", "MLPDecoder", "MLPEncoder", "build"]


class MLPEncoder(nn.Module):
    """Dense layers: x [B, *shape], flattened, to mean [B, L] and logvar [B, L]."""

    latent_dim: int
    widths: Sequence[int] = (200, 200)
    activation: Callable = jnp.tanh
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_classes = True

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The paths to the parameters of each layer, from x to the posterior."""
        return (*((f"hidden_{i}",) for i in range(len(self.widths))), ("head", "posterior"))

    @nn.nowrap
    def pairs(self, decoder: nn.Module) -> tuple[Pair, ...]:
        """Each layer and its mirror; none if the decoder is not the mirror of this encoder."""
        if not isinstance(decoder, MLPDecoder) or [*decoder.widths] != [*self.widths][::-1]:
            return ()
        both = zip(self.layers, decoder.layers[::-1], strict=True)
        return tuple(Pair(("encoder", *own), ("decoder", *mirror)) for own, mirror in both)

    @nn.compact
    def __call__(self, x, condition=None):
        if condition is not None and not self.widths:
            raise UsageError("widths=(): a condition needs a hidden layer, or network='linear'")
        h = flat(x)
        *hidden, (head, _) = self.layers
        for i, (width, (name,)) in enumerate(zip(self.widths, hidden, strict=True)):
            h = nn.Dense(width, dtype=self.dtype, name=name)(h)
            h = self.activation(given(h, condition) if i == 0 else h)
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name=head)(h)


class MLPDecoder(nn.Module):
    """Dense layers: z [B, L] to [B, output_dim]; linear if there are no widths.

    The layer that reads z is named `latent`: `Model.init` finds its fan-in there. If it is `tied`,
    its kernels are not parameters: they are those of the encoder, see `tied_kernels`.

    Reference:
        Vincent et al. 2010, Stacked Denoising Autoencoders, JMLR 11, section 2.2 (tied weights).
    """

    output_dim: int
    widths: Sequence[int] = (200, 200)
    activation: Callable = jnp.tanh
    dtype: Any = jnp.float32
    tied: bool = False

    reads_classes = True

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The paths to the parameters of each layer, from z to the outputs."""
        hidden = (f"hidden_{i}" for i in range(1, len(self.widths)))
        names = ("latent", *hidden, "output") if self.widths else ("latent",)
        return tuple((name,) for name in names)

    @nn.nowrap
    def tied_kernels(self, encoder: nn.Module, own: dict) -> dict[str, jax.Array]:
        """The kernel of each layer if it is tied: that of its mirror in the encoder, transposed.

        Args:
            encoder: a module with `layers`, the last of which gives the mean first.
            own: the encoder's parameters.

        Returns:
            Layer → kernel [in, out]; that of z [L, out] has the columns of the mean alone.
        """
        found = {}
        for (name,), path in zip(self.layers, encoder.layers[::-1], strict=True):
            found[name] = functools.reduce(lambda held, key: held[key], path, own)["kernel"].T
        first = self.layers[0][0]
        return {**found, first: found[first][: encoder.latent_dim]}

    @nn.compact
    def __call__(self, z, condition=None):
        h, widths = z, (*self.widths, self.output_dim)
        for i, (width, (name,)) in enumerate(zip(widths, self.layers, strict=True)):
            init = by_latent(axis=0) if i == 0 else lecun
            h = nn.Dense(width, dtype=self.dtype, kernel_init=init, name=name)(h)
            h = given(h, condition) if i == 0 else h
            h = h if i == len(widths) - 1 else self.activation(h)
        return h


def build(shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for examples of any shape."""
    encoder = MLPEncoder(latent_dim, widths, activation, dtype)
    return encoder, MLPDecoder(math.prod(shape) * num_outputs, widths[::-1], activation, dtype)


NETWORKS = {"mlp": Network(MLPEncoder, MLPDecoder, build, (200, 200), "tanh")}
