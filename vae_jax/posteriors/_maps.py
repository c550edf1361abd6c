"""Codes on maps of several sizes, and the path from the smallest map to the largest.

A code [L] has D numbers for each place of each group's map: L = D · P, number d of place p is
dimension d·P + p, and places are listed group by group, from the smallest map. So any first
multiple of P dimensions are whole channels of all groups.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import flows, residual
from vae_jax.posteriors._posterior import lift

__all__ = ["Layout", "Step", "init_path", "run_path"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the dimensions of a code [L] lie.

    Attributes:
        maps: rows of the square map of each group, from the smallest, counts.
        channels: D, the numbers of each place, a count.
    """

    maps: tuple[int, ...]
    channels: int

    @property
    def num_places(self) -> int:
        """P, the places of all groups, a count."""
        return sum(size * size for size in self.maps)

    def to_maps(self, values: jax.Array) -> list[jax.Array]:
        """[..., L] to a map [N, h, w, D] for each group, N the product of the leading axes."""
        listed = jnp.swapaxes(values.reshape(-1, self.channels, self.num_places), 1, 2)
        found, first = [], 0
        for size in self.maps:
            own = listed[:, first : first + size * size]
            found.append(own.reshape(-1, size, size, self.channels))
            first += size * size
        return found

    def from_maps(self, maps: Sequence[jax.Array], lead: Sequence[int]) -> jax.Array:
        """The inverse of `to_maps`: a map [N, h, w, D] for each group to [*lead, L]."""
        listed = [own.reshape(len(own), -1, self.channels) for own in maps]
        values = jnp.swapaxes(jnp.concatenate(listed, axis=1), 1, 2)
        return values.reshape(*lead, self.channels * self.num_places)

    def members(self) -> jax.Array:
        """The dimensions of each group, from the one on the largest map: zeros and ones [G, L]."""
        falling = np.arange(len(self.maps))[::-1]
        of_place = np.repeat(falling, [size * size for size in self.maps])
        of_dim = np.tile(of_place, self.channels)
        each = np.arange(len(self.maps))
        return jnp.asarray(of_dim[None, :] == each[:, None], jnp.float32)


class Step(NamedTuple):
    """What is known of a group on the path before it is drawn.

    Attributes:
        index: of the group, from the smallest map, a count.
        state: what the groups above it left, a map [N, h, w, W].
        mean, logvar: p(z_g | the groups above), [N, h, w, D] each.
        own: parameters of the group.
    """

    index: int
    state: jax.Array
    mean: jax.Array
    logvar: jax.Array
    own: dict


def init_path(key: jax.Array, layout: Layout, width: int, num_kept: jax.Array, num_read: int):
    """The parameters of a path; p(z) is N(0, I), and q(z|x) what the encoder says.

    Args:
        key: PRNG key, scalar.
        layout: where the dimensions lie, over [L].
        width: W, channels of the state, a count.
        num_kept: the dimensions of L in use, a float32 scalar.
        num_read: features of the encoder for each dimension, a count.
    """
    num = len(layout.maps)
    kept = jnp.maximum(num_kept / layout.num_places, 1.0)
    params: dict[str, Any] = {
        f"start_{size}": {"bias": jnp.zeros((size, size, width))} for size in {*layout.maps}
    }
    for index, size in enumerate(layout.maps):
        own_key = jax.random.fold_in(key, index)
        params[f"group_{num - index}"] = _init_group(
            own_key, layout.channels, size, width, kept, num_read, num
        )
    # a gain, not a kernel: it does not decay
    return {**params, "output": {"scale": jnp.ones(width), "bias": jnp.zeros(width)}}


def _init_group(key, channels, size, width, kept, num_read, num) -> dict:
    """The parameters of one of `num` groups on a map of so many rows."""
    prior_key, posterior_key, context_key, code_key, state_key = jax.random.split(key, 5)
    inner, state = _inner(width), jnp.zeros((1, size, size, width))

    def heads(**sizes):
        return {
            n: {"kernel": jnp.zeros((inner, o)), "bias": jnp.zeros(o)} for n, o in sizes.items()
        }

    keys = jax.random.split(context_key, num_read)
    context = jnp.stack([flows.each_dimension(own, channels, inner).T for own in keys])
    code = flows.each_dimension(code_key, channels, width).T
    block = residual.Bottleneck(inner)
    return {
        "prior": {
            "block": block.init(prior_key, state)["params"],
            **heads(mean=channels, logvar=channels, state=width),
        },
        "posterior": {
            "block": block.init(posterior_key, state)["params"],
            "context": {"kernel": context / jnp.sqrt(num_read * kept)},
            **heads(mean=channels, logvar=channels),
        },
        "code": {"kernel": code / jnp.sqrt(kept * num), "bias": jnp.zeros(width)},
        "state": _last(width, num).init(state_key, state)["params"],
    }


def _inner(width: int) -> int:
    """Channels inside a block of a state with so many, a count."""
    return max(1, width // 2)


def _last(width: int, num: int) -> residual.Bottleneck:
    """The block after a code is read; of `num` groups the state then has a variance near 1."""
    return residual.Bottleneck(_inner(width), width, scale=num**-0.5)


def dense(own: dict, values: jax.Array) -> jax.Array:
    """A layer of each place, [N, h, w, C] to [N, h, w, F]."""
    return jnp.matmul(values, own["kernel"], precision="highest") + lift(own["bias"], values)


def evidence(step: Step, parts: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of q(z_g | x, the groups above), [N, h, w, D] each.

    The encoder's mean and log variance, plus a block on the state and the encoder's features.

    Args:
        step: on the path.
        parts: the encoder's mean, log variance and features for the group, [N, h, w, D] each.
    """
    mean, logvar, *features = parts
    own = step.own["posterior"]
    width = own["block"]["first"]["bias"].shape[0]
    read = jax.nn.gelu(jnp.stack(features, axis=-2))
    added = jnp.einsum("nhwcd,cdf->nhwf", read, own["context"]["kernel"], precision="highest")
    hidden = residual.Bottleneck(width).apply({"params": own["block"]}, step.state, added)
    return mean + dense(own["mean"], hidden), logvar + dense(own["logvar"], hidden)


def run_path(
    params: dict, layout: Layout, num_rows: int, decide: Callable[[Step], tuple[jax.Array, Any]]
) -> tuple[jax.Array, list[jax.Array], list[Any]]:
    """Runs the path once.

    Args:
        params: from `init_path`.
        layout: where the dimensions lie, over [L].
        num_rows: N, a count.
        decide: (`Step`) to the code of the group, [N, h, w, D], 0 where masked, and what else is
            found.

    Returns:
        (the state at the end [N, h, w, W], a map [N, h, w, D] and what else was found for each
            group, from the smallest map).
    """
    num, state, codes, found = len(layout.maps), None, [], []
    for index, size in enumerate(layout.maps):
        own = params[f"group_{num - index}"]
        state = _begun(params, state, num_rows, size)
        width = state.shape[-1]
        inner = residual.Bottleneck(_inner(width))
        hidden = inner.apply({"params": own["prior"]["block"]}, state)
        mean, logvar = (dense(own["prior"][name], hidden) for name in ("mean", "logvar"))
        code, more = decide(Step(index, state, mean, logvar, own))
        state = state + dense(own["prior"]["state"], hidden) + dense(own["code"], code)
        state = state + _last(width, num).apply({"params": own["state"]}, state)
        codes.append(code)
        found.append(more)
    output = params["output"]
    state = state * lift(output["scale"], state) + lift(output["bias"], state)
    return state, codes, found


def _begun(params: dict, state: jax.Array | None, num_rows: int, size: int) -> jax.Array:
    """The state before a group on a map of so many rows: of the groups above, or the first."""
    if state is not None and state.shape[1] == size:
        return state
    start = params[f"start_{size}"]["bias"]
    if state is None:
        return jnp.broadcast_to(start[None], (num_rows, *start.shape))
    return residual.double(state, (size, size)) + start[None]
