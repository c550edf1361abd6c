"""Encoders and decoders as Linen modules, by name: `mlp`, `conv`, `conv_map`, `linear`, `gru`, …

An encoder maps x [B, *shape] to the parts of the posterior, arrays [B, L]: mean and logvar, or
those of other latents. A decoder maps z [B, L] to prod(shape)·num_outputs numbers per example, in
any layout whose flat order is [*shape, num_outputs].

To add a network, add a file NAME.py with `NETWORKS`: NAME, and perhaps other names, each with the
`Network` that it stands for.
`build(NAME)`, `network=NAME`, the classes as names of this package, and export to one file
follow. Modules with a leading underscore are what several share.

Encoder and decoder take a second argument, a condition [M, C]. A layer without bias, named
`condition`, adds it to the output of the first dense layer, or to each place of a map. So W [v; c]
= W_v v + W_c c keeps the same weights W_v as without a condition, and the rows of v and c may be
repeated after that layer. A module with `reads_classes` also takes class indices [M], as `given` of
`_shared.py` does; others get their unit vectors.

An encoder with `reads_missing` accepts NaN in x. A decoder with `reads_x` factors p(x|z) over
steps: it also takes x, or `feed`, see `RecurrentDecoder`. Its `num_step_axes` is the number of
leading axes of x that are steps, in reading order: 1 for rows or times (the default), 2 for pixels.
"""

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vae_jax import aliases, discovery, residual
from vae_jax.errors import UsageError, any_of, shown, unknown
from vae_jax.networks._shared import Network

__all__ = ["ACTIVATIONS", "Network", "build", "decoders", "encoders", "load", "names"]

ACTIVATIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
}
"""Activations by name; each is elementwise, shape in = shape out."""


def _known() -> dict[str, Network]:
    """All networks by name, from the `NETWORKS` of their files."""
    files = [discovery.load(__name__, file, "network") for file in discovery.names(__name__)]
    return dict(sorted(item for file in files for item in file.NETWORKS.items()))


def names(where: Callable[[Network], bool] = lambda _: True) -> list[str]:
    """Names of all networks, sorted.

    Args:
        where: keeps the networks for which it returns True, whatever the shape of their examples.
    """
    return [name for name, network in _known().items() if where(network)]


def load(name: str) -> Network:
    """The `Network` of a name, for examples of any shape.

    Raises:
        UsageError: there is no such network.
    """
    name = aliases.canonical("network", name)
    if name in discovery.names(__name__):  # other files are then not imported
        return discovery.load(__name__, name, "network").NETWORKS[name]
    known = _known()
    if not isinstance(name, str) or name not in known:
        raise unknown("network", name, known)
    return known[name]


def encoders() -> dict[str, type[nn.Module]]:
    """The encoders of all networks by class name, "MLPEncoder" and others, sorted."""
    return _by_class(network.encoder for network in _known().values())


def decoders() -> dict[str, type[nn.Module]]:
    """The decoders of all networks by class name, "MLPDecoder" and others, sorted."""
    return _by_class(network.decoder for network in _known().values())


def _by_class(modules: Iterable[type[nn.Module]]) -> dict[str, type[nn.Module]]:
    return dict(sorted((module.__name__, module) for module in set(modules)))


def __getattr__(name: str) -> Any:
    # a class is looked up on first use, so adding a file is enough
    found = {} if name.startswith("_") else encoders() | decoders()
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *encoders(), *decoders()})


def build(
    name: str,
    *,
    shape: tuple[int, ...],
    latent_dim: int,
    num_outputs: int = 1,
    widths: Sequence[int] | None = None,
    activation: str | Callable | None = None,
    dtype: Any = jnp.float32,
    num_parts: int = 2,
    maps: Sequence[int] = (),
    teacher_dropout: float | None = None,
    tied: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and the decoder that mirrors it.

    Args:
        name: one of `names()`.
        shape: shape of one example, [H, W, C] or [D]; for a recurrent network [T, …].
        latent_dim: L, the size of z.
        num_outputs: decoder outputs per number of x (`Likelihood.num_outputs`).
        widths: hidden units (mlp, gru, …) or channels (conv) of the encoder; the decoder mirrors
            them. None is the network's default for this shape, `load(name).widths_for(shape)`.
        activation: one of `ACTIVATIONS`, its name or its function; None is the network's default,
            `load(name).activation`.
        dtype: dtype of the computation; parameters stay float32.
        num_parts: number of arrays [B, L] that make the posterior; 2 for a Gaussian.
        maps: rows of the square maps on which a hierarchy has its groups, counts; networks without
            maps of many sizes do not read them.
        teacher_dropout: for a decoder that reads x, see `RecurrentDecoder`, a scalar; None means 0.
        tied: whether the decoder's kernels are the encoder's, transposed, see `MLPDecoder`.

    Returns:
        (encoder, decoder).

    Raises:
        UsageError: the name is unknown or the shape does not fit the network.
    """
    network = load(name)
    widths = network.widths_for(shape) if widths is None else tuple(widths)
    named = {function: name for name, function in ACTIVATIONS.items()}
    if activation is None:
        activation = network.activation
    elif callable(activation) and activation in named:
        activation = named[activation]
    elif (activation := aliases.canonical("activation", activation)) not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    function = None if activation is None else ACTIVATIONS[activation]
    encoder, decoder = network.build(shape, latent_dim, num_outputs, widths, function, dtype)
    if teacher_dropout is not None:
        if not isinstance(teacher_dropout, numbers.Real) or not 0 <= teacher_dropout <= 1:
            raise UsageError(
                f"teacher_dropout={shown(teacher_dropout)}: must be a number from 0 to 1"
            )
        if not network.has_teacher:
            raise UsageError(
                f"teacher_dropout={teacher_dropout}: network '{name}' has no teacher, take "
                f"{any_of(names(lambda each: each.has_teacher))}, or leave "
                "it out"
            )
        decoder = decoder.clone(teacher_dropout=teacher_dropout)
    if tied:
        if not network.can_tie:
            raise UsageError(
                f"tied=True: network '{name}' has no layers to share between encoder and decoder: "
                f"take {any_of(names(lambda each: each.can_tie))}, or leave it out"
            )
        decoder = decoder.clone(tied=True)
    if maps and network.has_maps:
        _check_maps(name, shape, maps)
        encoder, decoder = encoder.clone(maps=tuple(maps)), decoder.clone(maps=tuple(maps))
    return encoder if num_parts == 2 else encoder.clone(num_parts=num_parts), decoder


def _check_maps(name: str, shape: tuple[int, ...], maps: Sequence[int]) -> None:
    """Raises UsageError unless an image [H, W, C] is halved to each of the square maps."""
    halved = residual.sizes(shape[:2], (1, 1)) or []
    if not {(size, size) for size in maps} <= {*halved}:
        squares = [rows for rows, columns in halved if rows == columns]
        raise UsageError(
            f"network '{name}': images of {shape[0]}×{shape[1]} are halved to square maps of "
            f"{', '.join(map(str, squares))} rows, the groups are on maps of "
            f"{', '.join(map(str, sorted({*maps}, reverse=True)))}: give map_size={squares[0]}, or "
            "take network='conv', which reads groups of any size"
        )
