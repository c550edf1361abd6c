"""The base class of all priors, and what they share."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.errors import UsageError, unknown

__all__ = ["Prior", "Sizes", "check_counts", "each_dimension", "where_kept"]


class Sizes(NamedTuple):
    """What the initial parameters of a prior depend on.

    Attributes:
        latent_dim: L.
        latent_mask: None or [L] of zeros and ones.
        shape: shape of one example x.
    """

    latent_dim: int
    latent_mask: jax.Array | None
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Prior:
    """A family of densities p(z) over codes [L], independent N(0, 1) in masked dimensions.

    Attributes:
        choices: words that a field accepts, by the name of the field.
        is_learned: whether the prior has parameters.
        reads_x: whether the prior encodes examples, so q(z|x) must be a function of x alone.
    """

    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    is_learned: ClassVar[bool] = True
    reads_x: ClassVar[bool] = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in self.choices and value not in self.choices[field.name]:
                raise unknown(field.name, str(value), self.choices[field.name])
            if isinstance(field.default, int):
                check_counts(**{field.name: value})

    @classmethod
    def refuse_unknown(cls, name: str, settings: Iterable[str]) -> None:
        """Raises UsageError if a setting is not a field of the class; the prior is called `name`.

        The class does not depend on the shape of codes.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for setting in settings:
            if setting not in known:
                raise unknown(f"setting of prior={name}", setting, sorted(known))

    @property
    def num_examples(self) -> int:
        """The number of training examples from which the initial values are made, a count."""
        return 0

    def init(self, key: jax.Array, sizes: Sizes, examples: Any = None) -> dict:
        """Initial parameters, or {}.

        Args:
            key: PRNG key, scalar. Each latent dimension has its own key, so a masked model starts
                from the same values as an unmasked one of that size.
            sizes: of the model.
            examples: training rows as inputs of the model, [num_examples, *shape]; None: unknown.
        """
        del key, sizes, examples
        return {}

    def of(
        self,
        params: Any,
        latent_dim: int,
        latent_mask: jax.Array | None = None,
        encode: Callable | None = None,
    ) -> Any:
        """The density p(z) over [L].

        Args:
            params: from `init`, or trained.
            latent_dim: L, a count.
            latent_mask: None or [L] of zeros and ones.
            encode: x [K, *shape] to q(z|x), for priors that read x.
        """
        raise NotImplementedError


def check_counts(**counts: Any) -> None:
    """Raises UsageError unless each value is an integer of at least 1; scalars."""
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name}={value!r}: must be an integer, at least 1")


def each_dimension(key: jax.Array, latent_dim: int, num: int) -> jax.Array:
    """Standard normal numbers [num, L] with one key per dimension, so any L starts alike."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(latent_dim))
    return jax.vmap(lambda own: jax.random.normal(own, (num,)), out_axes=1)(keys)


def where_kept(values: jax.Array, latent_mask: jax.Array | None) -> jax.Array:
    """Sets masked dimensions of [..., L] to 0."""
    if latent_mask is None:
        return values
    is_kept = (latent_mask > 0).reshape((1,) * (values.ndim - 1) + latent_mask.shape)
    return jnp.where(is_kept, values, 0.0)
