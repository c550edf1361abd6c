"""The columns of a table, each with the likelihood of its kind."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError
from vae_jax.likelihoods._likelihood import Likelihood, Params
from vae_jax.likelihoods._parts import part, part_names

__all__ = ["Mixed"]


class _Group(NamedTuple):
    """The columns that share a likelihood and a size.

    Attributes:
        name: the name of its parameters.
        likelihood: for x [B, n], or [B, n, size] if it `is_vector`.
        places: the indices of its numbers in x, [n] or [n, size].
    """

    name: str
    likelihood: Any
    places: np.ndarray


@dataclasses.dataclass(frozen=True)
class Mixed(Likelihood):
    """Columns that are independent given z, each with its own likelihood; x and outputs are [B, D].

    log p(x|z) = Σ_c log p_c(x_c|z), in nats; a column has one or several of the D numbers

    Columns with the same likelihood and size are computed together. A part that has a variance
    has one for each column, learned.

    Attributes:
        parts: the name of the likelihood of each column.
        sizes: how many numbers of x each column has, counts.

    Reference: Nazábal et al. 2020, Handling incomplete heterogeneous data using VAEs, arXiv
    1807.03653, section 3.1.
    """

    parts: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    requires: ClassVar[str] = "columns"

    def __post_init__(self):
        odd = sorted({*self.parts} - {*part_names()})
        if not self.parts or len(self.parts) != len(self.sizes) or odd or min(self.sizes) < 1:
            raise UsageError(
                f"likelihood=mixed: has the parts {', '.join(odd) or 'and sizes of no column'}:"
                f" must be one of {', '.join(part_names())} for each column of a table with a"
                " schema: give a Dataset of vae_jax.data.load, or take gaussian"
            )

    def __repr__(self) -> str:
        told = (f"{self.parts.count(name)} {name}" for name in dict.fromkeys(self.parts))
        return f"Mixed({', '.join(told)})"

    def init(self, shape):
        if shape != (sum(self.sizes),):
            raise UsageError(
                f"shape={shape}: the columns of likelihood=mixed have {sum(self.sizes)} numbers:"
                " give x that is encoded by the same schema"
            )
        own = {g.name: g.likelihood.init(g.places.shape) for g in self._groups}
        return {name: params for name, params in own.items() if params}

    @property
    def _groups(self) -> tuple[_Group, ...]:
        return _grouped(self.parts, self.sizes)

    def _each(self, apply: Callable, params: Params, *arrays: jax.Array) -> jax.Array:
        """`apply(part, its parameters, its numbers of each array)` for each group, as [B, D]."""
        found = []
        for group in self._groups:
            own = params.get(group.name, {})
            values = apply(group.likelihood, own, *(array[:, group.places] for array in arrays))
            found.append(values.reshape(len(values), -1))
        order = np.argsort(np.concatenate([group.places.ravel() for group in self._groups]))
        return jnp.concatenate(found, axis=1)[:, order]

    def log_probs(self, params, outputs, x):
        return self._each(lambda p, own, *arrays: p.log_probs(own, *arrays), params, outputs, x)

    def mean(self, params, outputs):
        return self._each(lambda p, own, outputs: p.mean(own, outputs), params, outputs)

    def mode(self, params, outputs):
        return self._each(lambda p, own, outputs: p.mode(own, outputs), params, outputs)

    def sample(self, params, key, outputs):
        keys = iter(jax.random.split(key, len(self._groups)))
        return self._each(lambda p, own, out: p.sample(own, next(keys), out), params, outputs)

    def filled(self, x):
        return self._each(lambda p, _, own: p.filled(own), {}, x)

    def seen(self, x):
        return self._each(lambda p, _, own: p.seen(own), {}, x)

    def observed(self, x):
        """Which columns of x [B, D] are not missing, [B, C]."""
        return ~jnp.isnan(x[:, _starts(self.sizes)])

    def owners(self, shape):
        del shape
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def has_path(self):
        """Whether all parts have one."""
        return all(part(name).has_path for name in self.parts)

    def num_known(self, x):
        return jnp.sum(self.observed(x).astype(jnp.float32), axis=1)

    def is_mass(self, x):
        each = (group.likelihood.is_mass(x[:, group.places]) for group in self._groups)
        return functools.reduce(operator.and_, each)


def _starts(sizes: tuple[int, ...]) -> np.ndarray:
    """The index of the first number of each column, [C]."""
    return np.cumsum([0, *sizes[:-1]])


@functools.cache
def _grouped(parts: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[_Group, ...]:
    """The columns by part and size; a part for single numbers has one group of all of these."""
    columns: dict[tuple[str, int], list[int]] = {}
    for name, size, start in zip(parts, sizes, _starts(sizes).tolist(), strict=True):
        is_vector = part(name).is_vector
        own = [start] if is_vector else range(start, start + size)
        columns.setdefault((name, size if is_vector else 1), []).extend(own)
    groups = []
    for (name, size), starts in sorted(columns.items()):
        is_vector = part(name).is_vector
        places = np.array(starts)[:, None] + np.arange(size)
        own = f"{name}_{size}" if is_vector else name
        groups.append(_Group(own, part(name), places if is_vector else places.ravel()))
    return tuple(groups)
