"""What is measured: a trained model beside its data, looked at in blocks so that memory is bounded.

A metric that `vae_jax.cli.commands.evaluate` offers is one file beside this one, with

    DEFINITIONS                         what each entry means, a line each
    measure(subject, *, …) -> dict      its entries, `name_standard_error` beside `name` where known

whose keyword-only arguments are its settings. It raises `NotApplicableError` where the data or the
model have nothing of the kind, and `UsageError` where a setting does not fit them; a default that
gives way to what fits is `AtMost`, and what was taken is an entry of the setting's name.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import latents
from vae_jax.distributions import DiagonalGaussian, FullGaussian
from vae_jax.errors import UsageError, VaeJaxError

__all__ = ["AtMost", "NotApplicableError", "Subject"]

SPLITS = ("train", "valid", "test")

BLOCK_BYTES = 2**24
"""What is decoded at a time (a scalar)."""


NUM_FITTED = 10_000
"""Codes that a Gaussian in the place of a prior is fit to, a count."""


class NotApplicableError(VaeJaxError):
    """A metric says nothing about this model or these data; its text says why."""


class AtMost(int):
    """A default count (a scalar) of a setting, in whose place what fits is taken where it is less.

    A number that is given is another type: it is taken as it is, and refused where it does not fit.
    """

    def __new__(cls, count: int):
        return super().__new__(cls, count)

    @staticmethod
    def fit(count: int, most: int) -> int:
        """The count, or of a default the most that fits if that is less; scalars."""
        return min(count, most) if isinstance(count, AtMost) else count


class Subject:
    """A trained model, its data, and what several metrics ask of both, computed once.

    Codes have the latent dimensions that the model uses: those of its mask, which are the first
    ones, or all.

    Args:
        model: a `Model` whose p(x|z) is a density, see `elbo.freeze_likelihood`.
        params: its parameters.
        dataset: with `train`, `valid` and `test`, each with rows x [N, *stored], labels [N] or
            None, factors [N, F] or None; as of `vae_jax.data.load`.
        preprocess: (stored [B, *stored], key) to x [B, *shape].
        key: PRNG key, scalar, from which every draw follows.
        num_examples: how many of the test split are looked at, evenly spread over it, whose order
            may be that of its factors; None means all.
        conditions: what is known of each row beside x, as of `training.Conditions`, for a
            conditional model: for each split arrays [N, …] by name.
        given: (model, params, batch) to the model given what is known of a batch.
    """

    def __init__(
        self,
        model,
        params,
        dataset,
        *,
        preprocess: Callable,
        key: jax.Array,
        num_examples: int | None = None,
        conditions: Any = None,
        given: Callable | None = None,
    ):
        self.model, self.params, self.dataset = model, params, dataset
        self.conditions, self._given = conditions, given
        self.preprocess, self.key = preprocess, key
        self.num_examples = num_examples
        self._held: dict[tuple, Any] = {}

    def size(self, split: str = "test") -> int:
        """How many examples of a split are looked at, a count."""
        num = len(getattr(self.dataset, split))
        return num if split != "test" or self.num_examples is None else min(num, self.num_examples)

    def labels(self, split: str = "test", num_examples: int | None = None) -> np.ndarray | None:
        """[N], below 0 where unknown; None where the data have none; of the rows of `blocks`."""
        labels = getattr(self.dataset, split).labels
        return None if labels is None else labels[self._rows(split, num_examples)]

    def factors(self, split: str = "test") -> np.ndarray | None:
        """[N, F], or None where the data have none."""
        factors = getattr(self.dataset, split).factors
        return None if factors is None else factors[self._rows(split)]

    def _rows(self, split: str, num_examples: int | None = None) -> np.ndarray:
        """Which rows of a split are looked at: ascending indices [N], evenly spread."""
        num = self.size(split)
        num = num if num_examples is None else min(num, num_examples)
        return np.arange(num) * len(getattr(self.dataset, split)) // num

    @property
    def latent_dim(self) -> int:
        """L, the dimensions that the model uses, a count."""
        mask = self.model.latent_mask
        return self.model.latent_dim if mask is None else int(np.asarray(mask).sum())

    @functools.cached_property
    def prior(self) -> Any:
        """p(z) over the dimensions in use, arrays [L].

        Of a model without one the Gaussian of the codes of training data, at most `NUM_FITTED`.
        """
        if not self.model.latent.has_prior:
            codes = self.posterior("train", NUM_FITTED).mean
            return FullGaussian.fit(codes)
        return self.model.prior(self.params).first(self.latent_dim)

    def require_gaussian(self) -> None:
        """NotApplicableError unless q(z|x) and p(z) over [L] are of `DiagonalGaussian`."""
        self.require_gaussian_posterior()
        prior = type(self.model.prior(self.params))
        if prior is not DiagonalGaussian:
            raise NotApplicableError(
                "it asks for a Gaussian prior with independent dimensions, p(z) is of type "
                f"{prior.__name__}"
            )

    def require_gaussian_posterior(self) -> None:
        """NotApplicableError unless q(z|x) over [L] is a `DiagonalGaussian`; p(z) may be any."""
        if not self.model.latent.has_prior:
            raise NotApplicableError("it asks for a Gaussian code, and this one is a point")
        if not isinstance(self.model.latent, latents.Gaussian):
            raise NotApplicableError(f"it asks for a Gaussian code, z is {self.model.latent}")
        model = self.model.given(jnp.zeros((1, self.model.num_conditions)))
        x = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
        posterior = type(jax.eval_shape(model.encode, self.params, x))
        if posterior is not DiagonalGaussian:
            raise NotApplicableError(
                "it asks for a Gaussian posterior with independent dimensions, q(z|x) is of "
                f"type {posterior.__name__}"
            )

    def require_continuous(self) -> None:
        """NotApplicableError where dimensions of a code [L] are discrete."""
        if not isinstance(self.model.latent, latents.Gaussian | latents.Deterministic):
            raise NotApplicableError(f"it asks for a continuous code, z is {self.model.latent}")

    @functools.cached_property
    def decode_mean(self) -> Callable:
        """E[x|z] as a function of the dimensions in use: [B, L] to [B, *shape].

        Raises:
            NotApplicableError: the model is conditional, or examples differ in length.
        """
        self.require_unconditional()
        self.require_complete()

        def decode_mean(z):
            unused = self.model.latent_dim - z.shape[1]
            return self.model.decode_mean(self.params, jnp.pad(z, ((0, 0), (0, unused))))

        return decode_mean

    def require_complete(self) -> None:
        """NotApplicableError where numbers of x [N, *shape] may be missing."""
        if self.model.likelihood.has_missing:
            raise NotApplicableError("examples of several lengths have no distance from each other")

    @property
    def num_rows(self) -> int:
        """How many examples are looked at at a time, a count."""
        return max(1, min(500, BLOCK_BYTES // (4 * math.prod(self.model.shape))))

    def blocks(self, split: str, num_rows: int | None = None, num_examples: int | None = None):
        """Blocks of examples, of one size, so that one program serves them all.

        Args:
            split: "train", "valid" or "test".
            num_rows: B; None means what fits `BLOCK_BYTES`.
            num_examples: N, evenly spread over those that are looked at; None means all of them.

        Yields:
            (stored [B, *stored], positions of the rows in the split [B], how many rows count): the
            last block is filled up with its last row. Of a conditional model stored is a
            dictionary, which has such rows as "x" and beside them what is known of them.
        """
        if split not in SPLITS or not len(getattr(self.dataset, split)):
            known = [name for name in SPLITS if len(getattr(self.dataset, name))]
            raise UsageError(f"split={split}: must hold examples, choose one of {', '.join(known)}")
        rows, chosen = getattr(self.dataset, split).x, self._rows(split, num_examples)
        if self.conditions is not None:
            rows = {"x": rows, **getattr(self.conditions, split)}
        size = min(num_rows or self.num_rows, len(chosen))
        for first in range(0, len(chosen), size):
            places = chosen[first : first + size]

            def take(leaf, places=places):
                stored = np.asarray(leaf[places])
                padding = ((0, size - len(stored)), *((0, 0) for _ in stored.shape[1:]))
                return np.pad(stored, padding, mode="edge")

            positions = np.pad(places, (0, size - len(places)), mode="edge").astype(np.int32)
            yield jax.tree.map(take, rows), positions, len(places)

    def over(self, function: Callable, split: str = "test", **chosen) -> Any:
        """The values of a function of every example.

        Args:
            function: (params, stored [B, *stored], their positions [B]) to a pytree of [B, …], row
                by row; it is compiled once.
            split, chosen: see `blocks`.

        Returns:
            The pytree of NumPy arrays [N, …].
        """
        compiled, parts = jax.jit(function), []
        for stored, positions, kept in self.blocks(split, **chosen):
            values = compiled(self.params, stored, positions)
            parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], values))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def mean_over(self, function: Callable, split: str = "test", **chosen) -> Any:
        """The mean of such a function, see `over`: a pytree of NumPy arrays […]."""

        @jax.jit
        def add(total, params, stored, positions, kept):
            def sum_kept(leaf):
                mask = jnp.arange(len(leaf)) < kept
                return jnp.tensordot(mask.astype(leaf.dtype), leaf, 1, precision="highest")

            sums = jax.tree.map(sum_kept, function(params, stored, positions))
            return sums if total is None else jax.tree.map(jnp.add, total, sums)

        total, num = None, 0
        for stored, positions, kept in self.blocks(split, **chosen):
            total, num = add(total, self.params, stored, positions, kept), num + kept
        return jax.tree.map(lambda leaf: np.asarray(leaf) / np.float32(num), total)

    def inputs(self, stored, positions) -> jax.Array:
        """The rows of a block as the model sees them, x [B, *shape].

        Each row has a key of its own, by its position in the split, that of `nll.sample` and its
        kin: all see one binarization, however the work is cut and whichever rows are chosen.
        """

        def one(row, position):
            key, _ = jax.random.split(jax.random.fold_in(self.key, position))
            return self.preprocess(row[None], key)[0]

        stored = stored["x"] if isinstance(stored, dict) else stored
        return jax.vmap(one)(stored, positions)

    def given(self, params, stored, x):
        """The model given what is known of the rows of a block, which `inputs` shows as x."""
        if self._given is None:
            return self.model
        return self._given(self.model, params, {**stored, "x": x})

    def require_unconditional(self) -> None:
        """NotApplicableError where z alone (of any shape) does not decide p(x|z)."""
        if self.model.num_conditions:
            raise NotApplicableError("the model is conditional: a code alone says nothing of x")

    def density(self, stored) -> tuple[Any, Any]:
        """Rows as stored [B, *stored] and the model of p(x), or of p(x|c) where data tell c.

        Raises:
            NotApplicableError: the model infers what it is given.
        """
        if self.conditions is None:
            return stored, self.model
        if "condition" not in stored:
            raise NotApplicableError(
                "the model infers its condition: p(x) is a sum over conditions, the bound is "
                "objective.elbo"
            )
        return stored["x"], self.model.given_encoded(stored["condition"])

    def x(self, split: str = "test", num_examples: int | None = None) -> np.ndarray:
        """The examples as the model sees them, [N, *shape]."""

        def see(params, stored, positions):
            del params
            return self.inputs(stored, positions)

        return self._once(see, split, num_examples)

    def posterior(self, split: str = "test", num_examples: int | None = None):
        """q(z|x) of every example: `DiagonalGaussian`, or its kin, of NumPy arrays [N, L]."""

        def encode(params, stored, positions):
            x = self.inputs(stored, positions)
            posterior = self.given(params, stored, x).encode(params, x)
            return posterior.first(self.latent_dim)

        return self._once(encode, split, num_examples)

    def _once(self, function: Callable, split: str, num_examples: int | None):
        """`over`, worked out at the first call for a function's name, split and number."""
        num = len(self._rows(split, num_examples))
        asked = function.__name__, split, num
        if asked not in self._held:
            self._held[asked] = self.over(function, split, num_examples=num)
        return self._held[asked]
