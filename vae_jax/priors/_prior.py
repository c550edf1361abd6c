"""The base class of all priors, and what they share."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax

from vae_jax.families import Settings

__all__ = ["Prior", "Sizes"]


class Sizes(NamedTuple):
    """What the initial parameters of a prior depend on.

    Attributes:
        latent_dim: L.
        latent_mask: None or [L] of zeros and ones.
        shape: shape of one example x.
        latent: the family of latents, such as `latents.Quantized`.
    """

    latent_dim: int
    latent_mask: jax.Array | None
    shape: tuple[int, ...]
    latent: Any = None


@dataclasses.dataclass(frozen=True)
class Prior(Settings):
    """A family of densities p(z) over codes [L], independent N(0, 1) in masked dimensions.

    Attributes:
        is_learned: whether the prior has parameters.
        reads_x: whether the prior encodes examples, so q(z|x) must be a function of x alone.
        of_codes: whether it is a prior of quantized codes; `of` then takes their `codebook`, [S, K,
            D], too.
    """

    is_learned: ClassVar[bool] = True
    reads_x: ClassVar[bool] = False
    of_codes: ClassVar[bool] = False

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the parameters of `init` that training does not change."""
        return ()

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

    def at_codes(self, key: jax.Array, params: Any, z: jax.Array, weights: jax.Array) -> Any:
        """The parameters with which training of the prior alone begins, once there are codes.

        Args:
            key: PRNG key, scalar.
            params: from `init`.
            z: codes of training examples, [B, L], 0 in masked dimensions.
            weights: 0 for rows that do not count, else 1, [B].

        Returns:
            `params` unless the prior depends on where it starts.
        """
        del key, z, weights
        return params

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
