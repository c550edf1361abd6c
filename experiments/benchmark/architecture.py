"""The layers of a VAE by their sizes, and the floating-point operations per step.

Only matrix products and convolutions are counted, ignoring the effect of padding; activations,
losses and the optimizer are not. Imports nothing slow, because PyTorch's process uses it.
"""

import itertools
import math
from typing import NamedTuple

HIDDEN = 256
"""Units of the dense layer in each half of a convolutional network."""
KERNEL = 4
"""Height and width of the kernel of a convolution, whose stride is 2."""


class Layer(NamedTuple):
    """A layer as a matrix product.

    Attributes:
        positions: number of positions of the kernel per example; 1 for a dense layer.
        num_in, num_out: numbers in and out at each position.
        num_biases: number of biases of the layer.
    """

    positions: int
    num_in: int
    num_out: int
    num_biases: int

    @property
    def num_operations(self) -> int:
        """Operations of the forward pass of one example: one multiply-add per weight."""
        return 2 * self.positions * self.num_in * self.num_out

    @property
    def num_parameters(self) -> int:
        """Weights and biases, a count."""
        return self.num_in * self.num_out + self.num_biases


class Architecture(NamedTuple):
    """A VAE and its batches.

    Attributes:
        network: "mlp" or "conv", as in `vae_jax.networks`.
        shape: shape of an image, (H, W, C).
        widths: hidden units, or channels, of the encoder; the decoder mirrors them.
        latent_dim: L.
        batch_size: B.
    """

    network: str
    shape: tuple[int, int, int]
    widths: tuple[int, ...]
    latent_dim: int
    batch_size: int

    @property
    def start(self) -> tuple[int, int, int]:
        """Output shape of the convolutions, input shape of the transposed ones, (H, W, C)."""
        factor = 2 ** len(self.widths)
        return self.shape[0] // factor, self.shape[1] // factor, self.widths[-1]

    def layers(self) -> list[Layer]:
        """All layers, in the order of the forward pass."""
        return self._dense_layers() if self.network == "mlp" else self._conv_layers()

    def _dense_layers(self) -> list[Layer]:
        size = math.prod(self.shape)
        encoder = dense(size, *self.widths, 2 * self.latent_dim)
        return encoder + dense(self.latent_dim, *self.widths[::-1], size)

    def _conv_layers(self) -> list[Layer]:
        height, width, num_channels = self.shape
        channels = (num_channels, *self.widths)
        down, up = [], []
        for i, (num_outer, num_inner) in enumerate(itertools.pairwise(channels), 1):
            # a transposed convolution applies its kernel at the positions of its mirror image
            positions, taps = (height >> i) * (width >> i), KERNEL**2
            down.append(Layer(positions, taps * num_outer, num_inner, num_inner))
            up.insert(0, Layer(positions, num_inner, taps * num_outer, num_outer))
        flat = math.prod(self.start)
        inside = dense(flat, HIDDEN, 2 * self.latent_dim) + dense(self.latent_dim, HIDDEN, flat)
        return [*down, *inside, *up]

    @property
    def num_operations(self) -> int:
        """Operations of a step on a batch: forward, and twice that (without x) backward."""
        layers = self.layers()
        forward = sum(layer.num_operations for layer in layers)
        return self.batch_size * (3 * forward - layers[0].num_operations)

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters, a count."""
        return sum(layer.num_parameters for layer in self.layers())


def dense(*sizes: int) -> list[Layer]:
    """Dense layers with these numbers of units."""
    return [Layer(1, a, b, b) for a, b in itertools.pairwise(sizes)]
