"""Recurrent networks: `gru` and `lstm`, and their bidirectional versions `bigru` and `bilstm`.

The first axis of an example is time: x [B, T, …] is read and decoded step by step. A step that is a
single number with several outputs, such as a character, is read as a one-hot vector. Steps that are
NaN throughout are padding: they are skipped, and the state is carried over.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vae_jax import discovery
from vae_jax.errors import UsageError
from vae_jax.networks._shared import (
    Network,
    PosteriorHead,
    Weights,
    by_latent,
    forget,
    given,
    lecun,
)

__all__ = ["Cell", "RecurrentDecoder", "RecurrentEncoder", "cells", "recurrent"]

_PACKAGE = __name__.rpartition(".")[0]


class Cell(NamedTuple):
    """One step of a recurrent layer of H units.

    Attributes:
        num_gates: G.
        num_states: S, the number of arrays [B, H] in its state; the first is its output.
        has_bias: whether it has a bias [H] beside the kernel.
        step: (state, a tuple of S arrays [B, H]; the gates' inputs from x [B, G·H]; kernel [H,
            G·H]; bias) to the next state.
    """

    num_gates: int
    num_states: int
    has_bias: bool
    step: Callable


def cells() -> dict[str, Cell]:
    """The cells of all files of this package that define `CELL`, by name."""
    files = {n: discovery.load(_PACKAGE, n, "cell") for n in discovery.names(_PACKAGE)}
    return {name: file.CELL for name, file in files.items() if hasattr(file, "CELL")}


def _per_gate(num_gates: int) -> Callable:
    """An orthogonal kernel [H, H] for each of G gates, concatenated: [H, G·H]."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, num_gates)
        return jnp.concatenate([orthogonal(k, (shape[0], shape[0]), dtype) for k in keys], axis=1)

    return init


def _layer(cell: Cell, width: int, dtype, name: str):
    """The weights that `Cell.step` takes after the gates: kernel [H, G·H], and bias [H] if any."""
    shape = width, cell.num_gates * width
    bias = width if cell.has_bias else 0
    return Weights(shape, bias, _per_gate(cell.num_gates), dtype, name=name)()


def _run(cell: Cell, weights, state, gates, is_step=None, *, reverse: bool = False):
    """Runs a layer over all steps: gate inputs [B, T, G·H] to (last state, outputs [B, T, H]).

    If `is_step` [B, T] is False, the state is carried over.
    """

    def body(state, inputs):
        gates, is_step = inputs
        new = cell.step(state, gates, *weights)
        if is_step is not None:
            new = tuple(jnp.where(is_step[:, None], a, b) for a, b in zip(new, state, strict=True))
        return new, new[0]

    inputs = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (gates, is_step))
    state, outputs = jax.lax.scan(body, state, inputs, reverse=reverse)
    return state, outputs.swapaxes(0, 1)


def _features(x: jax.Array, num_outputs: int, dtype) -> jax.Array:
    """The features of each step of examples [B, T, …], [B, T, F]; 0 where x is NaN."""
    is_known = ~jnp.isnan(x)
    if not _is_symbol(x.shape[1:], num_outputs):
        return jnp.where(is_known, x, 0.0).reshape(*x.shape[:2], -1).astype(dtype)
    level = jnp.round(jnp.where(is_known, x, -1.0) * (num_outputs - 1)).astype(jnp.int32)
    return jax.nn.one_hot(level, num_outputs, dtype=dtype)


def _is_symbol(shape: tuple[int, ...], num_outputs: int) -> bool:
    return num_outputs > 1 and len(shape) == 1


def _read_init(shape: tuple[int, ...], num_outputs: int) -> Callable:
    """Initializes the kernel that reads a step: a one-hot vector has fan-in 1."""
    return nn.initializers.normal(1.0) if _is_symbol(shape, num_outputs) else lecun


class RecurrentEncoder(nn.Module):
    """Encodes x [B, T, …] step by step; the last state gives the parts of the posterior [B, L].

    Each of `widths` is a layer, which reads the output of the layer below.

    Attributes:
        cell: one of `cells`.
        num_outputs: number of levels if a step is one number read as one-hot, 1 if it is read as
        is.
        both_ways: whether half of each layer's units read backward in time.
    """

    latent_dim: int
    cell: str = "gru"
    widths: Sequence[int] = (128,)
    num_outputs: int = 1
    both_ways: bool = False
    dtype: Any = jnp.float32
    num_parts: int = 2

    reads_missing = True
    reads_classes = True

    @nn.compact
    def __call__(self, x, condition=None):
        cell = cells()[self.cell]
        h = _features(x, self.num_outputs, self.dtype)
        is_step = ~jnp.isnan(x).reshape(*x.shape[:2], -1).all(axis=2)
        init = _read_init(x.shape[1:], self.num_outputs)
        for i, width in enumerate(self.widths):
            ways = ("forward", "backward") if self.both_ways else ("forward",)
            width //= len(ways)
            size = cell.num_gates * width
            # for all steps and both directions in one product, outside the loop
            read = nn.Dense(len(ways) * size, dtype=self.dtype, kernel_init=init, name=f"read_{i}")
            gates, init = read(h), lecun
            if i == 0:
                gates = given(gates, condition)
                is_step = jnp.tile(is_step, (len(gates) // len(is_step), 1))
            zeros = (jnp.zeros((len(gates), width), self.dtype),) * cell.num_states
            told = []
            for k, way in enumerate(ways):
                weights = _layer(cell, width, self.dtype, f"{way}_{i}")
                own = gates[..., k * size : (k + 1) * size]
                told.append(_run(cell, weights, zeros, own, is_step, reverse=k == 1))
            h = jnp.concatenate([outputs for _, outputs in told], axis=-1)
        last = jnp.concatenate([state[0] for state, _ in told], axis=-1)
        return PosteriorHead(self.latent_dim, self.dtype, self.num_parts, name="head")(last)


class RecurrentDecoder(nn.Module):
    """Decodes z [B, L] to the outputs of T steps, [B, T, F·num_outputs].

    z sets the initial states and adds to the gates of each step. The input of a step is one of:

    - the true step before it, if x [B, T, …] is passed (teacher forcing): outputs of p(x_t | x_<t,
      z)
    - the second result of feed(t, outputs [B, F·num_outputs]) of its own output before, if `feed`
      is passed (free running): (x_t, what the next step reads in its place), [B, …] each; the
      result is then (outputs, x [B, T, …])
    - nothing, if neither is passed.

    Attributes:
        shape: shape of x, time first.
        cell, widths, num_outputs: see `RecurrentEncoder`.
        teacher_dropout: the share of steps whose input is dropped when a key is given; at 1 there
            is never an input, and the steps are independent given z.

    Reference:
        Williams & Zipser 1989 (teacher forcing); Bowman et al. 2016, arXiv 1511.06349, section 3.1
        (dropout).
    """

    shape: tuple[int, ...]
    cell: str = "gru"
    widths: Sequence[int] = (128,)
    num_outputs: int = 1
    teacher_dropout: float = 0.0
    dtype: Any = jnp.float32

    num_step_axes = 1
    reads_classes = True

    @property
    def reads_x(self) -> bool:
        """Whether the outputs depend on x (a scalar)."""
        return self.teacher_dropout < 1

    @nn.compact
    def __call__(self, z, condition=None, *, x=None, feed=None, key=None):
        cell, num_steps = cells()[self.cell], self.shape[0]
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        code = dense(self.widths[0], kernel_init=by_latent(axis=0), name="latent")(z)
        code = jnp.tanh(given(code, condition))
        size = cell.num_states * sum(self.widths)
        begin = jnp.tanh(dense(size, name="states")(code))
        ends = [cell.num_states * sum(self.widths[: i + 1]) for i in range(len(self.widths) - 1)]
        states = [
            tuple(jnp.split(part, cell.num_states, 1)) for part in jnp.split(begin, ends, axis=1)
        ]
        gates = dense(cell.num_gates * self.widths[0], name="gates")(code)

        num_numbers = math.prod(self.shape[1:])
        num_read = self.num_outputs if _is_symbol(self.shape, self.num_outputs) else num_numbers
        init = _read_init(self.shape, self.num_outputs)
        layers, reads = [], []
        for i, width in enumerate(self.widths):
            layers.append(_layer(cell, width, self.dtype, f"forward_{i}"))
            shape = num_read if i == 0 else self.widths[i - 1], cell.num_gates * width
            # the first layer's bias is in the layer that reads z
            bias = 0 if i == 0 else shape[1]
            reads.append(
                Weights(shape, bias, init if i == 0 else lecun, self.dtype, name=f"read_{i}")()
            )
        shape = self.widths[-1], num_numbers * self.num_outputs
        output = Weights(shape, shape[1], lecun, self.dtype, name="output")()

        if feed is not None:
            start = jnp.zeros((len(z), num_read), self.dtype)
            return self._free(cell, states, gates, layers, (*reads, output), start, feed)
        told = jnp.zeros((1, num_steps, num_read), self.dtype)
        if x is not None and self.reads_x:
            told = _features(x, self.num_outputs, self.dtype)
            told = jnp.pad(told[:, :-1], ((0, 0), (1, 0), (0, 0)))
            told = forget(told, self.teacher_dropout, key)
        h, gates = None, gates[:, None] + _product(told, *reads[0])
        for i, (layer, state) in enumerate(zip(layers, states, strict=True)):
            gates = gates if i == 0 else _product(h, *reads[i])
            _, h = _run(cell, layer, state, gates)
        return _product(h, *output)

    def _free(self, cell, states, gates, layers, products, start, feed):
        read, *others, output = products

        def body(carry, t):
            states, told = carry
            h, added, new = None, gates + _product(told, *read), []
            for i, (layer, state) in enumerate(zip(layers, states, strict=True)):
                added = added if i == 0 else _product(h, *others[i - 1])
                new.append(cell.step(state, added, *layer))
                h = new[-1][0]
            outputs = _product(h, *output)
            said, seen = feed(t, outputs)
            return (new, _features(seen[:, None], self.num_outputs, self.dtype)[:, 0]), (
                outputs,
                said,
            )

        _, (outputs, said) = jax.lax.scan(body, (states, start), jnp.arange(self.shape[0]))
        return outputs.swapaxes(0, 1), said.swapaxes(0, 1)


def _product(x, kernel, bias=None):
    """x [B, …, in] times a kernel [in, out], and a bias [out]: [B, …, out]."""
    product = x @ kernel
    return product if bias is None else product + jnp.expand_dims(bias, range(product.ndim - 1))


def recurrent(cell: str) -> dict[str, Network]:
    """The networks of a cell: one that reads forward, and "bi…", which reads both ways.

    Args:
        cell: the name of the file that defines `CELL`, see `cells`.
    """
    names = {cell: False, f"bi{cell}": True}
    return {
        name: Network(
            RecurrentEncoder,
            RecurrentDecoder,
            functools.partial(_build, name, cell, both_ways),
            (128,),
        )
        for name, both_ways in names.items()
    }


def _build(name, cell, both_ways, shape, latent_dim, num_outputs, widths, activation, dtype):
    """The modules for examples of any shape [T, …]."""
    if activation is not None:
        raise UsageError(f"network '{name}' has its cell's activations: leave `activation`")
    if not widths or (both_ways and any(width % 2 for width in widths)):
        even = ", even ones, half for each way" if both_ways else ""
        raise UsageError(
            f"network '{name}' with widths={','.join(map(str, widths))}: needs at least one "
            f"width{even}, e.g. widths=128"
        )
    options = {"cell": cell, "num_outputs": num_outputs, "dtype": dtype}
    encoder = RecurrentEncoder(latent_dim, widths=widths, both_ways=both_ways, **options)
    return encoder, RecurrentDecoder(shape, widths=widths[::-1], **options)
